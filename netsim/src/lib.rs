//! The simulator of the mesh: the product's own cores in a deterministic world, driven by scenario files and by seeds.
//!
//! Owns time, the network, faults, the checkers and the scenario format. It never holds logic of the product: nodes,
//! attachments, endpoints and placement are the very crates that `relayd` and `sealcast` run.
//!
//! ```text
//!  scenario ──► sim: event queue, network, shells ──► cores (mesh, attach, placement, endpoint-core)
//!  seeds ─────►  │                                      │
//!                └──────────────► check ◄───────────────┘   what must hold, each naming seed, time and fault
//!
//!  arrivals ──► balance: endpoints as flows, policies side by side ──► placement, and what it is compared with
//! ```

pub mod balance;
pub mod check;
pub mod command;
pub mod histogram;
pub mod html;
pub mod import;
pub mod journal;
pub mod lab;
pub mod memory;
pub mod people;
pub mod play;
pub mod record;
pub mod scenario;
pub mod shrink;
pub mod sim;
pub mod soak;
pub mod state;
