//! The state machine: what happens to a request, and what the filter does between requests.
//!
//! Inputs are methods, outputs are values: no clock, no network, no host. A request is decided in
//! one pass, each step's success being the next one's argument:
//!  1. the request line is read; what can't be compared with rules is refused,
//!  2. headers that no client may send are taken out, on every path,
//!  3. the first rule that matches decides,
//!  4. by its access: refused, let through untouched, or asked for a credential,
//!  5. the credential is chosen from what the request presents (`credential`),
//!  6. if a cookie held it, no page of another site may have sent it (`csrf`),
//!  7. what can refuse it cheaply does so first: dates, then the algorithm,
//!  8. it was verified before, or is verified now with the provider's keys (`jwks::remote`), or
//!     waits for them,
//!  9. it is held against what the provider demands, then the rule (`authorize`), on every request,
//! 10. the rule says what backends see of it (`forward`).
//!
//! A rule in report mode refuses nothing: what it would refuse is counted and goes on after step 2.

use std::rc::Rc;

use crate::bad_signatures::BadSignatures;
use crate::credential::{Candidate, Choice, NoCredential, Reading, SourcePlan};
use crate::csrf::CsrfMode;
use crate::denial::{Cause, Denial};
use crate::edits::{HeaderEdits, ResponseEdits};
use crate::filter::access_log::{Decision, StateEntry, Trail};
use crate::filter::anti_csrf::AntiCsrfProof;
use crate::filter::budget::{PortableFailures, Verifications};
use crate::filter::journal::{DenialRecord, Journal, LogLine};
use crate::filter::key_sets::{Jitter, ProviderKeysState};
use crate::filter::refusal::{CannotWait, Refusal, Stop};
use crate::filter::responses::ResponseRecords;
use crate::filter::tick_clock::TickClock;
use crate::filter::verification::is_foreign;
pub use crate::filter::verification::read_token;
use crate::filter::waiting::{
    Need, NeededKeys, PATIENCE_FOR_NEWER_SET, StreamId, Waited, WaitingStreams,
};
use crate::forward;
use crate::jwks::fetch::{FetchError, FetchId, FetchRequest};
use crate::jwt::signature::SignatureVerifier;
use crate::matcher::Host;
use crate::path::without_query;
use crate::policy::{Access, Mode, Policy, Rule};
use crate::provider::{Provider, ProviderId};
use crate::reason::Reason;
use crate::request::{RequestHead, RequestLine};
use crate::rule_index::RuleIndex;
use crate::stats::{Counter, Stats};
use crate::time::{Clock, UnixTime};
use crate::token_cache::TokenCache;
use crate::verified_token::VerifiedToken;

pub mod access_log;
mod anti_csrf;
mod budget;
pub mod journal;
mod key_sets;
mod refusal;
pub mod responses;
mod tick_clock;
mod verification;
pub mod waiting;

/// One configuration at work; each root context has its own.
#[derive(Debug)]
pub struct Filter {
    policy: Rc<Policy>,
    rules: RuleIndex,
    /// One for each rule, the default's last.
    plans: Rc<[SourcePlan]>,
    keys: Vec<ProviderKeysState>,
    cache: TokenCache,
    bad_signatures: BadSignatures,
    portable_failures: PortableFailures,
    waiting: WaitingStreams,
    /// Nothing if responses stay as they are.
    responses: Option<ResponseRecords>,
    stats: Stats,
    journal: Journal,
    ticks: TickClock,
    /// Of the request that was decided last.
    filter_state: Vec<StateEntry>,
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
            plans: rules
                .map(|rule| SourcePlan::new(rule, &policy.providers, &policy.cookies.strip))
                .collect(),
            rules: RuleIndex::new(policy.rules.iter().map(|rule| &rule.matches)),
            keys: policy.providers.iter().map(ProviderKeysState::new).collect(),
            cache: TokenCache::new(policy.cache, seed),
            bad_signatures: BadSignatures::new(seed),
            portable_failures: PortableFailures::default(),
            waiting: WaitingStreams::default(),
            responses: ResponseRecords::new(&policy),
            stats: Stats::new(&policy),
            journal: Journal::new(policy.log_denials),
            ticks: TickClock::default(),
            filter_state: Vec::new(),
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
        clock: &dyn Clock,
        stream: StreamId,
        head: &RequestHead<'h>,
        crypto: &dyn SignatureVerifier,
    ) -> Verdict<'h> {
        let waited = self.waiting.release(stream);
        if waited.is_some() {
            self.stats.waiting(-1);
        }
        let policy = Rc::clone(&self.policy);
        if let Some(responses) = &mut self.responses {
            responses.note(stream, head, &policy.cookies);
        }
        self.filter_state.clear();
        let mut trail = Trail::default();
        // Handed down, as it is too large to be handed back and forth for nothing.
        let mut edits = HeaderEdits::default();
        match self.decide(clock, head, crypto, waited.as_ref(), &mut trail, &mut edits) {
            Ok(counter) => {
                self.stats.count(counter);
                self.filter_state = trail.entries(&policy, Decision::Passed(counter));
                Verdict::Continue(edits)
            }
            Err(stop) => self.stop(clock.now(), stream, head, stop, waited.as_ref(), &trail),
        }
    }

    /// Whether the response of a stream may have to change, so that its head must be read.
    pub fn awaits_response(&self, stream: StreamId) -> bool {
        self.responses.as_ref().is_some_and(|records| records.contains(stream))
    }

    /// What to change about a stream's response with these `set-cookie` lines, from wherever it
    /// comes; nothing the second time.
    pub fn on_response<'h>(
        &mut self,
        stream: StreamId,
        set_cookies: &[&'h [u8]],
    ) -> ResponseEdits<'h> {
        let Self { policy, responses, stats, journal, .. } = self;
        match responses {
            Some(records) => records.take(stream, set_cookies, &policy.cookies, stats, journal),
            None => ResponseEdits::default(),
        }
    }

    /// Which request trailers must not reach a backend: what no client may send as a header, and
    /// credentials, which have no place there (RFC 9110, section 6.5.1).
    pub fn removes_trailer(&self, name: &[u8]) -> bool {
        self.policy.sanitizer.removes(name)
            || name == b"authorization"
            || name == b"cookie"
            || self
                .plans
                .iter()
                .any(|plan| plan.is_source_header(name) || plan.is_alias_of_source(name))
    }

    /// To be called about once a second, and when `wants_tick` says so.
    pub fn on_tick(&mut self, now: UnixTime) {
        self.ticks.on_tick(now);
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
        if let Some(responses) = &mut self.responses {
            responses.forget(stream);
        }
    }

    /// Whether a fetch is due, so that a tick should not be waited for.
    pub fn wants_tick(&self, now: UnixTime) -> bool {
        self.keys.iter().any(|state| state.keys.is_due(now))
    }

    /// Gives the memory of the cache back; tokens are verified anew.
    pub fn forget_tokens(&mut self) {
        self.cache.clear();
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

    /// What the access log can show of the request that was decided last; told once, and empty
    /// unless `telemetry.filter_state` names something.
    pub fn take_filter_state(&mut self) -> Vec<StateEntry> {
        std::mem::take(&mut self.filter_state)
    }

    /// What was counted.
    pub fn stats(&mut self) -> &mut Stats {
        &mut self.stats
    }

    fn decide<'h>(
        &mut self,
        clock: &dyn Clock,
        head: &RequestHead<'h>,
        crypto: &dyn SignatureVerifier,
        waited: Option<&Waited>,
        trail: &mut Trail,
        edits: &mut HeaderEdits<'h>,
    ) -> Result<Counter, Stop> {
        let policy = Rc::clone(&self.policy);
        let line = head.line().map_err(|_| Refusal::new(Reason::MalformedRequest))?;
        if line.method.eq_ignore_ascii_case(b"TRACE") {
            return Err(Refusal::new(Reason::MethodNotAllowed).into());
        }
        forward::sanitize(edits, head, &policy.sanitizer);
        let (index, rule) = find_rule(&policy, &self.rules, line)?;
        trail.decided_by(index);
        match rule.access {
            Access::Denied => return Err(Refusal::new(Reason::DeniedByRule).at(index).into()),
            Access::Public => return Ok(Counter::AllowedPublic),
            Access::Required | Access::Optional => {}
        }
        let plans = Rc::clone(&self.plans);
        let Some(plan) = plans.get(index) else {
            return Err(Refusal::new(Reason::DeniedByRule).at(index).into());
        };
        let cache = &mut self.cache;
        let presented = plan.find(head, |text| cache.find(text));
        let without = |edits: &mut HeaderEdits<'h>| {
            forward::forward_without_credential(edits, plan, &presented, head, |text| {
                rule.insecure_forward_foreign
                    && text.is_some_and(|text| is_foreign(text, rule, &policy.providers))
            });
        };
        if head.is_preflight() {
            without(edits);
            return Ok(Counter::AllowedPreflight);
        }
        let mut budget = Verifications::default();
        let choice =
            plan.choose(&presented, &policy.providers, |text| read_token(text, &policy.providers));
        if let Ok(choice) = &choice {
            let check = self.check_site(choice, plan, head, line, waited.is_none());
            check.map_err(|refusal| refusal.at(index))?;
        }
        let now = self.time_for(choice.as_ref().ok(), rule, clock);
        let first = choice.as_ref().ok().and_then(|choice| choice.candidates().first());
        let source = first.and_then(|candidate| plan.source_of(candidate));
        let proof = AntiCsrfProof { plan, head, method: line.method };
        let verified = match choice {
            Ok(choice) => proof
                .check_request(choice.candidates(), &policy.providers)
                .and_then(|()| match &choice {
                    Choice::One(candidate) => self.verify(candidate, now, crypto, &mut budget),
                    Choice::Newest(candidates) => {
                        self.verify_newest(candidates, now, crypto, &mut budget, waited)
                    }
                })
                .and_then(|token| proof.check_token(token, choice.candidates(), &policy.providers)),
            Err(NoCredential::Absent | NoCredential::Foreign(..))
                if rule.access == Access::Optional =>
            {
                without(edits);
                return Ok(Counter::AllowedOptional);
            }
            Err(NoCredential::LegacySession(owner)) => {
                Err(Refusal::new(Reason::LegacySession).of(owner, None).into())
            }
            Err(NoCredential::Absent) => Err(Refusal::new(Reason::Missing).into()),
            Err(NoCredential::Foreign(reason, asked) | NoCredential::Refused(reason, asked)) => {
                Err(Refusal { asked, ..Refusal::new(reason) }.into())
            }
        };
        let token = verified.map_err(|stop| stop.at(index))?;
        trail.proven(&policy, &token, source);
        check_demands(&token, rule, &policy, now).map_err(|refusal| refusal.at(index))?;
        forward::forward_verified(edits, &token, rule.forward, plan, &presented, head);
        Ok(Counter::Allowed)
    }

    /// What becomes of a request that does not go on as it should.
    #[cold]
    fn stop<'h>(
        &mut self,
        now: UnixTime,
        stream: StreamId,
        head: &RequestHead<'h>,
        stop: Stop,
        waited: Option<&Waited>,
        trail: &Trail,
    ) -> Verdict<'h> {
        let policy = Rc::clone(&self.policy);
        if let Some(reason) = only_reported(&policy, &stop) {
            self.stats.count_would_deny(reason);
            self.filter_state = trail.entries(&policy, Decision::WouldDeny(reason));
            let mut edits = HeaderEdits::default();
            forward::sanitize(&mut edits, head, &policy.sanitizer);
            return Verdict::Continue(edits);
        }
        let refusal = match stop {
            Stop::Refuse(refusal) => refusal,
            Stop::Need { need, refusal } => {
                match self.wait(now, stream, need, head.has_body(), waited) {
                    Ok(()) => return Verdict::Wait,
                    Err(CannotWait) => self.give_up(need, refusal, now, waited),
                }
            }
        };
        self.stats.count_denied(refusal.reason);
        self.filter_state = trail.entries(&policy, Decision::Denied(refusal.reason));
        self.record(now, head, &refusal);
        let cause = Cause {
            reason: refusal.reason,
            retry_after: refusal.retry_after,
            shortfall: refusal.shortfall.as_ref(),
            vendor: vendor_of(&policy, &refusal).and_then(|provider| provider.vendor_answers),
        };
        Verdict::Deny(Denial::new(&cause, head, &policy.responses))
    }

    /// Whether the credential may come with this request, if a cookie held it. `is_first` says that
    /// the stream has not waited, so that what is reported is counted once.
    fn check_site(
        &mut self,
        choice: &Choice<'_>,
        plan: &SourcePlan,
        head: &RequestHead<'_>,
        line: RequestLine<'_>,
        is_first: bool,
    ) -> Result<(), Refusal> {
        let mut candidates = choice.candidates().iter();
        let in_cookie = candidates.find(|candidate| plan.is_cookie_borne(candidate));
        let Some(candidate) = in_cookie else { return Ok(()) };
        match self.policy.csrf.mode {
            CsrfMode::InsecureOff => Ok(()),
            CsrfMode::Enforce | CsrfMode::Report if self.policy.csrf.admits(head, line) => Ok(()),
            CsrfMode::Enforce => Err(Refusal::new(Reason::CrossSite).of(candidate.owner, None)),
            CsrfMode::Report => {
                if is_first {
                    self.stats.count(Counter::CsrfReport);
                }
                Ok(())
            }
        }
    }

    /// The time by which the choice is judged on this rule.
    fn time_for(
        &mut self,
        choice: Option<&Choice<'_>>,
        rule: &Rule,
        clock: &dyn Clock,
    ) -> UnixTime {
        match choice {
            Some(Choice::One(Candidate { owner, reading: Reading::Known(token), .. }))
                if !rule.demands.look_at_time() =>
            {
                let provider = self.policy.providers.get(owner.index());
                let state = self.keys.get(owner.index());
                self.ticks.time(clock, |time| {
                    token.provider() == *owner
                        && provider.is_some_and(|it| it.check_times(token.times(), time).is_ok())
                        && state.is_some_and(|state| !state.keys.has_expired(time))
                })
            }
            Some(Choice::One(_) | Choice::Newest(_)) | None => clock.now(),
        }
    }

    fn wait(
        &mut self,
        now: UnixTime,
        stream: StreamId,
        need: Need,
        has_body: bool,
        waited: Option<&Waited>,
    ) -> Result<(), CannotWait> {
        if waited.is_some_and(|waited| !waited.may_wait_for(need, now)) {
            return Err(CannotWait);
        }
        let keys = self.keys.get(need.provider.index()).ok_or(CannotWait)?;
        let patience = match need.keys {
            NeededKeys::AnySet => keys.keys.patience(),
            NeededKeys::NewerSet => PATIENCE_FOR_NEWER_SET,
        };
        let before = waited.cloned();
        self.waiting
            .admit(stream, need, has_body, before, now, patience)
            .map_err(|_| CannotWait)?;
        self.stats.waiting(1);
        Ok(())
    }

    /// The answer to a stream that needs keys and can't wait for them, or has waited in vain.
    fn give_up(
        &mut self,
        need: Need,
        refusal: Box<Refusal>,
        now: UnixTime,
        waited: Option<&Waited>,
    ) -> Box<Refusal> {
        if need.keys == NeededKeys::NewerSet
            && let Some(since) = waited.and_then(|waited| waited.since(need))
            && let Some(state) = self.keys.get_mut(need.provider.index())
        {
            state.keys.still_unknown(refusal.key_id.as_deref(), since, now);
        }
        refusal
    }

    fn record(&mut self, now: UnixTime, head: &RequestHead<'_>, refusal: &Refusal) {
        let policy = Rc::clone(&self.policy);
        let rule = refusal.rule.map(|index| policy.rule(index));
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

/// Holds a valid token against what the rule asks for besides.
fn check_demands(
    token: &VerifiedToken,
    rule: &Rule,
    policy: &Policy,
    now: UnixTime,
) -> Result<(), Refusal> {
    let id = token.provider();
    let skew = policy.providers.get(id.index()).map(|provider| provider.clock_skew);
    let check = rule.demands.check(token.kept_claims(), id, now, skew.unwrap_or_default());
    check.map_err(|shortfall| {
        let refusal = Refusal::new(shortfall.reason()).of(id, token.key_id());
        Refusal { shortfall: Some(shortfall), ..refusal }
    })
}

/// The reason to count where the rule that stops a request only reports. It does not wait for keys
/// either: nobody knows what they would say.
fn only_reported(policy: &Policy, stop: &Stop) -> Option<Reason> {
    let (refusal, reason) = match stop {
        Stop::Refuse(refusal) => (refusal, refusal.reason),
        Stop::Need { need: _, refusal } => (refusal, Reason::KeysUnavailable),
    };
    match policy.rule(refusal.rule?).mode {
        Mode::Report => Some(reason),
        Mode::Enforce => None,
    }
}

/// Whose front end is told: the refused token's provider's, else that of the provider in whose
/// source it was, else that of the rule's first one.
fn vendor_of<'p>(policy: &'p Policy, refusal: &Refusal) -> Option<&'p Provider> {
    let rule = refusal.rule.map_or(&policy.default, |index| policy.rule(index));
    let id = refusal.provider.or(refusal.asked).or(rule.providers.first().copied())?;
    policy.providers.get(id.index())
}

/// The rule that decides, with its place; the default's is behind the last.
fn find_rule<'p>(
    policy: &'p Policy,
    index: &RuleIndex,
    line: RequestLine<'_>,
) -> Result<(usize, &'p Rule), Refusal> {
    let malformed = || Refusal::new(Reason::MalformedRequest);
    let host = Host::read(line.authority).map_err(|_| malformed())?;
    if !line.path.starts_with(b"/") {
        return Err(malformed());
    }
    let path = policy.paths.as_ref().map(|paths| paths.read(line.path)).transpose();
    let path = path.map_err(|_| Refusal::new(Reason::AmbiguousPath))?;
    let found = index.find(host, path.as_ref(), |rule| {
        policy.rule(rule).matches.matches(host, line.method, path.as_ref())
    });
    let index = found.unwrap_or(policy.rules.len());
    Ok((index, policy.rule(index)))
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
mod tests;
