//! SuperTokens' sessions, as its own SDKs (Node, Go, Python) see them.
//!
//! A token is a session's if all of these hold; its issuer and its key say whose it is:
//!
//! 1. Header: `typ` is `JWT`, letter for letter; there is a `kid`; `version` is absent, which
//!    means 3, or a string of decimal digits, 3 or more.
//! 2. Payload: `sub`, `sessionHandle` and `refreshTokenHash1` are strings, `exp` and `iat` are
//!    there; from version 5 on `rsub` is a string too.
//! 3. `stt` is absent or 0. The same keys sign OAuth2 access tokens (1), ID tokens (2) and tokens
//!    for machines, none of which is a session.
//!
//! | what | fact |
//! | --- | --- |
//! | sources | the `Authorization` header, then the cookie `sAccessToken` |
//! | `sIdRefreshToken` | a session of SDKs of 2022 and before: refused, so that it is refreshed |
//! | algorithm | RS256; a `kid` that begins with `d-` names a key that is rotated |
//! | issuer | `api_domain` with the base path; tokens of old SDKs have none |
//! | key set | `/jwt/jwks.json` there |
//!
//! Caveats: the SDKs take `version` by `parseInt`, which is laxer; the legacy versions 1 and 2 are
//! not accepted. A token with `parentRefreshTokenHash1`, the first one after a refresh, makes the
//! SDKs ask the core; nothing here does.

use serde_json::Value;

use crate::cookie::CookieName;
use crate::extractor::Source;
use crate::json::object::{Member, Object};
use crate::jwt::algorithm::{Algorithm, AlgorithmSet};
use crate::jwt::token::UnverifiedToken;

/// What the preset asks of a session besides what every provider does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demands {
    /// `signing_keys`
    pub signing_keys: SigningKeys,
    /// `anti_csrf`
    pub anti_csrf: AntiCsrf,
}

/// `signing_keys`: which of an app's keys sign its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SigningKeys {
    /// Those that are rotated.
    #[default]
    Dynamic,
    /// Those that are not.
    Static,
    /// All of them.
    Any,
}

impl SigningKeys {
    /// Whether the key of this name is of the right kind.
    pub fn allows(self, key_id: Option<&str>) -> bool {
        let is_dynamic = key_id.is_some_and(|key_id| key_id.starts_with("d-"));
        match self {
            Self::Dynamic => is_dynamic,
            Self::Static => !is_dynamic,
            Self::Any => true,
        }
    }
}

/// `anti_csrf`: the vendor's own proof that a request with the cookie comes from its front end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AntiCsrf {
    /// None.
    #[default]
    None,
    /// Any `rid` header, which a page of another site can't send.
    CustomHeader,
    /// An `anti-csrf` header that says what the token's claim `antiCsrfToken` does.
    Token,
}

/// How refusals look to SuperTokens' front-end SDK, which goes by the status alone: the first one
/// makes it refresh and try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    /// `session_expired_status`
    pub session_expired_status: u16,
    /// `invalid_claim_status`
    pub invalid_claim_status: u16,
}

/// What a proven session says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionClaims {
    handle: Box<str>,
    anti_csrf_token: Option<Box<str>>,
}

impl SessionClaims {
    /// The claims of `payload`.
    pub fn read(payload: &Object) -> Self {
        Self {
            handle: payload.text("sessionHandle").unwrap_or_default().into(),
            anti_csrf_token: payload.text("antiCsrfToken").map(Box::from),
        }
    }

    /// `sessionHandle`, which stays the same through all refreshes.
    pub fn handle(&self) -> &str {
        &self.handle
    }

    /// `antiCsrfToken`, if it is a string.
    pub fn anti_csrf_token(&self) -> Option<&str> {
        self.anti_csrf_token.as_deref()
    }

    /// How many bytes its texts take.
    pub fn memory(&self) -> usize {
        let token = self.anti_csrf_token.as_ref().map_or(0, |token| token.len());
        self.handle.len().saturating_add(token)
    }
}

/// Whether a token has the structure of a session; see the module.
pub fn has_structure(token: &UnverifiedToken<'_>) -> bool {
    let Some(version) = version(token.unproven_header("version")) else { return false };
    let is_text = |name: &str| token.unproven_claim(name).and_then(Member::as_str).is_some();
    // That dates are numbers is known by now.
    let has_dates = ["exp", "iat"].iter().all(|name| token.unproven_claim(name).is_some());
    let number = |kind: Member<'_>| kind.as_value().and_then(Value::as_f64);
    let is_session_type = token.unproven_claim("stt").is_none_or(|kind| number(kind) == Some(0.0));
    token.unproven_header("typ").and_then(Member::as_str) == Some("JWT")
        && token.key_id().is_some()
        && is_session_type
        && has_dates
        && ["sub", "sessionHandle", "refreshTokenHash1"].iter().all(|name| is_text(name))
        && (version < FIRST_WITH_RECIPE_USER || is_text("rsub"))
}

/// The version of a token's format, if it is one that counts.
fn version(value: Option<Member<'_>>) -> Option<u64> {
    let Some(value) = value else { return Some(OLDEST_VERSION) };
    let digits = value.as_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|version| *version >= OLDEST_VERSION)
}

/// Where a request carries the session.
pub fn sources() -> Vec<Source> {
    let cookie = "sAccessToken".parse().ok().map(Source::Cookie);
    [Some(Source::bearer()), cookie].into_iter().flatten().collect()
}

/// Cookies that no backend may see: refresh tokens, and access tokens that nobody verified, as the
/// front end keeps them where sessions travel in headers.
pub fn secret_cookies() -> Vec<CookieName> {
    names(&["sRefreshToken", "st-refresh-token", "st-access-token", LEGACY_COOKIE])
}

/// Cookies of the front end. No SDK of a backend reads them, and they prove nothing.
pub fn front_end_cookies() -> Vec<CookieName> {
    names(&["sFrontToken", "sAntiCsrf", "st-last-access-token-update"])
}

/// The cookie of a session that the SDKs gave up: whoever has it must refresh.
pub fn legacy_cookie() -> Option<CookieName> {
    LEGACY_COOKIE.parse().ok()
}

/// What SuperTokens signs with.
pub fn algorithms() -> AlgorithmSet {
    [Algorithm::Rs256].into_iter().collect()
}

fn names(texts: &[&str]) -> Vec<CookieName> {
    texts.iter().filter_map(|name| name.parse().ok()).collect()
}

const LEGACY_COOKIE: &str = "sIdRefreshToken";

/// Versions 1 and 2 have no `kid`.
const OLDEST_VERSION: u64 = 3;

/// Linked accounts came with version 5.
const FIRST_WITH_RECIPE_USER: u64 = 5;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jwt::test_keys::numbered_token;

    /// Whether a session is still one with these members changed; `null` takes one away.
    fn is_session(header: &Value, payload: &Value) -> bool {
        let mut whole = [
            json!({ "alg": "RS256", "typ": "JWT", "kid": "d-1", "version": "5" }),
            json!({
                "sub": "u", "exp": 2_000, "iat": 1_000, "sessionHandle": "h",
                "refreshTokenHash1": "r", "rsub": "u", "tId": "public", "stt": 0,
                "parentRefreshTokenHash1": null, "antiCsrfToken": null,
            }),
        ];
        for (own, members) in whole.iter_mut().zip([header, payload]) {
            for (name, value) in members.as_object().unwrap() {
                match value.as_str() {
                    Some("absent") => drop(own.as_object_mut().unwrap().remove(name)),
                    _ => own[name] = value.clone(),
                }
            }
        }
        let [header, payload] = whole;
        let text = numbered_token(1, &header, &payload);
        UnverifiedToken::decode(text.as_bytes()).is_ok_and(|token| has_structure(&token))
    }

    #[test]
    fn headers_of_sessions() {
        for (header, expected) in [
            (json!({}), true),
            (json!({ "typ": "jwt" }), false),
            (json!({ "typ": "JWT " }), false),
            (json!({ "typ": "at+jwt" }), false),
            (json!({ "typ": "application/JWT" }), false),
            (json!({ "typ": "absent" }), false),
            (json!({ "kid": "absent" }), false),
            (json!({ "kid": 1 }), false),
            (json!({ "kid": "s-1" }), true),
            (json!({ "version": "absent" }), true),
            (json!({ "version": "3" }), true),
            (json!({ "version": "4" }), true),
            (json!({ "version": "6" }), true),
            (json!({ "version": "10" }), true),
            (json!({ "version": "03" }), true),
            (json!({ "version": "1" }), false),
            (json!({ "version": "2" }), false),
            (json!({ "version": "0" }), false),
            (json!({ "version": "" }), false),
            (json!({ "version": "+5" }), false),
            (json!({ "version": "-5" }), false),
            (json!({ "version": "5.0" }), false),
            (json!({ "version": "5 " }), false),
            (json!({ "version": "5x" }), false),
            (json!({ "version": "\u{0665}" }), false),
            (json!({ "version": 5 }), false),
            (json!({ "version": null }), false),
        ] {
            assert_eq!(is_session(&header, &json!({})), expected, "{header}");
        }
    }

    #[test]
    fn payloads_of_sessions() {
        for (payload, expected) in [
            (json!({ "sub": "absent" }), false),
            (json!({ "sub": 1 }), false),
            (json!({ "sub": null }), false),
            (json!({ "exp": "absent" }), false),
            (json!({ "iat": "absent" }), false),
            (json!({ "exp": "2000" }), false),
            (json!({ "sessionHandle": "absent" }), false),
            (json!({ "sessionHandle": null }), false),
            (json!({ "refreshTokenHash1": "absent" }), false),
            (json!({ "refreshTokenHash1": ["r"] }), false),
            (json!({ "rsub": "absent" }), false),
            (json!({ "rsub": 1 }), false),
            (json!({ "stt": "absent" }), true),
            (json!({ "stt": 0.0 }), true),
            (json!({ "stt": 1 }), false),
            (json!({ "stt": 2 }), false),
            (json!({ "stt": "0" }), false),
            (json!({ "stt": null }), false),
            (json!({ "stt": false }), false),
            (json!({ "tId": "absent" }), true),
            (json!({ "antiCsrfToken": "t", "parentRefreshTokenHash1": "p" }), true),
        ] {
            assert_eq!(is_session(&json!({}), &payload), expected, "{payload}");
        }
    }

    #[test]
    fn a_recipe_user_is_asked_for_from_version_five_on() {
        for (version, expected) in
            [("absent", true), ("3", true), ("4", true), ("5", false), ("6", false), ("10", false)]
        {
            let header = json!({ "version": version });
            assert_eq!(is_session(&header, &json!({ "rsub": "absent" })), expected, "{version}");
        }
    }

    #[test]
    fn keys_are_of_a_kind() {
        for (key_id, expected) in [
            (Some("d-1"), [true, false, true]),
            (Some("s-1"), [false, true, true]),
            (Some("D-1"), [false, true, true]),
            (Some("d"), [false, true, true]),
            (Some(""), [false, true, true]),
        ] {
            let kinds = [SigningKeys::Dynamic, SigningKeys::Static, SigningKeys::Any];
            assert_eq!(kinds.map(|kind| kind.allows(key_id)), expected, "{key_id:?}");
        }
    }

    #[test]
    fn a_session_tells_its_handle_and_its_proof() {
        for (token, expected) in [
            (json!("t"), Some("t")),
            (json!(""), Some("")),
            (json!(null), None),
            (json!(["t"]), None),
        ] {
            let payload = json!({ "sessionHandle": "h", "antiCsrfToken": token });
            let claims = SessionClaims::read(&payload.into());
            assert_eq!(claims.handle(), "h");
            assert_eq!(claims.anti_csrf_token(), expected, "{token}");
            assert_eq!(claims.memory(), 1 + expected.map_or(0, str::len));
        }
    }

    #[test]
    fn sources_and_cookies_parse() {
        assert_eq!(sources().len(), 2);
        assert_eq!(secret_cookies().len(), 4);
        assert_eq!(front_end_cookies().len(), 3);
        assert!(legacy_cookie().is_some());
    }
}
