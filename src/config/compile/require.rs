//! Claim rules: what may be asked of a claim so that it can ever hold.

use std::time::Duration;

use serde_json::Value;

use super::rule::ProviderNames;
use super::{all, duration};
use crate::authorize::{ClaimTest, Demands, MaxAuthAge, Requirement};
use crate::claim_headers::ClaimPath;
use crate::config::error::Place;
use crate::config::raw::{self, Require, Test};
use crate::config::reader::{Field, Node};
use crate::config::units::MAX_DURATION;
use crate::kept_claims::ClaimPaths;
use crate::policy::Access;
use crate::provider::ProviderId;

/// `require` and `max_auth_age` of one rule.
pub(super) struct Raw<'a> {
    pub(super) place: Place<'a>,
    pub(super) require: Field<Require<'a>>,
    pub(super) max_auth_age: Field<raw::Text<'a>>,
}

/// What a rule with this `access` (nothing: it can't be told) asks of its `providers`' tokens.
pub(super) fn compile(
    raw: Raw<'_>,
    access: Option<Access>,
    providers: Option<&[ProviderId]>,
    names: &ProviderNames,
    kept: &mut ClaimPaths,
) -> Option<Demands> {
    let Raw { place, require, max_auth_age } = raw;
    let who_skips = access.and_then(|access| match access {
        Access::Required => None,
        Access::Optional => Some("on an optional one an anonymous caller would skip it"),
        Access::Public => Some("a public one looks at no token"),
        Access::Denied => Some("a denied one looks at no token"),
    });
    let fields = [
        ("require", matches!(require, Field::Absent)),
        ("max_auth_age", matches!(max_auth_age, Field::Absent)),
    ];
    if let Some(why) = who_skips {
        for (field, _) in fields.iter().filter(|(_, is_absent)| !is_absent) {
            place.member(field).error(format!("is for required rules only: {why}"));
        }
    }
    let require = require.read_or(None, |require| requirement(require, kept).map(Some));
    let max_auth_age = match max_auth_age {
        Field::Absent => Some(None),
        Field::Bad => None,
        given @ Field::Given(_) => {
            let limit = duration(given, MAX_DURATION, Duration::from_secs(1), MAX_DURATION);
            let place = place.member("max_auth_age");
            let claims = providers.and_then(|providers| {
                all(providers.iter().map(|id| {
                    let path = names.auth_time_claim(*id, &place)?;
                    Some((*id, kept.keep(path)))
                }))
            });
            Some(Some(MaxAuthAge { limit: limit?, claims: claims? }))
        }
    };
    Some(Demands { max_auth_age: max_auth_age?, require: require? })
}

fn requirement(raw: Require<'_>, kept: &mut ClaimPaths) -> Option<Requirement> {
    let mut parts =
        |parts: Vec<Require<'_>>| all(parts.into_iter().map(|part| requirement(part, kept)));
    match raw {
        Require::All(raw) => parts(raw.value).map(Requirement::All),
        Require::Any(raw) => parts(raw.value).map(Requirement::Any),
        Require::Not(raw) => Some(Requirement::Not(Box::new(requirement(*raw, kept)?))),
        Require::Leaf { claim, test } => {
            let test = claim_test(test);
            let claim = kept.keep(&claim_path(claim));
            Some(Requirement::Claim(claim, test?))
        }
    }
}

/// The path of a claim whose names were read.
pub(super) fn claim_path(names: raw::ClaimNames<'_>) -> ClaimPath {
    ClaimPath::new(names.value.into_iter().map(|name| name.value))
}

fn claim_test(raw: Test<'_>) -> Option<ClaimTest> {
    let values = |nodes: Vec<Node<'_>>| all(nodes.iter().map(value));
    let needles = |nodes: Vec<Node<'_>>| all(nodes.iter().map(needle));
    match raw {
        Test::Equals(node) => value(&node).map(ClaimTest::Equals),
        Test::OneOf(nodes) => values(nodes.value).map(ClaimTest::OneOf),
        Test::Contains(node) => needle(&node).map(ClaimTest::Contains),
        Test::ContainsAll(nodes) => needles(nodes.value).map(ClaimTest::ContainsAll),
        Test::Exists(expected) => Some(ClaimTest::Exists(expected)),
    }
}

/// Anything but `null`, which is the same as a missing claim.
fn value(node: &Node<'_>) -> Option<Value> {
    if node.value.is_null() {
        node.place.error("null is the same as a missing claim: write exists: false");
        return None;
    }
    warn_of_rounding(node);
    Some(node.value.clone())
}

/// Manifests are read by programs that keep numbers as doubles: another number than was written may
/// be asked for, and somebody else be let in.
fn warn_of_rounding(node: &Node<'_>) {
    if node.value.as_f64().is_some_and(|number| number.abs() > LARGEST_EXACT) {
        node.place.warning(
            "numbers beyond 2^53 are rounded by Istio, Envoy Gateway and Struct: \
             have the issuer write a string, and compare that",
        );
    }
}

/// 2^53 - 1: no other whole number becomes the same double.
const LARGEST_EXACT: f64 = 9_007_199_254_740_991.0;

/// What can be a member of an array and, if it is a text, a word as well.
fn needle(node: &Node<'_>) -> Option<Value> {
    match node.value {
        Value::String(text) if text.is_empty() || text.contains(char::is_whitespace) => {
            node.place.error(format!(
                "{text:?} must be one word without spaces; contains_all takes several"
            ));
            None
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) => {
            warn_of_rounding(node);
            Some(node.value.clone())
        }
        Value::Null | Value::Array(_) | Value::Object(_) => {
            node.place.error("must be a string, a number or a flag");
            None
        }
    }
}
