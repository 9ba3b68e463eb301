//! The files of `envoy/istio/`, and the few places where a test must differ from a cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use session_token_harness::workspace;

use super::control_plane::run;
use super::world::World;
use crate::registry;
use crate::tools;

/// The shipped files.
pub(crate) const SHIPPED: [&str; 3] =
    ["ingress-gateway.yaml", "request-authentication.yaml", "sidecar.yaml"];

/// A manifest under a name.
#[derive(Clone)]
pub(crate) struct Manifest {
    name: String,
    text: String,
}

impl Manifest {
    /// A file of `envoy/istio/` as it is.
    ///
    /// # Panics
    ///
    /// When there is no such file.
    pub(crate) fn shipped(name: &str) -> Self {
        let path = shipped(name);
        let text = fs::read_to_string(&path);
        Self::new(name, text.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// Resources that only the tests need.
    pub(crate) fn new(name: &str, text: impl Into<String>) -> Self {
        Self { name: name.to_owned(), text: text.into() }
    }

    /// Replaces what stands there exactly once.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub(crate) fn with(mut self, shipped: &str, here: &str) -> Self {
        let count = self.text.matches(shipped).count();
        assert_eq!(count, 1, "{}: {shipped:?} stands there {count} times", self.name);
        self.text = self.text.replace(shipped, here);
        self
    }

    /// With the image from the registry of this machine.
    pub(crate) fn with_our_image(self) -> Self {
        self.with(SHIPPED_IMAGE, &format!("oci://{}/{IMAGE}", registry::ADDRESS))
    }

    /// With the gateway's certificate from files, on another port: istiod gives no Secret to an
    /// agent without an identity, and 443 is the key server's.
    pub(crate) fn with_our_certificate(self, world: &World) -> Self {
        let files = world.certificate_files().map(|path| path.display().to_string());
        let [certificate, key] = files;
        self.with("- port: { number: 443, name: https,", "- port: { number: 8443, name: https,")
            .with(
                "credentialName: example-com",
                &format!("serverCertificate: {certificate}, privateKey: {key}"),
            )
    }

    /// Writes it into `folder`, for kubectl and for people.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join(&self.name);
        fs::write(&path, &self.text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

/// The image's name in the registry.
pub(crate) const IMAGE: &str = "session-token-filter:0.1.0";
/// The image as the shipped files name it.
pub(crate) const SHIPPED_IMAGE: &str = "oci://registry.example.com/session-token-filter:0.1.0";

/// Unchanged, `istioctl validate` and the API server take all of them. Both refuse a field that
/// does not exist, so that their consent means something.
pub(crate) fn are_valid(world: &World) {
    let mut files: Vec<_> = fs::read_dir(shipped(""))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, SHIPPED, "a file that no test knows");
    for name in SHIPPED {
        let file = shipped(name);
        validate(&file).unwrap_or_else(|error| panic!("istioctl validate: {name}: {error}"));
        dry_run(world, &file).unwrap_or_else(|error| panic!("dry run: {name}: {error}"));
    }
    let plugin = Manifest::shipped("sidecar.yaml");
    for (shipped, mistake) in [
        ("pluginName: session_token", "plugginName: session_token"),
        ("failStrategy: FAIL_RELOAD", "failStrategy: FAIL_SHUT"),
        (SHIPPED_IMAGE, "ftp://registry.example.com/session-token-filter"),
        ("url: oci:", "sha256: abc\n  url: oci:"),
    ] {
        let file = plugin.clone().with(shipped, mistake).write(world.folder());
        assert!(validate(&file).is_err(), "istioctl validate takes {mistake}");
        assert!(dry_run(world, &file).is_err(), "the API takes {mistake}");
    }
}

fn validate(file: &Path) -> Result<String, String> {
    run(Command::new(tools::path("istioctl")).args(["validate", "-f"]).arg(file))
}

fn dry_run(world: &World, file: &Path) -> Result<String, String> {
    let file = file.display().to_string();
    world.plane.kubectl.try_run(&["apply", "--dry-run=server", "--validate=strict", "-f", &file])
}

fn shipped(name: &str) -> PathBuf {
    workspace::root().join("envoy/istio").join(name)
}
