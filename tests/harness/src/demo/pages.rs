//! The demo's pages: their files and the lists of cases, from memory.
//!
//! The host decides which page is at `/`: that of the shared session, or that of the other
//! scenarios. `/account` is for people with a session; the proxy in front sees to that.

use serde_json::{Value, json};

use super::cases::CASES_JSON;
use super::flow_check::ECHO_START;
use super::flows::FLOWS_JSON;
use super::ports::{
    API_ORIGIN, BY_PATH_ORIGIN, FIRST_API_ORIGIN, FOREIGN_ORIGIN, ISSUER_ORIGIN, ONE_HOST_ORIGIN,
    SECOND_API_ORIGIN, SHARED_SESSION_ORIGIN, SIBLING_ORIGIN, TWO_HOSTS_ORIGIN,
};
use crate::answer::Answer;
use crate::backend::describe;
use crate::server::ReceivedRequest;

/// Answers one request. What is no file of a page shows what arrived.
#[allow(clippy::needless_pass_by_value, reason = "a handler owns its request")]
pub(super) fn answer(request: ReceivedRequest) -> Answer {
    let host = format!("http://{}", request.headers.text("host").unwrap_or_default());
    let shared_session = [SHARED_SESSION_ORIGIN, BY_PATH_ORIGIN].contains(&host.as_str());
    let path = request.path.split('?').next().unwrap_or_default();
    let answer = match (path, shared_session) {
        ("/", false) => page(include_str!("page/index.html"), "'none'"),
        ("/", true) => page(include_str!("page/sessions.html"), "'none'"),
        // The page of the shared session shows both in a frame.
        ("/login", true) => page(include_str!("page/login.html"), "'self'"),
        ("/account", true) => page(&account(&request), "'self'"),
        ("/assets/style.css", _) => file("text/css", include_str!("page/style.css")),
        ("/assets/app.js", _) => file("text/javascript", include_str!("page/app.js")),
        ("/assets/login.js", _) => file("text/javascript", include_str!("page/login.js")),
        ("/assets/sessions.js", _) => file("text/javascript", include_str!("page/sessions.js")),
        ("/assets/show.js", _) => file("text/javascript", include_str!("page/show.js")),
        ("/assets/icon.svg", _) => file("image/svg+xml", include_str!("page/icon.svg")),
        ("/assets/cases.json", _) => Answer::json(places_and_cases()),
        ("/assets/flows.json", _) => Answer::json(places_and_flows()),
        ("/healthz", _) => Answer::json(describe("pages", &request)),
        _ => Answer::json(describe("pages", &request)).with_status(404),
    };
    answer.header("cache-control", "no-store").header("x-content-type-options", "nosniff")
}

fn places_and_cases() -> Value {
    json!({
        "issuer": ISSUER_ORIGIN,
        "api": API_ORIGIN,
        "one_host": ONE_HOST_ORIGIN,
        "two_hosts": TWO_HOSTS_ORIGIN,
        "pages": scenarios(),
        "groups": [
            { "scenario": 1, "title": "Page and API on one host: the cookie" },
            { "scenario": 2, "title": "API on another host: the bearer" },
            { "scenario": 3, "title": "A service that calls a service" },
            { "scenario": 4, "title": "Keys" },
        ],
        "cases": list(CASES_JSON),
    })
}

fn places_and_flows() -> Value {
    json!({
        "shared": SHARED_SESSION_ORIGIN,
        "by_path": BY_PATH_ORIGIN,
        "api": FIRST_API_ORIGIN,
        "api2": SECOND_API_ORIGIN,
        "sibling": SIBLING_ORIGIN,
        "foreign": FOREIGN_ORIGIN,
        "pages": scenarios(),
        "groups": [
            { "group": "session", "title": "One session" },
            { "group": "others", "title": "Pages that are not yours" },
        ],
        "flows": list(FLOWS_JSON),
    })
}

fn scenarios() -> Value {
    json!([
        { "title": "Two hosts", "origin": TWO_HOSTS_ORIGIN },
        { "title": "One host", "origin": ONE_HOST_ORIGIN },
        { "title": "One session, two APIs", "origin": SHARED_SESSION_ORIGIN },
        { "title": "… by path", "origin": BY_PATH_ORIGIN },
    ])
}

fn list(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn page(html: &str, frame_ancestors: &str) -> Answer {
    Answer::html(html).header("content-security-policy", content_security_policy(frame_ancestors))
}

fn file(content_type: &str, text: &str) -> Answer {
    Answer::status(200).header("content-type", format!("{content_type}; charset=utf-8")).body(text)
}

/// What the proxy said about the visitor, for people; and all that arrived, for the page that
/// judges it.
fn account(request: &ReceivedRequest) -> String {
    let text = |name| escaped(&request.headers.text(name).unwrap_or_default());
    let facts = format!(
        "<b>{}</b> · plan {} · role {}",
        text("x-user-id"),
        text("x-user-plan"),
        text("x-user-roles")
    );
    let echo = describe("pages", request).to_string().replace('<', "\\u003c");
    include_str!("page/account.html")
        .replace("{facts}", &facts)
        .replace("{echo}", &format!("{ECHO_START}{echo}</script>"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Its own files, the issuer and the APIs, and frames for those whom it must not trust.
fn content_security_policy(frame_ancestors: &str) -> String {
    format!(
        "default-src 'self'; \
         connect-src 'self' {ISSUER_ORIGIN} {API_ORIGIN} {FIRST_API_ORIGIN} {SECOND_API_ORIGIN}; \
         frame-src 'self' {SIBLING_ORIGIN} {FOREIGN_ORIGIN} {SECOND_API_ORIGIN}; \
         base-uri 'none'; form-action 'self'; frame-ancestors {frame_ancestors}"
    )
}
