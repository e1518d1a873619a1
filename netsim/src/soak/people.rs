//! Seeds about endpoints: a scenario made up from the seed. Every fault ends within what endpoints stand without losing
//! anything, so that nothing may be lost. Beside it, in a session of its own, what must not succeed is tried.

use std::collections::BTreeMap;
use std::time::Duration;

use proto_spec::NodeNumber;

use crate::scenario::{
    Checks, Drill, Drills, EndpointPlan, Fault, Intrusion, Load, LoadKind, NodePlan, Place, Reports,
    Scenario, SessionPlan, Standby, TimedDrill, TimedFault,
};
use crate::sim::Random;

/// A fault is over after this at the latest: well within what a channel waits for a member.
const FAULT_MAX_MS: u64 = 12_000;
/// Between the end of one fault and the next.
const CALM_MAX_MS: u64 = 20_000;

pub(super) fn scenario(seed: u64) -> Scenario {
    let mut random = Random::stream(seed, "scenario", 0);
    let count = random.range(2, 7) as u16;
    let regions = random.range(1, 4) as usize;
    let rtt_ms = rtts(&mut random, regions);
    let nodes: Vec<NodePlan> = (1..=count)
        .filter_map(NodeNumber::new)
        .map(|number| NodePlan {
            number,
            region: random.range(0, regions as u64) as usize,
            failure_domain: format!("domain-{}", number.value() % 3),
            capacity: 1_000,
            broker: number.value() <= 2,
            service_us: 0,
        })
        .collect();
    let numbers: Vec<NodeNumber> = nodes.iter().map(|node| node.number).collect();
    let sessions = (1..=random.range(1, 4))
        .map(|index| session(&mut random, &format!("session-{index}"), regions, &numbers))
        .collect();
    let faults = faults(&mut random, &numbers);
    let last = faults.last().map_or(Duration::ZERO, |fault| fault.at);
    let duration = last + Duration::from_secs(20);
    let mut workload = vec![Load {
        session: None,
        from: None,
        kind: LoadKind::Chat { per_s: random.range(1, 6), bytes: random.range(24, 400) as usize },
        start: Duration::ZERO,
        stop: duration,
    }];
    if random.one_in(2) {
        workload.push(Load {
            session: None,
            from: None,
            kind: LoadKind::File { bytes: random.range(1_000, 800_000), count: 1 },
            start: Duration::from_millis(random.range(0, 10_000)),
            stop: duration,
        });
    }
    if random.one_in(3) {
        workload.push(Load {
            session: None,
            from: None,
            kind: LoadKind::Packets { per_s: 5, bytes: 100 },
            start: Duration::ZERO,
            stop: duration,
        });
    }
    Scenario {
        name: "soak".to_owned(),
        about: "made up from a seed".to_owned(),
        duration,
        regions: (1..=regions).map(|index| format!("region-{index}")).collect(),
        rtt_ms,
        jitter_percent: random.range(0, 40),
        nodes,
        links_max: 16,
        links_allowed: None,
        link_costs_ms: BTreeMap::new(),
        joins_apart: None,
        sessions,
        arrivals: None,
        reports: Reports { interval: Duration::from_secs(1), age: Duration::ZERO },
        workload,
        faults,
        drills: Some(drills(seed, regions, &numbers, duration)),
        checks: Checks::default(),
    }
}

/// What is tried, in any order; the end comes last. A stream of its own leaves the rest of the seed as it is.
fn drills(seed: u64, regions: usize, nodes: &[NodeNumber], duration: Duration) -> Drills {
    let mut random = Random::stream(seed, "drills", 0);
    let mut session = session(&mut random, "drill", regions, nodes);
    session.endpoints.truncate(3);
    let last = session.endpoints.len() - 1;
    let end_ms = duration.as_millis() as u64;
    let intrusions =
        [Intrusion::Expired, Intrusion::Forged, Intrusion::Stolen, Intrusion::Listens, Intrusion::Speaks];
    let mut tried = vec![
        Drill::Guess { wrong: random.range(1, 7) as u32 },
        Drill::Scan { lookups: random.range(5, 30) as u32 },
        Drill::Login { wrong: random.range(1, 8) as u32 },
        Drill::Remove(last),
    ];
    tried.extend((0..2).map(|_| Drill::Intrude(*random.pick(&intrusions))));
    let mut steps: Vec<TimedDrill> = tried
        .into_iter()
        .map(|drill| TimedDrill { at: Duration::from_millis(random.range(500, end_ms - 8_000)), drill })
        .collect();
    let at = Duration::from_millis(random.range(end_ms - 4_000, end_ms));
    steps.push(TimedDrill { at, drill: Drill::End });
    Drills { session, steps }
}

fn rtts(random: &mut Random, regions: usize) -> Vec<Vec<u64>> {
    let inside: Vec<u64> = (0..regions).map(|_| random.range(1, 10)).collect();
    // How far each region is from a common middle: symmetric by construction.
    let outside: Vec<u64> = (0..regions).map(|_| random.range(5, 100)).collect();
    let rtt = |a: usize, b: usize| if a == b { inside[a] } else { outside[a] + outside[b] };
    (0..regions).map(|a| (0..regions).map(|b| rtt(a, b)).collect()).collect()
}

fn session(random: &mut Random, name: &str, regions: usize, nodes: &[NodeNumber]) -> SessionPlan {
    let endpoints = (0..random.range(2, 5))
        .map(|place| EndpointPlan {
            name: format!("endpoint-{place}"),
            group: format!("endpoint-{place}"),
            customer: place == 1,
            region: random.range(0, regions as u64) as usize,
            at: match random.range(0, 4) {
                0 => Place::Placement,
                1 => Place::Nearest,
                2 => Place::Random,
                _ => Place::Node(*random.pick(nodes)),
            },
            standby: if random.one_in(4) { Standby::None } else { Standby::Apart },
            downstream_kib_s: None,
        })
        .collect();
    SessionPlan { name: name.to_owned(), group: name.to_owned(), endpoints }
}

/// One after the other, each undone before the next.
fn faults(random: &mut Random, nodes: &[NodeNumber]) -> Vec<TimedFault> {
    let mut faults = Vec::new();
    let mut at_ms = random.range(1_000, 10_000);
    for _ in 0..random.range(1, 5) {
        let one = *random.pick(nodes);
        let other = *random.pick(nodes);
        let lasts_ms = random.range(200, FAULT_MAX_MS);
        let (fault, end) = match random.range(0, 9) {
            0 | 1 => (Fault::Kill(vec![one]), Some(Fault::Restart(vec![one]))),
            2 => (Fault::Stop(vec![one]), Some(Fault::Continue(vec![one]))),
            3 => {
                let sides: (Vec<_>, Vec<_>) = nodes.iter().partition(|node| node.value() <= one.value());
                if sides.0.is_empty() || sides.1.is_empty() {
                    (Fault::Kill(vec![one]), Some(Fault::Restart(vec![one])))
                } else {
                    (Fault::Partition(vec![sides.0, sides.1]), Some(Fault::Heal))
                }
            }
            4 if one != other => (Fault::Silence { from: vec![one], to: vec![other] }, Some(Fault::Heal)),
            5 if one != other => (Fault::Reset(one, other), None),
            6 => (Fault::Loss { between: nodes.to_vec(), percent: random.range(1, 20) }, Some(Fault::Heal)),
            7 => {
                let by = Duration::from_millis(random.range(1, 150));
                (Fault::Delay { between: nodes.to_vec(), by }, Some(Fault::Heal))
            }
            _ => (
                Fault::Drain { nodes: vec![one], within: Duration::from_millis(lasts_ms) },
                Some(Fault::Restart(vec![one])),
            ),
        };
        faults.push(TimedFault { at: Duration::from_millis(at_ms), fault });
        if let Some(end) = end {
            faults.push(TimedFault { at: Duration::from_millis(at_ms + lasts_ms), fault: end });
        }
        at_ms += lasts_ms + random.range(5_000, CALM_MAX_MS);
    }
    faults
}
