//! A JSON object as tokens have it: a few members, most of them texts, looked at once.
//!
//! A tree of `serde_json` copies each name and each text to a place of its own, files them, and
//! takes all of it down again. Here the text is kept whole, and a member says where its name and its
//! value stand, which spares 20,000 instructions of a usual session's. What such an object takes is
//! what [`json::parse`](super::parse) takes, as it is the same parser.

use serde_json::{Map, Value};

use super::parse_node;
use crate::bytes;

/// An object that was parsed by the rules of `json`.
#[derive(Debug)]
pub struct Object {
    text: Box<str>,
    members: Members,
}

impl Object {
    /// Parses `text` by the rules of `json`; nothing if it breaks one of them, or is no object.
    pub fn parse(text: Vec<u8>) -> Option<Self> {
        let text = String::from_utf8(text).ok()?.into_boxed_str();
        match parse_node(&text).ok()? {
            Node::Object(members) => Some(Self { text, members }),
            Node::Text(_) | Node::Value(_) => None,
        }
    }

    /// What the member `name` says.
    pub fn get(&self, name: &str) -> Option<Member<'_>> {
        self.members.get(&self.text, name)
    }

    /// What the member `name` says, if it is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// The whole object as a tree.
    pub fn to_value(&self) -> Value {
        // Whoever wants all of it is rare: parsed again, it needs no code to copy trees.
        parse_node(&self.text).map_or(Value::Null, |node| node.into_value(&self.text))
    }
}

#[cfg(test)]
impl From<Value> for Object {
    fn from(value: Value) -> Self {
        Self::parse(value.to_string().into_bytes()).expect("an object")
    }
}

/// What a member says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Member<'o> {
    /// A text.
    Text(&'o str),
    /// Anything else.
    Value(&'o Value),
}

impl<'o> Member<'o> {
    fn of(value: &'o Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text),
            other => Self::Value(other),
        }
    }

    /// The text, if it is one.
    pub fn as_str(self) -> Option<&'o str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Value(_) => None,
        }
    }

    /// The value, unless it is a text.
    pub fn as_value(self) -> Option<&'o Value> {
        match self {
            Self::Text(_) => None,
            Self::Value(value) => Some(value),
        }
    }
}

/// One parsed value of a text that is kept beside it.
#[derive(Debug)]
pub(super) enum Node {
    Text(Text),
    /// Neither a text nor the outermost object.
    Value(Value),
    /// The outermost object.
    Object(Members),
}

impl Node {
    /// As a tree.
    pub(super) fn into_value(self, text: &str) -> Value {
        match self {
            Self::Text(own) => Value::String(own.as_str(text).to_owned()),
            Self::Value(value) => value,
            Self::Object(members) => members.into_value(text),
        }
    }
}

/// A text within another one, unless it had escapes.
#[derive(Debug)]
pub(super) enum Text {
    Within { start: usize, end: usize },
    Unescaped(Box<str>),
}

impl Text {
    /// `part` of `text`.
    pub(super) fn within(part: &str, text: &str) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
        Self::Within { start, end: start.saturating_add(part.len()) }
    }

    pub(super) fn as_str<'o>(&'o self, text: &'o str) -> &'o str {
        match self {
            Self::Within { start, end } => text.get(*start..*end).unwrap_or_default(),
            Self::Unescaped(own) => own,
        }
    }
}

/// Members of an object, no two of one name.
#[derive(Debug)]
pub(super) enum Members {
    /// At most `FEW`, in their order.
    Few(Vec<NamedNode>),
    Many(Map<String, Value>),
}

#[derive(Debug)]
pub(super) struct NamedNode {
    mark: u32,
    name: Text,
    node: Node,
}

impl Members {
    /// Of the outermost object.
    pub(super) fn outermost() -> Self {
        Self::Few(Vec::with_capacity(FEW / 2))
    }

    /// Of an object inside of another value.
    pub(super) fn inner() -> Self {
        Self::Many(Map::new())
    }

    pub(super) fn get<'o>(&'o self, text: &'o str, name: &str) -> Option<Member<'o>> {
        match self {
            Self::Few(members) => {
                let mark = mark_of(name);
                let same = |own: &Text| bytes::same(own.as_str(text).as_bytes(), name.as_bytes());
                let found = members.iter().find(|own| own.mark == mark && same(&own.name))?;
                match &found.node {
                    Node::Text(own) => Some(Member::Text(own.as_str(text))),
                    Node::Value(value) => Some(Member::Value(value)),
                    // Only the outermost value is one.
                    Node::Object(_) => None,
                }
            }
            Self::Many(members) => members.get(name).map(Member::of),
        }
    }

    /// Adds a member whose name is not there yet.
    pub(super) fn insert(&mut self, text: &str, name: Text, node: Node) {
        if let Self::Few(members) = self
            && members.len() < FEW
        {
            members.push(NamedNode { mark: mark_of(name.as_str(text)), name, node });
            return;
        }
        let mut members = std::mem::replace(self, Self::inner()).into_map(text);
        members.insert(name.as_str(text).to_owned(), node.into_value(text));
        *self = Self::Many(members);
    }

    pub(super) fn into_value(self, text: &str) -> Value {
        Value::Object(self.into_map(text))
    }

    fn into_map(self, text: &str) -> Map<String, Value> {
        match self {
            Self::Few(members) => {
                let mut map = Map::new();
                for NamedNode { name, node, .. } in members {
                    map.insert(name.as_str(text).to_owned(), node.into_value(text));
                }
                map
            }
            Self::Many(map) => map,
        }
    }
}

/// What most names of a length differ in.
fn mark_of(name: &str) -> u32 {
    let bytes = name.as_bytes();
    let at = |place: usize| bytes.get(place).copied().unwrap_or_default();
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    u32::from_le_bytes([length, at(0), at(bytes.len() / 2), at(bytes.len().saturating_sub(1))])
}

/// More members are filed: to compare each name with all would cost more than its square is worth.
const FEW: usize = 32;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(text: &str) -> Option<Object> {
        Object::parse(text.as_bytes().to_vec())
    }

    #[test]
    fn members_say_what_the_tree_says() {
        let some =
            r#" {"a":"x","b":1,"c":null,"\u0064":"\u0065\n","e":{"a":["y"]},"":"","f":"ü"} "#;
        let many: Vec<_> = (0..100).map(|n| format!(r#""m{n}":"v{n}","n{n}":[{n}]"#)).collect();
        for text in [some.to_owned(), format!("{{{}}}", many.join(","))] {
            let tree: Value = serde_json::from_str(&text).unwrap();
            let object = object(&text).unwrap();
            assert_eq!(object.to_value(), tree);
            for (name, value) in tree.as_object().unwrap() {
                let member = object.get(name).unwrap();
                assert_eq!(member.as_str(), value.as_str(), "{name}");
                assert_eq!(object.text(name), value.as_str(), "{name}");
                let other = Some(value).filter(|value| !value.is_string());
                assert_eq!(member.as_value(), other, "{name}");
            }
            assert_eq!(object.get("no"), None);
        }
        let few = object(some).unwrap();
        assert_eq!(few.get("b").unwrap().as_value(), Some(&json!(1)));
        assert_eq!(few.get("a").unwrap().as_value(), None);
    }

    #[test]
    fn duplicates_are_refused_however_many_members_there_are() {
        for count in [1, FEW - 1, FEW, FEW + 1, 2 * FEW] {
            let members: Vec<_> = (0..count).map(|n| format!(r#""m{n}":{n}"#)).collect();
            for twice in ["m0".to_owned(), format!("m{}", count - 1), r"\u006d0".to_owned()] {
                let text = format!(r#"{{{},"{twice}":0}}"#, members.join(","));
                assert!(object(&text).is_none(), "{count} members, {twice} twice");
            }
            let text = format!(r#"{{{},"n":0}}"#, members.join(","));
            assert!(object(&text).is_some(), "{count} members");
        }
    }

    #[test]
    fn only_objects_are_objects() {
        for text in ["[]", "\"a\"", "1", "null", "", "{", "{}{}", "{\"a\":}", "\u{feff}{}"] {
            assert!(object(text).is_none(), "{text:?}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}".to_vec()).is_none());
        assert!(object("{}").is_some_and(|empty| empty.get("").is_none()));
    }
}
