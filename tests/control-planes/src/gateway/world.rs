//! What stands in for the cluster: Services, Secrets, a registry, and clients outside.

use std::fs;
use std::net::SocketAddr;

use ct_codecs::{Base64, Encoder};
use session_token_harness::client::{Client, Request};
use session_token_harness::tls::{Identity, Trust};

use super::ENVOY;
use super::control_plane::{self, ControlPlane};
use super::manifests::Manifest;
use crate::folder;
use crate::registry::Registry;
use crate::site::{Site, local, loopback};

/// An Envoy Gateway with some manifests, and the site around it.
pub(super) struct World {
    pub(super) site: Site,
    pub(super) gateway: ControlPlane,
    /// What clients demand of the Gateway's certificate.
    identity: Identity,
    _registry: Registry,
}

/// The Gateway's port here; 443 is the key server's.
pub(super) const PORT: u16 = 8443;

/// What the Services of the shipped manifests are, as Backends: the file provider has no Services.
pub(super) const SERVICES: [(&str, u8); 6] = [
    ("pages", 11),
    ("api", 12),
    ("orders", 13),
    ("orders-pro", 14),
    ("reports", 15),
    ("neighbour", 16),
];

impl World {
    /// Starts everything and waits until the Gateway answers.
    ///
    /// # Panics
    ///
    /// When something does not start.
    pub(super) fn start(name: &str, manifests: &[Manifest]) -> Self {
        let run = folder("gateway");
        let certificates = control_plane::certificates(&run);
        if !certificates.join("tls.crt").exists() {
            control_plane::make_certificates(&run);
        }
        let services: Vec<(&str, SocketAddr)> =
            SERVICES.iter().map(|(name, last)| (*name, loopback(*last, 80))).collect();
        let site = Site::start(&services);
        let registry = Registry::start(&run);
        registry.push("session-token-filter:0.1.0");
        let identity = Identity::new(&["*.example.com", "session-keys.invalid"]);
        let mut all = vec![local_manifest(&identity)];
        all.extend_from_slice(manifests);
        let gateway = ControlPlane::start(name, &all);
        let mut this = Self { site, gateway, identity, _registry: registry };
        let client = this.client("www.example.com");
        let request = Request::get("/").header("host", "www.example.com");
        this.gateway.wait_until("serving", &client, &request, |status| status != 0);
        this.site.forget();
        this
    }

    /// Replaces the manifests, without waiting for it to take effect.
    pub(super) fn apply(&self, manifests: &[Manifest]) {
        self.apply_all(self.local_manifest(), manifests);
    }

    /// The same, and what stands in for the cluster too.
    pub(super) fn apply_all(&self, local: Manifest, manifests: &[Manifest]) {
        self.gateway.apply(&[&[local], manifests].concat());
    }

    /// What stands in for the cluster.
    pub(super) fn local_manifest(&self) -> Manifest {
        local_manifest(&self.identity)
    }

    /// A client that asks for `host`.
    pub(super) fn client(&self, host: &str) -> Client {
        Client::new(local(PORT))
            .tls(Trust::new(&self.identity, host))
            .with_log(self.gateway.log_file())
    }
}

/// What a cluster has before the shipped manifests come.
fn local_manifest(identity: &Identity) -> Manifest {
    let mut text = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{ name: eg }}
spec:
  controllerName: gateway.envoyproxy.io/gatewayclass-controller
  parametersRef:
    group: gateway.envoyproxy.io
    kind: EnvoyProxy
    name: host
    namespace: envoy-gateway-system
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {{ name: host, namespace: envoy-gateway-system }}
spec:
  provider: {{ type: Host, host: {{ envoyVersion: {ENVOY} }} }}
  logging: {{ level: {{ default: warn, wasm: info }} }}
"
    );
    let certificates = control_plane::certificates(&folder("gateway"));
    let file = |name: &str| {
        let path = certificates.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let authority = file("ca.crt");
    // Without the first one Envoy Gateway makes up a certificate that it then does not accept.
    for (name, namespace, certificate, key, authority) in [
        ("envoy", "envoy-gateway-system", &*file("tls.crt"), &*file("tls.key"), &*authority),
        ("example-com", "shop", identity.certificate_pem(), identity.key_pem(), ""),
        ("example-com", "infra", identity.certificate_pem(), identity.key_pem(), ""),
    ] {
        let base64 = |text: &str| Base64::encode_to_string(text).unwrap_or_default();
        let (certificate, key, authority) = (base64(certificate), base64(key), base64(authority));
        text += &format!(
            "---
apiVersion: v1
kind: Secret
metadata: {{ name: {name}, namespace: {namespace} }}
type: kubernetes.io/tls
data: {{ tls.crt: {certificate}, tls.key: {key}, ca.crt: {authority} }}
"
        );
    }
    for (name, last) in SERVICES {
        let address = loopback(last, 80).ip();
        text += &format!(
            "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{ name: {name}, namespace: shop }}
spec: {{ endpoints: [{{ ip: {{ address: {address}, port: 80 }} }}] }}
"
        );
    }
    Manifest::new("local.yaml", text)
}
