//! Which rule decides, by raw request targets and hosts: what restricts can't be dodged by another
//! spelling, what opens opens nothing else, and what is ambiguous is refused.
//!
//! No request here carries a credential: 200 says that a public rule decided, 403 a denying one,
//! and 401 the default.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::bootstrap::Listener;
use session_token_harness::client::Request;

use crate::trial;
use crate::world::{World, corbado, listener};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "matching::ambiguous_paths", ambiguous_paths),
        trial(world, "matching::restricting_rules_are_wide", restricting_rules_are_wide),
        trial(world, "matching::opening_rules_are_narrow", opening_rules_are_narrow),
        trial(world, "matching::hosts", hosts),
        trial(world, "matching::methods", methods),
        trial(world, "matching::first_match_decides", first_match_decides),
        trial(world, "matching::insecure_allow", insecure_allow),
        trial(world, "matching::without_path_rules", without_path_rules),
    ]
}

/// The listeners that only these tests need.
pub(crate) fn listeners() -> Vec<Listener> {
    let with = |rules: Value, paths: Value| json!({"providers": [corbado()], "rules": rules, "paths": paths});
    let public = |path: Value| json!({"match": {"path": path}, "access": "public"});
    let denied = |matched: Value| json!({"match": matched, "access": "denied"});
    let rules = json!([
        denied(json!({"methods": ["DELETE"]})),
        denied(json!({"methods": ["GET"], "path": {"prefix": "/no-get"}})),
        denied(json!({"hosts": ["www.example.com"], "path": {"prefix": "/www"}})),
        denied(json!({"hosts": ["*.wild.example", "[::1]"]})),
        denied(json!({"path": {"prefix": "/public/but-not-this"}})),
        denied(json!({"path": {"prefix": "/admin"}})),
        denied(json!({"path": {"exact": "/strict", "strict": true}})),
        denied(json!({"path": {"template": "/reports/{id}/delete"}})),
        public(json!({"exact": "/public-page"})),
        public(json!({"prefix": "/public"})),
        public(json!({"exact": "/wide-page", "strict": false})),
        public(json!({"suffix": ".css"})),
        public(json!({"template": "/docs/{id}"})),
        json!({"match": {"hosts": ["open.example.com"], "methods": ["GET"]}, "access": "public"}),
    ]);
    let admin =
        json!([denied(json!({"path": {"prefix": "/admin"}})), public(json!({"prefix": "/open"}))]);
    let only_methods = json!([denied(json!({"methods": ["DELETE"]}))]);
    let mut without_paths = with(only_methods, json!({}));
    // Otherwise nothing could be seen to reach the backend.
    without_paths["default"] = json!({"access": "optional"});
    vec![
        listener("matching", with(rules, json!({}))),
        listener("forms-allowed", {
            with(admin, json!({"insecure_allow": ["//", ";", "%2f", "%5c", "\\"]}))
        }),
        listener("without-paths", without_paths),
    ]
}

/// Which rule decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decided {
    Public,
    Denied,
    /// The default.
    Protected,
    /// 400 with this reason.
    Refused(&'static str),
    /// Envoy itself answers 400, before any filter.
    ByEnvoy,
}
use Decided::{ByEnvoy, Denied, Protected, Public, Refused};

const AMBIGUOUS: Decided = Refused("ambiguous_path");

fn check(world: &World, listener: &str, name: &str, request: Request, expected: Decided) {
    let (exchange, received) = world.send(listener, request);
    let (status, reason) = match expected {
        Public => (200, None),
        Denied => (403, Some("denied_by_rule")),
        Protected => (401, Some("missing")),
        Refused(reason) => (400, Some(reason)),
        ByEnvoy => (400, None),
    };
    exchange.expect(&format!("{name}: {expected:?}"), |response| {
        let came = response.json();
        response.status == status && came.get("reason").and_then(Value::as_str) == reason
    });
    assert_eq!(received.is_some(), expected == Public, "{name}: the backend");
}

fn check_paths<'a>(
    world: &World,
    listener: &str,
    rows: impl IntoIterator<Item = (&'a [u8], Decided)>,
) {
    for (path, expected) in rows {
        let name = path.escape_ascii().to_string();
        check(world, listener, &name, Request::get(path), expected);
    }
}

/// Falling through to a weaker rule would be a bypass: on public paths too.
fn ambiguous_paths(world: &World) {
    let rows: [&[u8]; 44] = [
        b"/public/../admin",
        b"/public/%2e%2e/admin",
        b"/public/%2E./admin",
        b"/public/..",
        b"/public/./x",
        b"/public/.",
        b"//public",
        b"//",
        b"/public//x",
        b"/public//",
        b"/public;x=/../admin",
        b"/public;x",
        b"/public/x;jsessionid=1",
        b"/public%3bx",
        b"/admin%2f..%2fpublic",
        b"/public/a%2fb",
        b"/public/a%2Fb",
        b"/public/a%5cb",
        b"/public\\..\\admin",
        b"/public/%252e%252e/admin",
        b"/public/%25%32e/admin",
        b"/public/a%23b",
        b"/public/a%3fb",
        b"/public/a%00",
        b"/public/a%0ab",
        b"/public/a%0d%0ab",
        b"/public/a%1f",
        b"/public/a%7f",
        b"/public/a%",
        b"/public/a%2",
        b"/public/a%zz",
        b"/public/%ff",
        b"/public/%c3",
        b"/public/%c0%ae%c0%ae/admin",
        b"/public/%ed%a0%80",
        b"/public/a.",
        b"/public./x",
        b"/public/a%2e",
        b"/public/a%20",
        b"/public/a%20/x",
        b"/public/.../x",
        b"/x/../admin",
        b"//admin",
        b"/admin/..;/public",
    ];
    check_paths(world, "matching", rows.map(|path| (path, AMBIGUOUS)));
    let by_envoy: [&[u8]; 5] = [
        b"/public/\xff",
        b"/public/\xc3\xa4",
        b"/public/a\x01",
        b"/public/a\x7f",
        b"/admin#/public",
    ];
    check_paths(world, "matching", by_envoy.map(|path| (path, ByEnvoy)));
    check_paths(
        world,
        "matching",
        [
            (b"/public/x?a=//../..;%2f%zz\\".as_slice(), Public),
            (b"/public/a..b/.hidden/x", Public),
            (b"/public/100%25", Public),
            (b"/public/", Public),
        ],
    );
}

fn restricting_rules_are_wide(world: &World) {
    check_paths(
        world,
        "matching",
        [
            (b"/admin".as_slice(), Denied),
            (b"/admin/", Denied),
            (b"/admin/x", Denied),
            (b"/ADMIN", Denied),
            (b"/Admin/", Denied),
            (b"/%61dmin", Denied),
            (b"/%41DMIN/x", Denied),
            (b"/admin?x=/public", Denied),
            (b"/admin?", Denied),
            (b"/admin/?/public/x.css", Denied),
            (b"/admin/x.css", Denied),
            (b"http://localhost/admin", Denied),
            (b"HTTP://localhost/ADMIN/", Denied),
            (b"/administrators", Protected),
            (b"/x/admin", Protected),
            (b"/reports/7/delete", Denied),
            (b"/Reports/a%20b/DELETE/", Denied),
            (b"/reports//delete", AMBIGUOUS),
            (b"/reports/7/8/delete", Protected),
            (b"/strict", Denied),
            (b"/STRICT", Protected),
            (b"/strict/", Protected),
        ],
    );
}

fn opening_rules_are_narrow(world: &World) {
    check_paths(
        world,
        "matching",
        [
            (b"/public-page".as_slice(), Public),
            (b"/public-page?x=1", Public),
            (b"/%70ublic-page", Public),
            (b"/PUBLIC-PAGE", Protected),
            (b"/public-page/", Protected),
            (b"/public-page/x", Protected),
            (b"/public", Public),
            (b"/public/x", Public),
            (b"/PUBLIC", Protected),
            (b"/Public/x", Protected),
            (b"/publicity", Protected),
            (b"/x/public", Protected),
            (b"/x?y=/public", Protected),
            (b"/public/but-not-this", Denied),
            (b"/public/BUT-NOT-THIS/", Denied),
            (b"/WIDE-PAGE/", Public),
            (b"/assets/x.css", Public),
            (b"/assets/x.css?v=1", Public),
            (b"/assets/x.CSS", Protected),
            (b"/assets/x.css/", Protected),
            (b"/x?.css", Protected),
            (b"/docs/7", Public),
            (b"/docs/a%20b", Public),
            (b"/docs/", Protected),
            (b"/docs", Protected),
            (b"/docs/7/", Protected),
            (b"/docs/7/8", Protected),
            (b"/DOCS/7", Protected),
        ],
    );
}

fn hosts(world: &World) {
    let malformed = Refused("malformed_request");
    for (host, path, expected) in [
        ("www.example.com", "/www", Denied),
        ("WWW.Example.COM", "/www", Denied),
        ("www.example.com.", "/www", Denied),
        ("WWW.Example.COM.:80", "/www", Denied),
        ("www.example.com:65535", "/www", Denied),
        ("example.com", "/www", Protected),
        ("x.www.example.com", "/www", Protected),
        ("www.example.com.evil.example", "/www", Protected),
        ("a.wild.example", "/", Denied),
        ("a.b.WILD.example:8443", "/", Denied),
        ("wild.example", "/", Protected),
        ("awild.example", "/", Protected),
        ("[::1]:80", "/", Denied),
        ("[::2]", "/", Protected),
        ("open.example.com", "/x", Public),
        ("OPEN.example.com:80", "/x", Public),
        // RFC 3986, section 3.2.3: a port may be empty.
        ("open.example.com:", "/x", Public),
        ("open.example.com.evil.example", "/x", Protected),
        ("u@www.example.com", "/www", malformed),
        ("u@open.example.com", "/x", malformed),
        ("open.example.com:65536", "/x", malformed),
        ("open.example.com,www.example.com", "/www", malformed),
        ("open%2eexample.com", "/x", malformed),
        (".open.example.com", "/x", malformed),
        ("open..example.com", "/x", malformed),
        ("open.example.com..", "/x", malformed),
    ] {
        let request = Request::get(path).header("host", host);
        check(world, "matching", host, request, expected);
    }
    // The target's host is the one that counts (RFC 9112, section 3.2.2).
    let request = Request::get("http://www.example.com/www").header("host", "open.example.com");
    check(world, "matching", "absolute form", request, Denied);
}

fn methods(world: &World) {
    let wrong_method = |world: &World, name: &str, request: Request| {
        let (exchange, received) = world.send("matching", request);
        exchange.expect(name, |response| {
            response.status == 405
                && response.json()["reason"] == "method_not_allowed"
                && response.headers.text("allow").is_some_and(|allowed| allowed.contains("GET"))
        });
        assert!(received.is_none(), "{name}");
    };
    for path in ["/public/x", "/admin", "/orders", "/public/../x"] {
        wrong_method(world, path, Request::new("TRACE", path));
    }
    for (method, path, expected) in [
        ("GET", "/no-get/x", Denied),
        ("POST", "/no-get/x", Protected),
        ("DELETE", "/orders", Denied),
        ("DELETE", "/public/x", Denied),
        ("PURGE", "/public/x", Public),
    ] {
        let name = format!("{method} {path}");
        check(world, "matching", &name, Request::new(method, path), expected);
    }
    let on_open_host = |method: &str| {
        let request = Request::new(method, "/x").header("host", "open.example.com");
        world.send("matching", request)
    };
    for (method, status) in [("GET", 200), ("HEAD", 200), ("POST", 401), ("OPTIONS", 401)] {
        let (exchange, _) = on_open_host(method);
        exchange.expect(method, |response| response.status == status);
    }
    let (exchange, received) = world.send("matching", Request::new("HEAD", "/no-get"));
    exchange.expect_status(403);
    assert!(received.is_none());
}

/// `/public/but-not-this` stands before `/public`; the reverse order would open it.
fn first_match_decides(world: &World) {
    check_paths(
        world,
        "corbado",
        [
            (b"/public/x".as_slice(), Public),
            (b"/optional", Public),
            (b"/optional-foreign", Public),
            (b"/denied/public", Denied),
            (b"/strip", Protected),
            (b"/", Protected),
        ],
    );
}

/// Forms that an operator calls ordinary are; nothing else is.
fn insecure_allow(world: &World) {
    check_paths(
        world,
        "forms-allowed",
        [
            (b"/open//x".as_slice(), Public),
            (b"/open/x;y=1", Public),
            (b"/open/x%3by", Public),
            (b"/open/a%2fb", Public),
            (b"/open/a%2Fb", Public),
            (b"/open/a%5cb", Public),
            (b"/open/a\\b", Public),
            (b"/admin;x", Protected),
            (b"/admin/a%2fb", Denied),
            (b"/open/../admin", AMBIGUOUS),
            (b"/open%2f..%2fadmin", AMBIGUOUS),
            (b"/open/a%00b", AMBIGUOUS),
            (b"/open/%252e", AMBIGUOUS),
        ],
    );
}

/// A sidecar whose rules look at no path has nothing to be confused about.
fn without_path_rules(world: &World) {
    check_paths(
        world,
        "without-paths",
        [
            (b"//admin".as_slice(), Public),
            (b"/x/../admin", Public),
            (b"/a%2fb;c\\d", Public),
            (b"/%zz", Public),
        ],
    );
    check(world, "without-paths", "DELETE", Request::new("DELETE", "//admin"), Denied);
}
