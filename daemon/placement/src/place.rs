//! Choosing among many nodes by stale reports of their load, with the reason for each.
//!
//! Whole numbers only, so that results are equal on every platform: times in microseconds, loads in millionths of a
//! node's capacity. Two choices, weighted by free capacity, against the herd that stale reports make (Mitzenmacher 2000;
//! Dahlin 2000); fewer of them as more endpoints are placed between two reports (Los and Sauerwald 2023); a bound on
//! every node's load over the mean (bounded loads). The node itself admits or redirects by its true load, so a wrong
//! estimate breaks no limit.

use std::fmt;

use proto_spec::NodeNumber;
use rand_core::Rng;

/// A whole, in the unit of loads and probabilities.
pub const MILLION: u64 = 1_000_000;
/// Candidates looked at; a mesh holds no more nodes.
pub const CANDIDATES_MAX: usize = 2_048;
/// Nodes offered.
pub const OFFERED_MAX: usize = 3;
/// A report older than this says little, unless all are.
pub const REPORT_AGE_MAX_MS: u64 = 5_000;
/// A node within this many millionths of the best round trip is near enough.
pub const RTT_RATIO: u64 = 1_300_000;
/// So is one within this much.
pub const RTT_SLACK_US: u64 = 20_000;
/// What a half loaded node adds to the cost.
pub const KAPPA_US: u64 = 10_000;
/// A node above this load is left out while others have room.
pub const LOAD_MAX: u64 = 800_000;
/// A node above this part of the candidates' mean load is left out while others are not.
pub const LOAD_OVER_MEAN_MAX: u64 = 1_250_000;
/// Attachments above the mean that never count as too many: small numbers are no imbalance.
const LOAD_SLACK: u64 = 4;

/// A node as the broker knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeView {
    /// Its number.
    pub node: NodeNumber,
    /// What fails together with it.
    pub failure_domain: String,
    /// The round trip that the endpoint measured, if it did.
    pub rtt_us: Option<u32>,
    /// What the session's other nodes add to a packet's way if the endpoint attaches here.
    pub tree_us: u32,
    /// Whether it carries the session already.
    pub carries_session: bool,
    /// Attachments that it admits.
    pub capacity: u32,
    /// Attachments by its last report.
    pub reported: u32,
    /// That report's age.
    pub report_age_ms: u64,
    /// Attachments that this broker has placed there since.
    pub placed_since: u32,
    /// Attachments a minute that others are known to place there.
    pub arrivals_per_minute: u32,
    /// Whether it is on its way out.
    pub draining: bool,
    /// Whether it refuses new attachments by its own word.
    pub full: bool,
}

impl NodeView {
    /// Attachments now, as far as can be known.
    pub fn estimate(&self) -> u64 {
        let arrived = u64::from(self.arrivals_per_minute) * self.report_age_ms / 60_000;
        u64::from(self.reported) + u64::from(self.placed_since) + arrived
    }

    /// The estimate in millionths of the capacity.
    pub fn load(&self) -> u64 {
        self.estimate() * MILLION / u64::from(self.capacity.max(1))
    }
}

/// What was thought of one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Considered {
    /// Which.
    pub node: NodeNumber,
    /// The estimated load in millionths.
    pub load: u64,
    /// Round trip, `None` if none was measured.
    pub rtt_us: Option<u32>,
    /// The way to the session's other nodes.
    pub tree_us: u32,
    /// What the load adds.
    pub load_us: u64,
    /// All of it.
    pub cost_us: u64,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// The first choice.
    Chosen,
    /// Offered after it.
    Offered,
    /// The standby.
    Standby,
    /// As good, but not needed.
    Spare,
    /// Too far away for a first choice, offered as there are too few near ones.
    Reserve,
    /// Too far away.
    TooFar,
    /// More loaded than is good, or than the others.
    TooLoaded,
    /// Its last report is too old.
    Unheard,
    /// On its way out.
    Draining,
    /// Full by its own word, or by the estimate.
    Full,
}

impl fmt::Display for Considered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}: {:?}, ", self.node, self.verdict)?;
        match self.rtt_us {
            Some(us) => write!(f, "round trip {} us", us)?,
            None => f.write_str("no round trip measured")?,
        }
        let Considered { tree_us, load_us, cost_us, load, .. } = self;
        write!(
            f,
            ", {tree_us} us to the session, {} % loaded adds {load_us} us: cost {cost_us} us",
            load / 10_000
        )
    }
}

/// Where an endpoint should attach.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Placement {
    /// Best first, at most [`OFFERED_MAX`].
    pub offered: Vec<NodeNumber>,
    /// For a second attachment: in another failure domain if there is one.
    pub standby: Option<NodeNumber>,
    /// Every node with what was thought of it, in the order given.
    pub considered: Vec<Considered>,
}

/// The chance, in millionths, that the cheaper of two is taken and not the first: 1 while few endpoints are placed
/// between two reports, less as they become many for the nodes there are.
pub fn beta(nodes: u64, batch: u64) -> u64 {
    let nodes = nodes.max(2);
    let room = nodes * u64::from(nodes.ilog2().max(1));
    if batch <= room { MILLION } else { (MILLION * MILLION / batch * room).isqrt().min(MILLION) }
}

/// Places one endpoint \[PLC-1\] \[PLC-2\]. `batch` is how many are placed in the time between two reports of a node.
pub fn place(views: &[NodeView], batch: u64, rng: &mut impl Rng) -> Placement {
    let views = &views[..views.len().min(CANDIDATES_MAX)];
    let mut considered = judge(views);
    let mut open: Vec<usize> =
        (0..views.len()).filter(|at| considered[*at].verdict == Verdict::Spare).collect();
    let Some(first) = choose(views, &considered, &open, batch, rng) else {
        return Placement { considered, ..Placement::default() };
    };
    considered[first].verdict = Verdict::Chosen;
    open.retain(|at| *at != first);
    open.sort_by_key(|at| (considered[*at].cost_us, considered[*at].node));
    // What is too far for a first choice is better than nothing to fall back on: those measured first.
    let mut far: Vec<usize> =
        (0..views.len()).filter(|at| considered[*at].verdict == Verdict::TooFar).collect();
    far.sort_by_key(|at| (views[*at].rtt_us.is_none(), considered[*at].cost_us, considered[*at].node));
    let apart = |at: &&usize| views[**at].failure_domain != views[first].failure_domain;
    let standby = open.iter().find(apart).or_else(|| far.iter().find(apart));
    let standby = standby.or(open.first()).or(far.first()).copied();
    let offered: Vec<usize> =
        std::iter::once(first).chain(open).chain(far.iter().copied()).take(OFFERED_MAX).collect();
    for at in &offered[1..] {
        let is_far = considered[*at].verdict == Verdict::TooFar;
        considered[*at].verdict = if is_far { Verdict::Reserve } else { Verdict::Offered };
    }
    if let Some(standby) = standby.filter(|standby| !offered.contains(standby)) {
        considered[standby].verdict = Verdict::Standby;
    }
    Placement {
        offered: offered.into_iter().map(|at| views[at].node).collect(),
        standby: standby.map(|at| views[at].node),
        considered,
    }
}

/// Everybody's cost, and who is out for what. What is far competes only if it carries the session and the way there is a
/// real shortcut: a few milliseconds less are not worth an attachment across a continent.
fn judge(views: &[NodeView]) -> Vec<Considered> {
    let may_serve = |view: &&NodeView| !view.draining && !view.full;
    let all_unheard = views.iter().filter(may_serve).all(|view| view.report_age_ms > REPORT_AGE_MAX_MS);
    let best = views.iter().filter(may_serve).filter_map(|view| view.rtt_us).min();
    let near = best.map(u64::from).map(|best| (best * RTT_RATIO / MILLION).max(best + RTT_SLACK_US));
    let is_near =
        |view: &NodeView| near.is_none_or(|near| view.rtt_us.is_some_and(|rtt| u64::from(rtt) <= near));
    let way = |view: &NodeView| view.rtt_us.map(|rtt| u64::from(rtt) + u64::from(view.tree_us));
    let direct =
        views.iter().filter(may_serve).filter(|view| is_near(view)).filter_map(way).min().unwrap_or(0);
    let is_shortcut = |view: &NodeView| {
        view.carries_session && way(view).is_some_and(|way| way * RTT_RATIO / MILLION < direct)
    };
    let mut considered: Vec<Considered> = views
        .iter()
        .map(|view| {
            let load = view.load();
            let verdict = if view.draining {
                Verdict::Draining
            } else if view.full || load >= MILLION {
                Verdict::Full
            } else if !all_unheard && view.report_age_ms > REPORT_AGE_MAX_MS {
                Verdict::Unheard
            } else if !is_near(view) && !is_shortcut(view) {
                Verdict::TooFar
            } else {
                Verdict::Spare
            };
            let load_us = KAPPA_US * load / (MILLION - load.min(MILLION - 1));
            let cost_us = u64::from(view.rtt_us.unwrap_or(0)) + u64::from(view.tree_us) + load_us;
            let (node, rtt_us, tree_us) = (view.node, view.rtt_us, view.tree_us);
            Considered { node, load, rtt_us, tree_us, load_us, cost_us, verdict }
        })
        .collect();
    leave_out_loaded(views, &mut considered);
    considered
}

/// Nodes above the limits go, unless all would.
fn leave_out_loaded(views: &[NodeView], considered: &mut [Considered]) {
    let open: Vec<usize> = (0..views.len()).filter(|at| considered[*at].verdict == Verdict::Spare).collect();
    let load: u64 = open.iter().map(|at| views[*at].estimate()).sum();
    let capacity: u64 = open.iter().map(|at| u64::from(views[*at].capacity)).sum();
    let mean = load * MILLION / capacity.max(1);
    let too_loaded = |at: &usize| {
        let slack = LOAD_SLACK * MILLION / u64::from(views[*at].capacity.max(1));
        let cap = (mean * LOAD_OVER_MEAN_MAX / MILLION + slack).min(LOAD_MAX);
        considered[*at].load > cap
    };
    let loaded: Vec<usize> = open.iter().copied().filter(too_loaded).collect();
    if loaded.len() < open.len() {
        loaded.into_iter().for_each(|at| considered[at].verdict = Verdict::TooLoaded);
    }
}

/// Two by free capacity; the cheaper one, or with what is left of [`beta`] the first.
fn choose(
    views: &[NodeView],
    considered: &[Considered],
    open: &[usize],
    batch: u64,
    rng: &mut impl Rng,
) -> Option<usize> {
    let first = draw(views, open, None, rng)?;
    let Some(second) = draw(views, open, Some(first), rng) else { return Some(first) };
    let compares = rng.next_u64() % MILLION < beta(open.len() as u64, batch);
    let cheaper =
        (considered[second].cost_us, views[second].node) < (considered[first].cost_us, views[first].node);
    Some(if compares && cheaper { second } else { first })
}

fn draw(views: &[NodeView], open: &[usize], not: Option<usize>, rng: &mut impl Rng) -> Option<usize> {
    let free = |at: usize| u64::from(views[at].capacity).saturating_sub(views[at].estimate()).max(1);
    let among = || open.iter().copied().filter(|at| Some(*at) != not);
    let total: u64 = among().map(free).sum();
    let mut left = rng.next_u64().checked_rem(total)?;
    among().find(|at| {
        let weight = free(*at);
        let found = left < weight;
        left = left.saturating_sub(weight);
        found
    })
}

#[cfg(test)]
mod tests;
