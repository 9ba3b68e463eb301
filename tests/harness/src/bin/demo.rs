//! `make run`: starts the demo, says where it is, and waits for Ctrl-C.
//!
//! `demo --check` plays every case of the page instead, and ends with 1 if one went wrong.

use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use session_token_harness::demo::{Demo, check};

fn main() -> ExitCode {
    let check_only = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return complain("usage: demo [--check]"),
    };
    // Before anything is started, so that nothing started is left behind. The terminal sends
    // SIGINT to the Envoys too; their guards and this process end what is left.
    let (stop, stopped) = mpsc::channel();
    let handler = ctrlc::set_handler(move || {
        let _ = stop.send(());
    });
    if let Err(error) = handler {
        return complain(&format!("cannot wait for Ctrl-C: {error}"));
    }

    let demo = match Demo::start(|note| eprintln!("{note}")) {
        Ok(demo) => demo,
        Err(_) if stopped.try_recv().is_ok() => return ExitCode::SUCCESS,
        Err(error) => return complain(&error.to_string()),
    };
    if check_only {
        let report = check(&demo);
        println!("{report}");
        return if report.failed() == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
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
        "\n  The page   http://www.example.localhost:8080\
         \n  Its API    http://api.example.localhost:8080\
         \n\n  Three Envoys run the files of envoy/ ({}).\
         \n  Ctrl-C ends everything.\n",
        demo.envoy_origin()
    )
}

fn complain(line: &str) -> ExitCode {
    eprintln!("demo: {line}");
    ExitCode::FAILURE
}
