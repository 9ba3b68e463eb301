//! A provider: who issues sessions, where a request carries them, and what makes one acceptable.

use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use crate::claim_headers::{ClaimHeader, ClaimPath};
use crate::cookie::CookieName;
use crate::extractor::Source;
use crate::json::object::Member;
use crate::jwks::source::KeySource;
use crate::jwt::algorithm::AlgorithmSet;
use crate::jwt::token::{SignedToken, Times, UnverifiedToken};
use crate::kept_claims::ClaimPaths;
use crate::reason::Reason;
use crate::time::UnixTime;

pub mod corbado;
pub mod supertokens;

/// One entry of `providers`, ready for requests.
#[derive(Debug)]
pub struct Provider {
    /// Unique within the configuration; for logs and metrics.
    pub name: Rc<str>,
    /// Whose tokens these are.
    pub issuers: Issuers,
    /// Any of these must be in `aud`; empty: `aud` is not looked at.
    pub audiences: Vec<Box<str>>,
    /// The only algorithms that are accepted.
    pub algorithms: AlgorithmSet,
    /// Accepted `typ`s, in lower case and without `application/`.
    pub token_types: Vec<Box<str>>,
    /// How far clocks may differ.
    pub clock_skew: Duration,
    /// Upper bound of `exp - iat`.
    pub max_lifetime: Option<Duration>,
    /// Longer tokens are refused unread.
    pub max_token_bytes: usize,
    /// Where to look, in order.
    pub sources: Vec<Source>,
    /// Cookies of this vendor that no backend may see.
    pub stripped_cookies: Vec<CookieName>,
    /// Cookies of this vendor's front end that only backends with its SDK may see.
    pub front_end_cookies: Vec<CookieName>,
    /// The cookie of a session that this vendor gave up: nobody gets in with it.
    pub legacy_cookie: Option<CookieName>,
    /// What two sources with different tokens mean.
    pub on_conflict: OnConflict,
    /// What several cookies of one name with different values mean.
    pub duplicate_cookies: DuplicateCookies,
    /// Where the keys come from.
    pub keys: KeySource,
    /// Whether a token's `kid` must name exactly one key, as the vendors' own SDKs want it.
    pub strict_key_id: bool,
    /// Whether `sub` must be a non-empty string.
    pub subject_required: bool,
    /// What SuperTokens asks of a session besides; nothing: the sessions are somebody else's.
    pub supertokens: Option<supertokens::Demands>,
    /// How refusals look to this vendor's front end; nothing: like everybody's.
    pub vendor_answers: Option<supertokens::Answers>,
    /// Which claims backends get as headers.
    pub claim_headers: Rc<[ClaimHeader]>,
    /// The claim that tells when the user logged in.
    pub auth_time_claim: Option<ClaimPath>,
    /// The claims that rules ask about, the same for all providers of a configuration.
    pub kept_claims: Rc<ClaimPaths>,
}

impl Provider {
    /// Whether a token belongs here: by its issuer, and a SuperTokens session by its structure too.
    /// Both are unproven yet; they decide only whose rules the token is held against.
    ///
    /// # Errors
    /// `NotASession`, `IssuerEmpty`, `IssuerMismatch`
    pub fn claim(&self, token: &UnverifiedToken<'_>) -> Result<(), Reason> {
        if self.supertokens.is_some() {
            if !supertokens::has_structure(token) {
                return Err(Reason::NotASession);
            }
            // Sessions of its old SDKs name no issuer.
            if token.unproven_claim("iss").is_none() {
                return Ok(());
            }
        }
        match (&self.issuers, token.issuer()) {
            (Issuers::InsecureAny, _) => Ok(()),
            (Issuers::OneOf(_), None) => Err(Reason::IssuerEmpty),
            (Issuers::OneOf(own), Some(issuer)) if own.iter().any(|own| **own == *issuer) => Ok(()),
            (Issuers::OneOf(_), Some(_)) => Err(Reason::IssuerMismatch),
        }
    }

    /// Whether a key of this name may have signed, whatever the key set says.
    ///
    /// # Errors
    /// `UnknownKey`
    pub fn check_key_id(&self, key_id: Option<&str>) -> Result<(), Reason> {
        let allows = |demands: &supertokens::Demands| demands.signing_keys.allows(key_id);
        if self.supertokens.as_ref().is_none_or(allows) { Ok(()) } else { Err(Reason::UnknownKey) }
    }

    /// What can refuse a token before its signature is looked at; never enough to accept it.
    ///
    /// # Errors
    /// `NoExpiry`, `Expired`, `NotYetValid`
    pub fn check_early(&self, times: Times, now: UnixTime) -> Result<(), Reason> {
        times.check(now, self.clock_skew)
    }

    /// Everything about time, which goes on after a token was verified.
    ///
    /// # Errors
    /// Those of `check_early`, `IssuedInFuture`, `LifetimeTooLong`
    pub fn check_times(&self, times: Times, now: UnixTime) -> Result<(), Reason> {
        times.check(now, self.clock_skew)?;
        times.check_issue(now, self.clock_skew, self.max_lifetime)
    }

    /// What the signed token says that no time can change. Its issuer has been compared already:
    /// the token belongs here.
    ///
    /// # Errors
    /// `TypeNotAllowed`, `AudienceMismatch`, `NotASession`
    pub fn check_claims(&self, token: SignedToken<'_>) -> Result<(), Reason> {
        if !token.token_type().is_none_or(|name| self.allows_type(name)) {
            return Err(Reason::TypeNotAllowed);
        }
        if !self.audiences.is_empty() && !self.hears(token.claims().get("aud")) {
            return Err(Reason::AudienceMismatch);
        }
        let subject = token.claims().text("sub").unwrap_or_default();
        if self.subject_required && subject.is_empty() {
            return Err(Reason::NotASession);
        }
        Ok(())
    }

    /// `typ` is a media type whose `application/` may be left out (RFC 7515, section 4.1.9).
    fn allows_type(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix("application/").unwrap_or(&name);
        self.token_types.iter().any(|allowed| **allowed == *name)
    }

    /// `aud` is a string or an array of strings (RFC 7519, section 4.1.3).
    fn hears(&self, audience: Option<Member<'_>>) -> bool {
        let is_ours = |name: &str| self.audiences.iter().any(|own| **own == *name);
        match audience {
            Some(Member::Text(name)) => is_ours(name),
            Some(Member::Value(Value::Array(names))) => {
                names.iter().filter_map(Value::as_str).any(is_ours)
            }
            Some(Member::Value(_)) | None => false,
        }
    }
}

/// Which `iss` values belong to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuers {
    /// `insecure_any_issuer`: whatever the token says.
    InsecureAny,
    /// Exactly one of these.
    OneOf(Vec<Box<str>>),
}

/// `on_conflict`: two sources carry different tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// The first source wins.
    #[default]
    First,
    /// The request is refused.
    Reject,
}

/// `duplicate_cookies`: several cookies of one name, with different values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DuplicateCookies {
    /// The request is refused.
    #[default]
    Reject,
    /// The newest of those that verify wins, if all that verify speak of one subject.
    Newest,
}

/// The place of a provider in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderId(u8);

impl ProviderId {
    /// How many providers a configuration may have.
    pub const MAX_PROVIDERS: usize = 32;

    /// The provider at `index`, if a configuration may have that many.
    pub fn new(index: usize) -> Option<Self> {
        (index < Self::MAX_PROVIDERS).then_some(())?;
        u8::try_from(index).ok().map(Self)
    }

    /// Its index in the configuration's list.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Some of a configuration's providers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderSet(u32);

impl ProviderSet {
    /// Adds `provider`.
    pub fn insert(&mut self, provider: ProviderId) {
        self.0 |= 1 << provider.0;
    }

    /// Whether `provider` is one of them.
    pub fn contains(self, provider: ProviderId) -> bool {
        self.0 & 1 << provider.0 != 0
    }

    /// Those that are in both.
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::config;
    use crate::jwt::algorithm::Algorithm;
    use crate::jwt::test_keys::numbered_token;
    use crate::verified_token::tests::accept;

    /// A compiled provider with these members besides what it needs.
    pub(crate) fn provider(members: &Value) -> Provider {
        let mut provider = json!({
            "name": "main", "issuers": ["https://main.example", "https://old.example"],
            "clock_skew": "0s",
            "jwks": { "remote": { "uri": "https://main.example/jwks", "cluster": "main" } },
        });
        for (name, value) in members.as_object().unwrap() {
            provider.as_object_mut().unwrap().insert(name.clone(), value.clone());
        }
        let configuration = json!({ "providers": [provider] }).to_string();
        config::load(configuration.as_bytes()).unwrap().policy.providers.remove(0)
    }

    fn claim(provider: &Provider, issuer: Option<&str>) -> Result<(), Reason> {
        let payload = issuer.map_or(json!({}), |issuer| json!({ "iss": issuer }));
        let text = numbered_token(1, &json!({}), &payload);
        provider.claim(&UnverifiedToken::decode(text.as_bytes()).unwrap())
    }

    #[test]
    fn issuers_are_compared_exactly() {
        let provider = provider(&json!({}));
        for (issuer, expected) in [
            (Some("https://main.example"), Ok(())),
            (Some("https://old.example"), Ok(())),
            (Some("https://main.example/"), Err(Reason::IssuerMismatch)),
            (Some("HTTPS://main.example"), Err(Reason::IssuerMismatch)),
            (Some("https://main.exampl"), Err(Reason::IssuerMismatch)),
            (Some(""), Err(Reason::IssuerEmpty)),
            (None, Err(Reason::IssuerEmpty)),
        ] {
            assert_eq!(claim(&provider, issuer), expected, "{issuer:?}");
        }
        let any = Provider { issuers: Issuers::InsecureAny, ..provider };
        assert!(claim(&any, Some("x")).is_ok() && claim(&any, None).is_ok());
        assert!(any.algorithms.contains(Algorithm::EdDsa));
    }

    #[test]
    fn types_are_media_types() {
        for (typ, expected) in [
            ("JWT", true),
            ("jwt", true),
            ("application/jwt", true),
            ("APPLICATION/JWT", true),
            ("at+jwt", true),
            ("application/at+JWT", true),
            ("application/application/jwt", false),
            ("application/", false),
            ("", false),
            ("dpop+jwt", false),
            ("J\u{212a}T", false),
        ] {
            let accepted = accept(&json!({ "typ": typ }), &json!({ "exp": 2_000 }), &json!({}));
            assert_eq!(accepted.is_ok(), expected, "{typ:?}");
        }
    }

    #[test]
    fn audiences_are_a_string_or_an_array_of_strings() {
        for (aud, expected) in [
            (json!("orders"), true),
            (json!(["x", "billing"]), true),
            (json!([1, "orders"]), true),
            (json!("Orders"), false),
            (json!("orders billing"), false),
            (json!([]), false),
            (json!([["orders"]]), false),
            (json!({ "orders": true }), false),
            (json!(null), false),
            (json!(1), false),
        ] {
            let payload = json!({ "exp": 2_000, "aud": aud });
            let demands = json!({ "audiences": ["orders", "billing"] });
            assert_eq!(accept(&json!({}), &payload, &demands).is_ok(), expected, "{aud}");
            assert!(accept(&json!({}), &payload, &json!({})).is_ok(), "nothing is demanded");
        }
        let demands = json!({ "audiences": ["orders"] });
        assert!(accept(&json!({}), &json!({ "exp": 2_000 }), &demands).is_err(), "no aud");
        let mut many = json!({ "exp": 2_000, "aud": "orders" });
        for claim in 0..100 {
            many[format!("c{claim}")] = "x".into();
        }
        assert!(accept(&json!({}), &many, &demands).is_ok(), "among many claims");
    }

    #[test]
    fn a_session_may_need_a_subject() {
        let now = UnixTime::from_secs(1_000);
        let required = Provider { subject_required: true, ..provider(&json!({})) };
        let times =
            |seconds| Times { expires_at: Some(UnixTime::from_secs(seconds)), ..Times::default() };
        assert_eq!(required.check_early(times(1_001), now), Ok(()));
        assert_eq!(required.check_early(times(1_000), now), Err(Reason::Expired));
        assert_eq!(required.check_times(Times::default(), now), Err(Reason::NoExpiry));
    }

    #[test]
    fn sets_of_providers_hold_thirty_two() {
        assert_eq!(ProviderId::new(32), None);
        assert_eq!(ProviderId::new(usize::MAX), None);
        let all: Vec<_> = (0..32).map(|index| ProviderId::new(index).unwrap()).collect();
        let mut set = ProviderSet::default();
        for (index, id) in all.iter().enumerate() {
            assert_eq!(id.index(), index);
            let mut only = ProviderSet::default();
            only.insert(*id);
            assert!(!set.contains(*id) && set.intersection(only).is_empty());
            set.insert(*id);
            assert!(set.contains(*id) && set.intersection(only) == only);
        }
    }
}
