//! The filter as its host drives it: a list of operations, and after each what must hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use arbitrary::Arbitrary;
use session_token_filter::config;
use session_token_filter::filter::waiting::StreamId;
use session_token_filter::filter::{Filter, Verdict};
use session_token_filter::jwks::fetch::{FetchError, FetchId, FetchResponse};
use session_token_filter::policy::Policy;
use session_token_filter::reason::Reason;
use session_token_filter::request::RequestHead;
use session_token_filter::stats::Change;
use session_token_filter::time::UnixTime;

use crate::keys::ChecksumVerifier;
use crate::model::{
    Answer, COOKIES, KeySet, MaxAge, NAMES, PROVIDERS, ProviderModel, configuration,
};
use crate::tokens::{KeyId, START, TokenSpec};

/// One whole life of a filter.
#[derive(Debug, Arbitrary)]
pub struct Input {
    seed: u64,
    tiny_cache: bool,
    portable: bool,
    /// Whether all keys are there when it begins.
    warm: bool,
    operations: Vec<Operation>,
}

/// What happens to a filter.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Operation {
    /// Some seconds pass.
    Wait(u16),
    /// So much time passes that something runs out.
    WaitLong(Pause),
    /// A request comes.
    Request(Request),
    /// Requests come in a row, each with another forged `kid`.
    Flood { first: Request, count: u8 },
    /// Many requests of the same kind come, each with the same session or with one of its own.
    Crowd { request: Request, count: u8, own: bool },
    /// A client asks once more, as it did not long ago.
    Again(u8),
    /// The host ticks; fetches that are due are sent, or can't be.
    Tick { sent: bool },
    /// A key server answers.
    Answered { which: u8, answer: Answer },
    /// A token with a `kid` that no set has, or time, makes for a fetch, and the answer comes.
    Refetched { first: Request, soon: bool, answer: Answer },
    /// A client that waits hangs up.
    HangUp(u8),
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Pause {
    AlmostFiveSeconds,
    FiveSeconds,
    HalfMinute,
    TwoMinutes,
    TwentyMinutes,
    TwoHours,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
struct Request {
    path: Path,
    carrier: Carrier,
    has_body: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary)]
enum Path {
    Public,
    Optional,
    Denied,
    Some,
    Other,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Carrier {
    Nothing,
    Header(TokenSpec),
    Cookie(TokenSpec),
    Twins(TokenSpec, TokenSpec),
    Both { header: TokenSpec, cookie: TokenSpec },
    GarbageInHeader(u8),
    GarbageInCookie(u8),
}

impl Input {
    /// Drives a filter through it.
    ///
    /// # Panics
    /// If the filter does what it must never do.
    pub fn run(self) {
        thread_local! {
            static POLICIES: [Rc<Policy>; 2] = [policy(SMALL_CACHE), policy(TINY_CACHE)];
        }
        let policy = POLICIES.with(|both| Rc::clone(&both[usize::from(self.tiny_cache)]));
        let cache_entries = policy.cache.entries;
        let mut filter = Filter::new(policy, self.seed);
        let gauge = "session_token.waiting_streams";
        let mut metrics = filter.stats().definitions().iter();
        let gauge = metrics.position(|metric| metric.name == gauge).expect("a gauge");
        let mut world = World {
            filter,
            providers: ProviderModel::all(),
            crypto: ChecksumVerifier { portable: self.portable, ..ChecksumVerifier::default() },
            now: START,
            ticked: START,
            flights: Vec::new(),
            waiting: BTreeMap::new(),
            accepted: BTreeSet::new(),
            lately: VecDeque::new(),
            next_stream: 0,
            requests: 0,
            gauge: (gauge, 0),
            cache_entries,
        };
        if self.warm {
            world.tick(true);
            while !world.flights.is_empty() {
                world.answer(0, Answer::Keys { names: 0b111, shift: 0, age: MaxAge::Absent });
            }
        }
        for operation in self.operations {
            if world.requests > MAX_REQUESTS {
                break;
            }
            world.apply(operation);
            world.check();
        }
        world.finish();
    }
}

struct World {
    filter: Filter,
    providers: [ProviderModel; PROVIDERS],
    crypto: ChecksumVerifier,
    now: UnixTime,
    /// When it ticked last; by that time a token is judged that was verified before.
    ticked: UnixTime,
    flights: Vec<(FetchId, usize)>,
    waiting: BTreeMap<StreamId, Waiter>,
    accepted: BTreeSet<TokenSpec>,
    /// The last few requests.
    lately: VecDeque<Request>,
    next_stream: u32,
    requests: u32,
    /// The place of the number of waiting streams among the metrics, and what was told of it.
    gauge: (usize, i64),
    cache_entries: usize,
}

struct Waiter {
    request: Request,
    since: UnixTime,
    times: usize,
    /// Whose keys, and whether there was a set of them; nothing if it is not clear whose.
    pool: Option<(usize, bool)>,
}

impl World {
    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Wait(millis) => self.pass(Duration::from_millis((millis % 8_192).into())),
            Operation::WaitLong(pause) => self.pass(Duration::from_secs(match pause {
                Pause::AlmostFiveSeconds => 4,
                Pause::FiveSeconds => 5,
                Pause::HalfMinute => 30,
                Pause::TwoMinutes => 120,
                Pause::TwentyMinutes => 1_200,
                Pause::TwoHours => 7_200,
            })),
            Operation::Request(request) => self.request(request),
            Operation::Flood { first, count } => {
                for forged in 0..crowd(count) {
                    self.request(first.with_forged_key_id(forged));
                }
            }
            Operation::Crowd { request, count, own } => {
                for times in 0..crowd(count) {
                    self.request(if own { request.renewed(times) } else { request });
                }
            }
            Operation::Again(which) => {
                let count = self.lately.len().max(1);
                if let Some(request) = self.lately.get(usize::from(which) % count) {
                    self.request(*request);
                }
            }
            Operation::Tick { sent } => self.tick(sent),
            Operation::Answered { which, answer } => self.answer(which, answer),
            Operation::Refetched { first, soon, answer } => {
                self.pass(Duration::from_secs(if soon { 5 } else { 601 }));
                self.request(if soon { first.with_forged_key_id(0) } else { first });
                self.tick(true);
                self.answer(u8::MAX, answer);
            }
            Operation::HangUp(which) => {
                let count = self.waiting.len().max(1);
                let which = self.waiting.keys().copied().nth(usize::from(which) % count);
                if let Some(stream) = which {
                    self.waiting.remove(&stream);
                    self.filter.on_stream_done(stream);
                    assert!(!self.filter.awaits_response(stream), "a record of who hung up");
                }
            }
        }
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }

    fn tick(&mut self, sent: bool) {
        self.filter.on_tick(self.now);
        self.ticked = self.now;
        self.providers.iter_mut().for_each(|provider| provider.tick(self.now));
        while let Some(fetch) = self.filter.poll_fetch(self.now) {
            let provider = NAMES.iter().position(|name| **name == *fetch.cluster);
            let provider = provider.expect("a cluster of ours");
            self.providers[provider].fetch_begins(fetch.id, self.now);
            if sent {
                self.flights.push((fetch.id, provider));
            } else {
                self.providers[provider].fetch_ends(fetch.id, self.now, None);
                self.filter.on_fetch_done(self.now, fetch.id, Err(FetchError::NotSent));
            }
        }
        assert!(!self.filter.wants_tick(self.now), "a fetch is due after all were sent");
        self.resume();
        for (stream, waiter) in &self.waiting {
            assert!(
                self.now < waiter.since.after(PATIENCE),
                "{stream:?} waits beyond its deadline, after a tick"
            );
        }
    }

    fn answer(&mut self, which: u8, answer: Answer) {
        if self.flights.is_empty() {
            return;
        }
        let which = usize::from(which).min(self.flights.len() - 1);
        let (fetch, provider) = self.flights.remove(which);
        let respond = |status, cache_control, body| {
            let body: &[u8] = body;
            Ok(FetchResponse { status, cache_control, body })
        };
        let good = KeySet::new(0b1, 0).expect("a key").text(provider);
        let text;
        let (response, keys) = match answer {
            Answer::Keys { names, shift, age } => {
                let keys = KeySet::new(names, shift);
                text = keys.map(|keys| keys.text(provider));
                let body = text.as_deref().unwrap_or(br#"{"keys":[]}"#);
                (respond(200, age.header().0, body), keys.map(|keys| (keys, age)))
            }
            Answer::Truncated(length) => {
                let end = usize::from(length).min(good.len() - 1);
                (respond(200, None, &good[..end]), None)
            }
            Answer::Html => (respond(200, None, b"<html></html>"), None),
            // A status that says 200 is a good answer in another operation.
            Answer::Status(200) => (respond(503, None, &good), None),
            Answer::Status(status) => (respond(status, None, &good), None),
            Answer::Broken => (Err(FetchError::NoAnswer), None),
        };
        self.providers[provider].fetch_ends(fetch, self.now, keys);
        self.filter.on_fetch_done(self.now, fetch, response);
        self.resume();
    }

    fn resume(&mut self) {
        while let Some(stream) = self.filter.poll_ready() {
            let waiter = self.waiting.remove(&stream);
            let waiter = waiter.expect("only a stream that waits is named");
            self.decide(stream, waiter.request, Some(waiter));
        }
    }

    fn request(&mut self, request: Request) {
        let stream = StreamId(self.next_stream);
        self.next_stream += 1;
        self.requests += 1;
        self.lately.push_front(request);
        self.lately.truncate(8);
        self.decide(stream, request, None);
    }

    fn decide(&mut self, stream: StreamId, request: Request, before: Option<Waiter>) {
        let now = self.now;
        for token in request.ours() {
            self.providers[token.issuer()].presented(token, now);
        }
        let pairs = request.pairs();
        let pairs = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
        let head = RequestHead::new(pairs.collect(), request.has_body);
        match self.filter.on_request(&now, stream, &head, &self.crypto) {
            Verdict::Continue(edits) => {
                let token = edits.claims.as_ref().map(|token| token.text().to_vec());
                self.continued(request, token.as_deref());
            }
            Verdict::Deny(denial) => self.denied(request, denial.reason),
            Verdict::Wait => return self.waits(stream, request, before),
        }
        self.responds(stream);
    }

    /// Whoever answers, the response's cookie is shared, once.
    fn responds(&mut self, stream: StreamId) {
        assert!(self.filter.awaits_response(stream), "no record of {stream:?}");
        for expected in [Some(b"plain=x; Domain=.www.example".as_slice()), None] {
            let edits = self.filter.on_response(stream, &[b"plain=x"]);
            assert!(edits.set_cookies.iter().map(|line| &**line).eq(expected), "{edits:?}");
            assert!(!self.filter.awaits_response(stream), "a record is kept");
        }
    }

    fn continued(&mut self, request: Request, verified: Option<&[u8]>) {
        let Some(verified) = verified else {
            assert!(
                request.path == Path::Public
                    || request.path == Path::Optional && request.ours().next().is_none(),
                "goes on without a verified token: {request:?}"
            );
            return;
        };
        assert!(!matches!(request.path, Path::Public | Path::Denied), "{request:?}");
        let token = request.ours().find(|token| *token.text() == *verified);
        let token = token.expect("what is accepted was presented to a provider of the rule");
        let provider = &self.providers[token.issuer()];
        assert!(
            [self.now, self.ticked].into_iter().any(|time| provider.accepts(token, time)),
            "accepted at {:?}, which it must not be: {token:?} by {provider:?}",
            self.now
        );
        self.accepted.insert(token);
    }

    fn denied(&self, request: Request, reason: Reason) {
        assert_ne!(request.path, Path::Public, "{reason}");
        if request.path == Path::Denied {
            assert_eq!(reason, Reason::DeniedByRule);
            return;
        }
        let Some(token) = request.only_ours() else { return };
        let provider = &self.providers[token.issuer()];
        let good = provider.accepts(token, self.now);
        let overloaded = reason == Reason::Overloaded && self.crypto.portable;
        assert!(
            !good || overloaded,
            "{reason} at {:?}, which is accepted: {token:?} by {provider:?}",
            self.now
        );
        match reason {
            Reason::KeysUnavailable => assert!(provider.current(self.now).is_none(), "{token:?}"),
            Reason::UnknownKey => assert!(provider.key_of(token, self.now).is_none(), "{token:?}"),
            Reason::Expired | Reason::NotYetValid => assert!(!token.is_timely(self.now)),
            Reason::BadSignature => assert!(
                !token.is_signed()
                    || provider.key_of(token, self.now).is_some_and(|key| key != token.material())
            ),
            Reason::Overloaded => assert!(self.crypto.portable),
            other => panic!("{other} has no cause in {request:?}"),
        }
    }

    fn waits(&mut self, stream: StreamId, request: Request, before: Option<Waiter>) {
        let now = self.now;
        let is_awaited = |token: &TokenSpec| {
            let provider = &self.providers[token.issuer()];
            let without_keys = match provider.current(now) {
                None => !provider.backs_off(now),
                Some(_) => {
                    let due = provider.unknown_key_id_due().max(now);
                    let comes = provider.in_flight() || self.filter.wants_tick(due);
                    provider.key_of(*token, now).is_none()
                        && token.key_id() != KeyId::Absent
                        && comes
                }
            };
            provider.is_remote() && token.is_timely(now) && without_keys
        };
        let awaited = request.ours().find(is_awaited);
        let token = awaited.unwrap_or_else(|| panic!("waits for nothing: {request:?}"));
        let has_set = self.providers[token.issuer()].current(now).is_some();
        let (since, times) = before.map_or((now, 0), |before| (before.since, before.times));
        assert!(times < 2 * PROVIDERS, "waits again and again: {request:?}");
        assert!(now < since.after(PATIENCE), "waits beyond its deadline: {request:?}");
        let clear = request.ours().all(|other| other.issuer() == token.issuer());
        let pool = clear.then_some((token.issuer(), has_set));
        self.waiting.insert(stream, Waiter { request, since, times: times + 1, pool });
    }

    fn check(&mut self) {
        let mut without_set = 0;
        let mut for_newer_set = [0; PROVIDERS];
        for waiter in self.waiting.values() {
            let Some((provider, has_set)) = waiter.pool else { continue };
            if has_set {
                for_newer_set[provider] += 1;
            } else {
                without_set += if waiter.request.has_body { 10 } else { 1 };
            }
        }
        assert!(without_set <= 200, "{without_set} wait for a first set");
        for (waiting, name) in for_newer_set.iter().zip(NAMES) {
            assert!(*waiting <= 100, "{name}: {waiting} wait for a newer set");
        }
        let (place, told) = &mut self.gauge;
        for (changed, change) in self.filter.stats().take() {
            if let Change::Add(amount) = change
                && changed == *place
            {
                *told += amount;
            }
        }
        assert_eq!(usize::try_from(*told), Ok(self.waiting.len()), "the gauge of waiters");
        while self.filter.poll_log().is_some() {}
    }

    /// Nothing happens any more; all who wait are answered nevertheless.
    fn finish(mut self) {
        self.check_cache();
        self.pass(PATIENCE);
        self.tick(true);
        self.pass(PATIENCE);
        self.tick(true);
        assert!(self.waiting.is_empty(), "{} streams are lost", self.waiting.len());
        self.check();
    }

    /// What is still accepted while no signature is good was kept.
    fn check_cache(&mut self) {
        self.crypto = ChecksumVerifier { refuses_all: true, ..ChecksumVerifier::default() };
        // Several specifications may come to one text.
        let mut kept = BTreeSet::new();
        for token in std::mem::take(&mut self.accepted) {
            let request =
                Request { path: Path::Other, carrier: Carrier::Header(token), has_body: false };
            let pairs = request.pairs();
            let pairs = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
            let head = RequestHead::new(pairs.collect(), false);
            let stream = StreamId(u32::MAX);
            self.providers[token.issuer()].presented(token, self.now);
            let verdict = self.filter.on_request(&self.now, stream, &head, &self.crypto);
            if matches!(verdict, Verdict::Continue(_)) {
                let provider = &self.providers[token.issuer()];
                assert!(
                    [self.now, self.ticked].into_iter().any(|time| provider.accepts(token, time)),
                    "kept too long at {:?}: {token:?} by {provider:?}",
                    self.now
                );
                kept.insert(token.text());
            }
            self.filter.on_stream_done(stream);
        }
        let (entries, bytes) = (kept.len(), kept.iter().map(|text| text.len()).sum::<usize>());
        assert!(entries <= self.cache_entries, "{entries} tokens are kept");
        assert!(bytes <= 64 << 10, "{bytes} bytes are kept");
    }
}

impl Request {
    /// The tokens that belong to a provider of the rule.
    fn ours(self) -> impl Iterator<Item = TokenSpec> {
        let tokens = match self.carrier {
            Carrier::Nothing | Carrier::GarbageInHeader(_) | Carrier::GarbageInCookie(_) => {
                [None, None]
            }
            Carrier::Header(token) | Carrier::Cookie(token) => [Some(token), None],
            Carrier::Twins(first, second) => [Some(first), Some(second)],
            Carrier::Both { header, cookie } => [Some(header), Some(cookie)],
        };
        let providers = match self.path {
            Path::Public | Path::Denied => 0..0,
            Path::Some => 0..2,
            Path::Optional | Path::Other => 0..PROVIDERS,
        };
        tokens.into_iter().flatten().filter(move |token| providers.contains(&token.issuer()))
    }

    /// The token that decides alone, where there is no doubt which.
    fn only_ours(self) -> Option<TokenSpec> {
        match self.carrier {
            Carrier::Header(_) | Carrier::Cookie(_) => self.ours().next(),
            Carrier::Both { header, cookie } if header.issuer() == cookie.issuer() => {
                self.ours().next()
            }
            _ => None,
        }
    }

    fn with_forged_key_id(self, forged: u8) -> Self {
        self.with(|token| token.with_forged_key_id(forged))
    }

    fn renewed(self, times: u8) -> Self {
        self.with(|token| token.renewed(times))
    }

    fn with(self, change: impl Fn(TokenSpec) -> TokenSpec) -> Self {
        let carrier = match self.carrier {
            Carrier::Header(token) => Carrier::Header(change(token)),
            Carrier::Cookie(token) => Carrier::Cookie(change(token)),
            other => other,
        };
        Self { carrier, ..self }
    }

    fn pairs(self) -> Vec<(&'static str, Vec<u8>)> {
        let path = match self.path {
            Path::Public => "/public",
            Path::Optional => "/optional",
            Path::Denied => "/denied",
            Path::Some => "/some",
            Path::Other => "/other",
        };
        let mut pairs = vec![
            (":method", b"GET".to_vec()),
            (":path", path.into()),
            (":authority", b"www.example".to_vec()),
        ];
        let bearer = |text: &[u8]| ("authorization", [b"Bearer ", text].concat());
        let cookie = |token: TokenSpec| {
            let name = COOKIES.get(token.issuer()).copied().unwrap_or(COOKIES[0]);
            ("cookie", [name.as_bytes(), b"=", &token.text()].concat())
        };
        let garbage = |which: u8| GARBAGE[usize::from(which) % GARBAGE.len()];
        match self.carrier {
            Carrier::Nothing => {}
            Carrier::Header(token) => pairs.push(bearer(&token.text())),
            Carrier::Cookie(token) => pairs.push(cookie(token)),
            Carrier::Twins(first, second) => pairs.extend([cookie(first), cookie(second)]),
            Carrier::Both { header, cookie: second } => {
                pairs.extend([bearer(&header.text()), cookie(second)]);
            }
            Carrier::GarbageInHeader(which) => pairs.push(bearer(garbage(which))),
            Carrier::GarbageInCookie(which) => {
                pairs.push(("cookie", [b"plain=", garbage(which)].concat()));
            }
        }
        pairs
    }
}

/// Few as a rule, since each costs time; sometimes more than may wait.
fn crowd(count: u8) -> u8 {
    match count {
        0..200 => count % 6,
        200..245 => 25,
        245.. => 205,
    }
}

fn policy(cache_entries: u16) -> Rc<Policy> {
    let text = configuration(cache_entries).to_string();
    Rc::new(config::load(text.as_bytes()).expect("a good configuration").policy)
}

const TINY_CACHE: u16 = 3;
const SMALL_CACHE: u16 = 40;

/// No run takes longer than this.
const MAX_REQUESTS: u32 = 600;

/// The longest timeout of a provider and a second, which is also how long a request waits for a
/// newer set.
const PATIENCE: Duration = Duration::from_secs(6);

const GARBAGE: [&[u8]; 6] = [b"x", b"a.b.c", b"..", b"\xff\0", b"bnVsbA.bnVsbA.", b"%2e"];
