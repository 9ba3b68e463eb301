//! Every reason of a refusal, and all that is told of it: answer, challenge, access log, metric, log
//! line.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_filter::reason::Reason;
use session_token_harness::answer::Answer;
use session_token_harness::bootstrap::Cluster;
use session_token_harness::client::{Client, Request};
use session_token_harness::envoy::{Envoy, EnvoyOptions};
use session_token_harness::key_server::KeyServer;
use session_token_harness::keys::{Algorithm, SigningKey, jwks};
use session_token_harness::token::{Token, tampered, unix_now};

use crate::answers::{COUNTER, own_lines, provider, start};
use crate::extraction::bearer;
use crate::trial;
use crate::world::{World, corbado, listener, session};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![trial(world, "reasons::every_reason", every_reason)]
}

/// One reason, and all that is told of it.
struct Row {
    reason: &'static str,
    status: u16,
    title: &'static str,
    /// What the challenge says after the realm.
    error: Option<String>,
    /// The body, where it is not the one of everybody else.
    vendor: Option<&'static str>,
    request: Request,
    method: &'static str,
    path: &'static str,
    /// What the log line says between `reason=` and `method=`.
    origin: String,
}

/// In an Envoy of its own, so that counters are exact, at the log level that operators use.
fn every_reason(world: &World) {
    let key = SigningKey::new(Algorithm::RS256, "k1");
    let key_server = KeyServer::start(&jwks(&[]));
    key_server.answer_with(Answer::status(500));
    let rows = rows(&key);
    // At most ten lines a second are logged, for each configuration.
    let listeners = rows.len().div_ceil(LINES_A_SECOND);
    let mut bootstrap = world.backends().cluster(Cluster::new("down", key_server.address()));
    for number in 0..listeners {
        let configuration = all_reasons_possible(&key, &format!("realm {number}"));
        bootstrap = bootstrap.listener(listener(&number.to_string(), configuration));
    }
    let envoy = start(EnvoyOptions::new(world.binary(), bootstrap));
    let before = world.app().count();
    for (number, rows) in rows.chunks(LINES_A_SECOND).enumerate() {
        let client = envoy.client(&number.to_string());
        for row in rows {
            check_answer(&client, row, number);
        }
    }
    for row in &rows {
        check_records(&envoy, row);
    }
    let denied: u64 = denials(&envoy).values().sum();
    assert_eq!(usize::try_from(denied).unwrap(), rows.len(), "all denials are counted, once");
    let mut told: Vec<_> = rows.iter().map(|row| row.reason).collect();
    // Takes a flood: `overloaded`.
    told.push(Reason::Overloaded.word());
    let missing: Vec<_> = Reason::ALL.iter().filter(|one| !told.contains(&one.word())).collect();
    assert!(missing.is_empty(), "reasons without a row: {missing:?}");
    let case_less = world.app().requests().into_iter().skip(before);
    let leaked = case_less.filter(|request| request.path.contains(QUERY_MARK)).count();
    assert_eq!(leaked, 0, "requests reached the backend");
    check_prometheus(&envoy);
    assert!(!envoy.log().contains(QUERY_MARK), "a query was logged");
    world.retire(envoy);
}

fn all_reasons_possible(key: &SigningKey, realm: &str) -> Value {
    let inline = json!({"inline": jwks(&[key])});
    let mut session = corbado();
    session["jwks"] = inline.clone();
    let mut partner = provider("partner", inline);
    partner["audiences"] = json!(["orders"]);
    partner["max_lifetime"] = json!("10m");
    partner["on_conflict"] = json!("reject");
    partner["sources"] = json!([
        {"header": {"name": "authorization", "scheme": "Bearer"}},
        {"cookie": {"name": "partner_session"}}
    ]);
    let down = provider(
        "down",
        json!({"remote": {
            "uri": "https://down.example/jwks", "cluster": "down", "timeout": "100ms"
        }}),
    );
    let app = json!({
        "name": "app",
        "preset": {"supertokens": {
            "api_domain": API, "signing_keys": "any", "anti_csrf": "custom_header"
        }},
        "jwks": {"inline": jwks(&[key])}
    });
    let writes = json!({"claim": "scope", "contains_all": ["orders:read", "orders:write"]});
    json!({
        "providers": [session, partner, down, app],
        "default": {"providers": ["corbado", "partner", "down"]},
        "rules": [
            {"name": "admin", "match": {"path": {"prefix": "/admin"}}, "access": "denied"},
            {"match": {"path": {"prefix": "/partner"}}, "providers": ["partner"]},
            {"name": "down", "match": {"path": {"prefix": "/down"}}, "providers": ["down"]},
            {"name": "fresh", "match": {"path": {"prefix": "/fresh"}}, "providers": ["partner"],
             "max_auth_age": "5m"},
            {"name": "write", "match": {"path": {"prefix": "/write"}}, "require": writes},
            {"name": "app", "match": {"path": {"prefix": "/app"}}, "providers": ["app"]}
        ],
        "responses": {"realm": realm}
    })
}

fn rows(key: &SigningKey) -> Vec<Row> {
    let now = unix_now();
    let t = session("usr-t").signed_by(key);
    let session = || session("usr-r");
    let partner =
        || session().claim("iss", "https://partner.example").claim("aud", "orders").claim("nbf", 0);
    let unauthorized = |reason, description, request| Row {
        reason,
        status: 401,
        title: "Unauthorized",
        error: Some(format!("error=\"invalid_token\", error_description=\"{description}\"")),
        vendor: None,
        request,
        method: "GET",
        path: "/orders",
        origin: "rule=default provider=corbado kid=k1".to_owned(),
    };
    let header = |token: &str| Request::get(ORDERS).header("authorization", bearer(token));
    let bad =
        |reason, description, token: String| unauthorized(reason, description, header(&token));
    let unclaimed = |row: Row| Row { origin: "rule=default".into(), ..row };
    let to_partner = |reason, description, request| Row {
        path: "/partner",
        origin: "rule=rules[1] provider=partner kid=k1".into(),
        ..unauthorized(reason, description, request)
    };
    let plain = |reason, status, title, request| Row {
        reason,
        status,
        title,
        error: None,
        vendor: None,
        request,
        method: "GET",
        path: "/orders",
        origin: String::new(),
    };
    let partner_header = |token: &str| Request::get(PARTNER).header("authorization", bearer(token));
    let two_sources = partner_header(&partner().signed_by(key))
        .header("cookie", format!("partner_session={}", partner().claim("n", 1).signed_by(key)));
    let lacking = |error: &str, row: Row| Row { error: Some(error.to_owned()), ..row };
    let of_app = |reason, method, cookies: &str| Row {
        vendor: Some(TRY_REFRESH),
        method,
        path: "/app",
        origin: "rule=app provider=app".into(),
        ..plain(reason, 401, "Unauthorized", {
            let token = Token::supertokens(&format!("{API}/auth"), "usr-a").signed_by(key);
            let cookies = format!("sAccessToken={token}{cookies}");
            Request::new(method, format!("/app?{QUERY_MARK}")).header("cookie", cookies)
        })
    };
    vec![
        Row {
            origin: "rule=default".into(),
            ..plain("missing", 401, "Unauthorized", Request::get(ORDERS))
        },
        unclaimed(bad("malformed", "The token is malformed", "x.y.z".into())),
        Row {
            origin: "rule=default provider=corbado".into(),
            ..bad("algorithm_not_allowed", "The token's algorithm is not allowed", {
                session().unsigned()
            })
        },
        Row {
            origin: "rule=default provider=corbado kid=k\\x202".into(),
            ..bad("unknown_key", "The token's key is unknown", {
                session().signed_by(&key.with_kid("k 2"))
            })
        },
        bad("bad_signature", "The token's signature is wrong", tampered(&t)),
        bad("type_not_allowed", "The token's type is not allowed", {
            session().header("typ", "dpop+jwt").signed_by(key)
        }),
        bad("expired", "The token has expired", session().claim("exp", now - 60).signed_by(key)),
        bad("not_yet_valid", "The token is not valid yet", {
            session().claim("nbf", now + 60).signed_by(key)
        }),
        bad("issued_in_future", "The token was issued in the future", {
            session().claim("iat", now + 60).signed_by(key)
        }),
        to_partner("lifetime_too_long", "The token lives too long", {
            partner_header(&partner().claim("exp", now + 700).signed_by(key))
        }),
        bad("no_expiry", "The token does not expire", {
            session().claim("exp", Value::Null).signed_by(key)
        }),
        unclaimed(bad("issuer_empty", "The token has no issuer", {
            session().claim("iss", "").signed_by(key)
        })),
        unclaimed(bad("issuer_mismatch", "The token's issuer is not trusted here", {
            session().claim("iss", "https://id.example").signed_by(key)
        })),
        to_partner("audience_mismatch", "The token is for another audience", {
            partner_header(&partner().claim("aud", "billing").signed_by(key))
        }),
        bad("not_a_session", "The token is not a session", {
            session().claim("sub", "").signed_by(key)
        }),
        lacking(
            STALE,
            Row {
                path: "/fresh",
                origin: "rule=fresh provider=partner kid=k1".into(),
                ..plain("stale_session", 401, "Unauthorized", {
                    let token = partner().claim("auth_time", now - 400).signed_by(key);
                    Request::get(format!("/fresh?{QUERY_MARK}"))
                        .header("authorization", bearer(&token))
                })
            },
        ),
        unclaimed(unauthorized("multiple_credentials", "There are several credentials", {
            header(&t).header("authorization", bearer(&t))
        })),
        Row {
            origin: "rule=rules[1]".into(),
            ..to_partner("conflicting_credentials", "Two credentials differ", two_sources)
        },
        unclaimed(unauthorized("duplicate_cookie", "Two session cookies differ", {
            let twins = format!("cbo_session_token={t}; cbo_session_token=x");
            Request::get(ORDERS).header("cookie", twins)
        })),
        of_app("legacy_session", "GET", "; sIdRefreshToken="),
        of_app("anti_csrf", "PUT", ""),
        Row {
            method: "POST",
            origin: "rule=default provider=corbado".into(),
            ..plain("cross_site", 403, "Forbidden", {
                let cookie = format!("cbo_session_token={t}");
                let request = Request::post(ORDERS, "x").header("cookie", cookie);
                request.header("origin", "https://evil.example")
            })
        },
        lacking(
            INSUFFICIENT,
            Row {
                path: "/write",
                origin: "rule=write provider=corbado kid=k1".into(),
                ..plain("insufficient_claims", 403, "Forbidden", {
                    let token = session().claim("scope", "orders:read profile").signed_by(key);
                    Request::get(format!("/write?{QUERY_MARK}"))
                        .header("authorization", bearer(&token))
                })
            },
        ),
        Row {
            path: "/ADMIN/x",
            origin: "rule=admin".into(),
            ..plain("denied_by_rule", 403, "Forbidden", {
                Request::get(format!("/ADMIN/x?{QUERY_MARK}"))
            })
        },
        Row {
            path: "/down",
            origin: "rule=down provider=down kid=k1".into(),
            ..plain("keys_unavailable", 503, "Service Unavailable", {
                let token = session().claim("iss", "https://down.example").signed_by(key);
                Request::get(format!("/down?{QUERY_MARK}")).header("authorization", bearer(&token))
            })
        },
        plain("malformed_request", 400, "Bad Request", {
            Request::get(ORDERS).header("host", "u@www.example.com")
        }),
        Row {
            path: "/a;x=\\\"1\\\"",
            ..plain("ambiguous_path", 400, "Bad Request", {
                Request::get(format!("/a;x=\"1\"?{QUERY_MARK}"))
            })
        },
        Row {
            method: "TRACE",
            ..plain("method_not_allowed", 405, "Method Not Allowed", Request::new("TRACE", ORDERS))
        },
    ]
}

fn check_answer(client: &Client, row: &Row, number: usize) {
    let exchange = client.send(row.request.clone());
    let Row { reason, status, title, error, vendor, .. } = row;
    let plain = json!({"type": "about:blank", "title": title, "status": status, "reason": reason});
    let response = exchange.expect(&format!("{status} {reason}"), |response| {
        response.status == *status
            && match vendor {
                Some(body) => response.text() == *body,
                None => response.json() == plain,
            }
    });
    let challenge = format!("Bearer realm=\"realm {number}\"");
    let challenge = match (status, error) {
        (401 | 403, Some(error)) => Some(format!("{challenge}, {error}")),
        (401 | 403, None) => Some(challenge),
        _ => None,
    };
    let header = |name| response.headers.text(name);
    assert_eq!(header("www-authenticate"), challenge, "{reason}");
    let json = if vendor.is_some() { "application/json" } else { "application/problem+json" };
    assert_eq!(header("content-type").as_deref(), Some(json), "{reason}");
    assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{reason}");
    assert_eq!(header("vary"), None, "{reason}: no cors_origins");
    let seconds = header("retry-after").map(|seconds| seconds.parse::<u64>().unwrap());
    assert_eq!(seconds.is_some(), *status == 503, "{reason}");
    assert!(seconds.is_none_or(|seconds| (1..=60).contains(&seconds)), "{reason}: {seconds:?}");
    assert_eq!(header("allow").is_some(), *status == 405, "{reason}");
}

fn check_records(envoy: &Envoy, row: &Row) {
    let Row { reason, status, method, path, origin, .. } = row;
    let counter = format!("{COUNTER}{reason}");
    let value = envoy.wait_for_stat(&counter, |value| value > 0);
    assert_eq!(value.unwrap_or_else(|error| panic!("{error}")), 1, "{counter}");
    let accessed = format!("{method} HTTP/1.1 {status} session_token_denied{{{reason}}} ");
    envoy.wait_for_access_log(&accessed).unwrap_or_else(|error| panic!("{error}"));
    let line =
        own_lines(envoy).into_iter().find(|line| line.starts_with(&format!("reason={reason} ")));
    let separator = if origin.is_empty() { "" } else { " " };
    let expected = format!("reason={reason} {origin}{separator}method={method} path={path}");
    assert_eq!(line, Some(expected));
}

fn check_prometheus(envoy: &Envoy) {
    let response = envoy.admin_get("/stats/prometheus").unwrap_or_else(|error| panic!("{error}"));
    let text = response.text();
    let is_there = text.lines().any(|line| line == "session_token_denied_expired{} 1");
    let ours = || text.lines().filter(|line| line.contains("session_token")).collect::<Vec<_>>();
    assert!(is_there, "{:#?}", ours());
}

/// The counters of denials that are not zero, by reason.
fn denials(envoy: &Envoy) -> std::collections::BTreeMap<String, u64> {
    let stats = envoy.stats().unwrap_or_else(|error| panic!("{error}"));
    stats
        .into_iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(COUNTER)?.to_owned(), value)))
        .filter(|(_, value)| *value > 0)
        .collect()
}

const LINES_A_SECOND: usize = 10;
/// Stands in every query.
const QUERY_MARK: &str = "QUERY-TO-KEEP";
const ORDERS: &str = "/orders?QUERY-TO-KEEP";
const PARTNER: &str = "/partner?QUERY-TO-KEEP";
/// Where the app's sessions come from.
const API: &str = "https://api.example.com";
const TRY_REFRESH: &str = r#"{"message":"try refresh token"}"#;
const STALE: &str = "error=\"insufficient_user_authentication\", \
                     error_description=\"The last login is too long ago\", max_age=\"300\"";
const INSUFFICIENT: &str = "error=\"insufficient_scope\", \
                            error_description=\"The token's claims do not suffice\", \
                            scope=\"orders:read orders:write\"";
