//! The demo's issuer: it plays Corbado's Frontend API.
//!
//! 1. `GET /.well-known/jwks`: the public keys, the newest and the two before it.
//! 2. `POST /login`, `/refresh`, `/logout`: a session token of five minutes in the answer's body,
//!    for the page's script to keep; the refresh token is an HttpOnly cookie of this host.
//! 3. `POST /demo/token`: tokens that something is wrong with, for the cases.
//!    `POST /demo/rotate`: from now on a new key signs.
//!
//! The page calls it across origins, so it answers preflights and names the page's origins.
//! It knows nothing of passwords: whoever asks is logged in.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use super::cases::{Plan, TokenKind};
use super::ports::{ISSUER_ORIGIN, ONE_HOST_ORIGIN, PROJECT_ID, TWO_HOSTS_ORIGIN};
use super::random_id;
use crate::answer::Answer;
use crate::keys::{Algorithm, SigningKey, jwks};
use crate::server::ReceivedRequest;
use crate::token::{Token, unix_now, with_other_payload};

/// The issuer's keys and sessions.
pub(super) struct Issuer(Mutex<State>);

struct State {
    /// The newest key first; it signs.
    keys: Vec<SigningKey>,
    /// By refresh token.
    sessions: HashMap<String, User>,
}

/// Who is logged in.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct User {
    name: String,
    plan: Plan,
}

#[derive(Deserialize)]
struct TokenRequest {
    kind: TokenKind,
    #[serde(flatten)]
    user: User,
}

impl Issuer {
    /// An issuer with one new key and nobody logged in.
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { keys: vec![new_key()], sessions: HashMap::new() }))
    }

    /// Answers one request.
    pub(super) fn answer(&self, request: &ReceivedRequest) -> Answer {
        let Some(origin) = allowed_origin(request) else {
            return refusal(403, "this origin may not call the issuer");
        };
        let answer = match (request.method.as_str(), request.path.as_str()) {
            ("OPTIONS", _) => preflight(),
            ("GET", "/.well-known/jwks") => self.jwks(),
            ("POST", "/login") => self.login(request),
            ("POST", "/refresh") => self.refresh(request),
            ("POST", "/logout") => self.logout(request),
            ("POST", "/demo/token") => self.token(request),
            ("POST", "/demo/rotate") => self.rotate(),
            _ => refusal(404, "the issuer has no such page"),
        };
        let answer = answer.header("cache-control", "no-store").header("vary", "origin");
        match origin {
            None => answer,
            Some(origin) => answer
                .header("access-control-allow-origin", origin)
                .header("access-control-allow-credentials", "true"),
        }
    }

    fn jwks(&self) -> Answer {
        Answer::json(jwks(&self.lock().keys.iter().collect::<Vec<_>>()))
    }

    fn login(&self, request: &ReceivedRequest) -> Answer {
        let Ok(user) = serde_json::from_slice::<User>(&request.body) else {
            return refusal(400, "expected {\"name\": …, \"plan\": \"starter\" or \"pro\"}");
        };
        if user.name.trim().is_empty() || user.name.chars().count() > 40 {
            return refusal(400, "a name has 1 to 40 characters");
        }
        let mut state = self.lock();
        let refresh_token = random_id();
        state.sessions.insert(refresh_token.clone(), user.clone());
        state.session(&user).header("set-cookie", refresh_cookie(&refresh_token, 86_400))
    }

    fn refresh(&self, request: &ReceivedRequest) -> Answer {
        let state = self.lock();
        match refresh_token(request).and_then(|token| state.sessions.get(&token)) {
            Some(user) => state.session(user),
            None => refusal(401, "no such session").header("set-cookie", refresh_cookie("", 0)),
        }
    }

    fn logout(&self, request: &ReceivedRequest) -> Answer {
        if let Some(token) = refresh_token(request) {
            self.lock().sessions.remove(&token);
        }
        Answer::json(json!({})).header("set-cookie", refresh_cookie("", 0))
    }

    fn token(&self, request: &ReceivedRequest) -> Answer {
        match serde_json::from_slice::<TokenRequest>(&request.body) {
            Ok(TokenRequest { kind, user }) => {
                Answer::json(json!({ "token": self.lock().mint(kind, &user) }))
            }
            Err(error) => refusal(400, &error.to_string()),
        }
    }

    /// The old keys stay published for a while, as any careful issuer does it.
    fn rotate(&self) -> Answer {
        let key = new_key();
        let kid = key.kid().to_owned();
        let mut state = self.lock();
        state.keys.insert(0, key);
        state.keys.truncate(PUBLISHED_KEYS);
        Answer::json(json!({ "kid": kid }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn session(&self, user: &User) -> Answer {
        let token = self.mint(TokenKind::Session, user);
        Answer::json(json!({ "token": token, "name": user.name, "plan": user.plan }))
    }

    fn mint(&self, kind: TokenKind, user: &User) -> String {
        let key = &self.keys[0];
        let valid = |user: &User| claims(user);
        match kind {
            TokenKind::Session => valid(user).signed_by(key),
            TokenKind::Starter => {
                valid(&User { plan: Plan::Starter, ..user.clone() }).signed_by(key)
            }
            TokenKind::Pro => valid(&User { plan: Plan::Pro, ..user.clone() }).signed_by(key),
            TokenKind::Tampered => {
                let genuine = valid(user).signed_by(key);
                let wish = User { plan: Plan::Pro, name: "Somebody Else".to_owned() };
                with_other_payload(&genuine, &claims_value(&wish))
            }
            TokenKind::Expired => {
                let hour_ago = unix_now() - 3600;
                valid(user)
                    .claim("iat", hour_ago - 300)
                    .claim("nbf", hour_ago - 300)
                    .claim("exp", hour_ago)
                    .signed_by(key)
            }
            TokenKind::Unsigned => valid(user).unsigned(),
            TokenKind::OtherProject => valid(user)
                .claim("iss", "https://pro-9999999999.frontendapi.cloud.corbado.io")
                .signed_by(key),
            TokenKind::UnknownKey => valid(user).signed_by(&new_key()),
        }
    }
}

fn claims(user: &User) -> Token {
    Token::new(claims_value(user))
}

/// Corbado's claims, and `plan`, which the shipped configurations route on.
fn claims_value(user: &User) -> Value {
    let now = unix_now();
    let slug: String = user
        .name
        .to_lowercase()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect();
    let mailbox = match slug.trim_matches('-') {
        "" => "guest",
        slug => slug,
    };
    let email = format!("{mailbox}@{PROJECT_ID}.example");
    json!({
        "iss": ISSUER_ORIGIN,
        "sub": format!("usr-{mailbox}"),
        "iat": now,
        "nbf": now,
        "exp": now + SESSION_SECONDS,
        "jti": format!("jti-{}", random_id()),
        "name": user.name,
        "email": email,
        "phone_number": "",
        "orig": email,
        "version": 2,
        "plan": user.plan,
    })
}

impl Default for User {
    fn default() -> Self {
        Self { name: "Guest".to_owned(), plan: Plan::Starter }
    }
}

fn new_key() -> SigningKey {
    let mut kid = random_id();
    kid.truncate(8);
    SigningKey::generate(Algorithm::RS256, &format!("key-{kid}"))
}

/// `None`: refuse. `Some(None)`: not a browser's cross-origin request.
fn allowed_origin(request: &ReceivedRequest) -> Option<Option<String>> {
    match request.headers.text("origin") {
        None => Some(None),
        Some(origin) => PAGE_ORIGINS.contains(&origin.as_str()).then_some(Some(origin)),
    }
}

fn preflight() -> Answer {
    Answer::status(204)
        .header("access-control-allow-methods", "GET, POST")
        .header("access-control-allow-headers", "content-type")
        .header("access-control-max-age", "600")
}

fn refusal(status: u16, why: &str) -> Answer {
    Answer::json(json!({ "error": why })).with_status(status)
}

fn refresh_token(request: &ReceivedRequest) -> Option<String> {
    let cookies = request.headers.text("cookie")?;
    cookies
        .split(';')
        .find_map(|pair| pair.trim().strip_prefix(REFRESH_COOKIE)?.strip_prefix('='))
        .map(str::to_owned)
}

fn refresh_cookie(value: &str, max_age: u32) -> String {
    format!("{REFRESH_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age}")
}

const PAGE_ORIGINS: [&str; 2] = [TWO_HOSTS_ORIGIN, ONE_HOST_ORIGIN];
/// Corbado's own name for it.
const REFRESH_COOKIE: &str = "cbo_refresh_token";
/// Corbado's session tokens live five minutes too.
const SESSION_SECONDS: u64 = 300;
const PUBLISHED_KEYS: usize = 3;
