//! The requests of a soak run: what the n-th one carries, and a tight loop that sends them.
//!
//! Several connections, each on a thread, take the next batch of numbers, write its requests at
//! once and read its answers. On two cores that keeps Envoy's one worker busy.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{COOKIE, ISSUER, LISTENER, Plan};
use crate::client::Request;
use crate::envoy::Envoy;
use crate::keys::SigningKey;
use crate::token::{Token, tampered, unix_now};

/// All tokens, and the rule by which they are sent.
pub(super) struct Load {
    tokens: Vec<String>,
    garbage: bool,
    /// Signed by nobody that the key server knows.
    stranger: SigningKey,
}

/// Why the load came to an end.
#[derive(Debug)]
pub enum LoadError {
    /// A connection was refused, reset, closed, or silent for too long.
    Connection(io::Error),
    /// The peer's bytes are no HTTP response with a `content-length`.
    NotHttp(String),
    /// A request's number, the status that its token deserves, and the one that came.
    WrongStatus(u64, u16, u16),
    /// The status that an unknown `kid` got, or why it got none.
    Stranger(String),
    /// The time for all requests was over at this one.
    TooSlow(u64),
}

impl Load {
    /// Signs all tokens, on all cores.
    pub(super) fn new(plan: &Plan, key: &SigningKey) -> Self {
        let threads = thread::available_parallelism().map_or(1, |cores| cores.get());
        let share = plan.tokens.div_ceil(threads).max(1);
        let numbers: Vec<usize> = (0..plan.tokens).collect();
        let tokens = thread::scope(|scope| {
            let signers: Vec<_> = numbers
                .chunks(share)
                .map(|numbers| {
                    let sign = |number: &usize| token(*number as u64).signed_by(key);
                    scope.spawn(move || numbers.iter().map(sign).collect::<Vec<_>>())
                })
                .collect();
            let join = |signer: thread::ScopedJoinHandle<'_, Vec<String>>| {
                signer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            signers.into_iter().flat_map(join).collect()
        });
        Self { tokens, garbage: plan.garbage, stranger: key.with_kid("stranger") }
    }

    /// Sends the requests of these numbers, and says how many unknown `kid`s came beside them.
    pub(super) fn send(&self, envoy: &Envoy, numbers: Range<u64>) -> Result<u64, LoadError> {
        let address = envoy.listener(LISTENER).ok_or_else(|| {
            LoadError::Connection(io::Error::other("Envoy has no listener for the load"))
        })?;
        let next = AtomicU64::new(numbers.start);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let strangers = scope.spawn(|| match self.garbage {
                true => self.send_strangers(envoy, numbers.start, &over),
                false => Ok(0),
            });
            let drivers: Vec<_> = (0..CONNECTIONS)
                .map(|_| scope.spawn(|| self.drive(address, &next, numbers.end)))
                .collect();
            let join = |driver: thread::ScopedJoinHandle<'_, Result<(), LoadError>>| {
                driver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            let results: Vec<_> = drivers.into_iter().map(join).collect();
            over.store(true, Ordering::SeqCst);
            let strangers =
                strangers.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            results.into_iter().collect::<Result<(), _>>()?;
            strangers
        })
    }

    /// How many of the first `requests` carry a forged signature.
    pub(super) fn count_forged(&self, requests: u64) -> u64 {
        if self.garbage { requests / FORGED_EVERY } else { 0 }
    }

    fn drive(&self, address: SocketAddr, next: &AtomicU64, end: u64) -> Result<(), LoadError> {
        let mut connection = Connection::open(address).map_err(LoadError::Connection)?;
        let deadline = Instant::now() + TIME_LIMIT;
        let mut requests = Vec::new();
        loop {
            let first = next.fetch_add(PIPELINED, Ordering::Relaxed);
            if first >= end {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(LoadError::TooSlow(first));
            }
            let batch = first..end.min(first + PIPELINED);
            requests.clear();
            for number in batch.clone() {
                self.write_request(number, &mut requests);
            }
            connection.stream.write_all(&requests).map_err(LoadError::Connection)?;
            for number in batch {
                let expected = if self.is_forged(number) { 401 } else { 200 };
                let status = connection.read_status()?;
                if status != expected {
                    // The others need not go on.
                    next.store(end, Ordering::Relaxed);
                    return Err(LoadError::WrongStatus(number, expected, status));
                }
            }
        }
    }

    fn write_request(&self, number: u64, into: &mut Vec<u8>) {
        let token = self.token_of(number);
        into.extend_from_slice(b"GET /soak HTTP/1.1\r\nhost: soak.example\r\ncookie: a=b; ");
        into.extend_from_slice(COOKIE.as_bytes());
        into.push(b'=');
        match self.is_forged(number) {
            true => into.extend_from_slice(tampered(token).as_bytes()),
            false => into.extend_from_slice(token.as_bytes()),
        }
        into.extend_from_slice(b"\r\n\r\n");
    }

    fn is_forged(&self, number: u64) -> bool {
        self.garbage && number % FORGED_EVERY == FORGED_EVERY - 1
    }

    /// Rules 1 and 2 of the module; a forgery takes any token, so that few repeat.
    fn token_of(&self, number: u64) -> &str {
        let all = self.tokens.len() as u64;
        let place = if self.is_forged(number) {
            mixed(number) % all
        } else if number.is_multiple_of(2) {
            number / 2 % all
        } else {
            mixed(number) % (all / HOT_SHARE).max(1)
        };
        &self.tokens[place as usize]
    }

    /// One after the other on connections of their own: each may have to wait for a fetch.
    fn send_strangers(
        &self,
        envoy: &Envoy,
        first: u64,
        over: &AtomicBool,
    ) -> Result<u64, LoadError> {
        let client = envoy.client(LISTENER);
        let mut sent = 0;
        while !over.load(Ordering::SeqCst) {
            let key = self.stranger.with_kid(&format!("stranger-{first}-{sent}"));
            let token = token(sent).signed_by(&key);
            let request = Request::get("/soak").header("cookie", format!("{COOKIE}={token}"));
            match client.send(request).response {
                Ok(response) if [401, 503].contains(&response.status) => sent += 1,
                Ok(response) => return Err(LoadError::Stranger(response.status.to_string())),
                Err(error) => return Err(LoadError::Stranger(error.to_string())),
            }
        }
        Ok(sent)
    }
}

/// A keep-alive connection and the bytes that came beyond the last response.
struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    read_to: usize,
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_LIMIT))?;
        stream.set_write_timeout(Some(SILENCE_LIMIT))?;
        Ok(Self { stream, received: Vec::new(), read_to: 0 })
    }

    /// Reads one whole response.
    fn read_status(&mut self) -> Result<u16, LoadError> {
        loop {
            let ahead = &self.received[self.read_to..];
            if let Some((status, length)) = parse(ahead)?
                && ahead.len() >= length
            {
                self.read_to += length;
                return Ok(status);
            }
            self.received.drain(..self.read_to);
            self.read_to = 0;
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk).map_err(LoadError::Connection)? {
                0 => return Err(LoadError::Connection(io::ErrorKind::UnexpectedEof.into())),
                read => self.received.extend_from_slice(&chunk[..read]),
            }
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => write!(f, "a connection to Envoy: {error}"),
            Self::NotHttp(what) => write!(f, "Envoy answered nonsense: {what}"),
            Self::WrongStatus(number, expected, status) => {
                write!(f, "request {number} got {status} instead of {expected}")
            }
            Self::Stranger(what) => write!(f, "an unknown kid got {what} instead of 401 or 503"),
            Self::TooSlow(number) => write!(f, "after {TIME_LIMIT:?} only {number} requests"),
        }
    }
}

impl std::error::Error for LoadError {}

/// The status of the response at the front and its whole length; `None` while its head is cut.
fn parse(bytes: &[u8]) -> Result<Option<(u16, usize)>, LoadError> {
    let mut slots = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut slots);
    let not_http = |what: &dyn fmt::Display| LoadError::NotHttp(what.to_string());
    let head = match response.parse(bytes).map_err(|error| not_http(&error))? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok())
        .ok_or_else(|| not_http(&"no content-length"))?;
    Ok(Some((response.code.unwrap_or_default(), head + length)))
}

/// A session that outlives the run. Most have 300 to 1,300 bytes of claims, one in 64 up to 5,300:
/// 7,100 as a token, which is less than `max_token_bytes`.
fn token(number: u64) -> Token {
    let random = mixed(number);
    let stretch = if random.is_multiple_of(64) { 5 } else { 1 };
    let filling = 150 + random / 64 % 1_000 * stretch;
    let now = unix_now();
    Token::new(json!({
        "iss": ISSUER,
        "sub": format!("usr-{number}"),
        "iat": now,
        "exp": now + 24 * 3_600,
        "name": format!("Ada Example {number}"),
        "filling": "x".repeat(filling as usize),
    }))
}

/// Numbers without a pattern, the same in every run (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

const CONNECTIONS: usize = 16;
/// Envoy closes an HTTP/1.1 connection for which it has more answers of its own in its queue.
const PIPELINED: u64 = 2;
const FORGED_EVERY: u64 = 10;
/// One token in so many is asked for again and again.
const HOT_SHARE: u64 = 20;
/// A connection that is silent for so long is dead.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// A run ends by itself, whatever happens.
const TIME_LIMIT: Duration = Duration::from_secs(15 * 60);
