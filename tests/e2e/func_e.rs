//! `func-e run -c envoy/<file>.yaml` from the repository's root, as the files themselves say, on
//! the ports that they name. Needs Go to install func-e; Envoy's binary is the test's.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use session_token_harness::backend::Backend;
use session_token_harness::client::{Client, Request};
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::server::{Protocol, ReceivedRequest, Server};
use session_token_harness::workspace;

use crate::shipped::{
    API, SECOND_API, WWW, WWW_ONE_HOST, call_stock, get_from, shipped_session, vendors_session,
};
use crate::trial;
use crate::world::{World, cookies_around};

/// All tests, for one Envoy; without Go they are listed and left out.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let go = Command::new("go").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let has_go = go.is_ok_and(|status| status.success());
    let test = trial(world, "func_e::one_request_a_scenario", one_request_a_scenario);
    vec![if has_go { test } else { test.with_kind("needs Go").with_ignored_flag(true) }]
}

fn one_request_a_scenario(world: &World) {
    /// Both Envoy versions need the same ports.
    static PORTS: Mutex<()> = Mutex::new(());
    let _ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);

    let key = SigningKey::new(Algorithm::RS256, "k1");
    let _keys = taken(8081, || KeyServer::bind(local(8081), &jwks(&[&key])));
    let vendors_key = key.with_kid("d-1");
    let _auth = taken(8088, || KeyServer::bind(local(8088), &jwks(&[&vendors_key])));
    let clusters = [
        ("pages", 8082),
        ("api", 8083),
        ("api_pro", 8084),
        ("stock", 8086),
        ("priority", 8087),
        ("api2", 8089),
    ];
    let backends = clusters
        .map(|(name, port)| taken(port, || Backend::bind(name, local(port), Protocol::Http1)));
    let orders = |request: ReceivedRequest| call_stock(&request, local(8101));
    let _orders = taken(8085, || Server::bind(local(8085), orders));

    let func_e = install();
    let files = [
        ("one-host", 8090),
        ("two-hosts", 8080),
        ("service-to-service", 8100),
        ("shared-session", 8110),
    ];
    let running = files.map(|(file, _)| Running::start(&func_e, file, world.binary().path()));
    for (run, (_, port)) in running.iter().zip(files) {
        run.wait_for(port);
    }

    let session = shipped_session(&key, "usr-1", "pro");
    let bearer = format!("Bearer {session}");
    let cookie = cookies_around(&session);
    let shared = vendors_session(&vendors_key, "member", 60);
    let shared_cookie = format!("sAccessToken={shared}");
    let rows = [
        (8090, get_from(WWW_ONE_HOST, "/api/x").header("cookie", &cookie), 2),
        (8080, get_from(WWW, "/api/x").header("cookie", &cookie), 2),
        (8080, get_from(API, "/api/x").header("authorization", &bearer), 2),
        (8100, Request::get("/api/orders").header("authorization", &bearer), 4),
        // Through the proxies of two files, three hops in all.
        (8090, get_from(WWW_ONE_HOST, "/api/orders").header("cookie", &cookie), 4),
        (8110, get_from(SECOND_API, "/orders").header("cookie", &shared_cookie), 5),
    ];
    for (port, request, backend) in rows {
        let exchange = Client::new(local(port)).send(request);
        exchange.expect_status(200);
        let received = backends[backend].take_last();
        let received = received.unwrap_or_else(|| exchange.fail("another backend"));
        let verified = if port == 8110 { format!("Bearer {shared}") } else { bearer.clone() };
        assert_eq!(received.headers.text("authorization"), Some(verified));
        assert_eq!(received.headers.text("x-user-id").as_deref(), Some("usr-1"));
    }
    for (port, host, path) in [
        (8090, WWW_ONE_HOST, "/api/x"),
        (8080, API, "/api/x"),
        (8100, "orders", "/api/orders"),
        (8110, SECOND_API, "/orders"),
    ] {
        Client::new(local(port)).send(get_from(host, path)).expect_status(401);
    }
    for run in running {
        world.keep(run.end());
    }
}

/// Builds the pinned func-e once, under `target/`.
fn install() -> PathBuf {
    let folder = folder().join(VERSION);
    let file = folder.join("func-e");
    if !file.is_file() {
        let package = format!("github.com/tetratelabs/func-e/cmd/func-e@{VERSION}");
        let mut go = Command::new("go");
        let output = go.args(["install", &package]).env("GOBIN", &folder).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "go install {package}: {text}");
    }
    file
}

/// func-e with one of the shipped files. A shell ends it when this process is gone.
struct Running {
    shell: Child,
    input: Option<ChildStdin>,
    log: PathBuf,
}

impl Running {
    fn start(func_e: &Path, file: &str, envoy: &Path) -> Self {
        let log = folder().join(format!("{file}.log"));
        let output = File::create(&log).unwrap();
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT])
            .arg(func_e)
            .arg(format!("envoy/{file}.yaml"))
            .current_dir(workspace::root())
            .env("ENVOY_PATH", envoy)
            .env("FUNC_E_CONFIG_HOME", folder().join("config"))
            .env("FUNC_E_DATA_HOME", folder().join("data"))
            .env("FUNC_E_STATE_HOME", folder().join("state"))
            .env("FUNC_E_RUNTIME_DIR", folder().join("runtime"))
            .env("FUNC_E_RUN_ID", file)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let input = shell.stdin.take();
        Self { shell, input, log }
    }

    /// Waits until the proxy answers, and has its keys.
    fn wait_for(&self, port: u16) {
        let end = Instant::now() + Duration::from_secs(30);
        while Client::new(local(port)).send(Request::get("/")).status() == 0 {
            assert!(Instant::now() < end, "port {port} stays silent:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn text(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Ends it, and says what it wrote.
    fn end(mut self) -> String {
        self.stop();
        self.text()
    }

    fn stop(&mut self) {
        drop(self.input.take());
        let _ = self.shell.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A part on a fixed port; another test program may be about to leave it.
fn taken<T>(port: u16, bind: impl Fn() -> std::io::Result<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match bind() {
            Ok(part) => return part,
            Err(error) if Instant::now() > end => {
                panic!("port {port}: {error}; does the demo run?")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn folder() -> PathBuf {
    workspace::target().join("func-e")
}

const VERSION: &str = "v1.6.0";

/// The end of the input ends func-e, which ends its Envoy. Two Envoys of one user need different base
/// ids, whatever they are configured to do.
const SCRIPT: &str = r#"
"$0" run -c "$1" --use-dynamic-base-id &
child=$!
read -r _
kill -TERM "$child"
wait "$child"
"#;
