//! What rules ask of a valid token: claims, and how long ago the user logged in.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_filter::jwt::base64url;
use session_token_harness::bootstrap::{Listener, Route, WasmFilter};
use session_token_harness::client::Request;
use session_token_harness::token::unix_now;

use crate::extraction::bearer;
use crate::trial;
use crate::world::{World, corbado, session};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "claims::require", require),
        trial(world, "claims::max_auth_age", max_auth_age),
        trial(world, "claims::headers", headers),
    ]
}

/// The listeners that only these tests need: the same configuration as JSON and as a Struct, in
/// which every number is a double.
pub(crate) fn listeners() -> Vec<Listener> {
    let mut provider = corbado();
    provider["auth_time_claim"] = json!(["login", "at"]);
    provider["claim_headers"] = json!([
        {"header": "x-payload", "claim": [], "encoding": "base64url_json"},
        {"header": "x-roles", "claim": "roles", "encoding": "csv"},
        {"header": "x-app", "claim": "app", "encoding": "json"},
        {"header": "x-level", "claim": ["app", "level"]}
    ]);
    let path = |path: &str| json!({"path": {"prefix": path}});
    let configuration = json!({
        "providers": [provider],
        "rules": [
            {"match": path("/roles"), "require": {"claim": "roles", "contains": "admin"}},
            {"match": path("/scope"), "require": {"claim": "scope", "contains_all": ["read", "write"]}},
            {"match": path("/level"), "require": {"claim": ["app", "level"], "equals": 3}},
            {"match": path("/tree"), "require": {"all": [
                {"any": [
                    {"claim": "plan", "one_of": ["pro", "team"]},
                    {"claim": "roles", "contains": "admin"}
                ]},
                {"not": {"claim": "suspended", "equals": true}},
                {"claim": "email", "exists": true}
            ]}},
            {"match": path("/fresh"), "max_auth_age": "1m"},
            {"match": path("/both"), "max_auth_age": "1m",
             "require": {"claim": "roles", "contains": "admin"}}
        ]
    });
    let json = WasmFilter::new().configuration(configuration.clone());
    let as_struct = WasmFilter::new().configuration_struct(configuration);
    [("claims", json), ("claims-struct", as_struct)]
        .into_iter()
        .map(|(name, filter)| {
            Listener::new(name).filter(filter).route(Route::prefix("/").to("app"))
        })
        .collect()
}

/// A session with these claims.
fn token(world: &World, claims: &Value) -> String {
    let claims = claims.as_object().unwrap().iter();
    let token =
        claims.fold(session("usr-r"), |token, (name, value)| token.claim(name, value.clone()));
    token.signed_by(world.key())
}

/// A name, claims, and the status at each path.
type Row<'a> = (&'a str, Value, &'a [(&'a str, u16)]);

/// Each token at each path, three times in a row: what is cached decides nothing.
fn check(world: &World, rows: &[Row<'_>]) {
    for listener in ["claims", "claims-struct"] {
        for (name, claims, paths) in rows {
            let token = token(world, claims);
            for round in 0..3 {
                for (path, status) in *paths {
                    for (source, value) in [
                        ("authorization", bearer(&token)),
                        ("cookie", format!("cbo_session_token={token}")),
                    ] {
                        let request = Request::get(path).header(source, value);
                        let (exchange, received) = world.send(listener, request);
                        let reason = match status {
                            401 => json!("stale_session"),
                            403 => json!("insufficient_claims"),
                            _ => Value::Null,
                        };
                        let what = format!("{status}: {name}, {path}, {listener}, round {round}");
                        exchange.expect(&what, |response| {
                            response.status == *status && response.json()["reason"] == reason
                        });
                        assert_eq!(received.is_some(), *status == 200, "{what}");
                    }
                }
            }
        }
    }
}

fn require(world: &World) {
    check(
        world,
        &[
            (
                "nothing",
                json!({}),
                &[("/", 200), ("/roles", 403), ("/scope", 403), ("/level", 403), ("/tree", 403)],
            ),
            (
                "all",
                json!({
                    "roles": ["user", "admin"], "scope": "write openid read",
                    "app": {"level": 3}, "plan": "pro", "email": "a@a.example",
                }),
                &[("/", 200), ("/roles", 200), ("/scope", 200), ("/level", 200), ("/tree", 200)],
            ),
            (
                "nearly",
                json!({
                    "roles": ["administrator", "Admin"], "scope": "read writer",
                    "app.level": 3, "plan": "Pro", "email": null,
                }),
                &[("/", 200), ("/roles", 403), ("/scope", 403), ("/level", 403), ("/tree", 403)],
            ),
            ("a text of roles", json!({"roles": "user admin"}), &[("/roles", 200)]),
            ("one scope", json!({"scope": "read"}), &[("/scope", 403)]),
            ("a double", json!({"app": {"level": 3.0}}), &[("/level", 200)]),
            ("a text", json!({"app": {"level": "3"}}), &[("/level", 403)]),
            (
                "another spelling",
                json!({}),
                &[("/ROLES", 403), ("/roles/", 403), ("/%72oles", 403)],
            ),
            (
                "suspended",
                json!({"plan": "team", "email": "e", "suspended": true}),
                &[("/tree", 403)],
            ),
            (
                "not suspended",
                json!({"plan": "team", "email": "e", "suspended": false}),
                &[("/tree", 200)],
            ),
        ],
    );
}

fn max_auth_age(world: &World) {
    let now = unix_now();
    let login = |at: Value| json!({"login": {"at": at}});
    check(
        world,
        &[
            ("now", login(json!(now)), &[("/", 200), ("/fresh", 200), ("/both", 403)]),
            (
                "an hour ago",
                login(json!(now - 3_600)),
                &[("/", 200), ("/fresh", 401), ("/both", 401)],
            ),
            ("in an hour", login(json!(now + 3_600)), &[("/", 200), ("/fresh", 401)]),
            ("a text", login(json!(now.to_string())), &[("/", 200), ("/fresh", 401)]),
            ("elsewhere", json!({"auth_time": now, "iat": now}), &[("/", 200), ("/fresh", 401)]),
            (
                "now, an admin",
                json!({"login": {"at": now}, "roles": ["admin"]}),
                &[("/fresh", 200), ("/both", 200), ("/roles", 200)],
            ),
            (
                "an hour ago, an admin",
                json!({"login": {"at": now - 3_600}, "roles": ["admin"]}),
                &[("/both", 401), ("/roles", 200), ("/both", 401)],
            ),
        ],
    );
}

/// Backends get claims in every encoding, the whole payload among them.
fn headers(world: &World) {
    let claims = json!({"roles": ["a", "b"], "app": {"level": 3, "name": "J\u{fc}rgen"}});
    let token = token(world, &claims);
    let payload = |text: &str| -> Value {
        let json = base64url::decode(text.as_bytes()).unwrap();
        assert!(json.is_ascii(), "{}", json.escape_ascii());
        serde_json::from_slice(&json).unwrap()
    };
    for round in ["first", "cached"] {
        let request = Request::get("/orders").header("authorization", bearer(&token));
        let (exchange, received) = world.send("claims", request.header("x-payload", "forged"));
        let received = received.unwrap_or_else(|| exchange.fail(round));
        let header = |name: &str| received.headers.text(name).unwrap_or_default();
        assert_eq!(header("x-roles"), "a,b", "{round}");
        assert_eq!(header("x-app"), r#"{"level":3,"name":"J\u00fcrgen"}"#, "{round}");
        assert_eq!(header("x-level"), "3", "{round}");
        let whole = payload(&header("x-payload"));
        assert_eq!(whole["app"], claims["app"], "{round}");
        assert_eq!(whole["sub"], "usr-r", "{round}");
        let signed = base64url::decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
        assert_eq!(whole, serde_json::from_slice::<Value>(&signed).unwrap(), "{round}");
    }
}
