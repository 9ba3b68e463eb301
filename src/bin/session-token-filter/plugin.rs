//! Where a configuration of the filter stands in a file, whatever is wrapped around it.
//!
//! A Wasm plugin is ours if any holds:
//! 1. its configuration has a member of ours (`providers`, `rules`, …),
//! 2. its name or its code's address says `session_token` or `session-token`,
//! 3. it is the only plugin in the file.
//!
//! Caveat: what a template makes, or another file holds, is not seen.

use session_token_filter::config;
use session_token_filter::json;

use crate::finding::{At, Findings, nearest};
use crate::yaml::{Node, Spot, Yaml, nearest_place, parse};
use crate::{envoy, fields, kubernetes};

/// A Wasm plugin in a file.
#[derive(Debug)]
pub(crate) struct Plugin<'n> {
    /// `WasmPlugin session`, for people.
    pub(crate) title: String,
    /// Where it begins.
    pub(crate) spot: Spot,
    /// Nothing if there is none.
    pub(crate) config: Option<Config<'n>>,
    /// What its name and its code's address say.
    pub(crate) names: Vec<&'n str>,
    /// Which clusters it can reach.
    pub(crate) clusters: Clusters<'n>,
    /// What is wrong with what is wrapped around the configuration.
    pub(crate) findings: Findings,
}

/// Which clusters a plugin can send requests to.
#[derive(Clone, Debug)]
pub(crate) enum Clusters<'n> {
    /// Nobody knows here.
    Unknown,
    /// These, and no other.
    Static(Vec<&'n Node>),
    /// Istio's: `outbound|443||id.example.com`; what else is in the file.
    Istio(&'n [Node]),
    /// Envoy Gateway's: `httproute/default/jwks/rule/0`; what else is in the file.
    Gateway(&'n [Node]),
}

/// A configuration as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Config<'n> {
    /// As YAML or JSON. `keeps_null` says whether the filter gets to see members that are `null`.
    Tree { node: &'n Node, keeps_null: bool },
    /// As a text with JSON in it.
    Text(&'n Node),
}

/// Everything in a file that concerns the filter.
#[derive(Debug, Default)]
pub(crate) struct Scan<'n> {
    pub(crate) plugins: Vec<Plugin<'n>>,
    /// What concerns no plugin.
    pub(crate) findings: Findings,
}

impl Scan<'_> {
    /// Says that there is nothing of ours.
    pub(crate) fn refuse_nothing(&mut self) {
        if self.plugins.is_empty() {
            self.findings.error(Spot::default(), "", NOTHING_FOUND);
        }
    }
}

/// Finds the filter's plugins in a file's documents.
pub(crate) fn scan(documents: &[Node]) -> Scan<'_> {
    let mut scan = Scan::default();
    for document in documents {
        let root = At::root(document);
        if is_bare(document) {
            scan.plugins.push(Plugin {
                title: "configuration".to_owned(),
                spot: document.spot,
                config: Some(Config::Tree { node: document, keeps_null: true }),
                names: Vec::new(),
                clusters: Clusters::Unknown,
                findings: Findings::default(),
            });
        } else if kubernetes::is_resource(document) {
            kubernetes::scan(&root, documents, &mut scan);
        } else {
            envoy::scan(&root, &mut scan);
        }
    }
    let is_only_one = scan.plugins.len() == 1;
    let (ours, others): (Vec<_>, Vec<_>) =
        scan.plugins.into_iter().partition(|plugin| is_only_one || plugin.is_ours());
    for other in others {
        let text = format!("{} is another plugin, and was not looked at", other.title);
        scan.findings.note(other.spot, "", text);
    }
    scan.plugins = ours;
    for plugin in &mut scan.plugins {
        if plugin.config.is_none() && plugin.findings.0.is_empty() {
            let text = "the plugin has no configuration: the filter would refuse to start";
            plugin.findings.error(plugin.spot, "", text);
        }
    }
    scan
}

impl Plugin<'_> {
    fn is_ours(&self) -> bool {
        let says_so = |name: &&str| {
            let name = name.to_ascii_lowercase().replace('-', "_");
            name.contains("session_token")
        };
        self.names.iter().any(says_so) || self.config.is_some_and(|config| config.has_our_fields())
    }
}

impl Config<'_> {
    /// The bytes that the filter gets.
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Tree { node, keeps_null } => node.to_json(keeps_null).to_string().into_bytes(),
            Self::Text(node) => node.text().unwrap_or_default().as_bytes().to_vec(),
        }
    }

    /// Loads it as the filter does; what is found gets its place in the file.
    pub(crate) fn load(self, findings: &mut Findings) -> Option<config::Loaded> {
        if let Self::Tree { node, keeps_null: false } = self {
            warn_of_nulls(&At::root(node), findings);
        }
        // A syntax error has a place of its own.
        if let Self::Text(node) = self
            && let Err(error) = json::parse(node.text().unwrap_or_default().as_bytes())
            && node.text().is_some_and(|text| text.trim_start().starts_with('{'))
        {
            findings.error(node.spot_inside(place_of(&error)), "", format!("not JSON: {error}"));
            return None;
        }
        let places = self.places();
        let spot = |path: &str| nearest_place(&places, path);
        match config::load(&self.bytes()) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    findings.warning(spot(&warning.path), &warning.path, warning.text.as_str());
                }
                for note in &loaded.notes {
                    let path = note.split(": ").next().unwrap_or_default();
                    findings.note(spot(path), "", note.as_str());
                }
                Some(loaded)
            }
            Err(errors) => {
                for error in errors {
                    findings.error(spot(&error.path), &error.path, error.text);
                }
                None
            }
        }
    }

    /// Where everything in it stands.
    pub(crate) fn places(self) -> std::collections::HashMap<String, Spot> {
        match self {
            Self::Tree { node, .. } => node.places(),
            Self::Text(node) => {
                let inner = parse(node.text().unwrap_or_default()).unwrap_or_default();
                let mut places = inner.first().map(Node::places).unwrap_or_default();
                places.values_mut().for_each(|spot| *spot = node.spot_inside(*spot));
                places.insert(String::new(), node.spot);
                places
            }
        }
    }

    fn has_our_fields(self) -> bool {
        let ours = |node: &Node| node.members().iter().any(|it| fields::is_root(&it.name));
        match self {
            Self::Tree { node, .. } => ours(node),
            Self::Text(node) => {
                parse(node.text().unwrap_or_default()).is_ok_and(|inner| inner.iter().any(ours))
            }
        }
    }
}

/// Whether the document is a configuration of ours with nothing around it: it has `providers`, be
/// it misspelt, or two other fields of ours. One alone may be anybody's.
fn is_bare(document: &Node) -> bool {
    let others = ["kind", "apiVersion", "static_resources", "staticResources", "resources"];
    let is_other = |name: &str| others.contains(&name) || name.starts_with('@');
    let names = || document.members().iter().map(|member| member.name.as_str());
    !names().any(is_other)
        && (names().any(|name| nearest(name, &["providers"]).is_some())
            || names().filter(|name| fields::is_root(name)).count() > 1)
}

/// Control planes leave such members out, so that the filter never learns of them.
fn warn_of_nulls(at: &At<'_>, findings: &mut Findings) {
    for (_, member) in at.members() {
        match &member.node.value {
            Yaml::Null => member.warning(findings, "is empty: the filter won't see it at all"),
            _ => warn_of_nulls(&member, findings),
        }
    }
    for element in at.elements() {
        warn_of_nulls(&element, findings);
    }
}

fn place_of(error: &json::JsonError) -> Spot {
    let (line, column) = match error {
        json::JsonError::Syntax { line, column, .. }
        | json::JsonError::DuplicateMember { line, column, .. }
        | json::JsonError::TooDeep { line, column } => (*line, *column),
    };
    Spot { line, column }
}

const NOTHING_FOUND: &str = "no configuration of session-token-filter found; looked for: a Wasm \
     HTTP filter of Envoy (`configuration`), an Istio WasmPlugin (`pluginConfig`) or \
     TrafficExtension, an EnvoyExtensionPolicy (`wasm[].config`), and a document with `providers`";
