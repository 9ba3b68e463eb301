//! What Prometheus sees of the filter, with the README's `stats_tags`: labels, the dashboard's
//! queries and the alerts', each name and label of them held against a real Envoy's output.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use libtest_mimic::Trial;
use promql_parser::label::MatchOp;
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use serde_json::{Value, json};
use session_token_filter::config;
use session_token_filter::reason::Reason;
use session_token_filter::stats::Stats;
use session_token_harness::bootstrap::Document;
use session_token_harness::workspace;

use crate::readme::{named, start, with_plugin};
use crate::trial;
use crate::world::World;

/// All tests, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "prometheus::labels", labels),
        trial(world, "prometheus::dashboard", dashboard),
        trial(world, "prometheus::alerts", alerts),
    ]
}

/// Every metric is there under its name without its label, and with its label.
fn labels(world: &World) {
    let shown = Shown::by_envoy(world);
    let mut labelled = 0;
    for (metric, label) in definitions() {
        let sample = match &label {
            Some((name, value)) => format!("{metric}{{{name}=\"{value}\"}} "),
            None => format!("{metric}{{}} "),
        };
        labelled += usize::from(label.is_some());
        assert!(shown.text.contains(&format!("\n{sample}")), "{sample} is not in\n{}", shown.text);
    }
    assert_eq!(labelled, 2 * Reason::ALL.len() + 4, "denied, would_deny, and four of a provider");
    let names: BTreeSet<_> = definitions().into_iter().map(|(metric, _)| metric).collect();
    let others: Vec<_> = shown.metrics.keys().filter(|name| !names.contains(*name)).collect();
    assert!(others.is_empty(), "a label is left in a name: {others:?}");
}

/// It can be imported, its queries ask for what there is, and for everything that there is.
fn dashboard(world: &World) {
    let text = fs::read_to_string(workspace::root().join("envoy/grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    check_frame(&dashboard);
    let shown = Shown::by_envoy(world);
    let mut used = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        let mut ids = BTreeSet::new();
        for target in panel["targets"].as_array().unwrap() {
            assert!(
                ids.insert(target["refId"].as_str().unwrap()),
                "{title}: two queries, one name"
            );
            let query = target["expr"].as_str().unwrap();
            let query =
                query.replace("$__rate_interval", "5m").replace("$instance", "10.0.0.1:9901");
            let labels = shown.check(&query, &mut used);
            let legend = target["legendFormat"].as_str().unwrap();
            let told: BTreeSet<_> = legend
                .split("{{")
                .skip(1)
                .filter_map(|rest| Some(rest.split_once("}}")?.0.to_owned()))
                .collect();
            assert_eq!(told, labels, "{title}: {legend} does not tell its lines apart");
            assert!(!legend.is_empty(), "{title}");
        }
    }
    let variable = &dashboard["templating"]["list"][0];
    assert_eq!(variable["query"], "label_values(session_token_allowed, instance)");
    let all: BTreeSet<_> = definitions().into_iter().map(|(metric, _)| metric).collect();
    let missing: Vec<_> = all.difference(&used).collect();
    assert!(missing.is_empty(), "metrics that the dashboard does not show: {missing:?}");
}

fn alerts(world: &World) {
    let text = fs::read_to_string(workspace::root().join("envoy/prometheus-alerts.yaml")).unwrap();
    let document = Document::parse(&text).unwrap().json().clone();
    let rules = document["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 5);
    let shown = Shown::by_envoy(world);
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        let labels = shown.check(rule["expr"].as_str().unwrap(), &mut BTreeSet::new());
        let summary = rule["annotations"]["summary"].as_str().unwrap();
        for told in summary.split("$labels.").skip(1) {
            let told = told.split(' ').next().unwrap();
            assert!(labels.contains(told), "{name}: its query has no {told}");
        }
        assert!(rule["labels"]["severity"].is_string(), "{name}");
    }
}

/// What Grafana needs to import it anywhere, and panels that don't overlap.
fn check_frame(dashboard: &Value) {
    let input = &dashboard["__inputs"][0];
    let (name, kind) = (&input["name"], (&input["type"], &input["pluginId"]));
    assert_eq!(
        (name, kind),
        (&json!("DS_PROMETHEUS"), (&json!("datasource"), &json!("prometheus")))
    );
    for member in ["uid", "title", "schemaVersion"] {
        assert!(!dashboard[member].is_null(), "{member}");
    }
    let panels = dashboard["panels"].as_array().unwrap();
    let required = dashboard["__requires"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: two panels, one id");
        let source = json!({"type": "prometheus", "uid": "${DS_PROMETHEUS}"});
        assert_eq!(panel["datasource"], source, "{title}");
        assert!(required.iter().any(|one| one["id"] == panel["type"]), "{title}: its kind");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
        assert!(["reqps", "ops", "percentunit", "short", "s"].contains(&unit), "{title}: {unit}");
        let [x, y, width, height] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + width <= 24, "{title}: wider than the grid");
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{title} overlaps another panel");
        }
    }
}

/// A metric as a query finds it.
struct Metric {
    is_counter: bool,
    labels: BTreeSet<String>,
}

/// The filter's part of Prometheus' output.
struct Shown {
    text: String,
    metrics: BTreeMap<String, Metric>,
}

impl Shown {
    /// By an Envoy with the README's part of the bootstrap.
    fn by_envoy(world: &World) -> Self {
        let mut bootstrap = with_plugin(configuration());
        for (name, value) in named("stats_tags").yaml().as_object().into_iter().flatten() {
            bootstrap[name] = value.clone();
        }
        let envoy = start(world, bootstrap).unwrap();
        let text = envoy.admin_get("/stats/prometheus").unwrap().text();
        world.retire(envoy);
        let mut metrics = BTreeMap::new();
        for line in text.lines() {
            if let Some((metric, kind)) =
                line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
                && metric.starts_with("session_token_")
            {
                let (is_counter, labels) = (kind == "counter", BTreeSet::new());
                metrics.insert(metric.to_owned(), Metric { is_counter, labels });
            } else if let Some((metric, rest)) = line.split_once('{')
                && let Some(metric) = metrics.get_mut(metric)
            {
                let (labels, _) = rest.split_once('}').unwrap();
                let names = labels.split("\",").filter_map(|label| label.split_once('='));
                metric.labels.extend(names.map(|(name, _)| name.to_owned()));
            }
        }
        Self { text, metrics }
    }

    /// Fails unless all that `query` asks for is there; the labels of its answer.
    fn check(&self, query: &str, used: &mut BTreeSet<String>) -> BTreeSet<String> {
        let parsed = parser::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        self.labels_of(&parsed, false, used).unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// `rated` says whether a counter is wanted here: its value alone tells nothing.
    fn labels_of(
        &self,
        query: &Expr,
        rated: bool,
        used: &mut BTreeSet<String>,
    ) -> Result<BTreeSet<String>, String> {
        match query {
            Expr::VectorSelector(selector) => self.labels_of_metric(selector, rated, used),
            Expr::MatrixSelector(matrix) => self.labels_of_metric(&matrix.vs, rated, used),
            Expr::Paren(inner) => self.labels_of(&inner.expr, rated, used),
            Expr::NumberLiteral(_) => Ok(BTreeSet::new()),
            Expr::Binary(binary) => {
                let labels = self.labels_of(&binary.lhs, rated, used)?;
                let other = self.labels_of(&binary.rhs, rated, used)?;
                let is_number = matches!(*binary.rhs, Expr::NumberLiteral(_));
                let is_matched = binary.is_matching_on() || is_number || labels == other;
                let error = || format!("{labels:?} never equals {other:?}");
                if is_matched { Ok(labels) } else { Err(error()) }
            }
            Expr::Aggregate(aggregate) => {
                let inner = self.labels_of(&aggregate.expr, rated, used)?;
                match &aggregate.modifier {
                    None => Ok(BTreeSet::new()),
                    Some(LabelModifier::Exclude(_)) => Err("`without` is not known here".into()),
                    Some(LabelModifier::Include(by)) => {
                        let by: BTreeSet<_> = by.labels.iter().cloned().collect();
                        let unknown: Vec<_> = by.difference(&inner).collect();
                        if unknown.is_empty() { Ok(by) } else { Err(format!("no {unknown:?}")) }
                    }
                }
            }
            Expr::Call(call) => {
                let rated = match call.func.name {
                    "rate" | "increase" => true,
                    "min_over_time" => false,
                    other => return Err(format!("{other} is not known here")),
                };
                self.labels_of(call.args.args.first().ok_or("no argument")?, rated, used)
            }
            other => Err(format!("{other} is not known here")),
        }
    }

    fn labels_of_metric(
        &self,
        selector: &VectorSelector,
        rated: bool,
        used: &mut BTreeSet<String>,
    ) -> Result<BTreeSet<String>, String> {
        let name = selector.name.as_deref().ok_or("a metric without a name")?;
        let metric = self.metrics.get(name).ok_or_else(|| format!("there is no {name}"))?;
        if metric.is_counter != rated {
            return Err(format!("{name} is a counter: {}", metric.is_counter));
        }
        let mut labels = metric.labels.clone();
        // What Prometheus adds for each target.
        labels.extend(["instance", "job"].map(str::to_owned));
        for matcher in &selector.matchers.matchers {
            if !labels.contains(&matcher.name) {
                return Err(format!("{name} has no {}", matcher.name));
            }
            let sample = format!("{}=\"{}\"", matcher.name, matcher.value);
            let start = format!("\n{name}{{");
            let mut samples = self.text.split(&*start).skip(1);
            if matcher.op == MatchOp::Equal && !samples.any(|rest| rest.starts_with(&sample)) {
                return Err(format!("no {name} has {sample}"));
            }
        }
        used.insert(name.to_owned());
        Ok(labels)
    }
}

/// Every metric as Prometheus should show it, with the label that it should have.
fn definitions() -> Vec<(String, Option<(&'static str, String)>)> {
    let policy = config::load(configuration().to_string().as_bytes()).unwrap().policy;
    let stats = Stats::new(&policy);
    let metrics = stats.definitions().iter().map(|metric| {
        let name = metric.name.strip_prefix("session_token.").unwrap();
        let (name, label) = match name.split_once('.') {
            None => (name, None),
            Some((name, provider)) if provider == PROVIDER => (name, Some(("provider", provider))),
            Some((name, reason)) => (name, Some(("reason", reason))),
        };
        let label = label.map(|(label, value)| (label, value.to_owned()));
        (format!("session_token_{name}"), label)
    });
    metrics.collect()
}

fn configuration() -> Value {
    json!({"providers": [{
        "name": PROVIDER, "preset": {"corbado": {"project_id": "pro-1234567890"}},
        "jwks": {"remote": {"cluster": "corbado"}}
    }]})
}

/// With the characters that a name may have, so that none ends a label early.
const PROVIDER: &str = "corbado-eu_1";
