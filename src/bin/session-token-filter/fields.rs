//! Which fields the configuration has: the core is asked, so that no list can be out of date.
//!
//! An unknown field is an error that lists the known ones.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use session_token_filter::config;

/// Whether the configuration may have this member at its top.
pub(crate) fn is_root(name: &str) -> bool {
    static ROOT: LazyLock<Vec<String>> = LazyLock::new(|| known_members("").unwrap_or_default());
    ROOT.iter().any(|own| own == name)
}

/// The members that the object at `field` may have; nothing if no object is read there. A field is
/// written as in the README: `rules[].match.hosts`.
pub(crate) fn known_members(field: &str) -> Option<Vec<String>> {
    let start = format!("{}[\"@\"]: unknown field; known here: ", first(field));
    errors(&with(field, json!({ "@": 0 }))).into_iter().find_map(|error| {
        let known = error.strip_prefix(&start)?;
        Some(known.split(", ").map(str::to_owned).collect())
    })
}

/// What loading says of `value` at `field` itself, without the path.
pub(crate) fn errors_at(field: &str, value: Value) -> Vec<String> {
    let start = format!("{}: ", first(field));
    let errors = errors(&with(field, value)).into_iter();
    errors.filter_map(|error| error.strip_prefix(&start).map(str::to_owned)).collect()
}

/// A configuration in which only `field` is set, with whatever must be around it.
pub(crate) fn with(field: &str, value: Value) -> Value {
    let mut configuration = json!({});
    let mut place = &mut configuration;
    for member in field.split('.').filter(|member| !member.is_empty()) {
        let name = member.trim_end_matches("[]");
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(members) = place else { break };
        place = members.entry(name).or_insert(Value::Null);
        for _ in 0..member.matches("[]").count() {
            *place = json!([null]);
            let Some(element) = place.get_mut(0) else { return Value::Null };
            place = element;
        }
    }
    *place = value;
    configuration
}

/// A field's place in the first element of each list.
fn first(field: &str) -> String {
    field.replace("[]", "[0]")
}

pub(crate) fn errors(configuration: &Value) -> Vec<String> {
    match config::load(configuration.to_string().as_bytes()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}
