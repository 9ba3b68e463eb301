//! A registry of OCI images on [`ADDRESS`], which both products ask over plain HTTP, as they do
//! with every registry on loopback.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use session_token_harness::workspace;

use crate::daemon::Daemon;
use crate::tools;

/// Where it listens.
pub(crate) const ADDRESS: &str = "127.0.0.1:5000";

/// The digest of the image that `make image` wrote, without `sha256:`.
///
/// # Panics
///
/// When there is none.
pub(crate) fn image_digest() -> String {
    let index = workspace::target().join("image/index.json");
    let text = fs::read_to_string(&index)
        .unwrap_or_else(|error| panic!("{}: {error}; make image writes it", index.display()));
    let after = text.split_once(r#""digest":"sha256:"#).map(|(_, after)| after);
    let digest = after.and_then(|after| after.split('"').next());
    digest.unwrap_or_else(|| panic!("no digest in {}", index.display())).to_owned()
}

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

    /// Pushes the filter's image, as `make image` wrote it, as `ADDRESS/name`. Returns its digest,
    /// `sha256:` and hexadecimal digits.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub(crate) fn push(&self, name: &str) -> String {
        let layout = workspace::target().join("image");
        let mut push = Command::new(tools::path("crane"));
        push.arg("push").arg(layout).arg(format!("{ADDRESS}/{name}"));
        let output = push.output().unwrap_or_else(|error| panic!("{push:?}: {error}"));
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{push:?}: {words}");
        let reference = String::from_utf8_lossy(&output.stdout);
        let digest = reference.trim().rsplit_once('@').map(|(_, digest)| digest.to_owned());
        digest.unwrap_or_else(|| panic!("{push:?}: no digest in {reference:?}"))
    }
}
