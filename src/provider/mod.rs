//! A provider: who issues sessions, where a request carries them, and what makes one acceptable.

use std::rc::Rc;
use std::time::Duration;

use crate::claim_headers::ClaimHeader;
use crate::cookie::CookieName;
use crate::extractor::Source;
use crate::jwks::document::Jwks;
use crate::jwt::algorithm::AlgorithmSet;
use crate::request::HeaderName;

pub mod corbado;

/// One entry of `providers`, ready for requests.
#[derive(Debug)]
pub struct Provider {
    /// Unique within the configuration; for logs and metrics.
    pub name: Rc<str>,
    /// Whose tokens these are.
    pub issuers: Issuers,
    /// Any of these must be in `aud`; empty: `aud` is not looked at.
    pub audiences: Vec<Box<str>>,
    /// The only algorithms that are accepted.
    pub algorithms: AlgorithmSet,
    /// Accepted `typ`s, in lower case and without `application/`.
    pub token_types: Vec<Box<str>>,
    /// How far clocks may differ.
    pub clock_skew: Duration,
    /// Upper bound of `exp - iat`.
    pub max_lifetime: Option<Duration>,
    /// Longer tokens are refused unread.
    pub max_token_bytes: usize,
    /// Where to look, in order.
    pub sources: Vec<Source>,
    /// Cookies of this vendor that no backend may see.
    pub stripped_cookies: Vec<CookieName>,
    /// What two sources with different tokens mean.
    pub on_conflict: OnConflict,
    /// What several cookies of one name with different values mean.
    pub duplicate_cookies: DuplicateCookies,
    /// Where the keys come from.
    pub keys: KeySource,
    /// Whether a token's `kid` must name exactly one key, as the vendors' own SDKs want it.
    pub strict_key_id: bool,
    /// Whether `sub` must be a non-empty string.
    pub subject_required: bool,
    /// Which claims backends get as headers.
    pub claim_headers: Rc<[ClaimHeader]>,
}

/// Which `iss` values belong to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuers {
    /// `insecure_any_issuer`: whatever the token says.
    InsecureAny,
    /// Exactly one of these.
    OneOf(Vec<Box<str>>),
}

/// `on_conflict`: two sources carry different tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// The first source wins.
    #[default]
    First,
    /// The request is refused.
    Reject,
}

/// `duplicate_cookies`: several cookies of one name, with different values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DuplicateCookies {
    /// The request is refused.
    #[default]
    Reject,
    /// The newest of those that verify wins, if all that verify speak of one subject.
    Newest,
}

/// Inline keys, a remote set, or both; never neither (`config::compile` sees to that).
#[derive(Debug, Default)]
pub struct KeySource {
    /// Serve until the first fetch, or for ever without a remote set.
    pub inline: Option<Rc<Jwks>>,
    /// Fetched through Envoy.
    pub remote: Option<RemoteJwks>,
}

/// Where a key set is fetched, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteJwks {
    /// `https` or `http`, for the `:scheme` of the request; TLS is the cluster's business.
    pub scheme: Box<str>,
    /// Host and port, for `:authority`.
    pub authority: Box<str>,
    /// Path and query, for `:path`.
    pub path: Box<str>,
    /// The Envoy cluster that is asked.
    pub cluster: Box<str>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How old a set may get before it is fetched anew.
    pub refresh: Duration,
    /// How old a set may get while fetches fail.
    pub stale_if_error: Duration,
    /// Further request headers.
    pub headers: Vec<(HeaderName, Box<str>)>,
}

/// The place of a provider in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderId(u8);

impl ProviderId {
    /// How many providers a configuration may have.
    pub const MAX_PROVIDERS: usize = 32;

    /// The provider at `index`, if a configuration may have that many.
    pub fn new(index: usize) -> Option<Self> {
        (index < Self::MAX_PROVIDERS).then_some(())?;
        u8::try_from(index).ok().map(Self)
    }

    /// Its index in the configuration's list.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
