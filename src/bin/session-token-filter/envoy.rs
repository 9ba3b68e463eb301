//! Envoy's own configuration: a bootstrap, or a file of listeners (LDS) or filters (ECDS), or what
//! else holds an HTTP filter.
//!
//! Every Wasm filter is found, however deep. Field names may be spelled in both ways that
//! protobuf's JSON knows: `failure_policy` and `failurePolicy`.

use crate::finding::{At, Findings};
use crate::kubernetes::{FAIL_OPEN, check_sha256};
use crate::plugin::{Clusters, Config, Plugin, Scan};
use crate::yaml::Node;

/// Finds the Wasm filters of a document.
pub(crate) fn scan<'n>(root: &At<'n>, scan: &mut Scan<'n>) {
    let mut walk = Walk { clusters: clusters(root.node), ..Walk::default() };
    walk.visit(root, None);
    let Walk { mut filters, routes, routes_elsewhere, .. } = walk;
    for (index, vm) in shared_vms(&filters) {
        if let Some(filter) = filters.get_mut(index) {
            vm.warning(
                &mut filter.plugin.findings,
                "another plugin with other code has the same vm_id: they share data; choose another",
            );
        }
    }
    for mut filter in filters {
        filter.check_switches(&routes, routes_elsewhere);
        scan.plugins.push(filter.plugin);
    }
}

/// A Wasm filter, and what must be compared with others.
struct Filter<'n> {
    plugin: Plugin<'n>,
    /// By which routes know it.
    name: Option<&'n str>,
    disabled: Option<At<'n>>,
    vm: Option<(At<'n>, Option<&'n Node>)>,
}

#[derive(Default)]
struct Walk<'n> {
    filters: Vec<Filter<'n>>,
    /// What `typed_per_filter_config` says of filters, by name.
    routes: Vec<(&'n str, At<'n>)>,
    /// Whether a listener gets its routes from a server.
    routes_elsewhere: bool,
    clusters: Option<Vec<&'n Node>>,
}

impl<'n> Walk<'n> {
    /// `name` is that of the filter that the value is about, if it is one.
    fn visit(&mut self, at: &At<'n>, name: Option<&'n str>) {
        if let Some(wasm) = wasm_of(at) {
            self.read_wasm(at, &wasm, name);
            return;
        }
        if let Some(kind) = wasm_elsewhere(at) {
            let mut plugin = self.plugin(kind.to_owned(), at);
            at.error(&mut plugin.findings, "the filter works as an HTTP filter only");
            if let Some(config) = at.get("config") {
                read_plugin_config(&config, &mut plugin);
            }
            self.filters.push(Filter { plugin, name: None, disabled: None, vm: None });
            return;
        }
        let own_name = at.get("name").and_then(|name| name.text());
        for (member, value) in at.members() {
            self.routes_elsewhere |= member == "rds";
            match member {
                "http_filters" | "httpFilters" => self.visit_http_filters(&value),
                "typed_per_filter_config" | "typedPerFilterConfig" => {
                    for (name, config) in value.members() {
                        self.routes.push((name, config.clone()));
                        self.visit(&config, Some(name));
                    }
                }
                "typed_config" | "typedConfig" => self.visit(&value, own_name),
                _ => self.visit(&value, None),
            }
        }
        for element in at.elements() {
            self.visit(&element, None);
        }
    }

    /// A chain of filters, in which the order matters.
    fn visit_http_filters(&mut self, chain: &At<'n>) {
        let mut router = false;
        let mut rbac = false;
        for element in chain.elements() {
            let config = element.get_any(["typed_config", "typedConfig"]);
            let known = self.filters.len();
            self.visit(&element, None);
            if let Some(filter) = self.filters.get_mut(known) {
                filter.disabled = element.get("disabled").filter(|it| it.node.is_true());
                let findings = &mut filter.plugin.findings;
                if router {
                    element.error(findings, "stands behind the router, where no request comes by");
                }
                if rbac {
                    element.warning(
                        findings,
                        "stands behind an RBAC filter: its rules on claim headers would believe \
                         what the client sent",
                    );
                }
            }
            let type_url = config.as_ref().and_then(type_of).unwrap_or_default();
            router |= type_url.ends_with(".http.router.v3.Router");
            rbac |= type_url.ends_with(".http.rbac.v3.RBAC");
        }
    }

    fn read_wasm(&mut self, at: &At<'n>, wasm: &At<'n>, name: Option<&'n str>) {
        let mut plugin =
            self.plugin(format!("HTTP filter {}", name.unwrap_or("without a name")), at);
        plugin.names.extend(name);
        let mut vm = None;
        wasm.refuse_unknown(&["@type", "config"], &mut plugin.findings);
        match wasm.get("config") {
            Some(config) => vm = read_plugin_config(&config, &mut plugin),
            None => wasm.error(&mut plugin.findings, "has no `config`"),
        }
        self.filters.push(Filter { plugin, name, disabled: None, vm });
    }

    fn plugin(&self, title: String, at: &At<'n>) -> Plugin<'n> {
        let clusters = self.clusters.clone().map_or(Clusters::Unknown, Clusters::Static);
        let (spot, names) = (at.spot, Vec::new());
        Plugin { title, spot, config: None, names, clusters, findings: Findings::default() }
    }
}

impl Filter<'_> {
    /// Whether it filters at all, and everywhere.
    fn check_switches(&mut self, routes: &[(&str, At<'_>)], routes_elsewhere: bool) {
        let findings = &mut self.plugin.findings;
        let own = || routes.iter().filter(|(name, _)| Some(*name) == self.name);
        if let Some(disabled) = &self.disabled {
            if own().next().is_none() && !routes_elsewhere {
                disabled.error(findings, "the filter is off, and no route turns it on");
            } else {
                disabled.note(findings, "only routes that turn it on are filtered");
            }
        }
        for (_, route) in own() {
            if let Some(disabled) = route.get("disabled").filter(|it| it.node.is_true()) {
                disabled.warning(findings, "requests to this route are not filtered");
            }
        }
    }
}

impl At<'_> {
    fn note(&self, findings: &mut Findings, text: &str) {
        findings.note(self.spot, &self.path, text);
    }
}

/// A `PluginConfig`; gives its VM and the code in it.
fn read_plugin_config<'n>(
    config: &At<'n>,
    plugin: &mut Plugin<'n>,
) -> Option<(At<'n>, Option<&'n Node>)> {
    let findings = &mut plugin.findings;
    config.refuse_unknown(&PLUGIN_FIELDS, findings);
    let text = |name: &str| config.get(name).and_then(|it| it.text());
    plugin.names.extend(text("name"));
    if let Some(policy) = config.get_any(["failure_policy", "failurePolicy"]) {
        match policy.text() {
            Some("FAIL_RELOAD" | "FAIL_CLOSED" | "UNSPECIFIED") => {}
            Some("FAIL_OPEN") => policy.error(findings, FAIL_OPEN),
            _ => policy.error(findings, "must be FAIL_RELOAD or FAIL_CLOSED"),
        }
    }
    if let Some(open) = config.get_any(["fail_open", "failOpen"]).filter(|it| it.node.is_true()) {
        open.error(findings, FAIL_OPEN);
    }
    let vm_config = config.get_any(["vm_config", "vmConfig"]);
    let mut vm = None;
    match &vm_config {
        None => findings.error(config.spot, &format!("{}.vm_config", config.path), "is missing"),
        Some(at) => {
            at.refuse_unknown(&VM_FIELDS, findings);
            let code = at.get("code");
            if let Some(code) = &code {
                let file = code.node.at(&["local", "filename"]).and_then(Node::text);
                let remote = code.get("remote");
                if let Some(sha256) = remote.as_ref().and_then(|it| it.get("sha256")) {
                    check_sha256(&sha256, findings);
                }
                let uri = remote.as_ref().and_then(|it| it.get_any(["http_uri", "httpUri"]));
                let uri = uri.and_then(|it| it.get("uri")).and_then(|it| it.text());
                plugin.names.extend(file.into_iter().chain(uri));
            }
            vm = at.get_any(["vm_id", "vmId"]).map(|id| (id, code.map(|it| it.node)));
        }
    }
    match config.get("configuration") {
        None => {
            let path = format!("{}.configuration", config.path);
            findings.error(config.spot, &path, "is missing: the filter would refuse to start");
        }
        Some(configuration) => plugin.config = read_any(&configuration, findings),
    }
    vm
}

/// A `google.protobuf.Any` with text or a Struct.
fn read_any<'n>(any: &At<'n>, findings: &mut Findings) -> Option<Config<'n>> {
    let Some(type_url) = type_of(any) else {
        any.error(
            findings,
            "has no \"@type\": write type.googleapis.com/google.protobuf.Struct, with the \
             configuration as its `value`",
        );
        return any.node.is_map().then_some(Config::Tree { node: any.node, keeps_null: true });
    };
    any.refuse_unknown(&["@type", "value"], findings);
    let Some(value) = any.get("value") else {
        any.error(findings, "has no `value`: the filter would refuse to start");
        return None;
    };
    match type_url.rsplit('/').next().unwrap_or_default() {
        "google.protobuf.StringValue" if value.text().is_some() => Some(Config::Text(value.node)),
        "google.protobuf.StringValue" => {
            value.error(findings, "must be a text with JSON: a StringValue holds no YAML");
            None
        }
        "google.protobuf.Struct" if value.node.is_map() => {
            Some(Config::Tree { node: value.node, keeps_null: true })
        }
        "google.protobuf.Struct" => {
            value.error(findings, "must be an object: a text goes into a StringValue");
            None
        }
        _ => {
            any.error(
                findings,
                "must be a google.protobuf.Struct or a google.protobuf.StringValue",
            );
            None
        }
    }
}

/// The Wasm filter that an Any holds, perhaps in a TypedStruct.
fn wasm_of<'n>(any: &At<'n>) -> Option<At<'n>> {
    let type_url = type_of(any)?;
    if type_url.ends_with(HTTP_WASM) {
        return Some(any.clone());
    }
    let inner = any.get_any(["type_url", "typeUrl"])?;
    let is_typed_struct = type_url.ends_with("TypedStruct");
    (is_typed_struct && inner.text()?.ends_with(HTTP_WASM)).then(|| any.get("value")).flatten()
}

/// What a plugin is that is no HTTP filter.
fn wasm_elsewhere(any: &At<'_>) -> Option<&'static str> {
    let type_url = type_of(any)?;
    let kinds = [
        ("envoy.extensions.filters.network.wasm.v3.Wasm", "network filter"),
        ("envoy.extensions.wasm.v3.WasmService", "Wasm service"),
        ("envoy.extensions.access_loggers.wasm.v3.WasmAccessLog", "access logger"),
    ];
    kinds.iter().find(|(name, _)| type_url.ends_with(name)).map(|(_, kind)| *kind)
}

fn type_of<'n>(any: &At<'n>) -> Option<&'n str> {
    any.get("@type")?.text()
}

/// The clusters of a bootstrap, if these are all.
fn clusters(root: &Node) -> Option<Vec<&Node>> {
    let either = |names: [&str; 2]| names.iter().find_map(|name| root.get(name));
    let resources = either(["static_resources", "staticResources"])?;
    let dynamic = either(["dynamic_resources", "dynamicResources"]);
    let is_dynamic = |node: &Node| {
        ["cds_config", "cdsConfig", "ads_config", "adsConfig"]
            .iter()
            .any(|name| node.get(name).is_some())
    };
    if dynamic.is_some_and(is_dynamic) {
        return None;
    }
    let clusters = resources.get("clusters").map(Node::elements).unwrap_or_default();
    Some(clusters.iter().collect())
}

/// The `vm_id`s that a filter shares with one of other code.
fn shared_vms<'n>(filters: &[Filter<'n>]) -> Vec<(usize, At<'n>)> {
    let vms = || {
        let each = |(index, filter): (usize, &Filter<'n>)| Some((index, filter.vm.clone()?));
        filters.iter().enumerate().filter_map(each)
    };
    let code = |code: Option<&Node>| code.map(|code| code.to_json(true));
    vms()
        .filter(|(_, (id, own))| {
            vms().any(|(_, (other, its))| other.text() == id.text() && code(*own) != code(its))
        })
        .map(|(index, (id, _))| (index, id))
        .collect()
}

const HTTP_WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";

const PLUGIN_FIELDS: [&str; 16] = [
    "name",
    "root_id",
    "rootId",
    "vm_config",
    "vmConfig",
    "configuration",
    "fail_open",
    "failOpen",
    "failure_policy",
    "failurePolicy",
    "reload_config",
    "reloadConfig",
    "capability_restriction_config",
    "capabilityRestrictionConfig",
    "allow_on_headers_stop_iteration",
    "allowOnHeadersStopIteration",
];

const VM_FIELDS: [&str; 11] = [
    "vm_id",
    "vmId",
    "runtime",
    "code",
    "configuration",
    "allow_precompiled",
    "allowPrecompiled",
    "nack_on_code_cache_miss",
    "nackOnCodeCacheMiss",
    "environment_variables",
    "environmentVariables",
];
