//! etcd, kube-apiserver and istiod, as in a cluster, on their usual ports of loopback.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use session_token_harness::client::{Client, Request};

use super::manifest::Manifest;
use super::{CRDS, GATEWAY_API_CRDS, fetched};
use crate::daemon::Daemon;
use crate::site::local;
use crate::tools;

/// A running control plane. It starts with Istio's CRDs and no other resources.
pub(crate) struct ControlPlane {
    /// For whoever has to ask the cluster.
    pub(crate) kubectl: Kubectl,
    istiod: Daemon,
    _api: Daemon,
    _etcd: Daemon,
}

/// The client of the cluster.
pub(crate) struct Kubectl {
    folder: PathBuf,
}

/// Resources in the cluster; dropping it deletes them.
pub(crate) struct Applied<'a> {
    kubectl: &'a Kubectl,
    file: PathBuf,
}

impl ControlPlane {
    /// Starts it. Logs and data go to `folder`.
    ///
    /// # Panics
    ///
    /// When a part does not start.
    pub(crate) fn start(folder: &Path) -> Self {
        let etcd = start_etcd(folder);
        let kubectl = Kubectl { folder: folder.to_owned() };
        let api = start_api(&kubectl);
        for crds in [CRDS, GATEWAY_API_CRDS] {
            kubectl.run(&["create", "-f", &fetched(crds).display().to_string()]);
        }
        kubectl.run(&["wait", "--for", "condition=established", "crd", "--all"]);
        for namespace in ["istio-system", "istio-ingress", "shop"] {
            kubectl.run(&["create", "namespace", namespace]);
        }
        Self { istiod: start_istiod(folder), kubectl, _api: api, _etcd: etcd }
    }

    /// Applies a manifest for as long as the result lives.
    ///
    /// # Panics
    ///
    /// When the API refuses it.
    pub(crate) fn apply(&self, manifest: &Manifest) -> Applied<'_> {
        let file = self.kubectl.apply(manifest);
        Applied { kubectl: &self.kubectl, file }
    }

    /// All that istiod has written.
    pub(crate) fn log(&self) -> String {
        self.istiod.log()
    }
}

impl Kubectl {
    /// Runs it and returns what it writes.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// Runs it; an error is what it complains about.
    pub(crate) fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(tools::path("kubectl"));
        command.env("KUBECONFIG", self.folder.join(KUBECONFIG)).env("HOME", &self.folder);
        run(command.args(arguments))
    }

    /// Applies a manifest, and returns the file that it was written to.
    fn apply(&self, manifest: &Manifest) -> PathBuf {
        let file = manifest.write(&self.folder);
        self.run(&["apply", "--validate=strict", "-f", &file.display().to_string()]);
        file
    }
}

impl Applied<'_> {
    /// Applies another version of the same resources.
    ///
    /// # Panics
    ///
    /// When the API refuses it.
    pub(crate) fn change_to(&mut self, manifest: &Manifest) {
        self.file = self.kubectl.apply(manifest);
    }
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        let file = self.file.display().to_string();
        let arguments = ["delete", "--ignore-not-found", "--wait=false", "-f", &file];
        if let Err(error) = self.kubectl.try_run(&arguments) {
            eprintln!("{file} is still there: {error}");
        }
    }
}

fn start_etcd(folder: &Path) -> Daemon {
    let mut command = Command::new(tools::path("etcd"));
    command.arg("--data-dir").arg(folder.join("etcd")).args([
        // Nothing here has to outlive a power cut.
        "--unsafe-no-fsync",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=default=http://127.0.0.1:2380",
    ]);
    let mut etcd = Daemon::start("etcd", &mut command, folder);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 2379));
    etcd.wait_until("listening", START, || TcpStream::connect(address).is_ok());
    etcd
}

/// Whoever has the token may do anything; nobody else is in this namespace.
fn start_api(kubectl: &Kubectl) -> Daemon {
    let folder = &kubectl.folder;
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    };
    let tokens = write("tokens.csv", "admin-of-this-run,admin,admin,\"system:masters\"\n");
    write(
        KUBECONFIG,
        "{apiVersion: v1, kind: Config, current-context: run,
          contexts: [{name: run, context: {cluster: run, user: admin}}],
          users: [{name: admin, user: {token: admin-of-this-run}}],
          clusters: [{name: run, cluster: {server: 'https://127.0.0.1:6443',
                                           insecure-skip-tls-verify: true}}]}\n",
    );
    let accounts = folder.join("service-accounts.key");
    run(Command::new("openssl").args(["genrsa", "-out"]).arg(&accounts).arg("2048"))
        .unwrap_or_else(|error| panic!("openssl genrsa: {error}"));
    let mut command = Command::new(tools::path("kube-apiserver"));
    command
        .arg("--cert-dir")
        .arg(folder.join("api-certificates"))
        .arg("--token-auth-file")
        .arg(tokens)
        .arg("--service-account-key-file")
        .arg(&accounts)
        .arg("--service-account-signing-key-file")
        .arg(&accounts)
        .args([
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            // Neither nodes nor controllers run here.
            "--endpoint-reconciler-type=none",
            "--disable-admission-plugins=ServiceAccount",
        ]);
    let mut api = Daemon::start("kube-apiserver", &mut command, folder);
    api.wait_until("ready", START, || {
        kubectl.try_run(&["get", "--raw", "/readyz"]).is_ok_and(|text| text == "ok")
    });
    api
}

fn start_istiod(folder: &Path) -> Daemon {
    let mesh = folder.join("mesh.yaml");
    // Else clusters wait for the certificates of mutual TLS. The log is for people.
    let text = "enableAutoMtls: false\naccessLogFile: /dev/stdout\n";
    fs::write(&mesh, text).unwrap_or_else(|error| panic!("{}: {error}", mesh.display()));
    let mut command = Command::new(tools::path("pilot-discovery"));
    command
        .current_dir(folder)
        .env("POD_NAMESPACE", "istio-system")
        .env("POD_NAME", "istiod")
        // Filters that only Istio's own build of Envoy has.
        .env("PILOT_ENABLE_METADATA_EXCHANGE", "false")
        .env("PILOT_ENABLE_ALPN_FILTER", "false")
        .args(["discovery", "--meshConfig", "mesh.yaml", "--kubeconfig", KUBECONFIG])
        .args(["--grpcAddr=127.0.0.1:15010", "--httpAddr=127.0.0.1:8080"])
        .args(["--monitoringAddr=127.0.0.1:15014", "--secureGRPCAddr=", "--httpsAddr="]);
    let mut istiod = Daemon::start("istiod", &mut command, folder);
    let client = Client::new(local(8080));
    istiod.wait_until("ready", START, || client.send(Request::get("/ready")).status() == 200);
    istiod
}

/// What a program writes, or complains about.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{} {}", text(&output.stdout), text(&output.stderr)))
    }
}

const KUBECONFIG: &str = "kubeconfig";

/// The API takes ten seconds on two idle cores.
const START: Duration = Duration::from_secs(120);
