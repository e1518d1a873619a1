//! The overlay between nodes: link state, routes, forwarding over many nodes, memberships, drain.
//!
//! Sans-IO: the core never touches a socket, a clock or the system's randomness, never checks a signature itself and
//! never looks inside a packet. It gets `(now, input)` and a seed, and gives outputs, so the daemon and the simulator
//! run the very same code, and a recorded run replays.
//!
//! ```text
//!            Input                                   Output
//!  trunks  ──LinkUp, LinkDown, LinkRtt, Message──►  ──Dial, Send, Close──────────► trunks
//!          ──CalledRevoked──────────────────────►
//!  trust   ──Signed, Verdict────────────────────►   ──Sign, Verify───────────────► trust
//!  gateway ──Attached, Detached─────────────────►   ──Session, Ready, PathHint───► gateway
//!  broker  ──Tombstone──────────────────────────►   ──Tombstone, Load────────────► gateway, broker
//!
//!  neighbors + flood ──► LSDB ──► SPF ──► Snapshot ──► forward()   the hot path: no state of its own
//! ```
//!
//! Driving order: one input, then [`Node::poll_output`] until `None`, then [`Node::poll_timeout`]; [`turn`] does it.

pub mod config;
pub mod counters;
pub mod forward;
pub mod home;
pub mod io;
pub mod journal;
pub mod link;
pub mod node;
pub mod peering;
pub mod spf;

mod bucket;
mod carried;
mod clocks;
mod drain;
mod flood;
mod lsdb;
mod origin;
mod routing;
mod seeded;
mod session;
mod timers;
mod tombstones;
mod unicast;
mod wired;

pub use config::{Config, Identity};
pub use counters::Counters;
pub use forward::{Copies, DropReason, Snapshot, forward};
pub use io::{Alarm, CloseReason, Input, Member, Output, RequestId, SessionView, Signer, ToVerify, Verdict};
pub use node::{Node, Sizes};
pub use wired::Wired;

use proto_spec::{Now, Timestamp};

/// Carries out outputs; the shell and the simulator each have one.
pub trait Perform {
    /// One output, in order.
    fn perform(&mut self, output: Output);
}

/// Feeds one input, hands over every output, and returns when the node wants to be called again.
pub fn turn(node: &mut Node, now: Now, input: Input, io: &mut impl Perform) -> Option<Timestamp> {
    node.handle(now, input);
    while let Some(output) = node.poll_output() {
        io.perform(output);
    }
    node.poll_timeout()
}
