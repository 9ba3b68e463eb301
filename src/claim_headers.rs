//! Claims as headers: what backends learn of a verified token without parsing it.
//!
//! A header whose claim is missing, or can't be written in its encoding, stays absent; it never
//! carries what the client sent (`sanitizer` removes that on every path).

use std::borrow::Cow;

use serde_json::Value;

use crate::json::object::{Member, Object};
use crate::jwt::base64url;
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

impl ClaimHeader {
    /// The header's value for a token with this payload.
    pub fn render(&self, payload: &Object) -> Rendered {
        let Some(claim) = self.claim.find(payload).filter(|claim| !claim.is_null()) else {
            return Rendered::Absent;
        };
        let text = match self.encoding {
            Encoding::String => primitive(&claim),
            Encoding::Csv => comma_separated(&claim),
            Encoding::Json => Some(ascii_json(&claim)),
            Encoding::Base64UrlJson => Some(base64url::encode(ascii_json(&claim).as_bytes())),
        };
        match text {
            Some(text) if text.len() <= MAX_VALUE_BYTES && !has_control_byte(&text) => {
                Rendered::Value(text.into_bytes().into())
            }
            Some(_) | None => Rendered::Skipped,
        }
    }
}

/// What a claim comes to as a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rendered {
    /// The header's value.
    Value(Box<[u8]>),
    /// The token has no such claim, or `null`.
    Absent,
    /// The claim can't be written in this encoding, or is too long.
    Skipped,
}

/// The way to a claim, one member name a step; the empty path is the whole payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimPath(Vec<Box<str>>);

impl ClaimPath {
    /// The path through these members.
    pub fn new(members: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        Self(members.into_iter().map(Into::into).collect())
    }

    /// Its first member, if it is not the whole payload.
    pub fn first(&self) -> Option<&str> {
        self.0.first().map(|member| &**member)
    }

    /// What stands there, if anything does.
    pub fn find<'v>(&self, payload: &'v Object) -> Option<Cow<'v, Value>> {
        let Some((first, rest)) = self.0.split_first() else {
            return Some(Cow::Owned(payload.to_value()));
        };
        match payload.get(first)? {
            Member::Text(text) => rest.is_empty().then(|| Cow::Owned(text.into())),
            Member::Value(value) => {
                let mut rest = rest.iter();
                rest.try_fold(value, |value, member| value.as_object()?.get(&**member))
                    .map(Cow::Borrowed)
            }
        }
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

/// A string, number or boolean as it is.
fn primitive(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(claim.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn comma_separated(claim: &Value) -> Option<String> {
    let members: Option<Vec<&str>> = claim
        .as_array()?
        .iter()
        .map(|member| member.as_str().filter(|text| !text.contains(',')))
        .collect();
    Some(members?.join(","))
}

/// JSON in which every character beyond ASCII is an escape (RFC 8259, section 7), so that no hop
/// has to guess the header's charset.
fn ascii_json(claim: &Value) -> String {
    let mut escaped = String::new();
    for character in claim.to_string().chars() {
        if character.is_ascii() && character != '\u{7f}' {
            escaped.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

/// Envoy answers 503 to a header with a control byte in it.
fn has_control_byte(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_control())
}

/// Long enough for any claim that a backend decides by; Envoy's limit for all headers together is
/// 60 KiB by default.
const MAX_VALUE_BYTES: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(encoding: Encoding, payload: &Value, path: &[&str]) -> Rendered {
        let claim = ClaimPath::new(path.iter().copied());
        ClaimHeader { name: "x-claim".parse().unwrap(), claim, encoding }
            .render(&payload.clone().into())
    }

    #[test]
    fn claims_become_values_by_their_encoding() {
        use Encoding::{Base64UrlJson, Csv, Json, String};
        let value = |text: &str| Rendered::Value(text.as_bytes().into());
        let payload = json!({
            "sub": "u-1", "name": "J\u{fc}rgen", "age": 7, "ratio": 0.5, "ok": true, "none": null,
            "roles": ["a", "b"], "empty": [], "commas": ["a,b"], "mixed": ["a", 1],
            "plan": {"v": "pro", "a.b": 1}, "line": "a\nb", "delete": "a\u{7f}", "clef": "\u{1d11e}",
            "long": "x".repeat(MAX_VALUE_BYTES), "longer": "x".repeat(MAX_VALUE_BYTES + 1),
        });
        for (encoding, path, expected) in [
            (String, ["sub"].as_slice(), value("u-1")),
            (String, &["name"], value("J\u{fc}rgen")),
            (String, &["age"], value("7")),
            (String, &["ratio"], value("0.5")),
            (String, &["ok"], value("true")),
            (String, &["none"], Rendered::Absent),
            (String, &["absent"], Rendered::Absent),
            (String, &["sub", "x"], Rendered::Absent),
            (String, &["plan", "v"], value("pro")),
            (String, &["plan.v"], Rendered::Absent),
            (String, &["plan", "a.b"], value("1")),
            (String, &["roles"], Rendered::Skipped),
            (String, &["plan"], Rendered::Skipped),
            (String, &["line"], Rendered::Skipped),
            (String, &["delete"], Rendered::Skipped),
            (String, &["long"], value(&"x".repeat(MAX_VALUE_BYTES))),
            (String, &["longer"], Rendered::Skipped),
            (Csv, &["roles"], value("a,b")),
            (Csv, &["empty"], value("")),
            (Csv, &["commas"], Rendered::Skipped),
            (Csv, &["mixed"], Rendered::Skipped),
            (Csv, &["sub"], Rendered::Skipped),
            (Json, &["roles"], value(r#"["a","b"]"#)),
            (Json, &["name"], value(r#""J\u00fcrgen""#)),
            (Json, &["clef"], value(r#""\ud834\udd1e""#)),
            (Json, &["line"], value(r#""a\nb""#)),
            (Json, &["delete"], value(r#""a\u007f""#)),
            (Base64UrlJson, &["roles"], value("WyJhIiwiYiJd")),
        ] {
            assert_eq!(render(encoding, &payload, path), expected, "{encoding:?} of {path:?}");
        }
    }

    #[test]
    fn the_empty_path_is_the_whole_payload() {
        let payload = json!({"sub": "u"});
        let expected = Rendered::Value(b"eyJzdWIiOiJ1In0".as_slice().into());
        assert_eq!(render(Encoding::Base64UrlJson, &payload, &[]), expected);
    }
}
