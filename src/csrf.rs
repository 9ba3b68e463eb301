//! Whether a page of another site may have sent a request with the session's cookie.
//!
//! A cookie-borne request passes if any holds, in order:
//! 1. The method is GET, HEAD or OPTIONS, and nothing makes another of it: there is no `Upgrade`
//!    header at all (Envoy turns an HTTP/2 WebSocket into GET with `upgrade: websocket`), and no
//!    header by which backends let a client name another method.
//! 2. Every `Sec-Fetch-Site` value is `same-origin` or `none`, and there is at least one.
//! 3. `Origin` is the request's own: its host and port equal those of `:authority` (the default
//!    port of the Origin's scheme dropped on both sides), and its scheme equals `:scheme` or is
//!    `https` (behind a TLS terminator `:scheme` says http). Or it is an allowed origin. Scheme and
//!    host compare ASCII case-insensitively; an empty value, `null`, a trailing `/` or a `,` equals
//!    nothing, and is not absent.
//! 4. Neither `Sec-Fetch-Site` nor `Origin` is present, and `missing_origin` is `allow`.
//!
//! Caveats: a GET that changes something is the backend's mistake, which no header can tell. A
//! browser that sends neither header with a POST is older than any that gets updates; `deny` is for
//! hosts that only browsers call. This module knows nothing about cookies: who calls it does.

use crate::name_bits::NameBits;
use crate::origin::Origin;
use crate::request::{RequestHead, RequestLine, folds_to};

/// `csrf`
#[derive(Debug, Default)]
pub struct CsrfPolicy {
    /// What follows from a request that does not pass.
    pub mode: CsrfMode,
    /// Pages that may send the cookie besides the request's own.
    pub allowed_origins: Vec<Origin>,
    /// What a request without both headers is.
    pub missing_origin: MissingOrigin,
}

/// `csrf.mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CsrfMode {
    /// It is refused.
    #[default]
    Enforce,
    /// It is counted.
    Report,
    /// Nobody looks.
    InsecureOff,
}

/// `csrf.missing_origin`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingOrigin {
    /// It is not a browser's.
    #[default]
    Allow,
    /// It is refused.
    Deny,
}

impl CsrfPolicy {
    /// Whether the request passes; `line` is its request line, whose authority names a host.
    pub fn admits(&self, head: &RequestHead<'_>, line: RequestLine<'_>) -> bool {
        let is_safe = matches!(line.method, b"GET" | b"HEAD" | b"OPTIONS");
        if is_safe && !CHANGES_OF_METHOD.meet(head.names()) {
            return true;
        }
        let signs = Signs::read(head);
        if is_safe && !signs.changes_method {
            return true;
        }
        match signs.fetch_site {
            FetchSite::Own => return true,
            FetchSite::Absent | FetchSite::Other => {}
        }
        match signs.origin {
            OriginHeader::Absent => {
                signs.fetch_site == FetchSite::Absent && self.missing_origin == MissingOrigin::Allow
            }
            OriginHeader::One(origin) => {
                is_own(origin, signs.scheme, line.authority)
                    || self.allowed_origins.iter().any(|allowed| allowed.matches(origin))
            }
            OriginHeader::Several => false,
        }
    }
}

/// What a request's headers say about the page that sent it.
struct Signs<'h> {
    changes_method: bool,
    fetch_site: FetchSite,
    origin: OriginHeader<'h>,
    /// `:scheme`
    scheme: &'h [u8],
}

impl<'h> Signs<'h> {
    /// Reads them in one pass.
    fn read(head: &RequestHead<'h>) -> Self {
        let mut signs = Self {
            changes_method: false,
            fetch_site: FetchSite::Absent,
            origin: OriginHeader::Absent,
            scheme: b"",
        };
        for &(name, value) in head.pairs() {
            match name {
                b"upgrade" => signs.changes_method = true,
                b":scheme" => signs.scheme = value,
                b"origin" => {
                    signs.origin = match signs.origin {
                        OriginHeader::Absent => OriginHeader::One(value),
                        OriginHeader::One(_) | OriginHeader::Several => OriginHeader::Several,
                    };
                }
                b"sec-fetch-site" => {
                    let is_own = matches!(value, b"same-origin" | b"none");
                    signs.fetch_site = match signs.fetch_site {
                        FetchSite::Absent | FetchSite::Own if is_own => FetchSite::Own,
                        FetchSite::Absent | FetchSite::Own | FetchSite::Other => FetchSite::Other,
                    };
                }
                name => signs.changes_method |= overrides_method(name),
            }
        }
        signs
    }
}

/// What all `Sec-Fetch-Site` values say together (Fetch Metadata, section 2.4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum FetchSite {
    Absent,
    /// The site's own page, or the user.
    Own,
    Other,
}

#[derive(Clone, Copy)]
enum OriginHeader<'h> {
    Absent,
    One(&'h [u8]),
    Several,
}

/// Whether `origin` is that of the page which the request itself would be.
///
/// The authority has been read as a host, so what equals it has no path, comma or user info.
fn is_own(origin: &[u8], scheme: &[u8], authority: &[u8]) -> bool {
    let Some(at) = origin.windows(3).position(|bytes| bytes == b"://") else { return false };
    let (own_scheme, rest) = origin.split_at(at);
    let Some(host) = rest.strip_prefix(b"://") else { return false };
    let default_port: &[u8] = if own_scheme.eq_ignore_ascii_case(b"https") {
        b":443"
    } else if own_scheme.eq_ignore_ascii_case(b"http") && scheme.eq_ignore_ascii_case(b"http") {
        b":80"
    } else {
        return false;
    };
    // An authority may end in a colon without a port (RFC 3986, section 3.2.3).
    let authority = authority.strip_suffix(b":").unwrap_or(authority);
    let [host, authority] =
        [host, authority].map(|text| text.strip_suffix(default_port).unwrap_or(text));
    !host.is_empty() && host.eq_ignore_ascii_case(authority)
}

/// Whether some backends take the method from a header of this name. No page of another site can
/// send it without a preflight; one that a backend grants must not make a POST of a GET.
fn overrides_method(name: &[u8]) -> bool {
    name.starts_with(b"x") && METHOD_OVERRIDES.iter().any(|own| folds_to(name, own.as_bytes()))
}

/// Rails, Express and many others take the method from these; with `-`, `_` and `.` as one
/// character.
pub const METHOD_OVERRIDES: [&str; 3] =
    ["x-http-method-override", "x-http-method", "x-method-override"];

const CHANGES_OF_METHOD: NameBits = {
    let [first, second, third] = METHOD_OVERRIDES;
    NameBits::of(b"upgrade")
        .and(NameBits::of_aliases(first.as_bytes()))
        .and(NameBits::of_aliases(second.as_bytes()))
        .and(NameBits::of_aliases(third.as_bytes()))
};

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(policy: &CsrfPolicy, method: &str, authority: &str, lines: &[(&str, &str)]) -> bool {
        let line = [(":method", method), (":path", "/"), (":authority", authority)];
        let pairs =
            line.iter().chain(lines).map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let head = RequestHead::new(pairs.collect(), false);
        policy.admits(&head, head.line().unwrap())
    }

    const HTTP: (&str, &str) = (":scheme", "http");
    const EVIL: (&str, &str) = ("origin", "https://evil.example");
    const CROSS: (&str, &str) = ("sec-fetch-site", "cross-site");

    #[test]
    fn methods_that_change_nothing_pass() {
        for (method, lines, expected) in [
            ("GET", vec![EVIL, CROSS], true),
            ("HEAD", vec![EVIL, CROSS], true),
            ("OPTIONS", vec![EVIL, CROSS], true),
            ("GET", vec![("origin", "null")], true),
            ("POST", vec![EVIL, CROSS], false),
            ("PUT", vec![EVIL], false),
            ("DELETE", vec![EVIL], false),
            ("PATCH", vec![EVIL], false),
            ("CONNECT", vec![EVIL], false),
            ("PROPFIND", vec![EVIL], false),
            ("get", vec![EVIL], false),
            ("Get", vec![EVIL], false),
            ("GET ", vec![EVIL], false),
            ("", vec![EVIL], false),
            ("GET", vec![("upgrade", "websocket"), EVIL], false),
            ("GET", vec![("upgrade", "WebSocket"), EVIL, CROSS], false),
            ("GET", vec![("upgrade", "h2c, websocket"), EVIL], false),
            ("GET", vec![("upgrade", ""), EVIL], false),
            ("HEAD", vec![("upgrade", "anything"), EVIL], false),
            ("OPTIONS", vec![("upgrade", "websocket"), EVIL], false),
            ("GET", vec![("upgrade", "websocket")], true),
            ("GET", vec![("upgrade", "websocket"), ("origin", "https://a.example")], true),
            ("CONNECT", vec![(":protocol", "websocket"), EVIL], false),
            ("GET", vec![("x-http-method-override", "POST"), EVIL], false),
            ("GET", vec![("x_http.method", "POST"), EVIL], false),
            ("GET", vec![("x-method-override", ""), CROSS], false),
            ("GET", vec![("x-http-method-override", "POST")], true),
            ("GET", vec![("x-http-method-overrides", "POST"), EVIL], true),
        ] {
            let found = admits(&CsrfPolicy::default(), method, "a.example", &lines);
            assert_eq!(found, expected, "{method} {lines:?}");
        }
    }

    #[test]
    fn all_fetch_sites_are_our_own() {
        let site = |value| ("sec-fetch-site", value);
        for (lines, expected) in [
            (vec![site("same-origin")], true),
            (vec![site("none")], true),
            (vec![site("none"), site("same-origin")], true),
            (vec![site("same-origin"), EVIL], true),
            (vec![site("same-site")], false),
            (vec![CROSS], false),
            (vec![site("same-origin"), CROSS], false),
            (vec![CROSS, site("same-origin")], false),
            (vec![site("same-origin,cross-site")], false),
            (vec![site("same-origin, none")], false),
            (vec![site("Same-Origin")], false),
            (vec![site("same-origin ")], false),
            (vec![site("")], false),
            (vec![site("null")], false),
            (vec![site("same-site"), ("origin", "https://a.example")], true),
        ] {
            let found = admits(&CsrfPolicy::default(), "POST", "a.example", &lines);
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    #[test]
    fn an_origin_is_the_requests_own() {
        for (scheme, authority, origin, expected) in [
            ("https", "a.example", "https://a.example", true),
            ("http", "a.example", "http://a.example", true),
            ("http", "a.example", "https://a.example", true),
            ("https", "a.example", "http://a.example", false),
            ("", "a.example", "http://a.example", false),
            ("", "a.example", "https://a.example", true),
            ("HTTPS", "A.example", "HTTPS://a.EXAMPLE", true),
            ("https", "a.example:443", "https://a.example", true),
            ("https", "a.example", "https://a.example:443", true),
            ("http", "a.example:80", "http://a.example", true),
            ("http", "a.example:443", "https://a.example", true),
            ("http", "a.example:80", "https://a.example", false),
            ("https", "a.example:8443", "https://a.example:8443", true),
            ("https", "a.example:8443", "https://a.example", false),
            ("https", "a.example", "https://a.example:8443", false),
            ("https", "a.example:", "https://a.example", true),
            ("https", "a.example", "https://a.example:", false),
            ("https", "a.example.", "https://a.example.", true),
            ("https", "a.example.", "https://a.example", false),
            ("https", "a.example", "https://a.example.", false),
            ("https", "[::1]", "https://[::1]", true),
            ("http", "[::1]:8080", "http://[::1]:8080", true),
            ("http", "[::1]", "http://[::1]:80", true),
            ("http", "[::1]:80", "http://[::2]:80", false),
            ("https", "127.0.0.1", "https://127.0.0.1", true),
            ("https", "a.example", "https://evil.a.example", false),
            ("https", "a.example", "https://a.example.evil.example", false),
            ("https", "a.example", "https://evila.example", false),
            ("https", "a.example", "https://u@a.example", false),
            ("https", "a.example", "https://a.example@evil.example", false),
            ("https", "a.example", "https://a.example/", false),
            ("https", "a.example", "https://a.example/x", false),
            ("https", "a.example", "https://a.example,https://evil.example", false),
            ("https", "a.example", "https://evil.example,https://a.example", false),
            ("https", "a.example", "https://a.example https://evil.example", false),
            ("https", "a.example", " https://a.example", false),
            ("https", "a.example", "://a.example", false),
            ("https", "a.example", "a.example", false),
            ("https", "a.example", "//a.example", false),
            ("ftp", "a.example", "ftp://a.example", false),
            ("https", "a.example", "wss://a.example", false),
            ("https", "a.example", "https://", false),
            ("https", "a.example", "", false),
            ("https", "a.example", "null", false),
            ("https", "null", "null", false),
            ("https", "a.example", "NULL", false),
        ] {
            let lines = [(":scheme", scheme), ("origin", origin)];
            let found = admits(&CsrfPolicy::default(), "POST", authority, &lines);
            assert_eq!(found, expected, "{origin} at {scheme} {authority}");
        }
        let twice = [HTTP, ("origin", "http://a.example"), ("origin", "http://a.example")];
        assert!(!admits(&CsrfPolicy::default(), "POST", "a.example", &twice));
    }

    #[test]
    fn origins_are_allowed_by_name() {
        let origins = ["https://www.example.com", "https://*.example.org"];
        let allowed_origins = origins.map(|origin| origin.parse().unwrap()).to_vec();
        let policy = CsrfPolicy { allowed_origins, ..CsrfPolicy::default() };
        for (lines, expected) in [
            (vec![("origin", "https://www.example.com")], true),
            (vec![("origin", "https://www.example.com"), CROSS], true),
            (vec![("origin", "https://a.b.example.org")], true),
            (vec![("origin", "https://example.org")], false),
            (vec![("origin", "http://www.example.com")], false),
            (vec![("origin", "https://www.example.com,https://www.example.com")], false),
            (vec![("origin", "https://www.example.com"), EVIL], false),
            (vec![("origin", "null")], false),
        ] {
            assert_eq!(admits(&policy, "POST", "api.example", &lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_request_without_both_headers_is_no_browsers() {
        let deny = CsrfPolicy { missing_origin: MissingOrigin::Deny, ..CsrfPolicy::default() };
        let referer = ("referer", "https://evil.example/page");
        for (method, lines, allowed, denied) in [
            ("POST", vec![], true, false),
            ("POST", vec![referer], true, false),
            ("GET", vec![], true, true),
            ("GET", vec![("upgrade", "websocket")], true, false),
            // Empty is not absent.
            ("POST", vec![("origin", "")], false, false),
            ("POST", vec![("sec-fetch-site", "")], false, false),
            ("POST", vec![CROSS], false, false),
            ("POST", vec![("sec-fetch-site", "same-origin")], true, true),
        ] {
            let found = [&CsrfPolicy::default(), &deny]
                .map(|policy| admits(policy, method, "a.example", &lines));
            assert_eq!(found, [allowed, denied], "{method} {lines:?}");
        }
    }
}
