//! What a reason fixes whoever asks: status, title, error code.

use crate::reason::Reason;

/// What a reason fixes whoever asks.
pub(super) struct Shape {
    pub(super) status: u16,
    pub(super) title: &'static str,
    /// Error code and description of RFC 6750, section 3.
    pub(super) error: Option<(&'static str, &'static str)>,
}

/// The one table from a reason to its answer.
pub(super) fn shape(reason: Reason) -> Shape {
    let invalid_token = |description| Shape {
        status: 401,
        title: "Unauthorized",
        error: Some(("invalid_token", description)),
    };
    let plain = |status, title| Shape { status, title, error: None };
    match reason {
        Reason::Missing => plain(401, "Unauthorized"),
        Reason::Malformed => invalid_token("The token is malformed"),
        Reason::AlgorithmNotAllowed => invalid_token("The token's algorithm is not allowed"),
        Reason::UnknownKey => invalid_token("The token's key is unknown"),
        Reason::BadSignature => invalid_token("The token's signature is wrong"),
        Reason::TypeNotAllowed => invalid_token("The token's type is not allowed"),
        Reason::Expired => invalid_token("The token has expired"),
        Reason::NotYetValid => invalid_token("The token is not valid yet"),
        Reason::IssuedInFuture => invalid_token("The token was issued in the future"),
        Reason::LifetimeTooLong => invalid_token("The token lives too long"),
        Reason::NoExpiry => invalid_token("The token does not expire"),
        Reason::IssuerEmpty => invalid_token("The token has no issuer"),
        Reason::IssuerMismatch => invalid_token("The token's issuer is not trusted here"),
        Reason::AudienceMismatch => invalid_token("The token is for another audience"),
        Reason::NotASession => invalid_token("The token is not a session"),
        Reason::StaleSession => Shape {
            status: 401,
            title: "Unauthorized",
            error: Some(("insufficient_user_authentication", "The last login is too long ago")),
        },
        Reason::MultipleCredentials => invalid_token("There are several credentials"),
        Reason::ConflictingCredentials => invalid_token("Two credentials differ"),
        Reason::DuplicateCookie => invalid_token("Two session cookies differ"),
        Reason::LegacySession | Reason::AntiCsrf => plain(401, "Unauthorized"),
        Reason::InsufficientClaims => Shape {
            status: 403,
            title: "Forbidden",
            error: Some(("insufficient_scope", "The token's claims do not suffice")),
        },
        Reason::CrossSite | Reason::DeniedByRule => plain(403, "Forbidden"),
        Reason::KeysUnavailable | Reason::Overloaded => plain(503, "Service Unavailable"),
        Reason::MalformedRequest | Reason::AmbiguousPath => plain(400, "Bad Request"),
        Reason::MethodNotAllowed => plain(405, "Method Not Allowed"),
    }
}
