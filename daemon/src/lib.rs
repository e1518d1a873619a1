//! relayd: a relay node with gateway and broker embedded.
//!
//! This crate is the IO shell: sockets, clocks, files and randomness live here; decisions are made by the sans-IO
//! crates beneath it. It never links the end-to-end layer, so it cannot read what it relays.

pub mod app;
pub mod clock;
pub mod config;
pub mod dev;
pub mod gateway;
pub mod health;
pub mod http;
pub mod listener;
pub mod logging;
pub mod material;
pub mod metrics;
pub mod overlay;
pub mod revocations;
pub mod rpc;
pub mod state;
pub mod store;
pub mod tls;
pub mod trunk;
