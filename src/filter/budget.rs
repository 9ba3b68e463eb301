//! How much verifying a request, and a second, may cost.

use std::time::Duration;

use crate::time::UnixTime;

/// What one request may still spend.
#[derive(Debug)]
pub(super) struct Verifications(u8);

impl Default for Verifications {
    fn default() -> Self {
        Self(MAX_VERIFICATIONS)
    }
}

impl Verifications {
    /// Takes one, if there is one left.
    pub(super) fn spend(&mut self) -> bool {
        match self.0.checked_sub(1) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }
}

/// How many tokens failed lately that only the module itself can verify.
#[derive(Debug, Default)]
pub(super) struct PortableFailures {
    window_began: UnixTime,
    in_window: u32,
}

impl PortableFailures {
    /// Counts one.
    pub(super) fn count(&mut self, now: UnixTime) {
        self.turn_window(now);
        self.in_window = self.in_window.saturating_add(1);
    }

    /// Whether tokens that were never seen before must wait for the next second.
    pub(super) fn are_too_many(&mut self, now: UnixTime) -> bool {
        self.turn_window(now);
        self.in_window > MAX_PORTABLE_FAILURES
    }

    fn turn_window(&mut self, now: UnixTime) {
        if now.since(self.window_began) >= WINDOW {
            *self = Self { window_began: now, in_window: 0 };
        }
    }
}

/// Four cookies of one name with two keys each could cost eight.
const MAX_VERIFICATIONS: u8 = 4;
/// A signature that the module verifies costs a millisecond and more; 680 would stop a worker.
const MAX_PORTABLE_FAILURES: u32 = 100;
const WINDOW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_four_verifications() {
        let mut budget = Verifications::default();
        let spent = (0..10).filter(|_| budget.spend()).count();
        assert_eq!(spent, 4);
    }

    #[test]
    fn a_second_has_a_hundred_failures() {
        let mut failures = PortableFailures::default();
        let now = UnixTime::from_secs(100);
        for _ in 0..=MAX_PORTABLE_FAILURES {
            assert!(!failures.are_too_many(now));
            failures.count(now);
        }
        assert!(failures.are_too_many(UnixTime::from_millis(100_999)));
        assert!(!failures.are_too_many(UnixTime::from_secs(101)));
    }
}
