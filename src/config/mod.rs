//! The configuration: JSON text, or what Envoy makes of a `google.protobuf.Struct`, to a
//! [`Policy`].
//!
//! 1. All errors are found at once, each with its path: `rules[2].match.path.prefix: "admin" must
//!    start with "/"`. A configuration with one is not used at all.
//! 2. A field that is not known is an error, never ignored; so is `null`, and so is a preset
//!    beside a field that says otherwise.
//! 3. What weakens the filter begins with `insecure_` and is told as a warning.
//! 4. No message shows a header's value or a key.
//!
//! `reader` knows types, `raw` which fields there are, `compile` what they may hold.

use serde_json::Value;

use crate::json;
use crate::policy::Policy;

mod compile;
mod error;
mod protobuf_struct;
mod raw;
mod reader;
mod reserved_headers;
mod units;
mod uri;

pub use error::{ConfigError, ConfigWarning};

use error::{Findings, Place};
use reader::Node;

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What requests are decided by.
    pub policy: Policy,
    /// What an operator should know.
    pub warnings: Vec<ConfigWarning>,
    /// What is good to know, with its path: who decides about TLS.
    pub notes: Vec<String>,
}

/// Reads a plugin's configuration: JSON text, or a serialised `google.protobuf.Struct`.
///
/// # Errors
/// Everything that is wrong with it; never an empty list.
pub fn load(configuration: &[u8]) -> Result<Loaded, Vec<ConfigError>> {
    let findings = Findings::default();
    let policy = decode(configuration, &Place::root(&findings))
        .as_ref()
        .and_then(|value| raw::Root::read(Node { place: Place::root(&findings), value }))
        .and_then(compile::compile);
    let Findings { errors, warnings, notes, paths: _ } = findings;
    let mut errors = errors.into_inner();
    match policy {
        Some(policy) if errors.is_empty() => {
            Ok(Loaded { policy, warnings: warnings.into_inner(), notes: notes.into_inner() })
        }
        _ => {
            if errors.is_empty() {
                // Would be a mistake of ours; the operator must not be left with silence.
                let text = "the configuration can't be used".to_owned();
                errors.push(ConfigError { path: String::new(), text });
            }
            Err(errors)
        }
    }
}

/// The configuration as one JSON value, whatever form it has.
///
/// JSON first: a Struct begins with a newline and a length, which is never JSON, while text may
/// well decode as something.
fn decode(configuration: &[u8], place: &Place<'_>) -> Option<Value> {
    if configuration.iter().all(u8::is_ascii_whitespace) {
        place.error(EMPTY);
        return None;
    }
    let error = match json::parse(configuration) {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    if let Ok(value) = protobuf_struct::decode(configuration) {
        return Some(value);
    }
    match configuration.trim_ascii_start().first() {
        Some(b'{') => place.error(format!("the configuration is not JSON: {error}")),
        _ => place.error(
            "the configuration is neither a JSON object nor a google.protobuf.Struct; YAML must \
             be given as a Struct, not as text",
        ),
    }
    None
}

const EMPTY: &str = "the configuration is empty; the least it needs is {\"providers\": [{\"name\": \
     \"corbado\", \"preset\": {\"corbado\": {\"project_id\": \"pro-…\"}}, \"jwks\": {\"remote\": \
     {\"cluster\": \"corbado\"}}}]}";

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
