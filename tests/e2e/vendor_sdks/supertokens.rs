//! `supertokens-node` and the filter on the same requests, byte for byte: both answer with the same
//! status and the same message, or the row says why not.
//!
//! Then the SDK behind the filter: under `forward: verify_only` it takes the session that the filter
//! let through, and its own routes work as if no filter were there.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use session_token_harness::bootstrap::{Bootstrap, Cluster, Listener, Route, WasmFilter};
use session_token_harness::client::{Client, Exchange, Request, Response};
use session_token_harness::key_server::KeyServer;

use super::supertokens_core::{Core, Keys, REFRESH_TOKEN, USER};
use super::supertokens_rows::{self as rows, Row, Said};
use super::{Program, packages};
use crate::site::Site;
use crate::world::World;

/// An application with the SDK, and a listener with the like configuration before it.
pub(super) struct Application {
    pub(super) name: &'static str,
    pub(super) signing_keys: &'static str,
    /// As the SDK calls it, and as the filter does.
    pub(super) anti_csrf: (&'static str, &'static str),
}

/// A started application.
pub(super) struct Running {
    _program: Program,
    address: SocketAddr,
}

type Rows = fn(&Keys) -> Vec<Row>;

pub(super) fn verdicts(world: &World) {
    // Before any token is made: it takes a while the first time.
    packages();
    let core = Core::start();
    let tables: [(Application, Rows); 4] = [
        (PLAIN, rows::plain),
        (
            Application {
                name: "custom-header",
                anti_csrf: ("VIA_CUSTOM_HEADER", "custom_header"),
                ..PLAIN
            },
            rows::custom_header,
        ),
        (
            Application { name: "token", anti_csrf: ("VIA_TOKEN", "token"), ..PLAIN },
            rows::anti_csrf_token,
        ),
        (Application { name: "static", signing_keys: "static", ..PLAIN }, rows::static_keys),
    ];
    let running = Application::start(tables.each_ref().map(|(application, _)| application), &core);
    let site = Site::with(world, KeyServer::start(&json!({})), |mut bootstrap| {
        for ((application, _), running) in tables.iter().zip(&running) {
            let configuration = application.configuration(application.name);
            bootstrap = running.complete(bootstrap, application.name, configuration);
        }
        bootstrap
    });
    let mut wrong = Vec::new();
    for ((application, rows), running) in tables.iter().zip(&running) {
        let filter = site.envoy.client(application.name);
        for row in rows(&core.keys) {
            check(application.name, &row, &running.client(), &filter, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{} verdicts\n{}", wrong.len(), wrong.join("\n"));
    behind_the_filter(&site.envoy.client(PLAIN.name), &core.keys);
    core.with(|state| assert!(state.unanswered.is_empty(), "core: {:?}", state.unanswered));
    site.end(world);
}

fn check(name: &str, row: &Row, sdk: &Client, filter: &Client, wrong: &mut Vec<String>) {
    let (expected, why) = row.filter.unwrap_or((row.sdk, "as the SDK"));
    let both = [("the SDK", sdk, row.sdk, ""), ("the filter", filter, expected, why)];
    for (who, client, expected, why) in both {
        let exchange = client.send(row.request.clone());
        if said(&exchange) != Some(expected) {
            let came = match &exchange.response {
                Ok(response) => format!("{} {}", response.status, response.text()),
                Err(error) => error.to_string(),
            };
            let what = &row.name;
            wrong.push(format!("{name}: {what}: {who} says {came}, not {expected:?} {why}"));
        }
    }
}

/// What the answer is, if it is one of the three, byte for byte.
fn said(exchange: &Exchange) -> Option<Said> {
    let response = exchange.response.as_ref().ok()?;
    match (response.status, response.text().as_str()) {
        (200, _) => Some(Said::Session),
        (401, r#"{"message":"unauthorised"}"#) => Some(Said::Unauthorised),
        (401, r#"{"message":"try refresh token"}"#) => Some(Said::TryRefresh),
        (_, _) => None,
    }
}

fn behind_the_filter(client: &Client, keys: &Keys) {
    let good = rows::session().signed_by(&keys.dynamic);
    let user = |response: &Response| response.json()["user"] == USER;
    for (method, carrier) in [
        ("GET", ("authorization", format!("Bearer {good}"))),
        ("GET", ("cookie", format!("a=b; sAccessToken={good}"))),
        ("POST", ("cookie", format!("sAccessToken={good}"))),
    ] {
        let request = Request::new(method, "/sdk/orders").header(carrier.0, carrier.1);
        client.send(request).expect("the SDK takes what the filter verified", user);
    }

    let post = |path: &str| Request::new("POST", path);
    let login = |mode: &str| post("/auth/login").header("st-auth-mode", mode);
    let by_cookie = client.send(login("cookie"));
    let cookies = by_cookie.expect_status(200).headers.all("set-cookie");
    let cookies: Vec<_> = cookies.iter().map(|it| String::from_utf8_lossy(it)).collect();
    let pairs: Vec<_> = cookies.iter().map(|it| it.split(';').next().unwrap_or_default()).collect();
    assert!(pairs.iter().any(|pair| pair.starts_with("sAccessToken=ey")), "{by_cookie}");
    let refreshed = |response: &Response| {
        let cookies = response.headers.all("set-cookie");
        response.status == 200
            && cookies.iter().any(|cookie| cookie.starts_with(b"sAccessToken=ey"))
            && response.headers.get("front-token").is_some()
    };
    let path = "/auth/session/refresh";
    let request = post(path).header("cookie", pairs.join("; "));
    client.send(request).expect("a refresh by cookie", refreshed);
    let request =
        post(path).header("cookie", format!("sAccessToken=x; {REFRESH_COOKIE}={REFRESH_TOKEN}"));
    client.send(request).expect("a refresh beside a broken access token", refreshed);
    let bearer = format!("Bearer {REFRESH_TOKEN}");
    let request = post(path).header("authorization", bearer).header("st-auth-mode", "header");
    client.send(request).expect("a refresh by header", |response| {
        response.status == 200 && response.headers.get("st-access-token").is_some()
    });
    let request = post("/auth/signout").header("cookie", pairs.join("; "));
    client.send(request).expect("the SDK's sign-out clears its cookies", |response| {
        let cookies = response.headers.all("set-cookie");
        response.status == 200 && cookies.iter().any(|it| it.starts_with(b"sAccessToken=;"))
    });
}

impl Application {
    /// Starts them all at once.
    pub(super) fn start<const N: usize>(all: [&Self; N], core: &Core) -> [Running; N] {
        let programs = all.map(|application| {
            let mut program = Program::start("supertokens", &[]);
            program.tell(&json!({
                "core": format!("http://{}", core.address()),
                "domain": DOMAIN,
                "websites": [WEBSITE],
                "antiCsrf": application.anti_csrf.0,
                "dynamic": application.signing_keys == "dynamic",
            }));
            program
        });
        programs.map(|mut program| {
            let port = program.answer()["port"].as_u64().unwrap().try_into().unwrap();
            Running { _program: program, address: (Ipv4Addr::LOCALHOST, port).into() }
        })
    }

    /// The filter's configuration, with keys from a cluster.
    pub(super) fn configuration(&self, keys: &str) -> Value {
        json!({
            "providers": [{
                "name": "supertokens",
                "preset": {"supertokens": {
                    "api_domain": DOMAIN,
                    "website_domain": WEBSITE,
                    "signing_keys": self.signing_keys,
                    "anti_csrf": self.anti_csrf.1
                }},
                "clock_skew": "0s",
                "jwks": {"remote": {"cluster": keys}}
            }],
            "rules": [{"match": {"path": {"prefix": "/sdk"}}, "forward": "verify_only"}]
        })
    }
}

impl Running {
    fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Adds it as a cluster, and a listener of the same name before it and the backend `app`.
    pub(super) fn complete(
        &self,
        bootstrap: Bootstrap,
        name: &'static str,
        configuration: Value,
    ) -> Bootstrap {
        let listener = Listener::new(name)
            .filter(WasmFilter::new().configuration(configuration))
            .route(Route::prefix("/auth").to(name))
            .route(Route::prefix("/sdk").to(name))
            .route(Route::prefix("/").to("app"));
        bootstrap.cluster(Cluster::new(name, self.address)).listener(listener)
    }
}

/// Rotating keys, no protection against CSRF.
pub(super) const PLAIN: Application =
    Application { name: "plain", signing_keys: "dynamic", anti_csrf: ("NONE", "none") };

/// Where the application says that it is; tokens name it as their issuer. Nobody connects to it.
const DOMAIN: &str = "http://localhost";

/// The page that calls it.
pub(super) const WEBSITE: &str = "http://localhost:3000";

const REFRESH_COOKIE: &str = "sRefreshToken";
