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
    /// Whether a body is held back; the host tells only once.
    has_body: bool,
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
    /// Whether it is in the queue of ready streams, or was.
    woken: bool,
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
        let has_body = has_body || before.as_ref().is_some_and(|before| before.has_body);
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
        let fresh = || Waited { deadline: now.after(patience), has_body, needs: Vec::new() };
        let mut waited = before.unwrap_or_else(fresh);
        waited.needs.push((need, now));
        self.streams.insert(stream, Waiter { waited, need, weight, woken: false });
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
            // It may have gone, or have come back to wait for something else.
            if self.streams.get(&stream).is_some_and(|waiter| waiter.woken) {
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
        for (stream, waiter) in &mut self.streams {
            if !waiter.woken && wakes(waiter) {
                waiter.woken = true;
                self.ready.push_back(*stream);
            }
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(100);
    const PATIENCE: Duration = Duration::from_secs(6);

    fn need(provider: usize, keys: NeededKeys) -> Need {
        Need { provider: ProviderId::new(provider).unwrap(), keys }
    }

    /// Admits streams until there is no room, and says how many there was room for.
    fn fill(streams: &mut WaitingStreams, first: u32, need: Need, has_body: bool) -> u32 {
        let mut admit =
            |id: &u32| streams.admit(StreamId(*id), need, has_body, None, NOW, PATIENCE).is_ok();
        let admitted = (first..first + 1_000).take_while(&mut admit).count();
        u32::try_from(admitted).unwrap()
    }

    fn ready(streams: &mut WaitingStreams) -> Vec<u32> {
        std::iter::from_fn(|| streams.poll_ready()).map(|StreamId(id)| id).collect()
    }

    #[test]
    fn each_pool_has_its_bound() {
        use NeededKeys::{AnySet, NewerSet};
        let mut streams = WaitingStreams::default();
        assert_eq!(fill(&mut streams, 0, need(0, AnySet), true), 20);
        assert_eq!(fill(&mut streams, 100, need(1, AnySet), false), 0, "one pool for all");
        assert_eq!(fill(&mut streams, 1_000, need(0, NewerSet), true), 100);
        assert_eq!(fill(&mut streams, 2_000, need(1, NewerSet), false), 100, "one each");
        assert_eq!(streams.len(), 220);
        streams.release(StreamId(0)).unwrap();
        assert_eq!(fill(&mut streams, 3_000, need(1, AnySet), false), 10);
        streams.release(StreamId(3_000)).unwrap();
        assert_eq!(fill(&mut streams, 4_000, need(1, AnySet), true), 0, "no room for ten");
        assert_eq!(fill(&mut streams, 5_000, need(1, AnySet), false), 1);
    }

    #[test]
    fn a_stream_is_woken_once_for_its_own_provider() {
        use NeededKeys::{AnySet, NewerSet};
        let mut streams = WaitingStreams::default();
        for (id, need) in [
            (1, need(0, AnySet)),
            (2, need(1, AnySet)),
            (3, need(0, NewerSet)),
            (4, need(0, AnySet)),
        ] {
            streams.admit(StreamId(id), need, false, None, NOW, PATIENCE).unwrap();
        }
        let first = ProviderId::new(0).unwrap();
        streams.wake(first);
        streams.wake(first);
        streams.release(StreamId(4)).unwrap();
        assert_eq!(ready(&mut streams), [1, 3]);
        streams.wake(first);
        assert!(ready(&mut streams).is_empty(), "both are the adapter's now");
        streams.wake_overdue(UnixTime::from_millis(105_999));
        assert!(ready(&mut streams).is_empty());
        streams.wake_overdue(UnixTime::from_secs(106));
        assert_eq!(ready(&mut streams), [2]);
    }

    #[test]
    fn a_stream_that_waits_again_is_not_woken_by_what_woke_it_before() {
        let (any, newer) = (need(0, NeededKeys::AnySet), need(0, NeededKeys::NewerSet));
        let mut streams = WaitingStreams::default();
        streams.admit(StreamId(1), any, false, None, NOW, PATIENCE).unwrap();
        streams.wake(any.provider);
        let waited = streams.release(StreamId(1));
        let later = NOW.after(Duration::from_secs(2));
        streams.admit(StreamId(1), newer, false, waited, later, PATIENCE).unwrap();
        assert!(ready(&mut streams).is_empty());
        streams.wake(any.provider);
        assert_eq!(ready(&mut streams), [1]);
        // Its deadline is the first one's.
        let waited = streams.release(StreamId(1)).unwrap();
        assert_eq!(waited.deadline, NOW.after(PATIENCE));
        assert_eq!(waited.since(any), Some(NOW));
        assert_eq!(waited.since(newer), Some(later));
        assert!(!waited.may_wait_for(any, later) && !waited.may_wait_for(newer, later));
        let other = need(1, NeededKeys::AnySet);
        assert!(waited.may_wait_for(other, UnixTime::from_millis(105_999)));
        assert!(
            !waited.may_wait_for(other, UnixTime::from_secs(106)),
            "nothing after its deadline"
        );
    }

    #[test]
    fn a_body_weighs_though_the_host_tells_of_it_once() {
        let (newer, any) = (need(0, NeededKeys::NewerSet), need(0, NeededKeys::AnySet));
        let mut streams = WaitingStreams::default();
        for id in 1..=21 {
            streams.admit(StreamId(id), newer, true, None, NOW, PATIENCE).unwrap();
        }
        for id in 1..=21 {
            let before = streams.release(StreamId(id));
            let again = streams.admit(StreamId(id), any, false, before, NOW, PATIENCE);
            assert_eq!(again.is_ok(), id <= 20, "{id}");
        }
    }

    #[test]
    fn who_did_not_wait_is_not_released() {
        let mut streams = WaitingStreams::default();
        assert_eq!(streams.release(StreamId(1)), None);
        fill(&mut streams, 1, need(0, NeededKeys::AnySet), false);
        assert_eq!(streams.len(), 200);
        assert_eq!(streams.release(StreamId(0)), None);
        assert!(!streams.is_empty());
    }
}
