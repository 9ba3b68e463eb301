//! The demo: every part that stands around the filter in real life, on one machine.
//!
//! Four Envoys run the shipped configurations as they are. Around them, on the ports that those
//! files name: an issuer that plays Corbado's Frontend API, an auth server in SuperTokens' manner,
//! the pages, echo backends, and a service that calls another. Everything real is real: the
//! filter, Envoy, RS256 keys (made at start, gone at the end), cookies that a script or an answer
//! sets, preflights sent by the browser, pages of other origins that it must not trust.
//!
//! What the pages offer are two lists: [`cases`], one request each, and [`flows`], several
//! requests of one browser. [`check`] plays both without a browser.

mod auth_server;
mod cases;
mod check;
mod flow_check;
mod flows;
mod issuer;
mod jar;
mod orders;
mod outsiders;
mod pages;
mod ports;

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

pub use check::{CheckReport, check};
use serde_json::json;

use crate::answer::Answer;
use crate::backend::describe;
use crate::envoy::{BinaryError, Envoy, EnvoyBinary, EnvoyError, EnvoyOptions};
use crate::server::{Handler, ReceivedRequest, Server};
use crate::workspace;

/// The running demo. Dropping it ends all of it, the Envoys first.
pub struct Demo {
    envoys: Vec<(&'static str, Envoy)>,
    envoy_origin: String,
    _servers: Vec<Server>,
}

/// Why the demo does not run. Each shows as one line that says what to do.
#[derive(Debug)]
pub enum DemoError {
    /// The filter was not built.
    NoModule(PathBuf),
    /// There is no Envoy and none can be had.
    NoEnvoy(BinaryError),
    /// Another process listens on a port of the demo.
    PortInUse(u16),
    /// A port of the demo cannot be listened on, for another reason.
    Port(u16, io::Error),
    /// A shipped configuration could not be read.
    Configuration(&'static str, io::Error),
    /// An Envoy did not start, or ended: its configuration, why, and where its log is.
    Envoy(&'static str, String, Option<PathBuf>),
}

impl Demo {
    /// Starts everything and waits until the Envoys accept connections. `note` gets a line when
    /// something takes long, such as a download.
    ///
    /// # Errors
    ///
    /// See [`DemoError`]. What was started before the error is ended again.
    pub fn start(note: impl FnMut(&str)) -> Result<Self, DemoError> {
        ready_to_start()?;
        Self::start_in(&EnvoyBinary::for_demo(note).map_err(DemoError::NoEnvoy)?)
    }

    /// As [`start`](Self::start), with this Envoy.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_in(binary: &EnvoyBinary) -> Result<Self, DemoError> {
        ready_to_start()?;

        let issuer = issuer::Issuer::new();
        let auth_server = auth_server::AuthServer::new();
        let mut servers = vec![
            serve(ports::ISSUER, move |request| issuer.answer(&request))?,
            serve(ports::PAGES, pages::answer)?,
            serve(ports::ORDERS, orders::answer)?,
            serve(ports::AUTH, move |request| auth_server.answer(&request))?,
            serve(ports::API2, second_api())?,
            serve(ports::OUTSIDERS, outsiders::answer)?,
        ];
        for (name, port) in [
            ("api", ports::API),
            ("api_pro", ports::API_PRO),
            ("stock", ports::STOCK),
            ("stock_priority", ports::STOCK_PRIORITY),
        ] {
            servers.push(serve(port, move |request| Answer::json(describe(name, &request)))?);
        }

        Ok(Self {
            envoys: start_envoys(binary)?,
            envoy_origin: binary.origin().to_owned(),
            _servers: servers,
        })
    }

    /// Where the Envoy binary came from, for people.
    pub fn envoy_origin(&self) -> &str {
        &self.envoy_origin
    }

    /// Fails once one of the Envoys has ended.
    ///
    /// # Errors
    ///
    /// [`DemoError::Envoy`], with its log saved under `target/demo`.
    pub fn check_alive(&self) -> Result<(), DemoError> {
        self.envoys
            .iter()
            .try_for_each(|(file, envoy)| envoy.check_alive().map_err(|error| ended(file, &error)))
    }
}

/// Asked before a download too: nobody should wait for it in vain.
fn ready_to_start() -> Result<(), DemoError> {
    let module = workspace::module();
    if !module.is_file() {
        return Err(DemoError::NoModule(module));
    }
    ports::all_free()
}

/// The second API of the shared session. It counts what was posted to it: a page of another origin
/// can't be asked whether it was refused, this API can.
fn second_api() -> impl Handler {
    let posts = AtomicU32::new(0);
    move |request: ReceivedRequest| {
        let added = u32::from(request.method == "POST");
        let mut body = describe("api2", &request);
        body["posts"] = json!(posts.fetch_add(added, Ordering::SeqCst) + added);
        Answer::json(body)
    }
}

/// 128 bits in hexadecimal.
fn random_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap_or_else(|error| panic!("no randomness: {error}"));
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All four start at the same time: loading the module is most of it.
fn start_envoys(binary: &EnvoyBinary) -> Result<Vec<(&'static str, Envoy)>, DemoError> {
    std::thread::scope(|scope| {
        let starting: Vec<_> = CONFIGURATIONS
            .map(|file| scope.spawn(move || start_envoy(binary, file).map(|envoy| (file, envoy))))
            .into();
        starting
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn start_envoy(binary: &EnvoyBinary, file: &'static str) -> Result<Envoy, DemoError> {
    let config = fs::read_to_string(workspace::root().join(file))
        .map_err(|error| DemoError::Configuration(file, error))?;
    Envoy::start(EnvoyOptions::new(binary.clone(), config)).map_err(|error| ended(file, &error))
}

/// One line for the person, all lines into a file.
fn ended(file: &'static str, error: &EnvoyError) -> DemoError {
    let whole = error.to_string();
    let name = file.trim_start_matches("envoy/").trim_end_matches(".yaml");
    let log = workspace::target().join("demo").join(format!("{name}.log"));
    let saved = log
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&log, &whole))
        .is_ok();
    DemoError::Envoy(file, in_one_line(error, &whole), saved.then_some(log))
}

/// What Envoy complained about last, if it did; else the error's own first sentence.
fn in_one_line(error: &EnvoyError, whole: &str) -> String {
    let sentence = match error {
        EnvoyError::Died(status, _) => format!("Envoy ended ({status})"),
        _ => whole.lines().next().unwrap_or_default().to_owned(),
    };
    // `[time][thread][error][wasm] [source/x.cc:1157] wasm log NAME: configuration refused: …` says
    // more than the `[critical]` lines that follow from it.
    let complaint = ["wasm log ", "[critical]"].into_iter().find_map(|mark| {
        let line = whole.lines().rfind(|line| is_complaint(line) && line.contains(mark))?;
        let (_, what) = line.split_once(".cc:")?.1.split_once("] ")?;
        let what = what.strip_prefix(mark).unwrap_or(what);
        what.split(" initializing config").next()
    });
    match complaint {
        Some(what) => format!("{sentence}: {what}"),
        None => sentence,
    }
}

fn is_complaint(line: &str) -> bool {
    line.contains("[error]") || line.contains("[critical]")
}

fn serve(port: u16, handler: impl Handler) -> Result<Server, DemoError> {
    Server::bind(loopback(port), handler).map_err(|error| on_port(port, error))
}

fn on_port(port: u16, error: io::Error) -> DemoError {
    match error.kind() {
        io::ErrorKind::AddrInUse => DemoError::PortInUse(port),
        _ => DemoError::Port(port, error),
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModule(path) => {
                write!(f, "{} is missing: run `make build` first", path.display())
            }
            Self::NoEnvoy(error) => write!(f, "no Envoy: {error}"),
            Self::PortInUse(port) => write!(
                f,
                "port {port} is in use: end the program that listens there (`lsof -i :{port}` \
                 names it), then start again"
            ),
            Self::Port(port, error) => write!(f, "cannot listen on port {port}: {error}"),
            Self::Configuration(file, error) => write!(f, "{file}: {error}"),
            Self::Envoy(file, why, log) => {
                write!(f, "{file}: {why}")?;
                match log {
                    Some(log) => write!(f, " (its log: {})", log.display()),
                    None => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for DemoError {}

const CONFIGURATIONS: [&str; 4] = [
    "envoy/one-host.yaml",
    "envoy/two-hosts.yaml",
    "envoy/service-to-service.yaml",
    "envoy/shared-session.yaml",
];
