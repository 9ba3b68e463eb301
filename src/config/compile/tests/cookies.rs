//! `cookies`: what can't be shared or expired, and what should not be.

use serde_json::{Value, json};

use super::*;
use crate::policy::{CookiePolicy, OlderDomain};

fn cookies(fields: Value) -> Value {
    top(json!({ "cookies": fields }))
}

fn shared(name: &str, domain: &str) -> Value {
    json!({ "name": name, "domain": domain })
}

#[test]
fn what_can_not_be_shared() {
    let share = |entries: Value| cookies(json!({ "share_domain": entries }));
    let form = "must be a DNS name such as .example.com";
    let bad_domains = ["", "a..b", "*.a.b", "a.b:80", "https://a.b", "127.0.0.1", "\u{e4}.b"];
    let entries = bad_domains.iter().enumerate();
    let entries = entries.map(|(n, domain)| shared(&format!("c{n}"), domain)).collect();
    let domain_errors: Vec<_> = bad_domains
        .iter()
        .enumerate()
        .map(|(n, text)| format!("cookies.share_domain[{n}].domain: {text:?} {form}"))
        .collect();
    let domain_errors: Vec<_> = domain_errors.iter().map(String::as_str).collect();
    let many: Vec<_> = (0..33).map(|n| shared(&format!("c{n}"), "a.b")).collect();
    refuses(&[
        ("no domains", share(Value::Array(entries)), &domain_errors),
        (
            "one label",
            share(json!([shared("a", "localhost"), shared("b", ".com")])),
            &[
                "cookies.share_domain[0].domain: \"localhost\" must have two labels or more: \
                 browsers take no cookie for all of it",
                "cookies.share_domain[1].domain: \".com\" must have two labels or more: browsers \
                 take no cookie for all of it",
            ],
        ),
        (
            "names",
            share(json!([shared("a b", "a.b"), shared("", "a.b"), shared("__HOST-a", "a.b")])),
            &[
                "cookies.share_domain[0].name: \"a b\" must be a cookie's name: a token of RFC 9110",
                "cookies.share_domain[1].name: \"\" must be a cookie's name: a token of RFC 9110",
                "cookies.share_domain[2].name: \"__HOST-a\" can't be shared: browsers take a \
                 __Host- cookie only without a domain",
            ],
        ),
        (
            "one name twice",
            share(json!([shared("a", "a.b"), shared("A", "a.b"), shared("a", "c.d")])),
            &["cookies.share_domain[2].name: is the same as cookies.share_domain[0].name"],
        ),
        (
            "missing and unknown",
            share(json!([{ "name": "a", "domian": "a.b", "expire_host_only": "yes" }, 5])),
            &[
                "cookies.share_domain[0].domain: is missing",
                "cookies.share_domain[0].expire_host_only: \"yes\" must be true or false",
                "cookies.share_domain[0].domian: unknown field; did you mean `domain`?",
                "cookies.share_domain[1]: 5 must be an object",
            ],
        ),
        (
            "too many",
            share(Value::Array(many)),
            &["cookies.share_domain: 33 cookies are too many: at most 32 are possible"],
        ),
        (
            "unknown",
            cookies(json!({ "shared_domain": [] })),
            &["cookies.shared_domain: unknown field; did you mean `share_domain`?"],
        ),
    ]);
}

#[test]
fn what_can_not_be_expired() {
    let host_only = "needs a share_domain: without one, the session itself is host-only";
    let host_only = format!("cookies.expire_older_domains[0]: \"\" {host_only}");
    refuses(&[
        (
            "what is shared",
            cookies(json!({
                "share_domain": [shared("a", ".x.example"), shared("b", "y.example")],
                "expire_older_domains": ["Y.example", "z.example", "x.example"],
            })),
            &[
                "cookies.expire_older_domains[0]: \"Y.example\" is cookies.share_domain[1].domain \
                 too: what is shared would expire",
                "cookies.expire_older_domains[2]: \"x.example\" is cookies.share_domain[0].domain \
                 too: what is shared would expire",
            ],
        ),
        (
            "host-only without sharing",
            cookies(json!({ "expire_older_domains": [""] })),
            &[&host_only],
        ),
        (
            "host-only with an empty list",
            cookies(json!({ "share_domain": [], "expire_older_domains": [""] })),
            &[&host_only],
        ),
        (
            "host-only beside a broken list",
            cookies(json!({ "share_domain": [5], "expire_older_domains": [""] })),
            &["cookies.share_domain[0]: 5 must be an object"],
        ),
        (
            "host-only beside no list",
            cookies(json!({ "share_domain": "a", "expire_older_domains": [""] })),
            &["cookies.share_domain: must be a list, not a string"],
        ),
        (
            "domains",
            cookies(json!({ "expire_older_domains": ["a b", ".x.example", "X.example", "a."] })),
            &[
                "cookies.expire_older_domains[0]: \"a b\" must be a DNS name such as .example.com",
                "cookies.expire_older_domains[2]: is the same as cookies.expire_older_domains[1]",
                "cookies.expire_older_domains[3]: \"a.\" must be a DNS name such as .example.com",
            ],
        ),
    ]);
}

#[test]
fn paths_and_stripped_names() {
    let form = "must begin with \"/\", be printable ASCII without \";\", and end in no space";
    for path in ["", "a", "/a;b", "/a\r\nSet-Cookie: b", "/\u{7f}"] {
        let expected = format!("cookies.path: {path:?} {form}");
        refuses(&[(path, cookies(json!({ "path": path })), &[&expected])]);
    }
    refuses(&[(
        "names",
        cookies(json!({ "strip": ["a", "a;b", "a"] })),
        &[
            "cookies.strip[1]: \"a;b\" must be a cookie's name: a token of RFC 9110",
            "cookies.strip[2]: is the same as cookies.strip[0]",
        ],
    )]);
}

#[test]
fn shared_refresh_tokens_are_a_warning() {
    let warning = |n: usize| {
        format!(
            "cookies.share_domain[{n}].name: every host under the domain would receive this \
             refresh token, and none needs it"
        )
    };
    let names = ["cbo_refresh_token", "sAccessToken", "cbo_long_session", "sRefreshToken"];
    let entries: Vec<_> = names.iter().map(|name| shared(name, ".x.example")).collect();
    warns(&[(
        "refresh tokens",
        cookies(json!({ "share_domain": entries })),
        &[&warning(0), &warning(2), &warning(3)],
    )]);
}

#[test]
fn all_of_it_is_compiled() {
    let configuration = cookies(json!({
        "share_domain": [
            { "name": "sAccessToken", "domain": ".Example.com", "expire_host_only": true },
            { "name": "other", "domain": "example.com" },
        ],
        "expire_older_domains": [".old.example.com", "", "localhost"],
        "path": "/app",
        "strip": ["analytics_id"],
    }));
    let CookiePolicy { share_domain, expire_older_domains, path, strip } =
        loaded("all", &configuration).policy.cookies;
    let shown: Vec<_> = share_domain
        .iter()
        .map(|one| format!("{} {} {}", one.name, one.domain, one.expire_host_only))
        .collect();
    assert_eq!(shown, ["sAccessToken .example.com true", "other example.com false"]);
    let domain = |text: &str| OlderDomain::Domain(text.parse().unwrap());
    let expected = [domain("old.example.com"), OlderDomain::HostOnly, domain("localhost")];
    assert_eq!(expire_older_domains, expected);
    assert_eq!(path, "/app".parse().unwrap());
    assert_eq!(strip, ["analytics_id".parse().unwrap()]);
    let none = loaded("none", &cookies(json!({}))).policy.cookies;
    assert!(none.share_domain.is_empty() && none.expire_older_domains.is_empty());
    assert!(none.strip.is_empty() && none.path == "/".parse().unwrap());
}
