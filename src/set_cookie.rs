//! `Set-Cookie` lines: finding name and attributes, and giving a line another `Domain` without
//! touching any other byte (RFC 6265, section 5.2).
//!
//! A line is split at every `;`. What stands before the first is the pair, each other part an
//! attribute; white space around names and values is not part of them, attribute names know no
//! case, quotes mean nothing.
//!
//! 1. *Another domain*: the value of every `Domain` is replaced, so that it does not matter which
//!    of several a browser obeys; the last, by section 5.3. Without one, it is added at the end. A
//!    line whose domains are all right already stays as it is.
//! 2. *The host-only twin* of a line is a cookie that browsers keep beside it: same name, same
//!    path, no `Domain`. What expires it is the line itself without a value, with all attributes
//!    but its domains and its times: a browser takes it where it takes the line.
//! 3. Whether a browser takes a domain is a question of the request's host: it must be that domain,
//!    or end with it at the border of a label (section 5.1.3). Otherwise the whole line is ignored.
//!
//! A line without `=` in its pair has no name here. Nothing assumes UTF-8.

use std::fmt;
use std::str::FromStr;

use crate::bytes;
use crate::cookie::CookieName;

/// One `Set-Cookie` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetCookie<'h> {
    /// What stands before the first `;`.
    pair: &'h [u8],
    /// What stands after it, if there is one.
    attributes: Option<&'h [u8]>,
}

impl<'h> SetCookie<'h> {
    /// Reads a line; every line is one.
    pub fn read(line: &'h [u8]) -> Self {
        let (pair, attributes) = split_once(line, b';');
        Self { pair, attributes }
    }

    /// The cookie's name, trimmed; empty if there is none.
    pub fn name(&self) -> &'h [u8] {
        match split_once(self.pair, b'=') {
            (name, Some(_)) => bytes::trim(name),
            (_, None) => b"",
        }
    }

    /// Whether the cookie's value is empty, as in lines that clear it.
    pub fn is_empty(&self) -> bool {
        split_once(self.pair, b'=').1.is_none_or(|value| bytes::trim(value).is_empty())
    }

    /// The value of the last `Domain`, if there is one.
    pub fn domain(&self) -> Option<&'h [u8]> {
        self.attributes().filter(|attribute| attribute.is(b"domain")).last().map(|last| last.value)
    }

    /// The line with this domain and no other; nothing if that is what it is.
    pub fn with_domain(&self, domain: &CookieDomain) -> Option<Vec<u8>> {
        let (mut has_one, mut changed) = (false, false);
        let mut line = self.pair.to_vec();
        for attribute in self.attributes() {
            line.push(b';');
            if !attribute.is(b"domain") {
                line.extend(attribute.text);
                continue;
            }
            has_one = true;
            if domain.is(attribute.value) {
                line.extend(attribute.text);
            } else {
                changed = true;
                attribute.write_with(domain.as_bytes(), &mut line);
            }
        }
        if !has_one {
            line.extend(b"; Domain=");
            line.extend(domain.as_bytes());
        }
        (changed || !has_one).then_some(line)
    }

    /// The line that expires the cookie's host-only twin.
    pub fn without_twin(&self) -> Vec<u8> {
        let name = self.name();
        let mut line = [name, b"="].concat();
        let mut is_secure = false;
        for attribute in self.attributes() {
            let goes: [&[u8]; 4] = [b"domain", b"expires", b"max-age", b""];
            if !goes.iter().any(|name| attribute.is(name)) {
                line.push(b';');
                line.extend(attribute.text);
                is_secure |= attribute.is(b"secure");
            }
        }
        line.extend(b"; Max-Age=0");
        if !is_secure && has_prefix(name, SECURE_PREFIX) {
            line.extend(b"; Secure");
        }
        line
    }

    fn attributes(&self) -> impl Iterator<Item = Attribute<'h>> + use<'h> {
        let parts = self.attributes.map(|text| text.split(|byte| *byte == b';'));
        parts.into_iter().flatten().map(Attribute::read)
    }
}

/// One part of a line behind its pair.
#[derive(Clone, Copy, Debug)]
struct Attribute<'h> {
    text: &'h [u8],
    /// Trimmed.
    name: &'h [u8],
    /// Trimmed; empty without `=`.
    value: &'h [u8],
}

impl<'h> Attribute<'h> {
    fn read(text: &'h [u8]) -> Self {
        let (name, value) = split_once(text, b'=');
        Self { text, name: bytes::trim(name), value: bytes::trim(value.unwrap_or_default()) }
    }

    fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Adds the attribute to `line` with another value, in the same white space.
    fn write_with(&self, value: &[u8], line: &mut Vec<u8>) {
        let (name, old) = split_once(self.text, b'=');
        line.extend(name);
        line.push(b'=');
        let old = old.unwrap_or_default();
        let after_spaces = bytes::trim_start(old);
        let (before, _) =
            old.split_at_checked(old.len().saturating_sub(after_spaces.len())).unwrap_or_default();
        line.extend(before);
        line.extend(value);
        line.extend(after_spaces.get(self.value.len()..).unwrap_or_default());
    }
}

/// The line that expires the cookie `name` with this path for `domain`; for nothing: the host-only
/// one.
pub fn expired(name: &CookieName, domain: Option<&CookieDomain>, path: &CookiePath) -> Vec<u8> {
    let mut line = [name.as_bytes(), b"="].concat();
    if let Some(domain) = domain {
        line.extend(b"; Domain=");
        line.extend(domain.as_bytes());
    }
    line.extend(b"; Path=");
    line.extend(path.0.as_bytes());
    line.extend(b"; Max-Age=0");
    if has_prefix(name.as_bytes(), SECURE_PREFIX) {
        line.extend(b"; Secure");
    }
    line
}

/// Whether browsers take a cookie of this name only without `Domain` (RFC 6265bis, section 4.1.3).
pub fn is_bound_to_host(name: &CookieName) -> bool {
    has_prefix(name.as_bytes(), HOST_PREFIX)
}

/// A `Domain` that browsers may take: a DNS name in lower case, perhaps with a dot before it, which
/// means nothing (RFC 6265, section 5.2.3).
#[derive(Clone)]
pub struct CookieDomain(Box<str>);

impl CookieDomain {
    /// As it is written into a line.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether it has one label only: no browser takes a top-level domain.
    pub fn is_one_label(&self) -> bool {
        !self.name().contains('.')
    }

    /// Whether a browser takes this domain from `host`, which is compared in any case.
    pub fn covers(&self, host: &[u8]) -> bool {
        let name = self.name().as_bytes();
        let Some(at) = host.len().checked_sub(name.len()) else { return false };
        match host.split_at_checked(at) {
            Some(([] | [.., b'.'], end)) => end.eq_ignore_ascii_case(name),
            Some(_) | None => false,
        }
    }

    /// Whether a browser reads `value` as this domain.
    pub fn is(&self, value: &[u8]) -> bool {
        let value = value.strip_prefix(b".").unwrap_or(value);
        value.eq_ignore_ascii_case(self.name().as_bytes())
    }

    fn name(&self) -> &str {
        self.0.strip_prefix('.').unwrap_or(&self.0)
    }
}

impl PartialEq for CookieDomain {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for CookieDomain {}

impl FromStr for CookieDomain {
    type Err = InvalidCookieDomain;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_prefix('.').unwrap_or(text);
        let is_label = |label: &str| {
            (1..=MAX_LABEL_BYTES).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // An address has no domains; its last label is a number.
        let last = name.rfind('.').map_or(Some(name), |at| name.get(at..));
        let is_address =
            last.is_some_and(|last| !last.bytes().any(|byte| byte.is_ascii_alphabetic()));
        if name.len() > MAX_NAME_BYTES || is_address || !name.split('.').all(is_label) {
            return Err(InvalidCookieDomain);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for CookieDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CookieDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is no DNS name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCookieDomain;

/// A `Path` that browsers take as it stands (RFC 6265, section 5.2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookiePath(Box<str>);

impl Default for CookiePath {
    fn default() -> Self {
        Self("/".into())
    }
}

impl FromStr for CookiePath {
    type Err = InvalidCookiePath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |byte: u8| matches!(byte, 0x20..0x7f) && byte != b';';
        if text.len() > MAX_PATH_BYTES
            || !text.starts_with('/')
            || text.ends_with(' ')
            || !text.bytes().all(is_plain)
        {
            return Err(InvalidCookiePath);
        }
        Ok(Self(text.into()))
    }
}

/// The text does not begin with `/`, or could end the attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCookiePath;

/// What stands before the first `mark`, and what stands after it if there is one.
fn split_once(text: &[u8], mark: u8) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(mark, text).and_then(|at| text.split_at_checked(at)) {
        Some((before, after)) => (before, Some(after.get(1..).unwrap_or_default())),
        None => (text, None),
    }
}

/// Browsers compare these prefixes in any case (RFC 6265bis, section 5.7).
fn has_prefix(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

const SECURE_PREFIX: &[u8] = b"__Secure-";
const HOST_PREFIX: &[u8] = b"__Host-";
/// RFC 1035, section 2.3.4.
const MAX_LABEL_BYTES: usize = 63;
const MAX_NAME_BYTES: usize = 253;
/// Browsers ignore longer attributes (RFC 6265bis, section 5.6).
const MAX_PATH_BYTES: usize = 1024;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn domain(text: &str) -> CookieDomain {
        text.parse().unwrap()
    }

    #[test]
    fn names_stand_before_the_first_equals_sign() {
        for (line, name, is_empty) in [
            (b"a=b; Path=/".as_slice(), b"a".as_slice(), false),
            (b" a\t= ; Path=/", b"a", true),
            (b"a=", b"a", true),
            (b"a=b=c", b"a", false),
            (b"a=\"\"", b"a", false),
            (b"a", b"", true),
            (b"a; b=c", b"", true),
            (b"=a", b"", false),
            (b"", b"", true),
            (b";", b"", true),
            (b"\xff\xfe=\xff", b"\xff\xfe", false),
        ] {
            let cookie = SetCookie::read(line);
            let shown = line.escape_ascii();
            assert_eq!((cookie.name(), cookie.is_empty()), (name, is_empty), "{shown}");
        }
    }

    #[test]
    fn a_domain_is_set_and_every_other_byte_stays() {
        for (name, line, expected) in [
            ("none", b"a=b".as_slice(), Some(b"a=b; Domain=.x.example".as_slice())),
            ("none, an end", b"a=b;", Some(b"a=b;; Domain=.x.example")),
            ("another", b"a=b; Domain=y.example; Path=/", Some(b"a=b; Domain=.x.example; Path=/")),
            ("a lower case", b"a=b;domain=y", Some(b"a=b;domain=.x.example")),
            ("spaces", b" a = b ; DOMAIN =\ty  ;Path=/ ", {
                Some(b" a = b ; DOMAIN =\t.x.example  ;Path=/ ")
            }),
            ("several", b"a=b; Domain=y; Secure; Domain=z", {
                Some(b"a=b; Domain=.x.example; Secure; Domain=.x.example")
            }),
            ("several, the last right", b"a=b; Domain=y; Domain=X.example", {
                Some(b"a=b; Domain=.x.example; Domain=X.example")
            }),
            ("empty", b"a=b; Domain=; Path=/", Some(b"a=b; Domain=.x.example; Path=/")),
            ("empty, spaces", b"a=b; Domain= ", Some(b"a=b; Domain= .x.example")),
            ("no value", b"a=b; Domain ; Path=/", Some(b"a=b; Domain =.x.example; Path=/")),
            ("quotes", b"a=b; Domain=\"x.example\"", Some(b"a=b; Domain=.x.example")),
            ("two dots", b"a=b; Domain=..x.example", Some(b"a=b; Domain=.x.example")),
            ("above", b"a=b; Domain=example", Some(b"a=b; Domain=.x.example")),
            ("below", b"a=b; Domain=y.x.example", Some(b"a=b; Domain=.x.example")),
            ("odd bytes", b"a=\xff\"; x\"; \xfe; Domain=\xff; P", {
                Some(b"a=\xff\"; x\"; \xfe; Domain=.x.example; P")
            }),
            ("in the value", b"a=Domain=y; Path=/Domain=y", {
                Some(b"a=Domain=y; Path=/Domain=y; Domain=.x.example")
            }),
            ("in a name", b"a=b; Domain\xa0=y", Some(b"a=b; Domain\xa0=y; Domain=.x.example")),
            ("a clear", b"a=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT", {
                Some(b"a=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Domain=.x.example")
            }),
            ("right", b"a=b; Domain=.x.example", None),
            ("right without its dot", b"a=b; domain= X.Example ;", None),
            ("right twice", b"a=b; Domain=x.example; Domain=.x.example", None),
        ] {
            let changed = SetCookie::read(line).with_domain(&domain(".x.example"));
            assert_eq!(changed.as_deref(), expected, "{name}");
            let again = SetCookie::read(changed.as_deref().unwrap_or(line));
            assert_eq!(again.with_domain(&domain(".x.example")), None, "{name}: right by now");
        }
    }

    #[test]
    fn the_last_domain_counts() {
        for (line, expected) in [
            (b"a=b; Domain=x; Domain= y ".as_slice(), Some(b"y".as_slice())),
            (b"a=b; Domain=x; Domain", Some(b"")),
            (b"a=b; Path=/", None),
            (b"Domain=x", None),
        ] {
            assert_eq!(SetCookie::read(line).domain(), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn twins_are_expired_where_the_line_is_taken() {
        for (line, expected) in [
            (b"a=b".as_slice(), b"a=; Max-Age=0".as_slice()),
            (b"a=b;; ;", b"a=; Max-Age=0"),
            (b" a =b; Path=/x", b"a=; Path=/x; Max-Age=0"),
            (b"a=b; Path=/; Domain=y; Secure; HttpOnly; SameSite=None; Partitioned", {
                b"a=; Path=/; Secure; HttpOnly; SameSite=None; Partitioned; Max-Age=0"
            }),
            (b"a=b;max-age=9; EXPIRES=Thu, 01 Jan 2970 00:00:00 GMT;path=\xff", {
                b"a=;path=\xff; Max-Age=0"
            }),
            (b"__Secure-a=b; Secure", b"__Secure-a=; Secure; Max-Age=0"),
            (b"__secure-a=b", b"__secure-a=; Max-Age=0; Secure"),
            (b"__Secure=b", b"__Secure=; Max-Age=0"),
        ] {
            let twin = SetCookie::read(line).without_twin();
            assert_eq!(twin.escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
    }

    #[test]
    fn cookies_of_other_domains_are_expired() {
        let path = CookiePath::default();
        for (name, of, expected) in [
            ("a", Some(".old.example"), "a=; Domain=.old.example; Path=/; Max-Age=0"),
            ("a", None, "a=; Path=/; Max-Age=0"),
            ("__Secure-a", None, "__Secure-a=; Path=/; Max-Age=0; Secure"),
        ] {
            let line = expired(&name.parse().unwrap(), of.map(domain).as_ref(), &path);
            assert_eq!(line, expected.as_bytes());
        }
        assert!(is_bound_to_host(&"__host-a".parse().unwrap()));
        assert!(!is_bound_to_host(&"__Host".parse().unwrap()));
    }

    #[test]
    fn a_domain_covers_hosts_at_the_border_of_a_label() {
        for (host, expected) in [
            ("example.com", true),
            ("www.example.com", true),
            ("a.b.EXAMPLE.com", true),
            ("notexample.com", false),
            ("example.com.evil.example", false),
            ("www.example.com.", false),
            ("com", false),
            (".example.com", true),
            ("127.0.0.1", false),
            ("", false),
        ] {
            for text in [".Example.com", "example.com"] {
                assert_eq!(domain(text).covers(host.as_bytes()), expected, "{text} {host}");
            }
        }
        assert!(!domain("example.com").is_one_label() && domain(".com").is_one_label());
        assert_eq!(domain(".Example.com"), domain("example.com"));
        assert_eq!(domain(".Example.com").to_string(), ".example.com");
    }

    #[test]
    fn domains_are_dns_names() {
        let long = format!("{}.example", "a".repeat(64));
        let longer = ["a".repeat(63).as_str(); 4].join(".");
        for bad in [
            "",
            ".",
            "..a.example",
            "a..example",
            "a.example.",
            "*.a.example",
            "-a.example",
            "a-.example",
            "a b.example",
            "a.example:80",
            "https://a.example",
            "a.example; Secure",
            "\u{e4}.example",
            "127.0.0.1",
            "[::1]",
            &long,
            &longer,
        ] {
            assert_eq!(bad.parse::<CookieDomain>(), Err(InvalidCookieDomain), "{bad:?}");
        }
    }

    #[test]
    fn paths_begin_with_a_slash_and_end_nothing() {
        assert!("/a b/c=d".parse::<CookiePath>().is_ok());
        let long = format!("/{}", "a".repeat(1024));
        for bad in ["", "a", " /", "/a;b", "/a\r\nb", "/\u{7f}", "/\u{e4}", "/ ", &long] {
            assert_eq!(bad.parse::<CookiePath>(), Err(InvalidCookiePath), "{bad:?}");
        }
    }
}
