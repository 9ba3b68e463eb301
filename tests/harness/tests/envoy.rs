//! The harness against a real Envoy without the filter: bytes arrive as sent, listeners are
//! swapped, an Envoy that ends says why.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use session_token_harness::backend::Backend;
use session_token_harness::bootstrap::{Bootstrap, Cluster, Document, Listener, Route};
use session_token_harness::client::{Client, Request};
use session_token_harness::envoy::{
    DynamicListeners, Envoy, EnvoyBinary, EnvoyError, EnvoyOptions, ListenerUpdate,
};

#[test]
fn requests_reach_the_backend_byte_for_byte() {
    on_each_envoy(|binary| {
        let backend = Backend::start("app");
        let envoy = start_with(
            binary,
            Bootstrap::new().cluster(Cluster::new("app", backend.address())).listener(
                Listener::new("ingress").header_limits(96, 200).route(Route::prefix("/").to("app")),
            ),
        );
        let long = "x".repeat(60 * 1024);

        let exchange = envoy.client("ingress").send(
            Request::post("/a/%2e%2e/b;x//c?q=1", "hello")
                .header("Cookie", b"a=\xff\xfe")
                .header("cookie", "b=2")
                .header("x-long", &long),
        );

        let response = exchange.expect_status(200);
        assert_eq!(response.json()["backend"], "app", "{exchange}");
        let received = backend.take_last().expect("the backend saw it");
        assert_eq!(received.path, "/a/%2e%2e/b;x//c?q=1");
        assert_eq!(received.headers.all("cookie"), [&b"a=\xff\xfe"[..], b"b=2"]);
        assert_eq!(received.headers.get("x-long"), Some(long.as_bytes()));
        assert_eq!(received.body, b"hello");
        assert!(received.raw_head.starts_with(b"POST /a/%2e%2e/b;x//c?q=1 HTTP/1.1\r\n"));
        assert_eq!(backend.count(), 0);
        envoy.wait_for_access_log("POST HTTP/1.1 200 via_upstream").unwrap();
    });
}

#[test]
fn trailers_and_crumbs_travel_over_http2() {
    on_each_envoy(|binary| {
        let backend = Backend::start_http2("app");
        let envoy = start_with(
            binary,
            Bootstrap::new()
                .cluster(Cluster::new("app", backend.address()).http2())
                .listener(Listener::new("ingress").route(Route::prefix("/").to("app"))),
        );

        let exchange = envoy.client("ingress").http2().send(
            Request::post("/rpc", "body")
                .header("host", "api.example.com")
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .trailer("x-user-id", "mallory"),
        );

        exchange.expect_status(200);
        let received = backend.take_last().expect("the backend saw it");
        assert_eq!(received.trailers.get("x-user-id"), Some(&b"mallory"[..]));
        assert_eq!(received.headers.get(":authority"), Some(&b"api.example.com"[..]));
        assert_eq!(received.headers.all("cookie").join(&b"; "[..]), b"a=1; b=2");
    });
}

#[test]
fn listeners_are_swapped_and_bad_ones_refused() {
    on_each_envoy(|binary| {
        let listener = |body: &str| Listener::new("in").route(Route::prefix("/").direct(200, body));
        let dynamic = DynamicListeners::create(&[listener("old")]).unwrap();
        let envoy = start_with(binary, Bootstrap::new().dynamic_listeners(dynamic.path()));
        envoy.client("in").send(Request::get("/")).expect("the old body", |r| r.text() == "old");

        let update = envoy.update_listeners(&dynamic, &[listener("new")]).unwrap();

        assert_eq!(update, ListenerUpdate::Accepted);
        envoy.client("in").send(Request::get("/")).expect("the new body", |r| r.text() == "new");

        let bad = listener("bad").manager_with(json!({ "no_such_field": 1 }));
        let update = envoy.update_listeners(&dynamic, &[bad]).unwrap();

        assert!(
            matches!(&update, ListenerUpdate::Rejected(log) if log.contains("no_such_field")),
            "{update:?}"
        );
        envoy.client("in").send(Request::get("/")).expect("the new body", |r| r.text() == "new");
    });
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways() {
    let backend = Backend::start("app");
    let envoy = start(
        Bootstrap::new()
            .cluster(Cluster::new("app", backend.address()))
            .listener(Listener::new("ingress").websocket().route(Route::prefix("/").to("app"))),
    );

    let mut connection = envoy.client("ingress").connect().unwrap();
    let upgrade =
        Request::get("/ws").header("connection", "Upgrade").header("upgrade", "websocket");
    let response = connection.send(&upgrade).unwrap();

    assert_eq!(response.status, 101, "{response}");
    connection.write(b"\x81\x02hi").unwrap();
    assert_eq!(connection.read_some().unwrap(), b"\x81\x02hi");
}

#[test]
fn an_envoy_that_refuses_its_configuration_says_why() {
    let options = EnvoyOptions::new(binary(), r#"{ "static_resources": { "nonsense": [] } }"#);
    let error = Envoy::start(options).err().expect("the field does not exist");
    assert!(matches!(&error, EnvoyError::Died(..)), "{error}");
    assert!(error.to_string().contains("nonsense"), "{error}");
}

#[test]
fn an_envoy_that_dies_is_noticed_with_its_log() {
    let envoy = start(Bootstrap::new());
    envoy.admin_post("/quitquitquit").unwrap();
    let error = envoy.wait();
    assert!(matches!(&error, EnvoyError::Died(status, _) if status.success()), "{error}");
    assert!(error.to_string().contains("shutting down"), "{error}");
    assert!(matches!(envoy.stats(), Err(EnvoyError::Died(..))));
}

#[test]
fn a_port_in_use_is_its_own_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let listener = Listener::new("in")
        .route(Route::prefix("/").direct(200, ""))
        .override_with(json!({ "address": { "socket_address": { "port_value": port } } }));
    let options = EnvoyOptions::new(binary(), Bootstrap::new().listener(listener));
    let error = Envoy::start(options).err().expect("the port is taken");
    assert!(
        matches!(&error, EnvoyError::PortInUse(line) if line.contains(&port.to_string())),
        "{error}"
    );
}

#[test]
fn a_shipped_yaml_runs_on_free_ports() {
    let backend = Backend::start("app");
    let document = Document::parse(SHIPPED).unwrap();
    assert_eq!(document.clusters(), ["app"]);
    let envoy = start(document.on_free_ports().with_cluster_at("app", backend.address()));
    envoy.client("web").send(Request::get("/")).expect_status(200);
    assert_eq!(backend.count(), 1);
}

#[test]
fn a_failing_expectation_shows_both_sides_and_the_log() {
    let envoy = start(
        Bootstrap::new().listener(Listener::new("in").route(Route::prefix("/").direct(403, "no"))),
    );
    let exchange = envoy.client("in").timeout(Duration::from_secs(5)).send(Request::get("/x"));
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        exchange.expect_status(200);
    }));
    let message = *panic.unwrap_err().downcast::<String>().unwrap();
    for part in ["expected: status 200", "GET /x", "403", "body: no", "Envoy's log ends", "[info]"]
    {
        assert!(message.contains(part), "{part} is missing in {message}");
    }
}

#[test]
fn the_end_of_the_process_ends_its_envoy() {
    const ROLE: &str = "SESSION_TOKEN_HARNESS_ABORTS";
    if std::env::var_os(ROLE).is_some() {
        let envoy = start(Bootstrap::new());
        println!("admin={}", envoy.admin_address());
        println!("log={}", envoy.log_path().display());
        // No destructor runs, as for a `static`, a panic in a panic, or SIGKILL.
        std::process::abort();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_end_of_the_process_ends_its_envoy", "--nocapture"])
        .env(ROLE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.split_once(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).1.to_owned()
    };
    let admin = Client::new(value("admin=").parse().unwrap());
    let log = PathBuf::from(value("log="));

    let end = Instant::now() + Duration::from_secs(5);
    while admin.send(Request::get("/ready")).response.is_ok() || log.exists() {
        assert!(Instant::now() < end, "Envoy outlives the process that started it");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Parallel tests of one process start their own Envoys; the binary is fetched once.
fn start(config: impl ToString) -> Envoy {
    start_with(binary(), config)
}

fn start_with(binary: EnvoyBinary, config: impl ToString) -> Envoy {
    Envoy::start(EnvoyOptions::new(binary, config)).unwrap_or_else(|error| panic!("{error}"))
}

fn on_each_envoy(test: impl Fn(EnvoyBinary)) {
    test(EnvoyBinary::oldest().unwrap_or_else(|error| panic!("{error}")));
    test(binary());
}

fn binary() -> EnvoyBinary {
    EnvoyBinary::newest().unwrap_or_else(|error| panic!("{error}"))
}

const SHIPPED: &str = r#"
# A comment, as in every shipped file.
static_resources:
  listeners:
    - name: web
      address: { socket_address: { address: 0.0.0.0, port_value: 8080 } }
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: web
                route_config:
                  virtual_hosts:
                    - { name: web, domains: ["*"], routes: [{ match: { prefix: / }, route: { cluster: app } }] }
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
    - name: app
      type: STRICT_DNS
      dns_lookup_family: V4_ONLY
      load_assignment:
        cluster_name: app
        endpoints:
          - lb_endpoints: [{ endpoint: { address: { socket_address: { address: app.invalid, port_value: 80 } } } }]
"#;
