//! The member's role: installs epochs, keeps its lease, talks to the leader alone \[GRP-5\] \[GRP-6\] \[GRP-8\].
//!
//! Never goes back to an older epoch and never takes a roster by anybody but its leader.

use proto_spec::mpsl::epoch::{EpochMessage, HeartbeatAnswer, Notice, PairwiseType};
use proto_spec::{SenderNumber, Timestamp, Wire};
use rand_core::Rng;

use super::epoch::{EpochKeys, commitment};
use super::heartbeat::Lease;
use super::roster::{Expected, HeldRoster, RosterError};
use super::{Identity, Inbound, Installed, Outgoing, PacketError, read_private, seal_private};
use crate::keys::MemberPublicKey;
use crate::pairwise::Pairwise;

/// The state that only a member has.
pub(crate) struct MemberGroup {
    leader: SenderNumber,
    leader_key: MemberPublicKey,
    key: MemberPublicKey,
    pairwise: Pairwise,
    held: Option<HeldRoster>,
    lease: Lease,
}

impl MemberGroup {
    pub(crate) const fn new(
        now: Timestamp,
        pairwise: Pairwise,
        key: MemberPublicKey,
        leader: SenderNumber,
        leader_key: MemberPublicKey,
    ) -> Self {
        MemberGroup { leader, leader_key, key, pairwise, held: None, lease: Lease::new(now) }
    }

    /// Our leader.
    pub(crate) const fn leader(&self) -> SenderNumber {
        self.leader
    }

    /// The newest roster.
    pub(crate) const fn held(&self) -> Option<&HeldRoster> {
        self.held.as_ref()
    }

    /// Whether anything may be sealed.
    pub(crate) fn may_seal(&self, now: Timestamp) -> bool {
        self.lease.holds(now)
    }

    /// Opens a pairwise packet; a new epoch is returned to be installed.
    pub(crate) fn handle(
        &mut self,
        now: Timestamp,
        identity: &Identity,
        from: SenderNumber,
        packet: &[u8],
    ) -> Result<(Inbound, Option<Installed>), PacketError> {
        if from != self.leader {
            return Err(PacketError::Stranger(from));
        }
        let (kind, bytes) = self.pairwise.open(packet)?;
        match PairwiseType::from_u8(kind) {
            Some(PairwiseType::Epoch) => {
                let installed = self.install(identity, &EpochMessage::from_bytes(&bytes)?)?;
                if installed.is_some() {
                    self.lease.hurry(now);
                }
                Ok((Inbound::Nothing, installed))
            }
            Some(PairwiseType::HeartbeatAnswer) => {
                let held = self.held.as_ref().map(|held| (held.roster.epoch, held.hash));
                self.lease.answered(&HeartbeatAnswer::from_bytes(&bytes)?, held)?;
                Ok((Inbound::Nothing, None))
            }
            Some(PairwiseType::Private) => Ok((read_private(&bytes)?, None)),
            Some(PairwiseType::Notice) => match Notice::from_bytes(&bytes)? {
                Notice::Leaving => Err(PacketError::NotForUs(kind)),
                notice => Ok((Inbound::Notice(notice), None)),
            },
            Some(PairwiseType::Heartbeat) | None => Err(PacketError::NotForUs(kind)),
        }
    }

    /// Roster, signature and commitment are checked before anything is kept, and the chain steps last \[GRP-6\].
    fn install(
        &mut self,
        identity: &Identity,
        message: &EpochMessage,
    ) -> Result<Option<Installed>, RosterError> {
        let expected = Expected {
            session: identity.session,
            number: identity.number,
            key: self.key,
            leader: self.leader,
            leader_key: self.leader_key,
            held: self.held.as_ref(),
        };
        let Some(new) = expected.accept(&message.roster, &message.signature)? else { return Ok(None) };
        let chain = self.pairwise.chain();
        let kek = chain.kek_at(message.step, new.roster.epoch, identity.number).ok_or(RosterError::Step)?;
        let secret = kek.unwrap(&message.wrapped).map_err(|_| RosterError::Wrap)?;
        if commitment(&secret) != new.roster.commitment {
            return Err(RosterError::Commitment);
        }
        let keys = EpochKeys::derive(
            identity.suite,
            identity.session,
            &new.roster,
            new.hash,
            &secret,
            identity.number,
        )?;
        let stepped = self.pairwise.chain_mut().advance_past(message.step);
        assert!(stepped, "the key of this step was there a moment ago");
        let (joined, gone) = new.changes(self.held.as_ref());
        self.held = Some(new);
        Ok(Some(Installed { keys, joined, gone }))
    }

    /// A heartbeat, if one is due.
    pub(crate) fn beat(&mut self, now: Timestamp, rng: &mut impl Rng) -> Option<Outgoing> {
        let held = self.held.as_ref().map(|held| held.roster.epoch);
        let heartbeat = self.lease.beat(now, held, rng)?;
        let packet = self.pairwise.seal(PairwiseType::Heartbeat as u8, &heartbeat.to_bytes());
        Some(Outgoing { to: self.leader, packet })
    }

    /// A private message to the leader.
    pub(crate) fn private(&mut self, kind: u8, bytes: &[u8]) -> Outgoing {
        Outgoing { to: self.leader, packet: seal_private(&mut self.pairwise, kind, bytes) }
    }

    /// The word that we leave.
    pub(crate) fn leaving(&mut self) -> Outgoing {
        let packet = self.pairwise.seal(PairwiseType::Notice as u8, &Notice::Leaving.to_bytes());
        Outgoing { to: self.leader, packet }
    }

    /// When the next heartbeat is due or the lease ends.
    pub(crate) fn deadline(&self, now: Timestamp) -> Timestamp {
        self.lease.deadline(now)
    }
}

#[cfg(test)]
mod tests {
    use proto_spec::mpsl::Role;
    use proto_spec::mpsl::roster::{Roster, RosterMember};
    use proto_spec::{EpochId, SessionId};
    use rand_core::SeedableRng;

    use super::super::roster::signed_bytes;
    use super::*;
    use crate::keys::{CHAIN_STEPS_AHEAD_MAX, HandshakeKeys, MemberKey, Prk};
    use crate::pairwise::{PairwiseKeys, Side};
    use crate::suite::Suite;

    const SESSION: SessionId = SessionId([5; 16]);

    fn number(value: u16) -> SenderNumber {
        SenderNumber::new(value).unwrap()
    }

    fn key(of: u16) -> MemberKey {
        MemberKey::generate(&mut rand_chacha::ChaCha20Rng::seed_from_u64(u64::from(of)))
    }

    /// Both ends of one pair.
    fn pairwise(side: Side) -> Pairwise {
        let keys = HandshakeKeys::expand(&Prk::from_bytes(&[1; 32]), Suite::Modern);
        Pairwise::new([2; 32], PairwiseKeys::new(keys).0, side)
    }

    fn identity() -> Identity {
        Identity {
            session: SESSION,
            suite: Suite::Modern,
            number: number(2),
            role: Role::Customer,
            name: String::new(),
        }
    }

    fn member() -> MemberGroup {
        MemberGroup::new(Timestamp::ZERO, pairwise(Side::Member), key(2).public(), number(1), key(1).public())
    }

    /// What the leader, with the chain of its end at `step`, would send.
    fn message(count: u32, step: u32, secret: [u8; 32], committed: [u8; 32]) -> EpochMessage {
        let members = [1, 2].map(|value| RosterMember {
            number: number(value),
            key: key(value).public(),
            role: Role::Provider,
            name: String::new(),
        });
        let roster = Roster {
            epoch: EpochId { term: 0, leader: number(1), count },
            creator: key(1).public(),
            deputies: Vec::new(),
            members: members.to_vec(),
            commitment: commitment(&committed),
        };
        let bytes = roster.to_bytes();
        let mut leader = pairwise(Side::Leader);
        for _ in 0..step {
            leader.chain_mut().advance();
        }
        let wrapped = leader.chain().kek(roster.epoch, number(2)).wrap(&secret);
        EpochMessage { signature: key(1).sign(&signed_bytes(SESSION, &bytes)), roster: bytes, step, wrapped }
    }

    /// \[GRP-6\] \[PWM-3\] A secret that the roster does not commit to, another epoch's KEK, an altered blob, a step
    /// that is gone or too far ahead: refused, and the member is as it was.
    #[test]
    fn a_message_that_fails_changes_nothing() {
        let mut member = member();
        let mut refused = |message: &EpochMessage| match member.install(&identity(), message) {
            Err(error) => error,
            Ok(_) => panic!("installed"),
        };
        assert_eq!(refused(&message(1, 0, [7; 32], [8; 32])), RosterError::Commitment);

        let mut other_epoch = message(1, 0, [7; 32], [7; 32]);
        other_epoch.wrapped = message(2, 0, [7; 32], [7; 32]).wrapped;
        assert_eq!(refused(&other_epoch), RosterError::Wrap);
        let mut other_step = message(1, 0, [7; 32], [7; 32]);
        other_step.step = 1;
        assert_eq!(refused(&other_step), RosterError::Wrap);
        let mut altered = message(1, 0, [7; 32], [7; 32]);
        altered.wrapped[39] ^= 1;
        assert_eq!(refused(&altered), RosterError::Wrap);
        let mut unsigned = message(1, 0, [7; 32], [7; 32]);
        unsigned.signature[3] ^= 1;
        assert_eq!(refused(&unsigned), RosterError::NotByLeader);
        let far = CHAIN_STEPS_AHEAD_MAX + 1;
        assert_eq!(refused(&message(1, far, [7; 32], [7; 32])), RosterError::Step);

        let installed = member.install(&identity(), &message(1, 0, [7; 32], [7; 32])).unwrap().unwrap();
        assert_eq!(installed.joined, [number(1), number(2)]);
        assert_eq!(member.pairwise.chain().step(), 1);
        let gone = member.install(&identity(), &message(2, 0, [7; 32], [7; 32]));
        assert!(matches!(gone, Err(RosterError::Step)), "its key is erased");
        let repeated = member.install(&identity(), &message(1, 0, [7; 32], [7; 32]));
        assert!(matches!(repeated, Ok(None)));
        let ahead = message(2, 1 + CHAIN_STEPS_AHEAD_MAX, [9; 32], [9; 32]);
        assert!(matches!(member.install(&identity(), &ahead), Ok(Some(_))));
    }
}
