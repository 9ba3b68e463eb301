//! Claim headers: names that clients may not send, so that backends can trust them.

use super::{all, refuse_repeated};
use crate::claim_headers::{ClaimHeader, ClaimPath, Encoding};
use crate::config::raw;
use crate::config::reader::At;
use crate::config::reserved_headers;
use crate::request::HeaderName;

/// One provider's claim headers. None may be one of `token_headers`: it would be removed before
/// the token in it is read.
pub(super) fn compile(
    raw: Vec<raw::ClaimHeader<'_>>,
    token_headers: &[HeaderName],
) -> Option<Vec<ClaimHeader>> {
    let mut seen = Vec::new();
    all(raw.into_iter().map(|raw| {
        let raw::ClaimHeader { header, claim, encoding } = raw;
        let name = header.and_then(|text| {
            let name = header_name(&text, token_headers)?;
            refuse_repeated(&mut seen, name.folded(), &text.place);
            Some(name)
        });
        let encoding = encoding.value_or_default();
        if let (Some(claim), Some(encoding)) = (&claim, encoding) {
            refuse_unwritable(claim, encoding);
        }
        let claim = ClaimPath::new(claim?.value.into_iter().map(|member| member.value));
        Some(ClaimHeader { name: name?, claim, encoding: encoding? })
    }))
}

fn header_name(text: &raw::Text<'_>, token_headers: &[HeaderName]) -> Option<HeaderName> {
    if text.value.starts_with(':') {
        text.refuse("can't be a claim header: it is a pseudo header of HTTP");
        return None;
    }
    let name: HeaderName = text.parse("must be a header's name: a token of RFC 9110")?;
    if let Some(owner) = reserved_headers::owner(&name) {
        text.refuse(&format!("can't be a claim header: it belongs to {owner}"));
        return None;
    }
    if token_headers.iter().any(|other| other.folded() == name.folded()) {
        text.refuse("can't be a claim header: a provider looks for tokens there");
        return None;
    }
    Some(name)
}

/// The whole payload is an object, which only JSON can say.
fn refuse_unwritable(claim: &At<'_, Vec<raw::Text<'_>>>, encoding: Encoding) {
    match encoding {
        Encoding::String | Encoding::Csv if claim.value.is_empty() => {
            claim.error("is the whole payload: its encoding must be json or base64url_json");
        }
        Encoding::String | Encoding::Csv | Encoding::Json | Encoding::Base64UrlJson => {}
    }
}
