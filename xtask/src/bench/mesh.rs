//! `cargo xtask bench mesh`: several real nodes. What a packet costs that crosses them, and what an endpoint feels when its
//! node, or one on the way, is killed, stands still, or is drained, while files are under way; each
//! beside a run of equal load in which nothing happens.
//!
//! Costs are measured with the load generator and `relayd dev`; the rest are scenarios of the lab (docs/LAB.md), written
//! here because they repeat one fault many times.

mod cost;
mod scenario;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use netsim::lab::programs::Programs;
use netsim::lab::{Trial, converge_limit};

use super::{Figure, Part, Target};
use scenario::{Cycle, FaultKind, Layout};

/// What a killed node may cost its endpoints, in milliseconds.
const KILL_P50_MS: f64 = 300.0;
const KILL_P99_MS: f64 = 1_000.0;
/// The same for one that stands still: silence has to be noticed.
const STOP_P99_MS: f64 = 1_500.0;
/// A node on the way: noticed by a reset, and by silence.
const TRANSIT_KILL_P99_MS: f64 = 100.0;
const TRANSIT_STOP_P99_MS: f64 = 1_000.0;
/// What a drain may add to the longest stall of an undisturbed run.
const DRAIN_EXTRA_MS: f64 = 20.0;

/// How often each fault is brought about.
const TIMES: u32 = 30;
const TIMES_QUICK: u32 = 4;

/// Runs all parts, or those given, and prints as it goes.
pub(crate) fn run(quick: bool, parts: &[Part], programs: Option<&Path>) -> Result<Vec<Figure>> {
    let programs = match programs {
        Some(folder) => Programs::find(Some(folder))?,
        None => build()?,
    };
    let bench = Bench { programs, times: if quick { TIMES_QUICK } else { TIMES } };
    let wants = |part| parts.is_empty() || parts.contains(&part);
    let mut figures = Vec::new();
    if wants(Part::Cost) {
        figures.extend(cost::run(quick, &bench.programs.relayd)?);
    }
    if wants(Part::Kill) {
        let cycle = Cycle { fault: FaultKind::Kill, times: bench.times, layout: Layout::Pair };
        figures.extend(bench.gaps("receiver's node killed", cycle, Some(KILL_P50_MS), KILL_P99_MS)?);
    }
    if wants(Part::Stop) {
        let cycle = Cycle { fault: FaultKind::Stop, times: bench.times, layout: Layout::Pair };
        figures.extend(bench.gaps("receiver's node silent", cycle, None, STOP_P99_MS)?);
    }
    if wants(Part::Transit) {
        let cycle = Cycle { fault: FaultKind::Kill, times: bench.times, layout: Layout::Transit };
        figures.extend(bench.gaps("transit node killed", cycle, None, TRANSIT_KILL_P99_MS)?);
        let cycle = Cycle { fault: FaultKind::Stop, times: bench.times, layout: Layout::Transit };
        figures.extend(bench.gaps("transit node silent", cycle, None, TRANSIT_STOP_P99_MS)?);
    }
    if wants(Part::Drain) {
        figures.extend(bench.drain()?);
    }
    if wants(Part::Broker) {
        let cycle =
            Cycle { fault: FaultKind::Kill, times: bench.times.div_ceil(4), layout: Layout::WithoutBroker };
        figures.extend(bench.gaps("no broker, node killed", cycle, Some(KILL_P50_MS), KILL_P99_MS)?);
    }
    if wants(Part::Converge) {
        figures.extend(bench.converge(quick)?);
    }
    Ok(figures)
}

struct Bench {
    programs: Programs,
    times: u32,
}

impl Bench {
    /// A cycle, and the same load undisturbed for as long as a few of its rounds.
    fn both(&self, cycle: Cycle) -> Result<(Trial, Trial)> {
        let calm = Cycle { times: cycle.times.min(TIMES_QUICK), ..cycle };
        let calm = Trial::play(&calm.text(), &self.programs, true, true)?;
        let before = busy()?;
        let trial = Trial::play(&cycle.text(), &self.programs, true, false)?;
        let after = busy()?;
        let share = (after.0 - before.0) / (after.1 - before.1);
        println!("  of the machine in use meanwhile, files under way: {:.0} %", share * 100.0);
        for note in &trial.notes {
            println!("  note: {note}");
        }
        Ok((trial, calm))
    }

    fn gaps(&self, name: &str, cycle: Cycle, p50: Option<f64>, p99: f64) -> Result<Vec<Figure>> {
        let (trial, calm) = self.both(cycle)?;
        let (gaps, calm) = (after(&trial, cycle.fault), after(&calm, cycle.fault));
        // Faults that no endpoint had to move for would make the figure look better than it is.
        let moved = trial.reattached.len();
        println!("{name}: {} gaps, {moved} re-attachments {}", gaps.len(), ways(&trial.reattached));
        let figures = vec![
            wrong(name, &trial),
            figure(format!("{name}: gap p50"), &gaps, 50, &calm, p50),
            figure(format!("{name}: gap p99"), &gaps, 99, &calm, Some(p99)),
            figure(format!("{name}: gap max"), &gaps, 100, &calm, None),
        ];
        figures.iter().for_each(Figure::print);
        Ok(figures)
    }

    fn drain(&self) -> Result<Vec<Figure>> {
        let name = "receiver's node drained";
        let cycle = Cycle { fault: FaultKind::Drain, times: self.times, layout: Layout::Pair };
        let (trial, calm) = self.both(cycle)?;
        let (gaps, calm) = (after(&trial, cycle.fault), after(&calm, cycle.fault));
        println!("{name}: {} gaps, {} moves {}", gaps.len(), trial.reattached.len(), ways(&trial.reattached));
        let longest_calm = percentile(&calm, 100);
        let figures = vec![
            wrong(name, &trial),
            figure(format!("{name}: stall p50"), &gaps, 50, &calm, None),
            figure(format!("{name}: stall max"), &gaps, 100, &calm, None),
            Figure {
                name: format!("{name}: beyond undisturbed"),
                unit: "ms",
                value: percentile(&gaps, 100) - longest_calm,
                reference: None,
                target: Some(Target::AtMost(DRAIN_EXTRA_MS)),
            },
        ];
        figures.iter().for_each(Figure::print);
        Ok(figures)
    }

    fn converge(&self, quick: bool) -> Result<Vec<Figure>> {
        let rounds = if quick { 1 } else { 5 };
        let trial = Trial::play(&scenario::converging(rounds), &self.programs, false, false)?;
        for note in &trial.notes {
            println!("  note: {note}");
        }
        // Every node links with every other below the links that a node aims for: two hops at most.
        let limit = converge_limit(2, Duration::from_millis(scenario::RTT_MS)).as_secs_f64() * 1_000.0;
        let mut figures = Vec::new();
        for (name, fault) in [("a crash", "kill"), ("a join", "restart"), ("a leave", "drain")] {
            let times: Vec<f64> = trial
                .converged
                .iter()
                .filter(|(name, _)| name.starts_with(fault))
                .map(|(_, time)| time.as_secs_f64() * 1_000.0)
                .collect();
            if times.is_empty() {
                bail!("no agreement was seen after {name}: {} changes without", trial.unconverged);
            }
            figures.push(Figure {
                name: format!("12 nodes agree after {name}, p99 of {}", times.len()),
                unit: "ms",
                value: percentile(&sorted(times), 99),
                reference: None,
                target: Some(Target::AtMost(limit)),
            });
        }
        figures.push(Figure {
            name: "12 nodes: changes without agreement".into(),
            unit: "",
            value: trial.unconverged as f64,
            reference: None,
            target: Some(Target::AtMost(0.0)),
        });
        figures.iter().for_each(Figure::print);
        Ok(figures)
    }
}

/// What all processors did since the machine started, and could have done, in ticks (proc_stat(5)).
fn busy() -> Result<(f64, f64)> {
    let text = std::fs::read_to_string("/proc/stat").context("/proc/stat cannot be read")?;
    let first = text.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = first.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
    ensure!(ticks.len() >= 8, "/proc/stat begins with {first:?}");
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests did is within user.
    let all: f64 = ticks[..8].iter().sum();
    Ok((all - ticks[3] - ticks[4], all))
}

/// The gaps after this kind of fault, in milliseconds, ascending. An endpoint that goes on only when its node is back has
/// the pause of both spans: the longer one of the fault's and of its end's.
fn after(trial: &Trial, fault: FaultKind) -> Vec<f64> {
    sorted(rounds(&trial.gaps, fault.word(), fault.end().0))
}

/// Each fault that is followed by its end: the longest gap of both. There is one flow.
fn rounds(gaps: &[(String, Vec<Duration>)], fault: &str, end: &str) -> Vec<f64> {
    let pairs = gaps.windows(2).filter(|pair| pair[0].0.starts_with(fault) && pair[1].0.starts_with(end));
    let longest = |pair: &[(String, Vec<Duration>)]| pair.iter().flat_map(|(_, gaps)| gaps).max().copied();
    pairs.filter_map(longest).map(|gap| gap.as_secs_f64() * 1_000.0).collect()
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The nearest rank.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// Ways of attaching anew, each with how often.
fn ways(all: &[String]) -> String {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for way in all {
        *counts.entry(if way.is_empty() { "anew" } else { way }).or_default() += 1;
    }
    format!("{counts:?}")
}

/// A percentile, with the undisturbed run's beside it in the name: a ratio would mean nothing.
fn figure(name: String, gaps: &[f64], percent: usize, calm: &[f64], target: Option<f64>) -> Figure {
    Figure {
        name: format!("{name} (undisturbed {:.0})", percentile(calm, percent)),
        unit: "ms",
        value: percentile(gaps, percent),
        reference: None,
        target: target.map(Target::AtMost),
    }
}

fn wrong(name: &str, trial: &Trial) -> Figure {
    Figure {
        name: format!("{name}: wrong of {}", trial.delivered),
        unit: "lines",
        value: trial.wrong as f64,
        reference: None,
        target: Some(Target::AtMost(0.0)),
    }
}

/// The programs as users run them: release, built now.
fn build() -> Result<Programs> {
    let packages = ["--package", "relayd", "--package", "relayctl", "--package", "sealcast-driver"];
    let built = crate::cargo().args(["build", "--release", "--quiet"]).args(packages).status();
    if !built.context("cannot start cargo")?.success() {
        bail!("the programs do not build");
    }
    let own = std::env::current_exe()?;
    Programs::find(own.parent())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_outlives_its_fault_counts() {
        let ms = Duration::from_millis;
        let gaps = [
            ("kill 1".to_owned(), vec![ms(5)]),
            ("stop 2".to_owned(), vec![ms(40)]),
            ("continue 2".to_owned(), vec![ms(3)]),
            ("stop 3".to_owned(), Vec::new()),
            ("continue 3".to_owned(), vec![ms(2_600)]),
        ];
        assert_eq!(rounds(&gaps, "stop", "continue"), [40.0, 2_600.0]);
    }

    #[test]
    fn every_cycle_is_a_scenario() {
        for layout in [Layout::Pair, Layout::WithoutBroker, Layout::Transit] {
            for fault in [FaultKind::Kill, FaultKind::Stop, FaultKind::Drain] {
                let cycle = Cycle { fault, times: 3, layout };
                let scenario = netsim::scenario::Scenario::parse("trial", &cycle.text()).unwrap();
                assert!(scenario.faults.len() >= 6);
            }
        }
        assert_eq!(
            netsim::scenario::Scenario::parse("trial", &scenario::converging(5)).unwrap().faults.len(),
            20
        );
    }
}
