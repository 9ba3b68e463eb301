//! Responses' cookies: shared among hosts, expired where they are twice, and else byte for byte.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::answer::{Answer, Fault};
use session_token_harness::backend::Backend;
use session_token_harness::bootstrap::{Cluster, Listener, Route, WasmFilter};
use session_token_harness::client::{Exchange, Request};
use session_token_harness::envoy::{DynamicListeners, ListenerUpdate};
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::token::tampered;

use crate::secrets::COOKIE_MARK;
use crate::site::{Site, corbado, expect_denied, get, ingress, remote};
use crate::trial;
use crate::world::{World, session};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "set_cookies::shared", shared),
        trial(world, "set_cookies::other_hosts", other_hosts),
        trial(world, "set_cookies::duplicates", duplicates),
        trial(world, "set_cookies::unusual_answers", unusual_answers),
        trial(world, "set_cookies::who_waited", who_waited),
        trial(world, "set_cookies::two_configurations", two_configurations),
        trial(world, "set_cookies::abandoned", abandoned),
        trial(world, "set_cookies::stripped", stripped),
    ]
}

/// Many lines of one answer, over both protocols, by a public rule and by one that is not.
fn shared(world: &World) {
    let (site, key) = site(world, with_cookies(sharing(".example.com")));
    let token = session("usr-1").signed_by(&key);
    let odd: &[u8] = b"odd=\"\xff\xfe; Domain=x\" ;;domain = y; P\xe4th=/";
    let set = format!("cbo_session_token={COOKIE_MARK}; Path=/; Secure; SameSite=Lax");
    let wide = format!("{set}; Domain=.example.com");
    let expired = "Expires=Thu, 01 Jan 1970 00:00:00 GMT";
    let clear = format!("cbo_session_token=; domain = api.example.com ; {expired}");
    let wide_clear = format!("cbo_session_token=; domain = .example.com ; {expired}");
    let right = "cbo_session_token=z; Path=/x; Domain=Example.COM; Max-Age=60";
    site.app.answer_with(answer_with(&[
        b"first=1",
        set.as_bytes(),
        odd,
        clear.as_bytes(),
        right.as_bytes(),
        b"last",
    ]));
    let expected = [
        b"first=1".as_slice(),
        b"cbo_session_token=; Path=/; Secure; SameSite=Lax; Max-Age=0",
        wide.as_bytes(),
        odd,
        b"cbo_session_token=; Max-Age=0",
        wide_clear.as_bytes(),
        b"cbo_session_token=; Path=/x; Max-Age=0",
        right.as_bytes(),
        b"last",
    ];
    let requests = [Request::get("/public/login"), get(&token), Request::new("HEAD", "/public")];
    for client in [site.client(), site.client().http2()] {
        for request in &requests {
            for host in ["api.example.com", "example.com", "WWW.Example.com:8443"] {
                let exchange = client.send(request.clone().header("host", host));
                expect_lines(&exchange, 200, &expected);
                let names = |name| exchange.expect_status(200).headers.all(name).len();
                assert_eq!(names("x-other"), 1, "other headers stay");
            }
        }
    }
    site.wait_for_metric("set_cookie_rewritten", 2 * 3 * 3 * 2);
    assert_eq!(site.metric("set_cookie_rewritten"), 36, "what was right already is not counted");
    // What sets no shared cookie is left alone.
    for lines in [vec![], vec![odd], vec![b"cbo_session_tokenX=1".as_slice(), b"b=2"]] {
        site.app.answer_with(answer_with(&lines));
        let request = Request::get("/public").header("host", "api.example.com");
        expect_lines(&site.client().send(request), 200, &lines);
    }
    site.end(world);
}

fn other_hosts(world: &World) {
    let (site, _) = site(world, with_cookies(sharing(".example.com")));
    let line = format!("cbo_session_token={COOKIE_MARK}; Path=/").into_bytes();
    site.app.answer_with(answer_with(&[&line]));
    let hosts = ["localhost", "api.example.org", "notexample.com", "api.example.com.", "127.0.0.1"];
    for host in hosts {
        let request = Request::get("/public").header("host", host);
        expect_lines(&site.client().send(request), 200, &[&line]);
    }
    site.wait_for_metric("set_cookie_not_shared", 5);
    assert_eq!(site.metric("set_cookie_rewritten"), 0);
    let told =
        "cookies.share_domain: cbo_session_token is not set for .example.com: host=localhost";
    let logged = site.envoy.wait_for_log(told).unwrap();
    assert!(logged.contains("[warning]"), "{logged}");
    assert_eq!(site.log_lines(&["cookies.share_domain"]), 1, "told once");
    site.end(world);
}

/// Whoever answers: the upstream, Envoy, or the filter itself.
fn duplicates(world: &World) {
    let mut cookies = sharing(".example.com");
    cookies["expire_older_domains"] = json!([".old.example.com", ""]);
    cookies["path"] = json!("/app");
    let mut configuration = with_cookies(cookies);
    configuration["rules"].as_array_mut().unwrap().push(json!(
        {"match": {"path": {"prefix": "/none"}}, "access": "denied"}
    ));
    let (site, key) = site(world, configuration);
    let token = session("usr-1").signed_by(&key);
    let old = b"cbo_session_token=; Domain=.old.example.com; Path=/app; Max-Age=0".as_slice();
    let twin = b"cbo_session_token=; Path=/app; Max-Age=0".as_slice();
    let set = b"a=\xff; Path=/".as_slice();
    let other = session("usr-2").signed_by(&key);
    let twice = format!("a=1; cbo_session_token={token}; cbo_session_token={other}");
    let with = |request: Request, cookies: &str| {
        request.header("host", "api.example.com").header("cookie", cookies)
    };
    site.app.answer_with(answer_with(&[set]));
    for client in [site.client(), site.client().http2()] {
        for (path, status, lines) in [
            ("/public/refresh", 200, vec![old, twin, set]),
            ("/orders", 401, vec![old, twin]),
            ("/none", 403, vec![old, twin]),
            ("/public/%2e%2f", 400, vec![old, twin]),
        ] {
            expect_lines(&client.send(with(Request::get(path), &twice)), status, &lines);
        }
        // A bearer is the credential here, whatever the cookies.
        expect_lines(&client.send(with(get(&token), &twice)), 200, &[old, twin, set]);
        let refused = client.send(with(Request::get("/orders"), &twice));
        assert_eq!(refused.expect_status(401).json()["reason"], "duplicate_cookie");
        // One, or none, is no reason to expire anything.
        let once = format!("cbo_session_token={token}; a=1; a=2");
        expect_lines(&client.send(with(Request::get("/orders"), &once)), 200, &[set]);
        expect_lines(&client.send(with(Request::get("/orders"), "a=1")), 401, &[]);
    }
    // gRPC is refused by a head alone.
    let grpc = Request::post("/app.Orders/List", b"".as_slice())
        .header("content-type", "application/grpc");
    let exchange = site.client().http2().send(with(grpc, &twice));
    expect_lines(&exchange, 200, &[old, twin]);
    assert_eq!(exchange.expect_status(200).headers.text("grpc-status").as_deref(), Some("16"));
    // Envoy answers for an upstream that is not there.
    site.app.answer_with(Answer::status(200).fault(Fault::CloseBeforeHead));
    let exchange = site.client().send(with(Request::get("/public"), &twice));
    expect_lines(&exchange, 503, &[old, twin]);
    // Elsewhere the host-only cookie is the session.
    let request = Request::get("/orders").header("host", "api.example.org");
    expect_lines(&site.client().send(request.header("cookie", &twice)), 401, &[old]);
    site.end(world);
}

/// Upgrades, interim answers, answers without a body, and gRPC that is over with its head.
fn unusual_answers(world: &World) {
    let modern = Backend::start_http2("modern");
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let mut cookies = sharing(".example.com");
    cookies["expire_older_domains"] = json!([""]);
    let filter = WasmFilter::new().configuration(with_cookies(cookies));
    let site = Site::with(world, KeyServer::start(&jwks(&[&key])), |bootstrap| {
        bootstrap.cluster(Cluster::new("modern", modern.address()).http2()).listener(
            Listener::new("ingress")
                .filter(filter)
                .websocket()
                .manager_with(json!({"proxy_100_continue": true}))
                .route(Route::prefix("/public/modern").to("modern"))
                .route(Route::prefix("/public/direct").direct(200, "here"))
                .route(Route::prefix("/").to("app")),
        )
    });
    let twin = b"cbo_session_token=; Path=/; Max-Age=0".as_slice();
    let ask = |request: Request| {
        request
            .header("host", "api.example.com")
            .header("cookie", "cbo_session_token=1; cbo_session_token=2")
    };
    let set = b"cbo_session_token=x; Path=/".as_slice();
    let both = [twin, twin, b"cbo_session_token=x; Path=/; Domain=.example.com"];
    for status in [204, 304, 404, 500] {
        site.app.answer_with(answer_with(&[set]).with_status(status));
        expect_lines(&site.client().send(ask(Request::get("/public"))), status, &both);
    }
    site.app.answer_with(answer_with(&[set]));
    let interim = ask(Request::post("/public", vec![b'a'; 10])).header("expect", "100-continue");
    expect_lines(&site.client().send(interim), 200, &both);
    expect_lines(&site.client().send(ask(Request::get("/public/direct"))), 200, &[twin]);

    let grpc =
        answer_with(&[set]).header("content-type", "application/grpc").header("grpc-status", "0");
    modern.answer_with(grpc);
    let request = Request::post("/public/modern", b"".as_slice());
    let request = ask(request).header("content-type", "application/grpc").header("te", "trailers");
    let exchange = site.client().http2().send(request);
    expect_lines(&exchange, 200, &both);
    assert_eq!(exchange.expect_status(200).headers.text("grpc-status").as_deref(), Some("0"));

    site.app.answer_with_description();
    let mut connection = site.client().connect().unwrap();
    let upgrade = ask(Request::get("/public/socket"))
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    let response = connection.send(&upgrade).unwrap();
    assert_eq!((response.status, response.headers.all("set-cookie")), (101, vec![twin]));
    connection.write(b"hello").unwrap();
    assert_eq!(connection.read_some().unwrap(), b"hello");
    site.end(world);
}

/// The filter answers some of those who waited itself, in the middle of resuming them.
fn who_waited(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let keys = KeyServer::start(&jwks(&[&key]));
    keys.hold_back();
    let mut cookies = sharing(".example.com");
    cookies["expire_older_domains"] = json!([".old.example.com"]);
    let mut configuration = with_cookies(cookies);
    configuration["providers"][0]["jwks"] = remote(json!({"timeout": "10s"}));
    configuration["providers"][0]["duplicate_cookies"] = json!("newest");
    let site = Site::start(world, keys, configuration);
    site.app.answer_with(answer_with(&[b"cbo_session_token=x", b"a=b"]));
    let token = session("usr-1").signed_by(&key);
    let forged = tampered(&token);
    let twice = |token: &str| {
        Request::get("/orders")
            .header("host", "api.example.com")
            .header("cookie", format!("cbo_session_token={token}; cbo_session_token={token}"))
    };
    let once = get(&token).header("host", "api.example.com");
    let pending: Vec<_> = (0..5)
        .map(|_| {
            [twice(&token), twice(&forged), once.clone()]
                .map(|request| site.client().send_in_background(request))
        })
        .collect();
    site.wait_for_metric("waiting_streams", 15);
    site.keys.serve(&jwks(&[&key]));
    let old = b"cbo_session_token=; Domain=.old.example.com; Path=/; Max-Age=0".as_slice();
    let wide = b"cbo_session_token=x; Domain=.example.com".as_slice();
    let twin = b"cbo_session_token=; Max-Age=0".as_slice();
    for [good, bad, once] in pending {
        expect_lines(&good.wait(), 200, &[old, twin, wide, b"a=b"]);
        let bad = bad.wait();
        expect_denied(&bad, 401, "bad_signature");
        expect_lines(&bad, 401, &[old]);
        expect_lines(&once.wait(), 200, &[twin, wide, b"a=b"]);
    }
    site.end(world);
}

/// The configuration is swapped while responses are awaited: each gets the one of its request.
fn two_configurations(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let domains = [".example.com", ".api.example.com"];
    let [first, second] = domains.map(|domain| {
        let mut cookies = sharing(domain);
        cookies["share_domain"][0]["expire_host_only"] = json!(false);
        ingress(with_cookies(cookies))
    });
    let file = DynamicListeners::create(&[first]).unwrap();
    let site = Site::with(world, KeyServer::start(&jwks(&[&key])), |bootstrap| {
        bootstrap.dynamic_listeners(file.path())
    });
    let answer = answer_with(&[b"cbo_session_token=x"]);
    site.app.answer_with(answer.clone().after(Duration::from_secs(3)));
    let request = Request::get("/public").header("host", "v1.api.example.com");
    let mut pending = vec![];
    pending.extend((0..3).map(|_| site.client().send_in_background(request.clone())));
    assert!(site.app.wait_for_requests(3, Duration::from_secs(10)));
    let update = site.envoy.update_listeners(&file, &[second]).unwrap();
    assert_eq!(update, ListenerUpdate::Accepted);
    pending.extend((0..3).map(|_| site.client().send_in_background(request.clone())));
    assert!(pending.iter().all(|one| !one.is_finished()), "all are awaited at one time");
    let came: Vec<_> = pending.into_iter().map(|pending| pending.wait()).collect();
    for (exchanges, domain) in came.chunks(3).zip(domains) {
        let expected = format!("cbo_session_token=x; Domain={domain}");
        for exchange in exchanges {
            expect_lines(exchange, 200, &[expected.as_bytes()]);
        }
    }
    site.end(world);
}

/// Nobody tells the filter of a client that hangs up; what it kept for those is no harm to others.
fn abandoned(world: &World) {
    let (site, _) = site(world, with_cookies(sharing(".example.com")));
    let request = Request::get("/public").header("host", "api.example.com");
    for batch in 1..=10 {
        site.app.answer_with(Answer::hang());
        let connections: Vec<_> = (0..100)
            .map(|_| {
                let mut connection = site.client().connect().unwrap();
                connection.write(&request.to_http1()).unwrap();
                connection
            })
            .collect();
        assert!(site.app.wait_for_requests(batch * 100, Duration::from_secs(20)));
        drop(connections);
        // Those that hang end.
        site.app.answer_with(answer_with(&[b"cbo_session_token=x"]));
    }
    let expected =
        [b"cbo_session_token=; Max-Age=0".as_slice(), b"cbo_session_token=x; Domain=.example.com"];
    for client in [site.client(), site.client().http2()] {
        for _ in 0..10 {
            expect_lines(&client.send(request.clone()), 200, &expected);
        }
    }
    site.wait_for_metric("set_cookie_rewritten", 20);
    site.end(world);
}

fn stripped(world: &World) {
    let (site, key) = site(world, with_cookies(json!({"strip": ["analytics_id"]})));
    let token = session("usr-1").signed_by(&key);
    let cookies = format!("a=1; analytics_id=2; cbo_session_token={token};  b=\"3\"");
    for (path, expected) in [("/orders", "a=1;  b=\"3\"".to_owned()), ("/public", cookies.clone())]
    {
        let request = Request::get(path).header("cookie", &cookies);
        site.client().send(request).expect_status(200);
        let received = site.app.take_last().unwrap();
        assert_eq!(received.headers.all("cookie"), [expected.as_bytes()], "{path}");
    }
    site.end(world);
}

/// A site with its own key, and the rules of [`with_cookies`].
fn site(world: &World, configuration: Value) -> (Site, SigningKey) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let site = Site::start(world, KeyServer::start(&jwks(&[&key])), configuration);
    (site, key)
}

/// `/public` and what lies below is an auth server's.
fn with_cookies(cookies: Value) -> Value {
    let mut configuration = corbado(remote(json!({})));
    configuration["rules"] =
        json!([{"match": {"path": {"prefix": "/public"}}, "access": "public"}]);
    configuration["cookies"] = cookies;
    configuration
}

fn sharing(domain: &str) -> Value {
    json!({"share_domain": [
        {"name": "cbo_session_token", "domain": domain, "expire_host_only": true}
    ]})
}

fn answer_with(lines: &[&[u8]]) -> Answer {
    let answer = Answer::status(200).header("x-other", "1");
    lines.iter().fold(answer, |answer, line| answer.header("set-cookie", line))
}

/// Fails unless the answer has this status and these `set-cookie` lines, in order.
#[track_caller]
fn expect_lines(exchange: &Exchange, status: u16, lines: &[&[u8]]) {
    let shown: Vec<_> = lines.iter().map(|line| line.escape_ascii().to_string()).collect();
    exchange.expect(&format!("{status} with {shown:#?}"), |response| {
        response.status == status && response.headers.all("set-cookie") == lines
    });
}
