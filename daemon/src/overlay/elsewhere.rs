//! Where endpoints can go that this node cannot keep: other gateways in service, by placement with what is known here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use proto_spec::lsa::{DrainState, Lsa, Roles};
use proto_spec::mesh::LoadReport;
use proto_spec::{NodeNumber, Timestamp};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sealcast_mesh::Snapshot;
use sealcast_placement::place::{NodeView, place};

/// Addresses named to one endpoint: as many as a `redirect` or `move` frame holds.
const ADDRESSES_MAX: usize = 8;
/// Nodes looked at for one endpoint, the nearest first: a drain asks for each of ten thousand.
const CANDIDATES_MAX: usize = 32;

/// A gateway in service.
#[derive(Clone, Debug)]
struct Candidate {
    view: NodeView,
    addresses: Vec<String>,
}

/// The other gateways of the mesh.
#[derive(Debug)]
pub struct Elsewhere {
    candidates: ArcSwap<Vec<Candidate>>,
    rng: Mutex<ChaCha20Rng>,
}

impl Elsewhere {
    /// None are known.
    pub fn new(seed: [u8; 32]) -> Arc<Elsewhere> {
        let rng = Mutex::new(ChaCha20Rng::from_seed(seed));
        Arc::new(Elsewhere { candidates: ArcSwap::default(), rng })
    }

    /// What is known now. Loads come only to nodes with a broker; without them all count as equally loaded.
    pub(super) fn update<'a>(
        &self,
        now: Timestamp,
        lsas: impl Iterator<Item = &'a Lsa>,
        routes: &Snapshot,
        loads: &BTreeMap<NodeNumber, (Timestamp, LoadReport)>,
    ) {
        let serves = |lsa: &&Lsa| {
            let body = &lsa.body;
            body.node != routes.node()
                && body.roles.has(Roles::GATEWAY)
                && body.drain == DrainState::Serving
                && !body.addresses.is_empty()
        };
        let candidate = |lsa: &Lsa| {
            let body = &lsa.body;
            let (heard_at, load) = loads.get(&body.node).copied().unwrap_or_default();
            // Whoever is near this node is near its endpoints, as far as can be known here.
            let cost = routes.routes().distance(body.node)?;
            let view = NodeView {
                node: body.node,
                failure_domain: body.failure_domain.clone(),
                rtt_us: Some(cost.saturating_mul(100)),
                tree_us: 0,
                carries_session: false,
                capacity: body.capacity,
                reported: load.attachments,
                report_age_ms: u64::try_from(now.since(heard_at).as_millis()).unwrap_or(u64::MAX),
                placed_since: 0,
                arrivals_per_minute: 0,
                draining: false,
                full: load.full,
            };
            Some(Candidate { view, addresses: body.addresses.clone() })
        };
        let mut candidates: Vec<Candidate> = lsas.filter(serves).filter_map(candidate).collect();
        candidates.sort_by_key(|candidate| (candidate.view.rtt_us, candidate.view.node));
        candidates.truncate(CANDIDATES_MAX);
        self.candidates.store(Arc::new(candidates));
    }

    /// Addresses for one endpoint, best first; `carriers` are nodes that have its session already, `batch` is how many
    /// endpoints are sent away at once. Empty if nobody else serves.
    pub fn addresses(&self, carriers: &[NodeNumber], batch: u64) -> Vec<String> {
        let candidates = self.candidates.load();
        let mut views: Vec<NodeView> = candidates.iter().map(|candidate| candidate.view.clone()).collect();
        for view in &mut views {
            view.carries_session = carriers.contains(&view.node);
        }
        let placement = place(&views, batch, &mut *self.rng.lock().unwrap_or_else(PoisonError::into_inner));
        let of = |node: NodeNumber| candidates.iter().find(|candidate| candidate.view.node == node);
        let nodes = placement.offered.into_iter().filter_map(of);
        nodes.flat_map(|candidate| candidate.addresses.iter().cloned()).take(ADDRESSES_MAX).collect()
    }
}
