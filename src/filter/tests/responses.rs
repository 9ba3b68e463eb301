//! Stories of responses: what becomes of their cookies, and what is kept for that.

use serde_json::{Value, json};

use super::world::{Request, World, key_set, provider, token};
use crate::filter::responses::MAX_RECORDS;
use crate::filter::waiting::StreamId;

/// `main` is a source cookie that `.example.com` shares.
fn configuration(cookies: Value) -> Value {
    json!({
        "providers": [provider("main", json!({}))],
        "rules": [
            { "match": { "path": { "prefix": "/auth" } }, "access": "public" },
            { "match": { "path": { "prefix": "/no" } }, "access": "denied" },
        ],
        "cookies": cookies,
    })
}

fn shared(expire_host_only: bool) -> Value {
    let entry = json!({
        "name": "main", "domain": ".example.com", "expire_host_only": expire_host_only,
    });
    json!({ "share_domain": [entry] })
}

fn world(cookies: Value) -> World {
    World::with_keys(&configuration(cookies), &[(1, "k1")])
}

/// What the response to a public request on `host` becomes.
fn response(world: &mut World, host: &str, lines: &[&str]) -> Vec<String> {
    world.request(Request::get("/auth").on(host));
    world.respond(world.last_stream(), lines)
}

#[test]
fn shared_cookies_get_their_domain() {
    let set = "main=x; Path=/; HttpOnly";
    let wide = "main=x; Path=/; HttpOnly; Domain=.example.com";
    let twin = "main=; Path=/; HttpOnly; Max-Age=0";
    let clear = "main=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
    let wide_clear = "main=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Domain=.example.com";
    for (name, host, lines, plain, with_twin) in [
        ("set", "api.example.com", vec![set], vec![wide], vec![twin, wide]),
        ("clear", "api.example.com", vec![clear], vec![wide_clear], {
            vec!["main=; Path=/; Max-Age=0", wide_clear]
        }),
        ("right already", "api.example.com", vec![wide], vec![wide], vec![twin, wide]),
        ("the domain itself", "Example.COM:8443", vec![set], vec![wide], vec![twin, wide]),
        (
            "others",
            "api.example.com",
            vec!["a=b; Domain=x", "Main=x", " main = x", "main"],
            { vec!["a=b; Domain=x", "Main=x", " main = x; Domain=.example.com", "main"] },
            {
                let (twin, wide) = ("main=; Max-Age=0", " main = x; Domain=.example.com");
                vec!["a=b; Domain=x", "Main=x", twin, wide, "main"]
            },
        ),
        ("several", "api.example.com", vec![set, "a=b", set], vec![wide, "a=b", wide], {
            vec![twin, wide, "a=b", twin, wide]
        }),
        ("no cookie", "api.example.com", vec![], vec![], vec![]),
        ("another host", "api.example.org", vec![set], vec![set], vec![set]),
        ("no border", "apiexample.com", vec![set], vec![set], vec![set]),
        ("a dot at the end", "api.example.com.", vec![set], vec![set], vec![set]),
        ("an address", "10.0.0.1:80", vec![set], vec![set], vec![set]),
        ("an IPv6 address", "[::1]:80", vec![set], vec![set], vec![set]),
    ] {
        for (expire_host_only, expected) in [(false, plain), (true, with_twin)] {
            let mut world = world(shared(expire_host_only));
            let came = response(&mut world, host, &lines);
            assert_eq!(came, expected, "{name}, expire_host_only: {expire_host_only}");
        }
    }
}

#[test]
fn what_is_rewritten_is_counted_and_what_does_not_fit_is_told_once() {
    let mut world = world(shared(true));
    response(&mut world, "api.example.com", &["main=x", "a=b", "main=y; Domain=example.com"]);
    assert_eq!(world.metric("set_cookie_rewritten"), 1);
    assert!(world.log().is_empty());
    response(&mut world, "api.example.org", &["a=b"]);
    assert!(world.log().is_empty(), "no cookie of ours");
    for _ in 0..3 {
        response(&mut world, "api.example.org", &["main=x"]);
    }
    assert_eq!(world.metric("set_cookie_not_shared"), 3);
    assert_eq!(world.metric("set_cookie_rewritten"), 1);
    let told = "cookies.share_domain: main is not set for .example.com: host=api.example.org is \
                not under it";
    assert_eq!(world.log(), [told]);
}

#[test]
fn every_kind_of_answer_is_looked_at_once() {
    let bearer = token(1, "k1");
    for (name, request, word) in [
        ("public", Request::get("/auth/x"), "continue"),
        ("required", Request::get("/").bearer(&bearer), "continue"),
        ("missing", Request::get("/"), "missing"),
        ("denied", Request::get("/no"), "denied_by_rule"),
        ("TRACE", Request::new("TRACE", "/"), "method_not_allowed"),
    ] {
        let mut world = world(shared(false));
        assert_eq!(world.request(request).word(), word, "{name}");
        let stream = world.last_stream();
        assert!(world.filter.awaits_response(stream), "{name}");
        assert_eq!(world.respond(stream, &["main=x"]), ["main=x; Domain=.example.com"], "{name}");
        assert!(!world.filter.awaits_response(stream), "{name}");
        assert_eq!(world.respond(stream, &["main=x"]), ["main=x"], "{name}: once");
    }
}

#[test]
fn who_waited_is_answered_like_everybody() {
    let mut world = World::new(&configuration(shared(false)));
    let request = Request::get("/").bearer(&token(1, "k1"));
    assert_eq!(world.request(request.clone()).word(), "wait");
    let first = world.last_stream();
    assert_eq!(world.request(request).word(), "wait");
    let second = world.last_stream();
    world.hang_up();
    assert!(!world.filter.awaits_response(first), "gone");
    world.tick();
    world.serve_jwks(&key_set(&[(1, "k1")]));
    assert_eq!(world.resumed_word(), "continue");
    assert_eq!(world.respond(second, &["main=x"]), ["main=x; Domain=.example.com"]);
}

#[test]
fn duplicates_are_expired_by_every_response() {
    let cookies = |host_only: bool| {
        let mut cookies = if host_only { shared(false) } else { json!({}) };
        let older = if host_only { json!([".old.example.com", ""]) } else { json!(["old.test"]) };
        cookies["expire_older_domains"] = older;
        cookies["path"] = json!("/app");
        cookies
    };
    let old = "main=; Domain=.old.example.com; Path=/app; Max-Age=0";
    let twin = "main=; Path=/app; Max-Age=0";
    for (name, path, cookie_lines, word, expected) in [
        ("one", "/auth", vec!["a=1; main=x; b=2"], "continue", vec!["a=b"]),
        ("none", "/auth", vec![], "continue", vec!["a=b"]),
        ("others", "/auth", vec!["a=1; a=2; Main=x; main=y"], "continue", vec!["a=b"]),
        ("public", "/auth", vec!["main=x; main=y"], "continue", vec![old, twin, "a=b"]),
        ("denied", "/no", vec!["main=x; main=y"], "denied_by_rule", vec![old, twin, "a=b"]),
        ("401", "/", vec!["main=x; main=y"], "duplicate_cookie", vec![old, twin, "a=b"]),
        ("one value", "/auth", vec!["main=x;main=x"], "continue", vec![old, twin, "a=b"]),
        ("one empty", "/auth", vec!["main=; main=x"], "continue", vec![old, twin, "a=b"]),
        ("two lines", "/auth", vec!["main=x", "a=1; main=y"], "continue", vec![old, twin, "a=b"]),
        ("three", "/auth", vec!["main=x; main=y; main=z"], "continue", vec![old, twin, "a=b"]),
    ] {
        let mut world = world(cookies(true));
        let with_lines = |request: Request| {
            cookie_lines.iter().fold(request, |request, line| request.with("cookie", *line))
        };
        assert_eq!(world.request(with_lines(Request::get(path))).word(), word, "{name}");
        assert_eq!(world.respond(world.last_stream(), &["a=b"]), expected, "{name}");

        // On a host that shares nothing, the host-only cookie is the session.
        world.request(with_lines(Request::get(path).on("api.example.org")));
        let elsewhere: Vec<_> = expected.iter().copied().filter(|line| *line != twin).collect();
        assert_eq!(world.respond(world.last_stream(), &["a=b"]), elsewhere, "{name}, elsewhere");
    }
    // Without shared cookies nothing is kept of a request without duplicates.
    let mut world = world(cookies(false));
    world.request(Request::get("/auth").with("cookie", "main=x"));
    assert!(!world.filter.awaits_response(world.last_stream()));
    world.request(Request::get("/").with("cookie", "main=x; main=y"));
    let expected = ["main=; Domain=old.test; Path=/app; Max-Age=0"];
    assert_eq!(world.respond(world.last_stream(), &[]), expected);
}

#[test]
fn the_session_outlives_what_is_expired_beside_it() {
    let mut cookies = shared(true);
    cookies["expire_older_domains"] = json!(["old.example.com", ""]);
    let mut world = world(cookies);
    world.request(Request::get("/auth").with("cookie", "main=x; main=y"));
    let clear = "main=; Domain=.OLD.example.com; Path=/; Max-Age=0";
    let lines = [clear, "main=new; Path=/", "main=z; Domain=old.example.com"];
    let expected = [
        "main=; Domain=old.example.com; Path=/; Max-Age=0",
        "main=; Path=/; Max-Age=0",
        // The server's own clear of the older domain, as it is.
        clear,
        "main=; Path=/; Max-Age=0",
        "main=new; Path=/; Domain=.example.com",
        "main=; Max-Age=0",
        "main=z; Domain=.example.com",
    ];
    assert_eq!(world.respond(world.last_stream(), &lines), expected);
    assert_eq!(world.metric("set_cookie_rewritten"), 2);
}

#[test]
fn a_cookie_bound_to_its_host_has_no_duplicates_to_expire() {
    let source = json!([{ "cookie": { "name": "__Host-s" } }, { "cookie": { "name": "s" } }]);
    let configuration = json!({
        "providers": [provider("main", json!({ "sources": source }))],
        "cookies": { "expire_older_domains": ["x.example"] },
    });
    let mut world = World::new(&configuration);
    world.request(Request::get("/").with("cookie", "__Host-s=1; __Host-s=2; s=1; s=2"));
    let expected = ["s=; Domain=x.example; Path=/; Max-Age=0"];
    assert_eq!(world.respond(world.last_stream(), &[]), expected);
}

#[test]
fn abandoned_streams_make_room_oldest_first() {
    // Numbers begin anew behind the greatest, and two filters in one chain take turns.
    for (start, step) in [(1, 1), (u32::MAX - 20_000, 1), (7, 2), (0, 4_096)] {
        let mut world = world(shared(false));
        let streams: Vec<_> = (0..u32::try_from(MAX_RECORDS * 2).unwrap())
            .map(|n| start.wrapping_add(n.wrapping_mul(step)))
            .collect();
        for number in &streams {
            world.number_streams_from(*number);
            world.request(Request::get("/auth"));
        }
        let kept = |numbers: &[u32]| {
            numbers.iter().filter(|number| world.filter.awaits_response(StreamId(**number))).count()
        };
        assert!(kept(&streams) <= MAX_RECORDS, "{start}, {step}");
        assert_eq!(kept(&streams[streams.len() - 8_000..]), 8_000, "{start}, {step}");
        assert_eq!(kept(&streams[..8_000]), 0, "{start}, {step}");
        let gone = StreamId(streams[0]);
        assert_eq!(world.respond(gone, &["main=x"]), ["main=x"], "not shared");
        let newest = world.last_stream();
        assert_eq!(world.respond(newest, &["main=x"]), ["main=x; Domain=.example.com"]);
    }
}

#[test]
fn nothing_is_kept_where_nothing_is_changed() {
    for cookies in [json!({}), json!({ "strip": ["a"], "expire_older_domains": [] })] {
        let mut world = world(cookies);
        world.request(Request::get("/").with("cookie", "main=x; main=y"));
        assert!(!world.filter.awaits_response(world.last_stream()));
        assert_eq!(world.respond(world.last_stream(), &["main=x"]), ["main=x"]);
    }
}

#[test]
fn stripped_cookies_reach_no_backend_but_on_public_rules() {
    let mut with_strip = configuration(json!({ "strip": ["analytics_id", "main"] }));
    let optional = json!({ "match": { "path": { "prefix": "/o" } }, "access": "optional" });
    let verify = json!({ "match": { "path": { "prefix": "/v" } }, "forward": "verify_only" });
    with_strip["rules"].as_array_mut().unwrap().extend([optional, verify]);
    let mut world = World::with_keys(&with_strip, &[(1, "k1")]);
    let bearer = token(1, "k1");
    let all = "a=1; analytics_id=2; analytics.id=3; b=4";
    for (name, request, expected) in [
        ("required", Request::get("/").bearer(&bearer), "cookie: a=1; b=4"),
        ("optional", Request::get("/o"), "cookie: a=1; b=4"),
        ("verify_only", Request::get("/v").bearer(&bearer), "cookie: a=1; b=4"),
        ("public", Request::get("/auth"), &*format!("cookie: {all}")),
    ] {
        let lines = world.request(request.with("cookie", all)).lines();
        assert!(lines.iter().any(|line| line == expected), "{name}: {lines:?}");
    }
    let preflight = Request::new("OPTIONS", "/")
        .with("origin", "https://www.example.com")
        .with("access-control-request-method", "PUT")
        .with("cookie", "analytics_id=1");
    assert!(!world.request(preflight).lines().iter().any(|line| line.starts_with("cookie")));
    // Not even a verified session stays that is to be stripped.
    let own = Request::get("/v").with("cookie", format!("c=1; main={bearer}"));
    assert!(world.request(own).lines().contains(&"cookie: c=1".into()));
}
