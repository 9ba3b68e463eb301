//! Answers that SuperTokens' front-end SDK understands, byte for byte those of its back-end SDKs.
//!
//! The front end goes by the status alone: `session_expired_status` makes it refresh and try again,
//! up to ten times. So nothing that a refresh can't cure has that status: neither claims nor keys.
//!
//! Two things differ from the vendor's own answers. A claim's value that would make the body longer
//! than 4 KiB is left out, since it comes from the token. And `max_auth_age` tells no
//! `ageInSeconds`: a client has no use for it, and would get other bytes every second.

use serde_json::Value;

use crate::authorize::{ClaimFailure, Expected, Shortfall};
use crate::provider::supertokens::Answers;
use crate::reason::Reason;

/// Status and body of the answer to `reason`, which has `status` for everybody else.
pub(super) fn answer(
    answers: Answers,
    reason: Reason,
    status: u16,
    shortfall: Option<&Shortfall>,
) -> (u16, String) {
    let Answers { session_expired_status, invalid_claim_status } = answers;
    match reason {
        // To the vendor's SDKs what has not the form of a session is no token at all.
        Reason::Missing
        | Reason::Malformed
        | Reason::TypeNotAllowed
        | Reason::IssuerEmpty
        | Reason::IssuerMismatch
        | Reason::NotASession => (session_expired_status, message("unauthorised")),
        Reason::AlgorithmNotAllowed
        | Reason::UnknownKey
        | Reason::BadSignature
        | Reason::Expired
        | Reason::NotYetValid
        | Reason::IssuedInFuture
        | Reason::LifetimeTooLong
        | Reason::NoExpiry
        | Reason::AudienceMismatch
        | Reason::MultipleCredentials
        | Reason::ConflictingCredentials
        | Reason::DuplicateCookie
        | Reason::LegacySession
        | Reason::AntiCsrf => (session_expired_status, message("try refresh token")),
        Reason::StaleSession | Reason::InsufficientClaims => {
            (invalid_claim_status, invalid_claim(shortfall))
        }
        Reason::KeysUnavailable | Reason::Overloaded => {
            (status, message("session verification unavailable"))
        }
        Reason::CrossSite
        | Reason::DeniedByRule
        | Reason::MalformedRequest
        | Reason::AmbiguousPath
        | Reason::MethodNotAllowed => (status, message(reason.word())),
    }
}

/// `text` needs no escape.
fn message(text: &str) -> String {
    format!(r#"{{"message":"{text}"}}"#)
}

fn invalid_claim(shortfall: Option<&Shortfall>) -> String {
    let mut body = String::from(r#"{"message":"invalid claim","claimValidationErrors":["#);
    match shortfall {
        Some(Shortfall::Claims { failures, scope: _ }) => {
            for (index, failure) in failures.iter().enumerate() {
                if index > 0 {
                    body.push(',');
                }
                push_failure(&mut body, failure);
            }
        }
        Some(Shortfall::AuthAge { max_age, claim }) => {
            push_start(&mut body, claim, "expired");
            body.push_str(r#""maxAgeInSeconds":"#);
            body.push_str(&max_age.as_secs().to_string());
            body.push_str("}}");
        }
        None => {}
    }
    body.push_str("]}");
    body
}

fn push_failure(body: &mut String, failure: &ClaimFailure) {
    let ClaimFailure { claim, expected, actual } = failure;
    let message = if actual.is_some() { "wrong value" } else { "value does not exist" };
    push_start(body, claim, message);
    let (name, expected) = match expected {
        Expected::Value(value) => (r#""expectedValue":"#, value),
        Expected::Member(value) => (r#""expectedToInclude":"#, value),
    };
    body.push_str(name);
    body.push_str(&expected.to_string());
    if let Some(actual) = actual {
        let actual = actual.to_string();
        if actual.len() <= MAX_BODY_BYTES.saturating_sub(body.len()) {
            body.push_str(r#","actualValue":"#);
            body.push_str(&actual);
        }
    }
    body.push_str("}}");
}

fn push_start(body: &mut String, claim: &str, message: &str) {
    let claim = Value::from(claim).to_string();
    for part in [r#"{"id":"#, &claim, r#","reason":{"message":""#, message, r#"","#] {
        body.push_str(part);
    }
}

/// Claims' values of no more than this are told: a token may hold 32 KiB.
const MAX_BODY_BYTES: usize = 4 << 10;
