//! Whole configurations: both forms, defaults, inheritance, and all errors at once.

use std::time::Duration;

use serde_json::{Value, json};

use super::protobuf_struct::tests::encode;
use super::*;
use crate::claim_headers::{ClaimHeader, ClaimPath, Encoding};
use crate::cookie::CookieName;
use crate::csrf::{CsrfMode, CsrfPolicy, MissingOrigin};
use crate::extractor::Source;
use crate::login::{Login, LoginPage, ReturnHosts};
use crate::matcher::Host;
use crate::path::{NormalPath, PathPolicy};
use crate::policy::{Access, CacheLimits, Forward, Mode, ResponsePolicy, Rule, StateField};
use crate::provider::{DuplicateCookies, Issuers, OnConflict, Provider};

fn whole() -> Value {
    json!({
        "providers": [
            {
                "name": "corbado",
                "preset": { "corbado": {
                    "project_id": "pro-1234567890", "frontend_api": "https://auth.example.com/",
                } },
                "jwks": { "remote": { "cluster": "corbado" } },
            },
            {
                "name": "partner",
                "issuers": ["https://id.partner.example"],
                "audiences": ["orders", "billing"],
                "algorithms": ["ES256", "RS256"],
                "token_types": ["JWT", "application/At+JWT"],
                "clock_skew": "0s",
                "max_lifetime": "24h",
                "max_token_bytes": 4096,
                "sources": [
                    { "header": { "name": "authorization", "scheme": "Bearer" } },
                    { "cookie": { "name": "partner_session" } },
                ],
                "on_conflict": "reject",
                "duplicate_cookies": "newest",
                "auth_time_claim": ["app", "login"],
                "jwks": {
                    // The example key of RFC 7515, appendix A.3.
                    "inline": { "keys": [{
                        "kty": "EC", "crv": "P-256", "kid": "inline",
                        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
                    }] },
                    "remote": {
                        "uri": "https://id.partner.example:8443/jwks.json?v=1",
                        "cluster": "outbound|443||id.partner.example",
                        "timeout": "500ms", "refresh": "1h30m", "stale_if_error": "48h",
                        "headers": { "X-Key": "abc" },
                    },
                },
                "claim_headers": [
                    { "header": "X-User-Id", "claim": "sub" },
                    { "header": "x-user-roles", "claim": "roles", "encoding": "csv" },
                    { "header": "x-plan", "claim": ["app_metadata", "plan"] },
                    { "header": "x-jwt-payload", "claim": [], "encoding": "base64url_json" },
                ],
            },
        ],
        "rules": [
            { "match": { "path": { "exact": "/healthz" } }, "access": "public" },
            { "match": { "path": { "suffix": ".css" } }, "access": "public" },
            {
                "match": {
                    "hosts": ["*.partner.example"], "methods": ["GET"],
                    "path": { "template": "/orders/{id}" },
                },
                "providers": ["partner"],
            },
            {
                "name": "admin",
                "match": { "path": { "prefix": "/admin", "strict": true } },
                "providers": ["partner"],
                "access": "required",
                "mode": "enforce",
                "require": { "all": [
                    { "claim": "roles", "contains": "admin" },
                    { "claim": ["app", "login"], "exists": true },
                ] },
                "max_auth_age": "15m",
                "insecure_forward_foreign": false,
            },
            { "match": { "path": { "prefix": "/legacy" } }, "forward": "verify_only" },
        ],
        "default": {
            "access": "optional", "forward": "strip", "providers": ["corbado"],
            "mode": "report", "insecure_forward_foreign": true,
        },
        "csrf": {
            "mode": "report", "missing_origin": "deny",
            "allowed_origins": ["https://shop.example.com", "https://*.example.org"],
        },
        "responses": {
            "realm": "example",
            "login_url": "https://login.example.com/in?return_to={url}&from=gateway",
            "return_hosts": ["www.example.com", "*.apps.example.com"],
            "cors_origins": ["https://www.example.com"],
        },
        "paths": { "insecure_allow": ["//"] },
        "insecure_public_by_default": false,
        "insecure_keep_override_headers": false,
        "cache": { "entries": 500, "bytes": "1MiB" },
        "telemetry": { "filter_state": ["verdict", "sub"], "log_denials": false },
    })
}

fn smallest() -> Value {
    json!({ "providers": [{
        "name": "corbado",
        "preset": { "corbado": { "project_id": "pro-1" } },
        "jwks": { "remote": { "cluster": "corbado" } },
    }] })
}

fn policy(json: &Value) -> Policy {
    load(json.to_string().as_bytes()).unwrap().policy
}

fn errors(configuration: &[u8]) -> Vec<String> {
    load(configuration).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn json_and_struct_are_one_configuration() {
    for json in [whole(), smallest()] {
        let from_json = load(json.to_string().as_bytes()).unwrap();
        let from_struct = load(&encode(&json)).unwrap();
        assert_eq!(format!("{from_json:?}"), format!("{from_struct:?}"));
    }
    let wrong = json!({ "providers": [], "rules": [{ "access": 5 }] });
    assert_eq!(errors(wrong.to_string().as_bytes()), errors(&encode(&wrong)));
}

#[test]
fn every_field_arrives() {
    let policy = policy(&whole());
    let [corbado, partner] = policy.providers.as_slice() else { panic!("two providers") };
    let issuers = [
        "https://pro-1234567890.frontendapi.corbado.io",
        "https://pro-1234567890.frontendapi.cloud.corbado.io",
        "https://auth.example.com",
    ];
    assert_eq!(corbado.issuers, Issuers::OneOf(issuers.map(Box::from).into()));
    let remote = corbado.keys.remote.as_ref().unwrap();
    assert_eq!(&*remote.authority, "auth.example.com");
    assert_eq!(&*remote.path, "/.well-known/jwks");
    let [(name, value)] = remote.headers.as_slice() else { panic!("one header") };
    assert_eq!((name.as_str(), &**value), ("x-corbado-projectid", "pro-1234567890"));

    // Named one by one, so that a new field is looked at here too.
    let Provider {
        name,
        issuers,
        audiences,
        algorithms,
        token_types,
        clock_skew,
        max_lifetime,
        max_token_bytes,
        sources,
        stripped_cookies,
        on_conflict,
        duplicate_cookies,
        keys,
        strict_key_id,
        subject_required,
        front_end_cookies,
        legacy_cookie,
        supertokens,
        vendor_answers,
        claim_headers,
        auth_time_claim,
        kept_claims,
    } = partner;
    assert_eq!((supertokens, vendor_answers, legacy_cookie), (&None, &None, &None));
    assert!(front_end_cookies.is_empty());
    assert_eq!(*auth_time_claim, Some(ClaimPath::new(["app", "login"])));
    let payload = json!({ "roles": ["r"], "app": { "login": 7 }, "sub": "u" });
    let kept = format!("{:?}", kept_claims.read(&payload.into()));
    assert_eq!(kept.matches("Some(").count(), 2, "roles and app.login, once each: {kept}");
    assert_eq!(format!("{:?}", corbado.kept_claims), format!("{kept_claims:?}"));
    assert_eq!(corbado.auth_time_claim, None);
    assert_eq!(&**name, "partner");
    assert_eq!(*issuers, Issuers::OneOf(vec!["https://id.partner.example".into()]));
    assert_eq!(*audiences, ["orders".into(), "billing".into()]);
    let algorithms: Vec<_> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
    assert_eq!(algorithms, ["RS256", "ES256"]);
    assert_eq!(*token_types, ["jwt".into(), "at+jwt".into()]);
    assert_eq!((*clock_skew, *max_lifetime), (Duration::ZERO, Some(Duration::from_secs(86_400))));
    assert_eq!(*max_token_bytes, 4096);
    let cookie: CookieName = "partner_session".parse().unwrap();
    assert_eq!(*sources, [Source::bearer(), Source::Cookie(cookie)]);
    assert!(stripped_cookies.is_empty() && !strict_key_id && !subject_required);
    assert_eq!(*on_conflict, OnConflict::Reject);
    assert_eq!(*duplicate_cookies, DuplicateCookies::Newest);
    assert_eq!(keys.inline.as_ref().unwrap().len(), 1);
    let remote = keys.remote.as_ref().unwrap();
    assert_eq!((&*remote.scheme, &*remote.authority), ("https", "id.partner.example:8443"));
    assert_eq!(
        (&*remote.path, &*remote.cluster),
        ("/jwks.json?v=1", "outbound|443||id.partner.example")
    );
    assert_eq!(remote.timeout, Duration::from_millis(500));
    assert_eq!(remote.refresh, Duration::from_secs(5_400));
    assert_eq!(remote.stale_if_error, Duration::from_secs(172_800));
    assert_eq!(remote.headers, [("x-key".parse().unwrap(), "abc".into())]);
    let header = |name: &str, claim: &[&str], encoding| ClaimHeader {
        name: name.parse().unwrap(),
        claim: ClaimPath::new(claim.iter().copied()),
        encoding,
    };
    assert_eq!(
        **claim_headers,
        [
            header("x-user-id", &["sub"], Encoding::String),
            header("x-user-roles", &["roles"], Encoding::Csv),
            header("x-plan", &["app_metadata", "plan"], Encoding::String),
            header("x-jwt-payload", &[], Encoding::Base64UrlJson),
        ]
    );
    let ResponsePolicy { realm, login, cors_origins } = &policy.responses;
    assert_eq!(realm.as_deref(), Some("example"));
    let hosts = ["www.example.com", "*.apps.example.com"].map(|host| host.parse().unwrap());
    let expected = Login {
        before: "https://login.example.com/in?return_to=".into(),
        after: Some("&from=gateway".into()),
        page: LoginPage {
            host: Some("login.example.com".parse().unwrap()),
            path: NormalPath::from_pattern("/in").unwrap(),
        },
        return_hosts: ReturnHosts::OneOf(hosts.into()),
    };
    assert_eq!(login.as_ref(), Some(&expected));
    assert_eq!(*cors_origins, ["https://www.example.com".parse().unwrap()]);
    let CsrfPolicy { mode, allowed_origins, missing_origin } = &policy.csrf;
    assert_eq!((*mode, *missing_origin), (CsrfMode::Report, MissingOrigin::Deny));
    let origins = ["https://shop.example.com", "https://*.example.org"];
    assert_eq!(*allowed_origins, origins.map(|origin| origin.parse().unwrap()));
    assert_eq!(policy.cache, CacheLimits { entries: 500, bytes: 1 << 20 });
    assert!(!policy.log_denials);
    assert_eq!(policy.filter_state, [StateField::Verdict, StateField::Sub]);
}

#[test]
fn rules_inherit_what_they_do_not_set() {
    let policy = policy(&whole());
    let rules = policy.rules.iter().chain([&policy.default]).map(|rule| {
        let Rule {
            name,
            matches: _,
            access,
            forward,
            providers,
            demands,
            mode,
            insecure_forward_foreign,
        } = rule;
        let is_admin = &**name == "admin";
        assert_eq!(
            (demands.require.is_some(), demands.max_auth_age.is_some()),
            (is_admin, is_admin)
        );
        assert_eq!(*mode == Mode::Report, !is_admin, "{name}");
        let providers: Vec<_> = providers.iter().map(|provider| provider.index()).collect();
        (&**name, *access, *forward, providers, *insecure_forward_foreign)
    });
    assert_eq!(
        rules.collect::<Vec<_>>(),
        [
            ("rules[0]", Access::Public, Forward::Strip, vec![0], true),
            ("rules[1]", Access::Public, Forward::Strip, vec![0], true),
            ("rules[2]", Access::Optional, Forward::Strip, vec![1], true),
            ("admin", Access::Required, Forward::Strip, vec![1], false),
            ("rules[4]", Access::Optional, Forward::VerifyOnly, vec![0], true),
            ("default", Access::Optional, Forward::Strip, vec![0], true),
        ]
    );
}

#[test]
fn rules_that_open_match_narrowly() {
    let path = |access: &str, path: Value| json!({ "access": access, "match": { "path": path } });
    let (exact, strict, lax) = (
        json!({ "exact": "/a" }),
        json!({ "exact": "/a", "strict": true }),
        json!({ "exact": "/a", "strict": false }),
    );
    for (name, rule, wide) in [
        ("public", path("public", exact.clone()), false),
        ("optional", path("optional", exact.clone()), false),
        ("required", path("required", exact.clone()), true),
        ("denied", path("denied", exact.clone()), true),
        ("access by default", json!({ "match": { "path": exact } }), true),
        ("required, strict", path("required", strict), false),
        ("public, not strict", path("public", lax), true),
        ("report", json!({ "mode": "report", "match": { "path": { "exact": "/a" } } }), false),
        (
            "denied, report",
            json!({
                "access": "denied", "mode": "report", "match": { "path": { "exact": "/a" } },
            }),
            false,
        ),
        ("public method", json!({ "access": "public", "match": { "methods": ["PUT"] } }), false),
        ("denied method", json!({ "access": "denied", "match": { "methods": ["PUT"] } }), true),
    ] {
        let mut json = smallest();
        json["rules"] = json!([rule]);
        let policy = policy(&json);
        let host = Host::read(b"www.example.com").unwrap();
        let matches = |method: &[u8], path: &[u8]| {
            let path = PathPolicy::default().read(path).unwrap();
            policy.rules[0].matches.matches(host, method, Some(&path))
        };
        assert!(matches(b"PUT", b"/a"), "{name}");
        assert_eq!(matches(b"put", b"/A/"), wide, "{name}");
    }
}

#[test]
fn defaults() {
    let loaded = load(smallest().to_string().as_bytes()).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(
        loaded.notes,
        [
            "providers[0].jwks.remote: https://pro-1.frontendapi.cloud.corbado.io is reached through \
          the cluster \"corbado\", which decides about TLS"
        ]
    );
    let policy = loaded.policy;
    assert!(policy.rules.is_empty() && policy.paths.is_none() && policy.log_denials);
    assert!(policy.filter_state.is_empty());
    assert_eq!(policy.cache, CacheLimits { entries: 10_000, bytes: 16 << 20 });
    let default = &policy.default;
    assert_eq!((default.access, default.forward), (Access::Required, Forward::Bearer));
    assert_eq!(default.providers.len(), 1);

    assert_eq!(default.mode, Mode::Enforce);
    let CsrfPolicy { mode, allowed_origins, missing_origin } = &policy.csrf;
    assert_eq!((*mode, *missing_origin), (CsrfMode::Enforce, MissingOrigin::Allow));
    assert!(allowed_origins.is_empty() && policy.responses.cors_origins.is_empty());

    let corbado = &policy.providers[0];
    assert_eq!(corbado.auth_time_claim, None);
    assert!(corbado.strict_key_id && corbado.subject_required);
    assert_eq!(corbado.algorithms, crate::provider::corbado::algorithms());
    assert_eq!(corbado.sources, crate::provider::corbado::sources());
    assert_eq!(corbado.stripped_cookies, crate::provider::corbado::refresh_cookies());

    let generic = json!({ "providers": [{
        "name": "p", "issuers": ["https://id.example"],
        "jwks": { "remote": { "uri": "http://id.example/keys", "cluster": "keys" } },
    }] });
    let generic = &self::policy(&generic).providers[0];
    let algorithms: Vec<_> = generic.algorithms.iter().map(|algorithm| algorithm.name()).collect();
    assert_eq!(algorithms, ["RS256", "ES256", "EdDSA"]);
    assert_eq!(generic.sources, [Source::bearer()]);
    assert_eq!(generic.token_types, ["jwt".into(), "at+jwt".into()]);
    assert_eq!(generic.clock_skew, Duration::from_secs(10));
    assert_eq!((generic.max_lifetime, generic.max_token_bytes), (None, 8192));
    assert_eq!(generic.auth_time_claim, Some(ClaimPath::new(["auth_time"])));
    assert!(!generic.strict_key_id && !generic.subject_required);
    let remote = generic.keys.remote.as_ref().unwrap();
    let times = [remote.timeout, remote.refresh, remote.stale_if_error];
    assert_eq!(times, [5, 600, 86_400].map(Duration::from_secs));
}

#[test]
fn pages_that_may_send_the_session_may_read_the_answer() {
    let csrf = json!({ "allowed_origins": ["https://www.example.com"] });
    let own = ["https://a.example"];
    for (name, responses, expected) in [
        ("no responses", Value::Null, vec!["https://www.example.com"]),
        ("others", json!({ "realm": "x" }), vec!["https://www.example.com"]),
        ("an own list", json!({ "cors_origins": own }), own.to_vec()),
        ("an empty list", json!({ "cors_origins": [] }), vec![]),
    ] {
        let mut json = smallest();
        json["csrf"] = csrf.clone();
        if !responses.is_null() {
            json["responses"] = responses;
        }
        let expected: Vec<crate::origin::Origin> =
            expected.iter().map(|origin| origin.parse().unwrap()).collect();
        assert_eq!(policy(&json).responses.cors_origins, expected, "{name}");
    }
}

#[test]
fn cookies_of_a_preset_that_are_no_sources_are_stripped() {
    let (bearer, cookie) = (
        json!({ "header": { "name": "authorization" } }),
        json!({ "cookie": { "name": "cbo_session_token" } }),
    );
    for (name, sources, stripped) in [
        ("header alone", json!([bearer]), &["cbo_session_token", "cbo_short_session"][..]),
        ("cookie first", json!([cookie, bearer]), &["cbo_short_session"]),
    ] {
        let mut json = smallest();
        json["providers"][0]["sources"] = sources;
        let provider = policy(&json).providers.remove(0);
        let mut expected = crate::provider::corbado::refresh_cookies();
        expected.extend(stripped.iter().map(|name| name.parse::<CookieName>().unwrap()));
        assert_eq!(provider.stripped_cookies, expected, "{name}");
    }
}

#[test]
fn clients_may_not_override_what_rules_look_at() {
    let by_path = json!([{ "match": { "path": { "prefix": "/a" } } }]);
    let by_method = json!([{ "match": { "methods": ["PUT"] } }]);
    for (name, rules, keep, path_goes, method_goes) in [
        ("no rules", json!([]), false, false, false),
        ("by path", by_path.clone(), false, true, false),
        ("by method", by_method, false, false, true),
        ("kept", by_path, true, false, false),
    ] {
        let mut json = whole();
        json["rules"] = rules;
        json["insecure_keep_override_headers"] = json!(keep);
        let policy = policy(&json);
        assert_eq!(policy.paths.is_some(), name == "by path" || keep, "{name}");
        for (header, goes) in [
            ("x_user_id", true),
            ("X-Jwt-Payload", true),
            ("x-original-url", path_goes),
            ("x-rewrite-url", path_goes),
            ("x-http-method-override", method_goes),
            ("x-http-method", method_goes),
            ("x_method_override", method_goes),
        ] {
            assert_eq!(policy.sanitizer.removes(header.as_bytes()), goes, "{name}: {header}");
        }
    }
}

#[test]
fn all_errors_are_told_at_once() {
    let configuration = json!({
        "providers": [
            { "name": "A", "issuers": 5, "clock_skew": "1h", "jwks": { "remote": { "uri": "x" } } },
            { "name": "b", "preset": { "corbado": { "project_id": "x" } }, "algorithms": ["HS256"],
              "jwks": { "inline": { "keys": [] }, "remote": { "timeout": "1ms" } } },
        ],
        "rules": [{ "match": { "path": { "prefix": "admin" } }, "acess": "public",
                    "providers": ["c"] }],
        "cache": { "bytes": "1" },
    });
    let mut errors = errors(configuration.to_string().as_bytes());
    errors.iter_mut().for_each(|error| error.truncate(error.find(": ").unwrap()));
    errors.sort_unstable();
    assert_eq!(
        errors,
        [
            "cache.bytes",
            "providers[0].clock_skew",
            "providers[0].issuers",
            "providers[0].jwks.remote.cluster",
            "providers[0].jwks.remote.uri",
            "providers[0].name",
            "providers[1].algorithms[0]",
            "providers[1].jwks.inline",
            "providers[1].jwks.remote.cluster",
            "providers[1].jwks.remote.timeout",
            "providers[1].preset.corbado.project_id",
            "rules[0].acess",
            "rules[0].match.path.prefix",
            "rules[0].providers[0]",
        ]
    );
}

#[test]
fn what_is_no_configuration() {
    let neither = "the configuration is neither a JSON object nor a google.protobuf.Struct; YAML \
                   must be given as a Struct, not as text";
    let deep = format!("{{\"providers\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (name, configuration, expected) in [
        ("nothing", b"".as_slice(), EMPTY),
        ("white space", b" \n\t", EMPTY),
        ("YAML", b"providers:\n- name: a", neither),
        ("bytes", b"\xff\xfe\x00", neither),
        ("a list", b"[]", "must be an object, not a list"),
        ("null", b"null", "null must be an object"),
        (
            "a trailing comma",
            b" {\"providers\": [],}",
            "the configuration is not JSON: line 1, column 19: trailing comma",
        ),
        (
            "a member twice",
            b"{\"a\": 1, \"a\": 2}",
            "the configuration is not JSON: line 1, column 12: member \"a\" is there twice",
        ),
        (
            "too deep",
            deep.as_bytes(),
            "the configuration is not JSON: line 1, column 78: nested deeper than 64 levels",
        ),
    ] {
        assert_eq!(errors(configuration), [expected], "{name}");
    }
    // A Struct whose first member takes 123 bytes: what looks like white space and a brace.
    let json = json!({ "a": "x".repeat(116) });
    let bytes = encode(&json);
    assert_eq!(bytes[..2], *b"\n{");
    assert_eq!(decode(&bytes, &Place::root(&Findings::default())), Some(json));
}

#[test]
fn no_bytes_trap() {
    let text = whole().to_string();
    let encoded = encode(&whole());
    for bytes in [text.as_bytes(), &encoded] {
        for at in (0..bytes.len()).step_by(7) {
            assert!(load(&bytes[..at]).is_err(), "cut at {at}");
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 0x15;
            if let Err(errors) = load(&flipped) {
                assert!(!errors.is_empty());
            }
        }
    }
}
