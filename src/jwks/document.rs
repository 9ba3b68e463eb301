//! A key set document (RFC 7517, section 5), parsed once into ready keys.
//!
//! 1. The document is a JSON object with an array `keys`, of [`MAX_DOCUMENT_BYTES`] at most.
//! 2. A key is usable if [`VerifyingKey::from_jwk`] takes it and it fits an algorithm that the
//!    provider allows. Others are skipped one by one, each with its reason: one broken key must
//!    not take the good ones down.
//! 3. The first [`MAX_KEYS`] usable keys count; what follows them is not looked at.
//! 4. A set without a usable key is an error, never an empty set.

use std::fmt;

use serde_json::Value;

use crate::json::{self, JsonError};
use crate::jwt::algorithm::{Algorithm, AlgorithmSet};
use crate::jwt::key::{KeyError, VerifyingKey};

/// A provider publishes a handful of keys; a set of this size is ten times any real one.
pub const MAX_KEYS: usize = 100;

/// More is not parsed. A hundred RSA-4096 keys with their certificates stay below it.
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// At most so many keys are tried for a token: each costs a verification.
pub const MAX_CANDIDATES: usize = 2;

/// The usable keys of a document. Never empty.
#[derive(Debug)]
pub struct Jwks {
    keys: Vec<VerifyingKey>,
    disallowed_key_ids: Vec<String>,
}

/// A document's keys, and what is worth a warning.
#[derive(Debug)]
pub struct ParsedJwks {
    /// The usable keys.
    pub jwks: Jwks,
    /// The keys that cannot be used.
    pub skipped: Vec<SkippedKey>,
    /// How many entries follow the one that filled the set. They were not looked at.
    pub beyond_limit: usize,
}

/// A key of a document that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// Its place in `keys`, from 0.
    pub index: usize,
    /// Its `kid`, if it has one.
    pub key_id: Option<String>,
    /// Why.
    pub reason: KeyError,
}

impl Jwks {
    /// Parses a document for a provider that allows `algorithms`.
    ///
    /// # Errors
    /// [`JwksError`] if the document has no usable key or is none.
    pub fn parse(text: &[u8], algorithms: AlgorithmSet) -> Result<ParsedJwks, JwksError> {
        if text.len() > MAX_DOCUMENT_BYTES {
            return Err(JwksError::TooLarge);
        }
        Self::from_value(&json::parse(text)?, algorithms)
    }

    /// Takes a document that is parsed already: keys written into the configuration.
    ///
    /// # Errors
    /// [`JwksError`] if the document has no usable key or is none.
    pub fn from_value(value: &Value, algorithms: AlgorithmSet) -> Result<ParsedJwks, JwksError> {
        let document = value.as_object().ok_or(JwksError::NotAnObject)?;
        let entries = document.get("keys").ok_or(JwksError::NoKeysMember)?;
        let entries = entries.as_array().ok_or(JwksError::KeysNotAnArray)?;

        let mut keys = Vec::new();
        let mut skipped = Vec::new();
        let mut entries = entries.iter().enumerate();
        while keys.len() < MAX_KEYS {
            let Some((index, entry)) = entries.next() else {
                break;
            };
            match usable_key(entry, algorithms) {
                Ok(key) => keys.push(key),
                Err(reason) => {
                    let key_id = entry.get("kid").and_then(Value::as_str).map(str::to_owned);
                    skipped.push(SkippedKey { index, key_id, reason });
                }
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey(skipped));
        }
        let disallowed_key_ids = skipped
            .iter()
            .filter(|skipped| skipped.reason == KeyError::AlgorithmNotAllowed)
            .filter_map(|skipped| skipped.key_id.clone())
            .take(MAX_KEYS)
            .collect();
        let jwks = Self { keys, disallowed_key_ids };
        Ok(ParsedJwks { jwks, skipped, beyond_limit: entries.len() })
    }

    /// The keys that may have signed a token with this `kid` and `alg`:
    ///
    /// 1. Keys of this `kid` that fit. If there are some but none fits: [`WrongAlgorithm`].
    /// 2. No key has this `kid`: keys without any that fit.
    /// 3. The token has no `kid`: the key that fits, if it is the only one.
    ///
    /// With `strict_key_id` (presets; as strict as the vendors' own SDKs) the token's `kid` must
    /// name exactly one key, and neither 2 nor 3 applies.
    ///
    /// [`WrongAlgorithm`]: Selection::WrongAlgorithm
    #[must_use]
    pub fn select(
        &self,
        key_id: Option<&str>,
        algorithm: Algorithm,
        strict_key_id: bool,
    ) -> Selection<'_> {
        let fits = |key: &&VerifyingKey| key.algorithms().contains(algorithm);
        let Some(key_id) = key_id else {
            let mut fitting = self.keys.iter().filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(only), None) if !strict_key_id => Selection::one(only),
                _ => Selection::UnknownKey,
            };
        };
        let named = || self.keys.iter().filter(|key| key.key_id() == Some(key_id));
        if named().next().is_none() {
            if self.disallowed_key_ids.iter().any(|disallowed| disallowed == key_id) {
                return Selection::WrongAlgorithm;
            }
            if strict_key_id {
                return Selection::UnknownKey;
            }
            let nameless = self.keys.iter().filter(|key| key.key_id().is_none());
            return Selection::first_of(nameless.filter(fits)).unwrap_or(Selection::UnknownKey);
        }
        if strict_key_id && named().nth(1).is_some() {
            return Selection::UnknownKey;
        }
        Selection::first_of(named().filter(fits)).unwrap_or(Selection::WrongAlgorithm)
    }

    /// The number of usable keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Always false: a set without keys is not made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// What a set has for a token.
#[derive(Clone, Copy, Debug)]
pub enum Selection<'a> {
    /// The keys to try.
    Candidates(Candidates<'a>),
    /// The set has this `kid`, for another algorithm. No newer set will change that.
    WrongAlgorithm,
    /// No key, or too many to say which.
    UnknownKey,
}

impl<'a> Selection<'a> {
    fn one(key: &'a VerifyingKey) -> Self {
        Self::Candidates(Candidates { first: key, second: None })
    }

    fn first_of(mut keys: impl Iterator<Item = &'a VerifyingKey>) -> Option<Self> {
        let first = keys.next()?;
        Some(Self::Candidates(Candidates { first, second: keys.next() }))
    }
}

/// One key to try, or [`MAX_CANDIDATES`].
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    first: &'a VerifyingKey,
    second: Option<&'a VerifyingKey>,
}

impl<'a> IntoIterator for Candidates<'a> {
    type Item = &'a VerifyingKey;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<&'a VerifyingKey>, 2>>;

    fn into_iter(self) -> Self::IntoIter {
        [Some(self.first), self.second].into_iter().flatten()
    }
}

/// Why a document is no key set. A fetched one then leaves the last good set in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksError {
    /// Larger than [`MAX_DOCUMENT_BYTES`].
    TooLarge,
    /// Not strict JSON.
    Json(JsonError),
    /// Not a JSON object.
    NotAnObject,
    /// The object has no member `keys`.
    NoKeysMember,
    /// `keys` is not an array.
    KeysNotAnArray,
    /// None of the keys can be used, or there is none.
    NoUsableKey(Vec<SkippedKey>),
}

impl From<JsonError> for JwksError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl fmt::Display for JwksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "larger than {MAX_DOCUMENT_BYTES} bytes"),
            Self::Json(error) => write!(f, "not JSON: {error}"),
            Self::NotAnObject => f.write_str("not a JSON object"),
            Self::NoKeysMember => f.write_str("no member `keys`"),
            Self::KeysNotAnArray => f.write_str("`keys` is not an array"),
            Self::NoUsableKey(skipped) => match skipped.first() {
                None => f.write_str("`keys` is empty"),
                Some(first) => {
                    write!(f, "none of {} keys can be used; the first: {first}", skipped.len())
                }
            },
        }
    }
}

impl std::error::Error for JwksError {}

impl fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key_id {
            Some(key_id) => write!(f, "keys[{}] (kid {key_id:?}): {}", self.index, self.reason),
            None => write!(f, "keys[{}]: {}", self.index, self.reason),
        }
    }
}

fn usable_key(entry: &Value, algorithms: AlgorithmSet) -> Result<VerifyingKey, KeyError> {
    let key = VerifyingKey::from_jwk(entry)?;
    if key.algorithms().intersects(algorithms) {
        Ok(key)
    } else {
        Err(KeyError::AlgorithmNotAllowed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jwt::algorithm::Algorithm::{EdDsa, Es256, Es384, Ps256, Rs256};
    use crate::jwt::test_keys::{jwk, jwk_with};

    fn all() -> AlgorithmSet {
        Algorithm::ALL.into_iter().collect()
    }

    fn named(algorithm: Algorithm, key_id: &str) -> Value {
        jwk_with(algorithm, json!({"kid": key_id}))
    }

    fn parse(keys: Value, algorithms: AlgorithmSet) -> Result<ParsedJwks, JwksError> {
        Jwks::parse(json!({"keys": keys}).to_string().as_bytes(), algorithms)
    }

    #[test]
    fn a_document_without_a_usable_key_is_an_error() {
        let large = format!("{{\"keys\":[]}}{}", " ".repeat(MAX_DOCUMENT_BYTES));
        let syntax = |text: &str| JwksError::Json(json::parse(text.as_bytes()).unwrap_err());
        let html = "<html></html>";
        let twice = r#"{"keys":[],"keys":[]}"#;
        let rows: &[(&str, &str, JwksError)] = &[
            ("too large", &large, JwksError::TooLarge),
            ("empty", "", syntax("")),
            ("HTML", html, syntax(html)),
            ("truncated", r#"{"keys":[{"#, syntax(r#"{"keys":[{"#)),
            ("keys twice", twice, syntax(twice)),
            ("an array", "[]", JwksError::NotAnObject),
            ("null", "null", JwksError::NotAnObject),
            ("a lone key", r#"{"kty":"RSA"}"#, JwksError::NoKeysMember),
            ("keys null", r#"{"keys":null}"#, JwksError::KeysNotAnArray),
            ("keys an object", r#"{"keys":{}}"#, JwksError::KeysNotAnArray),
            ("no keys", r#"{"keys":[]}"#, JwksError::NoUsableKey(vec![])),
        ];
        for (name, text, error) in rows {
            assert_eq!(Jwks::parse(text.as_bytes(), all()).err().as_ref(), Some(error), "{name}");
            assert!(!error.to_string().is_empty(), "{name}");
        }
        let none = parse(json!([{"kty": "oct", "kid": "a"}, 1]), all()).unwrap_err();
        let sentence = "none of 2 keys can be used; the first: keys[0] (kid \"a\"): a symmetric \
                        key (`kty` is `oct`)";
        assert_eq!(none.to_string(), sentence);
        let rs256 = AlgorithmSet::from_iter([Rs256]);
        assert!(matches!(parse(json!([jwk(Es256)]), rs256), Err(JwksError::NoUsableKey(_))));
        assert!(parse(json!([jwk(Rs256)]), AlgorithmSet::default()).is_err());
    }

    #[test]
    fn a_document_of_the_largest_size_is_parsed() {
        let mut text = json!({"keys": [jwk(Es256)]}).to_string();
        text.push_str(&" ".repeat(MAX_DOCUMENT_BYTES.saturating_sub(text.len())));
        assert_eq!(text.len(), MAX_DOCUMENT_BYTES);
        assert!(Jwks::parse(text.as_bytes(), all()).is_ok());
        text.push(' ');
        assert_eq!(Jwks::parse(text.as_bytes(), all()).err(), Some(JwksError::TooLarge));
    }

    #[test]
    fn unusable_keys_are_skipped_one_by_one() {
        let keys = json!([
            jwk_with(Rs256, json!({"kid": "enc", "use": "enc"})),
            named(Rs256, "good"),
            {"kty": "oct", "k": "AAAA", "kid": "secret"},
            "text",
            jwk_with(Rs256, json!({"kid": "broken", "n": "!"})),
            named(Es256, "not allowed"),
            jwk_with(Rs256, json!({"kid": "other alg", "alg": "RS512"})),
            jwk(Rs256),
        ]);
        let parsed = parse(keys, AlgorithmSet::from_iter([Rs256, EdDsa])).unwrap();
        assert_eq!((parsed.jwks.len(), parsed.beyond_limit), (2, 0));
        let skipped: Vec<_> = parsed
            .skipped
            .iter()
            .map(|skipped| (skipped.index, skipped.key_id.as_deref(), skipped.reason))
            .collect();
        assert_eq!(
            skipped,
            [
                (0, Some("enc"), KeyError::NotForSignatures),
                (2, Some("secret"), KeyError::Symmetric),
                (3, None, KeyError::NotAnObject),
                (4, Some("broken"), KeyError::BadBase64Url("n")),
                (5, Some("not allowed"), KeyError::AlgorithmNotAllowed),
                (6, Some("other alg"), KeyError::AlgorithmNotAllowed),
            ]
        );
    }

    #[test]
    fn inline_keys_are_held_to_the_same_rules() {
        let document = json!({"keys": [jwk(Es256), {"kty": "oct"}], "other": 1});
        let parsed = Jwks::from_value(&document, all()).unwrap();
        assert_eq!((parsed.jwks.len(), parsed.skipped.len()), (1, 1));
        assert!(!parsed.jwks.is_empty());
        assert_eq!(Jwks::from_value(&json!([]), all()).err(), Some(JwksError::NotAnObject));
    }

    #[test]
    fn the_first_hundred_usable_keys_count() {
        let numbered = |count: usize| -> Vec<Value> {
            (0..count).map(|number| named(EdDsa, &number.to_string())).collect()
        };
        for (count, len, beyond) in [(99, 99, 0), (100, 100, 0), (101, 100, 1), (5000, 100, 4900)] {
            let parsed = parse(numbered(count).into(), all()).unwrap();
            assert_eq!((parsed.jwks.len(), parsed.beyond_limit), (len, beyond), "{count}");
            let last = len.saturating_sub(1).to_string();
            assert!(matches!(
                parsed.jwks.select(Some(&last), EdDsa, false),
                Selection::Candidates(_)
            ));
            let next = len.to_string();
            assert!(matches!(parsed.jwks.select(Some(&next), EdDsa, false), Selection::UnknownKey));
        }
        // Unusable keys take no place.
        let mut keys = vec![json!({"kty": "oct"}); 500];
        keys.extend(numbered(100));
        let parsed = parse(keys.into(), all()).unwrap();
        let found = (parsed.jwks.len(), parsed.skipped.len(), parsed.beyond_limit);
        assert_eq!(found, (100, 500, 0));
    }

    #[test]
    fn selection_is_by_key_id_then_by_what_fits() {
        use Found::{Keys, Unknown, WrongAlgorithm};
        type KeyId = Option<&'static str>;
        #[derive(Debug, PartialEq)]
        enum Found {
            Keys(usize),
            WrongAlgorithm,
            Unknown,
        }
        let es_rs = json!([named(Es256, "e"), named(Rs256, "r")]);
        let nameless = json!([jwk(Es256), jwk(Rs256)]);
        let twins = json!([named(Es256, "a"), named(Es256, "a"), named(Es256, "a")]);
        let same_name = json!([named(Es256, "a"), named(Rs256, "a")]);
        let mixed = json!([named(Es256, "a"), jwk(Es256), jwk(Rs256)]);
        let many = json!([jwk(Es256), jwk(Es256), jwk(Es256)]);
        let pinned = json!([jwk_with(Rs256, json!({"kid": "r", "alg": "RS256"}))]);
        let unallowed = json!([named(Es256, "e"), named(Es384, "n")]);
        let (a, e, r, x) = (Some("a"), Some("e"), Some("r"), Some("x"));
        // The token's kid and alg; what is found, and what is found under strict_key_id.
        #[rustfmt::skip]
        let rows: &[(&str, &Value, KeyId, Algorithm, Found, Found)] = &[
            ("by kid", &es_rs, e, Es256, Keys(1), Keys(1)),
            ("by kid, PS256 on any RSA key", &es_rs, r, Ps256, Keys(1), Keys(1)),
            ("kid of a key for another alg", &es_rs, e, Rs256, WrongAlgorithm, WrongAlgorithm),
            ("kid of a key with another alg", &pinned, r, Ps256, WrongAlgorithm, WrongAlgorithm),
            ("kid of a key of no allowed alg", &unallowed, Some("n"), Es256,
             WrongAlgorithm, WrongAlgorithm),
            ("unknown kid", &es_rs, x, Es256, Unknown, Unknown),
            ("kids are case-sensitive", &es_rs, Some("E"), Es256, Unknown, Unknown),
            ("empty kid", &es_rs, Some(""), Es256, Unknown, Unknown),
            ("no kid, one fits", &es_rs, None, Es256, Keys(1), Unknown),
            ("no kid, none fits", &es_rs, None, EdDsa, Unknown, Unknown),
            ("no kid, two fit", &mixed, None, Es256, Unknown, Unknown),
            ("no kid, one nameless fits", &mixed, None, Rs256, Keys(1), Unknown),
            ("unknown kid, a nameless key fits", &nameless, x, Es256, Keys(1), Unknown),
            ("unknown kid, no nameless key fits", &nameless, x, EdDsa, Unknown, Unknown),
            ("known kid beats nameless keys", &mixed, a, Es256, Keys(1), Keys(1)),
            ("known kid, only a nameless key fits", &mixed, a, Rs256,
             WrongAlgorithm, WrongAlgorithm),
            ("one kid, three keys", &twins, a, Es256, Keys(2), Unknown),
            ("one kid, two keys, one fits", &same_name, a, Rs256, Keys(1), Unknown),
            ("one kid, two keys, none fits", &same_name, a, EdDsa, WrongAlgorithm, Unknown),
            ("three nameless keys fit", &many, x, Es256, Keys(2), Unknown),
        ];
        for (name, keys, key_id, algorithm, found, found_strictly) in rows {
            let allowed = all().iter().filter(|one| *one != Es384).collect();
            let parsed = parse((*keys).clone(), allowed).unwrap();
            for (strict, expected) in [(false, found), (true, found_strictly)] {
                let selected = match parsed.jwks.select(*key_id, *algorithm, strict) {
                    Selection::Candidates(candidates) => {
                        for key in candidates {
                            assert!(key.algorithms().contains(*algorithm), "{name}");
                        }
                        Keys(candidates.into_iter().count())
                    }
                    Selection::WrongAlgorithm => WrongAlgorithm,
                    Selection::UnknownKey => Unknown,
                };
                assert_eq!(selected, *expected, "{name}, strict: {strict}");
                assert!(!matches!(selected, Keys(count) if count > MAX_CANDIDATES), "{name}");
            }
        }
    }
}
