//! The member's lease to seal: heartbeats out, answers in \[GRP-8\] \[GRP-9\]. Never seals or sends anything itself.

use std::collections::VecDeque;
use std::time::Duration;

use proto_spec::mpsl::epoch::{Heartbeat, HeartbeatAnswer};
use proto_spec::{EpochId, Timestamp};
use rand_core::Rng;

use super::PacketError;

/// A member's heartbeats.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Without an answer for this long a member seals nothing.
pub const SILENCE: Duration = Duration::from_secs(30);
/// Without a heartbeat for this long a member is removed.
pub const ABSENCE: Duration = Duration::from_secs(600);
/// Open heartbeats that an answer may still belong to: those of one silence and one more for each of a few installs.
const OPEN_HEARTBEATS_MAX: usize = 16;

/// How long this member may seal, and which heartbeats are still to be answered.
#[derive(Debug)]
pub(crate) struct Lease {
    open: VecDeque<([u8; 16], Timestamp)>,
    next_at: Timestamp,
    until: Option<Timestamp>,
}

impl Lease {
    pub(crate) const fn new(now: Timestamp) -> Self {
        Lease { open: VecDeque::new(), next_at: now, until: None }
    }

    /// Whether the leader's last answer still stands.
    pub(crate) fn holds(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// A heartbeat, if one is due.
    pub(crate) fn beat(
        &mut self,
        now: Timestamp,
        held: Option<EpochId>,
        rng: &mut impl Rng,
    ) -> Option<Heartbeat> {
        if now < self.next_at {
            return None;
        }
        self.next_at = now + HEARTBEAT_INTERVAL;
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        self.open.retain(|(_, sent)| now.since(*sent) < SILENCE);
        if self.open.len() == OPEN_HEARTBEATS_MAX {
            self.open.pop_front();
        }
        self.open.push_back((nonce, now));
        Some(Heartbeat { nonce, held })
    }

    /// The next heartbeat is due at once: the leader learns without delay what has been installed.
    pub(crate) const fn hurry(&mut self, now: Timestamp) {
        self.next_at = now;
    }

    /// Takes an answer. The lease runs from when the heartbeat was **sent**: an answer that was held back on its way
    /// extends nothing. An answer that names another epoch than `held` shows that one of us is behind and extends
    /// nothing either.
    pub(crate) fn answered(
        &mut self,
        answer: &HeartbeatAnswer,
        held: Option<(EpochId, [u8; 32])>,
    ) -> Result<(), PacketError> {
        let position = self.open.iter().position(|(nonce, _)| *nonce == answer.nonce);
        let (_, sent) =
            position.and_then(|position| self.open.remove(position)).ok_or(PacketError::StaleAnswer)?;
        if let Some((epoch, hash)) = held.filter(|(epoch, _)| *epoch == answer.epoch) {
            if hash != answer.roster_hash {
                return Err(PacketError::Roster(super::RosterError::Split));
            }
            debug_assert_eq!(epoch, answer.epoch);
            self.until = self.until.max(Some(sent + SILENCE));
        }
        Ok(())
    }

    /// When the next heartbeat is due or the lease ends.
    pub(crate) fn deadline(&self, now: Timestamp) -> Timestamp {
        match self.until {
            Some(until) if now < until => until.min(self.next_at),
            _ => self.next_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use proto_spec::SenderNumber;
    use rand_core::SeedableRng;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(Duration::from_secs(seconds))
    }

    /// \[GRP-9\] Answers held back or replayed by the relay keep nobody sealing.
    #[test]
    fn a_lease_runs_from_when_the_heartbeat_was_sent() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let epoch = EpochId { term: 0, leader: SenderNumber::new(1).unwrap(), count: 1 };
        let held = Some((epoch, [7; 32]));
        let mut lease = Lease::new(at(0));
        assert!(!lease.holds(at(0)), "no answer yet");
        let first = lease.beat(at(0), None, &mut rng).unwrap();
        assert_eq!(lease.beat(at(4), None, &mut rng), None);
        let second = lease.beat(at(5), None, &mut rng).unwrap();
        let answer =
            |heartbeat: &Heartbeat| HeartbeatAnswer { nonce: heartbeat.nonce, epoch, roster_hash: [7; 32] };

        lease.answered(&answer(&first), held).unwrap();
        assert!(lease.holds(at(29)));
        assert!(!lease.holds(at(30)));
        assert_eq!(lease.answered(&answer(&first), held), Err(PacketError::StaleAnswer), "replayed");
        assert!(!lease.holds(at(30)));

        let behind = HeartbeatAnswer { epoch: EpochId { count: 2, ..epoch }, ..answer(&second) };
        lease.answered(&behind, held).unwrap();
        assert!(!lease.holds(at(30)), "an answer for an epoch that we do not hold");

        let third = lease.beat(at(10), None, &mut rng).unwrap();
        let split = HeartbeatAnswer { roster_hash: [8; 32], ..answer(&third) };
        assert_eq!(lease.answered(&split, held), Err(PacketError::Roster(super::super::RosterError::Split)));
        assert!(!lease.holds(at(30)));

        let late = lease.beat(at(40), None, &mut rng).unwrap();
        lease.answered(&answer(&late), held).unwrap();
        assert!(lease.holds(at(69)));
        assert!(!lease.holds(at(70)));
    }
}
