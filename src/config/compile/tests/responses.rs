//! The login page: where it may be, and whether anybody can reach it.

use serde_json::{Value, json};

use super::{loaded, merged, refuses, top, warns};
use crate::login::ReturnHosts;

fn login(url: &str) -> Value {
    top(json!({ "responses": { "login_url": url } }))
}

#[test]
fn login_urls_lead_where_the_operator_says() {
    let start = "must begin with https:// (http:// on loopback and *.localhost only) or with a \
                 single /";
    let byte = "must be visible ASCII without \"\\\"";
    let host = "must have a host, and a port up to 65535 if any";
    let user_info = "must have no user info";
    let place = "must have its {url} in the query or fragment";
    let one = "must have no placeholder but one {url}";
    let dots = "must have no segment . or .. in its path";
    for (url, why) in [
        ("http://www.example.com/login", start),
        ("login", start),
        ("//evil.example/login", start),
        ("///login", start),
        ("javascript:alert(1)", start),
        ("data://a/", start),
        ("https:/login", start),
        ("https:login", start),
        ("?to={url}", start),
        ("/\\evil.example", byte),
        ("https:\\\\a/login", byte),
        ("/\t/evil.example", byte),
        ("/login\r\nset-cookie: a=b", byte),
        (" /login", byte),
        ("/l\u{f6}gin", byte),
        ("https://u@www.example.com/login", user_info),
        ("https://u:p@www.example.com/login", user_info),
        ("https://", host),
        ("https:///login", host),
        ("https://a:65536/login", host),
        ("https://a:/login", host),
        ("https://*.example.com/login", host),
        ("https://a..b/login", host),
        ("https://www.example.com/{url}", place),
        ("https://www.example.com/login/{url}?a=b", place),
        ("https://{url}/login", place),
        ("{url}", place),
        ("/{url}", place),
        ("/login?to={url}&to={url}", one),
        ("/login?to={uri}", one),
        ("/login?to={url}&tenant={host}", one),
        ("https://{tenant}.example.com/login", one),
        ("/login?to={{url}}", one),
        ("/login?to={url", one),
        ("/login?to=url}", one),
        ("/a/../login", dots),
        ("https://www.example.com/./login?to={url}", dots),
        ("/a/%2e%2E/login", dots),
        ("/..", dots),
        ("/login%2", "must have no broken escape in its path"),
    ] {
        let error = format!("responses.login_url: {url:?} {why}");
        refuses(&[(url, login(url), &[&error])]);
    }
    refuses(&[
        ("empty", login(""), &["responses.login_url: \"\" must not be empty"]),
        (
            "return_hosts",
            top(json!({ "responses": {
                "login_url": "/login?to={url}",
                "return_hosts": [
                    "a.example", "https://a.example", "a.example:8443", "a.example.", "*", "a.*.b",
                    "u@a", "",
                ],
            } })),
            &["https://a.example", "a.example:8443", "a.example.", "*", "a.*.b", "u@a", ""]
                .into_iter()
                .zip(1..)
                .map(|(text, n)| {
                    format!(
                        "responses.return_hosts[{n}]: {text:?} must be a DNS name, an address, or \
                         *. and a DNS name; without a port"
                    )
                })
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        ),
        (
            "no return_hosts",
            top(json!({ "responses": { "login_url": "/login", "return_hosts": [] } })),
            &["responses.return_hosts: must not be empty: leave it out for the default"],
        ),
        (
            "both wrong",
            top(json!({ "responses": { "login_url": "login", "return_hosts": ["a/b"] } })),
            &[
                &format!("responses.login_url: \"login\" {start}"),
                "responses.return_hosts[0]: \"a/b\" must be a DNS name, an address, or *. and a \
                 DNS name; without a port",
            ],
        ),
    ]);
}

#[test]
fn login_urls_are_split_at_their_placeholder() {
    for (url, hosts, before, after, host, path, returns) in [
        ("/login", None, "/login", None, None, "/login", "its own"),
        ("/", None, "/", None, None, "/", "its own"),
        ("/login?to={url}", None, "/login?to=", Some(""), None, "/login", "its own"),
        ("/#/login?to={url}&a=b", None, "/#/login?to=", Some("&a=b"), None, "/", "its own"),
        (
            "https://WWW.Example.com.:8443/in?a={url}#top",
            None,
            "https://WWW.Example.com.:8443/in?a=",
            Some("#top"),
            Some("www.example.com"),
            "/in",
            "www.example.com",
        ),
        (
            "https://www.example.com",
            None,
            "https://www.example.com",
            None,
            Some("www.example.com"),
            "/",
            "www.example.com",
        ),
        (
            "http://login.localhost:8080?to={url}",
            Some(["a.localhost"]),
            "http://login.localhost:8080?to=",
            Some(""),
            Some("login.localhost"),
            "/",
            "a.localhost",
        ),
        ("/login?to={url}", Some(["a.b"]), "/login?to=", Some(""), None, "/login", "a.b"),
        ("http://127.0.0.1/", None, "http://127.0.0.1/", None, Some("127.0.0.1"), "/", {
            "127.0.0.1"
        }),
        ("https://[::1]/", None, "https://[::1]/", None, Some("[::1]"), "/", "[::1]"),
    ] {
        let mut configuration = login(url);
        if let Some(hosts) = hosts {
            configuration["responses"]["return_hosts"] = json!(hosts);
        }
        let login = loaded(url, &configuration).policy.responses.login.unwrap();
        assert_eq!((&*login.before, login.after.as_deref()), (before, after), "{url}");
        assert_eq!(login.page.host, host.map(|host| host.parse().unwrap()), "{url}");
        assert_eq!(&*login.page.path.wide, path.as_bytes(), "{url}");
        let expected = match returns {
            "its own" => ReturnHosts::RequestsOwn,
            host => ReturnHosts::OneOf(vec![host.parse().unwrap()]),
        };
        assert_eq!(login.return_hosts, expected, "{url}");
    }
}

#[test]
fn a_login_page_that_nobody_can_reach_is_a_warning() {
    const ABSOLUTE: &str = "https://www.example.com/login?to={url}";
    let public = |fields: Value| json!([{ "match": fields, "access": "public" }]);
    let exact = json!({ "path": { "exact": "/login" } });
    let on = |host: &str| merged(exact.clone(), json!({ "hosts": [host] }));
    let required = |host: &str| json!([{ "match": { "hosts": [host] } }]);
    for (name, url, hosts, rules, warned) in [
        ("no rules", "/login", None, json!([]), true),
        ("public", "/login", None, public(exact.clone()), false),
        ("public prefix", "/login", None, public(json!({ "path": { "prefix": "/" } })), false),
        ("public on a host", "/login", None, public(on("www.example.com")), false),
        ("public below", "/login", None, public(json!({ "path": { "prefix": "/login/a" } })), true),
        ("public POST", "/login", None, public(json!({ "methods": ["POST"] })), true),
        ("public GET", "/login", None, public(json!({ "methods": ["GET"] })), false),
        ("optional", "/login", None, json!([{ "match": exact, "access": "optional" }]), true),
        ("absolute, no rules", ABSOLUTE, None, json!([]), true),
        ("absolute, public", ABSOLUTE, None, public(exact.clone()), false),
        ("absolute, public there", ABSOLUTE, None, public(on("www.example.com")), false),
        ("absolute, public elsewhere", ABSOLUTE, None, public(on("api.example.com")), false),
        ("absolute, required there", ABSOLUTE, None, required("*.example.com"), true),
        ("absolute, required elsewhere", ABSOLUTE, None, required("api.example.com"), false),
        ("absolute, never led back", ABSOLUTE, Some("api.example.com"), json!([]), false),
        ("absolute, led back", ABSOLUTE, Some("www.example.com"), json!([]), true),
    ] {
        let mut configuration = top(json!({
            "responses": { "login_url": url }, "rules": rules,
            "insecure_public_by_default": name == "public prefix",
        }));
        if let Some(host) = hosts {
            configuration["responses"]["return_hosts"] = json!([host]);
        }
        let text = "responses.login_url: no public rule covers \"/login\": where these rules decide \
                    about it, nobody can log in";
        let warnings = loaded(name, &configuration).warnings;
        let mut warnings = warnings.iter().map(ToString::to_string);
        assert_eq!(warnings.any(|warning| warning == text), warned, "{name}");
    }
    let mut public_default = top(json!({
        "responses": { "login_url": "/login" }, "default": { "access": "public" },
        "rules": [{ "match": { "path": { "prefix": "/a" } }, "access": "required" }],
    }));
    let every = "default.access: every path is public that no rule before this one decides";
    warns(&[("public by default", public_default.clone(), &[every])]);

    let nothing = "responses.return_hosts: decides nothing: there is no {url} in login_url";
    public_default["responses"]["return_hosts"] = json!(["a.example"]);
    warns(&[("no placeholder", public_default.clone(), &[every, nothing])]);
    public_default["responses"]["login_url"] = json!("/login?to={url}");
    warns(&[("a placeholder", public_default.clone(), &[every])]);
    public_default["responses"].as_object_mut().unwrap().remove("login_url");
    warns(&[("no login_url", public_default, &[every, nothing])]);
}
