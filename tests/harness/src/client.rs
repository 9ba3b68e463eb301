//! A client that sends exactly the bytes that it is given.
//!
//! Requests go over HTTP/1.1 unless [`Client::http2`] says otherwise. [`Client::send`] never
//! panics: what happened is an [`Exchange`], whose `expect_…` methods fail a test with the
//! request, the expectation, the response and the tail of Envoy's log.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::header_lines::{Excerpt, HeaderLines};
use crate::http1::{Framing, Wire};
use crate::http2::{self, Http2Error};
use crate::server::Protocol;
use crate::tls::Trust;

/// Sends requests to one address.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    protocol: Protocol,
    tls: Option<Trust>,
    timeout: Duration,
    log: Option<PathBuf>,
}

/// A request to send. `host` is `localhost` unless a `host` header is given.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: Vec<u8>,
    headers: HeaderLines,
    body: Vec<u8>,
    trailers: HeaderLines,
}

/// A complete response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header lines in order. HTTP/2 has no order between different names.
    pub headers: HeaderLines,
    /// The body without transfer coding.
    pub body: Vec<u8>,
    /// The trailers, if any came.
    pub trailers: HeaderLines,
}

/// A request and what came of it.
#[derive(Debug)]
pub struct Exchange {
    /// What was sent.
    pub request: Request,
    /// What came back.
    pub response: Result<Response, ClientError>,
    log: Option<PathBuf>,
}

/// A request on a thread of its own, for a test that does something while it waits.
pub struct Pending(JoinHandle<Exchange>);

/// An open HTTP/1.1 connection, for requests in pieces and for reuse.
pub struct Connection(Wire);

/// Why no response came.
#[derive(Debug)]
pub enum ClientError {
    /// The connection was refused, reset or closed, or the response was not HTTP.
    Io(io::Error),
    /// HTTP/2 failed: a reset, a protocol error, or a request that HTTP/2 cannot carry.
    Http2(String),
    /// No complete response in time.
    TimedOut(Duration),
}

impl Client {
    /// Speaks HTTP/1.1 to `address`, and gives a response 15 seconds.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, protocol: Protocol::Http1, tls: None, timeout: DEFAULT_TIMEOUT, log: None }
    }

    /// Speaks HTTP/1.1 over TLS.
    pub fn tls(mut self, trust: Trust) -> Self {
        self.tls = Some(trust);
        self
    }

    /// Speaks HTTP/2 with prior knowledge.
    pub fn http2(mut self) -> Self {
        self.protocol = Protocol::Http2;
        self
    }

    /// How long a response may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// A failing exchange shows the tail of this log.
    pub fn with_log(mut self, log: impl Into<PathBuf>) -> Self {
        self.log = Some(log.into());
        self
    }

    /// The address that it sends to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request on a new connection and waits for the whole response.
    pub fn send(&self, request: Request) -> Exchange {
        let response = match self.protocol {
            Protocol::Http1 => self.send_http1(&request),
            Protocol::Http2 => self.send_http2(&request),
        };
        Exchange { request, response, log: self.log.clone() }
    }

    /// Sends a request on a thread of its own.
    pub fn send_in_background(&self, request: Request) -> Pending {
        let client = self.clone();
        Pending(std::thread::spawn(move || client.send(request)))
    }

    /// Opens an HTTP/1.1 connection.
    ///
    /// # Errors
    ///
    /// The connection is refused.
    pub fn connect(&self) -> Result<Connection, ClientError> {
        let stream = TcpStream::connect_timeout(&self.address, self.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(Connection(match &self.tls {
            None => Wire::new(stream),
            Some(trust) => Wire::new(trust.wrap(stream)?),
        }))
    }

    fn send_http1(&self, request: &Request) -> Result<Response, ClientError> {
        let mut connection = self.connect()?;
        // Envoy may answer and close before it has read everything: the answer matters more.
        let written = connection.write(&request.to_http1());
        match connection.read_response(&request.method) {
            Err(ClientError::Io(error)) if timed_out(&error) => {
                Err(ClientError::TimedOut(self.timeout))
            }
            Err(read) => Err(written.err().unwrap_or(read)),
            Ok(response) => Ok(response),
        }
    }

    fn send_http2(&self, request: &Request) -> Result<Response, ClientError> {
        let (head, trailers) = request.to_http2().map_err(|error| self.http2_error(error))?;
        http2::exchange(self.address, head, request.body.clone(), trailers, self.timeout)
            .map(|response| Response {
                status: response.status,
                headers: response.headers,
                body: response.body,
                trailers: response.trailers,
            })
            .map_err(|error| self.http2_error(error))
    }

    fn http2_error(&self, error: Http2Error) -> ClientError {
        match error {
            Http2Error::TimedOut => ClientError::TimedOut(self.timeout),
            Http2Error::Io(error) => ClientError::Io(error),
            Http2Error::Unwritable(_) | Http2Error::Protocol(_) => {
                ClientError::Http2(error.to_string())
            }
        }
    }
}

impl Request {
    /// A request with any method and any target bytes.
    pub fn new(method: &str, target: impl AsRef<[u8]>) -> Self {
        Self {
            method: method.to_owned(),
            target: target.as_ref().to_vec(),
            headers: HeaderLines::default(),
            body: Vec::new(),
            trailers: HeaderLines::default(),
        }
    }

    /// A GET request.
    pub fn get(target: impl AsRef<[u8]>) -> Self {
        Self::new("GET", target)
    }

    /// A POST request with a body.
    pub fn post(target: impl AsRef<[u8]>, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).body(body)
    }

    /// Adds one header line. Nothing is checked or joined; `host` replaces the default. In HTTP/2
    /// `:protocol` makes a CONNECT an extended one (RFC 8441), as browsers open a WebSocket.
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Replaces the body. HTTP/1.1 sends its `content-length`, or chunks when there are trailers.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a trailer line.
    pub fn trailer(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.trailers.push(name, value);
        self
    }

    /// The bytes of the request in HTTP/1.1. Framing headers are added unless they are given.
    pub fn to_http1(&self) -> Vec<u8> {
        let mut bytes = [self.method.as_bytes(), b" ", &self.target, b" HTTP/1.1\r\n"].concat();
        if self.headers.get("host").is_none() {
            bytes.extend(b"host: localhost\r\n");
        }
        push_lines(&mut bytes, &self.headers);
        let framed = self.headers.get("content-length").is_some()
            || self.headers.get("transfer-encoding").is_some();
        if framed {
            bytes.extend([b"\r\n", self.body.as_slice()].concat());
        } else if !self.trailers.is_empty() {
            bytes.extend(b"transfer-encoding: chunked\r\n\r\n");
            if !self.body.is_empty() {
                bytes.extend(format!("{:x}\r\n", self.body.len()).into_bytes());
                bytes.extend([self.body.as_slice(), b"\r\n"].concat());
            }
            bytes.extend(b"0\r\n");
            push_lines(&mut bytes, &self.trailers);
            bytes.extend(b"\r\n");
        } else if self.body.is_empty() {
            bytes.extend(b"\r\n");
        } else {
            bytes.extend(format!("content-length: {}\r\n\r\n", self.body.len()).into_bytes());
            bytes.extend(&self.body);
        }
        bytes
    }

    fn to_http2(&self) -> Result<(http::Request<()>, Option<http::HeaderMap>), Http2Error> {
        let mut headers = HeaderLines::default();
        let is_pseudo =
            |name: &[u8]| name.eq_ignore_ascii_case(b"host") || name == PROTOCOL.as_bytes();
        for line in self.headers.iter().filter(|line| !is_pseudo(&line.name)) {
            headers.push(&line.name, &line.value);
        }
        let authority = self.headers.get("host").unwrap_or(b"localhost");
        let uri = http::Uri::builder()
            .scheme("http")
            .authority(authority)
            .path_and_query(self.target.as_slice())
            .build()?;
        let mut request = http::Request::builder().method(self.method.as_str()).uri(uri).body(())?;
        *request.headers_mut() = headers.to_map()?;
        if let Some(protocol) = self.headers.text(PROTOCOL) {
            request.extensions_mut().insert(h2::ext::Protocol::from(&*protocol));
        }
        let trailers = if self.trailers.is_empty() { None } else { Some(self.trailers.to_map()?) };
        Ok((request, trailers))
    }
}

impl Response {
    /// The body as text; bytes that are not UTF-8 show as U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` when it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Exchange {
    /// The response, if its status is `status`.
    ///
    /// # Panics
    ///
    /// With the whole exchange otherwise.
    #[track_caller]
    pub fn expect_status(&self, status: u16) -> &Response {
        self.expect(&format!("status {status}"), |response| response.status == status)
    }

    /// The response, if `holds`.
    ///
    /// # Panics
    ///
    /// With the request, `what`, the response and the log's tail otherwise.
    #[track_caller]
    pub fn expect(&self, what: &str, holds: impl FnOnce(&Response) -> bool) -> &Response {
        match &self.response {
            Ok(response) if holds(response) => response,
            Ok(_) | Err(_) => self.fail(what),
        }
    }

    /// Fails the test, for expectations about something else than the response.
    ///
    /// # Panics
    ///
    /// Always, with the request, `what`, the response and the log's tail.
    #[track_caller]
    pub fn fail(&self, what: &str) -> ! {
        let log = self.log.as_deref().map(crate::envoy::tail).unwrap_or_default();
        panic!("\nexpected: {what}\n{self}\n{log}")
    }

    /// The response's status; 0 when no response came.
    pub fn status(&self) -> u16 {
        self.response.as_ref().map_or(0, |response| response.status)
    }
}

impl Pending {
    /// True once the response is complete or failed.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for the response.
    pub fn wait(self) -> Exchange {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Connection {
    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// The peer closed the connection.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        Ok(self.0.write_all(bytes)?)
    }

    /// Reads one response to a request with `method`, which decides whether it has a body.
    ///
    /// # Errors
    ///
    /// The connection ended before the response did, or the client's timeout passed.
    pub fn read_response(&mut self, method: &str) -> Result<Response, ClientError> {
        let head = self.0.read_response_head()?;
        let body = self.0.read_body(Framing::of_response(method, &head)?)?;
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body: body.bytes,
            trailers: body.trailers,
        })
    }

    /// Sends a request and reads its response, and leaves the connection open.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write) and [`read_response`](Self::read_response).
    pub fn send(&mut self, request: &Request) -> Result<Response, ClientError> {
        self.write(&request.to_http1())?;
        self.read_response(&request.method)
    }

    /// Reads what an upgraded connection sends next; empty at its end.
    ///
    /// # Errors
    ///
    /// The connection broke, or the client's timeout passed.
    pub fn read_some(&mut self) -> Result<Vec<u8>, ClientError> {
        Ok(self.0.read_some()?)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {} {}", self.method, self.target.escape_ascii())?;
        write!(f, "{}", self.headers)?;
        if !self.body.is_empty() {
            writeln!(f, "  body: {}", Excerpt(&self.body))?;
        }
        write!(f, "{}", self.trailers)
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {}", self.status)?;
        write!(f, "{}", self.headers)?;
        if !self.body.is_empty() {
            writeln!(f, "  body: {}", Excerpt(&self.body))?;
        }
        write!(f, "{}", self.trailers)
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request:\n{}", self.request)?;
        match &self.response {
            Ok(response) => write!(f, "came:\n{response}"),
            Err(error) => write!(f, "came: {error}"),
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "no response: {error}"),
            Self::Http2(error) => write!(f, "no response: {error}"),
            Self::TimedOut(after) => write!(f, "no complete response within {after:?}"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn push_lines(bytes: &mut Vec<u8>, lines: &HeaderLines) {
    for line in lines {
        bytes.extend([line.name.as_slice(), b": ", &line.value, b"\r\n"].concat());
    }
}

/// A blocking socket reports its timeout as one of two kinds, by platform.
fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

const PROTOCOL: &str = ":protocol";

/// Over any wait of the filter: a fetch takes at most 5 s, a waiting stream 6 s.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
