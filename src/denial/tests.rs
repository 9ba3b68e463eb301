//! Answers as tables: by reason, and by who asks.

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
    const STALE: &str = "Bearer error=\"insufficient_user_authentication\", error_description=\"";
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
        ("by wildcard", vec![("origin", "https://a.example.org")], Some("https://a.example.org")),
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
