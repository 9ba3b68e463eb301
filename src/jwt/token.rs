//! Compact bytes to an `UnverifiedToken`: what a token says, before anybody believes it.
//!
//! A token decodes only if its text is strict (RFC 7515, section 7.1; RFC 8725, section 2.4):
//! 1. three parts, base64url without padding or stray bits; the signature may be empty,
//! 2. header and payload are JSON objects: UTF-8 without BOM, without unpaired surrogates and
//!    duplicate members at any depth, at most 64 levels,
//! 3. `typ`, `alg` and `kid` are strings when present; `crit` is absent; `b64` is absent or true,
//! 4. `exp`, `nbf` and `iat`, when present, are finite numbers in 0 ..= 253402300799 (RFC 7519,
//!    NumericDate; the upper end is the year 9999).
//!
//! Embedded keys and addresses (`jwk`, `jku`, `x5u`, `x5c`) are ignored, never fetched.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::json;
use crate::jwt::algorithm::Algorithm;
use crate::jwt::base64url;
use crate::jwt::key::VerifyingKey;
use crate::jwt::signature::{BadSignature, SignatureVerifier};
use crate::reason::Reason;
use crate::time::UnixTime;

/// A token that decodes. Nothing in it is proven; it can only lead to a refusal.
#[derive(Clone, Debug)]
pub struct UnverifiedToken<'t> {
    text: &'t [u8],
    signing_input: &'t [u8],
    signature: Vec<u8>,
    header: Map<String, Value>,
    payload: Value,
    times: Times,
}

impl<'t> UnverifiedToken<'t> {
    /// Decodes a compact JWS.
    ///
    /// # Errors
    /// `Malformed` where its text is not strict.
    pub fn decode(text: &'t [u8]) -> Result<Self, Malformed> {
        let mut dots = text.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        let (Some((first, _)), Some((second, _)), None) = (dots.next(), dots.next(), dots.next())
        else {
            return Err(Malformed);
        };
        let part = |range: Option<&'t [u8]>| {
            base64url::decode(range.unwrap_or_default()).map_err(|_| Malformed)
        };
        let header = part(text.get(..first))?;
        let payload = part(text.get(first.saturating_add(1)..second))?;
        let signature = part(text.get(second.saturating_add(1)..))?;

        let Ok(Value::Object(header)) = json::parse(&header) else { return Err(Malformed) };
        let strings = ["typ", "alg", "kid"];
        if strings.iter().any(|name| header.get(*name).is_some_and(|value| !value.is_string()))
            || header.contains_key("crit")
            || header.get("b64").is_some_and(|value| *value != Value::Bool(true))
        {
            return Err(Malformed);
        }
        let Ok(payload @ Value::Object(_)) = json::parse(&payload) else { return Err(Malformed) };
        let times = Times::read(&payload)?;
        let signing_input = text.get(..second).unwrap_or_default();
        Ok(Self { text, signing_input, signature, header, payload, times })
    }

    /// The compact text.
    pub fn text(&self) -> &'t [u8] {
        self.text
    }

    /// `iss`, if it is a string with something in it.
    pub fn issuer(&self) -> Option<&str> {
        self.payload.get("iss").and_then(Value::as_str).filter(|issuer| !issuer.is_empty())
    }

    /// The dates.
    pub fn times(&self) -> Times {
        self.times
    }

    /// `alg`, if it is one that any provider could allow.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.header_text("alg")?.parse().ok()
    }

    /// `kid`.
    pub fn key_id(&self) -> Option<&str> {
        self.header_text("kid")
    }

    /// The token as proven by `key`.
    ///
    /// # Errors
    /// `BadSignature` if the signature is not the key's.
    pub fn verify<'a>(
        &'a self,
        algorithm: Algorithm,
        key: &'a VerifyingKey,
        verifier: &dyn SignatureVerifier,
    ) -> Result<SignedToken<'a>, BadSignature> {
        verifier.verify(algorithm, key, self.signing_input, &self.signature)?;
        Ok(SignedToken { token: self, key })
    }

    fn header_text(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }
}

/// A token whose signature is a key's. What it claims is yet to be held against the provider.
#[derive(Clone, Copy, Debug)]
pub struct SignedToken<'a> {
    token: &'a UnverifiedToken<'a>,
    key: &'a VerifyingKey,
}

impl<'a> SignedToken<'a> {
    /// The compact text.
    pub fn text(self) -> &'a [u8] {
        self.token.text
    }

    /// `typ`.
    pub fn token_type(self) -> Option<&'a str> {
        self.token.header_text("typ")
    }

    /// `kid`.
    pub fn key_id(self) -> Option<&'a str> {
        self.token.key_id()
    }

    /// `alg`.
    pub fn algorithm(self) -> Option<Algorithm> {
        self.token.algorithm()
    }

    /// The payload.
    pub fn claims(self) -> &'a Value {
        &self.token.payload
    }

    /// The dates.
    pub fn times(self) -> Times {
        self.token.times
    }

    /// The key that made the signature.
    pub fn key(self) -> &'a VerifyingKey {
        self.key
    }
}

/// The text is no strict compact JWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The dates of a token (RFC 7519, sections 4.1.4 to 4.1.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// `exp`
    pub expires_at: Option<UnixTime>,
    /// `nbf`
    pub not_before: Option<UnixTime>,
    /// `iat`
    pub issued_at: Option<UnixTime>,
}

impl Times {
    fn read(payload: &Value) -> Result<Self, Malformed> {
        let date = |name| payload.get(name).map(numeric_date).transpose();
        Ok(Self { expires_at: date("exp")?, not_before: date("nbf")?, issued_at: date("iat")? })
    }

    /// Whether the token may be used at `now`, when clocks differ by at most `skew`.
    ///
    /// # Errors
    /// `NoExpiry`, `Expired`, `NotYetValid`
    pub fn check(self, now: UnixTime, skew: Duration) -> Result<(), Reason> {
        let expires_at = self.expires_at.ok_or(Reason::NoExpiry)?;
        if expires_at.after(skew) <= now {
            return Err(Reason::Expired);
        }
        if self.not_before.is_some_and(|date| date > now.after(skew)) {
            return Err(Reason::NotYetValid);
        }
        Ok(())
    }

    /// Whether the token was issued by `now` and does not live too long.
    ///
    /// # Errors
    /// `IssuedInFuture`, `LifetimeTooLong`
    pub fn check_issue(
        self,
        now: UnixTime,
        skew: Duration,
        max_lifetime: Option<Duration>,
    ) -> Result<(), Reason> {
        if self.issued_at.is_some_and(|date| date > now.after(skew)) {
            return Err(Reason::IssuedInFuture);
        }
        match (max_lifetime, self.issued_at, self.expires_at) {
            (None, _, _) => Ok(()),
            (Some(limit), Some(issued), Some(expires)) if expires.since(issued) <= limit => Ok(()),
            (Some(_), _, _) => Err(Reason::LifetimeTooLong),
        }
    }
}

/// A NumericDate; a fraction counts down to the millisecond.
fn numeric_date(value: &Value) -> Result<UnixTime, Malformed> {
    if let Some(seconds) = value.as_u64() {
        return if seconds <= LAST_SECOND {
            Ok(UnixTime::from_secs(seconds))
        } else {
            Err(Malformed)
        };
    }
    let seconds = value.as_f64().ok_or(Malformed)?;
    // Negative zero is zero; everything else below it is before the epoch.
    if !(0.0..=LAST_SECOND_F64).contains(&seconds) {
        return Err(Malformed);
    }
    let duration = Duration::try_from_secs_f64(seconds.abs()).map_err(|_| Malformed)?;
    Ok(UnixTime::default().after(duration))
}

/// 9999-12-31T23:59:59Z
const LAST_SECOND: u64 = 253_402_300_799;
const LAST_SECOND_F64: f64 = 253_402_300_799.0;
