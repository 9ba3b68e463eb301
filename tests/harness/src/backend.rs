//! A backend that keeps every request byte for byte and answers with what it saw.
//!
//! The default answer is 200 with a JSON description of the request, so that a page (the demo)
//! or a person with curl sees what arrived. Tests look at [`Backend::requests`] instead, where
//! nothing is escaped or joined. A request with `Upgrade` is answered 101, and every byte after
//! that comes back.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::answer::{Answer, Fault};
use crate::header_lines::HeaderLines;
use crate::http2::Http2Server;
use crate::server::{Handler, LOOPBACK, Protocol, ReceivedRequest, RequestLog, Server, unpoisoned};

/// A running backend. Dropping it closes its port.
pub struct Backend {
    name: String,
    address: SocketAddr,
    received: RequestLog,
    answer: Arc<Mutex<Option<Answer>>>,
    _server: AnyServer,
}

impl Backend {
    /// Speaks HTTP/1.1 on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub fn start(name: &str) -> Self {
        Self::bind(name, LOOPBACK, Protocol::Http1)
            .unwrap_or_else(|error| panic!("backend {name}: {error}"))
    }

    /// Speaks HTTP/2 without TLS on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub fn start_http2(name: &str) -> Self {
        Self::bind(name, LOOPBACK, Protocol::Http2)
            .unwrap_or_else(|error| panic!("backend {name}: {error}"))
    }

    /// Listens on `address`.
    ///
    /// # Errors
    ///
    /// The port is in use or not ours to take.
    pub fn bind(name: &str, address: SocketAddr, protocol: Protocol) -> io::Result<Self> {
        let received = RequestLog::default();
        let answer = Arc::new(Mutex::new(None));
        let handler = Recorder {
            name: name.to_owned(),
            received: received.clone(),
            answer: Arc::clone(&answer),
        };
        let server = match protocol {
            Protocol::Http1 => AnyServer::Http1(Server::bind(address, handler)?),
            Protocol::Http2 => AnyServer::Http2(Http2Server::bind(address, handler)?),
        };
        let address = match &server {
            AnyServer::Http1(server) => server.address(),
            AnyServer::Http2(server) => server.address(),
        };
        Ok(Self { name: name.to_owned(), address, received, answer, _server: server })
    }

    /// The name that its answers carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests since the start or the last [`clear`](Self::clear), in order of arrival. A
    /// request is in the list before its answer is sent.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.received.lock().clone()
    }

    /// The first request in the list for which `holds`.
    pub fn find(&self, holds: impl Fn(&ReceivedRequest) -> bool) -> Option<ReceivedRequest> {
        self.received.lock().iter().find(|request| holds(request)).cloned()
    }

    /// Removes and returns the latest request.
    pub fn take_last(&self) -> Option<ReceivedRequest> {
        self.received.lock().pop()
    }

    /// The number of requests in the list.
    pub fn count(&self) -> usize {
        self.received.lock().len()
    }

    /// Waits until the list has `count` requests; false when `timeout` passes first.
    pub fn wait_for_requests(&self, count: usize, timeout: Duration) -> bool {
        self.received.wait_for(count, timeout)
    }

    /// Empties the list.
    pub fn clear(&self) {
        self.received.lock().clear();
    }

    /// Answers every request like this from now on. Requests that hang end.
    pub fn answer_with(&self, answer: Answer) {
        *unpoisoned(&self.answer) = Some(answer);
    }

    /// Answers with the description of the request again.
    pub fn answer_with_description(&self) {
        *unpoisoned(&self.answer) = None;
    }
}

/// What a backend's answer says about a request. Bytes outside printable ASCII are `\xNN`.
pub fn describe(backend: &str, request: &ReceivedRequest) -> Value {
    json!({
        "backend": backend,
        "method": request.method,
        "path": request.path,
        "headers": describe_lines(&request.headers),
        "trailers": describe_lines(&request.trailers),
        "body": request.body.escape_ascii().to_string(),
    })
}

/// Held for its `Drop`.
enum AnyServer {
    Http1(Server),
    Http2(Http2Server),
}

struct Recorder {
    name: String,
    received: RequestLog,
    answer: Arc<Mutex<Option<Answer>>>,
}

impl Handler for Recorder {
    fn answer(&self, request: ReceivedRequest) -> Answer {
        let set = unpoisoned(&self.answer).clone();
        let answer = set.unwrap_or_else(|| match request.headers.text("upgrade") {
            Some(protocol) => {
                Answer::status(101).header("connection", "upgrade").header("upgrade", protocol)
            }
            None => Answer::json(describe(&self.name, &request)),
        });
        self.received.push(request);
        answer
    }

    fn gave_up(&self) -> bool {
        unpoisoned(&self.answer).as_ref().and_then(|answer| answer.fault) != Some(Fault::Hang)
    }
}

fn describe_lines(lines: &HeaderLines) -> Value {
    lines
        .iter()
        .map(|line| {
            json!([line.name.escape_ascii().to_string(), line.value.escape_ascii().to_string()])
        })
        .collect()
}
