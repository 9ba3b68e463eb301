//! The request that is asked about, from the command line.
//!
//! 1. The URL gives `:scheme`, `:authority` and `:path`; its fragment never leaves a browser.
//! 2. Names of headers are in lower case, as Envoy hands them on. `host` is `:authority`.
//! 3. Several `authorization` lines are one with commas, which is what Envoy makes of them.
//!
//! Caveat: what Envoy itself does to a path before filters see it (`normalize_path`,
//! `merge_slashes`) depends on its configuration, and is not done here.

use session_token_filter::bytes::escaped;
use session_token_filter::path;
use session_token_filter::request::{HeaderName, RequestHead};

use crate::files;
use crate::finding::printable;

/// A request with its headers, pseudo headers first.
#[derive(Debug)]
pub(crate) struct Request {
    pairs: Vec<(String, String)>,
}

impl Request {
    /// A request from what `curl` would be given.
    pub(crate) fn new(method: &str, url: &str, headers: &[String]) -> Result<Self, String> {
        let (scheme, rest) = url
            .split_once("://")
            .filter(|(scheme, _)| ["http", "https"].contains(scheme))
            .ok_or("--url must begin with https:// or http://")?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() || authority.contains('@') {
            return Err("--url must have a host, and no user info".to_owned());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let mut request = Self {
            pairs: vec![
                (":method".to_owned(), method.to_owned()),
                (":scheme".to_owned(), scheme.to_owned()),
                (":authority".to_owned(), authority.to_owned()),
                (":path".to_owned(), path),
            ],
        };
        for header in headers {
            match header.strip_prefix('@') {
                None => request.add(header)?,
                Some(file) => {
                    let text = files::read(file).map_err(|error| error.to_string())?;
                    let lines = text.lines().filter(|line| !line.trim().is_empty());
                    lines.into_iter().try_for_each(|line| request.add(line))?;
                }
            }
        }
        Ok(request)
    }

    /// What the filter gets to see.
    pub(crate) fn head(&self) -> RequestHead<'_> {
        let pairs = self.pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        RequestHead::new(pairs.collect(), false)
    }

    /// `GET https://www.example.com/admin`, without a query.
    pub(crate) fn line(&self) -> String {
        let value = |name: &str| {
            let found = self.pairs.iter().find(|(own, _)| own == name);
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        let whole = value(":path").as_bytes();
        let path = path::without_query(whole);
        let query = if path.len() < whole.len() { "?…" } else { "" };
        let [method, authority] = [":method", ":authority"].map(|name| printable(value(name)));
        let path = escaped(path, MAX_SHOWN);
        format!("{method} {}://{authority}{path}{query}", value(":scheme"))
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        // The line may hold a token: it is not shown.
        let (name, value) = line
            .split_once(':')
            .ok_or("a header must look like `name: value`, or @FILE; one does not")?;
        let name: HeaderName = name.trim().parse().map_err(|_| {
            "a header must look like `name: value`, or @FILE; one has no such name".to_owned()
        })?;
        let value = value.trim();
        if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(format!("the header {} has a line break", name.as_str()));
        }
        let name = if name.as_str() == "host" { ":authority" } else { name.as_str() };
        let known = self.pairs.iter_mut().find(|(own, _)| own == name);
        match (known, name) {
            (Some((_, own)), ":authority") => value.clone_into(own),
            (Some((_, own)), "authorization") => {
                own.push(',');
                own.push_str(value);
            }
            (Some(_) | None, _) => self.pairs.push((name.to_owned(), value.to_owned())),
        }
        Ok(())
    }
}

/// A header's value in which the request's own query does not appear, as it would in a redirect.
pub(crate) fn without_query(value: &[u8], head: &RequestHead<'_>) -> String {
    let text = printable(&String::from_utf8_lossy(value));
    let path = head.values(b":path").next().unwrap_or_default();
    match text.split_once("%3F") {
        Some((before, _)) if path.contains(&b'?') => format!("{before}%3F…"),
        Some(_) | None => text,
    }
}

const MAX_SHOWN: usize = 200;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pairs(url: &str, headers: &[&str]) -> Result<Vec<String>, String> {
        let headers: Vec<_> = headers.iter().map(|it| (*it).to_owned()).collect();
        let request = Request::new("GET", url, &headers)?;
        Ok(request.pairs.iter().skip(1).map(|(name, value)| format!("{name}={value}")).collect())
    }

    #[test]
    fn urls_become_pseudo_headers() {
        for (url, expected) in [
            ("https://a.example", [":scheme=https", ":authority=a.example", ":path=/"]),
            ("http://a:8080/b?c#d", [":scheme=http", ":authority=a:8080", ":path=/b?c"]),
            ("https://a?b", [":scheme=https", ":authority=a", ":path=/?b"]),
        ] {
            assert_eq!(pairs(url, &[]).unwrap(), expected, "{url}");
        }
        for url in ["a.example", "/a", "ftp://a", "https://", "https://u:p@a/"] {
            assert!(pairs(url, &[]).is_err(), "{url}");
        }
    }

    #[test]
    fn headers_are_as_envoy_hands_them_on() {
        let lines = ["Cookie: a=b", "HOST: b.example", "Authorization:Basic x", "cookie: c=d"];
        let found = pairs("https://a/", &[&lines[..], &["authorization: Bearer y"]].concat());
        let expected = [
            ":scheme=https",
            ":authority=b.example",
            ":path=/",
            "cookie=a=b",
            "authorization=Basic x,Bearer y",
            "cookie=c=d",
        ];
        assert_eq!(found.unwrap(), expected);
        let error = pairs("https://a/", &["secret"]).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        let error = pairs("https://a/", &["se cret: x"]).unwrap_err();
        assert!(!error.contains("se cret"), "{error}");
    }

    #[test]
    fn queries_are_not_shown() {
        let request = Request::new("GET", "https://a/b?token=x", &[]).unwrap();
        assert_eq!(request.line(), "GET https://a/b?…");
        let location = b"https://l/?to=https%3A%2F%2Fa%2Fb%3Ftoken%3Dx";
        let shown = without_query(location, &request.head());
        assert_eq!(shown, "https://l/?to=https%3A%2F%2Fa%2Fb%3F…");
    }
}
