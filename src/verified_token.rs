//! A token that was proven: the only thing that lets a request pass.

use std::rc::Rc;

use crate::claim_headers::{ClaimHeader, Rendered};
use crate::jwt::key::KeyFingerprint;
use crate::jwt::token::{SignedToken, Times};
use crate::provider::{Provider, ProviderId, ProviderSet};
use crate::reason::Reason;
use crate::request::HeaderName;
use crate::time::UnixTime;

/// A token whose signature and claims a provider accepted at some time. Whether its time has not
/// run out, and whether its key is still in the set, is asked again at each request.
///
/// Holds no JSON: what backends get is rendered once.
#[derive(Debug)]
pub struct VerifiedToken {
    bearer: Box<[u8]>,
    provider: ProviderId,
    claimants: ProviderSet,
    key: KeyFingerprint,
    times: Times,
    subject: Option<Box<str>>,
    claim_headers: Rc<[ClaimHeader]>,
    rendered: Box<[Rendered]>,
}

impl VerifiedToken {
    /// Holds a signed token against the provider that it belongs to. `claimants` are all providers
    /// to which its issuer belongs.
    ///
    /// # Errors
    /// Whatever of the provider's demands it does not meet at `now`.
    pub fn new(
        token: SignedToken<'_>,
        provider: (ProviderId, &Provider),
        claimants: ProviderSet,
        now: UnixTime,
    ) -> Result<Self, Reason> {
        let (id, provider) = provider;
        provider.check_times(token.times(), now)?;
        provider.check_claims(token)?;
        let payload = token.claims();
        let rendered = provider.claim_headers.iter().map(|header| header.render(payload));
        Ok(Self {
            bearer: [SCHEME, token.text()].concat().into(),
            provider: id,
            claimants,
            key: token.key().fingerprint(),
            times: token.times(),
            subject: payload.get("sub").and_then(|subject| subject.as_str()).map(Box::from),
            claim_headers: Rc::clone(&provider.claim_headers),
            rendered: rendered.collect(),
        })
    }

    /// `Bearer <token>`, as backends get it.
    pub fn bearer(&self) -> &[u8] {
        &self.bearer
    }

    /// The compact text.
    pub fn text(&self) -> &[u8] {
        self.bearer.get(SCHEME.len()..).unwrap_or_default()
    }

    /// Who accepted it.
    pub fn provider(&self) -> ProviderId {
        self.provider
    }

    /// All providers to which its issuer belongs.
    pub fn claimants(&self) -> ProviderSet {
        self.claimants
    }

    /// The material of the key that signed it.
    pub fn key(&self) -> KeyFingerprint {
        self.key
    }

    /// Its dates.
    pub fn times(&self) -> Times {
        self.times
    }

    /// `sub`, if it is a string.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// The headers that backends get, in the configuration's order.
    pub fn claim_headers(&self) -> impl Iterator<Item = (&HeaderName, &[u8])> {
        self.claim_headers.iter().zip(&self.rendered).filter_map(
            |(header, rendered)| match rendered {
                Rendered::Value(value) => Some((&header.name, &**value)),
                Rendered::Absent | Rendered::Skipped => None,
            },
        )
    }

    /// How many claims could not be written as headers.
    pub fn skipped_claim_headers(&self) -> usize {
        self.rendered.iter().filter(|rendered| **rendered == Rendered::Skipped).count()
    }

    /// About how many bytes of memory it takes.
    pub fn memory(&self) -> usize {
        let rendered = self.rendered.iter().map(|rendered| match rendered {
            Rendered::Value(value) => value.len(),
            Rendered::Absent | Rendered::Skipped => 0,
        });
        let texts = rendered.chain([
            self.bearer.len(),
            self.subject.as_ref().map_or(0, |subject| subject.len()),
            size_of_val(&*self.rendered),
            size_of::<Self>(),
        ]);
        texts.fold(0, usize::saturating_add)
    }
}

const SCHEME: &[u8] = b"Bearer ";
