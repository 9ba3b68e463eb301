//! How a gateway comes to serve without the filter and says nothing, or refuses everything. The
//! README warns of each; here they are seen, so that it does not warn of what is no longer so.

use super::eventually;
use super::ingress::{API, Ingress, POD, manifest};
use super::manifest::{IMAGE, Manifest, SHIPPED_IMAGE};
use super::proxy::Proxy;
use super::world::{World, get};
use crate::registry;

/// `host:port/…` without `oci://`: everybody takes it, and istiod drops the plugin.
pub(crate) fn url_without_scheme(world: &World) {
    let hole = with_image(world, &format!("{}/{IMAGE}", registry::ADDRESS)).without_policy();
    let ingress = Ingress::start(world, &hole);
    let exchange = ingress.proxy.client().send(get(API, "/orders"));
    let received = world.expect_at(&exchange, "orders");
    assert!(received.headers.get("authorization").is_none());
    let log = world.plane.log();
    assert!(
        log.lines().any(|line| line.contains("istio-ingress/session-token")
            && line.contains("discarded due to failure to parse wasm URL")),
        "istiod says nothing of it"
    );
}

/// A label that no pod has.
pub(crate) fn selector_of_nobody(world: &World) {
    let hole = manifest(world)
        .with(
            "    matchLabels: { istio: ingressgateway }\n  # Always with",
            "    matchLabels: { istio: ingress }\n  # Always with",
        )
        .without_policy();
    let ingress = Ingress::start(world, &hole);
    world.expect_at(&ingress.proxy.client().send(get(API, "/orders")), "orders");
    // With the right label it is guarded from one moment to the next.
    let mut applied = ingress.applied;
    applied.change_to(&manifest(world));
    let exchange = ingress.proxy.eventually(&get(API, "/orders"), 401);
    exchange.expect("refused by the filter", |answer| answer.json()["reason"] == "missing");
}

/// `match` for incoming requests only, as sidecars have it: to a gateway every request is outgoing.
pub(crate) fn mode_of_sidecars(world: &World) {
    let hole = manifest(world)
        .with("  phase: AUTHN\n", "  phase: AUTHN\n  match: [{ mode: SERVER }]\n")
        .without_policy();
    let ingress = Ingress::start(world, &hole);
    world.expect_at(&ingress.proxy.client().send(get(API, "/orders")), "orders");
}

/// A digest that the image has not: nothing is served. With the right one it is.
pub(crate) fn image_that_is_not_ours(world: &World) {
    let right = with_image(
        world,
        &format!(
            "oci://{}/{}@{}",
            registry::ADDRESS,
            IMAGE.split(':').next().unwrap_or_default(),
            world.digest
        ),
    );
    let mut ingress = Ingress::start(world, &right);
    world.expect_refused(&ingress.proxy.client().send(get(API, "/orders")), 401, "missing");
    for strategy in ["FAIL_RELOAD", "FAIL_CLOSE"] {
        ingress.applied.change_to(&with_wrong_sha256(world, strategy));
        let exchange = ingress.proxy.eventually(&get(API, "/orders"), 403);
        world.expect_forbidden(&exchange);
        // Not even the page, which needs no session: this is no longer the filter.
        world.expect_forbidden(&ingress.proxy.client().send(get("www.example.com", "/")));
        let complaint = "cannot fetch Wasm module";
        assert!(ingress.proxy.log().contains(complaint), "the agent says nothing of it");
        ingress.applied.change_to(&manifest(world));
        ingress.proxy.eventually(&get(API, "/orders"), 401);
    }
}

/// The same with `FAIL_OPEN`: everything is served.
pub(crate) fn fail_open(world: &World) {
    let ingress = Ingress::start(world, &with_wrong_sha256(world, "FAIL_OPEN").without_policy());
    world.expect_at(&ingress.proxy.client().send(get(API, "/orders")), "orders");
    let log = ingress.proxy.log();
    assert!(log.contains("applying allow RBAC filter"), "the agent says nothing of it");
}

/// A mistake in `pluginConfig`, which nobody looks into before Envoy: a running gateway keeps what it
/// has, and a new one never opens its port.
pub(crate) fn mistaken_configuration(world: &World) {
    let mistaken = manifest(world).with("      realm: example\n", "      relm: example\n");
    {
        let mut ingress = Ingress::start(world, &manifest(world));
        ingress.applied.change_to(&mistaken);
        let complaint = "configuration refused: responses.relm: unknown field";
        eventually(complaint, || ingress.proxy.log().contains(complaint));
        world.expect_refused(&ingress.proxy.client().send(get(API, "/orders")), 401, "missing");
    }
    let _applied = world.plane.apply(&mistaken);
    let proxy = Proxy::start(POD, world.folder());
    let complaint = "configuration refused: responses.relm: unknown field";
    eventually(complaint, || proxy.log().contains(complaint));
    assert_eq!(proxy.client().send(get(API, "/orders")).status(), 0, "served without the filter");
}

impl Manifest {
    /// Without the rules on claims: a policy would still refuse what the filter no longer does.
    fn without_policy(self) -> Self {
        self.with("action: ALLOW\n  rules:\n", "action: ALLOW\n  rules:\n    - {}\n")
    }
}

fn with_image(world: &World, url: &str) -> Manifest {
    Manifest::shipped("ingress-gateway.yaml").with(SHIPPED_IMAGE, url).with_our_certificate(world)
}

fn with_wrong_sha256(world: &World, strategy: &str) -> Manifest {
    let sha256 = format!("  phase: AUTHN\n  sha256: \"{}\"\n", "0".repeat(64));
    manifest(world)
        .with("  phase: AUTHN\n", &sha256)
        .with("failStrategy: FAIL_RELOAD", &format!("failStrategy: {strategy}"))
}
