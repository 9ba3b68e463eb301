//! Plays every flow of the shared session, as the page and its browser would, and judges the
//! answers.
//!
//! A step is as expected if all hold:
//!
//! 1. The status is the expected one; the vendor's word for a refusal too.
//! 2. The expected backend answered, and none if the step names none.
//! 3. A backend that was reached received exactly one `Authorization`, the session's token; the
//!    other cookies byte for byte and none of the session's; and the claims of the token.
//! 4. Across origins the page may read the answer, with credentials.
//!
//! The cookies are kept as a browser keeps them, by a [`Jar`]: a session that reached another host
//! got there by what the proxy made of `Set-Cookie`.

use ct_codecs::{Base64, Decoder};
use serde_json::{Value, json};

use super::cases::Plan;
use super::check::{Played, Row, differ, host_of, values};
use super::flows::{Flow, Layout, Place, Sender, Start, Step, StepExpect, flows};
use super::jar::Jar;
use super::loopback;
use super::ports::{
    BY_PATH_ORIGIN, FIRST_API_ORIGIN, FOREIGN_ORIGIN, SECOND_API_ORIGIN, SHARED_SESSION,
    SHARED_SESSION_ORIGIN, SIBLING_ORIGIN,
};
use crate::client::{Client, Request, Response};

/// Plays every flow on both pages, with a plan each.
pub(super) fn rows() -> Vec<Row> {
    let pages = [
        (Layout::Shared, SHARED_SESSION_ORIGIN, Plan::Starter),
        (Layout::ByPath, BY_PATH_ORIGIN, Plan::Pro),
    ];
    pages
        .into_iter()
        .flat_map(|(layout, origin, plan)| Browser::new(layout, origin, plan).rows())
        .collect()
}

/// A browser with the page open.
struct Browser {
    layout: Layout,
    origin: &'static str,
    plan: Plan,
    jar: Jar,
    /// What the auth server told the page: user, end and claims of the token.
    front_token: Value,
    /// Where the last redirect led.
    location: String,
}

impl Browser {
    fn new(layout: Layout, origin: &'static str, plan: Plan) -> Self {
        let mut jar = Jar::default();
        jar.keep(site_of(origin), &format!("{OTHER_COOKIE}; Domain={SITE}"));
        Self { layout, origin, plan, jar, front_token: Value::Null, location: String::new() }
    }

    fn rows(mut self) -> Vec<Row> {
        let mut rows = vec![self.row("open the page", Self::opens)];
        for flow in flows() {
            if flow.only.is_none_or(|only| only == self.layout) {
                rows.push(self.row(&flow.id, |browser| browser.play(&flow)));
            }
        }
        rows.push(self.row("foreign POST, SameSite=None", Self::foreign_post_with_the_cookie));
        if self.layout == Layout::Shared {
            rows.push(self.row("preflight of a sibling", Self::sibling_preflight));
        }
        rows
    }

    fn row(&mut self, case: &str, play: impl FnOnce(&mut Self) -> Played) -> Row {
        Row::new(self.origin, case, play(self))
    }

    fn opens(&mut self) -> Played {
        let mut misses = Vec::new();
        for path in ["/", "/login", "/assets/sessions.js", "/assets/login.js"] {
            let response = self.send(Request::get(path).header("host", host_of(self.origin)))?;
            differ(&mut misses, path, &response.status, &200);
        }
        Ok(("200".to_owned(), misses))
    }

    fn play(&mut self, flow: &Flow) -> Played {
        match (flow.starts, self.jar.value(ACCESS_COOKIE).is_some()) {
            (Start::SignedIn, true) | (Start::SignedOut, false) => {}
            (Start::SignedIn, false) => self.sign_in("Lax")?,
            (Start::SignedOut, true) => {
                self.by_page("POST", Place::Auth, "/auth/signout", None)?;
            }
        }
        let mut misses = Vec::new();
        let mut came = Vec::new();
        for (index, step) in flow.steps.iter().enumerate() {
            let response = self.send_step(step)?;
            came.push(response.status.to_string());
            let step_misses = self.judge(step, &response);
            misses
                .extend(step_misses.into_iter().map(|miss| format!("step {}: {miss}", index + 1)));
        }
        Ok((came.join(" "), misses))
    }

    /// A browser keeps a `SameSite=Lax` cookie from another site's POST. The filter has to refuse
    /// it where the cookie comes along.
    fn foreign_post_with_the_cookie(&mut self) -> Played {
        self.sign_in("None")?;
        let response = self.by_outsider(Sender::Foreign, Place::Api2, "/orders")?;
        let mut misses = Vec::new();
        differ(&mut misses, "status", &response.status, &403);
        differ(&mut misses, "message", &response.json()["message"], &json!("cross_site"));
        Ok((response.status.to_string(), misses))
    }

    fn sibling_preflight(&mut self) -> Played {
        let response = self.preflight(SIBLING_ORIGIN, Place::Api2, "/orders")?;
        let mut misses = Vec::new();
        let granted = response.headers.text("access-control-allow-origin");
        differ(&mut misses, "access-control-allow-origin", &granted, &None);
        differ(&mut misses, "backend", &response.json().get("backend"), &None);
        Ok((format!("{} without permission", response.status), misses))
    }

    fn send_step(&mut self, step: &Step) -> Result<Response, String> {
        let Step { by, method, to, path, expect: _ } = step;
        match by {
            Sender::Page => self.by_page(method, *to, path, None),
            Sender::Person => self.by_person("none", *to, path),
            Sender::LoginPage => {
                self.sign_in("Lax")?;
                let back = return_to(&self.location).unwrap_or_default();
                match back == self.url(*to, path) {
                    true => self.by_person("same-origin", *to, path),
                    false => Err(format!("the login page would return to {back:?}")),
                }
            }
            Sender::Sibling | Sender::Foreign => self.by_outsider(*by, *to, path),
        }
    }

    fn sign_in(&mut self, same_site: &str) -> Result<(), String> {
        let user = json!({ "name": USER, "plan": self.plan, "same_site": same_site });
        let response = self.by_page("POST", Place::Auth, "/auth/signin", Some(&user))?;
        match response.status {
            200 => Ok(()),
            status => Err(format!("the auth server answered {status} to the sign-in")),
        }
    }

    /// `fetch` with `credentials: "include"`; a POST is JSON, so the browser asks first.
    fn by_page(
        &mut self,
        method: &str,
        to: Place,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response, String> {
        let crosses = host_of(&self.url(to, "")) != host_of(self.origin);
        let mut request = Request::new(method, self.path(to, path))
            .header("sec-fetch-mode", "cors")
            .header("sec-fetch-site", if crosses { "same-site" } else { "same-origin" });
        if crosses || method == "POST" {
            request = request.header("origin", self.origin);
        }
        if method == "POST" {
            if crosses {
                let granted = self.preflight(self.origin, to, path)?;
                self.readable(&granted)?;
            }
            let body = body.cloned().unwrap_or_else(|| json!({}));
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = self.send_with_cookies(request, to, path, true)?;
        if crosses {
            self.readable(&response)?;
        }
        Ok(response)
    }

    fn by_person(&mut self, site: &str, to: Place, path: &str) -> Result<Response, String> {
        let request = Request::get(self.path(to, path))
            .header("accept", "text/html,*/*;q=0.8")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header("sec-fetch-site", site);
        let response = self.send_with_cookies(request, to, path, true)?;
        self.location = response.headers.text("location").unwrap_or_default();
        Ok(response)
    }

    fn by_outsider(&mut self, by: Sender, to: Place, path: &str) -> Result<Response, String> {
        let same_site = by == Sender::Sibling;
        let (origin, site, mode) = match same_site {
            true => (SIBLING_ORIGIN, "same-site", "navigate"),
            false => (FOREIGN_ORIGIN, "cross-site", "no-cors"),
        };
        let request = Request::post(self.path(to, path), "item=1")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", origin)
            .header("sec-fetch-mode", mode)
            .header("sec-fetch-site", site);
        self.send_with_cookies(request, to, path, same_site)
    }

    fn preflight(&self, origin: &str, to: Place, path: &str) -> Result<Response, String> {
        let request = Request::new("OPTIONS", self.path(to, path))
            .header("host", host_of(&self.url(to, "")))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type");
        self.send(request)
    }

    /// Rule 4 of this module.
    fn readable(&self, response: &Response) -> Result<(), String> {
        let header = |name| response.headers.all(name);
        let readable = header("access-control-allow-origin") == [self.origin.as_bytes()]
            && header("access-control-allow-credentials") == [b"true"];
        match readable {
            true => Ok(()),
            false => Err(format!("the page may not read an answer with {}", response.status)),
        }
    }

    fn send_with_cookies(
        &mut self,
        request: Request,
        to: Place,
        path: &str,
        same_site: bool,
    ) -> Result<Response, String> {
        let url = self.url(to, "");
        let (host, path) = (site_of(&url).to_owned(), self.path(to, path));
        let mut request = request.header("host", host_of(&url));
        let cookies = self.jar.header(&host, &path, same_site);
        if !cookies.is_empty() {
            request = request.header("cookie", cookies);
        }
        let response = self.send(request)?;
        for set_cookie in response.headers.all("set-cookie") {
            self.jar.keep(&host, &String::from_utf8_lossy(set_cookie));
        }
        if let Some(front_token) = response.headers.text("front-token") {
            let bytes = Base64::decode_to_vec(front_token, None).unwrap_or_default();
            self.front_token = serde_json::from_slice(&bytes).unwrap_or_default();
        }
        Ok(response)
    }

    fn send(&self, request: Request) -> Result<Response, String> {
        Client::new(loopback(SHARED_SESSION))
            .send(request)
            .response
            .map_err(|error| format!("port {SHARED_SESSION}: {error}"))
    }

    /// Where a path of an API is on this page's hosts. The origin alone, without a path.
    fn url(&self, to: Place, path: &str) -> String {
        let origin = match (self.layout, to) {
            (Layout::Shared, Place::Api | Place::Auth) => FIRST_API_ORIGIN,
            (Layout::Shared, Place::Api2) => SECOND_API_ORIGIN,
            (Layout::Shared, Place::Www) | (Layout::ByPath, _) => self.origin,
        };
        match path {
            "" => origin.to_owned(),
            path => format!("{origin}{}", self.path(to, path)),
        }
    }

    fn path(&self, to: Place, path: &str) -> String {
        match (self.layout, to) {
            (Layout::ByPath, Place::Api) => format!("/api{path}"),
            (Layout::ByPath, Place::Api2) => format!("/api2{path}"),
            (Layout::Shared, _) | (Layout::ByPath, Place::Www | Place::Auth) => path.to_owned(),
        }
    }

    /// Rules 1 to 3 of this module.
    fn judge(&self, step: &Step, response: &Response) -> Vec<String> {
        let StepExpect { status, backend, message, to_login } = &step.expect;
        let mut misses = Vec::new();
        let body = echo_of(response);
        differ(&mut misses, "status", &response.status, status);
        differ(&mut misses, "backend", &body["backend"].as_str(), &backend.as_deref());
        if message.is_some() {
            differ(&mut misses, "message", &body["message"].as_str(), &message.as_deref());
        }
        if *to_login {
            let wanted = self.url(step.to, &step.path);
            differ(&mut misses, "return_to", &return_to(&self.location), &Some(wanted));
        }
        if backend.is_some() {
            let claims = &self.front_token["up"];
            let claim = |value: &Value| vec![value.as_str().unwrap_or("none").to_owned()];
            let bearer = format!("Bearer {}", self.jar.value(ACCESS_COOKIE).unwrap_or_default());
            for (name, wanted) in [
                ("authorization", vec![bearer]),
                ("cookie", vec![OTHER_COOKIE.to_owned()]),
                ("x-user-id", claim(&claims["sub"])),
                ("x-user-plan", claim(&claims["plan"])),
                ("x-user-roles", claim(&claims["st-role"]["v"][0])),
            ] {
                differ(&mut misses, name, &values(&body, name), &wanted);
            }
        }
        misses
    }
}

/// A backend's description of the request; a page carries it among its text.
fn echo_of(response: &Response) -> Value {
    let text = response.text();
    match text.split_once(ECHO_START).and_then(|(_, rest)| rest.split_once("</script>")) {
        Some((echo, _)) => serde_json::from_str(echo).unwrap_or_default(),
        None => response.json(),
    }
}

/// What the login page is told, if it is the login page.
fn return_to(location: &str) -> Option<String> {
    let query = location.strip_prefix(SHARED_SESSION_ORIGIN)?.strip_prefix("/login?return_to=")?;
    let mut parts = query.split('%');
    let first = parts.next()?.to_owned();
    parts.try_fold(first, |mut decoded, part| {
        let byte = u8::from_str_radix(part.get(..2)?, 16).ok()?;
        decoded.push(char::from(byte));
        decoded.push_str(&part[2..]);
        Some(decoded)
    })
}

/// The origin's host without its port.
fn site_of(origin: &str) -> &str {
    host_of(origin).split(':').next().unwrap_or_default()
}

const USER: &str = "Ada Lovelace";
const SITE: &str = "example.localhost";
const ACCESS_COOKIE: &str = "sAccessToken";
const OTHER_COOKIE: &str = "theme=warm";
/// Where a page of the demo keeps what its server received.
pub(super) const ECHO_START: &str = "<script type=\"application/json\" id=\"echo\">";
