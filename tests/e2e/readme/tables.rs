//! The README's tables against the code: fields, reasons, metrics.
//!
//! Which fields there are, the configuration's own reader says: an unknown field is an error that
//! lists the known ones.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};
use session_token_filter::config;
use session_token_filter::denial::{Cause, Denial};
use session_token_filter::policy::Policy;
use session_token_filter::reason::Reason;
use session_token_filter::request::RequestHead;
use session_token_filter::stats::{MetricKind, Stats};
use session_token_harness::bootstrap::Document;

/// The table has every field that can be set, and no other.
pub(super) fn check_fields(readme: &str) {
    let mut fields = KnownFields::default();
    fields.walk("", &known_members("").unwrap());
    assert!(fields.leaves.len() > 30, "the walk finds nothing: {:?}", fields.leaves);
    let listed = rows(readme, "field").into_iter().map(|row| code(&row[0]));
    let listed: BTreeSet<_> = listed.collect();
    let missing: Vec<_> = fields.leaves.difference(&listed).collect();
    assert!(missing.is_empty(), "fields that the README does not have: {missing:?}");
    let unknown: Vec<_> = listed.difference(&fields.all).collect();
    assert!(unknown.is_empty(), "fields that only the README has: {unknown:?}");
}

/// What the table says of defaults, choices and bounds is what loading says.
pub(super) fn check_values(readme: &str) {
    let (mut defaults, mut choices, mut bounds) = (0, 0, 0);
    for row in rows(readme, "field") {
        let [field, kind, default, limits, _] = <[String; 5]>::try_from(row).unwrap();
        let field = code(&field);
        assert_eq!(default.starts_with("required"), is_required(&field), "{field} is required?");
        if let Some(default) = only_code(&default) {
            let without = base(&field);
            assert_eq!(policy(&with(&without, &field, yaml(default))), policy(&without), "{field}");
            defaults += 1;
        }
        if kind.starts_with('`') {
            let listed = kind.split(", ").map(code).collect::<Vec<_>>().join(", ");
            let expected = format!("{}: \"@\" must be one of {listed}", first(&field));
            assert_eq!(errors(&with(&base(&field), &field, json!("@"))), [expected]);
            choices += 1;
        }
        if let Some((least, most)) = limits.split_once("` to `") {
            let (least, most) = (format!("{least}`"), format!("`{most}"));
            check_bounds(&field, &code(&least), &code(&most));
            bounds += 1;
        }
    }
    assert!(defaults > 20 && choices >= 5 && bounds > 5, "{defaults} {choices} {bounds}");
}

/// The table has every reason in order, with its status.
pub(super) fn check_reasons(readme: &str) {
    let Policy { responses, .. } = config::load(base("").to_string().as_bytes()).unwrap().policy;
    let head = RequestHead::new(Vec::new(), false);
    let real = Reason::ALL.map(|reason| {
        let retry_after = Duration::ZERO;
        let cause = Cause { reason, retry_after, shortfall: None, vendor: None };
        let denial = Denial::new(&cause, &head, &responses);
        (reason.to_string(), denial.status.to_string())
    });
    let listed: Vec<_> =
        rows(readme, "reason").into_iter().map(|row| (code(&row[0]), row[1].clone())).collect();
    assert_eq!(listed, real);
}

/// The table has every metric, with its kind.
pub(super) fn check_metrics(readme: &str) {
    let policy = config::load(base("").to_string().as_bytes()).unwrap().policy;
    let provider = policy.providers[0].name.to_string();
    let kind = |kind| match kind {
        MetricKind::Counter => "counter".to_owned(),
        MetricKind::Gauge => "gauge".to_owned(),
    };
    let stats = Stats::new(&policy);
    let real: BTreeSet<_> = stats
        .definitions()
        .iter()
        .map(|metric| (format!("wasmcustom.{}", metric.name), kind(metric.kind)))
        .collect();
    let listed: BTreeSet<_> = rows(readme, "metric")
        .into_iter()
        .flat_map(|row| {
            let (name, kind) = (code(&row[0]).replace("<provider>", &provider), row[1].clone());
            let names = match name.strip_suffix("<reason>") {
                Some(start) => Reason::ALL.map(|reason| format!("{start}{reason}")).to_vec(),
                None => vec![name],
            };
            names.into_iter().map(move |name| (name, kind.clone()))
        })
        .collect();
    assert_eq!(listed, real);
}

/// What can be written, as the table writes it: `rules[].match.hosts`.
#[derive(Default)]
struct KnownFields {
    all: BTreeSet<String>,
    /// Those that hold a value, not further fields.
    leaves: BTreeSet<String>,
}

impl KnownFields {
    fn walk(&mut self, parent: &str, members: &[String]) {
        for member in members {
            let field =
                if parent.is_empty() { member.clone() } else { format!("{parent}.{member}") };
            self.all.insert(field.clone());
            let element = format!("{field}[]");
            // What has the same members as the object around it is a tree: one level says all.
            let inner = |field: &str| known_members(field).filter(|inner| inner != members);
            if let Some(members) = inner(&field) {
                self.walk(&field, &members);
            } else if let Some(members) = inner(&element) {
                self.walk(&element, &members);
            } else {
                self.leaves.insert(field);
            }
        }
    }
}

/// The members that the object at `field` may have; nothing if no such object is read there.
fn known_members(field: &str) -> Option<Vec<String>> {
    let start = format!("{}[\"@\"]: unknown field; known here: ", first(field));
    let configuration = with(&json!({}), field, json!({"@": 0}));
    errors(&configuration).into_iter().find_map(|error| {
        let known = error.strip_prefix(&start)?;
        Some(known.split(", ").map(str::to_owned).collect())
    })
}

/// Whether the object that should have the field is refused without it.
fn is_required(field: &str) -> bool {
    let Some((parent, _)) = field.rsplit_once('.') else {
        return errors(&json!({})).iter().any(|it| it.starts_with(&format!("{field}: is missing")));
    };
    let configuration = with(&json!({}), parent, json!({}));
    let missing = format!("{}: is missing", first(field));
    errors(&configuration).iter().any(|error| error.starts_with(&missing))
}

/// Both bounds are taken, what lies beyond them is not.
fn check_bounds(field: &str, least: &str, most: &str) {
    let base = base(field);
    for inside in [least, most] {
        policy(&with(&base, field, yaml(inside)));
    }
    for beyond in [stepped(least, -1), Some(stepped(most, 1).unwrap())].into_iter().flatten() {
        let errors = errors(&with(&base, field, yaml(&beyond)));
        assert!(
            matches!(errors.as_slice(), [one] if one.starts_with(&format!("{}: ", first(field)))),
            "{field}: {beyond}: {errors:?}"
        );
    }
}

/// The next value in the smallest step of its unit: `1s` and -1 are `999ms`.
fn stepped(value: &str, step: i64) -> Option<String> {
    let digits = value.trim_end_matches(|char: char| !char.is_ascii_digit());
    let (number, unit) = (digits.parse::<i64>().unwrap(), &value[digits.len()..]);
    let (factor, unit) = match unit {
        "h" => (3_600_000, "ms"),
        "m" => (60_000, "ms"),
        "s" => (1_000, "ms"),
        "MiB" => (1_024, "KiB"),
        unit => (1, unit),
    };
    let stepped = number * factor + step;
    (stepped >= 0).then(|| format!("{stepped}{unit}"))
}

/// A configuration that loads, in which `field` can be set.
fn base(field: &str) -> Value {
    let mut provider = json!({
        "name": "partner",
        "issuers": ["https://id.partner.example"],
        "jwks": {"remote": {"uri": "https://id.partner.example/jwks", "cluster": "keys"}},
    });
    if field.contains(".preset.supertokens.") {
        provider = json!({
            "name": "partner",
            "preset": {"supertokens": {"api_domain": "https://api.example.com"}},
            "jwks": {"remote": {"cluster": "keys"}},
        });
    }
    if field.contains("claim_headers[]") {
        provider["claim_headers"] = json!([{"header": "x-user-id", "claim": "sub"}]);
    }
    let mut base = json!({"providers": [provider]});
    if field.contains("share_domain[]") {
        base["cookies"] = json!({"share_domain": [{"name": "session", "domain": "a.example"}]});
    }
    base
}

/// `configuration` with `field` set, and whatever must be around it.
fn with(configuration: &Value, field: &str, value: Value) -> Value {
    let mut configuration = configuration.clone();
    let mut place = &mut configuration;
    for member in field.split('.').filter(|member| !member.is_empty()) {
        let (member, is_list) = match member.strip_suffix("[]") {
            Some(member) => (member, true),
            None => (member, false),
        };
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[member];
        if is_list {
            if !place.is_array() {
                *place = json!([null]);
            }
            place = &mut place[0];
        }
    }
    *place = value;
    configuration
}

/// A field's place in the first element of each list.
fn first(field: &str) -> String {
    field.replace("[]", "[0]")
}

fn errors(configuration: &Value) -> Vec<String> {
    match config::load(configuration.to_string().as_bytes()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// Everything that requests are decided by.
fn policy(configuration: &Value) -> String {
    match config::load(configuration.to_string().as_bytes()) {
        Ok(loaded) => format!("{:#?}", loaded.policy),
        Err(errors) => panic!("{configuration}: {errors:?}"),
    }
}

fn yaml(text: &str) -> Value {
    Document::parse(text).unwrap().json().clone()
}

/// The rows of all tables whose first column is called `first`, as cells.
fn rows(readme: &str, first: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if !line.starts_with('|') {
            inside = false;
            continue;
        }
        let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        let cells: Vec<_> = cells.collect();
        if cells[0] == first {
            inside = true;
        } else if inside && !cells[0].starts_with("---") {
            rows.push(cells);
        }
    }
    assert!(!rows.is_empty(), "README.md has no table of {first}");
    rows
}

/// What stands between the backticks of a cell that is one code span.
fn code(cell: &str) -> String {
    only_code(cell).unwrap_or_else(|| panic!("{cell:?} is no code span")).to_owned()
}

fn only_code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`').filter(|inner| !inner.contains('`'))
}
