//! What is wrapped around a configuration: every mistake that `check` can see there, with its place.

use super::Run;
use super::kinds::{CONFIGURATION, Kind, check, place};

#[test]
fn every_mistake_around_a_configuration_is_found() {
    let digits = "0123456789abcdef".repeat(4);
    let short = format!("sha256: {}", &digits[..63]);
    // The kind, what is written instead of what, where it is found, and what is said.
    let rows = [
        (
            "WasmPlugin",
            "url: oci://",
            "url: ",
            "url",
            "error: spec.url: \"registry:5000/session-token-filter:1\" has no scheme: Istio drops",
        ),
        (
            "WasmPlugin",
            "oci://registry:5000/",
            "",
            "url",
            "error: spec.url: \"session-token-filter:1\" has no scheme",
        ),
        (
            "WasmPlugin",
            "oci://",
            "ftp://",
            "url",
            "error: spec.url: \"ftp://registry:5000/session-token-filter:1\" must begin",
        ),
        (
            "WasmPlugin",
            "  url: oci://registry:5000/session-token-filter:1\n",
            "",
            "spec:",
            "error: spec.url: is missing",
        ),
        (
            "WasmPlugin",
            "failStrategy: FAIL_CLOSE",
            "failStrategy: FAIL_OPEN",
            "failStrategy",
            "error: spec.failStrategy: serves all requests unfiltered",
        ),
        (
            "WasmPlugin",
            "failStrategy: FAIL_CLOSE",
            "failStrategy: CLOSED",
            "failStrategy",
            "error: spec.failStrategy: must be FAIL_CLOSE",
        ),
        (
            "WasmPlugin",
            "failStrategy: FAIL_CLOSE",
            short.as_str(),
            "sha256",
            "error: spec.sha256: must be 64 hexadecimal digits, not 63",
        ),
        (
            "WasmPlugin",
            "phase: AUTHN",
            "phase: STATS",
            "phase",
            "error: spec.phase: STATS stands behind",
        ),
        (
            "WasmPlugin",
            "phase: AUTHN",
            "phase: UNSPECIFIED_PHASE",
            "phase",
            "error: spec.phase: is missing",
        ),
        (
            "WasmPlugin",
            "phase: AUTHN",
            "phase: authn",
            "phase",
            "error: spec.phase: \"authn\" must be AUTHN",
        ),
        ("WasmPlugin", "  phase: AUTHN\n", "", "spec:", "error: spec.phase: is missing"),
        (
            "WasmPlugin",
            "  phase: AUTHN\n",
            "  phase: AUTHN\n  type: NETWORK\n",
            "type",
            "error: spec.type: must be HTTP",
        ),
        (
            "WasmPlugin",
            "  phase: AUTHN\n",
            "  phase: AUTHN\n  targetRefs: []\n",
            "targetRefs",
            "error: spec.targetRefs: selector and targetRefs",
        ),
        (
            "WasmPlugin",
            "pluginConfig:",
            "pluginconfig:",
            "pluginconfig",
            "error: spec.pluginconfig: unknown field; did you mean `pluginConfig`?",
        ),
        (
            "WasmPlugin",
            "pluginConfig:",
            "pluginconfig:",
            "spec:",
            "error: spec.pluginConfig: is missing",
        ),
        (
            "WasmPlugin",
            "pluginConfig:",
            "pluginConfig: |",
            "pluginConfig",
            "error: spec.pluginConfig: must be an object, not a text",
        ),
        (
            "WasmPlugin",
            "kind: WasmPlugin",
            "kind: Wasmplugin",
            "kind",
            "error: kind: \"Wasmplugin\" loads no filter; did you mean WasmPlugin?",
        ),
        (
            "WasmPlugin",
            "kind: WasmPlugin",
            "kind: Plugin",
            "kind",
            "error: kind: \"Plugin\" loads no filter; did you mean WasmPlugin?",
        ),
        (
            "WasmPlugin",
            "extensions.istio.io/v1alpha1",
            "networking.istio.io/v1",
            "apiVersion",
            "error: apiVersion: must be extensions.istio.io/v1alpha1",
        ),
        (
            "WasmPlugin",
            "outbound|443||id.example",
            "keys",
            "\"cluster\"",
            "warning: providers[0].jwks.remote.cluster: \"keys\" is no name of Istio's",
        ),
        (
            "WasmPlugin",
            "\"access\": \"required\"",
            "\"access\": null",
            "\"access\"",
            "warning: rules[0].access: is empty: the filter won't see it",
        ),
        (
            "WasmPlugin",
            "  phase: AUTHN\n",
            "  phase: AUTHN\n  match: [{mode: SERVER}]\n",
            "match:",
            "error: spec.match: SERVER is nothing that passes a gateway",
        ),
        (
            "TrafficExtension",
            "  phase: AUTHN\n",
            "  phase: AUTHN\n  match: [{mode: CLIENT}]\n",
            "match:",
            "warning: spec.match: CLIENT is what a sidecar sends out",
        ),
        (
            "WasmPlugin among others",
            "number: 443",
            "number: 80",
            "\"cluster\"",
            "warning: providers[0].jwks.remote.cluster: no ServiceEntry in this file has",
        ),
        (
            "TrafficExtension",
            "url: oci://",
            "url: ",
            "url",
            "error: spec.wasm.url: \"registry:5000/session-token-filter:1\" has no scheme: Istio drops",
        ),
        (
            "TrafficExtension",
            "failStrategy: FAIL_CLOSE",
            "failStrategy: FAIL_OPEN",
            "failStrategy",
            "error: spec.wasm.failStrategy: serves all",
        ),
        (
            "TrafficExtension",
            "failStrategy: FAIL_CLOSE",
            short.as_str(),
            "sha256",
            "error: spec.wasm.sha256: must be 64",
        ),
        (
            "TrafficExtension",
            "phase: AUTHN",
            "phase: STATS",
            "phase",
            "error: spec.phase: STATS stands behind",
        ),
        ("TrafficExtension", "  phase: AUTHN\n", "", "spec:", "error: spec.phase: is missing"),
        (
            "TrafficExtension",
            "pluginConfig:",
            "pluginConfg:",
            "pluginConfg",
            "error: spec.wasm.pluginConfg: unknown field; did you mean `pluginConfig`?",
        ),
        (
            "TrafficExtension",
            "kind: TrafficExtension",
            "kind: TrafficExtensions",
            "kind",
            "error: kind: \"TrafficExtensions\" loads no filter",
        ),
        (
            "TrafficExtension",
            "extensions.istio.io/v1alpha1",
            "extensions.istio.io/v1",
            "apiVersion",
            "error: apiVersion: must be",
        ),
        (
            "EnvoyExtensionPolicy",
            "      failOpen: false",
            "      failOpen: true",
            "failOpen",
            "error: spec.wasm[0].failOpen: serves all",
        ),
        (
            "EnvoyExtensionPolicy",
            "      failOpen: false",
            "      failOpn: true",
            "failOpn",
            "error: spec.wasm[0].failOpn: unknown field; did you mean `failOpen`?",
        ),
        (
            "EnvoyExtensionPolicy",
            "type: Image",
            "type: HTTP",
            "code",
            "error: spec.wasm[0].code.http: is missing",
        ),
        (
            "EnvoyExtensionPolicy",
            "type: Image",
            "type: OCI",
            "type",
            "error: spec.wasm[0].code.type: must be Image or HTTP",
        ),
        (
            "EnvoyExtensionPolicy",
            "url: oci://",
            "url: https://",
            "url",
            "error: spec.wasm[0].code.image.url: must be an image",
        ),
        (
            "EnvoyExtensionPolicy",
            &digits,
            "12ab",
            "sha256",
            "error: spec.wasm[0].code.image.sha256: must be 64 hexadecimal digits, not 4",
        ),
        (
            "EnvoyExtensionPolicy",
            "config:",
            "configuration:",
            "configuration",
            "error: spec.wasm[0].configuration: unknown field",
        ),
        (
            "EnvoyExtensionPolicy",
            "config:",
            "pluginConfig:",
            "name: session\n",
            "error: spec.wasm[0].config: is missing",
        ),
        (
            "EnvoyExtensionPolicy",
            "kind: EnvoyExtensionPolicy",
            "kind: EnvoyExtentionPolicy",
            "kind: EnvoyExt",
            "error: kind: \"EnvoyExtentionPolicy\" loads no filter; did you mean EnvoyExtensionPolicy?",
        ),
        (
            "EnvoyExtensionPolicy",
            "gateway.envoyproxy.io/v1alpha1",
            "gateway.networking.k8s.io/v1",
            "apiVersion: gateway.networking.k8s.io/v1\nkind: EnvoyExt",
            "error: apiVersion: must be gateway.envoyproxy.io/v1alpha1",
        ),
        (
            "EnvoyExtensionPolicy",
            "name: edge}]",
            "name: egde}]",
            "{group",
            "error: spec.targetRefs[0]: no Gateway default/egde in this file, only default/edge",
        ),
        (
            "EnvoyExtensionPolicy",
            "  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]\n",
            "",
            "spec:",
            "error: spec.targetRefs: is missing",
        ),
        (
            "EnvoyExtensionPolicy",
            "group: gateway.networking.k8s.io, kind: Gateway",
            "group: gateway.envoyproxy.io, kind: Gateway",
            "{group",
            "error: spec.targetRefs[0]: group must be",
        ),
        (
            "EnvoyExtensionPolicy",
            "httproute/default/jwks/rule/0",
            "keys",
            "\"cluster\"",
            "warning: providers[0].jwks.remote.cluster: \"keys\" is no name of Envoy Gateway's",
        ),
        (
            "bootstrap, Struct",
            "FAIL_RELOAD",
            "FAIL_OPEN",
            "failure_policy",
            "config.failure_policy: serves all",
        ),
        (
            "bootstrap, Struct",
            "failure_policy: FAIL_RELOAD",
            "fail_open: true",
            "fail_open",
            "config.fail_open: serves all",
        ),
        (
            "bootstrap, Struct",
            "failure_policy",
            "failurePolicy: FAIL_OPEN #",
            "failurePolicy",
            "config.failurePolicy: serves all",
        ),
        (
            "bootstrap, Struct",
            "failure_policy",
            "failure_polcy",
            "failure_polcy",
            "config.failure_polcy: unknown field; did you mean `failure_policy`?",
        ),
        (
            "bootstrap, Struct",
            "configuration:\n",
            "configuraton:\n",
            "configuraton",
            "config.configuraton: unknown field; did you mean `configuration`?",
        ),
        (
            "bootstrap, Struct",
            "protobuf.Struct",
            "protobuf.StringValue",
            "value:",
            "configuration.value: must be a text with JSON",
        ),
        (
            "bootstrap, Struct",
            "protobuf.Struct",
            "protobuf.Duration",
            "configuration:",
            "configuration: must be a google.protobuf.Struct or",
        ),
        (
            "bootstrap, Struct",
            "value:\n",
            "valu:\n",
            "configuration:",
            "configuration: has no `value`",
        ),
        (
            "bootstrap, StringValue",
            "protobuf.StringValue",
            "protobuf.Struct",
            "value:",
            "configuration.value: must be an object",
        ),
        (
            "bootstrap, Struct",
            "cluster\": \"keys\"",
            "cluster\": \"jwks\"",
            "\"cluster\"",
            "error: providers[0].jwks.remote.cluster: \"jwks\" is no cluster of static_resources; there are: keys",
        ),
        (
            "bootstrap, Struct",
            "http://id.example/jwks",
            "https://id.example/jwks",
            "- name: keys",
            "warning: cluster keys speaks no TLS",
        ),
        (
            "bootstrap, Struct",
            "- name: session_token",
            "- name: session_token\n              disabled: true",
            "disabled",
            "disabled: the filter is off, and no route turns it on",
        ),
        ("ECDS", "FAIL_CLOSED", "FAIL_OPEN", "failure_policy", "failure_policy: serves all"),
        ("EnvoyFilter", "FAIL_CLOSED", "FAIL_OPEN", "failure_policy", "failure_policy: serves all"),
    ];
    for (kind, from, to, marker, expected) in rows {
        let own = Kind::named(kind);
        let text = own.wrap(CONFIGURATION);
        assert!(text.contains(from), "{kind}: no {from}");
        let text = text.replacen(from, to, 1);
        let Run { code, out, .. } = check(&text);
        let found = out.lines().find(|line| line.contains(expected));
        let found = found.unwrap_or_else(|| panic!("{kind}: {to}: no {expected} in\n{out}"));
        let spot = place(&text, marker);
        let line = spot.split(':').next().unwrap();
        assert!(
            found.starts_with(&format!("-:{line}:")),
            "{kind}: {to}: {found}, expected line {line} in\n{text}"
        );
        let is_warning = expected.contains("warning: ");
        assert_eq!(code, i32::from(!is_warning), "{kind}: {to}: {out}");
    }
}

#[test]
fn filters_stand_where_requests_come_by() {
    let own = "            - name: session_token\n";
    let text = Kind::named("bootstrap, Struct").wrap(CONFIGURATION);
    let behind = |name: &str, kind: &str| {
        let other = format!(
            "            - name: {name}\n              typed_config: {{\"@type\": \
             type.googleapis.com/envoy.extensions.filters.http.{kind}}}\n"
        );
        let text = text.replacen(own, &format!("{other}{own}"), 1);
        let Run { code, out, .. } = check(&text);
        (code, out, place(&text, "name: session_token").split(':').next().unwrap().to_owned())
    };
    let (code, out, line) = behind("router", "router.v3.Router");
    assert!(code == 1 && out.starts_with(&format!("-:{line}:")), "{out}");
    assert!(out.contains("stands behind the router"), "{out}");
    let (code, out, line) = behind("rbac", "rbac.v3.RBAC");
    assert!(code == 0 && out.starts_with(&format!("-:{line}:")), "{out}");
    assert!(out.contains("warning: ") && out.contains("behind an RBAC filter"), "{out}");
    let (code, out, _) = behind("cors", "cors.v3.Cors");
    assert!(code == 0 && out.contains("0 errors, 0 warnings"), "{out}");
}

#[test]
fn policies_that_take_the_place_of_ours_are_told() {
    let policy = |merge: &str, gateway: &str| {
        format!(
            "---\nkind: HTTPRoute\nmetadata: {{name: shop}}\nspec: {{parentRefs: [{{name: {gateway}}}]}}\n\
             ---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\n\
             metadata: {{name: lua}}\nspec:\n  targetRefs: [{{group: gateway.networking.k8s.io, \
             kind: HTTPRoute, name: shop}}]\n  lua: [{{type: Inline}}]\n{merge}"
        )
    };
    let own = Kind::named("EnvoyExtensionPolicy")
        .wrap(CONFIGURATION)
        .replace("httproute/default/jwks/rule/0", "grpcroute/default/jwks/rule/0");
    for (merge, gateway, warnings) in
        [("", "edge", 1), ("  mergeType: StrategicMerge\n", "edge", 0), ("", "other", 0)]
    {
        let text = format!("{own}{}", policy(merge, gateway));
        let Run { out, .. } = check(&text);
        let found = out.matches("EnvoyExtensionPolicy \"lua\" takes this one's place").count();
        assert_eq!(found, warnings, "{merge}{gateway}: {out}");
    }
}

#[test]
fn filters_that_are_off_are_told() {
    let name = "            - name: session_token\n";
    let off = format!("{name}              disabled: true\n");
    let text = Kind::named("bootstrap, Struct").wrap(CONFIGURATION).replacen(name, &off, 1);
    for (what, routes, code, part) in [
        ("by no route", "", 1, "error: "),
        ("by a server's routes", "            rds: {}\n", 0, "note: "),
        (
            "by a route",
            "            route_config: {typed_per_filter_config: {session_token: {\"@type\": x, config: {}}}}\n",
            0,
            "note: ",
        ),
        (
            "off again",
            "            route_config: {typed_per_filter_config: {session_token: {disabled: true}}}\n",
            0,
            "warning: ",
        ),
    ] {
        let chain = "            http_filters:\n";
        let text = text.replacen(chain, &format!("{routes}{chain}"), 1);
        let Run { code: real, out, .. } = check(&text);
        assert_eq!(real, code, "{what}: {out}");
        assert!(out.contains(part) && out.contains("disabled: "), "{what}: {out}");
    }
}

#[test]
fn plugins_that_share_a_vm_id_are_told() {
    let text = Kind::named("bootstrap, Struct").wrap(CONFIGURATION);
    let start = text.find("            - name: session_token\n").unwrap();
    let other = &text[start..text.find("            - name: router").unwrap()];
    let other = other.replace("a.wasm", "b.wasm");
    let text = format!("{}{other}{}", &text[..start], &text[start..]);
    let Run { code, out, .. } = check(&text);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("vm_id: another plugin with other code has the same vm_id"), "{out}");
    let same = text.replace("b.wasm", "a.wasm");
    assert!(check(&same).out.contains("0 errors, 0 warnings"));
}
