//! An Envoy with a listener for everybody who is measured, and the proof that each does its job.

use std::time::{Duration, Instant};

use super::BenchError;
use super::contestants::{Cache, Contestant, Job};
use super::workload::{CHECK_PATH, PATH, Session, Shape};
use crate::backend::Backend;
use crate::bootstrap::{Bootstrap, Cluster, Listener};
use crate::client::{Client, Connection, Response};
use crate::envoy::{Envoy, EnvoyBinary, EnvoyOptions};
use crate::server::ReceivedRequest;
use crate::token::tampered;

pub(super) struct Site {
    pub(super) envoy: Envoy,
    app: Backend,
}

impl Site {
    pub(super) fn start<'l>(
        binary: &EnvoyBinary,
        listeners: impl IntoIterator<Item = &'l Listener>,
        tune: impl FnOnce(&mut EnvoyOptions),
    ) -> Result<Self, BenchError> {
        let app = Backend::start("app");
        let bootstrap = Bootstrap::new()
            // A flush of all statistics would fall into somebody's turn; 300 s is refused.
            .override_with(serde_json::json!({ "stats_flush_interval": "299s" }))
            .cluster(Cluster::new("app", app.address()));
        let bootstrap = listeners.into_iter().cloned().fold(bootstrap, Bootstrap::listener);
        let mut options = EnvoyOptions::new(binary.clone(), bootstrap);
        tune(&mut options);
        Ok(Self { envoy: Envoy::start(options)?, app })
    }

    /// A keep-alive connection to somebody.
    pub(super) fn connect(&self, name: &str) -> Result<Connection, BenchError> {
        Ok(self.client(name)?.connect()?)
    }

    /// Sends one request with a session, one with a forged one, and looks at what the backend got
    /// and where the verdict came from.
    pub(super) fn check(&self, who: &Contestant, session: &Session) -> Result<(), BenchError> {
        let not = |what: String| BenchError::NotTheJob(who.name.to_owned(), what);
        let token = who.token(session);
        for shape in who.shapes {
            let request = shape.request(CHECK_PATH, token).header(OVERRIDE, "/admin");
            let response = self.client(who.name)?.send(request).response?;
            let seen = self.app.take_last();
            let (200, Some(seen)) = (response.status, seen) else {
                return Err(not(format!("{shape:?} is answered {}", response.status)));
            };
            self.check_headers(who, *shape, token, &seen).map_err(not)?;
            let status = self.send(who, *shape, CHECK_PATH, &tampered(token))?.status;
            let reached = self.app.take_last().is_some();
            let verifies = match who.job {
                Job::LetThrough | Job::WriteConstants => false,
                Job::Verify
                | Job::Move
                | Job::MoveAndStrip
                | Job::MoveStripSanitize
                | Job::MoveStripAndTell => true,
            };
            if (status == 401) != verifies || reached == verifies {
                return Err(not(format!("{shape:?} with a forged signature is answered {status}")));
            }
            self.check_cache(who, *shape, token)?;
        }
        Ok(())
    }

    fn check_headers(
        &self,
        who: &Contestant,
        shape: Shape,
        token: &str,
        seen: &ReceivedRequest,
    ) -> Result<(), String> {
        let text = |name: &str| seen.headers.text(name);
        let bearer = Some(format!("Bearer {token}"));
        let sent_bearer = bearer.clone().filter(|_| shape == Shape::Bearer);
        let (authorization, cookie) = match who.job {
            Job::LetThrough | Job::Verify => (sent_bearer, shape.cookies(Some(token))),
            Job::Move => (bearer, shape.cookies(Some(token))),
            Job::MoveAndStrip | Job::MoveStripSanitize | Job::MoveStripAndTell => {
                (bearer, shape.cookies(None))
            }
            Job::WriteConstants => {
                let constant =
                    bearer.map(|bearer| format!("Bearer {}", "x".repeat(bearer.len() - 7)));
                (constant, Some("a=b".to_owned()))
            }
        };
        let user = Some("usr-1234567890".to_owned()).filter(|_| who.job == Job::MoveStripAndTell);
        let sanitizes = matches!(who.job, Job::MoveStripSanitize | Job::MoveStripAndTell);
        if sanitizes && text(OVERRIDE).is_some() {
            return Err(format!("{shape:?}: {OVERRIDE} goes on"));
        }
        for (name, expected) in
            [("authorization", authorization), ("cookie", cookie), ("x-user-id", user)]
        {
            if text(name) != expected {
                let (found, expected) = (shown(text(name)), shown(expected));
                return Err(format!("{shape:?}: {name} is {found} instead of {expected}"));
            }
        }
        Ok(())
    }

    /// Three requests with a token that was seen before.
    fn check_cache(&self, who: &Contestant, shape: Shape, token: &str) -> Result<(), BenchError> {
        let (hits, lookups, used) = match who.cache {
            Cache::None => return Ok(()),
            Cache::Ours { used } => {
                let stat = |name| format!("wasmcustom.session_token.{name}");
                (stat("token_cache_hit"), stat("allowed"), used)
            }
            Cache::JwtAuthn { used } => {
                let stat = |name| format!("http.{}.jwt_authn.{name}", who.name);
                (stat("jwt_cache_hit"), stat("allowed"), used)
            }
        };
        // Ours are handed over once a second: those of earlier requests must be in by now.
        std::thread::sleep(FLUSH);
        let read = |name: &str| self.envoy.stat(name);
        let before = (read(&hits)?, read(&lookups)?);
        for _ in 0..3 {
            self.send(who, shape, PATH, token)?;
        }
        let end = Instant::now() + PATIENCE;
        while read(&lookups)? < before.1 + 3 && Instant::now() < end {
            std::thread::sleep(FLUSH / 10);
        }
        let expected = if used { 3 } else { 0 };
        let counted = (read(&hits)? - before.0, read(&lookups)? - before.1);
        if counted != (expected, 3) {
            let what = format!("{shape:?}: of 3 requests {counted:?} are cached and allowed");
            return Err(BenchError::NotTheJob(who.name.to_owned(), what));
        }
        Ok(())
    }

    fn send(
        &self,
        who: &Contestant,
        shape: Shape,
        path: &str,
        token: &str,
    ) -> Result<Response, BenchError> {
        Ok(self.client(who.name)?.send(shape.request(path, token)).response?)
    }

    fn client(&self, name: &str) -> Result<Client, BenchError> {
        let address = self.envoy.listener(name).ok_or_else(|| {
            BenchError::NotTheJob(name.to_owned(), "it has no listener".to_owned())
        })?;
        // Under valgrind everything takes its time.
        Ok(Client::new(address).timeout(PATIENCE))
    }
}

fn shown(value: Option<String>) -> String {
    value.map_or("absent".to_owned(), |text| format!("{:.40}… ({} bytes)", text, text.len()))
}

/// Sends a request and expects this status.
pub(super) fn exchange(
    connection: &mut Connection,
    bytes: &[u8],
    status: u16,
) -> Result<(), BenchError> {
    connection.write(bytes)?;
    expect(connection, status)
}

/// Reads the response to a GET, and expects this status.
pub(super) fn expect(connection: &mut Connection, status: u16) -> Result<(), BenchError> {
    let response = connection.read_response("GET")?;
    if response.status != status {
        let what = format!("a request is answered {} instead of {status}", response.status);
        return Err(BenchError::NotTheJob("somebody".to_owned(), what));
    }
    Ok(())
}

/// What a server that follows CGI's rule takes for `x-original-url`.
const OVERRIDE: &str = "x_original-url";
/// Longer than the filter's tick.
const FLUSH: Duration = Duration::from_millis(1_300);
const PATIENCE: Duration = Duration::from_secs(60);
