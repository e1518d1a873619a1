//! Counts refusals, and logs each source and reason once a minute \[TRK-5\]. Nobody fills the log by knocking.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use proto_spec::trunk::TrunkRefusal;
use proto_spec::{NodeNumber, Timestamp};

use super::config::{SAID_KEEP, SAID_MAX};
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Who was refused, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Source {
    /// An address that has proven nothing.
    Address(IpAddr),
    /// A node, by its certificate.
    Node(NodeNumber),
}

#[derive(Debug)]
pub(super) struct Refusals {
    metrics: Arc<Metrics>,
    clock: Clock,
    said: Mutex<BTreeMap<(Source, TrunkRefusal), Timestamp>>,
}

impl Refusals {
    pub(super) fn new(metrics: Arc<Metrics>, clock: Clock) -> Refusals {
        Refusals { metrics, clock, said: Mutex::default() }
    }

    /// This node refuses.
    pub(super) fn refused(&self, source: Source, reason: TrunkRefusal) {
        self.metrics.trunk_refused(reason);
        if reason == TrunkRefusal::Duplicate || !self.is_news(source, reason) {
            return;
        }
        match source {
            Source::Node(node) => {
                tracing::warn!(%node, reason = reason.label(), "trunk refused: {}", reason.sentence());
            }
            Source::Address(address) => {
                tracing::warn!(reason = reason.label(), "trunk refused: {}", reason.sentence());
                tracing::debug!(%address, reason = reason.label(), "trunk refused");
            }
        }
    }

    /// Another node refuses this one; `None` where TLS has no word for the reason.
    pub(super) fn refused_by(&self, source: Source, reason: Option<TrunkRefusal>) {
        self.metrics.trunk_refused_by(reason);
        let Some(reason) = reason else { return tracing::debug!(?source, "another node refuses this one") };
        if reason == TrunkRefusal::Duplicate || !self.is_news(source, reason) {
            return;
        }
        let node = match source {
            Source::Node(node) => Some(node.value()),
            Source::Address(_) => None,
        };
        tracing::warn!(node, reason = reason.label(), "another node refuses this one: {}", reason.sentence());
        tracing::debug!(?source, reason = reason.label(), "another node refuses this one");
    }

    /// Whether this was not said within the last minute. What does not fit is counted and not said.
    pub(super) fn is_news(&self, source: Source, reason: TrunkRefusal) -> bool {
        let now = self.clock.now().mono;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(&(source, reason)).is_some_and(|at| now.since(*at) < SAID_KEEP) {
            return false;
        }
        if said.len() >= SAID_MAX {
            said.retain(|_, at| now.since(*at) < SAID_KEEP);
        }
        if said.len() >= SAID_MAX {
            return false;
        }
        said.insert((source, reason), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// \[TRK-5\]: each counted, each source and reason said once, and no more of them remembered than fit.
    #[test]
    fn each_is_counted_and_said_once() {
        let metrics = Metrics::new();
        let refusals = Refusals::new(Arc::clone(&metrics), Clock::start());
        let source = |last: u32| Source::Address(IpAddr::from(last.to_be_bytes()));
        assert!(refusals.is_news(source(1), TrunkRefusal::Expired));
        assert!(!refusals.is_news(source(1), TrunkRefusal::Expired));
        assert!(
            refusals.is_news(source(1), TrunkRefusal::Revoked)
                && refusals.is_news(source(2), TrunkRefusal::Expired)
        );
        for last in 0..2 * SAID_MAX as u32 {
            refusals.refused(source(last), TrunkRefusal::Malformed);
        }
        assert_eq!(refusals.said.lock().unwrap().len(), SAID_MAX);
        let text = metrics.render(&crate::metrics::DataPlane::default(), true);
        let line = format!("relayd_trunk_refusals_total{{reason=\"malformed\"}} {}", 2 * SAID_MAX);
        assert!(text.contains(&line), "{text}");
    }
}
