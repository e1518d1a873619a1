//! What the command line can ask for, and how it is answered.
//!
//! Exit codes: 0 all held, 1 the line or the scenario makes no sense, 2 a crash, 3 something happened that must not, 4
//! something good did not happen in time.

mod compare;
mod soak;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::play::{Options, Report, Verdict, play};
use crate::scenario::{SHIPPED, Scenario};
use crate::sim::{Bug, Profile};
use crate::soak::Ending;

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
    /// Run one seed of a soak again.
    Replay {
        /// The seed.
        seed: u64,
        /// Tell on stderr what happens.
        #[arg(long)]
        trace: bool,
        /// Plant a bug in the simulated shell.
        #[arg(long, value_name = "NAME", value_parser = bug)]
        bug: Option<Bug>,
        /// How much is real: full, or light.
        #[arg(long, value_name = "NAME", value_parser = profile, default_value = "full")]
        profile: Profile,
    },
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
            Command::Run { scenario, seed, json, trace: told, bug, profile } => {
                run(&scenario, profile, json, Options { seed, bug, told, ..Options::default() })
            }
            Command::Compare(compare) => compare.run(),
            Command::Soak(soak) => soak.run(),
            Command::Replay { seed, trace: told, bug, profile } => {
                replay(Options { seed, profile, bug, told })
            }
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

fn run(name: &str, profile: Option<Profile>, json: Option<PathBuf>, options: Options) -> u8 {
    let scenario = match Scenario::load(name) {
        Ok(scenario) => scenario,
        Err(error) => {
            eprintln!("netsim: {error}");
            return EXIT_USAGE;
        }
    };
    if scenario.arrivals.is_some() {
        eprintln!("netsim: {name} has endpoints that come and go: play it with `netsim compare {name}`");
        return EXIT_USAGE;
    }
    let nodes = scenario.nodes.len();
    eprintln!("{}: {nodes} nodes, {} endpoints: {}", scenario.name, scenario.endpoints(), scenario.about);
    let profile = profile.unwrap_or(Profile::fitting(scenario.endpoints()));
    let report = play(&scenario, Options { profile, ..options });
    match write(json.as_deref(), &report) {
        Ok(true) => {}
        Ok(false) => show(&report),
        Err(code) => return code,
    }
    code(report.verdict)
}

/// Writes a report as JSON if that is wanted; whether it went to stdout, in place of a table.
fn write(json: Option<&Path>, report: &impl Serialize) -> Result<bool, u8> {
    let Some(path) = json else { return Ok(false) };
    let text = serde_json::to_string_pretty(report).expect("plain data of our own always serialises");
    if path.as_os_str() == "-" {
        print(&text);
        return Ok(true);
    }
    std::fs::write(path, text + "\n").map(|()| false).map_err(|error| {
        eprintln!("netsim: {}: {error}", path.display());
        EXIT_USAGE
    })
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

fn replay(options: Options) -> u8 {
    match crate::soak::attempt(options) {
        Ending::Reported(report) => {
            show(&report);
            code(report.verdict)
        }
        Ending::Crashed(what) => {
            print(&format!("crash: {what}"));
            EXIT_CRASH
        }
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
