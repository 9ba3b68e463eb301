//! Strict JSON, for tokens, key sets and the configuration alike.
//!
//! A text is accepted if all of these hold; nothing is repaired:
//!
//! 1. It is one JSON value (RFC 8259) in UTF-8, without a byte order mark, with nothing but white
//!    space around it.
//! 2. No object has two members of the same name, at any depth, names compared after unescaping.
//!    Parsers differ in which of two they keep (RFC 8725, section 2.4 of its threats), so a token
//!    that says `exp` twice may mean one thing here and another in a backend.
//! 3. No string holds an unpaired surrogate (`"\ud800"`).
//! 4. Objects and arrays nest at most [`MAX_DEPTH`] deep, the outermost being the first.
//! 5. Every number is finite as an IEEE 754 double; `1e400` is not.
//!
//! Caveat: whole numbers beyond 64 bits become the nearest double, as in most parsers.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Objects and arrays may nest this deep. RFC 8259, section 9, allows a limit; no session token
/// needs ten, and recursion on bytes that anybody may send has to end before the stack does.
pub const MAX_DEPTH: usize = 64;

/// Why a text is not JSON as this module takes it. Lines and columns count from 1, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// The text is not JSON at all: bad syntax, bad UTF-8, an unpaired surrogate, a number out of
    /// range. `text` is the parser's sentence and quotes nothing of the input.
    Syntax {
        /// Line of the offending byte.
        line: usize,
        /// Column of the offending byte.
        column: usize,
        /// What the parser says.
        text: String,
    },
    /// An object has this member twice.
    DuplicateMember {
        /// The name, unescaped.
        name: String,
        /// Line of the second one.
        line: usize,
        /// Column just behind the second one's name.
        column: usize,
    },
    /// Objects and arrays nest deeper than [`MAX_DEPTH`].
    TooDeep {
        /// Line of the first bracket too many.
        line: usize,
        /// Column of the first bracket too many.
        column: usize,
    },
}

/// Parses `text` by the rules of this module.
///
/// # Errors
/// The first rule broken, with its place.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let refusal = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let element = Element {
        levels_left: MAX_DEPTH,
        refusal: &refusal,
    };
    let parsed = element
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    parsed.map_err(|error| JsonError::new(&error, refusal.take()))
}

impl JsonError {
    fn new(error: &serde_json::Error, refusal: Option<Refusal>) -> Self {
        let (line, column) = (error.line(), error.column());
        match refusal {
            Some(Refusal::DuplicateMember(name)) => Self::DuplicateMember { name, line, column },
            Some(Refusal::TooDeep) => Self::TooDeep { line, column },
            None => {
                let mut text = error.to_string();
                if let Some(place) = text.rfind(" at line ") {
                    text.truncate(place);
                }
                Self::Syntax { line, column, text }
            }
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { line, column, text } => {
                write!(f, "line {line}, column {column}: {text}")
            }
            Self::DuplicateMember { name, line, column } => {
                write!(
                    f,
                    "line {line}, column {column}: member {name:?} is there twice"
                )
            }
            Self::TooDeep { line, column } => {
                write!(
                    f,
                    "line {line}, column {column}: nested deeper than {MAX_DEPTH} levels"
                )
            }
        }
    }
}

impl std::error::Error for JsonError {}

/// What this module refuses and `serde_json` would take. Its errors carry prose only, so the
/// reason travels beside them.
enum Refusal {
    DuplicateMember(String),
    TooDeep,
}

/// One value to be parsed, at a depth.
#[derive(Clone, Copy)]
struct Element<'a> {
    levels_left: usize,
    refusal: &'a Cell<Option<Refusal>>,
}

impl Element<'_> {
    fn refuse<E: serde::de::Error>(&self, refusal: Refusal) -> E {
        self.refusal.set(Some(refusal));
        E::custom("refused")
    }

    fn inner<E: serde::de::Error>(&self) -> Result<Self, E> {
        match self.levels_left.checked_sub(1) {
            Some(levels_left) => Ok(Self {
                levels_left,
                ..*self
            }),
            None => Err(self.refuse(Refusal::TooDeep)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(self.refuse(Refusal::DuplicateMember(name)));
            }
            let value = object.next_value_seed(inner)?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}
