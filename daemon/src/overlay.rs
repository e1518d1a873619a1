//! The task that owns the mesh's core: feeds it inputs and time, carries out its outputs, publishes what others read.
//!
//! ```text
//!  broker, trunks, admins --Input--> [bounded queue] --> task: Node --Output--> trunks, gateway, broker
//!  gateway --what changed, fetched when its bell rings-->   |
//!                                        snapshot, view  <--'   (ArcSwap: the hot path and administrators read them)
//! ```
//! Signs and verifies for the core; never decides anything.

mod brokers;
mod checks;
mod driver;
mod elsewhere;
mod incarnation;
mod journal;
mod links;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ed25519_dalek::SigningKey;
use proto_spec::lsa::{DrainState, Lsa};
use proto_spec::mesh::{Chain, LoadReport};
use proto_spec::{NodeNumber, SessionId};
use sealcast_mesh::link::LinkStatus;
use sealcast_mesh::{Alarm, Config, Counters, Identity, Input, Snapshot};
use sealcast_trust::MeshTrust;
use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::health::Health;
use crate::revocations::Revocations;

pub use brokers::Brokers;
pub use driver::Driver;
pub use elsewhere::Elsewhere;
pub use incarnation::{IncarnationError, next_incarnation};
pub use links::Links;

/// Inputs that wait for the core: two links' bursts of messages; a trunk that finds it full holds its reading back.
const INPUTS_MAX: usize = 1_024;

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

/// How far the node is on its way out, as the whole of gateway and core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Departure {
    /// The core's word.
    state: DrainState,
    /// Whether the gateway has let everybody go.
    empty: bool,
    /// Whether nobody routes over this node any more, or nobody ever did.
    unneeded: bool,
}

/// What an overlay is made of.
pub struct Parts {
    /// What the operator sets.
    pub config: Config,
    /// Who the node is.
    pub identity: Identity,
    /// The key of the node's certificate.
    pub key: SigningKey,
    /// Counts the node's restarts: [`next_incarnation`].
    pub incarnation: u64,
    /// From the operating system's entropy.
    pub seed: [u8; 32],
    /// The clock of the process.
    pub clock: Clock,
    /// Whose certificates are believed.
    pub trust: Arc<ArcSwap<MeshTrust>>,
    /// Whose tickets are believed.
    pub brokers: Arc<Brokers>,
    /// What the mesh CA has taken back.
    pub revocations: Arc<Revocations>,
    /// The attachments' side.
    pub gateway: Arc<Gateway>,
    /// Where the node is in its life.
    pub health: Arc<Health>,
    /// The chain of this node's broker, to be made known.
    pub broker_chain: Option<Chain>,
    /// The folder of the journal, if one is written.
    pub journal: Option<PathBuf>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("node", &self.identity.node).finish_non_exhaustive()
    }
}

/// A handle to the overlay. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Overlay {
    inputs: mpsc::Sender<Input>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    view: Arc<ArcSwap<MeshView>>,
    departure: watch::Receiver<Departure>,
    gateway: Arc<Gateway>,
}

impl Overlay {
    /// An overlay that knows nobody, and the task that drives it once it is run.
    pub fn prepare(parts: Parts) -> (Overlay, Driver) {
        let (inputs, queue) = mpsc::channel(INPUTS_MAX);
        let gateway = Arc::clone(&parts.gateway);
        let driver = Driver::new(parts, queue);
        let (snapshot, view) = (driver.snapshot(), driver.view());
        let departure = driver.departure();
        (Overlay { inputs, snapshot, view, departure, gateway }, driver)
    }

    /// Where trunks put what happens to links.
    pub fn inputs(&self) -> mpsc::Sender<Input> {
        self.inputs.clone()
    }

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

    /// Waits until a drain is through: everybody has left or was ended, and no other node needs this one.
    pub async fn drained(&self) {
        let over = |now: &Departure| now.state == DrainState::Drained && now.empty && now.unneeded;
        // The task has ended: nothing is left to wait for.
        let _ = self.departure.clone().wait_for(over).await;
    }

    /// The newest routes, for the hot path.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The mesh as this node knows it.
    pub fn view(&self) -> Arc<MeshView> {
        self.view.load_full()
    }

    /// The nodes with active members of a session that this node carries, this one among them if it has some; for
    /// `session show`.
    pub fn nodes_of(&self, session: SessionId) -> Vec<NodeNumber> {
        self.gateway.nodes_of(session, self.snapshot.load().node())
    }
}
