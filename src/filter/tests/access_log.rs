//! What the access log can show of each request, story by story.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Request, START, World, key_set, provider, token, token_with};

/// All fields, and a rule of each kind.
fn configuration(provider_members: Value) -> Value {
    json!({
        "providers": [provider("main", provider_members)],
        "rules": [
            { "name": "open", "match": { "path": { "prefix": "/public" } }, "access": "public" },
            { "match": { "path": { "prefix": "/optional" } }, "access": "optional" },
            { "name": "shut", "match": { "path": { "prefix": "/denied" } }, "access": "denied" },
        ],
        "telemetry": { "filter_state": [
            "verdict", "reason", "rule", "provider", "source", "kid", "sub",
        ] },
    })
}

/// What the last request left for its access log.
fn shown(world: &mut World) -> String {
    let entries = world.filter.take_filter_state();
    let words = entries.iter().map(|entry| format!("{}={}", entry.field.name(), entry.value));
    words.collect::<Vec<_>>().join(" ")
}

/// What a verified session of `main` shows.
const SESSION: &str = "provider=main source=header:authorization kid=k1 sub=u-1";

#[test]
fn each_decision_is_shown_with_what_was_proven() {
    let mut world = World::with_keys(&configuration(json!({})), &[(1, "k1")]);
    let good = token(1, "k1");
    let forged = token(2, "k1");
    let bearer = |path: &str, token: &str| Request::get(path).bearer(token);
    let mut preflight = Request::new("OPTIONS", "/denied-not");
    for (name, value) in [("origin", "https://a.example"), ("access-control-request-method", "PUT")]
    {
        preflight = preflight.with(name, value);
    }
    for (name, request, expected) in [
        ("a session", bearer("/", &good), format!("verdict=allowed rule=default {SESSION}")),
        (
            "the same from the cache",
            bearer("/", &good),
            format!("verdict=allowed rule=default {SESSION}"),
        ),
        (
            "by its cookie",
            Request::get("/").with("cookie", format!("a=1; main={good}")),
            "verdict=allowed rule=default provider=main source=cookie:main kid=k1 sub=u-1".into(),
        ),
        (
            "header and cookie: the header's",
            bearer("/", &good).with("cookie", format!("main={good}")),
            format!("verdict=allowed rule=default {SESSION}"),
        ),
        (
            "a session where none is needed",
            bearer("/optional", &good),
            format!("verdict=allowed rule=rules[1] {SESSION}"),
        ),
        (
            "no session where none is needed",
            Request::get("/optional"),
            "verdict=allowed_optional rule=rules[1]".into(),
        ),
        ("nobody looks at it", bearer("/public", &good), "verdict=allowed_public rule=open".into()),
        ("a preflight", preflight, "verdict=allowed_preflight rule=default".into()),
        ("shut", bearer("/denied", &good), "verdict=denied reason=denied_by_rule rule=shut".into()),
        ("nothing", Request::get("/"), "verdict=denied reason=missing rule=default".into()),
        (
            "forged: nothing that it says",
            bearer("/", &forged),
            "verdict=denied reason=bad_signature rule=default".into(),
        ),
        (
            "forged, again",
            bearer("/", &forged),
            "verdict=denied reason=bad_signature rule=default".into(),
        ),
        (
            "no rule was found",
            bearer("/a//b", &good),
            "verdict=denied reason=ambiguous_path".into(),
        ),
        ("no method", Request::new("TRACE", "/"), {
            "verdict=denied reason=method_not_allowed".into()
        }),
    ] {
        world.request(request);
        assert_eq!(shown(&mut world), expected, "{name}");
        assert_eq!(shown(&mut world), "", "told once: {name}");
    }
    // Still in the cache, but no longer a proof of anything.
    world.pass(Duration::from_secs(300));
    world.tick();
    assert_eq!(world.request(bearer("/", &good)).word(), "expired");
    assert_eq!(shown(&mut world), "verdict=denied reason=expired rule=default");
}

#[test]
fn a_stream_that_waits_shows_what_became_of_it_in_the_end() {
    let mut world = World::new(&configuration(json!({})));
    world.request(Request::get("/public"));
    for request in
        [Request::get("/").bearer(&token(1, "k1")), Request::get("/").bearer(&token(2, "k1"))]
    {
        assert_eq!(world.request(request).word(), "wait");
        assert_eq!(shown(&mut world), "", "not that of the stream before");
    }
    world.tick();
    world.serve_jwks(&key_set(&[(1, "k1")]));
    let stream = world.filter.poll_ready().unwrap();
    world.resume(stream);
    assert_eq!(shown(&mut world), format!("verdict=allowed rule=default {SESSION}"));
    assert_eq!(world.resumed_word(), "bad_signature");
    assert_eq!(shown(&mut world), "verdict=denied reason=bad_signature rule=default");
}

#[test]
fn of_several_cookies_the_one_that_counts_is_shown() {
    let members = json!({ "duplicate_cookies": "newest" });
    let mut world = World::with_keys(&configuration(members), &[(1, "k1"), (1, "k2")]);
    let older = token_with(1, json!({ "kid": "k1" }), json!({ "iat": START - 9 }));
    let newer = token_with(1, json!({ "kid": "k2" }), json!({ "iat": START - 1 }));
    let twins = |a: &str, b: &str| Request::get("/").with("cookie", format!("main={a}; main={b}"));
    world.request(twins(&older, &newer));
    assert_eq!(
        shown(&mut world),
        "verdict=allowed rule=default provider=main source=cookie:main kid=k2 sub=u-1"
    );
    let other = token_with(1, json!({ "kid": "k1" }), json!({ "sub": "u-2" }));
    world.request(twins(&newer, &other));
    assert_eq!(shown(&mut world), "verdict=denied reason=duplicate_cookie rule=default");
}

#[test]
fn by_default_nothing_is_shown() {
    let mut configuration = configuration(json!({}));
    configuration["telemetry"] = json!({});
    let mut world = World::with_keys(&configuration, &[(1, "k1")]);
    for request in [Request::get("/").bearer(&token(1, "k1")), Request::get("/")] {
        world.request(request);
        assert_eq!(shown(&mut world), "");
    }
}
