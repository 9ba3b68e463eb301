//! Where a browser without a session is sent, and what it brings along.
//!
//! `{url}` in `login_url` becomes the URL that was asked for, so that the login page can lead back:
//! 1. Only if the host of `:authority` is one of `return_hosts`. Otherwise it becomes empty: a login
//!    page that trusts its parameter would lead to whatever host a request claims to be for.
//! 2. Its scheme is `https`, since behind a TLS terminator `:scheme` says `http`; on a loopback or
//!    `*.localhost` authority it is that of `:scheme`.
//! 3. Every byte but RFC 3986's unreserved ones is percent-encoded: none can end the parameter,
//!    the URL or the header.
//! 4. What is longer than 4 KiB then becomes empty; cut, it would be another URL.
//!
//! The login page itself is never redirected to itself. It is known by host and path as servers may
//! take them: any ASCII case, one trailing slash and escapes play no part.

use crate::matcher::{Host, HostPattern};
use crate::path::{NormalPath, is_unreserved, push_escape, without_query};
use crate::request::RequestHead;

/// `login_url` and `return_hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The URL up to its `{url}`; all of it if there is none.
    pub before: Box<str>,
    /// The URL from its `{url}` on.
    pub after: Option<Box<str>>,
    /// What is never redirected.
    pub page: LoginPage,
    /// Where `{url}` may lead.
    pub return_hosts: ReturnHosts,
}

impl Login {
    /// Where the request is sent; nothing if it is for the login page, or has no URL.
    pub fn location(&self, head: &RequestHead<'_>) -> Option<Vec<u8>> {
        let line = head.line().ok()?;
        let host = Host::read(line.authority).ok()?;
        if !line.path.starts_with(b"/") || self.page.is_at(host, line.path) {
            return None;
        }
        let mut location = Vec::from(self.before.as_bytes());
        if let Some(after) = &self.after {
            if self.return_hosts.contain(host) {
                let scheme: &[u8] = match head.values(b":scheme").next() {
                    Some(b"http") if host.is_loopback() => b"http",
                    _ => b"https",
                };
                let url = [scheme, b"://", line.authority, line.path];
                location.extend(encoded(&url).unwrap_or_default());
            }
            location.extend_from_slice(after.as_bytes());
        }
        Some(location)
    }
}

/// Where the login page is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginPage {
    /// Nothing: on the host that was asked for.
    pub host: Option<HostPattern>,
    /// Its path.
    pub path: NormalPath<'static>,
}

impl LoginPage {
    fn is_at(&self, host: Host<'_>, target: &[u8]) -> bool {
        fn trimmed(path: &[u8]) -> &[u8] {
            path.strip_suffix(b"/").unwrap_or(path)
        }
        let path = without_query(target);
        let decoded = std::str::from_utf8(path).ok().and_then(NormalPath::from_pattern);
        let path = decoded.as_ref().map_or(path, |path| &path.wide);
        self.host.as_ref().is_none_or(|own| own.matches(host))
            && trimmed(&self.path.wide).eq_ignore_ascii_case(trimmed(path))
    }
}

/// `return_hosts`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReturnHosts {
    /// The host that was asked for, whichever it is.
    RequestsOwn,
    /// One of these.
    OneOf(Vec<HostPattern>),
}

impl ReturnHosts {
    /// Whether `host` is one of them.
    pub fn contain(&self, host: Host<'_>) -> bool {
        match self {
            Self::RequestsOwn => true,
            Self::OneOf(hosts) => hosts.iter().any(|own| own.matches(host)),
        }
    }
}

/// All `parts`, percent-encoded; nothing if that is too long.
fn encoded(parts: &[&[u8]]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    for byte in parts.iter().copied().flatten() {
        if is_unreserved(*byte) {
            text.push(*byte);
        } else {
            push_escape(&mut text, *byte);
        }
        if text.len() > MAX_URL_BYTES {
            return None;
        }
    }
    Some(text)
}

/// Servers and proxies take 8 KiB of a request line by default, and there is more in it.
const MAX_URL_BYTES: usize = 4 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    /// The host of `login_url` names the page and, unless given, the only host to return to.
    fn login(before: &str, after: Option<&str>, hosts: Option<&[&str]>) -> Login {
        let (host, path) = match before.strip_prefix("https://") {
            Some(rest) => rest.split_once('/').map(|(host, path)| (Some(host), path)).unwrap(),
            None => (None, before.strip_prefix('/').unwrap()),
        };
        let path = format!("/{}", path.split('?').next().unwrap());
        let path = NormalPath::from_pattern(&path).unwrap();
        let host: Option<HostPattern> = host.map(|host| host.parse().unwrap());
        let parsed = |hosts: &[&str]| hosts.iter().map(|host| host.parse().unwrap()).collect();
        let return_hosts = match (hosts, &host) {
            (Some(hosts), _) => ReturnHosts::OneOf(parsed(hosts)),
            (None, Some(host)) => ReturnHosts::OneOf(vec![host.clone()]),
            (None, None) => ReturnHosts::RequestsOwn,
        };
        let page = LoginPage { host, path };
        Login { before: before.into(), after: after.map(Box::from), page, return_hosts }
    }

    fn location(login: &Login, scheme: &str, authority: &[u8], path: &[u8]) -> Option<String> {
        let head = vec![
            (&b":method"[..], &b"GET"[..]),
            (b":scheme", scheme.as_bytes()),
            (b":authority", authority),
            (b":path", path),
        ];
        let location = login.location(&RequestHead::new(head, false));
        location.map(|location| String::from_utf8(location).unwrap())
    }

    #[test]
    fn the_url_is_one_that_was_asked_for_on_a_trusted_host() {
        let www = login("https://www.example.com/login?to=", Some("&a=1"), None);
        let local = login("/login?to=", Some(""), Some(&["localhost", "a.localhost", "[::1]"]));
        let own = login("/login?to=", Some(""), None);
        let apps = login("/login?to=", Some(""), Some(&["*.apps.example"]));
        let long = |length: usize| format!("/{}", "x".repeat(length));
        let longest = long(MAX_URL_BYTES - "https%3A%2F%2Fwww.example.com%2F".len());
        let encoded_longest = format!("https%3A%2F%2Fwww.example.com%2F{}", &longest[1..]);
        for (name, login, scheme, authority, path, expected) in [
            (
                "plain",
                &www,
                "https",
                "www.example.com",
                "/a?b=c&d",
                "https%3A%2F%2Fwww.example.com%2Fa%3Fb%3Dc%26d",
            ),
            (
                "behind TLS",
                &www,
                "http",
                "www.example.com",
                "/",
                "https%3A%2F%2Fwww.example.com%2F",
            ),
            (
                "a port",
                &www,
                "https",
                "www.example.com:8443",
                "/",
                "https%3A%2F%2Fwww.example.com%3A8443%2F",
            ),
            (
                "case and dot",
                &www,
                "https",
                "WWW.Example.COM.:80",
                "/",
                "https%3A%2F%2FWWW.Example.COM.%3A80%2F",
            ),
            ("another host", &www, "https", "evil.example", "/a", ""),
            ("a longer host", &www, "https", "www.example.com.evil.example", "/a", ""),
            ("a subdomain", &www, "https", "a.www.example.com", "/a", ""),
            ("two slashes", &www, "https", "www.example.com", "//evil", {
                "https%3A%2F%2Fwww.example.com%2F%2Fevil"
            }),
            ("a backslash", &www, "https", "www.example.com", "/\\evil", {
                "https%3A%2F%2Fwww.example.com%2F%5Cevil"
            }),
            ("line ends", &www, "https", "www.example.com", "/\r\nx: y", {
                "https%3A%2F%2Fwww.example.com%2F%0D%0Ax%3A%20y"
            }),
            ("a placeholder", &www, "https", "www.example.com", "/{url}#'\"<>", {
                "https%3A%2F%2Fwww.example.com%2F%7Burl%7D%23%27%22%3C%3E"
            }),
            ("escapes", &www, "https", "www.example.com", "/%0d%0a~a-b_c.d", {
                "https%3A%2F%2Fwww.example.com%2F%250d%250a~a-b_c.d"
            }),
            ("beyond ASCII", &www, "https", "www.example.com", "/\u{e4}", {
                "https%3A%2F%2Fwww.example.com%2F%C3%A4"
            }),
            ("too long", &www, "https", "www.example.com", &long(20_000), ""),
            ("a byte too long", &www, "https", "www.example.com", &format!("{longest}x"), ""),
            ("the longest", &www, "https", "www.example.com", &longest, &encoded_longest),
            (
                "localhost",
                &local,
                "http",
                "localhost:8080",
                "/",
                "http%3A%2F%2Flocalhost%3A8080%2F",
            ),
            ("*.localhost", &local, "http", "A.localhost", "/", "http%3A%2F%2FA.localhost%2F"),
            ("loopback", &local, "http", "[::1]:1", "/", "http%3A%2F%2F%5B%3A%3A1%5D%3A1%2F"),
            ("localhost and TLS", &local, "https", "localhost", "/", "https%3A%2F%2Flocalhost%2F"),
            ("an odd scheme", &local, "javascript", "localhost", "/", {
                "https%3A%2F%2Flocalhost%2F"
            }),
            ("another relative", &local, "https", "www.example.com", "/", ""),
            ("its own host", &own, "https", "any.example", "/a", "https%3A%2F%2Fany.example%2Fa"),
            (
                "a wildcard",
                &apps,
                "https",
                "a.apps.example",
                "/",
                "https%3A%2F%2Fa.apps.example%2F",
            ),
            ("its own name", &apps, "https", "apps.example", "/", ""),
        ] {
            let Login { before, after, .. } = login;
            let expected = [before, expected, after.as_deref().unwrap()].concat();
            let location = location(login, scheme, authority.as_bytes(), path.as_bytes());
            assert_eq!(location, Some(expected), "{name}");
        }
        let plain = login("https://www.example.com/login#top", None, None);
        let found = location(&plain, "https", b"evil.example", b"/");
        assert_eq!(found.as_deref(), Some("https://www.example.com/login#top"));
    }

    #[test]
    fn authorities_that_are_none_lead_nowhere() {
        let own = login("/login?to=", Some(""), None);
        for authority in [
            &b""[..],
            b"u@www.example.com",
            b"www.example.com@evil.example",
            b"www.example.com,evil.example",
            b"www.example.com/evil",
            b"www.example.com\\evil",
            b"www.example.com\r\nx",
            b"www.example.com:65536",
            b"www.example.com:80:80",
            b"%77ww.example.com",
            b"\xff",
            b"a..b",
            b"[::1",
        ] {
            let name = String::from_utf8_lossy(authority);
            assert_eq!(location(&own, "https", authority, b"/"), None, "{name}");
        }
        assert_eq!(location(&own, "https", b"a", b"*"), None, "no path");
        assert_eq!(own.location(&RequestHead::default()), None, "no head");
    }

    #[test]
    fn the_login_page_is_not_sent_to_itself() {
        let www = login("https://www.example.com/log%69n/m%2fe?to=", Some(""), None);
        let relative = login("/login?to=", Some(""), None);
        for (name, login, authority, path, is_page) in [
            ("itself", &www, "www.example.com", "/login/m%2Fe", true),
            ("with a query", &www, "www.example.com", "/login/m%2Fe?to=x", true),
            ("in another case", &www, "WWW.example.com.:443", "/LOGIN/M%2FE", true),
            ("with a slash", &www, "www.example.com", "/login/m%2Fe/", true),
            ("escaped otherwise", &www, "www.example.com", "/%6cogin/m%2fe", true),
            ("below", &www, "www.example.com", "/login/m%2Fe/x", false),
            ("above", &www, "www.example.com", "/login", false),
            ("on another host", &www, "api.example.com", "/login/m%2Fe", false),
            ("a broken escape", &www, "www.example.com", "/login/m%2", false),
            ("relative", &relative, "any.example", "/login", true),
            ("relative, a longer name", &relative, "any.example", "/login2", false),
            ("relative, in the query", &relative, "any.example", "/?/login", false),
        ] {
            let location = location(login, "https", authority.as_bytes(), path.as_bytes());
            assert_eq!(location.is_none(), is_page, "{name}");
        }
    }
}
