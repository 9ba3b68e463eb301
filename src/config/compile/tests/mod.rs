//! What is refused and what is warned of, row by row with the exact words.

use serde_json::{Value, json};

use crate::config::{Loaded, load};

/// The example key of RFC 8037, appendix A.2.
fn ed25519() -> Value {
    json!({
        "kty": "OKP", "crv": "Ed25519", "kid": "good",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    })
}

fn merged(mut base: Value, over: Value) -> Value {
    let (Value::Object(base_members), Value::Object(over)) = (&mut base, over) else {
        panic!("objects only")
    };
    for (name, value) in over {
        match value {
            // `null` takes a member out.
            Value::Null => base_members.remove(&name),
            value => base_members.insert(name, value),
        };
    }
    base
}

/// A generic provider with `fields` set.
fn generic(fields: Value) -> Value {
    let remote = json!({ "uri": "http://id.example/keys", "cluster": "keys" });
    let base = json!({
        "name": "p", "issuers": ["https://id.example"], "jwks": { "remote": remote },
    });
    merged(base, fields)
}

/// A Corbado provider with `fields` set.
fn corbado(fields: Value) -> Value {
    let base = json!({
        "name": "c",
        "preset": { "corbado": { "project_id": "pro-1", "frontend_api": "http://auth.localhost" } },
        "jwks": { "remote": { "cluster": "keys" } },
    });
    merged(base, fields)
}

fn one(provider: Value) -> Value {
    json!({ "providers": [provider] })
}

/// A generic provider, and `fields` on top.
fn top(fields: Value) -> Value {
    merged(one(generic(json!({}))), fields)
}

fn rules(rules: Value) -> Value {
    top(json!({ "rules": rules }))
}

fn path_rule(access: &str, path: Value) -> Value {
    rules(json!([{ "match": { "path": path }, "access": access }]))
}

fn loaded(name: &str, configuration: &Value) -> Loaded {
    load(configuration.to_string().as_bytes()).unwrap_or_else(|errors| panic!("{name}: {errors:?}"))
}

#[track_caller]
fn refuses(table: &[(&str, Value, &[&str])]) {
    for (name, configuration, expected) in table {
        let errors = load(configuration.to_string().as_bytes()).err().unwrap_or_default();
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, *expected, "{name}");
    }
}

#[track_caller]
fn warns(table: &[(&str, Value, &[&str])]) {
    for (name, configuration, expected) in table {
        let warnings = loaded(name, configuration).warnings;
        let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, *expected, "{name}");
    }
}

mod cookies;
mod csrf;
mod keys;
mod provider;
mod require;
mod responses;
mod rule;
mod supertokens;

#[test]
fn answers_paths_and_cache() {
    let origin = "must be an origin: scheme://host[:port], without path, query and user info";
    let bad_origins = ["null", "https://a/", "https://a?b", "https://u@a", "a.example", "*"];
    let origin_errors: Vec<_> = bad_origins
        .iter()
        .enumerate()
        .map(|(n, text)| format!("responses.cors_origins[{n}]: {text:?} {origin}"))
        .collect();
    let origin_errors: Vec<_> = origin_errors.iter().map(String::as_str).collect();
    let realm = "must be at most 128 characters of printable ASCII without \" and \\";
    let realm = |text: &str| {
        let error = format!("responses.realm: {text:?} {realm}");
        (top(json!({ "responses": { "realm": text } })), error)
    };
    let (quoted, line, long) = (realm("a\"b"), realm("a\r\nb"), realm(&"x".repeat(129)));
    let long_error = long.1.replace(&"x".repeat(129), &format!("{}…", "x".repeat(120)));
    let cache = |fields: Value| top(json!({ "cache": fields }));
    refuses(&[
        ("origins", top(json!({ "responses": { "cors_origins": bad_origins } })), &origin_errors),
        ("a quoted realm", quoted.0, &[&quoted.1]),
        ("a realm of two lines", line.0, &[&line.1]),
        ("a long realm", long.0, &[&long_error]),
        (
            "paths",
            top(json!({ "paths": { "insecure_allow": ["//", "..", "%2e"] } })),
            &[
                "paths.insecure_allow[1]: \"..\" must be one of \"//\", \";\", \"%2f\", \"%5c\", \
                 \"\\\\\"",
                "paths.insecure_allow[2]: \"%2e\" must be one of \"//\", \";\", \"%2f\", \"%5c\", \
                 \"\\\\\"",
            ],
        ),
        (
            "a great cache",
            cache(json!({ "entries": 1_000_001, "bytes": "1GiB" })),
            &[
                "cache.entries: 1000001 must be at most 1000000; 0 is off",
                "cache.bytes: \"1GiB\" must be between 64KiB and 512MiB; entries: 0 turns the cache \
                 off",
            ],
        ),
        (
            "a small cache",
            cache(json!({ "bytes": "63KiB" })),
            &[
                "cache.bytes: \"63KiB\" must be between 64KiB and 512MiB; entries: 0 turns the cache \
               off",
            ],
        ),
        (
            "no size",
            cache(json!({ "bytes": "16M", "entries": -1 })),
            &[
                "cache.entries: -1 must be a whole number from 0 up",
                "cache.bytes: \"16M\" must be a size such as 64KiB or 16MiB",
            ],
        ),
        (
            "telemetry",
            top(json!({ "telemetry": { "log_denials": "no", "dashboard": true } })),
            &[
                "telemetry.log_denials: \"no\" must be true or false",
                "telemetry.dashboard: unknown field; known here: filter_state, log_denials",
            ],
        ),
        (
            "a filter state of what is not known, and of one thing twice",
            top(json!({ "telemetry": { "filter_state": ["sub", "email", "kid", "sub", 5] } })),
            &[
                "telemetry.filter_state[1]: \"email\" must be one of sub, provider, rule, source, \
                 kid, reason, verdict",
                "telemetry.filter_state[4]: 5 must be a string",
                "telemetry.filter_state[3]: is the same as telemetry.filter_state[0]",
            ],
        ),
        (
            "a filter state that is no list",
            top(json!({ "telemetry": { "filter_state": "sub" } })),
            &["telemetry.filter_state: must be a list, not a string"],
        ),
        (
            "what later versions know",
            top(json!({ "oidc": {}, "provider": [] })),
            &[
                "oidc: unknown field; known here: providers, rules, default, cookies, csrf, responses, \
                 paths, insecure_public_by_default, insecure_keep_override_headers, cache, telemetry",
                "provider: unknown field; did you mean `providers`?",
            ],
        ),
    ]);
}

#[test]
fn everything_insecure_is_a_warning() {
    let flags = |on: bool| {
        json!({
            "providers": [merged(
                generic(json!({ "insecure_any_issuer": on })),
                if on { json!({ "issuers": null }) } else { json!({}) },
            )],
            "rules": [{ "match": { "methods": ["GET"] }, "insecure_forward_foreign": on }],
            "default": { "insecure_forward_foreign": on },
            "paths": { "insecure_allow": if on { json!(["//", "\\"]) } else { json!([]) } },
            "insecure_public_by_default": on,
            "insecure_keep_override_headers": on,
            "csrf": { "mode": if on { "insecure_off" } else { "enforce" } },
        })
    };
    let foreign = "bearers that nobody verified reach backends where no credential is needed";
    warns(&[
        ("off", flags(false), &[]),
        (
            "on",
            flags(true),
            &[
                "providers[0].insecure_any_issuer: whatever a token says about its issuer is \
                 accepted; only its signature counts",
                "paths.insecure_allow[0]: paths with \"//\" are decided, though backends may read \
                 them in another way",
                "paths.insecure_allow[1]: paths with \"\\\\\" are decided, though backends may read \
                 them in another way",
                "insecure_public_by_default: a configuration that protects no path would be \
                 accepted",
                &format!("default.insecure_forward_foreign: {foreign}"),
                &format!("rules[0].insecure_forward_foreign: {foreign}"),
                "insecure_keep_override_headers: backends that heed x-original-url, \
                 x-http-method-override and their like may see another path or method than the \
                 rules did",
                "csrf.mode: pages of other sites may act with a session's cookie: nobody looks",
            ],
        ),
    ]);
}
