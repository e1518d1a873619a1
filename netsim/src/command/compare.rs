//! `netsim compare`: policies as rows, figures as columns, the bounds below them.

use std::path::PathBuf;

use clap::Args;

use super::{EXIT_USAGE, code, fits, opened, print, sentence, watched, write};
use crate::balance::{Comparison, Estimate, FIGURES, Options, Policy, SEEDS_MAX, compare};
use crate::html;
use crate::memory;
use crate::play::program;
use crate::scenario::Scenario;

/// Runs at once that may be asked for.
const JOBS_MAX: i64 = 256;

/// What to compare.
#[derive(Args, Debug)]
pub(super) struct Compare {
    /// A scenario with arrivals: a name that `netsim list` shows, or a path.
    scenario: String,
    /// `all`, or names with commas between.
    #[arg(long, value_name = "NAMES", value_parser = policies, default_value = "all")]
    policies: Policies,
    /// So many seeds.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many runs at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=JOBS_MAX))]
    jobs: u16,
    /// Write the report there as JSON as well; `-` for stdout instead of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page about it there: one HTML file with everything in it.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub(super) struct Policies(pub(super) Vec<Policy>);

pub(super) fn policies(text: &str) -> Result<Policies, String> {
    if text == "all" {
        return Ok(Policies(Policy::ALL.to_vec()));
    }
    let mut found = Vec::new();
    for name in text.split(',') {
        let policy = Policy::ALL.into_iter().find(|policy| policy.name() == name);
        match policy.filter(|policy| !found.contains(policy)) {
            Some(policy) => found.push(policy),
            None => {
                let names: Vec<&str> = Policy::ALL.iter().map(|policy| policy.name()).collect();
                return Err(format!("say all, or each once of {}", names.join(", ")));
            }
        }
    }
    Ok(Policies(found))
}

impl Compare {
    pub(super) fn run(self) -> u8 {
        let scenario = match Scenario::load(&self.scenario) {
            Ok(scenario) => scenario,
            Err(error) => {
                eprintln!("netsim: {error}");
                return EXIT_USAGE;
            }
        };
        if let Err(code) = fits(memory::of_arrivals(&scenario, self.jobs.into())) {
            return code;
        }
        let outputs = opened(self.json.as_deref()).and_then(|json| Ok((json, opened(self.html.as_deref())?)));
        let (mut json, mut page) = match outputs {
            Ok(outputs) => outputs,
            Err(code) => return code,
        };
        eprintln!("{}: {} nodes: {}", scenario.name, scenario.nodes.len(), scenario.about);
        let runs = self.seeds * self.policies.0.len() as u64;
        let bar = watched().then(|| indicatif::ProgressBar::new(runs));
        let done = || {
            if let Some(bar) = &bar {
                bar.inc(1);
            }
        };
        let command = self.command();
        let Compare { policies: Policies(policies), seed, seeds, jobs, .. } = self;
        let options = Options { policies, seed, seeds, jobs: jobs.into(), series: self.html.is_some() };
        let compared = compare(&scenario, &options, done);
        if let Some(bar) = &bar {
            bar.finish_and_clear();
        }
        let Some(comparison) = compared else {
            let name = &self.scenario;
            eprintln!("netsim: {name} has no [arrivals]: play it with `netsim run {name}`");
            return EXIT_USAGE;
        };
        if let Some(page) = &mut page
            && let Err(code) = page.write(&html::compare_page(&scenario, &comparison, &command))
        {
            return code;
        }
        match write(json.as_mut(), &comparison) {
            Ok(true) => {}
            Ok(false) => show(&comparison),
            Err(code) => return code,
        }
        code(comparison.verdict)
    }

    /// The line that makes the same page again.
    fn command(&self) -> String {
        let Policies(policies) = &self.policies;
        let names: Vec<&str> = policies.iter().map(|policy| policy.name()).collect();
        let names = if policies.as_slice() == Policy::ALL { "all".to_owned() } else { names.join(",") };
        let (seeds, seed) = (self.seeds.to_string(), self.seed.to_string());
        let parts =
            ["netsim", "compare", &self.scenario, "--policies", &names, "--seeds", &seeds, "--seed", &seed];
        html::shell_line(parts.into_iter().chain(["--html", "report.html"]))
    }
}

fn show(comparison: &Comparison) {
    let Comparison { name, seed, seeds, simulation, endpoints, rows, .. } = comparison;
    let program = program(simulation);
    print(&format!(
        "{name}: {seeds} seeds from {seed}, {program}, {endpoints} endpoints; means with 95 % intervals"
    ));
    let mut table = vec![std::iter::once("policy").chain(FIGURES).map(str::to_owned).collect::<Vec<_>>()];
    for row in rows {
        let cells = row.figures.iter().map(|figure| cell(figure.value));
        table.push(std::iter::once(row.policy.to_owned()).chain(cells).collect());
    }
    // Each bound holds for what its policy admitted; the lowest holds for all.
    let bounds = (0..FIGURES.len()).map(|at| {
        let bounds = rows.iter().filter_map(|row| row.figures[at].bound);
        bounds.reduce(f64::min).map_or("-".to_owned(), number)
    });
    table.push(std::iter::once("bound".to_owned()).chain(bounds).collect());
    let widths: Vec<usize> = (0..=FIGURES.len())
        .map(|at| table.iter().map(|row| row[at].chars().count()).max().unwrap_or(0))
        .collect();
    for row in &table {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(at, (cell, width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        print(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    for row in rows {
        print(&format!("trace {} over {} events: {}", row.trace, row.events, row.policy));
    }
    for violation in &comparison.violations {
        print(&format!("violated: {violation}"));
    }
    print(sentence(comparison.verdict));
}

fn cell(value: Option<Estimate>) -> String {
    match value {
        None => "-".to_owned(),
        Some(Estimate { mean, ci95: None }) => number(mean),
        Some(Estimate { mean, ci95: Some(ci95) }) => format!("{} ±{}", number(mean), number(ci95)),
    }
}

/// Three digits behind the point where they say something.
fn number(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}
