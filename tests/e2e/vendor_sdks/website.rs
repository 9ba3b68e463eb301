//! `supertokens-website` in a page, an application with `supertokens-node`, and the filter between
//! them: what the front-end SDK makes of the filter's answers.

use serde_json::{Value, json};
use session_token_harness::answer::Answer;
use session_token_harness::key_server::KeyServer;

use super::supertokens::{Application, PLAIN, WEBSITE};
use super::supertokens_core::{Core, State};
use super::{Program, packages};
use crate::site::Site;
use crate::world::World;

/// A page signs in and sends one request. All else is about that request.
struct Visit {
    name: &'static str,
    listener: &'static str,
    request: (&'static str, &'static str),
    /// How the session begins.
    session: fn(&mut State),
    /// What the page sees in the end.
    status: u64,
    refreshes: usize,
    /// Whether the user is still signed in.
    signed_in: bool,
    /// An event of the SDK that must have come.
    event: Option<&'static str>,
}

pub(super) fn visits(world: &World) {
    packages();
    let core = Core::start();
    let [application] = Application::start([&PLAIN], &core);
    let site = Site::with(world, KeyServer::start(&json!({})), |bootstrap| {
        let mut configuration = PLAIN.configuration(PLAIN.name);
        let rules = configuration["rules"].as_array_mut().unwrap();
        rules.extend([
            json!({
                "match": {"path": {"prefix": "/admin"}},
                "require": {"claim": "roles", "contains": "admin"}
            }),
            json!({"match": {"path": {"prefix": "/closed"}}, "access": "denied"}),
            json!({
                "match": {"path": {"prefix": "/write-only"}, "methods": ["GET"]},
                "access": "denied"
            }),
        ]);
        let bootstrap = application.complete(bootstrap, PLAIN.name, configuration);
        // A cluster that answers 503.
        application.complete(bootstrap, NO_KEYS, PLAIN.configuration("keys"))
    });
    site.keys.answer_with(Answer::status(503));
    // A page of another origin reads no answer without these.
    site.app.answer_with(
        Answer::json("{}")
            .header("access-control-allow-origin", WEBSITE)
            .header("access-control-allow-credentials", "true")
            .header("access-control-allow-headers", "rid, st-auth-mode, authorization"),
    );
    let mut page = Program::start("website", &[]);
    let mut wrong = Vec::new();
    for (transfer, via) in
        [("cookie", "fetch"), ("header", "fetch"), ("cookie", "xhr"), ("header", "xhr")]
    {
        for visit in VISITS {
            let what = format!("{}, {transfer}, {via}", visit.name);
            wrong.extend(check(visit, &what, transfer, via, &mut page, &core, &site));
        }
    }
    assert!(wrong.is_empty(), "{} visits\n{}", wrong.len(), wrong.join("\n"));
    core.with(|state| assert!(state.unanswered.is_empty(), "core: {:?}", state.unanswered));
    site.end(world);
}

fn check(
    visit: &Visit,
    what: &str,
    transfer: &str,
    via: &str,
    page: &mut Program,
    core: &Core,
    site: &Site,
) -> Option<String> {
    core.with(|state| {
        *state = State::new();
        (visit.session)(state);
    });
    site.app.clear();
    let port = site.envoy.client(visit.listener).address().port();
    let outcome = page.ask(&json!({
        "api": format!("http://localhost:{port}"),
        "page": WEBSITE,
        "transfer": transfer,
        "via": via,
        "method": visit.request.0,
        "path": visit.request.1,
    }));
    let refreshes = core.with(|state| state.refreshes);
    let events: Vec<_> =
        outcome["events"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let signed_out = events.contains(&"UNAUTHORISED");
    // Preflights need no session.
    let reached: Vec<_> =
        site.app.requests().into_iter().filter(|request| request.method != "OPTIONS").collect();
    let bearers = reached.iter().filter(|request| request.headers.get("authorization").is_some());
    let good = outcome["login"] == 200
        && outcome["status"] == visit.status
        && refreshes == visit.refreshes
        && outcome["exists"] == visit.signed_in
        && signed_out != visit.signed_in
        && visit.event.is_none_or(|event| events.contains(&event))
        && reached.len()
            == usize::from(visit.status == 200 && !visit.request.1.starts_with("/sdk"))
        && bearers.count() == reached.len();
    (!good).then(|| {
        format!("{what}: {refreshes} refreshes, {} reached the backend, {outcome:#}", reached.len())
    })
}

const VISITS: &[Visit] = &[
    Visit { name: "a session", ..VALID },
    Visit { name: "a session, POST", request: ("POST", "/orders"), ..VALID },
    Visit { name: "an expired session", ..EXPIRED },
    Visit { name: "an expired session, POST", request: ("POST", "/orders"), ..EXPIRED },
    Visit {
        name: "an OAuth2 token in its place",
        session: |state| state.first_claims = json!({"stt": 1}),
        refreshes: 1,
        event: Some("REFRESH_SESSION"),
        ..VALID
    },
    Visit {
        name: "an expired session, the SDK behind",
        request: ("GET", "/sdk/orders"),
        ..EXPIRED
    },
    Visit {
        name: "an expired session that was revoked",
        session: |state| {
            state.lifetime = -60;
            state.forgot_sessions = true;
        },
        status: 401,
        refreshes: 1,
        signed_in: false,
        ..VALID
    },
    Visit { name: "no keys", listener: NO_KEYS, status: 503, ..VALID },
    Visit {
        name: "a claim is missing",
        request: ("GET", "/admin"),
        status: 403,
        event: Some("claim roles"),
        ..VALID
    },
    Visit { name: "a denied method", request: ("GET", "/write-only"), status: 403, ..VALID },
    // Its preflight is denied too, so the page sees no answer at all.
    Visit { name: "a denied path", request: ("GET", "/closed"), status: 0, ..VALID },
];

const VALID: Visit = Visit {
    name: "",
    listener: PLAIN.name,
    request: ("GET", "/orders"),
    session: |_| (),
    status: 200,
    refreshes: 0,
    signed_in: true,
    event: None,
};

const EXPIRED: Visit = Visit {
    session: |state| state.lifetime = -60,
    refreshes: 1,
    event: Some("REFRESH_SESSION"),
    ..VALID
};

const NO_KEYS: &str = "no-keys";
