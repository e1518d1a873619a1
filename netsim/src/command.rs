//! What the command line can ask for, and how it is answered.
//!
//! Exit codes: 0 all held, 1 the line or the scenario makes no sense, 2 a crash, 3 something happened that must not, 4
//! something good did not happen in time.

mod compare;
mod import;
mod output;
mod policies;
mod replay;
mod run;
mod shrink;
mod soak;

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::memory;
use crate::play::{Report, Verdict};
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
    Run(run::Run),
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
            Command::Run(run) => run.run(),
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

/// Opens the files that are asked for, before anything is played; none if none is.
fn opened(path: Option<&Path>) -> Result<Option<Output>, u8> {
    path.map(Output::open).transpose()
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
