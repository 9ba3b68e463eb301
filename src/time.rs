//! Points in time, as values that callers pass in. The core has no clock; it is given one where
//! most requests need not look at it.

use std::time::Duration;

/// Milliseconds since 1970-01-01T00:00:00Z, without leap seconds (RFC 7519, NumericDate, has
/// seconds with an optional fraction).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This point in time, later by `duration`; stays at the greatest value that can be told.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// What has passed since `earlier`; zero if `earlier` lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Tells the time. Each look may cost as much as a step of a decision.
pub trait Clock {
    /// The time now.
    fn now(&self) -> UnixTime;
}

/// A clock that stands still.
impl Clock for UnixTime {
    fn now(&self) -> UnixTime {
        *self
    }
}

/// `duration` in whole milliseconds. `as_millis` and a multiplication that looks for overflow have
/// 128 bits, which is a library call on wasm32.
fn millis(duration: Duration) -> u64 {
    let seconds = duration.as_secs().min(u64::MAX / 1_000);
    seconds.wrapping_mul(1_000).saturating_add(u64::from(duration.subsec_millis()))
}
