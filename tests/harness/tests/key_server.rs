//! The key server's states, and the minted tokens as an independent library sees them.

use std::time::{Duration, Instant};

use jwt_simple::prelude::*;
use serde_json::{Value, json};
use session_token_harness::answer::Answer;
use session_token_harness::client::{Client, ClientError, Request};
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::token::{Token, corbado_claims, tampered, with_other_payload};

#[test]
fn it_serves_what_it_is_told_to() {
    let old = json!({ "keys": ["old"] });
    let new = json!({ "keys": ["new"] });
    let mut server = KeyServer::start(&old);
    let client = Client::new(server.address()).timeout(Duration::from_secs(1));
    let get = || client.send(Request::get("/.well-known/jwks").header("x-corbado-projectid", "p"));

    get().expect("the old document", |response| response.json() == old);
    server.serve_for(&new, Duration::from_secs(90));
    get().expect("a lifetime", |r| r.headers.get("cache-control") == Some(b"max-age=90"));
    server.answer_with(Answer::status(503));
    get().expect_status(503);
    server.answer_with(Answer::html("<h1>It works!</h1>"));
    get().expect("HTML", |r| r.text().starts_with("<h1>"));
    server.serve_padded(&new, 2_000_000);
    get().expect("2 MB of JSON", |r| r.body.len() == 2_000_000 && r.json() == new);
    server.answer_with(Answer::redirect("http://127.0.0.1:1/"));
    get().expect("a redirect", |r| r.status == 302 && r.headers.get("location").is_some());
    server.close_mid_body(&new);
    assert!(matches!(get().response, Err(ClientError::Io(_))));
    server.answer_with(Answer::json(&old).after(Duration::from_millis(200)));
    let before = Instant::now();
    get().expect_status(200);
    assert!(before.elapsed() >= Duration::from_millis(200));

    let asked = server.requests();
    assert_eq!(asked.len(), 8);
    assert_eq!(asked[0].path, "/.well-known/jwks");
    assert_eq!(asked[0].headers.get("X-Corbado-ProjectID"), Some(&b"p"[..]));

    server.stop();
    assert!(matches!(get().response, Err(ClientError::Io(_))));
    server.start_again();
    get().expect_status(200);
    assert_eq!(server.count(), 9);
}

#[test]
fn a_hanging_request_ends_with_the_next_answer() {
    let server = KeyServer::start(&json!({}));
    let client = Client::new(server.address());
    server.answer_with(Answer::hang());
    let pending = client.send_in_background(Request::get("/"));
    assert!(server.wait_for_requests(1, Duration::from_secs(5)));
    std::thread::sleep(Duration::from_millis(50));
    assert!(!pending.is_finished());
    server.serve(&json!({}));
    assert!(matches!(pending.wait().response, Err(ClientError::Io(_))));
    client.send(Request::get("/")).expect_status(200);
}

#[test]
fn each_algorithm_signs_what_another_library_verifies() {
    for algorithm in Algorithm::ALL {
        let key = SigningKey::new(algorithm, "k1");
        let token = Token::corbado("pro-1", "usr-1").signed_by(&key);
        assert!(verifies(&token, &key), "{}", algorithm.name());
        let wrong = [
            ("tampered", tampered(&token)),
            ("other payload", with_other_payload(&token, &corbado_claims("pro-1", "usr-2"))),
            (
                "other key",
                Token::corbado("pro-1", "usr-1").signed_by(&SigningKey::generate(algorithm, "k1")),
            ),
        ];
        for (name, token) in wrong {
            assert!(!verifies(&token, &key), "{name}, {}", algorithm.name());
        }
    }
}

#[test]
fn confused_and_unsigned_tokens_are_what_they_claim() {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let pem = key.public_pem();
    let token = Token::corbado("pro-1", "usr-1").signed_hs256(pem.as_bytes(), "k1");
    let secret = HS256Key::from_bytes(pem.as_bytes());
    assert!(secret.verify_token::<Value>(&token, None).is_ok());

    let header = |token: &str| -> Value {
        let text = token.split('.').next().unwrap();
        serde_json::from_slice(&decode(text)).unwrap()
    };
    let unsigned = Token::new(json!({})).unsigned();
    assert!(unsigned.ends_with('.'));
    assert_eq!(header(&unsigned), json!({ "alg": "none", "typ": "JWT" }));
    let odd = Token::new(json!({})).header("kid", Value::Null).header("crit", json!(["x"]));
    assert_eq!(
        header(&odd.signed_by(&key)),
        json!({ "alg": "RS256", "typ": "JWT", "crit": ["x"] })
    );
    let raw = Token::with_payload(*b"\xff").header_text("not JSON").signed_by(&key);
    let parts: Vec<_> = raw.split('.').map(decode).collect();
    assert_eq!(parts[..2], [b"not JSON".to_vec(), b"\xff".to_vec()]);
}

#[test]
fn a_key_set_has_only_public_members() {
    let keys = Algorithm::ALL.map(|algorithm| SigningKey::new(algorithm, algorithm.name()));
    let document = jwks(&keys.iter().collect::<Vec<_>>());
    for key in document["keys"].as_array().unwrap() {
        let members: Vec<_> = key.as_object().unwrap().keys().cloned().collect();
        let public = ["alg", "crv", "e", "kid", "kty", "n", "use", "x", "y"];
        assert!(members.iter().all(|name| public.contains(&name.as_str())), "{members:?}");
    }
}

fn decode(text: &str) -> Vec<u8> {
    use ct_codecs::{Base64UrlSafeNoPadding, Decoder};
    Base64UrlSafeNoPadding::decode_to_vec(text, None).unwrap()
}

/// Rebuilds the key from its JWK, so that the JWK is checked too.
fn verifies(token: &str, key: &SigningKey) -> bool {
    let jwk = key.public_jwk();
    let member = |name: &str| decode(jwk[name].as_str().unwrap());
    let rsa = || (member("n"), member("e"));
    let point = || [vec![4], member("x"), member("y")].concat();
    let verified = match key.algorithm() {
        Algorithm::RS256 => RS256PublicKey::from_components(&rsa().0, &rsa().1)
            .unwrap()
            .verify_token::<Value>(token, None),
        Algorithm::RS384 => {
            RS384PublicKey::from_components(&rsa().0, &rsa().1).unwrap().verify_token(token, None)
        }
        Algorithm::RS512 => {
            RS512PublicKey::from_components(&rsa().0, &rsa().1).unwrap().verify_token(token, None)
        }
        Algorithm::PS256 => {
            PS256PublicKey::from_components(&rsa().0, &rsa().1).unwrap().verify_token(token, None)
        }
        Algorithm::PS384 => {
            PS384PublicKey::from_components(&rsa().0, &rsa().1).unwrap().verify_token(token, None)
        }
        Algorithm::PS512 => {
            PS512PublicKey::from_components(&rsa().0, &rsa().1).unwrap().verify_token(token, None)
        }
        Algorithm::ES256 => ES256PublicKey::from_bytes(&point()).unwrap().verify_token(token, None),
        Algorithm::ES384 => ES384PublicKey::from_bytes(&point()).unwrap().verify_token(token, None),
        Algorithm::EdDSA => {
            Ed25519PublicKey::from_bytes(&member("x")).unwrap().verify_token(token, None)
        }
    };
    verified.is_ok()
}
