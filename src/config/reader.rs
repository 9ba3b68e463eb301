//! Reading JSON values with their places: every error is found, not only the first.
//!
//! 1. A value of the wrong type is an error at its path, and its field is [`Field::Bad`]: nothing
//!    else is said about it.
//! 2. A member of an object that nobody asked for is an error. If a known name is near, the error
//!    says so.
//! 3. `null` is a value of the wrong type, never the same as absent.
//! 4. Numbers may arrive as `10.0`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::error::{Place, quoted};
use super::protobuf_struct::whole_number;

/// A value that is about to be read.
pub(super) struct Node<'a> {
    pub(super) place: Place<'a>,
    pub(super) value: &'a Value,
}

/// A value that was read, and where it stood.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a, T> {
    pub(super) place: Place<'a>,
    pub(super) value: T,
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<T> {
    /// It is not there.
    Absent,
    /// It is there, and an error was found in it.
    Bad,
    /// It is there.
    Given(T),
}

impl<T> Field<T> {
    /// What it holds, if anything.
    pub(super) fn given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Bad => None,
        }
    }

    /// What it holds, if anything.
    pub(super) fn as_given(&self) -> Option<&T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Bad => None,
        }
    }

    /// What `read` makes of it, or `default` if it is not there; nothing if an error was found.
    pub(super) fn read_or<U>(self, default: U, read: impl FnOnce(T) -> Option<U>) -> Option<U> {
        match self {
            Self::Absent => Some(default),
            Self::Bad => None,
            Self::Given(value) => read(value),
        }
    }
}

impl<T: Copy> Field<At<'_, T>> {
    /// The value, or `default` if it is not there; nothing if an error was found.
    pub(super) fn value_or(&self, default: T) -> Option<T> {
        match self {
            Self::Absent => Some(default),
            Self::Bad => None,
            Self::Given(at) => Some(at.value),
        }
    }
}

impl<T: Copy + Default> Field<At<'_, T>> {
    /// The value, or its type's default if it is not there; nothing if an error was found.
    pub(super) fn value_or_default(&self) -> Option<T> {
        self.value_or(T::default())
    }
}

impl<T> At<'_, T> {
    /// Finds an error here that is not about the text itself.
    pub(super) fn error<'t>(&self, text: impl Into<Cow<'t, str>>) {
        self.place.error(text);
    }
}

impl<'a> At<'a, &'a str> {
    /// Finds that the text is wrong: `"admin" must start with "/"`.
    pub(super) fn refuse(&self, why: &str) {
        self.place.error(format!("{} {why}", quoted(self.value)));
    }

    /// The text as a `T`, or the error `why`.
    pub(super) fn parse<T: std::str::FromStr>(&self, why: &str) -> Option<T> {
        let parsed = self.value.parse().ok();
        if parsed.is_none() {
            self.refuse(why);
        }
        parsed
    }
}

impl<'a> Node<'a> {
    /// A string.
    pub(super) fn text(self) -> Option<At<'a, &'a str>> {
        match self.value.as_str() {
            Some(value) => Some(At { place: self.place, value }),
            None => self.wrong("a string"),
        }
    }

    /// A string that is not empty.
    pub(super) fn some_text(self) -> Option<At<'a, &'a str>> {
        let text = self.text()?;
        if text.value.is_empty() {
            text.refuse("must not be empty");
            return None;
        }
        Some(text)
    }

    /// `true` or `false`.
    pub(super) fn flag(self) -> Option<At<'a, bool>> {
        match self.value.as_bool() {
            Some(value) => Some(At { place: self.place, value }),
            None => self.wrong("true or false"),
        }
    }

    /// A whole number from 0 up.
    pub(super) fn whole(self) -> Option<At<'a, u64>> {
        let from_double = || u64::try_from(whole_number(self.value.as_f64()?)?).ok();
        match self.value.as_u64().or_else(from_double) {
            Some(value) => Some(At { place: self.place, value }),
            None => self.wrong("a whole number from 0 up"),
        }
    }

    /// One of the names in `choices`.
    pub(super) fn choice<T: Copy>(self, choices: &[(&'static str, T)]) -> Option<At<'a, T>> {
        let At { place, value: index } =
            self.choice_among(&mut choices.iter().map(|(name, _)| *name))?;
        choices.get(index).map(|(_, value)| At { place, value: *value })
    }

    /// Which one of `names` it is.
    #[inline(never)]
    fn choice_among(self, names: &mut dyn Iterator<Item = &'static str>) -> Option<At<'a, usize>> {
        let text = self.text()?;
        let names: Vec<_> = names.collect();
        let index = names.iter().position(|name| *name == text.value);
        if index.is_none() {
            text.refuse(&format!("must be one of {}", names.join(", ")));
        }
        Some(At { place: text.place, value: index? })
    }

    /// A list; elements in which an error was found are left out of the result.
    pub(super) fn list<T>(self, read: impl Fn(Node<'a>) -> Option<T>) -> Option<At<'a, Vec<T>>> {
        let place = self.place;
        Some(At { place, value: self.elements()?.into_iter().filter_map(read).collect() })
    }

    #[inline(never)]
    fn elements(self) -> Option<Vec<Node<'a>>> {
        let Some(elements) = self.value.as_array() else {
            return self.wrong("a list");
        };
        let element = |(index, value)| Node { place: self.place.element(index), value };
        Some(elements.iter().enumerate().map(element).collect())
    }

    /// A list with at least one element, since an empty one could be taken for "none" and for
    /// "all"; `if_empty` says what to write instead.
    pub(super) fn some_list<T>(
        self,
        if_empty: &str,
        read: impl Fn(Node<'a>) -> Option<T>,
    ) -> Option<At<'a, Vec<T>>> {
        self.some_elements(if_empty)?.list(read)
    }

    #[inline(never)]
    fn some_elements(self, if_empty: &str) -> Option<Self> {
        if self.value.as_array().is_some_and(Vec::is_empty) {
            self.place.error(format!("must not be empty: {if_empty}"));
            return None;
        }
        Some(self)
    }

    /// An object, all of whose fields `read` asks for.
    pub(super) fn object<T>(self, read: impl FnOnce(&mut Fields<'a>) -> T) -> Option<T> {
        let mut fields = self.fields()?;
        let value = read(&mut fields);
        fields.refuse_unknown();
        Some(value)
    }

    #[inline(never)]
    fn fields(self) -> Option<Fields<'a>> {
        let Some(members) = self.value.as_object() else {
            return self.wrong("an object");
        };
        Some(Fields { place: self.place, members, known: Vec::new() })
    }

    /// An object whose members' names are the operator's.
    pub(super) fn members(self) -> Option<Vec<(&'a str, Node<'a>)>> {
        let Some(members) = self.value.as_object() else {
            return self.wrong("an object");
        };
        let place = self.place;
        let nodes = members
            .iter()
            .map(|(name, value)| (name.as_str(), Node { place: place.member(name), value }));
        Some(nodes.collect())
    }

    /// Finds that the value should be `expected`. Numbers and words are shown. A text is shown
    /// only where a number or a word should be: elsewhere it may hold a secret.
    pub(super) fn wrong<T>(self, expected: &str) -> Option<T> {
        self.refuse_type(expected);
        None
    }

    #[inline(never)]
    fn refuse_type(&self, expected: &str) {
        self.place.error(match self.value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                format!("{} must be {expected}", self.value)
            }
            Value::String(text) if !expected.ends_with("object") && expected != "a list" => {
                format!("{} must be {expected}", quoted(text))
            }
            Value::String(_) => format!("must be {expected}, not a string"),
            Value::Array(_) => format!("must be {expected}, not a list"),
            Value::Object(_) => format!("must be {expected}, not an object"),
        });
    }
}

/// The fields of one object.
pub(super) struct Fields<'a> {
    pub(super) place: Place<'a>,
    members: &'a Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// A field that may be left out.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Node<'a>) -> Option<T>,
    ) -> Field<T> {
        match self.find(name).map(read) {
            None => Field::Absent,
            Some(None) => Field::Bad,
            Some(Some(value)) => Field::Given(value),
        }
    }

    /// A field that must be there.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Node<'a>) -> Option<T>,
    ) -> Option<T> {
        self.demand(name).and_then(read)
    }

    #[inline(never)]
    fn find(&mut self, name: &'static str) -> Option<Node<'a>> {
        self.known.push(name);
        self.members.get(name).map(|value| Node { place: self.place.member(name), value })
    }

    #[inline(never)]
    fn demand(&mut self, name: &'static str) -> Option<Node<'a>> {
        let found = self.find(name);
        if found.is_none() {
            self.place.member(name).error("is missing");
        }
        found
    }

    #[inline(never)]
    fn refuse_unknown(self) {
        for name in self.members.keys() {
            if self.known.contains(&name.as_str()) {
                continue;
            }
            let text = match nearest(name, self.known.iter().copied()) {
                Some(near) => format!("unknown field; did you mean `{near}`?"),
                None => format!("unknown field; known here: {}", self.known.join(", ")),
            };
            self.place.member(name).error(text);
        }
    }
}

/// The candidate that `name` is most likely a misspelling of, if one is near enough.
pub(super) fn nearest<'n>(
    name: &str,
    candidates: impl Iterator<Item = &'n str>,
) -> Option<&'n str> {
    // A distance costs the product of both lengths, and no known name is as long.
    if name.len() > 64 {
        return None;
    }
    let allowed = name.len().div_ceil(4).min(3);
    candidates
        .map(|candidate| (strsim::osa_distance(&name.to_ascii_lowercase(), candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::error::Findings;

    /// The errors that reading `json` finds.
    fn errors(json: &Value, read: impl FnOnce(Node<'_>) -> Option<()>) -> Vec<String> {
        let findings = Findings::default();
        read(Node { place: Place::root(&findings).member("x"), value: json });
        findings.errors.borrow().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn wrong_types_are_named_with_what_stands_there() {
        let text = |node: Node<'_>| node.text().map(|_| ());
        let whole = |node: Node<'_>| node.whole().map(|_| ());
        let flag = |node: Node<'_>| node.flag().map(|_| ());
        let list = |node: Node<'_>| node.list(Node::text).map(|_| ());
        let object = |node: Node<'_>| node.object(|_| ());
        type Read = fn(Node<'_>) -> Option<()>;
        for (json, read, expected) in [
            (json!(null), text as Read, "x: null must be a string"),
            (json!(5), text, "x: 5 must be a string"),
            (json!(false), text, "x: false must be a string"),
            (json!([]), text, "x: must be a string, not a list"),
            (json!({}), text, "x: must be a string, not an object"),
            (json!("1"), whole, "x: \"1\" must be a whole number from 0 up"),
            (json!(1.5), whole, "x: 1.5 must be a whole number from 0 up"),
            (json!(-1), whole, "x: -1 must be a whole number from 0 up"),
            (json!(-1.0), whole, "x: -1.0 must be a whole number from 0 up"),
            (json!(1e30), whole, "x: 1e+30 must be a whole number from 0 up"),
            (json!("true"), flag, "x: \"true\" must be true or false"),
            (json!("Bearer t"), list, "x: must be a list, not a string"),
            (json!("Bearer t"), object, "x: must be an object, not a string"),
            (json!([]), object, "x: must be an object, not a list"),
        ] {
            assert_eq!(errors(&json, read), [expected]);
        }
    }

    #[test]
    fn every_bad_element_is_found() {
        let json = json!(["a", 1, "b", null]);
        assert_eq!(
            errors(&json, |node| node.list(Node::text).map(|_| ())),
            ["x[1]: 1 must be a string", "x[3]: null must be a string"]
        );
        assert_eq!(
            errors(&json!([]), |node| node.some_list("leave it out", Node::text).map(|_| ())),
            ["x: must not be empty: leave it out"]
        );
        assert_eq!(
            errors(&json!("b"), |node| node.choice(&[("a", 1), ("c", 2)]).map(|_| ())),
            ["x: \"b\" must be one of a, c"]
        );
    }

    #[test]
    fn integral_doubles_are_whole_numbers() {
        let findings = Findings::default();
        for json in [json!(10), json!(10.0), json!(1e1)] {
            let node = Node { place: Place::root(&findings), value: &json };
            assert_eq!(node.whole().unwrap().value, 10);
        }
    }

    #[test]
    fn unknown_members_are_errors() {
        let json = json!({ "audience": [], "Name": "a", "require": {}, "x\ny": 1, "name": "a" });
        let read = |fields: &mut Fields<'_>| {
            fields.required("name", Node::text);
            fields.required("issuer", Node::text);
            fields.optional("audiences", |node| node.list(Node::text));
        };
        assert_eq!(
            errors(&json, |node| node.object(read)),
            [
                "x.issuer: is missing",
                "x.Name: unknown field; did you mean `name`?",
                "x.audience: unknown field; did you mean `audiences`?",
                "x.require: unknown field; known here: name, issuer, audiences",
                "x[\"x\\ny\"]: unknown field; known here: name, issuer, audiences",
            ]
        );
        assert_eq!(nearest(&"n".repeat(1 << 20), ["name"].into_iter()), None);
    }
}
