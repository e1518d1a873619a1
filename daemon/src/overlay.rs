//! The task that owns the mesh's core: feeds it inputs and time, carries out its outputs, publishes what others read.
//!
//! ```text
//!  gateway, broker, trunks --Input--> [bounded queue] --> task: Node --Output--> trunks, gateway, broker
//!                                                           |
//!                                        snapshot, view  <--'   (ArcSwap: the hot path and administrators read them)
//! ```
//! Signs and verifies for the core; never decides anything.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use proto_spec::lsa::{DrainState, Lsa};
use proto_spec::mesh::LoadReport;
use proto_spec::{NodeNumber, SessionId};
use sealcast_mesh::link::LinkStatus;
use sealcast_mesh::{Alarm, Counters, Input, Snapshot};
use tokio::sync::mpsc;

/// Takes load reports, at nodes with the broker role.
pub trait LoadSink: Send + Sync + 'static {
    /// A node's load by its own word, once a second.
    fn load(&self, from: NodeNumber, report: LoadReport);
}

/// The mesh as this node knows it, for administrators and placement; made anew when it changes, at most twice a second.
#[derive(Clone, Debug)]
pub struct MeshView {
    /// This node.
    pub number: NodeNumber,
    /// Every LSA held, ascending by node; this node's own among them once it is signed.
    pub lsas: Vec<Lsa>,
    /// Nodes within reach, this one among them.
    pub roster: Vec<NodeNumber>,
    /// This node's links.
    pub links: Vec<LinkStatus>,
    /// How far it is on its way out.
    pub drain: DrainState,
    /// What the core counted.
    pub counters: Counters,
    /// The newest alarms with the wall time in milliseconds of each, oldest first.
    pub alarms: Vec<(u64, Alarm)>,
    /// The number of the revocation list in force, 0 for none.
    pub revocations: u64,
}

/// A handle to the overlay. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Overlay {
    inputs: mpsc::Sender<Input>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    view: Arc<ArcSwap<MeshView>>,
}

impl Overlay {
    /// Hands an input to the core, waiting for a place in its queue.
    pub async fn input(&self, input: Input) {
        // The task ends with the node; nobody is left to care then.
        let _ = self.inputs.send(input).await;
    }

    /// Goes out of service within this time; the end shows in [`MeshView::drain`].
    pub async fn drain(&self, within: Duration) {
        self.input(Input::Drain { within }).await;
    }

    /// Stays in service after all.
    pub async fn undrain(&self) {
        self.input(Input::Undrain).await;
    }

    /// The newest routes, for the hot path.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The mesh as this node knows it.
    pub fn view(&self) -> Arc<MeshView> {
        self.view.load_full()
    }

    /// The nodes with active members of a session, this one among them if it has some; for `session show`.
    pub fn nodes_of(&self, _session: SessionId) -> Vec<NodeNumber> {
        Vec::new()
    }
}
