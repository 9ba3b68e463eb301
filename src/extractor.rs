//! Sources: where a request may carry a token, and what it holds there.
//!
//! This module finds values; whose they are and which of them counts is `credential`'s business.

use std::fmt;
use std::str::FromStr;

use crate::bytes;
use crate::cookie::CookieName;
use crate::request::{HeaderName, is_token_byte};

/// One entry of `sources`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A header whose value is a scheme and a token, or a token alone.
    Header {
        /// Its name.
        name: HeaderName,
        /// What stands before the token.
        scheme: Scheme,
    },
    /// A cookie whose value is a token, perhaps quoted or percent-encoded.
    Cookie(CookieName),
}

impl Source {
    /// `Authorization: Bearer` (RFC 6750, section 2.1).
    pub fn bearer() -> Self {
        Self::Header { name: HeaderName::authorization(), scheme: Scheme::bearer() }
    }

    /// The header's name, if it is one.
    pub fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::Header { name, scheme: _ } => Some(name),
            Self::Cookie(_) => None,
        }
    }

    /// The cookie's name, if it is one.
    pub fn cookie(&self) -> Option<&CookieName> {
        match self {
            Self::Header { name: _, scheme: _ } => None,
            Self::Cookie(name) => Some(name),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { name, .. } => write!(f, "header {}", name.as_str()),
            Self::Cookie(name) => write!(f, "cookie {name}"),
        }
    }
}

/// An authentication scheme (RFC 9110, section 11.1), compared in any ASCII case; the empty one
/// says that the whole value is the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme(Box<str>);

impl Scheme {
    /// `Bearer`.
    pub fn bearer() -> Self {
        Self("Bearer".into())
    }

    /// What a header's value holds under this scheme.
    pub fn read<'v>(&self, value: &'v [u8]) -> HeaderContent<'v> {
        let value = bytes::trim(value);
        if self.0.is_empty() {
            return match value {
                [] => HeaderContent::OtherScheme,
                _ if has_comma(value) => HeaderContent::Several,
                token => HeaderContent::Token(token),
            };
        }
        match self.after_scheme(value) {
            Some(rest) if has_comma(rest) => HeaderContent::Several,
            Some([b' ', rest @ ..]) => HeaderContent::Token(bytes::without_leading_spaces(rest)),
            // `Bearer` alone, or with something else than spaces after it: ours, but no token.
            Some(_) => HeaderContent::Token(b""),
            None if self.stands_after_a_comma(value) => HeaderContent::Several,
            // What trims more than ASCII white space would still find it: ours, but no token.
            None if self.after_scheme(from_first_token_byte(value)).is_some() => {
                HeaderContent::Token(b"")
            }
            None => HeaderContent::OtherScheme,
        }
    }

    /// What follows this scheme in `value`, or nothing if `value` has another one.
    fn after_scheme<'v>(&self, value: &'v [u8]) -> Option<&'v [u8]> {
        let (start, rest) = value.split_at_checked(self.0.len())?;
        let whole_word = rest.first().is_none_or(|byte| !is_token_byte(*byte));
        (whole_word && start.eq_ignore_ascii_case(self.0.as_bytes())).then_some(rest)
    }

    /// Envoy joins two `Authorization` lines by a comma: `Basic x,Bearer y`.
    fn stands_after_a_comma(&self, value: &[u8]) -> bool {
        value
            .split(|byte| *byte == b',')
            .skip(1)
            .any(|part| self.after_scheme(from_first_token_byte(part)).is_some())
    }
}

/// `contains` looks at one byte a turn, 2,000 instructions for a token.
fn has_comma(text: &[u8]) -> bool {
    memchr::memchr(b',', text).is_some()
}

/// Where a scheme could begin.
fn from_first_token_byte(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|byte| is_token_byte(*byte));
    value.get(start.unwrap_or(value.len())..).unwrap_or_default()
}

impl FromStr for Scheme {
    type Err = InvalidScheme;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.bytes().all(is_token_byte) { Ok(Self(text.into())) } else { Err(InvalidScheme) }
    }
}

/// The text is no token of RFC 9110, section 5.6.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidScheme;

/// What a header's value holds for a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderContent<'v> {
    /// Another scheme, or nothing: not for this source.
    OtherScheme,
    /// What stands where the token should be; empty if there is nothing like one.
    Token(&'v [u8]),
    /// More than one credential.
    Several,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_reads_its_own_values_only() {
        use HeaderContent::{OtherScheme, Several, Token};
        for (value, expected) in [
            ("Bearer a.b.c", Token(b"a.b.c".as_slice())),
            ("bEARER a.b.c", Token(b"a.b.c")),
            ("Bearer   a.b.c", Token(b"a.b.c")),
            (" Bearer a.b.c ", Token(b"a.b.c")),
            ("Bearer a b", Token(b"a b")),
            ("Bearer", Token(b"")),
            ("Bearer\ta.b.c", Token(b"")),
            ("Bearer:a", Token(b"")),
            ("\u{a0}Bearer a.b.c", Token(b"")),
            ("\"Bearer a.b.c", Token(b"")),
            ("Basic x,\u{a0}Bearer y", Several),
            ("\u{a0}Basic Bearer", OtherScheme),
            ("Bearers a.b.c", OtherScheme),
            ("Basic Bearer", OtherScheme),
            ("", OtherScheme),
            ("Bearer a,Bearer b", Several),
            ("Bearer a,", Several),
            ("Bearer,Basic x", Several),
            ("Basic x,Bearer y", Several),
            ("Basic x, bearer", Several),
            ("Basic x,Basic y", OtherScheme),
            ("Digest a=\"b\", realm=\"Bearer x\"", OtherScheme),
        ] {
            assert_eq!(Scheme::bearer().read(value.as_bytes()), expected, "{value:?}");
        }
    }

    #[test]
    fn the_empty_scheme_takes_the_whole_value() {
        let whole: Scheme = "".parse().unwrap();
        assert_eq!(whole.read(b"a.b.c"), HeaderContent::Token(b"a.b.c"));
        assert_eq!(whole.read(b" "), HeaderContent::OtherScheme);
        assert_eq!(whole.read(b"a.b.c,d.e.f"), HeaderContent::Several);
        assert_eq!("a b".parse::<Scheme>(), Err(InvalidScheme));
    }
}
