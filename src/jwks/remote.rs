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
use crate::jwks::source::{KeySource, RemoteJwks};
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
        if remote.loaded.as_ref().is_none_or(|set| set.fetched_at <= asked_at) {
            return;
        }
        if remote.unknown_key_ids.len() >= MAX_UNKNOWN_KEY_IDS {
            remote.unknown_key_ids.retain(|_, since| now < since.after(UNKNOWN_KEY_ID_MEMORY));
        }
        let has_room = remote.unknown_key_ids.len() < MAX_UNKNOWN_KEY_IDS;
        if has_room && key_id.len() <= MAX_UNKNOWN_KEY_ID_BYTES {
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
        // A clock that was set back must not stop fetches until it has caught up.
        let clock_went_back = self.ended_at.is_some_and(|ended| now < ended);
        let due = (worth_it && (now >= self.next_try || clock_went_back)) || for_unknown_key_id;
        self.flight.is_none() && due
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
/// Longer ones are no server's; their tokens wait each time, a hundred at most.
const MAX_UNKNOWN_KEY_ID_BYTES: usize = 256;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jwks::document::Selection;
    use crate::jwt::algorithm::{Algorithm, AlgorithmSet};
    use crate::jwt::key::VerifyingKey;
    use crate::jwt::test_keys::numbered_jwk;

    const START: UnixTime = UnixTime::from_secs(1_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn set(number: u8) -> Rc<Jwks> {
        let document = json!({ "keys": [numbered_jwk(number, "k")] });
        let algorithms = AlgorithmSet::from_iter([Algorithm::EdDsa]);
        Rc::new(Jwks::from_value(&document, algorithms).unwrap().jwks)
    }

    fn keys(inline: bool, remote: bool) -> ProviderKeys {
        let remote = remote.then(|| RemoteJwks {
            scheme: "https".into(),
            authority: "a".into(),
            path: "/".into(),
            cluster: "c".into(),
            timeout: 5 * SECOND,
            refresh: 600 * SECOND,
            stale_if_error: 3_600 * SECOND,
            headers: Vec::new(),
        });
        ProviderKeys::new(&KeySource { inline: inline.then(|| set(1)), remote })
    }

    fn fetch(keys: &mut ProviderKeys, now: UnixTime, number: u8) {
        assert!(keys.begin_fetch(now).is_some());
        keys.fetch_succeeded(now, set(number), None, 0);
    }

    fn fail(keys: &mut ProviderKeys, now: UnixTime, jitter: u8) -> bool {
        assert!(keys.begin_fetch(now).is_some());
        keys.fetch_failed(now, jitter)
    }

    /// What serves at `now`: a numbered set, `awaited`, or the seconds until the next try.
    fn state(keys: &mut ProviderKeys, now: UnixTime) -> String {
        match keys.current(now) {
            CurrentKeys::Ready(jwks) => {
                let Selection::Candidates(keys) = jwks.select(Some("k"), Algorithm::EdDsa, true)
                else {
                    return "no key".into();
                };
                let own = keys.into_iter().next().unwrap().fingerprint();
                let number = (1..9).find(|number| {
                    let key = VerifyingKey::from_jwk(&numbered_jwk(*number, "k")).unwrap();
                    key.fingerprint() == own
                });
                format!("set {}", number.unwrap())
            }
            CurrentKeys::Awaited => "awaited".into(),
            CurrentKeys::Unavailable { retry_after } => format!("after {retry_after:?}"),
        }
    }

    #[test]
    fn the_life_of_a_set() {
        for inline in [false, true] {
            let at = |seconds: u32| START.after(SECOND * seconds);
            let mut keys = keys(inline, true);
            let before = if inline { "set 1" } else { "awaited" };
            assert_eq!(state(&mut keys, START), before, "never loaded");
            assert_eq!(keys.has_expired(START), !inline);
            assert!(keys.is_due(START));
            assert!(keys.begin_fetch(START).is_some() && keys.in_flight());
            assert!(!keys.is_due(START) && keys.begin_fetch(START).is_none(), "one at a time");
            assert_eq!(state(&mut keys, START), before, "in flight");
            assert!(keys.fetch_failed(START, 0), "news");
            let back_off = if inline { "set 1" } else { "after 1s" };
            assert_eq!(state(&mut keys, START), back_off, "back-off");
            assert_eq!(state(&mut keys, at(1)), before, "the next try is due");
            fetch(&mut keys, at(1), 2);
            assert_eq!(state(&mut keys, at(1)), "set 2", "fresh");
            assert!(!keys.is_due(at(600)));
            assert!(keys.is_due(at(601)), "stale");
            assert_eq!(state(&mut keys, at(601)), "set 2", "stale");
            assert!(fail(&mut keys, at(601), 0));
            assert_eq!(state(&mut keys, at(601)), "set 2", "stale, fetch failed");
            assert_eq!(keys.size_and_age(at(601)), Some((1, 600 * SECOND)));
            // An hour and the time of a fetch.
            assert_eq!(state(&mut keys, at(3_605)), "set 2");
            assert!(!keys.has_expired(at(3_605)));
            assert!(keys.has_expired(at(3_606)));
            assert_eq!(state(&mut keys, at(3_606)), "awaited", "expired, also beside inline keys");
            assert!(!fail(&mut keys, at(3_606), 0), "no news");
            assert_eq!(state(&mut keys, at(3_606)), "after 2s");
            fetch(&mut keys, at(3_608), 3);
            assert_eq!(state(&mut keys, at(3_608)), "set 3");
        }
    }

    #[test]
    fn without_a_remote_set_inline_keys_serve_for_ever() {
        let mut inline = keys(true, false);
        let late = UnixTime::from_millis(u64::MAX);
        assert_eq!(state(&mut inline, late), "set 1");
        assert!(!inline.has_expired(late) && !inline.is_due(late) && !inline.flight_is_lost(late));
        assert_eq!(inline.unknown_key_id(Some("x"), late), UnknownKeyId::Refused);
        assert_eq!(inline.size_and_age(late), None);
        // Never configured so; denied all the same.
        assert_eq!(state(&mut keys(false, false), START), "after 60s");
    }

    #[test]
    fn back_off_doubles_from_a_second_to_a_minute() {
        for (jitter, factor) in [(0, 100), (255, 80)] {
            let (mut keys, mut now) = (keys(false, true), START);
            for expected in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
                fail(&mut keys, now, jitter);
                let pause = keys.retry_after(now);
                assert_eq!(pause.as_millis(), expected * 10 * factor, "jitter {jitter}");
                assert!(!keys.is_due(now.after(pause).before(1)));
                now = now.after(pause);
                assert!(keys.is_due(now));
            }
            for _ in 0..100 {
                fail(&mut keys, now, jitter);
                now = now.after(60 * SECOND);
            }
            // A success forgets all failures.
            fetch(&mut keys, now, 2);
            keys.mark_used();
            now = now.after(600 * SECOND);
            fail(&mut keys, now, 0);
            assert_eq!(keys.retry_after(now), SECOND);
        }
    }

    impl UnixTime {
        fn before(self, millis: u64) -> Self {
            Self::from_millis(self.as_millis() - millis)
        }
    }

    #[test]
    fn a_refresh_follows_max_age_within_bounds() {
        for (max_age, jitter, expected) in [
            (None, 0, 600_000),
            (None, 255, 480_000),
            (Some(0), 0, 60_000),
            (Some(0), 255, 48_000),
            (Some(59), 0, 60_000),
            (Some(61), 0, 61_000),
            (Some(600), 0, 600_000),
            (Some(u64::from(u32::MAX)), 0, 600_000),
        ] {
            let mut keys = keys(false, true);
            keys.begin_fetch(START).unwrap();
            keys.fetch_succeeded(START, set(2), max_age.map(Duration::from_secs), jitter);
            keys.mark_used();
            let due = START.after(Duration::from_millis(expected));
            assert!(keys.is_due(due), "{max_age:?} {jitter}");
            // Jitter is cut to the nanosecond, below a millisecond.
            assert!(!keys.is_due(due.before(1)), "{max_age:?} {jitter}");
        }
    }

    #[test]
    fn an_idle_set_is_not_refreshed() {
        let mut keys = keys(false, true);
        fetch(&mut keys, START, 2);
        let later = START.after(100_000 * SECOND);
        assert!(!keys.is_due(later));
        assert_eq!(state(&mut keys, later), "awaited", "expired; the request is worth a fetch");
        assert!(keys.is_due(later));
    }

    #[test]
    fn unknown_kids_ask_five_seconds_after_the_last_fetch() {
        let mut keys = keys(false, true);
        fetch(&mut keys, START, 2);
        let at = |millis: u64| START.after(Duration::from_millis(millis));
        assert_eq!(keys.unknown_key_id(None, at(1)), UnknownKeyId::Refused, "no kid to ask for");
        assert!(!keys.is_due(at(100_000)));
        assert_eq!(keys.unknown_key_id(Some("x"), at(1)), UnknownKeyId::Awaited);
        assert!(!keys.is_due(at(4_999)));
        assert!(keys.is_due(at(5_000)));
        fetch(&mut keys, at(5_000), 2);
        assert!(!keys.is_due(at(100_000)), "asked and answered");
        // The set that came is without it.
        keys.still_unknown(Some("x"), at(1), at(5_001));
        assert_eq!(keys.unknown_key_id(Some("x"), at(35_000)), UnknownKeyId::Refused);
        assert!(!keys.is_due(at(100_000)), "what is refused asks for nothing");
        assert_eq!(keys.unknown_key_id(Some("y"), at(35_000)), UnknownKeyId::Awaited);
        assert_eq!(keys.unknown_key_id(Some("x"), at(35_001)), UnknownKeyId::Awaited, "30 s");
        // A failed fetch tells nothing; nor does the set of before.
        fail(&mut keys, at(36_000), 0);
        keys.still_unknown(Some("y"), at(35_000), at(36_001));
        assert_eq!(keys.unknown_key_id(Some("y"), at(36_002)), UnknownKeyId::Awaited);
        assert!(!keys.is_due(at(36_002)), "not from the failure at once");
        // A new set forgets what the old one was without.
        keys.still_unknown(Some("z"), at(1), at(36_003));
        assert_eq!(keys.unknown_key_id(Some("z"), at(36_004)), UnknownKeyId::Refused);
        fetch(&mut keys, at(41_000), 3);
        assert_eq!(keys.unknown_key_id(Some("z"), at(41_001)), UnknownKeyId::Awaited);
    }

    #[test]
    fn a_thousand_unknown_kids_are_remembered() {
        let mut keys = keys(false, true);
        fetch(&mut keys, START, 2);
        let asked = START.before(1);
        let now = START.after(SECOND);
        for number in 0..2_000 {
            keys.still_unknown(Some(&number.to_string()), asked, now);
        }
        assert_eq!(keys.remote.as_ref().unwrap().unknown_key_ids.len(), 1_000);
        assert_eq!(keys.unknown_key_id(Some("999"), now), UnknownKeyId::Refused);
        assert_eq!(keys.unknown_key_id(Some("1000"), now), UnknownKeyId::Awaited);
        // What is old makes room.
        keys.still_unknown(Some("new"), asked, now.after(30 * SECOND));
        assert_eq!(keys.remote.as_ref().unwrap().unknown_key_ids.len(), 1);
        keys.still_unknown(Some(&"x".repeat(257)), asked, now.after(30 * SECOND));
        assert_eq!(keys.remote.as_ref().unwrap().unknown_key_ids.len(), 1, "too long to keep");
    }

    #[test]
    fn a_clock_that_was_set_back_stops_no_fetch() {
        let mut keys = keys(false, true);
        fetch(&mut keys, START, 2);
        keys.mark_used();
        assert!(!keys.is_due(START.after(SECOND)));
        assert!(keys.is_due(START.before(3_600_000)));
    }

    #[test]
    fn a_flight_is_lost_five_seconds_past_its_timeout() {
        let mut keys = keys(false, true);
        assert!(!keys.flight_is_lost(START.after(1_000 * SECOND)));
        keys.begin_fetch(START).unwrap();
        assert!(!keys.flight_is_lost(START.after(10 * SECOND)));
        assert!(keys.flight_is_lost(START.after(Duration::from_millis(10_001))));
        assert_eq!(keys.patience(), 6 * SECOND);
        keys.fetch_failed(START, 0);
        assert!(!keys.flight_is_lost(START.after(1_000 * SECOND)));
    }

    #[test]
    fn no_time_overflows() {
        let late = UnixTime::from_millis(u64::MAX);
        let mut keys = keys(false, true);
        keys.begin_fetch(late).unwrap();
        keys.fetch_succeeded(late, set(2), Some(Duration::MAX), 255);
        assert!(keys.has_expired(late), "no time is left");
        assert_eq!(shortened(Duration::MAX, 255).as_secs(), u64::MAX / 5 * 4);
    }
}
