//! Header lines as they stood on the wire: bytes, in order, nothing joined.

use std::fmt;

/// One header line. A name or a value may hold any bytes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeaderLine {
    /// The name with the case that the peer wrote.
    pub name: Vec<u8>,
    /// The value without the white space around it.
    pub value: Vec<u8>,
}

/// The header (or trailer) lines of one message, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderLines(Vec<HeaderLine>);

impl HeaderLines {
    /// Adds a line at the end.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.0.push(HeaderLine { name: name.as_ref().to_vec(), value: value.as_ref().to_vec() });
    }

    /// The value of the first line with this name, compared without case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.all(name).into_iter().next()
    }

    /// As [`get`](Self::get), as text; bytes that are not UTF-8 show as U+FFFD.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The values of all lines with this name, in order.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        self.0
            .iter()
            .filter(|line| line.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|line| line.value.as_slice())
            .collect()
    }

    /// All lines in order.
    pub fn iter(&self) -> std::slice::Iter<'_, HeaderLine> {
        self.0.iter()
    }

    /// The number of lines.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without any line.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if a line of this name lists `token`, as in `Connection: keep-alive, Upgrade`.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .iter()
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    pub(crate) fn from_map(map: &http::HeaderMap) -> Self {
        let mut lines = Self::default();
        for (name, value) in map {
            lines.push(name.as_str(), value.as_bytes());
        }
        lines
    }

    pub(crate) fn to_map(&self) -> Result<http::HeaderMap, http::Error> {
        let mut map = http::HeaderMap::new();
        for line in &self.0 {
            map.append(
                http::HeaderName::from_bytes(&line.name)?,
                http::HeaderValue::from_bytes(&line.value)?,
            );
        }
        Ok(map)
    }
}

impl<'a> IntoIterator for &'a HeaderLines {
    type Item = &'a HeaderLine;
    type IntoIter = std::slice::Iter<'a, HeaderLine>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Bytes outside printable ASCII show as `\xNN`; long values are cut, and say so.
impl fmt::Display for HeaderLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.0 {
            write!(f, "  {}: ", line.name.escape_ascii())?;
            writeln!(f, "{}", Excerpt(&line.value))?;
        }
        Ok(())
    }
}

/// Bytes for a person: escaped, and cut after [`SHOWN_BYTES`].
pub(crate) struct Excerpt<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..SHOWN_BYTES) {
            Some(start) if self.0.len() > SHOWN_BYTES => {
                write!(f, "{} … ({} bytes)", start.escape_ascii(), self.0.len())
            }
            _ => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

/// Enough for any token of the tests, not enough to hide the next line of a failure.
const SHOWN_BYTES: usize = 1200;
