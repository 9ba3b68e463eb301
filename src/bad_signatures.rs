//! Tokens that failed a signature, remembered, so that repeating one costs a look-up.
//!
//! An outsider chooses these texts freely, so they have a table of their own (no flood of garbage
//! pushes a good token out of `token_cache`) and a keyed hash of the whole, together with the
//! material of the keys that refused: another key is another question. Texts are never kept.

use std::collections::{BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::jwt::key::KeyFingerprint;
use crate::time::UnixTime;

/// A bounded memory of bad signatures.
#[derive(Debug)]
pub struct BadSignatures {
    hasher: SipHasher13,
    known: BTreeSet<u128>,
    /// In the order in which they came.
    order: VecDeque<(UnixTime, u128)>,
}

/// A token and the keys that it was held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt(u128);

impl BadSignatures {
    /// An empty memory. `seed` keeps outsiders from making two texts look like one.
    pub fn new(seed: u64) -> Self {
        let hasher = SipHasher13::new_with_keys(seed, seed.rotate_left(32) ^ KEY_SEPARATOR);
        Self { hasher, known: BTreeSet::new(), order: VecDeque::new() }
    }

    /// The question whether one of `keys` signed `text`.
    pub fn attempt(&self, text: &[u8], keys: impl Iterator<Item = KeyFingerprint>) -> Attempt {
        let mut hasher = self.hasher;
        for key in keys {
            key.hash(&mut hasher);
        }
        hasher.write(text);
        Attempt(hasher.finish128().as_u128())
    }

    /// Whether there is nothing to compare an attempt with. To make one of a text costs 2,400
    /// instructions, which a good token is spared while nobody sends bad ones.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether the answer was no, a short while ago.
    pub fn remembers(&mut self, attempt: Attempt, now: UnixTime) -> bool {
        self.forget_old(now);
        self.known.contains(&attempt.0)
    }

    /// Keeps in mind that the answer is no.
    pub fn remember(&mut self, attempt: Attempt, now: UnixTime) {
        self.forget_old(now);
        if self.order.len() >= MAX_ENTRIES
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        if self.known.insert(attempt.0) {
            self.order.push_back((now, attempt.0));
        }
    }

    fn forget_old(&mut self, now: UnixTime) {
        while let Some((since, oldest)) = self.order.front()
            && now >= since.after(MEMORY)
        {
            self.known.remove(oldest);
            self.order.pop_front();
        }
    }
}

/// A wrong no must not outlive a mistake in a key set for long.
const MEMORY: Duration = Duration::from_secs(30);
/// 32 bytes each and the tree's share: under half a megabyte.
const MAX_ENTRIES: usize = 8_192;
/// Makes a second key of the one seed.
const KEY_SEPARATOR: u64 = 0x7369_676e_6174_7572;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::algorithm::Algorithm;
    use crate::jwt::test_keys;

    fn attempt(memory: &BadSignatures, text: &str, algorithms: &[Algorithm]) -> Attempt {
        let keys = algorithms.iter().map(|one| test_keys::verifying_key(*one).fingerprint());
        memory.attempt(text.as_bytes(), keys)
    }

    #[test]
    fn text_and_keys_both_count() {
        use Algorithm::{Es256, Rs256};
        let mut memory = BadSignatures::new(1);
        let now = UnixTime::from_secs(100);
        let known = attempt(&memory, "a", &[Rs256]);
        memory.remember(known, now);
        for (name, text, algorithms, remembered) in [
            ("the same", "a", [Rs256].as_slice(), true),
            ("another text", "b", &[Rs256], false),
            ("another key", "a", &[Es256], false),
            ("a key more", "a", &[Rs256, Es256], false),
        ] {
            let asked = attempt(&memory, text, algorithms);
            assert_eq!(memory.remembers(asked, now), remembered, "{name}");
        }
        assert_ne!(attempt(&BadSignatures::new(2), "a", &[Rs256]), known, "the seed counts");
    }

    #[test]
    fn memory_ends_with_time_and_room() {
        let mut memory = BadSignatures::new(1);
        assert!(memory.is_empty());
        let attempts: Vec<_> =
            (0..=MAX_ENTRIES).map(|n| attempt(&memory, &n.to_string(), &[])).collect();
        let now = UnixTime::from_secs(100);
        for attempt in &attempts {
            memory.remember(*attempt, now);
        }
        assert_eq!((memory.known.len(), memory.order.len()), (MAX_ENTRIES, MAX_ENTRIES));
        assert!(!memory.remembers(attempts[0], now), "the oldest made room");
        assert!(memory.remembers(attempts[1], UnixTime::from_millis(129_999)));
        assert!(!memory.remembers(attempts[1], UnixTime::from_secs(130)));
        assert!(memory.known.is_empty() && memory.is_empty());
    }
}
