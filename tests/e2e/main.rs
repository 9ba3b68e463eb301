//! The finished module in real Envoys: the oldest supported and the newest.
//!
//! A runner of its own (`libtest-mimic`), since something has to be done when all tests are over:
//! the Envoys' logs and metrics are searched for what must never be written.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use session_token_harness::envoy::{NEWEST, OLDEST};

use crate::world::World;

mod access;
mod access_log;
mod answers;
mod check_deployed;
mod claims;
mod configuration;
mod control_planes;
mod csrf;
mod extraction;
mod func_e;
mod hostile;
mod keys;
mod matching;
mod metrics;
mod outages;
mod prometheus;
mod readme;
mod reasons;
mod redirects;
mod report;
mod secrets;
mod set_cookies;
mod shipped;
mod site;
mod supertokens;
mod tokens;
mod trapping_module;
mod vendor_answers;
mod vendor_sdks;
mod waiting;
mod world;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let mut worlds = Vec::new();
    for version in [OLDEST, NEWEST] {
        let world = Arc::new(World::new(version));
        trials.extend(extraction::trials(&world));
        if version == NEWEST {
            trials.extend(readme::trials(&world));
        }
        trials.extend(keys::trials(&world));
        trials.extend(waiting::trials(&world));
        trials.extend(outages::trials(&world));
        trials.extend(configuration::trials(&world));
        trials.extend(shipped::trials(&world));
        trials.extend(func_e::trials(&world));
        trials.extend(access::trials(&world));
        trials.extend(matching::trials(&world));
        trials.extend(answers::trials(&world));
        trials.extend(reasons::trials(&world));
        trials.extend(redirects::trials(&world));
        trials.extend(vendor_answers::trials(&world));
        trials.extend(vendor_sdks::trials(&world));
        trials.extend(tokens::trials(&world));
        trials.extend(supertokens::trials(&world));
        trials.extend(csrf::trials(&world));
        trials.extend(claims::trials(&world));
        trials.extend(report::trials(&world));
        trials.extend(hostile::trials(&world));
        trials.extend(metrics::trials(&world));
        trials.extend(access_log::trials(&world));
        trials.extend(prometheus::trials(&world));
        trials.extend(set_cookies::trials(&world));
        trials.extend(check_deployed::trials(&world));
        trials.extend(control_planes::trials(&world));
        worlds.push(world);
    }
    let lists_only = arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials);
    if lists_only || conclusion.has_failed() {
        return conclusion.exit_code();
    }
    let leaks: Vec<_> = worlds.iter().flat_map(|world| secrets::search(world)).collect();
    for leak in &leaks {
        eprintln!("a secret was written: {leak}");
    }
    if leaks.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A test of one Envoy version.
fn trial(world: &Arc<World>, name: &str, test: impl FnOnce(&World) + Send + 'static) -> Trial {
    let world = Arc::clone(world);
    Trial::test(format!("{}::{name}", world.version()), move || {
        test(&world);
        Ok(())
    })
}
