//! Keys: every algorithm on both back ends, and the life of a remote set.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::answer::Answer;
use session_token_harness::bootstrap::{Cluster, WasmFilter};
use session_token_harness::client::Request;
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::token::{Token, tampered, unix_now};

use crate::site::{Site, corbado, eventually, expect_denied, get, ingress, named_ingress, remote};
use crate::trial;
use crate::world::{PROJECT, World, session};

/// All tests, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "keys::every_algorithm", every_algorithm),
        trial(world, "keys::without_the_hosts_crypto", without_the_hosts_crypto),
        trial(world, "keys::fetched_before_any_request", fetched_before_any_request),
        trial(world, "keys::inline_until_fetched", inline_until_fetched),
        trial(world, "keys::rotation", rotation),
        trial(world, "keys::removed_key", removed_key),
        trial(world, "keys::last_good_set", last_good_set),
        trial(world, "keys::key_server_down_at_start", key_server_down_at_start),
        trial(world, "keys::expired_set", expired_set),
        trial(world, "keys::broken_among_good", broken_among_good),
    ]
}

const ISSUER: &str = "https://id.example";

fn every_algorithm(world: &World) {
    let keys = Nine::new();
    let site = Site::start(world, no_key_server(), keys.configuration());
    let line = site.envoy.wait_for_log("session-token-filter ").unwrap();
    for part in [
        "providers=partner",
        "verified_by_host=RS256,RS384,RS512,ES256,ES384 ",
        "verified_by_module=PS256,PS384,PS512,EdDSA",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    keys.check(&site);
    eventually("portable_crypto is told", || {
        site.envoy.stats().unwrap().contains_key("wasmcustom.session_token.portable_crypto")
    });
    assert_eq!(site.metric("portable_crypto"), 0);
    site.end(world);
}

fn without_the_hosts_crypto(world: &World) {
    let keys = Nine::new();
    let allowed = CAPABILITIES.iter().map(|name| ((*name).to_owned(), json!({})));
    let filter = WasmFilter::new().configuration(keys.configuration()).plugin_with(json!({
        "capability_restriction_config": {
            "allowed_capabilities": allowed.collect::<serde_json::Map<_, _>>(),
        },
    }));
    let site = Site::with(world, no_key_server(), |bootstrap| {
        bootstrap.listener(named_ingress(crate::site::INGRESS, filter))
    });
    let reason = "signatures are verified inside the module: the host refused a good";
    site.envoy.wait_for_log(reason).unwrap();
    let line = site.envoy.wait_for_log("session-token-filter ").unwrap();
    let all = "verified_by_host= verified_by_module=RS256,RS384,RS512,PS256,";
    assert!(line.contains(all), "{line}");
    keys.check(&site);
    site.wait_for_metric("portable_crypto", 1);
    site.end(world);
}

fn fetched_before_any_request(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let site = Site::start(world, KeyServer::start(&jwks(&[&key])), corbado(remote(json!({}))));
    // The main thread's VM and the worker's.
    assert!(site.keys.wait_for_requests(2, Duration::from_secs(5)), "{}", site.keys.count());
    for request in site.keys.requests() {
        assert_eq!((&*request.method, &*request.path), ("GET", "/.well-known/jwks"));
        let header = |name| request.headers.text(name).unwrap_or_default();
        assert_eq!(header("host"), format!("{PROJECT}.frontendapi.cloud.corbado.io"));
        assert_eq!(header("x-corbado-projectid"), PROJECT);
        assert_eq!(header("accept"), "application/json");
        assert!(header("user-agent").starts_with("session-token-filter/"));
    }
    site.wait_for_metric("jwks_fetch_ok.corbado", 2);
    site.wait_for_metric("jwks_keys.corbado", 1);
    assert_eq!(site.metric("jwks_fetch_error.corbado"), 0);
    let token = session("usr-1").signed_by(&key);
    for _ in 0..3 {
        site.get(&token).expect_status(200);
    }
    site.wait_for_metric("token_cache_hit", 2);
    assert_eq!(site.metric("token_cache_miss"), 1);
    assert_eq!(site.keys.count(), 2, "requests cause no fetches");
    site.end(world);
}

fn inline_until_fetched(world: &World) {
    let inline = SigningKey::new(Algorithm::RS256, "inline");
    let fetched = SigningKey::generate(Algorithm::RS256, "fetched");
    let keys = KeyServer::start(&jwks(&[&fetched]));
    keys.hold_back();
    let mut sources = remote(json!({"timeout": "10s"}));
    sources["inline"] = jwks(&[&inline]);
    let site = Site::start(world, keys, corbado(sources));
    let (old, new) = (session("usr-1").signed_by(&inline), session("usr-2").signed_by(&fetched));
    let began = Instant::now();
    site.get(&old).expect_status(200);
    assert!(began.elapsed() < Duration::from_secs(5), "nobody waits who has inline keys");
    site.get(&tampered(&old)).expect_status(401);
    site.keys.serve(&jwks(&[&fetched]));
    site.wait_for_metric("jwks_fetch_ok.corbado", 2);
    site.get(&new).expect_status(200);
    expect_denied(&site.get(&old), 401, "unknown_key");
    site.end(world);
}

fn rotation(world: &World) {
    let old = SigningKey::new(Algorithm::RS256, "k1");
    let new = SigningKey::generate(Algorithm::RS256, "k2");
    let site = Site::start(world, KeyServer::start(&jwks(&[&old])), corbado(remote(json!({}))));
    site.get(&session("usr-1").signed_by(&old)).expect_status(200);
    let began = Instant::now();
    // A flood of `kid`s that nobody has must not keep the real new key out.
    let forged = |number: u64| session("x").signed_by(&new.with_kid(&format!("forged-{number}")));
    let flood: Vec<_> =
        (0..20).map(|number| site.client().send_in_background(get(&forged(number)))).collect();
    site.keys.serve(&jwks(&[&old, &new]));
    site.get(&session("usr-2").signed_by(&new)).expect_status(200);
    for pending in flood {
        expect_denied(&pending.wait(), 401, "unknown_key");
    }
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    // What is known to be unknown is refused at once and without a fetch.
    let again = Instant::now();
    expect_denied(&site.get(&forged(3)), 401, "unknown_key");
    assert!(again.elapsed() < Duration::from_secs(2), "{:?}", again.elapsed());
    site.get(&session("usr-1").signed_by(&old)).expect_status(200);
    // Two VMs at the start, then one fetch each five seconds at most.
    let most = 2 + usize::try_from(began.elapsed().as_secs() / 5).unwrap() + 1;
    assert!((3..=most).contains(&site.keys.count()), "{} fetches", site.keys.count());
    // An old token with a retired `kid` costs no fetch.
    let fetches = site.keys.count();
    let expired = session("usr-1").claim("exp", unix_now() - 60).signed_by(&new.with_kid("k0"));
    expect_denied(&site.get(&expired), 401, "expired");
    assert_eq!(site.keys.count(), fetches);
    site.end(world);
}

fn removed_key(world: &World) {
    let (k1, k2) =
        (SigningKey::new(Algorithm::RS256, "k1"), SigningKey::generate(Algorithm::RS256, "k2"));
    let configuration = corbado(remote(json!({"refresh": "1s"})));
    let site = Site::start(world, KeyServer::start(&jwks(&[&k1, &k2])), configuration);
    let (first, second) = (session("usr-1").signed_by(&k1), session("usr-2").signed_by(&k2));
    let status = |token: &str| site.get(token).status();
    for token in [&first, &second, &first, &second] {
        assert_eq!(status(token), 200);
    }
    // One key goes; the other's name is now another key's.
    let other = SigningKey::generate(Algorithm::RS256, "k2");
    site.keys.serve(&jwks(&[&other]));
    eventually("the second verdict ends", || status(&second) == 401);
    expect_denied(&site.get(&second), 401, "bad_signature");
    expect_denied(&site.get(&first), 401, "unknown_key");
    assert_eq!(status(&session("usr-2").signed_by(&other)), 200);
    site.end(world);
}

/// A key server's ways to fail, by the name of the provider that suffers them.
type Failure = (&'static str, fn(&mut KeyServer, &Value));
const FAILURES: [Failure; 10] = [
    ("down", |server, _| server.stop()),
    ("error", |server, _| server.answer_with(Answer::status(500))),
    ("html", |server, _| server.answer_with(Answer::html("<html>Sign in</html>"))),
    ("truncated", |server, document| server.close_mid_body(document)),
    ("empty", |server, _| server.serve(&json!({"keys": []}))),
    ("unusable", |server, _| server.serve(&json!({"keys": [{"kty": "oct", "k": "AAAA"}]}))),
    ("huge", |server, document| server.serve_padded(document, 10 << 20)),
    ("redirect", |server, _| server.answer_with(Answer::redirect("http://elsewhere.example/"))),
    ("not-found", |server, document| {
        server.answer_with(Answer::json(document).with_status(404));
    }),
    ("hang", |server, _| server.answer_with(Answer::hang())),
];

/// An Envoy with a provider, a key server and a rule for each failure.
struct Failing {
    site: Site,
    key: SigningKey,
    servers: Vec<KeyServer>,
}

impl Failing {
    fn start(world: &World, prepare: impl Fn(&mut KeyServer, &Failure, &Value)) -> Self {
        let key = SigningKey::new(Algorithm::RS256, "k1");
        let document = jwks(&[&key]);
        let (mut providers, mut rules, mut servers) = (Vec::new(), Vec::new(), Vec::new());
        for failure in &FAILURES {
            let name = failure.0;
            providers.push(json!({
                "name": name,
                "issuers": [format!("https://{name}.example")],
                "jwks": {"remote": {
                    "uri": format!("http://keys.example/{name}"),
                    "cluster": name, "timeout": "1s", "refresh": "1s",
                }},
            }));
            rules.push(json!({
                "match": {"path": {"prefix": format!("/{name}")}}, "providers": [name],
            }));
            let mut server = KeyServer::start(&document);
            prepare(&mut server, failure, &document);
            servers.push(server);
        }
        let configuration = json!({"providers": providers, "rules": rules});
        let site = Site::with(world, no_key_server(), |bootstrap| {
            let clusters = FAILURES.iter().zip(&servers);
            let bootstrap = clusters.fold(bootstrap, |bootstrap, ((name, _), server)| {
                bootstrap.cluster(Cluster::new(name, server.address()))
            });
            bootstrap.listener(ingress(configuration))
        });
        Self { site, key, servers }
    }

    fn break_all(&mut self) {
        let document = jwks(&[&self.key]);
        for (server, (_, fail)) in self.servers.iter_mut().zip(&FAILURES) {
            fail(server, &document);
        }
    }

    fn repair_all(&mut self) {
        for server in &mut self.servers {
            server.serve(&jwks(&[&self.key]));
            server.start_again();
        }
    }

    fn send(&self, name: &str) -> session_token_harness::client::Exchange {
        let claims = json!({
            "iss": format!("https://{name}.example"), "sub": "usr-1", "exp": unix_now() + 300,
        });
        let token = Token::new(claims).signed_by(&self.key);
        let bearer = format!("Bearer {token}");
        self.site.client().send(Request::get(format!("/{name}")).header("authorization", bearer))
    }

    fn all(&self, holds: impl Fn(&str) -> bool) -> bool {
        FAILURES.iter().all(|(name, _)| holds(name))
    }
}

fn last_good_set(world: &World) {
    let mut failing = Failing::start(world, |_, _, _| {});
    let served = |failing: &Failing| failing.all(|name| failing.send(name).status() == 200);
    assert!(served(&failing), "{}", failing.site.envoy.log_tail());
    failing.break_all();
    let errors = |name: &str| failing.site.metric(&format!("jwks_fetch_error.{name}"));
    eventually("every key server has failed twice", || {
        assert!(served(&failing), "{}", failing.site.envoy.log_tail());
        failing.all(|name| errors(name) >= 2)
    });
    for (name, _) in FAILURES {
        let provider = format!("provider={name} ");
        let lines = failing.site.log_lines(&["[warning]", &provider, "jwks: fetch failed: "]);
        assert_eq!(lines, 1, "{name}: once per change\n{}", failing.site.envoy.log_tail());
    }
    let loaded: Vec<_> = FAILURES
        .iter()
        .map(|(name, _)| failing.site.metric(&format!("jwks_fetch_ok.{name}")))
        .collect();
    failing.repair_all();
    eventually("every key server is asked again", || {
        let mut counts = FAILURES.iter().zip(&loaded);
        counts.all(|((name, _), before)| {
            failing.site.metric(&format!("jwks_fetch_ok.{name}")) > *before
        })
    });
    for (name, _) in FAILURES {
        let provider = format!("provider={name} ");
        assert_eq!(failing.site.log_lines(&[&provider, "jwks: fetched again"]), 1, "{name}");
    }
    assert!(served(&failing));
    failing.site.end(world);
}

fn key_server_down_at_start(world: &World) {
    let mut failing = Failing::start(world, |server, (_, fail), document| fail(server, document));
    let errors = |name: &str| failing.site.metric(&format!("jwks_fetch_error.{name}"));
    // Two VMs, so that each has failed twice or more, and is in a back-off of two seconds.
    eventually("every key server has failed", || failing.all(|name| errors(name) >= 4));
    for (name, _) in FAILURES {
        let exchange = failing.send(name);
        expect_denied(&exchange, 503, "keys_unavailable");
        let retry_after = exchange.expect_status(503).headers.text("retry-after");
        let seconds: u64 = retry_after.unwrap_or_default().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{name}: {seconds}");
    }
    assert_eq!(failing.site.app.count(), 0, "without keys nothing passes");
    // In back-off nobody waits: the next try is at least this far away, the answer is not.
    eventually("a 503 long before the next try", || {
        let began = Instant::now();
        let exchange = failing.send("down");
        let retry_after = exchange.expect_status(503).headers.text("retry-after");
        let seconds: u64 = retry_after.unwrap_or_default().parse().unwrap();
        seconds >= 3 && began.elapsed() < Duration::from_secs(1)
    });
    failing.repair_all();
    for (name, _) in FAILURES {
        eventually(&format!("{name} works again"), || failing.send(name).status() == 200);
    }
    for (name, _) in FAILURES {
        let failed = failing.site.log_lines(&[&format!("provider={name} "), "fetch failed"]);
        assert_eq!(failed, 2, "{name}: once per VM\n{}", failing.site.envoy.log_tail());
    }
    failing.site.end(world);
}

fn expired_set(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let fields = json!({"refresh": "1s", "stale_if_error": "1s", "timeout": "1s"});
    let mut site = Site::start(world, KeyServer::start(&jwks(&[&key])), corbado(remote(fields)));
    let token = session("usr-1").signed_by(&key);
    site.get(&token).expect_status(200);
    site.keys.stop();
    eventually("the set expires, and cached verdicts with it", || site.get(&token).status() == 503);
    expect_denied(&site.get(&token), 503, "keys_unavailable");
    site.keys.start_again();
    eventually("a new set", || site.get(&token).status() == 200);
    site.end(world);
}

fn broken_among_good(world: &World) {
    let good = SigningKey::new(Algorithm::RS256, "good");
    let mut document = jwks(&[&good]);
    let mut broken = good.with_kid("broken").public_jwk();
    broken["n"] = json!("!");
    let encryption = {
        let mut jwk = good.with_kid("encryption").public_jwk();
        jwk["use"] = json!("enc");
        jwk
    };
    let entries = document["keys"].as_array_mut().unwrap();
    entries.insert(0, broken);
    entries.push(encryption);
    let site = Site::start(world, KeyServer::start(&document), corbado(remote(json!({}))));
    site.get(&session("usr-1").signed_by(&good)).expect_status(200);
    site.wait_for_metric("jwks_keys.corbado", 1);
    let line = site.envoy.wait_for_log("\"broken\"").unwrap();
    assert!(line.contains("[warning]") && line.contains("`n` is not base64url"), "{line}");
    let line = site.envoy.wait_for_log("\"encryption\"").unwrap();
    assert!(line.contains("`use` is not `sig`"), "{line}");
    // Too many: the first hundred count.
    let many: Vec<_> = (0..120).map(|number| good.with_kid(&format!("m{number}"))).collect();
    let crowd = Site::start(
        world,
        KeyServer::start(&jwks(&many.iter().collect::<Vec<_>>())),
        corbado(remote(json!({}))),
    );
    crowd.get(&session("usr-1").signed_by(&many[99])).expect_status(200);
    expect_denied(&crowd.get(&session("usr-1").signed_by(&many[100])), 401, "unknown_key");
    crowd.envoy.wait_for_log("20 keys are over the limit").unwrap();
    crowd.wait_for_metric("jwks_keys.corbado", 100);
    crowd.end(world);
    site.end(world);
}

/// A key for each algorithm, named like it, and a stranger's with the same name.
struct Nine {
    ours: Vec<SigningKey>,
    strangers: Vec<SigningKey>,
}

impl Nine {
    fn new() -> Self {
        let stranger = SigningKey::generate(Algorithm::RS256, "stranger");
        let ours = Algorithm::ALL.iter().map(|one| SigningKey::new(*one, one.name())).collect();
        let strangers = Algorithm::ALL.iter().map(|one| match one {
            Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA => {
                SigningKey::generate(*one, one.name())
            }
            rsa => stranger.with_algorithm(*rsa).with_kid(rsa.name()),
        });
        Self { ours, strangers: strangers.collect() }
    }

    fn configuration(&self) -> Value {
        let names: Vec<_> = Algorithm::ALL.iter().map(|one| one.name()).collect();
        json!({"providers": [{
            "name": "partner", "issuers": [ISSUER], "algorithms": names,
            "jwks": {"inline": jwks(&self.ours.iter().collect::<Vec<_>>())},
            "claim_headers": [{"header": "x-user-id", "claim": "sub"}],
        }]})
    }

    fn check(&self, site: &Site) {
        let exp = unix_now() + 300;
        for (ours, stranger) in self.ours.iter().zip(&self.strangers) {
            let name = ours.algorithm().name();
            let token = Token::new(json!({"iss": ISSUER, "sub": name, "exp": exp}));
            let good = token.signed_by(ours);
            site.get(&good).expect_status(200);
            let received = site.app.take_last().unwrap();
            assert_eq!(received.headers.text("x-user-id").as_deref(), Some(name));
            for bad in [
                tampered(&good),
                token.signed_by(stranger),
                token.with_signature(ours, b""),
                token.with_signature(ours, &[0; 64]),
                token.with_signature(ours, &[0xff; 96]),
                token.with_signature(ours, &[0xff; 256]),
            ] {
                expect_denied(&site.get(&bad), 401, "bad_signature");
            }
            // The key is named, and is another algorithm's.
            for other in self.ours.iter().filter(|other| other.kid() != ours.kid()) {
                let crossed = token.signed_by(&other.with_kid(name));
                expect_denied(&site.get(&crossed), 401, "algorithm_not_allowed");
            }
        }
        assert_eq!(site.app.count(), 0, "only good ones reach the backend");
    }
}

/// For configurations without a remote set.
fn no_key_server() -> KeyServer {
    KeyServer::start(&json!({"keys": []}))
}

/// What the module calls and what calls it, but not `proxy_call_foreign_function`.
const CAPABILITIES: [&str; 28] = [
    "environ_get",
    "environ_sizes_get",
    "fd_write",
    "proc_exit",
    "proxy_add_header_map_value",
    "proxy_continue_stream",
    "proxy_define_metric",
    "proxy_get_buffer_bytes",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_header_map_pairs",
    "proxy_http_call",
    "proxy_increment_metric",
    "proxy_log",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_http_call_response",
    "proxy_on_memory_allocate",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_tick",
    "proxy_on_vm_start",
    "proxy_record_metric",
    "proxy_remove_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_send_local_response",
    "proxy_set_effective_context",
    "proxy_set_tick_period_milliseconds",
    "random_get",
];
