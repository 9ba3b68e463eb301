//! What a compact token's text must be, said a second time: character by character where the
//! filter uses a library, and with a parser of its own where the filter uses another.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Whether `text` is a strict compact JWS.
pub fn is_strict(text: &[u8]) -> bool {
    let parts: Vec<_> = text.split(|byte| *byte == b'.').collect();
    let [header, payload, signature] = parts.as_slice() else { return false };
    let (Some(header), Some(payload), Some(_)) =
        (decode(header), decode(payload), decode(signature))
    else {
        return false;
    };
    let (Some(header), Some(payload)) = (object(&header), object(&payload)) else { return false };
    ["typ", "alg", "kid"].iter().all(|name| header.get(*name).is_none_or(Value::is_string))
        && !header.contains_key("crit")
        && header.get("b64").is_none_or(|value| value.as_bool() == Some(true))
        && ["exp", "nbf", "iat"].iter().all(|name| payload.get(*name).is_none_or(is_date))
}

fn is_date(value: &Value) -> bool {
    value.as_f64().is_some_and(|seconds| (0.0..=253_402_300_799.0).contains(&seconds))
}

/// Base64url, bit by bit: no padding, and nothing but zeros behind the last whole byte.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text {
        let value = ALPHABET.iter().position(|letter| letter == byte)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    (count < 6 && bits == 0).then_some(bytes)
}

/// A JSON object without duplicate names, at most 64 levels deep.
fn object(text: &[u8]) -> Option<Map<String, Value>> {
    let strict = serde_json::from_slice::<Strict>(text).ok()?;
    let Value::Object(object) = serde_json::from_slice(text).ok()? else { return None };
    (strict.depth <= 64).then_some(object)
}

/// A value that has no duplicate names.
struct Strict {
    depth: usize,
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Names(Cell::new(0)))
    }
}

/// Collects the names of every object.
struct Names(Cell<usize>);

impl Names {
    fn deepest<E>(self) -> Result<Strict, E> {
        Ok(Strict { depth: self.0.get() + 1 })
    }

    fn inner(&self, value: &Strict) {
        self.0.set(self.0.get().max(value.depth));
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict { depth: 0 })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
        Ok(Strict { depth: 0 })
    }

    fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
        Ok(Strict { depth: 0 })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
        Ok(Strict { depth: 0 })
    }

    fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
        Ok(Strict { depth: 0 })
    }

    fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
        Ok(Strict { depth: 0 })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Strict, A::Error> {
        while let Some(value) = values.next_element::<Strict>()? {
            self.inner(&value);
        }
        self.deepest()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Strict, A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if !names.insert(name) {
                return Err(serde::de::Error::custom("duplicate name"));
            }
            self.inner(&members.next_value::<Strict>()?);
        }
        self.deepest()
    }
}
