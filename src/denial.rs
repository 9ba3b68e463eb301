//! Where a reason becomes an answer: status, challenge, body, response-code details.
//!
//! Shape, by who asks, in order:
//! 1. gRPC: the body is the reason (Envoy makes it `grpc-message` and derives `grpc-status`).
//! 2. A person, who waits for a page and lacks a session that a login would bring: a redirect to
//!    the login page.
//! 3. A front end of a vendor that knows its own answers alone: those.
//! 4. Everyone else: `application/problem+json` (RFC 9457) with the reason as a member.
//!
//! Every answer says `cache-control: no-store`; 401 and 403 carry a challenge (RFC 6750,
//! section 3); pages of `cors_origins` may read the answer (Fetch standard, CORS protocol). None
//! sets a cookie.

use std::time::Duration;

use self::challenge::challenge;
use self::cors::cors;
use self::navigation::is_navigation;
use self::shape::{Shape, shape};
use crate::authorize::Shortfall;
use crate::policy::ResponsePolicy;
use crate::provider::supertokens::Answers;
use crate::reason::Reason;
use crate::request::RequestHead;

mod challenge;
mod cors;
mod navigation;
mod shape;
mod supertokens;

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

/// What an answer tells.
#[derive(Clone, Copy, Debug)]
pub struct Cause<'a> {
    /// Why the request is refused.
    pub reason: Reason,
    /// When to try again, where the answer is 503.
    pub retry_after: Duration,
    /// What of the rule's demands is not met.
    pub shortfall: Option<&'a Shortfall>,
    /// How the vendor's front end wants to be told, if the session is a vendor's that does.
    pub vendor: Option<Answers>,
}

impl Denial {
    /// The answer to `head`.
    // What goes on should not carry the code of what does not.
    #[cold]
    #[inline(never)]
    pub fn new(cause: &Cause<'_>, head: &RequestHead<'_>, policy: &ResponsePolicy) -> Self {
        let Cause { reason, retry_after, shortfall, vendor } = *cause;
        let Shape { status: plain_status, title, error } = shape(reason);
        let mut headers: Vec<(&'static str, Vec<u8>)> = vec![("cache-control", b"no-store".into())];
        let mut status = plain_status;
        let body = if head.is_grpc() {
            reason.word().into()
        } else if let Some(location) = login_location(reason, head, policy) {
            status = redirect_status(head);
            headers.push(("location", location));
            headers.push(("content-type", b"text/plain".into()));
            reason.word().into()
        } else if let Some(answers) = vendor {
            headers.push(("content-type", b"application/json".into()));
            let body;
            (status, body) = supertokens::answer(answers, reason, plain_status, shortfall);
            body
        } else {
            headers.push(("content-type", b"application/problem+json".into()));
            // Nothing in it needs an escape.
            format!(
                r#"{{"type":"about:blank","title":"{title}","status":{status},"reason":"{reason}"}}"#
            )
        };
        if matches!(status, 401 | 403) {
            headers.push(("www-authenticate", challenge(policy, error, shortfall)));
        }
        match plain_status {
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

/// The login page, for a person whom a login would help.
fn login_location(
    reason: Reason,
    head: &RequestHead<'_>,
    policy: &ResponsePolicy,
) -> Option<Vec<u8>> {
    let login = policy.login.as_ref()?;
    let helps = matches!(reason, Reason::Missing | Reason::Expired | Reason::StaleSession);
    if helps && is_navigation(head) { login.location(head) } else { None }
}

/// After 303 no browser sends the form again (RFC 9110, section 15.4.4).
fn redirect_status(head: &RequestHead<'_>) -> u16 {
    if matches!(head.method(), b"GET" | b"HEAD") { 302 } else { 303 }
}

/// Whole seconds, rounded up, at least one.
fn retry_seconds(after: Duration) -> String {
    let rounded_up = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
    rounded_up.max(1).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
