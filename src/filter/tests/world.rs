//! A filter with a clock, a key server and clients, all of them the test's.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config;
use crate::denial::Denial;
use crate::edits::HeaderEdit;
use crate::filter::waiting::StreamId;
use crate::filter::{Filter, Verdict};
use crate::jwks::fetch::{FetchError, FetchId, FetchRequest, FetchResponse};
use crate::jwt::algorithm::Algorithm;
use crate::jwt::key::VerifyingKey;
use crate::jwt::signature::{BadSignature, PortableVerifier, SignatureVerifier};
use crate::jwt::test_keys::{numbered_jwk, numbered_token};
use crate::request::RequestHead;
use crate::stats::Change;
use crate::time::UnixTime;

/// Seconds since the epoch at which every story begins.
pub(super) const START: u64 = 1_700_000_000;

/// A configuration with one provider, `main`, whose keys are fetched.
pub(super) fn one_provider(rules: Value) -> Value {
    json!({ "providers": [provider("main", json!({}))], "rules": rules })
}

/// A provider whose issuer and cookie are called like itself.
pub(super) fn provider(name: &str, members: Value) -> Value {
    let mut provider = json!({
        "name": name,
        "issuers": [format!("https://{name}.example")],
        "algorithms": ["EdDSA"],
        "clock_skew": "0s",
        "sources": [
            { "header": { "name": "authorization", "scheme": "Bearer" } },
            { "cookie": { "name": name } },
        ],
        "jwks": { "remote": {
            "uri": format!("https://{name}.example/jwks"), "cluster": name,
            "timeout": "5s", "refresh": "10m", "stale_if_error": "1h",
        } },
        "claim_headers": [{ "header": "x-user-id", "claim": "sub" }],
    });
    for (member, value) in members.as_object().unwrap() {
        provider[member] = value.clone();
    }
    provider
}

/// A token of `main` that is good for five minutes, signed by a numbered key.
pub(super) fn token(key: u8, key_id: &str) -> String {
    token_with(key, json!({ "kid": key_id }), json!({}))
}

/// Such a token with other members in its header and its payload.
pub(super) fn token_with(key: u8, header: Value, payload: Value) -> String {
    let mut whole = [
        json!({ "alg": "EdDSA", "typ": "JWT" }),
        json!({ "iss": "https://main.example", "sub": "u-1", "iat": START, "exp": START + 300 }),
    ];
    for (own, members) in whole.iter_mut().zip([header, payload]) {
        for (name, value) in members.as_object().unwrap() {
            own[name] = value.clone();
        }
    }
    let [header, payload] = whole;
    numbered_token(key, &header, &payload)
}

/// A key set document.
pub(super) fn key_set(keys: &[(u8, &str)]) -> String {
    let keys: Vec<_> = keys.iter().map(|(number, id)| numbered_jwk(*number, id)).collect();
    json!({ "keys": keys }).to_string()
}

/// A request that a client sends.
#[derive(Clone, Debug)]
pub(super) struct Request {
    headers: Vec<(String, Vec<u8>)>,
    has_body: bool,
}

impl Request {
    pub(super) fn new(method: &str, path: &str) -> Self {
        let line = [(":method", method), (":path", path), (":authority", "api.example.com")];
        let headers = line.map(|(name, value)| (name.into(), value.into()));
        Self { headers: headers.into(), has_body: false }
    }

    pub(super) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(super) fn on(mut self, authority: &str) -> Self {
        self.headers.retain(|(name, _)| name != ":authority");
        self.with(":authority", authority)
    }

    pub(super) fn with_body(self) -> Self {
        Self { has_body: true, ..self }
    }

    pub(super) fn bearer(self, token: &str) -> Self {
        self.with("authorization", format!("Bearer {token}"))
    }

    fn head(&self) -> RequestHead<'_> {
        let pairs = self.headers.iter().map(|(name, value)| (name.as_bytes(), &**value));
        RequestHead::new(pairs.collect(), self.has_body)
    }
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A backend gets these headers, pseudo headers left out.
    Continue(Vec<(String, Vec<u8>)>),
    Deny(Denial),
    Wait,
}

impl Outcome {
    /// `continue`, `wait`, or the reason of the denial.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Continue(_) => "continue",
            Self::Deny(denial) => denial.reason.word(),
            Self::Wait => "wait",
        }
    }

    /// What a backend gets, line by line.
    pub(super) fn lines(&self) -> Vec<String> {
        let Self::Continue(headers) = self else { panic!("{self:?}") };
        let line = |(name, value): &(String, Vec<u8>)| format!("{name}: {}", value.escape_ascii());
        headers.iter().map(line).collect()
    }

    pub(super) fn denial(&self) -> &Denial {
        let Self::Deny(denial) = self else { panic!("{self:?}") };
        denial
    }
}

/// Counts what it verifies.
#[derive(Debug, Default)]
pub(super) struct CountingVerifier(pub(super) Cell<usize>);

impl SignatureVerifier for CountingVerifier {
    fn verify(
        &self,
        algorithm: Algorithm,
        key: &VerifyingKey,
        signing_input: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        self.0.set(self.0.get() + 1);
        PortableVerifier.verify(algorithm, key, signing_input, signature)
    }

    fn is_portable(&self, _: Algorithm) -> bool {
        true
    }
}

/// Plays the adapter's part, a call for a call.
#[derive(Debug)]
pub(super) struct World {
    pub(super) filter: Filter,
    pub(super) now: UnixTime,
    pub(super) verifications: CountingVerifier,
    /// Fetches that were sent and not yet answered.
    pub(super) flights: Vec<FetchRequest>,
    paused: BTreeMap<StreamId, Request>,
    /// Since when a stream was paused for the first time.
    paused_since: BTreeMap<StreamId, UnixTime>,
    last_stream: u32,
    metrics: BTreeMap<String, i64>,
}

impl World {
    pub(super) fn new(configuration: &Value) -> Self {
        let loaded = config::load(configuration.to_string().as_bytes()).unwrap();
        Self {
            filter: Filter::new(loaded.policy, 7),
            now: UnixTime::from_secs(START),
            verifications: CountingVerifier::default(),
            flights: Vec::new(),
            paused: BTreeMap::new(),
            paused_since: BTreeMap::new(),
            last_stream: 0,
            metrics: BTreeMap::new(),
        }
    }

    /// A world whose providers have had their first fetch answered by these keys.
    pub(super) fn with_keys(configuration: &Value, keys: &[(u8, &str)]) -> Self {
        let mut world = Self::new(configuration);
        world.tick();
        while !world.flights.is_empty() {
            world.serve_jwks(&key_set(keys));
        }
        world
    }

    /// A new stream asks.
    pub(super) fn request(&mut self, request: Request) -> Outcome {
        self.last_stream = self.last_stream.wrapping_add(1);
        self.decide(StreamId(self.last_stream), request)
    }

    fn decide(&mut self, stream: StreamId, request: Request) -> Outcome {
        let head = request.head();
        match self.filter.on_request(&self.now, stream, &head, &self.verifications) {
            Verdict::Deny(denial) => Outcome::Deny(denial),
            Verdict::Wait => {
                assert!(self.paused.insert(stream, request).is_none());
                self.paused_since.entry(stream).or_insert(self.now);
                Outcome::Wait
            }
            Verdict::Continue(edits) => {
                let mut headers = request.headers.clone();
                headers.retain(|(name, _)| !name.starts_with(':'));
                edits.for_each(|edit| {
                    let (name, value) = match edit {
                        HeaderEdit::Remove(name) | HeaderEdit::Set(name, _) => {
                            headers.retain(|(other, _)| other.as_bytes() != name);
                            (name, None)
                        }
                        HeaderEdit::Add(name, value) => (name, Some(value)),
                    };
                    let value = match edit {
                        HeaderEdit::Set(_, value) => Some(value),
                        HeaderEdit::Remove(_) | HeaderEdit::Add(..) => value,
                    };
                    if let Some(value) = value {
                        let name = String::from_utf8(name.into()).unwrap();
                        headers.push((name, value.into()));
                    }
                });
                Outcome::Continue(headers)
            }
        }
    }

    /// The stream that asked last.
    pub(super) fn last_stream(&self) -> StreamId {
        StreamId(self.last_stream)
    }

    /// The next stream gets this number.
    pub(super) fn number_streams_from(&mut self, number: u32) {
        self.last_stream = number.wrapping_sub(1);
    }

    /// The `set-cookie` lines of a response once it has passed.
    pub(super) fn respond(&mut self, stream: StreamId, lines: &[&str]) -> Vec<String> {
        let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        let mut left: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
        self.filter.on_response(stream, &lines).for_each(|edit| match edit {
            HeaderEdit::Remove(name) => {
                assert!(name == b"set-cookie" && !left.is_empty());
                left.clear();
            }
            HeaderEdit::Add(name, line) => {
                assert_eq!(name, b"set-cookie");
                left.push(line.into());
            }
            HeaderEdit::Set(..) => panic!("collapses all lines"),
        });
        left.iter().map(|line| line.escape_ascii().to_string()).collect()
    }

    /// What became of the streams that were woken, in their order.
    pub(super) fn resumed(&mut self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while let Some(stream) = self.filter.poll_ready() {
            outcomes.push(self.resume(stream));
        }
        outcomes
    }

    /// What became of a stream that was woken.
    pub(super) fn resume(&mut self, stream: StreamId) -> Outcome {
        let request = self.paused.remove(&stream).unwrap();
        self.decide(stream, request)
    }

    /// The words of what became of the only stream that was woken.
    pub(super) fn resumed_word(&mut self) -> &'static str {
        let outcomes = self.resumed();
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        outcomes[0].word()
    }

    /// A client whose request was paused hangs up.
    pub(super) fn hang_up(&mut self) {
        let (stream, _) = self.paused.pop_first().unwrap();
        self.filter.on_stream_done(stream);
    }

    /// How long the oldest paused stream has been so.
    pub(super) fn oldest_pause(&self) -> Duration {
        let oldest = self.paused.keys().map(|stream| self.paused_since[stream]).min();
        oldest.map_or(Duration::ZERO, |since| self.now.since(since))
    }

    pub(super) fn paused(&self) -> usize {
        self.paused.len()
    }

    /// The host's tick: what is due is sent.
    pub(super) fn tick(&mut self) {
        self.filter.on_tick(self.now);
        while let Some(fetch) = self.filter.poll_fetch(self.now) {
            self.flights.push(fetch);
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    /// Time passes second by second, with a tick in each.
    pub(super) fn tick_for(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.pass(Duration::from_secs(1));
            self.tick();
        }
    }

    /// Time passes until a fetch is sent; says how many seconds.
    pub(super) fn tick_until_fetch(&mut self) -> u64 {
        let mut seconds = 0;
        while self.flights.is_empty() {
            self.tick_for(1);
            seconds += 1;
        }
        seconds
    }

    /// The oldest fetch is answered.
    pub(super) fn serve_jwks(&mut self, document: &str) {
        let body = document.as_bytes();
        self.serve(Ok(FetchResponse { status: 200, cache_control: None, body }));
    }

    pub(super) fn serve_error(&mut self, status: u16) {
        self.serve(Ok(FetchResponse { status, cache_control: None, body: b"" }));
    }

    pub(super) fn serve(&mut self, result: Result<FetchResponse<'_>, FetchError>) -> FetchId {
        self.pass(Duration::from_millis(1));
        let FetchRequest { id, .. } = self.flights.remove(0);
        self.filter.on_fetch_done(self.now, id, result);
        id
    }

    /// Lines of the log since the last call.
    pub(super) fn log(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.filter.poll_log()).map(|line| line.text).collect()
    }

    /// A metric's value; the prefix that all have is left out.
    pub(super) fn metric(&mut self, name: &str) -> i64 {
        let definitions = self.filter.stats().definitions().to_vec();
        for (place, change) in self.filter.stats().take() {
            let value = self.metrics.entry(definitions[place].name.clone()).or_default();
            match change {
                Change::None => {}
                Change::Add(amount) => *value += amount,
                Change::Set(other) => *value = i64::try_from(other).unwrap(),
            }
        }
        let name = format!("session_token.{name}");
        assert!(definitions.iter().any(|metric| metric.name == name), "{name}");
        self.metrics.get(&name).copied().unwrap_or_default()
    }
}
