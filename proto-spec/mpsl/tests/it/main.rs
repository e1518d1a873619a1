//! Tests of the whole crate through its public API; one binary, a module for each subject.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod churn;
mod common;
mod groups;
mod handshake;
mod pairwise;
mod primitives;
mod world;
