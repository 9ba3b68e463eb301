//! YAML, and JSON as a part of it, with the place of every value.
//!
//! 1. A plain word means what it means to Envoy and Kubernetes: `yes`, `no`, `on` and `off` are
//!    flags, as in YAML 1.1.
//! 2. A member that is there twice is an error: parsers differ in which of two they keep.
//! 3. Aliases are replaced by what they stand for.
//!
//! Caveat: merge keys (`<<`) are members like any other; Envoy knows none either.

use std::collections::HashMap;
use std::fmt;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};
use session_token_filter::json;

/// Where something stands; both count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Spot {
    fn new(marker: &Marker) -> Self {
        Self { line: marker.line(), column: marker.col().saturating_add(1) }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) spot: Spot,
    pub(crate) value: Yaml,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Yaml {
    Null,
    Bool(bool),
    Number(Number),
    Text(Text),
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// A text, and how far its bytes stand in the file as they are.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) value: String,
    layout: Layout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Each line is one of the file's, indented.
    Lines,
    /// One line, as it stands in the file.
    Verbatim,
    /// Escapes or folded lines lie between.
    Changed,
}

/// A member of a map.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) spot: Spot,
    pub(crate) value: Node,
}

/// Why a text is no YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    pub(crate) spot: Spot,
    pub(crate) text: String,
}

/// All documents of a file; empty ones are left out.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parsed = parse_yaml(text);
    // YAML's parser takes no surrogates, which JSON has for every emoji.
    match (&parsed, json::parse(text.as_bytes())) {
        (Err(_), Ok(value)) => Ok(vec![Node::from_json(&value)]),
        (Ok(_) | Err(_), _) => parsed,
    }
}

fn parse_yaml(text: &str) -> Result<Vec<Node>, YamlError> {
    let mut reader = Reader::default();
    // Helm's templates are no YAML yet.
    let hint = if text.contains("{{") { "; a template must be rendered first" } else { "" };
    for event in Parser::new_from_str(text) {
        let taken = match event {
            Ok((event, span)) => reader.take(event, span),
            Err(error) => {
                let (spot, text) = (Spot::new(error.marker()), error.info().to_owned());
                Err(YamlError { spot, text })
            }
        };
        taken.map_err(|error| YamlError { text: error.text + hint, ..error })?;
    }
    let documents = reader.documents.into_iter();
    Ok(documents.filter(|node| !matches!(node.value, Yaml::Null)).collect())
}

impl Node {
    /// A value whose place nobody knows.
    fn from_json(value: &Value) -> Self {
        let spot = Spot::default();
        let value = match value {
            Value::Null => Yaml::Null,
            Value::Bool(flag) => Yaml::Bool(*flag),
            Value::Number(number) => Yaml::Number(number.clone()),
            Value::String(text) => {
                Yaml::Text(Text { value: text.clone(), layout: Layout::Changed })
            }
            Value::Array(elements) => Yaml::List(elements.iter().map(Self::from_json).collect()),
            Value::Object(members) => {
                let member = |(name, value): (&String, &Value)| Member {
                    name: name.clone(),
                    spot,
                    value: Self::from_json(value),
                };
                Yaml::Map(members.iter().map(member).collect())
            }
        };
        Self { spot, value }
    }

    /// The member `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.member(name).map(|member| &member.value)
    }

    /// What stands at the end of these members.
    pub(crate) fn at(&self, names: &[&str]) -> Option<&Self> {
        names.iter().try_fold(self, |node, name| node.get(name))
    }

    /// The member `name`, with its own place.
    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members().iter().find(|member| member.name == name)
    }

    /// Its members, if it is a map.
    pub(crate) fn members(&self) -> &[Member] {
        match &self.value {
            Yaml::Map(members) => members,
            Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) | Yaml::Text(_) | Yaml::List(_) => &[],
        }
    }

    /// Its elements, if it is a list.
    pub(crate) fn elements(&self) -> &[Self] {
        match &self.value {
            Yaml::List(elements) => elements,
            Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) | Yaml::Text(_) | Yaml::Map(_) => &[],
        }
    }

    /// Its text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Yaml::Text(text) => Some(&text.value),
            Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) | Yaml::List(_) | Yaml::Map(_) => None,
        }
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.value, Yaml::Map(_))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Yaml::Null)
    }

    pub(crate) fn is_true(&self) -> bool {
        matches!(self.value, Yaml::Bool(true))
    }

    /// The same value as JSON. `keeps_null` says whether a member that is `null` stays: the control
    /// planes of Kubernetes take it for one that is absent.
    pub(crate) fn to_json(&self, keeps_null: bool) -> Value {
        match &self.value {
            Yaml::Null => Value::Null,
            Yaml::Bool(flag) => Value::Bool(*flag),
            Yaml::Number(number) => Value::Number(number.clone()),
            Yaml::Text(text) => Value::String(text.value.clone()),
            Yaml::List(elements) => {
                Value::Array(elements.iter().map(|node| node.to_json(keeps_null)).collect())
            }
            Yaml::Map(members) => {
                let kept = members.iter().filter(|member| keeps_null || !member.value.is_null());
                let json =
                    |member: &Member| (member.name.clone(), member.value.to_json(keeps_null));
                Value::Object(kept.map(json).collect::<Map<_, _>>())
            }
        }
    }

    /// The place in the file of a place in this text.
    pub(crate) fn spot_inside(&self, inner: Spot) -> Spot {
        let Yaml::Text(text) = &self.value else { return self.spot };
        let columns_before = self.spot.column.saturating_sub(1);
        match text.layout {
            Layout::Lines => Spot {
                line: self.spot.line.saturating_add(inner.line).saturating_sub(1),
                column: columns_before.saturating_add(inner.column),
            },
            // Behind the quote.
            Layout::Verbatim if inner.line == 1 => Spot {
                line: self.spot.line,
                column: columns_before.saturating_add(inner.column).saturating_add(1),
            },
            Layout::Verbatim | Layout::Changed => self.spot,
        }
    }

    /// Makes the places in it, which stands as a text in `outer`, those of the file.
    pub(crate) fn move_into(&mut self, outer: &Self) {
        self.spot = outer.spot_inside(self.spot);
        match &mut self.value {
            Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) | Yaml::Text(_) => {}
            Yaml::List(elements) => elements.iter_mut().for_each(|node| node.move_into(outer)),
            Yaml::Map(members) => {
                for member in members {
                    member.spot = outer.spot_inside(member.spot);
                    member.value.move_into(outer);
                }
            }
        }
    }

    /// Every place in this value by its path, as the filter writes paths: `rules[2].match`.
    pub(crate) fn places(&self) -> HashMap<String, Spot> {
        let mut places = HashMap::from([(String::new(), self.spot)]);
        self.note_places("", &mut places);
        places
    }

    fn note_places(&self, path: &str, places: &mut HashMap<String, Spot>) {
        for member in self.members() {
            let inner = member_path(path, &member.name);
            places.insert(inner.clone(), member.spot);
            member.value.note_places(&inner, places);
        }
        for (index, element) in self.elements().iter().enumerate() {
            let inner = format!("{path}[{index}]");
            places.insert(inner.clone(), element.spot);
            element.note_places(&inner, places);
        }
    }
}

/// The path of the member `name` below `path`.
pub(crate) fn member_path(path: &str, name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        format!("{path}[{name:?}]")
    } else if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// The place of `path`, or of the nearest thing around it: what is missing has no place.
pub(crate) fn nearest_place(places: &HashMap<String, Spot>, path: &str) -> Spot {
    let mut end = path.len();
    loop {
        let known = path.get(..end).and_then(|start| places.get(start));
        match (known, path.get(..end).and_then(|start| start.rfind(['.', '[']))) {
            (Some(spot), _) => return *spot,
            (None, Some(shorter)) => end = shorter,
            (None, None) if end > 0 => end = 0,
            (None, None) => return Spot::default(),
        }
    }
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    documents: Vec<Node>,
    open: Vec<Open>,
    /// What aliases may stand for.
    anchors: HashMap<usize, Node>,
    /// How many values there are, those behind aliases counted each time.
    count: usize,
}

/// A collection whose end has not come.
struct Open {
    spot: Spot,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map(Vec<Member>, Option<(String, Spot)>),
}

impl Reader {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        let spot = Spot::new(&span.start);
        let refuse = |text: &str| Err(YamlError { spot, text: text.to_owned() });
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return refuse("this alias stands for nothing");
                };
                self.add(Node { spot, value: node.value })?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.is_some_and(|tag| tag.suffix == "str" || tag.suffix.is_empty());
                let value = match style {
                    ScalarStyle::Plain if !is_text => plain(&text),
                    _ => {
                        Yaml::Text(Text { layout: layout(style, &text, span), value: text.into() })
                    }
                };
                self.finish(Node { spot, value }, anchor)?;
            }
            Event::SequenceStart(anchor, _) => {
                self.open.push(Open { spot, anchor, content: Content::List(Vec::new()) });
            }
            Event::MappingStart(anchor, _) => {
                self.open.push(Open { spot, anchor, content: Content::Map(Vec::new(), None) });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { spot, anchor, content }) = self.open.pop() {
                    let value = match content {
                        Content::List(elements) => Yaml::List(elements),
                        Content::Map(members, _) => Yaml::Map(members),
                    };
                    self.finish(Node { spot, value }, anchor)?;
                }
            }
        }
        if self.open.len() > json::MAX_DEPTH.saturating_mul(2) {
            return refuse("nested too deep");
        }
        Ok(())
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), YamlError> {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.add(node)
    }

    fn add(&mut self, node: Node) -> Result<(), YamlError> {
        let spot = node.spot;
        let refuse = |text: String| Err(YamlError { spot, text });
        self.count = self.count.saturating_add(size(&node));
        if self.count > MAX_VALUES {
            return refuse(format!("more than {MAX_VALUES} values"));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.documents.push(node),
            Some(Content::List(elements)) => elements.push(node),
            Some(Content::Map(members, name)) => match name.take() {
                Some((name, spot)) => members.push(Member { name, spot, value: node }),
                None => {
                    let own = match node.value {
                        Yaml::Text(text) => text.value,
                        Yaml::Null => "null".to_owned(),
                        Yaml::Bool(flag) => flag.to_string(),
                        Yaml::Number(number) => number.to_string(),
                        Yaml::List(_) | Yaml::Map(_) => {
                            return refuse("a member's name must be a text".to_owned());
                        }
                    };
                    if members.iter().any(|member| member.name == own) {
                        return refuse(format!("member {own:?} is there twice"));
                    }
                    *name = Some((own, spot));
                }
            },
        }
        Ok(())
    }
}

/// How many values there are in `node`, without those that were counted when they came.
fn size(node: &Node) -> usize {
    let inner = node.elements().iter().chain(node.members().iter().map(|it| &it.value));
    inner.map(size).fold(1, usize::saturating_add)
}

fn layout(style: ScalarStyle, text: &str, span: Span) -> Layout {
    match style {
        ScalarStyle::Literal => Layout::Lines,
        // Two quotes around it, and nothing changed between them.
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted
            if span.start.line() == span.end.line()
                && span.len() == text.chars().count().saturating_add(2) =>
        {
            Layout::Verbatim
        }
        ScalarStyle::Plain
        | ScalarStyle::SingleQuoted
        | ScalarStyle::DoubleQuoted
        | ScalarStyle::Folded => Layout::Changed,
    }
}

/// What a word without quotes means.
fn plain(word: &str) -> Yaml {
    let text = || Yaml::Text(Text { value: word.to_owned(), layout: Layout::Changed });
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Yaml::Null,
        _ => {}
    }
    let lower = word.to_ascii_lowercase();
    let is_one_case = word == lower
        || word == word.to_ascii_uppercase()
        || (word.starts_with(|first: char| first.is_ascii_uppercase())
            && word.get(1..) == lower.get(1..));
    match lower.as_str() {
        "true" | "yes" | "on" | "y" if is_one_case => return Yaml::Bool(true),
        "false" | "no" | "off" | "n" if is_one_case => return Yaml::Bool(false),
        _ => {}
    }
    if let Ok(number) = word.parse::<u64>() {
        return Yaml::Number(number.into());
    }
    if let Ok(number) = word.parse::<i64>() {
        return Yaml::Number(number.into());
    }
    let looks_like_number =
        word.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
            && word.bytes().any(|byte| byte.is_ascii_digit());
    match word.parse::<f64>().ok().filter(|_| looks_like_number).and_then(Number::from_f64) {
        Some(number) => Yaml::Number(number),
        None => text(),
    }
}

/// A file of aliases must not fill the memory.
const MAX_VALUES: usize = 1_000_000;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn only(text: &str) -> Node {
        parse(text).unwrap().remove(0)
    }

    #[test]
    fn words_mean_what_they_mean_to_envoy_and_kubernetes() {
        for (text, expected) in [
            ("a: 1", json!({"a": 1})),
            ("a: -1", json!({"a": -1})),
            ("a: 1.5", json!({"a": 1.5})),
            ("a: 1e3", json!({"a": 1000.0})),
            ("a: '1'", json!({"a": "1"})),
            ("a: !!str 1", json!({"a": "1"})),
            ("a: yes", json!({"a": true})),
            ("a: Off", json!({"a": false})),
            ("a: oN", json!({"a": "oN"})),
            ("a: \"yes\"", json!({"a": "yes"})),
            ("a: ~", json!({"a": null})),
            ("a:", json!({"a": null})),
            ("a: 5s", json!({"a": "5s"})),
            ("a: infinity", json!({"a": "infinity"})),
            ("a: e", json!({"a": "e"})),
            ("a: .", json!({"a": "."})),
            ("{\"a\": [true, {\"b\": \"\\u0041\\/\"}]}", json!({"a": [true, {"b": "A/"}]})),
            ("a: &x [1]\nb: *x", json!({"a": [1], "b": [1]})),
            (r#"{"a": "\ud83d\ude00"}"#, json!({"a": "\u{1f600}"})),
            ("a: |\n  {\n   1}\n", json!({"a": "{\n 1}\n"})),
        ] {
            assert_eq!(only(text).to_json(true), expected, "{text}");
        }
        assert_eq!(only("{a: ~, b: [~], c: 1}").to_json(false), json!({"b": [null], "c": 1}));
        assert!(parse("---\n---\n# nothing\n").unwrap().is_empty());
        assert_eq!(parse("--- {}\n--- []\n").unwrap().len(), 2);
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        for (text, spot, part) in [
            ("a: 1\nb: 2\n\"a\": 3", "3:1", "twice"),
            ("a: [1\n", "2:1", "flow sequence"),
            ("a: *b", "1:4", "unknown anchor"),
            ("? [1]\n: 2", "1:3", "must be a text"),
            ("a: b: c", "1:5", "not allowed"),
            ("a: {{ b }}", "1:5", "must be a text; a template must be rendered first"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.spot.to_string(), spot, "{text}: {error:?}");
            assert!(error.text.contains(part), "{text}: {error:?}");
        }
        assert_eq!(parse(&"[".repeat(200)).unwrap_err().text, "nested too deep");
        assert!(parse(&"[".repeat(100_000)).is_err());
        let bomb: String = (1..30).fold("a0: &a0 [1]\n".to_owned(), |text, level| {
            let before = level - 1;
            format!("{text}a{level}: &a{level} [*a{before}, *a{before}]\n")
        });
        assert!(parse(&bomb).unwrap_err().text.contains("values"));
    }

    #[test]
    fn places_are_found_by_path() {
        let node = only("rules:\n  - match: {path: {prefix: /}}\n  - 'x y': 1\n");
        let places = node.places();
        for (path, spot) in [
            ("", "1:1"),
            ("rules", "1:1"),
            ("rules[0]", "2:5"),
            ("rules[0].match.path.prefix", "2:20"),
            ("rules[0].match.path.exact", "2:13"),
            ("rules[1][\"x y\"]", "3:5"),
            ("rules[7].name", "1:1"),
            ("providers", "1:1"),
        ] {
            assert_eq!(nearest_place(&places, path).to_string(), spot, "{path}");
        }
    }

    #[test]
    fn places_inside_texts_are_the_files() {
        for (name, text, inner, expected) in [
            ("a block", "v: |\n    {\n      \"a\": 1}\n", (2, 3), "3:7"),
            ("the block's first line", "v: |\n  {}\n", (1, 2), "2:4"),
            ("quotes", "v: '{\"a\": 1}'", (1, 2), "1:6"),
            ("escapes", "v: \"{\\\"a\\\": 1}\"", (1, 2), "1:4"),
            ("folded", "v: >\n  {\n  }\n", (1, 2), "2:3"),
        ] {
            let node = only(text);
            let (line, column) = inner;
            let spot = node.get("v").unwrap().spot_inside(Spot { line, column });
            assert_eq!(spot.to_string(), expected, "{name}");
        }
    }
}
