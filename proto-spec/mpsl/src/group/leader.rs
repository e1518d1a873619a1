//! The leader's role: who is a member, when a new epoch is made, and what each member has of it \[GRP-6\] \[GRP-7\].
//!
//! Never admits on its own: `admit` is called after the user's consent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proto_spec::mpsl::Role;
use proto_spec::mpsl::epoch::{EpochMessage, Heartbeat, HeartbeatAnswer, Notice, PairwiseType};
use proto_spec::mpsl::roster::{ROSTER_MEMBERS_MAX, Roster, RosterMember};
use proto_spec::{EpochId, SenderNumber, Timestamp, Wire};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::epoch::{EpochKeys, commitment};
use super::heartbeat::ABSENCE;
use super::roster::{HeldRoster, signed_bytes};
use super::{Identity, Inbound, Installed, Joiner, Outgoing, PacketError, read_private, seal_private};
use crate::keys::{MemberKey, MemberPublicKey};
use crate::wrap::SECRET_LENGTH;

/// A new epoch at least this often.
pub const REKEY_INTERVAL: Duration = Duration::from_secs(3_600);
/// The least time between two copies of one epoch message to one member: it is the only answer that is much longer than
/// its question.
pub const EPOCH_REPEAT_MIN: Duration = Duration::from_secs(1);
/// Joiners that have proved the code and wait for consent: more than one user decides on at once.
pub const PENDING_MAX: usize = 8;
/// How long a joiner waits for consent: as long as its lobby ticket lasts.
pub const PENDING_LIFETIME: Duration = Duration::from_secs(600);

/// The state that only a leader has.
pub(crate) struct LeaderGroup {
    creator: MemberPublicKey,
    term: u16,
    held: HeldRoster,
    members: BTreeMap<SenderNumber, Member>,
    pending: BTreeMap<SenderNumber, Pending>,
    /// Every number that has ever been a member: none is admitted twice \[GRP-3\].
    used: BTreeSet<SenderNumber>,
    /// Who was removed, and the epoch that everybody must hold for the removal to be complete.
    removals: Vec<(SenderNumber, EpochId)>,
    rekey_at: Timestamp,
}

struct Member {
    joiner: Joiner,
    /// By its last heartbeat.
    held: Option<EpochId>,
    heard: Timestamp,
    /// The newest epoch message for it; its chain has stepped past it already.
    newest: Vec<u8>,
    /// When that was sent last.
    sent: Timestamp,
}

struct Pending {
    joiner: Joiner,
    since: Timestamp,
}

impl LeaderGroup {
    /// Opens the session: its creator alone in the first epoch.
    pub(crate) fn create(
        now: Timestamp,
        identity: &Identity,
        key: &MemberKey,
        rng: &mut impl CryptoRng,
    ) -> (Self, Installed) {
        let nobody = Roster {
            epoch: EpochId { term: 0, leader: identity.number, count: 0 },
            creator: key.public(),
            deputies: Vec::new(),
            members: Vec::new(),
            commitment: [0; 32],
        };
        let mut leader = LeaderGroup {
            creator: key.public(),
            term: 0,
            held: HeldRoster::new(identity.session, nobody),
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
            used: BTreeSet::from([identity.number]),
            removals: Vec::new(),
            rekey_at: now,
        };
        let installed = leader.rekey(now, identity, key, rng);
        (leader, installed)
    }

    /// The newest roster.
    pub(crate) const fn held(&self) -> &HeldRoster {
        &self.held
    }

    /// Whether a number or key may not be given to a joiner \[GRP-3\].
    pub(crate) fn is_taken(&self, number: SenderNumber, key: &MemberPublicKey) -> bool {
        self.used.contains(&number)
            || self.pending.contains_key(&number)
            || self.members.values().any(|member| member.joiner.key == *key)
            || self.pending.values().any(|pending| pending.joiner.key == *key)
    }

    /// A joiner has proved the code and now waits; the longest waiting gives way, and is returned.
    pub(crate) fn proved(&mut self, now: Timestamp, joiner: Joiner) -> Option<SenderNumber> {
        let oldest = self.pending.iter().min_by_key(|(_, pending)| pending.since).map(|(number, _)| *number);
        let gone = oldest.filter(|_| self.pending.len() >= PENDING_MAX);
        gone.map(|number| self.pending.remove(&number));
        self.pending.insert(joiner.number, Pending { joiner, since: now });
        gone
    }

    /// Makes a waiting joiner a member; the caller rekeys. `false` if there is none of the number.
    pub(crate) fn admit(&mut self, now: Timestamp, number: SenderNumber) -> bool {
        let Some(Pending { joiner, .. }) = self.pending.remove(&number) else { return false };
        self.used.insert(number);
        let member = Member { joiner, held: None, heard: now, newest: Vec::new(), sent: now };
        self.members.insert(number, member);
        true
    }

    /// Whether there are as many members as a session may have.
    pub(crate) fn is_full(&self) -> bool {
        self.members.len() + 1 >= ROSTER_MEMBERS_MAX
    }

    /// Sends a waiting joiner away; the word to it, if there was one of the number.
    pub(crate) fn refuse(&mut self, number: SenderNumber) -> Option<Outgoing> {
        let mut pending = self.pending.remove(&number)?;
        Some(notice(&mut pending.joiner, Notice::Refused))
    }

    /// Takes a member out; the caller rekeys. The word to it, if there was one of the number.
    pub(crate) fn remove(&mut self, number: SenderNumber, notice_of: Notice) -> Option<Outgoing> {
        let mut member = self.members.remove(&number)?;
        Some(notice(&mut member.joiner, notice_of))
    }

    /// From now on the removal is complete when everybody holds the newest epoch.
    pub(crate) fn watch_removal(&mut self, number: SenderNumber) {
        self.removals.push((number, self.held.roster.epoch));
    }

    /// Removals that have become complete \[GRP-9\].
    pub(crate) fn complete_removals(&mut self) -> Vec<SenderNumber> {
        let (held, members) = (&self.held, &self.members);
        let behind = |epoch: EpochId| {
            members.values().any(|member| {
                // Held epochs are only ever ours of this term, so the count orders them.
                member.held.is_none_or(|held| held.term != epoch.term || held.count < epoch.count)
            })
        };
        debug_assert!(self.removals.iter().all(|(_, epoch)| !held.is_older_than(*epoch)));
        let (open, complete) = self.removals.drain(..).partition(|(_, epoch)| behind(*epoch));
        self.removals = open;
        let complete: Vec<(SenderNumber, EpochId)> = complete;
        complete.into_iter().map(|(number, _)| number).collect()
    }

    /// A new group secret, roster and epoch message for each member \[GRP-6\]. The secret is erased once wrapped and
    /// all keys are derived from it; each member's chain has stepped past its message.
    pub(crate) fn rekey(
        &mut self,
        now: Timestamp,
        identity: &Identity,
        key: &MemberKey,
        rng: &mut impl CryptoRng,
    ) -> Installed {
        let mut secret = Zeroizing::new([0u8; SECRET_LENGTH]);
        rng.fill_bytes(secret.as_mut_slice());
        let count = self.held.roster.epoch.count.checked_add(1).expect("2^32 epochs of one leader");
        let roster = Roster {
            epoch: EpochId { term: self.term, leader: identity.number, count },
            creator: self.creator,
            deputies: self.deputies(),
            members: self.roster_members(identity, key),
            commitment: commitment(&secret),
        };
        let bytes = roster.to_bytes();
        let signature = key.sign(&signed_bytes(identity.session, &bytes));
        let epoch = roster.epoch;
        for (number, member) in &mut self.members {
            let chain = member.joiner.pairwise.chain_mut();
            let step = chain.step();
            let wrapped = chain.kek(epoch, *number).wrap(&secret);
            chain.advance();
            member.newest = EpochMessage { roster: bytes.clone(), signature, step, wrapped }.to_bytes();
        }
        let before = std::mem::replace(&mut self.held, HeldRoster::new(identity.session, roster));
        let (joined, gone) = self.held.changes(Some(&before));
        self.rekey_at = now + REKEY_INTERVAL;
        let keys = EpochKeys::derive(
            identity.suite,
            identity.session,
            &self.held.roster,
            self.held.hash,
            &secret,
            identity.number,
        )
        .expect("every member's key has verified its handshake, and we are in our own roster");
        Installed { keys, joined, gone }
    }

    /// The newest epoch message for everybody.
    pub(crate) fn epoch_messages(&mut self, now: Timestamp) -> Vec<Outgoing> {
        self.members.values_mut().map(|member| member.epoch_message(now)).collect()
    }

    /// The answer to a heartbeat, preceded by the newest epoch message if the member is behind \[GRP-8\].
    pub(crate) fn answer(
        &mut self,
        now: Timestamp,
        number: SenderNumber,
        heartbeat: &Heartbeat,
    ) -> Vec<Outgoing> {
        let Some(member) = self.members.get_mut(&number) else { return Vec::new() };
        let epoch = self.held.roster.epoch;
        let answer =
            HeartbeatAnswer { nonce: heartbeat.nonce, epoch, roster_hash: self.held.hash }.to_bytes();
        let behind = heartbeat.held != Some(epoch) && now.since(member.sent) >= EPOCH_REPEAT_MIN;
        let message = behind.then(|| member.epoch_message(now));
        let packet = member.joiner.pairwise.seal(PairwiseType::HeartbeatAnswer as u8, &answer);
        message.into_iter().chain([Outgoing { to: number, packet }]).collect()
    }

    /// Opens a pairwise packet and keeps what it says; a member's heartbeat is returned to be answered.
    pub(crate) fn handle(
        &mut self,
        now: Timestamp,
        from: SenderNumber,
        packet: &[u8],
    ) -> Result<(Inbound, Option<Heartbeat>), PacketError> {
        let pairwise = match (self.members.get_mut(&from), self.pending.get_mut(&from)) {
            (Some(member), _) => &mut member.joiner.pairwise,
            (None, Some(pending)) => &mut pending.joiner.pairwise,
            (None, None) => return Err(PacketError::Stranger(from)),
        };
        let (kind, bytes) = pairwise.open(packet)?;
        match PairwiseType::from_u8(kind) {
            Some(PairwiseType::Heartbeat) => {
                let heartbeat = Heartbeat::from_bytes(&bytes)?;
                if let Some(member) = self.members.get_mut(&from) {
                    member.heard = now;
                    member.held = heartbeat.held;
                    return Ok((Inbound::Nothing, Some(heartbeat)));
                }
                // A joiner that waits is told nothing, not even which epoch there is \[GRP-7\].
                Ok((Inbound::Nothing, None))
            }
            Some(PairwiseType::Private) => Ok((read_private(&bytes)?, None)),
            Some(PairwiseType::Notice) => match Notice::from_bytes(&bytes)? {
                Notice::Leaving => Ok((Inbound::Notice(Notice::Leaving), None)),
                Notice::Refused | Notice::Removed | Notice::Ended => Err(PacketError::NotForUs(kind)),
            },
            Some(PairwiseType::Epoch | PairwiseType::HeartbeatAnswer) | None => {
                Err(PacketError::NotForUs(kind))
            }
        }
    }

    /// A private message to a member or a waiting joiner; `None` if there is none of the number.
    pub(crate) fn private(&mut self, to: SenderNumber, kind: u8, bytes: &[u8]) -> Option<Outgoing> {
        let joiner = match (self.members.get_mut(&to), self.pending.get_mut(&to)) {
            (Some(member), _) => &mut member.joiner,
            (None, Some(pending)) => &mut pending.joiner,
            (None, None) => return None,
        };
        Some(Outgoing { to, packet: seal_private(&mut joiner.pairwise, kind, bytes) })
    }

    /// Members that have been silent for too long \[GRP-9\].
    pub(crate) fn absent(&self, now: Timestamp) -> Vec<SenderNumber> {
        let absent = self.members.iter().filter(|(_, member)| now.since(member.heard) >= ABSENCE);
        absent.map(|(number, _)| *number).collect()
    }

    /// Joiners for whom nobody has decided in time; they are gone after this.
    pub(crate) fn expire_pending(&mut self, now: Timestamp) -> Vec<SenderNumber> {
        let late = |pending: &Pending| now.since(pending.since) >= PENDING_LIFETIME;
        let gone =
            self.pending.iter().filter(|(_, pending)| late(pending)).map(|(number, _)| *number).collect();
        self.pending.retain(|_, pending| !late(pending));
        gone
    }

    /// Whether the hourly epoch is due.
    pub(crate) fn rekey_due(&self, now: Timestamp) -> bool {
        now >= self.rekey_at
    }

    /// When something here is due.
    pub(crate) fn deadline(&self) -> Timestamp {
        let absences = self.members.values().map(|member| member.heard + ABSENCE);
        let pending = self.pending.values().map(|pending| pending.since + PENDING_LIFETIME);
        absences.chain(pending).fold(self.rekey_at, Timestamp::min)
    }

    /// Members, apart from the leader.
    pub(crate) fn numbers(&self) -> Vec<SenderNumber> {
        self.members.keys().copied().collect()
    }

    /// The other providers, in the order of their numbers, which is that of joining.
    fn deputies(&self) -> Vec<SenderNumber> {
        let providers = self.members.values().filter(|member| member.joiner.role == Role::Provider);
        providers.map(|member| member.joiner.number).collect()
    }

    fn roster_members(&self, identity: &Identity, key: &MemberKey) -> Vec<RosterMember> {
        let own = RosterMember {
            number: identity.number,
            key: key.public(),
            role: identity.role,
            name: identity.name.clone(),
        };
        let others = self.members.values().map(|member| RosterMember {
            number: member.joiner.number,
            key: member.joiner.key,
            role: member.joiner.role,
            name: member.joiner.name.clone(),
        });
        let mut members: Vec<_> = others.chain([own]).collect();
        members.sort_by_key(|member| member.number);
        members
    }
}

impl Member {
    fn epoch_message(&mut self, now: Timestamp) -> Outgoing {
        self.sent = now;
        let packet = self.joiner.pairwise.seal(PairwiseType::Epoch as u8, &self.newest);
        Outgoing { to: self.joiner.number, packet }
    }
}

fn notice(joiner: &mut Joiner, notice: Notice) -> Outgoing {
    let packet = joiner.pairwise.seal(PairwiseType::Notice as u8, &notice.to_bytes());
    Outgoing { to: joiner.number, packet }
}
