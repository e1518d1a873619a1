//! What one broker knows of the nodes' load: their last reports, what it placed itself since, and how fast others come.
//!
//! Sans-IO: times are handed in. Never believes a report that is older than the one it has.

use std::collections::BTreeMap;
use std::time::Duration;

use proto_spec::mesh::LoadReport;
use proto_spec::{NodeNumber, Timestamp};

use crate::place::{CANDIDATES_MAX, REPORT_AGE_MAX_MS};

/// Nodes report this often; what is placed in that time is one batch.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A report older than this is as good as none; arrivals are not extrapolated further.
const AGE_MAX_MS: u64 = 60_000;

/// A node's last report and what is known since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// What it said.
    pub report: LoadReport,
    /// When it came.
    pub at: Timestamp,
    /// Endpoints that this broker placed there since.
    pub placed_since: u32,
    /// Attachments a minute that came without this broker's doing.
    pub arrivals_per_minute: u32,
}

impl Heard {
    /// The report's age in milliseconds, at most a minute.
    pub fn age_ms(&self, now: Timestamp) -> u64 {
        u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX).min(AGE_MAX_MS)
    }
}

/// The reports of a mesh.
#[derive(Clone, Debug, Default)]
pub struct LoadBook {
    nodes: BTreeMap<NodeNumber, Heard>,
    /// Placements in this interval and in the one before, and when this one began.
    batch: (u64, u64, Timestamp),
}

impl LoadBook {
    /// Nothing heard yet.
    pub fn new() -> LoadBook {
        LoadBook::default()
    }

    /// Takes a report in. One that was overtaken by a newer one is passed over; a node that counts from the start again
    /// was restarted, and is believed once its old reports are stale.
    pub fn heard(&mut self, node: NodeNumber, report: LoadReport, now: Timestamp) {
        let before = self.nodes.get(&node).copied();
        if let Some(before) = before
            && report.sequence <= before.report.sequence
            && before.age_ms(now) <= REPORT_AGE_MAX_MS
        {
            return;
        }
        if before.is_none() && self.nodes.len() >= CANDIDATES_MAX {
            let quietest = self.nodes.iter().min_by_key(|(_, heard)| heard.at).map(|(node, _)| *node);
            quietest.map(|node| self.nodes.remove(&node));
        }
        let arrivals_per_minute = before.map_or(0, |before| arrivals(&before, &report, now));
        self.nodes.insert(node, Heard { report, at: now, placed_since: 0, arrivals_per_minute });
    }

    /// Notes that an endpoint was sent to a node.
    pub fn placed(&mut self, node: NodeNumber, now: Timestamp) {
        if let Some(heard) = self.nodes.get_mut(&node) {
            heard.placed_since = heard.placed_since.saturating_add(1);
        }
        self.turn_batch(now);
        self.batch.0 += 1;
    }

    /// A node's last report.
    pub fn get(&self, node: NodeNumber) -> Option<&Heard> {
        self.nodes.get(&node)
    }

    /// How many endpoints are placed in the mesh between two reports of a node, others' included.
    pub fn batch(&self, now: Timestamp) -> u64 {
        let others: u64 = self.nodes.values().map(|heard| u64::from(heard.arrivals_per_minute)).sum();
        let age = now.since(self.batch.2);
        let own = if age < REPORT_INTERVAL {
            self.batch.0.max(self.batch.1)
        } else if age < 2 * REPORT_INTERVAL {
            self.batch.0
        } else {
            0
        };
        own + others * REPORT_INTERVAL.as_secs() / 60
    }

    fn turn_batch(&mut self, now: Timestamp) {
        let age = now.since(self.batch.2);
        if age >= REPORT_INTERVAL {
            let before = if age < 2 * REPORT_INTERVAL { self.batch.0 } else { 0 };
            self.batch = (0, before, now);
        }
    }
}

/// Attachments a minute that came from elsewhere between two reports, smoothed by half. Those who left hide some of them.
fn arrivals(before: &Heard, report: &LoadReport, now: Timestamp) -> u32 {
    let elapsed_ms = u64::try_from(now.since(before.at).as_millis()).unwrap_or(u64::MAX).max(1);
    let known = u64::from(before.report.attachments) + u64::from(before.placed_since);
    let others = u64::from(report.attachments).saturating_sub(known);
    let fresh = others.saturating_mul(60_000) / elapsed_ms;
    u32::try_from((fresh + u64::from(before.arrivals_per_minute)) / 2).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeNumber {
        NodeNumber::new(number).unwrap()
    }

    fn report(sequence: u64, attachments: u32) -> LoadReport {
        LoadReport { sequence, attachments, capacity: 100, ..LoadReport::default() }
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp(Duration::from_millis(ms))
    }

    #[test]
    fn reports_replace_what_was_placed_since() {
        let mut book = LoadBook::new();
        book.placed(node(1), at(0));
        assert_eq!(book.get(node(1)), None, "nothing is known of a node that never reported");
        book.heard(node(1), report(1, 10), at(0));
        (0..3).for_each(|_| book.placed(node(1), at(10)));
        let heard = book.get(node(1)).unwrap();
        assert_eq!((heard.placed_since, heard.age_ms(at(700))), (3, 700));
        // Three of ours, and two of others in a second.
        book.heard(node(1), report(2, 15), at(1_000));
        let heard = book.get(node(1)).unwrap();
        assert_eq!((heard.placed_since, heard.arrivals_per_minute), (0, 60));
        book.heard(node(1), report(3, 15), at(2_000));
        assert_eq!(book.get(node(1)).unwrap().arrivals_per_minute, 30);
    }

    #[test]
    fn what_was_overtaken_is_passed_over_and_a_restart_is_not() {
        let mut book = LoadBook::new();
        book.heard(node(1), report(9, 10), at(0));
        book.heard(node(1), report(8, 99), at(100));
        assert_eq!(book.get(node(1)).unwrap().report.attachments, 10);
        book.heard(node(1), report(1, 0), at(REPORT_AGE_MAX_MS + 1));
        assert_eq!(book.get(node(1)).unwrap().report.attachments, 0);
    }

    #[test]
    fn a_batch_is_what_one_interval_sees() {
        let mut book = LoadBook::new();
        (0..50).for_each(|ms| book.placed(node(1), at(5_000 + ms)));
        assert_eq!(book.batch(at(5_100)), 50);
        book.placed(node(1), at(6_000));
        assert_eq!(book.batch(at(6_000)), 50, "the interval before counts until this one has as many");
        assert_eq!(book.batch(at(7_100)), 1);
        assert_eq!(book.batch(at(9_000)), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut book = LoadBook::new();
        for number in 1..=CANDIDATES_MAX as u16 + 5 {
            book.heard(node(number), report(1, 0), at(number.into()));
        }
        assert_eq!(book.nodes.len(), CANDIDATES_MAX);
        assert_eq!(book.get(node(1)), None, "the quietest gave way");
    }
}
