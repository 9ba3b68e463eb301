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
use crate::jwt::key::{KeyError, KeyFingerprint, VerifyingKey};

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
    fingerprints: Vec<KeyFingerprint>,
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
                    skipped.push(SkippedKey {
                        index,
                        key_id,
                        reason,
                    });
                }
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey(skipped));
        }
        let fingerprints = keys.iter().map(VerifyingKey::fingerprint).collect();
        let disallowed_key_ids = skipped
            .iter()
            .filter(|skipped| skipped.reason == KeyError::AlgorithmNotAllowed)
            .filter_map(|skipped| skipped.key_id.clone())
            .take(MAX_KEYS)
            .collect();
        let jwks = Self {
            keys,
            fingerprints,
            disallowed_key_ids,
        };
        Ok(ParsedJwks {
            jwks,
            skipped,
            beyond_limit: entries.len(),
        })
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
            if self
                .disallowed_key_ids
                .iter()
                .any(|disallowed| disallowed == key_id)
            {
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

    /// Whether a key of this material is in the set, under whatever name.
    #[must_use]
    pub fn contains_fingerprint(&self, fingerprint: KeyFingerprint) -> bool {
        self.fingerprints.contains(&fingerprint)
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
        Self::Candidates(Candidates {
            first: key,
            second: None,
        })
    }

    fn first_of(mut keys: impl Iterator<Item = &'a VerifyingKey>) -> Option<Self> {
        let first = keys.next()?;
        Some(Self::Candidates(Candidates {
            first,
            second: keys.next(),
        }))
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
                    write!(
                        f,
                        "none of {} keys can be used; the first: {first}",
                        skipped.len()
                    )
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
