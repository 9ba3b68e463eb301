//! `http-route.yaml`: the filter on one route of a Gateway that others own.

use libtest_mimic::Trial;
use session_token_harness::client::Request;
use session_token_harness::token::tampered;

use super::manifests::Manifest;
use super::on_gateway::{accepted, expect_denied};
use super::world::{PORT, World};

/// All tests.
pub(super) fn trials() -> Vec<Trial> {
    vec![Trial::test("gateway::on_a_route", || {
        let world = World::start("on_a_route", &[shipped(), others()]);
        accepted(&world, "EnvoyExtensionPolicy", "shop/session-token");
        the_route_is_guarded(&world);
        its_neighbour_is_not(&world);
        Ok(())
    })]
}

/// The shipped file, with a Backend for its Service.
fn shipped() -> Manifest {
    Manifest::shipped("http-route.yaml").with_backend("reports")
}

/// The Gateway, and another of its routes.
fn others() -> Manifest {
    Manifest::new(
        "infra.yaml",
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{ name: edge, namespace: infra }}
spec:
  gatewayClassName: eg
  listeners:
    - name: https
      protocol: HTTPS
      port: {PORT}
      tls: {{ certificateRefs: [{{ name: example-com }}] }}
      allowedRoutes: {{ namespaces: {{ from: All }} }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: neighbour, namespace: shop }}
spec:
  parentRefs: [{{ name: edge, namespace: infra }}]
  hostnames: [www.example.com]
  rules: [{{ backendRefs: [{{ group: gateway.envoyproxy.io, kind: Backend, name: neighbour }}] }}]
"
        ),
    )
}

fn the_route_is_guarded(world: &World) {
    let client = world.client(HOST);
    let get = |path: &str| Request::get(path).header("host", HOST);
    let (free, pro) = (world.site.session("usr-1", "free"), world.site.session("usr-1", "pro"));
    for request in [
        get("/").header("cookie", format!("a=1; cbo_session_token={pro}")),
        get("/").header("cookie", "a=1").header("authorization", format!("Bearer {pro}")),
    ] {
        let received =
            world.site.expect_at(&client.send(request.header("x-user-plan", "free")), "reports");
        for (name, value) in [
            ("authorization", &*format!("Bearer {pro}")),
            ("cookie", "a=1"),
            ("x-user-id", "usr-1"),
            ("x-user-plan", "pro"),
        ] {
            assert_eq!(received.headers.all(name), [value.as_bytes()], "{name}");
        }
    }
    let with = |token: &str| get("/").header("cookie", format!("cbo_session_token={token}"));
    expect_denied(world, &client.send(get("/").header("x-user-plan", "pro")), 401, "missing");
    expect_denied(world, &client.send(with(&tampered(&pro))), 401, "bad_signature");
    let exchange = client.send(with(&free).header("x-user-plan", "pro"));
    world.site.expect_refused(&exchange, 403);
    let preflight = Request::new("OPTIONS", "/")
        .header("host", HOST)
        .header("origin", "https://www.example.com")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization");
    client.send(preflight).expect("a granted preflight", |answer| {
        answer.status == 200
            && answer.headers.text("access-control-allow-origin").as_deref()
                == Some("https://www.example.com")
    });
    assert!(world.site.received().is_none(), "no preflight reaches a backend");
    // The route of the keys is closed by its own policy, as the filter is not on it.
    let keys = world.client("session-keys.invalid");
    let request = Request::get("/.well-known/jwks").header("host", "session-keys.invalid");
    world.site.expect_refused(&keys.send(request), 403);
}

/// Whoever owns it decides. Nothing of the filter happens there.
fn its_neighbour_is_not(world: &World) {
    let request = Request::get("/")
        .header("host", "www.example.com")
        .header("cookie", "cbo_session_token=x")
        .header("x-user-plan", "pro");
    let exchange = world.client("www.example.com").send(request);
    let received = world.site.expect_at(&exchange, "neighbour");
    assert_eq!(received.headers.text("cookie").as_deref(), Some("cbo_session_token=x"));
    assert_eq!(received.headers.text("x-user-plan").as_deref(), Some("pro"));
}

const HOST: &str = "reports.example.com";
