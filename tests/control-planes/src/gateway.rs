//! Envoy Gateway.

use std::fs;
use std::path::Path;

use libtest_mimic::Trial;
use session_token_harness::client::{Client, Request};
use session_token_harness::envoy::EnvoyBinary;

use crate::namespace::Root;
use crate::registry::Registry;
use crate::site::{self, BACKEND_PORT, KEY_HOST, Site};
use crate::tools::{GoModule, Program};
use crate::{Product, folder};

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

fn fetch() -> Result<(), String> {
    EnvoyBinary::newest().map(drop).map_err(|error| error.to_string())
}

fn root(run: &Path) -> Root {
    let certs = run.join("certs");
    fs::create_dir_all(&certs).unwrap_or_else(|error| panic!("{}: {error}", certs.display()));
    Root::new().with("/etc/hosts", site::hosts(run, &[KEY_HOST])).with("/certs", certs)
}

fn trials() -> Vec<Trial> {
    vec![Trial::test("gateway::the_site_stands", || {
        let site = Site::start();
        let registry = Registry::start(&folder("gateway"));
        let digest = registry.push("session-token-filter:test", &folder("gateway"));
        assert!(digest.starts_with("sha256:"), "{digest}");
        Client::new(site::local(BACKEND_PORT)).send(Request::get("/")).expect_status(200);
        assert!(site.backend.take_last().is_some());
        assert!(Path::new("/certs").is_dir());
        Ok(())
    })]
}
