//! `make test` holds the cost of a few requests against figures in the repository.
//!
//! Instructions are the same on every machine, but not on every processor's architecture or with
//! another Envoy: elsewhere there is nothing to compare with, and the guard says so.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::BenchError;
use super::callgrind::{self, Callgrind};
use super::contestants::{
    BASE, Contestant, OURS, OURS_CLAIMS, OURS_PUBLIC, OURS_VERIFY, base, ours, variants,
};
use super::workload::{PATH, Session, Shape};
use crate::envoy::EnvoyBinary;
use crate::workspace;

/// What requests cost, in instructions over no filter.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    envoy: String,
    architecture: String,
    /// By the names of [`WATCHED`].
    figures: BTreeMap<String, u64>,
}

impl Baseline {
    fn compare(&self, now: &Self) -> Guarded {
        let mut lines = Vec::new();
        let mut grown = false;
        for (name, now) in &now.figures {
            let Some(known) = self.figures.get(name) else {
                grown = true;
                lines.push(format!("{name}: {now} instructions over no filter, and no figure"));
                continue;
            };
            let change = (*now as f64 / *known as f64 - 1.0) * 100.0;
            grown |= now * 100 > known * (100 + MAX_GROWTH_PERCENT);
            lines.push(format!(
                "{name}: {now} instructions over no filter, {change:+.1} % to {known}"
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
    let watched = |who: &Contestant| WATCHED.iter().any(|(_, name, _)| *name == who.name);
    let contestants: Vec<_> = [base(), ours(&session)]
        .into_iter()
        .chain(variants(&session.jwks()).into_iter().filter(watched))
        .collect();
    let envoy = Callgrind::start(binary, contestants.iter().map(|who| &who.listener))?;
    for who in &contestants {
        envoy.site.check(who, &session)?;
    }
    envoy.count(true)?;
    let cost = |name: &str, shape: Shape| {
        let request = [shape.request(PATH, &session.rs256).to_http1()];
        envoy.measure(&mut envoy.site.connect(name)?, &request)
    };
    let mut without = BTreeMap::new();
    let mut figures = BTreeMap::new();
    for (what, name, shape) in WATCHED {
        let base = match without.get(&shape) {
            Some(base) => *base,
            None => *without.entry(shape).or_insert(cost(BASE, shape)?),
        };
        let over = (cost(name, shape)? - base).max(0.0).round() as u64;
        figures.insert(what.to_owned(), over);
    }
    let envoy = binary.version().unwrap_or_default();
    Ok(Baseline { envoy, architecture: std::env::consts::ARCH.to_owned(), figures })
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

/// Each with who does it and what it is asked.
const WATCHED: [(&str, &str, Shape); 5] = [
    ("the same job, plain", OURS, Shape::Plain),
    ("the same job, browser", OURS, Shape::Browser),
    ("with a claim header", OURS_CLAIMS, Shape::Plain),
    ("verify_only, header", OURS_VERIFY, Shape::Bearer),
    ("a public rule", OURS_PUBLIC, Shape::Plain),
];

const MAX_GROWTH_PERCENT: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_of_any_figure_is_noticed() {
        let baseline = |figures: &[(&str, u64)]| Baseline {
            envoy: "1.40.0".to_owned(),
            architecture: "x86_64".to_owned(),
            figures: figures.iter().map(|(name, figure)| ((*name).to_owned(), *figure)).collect(),
        };
        let known = baseline(&[("plain", 40_000), ("browser", 60_000)]);
        for (name, figures, grown) in [
            ("the same", vec![("plain", 40_000), ("browser", 60_000)], false),
            ("less", vec![("plain", 20_000), ("browser", 30_000)], false),
            ("at the bound", vec![("plain", 42_000), ("browser", 63_000)], false),
            ("plain", vec![("plain", 42_001), ("browser", 60_000)], true),
            ("browser", vec![("plain", 40_000), ("browser", 63_100)], true),
            ("one more", vec![("plain", 40_000), ("other", 1)], true),
        ] {
            let found = known.compare(&baseline(&figures));
            assert_eq!(matches!(found, Guarded::Grown(_)), grown, "{name}: {found}");
        }
    }

    #[test]
    fn the_repository_has_each_figure() {
        let text = std::fs::read_to_string(path()).unwrap();
        let known: Baseline = serde_json::from_str(&text).unwrap();
        for (name, _, _) in WATCHED {
            assert!(known.figures.get(name).is_some_and(|figure| *figure > 0), "{name}: {known:?}");
        }
    }
}
