//! Istio: its control plane on a real Kubernetes API, its agent, Envoy, and `envoy/istio/`.
//!
//! ```text
//! kubectl apply -> kube-apiserver, etcd -> istiod -> pilot-agent -> Envoy with the filter
//!                                                    |
//!                                 registry 127.0.0.1:5000 (the filter's image)
//! ```
//!
//! What is not as in a cluster, and why:
//!
//! 1. Envoy is the one of all our tests, not Istio's build of it: that is in images only. Two
//!    filters that only that build has are switched off; they carry telemetry and protocols.
//! 2. No mutual TLS between workloads: certificates come from a cluster's service accounts.
//! 3. No pods: an agent is started by hand with the name, address and labels of one. Nothing
//!    captures traffic, so a sidecar gets a listener on its own address (`Sidecar`).
//! 4. Services are `ServiceEntry`s: Kubernetes refuses endpoints on loopback.

mod control_plane;
mod holes;
mod ingress;
mod kubernetes_gateway;
mod manifest;
mod proxy;
mod sidecar;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::Value;
use session_token_harness::envoy::EnvoyBinary;
use session_token_harness::workspace;

use crate::Product;
use crate::namespace::Root;
use crate::site::{self, AUTHORITIES, KEY_HOST};
use crate::tools::{GoModule, Program};
use world::World;

/// See the module.
pub(crate) const PRODUCT: Product =
    Product { name: NAME, modules: &[&REGISTRY, &ISTIO, &KUBERNETES], fetch, root, trials };

const NAME: &str = "istio";

/// The registry's program is in the module of the other product.
const REGISTRY: GoModule = GoModule {
    folder: "gateway",
    programs: &[Program {
        name: "crane",
        package: "github.com/google/go-containerregistry/cmd/crane",
        ldflags: "",
    }],
};

const ISTIO: GoModule = GoModule {
    folder: "istio",
    programs: &[
        Program {
            name: "pilot-discovery",
            package: "istio.io/istio/pilot/cmd/pilot-discovery",
            ldflags: "",
        },
        Program { name: "istioctl", package: "istio.io/istio/istioctl/cmd/istioctl", ldflags: "" },
        Program {
            name: "pilot-agent",
            package: "istio.io/istio/pilot/cmd/pilot-agent",
            ldflags: "",
        },
    ],
};

const KUBERNETES: GoModule = GoModule {
    folder: "kubernetes",
    programs: &[
        Program {
            name: "kube-apiserver",
            package: "k8s.io/kubernetes/cmd/kube-apiserver",
            ldflags: KUBERNETES_VERSION,
        },
        Program { name: "etcd", package: "go.etcd.io/etcd/server/v3", ldflags: "" },
        Program {
            name: "kubectl",
            package: "k8s.io/kubernetes/cmd/kubectl",
            ldflags: KUBERNETES_VERSION,
        },
    ],
};

/// Without it the API calls itself v0.0.0, and istiod refuses to run on something so old.
const KUBERNETES_VERSION: &str = "-X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";

/// Takes what is no Go code out of Istio's module, and Envoy.
fn fetch() -> Result<(), String> {
    EnvoyBinary::newest().map_err(|error| error.to_string())?;
    let output = Command::new("go")
        .current_dir(workspace::root().join("tests/control-planes/istio"))
        .args(["mod", "download", "-json", "istio.io/istio"])
        .output()
        .map_err(|error| format!("go: {error}"))?;
    let module: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let Some(istio) = module["Dir"].as_str().filter(|_| output.status.success()) else {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("go mod download istio.io/istio: {} {errors}", module["Error"]));
    };
    fs::create_dir_all(fetched("")).map_err(|error| error.to_string())?;
    for (from, name) in [
        ("manifests/charts/base/files/crd-all.gen.yaml", CRDS),
        ("tests/integration/pilot/testdata/gateway-api-crd.yaml", GATEWAY_API_CRDS),
        ("tools/packaging/common/envoy_bootstrap.json", BOOTSTRAP),
    ] {
        let from = Path::new(istio).join(from);
        // A copy keeps the mode, and Go's cache is read-only: the next copy would fail.
        let text = fs::read(&from).map_err(|error| format!("{}: {error}", from.display()))?;
        fs::write(fetched(name), text).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// A file that `fetch` took.
fn fetched(name: &str) -> PathBuf {
    workspace::target().join("control-planes/istio").join(name)
}

const CRDS: &str = "crd-all.gen.yaml";
const GATEWAY_API_CRDS: &str = "gateway-api-crd.yaml";
const BOOTSTRAP: &str = "envoy_bootstrap.json";

/// The key server's name, the authorities that everybody trusts, and the agents' module cache.
fn root(run: &Path) -> Root {
    let cache = run.join("agents-cache");
    fs::create_dir_all(&cache).unwrap_or_else(|error| panic!("{}: {error}", cache.display()));
    Root::new()
        .with("/etc/hosts", site::hosts(run, &[KEY_HOST]))
        .with(AUTHORITIES, site::authorities(run))
        .with("/var/lib/istio/data", cache)
}

fn trials() -> Vec<Trial> {
    let world = Arc::new(OnceLock::new());
    let trial = |name: &str, test: fn(&World)| {
        let world: Arc<OnceLock<World>> = Arc::clone(&world);
        Trial::test(format!("istio::{name}"), move || {
            test(world.get_or_init(World::start));
            Ok(())
        })
    };
    vec![
        trial("manifests::are_valid", manifest::are_valid),
        trial("ingress::sessions", ingress::sessions),
        trial("ingress::claims", ingress::claims),
        trial("ingress::cors", ingress::cors),
        trial("ingress::order_of_filters", ingress::order_of_filters),
        trial("ingress::metrics", ingress::metrics),
        trial("ingress::rotation", ingress::rotation),
        trial("ingress::key_server_outage", ingress::key_server_outage),
        trial("ingress::impostor", ingress::impostor),
        trial("ingress::request_authentication", ingress::request_authentication),
        trial("kubernetes_gateway::target_refs", kubernetes_gateway::target_refs),
        trial("sidecar::two_hops", sidecar::two_hops),
        trial("sidecar::what_goes_out", sidecar::what_goes_out),
        trial("holes::url_without_scheme", holes::url_without_scheme),
        trial("holes::selector_of_nobody", holes::selector_of_nobody),
        trial("holes::mode_of_sidecars", holes::mode_of_sidecars),
        trial("holes::image_that_is_not_ours", holes::image_that_is_not_ours),
        trial("holes::fail_open", holes::fail_open),
        trial("holes::mistaken_configuration", holes::mistaken_configuration),
    ]
}

/// Asks until it holds. What Istio is told takes effect later.
///
/// # Panics
///
/// When it never does.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
