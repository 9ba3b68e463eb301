//! Answers as tables: by reason, and by who asks.

use serde_json::{Value, json};

use super::*;
use crate::authorize::{ClaimFailure, Expected};
use crate::config;

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

fn for_vendor(
    reason: Reason,
    shortfall: Option<&Shortfall>,
    head: &RequestHead<'_>,
    policy: &ResponsePolicy,
) -> Denial {
    let vendor = Some(Answers { session_expired_status: 401, invalid_claim_status: 403 });
    let retry_after = Duration::from_secs(7);
    Denial::new(&Cause { reason, retry_after, shortfall, vendor }, head, policy)
}

fn lacking(scope: Option<&str>, failures: Vec<ClaimFailure>) -> Shortfall {
    Shortfall::Claims { scope: scope.map(Box::from), failures }
}

fn failure(claim: &str, expected: Expected, actual: Option<Value>) -> ClaimFailure {
    ClaimFailure { claim: claim.into(), expected, actual }
}

fn too_old(max_age: Duration) -> Shortfall {
    Shortfall::AuthAge { max_age, claim: "auth_time".into() }
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
    let policy = ResponsePolicy { cors_origins, ..Default::default() };
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

#[test]
fn a_challenge_says_what_is_lacking() {
    let scopes = |scope| lacking(Some(scope), Vec::new());
    let insufficient = "Bearer error=\"insufficient_scope\", error_description=\"The token's claims do not suffice\"";
    let stale = "Bearer error=\"insufficient_user_authentication\", \
                 error_description=\"The last login is too long ago\"";
    for (name, reason, shortfall, start, rest) in [
        ("unknown", Reason::InsufficientClaims, None, insufficient, ""),
        ("no scope", Reason::InsufficientClaims, Some(lacking(None, vec![])), insufficient, ""),
        ("one", Reason::InsufficientClaims, Some(scopes("read")), insufficient, {
            ", scope=\"read\""
        }),
        ("two", Reason::InsufficientClaims, Some(scopes("read a:b")), insufficient, {
            ", scope=\"read a:b\""
        }),
        ("quoted", Reason::InsufficientClaims, Some(scopes("a\"b\\c")), insufficient, {
            ", scope=\"a\\\"b\\\\c\""
        }),
        ("a line end", Reason::InsufficientClaims, Some(scopes("a\r\nb")), insufficient, ""),
        ("beyond ASCII", Reason::InsufficientClaims, Some(scopes("\u{e4}")), insufficient, ""),
        ("nobody knows", Reason::StaleSession, None, stale, ""),
        ("an hour", Reason::StaleSession, Some(too_old(Duration::from_secs(3_600))), stale, {
            ", max_age=\"3600\""
        }),
        ("a part", Reason::StaleSession, Some(too_old(Duration::from_millis(1_500))), stale, {
            ", max_age=\"1\""
        }),
    ] {
        let shortfall = shortfall.as_ref();
        let cause = Cause { reason, retry_after: Duration::ZERO, shortfall, vendor: None };
        let denial = Denial::new(&cause, &head("GET", &[]), &ResponsePolicy::default());
        let challenge = value(&denial, "www-authenticate");
        assert_eq!(challenge, Some(format!("{start}{rest}")), "{name}");
    }
}

/// Written out a second time, from the table of `sessions.md`.
#[test]
fn each_reason_has_its_answer_for_supertokens() {
    const UNAUTHORISED: &str = r#"{"message":"unauthorised"}"#;
    const TRY_REFRESH: &str = r#"{"message":"try refresh token"}"#;
    const INVALID_CLAIM: &str = r#"{"message":"invalid claim","claimValidationErrors":[]}"#;
    const UNAVAILABLE: &str = r#"{"message":"session verification unavailable"}"#;
    for reason in Reason::ALL {
        let (status, body) = match reason.word() {
            "missing" | "malformed" | "type_not_allowed" | "issuer_empty" | "issuer_mismatch"
            | "not_a_session" => (401, UNAUTHORISED),
            "algorithm_not_allowed"
            | "unknown_key"
            | "bad_signature"
            | "expired"
            | "not_yet_valid"
            | "issued_in_future"
            | "lifetime_too_long"
            | "no_expiry"
            | "audience_mismatch"
            | "multiple_credentials"
            | "conflicting_credentials"
            | "duplicate_cookie"
            | "legacy_session"
            | "anti_csrf" => (401, TRY_REFRESH),
            "stale_session" | "insufficient_claims" => (403, INVALID_CLAIM),
            "cross_site" => (403, r#"{"message":"cross_site"}"#),
            "denied_by_rule" => (403, r#"{"message":"denied_by_rule"}"#),
            "malformed_request" => (400, r#"{"message":"malformed_request"}"#),
            "ambiguous_path" => (400, r#"{"message":"ambiguous_path"}"#),
            "method_not_allowed" => (405, r#"{"message":"method_not_allowed"}"#),
            "keys_unavailable" | "overloaded" => (503, UNAVAILABLE),
            other => unreachable!("{other} is in no table"),
        };
        let policy = ResponsePolicy::default();
        let denial = for_vendor(reason, None, &head("GET", &[]), &policy);
        assert_eq!(denial.status, status, "{reason}");
        assert_eq!(String::from_utf8(denial.body.clone()).unwrap(), body, "{reason}");
        assert_eq!(denial.details, format!("session_token_denied{{{reason}}}"));
        assert_eq!(value(&denial, "content-type").as_deref(), Some("application/json"));
        assert_eq!(value(&denial, "cache-control").as_deref(), Some("no-store"));
        let (challenged, retried) = (matches!(status, 401 | 403), status == 503);
        assert_eq!(value(&denial, "www-authenticate").is_some(), challenged, "{reason}");
        assert_eq!(value(&denial, "retry-after").as_deref(), retried.then_some("7"), "{reason}");
        assert_eq!(value(&denial, "allow").is_some(), status == 405, "{reason}");
        for never in ["front-token", "set-cookie", "st-access-token", "anti-csrf", "location"] {
            assert_eq!(value(&denial, never), None, "{reason}: {never}");
        }

        let to_head = for_vendor(reason, None, &head("HEAD", &[]), &policy);
        assert_eq!((to_head.status, to_head.body.len()), (status, 0), "{reason}");
        let grpc = head("POST", &[("content-type", "application/grpc")]);
        let (to_grpc, everybodys) = (
            for_vendor(reason, None, &grpc, &policy),
            caused(reason, Duration::ZERO, &grpc, &policy),
        );
        assert_eq!((to_grpc.status, to_grpc.body), (everybodys.status, everybodys.body));
    }
}

#[test]
fn supertokens_is_told_which_claims_fail() {
    let value_of = |value| Expected::Value(value);
    let nested = json!({"v": ["\u{e9}\u{1f600}\"\\\n\u{1}/"], "t": 1_700_000_000_000_u64});
    let huge = json!("x".repeat(MAX_VALUE));
    for (name, shortfall, errors) in [
        ("no failure named", lacking(None, vec![]), String::new()),
        (
            "a wrong value",
            lacking(None, vec![failure("st-ev", value_of(json!(true)), Some(json!(false)))]),
            r#"{"id":"st-ev","reason":{"message":"wrong value","expectedValue":true,"actualValue":false}}"#
                .into(),
        ),
        (
            "a missing claim",
            lacking(None, vec![failure("st-ev", value_of(json!(true)), None)]),
            r#"{"id":"st-ev","reason":{"message":"value does not exist","expectedValue":true}}"#
                .into(),
        ),
        (
            "a missing member",
            lacking(
                None,
                vec![failure("st-role", Expected::Member(json!("admin")), Some(json!(["user"])))],
            ),
            r#"{"id":"st-role","reason":{"message":"wrong value","expectedToInclude":"admin","actualValue":["user"]}}"#
                .into(),
        ),
        (
            "members of a missing claim",
            lacking(None, vec![failure("st-role", Expected::Member(json!(["a", "b"])), None)]),
            r#"{"id":"st-role","reason":{"message":"value does not exist","expectedToInclude":["a","b"]}}"#
                .into(),
        ),
        (
            "several",
            lacking(
                Some("read"),
                vec![
                    failure("a", value_of(json!(["x", 1, 1.5])), Some(json!(2))),
                    failure("b", value_of(json!(null)), None),
                ],
            ),
            concat!(
                r#"{"id":"a","reason":{"message":"wrong value","expectedValue":["x",1,1.5],"actualValue":2}},"#,
                r#"{"id":"b","reason":{"message":"value does not exist","expectedValue":null}}"#,
            )
            .into(),
        ),
        (
            "escapes",
            lacking(None, vec![failure("a\"\\\n", value_of(json!("\"</")), Some(nested))]),
            concat!(
                r#"{"id":"a\"\\\n","reason":{"message":"wrong value","expectedValue":"\"</","#,
                r#""actualValue":{"t":1700000000000,"v":["\u{e9}\u{1f600}\"\\\n\u0001/"]}}}"#,
            )
            .replace("\\u{e9}\\u{1f600}", "\u{e9}\u{1f600}"),
        ),
        (
            "a huge value",
            lacking(
                None,
                vec![
                    failure("a", value_of(json!(1)), Some(huge)),
                    failure("b", value_of(json!(1)), Some(json!(2))),
                ],
            ),
            concat!(
                r#"{"id":"a","reason":{"message":"wrong value","expectedValue":1}},"#,
                r#"{"id":"b","reason":{"message":"wrong value","expectedValue":1,"actualValue":2}}"#,
            )
            .into(),
        ),
        (
            "an old login",
            too_old(Duration::from_secs(900)),
            r#"{"id":"auth_time","reason":{"message":"expired","maxAgeInSeconds":900}}"#.into(),
        ),
    ] {
        let reason = Reason::InsufficientClaims;
        let policy = ResponsePolicy::default();
        let denial = for_vendor(reason, Some(&shortfall), &head("GET", &[]), &policy);
        let body = String::from_utf8(denial.body).unwrap();
        let expected =
            format!(r#"{{"message":"invalid claim","claimValidationErrors":[{errors}]}}"#);
        assert_eq!((denial.status, &body), (403, &expected), "{name}");
        serde_json::from_str::<Value>(&body).unwrap();
    }
    // What fits, with what stands before it, is told.
    let fits = |length: usize| {
        let value = json!("x".repeat(length));
        let failures = vec![failure("a", value_of(json!(1)), Some(value))];
        let shortfall = lacking(None, failures);
        let head = head("GET", &[]);
        let policy = ResponsePolicy::default();
        let denial = for_vendor(Reason::InsufficientClaims, Some(&shortfall), &head, &policy);
        String::from_utf8(denial.body).unwrap().contains("actualValue")
    };
    assert!(fits(3_900) && !fits(4_000));
}

#[test]
fn supertokens_statuses_are_the_operators() {
    let vendor = Some(Answers { session_expired_status: 440, invalid_claim_status: 418 });
    for (reason, status) in [
        (Reason::Missing, 440),
        (Reason::Expired, 440),
        (Reason::InsufficientClaims, 418),
        (Reason::StaleSession, 418),
        (Reason::DeniedByRule, 403),
        (Reason::KeysUnavailable, 503),
    ] {
        let cause = Cause { reason, retry_after: Duration::ZERO, shortfall: None, vendor };
        let denial = Denial::new(&cause, &head("GET", &[]), &ResponsePolicy::default());
        assert_eq!(denial.status, status, "{reason}");
        assert_eq!(value(&denial, "www-authenticate").is_some(), status == 403, "{reason}");
        let grpc = head("POST", &[("content-type", "application/grpc")]);
        let to_grpc = Denial::new(&cause, &grpc, &ResponsePolicy::default());
        assert_eq!(
            to_grpc.status,
            caused(reason, Duration::ZERO, &grpc, &ResponsePolicy::default()).status
        );
    }
}

#[test]
fn people_are_sent_to_the_login_page() {
    let configuration = json!({
        "providers": [{
            "name": "p", "issuers": ["https://id.example"],
            "jwks": { "remote": { "uri": "https://id.example/keys", "cluster": "keys" } },
        }],
        "responses": {
            "login_url": "https://www.example.com/login?to={url}",
            "cors_origins": ["https://www.example.com"],
        },
    });
    let policy = config::load(configuration.to_string().as_bytes()).unwrap().policy.responses;
    let to_home = "https://www.example.com/login?to=https%3A%2F%2Fwww.example.com%2F";
    let navigate = ("sec-fetch-mode", "navigate");
    let start = [(":path", "/"), (":authority", "www.example.com")];
    for (name, reason, method, lines, expected) in [
        ("GET", Reason::Missing, "GET", vec![navigate], Some(302)),
        ("HEAD", Reason::Missing, "HEAD", vec![navigate], Some(302)),
        ("POST", Reason::Missing, "POST", vec![navigate], Some(303)),
        ("PUT", Reason::Expired, "PUT", vec![navigate], Some(303)),
        ("another case of GET", Reason::Expired, "get", vec![navigate], Some(303)),
        ("stale", Reason::StaleSession, "GET", vec![navigate], Some(302)),
        ("by Accept", Reason::Missing, "GET", vec![("accept", "text/html,*/*;q=0.8")], Some(302)),
        ("with an origin", Reason::Missing, "GET", vec![navigate, ("origin", "null")], Some(302)),
        ("fetch", Reason::Missing, "GET", vec![("sec-fetch-mode", "cors")], None),
        ("curl", Reason::Missing, "GET", vec![("accept", "*/*")], None),
        (
            "gRPC",
            Reason::Missing,
            "POST",
            vec![navigate, ("content-type", "application/grpc")],
            None,
        ),
    ] {
        let lines = [&start[..], &lines].concat();
        for vendor in
            [None, Some(Answers { session_expired_status: 440, invalid_claim_status: 418 })]
        {
            let cause = Cause { reason, retry_after: Duration::ZERO, shortfall: None, vendor };
            let denial = Denial::new(&cause, &head(method, &lines), &policy);
            let location = value(&denial, "location");
            assert_eq!(location.as_deref(), expected.map(|_| to_home), "{name}");
            assert_eq!(value(&denial, "vary").as_deref(), Some("origin"), "{name}");
            assert_eq!(value(&denial, "cache-control").as_deref(), Some("no-store"), "{name}");
            assert_eq!(denial.details, format!("session_token_denied{{{reason}}}"), "{name}");
            let Some(status) = expected else { continue };
            assert_eq!((denial.reason, denial.status), (reason, status), "{name}");
            assert_eq!(value(&denial, "www-authenticate"), None, "{name}");
            let body = if method == "HEAD" { "" } else { reason.word() };
            assert_eq!(denial.body, body.as_bytes(), "{name}");
        }
    }
    for reason in Reason::ALL {
        let helps = matches!(reason.word(), "missing" | "expired" | "stale_session");
        let lines = [&start[..], &[navigate]].concat();
        let denial = caused(reason, Duration::ZERO, &head("GET", &lines), &policy);
        assert_eq!(value(&denial, "location").is_some(), helps, "{reason}");
        let denial =
            caused(reason, Duration::ZERO, &head("GET", &lines), &ResponsePolicy::default());
        assert_eq!(value(&denial, "location"), None, "{reason}: no login_url");
    }
}

/// More than a body may hold.
const MAX_VALUE: usize = 4_096;
