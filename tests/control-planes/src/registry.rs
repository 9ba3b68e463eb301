//! A registry of OCI images on [`ADDRESS`], which both products ask over plain HTTP, as they do
//! with every registry on loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use session_token_harness::workspace;

use crate::daemon::Daemon;
use crate::tools;

/// Where it listens.
pub(crate) const ADDRESS: &str = "127.0.0.1:5000";

/// A running registry, which forgets everything with its end.
pub(crate) struct Registry {
    _server: Daemon,
}

impl Registry {
    /// Starts it. Its log goes to `folder`.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub(crate) fn start(folder: &Path) -> Self {
        let mut command = Command::new(tools::path("crane"));
        command.args(["registry", "serve", "--address", ADDRESS]);
        let mut server = Daemon::start("registry", &mut command, folder);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 5000));
        server.wait_until("listening", Duration::from_secs(10), || {
            TcpStream::connect(address).is_ok()
        });
        Self { _server: server }
    }

    /// Pushes the filter's image as `ADDRESS/name`, and returns `sha256:…`, its digest.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub(crate) fn push(&self, name: &str, folder: &Path) -> String {
        let layer = folder.join("layer");
        std::fs::create_dir_all(&layer).unwrap_or_else(|error| panic!("{error}"));
        std::fs::copy(workspace::module(), layer.join("plugin.wasm"))
            .unwrap_or_else(|error| panic!("{}: {error}", workspace::module().display()));
        let tar = folder.join("layer.tar");
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(&layer).arg("-cf").arg(&tar).arg("plugin.wasm");
        output(&mut pack);
        let mut append = Command::new(tools::path("crane"));
        append.args(["append", "--oci-empty-base", "-t", &format!("{ADDRESS}/{name}")]);
        output(append.arg("-f").arg(&tar));
        let mut digest = Command::new(tools::path("crane"));
        output(digest.args(["digest", &format!("{ADDRESS}/{name}")])).trim().to_owned()
    }
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
