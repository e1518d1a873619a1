//! The load generator: many endpoints in one process, on the frame codec, with plain bytes as packets. A relay cannot
//! tell them from sealed ones.
//!
//! Never links an end-to-end key. Tickets are real: login, session, number, look-up and admission over gRPC.

mod flood;
mod link;
mod mesh;
mod pace;
mod process;
mod tickets;

pub(crate) use flood::{Flood, flood, reach};
pub(crate) use link::{Link, Side};
pub(crate) use mesh::{Mesh, provider};
pub(crate) use pace::{Latency, pace};
pub(crate) use process::{Child, Dev};
pub(crate) use tickets::{Desk, Seat};
