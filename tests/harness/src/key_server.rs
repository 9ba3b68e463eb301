//! A JWKS endpoint over real HTTP that a test makes healthy, slow, broken or absent at will.

use std::io;
use std::net::SocketAddr;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::answer::{Answer, Fault};
use crate::server::{Handler, LOOPBACK, ReceivedRequest, RequestLog, Server, unpoisoned};
use crate::tls::Identity;

/// A running key server. It answers every path alike and records what it was asked.
pub struct KeyServer {
    state: Arc<State>,
    server: Server,
}

impl KeyServer {
    /// Serves `document` on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub fn start(document: &Value) -> Self {
        Self::bind(LOOPBACK, document).unwrap_or_else(|error| panic!("key server: {error}"))
    }

    /// Serves `document` on `address`.
    ///
    /// # Errors
    ///
    /// The port is in use or not ours to take.
    pub fn bind(address: SocketAddr, document: &Value) -> io::Result<Self> {
        let state = Arc::new(State::new(document));
        let server = Server::bind(address, KeyHandler(Arc::clone(&state)))?;
        Ok(Self { state, server })
    }

    /// Serves `document` over TLS on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub fn start_tls(document: &Value, identity: &Identity) -> Self {
        Self::bind_tls(LOOPBACK, document, identity)
            .unwrap_or_else(|error| panic!("key server: {error}"))
    }

    /// Serves `document` over TLS on `address`.
    ///
    /// # Errors
    ///
    /// The port is in use or not ours to take.
    pub fn bind_tls(
        address: SocketAddr,
        document: &Value,
        identity: &Identity,
    ) -> io::Result<Self> {
        let state = Arc::new(State::new(document));
        let handler = KeyHandler(Arc::clone(&state));
        let server = Server::bind_tls(address, identity.clone(), handler)?;
        Ok(Self { state, server })
    }

    /// The bound address; it stays the same over [`stop`](Self::stop).
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Serves another document from now on.
    pub fn serve(&self, document: &Value) {
        self.answer_with(Answer::json(document));
    }

    /// Serves a document with `cache-control: max-age=…`.
    pub fn serve_for(&self, document: &Value, max_age: Duration) {
        let value = format!("max-age={}", max_age.as_secs());
        self.answer_with(Answer::json(document).header("cache-control", value));
    }

    /// Promises the document's length and closes after half of it.
    pub fn close_mid_body(&self, document: &Value) {
        self.answer_with(Answer::json(document).fault(Fault::CloseMidBody));
    }

    /// Serves the document behind so much white space that the body has `bytes` bytes.
    pub fn serve_padded(&self, document: &Value, bytes: usize) {
        let text = document.to_string();
        let padding = " ".repeat(bytes.saturating_sub(text.len()));
        self.answer_with(Answer::json(padding + &text));
    }

    /// Any other answer: a status, a redirect, HTML, a delay, silence. Requests that hang end.
    pub fn answer_with(&self, answer: Answer) {
        *unpoisoned(&self.state.answer) = Some(answer);
        self.state.changed.notify_all();
    }

    /// Answers nothing from now on; the next answer that is set is for all who asked meanwhile.
    pub fn hold_back(&self) {
        *unpoisoned(&self.state.answer) = None;
    }

    /// Refuses connections until [`start_again`](Self::start_again), and closes the open ones.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Listens again on the same port.
    ///
    /// # Panics
    ///
    /// When another process took the port meanwhile.
    pub fn start_again(&mut self) {
        self.server.start_again();
    }

    /// All requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.state.received.lock().clone()
    }

    /// The number of requests so far.
    pub fn count(&self) -> usize {
        self.state.received.lock().len()
    }

    /// Waits until `count` requests came in all; false when `timeout` passes first.
    pub fn wait_for_requests(&self, count: usize, timeout: Duration) -> bool {
        self.state.received.wait_for(count, timeout)
    }
}

/// Lets go of whoever is held back.
impl Drop for KeyServer {
    fn drop(&mut self) {
        self.answer_with(Answer::status(503));
    }
}

struct State {
    /// `None` holds back.
    answer: Mutex<Option<Answer>>,
    changed: Condvar,
    received: RequestLog,
}

impl State {
    fn new(document: &Value) -> Self {
        Self {
            answer: Mutex::new(Some(Answer::json(document))),
            changed: Condvar::new(),
            received: RequestLog::default(),
        }
    }
}

struct KeyHandler(Arc<State>);

impl Handler for KeyHandler {
    fn answer(&self, request: ReceivedRequest) -> Answer {
        self.0.received.push(request);
        let held_back = |answer: &mut Option<Answer>| answer.is_none();
        let answer = self.0.changed.wait_while(unpoisoned(&self.0.answer), held_back);
        let answer = answer.unwrap_or_else(PoisonError::into_inner).clone();
        answer.unwrap_or_else(|| Answer::status(503))
    }

    fn gave_up(&self) -> bool {
        let answer = unpoisoned(&self.0.answer);
        answer.as_ref().and_then(|answer| answer.fault) != Some(Fault::Hang)
    }
}
