//! A serialised `google.protobuf.Struct` as JSON: what a plugin receives when its configuration is
//! written as plain YAML.
//!
//! A Struct knows doubles only. Whole ones within 53 bits become integers again, so that both
//! forms of one configuration read alike; NaN and infinities, which JSON lacks, are refused.

use prost::Message;
use prost_types::value::Kind;
use serde_json::{Map, Number, Value};

/// Decodes a Struct with at least one member.
///
/// # Errors
/// `NotAStruct` if the bytes are no Struct, nest deeper than `prost` allows, or hold nothing: any
/// bytes that happen to be unknown fields would otherwise pass for an empty Struct.
pub(super) fn decode(bytes: &[u8]) -> Result<Value, NotAStruct> {
    let decoded = prost_types::Struct::decode(bytes).map_err(|_| NotAStruct)?;
    if decoded.fields.is_empty() {
        return Err(NotAStruct);
    }
    object(decoded)
}

/// The bytes are no Struct that JSON could say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAStruct;

fn object(from: prost_types::Struct) -> Result<Value, NotAStruct> {
    // To collect them would sort them first, with 4 kB of module, and they are in order.
    let mut members = Map::new();
    for (name, member) in from.fields {
        members.insert(name, value(member)?);
    }
    Ok(Value::Object(members))
}

fn value(from: prost_types::Value) -> Result<Value, NotAStruct> {
    Ok(match from.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::NumberValue(number)) => Value::Number(self::number(number).ok_or(NotAStruct)?),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::StructValue(inner)) => object(inner)?,
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.into_iter().map(value).collect::<Result<_, _>>()?)
        }
    })
}

fn number(double: f64) -> Option<Number> {
    Some(match whole_number(double) {
        Some(whole) => Number::from(whole),
        None => Number::from_f64(double)?,
    })
}

/// A double that stands for exactly one whole number.
#[expect(clippy::as_conversions, reason = "exact: the range is checked first")]
pub(super) fn whole_number(double: f64) -> Option<i64> {
    /// The greatest integer up to which doubles have no gaps.
    const EXACT: f64 = 9_007_199_254_740_991.0;
    (double.fract() == 0.0 && double.abs() <= EXACT).then_some(double as i64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// What Envoy makes of `json`.
    pub(in crate::config) fn encode(json: &Value) -> Vec<u8> {
        let Some(Kind::StructValue(encoded)) = kind(json).kind else { panic!("no object") };
        encoded.encode_to_vec()
    }

    fn kind(json: &Value) -> prost_types::Value {
        let kind = match json {
            Value::Null => Kind::NullValue(0),
            Value::Bool(flag) => Kind::BoolValue(*flag),
            Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
            Value::String(text) => Kind::StringValue(text.clone()),
            Value::Array(values) => {
                let values = values.iter().map(self::kind).collect();
                Kind::ListValue(prost_types::ListValue { values })
            }
            Value::Object(members) => {
                let fields = members.iter().map(|(name, value)| (name.clone(), self::kind(value)));
                Kind::StructValue(prost_types::Struct { fields: fields.collect() })
            }
        };
        prost_types::Value { kind: Some(kind) }
    }

    #[test]
    fn a_struct_is_the_json_that_it_was_made_of() {
        let json = json!({
            "text": "ä\u{0}", "flag": false, "nothing": null, "empty": {}, "list": [1, [], {}],
            "whole": 8192, "negative": -1, "fraction": 0.5, "great": 9_007_199_254_740_991_i64,
        });
        let bytes = encode(&json);
        assert_eq!(bytes[0], b'\n', "a Struct begins with what text calls a newline");
        assert_eq!(decode(&bytes), Ok(json));
    }

    #[test]
    fn doubles_beyond_whole_numbers_stay_doubles() {
        for (double, whole) in [
            (10.0, Some(10)),
            (-0.0, Some(0)),
            (0.5, None),
            (9_007_199_254_740_992.0, None),
            (1e300, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(whole_number(double), whole, "{double}");
        }
    }

    #[test]
    fn what_is_no_struct_is_refused() {
        let with = |kind| {
            let fields = [("a".to_owned(), prost_types::Value { kind: Some(kind) })].into();
            prost_types::Struct { fields }.encode_to_vec()
        };
        let mut truncated = encode(&json!({ "a": "b" }));
        truncated.pop();
        let mut deep = json!({});
        for _ in 0..200 {
            deep = json!({ "a": deep });
        }
        for (name, bytes) in [
            ("nothing", Vec::new()),
            ("text", b"providers: []".to_vec()),
            ("broken JSON", b"{\"providers\": }".to_vec()),
            ("unknown fields only", vec![0x10, 0x01]),
            ("truncated", truncated),
            ("NaN", with(Kind::NumberValue(f64::NAN))),
            ("infinity", with(Kind::NumberValue(f64::INFINITY))),
            ("too deep", encode(&deep)),
        ] {
            assert_eq!(decode(&bytes), Err(NotAStruct), "{name}");
        }
    }
}
