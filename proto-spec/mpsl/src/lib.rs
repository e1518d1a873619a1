//! MPSL, the end-to-end layer: handshakes by a spoken code, group keys, sealed records.
//!
//! The crate never opens a socket, reads a clock or draws the system's randomness: it is given `now`, bytes and a
//! random generator, and gives back bytes and events. Relays never link it. Secrets are erased when dropped, as far as
//! memory allows. The normative text is in `proto-spec/spec/mpsl.md` and `mpsl-group.md`.

pub mod code;
pub mod group;
pub mod handshake;
pub mod keys;
pub mod limits;
pub mod pairwise;
pub mod record;
pub mod session;
pub mod suite;
pub mod wrap;

mod kem;
pub mod srp;

pub use code::JoinCode;
pub use keys::{MemberKey, MemberPublicKey};
pub use pairwise::Pairwise;
pub use proto_spec::mpsl::Role;
pub use session::Session;
pub use suite::{PacketKey, Suite};
