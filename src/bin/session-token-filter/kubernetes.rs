//! Custom resources that load the filter: Istio's `WasmPlugin` and `TrafficExtension`, and Envoy
//! Gateway's `EnvoyExtensionPolicy`.
//!
//! What the products refuse themselves is an error here, and so is what they accept and serve
//! unfiltered. Field names are those of Istio 1.31 and Envoy Gateway 1.9.

use crate::envoy;
use crate::finding::{At, Findings, nearest};
use crate::plugin::{Clusters, Config, Plugin, Scan};
use crate::yaml::{Node, Yaml};

/// Whether the document is one of Kubernetes', be it misspelt.
pub(crate) fn is_resource(document: &Node) -> bool {
    document.member("kind").is_some()
        || document.member("apiVersion").is_some()
        || document.at(&["spec", "pluginConfig"]).is_some()
}

/// Finds the plugin of a resource; `documents` are all of the file.
pub(crate) fn scan<'n>(root: &At<'n>, documents: &'n [Node], scan: &mut Scan<'n>) {
    if let Some(items) = root.get("items") {
        for item in items.elements() {
            self::scan(&item, documents, scan);
        }
        return;
    }
    let kind = root.get("kind").and_then(|kind| kind.text()).unwrap_or_default();
    let mut findings = Findings::default();
    let Some(meant) = Kind::meant(root, kind) else {
        // Envoy's own configuration may stand in an EnvoyFilter or an EnvoyPatchPolicy.
        envoy::scan(root, scan);
        return;
    };
    if kind != meant.name() {
        let (spot, path) =
            root.get("kind").map_or((root.spot, "kind".to_owned()), |it| (it.spot, it.path));
        findings.error(
            spot,
            &path,
            format!("{kind:?} loads no filter; did you mean {}?", meant.name()),
        );
    }
    let version = root.get("apiVersion");
    if version.as_ref().and_then(At::text) != Some(meant.api_version()) {
        let spot = version.as_ref().map_or(root.spot, |it| it.spot);
        findings.error(spot, "apiVersion", format!("must be {}", meant.api_version()));
    }
    root.refuse_unknown(&["apiVersion", "kind", "metadata", "spec", "status"], &mut findings);
    let name = root.node.at(&["metadata", "name"]).and_then(Node::text);
    let title = format!("{} {}", meant.name(), name.unwrap_or("without a name"));
    let clusters = match meant {
        Kind::WasmPlugin | Kind::TrafficExtension => Clusters::Istio(documents),
        Kind::EnvoyExtensionPolicy => Clusters::Gateway(documents),
    };
    let Some(spec) = root.get("spec") else {
        findings.error(root.spot, "spec", "is missing");
        scan.plugins.push(plugin(title, root, clusters, name, findings));
        return;
    };
    match meant {
        Kind::WasmPlugin => {
            let mut own = plugin(title, &spec, clusters, name, findings);
            spec.refuse_unknown(
                &[&TARGET_FIELDS[..], &WASM_FIELDS, &["verificationKey"]].concat(),
                &mut own.findings,
            );
            check_istio_target(&spec, &mut own.findings);
            check_istio_match(&spec, &mut own.findings);
            read_istio_wasm(&spec, &mut own);
            scan.plugins.push(own);
        }
        Kind::TrafficExtension => {
            let mut own = plugin(title, &spec, clusters, name, findings);
            spec.refuse_unknown(
                &[&TARGET_FIELDS[..], &["wasm", "lua"]].concat(),
                &mut own.findings,
            );
            check_istio_target(&spec, &mut own.findings);
            check_istio_match(&spec, &mut own.findings);
            match spec.get("wasm") {
                Some(wasm) => {
                    wasm.refuse_unknown(
                        &[&WASM_FIELDS[..], &["verificationKey"]].concat(),
                        &mut own.findings,
                    );
                    read_istio_wasm(&wasm, &mut own);
                }
                // Lua is none of ours.
                None if spec.get("lua").is_some() => return,
                None => own.findings.error(spec.spot, "spec.wasm", "is missing"),
            }
            scan.plugins.push(own);
        }
        Kind::EnvoyExtensionPolicy => {
            scan_policy(root, &spec, title, findings, documents, scan);
        }
    }
}

fn plugin<'n>(
    title: String,
    at: &At<'n>,
    clusters: Clusters<'n>,
    name: Option<&'n str>,
    findings: Findings,
) -> Plugin<'n> {
    let names = name.into_iter().collect();
    Plugin { title, spot: at.spot, config: None, names, clusters, findings }
}

/// What a resource is meant to be.
#[derive(Clone, Copy)]
enum Kind {
    WasmPlugin,
    TrafficExtension,
    EnvoyExtensionPolicy,
}

impl Kind {
    const ALL: [Self; 3] = [Self::WasmPlugin, Self::TrafficExtension, Self::EnvoyExtensionPolicy];

    /// By its name, or by what only it has.
    fn meant(root: &At<'_>, kind: &str) -> Option<Self> {
        let names = Self::ALL.map(Self::name);
        let near = nearest(kind, &names);
        let spec = |name: &str| root.node.at(&["spec", name]);
        if let Some(found) = Self::ALL.into_iter().find(|own| Some(own.name()) == near) {
            return Some(found);
        }
        let wasm = spec("wasm");
        if spec("pluginConfig").is_some() {
            Some(Self::WasmPlugin)
        } else if wasm.is_some_and(|wasm| !wasm.elements().is_empty()) {
            Some(Self::EnvoyExtensionPolicy)
        } else if wasm.is_some_and(Node::is_map) {
            Some(Self::TrafficExtension)
        } else {
            None
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::WasmPlugin => "WasmPlugin",
            Self::TrafficExtension => "TrafficExtension",
            Self::EnvoyExtensionPolicy => "EnvoyExtensionPolicy",
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::WasmPlugin | Self::TrafficExtension => "extensions.istio.io/v1alpha1",
            Self::EnvoyExtensionPolicy => "gateway.envoyproxy.io/v1alpha1",
        }
    }
}

/// Whom it filters, and where it stands among the filters.
fn check_istio_target(spec: &At<'_>, findings: &mut Findings) {
    if let (Some(_), Some(refs)) = (spec.get("selector"), spec.get("targetRefs")) {
        refs.error(findings, "selector and targetRefs exclude each other");
    }
    let phase = spec.get("phase");
    let spot = phase.as_ref().map_or(spec.spot, |it| it.spot);
    let mut error = |text: String| findings.error(spot, "spec.phase", text);
    match phase.as_ref().map(|it| it.text().unwrap_or_default()) {
        Some("AUTHN" | "AUTHZ") => {}
        Some("STATS") => error(format!("STATS {BEHIND_RBAC}")),
        None | Some("UNSPECIFIED_PHASE" | "UNSPECIFIED") => {
            error(format!("is missing: without it the filter {BEHIND_RBAC}"));
        }
        Some(other) => error(format!("{other:?} must be AUTHN")),
    }
}

/// Which requests it filters of those that come by. To Istio all that passes a gateway is `CLIENT`.
fn check_istio_match(spec: &At<'_>, findings: &mut Findings) {
    let Some(matches) = spec.get("match") else { return };
    let modes = || matches.elements().map(|it| it.get("mode").and_then(|mode| mode.text()));
    let all_are = |mode: &str| modes().count() > 0 && modes().all(|own| own == Some(mode));
    let refs = spec
        .get("targetRef")
        .into_iter()
        .chain(spec.get("targetRefs").iter().flat_map(At::elements).collect::<Vec<_>>());
    let mut kinds = refs.filter_map(|it| it.get("kind")?.text());
    let labels = spec.node.at(&["selector", "matchLabels"]).map(Node::members).unwrap_or_default();
    let mut labels = labels.iter().filter_map(|label| label.value.text());
    let is_gateway = kinds.any(|kind| kind == "Gateway") || labels.any(|it| it.contains("gateway"));
    if is_gateway && all_are("SERVER") {
        matches.error(findings, "SERVER is nothing that passes a gateway: nothing is filtered");
    } else if !is_gateway && all_are("CLIENT") {
        matches
            .warning(findings, "CLIENT is what a sidecar sends out: what comes in is not filtered");
    }
}

/// What `WasmPlugin` and `TrafficExtension` have in common.
fn read_istio_wasm<'n>(wasm: &At<'n>, plugin: &mut Plugin<'n>) {
    let findings = &mut plugin.findings;
    match wasm.get("url") {
        None => findings.error(wasm.spot, &format!("{}.url", wasm.path), "is missing"),
        Some(url) => {
            let text = url.text().unwrap_or_default();
            plugin.names.push(text);
            check_istio_url(&url, text, findings);
        }
    }
    plugin.names.extend(wasm.get("pluginName").and_then(|it| it.text()));
    if let Some(sha256) = wasm.get("sha256") {
        check_sha256(&sha256, findings);
    }
    if let Some(strategy) = wasm.get("failStrategy") {
        match strategy.text() {
            Some("FAIL_CLOSE" | "FAIL_RELOAD") => {}
            Some("FAIL_OPEN") => strategy.error(findings, FAIL_OPEN),
            _ => strategy.error(findings, "must be FAIL_CLOSE or FAIL_RELOAD"),
        }
    }
    if let Some(kind) = wasm.get("type").filter(|it| !matches!(it.text(), Some("HTTP"))) {
        kind.error(findings, "must be HTTP: the filter knows nothing else");
    }
    plugin.config = read_config(wasm, "pluginConfig", findings);
}

/// The configuration, which must be an object.
fn read_config<'n>(at: &At<'n>, name: &str, findings: &mut Findings) -> Option<Config<'n>> {
    let Some(config) = at.get(name) else {
        let path = format!("{}.{name}", at.path);
        findings.error(at.spot, &path, "is missing: the filter would refuse to start");
        return None;
    };
    match &config.node.value {
        Yaml::Map(_) => Some(Config::Tree { node: config.node, keeps_null: false }),
        Yaml::Null => {
            config.error(findings, "is empty: the filter would refuse to start");
            None
        }
        Yaml::Text(_) => {
            config.error(findings, "must be an object, not a text: take the `|` away");
            None
        }
        Yaml::Bool(_) | Yaml::Number(_) | Yaml::List(_) => {
            config.error(findings, "must be an object");
            None
        }
    }
}

fn check_istio_url(url: &At<'_>, text: &str, findings: &mut Findings) {
    let schemes = ["oci://", "https://", "http://", "file://"];
    if schemes.iter().any(|scheme| text.starts_with(scheme)) {
        return;
    }
    // Go's url.Parse: a colon in the first segment is taken for a scheme's.
    let first_segment = text.split('/').next().unwrap_or_default();
    if text.contains("://") {
        url.error(findings, format!("{text:?} must begin with oci://, https:// or file://"));
    } else if first_segment.contains(':') {
        url.error(
            findings,
            format!(
                "{text:?} has no scheme: Istio drops the plugin without a word, and serves all \
                 requests unfiltered; write oci://{text}"
            ),
        );
    } else {
        let text = format!("{text:?} has no scheme; write oci://{text}");
        url.error(findings, text);
    }
}

pub(crate) fn check_sha256(sha256: &At<'_>, findings: &mut Findings) {
    let Some(text) = sha256.text() else {
        sha256.error(findings, "must be a text: put it in quotes");
        return;
    };
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let count = digits.len();
        sha256.error(findings, format!("must be 64 hexadecimal digits, not {count} characters"));
    } else if digits.len() != text.len() {
        sha256.error(findings, "must be the digits alone, without `sha256:`");
    }
}

fn scan_policy<'n>(
    root: &At<'n>,
    spec: &At<'n>,
    title: String,
    mut findings: Findings,
    documents: &'n [Node],
    scan: &mut Scan<'n>,
) {
    spec.refuse_unknown(&POLICY_FIELDS, &mut findings);
    check_targets(root, spec, documents, &mut findings);
    let entries: Vec<_> = spec.get("wasm").iter().flat_map(At::elements).collect();
    let name = root.node.at(&["metadata", "name"]).and_then(Node::text);
    if entries.is_empty() {
        if spec.get("wasm").is_some() || !findings.0.is_empty() {
            findings.error(spec.spot, "spec.wasm", "must be a list with an entry");
        }
        // Lua, external processing: none of ours.
        if !findings.0.is_empty() {
            scan.plugins.push(plugin(title, spec, Clusters::Gateway(documents), name, findings));
        }
        return;
    }
    for (index, entry) in entries.iter().enumerate() {
        let own = if index == 0 { std::mem::take(&mut findings) } else { Findings::default() };
        let title = format!("{title}, {}", entry.path);
        let mut own = plugin(title, entry, Clusters::Gateway(documents), name, own);
        entry.refuse_unknown(
            &["name", "rootID", "code", "config", "failOpen", "env"],
            &mut own.findings,
        );
        own.names.extend(entry.get("name").and_then(|it| it.text()));
        if let Some(fail_open) = entry.get("failOpen").filter(|it| it.node.is_true()) {
            fail_open.error(&mut own.findings, FAIL_OPEN);
        }
        match entry.get("code") {
            Some(code) => check_gateway_code(&code, &mut own),
            None => {
                own.findings.error(entry.spot, &format!("{}.code", entry.path), "is missing");
            }
        }
        own.config = read_config(entry, "config", &mut own.findings);
        scan.plugins.push(own);
    }
}

fn check_gateway_code<'n>(code: &At<'n>, plugin: &mut Plugin<'n>) {
    let findings = &mut plugin.findings;
    code.refuse_unknown(&["type", "http", "image", "pullPolicy"], findings);
    let (member, known): (_, &[&str]) = match code.get("type").and_then(|it| it.text()) {
        Some("Image") => ("image", &["url", "sha256", "pullSecretRef", "tls"]),
        Some("HTTP") => ("http", &["url", "sha256", "tls"]),
        _ => {
            let spot = code.get("type").map_or(code.spot, |it| it.spot);
            findings.error(spot, &format!("{}.type", code.path), "must be Image or HTTP");
            return;
        }
    };
    let Some(source) = code.get(member) else {
        findings.error(code.spot, &format!("{}.{member}", code.path), "is missing");
        return;
    };
    source.refuse_unknown(known, findings);
    match source.get("url") {
        None => findings.error(source.spot, &format!("{}.url", source.path), "is missing"),
        Some(url) => {
            let text = url.text().unwrap_or_default();
            plugin.names.push(text);
            let is_web = text.starts_with("https://") || text.starts_with("http://");
            if member == "http" && !is_web {
                url.error(findings, "must begin with https:// or http://");
            } else if member == "image" && text.contains("://") && !text.starts_with("oci://") {
                url.error(findings, "must be an image, with oci:// before it or nothing");
            }
        }
    }
    if let Some(sha256) = source.get("sha256") {
        check_sha256(&sha256, findings);
    }
}

/// A policy whose target is not there filters nothing, and says nothing.
fn check_targets(root: &At<'_>, spec: &At<'_>, documents: &[Node], findings: &mut Findings) {
    let one = spec.get("targetRef");
    let several: Vec<_> = spec.get("targetRefs").iter().flat_map(At::elements).collect();
    let selectors = spec.get("targetSelectors").is_some_and(|it| !it.node.elements().is_empty());
    if one.is_none() && several.is_empty() && !selectors {
        findings.error(spec.spot, "spec.targetRefs", "is missing: the policy would filter nothing");
    }
    let namespace = |node: &Node| {
        let name = node.at(&["metadata", "namespace"]).and_then(Node::text);
        name.unwrap_or("default").to_owned()
    };
    for target in one.into_iter().chain(several) {
        target.refuse_unknown(&["group", "kind", "name", "sectionName"], findings);
        let [group, kind, name] = ["group", "kind", "name"]
            .map(|name| target.get(name).and_then(|it| it.text()).unwrap_or_default());
        if group != "gateway.networking.k8s.io" {
            target.error(findings, "group must be gateway.networking.k8s.io");
        }
        if !["Gateway", "HTTPRoute", "GRPCRoute", "TCPRoute", "UDPRoute", "TLSRoute"]
            .contains(&kind)
        {
            target.error(findings, "kind must be Gateway or HTTPRoute");
        }
        let text =
            |node: &Node, names: &[&str]| node.at(names).and_then(Node::text).map(str::to_owned);
        let of_kind: Vec<_> = documents
            .iter()
            .filter(|it| text(it, &["kind"]).as_deref() == Some(kind))
            .map(|it| (text(it, &["metadata", "name"]).unwrap_or_default(), namespace(it)))
            .collect();
        if kind == "Gateway" {
            warn_of_overrides(root, name, documents, findings);
        }
        let own = (name.to_owned(), namespace(root.node));
        if !of_kind.is_empty() && !of_kind.contains(&own) {
            let known: Vec<_> =
                of_kind.iter().map(|(name, space)| format!("{space}/{name}")).collect();
            target.error(
                findings,
                format!(
                    "no {kind} {}/{name} in this file, only {}: a policy without its target \
                     filters nothing",
                    own.1,
                    known.join(", ")
                ),
            );
        }
    }
}

/// A policy on a route takes the place of the Gateway's, unless it is merged with it.
fn warn_of_overrides(root: &At<'_>, gateway: &str, documents: &[Node], findings: &mut Findings) {
    let text = |node: &'_ Node, names: &[&str]| {
        node.at(names).and_then(Node::text).unwrap_or_default().to_owned()
    };
    let elements = |node: &Node, name: &str| {
        node.at(&["spec", name]).map(|it| it.elements().to_vec()).unwrap_or_default()
    };
    let is_on_gateway = |route: &str| {
        let of_route = documents.iter().filter(|it| text(it, &["metadata", "name"]) == route);
        of_route
            .flat_map(|it| elements(it, "parentRefs"))
            .any(|parent| text(&parent, &["name"]) == gateway)
    };
    let own_name = text(root.node, &["metadata", "name"]);
    for other in documents {
        let name = text(other, &["metadata", "name"]);
        let is_other = text(other, &["kind"]) == "EnvoyExtensionPolicy" && name != own_name;
        let is_merged = other.at(&["spec", "mergeType"]).is_some();
        // One with a plugin of its own is looked at by itself.
        if !is_other || is_merged || !elements(other, "wasm").is_empty() {
            continue;
        }
        let routes = elements(other, "targetRefs").into_iter().map(|it| text(&it, &["name"]));
        for route in routes.filter(|route| is_on_gateway(route)) {
            findings.warning(
                other.spot,
                "",
                format!(
                    "EnvoyExtensionPolicy {name:?} takes this one's place on the route {route:?}, \
                     which is then not filtered; it needs mergeType: StrategicMerge"
                ),
            );
        }
    }
}

pub(crate) const FAIL_OPEN: &str =
    "serves all requests unfiltered whenever the filter can't run: never let it fail open";

const BEHIND_RBAC: &str = "stands behind Istio's authorization: AuthorizationPolicies on claim \
     headers would believe what the client sent; write AUTHN";

const TARGET_FIELDS: [&str; 6] =
    ["selector", "targetRef", "targetRefs", "phase", "priority", "match"];

const WASM_FIELDS: [&str; 9] = [
    "url",
    "sha256",
    "imagePullPolicy",
    "imagePullSecret",
    "pluginConfig",
    "pluginName",
    "failStrategy",
    "vmConfig",
    "type",
];

const POLICY_FIELDS: [&str; 8] = [
    "targetRef",
    "targetRefs",
    "targetSelectors",
    "mergeType",
    "wasm",
    "extProc",
    "lua",
    "dynamicModule",
];
