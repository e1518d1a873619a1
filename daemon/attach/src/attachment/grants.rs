//! Credit: what an endpoint may send, and when more is granted \[FLW-1\] \[FLW-2\].
//!
//! A class is granted its share less what still waits in queues, and no faster than its rate; so a slow receiver or a
//! used-up rate reaches the sending application as back-pressure, and nothing has to be dropped.

use std::sync::Arc;
use std::time::Duration;

use proto_spec::frame::Credit;
use proto_spec::{Refusal, Timestamp, TrafficClass};

use crate::bucket::{SharedBucket, TokenBucket};
use crate::config::Limits;
use crate::ledger::Ledger;

/// How long a sender waits before it asks again for memory that others hold.
const MEMORY_RETRY: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Class {
    received: u64,
    granted: u64,
    rate: TokenBucket,
}

/// The credit of one attachment.
#[derive(Debug)]
pub(super) struct Grants {
    classes: [Class; 4],
    /// Ingress of the droppable classes together, by ticket or limit.
    ingress: TokenBucket,
    ingress_rate: u64,
    /// Bytes times copies that this sender causes.
    fanout: TokenBucket,
    /// The same of its session and account.
    shared: Vec<Arc<SharedBucket>>,
    /// When a bucket that held a grant back will allow it.
    retry_at: Option<Timestamp>,
}

impl Grants {
    pub(super) fn new(
        limits: &Limits,
        rate_bytes: u64,
        shared: Vec<Arc<SharedBucket>>,
        now: Timestamp,
    ) -> Grants {
        let fanout_rate = limits.sender_fanout_rate_bytes;
        Grants {
            classes: TrafficClass::ALL.map(|class| {
                let limits = limits.class(class);
                Class {
                    received: 0,
                    granted: 0,
                    rate: TokenBucket::new(limits.rate_bytes, limits.burst_bytes, now),
                }
            }),
            ingress: TokenBucket::new(rate_bytes, rate_bytes, now),
            ingress_rate: rate_bytes,
            fanout: TokenBucket::new(fanout_rate, fanout_rate, now),
            shared,
            retry_at: None,
        }
    }

    /// A renewed ticket: what was granted stays, the rate and the session's buckets may change.
    pub(super) fn renew(&mut self, rate_bytes: u64, shared: Vec<Arc<SharedBucket>>, now: Timestamp) {
        if rate_bytes != self.ingress_rate {
            self.ingress = TokenBucket::new(rate_bytes, rate_bytes, now);
            self.ingress_rate = rate_bytes;
        }
        self.shared = shared;
    }

    /// Counts a data frame, header included.
    pub(super) fn received(&mut self, class: TrafficClass, bytes: u64) -> Result<(), Refusal> {
        let class = &mut self.classes[class as usize];
        class.received += bytes;
        if class.received > class.granted { Err(Refusal::CreditExceeded) } else { Ok(()) }
    }

    /// Charges what a run caused.
    pub(super) fn charge(&mut self, now: Timestamp, bytes: u64, copies: u64) {
        self.ingress.charge(now, bytes);
        let fanned_out = bytes.saturating_mul(copies);
        self.fanout.charge(now, fanned_out);
        self.shared.iter().for_each(|bucket| bucket.charge(now, fanned_out));
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// Grants in steps of a quarter of the share, so that credit frames stay rare.
    pub(super) fn grant(
        &mut self,
        limits: &Limits,
        ledger: &Ledger,
        now: Timestamp,
        mut send: impl FnMut(Credit),
    ) {
        self.retry_at = None;
        for class in TrafficClass::ALL {
            let share = limits.class(class).credit_bytes;
            let step = share / 4;
            let state = &self.classes[class as usize];
            let mut more = state.grantable(share, ledger.outstanding(class));
            if more < step && ledger.outstanding(class) > share / 2 && ledger.starve(class) {
                more = state.grantable(share, ledger.outstanding(class));
            }
            // Below a step the endpoint has a quarter of its share left, or the ledger wakes us when queues empty.
            if more < step {
                continue;
            }
            if let Some(at) = self.held_back_until(class, ledger, now) {
                self.retry(at);
                continue;
            }
            let rate = &mut self.classes[class as usize].rate;
            let bytes = more.min(rate.available(now));
            if bytes < step {
                let at = rate.ready_at(now, step);
                self.retry(at);
                continue;
            }
            rate.charge(now, bytes);
            let state = &mut self.classes[class as usize];
            state.granted += bytes;
            send(Credit { class, limit_bytes: state.granted });
        }
    }

    /// Control and interactive have small rates of their own and wait for nothing else.
    fn held_back_until(&mut self, class: TrafficClass, ledger: &Ledger, now: Timestamp) -> Option<Timestamp> {
        if matches!(class, TrafficClass::Control | TrafficClass::Interactive) {
            return None;
        }
        if ledger.memory().sheds(class) {
            return Some(now + MEMORY_RETRY);
        }
        let own = self.ingress.ready_at(now, 0).max(self.fanout.ready_at(now, 0));
        let debt_until = self.shared.iter().map(|bucket| bucket.ready_at(now)).fold(own, Timestamp::max);
        (debt_until > now).then_some(debt_until)
    }

    fn retry(&mut self, at: Timestamp) {
        self.retry_at = Some(self.retry_at.map_or(at, |other| other.min(at)));
    }
}

impl Class {
    /// How many bytes more its share allows.
    fn grantable(&self, share: u64, outstanding: u64) -> u64 {
        (self.received + share.saturating_sub(outstanding)).saturating_sub(self.granted)
    }
}
