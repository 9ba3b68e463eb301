//! Which of the tokens that a request presents is its credential.
//!
//! A token *belongs to* the first provider of the rule whose source holds it and that claims it: by
//! its unproven `iss`, and SuperTokens by its structure too. For each provider of the rule, in
//! order, for each of its sources:
//! 1. Several credentials in one header refuse the request, whatever else there is; before that, so
//!    does the cookie of a session that the provider's vendor gave up.
//! 2. Several cookies of one name with different values are duplicates, whatever is in them.
//! 3. A token that belongs to this provider is the credential; it is never skipped, good or bad.
//! 4. A token that belongs to nobody refuses the request if it stands in a cookie of ours; in a
//!    header it is foreign and skipped.
//!
//! If nothing is found, the answer is the reason why the first foreign header does not belong, and
//! `missing` only if no source held anything.

use std::borrow::Cow;
use std::rc::Rc;

use crate::bytes;
use crate::cookie::{self, Cookie, CookieName};
use crate::cookie_roles::{CookieRole, CookieRoles, KnownCookie};
use crate::extractor::{HeaderContent, Scheme, Source};
use crate::jwt::token::UnverifiedToken;
use crate::name_bits::NameBits;
use crate::policy::{Forward, Rule};
use crate::provider::{DuplicateCookies, OnConflict, Provider, ProviderId, ProviderSet};
use crate::reason::Reason;
use crate::request::{HeaderName, RequestHead};
use crate::sanitizer::Sanitizer;
use crate::verified_token::VerifiedToken;

/// Where a rule's providers look, prepared at load.
#[derive(Debug)]
pub struct SourcePlan {
    sources: Vec<PlannedSource>,
    /// Each provider's sources, in the order in which they are looked at.
    order: Vec<(ProviderId, usize)>,
    /// Cookies that hold a token or must not reach a backend.
    cookies: CookieRoles,
    /// Cookies whose presence refuses a request, and whose vendor's they are.
    legacy: Vec<(CookieName, ProviderId)>,
    /// The names of source headers.
    headers: NameBits,
    /// Set if no source reads `Authorization: Bearer`, which backends trust all the same.
    unread_bearer: Option<Scheme>,
    /// The names of source headers, under which CGI's rule finds others too, and of those in which
    /// only providers look that the rule does not ask.
    header_aliases: Sanitizer,
}

#[derive(Debug)]
struct PlannedSource {
    source: Source,
    /// The providers that look here.
    holders: ProviderSet,
    duplicates: DuplicateCookies,
}

impl SourcePlan {
    /// The plan of one rule; no backend may see the cookies `withheld`.
    pub fn new(rule: &Rule, providers: &[Provider], withheld: &[CookieName]) -> Self {
        // Refresh tokens are for no backend, whoever's sessions the rule is about.
        let mut stripped: Vec<_> =
            providers.iter().flat_map(|provider| provider.stripped_cookies.clone()).collect();
        match rule.forward {
            Forward::Bearer | Forward::Strip => stripped
                .extend(providers.iter().flat_map(|provider| provider.front_end_cookies.clone())),
            Forward::VerifyOnly => {}
        }
        stripped.extend(withheld.iter().cloned());
        let mut plan = Self {
            sources: Vec::new(),
            order: Vec::new(),
            cookies: CookieRoles::default(),
            legacy: Vec::new(),
            headers: NameBits::default(),
            unread_bearer: None,
            header_aliases: Sanitizer::default(),
        };
        for &id in &rule.providers {
            let Some(provider) = providers.get(id.index()) else { continue };
            plan.legacy.extend(provider.legacy_cookie.clone().map(|name| (name, id)));
            for source in &provider.sources {
                plan.add(id, source, provider.duplicate_cookies);
            }
        }
        let mut headers: Vec<_> =
            plan.sources.iter().filter_map(|planned| planned.source.header().cloned()).collect();
        let bits = headers.iter().map(|name| NameBits::of(name.as_bytes()));
        plan.headers = bits.fold(NameBits::default(), NameBits::and);
        // What only other providers look for, nobody verifies here. Schemes of `Authorization` that
        // are no source of the rule may pass.
        let is_other =
            |index: usize| ProviderId::new(index).is_none_or(|id| !rule.providers.contains(&id));
        let others = providers.iter().enumerate().filter(|(index, _)| is_other(*index));
        for source in others.flat_map(|(_, provider)| &provider.sources) {
            match source {
                Source::Header { name, .. } if *name == HeaderName::authorization() => {}
                Source::Header { name, .. } => headers.push(name.clone()),
                Source::Cookie(name) => stripped.push(name.clone()),
            }
        }
        plan.header_aliases = Sanitizer::new(headers);
        let sources = plan.sources.iter().enumerate();
        let sources = sources.filter_map(|(place, it)| Some((it.source.cookie()?, place)));
        plan.cookies = CookieRoles::new(sources, stripped, withheld);
        let bearer = Source::bearer();
        if !plan.sources.iter().any(|planned| planned.source == bearer) {
            plan.unread_bearer = Some(Scheme::bearer());
        }
        plan
    }

    fn add(&mut self, provider: ProviderId, source: &Source, duplicates: DuplicateCookies) {
        let known = self.sources.iter().position(|planned| planned.source == *source);
        let place = known.unwrap_or(self.sources.len());
        if known.is_none() {
            let (source, holders) = (source.clone(), ProviderSet::default());
            self.sources.push(PlannedSource { source, holders, duplicates });
        }
        if let Some(planned) = self.sources.get_mut(place) {
            planned.holders.insert(provider);
            // What restricts wins where providers differ.
            if duplicates == DuplicateCookies::Reject {
                planned.duplicates = duplicates;
            }
        }
        self.order.push((provider, place));
    }

    /// Finds everything that the request presents. `known` tells which tokens were verified before:
    /// most are, and need not be searched for escapes, let alone decoded.
    pub fn find<'h>(
        &self,
        head: &RequestHead<'h>,
        mut known: impl FnMut(&[u8]) -> Option<Rc<VerifiedToken>>,
    ) -> Presented<'h> {
        let mut presented = Presented::default();
        let looks_at_headers = self.headers.meet(head.names());
        if !looks_at_headers && !COOKIE.meet(head.names()) {
            return presented;
        }
        let mut cookie_lines = 0_usize;
        for &(name, value) in head.pairs() {
            if name == b"cookie" {
                self.find_cookies(value, cookie_lines, &mut presented, &mut known);
                cookie_lines = cookie_lines.saturating_add(1);
            } else if looks_at_headers {
                self.find_header(name, value, &mut presented, &mut known);
            }
        }
        presented
    }

    fn find_cookies<'h>(
        &self,
        text: &'h [u8],
        line: usize,
        presented: &mut Presented<'h>,
        known: &mut impl FnMut(&[u8]) -> Option<Rc<VerifiedToken>>,
    ) {
        for segment in cookie::segments(text) {
            if self.cookies.are_longer_than(segment) && self.legacy.is_empty() {
                continue;
            }
            let cookie = segment.cookie();
            presented.legacy = presented.legacy.or_else(|| self.legacy_owner(cookie));
            let Some(role) = self.cookies.role_of(cookie.name) else { continue };
            if let CookieRole::Source { place, is_withheld: _ } = role {
                presented.add_cookie(place, cookie, known);
            }
            let known = KnownCookie { segment, line, role };
            if presented.cookies.is_empty() {
                presented.cookies = vec![known];
            } else {
                presented.cookies.push(known);
            }
        }
    }

    fn find_header<'h>(
        &self,
        name: &[u8],
        value: &'h [u8],
        presented: &mut Presented<'h>,
        known: &mut impl FnMut(&[u8]) -> Option<Rc<VerifiedToken>>,
    ) {
        for (place, planned) in self.sources.iter().enumerate() {
            if let Source::Header { name: own, scheme } = &planned.source
                && own.as_bytes() == name
            {
                presented.add_header(place, scheme.read(value), known);
            }
        }
    }

    /// Whose session the cookie says there was. A bare name says nothing.
    fn legacy_owner(&self, cookie: Cookie<'_>) -> Option<ProviderId> {
        let is_it = |(name, _): &&(CookieName, ProviderId)| name.as_bytes() == cookie.name;
        self.legacy.iter().filter(|_| cookie.has_value()).find(is_it).map(|(_, owner)| *owner)
    }

    /// The source headers of which the request holds something, each with its only token.
    pub fn headers<'a>(
        &'a self,
        presented: &'a Presented<'_>,
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.sources.iter().enumerate().filter_map(|(place, planned)| {
            let name = planned.source.header()?;
            presented.holds(place).then(|| (name.as_bytes(), presented.only(place)))
        })
    }

    /// Whether one of so many headers may be a source, or something like it for backends.
    pub fn may_meet(&self, names: NameBits) -> bool {
        AUTHORIZATION.meet(names) || self.header_aliases.may_remove(names)
    }

    /// What an `authorization` line holds for backends, if no source of the rule reads it.
    pub fn unread_bearer<'h>(&self, line: &'h [u8]) -> HeaderContent<'h> {
        self.unread_bearer.as_ref().map_or(HeaderContent::OtherScheme, |bearer| bearer.read(line))
    }

    /// Whether a header of this name holds tokens for a provider of this rule.
    pub fn is_source_header(&self, name: &[u8]) -> bool {
        let mut headers = self.sources.iter().filter_map(|planned| planned.source.header());
        headers.any(|own| own.as_bytes() == name)
    }

    /// Whether a header of this name, which is no source, is one of another provider, or a server
    /// that follows CGI's rule takes it for a source.
    pub fn is_alias_of_source(&self, name: &[u8]) -> bool {
        self.header_aliases.removes(name) && !self.is_source_header(name)
    }

    /// The request's credential. `read` tells what a token is that is not known; it is asked as
    /// little as can be.
    ///
    /// # Errors
    /// The reason why there is none.
    pub fn choose<'p>(
        &self,
        presented: &'p Presented<'_>,
        providers: &[Provider],
        mut read: impl FnMut(&'p [u8]) -> Reading<'p>,
    ) -> Result<Choice<'p>, NoCredential> {
        if let Some(owner) = presented.legacy {
            return Err(NoCredential::LegacySession(owner));
        }
        if !presented.several.is_empty() {
            return Err(NoCredential::Refused(Reason::MultipleCredentials, None));
        }
        let mut foreign = None;
        // What stands at a source that several providers share is read once.
        let mut passed: Vec<(usize, Reading<'p>)> = Vec::new();
        for &(provider, place) in &self.order {
            let Some(planned) = self.sources.get(place) else { continue };
            let token = match presented.at(place) {
                [] => continue,
                [only] => only,
                twins => {
                    return self.choose_twins(place, twins, presented, providers, read);
                }
            };
            let known = passed.iter().position(|(other, _)| *other == place);
            let reading = match known {
                Some(at) => passed.swap_remove(at).1,
                None => token.reading(&mut read),
            };
            match self.owner(planned, &reading) {
                Some(owner) if owner == provider => {
                    self.check_conflicts(token.text(), owner, presented, providers, read)?;
                    let place = self.place_of(token.text(), place, presented);
                    return Ok(Choice::One(Candidate { owner, reading, place }));
                }
                Some(_) => passed.push((place, reading)),
                None => match planned.source {
                    Source::Cookie(_) => {
                        let reason = reading.unclaimed(providers.get(provider.index()));
                        return Err(NoCredential::Refused(reason, Some(provider)));
                    }
                    Source::Header { .. } => {
                        foreign.get_or_insert_with(|| {
                            let reason = reading.unclaimed(providers.get(provider.index()));
                            NoCredential::Foreign(reason, Some(provider))
                        });
                        passed.push((place, reading));
                    }
                },
            }
        }
        Err(foreign.unwrap_or(NoCredential::Absent))
    }

    fn choose_twins<'p>(
        &self,
        place: usize,
        twins: &'p [FoundToken<'_>],
        presented: &'p Presented<'_>,
        providers: &[Provider],
        mut read: impl FnMut(&'p [u8]) -> Reading<'p>,
    ) -> Result<Choice<'p>, NoCredential> {
        let holder = self.order.iter().find(|(_, other)| *other == place).map(|(id, _)| *id);
        let refused = NoCredential::Refused(Reason::DuplicateCookie, holder);
        let Some(planned) = self.sources.get(place) else { return Err(refused) };
        if planned.duplicates == DuplicateCookies::Reject || twins.len() > MAX_TWINS {
            return Err(refused);
        }
        let mut candidates = Vec::with_capacity(twins.len());
        let mut unclaimed = None;
        for token in twins {
            let (text, reading) = (token.text(), token.reading(&mut read));
            match self.owner(planned, &reading) {
                Some(owner) => {
                    let place = self.place_of(text, place, presented);
                    candidates.push(Candidate { owner, reading, place });
                }
                None => {
                    let provider = holder.and_then(|id| providers.get(id.index()));
                    unclaimed.get_or_insert_with(|| reading.unclaimed(provider));
                }
            }
        }
        let Some(first) = candidates.first() else {
            return Err(unclaimed.map_or(refused, |reason| NoCredential::Refused(reason, holder)));
        };
        let owner = first.owner;
        let others = presented.tokens.iter().filter(|token| token.place != place);
        for token in others {
            if !twins.iter().any(|twin| bytes::same(twin.text(), token.text())) {
                self.check_conflict(token, owner, presented, providers, &mut read)?;
            }
        }
        Ok(Choice::Newest(candidates))
    }

    /// `on_conflict: reject`: another token that belongs to somebody, valid or not.
    fn check_conflicts<'p>(
        &self,
        chosen: &[u8],
        owner: ProviderId,
        presented: &'p Presented<'_>,
        providers: &[Provider],
        mut read: impl FnMut(&'p [u8]) -> Reading<'p>,
    ) -> Result<(), NoCredential> {
        for token in presented.tokens.iter().filter(|token| !bytes::same(token.text(), chosen)) {
            self.check_conflict(token, owner, presented, providers, &mut read)?;
        }
        Ok(())
    }

    fn check_conflict<'p>(
        &self,
        token: &'p FoundToken<'_>,
        owner: ProviderId,
        presented: &'p Presented<'_>,
        providers: &[Provider],
        read: &mut impl FnMut(&'p [u8]) -> Reading<'p>,
    ) -> Result<(), NoCredential> {
        let rejects = |id: ProviderId| {
            providers.get(id.index()).is_some_and(|p| p.on_conflict == OnConflict::Reject)
        };
        if !self.order.iter().any(|(id, _)| rejects(*id)) {
            return Ok(());
        }
        let reading = token.reading(read);
        let twins = presented.tokens.iter();
        let twins = twins.filter(|other| bytes::same(other.text(), token.text()));
        for planned in twins.filter_map(|token| self.sources.get(token.place)) {
            if let Some(other) = self.owner(planned, &reading)
                && (rejects(owner) || rejects(other))
            {
                let reason = Reason::ConflictingCredentials;
                return Err(NoCredential::Refused(reason, Some(owner)));
            }
        }
        Ok(())
    }

    /// Where a token counts as found that stands at `place`: one that stands in a header too is the
    /// header's, whatever the order of sources. No page of another site could have sent that.
    fn place_of(&self, text: &[u8], place: usize, presented: &Presented<'_>) -> usize {
        let is_header = |place: usize| {
            self.sources.get(place).is_none_or(|planned| planned.source.header().is_some())
        };
        if presented.tokens.len() <= 1 || is_header(place) {
            return place;
        }
        let mut headers = presented.tokens.iter().filter(|token| is_header(token.place));
        headers.find(|token| bytes::same(token.text(), text)).map_or(place, |token| token.place)
    }

    /// Where the credential was found.
    pub fn source_of(&self, candidate: &Candidate<'_>) -> Option<&Source> {
        self.sources.get(candidate.place).map(|planned| &planned.source)
    }

    /// Whether a cookie held the credential, and no header did, so that a page of another site may
    /// have sent it.
    pub fn is_cookie_borne(&self, candidate: &Candidate<'_>) -> bool {
        self.source_of(candidate).is_none_or(|source| source.header().is_none())
    }

    /// Whom a token belongs to that stands in `planned`.
    fn owner(&self, planned: &PlannedSource, reading: &Reading<'_>) -> Option<ProviderId> {
        let claimants = planned.holders.intersection(reading.claimants());
        let mut owners = self.order.iter().map(|(id, _)| *id);
        if claimants.is_empty() { None } else { owners.find(|id| claimants.contains(*id)) }
    }
}

/// What a request presents at a rule's sources.
#[derive(Debug, Default)]
pub struct Presented<'h> {
    /// By their places among the plan's sources; those at one place are different from each other,
    /// and at most one more than can be decided.
    tokens: Vec<FoundToken<'h>>,
    /// The places of headers with more than one credential.
    several: Vec<usize>,
    cookies: Vec<KnownCookie<'h>>,
    /// To whom a session belongs that the vendor gave up.
    legacy: Option<ProviderId>,
}

impl<'h> Presented<'h> {
    /// The cookies that mean something to the rule, in order.
    pub fn cookies(&self) -> &[KnownCookie<'h>] {
        &self.cookies
    }

    fn at(&self, place: usize) -> &[FoundToken<'h>] {
        if let [only] = self.tokens.as_slice() {
            return if only.place == place { &self.tokens } else { &[] };
        }
        let start = self.tokens.partition_point(|token| token.place < place);
        let rest = self.tokens.get(start..).unwrap_or_default();
        rest.get(..rest.partition_point(|token| token.place == place)).unwrap_or_default()
    }

    fn holds(&self, place: usize) -> bool {
        !self.at(place).is_empty() || self.several.contains(&place)
    }

    /// The token at this place, if there is exactly one.
    fn only(&self, place: usize) -> Option<&[u8]> {
        match self.at(place) {
            [only] if !self.several.contains(&place) => Some(only.text()),
            _ => None,
        }
    }

    fn add(&mut self, token: FoundToken<'h>) {
        if self.tokens.is_empty() {
            // There is seldom a second one.
            self.tokens = vec![token];
            return;
        }
        let at = self.tokens.partition_point(|other| other.place <= token.place);
        self.tokens.insert(at, token);
    }

    fn add_header(
        &mut self,
        place: usize,
        content: HeaderContent<'h>,
        known: &mut impl FnMut(&[u8]) -> Option<Rc<VerifiedToken>>,
    ) {
        match content {
            HeaderContent::OtherScheme => {}
            // A second line of the same header.
            HeaderContent::Token(_) if self.holds(place) => self.several.push(place),
            HeaderContent::Token(text) => {
                self.add(FoundToken { place, text: Cow::Borrowed(text), known: known(text) });
            }
            HeaderContent::Several => self.several.push(place),
        }
    }

    /// An empty cookie is as good as none.
    fn add_cookie(
        &mut self,
        place: usize,
        cookie: Cookie<'h>,
        known: &mut impl FnMut(&[u8]) -> Option<Rc<VerifiedToken>>,
    ) {
        let found = self.at(place);
        if found.len() > MAX_TWINS {
            return;
        }
        let value = cookie.value();
        // What was verified has neither quotes nor escapes.
        let mut token = known(value);
        let text = if token.is_some() { Cow::Borrowed(value) } else { cookie.bare_value() };
        if text.is_empty() || found.iter().any(|other| bytes::same(other.text(), &text)) {
            return;
        }
        if token.is_none() && *text != *value {
            token = known(&text);
        }
        self.add(FoundToken { place, text, known: token });
    }
}

/// A token, and the place of its source.
#[derive(Debug)]
struct FoundToken<'h> {
    place: usize,
    text: Cow<'h, [u8]>,
    /// What it is, if it was verified before.
    known: Option<Rc<VerifiedToken>>,
}

impl FoundToken<'_> {
    /// Of a known token the cache's own copy, which is compared with itself at no cost.
    fn text(&self) -> &[u8] {
        self.known.as_ref().map_or(&self.text, |token| token.text())
    }

    fn reading<'p>(&'p self, read: impl FnOnce(&'p [u8]) -> Reading<'p>) -> Reading<'p> {
        match &self.known {
            Some(token) => Reading::Known(Rc::clone(token)),
            None => read(&self.text),
        }
    }
}

/// What a token is, before it counts.
#[derive(Debug)]
pub enum Reading<'p> {
    /// It was verified before.
    Known(Rc<VerifiedToken>),
    /// It decodes, and belongs to these providers by what it says, unproven.
    Fresh {
        /// What it says; apart, since most tokens are known, and those pass through many hands.
        token: Box<UnverifiedToken<'p>>,
        /// Those that claim it, and whose limit of size it keeps.
        claimants: ProviderSet,
    },
    /// It does not decode, or is longer than any provider allows.
    Malformed,
}

impl Reading<'_> {
    fn claimants(&self) -> ProviderSet {
        match self {
            Self::Known(token) => token.claimants(),
            Self::Fresh { claimants, .. } => *claimants,
            Self::Malformed => ProviderSet::default(),
        }
    }

    /// Why it does not belong to `provider`.
    fn unclaimed(&self, provider: Option<&Provider>) -> Reason {
        let refused = |token: &UnverifiedToken<'_>| match provider.map(|it| it.claim(token)) {
            Some(Err(reason)) => reason,
            // It is longer than the provider allows.
            Some(Ok(())) | None => Reason::Malformed,
        };
        match self {
            Self::Malformed => Reason::Malformed,
            Self::Fresh { token, .. } => refused(token),
            // Another provider took it; that it was cached must not change the answer.
            Self::Known(token) => UnverifiedToken::decode(token.text())
                .map_or(Reason::Malformed, |token| refused(&token)),
        }
    }
}

/// A token that belongs to a provider.
#[derive(Debug)]
pub struct Candidate<'p> {
    /// Whose it is.
    pub owner: ProviderId,
    /// What it is.
    pub reading: Reading<'p>,
    /// The place of its source among the plan's.
    place: usize,
}

impl Candidate<'_> {
    /// The token's text.
    pub fn text(&self) -> &[u8] {
        match &self.reading {
            Reading::Known(token) => token.text(),
            Reading::Fresh { token, .. } => token.text(),
            Reading::Malformed => b"",
        }
    }
}

/// The credential, or those of which it must be one.
#[derive(Debug)]
pub enum Choice<'p> {
    /// This one.
    One(Candidate<'p>),
    /// Of those that verify, the one that was issued last.
    Newest(Vec<Candidate<'p>>),
}

impl<'p> Choice<'p> {
    /// All that may be it.
    pub fn candidates(&self) -> &[Candidate<'p>] {
        match self {
            Self::One(candidate) => std::slice::from_ref(candidate),
            Self::Newest(candidates) => candidates,
        }
    }
}

/// Why there is no credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCredential {
    /// No source held anything.
    Absent,
    /// A header held something that belongs to nobody, for this reason of this provider's.
    Foreign(Reason, Option<ProviderId>),
    /// What was found refuses the request, on every rule; the provider in whose source it was.
    Refused(Reason, Option<ProviderId>),
    /// So does a session of this provider that its vendor gave up.
    LegacySession(ProviderId),
}

const COOKIE: NameBits = NameBits::of(b"cookie");
const AUTHORIZATION: NameBits = NameBits::of(b"authorization");

/// Different values of one cookie that are looked at; each may cost a verification.
const MAX_TWINS: usize = 4;

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
mod tests;
