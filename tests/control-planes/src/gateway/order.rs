//! The filter's place among others. CORS before it and authorization behind it are seen with the
//! shipped manifests; here is Envoy's own JWT filter, which stands before it unless told otherwise.

use libtest_mimic::Trial;
use session_token_harness::client::Request;
use session_token_harness::keys::jwks;

use super::manifests::Manifest;
use super::on_gateway::{shipped, www};
use super::world::World;
use crate::site::PROJECT;

/// All tests.
pub(super) fn trials() -> Vec<Trial> {
    vec![Trial::test("gateway::order::envoys_jwt_filter", || {
        envoys_jwt_filter();
        Ok(())
    })]
}

fn envoys_jwt_filter() {
    let mut world = World::start("order", &[shipped()]);
    let client = world.client("www.example.com");
    let session = world.site.session("usr-1", "free");
    let cookie: Request = www("/api/x").header("cookie", format!("cbo_session_token={session}"));
    world.site.expect_at(&client.send(cookie.clone()), "api");

    // It sees no bearer in a request with a cookie.
    let manifests = [shipped(), jwt(&jwks(&[&world.site.key]).to_string())];
    world.apply(&manifests);
    world.gateway.wait_until("refused by the JWT filter", &client, &cookie, |status| status == 401);
    let exchange = client.send(cookie.clone());
    exchange.expect("Envoy's own words", |answer| answer.text() == "Jwt is missing");
    world.site.forget();
    let bearer = www("/api/x").header("authorization", format!("Bearer {session}"));
    world.site.expect_at(&client.send(bearer), "api");

    // Behind the filter it sees what the filter writes.
    let order = "filterOrder:
    - { name: envoy.filters.http.wasm, before: envoy.filters.http.jwt_authn }
  provider:";
    world.apply_all(world.local_manifest().with("provider:", order), &manifests);
    world.gateway.wait_until("in with a cookie", &client, &cookie, |status| status == 200);
    world.site.forget();
    let received = world.site.expect_at(&client.send(cookie), "api");
    assert_eq!(received.headers.text("x-jwt-sub").as_deref(), Some("usr-1"), "of the JWT filter");
    let nobody = client.send(www("/api/x"));
    super::on_gateway::expect_denied(&world, &nobody, 401, "missing");
}

/// Envoy's own verification of the same tokens.
fn jwt(keys: &str) -> Manifest {
    let text = format!(
        "apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {{ name: www, namespace: shop }}
spec:
  targetRefs: [{{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: www }}]
  jwt:
    providers:
      - name: corbado
        issuer: https://{PROJECT}.frontendapi.cloud.corbado.io
        localJWKS: {{ type: Inline, inline: '{keys}' }}
        claimToHeaders: [{{ claim: sub, header: x-jwt-sub }}]
"
    );
    Manifest::new("jwt.yaml", text)
}
