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

use serde_json::Value;

use crate::json::object::{Member, Object};
use crate::jwt::algorithm::Algorithm;
use crate::jwt::base64url;
use crate::jwt::key::VerifyingKey;
use crate::jwt::signature::{BadSignature, SignatureVerifier};
use crate::reason::Reason;
use crate::time::UnixTime;

/// A token that decodes. Nothing in it is proven; it can only lead to a refusal.
#[derive(Debug)]
pub struct UnverifiedToken<'t> {
    text: &'t [u8],
    signing_input: &'t [u8],
    signature: Vec<u8>,
    header: Object,
    payload: Object,
    times: Times,
}

impl<'t> UnverifiedToken<'t> {
    /// Decodes a compact JWS.
    ///
    /// # Errors
    /// `Malformed` where its text is not strict.
    pub fn decode(text: &'t [u8]) -> Result<Self, Malformed> {
        let mut dots = memchr::memchr_iter(b'.', text);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(Malformed);
        };
        let part = |range: Option<&'t [u8]>| {
            base64url::decode(range.unwrap_or_default()).map_err(|_| Malformed)
        };
        let header = part(text.get(..first))?;
        let payload = part(text.get(first.saturating_add(1)..second))?;
        let signature = part(text.get(second.saturating_add(1)..))?;

        let header = Object::parse(header).ok_or(Malformed)?;
        let strings = ["typ", "alg", "kid"];
        if strings.iter().any(|name| header.get(name).is_some_and(|it| it.as_str().is_none()))
            || header.get("crit").is_some()
            || header.get("b64").is_some_and(|it| it.as_value() != Some(&Value::Bool(true)))
        {
            return Err(Malformed);
        }
        let payload = Object::parse(payload).ok_or(Malformed)?;
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
        self.payload.text("iss").filter(|issuer| !issuer.is_empty())
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

    /// What an unproven header says; enough to tell whose a token may be.
    pub fn unproven_header(&self, name: &str) -> Option<Member<'_>> {
        self.header.get(name)
    }

    /// What an unproven payload says; enough to tell whose a token may be.
    pub fn unproven_claim(&self, name: &str) -> Option<Member<'_>> {
        self.payload.get(name)
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
        self.header.text(name)
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
    pub fn claims(self) -> &'a Object {
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
    fn read(payload: &Object) -> Result<Self, Malformed> {
        let number = |member: Member<'_>| numeric_date(member.as_value().ok_or(Malformed)?);
        let date = |name| payload.get(name).map(number).transpose();
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
///
/// # Errors
/// `Malformed` if it is no number in the range above.
pub fn numeric_date(value: &Value) -> Result<UnixTime, Malformed> {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::jwt::signature::PortableVerifier;
    use crate::jwt::test_keys::{base64url, sign, signing_input, verifying_key};

    const HEADER: &str = r#"{"alg":"EdDSA"}"#;

    fn decodes(header: &str, payload: &str) -> bool {
        let text = format!("{}.c2ln", signing_input(header, payload));
        UnverifiedToken::decode(text.as_bytes()).is_ok()
    }

    #[test]
    fn the_text_is_strict() {
        let (header, payload) = (base64url(HEADER.as_bytes()), base64url(b"{}"));
        let three = |signature: &str| format!("{header}.{payload}.{signature}");
        let other = base64url(br#"{"alg": "EdDSA"}"#);
        for (name, text, expected) in [
            ("three parts", three("c2ln"), true),
            ("another spelling of the header", format!("{other}.{payload}.c2ln"), true),
            ("an empty signature", three(""), true),
            ("nothing", String::new(), false),
            ("a dot", ".".into(), false),
            ("two dots", "..".into(), false),
            ("two parts", format!("{header}.{payload}"), false),
            ("four parts", three("c2ln.c2ln"), false),
            ("a dot behind", three("c2ln."), false),
            ("five parts, as encrypted", three("a.b.c"), false),
            ("an empty header", format!(".{payload}.c2ln"), false),
            ("an empty payload", format!("{header}..c2ln"), false),
            ("padding", three("c2l="), false),
            ("stray bits", three("c2m"), false),
            ("a stray character", three("c2lnc"), false),
            ("the other alphabet", three("c2l+"), false),
            ("a space before", format!(" {}", three("c2ln")), false),
            ("a space behind", three("c2ln "), false),
            ("a line end behind", three("c2ln\n"), false),
            ("100 KB of dots", ".".repeat(100_000), false),
            ("100 KB of text", "A".repeat(100_000), false),
        ] {
            assert_eq!(UnverifiedToken::decode(text.as_bytes()).is_ok(), expected, "{name}");
        }
        let latin = [three("c2ln").as_bytes(), b"\xff"].concat();
        assert_eq!(UnverifiedToken::decode(&latin).err(), Some(Malformed));
    }

    #[test]
    fn header_and_payload_are_strict_objects() {
        let nested = |levels: usize| {
            format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1))
        };
        let (deep, deeper) = (nested(64), nested(65));
        for (name, text, expected) in [
            ("an object", r#"{"a":1}"#, true),
            ("with white space", " {\t\r\n} ", true),
            ("an array", "[]", false),
            ("a string", r#""a""#, false),
            ("null", "null", false),
            ("two objects", "{}{}", false),
            ("text behind", "{}a", false),
            ("a byte order mark", "\u{feff}{}", false),
            ("NaN", r#"{"a":NaN}"#, false),
            ("a number out of range", r#"{"a":1e400}"#, false),
            ("the same member twice", r#"{"a":1,"a":1}"#, false),
            ("twice, once escaped", r#"{"a":1,"\u0061":1}"#, false),
            ("twice, below", r#"{"b":[{"a":1,"a":1}]}"#, false),
            ("in two objects", r#"{"b":{"a":1},"c":{"a":1}}"#, true),
            ("an unpaired surrogate", r#"{"a":"\ud800"}"#, false),
            ("an unpaired low surrogate", r#"{"a":"\udc00"}"#, false),
            ("a pair of surrogates", r#"{"a":"\ud834\udd1e"}"#, true),
            ("an unpaired surrogate as a name", r#"{"\ud800":1}"#, false),
            ("64 levels", &deep, true),
            ("65 levels", &deeper, false),
        ] {
            assert_eq!(decodes(HEADER, text), expected, "payload: {name}");
            assert_eq!(decodes(text, "{}"), expected, "header: {name}");
        }
        let invalid = base64url(b"{\"a\":\"\xff\"}");
        let text = format!("{}.{invalid}.c2ln", base64url(HEADER.as_bytes()));
        assert_eq!(UnverifiedToken::decode(text.as_bytes()).err(), Some(Malformed), "not UTF-8");
    }

    #[test]
    fn header_members_have_their_types() {
        for (header, expected) in [
            (r#"{}"#, true),
            (r#"{"alg":"none"}"#, true),
            (r#"{"alg":1}"#, false),
            (r#"{"alg":null}"#, false),
            (r#"{"alg":["EdDSA"]}"#, false),
            (r#"{"typ":"x"}"#, true),
            (r#"{"typ":null}"#, false),
            (r#"{"kid":""}"#, true),
            (r#"{"kid":7}"#, false),
            (r#"{"crit":[]}"#, false),
            (r#"{"crit":["b64"],"b64":true}"#, false),
            (r#"{"crit":null}"#, false),
            (r#"{"b64":true}"#, true),
            (r#"{"b64":false}"#, false),
            (r#"{"b64":null}"#, false),
            (r#"{"b64":"true"}"#, false),
            (r#"{"jku":"https://evil.example","jwk":{"kty":"oct"},"x5u":1,"x5c":[]}"#, true),
        ] {
            assert_eq!(decodes(header, "{}"), expected, "{header}");
        }
    }

    #[test]
    fn dates_are_finite_and_between_1970_and_9999() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("-0.0", Some(0)),
            ("1", Some(1_000)),
            ("1.5", Some(1_500)),
            ("1.9999", Some(1_999)),
            ("1e3", Some(1_000_000)),
            ("1E-400", Some(0)),
            ("0.0001", Some(0)),
            ("253402300799", Some(253_402_300_799_000)),
            ("253402300799.0", Some(253_402_300_799_000)),
            ("253402300798.5", Some(253_402_300_798_500)),
            ("253402300799.001", None),
            ("253402300799.5", None),
            ("253402300800", None),
            ("1e12", None),
            ("1e300", None),
            ("18446744073709551615", None),
            ("18446744073709551616", None),
            ("-1", None),
            ("-0.001", None),
            ("-9223372036854775809", None),
            ("\"1\"", None),
            ("null", None),
            ("true", None),
            ("[1]", None),
            ("{}", None),
        ] {
            for name in ["exp", "nbf", "iat"] {
                let text =
                    format!("{}.", signing_input(HEADER, &format!(r#"{{"{name}":{text}}}"#)));
                let token = UnverifiedToken::decode(text.as_bytes());
                let date = token.as_ref().ok().and_then(|token| {
                    let Times { expires_at, not_before, issued_at } = token.times();
                    expires_at.or(not_before).or(issued_at)
                });
                assert_eq!(date.map(UnixTime::as_millis), expected, "{name}: {text}");
                assert_eq!(token.is_err(), expected.is_none(), "{name}: {text}");
            }
        }
        // Other claims may be anything.
        assert!(decodes(HEADER, r#"{"auth_time":"x","iss":1,"aud":{},"sub":null}"#));
    }

    #[test]
    fn a_token_says_what_it_says() {
        let payload = r#"{"iss":"i","exp":5,"nbf":3,"iat":2}"#;
        let text = format!("{}.c2ln", signing_input(r#"{"alg":"ES256","kid":"k"}"#, payload));
        let token = UnverifiedToken::decode(text.as_bytes()).unwrap();
        assert_eq!(token.text(), text.as_bytes());
        assert_eq!(token.issuer(), Some("i"));
        assert_eq!(token.algorithm(), Some(Algorithm::Es256));
        assert_eq!(token.key_id(), Some("k"));
        let [expires_at, not_before, issued_at] =
            [5, 3, 2].map(|seconds| Some(UnixTime::from_secs(seconds)));
        assert_eq!(token.times(), Times { expires_at, not_before, issued_at });
        for (payload, issuer) in [("{}", None), (r#"{"iss":""}"#, None), (r#"{"iss":["i"]}"#, None)]
        {
            let text = format!("{}.", signing_input("{}", payload));
            let token = UnverifiedToken::decode(text.as_bytes()).unwrap();
            assert_eq!(token.issuer(), issuer, "{payload}");
            assert_eq!(token.algorithm(), None);
            assert_eq!(token.key_id(), None);
        }
    }

    #[test]
    fn a_signature_covers_both_parts() {
        let algorithm = Algorithm::EdDsa;
        let input = signing_input(HEADER, "{}");
        let signature = base64url(&sign(algorithm, input.as_bytes()));
        let key = verifying_key(algorithm);
        let other = signing_input(HEADER, "{ }");
        for (text, good) in [
            (format!("{input}.{signature}"), true),
            (format!("{other}.{signature}"), false),
            (format!("{input}."), false),
        ] {
            let token = UnverifiedToken::decode(text.as_bytes()).unwrap();
            let signed = token.verify(algorithm, &key, &PortableVerifier);
            assert_eq!(signed.is_ok(), good, "{text}");
            if let Ok(signed) = signed {
                assert_eq!(signed.text(), text.as_bytes());
                assert_eq!(signed.token_type(), None);
                assert_eq!(signed.key().fingerprint(), key.fingerprint());
            }
        }
    }

    #[test]
    fn dates_hold_to_the_millisecond() {
        let millis = |millis: Option<u64>| millis.map(UnixTime::from_millis);
        let skew = Duration::from_secs(10);
        for (name, exp, nbf, skew, expected) in [
            ("no exp", None, None, skew, Err(Reason::NoExpiry)),
            ("a millisecond left", Some(100_001), None, Duration::ZERO, Ok(())),
            ("just expired", Some(100_000), None, Duration::ZERO, Err(Reason::Expired)),
            ("expired within skew", Some(90_001), None, skew, Ok(())),
            ("expired beyond skew", Some(90_000), None, skew, Err(Reason::Expired)),
            ("begins now", Some(200_000), Some(100_000), Duration::ZERO, Ok(())),
            ("not begun", Some(200_000), Some(100_001), Duration::ZERO, Err(Reason::NotYetValid)),
            ("begins within skew", Some(200_000), Some(110_000), skew, Ok(())),
            ("beyond skew", Some(200_000), Some(110_001), skew, Err(Reason::NotYetValid)),
            ("both wrong", Some(0), Some(200_000), skew, Err(Reason::Expired)),
            ("endless", Some(u64::MAX), None, Duration::MAX, Ok(())),
        ] {
            let times = Times { expires_at: millis(exp), not_before: millis(nbf), issued_at: None };
            assert_eq!(times.check(UnixTime::from_secs(100), skew), expected, "{name}");
        }
        let day = Some(Duration::from_secs(50));
        for (name, exp, iat, limit, expected) in [
            ("no iat, no limit", Some(200_000), None, None, Ok(())),
            ("no iat", Some(200_000), None, day, Err(Reason::LifetimeTooLong)),
            ("no exp", None, Some(90_000), day, Err(Reason::LifetimeTooLong)),
            ("as long as allowed", Some(140_000), Some(90_000), day, Ok(())),
            ("too long", Some(140_001), Some(90_000), day, Err(Reason::LifetimeTooLong)),
            ("issued after it expires", Some(80_000), Some(90_000), day, Ok(())),
            ("issued within skew", Some(140_000), Some(110_000), day, Ok(())),
            ("issued in future", Some(140_000), Some(110_001), day, Err(Reason::IssuedInFuture)),
            ("in future, no limit", None, Some(110_001), None, Err(Reason::IssuedInFuture)),
        ] {
            let times = Times { expires_at: millis(exp), not_before: None, issued_at: millis(iat) };
            let checked = times.check_issue(UnixTime::from_secs(100), skew, limit);
            assert_eq!(checked, expected, "{name}");
        }
    }
}
