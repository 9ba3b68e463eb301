//! `make bench`: all figures and targets. `--guard` and `--baseline` are about a few figures only.
//! `--only` counts the instructions of those that are named, which is what a change to the filter is
//! tried with; `load` is the start of Envoy, `cpu` everybody's CPU time.
//!
//! `bench [--no-scale] [--no-soak] | --only NAME.. | --guard | --baseline`

use std::process::ExitCode;

use session_token_harness::bench::{self, BenchError, Guarded, Options};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--guard"] => guard(),
        ["--baseline"] => bench::write_baseline().map(|what| {
            print!("{what}");
            true
        }),
        ["--only", names @ ..] => bench::only(names, &mut |note| println!("{note}")).map(|()| true),
        others => match read_options(others) {
            Some(options) => measure(options),
            None => return complain(USAGE),
        },
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => complain(&error.to_string()),
    }
}

/// A missed target is a figure like any other, and no failure.
fn measure(options: Options) -> Result<bool, BenchError> {
    let report = bench::run(options, &mut |note| eprintln!("{note}"))?;
    println!("{report}");
    println!("{}", report.write()?);
    Ok(true)
}

fn guard() -> Result<bool, BenchError> {
    let guarded = bench::guard()?;
    println!("bench guard: {guarded}");
    match guarded {
        Guarded::Skipped(_) | Guarded::Kept(_) => Ok(true),
        Guarded::Grown(_) => Ok(false),
    }
}

fn read_options(arguments: &[&str]) -> Option<Options> {
    let mut options = Options::default();
    for argument in arguments {
        match *argument {
            "--no-scale" => options.no_scale = true,
            "--no-soak" => options.no_soak = true,
            _ => return None,
        }
    }
    Some(options)
}

fn complain(line: &str) -> ExitCode {
    eprintln!("bench: {line}");
    ExitCode::FAILURE
}

const USAGE: &str = "usage: bench [--no-scale] [--no-soak] | --only NAME.. | --guard | --baseline";
