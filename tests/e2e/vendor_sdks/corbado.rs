//! `@corbado/node-sdk` and the filter on the same tokens, with the same key set over TLS.

use std::fs;

use serde_json::{Value, json};
use session_token_harness::bootstrap::{Cluster, WasmFilter};
use session_token_harness::client::Request;
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::tls::Identity;
use session_token_harness::token::{Token, corbado_claims, tampered, unix_now, with_other_payload};

use super::{Program, packages};
use crate::site::{Site, named_ingress};
use crate::world::{PROJECT, World};

/// What the SDK and the filter say of a token.
#[derive(Clone, Copy)]
enum Both {
    Accept,
    Refuse,
    /// Only the SDK accepts it, since the filter is stricter in this on purpose.
    FilterRefuses(&'static str),
    /// Only the filter accepts it, as configured.
    FilterAccepts(&'static str),
}

type Row = (&'static str, String, Both);

pub(super) fn verdicts(world: &World) {
    // Before any token is made: it takes a while the first time.
    let packages = packages();
    let signing = SigningKey::new(Algorithm::RS256, "kid-one");
    let unnamed = SigningKey::generate(Algorithm::RS256, "kid-two");
    let mut document = jwks(&[&signing, &unnamed]);
    document["keys"][1].as_object_mut().unwrap().remove("alg");

    let identity = Identity::new(&["localhost"]);
    let keys = KeyServer::start_tls(&document, &identity);
    let frontend_api = format!("https://localhost:{}", keys.address().port());
    let frontend_api_cluster = Cluster::new("frontend_api", keys.address());
    let authority = packages.join(format!("authority-{}.pem", world.version()));
    fs::write(&authority, identity.authority_pem()).unwrap();

    let filter = |skew: &str| {
        let provider = json!({
            "name": "corbado",
            "preset": {"corbado": {"project_id": PROJECT, "frontend_api": frontend_api}},
            "jwks": {"remote": {"cluster": "frontend_api"}},
            "clock_skew": skew,
            "claim_headers": [{"header": "x-user-id", "claim": "sub"}]
        });
        WasmFilter::new().configuration(json!({"providers": [provider]}))
    };
    let site = Site::with(world, keys, |bootstrap| {
        bootstrap
            .cluster(frontend_api_cluster.tls(identity.authority_pem(), "localhost"))
            .listener(named_ingress(PARITY, filter("0s")))
            .listener(named_ingress(FORGIVING, filter("5m")))
    });

    let tables = [
        (PARITY, rows(&signing, &unnamed, &frontend_api)),
        (FORGIVING, rows_of_a_clock_skew(&signing)),
    ];
    let tokens: Vec<_> = tables.iter().flat_map(|(_, rows)| rows).map(|row| &row.1).collect();
    let mut sdk = Program::start("corbado", &[("NODE_EXTRA_CA_CERTS", authority.as_os_str())]);
    let verdicts = sdk.ask(&json!({
        "project": PROJECT, "frontendApi": frontend_api, "tokens": tokens,
    }));
    let mut verdicts = verdicts.as_array().unwrap().iter();
    let mut wrong = Vec::new();
    for (listener, rows) in tables {
        for row in rows {
            check(&site, listener, &row, verdicts.next().unwrap(), &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    same_fetches(&site);
    fs::remove_file(&authority).unwrap();
    site.end(world);
}

/// Says what is not as the row says.
fn check(
    site: &Site,
    listener: &str,
    (name, token, both): &Row,
    sdk: &Value,
    wrong: &mut Vec<String>,
) {
    let (sdk_accepts, filter_accepts, why) = match *both {
        Both::Accept => (true, true, "accepted by both"),
        Both::Refuse => (false, false, "refused by both"),
        Both::FilterRefuses(why) => (true, false, why),
        Both::FilterAccepts(why) => (false, true, why),
    };
    if sdk["accepted"] != sdk_accepts {
        wrong.push(format!("{name} ({why}): the SDK says {sdk}"));
    }
    let carriers = [
        ("authorization", format!("Bearer {token}")),
        ("cookie", format!("cbo_session_token={token}")),
        ("cookie", format!("cbo_short_session={token}")),
    ];
    for (header, value) in carriers {
        site.app.clear();
        let exchange = site.envoy.client(listener).send(Request::get("/").header(header, value));
        let received = site.app.take_last();
        let user = received.and_then(|received| received.headers.text("x-user-id"));
        let expected_user = filter_accepts.then_some("usr-1");
        if exchange.status() != if filter_accepts { 200 } else { 401 }
            || user.as_deref() != expected_user
            || (sdk_accepts && filter_accepts && sdk["user"] != json!(expected_user))
        {
            wrong.push(format!("{name} ({why}), {header}: the SDK says {sdk}; {exchange}"));
        }
    }
}

/// Both find the keys at one place, and say for which project.
fn same_fetches(site: &Site) {
    let requests = site.keys.requests();
    let is_sdk = |agent: &str| agent.starts_with("jose/");
    let agents: Vec<_> =
        requests.iter().map(|it| it.headers.text("user-agent").unwrap_or_default()).collect();
    assert!(agents.iter().any(|agent| is_sdk(agent)), "the SDK fetched no keys: {agents:?}");
    assert!(agents.iter().any(|agent| !is_sdk(agent)), "the filter fetched no keys: {agents:?}");
    for request in requests {
        assert_eq!(request.path, "/.well-known/jwks");
        assert_eq!(request.headers.text("x-corbado-projectid").as_deref(), Some(PROJECT));
    }
}

/// `unnamed` is of the same set, and its JWK names no algorithm.
fn rows(key: &SigningKey, unnamed: &SigningKey, frontend_api: &str) -> Vec<Row> {
    let session = || Token::corbado(PROJECT, "usr-1");
    let signed = |token: Token| token.signed_by(key);
    let issued_by = |issuer: &str| signed(session().claim("iss", issuer));
    let with = |claim: &str, value: Value| signed(session().claim(claim, value));
    let good = signed(session());
    let now = unix_now();
    let mut rows = vec![
        ("the cloud's issuer", good.clone(), Both::Accept),
        (
            "the older issuer",
            issued_by(&format!("https://{PROJECT}.frontendapi.corbado.io")),
            Both::Accept,
        ),
        ("the configured issuer", issued_by(frontend_api), Both::Accept),
        ("the other key of the set", session().signed_by(unnamed), Both::Accept),
        ("no nbf", with("nbf", Value::Null), Both::Accept),
        ("no iat", with("iat", Value::Null), Both::Accept),
        ("aud, which nobody asked for", with("aud", json!("other")), Both::Accept),
        ("nbf is now", with("nbf", json!(now)), Both::Accept),
        ("typ at+jwt", signed(session().header("typ", "at+jwt")), Both::Accept),
        ("empty", String::new(), Both::Refuse),
        ("no JWT", "invalid".to_owned(), Both::Refuse),
        ("shorter than 10", "ey.ey.ab".to_owned(), Both::Refuse),
        ("two parts", good.rsplit_once('.').unwrap().0.to_owned(), Both::Refuse),
        ("bad signature", tampered(&good), Both::Refuse),
        ("no signature", session().with_signature(key, b""), Both::Refuse),
        (
            "other claims under the signature",
            with_other_payload(&good, &corbado_claims(PROJECT, "usr-2")),
            Both::Refuse,
        ),
        ("alg none", session().unsigned(), Both::Refuse),
        (
            "alg none, kid of a key",
            format!("{}.", {
                let header = json!({"alg": "none", "kid": key.kid()}).to_string();
                let unsigned = session().header_text(header).unsigned();
                unsigned.trim_end_matches('.').to_owned()
            }),
            Both::Refuse,
        ),
        (
            "HS256 with the public key",
            session().signed_hs256(key.public_pem().as_bytes(), key.kid()),
            Both::Refuse,
        ),
        (
            "RS512 of a key for RS256",
            session().signed_by(&key.with_algorithm(Algorithm::RS512)),
            Both::Refuse,
        ),
        (
            "another key under our kid",
            session().signed_by(&SigningKey::generate(Algorithm::RS256, key.kid())),
            Both::Refuse,
        ),
        ("an unknown kid", session().signed_by(&key.with_kid("kid-three")), Both::Refuse),
        ("no kid, two keys fit", signed(session().header("kid", Value::Null)), Both::Refuse),
        ("nbf in 100 s", with("nbf", json!(now + 100)), Both::Refuse),
        ("exp 100 s ago", with("exp", json!(now - 100)), Both::Refuse),
        ("exp is now", with("exp", json!(now)), Both::Refuse),
        ("exp is a string", with("exp", json!((now + 100).to_string())), Both::Refuse),
        ("nbf is a string", with("nbf", json!(now.to_string())), Both::Refuse),
        ("iat is a string", with("iat", json!(now.to_string())), Both::Refuse),
        ("iss empty", with("iss", json!("")), Both::Refuse),
        ("iss missing", with("iss", Value::Null), Both::Refuse),
        ("iss with a slash", issued_by(&format!("{frontend_api}/")), Both::Refuse),
        ("another project", signed(Token::corbado("pro-2", "usr-1")), Both::Refuse),
        (
            "another project, the older issuer",
            issued_by("https://pro-2.frontendapi.corbado.io"),
            Both::Refuse,
        ),
        ("crit", signed(session().header("crit", json!(["x"])).header("x", 1)), Both::Refuse),
        ("no object", Token::with_payload("[]").signed_by(key), Both::Refuse),
    ];
    rows.extend([
        ("no exp", with("exp", Value::Null), Both::FilterRefuses("exp is required")),
        (
            "RS512 of a key without an algorithm",
            session().signed_by(&unnamed.with_algorithm(Algorithm::RS512)),
            Both::FilterRefuses("algorithms are pinned"),
        ),
        (
            "typ of another kind",
            signed(session().header("typ", "dpop+jwt")),
            Both::FilterRefuses("the SDK does not look at typ"),
        ),
        ("no sub", with("sub", Value::Null), Both::FilterRefuses("a session has a user")),
        ("sub empty", with("sub", json!("")), Both::FilterRefuses("a session has a user")),
        (
            "iat in 100 s",
            with("iat", json!(now + 100)),
            Both::FilterRefuses("nobody issues in the future"),
        ),
        (
            "exp twice",
            {
                let claims = corbado_claims(PROJECT, "usr-1").to_string();
                let claims = format!(r#"{{"exp":1,{}"#, claims.trim_start_matches('{'));
                Token::with_payload(claims).signed_by(key)
            },
            Both::FilterRefuses("a member must not come twice"),
        ),
        (
            "padded signature",
            format!("{good}=="),
            Both::FilterRefuses("base64url has one spelling"),
        ),
        (
            "the other alphabet",
            other_alphabet(key),
            Both::FilterRefuses("base64url has one spelling"),
        ),
    ]);
    rows
}

/// A session whose signature has a character that the two alphabets of base64 write differently.
fn other_alphabet(key: &SigningKey) -> String {
    let tokens = (0..).map(|n| Token::corbado(PROJECT, "usr-1").claim("n", n).signed_by(key));
    let (input, signature) = tokens
        .filter_map(|token| token.rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())))
        .find(|(_, signature)| signature.contains(['-', '_']))
        .unwrap();
    format!("{input}.{}", signature.replace('-', "+").replace('_', "/"))
}

/// The filter forgives a clock that is off, 10 s unless told; the SDK forgives nothing.
fn rows_of_a_clock_skew(key: &SigningKey) -> Vec<Row> {
    let now = unix_now();
    let with =
        |claim: &str, time: u64| Token::corbado(PROJECT, "usr-1").claim(claim, time).signed_by(key);
    let forgiven = Both::FilterAccepts("clock_skew is 5 min");
    vec![
        ("expired for 100 s", with("exp", now - 100), forgiven),
        ("expired for 400 s", with("exp", now - 400), Both::Refuse),
        ("valid in 100 s", with("nbf", now + 100), forgiven),
        ("valid in 600 s", with("nbf", now + 600), Both::Refuse),
    ]
}

const PARITY: &str = "without-skew";
const FORGIVING: &str = "with-skew";
