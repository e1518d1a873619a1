//! What a run's page shows beside the figures: loads and states of nodes each second, pictures of the mesh, distributions.
//!
//! Written down when it is asked for. Looks at the world from outside: changes nothing in it, draws no chance, and leaves
//! the trace as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use proto_spec::lsa::DrainState;
use proto_spec::{NodeNumber, Timestamp};
use serde::Serialize;

use crate::check::Gap;
use crate::histogram::Histogram;
use crate::scenario::Scenario;
use crate::sim::World;

/// Loads and states are written down this often.
const EVERY: Duration = Duration::from_secs(1);

/// Everything that was written down; times count from time 0 of the scenario.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Series {
    /// When loads and states were looked at, in milliseconds.
    pub at_ms: Vec<u64>,
    /// Each node's.
    pub nodes: Vec<NodeSeries>,
    /// The mesh as it was before each fault, and in the end.
    pub pictures: Vec<Picture>,
    /// Round trips from users to the nodes where they became active, each time, in microseconds.
    pub attach_rtt_us: Histogram,
    /// How long packets took from node to node, in thousandths of the shortest way between the two.
    pub stretch_permille: Histogram,
    /// What each fault cost each flow.
    pub gaps: Vec<FlowGap>,
}

/// One node's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NodeSeries {
    /// Which.
    pub number: NodeNumber,
    /// Its attachments each time, active and standing by; 0 while it is dead.
    pub attachments: Vec<u64>,
    /// What it was each time.
    pub states: Vec<NodeState>,
}

/// What a node is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Its job.
    Serving,
    /// It goes out of service.
    Draining,
    /// Its process stands still.
    Paused,
    /// It does not run.
    Dead,
}

/// The mesh at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Picture {
    /// When, in milliseconds.
    pub at_ms: u64,
    /// The nodes.
    pub nodes: Vec<NodePicture>,
    /// Links that both ends take for alive, with their round trip in microseconds.
    pub links: Vec<(NodeNumber, NodeNumber, u64)>,
}

/// A node at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct NodePicture {
    /// Which.
    pub number: NodeNumber,
    /// What it was doing.
    pub state: NodeState,
    /// Its attachments.
    pub attachments: u64,
}

/// What a fault cost a flow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FlowGap {
    /// Which fault, by its place in the scenario.
    pub fault: usize,
    /// When the pause began, in milliseconds.
    pub at_ms: u64,
    /// How long it was beyond the sender's own.
    pub pause_ms: u64,
    /// Who sent.
    pub from: String,
    /// Who got it late.
    pub to: String,
}

/// Writes down what a page needs.
#[derive(Debug)]
pub(crate) struct Recorder {
    series: Series,
    /// Time 0, once it has been.
    began: Option<Timestamp>,
    due: Timestamp,
    ways: Ways,
}

/// The shortest ways between living nodes over links that may be.
#[derive(Debug, Default)]
struct Ways {
    /// Who lives.
    nodes: Vec<NodeNumber>,
    /// From each to each as (index in `nodes`, microseconds), where a link may be.
    links: Vec<Vec<(usize, u64)>>,
    /// What was looked for so far, from each.
    found_us: BTreeMap<NodeNumber, Vec<u64>>,
}

impl Recorder {
    pub(crate) fn new(scenario: &Scenario) -> Recorder {
        let nodes = scenario.nodes.iter().map(|node| NodeSeries {
            number: node.number,
            attachments: Vec::new(),
            states: Vec::new(),
        });
        let series = Series { nodes: nodes.collect(), ..Series::default() };
        Recorder { series, began: None, due: Timestamp::ZERO, ways: Ways::default() }
    }

    /// An endpoint became active at a node that is so far from its user.
    pub(crate) fn attached(&mut self, rtt: Duration) {
        self.series.attach_rtt_us.add(rtt.as_micros() as u64, 1);
    }

    /// A packet took so long to a node with members.
    pub(crate) fn arrived(&mut self, from: NodeNumber, to: NodeNumber, took: Duration) {
        if let Some(least_us) = self.ways.shortest_us(from, to).filter(|least_us| *least_us > 0) {
            self.series.stretch_permille.add(took.as_micros() as u64 * 1_000 / least_us, 1);
        }
    }

    /// What was written down, in the end.
    pub(crate) fn series(self, world: &World, gaps: &[(usize, Gap)]) -> Series {
        let name = |who: usize| world.people.persons[who].name.clone();
        let began = self.began.unwrap_or_default();
        let gap = |(fault, gap): &(usize, Gap)| FlowGap {
            fault: *fault,
            at_ms: gap.began.since(began).as_millis() as u64,
            pause_ms: gap.pause.as_millis() as u64,
            from: name(gap.from),
            to: name(gap.to),
        };
        Series { gaps: gaps.iter().map(gap).collect(), ..self.series }
    }

    fn since_ms(&self, now: Timestamp) -> u64 {
        now.since(self.began.unwrap_or(now)).as_millis() as u64
    }
}

impl World {
    /// Looks at the whole mesh if somebody wants it written down and it is time again. The first look is at time 0.
    pub(crate) fn record_look(&mut self) {
        let Some(mut recorder) = self.recorder.take() else { return };
        let now = self.now;
        recorder.began.get_or_insert(now);
        recorder.ways.keep(self);
        if now >= recorder.due {
            recorder.due = now + EVERY;
            recorder.series.at_ms.push(recorder.since_ms(now));
            for node in &mut recorder.series.nodes {
                let picture = self.picture_of(node.number);
                node.attachments.push(picture.attachments);
                node.states.push(picture.state);
            }
        }
        self.recorder = Some(recorder);
    }

    /// Draws the mesh as it is, if somebody wants it; once for several faults of one moment.
    pub(crate) fn record_picture(&mut self) {
        let Some(mut recorder) = self.recorder.take() else { return };
        let at_ms = recorder.since_ms(self.now);
        if recorder.series.pictures.last().is_none_or(|last| last.at_ms < at_ms) {
            let nodes = self.hosts.keys().map(|number| self.picture_of(*number)).collect();
            let whole = self.trunks.iter().filter(|(_, trunk)| trunk.is_whole());
            let rtt_us = |a, b| (self.latency(a, b) * 2).as_micros() as u64;
            let links = whole.map(|((a, b), _)| (*a, *b, rtt_us(*a, *b))).collect();
            recorder.series.pictures.push(Picture { at_ms, nodes, links });
        }
        self.recorder = Some(recorder);
    }

    fn picture_of(&self, number: NodeNumber) -> NodePicture {
        let host = &self.hosts[&number];
        let state = match host.drain {
            _ if host.node.is_none() => NodeState::Dead,
            _ if host.paused => NodeState::Paused,
            DrainState::Serving => NodeState::Serving,
            _ => NodeState::Draining,
        };
        let attachments = if state == NodeState::Dead { 0 } else { self.attachments_at(number).into() };
        NodePicture { number, state, attachments }
    }
}

impl Ways {
    /// Forgets what it found when other nodes live than before.
    fn keep(&mut self, world: &World) {
        let live = world.live();
        if live == self.nodes {
            return;
        }
        let ways = |a: &NodeNumber| {
            let others = live.iter().enumerate().filter(|(_, b)| *b != a && world.plan.may_link(*a, **b));
            others.map(|(index, b)| (index, world.latency(*a, *b).as_micros() as u64)).collect()
        };
        *self = Ways { links: live.iter().map(ways).collect(), nodes: live, found_us: BTreeMap::new() };
    }

    /// Dijkstra over a matrix, once for each start.
    fn shortest_us(&mut self, from: NodeNumber, to: NodeNumber) -> Option<u64> {
        let start = self.nodes.binary_search(&from).ok()?;
        let end = self.nodes.binary_search(&to).ok()?;
        let found = self.found_us.entry(from).or_insert_with(|| {
            let mut best = vec![u64::MAX; self.links.len()];
            let mut open: Vec<usize> = (0..best.len()).collect();
            best[start] = 0;
            while let Some(at) = (0..open.len()).min_by_key(|at| best[open[*at]]) {
                let node = open.swap_remove(at);
                if best[node] == u64::MAX {
                    break;
                }
                for (other, us) in &self.links[node] {
                    best[*other] = best[*other].min(best[node] + us);
                }
            }
            best
        });
        Some(found[end]).filter(|us| *us < u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::play::{Options, play};

    fn scenario(name: &str) -> Scenario {
        Scenario::load(name).unwrap()
    }

    /// Writing down changes nothing: same trace, same figures.
    #[test]
    fn a_recorded_run_is_the_same_run() {
        let scenario = scenario("kill-one-of-three");
        let options = Options { seed: 3, ..Options::default() };
        let bare = play(&scenario, options);
        let mut recorded = play(&scenario, Options { series: true, ..options });
        let series = recorded.series.take().unwrap();
        assert_eq!(bare, recorded);
        assert_eq!(series.at_ms.len(), 60 + 1, "a minute, each second, both ends");
        let dead = series.nodes[1].states.iter().filter(|state| **state == NodeState::Dead).count();
        assert_eq!(dead, 30, "from the kill to the restart");
        assert_eq!(
            series.pictures.iter().map(|picture| picture.at_ms).collect::<Vec<_>>(),
            [10_000, 40_000, 60_000]
        );
        let links: Vec<usize> = series.pictures.iter().map(|picture| picture.links.len()).collect();
        assert_eq!(links, [3, 1, 3]);
        let longest = series.gaps.iter().map(|gap| gap.pause_ms).max();
        let figure = bare.figures.iter().find(|figure| figure.name == "gap_max_ms").unwrap();
        assert_eq!(longest, figure.value);
        assert!(series.attach_rtt_us.count() >= 9 && series.stretch_permille.count() > 100);
        assert!(series.stretch_permille.iter().all(|(permille, _)| permille >= 1_000), "none is faster");
    }

    /// Over two links where that is shorter, and not over links that may not be.
    #[test]
    fn shortest_ways_are_shortest() {
        let node = crate::sim::node;
        let links = vec![vec![(1, 10), (2, 50)], vec![(0, 10), (2, 10)], vec![(0, 50), (1, 10)], vec![]];
        let nodes = (1..=4).map(node).collect();
        let mut ways = Ways { nodes, links, found_us: BTreeMap::new() };
        assert_eq!(ways.shortest_us(node(1), node(3)), Some(20));
        assert_eq!(ways.shortest_us(node(3), node(1)), Some(20));
        assert_eq!(ways.shortest_us(node(1), node(4)), None);
        assert_eq!(ways.shortest_us(node(1), node(9)), None);
    }
}
