//! Where a reason becomes an answer: status, challenge, body, response-code details.
//!
//! Shape, by who asks:
//! 1. gRPC: the body is the reason (Envoy makes it `grpc-message` and derives `grpc-status`).
//! 2. Everyone else: `application/problem+json` (RFC 9457) with the reason as a member.
//!
//! Every answer says `cache-control: no-store`; 401 and 403 carry a challenge (RFC 6750,
//! section 3); pages of `cors_origins` may read the answer (Fetch standard, CORS protocol).

use std::time::Duration;

use crate::authorize::Shortfall;
use crate::policy::ResponsePolicy;
use crate::provider::supertokens;
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
    pub vendor: Option<supertokens::Answers>,
}

impl Denial {
    /// The answer to `head`.
    pub fn new(cause: &Cause<'_>, head: &RequestHead<'_>, policy: &ResponsePolicy) -> Self {
        let Cause { reason, retry_after, shortfall: _, vendor: _ } = *cause;
        let Shape { status, title, error } = shape(reason);
        let mut headers: Vec<(&'static str, Vec<u8>)> = vec![("cache-control", b"no-store".into())];
        let body = if head.is_grpc() {
            reason.word().into()
        } else {
            headers.push(("content-type", b"application/problem+json".into()));
            // Nothing in it needs an escape.
            format!(
                r#"{{"type":"about:blank","title":"{title}","status":{status},"reason":"{reason}"}}"#
            )
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn head<'h>(method: &'h str, lines: &[(&'h str, &'h str)]) -> RequestHead<'h> {
        let lines = [(":method", method)].into_iter().chain(lines.iter().copied());
        RequestHead::new(
            lines.map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect(),
            false,
        )
    }

    fn denial(reason: Reason, head: &RequestHead<'_>, policy: &ResponsePolicy) -> Denial {
        caused(reason, Duration::ZERO, head, policy)
    }

    fn caused(
        reason: Reason,
        retry_after: Duration,
        head: &RequestHead<'_>,
        policy: &ResponsePolicy,
    ) -> Denial {
        Denial::new(&Cause { reason, retry_after, shortfall: None, vendor: None }, head, policy)
    }

    fn value(denial: &Denial, name: &str) -> Option<String> {
        let mut values = denial.headers.iter().filter(|(other, _)| *other == name);
        let value = values.next().map(|(_, value)| String::from_utf8(value.clone()).unwrap());
        assert!(values.next().is_none(), "{name} twice");
        value
    }

    /// Written out here a second time, from the table of `responses.md`.
    #[test]
    fn each_reason_has_its_answer() {
        const INVALID: &str = "Bearer error=\"invalid_token\", error_description=\"";
        const STALE: &str =
            "Bearer error=\"insufficient_user_authentication\", error_description=\"";
        const INSUFFICIENT: &str = "Bearer error=\"insufficient_scope\", error_description=\"";
        for reason in Reason::ALL {
            let (status, title, error) = match reason.word() {
                "missing" | "legacy_session" | "anti_csrf" => (401, "Unauthorized", Some("Bearer")),
                "stale_session" => (401, "Unauthorized", Some(STALE)),
                "insufficient_claims" => (403, "Forbidden", Some(INSUFFICIENT)),
                "malformed"
                | "algorithm_not_allowed"
                | "unknown_key"
                | "bad_signature"
                | "type_not_allowed"
                | "expired"
                | "not_yet_valid"
                | "issued_in_future"
                | "lifetime_too_long"
                | "no_expiry"
                | "issuer_empty"
                | "issuer_mismatch"
                | "audience_mismatch"
                | "not_a_session"
                | "multiple_credentials"
                | "conflicting_credentials"
                | "duplicate_cookie" => (401, "Unauthorized", Some(INVALID)),
                "denied_by_rule" | "cross_site" => (403, "Forbidden", Some("Bearer")),
                "keys_unavailable" | "overloaded" => (503, "Service Unavailable", None),
                "malformed_request" | "ambiguous_path" => (400, "Bad Request", None),
                "method_not_allowed" => (405, "Method Not Allowed", None),
                other => unreachable!("{other} is in no table"),
            };
            let denial = denial(reason, &head("GET", &[]), &ResponsePolicy::default());
            assert_eq!((denial.reason, denial.status), (reason, status), "{reason}");
            assert_eq!(denial.details, format!("session_token_denied{{{reason}}}"));
            let body: serde_json::Value = serde_json::from_slice(&denial.body).unwrap();
            let expected = serde_json::json!({
                "type": "about:blank", "title": title, "status": status, "reason": reason.word(),
            });
            assert_eq!(body, expected, "{reason}");
            assert_eq!(value(&denial, "cache-control").as_deref(), Some("no-store"));
            let content_type = value(&denial, "content-type");
            assert_eq!(content_type.as_deref(), Some("application/problem+json"));
            let challenge = value(&denial, "www-authenticate");
            match error {
                Some(start @ (INVALID | STALE | INSUFFICIENT)) => {
                    let challenge = challenge.unwrap();
                    assert!(challenge.starts_with(start) && challenge.ends_with('"'));
                    assert_eq!(challenge.matches('"').count(), 4, "{challenge}");
                }
                other => assert_eq!(challenge.as_deref(), other, "{reason}"),
            }
            assert_eq!(value(&denial, "retry-after").is_some(), status == 503, "{reason}");
            assert_eq!(value(&denial, "allow").is_some(), status == 405, "{reason}");
            assert_eq!(value(&denial, "vary"), None);
        }
        let words: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|r| r.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len(), "no word for two reasons");
    }

    #[test]
    fn heads_and_grpc_have_bodies_of_their_own() {
        let policy = ResponsePolicy::default();
        let to_head = denial(Reason::Expired, &head("HEAD", &[]), &policy);
        assert_eq!((to_head.status, to_head.body.len()), (401, 0));
        assert!(value(&to_head, "www-authenticate").is_some());
        let grpc = head("POST", &[("content-type", "application/grpc+proto")]);
        let to_grpc = denial(Reason::Expired, &grpc, &policy);
        assert_eq!(to_grpc.body, b"expired");
        assert_eq!(value(&to_grpc, "content-type"), None);
        let web = head("POST", &[("content-type", "application/grpc-web")]);
        assert!(value(&denial(Reason::Expired, &web, &policy), "content-type").is_some());
    }

    #[test]
    fn a_realm_is_a_quoted_string() {
        for (realm, reason, expected) in [
            ("example", Reason::Missing, r#"Bearer realm="example""#),
            (r#"a"b\c"#, Reason::Missing, r#"Bearer realm="a\"b\\c""#),
            ("", Reason::DeniedByRule, r#"Bearer realm="""#),
            (
                "x",
                Reason::Expired,
                concat!(
                    r#"Bearer realm="x", error="invalid_token", "#,
                    r#"error_description="The token has expired""#,
                ),
            ),
        ] {
            let policy = ResponsePolicy { realm: Some(realm.into()), ..Default::default() };
            let denial = denial(reason, &head("GET", &[]), &policy);
            assert_eq!(value(&denial, "www-authenticate").as_deref(), Some(expected));
        }
    }

    #[test]
    fn retry_after_is_rounded_up_to_a_second() {
        for (after, expected) in [
            (Duration::ZERO, "1"),
            (Duration::from_millis(1), "1"),
            (Duration::from_secs(1), "1"),
            (Duration::from_millis(1_001), "2"),
            (Duration::from_secs(60), "60"),
            (Duration::MAX, "18446744073709551615"),
        ] {
            let policy = ResponsePolicy::default();
            let denial = caused(Reason::KeysUnavailable, after, &head("GET", &[]), &policy);
            assert_eq!(value(&denial, "retry-after").as_deref(), Some(expected), "{after:?}");
        }
    }

    #[test]
    fn pages_of_allowed_origins_may_read_the_answer() {
        let origins = ["https://www.example.com", "https://*.example.org"];
        let cors_origins = origins.map(|origin| origin.parse().unwrap()).to_vec();
        let policy = ResponsePolicy { realm: None, cors_origins };
        let www = ("origin", "https://www.example.com");
        for (name, lines, expected) in [
            ("allowed", vec![www], Some("https://www.example.com")),
            (
                "by wildcard",
                vec![("origin", "https://a.example.org")],
                Some("https://a.example.org"),
            ),
            ("another", vec![("origin", "https://evil.example")], None),
            ("null", vec![("origin", "null")], None),
            ("absent", vec![], None),
            ("twice", vec![www, www], None),
            ("a line end", vec![("origin", "https://www.example.com\r\nx: y")], None),
        ] {
            let denial = denial(Reason::KeysUnavailable, &head("GET", &lines), &policy);
            let allowed = value(&denial, "access-control-allow-origin");
            assert_eq!(allowed.as_deref(), expected, "{name}");
            let credentials = value(&denial, "access-control-allow-credentials");
            assert_eq!(credentials.as_deref(), expected.map(|_| "true"), "{name}");
            assert_eq!(value(&denial, "vary").as_deref(), Some("origin"), "{name}");
        }
    }
}
