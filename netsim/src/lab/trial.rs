//! A scenario as a measurement, for benchmarks: it is played, and what came of it is figures, not a verdict.

use std::time::Duration;

use anyhow::Context;
use sealcast_mesh::config::{LINK_HOLD, LSA_GATHER, LSA_INTERVAL, SPF_DELAY, SPF_HOLD};

use super::measure::Delivery;
use super::play::{self, Record, Run};
use super::programs::Programs;
use crate::scenario::Scenario;
use sealcast_process::Hub;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Deliveries that came.
    pub delivered: u64,
    /// Those that came never, twice or out of order, files that failed, and endpoints that were no members in the end.
    pub wrong: u64,
    /// Each fault with the gaps of all flows after it, as docs/SCENARIOS.md defines them.
    pub gaps: Vec<(String, Vec<Duration>)>,
    /// How endpoints attached anew.
    pub reattached: Vec<String>,
    /// From each fault that all nodes agreed on to that agreement.
    pub converged: Vec<(String, Duration)>,
    /// Faults that were not followed by agreement before the next one.
    pub unconverged: u64,
    /// What else is to be known; a crash first.
    pub notes: Vec<String>,
}

impl Trial {
    /// Plays a scenario given as its text. With `undisturbed` nothing goes wrong; with `kept` an endpoint reaches the two
    /// nodes alone that the scenario names for it.
    ///
    /// # Errors
    /// When the scenario makes no sense or the stage cannot be set.
    pub fn play(text: &str, programs: &Programs, kept: bool, undisturbed: bool) -> anyhow::Result<Trial> {
        let scenario = Scenario::parse("trial", text).map_err(|error| anyhow::anyhow!("{error}"))?;
        play::playable(&scenario).map_err(anyhow::Error::msg)?;
        let folder =
            tempfile::Builder::new().prefix("sealcast-lab-").tempdir().context("no temporary folder")?;
        let hub = Hub::new()?;
        let folder = folder.path();
        let run = Run {
            scenario: &scenario,
            programs,
            hub: &hub,
            folder,
            seed: 1,
            undisturbed,
            kept,
            netns: false,
            state: false,
            log_level: "warn",
        };
        Ok(Trial::new(play::play(&run)?))
    }

    fn new(record: Record) -> Trial {
        let Delivery { delivered, lost, duplicates, reordered, .. } =
            record.lines.delivery(|sender| record.receivers[sender].clone());
        let faults = record.faults.iter().enumerate().map(|(fault, (_, name))| {
            let gaps = record.gaps.iter().filter(|gap| gap.fault == fault).map(|gap| gap.gap);
            (name.clone(), gaps.collect())
        });
        let name = |fault: usize| record.faults.get(fault).map_or_else(String::new, |(_, name)| name.clone());
        let converged = record.converged.iter().map(|(fault, time)| (name(*fault), *time));
        let departed = record.departed.len() as u64;
        Trial {
            delivered,
            wrong: lost + duplicates + reordered + departed + record.files.0 - record.files.1,
            gaps: faults.collect(),
            reattached: record.reattached.iter().map(|(_, _, how)| how.clone()).collect(),
            converged: converged.collect(),
            unconverged: record.unconverged,
            notes: record.crash.iter().chain(&record.departed).chain(&record.notes).cloned().collect(),
        }
    }
}

/// How long agreement of all nodes may take at most once a change was noticed, for a mesh of this diameter with links of
/// this round trip: a link that waits to be told of, link state that waits for its turn and spreads twice, ways
/// computed.
pub fn converge_limit(diameter: u32, rtt: Duration) -> Duration {
    let spread = (rtt / 2 + Duration::from_millis(3)) * diameter;
    LINK_HOLD + LSA_GATHER + LSA_INTERVAL + 2 * spread + SPF_DELAY + SPF_HOLD
}
