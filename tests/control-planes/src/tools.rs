//! Programs written in Go, built from pinned versions.
//!
//! A [`GoModule`] is a folder beside this crate's `src` with `go.mod`, `go.sum` and `tools.go`,
//! which names the programs so that `go mod tidy` keeps their requirements. A program is built
//! into `target/control-planes/bin` if, any of:
//!
//! 1. it is not there;
//! 2. a file of the folder, or how it is built, is not what it was built from (a copy of that
//!    lies beside it).
//!
//! Go keeps what it compiled in a cache of its own, so a second program of a module is quick.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use session_token_harness::workspace;

/// A folder with pinned versions, and what is built from it.
pub(crate) struct GoModule {
    /// The folder's name in `tests/control-planes`.
    pub(crate) folder: &'static str,
    /// In the order of building.
    pub(crate) programs: &'static [Program],
}

/// One program of a module.
pub(crate) struct Program {
    /// The file's name in `target/control-planes/bin`.
    pub(crate) name: &'static str,
    /// What `go build` is asked for: an import path, or `./folder` within the module.
    pub(crate) package: &'static str,
    /// More for `-ldflags`, like `-X path.name=value`.
    pub(crate) ldflags: &'static str,
}

/// Why a program could not be built.
#[derive(Debug)]
pub(crate) enum ToolError {
    /// There is no `go` on the `PATH`.
    NoGo,
    /// `go build` failed: the program, and Go's own words.
    Build(&'static str, String),
    /// A file could not be read or written.
    Io(PathBuf, io::Error),
}

/// A program that was built.
pub(crate) fn path(name: &str) -> PathBuf {
    workspace::target().join("control-planes/bin").join(name)
}

impl GoModule {
    /// Builds what is missing or out of date. `note` gets a line before and after each.
    ///
    /// # Errors
    ///
    /// Go is missing, or does not build it.
    pub(crate) fn build(&self, mut note: impl FnMut(&str)) -> Result<(), ToolError> {
        let folder = workspace::root().join("tests/control-planes").join(self.folder);
        let source = text_of(&folder).map_err(|error| ToolError::Io(folder.clone(), error))?;
        for program in self.programs {
            let file = path(program.name);
            let built_from = file.with_extension("built-from");
            let wanted = format!("{} {}\n{source}", program.package, program.ldflags);
            if file.is_file() && fs::read_to_string(&built_from).is_ok_and(|text| text == wanted) {
                continue;
            }
            note(&format!("building {} (once; the first of a module takes minutes)", program.name));
            let start = Instant::now();
            program.build(&folder, &file)?;
            fs::write(&built_from, wanted).map_err(|error| ToolError::Io(built_from, error))?;
            note(&format!("built {} in {} s", program.name, start.elapsed().as_secs()));
        }
        Ok(())
    }
}

impl Program {
    fn build(&self, folder: &Path, file: &Path) -> Result<(), ToolError> {
        let output = Command::new("go")
            .current_dir(folder)
            // Without symbols: half the size, and less to link.
            .args(["build", "-buildvcs=false", "-ldflags", &format!("-s -w {}", self.ldflags)])
            .arg("-o")
            .arg(file)
            .arg(self.package)
            .stdin(Stdio::null())
            .output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(ToolError::Build(self.name, text))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ToolError::NoGo),
            Err(error) => Err(ToolError::Io("go".into(), error)),
        }
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGo => write!(
                f,
                "go is missing: it builds the control planes (1.26 or newer, https://go.dev/dl)"
            ),
            Self::Build(name, text) => write!(f, "go could not build {name}:\n{text}"),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ToolError {}

/// All files of a folder, names and contents, in order.
fn text_of(folder: &Path) -> io::Result<String> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    let mut text = String::new();
    for path in paths {
        let contents = if path.is_dir() { text_of(&path)? } else { fs::read_to_string(&path)? };
        text += &format!("{}\n{contents}\n", path.file_name().unwrap_or_default().display());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_of_a_module_is_seen() {
        let folder = std::env::temp_dir().join(format!("go-module-{}", std::process::id()));
        fs::create_dir_all(folder.join("lite")).unwrap();
        let mut seen = vec![text_of(&folder).unwrap()];
        for (name, path, text) in [
            ("a file", "go.mod", "module a"),
            ("its text", "go.mod", "module b"),
            ("a file further down", "lite/main.go", "package main"),
            ("its text", "lite/main.go", "package lite"),
        ] {
            fs::write(folder.join(path), text).unwrap();
            let now = text_of(&folder).unwrap();
            assert!(!seen.contains(&now), "{name}");
            assert_eq!(now, text_of(&folder).unwrap(), "{name}, asked again");
            seen.push(now);
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
