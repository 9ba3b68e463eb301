//! A headless Chromium of this machine, spoken to over a pipe (`--remote-debugging-pipe`): JSON
//! messages that end with a NUL byte, in both directions. It ends when the pipe does.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A running browser. Dropping it ends it.
pub(crate) struct Chromium {
    process: Child,
    wire: RefCell<Wire>,
    folder: TempDir,
}

/// A window with cookies of its own.
pub(crate) struct Window<'a> {
    browser: &'a Chromium,
    context: String,
}

/// A tab of a window.
pub(crate) struct Tab<'a> {
    browser: &'a Chromium,
    session: String,
}

/// Where the system's packages put it.
pub(crate) fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
}

impl Chromium {
    pub(crate) fn start(program: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new("sh")
            // Chromium reads from 3 and writes to 4.
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"])
            .arg(program)
            .args(FLAGS)
            .arg(flag("--user-data-dir=", folder.path()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join(LOG)).unwrap())
            .spawn()
            .unwrap();
        let output = process.stdout.take().unwrap();
        let (send, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0) {
                let Ok(message) = message else { return };
                if send.send(serde_json::from_slice(&message).unwrap_or_default()).is_err() {
                    return;
                }
            }
        });
        let input = process.stdin.take().unwrap();
        Self { process, wire: RefCell::new(Wire { input, messages, last_id: 0 }), folder }
    }

    pub(crate) fn window(&self) -> Window<'_> {
        let answer = self.call(None, "Target.createBrowserContext", json!({}));
        Window { browser: self, context: text(&answer["browserContextId"]) }
    }

    /// Calls a method of the DevTools protocol and returns its result.
    fn call(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        self.wire.borrow_mut().call(session, method, params).unwrap_or_else(|error| {
            let log = fs::read(self.folder.path().join(LOG)).unwrap_or_default();
            panic!("{method}: {error}\nChromium's log:\n{}", String::from_utf8_lossy(&log))
        })
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.wire.borrow_mut().call(None, "Browser.close", json!({}));
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if let Ok(Some(_)) = self.process.try_wait() {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl<'a> Window<'a> {
    /// A new tab that opens `url`.
    pub(crate) fn open(&self, url: &str) -> Tab<'a> {
        let target = json!({ "url": "about:blank", "browserContextId": self.context });
        let target = self.browser.call(None, "Target.createTarget", target);
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let answer = self.browser.call(None, "Target.attachToTarget", attach);
        let tab = Tab { browser: self.browser, session: text(&answer["sessionId"]) };
        let answer = tab.call("Page.navigate", json!({ "url": url }));
        assert_eq!(answer.get("errorText"), None, "{url}");
        tab
    }

    /// All cookies of the window.
    pub(crate) fn cookies(&self) -> Vec<Value> {
        let context = json!({ "browserContextId": self.context });
        let answer = self.browser.call(None, "Storage.getCookies", context);
        answer["cookies"].as_array().cloned().unwrap_or_default()
    }
}

impl Tab<'_> {
    /// The value of a script's expression, once its promise is kept; `null` where it throws.
    pub(crate) fn evaluate(&self, script: &str) -> Value {
        let params = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", params);
        match answer.get("exceptionDetails") {
            Some(_) => Value::Null,
            None => answer["result"]["value"].take(),
        }
    }

    /// Waits until the expression is true, and fails with `what` and the page's text if it never
    /// is.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, script: &str) {
        let end = Instant::now() + PATIENCE;
        while self.evaluate(script) != json!(true) {
            if Instant::now() >= end {
                let page = self.evaluate("location.href + '\\n' + document.body.innerText");
                panic!("no {what} within {PATIENCE:?}; the page is {}", text(&page));
            }
            std::thread::sleep(POLL);
        }
    }

    fn call(&self, method: &str, params: Value) -> Value {
        self.browser.call(Some(&self.session), method, params)
    }
}

struct Wire {
    input: ChildStdin,
    messages: Receiver<Value>,
    last_id: u64,
}

impl Wire {
    fn call(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: Value,
    ) -> Result<Value, String> {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let bytes = [message.to_string().as_bytes(), b"\0"].concat();
        self.input.write_all(&bytes).map_err(|error| error.to_string())?;
        let end = Instant::now() + PATIENCE;
        loop {
            // Events come in between; nobody asked for them.
            let left = end.saturating_duration_since(Instant::now());
            let mut answer = self.messages.recv_timeout(left).map_err(|error| error.to_string())?;
            if answer["id"] == self.last_id {
                return match answer.get("error") {
                    Some(error) => Err(error.to_string()),
                    None => Ok(answer["result"].take()),
                };
            }
        }
    }
}

fn flag(name: &str, value: &Path) -> impl AsRef<OsStr> {
    let mut flag = std::ffi::OsString::from(name);
    flag.push(value);
    flag
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

const FLAGS: [&str; 9] = [
    "--headless=new",
    "--remote-debugging-pipe",
    // Its sandbox does not start as root, as which containers run tests. All pages are ours.
    "--no-sandbox",
    "--disable-gpu",
    // Containers have little of it.
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-extensions",
    "--no-first-run",
    "--no-proxy-server",
];

const LOG: &str = "log";
const POLL: Duration = Duration::from_millis(100);
/// Two slow cores start a browser and four Envoys at once.
const PATIENCE: Duration = Duration::from_secs(60);
