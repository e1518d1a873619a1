//! relayd as a process: what operators, endpoints and accidents do to it.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

mod accounts;
mod alone;
mod check;
mod durability;
mod lifecycle;
mod listener;
mod mesh;
mod support;
