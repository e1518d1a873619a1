//! The broker's rules, driven as the shell drives them, over a store in memory.

#![allow(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]

mod accounts;
mod audit;
mod housekeeping;
mod joining;
mod login;
mod placing;
mod roles;
mod world;
