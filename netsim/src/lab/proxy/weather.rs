//! What is between two parties now: delays, silence, losses, thin lines. Plain data; whoever carries bytes asks for the
//! way from one to the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proto_spec::NodeNumber;

/// What may wait before a thin line: a quarter of a second, as its modem would hold it.
const THIN_WINDOW: Duration = Duration::from_millis(250);
/// And at least this, or nothing would flow.
const THIN_WINDOW_BYTES_MIN: usize = 16 * 1024;

/// Who sends or receives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Party {
    /// A node.
    Node(NodeNumber),
    /// A program that plays endpoints which share one line.
    Line(usize),
    /// Anybody else on this machine.
    Outside,
}

/// The line of a program that plays endpoints.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Line {
    /// An index of [`Weather::rtt`].
    pub region: usize,
    /// What it brings, in bytes a second; `None` for no limit.
    pub downstream: Option<u64>,
    /// The only nodes that it may reach; `None` for all.
    pub only: Option<BTreeSet<NodeNumber>>,
}

/// From one party to another.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Way {
    /// Nothing comes through for now.
    pub held: bool,
    /// Connections are reset at once.
    pub refused: bool,
    /// One way, without jitter.
    pub delay: Duration,
    /// What jitter may add, in percent of the delay.
    pub jitter_percent: u64,
    /// Of the segments so many are lost, and come later.
    pub loss_percent: u64,
    /// Bytes a second.
    pub bytes_s: Option<u64>,
    /// Whether bytes wait for their turn at that rate.
    pub paced: bool,
}

impl Way {
    /// What may wait before a thin line, in bytes; `None` where it has no limit.
    pub(super) fn window(&self) -> Option<usize> {
        let bytes = u128::from(self.bytes_s?) * THIN_WINDOW.as_millis() / 1_000;
        Some(usize::try_from(bytes).unwrap_or(usize::MAX).max(THIN_WINDOW_BYTES_MIN))
    }
}

/// Everything between everybody.
#[derive(Clone, Default, Debug)]
pub struct Weather {
    /// Round trips between regions.
    pub rtt: Vec<Vec<Duration>>,
    /// What a single way may take longer.
    pub jitter_percent: u64,
    /// Where nodes are.
    pub regions: BTreeMap<NodeNumber, usize>,
    /// The lines of programs that play endpoints.
    pub lines: Vec<Line>,
    /// Nodes of one side hear nothing of those on another.
    partitions: Vec<BTreeMap<NodeNumber, usize>>,
    /// (from, to) that is not heard.
    silent: BTreeSet<(NodeNumber, NodeNumber)>,
    loss: BTreeMap<(NodeNumber, NodeNumber), u64>,
    delay: BTreeMap<(NodeNumber, NodeNumber), Duration>,
    /// How often the connections of a pair, lower first, have been reset.
    resets: BTreeMap<(NodeNumber, NodeNumber), u64>,
}

impl Weather {
    /// Fair weather: these round trips between regions, and what a single way may take longer, in percent.
    pub fn new(rtt: Vec<Vec<Duration>>, jitter_percent: u64) -> Weather {
        Weather { rtt, jitter_percent, ..Weather::default() }
    }

    /// Nodes of one side hear nothing of those on another, from now on.
    pub fn partition(&mut self, sides: &[Vec<NodeNumber>]) {
        let sides = sides.iter().enumerate();
        self.partitions
            .push(sides.flat_map(|(side, nodes)| nodes.iter().map(move |node| (*node, side))).collect());
    }

    /// What `from` says is not heard by `to`.
    pub fn silence(&mut self, from: &[NodeNumber], to: &[NodeNumber]) {
        self.silent.extend(from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to))));
    }

    /// So many segments between any two of these are lost.
    pub fn lose(&mut self, between: &[NodeNumber], percent: u64) {
        self.loss.extend(pairs(between).map(|pair| (pair, percent)));
    }

    /// What goes between any two of these takes longer, each way.
    pub fn delay(&mut self, between: &[NodeNumber], by: Duration) {
        self.delay.extend(pairs(between).map(|pair| (pair, by)));
    }

    /// The connections between two nodes are reset once.
    pub fn reset(&mut self, a: NodeNumber, b: NodeNumber) {
        *self.resets.entry((a.min(b), a.max(b))).or_default() += 1;
    }

    /// Partitions, silence, losses and delays are over.
    pub fn heal(&mut self) {
        self.partitions.clear();
        self.silent.clear();
        self.loss.clear();
        self.delay.clear();
    }

    /// The way from one to the other.
    pub fn way(&self, from: Party, to: Party) -> Way {
        let (Some(a), Some(b)) = (self.region(from), self.region(to)) else { return Way::default() };
        let mut way = Way {
            delay: self.rtt.get(a).and_then(|row| row.get(b)).copied().unwrap_or_default() / 2,
            jitter_percent: self.jitter_percent,
            ..Way::default()
        };
        match (from, to) {
            (Party::Node(from), Party::Node(to)) => {
                let pair = (from.min(to), from.max(to));
                way.held = self.silent.contains(&(from, to)) || self.apart(from, to);
                way.loss_percent = self.loss.get(&pair).copied().unwrap_or_default();
                way.delay += self.delay.get(&pair).copied().unwrap_or_default();
            }
            (Party::Line(line), Party::Node(node)) => {
                let only = self.lines.get(line).and_then(|line| line.only.as_ref());
                way.refused = only.is_some_and(|only| !only.contains(&node));
            }
            (_, Party::Line(line)) => {
                way.bytes_s = self.lines.get(line).and_then(|line| line.downstream);
                way.paced = way.bytes_s.is_some();
            }
            _ => {}
        }
        way
    }

    /// How often the connections between two parties have been reset.
    pub(super) fn resets(&self, a: Party, b: Party) -> u64 {
        let (Party::Node(a), Party::Node(b)) = (a, b) else { return 0 };
        self.resets.get(&(a.min(b), a.max(b))).copied().unwrap_or_default()
    }

    fn apart(&self, a: NodeNumber, b: NodeNumber) -> bool {
        let apart = |sides: &BTreeMap<NodeNumber, usize>| match (sides.get(&a), sides.get(&b)) {
            (Some(a), Some(b)) => a != b,
            // Who is on no side hears all.
            _ => false,
        };
        self.partitions.iter().any(apart)
    }

    fn region(&self, party: Party) -> Option<usize> {
        match party {
            Party::Node(node) => self.regions.get(&node).copied(),
            Party::Line(line) => self.lines.get(line).map(|line| line.region),
            Party::Outside => None,
        }
    }
}

/// Every pair of these, lower number first.
fn pairs(nodes: &[NodeNumber]) -> impl Iterator<Item = (NodeNumber, NodeNumber)> {
    nodes.iter().flat_map(|a| nodes.iter().filter(move |b| a < b).map(move |b| (*a, *b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeNumber {
        NodeNumber::new(number).unwrap()
    }

    fn at(number: u16) -> Party {
        Party::Node(node(number))
    }

    fn weather() -> Weather {
        let ms = Duration::from_millis;
        Weather {
            rtt: vec![vec![ms(2), ms(80)], vec![ms(80), ms(2)]],
            jitter_percent: 10,
            regions: BTreeMap::from([(node(1), 0), (node(2), 0), (node(3), 1)]),
            lines: vec![
                Line { region: 1, downstream: Some(32 * 1024), only: None },
                Line { region: 0, downstream: None, only: Some(BTreeSet::from([node(1)])) },
            ],
            ..Weather::default()
        }
    }

    #[test]
    fn distance_is_half_a_round_trip() {
        let weather = weather();
        assert_eq!(weather.way(at(1), at(2)).delay, Duration::from_millis(1));
        assert_eq!(weather.way(at(1), at(3)).delay, Duration::from_millis(40));
        assert_eq!(weather.way(Party::Line(0), at(1)).delay, Duration::from_millis(40));
        assert_eq!(weather.way(Party::Outside, at(1)), Way::default());
    }

    #[test]
    fn a_thin_line_is_thin_towards_the_endpoint_alone() {
        let weather = weather();
        assert_eq!(weather.way(at(3), Party::Line(0)).bytes_s, Some(32 * 1024));
        assert_eq!(weather.way(Party::Line(0), at(3)).bytes_s, None);
    }

    #[test]
    fn a_line_may_be_kept_to_its_nodes() {
        let weather = weather();
        assert!(!weather.way(Party::Line(1), at(1)).refused);
        assert!(weather.way(Party::Line(1), at(2)).refused);
    }

    #[test]
    fn faults_are_between_nodes_and_heal() {
        let mut weather = weather();
        weather.partition(&[vec![node(1)], vec![node(3)]]);
        weather.silence(&[node(1)], &[node(2)]);
        weather.lose(&[node(2), node(1)], 30);
        weather.delay(&[node(1), node(2), node(3)], Duration::from_millis(5));
        assert!(weather.way(at(1), at(3)).held && weather.way(at(3), at(1)).held);
        assert!(weather.way(at(1), at(2)).held && !weather.way(at(2), at(1)).held);
        assert!(!weather.way(at(2), at(3)).held, "who is on no side hears all");
        assert!(!weather.way(Party::Line(0), at(1)).held);
        assert_eq!(weather.way(at(2), at(1)).loss_percent, 30);
        assert_eq!(weather.way(at(3), at(2)).delay, Duration::from_millis(45));
        weather.heal();
        assert_eq!(weather.way(at(1), at(2)), self::weather().way(at(1), at(2)));
        assert_eq!(weather.way(at(1), at(3)), self::weather().way(at(1), at(3)));
    }

    #[test]
    fn resets_are_counted_by_pair() {
        let mut weather = weather();
        weather.reset(node(2), node(1));
        assert_eq!(weather.resets(at(1), at(2)), 1);
        assert_eq!(weather.resets(at(1), at(3)), 0);
        assert_eq!(weather.resets(Party::Line(0), at(1)), 0);
    }
}
