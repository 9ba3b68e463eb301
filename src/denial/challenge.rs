//! The challenge of 401 and 403 (RFC 6750, section 3).

use crate::policy::ResponsePolicy;

pub(super) fn challenge(policy: &ResponsePolicy, error: Option<(&str, &str)>) -> String {
    let realm = policy.realm.as_ref().map(|realm| format!("realm=\"{}\"", quoted(realm)));
    let error = error.map(|(code, text)| format!("error=\"{code}\", error_description=\"{text}\""));
    let parameters: Vec<_> = [realm, error].into_iter().flatten().collect();
    match parameters.as_slice() {
        [] => "Bearer".into(),
        parameters => format!("Bearer {}", parameters.join(", ")),
    }
}

/// The inside of a quoted-string (RFC 9110, section 5.6.4).
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
