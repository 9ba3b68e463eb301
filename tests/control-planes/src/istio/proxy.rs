//! A pod's proxy: Istio's agent, which fetches the filter's image and runs Envoy.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use session_token_harness::client::{Client, Exchange, Request};
use session_token_harness::envoy::EnvoyBinary;
use session_token_harness::tls::Trust;

use super::{BOOTSTRAP, fetched};
use crate::daemon::Daemon;
use crate::site::local;
use crate::tools;

/// Whose proxy it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pod {
    /// Also the folder's name.
    pub(crate) name: &'static str,
    pub(crate) namespace: &'static str,
    /// One label.
    pub(crate) label: (&'static str, &'static str),
    pub(crate) kind: Kind,
    /// Its own on loopback, and no endpoint's: Istio takes a proxy for the workload there.
    pub(crate) address: IpAddr,
    /// Where its listener for requests is.
    pub(crate) port: u16,
    /// The agents of a machine have one network here: 0, 1 and so on.
    pub(crate) number: u16,
}

/// What Istio calls a proxy's type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A gateway.
    Router,
    /// Beside an application.
    Sidecar,
}

/// A running agent with its Envoy; dropping it ends both.
pub(crate) struct Proxy {
    agent: Daemon,
    pod: Pod,
    trust: Option<Trust>,
    log: PathBuf,
}

impl Proxy {
    /// Starts it, and does not wait for its listeners.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub(crate) fn start(pod: Pod, run: &Path) -> Self {
        let folder = run.join(pod.name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{error}"));
        let envoy = EnvoyBinary::newest().unwrap_or_else(|error| panic!("{error}"));
        let config = json!({
            "discoveryAddress": "127.0.0.1:15010",
            "controlPlaneAuthPolicy": "NONE",
            "configPath": folder.join("proxy"),
            "binaryPath": envoy.path(),
            "concurrency": 1,
            "proxyAdminPort": pod.admin_port(),
            "statusPort": 15_020 + 100 * pod.number,
            "terminationDrainDuration": "0.1s",
        });
        let (label, value) = pod.label;
        let mut command = Command::new(tools::path("pilot-agent"));
        command
            .current_dir(&folder)
            .env("POD_NAME", pod.name)
            .env("POD_NAMESPACE", pod.namespace)
            .env("INSTANCE_IP", pod.address.to_string())
            .env("ISTIO_META_CLUSTER_ID", "Kubernetes")
            .env("ISTIO_METAJSON_LABELS", json!({ label: value }).to_string())
            // No identity, so no certificate of the mesh.
            .env("FILE_MOUNTED_CERTS", "true")
            .env("PROXY_CONFIG", config.to_string())
            .env("ENVOY_STATUS_PORT", (15_021 + 100 * pod.number).to_string())
            .env("ENVOY_PROMETHEUS_PORT", (15_090 + 100 * pod.number).to_string())
            .arg("proxy");
        match pod.kind {
            Kind::Router => command.arg("router"),
            // Without the rules of a pod's network that send everything through it.
            Kind::Sidecar => command.arg("sidecar").env("ISTIO_META_INTERCEPTION_MODE", "NONE"),
        };
        command
            .args(["--domain", &format!("{}.svc.cluster.local", pod.namespace)])
            .arg("--templateFile")
            .arg(fetched(BOOTSTRAP))
            .args(["--proxyLogLevel", "warning,wasm:info", "--log_output_level", "wasm:debug"]);
        let name = format!("agent-{}", pod.name);
        let agent = Daemon::start(&name, &mut command, run);
        Self { agent, pod, trust: None, log: run.join(format!("{name}.log")) }
    }

    /// A client of its listener.
    pub(crate) fn client(&self) -> Client {
        let address = SocketAddr::from((self.pod.address, self.pod.port));
        let client = Client::new(address).with_log(&self.log);
        match &self.trust {
            None => client,
            Some(trust) => client.tls(trust.clone()),
        }
    }

    /// Clients speak TLS from now on.
    pub(crate) fn over_tls(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// Sends `request` until the answer has this status. What Istio is told takes effect later.
    ///
    /// # Panics
    ///
    /// When it never does.
    #[track_caller]
    pub(crate) fn eventually(&self, request: &Request, status: u16) -> Exchange {
        let end = Instant::now() + EVENTUALLY;
        loop {
            let exchange = self.client().send(request.clone());
            if exchange.status() == status {
                return exchange;
            }
            if Instant::now() > end {
                exchange.fail(&format!("status {status} within {EVENTUALLY:?}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// All that agent and Envoy have written.
    pub(crate) fn log(&self) -> String {
        self.agent.log()
    }

    /// An answer of Envoy's admin interface; empty until there is one.
    pub(crate) fn admin(&self, path: &str) -> String {
        let client = Client::new(local(self.pod.admin_port()));
        let exchange = client.send(Request::get(path));
        exchange.response.map(|answer| answer.text()).unwrap_or_default()
    }

    /// The HTTP filters of its listener for requests, in order.
    pub(crate) fn http_filters(&self) -> Vec<String> {
        self.http_filters_at(self.pod.port)
    }

    /// The HTTP filters of a listener, in order; none when there is no such listener.
    pub(crate) fn http_filters_at(&self, port: u16) -> Vec<String> {
        let dump = self.admin("/config_dump?resource=dynamic_listeners");
        let dump: Value = serde_json::from_str(&dump).unwrap_or_default();
        let mut names = Vec::new();
        for listener in dump["configs"].as_array().into_iter().flatten() {
            let listener = &listener["active_state"]["listener"];
            if listener["address"]["socket_address"]["port_value"] == port {
                collect_filters(listener, &mut names);
            }
        }
        names
    }
}

impl Pod {
    fn admin_port(&self) -> u16 {
        15_000 + 100 * self.number
    }
}

/// The first connection manager's: a listener may have one a filter chain, all alike here.
fn collect_filters(value: &Value, names: &mut Vec<String>) {
    if !names.is_empty() {
        return;
    }
    if let Some(filters) = value["http_filters"].as_array() {
        names.extend(
            filters.iter().map(|filter| filter["name"].as_str().unwrap_or_default().to_owned()),
        );
    }
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect_filters(value, names)),
        Value::Object(members) => {
            members.values().for_each(|value| collect_filters(value, names));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

const EVENTUALLY: Duration = Duration::from_secs(60);
