//! One attempt after the other to reach a node, with pauses between them \[SES-12\].

use std::time::Duration;

use proto_spec::Timestamp;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use super::Way;
use crate::config::BACK_OFF_MIN;

/// Redirects that are followed in one attempt \[SES-20\].
const REDIRECTS_MAX: u8 = 1;

/// Attempts for one purpose: an active attachment, or one beside it.
#[derive(Default)]
pub(super) struct Attempt {
    pub(super) state: State,
    failures: u32,
    redirects: u8,
    /// Addresses that a node named, to be tried before all others.
    first: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum State {
    #[default]
    Idle,
    Waiting {
        at: Timestamp,
    },
    Connecting(Way),
}

impl Attempt {
    /// Tries at this time.
    pub(super) const fn wait_until(&mut self, at: Timestamp) {
        self.state = State::Waiting { at };
    }

    /// A fresh attempt after the pause that so many failures cost, at least `pause_min`.
    pub(super) fn back_off(
        &mut self,
        now: Timestamp,
        rng: &mut ChaCha20Rng,
        pause_min: Duration,
        pause_max: Duration,
    ) {
        self.redirects = 0;
        let pause = pause(&mut self.failures, rng, pause_max);
        self.wait_until(now + pause.max(pause_min));
    }

    /// Tries these addresses first, at once.
    pub(super) fn try_first(&mut self, now: Timestamp, addresses: Vec<String>) {
        self.first = addresses;
        self.wait_until(now);
    }

    /// A node named others instead of itself: they are tried at once, the first time in an attempt; whether it was.
    pub(super) fn redirected(&mut self, now: Timestamp, addresses: Vec<String>) -> bool {
        if self.redirects >= REDIRECTS_MAX || addresses.is_empty() {
            return false;
        }
        self.redirects += 1;
        self.try_first(now, addresses);
        true
    }

    /// Begins to connect; the addresses to try before all others.
    pub(super) fn connect(&mut self, way: Way) -> Vec<String> {
        self.state = State::Connecting(way);
        std::mem::take(&mut self.first)
    }

    /// Nothing is tried any more; the next attempt may follow redirects again.
    pub(super) const fn rest(&mut self) {
        self.state = State::Idle;
    }

    /// The attachment that came of it lasted: the next pauses begin anew.
    pub(super) const fn succeeded(&mut self) {
        self.failures = 0;
        self.redirects = 0;
    }

    pub(super) fn is_connecting(&self, way: Way) -> bool {
        self.state == State::Connecting(way)
    }

    pub(super) const fn due_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Waiting { at } => Some(at),
            State::Idle | State::Connecting(_) => None,
        }
    }
}

/// Doubles with each failure; a random half of it is waited, so that a node's endpoints do not all return at once.
fn pause(failures: &mut u32, rng: &mut ChaCha20Rng, max: Duration) -> Duration {
    let full = BACK_OFF_MIN.saturating_mul(1 << (*failures).min(8)).min(max);
    *failures = failures.saturating_add(1);
    let half_us = (full.as_micros() / 2) as u64;
    Duration::from_micros(half_us + rng.next_u64() % (half_us + 1))
}
