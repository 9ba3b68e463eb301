//! Pages of other sites, and the session's cookie: what they may not send with it.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::bootstrap::Listener;
use session_token_harness::client::{Client, Request};

use crate::extraction::bearer;
use crate::trial;
use crate::world::{World, cookies_around, corbado, listener, session};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "csrf::requests", requests),
        trial(world, "csrf::websockets", websockets),
        trial(world, "csrf::settings", settings),
        trial(world, "csrf::credentials", credentials),
    ]
}

/// The listeners that only these tests need.
pub(crate) fn listeners() -> Vec<Listener> {
    let with = |csrf: Value| {
        let configuration = json!({
            "providers": [corbado()],
            "rules": [
                {"match": {"path": {"prefix": "/optional"}}, "access": "optional"},
                {"match": {"path": {"prefix": "/public"}}, "access": "public"}
            ],
            "csrf": csrf
        });
        configuration
    };
    let websocket = |name, csrf: Value| {
        listener(name, with(csrf))
            .websocket()
            .manager_with(json!({"http2_protocol_options": {"allow_connect": true}}))
    };
    let origins = json!(["https://www.example.com", "https://*.example.org:8443"]);
    vec![
        websocket("csrf", json!({"allowed_origins": origins})),
        websocket("csrf-deny", json!({"missing_origin": "deny"})),
        websocket("csrf-report", json!({"mode": "report"})),
        websocket("csrf-off", json!({"mode": "insecure_off"})),
    ]
}

const EVIL: (&str, &str) = ("origin", "https://evil.example");
const CROSS: (&str, &str) = ("sec-fetch-site", "cross-site");
const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");

/// Both protocols' clients of a listener.
fn clients(world: &World, listener: &str) -> [(&'static str, Client); 2] {
    let http1 = world.client(listener);
    [("HTTP/1", http1.clone()), ("HTTP/2", http1.http2())]
}

fn with<'a>(
    request: Request,
    headers: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
) -> Request {
    headers.into_iter().fold(request, |request, (name, value)| request.header(name, value))
}

/// Sends it and checks who answers.
#[track_caller]
fn check(world: &World, client: &Client, request: Request, refused: bool, name: &str) {
    let (exchange, received) = world.send_by(client, request);
    if refused {
        exchange.expect(&format!("403 cross_site: {name}"), |response| {
            response.status == 403 && response.json()["reason"] == "cross_site"
        });
        assert!(received.is_none(), "a backend got it: {name}");
    } else {
        exchange.expect_status(200);
        let received = received.unwrap_or_else(|| exchange.fail(name));
        let cookies = received.headers.text("cookie").unwrap_or_default();
        assert!(!cookies.contains("cbo_session_token"), "{name}");
    }
}

fn requests(world: &World) {
    let host = |value| ("host", value);
    let origin = |value| ("origin", value);
    let site = |value| ("sec-fetch-site", value);
    let cookie = cookies_around(&world.session("usr-c"));
    for (name, method, headers, refused) in [
        ("a navigation", "GET", vec![site("cross-site")], false),
        ("another site reads", "GET", vec![EVIL, CROSS], false),
        ("another site asks for the head", "HEAD", vec![EVIL], false),
        ("options, no preflight", "OPTIONS", vec![EVIL], false),
        ("another site writes", "POST", vec![EVIL, CROSS], true),
        ("another site writes, origin alone", "POST", vec![EVIL], true),
        ("another site writes, no origin", "POST", vec![CROSS], true),
        ("another site deletes", "DELETE", vec![EVIL, CROSS], true),
        ("a method of another case", "get", vec![EVIL, CROSS], true),
        ("a sibling host writes", "POST", vec![site("same-site")], true),
        ("a sandboxed page writes", "POST", vec![origin("null")], true),
        ("a sandboxed page writes, cross-site", "POST", vec![origin("null"), CROSS], true),
        ("an empty origin", "POST", vec![origin("")], true),
        ("the page itself writes", "POST", vec![SAME], false),
        ("the page itself writes, both headers", "POST", vec![SAME, EVIL], false),
        ("the user writes", "POST", vec![site("none")], false),
        ("two sites", "POST", vec![SAME, CROSS], true),
        ("two sites in one line", "POST", vec![site("same-origin, cross-site")], true),
        ("no browser", "POST", vec![], false),
        ("its own origin", "POST", vec![origin("http://localhost")], false),
        ("its own origin, TLS before us", "POST", vec![origin("https://localhost")], false),
        ("its own origin, default port", "POST", vec![origin("http://localhost:80")], false),
        ("its own host, another port", "POST", vec![origin("http://localhost:8080")], true),
        ("a port", "POST", vec![host("a.example:8080"), origin("http://a.example:8080")], false),
        ("case", "POST", vec![host("A.Example"), origin("http://a.example")], false),
        ("a dot", "POST", vec![host("a.example."), origin("http://a.example.")], false),
        ("a dot too many", "POST", vec![host("a.example"), origin("http://a.example.")], true),
        ("IPv6", "POST", vec![host("[::1]:80"), origin("http://[::1]")], false),
        ("a host below", "POST", vec![host("a.example"), origin("http://x.a.example")], true),
        ("user info", "POST", vec![host("a.example"), origin("http://a.example@evil")], true),
        ("a slash", "POST", vec![origin("http://localhost/")], true),
        ("two origins", "POST", vec![origin("http://localhost"), EVIL], true),
        ("the same twice", "POST", vec![origin("http://localhost"); 2], true),
        ("an allowed one", "POST", vec![origin("https://www.example.com"), CROSS], false),
        ("an allowed one of many", "POST", vec![origin("https://x.example.org:8443")], false),
        ("another port", "POST", vec![origin("https://x.example.org")], true),
        ("another scheme", "POST", vec![origin("http://www.example.com")], true),
        ("an override", "GET", vec![EVIL, ("x-http-method-override", "POST")], true),
        ("its alias", "GET", vec![EVIL, ("x_http_method", "POST")], true),
        ("the page's own override", "GET", vec![SAME, ("x-method-override", "PUT")], false),
    ] {
        for (protocol, client) in clients(world, "csrf") {
            let is_odd = method == "get" && protocol == "HTTP/1";
            for path in ["/orders", "/optional"] {
                let request = with(Request::new(method, path).header("cookie", &cookie), &headers);
                let request = if method == "POST" { request.body("x=1") } else { request };
                // Envoy 1.40's HTTP/1 codec answers methods that it doesn't know.
                let odd = || world.send_by(&client, request.clone()).0.status() == 400;
                if is_odd && odd() {
                    continue;
                }
                check(world, &client, request, refused, &format!("{name}, {path}, {protocol}"));
            }
        }
    }
}

/// Browsers send cookies with every WebSocket, and ask nobody before.
fn websockets(world: &World) {
    let cookie = cookies_around(&world.session("usr-w"));
    let own = ("origin", "http://localhost");
    for (name, listener, headers, refused) in [
        ("another site's", "csrf", vec![EVIL], true),
        ("another site's, with both", "csrf", vec![EVIL, CROSS], true),
        ("a sandboxed page's", "csrf", vec![("origin", "null")], true),
        ("its own", "csrf", vec![own], false),
        ("its own, with both", "csrf", vec![own, SAME], false),
        ("an allowed one's", "csrf", vec![("origin", "https://www.example.com")], false),
        ("no browser's", "csrf", vec![], false),
        ("no browser's", "csrf-deny", vec![], true),
        ("another site's", "csrf-report", vec![EVIL], false),
    ] {
        for protocol in ["websocket", "WebSocket"] {
            let request = Request::get("/ws").header("cookie", &cookie);
            let request =
                request.header("connection", "keep-alive, Upgrade").header("upgrade", protocol);
            let mut connection = world.client(listener).connect().unwrap();
            let response = connection.send(&with(request, &headers)).unwrap();
            let expected = if refused { 403 } else { 101 };
            assert_eq!(response.status, expected, "{name} on {listener}\n{response}");
            if refused {
                assert_eq!(response.json()["reason"], "cross_site", "{name} on {listener}");
            } else {
                connection.write(b"\x81\x02hi").unwrap();
                assert_eq!(connection.read_some().unwrap(), b"\x81\x02hi", "{name}");
            }
        }
        let request = Request::new("CONNECT", "/ws").header(":protocol", "websocket");
        let request = with(request.header("cookie", &cookie), &headers);
        let (exchange, received) = world.send_by(&world.client(listener).http2(), request);
        let expected = if refused { 403 } else { 200 };
        assert_eq!(exchange.status(), expected, "{name} on {listener}, HTTP/2\n{exchange}");
        assert_eq!(received.is_none(), refused, "{name} on {listener}, HTTP/2");
    }
    // Envoy takes an upgrade to HTTP/2 out before any filter, and answers unknown ones itself.
    for (protocol, expected) in [("h2c", 200), ("other", 403)] {
        let request = Request::get("/orders").header("cookie", &cookie);
        let request = request.header("connection", "upgrade").header("upgrade", protocol);
        let (exchange, received) = world.send("csrf", with(request, &[EVIL]));
        assert_eq!(exchange.status(), expected, "{exchange}");
        let upgrade = received.and_then(|received| received.headers.text("upgrade"));
        assert_eq!(upgrade, None, "{protocol}");
    }
}

fn settings(world: &World) {
    let cookie = cookies_around(&world.session("usr-s"));
    for (name, listener, headers, refused) in [
        ("no browser", "csrf-deny", vec![], true),
        ("the page itself", "csrf-deny", vec![SAME], false),
        ("its own origin", "csrf-deny", vec![("origin", "http://localhost")], false),
        ("another site", "csrf-deny", vec![EVIL], true),
        ("another site", "csrf-report", vec![EVIL, CROSS], false),
        ("another site", "csrf-off", vec![EVIL, CROSS], false),
    ] {
        for (protocol, client) in clients(world, listener) {
            let request = with(Request::post("/orders", "x").header("cookie", &cookie), &headers);
            check(world, &client, request, refused, &format!("{name}, {listener}, {protocol}"));
        }
    }
}

/// Only a cookie goes along by itself.
fn credentials(world: &World) {
    let t = world.session("usr-t");
    let foreign = session("usr-x").claim("iss", "https://other.example").signed_by(world.key());
    let expired = session("usr-e").claim("exp", 1_000).signed_by(world.key());
    let cookie = ("cookie", format!("cbo_session_token={t}"));
    let authorization = |token: &str| ("authorization", bearer(token));
    for (name, path, headers, status, reason) in [
        ("a header", "/orders", vec![authorization(&t)], 200, None),
        ("both the same", "/orders", vec![authorization(&t), cookie.clone()], 200, None),
        (
            "another's header",
            "/orders",
            vec![authorization(&foreign), cookie.clone()],
            403,
            Some("cross_site"),
        ),
        ("nothing", "/orders", vec![], 401, Some("missing")),
        ("nothing, optional", "/optional", vec![], 200, None),
        ("a cookie, optional", "/optional", vec![cookie.clone()], 403, Some("cross_site")),
        ("a cookie, public", "/public", vec![cookie.clone()], 200, None),
        (
            "the site comes before the dates",
            "/orders",
            vec![("cookie", format!("cbo_session_token={expired}"))],
            403,
            Some("cross_site"),
        ),
        (
            "and after what is no token",
            "/orders",
            vec![("cookie", "cbo_session_token=x".to_owned())],
            401,
            Some("malformed"),
        ),
    ] {
        for (protocol, client) in clients(world, "csrf") {
            let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
            let headers: Vec<_> = headers.chain([EVIL]).collect();
            let (exchange, received) =
                world.send_by(&client, with(Request::post(path, "x"), &headers));
            exchange.expect(&format!("{status} {reason:?}: {name}, {protocol}"), |response| {
                response.status == status && response.json()["reason"].as_str() == reason
            });
            assert_eq!(received.is_some(), status == 200, "{name}, {protocol}");
        }
    }
}
