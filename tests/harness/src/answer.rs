//! What a server of the tests answers, whole or broken on purpose.

use std::time::Duration;

use crate::header_lines::HeaderLines;

/// One answer. A server may give the same one many times.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderLines,
    pub(crate) body: Vec<u8>,
    pub(crate) delay: Duration,
    pub(crate) fault: Option<Fault>,
}

/// How an answer breaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The request is read and never answered, until the server stops or changes its answer.
    Hang,
    /// The connection is closed without a byte of an answer.
    CloseBeforeHead,
    /// The connection is closed after half of the body that `content-length` promised.
    CloseMidBody,
}

impl Answer {
    /// An answer with this status and an empty body.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: HeaderLines::default(),
            body: Vec::new(),
            delay: Duration::ZERO,
            fault: None,
        }
    }

    /// 200 with `content-type: application/json`.
    pub fn json(document: impl ToString) -> Self {
        Self::status(200)
            .header("content-type", "application/json")
            .body(document.to_string().into_bytes())
    }

    /// 200 with `content-type: text/html; charset=utf-8`.
    pub fn html(page: impl Into<String>) -> Self {
        Self::status(200)
            .header("content-type", "text/html; charset=utf-8")
            .body(page.into().into_bytes())
    }

    /// 302 to `location`.
    pub fn redirect(location: &str) -> Self {
        Self::status(302).header("location", location)
    }

    /// An answer that never comes.
    pub fn hang() -> Self {
        Self::status(200).fault(Fault::Hang)
    }

    /// Replaces the status.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds a header line.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Replaces the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Waits before the first byte of the answer.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Breaks the answer.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// The answer on the wire. A HEAD request gets the length of the body and no body.
    pub(crate) fn to_http1(&self, method: &str) -> Vec<u8> {
        let mut bytes =
            format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status)).into_bytes();
        for line in &self.headers {
            bytes.extend([line.name.as_slice(), b": ", &line.value, b"\r\n"].concat());
        }
        if !matches!(self.status, 101 | 204 | 304) {
            bytes.extend(format!("content-length: {}\r\n", self.body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        if method != "HEAD" {
            bytes.extend(&self.body);
        }
        bytes
    }
}

/// Envoy reads over the phrase; people who look at a capture do not.
fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Unknown")
}
