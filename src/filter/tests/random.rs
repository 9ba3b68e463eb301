//! Random operations against what must hold in every order.
//!
//! 1. Never two fetches under way for one provider, unless the first was given up as lost.
//! 2. No stream is lost, none is answered twice, none waits past its deadline.
//! 3. Nothing is accepted but by a key of the last set that was fetched, and never once that set
//!    has expired.
//! 4. The number of waiting streams is bounded, and the gauge tells it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::world::{Outcome, Request, START, World, key_set, provider, token_with};
use crate::jwks::fetch::{FetchError, FetchId, FetchResponse};
use crate::time::UnixTime;

/// splitmix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What must be true of one provider.
#[derive(Default)]
struct Expected {
    /// The keys of the last good fetch, and when they expire.
    keys: Vec<u8>,
    expires_at: UnixTime,
    sent_at: UnixTime,
    in_flight: Option<FetchId>,
}

const PROVIDERS: [&str; 2] = ["main", "other"];
const KEYS: u8 = 4;
/// How long a stream may wait, and one tick.
const PATIENCE: Duration = Duration::from_secs(7);

struct Model {
    world: World,
    random: Random,
    providers: BTreeMap<String, Expected>,
    /// Tokens by issuer and key, all valid for a day; made once, since signing is slow.
    tokens: Vec<(usize, u8, String)>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let twins = json!({ "duplicate_cookies": "newest" });
        let configuration = json!({
            "providers": PROVIDERS.map(|name| provider(name, twins.clone())),
            "cache": { "entries": 3, "bytes": "64KiB" },
        });
        let mut tokens = Vec::new();
        for (issuer, name) in PROVIDERS.iter().enumerate() {
            for key in 1..=KEYS {
                for lifetime in [600, 86_400] {
                    let header = json!({ "kid": format!("k{key}") });
                    let claims = json!({
                        "iss": format!("https://{name}.example"), "exp": START + lifetime,
                    });
                    tokens.push((issuer, key, token_with(key, header, claims)));
                }
            }
        }
        let providers = PROVIDERS.map(|name| (name.to_owned(), Expected::default()));
        let (world, random) = (World::new(&configuration), Random(seed));
        Self { world, random, providers: providers.into(), tokens }
    }

    fn step(&mut self) {
        match self.random.below(12) {
            0..=4 => {
                let request = self.request();
                let outcome = self.world.request(request);
                self.check_outcome(&outcome);
            }
            5 | 6 => self.answer(),
            7 if self.world.paused() > 0 => self.world.hang_up(),
            8 => {
                let seconds = [0, 1, 3, 30, 700][usize::try_from(self.random.below(5)).unwrap()];
                self.world.pass(Duration::from_millis(seconds * 1_000 + 1));
                self.tick();
            }
            9 if self.random.below(40) == 0 => {
                self.world.pass(Duration::from_secs(4_000));
                self.tick();
            }
            _ => {
                self.world.pass(Duration::from_millis(900));
                self.tick();
            }
        }
        assert!(self.world.paused() <= 400);
        assert_eq!(self.world.filter.waiting.len(), self.world.paused());
        let gauge = self.world.metric("waiting_streams");
        assert_eq!(usize::try_from(gauge).unwrap(), self.world.paused());
    }

    fn request(&mut self) -> Request {
        let mut request = Request::get("/");
        if self.random.below(4) == 0 {
            request = request.with_body();
        }
        for _ in 0..=self.random.below(3) {
            let place = self.random.below(u64::try_from(self.tokens.len()).unwrap());
            let (issuer, _, token) = &self.tokens[usize::try_from(place).unwrap()];
            request = match self.random.below(3) {
                0 => request.bearer(token),
                _ => request.with("cookie", format!("{}={token}", PROVIDERS[*issuer])),
            };
        }
        request
    }

    /// What is accepted was signed by a key that is good now.
    fn check_outcome(&self, outcome: &Outcome) {
        let Outcome::Continue(headers) = outcome else { return };
        let (_, bearer) = headers.iter().find(|(name, _)| name == "authorization").unwrap();
        let accepted = |(_, _, token): &&(usize, u8, String)| bearer.ends_with(token.as_bytes());
        let (issuer, key, _) = self.tokens.iter().find(accepted).unwrap();
        let expected = &self.providers[PROVIDERS[*issuer]];
        assert!(expected.keys.contains(key), "accepted by a key that is not in the set");
        assert!(self.world.now < expected.expires_at, "accepted by an expired set");
    }

    fn answer(&mut self) {
        let Some(fetch) = self.world.flights.first() else { return };
        let (id, cluster) = (fetch.id, String::from(&*fetch.cluster));
        let keys: Vec<_> = (1..=KEYS).filter(|_| self.random.below(2) == 0).collect();
        let names: Vec<_> = keys.iter().map(|key| format!("k{key}")).collect();
        let named: Vec<_> = keys.iter().copied().zip(names.iter().map(|name| &**name)).collect();
        let document = key_set(&named);
        // A fetch that was given up as lost may still be answered; that means nothing.
        let is_current = self.world.filter.keys.iter().any(|state| state.flight == Some(id));
        let succeeds = self.random.below(3) > 0;
        let result = if succeeds {
            let body = document.as_bytes();
            Ok(FetchResponse { status: 200, cache_control: None, body })
        } else {
            Err(FetchError::NoAnswer)
        };
        self.world.serve(result);
        if is_current {
            let expected = self.providers.get_mut(&cluster).unwrap();
            expected.in_flight = None;
            if succeeds && !keys.is_empty() {
                expected.keys = keys;
                expected.expires_at = self.world.now.after(Duration::from_secs(3_605));
            }
        }
        self.resume();
    }

    fn tick(&mut self) {
        let known = self.world.flights.len();
        self.world.tick();
        for fetch in &self.world.flights[known..] {
            let expected = self.providers.get_mut(&*fetch.cluster).unwrap();
            if expected.in_flight.is_some() {
                let age = self.world.now.since(expected.sent_at);
                assert!(age > Duration::from_secs(10), "two fetches for one provider");
            }
            (expected.in_flight, expected.sent_at) = (Some(fetch.id), self.world.now);
        }
        self.resume();
        assert!(self.world.oldest_pause() < PATIENCE, "waits past its deadline");
    }

    fn resume(&mut self) {
        for outcome in self.world.resumed() {
            self.check_outcome(&outcome);
        }
    }
}

#[test]
fn whatever_happens_in_whatever_order() {
    let mut accepted = 0;
    for seed in 0..40 {
        let mut model = Model::new(seed);
        for _ in 0..400 {
            model.step();
        }
        // Nobody answers any more: everybody is told.
        model.world.flights.clear();
        for _ in 0..8 {
            model.world.pass(Duration::from_secs(1));
            model.world.filter.on_tick(model.world.now);
            model.resume();
        }
        assert_eq!(model.world.paused(), 0, "seed {seed}");
        accepted += model.world.metric("allowed");
    }
    assert!(accepted > 1_000, "the operations reach what they are to test: {accepted}");
}

#[test]
fn no_bytes_can_break_a_decision() {
    let twins = json!({ "duplicate_cookies": "newest", "on_conflict": "reject" });
    let configuration = json!({
        "providers": PROVIDERS.map(|name| provider(name, twins.clone())),
        "rules": [{ "match": { "path": { "template": "/a/{x}" } }, "access": "optional" }],
    });
    let mut world = World::with_keys(&configuration, &[(1, "k1")]);
    let mut random = Random(1);
    let good = token_with(1, json!({ "kid": "k1" }), json!({}));
    let pieces: [&[u8]; 16] = [
        b"Bearer ",
        b"main=",
        b"other=",
        b"; ",
        b",",
        b".",
        b"\"",
        b"%",
        b"%2e",
        b"\xff",
        b"\0",
        b" ",
        b"=",
        b"eyJhbGciOiJFZERTQSJ9",
        b"e30",
        good.as_bytes(),
    ];
    let names = ["authorization", "cookie", "cookie", "x-user-id", "x_user.id", "origin", ":path"];
    let mut words = BTreeMap::new();
    for round in 0..3_000 {
        let path = ["/a/b", "/", "/a/%2e", "*", "//"][round % 5];
        let mut request = Request::new(["GET", "OPTIONS", "", "\u{ff}"][round % 4], path);
        for _ in 0..random.below(4) {
            let name = names[usize::try_from(random.below(7)).unwrap()];
            let value = (0..random.below(12))
                .flat_map(|_| pieces[usize::try_from(random.below(16)).unwrap()])
                .copied();
            request = request.with(name, value.collect::<Vec<_>>());
        }
        *words.entry(world.request(request).word()).or_insert(0) += 1;
    }
    assert!(words.len() >= 6, "{words:?}");
    // Sizes beyond every limit: decided, and at once.
    let flood = "main=x; ".repeat(8_000) + &format!("main={good}");
    let mut many =
        Request::get("/").with("cookie", flood).with("authorization", "A".repeat(100_000));
    for number in 0..2_000 {
        many = many.with("x_user-id", number.to_string());
    }
    assert_eq!(world.request(many).word(), "continue", "the only twin that verifies");
    let large = format!("Bearer {}", "A.".repeat(50_000));
    assert_eq!(world.request(Request::get("/").with("authorization", large)).word(), "malformed");
    assert_eq!(world.request(Request::get("/").bearer(&good)).word(), "continue");
}
