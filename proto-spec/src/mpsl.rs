//! MPSL's messages as bytes. Nothing here knows a key: what is sealed is an opaque field.

pub mod epoch;
pub mod handshake;
pub mod pairwise;
pub mod roster;

pub use crate::ticket::Role;

/// Version of the handshake and of everything that follows from it \[HSK-2\].
pub const VERSION: u8 = 1;

/// Longest display name in bytes of UTF-8 \[HSK-6\]; the roster repeats it.
pub const DISPLAY_NAME_MAX: usize = roster::MEMBER_NAME_LENGTH_MAX;
