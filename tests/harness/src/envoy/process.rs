//! Envoy's process: its command line, its files, and its end.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::binary::EnvoyBinary;
use super::instance::EnvoyError;
use crate::workspace;

/// How to start an Envoy.
#[derive(Clone, Debug)]
pub struct EnvoyOptions {
    /// The binary to run.
    pub binary: EnvoyBinary,
    /// The bootstrap as YAML or JSON. Its `admin` address is replaced by a free port.
    pub config: String,
    /// Worker threads. One, unless a test is about several.
    pub concurrency: u32,
    /// `trace`, `debug`, `info`, `warning`, `error`, `critical` or `off`.
    pub log_level: String,
    /// Levels of single components, like `wasm:debug,http:info`.
    pub component_log_level: Option<String>,
    /// Further command-line arguments, like `--drain-time-s 1`.
    pub arguments: Vec<String>,
    /// What runs the binary, with its arguments, like `valgrind`. Nothing, as a rule.
    pub runner: Vec<String>,
    /// How long Envoy may take until its workers run.
    pub start_timeout: Duration,
}

/// The child, and a shell that ends it when this process is gone without having run any `Drop`,
/// as happens to a `static` and after a signal. The shell waits for the end of its input.
pub(super) struct Process {
    child: Child,
    guard: Option<(Child, ChildStdin)>,
}

impl EnvoyOptions {
    /// One worker, log level `info`, 30 seconds to start.
    pub fn new(binary: EnvoyBinary, config: impl ToString) -> Self {
        Self {
            binary,
            config: config.to_string(),
            concurrency: 1,
            log_level: "info".to_owned(),
            component_log_level: None,
            arguments: Vec::new(),
            runner: Vec::new(),
            start_timeout: Duration::from_secs(30),
        }
    }

    /// The filter's own lines and what Envoy does with them, at `debug`.
    pub fn debug(mut self) -> Self {
        self.log_level = "debug".to_owned();
        self
    }
}

impl Process {
    /// Starts Envoy with its files in `folder`.
    pub(super) fn spawn(options: &EnvoyOptions, folder: &Path) -> Result<Self, EnvoyError> {
        let config = folder.join("bootstrap.yaml");
        fs::write(&config, &options.config).map_err(EnvoyError::Folder)?;
        let create = |name| File::create(folder.join(name)).map_err(EnvoyError::Folder);
        let mut command = match options.runner.as_slice() {
            [] => Command::new(options.binary.path()),
            [runner, arguments @ ..] => {
                let mut command = Command::new(runner);
                command.args(arguments).arg(options.binary.path());
                command
            }
        };
        command
            .current_dir(workspace::root())
            .arg("--config-path")
            .arg(&config)
            .args(["--config-yaml", ADMIN_OVERLAY])
            .arg("--admin-address-path")
            .arg(folder.join(ADMIN_ADDRESS))
            .args(["--concurrency", &options.concurrency.to_string()])
            .args(["--log-level", &options.log_level])
            .args(["--file-flush-interval-msec", "50"])
            // A misspelt field of a swapped listener is an error, as it is in the bootstrap.
            .arg("--reject-unknown-dynamic-fields")
            .arg("--disable-hot-restart")
            .args(&options.arguments)
            .stdin(Stdio::null())
            .stdout(create(ACCESS_LOG)?)
            .stderr(create(LOG)?);
        if let Some(levels) = &options.component_log_level {
            command.args(["--component-log-level", levels]);
        }
        let spawn_error = |error| EnvoyError::Spawn(options.binary.path().to_owned(), error);
        let child = command.spawn().map_err(spawn_error)?;
        let mut this = Self { child, guard: None };
        this.guard = Some(guard(this.child.id(), folder).map_err(spawn_error)?);
        Ok(this)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn exit_status(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten()?;
        // The process id is free for others now: the shell must not touch it.
        if let Some((mut shell, _)) = self.guard.take() {
            let _ = shell.kill();
            let _ = shell.wait();
        }
        Some(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit_status().is_some() {
            return;
        }
        // The end of the shell's input makes it send SIGTERM, so that Envoy flushes its logs.
        if let Some((mut shell, input)) = self.guard.take() {
            drop(input);
            let end = Instant::now() + Duration::from_secs(3);
            while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = shell.kill();
            let _ = shell.wait();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn guard(pid: u32, folder: &Path) -> io::Result<(Child, ChildStdin)> {
    let mut shell = Command::new("sh")
        .args(["-c", GUARD, "sh", &pid.to_string()])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let input = shell.stdin.take().ok_or_else(|| io::Error::other("a shell without input"))?;
    Ok((shell, input))
}

const ADMIN_OVERLAY: &str =
    r#"{"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":0}}}}"#;

/// `read` returns at the end of the input. SIGKILL comes for an Envoy that hangs. Ctrl-C reaches
/// everything in the terminal's group; this has to tidy up after it.
const GUARD: &str = r#"
trap '' INT HUP
read -r _
kill -TERM "$1"
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    kill -0 "$1" || exec rm -rf -- "$2"
    sleep 0.1
done
kill -KILL "$1"
rm -rf -- "$2"
"#;

pub(super) const ADMIN_ADDRESS: &str = "admin-address";
pub(super) const LOG: &str = "envoy.log";
pub(super) const ACCESS_LOG: &str = "access.log";
