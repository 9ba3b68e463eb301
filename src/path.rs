//! Paths: the forms under which rules compare them, and those that are too ambiguous to decide.
//!
//! A path is compared in two forms. Rules that open compare the *narrow* one, in which only the
//! escapes of unreserved bytes are decoded (RFC 3986, section 6.2.2.2). Rules that restrict compare
//! the *wide* one, in which every escape is: `/user%40x` is `/user@x` to most servers.
//!
//! Ambiguous, whatever the rules say (a backend may see another path than the rules did):
//! 1. an empty segment other than the last; a `.` or `..` segment; a segment that ends in `.` or
//!    a space; escaped or not,
//! 2. `\`, `;`, `#`, a byte below 0x21 or from 0x7f up,
//! 3. a broken escape; an escape of `/ \ ; # ?`, of a control byte or of 0x7f,
//! 4. what still holds an escape when decoded once (`%252e`),
//! 5. escapes that are not UTF-8.

use std::borrow::Cow;
use std::str::FromStr;

use crate::bytes::ByteSet;

/// Which ambiguous forms an operator has made ordinary bytes (`paths.insecure_allow`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathPolicy {
    double_slash: bool,
    semicolon: bool,
    encoded_slash: bool,
    encoded_backslash: bool,
    backslash: bool,
}

impl PathPolicy {
    /// Makes `form` ordinary.
    pub fn allow(&mut self, form: AmbiguousForm) {
        let flag = match form {
            AmbiguousForm::DoubleSlash => &mut self.double_slash,
            AmbiguousForm::Semicolon => &mut self.semicolon,
            AmbiguousForm::EncodedSlash => &mut self.encoded_slash,
            AmbiguousForm::EncodedBackslash => &mut self.encoded_backslash,
            AmbiguousForm::Backslash => &mut self.backslash,
        };
        *flag = true;
    }

    /// Reads a request's path, which begins at `target`'s first byte and ends before its query.
    ///
    /// # Errors
    /// `AmbiguousPath` for the forms above.
    pub fn read<'h>(&self, target: &'h [u8]) -> Result<NormalPath<'h>, AmbiguousPath> {
        let path = without_query(target);
        if !path.starts_with(b"/") {
            return Err(AmbiguousPath);
        }
        if is_plain(path) {
            return Ok(NormalPath::of_one_form(path));
        }
        let mut has_escape = false;
        for byte in path {
            match byte {
                b'%' => has_escape = true,
                b'\\' if self.backslash => {}
                b';' if self.semicolon => {}
                b'\\' | b';' | b'#' | ..=0x20 | 0x7f.. => return Err(AmbiguousPath),
                _ => {}
            }
        }
        let path = if has_escape { self.decode(path)? } else { NormalPath::of_one_form(path) };
        self.check_segments(&path.wide)?;
        Ok(path)
    }

    fn decode<'h>(&self, path: &'h [u8]) -> Result<NormalPath<'h>, AmbiguousPath> {
        let (narrow, wide) = decode_escapes(path).ok_or(AmbiguousPath)?;
        if std::str::from_utf8(&wide).is_err() || holds_escape(&wide) {
            return Err(AmbiguousPath);
        }
        for escaped in escapes(path) {
            match escaped {
                b'/' if self.encoded_slash => {}
                b'\\' if self.encoded_backslash => {}
                b';' if self.semicolon => {}
                b'/' | b'\\' | b';' | b'#' | b'?' | ..=0x1f | 0x7f => return Err(AmbiguousPath),
                _ => {}
            }
        }
        Ok(NormalPath { narrow: Cow::Owned(narrow), wide: Cow::Owned(wide) })
    }

    fn check_segments(&self, path: &[u8]) -> Result<(), AmbiguousPath> {
        // What stands before the first slash is empty.
        let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let is_last = segments.peek().is_none();
            match segment {
                [] if is_last || self.double_slash => {}
                [] => return Err(AmbiguousPath),
                // Where `;` and `\` are ordinary, dots before or between them still are not:
                // Tomcat reads `..;x` as `..`, IIS reads `..\` as `../`.
                _ if segment
                    .split(|byte| matches!(byte, b';' | b'\\'))
                    .any(|part| matches!(part, [.., b'.' | b' '])) =>
                {
                    return Err(AmbiguousPath);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A path that means the same to everybody, in both forms that rules compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath<'h> {
    /// Escapes of unreserved bytes decoded, all others with upper-case digits.
    pub narrow: Cow<'h, [u8]>,
    /// All escapes decoded.
    pub wide: Cow<'h, [u8]>,
}

impl<'h> NormalPath<'h> {
    /// A path without escapes.
    fn of_one_form(path: &'h [u8]) -> Self {
        Self { narrow: Cow::Borrowed(path), wide: Cow::Borrowed(path) }
    }

    /// Both forms of a path that an operator wrote; bytes that can't stand in a request's path
    /// are taken as if escaped.
    pub fn from_pattern(pattern: &str) -> Option<NormalPath<'static>> {
        let mut escaped = Vec::with_capacity(pattern.len());
        for byte in pattern.bytes() {
            match byte {
                0x21..=0x7e => escaped.push(byte),
                _ => push_escape(&mut escaped, byte),
            }
        }
        let (narrow, wide) = decode_escapes(&escaped)?;
        Some(NormalPath { narrow: Cow::Owned(narrow), wide: Cow::Owned(wide) })
    }
}

/// The path has a form that different servers understand differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmbiguousPath;

/// A form that `paths.insecure_allow` may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AmbiguousForm {
    /// `//`
    DoubleSlash,
    /// `;`, and its escape
    Semicolon,
    /// `%2f`
    EncodedSlash,
    /// `%5c`
    EncodedBackslash,
    /// `\`
    Backslash,
}

impl FromStr for AmbiguousForm {
    type Err = UnknownForm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "//" => Ok(Self::DoubleSlash),
            ";" => Ok(Self::Semicolon),
            "%2f" => Ok(Self::EncodedSlash),
            "%5c" => Ok(Self::EncodedBackslash),
            "\\" => Ok(Self::Backslash),
            _ => Err(UnknownForm),
        }
    }
}

/// The text is none of `//`, `;`, `%2f`, `%5c`, `\`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownForm;

/// The bytes of a request target before its query.
pub fn without_query(target: &[u8]) -> &[u8] {
    let end = target.iter().position(|byte| *byte == b'?');
    end.and_then(|end| target.get(..end)).unwrap_or(target)
}

/// Whether the path has one form, without a closer look: it has no byte but letters, digits, `/`
/// and a few others, and no segment is empty or ends in a dot.
fn is_plain(path: &[u8]) -> bool {
    let mut before = b'a';
    for byte in path {
        if !PLAIN_BYTES.contains(*byte) || (*byte == b'/' && matches!(before, b'/' | b'.')) {
            return false;
        }
        before = *byte;
    }
    before != b'.'
}

static PLAIN_BYTES: ByteSet = ByteSet::alphanumeric().and(b"/-._~");

/// `path` without one slash at its end.
pub fn without_trailing_slash(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

/// Both forms of `path`, or nothing if one of its escapes is broken.
fn decode_escapes(path: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut narrow, mut wide) = (Vec::with_capacity(path.len()), Vec::with_capacity(path.len()));
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            narrow.push(*byte);
            wide.push(*byte);
            continue;
        }
        let [high, low, tail @ ..] = tail else { return None };
        rest = tail;
        let decoded = hex_byte(*high, *low)?;
        wide.push(decoded);
        if is_unreserved(decoded) {
            narrow.push(decoded);
        } else {
            push_escape(&mut narrow, decoded);
        }
    }
    Some((narrow, wide))
}

/// What the escapes of `path` stand for, in order; broken ones are passed over.
fn escapes(path: &[u8]) -> impl Iterator<Item = u8> + '_ {
    path.windows(3).filter_map(|window| match window {
        [b'%', high, low] => hex_byte(*high, *low),
        _ => None,
    })
}

fn holds_escape(text: &[u8]) -> bool {
    escapes(text).next().is_some()
}

/// The byte that two hexadecimal digits stand for.
pub fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// Appends the escape of `byte`.
pub fn push_escape(text: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble & 0xf)).copied().unwrap_or(b'0');
    text.extend([b'%', digit(byte >> 4), digit(byte)]);
}

/// RFC 3986, section 2.3: what is the same escaped or not.
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Result<NormalPath<'_>, AmbiguousPath> {
        PathPolicy::default().read(path.as_bytes())
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for path in [
            "",
            "*",
            "a",
            "//",
            "//admin",
            "/a//b",
            "/a//",
            "/.",
            "/./a",
            "/a/..",
            "/a/../b",
            "/public/%2e%2e/admin",
            "/public/%2E./admin",
            "/a./b",
            "/a.",
            "/a%2e",
            "/a%20",
            "/a%20/b",
            "/.../a",
            "/a\\b",
            "/a;b",
            "/public;x=/../admin",
            "/a#b",
            "/a b",
            "/a\tb",
            "/a\u{7f}",
            "/\u{e4}",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%2fb",
            "/admin%2f..%2fpublic",
            "/a%5cb",
            "/a%3bb",
            "/a%23b",
            "/a%3fb",
            "/a%00b",
            "/a%0ab",
            "/a%1fb",
            "/a%7fb",
            "/public/%252e%252e/admin",
            "/a%25%32e",
            "/%ff",
            "/%c3",
            "/%c3%28",
            "/%ed%a0%80",
        ] {
            assert_eq!(read(path), Err(AmbiguousPath), "{path}");
        }
    }

    #[test]
    fn ordinary_paths_have_two_forms() {
        for (path, narrow, wide) in [
            ("/", "/", "/"),
            ("/a/b/", "/a/b/", "/a/b/"),
            ("/a?b=//..;#", "/a", "/a"),
            ("/admin?x=/public", "/admin", "/admin"),
            ("/.well-known/jwks.json", "/.well-known/jwks.json", "/.well-known/jwks.json"),
            ("/%61%2Db", "/a-b", "/a-b"),
            ("/user%40x", "/user%40x", "/user@x"),
            ("/a%20b", "/a%20b", "/a b"),
            ("/%c3%a4", "/%C3%A4", "/\u{e4}"),
            ("/100%25", "/100%25", "/100%"),
            ("/a..b", "/a..b", "/a..b"),
        ] {
            let path = read(path).unwrap();
            assert_eq!(path.narrow, narrow.as_bytes());
            assert_eq!(path.wide, wide.as_bytes());
        }
    }

    #[test]
    fn allowed_forms_are_ordinary_bytes() {
        for (form, path, narrow) in [
            ("//", "//a//b", "//a//b"),
            (";", "/a;b", "/a;b"),
            (";", "/a%3bb", "/a%3Bb"),
            ("%2f", "/a%2fb", "/a%2Fb"),
            ("%5C", "/a%5cb", "/a%5Cb"),
            ("\\", "/a\\b", "/a\\b"),
        ] {
            let mut policy = PathPolicy::default();
            policy.allow(form.parse().unwrap());
            let read = policy.read(path.as_bytes()).unwrap();
            assert_eq!(read.narrow, narrow.as_bytes(), "{form}");
            assert_eq!(policy.read(b"/a/../b"), Err(AmbiguousPath), "{form}");
        }
        let mut policy = PathPolicy::default();
        policy.allow(AmbiguousForm::EncodedSlash);
        assert_eq!(policy.read(b"/public%2f..%2fadmin"), Err(AmbiguousPath));
        for form in [";", "\\", "%5c"] {
            policy.allow(form.parse().unwrap());
        }
        for path in ["/public/..;/admin", "/public/..;x=1/admin", "/public/%2e.%3b/admin"] {
            assert_eq!(policy.read(path.as_bytes()), Err(AmbiguousPath), "{path}");
        }
        for path in ["/public/..\\admin", "/public/x\\..\\admin", "/public/..%5cadmin"] {
            assert_eq!(policy.read(path.as_bytes()), Err(AmbiguousPath), "{path}");
        }
        assert_eq!("%2e".parse::<AmbiguousForm>(), Err(UnknownForm));
    }

    #[test]
    fn patterns_have_the_forms_of_requests() {
        let pattern = NormalPath::from_pattern("/\u{e4} b@%7e").unwrap();
        assert_eq!(pattern, read("/%C3%A4%20b@~").unwrap());
        assert_eq!(NormalPath::from_pattern("/a%2"), None);
    }
}
