//! `make run`: starts the demo, says where it is, and waits for Ctrl-C.
//!
//! `demo --check` plays every case of the page instead, and ends with 1 if one went wrong.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use session_token_harness::demo::{Demo, check};

fn main() -> ExitCode {
    let check_only = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return complain("usage: demo [--check]"),
    };
    // The terminal sends SIGINT to the Envoys too. While the demo starts (a download may take
    // long) the end of this process is enough: each Envoy has a guard that notices it.
    let (stop, stopped) = mpsc::channel();
    let handler = ctrlc::set_handler(move || {
        if !WAITING.load(Ordering::SeqCst) || stop.send(()).is_err() {
            std::process::exit(INTERRUPTED);
        }
    });
    if let Err(error) = handler {
        return complain(&format!("cannot wait for Ctrl-C: {error}"));
    }

    let demo = match Demo::start(|note| eprintln!("{note}")) {
        Ok(demo) => demo,
        Err(error) => return complain(&error.to_string()),
    };
    if check_only {
        let report = check(&demo);
        println!("{report}");
        return if report.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    WAITING.store(true, Ordering::SeqCst);
    println!("{}", welcome(&demo));
    loop {
        if stopped.recv_timeout(Duration::from_millis(500)).is_ok() {
            return ExitCode::SUCCESS;
        }
        if let Err(error) = demo.check_alive() {
            // Ctrl-C reaches Envoy and this process in any order.
            return match stopped.recv_timeout(Duration::from_millis(500)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => complain(&error.to_string()),
            };
        }
    }
}

fn welcome(demo: &Demo) -> String {
    format!(
        "\n  The page             http://www.example.localhost:8080\
         \n  Its API              http://api.example.localhost:8080\
         \n  One session, 2 APIs  http://www.example.localhost:8110\
         \n\n  Four Envoys run the files of envoy/ ({}).\
         \n  Ctrl-C ends everything.\n",
        demo.envoy_origin()
    )
}

fn complain(line: &str) -> ExitCode {
    eprintln!("demo: {line}");
    ExitCode::FAILURE
}

/// True once Ctrl-C is what ends the demo in good order.
static WAITING: AtomicBool = AtomicBool::new(false);

/// What shells report for a program that SIGINT ended.
const INTERRUPTED: i32 = 130;
