//! Drills: what hostile, forgetful and dismissed people do, in a session of their own, beside whatever else is played.
//! They stand in no file: seeds have them.

use std::time::Duration;

use super::SessionPlan;

/// The drills of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drills {
    /// Their own session.
    pub session: SessionPlan,
    /// What is tried, by time.
    pub steps: Vec<TimedDrill>,
}

/// A drill with its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimedDrill {
    /// When.
    pub at: Duration,
    /// What.
    pub drill: Drill,
}

/// What is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drill {
    /// The creator removes the endpoint in this place.
    Remove(usize),
    /// The creator ends the session.
    End,
    /// Somebody who overheard the digits types so many wrong words, then, whatever came of it, the right ones.
    Guess {
        /// How many.
        wrong: u32,
    },
    /// Somebody looks up so many numbers that mean nothing.
    Scan {
        /// How many.
        lookups: u32,
    },
    /// Somebody types so many wrong passwords for an account, then the right one.
    Login {
        /// How many.
        wrong: u32,
    },
    /// Somebody who has a number and no words attaches.
    Intrude(Intrusion),
}

/// What an intruder attaches with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intrusion {
    /// A guest's ticket that expired a minute ago.
    Expired,
    /// A guest's ticket with another signature.
    Forged,
    /// A guest's ticket of somebody else.
    Stolen,
    /// A guest's ticket, to listen.
    Listens,
    /// A guest's ticket, to speak to everybody.
    Speaks,
}
