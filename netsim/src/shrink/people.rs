//! What a scenario can do without. A fault goes together with what ends it, and times keep to what seeds draw: a fault
//! that nobody ends, or one on the heels of another, would lose something with good reason.

use std::ops::Range;
use std::time::Duration;

use proto_spec::NodeNumber;

use super::{Cut, without};
use crate::scenario::{EndpointPlan, Fault, Place, Scenario, Standby, TimedFault};

/// A fault lasts at least so long.
const FAULT_MS_MIN: u64 = 200;
/// Between a fault's end and the next one.
const CALM_MS_MIN: u64 = 5_000;
/// Before the first.
const FIRST_MS_MIN: u64 = 1_000;
/// After the last.
const REST: Duration = Duration::from_secs(20);
/// Without faults.
const DURATION_MIN: Duration = Duration::from_secs(1);
/// A mesh of seeds has so many nodes, and as many brokers.
const NODES_MIN: usize = 2;

pub(super) const CUTS: &[Cut<Scenario>] = &[
    Cut { parts: |scenario| usize::from(scenario.drills.is_some()), less: no_drills },
    Cut { parts: |scenario| groups(&scenario.faults).len(), less: fewer_faults },
    Cut { parts: |scenario| scenario.sessions.len(), less: fewer_sessions },
    Cut { parts: |scenario| scenario.workload.len(), less: less_workload },
    Cut { parts: Scenario::endpoints, less: fewer_endpoints },
    Cut { parts: |scenario| scenario.nodes.len(), less: fewer_nodes },
    Cut { parts: |scenario| groups(&scenario.faults).len(), less: sooner },
    Cut { parts: |_| 1, less: shorter },
];

/// What must not succeed is not tried.
fn no_drills(scenario: &Scenario, _: Range<usize>) -> Option<Scenario> {
    Some(Scenario { drills: None, ..scenario.clone() })
}

/// Each fault with what ends it.
fn groups(faults: &[TimedFault]) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (at, timed) in faults.iter().enumerate() {
        match groups.last_mut() {
            Some(last) if last.len() == 1 && ends(&timed.fault, &faults[last.start].fault) => {
                last.end = at + 1
            }
            _ => groups.push(at..at + 1),
        }
    }
    groups
}

fn ends(end: &Fault, begun: &Fault) -> bool {
    match (end, begun) {
        (Fault::Restart(end), Fault::Kill(begun) | Fault::Drain { nodes: begun, .. })
        | (Fault::Continue(end), Fault::Stop(begun)) => end == begun,
        (
            Fault::Heal,
            Fault::Partition(_) | Fault::Silence { .. } | Fault::Loss { .. } | Fault::Delay { .. },
        ) => true,
        _ => false,
    }
}

fn fewer_faults(scenario: &Scenario, gone: Range<usize>) -> Option<Scenario> {
    let left = without(&groups(&scenario.faults), gone)?;
    let faults = left.into_iter().flatten().map(|at| scenario.faults[at].clone()).collect();
    Some(Scenario { faults, ..scenario.clone() })
}

fn fewer_sessions(scenario: &Scenario, gone: Range<usize>) -> Option<Scenario> {
    let sessions = without(&scenario.sessions, gone)?;
    (!sessions.is_empty()).then(|| said_by_somebody(Scenario { sessions, ..scenario.clone() }))
}

fn less_workload(scenario: &Scenario, gone: Range<usize>) -> Option<Scenario> {
    Some(Scenario { workload: without(&scenario.workload, gone)?, ..scenario.clone() })
}

/// Creators stay, and somebody with each.
fn fewer_endpoints(scenario: &Scenario, gone: Range<usize>) -> Option<Scenario> {
    let mut fewer = scenario.clone();
    let mut first = 0;
    for session in &mut fewer.sessions {
        let count = session.endpoints.len();
        let mut at = first..;
        session.endpoints.retain(|_| at.next().is_some_and(|at| at == first || !gone.contains(&at)));
        if session.endpoints.len() < 2 {
            return None;
        }
        first += count;
    }
    (fewer.endpoints() < scenario.endpoints()).then(|| said_by_somebody(fewer))
}

/// Without what nobody is left to do.
fn said_by_somebody(mut scenario: Scenario) -> Scenario {
    let all = scenario.clone();
    let somebody =
        |session: &Option<String>, from: Option<&str>| !all.meant(session.as_deref(), from).is_empty();
    scenario.workload.retain(|load| somebody(&load.session, load.from.as_deref()));
    scenario.faults.retain(|timed| match &timed.fault {
        Fault::Slow { session, endpoint, .. } => somebody(session, Some(endpoint)),
        _ => true,
    });
    scenario
}

/// Endpoints of a node that goes are at the first that stays.
fn fewer_nodes(scenario: &Scenario, gone: Range<usize>) -> Option<Scenario> {
    let mut nodes = without(&scenario.nodes, gone)?;
    if nodes.len() < NODES_MIN {
        return None;
    }
    for (at, node) in nodes.iter_mut().enumerate() {
        node.broker |= at < NODES_MIN;
    }
    let left: Vec<NodeNumber> = nodes.iter().map(|node| node.number).collect();
    let mut fewer = Scenario { nodes, ..scenario.clone() };
    for session in &mut fewer.sessions {
        session.endpoints.iter_mut().for_each(|endpoint| stays(endpoint, &left));
    }
    if let Some(pairs) = &mut fewer.links_allowed {
        pairs.retain(|(a, b)| left.contains(a) && left.contains(b));
    }
    let faults = groups(&scenario.faults).into_iter().flat_map(|group| {
        let met: Option<Vec<TimedFault>> = scenario.faults[group]
            .iter()
            .map(|timed| Some(TimedFault { at: timed.at, fault: meets(&timed.fault, &left)? }))
            .collect();
        met.unwrap_or_default()
    });
    fewer.faults = faults.collect();
    Some(fewer)
}

fn stays(endpoint: &mut EndpointPlan, left: &[NodeNumber]) {
    if let Place::Node(at) = &mut endpoint.at
        && !left.contains(at)
    {
        *at = left[0];
    }
    let own = if let Place::Node(at) = endpoint.at { Some(at) } else { None };
    if let Standby::Node(at) = endpoint.standby
        && (!left.contains(&at) || Some(at) == own)
    {
        endpoint.standby = Standby::Apart;
    }
}

/// A fault of the nodes that are left; `None` if it meets none of them.
fn meets(fault: &Fault, left: &[NodeNumber]) -> Option<Fault> {
    let some = |nodes: &[NodeNumber], least: usize| -> Option<Vec<NodeNumber>> {
        let met: Vec<NodeNumber> = nodes.iter().copied().filter(|number| left.contains(number)).collect();
        (met.len() >= least).then_some(met)
    };
    Some(match fault {
        Fault::Kill(nodes) => Fault::Kill(some(nodes, 1)?),
        Fault::Stop(nodes) => Fault::Stop(some(nodes, 1)?),
        Fault::Continue(nodes) => Fault::Continue(some(nodes, 1)?),
        Fault::Restart(nodes) => Fault::Restart(some(nodes, 1)?),
        Fault::Undrain(nodes) => Fault::Undrain(some(nodes, 1)?),
        Fault::Revoke(nodes) => Fault::Revoke(some(nodes, 1)?),
        Fault::Drain { nodes, within } => Fault::Drain { nodes: some(nodes, 1)?, within: *within },
        Fault::SlowNode { nodes, times } => Fault::SlowNode { nodes: some(nodes, 1)?, times: *times },
        Fault::Lie { nodes, load_percent } => {
            Fault::Lie { nodes: some(nodes, 1)?, load_percent: *load_percent }
        }
        Fault::Clock { nodes, offset_ms } => Fault::Clock { nodes: some(nodes, 1)?, offset_ms: *offset_ms },
        Fault::Partition(sides) => {
            let sides: Vec<Vec<NodeNumber>> = sides.iter().filter_map(|side| some(side, 1)).collect();
            if sides.len() < 2 {
                return None;
            }
            Fault::Partition(sides)
        }
        Fault::Silence { from, to } => Fault::Silence { from: some(from, 1)?, to: some(to, 1)? },
        Fault::Reset(a, b) => {
            some(&[*a, *b], 2)?;
            Fault::Reset(*a, *b)
        }
        Fault::Loss { between, percent } => Fault::Loss { between: some(between, 2)?, percent: *percent },
        Fault::Delay { between, by } => Fault::Delay { between: some(between, 2)?, by: *by },
        Fault::Heal | Fault::Slow { .. } => fault.clone(),
    })
}

/// Faults come after half the time, and last half as long.
fn sooner(scenario: &Scenario, halved: Range<usize>) -> Option<Scenario> {
    let half = |ms: u64, least: u64| if ms > least { (ms / 2).max(least) } else { ms };
    let mut sooner = scenario.clone();
    let (mut then_ms, mut now_ms) = (0, 0);
    for (index, group) in groups(&scenario.faults).into_iter().enumerate() {
        let least = if index == 0 { FIRST_MS_MIN } else { CALM_MS_MIN };
        for at in group.clone() {
            let before_ms = scenario.faults[at].at.as_millis() as u64 - then_ms;
            then_ms += before_ms;
            let least = if at == group.start { least } else { FAULT_MS_MIN };
            now_ms += if halved.contains(&index) { half(before_ms, least) } else { before_ms };
            sooner.faults[at].at = Duration::from_millis(now_ms);
        }
        let [first, .., last] = &mut sooner.faults[group] else { continue };
        if let Fault::Drain { within, .. } = &mut first.fault {
            // Whoever drains is restarted when its time is over.
            *within = (*within).min(last.at.saturating_sub(first.at));
        }
    }
    (sooner != *scenario).then_some(sooner)
}

/// Half as long, with enough time after the last fault.
fn shorter(scenario: &Scenario, _: Range<usize>) -> Option<Scenario> {
    let least = scenario.faults.last().map_or(DURATION_MIN, |last| last.at + REST);
    let duration = Duration::from_millis(scenario.duration.as_millis() as u64 / 2).max(least);
    if duration >= scenario.duration {
        return None;
    }
    let mut shorter = Scenario { duration, ..scenario.clone() };
    shorter.workload.retain(|load| load.start < duration);
    for load in &mut shorter.workload {
        load.stop = load.stop.min(duration);
    }
    Some(shorter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::Drawn;

    fn drawn() -> impl Iterator<Item = Scenario> {
        (3..400).step_by(4).filter_map(|seed| match Drawn::of(seed) {
            Drawn::People(scenario) => Some(scenario),
            Drawn::Mesh(_) => None,
        })
    }

    /// Whatever a cut leaves is a scenario, is less, and can be written down.
    #[test]
    fn what_is_left_is_a_scenario() {
        let mut cut = [0; CUTS.len()];
        let without_last = |scenario: &Scenario| {
            let last = groups(&scenario.faults).len() - 1;
            fewer_faults(scenario, last..last + 1)
        };
        for scenario in drawn().flat_map(|scenario| [without_last(&scenario).unwrap(), scenario]) {
            for (index, Cut { parts, less }) in CUTS.iter().enumerate() {
                for at in 0..parts(&scenario) {
                    let Some(left) = less(&scenario, at..at + 1) else { continue };
                    let read = Scenario::parse("left", &left.to_text());
                    // What must not succeed stands in no file.
                    let written = Scenario { drills: None, ..left.clone() };
                    assert_eq!(read, Ok(written), "cut {index}");
                    assert_ne!(left, scenario);
                    cut[index] += 1;
                }
            }
        }
        assert!(cut.iter().all(|count| *count > 5), "{cut:?}");
    }

    #[test]
    fn faults_go_with_their_ends() {
        for scenario in drawn() {
            let whole = groups(&scenario.faults);
            assert!(whole.iter().all(|group| {
                group.len() == 2 || matches!(scenario.faults[group.start].fault, Fault::Reset(..))
            }));
            for (at, group) in whole.iter().enumerate() {
                let left = fewer_faults(&scenario, at..at + 1).unwrap();
                assert_eq!(left.faults.len(), scenario.faults.len() - group.len());
            }
        }
    }
}
