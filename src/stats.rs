//! What the filter counts, as plain integers: an increment in the host costs 1,000 instructions, so
//! the adapter flushes on the tick.
//!
//! The list is closed and known at load, so that a request never makes a name.

use crate::policy::Policy;
use crate::provider::ProviderId;
use crate::reason::Reason;

/// All counters and gauges of one configuration.
#[derive(Debug)]
pub struct Stats {
    definitions: Vec<MetricDefinition>,
    changes: Vec<Change>,
}

impl Stats {
    /// Everything at zero.
    pub fn new(policy: &Policy) -> Self {
        let definitions: Vec<_> = COUNTERS
            .iter()
            .map(|(_, name)| counter(format!("session_token.{name}")))
            .chain(Reason::ALL.iter().map(|r| counter(format!("session_token.denied.{r}"))))
            .chain([gauge("session_token.waiting_streams".into())])
            .chain([gauge("session_token.portable_crypto".into())])
            .chain(policy.providers.iter().flat_map(|provider| {
                let name = &provider.name;
                [
                    counter(format!("session_token.jwks_fetch_ok.{name}")),
                    counter(format!("session_token.jwks_fetch_error.{name}")),
                    gauge(format!("session_token.jwks_keys.{name}")),
                    gauge(format!("session_token.jwks_age_seconds.{name}")),
                ]
            }))
            .collect();
        let changes = vec![Change::None; definitions.len()];
        Self { definitions, changes }
    }

    /// Names and kinds, in the order in which `take` tells changes.
    pub fn definitions(&self) -> &[MetricDefinition] {
        &self.definitions
    }

    /// Counts one.
    pub fn count(&mut self, counter: Counter) {
        let place = COUNTERS.iter().position(|(other, _)| *other == counter);
        self.add(place.unwrap_or_default(), 1);
    }

    /// Counts one refusal.
    pub fn count_denied(&mut self, reason: Reason) {
        let place = Reason::ALL.iter().position(|other| *other == reason);
        self.add(COUNTERS.len().saturating_add(place.unwrap_or_default()), 1);
    }

    /// One stream more (1) or less (-1) waits for keys.
    pub fn waiting(&mut self, change: i64) {
        self.add(WAITING_STREAMS, change);
    }

    /// Whether signatures are verified inside the module that the host could verify.
    pub fn portable_crypto(&mut self, portable: bool) {
        self.set(PORTABLE_CRYPTO, u64::from(portable));
    }

    /// A fetch ended.
    pub fn fetched(&mut self, provider: ProviderId, succeeded: bool) {
        self.add(provider_place(provider, if succeeded { 0 } else { 1 }), 1);
    }

    /// How many keys a provider has, and how old they are.
    pub fn keys(&mut self, provider: ProviderId, keys: u64, age_seconds: u64) {
        self.set(provider_place(provider, 2), keys);
        self.set(provider_place(provider, 3), age_seconds);
    }

    /// What has changed since the last call, by the place in `definitions`.
    pub fn take(&mut self) -> impl Iterator<Item = (usize, Change)> + '_ {
        self.changes
            .iter_mut()
            .map(|change| std::mem::replace(change, Change::None))
            .enumerate()
            .filter(|(_, change)| *change != Change::None)
    }

    fn add(&mut self, place: usize, amount: i64) {
        if let Some(change) = self.changes.get_mut(place) {
            let sum = match change {
                Change::Add(sum) => sum.saturating_add(amount),
                Change::None | Change::Set(_) => amount,
            };
            *change = if sum == 0 { Change::None } else { Change::Add(sum) };
        }
    }

    fn set(&mut self, place: usize, value: u64) {
        if let Some(change) = self.changes.get_mut(place) {
            *change = Change::Set(value);
        }
    }
}

/// A metric as the host must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricDefinition {
    /// Its whole name.
    pub name: String,
    /// Its kind.
    pub kind: MetricKind,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// What to tell the host about one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Add this; negative only for gauges.
    Add(i64),
    /// The gauge's value.
    Set(u64),
}

/// The counters without a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// With a verified credential.
    Allowed,
    /// On a public rule.
    AllowedPublic,
    /// Without a credential, on an optional rule.
    AllowedOptional,
    /// A CORS preflight.
    AllowedPreflight,
    /// The token had been verified before.
    TokenCacheHit,
    /// The token had to be verified.
    TokenCacheMiss,
    /// A verified token was forgotten for want of room.
    TokenCacheEvicted,
    /// A claim could not be written as a header.
    ClaimHeaderSkipped,
}

const COUNTERS: [(Counter, &str); 8] = [
    (Counter::Allowed, "allowed"),
    (Counter::AllowedPublic, "allowed_public"),
    (Counter::AllowedOptional, "allowed_optional"),
    (Counter::AllowedPreflight, "allowed_preflight"),
    (Counter::TokenCacheHit, "token_cache_hit"),
    (Counter::TokenCacheMiss, "token_cache_miss"),
    (Counter::TokenCacheEvicted, "token_cache_evicted"),
    (Counter::ClaimHeaderSkipped, "claim_header_skipped"),
];

const WAITING_STREAMS: usize = COUNTERS.len() + Reason::ALL.len();
const PORTABLE_CRYPTO: usize = WAITING_STREAMS + 1;

/// The place of a provider's metric; each has four.
fn provider_place(provider: ProviderId, metric: usize) -> usize {
    PORTABLE_CRYPTO
        .saturating_add(1)
        .saturating_add(provider.index().saturating_mul(4))
        .saturating_add(metric)
}

fn counter(name: String) -> MetricDefinition {
    MetricDefinition { name, kind: MetricKind::Counter }
}

fn gauge(name: String) -> MetricDefinition {
    MetricDefinition { name, kind: MetricKind::Gauge }
}
