//! What control planes put around the filter, replayed as static configuration: Envoy Gateway 1.9
//! and Istio 1.31, with the names and the fields that they were seen to send.
//!
//! 1. Envoy Gateway: the filter is off, and each route of the policy's target turns it on. `cors`
//!    stands before it, `rbac` behind it. The module comes from a URL.
//! 2. Istio: the filter comes by itself (ECDS). `cors` stands behind it.
//! 3. Both send the configuration as a text, which they have written anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::answer::Answer;
use session_token_harness::backend::Backend;
use session_token_harness::bootstrap::{Cluster, Listener, Route, WasmFilter};
use session_token_harness::client::{Exchange, Request};
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::workspace;

use crate::site::{INGRESS, Site, corbado, eventually, expect_denied, get, named_ingress, remote};
use crate::trial;
use crate::world::{World, cookies_around, session};

/// All tests, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "control_planes::envoy_gateway", envoy_gateway),
        trial(world, "control_planes::istio", istio),
        trial(world, "control_planes::istio_swaps", istio_swaps),
        trial(world, "control_planes::rewritten_configurations", rewritten_configurations),
        trial(world, "control_planes::key_clusters", key_clusters),
    ]
}

/// The policy that both run: also for a page of another origin.
fn policy(cluster: &str) -> Value {
    let mut policy = corbado(remote(json!({"cluster": cluster})));
    policy["providers"][0]["claim_headers"] = json!([
        {"header": "x-user-id", "claim": "sub"}, {"header": "x-plan", "claim": "plan"},
    ]);
    policy["rules"] = json!([
        {"match": {"path": {"prefix": "/denied"}}, "access": "denied"},
    ]);
    policy["csrf"] = json!({"allowed_origins": [PAGE]});
    policy
}

fn text_of(policy: &Value) -> Value {
    json!({
        "@type": "type.googleapis.com/google.protobuf.StringValue",
        "value": policy.to_string(),
    })
}

fn preflight(path: &str) -> Request {
    Request::new("OPTIONS", path)
        .header("origin", PAGE)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization")
}

/// Fails unless Envoy's own policy granted it.
#[track_caller]
fn expect_granted(exchange: &Exchange) {
    exchange.expect("a granted preflight", |response| {
        response.status == 200
            && response.headers.all("access-control-allow-origin") == [PAGE.as_bytes()]
            && response.headers.get("access-control-allow-methods").is_some()
    });
}

/// The page can read it: the origin stands there once, whoever wrote it.
#[track_caller]
fn expect_readable(exchange: &Exchange, status: u16) {
    exchange.expect("an answer that the page can read", |response| {
        response.status == status
            && response.headers.all("access-control-allow-origin") == [PAGE.as_bytes()]
    });
}

/// `rbac` as authorization by a claim header: `x-plan: pro` only.
fn rbac(name: &str) -> Value {
    json!({
        "name": name,
        "typed_config": {
            "@type": RBAC,
            "rules": {"action": "ALLOW", "policies": {"pro": {
                "permissions": [{"any": true}],
                "principals": [{"header": {"name": "x-plan", "string_match": {"exact": "pro"}}}],
            }}},
        },
    })
}

fn envoy_gateway(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let module = fs::read(workspace::module()).unwrap();
    let sha256 = hmac_sha256::Hash::hash(&module);
    let sha256: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let modules = Backend::start("modules");
    modules.answer_with(Answer::status(200).body(module));
    let keys = "httproute/default/jwks/rule/0";
    let filter = json!({
        "name": GATEWAY_NAME,
        "disabled": true,
        "typed_config": {
            "@type": WASM,
            "config": {
                "name": "session",
                "root_id": "session_token",
                "vm_config": {
                    "vm_id": "/default/wasm/wasm/0",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"remote": {
                        "http_uri": {
                            "uri": "https://envoy-gateway:18002/module.wasm",
                            "cluster": "wasm_cluster", "timeout": "10s",
                        },
                        "sha256": sha256,
                        "retry_policy": {"num_retries": 10, "retry_back_off": {
                            "base_interval": "1s", "max_interval": "10s",
                        }},
                    }},
                },
                "configuration": text_of(&policy(keys)),
            },
        },
    });
    let on = json!({"@type": FILTER_CONFIG, "config": {}});
    let turned_on = |names: &[&str]| {
        let each = names.iter().map(|name| ((*name).to_owned(), on.clone()));
        json!({"typed_per_filter_config": each.collect::<serde_json::Map<_, _>>()})
    };
    let mut authorization = rbac("envoy.filters.http.rbac");
    authorization["disabled"] = json!(true);
    let key_server = KeyServer::start(&jwks(&[&key]));
    let keys_at = key_server.address();
    let site = Site::with(world, key_server, |bootstrap| {
        let listener = Listener::new(INGRESS)
            .cors_filter()
            .raw_filter(filter)
            .raw_filter(authorization)
            .route(Route::prefix("/open").to("app"))
            .route(
                Route::prefix("/pro")
                    .to("app")
                    .override_with(turned_on(&[GATEWAY_NAME, "envoy.filters.http.rbac"])),
            )
            .route(
                Route::prefix("/orders")
                    .to("app")
                    .cors(PAGE)
                    .override_with(turned_on(&[GATEWAY_NAME])),
            )
            .route(
                Route::prefix("/denied")
                    .to("app")
                    .cors(PAGE)
                    .override_with(turned_on(&[GATEWAY_NAME])),
            );
        bootstrap
            .listener(listener)
            .cluster(Cluster::new("wasm_cluster", modules.address()))
            .cluster(Cluster::new(keys, keys_at))
    });
    serves(&site, &key);

    // The routes that turn nothing on, or are not there, have no filter.
    let open = Request::get("/open").header("cookie", "cbo_session_token=x");
    site.client().send(open.header("x-user-id", "admin")).expect_status(200);
    let received = site.app.take_last().unwrap();
    assert_eq!(received.headers.text("x-user-id").as_deref(), Some("admin"));
    assert_eq!(received.headers.text("cookie").as_deref(), Some("cbo_session_token=x"));
    site.client().send(Request::get("/elsewhere")).expect_status(404);

    // What stands behind sees the claim, and never a forged one.
    let pro = session("usr-1").claim("plan", "pro").signed_by(&key);
    let free = session("usr-1").claim("plan", "free").signed_by(&key);
    let ask = |token: &str| {
        let request = Request::get("/pro").header("authorization", format!("Bearer {token}"));
        site.client().send(request.header("x-plan", "pro"))
    };
    ask(&pro).expect_status(200);
    ask(&free).expect("a refusal of rbac", |response| {
        response.status == 403 && response.text() == "RBAC: access denied"
    });
    expect_denied(
        &site.client().send(Request::get("/pro").header("x-plan", "pro")),
        401,
        "missing",
    );

    // `cors` answers first: no preflight comes to the filter, not even one of a denied path.
    site.app.clear();
    for path in ["/orders", "/denied"] {
        expect_granted(&site.client().send(preflight(path)));
    }
    site.wait_for_metric("allowed", 2);
    assert_eq!(site.metric("allowed_preflight"), 0);
    assert_eq!(site.app.count(), 0);
    let page = |request: Request| site.client().send(request.header("origin", PAGE));
    expect_readable(&page(Request::get("/orders")), 401);
    expect_readable(&page(get(&pro)), 200);
    site.end(world);
}

/// What every guarded gateway does.
fn serves(site: &Site, key: &SigningKey) {
    expect_denied(&site.client().send(Request::get("/orders")), 401, "missing");
    let unsigned = session("usr-1").unsigned();
    expect_denied(&site.get(&unsigned), 401, "algorithm_not_allowed");
    let token = session("usr-1").signed_by(key);
    let request = Request::get("/orders").header("cookie", cookies_around(&token));
    site.client().send(request.header("x-user-id", "admin")).expect_status(200);
    let received = site.app.take_last().unwrap();
    assert_eq!(received.headers.all("x-user-id"), [b"usr-1"]);
    assert_eq!(received.headers.text("authorization"), Some(format!("Bearer {token}")));
    let cookies = received.headers.text("cookie").unwrap_or_default();
    assert!(!cookies.contains("cbo_session_token"), "{cookies}");
}

/// A resource in a file that Envoy watches.
struct Ecds {
    folder: PathBuf,
}

impl Ecds {
    fn create(resource: &Value) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("ecds-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let this = Self { folder };
        this.put(resource);
        this
    }

    /// Envoy looks at renames only.
    fn put(&self, resource: &Value) {
        let next = self.folder.join("next.json");
        fs::write(&next, json!({"resources": [resource]}).to_string()).unwrap();
        fs::rename(next, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.join("ecds.json")
    }

    /// The filter's place in the chain.
    fn filter(&self) -> Value {
        json!({
            "name": ISTIO_NAME,
            "config_discovery": {
                "config_source": {
                    "path_config_source": {"path": self.file()}, "resource_api_version": "V3",
                },
                "type_urls": [WASM, RBAC],
            },
        })
    }
}

impl Drop for Ecds {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn istio_resource(policy: &Value) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": ISTIO_NAME,
        "typed_config": {
            "@type": WASM,
            "config": {
                "name": "istio-system.session~istio-translated-wasmplugin",
                "root_id": "session_token",
                "failure_policy": "FAIL_CLOSED",
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": workspace::module()}},
                    "environment_variables": {"key_values": {
                        "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION": "312",
                    }},
                },
                "configuration": text_of(policy),
            },
        },
    })
}

/// A site with the filter by ECDS.
fn by_ecds(world: &World, keys: KeyServer, ecds: &Ecds) -> Site {
    let keys_at = keys.address();
    Site::with(world, keys, |bootstrap| {
        bootstrap
            .override_with(json!({"node": {"id": "gateway", "cluster": "test"}}))
            .cluster(Cluster::new(ISTIO_KEYS, keys_at))
            .listener(
                Listener::new(INGRESS)
                    .raw_filter(ecds.filter())
                    .cors_filter()
                    .route(Route::prefix("/").to("app").cors(PAGE)),
            )
    })
}

fn istio(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let ecds = Ecds::create(&istio_resource(&policy(ISTIO_KEYS)));
    let site = by_ecds(world, KeyServer::start(&jwks(&[&key])), &ecds);
    serves(&site, &key);
    site.app.clear();
    // The filter comes first and lets a preflight pass, but where nobody may go.
    expect_granted(&site.client().send(preflight("/orders")));
    expect_denied(&site.client().send(preflight("/denied")), 403, "denied_by_rule");
    site.wait_for_metric("allowed_preflight", 1);
    assert_eq!(site.app.count(), 0);
    // Envoy's `cors` does not see what the filter refuses: the filter says by itself who may read.
    let page = |request: Request| site.client().send(request.header("origin", PAGE));
    expect_readable(&page(Request::get("/orders")), 401);
    expect_readable(&page(get(&session("usr-1").signed_by(&key))), 200);
    // No path is without the filter, also where no route is.
    expect_denied(&site.client().send(Request::get("/elsewhere")), 401, "missing");
    site.end(world);
}

/// Updates under requests: each is answered by one of the two configurations, and none by neither.
fn istio_swaps(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let with_realm = |realm: &str| {
        let mut policy = policy(ISTIO_KEYS);
        policy["responses"] = json!({"realm": realm});
        istio_resource(&policy)
    };
    let ecds = Ecds::create(&with_realm("first"));
    let site = by_ecds(world, KeyServer::start(&jwks(&[&key])), &ecds);
    let token = session("usr-1").signed_by(&key);
    let client = site.client();
    let challenge = || {
        let exchange = client.send(Request::get("/orders"));
        exchange.expect_status(401).headers.text("www-authenticate").unwrap_or_default()
    };
    assert_eq!(challenge(), "Bearer realm=\"first\"");
    let mut kept = client.connect().unwrap();
    let over = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                client.send(get(&token)).expect_status(200);
                expect_denied(&client.send(Request::get("/orders")), 401, "missing");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        for realm in ["second", "third"] {
            let before = asked.load(Ordering::Relaxed);
            eventually("requests", || asked.load(Ordering::Relaxed) > before + 2);
            ecds.put(&with_realm(realm));
            let expected = format!("Bearer realm=\"{realm}\"");
            eventually("the update", || challenge() == expected);
        }
        // A configuration that the filter refuses changes nothing.
        let mut refused = policy(ISTIO_KEYS);
        refused["default"] = json!({"access": "sometimes"});
        ecds.put(&istio_resource(&refused));
        site.envoy.wait_for_log("default.access: \"sometimes\"").unwrap();
        let before = asked.load(Ordering::Relaxed);
        eventually("requests", || asked.load(Ordering::Relaxed) > before + 2);
        assert_eq!(challenge(), "Bearer realm=\"third\"");
        over.store(true, Ordering::Relaxed);
    });
    // An open connection meets the new configuration with its next request.
    let answer = kept.send(&Request::get("/orders")).unwrap();
    let seen = answer.headers.text("www-authenticate");
    assert_eq!(seen.as_deref(), Some("Bearer realm=\"third\""));
    // What Istio puts there when it has no module: nobody is let in, whoever it is.
    let mut stand_in = istio_resource(&policy(ISTIO_KEYS));
    stand_in["typed_config"] = json!({"@type": RBAC, "rules": {"action": "ALLOW"}});
    ecds.put(&stand_in);
    eventually("the stand-in", || client.send(get(&token)).status() == 403);
    client.send(Request::get("/orders")).expect_status(403);
    ecds.put(&with_realm("last"));
    eventually("the filter again", || client.send(get(&token)).status() == 200);
    assert_eq!(challenge(), "Bearer realm=\"last\"");
    site.end(world);
}

/// One policy as its author wrote it, and as it arrives: keys in order or in another, `1.0` as `1`,
/// whole numbers as doubles, and nothing left of those beyond 2^53 but the nearest double.
fn rewritten_configurations(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let mut written = corbado(json!({"inline": jwks(&[&key])}));
    written["providers"][0]["max_token_bytes"] = json!(4096.0);
    written["rules"] = json!([
        {"name": "level", "match": {"path": {"exact": "/level"}},
         "require": {"claim": "level", "equals": 1.0}},
        {"name": "half", "match": {"path": {"exact": "/half"}},
         "require": {"claim": "level", "one_of": [0.5, -2.0, "1"]}},
        {"name": "account", "match": {"path": {"exact": "/account"}},
         "require": {"claim": "account", "equals": 12_345_678_901_234_567_u64}},
    ]);
    let whole =
        |text: &str| text.replace("4096.0", "4096").replace(":1.0", ":1").replace("-2.0", "-2");
    let rounded = whole(&written.to_string()).replace("12345678901234567", "12345678901234568");
    assert!(rounded.contains(r#""equals":1}"#) && rounded.contains("[0.5,-2,\"1\"]"), "{rounded}");
    let written_filter = |text: &str| WasmFilter::new().configuration_text(text);
    let forms = [
        ("as_written", written_filter(&written.to_string())),
        ("rounded", written_filter(&rounded)),
        ("in_another_order", written_filter(&backwards(&serde_json::from_str(&rounded).unwrap()))),
        (
            "as_struct",
            WasmFilter::new().configuration_struct(serde_json::from_str(&rounded).unwrap()),
        ),
    ];
    let site = Site::with(world, KeyServer::start(&jwks(&[&key])), |bootstrap| {
        forms.iter().fold(bootstrap, |bootstrap, (name, filter)| {
            bootstrap.listener(named_ingress(name, filter.clone()))
        })
    });
    let token = |claim: &str, value: Value| session("usr-1").claim(claim, value).signed_by(&key);
    for (row, path, token, status) in [
        ("no rule", "/orders", token("level", json!(2)), 200),
        ("too large", "/orders", token("filler", json!("x".repeat(4_096))), 401),
        ("1", "/level", token("level", json!(1)), 200),
        ("1.0", "/level", token("level", json!(1.0)), 200),
        ("a text", "/level", token("level", json!("1")), 403),
        ("another", "/level", token("level", json!(1.5)), 403),
        ("-2", "/half", token("level", json!(-2)), 200),
        ("a text of several", "/half", token("level", json!("1")), 200),
        ("none of several", "/half", token("level", json!(1)), 403),
        ("another account", "/account", token("account", json!(12_345_678_901_234_000_u64)), 403),
    ] {
        for (form, _) in &forms {
            let request = Request::get(path).header("authorization", format!("Bearer {token}"));
            let exchange = site.envoy.client(form).send(request);
            assert_eq!(exchange.status(), status, "{row}, {form}");
        }
    }
    // A rounded number is another number, and lets in whom it names: the filter warns of it.
    let (written, nearest) = (12_345_678_901_234_567_u64, 12_345_678_901_234_568_u64);
    for (form, account, status) in [
        ("as_written", written, 200),
        ("as_written", nearest, 403),
        ("rounded", written, 403),
        ("rounded", nearest, 200),
        ("as_struct", written, 403),
        ("as_struct", nearest, 403),
    ] {
        let account = token("account", json!(account));
        let request = Request::get("/account").header("authorization", format!("Bearer {account}"));
        site.envoy.client(form).send(request).expect_status(status);
    }
    // In a bootstrap in YAML, Envoy reads a fraction as a text before it makes a Struct.
    let half = token("level", json!(0.5));
    for (form, status) in [("as_written", 200), ("rounded", 200), ("as_struct", 403)] {
        let request = Request::get("/half").header("authorization", format!("Bearer {half}"));
        site.envoy.client(form).send(request).expect_status(status);
    }
    let warned = "configuration: rules[2].require.equals: numbers beyond 2^53";
    assert!(site.envoy.wait_for_log(warned).unwrap().contains("[warning]"));
    site.end(world);
}

/// JSON with the members of each object in descending order.
fn backwards(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|one, other| other.0.cmp(one.0));
            let members = members.iter().map(|(name, value)| {
                format!("{}:{}", Value::from(name.as_str()), backwards(value))
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(backwards).collect::<Vec<_>>().join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// The clusters that the products make for a key server, and one that nobody made.
fn key_clusters(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let unsigned = session("usr-1").unsigned();
    let token = session("usr-1").signed_by(&key);
    let key_server = KeyServer::start(&jwks(&[&key]));
    let keys_at = key_server.address();
    let site = Site::with(world, key_server, |bootstrap| {
        let bootstrap = bootstrap.cluster(Cluster::new(ISTIO_KEYS, keys_at));
        [("there", ISTIO_KEYS), ("not_there", "outbound|443||keys.example")].into_iter().fold(
            bootstrap,
            |bootstrap, (name, cluster)| {
                let filter = WasmFilter::new().configuration(policy(cluster));
                bootstrap.listener(named_ingress(name, filter))
            },
        )
    });
    let ask = |listener: &str, token: &str| site.envoy.client(listener).send(get(token));
    ask("there", &token).expect_status(200);
    for _ in 0..3 {
        // At once, and the same for what is no session: nobody is let in.
        expect_denied(&ask("not_there", &token), 503, "keys_unavailable");
        expect_denied(&ask("not_there", &unsigned), 401, "algorithm_not_allowed");
        let missing = site.envoy.client("not_there").send(Request::get("/orders"));
        expect_denied(&missing, 401, "missing");
    }
    let said = "provider=corbado jwks: fetch failed: Envoy sent no request: no such cluster";
    assert!(site.envoy.wait_for_log(said).unwrap().contains("[warning]"));
    ask("there", &token).expect_status(200);
    assert_eq!(site.app.count(), 2);
    site.end(world);
}

const PAGE: &str = "https://www.example.com";
const GATEWAY_NAME: &str = "envoy.filters.http.wasm//default/wasm/wasm/0";
const ISTIO_NAME: &str =
    "extensions.istio.io/trafficextension/istio-system.session~istio-translated-wasmplugin";
const ISTIO_KEYS: &str = "outbound|443||pro-1234567890.frontendapi.cloud.corbado.io";
const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
const FILTER_CONFIG: &str = "type.googleapis.com/envoy.config.route.v3.FilterConfig";
