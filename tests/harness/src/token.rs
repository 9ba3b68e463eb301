//! Tokens, right or wrong in any way a test wants (RFC 7515, compact form).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::keys::{SigningKey, base64url};

/// A token before its signature. The header has `typ: JWT`, `alg` and `kid` unless told.
#[derive(Clone, Debug)]
pub struct Token {
    header: Header,
    payload: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Header {
    /// Members on top of what the key says; `null` removes one.
    Members(Map<String, Value>),
    /// These bytes and no others.
    Raw(Vec<u8>),
}

impl Token {
    /// A token with these claims.
    pub fn new(claims: Value) -> Self {
        Self::with_payload(claims.to_string())
    }

    /// A token with any payload bytes, JSON or not.
    pub fn with_payload(payload: impl Into<Vec<u8>>) -> Self {
        Self { header: Header::Members(Map::new()), payload: payload.into() }
    }

    /// The claims of a Corbado session: issued now, valid for five minutes.
    pub fn corbado(project_id: &str, user: &str) -> Self {
        Self::new(corbado_claims(project_id, user))
    }

    /// A SuperTokens session of the newest version: issued now, valid for an hour. Its `kid` is the
    /// signing key's.
    pub fn supertokens(issuer: &str, user: &str) -> Self {
        Self::new(supertokens_claims(issuer, user)).header("version", "5")
    }

    /// Sets, replaces or (with `null`) removes one claim.
    ///
    /// # Panics
    ///
    /// When the payload is not a JSON object.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        let mut claims: Map<String, Value> = serde_json::from_slice(&self.payload)
            .unwrap_or_else(|error| panic!("the payload is no JSON object: {error}"));
        match value.into() {
            Value::Null => claims.remove(name),
            value => claims.insert(name.to_owned(), value),
        };
        self.payload = Value::Object(claims).to_string().into_bytes();
        self
    }

    /// Sets, replaces or (with `null`) removes one header member.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        match &mut self.header {
            Header::Members(members) => {
                members.insert(name.to_owned(), value.into());
            }
            Header::Raw(_) => panic!("the header is already given as text"),
        }
        self
    }

    /// Replaces the whole header by these bytes, JSON or not.
    pub fn header_text(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.header = Header::Raw(text.into());
        self
    }

    /// The token, signed by `key`. What the header says does not change how it is signed.
    pub fn signed_by(&self, key: &SigningKey) -> String {
        let input = self.signing_input(json!({
            "typ": "JWT", "alg": key.algorithm().name(), "kid": key.kid(),
        }));
        let signature = key.sign(input.as_bytes());
        format!("{input}.{}", base64url(&signature))
    }

    /// `alg: none` and an empty signature.
    pub fn unsigned(&self) -> String {
        format!("{}.", self.signing_input(json!({ "typ": "JWT", "alg": "none" })))
    }

    /// HS256 with these bytes as the secret, for example a public key's PEM.
    pub fn signed_hs256(&self, secret: &[u8], kid: &str) -> String {
        let input = self.signing_input(json!({ "typ": "JWT", "alg": "HS256", "kid": kid }));
        let mac = hmac_sha256::HMAC::mac(input.as_bytes(), secret);
        format!("{input}.{}", base64url(&mac))
    }

    /// The header as for `key`, and any signature bytes.
    pub fn with_signature(&self, key: &SigningKey, signature: &[u8]) -> String {
        let input = self.signing_input(json!({
            "typ": "JWT", "alg": key.algorithm().name(), "kid": key.kid(),
        }));
        format!("{input}.{}", base64url(signature))
    }

    fn signing_input(&self, defaults: Value) -> String {
        let header = match &self.header {
            Header::Raw(bytes) => bytes.clone(),
            Header::Members(members) => {
                let mut header = defaults;
                for (name, value) in members {
                    header[name] = value.clone();
                }
                if let Value::Object(members) = &mut header {
                    members.retain(|_, value| !value.is_null());
                }
                header.to_string().into_bytes()
            }
        };
        format!("{}.{}", base64url(&header), base64url(&self.payload))
    }
}

/// What Corbado writes into a session token. There is no `aud`.
pub fn corbado_claims(project_id: &str, user: &str) -> Value {
    let now = unix_now();
    json!({
        "iss": format!("https://{project_id}.frontendapi.cloud.corbado.io"),
        "sub": user,
        "iat": now,
        "nbf": now,
        "exp": now + 300,
        "jti": format!("jti-{user}-{now}"),
        "name": "Ada Example",
        "email": "ada@example.com",
        "phone_number": "",
        "orig": "ada@example.com",
        "version": 2,
    })
}

/// What SuperTokens writes into an access token.
pub fn supertokens_claims(issuer: &str, user: &str) -> Value {
    let now = unix_now();
    json!({
        "iss": issuer,
        "sub": user,
        "rsub": user,
        "tId": "public",
        "iat": now,
        "exp": now + 3_600,
        "sessionHandle": format!("handle-{user}"),
        "refreshTokenHash1": format!("hash-{user}"),
        "parentRefreshTokenHash1": null,
        "antiCsrfToken": null,
        "stt": 0,
        "st-ev": { "v": true, "t": now },
    })
}

/// The token with one character of its signature changed, still valid base64url.
///
/// # Panics
///
/// When it has no signature.
pub fn tampered(token: &str) -> String {
    let (input, signature) = token.rsplit_once('.').unwrap_or_default();
    // The first character: all six of its bits count, those of the last one may be padding.
    let first = signature.chars().next().unwrap_or_else(|| panic!("no signature: {token}"));
    let other = if first == 'A' { 'B' } else { 'A' };
    format!("{input}.{other}{}", &signature[1..])
}

/// The token with other claims under the old signature.
pub fn with_other_payload(token: &str, claims: &Value) -> String {
    let mut parts = token.split('.');
    let (header, _, signature) = (parts.next(), parts.next(), parts.next());
    let payload = base64url(claims.to_string().as_bytes());
    format!("{}.{payload}.{}", header.unwrap_or_default(), signature.unwrap_or_default())
}

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
