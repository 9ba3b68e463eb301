//! Many sessions for a long time: does Envoy's memory stay where it was?
//!
//! One real Envoy with one worker and the finished module gets far more distinct tokens than its
//! cache has room for, over pipelined keep-alive connections, and is weighed on the way. The
//! traffic is meant to be bad for memory, and is the same in every run:
//! 1. Every other request brings the next of all tokens in turn, so that nearly each of them is
//!    verified, cached and pushed out again.
//! 2. The others bring one of a twentieth of the tokens, which the cache should hold on to.
//! 3. Tokens have unequal sizes, as sessions have, so that no freed place fits exactly.
//! 4. With `garbage`, one request in ten carries a forged signature, and beside all this somebody
//!    sends one unknown `kid` after the other, for which streams wait and keys are fetched.
//!
//! Envoy answers by itself (`direct_response`): a backend would only add its own noise. Each
//! answer is held against what its token deserves, and the filter's counters against the number
//! of requests: a run in which the filter did something else weighs nothing.

mod load;

use std::fmt;
use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bootstrap::{Bootstrap, Cluster, Listener, Route, WasmFilter};
use crate::envoy::{BinaryError, Envoy, EnvoyBinary, EnvoyError, EnvoyOptions};
use crate::key_server::KeyServer;
use crate::keys::{Algorithm, SigningKey, jwks};
use crate::soak::load::{Load, LoadError};

/// How much of everything.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Distinct tokens, all of them valid.
    pub tokens: usize,
    /// Envoy is weighed for the first time after this many requests.
    pub warm_up: u64,
    /// All requests, those of the warm-up included.
    pub requests: u64,
    /// Whether forged tokens and unknown `kid`s are in between.
    pub garbage: bool,
    /// The configuration's `cache`; `None` leaves the default.
    pub cache: Option<Value>,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// Envoy's memory before the first request.
    pub at_start: Bytes,
    /// Envoy's memory after the warm-up.
    pub after_warm_up: Bytes,
    /// Envoy's memory at the end.
    pub at_end: Bytes,
    /// Requests after the warm-up, by second.
    pub requests_per_second: f64,
    /// What the filter counted.
    pub counters: Counters,
    /// Requests with unknown `kid`s, all of them refused, beside the plan's requests.
    pub strangers: u64,
    /// From the first request to the last.
    pub took: Duration,
    plan: Plan,
}

/// The filter's own counters at the end.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// Tokens that were found in the cache.
    pub hits: u64,
    /// Tokens that were not.
    pub misses: u64,
    /// Tokens that had to leave the cache for want of room.
    pub evicted: u64,
    /// Requests with a verified token.
    pub allowed: u64,
    /// Forged signatures that were refused.
    pub forged: u64,
}

/// Resident memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bytes(pub u64);

/// Why there is no report.
#[derive(Debug)]
pub enum SoakError {
    /// There is no Envoy to run.
    Binary(BinaryError),
    /// Envoy does not run, or died.
    Envoy(EnvoyError),
    /// A connection failed or a request was answered wrongly: the reason and Envoy's last words.
    Load(LoadError, String),
    /// The filter counted something else than was sent: the counter, its value, and the right one.
    Miscounted(&'static str, u64, u64),
    /// The system does not tell how much memory Envoy has.
    NoMemoryFigure(io::Error),
}

/// The documented bound: what a million requests may add to a hundred thousand.
pub const MAX_GROWTH: Bytes = Bytes(8 * 1024 * 1024);

impl Default for Plan {
    /// A million requests with 100,000 tokens, weighed after the first 100,000; the default cache.
    fn default() -> Self {
        Self { tokens: 100_000, warm_up: 100_000, requests: 1_000_000, garbage: true, cache: None }
    }
}

/// Makes the tokens, starts Envoy, sends everything and weighs.
///
/// # Errors
///
/// Envoy does not run, or the filter does anything but what the plan's requests deserve.
pub fn run(plan: &Plan, mut note: impl FnMut(&str)) -> Result<Report, SoakError> {
    let binary = EnvoyBinary::newest().map_err(SoakError::Binary)?;
    let key = SigningKey::new(Algorithm::ES256, "k1");
    let begin = Instant::now();
    let load = Load::new(plan, &key);
    note(&format!("{} tokens made in {:.1?}", plan.tokens, begin.elapsed()));

    let key_server = KeyServer::start(&jwks(&[&key]));
    let bootstrap = Bootstrap::new()
        .cluster(Cluster::new("keys", key_server.address()))
        .listener(listener(plan));
    let envoy = Envoy::start(EnvoyOptions::new(binary, bootstrap)).map_err(SoakError::Envoy)?;
    let failed = |error| SoakError::Load(error, envoy.log_tail());
    let at_start = resident(&envoy)?;

    let begin = Instant::now();
    let strangers = load.send(&envoy, 0..plan.warm_up).map_err(failed)?;
    let _ = counters(&envoy, plan.warm_up)?;
    let after_warm_up = resident(&envoy)?;
    note(&format!("after {} requests: {after_warm_up}", plan.warm_up));

    let middle = Instant::now();
    let strangers = strangers + load.send(&envoy, plan.warm_up..plan.requests).map_err(failed)?;
    let (took, took_since) = (begin.elapsed(), middle.elapsed());
    let counters = counters(&envoy, plan.requests)?;
    let at_end = resident(&envoy)?;

    let report = Report {
        at_start,
        after_warm_up,
        at_end,
        requests_per_second: (plan.requests - plan.warm_up) as f64 / took_since.as_secs_f64(),
        counters,
        strangers,
        took,
        plan: plan.clone(),
    };
    report.counters.check(plan.requests, load.count_forged(plan.requests))?;
    Ok(report)
}

impl Report {
    /// What the requests after the warm-up added; negative when memory was given back.
    pub fn growth(&self) -> i64 {
        self.at_end.0 as i64 - self.after_warm_up.0 as i64
    }

    /// Whether the growth is within the documented bound.
    pub fn is_bounded(&self) -> bool {
        self.growth() <= MAX_GROWTH.0 as i64
    }
}

impl Counters {
    fn read(envoy: &Envoy) -> Result<Self, EnvoyError> {
        let stats = envoy.stats()?;
        let stat = |name: &str| {
            stats.get(&format!("wasmcustom.session_token.{name}")).copied().unwrap_or_default()
        };
        Ok(Self {
            hits: stat("token_cache_hit"),
            misses: stat("token_cache_miss"),
            evicted: stat("token_cache_evicted"),
            allowed: stat("allowed"),
            forged: stat("denied.bad_signature"),
        })
    }

    fn check(&self, requests: u64, forged: u64) -> Result<(), SoakError> {
        for (name, counted, sent) in [
            ("allowed", self.allowed, requests - forged),
            ("denied.bad_signature", self.forged, forged),
            ("token_cache_hit and token_cache_miss", self.hits + self.misses, requests),
        ] {
            if counted != sent {
                return Err(SoakError::Miscounted(name, counted, sent));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { tokens, warm_up, requests, .. } = &self.plan;
        let line = |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn fmt::Display| {
            writeln!(f, "  {name:<34} {value:>14}")
        };
        writeln!(f, "{requests} requests with {tokens} distinct tokens, one worker:")?;
        line(f, "RSS before the first request", &self.at_start.to_string())?;
        line(f, &format!("RSS after {warm_up} requests"), &self.after_warm_up.to_string())?;
        line(f, &format!("RSS after {requests} requests"), &self.at_end.to_string())?;
        line(f, "difference", &format!("{:+.1} MiB", mebibytes(self.growth())))?;
        line(f, "bound", &MAX_GROWTH.to_string())?;
        line(f, "requests a second", &format!("{:.0}", self.requests_per_second))?;
        line(f, "seconds", &format!("{:.0}", self.took.as_secs_f64()))?;
        line(f, "found in the cache", &self.counters.hits)?;
        line(f, "not found in the cache", &self.counters.misses)?;
        line(f, "pushed out of the cache", &self.counters.evicted)?;
        line(f, "forged signatures refused", &self.counters.forged)?;
        write!(f, "  {:<34} {:>14}", "unknown kids refused, beside", self.strangers)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB", mebibytes(self.0 as i64))
    }
}

impl fmt::Display for SoakError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binary(error) => write!(f, "{error}"),
            Self::Envoy(error) => write!(f, "{error}"),
            Self::Load(error, log) => write!(f, "{error}. {log}"),
            Self::Miscounted(name, counted, sent) => {
                write!(f, "{name} is {counted}, but {sent} such requests were sent")
            }
            Self::NoMemoryFigure(error) => write!(f, "Envoy's resident memory: {error}"),
        }
    }
}

impl std::error::Error for SoakError {}

/// A generic provider: the presets' RS256 tokens take a minute to make.
fn listener(plan: &Plan) -> Listener {
    let mut configuration = json!({
        "providers": [{
            "name": "soak",
            "issuers": [ISSUER],
            "algorithms": ["ES256"],
            "sources": [{ "cookie": { "name": COOKIE } }],
            "jwks": { "remote": { "cluster": "keys", "uri": "http://keys.example/jwks.json" } },
            "claim_headers": [
                { "header": "x-user-id", "claim": "sub" },
                { "header": "x-user-name", "claim": "name" },
            ],
        }],
    });
    if let Some(cache) = &plan.cache {
        configuration["cache"] = cache.clone();
    }
    Listener::new(LISTENER)
        .filter(WasmFilter::new().configuration(configuration))
        .route(Route::prefix("/").direct(200, "ok"))
        // A million lines would be a test of the disk.
        .manager_with(json!({ "access_log": Value::Array(Vec::new()) }))
}

/// The filter hands its counters over once a second: waits until `requests` are among them.
fn counters(envoy: &Envoy, requests: u64) -> Result<Counters, SoakError> {
    let all = |counters: &Counters| counters.hits + counters.misses >= requests;
    let read = |envoy: &Envoy| Counters::read(envoy).map(|found| Some(found).filter(all));
    envoy.wait_for("the filter's counters", COUNTERS_WAIT, read).map_err(SoakError::Envoy)
}

/// Linux says it in `/proc`, other systems through `ps`; both in KiB.
fn resident(envoy: &Envoy) -> Result<Bytes, SoakError> {
    envoy.check_alive().map_err(SoakError::Envoy)?;
    let pid = envoy.pid();
    let kibibytes = match std::fs::read_to_string(format!("/proc/{pid}/status")) {
        Ok(status) => status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|value| value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()),
        Err(_) => {
            let output = Command::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).output();
            let output = output.map_err(SoakError::NoMemoryFigure)?;
            String::from_utf8_lossy(&output.stdout).trim().parse().ok()
        }
    };
    let missing = || SoakError::NoMemoryFigure(io::Error::other("neither /proc nor ps has it"));
    Ok(Bytes(kibibytes.ok_or_else(missing)? * 1024))
}

fn mebibytes(bytes: i64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

const ISSUER: &str = "https://id.soak.example";
const COOKIE: &str = "soak_session";
const LISTENER: &str = "soak";

const COUNTERS_WAIT: Duration = Duration::from_secs(10);
