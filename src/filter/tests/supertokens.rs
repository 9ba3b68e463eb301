//! Stories about SuperTokens' sessions: whose a token is, what refuses it, what backends see.

use serde_json::{Value, json};

use super::world::{Request, START, World, provider};
use crate::denial::Denial;
use crate::jwt::algorithm::Algorithm::Rs256;
use crate::jwt::test_keys::{base64url, jwk_with, sign, signing_input};

/// A SuperTokens app with `preset` and other members set.
fn app(preset: Value, members: Value) -> Value {
    let mut own = json!({ "api_domain": "https://api.example.com" });
    let mut provider = json!({
        "name": "st", "clock_skew": "0s", "jwks": { "remote": { "cluster": "auth" } },
    });
    for (target, members) in [(&mut own, preset), (&mut provider, members)] {
        for (name, value) in members.as_object().unwrap() {
            target[name] = value.clone();
        }
    }
    provider["preset"] = json!({ "supertokens": own });
    provider
}

/// A session with other members in header and payload; `null` takes one away.
fn session_with(header: Value, payload: Value) -> String {
    let mut whole = [
        json!({ "alg": "RS256", "typ": "JWT", "kid": "d-1", "version": "5" }),
        json!({
            "iss": "https://api.example.com/auth", "sub": "u-1", "rsub": "u-1", "tId": "public",
            "iat": START, "exp": START + 300, "sessionHandle": "h-1", "refreshTokenHash1": "r",
            "parentRefreshTokenHash1": null, "antiCsrfToken": "csrf-1", "stt": 0,
        }),
    ];
    for (own, members) in whole.iter_mut().zip([header, payload]) {
        let own = own.as_object_mut().unwrap();
        for (name, value) in members.as_object().unwrap() {
            match value {
                Value::Null => drop(own.remove(name)),
                value => drop(own.insert(name.clone(), value.clone())),
            }
        }
    }
    let [header, payload] = whole;
    let input = signing_input(&header.to_string(), &payload.to_string());
    format!("{input}.{}", base64url(&sign(Rs256, input.as_bytes())))
}

fn session() -> String {
    session_with(json!({}), json!({}))
}

/// A session with the signature of another.
fn with_other_signature(token: &str) -> String {
    let other = session_with(json!({}), json!({"sub": "u-9"}));
    let (input, signature) = (token.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1);
    format!("{input}.{signature}")
}

/// A world that knows the key under these names.
fn world(configuration: &Value) -> World {
    let mut world = World::new(configuration);
    world.tick();
    let keys: Vec<_> =
        ["d-1", "s-1"].iter().map(|id| jwk_with(Rs256, json!({ "kid": id }))).collect();
    while !world.flights.is_empty() {
        world.serve_jwks(&json!({ "keys": keys }).to_string());
    }
    world
}

fn one(preset: Value, members: Value) -> Value {
    json!({ "providers": [app(preset, members)] })
}

fn with_cookie(request: Request, token: &str) -> Request {
    request.with("cookie", format!("sAccessToken={token}"))
}

#[test]
fn a_token_of_another_structure_is_nobodys() {
    let none = json!({});
    let mut world = world(&one(json!({}), json!({})));
    for (name, header, payload, expected) in [
        ("version 5", none.clone(), none.clone(), "continue"),
        ("version 4", json!({"version": "4"}), json!({"rsub": null}), "continue"),
        ("version 3", json!({"version": "3"}), json!({"rsub": null, "tId": null}), "continue"),
        ("no version", json!({"version": null}), json!({"rsub": null}), "continue"),
        ("no issuer", none.clone(), json!({"iss": null}), "continue"),
        ("version 2", json!({"version": "2"}), none.clone(), "not_a_session"),
        ("version as a number", json!({"version": 5}), none.clone(), "not_a_session"),
        ("another type", json!({"typ": "at+jwt"}), none.clone(), "not_a_session"),
        ("the type in lower case", json!({"typ": "jwt"}), none.clone(), "not_a_session"),
        ("no type", json!({"typ": null}), none.clone(), "not_a_session"),
        ("no kid", json!({"kid": null}), none.clone(), "not_a_session"),
        ("OAuth2 access token", none.clone(), json!({"stt": 1}), "not_a_session"),
        ("ID token", none.clone(), json!({"stt": 2}), "not_a_session"),
        ("no handle", none.clone(), json!({"sessionHandle": null}), "not_a_session"),
        ("no refresh token's hash", none.clone(), json!({"refreshTokenHash1": null}), {
            "not_a_session"
        }),
        ("no recipe user", none.clone(), json!({"rsub": null}), "not_a_session"),
        ("no iat", none.clone(), json!({"iat": null}), "not_a_session"),
        ("no exp", none.clone(), json!({"exp": null}), "not_a_session"),
        ("an empty subject", none.clone(), json!({"sub": ""}), "not_a_session"),
        ("another issuer", none.clone(), json!({"iss": "https://api.example.com"}), {
            "issuer_mismatch"
        }),
        ("an empty issuer", none.clone(), json!({"iss": ""}), "issuer_empty"),
        ("a static key", json!({"kid": "s-1"}), none.clone(), "unknown_key"),
        ("a static key, expired", json!({"kid": "s-1"}), json!({"exp": START}), "expired"),
        ("expired", none.clone(), json!({"exp": START}), "expired"),
        ("not yet valid", none.clone(), json!({"nbf": START + 1}), "not_yet_valid"),
        ("another algorithm", json!({"alg": "PS256"}), none.clone(), "algorithm_not_allowed"),
    ] {
        let token = session_with(header, payload);
        // Twice: what is cached changes nothing.
        for round in ["first", "again"] {
            let word = world.request(Request::get("/").bearer(&token)).word();
            assert_eq!(word, expected, "{name}, header, {round}");
            let word = world.request(with_cookie(Request::get("/"), &token)).word();
            assert_eq!(word, expected, "{name}, cookie, {round}");
        }
    }
    let cookie = Request::get("/").with("cookie", "sAccessToken=x");
    assert_eq!(world.request(cookie).word(), "malformed");
    let forged = with_other_signature(&session());
    assert_eq!(world.request(with_cookie(Request::get("/"), &forged)).word(), "bad_signature");
    assert_eq!(world.request(Request::get("/")).word(), "missing");
}

#[test]
fn a_key_of_the_wrong_kind_asks_for_no_newer_set() {
    let mut dynamic = world(&one(json!({}), json!({})));
    dynamic.tick_for(10);
    let rotated = session_with(json!({"kid": "d-2"}), json!({}));
    let unknown = session_with(json!({"kid": "s-2"}), json!({}));
    assert_eq!(dynamic.request(Request::get("/").bearer(&unknown)).word(), "unknown_key");
    assert!(!dynamic.filter.wants_tick(dynamic.now));
    assert_eq!(dynamic.request(Request::get("/").bearer(&rotated)).word(), "wait");
    for (signing_keys, expected) in [
        ("dynamic", ["continue", "unknown_key"]),
        ("static", ["unknown_key", "continue"]),
        ("any", ["continue", "continue"]),
    ] {
        let mut world = world(&one(json!({ "signing_keys": signing_keys }), json!({})));
        let words = ["d-1", "s-1"].map(|kid| {
            let token = session_with(json!({ "kid": kid }), json!({}));
            world.request(Request::get("/").bearer(&token)).word()
        });
        assert_eq!(words, expected, "{signing_keys}");
    }
}

#[test]
fn the_header_wins_unless_it_holds_somebody_elses() {
    let mut world = world(&one(json!({}), json!({})));
    let (own, other) = (session(), session_with(json!({}), json!({"sub": "u-2"})));
    let stt = session_with(json!({}), json!({"stt": 1}));
    let expired = session_with(json!({}), json!({"exp": START}));
    let encoded = own.replace('.', "%2E");
    for (name, request, expected) in [
        ("both", with_cookie(Request::get("/").bearer(&own), &other), Ok(&own)),
        ("opaque", with_cookie(Request::get("/").bearer("opaque"), &own), Ok(&own)),
        ("another type of token", with_cookie(Request::get("/").bearer(&stt), &own), Ok(&own)),
        ("expired", with_cookie(Request::get("/").bearer(&expired), &own), Err("expired")),
        ("percent-encoded", with_cookie(Request::get("/"), &encoded), Ok(&own)),
        (
            "by st-auth-mode",
            { with_cookie(Request::get("/").with("st-auth-mode", "header"), &own) },
            Ok(&own),
        ),
    ] {
        let outcome = world.request(request);
        match expected {
            Ok(token) => {
                let line = format!("authorization: Bearer {token}");
                assert!(outcome.lines().contains(&line), "{name}");
            }
            Err(reason) => assert_eq!(outcome.word(), reason, "{name}"),
        }
    }
}

#[test]
fn a_legacy_session_is_refused_wherever_a_session_is_asked_for() {
    let configuration = json!({
        "providers": [app(json!({}), json!({})), provider("main", json!({}))],
        "rules": [
            { "match": { "path": { "prefix": "/public" } }, "access": "public" },
            { "match": { "path": { "prefix": "/optional" } }, "access": "optional" },
            { "match": { "path": { "prefix": "/main" } }, "providers": ["main"] },
            { "match": { "path": { "prefix": "/main-optional" } }, "access": "optional",
              "providers": ["main"] },
        ],
    });
    let mut world = world(&configuration);
    let both = format!("sAccessToken={}; sIdRefreshToken=x", session());
    let preflight = || {
        Request::new("OPTIONS", "/")
            .with("origin", "https://www.example.com")
            .with("access-control-request-method", "PUT")
    };
    for (name, request, cookie, expected) in [
        ("beside a session", Request::get("/"), both.as_str(), "legacy_session"),
        ("alone", Request::get("/"), "sIdRefreshToken=x", "legacy_session"),
        ("empty", Request::get("/"), "a=b; sIdRefreshToken=", "legacy_session"),
        ("a bare name", Request::get("/"), "sIdRefreshToken", "missing"),
        ("another name", Request::get("/"), "sIdRefreshTokens=x", "missing"),
        ("in other case", Request::get("/"), "sidrefreshtoken=x", "missing"),
        ("beside a bearer", Request::get("/").bearer(&session()), "sIdRefreshToken=x", {
            "legacy_session"
        }),
        (
            "beside two bearers",
            { Request::get("/").bearer("a,Bearer b") },
            "sIdRefreshToken=x",
            "legacy_session",
        ),
        ("optional", Request::get("/optional"), "sIdRefreshToken=", "legacy_session"),
        ("public", Request::get("/public"), "sIdRefreshToken=x", "continue"),
        ("the auth server's routes", Request::new("POST", "/auth/session/refresh"), &both, {
            "continue"
        }),
        ("another provider", Request::get("/main"), "sIdRefreshToken=x", "missing"),
        ("another provider, optional", Request::get("/main-optional"), "sIdRefreshToken=x", {
            "continue"
        }),
        ("a preflight", preflight(), "sIdRefreshToken=x", "continue"),
    ] {
        let outcome = world.request(request.with("cookie", cookie));
        assert_eq!(outcome.word(), expected, "{name}");
    }
    let lines = world.request(preflight().with("cookie", "sIdRefreshToken=x; a=b")).lines();
    assert!(lines.contains(&"cookie: a=b".into()), "{lines:?}");
}

#[test]
fn the_vendors_own_proof_is_asked_for_where_a_cookie_writes() {
    let token = session();
    let unproven = session_with(json!({}), json!({"antiCsrfToken": null}));
    let with = |mode: &str| world(&one(json!({ "anti_csrf": mode }), json!({})));
    let post = |headers: &[(&str, &str)]| {
        let request = Request::new("POST", "/");
        headers.iter().fold(request, |request, (name, value)| request.with(name, *value))
    };
    let [mut none, mut custom, mut by_token] = ["none", "custom_header", "token"].map(with);
    for (name, request, token, expected) in [
        ("nothing", post(&[]), &token, ["continue", "anti_csrf", "anti_csrf"]),
        ("rid", post(&[("rid", "session")]), &token, ["continue", "continue", "anti_csrf"]),
        ("an empty rid", post(&[("rid", "")]), &token, ["continue", "continue", "anti_csrf"]),
        ("the token", post(&[("anti-csrf", "csrf-1")]), &token, {
            ["continue", "anti_csrf", "continue"]
        }),
        ("another token", post(&[("anti-csrf", "csrf-2")]), &token, {
            ["continue", "anti_csrf", "anti_csrf"]
        }),
        ("an empty token", post(&[("anti-csrf", "")]), &unproven, {
            ["continue", "anti_csrf", "anti_csrf"]
        }),
        ("two tokens", post(&[("anti-csrf", "csrf-1"), ("anti-csrf", "csrf-1")]), &token, {
            ["continue", "anti_csrf", "anti_csrf"]
        }),
        ("no claim", post(&[("anti-csrf", "csrf-1")]), &unproven, {
            ["continue", "anti_csrf", "anti_csrf"]
        }),
        ("HEAD", Request::new("HEAD", "/"), &token, ["continue", "anti_csrf", "anti_csrf"]),
        ("GET", Request::get("/"), &token, ["continue", "continue", "continue"]),
        ("OPTIONS", Request::new("OPTIONS", "/"), &token, ["continue", "continue", "continue"]),
    ] {
        // Twice: what is cached changes nothing.
        for round in ["first", "again"] {
            let words = [&mut none, &mut custom, &mut by_token]
                .map(|world| world.request(with_cookie(request.clone(), token)).word());
            assert_eq!(words, expected, "{name}, {round}");
        }
    }
    for world in [&mut custom, &mut by_token] {
        let bearer = post(&[]).bearer(&token);
        assert_eq!(world.request(bearer.clone()).word(), "continue", "a header needs none");
        let both = with_cookie(bearer, &token);
        assert_eq!(world.request(both).word(), "continue", "in both it is the header's");
        let expired = session_with(json!({}), json!({"exp": START}));
        let word = world.request(with_cookie(post(&[("rid", "")]), &expired)).word();
        assert_eq!(word, "expired");
    }
    let expired = session_with(json!({}), json!({"exp": START}));
    let word = |world: &mut World| world.request(with_cookie(post(&[]), &expired)).word();
    assert_eq!(word(&mut custom), "anti_csrf", "before the token");
    assert_eq!(word(&mut by_token), "expired", "after it");
    assert_eq!(custom.metric("denied.anti_csrf"), 15);
}

#[test]
fn twins_are_of_one_session() {
    let old = session_with(json!({}), json!({"iat": START - 10}));
    let new = session_with(json!({}), json!({"antiCsrfToken": "csrf-2"}));
    let other = session_with(json!({}), json!({"sessionHandle": "h-2", "iat": START - 5}));
    let someone = session_with(json!({}), json!({"sub": "u-2", "iat": START - 5}));
    let newest = json!({ "duplicate_cookies": "newest" });
    let mut reject = world(&one(json!({}), json!({})));
    let mut newest = world(&one(json!({ "anti_csrf": "token" }), newest));
    for (name, twins, on_reject, on_newest) in [
        ("of one session", [&old, &new], "duplicate_cookie", "continue"),
        ("the same", [&old, &old], "continue", "continue"),
        ("of two sessions", [&old, &other], "duplicate_cookie", "duplicate_cookie"),
        ("of two users", [&old, &someone], "duplicate_cookie", "duplicate_cookie"),
    ] {
        let [first, second] = twins;
        let cookies = format!("sAccessToken={first}; sAccessToken={second}");
        let request = || Request::get("/").with("cookie", cookies.clone());
        assert_eq!(reject.request(request()).word(), on_reject, "{name}, reject");
        assert_eq!(newest.request(request()).word(), on_newest, "{name}, newest");
    }
    // The proof is the newest's.
    for (proof, expected) in [("csrf-1", "anti_csrf"), ("csrf-2", "continue")] {
        let cookies = format!("sAccessToken={new}; sAccessToken={old}");
        let request = Request::new("POST", "/").with("cookie", cookies).with("anti-csrf", proof);
        assert_eq!(newest.request(request).word(), expected, "{proof}");
    }
}

#[test]
fn backends_see_what_is_for_them() {
    let configuration = json!({
        "providers": [app(json!({}), json!({}))],
        "rules": [
            { "match": { "path": { "prefix": "/sdk" } }, "forward": "verify_only" },
            { "match": { "path": { "prefix": "/strip" } }, "forward": "strip" },
            { "match": { "path": { "prefix": "/optional" } }, "access": "optional" },
        ],
    });
    let mut world = world(&configuration);
    let token = session();
    let others = "sRefreshToken=r; st-access-token=a; st-refresh-token=r; sFrontToken=f; \
                  sAntiCsrf=c; st-last-access-token-update=1; a=b";
    let bearer = format!("authorization: Bearer {token}");
    let cookies = format!("sAccessToken={token}; {others}");
    let kept = format!(
        "cookie: sAccessToken={token}; sFrontToken=f; sAntiCsrf=c; st-last-access-token-update=1; \
         a=b"
    );
    for (path, cookies, expected) in [
        ("/", &cookies, vec!["cookie: a=b", &bearer]),
        ("/strip", &cookies, vec!["cookie: a=b"]),
        ("/sdk", &cookies, vec![&kept]),
        ("/optional", &others.to_owned(), vec!["cookie: a=b"]),
    ] {
        let mut lines = world.request(Request::get(path).with("cookie", cookies.clone())).lines();
        lines.sort_unstable_by(|a, b| b.cmp(a));
        let mut expected = expected;
        expected.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(lines, expected, "{path}");
    }
    // The SDK's own headers go on wherever they are sent.
    let proof = [("rid", "session"), ("anti-csrf", "csrf-1"), ("st-auth-mode", "cookie")];
    let request = with_cookie(Request::new("POST", "/sdk"), &token);
    let request = proof.iter().fold(request, |request, (name, value)| request.with(name, *value));
    let lines = world.request(request).lines();
    for (name, value) in proof {
        assert!(lines.contains(&format!("{name}: {value}")), "{name}");
    }
}

#[test]
fn the_auth_servers_routes_are_left_alone() {
    let denied = json!([{ "match": { "methods": ["POST", "GET"] }, "access": "denied" }]);
    let configuration =
        |preset: Value| json!({ "providers": [app(preset, json!({}))], "rules": denied });
    let mut own = world(&configuration(json!({})));
    let cookies = format!("sAccessToken={}; sRefreshToken=r; sIdRefreshToken=", session());
    let send = |world: &mut World, path: &str| {
        let request = Request::new("POST", path);
        world.request(request.with("cookie", cookies.clone()).bearer("refresh-token"))
    };
    for (path, expected) in [
        ("/auth/session/refresh", "continue"),
        ("/auth/signout?rid=session", "continue"),
        ("/auth", "continue"),
        ("/auth/", "continue"),
        ("/Auth/signout", "denied_by_rule"),
        ("/authors", "denied_by_rule"),
        ("/", "denied_by_rule"),
        ("/auth//session/refresh", "ambiguous_path"),
        ("/auth/../orders", "ambiguous_path"),
        ("/auth/%2e%2e/orders", "ambiguous_path"),
    ] {
        let outcome = send(&mut own, path);
        assert_eq!(outcome.word(), expected, "{path}");
        if expected == "continue" {
            let untouched =
                [format!("cookie: {cookies}"), "authorization: Bearer refresh-token".into()];
            assert_eq!(outcome.lines(), untouched, "{path}");
        }
    }
    let mut elsewhere = world(&configuration(json!({ "api_domain": "https://other.example" })));
    assert_eq!(send(&mut elsewhere, "/auth/session/refresh").word(), "denied_by_rule");
    let mut manual = world(&configuration(json!({ "auth_routes": "manual" })));
    assert_eq!(send(&mut manual, "/auth/session/refresh").word(), "denied_by_rule");
    let gateway = json!({ "api_gateway_path": "/gw", "api_base_path": "/v1/auth" });
    let mut gateway = world(&configuration(gateway));
    assert_eq!(send(&mut gateway, "/gw/v1/auth/session/refresh").word(), "continue");
    assert_eq!(send(&mut gateway, "/v1/auth/session/refresh").word(), "denied_by_rule");
}

#[test]
fn two_vendors_share_the_header() {
    let main = json!({ "algorithms": ["RS256"] });
    for providers in [
        [app(json!({}), json!({})), provider("main", main.clone())],
        [provider("main", main), app(json!({}), json!({}))],
    ] {
        let mut world = world(&json!({ "providers": providers }));
        let first = providers[0]["name"].as_str().unwrap();
        let mains = session_with(json!({}), json!({"iss": "https://main.example", "stt": 7}));
        let anothers = session_with(json!({}), json!({"iss": "https://x.example", "stt": 7}));
        let nameless = session_with(json!({}), json!({"iss": null}));
        for (name, token, expected) in [
            ("st's", &session(), "continue"),
            ("main's", &mains, "continue"),
            ("st's without an issuer", &nameless, "continue"),
            (
                "nobody's",
                &anothers,
                match first {
                    "st" => "not_a_session",
                    _ => "issuer_mismatch",
                },
            ),
        ] {
            let word = world.request(Request::get("/").bearer(token)).word();
            assert_eq!(word, expected, "{name}, {first} first");
        }
        for (cookie, expected) in [
            (format!("main={}", session()), "issuer_mismatch"),
            (format!("sAccessToken={mains}"), "not_a_session"),
            (format!("main={mains}"), "continue"),
            (format!("sAccessToken={}", session()), "continue"),
        ] {
            let word = world.request(Request::get("/").with("cookie", cookie)).word();
            assert_eq!(word, expected, "{first} first");
        }
    }
}

#[test]
fn a_refusal_names_whose_session_it_was() {
    let configuration = json!({ "providers": [
        provider("main", json!({})), app(json!({ "session_expired_status": 440 }), json!({})),
    ] });
    let mut world = world(&configuration);
    let request = Request::get("/").with("cookie", "sIdRefreshToken=");
    let outcome = world.request(request);
    let Denial { reason, .. } = outcome.denial();
    assert_eq!(reason.word(), "legacy_session");
    let log = world.log().join("\n");
    assert!(log.contains("reason=legacy_session rule=default provider=st"), "{log}");
}

#[test]
fn auth_routes_change_no_order_on_other_hosts() {
    let configuration = json!({
        "providers": [app(json!({}), json!({}))],
        "rules": [
            { "match": { "hosts": ["admin.example.com"] }, "access": "denied" },
            { "match": { "path": { "exact": "/auth/health" } }, "access": "public" },
            { "match": { "path": { "exact": "/auth/dashboard" } }, "access": "denied" },
        ],
    });
    let mut world = World::new(&configuration);
    for (authority, path, expected) in [
        ("admin.example.com", "/auth/health", "denied_by_rule"),
        ("admin.example.com", "/auth/dashboard", "denied_by_rule"),
        ("other.example.com", "/auth/health", "continue"),
        ("other.example.com", "/auth/dashboard", "denied_by_rule"),
        ("other.example.com", "/auth/signin", "missing"),
        ("api.example.com", "/auth/health", "continue"),
        ("api.example.com", "/auth/dashboard", "denied_by_rule"),
        ("api.example.com", "/auth/signin", "continue"),
    ] {
        let outcome = world.request(Request::get(path).on(authority));
        assert_eq!(outcome.word(), expected, "{authority}{path}");
    }
}
