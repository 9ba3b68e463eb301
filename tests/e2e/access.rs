//! What a backend may trust, access kind by access kind: no unverified credential, and no claim
//! header that a client sent.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use session_token_harness::bootstrap::{Listener, Route, WasmFilter};
use session_token_harness::client::Request;
use session_token_harness::server::ReceivedRequest;

use crate::extraction::{Letters, bearer};
use crate::secrets::{CLAIM_MARK, COOKIE_MARK};
use crate::trial;
use crate::world::{PRO_PLAN, World, corbado, listener, session};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "access::only_verified_credentials", only_verified_credentials),
        trial(world, "access::public_is_untouched", public_is_untouched),
        trial(world, "access::denied_reaches_nobody", denied_reaches_nobody),
        trial(world, "access::clients_claim_headers", clients_claim_headers),
        trial(world, "access::trailers", trailers),
        trial(world, "access::connection_header", connection_header),
        trial(world, "access::override_headers", override_headers),
        trial(world, "access::routing_by_claim", routing_by_claim),
    ]
}

/// The listeners that only these tests need.
pub(crate) fn listeners() -> Vec<Listener> {
    let with_rules = |rules: Value| json!({"providers": [corbado()], "rules": rules});
    let by_path = json!({"match": {"path": {"prefix": "/public"}}, "access": "public"});
    let by_method = json!({"match": {"methods": ["DELETE"]}, "access": "denied"});
    let mut keeps = with_rules(json!([by_path, by_method]));
    keeps["insecure_keep_override_headers"] = json!(true);
    vec![
        listener("overrides-kept", keeps),
        listener("rules-by-path", with_rules(json!([by_path]))),
        listener("rules-by-method", with_rules(json!([by_method]))),
        Listener::new("to-http2")
            .filter(WasmFilter::new().configuration(with_rules(json!([
                by_path,
                {"match": {"path": {"prefix": "/optional"}}, "access": "optional"},
                {"match": {"path": {"prefix": "/verify-only"}}, "forward": "verify_only"},
                {"match": {"path": {"prefix": "/strip"}}, "forward": "strip"}
            ]))))
            .manager_with(json!({"http_protocol_options": {"enable_trailers": true}}))
            .route(Route::prefix("/").to("http2")),
    ]
}

/// What a rule does with a request that is not refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forward {
    Bearer,
    VerifyOnly,
    Strip,
    /// Nothing is verified, all that looks like ours goes.
    Nothing,
}

/// One kind of access, as the listener `corbado` has it.
struct Kind {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    forward: Forward,
    optional: bool,
    keeps_foreign: bool,
}

const KINDS: [Kind; 9] = {
    const REQUIRED: Kind = Kind {
        name: "required",
        method: "GET",
        path: "/orders",
        forward: Forward::Bearer,
        optional: false,
        keeps_foreign: false,
    };
    const PREFLIGHT: Kind =
        Kind { name: "preflight", method: "OPTIONS", forward: Forward::Nothing, ..REQUIRED };
    const VERIFY_ONLY: &str = "/verify-only/x";
    const FOREIGN: &str = "/optional-foreign/x";
    [
        REQUIRED,
        Kind { name: "verify_only", path: VERIFY_ONLY, forward: Forward::VerifyOnly, ..REQUIRED },
        Kind { name: "strip", path: "/strip/x", forward: Forward::Strip, ..REQUIRED },
        Kind { name: "optional", path: "/optional/x", optional: true, ..REQUIRED },
        Kind { name: "foreign", path: FOREIGN, optional: true, keeps_foreign: true, ..REQUIRED },
        PREFLIGHT,
        Kind { name: "preflight, verify_only", path: VERIFY_ONLY, ..PREFLIGHT },
        Kind { name: "preflight, optional", path: "/optional/x", ..PREFLIGHT },
        Kind { name: "preflight, foreign", path: FOREIGN, keeps_foreign: true, ..PREFLIGHT },
    ]
};

impl Kind {
    fn request(&self) -> Request {
        let request = Request::new(self.method, self.path);
        match self.forward {
            Forward::Nothing => request
                .header("origin", "https://www.example.com")
                .header("access-control-request-method", "POST"),
            Forward::Bearer | Forward::VerifyOnly | Forward::Strip => request,
        }
    }
}

/// What stands in `Authorization`.
struct Header<'a> {
    name: &'a str,
    value: Option<String>,
    holds: Holds<'a>,
}

/// What stands in the session cookies.
struct Cookies<'a> {
    name: &'a str,
    lines: Vec<String>,
    holds: Holds<'a>,
}

/// What a source holds, as far as it decides.
#[derive(Clone, Copy)]
enum Holds<'a> {
    /// Nothing of ours.
    Nothing,
    /// A valid session.
    Session(&'a str),
    /// Something that belongs to nobody: skipped in a header, refused in a cookie.
    Foreign,
    /// Something that refuses the request.
    Refused,
}

/// Every kind with everything in the header and everything in the cookies.
fn only_verified_credentials(world: &World) {
    let Letters { t, u, forged, expired, foreign } = Letters::new(world);
    let unsigned = session("admin").unsigned();
    let header = |name, value: &str, holds| Header { name, value: Some(value.to_owned()), holds };
    let headers = [
        Header { name: "no header", value: None, holds: Holds::Nothing },
        header("T", &bearer(&t), Holds::Session(&t)),
        header("forged", &bearer(&forged), Holds::Refused),
        header("expired", &bearer(&expired), Holds::Refused),
        header("alg none", &bearer(&unsigned), Holds::Refused),
        header("foreign", &bearer(&foreign), Holds::Foreign),
        header("opaque", "Bearer opaque", Holds::Foreign),
        header("Basic", BASIC, Holds::Nothing),
        header("two", &format!("{},{}", bearer(&t), bearer(&unsigned)), Holds::Refused),
        header("Basic and ours", &format!("{BASIC},{}", bearer(&t)), Holds::Refused),
    ];
    let one = |name, value: &str, holds| Cookies {
        name,
        lines: vec![format!("a={COOKIE_MARK}; cbo_session_token={value}; b=2")],
        holds,
    };
    let cookies = [
        Cookies { name: "no cookie", lines: Vec::new(), holds: Holds::Nothing },
        one("T", &t, Holds::Session(&t)),
        one("U", &u, Holds::Session(&u)),
        one("forged", &forged, Holds::Refused),
        one("alg none", &unsigned, Holds::Refused),
        one("foreign", &foreign, Holds::Refused),
        one("opaque", "opaque", Holds::Refused),
        one("T and T quoted", &format!("{t}; cbo_session_token=\"{t}\""), Holds::Session(&t)),
        one("T and alg none", &format!("{t}; cbo_session_token={unsigned}"), Holds::Refused),
        one("T, and U under the old name", &format!("{t}; cbo_short_session={u}"), {
            Holds::Session(&t)
        }),
        Cookies {
            name: "alg none in the second line",
            lines: vec![
                format!("cbo_session_token={t}"),
                format!("b=2; cbo_session_token={unsigned}"),
            ],
            holds: Holds::Refused,
        },
    ];
    let client = world.client("corbado");
    for kind in &KINDS {
        for header in &headers {
            for cookies in &cookies {
                let mut request = kind.request();
                if let Some(value) = &header.value {
                    request = request.header("authorization", value);
                }
                for line in &cookies.lines {
                    request = request.header("cookie", line);
                }
                let (exchange, received) = world.send_by(&client, request);
                let case = format!("{}: {}, {}", kind.name, header.name, cookies.name);
                match (expected(kind, header, cookies), received) {
                    (None, None) => {
                        exchange.expect_status(401);
                    }
                    (Some(expected), Some(received)) => {
                        exchange.expect_status(200);
                        let came = (text(&received, "authorization"), text(&received, "cookie"));
                        if came != expected {
                            exchange.fail(&format!("{case}: {expected:#?} instead of {came:#?}"));
                        }
                    }
                    (None, Some(_)) => exchange.fail(&format!("{case}: to be refused")),
                    (Some(_), None) => exchange.fail(&format!("{case}: to be let through")),
                }
            }
        }
    }
}

/// The `authorization` and `cookie` lines that a backend gets; nothing if the request is refused.
fn expected(
    kind: &Kind,
    header: &Header<'_>,
    cookies: &Cookies<'_>,
) -> Option<(Vec<String>, Vec<String>)> {
    let verified = match (kind.forward, header.holds, cookies.holds) {
        (Forward::Nothing, _, _) => None,
        (_, Holds::Refused, _) => return None,
        (_, Holds::Session(token), _) => Some(token),
        (_, Holds::Nothing | Holds::Foreign, Holds::Session(token)) => Some(token),
        (_, Holds::Nothing | Holds::Foreign, Holds::Refused | Holds::Foreign) => return None,
        (_, Holds::Nothing | Holds::Foreign, Holds::Nothing) if kind.optional => None,
        (_, Holds::Nothing | Holds::Foreign, Holds::Nothing) => return None,
    };
    let sent = header.value.clone();
    let authorization = match (verified, kind.forward) {
        (Some(token), Forward::Bearer) => Some(bearer(token)),
        (Some(token), Forward::VerifyOnly) => {
            sent.filter(|value| *value == bearer(token) || value == BASIC)
        }
        (Some(_), Forward::Strip | Forward::Nothing) => sent.filter(|value| value == BASIC),
        (None, _) => sent.filter(|value| {
            value == BASIC || (kind.keeps_foreign && matches!(header.holds, Holds::Foreign))
        }),
    };
    let stays = |segment: &&str| {
        let (name, value) = segment.trim().split_once('=').unwrap_or_default();
        let ours = ["cbo_session_token", "cbo_short_session"].contains(&name);
        let bare = value.trim_matches('"');
        !ours || (kind.forward == Forward::VerifyOnly && verified == Some(bare))
    };
    let lines = cookies.lines.iter().map(|line| {
        let kept: Vec<_> = line.split(';').filter(stays).collect();
        kept.join(";").trim_start().to_owned()
    });
    Some((authorization.into_iter().collect(), lines.filter(|line| !line.is_empty()).collect()))
}

/// Auth servers behind a public rule depend on it.
fn public_is_untouched(world: &World) {
    let Letters { t, forged, foreign, .. } = Letters::new(world);
    for (name, value) in [
        ("T", bearer(&t)),
        ("forged", bearer(&forged)),
        ("foreign", bearer(&foreign)),
        ("Basic", BASIC.to_owned()),
        ("two", format!("{},{}", bearer(&t), bearer(&t))),
    ] {
        let lines =
            [format!("cbo_session_token={forged};  a=1"), "cbo_refresh_token=r;".to_owned()];
        let request = Request::get("/public/login")
            .header("authorization", &value)
            .header("cookie", &lines[0])
            .header("cookie", &lines[1])
            .header("x-user-id", "admin");
        let (exchange, received) = world.send("corbado", request);
        exchange.expect_status(200);
        let received = received.unwrap_or_else(|| exchange.fail(name));
        assert_eq!(text(&received, "authorization"), [value], "{name}");
        assert_eq!(text(&received, "cookie"), lines, "{name}");
        assert_eq!(folded(&received.headers, "x-user-id"), Vec::<String>::new(), "{name}");
    }
}

fn denied_reaches_nobody(world: &World) {
    let b = bearer(&world.session("usr-t"));
    let preflight = |request: Request| {
        request.header("origin", "https://a.example").header("access-control-request-method", "PUT")
    };
    for (name, request) in [
        ("without a credential", Request::get("/denied")),
        ("with a session", Request::get("/denied/x").header("authorization", &b)),
        ("preflight", preflight(Request::new("OPTIONS", "/denied/x"))),
        ("by method", Request::new("DELETE", "/orders").header("authorization", &b)),
        ("by method, though the path is public", Request::new("DELETE", "/x/public")),
    ] {
        let (exchange, received) = world.send("corbado", request.header("x-user-id", "admin"));
        exchange.expect(name, |response| {
            response.status == 403 && response.json()["reason"] == "denied_by_rule"
        });
        assert!(received.is_none(), "{name}");
    }
}

/// Under every spelling, on every kind of access, over both protocols.
fn clients_claim_headers(world: &World) {
    let t = world.session("usr-t");
    let public = ("public", Request::get("/public/x"), false);
    let anonymous = ("optional, anonymous", Request::get("/optional/x"), false);
    let kinds = KINDS.iter().map(|kind| {
        let request = kind.request().header("authorization", bearer(&t));
        (kind.name, request, kind.forward != Forward::Nothing)
    });
    let http1 = world.client("corbado");
    let clients = [("HTTP/1", http1.clone()), ("HTTP/2", http1.http2())];
    for (name, request, verified) in kinds.chain([public, anonymous]) {
        for (protocol, client) in &clients {
            let spoofed = SPELLINGS.iter().fold(request.clone(), |request, spelling| {
                request.header(spelling, "admin").header(spelling, "admin-too")
            });
            let (exchange, received) = world.send_by(client, spoofed);
            let received = received.unwrap_or_else(|| exchange.fail(name));
            let set = |value: &str| if verified { vec![value.to_owned()] } else { Vec::new() };
            let claims = [
                ("x-user-id", set("usr-t")),
                ("x-user-name", set(&format!("{CLAIM_MARK} usr-t"))),
                ("x-plan", Vec::new()),
            ];
            for (header, expected) in claims {
                let came = folded(&received.headers, header);
                assert_eq!(came, expected, "{header}, {name}, {protocol}");
            }
        }
    }
}

/// gRPC servers merge trailers into headers.
fn trailers(world: &World) {
    let t = world.session("usr-t");
    let http1 = world.client("to-http2");
    for (protocol, client) in [("HTTP/1", http1.clone()), ("HTTP/2", http1.http2())] {
        for path in ["/orders", "/optional/x", "/public/x", "/verify-only/x", "/strip/x"] {
            let mut request = Request::post(path, "body")
                .header("authorization", bearer(&t))
                .trailer("x-checksum", "first")
                .trailer("authorization", bearer(&session("admin").unsigned()))
                .trailer("cookie", format!("cbo_session_token={t}"))
                .trailer("x-original-url", "/admin");
            for spelling in SPELLINGS {
                let spelling = spelling.to_ascii_lowercase();
                request = request.trailer(&spelling, "admin").trailer(spelling, "admin-too");
            }
            let request = request.trailer("x-last", "last");
            let (exchange, received) = world.send_by(&client, request);
            exchange.expect_status(200);
            let received = received.unwrap_or_else(|| exchange.fail(path));
            assert_eq!(received.body, b"body", "{path}, {protocol}");
            let mut came: Vec<_> = received
                .trailers
                .iter()
                .map(|line| String::from_utf8_lossy(&line.name).into_owned())
                .collect();
            came.sort();
            assert_eq!(came, ["x-checksum", "x-last"], "{path}, {protocol}");
        }
    }
}

/// A client can't have our headers dropped as hop-by-hop ones.
fn connection_header(world: &World) {
    let t = world.session("usr-t");
    let cookie = format!("cbo_session_token={t}");
    for value in ["authorization", "x-user-id", "keep-alive, Authorization, X-User-Id"] {
        let request = Request::get("/orders").header("connection", value).header("cookie", &cookie);
        let (exchange, received) = world.send("corbado", request);
        exchange.expect_status(200);
        let received = received.unwrap_or_else(|| exchange.fail(value));
        assert_eq!(text(&received, "authorization"), [bearer(&t)], "connection: {value}");
        assert_eq!(text(&received, "x-user-id"), ["usr-t"], "connection: {value}");
        assert_eq!(text(&received, "connection"), Vec::<String>::new(), "connection: {value}");
    }
    // What Envoy itself drops for a client's word was never presented.
    let request = Request::get("/orders").header("connection", "cookie").header("cookie", &cookie);
    let (exchange, _) = world.send("corbado", request);
    exchange.expect("401 missing", |response| response.json()["reason"] == "missing");
}

/// Headers by which some backends take another path or method than the rules did.
fn override_headers(world: &World) {
    let b = bearer(&world.session("usr-t"));
    let of_path = ["x-original-url", "x-rewrite-url", "X_Original_URL"];
    let of_method = ["x-http-method-override", "x-http-method", "X-Method.Override"];
    for (listener, path_stays, method_stays) in [
        ("corbado", false, false),
        ("rules-by-path", false, true),
        ("rules-by-method", true, false),
        ("overrides-kept", true, true),
    ] {
        for path in ["/orders", "/public/x"] {
            let request = Request::post(path, "x").header("authorization", &b);
            let names = of_path.iter().chain(&of_method);
            let request = names.fold(request, |request, name| request.header(name, "DELETE"));
            let (exchange, received) = world.send(listener, request);
            exchange.expect_status(200);
            let received = received.unwrap_or_else(|| exchange.fail(listener));
            for (names, stays) in [(of_path, path_stays), (of_method, method_stays)] {
                for name in names {
                    let came = received.headers.all(name).len();
                    assert_eq!(came, usize::from(stays), "{name} on {listener}{path}");
                }
            }
        }
    }
}

/// Envoy routes by `x-plan`, after us.
fn routing_by_claim(world: &World) {
    let token = |plan: &str| bearer(&session("usr-p").claim("plan", plan).signed_by(world.key()));
    let (pro, free) = (token(PRO_PLAN), token("free"));
    let none = bearer(&world.session("usr-t"));
    let plan = |name: &'static str| Some((name, PRO_PLAN));
    for (name, path, authorization, header, cluster, plans) in [
        ("the claim", "/orders", Some(&pro), None, "pro", vec![PRO_PLAN]),
        ("the claim, verify_only", "/verify-only", Some(&pro), None, "pro", vec![PRO_PLAN]),
        ("the claim, optional", "/optional", Some(&pro), None, "pro", vec![PRO_PLAN]),
        ("the claim and the header", "/orders", Some(&pro), plan("x-plan"), "pro", vec![PRO_PLAN]),
        ("another claim", "/orders", Some(&free), None, "app", vec!["free"]),
        (
            "another claim and the header",
            "/orders",
            Some(&free),
            plan("x-plan"),
            "app",
            vec!["free"],
        ),
        ("no claim", "/orders", Some(&none), plan("x-plan"), "app", vec![]),
        ("no claim, another spelling", "/orders", Some(&none), plan("X_Plan"), "app", vec![]),
        ("anonymous", "/optional/x", None, plan("x-plan"), "app", vec![]),
        ("public", "/public/x", Some(&pro), plan("x-plan"), "app", vec![]),
    ] {
        let headers = authorization.map(|value| ("authorization", value.as_str()));
        let request = headers
            .into_iter()
            .chain(header)
            .fold(Request::get(path), |request, (name, value)| request.header(name, value));
        let (exchange, received) = world.send("corbado", request);
        let backend = exchange.expect_status(200).json()["backend"].clone();
        assert_eq!(backend, cluster, "{name}");
        let received = received.unwrap_or_else(|| exchange.fail(name));
        assert_eq!(folded(&received.headers, "x-plan"), plans, "{name}");
    }
}

fn text(received: &ReceivedRequest, name: &str) -> Vec<String> {
    let values = received.headers.all(name).into_iter();
    values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// The values of all headers that a server which follows CGI's rule takes for `name`.
fn folded(lines: &session_token_harness::header_lines::HeaderLines, name: &str) -> Vec<String> {
    let fold = |name: &[u8]| name.to_ascii_lowercase().escape_ascii().to_string();
    lines
        .iter()
        .filter(|line| fold(&line.name).replace(['_', '.'], "-") == name)
        .map(|line| String::from_utf8_lossy(&line.value).into_owned())
        .collect()
}

const BASIC: &str = "Basic dTpw";

/// Of the three claim headers.
const SPELLINGS: [&str; 9] = [
    "X-User-Id",
    "x_user_id",
    "X.User.Id",
    "X_User-ID",
    "X-User-Name",
    "x_user.name",
    "X-Plan",
    "x_plan",
    "X.Plan",
];
