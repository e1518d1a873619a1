//! Channels and files over a simulated network that loses, repeats, delays and reorders, with members that join, leave,
//! lose their attachments and change keys.

mod files;
mod net;
mod reliable;
mod seal;
