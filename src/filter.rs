//! The state machine: what happens to a request, and what the filter does between requests.
//!
//! Inputs are methods, outputs are values: no clock, no network, no host. A request is decided in
//! one pass, each step's success being the next one's argument:
//!  1. the request line is read; what can't be compared with rules is refused,
//!  2. headers that no client may send are taken out, on every path,
//!  3. the first rule that matches decides,
//!  4. by its access: refused, let through untouched, or asked for a credential,
//!  5. the credential is chosen from what the request presents (`credential`),
//!  6. what can refuse it cheaply does so first: dates, then the algorithm,
//!  7. it was verified before, or is verified now with the provider's keys (`jwks::remote`), or
//!     waits for them,
//!  8. it is held against what the provider demands, on every request,
//!  9. the rule says what backends see of it (`forward`).

use std::rc::Rc;
use std::time::Duration;

use crate::bad_signatures::BadSignatures;
use crate::credential::{Candidate, Choice, NoCredential, Reading, SourcePlan};
use crate::denial::Denial;
use crate::edits::HeaderEdits;
use crate::filter::budget::{PortableFailures, Verifications};
use crate::filter::journal::{DenialRecord, Journal, LogLevel, LogLine};
use crate::filter::waiting::{
    Need, NeededKeys, PATIENCE_FOR_NEWER_SET, StreamId, Waited, WaitingStreams,
};
use crate::forward;
use crate::jwks::document::Selection;
use crate::jwks::fetch::{FetchError, FetchId, FetchRequest, FetchResponse};
use crate::jwks::remote::{CurrentKeys, ProviderKeys, UnknownKeyId};
use crate::jwt::key::VerifyingKey;
use crate::jwt::signature::SignatureVerifier;
use crate::jwt::token::UnverifiedToken;
use crate::matcher::Host;
use crate::path::without_query;
use crate::policy::{Access, Policy, Rule};
use crate::provider::{Provider, ProviderId, ProviderSet};
use crate::reason::Reason;
use crate::request::{RequestHead, RequestLine};
use crate::stats::{Counter, Stats};
use crate::time::UnixTime;
use crate::token_cache::TokenCache;
use crate::verified_token::VerifiedToken;

mod budget;
pub mod journal;
pub mod waiting;

/// One configuration at work; each root context has its own.
#[derive(Debug)]
pub struct Filter {
    policy: Rc<Policy>,
    /// One for each rule, the default's last.
    plans: Rc<[SourcePlan]>,
    keys: Vec<ProviderKeysState>,
    cache: TokenCache,
    bad_signatures: BadSignatures,
    portable_failures: PortableFailures,
    waiting: WaitingStreams,
    stats: Stats,
    journal: Journal,
    next_fetch: u64,
    random: Jitter,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict<'h> {
    /// It goes on, with these changes.
    Continue(HeaderEdits<'h>),
    /// It is answered.
    Deny(Denial),
    /// It is paused until `poll_ready` names it.
    Wait,
}

impl Filter {
    /// A filter that has decided nothing yet. `seed` should be random.
    pub fn new(policy: impl Into<Rc<Policy>>, seed: u64) -> Self {
        let policy = policy.into();
        let rules = policy.rules.iter().chain([&policy.default]);
        Self {
            plans: rules.map(|rule| SourcePlan::new(rule, &policy.providers)).collect(),
            keys: policy.providers.iter().map(ProviderKeysState::new).collect(),
            cache: TokenCache::new(policy.cache, seed),
            bad_signatures: BadSignatures::new(seed),
            portable_failures: PortableFailures::default(),
            waiting: WaitingStreams::default(),
            stats: Stats::new(&policy),
            journal: Journal::new(policy.log_denials),
            next_fetch: 0,
            random: Jitter(seed),
            policy,
        }
    }

    /// The configuration.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Decides a request, or decides it again after it has waited.
    pub fn on_request<'h>(
        &mut self,
        now: UnixTime,
        stream: StreamId,
        head: &RequestHead<'h>,
        crypto: &dyn SignatureVerifier,
    ) -> Verdict<'h> {
        let waited = self.waiting.release(stream);
        if waited.is_some() {
            self.stats.waiting(-1);
        }
        let policy = Rc::clone(&self.policy);
        let refusal = match self.decide(now, head, crypto) {
            Ok((edits, counter)) => {
                self.stats.count(counter);
                return Verdict::Continue(edits);
            }
            Err(Stop::Refuse(refusal)) => refusal,
            Err(Stop::Need { need, refusal }) => {
                match self.wait(now, stream, need, head.has_body(), waited) {
                    Ok(()) => return Verdict::Wait,
                    Err(CannotWait) => self.give_up(need, refusal, now),
                }
            }
        };
        self.stats.count_denied(refusal.reason);
        self.record(now, head, &refusal);
        let retry_after = refusal.retry_after;
        Verdict::Deny(Denial::new(refusal.reason, retry_after, head, &policy.responses))
    }

    /// Which request trailers must not reach a backend: what no client may send as a header, and
    /// credentials, which have no place there (RFC 9110, section 6.5.1).
    pub fn removes_trailer(&self, name: &[u8]) -> bool {
        self.policy.sanitizer.removes(name)
            || name == b"authorization"
            || name == b"cookie"
            || self.plans.iter().any(|plan| plan.is_source_header(name))
    }

    /// How a fetch ended.
    pub fn on_fetch_done(
        &mut self,
        now: UnixTime,
        fetch: FetchId,
        result: Result<FetchResponse<'_>, FetchError>,
    ) {
        let policy = Rc::clone(&self.policy);
        let jitter = self.random.next();
        let mut states = self.keys.iter_mut().enumerate();
        let Some((index, state)) = states.find(|(_, state)| state.flight == Some(fetch)) else {
            // Given up as lost.
            return;
        };
        let (Some(id), Some(provider)) = (ProviderId::new(index), policy.providers.get(index))
        else {
            return;
        };
        state.flight = None;
        match result.and_then(|response| response.read(provider.algorithms)) {
            Ok((parsed, max_age)) => {
                let jwks = Rc::new(parsed.jwks);
                state.keys.fetch_succeeded(now, Rc::clone(&jwks), max_age, jitter);
                self.stats.fetched(id, true);
                // A verdict ends with its key, and with its key's name.
                self.cache.retain(|token| {
                    token.provider() != id
                        || token.is_signed_by_key_of(&jwks, provider.strict_key_id)
                });
                let mut doubts: Vec<_> = parsed.skipped.iter().map(ToString::to_string).collect();
                if parsed.beyond_limit > 0 {
                    doubts.push(format!("{} keys are over the limit", parsed.beyond_limit));
                }
                if state.doubts != doubts {
                    for doubt in &doubts {
                        let text = format!("provider={} jwks: skipped {doubt}", provider.name);
                        self.journal.note(LogLevel::Warn, text);
                    }
                    state.doubts = doubts;
                }
                if std::mem::take(&mut state.failing) {
                    let text = format!("provider={} jwks: fetched again", provider.name);
                    self.journal.note(LogLevel::Warn, text);
                }
            }
            Err(error) => {
                self.stats.fetched(id, false);
                state.keys.fetch_failed(now, jitter);
                if !std::mem::replace(&mut state.failing, true) {
                    let text = format!("provider={} jwks: fetch failed: {error}", provider.name);
                    self.journal.note(LogLevel::Warn, text);
                }
            }
        }
        self.waiting.wake(id);
    }

    /// To be called about once a second, and when `wants_tick` says so.
    pub fn on_tick(&mut self, now: UnixTime) {
        let lost: Vec<_> = self
            .keys
            .iter()
            .filter(|state| state.keys.flight_is_lost(now))
            .filter_map(|state| state.flight)
            .collect();
        for fetch in lost {
            self.on_fetch_done(now, fetch, Err(FetchError::Lost));
        }
        self.waiting.wake_overdue(now);
        self.journal.turn_window(now);
        for (index, state) in self.keys.iter().enumerate() {
            if let (Some(id), Some((keys, age))) =
                (ProviderId::new(index), state.keys.size_and_age(now))
            {
                self.stats.keys(id, u64::try_from(keys).unwrap_or(u64::MAX), age.as_secs());
            }
        }
    }

    /// A stream that waited is gone.
    pub fn on_stream_done(&mut self, stream: StreamId) {
        if self.waiting.release(stream).is_some() {
            self.stats.waiting(-1);
        }
    }

    /// Whether a fetch is due, so that a tick should not be waited for.
    pub fn wants_tick(&self, now: UnixTime) -> bool {
        self.keys.iter().any(|state| state.keys.is_due(now))
    }

    /// The next fetch to send. If it can't be sent, `on_fetch_done` says so in the same turn.
    pub fn poll_fetch(&mut self, now: UnixTime) -> Option<FetchRequest> {
        let id = FetchId(self.next_fetch);
        for state in &mut self.keys {
            if let Some(source) = state.keys.begin_fetch(now) {
                let request = FetchRequest::new(id, source);
                state.flight = Some(id);
                self.next_fetch = self.next_fetch.saturating_add(1);
                return Some(request);
            }
        }
        None
    }

    /// The next stream to decide again, by `on_request`.
    pub fn poll_ready(&mut self) -> Option<StreamId> {
        self.waiting.poll_ready()
    }

    /// The next line for the log.
    pub fn poll_log(&mut self) -> Option<LogLine> {
        self.journal.poll()
    }

    /// What was counted.
    pub fn stats(&mut self) -> &mut Stats {
        &mut self.stats
    }

    fn decide<'h>(
        &mut self,
        now: UnixTime,
        head: &RequestHead<'h>,
        crypto: &dyn SignatureVerifier,
    ) -> Result<(HeaderEdits<'h>, Counter), Stop> {
        let policy = Rc::clone(&self.policy);
        let line = head.line().map_err(|_| Refusal::new(Reason::MalformedRequest))?;
        if line.method.eq_ignore_ascii_case(b"TRACE") {
            return Err(Refusal::new(Reason::MethodNotAllowed).into());
        }
        let mut edits = forward::sanitize(head, &policy.sanitizer);
        let (index, rule) = find_rule(&policy, line)?;
        match rule.access {
            Access::Denied => return Err(Refusal::new(Reason::DeniedByRule).at(index).into()),
            Access::Public => return Ok((edits, Counter::AllowedPublic)),
            Access::Required | Access::Optional => {}
        }
        let plans = Rc::clone(&self.plans);
        let Some(plan) = plans.get(index) else {
            return Err(Refusal::new(Reason::DeniedByRule).at(index).into());
        };
        let presented = plan.find(head);
        let without = |edits: &mut HeaderEdits<'h>| {
            forward::forward_without_credential(edits, plan, &presented, head, |text| {
                rule.insecure_forward_foreign
                    && text.is_some_and(|text| is_foreign(text, rule, &policy.providers))
            });
        };
        if head.is_preflight() {
            without(&mut edits);
            return Ok((edits, Counter::AllowedPreflight));
        }
        let cache = &mut self.cache;
        let choice = plan.choose(&presented, &policy.providers, |text| match cache.find(text) {
            Some(token) => Reading::Known(token),
            None => read_token(text, &policy.providers),
        });
        let verified = match choice {
            Ok(Choice::One(candidate)) => {
                self.verify(&candidate, now, crypto, &mut Verifications::default())
            }
            Ok(Choice::Newest(candidates)) => self.verify_newest(&candidates, now, crypto),
            Err(NoCredential::Absent | NoCredential::Foreign(_))
                if rule.access == Access::Optional =>
            {
                without(&mut edits);
                return Ok((edits, Counter::AllowedOptional));
            }
            Err(NoCredential::Absent) => Err(Refusal::new(Reason::Missing).into()),
            Err(NoCredential::Foreign(reason) | NoCredential::Refused(reason)) => {
                Err(Refusal::new(reason).into())
            }
        };
        let token = verified.map_err(|stop| stop.at(index))?;
        forward::forward_verified(&mut edits, &token, rule.forward, plan, &presented, head);
        Ok((edits, Counter::Allowed))
    }

    fn verify(
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
                state.keys.mark_used();
                self.stats.count(Counter::TokenCacheHit);
                return match provider.check_times(known.times(), now) {
                    Ok(()) => Ok(Rc::clone(known)),
                    Err(reason) => Err(Refusal::new(reason).of(id, None).into()),
                };
            }
            // What another provider's rules once accepted is decided anew.
            Reading::Known(known) => {
                decoded = UnverifiedToken::decode(known.text())
                    .map_err(|_| Refusal::new(Reason::Malformed).of(id, None))?;
                (&decoded, known.claimants())
            }
            Reading::Fresh { token, claimants } => (token, *claimants),
            Reading::Malformed => return Err(Refusal::new(Reason::Malformed).of(id, None).into()),
        };
        let refuse = |reason| Refusal::new(reason).of(id, token.key_id());
        provider.check_early(token.times(), now).map_err(refuse)?;
        let allowed = |algorithm: &_| provider.algorithms.contains(*algorithm);
        let algorithm = token.algorithm().filter(allowed);
        let algorithm = algorithm.ok_or_else(|| refuse(Reason::AlgorithmNotAllowed))?;
        let jwks = match state.keys.current(now) {
            CurrentKeys::Ready(jwks) => jwks,
            CurrentKeys::Awaited => {
                let need = Need { provider: id, keys: NeededKeys::AnySet };
                let refusal = refuse(Reason::KeysUnavailable).after(state.keys.retry_after(now));
                return Err(Stop::Need { need, refusal });
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
                        Stop::Need { need, refusal }
                    }
                });
            }
        };
        self.stats.count(Counter::TokenCacheMiss);
        let keys = candidates.into_iter().map(VerifyingKey::fingerprint);
        let attempt = self.bad_signatures.attempt(token.text(), keys);
        if self.bad_signatures.remembers(attempt, now) {
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
                self.bad_signatures.remember(attempt, now);
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

    /// `duplicate_cookies: newest`: those that verify must speak of one subject; the newest counts.
    fn verify_newest(
        &mut self,
        candidates: &[Candidate<'_>],
        now: UnixTime,
        crypto: &dyn SignatureVerifier,
    ) -> Result<Rc<VerifiedToken>, Stop> {
        let mut budget = Verifications::default();
        let mut newest: Option<Rc<VerifiedToken>> = None;
        let mut first_refusal = None;
        for candidate in candidates {
            match self.verify(candidate, now, crypto, &mut budget) {
                Ok(token) => {
                    let Some(other) = &newest else {
                        newest = Some(token);
                        continue;
                    };
                    if other.provider() != token.provider()
                        || other.subject().is_none()
                        || other.subject() != token.subject()
                    {
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
                Err(need) => return Err(need),
            }
        }
        newest.ok_or_else(|| {
            first_refusal.unwrap_or_else(|| Refusal::new(Reason::DuplicateCookie)).into()
        })
    }

    fn wait(
        &mut self,
        now: UnixTime,
        stream: StreamId,
        need: Need,
        has_body: bool,
        waited: Option<Waited>,
    ) -> Result<(), CannotWait> {
        if waited.as_ref().is_some_and(|waited| !waited.may_wait_for(need, now)) {
            return Err(CannotWait);
        }
        let keys = self.keys.get(need.provider.index()).ok_or(CannotWait)?;
        let patience = match need.keys {
            NeededKeys::AnySet => keys.keys.patience(),
            NeededKeys::NewerSet => PATIENCE_FOR_NEWER_SET,
        };
        let deadline = now.after(patience);
        self.waiting.admit(stream, need, has_body, waited, deadline).map_err(|_| CannotWait)?;
        self.stats.waiting(1);
        Ok(())
    }

    /// The answer to a stream that needs keys and can't wait for them, or has waited in vain.
    fn give_up(&mut self, need: Need, refusal: Refusal, now: UnixTime) -> Refusal {
        if need.keys == NeededKeys::NewerSet
            && let Some(state) = self.keys.get_mut(need.provider.index())
        {
            state.keys.still_unknown(refusal.key_id.as_deref(), now);
        }
        refusal
    }

    fn record(&mut self, now: UnixTime, head: &RequestHead<'_>, refusal: &Refusal) {
        let policy = Rc::clone(&self.policy);
        let rule = refusal.rule.map(|index| policy.rules.get(index).unwrap_or(&policy.default));
        let provider = refusal.provider.and_then(|id| policy.providers.get(id.index()));
        let pseudo = |name| head.values(name).next().unwrap_or_default();
        let record = DenialRecord {
            reason: refusal.reason,
            rule: rule.map(|rule| &*rule.name),
            provider: provider.map(|provider| &*provider.name),
            key_id: refusal.key_id.as_deref(),
            method: pseudo(b":method"),
            path: without_query(pseudo(b":path")),
        };
        self.journal.note_denial(now, &record);
    }
}

/// The keys of one provider, with what the log has been told of them.
#[derive(Debug)]
struct ProviderKeysState {
    keys: ProviderKeys,
    flight: Option<FetchId>,
    failing: bool,
    /// The skipped keys that were warned of.
    doubts: Vec<String>,
}

impl ProviderKeysState {
    fn new(provider: &Provider) -> Self {
        let keys = ProviderKeys::new(&provider.keys);
        Self { keys, flight: None, failing: false, doubts: Vec::new() }
    }
}

/// Why a request does not go on now.
#[derive(Debug)]
enum Stop {
    Refuse(Refusal),
    /// It lacks keys; the refusal is for when it can't wait.
    Need {
        need: Need,
        refusal: Refusal,
    },
}

impl Stop {
    fn at(self, rule: usize) -> Self {
        match self {
            Self::Refuse(refusal) => Self::Refuse(refusal.at(rule)),
            Self::Need { need, refusal } => Self::Need { need, refusal: refusal.at(rule) },
        }
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// A refusal with what the log tells of it.
#[derive(Debug)]
struct Refusal {
    reason: Reason,
    retry_after: Duration,
    rule: Option<usize>,
    provider: Option<ProviderId>,
    key_id: Option<Box<str>>,
}

impl Refusal {
    fn new(reason: Reason) -> Self {
        let (rule, provider, key_id) = (None, None, None);
        Self { reason, retry_after: Duration::ZERO, rule, provider, key_id }
    }

    fn at(self, rule: usize) -> Self {
        Self { rule: Some(rule), ..self }
    }

    fn of(self, provider: ProviderId, key_id: Option<&str>) -> Self {
        Self { provider: Some(provider), key_id: key_id.map(Box::from), ..self }
    }

    fn after(self, retry_after: Duration) -> Self {
        Self { retry_after, ..self }
    }
}

/// There is no room, or no time left.
#[derive(Clone, Copy, Debug)]
struct CannotWait;

/// Random enough to keep workers from asking in step (splitmix64).
#[derive(Debug)]
struct Jitter(u64);

impl Jitter {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed.to_be_bytes().first().copied().unwrap_or_default()
    }
}

/// The rule that decides, with its place; the default's is behind the last.
fn find_rule<'p>(policy: &'p Policy, line: RequestLine<'_>) -> Result<(usize, &'p Rule), Refusal> {
    let malformed = || Refusal::new(Reason::MalformedRequest);
    let host = Host::read(line.authority).map_err(|_| malformed())?;
    if !line.path.starts_with(b"/") {
        return Err(malformed());
    }
    let path = policy.paths.as_ref().map(|paths| paths.read(line.path)).transpose();
    let path = path.map_err(|_| Refusal::new(Reason::AmbiguousPath))?;
    let matches = |rule: &&Rule| rule.matches.matches(host, line.method, path.as_ref());
    let found = policy.rules.iter().position(|rule| matches(&rule));
    let index = found.unwrap_or(policy.rules.len());
    Ok((index, policy.rules.get(index).unwrap_or(&policy.default)))
}

/// Decodes a token and tells to whom its unproven issuer belongs.
fn read_token<'p>(text: &'p [u8], providers: &[Provider]) -> Reading<'p> {
    if providers.iter().all(|provider| text.len() > provider.max_token_bytes) {
        return Reading::Malformed;
    }
    let Ok(token) = UnverifiedToken::decode(text) else { return Reading::Malformed };
    let mut claimants = ProviderSet::default();
    let mut too_large = false;
    for (index, provider) in providers.iter().enumerate() {
        if let Some(id) = ProviderId::new(index)
            && provider.claims(token.issuer())
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
    Reading::Fresh { token, claimants }
}

/// Whether no provider of the rule claims the token.
fn is_foreign(text: &[u8], rule: &Rule, providers: &[Provider]) -> bool {
    match read_token(text, providers) {
        Reading::Fresh { claimants, .. } => {
            !rule.providers.iter().any(|id| claimants.contains(*id))
        }
        Reading::Malformed | Reading::Known(_) => true,
    }
}
