//! Envoy Gateway, as its Host infrastructure runs it on one machine: the released control plane,
//! which starts the Envoys that it would start as pods.

mod checks;
mod control_plane;
mod holes;
mod manifests;
mod on_gateway;
mod on_route;
mod order;
mod world;

use std::fs;
use std::path::Path;

use libtest_mimic::Trial;
use session_token_harness::envoy::EnvoyBinary;

use crate::Product;
use crate::namespace::Root;
use crate::site::{self, AUTHORITIES, KEY_HOST};
use crate::tools::{GoModule, Program};

/// See the module.
pub(crate) const PRODUCT: Product =
    Product { name: "gateway", modules: &[&MODULE], fetch, root, trials };

const MODULE: GoModule = GoModule {
    folder: "gateway",
    programs: &[
        Program {
            name: "crane",
            package: "github.com/google/go-containerregistry/cmd/crane",
            ldflags: "",
        },
        Program {
            name: "envoy-gateway",
            package: "github.com/envoyproxy/gateway/cmd/envoy-gateway",
            ldflags: "",
        },
        Program { name: "egctl", package: "github.com/envoyproxy/gateway/cmd/egctl", ldflags: "" },
    ],
};

/// What this Envoy Gateway runs unless it is told otherwise.
const ENVOY: &str = "1.39.1";

fn fetch() -> Result<(), String> {
    EnvoyBinary::for_version(ENVOY).map(drop).map_err(|error| error.to_string())
}

/// Two names and paths are written into Envoy Gateway itself: where its Envoys get modules, and the
/// certificate that they verify this with.
fn root(run: &Path) -> Root {
    let certificates = control_plane::certificates(run);
    fs::create_dir_all(&certificates)
        .unwrap_or_else(|error| panic!("{}: {error}", certificates.display()));
    let names = [KEY_HOST, "envoy-gateway.envoy-gateway-system.svc.cluster.local"];
    Root::new()
        .with("/etc/hosts", site::hosts(run, &names))
        .with(AUTHORITIES, site::authorities(run))
        .with("/certs", certificates)
}

fn trials() -> Vec<Trial> {
    let parts = [
        checks::trials(),
        on_gateway::trials(),
        on_route::trials(),
        order::trials(),
        holes::trials(),
    ];
    parts.into_iter().flatten().collect()
}
