//! The challenge of 401 and 403: RFC 6750, section 3, and RFC 9470, section 3.
//!
//! Parameters are quoted-strings, in the order of these documents' examples.

use crate::authorize::Shortfall;
use crate::policy::ResponsePolicy;

/// The value of `www-authenticate`. `error` is a code and its description.
pub(super) fn challenge(
    policy: &ResponsePolicy,
    error: Option<(&str, &str)>,
    shortfall: Option<&Shortfall>,
) -> Vec<u8> {
    let mut text = Vec::from(SCHEME);
    if let Some(realm) = &policy.realm {
        push_parameter(&mut text, "realm", realm);
    }
    if let Some((code, description)) = error {
        push_parameter(&mut text, "error", code);
        push_parameter(&mut text, "error_description", description);
    }
    match shortfall {
        Some(Shortfall::Claims { scope: Some(scope), failures: _ }) => {
            push_parameter(&mut text, "scope", scope);
        }
        Some(Shortfall::AuthAge { max_age, claim: _ }) => {
            push_parameter(&mut text, "max_age", &max_age.as_secs().to_string());
        }
        Some(Shortfall::Claims { scope: None, failures: _ }) | None => {}
    }
    text
}

/// Adds a parameter, or nothing where no header can hold the value: Envoy answers 503 to a control
/// byte, and the other bytes beyond ASCII mean something else to every client.
fn push_parameter(text: &mut Vec<u8>, name: &str, value: &str) {
    if !value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return;
    }
    let separator: &[u8] = if text.len() == SCHEME.len() { b" " } else { b", " };
    for part in [separator, name.as_bytes(), b"=\""] {
        text.extend_from_slice(part);
    }
    // A quoted-string (RFC 9110, section 5.6.4).
    for byte in value.bytes() {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(byte);
    }
    text.push(b'"');
}

const SCHEME: &[u8] = b"Bearer";
