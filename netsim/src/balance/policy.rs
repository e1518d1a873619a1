//! Whom a broker names to an endpoint: ours, as the product decides it, and those that it is compared with.

use proto_spec::Timestamp;
use sealcast_placement::place::{RTT_RATIO, RTT_SLACK_US};
use sealcast_placement::{LoadBook, Probe, SessionPlace, Site, locate};

use crate::sim::Random;

/// Nodes named to an endpoint: as many as ours names.
const NAMED_MAX: usize = sealcast_placement::place::OFFERED_MAX;

/// A way to choose. All but ours choose among the same near nodes as ours does (PLC-2), so that only the choice differs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Policy {
    /// Any.
    Random,
    /// In turn, each broker and region by itself.
    RoundRobin,
    /// The shortest round trip; among equals any.
    Nearest,
    /// The least loaded by the last report; among equals any.
    LeastLoaded,
    /// The less loaded of any two, by the last report.
    TwoChoice,
    /// The product's.
    Placement,
}

/// What a broker is asked, with what it knows.
pub(super) struct Asked<'a> {
    /// Nodes that it takes for alive, with their index.
    pub(super) sites: &'a [Site],
    /// Its reports.
    pub(super) book: &'a LoadBook,
    /// Where the session is.
    pub(super) session: &'a SessionPlace,
    /// The endpoint's round trips.
    pub(super) probes: &'a [Probe],
    /// To each site, in its order.
    pub(super) rtt_us: &'a [u64],
    /// Now.
    pub(super) now: Timestamp,
    /// How many asked from this region before.
    pub(super) turn: u64,
}

impl Policy {
    /// All, ours last.
    pub const ALL: [Policy; 6] = [
        Policy::Random,
        Policy::RoundRobin,
        Policy::Nearest,
        Policy::LeastLoaded,
        Policy::TwoChoice,
        Policy::OURS,
    ];
    /// The one that the scenario's checks are about.
    pub const OURS: Policy = Policy::Placement;

    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Policy::Random => "random",
            Policy::RoundRobin => "round-robin",
            Policy::Nearest => "nearest",
            Policy::LeastLoaded => "least-loaded",
            Policy::TwoChoice => "two-choice",
            Policy::Placement => "placement",
        }
    }

    /// Sites by index, best first.
    pub(super) fn choose(self, asked: &Asked<'_>, random: &mut Random) -> Vec<usize> {
        if self == Policy::Placement {
            let Asked { sites, book, session, probes, now, .. } = *asked;
            let located = locate(sites, book, session, probes, now, random);
            let at = |node| sites.iter().position(|site| site.node == node);
            return located.placement.offered.into_iter().filter_map(at).collect();
        }
        let is_full =
            |at: &usize| asked.book.get(asked.sites[*at].node).is_some_and(|heard| heard.report.full);
        let mut open: Vec<usize> = (0..asked.sites.len()).filter(|at| !is_full(at)).collect();
        open.sort_by_key(|at| asked.rtt_us[*at]);
        let best = open.first().map_or(0, |at| asked.rtt_us[*at]);
        let near_us = near_us(best);
        let far = open.split_off(open.partition_point(|at| asked.rtt_us[*at] <= near_us));
        // A sort that keeps the order of equals, after a shuffle, gives any of them the same chance.
        shuffle(&mut open, random);
        match self {
            Policy::Random | Policy::Placement => {}
            Policy::RoundRobin if open.is_empty() => {}
            Policy::RoundRobin => {
                open.sort_unstable();
                let turn = asked.turn % open.len() as u64;
                open.rotate_left(turn as usize);
            }
            Policy::Nearest => open.sort_by_key(|at| asked.rtt_us[*at]),
            Policy::LeastLoaded => open.sort_by_key(|at| asked.load(*at)),
            Policy::TwoChoice => {
                let two = open.len().min(2);
                open[..two].sort_by_key(|at| asked.load(*at));
            }
        }
        open.extend(far);
        open.truncate(NAMED_MAX);
        open
    }
}

/// The longest round trip that is near enough, by the best one: PLC-2.
pub(super) fn near_us(best_us: u64) -> u64 {
    (best_us * RTT_RATIO / sealcast_placement::place::MILLION).max(best_us + RTT_SLACK_US)
}

impl Asked<'_> {
    /// By the last report alone, in millionths.
    fn load(&self, at: usize) -> u64 {
        let heard = self.book.get(self.sites[at].node);
        heard.map_or(0, |heard| {
            u64::from(heard.report.attachments) * 1_000_000 / u64::from(heard.report.capacity.max(1))
        })
    }
}

/// Fisher and Yates.
fn shuffle(items: &mut [usize], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.range(0, last as u64 + 1) as usize);
    }
}
