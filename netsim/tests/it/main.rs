//! The simulator and what must hold in it: committed seeds, shipped scenarios, planted bugs, the command line.
#![allow(clippy::unwrap_used)]

mod bugs;
mod cli;
mod commands;
mod scenarios;
mod seeds;
