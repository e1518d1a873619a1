//! relayd as a process: what operators, endpoints and accidents do to it.

mod accounts;
mod check;
mod durability;
mod lifecycle;
mod listener;
mod support;
