//! What a rule asks of a verified token beyond being valid.
//!
//! 1. `max_auth_age` comes first: the claim that tells when the user logged in is a NumericDate, no
//!    later than now and no longer ago than the limit, give or take the provider's clock skew.
//!    Without such a claim the login counts as too long ago.
//! 2. `require` is a tree of `all`, `any` and `not` over leaves, each about one claim. A claim that
//!    is missing or `null` makes every leaf false except `exists: false`.
//! 3. `contains` finds a member of an array, or a word of a text that spaces divide, as in `scope`.
//! 4. Values are equal as JSON values: texts byte for byte, numbers by what they amount to (`1` is
//!    `1.0`; the configuration may arrive with all numbers as doubles), objects whatever the order
//!    of their members. `1` is neither `"1"` nor `true`.
//!
//! Caveat: `not` is plain negation, so `not` over a claim that is missing holds: "not suspended" is
//! true of a user of whom nobody says so. Where the claim must be there, `exists: true` beside it
//! says so.
//!
//! This module knows nothing about HTTP; `denial` tells a client what is lacking.

use std::time::Duration;

use serde_json::{Number, Value};

use crate::jwt::token::numeric_date;
use crate::kept_claims::{KeptClaims, NamedClaim};
use crate::provider::ProviderId;
use crate::reason::Reason;
use crate::time::UnixTime;

/// Everything that a rule asks for beyond a valid token.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// `max_auth_age`
    pub max_auth_age: Option<MaxAuthAge>,
    /// `require`
    pub require: Option<Requirement>,
}

impl Demands {
    /// Whether the answer depends on the time.
    pub fn look_at_time(&self) -> bool {
        self.max_auth_age.is_some()
    }

    /// Holds the kept claims of a token of `provider` against them.
    ///
    /// # Errors
    /// What is lacking.
    pub fn check(
        &self,
        claims: &KeptClaims,
        provider: ProviderId,
        now: UnixTime,
        skew: Duration,
    ) -> Result<(), Shortfall> {
        if let Some(max_auth_age) = &self.max_auth_age {
            max_auth_age.check(claims, provider, now, skew)?;
        }
        match &self.require {
            Some(require) if !require.holds(claims) => Err(require.shortfall(claims)),
            Some(_) | None => Ok(()),
        }
    }
}

/// `max_auth_age`: how long ago the user may have logged in.
#[derive(Clone, Debug)]
pub struct MaxAuthAge {
    /// The limit.
    pub limit: Duration,
    /// For each provider of the rule, the claim that tells.
    pub claims: Vec<(ProviderId, NamedClaim)>,
}

impl MaxAuthAge {
    fn check(
        &self,
        claims: &KeptClaims,
        provider: ProviderId,
        now: UnixTime,
        skew: Duration,
    ) -> Result<(), Shortfall> {
        let claim = self.claims.iter().find(|(id, _)| *id == provider).map(|(_, claim)| claim);
        let date = claim.and_then(|claim| claims.value(claim));
        let date = date.and_then(|value| numeric_date(value).ok());
        let is_fresh = date.is_some_and(|date| {
            // Nobody logged in tomorrow: such a date tells nothing.
            date <= now.after(skew) && now.since(date) <= self.limit.saturating_add(skew)
        });
        if is_fresh {
            return Ok(());
        }
        let claim = claim.map(|claim| claim.name.clone()).unwrap_or_default();
        Err(Shortfall::AuthAge { max_age: self.limit, claim })
    }
}

/// `require`, or a part of it.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// Every one of these.
    All(Vec<Requirement>),
    /// One of these.
    Any(Vec<Requirement>),
    /// The opposite.
    Not(Box<Requirement>),
    /// Something about one claim.
    Claim(NamedClaim, ClaimTest),
}

impl Requirement {
    /// Whether it holds for these claims.
    pub fn holds(&self, claims: &KeptClaims) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(claims)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(claims)),
            Self::Not(part) => !part.holds(claims),
            Self::Claim(claim, test) => test.holds(claims.value(claim)),
        }
    }

    /// What is lacking, where it does not hold.
    fn shortfall(&self, claims: &KeptClaims) -> Shortfall {
        let mut failures = Vec::new();
        self.note_failures(claims, &mut failures);
        let mut words = Vec::new();
        self.note_scope(claims, &mut words);
        // They stand in quotes in a challenge (RFC 6749, section 3.3, allows no others).
        let is_scope = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        let is_whole = words.iter().all(|word| word.bytes().all(is_scope));
        let scope = (!words.is_empty() && is_whole).then(|| words.join(" ").into());
        Shortfall::Claims { scope, failures }
    }

    /// The leaves that fail; none below `not`, where nothing is expected that could be named.
    fn note_failures(&self, claims: &KeptClaims, failures: &mut Vec<ClaimFailure>) {
        if self.holds(claims) {
            return;
        }
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().for_each(|part| part.note_failures(claims, failures));
            }
            Self::Not(_) => {}
            Self::Claim(claim, test) => {
                if let Some(expected) = test.expected() {
                    let actual = claims.value(claim).cloned();
                    failures.push(ClaimFailure { claim: claim.name.clone(), expected, actual });
                }
            }
        }
    }

    /// Words of `scope` with which it could hold: of alternatives, the first that names some.
    fn note_scope<'a>(&'a self, claims: &KeptClaims, words: &mut Vec<&'a str>) {
        if self.holds(claims) {
            return;
        }
        match self {
            Self::All(parts) => parts.iter().for_each(|part| part.note_scope(claims, words)),
            Self::Any(parts) => {
                let before = words.len();
                for part in parts {
                    part.note_scope(claims, words);
                    if words.len() > before {
                        break;
                    }
                }
            }
            Self::Claim(claim, test) if claim.is_scope => {
                for word in test.words() {
                    if !words.contains(&word) {
                        words.push(word);
                    }
                }
            }
            Self::Not(_) | Self::Claim(..) => {}
        }
    }
}

/// What a claim must be.
#[derive(Clone, Debug)]
pub enum ClaimTest {
    /// This value.
    Equals(Value),
    /// One of these.
    OneOf(Vec<Value>),
    /// An array with this member, or a text with this word.
    Contains(Value),
    /// The same with all of these.
    ContainsAll(Vec<Value>),
    /// There, or not there.
    Exists(bool),
}

impl ClaimTest {
    fn holds(&self, claim: Option<&Value>) -> bool {
        match self {
            Self::Exists(expected) => claim.is_some() == *expected,
            Self::Equals(value) => claim.is_some_and(|claim| same(claim, value)),
            Self::OneOf(values) => {
                claim.is_some_and(|claim| values.iter().any(|value| same(claim, value)))
            }
            Self::Contains(needle) => claim.is_some_and(|claim| contains(claim, needle)),
            Self::ContainsAll(needles) => {
                claim.is_some_and(|claim| needles.iter().all(|needle| contains(claim, needle)))
            }
        }
    }

    /// What an answer tells; mere existence has no value that could be told.
    fn expected(&self) -> Option<Expected> {
        match self {
            Self::Equals(value) => Some(Expected::Value(value.clone())),
            Self::OneOf(values) => Some(Expected::Value(Value::Array(values.clone()))),
            Self::Contains(needle) => Some(Expected::Member(needle.clone())),
            Self::ContainsAll(needles) => Some(Expected::Member(Value::Array(needles.clone()))),
            Self::Exists(_) => None,
        }
    }

    /// The words that would do in a text; of alternatives, the first one's.
    fn words(&self) -> impl Iterator<Item = &str> {
        let values = match self {
            Self::Equals(value) | Self::Contains(value) => std::slice::from_ref(value),
            Self::OneOf(values) => values.get(..1).unwrap_or_default(),
            Self::ContainsAll(needles) => needles,
            Self::Exists(_) => &[],
        };
        let texts = values.iter().filter_map(Value::as_str);
        texts.flat_map(|text| text.split(' ')).filter(|word| !word.is_empty())
    }
}

/// What a verified token lacks of a rule's demands.
#[derive(Clone, Debug, PartialEq)]
pub enum Shortfall {
    /// `require` does not hold.
    Claims {
        /// The words of `scope` that would do, if the failing demand is about `scope`.
        scope: Option<Box<str>>,
        /// The demands that failed, in the rule's order.
        failures: Vec<ClaimFailure>,
    },
    /// `max_auth_age` is exceeded, or nobody can tell.
    AuthAge {
        /// The rule's limit.
        max_age: Duration,
        /// The claim that should have told when the user logged in.
        claim: Box<str>,
    },
}

/// One demand that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimFailure {
    /// The first name on the claim's path, by which SuperTokens' front end knows it.
    pub claim: Box<str>,
    /// What was asked for.
    pub expected: Expected,
    /// What the token says; nothing if it has no such claim.
    pub actual: Option<Value>,
}

/// What a demand asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// This value, or one of a list of values.
    Value(Value),
    /// This member, or all of a list of members.
    Member(Value),
}

impl Shortfall {
    /// The reason of the refusal that follows from it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::AuthAge { .. } => Reason::StaleSession,
            Self::Claims { .. } => Reason::InsufficientClaims,
        }
    }
}

/// Whether an array has this member, or a text this word.
fn contains(claim: &Value, needle: &Value) -> bool {
    match claim {
        Value::Array(members) => members.iter().any(|member| same(member, needle)),
        Value::String(text) => {
            needle.as_str().is_some_and(|needle| text.split(' ').any(|word| word == needle))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

/// Whether two JSON values are equal, numbers by what they amount to.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => same_number(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::String(one), Value::String(other)) => one == other,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Null, Value::Null) => true,
        _ => false,
    }
}

fn same_number(one: &Number, other: &Number) -> bool {
    if one.is_f64() == other.is_f64() {
        return one == other;
    }
    // A whole number and a double: beyond this bound a double stands for several whole numbers.
    let is_exact = |number: f64| number.abs() < FIRST_INEXACT;
    matches!((one.as_f64(), other.as_f64()), (Some(one), Some(other)) if one == other && is_exact(one))
}

/// 2^53
const FIRST_INEXACT: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
