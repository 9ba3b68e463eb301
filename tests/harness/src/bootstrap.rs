//! Envoy bootstraps for tests, as JSON, which is YAML too.
//!
//! Each part is a small builder around the JSON that Envoy reads, and has an `override_with`
//! that merges any further fields: options that one test needs get no builder method here.
//! [`Document`] takes a YAML file as it is shipped and turns its ports to free ones.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::workspace;

/// A whole bootstrap. `Display` writes what Envoy reads.
#[derive(Clone, Debug)]
pub struct Bootstrap(Value);

/// A listener on a free port of 127.0.0.1 with one HTTP connection manager.
#[derive(Clone, Debug)]
pub struct Listener {
    name: String,
    filters: Vec<Value>,
    routes: Vec<Value>,
    manager: Value,
    listener: Value,
}

/// One route of a listener's only virtual host.
#[derive(Clone, Debug)]
pub struct Route(Value);

/// A cluster of type STATIC with one endpoint.
#[derive(Clone, Debug)]
pub struct Cluster(Value);

/// `envoy.filters.http.wasm` with the finished module.
#[derive(Clone, Debug)]
pub struct WasmFilter(Value);

/// A bootstrap file of this repository, parsed, to be run on free ports.
#[derive(Clone, Debug)]
pub struct Document(Value);

impl Bootstrap {
    /// Without listeners and clusters.
    pub fn new() -> Self {
        Self(json!({ "static_resources": { "listeners": [], "clusters": [] } }))
    }

    /// Adds a listener that never changes.
    pub fn listener(mut self, listener: Listener) -> Self {
        push(&mut self.0["static_resources"]["listeners"], listener.to_json());
        self
    }

    /// Takes listeners from a file that Envoy watches.
    pub fn dynamic_listeners(mut self, file: &Path) -> Self {
        self.0["node"] = json!({ "id": "test", "cluster": "test" });
        self.0["dynamic_resources"] = json!({ "lds_config": {
            "resource_api_version": "V3",
            "path_config_source": { "path": file },
        } });
        self
    }

    /// Adds a cluster.
    pub fn cluster(mut self, cluster: Cluster) -> Self {
        push(&mut self.0["static_resources"]["clusters"], cluster.0);
        self
    }

    /// Merges any further fields of the bootstrap.
    pub fn override_with(mut self, fields: Value) -> Self {
        merge(&mut self.0, fields);
        self
    }
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Bootstrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl Listener {
    /// No filter but the router, no route. The access log goes to standard output: method,
    /// protocol, status, response-code details, flags and upstream cluster.
    pub fn new(name: &str) -> Self {
        let manager = json!({
            "@type": type_url("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": name,
            "codec_type": "AUTO",
            "access_log": [{
                "name": "envoy.access_loggers.stdout",
                "typed_config": {
                    "@type": type_url("access_loggers.stream.v3.StdoutAccessLog"),
                    "log_format": { "text_format_source": { "inline_string": ACCESS_LOG_FORMAT } },
                },
            }],
        });
        Self {
            name: name.to_owned(),
            filters: Vec::new(),
            routes: Vec::new(),
            manager,
            listener: json!({ "address": { "socket_address": {
                "address": "127.0.0.1", "port_value": 0,
            } } }),
        }
    }

    /// Adds the Wasm filter, after the filters that are there.
    pub fn filter(self, filter: WasmFilter) -> Self {
        self.raw_filter(filter.0)
    }

    /// Adds any HTTP filter, as Envoy's JSON with `name` and `typed_config`.
    pub fn raw_filter(mut self, filter: Value) -> Self {
        self.filters.push(filter);
        self
    }

    /// Adds Envoy's CORS filter. Its policy is a route's: [`Route::cors`].
    pub fn cors_filter(self) -> Self {
        self.raw_filter(json!({
            "name": "envoy.filters.http.cors",
            "typed_config": { "@type": type_url("filters.http.cors.v3.Cors") },
        }))
    }

    /// Adds a route; the first that matches counts.
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route.0);
        self
    }

    /// Another format of the access log: Envoy's `log_format`.
    pub fn access_log(mut self, format: Value) -> Self {
        self.manager["access_log"][0]["typed_config"]["log_format"] = format;
        self
    }

    /// Lets `Upgrade: websocket` through.
    pub fn websocket(self) -> Self {
        self.manager_with(json!({ "upgrade_configs": [{ "upgrade_type": "websocket" }] }))
    }

    /// Accepts headers of up to `kilobytes` KiB and `count` lines, from clients.
    pub fn header_limits(self, kilobytes: u32, count: u32) -> Self {
        self.manager_with(json!({
            "max_request_headers_kb": kilobytes,
            "common_http_protocol_options": { "max_headers_count": count },
        }))
    }

    /// Merges fields of the HTTP connection manager.
    pub fn manager_with(mut self, fields: Value) -> Self {
        merge(&mut self.manager, fields);
        self
    }

    /// Merges fields of the listener itself.
    pub fn override_with(mut self, fields: Value) -> Self {
        merge(&mut self.listener, fields);
        self
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut filters = self.filters.clone();
        filters.push(json!({
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": type_url("filters.http.router.v3.Router") },
        }));
        let mut manager = self.manager.clone();
        manager["http_filters"] = json!(filters);
        if manager.get("route_config").is_none() {
            manager["route_config"] = json!({
                "name": self.name,
                "virtual_hosts": [{ "name": self.name, "domains": ["*"], "routes": self.routes }],
            });
        }
        let mut listener = self.listener.clone();
        listener["name"] = json!(self.name);
        listener["filter_chains"] = json!([{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": manager,
        }] }]);
        listener
    }
}

impl Route {
    /// Paths that start with `prefix`.
    pub fn prefix(prefix: &str) -> Self {
        Self(json!({ "match": { "prefix": prefix } }))
    }

    /// Only if this header has exactly this value.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        let matcher = json!({ "name": name, "string_match": { "exact": value } });
        push(&mut self.0["match"]["headers"], matcher);
        self
    }

    /// A name, as filters see it in `xds.route_name`.
    pub fn named(mut self, name: &str) -> Self {
        self.0["name"] = json!(name);
        self
    }

    /// Goes to a cluster.
    pub fn to(mut self, cluster: &str) -> Self {
        self.0["route"] = json!({ "cluster": cluster });
        self
    }

    /// Envoy answers by itself.
    pub fn direct(mut self, status: u16, body: &str) -> Self {
        self.0["direct_response"] = json!({ "status": status, "body": { "inline_string": body } });
        self
    }

    /// Answers preflights and adds headers for this origin; needs [`Listener::cors_filter`].
    pub fn cors(mut self, origin: &str) -> Self {
        self.0["typed_per_filter_config"]["envoy.filters.http.cors"] = json!({
            "@type": type_url("filters.http.cors.v3.CorsPolicy"),
            "allow_origin_string_match": [{ "exact": origin }],
            "allow_methods": "GET, POST, PUT, DELETE, OPTIONS",
            "allow_headers": "authorization, content-type",
            "allow_credentials": true,
        });
        self
    }

    /// Merges any further fields.
    pub fn override_with(mut self, fields: Value) -> Self {
        merge(&mut self.0, fields);
        self
    }
}

impl Cluster {
    /// Speaks HTTP/1.1 to `address`.
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Self(json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "2s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{ "lb_endpoints": [endpoint(address)] }],
            },
        }))
    }

    /// Speaks HTTP/2 without TLS.
    pub fn http2(self) -> Self {
        self.protocol(json!({ "explicit_http_config": { "http2_protocol_options": {} } }))
    }

    /// Speaks TLS, and only to a server with a certificate for `name` by this authority (PEM).
    pub fn tls(mut self, authority: &str, name: &str) -> Self {
        self.0["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": type_url("transport_sockets.tls.v3.UpstreamTlsContext"),
                "sni": name,
                "common_tls_context": { "validation_context": {
                    "trusted_ca": { "inline_string": authority },
                    "match_typed_subject_alt_names": [
                        { "san_type": "DNS", "matcher": { "exact": name } },
                    ],
                } },
            },
        });
        self
    }

    /// Merges any further fields.
    pub fn override_with(mut self, fields: Value) -> Self {
        merge(&mut self.0, fields);
        self
    }

    fn protocol(mut self, options: Value) -> Self {
        let mut options = options;
        options["@type"] = json!(type_url("upstreams.http.v3.HttpProtocolOptions"));
        self.0["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"] =
            options;
        self
    }
}

impl WasmFilter {
    /// The module under `target/`, `failure_policy: FAIL_RELOAD`, no configuration.
    pub fn new() -> Self {
        Self(json!({
            "name": "session_token",
            "typed_config": {
                "@type": type_url("filters.http.wasm.v3.Wasm"),
                "config": {
                    "name": "session_token",
                    "failure_policy": "FAIL_RELOAD",
                    "vm_config": {
                        "vm_id": "session_token",
                        "runtime": "envoy.wasm.runtime.v8",
                        "code": { "local": { "filename": workspace::module() } },
                    },
                },
            },
        }))
    }

    /// The configuration as JSON text in a `StringValue`.
    pub fn configuration(self, configuration: Value) -> Self {
        self.configuration_text(&configuration.to_string())
    }

    /// Any text in a `StringValue`, JSON or not.
    pub fn configuration_text(self, text: &str) -> Self {
        self.plugin_with(json!({ "configuration": {
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": text,
        } }))
    }

    /// The configuration as a `Struct`, which reaches the plugin as serialised protobuf.
    pub fn configuration_struct(self, configuration: Value) -> Self {
        self.plugin_with(json!({ "configuration": {
            "@type": "type.googleapis.com/google.protobuf.Struct",
            "value": configuration,
        } }))
    }

    /// Another module.
    pub fn module(self, file: &Path) -> Self {
        self.plugin_with(json!({ "vm_config": { "code": { "local": { "filename": file } } } }))
    }

    /// Another `vm_id`, for a VM of its own.
    pub fn vm_id(self, id: &str) -> Self {
        self.plugin_with(json!({ "vm_config": { "vm_id": id } }))
    }

    /// Sets `allow_on_headers_stop_iteration`.
    pub fn allow_on_headers_stop_iteration(self, allow: bool) -> Self {
        self.plugin_with(json!({ "allow_on_headers_stop_iteration": allow }))
    }

    /// Merges fields of the plugin configuration.
    pub fn plugin_with(mut self, fields: Value) -> Self {
        merge(&mut self.0["typed_config"]["config"], fields);
        self
    }
}

impl Default for WasmFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl Document {
    /// Parses YAML.
    ///
    /// # Errors
    ///
    /// The parser's message with line and column.
    pub fn parse(yaml: &str) -> Result<Self, yaml_serde::Error> {
        yaml_serde::from_str(yaml).map(Self)
    }

    /// Binds every listener to a free port of 127.0.0.1.
    pub fn on_free_ports(mut self) -> Self {
        if let Some(listeners) = self.0["static_resources"]["listeners"].as_array_mut() {
            for listener in listeners {
                listener["address"] = json!({ "socket_address": {
                    "address": "127.0.0.1", "port_value": 0,
                } });
            }
        }
        self
    }

    /// Sends a cluster's requests to `address`, and drops its DNS name and TLS.
    ///
    /// # Panics
    ///
    /// When there is no such cluster.
    pub fn with_cluster_at(mut self, name: &str, address: SocketAddr) -> Self {
        let cluster = self.0["static_resources"]["clusters"]
            .as_array_mut()
            .and_then(|clusters| clusters.iter_mut().find(|cluster| cluster["name"] == name))
            .unwrap_or_else(|| panic!("the document has no cluster {name}"));
        cluster["type"] = json!("STATIC");
        cluster["load_assignment"] = json!({
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [endpoint(address)] }],
        });
        if let Some(fields) = cluster.as_object_mut() {
            fields.remove("transport_socket");
            fields.remove("dns_lookup_family");
        }
        self
    }

    /// The names of all clusters.
    pub fn clusters(&self) -> Vec<String> {
        names(&self.0["static_resources"]["clusters"])
    }

    /// The names of all listeners.
    pub fn listeners(&self) -> Vec<String> {
        names(&self.0["static_resources"]["listeners"])
    }

    /// The parsed document.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// The parsed document, for changes that no method here makes.
    pub fn json_mut(&mut self) -> &mut Value {
        &mut self.0
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

fn type_url(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{name}")
}

fn endpoint(address: SocketAddr) -> Value {
    json!({ "endpoint": { "address": { "socket_address": {
        "address": address.ip().to_string(), "port_value": address.port(),
    } } } })
}

fn names(resources: &Value) -> Vec<String> {
    let resources = resources.as_array().map(Vec::as_slice).unwrap_or_default();
    resources.iter().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect()
}

fn push(array: &mut Value, item: Value) {
    match array {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

/// Objects are merged member by member; everything else is replaced.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

const ACCESS_LOG_FORMAT: &str = "%REQ(:METHOD)% %PROTOCOL% %RESPONSE_CODE% \
    %RESPONSE_CODE_DETAILS% flags=%RESPONSE_FLAGS% cluster=%UPSTREAM_CLUSTER%\n";
