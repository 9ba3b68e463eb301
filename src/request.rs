//! A borrowed view of one request's head: what the filter decides about, as bytes.
//!
//! Every value stays the bytes that the client sent; nothing here assumes UTF-8.

use std::fmt;
use std::str::FromStr;

use crate::bytes;

/// The header pairs of one request, in their order, pseudo headers included.
#[derive(Clone, Debug)]
pub struct RequestHead<'h> {
    pairs: Vec<(&'h [u8], &'h [u8])>,
    method: &'h [u8],
    path: &'h [u8],
    authority: &'h [u8],
}

impl<'h> RequestHead<'h> {
    /// A head from its pairs.
    ///
    /// # Errors
    /// `MissingPseudoHeader` without `:method`, `:path` or `:authority`; `RepeatedPseudoHeader`
    /// when one of them stands there twice (RFC 9113, section 8.3).
    pub fn new(pairs: Vec<(&'h [u8], &'h [u8])>) -> Result<Self, MalformedHead> {
        let [mut method, mut path, mut authority] = [None; 3];
        for &(name, value) in &pairs {
            let place = match name {
                b":method" => &mut method,
                b":path" => &mut path,
                b":authority" => &mut authority,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(MalformedHead::RepeatedPseudoHeader);
            }
        }
        match (method, path, authority) {
            (Some(method), Some(path), Some(authority)) => {
                Ok(Self { pairs, method, path, authority })
            }
            _ => Err(MalformedHead::MissingPseudoHeader),
        }
    }

    /// `:method`, as sent.
    pub fn method(&self) -> &'h [u8] {
        self.method
    }

    /// `:path`, with its query.
    pub fn path(&self) -> &'h [u8] {
        self.path
    }

    /// `:authority`, with its port.
    pub fn authority(&self) -> &'h [u8] {
        self.authority
    }

    /// All pairs in their order.
    pub fn pairs(&self) -> &[(&'h [u8], &'h [u8])] {
        &self.pairs
    }

    /// The values of the header `name` (lower case, as Envoy hands names on), line by line.
    pub fn values<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'h [u8]> + 'a {
        self.pairs.iter().filter(move |(other, _)| *other == name).map(|(_, value)| *value)
    }

    /// Whether there is a header `name`.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.values(name).next().is_some()
    }

    /// Whether the method says that the answer has no body.
    pub fn is_head(&self) -> bool {
        self.method == b"HEAD"
    }

    /// Whether this is a CORS preflight (Fetch standard, "CORS-preflight request").
    pub fn is_preflight(&self) -> bool {
        self.method == b"OPTIONS"
            && self.contains(b"origin")
            && self.contains(b"access-control-request-method")
    }

    /// Whether Envoy takes the request for gRPC: `application/grpc`, or that with `+` or `;` after
    /// it. `application/grpc-web` is not gRPC to Envoy.
    pub fn is_grpc(&self) -> bool {
        self.values(b"content-type").next().is_some_and(|value| {
            bytes::starts_with_ignore_case(value, b"application/grpc")
                && matches!(value.get(b"application/grpc".len()), None | Some(b'+' | b';'))
        })
    }
}

/// Why a head can't be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedHead {
    /// No `:method`, `:path` or `:authority`.
    MissingPseudoHeader,
    /// A pseudo header stands there twice.
    RepeatedPseudoHeader,
}

/// The name of a header field, in lower case (RFC 9110, section 5.1: a token).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(Box<str>);

impl HeaderName {
    /// `authorization`.
    pub fn authorization() -> Self {
        Self("authorization".into())
    }

    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name's bytes, in lower case.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The form under which servers that follow CGI's rule can't tell names apart: `-`, `_` and
    /// `.` are one character.
    pub fn folded(&self) -> Box<[u8]> {
        self.0.bytes().map(fold_name_byte).collect()
    }
}

impl FromStr for HeaderName {
    type Err = InvalidHeaderName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || !text.bytes().all(is_token_byte) {
            return Err(InvalidHeaderName);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is no token of RFC 9110, section 5.6.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHeaderName;

/// A `tchar` of RFC 9110, section 5.6.2.
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// One byte of a header name as CGI-like servers see it.
pub fn fold_name_byte(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' => b'-',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head<'h>(lines: &[(&'h str, &'h str)]) -> Result<RequestHead<'h>, MalformedHead> {
        RequestHead::new(lines.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect())
    }

    const START: [(&str, &str); 3] = [(":method", "OPTIONS"), (":path", "/"), (":authority", "a")];

    #[test]
    fn pseudo_headers_stand_there_once() {
        assert!(head(&START).is_ok());
        for at in 0..START.len() {
            let mut missing = START.to_vec();
            missing.remove(at);
            assert_eq!(head(&missing).err(), Some(MalformedHead::MissingPseudoHeader), "{at}");
            let mut twice = START.to_vec();
            twice.push(START[at]);
            assert_eq!(head(&twice).err(), Some(MalformedHead::RepeatedPseudoHeader), "{at}");
        }
    }

    #[test]
    fn a_preflight_has_origin_and_method() {
        let (origin, method) = (("origin", "null"), ("access-control-request-method", "PUT"));
        for (name, lines, expected) in [
            ("both", vec![origin, method], true),
            ("no origin", vec![method], false),
            ("no method", vec![origin], false),
        ] {
            let lines = [START.to_vec(), lines].concat();
            assert_eq!(head(&lines).unwrap().is_preflight(), expected, "{name}");
        }
    }

    #[test]
    fn grpc_is_what_envoy_takes_for_it() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            let lines = [START.to_vec(), vec![("content-type", content_type)]].concat();
            assert_eq!(head(&lines).unwrap().is_grpc(), expected, "{content_type}");
        }
    }

    #[test]
    fn header_names_are_tokens_in_lower_case() {
        assert_eq!("X-User-Id".parse::<HeaderName>().unwrap().as_str(), "x-user-id");
        for bad in ["", "a b", ":path", "x\u{e4}", "a:", "a\n"] {
            assert_eq!(bad.parse::<HeaderName>(), Err(InvalidHeaderName), "{bad:?}");
        }
        assert_eq!(&*"X_User.Id".parse::<HeaderName>().unwrap().folded(), b"x-user-id");
    }
}
