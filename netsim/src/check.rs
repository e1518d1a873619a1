//! What must hold, one file for each property; each violation names seed, time and what was found.
//!
//! ```text
//!  1 copies       no unit visits a node twice once all agree, and never more than its hop limit
//!  2 members      only members get a session's packets; no node without a member, once all agree
//!  3 convergence  all agree within a limit that is computed from the mesh
//!  4 delivery     nothing reliable is lost, doubled or out of order; long absence is told
//!  5 moves        when a node dies, only its own endpoints move
//!  6 bounds       every bound holds at every instant
//!  7 sessions     no session without an owner; no number is given twice
//!  8 lockout      who guesses passwords, words or numbers is locked out
//!  9 tickets      nobody is admitted without a valid ticket of its own
//! 10 lobby        a guest hears and reaches its leader alone
//! 11 nonces       no key and nonce seal two records
//! 12 removed      a removed member reads nothing more, and is heard by nobody who knows
//! 13 clocks       a clock that jumped is told of by name
//! ```
//! 7 and 8 look at the broker's store and answers, 9 and 10 at what gateways do, 11 at frames, 12 at what users see. 11 is
//! looked at in the full profile alone, as is how often one network may call.
//! Checkers look at the world from outside and never change it.

pub(crate) mod bounds;
pub(crate) mod clocks;
pub(crate) mod convergence;
pub(crate) mod copies;
pub(crate) mod delivery;
pub(crate) mod lobby;
pub(crate) mod lockout;
pub(crate) mod members;
pub(crate) mod moves;
pub(crate) mod nonces;
pub(crate) mod removed;
pub(crate) mod sessions;
pub(crate) mod tickets;

use std::collections::BTreeSet;
use std::fmt;

use proto_spec::Timestamp;

pub use delivery::{Delivery, Gap};

/// A property of the mesh that must hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Property {
    /// Copies form a tree.
    CopyTree,
    /// Only members get packets.
    Members,
    /// All agree in time.
    Convergence,
    /// Nothing reliable is lost, doubled or out of order.
    Delivery,
    /// Only the dead node's endpoints move.
    Moves,
    /// Every bound holds.
    Bounds,
    /// Sessions have owners, numbers one endpoint each.
    Sessions,
    /// Who guesses is locked out.
    Lockout,
    /// No admission without a ticket.
    Tickets,
    /// The lobby is the leader's alone.
    Lobby,
    /// No nonce twice under a key.
    Nonces,
    /// Who was removed is out.
    Removed,
    /// An odd clock is called odd, and no other.
    Clocks,
}

impl Property {
    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Property::CopyTree => "copy tree",
            Property::Members => "members only",
            Property::Convergence => "convergence",
            Property::Delivery => "delivery",
            Property::Moves => "moves",
            Property::Bounds => "bounds",
            Property::Sessions => "sessions",
            Property::Lockout => "lock-out",
            Property::Tickets => "tickets",
            Property::Lobby => "lobby",
            Property::Nonces => "nonces",
            Property::Removed => "removed",
            Property::Clocks => "clocks",
        }
    }

    /// Whether it is about something good that has to happen, not about something bad that must not.
    pub const fn is_liveness(self) -> bool {
        matches!(self, Property::Convergence)
    }
}

/// Something that must hold and does not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which property.
    pub property: Property,
    /// The run's seed.
    pub seed: u64,
    /// When, by the run's clock.
    pub at: Timestamp,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { property, seed, at, what } = self;
        let ms = at.0.as_millis();
        write!(f, "{}: seed {seed} at {}.{:03} s: {what}", property.name(), ms / 1_000, ms % 1_000)
    }
}

/// What a scenario lets pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Allow {
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    pub(crate) moved_beyond: u64,
}

/// What the checkers remember.
#[derive(Debug, Default)]
pub struct Checkers {
    /// When any node last published routes.
    pub(crate) routes_changed_at: Timestamp,
    /// The last look at the whole mesh.
    pub(crate) observed: Option<convergence::Observed>,
    /// Since when all agree and nothing has changed, if they do.
    pub(crate) calm_since: Option<Timestamp>,
    pub(crate) allow: Allow,
    /// Folds of everything that a node's shell has signed.
    pub(crate) signed: BTreeSet<u64>,
    pub(crate) sessions: sessions::Sessions,
    pub(crate) lockout: lockout::Lockout,
    pub(crate) tickets: tickets::Tickets,
    pub(crate) nonces: nonces::Nonces,
    pub(crate) removed: removed::Removed,
    /// Lines from each endpoint to each.
    pub delivery: Delivery,
    /// Endpoints that moved although their node stood.
    pub moved_beyond: u64,
    /// Copies that came to a node without a member while memberships were stale; harmless.
    pub stale_copies: u64,
}
