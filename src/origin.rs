//! Origins of web pages (RFC 6454), as an operator lists them.

use std::str::FromStr;

/// `scheme://host[:port]`; a host may begin with `*.`, which stands for one or more labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// In lower case.
    scheme: Box<str>,
    /// In lower case, without the wildcard.
    host: Box<str>,
    /// The port as the origin's serialisation has it: nothing for the scheme's default.
    port: Option<u16>,
    /// Whether the host began with `*.`.
    wildcard: bool,
}

impl Origin {
    /// Whether `value`, an `Origin` header's, is this origin. `null`, a trailing `/` and a list
    /// equal nothing.
    pub fn matches(&self, value: &[u8]) -> bool {
        let Some(other) = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()) else {
            return false;
        };
        let Self { scheme, host, port, wildcard: false } = other else {
            return false;
        };
        let host_matches = if self.wildcard {
            host.strip_suffix(&*self.host)
                .and_then(|labels| labels.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty())
        } else {
            host == self.host
        };
        scheme == self.scheme && port == self.port && host_matches
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.to_ascii_lowercase();
        let (scheme, rest) = text.split_once("://").ok_or(InvalidOrigin)?;
        let mut scheme_bytes = scheme.bytes();
        if !scheme_bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
            || !scheme_bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        {
            return Err(InvalidOrigin);
        }
        let (wildcard, rest) = match rest.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (host, port) = split_port(rest)?;
        let default_port = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let well_formed = if host.starts_with('[') {
            !wildcard && is_ipv6_literal(host)
        } else {
            host.split('.').all(is_label)
        };
        if !well_formed {
            return Err(InvalidOrigin);
        }
        let port = port.filter(|port| Some(*port) != default_port);
        Ok(Self { scheme: scheme.into(), host: host.into(), port, wildcard })
    }
}

/// The text is no serialised origin (RFC 6454, section 6.2): it has a path, a query, user info, a
/// port above 65535, or is `null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidOrigin;

/// Host and port of `text`; the colons of `[::1]` are no port's.
fn split_port(text: &str) -> Result<(&str, Option<u16>), InvalidOrigin> {
    let after_brackets = text.rfind(']').unwrap_or(0);
    match text.rfind(':') {
        Some(at) if at > after_brackets => {
            let (host, port) = text.split_at(at);
            let digits = port.strip_prefix(':').unwrap_or(port);
            if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(InvalidOrigin);
            }
            Ok((host, Some(digits.parse().map_err(|_| InvalidOrigin)?)))
        }
        _ => Ok((text, None)),
    }
}

fn is_ipv6_literal(host: &str) -> bool {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_matches_its_own_serialisations() {
        for (origin, value, expected) in [
            ("https://www.example.com", "https://www.example.com", true),
            ("https://www.example.com", "HTTPS://WWW.Example.COM", true),
            ("https://www.example.com", "https://www.example.com:443", true),
            ("https://www.example.com:443", "https://www.example.com", true),
            ("https://www.example.com", "http://www.example.com", false),
            ("https://www.example.com", "https://www.example.com:8443", false),
            ("https://www.example.com", "https://www.example.com/", false),
            ("https://www.example.com", "https://www.example.com.evil.org", false),
            ("https://www.example.com", "https://www.example.com,https://evil.org", false),
            ("https://www.example.com", "null", false),
            ("https://www.example.com", "", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            ("https://*.example.com", "https://*.example.com", false),
            ("http://[::1]:8080", "http://[::1]:8080", true),
            ("http://[::1]", "http://[::1]:80", true),
        ] {
            let parsed: Origin = origin.parse().unwrap();
            assert_eq!(parsed.matches(value.as_bytes()), expected, "{origin} and {value}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "null",
            "*",
            "www.example.com",
            "https://",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://u@a",
            "https://a:",
            "https://a:x",
            "https://a:65536",
            "https://a:+80",
            "https://a..b",
            "https://*",
            "https://a.*.b",
            "https://a b",
            "https://[::1",
            "://a",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(InvalidOrigin), "{text:?}");
        }
    }
}
