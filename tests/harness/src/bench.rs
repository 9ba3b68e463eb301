//! `make bench`: what the filter costs, beside others that do the same job or a part of it.
//!
//! The rules of a figure:
//! 1. Who is measured first shows that it does its job: what a backend gets of a request, what
//!    becomes of a forged signature, whether the verdict comes from a cache.
//! 2. Instructions are those of Envoy's one worker under callgrind, for 200 requests after a
//!    warm-up of 150 on one keep-alive connection, of four rounds the smallest. The same requests
//!    through the same Envoy without a filter are taken off. So a figure is the same on every
//!    machine, to about a thousandth.
//! 3. CPU time is the worker's too, without valgrind, the smallest of many short rounds in which
//!    everybody has a turn. It depends on the machine: only ratios within one run are compared.
//! 4. Envoy answers by itself (`direct_response`): an upstream would only add its own noise.
//! 5. At most three Wasm VMs in a process: more of them slow each other down.

mod callgrind;
mod chart;
mod contestants;
mod cpu;
mod guard;
mod load;
mod measured;
mod report;
mod scale;
mod site;
mod targets;
mod workload;

use std::fmt;
use std::io;
use std::path::PathBuf;

pub use guard::{Guarded, guard, write_baseline};
pub use report::Report;

use crate::client::ClientError;
use crate::envoy::{BinaryError, EnvoyBinary, EnvoyError};
use crate::soak::{self, SoakError};
use crate::workspace;

/// What of the benchmark to leave out, to have the rest sooner.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Without the table of how the cost grows.
    pub no_scale: bool,
    /// Without the million requests that weigh Envoy.
    pub no_soak: bool,
}

/// Why there are no figures.
#[derive(Debug)]
pub enum BenchError {
    /// There is no Envoy to run.
    Binary(BinaryError),
    /// Envoy does not run, or died.
    Envoy(EnvoyError),
    /// A connection to Envoy failed.
    Client(ClientError),
    /// There is no valgrind, or it did not do as asked.
    Valgrind(String),
    /// Nobody has that name; who there is.
    Nobody(String, Vec<&'static str>),
    /// Somebody does not do what it is to be measured for: who, and what came instead.
    NotTheJob(String, String),
    /// A file could not be read or written.
    File(PathBuf, io::Error),
    /// The memory's part failed.
    Soak(SoakError),
}

/// Measures everything. `note` gets a line for each step, as this takes minutes.
///
/// # Errors
///
/// Something is missing, or does not do its job.
pub fn run(options: Options, note: &mut dyn FnMut(&str)) -> Result<Report, BenchError> {
    let valgrind = callgrind::version()?;
    let binary = EnvoyBinary::newest()?;
    let session = workload::Session::new();

    note("load: Envoy with the module and without it");
    let load = load::measure(&binary, &session)?;
    let contestants = contestants::all(&session);
    note("CPU time: everybody in turn, without valgrind");
    let cpu = cpu::measure(&binary, &contestants, &session)?;
    note("instructions: everybody under callgrind");
    let instructions = measured::measure(&binary, &contestants, &session, note)?;
    let scale = match options.no_scale {
        true => Vec::new(),
        false => {
            note("scale: rules, providers, claim headers, tokens and cookies");
            scale::measure(&binary, &session, note)?
        }
    };
    let soak = match options.no_soak {
        true => None,
        false => {
            note("memory: a million requests");
            Some(soak::run(&soak::Plan::default(), note).map_err(BenchError::Soak)?)
        }
    };
    Ok(Report::new(&binary, valgrind, load, cpu, instructions, scale, soak))
}

/// Measures the instructions of those contestants only, and the start of Envoy if one of the names
/// is `load`; each gets a line by `note`.
///
/// # Errors
///
/// As [`run`], or nobody has that name.
pub fn only(names: &[&str], note: &mut dyn FnMut(&str)) -> Result<(), BenchError> {
    callgrind::version()?;
    let session = workload::Session::new();
    let mut contestants = contestants::all(&session);
    let known: Vec<_> = contestants.iter().map(|who| who.name).chain([LOAD, CPU]).collect();
    if let Some(nobody) = names.iter().find(|name| !known.contains(name)) {
        return Err(BenchError::Nobody((*nobody).to_owned(), known));
    }
    let binary = EnvoyBinary::newest()?;
    if names.contains(&LOAD) {
        let load = load::measure(&binary, &session)?;
        note(&format!("  {LOAD}: {} bytes, {:?} more", load.module_bytes, load.took));
    }
    if names.contains(&CPU) {
        let cpu = cpu::measure(&binary, &contestants, &session)?;
        for (name, micros) in &cpu.micros {
            note(&format!("  {name}: {micros:.1} µs of CPU"));
        }
    }
    contestants.retain(|who| who.name == contestants::BASE || names.contains(&who.name));
    if names.iter().any(|name| ![LOAD, CPU].contains(name)) {
        measured::measure(&binary, &contestants, &session, note)?;
    }
    Ok(())
}

/// Where the report and the chart go.
pub fn folder() -> PathBuf {
    workspace::target().join("bench")
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binary(error) => write!(f, "{error}"),
            Self::Envoy(error) => write!(f, "{error}"),
            Self::Client(error) => write!(f, "a connection to Envoy: {error}"),
            Self::Valgrind(what) => write!(f, "{what}"),
            Self::Nobody(name, known) => {
                write!(f, "nobody is called {name:?}; there are {}", known.join(", "))
            }
            Self::NotTheJob(who, what) => write!(f, "{who} does not do its job: {what}"),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Soak(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for BenchError {}

impl From<BinaryError> for BenchError {
    fn from(error: BinaryError) -> Self {
        Self::Binary(error)
    }
}

impl From<EnvoyError> for BenchError {
    fn from(error: EnvoyError) -> Self {
        Self::Envoy(error)
    }
}

impl From<ClientError> for BenchError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// What `only` calls the start of Envoy.
const LOAD: &str = "load";
const CPU: &str = "cpu";
