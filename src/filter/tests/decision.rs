//! What a rule decides about a credential: cross-site requests, claim rules, report mode.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Request, START, World, key_set, one_provider, provider, token, token_with};

const EVIL: (&str, &str) = ("origin", "https://evil.example");
const OWN: (&str, &str) = ("origin", "https://api.example.com");

fn with(request: Request, headers: &[(&str, &str)]) -> Request {
    headers.iter().fold(request, |request, (name, value)| request.with(name, *value))
}

/// A provider and `fields` beside it.
fn with_fields(members: Value, fields: Value) -> Value {
    let mut configuration = json!({ "providers": [provider("main", members)] });
    for (name, value) in fields.as_object().unwrap() {
        configuration[name] = value.clone();
    }
    configuration
}

fn optional() -> Value {
    json!({ "rules": [{ "match": { "path": { "prefix": "/optional" } }, "access": "optional" }] })
}

#[test]
fn a_cookie_that_another_site_sends_is_refused() {
    let mut world = World::with_keys(&with_fields(json!({}), optional()), &[(1, "k1")]);
    let t = token(1, "k1");
    let u = token_with(1, json!({ "kid": "k1" }), json!({ "sub": "u-2" }));
    let cookie = format!("main={t}");
    let upgrade = ("upgrade", "websocket");
    // Twice: what is cached changes nothing.
    for round in ["first", "cached"] {
        for (name, method, bearer, cookie, headers, expected) in [
            ("cross-site", "POST", None, Some(&cookie), vec![EVIL], "cross_site"),
            ("null", "POST", None, Some(&cookie), vec![("origin", "null")], "cross_site"),
            ("own", "POST", None, Some(&cookie), vec![OWN], "continue"),
            ("no browser", "POST", None, Some(&cookie), vec![], "continue"),
            ("navigation", "GET", None, Some(&cookie), vec![EVIL], "continue"),
            ("WebSocket", "GET", None, Some(&cookie), vec![EVIL, upgrade], "cross_site"),
            ("own WebSocket", "GET", None, Some(&cookie), vec![OWN, upgrade], "continue"),
            ("header", "POST", Some(&t), None, vec![EVIL], "continue"),
            ("the same in both", "POST", Some(&t), Some(&cookie), vec![EVIL], "continue"),
            ("the header's counts", "POST", Some(&u), Some(&cookie), vec![EVIL], "continue"),
            ("no credential", "POST", None, None, vec![EVIL], "missing"),
            ("an empty cookie", "POST", None, Some(&"main=".into()), vec![EVIL], "missing"),
            ("another cookie", "POST", None, Some(&"a=b".into()), vec![EVIL], "missing"),
        ] {
            for path in ["/", "/optional"] {
                let request = with(Request::new(method, path), &headers);
                let request = bearer.into_iter().fold(request, |it, token| it.bearer(token));
                let request =
                    cookie.into_iter().fold(request, |it, line| it.with("cookie", &**line));
                let expected = match expected {
                    "missing" if path == "/optional" => "continue",
                    other => other,
                };
                assert_eq!(world.request(request).word(), expected, "{name} at {path}, {round}");
            }
        }
    }
    // A bearer of somebody else does not make it the header's.
    let foreign = token_with(1, json!({}), json!({ "iss": "https://other.example" }));
    let request = Request::new("POST", "/").bearer(&foreign).with("cookie", &*cookie);
    assert_eq!(world.request(with(request.clone(), &[EVIL])).word(), "cross_site");
    assert_eq!(world.request(with(request, &[OWN])).word(), "continue");
    // Preflights carry no credential that counts.
    let method = ("access-control-request-method", "POST");
    let request = Request::new("OPTIONS", "/").with("cookie", &*cookie);
    assert!(
        world.request(with(request, &[EVIL, method])).lines().iter().all(|line| !line.contains(&t))
    );
}

#[test]
fn the_site_is_looked_at_before_any_cryptography() {
    let mut world = World::new(&one_provider(json!([])));
    let forged =
        with(Request::new("POST", "/").with("cookie", format!("main={}", token(9, "k1"))), &[EVIL]);
    assert_eq!(world.request(forged).word(), "cross_site", "no keys, and nobody waits");
    assert!(!world.filter.wants_tick(world.now) || world.verifications.0.get() == 0);
    assert_eq!(world.metric("denied.cross_site"), 1);
    assert_eq!(world.metric("token_cache_miss"), 0);
    let log = world.log().join("\n");
    assert!(log.contains("reason=cross_site rule=default provider=main"), "{log}");
    // What can't be extracted comes before.
    let garbage = with(Request::new("POST", "/").with("cookie", "main=x"), &[EVIL]);
    assert_eq!(world.request(garbage).word(), "malformed");
}

#[test]
fn of_twins_one_cookie_is_enough() {
    let newest = json!({ "duplicate_cookies": "newest" });
    let mut world = World::with_keys(&with_fields(newest, json!({})), &[(1, "k1")]);
    let t = token(1, "k1");
    let u = token_with(1, json!({ "kid": "k1" }), json!({ "iat": START - 10 }));
    let twins = format!("main={t}; main={u}");
    let request =
        |headers: &[(&str, &str)]| with(Request::new("POST", "/").with("cookie", &*twins), headers);
    assert_eq!(world.request(request(&[EVIL])).word(), "cross_site");
    assert_eq!(world.request(request(&[OWN])).word(), "continue");
}

#[test]
fn csrf_reports_once_or_is_off() {
    let t = token(1, "k1");
    let request = || with(Request::new("POST", "/").with("cookie", format!("main={t}")), &[EVIL]);
    let csrf = |mode: &str| with_fields(json!({}), json!({ "csrf": { "mode": mode } }));
    // A request that waits is counted once.
    let mut world = World::new(&csrf("report"));
    assert_eq!(world.request(request()).word(), "wait");
    world.tick();
    world.serve_jwks(&key_set(&[(1, "k1")]));
    assert_eq!(world.resumed_word(), "continue");
    assert_eq!((world.metric("csrf_report"), world.metric("allowed")), (1, 1));
    assert_eq!(world.request(with(request(), &[("sec-fetch-site", "none")])).word(), "continue");
    assert_eq!(world.metric("csrf_report"), 1);
    let mut world = World::with_keys(&csrf("insecure_off"), &[(1, "k1")]);
    assert_eq!(world.request(request()).word(), "continue");
    assert_eq!((world.metric("csrf_report"), world.metric("denied.cross_site")), (0, 0));
    let allowed = json!({ "csrf": { "allowed_origins": ["https://evil.example"], "missing_origin": "deny" } });
    let mut world = World::with_keys(&with_fields(json!({}), allowed), &[(1, "k1")]);
    assert_eq!(world.request(request()).word(), "continue");
    let silent = Request::new("POST", "/").with("cookie", format!("main={t}"));
    assert_eq!(world.request(silent).word(), "cross_site");
    let silent = Request::new("POST", "/").bearer(&t);
    assert_eq!(world.request(silent).word(), "continue");
}

#[test]
fn a_cached_verdict_of_one_rule_is_none_of_another() {
    let path = |path: &str, more: Value| {
        let mut rule = json!({ "match": { "path": { "prefix": path } } });
        for (name, value) in more.as_object().unwrap() {
            rule[name] = value.clone();
        }
        rule
    };
    let admin = json!({ "claim": "roles", "contains": "admin" });
    let write = json!({ "claim": "scope", "contains_all": ["read", "write"] });
    let fields = json!({ "rules": [
        path("/admin", json!({ "require": admin })),
        path("/write", json!({ "require": { "any": [admin, write] } })),
        path("/fresh", json!({ "max_auth_age": "60s" })),
        path("/fresh-admin", json!({ "require": admin, "max_auth_age": "60s" })),
    ] });
    let members = json!({ "auth_time_claim": ["login", "at"], "clock_skew": "5s" });
    let configuration = with_fields(members, fields);
    let signed = |claims: Value| token_with(1, json!({ "kid": "k1" }), claims);
    let login = |at: u64| json!({ "at": at });
    let plain = signed(json!({}));
    let admin = signed(json!({ "roles": ["user", "admin"], "login": login(START) }));
    let writer = signed(json!({ "scope": "write read", "login": login(START - 66) }));
    let late = signed(json!({ "roles": ["admin"], "login": login(START - 64) }));
    let rows = [
        ("/", &plain, "continue"),
        ("/admin", &plain, "insufficient_claims"),
        ("/write", &plain, "insufficient_claims"),
        ("/fresh", &plain, "stale_session"),
        ("/fresh-admin", &plain, "stale_session"),
        ("/admin", &admin, "continue"),
        ("/write", &admin, "continue"),
        ("/fresh", &admin, "continue"),
        ("/fresh-admin", &admin, "continue"),
        ("/admin", &writer, "insufficient_claims"),
        ("/write", &writer, "continue"),
        ("/fresh", &writer, "stale_session"),
        ("/fresh-admin", &writer, "stale_session"),
        ("/fresh", &late, "continue"),
    ];
    for rows in [rows.to_vec(), rows.iter().rev().copied().collect()] {
        let mut world = World::with_keys(&configuration, &[(1, "k1")]);
        for (path, token, expected) in [rows.clone(), rows].concat() {
            let word = world.request(Request::get(path).bearer(token)).word();
            assert_eq!(word, expected, "{path}");
        }
        assert_eq!(world.metric("token_cache_miss"), 4, "each was verified once");
        // A login ages while its token is cached.
        world.pass(Duration::from_secs(66));
        assert_eq!(world.request(Request::get("/fresh").bearer(&admin)).word(), "stale_session");
        assert_eq!(world.request(Request::get("/admin").bearer(&admin)).word(), "continue");
        let log = world.log().join("\n");
        assert!(
            log.contains("reason=insufficient_claims rule=rules[0] provider=main kid=k1"),
            "{log}"
        );
    }
}

#[test]
fn a_login_is_told_by_the_claim_of_the_tokens_own_provider() {
    let configuration = json!({
        "providers": [
            provider("main", json!({ "auth_time_claim": "login" })),
            provider("partner", json!({})),
        ],
        "default": { "access": "denied" },
        "rules": [{ "access": "required", "max_auth_age": "60s" }],
    });
    let mut world = World::with_keys(&configuration, &[(1, "k1")]);
    let claims = |issuer: &str, claim: &str| json!({ "iss": format!("https://{issuer}.example"), claim: START });
    for (issuer, claim, expected) in [
        ("main", "login", "continue"),
        ("main", "auth_time", "stale_session"),
        ("partner", "auth_time", "continue"),
        ("partner", "login", "stale_session"),
        ("partner", "iat", "stale_session"),
    ] {
        let token = token_with(1, json!({ "kid": "k1" }), claims(issuer, claim));
        assert_eq!(
            world.request(Request::get("/").bearer(&token)).word(),
            expected,
            "{issuer} {claim}"
        );
    }
}

/// Let through for want of refusals: everything as the client sent it but what no client may send.
#[test]
fn report_mode_counts_and_touches_nothing() {
    let rule = |path: &str, more: Value| {
        let mut rule = json!({ "match": { "path": { "prefix": path } }, "mode": "report" });
        for (name, value) in more.as_object().unwrap() {
            rule[name] = value.clone();
        }
        rule
    };
    let claim = json!({ "claim": "roles", "contains": "admin" });
    let fields = json!({ "rules": [
        rule("/required", json!({})),
        rule("/optional", json!({ "access": "optional" })),
        rule("/denied", json!({ "access": "denied" })),
        rule("/public", json!({ "access": "public" })),
        rule("/admin", json!({ "require": claim })),
        rule("/fresh", json!({ "max_auth_age": "60s" })),
        rule("/enforced", json!({ "mode": "enforce" })),
    ] });
    let mut world = World::with_keys(&with_fields(json!({}), fields), &[(1, "k1")]);
    let good = token(1, "k1");
    let expired = token_with(1, json!({ "kid": "k1" }), json!({ "exp": START }));
    let forged = token(9, "k1");
    let b = |token: &str| format!("Bearer {token}");
    let (b_good, b_expired, b_forged) = (b(&good), b(&expired), b(&forged));
    let cookie = format!("a=b; main={good}");
    let bearer = |value| vec![("authorization", value)];
    for (name, method, path, headers, reason) in [
        ("nothing", "GET", "/required", vec![], "missing"),
        ("expired", "GET", "/required", bearer(&*b_expired), "expired"),
        ("forged", "GET", "/required", bearer(&b_forged), "bad_signature"),
        ("garbage", "GET", "/required", bearer("Bearer x"), "malformed"),
        ("two", "GET", "/required", bearer("Bearer x,Bearer y"), "multiple_credentials"),
        ("cross-site", "POST", "/required", vec![("cookie", &*cookie), EVIL], "cross_site"),
        ("expired, optional", "GET", "/optional/x", bearer(&b_expired), "expired"),
        ("anybody, denied", "GET", "/denied", bearer(&b_good), "denied_by_rule"),
        ("claims", "GET", "/admin", bearer(&b_good), "insufficient_claims"),
        ("login", "GET", "/fresh", bearer(&b_good), "stale_session"),
    ] {
        let metric = format!("would_deny.{reason}");
        let before = world.metric(&metric);
        let request = with(Request::new(method, path), &headers).with("x-user_id", "admin");
        let outcome = world.request(request.with("x-other", "1"));
        let expected = headers.iter().chain(&[("x-other", "1")]);
        let expected: Vec<_> = expected.map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(outcome.lines(), expected, "{name}");
        assert_eq!(world.metric(&metric), before + 1, "{name}");
        assert_eq!(world.metric(&format!("denied.{reason}")), 0, "{name}");
    }
    assert!(world.log().iter().all(|line| !line.contains("reason=")), "no line says denied");
    let counters = ["allowed", "allowed_public", "allowed_optional", "allowed_preflight"];
    assert_eq!(counters.map(|name| world.metric(name)), [0; 4]);
    // What is allowed is edited as ever.
    let request = Request::get("/required").with("cookie", &*cookie);
    let mut lines = world.request(request).lines();
    lines.sort();
    assert_eq!(
        lines,
        [format!("authorization: {b_good}"), "cookie: a=b".into(), "x-user-id: u-1".into()]
    );
    let method = ("access-control-request-method", "POST");
    let preflight = with(Request::new("OPTIONS", "/required"), &[EVIL, method]);
    let lines = world.request(preflight.with("authorization", &*b_forged)).lines();
    assert_eq!(lines, ["origin: https://evil.example", "access-control-request-method: POST"]);
    assert_eq!(world.request(Request::get("/optional")).word(), "continue");
    assert_eq!(world.request(Request::get("/public")).word(), "continue");
    assert_eq!(counters.map(|name| world.metric(name)), [1; 4]);
    // Other rules, other spellings, and what comes before a rule is known.
    for (name, request, expected) in [
        ("an enforced rule", Request::get("/enforced"), "missing"),
        ("the default", Request::get("/"), "missing"),
        ("another spelling", Request::get("/REQUIRED"), "missing"),
        ("an ambiguous path", Request::get("/required//x"), "ambiguous_path"),
        ("TRACE", Request::new("TRACE", "/required"), "method_not_allowed"),
        ("no host", Request::new("GET", "/required").with(":authority", "x"), "malformed_request"),
    ] {
        assert_eq!(world.request(request).word(), expected, "{name}");
    }
}

#[test]
fn report_mode_never_waits() {
    let report = json!({ "default": { "mode": "report" } });
    let mut world = World::new(&with_fields(json!({}), report));
    let request = Request::get("/").bearer(&token(1, "k1"));
    assert_eq!(world.request(request.clone()).word(), "continue");
    assert_eq!(
        (world.metric("would_deny.keys_unavailable"), world.metric("waiting_streams")),
        (1, 0)
    );
    // The keys come all the same, for the next one.
    world.tick();
    world.serve_error(500);
    assert_eq!(world.request(request.clone()).word(), "continue");
    assert_eq!(world.metric("would_deny.keys_unavailable"), 2, "in back-off");
    world.tick_until_fetch();
    world.serve_jwks(&key_set(&[(1, "k1")]));
    assert_eq!(world.request(request).word(), "continue");
    assert_eq!(world.metric("allowed"), 1);
    // A kid that the set has not.
    world.tick_for(10);
    assert_eq!(world.request(Request::get("/").bearer(&token(2, "k2"))).word(), "continue");
    assert_eq!(
        (world.metric("would_deny.keys_unavailable"), world.metric("waiting_streams")),
        (3, 0)
    );
    world.tick();
    assert_eq!(world.flights.len(), 1);
    world.serve_jwks(&key_set(&[(2, "k2")]));
    assert_eq!(world.request(Request::get("/").bearer(&token(2, "k2"))).word(), "continue");
    assert_eq!(world.metric("allowed"), 2);
}
