//! The requests of the benchmark: a plain one, one as a browser sends it, one with a bearer.

use serde_json::{Value, json};

use crate::client::Request;
use crate::keys::{Algorithm, SigningKey, jwks};
use crate::token::{Token, corbado_claims, unix_now};

/// Keys, and one session signed by each of them.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) rs256: String,
    pub(super) es256: String,
    pub(super) rs256_key: SigningKey,
    pub(super) es256_key: SigningKey,
}

/// What stands around the token.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Shape {
    /// Seven headers as filters see them, the token in a cookie behind another.
    Plain,
    /// 19 headers and nine cookies, the token in the middle.
    Browser,
    /// Seven headers, the token in `authorization`.
    Bearer,
    /// Seven headers, the token in the middle of so many KiB of cookies.
    Large(usize),
}

impl Session {
    pub(super) fn new() -> Self {
        let rs256_key = SigningKey::new(Algorithm::RS256, "k1");
        let es256_key = SigningKey::new(Algorithm::ES256, "k2");
        let rs256 = of_usual_length(&rs256_key);
        let es256 = of_usual_length(&es256_key);
        Self { rs256, es256, rs256_key, es256_key }
    }

    pub(super) fn jwks(&self) -> Value {
        jwks(&[&self.rs256_key, &self.es256_key])
    }
}

impl Shape {
    pub(super) fn request(self, path: &str, token: &str) -> Request {
        let request = Request::get(path).header("host", HOST);
        match self {
            Self::Plain | Self::Large(_) => {
                request.header("cookie", self.cookies(Some(token)).unwrap_or_default())
            }
            Self::Bearer => request.header("authorization", format!("Bearer {token}")),
            Self::Browser => BROWSER_HEADERS
                .iter()
                .fold(request, |request, (name, value)| request.header(name, value))
                .header("cookie", self.cookies(Some(token)).unwrap_or_default()),
        }
    }

    /// The `cookie` header; without the token, what is left of it once that is stripped.
    pub(super) fn cookies(self, token: Option<&str>) -> Option<String> {
        let session = token.map(|token| format!("{COOKIE}={token}"));
        match self {
            Self::Bearer => None,
            Self::Plain => Some(joined(&["a=b"], session, &[])),
            Self::Browser => {
                let (before, after) = BROWSER_COOKIES.split_at(BROWSER_COOKIES.len() / 2);
                Some(joined(before, session, after))
            }
            Self::Large(kibibytes) => {
                let cookie = |number| format!("cookie_{number:03}={}", "v".repeat(115));
                let many: Vec<_> = (0..kibibytes * 8).map(cookie).collect();
                let many: Vec<_> = many.iter().map(String::as_str).collect();
                let (before, after) = many.split_at(many.len() / 2);
                Some(joined(before, session, after))
            }
        }
    }
}

/// The claims of a Corbado session that outlives every run.
pub(super) fn claims() -> Value {
    let mut claims = corbado_claims(PROJECT, "usr-1234567890");
    claims["exp"] = json!(unix_now() + 24 * 3_600);
    // Leaves room to fill the token to its exact length.
    claims["jti"] = json!("jti-1");
    claims
}

/// What the token's `iss` says.
pub(super) fn issuer() -> String {
    claims()["iss"].as_str().unwrap_or_default().to_owned()
}

fn of_usual_length(key: &SigningKey) -> String {
    let claims = claims();
    (0..TOKEN_BYTES)
        .map(|filling| {
            Token::new(claims.clone()).claim("filling", "x".repeat(filling)).signed_by(key)
        })
        .find(|token| token.len() >= TOKEN_BYTES)
        .unwrap_or_default()
}

fn joined(before: &[&str], session: Option<String>, after: &[&str]) -> String {
    let parts = before.iter().copied().chain(session.as_deref()).chain(after.iter().copied());
    parts.collect::<Vec<_>>().join("; ")
}

pub(super) const PROJECT: &str = "pro-1234567890";
pub(super) const COOKIE: &str = "cbo_session_token";
pub(super) const HOST: &str = "www.example.com";
/// Envoy answers by itself.
pub(super) const PATH: &str = "/orders/17";
/// Goes to a backend, which tells what it got. No rule tells it from `PATH`.
pub(super) const CHECK_PATH: &str = "/orders/check";

/// A usual session with RS256. The floor's bearer has this length too.
const TOKEN_BYTES: usize = 747;

const BROWSER_HEADERS: [(&str, &str); 12] = [
    ("sec-ch-ua", r#""Chromium";v="142", "Not=A?Brand";v="24""#),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", r#""Linux""#),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/142.0.0.0 Safari/537.36",
    ),
    ("accept", "application/json, text/plain, */*"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    ("referer", "http://www.example.com/account"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-dest", "empty"),
    ("priority", "u=1, i"),
];

const BROWSER_COOKIES: [&str; 8] = [
    "_ga=GA1.1.1234567890.1700000000",
    "_ga_ABCDEF1234=GS1.1.1700000000.12.1.1700000300.0.0.0",
    "theme=dark",
    "locale=en-GB",
    "consent=eyJhbmFseXRpY3MiOnRydWV9",
    "ab_bucket=17",
    "csrftoken=mZ3XkW9vQ2pLr8sT",
    "last_seen=2025-01-01T00:00:00Z",
];
