//! A borrowed view of one request's head: what the filter decides about, as bytes.
//!
//! Every value stays the bytes that the client sent; nothing here assumes UTF-8.

use std::fmt;
use std::str::FromStr;

use crate::name_bits::NameBits;

/// The header pairs of one request, in their order, pseudo headers included.
#[derive(Clone, Debug, Default)]
pub struct RequestHead<'h> {
    pairs: Vec<(&'h [u8], &'h [u8])>,
    names: NameBits,
    pseudo: PseudoHeaders<'h>,
    has_body: bool,
}

impl<'h> RequestHead<'h> {
    /// A head from its pairs; `has_body` says whether a body follows.
    pub fn new(pairs: Vec<(&'h [u8], &'h [u8])>, has_body: bool) -> Self {
        let mut head = Self { has_body, ..Self::default() };
        for (name, value) in pairs {
            head.push(name, value);
        }
        head
    }

    /// Reads the layout in which a proxy-wasm host hands pairs over: their number, the lengths of
    /// each name and value, then each name and value with a NUL after it; little-endian u32s.
    /// Bytes that don't add up give an empty head, which is refused as malformed.
    pub fn from_host(bytes: &'h [u8], has_body: bool) -> Self {
        let mut head = Self { has_body, ..Self::default() };
        if head.read(bytes).is_none() {
            head = Self { has_body, ..Self::default() };
        }
        head
    }

    fn read(&mut self, bytes: &'h [u8]) -> Option<()> {
        let mut rest = HostPairs::read(bytes)?;
        self.pairs = Vec::with_capacity(rest.count);
        for _ in 0..rest.count {
            let (name, value) = rest.next_pair()?;
            self.push(name, value);
        }
        Some(())
    }

    fn push(&mut self, name: &'h [u8], value: &'h [u8]) {
        self.names = self.names.and(NameBits::of(name));
        if name.first() == Some(&b':') {
            self.pseudo.push(name, value);
        }
        self.pairs.push((name, value));
    }

    /// What rules compare.
    ///
    /// # Errors
    /// `MissingPseudoHeader` without `:method`, `:path` or `:authority`; `RepeatedPseudoHeader`
    /// when one of them stands there twice (RFC 9113, section 8.3).
    pub fn line(&self) -> Result<RequestLine<'h>, MalformedHead> {
        let PseudoHeaders { method, path, authority, is_repeated } = self.pseudo;
        match (is_repeated, method, path, authority) {
            (false, Some(method), Some(path), Some(authority)) => {
                Ok(RequestLine { method, path, authority })
            }
            (false, _, _, _) => Err(MalformedHead::MissingPseudoHeader),
            (true, _, _, _) => Err(MalformedHead::RepeatedPseudoHeader),
        }
    }

    /// Whether a body follows.
    pub fn has_body(&self) -> bool {
        self.has_body
    }

    /// The names of all pairs.
    pub fn names(&self) -> NameBits {
        self.names
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

    /// `:method`, empty without.
    pub fn method(&self) -> &'h [u8] {
        self.pseudo.method.unwrap_or_default()
    }

    /// Whether the method says that the answer has no body.
    pub fn is_head(&self) -> bool {
        self.method() == b"HEAD"
    }

    /// Whether this is a CORS preflight (Fetch standard, "CORS-preflight request").
    pub fn is_preflight(&self) -> bool {
        self.method() == b"OPTIONS"
            && self.contains(b"origin")
            && self.contains(b"access-control-request-method")
    }

    /// Whether Envoy takes the request for gRPC: `application/grpc`, or that with `+` after it, in
    /// lower case. To Envoy neither `application/grpc-web` is gRPC nor `application/grpc` with
    /// parameters; its answers to those are HTTP's, and so must ours be.
    pub fn is_grpc(&self) -> bool {
        let mut values = self.values(b"content-type");
        let suffix = values.next().and_then(|value| value.strip_prefix(b"application/grpc"));
        matches!(suffix, Some([] | [b'+', ..]))
    }
}

/// What rules compare, as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLine<'h> {
    /// `:method`
    pub method: &'h [u8],
    /// `:path`, with its query.
    pub path: &'h [u8],
    /// `:authority`, with its port.
    pub authority: &'h [u8],
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

/// The pseudo headers that rules look at.
#[derive(Clone, Copy, Debug, Default)]
struct PseudoHeaders<'h> {
    method: Option<&'h [u8]>,
    path: Option<&'h [u8]>,
    authority: Option<&'h [u8]>,
    is_repeated: bool,
}

impl<'h> PseudoHeaders<'h> {
    fn push(&mut self, name: &[u8], value: &'h [u8]) {
        let place = match name {
            b":method" => &mut self.method,
            b":path" => &mut self.path,
            b":authority" => &mut self.authority,
            _ => return,
        };
        self.is_repeated |= place.is_some();
        // The first one stands, as for every other header.
        place.get_or_insert(value);
    }
}

/// The pairs in the host's layout that are not read yet.
struct HostPairs<'h> {
    count: usize,
    lengths: &'h [u8],
    texts: &'h [u8],
}

impl<'h> HostPairs<'h> {
    fn read(bytes: &'h [u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self { count: 0, lengths: b"", texts: b"" });
        }
        let (count, rest) = read_u32(bytes)?;
        let (lengths, texts) = rest.split_at_checked(count.checked_mul(8)?)?;
        Some(Self { count, lengths, texts })
    }

    fn next_pair(&mut self) -> Option<(&'h [u8], &'h [u8])> {
        let (name_length, value_length, name, value);
        (name_length, self.lengths) = read_u32(self.lengths)?;
        (value_length, self.lengths) = read_u32(self.lengths)?;
        (name, self.texts) = read_text(self.texts, name_length)?;
        (value, self.texts) = read_text(self.texts, value_length)?;
        Some((name, value))
    }
}

fn read_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

fn read_text(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let (text, rest) = bytes.split_at_checked(length)?;
    Some((text, rest.strip_prefix(b"\0")?))
}

/// A `tchar` of RFC 9110, section 5.6.2.
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether `name` is what `folded` became of some name.
pub fn folds_to(name: &[u8], folded: &[u8]) -> bool {
    name.len() == folded.len()
        && folded.iter().zip(name).all(|(folded, byte)| *folded == fold_name_byte(*byte))
}

/// One byte of a header name as CGI-like servers see it.
pub const fn fold_name_byte(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' => b'-',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head<'h>(lines: &[(&'h str, &'h str)]) -> RequestHead<'h> {
        let pairs = lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        RequestHead::new(pairs.collect(), false)
    }

    const START: [(&str, &str); 3] = [(":method", "OPTIONS"), (":path", "/"), (":authority", "a")];

    #[test]
    fn pseudo_headers_stand_there_once() {
        assert!(head(&START).line().is_ok());
        for (at, pair) in START.into_iter().enumerate() {
            let mut missing = START.to_vec();
            missing.remove(at);
            assert_eq!(head(&missing).line(), Err(MalformedHead::MissingPseudoHeader), "{at}");
            let twice = [START.to_vec(), vec![pair]].concat();
            assert_eq!(head(&twice).line(), Err(MalformedHead::RepeatedPseudoHeader), "{at}");
        }
    }

    #[test]
    fn the_hosts_layout_is_read_whole_or_not_at_all() {
        let mut bytes = vec![2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(b"a\0\xff\0\0b\0\0");
        let head = RequestHead::from_host(&bytes, true);
        let expected: [(&[u8], &[u8]); 2] = [(b"a", b"\xff\0"), (b"b", b"")];
        assert_eq!(head.pairs(), expected);
        for length in 1..bytes.len() {
            assert_eq!(RequestHead::from_host(&bytes[..length], true).pairs(), [], "{length}");
        }
        assert_eq!(RequestHead::from_host(b"", true).pairs(), []);
        let broken = RequestHead::from_host(&[0xff; 64], true);
        assert_eq!((broken.pairs(), broken.names()), (&[][..], NameBits::default()));
        assert_eq!(broken.line(), Err(MalformedHead::MissingPseudoHeader));
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
            assert_eq!(head(&lines).is_preflight(), expected, "{name}");
        }
    }

    #[test]
    fn grpc_is_what_envoy_takes_for_it() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", false),
            ("Application/gRPC", false),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            let lines = [START.to_vec(), vec![("content-type", content_type)]].concat();
            assert_eq!(head(&lines).is_grpc(), expected, "{content_type}");
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
