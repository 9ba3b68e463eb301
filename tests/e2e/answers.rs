//! What a refused client and an operator are told: answer, challenge, access log, metric, log line.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_filter::reason::Reason;
use session_token_harness::answer::Answer;
use session_token_harness::bootstrap::{Cluster, Listener};
use session_token_harness::client::{Client, Request, Response};
use session_token_harness::envoy::{Envoy, EnvoyOptions};
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::token::{tampered, unix_now};

use crate::extraction::bearer;
use crate::trial;
use crate::world::{World, corbado, listener, session};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "answers::every_reason", every_reason),
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
fn provider(name: &str, jwks: Value) -> Value {
    json!({"name": name, "issuers": [format!("https://{name}.example")], "jwks": jwks})
}

/// One reason, and all that is told of it.
struct Row {
    reason: &'static str,
    status: u16,
    title: &'static str,
    /// `error_description` of an `invalid_token` challenge.
    description: Option<&'static str>,
    request: Request,
    method: &'static str,
    path: &'static str,
    /// What the log line says between `reason=` and `method=`.
    origin: String,
}

/// In an Envoy of its own, so that counters are exact, at the log level that operators use.
fn every_reason(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let key_server = KeyServer::start(&jwks(&[]));
    key_server.answer_with(Answer::status(500));
    let rows = rows(&key);
    // At most ten lines a second are logged, for each configuration.
    let listeners = rows.len().div_ceil(LINES_A_SECOND);
    let mut bootstrap = world.backends().cluster(Cluster::new("down", key_server.address()));
    for number in 0..listeners {
        let configuration = all_reasons_possible(&key, &format!("realm {number}"));
        bootstrap = bootstrap.listener(listener(&number.to_string(), configuration));
    }
    let envoy = start(EnvoyOptions::new(world.binary(), bootstrap));
    let before = world.app().count();
    for (number, rows) in rows.chunks(LINES_A_SECOND).enumerate() {
        let client = envoy.client(&number.to_string());
        for row in rows {
            check_answer(&client, row, number);
        }
    }
    for row in &rows {
        check_records(&envoy, row);
    }
    let denied: u64 = denials(&envoy).values().sum();
    assert_eq!(usize::try_from(denied).unwrap(), rows.len(), "all denials are counted, once");
    let mut told: Vec<_> = rows.iter().map(|row| row.reason).collect();
    // Takes a flood: `overloaded`.
    told.push(Reason::Overloaded.word());
    let missing: Vec<_> = Reason::ALL.iter().filter(|one| !told.contains(&one.word())).collect();
    assert!(missing.is_empty(), "reasons without a row: {missing:?}");
    let case_less = world.app().requests().into_iter().skip(before);
    let leaked = case_less.filter(|request| request.path.contains(QUERY_MARK)).count();
    assert_eq!(leaked, 0, "requests reached the backend");
    check_prometheus(&envoy);
    assert!(!envoy.log().contains(QUERY_MARK), "a query was logged");
    world.retire(envoy);
}

fn all_reasons_possible(key: &SigningKey, realm: &str) -> Value {
    let inline = json!({"inline": jwks(&[key])});
    let mut session = corbado();
    session["jwks"] = inline.clone();
    let mut partner = provider("partner", inline);
    partner["audiences"] = json!(["orders"]);
    partner["max_lifetime"] = json!("10m");
    partner["on_conflict"] = json!("reject");
    partner["sources"] = json!([
        {"header": {"name": "authorization", "scheme": "Bearer"}},
        {"cookie": {"name": "partner_session"}}
    ]);
    let down = provider(
        "down",
        json!({"remote": {
            "uri": "https://down.example/jwks", "cluster": "down", "timeout": "100ms"
        }}),
    );
    json!({
        "providers": [session, partner, down],
        "rules": [
            {"name": "admin", "match": {"path": {"prefix": "/admin"}}, "access": "denied"},
            {"match": {"path": {"prefix": "/partner"}}, "providers": ["partner"]},
            {"name": "down", "match": {"path": {"prefix": "/down"}}, "providers": ["down"]}
        ],
        "responses": {"realm": realm}
    })
}

fn rows(key: &SigningKey) -> Vec<Row> {
    let now = unix_now();
    let t = session("usr-t").signed_by(key);
    let session = || session("usr-r");
    let partner =
        || session().claim("iss", "https://partner.example").claim("aud", "orders").claim("nbf", 0);
    let unauthorized = |reason, description, request| Row {
        reason,
        status: 401,
        title: "Unauthorized",
        description: Some(description),
        request,
        method: "GET",
        path: "/orders",
        origin: "rule=default provider=corbado kid=k1".to_owned(),
    };
    let header = |token: &str| Request::get(ORDERS).header("authorization", bearer(token));
    let bad =
        |reason, description, token: String| unauthorized(reason, description, header(&token));
    let unclaimed = |row: Row| Row { origin: "rule=default".into(), ..row };
    let to_partner = |reason, description, request| Row {
        path: "/partner",
        origin: "rule=rules[1] provider=partner kid=k1".into(),
        ..unauthorized(reason, description, request)
    };
    let plain = |reason, status, title, request| Row {
        reason,
        status,
        title,
        description: None,
        request,
        method: "GET",
        path: "/orders",
        origin: String::new(),
    };
    let partner_header = |token: &str| Request::get(PARTNER).header("authorization", bearer(token));
    let two_sources = partner_header(&partner().signed_by(key))
        .header("cookie", format!("partner_session={}", partner().claim("n", 1).signed_by(key)));
    vec![
        Row {
            origin: "rule=default".into(),
            ..plain("missing", 401, "Unauthorized", Request::get(ORDERS))
        },
        unclaimed(bad("malformed", "The token is malformed", "x.y.z".into())),
        Row {
            origin: "rule=default provider=corbado".into(),
            ..bad("algorithm_not_allowed", "The token's algorithm is not allowed", {
                session().unsigned()
            })
        },
        Row {
            origin: "rule=default provider=corbado kid=k\\x202".into(),
            ..bad("unknown_key", "The token's key is unknown", {
                session().signed_by(&key.with_kid("k 2"))
            })
        },
        bad("bad_signature", "The token's signature is wrong", tampered(&t)),
        bad("type_not_allowed", "The token's type is not allowed", {
            session().header("typ", "dpop+jwt").signed_by(key)
        }),
        bad("expired", "The token has expired", session().claim("exp", now - 60).signed_by(key)),
        bad("not_yet_valid", "The token is not valid yet", {
            session().claim("nbf", now + 60).signed_by(key)
        }),
        bad("issued_in_future", "The token was issued in the future", {
            session().claim("iat", now + 60).signed_by(key)
        }),
        to_partner("lifetime_too_long", "The token lives too long", {
            partner_header(&partner().claim("exp", now + 700).signed_by(key))
        }),
        bad("no_expiry", "The token does not expire", {
            session().claim("exp", Value::Null).signed_by(key)
        }),
        unclaimed(bad("issuer_empty", "The token has no issuer", {
            session().claim("iss", "").signed_by(key)
        })),
        unclaimed(bad("issuer_mismatch", "The token's issuer is not trusted here", {
            session().claim("iss", "https://id.example").signed_by(key)
        })),
        to_partner("audience_mismatch", "The token is for another audience", {
            partner_header(&partner().claim("aud", "billing").signed_by(key))
        }),
        bad("not_a_session", "The token is not a session", {
            session().claim("sub", "").signed_by(key)
        }),
        unclaimed(unauthorized("multiple_credentials", "There are several credentials", {
            header(&t).header("authorization", bearer(&t))
        })),
        Row {
            origin: "rule=rules[1]".into(),
            ..to_partner("conflicting_credentials", "Two credentials differ", two_sources)
        },
        unclaimed(unauthorized("duplicate_cookie", "Two session cookies differ", {
            let twins = format!("cbo_session_token={t}; cbo_session_token=x");
            Request::get(ORDERS).header("cookie", twins)
        })),
        Row {
            method: "POST",
            origin: "rule=default provider=corbado".into(),
            ..plain("cross_site", 403, "Forbidden", {
                let cookie = format!("cbo_session_token={t}");
                let request = Request::post(ORDERS, "x").header("cookie", cookie);
                request.header("origin", "https://evil.example")
            })
        },
        Row {
            path: "/ADMIN/x",
            origin: "rule=admin".into(),
            ..plain("denied_by_rule", 403, "Forbidden", {
                Request::get(format!("/ADMIN/x?{QUERY_MARK}"))
            })
        },
        Row {
            path: "/down",
            origin: "rule=down provider=down kid=k1".into(),
            ..plain("keys_unavailable", 503, "Service Unavailable", {
                let token = session().claim("iss", "https://down.example").signed_by(key);
                Request::get(format!("/down?{QUERY_MARK}")).header("authorization", bearer(&token))
            })
        },
        plain("malformed_request", 400, "Bad Request", {
            Request::get(ORDERS).header("host", "u@www.example.com")
        }),
        Row {
            path: "/a;x=\\\"1\\\"",
            ..plain("ambiguous_path", 400, "Bad Request", {
                Request::get(format!("/a;x=\"1\"?{QUERY_MARK}"))
            })
        },
        Row {
            method: "TRACE",
            ..plain("method_not_allowed", 405, "Method Not Allowed", Request::new("TRACE", ORDERS))
        },
    ]
}

fn check_answer(client: &Client, row: &Row, number: usize) {
    let exchange = client.send(row.request.clone());
    let Row { reason, status, title, description, .. } = row;
    let response = exchange.expect(&format!("{status} {reason}"), |response| {
        let body = json!({
            "type": "about:blank", "title": title, "status": status, "reason": reason
        });
        response.status == *status && response.json() == body
    });
    let challenge = format!("Bearer realm=\"realm {number}\"");
    let challenge = match (status, description) {
        (401 | 403, Some(description)) => Some(format!(
            "{challenge}, error=\"invalid_token\", error_description=\"{description}\""
        )),
        (401 | 403, None) => Some(challenge),
        _ => None,
    };
    let header = |name| response.headers.text(name);
    assert_eq!(header("www-authenticate"), challenge, "{reason}");
    assert_eq!(header("content-type").as_deref(), Some("application/problem+json"), "{reason}");
    assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{reason}");
    assert_eq!(header("vary"), None, "{reason}: no cors_origins");
    let seconds = header("retry-after").map(|seconds| seconds.parse::<u64>().unwrap());
    assert_eq!(seconds.is_some(), *status == 503, "{reason}");
    assert!(seconds.is_none_or(|seconds| (1..=60).contains(&seconds)), "{reason}: {seconds:?}");
    assert_eq!(header("allow").is_some(), *status == 405, "{reason}");
}

fn check_records(envoy: &Envoy, row: &Row) {
    let Row { reason, status, method, path, origin, .. } = row;
    let counter = format!("{COUNTER}{reason}");
    let value = envoy.wait_for_stat(&counter, |value| value > 0);
    assert_eq!(value.unwrap_or_else(|error| panic!("{error}")), 1, "{counter}");
    let accessed = format!("{method} HTTP/1.1 {status} session_token_denied{{{reason}}} ");
    envoy.wait_for_access_log(&accessed).unwrap_or_else(|error| panic!("{error}"));
    let line =
        own_lines(envoy).into_iter().find(|line| line.starts_with(&format!("reason={reason} ")));
    let separator = if origin.is_empty() { "" } else { " " };
    let expected = format!("reason={reason} {origin}{separator}method={method} path={path}");
    assert_eq!(line, Some(expected));
}

fn check_prometheus(envoy: &Envoy) {
    let response = envoy.admin_get("/stats/prometheus").unwrap_or_else(|error| panic!("{error}"));
    let text = response.text();
    let is_there = text.lines().any(|line| line == "session_token_denied_expired{} 1");
    let ours = || text.lines().filter(|line| line.contains("session_token")).collect::<Vec<_>>();
    assert!(is_there, "{:#?}", ours());
}

/// The counters of denials that are not zero, by reason.
fn denials(envoy: &Envoy) -> std::collections::BTreeMap<String, u64> {
    let stats = envoy.stats().unwrap_or_else(|error| panic!("{error}"));
    stats
        .into_iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(COUNTER)?.to_owned(), value)))
        .filter(|(_, value)| *value > 0)
        .collect()
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
const COUNTER: &str = "wasmcustom.session_token.denied.";
const LINES_A_SECOND: usize = 10;
const FLOOD: usize = 45;
/// Stands in every query.
const QUERY_MARK: &str = "QUERY-TO-KEEP";
const ORDERS: &str = "/orders?QUERY-TO-KEEP";
const PARTNER: &str = "/partner?QUERY-TO-KEEP";
