//! What must hold: one checker for each property, each naming what it found.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proto_spec::membership::MemberKind;
use proto_spec::{NodeNumber, SessionId};
use sealcast_mesh::config::{LINK_HOLD, LSA_GATHER, LSA_INTERVAL, SPF_DELAY, SPF_HOLD, TELL_BACKOFF_MIN};

use super::World;

impl World {
    /// Nodes that are joined by trunks, each group by itself.
    pub fn groups(&self) -> Vec<BTreeSet<NodeNumber>> {
        let mut left: BTreeSet<NodeNumber> = self.live().into_iter().collect();
        let mut groups = Vec::new();
        while let Some(start) = left.pop_first() {
            let mut group = BTreeSet::from([start]);
            let mut queue = vec![start];
            while let Some(at) = queue.pop() {
                for (a, b) in self.trunks.iter().filter(|(_, trunk)| !trunk.silent).map(|(key, _)| *key) {
                    let other = if a == at {
                        b
                    } else if b == at {
                        a
                    } else {
                        continue;
                    };
                    if left.remove(&other) {
                        group.insert(other);
                        queue.push(other);
                    }
                }
            }
            groups.push(group);
        }
        groups
    }

    /// The longest way and the slowest link: how long news travels at most.
    fn spread(&self) -> Duration {
        let slowest = self.trunks.keys().map(|(a, b)| self.latency(*a, *b)).max().unwrap_or_default();
        let diameter = self.groups().iter().map(|group| self.diameter(group)).max().unwrap_or(0) as u32;
        // Latency with its jitter, and a check of the signature at each hop.
        (slowest * 11 / 10 + Duration::from_millis(3)) * diameter
    }

    fn diameter(&self, group: &BTreeSet<NodeNumber>) -> usize {
        let mut longest = 0;
        for start in group {
            let mut hops = BTreeMap::from([(*start, 0)]);
            let mut queue = std::collections::VecDeque::from([*start]);
            while let Some(at) = queue.pop_front() {
                for (a, b) in self.trunks.keys().copied() {
                    let other = if a == at {
                        b
                    } else if b == at {
                        a
                    } else {
                        continue;
                    };
                    if !hops.contains_key(&other) {
                        hops.insert(other, hops[&at] + 1);
                        longest = longest.max(hops[&other]);
                        queue.push_back(other);
                    }
                }
            }
        }
        longest
    }

    /// Property 3's limit, counted from the last change that a node has noticed: detection is over by then.
    pub fn convergence_limit(&self) -> Duration {
        let link_state = LINK_HOLD + LSA_GATHER + LSA_INTERVAL + 2 * self.spread() + SPF_DELAY + SPF_HOLD;
        // Memberships start when routes stand: to the home, from there to the others, once more if one was lost.
        link_state + 4 * self.spread() + 2 * TELL_BACKOFF_MIN
    }

    /// Property 3: same roster, same link state, same egress sets. `None` if all agree.
    pub fn disagreement(&self) -> Option<String> {
        for group in self.groups() {
            let expected: BTreeSet<NodeNumber> = group.clone();
            for number in &group {
                let node = self.hosts[number].node.as_ref()?;
                if *node.roster() != expected {
                    return Some(format!("{number} sees the roster {:?}, not {expected:?}", node.roster()));
                }
                for other in &group {
                    let (here, there) = (node.lsa(*other), self.hosts[other].node.as_ref()?.lsa(*other));
                    if here != there {
                        let version = |lsa: Option<&proto_spec::lsa::Lsa>| lsa.map(|lsa| lsa.body.version);
                        return Some(format!(
                            "{number} holds {:?} of {other}, which made {:?}",
                            version(here),
                            version(there)
                        ));
                    }
                }
                if let Some(fault) = self.egress_fault(*number, &group) {
                    return Some(fault);
                }
            }
        }
        None
    }

    fn egress_fault(&self, number: NodeNumber, group: &BTreeSet<NodeNumber>) -> Option<String> {
        let sessions: BTreeSet<SessionId> =
            self.hosts[&number].attached.keys().map(|(session, _)| *session).collect();
        for session in sessions {
            let expected: Vec<NodeNumber> = group
                .iter()
                .copied()
                .filter(|other| *other != number)
                .filter(|other| self.carries(*other, session))
                .collect();
            let view = self.hosts[&number].views.get(&session);
            let egress = view.map(|view| view.egress.clone()).unwrap_or_default();
            if egress != expected {
                return Some(format!("{number} sends {session:?} to {egress:?}, not {expected:?}"));
            }
        }
        None
    }

    pub fn carries(&self, number: NodeNumber, session: SessionId) -> bool {
        let attached = &self.hosts[&number].attached;
        attached.iter().any(|((of, _), entry)| *of == session && entry.kind == MemberKind::Active)
    }

    /// Runs until all agree and returns how long after the last change that was; fails beyond the limit.
    pub fn settle(&mut self) -> Duration {
        loop {
            let limit = self.changed_at + self.convergence_limit();
            match self.disagreement() {
                None => return self.now.since(self.changed_at),
                Some(fault) if self.now >= limit => {
                    panic!(
                        "seed {}: no agreement {:?} after the last change at {:?}: {fault}",
                        self.plan.seed,
                        self.now.since(self.changed_at),
                        self.changed_at
                    )
                }
                Some(_) => self.run_for(Duration::from_millis(100)),
            }
        }
    }

    /// Properties 1 and 2 for one packet sent while all agree and nothing changes: one copy to each carrying node, no
    /// node twice, nobody else's members.
    pub fn check_packet(&mut self, from: NodeNumber, session: SessionId) {
        let group = self.groups().into_iter().find(|group| group.contains(&from)).unwrap();
        let before = self.changed_at;
        let id = self.send_packet(from, session);
        while self.packets[&id].under_way > 0 {
            self.run_for(Duration::from_millis(20));
        }
        let trace = self.packets.remove(&id).unwrap();
        if self.changed_at != before {
            return;
        }
        let seed = self.plan.seed;
        let expected: BTreeMap<NodeNumber, u32> = group
            .iter()
            .copied()
            .filter(|other| *other != from && self.carries(*other, session))
            .map(|other| (other, 1))
            .collect();
        assert_eq!(trace.delivered, expected, "seed {seed}: from {from} for {session:?}: {trace:?}");
        assert_eq!(trace.stale, 0, "seed {seed}: {trace:?}");
        assert!(trace.visits.values().all(|visits| *visits == 1), "seed {seed}: a node twice: {trace:?}");
    }

    /// Every carrying node sends to every session once.
    pub fn check_all_packets(&mut self) {
        let mut carried: BTreeSet<(NodeNumber, SessionId)> = BTreeSet::new();
        for (number, host) in self.hosts.iter().filter(|(_, host)| host.node.is_some()) {
            carried.extend(host.attached.keys().map(|(session, _)| (*number, *session)));
        }
        for (number, session) in carried {
            self.check_packet(number, session);
        }
    }
}
