//! Requests that wait for keys: held back entirely, bounded, and let go in every way there is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::json;
use session_token_harness::answer::Answer;
use session_token_harness::backend::Backend;
use session_token_harness::bootstrap::{Cluster, Listener, Route, WasmFilter};
use session_token_harness::client::{Exchange, Pending, Request};
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::token::tampered;

use crate::site::{Site, corbado, eventually, expect_denied, get, named_ingress, remote};
use crate::trial;
use crate::world::{World, session};

/// All tests, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "waiting::held_back_until_keys_come", held_back_until_keys_come),
        trial(world, "waiting::refused_when_no_keys_come", refused_when_no_keys_come),
        trial(world, "waiting::refused_after_its_time", refused_after_its_time),
        trial(world, "waiting::clients_that_hang_up", clients_that_hang_up),
        trial(world, "waiting::bounded", bounded),
        trial(world, "waiting::bounded_for_unknown_keys", bounded_for_unknown_keys),
        trial(world, "waiting::trailers", trailers),
    ]
}

/// With `allow_on_headers_stop_iteration: true` a filter that merely says "stop" lets a body
/// through, and the request after it; so both values are tested.
fn held_back_until_keys_come(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let configuration = corbado(remote(json!({"timeout": "10s"})));
    let listeners = [("plain", false), ("stop", true)].map(|(name, allow)| {
        let filter = WasmFilter::new().configuration(configuration.clone());
        named_ingress(name, filter.allow_on_headers_stop_iteration(allow))
    });
    let site = Site::with(world, held_back(&key), |bootstrap| {
        listeners.into_iter().fold(bootstrap, |bootstrap, listener| bootstrap.listener(listener))
    });
    let token = session("usr-1").signed_by(&key);
    let forged = tampered(&token);
    // Less than Envoy's buffer, and far more.
    let bodies = [vec![b'a'; 1_000], vec![b'b'; 3 << 20]];
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for name in ["plain", "stop"] {
        let client = site.envoy.client(name);
        good.push(client.send_in_background(get(&token)));
        bad.push(client.send_in_background(get(&forged)));
        for body in &bodies {
            good.push(client.send_in_background(post(&token, body.clone())));
            bad.push(client.send_in_background(post(&forged, body.clone())));
        }
    }
    let all = u64::try_from(good.len() + bad.len()).unwrap();
    site.wait_for_metric("waiting_streams", all);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(site.app.count(), 0, "nothing passes unverified");
    assert!(good.iter().chain(&bad).all(|pending| !pending.is_finished()), "all wait");
    site.keys.serve(&jwks(&[&key]));
    for exchange in wait_all(bad) {
        expect_denied(&exchange, 401, "bad_signature");
    }
    for exchange in wait_all(good) {
        exchange.expect_status(200);
    }
    let received = site.app.requests();
    assert_eq!(received.len(), 6, "the good ones");
    for request in &received {
        let text = |name| request.headers.text(name);
        assert_eq!(text("x-user-id").as_deref(), Some("usr-1"));
        assert_eq!(text("authorization"), Some(format!("Bearer {token}")));
    }
    for body in &bodies {
        assert_eq!(received.iter().filter(|request| request.body == *body).count(), 2);
    }
    eventually("nobody waits any more", || site.metric("waiting_streams") == 0);
    site.end(world);
}

fn refused_when_no_keys_come(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let site = Site::start(world, held_back(&key), corbado(remote(json!({"timeout": "10s"}))));
    let token = session("usr-1").signed_by(&key);
    let waiting = [get(&token), post(&token, vec![b'a'; 100])]
        .map(|request| site.client().send_in_background(request));
    site.wait_for_metric("waiting_streams", 2);
    site.keys.answer_with(Answer::status(500));
    for pending in waiting {
        let exchange = pending.wait();
        expect_denied(&exchange, 503, "keys_unavailable");
        assert_eq!(exchange.expect_status(503).headers.text("retry-after").as_deref(), Some("1"));
    }
    assert_eq!(site.app.count(), 0);
    eventually("nobody waits any more", || site.metric("waiting_streams") == 0);
    site.keys.serve(&jwks(&[&key]));
    eventually("keys after all", || site.get(&token).status() == 200);
    site.end(world);
}

fn refused_after_its_time(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let site = Site::start(world, held_back(&key), corbado(remote(json!({"timeout": "4s"}))));
    let token = session("usr-1").signed_by(&key);
    let began = Instant::now();
    let waiting = site.client().send_in_background(get(&token));
    site.wait_for_metric("waiting_streams", 1);
    expect_denied(&waiting.wait(), 503, "keys_unavailable");
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(7), "{waited:?}");
    site.envoy.wait_for_log("jwks: fetch failed: status 504").unwrap();
    site.end(world);
}

fn clients_that_hang_up(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let site = Site::start(world, held_back(&key), corbado(remote(json!({"timeout": "10s"}))));
    let token = session("usr-1").signed_by(&key);
    let upload = post(&token, vec![b'a'; 2 << 20]);
    let mut leavers = Vec::new();
    let mut stayers = Vec::new();
    for _ in 0..3 {
        for request in [get(&token), post(&token, vec![b'a'; 100])] {
            let mut connection = site.client().connect().unwrap();
            connection.write(&request.to_http1()).unwrap();
            leavers.push(connection);
            stayers.push(site.client().send_in_background(request));
        }
    }
    // An upload whose body Envoy no longer reads.
    let mut connection = site.client().connect().unwrap();
    let bytes = upload.to_http1();
    connection.write(&bytes[..100_000]).unwrap();
    leavers.push(connection);
    site.wait_for_metric("waiting_streams", 13);
    drop(leavers);
    let resets = "http.ingress.downstream_rq_rx_reset";
    let gone = "http.ingress.downstream_cx_destroy_remote";
    eventually("Envoy has noticed", || {
        site.envoy.stat(gone).unwrap() >= 6 || site.envoy.stat(resets).unwrap() >= 6
    });
    site.keys.serve(&jwks(&[&key]));
    for exchange in wait_all(stayers) {
        exchange.expect_status(200);
    }
    eventually("nobody waits any more", || site.metric("waiting_streams") == 0);
    assert_eq!(site.app.count(), 6, "those who stayed");
    site.get(&token).expect_status(200);
    site.end(world);
}

fn bounded(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    // Two configurations, each with room of its own.
    let listeners = ["reads", "uploads"].map(|name| {
        let mut configuration = corbado(remote(json!({"timeout": "14s"})));
        configuration["responses"] = json!({"realm": name});
        named_ingress(name, WasmFilter::new().configuration(configuration))
    });
    let site = Site::with(world, held_back(&key), |bootstrap| {
        listeners.into_iter().fold(bootstrap, |bootstrap, listener| bootstrap.listener(listener))
    });
    let token = session("usr-1").signed_by(&key);
    let mut waiting = Vec::new();
    let mut expected = 0;
    for (name, room, request) in
        [("reads", 200, get(&token)), ("uploads", 20, post(&token, vec![b'a'; 1_000]))]
    {
        let client = site.envoy.client(name);
        waiting.extend((0..room).map(|_| client.send_in_background(request.clone())));
        expected += room;
        eventually(&format!("{name} are full"), || {
            site.metric("waiting_streams") >= expected || waiting.iter().any(Pending::is_finished)
        });
        for _ in 0..3 {
            let began = Instant::now();
            let exchange = client.send(request.clone());
            expect_denied(&exchange, 503, "keys_unavailable");
            assert!(began.elapsed() < Duration::from_secs(2), "refused at once");
        }
    }
    // What needs no room is served meanwhile.
    expect_denied(&site.envoy.client("reads").send(Request::get("/")), 401, "missing");
    assert_eq!(site.app.count(), 0);
    site.keys.serve(&jwks(&[&key]));
    let answered = waiting.len();
    let served = wait_all(waiting).iter().filter(|exchange| exchange.status() == 200).count();
    assert_eq!(served, answered, "all who waited are served");
    assert_eq!(site.app.count(), answered);
    eventually("nobody waits any more", || site.metric("waiting_streams") == 0);
    site.end(world);
}

/// Forged `kid`s fill a pool of their own: a hundred wait for a newer set, the rest does not.
fn bounded_for_unknown_keys(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let site = Site::start(world, KeyServer::start(&jwks(&[&key])), corbado(remote(json!({}))));
    let token = session("usr-1").signed_by(&key);
    site.get(&token).expect_status(200);
    site.keys.hold_back();
    let forged = |number: u32| session("x").signed_by(&key.with_kid(&format!("forged-{number}")));
    let waiting: Vec<_> =
        (0..100).map(|number| site.client().send_in_background(get(&forged(number)))).collect();
    site.wait_for_metric("waiting_streams", 100);
    let began = Instant::now();
    expect_denied(&site.get(&forged(100)), 401, "unknown_key");
    assert!(began.elapsed() < Duration::from_secs(2), "refused at once");
    // Those with a known key don't notice, seen before or not.
    site.get(&token).expect_status(200);
    site.get(&session("usr-2").signed_by(&key)).expect_status(200);
    site.keys.serve(&jwks(&[&key]));
    for exchange in wait_all(waiting) {
        expect_denied(&exchange, 401, "unknown_key");
    }
    assert_eq!(site.app.count(), 3);
    site.end(world);
}

fn trailers(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let modern = Backend::start_http2("modern");
    let filter = WasmFilter::new().configuration(corbado(remote(json!({"timeout": "10s"}))));
    let site = Site::with(world, held_back(&key), |bootstrap| {
        bootstrap.cluster(Cluster::new("modern", modern.address()).http2()).listener(
            Listener::new("ingress").filter(filter).route(Route::prefix("/").to("modern")),
        )
    });
    let token = session("usr-1").signed_by(&key);
    let request = |token: &str| {
        post(token, b"body".to_vec())
            .trailer("x-user-id", "admin")
            .trailer("x_user_id", "admin")
            .trailer("authorization", "Bearer other")
            .trailer("cookie", "cbo_session_token=other")
            .trailer("x-checksum", "kept")
    };
    let client = site.client().http2();
    let waiting = client.send_in_background(request(&token));
    let forged = client.send_in_background(request(&tampered(&token)));
    site.wait_for_metric("waiting_streams", 2);
    assert_eq!(modern.count(), 0);
    site.keys.serve(&jwks(&[&key]));
    waiting.wait().expect_status(200);
    expect_denied(&forged.wait(), 401, "bad_signature");
    // And without any waiting.
    client.send(request(&token)).expect_status(200);
    let received = modern.requests();
    assert_eq!(received.len(), 2);
    for request in received {
        assert_eq!(request.headers.all("x-user-id"), [b"usr-1"]);
        assert_eq!(request.body, b"body");
        let names: Vec<_> = request.trailers.iter().map(|line| line.name.clone()).collect();
        assert_eq!(names, [b"x-checksum"], "{}", request.trailers);
    }
    site.end(world);
}

/// A key server that has the key and keeps it to itself, for now.
fn held_back(key: &SigningKey) -> KeyServer {
    let keys = KeyServer::start(&jwks(&[key]));
    keys.hold_back();
    keys
}

fn post(token: &str, body: Vec<u8>) -> Request {
    Request::post("/orders", body).header("authorization", format!("Bearer {token}"))
}

fn wait_all(pending: Vec<Pending>) -> Vec<Exchange> {
    pending.into_iter().map(Pending::wait).collect()
}
