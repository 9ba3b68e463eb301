//! `check`: a manifest of each kind with a mistake of each kind, each with its place.

use std::fs;

use super::kinds::{CONFIGURATION, KINDS, Kind, check, place};
use super::{Run, examples, root, run, yaml_blocks};

#[test]
fn every_kind_is_found_and_summed_up() {
    for kind in &KINDS {
        let Run { code, out, err } = check(&kind.wrap(CONFIGURATION));
        assert_eq!(code, 0, "{}: {out}{err}", kind.name);
        for part in [
            "provider partner",
            "https://id.example",
            "1. admin  /admin and below  required",
            "2. page   /                 public",
            "default   everything else   required",
            "0 errors, 0 warnings",
            kind.cluster,
        ] {
            assert!(out.contains(part), "{}: no {part} in\n{out}", kind.name);
        }
    }
}

#[test]
fn every_mistake_is_found_in_every_kind() {
    // What is written instead of what, where it is found, and what is said.
    let rows = [
        (
            "a field misspelt",
            "\"access\": \"req",
            "\"acces\": \"req",
            "\"acces\"",
            "rules[0].acces: unknown field; did you mean `access`?",
        ),
        ("an unknown field", "\"csrf\"", "\"zzz\"", "\"zzz\"", "zzz: unknown field; known here: "),
        (
            "a wrong type",
            "[\"https://id.example\"]",
            "5",
            "\"issuers\"",
            "providers[0].issuers: 5 must be a list",
        ),
        (
            "a wrong word",
            "enforce",
            "enforced",
            "\"mode\"",
            "csrf.mode: \"enforced\" must be one of enforce, report, insecure_off",
        ),
        (
            "a wrong value",
            "\"/admin\"",
            "\"admin\"",
            "\"prefix\"",
            "rules[0].match.path.prefix: \"admin\" must start with \"/\"",
        ),
        (
            "a missing field",
            ", \"cluster\": \"CLUSTER\"",
            "",
            "\"remote\"",
            "providers[0].jwks.remote.cluster: is missing",
        ),
        (
            "an unknown provider",
            "\"access\": \"required\"",
            "\"providers\": [\"x\"]",
            "\"x\"",
            "rules[0].providers[0]: \"x\" is no provider",
        ),
        (
            "a demand on a public rule",
            "\"access\": \"public\"",
            "\"access\": \"public\", \"max_auth_age\": \"1h\"",
            "\"max_auth_age\"",
            "rules[1].max_auth_age: ",
        ),
    ];
    for kind in &KINDS {
        for (name, from, to, marker, expected) in rows {
            let text = kind.wrap(&CONFIGURATION.replacen(from, to, 1));
            let Run { code, out, .. } = check(&text);
            assert_eq!(code, 1, "{}, {name}: {out}", kind.name);
            // The marker may stand in what is wrapped around, too.
            let spot = place(&text[kind.before.len()..], marker);
            let (line, column) = spot.split_once(':').unwrap();
            let line = line.parse::<usize>().unwrap() + kind.before.matches('\n').count();
            let expected = format!("-:{line}:{column}: error: {expected}");
            assert!(out.contains(&expected), "{}, {name}: no {expected} in\n{out}", kind.name);
        }
    }
}

#[test]
fn texts_that_are_no_json_are_told_with_the_files_place() {
    for kind in KINDS.iter().filter(|kind| kind.is_text) {
        let broken = CONFIGURATION.replace("\"csrf\": {", "\"csrf\": }");
        let text = kind.wrap(&broken);
        let Run { code, out, .. } = check(&text);
        let spot = place(&text, "}\"mode\"");
        let expected = format!("-:{spot}: error: not JSON: ");
        assert!(code == 1 && out.starts_with(&expected), "{}: {expected}: {out}", kind.name);

        let yaml = kind.wrap("providers:\n  - name: partner\n");
        let Run { code, out, .. } = check(&yaml);
        assert!(
            code == 1 && out.contains("YAML must be given as a Struct"),
            "{}: {out}",
            kind.name
        );
    }
}

#[test]
fn other_plugins_are_left_alone() {
    let other = "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: waf}\n\
        spec: {url: 'registry:5000/waf', failStrategy: FAIL_OPEN, pluginConfig: {rules_file: x}}\n---\n";
    let text = format!("{other}{}", Kind::named("WasmPlugin").wrap(CONFIGURATION));
    let Run { code, out, .. } = check(&text);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("note: WasmPlugin waf is another plugin"), "{out}");
}

#[test]
fn nothing_to_check_is_an_error() {
    for (name, text, expected) in [
        ("empty", "", "error: no configuration of session-token-filter found"),
        ("a service", "apiVersion: v1\nkind: Service\n", "error: no configuration"),
        ("Envoy without us", "static_resources: {clusters: []}", "error: no configuration"),
        ("somebody else's", "default: {a: 1}", "error: no configuration"),
        ("misspelt", "provider: []", "error: provider: unknown field; did you mean `providers`?"),
        ("no YAML", "a: [1\n", "-:2:1: error: not YAML: "),
        ("twice", "providers: []\nproviders: []\n", "-:2:1: error: not YAML: member"),
    ] {
        let Run { code, out, .. } = check(text);
        assert!(code == 1 && out.contains(expected), "{name}: {out}");
    }
}

#[test]
fn one_of_several_files_may_be_about_something_else() {
    let Run { code, out, .. } = run(&["check", "Cargo.toml", "no/such"], "");
    assert_eq!(code, 2, "{out}");
    let files = ["check", "envoy/one-host.yaml", "envoy/prometheus-alerts.yaml"];
    let Run { code, out, .. } = run(&files, "");
    assert_eq!(code, 0, "{out}");
    let expected = "envoy/prometheus-alerts.yaml: nothing of session-token-filter\n";
    assert!(out.contains(expected), "{out}");
    assert_eq!(run(&["check", "envoy/prometheus-alerts.yaml"], "").code, 1);
}

#[test]
fn exit_codes_tell_findings_from_usage() {
    assert_eq!(run(&["check"], "").code, 2);
    assert_eq!(run(&["chek", "x"], "").code, 2);
    let Run { code, err, .. } = run(&["check", "no/such/file"], "");
    assert!(code == 2 && err.contains("can't read no/such/file: "), "{err}");
    assert_eq!(run(&["--help"], "").code, 0);
}

#[test]
fn what_the_repository_ships_has_no_mistake() {
    for file in examples() {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        let kinds = ["wasm.v3.Wasm", "kind: WasmPlugin", "kind: EnvoyExtensionPolicy"];
        if !kinds.iter().any(|kind| text.contains(kind)) {
            continue;
        }
        let Run { code, out, .. } = run(&["check", &file], "");
        assert!(code == 0 && out.contains("0 errors, 0 warnings"), "{file}: {out}");
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for (kind, text) in yaml_blocks(&readme) {
        let expected = match kind.as_str() {
            "bootstrap" | "plugin" | "http_filters" => 0,
            "refused" => 1,
            _ => continue,
        };
        let text = if kind == "http_filters" { format!("http_filters:\n{text}") } else { text };
        let Run { code, out, .. } = check(&text);
        assert_eq!(code, expected, "{text}\n{out}");
    }
}
