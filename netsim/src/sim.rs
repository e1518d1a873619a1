//! The simulated world: time, network, machines with their shells, and the cores that run on them.
//!
//! ```text
//!  world    event queue, time, trace, violations           plan     what a world is made of
//!  host     a machine and its process                      network  ways, silence, loss
//!  trunks   connections between nodes, their death         shell    carries out a node's outputs
//!  packets  units of data from node to node                bug      planted faults that prove the checkers
//!  service  a node's queue, if its work takes time
//!                                                          profile  how much is real
//! ```
//! Everything is drawn from one seed; equal seeds give equal traces. The world looks into a core only through its public
//! face.

mod authority;
mod bug;
mod flow;
mod host;
mod network;
mod packets;
mod plan;
mod profile;
mod queue;
mod random;
mod service;
mod shell;
mod trace;
mod trunks;
mod world;

pub use authority::{Authority, signer};
pub use bug::Bug;
pub use host::{Host, Recording};
pub(crate) use host::{address, number_of};
pub(crate) use network::Lane;
pub use network::{Network, Pair, pair};
pub use packets::{PacketTrace, Unit};
pub use plan::{NodeSpec, Plan};
pub use profile::Profile;
pub(crate) use queue::EventQueue;
pub use random::Random;
pub use service::Service;
pub use trace::Trace;
pub(crate) use trace::fold;
pub use trunks::{DETECTION, Trunk};
pub(crate) use world::{Event, HeardLoad, WALL_START};
pub use world::{World, node};
