//! A machine within the machine: network, mounts and processes that only this run sees.
//!
//! Control planes listen on fixed ports of all addresses, and read fixed paths. Here this harms
//! nobody: the network has no interface but `lo`, a path can be anything, and nothing outlives
//! the first process. Root needs nothing for it; anybody else needs a kernel that lets users make
//! namespaces, as Linux does unless it was told otherwise.
//!
//! This needs `unshare`, `mount` (both util-linux) and `ip` (iproute2).

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// What the root of the file system has that the machine's has not, or has otherwise.
#[derive(Default)]
pub(crate) struct Root {
    /// What is seen, and at which absolute path.
    mounts: Vec<(PathBuf, PathBuf)>,
}

/// Why there is no namespace, or not the one that was asked for.
#[derive(Debug)]
pub(crate) enum NamespaceError {
    /// A program is not there.
    Missing(&'static str, &'static str),
    /// The kernel does not let this user make one: `unshare`'s own words.
    NotAllowed(String),
    /// A step within it failed.
    Step(String, String),
}

/// Runs this program again with other arguments, in namespaces of its own, and waits for its end.
/// Everything in them ends with it, and it ends with this process; however that ends, see
/// [`end_with_the_outside`].
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, NamespaceError> {
    let flags = allowed()?;
    let step = |error: io::Error| NamespaceError::Step("unshare".to_owned(), error.to_string());
    let status = Command::new("unshare")
        .args(flags)
        .arg(std::env::current_exe().map_err(step)?)
        .args(arguments)
        // Open for as long as this process lives.
        .stdin(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            let input = child.stdin.take();
            // `wait` alone would close it.
            let status = loop {
                match child.try_wait()? {
                    Some(status) => break status,
                    None => std::thread::sleep(std::time::Duration::from_millis(50)),
                }
            };
            drop(input);
            Ok(status)
        })
        .map_err(step)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ends this process, the first of its namespace, once the one that started it is gone. The kernel
/// then ends all others. Ctrl-C needs no more: a first process does not hear it, its parent does.
pub(crate) fn end_with_the_outside() {
    std::thread::spawn(|| {
        let mut nothing = Vec::new();
        let _ = io::stdin().read_to_end(&mut nothing);
        std::process::exit(INTERRUPTED);
    });
}

impl Root {
    /// The machine's own, so far.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Shows the file or folder `source` at `path`, whether or not the machine has that path.
    pub(crate) fn with(mut self, path: impl Into<PathBuf>, source: impl Into<PathBuf>) -> Self {
        self.mounts.push((source.into(), path.into()));
        self
    }

    /// Makes it this process's root, and brings `lo` up. `at` is a folder to build it in.
    ///
    /// A path that the machine has not cannot be made there, not even by root without a trace. So
    /// the new root is a folder in memory with a mount for every entry of the machine's own; a
    /// folder that lacks a wanted entry is built alike. The rest is mounted on top.
    ///
    /// # Errors
    ///
    /// A step failed.
    pub(crate) fn enter(self, at: &Path) -> Result<(), NamespaceError> {
        step("ip", &["link", "set", "lo", "up"], &[])?;
        let io = |error| NamespaceError::Step(format!("a root in {}", at.display()), error);
        let io = |error: io::Error| io(error.to_string());
        let here = std::env::current_dir().map_err(io)?;
        fs::create_dir_all(at).map_err(io)?;
        step("mount", &["-t", "tmpfs", "tmpfs"], &[at])?;
        let (there, missing): (Vec<_>, Vec<_>) =
            self.mounts.iter().partition(|(_, path)| path.exists());
        let wanted: Vec<_> = missing.iter().map(|(_, path)| path.as_path()).collect();
        mirror(Path::new("/"), at, &wanted)?;
        for (source, path) in missing {
            let target = at.join(path.strip_prefix("/").unwrap_or(path));
            if source.is_dir() {
                fs::create_dir_all(&target).map_err(io)?;
            } else {
                fs::create_dir_all(target.parent().unwrap_or(at)).map_err(io)?;
                File::create(&target).map_err(io)?;
            }
            step("mount", &["--bind"], &[source, &target])?;
        }
        for (source, path) in there {
            let target = at.join(path.strip_prefix("/").unwrap_or(path));
            step("mount", &["--bind"], &[source, &target])?;
        }
        std::os::unix::fs::chroot(at).map_err(io)?;
        std::env::set_current_dir(here).map_err(io)
    }
}

impl fmt::Display for NamespaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(program, package) => write!(f, "{program} is missing ({package})"),
            Self::NotAllowed(why) => write!(
                f,
                "this user may not make namespaces here ({why}): run as root, or see the sysctls \
                 kernel.apparmor_restrict_unprivileged_userns, kernel.unprivileged_userns_clone \
                 and user.max_user_namespaces; a container needs CAP_SYS_ADMIN"
            ),
            Self::Step(step, why) => write!(f, "{step}: {why}"),
        }
    }
}

impl std::error::Error for NamespaceError {}

/// What to tell `unshare`: as the user that we are, or as one who is root inside only.
fn allowed() -> Result<Vec<&'static str>, NamespaceError> {
    let plain = vec!["--net", "--mount", "--pid", "--fork", "--kill-child"];
    let mapped = [vec!["--map-root-user"], plain.clone()].concat();
    let mut why = String::new();
    for flags in [plain, mapped] {
        let probe = Command::new("unshare").args(&flags).arg("true").output();
        match probe {
            Ok(output) if output.status.success() => return Ok(flags),
            Ok(output) => why = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(_) => {
                return Err(NamespaceError::Missing("unshare", "package util-linux; Linux only"));
            }
        }
    }
    Err(NamespaceError::NotAllowed(why))
}

/// Shows every entry of `folder` in `at`. Folders above a wanted path are made anew.
fn mirror(folder: &Path, at: &Path, wanted: &[&Path]) -> Result<(), NamespaceError> {
    let io =
        |error: io::Error| NamespaceError::Step(folder.display().to_string(), error.to_string());
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let (path, target) = (entry.path(), at.join(entry.file_name()));
        let kind = entry.file_type().map_err(io)?;
        if kind.is_symlink() {
            symlink(fs::read_link(&path).map_err(io)?, &target).map_err(io)?;
        } else if kind.is_dir() {
            fs::create_dir(&target).map_err(io)?;
            if wanted.iter().any(|wanted| wanted.starts_with(&path)) {
                mirror(&path, &target, wanted)?;
            } else {
                step("mount", &["--rbind"], &[&path, &target])?;
            }
        } else {
            File::create(&target).map_err(io)?;
            step("mount", &["--bind"], &[&path, &target])?;
        }
    }
    Ok(())
}

fn step(program: &'static str, arguments: &[&str], paths: &[&Path]) -> Result<(), NamespaceError> {
    let mut command = Command::new(program);
    command.args(arguments).args(paths).stdin(Stdio::null());
    let output = command.output().map_err(|_| {
        let package = if program == "ip" { "package iproute2" } else { "package util-linux" };
        NamespaceError::Missing(program, package)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NamespaceError::Step(format!("{command:?}"), why))
}

/// What shells report for a program that SIGINT ended.
const INTERRUPTED: i32 = 130;
