//! Stories: requests, fetches and ticks in an order, and what becomes of each.

use std::time::Duration;

use serde_json::json;

use self::world::{Request, START, World, key_set, one_provider, provider, token, token_with};
use crate::filter::waiting::PATIENCE_FOR_NEWER_SET;
use crate::jwks::fetch::{FetchError, FetchResponse};

mod access_log;
mod decision;
mod random;
mod responses;
mod supertokens;
mod world;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_cold_start_waits_for_the_first_fetch() {
    let mut world = World::new(&one_provider(json!([])));
    let request = Request::get("/").bearer(&token(1, "k1"));
    assert_eq!(world.request(request.clone()).word(), "wait");
    assert!(world.filter.wants_tick(world.now));
    world.tick();
    assert_eq!(world.flights.len(), 1);
    let headers = world.flights[0].headers.iter().map(|(name, value)| format!("{name} {value}"));
    assert_eq!(
        headers.take(4).collect::<Vec<_>>().join(", "),
        ":method GET, :scheme https, :authority main.example, :path /jwks"
    );
    assert!(!world.filter.wants_tick(world.now));
    assert_eq!(world.request(request).word(), "wait");
    assert_eq!(world.metric("waiting_streams"), 2);
    world.serve_jwks(&key_set(&[(1, "k1")]));
    let words: Vec<_> = world.resumed().iter().map(|outcome| outcome.word()).collect();
    assert_eq!(words, ["continue", "continue"]);
    assert!(world.resumed().is_empty(), "woken once");
    assert_eq!(world.metric("waiting_streams"), 0);
    assert_eq!(world.metric("allowed"), 2);
    assert_eq!(world.metric("token_cache_miss"), 1);
    assert_eq!(world.metric("token_cache_hit"), 1);
    assert_eq!(world.metric("jwks_fetch_ok.main"), 1);
    world.tick_for(2);
    assert_eq!(world.metric("jwks_keys.main"), 1);
    assert_eq!(world.metric("jwks_age_seconds.main"), 2);
}

#[test]
fn what_no_key_could_save_does_not_wait() {
    let mut world = World::new(&one_provider(json!([])));
    for (name, header, payload, word) in [
        ("expired", json!({}), json!({"exp": START}), "expired"),
        ("a second left", json!({}), json!({"exp": START + 1}), "wait"),
        ("not yet valid", json!({}), json!({"nbf": START + 1}), "not_yet_valid"),
        ("no expiry", json!({}), json!({"exp": null}), "malformed"),
        ("alg none", json!({"alg": "none"}), json!({}), "algorithm_not_allowed"),
        ("HMAC", json!({"alg": "HS256"}), json!({}), "algorithm_not_allowed"),
        ("not configured", json!({"alg": "ES256"}), json!({}), "algorithm_not_allowed"),
        ("foreign", json!({}), json!({"iss": "https://other.example"}), "issuer_mismatch"),
        ("no issuer", json!({}), json!({"iss": ""}), "issuer_empty"),
    ] {
        let request = Request::get("/").bearer(&token_with(1, header, payload));
        assert_eq!(world.request(request).word(), word, "{name}");
    }
}

#[test]
fn a_key_server_that_fails_is_left_alone_for_a_while() {
    let mut world = World::new(&one_provider(json!([])));
    let request = Request::get("/").bearer(&token(1, "k1"));
    assert_eq!(world.request(request.clone()).word(), "wait");
    world.tick();
    world.serve_error(500);
    assert_eq!(world.resumed_word(), "keys_unavailable");
    // In back-off nobody waits.
    let outcome = world.request(request.clone());
    let expected = ("retry-after", b"1".to_vec());
    assert!(outcome.denial().headers.contains(&expected), "{outcome:?}");
    world.tick();
    assert!(world.flights.is_empty());
    world.pass(SECOND);
    assert_eq!(world.request(request).word(), "wait");
    world.tick();
    world.serve_jwks(&key_set(&[(1, "k1")]));
    assert_eq!(world.resumed_word(), "continue");
    let log = world.log().join("\n");
    assert!(log.contains("provider=main jwks: fetch failed: status 500"), "{log}");
    assert!(log.contains("provider=main jwks: fetched again"), "{log}");
    assert_eq!(world.metric("jwks_fetch_error.main"), 1);
    assert_eq!(world.metric("denied.keys_unavailable"), 2);
}

#[test]
fn a_fetch_that_is_not_sent_is_not_sent_again_in_the_same_turn() {
    let mut world = World::new(&one_provider(json!([])));
    world.filter.on_tick(world.now);
    let mut sent = 0;
    while let Some(fetch) = world.filter.poll_fetch(world.now) {
        world.filter.on_fetch_done(world.now, fetch.id, Err(FetchError::NotSent));
        sent += 1;
    }
    assert_eq!(sent, 1);
}

#[test]
fn nobody_waits_longer_than_the_timeout_and_a_second() {
    let mut world = World::new(&one_provider(json!([])));
    assert_eq!(world.request(Request::get("/").bearer(&token(1, "k1"))).word(), "wait");
    world.tick();
    world.tick_for(5);
    assert!(world.resumed().is_empty());
    world.tick_for(1);
    assert_eq!(world.resumed_word(), "keys_unavailable");
    // Five seconds more and the fetch itself is given up; a late answer means nothing.
    world.tick_for(6);
    assert_eq!(world.flights.len(), 2);
    let lost = world.serve(Err(FetchError::NoAnswer));
    assert_ne!(lost, world.flights[0].id);
    world.tick();
    assert_eq!(world.flights.len(), 1, "never two at a time");
    world.serve_jwks(&key_set(&[(1, "k1")]));
    assert_eq!(world.request(Request::get("/").bearer(&token(1, "k1"))).word(), "continue");
}

#[test]
fn a_stream_that_is_gone_is_forgotten() {
    let mut world = World::new(&one_provider(json!([])));
    for _ in 0..2 {
        assert_eq!(world.request(Request::get("/").bearer(&token(1, "k1"))).word(), "wait");
    }
    world.hang_up();
    assert_eq!(world.metric("waiting_streams"), 1);
    world.tick();
    world.serve_jwks(&key_set(&[(1, "k1")]));
    // Between the fetch and its turn.
    world.hang_up();
    assert!(world.resumed().is_empty());
    assert_eq!(world.metric("waiting_streams"), 0);
}

#[test]
fn a_rotation_is_found_by_its_unknown_kid() {
    let mut world = World::with_keys(&one_provider(json!([])), &[(1, "k1")]);
    world.tick_for(10);
    let rotated = Request::get("/").bearer(&token(2, "k2"));
    assert_eq!(world.request(rotated.clone()).word(), "wait");
    assert!(world.filter.wants_tick(world.now));
    world.tick();
    assert_eq!(world.request(rotated.clone()).word(), "wait");
    assert_eq!(world.flights.len(), 1, "one fetch for all");
    world.serve_jwks(&key_set(&[(1, "k1"), (2, "k2")]));
    let words: Vec<_> = world.resumed().iter().map(|outcome| outcome.word()).collect();
    assert_eq!(words, ["continue", "continue"]);
    assert_eq!(world.request(Request::get("/").bearer(&token(1, "k1"))).word(), "continue");
}

#[test]
fn an_unknown_kid_is_asked_for_once_in_thirty_seconds() {
    let mut world = World::with_keys(&one_provider(json!([])), &[(1, "k1")]);
    world.tick_for(10);
    let forged = Request::get("/").bearer(&token_with(
        9,
        json!({"kid": "forged"}),
        json!({"exp": START + 3_600}),
    ));
    assert_eq!(world.request(forged.clone()).word(), "wait");
    world.tick();
    world.serve_jwks(&key_set(&[(1, "k1")]));
    assert_eq!(world.resumed_word(), "unknown_key");
    assert_eq!(world.request(forged.clone()).word(), "unknown_key");
    world.pass(Duration::from_secs(31));
    assert_eq!(world.request(forged).word(), "wait");
    assert_eq!(world.verifications.0.get(), 0);
}

#[test]
fn ten_forged_kids_do_not_lock_out_a_real_rotation() {
    let mut world = World::with_keys(&one_provider(json!([])), &[(1, "k1")]);
    for forged in 0..10 {
        let request = Request::get("/").bearer(&token(9, &format!("forged-{forged}")));
        world.request(request);
        world.tick_for(1);
        while !world.flights.is_empty() {
            world.serve_jwks(&key_set(&[(1, "k1")]));
        }
        world.resumed();
    }
    assert!(world.metric("jwks_fetch_ok.main") <= 3, "a fetch in five seconds at most");
    assert_eq!(world.request(Request::get("/").bearer(&token(2, "k2"))).word(), "wait");
    let seconds = world.tick_until_fetch();
    assert!(seconds <= 5, "{seconds}");
    world.serve_jwks(&key_set(&[(2, "k2")]));
    let words: Vec<_> = world.resumed().iter().map(|outcome| outcome.word()).collect();
    assert_eq!(words, ["continue"]);
}

#[test]
fn forged_kids_have_a_pool_of_their_own() {
    let mut world = World::with_keys(&one_provider(json!([])), &[(1, "k1")]);
    for forged in 0..100 {
        let request = Request::get("/").bearer(&token(9, &format!("forged-{forged}")));
        assert_eq!(world.request(request).word(), "wait");
    }
    let real = Request::get("/").bearer(&token(2, "k2"));
    assert_eq!(world.request(real.clone()).word(), "unknown_key", "no room");
    assert_eq!(world.request(Request::get("/").bearer(&token(1, "k1"))).word(), "continue");
    // The fetch that they all wait for fails: nothing is known of the real one.
    world.tick_for(5);
    world.serve_error(503);
    world.resumed();
    assert_eq!(world.metric("waiting_streams"), 0);
    assert_eq!(world.request(real).word(), "wait");
    world.tick_for(5);
    world.serve_jwks(&key_set(&[(2, "k2")]));
    assert_eq!(world.resumed_word(), "continue");
}

#[test]
fn nobody_waits_for_a_newer_set_longer_than_six_seconds() {
    let mut world = World::with_keys(&one_provider(json!([])), &[(1, "k1")]);
    world.tick_for(10);
    let real = Request::get("/").bearer(&token(2, "k2"));
    assert_eq!(world.request(real.clone()).word(), "wait");
    world.tick();
    world.tick_for(PATIENCE_FOR_NEWER_SET.as_secs());
    assert_eq!(world.resumed_word(), "unknown_key");
    // No set has come since: its kid is not known to be unknown.
    assert_eq!(world.request(real).word(), "wait");
}

#[test]
fn a_verdict_ends_with_its_key() {
    let rows = [
        ("the key is still there", key_set(&[(1, "k1"), (2, "k2")]), "continue"),
        ("under another name", key_set(&[(1, "renamed")]), "wait"),
        ("gone", key_set(&[(2, "k2")]), "wait"),
        ("its name has other material", key_set(&[(2, "k1")]), "bad_signature"),
    ];
    for (name, document, expected) in rows {
        let mut world = World::with_keys(&one_provider(json!([])), &[(1, "k1")]);
        let payload = json!({"exp": START + 10_000});
        let request = Request::get("/").bearer(&token_with(1, json!({"kid": "k1"}), payload));
        assert_eq!(world.request(request.clone()).word(), "continue", "{name}");
        assert_eq!(world.request(request.clone()).word(), "continue", "{name}");
        assert_eq!(world.metric("token_cache_hit"), 1, "{name}");
        world.tick_until_fetch();
        world.serve_jwks(&document);
        assert_eq!(world.request(request).word(), expected, "{name}");
    }
}

#[test]
fn an_expired_set_accepts_nothing() {
    let mut world = World::with_keys(&one_provider(json!([])), &[(1, "k1")]);
    let cached = token_with(1, json!({"kid": "k1"}), json!({"exp": START + 90_000}));
    let cached = Request::get("/").bearer(&cached);
    let other = token_with(1, json!({"kid": "k1"}), json!({"exp": START + 90_001}));
    let other = Request::get("/").bearer(&other);
    assert_eq!(world.request(cached.clone()).word(), "continue");
    // Stale: fetches fail, the old set serves for an hour (and a fetch's time).
    for _ in 0..3_600 {
        world.tick_for(1);
        assert_eq!(world.request(cached.clone()).word(), "continue");
        while !world.flights.is_empty() {
            world.serve(Err(FetchError::NoAnswer));
        }
    }
    assert_eq!(world.request(other.clone()).word(), "continue", "verified with the stale set");
    let tries = world.metric("jwks_fetch_error.main");
    assert!((50..=75).contains(&tries), "{tries} tries in 50 minutes, a minute apart");
    let log = world.log().join("\n");
    assert_eq!(log.matches("fetch failed").count(), 1, "one line per change");
    world.pass(Duration::from_secs(5));
    for request in [&cached, &other] {
        let word = world.request(request.clone()).word();
        assert!(["wait", "keys_unavailable"].contains(&word), "{word}");
    }
    // The key server is back.
    world.tick_until_fetch();
    world.serve_jwks(&key_set(&[(1, "k1")]));
    world.resumed();
    for request in [cached, other] {
        assert_eq!(world.request(request).word(), "continue");
    }
}

#[test]
fn an_idle_set_is_fetched_anew_when_a_request_comes() {
    let mut world = World::with_keys(&one_provider(json!([])), &[(1, "k1")]);
    let valid = |kid| token_with(1, json!({"kid": kid}), json!({"exp": START + 90_000}));
    world.tick_for(2_000);
    assert!(world.flights.is_empty(), "nobody asked");
    assert_eq!(world.request(Request::get("/").bearer(&valid("k1"))).word(), "continue");
    world.tick();
    assert_eq!(world.flights.len(), 1, "in the background");
    world.serve_jwks(&key_set(&[(1, "k1")]));
    // Expired for want of requests: the next one waits.
    world.pass(Duration::from_secs(4_000));
    world.tick();
    assert_eq!(world.request(Request::get("/").bearer(&valid("k1"))).word(), "wait");
    world.tick();
    world.serve_jwks(&key_set(&[(1, "k1")]));
    assert_eq!(world.resumed_word(), "continue");
}

#[test]
fn a_token_is_decided_by_its_rule_every_time() {
    let configuration = json!({
        "providers": [
            provider("main", json!({})),
            provider("partner", json!({})),
            provider("twin", json!({
                "issuers": ["https://main.example"], "audiences": ["orders"],
            })),
        ],
        "rules": [
            { "match": { "path": { "prefix": "/main" } }, "providers": ["main"] },
            { "match": { "path": { "prefix": "/partner" } }, "providers": ["partner"] },
            { "match": { "path": { "prefix": "/twin" } }, "providers": ["twin"] },
        ],
    });
    let kid = json!({"kid": "k1"});
    let main = token_with(1, kid.clone(), json!({}));
    let orders = token_with(1, kid.clone(), json!({"aud": ["x", "orders"]}));
    let partner = token_with(1, kid, json!({"iss": "https://partner.example"}));
    // In both orders: what is cached changes nothing.
    let rows = [
        ("/main", &main, "continue"),
        ("/partner", &main, "issuer_mismatch"),
        ("/twin", &main, "audience_mismatch"),
        ("/main", &partner, "issuer_mismatch"),
        ("/partner", &partner, "continue"),
        ("/twin", &partner, "issuer_mismatch"),
        ("/main", &orders, "continue"),
        ("/twin", &orders, "continue"),
        ("/", &main, "continue"),
        ("/", &partner, "continue"),
    ];
    for rows in [rows.to_vec(), rows.iter().rev().copied().collect()] {
        let mut world = World::with_keys(&configuration, &[(1, "k1")]);
        for (path, token, expected) in [rows.clone(), rows].concat() {
            let word = world.request(Request::get(path).bearer(token)).word();
            assert_eq!(word, expected, "{path}");
            let cookie = path.trim_start_matches('/');
            if !cookie.is_empty() {
                let request = Request::get(path).with("cookie", format!("{cookie}={token}"));
                assert_eq!(world.request(request).word(), expected, "{path}, cookie");
            }
        }
    }
}

#[test]
fn reasons_are_the_same_whether_a_token_is_cached_or_not() {
    let any = json!({ "insecure_any_issuer": true, "issuers": [] });
    let mut any = provider("any", any);
    any.as_object_mut().unwrap().remove("issuers");
    let configuration = json!({
        "providers": [provider("main", json!({})), any],
        "rules": [
            { "match": { "path": { "prefix": "/main" } }, "providers": ["main"] },
            { "match": { "path": { "prefix": "/any" } }, "providers": ["any"] },
        ],
    });
    let mut world = World::with_keys(&configuration, &[(1, "k1")]);
    let nameless = token_with(1, json!({"kid": "k1"}), json!({"iss": ""}));
    for round in ["first", "cached"] {
        let word = world.request(Request::get("/main").bearer(&nameless)).word();
        assert_eq!(word, "issuer_empty", "{round}");
        let word = world.request(Request::get("/any").bearer(&nameless)).word();
        assert_eq!(word, "continue", "{round}");
    }
}

#[test]
fn of_twin_cookies_the_newest_counts() {
    let configuration = json!({
        "providers": [provider("main", json!({ "duplicate_cookies": "newest" }))],
    });
    let valid = |claims| token_with(1, json!({"kid": "k1"}), claims);
    let old = valid(json!({"iat": START - 10}));
    let new = valid(json!({"iat": START - 5}));
    let undated = valid(json!({"iat": START - 9, "jti": 1}));
    let other = valid(json!({"sub": "u-2"}));
    let nobodys = valid(json!({"sub": 1}));
    let expired = valid(json!({"exp": START}));
    let forged = token(9, "k1");
    let retired = token(9, "retired");
    let foreign = valid(json!({"iss": "https://other.example"}));
    for (name, twins, expected) in [
        ("new last", vec![&old, &new], Ok(&new)),
        ("new first", vec![&new, &old], Ok(&new)),
        ("three", vec![&old, &new, &undated], Ok(&new)),
        ("the same twice", vec![&old, &old, &new], Ok(&new)),
        ("another's", vec![&old, &other], Err("duplicate_cookie")),
        ("nobody's", vec![&nobodys, &valid(json!({"sub": 2}))], Err("duplicate_cookie")),
        ("one has expired", vec![&expired, &old], Ok(&old)),
        ("one is forged", vec![&forged, &old], Ok(&old)),
        ("one is foreign", vec![&foreign, &old], Ok(&old)),
        ("one is garbage", vec![&"x".to_owned(), &old], Ok(&old)),
        ("its key has gone", vec![&retired, &old], Ok(&old)),
        ("all have expired", vec![&expired, &valid(json!({"exp": 1}))], Err("expired")),
        ("none is ours", vec![&foreign, &"x".to_owned()], Err("issuer_mismatch")),
        ("five", vec![&old, &new, &undated, &expired, &forged], Err("duplicate_cookie")),
    ] {
        let mut world = World::with_keys(&configuration, &[(1, "k1")]);
        world.tick_for(10);
        let cookies: Vec<_> = twins.iter().map(|token| format!("main={token}")).collect();
        let mut outcome =
            world.request(Request::get("/").with("cookie", cookies.join("; ") + "; a=b"));
        if outcome.word() == "wait" {
            world.tick();
            world.serve_jwks(&key_set(&[(1, "k1")]));
            outcome = world.resumed().remove(0);
        }
        match expected {
            Ok(token) => {
                let lines = ["cookie: a=b".into(), format!("authorization: Bearer {token}")];
                let mut found = outcome.lines();
                found.retain(|line| !line.starts_with("x-user-id"));
                found.sort_by_key(|line| line.starts_with("authorization"));
                assert_eq!(found, lines, "{name}");
            }
            Err(word) => assert_eq!(outcome.word(), word, "{name}"),
        }
    }
}

#[test]
fn a_request_costs_four_verifications_at_most() {
    let configuration = json!({
        "providers": [provider("main", json!({ "duplicate_cookies": "newest" }))],
    });
    let mut world = World::with_keys(&configuration, &[(1, "k1"), (2, "k1"), (3, "k1")]);
    let cookies: Vec<_> = (10..14).map(|key| format!("main={}", token(key, "k1"))).collect();
    let outcome = world.request(Request::get("/").with("cookie", cookies.join("; ")));
    assert_eq!(outcome.word(), "bad_signature");
    assert_eq!(world.verifications.0.get(), 4);
    // One token: two keys at most.
    world.request(Request::get("/").bearer(&token(3, "k1")));
    assert_eq!(world.verifications.0.get(), 6);
}

#[test]
fn each_access_lets_through_what_it_says() {
    let configuration = one_provider(json!([
        { "match": { "path": { "prefix": "/public" } }, "access": "public" },
        { "match": { "path": { "prefix": "/optional" } }, "access": "optional" },
        { "match": { "path": { "prefix": "/denied" } }, "access": "denied" },
        { "name": "lax", "match": { "path": { "prefix": "/lax" } }, "access": "optional",
          "insecure_forward_foreign": true },
    ]));
    let mut world = World::with_keys(&configuration, &[(1, "k1")]);
    let good = format!("Bearer {}", token(1, "k1"));
    let bad = format!("Bearer {}", token(9, "k1"));
    let foreign = token_with(9, json!({"kid": "f"}), json!({"iss": "https://other.example"}));
    let foreign = format!("Bearer {foreign}");
    let good_line = format!("authorization: {good}");
    let foreign_line = format!("authorization: {foreign}");
    let basic = "Basic dTpw".to_owned();
    let user = "x-user-id: u-1";
    for (method, path, authorization, expected) in [
        ("GET", "/public", None, Ok(vec![])),
        ("GET", "/public", Some(&basic), Ok(vec!["authorization: Basic dTpw"])),
        ("GET", "/public", Some(&foreign), Ok(vec![&*foreign_line])),
        ("GET", "/optional", None, Ok(vec![])),
        ("GET", "/optional", Some(&basic), Ok(vec!["authorization: Basic dTpw"])),
        ("GET", "/optional", Some(&foreign), Ok(vec![])),
        ("GET", "/optional", Some(&good), Ok(vec![&*good_line, user])),
        ("GET", "/optional", Some(&bad), Err("bad_signature")),
        ("GET", "/lax", Some(&foreign), Ok(vec![&*foreign_line])),
        ("GET", "/lax", Some(&bad), Err("bad_signature")),
        ("GET", "/denied", Some(&good), Err("denied_by_rule")),
        ("GET", "/", None, Err("missing")),
        ("GET", "/", Some(&basic), Err("missing")),
        ("GET", "/", Some(&foreign), Err("issuer_mismatch")),
        ("GET", "/", Some(&bad), Err("bad_signature")),
        ("GET", "/", Some(&good), Ok(vec![&*good_line, user])),
        ("GET", "/PUBLIC", None, Err("missing")),
        ("GET", "/DENIED/x", Some(&good), Err("denied_by_rule")),
        ("GET", "//public", None, Err("ambiguous_path")),
        ("GET", "public", None, Err("malformed_request")),
        ("TRACE", "/public", None, Err("method_not_allowed")),
        ("trace", "/public", None, Err("method_not_allowed")),
        ("PREFLIGHT", "/", Some(&good), Ok(vec![])),
        ("PREFLIGHT", "/", Some(&bad), Ok(vec![])),
        ("PREFLIGHT", "/lax", Some(&foreign), Ok(vec![&*foreign_line])),
        ("PREFLIGHT", "/lax", Some(&bad), Ok(vec![])),
        ("PREFLIGHT", "/denied", None, Err("denied_by_rule")),
        ("OPTIONS", "/", None, Err("missing")),
    ] {
        let row = format!("{method} {path} {authorization:?}");
        let mut request = match method {
            "PREFLIGHT" => Request::new("OPTIONS", path)
                .with("origin", "https://a.example")
                .with("access-control-request-method", "PUT"),
            method => Request::new(method, path),
        };
        // What no client may send goes on every path.
        request = request.with("x-user-id", "admin").with("x_user.id", "admin");
        if let Some(value) = authorization {
            request = request.with("authorization", value.as_str());
        }
        let outcome = world.request(request);
        match expected {
            Ok(lines) => {
                let mut found = outcome.lines();
                found.retain(|line| !line.starts_with("origin") && !line.starts_with("access-"));
                assert_eq!(found, lines, "{row}");
            }
            Err(word) => assert_eq!(outcome.word(), word, "{row}"),
        }
    }
    for name in ["x-user-id", "X_USER.ID", "authorization", "cookie"] {
        assert!(world.filter.removes_trailer(name.as_bytes()), "{name}");
    }
    assert!(!world.filter.removes_trailer(b"grpc-status"));
}

#[test]
fn a_denial_leaves_a_line_without_secrets() {
    let rules = json!([{ "name": "admin", "match": { "path": { "prefix": "/a" } } }]);
    let mut world = World::with_keys(&one_provider(rules), &[(1, "k1")]);
    let forged = token(9, "k1");
    world.request(Request::get("/a/b?token=secret").bearer(&forged));
    world.request(Request::get("/"));
    world.request(Request::get("//"));
    assert_eq!(
        world.log(),
        [
            "reason=bad_signature rule=admin provider=main kid=k1 method=GET path=/a/b",
            "reason=missing rule=default method=GET path=/",
            "reason=ambiguous_path method=GET path=//",
        ]
    );
    assert_eq!(world.metric("denied.bad_signature"), 1);
    assert_eq!(world.metric("denied.missing"), 1);
    assert_eq!(world.metric("denied.ambiguous_path"), 1);
    for _ in 0..20 {
        world.request(Request::get("/"));
    }
    assert_eq!(world.log().len(), 7);
    world.tick_for(1);
    assert_eq!(world.log(), ["suppressed=13"]);
    world.tick_for(1);
    assert!(world.log().is_empty());
}

#[test]
fn a_broken_document_fills_no_log() {
    let mut world = World::new(&one_provider(json!([])));
    world.tick();
    let mut keys = vec![json!({"kty": "oct"}); 10_000];
    keys.push(crate::jwt::test_keys::numbered_jwk(1, "k1"));
    let document = json!({ "keys": keys }).to_string();
    world.serve_jwks(&document);
    let log = world.log();
    assert!((2..=20).contains(&log.len()), "{} lines", log.len());
    assert!(log.last().unwrap().contains("9990 keys more"), "{:?}", log.last());
    assert_eq!(world.request(Request::get("/").bearer(&token(1, "k1"))).word(), "continue");
    // The same document again is no news.
    world.tick_until_fetch();
    world.serve_jwks(&document);
    assert!(world.log().is_empty());
}

#[test]
fn max_age_shortens_the_refresh_but_not_below_a_minute() {
    for (cache_control, soonest, latest) in
        [("max-age=0", 48, 60), ("max-age=120", 96, 120), ("max-age=86400", 480, 600)]
    {
        let mut world = World::new(&one_provider(json!([])));
        world.tick();
        let body = key_set(&[(1, "k1")]);
        let (cache_control, body) = (Some(cache_control.as_bytes()), body.as_bytes());
        world.serve(Ok(FetchResponse { status: 200, cache_control, body }));
        assert_eq!(world.request(Request::get("/").bearer(&token(1, "k1"))).word(), "continue");
        let seconds = world.tick_until_fetch();
        assert!((soonest..=latest).contains(&seconds), "{cache_control:?}: {seconds}");
    }
}

#[test]
fn two_providers_wait_apart() {
    let configuration =
        json!({ "providers": [provider("main", json!({})), provider("other", json!({}))] });
    let mut world = World::new(&configuration);
    world.tick();
    assert_eq!(world.flights.len(), 2);
    let other = token_with(2, json!({"kid": "k2"}), json!({"iss": "https://other.example"}));
    assert_eq!(world.request(Request::get("/").bearer(&other)).word(), "wait");
    world.serve_jwks(&key_set(&[(1, "k1")]));
    assert!(world.resumed().is_empty(), "not its keys");
    world.serve_jwks(&key_set(&[(2, "k2")]));
    assert_eq!(world.resumed_word(), "continue");
    assert_eq!(world.paused(), 0);
}

#[test]
fn uploads_weigh_ten_streams() {
    let mut world = World::new(&one_provider(json!([])));
    let request = Request::get("/").bearer(&token(1, "k1"));
    for _ in 0..19 {
        assert_eq!(world.request(request.clone().with_body()).word(), "wait");
    }
    for _ in 0..5 {
        assert_eq!(world.request(request.clone()).word(), "wait");
    }
    assert_eq!(world.request(request.clone().with_body()).word(), "keys_unavailable");
    for _ in 0..5 {
        assert_eq!(world.request(request.clone()).word(), "wait");
    }
    assert_eq!(world.request(request.clone()).word(), "keys_unavailable");
    world.hang_up();
    assert_eq!(world.request(request.with_body()).word(), "wait");
}
