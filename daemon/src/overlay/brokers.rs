//! Whose tickets the node believes: the brokers of its configuration and those that the mesh has made known, less the
//! revoked ones. One owner for the verifier that the gateway reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use proto_spec::WallTime;
use proto_spec::mesh::BROKER_CHAINS_MAX;
use sealcast_trust::{BrokerKey, Verifier};

/// Keys learnt from the mesh: as many as it passes on, twice, while all are being renewed.
const LEARNT_MAX: usize = 2 * BROKER_CHAINS_MAX;

#[derive(Debug)]
struct Known {
    configured: Verifier,
    learnt: BTreeMap<[u8; 32], BrokerKey>,
    revoked: BTreeSet<[u8; 32]>,
}

/// The brokers that the node believes.
#[derive(Debug)]
pub struct Brokers {
    known: Mutex<Known>,
    verifier: Arc<ArcSwap<Verifier>>,
}

impl Brokers {
    /// Those of the configuration.
    pub fn new(configured: Verifier) -> Arc<Brokers> {
        let verifier = Arc::new(ArcSwap::from_pointee(configured.clone()));
        let known = Known { configured, learnt: BTreeMap::new(), revoked: BTreeSet::new() };
        Arc::new(Brokers { known: Mutex::new(known), verifier })
    }

    /// What checks tickets, always the newest.
    pub fn verifier(&self) -> Arc<ArcSwap<Verifier>> {
        Arc::clone(&self.verifier)
    }

    /// The configuration was read anew; what was learnt stays.
    pub fn configure(&self, configured: Verifier) {
        self.change(|known| known.configured = configured);
    }

    /// The mesh has made a broker known, whose chain has been checked.
    pub fn learn(&self, broker: BrokerKey, now: WallTime) {
        self.change(|known| {
            known.learnt.retain(|_, broker| broker.valid_at(now));
            if known.learnt.len() < LEARNT_MAX {
                known.learnt.insert(broker.certificate(), broker);
            } else {
                tracing::warn!(
                    limit = LEARNT_MAX,
                    "too many brokers in the mesh: tickets of one more are refused"
                );
            }
        });
    }

    /// Believes these no more \[LSA-10\].
    pub fn revoke(&self, revoked: &BTreeSet<[u8; 32]>) {
        self.change(|known| known.revoked.clone_from(revoked));
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        let all = known.learnt.values().fold(known.configured.clone(), |all, broker| all.and(*broker));
        self.verifier.store(Arc::new(all.without(&known.revoked)));
    }
}
