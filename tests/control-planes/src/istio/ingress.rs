//! `ingress-gateway.yaml`, and `request-authentication.yaml` on top of it.

use std::net::{IpAddr, Ipv4Addr};

use session_token_harness::client::{Request, Response};
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::server::ReceivedRequest;
use session_token_harness::tls::{Identity, Trust};
use session_token_harness::token::{Token, tampered};

use super::control_plane::Applied;
use super::eventually;
use super::manifest::Manifest;
use super::proxy::{Kind, Pod, Proxy};
use super::world::{World, get};
use crate::site::{KEY_HOST, PROJECT, local};

/// The hosts of the manifest.
pub(crate) const WWW: &str = "www.example.com";
pub(crate) const API: &str = "api.example.com";
const PAGE_ORIGIN: &str = "https://www.example.com";

/// The manifest as this machine can run it.
pub(crate) fn manifest(world: &World) -> Manifest {
    Manifest::shipped("ingress-gateway.yaml").with_our_image().with_our_certificate(world)
}

/// A pod of the gateway.
pub(crate) const POD: Pod = Pod {
    name: "ingress-0",
    namespace: "istio-ingress",
    label: ("istio", "ingressgateway"),
    kind: Kind::Router,
    address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
    port: 8443,
    number: 0,
};

/// The manifest applied, and a gateway that has taken it.
pub(crate) struct Ingress<'a> {
    pub(crate) proxy: Proxy,
    pub(crate) applied: Applied<'a>,
}

impl<'a> Ingress<'a> {
    /// # Panics
    ///
    /// When the page, which needs no session, is not served in the end.
    pub(crate) fn start(world: &'a World, manifest: &Manifest) -> Self {
        let applied = world.plane.apply(manifest);
        let proxy = Proxy::start(POD, world.folder()).over_tls(Trust::new(&world.identity, WWW));
        proxy.eventually(&get(WWW, "/"), 200);
        world.forget_requests();
        Self { proxy, applied }
    }
}

/// The login's cookie goes in, a bearer comes out; nothing else does.
pub(crate) fn sessions(world: &World) {
    let ingress = Ingress::start(world, &manifest(world));
    let client = ingress.proxy.client();
    let session = world.session("free");
    let cookie = |token: &str| format!("a=1; cbo_session_token={token}; b=2");
    let request = get(WWW, "/api/profile")
        .header("cookie", cookie(&session))
        .header("x-user-id", "admin")
        .header("x_user_id", "admin");
    let received = world.expect_at(&client.send(request), "api");
    expect_headers(
        &received,
        &[
            ("authorization", &[&format!("Bearer {session}")]),
            ("cookie", &["a=1; b=2"]),
            ("x-user-id", &["usr-1"]),
            ("x_user_id", &[]),
        ],
    );
    let asset = get(WWW, "/assets/app.js").header("x-user-id", "admin");
    let received = world.expect_at(&client.send(asset), "pages");
    expect_headers(&received, &[("x-user-id", &[])]);
    // The page's own origin is the gateway's: Envoy knows that this is https.
    let post = |origin: &str| {
        Request::post("/api/profile", "x")
            .header("host", WWW)
            .header("cookie", cookie(&session))
            .header("origin", origin)
    };
    world.expect_at(&client.send(post(PAGE_ORIGIN)), "api");
    world.expect_refused(&client.send(post("https://evil.example")), 403, "cross_site");
    let bearer = |token: &str| format!("Bearer {token}");
    let request = get(API, "/orders/7").header("authorization", bearer(&session));
    let received = world.expect_at(&client.send(request), "orders");
    expect_headers(&received, &[("authorization", &[&bearer(&session)])]);
    let forged = tampered(&session);
    for (request, reason) in [
        (get(WWW, "/api/profile"), "missing"),
        (get(WWW, "/api/profile").header("cookie", cookie(&forged)), "bad_signature"),
        (get(API, "/orders"), "missing"),
        (get(API, "/orders").header("authorization", bearer(&forged)), "bad_signature"),
        (get(API, "/orders").header("cookie", cookie(&session)), "missing"),
        (get(API, "/orders").header("x-user-id", "admin"), "missing"),
    ] {
        world.expect_refused(&client.send(request), 401, reason);
    }
}

/// Routes and policies decide by claim headers, and a client's own are worth nothing.
pub(crate) fn claims(world: &World) {
    let ingress = Ingress::start(world, &manifest(world));
    let client = ingress.proxy.client();
    let request = |path: &str, plan: &str| {
        get(API, path)
            .header("authorization", format!("Bearer {}", world.session(plan)))
            .header("x-user-plan", "pro")
            .header("x-user-plan", "free")
    };
    let received = world.expect_at(&client.send(request("/orders/7", "free")), "orders");
    expect_headers(&received, &[("x-user-plan", &["free"])]);
    let received = world.expect_at(&client.send(request("/orders/7", "pro")), "orders-pro");
    expect_headers(&received, &[("x-user-plan", &["pro"])]);
    world.expect_at(&client.send(request("/reports/2026", "pro")), "reports");
    world.expect_forbidden(&client.send(request("/reports/2026", "free")));
    world.expect_forbidden(&client.send(request("/reports", "free")));
    // What no rule of the policy names.
    world.expect_forbidden(&client.send(request("/elsewhere", "pro")));
    // The filter comes first: without a session nobody learns what is forbidden.
    let request = get(API, "/reports/2026").header("x-user-plan", "pro");
    world.expect_refused(&client.send(request), 401, "missing");
}

/// Preflights pass the filter and end at Istio's CORS filter; refusals can be read by the page.
pub(crate) fn cors(world: &World) {
    let ingress = Ingress::start(world, &manifest(world));
    let client = ingress.proxy.client();
    let origins = |answer: &Response| {
        let all = answer.headers.all("access-control-allow-origin");
        all.into_iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect::<Vec<_>>()
    };
    for path in ["/orders/7", "/reports/2026"] {
        let preflight = |origin: &str| {
            Request::new("OPTIONS", path)
                .header("host", API)
                .header("origin", origin)
                .header("access-control-request-method", "DELETE")
                .header("access-control-request-headers", "authorization")
        };
        let exchange = client.send(preflight(PAGE_ORIGIN));
        exchange.expect("a granted preflight", |answer| {
            let headers = answer.headers.text("access-control-allow-headers").unwrap_or_default();
            answer.status == 200 && origins(answer) == [PAGE_ORIGIN] && headers.contains("authoriz")
        });
        world.site().expect_refused(&exchange, 200);
        let exchange = client.send(preflight("https://evil.example"));
        exchange.expect("no grant", |answer| answer.status == 200 && origins(answer).is_empty());
        world.site().expect_refused(&exchange, 200);
    }
    let from_page = |path: &str| get(API, path).header("origin", PAGE_ORIGIN);
    let bearer = |plan: &str| format!("Bearer {}", world.session(plan));
    let exchange = client.send(from_page("/orders").header("authorization", bearer("free")));
    exchange.expect("an answer that the page may read", |answer| origins(answer) == [PAGE_ORIGIN]);
    world.expect_at(&exchange, "orders");
    let exchange = client.send(from_page("/orders"));
    exchange.expect("a 401 that the page may read", |answer| origins(answer) == [PAGE_ORIGIN]);
    world.expect_refused(&exchange, 401, "missing");
    // Istio's own authorization stands before its CORS filter: the README says so.
    let exchange = client.send(from_page("/reports").header("authorization", bearer("free")));
    exchange.expect("a 403 that it may not", |answer| origins(answer).is_empty());
    world.expect_forbidden(&exchange);
}

/// Where each phase puts the filter; the README's table.
pub(crate) fn order_of_filters(world: &World) {
    let mut ingress = Ingress::start(world, &manifest(world));
    let jwt = Manifest::shipped("request-authentication.yaml");
    let _jwt = world.plane.apply(&jwt);
    let phase = "  phase: AUTHN\n";
    for (change, expected) in [
        (phase, ["wasm", "jwt_authn", "rbac", "cors"]),
        ("  phase: AUTHZ\n", ["jwt_authn", "wasm", "rbac", "cors"]),
        ("  phase: STATS\n", ["jwt_authn", "rbac", "wasm", "cors"]),
        ("", ["jwt_authn", "rbac", "wasm", "cors"]),
    ] {
        ingress.applied.change_to(&manifest(world).with(phase, change));
        eventually(&format!("{change:?} puts filters in the order {expected:?}"), || {
            let names = ingress.proxy.http_filters();
            let known = names.iter().filter_map(|name| match name.as_str() {
                name if name.starts_with("extensions.istio.io/") => Some("wasm"),
                name => {
                    let short = name.strip_prefix("envoy.filters.http.")?;
                    expected.contains(&short).then_some(short)
                }
            });
            known.eq(expected)
        });
    }
}

/// Metrics and the reason of a refusal are there without further settings.
pub(crate) fn metrics(world: &World) {
    let ingress = Ingress::start(world, &manifest(world));
    world.expect_refused(&ingress.proxy.client().send(get(API, "/orders")), 401, "missing");
    eventually("the metric", || {
        let stats = ingress.proxy.admin("/stats/prometheus?filter=session_token");
        stats.contains("session_token_denied_missing{} 1")
    });
    eventually("the access log's line", || {
        ingress.proxy.log().lines().any(|line| {
            line.contains("GET /orders") && line.contains("session_token_denied{missing}")
        })
    });
}

/// A new key counts as soon as a token comes that it signed; keys come over TLS, from the right
/// server.
pub(crate) fn rotation(world: &World) {
    let ingress = Ingress::start(world, &manifest(world));
    let new = SigningKey::generate(Algorithm::RS256, "k2");
    let token = Token::corbado(PROJECT, "usr-2").signed_by(&new);
    let with = |token: &str| get(API, "/orders").header("authorization", format!("Bearer {token}"));
    let client = ingress.proxy.client();
    world.expect_refused(&client.send(with(&token)), 401, "unknown_key");
    {
        let site = world.site();
        site.keys.serve(&jwks(&[&site.key, &new]));
    }
    let exchange = ingress.proxy.eventually(&with(&token), 200);
    world.expect_at(&exchange, "orders");
    world.expect_at(&client.send(with(&world.session("free"))), "orders");
    let site = world.site();
    site.keys.serve(&jwks(&[&site.key]));
    for request in site.keys.requests() {
        let host = request.headers.text("host").unwrap_or_default();
        assert_eq!((&*request.path, &*host), ("/.well-known/jwks", KEY_HOST));
    }
}

/// Without the key server nobody new gets in, and nobody is thrown out.
pub(crate) fn key_server_outage(world: &World) {
    let with = |token: &str| get(API, "/orders").header("authorization", format!("Bearer {token}"));
    {
        let ingress = Ingress::start(world, &manifest(world));
        let client = ingress.proxy.client();
        world.expect_at(&client.send(with(&world.session("free"))), "orders");
        let _outage = world.outage();
        world.expect_at(&client.send(with(&world.session("free"))), "orders");
        let another = world.site().session("usr-2", "free");
        world.expect_at(&client.send(with(&another)), "orders");
        let stranger = SigningKey::generate(Algorithm::RS256, "k2");
        let token = Token::corbado(PROJECT, "usr-2").signed_by(&stranger);
        world.expect_refused(&client.send(with(&token)), 401, "unknown_key");
    }
    // A gateway that starts meanwhile.
    let outage = world.outage();
    let ingress = Ingress::start(world, &manifest(world));
    let request = with(&world.session("free"));
    let exchange = ingress.proxy.client().send(request.clone());
    world.expect_refused(&exchange, 503, "keys_unavailable");
    drop(outage);
    world.expect_at(&ingress.proxy.eventually(&request, 200), "orders");
}

/// Who is not the key server is not asked for keys: an authority that nobody trusts, and a
/// certificate of a trusted one for another name. The last row has neither flaw.
pub(crate) fn impostor(world: &World) {
    let outage = world.outage();
    for (name, trusted, accepted) in
        [(KEY_HOST, false, false), ("www.example.com", true, false), (KEY_HOST, true, true)]
    {
        let identity = Identity::new(&[name]);
        if trusted {
            outage.trust(identity.authority_pem());
        }
        let key = SigningKey::generate(Algorithm::RS256, "k1");
        let keys = KeyServer::bind_tls(local(443), &jwks(&[&key]), &identity).unwrap();
        let ingress = Ingress::start(world, &manifest(world));
        let token = Token::corbado(PROJECT, "usr-1").signed_by(&key);
        let request = get(API, "/orders").header("authorization", format!("Bearer {token}"));
        let exchange = ingress.proxy.client().send(request);
        if accepted {
            world.expect_at(&exchange, "orders");
        } else {
            world.expect_refused(&exchange, 503, "keys_unavailable");
            assert_eq!(keys.count(), 0, "{name}: asked for keys");
        }
    }
}

/// Istio's own filter finds the bearer that ours wrote, and leaves it there.
pub(crate) fn request_authentication(world: &World) {
    let ingress = Ingress::start(world, &manifest(world));
    let _jwt = world.plane.apply(&Manifest::shipped("request-authentication.yaml"));
    let bearer = |plan: &str| format!("Bearer {}", world.session(plan));
    let get_with = |path: &str, plan: &str| get(API, path).header("authorization", bearer(plan));
    // By the claim in the token, whatever headers say: the policy reads none.
    let reports = get_with("/reports/2026", "pro");
    eventually("Istio's JWT filter is there", || {
        ingress.proxy.http_filters().iter().any(|name| name.ends_with(".jwt_authn"))
    });
    world.expect_at(&ingress.proxy.eventually(&reports, 200), "reports");
    let client = ingress.proxy.client();
    world.expect_forbidden(&client.send(get_with("/reports/2026", "free")));
    world.expect_at(&client.send(get_with("/orders", "free")), "orders");
    let session = world.session("free");
    let request = get(WWW, "/api/profile").header("cookie", format!("cbo_session_token={session}"));
    let received = world.expect_at(&client.send(request), "api");
    expect_headers(
        &received,
        &[("authorization", &[&format!("Bearer {session}")]), ("cookie", &[])],
    );
    world.expect_refused(&client.send(get(API, "/orders")), 401, "missing");
    world.expect_at(&client.send(get(WWW, "/")), "pages");
    // Our filter fetches a new key at once; Istio's control plane has not yet.
    let new = SigningKey::generate(Algorithm::RS256, "k2");
    {
        let site = world.site();
        site.keys.serve(&jwks(&[&site.key, &new]));
    }
    let token = Token::corbado(PROJECT, "usr-2").signed_by(&new);
    let request = get(API, "/orders").header("authorization", format!("Bearer {token}"));
    let exchange = client.send(request);
    exchange.expect("401 by Istio's filter", |answer| {
        answer.status == 401 && answer.text().starts_with("Jwks doesn't have key to match kid")
    });
    world.site().expect_refused(&exchange, 401);
    let site = world.site();
    site.keys.serve(&jwks(&[&site.key]));
}

#[track_caller]
pub(crate) fn expect_headers(received: &ReceivedRequest, expected: &[(&str, &[&str])]) {
    for (name, values) in expected {
        let got: Vec<_> = received.headers.all(name).into_iter().map(<[u8]>::to_vec).collect();
        let values: Vec<_> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
        assert_eq!(got, values, "{name} in\n{}", received.headers);
    }
}
