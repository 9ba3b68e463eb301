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
            .chain(Reason::ALL.iter().map(|r| counter(format!("session_token.would_deny.{r}"))))
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
        self.add(DENIED.saturating_add(place_of(reason)), 1);
    }

    /// Counts one request that report mode let through.
    pub fn count_would_deny(&mut self, reason: Reason) {
        self.add(WOULD_DENY.saturating_add(place_of(reason)), 1);
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
    /// A `Set-Cookie` line got another `Domain`.
    SetCookieRewritten,
    /// A `Set-Cookie` line did not get its `Domain`, for the request's host is not under it.
    SetCookieNotShared,
    /// `csrf.mode: report` let a cross-site request through.
    CsrfReport,
}

impl Counter {
    /// The end of the metric's name.
    pub fn word(self) -> &'static str {
        COUNTERS.iter().find(|(other, _)| *other == self).map_or("", |(_, word)| word)
    }
}

const COUNTERS: [(Counter, &str); 11] = [
    (Counter::Allowed, "allowed"),
    (Counter::AllowedPublic, "allowed_public"),
    (Counter::AllowedOptional, "allowed_optional"),
    (Counter::AllowedPreflight, "allowed_preflight"),
    (Counter::TokenCacheHit, "token_cache_hit"),
    (Counter::TokenCacheMiss, "token_cache_miss"),
    (Counter::TokenCacheEvicted, "token_cache_evicted"),
    (Counter::ClaimHeaderSkipped, "claim_header_skipped"),
    (Counter::SetCookieRewritten, "set_cookie_rewritten"),
    (Counter::SetCookieNotShared, "set_cookie_not_shared"),
    (Counter::CsrfReport, "csrf_report"),
];

const DENIED: usize = COUNTERS.len();
const WOULD_DENY: usize = DENIED + Reason::ALL.len();
const WAITING_STREAMS: usize = WOULD_DENY + Reason::ALL.len();
const PORTABLE_CRYPTO: usize = WAITING_STREAMS + 1;

/// The place of a reason among all.
fn place_of(reason: Reason) -> usize {
    Reason::ALL.iter().position(|other| *other == reason).unwrap_or_default()
}

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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::config;

    fn stats() -> Stats {
        let provider = |name: &str| {
            serde_json::json!({
                "name": name, "issuers": [name],
                "jwks": { "remote": { "uri": "https://a.example/", "cluster": "a" } },
            })
        };
        let configuration = serde_json::json!({ "providers": [provider("a"), provider("b")] });
        Stats::new(&config::load(configuration.to_string().as_bytes()).unwrap().policy)
    }

    fn taken(stats: &mut Stats) -> Vec<(String, Change)> {
        let names: Vec<_> = stats.definitions().iter().map(|one| one.name.clone()).collect();
        stats.take().map(|(place, change)| (names[place].clone(), change)).collect()
    }

    #[test]
    fn every_change_has_its_own_name() {
        let mut stats = stats();
        let b = ProviderId::new(1).unwrap();
        let mut check = |change: &dyn Fn(&mut Stats), name: &str, expected| {
            change(&mut stats);
            let name = format!("session_token.{name}");
            assert_eq!(taken(&mut stats), [(name, expected)]);
            assert!(taken(&mut stats).is_empty(), "told once");
        };
        for (counter, name) in COUNTERS {
            check(&|stats| stats.count(counter), name, Change::Add(1));
        }
        for reason in Reason::ALL {
            let name = format!("denied.{}", reason.word());
            check(&|stats| stats.count_denied(reason), &name, Change::Add(1));
            let name = format!("would_deny.{}", reason.word());
            check(&|stats| stats.count_would_deny(reason), &name, Change::Add(1));
        }
        check(&|stats| stats.waiting(-1), "waiting_streams", Change::Add(-1));
        check(&|stats| stats.portable_crypto(true), "portable_crypto", Change::Set(1));
        check(&|stats| stats.fetched(b, true), "jwks_fetch_ok.b", Change::Add(1));
        check(&|stats| stats.fetched(b, false), "jwks_fetch_error.b", Change::Add(1));
        stats.keys(b, 3, 60);
        let expected = [("keys", 3), ("age_seconds", 60)]
            .map(|(name, value)| (format!("session_token.jwks_{name}.b"), Change::Set(value)));
        assert_eq!(taken(&mut stats), expected);
    }

    #[test]
    fn changes_add_up_and_what_cancels_is_not_told() {
        let mut stats = stats();
        stats.waiting(1);
        stats.waiting(1);
        stats.waiting(-1);
        stats.count(Counter::Allowed);
        stats.count(Counter::Allowed);
        let told: Vec<_> = taken(&mut stats).into_iter().map(|(_, change)| change).collect();
        assert_eq!(told, [Change::Add(2), Change::Add(1)]);
        stats.waiting(1);
        stats.waiting(-1);
        assert!(taken(&mut stats).is_empty());
    }

    #[test]
    fn names_are_told_apart_and_kinds_are_right() {
        let stats = stats();
        let mut names: Vec<_> = stats.definitions().iter().map(|one| &one.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), stats.definitions().len());
        for metric in stats.definitions() {
            let is_gauge = ["waiting_streams", "portable_crypto", "jwks_keys", "jwks_age"]
                .iter()
                .any(|gauge| metric.name.contains(gauge));
            assert_eq!(metric.kind == MetricKind::Gauge, is_gauge, "{}", metric.name);
        }
    }
}
