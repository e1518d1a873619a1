//! Trunks between nodes of one process on loopback, with certificates as `relayctl pki` makes them.

mod links;
mod pki;
mod refusals;
mod traffic;
mod world;
