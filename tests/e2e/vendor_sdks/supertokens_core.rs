//! The few answers of SuperTokens' core that its Node SDK needs: the real core is a Java service.
//!
//! It signs what it is asked for, with the claims and the header of a real core's tokens. It has one
//! session at a time, and knows nothing of expiry or theft.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use session_token_harness::answer::Answer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::server::{ReceivedRequest, Server};
use session_token_harness::token::{Token, supertokens_claims, unix_now};

/// A running core. Every clone of its keys signs alike.
pub(super) struct Core {
    pub(super) keys: Keys,
    state: Arc<Mutex<State>>,
    server: Server,
}

/// What a core signs with: both kinds of key are in one set.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) dynamic: SigningKey,
    pub(super) fixed: SigningKey,
}

/// What tests decide and see.
pub(super) struct State {
    /// The next session's `exp`, in seconds from now.
    pub(super) lifetime: i64,
    /// Claims that only the next session's first token has.
    pub(super) first_claims: Value,
    /// No refresh token is known any more.
    pub(super) forgot_sessions: bool,
    /// How often a session was refreshed, or would have been.
    pub(super) refreshes: usize,
    /// Paths that no answer is known for.
    pub(super) unanswered: Vec<String>,
    /// The claims of the session that the application gave, such as `iss`.
    claims: Value,
}

impl Core {
    pub(super) fn start() -> Self {
        let keys = Keys {
            dynamic: SigningKey::new(Algorithm::RS256, "d-1"),
            fixed: SigningKey::generate(Algorithm::RS256, "s-1"),
        };
        let state = Arc::new(Mutex::new(State::new()));
        let (signing, seen) = (keys.clone(), Arc::clone(&state));
        let server = Server::start(move |request: ReceivedRequest| {
            Answer::json(answer(&signing, &mut seen.lock().unwrap(), &request))
        });
        Self { keys, state, server }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Changes or reads what tests decide and see.
    pub(super) fn with<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().unwrap())
    }
}

impl State {
    /// Nothing has happened yet; a session lasts an hour.
    pub(super) fn new() -> Self {
        Self {
            lifetime: 3600,
            first_claims: json!({}),
            forgot_sessions: false,
            refreshes: 0,
            unanswered: Vec::new(),
            claims: json!({}),
        }
    }
}

impl Keys {
    /// The key set.
    pub(super) fn document(&self) -> Value {
        jwks(&[&self.dynamic, &self.fixed])
    }
}

fn answer(keys: &Keys, state: &mut State, request: &ReceivedRequest) -> Value {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    match request.path.split('?').next().unwrap_or_default() {
        "/apiversion" => json!({"versions": ["5.4"]}),
        "/.well-known/jwks.json" => keys.document(),
        "/user/id" => json!({"status": "UNKNOWN_USER_ID_ERROR"}),
        "/public/recipe/session" => {
            state.claims = body["userDataInJWT"].clone();
            session(keys, state, state.lifetime, state.first_claims.clone())
        }
        "/recipe/session/refresh" => {
            state.refreshes += 1;
            if state.forgot_sessions || body["refreshToken"] != REFRESH_TOKEN {
                return json!({"status": "UNAUTHORISED", "message": "no such session"});
            }
            // Until the new refresh token has been seen in use, the token names the old one.
            session(keys, state, 3600, json!({"parentRefreshTokenHash1": "hash-of-the-old-one"}))
        }
        "/recipe/session/verify" => session(keys, state, 3600, json!({})),
        "/recipe/session/remove" => json!({"status": "OK", "sessionHandlesRevoked": [HANDLE]}),
        path => {
            state.unanswered.push(path.to_owned());
            json!({"status": "UNKNOWN"})
        }
    }
}

/// `own_claims` are this token's only.
fn session(keys: &Keys, state: &State, lifetime: i64, own_claims: Value) -> Value {
    let (now, mut claims) = (i64::try_from(unix_now()).unwrap(), supertokens_claims(ISSUER, USER));
    for (name, value) in
        [&state.claims, &own_claims].into_iter().filter_map(Value::as_object).flatten()
    {
        claims[name] = value.clone();
    }
    claims["iat"] = json!(now.min(now + lifetime));
    claims["exp"] = json!(now + lifetime);
    let token = Token::new(claims).header("version", "5").signed_by(&keys.dynamic);
    json!({
        "status": "OK",
        "session": {
            "handle": HANDLE,
            "userId": USER,
            "recipeUserId": USER,
            "tenantId": "public",
            "userDataInJWT": state.claims,
        },
        "accessToken": {
            "token": token,
            "createdTime": now * 1000,
            "expiry": (now + lifetime) * 1000,
        },
        "refreshToken": {
            "token": REFRESH_TOKEN,
            "createdTime": now * 1000,
            "expiry": (now + 86_400) * 1000,
        },
    })
}

/// What the SDK makes of its `apiDomain` and `apiBasePath`.
pub(super) const ISSUER: &str = "http://localhost/auth";
pub(super) const USER: &str = "usr-1";
const HANDLE: &str = "handle-usr-1";
pub(super) const REFRESH_TOKEN: &str = "refresh-token-of-the-tests";
