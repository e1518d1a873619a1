//! Property 3: after the last change all nodes agree on roster, link state and egress sets within a limit that is
//! computed from the mesh.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proto_spec::membership::MemberKind;
use proto_spec::{NodeNumber, SessionId, Timestamp};
use sealcast_mesh::config::{LINK_HOLD, LSA_GATHER, LSA_INTERVAL, SPF_DELAY, SPF_HOLD, TELL_BACKOFF_MIN};

use super::Property;
use crate::sim::{World, fold};

/// A look at the whole mesh.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Observed {
    at: Timestamp,
    /// Folds every node's own LSA version.
    fingerprint: u64,
    agree: bool,
}

impl World {
    /// Looks at the whole mesh: are all agreed, and have been for as long as routes may take to follow link state?
    pub fn observe(&mut self) -> bool {
        let agree = self.disagreement().is_none();
        let mut trace = crate::sim::Trace::default();
        for (number, host) in &self.hosts {
            if let Some(lsa) = host.node.as_ref().and_then(|node| node.lsa(*number)) {
                let version = lsa.body.version;
                for part in [version.incarnation, version.sequence, version.instance] {
                    trace.number(part);
                }
            }
        }
        let seen = Observed { at: self.now, fingerprint: trace.hash(), agree };
        let last = self.checkers.observed.replace(seen);
        let settled = last.is_some_and(|last| {
            let waited = self.now.since(last.at) >= SPF_DELAY + SPF_HOLD;
            let quiet = self.unchanged_since(last.at);
            last.agree && agree && waited && quiet && last.fingerprint == seen.fingerprint
        });
        if !agree {
            self.checkers.calm_since = None;
        } else if settled && !self.calm(self.now) {
            self.checkers.calm_since = Some(self.now);
        }
        agree
    }

    /// A node has accepted an LSA of another: the other must have made it, or they can never agree.
    pub(crate) fn check_accepted(&mut self, at: NodeNumber, about: NodeNumber) {
        let lsa = self.hosts[&at].node.as_ref().and_then(|node| node.lsa(about));
        if let Some(lsa) =
            lsa.filter(|lsa| !self.checkers.signed.contains(&fold(0, &lsa.body.signed_message())))
        {
            let sequence = lsa.body.version.sequence;
            let what = format!("node {at} accepted LSA {sequence} of node {about}, which never made it");
            self.violated(Property::Convergence, what);
        }
    }

    /// Whether all have agreed since before `sent_at`, and nothing has changed to this moment.
    pub(crate) fn calm(&self, sent_at: Timestamp) -> bool {
        self.checkers.calm_since.is_some_and(|since| since <= sent_at && self.unchanged_since(since))
    }

    /// Whether nothing has changed since a look at the mesh. Something may change at the very instant of a look, after
    /// it: that is a change.
    fn unchanged_since(&self, look: Timestamp) -> bool {
        self.changed_at < look && self.checkers.routes_changed_at < look
    }

    /// Nodes that are joined by trunks, each group by itself.
    pub fn groups(&self) -> Vec<BTreeSet<NodeNumber>> {
        let neighbors = self.neighbors();
        let mut left: BTreeSet<NodeNumber> = self.live().into_iter().collect();
        let mut groups = Vec::new();
        while let Some(start) = left.pop_first() {
            let mut group = BTreeSet::from([start]);
            let mut queue = vec![start];
            while let Some(at) = queue.pop() {
                for other in neighbors.get(&at).into_iter().flatten() {
                    if left.remove(other) {
                        group.insert(*other);
                        queue.push(*other);
                    }
                }
            }
            groups.push(group);
        }
        groups
    }

    fn neighbors(&self) -> BTreeMap<NodeNumber, Vec<NodeNumber>> {
        let mut neighbors: BTreeMap<NodeNumber, Vec<NodeNumber>> = BTreeMap::new();
        for ((a, b), _) in self.trunks.iter().filter(|(_, trunk)| trunk.is_whole()) {
            neighbors.entry(*a).or_default().push(*b);
            neighbors.entry(*b).or_default().push(*a);
        }
        neighbors
    }

    /// The longest way and the slowest link: how long news travels at most.
    fn spread(&self) -> Duration {
        let slowest = self.trunks.keys().map(|(a, b)| self.latency(*a, *b)).max().unwrap_or_default();
        let slowest = slowest + self.live().iter().map(|node| self.delay_at(*node)).max().unwrap_or_default();
        let diameter = self.diameter();
        let jitter = 100 + self.plan.jitter_percent as u32;
        // Latency with its jitter, and a check of the signature at each hop.
        (slowest * jitter / 100 + Duration::from_millis(3)) * diameter
    }

    fn diameter(&self) -> u32 {
        let neighbors = self.neighbors();
        let mut longest = 0;
        for start in neighbors.keys() {
            let mut hops = BTreeMap::from([(*start, 0)]);
            let mut queue = VecDeque::from([*start]);
            while let Some(at) = queue.pop_front() {
                let next = hops[&at] + 1;
                for other in neighbors.get(&at).into_iter().flatten() {
                    if !hops.contains_key(other) {
                        hops.insert(*other, next);
                        longest = longest.max(next);
                        queue.push_back(*other);
                    }
                }
            }
        }
        longest
    }

    /// The limit, counted from the last change that a node has noticed: detection is over by then.
    pub fn convergence_limit(&self) -> Duration {
        let spread = self.spread();
        let link_state = LINK_HOLD + LSA_GATHER + LSA_INTERVAL + 2 * spread + SPF_DELAY + SPF_HOLD;
        // Memberships start when routes stand: to the home, from there to the others, once more if one was lost.
        link_state + 4 * spread + 2 * TELL_BACKOFF_MIN
    }

    /// Same roster, same link state, same egress sets: what is not so; `None` if all agree.
    pub fn disagreement(&self) -> Option<String> {
        self.link_state_disagreement().or_else(|| self.egress_disagreement())
    }

    /// Same roster, same link state: what is not so.
    pub(crate) fn link_state_disagreement(&self) -> Option<String> {
        for group in self.groups() {
            let own: BTreeMap<NodeNumber, _> = group
                .iter()
                .filter_map(|number| Some((*number, self.hosts[number].node.as_ref()?.lsa(*number))))
                .collect();
            for number in &group {
                let node = self.hosts[number].node.as_ref()?;
                if *node.roster() != group {
                    let (sees, is) = (told(node.roster()), told(&group));
                    return Some(format!("node {number} sees the roster {sees}, not {is}"));
                }
                for (other, own) in &own {
                    let here = node.lsa(*other);
                    let same = match (here, own) {
                        (Some(here), Some(own)) => {
                            here.body.version == own.body.version && here.signature == own.signature
                        }
                        _ => here.is_none() && own.is_none(),
                    };
                    if !same {
                        let version = |lsa: Option<&proto_spec::lsa::Lsa>| lsa.map(|lsa| lsa.body.version);
                        return Some(format!(
                            "node {number} holds {:?} of node {other}, which made {:?}",
                            version(here),
                            version(*own)
                        ));
                    }
                }
            }
        }
        None
    }

    /// Whether each node sends its sessions to the nodes of its group that carry them: what is not so.
    fn egress_disagreement(&self) -> Option<String> {
        self.groups().iter().find_map(|group| self.egress_fault(group))
    }

    fn egress_fault(&self, group: &BTreeSet<NodeNumber>) -> Option<String> {
        let mut carriers: BTreeMap<SessionId, Vec<NodeNumber>> = BTreeMap::new();
        for number in group {
            for ((session, _), entry) in &self.hosts[number].attached {
                let nodes = carriers.entry(*session).or_default();
                if entry.kind == MemberKind::Active && nodes.last() != Some(number) {
                    nodes.push(*number);
                }
            }
        }
        for number in group {
            let node = self.hosts[number].node.as_ref()?;
            let mut last = None;
            for (session, _) in self.hosts[number].attached.keys() {
                if last.replace(session) == Some(session) {
                    continue;
                }
                let egress = node.session(*session).map(|view| &view.egress[..]).unwrap_or_default();
                let others = || carriers[session].iter().filter(|other| *other != number);
                if !others().eq(egress) {
                    let (sends, is) = (told(egress), told(others()));
                    return Some(format!("node {number} sends {session:?} to {sends}, not {is}"));
                }
            }
        }
        None
    }

    /// Runs until all agree; how long after the last change that was.
    ///
    /// # Errors
    /// What they do not agree on when the limit is over; it is kept as a violation as well.
    pub fn converge(&mut self) -> Result<Duration, String> {
        // A round trip that changed by itself just now makes link state too: its news may be under way.
        let news_until = self.now + LSA_GATHER + 2 * self.spread() + SPF_DELAY + SPF_HOLD;
        loop {
            let limit = (self.changed_at + self.convergence_limit()).max(news_until);
            match self.disagreement() {
                None => return Ok(self.now.since(self.changed_at)),
                Some(fault) if self.now >= limit => {
                    let after_ms = self.now.since(self.changed_at).as_millis();
                    let what = format!("no agreement {after_ms} ms after the last change: {fault}");
                    self.violated(Property::Convergence, what.clone());
                    return Err(what);
                }
                Some(_) => self.run_for(Duration::from_millis(100)),
            }
        }
    }

    /// As [`World::converge`], for tests.
    ///
    /// # Panics
    /// If they do not agree in time.
    pub fn settle(&mut self) -> Duration {
        let seed = self.plan.seed;
        self.converge().unwrap_or_else(|fault| panic!("seed {seed}: {fault}"))
    }

    /// Every carrying node sends a bare packet to every session once, while nothing changes: one copy to each carrying
    /// node, no node twice, nobody else. Properties 1 and 2 once all agree.
    pub fn check_all_packets(&mut self) {
        let mut carried: BTreeSet<(NodeNumber, SessionId)> = BTreeSet::new();
        for (number, host) in self.hosts.iter().filter(|(_, host)| host.node.is_some()) {
            carried.extend(host.attached.keys().map(|(session, _)| (*number, *session)));
        }
        for (number, session) in carried {
            self.check_packet(number, session);
        }
    }

    /// Waits until all routes have followed the last change, for as long as agreement may take: a mesh drops surplus links
    /// by itself. Whether they have.
    fn routes_follow(&mut self) -> bool {
        let (takes, end) = (self.spread() + SPF_DELAY + SPF_HOLD, self.now + self.convergence_limit());
        loop {
            let followed_at = self.changed_at.max(self.checkers.routes_changed_at) + takes;
            if followed_at <= self.now || followed_at > end {
                return followed_at <= self.now;
            }
            self.run_until(followed_at);
        }
    }

    /// One bare packet of those.
    pub fn check_packet(&mut self, from: NodeNumber, session: SessionId) {
        if !self.routes_follow() {
            return;
        }
        let Some(group) = self.groups().into_iter().find(|group| group.contains(&from)) else { return };
        let (before, routes) = (self.changed_at, self.checkers.routes_changed_at);
        let id = self.send_packet(from, session);
        while self.packets.get(&id).is_some_and(|trace| trace.under_way > 0) {
            self.run_for(Duration::from_millis(20));
        }
        let Some(trace) = self.packets.remove(&id) else { return };
        if self.changed_at != before || self.checkers.routes_changed_at != routes {
            return;
        }
        let expected: BTreeMap<NodeNumber, u32> = group
            .iter()
            .copied()
            .filter(|other| *other != from && self.carries(*other, session))
            .map(|other| (other, 1))
            .collect();
        if trace.stale > 0 {
            let what = format!("a packet of node {from} came to nodes without members: {trace:?}");
            self.violated(Property::Members, what);
        }
        if trace.delivered != expected || trace.visits.values().any(|visits| *visits > 1) {
            let what = format!("a packet of node {from} for {session:?} made no tree: {trace:?}");
            self.violated(Property::CopyTree, what);
        }
    }
}

fn told<'a>(nodes: impl IntoIterator<Item = &'a NodeNumber>) -> String {
    let numbers: Vec<String> = nodes.into_iter().map(NodeNumber::to_string).collect();
    format!("{{{}}}", numbers.join(", "))
}
