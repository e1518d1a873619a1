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
    /// Drains for good: the node's own certificate is revoked.
    Revoked = 4,
}

impl State {
    /// As shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::StoreFailed => "store failed",
            Self::Revoked => "draining: certificate revoked",
        }
    }

    /// Whether the node is on its way out of service.
    pub const fn drains(self) -> bool {
        matches!(self, Self::Draining | Self::Revoked)
    }
}

/// On the way out for good: shown as draining, and never left again.
const STOPPING: u8 = 5;

/// The node's state, shared.
#[derive(Debug, Default)]
pub struct Health(AtomicU8);

impl Health {
    /// Where the node is.
    pub fn state(&self) -> State {
        match self.0.load(Ordering::Acquire) {
            1 => State::Ready,
            2 | STOPPING => State::Draining,
            3 => State::StoreFailed,
            4 => State::Revoked,
            _ => State::Starting,
        }
    }

    /// Moves on; a node that drains stays draining, and learns at most that it is for good.
    pub fn set(&self, state: State) {
        self.update(|now| {
            let stays = now == STOPPING || now == State::Revoked as u8;
            let drains = now == State::Draining as u8 && state != State::Revoked;
            (!stays && !drains).then_some(state as u8)
        });
    }

    /// Takes work again after a drain that was called off; not if the process is about to end.
    pub fn undrain(&self) {
        self.update(|now| (now == State::Draining as u8).then_some(State::Ready as u8));
    }

    /// Drains for good: the process is about to end.
    pub fn stop(&self) {
        self.0.store(STOPPING, Ordering::Release);
    }

    fn update(&self, next: impl FnMut(u8) -> Option<u8>) {
        // Where there is no next state, the present one stays.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draining_is_left_by_undrain_alone_and_stopping_never() {
        let health = Health::default();
        assert_eq!(health.state(), State::Starting);
        health.set(State::Ready);
        health.set(State::StoreFailed);
        health.set(State::Ready);
        assert_eq!(health.state(), State::Ready);
        health.set(State::Draining);
        health.set(State::Ready);
        assert_eq!(health.state(), State::Draining);
        health.undrain();
        assert_eq!(health.state(), State::Ready);
        health.undrain();
        health.set(State::Draining);
        health.set(State::Revoked);
        health.set(State::Draining);
        health.undrain();
        health.set(State::Ready);
        assert_eq!(health.state(), State::Revoked);
        health.stop();
        health.undrain();
        health.set(State::Ready);
        assert_eq!(health.state(), State::Draining);
    }
}
