//! The vendors' own published packages beside the filter: whatever a back-end SDK says of a request,
//! the filter says too, and the front-end SDK understands the filter's answers.
//!
//! 1. Without Node and npm, or with an older Node, these tests are listed and left out.
//! 2. With them, the packages come from the npm registry once, in the versions of
//!    `package-lock.json`, into `target/`. That npm fails then fails the tests.
//! 3. A program of `vendor_sdks/` asks an SDK; it decides nothing by itself, and no SDK is patched.
//! 4. Where the filter differs on purpose, the row says so, and both verdicts are checked.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, OnceLock};

use libtest_mimic::Trial;
use serde_json::Value;
use session_token_harness::workspace;

use crate::trial;
use crate::world::World;

mod corbado;
mod supertokens;
mod supertokens_core;
mod supertokens_rows;
mod website;

/// All tests, for one Envoy.
pub(crate) fn trials(world: &Arc<World>) -> Vec<Trial> {
    static LACKING: OnceLock<Option<String>> = OnceLock::new();
    let lacking = LACKING.get_or_init(|| {
        let lacking = lacking();
        if let Some(why) = &lacking {
            eprintln!("the vendors' SDKs are left out: {why}");
        }
        lacking
    });
    let trials = vec![
        trial(world, "vendor_sdks::corbado", corbado::verdicts),
        trial(world, "vendor_sdks::supertokens", supertokens::verdicts),
        trial(world, "vendor_sdks::website", website::visits),
    ];
    let left_out = lacking.is_some();
    let kind = if left_out { "needs Node" } else { "" };
    trials.into_iter().map(|trial| trial.with_kind(kind).with_ignored_flag(left_out)).collect()
}

/// A running program of `vendor_sdks/`. It ends with this value.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    /// Its end is the program's end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Starts `vendor_sdks/<name>.mjs`.
    pub(crate) fn start(name: &'static str, environment: &[(&str, &OsStr)]) -> Self {
        let mut child = Command::new("node")
            .arg(packages().join(name).with_extension("mjs"))
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("node {name}: {error}"));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { name, child, input, output }
    }

    /// Asks it, without waiting for the answer.
    pub(crate) fn tell(&mut self, question: &Value) {
        // A program that died says why on standard error; its missing answer fails the test.
        let _ = writeln!(self.input.as_ref().unwrap(), "{question}");
    }

    /// The next answer.
    pub(crate) fn answer(&mut self) -> Value {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        assert!(read.is_ok() && !line.is_empty(), "{}.mjs ended without an answer", self.name);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{}.mjs: {error}", self.name))
    }

    /// Asks it.
    pub(crate) fn ask(&mut self, question: &Value) -> Value {
        self.tell(question);
        self.answer()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// Why the packages cannot be run here, if they cannot.
fn lacking() -> Option<String> {
    let Some(node) = version_of("node") else { return Some("no node".into()) };
    let major = node.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
    if major.is_none_or(|major: u32| major < OLDEST_NODE) {
        return Some(format!("node {node} is older than {OLDEST_NODE}"));
    }
    version_of("npm").is_none().then(|| "no npm".into())
}

fn version_of(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

/// The folder below `target/` with the installed packages and the programs beside them.
fn packages() -> &'static Path {
    static PACKAGES: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let packages = PACKAGES.get_or_init(|| install().map_err(|error| error.to_string()));
    packages.as_deref().unwrap_or_else(|error| panic!("the vendors' SDKs: {error}"))
}

fn install() -> Result<PathBuf, Box<dyn std::error::Error>> {
    let source = workspace::root().join("tests/e2e/vendor_sdks");
    let folder = workspace::target().join("vendor_sdks");
    fs::create_dir_all(&folder)?;
    let wanted = fs::read(source.join(LOCK))?;
    let installed = folder.join("installed.json");
    if fs::read(&installed).ok().as_deref() != Some(&wanted) {
        let _ = fs::remove_file(&installed);
        for file in ["package.json", LOCK] {
            fs::copy(source.join(file), folder.join(file))?;
        }
        npm_ci(&folder)?;
        fs::write(&installed, &wanted)?;
    }
    // A module finds its packages from the folder that it lies in.
    for entry in fs::read_dir(&source)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "mjs") {
            fs::copy(&path, folder.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(folder)
}

fn npm_ci(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let output = Command::new("npm")
        .args([
            "ci",
            "--ignore-scripts",
            "--prefer-offline",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("npm ci failed in {}: {}\n{said}", folder.display(), output.status).into())
}

const LOCK: &str = "package-lock.json";

/// The oldest that still gets fixes, and that all packages run on.
const OLDEST_NODE: u32 = 20;
