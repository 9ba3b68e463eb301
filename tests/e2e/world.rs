//! One Envoy version with everything around it: keys, a key server, backends, and one listener for
//! each configuration that the tests share.

use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};
use session_token_harness::backend::Backend;
use session_token_harness::bootstrap::{Bootstrap, Cluster, Listener, Route, WasmFilter};
use session_token_harness::client::{Client, Exchange, Request};
use session_token_harness::envoy::{Envoy, EnvoyBinary, EnvoyOptions};
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::server::ReceivedRequest;
use session_token_harness::token::Token;

use crate::secrets::{CLAIM_MARK, COOKIE_MARK};
use crate::{access, answers, claims, csrf, matching, redirects, tokens, vendor_answers};

/// The Corbado project of all tests.
pub(crate) const PROJECT: &str = "pro-1234567890";
/// Routes by the claim header `x-plan` go here.
pub(crate) const PRO_PLAN: &str = CLAIM_MARK;

/// See the module.
pub(crate) struct World {
    version: &'static str,
    parts: OnceLock<Parts>,
    /// Logs and metrics of Envoys that are gone.
    retired: Mutex<Vec<String>>,
}

struct Parts {
    envoy: Envoy,
    app: Backend,
    pro: Backend,
    http2: Backend,
    key: SigningKey,
    _key_server: KeyServer,
}

impl World {
    /// Nothing is started before it is needed.
    pub(crate) fn new(version: &'static str) -> Self {
        Self { version, parts: OnceLock::new(), retired: Mutex::default() }
    }

    /// Envoy's version.
    pub(crate) fn version(&self) -> &'static str {
        self.version
    }

    /// Envoy's binary.
    pub(crate) fn binary(&self) -> EnvoyBinary {
        EnvoyBinary::for_version(self.version).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The key of the key server: RS256, `kid` `k1`.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.parts().key
    }

    /// The shared Envoy.
    pub(crate) fn envoy(&self) -> &Envoy {
        &self.parts().envoy
    }

    /// The backend of all routes but the pro plan's.
    pub(crate) fn app(&self) -> &Backend {
        &self.parts().app
    }

    /// The backend of the pro plan.
    pub(crate) fn pro(&self) -> &Backend {
        &self.parts().pro
    }

    /// A bootstrap with the clusters of [`listener`], for an Envoy of a test's own.
    pub(crate) fn backends(&self) -> Bootstrap {
        Bootstrap::new()
            .cluster(Cluster::new("app", self.app().address()))
            .cluster(Cluster::new("pro", self.pro().address()))
    }

    /// A client of the listener with one of `configurations()`.
    pub(crate) fn client(&self, configuration: &str) -> Client {
        self.envoy().client(configuration)
    }

    /// Sends `request` and says what the backend received, if it did.
    pub(crate) fn send(
        &self,
        configuration: &str,
        request: Request,
    ) -> (Exchange, Option<ReceivedRequest>) {
        self.send_by(&self.client(configuration), request)
    }

    /// Sends `request` by any client, and says what a backend received, if one did.
    pub(crate) fn send_by(
        &self,
        client: &Client,
        request: Request,
    ) -> (Exchange, Option<ReceivedRequest>) {
        static CASES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let case = CASES.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
        let exchange = client.send(request.header("x-case", &case));
        let of_case = |request: &ReceivedRequest| {
            request.headers.get("x-case").is_some_and(|value| value == case.as_bytes())
        };
        let backends = [self.app(), self.pro(), &self.parts().http2];
        (exchange, backends.iter().find_map(|backend| backend.find(of_case)))
    }

    /// A session that the shared key server's key signs; claim values are marked as secrets.
    pub(crate) fn session(&self, user: &str) -> String {
        session(user).signed_by(self.key())
    }

    /// Keeps what an Envoy of a test's own wrote, for the search when all tests are over.
    pub(crate) fn retire(&self, envoy: Envoy) {
        self.keep(written_by(&envoy));
    }

    /// Keeps a log for the same search.
    pub(crate) fn keep(&self, written: String) {
        self.retired.lock().unwrap().push(written);
    }

    /// Everything that the Envoys of this version wrote.
    pub(crate) fn written(&self) -> Vec<String> {
        let mut written = self.retired.lock().unwrap().clone();
        written.extend(self.parts.get().map(|parts| written_by(&parts.envoy)));
        written
    }

    fn parts(&self) -> &Parts {
        self.parts.get_or_init(|| {
            let key = SigningKey::new(Algorithm::RS256, "k1");
            let key_server = KeyServer::start(&jwks(&[&key]));
            let (app, pro) = (Backend::start("app"), Backend::start("pro"));
            let http2 = Backend::start_http2("http2");
            let mut bootstrap = Bootstrap::new()
                .cluster(Cluster::new("app", app.address()))
                .cluster(Cluster::new("pro", pro.address()))
                .cluster(Cluster::new("http2", http2.address()).http2())
                .cluster(Cluster::new("keys", key_server.address()));
            for (name, configuration) in configurations() {
                bootstrap = bootstrap.listener(listener(name, configuration));
            }
            let own = [
                access::listeners(),
                matching::listeners(),
                answers::listeners(),
                redirects::listeners(),
                vendor_answers::listeners(),
                tokens::listeners(),
                csrf::listeners(),
                claims::listeners(),
            ];
            for listener in own.into_iter().flatten() {
                bootstrap = bootstrap.listener(listener);
            }
            let options = EnvoyOptions::new(self.binary(), bootstrap).debug();
            let envoy = Envoy::start(options).unwrap_or_else(|error| panic!("{error}"));
            Parts { envoy, app, pro, http2, key, _key_server: key_server }
        })
    }
}

/// A listener with this configuration of the filter, and room for large heads.
pub(crate) fn listener(name: &str, configuration: Value) -> Listener {
    Listener::new(name)
        .filter(WasmFilter::new().configuration(configuration))
        .header_limits(512, 3_000)
        .route(Route::prefix("/").with_header("x-plan", PRO_PLAN).to("pro"))
        .route(Route::prefix("/").to("app"))
}

/// A session of `user`, with marked claim values.
pub(crate) fn session(user: &str) -> Token {
    Token::corbado(PROJECT, user).claim("name", format!("{CLAIM_MARK} {user}"))
}

/// A cookie line with a session in it, between two others.
pub(crate) fn cookies_around(session: &str) -> String {
    format!("a={COOKIE_MARK}; cbo_session_token={session}; b=2")
}

/// The provider of most configurations.
pub(crate) fn corbado() -> Value {
    json!({
        "name": "corbado",
        "preset": {"corbado": {"project_id": PROJECT}},
        "jwks": {"remote": {"cluster": "keys"}},
        "claim_headers": [
            {"header": "x-user-id", "claim": "sub"},
            {"header": "x-user-name", "claim": "name"},
            {"header": "x-plan", "claim": "plan"}
        ]
    })
}

/// The configurations that tests share, by the name of their listener.
fn configurations() -> Vec<(&'static str, Value)> {
    let with = |fields: Value| {
        let mut provider = corbado();
        for (name, value) in fields.as_object().into_iter().flatten() {
            provider[name] = value.clone();
        }
        json!({
            "providers": [provider],
            "rules": [
                {"match": {"path": {"prefix": "/public"}}, "access": "public"},
                {"match": {"path": {"prefix": "/optional"}}, "access": "optional"},
                {"match": {"path": {"prefix": "/optional-foreign"}}, "access": "optional",
                 "insecure_forward_foreign": true},
                {"match": {"path": {"prefix": "/denied"}}, "access": "denied"},
                {"match": {"path": {"prefix": "/verify-only"}}, "forward": "verify_only"},
                {"match": {"path": {"prefix": "/strip"}}, "forward": "strip"},
                {"name": "delete", "match": {"methods": ["DELETE"]}, "access": "denied"}
            ]
        })
    };
    let mut custom = with(json!({
        "issuers": [format!("https://{PROJECT}.frontendapi.cloud.corbado.io")],
        "jwks": {"remote": {"cluster": "keys", "uri": "http://keys/jwks"}},
        "sources": [{"header": {"name": "x-session-token", "scheme": ""}}]
    }));
    custom["providers"][0].as_object_mut().unwrap().remove("preset");
    vec![
        ("corbado", with(json!({}))),
        ("reject", with(json!({"on_conflict": "reject"}))),
        ("newest", with(json!({"duplicate_cookies": "newest"}))),
        ("cookie", with(json!({"sources": [{"cookie": {"name": "cbo_session_token"}}]}))),
        ("custom", custom),
    ]
}

fn written_by(envoy: &Envoy) -> String {
    let stats = envoy.admin_get("/stats").map(|response| response.text()).unwrap_or_default();
    format!("{}\n{stats}", envoy.log())
}
