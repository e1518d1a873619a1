//! The lab: a scenario with the programs themselves, on loopback or in network namespaces, and lines between them that
//! can be long, thin, silent and broken. Owns processes, keys, lines, faults and figures. It never looks into a program:
//! what it knows, it was told by its output, its health, its administrators' calls, or the kernel.
//!
//! ```text
//!  scenario --> play --> mesh   : relayd run (a process each) --.
//!                 |----> people : sealcast-driver, JSON lines --+--> proxy: every connection, weather between any two
//!                 |----> measure: who sent what when, and who got it
//!                 '----> report : table, JSON, exit code
//! ```
//!
//! [`ground`], [`proxy`], [`mesh`] and [`people`] are of use to other chores too: they know no scenario.

// Real programs run in real time.
#![allow(clippy::disallowed_methods)]

mod cli;
mod config;
mod converge;
pub mod ground;
mod measure;
pub mod mesh;
pub mod people;
mod play;
pub mod programs;
pub mod proxy;
mod report;
mod soak;
mod trial;

pub use cli::{Arguments, run};
pub use config::NodeSpec;
pub use report::Verdict;
pub use trial::{Trial, converge_limit};
