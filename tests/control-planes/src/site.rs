//! The real parts around a control plane: an issuer with a key server over TLS, and a backend.
//!
//! Shipped manifests name hosts of the real world. The namespace's own `/etc/hosts` sends those
//! names to 127.0.0.1, so that a test runs the manifests with the names they have:
//!
//! ```text
//! KEY_HOST:443      the key server, with a certificate of an authority made for this run
//! 127.0.0.1:3000    the backend
//! ```

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::json;
use session_token_harness::backend::Backend;
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::server::Protocol;
use session_token_harness::tls::Identity;
use session_token_harness::token::Token;

/// The Corbado project of the shipped manifests.
pub(crate) const PROJECT: &str = "pro-1234567890";
/// Where that project's keys are.
pub(crate) const KEY_HOST: &str = "pro-1234567890.frontendapi.cloud.corbado.io";
/// The backend's port.
pub(crate) const BACKEND_PORT: u16 = 3000;

/// Everything but Envoy and its control plane.
pub(crate) struct Site {
    /// Describes each request that it gets, and keeps it.
    pub(crate) backend: Backend,
    /// Serves the public half of `key`, over TLS.
    pub(crate) keys: KeyServer,
    /// Signs sessions.
    pub(crate) key: SigningKey,
    /// Whom the key server's certificate is by.
    pub(crate) identity: Identity,
}

impl Site {
    /// Starts it, within the namespace.
    ///
    /// # Panics
    ///
    /// When a port is taken.
    pub(crate) fn start() -> Self {
        let key = SigningKey::new(Algorithm::RS256, "k1");
        let identity = Identity::new(&[KEY_HOST]);
        let keys = KeyServer::bind_tls(local(443), &jwks(&[&key]), &identity)
            .unwrap_or_else(|error| panic!("key server: {error}"));
        let backend = Backend::bind("app", local(BACKEND_PORT), Protocol::Http1)
            .unwrap_or_else(|error| panic!("backend: {error}"));
        Self { backend, keys, key, identity }
    }

    /// A session of `user` as Corbado signs it, with the claim `plan`.
    pub(crate) fn session(&self, user: &str, plan: &str) -> String {
        Token::corbado(PROJECT, user).claim("plan", json!(plan)).signed_by(&self.key)
    }
}

/// Writes an `/etc/hosts` that sends these names to 127.0.0.1.
///
/// # Panics
///
/// When the file cannot be written.
pub(crate) fn hosts(folder: &Path, names: &[&str]) -> PathBuf {
    let file = folder.join("hosts");
    let text = format!("127.0.0.1 localhost {}\n", names.join(" "));
    fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    file
}

/// An address of this namespace.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
