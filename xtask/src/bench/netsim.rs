//! `cargo xtask bench netsim`: what the simulator costs in its light profile: events a second, simulated beside real time,
//! memory for each endpoint, and how the three grow with nodes and endpoints.
//!
//! Everything runs on one thread. CPU time is compared, not the clock on the wall: other programs of the machine take no
//! part of it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netsim::balance::{Size, Stage, play};
use netsim::play::Options;
use netsim::scenario::{Fault, Scenario};

use super::{Figure, Target};

/// The largest scenario that ships.
const SCENARIO: &str = "thousand-nodes";
/// Events of the simulator for each second of CPU time.
const EVENTS_S: f64 = 1_000_000.0;
/// Seconds of the scenario for each second of CPU time.
const TIMES_REAL: f64 = 10.0;
/// Resident memory for each endpoint that is there in the end, in KiB.
const ENDPOINT_KIB: f64 = 2.0;
/// Parts of the scenario, one in so many: the last is the whole.
const PARTS: [usize; 4] = [10, 4, 2, 1];
const PARTS_QUICK: [usize; 2] = [20, 10];

/// What one run came to.
struct Run {
    nodes: usize,
    size: Size,
    /// CPU time until the mesh had come up, and of the scenario itself.
    cpu: (Duration, Duration),
    /// Resident bytes at both moments.
    resident: (u64, u64),
}

/// Runs the scenario in parts and as a whole, and prints as it goes.
pub(crate) fn run(quick: bool) -> Result<Vec<Figure>> {
    println!("{SCENARIO}, light profile, one thread:");
    println!(
        "  {:>5} {:>9} {:>10} {:>10} {:>9} {:>11} {:>10} {:>9} {:>9}",
        "nodes", "endpoints", "formed s", "played s", "events M", "M events/s", "x real", "KiB each", "MiB"
    );
    let parts: &[usize] = if quick { &PARTS_QUICK } else { &PARTS };
    let mut runs = Vec::new();
    for part in parts {
        let run = Run::of(*part)?;
        println!(
            "  {:>5} {:>9} {:>10.1} {:>10.1} {:>9.1} {:>11.2} {:>10.1} {:>9.2} {:>9}",
            run.nodes,
            run.size.endpoints.1,
            run.cpu.0.as_secs_f64(),
            run.cpu.1.as_secs_f64(),
            run.size.events.1 as f64 / 1e6,
            run.events_s() / 1e6,
            run.times_real(),
            run.endpoint_kib(),
            run.resident.1 >> 20,
        );
        runs.push(run);
    }
    let whole = runs.last().context("there is a part")?;
    let name =
        |what: &str| format!("netsim {} nodes, {} endpoints: {what}", whole.nodes, whole.size.endpoints.1);
    let figure =
        |what, unit, value, target| Figure { name: name(what), unit, value, reference: None, target };
    let forming = (whole.cpu.0 + whole.cpu.1).as_secs_f64();
    let simulated = (whole.size.simulated.0 + whole.size.simulated.1).as_secs_f64();
    let figures = vec![
        figure("events", "1/CPU s", whole.events_s(), Some(Target::AtLeast(EVENTS_S))),
        figure("scenario over CPU time", "x", whole.times_real(), Some(Target::AtLeast(TIMES_REAL))),
        figure("with the mesh's coming up", "x", simulated / forming, None),
        figure("memory", "KiB/endpoint", whole.endpoint_kib(), Some(Target::AtMost(ENDPOINT_KIB))),
    ];
    figures.iter().for_each(Figure::print);
    Ok(figures)
}

impl Run {
    /// One in so many nodes of each region, and as small a part of the arrivals.
    fn of(part: usize) -> Result<Run> {
        let mut scenario = Scenario::load(SCENARIO).map_err(|error| anyhow::anyhow!("{error}"))?;
        let kept = |index: usize| index.is_multiple_of(part);
        let mut index = 0..;
        // Brokers stand first in their regions, and stay.
        scenario.nodes.retain(|_| index.next().is_some_and(kept));
        let numbers: Vec<_> = scenario.nodes.iter().map(|node| node.number).collect();
        let arrivals = scenario.arrivals.as_mut().context("the scenario has arrivals")?;
        arrivals.sessions_per_min /= part as u64;
        scenario.faults.retain_mut(|timed| match &mut timed.fault {
            Fault::Kill(nodes) | Fault::Restart(nodes) => {
                nodes.retain(|node| numbers.contains(node));
                !nodes.is_empty()
            }
            _ => false,
        });
        let (mut cpu, mut resident) = (vec![cpu_time()], Vec::new());
        let reached = |_: Stage| {
            cpu.push(cpu_time());
            resident.push(resident_bytes());
        };
        let options = Options { seed: 1, ..Options::default() };
        let (report, size) = play(&scenario, options, reached).context("the scenario has arrivals")?;
        ensure!(report.violations.is_empty(), "it did not hold: {:?}", report.violations);
        let [start, formed, played] = cpu[..] else { anyhow::bail!("a run has two stages") };
        let resident: Vec<u64> = resident.into_iter().collect::<Result<_>>()?;
        Ok(Run {
            nodes: scenario.nodes.len(),
            size,
            cpu: (formed - start, played - formed),
            resident: (resident[0], resident[1]),
        })
    }

    fn events_s(&self) -> f64 {
        (self.size.events.1 - self.size.events.0) as f64 / self.cpu.1.as_secs_f64()
    }

    fn times_real(&self) -> f64 {
        self.size.simulated.1.as_secs_f64() / self.cpu.1.as_secs_f64()
    }

    fn endpoint_kib(&self) -> f64 {
        self.resident.1.saturating_sub(self.resident.0) as f64 / 1_024.0 / self.size.endpoints.1.max(1) as f64
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Resident memory of this process.
fn resident_bytes() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").context("cannot read /proc/self/statm")?;
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.context("/proc/self/statm has no resident pages")? * rustix::param::page_size() as u64)
}
