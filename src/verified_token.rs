//! A token that was proven: the only thing that lets a request pass.

use std::rc::Rc;

use crate::claim_headers::{ClaimHeader, Rendered};
use crate::jwks::document::{Jwks, Selection};
use crate::jwt::algorithm::Algorithm;
use crate::jwt::key::KeyFingerprint;
use crate::jwt::token::{SignedToken, Times};
use crate::kept_claims::KeptClaims;
use crate::provider::supertokens::SessionClaims;
use crate::provider::{Provider, ProviderId, ProviderSet};
use crate::reason::Reason;
use crate::request::HeaderName;
use crate::time::UnixTime;

/// A token whose signature and claims a provider accepted at some time. Whether its time has not
/// run out, and whether its key is still in the set, is asked again at each request.
///
/// Holds no payload: what backends get is rendered once, and of the rest only those claims are kept
/// that rules ask about.
#[derive(Debug)]
pub struct VerifiedToken {
    bearer: Box<[u8]>,
    provider: ProviderId,
    claimants: ProviderSet,
    key: KeyFingerprint,
    key_id: Option<Box<str>>,
    algorithm: Option<Algorithm>,
    times: Times,
    subject: Option<Box<str>>,
    supertokens: Option<SessionClaims>,
    claim_headers: Rc<[ClaimHeader]>,
    rendered: Box<[Rendered]>,
    kept_claims: KeptClaims,
}

impl VerifiedToken {
    /// Holds a signed token against the provider that it belongs to. `claimants` are all providers
    /// to which its issuer belongs.
    ///
    /// # Errors
    /// Whatever of the provider's demands it does not meet at `now`.
    pub fn new(
        token: SignedToken<'_>,
        provider: (ProviderId, &Provider),
        claimants: ProviderSet,
        now: UnixTime,
    ) -> Result<Self, Reason> {
        let (id, provider) = provider;
        provider.check_times(token.times(), now)?;
        provider.check_claims(token)?;
        let payload = token.claims();
        let rendered = provider.claim_headers.iter().map(|header| header.render(payload));
        Ok(Self {
            bearer: [SCHEME, token.text()].concat().into(),
            provider: id,
            claimants,
            key: token.key().fingerprint(),
            key_id: token.key_id().map(Box::from),
            algorithm: token.algorithm(),
            times: token.times(),
            subject: payload.text("sub").map(Box::from),
            supertokens: provider.supertokens.and(Some(SessionClaims::read(payload))),
            claim_headers: Rc::clone(&provider.claim_headers),
            rendered: rendered.collect(),
            kept_claims: provider.kept_claims.read(payload),
        })
    }

    /// `Bearer <token>`, as backends get it.
    pub fn bearer(&self) -> &[u8] {
        &self.bearer
    }

    /// The compact text.
    pub fn text(&self) -> &[u8] {
        self.bearer.get(SCHEME.len()..).unwrap_or_default()
    }

    /// Who accepted it.
    pub fn provider(&self) -> ProviderId {
        self.provider
    }

    /// All providers to which its issuer belongs.
    pub fn claimants(&self) -> ProviderSet {
        self.claimants
    }

    /// Whether `jwks` would still choose the key that signed it. The material alone does not say
    /// so: a `kid` may name another key now while the old one goes on under another name.
    pub fn is_signed_by_key_of(&self, jwks: &Jwks, strict_key_id: bool) -> bool {
        let Some(algorithm) = self.algorithm else { return false };
        match jwks.select(self.key_id.as_deref(), algorithm, strict_key_id) {
            Selection::Candidates(keys) => {
                keys.into_iter().any(|key| key.fingerprint() == self.key)
            }
            Selection::WrongAlgorithm | Selection::UnknownKey => false,
        }
    }

    /// Its dates.
    pub fn times(&self) -> Times {
        self.times
    }

    /// `sub`, if it is a string.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// The name of the key that signed it, if it gives one.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// What a SuperTokens session says besides.
    pub fn supertokens(&self) -> Option<&SessionClaims> {
        self.supertokens.as_ref()
    }

    /// Whether both speak of one user's session: one provider, one subject, and with SuperTokens
    /// one session handle.
    pub fn is_of_session(&self, other: &Self) -> bool {
        let [own, its] =
            [self, other].map(|token| token.supertokens.as_ref().map(SessionClaims::handle));
        self.provider == other.provider
            && self.subject.is_some()
            && self.subject == other.subject
            && own == its
    }

    /// What it says of the claims that rules ask about.
    pub fn kept_claims(&self) -> &KeptClaims {
        &self.kept_claims
    }

    /// The headers that backends get, in the configuration's order.
    pub fn claim_headers(&self) -> impl Iterator<Item = (&HeaderName, &[u8])> {
        self.claim_headers.iter().zip(&self.rendered).filter_map(
            |(header, rendered)| match rendered {
                Rendered::Value(value) => Some((&header.name, &**value)),
                Rendered::Absent | Rendered::Skipped => None,
            },
        )
    }

    /// How many claims could not be written as headers.
    pub fn skipped_claim_headers(&self) -> usize {
        self.rendered.iter().filter(|rendered| **rendered == Rendered::Skipped).count()
    }

    /// About how many bytes of memory it takes.
    pub fn memory(&self) -> usize {
        let rendered = self.rendered.iter().map(|rendered| match rendered {
            Rendered::Value(value) => value.len(),
            Rendered::Absent | Rendered::Skipped => 0,
        });
        let texts = rendered.chain([
            self.bearer.len(),
            self.subject.as_ref().map_or(0, |subject| subject.len()),
            self.key_id.as_ref().map_or(0, |key_id| key_id.len()),
            self.supertokens.as_ref().map_or(0, SessionClaims::memory),
            size_of_val(&*self.rendered),
            self.kept_claims.memory(),
            size_of::<Self>(),
        ]);
        texts.fold(0, usize::saturating_add)
    }
}

const SCHEME: &[u8] = b"Bearer ";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::jwt::algorithm::Algorithm;
    use crate::jwt::key::VerifyingKey;
    use crate::jwt::signature::PortableVerifier;
    use crate::jwt::test_keys::{numbered_jwk, numbered_token};
    use crate::jwt::token::UnverifiedToken;
    use crate::provider::tests::provider;

    const NOW: UnixTime = UnixTime::from_secs(1_000);

    /// A token of `https://main.example` for `subject`, verified at some time.
    pub(crate) fn verified(subject: &str) -> VerifiedToken {
        accept(&json!({}), &json!({ "sub": subject, "exp": 2_000 }), &json!({})).unwrap()
    }

    /// Holds a token of this header and payload against a provider with these members.
    pub(crate) fn accept(
        header: &Value,
        payload: &Value,
        members: &Value,
    ) -> Result<VerifiedToken, Reason> {
        let text = numbered_token(1, header, payload);
        let token = UnverifiedToken::decode(text.as_bytes()).unwrap();
        let key = VerifyingKey::from_jwk(&numbered_jwk(1, "k")).unwrap();
        let signed = token.verify(Algorithm::EdDsa, &key, &PortableVerifier).unwrap();
        let id = ProviderId::new(3).unwrap();
        let mut claimants = ProviderSet::default();
        claimants.insert(id);
        VerifiedToken::new(signed, (id, &provider(members)), claimants, NOW)
    }

    #[test]
    fn it_tells_what_was_proven_and_nothing_else() {
        let claim_headers = json!({ "claim_headers": [
            { "header": "x-user", "claim": "sub" },
            { "header": "x-absent", "claim": "nothing" },
            { "header": "x-roles", "claim": "roles" },
        ] });
        let payload = json!({ "sub": "u", "exp": 2_000, "nbf": 1, "iat": 2, "roles": ["a"] });
        let token = accept(&json!({ "kid": "k" }), &payload, &claim_headers).unwrap();
        assert_eq!(token.bearer(), [b"Bearer ", token.text()].concat());
        assert_eq!(token.text(), numbered_token(1, &json!({ "kid": "k" }), &payload).as_bytes());
        assert_eq!(token.provider().index(), 3);
        assert!(token.claimants().contains(token.provider()));
        assert_eq!(token.subject(), Some("u"));
        assert_eq!(token.times().expires_at, Some(UnixTime::from_secs(2_000)));
        let headers: Vec<_> =
            token.claim_headers().map(|(name, value)| (name.as_str(), value)).collect();
        assert_eq!(headers, [("x-user", b"u".as_slice())]);
        assert_eq!(token.skipped_claim_headers(), 1);
        assert!(token.memory() > token.bearer().len() + size_of::<VerifiedToken>());
    }

    #[test]
    fn what_does_not_meet_the_demands_is_no_verified_token() {
        let good = json!({ "sub": "u", "exp": 2_000, "iat": 900, "aud": "a" });
        for (name, header, payload, members, expected) in [
            ("good", json!({}), json!({}), json!({}), Ok(())),
            ("expired", json!({}), json!({"exp": 1_000}), json!({}), Err(Reason::Expired)),
            (
                "issued later",
                json!({}),
                json!({"iat": 1_001}),
                json!({}),
                Err(Reason::IssuedInFuture),
            ),
            ("too long", json!({}), json!({}), json!({"max_lifetime": "1099s"}), {
                Err(Reason::LifetimeTooLong)
            }),
            ("as long as allowed", json!({}), json!({}), json!({"max_lifetime": "1100s"}), Ok(())),
            ("type", json!({"typ": "dpop"}), json!({}), json!({}), Err(Reason::TypeNotAllowed)),
            ("audience", json!({}), json!({}), json!({"audiences": ["b"]}), {
                Err(Reason::AudienceMismatch)
            }),
        ] {
            let mut whole = good.clone();
            for (member, value) in payload.as_object().unwrap() {
                whole.as_object_mut().unwrap().insert(member.clone(), value.clone());
            }
            assert_eq!(accept(&header, &whole, &members).map(drop), expected, "{name}");
        }
    }

    #[test]
    fn a_subject_is_a_string() {
        for (sub, expected) in [(json!("u"), Some("u")), (json!(""), Some("")), (json!(1), None)] {
            let token = accept(&json!({}), &json!({ "sub": sub, "exp": 2_000 }), &json!({}));
            assert_eq!(token.unwrap().subject(), expected);
        }
    }

    #[test]
    fn a_verdict_ends_with_its_key_and_with_its_keys_name() {
        use crate::config;
        use crate::jwt::algorithm::Algorithm::EdDsa;
        use crate::jwt::algorithm::AlgorithmSet;
        use crate::jwt::test_keys::{base64url, jwk_with, sign, verifying_key};

        let own = |name: Value| jwk_with(EdDsa, json!({"kid": name}));
        // The example key of RFC 8037, appendix A.2.
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let other = |name: &str| json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": name});
        let configuration = json!({"providers": [{
            "name": "a", "issuers": ["i"], "jwks": {"inline": {"keys": [other("a")]}},
        }]});
        let policy = config::load(configuration.to_string().as_bytes()).unwrap().policy;
        let (header, payload) = (json!({"alg": "EdDSA", "kid": "a"}), json!({"exp": 2_000}));
        let [header, payload] =
            [header, payload].map(|part| base64url(part.to_string().as_bytes()));
        let input = format!("{header}.{payload}");
        let text = format!("{input}.{}", base64url(&sign(EdDsa, input.as_bytes())));
        let token = UnverifiedToken::decode(text.as_bytes()).unwrap();
        let key = verifying_key(EdDsa);
        let signed = token.verify(EdDsa, &key, &PortableVerifier).unwrap();
        let provider = (ProviderId::new(0).unwrap(), &policy.providers[0]);
        let now = UnixTime::from_secs(1_000);
        let token = VerifiedToken::new(signed, provider, ProviderSet::default(), now).unwrap();

        for (name, keys, strict, expected) in [
            ("the same set", vec![own("a".into())], true, true),
            ("a key more", vec![other("b"), own("a".into())], true, true),
            ("the key is gone", vec![other("b")], true, false),
            ("the name is another key's", vec![other("a")], true, false),
            ("so it is, and the key has another", vec![other("a"), own("b".into())], true, false),
            ("the key has another name", vec![own("b".into())], true, false),
            ("both have the name", vec![other("a"), own("a".into())], false, true),
            (
                "both have the name, which must be one",
                vec![other("a"), own("a".into())],
                true,
                false,
            ),
            ("the key has no name", vec![own(Value::Null)], false, true),
            ("the key has no name but must", vec![own(Value::Null)], true, false),
        ] {
            let document = json!({"keys": keys});
            let jwks = Jwks::from_value(&document, AlgorithmSet::from_iter([EdDsa])).unwrap().jwks;
            assert_eq!(token.is_signed_by_key_of(&jwks, strict), expected, "{name}");
        }
    }
}
