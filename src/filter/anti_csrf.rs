//! SuperTokens' own proof that a request with its cookie comes from its front end (`anti_csrf`).
//!
//! It is asked for if all of these hold:
//! 1. the provider's preset says so,
//! 2. the method is neither GET nor OPTIONS, as in the SDKs; HEAD is asked,
//! 3. the token stands in a cookie and in no header.
//!
//! `custom_header`: there is a header `rid`, whatever it says; asked before the token is looked at.
//! `token`: there is one header `anti-csrf`, and it says what the verified token's `antiCsrfToken`
//! does; a token without that claim proves nothing.
//!
//! Caveat: this comes in addition to the filter's own checks, and replaces none.

use std::rc::Rc;

use crate::bytes;
use crate::credential::{Candidate, SourcePlan};
use crate::filter::refusal::{Refusal, Stop};
use crate::provider::Provider;
use crate::provider::supertokens::{AntiCsrf, SessionClaims};
use crate::reason::Reason;
use crate::request::RequestHead;
use crate::verified_token::VerifiedToken;

/// A request that may prove where it comes from.
#[derive(Clone, Copy)]
pub(super) struct AntiCsrfProof<'r, 'h> {
    pub(super) plan: &'r SourcePlan,
    pub(super) head: &'r RequestHead<'h>,
    pub(super) method: &'h [u8],
}

impl AntiCsrfProof<'_, '_> {
    /// What has to be proven before any of the candidates is looked at.
    pub(super) fn check_request(
        self,
        candidates: &[Candidate<'_>],
        providers: &[Provider],
    ) -> Result<(), Stop> {
        for candidate in candidates {
            match self.demand(providers, candidate) {
                AntiCsrf::CustomHeader if !self.head.contains(b"rid") => {
                    return Err(refusal(candidate));
                }
                AntiCsrf::None | AntiCsrf::CustomHeader | AntiCsrf::Token => {}
            }
        }
        Ok(())
    }

    /// What the verified token, which is one of the candidates, has to prove.
    pub(super) fn check_token(
        self,
        token: Rc<VerifiedToken>,
        candidates: &[Candidate<'_>],
        providers: &[Provider],
    ) -> Result<Rc<VerifiedToken>, Stop> {
        let is_it = |candidate: &&Candidate<'_>| bytes::same(candidate.text(), token.text());
        for candidate in candidates.iter().filter(is_it) {
            match self.demand(providers, candidate) {
                AntiCsrf::Token if !self.repeats_claim_of(&token) => {
                    return Err(refusal(candidate));
                }
                AntiCsrf::None | AntiCsrf::CustomHeader | AntiCsrf::Token => {}
            }
        }
        Ok(token)
    }

    /// What the candidate's provider asks for; a header needs no proof.
    fn demand(self, providers: &[Provider], candidate: &Candidate<'_>) -> AntiCsrf {
        if matches!(self.method, b"GET" | b"OPTIONS") {
            return AntiCsrf::None;
        }
        let provider = providers.get(candidate.owner.index());
        let Some(demands) = provider.and_then(|provider| provider.supertokens) else {
            return AntiCsrf::None;
        };
        if self.plan.is_cookie_borne(candidate) { demands.anti_csrf } else { AntiCsrf::None }
    }

    fn repeats_claim_of(self, token: &VerifiedToken) -> bool {
        let mut lines = self.head.values(b"anti-csrf");
        let claim = token.supertokens().and_then(SessionClaims::anti_csrf_token);
        match (lines.next(), lines.next(), claim) {
            (Some(only), None, Some(claim)) => only == claim.as_bytes(),
            _ => false,
        }
    }
}

fn refusal(candidate: &Candidate<'_>) -> Stop {
    Refusal::new(Reason::AntiCsrf).of(candidate.owner, None).into()
}
