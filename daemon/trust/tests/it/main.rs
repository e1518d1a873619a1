//! The checks of this crate against everything that must be refused.

#![allow(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]

mod certificates;
mod mesh;
mod revocations;
mod signatures;
mod tickets;
