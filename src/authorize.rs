//! What a rule asks of a verified token beyond being valid.
//!
//! This module knows nothing about HTTP; `denial` tells a client what is lacking.

use std::time::Duration;

use serde_json::Value;

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
