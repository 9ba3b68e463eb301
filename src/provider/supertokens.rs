//! SuperTokens' sessions, as its own SDKs (Node, Go, Python) see them.

/// How refusals look to SuperTokens' front-end SDK, which goes by the status alone: the first one
/// makes it refresh and try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    /// `session_expired_status`
    pub session_expired_status: u16,
    /// `invalid_claim_status`
    pub invalid_claim_status: u16,
}
