//! Packets between this node and others: one copy for each next hop, and the local part of what arrives \[FWD-11\]
//! \[FWD-12\]. The way is the mesh core's [`forward`]; nothing here keeps state of any session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use proto_spec::egress::{HOP_LIMIT, TrunkHeader};
use proto_spec::{NodeNumber, SessionId, Timestamp, TrafficClass};
use sealcast_attach::fanout::{self, Beyond};
use sealcast_attach::run::Forward;
use sealcast_attach::{DropReason, Run};
use sealcast_mesh::{Copies, Snapshot, forward};

use super::{Gateway, Handle};
use crate::overlay::{Elsewhere, Links};
use crate::trunk::Arrivals;

/// The ways out of this node, once it is part of a mesh; a mesh of one among them.
pub struct Ways {
    /// This node.
    pub node: NodeNumber,
    /// The newest routes.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The neighbours.
    pub links: Arc<dyn Links>,
    /// Where endpoints can go that this node cannot keep.
    pub elsewhere: Arc<Elsewhere>,
}

impl std::fmt::Debug for Ways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ways").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Why a copy did not leave for another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
enum HopDrop {
    Unreachable,
    NextHopDown,
    NoReturn,
    HopLimit,
    NoTrunk,
    Malformed,
}

impl HopDrop {
    const ALL: [HopDrop; 6] = [
        Self::Unreachable,
        Self::NextHopDown,
        Self::NoReturn,
        Self::HopLimit,
        Self::NoTrunk,
        Self::Malformed,
    ];

    /// The counter's label; never changes once released.
    const fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "node_unreachable",
            Self::NextHopDown => "next_hop_down",
            Self::NoReturn => "no_return",
            Self::HopLimit => "hop_limit",
            Self::NoTrunk => "no_trunk",
            Self::Malformed => "malformed",
        }
    }
}

impl From<sealcast_mesh::DropReason> for HopDrop {
    fn from(reason: sealcast_mesh::DropReason) -> HopDrop {
        match reason {
            sealcast_mesh::DropReason::Unreachable => Self::Unreachable,
            sealcast_mesh::DropReason::NextHopDown => Self::NextHopDown,
            sealcast_mesh::DropReason::NoReturn => Self::NoReturn,
            sealcast_mesh::DropReason::HopLimit => Self::HopLimit,
        }
    }
}

/// What went to and came from other nodes.
#[derive(Debug, Default)]
pub(super) struct Hops {
    dropped: [[AtomicU64; HopDrop::ALL.len()]; 4],
    /// Bytes of all copies, to endpoints and to nodes.
    forwarded_bytes: AtomicU64,
}

impl Hops {
    fn drop(&self, class: TrafficClass, reason: HopDrop, frames: u64) {
        self.dropped[class as usize][reason as usize].fetch_add(frames, Relaxed);
    }

    pub(super) fn forwarded(&self, bytes: u64) {
        self.forwarded_bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn forwarded_bytes(&self) -> u64 {
        self.forwarded_bytes.load(Relaxed)
    }

    /// Frames that did not leave for another node, by class and reason.
    pub(super) fn drops(&self) -> Vec<(TrafficClass, &'static str, u64)> {
        let classes = TrafficClass::ALL.into_iter();
        let each = classes.flat_map(|class| HopDrop::ALL.into_iter().map(move |reason| (class, reason)));
        each.map(|(class, reason)| {
            (class, reason.label(), self.dropped[class as usize][reason as usize].load(Relaxed))
        })
        .collect()
    }
}

impl Gateway {
    /// Sends what an endpoint here has sent to the other nodes that it is for \[EGR-3\].
    pub(super) fn send_beyond(&self, now: Timestamp, session: SessionId, beyond: Beyond) {
        let Beyond { mut run, egress } = beyond;
        let Some(ways) = self.ways.get() else {
            return self.hops.drop(run.class(), HopDrop::Unreachable, u64::from(run.frames()));
        };
        if egress.nodes().len() > 1 {
            run.set_shared();
        }
        let header = TrunkHeader { hop_limit: HOP_LIMIT, ingress: ways.node, egress, session };
        let copies = forward(&ways.snapshot.load(), None, &header);
        self.push_on(ways, now, &header, copies, run);
    }

    /// One copy for each next hop; the last one is the run itself.
    fn push_on(&self, ways: &Ways, now: Timestamp, header: &TrunkHeader, copies: Copies, run: Run) {
        let (class, frames, bytes) = (run.class(), u64::from(run.frames()), run.bytes().len() as u64);
        for (_, reason) in &copies.dropped {
            self.hops.drop(class, (*reason).into(), frames);
        }
        let (hop_limit, ingress, session) = (copies.hop_limit, header.ingress, header.session);
        let mut left = copies.copies.len();
        let mut run = Some(run);
        for copy in copies.copies {
            left -= 1;
            let piece = if left == 0 { run.take() } else { run.clone() };
            let piece = piece.expect("the run is given away with the last copy");
            let header = TrunkHeader { hop_limit, ingress, egress: copy.egress, session };
            if ways.links.push(now, copy.to, &header, piece) {
                self.hops.forwarded(bytes);
            } else {
                self.hops.drop(class, HopDrop::NoTrunk, frames);
            }
        }
    }

    /// Hands a run from another node to the session's endpoints here.
    fn deliver_arrived(&self, now: Timestamp, session: SessionId, run: Run) {
        let (class, frames, bytes) = (run.class(), u64::from(run.frames()), run.bytes().len() as u64);
        let Some(open) = self.views.get(session) else {
            // A membership that the sender's node still holds: the last endpoint has just left.
            return self.counters.dropped(class, DropReason::Unreachable, frames);
        };
        let Some(arrived) = Forward::arrived(run) else {
            return self.hops.drop(class, HopDrop::Malformed, frames);
        };
        let push = |handle: &Handle, run| handle.push(now, run);
        match fanout::deliver_arrived(&open.view.load(), arrived, push) {
            Ok(copies) => self.hops.forwarded(bytes * copies as u64),
            Err(reason) => {
                open.traffic.dropped(class, frames);
                self.counters.dropped(class, reason, frames);
            }
        }
    }
}

impl Arrivals for Gateway {
    fn packet(&self, from: NodeNumber, header: TrunkHeader, mut run: Run) {
        let Some(ways) = self.ways.get() else { return };
        let now = self.clock.now().mono;
        let copies = forward(&ways.snapshot.load(), Some(from), &header);
        if header.egress.nodes().len() > 1 {
            run.set_shared();
        }
        if copies.local {
            if copies.copies.is_empty() && copies.dropped.is_empty() {
                return self.deliver_arrived(now, header.session, run);
            }
            self.deliver_arrived(now, header.session, run.clone());
        }
        self.push_on(ways, now, &header, copies, run);
    }
}
