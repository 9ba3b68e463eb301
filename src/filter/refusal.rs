//! Why a request does not go on now, on its way to an answer and a line in the log.

use std::time::Duration;

use crate::authorize::Shortfall;
use crate::filter::waiting::Need;
use crate::provider::ProviderId;
use crate::reason::Reason;

/// Why a request does not go on now. Small, since what goes well is handed on in the same places.
#[derive(Debug)]
pub(super) enum Stop {
    Refuse(Box<Refusal>),
    /// It lacks keys; the refusal is for when it can't wait.
    Need {
        need: Need,
        refusal: Box<Refusal>,
    },
}

impl Stop {
    pub(super) fn at(mut self, rule: usize) -> Self {
        let (Self::Refuse(refusal) | Self::Need { need: _, refusal }) = &mut self;
        refusal.rule = Some(rule);
        self
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(Box::new(refusal))
    }
}

/// A refusal with what the log tells of it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) retry_after: Duration,
    pub(super) rule: Option<usize>,
    /// To whom the token belongs.
    pub(super) provider: Option<ProviderId>,
    /// In whose source something was that belongs to nobody.
    pub(super) asked: Option<ProviderId>,
    pub(super) key_id: Option<Box<str>>,
    /// For the client alone, never for the log: it holds claims.
    pub(super) shortfall: Option<Shortfall>,
}

impl Refusal {
    pub(super) fn new(reason: Reason) -> Self {
        Self {
            reason,
            retry_after: Duration::ZERO,
            rule: None,
            provider: None,
            asked: None,
            key_id: None,
            shortfall: None,
        }
    }

    pub(super) fn at(self, rule: usize) -> Self {
        Self { rule: Some(rule), ..self }
    }

    pub(super) fn of(self, provider: ProviderId, key_id: Option<&str>) -> Self {
        Self { provider: Some(provider), key_id: key_id.map(Box::from), ..self }
    }

    pub(super) fn after(self, retry_after: Duration) -> Self {
        Self { retry_after, ..self }
    }
}

/// A stream can't wait: there is no room, or no time left.
#[derive(Clone, Copy, Debug)]
pub(super) struct CannotWait;
