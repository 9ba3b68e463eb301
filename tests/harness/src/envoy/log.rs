//! Envoy's log as text for people and for tests.

use std::fs;
use std::path::Path;

/// The last lines of a log, with a heading.
pub fn tail(log: &Path) -> String {
    let text = read_lossy(log);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    format!("Envoy's log ends:\n{}", lines.get(from..).unwrap_or_default().join("\n"))
}

/// The lines from byte `from` on that are warnings or worse, and lines that continue them.
pub(super) fn complaints(log: &str, from: usize) -> String {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in log.get(from..).unwrap_or(log).lines() {
        if line.starts_with('[') {
            inside =
                ["[warning]", "[error]", "[critical]"].iter().any(|level| line.contains(level));
        }
        if inside {
            lines.push(line);
        }
    }
    lines.join("\n")
}

/// Empty while the file does not exist.
pub(super) fn read_lossy(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

const TAIL_LINES: usize = 40;
