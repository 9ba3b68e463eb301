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
) -> String {
    let mut text = String::from(SCHEME);
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
fn push_parameter(text: &mut String, name: &str, value: &str) {
    if !value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return;
    }
    text.push_str(if text.len() == SCHEME.len() { " " } else { ", " });
    text.push_str(name);
    text.push_str("=\"");
    // A quoted-string (RFC 9110, section 5.6.4).
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
}

const SCHEME: &str = "Bearer";
