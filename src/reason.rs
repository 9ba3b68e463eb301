//! Why a request is refused: a closed list, public, and all that is ever told about a token.
//!
//! This module knows nothing about HTTP; `denial` turns a reason into an answer.

use std::fmt;

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No credential where one is required.
    Missing,
    /// No compact JWS with JSON objects inside, or too large.
    Malformed,
    /// `alg` is none of the provider's, or not the key's.
    AlgorithmNotAllowed,
    /// No key of the set is the token's.
    UnknownKey,
    /// The signature is not the key's.
    BadSignature,
    /// `typ` is none of the provider's.
    TypeNotAllowed,
    /// `exp` has passed.
    Expired,
    /// `nbf` has not come.
    NotYetValid,
    /// `iat` has not come.
    IssuedInFuture,
    /// `exp - iat` exceeds the provider's limit, or there is no `iat` to tell.
    LifetimeTooLong,
    /// There is no `exp`.
    NoExpiry,
    /// `iss` is empty or absent.
    IssuerEmpty,
    /// `iss` is none of the rule's providers.
    IssuerMismatch,
    /// `aud` names none of the provider's audiences.
    AudienceMismatch,
    /// A genuine token of the provider, but no session of a user.
    NotASession,
    /// The user logged in longer ago than the rule allows.
    StaleSession,
    /// Several credentials in one header.
    MultipleCredentials,
    /// Two sources carry different tokens.
    ConflictingCredentials,
    /// Several cookies of one name carry different tokens.
    DuplicateCookie,
    /// SuperTokens: the cookie of sessions that its SDKs gave up long ago.
    LegacySession,
    /// SuperTokens: its own proof against cross-site requests is missing or wrong.
    AntiCsrf,
    /// A page of another site sent the session's cookie.
    CrossSite,
    /// The token does not claim what the rule asks for.
    InsufficientClaims,
    /// A rule says that nobody may.
    DeniedByRule,
    /// There is no set of keys to verify with.
    KeysUnavailable,
    /// Too many tokens with bad signatures came that only the module itself can verify.
    Overloaded,
    /// The request has no path, method or host that rules could be compared with.
    MalformedRequest,
    /// Different servers would understand the path differently.
    AmbiguousPath,
    /// TRACE.
    MethodNotAllowed,
}

impl Reason {
    /// All of them, in the order of their metrics.
    pub const ALL: [Self; 29] = [
        Self::Missing,
        Self::Malformed,
        Self::AlgorithmNotAllowed,
        Self::UnknownKey,
        Self::BadSignature,
        Self::TypeNotAllowed,
        Self::Expired,
        Self::NotYetValid,
        Self::IssuedInFuture,
        Self::LifetimeTooLong,
        Self::NoExpiry,
        Self::IssuerEmpty,
        Self::IssuerMismatch,
        Self::AudienceMismatch,
        Self::NotASession,
        Self::StaleSession,
        Self::MultipleCredentials,
        Self::ConflictingCredentials,
        Self::DuplicateCookie,
        Self::LegacySession,
        Self::AntiCsrf,
        Self::CrossSite,
        Self::InsufficientClaims,
        Self::DeniedByRule,
        Self::KeysUnavailable,
        Self::Overloaded,
        Self::MalformedRequest,
        Self::AmbiguousPath,
        Self::MethodNotAllowed,
    ];

    /// The word for logs, metrics, answers and response-code details.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::TypeNotAllowed => "type_not_allowed",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::LifetimeTooLong => "lifetime_too_long",
            Self::NoExpiry => "no_expiry",
            Self::IssuerEmpty => "issuer_empty",
            Self::IssuerMismatch => "issuer_mismatch",
            Self::AudienceMismatch => "audience_mismatch",
            Self::NotASession => "not_a_session",
            Self::StaleSession => "stale_session",
            Self::MultipleCredentials => "multiple_credentials",
            Self::ConflictingCredentials => "conflicting_credentials",
            Self::DuplicateCookie => "duplicate_cookie",
            Self::LegacySession => "legacy_session",
            Self::AntiCsrf => "anti_csrf",
            Self::CrossSite => "cross_site",
            Self::InsufficientClaims => "insufficient_claims",
            Self::DeniedByRule => "denied_by_rule",
            Self::KeysUnavailable => "keys_unavailable",
            Self::Overloaded => "overloaded",
            Self::MalformedRequest => "malformed_request",
            Self::AmbiguousPath => "ambiguous_path",
            Self::MethodNotAllowed => "method_not_allowed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
