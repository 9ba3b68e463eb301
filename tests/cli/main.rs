//! The command line as people run it: `check`, `explain` and `schema`, with real files.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)]
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

mod check;
mod explain;
mod kinds;
mod readme;
mod schema;
mod wrappings;

/// What a run of the program came to.
struct Run {
    code: i32,
    out: String,
    err: String,
}

/// Runs the program in the repository's root.
fn run(arguments: &[&str], input: &str) -> Run {
    run_in(&root(), arguments, input)
}

/// Runs the program in a folder.
fn run_in(folder: &Path, arguments: &[&str], input: &str) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_session-token-filter"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who refuses the command reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every YAML file below `envoy/` that is about the filter, from the repository's root.
fn examples() -> Vec<String> {
    let mut files = Vec::new();
    collect(&root().join("envoy"), &mut files);
    let mut names: Vec<_> = files
        .iter()
        .filter(|file| {
            let name = file.file_name().unwrap().to_str().unwrap();
            name.ends_with(".yaml") && !name.starts_with("prometheus")
        })
        .map(|file| file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 4, "{names:?}");
    names
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// A fenced YAML block of a Markdown file: the first word after `yaml`, and its text.
fn yaml_blocks(markdown: &str) -> Vec<(String, String)> {
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut inside = None;
    for line in markdown.lines() {
        match (line.trim_start().strip_prefix("```"), inside) {
            (Some(_), Some(_)) => inside = None,
            (Some(info), None) => {
                let mut words = info.split_whitespace();
                let is_yaml = words.next() == Some("yaml");
                if is_yaml {
                    blocks.push((words.next().unwrap_or_default().to_owned(), String::new()));
                }
                inside = Some(is_yaml);
            }
            (None, Some(true)) => blocks.last_mut().unwrap().1 += &format!("{line}\n"),
            (None, Some(false) | None) => {}
        }
    }
    blocks
}
