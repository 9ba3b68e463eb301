//! What SuperTokens' front end is told: its own words, byte for byte, and CORS fields with them.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::bootstrap::Listener;
use session_token_harness::client::{Client, Request};
use session_token_harness::token::{Token, tampered, unix_now};

use crate::trial;
use crate::world::{World, corbado, listener};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "vendor_answers::bodies_and_statuses", bodies_and_statuses),
        trial(world, "vendor_answers::other_statuses", other_statuses),
        trial(world, "vendor_answers::who_asks_otherwise", who_asks_otherwise),
        trial(world, "vendor_answers::each_source_has_its_vendor", each_source_has_its_vendor),
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
            "name": name, "preset": {"supertokens": preset}, "auth_time_claim": ["login", "t"],
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
                {"match": {"path": {"prefix": "/down"}}, "providers": ["down"]},
                {"match": {"path": {"prefix": "/verified"}},
                 "require": {"claim": ["st-ev", "v"], "equals": true}},
                {"match": {"path": {"prefix": "/admin"}},
                 "require": {"claim": ["st-role", "v"], "contains": "admin"}},
                {"match": {"path": {"prefix": "/both"}}, "require": {"all": [
                    {"claim": ["st-ev", "v"], "equals": true},
                    {"claim": ["st-role", "v"], "contains": "admin"}
                ]}},
                {"match": {"path": {"prefix": "/fresh"}}, "max_auth_age": "15m"}
            ],
            "csrf": {"allowed_origins": [PAGE]},
            "responses": {
                "realm": "api",
                "login_url": "https://www.example.com/login?to={url}",
                "cors_origins": [PAGE]
            }
        })
    };
    let statuses = json!({
        "session_expired_status": 440, "invalid_claim_status": 418, "anti_csrf": "custom_header"
    });
    let proven = json!({"anti_csrf": "custom_header"});
    let beside = json!({"providers": [corbado(), provider("app", API, json!({}), "keys")]});
    vec![
        listener("vendor", with(provider("app", API, proven, "keys"))),
        listener("vendor-beside", beside),
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
    let page = |method: &str, path: &str| asked_from_page(Request::new(method, path));
    let lacks = |path: &str, token: Token| bearer(path, &token.signed_by(key));
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
        (
            "anti_csrf",
            page("PUT", "/orders").header("cookie", format!("sAccessToken={t}")),
            401,
            TRY_REFRESH,
        ),
        (
            "insufficient_claims, equals",
            lacks("/verified", live().claim("st-ev", json!({"v": false, "t": 1}))),
            403,
            NOT_VERIFIED,
        ),
        (
            "insufficient_claims, contains",
            lacks("/admin", live().claim("st-role", json!({"v": ["user", "o\"k"], "t": 1}))),
            403,
            NO_ADMIN,
        ),
        ("insufficient_claims, missing", lacks("/admin", live()), 403, NO_ROLES),
        (
            "insufficient_claims, two",
            lacks("/both", live().claim("st-ev", json!({"v": false}))),
            403,
            NEITHER,
        ),
        (
            "stale_session",
            lacks("/fresh", live().claim("login", json!({"t": unix_now() - 1_000}))),
            403,
            STALE,
        ),
        ("stale_session, no claim", lacks("/fresh", live()), 403, STALE),
        ("denied_by_rule", from_page("/denied"), 403, r#"{"message":"denied_by_rule"}"#),
        ("ambiguous_path", from_page("//x"), 400, r#"{"message":"ambiguous_path"}"#),
        (
            "method_not_allowed",
            page("TRACE", "/orders"),
            405,
            r#"{"message":"method_not_allowed"}"#,
        ),
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
            let challenged = header("www-authenticate").is_some();
            assert_eq!(challenged, matches!(status, 401 | 403), "{name}");
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
    let whole = live()
        .claim("st-ev", json!({"v": true}))
        .claim("st-role", json!({"v": ["user", "admin"]}))
        .claim("login", json!({"t": unix_now() - 600}))
        .signed_by(world.key());
    for path in ["/verified", "/admin", "/both", "/fresh"] {
        let request = from_page(path).header("authorization", format!("Bearer {whole}"));
        world.send("vendor", request).0.expect_status(200);
    }
}

fn other_statuses(world: &World) {
    for (name, request, status, body) in rows(world) {
        let status = match status {
            401 => 440,
            403 if body.contains("invalid claim") => 418,
            other => other,
        };
        let (exchange, _) = world.send("vendor-statuses", request);
        let response = exchange.expect(&format!("{name}: {status} {body}"), |response| {
            response.status == status && response.text() == body
        });
        let challenged = response.headers.get("www-authenticate").is_some();
        assert_eq!(challenged, status == 403, "{name}");
    }
}

fn who_asks_otherwise(world: &World) {
    let stale = live().claim("login", json!({"t": 1})).signed_by(world.key());
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

        // A login helps against an old one, and not against a claim that the user lacks.
        let navigates = |path: &str| {
            let request = Request::get(path).header("host", "www.example.com");
            let request = request.header("sec-fetch-mode", "navigate");
            client.send(request.header("authorization", format!("Bearer {stale}")))
        };
        navigates("/fresh").expect_status(302);
        navigates("/admin").expect_status(418);

        let grpc = Request::post("/app.Orders/List", "\0\0\0\0\0")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let grpc = client.send(grpc);
        let response = grpc.expect_status(200);
        assert_eq!(response.headers.text("grpc-status").as_deref(), Some("16"));
        assert_eq!(response.headers.text("grpc-message").as_deref(), Some("missing"));
    }
}

/// Of two vendors in a rule, the one whose cookie is bad answers.
fn each_source_has_its_vendor(world: &World) {
    let of_app = tampered(&live().signed_by(world.key()));
    let corbados = tampered(&world.session("usr-c"));
    for (name, request, vendors) in [
        ("SuperTokens' cookie", ("cookie", "sAccessToken=x.y.z".to_owned()), Some(UNAUTHORISED)),
        ("SuperTokens' session", ("cookie", format!("sAccessToken={of_app}")), {
            Some(TRY_REFRESH)
        }),
        ("SuperTokens' bearer", ("authorization", format!("Bearer {of_app}")), {
            Some(TRY_REFRESH)
        }),
        ("a legacy session", ("cookie", "sIdRefreshToken=x".to_owned()), Some(TRY_REFRESH)),
        ("Corbado's cookie", ("cookie", "cbo_session_token=x.y.z".to_owned()), None),
        ("Corbado's session", ("cookie", format!("cbo_session_token={corbados}")), None),
        ("Corbado's bearer", ("authorization", format!("Bearer {corbados}")), None),
        ("a bearer of nobody", ("authorization", "Bearer x.y.z".to_owned()), None),
        ("nothing", ("x-nothing", String::new()), None),
    ] {
        for client in both(world, "vendor-beside") {
            let (header, value) = &request;
            let (exchange, received) =
                world.send_by(&client, Request::get("/orders").header(*header, value));
            assert!(received.is_none(), "{name}");
            let response = exchange.expect(&format!("{name}: 401 {vendors:?}"), |response| {
                let is_vendors = vendors.is_some_and(|body| response.text() == body);
                let is_plain = vendors.is_none() && response.json()["status"] == 401;
                response.status == 401 && (is_vendors || is_plain)
            });
            let json = if vendors.is_some() { "application/json" } else { PROBLEM };
            assert_eq!(response.headers.text("content-type").as_deref(), Some(json), "{name}");
        }
    }
}

/// A script's request from a page of another origin.
fn from_page(path: &str) -> Request {
    asked_from_page(Request::get(path))
}

fn asked_from_page(request: Request) -> Request {
    let request = request.header("host", "api.example.com");
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
const PROBLEM: &str = "application/problem+json";
const NOT_VERIFIED: &str = concat!(
    r#"{"message":"invalid claim","claimValidationErrors":[{"id":"st-ev","reason":"#,
    r#"{"message":"wrong value","expectedValue":true,"actualValue":false}}]}"#
);
const NO_ADMIN: &str = concat!(
    r#"{"message":"invalid claim","claimValidationErrors":[{"id":"st-role","reason":"#,
    r#"{"message":"wrong value","expectedToInclude":"admin","actualValue":["user","o\"k"]}}]}"#
);
const NO_ROLES: &str = concat!(
    r#"{"message":"invalid claim","claimValidationErrors":[{"id":"st-role","reason":"#,
    r#"{"message":"value does not exist","expectedToInclude":"admin"}}]}"#
);
const NEITHER: &str = concat!(
    r#"{"message":"invalid claim","claimValidationErrors":[{"id":"st-ev","reason":"#,
    r#"{"message":"wrong value","expectedValue":true,"actualValue":false}},{"id":"st-role","#,
    r#""reason":{"message":"value does not exist","expectedToInclude":"admin"}}]}"#
);
const STALE: &str = concat!(
    r#"{"message":"invalid claim","claimValidationErrors":[{"id":"login","reason":"#,
    r#"{"message":"expired","maxAgeInSeconds":900}}]}"#
);
