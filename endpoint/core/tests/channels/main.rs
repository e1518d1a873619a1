//! Channels and files over a simulated network that loses, repeats, delays and reorders, with members that join, leave,
//! lose their attachments and change keys.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod files;
mod net;
mod reliable;
mod seal;
