//! A candidate becomes a verified token, a refusal, or a need of keys.
//!
//! 1. What was verified before is held against time alone, as long as its keys have not expired.
//! 2. What can refuse a token cheaply does so first: its dates, its algorithm, its key's kind.
//! 3. Its key is chosen by `kid` and algorithm; one that is not there may be worth waiting for.
//! 4. A signature that failed a short while ago fails again, without being looked at.
//! 5. The signature is verified, within the request's budget and the second's.
//! 6. Its claims are held against the provider's demands, and it is kept for the next request.

use std::rc::Rc;

use crate::bad_signatures::BadSignatures;
use crate::credential::{Candidate, Reading};
use crate::filter::Filter;
use crate::filter::budget::Verifications;
use crate::filter::refusal::{Refusal, Stop};
use crate::filter::waiting::{Need, NeededKeys, Waited};
use crate::jwks::document::Selection;
use crate::jwks::remote::{CurrentKeys, UnknownKeyId};
use crate::jwt::key::VerifyingKey;
use crate::jwt::signature::SignatureVerifier;
use crate::jwt::token::UnverifiedToken;
use crate::policy::Rule;
use crate::provider::{Provider, ProviderId, ProviderSet};
use crate::reason::Reason;
use crate::stats::Counter;
use crate::time::UnixTime;
use crate::verified_token::VerifiedToken;

impl Filter {
    /// Verifies the token of `candidate` by the provider that it belongs to.
    pub(super) fn verify(
        &mut self,
        candidate: &Candidate<'_>,
        now: UnixTime,
        crypto: &dyn SignatureVerifier,
        budget: &mut Verifications,
    ) -> Result<Rc<VerifiedToken>, Stop> {
        let policy = Rc::clone(&self.policy);
        let id = candidate.owner;
        let (Some(provider), Some(state)) =
            (policy.providers.get(id.index()), self.keys.get_mut(id.index()))
        else {
            return Err(Refusal::new(Reason::KeysUnavailable).into());
        };
        let decoded;
        let (token, claimants) = match &candidate.reading {
            Reading::Known(known) if known.provider() == id && !state.keys.has_expired(now) => {
                self.stats.count(Counter::TokenCacheHit);
                let checked = provider.check_times(known.times(), now);
                checked.map_err(|reason| Refusal::new(reason).of(id, None))?;
                // An expired token is no reason to keep the keys fresh.
                state.keys.mark_used();
                return Ok(Rc::clone(known));
            }
            // What another provider's rules once accepted is decided anew.
            Reading::Known(known) => {
                decoded = UnverifiedToken::decode(known.text())
                    .map_err(|_| Refusal::new(Reason::Malformed).of(id, None))?;
                (&decoded, known.claimants())
            }
            Reading::Fresh { token, claimants } => (&**token, *claimants),
            Reading::Malformed => return Err(Refusal::new(Reason::Malformed).of(id, None).into()),
        };
        let refuse = |reason| Refusal::new(reason).of(id, token.key_id());
        provider.check_early(token.times(), now).map_err(refuse)?;
        let allowed = |algorithm: &_| provider.algorithms.contains(*algorithm);
        let algorithm = token.algorithm().filter(allowed);
        let algorithm = algorithm.ok_or_else(|| refuse(Reason::AlgorithmNotAllowed))?;
        provider.check_key_id(token.key_id()).map_err(refuse)?;
        let jwks = match state.keys.current(now) {
            CurrentKeys::Ready(jwks) => jwks,
            CurrentKeys::Awaited => {
                let need = Need { provider: id, keys: NeededKeys::AnySet };
                let refusal = refuse(Reason::KeysUnavailable).after(state.keys.retry_after(now));
                return Err(Stop::Need { need, refusal: Box::new(refusal) });
            }
            CurrentKeys::Unavailable { retry_after } => {
                return Err(refuse(Reason::KeysUnavailable).after(retry_after).into());
            }
        };
        let candidates = match jwks.select(token.key_id(), algorithm, provider.strict_key_id) {
            Selection::Candidates(candidates) => candidates,
            Selection::WrongAlgorithm => return Err(refuse(Reason::AlgorithmNotAllowed).into()),
            Selection::UnknownKey => {
                let refusal = refuse(Reason::UnknownKey);
                return Err(match state.keys.unknown_key_id(token.key_id(), now) {
                    UnknownKeyId::Refused => refusal.into(),
                    UnknownKeyId::Awaited => {
                        let need = Need { provider: id, keys: NeededKeys::NewerSet };
                        Stop::Need { need, refusal: Box::new(refusal) }
                    }
                });
            }
        };
        self.stats.count(Counter::TokenCacheMiss);
        let attempt = |memory: &BadSignatures| {
            memory.attempt(token.text(), candidates.into_iter().map(VerifyingKey::fingerprint))
        };
        let memory = &mut self.bad_signatures;
        if !memory.is_empty() && memory.remembers(attempt(memory), now) {
            return Err(refuse(Reason::BadSignature).into());
        }
        let portable = crypto.is_portable(algorithm);
        if portable && self.portable_failures.are_too_many(now) {
            return Err(refuse(Reason::Overloaded).into());
        }
        let mut all_tried = true;
        let signed = candidates
            .into_iter()
            .take_while(|_| {
                all_tried = budget.spend();
                all_tried
            })
            .find_map(|key| token.verify(algorithm, key, crypto).ok());
        let Some(signed) = signed else {
            if all_tried {
                self.bad_signatures.remember(attempt(&self.bad_signatures), now);
            }
            if portable {
                self.portable_failures.count(now);
            }
            return Err(refuse(Reason::BadSignature).into());
        };
        let verified =
            VerifiedToken::new(signed, (id, provider), claimants, now).map_err(refuse)?;
        for _ in 0..verified.skipped_claim_headers() {
            self.stats.count(Counter::ClaimHeaderSkipped);
        }
        let verified = Rc::new(verified);
        for _ in 0..self.cache.insert(Rc::clone(&verified)) {
            self.stats.count(Counter::TokenCacheEvicted);
        }
        Ok(verified)
    }

    /// `duplicate_cookies: newest`: those that verify must be of one session; the newest counts.
    pub(super) fn verify_newest(
        &mut self,
        candidates: &[Candidate<'_>],
        now: UnixTime,
        crypto: &dyn SignatureVerifier,
        budget: &mut Verifications,
        waited: Option<&Waited>,
    ) -> Result<Rc<VerifiedToken>, Stop> {
        let mut newest: Option<Rc<VerifiedToken>> = None;
        let mut first_refusal = None;
        for candidate in candidates {
            match self.verify(candidate, now, crypto, budget) {
                Ok(token) => {
                    let Some(other) = &newest else {
                        newest = Some(token);
                        continue;
                    };
                    if !token.is_of_session(other) {
                        let refusal = Refusal::new(Reason::DuplicateCookie);
                        return Err(refusal.of(candidate.owner, None).into());
                    }
                    if token.times().issued_at > other.times().issued_at {
                        newest = Some(token);
                    }
                }
                Err(Stop::Refuse(refusal)) => {
                    first_refusal.get_or_insert(refusal);
                }
                // What was waited for in vain does not verify; another may.
                Err(Stop::Need { need, refusal })
                    if waited.is_some_and(|waited| !waited.may_wait_for(need, now)) =>
                {
                    first_refusal.get_or_insert(self.give_up(need, refusal, now, waited));
                }
                Err(need) => return Err(need),
            }
        }
        newest.ok_or_else(|| {
            first_refusal.map_or_else(|| Refusal::new(Reason::DuplicateCookie).into(), Stop::Refuse)
        })
    }
}

/// Decodes a token and tells to whom it belongs by what it says, unproven.
pub(super) fn read_token<'p>(text: &'p [u8], providers: &[Provider]) -> Reading<'p> {
    if providers.iter().all(|provider| text.len() > provider.max_token_bytes) {
        return Reading::Malformed;
    }
    let Ok(token) = UnverifiedToken::decode(text) else { return Reading::Malformed };
    let mut claimants = ProviderSet::default();
    let mut too_large = false;
    for (index, provider) in providers.iter().enumerate() {
        if let Some(id) = ProviderId::new(index)
            && provider.claim(&token).is_ok()
        {
            if text.len() <= provider.max_token_bytes {
                claimants.insert(id);
            } else {
                too_large = true;
            }
        }
    }
    if too_large && claimants.is_empty() {
        return Reading::Malformed;
    }
    Reading::Fresh { token: Box::new(token), claimants }
}

/// Whether no provider of the rule claims the token.
pub(super) fn is_foreign(text: &[u8], rule: &Rule, providers: &[Provider]) -> bool {
    match read_token(text, providers) {
        Reading::Fresh { claimants, .. } => {
            !rule.providers.iter().any(|id| claimants.contains(*id))
        }
        Reading::Malformed | Reading::Known(_) => true,
    }
}
