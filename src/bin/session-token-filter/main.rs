//! The command line: checks configurations before they are deployed, and explains what becomes of
//! a request, with the core that decides in Envoy.
//!
//! | question | module |
//! | --- | --- |
//! | Where in a file does a configuration stand? | `plugin`; `kubernetes`, `configmap` and `envoy` for what is around it |
//! | What is wrong with it, and what does it come to? | `check`, `summary` |
//! | Why is a request allowed or refused? | `explain` |
//! | What can editors know of a configuration? | `schema` |
//!
//! Exit codes: 0 when all is well, 1 when something was found, 2 when the command itself is wrong.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod check;
mod clock;
mod configmap;
mod envoy;
mod explain;
mod fields;
mod files;
mod finding;
mod kubernetes;
mod plugin;
mod readme;
mod resources;
mod schema;
mod summary;
mod yaml;

/// Verifies session tokens in Envoy. Outside of Envoy, this checks and explains configurations.
#[derive(Parser)]
#[command(version, subcommand_required = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check files: an Envoy bootstrap, LDS or ECDS file, an Istio WasmPlugin or TrafficExtension,
    /// an EnvoyExtensionPolicy, or the configuration alone, as YAML or JSON
    Check {
        /// `-` is the standard input
        #[arg(required = true)]
        files: Vec<String>,
    },
    /// Explain what becomes of a request, step by step; never shows a token
    Explain(explain::Arguments),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let (text, code) = match command {
        Command::Check { files } => match check::check(&files) {
            Ok(report) => (report.text, if report.errors > 0 { FOUND } else { FINE }),
            Err(unreadable) => return refuse(&unreadable.to_string()),
        },
        Command::Explain(arguments) => match explain::explain(&arguments) {
            Ok(explanation) => (explanation, FINE),
            Err(explain::Problem::Configuration(report)) => (report, FOUND),
            Err(explain::Problem::Usage(text)) => return refuse(&text),
        },
        Command::Schema => match schema::text() {
            Ok(text) => (text, FINE),
            Err(text) => (text, FOUND),
        },
    };
    // Whoever closes the pipe has seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(code)
}

fn refuse(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {text}");
    ExitCode::from(USAGE)
}

const FINE: u8 = 0;
const FOUND: u8 = 1;
const USAGE: u8 = 2;
