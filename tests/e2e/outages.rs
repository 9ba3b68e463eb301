//! Key servers that fail, and crowds that wait for them or forge at them, at full size.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use libtest_mimic::Trial;
use serde_json::json;
use session_token_harness::bootstrap::Cluster;
use session_token_harness::client::{Client, Connection, Request, Response};
use session_token_harness::envoy::NEWEST;
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::tls::Identity;
use session_token_harness::token::{Token, unix_now};

use crate::site::{Site, corbado, eventually, expect_denied, get, ingress, remote};
use crate::trial;
use crate::world::{World, cookies_around, session};

/// All tests, for one Envoy; the longest for the newest only.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    let mut trials = vec![
        trial(world, "outages::outage_during_service", outage_during_service),
        trial(world, "outages::old_cookies", old_cookies),
        trial(world, "outages::a_crowd_at_a_cold_start", a_crowd_at_a_cold_start),
        trial(world, "outages::key_server_with_tls", key_server_with_tls),
    ];
    if world.version() == NEWEST {
        trials.extend([
            trial(world, "outages::rotation_under_a_flood", rotation_under_a_flood),
            trial(world, "outages::four_workers", four_workers),
        ]);
    }
    trials
}

/// Not one request fails before `stale_if_error`, and not one is let in or called wrong after it.
fn outage_during_service(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let fields = json!({"refresh": "1s", "stale_if_error": "4s", "timeout": "1s"});
    let mut site = Site::start(world, KeyServer::start(&jwks(&[&key])), corbado(remote(fields)));
    let cached = session("usr-1").signed_by(&key);
    site.get(&cached).expect_status(200);
    let mut served = 1;
    // One verdict that is cached and one that is not, in turns.
    let mut number = 0;
    let mut ask = |site: &Site| {
        number += 1;
        thread::sleep(Duration::from_millis(20));
        let exchange = match number % 2 {
            0 => site.get(&cached),
            _ => site.get(&session(&format!("usr-{number}")).signed_by(&key)),
        };
        served += usize::from(exchange.status() == 200);
        exchange
    };
    while site.keys.count() < 4 {
        ask(&site).expect_status(200);
    }
    site.keys.stop();
    let last_fetch = site.keys.requests().last().unwrap().received_at;
    let mut refused = loop {
        let exchange = ask(&site);
        if exchange.status() != 200 {
            break exchange;
        }
        assert!(last_fetch.elapsed() < Duration::from_secs(10), "served without keys");
    };
    let lived = last_fetch.elapsed();
    assert!(lived >= Duration::from_secs(4), "refused after {lived:?}");
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        expect_denied(&refused, 503, "keys_unavailable");
        let retry_after = refused.expect_status(503).headers.text("retry-after");
        let seconds: u64 = retry_after.unwrap_or_default().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        refused = ask(&site);
    }
    site.keys.start_again();
    let end = Instant::now() + Duration::from_secs(12);
    loop {
        let exchange = ask(&site);
        if exchange.status() == 200 {
            break;
        }
        expect_denied(&exchange, 503, "keys_unavailable");
        assert!(Instant::now() < end, "no keys again\n{}", site.envoy.log_tail());
    }
    for _ in 0..20 {
        ask(&site).expect_status(200);
    }
    assert_eq!(site.app.count(), served, "the backend sees who is served and nobody else");
    site.end(world);
}

/// Browsers keep a cookie long after its token has expired and its key is gone.
fn old_cookies(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let site = Site::start(world, KeyServer::start(&jwks(&[&key])), corbado(remote(json!({}))));
    site.get(&session("usr-1").signed_by(&key)).expect_status(200);
    site.wait_for_metric("token_cache_miss", 1);
    // Any sooner no `kid` would cause a fetch.
    thread::sleep(SPACING);
    let fetches = site.keys.count();
    let mut connection = site.client().connect().unwrap();
    for number in 0..200 {
        // Every fourth names a key that is still there.
        let kid = if number % 4 == 0 { "k1".to_owned() } else { format!("retired-{number}") };
        let expired = session(&format!("usr-{number}")).claim("exp", unix_now() - 60);
        let token = expired.with_signature(&key.with_kid(&kid), &[7; 256]);
        let request = Request::get("/orders").header("cookie", cookies_around(&token));
        let response = connection.send(&request).unwrap();
        assert_eq!((response.status, &response.json()["reason"]), (401, &json!("expired")));
    }
    // A fetch would begin with the next tick.
    thread::sleep(Duration::from_millis(1_500));
    assert_eq!(site.keys.count(), fetches, "no fetch");
    site.get(&session("usr-2").signed_by(&key)).expect_status(200);
    site.wait_for_metric("token_cache_miss", 2);
    assert_eq!(site.metric("token_cache_miss"), 2, "no signature was looked at but two good ones");
    // The same `kid` on a token that holds is worth a fetch.
    let current = session("usr-1").with_signature(&key.with_kid("retired-1"), &[7; 256]);
    expect_denied(&site.get(&current), 401, "unknown_key");
    assert_eq!(site.keys.count(), fetches + 1);
    site.end(world);
}

/// More forgers than may wait, so that some wait for each fetch and the others don't at all.
fn rotation_under_a_flood(world: &World) {
    let old = SigningKey::new(Algorithm::RS256, "k1");
    let new = SigningKey::generate(Algorithm::RS256, "k2");
    let site = Site::start(world, KeyServer::start(&jwks(&[&old])), corbado(remote(json!({}))));
    let known = session("usr-1").signed_by(&old);
    site.get(&known).expect_status(200);
    let flood = Flood::new(&site, &old);
    let refused = thread::scope(|scope| {
        let forgers: Vec<_> =
            (0..FORGERS).map(|_| scope.spawn(|| flood.forge_until_over())).collect();
        // Also when an assertion below fails.
        let end = EndOfFlood(&flood);
        let sent = || flood.sent.load(Ordering::Relaxed);
        eventually("the flood has come", || sent() >= 1_000);
        let rotated = Instant::now();
        site.keys.serve(&jwks(&[&old, &new]));
        let fresh = session("usr-2").signed_by(&new);
        loop {
            let exchange = site.get(&fresh);
            site.get(&known).expect_status(200);
            if exchange.status() == 200 {
                break;
            }
            expect_denied(&exchange, 401, "unknown_key");
            assert!(rotated.elapsed() < SPACING + FETCH_AND_TICK, "{:?}", rotated.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
        let took = rotated.elapsed();
        assert!(took < SPACING + FETCH_AND_TICK, "{took:?}");
        let fetches = site.keys.count();
        eventually("10,000 forgeries and one more fetch", || {
            sent() >= 10_000 && site.keys.count() > fetches
        });
        drop(end);
        forgers.into_iter().map(|forger| forger.join().unwrap()).sum::<usize>()
    });
    assert_eq!(refused, flood.sent.load(Ordering::Relaxed), "every forgery is an unknown key");
    assert!(refused >= 10_000);
    // The main thread's VM has fetched once, and serves nobody; the worker's has fetched the rest.
    let times: Vec<_> = site.keys.requests().iter().map(|request| request.received_at).collect();
    let of_worker = [&times[..1], &times[2..]].concat();
    for pair in of_worker.windows(2) {
        let pause = pair[1].duration_since(pair[0]);
        assert!(pause > SPACING - CLOCKS_APART, "{pause:?} between fetches");
    }
    site.get(&session("usr-3").signed_by(&new)).expect_status(200);
    eventually("nobody waits any more", || site.metric("waiting_streams") == 0);
    site.end(world);
}

/// Forged tokens, each with a `kid` of its own and garbage for a signature.
struct Flood {
    client: Client,
    /// Payload and signature of each.
    rest: String,
    sent: AtomicUsize,
    over: AtomicBool,
}

/// Ends the flood, also when an assertion fails: its threads are waited for.
struct EndOfFlood<'f>(&'f Flood);

impl Drop for EndOfFlood<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

impl Flood {
    fn new(site: &Site, key: &SigningKey) -> Self {
        let token = session("x").with_signature(key, &[7; 256]);
        let rest = token.split_once('.').unwrap().1.to_owned();
        let (sent, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { client: site.client(), rest, sent, over }
    }

    /// Says how many were refused as they should be.
    fn forge_until_over(&self) -> usize {
        let mut connection = self.client.connect().unwrap();
        let mut refused = 0;
        while !self.over.load(Ordering::Relaxed) {
            let number = self.sent.fetch_add(1, Ordering::Relaxed);
            let header = format!(r#"{{"alg":"RS256","kid":"forged-{number}"}}"#);
            let header = Base64UrlSafeNoPadding::encode_to_string(header).unwrap();
            let token = format!("{header}.{}", self.rest);
            let response = connection.send(&get(&token)).unwrap();
            let is_refused = response.status == 401 && response.json()["reason"] == "unknown_key";
            refused += usize::from(is_refused);
            // Both cores are not for the flood alone.
            thread::sleep(Duration::from_millis(2));
        }
        refused
    }
}

/// One of a crowd, on a connection of its own.
struct Visitor {
    number: usize,
    connection: Connection,
}

impl Visitor {
    fn is_upload(&self) -> bool {
        self.number.is_multiple_of(5)
    }

    fn leaves(&self) -> bool {
        self.number.is_multiple_of(2)
    }

    /// What an upload costs of the room for waiting streams.
    fn weight(&self) -> usize {
        if self.is_upload() { 10 } else { 1 }
    }

    fn path(&self) -> String {
        format!("/visitors/{}", self.number)
    }

    /// Sends its request; who will leave leaves in the middle of an upload.
    fn ask(&mut self, token: &str) {
        let request = match self.is_upload() {
            true => Request::post(self.path(), vec![b'a'; 60_000]),
            false => Request::get(self.path()),
        };
        let bytes = request.header("authorization", format!("Bearer {token}")).to_http1();
        let sent = if self.is_upload() && self.leaves() { 30_000 } else { bytes.len() };
        self.connection.write(&bytes[..sent]).unwrap();
    }
}

/// 500 clients at once, each fifth with an upload, before there are any keys; half of them leave.
fn a_crowd_at_a_cold_start(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let keys = KeyServer::start(&jwks(&[&key]));
    keys.hold_back();
    let site = Site::start(world, keys, corbado(remote(json!({"timeout": "14s"}))));
    let token = session("usr-1").signed_by(&key);
    let client = site.client().timeout(Duration::from_secs(1));
    let mut visitors: Vec<_> =
        (0..500).map(|number| Visitor { number, connection: client.connect().unwrap() }).collect();
    let began = Instant::now();
    for visitor in &mut visitors {
        visitor.ask(&token);
    }
    // Who has an answer within a second was refused; for the others there was room.
    let (refused, waiting): (Vec<_>, Vec<_>) =
        read_all(visitors).into_iter().partition(|(_, response)| response.is_some());
    assert!(began.elapsed() < Duration::from_secs(6), "refused at once: {:?}", began.elapsed());
    for (visitor, response) in &refused {
        let response = response.as_ref().unwrap();
        let answer = (response.status, &response.json()["reason"]);
        assert_eq!(answer, (503, &json!("keys_unavailable")), "{}", visitor.number);
    }
    let room: usize = waiting.iter().map(|(visitor, _)| visitor.weight()).sum();
    assert_eq!(room, 200, "{} wait", waiting.len());
    site.wait_for_metric("waiting_streams", u64::try_from(waiting.len()).unwrap());
    let (leavers, stayers): (Vec<_>, Vec<_>) =
        waiting.into_iter().map(|(visitor, _)| visitor).partition(Visitor::leaves);
    assert!(leavers.iter().any(Visitor::is_upload) && stayers.iter().any(Visitor::is_upload));
    let gone = || site.envoy.stat("http.ingress.downstream_cx_destroy_remote").unwrap();
    // A paused upload's connection may be looked at only when it goes on.
    let left = leavers.iter().filter(|visitor| !visitor.is_upload()).count();
    let expected = gone() + u64::try_from(left).unwrap();
    drop(leavers);
    eventually("Envoy has noticed", || gone() >= expected);
    assert_eq!(site.app.count(), 0, "nobody passes without keys");
    assert_eq!(site.keys.count(), 2, "one fetch a VM, however many wait");
    site.keys.serve(&jwks(&[&key]));
    let mut paths = Vec::new();
    for (mut visitor, response) in read_all(stayers) {
        let response = response.unwrap_or_else(|| panic!("{} got no answer", visitor.number));
        assert_eq!(response.status, 200, "{}", visitor.number);
        assert_eq!(response.json()["path"], json!(visitor.path()));
        // A second answer to the same request would be taken for the next one's.
        let again = format!("/again/{}", visitor.number);
        let next = Request::get(&again).header("authorization", format!("Bearer {token}"));
        let response = visitor.connection.send(&next).unwrap();
        assert_eq!((response.status, &response.json()["path"]), (200, &json!(again)));
        paths.extend([visitor.path(), again]);
    }
    let mut received: Vec<_> = site.app.requests().into_iter().map(|one| one.path).collect();
    received.sort();
    paths.sort();
    assert_eq!(received, paths, "each once, and nobody else");
    eventually("nobody waits any more", || site.metric("waiting_streams") == 0);
    site.get(&token).expect_status(200);
    site.end(world);
}

/// Reads one response each, all at once; none where none comes in the client's time.
fn read_all(visitors: Vec<Visitor>) -> Vec<(Visitor, Option<Response>)> {
    let read = |mut visitor: Visitor| {
        let method = if visitor.is_upload() { "POST" } else { "GET" };
        let response = visitor.connection.read_response(method).ok();
        (visitor, response)
    };
    thread::scope(|scope| {
        let readers: Vec<_> =
            visitors.into_iter().map(|visitor| scope.spawn(move || read(visitor))).collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    })
}

fn four_workers(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let configuration = corbado(remote(json!({"refresh": "1s"})));
    let keys = KeyServer::start(&jwks(&[&key]));
    let site =
        Site::with_workers(world, 4, keys, |bootstrap| bootstrap.listener(ingress(configuration)));
    // Each worker's VM and the main thread's.
    assert!(site.keys.wait_for_requests(5, Duration::from_secs(5)), "{}", site.keys.count());
    thread::sleep(Duration::from_secs(3));
    assert_eq!(site.keys.count(), 5, "nobody refreshes who serves nobody");
    // One connection is one worker's.
    let token = session("usr-1").signed_by(&key);
    let mut connection = site.client().connect().unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        assert_eq!(connection.send(&get(&token)).unwrap().status, 200);
        thread::sleep(Duration::from_millis(20));
    }
    let refreshes = site.keys.count() - 5;
    // At most one in 0.8 seconds.
    assert!((2..=7).contains(&refreshes), "{refreshes} refreshes by one worker in 5 s");
    // Many connections are everyone's.
    let workers = || {
        let stats = site.envoy.stats().unwrap();
        let served = |worker: u32| {
            let suffix = format!(".worker_{worker}.downstream_cx_total");
            stats.iter().any(|(name, count)| {
                name.starts_with("listener.") && name.ends_with(&suffix) && *count > 0
            })
        };
        (0..4).filter(|worker| served(*worker)).count()
    };
    let before = site.keys.count();
    eventually("all workers serve and refresh", || {
        for _ in 0..20 {
            site.get(&token).expect_status(200);
        }
        workers() == 4 && site.keys.count() >= before + 4
    });
    site.end(world);
}

/// Keys come from a key server that is who it says it is, and from no other.
fn key_server_with_tls(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let (ours, strangers) = (Identity::new(&["keys.example"]), Identity::new(&["keys.example"]));
    let server = KeyServer::start_tls(&jwks(&[&key]), &ours);
    let cluster = |name| Cluster::new(name, server.address());
    let clusters = [
        cluster("verified").tls(ours.authority_pem(), "keys.example"),
        cluster("wrong-authority").tls(strangers.authority_pem(), "keys.example"),
        cluster("wrong-name").tls(ours.authority_pem(), "other.example"),
        cluster("no-tls"),
    ];
    let wrong = ["wrong-authority", "wrong-name", "no-tls"];
    let names = || ["verified"].into_iter().chain(wrong);
    let providers = names().map(|name| {
        let remote = json!({"cluster": name, "uri": format!("https://keys.example/{name}")});
        let issuer = format!("https://{name}.example");
        json!({"name": name, "issuers": [issuer], "jwks": {"remote": remote}})
    });
    let rules = names().map(
        |name| json!({"match": {"path": {"prefix": format!("/{name}")}}, "providers": [name]}),
    );
    let configuration =
        json!({"providers": providers.collect::<Vec<_>>(), "rules": rules.collect::<Vec<_>>()});
    let site = Site::with(world, server, |bootstrap| {
        let bootstrap = clusters.into_iter().fold(bootstrap, |all, cluster| all.cluster(cluster));
        bootstrap.listener(ingress(configuration))
    });
    let send = |name: &str| {
        let issuer = format!("https://{name}.example");
        let claims = json!({"iss": issuer, "sub": "usr-1", "exp": unix_now() + 300});
        let bearer = format!("Bearer {}", Token::new(claims).signed_by(&key));
        site.client().send(Request::get(format!("/{name}")).header("authorization", bearer))
    };
    send("verified").expect_status(200);
    for name in wrong {
        // Both VMs, and more than once.
        site.wait_for_metric(&format!("jwks_fetch_error.{name}"), 4);
        expect_denied(&send(name), 503, "keys_unavailable");
        let line = [&*format!("provider={name} "), "[warning]", "jwks: fetch failed: "];
        assert!(site.log_lines(&line) > 0, "{name}\n{}", site.envoy.log_tail());
        assert_eq!(site.metric(&format!("jwks_fetch_ok.{name}")), 0);
    }
    let stat = |name: &str| site.envoy.stat(&format!("cluster.{name}")).unwrap();
    assert!(stat("verified.ssl.handshake") >= 1);
    assert!(stat("wrong-authority.ssl.fail_verify_error") >= 1);
    assert!(stat("wrong-name.ssl.fail_verify_san") >= 1);
    let asked: Vec<_> = site.keys.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(asked, ["/verified", "/verified"], "a request to no one else");
    send("verified").expect_status(200);
    assert_eq!(site.app.count(), 2);
    site.end(world);
}

/// A fetch for an unknown `kid` may begin so long after the last.
const SPACING: Duration = Duration::from_secs(5);
/// What else a rotation may take, on a busy machine.
const FETCH_AND_TICK: Duration = Duration::from_millis(2_500);
/// The end of a fetch in Envoy is not quite its request's arrival.
const CLOCKS_APART: Duration = Duration::from_millis(100);
/// A hundred may wait for a newer set.
const FORGERS: usize = 120;
