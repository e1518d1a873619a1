//! `netsim lab`: what can be typed, and the runs in turn.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;

use super::play::{self, Run};
use super::programs::Programs;
use super::report::{Ran, Report};
use super::soak;
use crate::scenario::{LoadKind, Scenario};
use sealcast_process::{Hub, Stopped, check_space};

/// Runs of one command: more are a loop of the shell's.
const REPEAT_MAX: u32 = 1_000;
/// Space for logs and stores.
const SPACE_BYTES: u64 = 256 << 20;

/// What `netsim lab` may be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// A scenario's file, or the name of one that ships
    #[arg(value_name = "SCENARIO", required_unless_present = "soak", conflicts_with = "soak")]
    scenario: Option<String>,
    /// Instead of a scenario: random faults for so many minutes, 300 endpoints in 100 sessions on five nodes
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=soak::MINUTES_MAX))]
    soak: Option<u64>,
    /// Play it so many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(REPEAT_MAX)))]
    repeat: u32,
    /// Write everything measured to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write there as JSON where everything is in the end of the last run: placement, routes, egress sets
    #[arg(long, value_name = "FILE", conflicts_with = "soak")]
    state: Option<PathBuf>,
    /// Keep keys, configurations and logs in this folder, one below it for each run
    #[arg(long, value_name = "DIR")]
    keep_logs: Option<PathBuf>,
    /// Where relayd, relayctl and sealcast-driver are; absent: beside netsim
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Decides jitter, losses and who attaches where at random
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Whether one run without faults comes first, to compare; absent: when the scenario checks gaps
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    baseline: Option<bool>,
    /// Each node and each driver in a network namespace of its own: silence, losses and thin lines are the kernel's (root)
    #[arg(long)]
    netns: bool,
    /// The level of the nodes' logs
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

/// Plays a scenario with real programs. The exit code says what came of it, as that of a simulation; 130 is a wish to
/// stop.
pub fn run(arguments: &Arguments) -> ExitCode {
    match found(arguments) {
        Ok(code) => code,
        Err(error) if error.is::<Stopped>() => {
            eprintln!("lab: stopped; everything it started has ended");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("netsim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn found(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let scenario = match (arguments.soak, &arguments.scenario) {
        (Some(minutes), _) => Scenario::parse("soak", &soak::text(minutes, arguments.seed))?,
        (None, Some(name)) => Scenario::load(name)?,
        (None, None) => anyhow::bail!("name a scenario: `netsim list` shows those that ship"),
    };
    play::playable(&scenario).map_err(anyhow::Error::msg)?;
    let programs = Programs::find(arguments.programs.as_deref())?;
    all(arguments, &scenario, &programs)
}

fn all(arguments: &Arguments, scenario: &Scenario, programs: &Programs) -> anyhow::Result<ExitCode> {
    let checks = &scenario.checks;
    let gaps = checks.gap_p99_ms.is_some() || checks.gap_max_ms.is_some();
    let baseline = arguments.baseline.unwrap_or(gaps && !scenario.faults.is_empty());
    let one = |name: &str, seed: u64, undisturbed: bool| {
        let begun = Instant::now();
        eprintln!("lab: {}, {name}", scenario.name);
        let record = with_folder(arguments, name, |folder| {
            check_space(folder, space(scenario))?;
            let hub = Hub::new()?;
            let run = Run {
                scenario,
                programs,
                hub: &hub,
                folder,
                seed,
                undisturbed,
                kept: false,
                netns: arguments.netns,
                state: arguments.state.is_some() && !undisturbed,
                log_level: &arguments.log_level,
            };
            play::play(&run)
        })?;
        eprintln!("lab: {}, {name}: {:.1} s", scenario.name, begun.elapsed().as_secs_f64());
        if let (Some(path), Some(state)) = (&arguments.state, &record.state) {
            state.write(path).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        anyhow::Ok(Ran::new(record, checks))
    };
    let baseline = if baseline { Some(one("undisturbed", arguments.seed, true)?) } else { None };
    let mut runs = Vec::new();
    for at in 1..=arguments.repeat {
        runs.push(one(&format!("run-{at}"), arguments.seed + u64::from(at) - 1, false)?);
    }
    let report = Report { scenario, seed: arguments.seed, runs, baseline };
    print!("{}", report.table());
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report.json())?;
        std::fs::write(path, text + "\n").with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(ExitCode::from(report.verdict().code()))
}

/// A temporary folder, or one that stays.
fn with_folder<T>(
    arguments: &Arguments,
    name: &str,
    then: impl FnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    match &arguments.keep_logs {
        None => {
            let folder =
                tempfile::Builder::new().prefix("sealcast-lab-").tempdir().context("no temporary folder")?;
            then(folder.path())
        }
        Some(kept) => {
            let folder = std::path::absolute(kept)?.join(name);
            if folder.exists() {
                anyhow::bail!("{} is there already: name another folder", folder.display());
            }
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
            then(&folder)
        }
    }
}

/// What the scenario's files take, at their sender and at each receiver: of each sender one is there at a time.
fn space(scenario: &Scenario) -> u64 {
    let files = scenario.workload.iter().filter_map(|load| match load.kind {
        LoadKind::File { bytes, .. } => {
            let senders = scenario.meant(load.session.as_deref(), load.from.as_deref());
            let copies: usize =
                senders.iter().map(|(session, _)| scenario.sessions[*session].endpoints.len()).sum();
            Some(bytes.saturating_mul(copies as u64))
        }
        _ => None,
    });
    files.fold(SPACE_BYTES, u64::saturating_add)
}
