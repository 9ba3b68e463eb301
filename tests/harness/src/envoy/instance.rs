//! A running Envoy: started, watched, asked, and ended with the value that stands for it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::lds::{DynamicListeners, ListenerUpdate};
use super::log::{complaints, read_lossy, tail};
use super::process::{ACCESS_LOG, ADMIN_ADDRESS, EnvoyOptions, LOG, Process};
use crate::bootstrap::Listener;
use crate::client::{Client, ClientError, Request, Response};

/// A running Envoy. Dropping it ends the process, as does the end of this process.
pub struct Envoy {
    process: Mutex<Process>,
    admin: SocketAddr,
    folder: TempDir,
}

/// Why Envoy does not run, or did not do as asked.
#[derive(Debug)]
pub enum EnvoyError {
    /// The binary could not be started at all.
    Spawn(PathBuf, io::Error),
    /// The temporary folder could not be used.
    Folder(io::Error),
    /// Another process listens where a listener should: Envoy's own line.
    PortInUse(String),
    /// Envoy ended: its status and the tail of its log.
    Died(ExitStatus, String),
    /// Envoy did not become ready in time: the tail of its log.
    NotReady(Duration, String),
    /// The admin interface did not answer.
    Admin(ClientError),
    /// Nothing came of it in time: what was waited for, and the tail of the log.
    TimedOut(String, String),
}

impl Envoy {
    /// Starts Envoy in the repository's root and waits until its workers accept connections.
    ///
    /// # Errors
    ///
    /// Envoy cannot be started, ends (a bad configuration, a port in use), or is not ready in
    /// time. The error carries the tail of its log.
    pub fn start(options: EnvoyOptions) -> Result<Self, EnvoyError> {
        let folder =
            tempfile::Builder::new().prefix("envoy-").tempdir().map_err(EnvoyError::Folder)?;
        let process = Process::spawn(&options, folder.path())?;
        let unreachable = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut envoy = Self { process: Mutex::new(process), admin: unreachable, folder };
        envoy.wait_until_ready(options.start_timeout)?;
        Ok(envoy)
    }

    /// A client for the listener of this name. Its failures show this Envoy's log.
    ///
    /// # Panics
    ///
    /// When there is no such listener.
    pub fn client(&self, listener: &str) -> Client {
        let address = self.listener(listener).unwrap_or_else(|| {
            panic!("Envoy has no listener {listener}; its log ends:\n{}", self.log_tail())
        });
        Client::new(address).with_log(self.log_path())
    }

    /// The address that the listener of this name is bound to.
    pub fn listener(&self, name: &str) -> Option<SocketAddr> {
        self.listeners().remove(name)
    }

    /// All TCP listeners by name, with their bound addresses.
    pub fn listeners(&self) -> BTreeMap<String, SocketAddr> {
        let document = self.admin_get("/listeners?format=json").map(|response| response.json());
        let document = document.unwrap_or_default();
        let statuses = document["listener_statuses"].as_array().cloned().unwrap_or_default();
        statuses
            .iter()
            .filter_map(|status| {
                let address = &status["local_address"]["socket_address"];
                let ip = address["address"].as_str()?.parse().ok()?;
                let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
                Some((status["name"].as_str()?.to_owned(), SocketAddr::new(ip, port)))
            })
            .collect()
    }

    /// Replaces the listeners and waits until Envoy took or refused them.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or Envoy looks at it too late or not at all.
    pub fn update_listeners(
        &self,
        dynamic: &DynamicListeners,
        listeners: &[Listener],
    ) -> Result<ListenerUpdate, EnvoyError> {
        let before = self.stats()?;
        let accepted = before.get(LDS_SUCCESS).copied().unwrap_or_default();
        let rejected = before.get(LDS_REJECTED).copied().unwrap_or_default();
        let logged = self.log().len();
        dynamic.write(listeners).map_err(EnvoyError::Folder)?;
        self.wait_for("an answer to the new listeners", DEFAULT_WAIT, |envoy| {
            let now = envoy.stats()?;
            if now.get(LDS_REJECTED).is_some_and(|count| *count > rejected) {
                return Ok(Some(ListenerUpdate::Rejected(complaints(&envoy.log(), logged))));
            }
            // A listener is in use once it is warm; the old one then takes no new connection.
            let taken = now.get(LDS_SUCCESS).is_some_and(|count| *count > accepted)
                && now.get(LDS_WARMING).is_none_or(|count| *count == 0);
            Ok(taken.then_some(ListenerUpdate::Accepted))
        })
    }

    /// All counters and gauges.
    ///
    /// # Errors
    ///
    /// Envoy died, or its admin interface does not answer.
    pub fn stats(&self) -> Result<BTreeMap<String, u64>, EnvoyError> {
        let response = self.admin_get("/stats")?;
        Ok(response
            .text()
            .lines()
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(": ")?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect())
    }

    /// One counter or gauge; 0 when Envoy does not have it (yet).
    ///
    /// # Errors
    ///
    /// As [`stats`](Self::stats).
    pub fn stat(&self, name: &str) -> Result<u64, EnvoyError> {
        Ok(self.stats()?.get(name).copied().unwrap_or_default())
    }

    /// Waits up to ten seconds until `holds` for the value of a counter or gauge.
    ///
    /// # Errors
    ///
    /// As [`stats`](Self::stats), or the time passed.
    pub fn wait_for_stat(
        &self,
        name: &str,
        holds: impl Fn(u64) -> bool,
    ) -> Result<u64, EnvoyError> {
        self.wait_for(name, DEFAULT_WAIT, |envoy| {
            let value = envoy.stat(name)?;
            Ok(holds(value).then_some(value))
        })
    }

    /// Waits up to ten seconds until a line of the log contains `text`, and returns the line.
    ///
    /// # Errors
    ///
    /// Envoy died, or the time passed.
    pub fn wait_for_log(&self, text: &str) -> Result<String, EnvoyError> {
        self.wait_for(&format!("`{text}` in the log"), DEFAULT_WAIT, |envoy| {
            Ok(envoy.log().lines().find(|line| line.contains(text)).map(str::to_owned))
        })
    }

    /// Waits up to ten seconds until a line of the access log contains `text`.
    ///
    /// # Errors
    ///
    /// Envoy died, or the time passed.
    pub fn wait_for_access_log(&self, text: &str) -> Result<String, EnvoyError> {
        self.wait_for(&format!("`{text}` in the access log"), DEFAULT_WAIT, |envoy| {
            Ok(envoy.access_log().lines().find(|line| line.contains(text)).map(str::to_owned))
        })
    }

    /// Asks until `ready` gives a value.
    ///
    /// # Errors
    ///
    /// `ready` fails, Envoy died, or `timeout` passed.
    pub fn wait_for<T>(
        &self,
        what: &str,
        timeout: Duration,
        ready: impl Fn(&Self) -> Result<Option<T>, EnvoyError>,
    ) -> Result<T, EnvoyError> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(value) = ready(self)? {
                return Ok(value);
            }
            self.check_alive()?;
            if Instant::now() > end {
                return Err(EnvoyError::TimedOut(what.to_owned(), self.log_tail()));
            }
            std::thread::sleep(POLL);
        }
    }

    /// A GET on the admin interface.
    ///
    /// # Errors
    ///
    /// Envoy died, or its admin interface does not answer.
    pub fn admin_get(&self, path: &str) -> Result<Response, EnvoyError> {
        self.admin(Request::get(path))
    }

    /// A POST on the admin interface.
    ///
    /// # Errors
    ///
    /// Envoy died, or its admin interface does not answer.
    pub fn admin_post(&self, path: &str) -> Result<Response, EnvoyError> {
        self.admin(Request::new("POST", path).header("content-length", "0"))
    }

    /// The address of the admin interface.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The whole log.
    pub fn log(&self) -> String {
        read_lossy(&self.log_path())
    }

    /// The last lines of the log, with a heading.
    pub fn log_tail(&self) -> String {
        tail(&self.log_path())
    }

    /// The lines of the log that are warnings or worse.
    pub fn complaints(&self) -> String {
        complaints(&self.log(), 0)
    }

    /// What access loggers wrote to standard output.
    pub fn access_log(&self) -> String {
        read_lossy(&self.folder.path().join(ACCESS_LOG))
    }

    /// The file that [`log`](Self::log) reads.
    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join(LOG)
    }

    /// Envoy's process.
    pub fn pid(&self) -> u32 {
        self.lock().id()
    }

    /// Fails once Envoy has ended.
    ///
    /// # Errors
    ///
    /// Its status and the tail of its log.
    pub fn check_alive(&self) -> Result<(), EnvoyError> {
        match self.lock().exit_status() {
            None => Ok(()),
            Some(status) => Err(died(status, &self.log_path())),
        }
    }

    /// Blocks until Envoy ends by itself.
    pub fn wait(&self) -> EnvoyError {
        loop {
            if let Err(error) = self.check_alive() {
                return error;
            }
            std::thread::sleep(POLL);
        }
    }

    fn admin(&self, request: Request) -> Result<Response, EnvoyError> {
        match Client::new(self.admin).send(request).response {
            Ok(response) => Ok(response),
            Err(error) => {
                self.check_alive()?;
                Err(EnvoyError::Admin(error))
            }
        }
    }

    fn wait_until_ready(&mut self, timeout: Duration) -> Result<(), EnvoyError> {
        let end = Instant::now() + timeout;
        while Instant::now() < end {
            self.check_alive()?;
            let written = read_lossy(&self.folder.path().join(ADMIN_ADDRESS));
            if let Ok(address) = written.trim().parse() {
                self.admin = address;
                // `/ready` alone speaks before the workers accept connections.
                let ready = self.admin_get("/ready").is_ok_and(|response| response.status == 200);
                if ready && self.stat("listener_manager.workers_started")? == 1 {
                    return Ok(());
                }
            }
            std::thread::sleep(POLL);
        }
        Err(EnvoyError::NotReady(timeout, self.log_tail()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn died(status: ExitStatus, log: &Path) -> EnvoyError {
    let text = read_lossy(log);
    match text.lines().find(|line| line.contains("Address already in use")) {
        Some(line) => EnvoyError::PortInUse(line.to_owned()),
        None => EnvoyError::Died(status, tail(log)),
    }
}

impl fmt::Display for EnvoyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn(path, error) => write!(f, "{} does not start: {error}", path.display()),
            Self::Folder(error) => write!(f, "temporary files: {error}"),
            Self::PortInUse(line) => write!(f, "a port is in use: {line}"),
            Self::Died(status, log) => write!(f, "Envoy ended ({status}). {log}"),
            Self::NotReady(after, log) => write!(f, "Envoy is not ready after {after:?}. {log}"),
            Self::Admin(error) => write!(f, "Envoy's admin interface: {error}"),
            Self::TimedOut(what, log) => write!(f, "waited in vain for {what}. {log}"),
        }
    }
}

impl std::error::Error for EnvoyError {}

const LDS_SUCCESS: &str = "listener_manager.lds.update_success";
const LDS_REJECTED: &str = "listener_manager.lds.update_rejected";
const LDS_WARMING: &str = "listener_manager.total_listeners_warming";
const POLL: Duration = Duration::from_millis(20);
const DEFAULT_WAIT: Duration = Duration::from_secs(10);
