//! How much memory a run needs, and whether there is so much: told before the start, so that nobody waits an hour for a
//! run that the system then ends.
//!
//! The model is fitted to the peaks of runs (docs/TESTING.md has them): what each thing costs beside what is always there.
//! It errs on the side of too much.

use std::fmt;
use std::path::Path;

use crate::scenario::Scenario;

/// The program itself.
const BASE: u64 = 16 * MIB;
/// A node: its core, its shell, its part of the trunks.
const NODE: u64 = 32 * KIB;
/// One node's knowledge of another: its LSA and chain, and its part of the routes.
const LSA_COPY: u64 = 2 * KIB;
/// A link in each node's copy of an LSA.
const LINK_COPY: u64 = 64;
/// An endpoint with both its attachments.
const ENDPOINT: u64 = 80 * KIB;
/// What each endpoint keeps of each other of its session.
const FLOW: u64 = 24 * KIB;
/// A line that is sent, at each who gets it, until the run is judged.
const LINE: u64 = 24;
/// An endpoint that comes and goes.
const ARRIVAL: u64 = 320;
/// What the nodes' cores keep of it, its own and those of its session's homes and other nodes.
const FLOWING: u64 = 5 * KIB;
/// The largest mesh that a seed stands for.
const SEED_NODES_MAX: u64 = 200;
/// Its links.
const SEED_LINKS_MAX: u64 = 16;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0.div_ceil(MIB))
    }
}

/// What a scenario needs that is played with every packet.
pub fn of_scenario(scenario: &Scenario) -> Bytes {
    let sizes = scenario.sessions.iter().map(|session| session.endpoints.len() as u64);
    let flows: u64 = sizes.map(|size| size * size).sum();
    let lines: u64 = scenario.workload.iter().map(|load| lines(scenario, load)).sum();
    let endpoints = scenario.endpoints() as u64;
    let nodes = scenario.nodes.len() as u64;
    Bytes(BASE + mesh(nodes, scenario.links_max as u64) + endpoints * ENDPOINT + flows * FLOW + lines * LINE)
}

/// What a scenario needs whose endpoints arrive, with so many runs at once and no mesh under them.
pub fn of_arrivals(scenario: &Scenario, jobs: u64) -> Bytes {
    Bytes(BASE + jobs * arriving(scenario) * ARRIVAL)
}

/// The same on the mesh's own cores, all of them there at once.
pub fn of_flows(scenario: &Scenario) -> Bytes {
    let nodes = scenario.nodes.len() as u64;
    Bytes(BASE + mesh(nodes, scenario.links_max as u64) + arriving(scenario) * (ARRIVAL + FLOWING))
}

/// Endpoints that come while a scenario lasts, at most.
fn arriving(scenario: &Scenario) -> u64 {
    let Some(arrivals) = &scenario.arrivals else { return 0 };
    let times = match arrivals.kind {
        crate::scenario::ArrivalKind::FlashCrowd { times, lasts, .. } => {
            // Beside the usual rate, for as long as the crowd comes.
            1 + times * lasts.as_secs() / scenario.duration.as_secs().max(1)
        }
        _ => 1,
    };
    let sessions = arrivals.sessions_per_min * times * scenario.duration.as_secs() / 60;
    // Sizes are Pareto: few sessions have many.
    sessions * arrivals.size_max.min(4)
}

/// What seeds need, so many at once.
pub fn of_seeds(jobs: u64) -> Bytes {
    Bytes(BASE + jobs * mesh(SEED_NODES_MAX, SEED_LINKS_MAX))
}

fn mesh(nodes: u64, links_max: u64) -> u64 {
    let links = links_max.min(nodes.saturating_sub(1));
    nodes * NODE + nodes * nodes * (LSA_COPY + links * LINK_COPY)
}

/// Lines of a load, at each who gets them.
fn lines(scenario: &Scenario, load: &crate::scenario::Load) -> u64 {
    let crate::scenario::LoadKind::Chat { per_s, .. } = load.kind else { return 0 };
    let lasts = load.stop.saturating_sub(load.start).as_secs();
    let senders = scenario.meant(load.session.as_deref(), load.from.as_deref());
    let receivers: u64 =
        senders.iter().map(|(session, _)| scenario.sessions[*session].endpoints.len() as u64).sum();
    receivers * per_s * lasts
}

/// Why a run does not start: it needs more than there is. `None` if it may.
pub fn refusal(needed: Bytes, available: Option<Bytes>) -> Option<String> {
    let available = available.filter(|available| needed > *available)?;
    Some(format!(
        "it needs about {needed} of memory, and {available} are available: take fewer nodes, endpoints or --jobs, or a \
         machine with more"
    ))
}

/// What this process may still take: by the system's word, and by its control group's. `None` if neither says.
pub fn available() -> Option<Bytes> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok();
    let system = meminfo.as_deref().and_then(mem_available);
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let limits = Path::new("/sys/fs/cgroup").join(group.unwrap_or("").trim_start_matches('/'));
    let of_group =
        limits.ancestors().take_while(|at| at.starts_with("/sys/fs/cgroup")).filter_map(left).min();
    [system, of_group].into_iter().flatten().min()
}

fn mem_available(meminfo: &str) -> Option<Bytes> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(Bytes(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.saturating_mul(KIB)))
}

/// What a control group leaves, if it has a limit.
fn left(group: &Path) -> Option<Bytes> {
    let number = |name: &str| std::fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    Some(Bytes(number("memory.max")?.saturating_sub(number("memory.current")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_both_figures() {
        let needed = of_scenario(&Scenario::load("three-nodes").unwrap());
        assert_eq!(refusal(needed, Some(needed)), None);
        assert_eq!(refusal(needed, None), None);
        let sentence = refusal(needed, Some(Bytes(needed.0 - 1))).unwrap();
        assert!(sentence.contains(&needed.to_string()) && sentence.contains("--jobs"), "{sentence}");
    }

    #[test]
    fn more_of_anything_needs_more() {
        let small = Scenario::load("region-outage").unwrap();
        let mut large = small.clone();
        large.sessions.extend(small.sessions.clone());
        assert!(of_scenario(&large) > of_scenario(&small));
        large.workload.clear();
        let quiet = of_scenario(&large);
        large.nodes.extend(small.nodes.clone());
        assert!(of_scenario(&large) > quiet);
        let arriving = Scenario::load("stale-load").unwrap();
        assert!(of_arrivals(&arriving, 2) > of_arrivals(&arriving, 1));
        assert!(of_seeds(2) > of_seeds(1));
    }

    #[test]
    fn the_system_is_understood() {
        let meminfo = "MemTotal:        8130576 kB\nMemFree:          300000 kB\nMemAvailable:    4096 kB\n";
        assert_eq!(mem_available(meminfo), Some(Bytes(4 * MIB)));
        assert_eq!(mem_available("MemTotal: 1 kB\n"), None);
    }
}
