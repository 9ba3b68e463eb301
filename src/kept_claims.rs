//! The claims of a token that rules ask about: all that is kept of its payload.
//!
//! A configuration names them at load; each has its place in a list, and a token keeps their values
//! in the same order. A `null` is the same as nothing.

use std::borrow::Cow;

use serde_json::Value;

use crate::claim_headers::ClaimPath;
use crate::json::object::Object;

/// The claims that a configuration's rules ask about, in an order of its own.
#[derive(Debug, Default)]
pub struct ClaimPaths(Vec<ClaimPath>);

impl ClaimPaths {
    /// The claim at `path`, kept from now on.
    pub fn keep(&mut self, path: &ClaimPath) -> NamedClaim {
        let known = self.0.iter().position(|other| other == path);
        let index = known.unwrap_or(self.0.len());
        if known.is_none() {
            self.0.push(path.clone());
        }
        let is_scope = *path == ClaimPath::new(["scope"]);
        NamedClaim { name: path.first().unwrap_or_default().into(), is_scope, index }
    }

    /// What a token's payload says of each.
    pub fn read(&self, payload: &Object) -> KeptClaims {
        let value = |path: &ClaimPath| {
            path.find(payload).filter(|value| !value.is_null()).map(Cow::into_owned)
        };
        KeptClaims(self.0.iter().map(value).collect())
    }
}

/// What one token says of the claims that rules ask about; `null` is nothing.
#[derive(Clone, Debug, Default)]
pub struct KeptClaims(Box<[Option<Value>]>);

impl KeptClaims {
    /// About how many bytes of memory they take, without the value itself.
    pub fn memory(&self) -> usize {
        let inner = self.0.iter().flatten().map(inner_memory).fold(0, usize::saturating_add);
        size_of_val(&*self.0).saturating_add(inner)
    }

    /// What it says of `claim`, unless `null`.
    pub fn value(&self, claim: &NamedClaim) -> Option<&Value> {
        self.0.get(claim.index)?.as_ref()
    }
}

/// A claim that a rule asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedClaim {
    /// The first name on its path.
    pub name: Box<str>,
    /// Whether it is `scope` itself (RFC 8693, section 4.2).
    pub is_scope: bool,
    index: usize,
}

/// What a value takes beyond its own size. A map's nodes are counted as their members alone.
fn inner_memory(value: &Value) -> usize {
    let each = |value: &Value| inner_memory(value).saturating_add(size_of::<Value>());
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(members) => members.iter().map(each).fold(0, usize::saturating_add),
        Value::Object(members) => members.iter().fold(0, |sum: usize, (name, value)| {
            let name = size_of::<String>().saturating_add(name.len());
            sum.saturating_add(name).saturating_add(each(value))
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_is_kept_once_and_found_by_its_path() {
        let mut paths = ClaimPaths::default();
        let sub = paths.keep(&ClaimPath::new(["sub"]));
        let plan = paths.keep(&ClaimPath::new(["app", "plan"]));
        let scope = paths.keep(&ClaimPath::new(["scope"]));
        let inner = paths.keep(&ClaimPath::new(["app", "scope"]));
        assert_eq!(paths.keep(&ClaimPath::new(["sub"])), sub);
        assert_eq!((&*sub.name, &*plan.name), ("sub", "app"));
        assert_eq!(
            [&sub, &plan, &scope, &inner].map(|it| it.is_scope),
            [false, false, true, false]
        );
        let kept = paths.read(&json!({ "sub": "u", "app": { "plan": null }, "scope": 0 }).into());
        assert_eq!(kept.value(&sub), Some(&json!("u")));
        assert_eq!(kept.value(&plan), None, "null");
        assert_eq!(kept.value(&scope), Some(&json!(0)));
        assert_eq!(kept.value(&inner), None, "missing");
        assert_eq!(paths.read(&json!({ "app": "x" }).into()).value(&plan), None);
    }

    #[test]
    fn memory_grows_with_what_is_kept() {
        let mut paths = ClaimPaths::default();
        assert_eq!(paths.read(&json!({ "a": "x" }).into()).memory(), 0);
        paths.keep(&ClaimPath::new(["a"]));
        let memory = |value: Value| paths.read(&json!({ "a": value }).into()).memory();
        let nothing = memory(Value::Null);
        assert_eq!(memory(json!(1)), nothing, "it has its place");
        let long = "x".repeat(1_000);
        let text = memory(json!(long));
        assert!(text >= nothing + 1_000);
        assert!(memory(json!([long, 1])) >= text + 2 * size_of::<Value>());
        assert!(memory(json!({ "name": [long] })) >= text + size_of::<Value>());
        assert!(memory(json!({ long: 1 })) >= text);
    }
}
