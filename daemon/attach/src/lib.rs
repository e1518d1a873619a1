//! The node's side of an attachment, sans-IO: admission, lobby, credit, class queues, membership of this node.
//!
//! The core never touches a socket, a clock or randomness; it gets `(now, input)` and gives outputs, so the daemon
//! and the simulator run the very same code. It never looks inside a packet, and it never blocks: the only locks are
//! leaf locks around token buckets that several attachments share.
//!
//! ```text
//!  bytes ──► Attachment ──Output::Verify──► verify::check ──► handle_verdict
//!               │ ├─────────Output::Join──► Registry::join ──► handle_joined
//!               │ └──────Output::Forward──► fanout::deliver ──► ClassQueues of each receiver ──► bytes
//!               │                                      └───────► the other nodes that get it ◄──► mesh
//!               └── Ledger: what of the sender's bytes is still queued anywhere ──► credit frames
//! ```
//!
//! Driving order: one input, then [`Attachment::poll_output`] until `None`, then [`Attachment::deadline`].

pub mod address;
pub mod attachment;
pub mod bucket;
pub mod config;
pub mod counters;
pub mod fanout;
pub mod ledger;
pub mod queue;
pub mod registry;
pub mod run;
pub mod verify;

pub use address::AddressLimiter;
pub use attachment::{Attachment, Output};
pub use bucket::{SharedBucket, TokenBucket};
pub use config::{ClassLimits, Limits};
pub use counters::{ClassCount, Counters, DropReason, Traffic};
pub use ledger::{Ledger, NodeMemory};
pub use queue::{ClassQueues, Push};
pub use registry::{
    AttachmentId, Change, JoinRequest, Joined, Notice, Registry, Remote, RemoteMember, RoomView, SharedView,
};
pub use run::{Forward, Run};
