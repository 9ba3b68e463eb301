//! Envoy under callgrind: how many instructions its worker takes for a request.
//!
//! Envoy starts without being counted, which takes a fifth of the time; counting begins when all
//! is ready. `vgdb` asks callgrind for a dump, which also sets all counts to zero. There is one
//! file for each thread, and the worker's is the largest, as nobody else has anything to do.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::BenchError;
use super::site::{Site, exchange};
use crate::bootstrap::Listener;
use crate::client::Connection;
use crate::envoy::EnvoyBinary;

pub(super) struct Callgrind {
    pub(super) site: Site,
    /// Callgrind's files.
    folder: TempDir,
}

/// What `valgrind` says about itself, like `valgrind-3.19.0`.
///
/// # Errors
///
/// One line that says what is missing.
pub(super) fn version() -> Result<String, BenchError> {
    let output = Command::new("valgrind").arg("--version").stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(_) | Err(_) => Err(BenchError::Valgrind(
            "valgrind is missing, which counts the instructions: install the package `valgrind`"
                .to_owned(),
        )),
    }
}

impl Callgrind {
    pub(super) fn start<'l>(
        binary: &EnvoyBinary,
        listeners: impl IntoIterator<Item = &'l Listener>,
    ) -> Result<Self, BenchError> {
        let folder = tempfile::Builder::new().prefix("callgrind-").tempdir();
        let folder = folder.map_err(|error| BenchError::File(std::env::temp_dir(), error))?;
        let file = |name| folder.path().join(name).display().to_string();
        let runner = [
            "valgrind".to_owned(),
            "--tool=callgrind".to_owned(),
            // V8 writes code all the time, where no file is.
            "--smc-check=all-non-file".to_owned(),
            "--separate-threads=yes".to_owned(),
            "--instr-atstart=no".to_owned(),
            format!("--callgrind-out-file={}", file(DUMPS)),
            format!("--log-file={}", file("valgrind.log")),
        ];
        let site = Site::start(binary, listeners, |options| {
            options.runner = runner.into();
            options.start_timeout = START;
        })?;
        Ok(Self { site, folder })
    }

    /// Begins or ends counting. Without it requests are answered several times faster.
    pub(super) fn count(&self, on: bool) -> Result<(), BenchError> {
        self.vgdb(&["instrumentation", if on { "on" } else { "off" }])
    }

    /// The worker's instructions for one of these requests, which are sent in turn. Each is
    /// answered 200.
    pub(super) fn measure(
        &self,
        connection: &mut Connection,
        requests: &[Vec<u8>],
    ) -> Result<f64, BenchError> {
        let mut requests = requests.iter().cycle();
        let mut send = |count: u32| {
            requests
                .by_ref()
                .take(count as usize)
                .try_for_each(|bytes| exchange(connection, bytes, 200))
        };
        send(WARM_UP)?;
        self.dump()?;
        let mut least = u64::MAX;
        for _ in 0..ROUNDS {
            send(REQUESTS)?;
            least = least.min(self.dump()?);
        }
        Ok(least as f64 / f64::from(REQUESTS))
    }

    /// The worker's instructions since the last dump.
    fn dump(&self) -> Result<u64, BenchError> {
        self.vgdb(&["dump"])?;
        let file = |error| BenchError::File(self.folder.path().to_owned(), error);
        let mut largest = 0;
        for entry in fs::read_dir(self.folder.path()).map_err(file)? {
            let path = entry.map_err(file)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // `counts.7-04` is the fourth thread of the seventh dump.
            if name.starts_with(DUMPS) && name.contains('-') {
                largest = largest.max(total(&path)?);
            }
            if name.starts_with(DUMPS) {
                let _ = fs::remove_file(&path);
            }
        }
        if largest == 0 {
            return Err(BenchError::Valgrind("callgrind counted nothing".to_owned()));
        }
        Ok(largest)
    }

    fn vgdb(&self, command: &[&str]) -> Result<(), BenchError> {
        self.site.envoy.check_alive()?;
        let output = Command::new("vgdb")
            .arg(format!("--pid={}", self.site.envoy.pid()))
            .args(command)
            .stdin(Stdio::null())
            .output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(BenchError::Valgrind(format!("vgdb {}: {why}", command.join(" "))))
            }
            Err(error) => Err(BenchError::Valgrind(format!("vgdb: {error}"))),
        }
    }
}

fn total(path: &Path) -> Result<u64, BenchError> {
    let text =
        fs::read_to_string(path).map_err(|error| BenchError::File(path.to_owned(), error))?;
    let totals = text.lines().rev().find_map(|line| line.strip_prefix("totals:"));
    Ok(totals.and_then(|number| number.trim().parse().ok()).unwrap_or_default())
}

const DUMPS: &str = "counts";
const WARM_UP: u32 = 150;
const REQUESTS: u32 = 200;
const ROUNDS: u32 = 4;
/// V8 compiles every module before Envoy is ready.
const START: Duration = Duration::from_secs(600);
