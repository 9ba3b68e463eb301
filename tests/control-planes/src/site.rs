//! The real parts around a control plane: an issuer with a key server over TLS, and backends.
//!
//! Shipped manifests name hosts of the real world. Within the namespace they are found here: its
//! `/etc/hosts` ([`hosts`]) sends their names to loopback addresses, and the file of the system's
//! authorities ([`AUTHORITIES`]) holds the one that certified the key server. So manifests run with
//! the names that they ship with.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use session_token_harness::backend::Backend;
use session_token_harness::client::Exchange;
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::server::{Protocol, ReceivedRequest};
use session_token_harness::tls::Identity;
use session_token_harness::token::Token;

/// The Corbado project of the shipped manifests.
pub(crate) const PROJECT: &str = "pro-1234567890";
/// Where that project's keys are, on port 443.
pub(crate) const KEY_HOST: &str = "pro-1234567890.frontendapi.cloud.corbado.io";
/// Where Envoy looks for the system's authorities on Debian, and in its own images.
pub(crate) const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Everything but Envoy and its control plane.
pub(crate) struct Site {
    /// Each describes the requests that it gets, and keeps them.
    pub(crate) backends: Vec<Backend>,
    /// Serves the public half of `key`, over TLS.
    pub(crate) keys: KeyServer,
    /// Signs sessions.
    pub(crate) key: SigningKey,
}

impl Site {
    /// Starts it, within the namespace. [`AUTHORITIES`] must be a file of this run.
    ///
    /// # Panics
    ///
    /// When a port is taken.
    pub(crate) fn start(backends: &[(&str, SocketAddr)]) -> Self {
        let key = SigningKey::new(Algorithm::RS256, "k1");
        let identity = Identity::new(&[KEY_HOST]);
        fs::write(AUTHORITIES, identity.authority_pem())
            .unwrap_or_else(|error| panic!("{AUTHORITIES}: {error}"));
        let keys = KeyServer::bind_tls(local(443), &jwks(&[&key]), &identity)
            .unwrap_or_else(|error| panic!("key server: {error}"));
        let bind = |(name, address): &(&str, SocketAddr)| {
            Backend::bind(name, *address, Protocol::Http1)
                .unwrap_or_else(|error| panic!("backend {name} on {address}: {error}"))
        };
        Self { backends: backends.iter().map(bind).collect(), keys, key }
    }

    /// A session of `user` as Corbado signs it, with the claim `plan`.
    pub(crate) fn session(&self, user: &str, plan: &str) -> String {
        session(&self.key, user, plan)
    }

    /// The one backend that got the latest request, and what it got; `None` when none did.
    ///
    /// # Panics
    ///
    /// When several did.
    pub(crate) fn received(&self) -> Option<(String, ReceivedRequest)> {
        let got = |backend: &Backend| {
            backend.take_last().map(|request| (backend.name().to_owned(), request))
        };
        let mut received: Vec<_> = self.backends.iter().filter_map(got).collect();
        assert!(received.len() <= 1, "one request, one backend");
        received.pop()
    }

    /// Forgets what the backends got, after requests that only waited for something.
    pub(crate) fn forget(&self) {
        for backend in &self.backends {
            backend.clear();
        }
    }

    /// What the backend `name` got of an exchange that was answered 200.
    ///
    /// # Panics
    ///
    /// With the exchange, when it was answered otherwise or by another.
    #[track_caller]
    pub(crate) fn expect_at(&self, exchange: &Exchange, name: &str) -> ReceivedRequest {
        exchange.expect_status(200);
        match self.received() {
            Some((backend, received)) if backend == name => received,
            other => {
                let backend = other.map(|(backend, _)| backend);
                exchange.fail(&format!("to be answered by {name}, not {backend:?}"))
            }
        }
    }

    /// Expects that an exchange ended with `status` before any backend.
    ///
    /// # Panics
    ///
    /// With the exchange otherwise.
    #[track_caller]
    pub(crate) fn expect_refused(&self, exchange: &Exchange, status: u16) {
        exchange.expect_status(status);
        if let Some((backend, _)) = self.received() {
            exchange.fail(&format!("to be kept from {backend}"));
        }
    }
}

/// A session as Corbado signs it, with the claim `plan`.
pub(crate) fn session(key: &SigningKey, user: &str, plan: &str) -> String {
    Token::corbado(PROJECT, user).claim("plan", plan).signed_by(key)
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

/// An empty file for [`AUTHORITIES`].
///
/// # Panics
///
/// When the file cannot be written.
pub(crate) fn authorities(folder: &Path) -> PathBuf {
    let file = folder.join("authorities.pem");
    fs::write(&file, "").unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    file
}

/// 127.0.0.1.
pub(crate) fn local(port: u16) -> SocketAddr {
    loopback(1, port)
}

/// One of the many addresses of `lo`, so that several parts can have the same port.
pub(crate) fn loopback(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port))
}
