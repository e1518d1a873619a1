//! The way to a node: connecting, backing off, being attached, losing it again \[SES-12\].
//!
//! ```text
//! down --(pause over: Connect)--> connecting --(greeted)--> up --(lost)--> down
//!   ^------------(failed)-------------/
//! ```
//! Owns the count of attachments and the pauses between attempts; what travels is the session's.

use std::time::Duration;

use proto_spec::{AttachSeq, Now, Timestamp};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use crate::attach::AttachClient;
use crate::config::{BACK_OFF_MAX, BACK_OFF_MIN, FIRST_CONNECT_MAX, LASTING_MIN};

pub(super) struct Link {
    state: State,
    seq: u64,
    failures: u32,
    /// Since when there is no attachment that the node accepted.
    without_since: Option<Timestamp>,
    /// Since when the attachment that is up is accepted.
    accepted_at: Option<Timestamp>,
    /// Whether it came back at once to an attachment that did not last either.
    returned: bool,
    attached_once: bool,
    give_up_after: Duration,
    /// Addresses that a node named, for the next attempt.
    preferred: Vec<String>,
}

enum State {
    Down { retry_at: Timestamp },
    Connecting,
    Up(Box<AttachClient>),
}

impl Link {
    /// Wants to connect at once; gives up after so long without an attachment.
    pub(super) fn new(now: Now, preferred: Vec<String>, give_up_after: Duration) -> Link {
        Link {
            state: State::Down { retry_at: now.mono },
            seq: 0,
            failures: 0,
            without_since: Some(now.mono),
            accepted_at: None,
            returned: false,
            attached_once: false,
            give_up_after,
            preferred,
        }
    }

    pub(super) fn client(&mut self) -> Option<&mut AttachClient> {
        match &mut self.state {
            State::Up(client) => Some(client),
            _ => None,
        }
    }

    pub(super) fn attached(&self) -> Option<&AttachClient> {
        match &self.state {
            State::Up(client) => Some(client),
            _ => None,
        }
    }

    pub(super) const fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting)
    }

    /// Whether the node has accepted the attachment that is up.
    pub(super) const fn is_accepted(&self) -> bool {
        self.without_since.is_none()
    }

    /// The addresses to try first, if it is time to connect.
    pub(super) fn connect_due(&mut self, now: Now) -> Option<Vec<String>> {
        match self.state {
            State::Down { retry_at } if retry_at <= now.mono => {
                self.state = State::Connecting;
                Some(std::mem::take(&mut self.preferred))
            }
            _ => None,
        }
    }

    /// The number of the attachment that begins: one more than any before, whatever became of them \[SES-12\].
    pub(super) fn next_seq(&mut self) -> AttachSeq {
        self.seq += 1;
        AttachSeq(self.seq)
    }

    pub(super) fn up(&mut self, client: AttachClient) {
        self.state = State::Up(Box::new(client));
    }

    /// The node accepted the ticket; returns how long there was no attachment, `None` if it was accepted already or for
    /// the first time.
    pub(super) fn accepted(&mut self, now: Now) -> Option<Duration> {
        let since = self.without_since.take();
        self.accepted_at.get_or_insert(now.mono);
        let again = std::mem::replace(&mut self.attached_once, true);
        since.filter(|_| again).map(|since| now.mono.since(since))
    }

    /// The connection or an attempt is gone; `pause_min` is what the node asked for. Whether an accepted attachment
    /// was lost by it.
    pub(super) fn down(&mut self, now: Now, rng: &mut ChaCha20Rng, pause_min: Duration) -> bool {
        let was_accepted = self.without_since.is_none();
        self.without_since.get_or_insert(now.mono);
        if self.accepted_at.take().is_some_and(|at| now.mono.since(at) >= LASTING_MIN) {
            (self.failures, self.returned) = (0, false);
        }
        // Once: a node that accepts and drops each time must not be stormed.
        let at_once = was_accepted && pause_min.is_zero() && !std::mem::replace(&mut self.returned, true);
        let pause = if at_once { Duration::ZERO } else { self.back_off(rng) };
        self.state = State::Down { retry_at: now.mono + pause.max(pause_min) };
        was_accepted
    }

    /// The node named others: try them at once, once.
    pub(super) fn elsewhere(&mut self, addresses: Vec<String>) {
        self.preferred = addresses;
    }

    /// Whether to stop trying \[SES-13\].
    pub(super) fn is_hopeless(&self, now: Now) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now.mono)
    }

    /// `trying`: whether another attempt is wanted at all; nobody waits for one while the session takes leave.
    pub(super) fn poll_timeout(&self, trying: bool) -> Option<Timestamp> {
        let own = match &self.state {
            State::Down { retry_at } => Some(*retry_at).filter(|_| trying),
            State::Connecting => None,
            State::Up(client) => client.poll_timeout(),
        };
        own.into_iter().chain(self.deadline().filter(|_| trying)).min()
    }

    fn deadline(&self) -> Option<Timestamp> {
        let limit =
            if self.attached_once { self.give_up_after } else { FIRST_CONNECT_MAX.min(self.give_up_after) };
        self.without_since.map(|since| since + limit)
    }

    /// Doubles with each failure; a random half of it is waited, so that a node's endpoints do not all return at once.
    fn back_off(&mut self, rng: &mut ChaCha20Rng) -> Duration {
        let full = BACK_OFF_MIN.saturating_mul(1 << self.failures.min(8)).min(BACK_OFF_MAX);
        self.failures = self.failures.saturating_add(1);
        let half_us = (full.as_micros() / 2) as u64;
        Duration::from_micros(half_us + rng.next_u64() % (half_us + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto_spec::WallTime;
    use rand_core::SeedableRng;

    fn at(ms: u64) -> Now {
        Now { mono: Timestamp(Duration::from_millis(ms)), wall: WallTime(ms) }
    }

    /// \[SES-12\]: pauses double, stay random within bounds, and end after an accepted attachment.
    #[test]
    fn pauses_grow_to_their_bound_and_begin_anew() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut link = Link::new(at(0), vec![], Duration::from_secs(600));
        assert_eq!(link.accepted(at(0)), None);
        let mut now = 0;
        assert!(link.down(at(now), &mut rng, Duration::ZERO), "an accepted attachment was lost");
        assert!(link.connect_due(at(now)).is_some(), "the first attempt comes at once");
        let mut before = Duration::ZERO;
        for attempt in 0..12 {
            assert!(!link.down(at(now), &mut rng, Duration::ZERO));
            let State::Down { retry_at } = link.state else { panic!("not down") };
            let pause = retry_at.since(at(now).mono);
            let full = BACK_OFF_MIN.saturating_mul(1 << attempt.min(8)).min(BACK_OFF_MAX);
            assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
            assert!(pause * 2 >= before);
            before = pause;
            now += pause.as_millis() as u64 + 1;
            assert!(link.connect_due(at(now)).is_some());
        }
    }

    /// \[SES-12\]: a node that accepts and drops each time is asked ever more seldom; one that lasted, at once.
    #[test]
    fn an_attachment_that_does_not_last_counts_as_a_failure() {
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let mut link = Link::new(at(0), vec![], Duration::from_secs(600));
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..10 {
            link.accepted(at(now));
            link.down(at(now), &mut rng, Duration::ZERO);
            let State::Down { retry_at } = link.state else { panic!("not down") };
            pauses.push(retry_at.since(at(now).mono));
            now = retry_at.0.as_millis() as u64 + 1;
        }
        assert_eq!(pauses[0], Duration::ZERO);
        assert!(pauses[1] >= BACK_OFF_MIN / 2 && pauses[9] >= BACK_OFF_MAX / 2, "{pauses:?}");
        link.accepted(at(now));
        now += LASTING_MIN.as_millis() as u64;
        link.down(at(now), &mut rng, Duration::ZERO);
        assert!(link.connect_due(at(now)).is_some());
    }

    /// \[SES-12\]: sequences only grow, and what a node asks for is waited.
    #[test]
    fn a_nodes_pause_is_kept_and_sequences_grow() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut link = Link::new(at(0), vec![], Duration::from_secs(600));
        assert_eq!((link.next_seq(), link.next_seq()), (AttachSeq(1), AttachSeq(2)));
        link.down(at(0), &mut rng, Duration::from_secs(20));
        assert!(link.connect_due(at(19_999)).is_none());
        assert!(link.connect_due(at(20_000)).is_some());
    }

    /// \[SES-13\]: the first attachment is given up sooner than a lost one.
    #[test]
    fn it_gives_up_in_the_end() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let mut link = Link::new(at(0), vec![], Duration::from_secs(600));
        let first = FIRST_CONNECT_MAX.as_millis() as u64;
        assert!(!link.is_hopeless(at(first - 1)) && link.is_hopeless(at(first)));
        link.accepted(at(0));
        assert!(!link.is_hopeless(at(first)));
        link.down(at(0), &mut rng, Duration::ZERO);
        assert!(!link.is_hopeless(at(599_999)) && link.is_hopeless(at(600_000)));
    }
}
