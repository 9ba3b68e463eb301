//! Claims as headers: what backends learn of a verified token without parsing it.
//!
//! A header whose claim is missing, or can't be written in its encoding, stays absent; it never
//! carries what the client sent (`sanitizer` removes that on every path).

use serde_json::Value;

use crate::request::HeaderName;

/// One entry of `claim_headers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimHeader {
    /// The header that backends see.
    pub name: HeaderName,
    /// The claim that it carries.
    pub claim: ClaimPath,
    /// How the claim is written.
    pub encoding: Encoding,
}

/// The way to a claim, one member name a step; the empty path is the whole payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimPath(Vec<Box<str>>);

impl ClaimPath {
    /// The path through these members.
    pub fn new(members: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        Self(members.into_iter().map(Into::into).collect())
    }

    /// What stands there, if anything does.
    pub fn find<'v>(&self, payload: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(payload, |value, member| value.as_object()?.get(&**member))
    }
}

/// `encoding`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// A string, number or boolean as it is.
    #[default]
    String,
    /// An array of strings without commas, joined by commas.
    Csv,
    /// JSON, with non-ASCII characters escaped.
    Json,
    /// That, in base64url without padding (RFC 4648, section 5).
    Base64UrlJson,
}
