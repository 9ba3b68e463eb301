//! What a refused client and an operator are told: answer, challenge, access log, metric, log line.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::bootstrap::{Cluster, Listener};
use session_token_harness::client::{Request, Response};
use session_token_harness::envoy::{Envoy, EnvoyOptions};
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::token::unix_now;

use crate::extraction::bearer;
use crate::trial;
use crate::world::{World, corbado, listener, session};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "answers::a_flood_of_denials", a_flood_of_denials),
        trial(world, "answers::denials_are_not_logged", denials_are_not_logged),
        trial(world, "answers::overloaded", overloaded),
        trial(world, "answers::head", head),
        trial(world, "answers::grpc", grpc),
        trial(world, "answers::cors", cors),
    ]
}

/// The listeners that only these tests need.
pub(crate) fn listeners() -> Vec<Listener> {
    let with = |responses: Value| {
        json!({
            "providers": [corbado(), provider("down", json!({"remote": {
                "uri": "https://down.example/jwks", "cluster": "nowhere", "timeout": "100ms"
            }}))],
            "rules": [{"match": {"path": {"prefix": "/denied"}}, "access": "denied"}],
            "responses": responses
        })
    };
    let origins = json!(["https://www.example.com", "https://*.apps.example.com:8443"]);
    vec![
        listener("cors", with(json!({"cors_origins": origins}))),
        listener("no-cors", with(json!({"realm": "no cors"}))),
    ]
}

/// A generic provider with the name in its issuer.
pub(crate) fn provider(name: &str, jwks: Value) -> Value {
    json!({"name": name, "issuers": [format!("https://{name}.example")], "jwks": jwks})
}

/// What the filter itself wrote, without Envoy's prefix.
pub(crate) fn own_lines(envoy: &Envoy) -> Vec<String> {
    let log = envoy.log();
    let own = log.lines().filter_map(|line| line.split_once("wasm log session_token"));
    own.filter_map(|(_, rest)| Some(rest.split_once(": ")?.1.to_owned())).collect()
}

pub(crate) fn start(options: EnvoyOptions) -> Envoy {
    Envoy::start(options).unwrap_or_else(|error| panic!("{error}"))
}

/// Ten lines a second, then one that says how many are missing.
fn a_flood_of_denials(world: &World) {
    let configuration = json!({
        "providers": [corbado()], "responses": {"realm": "flooded"}
    });
    let bootstrap = world
        .backends()
        .cluster(Cluster::new("keys", world.app().address()))
        .listener(listener("flooded", configuration));
    let envoy = start(EnvoyOptions::new(world.binary(), bootstrap));
    let client = envoy.client("flooded");
    let mut connection = client.connect().unwrap_or_else(|error| panic!("{error}"));
    for number in 0..FLOOD {
        let response = connection.send(&Request::get(format!("/flood/{number}")));
        assert_eq!(response.unwrap_or_else(|error| panic!("{error}")).status, 401);
    }
    let told = |envoy: &Envoy| {
        let lines = own_lines(envoy);
        let denials = lines.iter().filter(|line| line.starts_with("reason=missing ")).count();
        let suppressed = lines.iter().filter_map(|line| line.strip_prefix("suppressed="));
        (denials, suppressed.map(|number| number.parse::<usize>().unwrap()).sum::<usize>())
    };
    let waited = envoy.wait_for("all denials in the log", Duration::from_secs(10), |envoy| {
        let (denials, suppressed) = told(envoy);
        Ok((denials + suppressed == FLOOD).then_some(()))
    });
    waited.unwrap_or_else(|error| panic!("{:?} {error}", told(&envoy)));
    let (denials, _) = told(&envoy);
    // The flood takes a moment, which may be two seconds' end and beginning.
    assert!([10, 20].contains(&denials), "{denials} lines");
    let counted = envoy.wait_for_stat(&format!("{COUNTER}missing"), |value| value > 0);
    assert_eq!(counted.ok(), u64::try_from(FLOOD).ok(), "all are counted");
    world.retire(envoy);
}

fn denials_are_not_logged(world: &World) {
    let configuration = json!({
        "providers": [corbado()], "telemetry": {"log_denials": false}
    });
    let bootstrap = world
        .backends()
        .cluster(Cluster::new("keys", world.app().address()))
        .listener(listener("silent", configuration));
    let envoy = start(EnvoyOptions::new(world.binary(), bootstrap));
    envoy.client("silent").send(Request::get("/orders")).expect_status(401);
    let counted = envoy.wait_for_stat(&format!("{COUNTER}missing"), |value| value == 1);
    counted.unwrap_or_else(|error| panic!("{error}"));
    let lines = own_lines(&envoy);
    assert!(lines.iter().any(|line| line.contains("providers=corbado")), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("reason=")), "{lines:#?}");
    world.retire(envoy);
}

/// Forgeries that only the module can verify don't take the worker from sessions that it knows.
fn overloaded(world: &World) {
    let key = SigningKey::new(Algorithm::EdDSA, "k1");
    let mut portable = provider("portable", json!({"inline": jwks(&[&key])}));
    portable["algorithms"] = json!(["EdDSA"]);
    let bootstrap =
        world.backends().listener(listener("portable", json!({"providers": [portable]})));
    let envoy = start(EnvoyOptions::new(world.binary(), bootstrap));
    let token = |number: usize| {
        session("usr-o").claim("iss", "https://portable.example").claim("n", number)
    };
    let (known, fresh) = (token(0).signed_by(&key), token(1).signed_by(&key));
    let mut connection = envoy.client("portable").connect().unwrap();
    let mut answer = |token: &str| {
        let request = Request::get("/orders").header("authorization", bearer(token));
        connection.send(&request).unwrap_or_else(|error| panic!("{error}"))
    };
    assert_eq!(answer(&known).status, 200);
    // A hundred within a second are too many; this machine may be slow.
    let forged = (0..2_000).map(|number| token(number).with_signature(&key, &[1; 64]));
    let refusal = forged.map(|forged| answer(&forged)).find(|answer| answer.status != 401);
    let refusal = refusal.unwrap_or_else(|| panic!("no flood is ever too much"));
    assert_eq!((refusal.status, &refusal.json()["reason"]), (503, &json!("overloaded")));
    assert_eq!(refusal.headers.text("retry-after").as_deref(), Some("1"));
    assert_eq!(answer(&known).status, 200, "a session that is known");
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(answer(&fresh).status, 200, "the next second");
    envoy.wait_for_access_log(" 503 session_token_denied{overloaded} ").unwrap();
    world.retire(envoy);
}

/// The next request on the same connection shows that no body was sent.
fn head(world: &World) {
    let mut connection =
        world.client("no-cors").connect().unwrap_or_else(|error| panic!("{error}"));
    for (method, has_body) in [("HEAD", false), ("GET", true), ("HEAD", false), ("GET", true)] {
        let response = connection.send(&Request::new(method, "/orders"));
        let response = response.unwrap_or_else(|error| panic!("{method}: {error}"));
        assert_eq!(response.status, 401, "{method}");
        assert_eq!(!response.body.is_empty(), has_body, "{method}");
        let header = |name| response.headers.text(name);
        // Envoy drops the type of an empty body.
        let content_type = has_body.then(|| "application/problem+json".to_owned());
        assert_eq!(header("content-type"), content_type, "{method}");
        assert_eq!(header("www-authenticate").as_deref(), Some("Bearer realm=\"no cors\""));
        assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{method}");
    }
}

/// A gRPC client understands status and message in trailers, which stand in the head here.
fn grpc(world: &World) {
    let down = session("usr-d").claim("iss", "https://down.example").signed_by(world.key());
    let expired = session("usr-e").claim("exp", unix_now() - 60).signed_by(world.key());
    let http1 = world.client("no-cors");
    let http2 = http1.clone().http2();
    let grpc = "application/grpc";
    let post = |path: &str, content_type: &str| {
        Request::post(path, "\0\0\0\0\0")
            .header("content-type", content_type)
            .header("te", "trailers")
    };
    for (content_type, path, token, status, reason) in [
        (grpc, "/app.Orders/List", None, 16, "missing"),
        (grpc, "/app.Orders/List", Some(&expired), 16, "expired"),
        (grpc, "/denied/List", None, 7, "denied_by_rule"),
        (grpc, "/app.Orders/List", Some(&down), 14, "keys_unavailable"),
        (grpc, "//x", None, 13, "ambiguous_path"),
        ("application/grpc+proto", "/app.Orders/List", None, 16, "missing"),
    ] {
        let mut request = post(path, content_type);
        if let Some(token) = token {
            request = request.header("authorization", bearer(token));
        }
        for client in [&http1, &http2] {
            let (exchange, received) = world.send_by(client, request.clone());
            assert!(received.is_none(), "{path}");
            let response = exchange.expect_status(200);
            let header = |name: &str| response.headers.text(name);
            assert_eq!(header("grpc-status"), Some(status.to_string()), "{reason}");
            assert_eq!(header("grpc-message").as_deref(), Some(reason));
            assert_eq!(header("content-type").as_deref(), Some(grpc), "{reason}");
            assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{reason}");
            let challenged = header("www-authenticate").is_some();
            assert_eq!(challenged, [7, 16].contains(&status), "{reason}");
            assert!(response.body.is_empty(), "{reason}");
        }
    }
    for content_type in [
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpcx",
        "application/grpc;charset=utf-8",
        "Application/gRPC",
    ] {
        for client in [&http1, &http2] {
            let (exchange, _) = world.send_by(client, post("/app.Orders/List", content_type));
            exchange.expect(content_type, |response| {
                response.status == 401
                    && response.json()["reason"] == "missing"
                    && response.headers.get("grpc-status").is_none()
            });
        }
    }
}

/// Without these fields a page sees a network error instead of the answer.
fn cors(world: &World) {
    let own = "https://www.example.com";
    let app = "https://a.b.apps.example.com:8443";
    for (name, origins, echoed) in [
        ("allowed", vec![own], Some(own)),
        (
            "allowed in another case",
            vec!["HTTPS://WWW.example.COM"],
            Some("HTTPS://WWW.example.COM"),
        ),
        ("allowed by a wildcard", vec![app], Some(app)),
        ("no origin", vec![], None),
        ("another host", vec!["https://evil.example"], None),
        ("a longer host", vec!["https://www.example.com.evil.example"], None),
        ("another scheme", vec!["http://www.example.com"], None),
        ("another port", vec!["https://www.example.com:8443"], None),
        ("the wildcard's own name", vec!["https://apps.example.com:8443"], None),
        ("null", vec!["null"], None),
        ("a trailing slash", vec!["https://www.example.com/"], None),
        ("two lines", vec![own, own], None),
        ("two in a line", vec!["https://www.example.com, https://evil.example"], None),
        ("an empty one", vec![""], None),
    ] {
        for (path, status) in [("/orders", 401), ("/denied", 403), ("//x", 400)] {
            let request = origins
                .iter()
                .fold(Request::get(path), |request, origin| request.header("origin", origin));
            let (exchange, _) = world.send("cors", request.clone());
            let response = exchange.expect_status(status);
            assert_eq!(lines(response, "vary"), ["origin"], "{name}");
            let (origin, credentials) = (
                lines(response, "access-control-allow-origin"),
                lines(response, "access-control-allow-credentials"),
            );
            assert_eq!(origin, echoed.into_iter().collect::<Vec<_>>(), "{name}");
            assert_eq!(
                credentials,
                echoed.map(|_| "true").into_iter().collect::<Vec<_>>(),
                "{name}"
            );
            let (exchange, _) = world.send("no-cors", request);
            let response = exchange.expect_status(status);
            for header in
                ["vary", "access-control-allow-origin", "access-control-allow-credentials"]
            {
                assert_eq!(lines(response, header), Vec::<String>::new(), "{name}: {header}");
            }
        }
    }
}

fn lines(response: &Response, name: &str) -> Vec<String> {
    let values = response.headers.all(name).into_iter();
    values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// How Envoy shows the counters of denials.
pub(crate) const COUNTER: &str = "wasmcustom.session_token.denied.";
const FLOOD: usize = 45;
