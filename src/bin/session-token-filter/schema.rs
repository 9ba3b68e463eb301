//! A JSON Schema (draft 7, which all editors take) of the configuration.
//!
//! 1. Which fields there are, of what type, which are required and which words they take, the
//!    configuration's own reader is asked: it says so in its errors.
//! 2. Descriptions, defaults and bounds are the README's, which tests hold against the code.
//! 3. What neither says is an error here, so that no field can be forgotten.
//!
//! Caveat: it knows a field's form, not how fields fit together. `check` knows all of it.

use serde_json::{Map, Value, json};

use crate::fields::{errors_at, known_members};
use crate::readme;
use crate::yaml;

/// The schema as the repository has it.
pub(crate) fn text() -> Result<String, String> {
    let mut schema = object("", &[])?;
    let members = [
        ("$schema", "http://json-schema.org/draft-07/schema#"),
        ("title", "Configuration of session-token-filter"),
        ("description", "Unknown fields are errors. Durations: 500ms, 10s, 5m, 1h30m."),
    ];
    for (name, text) in members {
        schema.insert(name.to_owned(), text.into());
    }
    let tree = object("rules[].require", &[])?;
    schema.insert("definitions".to_owned(), json!({ "require": tree }));
    let text = serde_json::to_string_pretty(&schema).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

/// What may stand at `field`, with all that the README says of it.
fn described(field: &str, around: &[Vec<String>]) -> Result<Value, String> {
    let mut schema = value(field, around)?;
    let Some(row) = readme::row("field", field) else {
        // Objects that only hold others are no rows.
        let holds = known_members(field).is_some() || field.ends_with("[]");
        return if holds { Ok(schema.into()) } else { Err(format!("the README lacks {field}")) };
    };
    let cell = |index: usize| row.get(index).copied().unwrap_or_default();
    let (default, limits, meaning) = (cell(2), cell(3), cell(4));
    let mut description = readme::without_links(meaning);
    if !limits.is_empty() {
        description += &format!(" Limits: {limits}.");
    }
    match default {
        "" | "–" => {}
        text if text.starts_with("required") => description += &format!(" {}.", capital(text)),
        text => description += &format!(" Default: {text}."),
    }
    schema.insert("description".to_owned(), description.into());
    let only_code = |cell: &str| {
        let inner = cell.strip_prefix('`')?.strip_suffix('`')?;
        (!inner.contains('`')).then(|| inner.to_owned())
    };
    if let Some(default) = only_code(default)
        && let Some(node) = yaml::parse(&default).unwrap_or_default().first()
    {
        schema.insert("default".to_owned(), node.to_json(true));
    }
    if schema.get("type") == Some(&json!("integer"))
        && let Some((least, most)) = limits.split_once("` to `")
    {
        let number = |text: &str| text.trim_matches('`').parse::<u64>().ok();
        for (name, bound) in [("minimum", number(least)), ("maximum", number(most))] {
            schema.extend(bound.map(|bound| (name.to_owned(), bound.into())));
        }
    }
    Ok(schema.into())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What may stand at `field`: the reader says of `null` what it wants in its place.
fn value(field: &str, around: &[Vec<String>]) -> Result<Map<String, Value>, String> {
    let wanted = errors_at(field, Value::Null);
    let wanted = wanted.iter().find_map(|error| error.strip_prefix("null must be "));
    let schema = match wanted {
        Some("a string") => return Ok(string(field)),
        Some("true or false") => json!({ "type": "boolean" }),
        Some("a whole number from 0 up") => json!({ "type": "integer", "minimum": 0 }),
        Some("a list") => {
            let element = format!("{field}[]");
            let mut schema =
                json!({ "type": "array", "items": described_element(&element, around)? });
            if says(field, json!([]), "must not be empty")
                && let Value::Object(members) = &mut schema
            {
                members.insert("minItems".to_owned(), 1.into());
            }
            schema
        }
        Some("an object") => return object(field, around),
        Some("a string with JSON or an object") => json!({ "type": ["string", "object"] }),
        Some("a claim's name or a list of names") => json!({
            "type": ["string", "array"],
            "minLength": 1,
            "items": { "type": "string", "minLength": 1 },
        }),
        // The test of a claim, which is held against whatever the token says.
        None if field.starts_with("rules[].require.") => match readme_type(field) {
            Some("any value") => json!({ "not": { "type": "null" } }),
            Some("string, number or flag") => json!({ "type": ["string", "number", "boolean"] }),
            None if field.ends_with("[]") => json!({ "not": { "type": "null" } }),
            other => return Err(format!("{field} is of unknown type {other:?}")),
        },
        other => return Err(format!("the reader says of {field}: {other:?}")),
    };
    match schema {
        Value::Object(members) => Ok(members),
        other => Err(format!("{field}: {other} is no schema")),
    }
}

/// An element of a list; a tree's is like the tree.
fn described_element(element: &str, around: &[Vec<String>]) -> Result<Value, String> {
    if is_tree(element, around) {
        return Ok(json!({ "$ref": "#/definitions/require" }));
    }
    described(element, around)
}

fn is_tree(field: &str, around: &[Vec<String>]) -> bool {
    known_members(field).is_some_and(|members| around.contains(&members))
}

fn string(field: &str) -> Map<String, Value> {
    let mut schema = Map::from_iter([("type".to_owned(), json!("string"))]);
    for error in errors_at(field, json!("@")) {
        if let Some(choices) = error.strip_prefix("\"@\" must be one of ") {
            // Some are quoted, some are not.
            let word = |word: &str| serde_json::from_str(word).unwrap_or_else(|_| json!(word));
            let words: Vec<Value> = choices.split(", ").map(word).collect();
            schema.insert("enum".to_owned(), words.into());
        } else if error.contains("must be a duration") {
            schema.insert("pattern".to_owned(), DURATION.into());
            schema.insert("minLength".to_owned(), 1.into());
        } else if error.contains("must be a size") {
            schema.insert("pattern".to_owned(), SIZE.into());
        }
    }
    if says(field, json!(""), "must not be empty") {
        schema.insert("minLength".to_owned(), 1.into());
    }
    schema
}

fn object(field: &str, around: &[Vec<String>]) -> Result<Map<String, Value>, String> {
    let Some(members) = known_members(field) else {
        // The members' names are the operator's.
        let values = json!({ "type": "object", "additionalProperties": { "type": "string" } });
        return Ok(values.as_object().cloned().unwrap_or_default());
    };
    let around = [around, std::slice::from_ref(&members)].concat();
    let below = |member: &str| {
        if field.is_empty() { member.to_owned() } else { format!("{field}.{member}") }
    };
    let mut properties = Map::new();
    let mut required = Vec::new();
    for member in &members {
        let inner = below(member);
        // The tree itself stands among the definitions.
        let schema = if inner == "rules[].require" {
            let mut schema = described(&inner, &[])?;
            let description = schema.get_mut("description").map(Value::take);
            json!({ "allOf": [{ "$ref": "#/definitions/require" }], "description": description })
        } else if is_tree(&inner, &around) {
            json!({ "$ref": "#/definitions/require" })
        } else {
            described(&inner, &around)?
        };
        properties.insert(member.clone(), schema);
        let is_missing = |error: &String| {
            error.strip_prefix(member.as_str()).is_some_and(|rest| rest.starts_with(": is missing"))
        };
        // A preset may make up for it.
        let row = readme::row("field", &inner);
        let is_conditional = row.is_some_and(|row| {
            row.get(2).is_some_and(|default| default.starts_with("required without"))
        });
        if !is_conditional && missing(field).iter().any(is_missing) {
            required.push(json!(member));
        }
    }
    let mut schema = Map::from_iter([
        ("type".to_owned(), json!("object")),
        ("additionalProperties".to_owned(), json!(false)),
        ("properties".to_owned(), properties.into()),
    ]);
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    let alternatives = alternatives(field)?;
    if !alternatives.is_empty() {
        schema.insert("oneOf".to_owned(), alternatives.into());
    }
    Ok(schema)
}

/// What an empty object lacks: `name: is missing`.
fn missing(field: &str) -> Vec<String> {
    if field.is_empty() {
        return crate::fields::errors(&json!({}));
    }
    let start = format!("{}.", field.replace("[]", "[0]"));
    let errors = crate::fields::errors(&crate::fields::with(field, json!({})));
    errors.iter().filter_map(|error| error.strip_prefix(&start).map(str::to_owned)).collect()
}

/// Members of which there must be exactly one.
fn alternatives(field: &str) -> Result<Vec<Value>, String> {
    let one_of = |names: &str| -> Vec<Value> {
        names.split(", ").map(|name| json!({ "required": [name] })).collect()
    };
    if field.is_empty() {
        return Ok(Vec::new());
    }
    for error in errors_at(field, json!({})) {
        if let Some((_, names)) = error.split_once("must have exactly one of ") {
            return Ok(one_of(names));
        }
        if let Some((_, names)) = error.split_once("must name exactly one vendor: ") {
            return Ok(one_of(names));
        }
        if let Some(rest) =
            error.strip_prefix("must be all, any or not alone, or a claim with one of ")
        {
            let mut trees = one_of("all, any, not");
            trees.push(json!({ "required": ["claim"], "oneOf": one_of(rest) }));
            return Ok(trees);
        }
        if error.starts_with("must ") && error.contains(" one of ") {
            return Err(format!("{field}: {error}"));
        }
    }
    Ok(Vec::new())
}

fn says(field: &str, value: Value, part: &str) -> bool {
    errors_at(field, value).iter().any(|error| error.contains(part))
}

/// The README's second column.
fn readme_type(field: &str) -> Option<&'static str> {
    readme::row("field", field)?.get(1).copied()
}

/// Each unit once, the greatest first.
const DURATION: &str = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";
const SIZE: &str = "^[0-9]+[KMG]iB$";
