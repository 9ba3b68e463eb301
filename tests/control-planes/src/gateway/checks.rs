//! `egctl x validate` over the shipped manifests. It always ends with 0: its words count.

use std::fs;
use std::process::Command;

use libtest_mimic::Trial;
use session_token_harness::workspace;

use super::manifests::Manifest;
use crate::{folder, tools};

/// All tests.
pub(super) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("gateway::checks::every_file_is_tested", || {
            let files = fs::read_dir(workspace::root().join("envoy/gateway"))?;
            let mut names = files
                .map(|file| file.map(|file| file.file_name()))
                .collect::<Result<Vec<_>, _>>()?;
            names.sort();
            assert_eq!(names, SHIPPED);
            Ok(())
        }),
        Trial::test("gateway::checks::shipped_manifests_are_valid", || {
            for name in SHIPPED {
                let words = validate(&Manifest::unchanged(name));
                assert!(words.contains("OK") && !words.contains("error"), "{name}: {words}");
            }
            Ok(())
        }),
        Trial::test("gateway::checks::mistakes_are_found", || {
            for (name, from, to, word) in MISTAKES {
                let words = validate(&Manifest::unchanged("gateway.yaml").with(from, to));
                let found = words.contains("local validation error") && words.contains(word);
                assert!(found && !words.contains("OK"), "{name}: {words}");
            }
            Ok(())
        }),
    ]
}

const SHIPPED: [&str; 2] = ["gateway.yaml", "http-route.yaml"];

/// Name, what is replaced by what, and a word of the complaint.
const MISTAKES: [(&str, &str, &str, &str); 4] = [
    ("an unknown field", "failOpen: false", "failClosed: true", "failClosed"),
    ("another type of code", "type: Image", "type: HTTP", "http field needs to be set"),
    ("another kind of target", "kind: Gateway, name: edge", "kind: Service, name: edge", "Gateway"),
    (
        "no TLS name",
        "    hostname: pro-1234567890.frontendapi.cloud.corbado.io\n    well",
        "    well",
        "hostname",
    ),
];

fn validate(manifest: &Manifest) -> String {
    let file = folder("gateway").join(manifest.name());
    fs::write(&file, manifest.text()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let output = Command::new(tools::path("egctl"))
        .args(["x", "validate", "-f"])
        .arg(&file)
        .env("HOME", folder("gateway"))
        .output()
        .unwrap_or_else(|error| panic!("egctl: {error}"));
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}
