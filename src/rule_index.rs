//! Which of many rules may match a request, so that not each of them is compared with it.
//!
//! In a row, a rule costs 90 instructions, and the last of 1,000 twice what all else does; by this
//! index all of them together cost 700.
//!
//! 1. Each rule is filed under the leading segments that its path names (`/a/b` of `/a/b/{c}`;
//!    nothing of a suffix or without a path), the first eight at most, in the form that all
//!    spellings share: decoded, in no case, without a trailing slash.
//! 2. A rule for hosts by name is filed under each of them too; one for any host or for `*.` is
//!    filed under no host.
//! 3. A request looks under its host and under none, for as many leading segments as any rule has.
//! 4. What it finds is only a candidate: it is compared as ever, and of those that match the first
//!    in the configuration decides.
//!
//! Caveats:
//! * Rules that are filed under the same are compared one by one.
//! * The hash has no secret, as what is filed is the operator's. A client can look for paths that
//!   share a key with many rules; at worst each rule is compared once, as without the index.

use crate::matcher::{Host, RuleMatch};
use crate::path::{NormalPath, without_trailing_slash};

/// Where to look for the rules that a request may meet.
#[derive(Debug, Default)]
pub struct RuleIndex {
    rules: usize,
    /// Each slot's first entry; a power of two of them, or none if rules are compared in a row.
    slots: Box<[Link]>,
    entries: Box<[Entry]>,
    /// Whether a rule is filed under a host.
    by_host: bool,
    /// The most segments that a rule is filed under.
    segments: usize,
}

impl RuleIndex {
    /// Files `rules`, in their order.
    pub fn new<'r>(rules: impl ExactSizeIterator<Item = &'r RuleMatch>) -> Self {
        let mut index = Self { rules: rules.len(), ..Self::default() };
        if index.rules < MIN_RULES {
            return index;
        }
        let mut entries = Vec::with_capacity(index.rules);
        for (rule, matches) in rules.enumerate() {
            let path = matches.leading_segments();
            let mut file = |host| {
                let keys = Keys::of(host, &path, MAX_SEGMENTS);
                index.segments = index.segments.max(keys.clone().count().saturating_sub(1));
                let key = keys.last().unwrap_or_default();
                entries.push(Entry { key, rule, next: None });
            };
            match matches.named_hosts() {
                Some(hosts) => {
                    index.by_host = true;
                    hosts.for_each(|host| file(Some(host)));
                }
                None => file(None),
            }
        }
        index.slots = vec![None; entries.len().saturating_mul(2).next_power_of_two()].into();
        // Whoever is linked last comes first in its slot: that is to be the first rule.
        for (place, entry) in entries.iter_mut().enumerate().rev() {
            let slot = index.slot_of(entry.key);
            if let Some(first) = index.slots.get_mut(slot) {
                entry.next = first.replace(place);
            }
        }
        index.entries = entries.into();
        index
    }

    /// The first rule that `matches`, of all that may match this host and path.
    pub fn find(
        &self,
        host: Host<'_>,
        path: Option<&NormalPath<'_>>,
        matches: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if self.slots.is_empty() {
            return (0..self.rules).find(|rule| matches(*rule));
        }
        let path = path.map_or(&[][..], |path| without_trailing_slash(&path.wide));
        let host = self.by_host.then_some(Some(host));
        let mut first = self.rules;
        for host in [None].into_iter().chain(host) {
            for key in Keys::of(host, path, self.segments) {
                let mut link = self.slots.get(self.slot_of(key)).copied().flatten();
                while let Some(entry) = link.and_then(|place| self.entries.get(place))
                    && entry.rule < first
                {
                    if entry.key == key && matches(entry.rule) {
                        first = entry.rule;
                    }
                    link = entry.next;
                }
            }
        }
        (first < self.rules).then_some(first)
    }

    fn slot_of(&self, key: u32) -> usize {
        // Low bits of a product know nothing of high bits of its factors.
        let mixed = key.wrapping_mul(0x9e37_79b1) >> 12;
        usize::try_from(mixed).unwrap_or_default() & self.slots.len().saturating_sub(1)
    }
}

/// One rule under one of its keys.
#[derive(Debug)]
struct Entry {
    key: u32,
    rule: usize,
    /// The next in its slot, a later rule.
    next: Link,
}

/// The place of an entry.
type Link = Option<usize>;

/// The keys of a host, or of none, with none, one, two .. leading segments of a path.
#[derive(Clone, Debug)]
struct Keys<'p> {
    hash: u32,
    has_host: bool,
    /// How many segments `hash` holds.
    segments: usize,
    /// What follows them, with its slash; nothing behind the last key.
    rest: Option<&'p [u8]>,
    most: usize,
}

impl<'p> Keys<'p> {
    fn of(host: Option<Host<'_>>, path: &'p [u8], most: usize) -> Self {
        let name = host.map_or(&[][..], Host::name);
        let hash = name.iter().fold(START, |hash, byte| add(hash, *byte));
        let has_host = host.is_some();
        Self { hash, has_host, segments: 0, rest: Some(path), most: most.min(MAX_SEGMENTS) }
    }

    /// Which of several hosts and lengths it is stands apart from the hash: else one path could be
    /// the same key many times.
    fn key(&self) -> u32 {
        let segments = u32::try_from(self.segments).unwrap_or_default();
        self.hash << 5 | segments << 1 | u32::from(self.has_host)
    }
}

impl Iterator for Keys<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let mut rest = self.rest.take()?;
        let key = self.key();
        if self.segments < self.most
            && let [slash, segment @ ..] = rest
        {
            self.hash = add(self.hash, *slash);
            rest = segment;
            while let [byte, tail @ ..] = rest
                && *byte != b'/'
            {
                self.hash = add(self.hash, *byte);
                rest = tail;
            }
            self.segments = self.segments.saturating_add(1);
            self.rest = Some(rest);
        }
        Some(key)
    }
}

/// FNV-1a, over bytes without their case; a few others are thereby the same, which only makes a
/// candidate more.
fn add(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte | 0x20)).wrapping_mul(0x0100_0193)
}

const START: u32 = 0x811c_9dc5;
/// A bound for what a path of many segments costs. A key has four bits for it.
const MAX_SEGMENTS: usize = 8;
/// Fewer are as cheap in a row.
const MIN_RULES: usize = 4;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests;
