//! How long Envoy takes to start, with the module and without it.

use std::time::{Duration, Instant};

use super::BenchError;
use super::contestants::{base, ours};
use super::site::Site;
use super::workload::Session;
use crate::envoy::EnvoyBinary;
use crate::workspace;

/// The shipped module.
pub(super) struct Load {
    /// Until its workers accept connections, over the same without the module: the smallest of
    /// several starts each.
    pub(super) took: Duration,
    pub(super) module_bytes: u64,
}

pub(super) fn measure(binary: &EnvoyBinary, session: &Session) -> Result<Load, BenchError> {
    let module = workspace::module();
    let metadata = module.metadata().map_err(|error| BenchError::File(module, error))?;
    let (without, with) = ([base().listener], [base().listener, ours(session).listener]);
    let mut least = [Duration::MAX; 2];
    for _ in 0..STARTS {
        for (listeners, least) in [&without[..], &with[..]].into_iter().zip(&mut least) {
            let begin = Instant::now();
            let site = Site::start(binary, listeners, |_| {})?;
            *least = (*least).min(begin.elapsed());
            drop(site);
        }
    }
    let [without, with] = least;
    Ok(Load { took: with.saturating_sub(without), module_bytes: metadata.len() })
}

/// On a machine with other work, V8's second thread seldom finds a free core.
const STARTS: u32 = 8;
