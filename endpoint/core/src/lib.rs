//! The endpoint's logic, sans-IO: attachment, session, channels, files. The same code runs in the programs and in the
//! simulator; it never touches a socket, a file or a clock.

pub mod attach;
pub mod channel;
pub mod command;
pub mod config;
pub mod event;
pub mod files;
pub mod mpsl;
pub mod null;
pub mod security;
pub mod session;

pub use sealcast_mpsl::{JoinCode, Suite};
