//! Report mode: everything goes on, what would have been refused is counted, and backends get it as
//! it came but for the headers that no client may send.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use session_token_harness::client::Request;
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};

use crate::extraction::bearer;
use crate::site::{Site, corbado, expect_denied, remote};
use crate::trial;
use crate::world::{World, session};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "report::each_access", each_access),
        trial(world, "report::nobody_waits", nobody_waits),
    ]
}

/// In an Envoy of its own: metrics are global.
fn each_access(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let path = |path: &str| json!({"path": {"prefix": path}});
    let mut configuration = corbado(remote(json!({})));
    configuration["providers"][0]["auth_time_claim"] = json!("login");
    configuration["default"] = json!({"mode": "report"});
    configuration["csrf"] = json!({"mode": "report"});
    configuration["rules"] = json!([
        {"match": path("/optional"), "access": "optional"},
        {"match": path("/denied"), "access": "denied"},
        {"match": path("/public"), "access": "public"},
        {"match": path("/admin"), "require": {"claim": "roles", "contains": "admin"}},
        {"match": path("/fresh"), "max_auth_age": "1m"},
        {"match": path("/enforced"), "mode": "enforce"}
    ]);
    let site = Site::start(world, KeyServer::start(&jwks(&[&key])), configuration);
    site.wait_for_metric("jwks_fetch_ok.corbado", 1);
    let warning = |place: &str| site.log_lines(&["[warning]", place]) > 0;
    assert!(warning("default.mode: nothing is refused here") && warning("csrf.mode: pages"));

    let good = session("usr-g").signed_by(&key);
    let expired = bearer(&session("usr-e").claim("exp", 1_000).signed_by(&key));
    let forged = bearer(&session("usr-f").unsigned());
    let cookie = format!("a=b; cbo_session_token={good}");
    let (client, b_good) = (site.client(), bearer(&good));
    let authorization = |value: &str| vec![("authorization", value.to_owned())];
    for (name, path, headers, reason) in [
        ("nothing", "/orders", vec![], "missing"),
        ("expired", "/orders", authorization(&expired), "expired"),
        ("forged", "/orders", authorization(&forged), "algorithm_not_allowed"),
        ("expired, optional", "/optional", authorization(&expired), "expired"),
        ("denied", "/denied", vec![("cookie", cookie.clone())], "denied_by_rule"),
        ("claims", "/admin", vec![("cookie", cookie.clone())], "insufficient_claims"),
        ("login", "/fresh", authorization(&b_good), "stale_session"),
        ("garbage", "/orders", vec![("cookie", "cbo_session_token=x".into())], "malformed"),
    ] {
        let metric = format!("would_deny.{reason}");
        let before = site.metric(&metric);
        for (protocol, client) in [("HTTP/1", client.clone()), ("HTTP/2", client.clone().http2())] {
            site.app.clear();
            let request =
                Request::get(path).header("x-user-id", "admin").header("x_user.id", "admin");
            let request = headers.iter().fold(request, |it, (name, value)| it.header(name, value));
            client.send(request).expect_status(200);
            let received = site.app.requests().pop().unwrap();
            for header in ["authorization", "cookie", "x-user-id", "x_user.id"] {
                let sent = headers.iter().find(|(name, _)| *name == header);
                let sent = sent.map(|(_, value)| value.clone());
                assert_eq!(received.headers.text(header), sent, "{header}: {name}, {protocol}");
            }
        }
        site.wait_for_metric(&metric, before + 2);
        assert_eq!(site.metric(&format!("denied.{reason}")), 0, "{name}");
    }
    assert_eq!(site.log_lines(&["reason="]), 0, "nothing was denied");
    assert_eq!(site.metric("allowed"), 0);

    // Allowed: edited as ever. The other site's POST is counted, and goes on as verified.
    site.app.clear();
    let request = Request::post("/orders", "x").header("cookie", &cookie);
    client.send(request.header("origin", "https://evil.example")).expect_status(200);
    let received = site.app.requests().pop().unwrap();
    assert_eq!(received.headers.text("authorization"), Some(b_good));
    assert_eq!(received.headers.text("cookie").as_deref(), Some("a=b"));
    assert_eq!(received.headers.text("x-user-id").as_deref(), Some("usr-g"));
    client.send(Request::get("/optional")).expect_status(200);
    client.send(Request::get("/public")).expect_status(200);
    for name in ["csrf_report", "allowed", "allowed_optional", "allowed_public"] {
        site.wait_for_metric(name, 1);
        assert_eq!(site.metric(name), 1, "{name}");
    }
    // What is enforced is, and so is what comes before a rule is known.
    expect_denied(&client.send(Request::get("/enforced/x")), 401, "missing");
    expect_denied(&client.send(Request::get("/orders//x")), 400, "ambiguous_path");
    expect_denied(&client.send(Request::new("TRACE", "/orders")), 405, "method_not_allowed");
    site.end(world);
}

/// Keys that are not there hold nobody up.
fn nobody_waits(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let mut keys = KeyServer::start(&jwks(&[&key]));
    keys.stop();
    let mut configuration = corbado(remote(json!({})));
    configuration["default"] = json!({"mode": "report"});
    let site = Site::start(world, keys, configuration);
    let token = session("usr-g").signed_by(&key);
    for _ in 0..3 {
        site.get(&token).expect_status(200);
    }
    site.wait_for_metric("would_deny.keys_unavailable", 3);
    assert_eq!(site.metric("waiting_streams"), 0);
    let received = site.app.requests().pop().unwrap();
    assert_eq!(received.headers.text("authorization"), Some(bearer(&token)));
    assert_eq!(received.headers.text("x-user-id"), None);
    site.end(world);
}
