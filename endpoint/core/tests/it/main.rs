//! Endpoints joined through a relay in memory, over the null layer and over MPSL: what a session does as a whole.

#![allow(clippy::unwrap_used, reason = "the helpers of tests")]

mod files;
mod mesh;
mod relay;
mod session;
mod world;
