//! Requests that want to break the filter. Each is decided, and the next request works: a trap
//! would answer that one with 503, and a second of others.

use std::sync::Arc;

use libtest_mimic::Trial;
use session_token_harness::client::{Client, Request};
use session_token_harness::server::ReceivedRequest;

use crate::extraction::{Letters, bearer};
use crate::secrets::COOKIE_MARK;
use crate::trial;
use crate::world::{World, session};

/// All rows, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    vec![
        trial(world, "hostile::bytes_in_every_header", bytes_in_every_header),
        trial(world, "hostile::bytes_in_credentials", bytes_in_credentials),
        trial(world, "hostile::several_lines", several_lines),
        trial(world, "hostile::large_heads", large_heads),
        trial(world, "hostile::cookie_segments", cookie_segments),
        trial(world, "hostile::no_trap", no_trap),
    ]
}

/// One listener of the shared Envoy, asked for a sign of life after every request.
struct Target<'a> {
    world: &'a World,
    client: Client,
    token: String,
}

impl<'a> Target<'a> {
    fn new(world: &'a World) -> Self {
        Self { world, client: world.client("corbado"), token: world.session("usr-t") }
    }

    fn with_bearer(&self, request: Request) -> Request {
        request.header("authorization", bearer(&self.token))
    }

    /// The status, and what the backend received.
    fn send(&self, name: &str, request: Request) -> (u16, String, Option<ReceivedRequest>) {
        let (exchange, received) = self.world.send_by(&self.client, request);
        let response = exchange.expect(name, |response| response.status < 500);
        let reason = response.json()["reason"].as_str().unwrap_or_default().to_owned();
        let status = response.status;
        assert_eq!(received.is_some(), status == 200, "{name}");
        let alive = self.with_bearer(Request::get("/orders"));
        self.world
            .send_by(&self.client, alive)
            .0
            .expect(&format!("life after: {name}"), |next| next.status == 200);
        (status, reason, received)
    }

    fn expect_allowed(&self, name: &str, request: Request) -> ReceivedRequest {
        let (status, reason, received) = self.send(name, request);
        assert_eq!((status, &*reason), (200, ""), "{name}");
        let received = received.unwrap_or_else(|| panic!("{name}"));
        let authorization = received.headers.all("authorization");
        assert_eq!(authorization, [bearer(&self.token).as_bytes()], "{name}");
        received
    }

    fn expect_denied(&self, name: &str, reason: &str, request: Request) {
        let (status, came, _) = self.send(name, request);
        assert_eq!((status, &*came), (401, reason), "{name}");
    }
}

/// Values that are no text, or hardly.
const VALUES: [(&str, &[u8]); 10] = [
    ("empty", b""),
    ("0xff 0xfe", b"\xff\xfe"),
    ("cut UTF-8", b"a\xc3"),
    ("overlong UTF-8", b"\xc0\xae"),
    ("surrogate in UTF-8", b"\xed\xa0\x80"),
    ("Latin-1", b"J\xfcrgen"),
    ("tab", b"a\tb"),
    ("0x01", b"a\x01b"),
    ("0x7f", b"a\x7fb"),
    ("NUL", b"a\0b"),
];

/// All that the filter looks at, and some more.
const NAMES: [&str; 18] = [
    "accept",
    "access-control-request-headers",
    "access-control-request-method",
    "content-type",
    "forwarded",
    "host",
    "origin",
    "referer",
    "sec-fetch-mode",
    "sec-fetch-site",
    "upgrade-insecure-requests",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-original-url",
    "x-http-method-override",
    "x-user-id",
    "x_user_id",
];

fn bytes_in_every_header(world: &World) {
    let target = Target::new(world);
    for name in NAMES {
        for (what, value) in VALUES {
            let row = format!("{name}: {what}");
            let request = target.with_bearer(Request::get("/orders")).header(name, value);
            let (status, reason, received) = target.send(&row, request.clone());
            // Without a scheme Envoy finds no route.
            let no_route = name == "x-forwarded-proto" && status == 404;
            let by_envoy = (status == 400 || no_route) && reason.is_empty();
            let no_host = name == "host" && status == 400 && reason == "malformed_request";
            assert!(status == 200 || by_envoy || no_host, "{row}: {status} {reason}");
            if let Some(received) = received
                && ["x-user-id", "x_user_id", "x-original-url", "x-http-method-override"]
                    .contains(&name)
            {
                let values = received.headers.all(name);
                assert!(!values.contains(&value), "{row}: it reached the backend");
            }
            // Where a refusal looks at it.
            let (status, reason, _) =
                target.send(&row, Request::get("/orders").header(name, value));
            let expected = [(401, "missing"), (400, ""), (400, "malformed_request")];
            assert!(expected.contains(&(status, &*reason)), "{row}: {status} {reason}");
        }
    }
}

fn bytes_in_credentials(world: &World) {
    let target = Target::new(world);
    let t = &target.token;
    for (what, value) in VALUES {
        let is_refused_by_envoy = [b"a\x01b".as_slice(), b"a\x7fb", b"a\0b"].contains(&value);
        let cookie = |before: &str, after: &str| {
            Request::get("/orders")
                .header("cookie", [before.as_bytes(), value, after.as_bytes()].concat())
        };
        let header = |before: &str| {
            Request::get("/orders").header("authorization", [before.as_bytes(), value].concat())
        };
        let rows = [
            ("our cookie", cookie("cbo_session_token=", "; a=1"), "malformed"),
            ("inside our cookie", cookie(&format!("cbo_session_token={t}"), "."), "malformed"),
            ("our cookie, quoted", cookie("cbo_session_token=\"", "\""), "malformed"),
            ("bearer", header("Bearer "), "malformed"),
            ("inside the bearer", header(&format!("Bearer {t}.")), "malformed"),
            ("no scheme", header(""), "missing"),
            ("another cookie", cookie("a=", "; b=2"), "missing"),
            ("a cookie's name", cookie("", "=1; b=2"), "missing"),
        ];
        for (place, request, reason) in rows {
            let row = format!("{place}: {what}");
            let (status, came, _) = target.send(&row, request);
            let reason = match (place, value) {
                _ if is_refused_by_envoy => "",
                ("our cookie" | "our cookie, quoted", b"") => "missing",
                _ => reason,
            };
            let status_expected = if is_refused_by_envoy { 400 } else { 401 };
            assert_eq!((status, &*came), (status_expected, reason), "{row}");
        }
        if !is_refused_by_envoy {
            let request = cookie(&format!("cbo_session_token={t}; a=x"), "y; b=2");
            let received = target.expect_allowed(what, request);
            let rest = [b"a=x", value, b"y; b=2"].concat();
            assert_eq!(received.headers.all("cookie"), [rest], "{what}: other cookies stay");
        }
    }
}

/// Nothing unseen is forwarded, whichever line is the good one.
fn several_lines(world: &World) {
    let target = Target::new(world);
    let Letters { forged, foreign, .. } = Letters::new(world);
    let t = &target.token;
    let unsigned = session("admin").unsigned();
    for bad in [&forged, &foreign, &unsigned, &"x".to_owned()] {
        let good = format!("cbo_session_token={t}");
        let other = format!("cbo_session_token={bad}");
        for (name, lines) in [("good first", [&good, &other]), ("good second", [&other, &good])] {
            let request = Request::get("/orders");
            let request = request.header("cookie", lines[0]).header("cookie", lines[1]);
            target.expect_denied(name, "duplicate_cookie", request);
        }
        for (name, values) in [("good first", [t, bad]), ("good second", [bad, t])] {
            let request = Request::get("/orders");
            let two = request
                .clone()
                .header("authorization", bearer(values[0]))
                .header("authorization", bearer(values[1]));
            target.expect_denied(name, "multiple_credentials", two);
            let joined = format!("Bearer {}, bearer {}", values[0], values[1]);
            let one = request.header("authorization", joined);
            target.expect_denied(name, "multiple_credentials", one);
        }
    }
    let hundred = (0..100).fold(Request::get("/orders"), |request, number| {
        request.header("cookie", format!("c{number}={number}; cbo_session_token={t}"))
    });
    let received = target.expect_allowed("a hundred cookie lines", hundred);
    let expected: Vec<_> = (0..100).map(|number| format!("c{number}={number}")).collect();
    assert_eq!(
        received.headers.all("cookie"),
        expected.iter().map(String::as_bytes).collect::<Vec<_>>()
    );
    let hundred = (0..100)
        .fold(Request::get("/orders"), |request, _| request.header("authorization", bearer(t)));
    target.expect_denied("a hundred authorization lines", "multiple_credentials", hundred);
}

fn large_heads(world: &World) {
    let target = Target::new(world);
    let large = "x".repeat(LARGE);
    let request = target.with_bearer(Request::get("/orders")).header("x-large", &large);
    let received = target.expect_allowed("one large value", request);
    assert_eq!(received.headers.all("x-large"), [large.as_bytes()]);

    for name in NAMES.into_iter().filter(|name| *name != "host") {
        let (status, ..) = target.send(name, Request::get("/orders").header(name, &large));
        assert!([400, 401].contains(&status), "{name}: {status}");
    }

    for (name, count, length) in [("60 KiB in small ones", 600, 80), ("2,000", MANY, 1)] {
        let request = (0..count).fold(Request::get("/orders"), |request, number| {
            request.header(format!("x-{number}"), "x".repeat(length))
        });
        target.expect_denied(name, "missing", request.clone());
        let received = target.expect_allowed(name, target.with_bearer(request));
        let arrived = received.headers.iter().filter(|line| line.value.starts_with(b"x")).count();
        assert_eq!(arrived, count, "{name}");
    }
    let spoofed = (0..MANY).fold(Request::get("/orders"), |request, number| {
        request.header(if number % 2 == 0 { "x-user-id" } else { "X_User_Id" }, "admin")
    });
    let received = target.expect_allowed("2,000 spoofed ones", target.with_bearer(spoofed));
    assert_eq!(received.headers.all("x-user-id"), [b"usr-t"]);
    assert!(received.headers.get("x_user_id").is_none());

    let tokens = [
        ("no token", large.clone()),
        ("one large part", format!("{}.{}.x", &target.token, large)),
        ("dots", ".".repeat(LARGE)),
        ("brackets", {
            session_token_harness::token::Token::with_payload("[".repeat(LARGE / 2))
                .signed_by(world.key())
        }),
        ("a large session", session("usr").claim("x", &*large).signed_by(world.key())),
    ];
    for (name, token) in tokens {
        let request = Request::get("/orders").header("authorization", bearer(&token));
        target.expect_denied(name, "malformed", request);
        let cookie = format!("cbo_session_token={token}");
        target.expect_denied(name, "malformed", Request::get("/orders").header("cookie", cookie));
    }
    let spaces = format!("Bearer{}{}", " ".repeat(LARGE), target.token);
    target.expect_allowed("spaces", Request::get("/orders").header("authorization", spaces));
    let commas = format!("Bearer {}", ",".repeat(LARGE));
    let commas = Request::get("/orders").header("authorization", commas);
    target.expect_denied("commas", "multiple_credentials", commas);
    let path = format!("/orders/{}", "%61".repeat(LARGE / 3));
    target.expect_allowed("a large path", target.with_bearer(Request::get(path)));
}

fn cookie_segments(world: &World) {
    let target = Target::new(world);
    let t = &target.token;
    let others: Vec<_> = (0..5_500).map(|number| format!("c{number}={number:04}")).collect();
    let others = others.join("; ");
    assert!(others.len() > LARGE);
    let line = |text: String| Request::get("/orders").header("cookie", text);
    for (name, text) in [
        ("ours first", format!("cbo_session_token={t}; {others}")),
        ("ours last", format!("{others}; cbo_session_token={t}")),
        ("ours at both ends", {
            format!("cbo_session_token={t}; {others}; cbo_session_token={t}")
        }),
    ] {
        let received = target.expect_allowed(name, line(text));
        assert_eq!(received.headers.all("cookie"), [others.as_bytes()], "{name}");
    }
    let bare = "cbo_session_token; ".repeat(3_000);
    target.expect_denied("3,000 times our name without =", "missing", line(bare.clone()));
    let received = target.expect_allowed("and a bearer", target.with_bearer(line(bare.clone())));
    assert!(received.headers.get("cookie").is_none());
    let received =
        target.expect_allowed("and ours", line(format!("{bare}cbo_session_token={t};a")));
    assert_eq!(received.headers.all("cookie"), [b"a"]);
    for (name, text, reason) in [
        ("semicolons", ";".repeat(LARGE), "missing"),
        ("equal signs", "=".repeat(LARGE), "missing"),
        ("our name and =", "cbo_session_token=".repeat(3_000), "malformed"),
        ("escapes", format!("cbo_session_token={}", "%25".repeat(LARGE / 3)), "malformed"),
        ("quotes", format!("cbo_session_token={}", "\"".repeat(LARGE)), "malformed"),
        (
            "3,000 different ones",
            { (0..3_000).map(|number| format!("cbo_session_token={number};")).collect() },
            "duplicate_cookie",
        ),
        ("a mark alone", COOKIE_MARK.to_owned(), "missing"),
    ] {
        target.expect_denied(name, reason, line(text));
    }
}

/// A look at Envoy's own word for it.
fn no_trap(world: &World) {
    Target::new(world).send("any request", Request::get("/orders"));
    let log = world.envoy().log();
    let traps = log.lines().filter(|line| {
        let is_own = line.contains("wasm log");
        !is_own
            && line.contains("[wasm]")
            && ["[error]", "[critical]"].iter().any(|level| line.contains(level))
    });
    assert_eq!(traps.collect::<Vec<_>>(), Vec::<&str>::new());
}

const LARGE: usize = 60 * 1024;
const MANY: usize = 2_000;
