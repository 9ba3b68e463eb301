//! Who is sent to the login page, and what the page is told about where to return.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::bootstrap::{Cluster, Listener};
use session_token_harness::client::{Client, Exchange, Request};
use session_token_harness::envoy::EnvoyOptions;
use session_token_harness::token::unix_now;

use crate::answers::{own_lines, provider, start};
use crate::extraction::bearer;
use crate::trial;
use crate::world::{World, cookies_around, corbado, listener, session};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "redirects::people_are_redirected", people_are_redirected),
        trial(world, "redirects::scripts_and_services_are_not", scripts_and_services_are_not),
        trial(world, "redirects::return_urls_are_guarded", return_urls_are_guarded),
        trial(world, "redirects::relative_login_urls", relative_login_urls),
        trial(world, "redirects::the_login_page_is_no_loop", the_login_page_is_no_loop),
        trial(world, "redirects::an_old_login_is_renewed", an_old_login_is_renewed),
        trial(world, "redirects::what_operators_see", what_operators_see),
    ]
}

/// The listeners that only these tests need.
pub(crate) fn listeners() -> Vec<Listener> {
    let with = |responses: Value, rules: Value| json!({"providers": [corbado()], "rules": rules, "responses": responses});
    let rules = json!([
        {"match": {"path": {"prefix": "/public"}}, "access": "public"},
        {"match": {"path": {"prefix": "/optional"}}, "access": "optional"},
        {"match": {"path": {"prefix": "/denied"}}, "access": "denied"}
    ]);
    let absolute = json!({
        "login_url": "https://www.example.com/login?return_to={url}&from=gateway",
        "return_hosts": ["www.example.com", "*.apps.example.com", "app.localhost"],
        "cors_origins": ["https://www.example.com"]
    });
    // Its vendor tells when the user logged in; the other's does not.
    let partner = provider(
        "partner",
        json!({"remote": {
            "uri": "https://partner.example/jwks", "cluster": "keys"
        }}),
    );
    let fresh = json!({
        "providers": [partner],
        "rules": [{"match": {"path": {"prefix": "/payments"}}, "max_auth_age": "5m"}],
        "responses": {"login_url": "https://www.example.com/login?return_to={url}"}
    });
    vec![
        listener("login-fresh", fresh),
        listener("login", with(absolute, rules)),
        // No rule looks at paths, so that none is ambiguous.
        listener("login-here", with(json!({"login_url": "/login?return_to={url}"}), json!([]))),
        listener("login-plain", with(json!({"login_url": "https://www.example.com/"}), json!([]))),
    ]
}

fn people_are_redirected(world: &World) {
    let expired = session("usr-e").claim("exp", unix_now() - 60).signed_by(world.key());
    let safari = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let asked = |method: &str, path: &str| Request::new(method, path).header("host", WWW);
    let navigate =
        |method: &str, path: &str| asked(method, path).header("sec-fetch-mode", "navigate");
    let form = Request::post("/orders", "a=b").header("host", WWW);
    for (name, request, status, reason) in [
        ("a page", navigate("GET", "/orders"), 302, "missing"),
        ("HEAD", navigate("HEAD", "/orders"), 302, "missing"),
        ("a form", form.header("sec-fetch-mode", "navigate"), 303, "missing"),
        ("DELETE", navigate("DELETE", "/orders"), 303, "missing"),
        (
            "an iframe",
            navigate("GET", "/orders").header("sec-fetch-dest", "iframe"),
            302,
            "missing",
        ),
        (
            "a prefetch",
            navigate("GET", "/orders").header("sec-purpose", "prefetch;prerender"),
            302,
            "missing",
        ),
        (
            "an expired session",
            navigate("GET", "/orders").header("cookie", cookies_around(&expired)),
            302,
            "expired",
        ),
        (
            "an expired session where none is needed",
            navigate("GET", "/optional").header("cookie", cookies_around(&expired)),
            302,
            "expired",
        ),
        ("plain HTTP", asked("GET", "/orders").header("accept", safari), 302, "missing"),
    ] {
        let path = if name.ends_with("needed") { "optional" } else { "orders" };
        for client in both(world, "login") {
            let (exchange, received) = world.send_by(&client, request.clone());
            assert!(received.is_none(), "{name}");
            let response = exchange.expect_status(status);
            let header = |name: &str| response.headers.text(name);
            let location = format!(
                "https://www.example.com/login?\
                 return_to=https%3A%2F%2Fwww.example.com%2F{path}&from=gateway"
            );
            assert_eq!(header("location"), Some(location), "{name}");
            assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{name}");
            assert_eq!(header("vary").as_deref(), Some("origin"), "{name}");
            for absent in ["www-authenticate", "set-cookie", "front-token", "retry-after"] {
                assert_eq!(header(absent), None, "{name}: {absent}");
            }
            let body = if name == "HEAD" { "" } else { reason };
            assert_eq!(response.text(), body, "{name}");
        }
    }
    // Who has a session gets the page.
    for client in both(world, "login") {
        let request =
            navigate("GET", "/orders").header("cookie", cookies_around(&world.session("usr-1")));
        let (exchange, received) = world.send_by(&client, request);
        exchange.expect_status(200);
        assert!(received.is_some());
        let (exchange, received) = world.send_by(&client, navigate("GET", "/public"));
        exchange.expect_status(200);
        assert!(received.is_some());
    }
}

fn scripts_and_services_are_not(world: &World) {
    let bad = session("usr-f").claim("iss", "https://id.example").signed_by(world.key());
    let ask = |path: &str| Request::get(path).header("host", WWW);
    let mode = |mode: &str| ask("/orders").header("sec-fetch-mode", mode);
    for (name, request, status, reason) in [
        ("fetch", mode("cors").header("accept", "text/html"), 401, "missing"),
        ("fetch, same origin", mode("same-origin"), 401, "missing"),
        ("an image", mode("no-cors"), 401, "missing"),
        ("a WebSocket", mode("websocket"), 401, "missing"),
        ("two modes", mode("navigate").header("sec-fetch-mode", "cors"), 401, "missing"),
        ("another sec-fetch", ask("/orders").header("sec-fetch-site", "none"), 401, "missing"),
        ("curl", ask("/orders").header("accept", "*/*"), 401, "missing"),
        ("no Accept", ask("/orders"), 401, "missing"),
        ("JSON", ask("/orders").header("accept", "application/json, text/plain, */*"), 401, {
            "missing"
        }),
        (
            "JSON before HTML",
            ask("/orders").header("accept", "text/html;q=0.8, application/json"),
            401,
            "missing",
        ),
        ("a denied page", ask("/denied").header("sec-fetch-mode", "navigate"), 403, {
            "denied_by_rule"
        }),
        ("another's token", mode("navigate").header("authorization", bearer(&bad)), 401, {
            "issuer_mismatch"
        }),
        ("a broken token", mode("navigate").header("authorization", bearer("x.y.z")), 401, {
            "malformed"
        }),
        ("an ambiguous path", ask("//x").header("sec-fetch-mode", "navigate"), 400, {
            "ambiguous_path"
        }),
    ] {
        for client in both(world, "login") {
            let (exchange, received) = world.send_by(&client, request.clone());
            assert!(received.is_none(), "{name}");
            exchange.expect(&format!("{name}: {status} {reason}"), |response| {
                response.status == status
                    && response.json()["reason"] == reason
                    && response.headers.get("location").is_none()
                    && (status == 400 || response.headers.get("www-authenticate").is_some())
            });
        }
    }
    let grpc = Request::post("/app.Orders/List", "\0\0\0\0\0")
        .header("host", WWW)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("sec-fetch-mode", "navigate");
    for client in both(world, "login") {
        let (exchange, _) = world.send_by(&client, grpc.clone());
        let response = exchange.expect_status(200);
        assert_eq!(response.headers.text("grpc-status").as_deref(), Some("16"));
        assert_eq!(response.headers.text("grpc-message").as_deref(), Some("missing"));
        assert_eq!(response.headers.text("location"), None);
    }
}

fn return_urls_are_guarded(world: &World) {
    let long = format!("/{}", "x".repeat(20 * 1_024));
    for (name, host, path, expected) in [
        (
            "a query",
            "www.example.com",
            "/a?b=c&d=%26",
            "https%3A%2F%2Fwww.example.com%2Fa%3Fb%3Dc%26d%3D%2526",
        ),
        ("a port", "www.example.com:8443", "/", "https%3A%2F%2Fwww.example.com%3A8443%2F"),
        ("odd case", "WWW.example.COM.", "/", "https%3A%2F%2FWWW.example.COM.%2F"),
        ("a wildcard", "a.b.apps.example.com", "/", "https%3A%2F%2Fa.b.apps.example.com%2F"),
        ("its own name", "apps.example.com", "/", ""),
        ("another host", "evil.example", "/", ""),
        ("a longer host", "www.example.com.evil.example", "/", ""),
        ("odd bytes", "www.example.com;evil", "/", ""),
        ("loopback", "app.localhost:8080", "/", "http%3A%2F%2Fapp.localhost%3A8080%2F"),
        ("another URL in the query", "www.example.com", "/?return_to=https://evil.example/", {
            "https%3A%2F%2Fwww.example.com%2F%3Freturn_to%3Dhttps%3A%2F%2Fevil.example%2F"
        }),
        ("line ends in the query", "www.example.com", "/?%0d%0aset-cookie:a=b", {
            "https%3A%2F%2Fwww.example.com%2F%3F%250d%250aset-cookie%3Aa%3Db"
        }),
        ("a backslash in the query", "www.example.com", "/?\\evil", {
            "https%3A%2F%2Fwww.example.com%2F%3F%5Cevil"
        }),
        ("a placeholder", "www.example.com", "/?{url}", {
            "https%3A%2F%2Fwww.example.com%2F%3F%7Burl%7D"
        }),
        ("20 KiB", "www.example.com", &long, ""),
    ] {
        for client in both(world, "login") {
            let exchange = navigate(&client, host, path);
            let expected =
                format!("https://www.example.com/login?return_to={expected}&from=gateway");
            expect_location(&exchange, name, &expected);
        }
    }
    // Behind a TLS terminator on this machine.
    let request = Request::get("/").header("host", "app.localhost").header("accept", "text/html");
    let exchange = world.client("login").send(request.header("x-forwarded-proto", "https"));
    expect_location(
        &exchange,
        "TLS",
        "https://www.example.com/login?return_to=https%3A%2F%2Fapp.localhost%2F&from=gateway",
    );
    for host in ["u@www.example.com", "www.example.com,evil.example", "www.example.com:65536"] {
        let exchange = navigate(&world.client("login"), host, "/");
        exchange.expect(host, |response| {
            response.status == 400 && response.headers.get("location").is_none()
        });
    }
}

fn relative_login_urls(world: &World) {
    for (name, host, path, expected) in [
        ("any host", "any.example", "/a", "https%3A%2F%2Fany.example%2Fa"),
        ("two slashes", "any.example", "//evil.example", {
            "https%3A%2F%2Fany.example%2F%2Fevil.example"
        }),
        ("a backslash", "any.example", "/\\evil.example", {
            "https%3A%2F%2Fany.example%2F%5Cevil.example"
        }),
        ("line ends", "any.example", "/%0d%0ax:%20y", {
            "https%3A%2F%2Fany.example%2F%250d%250ax%3A%2520y"
        }),
    ] {
        for client in both(world, "login-here") {
            let exchange = navigate(&client, host, path);
            expect_location(&exchange, name, &format!("/login?return_to={expected}"));
        }
    }
    let plain = navigate(&world.client("login-plain"), "evil.example", "/a");
    expect_location(&plain, "no placeholder", "https://www.example.com/");
}

/// A browser gives up after twenty.
fn the_login_page_is_no_loop(world: &World) {
    for (configuration, host, path, is_page) in [
        ("login", WWW, "/login", true),
        ("login", WWW, "/login?return_to=x", true),
        ("login", "WWW.Example.com:8443", "/LOGIN/", true),
        ("login", WWW, "/%6cogin", true),
        ("login", WWW, "/login/x", false),
        ("login", "api.example.com", "/login", false),
        ("login-here", "any.example", "/login", true),
        ("login-here", "any.example", "/login?return_to=x", true),
        ("login-here", "any.example", "/log", false),
        ("login-plain", WWW, "/", true),
    ] {
        for client in both(world, configuration) {
            let exchange = navigate(&client, host, path);
            exchange.expect(&format!("{path}: the page? {is_page}"), |response| {
                if is_page {
                    response.status == 401 && response.json()["reason"] == "missing"
                } else {
                    response.status == 302
                }
            });
        }
    }
}

/// A session that is still good elsewhere: the page that wants a newer login sends to it.
fn an_old_login_is_renewed(world: &World) {
    let logged_in = |seconds_ago: u64| {
        session("usr-o")
            .claim("iss", "https://partner.example")
            .claim("auth_time", unix_now() - seconds_ago)
            .signed_by(world.key())
    };
    let (old, new) = (logged_in(400), logged_in(200));
    let ask = |path: &str, token: &str| {
        Request::get(path).header("host", WWW).header("authorization", bearer(token))
    };
    let navigate = |path: &str, token: &str| ask(path, token).header("sec-fetch-mode", "navigate");
    for client in both(world, "login-fresh") {
        let exchange = client.send(navigate("/payments", &old));
        expect_location(&exchange, "an old login", {
            "https://www.example.com/login?return_to=https%3A%2F%2Fwww.example.com%2Fpayments"
        });
        exchange.expect("the reason alone", |response| {
            response.text() == "stale_session" && response.headers.get("www-authenticate").is_none()
        });
        client.send(ask("/payments", &old)).expect("401 to a script", |response| {
            response.status == 401
                && response.json()["reason"] == "stale_session"
                && response
                    .headers
                    .text("www-authenticate")
                    .is_some_and(|challenge| challenge.ends_with(", max_age=\"300\""))
        });
        client.send(navigate("/orders", &old)).expect_status(200);
        client.send(navigate("/payments", &new)).expect_status(200);
    }
}

/// In an Envoy of its own, so that counters are exact.
fn what_operators_see(world: &World) {
    let configuration = json!({
        "providers": [corbado()],
        "responses": {"login_url": "/login?return_to={url}"}
    });
    let bootstrap = world
        .backends()
        .cluster(Cluster::new("keys", world.app().address()))
        .listener(listener("seen", configuration));
    let envoy = start(EnvoyOptions::new(world.binary(), bootstrap));
    let client = envoy.client("seen");
    navigate(&client, WWW, "/orders?q=QUERY-OF-A-PERSON").expect_status(302);
    client.send(Request::get("/orders")).expect_status(401);
    let form = Request::post("/orders", "a=b").header("sec-fetch-mode", "navigate");
    client.send(form).expect_status(303);
    let counted = envoy.wait_for_stat("wasmcustom.session_token.denied.missing", |it| it == 3);
    counted.unwrap_or_else(|error| panic!("{error}"));
    for accessed in [
        "GET HTTP/1.1 302 session_token_denied{missing} ",
        "POST HTTP/1.1 303 session_token_denied{missing} ",
    ] {
        envoy.wait_for_access_log(accessed).unwrap_or_else(|error| panic!("{error}"));
    }
    let lines = own_lines(&envoy);
    let line = "reason=missing rule=default method=GET path=/orders";
    assert_eq!(lines.iter().filter(|own| *own == line).count(), 2, "{lines:#?}");
    let warned = lines.iter().any(|own| own.contains("responses.login_url: no public rule covers"));
    assert!(warned, "{lines:#?}");
    assert!(!lines.iter().any(|own| own.contains("QUERY-OF-A-PERSON")), "{lines:#?}");
    world.retire(envoy);
}

/// A browser's request for a page.
fn navigate(client: &Client, host: &str, path: &str) -> Exchange {
    let request = Request::get(path).header("host", host);
    client.send(request.header("sec-fetch-mode", "navigate"))
}

#[track_caller]
fn expect_location(exchange: &Exchange, name: &str, expected: &str) {
    exchange.expect(&format!("{name}: 302 to {expected}"), |response| {
        let locations = response.headers.all("location");
        response.status == 302
            && matches!(locations.as_slice(), [one] if *one == expected.as_bytes())
    });
}

/// HTTP/1.1 and HTTP/2.
fn both(world: &World, configuration: &str) -> [Client; 2] {
    let client = world.client(configuration);
    [client.clone(), client.http2()]
}

const WWW: &str = "www.example.com";
