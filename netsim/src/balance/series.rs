//! What a page about policies shows beside the figures: loads over time and distributions. Recorded when it is asked for;
//! changes nothing of a run, and draws no chance.

use std::time::Duration;

use proto_spec::{NodeNumber, Timestamp};
use serde::Serialize;

use super::Figure;
use crate::histogram::Histogram;

/// Looks at the loads of one run: as many as a picture has room for.
const LOOKS_MAX: u64 = 360;

/// One policy's.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Series {
    /// Round trips to the nodes attached to, in milliseconds, of all seeds.
    pub rtt: Histogram,
    /// What they would have been to the nearest living node.
    pub nearest: Histogram,
    /// At the moment of most demand, under the cheapest assignment of those who were there.
    pub cheapest: Histogram,
    /// Loads under the first seed.
    pub loads: Loads,
}

/// Loads over time.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Loads {
    /// When they were looked at, in milliseconds.
    pub at_ms: Vec<u64>,
    /// Each node's.
    pub nodes: Vec<NodeLoads>,
    /// The highest load over the mean then, of the worst set of candidates.
    pub over_mean: Vec<Option<f64>>,
    /// What no policy could be below.
    pub bound: Vec<Option<f64>>,
}

/// One node's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NodeLoads {
    /// Which.
    pub number: NodeNumber,
    /// Its attachments each time; `None` while it is dead.
    pub attachments: Vec<Option<u64>>,
}

impl Series {
    /// Adds another seed's distributions; the loads stay the first one's.
    pub(super) fn merge(&mut self, other: &Series) {
        self.rtt.merge(&other.rtt);
        self.nearest.merge(&other.nearest);
        self.cheapest.merge(&other.cheapest);
    }
}

/// Writes loads down, so many seconds apart that the whole run has room.
pub(super) struct Recorder {
    pub(super) loads: Loads,
    every: Duration,
    due: Timestamp,
}

impl Recorder {
    pub(super) fn new(nodes: impl Iterator<Item = NodeNumber>, duration: Duration) -> Recorder {
        let nodes = nodes.map(|number| NodeLoads { number, attachments: Vec::new() }).collect();
        let every = Duration::from_secs(duration.as_secs().div_ceil(LOOKS_MAX).max(1));
        Recorder { loads: Loads { nodes, ..Loads::default() }, every, due: Timestamp::ZERO }
    }

    /// Whether this look is one to write down.
    pub(super) fn is_due(&mut self, now: Timestamp) -> bool {
        let due = now >= self.due;
        if due {
            self.due = now + self.every;
        }
        due
    }

    pub(super) fn add(
        &mut self,
        now: Timestamp,
        attachments: impl Iterator<Item = Option<u64>>,
        worst: Figure,
    ) {
        self.loads.at_ms.push(now.0.as_millis() as u64);
        for (node, attachments) in self.loads.nodes.iter_mut().zip(attachments) {
            node.attachments.push(attachments);
        }
        self.loads.over_mean.push(worst.value);
        self.loads.bound.push(worst.bound);
    }
}
