//! Cookies of requests: finding values by name, and taking pairs out without touching any other
//! byte (RFC 6265, section 4.2.1).
//!
//! Every `cookie` line counts: HTTP/1 may carry several. White space around a name and a value is
//! not part of them; names are case-sensitive, and `__Host-` is part of the name. A name that
//! only some servers take for ours holds no token for us, but must not reach a backend either.
//!
//! Stripping: each line is split at `;`, our segments are dropped, the rest is joined with `;` as
//! it is. If the first segment was dropped, leading spaces of the new first one go. A line of
//! which only empty segments are left is removed.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::bytes;
use crate::path::hex_byte;
use crate::request::is_token_byte;

/// One segment of a `cookie` line: a cookie, and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'h> {
    text: &'h [u8],
    /// Its place in its line.
    start: usize,
}

impl<'h> Segment<'h> {
    /// How long it is, white space included.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether there is nothing, which is no cookie to anybody.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The cookie in it.
    pub fn cookie(&self) -> Cookie<'h> {
        Cookie::read(self.text)
    }

    fn end(&self) -> usize {
        self.start.saturating_add(self.text.len())
    }
}

/// One `name=value` of a `cookie` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie<'h> {
    /// What stands before the first `=`, trimmed; all of it if there is none.
    pub name: &'h [u8],
    /// What stands after it, if there is one.
    value: Option<&'h [u8]>,
}

impl<'h> Cookie<'h> {
    fn read(segment: &'h [u8]) -> Self {
        let (name, value) = match memchr::memchr(b'=', segment) {
            Some(at) => (segment.get(..at), segment.get(at.saturating_add(1)..)),
            None => (Some(segment), None),
        };
        Self { name: bytes::trim(name.unwrap_or_default()), value }
    }

    /// Whether there is a `=`.
    pub fn has_value(&self) -> bool {
        self.value.is_some()
    }

    /// What stands after the `=`, trimmed; empty if there is none.
    pub fn value(&self) -> &'h [u8] {
        bytes::trim(self.value.unwrap_or_default())
    }

    /// The token that the value stands for: without quotes, percent-decoded. A broken escape stays
    /// as it is; no token has one.
    pub fn bare_value(&self) -> Cow<'h, [u8]> {
        let value = match self.value() {
            [b'"', inner @ .., b'"'] => inner,
            value => value,
        };
        percent_decoded(value)
    }
}

/// Broken escapes stay as they are.
fn percent_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let mut next = *byte;
        if let (b'%', [high, low, tail @ ..]) = (*byte, tail)
            && let Some(byte) = hex_byte(*high, *low)
        {
            next = byte;
            rest = tail;
        }
        decoded.push(next);
    }
    Cow::Owned(decoded)
}

/// `$_COOKIE` has `a_b` for a cookie `a.b`, `a b` or `a[b`.
fn fold_by_php(byte: u8) -> u8 {
    match byte {
        b'.' | b' ' | b'[' => b'_',
        other => other,
    }
}

/// The segments of one line, in order.
pub fn segments(line: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    let mut start = 0_usize;
    memchr::memchr_iter(b';', line).chain([line.len()]).map(move |end| {
        let segment = Segment { text: line.get(start..end).unwrap_or_default(), start };
        start = end.saturating_add(1);
        segment
    })
}

/// `line` without the segments `dropped`, which are its own, in their order.
pub fn strip<'h>(line: &'h [u8], dropped: impl Iterator<Item = Segment<'h>>) -> StrippedLine<'h> {
    // What stands between two dropped segments goes on in one piece.
    let mut pieces = Pieces::default();
    let mut kept_from = 0_usize;
    let mut first_dropped = false;
    for segment in dropped {
        first_dropped |= segment.start == 0;
        if let Some(before) = segment.start.checked_sub(1).filter(|end| *end >= kept_from) {
            pieces.push(line.get(kept_from..before).unwrap_or_default(), first_dropped);
        }
        kept_from = segment.end().saturating_add(1);
    }
    if kept_from == 0 {
        return StrippedLine::Unchanged;
    }
    if let Some(last) = line.get(kept_from..) {
        pieces.push(last, first_dropped);
    }
    if pieces.are_blank { StrippedLine::Gone } else { StrippedLine::Rest(pieces.joined) }
}

/// What is left of a line.
struct Pieces<'h> {
    joined: Cow<'h, [u8]>,
    is_first: bool,
    are_blank: bool,
}

impl Default for Pieces<'_> {
    fn default() -> Self {
        Self { joined: Cow::Borrowed(b""), is_first: true, are_blank: true }
    }
}

impl<'h> Pieces<'h> {
    fn push(&mut self, piece: &'h [u8], first_dropped: bool) {
        self.are_blank &= piece.iter().all(|byte| matches!(byte, b' ' | b'\t' | b';'));
        if self.is_first {
            self.is_first = false;
            let trimmed = bytes::without_leading_spaces(piece);
            self.joined = Cow::Borrowed(if first_dropped { trimmed } else { piece });
        } else {
            let joined = self.joined.to_mut();
            joined.reserve_exact(piece.len().saturating_add(1));
            joined.push(b';');
            joined.extend_from_slice(piece);
        }
    }
}

/// What becomes of one `cookie` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StrippedLine<'h> {
    /// No segment went.
    Unchanged,
    /// These bytes are left.
    Rest(Cow<'h, [u8]>),
    /// Nothing is left.
    Gone,
}

/// The name of a cookie (RFC 6265, section 4.1.1: a token).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CookieName(Box<str>);

impl CookieName {
    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether a server's own parser may take `name` for this one: decoded, without what is no
    /// token at both ends (Python and JavaScript trim more than ASCII white space), and with what
    /// PHP makes an underscore of. Errs on the side of yes.
    pub fn resembles(&self, name: &[u8]) -> bool {
        // What is compared below is never longer than what was sent.
        if name.len() < self.0.len() {
            return false;
        }
        let decoded = percent_decoded(name);
        let mut rest = &*decoded;
        while let [first, tail @ ..] = rest
            && !is_token_byte(*first)
        {
            rest = tail;
        }
        while let [head @ .., last] = rest
            && !is_token_byte(*last)
        {
            rest = head;
        }
        rest.len() == self.0.len()
            && rest.iter().zip(self.0.bytes()).all(|(a, b)| fold_by_php(*a) == fold_by_php(b))
    }
}

impl FromStr for CookieName {
    type Err = InvalidCookieName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || !text.bytes().all(is_token_byte) {
            return Err(InvalidCookieName);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for CookieName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is no token of RFC 9110, section 5.6.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCookieName;

#[cfg(test)]
mod tests {
    use super::*;

    fn strip_session(line: &[u8]) -> StrippedLine<'_> {
        strip(line, segments(line).filter(|segment| segment.cookie().name == b"session"))
    }

    #[test]
    fn stripping_leaves_every_other_byte() {
        let rest = |text: &'static [u8]| StrippedLine::Rest(Cow::Borrowed(text));
        for (line, expected) in [
            (b"a=b; c=d".as_slice(), StrippedLine::Unchanged),
            (b"", StrippedLine::Unchanged),
            (b"session=x", StrippedLine::Gone),
            (b"session", StrippedLine::Gone),
            (b"session=", StrippedLine::Gone),
            (b"session=x; session=y", StrippedLine::Gone),
            (b"session=x;", StrippedLine::Gone),
            (b" ; session=x; ;", StrippedLine::Gone),
            (b"session=x; a=b", rest(b"a=b")),
            (b"session=x;   a=b; c", rest(b"a=b; c")),
            (b"a=b; session=x", rest(b"a=b")),
            (b"a=b; session=x; c=d", rest(b"a=b; c=d")),
            (b"a=b;session=x;c=d", rest(b"a=b;c=d")),
            (b"a=b;  session = x ;  c=d ", rest(b"a=b;  c=d ")),
            (b" a=b; session=x", rest(b" a=b")),
            (b"\xff\xfe=\xff; session=x; a=\"b; c\"", rest(b"\xff\xfe=\xff; a=\"b; c\"")),
            (b"sessionX=a; session=x; Session=b; __Host-session=c", {
                rest(b"sessionX=a; Session=b; __Host-session=c")
            }),
            (b"a=b;; session=x", rest(b"a=b;")),
            (b"session=x;  ; a=b", rest(b"; a=b")),
            (b"a; session=x; b; session; c;session=; d", rest(b"a; b; c; d")),
            (b"session=x; a; session=y; session; b ", rest(b"a; b ")),
        ] {
            assert_eq!(strip_session(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn names_and_values_are_trimmed() {
        let cookies = segments(b"a=b;\tc = d=e ; f;=g;").map(|segment| segment.cookie());
        let expected: [(&[u8], &[u8], bool); 5] = [
            (b"a", b"b", true),
            (b"c", b"d=e", true),
            (b"f", b"", false),
            (b"", b"g", true),
            (b"", b"", false),
        ];
        let parts = |cookie: Cookie<'static>| (cookie.name, cookie.value(), cookie.has_value());
        assert_eq!(cookies.map(parts).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn bare_values_have_no_quotes_and_no_escapes() {
        for (value, bare) in [
            (b"a.b.c".as_slice(), b"a.b.c".as_slice()),
            (b"\"a.b.c\"", b"a.b.c"),
            (b"a%2Eb%2ec", b"a.b.c"),
            (b"\"a%2eb\"", b"a.b"),
            (b"%22a%22", b"\"a\""),
            (b"%252e", b"%2e"),
            (b"a%", b"a%"),
            (b"a%2", b"a%2"),
            (b"%zz%41", b"%zzA"),
            (b"\"", b"\""),
            (b"\"\"", b""),
            (b"", b""),
        ] {
            let cookie = Cookie { name: b"a", value: Some(value) };
            assert_eq!(cookie.bare_value(), bare, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn lookalikes_are_what_servers_take_for_ours() {
        let name: CookieName = "my_session".parse().unwrap();
        for (other, expected) in [
            (b"my_session".as_slice(), true),
            (b"\xa0my_session\x85", true),
            (b"\xe3\x80\x80my_session", true),
            (b"\"my_session\"", true),
            (b"my_session[]", true),
            (b"my.session", true),
            (b"my session", true),
            (b"my[session", true),
            (b"my%5fsession", true),
            (b"%20my%2Esession", true),
            (b"my_sessionX", false),
            (b"My_Session", false),
            (b"__Host-my_session", false),
            (b"my-session", false),
            (b"my_session%", false),
            (b"my%255fsession", false),
            (b"\xe9my_sessio", false),
            (b"", false),
        ] {
            assert_eq!(name.resembles(other), expected, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn cookie_names_are_tokens() {
        assert!("__Host-session".parse::<CookieName>().is_ok());
        for bad in ["", "a b", "a=b", "a;b", "a,b", "\u{e4}", "a\n"] {
            assert_eq!(bad.parse::<CookieName>(), Err(InvalidCookieName), "{bad:?}");
        }
    }
}
