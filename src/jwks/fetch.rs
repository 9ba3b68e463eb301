//! One fetch of a key set: the request that the adapter sends, and what an answer is good for.

use std::fmt;
use std::time::Duration;

use crate::jwks::document::{Jwks, JwksError, ParsedJwks};
use crate::jwks::source::RemoteJwks;
use crate::jwt::algorithm::AlgorithmSet;

/// Tells fetches apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// A request for the adapter to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// To be handed back with the answer.
    pub id: FetchId,
    /// The Envoy cluster.
    pub cluster: Box<str>,
    /// Pseudo headers first.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// How long the answer may take.
    pub timeout: Duration,
}

impl FetchRequest {
    /// The request for a provider's set.
    pub fn new(id: FetchId, source: &RemoteJwks) -> Self {
        let fixed: [(&str, &str); 6] = [
            (":method", "GET"),
            (":scheme", &source.scheme),
            (":authority", &source.authority),
            (":path", &source.path),
            ("accept", "application/json"),
            ("user-agent", concat!("session-token-filter/", env!("CARGO_PKG_VERSION"))),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| (name.into(), value.into()));
        let own = source.headers.iter().map(|(name, value)| (name.as_str().into(), value.clone()));
        let (cluster, timeout) = (source.cluster.clone(), source.timeout);
        Self { id, cluster, headers: fixed.chain(own).collect(), timeout }
    }
}

/// An answer as it came.
#[derive(Clone, Copy, Debug)]
pub struct FetchResponse<'r> {
    /// HTTP status; Envoy says 503 or 504 where the key server said nothing.
    pub status: u16,
    /// `cache-control`
    pub cache_control: Option<&'r [u8]>,
    /// The whole body.
    pub body: &'r [u8],
}

impl FetchResponse<'_> {
    /// The key set in the answer, and for how long the key server calls it fresh.
    ///
    /// # Errors
    /// `Status` for anything but 200, `Document` for a body that is no set with a usable key.
    pub fn read(
        &self,
        algorithms: AlgorithmSet,
    ) -> Result<(ParsedJwks, Option<Duration>), FetchError> {
        if self.status != 200 {
            return Err(FetchError::Status(self.status));
        }
        let parsed = Jwks::parse(self.body, algorithms).map_err(FetchError::Document)?;
        Ok((parsed, self.cache_control.and_then(max_age)))
    }
}

/// Why a fetch brought no keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// Envoy did not send the request: the cluster is unknown, or has no address or connection.
    NotSent,
    /// The connection broke off, or could not be made.
    NoAnswer,
    /// Nothing came back, not even an error.
    Lost,
    /// Another status than 200. Redirects are not followed.
    Status(u16),
    /// The body is no key set.
    Document(JwksError),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent => {
                f.write_str("Envoy sent no request: no such cluster, or no address for it")
            }
            Self::NoAnswer => f.write_str("no answer"),
            Self::Lost => f.write_str("Envoy never said how the request ended"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Document(error) => error.fmt(f),
        }
    }
}

/// How long an answer is fresh (RFC 9111, section 5.2.2); zero where it must not be kept at all.
fn max_age(cache_control: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(cache_control).ok()?.to_ascii_lowercase();
    let mut age = None;
    for directive in text.split(',').map(str::trim) {
        if matches!(directive, "no-store" | "no-cache") {
            return Some(Duration::ZERO);
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            // More than fits is as good as for ever (RFC 9111, section 1.2.2).
            let digits = seconds.trim_matches('"');
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                let seconds = digits.parse().unwrap_or(u64::from(u32::MAX));
                age = Some(Duration::from_secs(seconds.min(u64::from(u32::MAX))));
            }
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_read_from_any_directives() {
        for (text, expected) in [
            ("max-age=60", Some(60)),
            ("public, Max-Age=\"600\" , must-revalidate", Some(600)),
            ("max-age=99999999999999999999999", Some(u64::from(u32::MAX))),
            ("no-store, max-age=60", Some(0)),
            ("no-cache", Some(0)),
            ("max-age=-1", None),
            ("max-age=", None),
            ("s-maxage=60", None),
            ("", None),
        ] {
            assert_eq!(max_age(text.as_bytes()), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(max_age(b"\xff"), None);
    }

    #[test]
    fn only_200_is_read() {
        for status in [204, 301, 404, 500, 503] {
            let response = FetchResponse { status, cache_control: None, body: b"{}" };
            let error = response.read(AlgorithmSet::default()).err();
            assert_eq!(error, Some(FetchError::Status(status)));
        }
    }
}
