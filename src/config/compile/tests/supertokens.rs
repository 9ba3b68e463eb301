//! The preset `supertokens`, and the rule that it adds.

use serde_json::{Value, json};

use super::*;
use crate::extractor::Source;
use crate::policy::{Access, Policy};
use crate::provider::supertokens::{self, Answers, AntiCsrf, Demands, SigningKeys};
use crate::provider::{Issuers, Provider};

/// A SuperTokens provider with `preset` and `fields` set.
fn app(preset: Value, fields: Value) -> Value {
    let preset = merged(json!({ "api_domain": "https://api.example.com" }), preset);
    let base = json!({
        "name": "st", "preset": { "supertokens": preset },
        "jwks": { "remote": { "cluster": "auth" } },
    });
    merged(base, fields)
}

fn preset(fields: Value) -> Value {
    one(app(fields, json!({})))
}

fn provider(name: &str, configuration: &Value) -> Provider {
    loaded(name, configuration).policy.providers.remove(0)
}

/// The names of the rules, in the order in which they decide.
fn order(policy: &Policy) -> Vec<&str> {
    policy.rules.iter().map(|rule| &*rule.name).collect()
}

#[test]
fn the_preset_decides() {
    let with = |fields: Value| one(app(json!({}), fields));
    let issuer = "contradicts the preset: the issuer of this SuperTokens app is https://api.example.com/auth";
    refuses(&[
        (
            "algorithms",
            with(json!({ "algorithms": ["HS256", "RS256"] })),
            &["providers[0].algorithms[0]: \"HS256\" contradicts the preset: SuperTokens signs \
               with RS256 only"],
        ),
        (
            "issuers",
            with(json!({ "issuers": ["https://api.example.com"] })),
            &[&format!("providers[0].issuers: {issuer}")],
        ),
        (
            "any issuer",
            with(json!({ "insecure_any_issuer": true })),
            &[&format!("providers[0].insecure_any_issuer: {issuer}")],
        ),
        (
            "types",
            with(json!({ "token_types": ["JWT", "at+jwt"] })),
            &[
                "providers[0].token_types: contradicts the preset: the typ of SuperTokens' sessions \
               is JWT",
            ],
        ),
        (
            "sources",
            with(json!({ "sources": [{ "cookie": { "name": "st-access-token" } }] })),
            &[
                "providers[0].sources: contradicts the preset: SuperTokens's sessions are in header \
               authorization, cookie sAccessToken; some of these may be listed, no others",
            ],
        ),
    ]);
    let same = with(json!({
        "algorithms": ["RS256"], "issuers": ["https://api.example.com/auth"],
        "insecure_any_issuer": false, "token_types": ["application/JWT"],
        "sources": [{ "header": { "name": "authorization" } },
                    { "cookie": { "name": "sAccessToken" } }],
    }));
    warns(&[("the same values are no contradiction", same, &[])]);
}

#[test]
fn fields_of_the_preset() {
    let at = "providers[0].preset.supertokens";
    let http = "must begin with https://; only loopback and *.localhost may use http://";
    let path = "must be a path such as /auth, without a query and without // and ..";
    let root = "would make every path of api_domain public: set auth_routes: manual, and write \
                public rules for the auth server's own routes";
    let differ = "session_expired_status and invalid_claim_status must differ: the front end tells \
                  them apart by nothing else";
    let one_error = |field: &str, value: Value, error: &str| {
        (
            format!("{field} {value}"),
            preset(json!({ field: value })),
            format!("{at}.{field}: {error}"),
        )
    };
    let rows = [
        one_error("api_domain", json!(null), "is missing"),
        one_error("api_domain", json!(""), "\"\" must not be empty"),
        one_error(
            "api_domain",
            json!("ftp://a"),
            "\"ftp://a\" must begin with https:// or http://",
        ),
        one_error("api_domain", json!("http://a.example"), &format!("\"http://a.example\" {http}")),
        one_error(
            "api_domain",
            json!("https://a.example/x"),
            "\"https://a.example/x\" must be a scheme and a host, without a path and a query",
        ),
        one_error("api_domain", json!("https://u:p@a.example"), "must have no user info"),
        one_error(
            "api_domain",
            json!("https://a~b.example"),
            "\"https://a~b.example\" must have a DNS name or an address as its host",
        ),
        one_error(
            "api_domain",
            json!("https://*.example.com"),
            "\"https://*.example.com\" must have a DNS name or an address as its host",
        ),
        one_error(
            "website_domain",
            json!("*.example.com"),
            "\"*.example.com\" must have a DNS name or an address as its host",
        ),
        one_error(
            "website_domain",
            json!("http://w.example"),
            &format!("\"http://w.example\" {http}"),
        ),
        one_error(
            "website_domain",
            json!("https://w.example/x"),
            "\"https://w.example/x\" must be a scheme and a host, without a path and a query",
        ),
        one_error("api_base_path", json!("/a//b"), &format!("\"/a//b\" {path}")),
        one_error("api_base_path", json!("/a/../b"), &format!("\"/a/../b\" {path}")),
        one_error("api_base_path", json!("/a?b"), &format!("\"/a?b\" {path}")),
        one_error("api_base_path", json!("/a%zz"), &format!("\"/a%zz\" {path}")),
        one_error("api_base_path", json!("/"), root),
        one_error("api_base_path", json!(""), root),
        one_error("api_gateway_path", json!("/a b"), &format!("\"/a b\" {path}")),
        one_error("signing_keys", json!("d"), "\"d\" must be one of dynamic, static, any"),
        one_error(
            "anti_csrf",
            json!("VIA_TOKEN"),
            "\"VIA_TOKEN\" must be one of none, custom_header, token",
        ),
        one_error("session_expired_status", json!(399), "399 must be between 400 and 499"),
        one_error("session_expired_status", json!(500), "500 must be between 400 and 499"),
        one_error("session_expired_status", json!(70_000), "70000 must be between 400 and 499"),
        one_error("invalid_claim_status", json!(200), "200 must be between 400 and 499"),
        one_error("invalid_claim_status", json!(401), differ),
        one_error("session_expired_status", json!(403), differ),
        one_error("auth_routes", json!("none"), "\"none\" must be one of public, manual"),
        one_error("api_domian", json!("x"), "unknown field; did you mean `api_domain`?"),
    ];
    for (name, configuration, error) in &rows {
        refuses(&[(name, configuration.clone(), &[error])]);
    }
    for status in [400, 499] {
        let answers = provider("a bound", &preset(json!({ "session_expired_status": status })));
        let expected = Answers { session_expired_status: status, invalid_claim_status: 403 };
        assert_eq!(answers.vendor_answers, Some(expected));
    }
}

#[test]
fn what_the_preset_makes_of_a_provider() {
    let default = provider("default", &preset(json!({})));
    assert_eq!(default.issuers, Issuers::OneOf(vec!["https://api.example.com/auth".into()]));
    assert_eq!(default.sources, supertokens::sources());
    assert_eq!(default.algorithms, supertokens::algorithms());
    assert_eq!(default.token_types, ["jwt".into()]);
    assert_eq!(default.stripped_cookies, supertokens::secret_cookies());
    assert_eq!(default.front_end_cookies, supertokens::front_end_cookies());
    assert_eq!(default.legacy_cookie, supertokens::legacy_cookie());
    assert!(default.strict_key_id && default.subject_required);
    let demands = Demands { signing_keys: SigningKeys::Dynamic, anti_csrf: AntiCsrf::None };
    assert_eq!(default.supertokens, Some(demands));
    let answers = Answers { session_expired_status: 401, invalid_claim_status: 403 };
    assert_eq!(default.vendor_answers, Some(answers));

    let all = app(
        json!({
            "signing_keys": "static", "anti_csrf": "token",
            "session_expired_status": 440, "invalid_claim_status": 441.0,
        }),
        json!({ "sources": [{ "header": { "name": "authorization" } }] }),
    );
    let all = provider("everything", &one(all));
    let demands = Demands { signing_keys: SigningKeys::Static, anti_csrf: AntiCsrf::Token };
    assert_eq!(all.supertokens, Some(demands));
    let answers = Answers { session_expired_status: 440, invalid_claim_status: 441 };
    assert_eq!(all.vendor_answers, Some(answers));
    assert_eq!(all.sources, [Source::bearer()]);
    assert!(all.stripped_cookies.contains(&"sAccessToken".parse().unwrap()), "nobody verifies it");
}

#[test]
fn domains_and_paths_are_normalised_as_the_sdks_do_it() {
    for (preset_fields, issuer) in [
        (json!({}), "https://api.example.com/auth"),
        (json!({ "api_domain": "https://api.example.com/" }), "https://api.example.com/auth"),
        (json!({ "api_domain": " HTTPS://Api.Example.COM " }), "https://api.example.com/auth"),
        (json!({ "api_domain": "api.example.com" }), "https://api.example.com/auth"),
        (json!({ "api_domain": "https://api.example.com:443" }), "https://api.example.com/auth"),
        (json!({ "api_domain": "https://a.example:8443" }), "https://a.example:8443/auth"),
        (json!({ "api_domain": "localhost:3001" }), "http://localhost:3001/auth"),
        (json!({ "api_domain": "127.0.0.1:3001/" }), "http://127.0.0.1:3001/auth"),
        (json!({ "api_domain": "http://api.localhost:80" }), "http://api.localhost/auth"),
        (json!({ "api_domain": "http://[::1]:3001" }), "http://[::1]:3001/auth"),
        (json!({ "api_base_path": "/auth/" }), "https://api.example.com/auth"),
        (json!({ "api_base_path": "Auth/v1" }), "https://api.example.com/Auth/v1"),
        (json!({ "api_gateway_path": "/gw/" }), "https://api.example.com/gw/auth"),
        (json!({ "api_gateway_path": "/" }), "https://api.example.com/auth"),
        (json!({ "api_gateway_path": "gw", "api_base_path": "/" }), "https://api.example.com/gw"),
        (json!({ "api_base_path": "/", "auth_routes": "manual" }), "https://api.example.com"),
    ] {
        let provider = provider(issuer, &preset(preset_fields.clone()));
        let expected = Issuers::OneOf(vec![issuer.into()]);
        assert_eq!(provider.issuers, expected, "{preset_fields}");
        let remote = provider.keys.remote.unwrap();
        let uri = format!("{}://{}{}", remote.scheme, remote.authority, remote.path);
        assert_eq!(uri, format!("{issuer}/jwt/jwks.json"), "{preset_fields}");
    }
    let own = json!({ "jwks": { "remote": {
        "cluster": "core", "uri": "http://core:3567/.well-known/jwks.json",
    } } });
    let remote = provider("a core's", &one(app(json!({}), own))).keys.remote.unwrap();
    assert_eq!((&*remote.authority, &*remote.path), ("core:3567", "/.well-known/jwks.json"));
}

#[test]
fn the_website_may_send_the_session_and_read_answers() {
    let with = |preset_fields: Value, origins: Value| {
        let fields = json!({ "responses": { "cors_origins": origins } });
        merged(preset(preset_fields), fields)
    };
    let website = json!({ "website_domain": "https://www.example.com/" });
    for (name, configuration, expected) in [
        ("none", preset(json!({})), vec![]),
        ("the website", preset(website.clone()), vec!["https://www.example.com"]),
        ("a port", preset(json!({ "website_domain": "localhost:3000" })), {
            vec!["http://localhost:3000"]
        }),
        ("besides those listed", with(website, json!(["https://a.example"])), {
            vec!["https://a.example", "https://www.example.com"]
        }),
    ] {
        let Policy { responses, csrf, .. } = loaded(name, &configuration).policy;
        let expected: Vec<crate::origin::Origin> =
            expected.iter().map(|origin| origin.parse().unwrap()).collect();
        assert_eq!(responses.cors_origins, expected, "{name}");
        let senders: Vec<_> = expected.last().into_iter().cloned().collect();
        assert_eq!(csrf.allowed_origins, senders, "{name}");
    }
}

#[test]
fn sessions_that_are_shared_need_a_website() {
    let shared = json!({ "cookies": { "share_domain": [
        { "name": "sAccessToken", "domain": ".example.com" },
    ] } });
    let with = |fields: Value| merged(preset(fields), shared.clone());
    let error = "providers[0].preset.supertokens.website_domain: is missing: with \
                 cookies.share_domain and anti_csrf: none, the website's origin must be known";
    refuses(&[("no website", with(json!({})), &[error])]);
    loaded("nothing shared", &preset(json!({})));
    for fields in [
        json!({ "anti_csrf": "custom_header" }),
        json!({ "anti_csrf": "token" }),
        json!({ "website_domain": "https://www.example.com" }),
    ] {
        loaded(&fields.to_string(), &with(fields.clone()));
    }
}

#[test]
fn auth_routes_come_before_all_rules_but_those_inside() {
    let rule = |name: &str, path: Value| json!({ "name": name, "match": { "path": path } });
    let rules = json!([
        { "name": "delete", "match": { "methods": ["DELETE"] }, "access": "denied" },
        rule("around", json!({ "prefix": "/" })),
        rule("inside", json!({ "exact": "/auth/dashboard" })),
        rule("beside", json!({ "prefix": "/authors" })),
        rule("the same", json!({ "prefix": "/auth" })),
        rule("in upper case", json!({ "template": "/AUTH/{x}" })),
    ]);
    let rules = |fields: Value| merged(preset(fields), json!({ "rules": named(&rules) }));
    let default = loaded("default", &rules(json!({})));
    assert_eq!(
        order(&default.policy),
        [
            "inside",
            "the-same",
            "in-upper-case",
            "st auth routes",
            "delete",
            "around",
            "inside",
            "beside",
            "the-same",
            "in-upper-case"
        ],
        "those inside twice: first for the host of these routes alone"
    );
    assert_eq!(default.notes.last().unwrap(), {
        "providers[0].preset.supertokens: /auth and everything below it on api.example.com is \
         public, before all rules but those for paths there; auth_routes: manual turns this off"
    });
    let manual = loaded("manual", &rules(json!({ "auth_routes": "manual" })));
    assert_eq!(
        order(&manual.policy),
        ["delete", "around", "inside", "beside", "the-same", "in-upper-case"]
    );
    assert_eq!(manual.notes.len(), default.notes.len() - 1);

    let alone = loaded("alone", &preset(json!({}))).policy;
    let [only] = alone.rules.as_slice() else { panic!("{:?}", alone.rules) };
    assert_eq!(only.access, Access::Public);
    assert!(alone.paths.is_some(), "it looks at paths");
    assert!(!alone.sanitizer.removes(b"x-http-method-override"));
    assert!(alone.sanitizer.removes(b"x-original-url"));
}

/// Names of rules have no spaces.
fn named(rules: &Value) -> Value {
    let mut rules = rules.clone();
    for rule in rules.as_array_mut().unwrap() {
        let name = rule["name"].as_str().unwrap().replace(' ', "-");
        rule["name"] = name.into();
    }
    rules
}

#[test]
fn each_app_has_its_auth_routes() {
    let providers = json!([
        app(json!({ "api_base_path": "/auth/inner" }), json!({ "name": "a" })),
        app(json!({ "api_domain": "https://b.example" }), json!({ "name": "b" })),
        corbado(json!({})),
    ]);
    let rules = json!([
        { "name": "outer", "match": { "path": { "prefix": "/auth" } } },
        { "name": "inner", "match": { "path": { "prefix": "/auth/inner/x" } } },
    ]);
    let policy = loaded("two", &json!({ "providers": providers, "rules": rules })).policy;
    assert_eq!(order(&policy), ["inner", "a auth routes", "outer", "inner", "b auth routes"]);
    let owners: Vec<_> = policy.rules.iter().map(|rule| rule.providers.len()).collect();
    assert_eq!(owners, [3, 1, 3, 3, 1]);
}

#[test]
fn a_protected_configuration_stays_one() {
    let with = |access: &str| merged(preset(json!({})), json!({ "default": { "access": access } }));
    refuses(&[(
        "a public default",
        with("public"),
        &["default.access: public for every path leaves no path protected: restrict it by match, \
           or set insecure_public_by_default: true"],
    )]);
    warns(&[
        ("a required default", with("required"), &[]),
        (
            "an explicit rule for the same routes",
            merged(
                preset(json!({})),
                json!({ "rules": [{
                    "match": { "hosts": ["api.example.com"], "path": { "prefix": "/auth" } },
                    "access": "public",
                }] }),
            ),
            &[],
        ),
    ]);
}
