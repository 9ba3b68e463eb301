//! What a fetch of a key set changes, and what the log is told of it: once per change of state.

use std::rc::Rc;

use crate::filter::Filter;
use crate::filter::journal::LogLevel;
use crate::jwks::fetch::{FetchError, FetchId, FetchResponse};
use crate::jwks::remote::ProviderKeys;
use crate::provider::{Provider, ProviderId};
use crate::time::UnixTime;

impl Filter {
    /// How a fetch ended.
    pub fn on_fetch_done(
        &mut self,
        now: UnixTime,
        fetch: FetchId,
        result: Result<FetchResponse<'_>, FetchError>,
    ) {
        let policy = Rc::clone(&self.policy);
        let jitter = self.random.next();
        let mut states = self.keys.iter_mut().enumerate();
        let Some((index, state)) = states.find(|(_, state)| state.flight == Some(fetch)) else {
            // Given up as lost.
            return;
        };
        let (Some(id), Some(provider)) = (ProviderId::new(index), policy.providers.get(index))
        else {
            return;
        };
        state.flight = None;
        match result.and_then(|response| response.read(provider.algorithms)) {
            Ok((parsed, max_age)) => {
                let jwks = Rc::new(parsed.jwks);
                state.keys.fetch_succeeded(now, Rc::clone(&jwks), max_age, jitter);
                self.stats.fetched(id, true);
                // A verdict ends with its key, and with its key's name.
                self.cache.retain(|token| {
                    token.provider() != id
                        || token.is_signed_by_key_of(&jwks, provider.strict_key_id)
                });
                let told = parsed.skipped.iter().take(MAX_DOUBTS);
                let mut doubts: Vec<_> = told.map(ToString::to_string).collect();
                if let Some(rest @ 1..) = parsed.skipped.len().checked_sub(MAX_DOUBTS) {
                    doubts.push(format!("{rest} keys more"));
                }
                if parsed.beyond_limit > 0 {
                    doubts.push(format!("{} keys are over the limit", parsed.beyond_limit));
                }
                if state.doubts != doubts {
                    for doubt in &doubts {
                        let text = format!("provider={} jwks: skipped {doubt}", provider.name);
                        self.journal.note(LogLevel::Warn, text);
                    }
                    state.doubts = doubts;
                }
                if std::mem::take(&mut state.failing) {
                    let text = format!("provider={} jwks: fetched again", provider.name);
                    self.journal.note(LogLevel::Warn, text);
                }
            }
            Err(error) => {
                self.stats.fetched(id, false);
                state.keys.fetch_failed(now, jitter);
                if !std::mem::replace(&mut state.failing, true) {
                    let text = format!("provider={} jwks: fetch failed: {error}", provider.name);
                    self.journal.note(LogLevel::Warn, text);
                }
            }
        }
        self.waiting.wake(id);
    }
}

/// The keys of one provider, with what the log has been told of them.
#[derive(Debug)]
pub(super) struct ProviderKeysState {
    pub(super) keys: ProviderKeys,
    pub(super) flight: Option<FetchId>,
    failing: bool,
    /// The skipped keys that were warned of.
    doubts: Vec<String>,
}

impl ProviderKeysState {
    pub(super) fn new(provider: &Provider) -> Self {
        let keys = ProviderKeys::new(&provider.keys);
        Self { keys, flight: None, failing: false, doubts: Vec::new() }
    }
}

/// Random enough to keep workers from asking in step (splitmix64).
#[derive(Debug)]
pub(super) struct Jitter(pub(super) u64);

impl Jitter {
    pub(super) fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed.to_be_bytes().first().copied().unwrap_or_default()
    }
}

/// A document may hold a hundred thousand keys that can't be used.
const MAX_DOUBTS: usize = 10;
