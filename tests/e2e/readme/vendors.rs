//! The pages for users of Corbado and of SuperTokens: their configurations do what they promise.

use serde_json::json;
use session_token_harness::backend::Backend;
use session_token_harness::bootstrap::Document;
use session_token_harness::client::Request;
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::token::{Token, unix_now};

use super::{named, start};
use crate::world::{World, cookies_around};

pub(super) fn corbado(world: &World) {
    let keys = KeyServer::start(&jwks(&[world.key()]));
    let (pages, api) = (Backend::start("pages"), Backend::start("api"));
    let document = Document::parse(&named("corbado").text).unwrap();
    let document = document
        .with_cluster_at("pages", pages.address())
        .with_cluster_at("api", api.address())
        .with_cluster_at("corbado", keys.address());
    let envoy = start(world, document.json().clone()).unwrap();
    let client = envoy.client("edge");

    let refused = client.send(Request::get("/api/orders"));
    refused.expect("401 missing", |answer| {
        answer.status == 401 && answer.json()["reason"] == "missing"
    });
    let page = |path| Request::get(path).header("sec-fetch-mode", "navigate");
    let redirect = client.send(page("/account").header("host", "www.example.com"));
    redirect.expect("302 to the login", |answer| {
        let location = answer.headers.text("location").unwrap_or_default();
        answer.status == 302
            && location == "/login?return_to=https%3A%2F%2Fwww.example.com%2Faccount"
    });
    for path in ["/", "/login", "/assets/app.js"] {
        client.send(page(path)).expect_status(200);
    }
    assert!(api.requests().is_empty(), "nobody was logged in");

    let token = world.session("usr-1");
    let cookies = cookies_around(&token);
    client.send(Request::get("/api/orders").header("cookie", &cookies)).expect_status(200);
    let received = api.requests().pop().unwrap();
    assert_eq!(received.headers.text("authorization"), Some(format!("Bearer {token}")));
    assert!(received.headers.text("x-user-id").unwrap().ends_with("usr-1"));
    let left = received.headers.text("cookie").unwrap_or_default();
    assert!(left.contains("b=2") && !left.contains("cbo_session_token"), "{left}");

    let foreign = Request::new("POST", "/api/orders").header("cookie", &cookies);
    let foreign = foreign.header("content-length", "0").header("origin", "https://evil.example");
    client.send(foreign).expect("403 cross_site", |answer| {
        answer.status == 403 && answer.json()["reason"] == "cross_site"
    });
    world.retire(envoy);
}

pub(super) fn supertokens(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "d-1");
    let (auth, orders) = (KeyServer::start(&jwks(&[&key])), Backend::start("orders"));
    let document = Document::parse(&named("supertokens").text).unwrap();
    let document = document
        .with_cluster_at("auth", auth.address())
        .with_cluster_at("orders", orders.address());
    let envoy = start(world, document.json().clone()).unwrap();
    let client = envoy.client("edge");
    let to = |path| Request::get(path).header("host", "api.example.com");
    let with = |path, token: &str| to(path).header("cookie", format!("sAccessToken={token}; b=2"));

    let session = Token::supertokens("https://api.example.com/auth", "usr-1");
    let expired = session.clone().claim("exp", unix_now() - 60).signed_by(&key);
    let plain = session.clone().signed_by(&key);
    let roles = json!({"v": ["support"], "t": unix_now()});
    let support = session.claim("st-role", roles).signed_by(&key);

    for (request, status, message) in [
        (to("/orders"), 401, "unauthorised"),
        (with("/orders", &expired), 401, "try refresh token"),
        (with("/orders/refunds", &plain), 403, "invalid claim"),
    ] {
        let request = request.header("origin", "https://www.example.com");
        client.send(request).expect(&format!("{status} {message}"), |answer| {
            let origin = answer.headers.text("access-control-allow-origin");
            answer.status == status
                && answer.json()["message"] == message
                && origin.as_deref() == Some("https://www.example.com")
        });
    }
    assert!(orders.requests().is_empty(), "none of them had a session");

    client.send(with("/orders/refunds", &support)).expect_status(200);
    client.send(with("/orders", &plain)).expect_status(200);
    let received = orders.requests().pop().unwrap();
    assert_eq!(received.headers.text("authorization"), Some(format!("Bearer {plain}")));
    assert_eq!(received.headers.text("x-user-id").as_deref(), Some("usr-1"));
    assert_eq!(received.headers.text("cookie").as_deref(), Some("b=2"));

    // The SDK's own routes need no session: signing in and refreshing make one.
    let refresh = Request::new("POST", "/auth/session/refresh").header("content-length", "0");
    client.send(refresh.header("host", "api.example.com")).expect_status(200);
    world.retire(envoy);
}
