//! Where a provider's keys come from, as an operator says it.

use std::rc::Rc;
use std::time::Duration;

use crate::jwks::document::Jwks;
use crate::request::HeaderName;

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
