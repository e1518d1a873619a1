//! What the command line can ask for, and how it is answered.
//!
//! Exit codes: 0 all held, 1 the line or the scenario makes no sense, 2 a crash, 3 something happened that must not, 4
//! something good did not happen in time.

mod compare;
mod import;
mod output;
mod policies;
mod replay;
mod shrink;
mod soak;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::balance;
use crate::html;
use crate::memory;
use crate::play::{Options, Report, Verdict, play_to_end};
use crate::scenario::{SHIPPED, Scenario};
use crate::sim::{Bug, Profile};
use output::Output;

/// The line or the scenario makes no sense.
const EXIT_USAGE: u8 = 1;
/// The simulator or a core panicked.
const EXIT_CRASH: u8 = 2;
/// Something happened that must not.
const EXIT_CORRECTNESS: u8 = 3;
/// Something good did not happen in time.
const EXIT_LIVENESS: u8 = 4;

/// Simulates a mesh of Sealcast nodes with the product's own code, from scenarios and from seeds.
#[derive(Parser, Debug)]
#[command(name = "netsim", version)]
pub struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Play a scenario: one that ships, by name, or a file.
    Run {
        /// A name that `netsim list` shows, or a path.
        scenario: String,
        /// Everything is drawn from it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Write the report there as JSON as well; `-` for stdout instead of the table.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Place the endpoints that have no node of their own by each of these: `all`, or names with commas between.
        #[arg(long, value_name = "NAMES", value_parser = compare::policies)]
        policy: Option<compare::Policies>,
        /// Write there as JSON where everything is in the end: placement, routes, egress sets.
        #[arg(long, value_name = "FILE")]
        state: Option<PathBuf>,
        /// Write a page about it there: one HTML file with everything in it.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// Tell on stderr what happens.
        #[arg(long)]
        trace: bool,
        /// Plant a bug in the simulated shell, to see the checkers find it.
        #[arg(long, value_name = "NAME", value_parser = bug)]
        bug: Option<Bug>,
        /// How much is real: full, or light; light beyond 1,000 endpoints if not given.
        #[arg(long, value_name = "NAME", value_parser = profile)]
        profile: Option<Profile>,
    },
    /// Play a scenario with arrivals under several placement policies, side by side.
    Compare(compare::Compare),
    /// Run random worlds, one for each seed, until the seeds or the time are over.
    Soak(soak::Soak),
    /// Run one seed of a soak again, the course of a mesh, or a relayd's journal.
    Replay(replay::Replay),
    /// Make what a failing seed stands for smaller, as long as it fails the same way.
    Shrink(shrink::Shrink),
    /// Make a scenario of what `relayctl mesh export` wrote.
    Import(import::Import),
    /// Play a scenario with real programs.
    Lab(crate::lab::Arguments),
    /// Name the scenarios that ship.
    List,
}

fn bug(name: &str) -> Result<Bug, String> {
    Bug::ALL.into_iter().find(|bug| bug.name() == name).ok_or_else(|| {
        let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        format!("use one of {}", names.join(", "))
    })
}

fn profile(name: &str) -> Result<Profile, String> {
    let found = Profile::ALL.into_iter().find(|profile| profile.name() == name);
    found.ok_or_else(|| "use full or light".to_owned())
}

impl Line {
    /// Does what was asked; the exit code says what came of it.
    pub fn run(self) -> ExitCode {
        let code = match self.command {
            Command::Run { scenario, seed, json, policy, state, html, trace: told, bug, profile } => {
                let options = Options { seed, bug, told, series: html.is_some(), ..Options::default() };
                run(&scenario, options, &Wanted { json, state, html, profile }, policy)
            }
            Command::Compare(compare) => compare.run(),
            Command::Soak(soak) => soak.run(),
            Command::Replay(replay) => replay.run(),
            Command::Shrink(shrink) => shrink.run(),
            Command::Import(import) => import.run(),
            Command::Lab(arguments) => return crate::lab::run(&arguments),
            Command::List => list(),
        };
        ExitCode::from(code)
    }
}

/// Prints a line of results; a reader that has gone away is no fault.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// How much of it is real, and what a run leaves beside its table.
struct Wanted {
    json: Option<PathBuf>,
    state: Option<PathBuf>,
    html: Option<PathBuf>,
    profile: Option<Profile>,
}

fn run(name: &str, options: Options, wanted: &Wanted, policy: Option<compare::Policies>) -> u8 {
    let scenario = match Scenario::load(name) {
        Ok(scenario) => scenario,
        Err(error) => {
            eprintln!("netsim: {error}");
            return EXIT_USAGE;
        }
    };
    let nodes = scenario.nodes.len();
    let comes_and_goes = scenario.arrivals.is_some();
    let needed = if comes_and_goes { memory::of_flows(&scenario) } else { memory::of_scenario(&scenario) };
    if let Err(code) = fits(needed) {
        return code;
    }
    let page = wanted.html.as_deref();
    if let Err(code) = check_writable(page) {
        return code;
    }
    let mut output = match wanted.json.as_deref().map(Output::open).transpose() {
        Ok(output) => output,
        Err(code) => return code,
    };
    let profile = wanted.profile.unwrap_or(Profile::fitting(scenario.endpoints()));
    let options = Options { profile, ..options };
    let report = if comes_and_goes {
        if policy.is_some() || page.is_some() || wanted.state.is_some() {
            eprintln!(
                "netsim: {name} has endpoints that come and go: for policies and pages use `netsim compare {name}`"
            );
            return EXIT_USAGE;
        }
        eprintln!("{}: {nodes} nodes, endpoints that come and go: {}", scenario.name, scenario.about);
        let played = balance::play(&scenario, options, |_| ());
        played.map(|(report, _)| report).expect("a scenario with arrivals has arrivals")
    } else {
        let endpoints = scenario.endpoints();
        eprintln!("{}: {nodes} nodes, {endpoints} endpoints: {}", scenario.name, scenario.about);
        if let Some(compare::Policies(policies)) = policy {
            return policies::run(&scenario, options, &policies, output.as_mut());
        }
        let (report, end) = play_to_end(&scenario, options);
        if let Some(path) = &wanted.state
            && let Err(error) = end.write(path)
        {
            return refuse(path, &error);
        }
        report
    };
    let seed = options.seed.to_string();
    let profile = wanted.profile.map_or(Vec::new(), |profile| vec!["--profile", profile.name()]);
    let bug = options.bug.map_or(Vec::new(), |bug| vec!["--bug", bug.name()]);
    let command = ["netsim", "run", name, "--seed", &seed]
        .into_iter()
        .chain(profile)
        .chain(bug)
        .chain(["--html", "report.html"]);
    if let Err(code) = write_page(page, || html::run_page(&scenario, &report, &html::shell_line(command))) {
        return code;
    }
    match write(output.as_mut(), &report) {
        Ok(true) => {}
        Ok(false) => show(&report),
        Err(code) => return code,
    }
    code(report.verdict)
}

/// Before anything is played: whether a page can be written there.
fn check_writable(page: Option<&Path>) -> Result<(), u8> {
    let Some(path) = page else { return Ok(()) };
    let is_new = !path.exists();
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
    match opened {
        Ok(_) if is_new => std::fs::remove_file(path).map_err(|error| refuse(path, &error)),
        Ok(_) => Ok(()),
        Err(error) => Err(refuse(path, &error)),
    }
}

/// Writes a page if that is wanted.
fn write_page(path: Option<&Path>, page: impl FnOnce() -> String) -> Result<(), u8> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, page()).map_err(|error| refuse(path, &error))
}

/// A file that cannot be written is the caller's to choose anew.
fn refuse(path: &Path, error: &std::io::Error) -> u8 {
    eprintln!("netsim: {}: {error}: give a path that can be written", path.display());
    EXIT_USAGE
}

/// Whether there is memory for a run; what it needs is told before it starts.
fn fits(needed: memory::Bytes) -> Result<(), u8> {
    eprintln!("needs about {needed} of memory");
    memory::refusal(needed, memory::available()).map_or(Ok(()), |sentence| {
        eprintln!("netsim: {sentence}");
        Err(EXIT_USAGE)
    })
}

/// Writes a report as JSON if that is wanted; whether it went to stdout, in place of a table.
fn write(output: Option<&mut Output>, report: &impl Serialize) -> Result<bool, u8> {
    let Some(output) = output else { return Ok(false) };
    let text = serde_json::to_string_pretty(report).expect("plain data of our own always serialises");
    output.write(&(text + "\n"))?;
    Ok(output.is_stdout())
}

fn show(report: &Report) {
    print(&report.line());
    for figure in &report.figures {
        let value = figure.value.map_or("-".to_owned(), |value| value.to_string());
        let limit = figure.limit.map_or(String::new(), |limit| format!("  (at most {limit})"));
        print(&format!("  {:<16} {value:>10}{limit}", figure.name));
    }
    for violation in &report.violations {
        print(&format!("violated: {violation}"));
    }
    print(sentence(report.verdict));
}

const fn sentence(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "all held",
        Verdict::Liveness => "something good did not happen in time",
        Verdict::Correctness => "something happened that must not",
    }
}

fn list() -> u8 {
    for (name, text) in SHIPPED {
        match Scenario::parse(name, text) {
            Ok(scenario) => print(&format!("{name:<24} {}", scenario.about)),
            Err(error) => {
                eprintln!("netsim: {error}");
                return EXIT_USAGE;
            }
        }
    }
    0
}

const fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Held => 0,
        Verdict::Liveness => EXIT_LIVENESS,
        Verdict::Correctness => EXIT_CORRECTNESS,
    }
}

/// Whether somebody watches: progress is shown on a terminal alone.
fn watched() -> bool {
    std::io::stderr().is_terminal() && std::io::stdout().is_terminal()
}
