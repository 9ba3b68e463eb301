//! What SuperTokens' front end is told: its own words, byte for byte, and CORS fields with them.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::bootstrap::Listener;
use session_token_harness::client::{Client, Request};
use session_token_harness::token::{Token, tampered, unix_now};

use crate::trial;
use crate::world::{World, listener};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "vendor_answers::bodies_and_statuses", bodies_and_statuses),
        trial(world, "vendor_answers::other_statuses", other_statuses),
        trial(world, "vendor_answers::who_asks_otherwise", who_asks_otherwise),
    ]
}

/// The listeners that only these tests need.
pub(crate) fn listeners() -> Vec<Listener> {
    let provider = |name: &str, domain: &str, statuses: Value, cluster: &str| {
        let mut preset = json!({"api_domain": domain, "signing_keys": "any"});
        for (name, value) in statuses.as_object().into_iter().flatten() {
            preset[name] = value.clone();
        }
        json!({
            "name": name, "preset": {"supertokens": preset},
            "jwks": {"remote": {"cluster": cluster, "timeout": "100ms"}}
        })
    };
    let down = || provider("down", "https://down.example", json!({}), "nowhere");
    let with = |provider: Value| {
        json!({
            "providers": [provider, down()],
            "default": {"providers": ["app"]},
            "rules": [
                {"match": {"path": {"prefix": "/denied"}}, "access": "denied"},
                {"match": {"path": {"prefix": "/down"}}, "providers": ["down"]}
            ],
            "responses": {
                "realm": "api",
                "login_url": "https://www.example.com/login?to={url}",
                "cors_origins": [PAGE]
            }
        })
    };
    let statuses = json!({"session_expired_status": 440, "invalid_claim_status": 418});
    vec![
        listener("vendor", with(provider("app", API, json!({}), "keys"))),
        listener("vendor-statuses", with(provider("app", API, statuses, "keys"))),
    ]
}

/// Refused requests: what is wrong, the request, and the answer's status and body.
fn rows(world: &World) -> Vec<(&'static str, Request, u16, &'static str)> {
    let key = world.key();
    let t = live().signed_by(key);
    let cookie =
        |token: &str| from_page("/orders").header("cookie", format!("sAccessToken={token}"));
    let bearer = |path: &str, token: &str| {
        from_page(path).header("authorization", format!("Bearer {token}"))
    };
    let of_down = live().claim("iss", "https://down.example/auth").signed_by(key);
    vec![
        ("missing", from_page("/orders"), 401, UNAUTHORISED),
        ("malformed", cookie("x.y.z"), 401, UNAUTHORISED),
        ("not_a_session", cookie(&live().claim("stt", 1).signed_by(key)), 401, UNAUTHORISED),
        (
            "issuer_mismatch",
            cookie(&live().claim("iss", "https://evil.example/auth").signed_by(key)),
            401,
            UNAUTHORISED,
        ),
        ("expired", cookie(&live().claim("exp", unix_now() - 60).signed_by(key)), 401, TRY_REFRESH),
        (
            "expired bearer",
            bearer("/orders", &live().claim("exp", unix_now() - 60).signed_by(key)),
            401,
            TRY_REFRESH,
        ),
        ("bad_signature", cookie(&tampered(&t)), 401, TRY_REFRESH),
        (
            "duplicate_cookie",
            cookie(&format!("{t}; sAccessToken={}", live().claim("n", 1).signed_by(key))),
            401,
            TRY_REFRESH,
        ),
        ("legacy_session", cookie(&format!("{t}; sIdRefreshToken=")), 401, TRY_REFRESH),
        ("denied_by_rule", from_page("/denied"), 403, r#"{"message":"denied_by_rule"}"#),
        ("keys_unavailable", bearer("/down", &of_down), 503, UNAVAILABLE),
    ]
}

fn bodies_and_statuses(world: &World) {
    for (name, request, status, body) in rows(world) {
        for client in both(world, "vendor") {
            let (exchange, received) = world.send_by(&client, request.clone());
            assert!(received.is_none(), "{name}");
            let response = exchange.expect(&format!("{name}: {status} {body}"), |response| {
                response.status == status && response.text() == body
            });
            let header = |name: &str| response.headers.text(name);
            assert_eq!(header("content-type").as_deref(), Some("application/json"), "{name}");
            assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{name}");
            assert_eq!(header("access-control-allow-origin").as_deref(), Some(PAGE), "{name}");
            assert_eq!(header("access-control-allow-credentials").as_deref(), Some("true"));
            assert_eq!(header("vary").as_deref(), Some("origin"), "{name}");
            assert_eq!(header("www-authenticate").is_some(), status != 503, "{name}");
            assert_eq!(header("retry-after").is_some(), status == 503, "{name}");
            for never in ["front-token", "set-cookie", "st-access-token", "location"] {
                assert_eq!(header(never), None, "{name}: {never}");
            }
        }
    }
    // The row's session is one.
    let cookie = format!("sAccessToken={}", live().signed_by(world.key()));
    let (exchange, _) = world.send("vendor", from_page("/orders").header("cookie", cookie));
    exchange.expect_status(200);
}

fn other_statuses(world: &World) {
    for (name, request, status, body) in rows(world) {
        let status = if status == 401 { 440 } else { status };
        let (exchange, _) = world.send("vendor-statuses", request);
        let response = exchange.expect(&format!("{name}: {status} {body}"), |response| {
            response.status == status && response.text() == body
        });
        let challenged = response.headers.get("www-authenticate").is_some();
        assert_eq!(challenged, status == 403, "{name}");
    }
}

fn who_asks_otherwise(world: &World) {
    for client in both(world, "vendor-statuses") {
        let head = client.send(Request::new("HEAD", "/orders"));
        assert!(head.expect_status(440).body.is_empty());

        let person = Request::get("/a").header("host", "www.example.com");
        let person = client.send(person.header("sec-fetch-mode", "navigate"));
        let response = person.expect_status(302);
        assert_eq!(
            response.headers.text("location").as_deref(),
            Some("https://www.example.com/login?to=https%3A%2F%2Fwww.example.com%2Fa")
        );

        let grpc = Request::post("/app.Orders/List", "\0\0\0\0\0")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let grpc = client.send(grpc);
        let response = grpc.expect_status(200);
        assert_eq!(response.headers.text("grpc-status").as_deref(), Some("16"));
        assert_eq!(response.headers.text("grpc-message").as_deref(), Some("missing"));
    }
}

/// A script's request from a page of another origin.
fn from_page(path: &str) -> Request {
    let request = Request::get(path).header("host", "api.example.com");
    request.header("origin", PAGE).header("sec-fetch-mode", "cors").header("accept", "text/html")
}

/// A session as SuperTokens' core issues it.
fn live() -> Token {
    let now = unix_now();
    let claims = json!({
        "iss": format!("{API}/auth"), "sub": "usr-v", "iat": now, "exp": now + 300,
        "sessionHandle": "handle", "refreshTokenHash1": "hash", "parentRefreshTokenHash1": null,
        "antiCsrfToken": null, "tId": "public", "rsub": "usr-v", "stt": 0
    });
    Token::new(claims).header("version", "5")
}

/// HTTP/1.1 and HTTP/2.
fn both(world: &World, configuration: &str) -> [Client; 2] {
    let client = world.client(configuration);
    [client.clone(), client.http2()]
}

const API: &str = "https://api.example.com";
const PAGE: &str = "https://www.example.com";
const UNAUTHORISED: &str = r#"{"message":"unauthorised"}"#;
const TRY_REFRESH: &str = r#"{"message":"try refresh token"}"#;
const UNAVAILABLE: &str = r#"{"message":"session verification unavailable"}"#;
