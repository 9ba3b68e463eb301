//! The demo's pages in a real Chromium, headless, behind the newest Envoy. Needs the finished
//! module (`make build`) and the ports of the demo; without a Chromium it is listed and left out.

mod chromium;

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use serde_json::{Value, json};
use session_token_harness::demo::Demo;
use session_token_harness::envoy::EnvoyBinary;

use chromium::{Chromium, Tab, Window};

fn main() -> ExitCode {
    let name = "browser::the_demo_in_a_real_browser";
    let trial = match chromium::installed() {
        Some(program) => Trial::test(name, move || {
            in_a_browser(&program);
            Ok(())
        }),
        None => Trial::test(name, || Ok(())).with_kind("needs Chromium").with_ignored_flag(true),
    };
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit_code()
}

fn in_a_browser(program: &Path) {
    let binary = EnvoyBinary::newest().unwrap_or_else(|error| panic!("{error}"));
    let _demo = Demo::start_in(&binary).unwrap_or_else(|error| panic!("{error}"));
    let browser = Chromium::start(program);
    // In one window: cookies go by host, whatever the port, and must not get in each other's way.
    let window = browser.window();
    for page in [WWW, APP, "http://www.example.localhost:8080", "http://www.example.localhost:8090"]
    {
        the_page_plays_all_its_cases(&window, page);
    }
    one_session_on_both_apis(&browser.window());
    a_login_redirect_and_back(&browser.window());
    pages_of_other_origins_are_refused(&browser.window());
}

/// As a person does: type nothing, log in, run all, look at the marks.
fn the_page_plays_all_its_cases(window: &Window, page: &str) {
    let tab = window.open(page);
    tab.wait_for("page", "document.querySelector('.case') !== null");
    tab.evaluate("login.requestSubmit()");
    tab.wait_for("session", "!session.hidden");
    tab.evaluate("document.querySelector('#run-all').click()");
    tab.wait_for("end of all cases", "document.body.dataset.done === 'yes'");
    let cases = tab.evaluate(
        "[...document.querySelectorAll('.case')].map((c) => [c.classList.contains('pass'), c.id, c.title])",
    );
    let cases = cases.as_array().unwrap();
    let failed: Vec<_> = cases.iter().filter(|case| case[0] != true).collect();
    assert!(cases.len() >= 6 && failed.is_empty(), "{page}: {failed:#?}");
}

fn one_session_on_both_apis(window: &Window) {
    let tab = window.open(WWW);
    tab.wait_for("page", "document.querySelector('.case') !== null");
    let both = [format!("{API}/profile"), format!("{API2}/orders")];
    let expect = |what: &str, status: u16, message: Option<&str>| {
        for url in &both {
            let (got, body) = fetch(&tab, "GET", url, &Value::Null);
            assert_eq!((got, body["message"].as_str()), (status, message), "{what}: {url}: {body}");
            if status == 200 {
                expect_verified(&body, what);
            }
        }
    };
    expect("before", 401, Some("unauthorised"));
    sign_in(&tab, "Lax");
    let cookies = window.cookies();
    let shown = |name: &str| -> Vec<_> {
        let named = cookies.iter().filter(|cookie| cookie["name"] == name);
        named
            .map(|cookie| json!([cookie["domain"], cookie["httpOnly"], cookie["sameSite"]]))
            .collect()
    };
    assert_eq!(shown("sAccessToken"), [json!([".example.localhost", true, "Lax"])]);
    assert_eq!(shown("sRefreshToken"), [json!(["api.example.localhost", true, "Lax"])]);
    expect("signed in", 200, None);
    auth(&tab, "/auth/demo/expire");
    expect("run out", 401, Some("try refresh token"));
    auth(&tab, "/auth/session/refresh");
    expect("refreshed", 200, None);
    auth(&tab, "/auth/signout");
    expect("signed out", 401, Some("unauthorised"));
}

fn a_login_redirect_and_back(window: &Window) {
    let tab = window.open(&format!("{WWW}/account"));
    tab.wait_for("login form", "location.pathname === '/login' && !login.hidden");
    let return_to = tab.evaluate("new URLSearchParams(location.search).get('return_to')");
    assert_eq!(return_to, json!(format!("{WWW}/account")));
    tab.evaluate("login.requestSubmit()");
    tab.wait_for(
        "way back",
        "location.pathname === '/account' && document.querySelector('#echo') !== null",
    );
    let echo = tab.evaluate("JSON.parse(echo.textContent)");
    expect_verified(&echo, "the account page");
    // With a session there is no way round.
    let tab = window.open(&format!("{WWW}/account"));
    tab.wait_for(
        "account page",
        "location.pathname === '/account' && document.querySelector('#echo') !== null",
    );
}

/// Each page sends a form to the API, so the browser shows what came of it.
fn pages_of_other_origins_are_refused(window: &Window) {
    let tab = window.open(WWW);
    tab.wait_for("page", "document.querySelector('.case') !== null");
    // `None`: the browser sends the cookie with other sites' requests too, and only the filter
    // stands between.
    for (same_site, outsider) in [
        ("Lax", "http://blog.example.localhost:8111"),
        ("None", "http://blog.example.localhost:8111"),
        ("None", "http://evil.localhost:8111"),
    ] {
        sign_in(&tab, same_site);
        let (_, before) = fetch(&tab, "GET", &format!("{API2}/orders"), &Value::Null);
        expect_verified(&before, "before");
        let evil = window.open(&format!("{outsider}/?to={API2}/orders"));
        evil.wait_for(
            "answer",
            &format!("location.href === '{API2}/orders' && document.readyState === 'complete'"),
        );
        let status = evil.evaluate("performance.getEntriesByType('navigation')[0].responseStatus");
        let body = evil.evaluate("document.body.innerText");
        let body: Value =
            serde_json::from_str(body.as_str().unwrap_or_default()).unwrap_or_default();
        let what = format!("{outsider}, SameSite={same_site}");
        assert_eq!((status, body), (json!(403), json!({ "message": "cross_site" })), "{what}");
        let (_, after) = fetch(&tab, "GET", &format!("{API2}/orders"), &Value::Null);
        assert_eq!(after["posts"], before["posts"], "{what}");
    }
}

fn sign_in(tab: &Tab, same_site: &str) {
    let user = json!({ "name": "Ada Lovelace", "plan": "pro", "same_site": same_site });
    let (status, body) = fetch(tab, "POST", &format!("{API}/auth/signin"), &user);
    assert_eq!(status, 200, "{body}");
}

fn auth(tab: &Tab, path: &str) {
    let (status, body) = fetch(tab, "POST", &format!("{API}{path}"), &json!({}));
    assert_eq!(status, 200, "{path}: {body}");
}

/// A request of the page's script; status 0 where the browser keeps the answer from it.
fn fetch(tab: &Tab, method: &str, url: &str, body: &Value) -> (u16, Value) {
    let mut options = json!({ "method": method, "credentials": "include" });
    if !body.is_null() {
        options["headers"] = json!({ "content-type": "application/json" });
        options["body"] = json!(body.to_string());
    }
    let came = tab.evaluate(&format!(
        "fetch({}, {options}).then(async (a) => [a.status, await a.json()], (e) => [0, String(e)])",
        json!(url)
    ));
    (came[0].as_u64().and_then(|status| status.try_into().ok()).unwrap_or(0), came[1].clone())
}

#[track_caller]
fn expect_verified(echo: &Value, what: &str) {
    let values = |name: &str| -> Vec<&str> {
        let lines = echo["headers"].as_array().map(Vec::as_slice).unwrap_or_default();
        lines.iter().filter(|line| line[0] == name).filter_map(|line| line[1].as_str()).collect()
    };
    let bearers = values("authorization");
    assert!(bearers.len() == 1 && bearers[0].starts_with("Bearer ey"), "{what}: {echo}");
    assert_eq!(values("x-user-id"), ["ada-lovelace"], "{what}: {echo}");
    assert_eq!(values("x-user-roles"), ["member"], "{what}: {echo}");
    assert!(values("cookie").iter().all(|line| !line.contains("sAccessToken")), "{what}: {echo}");
}

const WWW: &str = "http://www.example.localhost:8110";
const APP: &str = "http://app.example.localhost:8110";
const API: &str = "http://api.example.localhost:8110";
const API2: &str = "http://api2.example.localhost:8110";
