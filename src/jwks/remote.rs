//! The life of one remote key set: when to fetch, what serves meanwhile, and for how long.
//!
//! | state | requests |
//! | --- | --- |
//! | never loaded | inline keys if there are some; else wait for the first fetch, 503 in back-off |
//! | fresh | verified |
//! | stale (past `refresh`) | verified, while a fetch runs in the background |
//! | expired (past `stale_if_error`) | as never loaded, without inline keys |
//!
//! A failed fetch never replaces a set. An unknown `kid` asks for a fetch of its own, five seconds
//! after the last at the soonest and without any other limit: a limit would let forged tokens lock
//! out a real rotation.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::jwks::document::Jwks;
use crate::provider::{KeySource, RemoteJwks};
use crate::time::UnixTime;

/// The keys of one provider, wherever they come from. Knows nothing of streams and of the network.
#[derive(Debug)]
pub struct ProviderKeys {
    inline: Option<Rc<Jwks>>,
    remote: Option<RemoteState>,
}

impl ProviderKeys {
    /// The keys as the configuration has them.
    pub fn new(source: &KeySource) -> Self {
        Self { inline: source.inline.clone(), remote: source.remote.clone().map(RemoteState::new) }
    }

    /// What a request at `now` is verified with.
    pub fn current(&mut self, now: UnixTime) -> CurrentKeys {
        let Some(remote) = &mut self.remote else {
            // Without a remote set there is an inline one.
            return match &self.inline {
                Some(jwks) => CurrentKeys::Ready(Rc::clone(jwks)),
                None => CurrentKeys::Unavailable { retry_after: MAX_BACK_OFF },
            };
        };
        remote.used = true;
        match (&remote.loaded, &self.inline) {
            (Some(loaded), _) if now < loaded.expires_at => {
                CurrentKeys::Ready(Rc::clone(&loaded.jwks))
            }
            (None, Some(jwks)) => CurrentKeys::Ready(Rc::clone(jwks)),
            (Some(_) | None, _) if remote.is_awaited(now) => CurrentKeys::Awaited,
            (Some(_) | None, _) => {
                CurrentKeys::Unavailable { retry_after: remote.next_try.since(now) }
            }
        }
    }

    /// What a token whose `kid` is not in the current set has to do.
    pub fn unknown_key_id(&mut self, key_id: Option<&str>, now: UnixTime) -> UnknownKeyId {
        let Some(remote) = &mut self.remote else { return UnknownKeyId::Refused };
        let Some(key_id) = key_id else { return UnknownKeyId::Refused };
        let remembered = remote.unknown_key_ids.get(key_id);
        if remembered.is_some_and(|since| now < since.after(UNKNOWN_KEY_ID_MEMORY)) {
            return UnknownKeyId::Refused;
        }
        remote.wanted = true;
        UnknownKeyId::Awaited
    }

    /// A token's `kid` was waited for since `asked_at`. If a set has come since then, it is without
    /// it; otherwise nothing is known.
    pub fn still_unknown(&mut self, key_id: Option<&str>, asked_at: UnixTime, now: UnixTime) {
        let (Some(remote), Some(key_id)) = (&mut self.remote, key_id) else { return };
        if !remote.loaded.as_ref().is_some_and(|set| set.fetched_at > asked_at) {
            return;
        }
        if remote.unknown_key_ids.len() >= MAX_UNKNOWN_KEY_IDS {
            remote.unknown_key_ids.retain(|_, since| now < since.after(UNKNOWN_KEY_ID_MEMORY));
        }
        if remote.unknown_key_ids.len() < MAX_UNKNOWN_KEY_IDS {
            remote.unknown_key_ids.insert(key_id.into(), now);
        }
    }

    /// Whether `begin_fetch` would begin one.
    pub fn is_due(&self, now: UnixTime) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.is_due(now))
    }

    /// Begins a fetch if one is due, and says where to.
    pub fn begin_fetch(&mut self, now: UnixTime) -> Option<&RemoteJwks> {
        let remote = self.remote.as_mut()?;
        if !remote.is_due(now) {
            return None;
        }
        remote.flight = Some(now);
        remote.wanted = false;
        Some(&remote.source)
    }

    /// The fetch brought a set, which the key server calls fresh for `max_age`. `jitter` is a
    /// random number in 0 ..= 255.
    pub fn fetch_succeeded(
        &mut self,
        now: UnixTime,
        jwks: Rc<Jwks>,
        max_age: Option<Duration>,
        jitter: u8,
    ) {
        let Some(remote) = &mut self.remote else { return };
        let freshness = max_age.map_or(remote.source.refresh, |age| age.max(MIN_MAX_AGE));
        let interval = remote.source.refresh.min(freshness);
        let kept = remote.source.stale_if_error.max(interval).saturating_add(remote.source.timeout);
        let expires_at = now.after(kept);
        remote.loaded = Some(LoadedSet { jwks, fetched_at: now, expires_at });
        remote.ended(now, shortened(interval, jitter));
        remote.failures = 0;
        remote.used = false;
        remote.unknown_key_ids.clear();
    }

    /// The fetch brought nothing; what was there stays. Says whether that is news: the first
    /// failure after a success.
    pub fn fetch_failed(&mut self, now: UnixTime, jitter: u8) -> bool {
        let Some(remote) = &mut self.remote else { return false };
        let back_off = MIN_BACK_OFF.saturating_mul(1 << remote.failures.min(6)).min(MAX_BACK_OFF);
        remote.ended(now, shortened(back_off, jitter));
        remote.failures = remote.failures.saturating_add(1);
        remote.failures == 1
    }

    /// Whether a fetch has been under way for so long that no answer will come.
    pub fn flight_is_lost(&self, now: UnixTime) -> bool {
        self.remote.as_ref().is_some_and(|remote| {
            let limit = remote.source.timeout.saturating_add(LOST_AFTER);
            remote.flight.is_some_and(|since| now > since.after(limit))
        })
    }

    /// Whether a fetch is under way.
    pub fn in_flight(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.flight.is_some())
    }

    /// Whether nothing has been fetched yet, or too long ago.
    pub fn has_expired(&self, now: UnixTime) -> bool {
        self.remote.as_ref().is_some_and(|remote| match &remote.loaded {
            Some(loaded) => now >= loaded.expires_at,
            None => self.inline.is_none(),
        })
    }

    /// Says that the set served a request, so that it is worth a refresh.
    pub fn mark_used(&mut self) {
        if let Some(remote) = &mut self.remote {
            remote.used = true;
        }
    }

    /// How many keys there are, and how old they are, where they come from a key server.
    pub fn size_and_age(&self, now: UnixTime) -> Option<(usize, Duration)> {
        let loaded = self.remote.as_ref()?.loaded.as_ref()?;
        Some((loaded.jwks.len(), now.since(loaded.fetched_at)))
    }

    /// How long a request may wait for a fetch.
    pub fn patience(&self) -> Duration {
        let timeout = self.remote.as_ref().map_or(Duration::ZERO, |remote| remote.source.timeout);
        timeout.saturating_add(PATIENCE_BEYOND_TIMEOUT)
    }

    /// When the next fetch may be tried.
    pub fn retry_after(&self, now: UnixTime) -> Duration {
        self.remote.as_ref().map_or(MAX_BACK_OFF, |remote| remote.next_try.since(now))
    }
}

/// What a request is verified with.
#[derive(Clone, Debug)]
pub enum CurrentKeys {
    /// These.
    Ready(Rc<Jwks>),
    /// Nothing yet, but a fetch is under way or about to begin.
    Awaited,
    /// Nothing, and the key server is left alone for a while.
    Unavailable {
        /// Until the next try.
        retry_after: Duration,
    },
}

/// What to do about a `kid` that the set does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKeyId {
    /// Wait for the next fetch.
    Awaited,
    /// No fetch would help.
    Refused,
}

#[derive(Debug)]
struct RemoteState {
    source: RemoteJwks,
    loaded: Option<LoadedSet>,
    /// Since when a fetch is under way.
    flight: Option<UnixTime>,
    /// When the last fetch ended.
    ended_at: Option<UnixTime>,
    /// The next fetch for its own sake.
    next_try: UnixTime,
    /// Failed fetches since the last good one.
    failures: u32,
    /// Whether a request has been served since the last good fetch: an idle VM does not refresh.
    used: bool,
    /// Whether an unknown `kid` asks for a fetch.
    wanted: bool,
    /// `kid`s that the current set does not have, and since when that is known.
    unknown_key_ids: BTreeMap<Box<str>, UnixTime>,
}

#[derive(Debug)]
struct LoadedSet {
    jwks: Rc<Jwks>,
    fetched_at: UnixTime,
    expires_at: UnixTime,
}

impl RemoteState {
    fn new(source: RemoteJwks) -> Self {
        Self {
            source,
            loaded: None,
            flight: None,
            ended_at: None,
            next_try: UnixTime::default(),
            failures: 0,
            used: false,
            wanted: false,
            unknown_key_ids: BTreeMap::new(),
        }
    }

    fn is_due(&self, now: UnixTime) -> bool {
        let worth_it = self.used || self.loaded.is_none();
        let for_unknown_key_id = self.wanted
            && self.ended_at.is_none_or(|ended| now >= ended.after(UNKNOWN_KEY_ID_SPACING));
        self.flight.is_none() && ((worth_it && now >= self.next_try) || for_unknown_key_id)
    }

    /// Whether keys will come, or be given up, without anybody waiting out a back-off.
    fn is_awaited(&self, now: UnixTime) -> bool {
        self.flight.is_some() || now >= self.next_try
    }

    fn ended(&mut self, now: UnixTime, pause: Duration) {
        self.flight = None;
        self.ended_at = Some(now);
        self.next_try = now.after(pause);
    }
}

/// `interval` times a random factor between 0.8 and 1.0, so that workers don't ask in step.
fn shortened(interval: Duration, jitter: u8) -> Duration {
    let cut = interval.checked_div(5 * 255).unwrap_or_default().saturating_mul(u32::from(jitter));
    interval.saturating_sub(cut)
}

/// A key server's `max-age` counts no less: it must not make a fetch out of every request.
const MIN_MAX_AGE: Duration = Duration::from_secs(60);
const MIN_BACK_OFF: Duration = Duration::from_secs(1);
const MAX_BACK_OFF: Duration = Duration::from_secs(60);
/// Envoy reports a timeout by itself; a second later a request has waited long enough.
const PATIENCE_BEYOND_TIMEOUT: Duration = Duration::from_secs(1);
/// Envoy always reports how a callout ended; this far past its timeout it has not.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// The pause after any fetch before an unknown `kid` may cause one.
pub const UNKNOWN_KEY_ID_SPACING: Duration = Duration::from_secs(5);
/// How long a `kid` that the set does not have is refused without a fetch.
const UNKNOWN_KEY_ID_MEMORY: Duration = Duration::from_secs(30);
/// Forged `kid`s cost no more memory than these.
const MAX_UNKNOWN_KEY_IDS: usize = 1_000;
