//! Rules: what they match and leave open.

use serde_json::{Value, json};

use super::*;

#[test]
fn matches() {
    let with = |matches: Value| rules(json!([{ "match": matches }]));
    let host = "must be a DNS name, an address, or *. and a DNS name; without a port";
    let bad_hosts = [
        "",
        "*",
        "*.",
        "a:80",
        "a.",
        "a..b",
        "a/b",
        "u@a",
        "www.*.a",
        "*a.b",
        "a,b",
        "::1",
        "*.[::1]",
        "\u{e4}.example",
        "a b",
    ];
    let host_errors: Vec<_> = bad_hosts
        .iter()
        .enumerate()
        .map(|(n, text)| format!("rules[0].match.hosts[{n}]: {text:?} {host}"))
        .collect();
    let host_errors: Vec<_> = host_errors.iter().map(String::as_str).collect();
    let path = "rules[0].match.path";
    let placeholder = "must have { and } only around a whole segment's name";
    refuses(&[
        ("hosts", with(json!({ "hosts": bad_hosts })), &host_errors),
        (
            "methods",
            with(json!({ "methods": ["get", "", "GET POST"] })),
            &[
                "rules[0].match.methods[0]: \"get\" must be a method in upper case, such as GET",
                "rules[0].match.methods[1]: \"\" must be a method in upper case, such as GET",
                "rules[0].match.methods[2]: \"GET POST\" must be a method in upper case, such as \
                 GET",
            ],
        ),
        (
            "empty lists",
            with(json!({ "hosts": [], "methods": [] })),
            &[
                "rules[0].match.hosts: must not be empty: leave it out to match every host",
                "rules[0].match.methods: must not be empty: leave it out to match every method",
            ],
        ),
        (
            "no path",
            with(json!({ "path": { "strict": true } })),
            &["rules[0].match.path: must have exactly one of exact, prefix, suffix, template"],
        ),
        (
            "two paths",
            with(json!({ "path": { "exact": "/a", "prefix": "/b" } })),
            &["rules[0].match.path: must have exactly one of exact, prefix, suffix, template"],
        ),
        (
            "no leading slash",
            with(json!({ "path": { "prefix": "admin" } })),
            &[&format!("{path}.prefix: \"admin\" must start with \"/\"")],
        ),
        (
            "a query",
            with(json!({ "path": { "exact": "/a?b" } })),
            &[&format!(
                "{path}.exact: \"/a?b\" must have no query and no fragment: they are not compared"
            )],
        ),
        (
            "a broken escape",
            with(json!({ "path": { "exact": "/100%" } })),
            &[&format!("{path}.exact: \"/100%\" has a % without two hexadecimal digits after it")],
        ),
        (
            "a placeholder in a segment",
            with(json!({ "path": { "template": "/a/x{id}" } })),
            &[&format!("{path}.template: \"/a/x{{id}}\" {placeholder}")],
        ),
        (
            "an empty suffix",
            path_rule("public", json!({ "suffix": "" })),
            &[&format!("{path}.suffix: \"\" must not be empty")],
        ),
        (
            "suffix on a rule that restricts",
            path_rule("denied", json!({ "suffix": ".php" })),
            &[&format!(
                "{path}.suffix: suffix is for public and optional rules only, and for mode: \
                 report: a rule that restricts would be dodged by another ending"
            )],
        ),
        (
            "a rule's name",
            rules(json!([{ "name": "a b" }, { "name": "" }])),
            &[
                "rules[0].name: \"a b\" must be 1 to 64 letters, digits, _, . and -",
                "rules[1].name: \"\" must be 1 to 64 letters, digits, _, . and -",
            ],
        ),
        (
            "an error in the default is no error of the rules",
            merged(
                rules(json!([{ "match": { "path": { "suffix": ".css" } } }])),
                json!({ "default": { "access": "public", "forward": "none" } }),
            ),
            &["default.forward: \"none\" must be one of bearer, verify_only, strip"],
        ),
        (
            "a default matches everything",
            top(json!({ "default": { "match": {}, "access": "open" } })),
            &[
                "default.access: \"open\" must be one of required, optional, public, denied",
                "default.match: unknown field; known here: access, forward, providers, mode, \
                 insecure_forward_foreign",
            ],
        ),
    ]);
    warns(&[
        ("suffix", path_rule("public", json!({ "suffix": ".css" })), &[]),
        ("suffix", path_rule("optional", json!({ "suffix": ".css" })), &[]),
        (
            "suffix",
            rules(json!([{ "mode": "report", "match": { "path": { "suffix": ".php" } } }])),
            &["rules[0].mode: nothing is refused here: requests without a good session are only \
               counted"],
        ),
        (
            "a wildcard that is none",
            path_rule("required", json!({ "prefix": "/api/*" })),
            &["rules[0].match.path.prefix: \"/api/*\" is compared as it is: \"*\" stands for \
               nothing else here"],
        ),
        (
            "a placeholder that is none",
            path_rule("required", json!({ "exact": "/orders/{id}" })),
            &[
                "rules[0].match.path.exact: \"/orders/{id}\" is compared as it is: \"{\" stands for \
               nothing else here",
            ],
        ),
        (
            "an ambiguous path",
            path_rule("denied", json!({ "prefix": "/a/../b" })),
            &["rules[0].match.path.prefix: \"/a/../b\" never matches: such paths are ambiguous \
               and refused with 400"],
        ),
    ]);
}

#[test]
fn covered_rules() {
    let two = |first: Value, second: Value| rules(json!([first, second]));
    let path = |access: &str, path: Value| json!({ "access": access, "match": { "path": path } });
    let never = "rules[1]: never decides: rules[0] matches all that it matches";
    let odd = "rules[1]: decides odd spellings only (other case, a trailing slash): rules[0] \
               matches the usual one";
    warns(&[
        (
            "everything before something",
            two(json!({}), path("denied", json!({ "prefix": "/a" }))),
            &[never],
        ),
        (
            "a prefix before one below it",
            two(
                path("denied", json!({ "prefix": "/a" })),
                path("public", json!({ "template": "/a/{x}" })),
            ),
            &[never],
        ),
        (
            "a public prefix before a restricted one below it",
            two(
                path("public", json!({ "prefix": "/a" })),
                path("denied", json!({ "prefix": "/a/b" })),
            ),
            &[odd],
        ),
        (
            "more hosts and methods before fewer",
            two(
                json!({ "match": { "hosts": ["*.a", "b"], "methods": ["GET", "PUT"] } }),
                json!({ "match": { "hosts": ["x.A"], "methods": ["PUT"] } }),
            ),
            &[never],
        ),
        (
            "the special case first",
            two(
                path("denied", json!({ "prefix": "/a/b" })),
                path("public", json!({ "prefix": "/a" })),
            ),
            &[],
        ),
        (
            "other methods",
            two(
                json!({ "match": { "methods": ["GET"] } }),
                json!({ "match": { "methods": ["PUT"] } }),
            ),
            &[],
        ),
    ]);
}

#[test]
fn something_is_protected() {
    let all = json!({ "access": "public" });
    let public = |matches: Value| json!({ "access": "public", "match": matches });
    let guarded = json!({ "match": { "path": { "prefix": "/api" } } });
    let shut = json!({ "access": "denied", "match": { "path": { "exact": "/internal" } } });
    let prefix = |prefix: &str| public(json!({ "path": { "prefix": prefix } }));
    let with_default =
        |rules: Value| top(json!({ "rules": rules, "default": { "access": "public" } }));
    let error = "public for every path leaves no path protected: restrict it by match, or set \
                 insecure_public_by_default: true";
    let first = format!("rules[0]: {error}");
    let default = format!("default.access: {error}");
    refuses(&[
        ("no match", rules(json!([all])), &[&first]),
        ("an empty match", rules(json!([public(json!({}))])), &[&first]),
        ("prefix /", rules(json!([prefix("/")])), &[&first]),
        (
            "prefix / strictly",
            rules(json!([public(json!({
                "path": { "prefix": "/", "strict": false },
            }))])),
            &[&first],
        ),
        ("as default", with_default(json!([])), &[&default]),
        ("as default behind another public rule", with_default(json!([prefix("/a")])), &[&default]),
        (
            "inherited from a default",
            with_default(json!([{ "match": { "path": { "prefix": "/" } } }])),
            &[&first],
        ),
        ("what is protected comes too late", rules(json!([all, guarded])), &[&first]),
        (
            "what is protected is public before",
            with_default(json!([prefix("/api"), {
                "access": "required", "match": { "path": { "prefix": "/api/x" } },
            }])),
            &[&default],
        ),
        (
            "report protects nothing",
            with_default(json!([merged(shut.clone(), json!({ "mode": "report" }))])),
            &[&default],
        ),
        (
            "what only reports comes before",
            with_default(json!([{ "access": "denied", "mode": "report" }, shut])),
            &[&default],
        ),
        (
            "optional protects nothing",
            with_default(json!([{ "access": "optional", "match": { "methods": ["GET"] } }])),
            &[&default],
        ),
    ]);
    let open = "every path is public that no rule before this one decides";
    warns(&[
        (
            "some hosts",
            rules(json!([public(json!({ "hosts": ["a"], "path": { "prefix": "/" } }))])),
            &[],
        ),
        ("some methods", rules(json!([public(json!({ "methods": ["GET"] }))])), &[]),
        ("one level", rules(json!([public(json!({ "path": { "template": "/{x}" } }))])), &[]),
        ("the root alone", rules(json!([public(json!({ "path": { "exact": "/" } }))])), &[]),
        (
            "report alone",
            top(json!({ "default": { "mode": "report" } })),
            &[
                "default.mode: nothing is refused here: requests without a good session are only counted",
            ],
        ),
        (
            "a rule before it protects",
            rules(json!([guarded, all])),
            &[&format!("rules[1]: {open}")],
        ),
        (
            "a rule before the default protects",
            with_default(json!([shut])),
            &[&format!("default.access: {open}")],
        ),
        (
            "allowed",
            merged(rules(json!([all])), json!({ "insecure_public_by_default": true })),
            &[
                "insecure_public_by_default: a configuration that protects no path would be accepted",
            ],
        ),
    ]);
}
