//! The configurations under `envoy/`, end to end: on free ports, and as a person runs them, with
//! func-e from the repository's root.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use libtest_mimic::Trial;
use serde_json::json;
use session_token_harness::answer::Answer;
use session_token_harness::backend::{Backend, describe};
use session_token_harness::bootstrap::Document;
use session_token_harness::client::{Client, Exchange, Request, Response};
use session_token_harness::envoy::{Envoy, EnvoyOptions};
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::server::{ReceivedRequest, Server};
use session_token_harness::token::{Token, tampered, unix_now};
use session_token_harness::workspace;

use crate::site::{end, expect_denied};
use crate::trial;
use crate::world::{World, cookies_around, session};

/// All tests, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "shipped::every_file_is_tested", every_file_is_tested),
        trial(world, "shipped::one_host", one_host),
        trial(world, "shipped::two_hosts", two_hosts),
        trial(world, "shipped::service_to_service", service_to_service),
        trial(world, "shipped::shared_session", shared_session),
    ]
}

/// Page and API of the one-host scenario.
pub(crate) const WWW_ONE_HOST: &str = "www.example.localhost:8090";
/// The page of the two-hosts scenario, and its API.
pub(crate) const WWW: &str = "www.example.localhost:8080";
pub(crate) const API: &str = "api.example.localhost:8080";
const PAGE_ORIGIN: &str = "http://www.example.localhost:8080";

const WWW_SHARED: &str = "www.example.localhost:8110";
const PAGE_SHARED: &str = "http://www.example.localhost:8110";
const FIRST_API: &str = "api.example.localhost:8110";
pub(crate) const SECOND_API: &str = "api2.example.localhost:8110";
const APP: &str = "app.example.localhost:8110";
const REFRESH_COOKIE: &str = "sRefreshToken=new; Path=/auth/session/refresh; HttpOnly";

/// A session as the shipped configurations want it.
pub(crate) fn shipped_session(key: &SigningKey, user: &str, plan: &str) -> String {
    let issuer = "http://auth.example.localhost:8081";
    session(user).claim("iss", issuer).claim("plan", plan).signed_by(key)
}

/// A GET of `path` on `host`.
pub(crate) fn get_from(host: &str, path: &str) -> Request {
    Request::get(path).header("host", host)
}

fn every_file_is_tested(_: &World) {
    let files = fs::read_dir(workspace::root().join("envoy")).unwrap();
    let mut names: Vec<_> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".yaml") && !name.starts_with("prometheus"));
    names.sort();
    let tested =
        ["one-host.yaml", "service-to-service.yaml", "shared-session.yaml", "two-hosts.yaml"];
    assert_eq!(names, tested);
}

/// A shipped file at work, with a backend for each of its clusters but the key server's.
struct Shipped {
    envoy: Envoy,
    key: SigningKey,
    backends: Vec<Backend>,
    _keys: KeyServer,
}

impl Shipped {
    fn start(world: &World, file: &str, elsewhere: &[(&str, SocketAddr)]) -> Self {
        let key = SigningKey::new(Algorithm::RS256, "k1");
        let keys = KeyServer::start(&jwks(&[&key]));
        let yaml = fs::read_to_string(workspace::root().join("envoy").join(file)).unwrap();
        let mut document = Document::parse(&yaml).unwrap().on_free_ports();
        let mut backends = Vec::new();
        for name in document.clusters() {
            let address = match elsewhere.iter().find(|(other, _)| *other == name) {
                Some((_, address)) => *address,
                None if name == "corbado" => keys.address(),
                None => {
                    backends.push(Backend::start(&name));
                    backends[backends.len() - 1].address()
                }
            };
            document = document.with_cluster_at(&name, address);
        }
        let options = EnvoyOptions::new(world.binary(), document);
        let envoy = Envoy::start(options).unwrap_or_else(|error| panic!("{error}"));
        Self { envoy, key, backends, _keys: keys }
    }

    fn session(&self, plan: &str) -> String {
        shipped_session(&self.key, "usr-1", plan)
    }

    /// The one backend that got the request, and what it got; `None` when nobody did.
    fn received(&self) -> Option<(String, ReceivedRequest)> {
        let mut received: Vec<_> = self
            .backends
            .iter()
            .flat_map(|backend| backend.take_last().map(|got| (backend.name().to_owned(), got)))
            .collect();
        assert!(received.len() <= 1, "one request, one backend");
        received.pop()
    }

    #[track_caller]
    fn expect_at(&self, exchange: &Exchange, cluster: &str) -> ReceivedRequest {
        exchange.expect_status(200);
        match self.received() {
            Some((name, received)) if name == cluster => received,
            other => {
                let name = other.map(|(name, _)| name);
                exchange.fail(&format!("to be routed to {cluster}, not {name:?}"))
            }
        }
    }

    #[track_caller]
    fn expect_refused(&self, exchange: &Exchange, reason: &str) {
        expect_denied(exchange, 401, reason);
        assert!(self.received().is_none(), "refused, and still at a backend");
    }
}

#[track_caller]
fn expect_headers(received: &ReceivedRequest, expected: &[(&str, &[&str])]) {
    for (name, values) in expected {
        let got: Vec<_> = received.headers.all(name).into_iter().map(<[u8]>::to_vec).collect();
        let values: Vec<_> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
        assert_eq!(got, values, "{name} in\n{}", received.headers);
    }
}

/// Scenario 1 behind any listener that has it: one-host, and the page's host of two-hosts.
fn cookie_scenario(shipped: &Shipped, client: &Client, host: &str) {
    let page = client.send(get_from(host, "/"));
    shipped.expect_at(&page, "pages");
    for path in ["/assets/app.js", "/healthz"] {
        shipped.expect_at(&client.send(get_from(host, path)), "pages");
    }
    let (free, pro) = (shipped.session("free"), shipped.session("pro"));
    for (path, session, cluster) in [
        ("/api/profile", &free, "api"),
        ("/api/profile", &pro, "api_pro"),
        ("/api/orders/7?x=1", &pro, "orders"),
        ("/account", &free, "pages"),
    ] {
        let request = get_from(host, path)
            .header("cookie", cookies_around(session))
            .header("x-user-plan", "pro")
            .header("x_user_id", "admin");
        let received = shipped.expect_at(&client.send(request), cluster);
        let bearer = format!("Bearer {session}");
        expect_headers(
            &received,
            &[
                ("authorization", &[&bearer]),
                ("cookie", &["a=COOKIE-VALUE-TO-KEEP; b=2"]),
                ("x-user-id", &["usr-1"]),
                ("x-user-plan", &[if session == &pro { "pro" } else { "free" }]),
                ("x_user_id", &[]),
            ],
        );
    }
    for path in ["/api/profile", "/account", "/api/orders", "/assetsx"] {
        shipped.expect_refused(&client.send(get_from(host, path)), "missing");
    }
    let forged = get_from(host, "/api/x").header("cookie", cookies_around(&tampered(&free)));
    let exchange = client.send(forged);
    shipped.expect_refused(&exchange, "bad_signature");
    let challenge = exchange.expect_status(401).headers.text("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer realm=\"example\", error=\"invalid_token\""));
    let expired = session("usr-1")
        .claim("iss", "http://auth.example.localhost:8081")
        .claim("exp", 1_000_000_000)
        .signed_by(&shipped.key);
    let request = get_from(host, "/api/x").header("cookie", cookies_around(&expired));
    shipped.expect_refused(&client.send(request), "expired");
}

fn one_host(world: &World) {
    let shipped = Shipped::start(world, "one-host.yaml", &[]);
    let client = shipped.envoy.client("edge");
    cookie_scenario(&shipped, &client, WWW_ONE_HOST);
    client
        .send(get_from("other.example", "/api"))
        .expect("no page", |answer| answer.status == 401 || answer.status == 404);
    end(world, shipped.envoy);
}

fn two_hosts(world: &World) {
    let shipped = Shipped::start(world, "two-hosts.yaml", &[]);
    let client = shipped.envoy.client("edge");
    cookie_scenario(&shipped, &client, WWW);
    let (free, pro) = (shipped.session("free"), shipped.session("pro"));
    let from_page = |path: &str| get_from(API, path).header("origin", PAGE_ORIGIN);
    let allows_origin = |response: &Response| {
        response.headers.all("access-control-allow-origin") == [PAGE_ORIGIN.as_bytes()]
    };
    // The browser asks first, and Envoy answers by itself.
    let preflight = |origin: &str| {
        Request::new("OPTIONS", "/api/profile")
            .header("host", API)
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization")
    };
    client.send(preflight(PAGE_ORIGIN)).expect("a granted preflight", |response| {
        let headers = response.headers.text("access-control-allow-headers").unwrap_or_default();
        response.status == 200 && allows_origin(response) && headers.contains("authorization")
    });
    client.send(preflight("https://evil.example")).expect("no grant", |response| {
        response.headers.get("access-control-allow-origin").is_none()
    });
    assert!(shipped.received().is_none(), "no preflight reaches a backend");
    // Then it sends the bearer.
    for (path, session, cluster) in [
        ("/api/profile", &free, "api"),
        ("/api/profile", &pro, "api_pro"),
        ("/api/orders", &free, "orders"),
    ] {
        let bearer = format!("Bearer {session}");
        let request = from_page(path).header("authorization", &bearer).header("x-user-id", "admin");
        let exchange = client.send(request);
        let received = shipped.expect_at(&exchange, cluster);
        exchange.expect("an answer that the page may read", allows_origin);
        expect_headers(&received, &[("authorization", &[&bearer]), ("x-user-id", &["usr-1"])]);
    }
    // A refusal is readable too, or the page would see a broken network.
    let expired = session("usr-1").claim("iss", "http://auth.example.localhost:8081");
    let expired = expired.claim("exp", 1_000_000_000).signed_by(&shipped.key);
    for (authorization, reason) in
        [(None, "missing"), (Some(&expired), "expired"), (Some(&tampered(&free)), "bad_signature")]
    {
        let request = match authorization {
            None => from_page("/api/profile"),
            Some(token) => {
                from_page("/api/profile").header("authorization", format!("Bearer {token}"))
            }
        };
        let exchange = client.send(request);
        shipped.expect_refused(&exchange, reason);
        exchange.expect("a refusal that the page may read", |response| {
            let exposed = response.headers.text("access-control-expose-headers");
            allows_origin(response)
                && response.headers.get("www-authenticate").is_some()
                && exposed.is_some_and(|names| names.contains("www-authenticate"))
        });
    }
    let foreign = get_from(API, "/api/profile").header("origin", "https://evil.example");
    client.send(foreign).expect("nothing for a foreign page", |response| {
        response.status == 401 && response.headers.get("access-control-allow-origin").is_none()
    });
    // To the API's host a cookie is no credential.
    let request = from_page("/api/profile").header("cookie", cookies_around(&free));
    shipped.expect_refused(&client.send(request), "missing");
    end(world, shipped.envoy);
}

fn service_to_service(world: &World) {
    let stock_hop = Arc::new(OnceLock::<SocketAddr>::new());
    let orders = Server::start({
        let stock_hop = Arc::clone(&stock_hop);
        move |request: ReceivedRequest| call_stock(&request, *stock_hop.wait())
    });
    let shipped = Shipped::start(world, "service-to-service.yaml", &[("orders", orders.address())]);
    stock_hop.set(shipped.envoy.listener("stock").unwrap()).unwrap();
    let client = shipped.envoy.client("orders");
    for (plan, cluster) in [("free", "stock"), ("pro", "stock_priority")] {
        let session = shipped.session(plan);
        let bearer = format!("Bearer {session}");
        let request = Request::get("/api/orders").header("authorization", &bearer);
        let received = shipped.expect_at(&client.send(request), cluster);
        expect_headers(
            &received,
            &[("authorization", &[&bearer]), ("x-user-id", &["usr-1"]), ("x-user-plan", &[plan])],
        );
    }
    let session = shipped.session("free");
    let forged = format!("Bearer {}", tampered(&session));
    for hop in ["orders", "stock"] {
        let client = shipped.envoy.client(hop);
        let path = if hop == "orders" { "/api/orders" } else { "/stock" };
        let bare = client.send(Request::get(path));
        shipped.expect_refused(&bare, "missing");
        let challenge = bare.expect_status(401).headers.text("www-authenticate");
        assert_eq!(challenge, Some(format!("Bearer realm=\"{hop}\"")));
        let request = Request::get(path).header("authorization", &forged);
        shipped.expect_refused(&client.send(request), "bad_signature");
        // Between services there are no cookies.
        let request = Request::get(path).header("cookie", cookies_around(&session));
        shipped.expect_refused(&client.send(request), "missing");
        // And no path is ambiguous.
        let request = Request::get(format!("{path}//a;b/%2e")).header("authorization", &forged);
        shipped.expect_refused(&client.send(request), "bad_signature");
    }
    end(world, shipped.envoy);
}

/// One session for two APIs, on two hosts and by path under one.
fn shared_session(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "d-1");
    let auth = Server::start({
        let keys = jwks(&[&key]);
        move |request: ReceivedRequest| match request.path.as_str() {
            "/auth/jwt/jwks.json" => Answer::json(&keys),
            _ => Answer::json(describe("auth", &request))
                .header("set-cookie", "sAccessToken=new; Path=/; HttpOnly; SameSite=Lax")
                .header("set-cookie", REFRESH_COOKIE),
        }
    });
    let shipped = Shipped::start(world, "shared-session.yaml", &[("auth", auth.address())]);
    let client = shipped.envoy.client("edge");
    let session = vendors_session(&key, "member", 60);
    let with_session = |method: &str, host: &str, path: &str| {
        Request::new(method, path)
            .header("host", host)
            .header("cookie", format!("a=1; sAccessToken={session}"))
    };

    for (host, path) in [
        (WWW_SHARED, "/"),
        (WWW_SHARED, "/login?return_to=x"),
        (APP, "/assets/sessions.js"),
        (APP, "/healthz"),
    ] {
        shipped.expect_at(&client.send(get_from(host, path)), "pages");
    }
    // The auth server's cookies: the session for all hosts, the refresh token for its own alone.
    for host in [FIRST_API, APP] {
        let request = Request::post("/auth/session/refresh", "").header("host", host);
        let request = request.header("cookie", "sRefreshToken=r; sAccessToken=old");
        let exchange = client.send(request);
        let answer = exchange.expect_status(200);
        let cookies: Vec<_> =
            answer.headers.all("set-cookie").into_iter().map(String::from_utf8_lossy).collect();
        let shared =
            cookies.iter().filter(|line| line.contains("Domain=.example.localhost")).count();
        let twins: Vec<_> = cookies.iter().filter(|line| line.contains("Max-Age=0")).collect();
        assert!(cookies.len() == 3 && shared == 1 && twins.len() == 1, "{host}: {cookies:?}");
        assert!(!twins[0].contains("Domain"), "{host}: {cookies:?}");
        assert!(cookies.iter().any(|line| line == REFRESH_COOKIE), "{host}: {cookies:?}");
        let echo = answer.json().to_string();
        assert!(echo.contains("sRefreshToken=r; sAccessToken=old"), "untouched: {echo}");
        assert!(!echo.contains("authorization"), "untouched: {echo}");
    }
    for (host, path, cluster, seen) in [
        (FIRST_API, "/profile", "api", "/profile"),
        (SECOND_API, "/orders?x=1", "api2", "/orders?x=1"),
        (WWW_SHARED, "/account", "pages", "/account"),
        (APP, "/api/profile", "api", "/profile"),
        (APP, "/api2/orders?x=1", "api2", "/orders?x=1"),
        (APP, "/account", "pages", "/account"),
    ] {
        let forged = with_session("GET", host, path).header("x-user-roles", "admin");
        let received = shipped.expect_at(&client.send(forged), cluster);
        assert_eq!(received.path, seen, "{host}{path}");
        let bearer = format!("Bearer {session}");
        expect_headers(
            &received,
            &[
                ("authorization", &[&bearer]),
                ("cookie", &["a=1"]),
                ("x-user-id", &["usr-1"]),
                ("x-user-plan", &["pro"]),
                ("x-user-roles", &["member"]),
            ],
        );
    }
    // Both ways to the second API ask for the role.
    let admin = vendors_session(&key, "admin", 60);
    for (host, path) in [(SECOND_API, "/admin"), (APP, "/api2/Admin/x")] {
        let exchange = client.send(with_session("GET", host, path));
        exchange.expect("a claim rule", |answer| {
            answer.status == 403 && answer.json()["message"] == "invalid claim"
        });
        assert!(shipped.received().is_none());
        let request = get_from(host, path).header("cookie", format!("sAccessToken={admin}"));
        shipped.expect_at(&client.send(request), "api2");
    }
    // What the vendor's front end understands, and may read.
    let expired = format!("sAccessToken={}", vendors_session(&key, "member", -60));
    for (cookie, message) in [("a=1", "unauthorised"), (&expired, "try refresh token")] {
        let request = get_from(SECOND_API, "/orders").header("cookie", cookie);
        let exchange = client.send(request.header("origin", PAGE_SHARED));
        exchange.expect(message, |answer| {
            answer.status == 401
                && answer.body == json!({ "message": message }).to_string().as_bytes()
        });
        exchange.expect("an answer that the page may read", |answer| {
            answer.headers.all("access-control-allow-origin") == [PAGE_SHARED.as_bytes()]
                && answer.headers.all("access-control-allow-credentials") == [b"true"]
        });
    }
    assert!(shipped.received().is_none());
    // Who may post with the cookie, and who may not.
    for (host, path) in [(SECOND_API, "/orders"), (APP, "/api2/orders")] {
        for (origin, site, status) in [
            (PAGE_SHARED, "same-site", 200),
            ("http://blog.example.localhost:8111", "same-site", 403),
            ("http://evil.localhost:8111", "cross-site", 403),
        ] {
            let request = with_session("POST", host, path)
                .header("origin", origin)
                .header("sec-fetch-site", site)
                .header("content-type", "text/plain");
            let exchange = client.send(request);
            match status {
                200 => drop(shipped.expect_at(&exchange, "api2")),
                _ => {
                    exchange.expect("cross_site", |answer| {
                        answer.status == 403 && answer.json()["message"] == "cross_site"
                    });
                    assert!(shipped.received().is_none());
                }
            }
        }
    }
    for (origin, granted) in [(PAGE_SHARED, true), ("http://blog.example.localhost:8111", false)] {
        let preflight = Request::new("OPTIONS", "/orders")
            .header("host", SECOND_API)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,rid,st-auth-mode");
        client.send(preflight).expect("a preflight answered by Envoy", |answer| {
            let allowed = answer.headers.text("access-control-allow-origin");
            answer.status == 200 && (allowed.as_deref() == Some(origin)) == granted
        });
        assert!(shipped.received().is_none(), "no preflight reaches a backend");
    }
    // People are led to the login page, and told the way back to the hosts of pages.
    for (host, path, return_to) in [
        (WWW_SHARED, "/account?x=1", "http%3A%2F%2Fwww.example.localhost%3A8110%2Faccount%3Fx%3D1"),
        (APP, "/account", "http%3A%2F%2Fapp.example.localhost%3A8110%2Faccount"),
        (SECOND_API, "/orders", ""),
    ] {
        let request = get_from(host, path).header("sec-fetch-mode", "navigate");
        let exchange = client.send(request.header("accept", "text/html"));
        let location = format!("{PAGE_SHARED}/login?return_to={return_to}");
        exchange.expect(&location, |answer| {
            answer.status == 302 && answer.headers.all("location") == [location.as_bytes()]
        });
        assert!(shipped.received().is_none());
    }
    end(world, shipped.envoy);
}

/// A session as SuperTokens signs it, with `seconds` left.
pub(crate) fn vendors_session(key: &SigningKey, role: &str, seconds: i64) -> String {
    let now = i64::try_from(unix_now()).unwrap();
    let claims = json!({
        "iss": "http://api.example.localhost:8110/auth",
        "sub": "usr-1",
        "rsub": "usr-1",
        "tId": "public",
        "iat": now - 60,
        "exp": now + seconds,
        "sessionHandle": "handle-1",
        "refreshTokenHash1": "hash-1",
        "parentRefreshTokenHash1": null,
        "antiCsrfToken": null,
        "st-role": { "v": [role], "t": now },
        "plan": "pro",
    });
    Token::new(claims).header("version", "5").signed_by(key)
}

/// The orders service: passes on the credential that it received, and claims a plan of its own,
/// which the next hop must not believe.
pub(crate) fn call_stock(request: &ReceivedRequest, stock_hop: SocketAddr) -> Answer {
    let credential = request.headers.get("authorization").unwrap_or_default();
    let call =
        Request::get("/stock/7").header("authorization", credential).header("x-user-plan", "pro");
    match Client::new(stock_hop).send(call).response {
        Ok(response) => Answer::status(response.status).body(response.body),
        Err(error) => Answer::status(502).body(error.to_string()),
    }
}
