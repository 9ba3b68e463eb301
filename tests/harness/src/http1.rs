//! HTTP/1.1 on a stream, read as it is: the head as raw bytes, the body by its framing.
//!
//! A server here must accept what Envoy sends, and a client must survive what Envoy answers, so
//! both are strict about framing and indifferent to values. This module knows no URLs.

use std::fmt;
use std::io::{self, Read, Write};

use crate::header_lines::HeaderLines;

/// A TCP or a TLS stream.
pub(crate) trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// A stream with the bytes that were read past the end of the last message.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    ahead: Vec<u8>,
}

pub(crate) struct RequestHead {
    pub(crate) raw: Vec<u8>,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderLines,
}

pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) headers: HeaderLines,
}

/// The body's bytes without chunk framing, and the trailers of a chunked one.
#[derive(Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: HeaderLines,
}

/// Where a response body ends (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// The peer sent what is not HTTP/1.1.
#[derive(Debug)]
struct Malformed(String);

impl Wire {
    pub(crate) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), ahead: Vec::new() }
    }

    /// Reads one request head. `None` when the peer closed before its first byte.
    pub(crate) fn read_request_head(&mut self) -> io::Result<Option<RequestHead>> {
        let Some(raw) = self.read_head()? else {
            return Ok(None);
        };
        let mut slots = vec![httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut slots);
        parsed.parse(&raw).map_err(malformed)?;
        let headers = collect(parsed.headers);
        let method = parsed.method.unwrap_or_default().to_owned();
        let target = parsed.path.unwrap_or_default().to_owned();
        Ok(Some(RequestHead { raw, method, target, headers }))
    }

    /// Reads one response head and skips interim responses other than 101.
    pub(crate) fn read_response_head(&mut self) -> io::Result<ResponseHead> {
        loop {
            let raw = self.read_head()?.ok_or_else(|| {
                io::Error::new(io::ErrorKind::UnexpectedEof, "closed without a response")
            })?;
            let mut slots = vec![httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut parsed = httparse::Response::new(&mut slots);
            parsed.parse(&raw).map_err(malformed)?;
            let status = parsed.code.unwrap_or_default();
            if status == 101 || status >= 200 {
                return Ok(ResponseHead { status, headers: collect(parsed.headers) });
            }
        }
    }

    pub(crate) fn read_body(&mut self, framing: Framing) -> io::Result<Body> {
        match framing {
            Framing::None => Ok(Body::default()),
            Framing::Length(length) => {
                Ok(Body { bytes: self.take(length)?, trailers: HeaderLines::default() })
            }
            Framing::Chunked => self.read_chunks(),
            Framing::UntilClose => {
                let mut bytes = std::mem::take(&mut self.ahead);
                self.stream.read_to_end(&mut bytes)?;
                Ok(Body { bytes, trailers: HeaderLines::default() })
            }
        }
    }

    /// Bytes without any framing, for a connection that was upgraded. Empty at its end.
    pub(crate) fn read_some(&mut self) -> io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.ahead))
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    fn read_head(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut scanned = 0;
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n", scanned) {
                return self.take(end + 4).map(Some);
            }
            scanned = self.ahead.len().saturating_sub(3);
            if self.ahead.len() > MAX_HEAD_BYTES {
                return Err(malformed("a head of more than 1 MiB"));
            }
            if self.fill()? == 0 {
                return if self.ahead.is_empty() {
                    Ok(None)
                } else {
                    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed inside a head"))
                };
            }
        }
    }

    fn read_chunks(&mut self) -> io::Result<Body> {
        let mut body = Body::default();
        loop {
            let line = self.read_line()?;
            let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let size = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok())
                .ok_or_else(|| malformed("a chunk size that is no number"))?;
            if size == 0 {
                break;
            }
            body.bytes.extend(self.take(size)?);
            self.read_line()?;
        }
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(body);
            }
            let colon = find(&line, b":", 0).ok_or_else(|| malformed("a trailer without `:`"))?;
            body.trailers.push(&line[..colon], line[colon + 1..].trim_ascii());
        }
    }

    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n", 0) {
                let mut line = self.take(end + 2)?;
                line.truncate(end);
                return Ok(line);
            }
            if self.fill()? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed inside a body"));
            }
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < length {
            if self.fill()? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("closed after {} of {length} bytes", self.ahead.len()),
                ));
            }
        }
        let rest = self.ahead.split_off(length);
        Ok(std::mem::replace(&mut self.ahead, rest))
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(count) => {
                    self.ahead.extend_from_slice(&buffer[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Framing {
    /// A request without framing headers has no body.
    pub(crate) fn of_request(headers: &HeaderLines) -> io::Result<Self> {
        if headers.lists("transfer-encoding", "chunked") {
            return Ok(Self::Chunked);
        }
        content_length(headers).map(|length| length.map_or(Self::None, Self::Length))
    }

    pub(crate) fn of_response(method: &str, head: &ResponseHead) -> io::Result<Self> {
        if method == "HEAD" || matches!(head.status, 101 | 204 | 304) {
            return Ok(Self::None);
        }
        if head.headers.lists("transfer-encoding", "chunked") {
            return Ok(Self::Chunked);
        }
        content_length(&head.headers).map(|length| length.map_or(Self::UntilClose, Self::Length))
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not HTTP/1.1: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

fn content_length(headers: &HeaderLines) -> io::Result<Option<usize>> {
    let Some(value) = headers.text("content-length") else {
        return Ok(None);
    };
    value.parse().map(Some).map_err(|_| malformed(format!("content-length: {value}")))
}

fn collect(parsed: &[httparse::Header<'_>]) -> HeaderLines {
    let mut lines = HeaderLines::default();
    for header in parsed {
        lines.push(header.name, header.value);
    }
    lines
}

fn find(haystack: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    haystack.get(from..)?.windows(needle.len()).position(|at| at == needle).map(|at| at + from)
}

fn malformed(what: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Malformed(what.to_string()))
}

/// Tests send up to 2,000 headers; Envoy adds a few.
const MAX_HEADERS: usize = 4096;

/// Envoy's own ceiling for `max_request_headers_kb` is 8 MiB; no test comes near 1 MiB.
const MAX_HEAD_BYTES: usize = 1024 * 1024;
