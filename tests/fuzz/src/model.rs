//! What is known about a provider's keys without looking into the filter: which set it was given,
//! when that ends, and when it may ask again. Written from the contract, not from the code.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use arbitrary::Arbitrary;
use serde_json::{Value, json};
use session_token_filter::jwks::fetch::FetchId;
use session_token_filter::jwt::algorithm::Algorithm;
use session_token_filter::time::UnixTime;

use crate::keys::{MATERIALS, TestKey};
use crate::tokens::{ALGORITHMS, ISSUERS, KeyId, TokenSpec};

/// How many providers the configuration has; one issuer is nobody's.
pub const PROVIDERS: usize = ISSUERS.len() - 1;

/// Their names, which are their clusters' too.
pub const NAMES: [&str; PROVIDERS] = ["plain", "both", "vendor", "fixed"];

/// Their cookies.
pub const COOKIES: [&str; PROVIDERS] = ["plain", "both", "cbo_session_token", "fixed"];

/// Providers with a remote set, an inline and a remote one, a preset, and only an inline set.
pub fn configuration(cache_entries: u16) -> Value {
    let inline = KeySet::INLINE;
    let remote = |place: usize| {
        let (name, times) = (NAMES[place], TIMES[place].expect("a remote set"));
        let seconds = |duration: Duration| format!("{}s", duration.as_secs());
        json!({
            "uri": format!("https://{name}.example/jwks"), "cluster": name,
            "timeout": seconds(times.timeout), "refresh": seconds(times.refresh),
            "stale_if_error": seconds(times.stale_if_error),
        })
    };
    let sources = |place: usize| {
        json!([{"header": {"name": "authorization", "scheme": "Bearer"}},
               {"cookie": {"name": COOKIES[place]}}])
    };
    let mut vendor_keys = remote(2);
    vendor_keys.as_object_mut().expect("an object").remove("uri");
    json!({
        "providers": [
            {"name": NAMES[0], "issuers": [ISSUERS[0]], "algorithms": ["EdDSA"],
             "sources": sources(0), "duplicate_cookies": "newest",
             "jwks": {"remote": remote(0)}},
            {"name": NAMES[1], "issuers": [ISSUERS[1]], "algorithms": ["EdDSA"],
             "sources": sources(1), "jwks": {"inline": inline.document(1), "remote": remote(1)}},
            {"name": NAMES[2], "preset": {"corbado": {"project_id": "pro-1"}},
             "jwks": {"remote": vendor_keys}},
            {"name": NAMES[3], "issuers": [ISSUERS[3]], "algorithms": ["EdDSA"],
             "sources": sources(3), "jwks": {"inline": inline.document(3)}},
        ],
        "rules": [
            {"match": {"path": {"exact": "/public"}}, "access": "public"},
            {"match": {"path": {"exact": "/optional"}}, "access": "optional"},
            {"match": {"path": {"exact": "/denied"}}, "access": "denied"},
            {"match": {"path": {"exact": "/some"}}, "providers": ["both", "plain"]},
        ],
        "cache": {"entries": cache_entries, "bytes": "64KiB"},
        "cookies": {"share_domain": [{"name": COOKIES[0], "domain": ".www.example"}]},
    })
}

/// The keys that a document has: `kid`s `0` to `2` by the bits of `names`, `kid` n being the
/// material n + `shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeySet {
    names: u8,
    shift: u8,
}

impl KeySet {
    /// What the configuration has.
    pub const INLINE: Self = Self { names: 0b11, shift: 0 };

    /// A document's keys, if it has any.
    pub fn new(names: u8, shift: u8) -> Option<Self> {
        let (names, shift) = (names & 0b111, [0, 0, 1, 1, 0, 1, 2, 7][usize::from(shift % 8)]);
        (names != 0).then_some(Self { names, shift })
    }

    /// Whether it has this `kid`. A token without one means the only key that there is.
    pub fn names(self, key_id: KeyId, strict: bool) -> Option<u8> {
        match key_id {
            KeyId::Named(name) => (self.names & 1 << name != 0).then_some(name),
            KeyId::Absent if !strict && self.names.is_power_of_two() => {
                u8::try_from(self.names.trailing_zeros()).ok()
            }
            KeyId::Absent | KeyId::Forged(_) => None,
        }
        .map(|name| (name + self.shift) % MATERIALS)
    }

    /// The document, for what signs at a provider.
    pub fn document(self, provider: usize) -> Value {
        let names = (0..3_u8).filter(|name| self.names & 1 << name != 0);
        let keys = names.map(|name| {
            let material = (name + self.shift) % MATERIALS;
            TestKey::of(ALGORITHMS[provider], material).named(&name.to_string())
        });
        json!({"keys": keys.collect::<Vec<_>>()})
    }

    /// The document's text.
    pub fn text(self, provider: usize) -> Rc<[u8]> {
        thread_local! {
            static TEXTS: RefCell<BTreeMap<(KeySet, bool), Rc<[u8]>>> = RefCell::default();
        }
        let key = (self, ALGORITHMS[provider] == Algorithm::Rs256);
        TEXTS.with_borrow_mut(|texts| {
            let write = || self.document(provider).to_string().into_bytes().into();
            Rc::clone(texts.entry(key).or_insert_with(write))
        })
    }
}

/// How a key server answers.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub enum Answer {
    /// With a document, which may be empty.
    Keys {
        /// See [`KeySet`].
        names: u8,
        /// See [`KeySet`].
        shift: u8,
        /// `cache-control`
        age: MaxAge,
    },
    /// With the first bytes of a document.
    Truncated(u8),
    /// With something else.
    Html,
    /// With another status.
    Status(u16),
    /// Not at all, which Envoy reports.
    Broken,
}

/// `cache-control`
#[derive(Clone, Copy, Debug, Arbitrary)]
#[expect(missing_docs, reason = "the names say it")]
pub enum MaxAge {
    Absent,
    NoStore,
    Garbage,
    Short,
    Long,
    Endless,
}

impl MaxAge {
    /// The header's value, and what it says about the next fetch.
    pub fn header(self) -> (Option<&'static [u8]>, Option<Duration>) {
        let minute = Duration::from_secs(60);
        match self {
            Self::Absent => (None, None),
            Self::Garbage => (Some(b"max-age=\xff"), None),
            Self::NoStore => (Some(b"no-store"), Some(minute)),
            Self::Short => (Some(b"max-age=5"), Some(minute)),
            Self::Long => (Some(b"public, max-age=200"), Some(Duration::from_secs(200))),
            Self::Endless => (Some(b"max-age=99999999999999999999"), Some(Duration::MAX)),
        }
    }
}

/// What one provider's keys must be.
#[derive(Debug)]
pub struct ProviderModel {
    place: usize,
    inline: Option<KeySet>,
    loaded: Option<Loaded>,
    flight: Option<(FetchId, UnixTime)>,
    ended_at: Option<UnixTime>,
    failures: u32,
    /// No fetch for its own sake before this.
    not_before: UnixTime,
    /// Whether a token of this provider came since the last good fetch.
    used: bool,
    /// Whether one with a `kid` that the set lacks came since the last fetch began.
    unknown_key_id: bool,
}

#[derive(Debug)]
struct Loaded {
    keys: KeySet,
    expires_at: UnixTime,
}

impl ProviderModel {
    /// All providers of [`configuration`].
    pub fn all() -> [Self; PROVIDERS] {
        [0, 1, 2, 3].map(|place| Self {
            place,
            inline: [None, Some(KeySet::INLINE), None, Some(KeySet::INLINE)][place],
            loaded: None,
            flight: None,
            ended_at: None,
            failures: 0,
            not_before: UnixTime::default(),
            used: false,
            unknown_key_id: false,
        })
    }

    /// The set that may verify at `now`.
    pub fn current(&self, now: UnixTime) -> Option<KeySet> {
        match &self.loaded {
            Some(loaded) => (now < loaded.expires_at).then_some(loaded.keys),
            None => self.inline,
        }
    }

    /// Whether a token of this provider would be good for any rule that asks for its sessions.
    pub fn accepts(&self, token: TokenSpec, now: UnixTime) -> bool {
        token.is_signed()
            && token.is_timely(now)
            && self.key_of(token, now) == Some(token.material())
    }

    /// The material that the current set has for the token's `kid`.
    pub fn key_of(&self, token: TokenSpec, now: UnixTime) -> Option<u8> {
        self.current(now)?.names(token.key_id(), self.place == 2)
    }

    /// Whether a fetch is under way, as far as the filter must know.
    pub fn in_flight(&self) -> bool {
        self.flight.is_some()
    }

    /// Whether the key server is left alone for its failures.
    pub fn backs_off(&self, now: UnixTime) -> bool {
        self.flight.is_none() && now < self.not_before
    }

    /// The soonest at which an unknown `kid` may cause a fetch.
    pub fn unknown_key_id_due(&self) -> UnixTime {
        self.ended_at.map_or(UnixTime::default(), |ended| ended.after(SPACING))
    }

    /// Whether there is a key server.
    pub fn is_remote(&self) -> bool {
        TIMES[self.place].is_some()
    }

    /// A request carries a token of this provider to a rule that asks for its sessions.
    pub fn presented(&mut self, token: TokenSpec, now: UnixTime) {
        if token.is_timely(now) {
            self.used = true;
            let unknown = token.key_id() != KeyId::Absent && self.key_of(token, now).is_none();
            self.unknown_key_id |= unknown && self.current(now).is_some();
        }
    }

    /// The filter begins a fetch.
    pub fn fetch_begins(&mut self, fetch: FetchId, now: UnixTime) {
        assert!(self.is_remote(), "{}: a fetch without a key server", NAMES[self.place]);
        assert!(self.flight.is_none(), "{}: two flights for one provider", NAMES[self.place]);
        let own = now >= self.not_before && (self.used || self.loaded.is_none());
        let asked_for = self.unknown_key_id && now >= self.unknown_key_id_due();
        assert!(
            own || asked_for,
            "{}: a fetch that nobody asked for, or within 5 s of the last for an unknown kid, or \
             before its time: {self:?} at {now:?}",
            NAMES[self.place]
        );
        self.flight = Some((fetch, now));
        self.unknown_key_id = false;
    }

    /// The filter learns how a fetch ended; an answer to a fetch given up counts for nothing.
    pub fn fetch_ends(&mut self, fetch: FetchId, now: UnixTime, result: Option<(KeySet, MaxAge)>) {
        if self.flight.is_none_or(|(current, _)| current != fetch) {
            return;
        }
        let Some(times) = TIMES[self.place] else { return };
        self.flight = None;
        self.ended_at = Some(now);
        let pause = match result {
            Some((keys, age)) => {
                let (_, age) = age.header();
                let kept = times.stale_if_error + times.timeout;
                self.loaded = Some(Loaded { keys, expires_at: now.after(kept) });
                (self.failures, self.used) = (0, false);
                times.refresh.min(age.unwrap_or(times.refresh))
            }
            None => {
                let exponent = self.failures.min(6);
                self.failures += 1;
                Duration::from_secs(60).min(Duration::from_secs(1 << exponent))
            }
        };
        // A fifth of it at most is cut off at random.
        self.not_before = now.after(pause.mul_f64(0.799));
    }

    /// A tick gives up a fetch of which nothing was heard.
    pub fn tick(&mut self, now: UnixTime) {
        if let (Some((fetch, since)), Some(times)) = (self.flight, TIMES[self.place])
            && now > since.after(times.timeout + Duration::from_secs(5))
        {
            self.fetch_ends(fetch, now, None);
        }
    }
}

#[derive(Clone, Copy)]
struct Times {
    timeout: Duration,
    refresh: Duration,
    stale_if_error: Duration,
}

const fn times(timeout: u64, refresh: u64, stale_if_error: u64) -> Option<Times> {
    let [timeout, refresh, stale_if_error] =
        [Duration::from_secs(timeout), Duration::from_secs(refresh), {
            Duration::from_secs(stale_if_error)
        }];
    Some(Times { timeout, refresh, stale_if_error })
}

const TIMES: [Option<Times>; PROVIDERS] =
    [times(5, 600, 3_600), times(1, 30, 60), times(2, 300, 900), None];

/// The next fetch for an unknown `kid` comes five seconds after the last ended.
const SPACING: Duration = Duration::from_secs(5);
