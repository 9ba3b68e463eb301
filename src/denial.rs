//! Where a reason becomes an answer: status, challenge, body, response-code details.
//!
//! Shape, by who asks:
//! 1. gRPC: the body is the reason (Envoy makes it `grpc-message` and derives `grpc-status`).
//! 2. Everyone else: `application/problem+json` (RFC 9457) with the reason as a member.
//!
//! Every answer says `cache-control: no-store`; 401 and 403 carry a challenge (RFC 6750,
//! section 3); pages of `cors_origins` may read the answer (Fetch standard, CORS protocol).

use std::time::Duration;

use serde_json::json;

use crate::policy::ResponsePolicy;
use crate::reason::Reason;
use crate::request::RequestHead;

/// An answer of the filter's own, for the adapter to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// HTTP status.
    pub status: u16,
    /// Header fields, in order.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// The body; empty for HEAD.
    pub body: Vec<u8>,
    /// `%RESPONSE_CODE_DETAILS%`
    pub details: String,
}

impl Denial {
    /// The answer to `head`; `retry_after` is told where the answer is 503.
    pub fn new(
        reason: Reason,
        retry_after: Duration,
        head: &RequestHead<'_>,
        policy: &ResponsePolicy,
    ) -> Self {
        let Shape { status, title, error } = shape(reason);
        let mut headers: Vec<(&'static str, Vec<u8>)> = vec![("cache-control", b"no-store".into())];
        let body = if head.is_grpc() {
            reason.word().into()
        } else {
            headers.push(("content-type", b"application/problem+json".into()));
            let (reason, kind) = (reason.word(), "about:blank");
            json!({"type": kind, "title": title, "status": status, "reason": reason}).to_string()
        };
        if matches!(status, 401 | 403) {
            headers.push(("www-authenticate", challenge(policy, error).into_bytes()));
        }
        match status {
            // RFC 9110, section 15.5.6, wants the methods that would do.
            405 => headers.push(("allow", b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT".into())),
            503 => headers.push(("retry-after", retry_seconds(retry_after).into_bytes())),
            _ => {}
        }
        headers.extend(cors(head, policy));
        Self {
            reason,
            status,
            headers,
            body: if head.is_head() { Vec::new() } else { body.into_bytes() },
            details: format!("session_token_denied{{{reason}}}"),
        }
    }
}

/// What a reason fixes whoever asks.
struct Shape {
    status: u16,
    title: &'static str,
    /// Error code and description of RFC 6750, section 3.
    error: Option<(&'static str, &'static str)>,
}

/// The one table from a reason to its answer.
fn shape(reason: Reason) -> Shape {
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
        Reason::MultipleCredentials => invalid_token("There are several credentials"),
        Reason::ConflictingCredentials => invalid_token("Two credentials differ"),
        Reason::DuplicateCookie => invalid_token("Two session cookies differ"),
        Reason::DeniedByRule => plain(403, "Forbidden"),
        Reason::KeysUnavailable | Reason::Overloaded => plain(503, "Service Unavailable"),
        Reason::MalformedRequest | Reason::AmbiguousPath => plain(400, "Bad Request"),
        Reason::MethodNotAllowed => plain(405, "Method Not Allowed"),
    }
}

fn challenge(policy: &ResponsePolicy, error: Option<(&str, &str)>) -> String {
    let realm = policy.realm.as_ref().map(|realm| format!("realm=\"{}\"", quoted(realm)));
    let error = error.map(|(code, text)| format!("error=\"{code}\", error_description=\"{text}\""));
    let parameters: Vec<_> = [realm, error].into_iter().flatten().collect();
    match parameters.as_slice() {
        [] => "Bearer".into(),
        parameters => format!("Bearer {}", parameters.join(", ")),
    }
}

/// The inside of a quoted-string (RFC 9110, section 5.6.4).
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Whole seconds, rounded up, at least one.
fn retry_seconds(after: Duration) -> String {
    let rounded_up = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
    rounded_up.max(1).to_string()
}

/// The fields that let a page of another origin read the answer.
fn cors(head: &RequestHead<'_>, policy: &ResponsePolicy) -> Vec<(&'static str, Vec<u8>)> {
    if policy.cors_origins.is_empty() {
        return Vec::new();
    }
    let mut fields = vec![("vary", b"origin".to_vec())];
    let mut origins = head.values(b"origin");
    if let (Some(origin), None) = (origins.next(), origins.next())
        && policy.cors_origins.iter().any(|allowed| allowed.matches(origin))
    {
        fields.push(("access-control-allow-origin", origin.to_vec()));
        fields.push(("access-control-allow-credentials", b"true".to_vec()));
    }
    fields
}
