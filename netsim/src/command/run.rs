//! `netsim run`: one scenario, once: a table, and whatever else is asked for.

use std::path::PathBuf;

use clap::Args;

use super::compare::Policies;
use super::output::Output;
use super::{EXIT_USAGE, bug, code, fits, opened, policies, profile, show, write};
use crate::play::{Options, Report, play_to_end};
use crate::scenario::Scenario;
use crate::sim::{Bug, Profile};
use crate::{balance, html, memory};

/// What to play.
#[derive(Args, Debug)]
pub(super) struct Run {
    /// A name that `netsim list` shows, or a path.
    scenario: String,
    /// Everything is drawn from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report there as JSON as well; `-` for stdout instead of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Place the endpoints that have no node of their own by each of these: `all`, or names with commas between.
    #[arg(long, value_name = "NAMES", value_parser = super::compare::policies, conflicts_with_all = ["state", "html"])]
    policy: Option<Policies>,
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
}

/// What a run leaves beside its table; `None` where nothing is asked for.
struct Outputs {
    json: Option<Output>,
    state: Option<Output>,
    html: Option<Output>,
}

impl Run {
    pub(super) fn run(self) -> u8 {
        self.play().unwrap_or_else(|code| code)
    }

    /// The exit code, either way.
    fn play(&self) -> Result<u8, u8> {
        let name = &self.scenario;
        let scenario = Scenario::load(name).map_err(|error| {
            eprintln!("netsim: {error}");
            EXIT_USAGE
        })?;
        let flows = scenario.arrivals.is_some();
        if flows && (self.policy.is_some() || self.html.is_some() || self.state.is_some()) {
            eprintln!(
                "netsim: {name} has endpoints that come and go: for policies and pages use `netsim compare {name}`"
            );
            return Err(EXIT_USAGE);
        }
        fits(if flows { memory::of_flows(&scenario) } else { memory::of_scenario(&scenario) })?;
        let mut outputs = Outputs {
            json: opened(self.json.as_deref())?,
            state: opened(self.state.as_deref())?,
            html: opened(self.html.as_deref())?,
        };
        let endpoints = match scenario.endpoints() {
            _ if flows => "endpoints that come and go".to_owned(),
            count => format!("{count} endpoints"),
        };
        eprintln!("{}: {} nodes, {endpoints}: {}", scenario.name, scenario.nodes.len(), scenario.about);
        let options = Options {
            seed: self.seed,
            profile: self.profile.unwrap_or(Profile::fitting(scenario.endpoints())),
            bug: self.bug,
            told: self.trace,
            series: self.html.is_some(),
        };
        if let Some(Policies(policies)) = &self.policy {
            return Ok(policies::run(&scenario, options, policies, outputs.json.as_mut()));
        }
        let report = match balance::play(&scenario, options, |_| ()) {
            Some((report, _)) => report,
            None => self.play_packets(&scenario, options, &mut outputs)?,
        };
        if !write(outputs.json.as_mut(), &report)? {
            show(&report);
        }
        Ok(code(report.verdict))
    }

    fn play_packets(
        &self,
        scenario: &Scenario,
        options: Options,
        outputs: &mut Outputs,
    ) -> Result<Report, u8> {
        let (report, end) = play_to_end(scenario, options);
        write(outputs.state.as_mut(), &end)?;
        if let Some(page) = &mut outputs.html {
            page.write(&html::run_page(scenario, &report, &self.command()))?;
        }
        Ok(report)
    }

    /// The line that makes the same page again.
    fn command(&self) -> String {
        let seed = self.seed.to_string();
        let profile = self.profile.map_or(Vec::new(), |profile| vec!["--profile", profile.name()]);
        let bug = self.bug.map_or(Vec::new(), |bug| vec!["--bug", bug.name()]);
        let begins = ["netsim", "run", &self.scenario, "--seed", &seed].into_iter();
        html::shell_line(begins.chain(profile).chain(bug).chain(["--html", "report.html"]))
    }
}
