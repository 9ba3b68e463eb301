//! The extraction table: which credential counts, and the exact bytes that the backend receives.

use std::sync::Arc;

use libtest_mimic::Trial;
use session_token_harness::client::Request;
use session_token_harness::keys::{Algorithm, SigningKey};
use session_token_harness::token::{tampered, unix_now};

use crate::trial;
use crate::world::{World, cookies_around, session};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "extraction::header_and_cookie", header_and_cookie),
        trial(world, "extraction::conflicts", conflicts),
        trial(world, "extraction::duplicates", duplicates),
        trial(world, "extraction::cookie_forms", cookie_forms),
        trial(world, "extraction::optional", optional),
        trial(world, "extraction::bearers_that_no_source_reads", bearers_that_no_source_reads),
        trial(world, "extraction::schemes_behind_odd_bytes", schemes_behind_odd_bytes),
        trial(world, "extraction::lookalikes", lookalikes),
        trial(world, "extraction::aliases_of_a_source_header", aliases_of_a_source_header),
    ]
}

/// One row: what is sent, and what must come of it.
struct Row<'a> {
    name: &'a str,
    path: &'a str,
    headers: Vec<(&'a str, Vec<u8>)>,
    expected: Expected,
}

/// What must come of a request.
enum Expected {
    /// The backend receives these values under `authorization` and these `cookie` lines.
    Allowed { authorization: Vec<String>, cookies: Vec<Vec<u8>> },
    /// The answer is this reason's, and the backend receives nothing.
    Denied(u16, &'static str),
}

fn allowed(authorization: &[&str], cookies: &[&str]) -> Expected {
    Expected::Allowed {
        authorization: authorization.iter().map(|value| (*value).to_owned()).collect(),
        cookies: cookies.iter().map(|line| line.as_bytes().to_vec()).collect(),
    }
}

fn row<'a>(name: &'a str, headers: &[(&'a str, &str)], expected: Expected) -> Row<'a> {
    let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect();
    Row { name, path: "/orders", headers, expected }
}

fn on<'a>(path: &'a str, row: Row<'a>) -> Row<'a> {
    Row { path, ..row }
}

fn check(world: &World, configuration: &str, rows: Vec<Row<'_>>) {
    for Row { name, path, headers, expected } in rows {
        let request = headers
            .into_iter()
            .fold(Request::get(path), |request, (name, value)| request.header(name, value));
        let (exchange, received) = world.send(configuration, request);
        match (expected, received) {
            (Expected::Allowed { authorization, cookies }, Some(received)) => {
                exchange.expect_status(200);
                let values = |name| -> Vec<Vec<u8>> {
                    received.headers.all(name).into_iter().map(<[u8]>::to_vec).collect()
                };
                let as_bytes: Vec<_> = authorization.into_iter().map(String::into_bytes).collect();
                if values("authorization") != as_bytes || values("cookie") != cookies {
                    let raw = received.raw_head.escape_ascii();
                    exchange.fail(&format!("{name}: other bytes than\n{raw}"));
                }
            }
            (Expected::Denied(status, reason), None) => {
                exchange.expect(&format!("{name}: {status} {reason}"), |response| {
                    response.status == status && response.json()["reason"] == reason
                });
            }
            (Expected::Allowed { .. }, None) => exchange.fail(&format!("{name}: to be allowed")),
            (Expected::Denied(..), Some(_)) => exchange.fail(&format!("{name}: to be denied")),
        }
    }
}

/// Tokens by the table's letters: `T` and `U` ours and valid, `X` ours but bad, `F` foreign.
pub(crate) struct Letters {
    pub(crate) t: String,
    pub(crate) u: String,
    pub(crate) forged: String,
    pub(crate) expired: String,
    pub(crate) foreign: String,
}

impl Letters {
    pub(crate) fn new(world: &World) -> Self {
        let other_issuer = SigningKey::new(Algorithm::RS256, "other");
        Self {
            t: world.session("usr-t"),
            u: world.session("usr-u"),
            forged: tampered(&world.session("usr-x")),
            expired: session("usr-x").claim("exp", unix_now() - 100).signed_by(world.key()),
            foreign: session("usr-f").claim("iss", "https://id.example").signed_by(&other_issuer),
        }
    }
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn header_and_cookie(world: &World) {
    let Letters { t, u, forged, expired, foreign } = Letters::new(world);
    let (b, cookie) = (bearer(&t), cookies_around(&t));
    let rest = "a=COOKIE-VALUE-TO-KEEP; b=2";
    let only_cookie = format!("cbo_session_token={t}");
    check(
        world,
        "corbado",
        vec![
            row("– –", &[], Expected::Denied(401, "missing")),
            row("– other cookies", &[("cookie", rest)], Expected::Denied(401, "missing")),
            row("T –", &[("authorization", &b)], allowed(&[&b], &[])),
            row("T – in lower case", &[("authorization", &format!("bearer  {t}"))], {
                allowed(&[&b], &[])
            }),
            row("– T", &[("cookie", &cookie)], allowed(&[&b], &[rest])),
            row("– T alone", &[("cookie", &only_cookie)], allowed(&[&b], &[])),
            row("– T in the old cookie", &[("cookie", &format!("cbo_short_session={t}"))], {
                allowed(&[&b], &[])
            }),
            row("T T", &[("authorization", &b), ("cookie", &cookie)], allowed(&[&b], &[rest])),
            row("T U", &[("authorization", &b), ("cookie", &cookies_around(&u))], {
                allowed(&[&b], &[rest])
            }),
            row("X T, forged", &[("authorization", &bearer(&forged)), ("cookie", &cookie)], {
                Expected::Denied(401, "bad_signature")
            }),
            row("X T, expired", &[("authorization", &bearer(&expired)), ("cookie", &cookie)], {
                Expected::Denied(401, "expired")
            }),
            row("T X", &[("authorization", &b), ("cookie", &cookies_around(&forged))], {
                allowed(&[&b], &[rest])
            }),
            row("F T", &[("authorization", &bearer(&foreign)), ("cookie", &cookie)], {
                allowed(&[&b], &[rest])
            }),
            row("F T, opaque", &[("authorization", "Bearer opaque"), ("cookie", &cookie)], {
                allowed(&[&b], &[rest])
            }),
            row("F –", &[("authorization", &bearer(&foreign))], {
                Expected::Denied(401, "issuer_mismatch")
            }),
            row("F –, opaque", &[("authorization", "Bearer opaque")], {
                Expected::Denied(401, "malformed")
            }),
            row("Basic –", &[("authorization", "Basic dTpw")], Expected::Denied(401, "missing")),
            row("Basic T", &[("authorization", "Basic dTpw"), ("cookie", &cookie)], {
                allowed(&[&b], &[rest])
            }),
            row("two lines", &[("authorization", &b), ("authorization", &bearer(&u))], {
                Expected::Denied(401, "multiple_credentials")
            }),
            row("two in one line", &[("authorization", &format!("{b},{b}"))], {
                Expected::Denied(401, "multiple_credentials")
            }),
            row(
                "Basic, then Bearer, and a cookie",
                &[("authorization", "Basic dTpw"), ("authorization", &b), ("cookie", &cookie)],
                Expected::Denied(401, "multiple_credentials"),
            ),
            row("X in a cookie", &[("cookie", &cookies_around(&forged))], {
                Expected::Denied(401, "bad_signature")
            }),
            row("F in a cookie", &[("cookie", &cookies_around(&foreign))], {
                Expected::Denied(401, "issuer_mismatch")
            }),
        ],
    );
}

fn conflicts(world: &World) {
    let Letters { t, u, forged, foreign, .. } = Letters::new(world);
    let (b, rest) = (bearer(&t), "a=COOKIE-VALUE-TO-KEEP; b=2");
    check(
        world,
        "reject",
        vec![
            row("T T", &[("authorization", &b), ("cookie", &cookies_around(&t))], {
                allowed(&[&b], &[rest])
            }),
            row("T U", &[("authorization", &b), ("cookie", &cookies_around(&u))], {
                Expected::Denied(401, "conflicting_credentials")
            }),
            row("T X", &[("authorization", &b), ("cookie", &cookies_around(&forged))], {
                Expected::Denied(401, "conflicting_credentials")
            }),
            row("F T", &[("authorization", &bearer(&foreign)), ("cookie", &cookies_around(&t))], {
                allowed(&[&b], &[rest])
            }),
            row("T F", &[("authorization", &b), ("cookie", &cookies_around(&foreign))], {
                allowed(&[&b], &[rest])
            }),
            row(
                "T and two names",
                &[("cookie", &format!("cbo_session_token={t}; cbo_short_session={u}"))],
                Expected::Denied(401, "conflicting_credentials"),
            ),
        ],
    );
}

fn duplicates(world: &World) {
    let Letters { t, u, forged, expired, .. } = Letters::new(world);
    let b = bearer(&t);
    let name = "cbo_session_token";
    let twins = |values: &[&str]| {
        let pairs: Vec<_> = values.iter().map(|value| format!("{name}={value}")).collect();
        pairs.join("; ")
    };
    check(
        world,
        "corbado",
        vec![
            row("same bytes", &[("cookie", &twins(&[&t, &t]))], allowed(&[&b], &[])),
            row("same bytes, quoted", &[("cookie", &twins(&[&t, &format!("\"{t}\"")]))], {
                allowed(&[&b], &[])
            }),
            row(
                "same bytes, two lines",
                &[("cookie", &twins(&[&t])), ("cookie", &format!("a=1; {name}={t}"))],
                allowed(&[&b], &["a=1"]),
            ),
            row("different bytes", &[("cookie", &twins(&[&t, &u]))], {
                Expected::Denied(401, "duplicate_cookie")
            }),
            row(
                "different bytes, two lines",
                &[("cookie", &twins(&[&t])), ("cookie", &twins(&[&u]))],
                Expected::Denied(401, "duplicate_cookie"),
            ),
            row("one is garbage", &[("cookie", &twins(&[&t, "x"]))], {
                Expected::Denied(401, "duplicate_cookie")
            }),
            row("one is empty", &[("cookie", &twins(&["", &t]))], allowed(&[&b], &[])),
        ],
    );
    let older = session("usr-t").claim("iat", unix_now() - 60).signed_by(world.key());
    let numbered = |number: u64| session("usr-t").claim("n", number).signed_by(world.key());
    let five: Vec<_> = (0..5).map(numbered).collect();
    check(
        world,
        "newest",
        vec![
            row("newest wins", &[("cookie", &twins(&[&older, &t]))], allowed(&[&b], &[])),
            row("newest first", &[("cookie", &twins(&[&t, &older]))], allowed(&[&b], &[])),
            row("bad ones don't count", &[("cookie", &twins(&[&forged, "x", &expired, &t]))], {
                allowed(&[&b], &[])
            }),
            row("another subject", &[("cookie", &twins(&[&t, &u]))], {
                Expected::Denied(401, "duplicate_cookie")
            }),
            row("none verifies", &[("cookie", &twins(&[&expired, &forged]))], {
                Expected::Denied(401, "expired")
            }),
            row(
                "a fifth value",
                &[("cookie", &twins(&five.iter().map(String::as_str).collect::<Vec<_>>()))],
                Expected::Denied(401, "duplicate_cookie"),
            ),
        ],
    );
}

fn cookie_forms(world: &World) {
    let Letters { t, .. } = Letters::new(world);
    let b = bearer(&t);
    let encoded = t.replace('.', "%2E");
    let name = "cbo_session_token";
    let bytes = |name, line: Vec<u8>, expected| Row {
        name,
        path: "/orders",
        headers: vec![("cookie", line)],
        expected,
    };
    let line = |parts: &[&[u8]]| parts.concat();
    check(
        world,
        "corbado",
        vec![
            row("quoted", &[("cookie", &format!("{name}=\"{t}\""))], allowed(&[&b], &[])),
            row(
                "percent-encoded",
                &[("cookie", &format!("{name}={encoded}"))],
                allowed(&[&b], &[]),
            ),
            row(
                "without =",
                &[("cookie", &format!("{name}; a=1"))],
                Expected::Denied(401, "missing"),
            ),
            row("empty", &[("cookie", &format!("{name}=; a=1"))], Expected::Denied(401, "missing")),
            row(
                "without =, beside a bearer",
                &[("authorization", &b), ("cookie", &format!("{name}; a=1"))],
                allowed(&[&b], &["a=1"]),
            ),
            row(
                "empty, beside a bearer",
                &[("authorization", &b), ("cookie", &format!("a=1; {name}=; b=2"))],
                allowed(&[&b], &["a=1; b=2"]),
            ),
            row("another case", &[("cookie", &format!("CBO_session_token={t}"))], {
                Expected::Denied(401, "missing")
            }),
            row("a longer name", &[("cookie", &format!("{name}X={t}; __Host-{name}={t}"))], {
                Expected::Denied(401, "missing")
            }),
            row(
                "the refresh cookie",
                &[("cookie", &format!("cbo_refresh_token=r; {name}={t}; cbo_long_session=l; a=1"))],
                allowed(&[&b], &["a=1"]),
            ),
            row(
                "spaces and empty segments",
                &[("cookie", &format!("a=1;;{name} = {t} ;  b=2"))],
                allowed(&[&b], &["a=1;;  b=2"]),
            ),
            row(
                "three lines stay three",
                &[
                    ("cookie", "a=1; b=2"),
                    ("cookie", &format!("{name}={t};   c=3")),
                    ("cookie", "d=4;"),
                ],
                allowed(&[&b], &["a=1; b=2", "c=3", "d=4;"]),
            ),
            bytes(
                "other cookies are no text",
                line(&[b"\xff\xfe=\xff; ", name.as_bytes(), b"=", t.as_bytes(), b"; c=\"\xc3\""]),
                {
                    Expected::Allowed {
                        authorization: vec![b.clone()],
                        cookies: vec![b"\xff\xfe=\xff; c=\"\xc3\"".to_vec()],
                    }
                },
            ),
            bytes("our cookie is no text", line(&[name.as_bytes(), b"=\xff\xfe"]), {
                Expected::Denied(401, "malformed")
            }),
            row("and the next request works", &[("authorization", &b)], allowed(&[&b], &[])),
        ],
    );
}

fn optional(world: &World) {
    let Letters { t, forged, foreign, .. } = Letters::new(world);
    let (b, f) = (bearer(&t), bearer(&foreign));
    let unsigned = bearer(&session("admin").unsigned());
    let optional = |row| on("/optional/x", row);
    let keeps_foreign = |row| on("/optional-foreign/x", row);
    check(
        world,
        "corbado",
        vec![
            optional(row("– –", &[], allowed(&[], &[]))),
            optional(row(
                "– other cookies",
                &[("cookie", "a=1; b=2")],
                allowed(&[], &["a=1; b=2"]),
            )),
            optional(row("T –", &[("authorization", &b)], allowed(&[&b], &[]))),
            optional(row("– T", &[("cookie", &cookies_around(&t))], {
                allowed(&[&b], &["a=COOKIE-VALUE-TO-KEEP; b=2"])
            })),
            optional(row("X –", &[("authorization", &bearer(&forged))], {
                Expected::Denied(401, "bad_signature")
            })),
            optional(row("– X", &[("cookie", &cookies_around(&forged))], {
                Expected::Denied(401, "bad_signature")
            })),
            optional(row("alg none", &[("authorization", &unsigned)], {
                Expected::Denied(401, "algorithm_not_allowed")
            })),
            optional(row("F –", &[("authorization", &f)], allowed(&[], &[]))),
            optional(row("F –, opaque", &[("authorization", "Bearer opaque")], allowed(&[], &[]))),
            optional(row(
                "Basic –",
                &[("authorization", "Basic dTpw")],
                allowed(&["Basic dTpw"], &[]),
            )),
            optional(row("an empty cookie", &[("cookie", "a=1; cbo_session_token=")], {
                allowed(&[], &["a=1"])
            })),
            keeps_foreign(row("F –", &[("authorization", &f)], allowed(&[&f], &[]))),
            keeps_foreign(row("X –", &[("authorization", &bearer(&forged))], {
                Expected::Denied(401, "bad_signature")
            })),
            keeps_foreign(row("T –", &[("authorization", &b)], allowed(&[&b], &[]))),
        ],
    );
}

/// Backends trust `Authorization: Bearer` wherever the sources are.
fn bearers_that_no_source_reads(world: &World) {
    let t = world.session("usr-t");
    let b = bearer(&t);
    let unsigned = bearer(&session("admin").unsigned());
    let joined = format!("Basic dTpw,{unsigned}");
    let cookie = format!("cbo_session_token={t}");
    check(
        world,
        "cookie",
        vec![
            on("/optional/x", row("no cookie", &[("authorization", &unsigned)], allowed(&[], &[]))),
            on("/optional/x", row("joined", &[("authorization", &joined)], allowed(&[], &[]))),
            on(
                "/optional/x",
                row("Basic", &[("authorization", "Basic dTpw")], allowed(&["Basic dTpw"], &[])),
            ),
            on(
                "/optional-foreign/x",
                row("kept on demand", &[("authorization", "Bearer opaque")], {
                    allowed(&["Bearer opaque"], &[])
                }),
            ),
            on(
                "/verify-only/x",
                row("beside a cookie", &[("authorization", &unsigned), ("cookie", &cookie)], {
                    allowed(&[], &[&cookie])
                }),
            ),
            on(
                "/verify-only/x",
                row("the cookie's own", &[("authorization", &b), ("cookie", &cookie)], {
                    allowed(&[&b], &[&cookie])
                }),
            ),
            on(
                "/strip/x",
                row("stripped", &[("authorization", &unsigned), ("cookie", &cookie)], {
                    allowed(&[], &[])
                }),
            ),
            row("required", &[("authorization", &unsigned), ("cookie", &cookie)], {
                allowed(&[&b], &[])
            }),
            row("required, no cookie", &[("authorization", &b)], {
                Expected::Denied(401, "missing")
            }),
        ],
    );
    let preflight = Request::new("OPTIONS", "/orders")
        .header("origin", "https://www.example.com")
        .header("access-control-request-method", "PUT")
        .header("authorization", &unsigned);
    let (exchange, received) = world.send("cookie", preflight);
    exchange.expect_status(200);
    if received.is_none_or(|received| !received.headers.all("authorization").is_empty()) {
        exchange.fail("a preflight carries no bearer");
    }
}

/// Python and JavaScript trim more than ASCII white space before they look for the scheme.
fn schemes_behind_odd_bytes(world: &World) {
    let unsigned = bearer(&session("admin").unsigned());
    for start in [b"\xa0".as_slice(), b"\x85", b"\xc2\xa0", b"\"", b"Basic x,\xa0", b",\xa0"] {
        let value = [start, unsigned.as_bytes()].concat();
        let request = Request::get("/optional/x").header("authorization", value);
        let (exchange, received) = world.send("corbado", request);
        if received.is_some_and(|received| !received.headers.all("authorization").is_empty()) {
            exchange.fail("no backend sees the token");
        }
    }
}

/// What a backend's own parser takes for our cookie, and ours does not.
fn lookalikes(world: &World) {
    let t = world.session("usr-t");
    let (b, ours) = (bearer(&t), format!("cbo_session_token={t}"));
    let admin = session("admin").unsigned();
    for name in [
        // Express (cookie 0.6), Starlette and Django trim white space beyond ASCII.
        b"\xa0cbo_session_token".as_slice(),
        b"\x85cbo_session_token\xa0",
        b"\xc2\xa0cbo_session_token",
        b"\xe3\x80\x80cbo_session_token",
        b"\xef\xbb\xbfcbo_session_token",
        // PHP makes an underscore of these.
        b"cbo.session.token",
        b"cbo session_token",
        b"cbo[session_token",
        // Older Rack and ASP.NET decode names.
        b"cbo_session%5Ftoken",
        b"cbo%2Esession_token",
        // The vendor's refresh token is nobody's business either.
        b"\xa0cbo_refresh_token",
    ] {
        let label = name.escape_ascii().to_string();
        let line = [b"a=1; ", name, b"=", admin.as_bytes(), b"; ", ours.as_bytes()].concat();
        let row = |path, headers, expected| Row { name: &label, path, headers, expected };
        let kept = format!("a=1; {ours}");
        check(
            world,
            "corbado",
            vec![
                row("/verify-only/x", vec![("cookie", line.clone())], allowed(&[], &[&kept])),
                row("/orders", vec![("cookie", line)], allowed(&[&b], &["a=1"])),
                row(
                    "/optional/x",
                    vec![("cookie", [b"a=1; ", name, b"=", admin.as_bytes()].concat())],
                    allowed(&[], &["a=1"]),
                ),
            ],
        );
    }
}

fn aliases_of_a_source_header(world: &World) {
    let t = world.session("usr-t");
    for alias in ["x_session_token", "x.session-token"] {
        for (path, own) in [("/verify-only/x", Some(&t)), ("/optional/x", None)] {
            let mut request = Request::get(path).header(alias, session("admin").unsigned());
            if let Some(own) = own {
                request = request.header("x-session-token", own);
            }
            let (exchange, received) = world.send("custom", request);
            exchange.expect_status(200);
            if received.is_none_or(|received| !received.headers.all(alias).is_empty()) {
                exchange.fail(&format!("{alias} on {path}: no backend sees it"));
            }
        }
    }
}
