//! The demo's page: three files and the list of cases, from memory.

use serde_json::{Value, json};

use super::cases::CASES_JSON;
use super::ports::{API_ORIGIN, ISSUER_ORIGIN, ONE_HOST_ORIGIN, TWO_HOSTS_ORIGIN};
use crate::answer::Answer;
use crate::backend::describe;
use crate::server::ReceivedRequest;

/// Answers one request. What is no file of the page shows what arrived.
#[allow(clippy::needless_pass_by_value, reason = "a handler owns its request")]
pub(super) fn answer(request: ReceivedRequest) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default();
    let answer = match path {
        "/" => Answer::html(include_str!("page/index.html"))
            .header("content-security-policy", content_security_policy()),
        "/assets/style.css" => file("text/css; charset=utf-8", include_str!("page/style.css")),
        "/assets/app.js" => file("text/javascript; charset=utf-8", include_str!("page/app.js")),
        "/assets/show.js" => file("text/javascript; charset=utf-8", include_str!("page/show.js")),
        "/assets/icon.svg" => file("image/svg+xml", include_str!("page/icon.svg")),
        "/assets/cases.json" => Answer::json(places_and_cases()),
        "/healthz" => Answer::json(describe("pages", &request)),
        _ => Answer::json(describe("pages", &request)).with_status(404),
    };
    answer.header("cache-control", "no-store").header("x-content-type-options", "nosniff")
}

fn places_and_cases() -> Value {
    let cases: Value = serde_json::from_str(CASES_JSON).unwrap_or_default();
    json!({
        "issuer": ISSUER_ORIGIN,
        "api": API_ORIGIN,
        "one_host": ONE_HOST_ORIGIN,
        "two_hosts": TWO_HOSTS_ORIGIN,
        "groups": [
            { "scenario": 1, "title": "Page and API on one host: the cookie" },
            { "scenario": 2, "title": "API on another host: the bearer" },
            { "scenario": 3, "title": "A service that calls a service" },
            { "scenario": 4, "title": "Keys" },
        ],
        "cases": cases,
    })
}

fn file(content_type: &str, text: &str) -> Answer {
    Answer::status(200).header("content-type", content_type).body(text)
}

/// Its own files, the issuer and the API, nothing else.
fn content_security_policy() -> String {
    format!(
        "default-src 'self'; connect-src 'self' {ISSUER_ORIGIN} {API_ORIGIN}; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}
