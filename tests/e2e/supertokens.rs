//! SuperTokens' sessions: every row of what its SDKs accept and refuse, and what backends receive.
//!
//! Refusals are read from Envoy's response-code details, not from their bodies: those are the
//! vendor's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::bootstrap::{Listener, WasmFilter};
use session_token_harness::client::Request;
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::server::ReceivedRequest;
use session_token_harness::token::{Token, tampered, unix_now};

use crate::extraction::bearer;
use crate::secrets::COOKIE_MARK;
use crate::site::{Site, named_ingress};
use crate::trial;
use crate::world::{PROJECT, World, session as corbado_session};

/// All tests, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "supertokens::tokens", tokens),
        trial(world, "supertokens::issuers_and_keys", issuers_and_keys),
        trial(world, "supertokens::header_and_cookie", header_and_cookie),
        trial(world, "supertokens::duplicates", duplicates),
        trial(world, "supertokens::legacy_sessions", legacy_sessions),
        trial(world, "supertokens::anti_csrf", anti_csrf),
        trial(world, "supertokens::backends", backends),
        trial(world, "supertokens::auth_routes", auth_routes),
        trial(world, "supertokens::rotation", rotation),
        trial(world, "supertokens::beside_corbado", beside_corbado),
    ]
}

/// The clients' default host, so that the auth server's routes are met.
const API_DOMAIN: &str = "http://localhost:3001";
const ISSUER: &str = "http://localhost:3001/auth";

fn session(user: &str) -> Token {
    Token::supertokens(ISSUER, user)
}

/// A provider with `preset` and other fields set.
fn app(preset: Value, fields: Value) -> Value {
    let mut own = json!({"api_domain": API_DOMAIN});
    let mut provider = json!({"name": "st", "jwks": {"remote": {"cluster": "keys"}}});
    for (target, members) in [(&mut own, preset), (&mut provider, fields)] {
        for (name, value) in members.as_object().into_iter().flatten() {
            target[name] = value.clone();
        }
    }
    provider["preset"] = json!({"supertokens": own});
    provider
}

/// An Envoy with a listener for each configuration, and the app's keys.
struct App {
    site: Site,
    dynamic: SigningKey,
    fixed: SigningKey,
}

impl App {
    fn start(world: &World, configurations: Vec<(&str, Value)>) -> Self {
        let dynamic = SigningKey::new(Algorithm::RS256, "d-1700000000000");
        let fixed = dynamic.with_kid("s-2de612a5");
        let keys = KeyServer::start(&jwks(&[&dynamic, &fixed]));
        let site = Site::with(world, keys, |bootstrap| {
            configurations.into_iter().fold(bootstrap, |bootstrap, (name, configuration)| {
                bootstrap.listener(logged(name, configuration))
            })
        });
        Self { site, dynamic, fixed }
    }

    /// One listener, `st`, of one app.
    fn one(world: &World, preset: Value, fields: Value, rules: Value) -> Self {
        let configuration = json!({"providers": [app(preset, fields)], "rules": rules});
        Self::start(world, vec![("st", configuration)])
    }

    fn sign(&self, token: &Token) -> String {
        token.signed_by(&self.dynamic)
    }

    /// What the backend received, or why it did not.
    fn send(&self, listener: &str, request: Request) -> Result<ReceivedRequest, String> {
        static CASES: AtomicUsize = AtomicUsize::new(0);
        let case = format!("case-{}", CASES.fetch_add(1, Ordering::Relaxed));
        let exchange = self.site.envoy.client(listener).send(request.header("x-case", &case));
        let received = self.site.app.find(|request| {
            request.headers.get("x-case").is_some_and(|value| value == case.as_bytes())
        });
        if let Some(received) = received {
            exchange.expect_status(200);
            return Ok(received);
        }
        let line = self.site.envoy.wait_for_access_log(&format!("{case} ")).unwrap();
        let details = line.split(' ').nth(1).unwrap_or_default();
        let reason = details.strip_prefix("session_token_denied{").unwrap_or(details);
        Err(format!("{} {}", exchange.status(), reason.trim_end_matches('}')))
    }

    fn check(&self, listener: &str, rows: Vec<(&str, Request, &str)>) {
        for (name, request, expected) in rows {
            let outcome = match self.send(listener, request) {
                Ok(_) => "allowed".to_owned(),
                Err(reason) => reason,
            };
            assert_eq!(outcome, expected, "{listener}: {name}");
        }
    }

    fn end(self, world: &World) {
        self.site.end(world);
    }
}

/// A listener whose access log names the test's case and the response-code details.
fn logged(name: &str, configuration: Value) -> Listener {
    let format = json!({"text_format_source": {
        "inline_string": "%REQ(X-CASE)% %RESPONSE_CODE_DETAILS%\n",
    }});
    named_ingress(name, WasmFilter::new().configuration(configuration)).manager_with(json!({
        "access_log": [{
            "name": "envoy.access_loggers.stdout",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.\
                          StdoutAccessLog",
                "log_format": format,
            },
        }],
    }))
}

fn with_bearer(request: Request, token: &str) -> Request {
    request.header("authorization", bearer(token))
}

fn with_cookie(request: Request, token: &str) -> Request {
    request.header("cookie", format!("a={COOKIE_MARK}; sAccessToken={token}"))
}

fn tokens(world: &World) {
    let app = App::one(world, json!({}), json!({}), json!([]));
    let st = || session("usr-1");
    let versioned = |version: &str| st().header("version", version);
    let not = "401 not_a_session";
    let now = unix_now();
    for (name, token, expected) in [
        ("version 5", st(), "allowed"),
        ("version 4", versioned("4").claim("rsub", Value::Null), "allowed"),
        ("version 3", versioned("3").claim("rsub", Value::Null).claim("tId", Value::Null), {
            "allowed"
        }),
        ("no version", st().header("version", Value::Null).claim("rsub", Value::Null), "allowed"),
        ("a later version", versioned("6"), "allowed"),
        ("stt absent", st().claim("stt", Value::Null), "allowed"),
        ("the first after a refresh", st().claim("parentRefreshTokenHash1", "p"), "allowed"),
        ("version 2", versioned("2"), not),
        ("version 1", versioned("1"), not),
        ("a version with letters", versioned("5x"), not),
        ("an empty version", versioned(""), not),
        ("a version as a number", st().header("version", 5), not),
        ("version 5 without rsub", st().claim("rsub", Value::Null), not),
        ("typ in lower case", st().header("typ", "jwt"), not),
        ("typ at+jwt", st().header("typ", "at+jwt"), not),
        ("no typ", st().header("typ", Value::Null), not),
        ("no kid", st().header("kid", Value::Null), not),
        ("an OAuth2 access token", st().claim("stt", 1), not),
        ("an ID token", st().claim("stt", 2), not),
        ("stt as a text", st().claim("stt", "0"), not),
        ("no sub", st().claim("sub", Value::Null), not),
        ("sub as a number", st().claim("sub", 1), not),
        ("no exp", st().claim("exp", Value::Null), not),
        ("no iat", st().claim("iat", Value::Null), not),
        ("no sessionHandle", st().claim("sessionHandle", Value::Null), not),
        ("no refreshTokenHash1", st().claim("refreshTokenHash1", Value::Null), not),
        ("another vendor's", corbado_session("usr-1"), not),
        ("exp as a text", st().claim("exp", "9999999999"), "401 malformed"),
        ("kid as a number", st().header("kid", 1), "401 malformed"),
        ("expired", st().claim("exp", now - 100), "401 expired"),
        ("issued in future", st().claim("iat", now + 100), "401 issued_in_future"),
        ("not yet valid", st().claim("nbf", now + 100), "401 not_yet_valid"),
        ("HS256 by its header", st().header("alg", "HS256"), "401 algorithm_not_allowed"),
        ("none by its header", st().header("alg", "none"), "401 algorithm_not_allowed"),
    ] {
        let token = app.sign(&token);
        for (place, request) in [
            ("header", with_bearer(Request::get("/orders"), &token)),
            ("cookie", with_cookie(Request::get("/orders"), &token)),
            // Out of the cache, if it was accepted.
            ("header again", with_bearer(Request::get("/orders"), &token)),
        ] {
            app.check("st", vec![(&format!("{name}, {place}"), request, expected)]);
        }
    }
    let forged = tampered(&app.sign(&st()));
    let garbage = || Request::get("/orders").header("cookie", "sAccessToken=garbage");
    app.check(
        "st",
        vec![
            ("nothing", Request::get("/orders"), "401 missing"),
            ("garbage", garbage(), "401 malformed"),
            ("garbage in the header", with_bearer(Request::get("/orders"), "x"), "401 malformed"),
            ("forged", with_cookie(Request::get("/orders"), &forged), "401 bad_signature"),
        ],
    );
    app.end(world);
}

fn issuers_and_keys(world: &World) {
    let of = |preset: Value| json!({"providers": [app(preset, json!({}))]});
    let app = App::start(
        world,
        vec![
            ("dynamic", of(json!({}))),
            ("static", of(json!({"signing_keys": "static"}))),
            ("any", of(json!({"signing_keys": "any"}))),
        ],
    );
    // The key set is asked for at the preset's own address.
    assert!(app.site.keys.wait_for_requests(1, Duration::from_secs(20)));
    let request = app.site.keys.requests().remove(0);
    assert_eq!(request.headers.text("host").as_deref(), Some("localhost:3001"));
    assert!(request.raw_head.starts_with(b"GET /auth/jwt/jwks.json "), "{request:?}");

    let (dynamic, fixed) = (app.sign(&session("usr-1")), session("usr-1").signed_by(&app.fixed));
    for (listener, on_dynamic, on_static) in [
        ("dynamic", "allowed", "401 unknown_key"),
        ("static", "401 unknown_key", "allowed"),
        ("any", "allowed", "allowed"),
    ] {
        app.check(
            listener,
            vec![
                ("d-", with_bearer(Request::get("/orders"), &dynamic), on_dynamic),
                ("s-", with_bearer(Request::get("/orders"), &fixed), on_static),
            ],
        );
    }
    for (name, issuer, expected) in [
        ("the app's", json!(ISSUER), "allowed"),
        ("none, as of old SDKs", Value::Null, "allowed"),
        ("without the base path", json!(API_DOMAIN), "401 issuer_mismatch"),
        ("with a slash", json!(format!("{ISSUER}/")), "401 issuer_mismatch"),
        ("another app's", json!("https://other.example/auth"), "401 issuer_mismatch"),
        ("empty", json!(""), "401 issuer_empty"),
    ] {
        let token = app.sign(&session("usr-1").claim("iss", issuer));
        for request in [
            with_bearer(Request::get("/orders"), &token),
            with_cookie(Request::get("/orders"), &token),
        ] {
            app.check("dynamic", vec![(name, request, expected)]);
        }
    }
    app.end(world);
}

fn header_and_cookie(world: &World) {
    let app = App::one(world, json!({}), json!({}), json!([]));
    let (own, other) = (app.sign(&session("usr-1")), app.sign(&session("usr-2")));
    let stt = app.sign(&session("usr-1").claim("stt", 1));
    let expired = app.sign(&session("usr-1").claim("exp", unix_now() - 100));
    let get = || Request::get("/orders");
    for (name, request) in [
        ("header", with_bearer(get(), &own)),
        ("cookie", with_cookie(get(), &own)),
        ("percent-encoded", with_cookie(get(), &own.replace('.', "%2E"))),
        ("header before cookie", with_cookie(with_bearer(get(), &own), &other)),
        ("an opaque bearer beside", with_cookie(with_bearer(get(), "opaque"), &own)),
        ("an OAuth2 token beside", with_cookie(with_bearer(get(), &stt), &own)),
        ("Basic beside", with_cookie(get().header("authorization", "Basic dTpw"), &own)),
        ("whatever st-auth-mode says", {
            with_cookie(get().header("st-auth-mode", "header"), &own)
        }),
    ] {
        let received = app.send("st", request).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        let authorization = received.headers.text("authorization");
        assert_eq!(authorization, Some(bearer(&own)), "{name}");
        let cookie = received.headers.text("cookie");
        assert!(cookie.is_none_or(|cookie| cookie == format!("a={COOKIE_MARK}")), "{name}");
    }
    app.check(
        "st",
        vec![
            ("expired in the header", with_cookie(with_bearer(get(), &expired), &own), {
                "401 expired"
            }),
            ("an opaque bearer alone", with_bearer(get(), "opaque"), "401 malformed"),
            ("an OAuth2 token alone", with_bearer(get(), &stt), "401 not_a_session"),
            ("an OAuth2 token in the cookie", with_cookie(get(), &stt), "401 not_a_session"),
        ],
    );
    app.end(world);
}

fn duplicates(world: &World) {
    let of = |fields: Value| json!({"providers": [app(json!({}), fields)]});
    let app = App::start(
        world,
        vec![("reject", of(json!({}))), ("newest", of(json!({"duplicate_cookies": "newest"})))],
    );
    let now = unix_now();
    let old = app.sign(&session("usr-1").claim("iat", now - 60));
    let new = app.sign(&session("usr-1").claim("iat", now - 1));
    let other = app.sign(&session("usr-1").claim("sessionHandle", "another"));
    let someone = app.sign(&session("usr-2").claim("sessionHandle", "handle-usr-1"));
    let expired = app.sign(&session("usr-1").claim("exp", now - 100));
    let twins = |first: &str, second: &str| {
        Request::get("/orders")
            .header("cookie", format!("sAccessToken={first}; sAccessToken={second}"))
    };
    let refused = "401 duplicate_cookie";
    for (name, first, second, on_reject, on_newest) in [
        ("the same", &old, &old, "allowed", "allowed"),
        ("of one session", &old, &new, refused, "allowed"),
        ("of one session, turned", &new, &old, refused, "allowed"),
        ("one expired", &expired, &old, refused, "allowed"),
        ("of another session", &old, &other, refused, refused),
        ("of another user", &old, &someone, refused, refused),
    ] {
        app.check("reject", vec![(name, twins(first, second), on_reject)]);
        app.check("newest", vec![(name, twins(first, second), on_newest)]);
    }
    let received = app.send("newest", twins(&new, &old)).unwrap();
    assert_eq!(received.headers.text("authorization"), Some(bearer(&new)));
    assert_eq!(received.headers.get("cookie"), None);
    let beside = with_bearer(twins(&old, &other), &new);
    app.check("reject", vec![("beside a header", beside, "allowed")]);
    app.end(world);
}

fn legacy_sessions(world: &World) {
    let rules = json!([
        {"match": {"path": {"prefix": "/public"}}, "access": "public"},
        {"match": {"path": {"prefix": "/optional"}}, "access": "optional"}
    ]);
    let app = App::one(world, json!({"session_expired_status": 401}), json!({}), rules);
    let token = app.sign(&session("usr-1"));
    let legacy = "401 legacy_session";
    let with = |path: &str, cookie: &str| {
        Request::get(path).header("cookie", cookie.replace("TOKEN", &token))
    };
    let preflight = Request::new("OPTIONS", "/orders")
        .header("origin", "https://www.example.com")
        .header("access-control-request-method", "PUT")
        .header("cookie", "sIdRefreshToken=x");
    app.check(
        "st",
        vec![
            ("alone", with("/orders", "sIdRefreshToken=x"), legacy),
            ("beside a session", with("/orders", "sAccessToken=TOKEN; sIdRefreshToken=x"), legacy),
            ("empty", with("/orders", "sAccessToken=TOKEN; sIdRefreshToken="), legacy),
            ("bare", with("/orders", "sAccessToken=TOKEN; sIdRefreshToken"), "allowed"),
            ("beside a bearer", with_bearer(with("/orders", "sIdRefreshToken=x"), &token), legacy),
            ("optional", with("/optional", "sIdRefreshToken="), legacy),
            ("public", with("/public", "sIdRefreshToken=x"), "allowed"),
            ("a preflight", preflight, "allowed"),
        ],
    );
    app.end(world);
}

fn anti_csrf(world: &World) {
    let of = |mode: &str| json!({"providers": [app(json!({"anti_csrf": mode}), json!({}))]});
    let modes = ["none", "custom_header", "token"];
    let app = App::start(world, modes.map(|mode| (mode, of(mode))).into());
    let token = app.sign(&session("usr-1").claim("antiCsrfToken", "proof"));
    let without = app.sign(&session("usr-1"));
    let expired = app.sign(&session("usr-1").claim("exp", unix_now() - 100));
    let send = |method: &str, headers: &[(&str, &str)]| {
        let own_origin = [("origin", "http://localhost")];
        let lines = own_origin.iter().chain(headers);
        lines.fold(Request::new(method, "/orders"), |request, (name, value)| {
            request.header(name, value)
        })
    };
    let no = "401 anti_csrf";
    for (name, request, expected) in [
        ("nothing", with_cookie(send("POST", &[]), &token), ["allowed", no, no]),
        ("rid", with_cookie(send("POST", &[("rid", "x")]), &token), ["allowed", "allowed", no]),
        ("an empty rid", with_cookie(send("PUT", &[("rid", "")]), &token), {
            ["allowed", "allowed", no]
        }),
        ("the proof", with_cookie(send("DELETE", &[("anti-csrf", "proof")]), &token), {
            ["allowed", no, "allowed"]
        }),
        ("another proof", with_cookie(send("POST", &[("anti-csrf", "other")]), &token), {
            ["allowed", no, no]
        }),
        (
            "two proofs",
            {
                let twice = [("anti-csrf", "proof"), ("anti-csrf", "proof")];
                with_cookie(send("POST", &twice), &token)
            },
            ["allowed", no, no],
        ),
        ("nothing to prove", with_cookie(send("POST", &[("anti-csrf", "")]), &without), {
            ["allowed", no, no]
        }),
        ("null", with_cookie(send("POST", &[("anti-csrf", "null")]), &without), {
            ["allowed", no, no]
        }),
        ("GET", with_cookie(send("GET", &[]), &token), ["allowed"; 3]),
        ("HEAD", with_cookie(send("HEAD", &[]), &token), ["allowed", no, no]),
        ("a bearer", with_bearer(send("POST", &[]), &token), ["allowed"; 3]),
        ("in both", with_cookie(with_bearer(send("POST", &[]), &token), &token), ["allowed"; 3]),
        ("expired", with_cookie(send("POST", &[]), &expired), {
            ["401 expired", no, "401 expired"]
        }),
    ] {
        for (mode, expected) in modes.iter().zip(expected) {
            app.check(mode, vec![(name, request.clone(), expected)]);
        }
    }
    app.end(world);
}

fn backends(world: &World) {
    let rules = json!([
        {"match": {"path": {"prefix": "/sdk"}}, "forward": "verify_only"},
        {"match": {"path": {"prefix": "/strip"}}, "forward": "strip"},
        {"match": {"path": {"prefix": "/optional"}}, "access": "optional"}
    ]);
    let app = App::one(world, json!({}), json!({}), rules);
    let token = app.sign(&session("usr-1"));
    let front_end = "sFrontToken=f; sAntiCsrf=c; st-last-access-token-update=1";
    let others = format!(
        "sRefreshToken=r; st-refresh-token=r; st-access-token={token}; {front_end}; \
         a={COOKIE_MARK}"
    );
    let all = format!("sAccessToken={token}; {others}");
    let kept = format!("a={COOKIE_MARK}");
    let with_sdk = format!("sAccessToken={token}; {front_end}; {kept}");
    for (path, cookies, authorization, expected) in [
        ("/orders", &all, Some(bearer(&token)), &kept),
        ("/strip", &all, None, &kept),
        ("/sdk", &all, None, &with_sdk),
        ("/optional", &others, None, &kept),
    ] {
        let request = Request::new("POST", path)
            .header("origin", "http://localhost")
            .header("cookie", cookies)
            .header("rid", "session")
            .header("anti-csrf", "proof")
            .header("st-auth-mode", "cookie");
        let received = app.send("st", request).unwrap_or_else(|reason| panic!("{path}: {reason}"));
        assert_eq!(received.headers.text("authorization"), authorization, "{path}");
        assert_eq!(received.headers.text("cookie").as_ref(), Some(expected), "{path}");
        for (name, value) in
            [("rid", "session"), ("anti-csrf", "proof"), ("st-auth-mode", "cookie")]
        {
            assert_eq!(received.headers.text(name).as_deref(), Some(value), "{path}");
        }
    }
    app.end(world);
}

fn auth_routes(world: &World) {
    let denied = json!([{"match": {"methods": ["POST"]}, "access": "denied"}]);
    let configuration =
        |preset: Value| json!({"providers": [app(preset, json!({}))], "rules": denied});
    let app = App::start(
        world,
        vec![
            ("public", configuration(json!({}))),
            ("manual", configuration(json!({"auth_routes": "manual"}))),
            ("elsewhere", configuration(json!({"api_domain": "https://api.example.com"}))),
        ],
    );
    app.site
        .envoy
        .wait_for_log("/auth and everything below it on localhost is public")
        .unwrap_or_else(|error| panic!("{error}"));
    let cookies = format!(
        "sAccessToken={}; sRefreshToken=r; sIdRefreshToken=; st-refresh-token=r; a={COOKIE_MARK}",
        app.sign(&session("usr-1"))
    );
    let post = |path: &str| Request::post(path, "{}").header("cookie", &cookies);
    for (path, authorization) in [
        ("/auth/session/refresh", None),
        ("/auth/session/refresh", Some("Bearer refresh-token")),
        ("/auth/signout", None),
        ("/auth/signin?rid=emailpassword", None),
    ] {
        let request = match authorization {
            Some(value) => post(path).header("authorization", value),
            None => post(path),
        };
        let received = app.send("public", request).unwrap_or_else(|reason| panic!("{reason}"));
        assert_eq!(received.headers.text("authorization").as_deref(), authorization, "{path}");
        assert_eq!(received.headers.text("cookie").as_ref(), Some(&cookies), "{path}");
    }
    let refused = "403 denied_by_rule";
    app.check(
        "public",
        vec![
            ("beside", post("/authors"), refused),
            ("in upper case", post("/AUTH/signout"), refused),
            ("on another host", post("/auth/signout").header("host", "other.example"), refused),
            ("ambiguous", post("/auth//signout"), "400 ambiguous_path"),
        ],
    );
    app.check("manual", vec![("manual", post("/auth/session/refresh"), refused)]);
    app.check("elsewhere", vec![("elsewhere", post("/auth/session/refresh"), refused)]);
    app.end(world);
}

fn rotation(world: &World) {
    let (old, new) =
        (SigningKey::new(Algorithm::RS256, "d-1"), SigningKey::generate(Algorithm::RS256, "d-2"));
    // As the vendor's documented sample has it: a leading zero byte, and padding.
    let document = |keys: &[&SigningKey]| {
        let mut document = jwks(keys);
        for key in document["keys"].as_array_mut().unwrap() {
            let modulus = key["n"].as_str().unwrap().to_owned();
            key["n"] = with_zero_and_padding(&modulus).into();
        }
        document
    };
    let keys = KeyServer::start(&document(&[&old]));
    let configuration = json!({"providers": [app(json!({}), json!({}))]});
    let site = Site::with(world, keys, |bootstrap| bootstrap.listener(logged("st", configuration)));
    let app = App { site, dynamic: old, fixed: new };
    let get = |token: &str| with_cookie(Request::get("/orders"), token);
    app.check("st", vec![("old", get(&app.sign(&session("usr-1"))), "allowed")]);
    // New keys appear a minute before they are used.
    app.site.keys.serve(&document(&[&app.dynamic, &app.fixed]));
    let rotated = session("usr-1").signed_by(&app.fixed);
    let unknown = session("usr-1").signed_by(&app.fixed.with_kid("d-3"));
    app.check(
        "st",
        vec![
            ("new", get(&rotated), "allowed"),
            ("old still", get(&app.sign(&session("usr-1"))), "allowed"),
            ("unknown", get(&unknown), "401 unknown_key"),
        ],
    );
    app.end(world);
}

/// A modulus with a leading zero byte, in base64url with `=`.
fn with_zero_and_padding(modulus: &str) -> String {
    use ct_codecs::{Base64UrlSafe, Base64UrlSafeNoPadding, Decoder, Encoder};
    let bytes = Base64UrlSafeNoPadding::decode_to_vec(modulus, None).unwrap();
    let padded = Base64UrlSafe::encode_to_string([&[0][..], &bytes].concat()).unwrap();
    assert!(padded.ends_with('='), "{padded}");
    padded
}

fn beside_corbado(world: &World) {
    let corbado = json!({
        "name": "corbado", "preset": {"corbado": {"project_id": PROJECT}},
        "jwks": {"remote": {"cluster": "keys"}},
    });
    let rules = json!([
        {"match": {"path": {"prefix": "/st"}}, "providers": ["st"]},
        {"match": {"path": {"prefix": "/corbado"}}, "providers": ["corbado"]}
    ]);
    let both = |providers: Value| json!({"providers": providers, "rules": rules});
    let st = app(json!({}), json!({}));
    let app = App::start(
        world,
        vec![
            ("corbado-first", both(json!([corbado, st]))),
            ("st-first", both(json!([st, corbado]))),
        ],
    );
    let st = app.sign(&session("usr-1"));
    let cbo = app.sign(&corbado_session("usr-1"));
    let cookie = |path: &str, name: &str, token: &str| {
        Request::get(path).header("cookie", format!("{name}={token}"))
    };
    for (listener, foreign) in
        [("corbado-first", "401 issuer_mismatch"), ("st-first", "401 not_a_session")]
    {
        let nobodys = app.sign(&corbado_session("usr-1").claim("iss", "https://x.example"));
        app.check(
            listener,
            vec![
                ("st's bearer", with_bearer(Request::get("/"), &st), "allowed"),
                ("corbado's bearer", with_bearer(Request::get("/"), &cbo), "allowed"),
                ("nobody's bearer", with_bearer(Request::get("/"), &nobodys), foreign),
                ("st's cookie", cookie("/", "sAccessToken", &st), "allowed"),
                ("corbado's cookie", cookie("/", "cbo_session_token", &cbo), "allowed"),
                ("exchanged", cookie("/", "sAccessToken", &cbo), "401 not_a_session"),
                ("exchanged", cookie("/", "cbo_session_token", &st), "401 issuer_mismatch"),
                ("st's rule", with_bearer(Request::get("/st"), &cbo), "401 not_a_session"),
                ("corbado's rule", with_bearer(Request::get("/corbado"), &st), {
                    "401 issuer_mismatch"
                }),
                ("a legacy session", cookie("/st", "sIdRefreshToken", ""), "401 legacy_session"),
                ("not corbado's", cookie("/corbado", "sIdRefreshToken", ""), "401 missing"),
            ],
        );
    }
    app.end(world);
}
