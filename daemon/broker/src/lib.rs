//! The broker as decisions: accounts, sessions, numbers, tickets, roles, audit.
//!
//! `decide(call, request, reads, now, rng)` looks at what was read and answers what to read next, what to commit, or
//! what to say. Owns every rule; never touches a store, a clock, a socket or a password hash: the shell reads, commits
//! conditionally, runs Argon2 and tries again on a conflict.
//!
//! ```text
//!            request                      Need(reads)
//!  gRPC ───────────────▶ Broker::decide ──────────────▶ store.get / store.range ──┐
//!                          ▲      │                                                │
//!                          └──────┼────────────────────────────────────────────────┘
//!                                 │ Commit(compare, ops)           conflict: read anew
//!                                 ▼
//!                           store.commit ── durable ──▶ effects (tombstones), reply
//! ```

pub mod call;
pub mod config;
mod decide;
mod denial;
pub mod email;
pub mod keys;
pub mod kv;
pub mod limiter;
pub mod password;
pub mod record;
pub mod request;
pub mod role;

pub use call::{AdminCaller, Call, Credential};
pub use decide::{Broker, Commit, Decision, Effect, Seed};
pub use denial::{Denial, DenialKind};
pub use kv::{Compare, Key, Op, Range, Read, ReadSet};
pub use limiter::{LimitKind, Limiter};
pub use request::{Reply, Request};
pub use role::{Method, Requirement};
