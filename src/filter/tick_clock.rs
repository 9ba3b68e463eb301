//! The time of a request, where that of the last tick will do: about a second ago.
//!
//! Asking the host's clock costs 1,150 instructions, a thirtieth of what the whole filter adds to a
//! request. It is not asked if all of these hold:
//! 1. the token was verified before (and then by the clock),
//! 2. it and its keys were good at the last tick, and would still be [`MARGIN`] later, so that
//!    nothing depends on what has passed since,
//! 3. the rule does not ask how old a login is,
//! 4. fewer than [`MOST`] requests were decided by that tick: a worker that is too busy to tick
//!    still learns the time.
//!
//! So nothing is verified anew, refused for its dates or made to wait without a look at the clock.
//!
//! Caveat: a machine that slept, or whose clock was set, answers what it reads before its next tick,
//! at most [`MOST`] requests a worker, by the time before that. A token that has expired since may
//! then be accepted, or be refused for its claims (403) instead of for its date (401).

use std::time::Duration;

use crate::time::{Clock, UnixTime};

/// What the last tick said, while it may be used.
#[derive(Debug, Default)]
pub(super) struct TickClock {
    tick: UnixTime,
    /// For so many requests more. None before the first tick.
    left: u32,
}

impl TickClock {
    /// It ticked.
    pub(super) fn on_tick(&mut self, now: UnixTime) {
        *self = Self { tick: now, left: MOST };
    }

    /// The last tick's time, if `is_valid_at` it and for a while after it; else the clock's.
    pub(super) fn time(
        &mut self,
        clock: &dyn Clock,
        is_valid_at: impl Fn(UnixTime) -> bool,
    ) -> UnixTime {
        if is_valid_at(self.tick) && is_valid_at(self.tick.after(MARGIN)) {
            if let Some(left) = self.left.checked_sub(1) {
                self.left = left;
                return self.tick;
            }
            if self.tick > UnixTime::default() {
                self.on_tick(clock.now());
                return self.tick;
            }
        }
        clock.now()
    }
}

/// Ticks come once a second; this is a few more, should one be late.
const MARGIN: Duration = Duration::from_secs(5);
/// Then the clock costs each of them 36 instructions.
const MOST: u32 = 32;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A clock that counts who asks.
    struct Counting {
        now: UnixTime,
        asked: Cell<u32>,
    }

    impl Clock for Counting {
        fn now(&self) -> UnixTime {
            self.asked.set(self.asked.get() + 1);
            self.now
        }
    }

    fn at(secs: u64) -> Counting {
        Counting { now: UnixTime::from_secs(secs), asked: Cell::new(0) }
    }

    #[test]
    fn the_tick_will_do_far_from_both_ends() {
        let valid_between = |from, until| {
            move |now| UnixTime::from_secs(from) <= now && now < UnixTime::from_secs(until)
        };
        for (name, from, until, expected) in [
            ("far from both", 0, 2_000, 1_000),
            ("begins at the tick", 1_000, 2_000, 1_000),
            ("begins after the tick", 1_001, 2_000, 1_003),
            ("ends after the margin", 0, 1_006, 1_000),
            ("ends within it", 0, 1_005, 1_003),
            ("has ended", 0, 900, 1_003),
        ] {
            let mut ticks = TickClock::default();
            ticks.on_tick(UnixTime::from_secs(1_000));
            let clock = at(1_003);
            let time = ticks.time(&clock, valid_between(from, until));
            assert_eq!(time, UnixTime::from_secs(expected), "{name}");
            assert_eq!(clock.asked.get(), u32::from(expected != 1_000), "{name}");
        }
    }

    #[test]
    fn without_ticks_the_clock_is_asked() {
        let (mut ticks, clock) = (TickClock::default(), at(5));
        for asked in 1..4 {
            assert_eq!(ticks.time(&clock, |_| true), clock.now);
            assert_eq!(clock.asked.get(), asked);
        }
        ticks.on_tick(UnixTime::from_secs(1));
        for _ in 0..MOST {
            assert_eq!(ticks.time(&clock, |_| true), UnixTime::from_secs(1));
        }
        assert_eq!(ticks.time(&clock, |_| true), clock.now, "the tick has been used up");
        assert_eq!(ticks.time(&clock, |_| true), clock.now);
        assert_eq!(clock.asked.get(), 4, "one look serves as a tick");
    }
}
