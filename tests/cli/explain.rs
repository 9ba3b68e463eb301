//! `explain`: the verdict of the real core, the way to it, and nothing that is secret.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::{Value, json};
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::token::{Token, tampered};

use super::{Run, root, run};

/// 2026-01-31T12:00:00Z
const NOW: u64 = 1_769_860_800;

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::ES256, "k1"));

fn token() -> Token {
    Token::new(json!({
        "iss": "https://id.example", "sub": "usr-1", "roles": ["user"], "email": "claim-mark",
        "iat": NOW - 60, "exp": NOW + 300,
    }))
}

fn configuration() -> Value {
    json!({
        "providers": [{
            "name": "partner", "issuers": ["https://id.example"],
            "sources": [
                {"header": {"name": "authorization", "scheme": "Bearer"}},
                {"cookie": {"name": "session"}},
            ],
            "claim_headers": [
                {"header": "x-user-id", "claim": "sub"},
                {"header": "x-payload", "claim": [], "encoding": "base64url_json"},
            ],
            "jwks": {"remote": {"uri": "https://id.example/jwks", "cluster": "keys"}},
        }],
        "rules": [
            {"name": "page", "match": {"methods": ["GET"], "path": {"exact": "/"}}, "access": "public"},
            {"name": "partner", "match": {"hosts": ["p.example"]}, "access": "denied"},
            {"name": "admin", "match": {"path": {"prefix": "/admin"}},
             "require": {"claim": "roles", "contains": "admin"}},
            {"name": "lax", "match": {"path": {"prefix": "/lax"}}, "mode": "report"},
        ],
        "responses": {"realm": "example", "login_url": "https://w.example/login?to={url}",
                      "return_hosts": ["w.example"]},
    })
}

/// A file with this JSON, and its path.
fn file(name: &str, json: &Value) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, json.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn explain(arguments: &[&str]) -> Run {
    let arguments = [&["explain", "-", "--at", "2026-01-31T12:00:00Z"], arguments].concat();
    run(&arguments, &configuration().to_string())
}

/// Everything that must not be seen of these tokens.
fn expect_no_secret(name: &str, text: &str, tokens: &[&str]) {
    for token in tokens {
        for part in token.split('.').filter(|part| part.len() > 20) {
            assert!(!text.contains(part), "{name}: a part of the token is in\n{text}");
        }
    }
    for mark in ["claim-mark", "cookie-mark", "query-mark"] {
        assert!(!text.contains(mark), "{name}: {mark} is in\n{text}");
    }
}

#[test]
fn the_way_and_the_verdict_are_told() {
    let keys = file("explained.json", &jwks(&[&KEY]));
    let good = token().signed_by(&KEY);
    let admin = token().claim("roles", json!(["admin"])).signed_by(&KEY);
    let expired = token().claim("exp", NOW - 3_600).signed_by(&KEY);
    let foreign = token().claim("iss", "https://other.example").signed_by(&KEY);
    let forged = tampered(&good);
    let unknown = token().signed_by(&KEY.with_kid("k2"));
    let tokens = [&good, &admin, &expired, &foreign, &forged, &unknown].map(String::as_str);
    let cookie = |token: &str| format!("cookie: a=cookie-mark; session={token}; b=2");
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    let (api, admin_url) = ("https://w.example/api?q=query-mark", "https://w.example/admin");
    // The URL, further arguments, and what is told.
    let rows: Vec<(&str, &str, Vec<String>, &[&str])> = vec![
        (
            "a public rule",
            "https://w.example/",
            vec![],
            &[
                "GET https://w.example/ at 2026-01-31T12:00:00Z\nby -:1, configuration\n",
                "rule        1. page (GET /) decides: public\nallowed_public\n",
            ],
        ),
        (
            "no credential",
            api,
            vec![],
            &[
                "GET https://w.example/api?… at",
                "1. page (GET /): no, another path",
                "2. partner (p.example): no, another host",
                "default (everything else) decides: required",
                "looked in   header authorization: nothing\n",
                "looked in   cookie session: nothing\n",
                "credential  none\nrefused: 401 missing\n",
                "www-authenticate: Bearer realm=\"example\"\n",
                "it means: No credential where one is required.",
            ],
        ),
        (
            "another method",
            "https://w.example/",
            vec!["-X".into(), "POST".into()],
            &["1. page (GET /): no, another method"],
        ),
        (
            "a denied rule",
            "https://p.example/x",
            vec!["-H".into(), bearer(&good)],
            &["2. partner (p.example) decides: denied\nrefused: 403 denied_by_rule\n"],
        ),
        (
            "a good cookie",
            api,
            vec!["-H".into(), cookie(&good)],
            &[
                "looked in   cookie session: something of ",
                "credential  from cookie session, of provider partner\n",
                "token       header: alg ES256, kid k1, typ JWT\n",
                "token       iss \"https://id.example\"\n",
                "token       iat 2026-01-31T11:59:00Z, 1m ago\n",
                "token       exp 2026-01-31T12:05:00Z, in 5m\n",
                "check       ok  site: ",
                "check       ok  signature: that key's\n",
                "allowed\n  the backend sees the request as it came, but for\n",
                "    = authorization: Bearer <token>\n",
                "    = x-user-id: usr-1\n",
                "    = x-payload: <the whole payload, ",
                "    = cookie: a=…; b=…\n",
            ],
        ),
        (
            "a good bearer",
            api,
            vec!["-H".into(), bearer(&good)],
            &["credential  from header authorization, of provider partner\n", "\nallowed\n"],
        ),
        (
            "another site's page",
            api,
            ["-X", "POST", "-H", "origin: https://evil.example", "-H"]
                .map(str::to_owned)
                .into_iter()
                .chain([cookie(&good)])
                .collect(),
            &[
                "check       NO  site: cross_site\nrefused: 403 cross_site\n",
                "`csrf.allowed_origins`",
            ],
        ),
        (
            "an expired one",
            api,
            vec!["-H".into(), cookie(&expired)],
            &[
                "token       exp 2026-01-31T11:00:00Z, 1h ago\n",
                "check       NO  dates: expired\nrefused: 401 expired\n",
            ],
        ),
        (
            "somebody else's",
            api,
            vec!["-H".into(), bearer(&foreign)],
            &[
                "credential  none of ours: issuer_mismatch\n",
                "token       iss \"https://other.example\"\n",
                "refused: 401 issuer_mismatch\n",
            ],
        ),
        (
            "a forged one",
            api,
            vec!["-H".into(), bearer(&forged)],
            &["check       NO  signature: bad_signature\nrefused: 401 bad_signature\n"],
        ),
        (
            "an unknown key",
            api,
            vec!["-H".into(), bearer(&unknown)],
            &["check       NO  key: unknown_key\nrefused: 401 unknown_key\n"],
        ),
        (
            "a user where an admin is wanted",
            admin_url,
            vec!["-H".into(), bearer(&good)],
            &[
                "3. admin (/admin and below) decides: required",
                "check       ok  signature: ",
                "check       NO  the rule's demands: insufficient_claims\n",
                "roles must contain \"admin\"; the token says [\"user\"]\n",
                "refused: 403 insufficient_claims\n",
            ],
        ),
        (
            "an admin",
            admin_url,
            vec!["-H".into(), bearer(&admin)],
            &["check       ok  the rule's demands: met\n", "\nallowed\n"],
        ),
        (
            "report mode",
            "https://w.example/lax",
            vec![],
            &["would_deny: missing; the rule only reports\n"],
        ),
        ("an ambiguous path", "https://w.example/a//b", vec![], &["refused: 400 ambiguous_path\n"]),
        (
            "no token at all",
            api,
            vec!["-H".into(), "authorization: Bearer cookie-mark".into()],
            &[
                "looked in   header authorization: something of 11 bytes\n",
                "refused: 401 malformed\n",
            ],
        ),
        (
            "a person without a session",
            api,
            [
                "-H",
                "accept: text/html",
                "-H",
                "sec-fetch-mode: navigate",
                "-H",
                "sec-fetch-dest: document",
            ]
            .map(str::to_owned)
            .into(),
            &[
                "refused: 302 missing\n",
                "location: https://w.example/login?to=https%3A%2F%2Fw.example%2Fapi%3F…\n",
            ],
        ),
        (
            "a preflight",
            api,
            [
                "-X",
                "OPTIONS",
                "-H",
                "origin: https://w.example",
                "-H",
                "access-control-request-method: PUT",
            ]
            .map(str::to_owned)
            .into(),
            &["credential  none is asked for: this is a CORS preflight\nallowed_preflight\n"],
        ),
    ];
    for (name, url, more, parts) in rows {
        let mut arguments = vec!["--url", url, "--jwks", &keys];
        arguments.extend(more.iter().map(String::as_str));
        let Run { code, out, err } = explain(&arguments);
        assert_eq!(code, 0, "{name}: {out}{err}");
        for part in parts {
            assert!(out.contains(part), "{name}: no {part:?} in\n{out}");
        }
        assert!(!out.contains("BUT"), "{name}: {out}");
        expect_no_secret(name, &out, &tokens);
    }
}

#[test]
fn without_keys_all_outcomes_are_told() {
    for (name, algorithm) in
        [("ES256", Algorithm::ES256), ("RS256", Algorithm::RS256), ("EdDSA", Algorithm::EdDSA)]
    {
        let token = token().signed_by(&SigningKey::generate(algorithm, "k1"));
        let bearer = format!("authorization: Bearer {token}");
        let Run { code, out, .. } = explain(&["--url", "https://w.example/api", "-H", &bearer]);
        assert_eq!(code, 0, "{name}: {out}");
        for part in [
            "check       ?   key: not checked; give the key set with --jwks\n",
            "check       ?   signature: not checked; give the key set with --jwks\n",
            "if a key of the provider made the signature: allowed\n",
            "    = x-user-id: usr-1\n",
            "if it did not: refused: 401 bad_signature\n",
            "while there are no keys: refused: 503 keys_unavailable\n",
        ] {
            assert!(out.contains(part), "{name}: no {part:?} in\n{out}");
        }
        expect_no_secret(name, &out, &[&token]);
    }
    // What is refused before keys are needed needs none.
    let expired = token().claim("exp", NOW - 3_600).signed_by(&KEY);
    let bearer = format!("authorization: Bearer {expired}");
    let Run { out, .. } = explain(&["--url", "https://w.example/api", "-H", &bearer]);
    assert!(out.contains("refused: 401 expired") && !out.contains("--jwks"), "{out}");
}

#[test]
fn keys_in_the_configuration_are_enough() {
    let mut configuration = configuration();
    configuration["providers"][0]["jwks"] = json!({"inline": jwks(&[&KEY])});
    let bearer = format!("authorization: Bearer {}", token().signed_by(&KEY));
    let arguments =
        ["explain", "-", "--at", "1769860800", "--url", "https://w.example/api", "-H", &bearer];
    let Run { out, .. } = run(&arguments, &configuration.to_string());
    assert!(out.contains("ok  signature: that key's") && out.contains("\nallowed\n"), "{out}");
}

#[test]
fn tokens_may_come_from_files() {
    let keys = file("from-files.json", &jwks(&[&KEY]));
    let headers = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("headers");
    let lines = format!("accept: */*\n\ncookie: session={}\n", token().signed_by(&KEY));
    fs::write(&headers, lines).unwrap();
    let at = format!("@{}", headers.display());
    let named = format!("partner={keys}");
    let Run { out, .. } =
        explain(&["--url", "https://w.example/", "-X", "POST", "-H", &at, "--jwks", &named]);
    assert!(out.contains("\nallowed\n"), "{out}");
}

#[test]
fn bad_key_sets_are_told() {
    let keys = file("bad-keys.json", &json!({"keys": []}));
    let bearer = format!("authorization: Bearer {}", token().signed_by(&KEY));
    let Run { out, .. } =
        explain(&["--url", "https://w.example/api", "-H", &bearer, "--jwks", &keys]);
    assert!(out.contains("refused: 503 keys_unavailable"), "{out}");
    assert!(out.contains("provider=partner jwks: fetch failed: "), "{out}");
}

#[test]
fn what_can_not_be_explained_says_why() {
    let url = ["--url", "https://w.example/"];
    for (name, arguments, code, part) in [
        ("no URL", vec![], 2, "--url"),
        ("no scheme", vec!["--url", "w.example"], 2, "must begin with https://"),
        ("a time", [&url[..], &["--at", "noon"]].concat(), 2, "2026-01-31T12:00:00Z"),
        (
            "a header",
            [&url[..], &["-H", "secret-mark"]].concat(),
            2,
            "must look like `name: value`",
        ),
        ("no file", [&url[..], &["--jwks", "no/such"]].concat(), 2, "can't read no/such"),
        ("no provider", [&url[..], &["--jwks", "x=Cargo.toml"]].concat(), 2, "no provider \"x\""),
        (
            "no such one",
            [&url[..], &["--config", "2"]].concat(),
            2,
            "--config fits none; - has:\n  1: ",
        ),
    ] {
        let arguments = [&["explain", "-"], &arguments[..]].concat();
        let Run { code: real, out, err } = run(&arguments, &configuration().to_string());
        assert!(real == code && err.contains(part), "{name}: {real}: {out}{err}");
        assert!(!err.contains("secret-mark"), "{name}: {err}");
    }
    for (name, input, part) in [
        ("no configuration", "a: 1", "error: no configuration of session-token-filter found"),
        ("a wrong one", "providers: []", "-:1:1: error: providers: must not be empty"),
        ("no YAML", "a: [", "error: not YAML"),
    ] {
        let Run { code, out, .. } = run(&[&["explain", "-"], &url[..]].concat(), input);
        assert!(code == 1 && out.contains(part), "{name}: {out}");
    }
}

#[test]
fn of_many_rules_the_last_are_told() {
    let mut configuration = configuration();
    let rules = (0..30).map(|number| {
        json!({"name": format!("r{number}"), "match": {"path": {"prefix": format!("/r{number}")}}})
    });
    configuration["rules"] = rules.collect();
    let arguments = ["explain", "-", "--url", "https://w.example/r25"];
    let Run { out, .. } = run(&arguments, &configuration.to_string());
    for part in
        ["1. to 5. do not match\n", "6. r5 (/r5 and below): no", "26. r25 (/r25 and below) decides"]
    {
        assert!(out.contains(part), "no {part} in {out}");
    }
}

#[test]
fn one_of_several_is_chosen() {
    let file = root().join("envoy/service-to-service.yaml");
    let file = file.to_str().unwrap();
    let explain =
        |more: &[&str]| run(&[&["explain", file, "--url", "http://x.example/"], more].concat(), "");
    let Run { code, err, .. } = explain(&[]);
    assert!(
        code == 2 && err.contains("name one with --config") && err.contains("\n  2: "),
        "{err}"
    );
    let Run { code, out, .. } = explain(&["--config", "2"]);
    assert!(code == 0 && out.contains("refused: 401 missing"), "{out}");
}
