//! What is counted while all goes well, and that nothing is logged then.

use std::collections::BTreeMap;
use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use session_token_harness::bootstrap::Cluster;
use session_token_harness::client::{Client, Request};
use session_token_harness::envoy::{Envoy, EnvoyError, EnvoyOptions};
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::token::tampered;

use crate::answers::{own_lines, start};
use crate::extraction::bearer;
use crate::trial;
use crate::world::{World, corbado, listener, session};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![trial(world, "metrics::happy_path", happy_path)]
}

/// In an Envoy of its own: metrics are global.
fn happy_path(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let key_server = KeyServer::start(&jwks(&[&key]));
    let with_cache = |entries: u64| {
        json!({
            "providers": [corbado()],
            "rules": [
                {"match": {"path": {"prefix": "/public"}}, "access": "public"},
                {"match": {"path": {"prefix": "/optional"}}, "access": "optional"}
            ],
            "cache": {"entries": entries}
        })
    };
    let bootstrap = world
        .backends()
        .cluster(Cluster::new("keys", key_server.address()))
        .listener(listener("cached", with_cache(100)))
        .listener(listener("one-cached", with_cache(1)))
        .listener(listener("uncached", with_cache(0)));
    let envoy = start(EnvoyOptions::new(world.binary(), bootstrap));
    let [cached, one_cached, uncached] =
        ["cached", "one-cached", "uncached"].map(|listener| envoy.client(listener));

    let token = |user: &str| session(user).signed_by(&key);
    let (first, second) = (token("usr-1"), token("usr-2"));
    let get = |client: &Client, path: &str, token: Option<&str>| {
        let request = Request::get(path);
        let request = match token {
            Some(token) => request.header("authorization", bearer(token)),
            None => request,
        };
        client.send(request).status()
    };
    let mut expected = Counts::new();
    let logged = own_lines(&envoy).len();

    for _ in 0..3 {
        assert_eq!(get(&cached, "/orders", Some(&first)), 200);
    }
    expected.add("allowed", 3).add("token_cache_miss", 1).add("token_cache_hit", 2);

    for path in ["/public", "/public/x"] {
        assert_eq!(get(&cached, path, Some("whatever")), 200);
    }
    expected.add("allowed_public", 2);

    for _ in 0..2 {
        assert_eq!(get(&cached, "/optional", None), 200);
    }
    assert_eq!(get(&cached, "/optional", Some(&first)), 200);
    expected.add("allowed_optional", 2).add("allowed", 1).add("token_cache_hit", 1);

    let preflight = Request::new("OPTIONS", "/orders")
        .header("origin", "https://www.example.com")
        .header("access-control-request-method", "DELETE");
    cached.send(preflight).expect_status(200);
    expected.add("allowed_preflight", 1);

    let unwritable = session("usr-3").claim("name", "a\nb").claim("plan", json!(["a"]));
    let unwritable = unwritable.signed_by(&key);
    for _ in 0..2 {
        assert_eq!(get(&cached, "/orders", Some(&unwritable)), 200);
    }
    // Rendered once.
    expected.add("claim_header_skipped", 2);
    expected.add("allowed", 2).add("token_cache_miss", 1).add("token_cache_hit", 1);

    for token in [&first, &second, &second] {
        assert_eq!(get(&one_cached, "/orders", Some(token)), 200);
    }
    expected.add("allowed", 3).add("token_cache_miss", 2).add("token_cache_hit", 1);
    expected.add("token_cache_evicted", 1);

    for _ in 0..2 {
        assert_eq!(get(&uncached, "/orders", Some(&first)), 200);
    }
    expected.add("allowed", 2).add("token_cache_miss", 2);
    check(&envoy, &expected);
    assert_eq!(own_lines(&envoy).len(), logged, "nothing is logged: {:#?}", own_lines(&envoy));

    // A verdict is cached for its very bytes.
    assert_eq!(get(&cached, "/orders", Some(&tampered(&first))), 401);
    expected.add("denied.bad_signature", 1).add("token_cache_miss", 1);
    check(&envoy, &expected);

    let response = envoy.admin_get("/stats/prometheus").unwrap_or_else(|error| panic!("{error}"));
    let text = response.text();
    for line in ["session_token_allowed{} 11", "session_token_token_cache_miss{} 7"] {
        assert!(text.lines().any(|other| other == line), "{line}");
    }
    world.retire(envoy);
}

/// Waits for the flush, then compares all counters of requests.
fn check(envoy: &Envoy, expected: &Counts) {
    let counts = |envoy: &Envoy| {
        let stats = envoy.stats()?;
        Ok(stats
            .into_iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value)))
            .filter(|(name, value)| *value > 0 && !name.starts_with("jwks_"))
            .collect::<BTreeMap<_, _>>())
    };
    let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    let flushed = envoy.wait_for("the counters", std::time::Duration::from_secs(5), |envoy| {
        Ok((sum(&counts(envoy)?) >= sum(&expected.0)).then_some(()))
    });
    let came = counts(envoy).unwrap_or_else(|error: EnvoyError| panic!("{error}"));
    assert_eq!(came, expected.0, "{flushed:?}");
}

/// Counters that are not zero, without their common prefix.
struct Counts(BTreeMap<String, u64>);

impl Counts {
    fn new() -> Self {
        Self(BTreeMap::new())
    }

    fn add(&mut self, name: &str, amount: u64) -> &mut Self {
        *self.0.entry(name.to_owned()).or_default() += amount;
        self
    }
}

/// How Envoy shows custom metrics of modules.
const PREFIX: &str = "wasmcustom.session_token.";
