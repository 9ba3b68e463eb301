//! `gateway.yaml`: the filter on a whole Gateway, as it is shipped.
//!
//! One Envoy Gateway for all of it, in the order of a service's life: it serves, its issuer changes
//! keys, its key server fails.

use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use session_token_harness::client::{Exchange, Request, Response};
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::token::tampered;

use super::manifests::Manifest;
use super::world::{PORT, World};
use crate::site::session;

/// All tests.
pub(super) fn trials() -> Vec<Trial> {
    vec![Trial::test("gateway::on_a_gateway", || {
        let mut world = World::start("on_a_gateway", &[shipped()]);
        accepted(&world, "EnvoyExtensionPolicy", "shop/session-token");
        a_cookie_becomes_a_bearer(&world);
        nobody_else_gets_in(&world);
        claims_decide(&world);
        pages_of_other_hosts(&world);
        the_key_route_is_closed(&world);
        keys_change(&world);
        the_key_server_fails(&mut world);
        // Envoy Gateway's own access log tells reasons; so does the filter, at level info.
        world.gateway.wait_for_log("session_token_denied{missing}");
        world.gateway.wait_for_log("reason=unknown_key");
        Ok(())
    })]
}

/// The shipped file: with Backends for Services, and a port that is free here.
pub(super) fn shipped() -> Manifest {
    ["pages", "api", "orders", "orders-pro", "reports"]
        .into_iter()
        .fold(Manifest::shipped("gateway.yaml"), Manifest::with_backend)
        .with("port: 443\n      tls:", &format!("port: {PORT}\n      tls:"))
}

/// A request of the page's host.
pub(super) fn www(path: &str) -> Request {
    Request::get(path).header("host", WWW)
}

/// A request of the API's host.
pub(super) fn api(path: &str) -> Request {
    Request::get(path).header("host", API)
}

/// Expects the reason of a refusal, and that no backend saw the request.
#[track_caller]
pub(super) fn expect_denied(world: &World, exchange: &Exchange, status: u16, reason: &str) {
    exchange.expect(&format!("{status} {reason}"), |response| {
        response.status == status && response.json()["reason"] == reason
    });
    world.site.expect_refused(exchange, status);
}

/// Expects that Envoy Gateway says so of one of its objects.
#[track_caller]
pub(super) fn accepted(world: &World, kind: &str, key: &str) {
    let status = world.gateway.status(kind, key);
    assert!(status.contains("type: Accepted") && !status.contains("\"False\""), "{key}: {status}");
}

fn a_cookie_becomes_a_bearer(world: &World) {
    let client = world.client(WWW);
    let session = world.site.session("usr-1", "free");
    let request = www("/api/x?y=1")
        .header("cookie", format!("a=1; cbo_session_token={session}; b=2"))
        .header("x-user-id", "admin")
        .header("x.user.plan", "pro");
    let received = world.site.expect_at(&client.send(request), "api");
    assert_eq!(received.path, "/api/x?y=1");
    for (name, value) in [
        ("authorization", Some(format!("Bearer {session}"))),
        ("cookie", Some("a=1; b=2".to_owned())),
        ("x-user-id", Some("usr-1".to_owned())),
        ("x-user-plan", Some("free".to_owned())),
        ("x.user.plan", None),
    ] {
        let values = received.headers.all(name);
        let wanted: Vec<_> = value.iter().map(String::as_bytes).collect();
        assert_eq!(values, wanted, "{name} in\n{}", received.headers);
    }
    // Envoy Gateway's own doing, before any filter.
    let underscore = client.send(www("/").header("x_user_plan", "pro"));
    world.site.expect_refused(&underscore, 400);
    // Without a session: the page and its assets, and still no claim of the client's own.
    for path in ["/", "/assets/app.js"] {
        let received =
            world.site.expect_at(&client.send(www(path).header("x-user-plan", "pro")), "pages");
        assert_eq!(received.headers.get("x-user-plan"), None);
    }
    // The page's own POST. Its origin is this host's, over TLS.
    let post = |origin: &str| {
        Request::post("/api/x", "{}")
            .header("host", WWW)
            .header("origin", origin)
            .header("cookie", format!("cbo_session_token={session}"))
    };
    world.site.expect_at(&client.send(post("https://www.example.com")), "api");
    expect_denied(world, &client.send(post("https://evil.example")), 403, "cross_site");
}

fn nobody_else_gets_in(world: &World) {
    let token = world.site.session("usr-1", "pro");
    let others_key = SigningKey::generate(Algorithm::RS256, "k1");
    let others = session(&others_key, "usr-1", "pro");
    let with = |token: &str| format!("cbo_session_token={token}");
    for (name, host, request, reason) in [
        ("nothing", WWW, www("/api/x"), "missing"),
        ("nothing, elsewhere", WWW, www("/account"), "missing"),
        ("forged", WWW, www("/api/x").header("cookie", with(&tampered(&token))), "bad_signature"),
        ("another's key", WWW, www("/api/x").header("cookie", with(&others)), "bad_signature"),
        ("a cookie at the API", API, api("/orders").header("cookie", with(&token)), "missing"),
        ("a claim at the API", API, api("/reports").header("x-user-plan", "pro"), "missing"),
    ] {
        let exchange = world.client(host).send(request);
        assert_eq!((name, exchange.status()), (name, 401), "{exchange}");
        expect_denied(world, &exchange, 401, reason);
    }
}

/// Routes and authorization stand behind the filter.
fn claims_decide(world: &World) {
    let client = world.client(API);
    for (plan, claimed, path, backend) in [
        ("free", "free", "/orders/7", Some("orders")),
        ("pro", "free", "/orders/7", Some("orders-pro")),
        ("free", "pro", "/orders/7", Some("orders")),
        ("pro", "free", "/reports/7", Some("reports")),
        ("free", "pro", "/reports/7", None),
    ] {
        let session = world.site.session("usr-1", plan);
        let request = api(path)
            .header("authorization", format!("Bearer {session}"))
            .header("x-user-plan", claimed);
        let exchange = client.send(request);
        match backend {
            Some(backend) => {
                let received = world.site.expect_at(&exchange, backend);
                assert_eq!(received.headers.all("x-user-plan"), [plan.as_bytes()]);
            }
            // Envoy's own words: the filter let it through, the SecurityPolicy did not.
            None => {
                exchange.expect("RBAC's refusal", |answer| {
                    answer.text().starts_with("RBAC: access denied")
                });
                world.site.expect_refused(&exchange, 403);
            }
        }
    }
}

/// CORS stands before the filter.
fn pages_of_other_hosts(world: &World) {
    let client = world.client(API);
    let origin_of = |response: &Response| response.headers.text("access-control-allow-origin");
    for (origin, path) in [
        (PAGE, "/orders"),
        (PAGE, "/reports"),
        ("https://evil.example", "/orders"),
        ("https://evil.example", "/reports"),
    ] {
        let preflight = Request::new("OPTIONS", path)
            .header("host", API)
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization");
        let exchange = client.send(preflight);
        exchange.expect("a preflight answered by Envoy", |answer| {
            answer.status == 200 && origin_of(answer).is_some() == (origin == PAGE)
        });
        assert!(world.site.received().is_none(), "no preflight reaches a backend");
    }
    // The page may read an answer, the filter's refusal, and RBAC's.
    let bearer = |plan| format!("Bearer {}", world.site.session("usr-1", plan));
    for (path, authorization, status) in [
        ("/orders", Some(bearer("free")), 200),
        ("/orders", None, 401),
        ("/reports", Some(bearer("free")), 403),
    ] {
        let mut request = api(path).header("origin", PAGE);
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        client.send(request).expect("an answer that the page may read", |answer| {
            answer.status == status && origin_of(answer).as_deref() == Some(PAGE)
        });
        world.site.forget();
    }
}

fn the_key_route_is_closed(world: &World) {
    let fetched = world.site.keys.count();
    let session = world.site.session("usr-1", "pro");
    let client = world.client(KEYS);
    let request = Request::get("/").header("host", KEYS);
    world.site.expect_refused(&client.send(request.clone()), 401);
    let bearer = request.header("authorization", format!("Bearer {session}"));
    world.site.expect_refused(&client.send(bearer), 403);
    assert_eq!(world.site.keys.count(), fetched, "the key server is nobody's to ask");
    // What did come there: the name in TLS was certified, and the host is the preset's.
    for request in world.site.keys.requests() {
        assert_eq!(request.headers.text("host").as_deref(), Some(crate::site::KEY_HOST));
        assert_eq!(request.path, "/.well-known/jwks");
    }
}

/// A new key is fetched when its first token comes; the old one counts for as long as it is served.
fn keys_change(world: &World) {
    let (old, new) = (&world.site.key, SigningKey::generate(Algorithm::RS256, "k2"));
    let client = world.client(WWW);
    let ask = |token: &str| {
        client.send(www("/api/x").header("cookie", format!("cbo_session_token={token}")))
    };
    let fetched = world.site.keys.count();
    world.site.keys.serve(&jwks(&[old, &new]));
    // The next fetch for an unknown `kid` is at least 5 s after the last one.
    let began = Instant::now();
    world.site.expect_at(&ask(&session(&new, "usr-1", "free")), "api");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(world.site.keys.count() > fetched, "the new key was fetched");
    for (key, user) in [(old, "usr-2"), (&new, "usr-3")] {
        world.site.expect_at(&ask(&session(key, user, "free")), "api");
    }
    let unknown = SigningKey::generate(Algorithm::RS256, "k3");
    expect_denied(world, &ask(&session(&unknown, "usr-1", "free")), 401, "unknown_key");
}

/// Nobody is thrown out, and nobody new is let in.
fn the_key_server_fails(world: &mut World) {
    let next = SigningKey::generate(Algorithm::RS256, "k4");
    world.site.keys.serve(&jwks(&[&world.site.key, &next]));
    world.site.keys.stop();
    let client = world.client(WWW);
    let ask = |key: &SigningKey, user: &str| {
        let session = session(key, user, "free");
        client.send(www("/api/x").header("cookie", format!("cbo_session_token={session}")))
    };
    // Past any pause between two fetches.
    let end = Instant::now() + Duration::from_secs(7);
    while Instant::now() < end {
        world.site.expect_at(&ask(&world.site.key, "usr-1"), "api");
        let refused = ask(&next, "usr-1");
        refused.expect("no access without its key", |answer| matches!(answer.status, 401 | 503));
        world.site.expect_refused(&refused, refused.status());
        thread::sleep(Duration::from_millis(300));
    }
    // A user who never came before, by a key that is known.
    world.site.expect_at(&ask(&world.site.key, "usr-9"), "api");
    world.site.keys.start_again();
    let client = world.client(WWW);
    let request = www("/api/x")
        .header("cookie", format!("cbo_session_token={}", session(&next, "usr-1", "free")));
    world.gateway.wait_until("in with the new key", &client, &request, |status| status == 200);
    world.site.forget();
}

const WWW: &str = "www.example.com";
const API: &str = "api.example.com";
const KEYS: &str = "session-keys.invalid";
const PAGE: &str = "https://www.example.com";
