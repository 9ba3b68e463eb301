//! `make soak`: a million requests, and 1 as its exit status when Envoy's memory grew too far.
//!
//! `soak [--requests N] [--warm-up N] [--tokens N] [--entries N] [--no-garbage]`

use std::process::ExitCode;

use serde_json::json;
use session_token_harness::soak::{self, Plan};

fn main() -> ExitCode {
    let Some(plan) = read_plan(std::env::args().skip(1)) else { return complain(USAGE) };
    match soak::run(&plan, |note| eprintln!("{note}")) {
        Ok(report) => {
            println!("{report}");
            if report.is_bounded() {
                return ExitCode::SUCCESS;
            }
            complain("memory grew beyond the bound")
        }
        Err(error) => complain(&error.to_string()),
    }
}

fn read_plan(mut arguments: impl Iterator<Item = String>) -> Option<Plan> {
    let mut plan = Plan::default();
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next()?.replace('_', "").parse::<u64>().ok();
        match argument.as_str() {
            "--requests" => plan.requests = number()?,
            "--warm-up" => plan.warm_up = number()?,
            "--tokens" => plan.tokens = usize::try_from(number()?).ok()?,
            "--entries" => plan.cache = Some(json!({ "entries": number()? })),
            "--no-garbage" => plan.garbage = false,
            _ => return None,
        }
    }
    (plan.tokens > 0 && plan.warm_up < plan.requests).then_some(plan)
}

fn complain(line: &str) -> ExitCode {
    eprintln!("soak: {line}");
    ExitCode::FAILURE
}

const USAGE: &str = "usage: soak [--requests N] [--warm-up N] [--tokens N] [--entries N] \
    [--no-garbage], with at least one token and a warm-up that is shorter than the whole";
