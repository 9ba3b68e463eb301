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
            // The same token, verified for another provider, is no loss.
            evicted = usize::from(old.hash != hash);
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
        // Three rounds: the first may find nothing but entries that were used.
        for _ in 0..self.sets.len().saturating_mul(3) {
            let at = if self.hand < self.sets.len() { self.hand } else { 0 };
            self.hand = at.saturating_add(1);
            let Some(set) = self.sets.get_mut(at) else { break };
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::verified_token::tests::verified;

    fn cache(entries: usize, bytes: usize) -> TokenCache {
        TokenCache::new(CacheLimits { entries, bytes }, 7)
    }

    fn tokens(count: usize) -> Vec<Rc<VerifiedToken>> {
        (0..count).map(|number| Rc::new(verified(&format!("u-{number:04}")))).collect()
    }

    /// What the counters must come to.
    fn recount(cache: &TokenCache) -> (usize, usize) {
        let kept = cache.sets.iter().flatten().flatten();
        kept.fold((0, 0), |(entries, bytes), slot| (entries + 1, bytes + slot.token.memory()))
    }

    #[test]
    fn a_token_is_found_by_all_of_its_bytes() {
        let mut cache = cache(10, 1 << 20);
        let token = Rc::new(verified("u"));
        let text = token.text().to_vec();
        assert!(cache.find(&text).is_none());
        assert_eq!(cache.insert(Rc::clone(&token)), 0);
        assert!(Rc::ptr_eq(&cache.find(&text).unwrap(), &token));
        assert_eq!(cache.len(), 1);
        for at in [0, 1, text.len() / 2, text.len() - 40, text.len() - 1] {
            let mut other = text.clone();
            *other.get_mut(at).unwrap() ^= 1;
            assert!(cache.find(&other).is_none(), "byte {at}");
        }
        let (_, shorter) = text.split_first().unwrap();
        assert!(cache.find(shorter).is_none());
        assert!(cache.find(b"").is_none());
    }

    #[test]
    fn both_bounds_hold_after_every_insertion() {
        let tokens = tokens(300);
        let each = tokens.first().unwrap().memory();
        for (name, entries, bytes, expected) in [
            ("entries", 50, usize::MAX, 50),
            ("bytes", 1_000, each * 20 + each / 2, 20),
            ("one entry", 1, usize::MAX, 1),
            ("one token's bytes", 10, each, 1),
            ("less than a token's bytes", 10, each - 1, 0),
            ("off", 0, usize::MAX, 0),
        ] {
            let mut cache = cache(entries, bytes);
            let mut evicted = 0;
            for token in &tokens {
                evicted += cache.insert(Rc::clone(token));
                assert_eq!(recount(&cache), (cache.entries, cache.bytes), "{name}");
                assert!(cache.entries <= entries && cache.bytes <= bytes, "{name}");
                let found = cache.find(token.text()).is_some();
                assert_eq!(found, expected > 0, "{name}: the newest stays");
            }
            assert_eq!(cache.len(), expected, "{name}");
            assert_eq!(cache.is_empty(), expected == 0, "{name}");
            if expected > 0 {
                assert_eq!(evicted, tokens.len() - expected, "{name}");
            }
        }
    }

    #[test]
    fn what_is_used_gets_a_second_chance() {
        let mut cache = cache(100, usize::MAX);
        let tokens = tokens(400);
        let (used, garbage) = tokens.split_at(50);
        for token in used {
            cache.insert(Rc::clone(token));
        }
        for token in garbage {
            cache.insert(Rc::clone(token));
            for token in used {
                cache.find(token.text());
            }
        }
        let kept = used.iter().filter(|token| cache.find(token.text()).is_some()).count();
        assert!(kept >= 45, "{kept} of 50 in use survived 350 that are not");
    }

    #[test]
    fn a_twin_takes_its_twins_place() {
        let mut cache = cache(10, usize::MAX);
        let (first, second) = (Rc::new(verified("u")), Rc::new(verified("u")));
        assert_eq!(first.text(), second.text());
        cache.insert(first);
        assert_eq!(cache.insert(Rc::clone(&second)), 0, "nothing was lost");
        assert_eq!(recount(&cache), (1, second.memory()));
        assert!(Rc::ptr_eq(&cache.find(second.text()).unwrap(), &second));
    }

    #[test]
    fn retain_forgets_the_others() {
        let mut cache = cache(100, usize::MAX);
        for token in tokens(40) {
            cache.insert(token);
        }
        cache.retain(|token| token.subject().is_some_and(|subject| subject < "u-0010"));
        assert_eq!(cache.len(), 10);
        assert_eq!(recount(&cache), (cache.entries, cache.bytes));
        cache.retain(|_| false);
        assert_eq!((cache.entries, cache.bytes), (0, 0));
    }
}
