//! `control-planes PRODUCT [FILTER]`: the real control plane of a product, end to end.
//!
//! 1. Outside: what the product needs is built or fetched. This is the only step with a network.
//! 2. Inside namespaces of its own (see [`namespace`]): the product's tests, one after the other,
//!    since a control plane has fixed ports. `FILTER` and further arguments are libtest's.
//!
//! What a run leaves to look at, logs first of all, is in `target/control-planes/run/PRODUCT`.

mod daemon;
mod gateway;
mod istio;
mod namespace;
mod registry;
mod site;
mod tools;

use std::fmt::Display;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use session_token_harness::workspace;

use crate::namespace::Root;
use crate::tools::GoModule;

/// A control plane and its tests.
struct Product {
    /// Its name on the command line.
    name: &'static str,
    /// What has to be built of it.
    modules: &'static [&'static GoModule],
    /// Anything else that has to be fetched while there is a network.
    fetch: fn() -> Result<(), String>,
    /// The paths that are its own. The folder is empty, and this run's.
    root: fn(&Path) -> Root,
    /// Its tests.
    trials: fn() -> Vec<Trial>,
}

const PRODUCTS: [&Product; 2] = [&gateway::PRODUCT, &istio::PRODUCT];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (inside, arguments) = match arguments.as_slice() {
        [first, rest @ ..] if first == INSIDE => (true, rest),
        all => (false, all),
    };
    let [name, tests @ ..] = arguments else { return complain(usage()) };
    let Some(product) = PRODUCTS.into_iter().find(|product| product.name == name) else {
        return complain(usage());
    };
    if inside {
        return run_inside(product, tests);
    }
    match prepare(product) {
        // Held until the end: the ports are a run's own, its folder is not.
        Ok(_lock) => {
            namespace::run(&[&[INSIDE.to_owned()], arguments].concat()).unwrap_or_else(complain)
        }
        Err(error) => complain(error),
    }
}

/// Builds, fetches, and empties the run's folder.
fn prepare(product: &Product) -> Result<File, String> {
    for module in product.modules {
        module.build(|note| eprintln!("{note}")).map_err(|error| error.to_string())?;
    }
    (product.fetch)()?;
    let folder = folder(product.name);
    let io = |error| format!("{}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(io)?;
    let lock = File::create(folder.with_extension("lock")).map_err(io)?;
    lock.try_lock().map_err(|_| format!("{} is in use by another run", folder.display()))?;
    fs::remove_dir_all(&folder).and_then(|()| fs::create_dir(&folder)).map_err(io)?;
    Ok(lock)
}

fn run_inside(product: &Product, tests: &[String]) -> ExitCode {
    namespace::end_with_the_outside();
    if let Err(error) = (product.root)(&folder(product.name)).enter(&folder("root")) {
        return complain(error);
    }
    let program = [product.name.to_owned()];
    let mut arguments = Arguments::from_iter(program.iter().chain(tests));
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, (product.trials)()).exit_code()
}

/// Where a run leaves its files.
fn folder(name: &str) -> PathBuf {
    workspace::target().join("control-planes/run").join(name)
}

fn usage() -> String {
    let names: Vec<_> = PRODUCTS.iter().map(|product| product.name).collect();
    format!("usage: control-planes {} [FILTER]", names.join("|"))
}

fn complain(line: impl Display) -> ExitCode {
    eprintln!("control-planes: {line}");
    ExitCode::FAILURE
}

/// The first argument of the process within the namespaces.
const INSIDE: &str = "--inside";
