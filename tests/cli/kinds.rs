//! A manifest of each kind around one configuration.

use super::{Run, run};

/// One way to wrap a configuration: what stands before it, how far it is indented, what follows.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) before: &'static str,
    indent: usize,
    after: &'static str,
    pub(crate) cluster: &'static str,
    /// Whether the configuration is text, which is not looked into by whoever wraps it.
    pub(crate) is_text: bool,
}

pub(crate) static KINDS: [Kind; 10] = [
    Kind { name: "bare", before: "", indent: 0, after: "", cluster: "keys", is_text: false },
    Kind {
        name: "bootstrap, Struct",
        before: STRUCT,
        indent: 22,
        after: ROUTER,
        cluster: "keys",
        is_text: false,
    },
    Kind {
        name: "bootstrap, StringValue",
        before: STRING_VALUE,
        indent: 22,
        after: ROUTER,
        cluster: "keys",
        is_text: true,
    },
    Kind { name: "ECDS", before: ECDS, indent: 10, after: "", cluster: "keys", is_text: true },
    Kind {
        name: "EnvoyFilter",
        before: ENVOY_FILTER,
        indent: 18,
        after: "",
        cluster: "keys",
        is_text: false,
    },
    Kind {
        name: "ConfigMap",
        before: CONFIG_MAP,
        indent: 14,
        after: "",
        cluster: "keys",
        is_text: false,
    },
    Kind {
        name: "WasmPlugin",
        before: WASM_PLUGIN,
        indent: 4,
        after: "",
        cluster: "outbound|443||id.example",
        is_text: false,
    },
    Kind {
        name: "WasmPlugin among others",
        before: AMONG_OTHERS,
        indent: 4,
        after: "---\nkind: Service\napiVersion: v1\n",
        cluster: "outbound|443||id.example",
        is_text: false,
    },
    Kind {
        name: "TrafficExtension",
        before: TRAFFIC_EXTENSION,
        indent: 6,
        after: "",
        cluster: "outbound|443||id.example",
        is_text: false,
    },
    Kind {
        name: "EnvoyExtensionPolicy",
        before: POLICY,
        indent: 8,
        after: "",
        cluster: "httproute/default/jwks/rule/0",
        is_text: false,
    },
];

/// JSON, which stands in YAML as well as in texts.
pub(crate) const CONFIGURATION: &str = r#"{
  "providers": [{
    "name": "partner", "issuers": ["https://id.example"],
    "jwks": {"remote": {"uri": "http://id.example/jwks", "cluster": "CLUSTER"}}
  }],
  "rules": [
    {"name": "admin", "match": {"path": {"prefix": "/admin"}}, "access": "required"},
    {"name": "page", "match": {"path": {"exact": "/"}}, "access": "public"}
  ],
  "csrf": {"mode": "enforce"}
}"#;

impl Kind {
    /// The kind of this name.
    pub(crate) fn named(name: &str) -> &'static Self {
        KINDS.iter().find(|own| own.name == name).unwrap()
    }

    /// The file with this configuration.
    pub(crate) fn wrap(&self, configuration: &str) -> String {
        let configuration = configuration.replace("CLUSTER", self.cluster);
        let indent = " ".repeat(self.indent);
        let lines: String = configuration.lines().map(|line| format!("{indent}{line}\n")).collect();
        format!("{}{lines}{}", self.before, self.after)
    }
}

pub(crate) fn check(text: &str) -> Run {
    run(&["check", "-"], text)
}

/// Where `part` first stands in `text`, as `line:column`.
pub(crate) fn place(text: &str, part: &str) -> String {
    let at = text.find(part).unwrap_or_else(|| panic!("no {part} in\n{text}"));
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    format!("{line}:{}", at - before.rfind('\n').map_or(0, |newline| newline + 1) + 1)
}

/// A bootstrap up to the configuration, which may stand in two forms.
macro_rules! bootstrap {
    ($configuration:literal) => {
        concat!(
            r#"static_resources:
  clusters:
    - name: keys
  listeners:
    - filter_chains:
      - filters:
        - name: http
          typed_config:
            http_filters:
            - name: session_token
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                config:
                  failure_policy: FAIL_RELOAD
                  vm_config: {vm_id: own, code: {local: {filename: a.wasm}}}
                  configuration:
"#,
            $configuration
        )
    };
}

const STRUCT: &str = bootstrap!(
    r#"                    "@type": type.googleapis.com/google.protobuf.Struct
                    value:
"#
);

const STRING_VALUE: &str = bootstrap!(
    r#"                    "@type": type.googleapis.com/google.protobuf.StringValue
                    value: |
"#
);

const ROUTER: &str = r#"            - name: router
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"#;

const ECDS: &str = r#"resources:
- "@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
  name: session
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
    config:
      failure_policy: FAIL_CLOSED
      vm_config: {code: {local: {filename: a.wasm}}}
      configuration:
        "@type": type.googleapis.com/google.protobuf.StringValue
        value: |
"#;

const ENVOY_FILTER: &str = r#"apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    patch:
      value:
        typed_config:
          "@type": type.googleapis.com/udpa.type.v1.TypedStruct
          type_url: type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
          value:
            config:
              failure_policy: FAIL_CLOSED
              vm_config: {code: {local: {filename: a.wasm}}}
              configuration:
                "@type": type.googleapis.com/google.protobuf.Struct
                value:
"#;

const CONFIG_MAP: &str = r#"apiVersion: v1
kind: ConfigMap
data:
  notes.txt: "a: [1"
  lds.yaml: |
    resources:
    - typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
        config:
          vm_config: {code: {local: {filename: a.wasm}}}
          configuration:
            "@type": type.googleapis.com/google.protobuf.Struct
            value:
"#;

const WASM_PLUGIN: &str = r#"apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: session, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  url: oci://registry:5000/session-token-filter:1
  phase: AUTHN
  failStrategy: FAIL_CLOSE
  pluginConfig:
"#;

const AMONG_OTHERS: &str = r#"apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: jwks}
spec: {hosts: [id.example], ports: [{number: 443}]}
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: session, namespace: istio-system}
spec:
  url: oci://registry:5000/session-token-filter:1
  phase: AUTHZ
  pluginConfig:
"#;

const TRAFFIC_EXTENSION: &str = r#"apiVersion: extensions.istio.io/v1alpha1
kind: TrafficExtension
metadata: {name: session, namespace: istio-system}
spec:
  phase: AUTHN
  wasm:
    url: oci://registry:5000/session-token-filter:1
    failStrategy: FAIL_CLOSE
    pluginConfig:
"#;

const POLICY: &str = r#"apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: session}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  wasm:
    - name: session
      failOpen: false
      code:
        type: Image
        image:
          url: oci://registry:5000/session-token-filter:1
          sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
      config:
"#;
