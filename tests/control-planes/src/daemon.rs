//! A program that runs beside the tests until it is dropped.
//!
//! Nothing here cares for programs that outlive this process: the namespace ends them all.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running program. What it writes goes to `NAME.log` in the folder it was started with.
pub(crate) struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub(crate) fn start(name: &str, command: &mut Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        // To its end: Envoy opens /dev/stdout once more, and would write over what is there.
        let output = File::create(&log).and_then(|_| OpenOptions::new().append(true).open(&log));
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let errors = output.try_clone().unwrap_or_else(|error| panic!("{name}: {error}"));
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Self { name: name.to_owned(), child, log }
    }

    /// Asks `holds` until it says yes.
    ///
    /// # Panics
    ///
    /// When the program ends, or the time; with the end of its log.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        timeout: Duration,
        mut holds: impl FnMut() -> bool,
    ) {
        let end = Instant::now() + timeout;
        while !holds() {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended, {status}, before {what}:\n{}", self.name, self.tail());
            }
            if Instant::now() > end {
                panic!("{}: not {what} after {timeout:?}:\n{}", self.name, self.tail());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// All that it has written.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Where that is.
    pub(crate) fn log_file(&self) -> &Path {
        &self.log
    }

    /// The last lines that it has written.
    pub(crate) fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

/// SIGTERM first: a control plane ends its Envoy itself.
impl Drop for Daemon {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status();
        let end = Instant::now() + Duration::from_secs(10);
        while asked.is_ok() && Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TAIL_LINES: usize = 40;
