//! Whose wall clock disagrees with this node's, by what its trunks measured \[TRK-11\].
//!
//! Raises one alarm for each such node, names the odd one of the two as far as it can be told, and says when it is over.
//! Never sets a clock, and never refuses a trunk: whoever measured does.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use proto_spec::{NodeNumber, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::{CLOCK_KEEP, CLOCK_LEEWAY, CLOCKS_MAX};
use crate::io::{Alarm, Output};
use crate::node::Node;

/// Nodes whose clocks are too far from this one's, at most [`CLOCKS_MAX`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Clocks {
    apart: BTreeMap<NodeNumber, Apart>,
    /// As the alarms say.
    odd: Odd,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Apart {
    offset_ms: i64,
    heard_at: Timestamp,
}

/// Which side is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
enum Odd {
    #[default]
    Unclear,
    This,
    Others,
}

impl Node {
    /// A trunk's hello told how far the other clock is ahead of this one.
    pub(crate) fn clock_measured(&mut self, peer: NodeNumber, offset_ms: i64) {
        if u128::from(offset_ms.unsigned_abs()) <= CLOCK_LEEWAY.as_millis() {
            return self.clock_settled(peer);
        }
        let clocks = &mut self.clocks;
        let news = !clocks.apart.contains_key(&peer);
        if news && clocks.apart.len() >= CLOCKS_MAX {
            return;
        }
        clocks.apart.insert(peer, Apart { offset_ms, heard_at: self.now.mono });
        // Those who agree with this node have a link with it.
        let odd = match clocks.apart.len().cmp(&(self.links.len() + 1)) {
            Ordering::Greater => Odd::This,
            Ordering::Less => Odd::Others,
            Ordering::Equal => Odd::Unclear,
        };
        let all = std::mem::replace(&mut clocks.odd, odd) != odd;
        let told: Vec<_> = clocks.apart.iter().filter(|(node, _)| all || news && **node == peer).collect();
        let told: Vec<_> = told.into_iter().map(|(node, apart)| (*node, apart.offset_ms)).collect();
        for (peer, offset_ms) in told {
            let odd = match odd {
                Odd::Unclear => None,
                Odd::This => Some(self.identity.node),
                Odd::Others => Some(peer),
            };
            self.alarm(Alarm::Clock { odd, peer, offset_ms });
        }
    }

    /// Nodes that nobody has heard of any more are not apart for ever.
    pub(crate) fn forget_clocks(&mut self) {
        let now = self.now.mono;
        let old = self.clocks.apart.iter().filter(|(_, apart)| now.since(apart.heard_at) >= CLOCK_KEEP);
        let old: Vec<NodeNumber> = old.map(|(node, _)| *node).collect();
        old.into_iter().for_each(|node| self.clock_settled(node));
    }

    fn clock_settled(&mut self, peer: NodeNumber) {
        if self.clocks.apart.remove(&peer).is_some() {
            self.output(Output::ClockSettled { peer });
        }
    }
}

impl Clocks {
    pub(crate) fn len(&self) -> usize {
        self.apart.len()
    }
}
