//! The demo's auth server: it does what an API with SuperTokens' SDK does under `/auth`.
//!
//! 1. `GET /auth/jwt/jwks.json`: the public key, made at start.
//! 2. `POST /auth/signin`: a session, as two cookies that belong to the host that was asked, and
//!    that no script can read. `sAccessToken` holds a token of one minute, `sRefreshToken` goes
//!    to the refresh route alone. What the page may know of it comes in the header `front-token`.
//! 3. `POST /auth/session/refresh`: both cookies anew. A refresh token is good until its child
//!    was used; an older one was stolen, and ends the session.
//! 4. `POST /auth/signout`: ends the session and clears both cookies.
//! 5. `POST /auth/demo/expire`: the same session with a token that ran out an hour ago.
//!
//! It knows nothing of passwords: whoever asks is logged in. It knows nothing of other hosts
//! either: that the cookie reaches them is the proxy's doing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ct_codecs::{Base64, Base64UrlSafeNoPadding, Decoder, Encoder};
use rsa::sha2::{Digest, Sha256};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cases::Plan;
use super::ports::{BY_PATH_ORIGIN, FIRST_API_ORIGIN, SHARED_SESSION_ORIGIN};
use super::random_id;
use crate::answer::Answer;
use crate::keys::{Algorithm, SigningKey, base64url, jwks};
use crate::server::ReceivedRequest;
use crate::token::{Token, unix_now};

/// The key and the sessions.
pub(super) struct AuthServer {
    key: SigningKey,
    /// The oldest first.
    sessions: Mutex<VecDeque<Session>>,
}

/// Who signs in, and how the cookies are to be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct User {
    name: String,
    plan: Plan,
    same_site: SameSite,
}

/// The vendor's `cookieSameSite`: `Lax` where page and API are of one site.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
enum SameSite {
    #[default]
    Lax,
    None,
}

struct Session {
    handle: String,
    user: User,
    refresh_token: String,
    /// The one that `refresh_token` was made from.
    parent: Option<String>,
}

impl AuthServer {
    /// A server with a new key and nobody signed in.
    pub(super) fn new() -> Self {
        let key = SigningKey::generate(Algorithm::RS256, &format!("d-{}", unix_now()));
        Self { key, sessions: Mutex::default() }
    }

    /// Answers one request.
    pub(super) fn answer(&self, request: &ReceivedRequest) -> Answer {
        let origin = request.headers.text("origin");
        if origin.as_ref().is_some_and(|origin| !PAGE_ORIGINS.contains(&origin.as_str())) {
            return message(403, "this origin may not call the auth server");
        }
        let answer = match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/auth/jwt/jwks.json") => Answer::json(jwks(&[&self.key])),
            ("POST", "/auth/signin") => self.sign_in(request),
            ("POST", "/auth/session/refresh") => self.refresh(request),
            ("POST", "/auth/signout") => self.sign_out(request),
            ("POST", "/auth/demo/expire") => self.expire(request),
            _ => message(404, "not found"),
        };
        // The preflight is answered by Envoy. This is what the vendor's middleware adds.
        match origin {
            None => answer,
            Some(origin) => answer
                .header("access-control-allow-origin", origin)
                .header("access-control-allow-credentials", "true")
                .header("access-control-expose-headers", "front-token")
                .header("vary", "origin"),
        }
        .header("cache-control", "no-store")
    }

    fn sign_in(&self, request: &ReceivedRequest) -> Answer {
        let Ok(user) = serde_json::from_slice::<User>(&request.body) else {
            return message(400, "expected {\"name\": …, \"plan\": \"starter\" or \"pro\"}");
        };
        if user.name.trim().is_empty() || user.name.chars().count() > 40 {
            return message(400, "a name has 1 to 40 characters");
        }
        let session =
            Session { handle: random_id(), user, refresh_token: random_id(), parent: None };
        let answer = self.set_cookies(&session, Lifetime::Minute);
        let mut sessions = self.lock();
        if sessions.len() >= MAX_SESSIONS {
            sessions.pop_front();
        }
        sessions.push_back(session);
        answer
    }

    fn refresh(&self, request: &ReceivedRequest) -> Answer {
        let mut sessions = self.lock();
        let Some((handle, secret)) = cookie(request, REFRESH_COOKIE)
            .and_then(|token| token.split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())))
        else {
            return clear_cookies(unauthorised());
        };
        let Some(index) = sessions.iter().position(|session| session.handle == handle) else {
            return clear_cookies(unauthorised());
        };
        let session = &mut sessions[index];
        if session.refresh_token == secret {
            session.parent = Some(std::mem::replace(&mut session.refresh_token, random_id()));
        } else if session.parent.as_ref() != Some(&secret) {
            sessions.remove(index);
            return clear_cookies(unauthorised());
        }
        self.set_cookies(&sessions[index], Lifetime::Minute)
    }

    fn sign_out(&self, request: &ReceivedRequest) -> Answer {
        let Some(token) = cookie(request, ACCESS_COOKIE) else {
            return Answer::json(json!({ "status": "OK" }));
        };
        match self.verified(&token) {
            Some(claims) if claims["exp"].as_u64() > Some(unix_now()) => {
                self.lock().retain(|session| claims["sessionHandle"] != session.handle.as_str());
                clear_cookies(Answer::json(json!({ "status": "OK" })))
            }
            Some(_) | None => message(401, "try refresh token"),
        }
    }

    fn expire(&self, request: &ReceivedRequest) -> Answer {
        let claims = cookie(request, ACCESS_COOKIE).and_then(|token| self.verified(&token));
        let sessions = self.lock();
        let session = claims.and_then(|claims| {
            sessions.iter().find(|session| claims["sessionHandle"] == session.handle.as_str())
        });
        match session {
            Some(session) => self.set_cookies(session, Lifetime::Over),
            None => unauthorised(),
        }
    }

    /// Both cookies of a session, and what its page may know.
    fn set_cookies(&self, session: &Session, lifetime: Lifetime) -> Answer {
        let claims = claims(session, lifetime);
        let token = Token::new(claims.clone()).header("version", "5").signed_by(&self.key);
        let refresh_token = format!("{}.{}", session.handle, session.refresh_token);
        let same_site = match session.user.same_site {
            SameSite::Lax => "SameSite=Lax",
            SameSite::None => "SameSite=None; Secure",
        };
        let attributes = format!("HttpOnly; {same_site}");
        Answer::json(json!({ "status": "OK", "user": { "id": claims["sub"] } }))
            .header("front-token", front_token(&claims))
            // Outlives its token by far, so that an API can say that it ran out.
            .header(
                "set-cookie",
                format!("{ACCESS_COOKIE}={token}; Path=/; Max-Age=31536000; {attributes}"),
            )
            .header(
                "set-cookie",
                format!(
                    "{REFRESH_COOKIE}={refresh_token}; Path={REFRESH_PATH}; Max-Age=8640000; \
                     {attributes}"
                ),
            )
    }

    /// The claims of a token that this server signed. RS256 gives one input one signature, so
    /// signing again verifies.
    fn verified(&self, token: &str) -> Option<Value> {
        let (input, signature) = token.rsplit_once('.')?;
        if base64url(&self.key.sign(input.as_bytes())) != signature {
            return None;
        }
        let (_, payload) = input.split_once('.')?;
        serde_json::from_slice(&Base64UrlSafeNoPadding::decode_to_vec(payload, None).ok()?).ok()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for User {
    fn default() -> Self {
        Self { name: "Guest".to_owned(), plan: Plan::Starter, same_site: SameSite::Lax }
    }
}

#[derive(Clone, Copy)]
enum Lifetime {
    Minute,
    Over,
}

/// The vendor's claims, the claim of its user roles, and `plan`.
fn claims(session: &Session, lifetime: Lifetime) -> Value {
    let now = unix_now();
    let issued = match lifetime {
        Lifetime::Minute => now,
        Lifetime::Over => now - 3600,
    };
    let user: String = session
        .user
        .name
        .to_lowercase()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect();
    json!({
        "iss": format!("{FIRST_API_ORIGIN}/auth"),
        "sub": user,
        "rsub": user,
        "tId": "public",
        "iat": issued,
        "exp": issued + ACCESS_TOKEN_SECONDS,
        "sessionHandle": session.handle,
        "refreshTokenHash1": sha256(&session.refresh_token),
        "parentRefreshTokenHash1": session.parent.as_deref().map(sha256),
        "antiCsrfToken": null,
        "st-role": { "v": ["member"], "t": now * 1000 },
        "plan": session.user.plan,
    })
}

/// User, end of the access token in milliseconds, and payload.
fn front_token(claims: &Value) -> String {
    let end = claims["exp"].as_u64().unwrap_or_default() * 1000;
    let token = json!({ "uid": claims["sub"], "ate": end, "up": claims }).to_string();
    Base64::encode_to_string(token).unwrap_or_default()
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cookie(request: &ReceivedRequest, name: &str) -> Option<String> {
    let cookies = request.headers.text("cookie")?;
    cookies
        .split(';')
        .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
        .map(str::to_owned)
}

fn clear_cookies(answer: Answer) -> Answer {
    [(ACCESS_COOKIE, "/"), (REFRESH_COOKIE, REFRESH_PATH)].into_iter().fold(
        answer,
        |answer, (name, path)| {
            let expired = "Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax";
            answer.header("set-cookie", format!("{name}=; Path={path}; {expired}"))
        },
    )
}

fn unauthorised() -> Answer {
    message(401, "unauthorised")
}

fn message(status: u16, text: &str) -> Answer {
    Answer::json(json!({ "message": text })).with_status(status)
}

const PAGE_ORIGINS: [&str; 2] = [SHARED_SESSION_ORIGIN, BY_PATH_ORIGIN];
const ACCESS_COOKIE: &str = "sAccessToken";
const REFRESH_COOKIE: &str = "sRefreshToken";
const REFRESH_PATH: &str = "/auth/session/refresh";
/// The vendor's default is an hour; a minute lets a person see what comes after it.
const ACCESS_TOKEN_SECONDS: u64 = 60;
/// More than any person starts; a flood only ends the oldest ones.
const MAX_SESSIONS: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::header_lines::HeaderLines;
    use crate::server::Protocol;

    #[test]
    fn a_session_from_sign_in_to_sign_out() {
        let server = AuthServer::new();
        let [access, refresh] = signed_in(&server);
        let claims = server.verified(value(&access)).unwrap();
        assert_eq!(claims["sub"], "ada-lovelace");
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);

        let expired = server.answer(&post("/auth/demo/expire", &access, ""));
        let [expired, _] = cookies(&expired);
        let over = server.verified(value(&expired)).unwrap();
        assert_eq!(over["sessionHandle"], claims["sessionHandle"]);
        assert!(over["exp"].as_u64().unwrap() < unix_now());
        let refused = server.answer(&post("/auth/signout", &expired, ""));
        assert_eq!((refused.status, said(&refused)), (401, "try refresh token".to_owned()));

        let [access, _] = cookies(&server.answer(&post("/auth/session/refresh", &refresh, "")));
        let out = server.answer(&post("/auth/signout", &access, ""));
        assert_eq!(cookies(&out), ["sAccessToken=", "sRefreshToken="]);
        let gone = server.answer(&post("/auth/session/refresh", &refresh, ""));
        assert_eq!((gone.status, said(&gone)), (401, "unauthorised".to_owned()));
    }

    #[test]
    fn an_old_refresh_token_ends_the_session() {
        let server = AuthServer::new();
        let refresh = |cookie: &str| server.answer(&post("/auth/session/refresh", cookie, ""));
        let [_, first] = signed_in(&server);
        let [_, second] = cookies(&refresh(&first));
        // Two tabs may come with the same one.
        let [_, again] = cookies(&refresh(&first));
        assert_eq!(again, second);
        let [_, third] = cookies(&refresh(&second));
        assert_eq!(refresh(&first).status, 401);
        assert_eq!(refresh(&third).status, 401);
    }

    #[test]
    fn forged_tokens_and_foreign_origins_are_refused() {
        let server = AuthServer::new();
        let [access, _] = signed_in(&server);
        let forged = access.replace("sAccessToken=ey", "sAccessToken=fy");
        assert_eq!(server.answer(&post("/auth/demo/expire", &forged, "")).status, 401);
        let mut request = post("/auth/signin", "", "{}");
        request.headers.push("origin", "http://evil.localhost:8111");
        assert_eq!(server.answer(&request).status, 403);
    }

    #[test]
    fn sessions_are_bounded() {
        let server = AuthServer::new();
        let user = User::default();
        server.lock().extend((0..MAX_SESSIONS).map(|index| Session {
            handle: index.to_string(),
            user: user.clone(),
            refresh_token: random_id(),
            parent: None,
        }));
        signed_in(&server);
        let sessions = server.lock();
        assert_eq!((sessions.len(), sessions[0].handle.as_str()), (MAX_SESSIONS, "1"));
    }

    fn signed_in(server: &AuthServer) -> [String; 2] {
        cookies(&server.answer(&post("/auth/signin", "", r#"{"name":"Ada Lovelace"}"#)))
    }

    /// `name=value` of both cookies that an answer sets.
    fn cookies(answer: &Answer) -> [String; 2] {
        let lines = answer.headers.all("set-cookie");
        let pairs = lines.iter().map(|line| {
            let line = String::from_utf8_lossy(line);
            line.split(';').next().unwrap_or_default().to_owned()
        });
        pairs.collect::<Vec<_>>().try_into().unwrap()
    }

    fn value(cookie: &str) -> &str {
        cookie.split_once('=').unwrap().1
    }

    fn said(answer: &Answer) -> String {
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        body["message"].as_str().unwrap().to_owned()
    }

    fn post(path: &str, cookie: &str, body: &str) -> ReceivedRequest {
        let mut headers = HeaderLines::default();
        headers.push("cookie", cookie);
        ReceivedRequest {
            received_at: Instant::now(),
            protocol: Protocol::Http1,
            method: "POST".to_owned(),
            path: path.to_owned(),
            raw_head: Vec::new(),
            headers,
            body: body.as_bytes().to_vec(),
            trailers: HeaderLines::default(),
        }
    }
}
