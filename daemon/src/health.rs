//! Whether the node lives and takes work, for `/readyz`, systemd and the signal handler. One value, no history.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where a node is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// Ports are bound, nothing is served.
    Starting = 0,
    /// Serves.
    Ready = 1,
    /// Admits nothing new and hands over.
    Draining = 2,
    /// Cannot make anything durable.
    StoreFailed = 3,
}

impl State {
    /// As shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::StoreFailed => "store failed",
        }
    }
}

/// The node's state, shared.
#[derive(Debug, Default)]
pub struct Health(AtomicU8);

impl Health {
    /// Where the node is.
    pub fn state(&self) -> State {
        match self.0.load(Ordering::Acquire) {
            1 => State::Ready,
            2 => State::Draining,
            3 => State::StoreFailed,
            _ => State::Starting,
        }
    }

    /// Moves on; a node that drains stays draining.
    pub fn set(&self, state: State) {
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
            (now != State::Draining as u8).then_some(state as u8)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draining_is_final() {
        let health = Health::default();
        assert_eq!(health.state(), State::Starting);
        health.set(State::Ready);
        health.set(State::StoreFailed);
        health.set(State::Ready);
        assert_eq!(health.state(), State::Ready);
        health.set(State::Draining);
        health.set(State::Ready);
        assert_eq!(health.state(), State::Draining);
    }
}
