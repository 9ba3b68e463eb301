//! One request through the product's own state machine, with a key server that answers at once.
//!
//! Where no key set is at hand, one is assumed whose key bears the token's own name, and a verifier
//! that says of every signature what it was told to. Nothing but these explanations uses either.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use session_token_filter::bytes::escaped;
use session_token_filter::cookie::{self, Cookie};
use session_token_filter::denial::Denial;
use session_token_filter::edits::{HeaderEdit, HeaderEdits};
use session_token_filter::filter::access_log::StateEntry;
use session_token_filter::filter::waiting::StreamId;
use session_token_filter::filter::{Filter, Verdict};
use session_token_filter::jwks::fetch::{FetchError, FetchRequest, FetchResponse};
use session_token_filter::jwt::algorithm::Algorithm;
use session_token_filter::jwt::base64url;
use session_token_filter::jwt::key::VerifyingKey;
use session_token_filter::jwt::signature::{BadSignature, PortableVerifier, SignatureVerifier};
use session_token_filter::policy::{Policy, StateField};
use session_token_filter::provider::Provider;
use session_token_filter::reason::Reason;
use session_token_filter::request::RequestHead;
use session_token_filter::time::UnixTime;

use super::GivenJwks;

/// What the key server says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keys<'k> {
    /// These sets, or nothing.
    Given(&'k [GivenJwks]),
    /// A key of this name, which made the signature or did not.
    Assumed { key_id: Option<&'k str>, algorithm: Option<Algorithm>, right: bool },
}

/// What became of the request.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ending: Ending,
    /// Whether it had to wait for keys.
    pub(crate) waited: bool,
    /// What the filter would log of key sets.
    pub(crate) notes: Vec<String>,
    state: Vec<StateEntry>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It goes on, with these changes.
    Passes(Vec<String>),
    /// It is answered.
    Refused(Denial),
    /// It would go on waiting.
    Waits,
}

/// Sends `head` through a new filter.
pub(crate) fn run(
    policy: &Rc<Policy>,
    head: &RequestHead<'_>,
    now: UnixTime,
    keys: &Keys<'_>,
) -> Outcome {
    let mut filter = Filter::new(Rc::clone(policy), 0);
    let mut time = now;
    let mut waited = false;
    let mut ending = Ending::Waits;
    for _ in 0..MAX_TURNS {
        let crypto: &dyn SignatureVerifier = match keys {
            Keys::Given(_) => &PortableVerifier,
            Keys::Assumed { right, .. } => &AssumedVerifier { right: *right },
        };
        match filter.on_request(&time, StreamId(1), head, crypto) {
            Verdict::Continue(edits) => ending = Ending::Passes(edit_lines(&edits, policy)),
            Verdict::Deny(denial) => ending = Ending::Refused(denial),
            Verdict::Wait => {
                waited = true;
                serve(&mut filter, policy, time, keys);
                // What waits for a second answer gets none before its time is up.
                while filter.poll_ready().is_none() && time.since(now) < PATIENCE {
                    time = time.after(TURN);
                    filter.on_tick(time);
                    serve(&mut filter, policy, time, keys);
                }
                continue;
            }
        }
        break;
    }
    let lines = std::iter::from_fn(|| filter.poll_log()).map(|line| line.text);
    let notes = lines.filter(|line| line.contains(" jwks: ")).collect();
    Outcome { ending, waited, notes, state: filter.take_filter_state() }
}

impl Outcome {
    /// Why it was refused, or would have been.
    pub(crate) fn reason(&self) -> Option<Reason> {
        let word = self.state(StateField::Reason)?;
        Reason::ALL.into_iter().find(|reason| reason.word() == word)
    }

    /// The name of the rule that decided.
    pub(crate) fn rule(&self) -> Option<&str> {
        self.state(StateField::Rule)
    }

    /// `allowed`, or what else a metric would call it.
    pub(crate) fn passes_text(&self) -> String {
        let verdict = self.state(StateField::Verdict).unwrap_or_default();
        match self.reason() {
            None => verdict.to_owned(),
            Some(reason) => format!("{verdict}: {reason}; the rule only reports"),
        }
    }

    fn state(&self, field: StateField) -> Option<&str> {
        let entry = self.state.iter().find(|entry| entry.field == field)?;
        Some(&entry.value)
    }
}

/// Answers every fetch that is due.
fn serve(filter: &mut Filter, policy: &Policy, now: UnixTime, keys: &Keys<'_>) {
    while let Some(fetch) = filter.poll_fetch(now) {
        let body =
            policy.providers.iter().find(|it| is_for(&fetch, it)).and_then(|provider| match keys {
                Keys::Given(sets) => {
                    let own = |name: &Option<String>| {
                        name.as_ref().is_none_or(|name| **name == *provider.name)
                    };
                    sets.iter().find(|(name, _)| own(name)).map(|(_, body)| body.clone())
                }
                Keys::Assumed { key_id, algorithm, .. } => {
                    algorithm.map(|algorithm| stand_in(*key_id, algorithm))
                }
            });
        let answer = match &body {
            Some(body) => Ok(FetchResponse { status: 200, cache_control: None, body }),
            None => Err(FetchError::NoAnswer),
        };
        filter.on_fetch_done(now, fetch.id, answer);
    }
}

fn is_for(fetch: &FetchRequest, provider: &Provider) -> bool {
    let remote = provider.keys.remote.as_ref();
    remote.is_some_and(|remote| FetchRequest::new(fetch.id, remote) == *fetch)
}

/// What is changed about the request, without any credential.
fn edit_lines(edits: &HeaderEdits<'_>, policy: &Policy) -> Vec<String> {
    // A header may carry the whole payload, which names claims that the configuration does not.
    let is_whole_payload = |name: &[u8]| {
        let headers = policy.providers.iter().flat_map(|provider| &*provider.claim_headers);
        headers.into_iter().any(|it| it.name.as_bytes() == name && it.claim.first().is_none())
    };
    let mut lines = Vec::new();
    edits.for_each(|edit| {
        lines.push(match edit {
            HeaderEdit::Remove(name) => format!("- {}", escaped(name, MAX_SHOWN)),
            HeaderEdit::Set(b"authorization", _) => "= authorization: Bearer <token>".to_owned(),
            HeaderEdit::Set(b"cookie", line) => format!("= cookie: {}", cookie_names(line)),
            HeaderEdit::Add(b"cookie", line) => format!("+ cookie: {}", cookie_names(line)),
            HeaderEdit::Set(name, value) | HeaderEdit::Add(name, value) => {
                let shown = if is_whole_payload(name) {
                    format!("<the whole payload, {} bytes>", value.len())
                } else {
                    escaped(value, MAX_SHOWN)
                };
                format!("= {}: {shown}", escaped(name, MAX_SHOWN))
            }
        });
    });
    lines
}

/// `a=…; b=…`
fn cookie_names(line: &[u8]) -> String {
    let cookies = cookie::segments(line).map(|segment| segment.cookie());
    // Without a `=`, what stands there may be a value.
    let name = |cookie: Cookie<'_>| match cookie.has_value() {
        true => format!("{}=…", escaped(cookie.name, MAX_SHOWN)),
        false => "…".to_owned(),
    };
    let names = cookies.map(name);
    names.collect::<Vec<_>>().join("; ")
}

/// Says of every signature the same.
struct AssumedVerifier {
    right: bool,
}

impl SignatureVerifier for AssumedVerifier {
    fn verify(
        &self,
        _: Algorithm,
        _: &VerifyingKey,
        _: &[u8],
        _: &[u8],
    ) -> Result<(), BadSignature> {
        if self.right { Ok(()) } else { Err(BadSignature) }
    }

    fn is_portable(&self, _: Algorithm) -> bool {
        false
    }
}

/// A key set with one key that fits the token; its numbers are the curves' own base points, and a
/// modulus that nobody could use.
fn stand_in(key_id: Option<&str>, algorithm: Algorithm) -> Vec<u8> {
    let members = match algorithm {
        Algorithm::Es256 => json!({ "kty": "EC", "crv": "P-256", "x": P256.0, "y": P256.1 }),
        Algorithm::Es384 => json!({ "kty": "EC", "crv": "P-384", "x": P384.0, "y": P384.1 }),
        Algorithm::EdDsa => {
            let mut point = [0x66; 32];
            if let Some(first) = point.first_mut() {
                *first = 0x58;
            }
            json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url::encode(&point) })
        }
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => {
            json!({ "kty": "RSA", "e": "AQAB", "n": base64url::encode(&[0xff; 256]) })
        }
    };
    let mut key: Map<String, Value> = members.as_object().cloned().unwrap_or_default();
    if let Some(key_id) = key_id {
        key.insert("kid".to_owned(), key_id.into());
    }
    json!({ "keys": [key] }).to_string().into_bytes()
}

/// SEC 2, section 2.4.2
const P256: (&str, &str) =
    ("axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU");

/// SEC 2, section 2.5.1
const P384: (&str, &str) = (
    "qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3",
    "NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f",
);

const MAX_TURNS: usize = 20;
const TURN: Duration = Duration::from_secs(1);
/// Longer than any request waits for keys.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_SHOWN: usize = 200;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use session_token_filter::jwks::document::Jwks;

    use super::*;

    #[test]
    fn a_key_stands_in_for_every_algorithm() {
        for algorithm in Algorithm::ALL {
            let set = stand_in(Some("k"), algorithm);
            let parsed = Jwks::parse(&set, [algorithm].into_iter().collect()).unwrap();
            assert_eq!(parsed.jwks.len(), 1, "{}", algorithm.name());
        }
    }
}
