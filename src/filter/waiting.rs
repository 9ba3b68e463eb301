//! Streams that wait for keys: bounded, with a deadline, each woken once for what it waits for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::provider::ProviderId;
use crate::time::UnixTime;

/// The adapter's number of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// What a stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Whose keys.
    pub provider: ProviderId,
    /// Which of them.
    pub keys: NeededKeys,
}

/// Which keys a stream waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeededKeys {
    /// Any: there is no set.
    AnySet,
    /// A set with a `kid` that the current one has not.
    NewerSet,
}

/// A stream that has waited, as it comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waited {
    deadline: UnixTime,
    /// What was waited for, and since when; nothing is waited for twice.
    needs: Vec<(Need, UnixTime)>,
}

impl Waited {
    /// Whether the stream may wait for `need` too.
    pub fn may_wait_for(&self, need: Need, now: UnixTime) -> bool {
        now < self.deadline && self.since(need).is_none()
    }

    /// Since when it has waited for `need`, if it has.
    pub fn since(&self, need: Need) -> Option<UnixTime> {
        self.needs.iter().find(|(other, _)| *other == need).map(|(_, since)| *since)
    }
}

/// All streams of one root context that wait.
#[derive(Debug, Default)]
pub struct WaitingStreams {
    streams: BTreeMap<StreamId, Waiter>,
    ready: VecDeque<StreamId>,
}

#[derive(Debug)]
struct Waiter {
    waited: Waited,
    need: Need,
    weight: usize,
}

impl WaitingStreams {
    /// Takes a stream in, if there is room, for as long as its `patience` lasts; a stream with a
    /// body weighs more. `before` is what the same stream has waited for already; its deadline
    /// stays.
    ///
    /// # Errors
    /// `Full`
    pub fn admit(
        &mut self,
        stream: StreamId,
        need: Need,
        has_body: bool,
        before: Option<Waited>,
        now: UnixTime,
        patience: Duration,
    ) -> Result<(), Full> {
        let weight = match need.keys {
            NeededKeys::AnySet if has_body => WEIGHT_WITH_BODY,
            NeededKeys::AnySet | NeededKeys::NewerSet => 1,
        };
        let same_pool = self.streams.values().filter(|waiter| match need.keys {
            NeededKeys::AnySet => waiter.need.keys == NeededKeys::AnySet,
            NeededKeys::NewerSet => waiter.need == need,
        });
        let taken = same_pool.fold(0_usize, |sum, waiter| sum.saturating_add(waiter.weight));
        let room = match need.keys {
            NeededKeys::AnySet => MAX_WAITING_FOR_ANY_SET,
            NeededKeys::NewerSet => MAX_WAITING_FOR_NEWER_SET,
        };
        if taken.saturating_add(weight) > room {
            return Err(Full);
        }
        let fresh = || Waited { deadline: now.after(patience), needs: Vec::new() };
        let mut waited = before.unwrap_or_else(fresh);
        waited.needs.push((need, now));
        self.streams.insert(stream, Waiter { waited, need, weight });
        Ok(())
    }

    /// Takes a stream out, and says what it waited for, if it did.
    pub fn release(&mut self, stream: StreamId) -> Option<Waited> {
        // The usual case: nobody waits.
        if self.streams.is_empty() {
            return None;
        }
        self.streams.remove(&stream).map(|waiter| waiter.waited)
    }

    /// Readies the streams that wait for keys of `provider`.
    pub fn wake(&mut self, provider: ProviderId) {
        self.wake_if(|waiter| waiter.need.provider == provider);
    }

    /// Readies the streams that have waited long enough.
    pub fn wake_overdue(&mut self, now: UnixTime) {
        self.wake_if(|waiter| waiter.waited.deadline <= now);
    }

    /// The next stream that is ready.
    pub fn poll_ready(&mut self) -> Option<StreamId> {
        loop {
            let stream = self.ready.pop_front()?;
            if self.streams.contains_key(&stream) {
                return Some(stream);
            }
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    fn wake_if(&mut self, wakes: impl Fn(&Waiter) -> bool) {
        let woken = self.streams.iter().filter(|(_, waiter)| wakes(waiter)).map(|(id, _)| *id);
        let fresh: Vec<_> = woken.filter(|stream| !self.ready.contains(stream)).collect();
        self.ready.extend(fresh);
    }
}

/// There is no room for one stream more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// How long a stream waits for a newer set: a fetch may begin five seconds after the last.
pub const PATIENCE_FOR_NEWER_SET: Duration = Duration::from_secs(6);

/// Per root context; a paused stream holds its buffers.
const MAX_WAITING_FOR_ANY_SET: usize = 200;
/// A paused upload costs 1.6 MB.
const WEIGHT_WITH_BODY: usize = 10;
/// Per provider, apart from the others: forged `kid`s must not crowd out a cold start.
const MAX_WAITING_FOR_NEWER_SET: usize = 100;
