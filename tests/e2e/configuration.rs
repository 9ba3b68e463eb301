//! Configurations as Envoy hands them over: at the start, and swapped under running requests.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::backend::Backend;
use session_token_harness::bootstrap::{Bootstrap, Cluster, Listener, Route, WasmFilter};
use session_token_harness::client::{Client, Request};
use session_token_harness::envoy::{DynamicListeners, Envoy, EnvoyOptions, ListenerUpdate};
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::token::{Token, unix_now};

use crate::site::{
    INGRESS, Site, corbado, end, eventually, expect_denied, get, ingress, named_ingress, remote,
};
use crate::trial;
use crate::world::{PROJECT, World, cookies_around, session};

/// All tests, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "configuration::json_and_struct_alike", json_and_struct_alike),
        trial(world, "configuration::refused_at_start", refused_at_start),
        trial(world, "configuration::warnings", warnings),
        trial(world, "configuration::a_bad_update_changes_nothing", a_bad_update_changes_nothing),
        trial(world, "configuration::swapped_under_requests", swapped_under_requests),
        trial(world, "configuration::many_updates", many_updates),
        trial(world, "configuration::two_in_one_vm", two_in_one_vm),
        trial(world, "configuration::two_in_one_chain", two_in_one_chain),
        trial(world, "configuration::hundreds_in_one_vm", hundreds_in_one_vm),
        trial(world, "configuration::many_updates_take_no_memory", many_updates_take_no_memory),
    ]
}

fn json_and_struct_alike(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let mut configuration = corbado(json!({
        "remote": {"cluster": "keys", "timeout": "3s"}, "inline": jwks(&[&key]),
    }));
    configuration["providers"][0]["max_token_bytes"] = json!(4096);
    configuration["rules"] = json!([
        {"match": {"path": {"prefix": "/public"}}, "access": "public"},
        {"match": {"path": {"template": "/orders/{id}"}, "methods": ["DELETE"]},
         "access": "denied"},
    ]);
    configuration["cache"] = json!({"entries": 100, "bytes": "1MiB"});
    configuration["responses"] = json!({"realm": "partner orders"});
    let forms = [
        ("text", WasmFilter::new().configuration(configuration.clone())),
        ("pretty", WasmFilter::new().configuration_text(&format!("\n{configuration:#}\n"))),
        ("struct", WasmFilter::new().configuration_struct(configuration)),
    ];
    let site = Site::with(world, KeyServer::start(&jwks(&[&key])), |bootstrap| {
        forms.into_iter().fold(bootstrap, |bootstrap, (name, filter)| {
            bootstrap.listener(named_ingress(name, filter))
        })
    });
    let token = session("usr-1").signed_by(&key);
    let large = session("usr-1").claim("large", "x".repeat(4096)).signed_by(&key);
    let requests = [
        get(&token),
        Request::get("/orders"),
        Request::get("/orders/1").header("cookie", cookies_around(&token)),
        Request::get("/public/x").header("cookie", cookies_around("none")),
        Request::new("DELETE", "/orders/1"),
        get(&large),
    ];
    let outcome = |name: &str| -> Vec<_> {
        let outcome = |request: &Request| {
            let exchange = site.envoy.client(name).send(request.clone());
            let challenge = exchange.expect("an answer", |_| true).headers.text("www-authenticate");
            let seen = site.app.take_last().map(|received| {
                let all = |name| received.headers.all(name).concat();
                (all("authorization"), all("cookie"), all("x-user-id"))
            });
            (exchange.status(), challenge, seen)
        };
        requests.iter().map(outcome).collect()
    };
    let text = outcome("text");
    let statuses: Vec<_> = text.iter().map(|(status, ..)| *status).collect();
    assert_eq!(statuses, [200, 401, 200, 200, 403, 401]);
    assert_eq!(text, outcome("pretty"));
    assert_eq!(text, outcome("struct"));
    site.end(world);
}

/// Name, the filter, and what the log must say.
type Refused<'a> = (&'a str, WasmFilter, Vec<&'a str>);

fn refused_at_start(world: &World) {
    let wrong = json!({
        "providers": [{
            "name": "Corbado!",
            "preset": {"corbado": {"project_id": PROJECT}},
            "jwks": {"remote": {"cluster": "keys", "timeout": "1ms"}},
            "algorithms": ["HS256"],
        }],
        "rules": [
            {"match": {"path": {"prefix": "/ok"}}, "access": "public"},
            {"match": {"path": {"prefix": "admin"}}, "access": "public"},
            {"match": {}, "providers": ["nobody"]},
        ],
        "colour": "red",
    });
    let each = vec![
        "configuration refused: providers[0].name: \"Corbado!\"",
        "configuration refused: providers[0].jwks.remote.timeout: ",
        "configuration refused: providers[0].algorithms",
        "configuration refused: rules[1].match.path.prefix: \"admin\" must start with \"/\"",
        "configuration refused: rules[2].providers[0]: \"nobody\"",
        "configuration refused: colour: ",
    ];
    let filter = WasmFilter::new;
    let rows: Vec<Refused<'_>> = vec![
        ("text", filter().configuration(wrong.clone()), each.clone()),
        ("struct", filter().configuration_struct(wrong), each),
        ("none", filter(), vec!["the configuration is empty; the least it needs is"]),
        ("blank", filter().configuration_text(" \n"), vec!["the configuration is empty;"]),
        ("empty", filter().configuration_text("{}"), vec!["configuration refused: providers: "]),
        ("yaml", filter().configuration_text("providers: []"), vec!["YAML must be given as a"]),
        ("broken", filter().configuration_text("{\"providers\": [}"), vec!["is not JSON: "]),
    ];
    for (name, filter, expected) in rows {
        let app = Backend::start("app");
        let bootstrap = Bootstrap::new()
            .cluster(Cluster::new("app", app.address()))
            .listener(named_ingress(INGRESS, filter));
        let Err(error) = Envoy::start(EnvoyOptions::new(world.binary(), bootstrap)) else {
            panic!("{name}: Envoy took it");
        };
        let text = error.to_string();
        for part in expected {
            assert!(text.contains(part), "{name}: no `{part}` in\n{text}");
        }
        assert!(!text.contains("panicked"), "{name}: {text}");
    }
}

fn warnings(world: &World) {
    let mut configuration = corbado(remote(json!({})));
    configuration["rules"] = json!([
        {"match": {"path": {"prefix": "/a"}}, "access": "public"},
        {"match": {"path": {"prefix": "/a/b"}}, "access": "denied"},
        {"match": {"path": {"prefix": "/c"}}, "access": "optional",
         "insecure_forward_foreign": true},
    ]);
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let site = Site::start(world, KeyServer::start(&jwks(&[&key])), configuration);
    for (level, part) in [
        ("[warning]", "configuration: rules[1]"),
        ("[warning]", "configuration: rules[2].insecure_forward_foreign"),
        ("[info]", "configuration: providers[0].jwks.remote"),
    ] {
        let line = site.envoy.wait_for_log(part).unwrap();
        assert!(line.contains(level), "{line}");
    }
    site.get(&session("usr-1").signed_by(&key)).expect_status(200);
    site.end(world);
}

/// An Envoy whose one listener is swapped.
struct Swapping {
    envoy: Envoy,
    file: DynamicListeners,
    app: Backend,
}

impl Swapping {
    fn start(world: &World, keys: &KeyServer, configuration: Value) -> Self {
        let app = Backend::start("app");
        let file = DynamicListeners::create(&[ingress(configuration)]).unwrap();
        let bootstrap = Bootstrap::new()
            .cluster(Cluster::new("app", app.address()))
            .cluster(Cluster::new("keys", keys.address()))
            .dynamic_listeners(file.path());
        let mut options = EnvoyOptions::new(world.binary(), bootstrap);
        options.arguments = vec!["--drain-time-s".to_owned(), "2".to_owned()];
        let envoy = Envoy::start(options).unwrap_or_else(|error| panic!("{error}"));
        Self { envoy, file, app }
    }

    fn update(&self, configuration: Value) -> ListenerUpdate {
        self.envoy.update_listeners(&self.file, &[ingress(configuration)]).unwrap()
    }

    fn client(&self) -> Client {
        self.envoy.client(INGRESS)
    }

    /// The realm of a refusal, which tells configurations apart.
    fn realm(&self) -> String {
        let exchange = self.client().send(Request::get("/orders"));
        exchange.expect_status(401).headers.text("www-authenticate").unwrap_or_default()
    }
}

fn with_realm(mut configuration: Value, realm: &str) -> Value {
    configuration["responses"] = json!({"realm": realm});
    configuration
}

fn a_bad_update_changes_nothing(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let keys = KeyServer::start(&jwks(&[&key]));
    let good = with_realm(corbado(remote(json!({}))), "first");
    let swapping = Swapping::start(world, &keys, good.clone());
    let token = session("usr-1").signed_by(&key);
    swapping.client().send(get(&token)).expect_status(200);
    let mut bad = with_realm(good, "second");
    bad["providers"][0]["jwks"]["remote"]["refresh"] = json!("soon");
    bad["default"] = json!({"access": "sometimes"});
    let ListenerUpdate::Rejected(why) = swapping.update(bad) else { panic!("Envoy took it") };
    for part in ["providers[0].jwks.remote.refresh: \"soon\"", "default.access: \"sometimes\""] {
        assert!(why.contains(part), "{part}: {why}");
    }
    assert_eq!(swapping.realm(), "Bearer realm=\"first\"");
    swapping.client().send(get(&token)).expect_status(200);
    // The same plugin can be configured again.
    let next = with_realm(corbado(remote(json!({}))), "third");
    assert_eq!(swapping.update(next), ListenerUpdate::Accepted);
    assert_eq!(swapping.realm(), "Bearer realm=\"third\"");
    swapping.client().send(get(&token)).expect_status(200);
    end(world, swapping.envoy);
}

fn swapped_under_requests(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let keys = KeyServer::start(&jwks(&[&key]));
    keys.hold_back();
    let old = with_realm(corbado(remote(json!({"timeout": "14s"}))), "old");
    let swapping = Swapping::start(world, &keys, old);
    let token = session("usr-1").signed_by(&key);
    // A connection that stays open, and requests that wait.
    let missing = Request::get("/orders");
    let mut kept = swapping.client().connect().unwrap();
    let challenge = |response: session_token_harness::client::Response| {
        response.headers.text("www-authenticate").unwrap_or_default()
    };
    assert_eq!(challenge(kept.send(&missing).unwrap()), "Bearer realm=\"old\"");
    let body = vec![b'a'; 2_000];
    let upload = Request::post("/upload", body.clone());
    let upload = upload.header("authorization", format!("Bearer {token}"));
    let waiting = [get(&token), upload, get(&token)]
        .map(|request| swapping.client().send_in_background(request));
    eventually("they wait", || {
        swapping.envoy.stat("wasmcustom.session_token.waiting_streams").unwrap() == 3
    });
    let mut new = with_realm(corbado(json!({"inline": jwks(&[&key])})), "new");
    new["providers"][0]["claim_headers"] = json!([{"header": "x-new", "claim": "sub"}]);
    assert_eq!(swapping.update(new), ListenerUpdate::Accepted);
    // New connections meet the new configuration, which has its keys.
    assert_eq!(swapping.realm(), "Bearer realm=\"new\"");
    swapping.client().send(get(&token)).expect_status(200);
    let received = swapping.app.take_last().unwrap();
    assert_eq!(received.headers.text("x-new").as_deref(), Some("usr-1"));
    assert_eq!(received.headers.text("x-user-id"), None);
    // The open one belongs to the old configuration.
    assert_eq!(challenge(kept.send(&missing).unwrap()), "Bearer realm=\"old\"");
    assert_eq!(swapping.app.count(), 0);
    assert!(waiting.iter().all(|pending| !pending.is_finished()));
    keys.serve(&jwks(&[&key]));
    for pending in waiting {
        pending.wait().expect_status(200);
    }
    let received = swapping.app.requests();
    assert_eq!(received.len(), 3);
    for request in &received {
        assert_eq!(request.headers.text("x-user-id").as_deref(), Some("usr-1"));
        assert_eq!(request.headers.text("x-new"), None);
    }
    assert!(received.iter().any(|request| request.body == body));
    // When the old one has drained, and gone, the new one goes on.
    eventually("the old one is gone", || {
        swapping.envoy.stat("listener_manager.total_listeners_draining").unwrap() == 0
            && swapping.envoy.stat("listener_manager.total_filter_chains_draining").unwrap() == 0
    });
    drop(kept);
    assert_eq!(swapping.realm(), "Bearer realm=\"new\"");
    swapping.client().send(get(&token)).expect_status(200);
    end(world, swapping.envoy);
}

fn many_updates(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let keys = KeyServer::start(&jwks(&[&key]));
    let numbered = |number: u32| with_realm(corbado(remote(json!({}))), &number.to_string());
    let swapping = Swapping::start(world, &keys, numbered(0));
    let token = session("usr-1").signed_by(&key);
    let vms = || swapping.envoy.stat("wasm.envoy.wasm.runtime.v8.active").unwrap();
    swapping.client().send(get(&token)).expect_status(200);
    let at_first = vms();
    for number in 1..=20 {
        assert_eq!(swapping.update(numbered(number)), ListenerUpdate::Accepted);
        assert_eq!(swapping.realm(), format!("Bearer realm=\"{number}\""));
        swapping.client().send(get(&token)).expect_status(200);
    }
    eventually("old VMs are gone", || vms() <= at_first);
    swapping.client().send(get(&token)).expect_status(200);
    // Each configuration fetched for itself, in each VM.
    assert!(keys.count() <= 2 * 21, "{} fetches", keys.count());
    assert_eq!(swapping.realm(), "Bearer realm=\"20\"");
    end(world, swapping.envoy);
}

/// One configuration for tokens of `name`, which writes `x-<name>`.
fn of_issuer(name: &str, jwks: Value) -> Value {
    json!({"providers": [{
        "name": name, "issuers": [format!("https://{name}.example")], "jwks": jwks,
        "claim_headers": [{"header": format!("x-{name}"), "claim": "sub"}],
    }]})
}

fn token_of(name: &str, key: &SigningKey) -> String {
    let issuer = format!("https://{name}.example");
    Token::new(json!({"iss": issuer, "sub": name, "exp": unix_now() + 300})).signed_by(key)
}

fn two_in_one_vm(world: &World) {
    let a = SigningKey::new(Algorithm::RS256, "k");
    let b = SigningKey::generate(Algorithm::ES256, "k");
    let site = Site::with(world, KeyServer::start(&jwks(&[&a])), |bootstrap| {
        let filter = |configuration| WasmFilter::new().configuration(configuration);
        bootstrap
            .listener(named_ingress(
                "a",
                filter(of_issuer(
                    "a",
                    remote(json!({
                        "uri": "http://keys.example/a",
                    })),
                )),
            ))
            .listener(named_ingress("b", filter(of_issuer("b", json!({"inline": jwks(&[&b])})))))
    });
    let active = "wasm.envoy.wasm.runtime.v8.active";
    // The base VM, and the main thread's and the worker's copies.
    assert!(site.envoy.stat(active).unwrap() <= 3, "they share their VMs");
    let (of_a, of_b) = (token_of("a", &a), token_of("b", &b));
    for _ in 0..20 {
        for (listener, token, other) in [("a", &of_a, &of_b), ("b", &of_b, &of_a)] {
            let client = site.envoy.client(listener);
            client.send(get(token)).expect_status(200);
            let received = site.app.take_last().unwrap();
            assert_eq!(received.headers.text(&format!("x-{listener}")).as_deref(), Some(listener));
            expect_denied(&client.send(get(other)), 401, "issuer_mismatch");
        }
    }
    // Each removes its own claim headers, and no other's.
    let request = get(&of_a).header("x-a", "admin").header("x-b", "admin");
    site.envoy.client("a").send(request).expect_status(200);
    let received = site.app.take_last().unwrap();
    assert_eq!(received.headers.all("x-a"), [b"a"]);
    assert_eq!(received.headers.all("x-b"), [b"admin"]);
    site.end(world);
}

/// Two filters in one chain and one VM, of which the first waits for its keys.
fn two_in_one_chain(world: &World) {
    let a = SigningKey::new(Algorithm::RS256, "k");
    let b = SigningKey::generate(Algorithm::ES256, "k");
    let keys = KeyServer::start(&jwks(&[&a]));
    keys.hold_back();
    let uri = "http://keys.example/a";
    let first = of_issuer("a", remote(json!({"uri": uri, "timeout": "10s"})));
    let mut second = of_issuer("b", json!({"inline": jwks(&[&b])}));
    let source = json!([{"header": {"name": "x-session", "scheme": ""}}]);
    second["providers"][0]["sources"] = source;
    second["default"] = json!({"forward": "verify_only"});
    let site = Site::with(world, keys, |bootstrap| {
        bootstrap.listener(
            Listener::new(INGRESS)
                .filter(WasmFilter::new().configuration(first))
                .filter(WasmFilter::new().configuration(second))
                .route(Route::prefix("/").to("app")),
        )
    });
    let (of_a, of_b) = (token_of("a", &a), token_of("b", &b));
    let request = |session: &str| get(&of_a).header("x-session", session);
    let waiting = site.client().send_in_background(request(&of_b));
    let without = site.client().send_in_background(get(&of_a));
    site.wait_for_metric("waiting_streams", 2);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(site.app.count(), 0);
    site.keys.serve(&jwks(&[&a]));
    waiting.wait().expect_status(200);
    expect_denied(&without.wait(), 401, "missing");
    let received = site.app.take_last().unwrap();
    assert_eq!(received.headers.all("x-a"), [b"a"]);
    assert_eq!(received.headers.all("x-b"), [b"b"]);
    expect_denied(&site.client().send(request(&of_a)), 401, "issuer_mismatch");
    site.client().send(request(&of_b)).expect_status(200);
    site.end(world);
}

/// As in a gateway with a host for each customer: none is taken for gone because the others tick.
fn hundreds_in_one_vm(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let inline = json!({"inline": jwks(&[&key])});
    let site = Site::with(world, KeyServer::start(&jwks(&[&key])), |bootstrap| {
        (0..310).fold(bootstrap, |bootstrap, number| {
            let configuration = with_realm(corbado(inline.clone()), &number.to_string());
            let filter = WasmFilter::new().configuration(configuration);
            bootstrap.listener(named_ingress(&format!("l{number}"), filter))
        })
    });
    let token = session("usr-1").signed_by(&key);
    let listeners = site.envoy.listeners();
    // Two ticks of each, and a bit.
    std::thread::sleep(Duration::from_millis(2_500));
    for number in [0, 1, 155, 309] {
        let client = Client::new(listeners[&format!("l{number}")]);
        client.send(get(&token)).expect_status(200);
        let refused = client.send(Request::get("/"));
        let challenge = refused.expect_status(401).headers.text("www-authenticate");
        assert_eq!(challenge, Some(format!("Bearer realm=\"{number}\"")));
    }
    site.end(world);
}

/// A worker whose VM has no memory for a configuration would let every request through.
fn many_updates_take_no_memory(world: &World) {
    let listener = |number: usize| {
        let configuration = json!({
            "providers": [{
                "name": "corbado",
                "preset": {"corbado": {"project_id": PROJECT}},
                "jwks": {"inline": jwks(&[world.key()])}
            }],
            "responses": {"realm": format!("realm-{number}")},
            // 32 MiB with the first token; V8 gives 1 GiB.
            "cache": {"entries": 1_000_000}
        });
        Listener::new("updated")
            .filter(WasmFilter::new().configuration(configuration))
            .route(Route::prefix("/").to("app"))
    };
    let dynamic = DynamicListeners::create(&[listener(0)]).unwrap();
    let bootstrap = Bootstrap::new()
        .cluster(Cluster::new("app", world.app().address()))
        .dynamic_listeners(dynamic.path());
    let mut options = EnvoyOptions::new(world.binary(), bootstrap);
    options.arguments.extend(["--drain-time-s".into(), "1".into()]);
    let envoy = Envoy::start(options).unwrap();
    let bearer = format!("Bearer {}", world.session("usr-t"));
    for number in 1..40 {
        envoy.update_listeners(&dynamic, &[listener(number)]).unwrap();
        let client = envoy.client("updated");
        client.send(Request::get("/").header("authorization", &bearer)).expect_status(200);
        client.send(Request::get("/")).expect_status(401);
    }
    world.retire(envoy);
}
