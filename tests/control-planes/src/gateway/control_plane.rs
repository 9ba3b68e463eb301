//! A running Envoy Gateway: the file provider, which reads manifests from a folder, and the Host
//! infrastructure, which starts Envoys as processes.
//!
//! It is built to find its Envoys' binary in a folder of func-e's before it downloads one, so the
//! harness's is linked there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use session_token_harness::client::{Client, Request};
use session_token_harness::envoy::EnvoyBinary;

use super::ENVOY;
use super::manifests::Manifest;
use crate::daemon::Daemon;
use crate::{folder, tools};

/// See the module. One at a time: its ports are fixed.
pub(super) struct ControlPlane {
    daemon: Daemon,
    manifests: PathBuf,
}

/// Where a run's certificates are, those of Envoy Gateway and its Envoys for each other.
pub(super) fn certificates(run: &Path) -> PathBuf {
    run.join("config/certs/envoy")
}

/// Makes these certificates. Once a run is enough.
///
/// # Panics
///
/// When Envoy Gateway does not.
pub(super) fn make_certificates(run: &Path) {
    let mut certgen = Command::new(tools::path("envoy-gateway"));
    certgen.args(["certgen", "--local", "--config-home"]).arg(run.join("config"));
    let output = certgen.output().unwrap_or_else(|error| panic!("{certgen:?}: {error}"));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{certgen:?}: {words}");
}

impl ControlPlane {
    /// Starts it with these manifests. Nothing is served yet.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub(super) fn start(name: &str, manifests: &[Manifest]) -> Self {
        let run = folder("gateway");
        let here = run.join(name);
        let io = |error| panic!("{}: {error}", here.display());
        fs::create_dir_all(here.join("home")).unwrap_or_else(io);
        fs::create_dir_all(here.join("manifests")).unwrap_or_else(io);
        let versions = here.join("data/envoy-versions").join(ENVOY).join("bin");
        fs::create_dir_all(&versions).unwrap_or_else(io);
        let binary = EnvoyBinary::for_version(ENVOY).unwrap_or_else(|error| panic!("{error}"));
        symlink(binary.path(), versions.join("envoy")).unwrap_or_else(io);
        let config = here.join("envoy-gateway.yaml");
        fs::write(&config, configuration(&run, &here)).unwrap_or_else(io);
        let mut command = Command::new(tools::path("envoy-gateway"));
        command.args(["server", "--config-path"]).arg(&config).env("HOME", here.join("home"));
        let folder = here.join("manifests");
        write(&folder, manifests);
        let daemon = Daemon::start("envoy-gateway", &mut command, &here);
        Self { daemon, manifests: folder }
    }

    /// Replaces all manifests. Envoy Gateway notices.
    pub(super) fn apply(&self, manifests: &[Manifest]) {
        write(&self.manifests, manifests);
    }

    /// Waits until a request is answered as `holds` wants.
    ///
    /// # Panics
    ///
    /// When a minute passes first.
    pub(super) fn wait_until(
        &mut self,
        what: &str,
        client: &Client,
        request: &Request,
        holds: impl Fn(u16) -> bool,
    ) {
        self.daemon.wait_until(what, Duration::from_secs(60), || {
            holds(client.send(request.clone()).status())
        });
    }

    /// Waits until these words are in its log.
    ///
    /// # Panics
    ///
    /// When a minute passes first.
    pub(super) fn wait_for_log(&mut self, words: &str) {
        let log = self.log_file().to_owned();
        self.daemon.wait_until(words, Duration::from_secs(60), || {
            fs::read(&log).is_ok_and(|text| String::from_utf8_lossy(&text).contains(words))
        });
    }

    /// The latest status of an object, `namespace/name`; empty when there was none.
    pub(super) fn status(&self, kind: &str, key: &str) -> String {
        // As it logs it: a line with the kind, the status as YAML, a line with the key.
        let (start, end) = (format!("Got new status for {kind}\n"), format!("\"key\": \"{key}\""));
        let log = self.log();
        let statuses =
            log.split("Got new status for ").map(|rest| format!("Got new status for {rest}"));
        let of_it = |status: &String| status.starts_with(&start) && status.contains(&end);
        statuses.filter(of_it).last().unwrap_or_default()
    }

    /// Where that is.
    pub(super) fn log_file(&self) -> &Path {
        self.daemon.log_file()
    }

    /// What Envoy Gateway and its Envoys have written.
    pub(super) fn log(&self) -> String {
        self.daemon.log()
    }
}

fn write(folder: &Path, manifests: &[Manifest]) {
    // One file, moved into place: the folder is never seen half written.
    let text: Vec<_> = manifests.iter().map(Manifest::text).collect();
    let new = folder.with_extension("new");
    let io = |error| panic!("{}: {error}", folder.display());
    fs::write(&new, text.join("\n---\n")).unwrap_or_else(io);
    fs::rename(&new, folder.join("all.yaml")).unwrap_or_else(io);
}

fn configuration(run: &Path, here: &Path) -> String {
    let (run, here) = (run.display(), here.display());
    format!(
        "apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
gateway: {{ controllerName: gateway.envoyproxy.io/gatewayclass-controller }}
provider:
  type: Custom
  custom:
    resource: {{ type: File, file: {{ paths: ['{here}/manifests'] }} }}
    infrastructure:
      type: Host
      host:
        configHome: '{run}/config'
        dataHome: '{here}/data'
        stateHome: '{here}/state'
        runtimeDir: '{here}/runtime'
extensionApis: {{ enableBackend: true, enableLua: true }}
"
    )
}
