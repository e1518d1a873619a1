//! Whether a roster may follow the one held \[GRP-4\] \[GRP-5\]. Form is proto-spec's; nothing here touches a secret.

use std::cmp::Reverse;

use proto_spec::mpsl::roster::Roster;
use proto_spec::{DecodeError, EpochId, SenderNumber, SessionId, Wire};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::keys::{MemberPublicKey, verify};

const ROSTER_LABEL: &[u8] = b"mpsl roster";

/// Why a roster, or the message it came in, is refused. The culprit is the leader, or whoever posed as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RosterError {
    /// Not a roster that an honest leader makes.
    #[error("roster: {0}")]
    Malformed(#[from] DecodeError),
    /// Not by our leader's member key, or for another session.
    #[error("roster is not signed by the leader")]
    NotByLeader,
    /// The epoch names another leader, or the leader another key.
    #[error("roster of another leader")]
    OtherLeader,
    /// The creator key is not the one that opened the session.
    #[error("roster names another creator key")]
    OtherCreator,
    /// The epoch is older than the one held.
    #[error("roster is older than the one held")]
    Rollback,
    /// Two rosters for one epoch: somebody splits the group.
    #[error("a second roster for the epoch held: the group is being split")]
    Split,
    /// We are not in it, or with another key.
    #[error("roster without this member's number and key")]
    NotInRoster,
    /// A number has changed its key.
    #[error("roster gives number {0} another key")]
    NumberReused(SenderNumber),
    /// A member's key is no Ed25519 key, or one that anybody can sign for.
    #[error("roster: the key of {0} is none")]
    BadKey(SenderNumber),
    /// The message's step is behind the chain or too far ahead.
    #[error("epoch message of a key step that is gone or too far ahead")]
    Step,
    /// The wrapped secret does not open.
    #[error("group secret does not unwrap")]
    Wrap,
    /// The secret is not the one that the roster commits to.
    #[error("group secret is not the one that the roster commits to")]
    Commitment,
}

/// A roster with the hash that stands for it in keys, signatures and heartbeats.
#[derive(Clone, Debug)]
pub(crate) struct HeldRoster {
    pub(crate) roster: Roster,
    pub(crate) hash: [u8; 32],
}

impl HeldRoster {
    pub(crate) fn new(session: SessionId, roster: Roster) -> Self {
        let hash = roster_hash(session, &roster.to_bytes());
        HeldRoster { roster, hash }
    }

    /// Whether `epoch` is newer than the one held, in the order of \[GRP-1\].
    pub(crate) fn is_older_than(&self, epoch: EpochId) -> bool {
        rank(&self.roster, epoch) > rank(&self.roster, self.roster.epoch)
    }

    /// Numbers that are in `self` and not in `before`, and the other way round.
    pub(crate) fn changes(&self, before: Option<&HeldRoster>) -> (Vec<SenderNumber>, Vec<SenderNumber>) {
        let missing = |from: Option<&Roster>, of: Option<&Roster>| {
            let members = from.iter().flat_map(|roster| &roster.members);
            let missing = members.filter(|member| of.is_none_or(|of| of.member(member.number).is_none()));
            missing.map(|member| member.number).collect()
        };
        let (new, old) = (Some(&self.roster), before.map(|before| &before.roster));
        (missing(new, old), missing(old, new))
    }
}

/// What a member knows before it reads a roster.
pub(crate) struct Expected<'a> {
    pub(crate) session: SessionId,
    pub(crate) number: SenderNumber,
    pub(crate) key: MemberPublicKey,
    pub(crate) leader: SenderNumber,
    pub(crate) leader_key: MemberPublicKey,
    pub(crate) held: Option<&'a HeldRoster>,
}

impl Expected<'_> {
    /// The roster, if it may follow the one held. `None` if it is the one held \[GRP-5\].
    pub(crate) fn accept(
        &self,
        bytes: &[u8],
        signature: &[u8; 64],
    ) -> Result<Option<HeldRoster>, RosterError> {
        verify(&self.leader_key, &signed_bytes(self.session, bytes), signature)
            .map_err(|_| RosterError::NotByLeader)?;
        let roster = Roster::from_bytes(bytes)?;
        if roster.epoch.leader != self.leader
            || roster.leader().is_none_or(|leader| leader.key != self.leader_key)
        {
            return Err(RosterError::OtherLeader);
        }
        // Nobody has taken over in term 0, so its leader opened the session.
        if roster.epoch.term == 0 && roster.creator != self.leader_key {
            return Err(RosterError::OtherCreator);
        }
        if roster.member(self.number).is_none_or(|member| member.key != self.key) {
            return Err(RosterError::NotInRoster);
        }
        let new = HeldRoster { hash: roster_hash(self.session, bytes), roster };
        match self.held {
            None => Ok(Some(new)),
            Some(held) if held.hash == new.hash => Ok(None),
            Some(held) => check_successor(held, &new).map(|()| Some(new)),
        }
    }
}

fn check_successor(held: &HeldRoster, new: &HeldRoster) -> Result<(), RosterError> {
    if new.roster.epoch == held.roster.epoch {
        return Err(RosterError::Split);
    }
    if !held.is_older_than(new.roster.epoch) {
        return Err(RosterError::Rollback);
    }
    if new.roster.creator != held.roster.creator {
        return Err(RosterError::OtherCreator);
    }
    let reused = new
        .roster
        .members
        .iter()
        .find(|member| held.roster.member(member.number).is_some_and(|before| before.key != member.key));
    reused.map_or(Ok(()), |member| Err(RosterError::NumberReused(member.number)))
}

/// `"mpsl roster" | session id | roster` \[GRP-4\].
pub(crate) fn signed_bytes(session: SessionId, roster: &[u8]) -> Vec<u8> {
    [ROSTER_LABEL, &session.0, roster].concat()
}

/// SHA-256 of what is signed.
pub(crate) fn roster_hash(session: SessionId, roster: &[u8]) -> [u8; 32] {
    Sha256::digest(signed_bytes(session, roster)).into()
}

/// Higher term; then the earlier place: the creator before the deputies in their order; then higher count \[GRP-1\].
fn rank(roster: &Roster, epoch: EpochId) -> (u16, Reverse<usize>, u32) {
    let creator = roster.member(epoch.leader).is_some_and(|leader| leader.key == roster.creator);
    let place = if creator {
        0
    } else {
        let deputy = roster.deputies.iter().position(|deputy| *deputy == epoch.leader);
        deputy.map_or(usize::MAX, |place| place + 1)
    };
    (epoch.term, Reverse(place), epoch.count)
}

#[cfg(test)]
mod tests {
    use proto_spec::mpsl::Role;
    use proto_spec::mpsl::roster::RosterMember;
    use rand_core::SeedableRng;

    use super::*;
    use crate::keys::MemberKey;

    const SESSION: SessionId = SessionId([5; 16]);

    fn number(value: u16) -> SenderNumber {
        SenderNumber::new(value).unwrap()
    }

    fn keys() -> Vec<MemberKey> {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(3);
        (0..4).map(|_| MemberKey::generate(&mut rng)).collect()
    }

    /// Members 1 (leader), 2, 3.
    fn roster(keys: &[MemberKey], count: u32) -> Roster {
        let member = |value: u16| RosterMember {
            number: number(value),
            key: keys[usize::from(value) - 1].public(),
            role: Role::Provider,
            name: String::new(),
        };
        Roster {
            epoch: EpochId { term: 0, leader: number(1), count },
            creator: keys[0].public(),
            deputies: vec![number(3), number(2)],
            members: vec![member(1), member(2), member(3)],
            commitment: [0; 32],
        }
    }

    fn offer(
        keys: &[MemberKey],
        held: Option<&HeldRoster>,
        new: &Roster,
        signer: &MemberKey,
    ) -> Result<Option<HeldRoster>, RosterError> {
        let expected = Expected {
            session: SESSION,
            number: number(2),
            key: keys[1].public(),
            leader: number(1),
            leader_key: keys[0].public(),
            held,
        };
        let bytes = new.to_bytes();
        expected.accept(&bytes, &signer.sign(&signed_bytes(SESSION, &bytes)))
    }

    /// \[GRP-4\] \[GRP-5\] Roster rollback, a split group, a foreign signature, a number with two keys: each refused.
    #[test]
    fn a_roster_must_follow_the_one_held() {
        let keys = keys();
        let held = offer(&keys, None, &roster(&keys, 5), &keys[0]).unwrap().unwrap();
        let refused = |new: &Roster| offer(&keys, Some(&held), new, &keys[0]).unwrap_err();
        assert!(offer(&keys, Some(&held), &roster(&keys, 5), &keys[0]).unwrap().is_none());
        assert!(offer(&keys, Some(&held), &roster(&keys, 6), &keys[0]).unwrap().is_some());
        assert_eq!(refused(&roster(&keys, 4)), RosterError::Rollback);

        let mut split = roster(&keys, 5);
        split.members.pop();
        split.deputies.remove(0);
        assert_eq!(refused(&split), RosterError::Split);

        let forged = offer(&keys, Some(&held), &roster(&keys, 6), &keys[2]);
        assert_eq!(forged.unwrap_err(), RosterError::NotByLeader);

        let mut other_creator = roster(&keys, 6);
        other_creator.creator = keys[2].public();
        assert_eq!(refused(&other_creator), RosterError::OtherCreator);

        let mut two_endpoints = roster(&keys, 6);
        two_endpoints.members[2].key = keys[3].public();
        assert_eq!(refused(&two_endpoints), RosterError::NumberReused(number(3)));

        let mut without_us = roster(&keys, 6);
        without_us.members[1].key = keys[3].public();
        assert_eq!(refused(&without_us), RosterError::NotInRoster);

        let mut other_leader = roster(&keys, 6);
        other_leader.epoch.leader = number(3);
        assert_eq!(refused(&other_leader), RosterError::OtherLeader);
    }

    /// \[GRP-4\] A roster of another session is not ours, though the leader's key may be.
    #[test]
    fn a_roster_belongs_to_its_session() {
        let keys = keys();
        let bytes = roster(&keys, 1).to_bytes();
        let expected = Expected {
            session: SESSION,
            number: number(2),
            key: keys[1].public(),
            leader: number(1),
            leader_key: keys[0].public(),
            held: None,
        };
        let signature = keys[0].sign(&signed_bytes(SessionId([6; 16]), &bytes));
        assert_eq!(expected.accept(&bytes, &signature).unwrap_err(), RosterError::NotByLeader);
    }

    /// \[GRP-1\]
    #[test]
    fn epochs_are_ordered_by_term_then_place_then_count() {
        let keys = keys();
        let roster = roster(&keys, 5);
        let epoch = |term, leader, count| EpochId { term, leader: number(leader), count };
        let ascending = [
            epoch(0, 1, 5),
            epoch(1, 2, 900),
            epoch(1, 3, 1),
            epoch(1, 3, 2),
            epoch(1, 1, 1),
            epoch(2, 2, 1),
        ];
        for pair in ascending.windows(2) {
            assert!(rank(&roster, pair[0]) < rank(&roster, pair[1]), "{pair:?}");
        }
    }
}
