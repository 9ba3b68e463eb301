//! An Envoy of a test's own, where state matters: with its own key server and its own backend.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use session_token_harness::backend::Backend;
use session_token_harness::bootstrap::{Bootstrap, Cluster, Listener, Route, WasmFilter};
use session_token_harness::client::{Client, Exchange, Request};
use session_token_harness::envoy::{Envoy, EnvoyOptions};
use session_token_harness::key_server::KeyServer;

use crate::world::{PROJECT, World};

/// See the module.
pub(crate) struct Site {
    pub(crate) envoy: Envoy,
    pub(crate) app: Backend,
    pub(crate) keys: KeyServer,
}

impl Site {
    /// One listener, `ingress`, with this configuration of the filter.
    pub(crate) fn start(world: &World, keys: KeyServer, configuration: Value) -> Self {
        Self::with(world, keys, |bootstrap| bootstrap.listener(ingress(configuration)))
    }

    /// Clusters `keys` and `app`, and whatever `complete` adds.
    pub(crate) fn with(
        world: &World,
        keys: KeyServer,
        complete: impl FnOnce(Bootstrap) -> Bootstrap,
    ) -> Self {
        Self::with_workers(world, 1, keys, complete)
    }

    /// As `with`, and with so many worker threads.
    pub(crate) fn with_workers(
        world: &World,
        workers: u32,
        keys: KeyServer,
        complete: impl FnOnce(Bootstrap) -> Bootstrap,
    ) -> Self {
        let app = Backend::start("app");
        let bootstrap = Bootstrap::new()
            .cluster(Cluster::new("app", app.address()))
            .cluster(Cluster::new("keys", keys.address()));
        let mut options = EnvoyOptions::new(world.binary(), complete(bootstrap));
        options.concurrency = workers;
        let envoy = Envoy::start(options).unwrap_or_else(|error| panic!("{error}"));
        Self { envoy, app, keys }
    }

    /// A client of `ingress`.
    pub(crate) fn client(&self) -> Client {
        self.envoy.client(INGRESS)
    }

    /// A GET with a bearer.
    pub(crate) fn get(&self, token: &str) -> Exchange {
        self.client().send(get(token))
    }

    /// One of the filter's metrics, without `session_token.`.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let stat = self.envoy.stat(&format!("wasmcustom.session_token.{name}"));
        stat.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until one of the filter's metrics has reached `least`. It is flushed every second.
    pub(crate) fn wait_for_metric(&self, name: &str, least: u64) {
        eventually(&format!("{name} >= {least}"), || self.metric(name) >= least);
    }

    /// How many lines of the log contain all of `parts`.
    pub(crate) fn log_lines(&self, parts: &[&str]) -> usize {
        let log = self.envoy.log();
        log.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    /// The test is over: the VM must have lived through it, and the log is kept for the search.
    pub(crate) fn end(self, world: &World) {
        end(world, self.envoy);
    }
}

/// What `Site::end` does, for an Envoy that was started without one.
pub(crate) fn end(world: &World, envoy: Envoy) {
    let log = envoy.log();
    let is_death = |line: &&str| {
        line.contains("panicked at")
            // The filter's refusal of a configuration reads alike.
            || (line.contains("Wasm VM failed") && !line.contains("Failed to configure"))
    };
    let death = log.lines().find(is_death);
    assert!(death.is_none(), "the VM died: {}\n{}", death.unwrap_or_default(), envoy.log_tail());
    world.retire(envoy);
}

/// A listener with the filter, everything routed to `app`.
pub(crate) fn ingress(configuration: Value) -> Listener {
    named_ingress(INGRESS, WasmFilter::new().configuration(configuration))
}

/// As `ingress`, with any name and any form of the filter.
pub(crate) fn named_ingress(name: &str, filter: WasmFilter) -> Listener {
    Listener::new(name).filter(filter).route(Route::prefix("/").to("app"))
}

/// A configuration with one provider, `corbado`.
pub(crate) fn corbado(jwks: Value) -> Value {
    json!({"providers": [{
        "name": "corbado",
        "preset": {"corbado": {"project_id": PROJECT}},
        "jwks": jwks,
        "claim_headers": [{"header": "x-user-id", "claim": "sub"}]
    }]})
}

/// A remote key set behind the cluster `keys`, with further fields.
pub(crate) fn remote(fields: Value) -> Value {
    let mut remote = json!({"cluster": "keys"});
    for (name, value) in fields.as_object().into_iter().flatten() {
        remote[name] = value.clone();
    }
    json!({"remote": remote})
}

/// A GET with a bearer.
pub(crate) fn get(token: &str) -> Request {
    Request::get("/orders").header("authorization", format!("Bearer {token}"))
}

/// Waits until `holds`.
#[track_caller]
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Fails unless the answer is this refusal.
#[track_caller]
pub(crate) fn expect_denied(exchange: &Exchange, status: u16, reason: &str) {
    exchange.expect(&format!("{status} {reason}"), |response| {
        response.status == status && response.json()["reason"] == reason
    });
}

/// The listener of a site that has only one.
pub(crate) const INGRESS: &str = "ingress";

/// Far longer than anything takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
