//! The overlay as a whole, in a world of events: many nodes, slow and failing links, crashes, partitions.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod world;

mod convergence;
mod drain;
mod hostile;
mod journal;
mod packets;
mod sessions;
