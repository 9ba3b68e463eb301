//! Absolute `http` and `https` URIs (RFC 3986), split as a request needs them.
//!
//! Caveat: hosts are ASCII; an internationalised name is written in its `xn--` form.

use std::str::FromStr;

use crate::matcher::Host;

/// `scheme://authority/path?query`, without user info and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpUri {
    pub(super) scheme: Scheme,
    /// Host, and port if one was given, as written.
    pub(super) authority: Box<str>,
    /// Path and query; `/` if there was none.
    pub(super) path: Box<str>,
}

impl HttpUri {
    /// The host, as written; an IPv6 address in its brackets.
    pub(super) fn host(&self) -> &str {
        let after_brackets = self.authority.find(']').unwrap_or(0);
        let port = self.authority.get(after_brackets..).and_then(|rest| rest.find(':'));
        let end = port.map_or(self.authority.len(), |at| after_brackets.saturating_add(at));
        self.authority.get(..end).unwrap_or_default()
    }

    /// Whether the host never leaves this machine: `localhost`, `*.localhost` (RFC 6761, section
    /// 6.3) or a loopback address.
    pub(super) fn is_loopback(&self) -> bool {
        Host::read(self.authority.as_bytes()).is_ok_and(Host::is_loopback)
    }
}

impl FromStr for HttpUri {
    type Err = InvalidUri;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidUri::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(InvalidUri::Scheme),
        };
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('\\') {
            return Err(InvalidUri::Byte);
        }
        if text.contains('#') {
            return Err(InvalidUri::Fragment);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(InvalidUri::UserInfo);
        }
        if Host::read(authority.as_bytes()).is_err() || authority.ends_with(':') {
            return Err(InvalidUri::Host);
        }
        let path = if path.starts_with('/') { path.into() } else { format!("/{path}").into() };
        Ok(Self { scheme, authority: authority.into(), path })
    }
}

/// A URI's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// Its name, in lower case.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Why a text is no such URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InvalidUri {
    /// It begins with neither `https://` nor `http://`.
    Scheme,
    /// A space, a control, a `\` or something beyond ASCII.
    Byte,
    /// It has a fragment, which no server sees.
    Fragment,
    /// It has user info, which would end in logs.
    UserInfo,
    /// No host, or a port above 65535.
    Host,
}

impl InvalidUri {
    /// What the text must or must not, for a message.
    pub(super) fn demand(self) -> &'static str {
        match self {
            Self::Scheme => "must begin with https:// or http://",
            Self::Byte => "must be visible ASCII without \"\\\"",
            Self::Fragment => "must have no fragment",
            Self::UserInfo => "must have no user info",
            Self::Host => "must have a host, and a port up to 65535 if any",
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_split_for_a_request() {
        for (text, scheme, authority, path) in [
            ("https://a.example/keys?x=1", Scheme::Https, "a.example", "/keys?x=1"),
            ("http://a:8080", Scheme::Http, "a:8080", "/"),
            ("HTTPS://A.example/", Scheme::Https, "A.example", "/"),
            ("https://a?x", Scheme::Https, "a", "/?x"),
            ("http://[::1]:8081/k", Scheme::Http, "[::1]:8081", "/k"),
            ("https://a/b@c", Scheme::Https, "a", "/b@c"),
        ] {
            let expected = HttpUri { scheme, authority: authority.into(), path: path.into() };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_uris_are_refused() {
        for (text, error) in [
            ("", InvalidUri::Scheme),
            ("a.example/keys", InvalidUri::Scheme),
            ("ftp://a/", InvalidUri::Scheme),
            ("file:///etc/keys", InvalidUri::Scheme),
            ("https:/a", InvalidUri::Scheme),
            (" https://a", InvalidUri::Scheme),
            ("https://a/b c", InvalidUri::Byte),
            ("https://a/\r\nx: y", InvalidUri::Byte),
            ("https://\u{e4}/", InvalidUri::Byte),
            ("https://a\\b/", InvalidUri::Byte),
            ("https://a/#keys", InvalidUri::Fragment),
            ("https://user:pw@a/", InvalidUri::UserInfo),
            ("https://@a/", InvalidUri::UserInfo),
            ("https://", InvalidUri::Host),
            ("https:///keys", InvalidUri::Host),
            ("https://a:65536/", InvalidUri::Host),
            ("https://a:/", InvalidUri::Host),
            ("https://a:x/", InvalidUri::Host),
            ("https://a..b/", InvalidUri::Host),
            ("https://[::1/", InvalidUri::Host),
        ] {
            assert_eq!(text.parse::<HttpUri>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn hosts_have_no_port() {
        for (authority, host) in [
            ("a.example", "a.example"),
            ("a:8080", "a"),
            ("[::1]", "[::1]"),
            ("[::1]:8080", "[::1]"),
        ] {
            let uri: HttpUri = format!("http://{authority}/").parse().unwrap();
            assert_eq!(uri.host(), host);
        }
    }

    #[test]
    fn loopback_hosts_are_known() {
        for (authority, expected) in [
            ("localhost", true),
            ("localhost:80", true),
            ("auth.example.LOCALHOST:8081", true),
            ("127.0.0.1", true),
            ("127.9.9.9:1", true),
            ("[::1]:80", true),
            ("notlocalhost", false),
            ("localhost.example", false),
            ("10.0.0.1", false),
            ("[::2]", false),
        ] {
            let uri: HttpUri = format!("http://{authority}/").parse().unwrap();
            assert_eq!(uri.is_loopback(), expected, "{authority}");
        }
    }
}
