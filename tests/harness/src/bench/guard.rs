//! `make test` holds the cost of the same job against a figure in the repository.
//!
//! Instructions are the same on every machine, but not on every processor's architecture or with
//! another Envoy: elsewhere there is nothing to compare with, and the guard says so.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::BenchError;
use super::callgrind::{self, Callgrind};
use super::contestants::{base, ours};
use super::workload::{PATH, Session, Shape};
use crate::envoy::EnvoyBinary;
use crate::workspace;

/// What the same job costs, in instructions over no filter.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    envoy: String,
    architecture: String,
    plain: u64,
    browser: u64,
}

impl Baseline {
    fn compare(&self, now: &Self) -> Guarded {
        let mut lines = Vec::new();
        let mut grown = false;
        for (name, known, now) in
            [("plain", self.plain, now.plain), ("browser", self.browser, now.browser)]
        {
            let change = (now as f64 / known as f64 - 1.0) * 100.0;
            grown |= now * 100 > known * (100 + MAX_GROWTH_PERCENT);
            lines.push(format!(
                "the same job, {name}: {now} instructions over no filter, {change:+.1} % to {known}"
            ));
        }
        let lines = lines.join("\n");
        if grown { Guarded::Grown(lines) } else { Guarded::Kept(lines) }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Guarded {
    /// There is nothing to compare with, for this reason.
    Skipped(String),
    /// All costs are within the bound: a line for each.
    Kept(String),
    /// At least one is not.
    Grown(String),
}

/// Measures the same job and compares.
///
/// # Errors
///
/// Envoy does not run, or the filter does not do its job.
pub fn guard() -> Result<Guarded, BenchError> {
    if let Err(missing) = callgrind::version() {
        return Ok(Guarded::Skipped(missing.to_string()));
    }
    let binary = EnvoyBinary::newest()?;
    let path = path();
    let error = |error| BenchError::File(path.clone(), error);
    let text = std::fs::read_to_string(&path).map_err(error)?;
    let known: Baseline = serde_json::from_str(&text).map_err(|bad| error(bad.into()))?;
    let here = (binary.version().unwrap_or_default(), std::env::consts::ARCH.to_owned());
    if here != (known.envoy.clone(), known.architecture.clone()) {
        let Baseline { envoy, architecture, .. } = known;
        let what = format!(
            "the figure is of Envoy {envoy} on {architecture}, here is Envoy {} on {}",
            here.0, here.1
        );
        return Ok(Guarded::Skipped(what));
    }
    Ok(known.compare(&measure(&binary)?))
}

/// Measures the same job and writes the figures into the repository.
///
/// # Errors
///
/// As [`guard`], or the file cannot be written.
pub fn write_baseline() -> Result<String, BenchError> {
    callgrind::version()?;
    let now = measure(&EnvoyBinary::newest()?)?;
    let path = path();
    let text = serde_json::to_string_pretty(&now).unwrap_or_default() + "\n";
    std::fs::write(&path, &text).map_err(|error| BenchError::File(path.clone(), error))?;
    Ok(format!("{}:\n{text}", path.display()))
}

fn measure(binary: &EnvoyBinary) -> Result<Baseline, BenchError> {
    let session = Session::new();
    let (base, ours) = (base(), ours(&session));
    let envoy = Callgrind::start(binary, [&base.listener, &ours.listener])?;
    envoy.site.check(&ours, &session)?;
    envoy.count(true)?;
    let over = |shape: Shape| -> Result<u64, BenchError> {
        let request = [shape.request(PATH, &session.rs256).to_http1()];
        let without = envoy.measure(&mut envoy.site.connect(base.name)?, &request)?;
        let with = envoy.measure(&mut envoy.site.connect(ours.name)?, &request)?;
        Ok((with - without).max(0.0).round() as u64)
    };
    Ok(Baseline {
        envoy: binary.version().unwrap_or_default(),
        architecture: std::env::consts::ARCH.to_owned(),
        plain: over(Shape::Plain)?,
        browser: over(Shape::Browser)?,
    })
}

fn path() -> PathBuf {
    workspace::root().join("tests/harness/bench-baseline.json")
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped(why) => write!(f, "skipped: {why}"),
            Self::Kept(lines) => write!(f, "{lines}"),
            Self::Grown(lines) => write!(
                f,
                "{lines}\nthat is more than {MAX_GROWTH_PERCENT} %; if the growth is meant, \
                 `make bench-baseline` writes the new figure down"
            ),
        }
    }
}

const MAX_GROWTH_PERCENT: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_of_either_request_is_noticed() {
        let known = Baseline {
            envoy: "1.40.0".to_owned(),
            architecture: "x86_64".to_owned(),
            plain: 40_000,
            browser: 60_000,
        };
        for (name, plain, browser, grown) in [
            ("the same", 40_000, 60_000, false),
            ("less", 20_000, 30_000, false),
            ("at the bound", 42_000, 63_000, false),
            ("plain", 42_001, 60_000, true),
            ("browser", 40_000, 63_100, true),
        ] {
            let found = known.compare(&Baseline { plain, browser, ..known.clone() });
            assert_eq!(matches!(found, Guarded::Grown(_)), grown, "{name}: {found}");
        }
    }

    #[test]
    fn the_repository_has_a_figure() {
        let text = std::fs::read_to_string(path()).unwrap();
        let known: Baseline = serde_json::from_str(&text).unwrap();
        assert!(known.plain > 0 && known.browser > 0, "{known:?}");
    }
}
