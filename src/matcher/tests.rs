//! Hosts, methods and paths, one row a spelling.

use super::Width::{Narrow, Wide};
use super::*;
use crate::path::PathPolicy;

fn path_matches(pattern: &PathPattern, path: &str) -> bool {
    let rule = RuleMatch::new(vec![], vec![], Wide, Some(pattern.clone()));
    let normal = PathPolicy::default().read(path.as_bytes()).unwrap();
    rule.matches(Host::read(b"a").unwrap(), b"GET", Some(&normal))
}

#[test]
fn authorities_have_a_host_and_perhaps_a_port() {
    for (authority, expected) in [
        ("example.com", Some("example.com")),
        ("WWW.Example.COM.:80", Some("WWW.Example.COM")),
        ("example.com:", Some("example.com")),
        ("example.com:65535", Some("example.com")),
        ("example.com:00080", Some("example.com")),
        ("a_b~c!$&'()*+;=", Some("a_b~c!$&'()*+;=")),
        ("127.0.0.1:1", Some("127.0.0.1")),
        ("[::1]", Some("[::1]")),
        ("[::1]:443", Some("[::1]")),
        ("", None),
        (".", None),
        ("..", None),
        (":80", None),
        (".example.com", None),
        ("a..b", None),
        ("example.com..", None),
        ("example.com:65536", None),
        ("example.com:99999999999999999999", None),
        ("example.com:+80", None),
        ("example.com:-1", None),
        ("example.com:80:80", None),
        ("example.com:80 ", None),
        ("u@example.com", None),
        ("u:p@example.com:80", None),
        ("example%2ecom", None),
        ("a,b", None),
        ("a b", None),
        ("a/b", None),
        ("a?b", None),
        ("a#b", None),
        ("a\\b", None),
        ("b\u{fc}cher.example", None),
        ("a\0", None),
        ("[", None),
        ("[]", None),
        ("[::1", None),
        ("[0:0:0:0:0:0:0:1]", None),
        ("[0::1]", None),
        ("[::1]x", None),
        ("[::1].", None),
        ("[::1]:x", None),
        ("[::1%25eth0]", None),
        ("[127.0.0.1]", None),
        ("x[::1]", None),
        ("::1", None),
    ] {
        let host = Host::read(authority.as_bytes());
        let expected = expected.map(|name| Host(name.as_bytes())).ok_or(MalformedAuthority);
        assert_eq!(host, expected, "{authority:?}");
    }
    assert_eq!(Host::read(b"a\xff"), Err(MalformedAuthority));
}

#[test]
fn host_patterns_know_no_case() {
    for (pattern, host, expected) in [
        ("example.com", "EXAMPLE.com.", true),
        ("Example.COM", "example.com:8443", true),
        ("example.com", "www.example.com", false),
        ("example.com", "example.com.evil.org", false),
        ("*.example.com", "www.example.com", true),
        ("*.example.com", "A.B.Example.com.:1", true),
        ("*.example.com", "example.com", false),
        ("*.example.com", "evilexample.com", false),
        ("*.com", "example.com", true),
        ("127.0.0.1", "127.0.0.1:80", true),
        ("[::1]", "[::1]:80", true),
    ] {
        let pattern: HostPattern = pattern.parse().unwrap();
        let host = Host::read(host.as_bytes()).unwrap();
        assert_eq!(pattern.matches(host), expected, "{pattern:?} and {host:?}");
    }
    for bad in [
        "",
        "*",
        "*.",
        "*example.com",
        "www.*.com",
        "a.*",
        "example.com.",
        "example.com:80",
        "a b",
        "a/b",
        "https://a",
        "u@a",
        "*.[::1]",
        "[::1",
        ".a",
        "a..b",
        "b\u{fc}cher",
        "*.*.a",
        "a%2eb",
    ] {
        assert_eq!(bad.parse::<HostPattern>(), Err(InvalidHost), "{bad:?}");
    }
}

#[test]
fn get_includes_head() {
    let none = Host::read(b"a").unwrap();
    for (name, method, width, expected) in [
        ("GET", "GET", Narrow, true),
        ("GET", "HEAD", Narrow, true),
        ("GET", "get", Narrow, false),
        ("GET", "get", Wide, true),
        ("GET", "Head", Wide, true),
        ("HEAD", "GET", Wide, false),
        ("POST", "HEAD", Wide, false),
        ("POST", "post", Wide, true),
        ("POST", "POSTS", Wide, false),
        ("M-SEARCH", "M-SEARCH", Narrow, true),
    ] {
        let rule = RuleMatch::new(vec![], vec![name.parse().unwrap()], width, None);
        assert!(rule.looks_at_method() && !rule.looks_at_path());
        assert_eq!(rule.matches(none, method.as_bytes(), None), expected, "{name} {method}");
    }
    for bad in ["", "get", "GeT", "GET ", "G,T", "G\u{c4}T"] {
        assert_eq!(bad.parse::<Method>(), Err(InvalidMethod), "{bad:?}");
    }
}

#[test]
fn paths_match_narrowly_or_widely() {
    type Make = fn(&str, Width) -> Result<PathPattern, InvalidPath>;
    let (exact, prefix): (Make, Make) = (PathPattern::exact, PathPattern::prefix);
    let (suffix, template): (Make, Make) = (PathPattern::suffix, PathPattern::template);
    for (make, text, path, narrow, wide) in [
        (exact, "/admin", "/admin", true, true),
        (exact, "/admin", "/admin?x=/public", true, true),
        (exact, "/admin", "/ADMIN", false, true),
        (exact, "/admin", "/admin/", false, true),
        (exact, "/admin/", "/admin", false, true),
        (exact, "/admin", "/%61dmin", true, true),
        (exact, "/admin", "/admin/x", false, false),
        (exact, "/admin", "/adminx", false, false),
        (exact, "/admin", "/", false, false),
        (exact, "/", "/", true, true),
        (exact, "/a@b", "/a%40b", false, true),
        (exact, "/a%40b", "/a%40B", false, true),
        (exact, "/a%40b", "/a%40b", true, true),
        (exact, "/a b", "/a%20b", true, true),
        (exact, "/b\u{fc}cher", "/b%C3%bccher", true, true),
        (exact, "/{id}", "/x", false, false),
        (prefix, "/a", "/a", true, true),
        (prefix, "/a", "/a/", true, true),
        (prefix, "/a/", "/a", true, true),
        (prefix, "/a/", "/a/b/c", true, true),
        (prefix, "/a", "/A/b", false, true),
        (prefix, "/a", "/ab", false, false),
        (prefix, "/a/b", "/a", false, false),
        (prefix, "/", "/", true, true),
        (prefix, "/", "/x/y", true, true),
        (suffix, ".css", "/x/y.css", true, true),
        (suffix, ".css", "/x.CSS", false, true),
        (suffix, ".css", "/x.css/", false, false),
        (suffix, ".css", "/x.css?v=1", true, true),
        (suffix, ".css", "/x.css.js", false, false),
        (suffix, "/end", "/end", true, true),
        (suffix, "/very/long/end", "/end", false, false),
        (template, "/orders/{id}", "/orders/7", true, true),
        (template, "/orders/{id}", "/orders/", false, false),
        (template, "/orders/{id}", "/orders", false, false),
        (template, "/orders/{id}", "/orders/7/", false, true),
        (template, "/orders/{id}", "/orders/7/x", false, false),
        (template, "/orders/{id}/items", "/ORDERS/7/Items", false, true),
        (template, "/{a}/{b}", "/x/y", true, true),
        (template, "/{a}/{b}", "/x", false, false),
        (template, "/x", "/x", true, true),
    ] {
        for (width, expected) in [(Narrow, narrow), (Wide, wide)] {
            let pattern = make(text, width).unwrap();
            assert_eq!(path_matches(&pattern, path), expected, "{width:?} {text} and {path}");
        }
    }
}

#[test]
fn a_pattern_for_paths_needs_a_path() {
    let rule = RuleMatch::new(vec![], vec![], Wide, Some(PathPattern::prefix("/", Wide).unwrap()));
    assert!(!rule.matches(Host::read(b"a").unwrap(), b"GET", None));
    assert!(RuleMatch::everything().matches(Host::read(b"a").unwrap(), b"", None));
}

#[test]
fn what_no_path_can_be_is_refused() {
    for width in [Narrow, Wide] {
        for (text, error) in [
            ("", InvalidPath::NoLeadingSlash),
            ("admin", InvalidPath::NoLeadingSlash),
            ("/a?b", InvalidPath::Query),
            ("/a#b", InvalidPath::Query),
            ("/a%", InvalidPath::Escape),
            ("/a%2", InvalidPath::Escape),
            ("/a%zz", InvalidPath::Escape),
        ] {
            assert_eq!(PathPattern::exact(text, width), Err(error), "{text}");
            assert_eq!(PathPattern::prefix(text, width), Err(error), "{text}");
            assert_eq!(PathPattern::template(text, width), Err(error), "{text}");
        }
        assert_eq!(PathPattern::suffix("", width), Err(InvalidPath::Empty));
        assert_eq!(PathPattern::suffix("?", width), Err(InvalidPath::Query));
        assert_eq!(PathPattern::suffix("%x", width), Err(InvalidPath::Escape));
        for text in
            ["/{", "/}", "/{}", "/a{b}", "/{a}b", "/{a{b}}", "/{a}{b}", "/{{a}}", "/%7Ba%7d"]
        {
            let error = Err(InvalidPath::Placeholder);
            assert_eq!(PathPattern::template(text, width), error, "{text}");
        }
    }
}

#[test]
fn a_rule_covers_what_it_would_decide_first() {
    let rule = |hosts: &str, methods: &str, width, path: Option<PathPattern>| {
        let hosts = hosts.split_whitespace().map(|host| host.parse().unwrap()).collect();
        let methods = methods.split_whitespace().map(|method| method.parse().unwrap()).collect();
        RuleMatch::new(hosts, methods, width, path)
    };
    let path = |path| rule("", "", Wide, Some(path));
    let exact = |text, width| path(PathPattern::exact(text, width).unwrap());
    let prefix = |text, width| path(PathPattern::prefix(text, width).unwrap());
    let suffix = |text, width| path(PathPattern::suffix(text, width).unwrap());
    let template = |text, width| path(PathPattern::template(text, width).unwrap());
    let all = RuleMatch::everything;
    for (name, earlier, later, expected) in [
        ("everything", all(), exact("/a", Wide), true),
        ("a path, everything", prefix("/", Wide), all(), false),
        ("the same", exact("/a", Narrow), exact("/a", Narrow), true),
        ("wide, narrow", exact("/A", Wide), exact("/a", Narrow), true),
        ("narrow, wide", exact("/a", Narrow), exact("/a", Wide), false),
        ("above", prefix("/a", Wide), prefix("/a/b", Narrow), true),
        ("a template below", prefix("/a", Wide), template("/a/{x}", Wide), true),
        ("beside", prefix("/a", Wide), prefix("/ab", Wide), false),
        ("below", prefix("/a/b", Wide), prefix("/a", Wide), false),
        ("every path, a suffix", prefix("/", Narrow), suffix(".css", Narrow), true),
        ("a prefix, a suffix", prefix("/a", Narrow), suffix(".css", Narrow), false),
        ("a shorter suffix", suffix(".css", Narrow), suffix("a.css", Narrow), true),
        ("a suffix, its path", suffix(".css", Narrow), exact("/a.css", Narrow), true),
        ("a suffix, a prefix", suffix("a", Narrow), prefix("/a", Narrow), false),
        ("the same template", template("/{x}", Wide), template("/{x}", Narrow), true),
        ("a template, its path", template("/{x}", Wide), exact("/a", Wide), false),
        ("a host", rule("a", "", Wide, None), rule("a", "", Wide, None), true),
        ("fewer hosts", rule("a b", "", Wide, None), rule("B", "", Wide, None), true),
        ("more hosts", rule("a", "", Wide, None), rule("a b", "", Wide, None), false),
        ("a host, any", rule("a", "", Wide, None), all(), false),
        ("a wildcard", rule("*.a", "", Wide, None), rule("b.a *.c.a", "", Wide, None), true),
        ("not below it", rule("*.a", "", Wide, None), rule("a", "", Wide, None), false),
        ("a name, a wildcard", rule("b.a", "", Wide, None), rule("*.a", "", Wide, None), false),
        ("a method", rule("", "GET PUT", Wide, None), rule("", "PUT", Narrow, None), true),
        ("narrow methods", rule("", "PUT", Narrow, None), rule("", "PUT", Wide, None), false),
        ("a method, any", rule("", "GET", Wide, None), all(), false),
    ] {
        assert_eq!(earlier.covers(&later), expected, "{name}");
    }
}
