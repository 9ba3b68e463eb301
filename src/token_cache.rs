//! Tokens that were verified, so that a session's next request costs a look-up.
//!
//! Only verified tokens enter, so garbage pushes nothing out. What a rule thinks of a token is
//! never kept. The table is set-associative with a second chance for what was used: std's
//! `HashMap` with its hash and compare costs 12,000 instructions a look-up in the host's virtual
//! machine, this 1,000.

use std::rc::Rc;

use crate::bytes;
use crate::policy::CacheLimits;
use crate::verified_token::VerifiedToken;

/// A bounded cache of verified tokens.
#[derive(Debug)]
pub struct TokenCache {
    /// None before the first token.
    sets: Vec<Set>,
    seed: u64,
    limits: CacheLimits,
    entries: usize,
    bytes: usize,
    /// The set where room is made next.
    hand: usize,
}

impl TokenCache {
    /// An empty cache. `seed` keeps outsiders from choosing which tokens share a set.
    pub fn new(limits: CacheLimits, seed: u64) -> Self {
        Self { sets: Vec::new(), seed, limits, entries: 0, bytes: 0, hand: 0 }
    }

    /// Forgets everything, and gives the memory back.
    pub fn clear(&mut self) {
        *self = Self::new(self.limits, self.seed);
    }

    /// The verified token with exactly this text.
    pub fn find(&mut self, text: &[u8]) -> Option<Rc<VerifiedToken>> {
        let hash = self.hash(text);
        let slots = self.set_of(hash)?.iter_mut().flatten();
        let found = slots
            .filter(|slot| slot.hash == hash)
            .find(|slot| bytes::same(slot.token.text(), text))?;
        found.used = true;
        Some(Rc::clone(&found.token))
    }

    /// Keeps `token`, and says how many others had to go for it.
    pub fn insert(&mut self, token: Rc<VerifiedToken>) -> usize {
        let memory = token.memory();
        if memory > self.limits.bytes {
            return 0;
        }
        self.make_sets();
        let hash = self.hash(token.text());
        let Some(set) = self.set_of(hash) else { return 0 };
        let place =
            victim(set, |slot| slot.hash == hash && bytes::same(slot.token.text(), token.text()));
        let Some(place) = place else { return 0 };
        let old = place.replace(Slot { hash, used: false, token });
        let mut evicted = 0_usize;
        self.entries = self.entries.saturating_add(1);
        self.bytes = self.bytes.saturating_add(memory);
        if let Some(old) = old {
            self.forget(&old);
            evicted = 1;
        }
        while self.entries > self.limits.entries || self.bytes > self.limits.bytes {
            if !self.evict_one(hash) {
                break;
            }
            evicted = evicted.saturating_add(1);
        }
        evicted
    }

    /// Forgets what `keeps` says no to.
    pub fn retain(&mut self, keeps: impl Fn(&VerifiedToken) -> bool) {
        let (mut entries, mut bytes) = (0_usize, 0_usize);
        for slot in self.sets.iter_mut().flatten() {
            match slot {
                Some(kept) if keeps(&kept.token) => {
                    entries = entries.saturating_add(1);
                    bytes = bytes.saturating_add(kept.token.memory());
                }
                other => *other = None,
            }
        }
        (self.entries, self.bytes) = (entries, bytes);
    }

    /// How many tokens are kept.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Makes the table with the first token, not at load: where there is no memory for it, nothing
    /// is cached.
    fn make_sets(&mut self) {
        if !self.sets.is_empty() || self.limits.entries == 0 {
            return;
        }
        // Twice the room that is needed, since tokens don't spread evenly.
        let sets = self.limits.entries.saturating_mul(2).div_ceil(WAYS).next_power_of_two();
        if self.sets.try_reserve_exact(sets).is_ok() {
            self.sets.resize_with(sets, Set::default);
        }
    }

    /// Makes room anywhere but in the newest entry, whose hash is `newest`.
    fn evict_one(&mut self, newest: u64) -> bool {
        // Two rounds and a half: the first may find nothing but entries that were used.
        for _ in 0..self.sets.len().saturating_mul(3) {
            let at = self.hand;
            let Some(set) = self.sets.get_mut(at) else {
                self.hand = 0;
                continue;
            };
            self.hand = at.saturating_add(1);
            for place in set {
                match place {
                    Some(slot) if slot.hash == newest => {}
                    Some(slot) if slot.used => slot.used = false,
                    Some(_) => {
                        if let Some(slot) = place.take() {
                            self.forget(&slot);
                        }
                        return true;
                    }
                    None => {}
                }
            }
        }
        false
    }

    fn forget(&mut self, slot: &Slot) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(slot.token.memory());
    }

    fn set_of(&mut self, hash: u64) -> Option<&mut Set> {
        let mask = u64::try_from(self.sets.len().checked_sub(1)?).ok()?;
        self.sets.get_mut(usize::try_from(hash & mask).ok()?)
    }

    /// Hashes the length and the last bytes: they are a signature that was verified, so nobody
    /// chooses them freely.
    fn hash(&self, text: &[u8]) -> u64 {
        let (_, words) = text.as_rchunks::<8>();
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        words.iter().rev().take(4).fold(self.seed ^ length, |hash, word| {
            (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        }) >> 16
    }
}

const WAYS: usize = 4;

type Set = [Option<Slot>; WAYS];

#[derive(Debug)]
struct Slot {
    hash: u64,
    /// Whether it was found since room was last sought here.
    used: bool,
    token: Rc<VerifiedToken>,
}

/// The place in `set` for a newcomer: its twin's, an empty one, or that of the first entry that was
/// not used since the last search.
fn victim(set: &mut Set, is_twin: impl Fn(&Slot) -> bool) -> Option<&mut Option<Slot>> {
    let twin = set.iter().position(|place| place.as_ref().is_some_and(&is_twin));
    let empty = || set.iter().position(Option::is_none);
    let unused = || set.iter().position(|place| place.as_ref().is_some_and(|slot| !slot.used));
    let at = twin.or_else(empty).or_else(unused);
    if at.is_none() {
        set.iter_mut().flatten().for_each(|slot| slot.used = false);
    }
    set.get_mut(at.unwrap_or_default())
}
