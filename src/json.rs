//! Strict JSON, for tokens, key sets and the configuration alike.
//!
//! A text is accepted if all of these hold; nothing is repaired:
//!
//! 1. It is one JSON value (RFC 8259) in UTF-8, without a byte order mark, with nothing but white
//!    space around it.
//! 2. No object has two members of the same name, at any depth, names compared after unescaping.
//!    Parsers differ in which of two they keep (RFC 8259, section 4), so a token that says `exp`
//!    twice may mean one thing here and another in a backend (RFC 7519, section 4).
//! 3. No string holds an unpaired surrogate (`"\ud800"`).
//! 4. Objects and arrays nest at most [`MAX_DEPTH`] deep, the outermost being the first.
//! 5. Every number is finite as an IEEE 754 double; `1e400` is not.
//!
//! Caveat: whole numbers beyond 64 bits become the nearest double, as in most parsers.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use self::object::{Members, Node, Text};

pub mod object;

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
    let text = std::str::from_utf8(text).map_err(|error| {
        let before = text.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        let column = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default().len();
        let text = "invalid UTF-8".to_owned();
        JsonError::Syntax { line, column: column.saturating_add(1), text }
    })?;
    match parse_node(text) {
        Ok(node) => Ok(node.into_value(text)),
        Err((error, refusal)) => Err(JsonError::new(&error, refusal)),
    }
}

fn parse_node(text: &str) -> Result<Node, (serde_json::Error, Option<Refusal>)> {
    let refusal = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let element = Element { text, levels_left: MAX_DEPTH, refusal: &refusal };
    let parsed =
        element.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    parsed.map_err(|error| (error, refusal.take()))
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
                write!(f, "line {line}, column {column}: member {name:?} is there twice")
            }
            Self::TooDeep { line, column } => {
                write!(f, "line {line}, column {column}: nested deeper than {MAX_DEPTH} levels")
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
    /// The whole.
    text: &'a str,
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
            Some(levels_left) => Ok(Self { levels_left, ..*self }),
            None => Err(self.refuse(Refusal::TooDeep)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = Node;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        Ok(Node::Value(Value::Null))
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Value(Value::Bool(value)))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Value(Value::Number(value.into())))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Value(Value::Number(value.into())))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        Ok(Node::Value(Value::Number(number)))
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, value: &'de str) -> Result<Node, E> {
        Ok(Node::Text(Text::within(value, self.text)))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(Text::Unescaped(value.into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Node, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element_seed(inner)? {
            values.push(value.into_value(self.text));
        }
        Ok(Node::Value(Value::Array(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Node, A::Error> {
        let inner = self.inner()?;
        let is_outermost = self.levels_left == MAX_DEPTH;
        let mut members = if is_outermost { Members::outermost() } else { Members::inner() };
        while let Some(name) = object.next_key_seed(inner)? {
            let Node::Text(name) = name else {
                return Err(serde::de::Error::custom("a name that is no text"));
            };
            let text = name.as_str(self.text);
            if members.get(self.text, text).is_some() {
                return Err(self.refuse(Refusal::DuplicateMember(text.to_owned())));
            }
            let value = object.next_value_seed(inner)?;
            members.insert(self.text, name, value);
        }
        if is_outermost {
            return Ok(Node::Object(members));
        }
        Ok(Node::Value(members.into_value(self.text)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn takes_what_is_json() {
        let rows: &[(&str, &[u8], Value)] = &[
            (
                "object",
                br#"{"a":1,"b":[true,false,null]}"#,
                json!({"a": 1, "b": [true, false, null]}),
            ),
            ("white space around", b" \t\r\n{ } \n", json!({})),
            ("a value that is no object", b"\"x\"", json!("x")),
            (
                "the same name in different objects",
                br#"{"a":{"a":{}},"b":{"a":1}}"#,
                json!({"a": {"a": {}}, "b": {"a": 1}}),
            ),
            ("names that differ in case", br#"{"a":1,"A":2}"#, json!({"a": 1, "A": 2})),
            ("escapes", br#""\u0065\n\"\ud83d\ude00""#, json!("e\n\"\u{1f600}")),
            ("UTF-8", "\"\u{e9}\u{1f600}\"".as_bytes(), json!("\u{e9}\u{1f600}")),
            ("an escaped NUL", br#""\u0000""#, json!("\0")),
            ("negative", b"-1", json!(-1)),
            ("fractional", b"1.5", json!(1.5)),
            ("2^64 - 1", b"18446744073709551615", json!(u64::MAX)),
            ("2^64 becomes a double", b"18446744073709551616", json!(18446744073709551616.0)),
            ("the largest double", b"1.7976931348623157e308", json!(f64::MAX)),
            ("rounded to zero", b"1e-400", json!(0.0)),
        ];
        for (name, text, value) in rows {
            assert_eq!(parse(text).as_ref(), Ok(value), "{name}");
        }
    }

    #[test]
    fn refuses_what_is_not() {
        let rows: &[(&str, &[u8])] = &[
            ("empty", b""),
            ("white space only", b" "),
            ("truncated", br#"{"a":1"#),
            ("two values", b"{} {}"),
            ("a byte order mark", b"\xef\xbb\xbf{}"),
            ("UTF-16", b"\xff\xfe{\0}\0"),
            ("bad UTF-8 in a string", b"\"\xff\""),
            ("bad UTF-8 in a name", b"{\"\xc3\":1}"),
            ("an encoded surrogate", b"\"\xed\xa0\x80\""),
            ("an unpaired leading surrogate", br#""\ud800""#),
            ("an unpaired trailing surrogate", br#""\udc00""#),
            ("a leading surrogate and text", br#""\ud800a""#),
            ("two leading surrogates", br#""\ud800\ud800""#),
            ("an unpaired surrogate in a name", br#"{"\ud800":1}"#),
            ("a raw control byte in a string", b"\"\n\""),
            ("a raw NUL behind the value", b"{}\0"),
            ("a comment", b"{/**/}"),
            ("a trailing comma", b"[1,]"),
            ("single quotes", b"{'a':1}"),
            ("1e400", b"1e400"),
            ("-1e400", b"-1e400"),
            ("400 digits", &[b'9'; 400]),
            ("NaN", b"NaN"),
            ("Infinity", b"Infinity"),
            ("a leading zero", b"01"),
            ("a plus", b"+1"),
            ("hexadecimal", b"0x1"),
        ];
        for (name, text) in rows {
            let error = parse(text);
            assert!(matches!(error, Err(JsonError::Syntax { .. })), "{name}: {error:?}");
        }
    }

    #[test]
    fn refuses_members_that_are_there_twice() {
        let rows: &[(&str, &[u8], &str)] = &[
            ("top", br#"{"exp":1,"exp":2}"#, "exp"),
            ("same value", br#"{"exp":1,"a":{},"exp":1}"#, "exp"),
            ("escaped", br#"{"exp":1,"\u0065xp":2}"#, "exp"),
            ("escaped first", br#"{"\u0065xp":1,"exp":2}"#, "exp"),
            ("empty name", br#"{"":1,"":2}"#, ""),
            ("in an object", br#"{"a":{"b":1,"b":2}}"#, "b"),
            ("in an array", br#"[[{"b":1,"b":2}]]"#, "b"),
        ];
        for (row, text, twice) in rows {
            let Err(JsonError::DuplicateMember { name, .. }) = parse(text) else {
                panic!("{row}: {:?}", parse(text));
            };
            assert_eq!(name, *twice, "{row}");
        }
    }

    #[test]
    fn nests_64_levels_and_no_more() {
        let arrays = |depth| ["[".repeat(depth), "]".repeat(depth)].concat();
        let objects = |depth| [r#"{"a":"#.repeat(depth), "1".into(), "}".repeat(depth)].concat();
        let mixed = |pairs| [r#"[{"a":"#.repeat(pairs), "1".into(), "}]".repeat(pairs)].concat();
        assert!(parse(arrays(64).as_bytes()).is_ok());
        assert!(parse(objects(64).as_bytes()).is_ok());
        assert!(parse(mixed(32).as_bytes()).is_ok());
        let too_deep =
            |text: String| matches!(parse(text.as_bytes()), Err(JsonError::TooDeep { .. }));
        assert!(too_deep(arrays(65)));
        assert!(too_deep(objects(65)));
        assert!(too_deep(["[", &mixed(32), "]"].concat()));
        assert!(too_deep(arrays(100_000)));
        assert!(too_deep("[".repeat(1_000_000)));
    }

    #[test]
    fn errors_say_where_and_quote_no_value() {
        let rows: &[(&[u8], &str)] = &[
            (b"{\n  \"a\": secret}", "line 2, column 8: expected value"),
            (b"{\"a\":1,\n\"a\":2}", "line 2, column 3: member \"a\" is there twice"),
            (b"{\n\"\xff\":1}", "line 2, column 2: invalid UTF-8"),
            (b"\"secret", "line 1, column 7: EOF while parsing a string"),
        ];
        for (text, sentence) in rows {
            assert_eq!(parse(text).unwrap_err().to_string(), *sentence);
        }
        let deep = parse("[".repeat(65).as_bytes()).unwrap_err().to_string();
        assert_eq!(deep, "line 1, column 65: nested deeper than 64 levels");
    }
}
