//! Tokens that are wrong in one way each, through the real module and the host's own crypto.
//!
//! Each row goes over `Authorization`. Rows that name no reason are accepted, twice: the second
//! time out of the cache.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::bootstrap::Listener;
use session_token_harness::client::Request;
use session_token_harness::keys::{Algorithm, SigningKey, base64url};
use session_token_harness::token::{Token, tampered, unix_now, with_other_payload};

use crate::extraction::bearer;
use crate::secrets::CLAIM_MARK;
use crate::trial;
use crate::world::{PROJECT, World, corbado, listener, session};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "tokens::algorithms", algorithms),
        trial(world, "tokens::headers", headers),
        trial(world, "tokens::text", text),
        trial(world, "tokens::each_byte", each_byte),
        trial(world, "tokens::json", json),
        trial(world, "tokens::dates", dates),
        trial(world, "tokens::sizes", sizes),
        trial(world, "tokens::issuers", issuers),
        trial(world, "tokens::subjects", subjects),
        trial(world, "tokens::generic_provider", generic_provider),
        trial(world, "tokens::providers_of_the_rule", providers_of_the_rule),
    ]
}

/// The listeners that only these tests need.
pub(crate) fn listeners() -> Vec<Listener> {
    let keys = json!({"remote": {"uri": "https://keys.example/jwks", "cluster": "keys"}});
    let partner = json!({
        "name": "partner",
        "issuers": [PARTNER, "https://other.partner.example"],
        "audiences": ["orders", "billing"],
        "algorithms": ["RS256", "RS384", "ES256"],
        "token_types": ["at+jwt"],
        "clock_skew": "0s",
        "max_lifetime": "10m",
        "max_token_bytes": 1024,
        "jwks": keys,
        "claim_headers": [{"header": "x-partner", "claim": "sub"}]
    });
    let mut own_domain = corbado();
    own_domain["preset"]["corbado"]["frontend_api"] = json!("https://auth.example.com");
    let rules = json!([
        {"match": {"path": {"prefix": "/partner"}}, "providers": ["partner"]},
        {"match": {"path": {"prefix": "/corbado"}}, "providers": ["corbado"]}
    ]);
    vec![
        listener("partner", json!({"providers": [partner]})),
        listener("own-domain", json!({"providers": [own_domain]})),
        listener("both", json!({"providers": [corbado(), partner], "rules": rules})),
    ]
}

/// Of a token that the cache knows, every byte counts: the module compares them in vectors, which
/// it does nowhere else.
fn each_byte(world: &World) {
    let client = world.client("corbado");
    let token = world.session("usr");
    let send = |token: &str| {
        let request = Request::get("/orders").header("authorization", bearer(token));
        client.send(request).status()
    };
    assert_eq!([send(&token), send(&token)], [200, 200]);
    for at in 0..token.len() {
        let mut other = token.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).unwrap();
        assert_eq!(send(&other), 401, "byte {at} of {}", token.len());
    }
    assert_eq!(send(&token), 200);
}

/// What it is, the token, and why it is refused, if it is.
type Row = (&'static str, String, Option<&'static str>);

fn check(world: &World, listener: &str, rows: Vec<Row>) {
    check_on(world, listener, "/orders", rows);
}

fn check_on(world: &World, listener: &str, path: &str, rows: Vec<Row>) {
    let client = world.client(listener);
    for (name, token, reason) in rows {
        for attempt in 1..=2 {
            let request = Request::get(path).header("authorization", bearer(&token));
            let (exchange, received) = world.send_by(&client, request);
            let what = format!("{name}, attempt {attempt}: {}", reason.unwrap_or("accepted"));
            exchange.expect(&what, |response| match reason {
                None => response.status == 200,
                Some(reason) => response.status == 401 && response.json()["reason"] == reason,
            });
            let forwarded = received.and_then(|received| received.headers.text("authorization"));
            assert_eq!(forwarded, reason.is_none().then(|| bearer(&token)), "{name}");
        }
    }
}

const NOT_ALLOWED: Option<&str> = Some("algorithm_not_allowed");
const MALFORMED: Option<&str> = Some("malformed");

fn algorithms(world: &World) {
    let key = world.key();
    let named = |alg: &str| session("usr").header("alg", alg);
    let unsigned = |header: Value| {
        let payload = session("admin").unsigned();
        let payload = payload.split('.').nth(1).unwrap_or_default();
        format!("{}.{payload}.", base64url(header.to_string().as_bytes()))
    };
    let rows = vec![
        ("RS256", session("usr").signed_by(key), None),
        (
            "HS256 with the public key",
            { session("admin").signed_hs256(key.public_pem().as_bytes(), "k1") },
            NOT_ALLOWED,
        ),
        ("HS256 with an empty secret", session("admin").signed_hs256(b"", "k1"), NOT_ALLOWED),
        ("none", session("admin").unsigned(), NOT_ALLOWED),
        ("none, kid of a real key", unsigned(json!({"alg": "none", "kid": "k1"})), NOT_ALLOWED),
        ("None", unsigned(json!({"alg": "None"})), NOT_ALLOWED),
        ("NONE", unsigned(json!({"alg": "NONE"})), NOT_ALLOWED),
        ("nOnE, signed all the same", named("nOnE").signed_by(key), NOT_ALLOWED),
        ("rs256", named("rs256").signed_by(key), NOT_ALLOWED),
        ("an empty alg", named("").signed_by(key), NOT_ALLOWED),
        ("no alg", session("usr").header("alg", Value::Null).signed_by(key), NOT_ALLOWED),
        ("alg is a number", session("usr").header("alg", 256).signed_by(key), MALFORMED),
        ("alg is a list", session("usr").header("alg", json!(["RS256"])).signed_by(key), MALFORMED),
        (
            "RS512 of the same key",
            { session("usr").signed_by(&key.with_algorithm(Algorithm::RS512)) },
            NOT_ALLOWED,
        ),
        (
            "PS256 of the same key",
            { session("usr").signed_by(&key.with_algorithm(Algorithm::PS256)) },
            NOT_ALLOWED,
        ),
        (
            "RS256 that is really PS256",
            { named("RS256").signed_by(&key.with_algorithm(Algorithm::PS256)) },
            Some("bad_signature"),
        ),
        ("ES256", session("usr").signed_by(&SigningKey::new(Algorithm::ES256, "k1")), NOT_ALLOWED),
        ("no signature", session("usr").with_signature(key, b""), Some("bad_signature")),
        (
            "another key under our kid",
            { session("usr").signed_by(&SigningKey::generate(Algorithm::RS256, "k1")) },
            Some("bad_signature"),
        ),
        ("tampered signature", tampered(&session("usr").signed_by(key)), Some("bad_signature")),
        (
            "tampered payload",
            {
                let t = session("usr").signed_by(key);
                let mut claims = session_token_harness::token::corbado_claims(PROJECT, "admin");
                claims["name"] = json!(CLAIM_MARK);
                with_other_payload(&t, &claims)
            },
            Some("bad_signature"),
        ),
    ];
    check(world, "corbado", rows);
}

fn headers(world: &World) {
    let key = world.key();
    let with = |name: &str, value: Value| session("usr").header(name, value).signed_by(key);
    let attacker = SigningKey::generate(Algorithm::RS256, "k1");
    let by_attacker =
        |name: &str, value: Value| session("admin").header(name, value).signed_by(&attacker);
    let bad_signature = Some("bad_signature");
    check(
        world,
        "corbado",
        vec![
            ("crit", with("crit", json!(["exp"])), MALFORMED),
            ("an empty crit", with("crit", json!([])), MALFORMED),
            ("crit is a string", with("crit", json!("exp")), MALFORMED),
            ("b64 false", with("b64", json!(false)), MALFORMED),
            ("b64 is a string", with("b64", json!("true")), MALFORMED),
            ("b64 true", with("b64", json!(true)), None),
            ("an unknown member", with("x", json!({"y": [1, null]})), None),
            ("jwk", by_attacker("jwk", attacker.public_jwk()), bad_signature),
            ("jku", by_attacker("jku", json!("https://evil.example/jwks")), bad_signature),
            ("x5u", by_attacker("x5u", json!("https://evil.example/x5u")), bad_signature),
            ("x5c", by_attacker("x5c", json!(["MIIB"])), bad_signature),
            ("jwk beside a good signature", with("jwk", attacker.public_jwk()), None),
            ("kid is a number", with("kid", json!(1)), MALFORMED),
            ("kid is an object", with("kid", json!({})), MALFORMED),
            ("no kid", with("kid", Value::Null), Some("unknown_key")),
            ("typ absent", with("typ", Value::Null), None),
            ("typ jwt", with("typ", json!("jwt")), None),
            ("typ application/jwt", with("typ", json!("application/JWT")), None),
            ("typ at+jwt", with("typ", json!("at+jwt")), None),
            ("typ dpop+jwt", with("typ", json!("dpop+jwt")), Some("type_not_allowed")),
            ("typ is empty", with("typ", json!("")), Some("type_not_allowed")),
            ("typ text/jwt", with("typ", json!("text/jwt")), Some("type_not_allowed")),
            ("typ is a number", with("typ", json!(1)), MALFORMED),
        ],
    );
}

/// What stands between dots.
fn text(world: &World) {
    let key = world.key();
    let header = |text: &str| session("usr").header_text(text).signed_by(key);
    // A header of 3 n + 1 bytes ends in a character with four bits to spare.
    let t = header(r#"{"alg":"RS256","kid":"k1"}  "#);
    let parts: Vec<&str> = t.split('.').collect();
    let [head, payload, signature] = parts[..] else { panic!("three parts") };
    assert_eq!((head.len() % 4, signature.len() % 4), (2, 2), "both end in spare bits");
    let joined =
        |head: &str, payload: &str, signature: &str| format!("{head}.{payload}.{signature}");
    let plus = session("usr").with_signature(key, &[0xfb, 0xff, 0xfe]);
    check(
        world,
        "corbado",
        vec![
            ("as it is", t.clone(), None),
            (
                "spare bits of the header",
                joined(&with_spare_bit(head), payload, signature),
                MALFORMED,
            ),
            (
                "spare bits of the signature",
                joined(head, payload, &with_spare_bit(signature)),
                MALFORMED,
            ),
            ("= after the signature", format!("{t}="), MALFORMED),
            ("== after the signature", format!("{t}=="), MALFORMED),
            ("== after the header", joined(&format!("{head}=="), payload, signature), MALFORMED),
            ("a part of 4 n + 1", joined(head, payload, &format!("{signature}AAA")), MALFORMED),
            ("the other alphabet", plus.replace('-', "+").replace('_', "/"), MALFORMED),
            (
                "white space before a dot",
                joined(&format!("{head} "), payload, signature),
                MALFORMED,
            ),
            ("white space after a dot", joined(head, &format!(" {payload}"), signature), MALFORMED),
            ("a tab in the signature", joined(head, payload, &format!("\t{signature}")), MALFORMED),
            ("something after it", format!("{t} x"), MALFORMED),
            ("a parameter after it", format!("{t};a=b"), MALFORMED),
            ("a fourth part", format!("{t}.{signature}"), MALFORMED),
            ("an empty fourth part", format!("{t}."), MALFORMED),
            ("a dot first", format!(".{t}"), MALFORMED),
            ("two parts", format!("{head}.{payload}"), MALFORMED),
            ("one part", head.to_owned(), MALFORMED),
            ("dots alone", "..".to_owned(), MALFORMED),
            ("no header", joined("", payload, signature), MALFORMED),
            ("no payload", joined(head, "", signature), MALFORMED),
            ("a scheme twice", format!("Bearer {t}"), MALFORMED),
            ("quoted", format!("\"{t}\""), MALFORMED),
            ("percent-encoded", t.replace('.', "%2E"), MALFORMED),
            ("as it is, in the end", t.clone(), None),
        ],
    );
}

/// The same bytes to a lax decoder.
fn with_spare_bit(part: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = part.split_at(part.len() - 1);
    let value = ALPHABET.iter().position(|other| last.as_bytes() == [*other]).unwrap();
    format!("{rest}{}", char::from(ALPHABET[value | 1]))
}

fn json(world: &World) {
    let key = world.key();
    let payload = |text: &[u8]| Token::with_payload(text).signed_by(key);
    let with = |members: &str| payload(claims(members).as_bytes());
    let header = |text: &str| session("usr").header_text(text).signed_by(key);
    let nested = |levels: usize| {
        // The payload itself is the first level.
        with(&format!(r#","deep":{}{}"#, "[".repeat(levels - 1), "]".repeat(levels - 1)))
    };
    let now = unix_now();
    check(
        world,
        "corbado",
        vec![
            ("plain", with(""), None),
            ("white space", payload(format!(" \t\r\n{}\n", claims("")).as_bytes()), None),
            ("exp twice", with(&format!(r#","exp":{}"#, now + 300)), MALFORMED),
            ("exp twice, once escaped", with(&format!(r#","\u0065xp":{}"#, now + 300)), MALFORMED),
            ("sub twice", with(r#","sub":"admin""#), MALFORMED),
            ("twice in an object", with(r#","a":{"b":1,"b":1}"#), MALFORMED),
            (
                "twice in an object in a list",
                with(r#","a":[[{"b":{"c":1,"\u0063":2}}]]"#),
                MALFORMED,
            ),
            ("once each", with(r#","a":{"b":{"b":1}},"b":1"#), None),
            ("alg twice", header(r#"{"alg":"RS256","kid":"k1","alg":"none"}"#), MALFORMED),
            ("kid twice", header(r#"{"kid":"x","alg":"RS256","kid":"k1"}"#), MALFORMED),
            (
                "twice in the header's object",
                { header(r#"{"alg":"RS256","kid":"k1","jwk":{"n":"","n":""}}"#) },
                MALFORMED,
            ),
            ("64 levels", nested(64), None),
            ("65 levels", nested(65), MALFORMED),
            ("3,000 levels", nested(3_000), MALFORMED),
            (
                "65 levels in the header",
                {
                    let deep = format!("{}{}", "[".repeat(64), "]".repeat(64));
                    header(&format!(r#"{{"alg":"RS256","kid":"k1","x":{deep}}}"#))
                },
                MALFORMED,
            ),
            (
                "no UTF-8",
                payload(
                    &[claims(r#","x":""#).trim_end_matches('}').as_bytes(), b"\xff\"}"].concat(),
                ),
                MALFORMED,
            ),
            (
                "no UTF-8 in a name",
                payload(&[claims(",\"").trim_end_matches('}').as_bytes(), b"\xc3\":1}"].concat()),
                MALFORMED,
            ),
            (
                "BOM",
                payload(&[b"\xef\xbb\xbf".as_slice(), claims("").as_bytes()].concat()),
                MALFORMED,
            ),
            (
                "UTF-16",
                payload(&claims("").encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>()),
                MALFORMED,
            ),
            ("an unpaired surrogate", with(r#","x":"\ud800""#), MALFORMED),
            ("a pair of surrogates", with(r#","x":"\ud834\udd1e""#), None),
            ("a raw control byte", with(",\"x\":\"a\nb\""), MALFORMED),
            ("a list", payload(b"[]"), MALFORMED),
            ("a string", payload(b"\"x\""), MALFORMED),
            ("null", payload(b"null"), MALFORMED),
            ("empty", payload(b""), MALFORMED),
            ("something after it", payload(format!("{}{{}}", claims("")).as_bytes()), MALFORMED),
            ("a trailing comma", payload(claims(",").as_bytes()), MALFORMED),
            ("a comment", with("/**/"), MALFORMED),
            ("a huge number elsewhere", with(r#","x":1e400"#), MALFORMED),
            ("the header is a list", header("[]"), MALFORMED),
            (
                "the header has a BOM",
                header("\u{feff}{\"alg\":\"RS256\",\"kid\":\"k1\"}"),
                MALFORMED,
            ),
        ],
    );
}

/// The JSON text of a session's claims, with these members at the end.
fn claims(members: &str) -> String {
    let now = unix_now();
    format!(
        r#"{{"iss":"{}","sub":"usr-j","name":"{CLAIM_MARK}","iat":{now},"exp":{}{members}}}"#,
        issuer("frontendapi.cloud.corbado.io"),
        now + 300
    )
}

fn issuer(host: &str) -> String {
    format!("https://{PROJECT}.{host}")
}

fn dates(world: &World) {
    let key = world.key();
    let now = unix_now();
    let soon = now + 300;
    let raw = |name: &str, value: &str| {
        let members = [("iat", now.to_string()), ("exp", soon.to_string())];
        let members = members.into_iter().filter(|(other, _)| *other != name);
        let members: Vec<_> = members
            .chain([(name, value.to_owned())])
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!(r#","{name}":{value}"#))
            .collect();
        let text = format!(
            r#"{{"iss":"{}","sub":"usr-d"{}}}"#,
            issuer("frontendapi.cloud.corbado.io"),
            members.concat()
        );
        Token::with_payload(text).signed_by(key)
    };
    let exp = |value: &str| raw("exp", value);
    let (expired, early, future) =
        (Some("expired"), Some("not_yet_valid"), Some("issued_in_future"));
    check(
        world,
        "corbado",
        vec![
            ("exp missing", exp(""), Some("no_expiry")),
            ("exp null", exp("null"), MALFORMED),
            ("exp a string", exp(&format!("\"{soon}\"")), MALFORMED),
            ("exp true", exp("true"), MALFORMED),
            ("exp a list", exp(&format!("[{soon}]")), MALFORMED),
            ("exp negative", exp("-1"), MALFORMED),
            ("exp negative and tiny", exp("-1e-9"), MALFORMED),
            ("exp zero", exp("0"), expired),
            ("exp 1e400", exp("1e400"), MALFORMED),
            ("exp 1e300", exp("1e300"), MALFORMED),
            ("exp NaN", exp("NaN"), MALFORMED),
            ("exp Infinity", exp("Infinity"), MALFORMED),
            ("exp 2^63", exp("9223372036854775808"), MALFORMED),
            ("exp 2^64", exp("18446744073709551616"), MALFORMED),
            (
                "exp 2^64 + a valid date",
                exp(&(u128::from(soon) + (1 << 64)).to_string()),
                MALFORMED,
            ),
            ("exp in milliseconds", exp(&(soon * 1_000).to_string()), MALFORMED),
            ("exp in year 10000", exp("253402300800"), MALFORMED),
            ("exp in year 9999", exp("253402300799"), None),
            ("exp fractional", exp(&format!("{soon}.5")), None),
            ("exp with an exponent", exp(&format!("{soon}e0")), None),
            ("exp fractional and past", exp(&format!("{}.5", now - 60)), expired),
            ("exp past, within the skew", exp(&(now - 2).to_string()), None),
            ("exp past, beyond the skew", exp(&(now - 12).to_string()), expired),
            ("nbf now", raw("nbf", &now.to_string()), None),
            ("nbf ahead, within the skew", raw("nbf", &(now + 8).to_string()), None),
            ("nbf ahead, beyond the skew", raw("nbf", &(now + 60).to_string()), early),
            ("nbf a string", raw("nbf", &format!("\"{now}\"")), MALFORMED),
            ("nbf negative", raw("nbf", "-1"), MALFORMED),
            ("nbf 1e400", raw("nbf", "1e400"), MALFORMED),
            ("iat missing", raw("iat", ""), None),
            ("iat ahead, within the skew", raw("iat", &(now + 8).to_string()), None),
            ("iat ahead, beyond the skew", raw("iat", &(now + 60).to_string()), future),
            ("iat a string", raw("iat", "\"0\""), MALFORMED),
            ("iat an object", raw("iat", "{}"), MALFORMED),
        ],
    );
}

fn sizes(world: &World) {
    let key = world.key();
    for (listener, token, limit) in
        [("corbado", session("usr-s"), 8192), ("partner", partner(), 1024)]
    {
        let padded = |bytes: usize| token.clone().claim("pad", "x".repeat(bytes));
        let length = |bytes: usize| padded(bytes).with_signature(key, &[0; 256]).len();
        let most = (0..limit).rev().find(|bytes| length(*bytes) <= limit).unwrap();
        assert!(limit - length(most) <= 1, "base64 skips one length in four");
        check(
            world,
            listener,
            vec![
                ("as large as can be", padded(most).signed_by(key), None),
                ("a byte more", padded(most + 1).signed_by(key), MALFORMED),
                ("much more", padded(40_000).signed_by(key), MALFORMED),
            ],
        );
    }
}

fn issuers(world: &World) {
    let from = |issuer: &str| session("usr-i").claim("iss", issuer).signed_by(world.key());
    let of = |value: Value| session("usr-i").claim("iss", value).signed_by(world.key());
    let mismatch = Some("issuer_mismatch");
    let own = "https://auth.example.com";
    let rows = |own_domain: Option<&'static str>| {
        vec![
            ("the host of today", from(&issuer("frontendapi.cloud.corbado.io")), None),
            ("the host of before", from(&issuer("frontendapi.corbado.io")), None),
            ("the own domain", from(own), own_domain),
            ("another project", from("https://pro-1.frontendapi.cloud.corbado.io"), mismatch),
            ("a trailing slash", from(&format!("{}/", issuer("frontendapi.corbado.io"))), mismatch),
            ("http", from(&format!("http://{PROJECT}.frontendapi.corbado.io")), mismatch),
            ("upper case", from(&issuer("frontendapi.CORBADO.io")), mismatch),
            ("more behind it", from(&issuer("frontendapi.corbado.io.evil.example")), mismatch),
            ("empty", from(""), Some("issuer_empty")),
            ("absent", of(Value::Null), Some("issuer_empty")),
            ("a number", of(json!(1)), Some("issuer_empty")),
            ("a list", of(json!([issuer("frontendapi.corbado.io")])), Some("issuer_empty")),
        ]
    };
    check(world, "corbado", rows(mismatch));
    check(world, "own-domain", rows(None));
}

/// A session is somebody's.
fn subjects(world: &World) {
    let of = |value: Value| session("x").claim("sub", value).signed_by(world.key());
    let no_session = Some("not_a_session");
    check(
        world,
        "corbado",
        vec![
            ("a subject", of(json!("usr-1")), None),
            ("empty", of(json!("")), no_session),
            ("absent", of(Value::Null), no_session),
            ("a number", of(json!(7)), no_session),
            ("a list", of(json!(["usr-1"])), no_session),
        ],
    );
}

/// What only a generic provider can be told.
fn generic_provider(world: &World) {
    let key = world.key();
    let now = unix_now();
    let partner_token = |name: &str, value: Value| partner().claim(name, value).signed_by(key);
    let (audience, lifetime) = (Some("audience_mismatch"), Some("lifetime_too_long"));
    check(
        world,
        "partner",
        vec![
            ("as it should be", partner().signed_by(key), None),
            (
                "the second issuer",
                partner_token("iss", json!("https://other.partner.example")),
                None,
            ),
            (
                "another issuer",
                partner_token("iss", json!("https://x.partner.example")),
                Some("issuer_mismatch"),
            ),
            ("no subject", partner_token("sub", Value::Null), None),
            ("the second audience", partner_token("aud", json!("billing")), None),
            ("one of several audiences", partner_token("aud", json!(["x", "orders"])), None),
            ("another audience", partner_token("aud", json!("shipping")), audience),
            ("audience in another case", partner_token("aud", json!("Orders")), audience),
            ("other audiences", partner_token("aud", json!(["x", "y", 1, null])), audience),
            (
                "an audience that holds ours",
                partner_token("aud", json!("orders billing")),
                audience,
            ),
            ("no audience", partner_token("aud", Value::Null), audience),
            ("an empty list", partner_token("aud", json!([])), audience),
            ("a number", partner_token("aud", json!(1)), audience),
            ("ten minutes", partner_token("exp", json!(now + 500)), None),
            ("more than ten minutes", partner_token("exp", json!(now + 510)), lifetime),
            ("no iat", partner_token("iat", Value::Null), lifetime),
            (
                "typ JWT, not listed",
                partner().header("typ", "JWT").signed_by(key),
                Some("type_not_allowed"),
            ),
            (
                "typ in another case",
                partner().header("typ", "application/AT+JWT").signed_by(key),
                None,
            ),
            ("no clock skew, expired", partner_token("exp", json!(now - 2)), Some("expired")),
            ("no clock skew, early", partner_token("nbf", json!(now + 60)), Some("not_yet_valid")),
            (
                "no clock skew, issued ahead",
                partner_token("iat", json!(now + 60)),
                Some("issued_in_future"),
            ),
            (
                "an algorithm that is listed, but not the key's",
                { partner().signed_by(&key.with_algorithm(Algorithm::RS384)) },
                NOT_ALLOWED,
            ),
            (
                "an algorithm of another kind of key",
                { partner().signed_by(&SigningKey::new(Algorithm::ES256, "k1")) },
                NOT_ALLOWED,
            ),
            (
                "an algorithm that is not listed",
                { partner().signed_by(&key.with_algorithm(Algorithm::RS512)) },
                NOT_ALLOWED,
            ),
        ],
    );
}

/// A verdict for one rule is none for another, cached or not.
fn providers_of_the_rule(world: &World) {
    let (ours, theirs) = (world.session("usr-t"), partner().signed_by(world.key()));
    let mismatch = Some("issuer_mismatch");
    for _ in 0..2 {
        for (path, of_ours, of_theirs) in
            [("/orders", None, None), ("/partner", mismatch, None), ("/corbado", None, mismatch)]
        {
            let rows = vec![("ours", ours.clone(), of_ours), ("theirs", theirs.clone(), of_theirs)];
            check_on(world, "both", path, rows);
        }
    }
}

/// Issued 100 seconds ago.
fn partner() -> Token {
    let now = unix_now();
    Token::new(json!({
        "iss": PARTNER, "sub": "service", "aud": "orders", "iat": now - 100, "exp": now + 300
    }))
    .header("typ", "at+jwt")
}

const PARTNER: &str = "https://id.partner.example";
