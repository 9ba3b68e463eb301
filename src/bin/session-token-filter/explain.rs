//! `explain FILE`: what becomes of one request, and why.
//!
//! The verdict is the core's own: the same state machine decides that runs in Envoy (`run`). What is
//! told on the way there comes from the functions that it is made of (`steps`).
//!
//! Nothing that is printed is a secret: no token, no signature, no cookie's value, no query; of
//! claims, the issuer and what the configuration names. It can go into a ticket.

use std::fmt::Write;
use std::rc::Rc;

use session_token_filter::policy::{Policy, StateField};
use session_token_filter::reason::Reason;
use session_token_filter::time::UnixTime;

use self::request::Request;
use self::run::{Ending, Keys, Outcome, run};
use self::steps::{Signature, Steps};
use crate::check;
use crate::clock::{self, time_text};
use crate::configmap::with_embedded;
use crate::files;
use crate::finding::{Level, printable};
use crate::plugin::{Plugin, scan};
use crate::readme;
use crate::summary;
use crate::yaml::parse;

mod request;
mod run;
mod steps;

/// What to explain.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the configuration stands; `-` is the standard input
    file: String,
    /// The request's URL: https://www.example.com/admin
    #[arg(long)]
    url: String,
    /// The request's method
    #[arg(long, short = 'X', default_value = "GET")]
    method: String,
    /// A header, `name: value`; `@FILE` has one on each line, `@-` is the standard input
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    headers: Vec<String>,
    /// The key server's answer, for all providers, or for one: NAME=FILE
    #[arg(long, value_name = "[NAME=]FILE")]
    jwks: Vec<String>,
    /// When the request comes: 2026-01-31T12:00:00Z, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = clock::parse_time)]
    at: Option<UnixTime>,
    /// Which one, if the file has several: its number, or a part of its name
    #[arg(long, value_name = "NUMBER|NAME")]
    config: Option<String>,
}

/// Why there is nothing to explain.
#[derive(Debug)]
pub(crate) enum Problem {
    /// What is wrong with the configuration, for people.
    Configuration(String),
    /// What is wrong with the command.
    Usage(String),
}

/// Explains what becomes of a request.
pub(crate) fn explain(arguments: &Arguments) -> Result<String, Problem> {
    let usage = |text: &dyn ToString| Problem::Usage(text.to_string());
    let request = Request::new(&arguments.method, &arguments.url, &arguments.headers)
        .map_err(|text| usage(&text))?;
    let jwks = read_jwks(&arguments.jwks).map_err(|text| usage(&text))?;
    let text = files::read(&arguments.file).map_err(|error| usage(&error))?;
    let documents = parse(&text).map_err(|error| {
        let text = format!("{}:{}: error: not YAML: {}\n", arguments.file, error.spot, error.text);
        Problem::Configuration(text)
    })?;
    let documents = with_embedded(documents);
    let mut found = scan(&documents);
    found.refuse_nothing();
    if found.plugins.is_empty() {
        let lines = found
            .findings
            .0
            .iter()
            .map(|it| format!("{}:{}\n", arguments.file, printable(&it.to_string())));
        return Err(Problem::Configuration(lines.collect()));
    }
    let mut plugin = choose(std::mem::take(&mut found.plugins), arguments)?;
    let loaded = check::load(&mut plugin);
    let errors = plugin.findings.0.iter().filter(|it| it.level == Level::Error);
    let errors: String =
        errors.map(|it| format!("{}:{}\n", arguments.file, printable(&it.to_string()))).collect();
    let (Some(loaded), Some(config)) = (loaded, plugin.config) else {
        return Err(Problem::Configuration(errors));
    };
    check_provider_names(&jwks, &loaded.policy).map_err(|text| usage(&text))?;

    let now = arguments.at.unwrap_or_else(clock::now);
    let policy = Policy { filter_state: StateField::ALL.to_vec(), ..loaded.policy };
    let mut text = format!(
        "{} at {}\nby {}:{}, {}\n",
        request.line(),
        time_text(now),
        arguments.file,
        plugin.spot.line,
        printable(&plugin.title)
    );
    if !errors.is_empty() {
        let _ = write!(text, "but `check` finds errors:\n{errors}");
    }
    let matches = summary::rules(config);
    text += &tell(&Rc::new(policy), &request, &matches, &jwks, now);
    Ok(text)
}

/// The steps and what they come to.
fn tell(
    policy: &Rc<Policy>,
    request: &Request,
    matches: &summary::Matches,
    jwks: &[GivenJwks],
    now: UnixTime,
) -> String {
    let head = request.head();
    let steps = Steps::new(policy, &head, matches, now);
    let mut text = steps.before_the_verdict();
    let given = run(policy, &head, now, &Keys::Given(jwks));
    if steps.rule() != given.rule() {
        // Would be a mistake of ours; nobody should be led astray by it.
        let _ = writeln!(text, "  BUT the filter found the rule {:?}", given.rule());
    }
    let is_about_keys = given.waited && jwks.is_empty();
    if !is_about_keys {
        text += &steps.checks(given.reason(), Signature::Verified);
        text += &ending("", &given, &head);
        return text;
    }
    // Nobody knows what the key server would say: both are told.
    let (key_id, algorithm) = steps.token_key();
    let key_id = key_id.as_deref();
    let right = run(policy, &head, now, &Keys::Assumed { key_id, algorithm, right: true });
    let wrong = run(policy, &head, now, &Keys::Assumed { key_id, algorithm, right: false });
    text += &steps.checks(right.reason(), Signature::Assumed);
    text += &ending("if a key of the provider made the signature", &right, &head);
    text += &brief("if it did not", &wrong);
    text += &brief("while there are no keys", &given);
    text
}

/// The answer, or what the backend sees.
fn ending(
    condition: &str,
    outcome: &Outcome,
    head: &session_token_filter::request::RequestHead<'_>,
) -> String {
    let mut text = String::new();
    let condition = if condition.is_empty() { String::new() } else { format!("{condition}: ") };
    match &outcome.ending {
        Ending::Passes(edits) => {
            let _ = writeln!(text, "{condition}{}", outcome.passes_text());
            let _ = writeln!(text, "  the backend sees the request as it came, but for");
            if edits.is_empty() {
                let _ = writeln!(text, "    nothing");
            }
            for edit in edits {
                let _ = writeln!(text, "    {edit}");
            }
        }
        Ending::Refused(denial) => {
            let _ = writeln!(text, "{condition}refused: {} {}", denial.status, denial.reason);
            for (name, value) in &denial.headers {
                let _ = writeln!(text, "    {name}: {}", request::without_query(value, head));
            }
            text += &advice(denial.reason);
        }
        Ending::Waits => {
            let _ = writeln!(text, "{condition}waits for keys");
        }
    }
    for line in &outcome.notes {
        let _ = writeln!(text, "  {}", printable(line));
    }
    text
}

/// The same on one line.
fn brief(condition: &str, outcome: &Outcome) -> String {
    match &outcome.ending {
        Ending::Passes(_) => format!("{condition}: {}\n", outcome.passes_text()),
        Ending::Refused(denial) => {
            format!("{condition}: refused: {} {}\n", denial.status, denial.reason)
        }
        Ending::Waits => format!("{condition}: waits\n"),
    }
}

/// What the README says of a reason.
fn advice(reason: Reason) -> String {
    let Some(row) = readme::row("reason", reason.word()) else { return String::new() };
    let cell = |index: usize| row.get(index).map(|cell| readme::without_links(cell));
    match (cell(2), cell(3)) {
        (Some(means), Some(look)) => {
            format!("  it means: {means}\n  look first at: {look}\n")
        }
        _ => String::new(),
    }
}

/// The one that is asked about.
fn choose<'n>(plugins: Vec<Plugin<'n>>, arguments: &Arguments) -> Result<Plugin<'n>, Problem> {
    let all: Vec<_> = plugins
        .iter()
        .enumerate()
        .map(|(index, plugin)| {
            let number = index.saturating_add(1);
            format!("\n  {number}: {} (line {})", printable(&plugin.title), plugin.spot.line)
        })
        .collect();
    let is_wanted = |(index, plugin): &(usize, Plugin<'n>)| match &arguments.config {
        None => true,
        Some(wanted) => match wanted.parse::<usize>() {
            Ok(number) => index.checked_add(1) == Some(number),
            Err(_) => plugin.title.contains(wanted.as_str()),
        },
    };
    let mut wanted = plugins.into_iter().enumerate().filter(is_wanted).map(|(_, plugin)| plugin);
    match (wanted.next(), wanted.next()) {
        (Some(plugin), None) => Ok(plugin),
        (Some(_), Some(_)) => {
            let text = format!("name one with --config; {} has:{}", arguments.file, all.concat());
            Err(Problem::Usage(text))
        }
        (None, _) => {
            let text = format!("--config fits none; {} has:{}", arguments.file, all.concat());
            Err(Problem::Usage(text))
        }
    }
}

/// A key set, and whose it is; nobody's in particular without a name.
pub(crate) type GivenJwks = (Option<String>, Vec<u8>);

fn read_jwks(arguments: &[String]) -> Result<Vec<GivenJwks>, String> {
    let read = |argument: &String| {
        let (name, file) = match argument.split_once('=') {
            Some((name, file)) => (Some(name.to_owned()), file),
            None => (None, argument.as_str()),
        };
        let text = files::read(file).map_err(|error| error.to_string())?;
        Ok((name, text.into_bytes()))
    };
    arguments.iter().map(read).collect()
}

fn check_provider_names(jwks: &[GivenJwks], policy: &Policy) -> Result<(), String> {
    let is_known = |name: &String| policy.providers.iter().any(|it| *it.name == **name);
    match jwks.iter().filter_map(|(name, _)| name.as_ref()).find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => Err(format!("--jwks {name}=…: there is no provider {name:?}")),
    }
}
