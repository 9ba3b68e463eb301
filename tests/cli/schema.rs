//! The schema: what the repository has is what the code says; every example is valid, and what no
//! configuration may hold is not.
//!
//! The validator below knows the words of JSON Schema (draft 7) that the schema uses, and refuses
//! every other: one that knows all takes longer to build than the filter.

use std::fs;

use regex::Regex;
use serde_json::{Map, Value, json};
use session_token_filter::config;
use session_token_harness::bootstrap::Document;

use super::{Run, examples, root, run, yaml_blocks};

const FILE: &str = "envoy/session-token-filter.schema.json";

#[test]
fn the_file_is_what_the_code_says() {
    let Run { code, out, err } = run(&["schema"], "");
    assert_eq!(code, 0, "{out}{err}");
    let file = fs::read_to_string(root().join(FILE)).unwrap();
    assert!(out == file, "{FILE} is out of date: run `make schema`");
}

#[test]
fn it_has_every_field_of_the_readme_with_a_description() {
    let schema = schema();
    let mut count = 0;
    let readme = read("README.md");
    let tables = readme.split("\n| field | type |").skip(1);
    let rows =
        tables.flat_map(|table| table.lines().skip(2).take_while(|line| line.starts_with('|')));
    for row in rows {
        let field = row.split('`').nth(1).unwrap();
        let mut place = &schema;
        for member in field.split('.').filter(|member| !member.is_empty()) {
            let name = member.trim_end_matches("[]");
            place = match place.pointer("/allOf/0/$ref") {
                Some(reference) => schema.pointer(&reference.as_str().unwrap()[1..]).unwrap(),
                None => place,
            };
            place = &place["properties"][name];
            if member.ends_with("[]") {
                place = &place["items"];
            }
        }
        let is_tree = place.get("$ref").is_some();
        assert!(is_tree || place["description"].is_string(), "{field}: {place}");
        count += 1;
    }
    assert!(count > 80, "{count} rows are too few");
}

#[test]
fn every_example_is_valid() {
    let schema = schema();
    let mut count = 0;
    let mut files = examples();
    files.push("tests/fuzz/corpus/configuration/whole.json".to_owned());
    for file in files {
        for configuration in configurations_in(&read(&file)) {
            assert_eq!(errors(&schema, &configuration), Vec::<String>::new(), "{file}");
            count += 1;
        }
    }
    for (kind, text) in yaml_blocks(&read("README.md")) {
        for configuration in configurations_in(&text) {
            let errors = errors(&schema, &configuration);
            assert_eq!(errors.is_empty(), kind != "refused", "{text}: {errors:?}");
            count += 1;
        }
    }
    assert!(count > 15, "{count} examples are too few");
}

/// What the schema refuses, loading refuses too.
#[test]
fn mistakes_are_not_valid() {
    let schema = schema();
    let whole = json!({
        "providers": [{
            "name": "partner", "issuers": ["https://id.example"], "clock_skew": "5s",
            "sources": [{"cookie": {"name": "s"}}],
            "jwks": {"remote": {"uri": "https://id.example/", "cluster": "keys"}},
            "claim_headers": [{"header": "x-user-id", "claim": "sub"}],
        }],
        "rules": [{
            "match": {"methods": ["GET"], "path": {"prefix": "/admin"}},
            "require": {"all": [{"claim": "roles", "contains": "admin"}]},
        }],
        "cache": {"entries": 10, "bytes": "1MiB"},
        "telemetry": {"filter_state": ["sub"]},
    });
    assert_eq!(errors(&schema, &whole), Vec::<String>::new());
    config::load(whole.to_string().as_bytes()).unwrap();
    for (place, value) in [
        ("", json!([])),
        ("/providers", json!([])),
        ("/providers", json!(null)),
        ("/providers/0/nmae", json!("x")),
        ("/providers/0/name", json!(1)),
        ("/providers/0/preset", json!({})),
        ("/providers/0/preset", json!({"corbado": {}})),
        ("/providers/0/issuers", json!("https://id.example")),
        ("/providers/0/issuers", json!([""])),
        ("/providers/0/algorithms", json!(["HS256"])),
        ("/providers/0/clock_skew", json!(5)),
        ("/providers/0/clock_skew", json!("5")),
        ("/providers/0/clock_skew", json!("")),
        ("/providers/0/clock_skew", json!("5 s")),
        ("/providers/0/clock_skew", json!("5s1h")),
        ("/providers/0/max_token_bytes", json!(0)),
        ("/providers/0/max_token_bytes", json!(32_769)),
        ("/providers/0/max_token_bytes", json!(1.5)),
        ("/providers/0/sources/0", json!({})),
        ("/providers/0/sources/0/header", json!({"name": "authorization"})),
        ("/providers/0/jwks", json!("x")),
        ("/providers/0/jwks/inline", json!([])),
        ("/providers/0/jwks/remote", json!({"uri": "https://id.example/"})),
        ("/providers/0/jwks/remote/headers", json!({"a": 1})),
        ("/providers/0/claim_headers/0/claim", json!(1)),
        ("/providers/0/claim_headers/0/encoding", json!("xml")),
        ("/rules/0/acces", json!("public")),
        ("/rules/0/access", json!("Public")),
        ("/rules/0/match/path", json!({})),
        ("/rules/0/match/path/exact", json!("/")),
        ("/rules/0/match/methods", json!([])),
        ("/rules/0/require", json!({})),
        ("/rules/0/require/all", json!([])),
        ("/rules/0/require/all/0/equals", json!(1)),
        ("/rules/0/require/all/0", json!({"claim": "a"})),
        ("/rules/0/require/all/0", json!({"all": [{"claim": "a"}]})),
        ("/rules/0/require/all/0", json!({"claim": "a", "exists": "yes"})),
        ("/cache/entries", json!(1_000_001)),
        ("/cache/bytes", json!("1MB")),
        ("/telemetry/filter_state", json!(["user"])),
        ("/csrf", json!({"mode": "off"})),
        ("/paths", json!({"insecure_allow": ["//", "."]})),
    ] {
        let mut wrong = whole.clone();
        match place.rsplit_once('/') {
            None => wrong = value.clone(),
            Some((around, name)) => {
                let around = wrong.pointer_mut(around).unwrap();
                match name.parse::<usize>() {
                    Ok(index) => around[index] = value.clone(),
                    Err(_) => around[name] = value.clone(),
                }
            }
        }
        assert!(!errors(&schema, &wrong).is_empty(), "{place}: {value} is valid");
        let loaded = config::load(wrong.to_string().as_bytes());
        assert!(loaded.is_err(), "{place}: {value} loads");
    }
}

fn schema() -> Value {
    serde_json::from_str(&read(FILE)).unwrap()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// The filter's configurations in a file of one document or more.
fn configurations_in(text: &str) -> Vec<Value> {
    let is_comment = |line: &str| line.trim().is_empty() || line.starts_with('#');
    let documents = text.split("\n---\n").filter(|it| !it.lines().all(is_comment));
    let json = |document| Document::parse(document).unwrap().json().clone();
    documents.flat_map(|document| configurations(&json(document))).collect()
}

/// The filter's configurations in a document, wherever they stand.
fn configurations(value: &Value) -> Vec<Value> {
    let is_provider = |value: &Value| value["jwks"].is_object() && value["name"].is_string();
    match value {
        Value::Object(members)
            if value["providers"].as_array().is_some_and(|list| list.iter().any(is_provider)) =>
        {
            vec![Value::Object(members.clone())]
        }
        Value::Object(members) => members.values().flat_map(configurations).collect(),
        Value::Array(elements) => elements.iter().flat_map(configurations).collect(),
        Value::String(text) if text.trim_start().starts_with('{') => serde_json::from_str(text)
            .map(|inner: Value| configurations(&inner))
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn errors(schema: &Value, value: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    Validator { root: schema, errors: &mut errors }.validate(schema, value, "");
    errors
}

struct Validator<'a> {
    root: &'a Value,
    errors: &'a mut Vec<String>,
}

impl Validator<'_> {
    fn validate(&mut self, schema: &Value, value: &Value, path: &str) {
        let Value::Object(words) = schema else {
            self.expect(*schema == json!(true), path, "is not allowed");
            return;
        };
        for (word, wanted) in words {
            self.apply(word, wanted, words, value, path);
        }
    }

    fn apply(
        &mut self,
        word: &str,
        wanted: &Value,
        words: &Map<String, Value>,
        value: &Value,
        path: &str,
    ) {
        let length = |value: &Value| value.as_str().map(|text| text.chars().count() as u64);
        let holds = match word {
            "$schema" | "title" | "description" | "default" | "definitions" => true,
            "type" => match wanted {
                Value::Array(types) => types.iter().any(|name| is_of_type(value, name)),
                name => is_of_type(value, name),
            },
            "enum" => wanted.as_array().unwrap().contains(value),
            "pattern" => {
                let pattern = Regex::new(wanted.as_str().unwrap()).unwrap();
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            "minLength" => length(value).is_none_or(|length| length >= wanted.as_u64().unwrap()),
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
            "minItems" => {
                value.as_array().is_none_or(|list| list.len() as u64 >= wanted.as_u64().unwrap())
            }
            "required" => wanted.as_array().unwrap().iter().all(|name| {
                value.as_object().is_none_or(|members| members.contains_key(name.as_str().unwrap()))
            }),
            "items" => {
                for (index, element) in value.as_array().into_iter().flatten().enumerate() {
                    self.validate(wanted, element, &format!("{path}/{index}"));
                }
                true
            }
            "properties" => {
                for (name, schema) in wanted.as_object().unwrap() {
                    if let Some(member) = value.get(name) {
                        self.validate(schema, member, &format!("{path}/{name}"));
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = words.get("properties").and_then(Value::as_object);
                for (name, member) in value.as_object().into_iter().flatten() {
                    if !known.is_some_and(|known| known.contains_key(name)) {
                        self.validate(wanted, member, &format!("{path}/{name}"));
                    }
                }
                true
            }
            "oneOf" => {
                let alternatives = wanted.as_array().unwrap().iter();
                alternatives.filter(|schema| self.is_valid(schema, value)).count() == 1
            }
            "allOf" => wanted.as_array().unwrap().iter().all(|schema| self.is_valid(schema, value)),
            "not" => !self.is_valid(wanted, value),
            "$ref" => {
                let place = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                self.is_valid(self.root.pointer(place).unwrap(), value)
            }
            word => panic!("the validator does not know {word}"),
        };
        self.expect(holds, path, word);
    }

    fn is_valid(&self, schema: &Value, value: &Value) -> bool {
        let mut errors = Vec::new();
        Validator { root: self.root, errors: &mut errors }.validate(schema, value, "");
        errors.is_empty()
    }

    fn expect(&mut self, holds: bool, path: &str, what: &str) {
        if !holds {
            self.errors.push(format!("{path}: {what}"));
        }
    }
}

fn is_of_type(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        name => panic!("the validator does not know the type {name}"),
    }
}
