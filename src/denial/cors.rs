//! Who may read an answer (Fetch standard, CORS protocol).

use crate::policy::ResponsePolicy;
use crate::request::RequestHead;

/// The fields that let a page of another origin read the answer.
pub(super) fn cors(
    head: &RequestHead<'_>,
    policy: &ResponsePolicy,
) -> Vec<(&'static str, Vec<u8>)> {
    if policy.cors_origins.is_empty() {
        return Vec::new();
    }
    let mut fields = vec![("vary", b"origin".to_vec())];
    let mut origins = head.values(b"origin");
    if let (Some(origin), None) = (origins.next(), origins.next())
        && policy.cors_origins.iter().any(|allowed| allowed.matches(origin))
    {
        fields.push(("access-control-allow-origin", origin.to_vec()));
        fields.push(("access-control-allow-credentials", b"true".to_vec()));
    }
    fields
}
