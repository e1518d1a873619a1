//! Placement policies side by side: the same endpoints arrive, stay and leave under each of them.
//!
//! A flow-level world: no packets, and mesh cores only where ours is played alone. Our policy's decisions are the product's own (`sealcast-placement`);
//! demand, round trips, phases of reports and deaths are drawn once for each seed and are the same for all. Never judges
//! a policy by another than the one named in [`Policy::OURS`].
//!
//! ```text
//!  demand ──► world: arrive, ask a broker, be admitted or redirected, leave ──► measure: figures, each with its bound
//!               ▲ reports, late                 policy: whom a broker names        flow: the cheapest assignment
//!               └ mesh: the product's cores, where `netsim run` plays ours alone (the light profile)
//!                                                                 series: loads and distributions, for a page
//! ```

mod demand;
mod flow;
mod light;
mod measure;
mod mesh;
mod pin;
mod policy;
mod series;
mod summary;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use serde::Serialize;

pub use light::{Size, Stage, play};
pub use measure::{FIGURES, Figure};
pub use pin::{pinned, spread};
pub use policy::Policy;
pub use series::{Loads, NodeLoads, Series};
pub use summary::{Estimate, Summary};

use crate::play::{COMMIT, VERSION, Verdict, profile};
use crate::scenario::{Arrivals, Scenario};
use crate::sim::Profile;
use demand::Demand;
use series::Recorder;
use world::{Run, run};

/// Seeds of one comparison.
pub const SEEDS_MAX: u64 = 1_000;

/// How policies are compared.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which.
    pub policies: Vec<Policy>,
    /// The first seed.
    pub seed: u64,
    /// So many seeds.
    pub seeds: u64,
    /// So many runs at once; what comes of them is the same.
    pub jobs: usize,
    /// Whether loads and distributions are written down, for a page.
    pub series: bool,
}

/// What came of a comparison.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Comparison {
    /// The scenario.
    pub name: String,
    /// The first seed.
    pub seed: u64,
    /// How many.
    pub seeds: u64,
    /// This program's version.
    pub version: &'static str,
    /// The commit that it was built from.
    pub commit: &'static str,
    /// `debug` or `release`.
    pub profile: &'static str,
    /// How much of the product is real.
    pub simulation: &'static str,
    /// Endpoints that arrived, all seeds together.
    pub endpoints: u64,
    /// A policy each, as asked for.
    pub rows: Vec<Row>,
    /// What did not hold for ours.
    pub violations: Vec<String>,
    /// Which exit code that asks for.
    pub verdict: Verdict,
}

/// A policy and what came of it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub policy: &'static str,
    /// The fold of everything that happened, all seeds in turn, in hexadecimal.
    pub trace: String,
    /// Events that were folded.
    pub events: u64,
    /// In the order of [`FIGURES`].
    pub figures: Vec<Summary>,
    /// If it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
}

/// Plays a scenario with each policy and seed; `done` is called after each run. `None` if nothing arrives in it.
pub fn compare(scenario: &Scenario, options: &Options, mut done: impl FnMut()) -> Option<Comparison> {
    let arrivals = scenario.arrivals.as_ref()?;
    let seeds: Vec<u64> = (0..options.seeds).map(|index| options.seed.wrapping_add(index)).collect();
    let tasks: Vec<(u64, Policy)> =
        seeds.iter().flat_map(|seed| options.policies.iter().map(move |policy| (*seed, *policy))).collect();
    let mut runs: Vec<Option<Run>> = tasks.iter().map(|_| None).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (told, results) = mpsc::sync_channel(1);
        for _ in 0..options.jobs.max(1) {
            let (told, next, tasks) = (told.clone(), &next, &tasks);
            scope.spawn(move || work(scenario, arrivals, tasks, options.series, next, &told));
        }
        drop(told);
        for (index, run) in results {
            runs[index] = Some(run);
            done();
        }
    });
    let runs: Vec<Run> = runs.into_iter().flatten().collect();
    let endpoints = runs.iter().step_by(options.policies.len().max(1)).map(|run| run.endpoints).sum();
    let rows = options.policies.iter().enumerate().map(|(at, policy)| {
        let own: Vec<&Run> = runs.iter().skip(at).step_by(options.policies.len()).collect();
        Row::of(*policy, &own)
    });
    let rows: Vec<Row> = rows.collect();
    let (violations, verdict) = judge(scenario, &rows);
    Some(Comparison {
        name: scenario.name.clone(),
        seed: options.seed,
        seeds: options.seeds,
        version: VERSION,
        commit: COMMIT,
        profile: profile(),
        simulation: Profile::Light.name(),
        endpoints,
        rows,
        violations,
        verdict,
    })
}

/// Takes one task after the other. A seed's demand is made anew for each: it is a small part of a run.
fn work(
    scenario: &Scenario,
    arrivals: &Arrivals,
    tasks: &[(u64, Policy)],
    series: bool,
    next: &AtomicUsize,
    told: &mpsc::SyncSender<(usize, Run)>,
) {
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some((seed, policy)) = tasks.get(index) else { return };
        let demand = Demand::draw(arrivals, scenario.duration, *seed);
        let recorder =
            series.then(|| Recorder::new(scenario.nodes.iter().map(|node| node.number), scenario.duration));
        if told.send((index, run(scenario, &demand, (*policy, *seed), recorder, None))).is_err() {
            return;
        }
    }
}

impl Row {
    fn of(policy: Policy, runs: &[&Run]) -> Row {
        let mut trace = crate::sim::Trace::default();
        runs.iter().for_each(|run| trace.number(run.trace.hash()));
        let figures = FIGURES.iter().enumerate().map(|(at, name)| {
            let figures: Vec<Figure> = runs.iter().map(|run| run.figures[at]).collect();
            Summary::of(name, &figures)
        });
        let mut series = runs.first().and_then(|run| run.series.clone());
        for other in runs.iter().skip(1).filter_map(|run| run.series.as_ref()) {
            series.iter_mut().for_each(|series| series.merge(other));
        }
        Row {
            series,
            policy: policy.name(),
            trace: format!("{:016x}", trace.hash()),
            events: runs.iter().map(|run| run.trace.events()).sum(),
            figures: figures.collect(),
        }
    }

    /// A figure's mean over the seeds.
    pub fn mean(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.name == name)?.value.map(|value| value.mean)
    }
}

/// Holds our policy's means against the scenario's limits. That too much moved is wrong; that a figure is poor is a good
/// thing that did not happen.
fn judge(scenario: &Scenario, rows: &[Row]) -> (Vec<String>, Verdict) {
    let Some(ours) = rows.iter().find(|row| row.policy == Policy::OURS.name()) else {
        return (Vec::new(), Verdict::Held);
    };
    let checks = &scenario.checks;
    let limits = [
        ("collateral_moves", Some(checks.moved_beyond as f64), Verdict::Correctness),
        ("oscillations", Some(checks.moved_beyond as f64), Verdict::Correctness),
        (
            "load_over_mean",
            checks.load_over_mean_percent.map(|limit| limit as f64 / 100.0),
            Verdict::Liveness,
        ),
        (
            "rtt_p99_over_flow",
            checks.rtt_p99_over_flow_percent.map(|limit| limit as f64 / 100.0),
            Verdict::Liveness,
        ),
        (
            "rejects_with_room_percent",
            checks.rejects_ppm.map(|limit| limit as f64 / 10_000.0),
            Verdict::Liveness,
        ),
    ];
    let mut violations = Vec::new();
    let mut verdict = Verdict::Held;
    for (name, limit, worth) in limits {
        let (Some(value), Some(limit)) = (ours.mean(name), limit) else { continue };
        if value > limit {
            let policy = ours.policy;
            violations.push(format!("{policy}: {name} is {value:.4}, at most {limit} is allowed"));
            verdict = verdict.max(worth);
        }
    }
    (violations, verdict)
}

#[cfg(test)]
mod tests;
