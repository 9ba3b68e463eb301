//! What all tests share: the control plane, the key server, the registry and the services.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use session_token_harness::backend::Backend;
use session_token_harness::client::{Exchange, Request};
use session_token_harness::server::ReceivedRequest;
use session_token_harness::tls::Identity;

use super::NAME;
use super::control_plane::ControlPlane;
use super::manifest::{IMAGE, Manifest};
use crate::folder;
use crate::registry::Registry;
use crate::site::{AUTHORITIES, Site, local};

/// Started once a run. Tests run one after the other, and leave no resources behind.
pub(crate) struct World {
    pub(crate) plane: ControlPlane,
    /// The digest of the filter's image.
    pub(crate) digest: String,
    /// The gateway's certificate.
    pub(crate) identity: Identity,
    site: Mutex<Site>,
    folder: PathBuf,
    _registry: Registry,
}

impl World {
    /// Starts all of it, within the namespace.
    ///
    /// # Panics
    ///
    /// When a part does not start.
    pub(crate) fn start() -> Self {
        let folder = folder(NAME);
        let site = Site::start(&SERVICES.map(|(name, port)| (name, local(port))));
        let registry = Registry::start(&folder);
        let digest = registry.push(IMAGE);
        let plane = ControlPlane::start(&folder);
        let entries = SERVICES.map(|(name, port)| service(name, port));
        let file = Manifest::new("services.yaml", entries.join("---\n")).write(&folder);
        plane.kubectl.run(&["apply", "--validate=strict", "-f", &file.display().to_string()]);
        let identity = Identity::new(&["www.example.com", "api.example.com"]);
        Self { plane, digest, identity, site: Mutex::new(site), folder, _registry: registry }
    }

    /// The issuer and its key server.
    pub(crate) fn site(&self) -> MutexGuard<'_, Site> {
        self.site.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session of `usr-1` with the claim `plan`.
    pub(crate) fn session(&self, plan: &str) -> String {
        self.site().session("usr-1", plan)
    }

    /// Where the run's files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stops the key server for as long as the result lives.
    pub(crate) fn outage(&self) -> Outage<'_> {
        self.site().keys.stop();
        let ours = fs::read_to_string(AUTHORITIES);
        Outage { world: self, ours: ours.unwrap_or_else(|error| panic!("{AUTHORITIES}: {error}")) }
    }

    /// The gateway's certificate and its key, as files.
    ///
    /// # Panics
    ///
    /// When they cannot be written.
    pub(crate) fn certificate_files(&self) -> [PathBuf; 2] {
        let files = [
            ("gateway.crt", self.identity.certificate_pem()),
            ("gateway.key", self.identity.key_pem()),
        ];
        files.map(|(name, text)| {
            let path = self.folder.join(name);
            fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            path
        })
    }

    /// What the service `name` got of an exchange that was answered 200.
    #[track_caller]
    pub(crate) fn expect_at(&self, exchange: &Exchange, name: &str) -> ReceivedRequest {
        self.site().expect_at(exchange, name)
    }

    /// Refused by the filter for `reason`, and at no service.
    #[track_caller]
    pub(crate) fn expect_refused(&self, exchange: &Exchange, status: u16, reason: &str) {
        exchange.expect(reason, |answer| answer.json()["reason"] == reason);
        self.site().expect_refused(exchange, status);
    }

    /// Refused by Istio's authorization, and at no service.
    #[track_caller]
    pub(crate) fn expect_forbidden(&self, exchange: &Exchange) {
        exchange.expect("Istio's refusal", |answer| answer.text() == "RBAC: access denied");
        self.site().expect_refused(exchange, 403);
    }

    /// Forgets what services got while a test waited.
    pub(crate) fn forget_requests(&self) {
        self.site().backends.iter().for_each(Backend::clear);
    }
}

/// No key server.
pub(crate) struct Outage<'a> {
    world: &'a World,
    /// The authority of our key server.
    ours: String,
}

impl Outage<'_> {
    /// Agents that start from now on trust this authority, given as PEM, in the place of ours.
    pub(crate) fn trust(&self, authority: &str) {
        // The same file, not a new one: it is mounted.
        fs::write(AUTHORITIES, authority).unwrap_or_else(|error| panic!("{AUTHORITIES}: {error}"));
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        self.trust(&self.ours);
        self.world.site().keys.start_again();
    }
}

/// A GET on one of the hosts.
pub(crate) fn get(host: &str, path: &str) -> Request {
    Request::get(path).header("host", host)
}

/// A service of the namespace `shop`.
fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{ name: {name}, namespace: shop }}
spec:
  hosts: [{name}.shop.svc.cluster.local]
  resolution: STATIC
  ports: [{{ number: 80, name: http, protocol: HTTP }}]
  endpoints: [{{ address: 127.0.0.1, ports: {{ http: {port} }} }}]
"
    )
}

/// What the shipped files route to, and the ports of this machine.
const SERVICES: [(&str, u16); 5] =
    [("pages", 3001), ("api", 3002), ("orders", 3003), ("orders-pro", 3004), ("reports", 3005)];
