//! The protocol of Sealcast as bytes and types: nothing here does IO, reads a clock or decides policy.
//!
//! `spec/` beside this crate holds the normative clauses; ids in square brackets (`[FRM-3]`) name them. Every
//! decoder refuses by length before it allocates and never panics on any input.

pub mod alpn;
pub mod app;
pub mod channel;
pub mod checkpoint;
pub mod coding;
pub mod egress;
pub mod error;
pub mod export;
pub mod frame;
pub mod id;
pub mod invite;
pub mod lsa;
pub mod membership;
pub mod mesh;
pub mod mpsl;
pub mod packet;
pub mod probe;
pub mod revocation;
pub mod ticket;
pub mod time;
pub mod tombstone;
pub mod trunk;

pub use coding::{DecodeError, Reader, Wire};
pub use error::Refusal;
pub use id::{
    AttachSeq, EpochId, NodeNumber, SenderNumber, SessionId, SessionNumber, StreamId, TrafficClass,
};
pub use time::{Now, Timestamp, WallTime};
