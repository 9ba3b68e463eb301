//! What goes wrong without a word, and what is refused when something goes wrong. README's section
//! on Envoy Gateway says no more than what is seen here.
//!
//! Each row changes one thing in `gateway.yaml` and asks a new Envoy Gateway.

use libtest_mimic::Trial;

use super::manifests::Manifest;
use super::on_gateway::{accepted, api, expect_denied, shipped, www};
use super::world::World;
use crate::registry;

/// All tests.
pub(super) fn trials() -> Vec<Trial> {
    let trial = |name: &str, test: Box<dyn FnOnce() + Send>| {
        Trial::test(format!("gateway::holes::{name}"), || {
            test();
            Ok(())
        })
    };
    let mut trials: Vec<_> =
        rows().into_iter().map(|row| trial(row.name, Box::new(move || row.run()))).collect();
    trials.push(trial("a_second_security_policy", Box::new(a_second_security_policy)));
    trials.push(trial("a_refused_update", Box::new(a_refused_update)));
    trials
}

/// What becomes of requests without a session.
#[derive(Clone, Copy)]
enum Outcome {
    /// They are refused by the filter.
    Guarded,
    /// They reach the backends, with whatever claims the client wrote.
    Open,
    /// They end with this status before any backend, and so do those with a session, and those
    /// that need none.
    Closed(u16),
    /// They are refused by the filter, and those with a session too: it has no keys.
    NoKeys,
}

struct Row {
    /// Its folder too.
    name: &'static str,
    manifests: Vec<Manifest>,
    outcome: Outcome,
    /// What Envoy Gateway says about the policy: a part of its status, or that there is none.
    status: Option<&'static str>,
}

fn rows() -> Vec<Row> {
    let row =
        |name, manifest, outcome, status| Row { name, manifests: vec![manifest], outcome, status };
    let with_lua = |name, merge: &str, outcome, status| Row {
        name,
        manifests: vec![shipped(), lua(merge)],
        outcome,
        status: Some(status),
    };
    let no_image = |manifest: Manifest| manifest.with("-filter:0.1.0\n", "-filter:9.9.9\n");
    let fail_open = |manifest: Manifest| manifest.with("failOpen: false", "failOpen: true");
    let digest = |digest: &str| {
        shipped()
            .with("-filter:0.1.0\n", &format!("-filter:0.1.0\n          sha256: \"{digest}\"\n"))
    };
    vec![
        row("as_shipped", shipped(), Outcome::Guarded, Some("type: Accepted")),
        row(
            "no_such_target",
            shipped().with("kind: Gateway, name: edge }", "kind: Gateway, name: egde }"),
            Outcome::Open,
            None,
        ),
        row(
            "another_namespace",
            shipped().with(
                "  name: session-token\n  namespace: shop",
                "  name: session-token\n  namespace: infra",
            ),
            Outcome::Open,
            None,
        ),
        row("no_image", no_image(shipped()), Outcome::Closed(500), Some("reason: Invalid")),
        row(
            "no_image_and_fail_open",
            fail_open(no_image(shipped())),
            Outcome::Open,
            Some("reason: Invalid"),
        ),
        row("another_digest", digest(NO_DIGEST), Outcome::Closed(500), Some("reason: Invalid")),
        row(
            "another_digest_and_fail_open",
            fail_open(digest(NO_DIGEST)),
            Outcome::Open,
            Some("reason: Invalid"),
        ),
        row(
            "its_digest",
            digest(&registry::image_digest()),
            Outcome::Guarded,
            Some("type: Accepted"),
        ),
        row(
            "a_digest_for_a_tag",
            shipped().with(":0.1.0\n", &format!("@sha256:{}\n", registry::image_digest())),
            Outcome::Guarded,
            Some("type: Accepted"),
        ),
        row(
            "a_refused_configuration",
            misspelt(shipped()),
            Outcome::Closed(503),
            Some("type: Accepted"),
        ),
        row(
            "a_refused_configuration_and_fail_open",
            fail_open(misspelt(shipped())),
            Outcome::Open,
            Some("type: Accepted"),
        ),
        with_lua("a_policy_on_one_route_takes_its_place", "", Outcome::Open, "reason: Overridden"),
        with_lua(
            "a_merged_policy_does_not",
            "mergeType: StrategicMerge, ",
            Outcome::Guarded,
            "reason: Merged",
        ),
        row(
            "no_such_cluster",
            // The route that makes the cluster has another name.
            shipped().with(
                "  name: session-keys\n  namespace: shop\nspec:\n  parentRefs",
                "  name: other-keys\n  namespace: shop\nspec:\n  parentRefs",
            ),
            Outcome::NoKeys,
            Some("type: Accepted"),
        ),
    ]
}

/// A policy of the same kind, for something else, on the route of the page's host.
fn lua(merge: &str) -> Manifest {
    let text = format!(
        "apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {{ name: lua, namespace: shop }}
spec: {{ {merge}targetRefs: [{{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: www }}],
  lua: [{{ type: Inline, inline: \"function envoy_on_request(handle) end\" }}] }}
"
    );
    Manifest::new("lua.yaml", text)
}

/// A route takes one of them. The other one says so in its status, and nowhere else.
fn a_second_security_policy() {
    let text = "apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: { name: second, namespace: shop }
spec: { targetRefs: [{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: reports }],
  authorization: { defaultAction: Allow } }
";
    let world = World::start("a_second", &[shipped(), Manifest::new("second.yaml", text)]);
    assert!(world.gateway.status("SecurityPolicy", "shop/second").contains("reason: Conflicted"));
    let bearer = format!("Bearer {}", world.site.session("usr-1", "free"));
    let request = api("/reports").header("authorization", bearer);
    world.site.expect_refused(&world.client("api.example.com").send(request), 403);
}

/// Envoys that run keep what they have. The policy says Accepted as before; their log says why.
fn a_refused_update() {
    let mut world = World::start("a_refused_update", &[shipped()]);
    world.apply(&[misspelt(shipped())]);
    world.gateway.wait_for_log("realms: unknown field; did you mean `realm`?");
    world.gateway.wait_for_log("Envoy rejected the last update");
    expect_denied(&world, &world.client("www.example.com").send(www("/api/x")), 401, "missing");
    let cookie = format!("cbo_session_token={}", world.site.session("usr-1", "free"));
    let request = www("/api/x").header("cookie", cookie);
    world.site.expect_at(&world.client("www.example.com").send(request), "api");
    accepted(&world, "EnvoyExtensionPolicy", "shop/session-token");
}

fn misspelt(manifest: Manifest) -> Manifest {
    manifest.with("realm: example", "realms: example")
}

impl Row {
    fn run(&self) {
        let world = World::start(self.name, &self.manifests);
        let session = world.site.session("usr-1", "free");
        let nobody = world.client("www.example.com").send(www("/api/x"));
        let somebody = || {
            let cookie = format!("cbo_session_token={session}");
            world.client("www.example.com").send(www("/api/x").header("cookie", cookie))
        };
        match self.outcome {
            Outcome::Guarded => {
                expect_denied(&world, &nobody, 401, "missing");
                world.site.expect_at(&somebody(), "api");
            }
            Outcome::Open => {
                world.site.expect_at(&nobody, "api");
                let received = world.site.expect_at(&somebody(), "api");
                assert!(received.headers.get("cookie").is_some(), "the cookie is still there");
                self.claims_are_anybodys(&world);
            }
            Outcome::Closed(status) => {
                world.site.expect_refused(&nobody, status);
                let page = world.client("www.example.com").send(www("/"));
                world.site.expect_refused(&page, status);
                world.site.expect_refused(&somebody(), status);
            }
            Outcome::NoKeys => {
                expect_denied(&world, &nobody, 401, "missing");
                expect_denied(&world, &somebody(), 503, "keys_unavailable");
            }
        }
        let status = |key| world.gateway.status("EnvoyExtensionPolicy", key);
        let of_policy = status("shop/session-token") + &status("infra/session-token");
        match self.status {
            Some(part) => assert!(of_policy.contains(part), "{part} in {of_policy:?}"),
            None => assert_eq!(of_policy, ""),
        }
    }

    /// A policy that trusts a claim's header trusts everybody, where the filter is not.
    fn claims_are_anybodys(&self, world: &World) {
        if self.manifests.len() > 1 {
            return; // The Lua policy is on another route.
        }
        let forged =
            world.client("api.example.com").send(api("/reports").header("x-user-plan", "pro"));
        world.site.expect_at(&forged, "reports");
    }
}

const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
