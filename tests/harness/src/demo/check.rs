//! Plays every case through the running demo, as the page would, and judges the answers.
//!
//! A case is as expected if all hold:
//!
//! 1. The status is the expected one; the reason of a refusal too.
//! 2. The expected backend answered, and none if the case names none.
//! 3. A backend that was reached received exactly one `Authorization`, the verified bearer; the
//!    other cookies byte for byte and no session cookie; and `x-user-id` from the token's `sub`.
//! 4. Across origins the preflight was granted, and the page may read the answer.
//!
//! The browser's own part (cookie jar, preflight) is played here in few lines; the page itself
//! does the same cases in a real browser.

use std::fmt;

use ct_codecs::{Base64UrlSafeNoPadding, Decoder};
use serde_json::{Value, json};

use super::cases::{Carry, Case, Expect, First, Host, Plan, TokenKind, cases};
use super::ports::{
    API_ORIGIN, ISSUER, ISSUER_ORIGIN, ONE_HOST, ONE_HOST_ORIGIN, TWO_HOSTS, TWO_HOSTS_ORIGIN,
};
use super::{Demo, flow_check, loopback};
use crate::client::{Client, Request, Response};

/// What came of every case.
#[derive(Debug)]
pub struct CheckReport {
    rows: Vec<Row>,
}

/// One case, or one flow.
#[derive(Debug)]
pub(super) struct Row {
    page: &'static str,
    case: String,
    came: String,
    misses: Vec<String>,
}

/// Plays every case behind both pages, with a plan each; then every flow.
pub fn check(_running: &Demo) -> CheckReport {
    let mut rows = Vec::new();
    for (origin, port, plan) in
        [(TWO_HOSTS_ORIGIN, TWO_HOSTS, Plan::Starter), (ONE_HOST_ORIGIN, ONE_HOST, Plan::Pro)]
    {
        let mut page =
            Page { origin, port, plan, refresh_cookie: String::new(), session: String::new() };
        rows.push(page.row("open the page", Page::opens));
        rows.push(page.row("log in", Page::log_in));
        for case in cases() {
            rows.push(page.row(&case.id, |page| page.play(&case)));
        }
        rows.push(page.row("preflight of a foreign origin", Page::foreign_preflight));
    }
    rows.extend(flow_check::rows());
    CheckReport { rows }
}

impl Row {
    pub(super) fn new(page: &'static str, case: &str, played: Played) -> Self {
        let (came, misses) = played.unwrap_or_else(|error| (String::new(), vec![error]));
        Self { page, case: case.to_owned(), came, misses }
    }
}

impl CheckReport {
    /// The number of cases that did not go as expected.
    pub fn failed(&self) -> usize {
        self.rows.iter().filter(|row| !row.misses.is_empty()).count()
    }
}

/// One line a case; a case that failed has a line more for each difference.
impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut page = "";
        for row in &self.rows {
            if row.page != page {
                page = row.page;
                writeln!(f, "{page}")?;
            }
            let word = if row.misses.is_empty() { "ok  " } else { "FAIL" };
            writeln!(f, "  {word} {:<30} {}", row.case, row.came)?;
            for miss in &row.misses {
                writeln!(f, "       {miss}")?;
            }
        }
        write!(f, "{} of {} as expected", self.rows.len() - self.failed(), self.rows.len())
    }
}

/// A page that was opened at `origin`, with what its browser keeps for it.
struct Page {
    origin: &'static str,
    port: u16,
    plan: Plan,
    refresh_cookie: String,
    session: String,
}

/// What came, in a few words; or what was not as expected.
pub(super) type Played = Result<(String, Vec<String>), String>;

impl Page {
    fn row(&mut self, case: &str, play: impl FnOnce(&mut Self) -> Played) -> Row {
        Row::new(self.origin, case, play(self))
    }

    fn opens(&mut self) -> Played {
        let mut misses = Vec::new();
        for (path, wanted) in [("/", "text/html"), ("/assets/app.js", "text/javascript")] {
            let response = self.send(self.port, self.request("GET", self.origin, path))?;
            let content_type = response.headers.text("content-type").unwrap_or_default();
            differ(&mut misses, path, &response.status, &200);
            differ(&mut misses, path, &content_type.split(';').next(), &Some(wanted));
        }
        Ok(("200".to_owned(), misses))
    }

    fn log_in(&mut self) -> Played {
        let user = json!({ "name": USER, "plan": self.plan });
        let response = self.issuer("/login", &user)?;
        let cookie = response.headers.text("set-cookie").unwrap_or_default();
        self.refresh_cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        self.session = token_of(&response)?;
        Ok(("200".to_owned(), Vec::new()))
    }

    fn foreign_preflight(&mut self) -> Played {
        let preflight = Request::new("OPTIONS", "/api/profile")
            .header("host", host_of(API_ORIGIN))
            .header("origin", "http://evil.example")
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization");
        let response = self.send(TWO_HOSTS, preflight)?;
        let mut misses = Vec::new();
        let granted = response.headers.text("access-control-allow-origin");
        differ(&mut misses, "access-control-allow-origin", &granted, &None);
        differ(&mut misses, "backend", &response.json().get("backend"), &None);
        Ok((format!("{} without permission", response.status), misses))
    }

    fn play(&mut self, case: &Case) -> Played {
        match case.first {
            None => {}
            Some(First::RotateKeys) => {
                self.issuer("/demo/rotate", &json!({}))?;
                self.session = token_of(&self.issuer("/refresh", &json!({}))?)?;
            }
        }
        let token = case.token.map(|kind| self.token(kind)).transpose()?;
        let (origin, port) = match case.host {
            Host::Www => (self.origin, self.port),
            Host::Api => (API_ORIGIN, TWO_HOSTS),
        };
        let mut request = self.request("GET", origin, &case.path);
        for (name, value) in &case.headers {
            request = request.header(name, value);
        }
        let mut misses = Vec::new();
        match (case.carry, &token) {
            (Carry::Nothing, _) | (_, None) => {}
            (Carry::Bearer, Some(token)) => {
                request = request.header("authorization", format!("Bearer {token}"));
                misses.extend(self.preflight(origin, port, &case.path)?);
            }
            (Carry::Cookie, Some(token)) => {
                request = request.header("cookie", format!("{OTHER_COOKIE}; {COOKIE}={token}"));
            }
            (Carry::TwoCookies, Some(token)) => {
                let other = self.token(TokenKind::Pro)?;
                let cookies = format!("{COOKIE}={other}; {OTHER_COOKIE}; {COOKIE}={token}");
                request = request.header("cookie", cookies);
            }
        }
        let response = self.send(port, request)?;
        if case.host == Host::Api {
            let readable = response.headers.text("access-control-allow-origin");
            differ(
                &mut misses,
                "access-control-allow-origin",
                &readable.as_deref(),
                &Some(self.origin),
            );
        }
        judge(&mut misses, "", &case.expect, response.status, &response.json(), token.as_deref());
        if case.carry == Carry::Cookie && case.expect.backend.is_some() {
            let received = values(&response.json(), "cookie");
            differ(&mut misses, "cookie", &received, &vec![OTHER_COOKIE.to_owned()]);
        }
        Ok((came(&response), misses))
    }

    /// As browsers ask before a request with `Authorization` to another origin.
    fn preflight(&self, origin: &str, port: u16, path: &str) -> Result<Vec<String>, String> {
        let preflight = self
            .request("OPTIONS", origin, path)
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization");
        let response = self.send(port, preflight)?;
        let header = |name| response.headers.text(name).unwrap_or_default();
        let mut misses = Vec::new();
        differ(&mut misses, "preflight, status", &response.status, &200);
        let allowed = header("access-control-allow-origin");
        differ(&mut misses, "preflight, origin", &allowed.as_str(), &self.origin);
        if !header("access-control-allow-headers").contains("authorization") {
            misses.push("the preflight does not allow authorization".to_owned());
        }
        Ok(misses)
    }

    fn token(&self, kind: TokenKind) -> Result<String, String> {
        match kind {
            TokenKind::Session => Ok(self.session.clone()),
            kind => token_of(&self.issuer(
                "/demo/token",
                &json!({ "kind": kind, "name": USER, "plan": self.plan }),
            )?),
        }
    }

    fn issuer(&self, path: &str, body: &Value) -> Result<Response, String> {
        let request = self
            .request("POST", ISSUER_ORIGIN, path)
            .header("content-type", "application/json")
            .header("cookie", &self.refresh_cookie)
            .body(body.to_string());
        let response = self.send(ISSUER, request)?;
        match response.status {
            200 => Ok(response),
            status => Err(format!("the issuer answered {status} to {path}")),
        }
    }

    /// A request of this page: one to another origin says where it comes from.
    fn request(&self, method: &str, origin: &str, path: &str) -> Request {
        let request = Request::new(method, path).header("host", host_of(origin));
        if origin == self.origin { request } else { request.header("origin", self.origin) }
    }

    fn send(&self, port: u16, request: Request) -> Result<Response, String> {
        Client::new(loopback(port))
            .send(request)
            .response
            .map_err(|error| format!("port {port}: {error}"))
    }
}

/// Rules 1 to 3 of this module, for one hop; then for the call that its backend made.
fn judge(
    misses: &mut Vec<String>,
    hop: &str,
    expect: &Expect,
    status: u16,
    body: &Value,
    token: Option<&str>,
) {
    let claims = token.map(claims_of).unwrap_or_default();
    let plan = serde_json::from_value(claims["plan"].clone()).unwrap_or(Plan::Starter);
    let backend = expect.backend.as_ref().and_then(|backend| backend.for_plan(plan));

    differ(misses, &format!("{hop}status"), &status, &expect.status);
    differ(misses, &format!("{hop}backend"), &body["backend"].as_str(), &backend);
    if expect.reason.is_some() {
        let reason = body["reason"].as_str();
        differ(misses, &format!("{hop}reason"), &reason, &expect.reason.as_deref());
    }
    if backend.is_some() {
        let bearer = format!("Bearer {}", token.unwrap_or_default());
        differ(
            misses,
            &format!("{hop}authorization"),
            &values(body, "authorization"),
            &vec![bearer],
        );
        let user = claims["sub"].as_str().unwrap_or_default().to_owned();
        differ(misses, &format!("{hop}x-user-id"), &values(body, "x-user-id"), &vec![user]);
        if values(body, "cookie").iter().any(|cookie| cookie.contains(COOKIE)) {
            misses.push(format!("{hop}the backend received the session cookie"));
        }
    }
    if let Some(expect) = &expect.next {
        let next = &body["next"];
        let status = next["status"].as_u64().and_then(|status| status.try_into().ok());
        judge(misses, "second hop: ", expect, status.unwrap_or_default(), &next["body"], token);
    }
}

pub(super) fn differ<T: PartialEq + fmt::Debug>(
    misses: &mut Vec<String>,
    what: &str,
    came: &T,
    wanted: &T,
) {
    if came != wanted {
        misses.push(format!("{what}: expected {wanted:?}, got {came:?}"));
    }
}

/// The values of a header, as the echo of a backend lists them.
pub(super) fn values(echo: &Value, name: &str) -> Vec<String> {
    let lines = echo["headers"].as_array().map(Vec::as_slice).unwrap_or_default();
    lines
        .iter()
        .filter(|line| line[0] == name)
        .filter_map(|line| line[1].as_str().map(str::to_owned))
        .collect()
}

fn came(response: &Response) -> String {
    let body = response.json();
    let words = [
        &body["reason"],
        &body["backend"],
        &body["next"]["body"]["backend"],
        &body["next"]["body"]["reason"],
    ];
    words
        .into_iter()
        .filter_map(Value::as_str)
        .fold(response.status.to_string(), |line, word| format!("{line} {word}"))
}

fn token_of(response: &Response) -> Result<String, String> {
    let body = response.json();
    body["token"].as_str().map(str::to_owned).ok_or_else(|| format!("no token in {body}"))
}

fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap_or_default();
    let payload = Base64UrlSafeNoPadding::decode_to_vec(payload, None).unwrap_or_default();
    serde_json::from_slice(&payload).unwrap_or_default()
}

pub(super) fn host_of(origin: &str) -> &str {
    origin.trim_start_matches("http://")
}

const USER: &str = "Ada Lovelace";
const COOKIE: &str = "cbo_session_token";
const OTHER_COOKIE: &str = "theme=warm";
