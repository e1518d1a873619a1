//! When the nodes agree after a change: each is asked, by `relayctl mesh status`, which nodes it can reach, until every
//! one names exactly those that it should. Asks only while it waits for that: to ask costs the nodes time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use proto_spec::NodeNumber;
use serde_json::Value;

use super::mesh::Mesh;
use sealcast_process::{Happening, Hub, Process};

/// From one round of questions to the next: the resolution of the figure.
const ROUND: Duration = Duration::from_millis(250);

/// Nodes that should reach each other and nobody else.
pub(super) type Groups = Vec<BTreeSet<NodeNumber>>;

/// Watches for agreement.
#[derive(Debug, Default)]
pub(super) struct Converging<'h> {
    /// Since when it is waited for.
    open: Option<Instant>,
    expected: Option<Groups>,
    round: BTreeMap<u32, Asked<'h>>,
    agreed: bool,
    next_at: Option<Instant>,
    /// Changes so far.
    changes: usize,
    times: Vec<(usize, Duration)>,
}

#[derive(Debug)]
struct Asked<'h> {
    node: NodeNumber,
    /// Dropped when the answer is there.
    _process: Process<'h>,
    answer: String,
}

impl<'h> Converging<'h> {
    pub(super) fn new() -> Converging<'h> {
        Converging { agreed: true, ..Converging::default() }
    }

    /// Something changed. `true` if the change before was not followed by agreement.
    pub(super) fn changed(&mut self, at: Instant) -> bool {
        self.round.clear();
        self.changes += 1;
        self.open.replace(at).is_some()
    }

    /// Whether agreement is waited for.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// From each change that was followed by one to agreement, with the change's place among all.
    pub(super) fn times(&self) -> Vec<(usize, Duration)> {
        self.times.clone()
    }

    /// Asks, when it is time. `groups` is what should be agreed on; `None` while nodes start or go.
    ///
    /// # Errors
    /// When `relayctl` cannot be started.
    pub(super) fn tend(
        &mut self,
        hub: &'h Hub,
        folder: &Path,
        mesh: &Mesh<'h>,
        groups: &Option<Groups>,
    ) -> anyhow::Result<()> {
        let now = Instant::now();
        if self.expected.is_some() && groups != &self.expected && self.open.is_some() {
            // What a fault began is complete only now.
            self.open = Some(now);
            self.round.clear();
        }
        self.expected.clone_from(groups);
        let Some(groups) = groups else { return Ok(()) };
        if self.open.is_none() || !self.round.is_empty() || self.next_at.is_some_and(|at| at > now) {
            return Ok(());
        }
        self.agreed = true;
        self.next_at = Some(now + ROUND);
        for node in groups.iter().flatten() {
            let talk = folder.join("relayctl-status.log");
            let command = mesh.asking(*node, &["mesh", "status"])?;
            let mut process = hub.start("relayctl mesh status", command, talk)?;
            process.close_input();
            self.round.insert(process.id(), Asked { node: *node, _process: process, answer: String::new() });
        }
        Ok(())
    }

    /// Takes an answer. `false` if the happening is another's.
    pub(super) fn hear(&mut self, happening: &Happening) -> bool {
        match happening {
            Happening::Line { process, text, .. } => match self.round.get_mut(process) {
                Some(asked) => {
                    asked.answer.push_str(text);
                    asked.answer.push('\n');
                    true
                }
                None => false,
            },
            Happening::Closed { process } => {
                let Some(asked) = self.round.remove(process) else { return false };
                let groups = self.expected.iter().flatten();
                let should = groups.into_iter().find(|group| group.contains(&asked.node));
                self.agreed &= should.is_some() && reachable(&asked.answer).as_ref() == should;
                if self.round.is_empty()
                    && self.agreed
                    && let Some(since) = self.open.take()
                {
                    self.times.push((self.changes - 1, since.elapsed()));
                }
                true
            }
        }
    }
}

/// The nodes that a node can reach, itself among them, by its `mesh status`.
pub(super) fn reachable(status: &str) -> Option<BTreeSet<NodeNumber>> {
    let status: Value = serde_json::from_str(status).ok()?;
    let nodes = status["nodes"].as_array()?.iter();
    let number = |node: &Value| {
        let number = ["number", "node", "node_number"].iter().find_map(|name| node[name].as_u64())?;
        NodeNumber::new(u16::try_from(number).ok()?)
    };
    Some(nodes.filter(|node| node["reachable"] == true).filter_map(number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_node_reaches_is_read() {
        let status = r#"{"node":1,"nodes":[{"number":1,"reachable":true},{"number":2,"reachable":false},
            {"number":3,"reachable":true}]}"#;
        let numbers: Vec<u16> = reachable(status).unwrap().iter().map(|node| node.value()).collect();
        assert_eq!(numbers, [1, 3]);
        assert_eq!(reachable("unreachable"), None);
    }
}
