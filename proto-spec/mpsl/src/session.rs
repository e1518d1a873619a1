//! One endpoint's session: the handshake's other half, group keys and records behind one sans-IO face.
//!
//! ```text
//!  handle_packet (handshake, pairwise)  -.                        .-> poll_event (Transmit, ...)
//!  handle_timeout                        |-> Session, one owner  -|
//!  admit, remove, ...                   -'                        '-> poll_timeout
//!  seal, open, carry: directly, on the caller's buffers
//! ```
//! Drive it so: one input, then every event, then the next deadline. It never opens a socket, reads a clock or draws
//! the system's randomness; it never decides who is admitted or what a member may do.

mod event;
mod hold;
mod inbound;

use std::collections::VecDeque;

use proto_spec::frame::Destination;
use proto_spec::mpsl::epoch::{ChannelBase, Notice};
use proto_spec::mpsl::roster::Roster;
use proto_spec::packet::PacketKind;
use proto_spec::{DecodeError, EpochId, Now, SenderNumber, SessionNumber, StreamId, Timestamp, TrafficClass};
use rand_chacha::ChaCha20Rng;

use crate::code::JoinCode;
use crate::group::bases::OwnBases;
use crate::group::epoch::EpochKeys;
use crate::group::leader::LeaderGroup;
use crate::group::member::MemberGroup;
use crate::group::roster::HeldRoster;
use crate::group::{Identity, Installed, Outgoing, PacketError};
use crate::handshake::{self, Established, LeaderEvent, LeaderSetup, clean_display_name};
use crate::keys::MemberKey;
use crate::record::open::Opener;
use crate::record::seal::Sealer;
use crate::record::{OpenError, Opened, SESSION_STREAM, SealError, Sealing, Shape};

pub use event::{CallError, Event};
pub use hold::{HOLD_BYTES_MAX, HeldRecord};
pub use proto_spec::mpsl::Role;

use hold::Hold;

/// One endpoint's session. Keys are erased when dropped.
pub struct Session {
    identity: Identity,
    key: MemberKey,
    rng: ChaCha20Rng,
    role: Side,
    sealer: Sealer,
    opener: Opener,
    bases: OwnBases,
    bases_held: bool,
    /// Whether `Resumed` was said last, or `Silenced`.
    live: bool,
    over: bool,
    hold: Hold,
    now: Timestamp,
    events: VecDeque<Event>,
}

/// What we are in the group. A deputy's take-over turns one into the other.
enum Side {
    Leader { group: LeaderGroup, handshake: handshake::Leader },
    Member(MemberGroup),
}

impl Session {
    /// Opens a session as its creator and leader, alone in the first epoch.
    pub fn create(now: Now, identity: Identity, mut rng: ChaCha20Rng) -> Session {
        let identity = Identity { name: clean_display_name(&identity.name), ..identity };
        let key = MemberKey::generate(&mut rng);
        let handshake = handshake::Leader::new(LeaderSetup {
            session: identity.session,
            number: identity.number,
            suite: identity.suite,
            member_key: key.clone(),
            display_name: identity.name.clone(),
        });
        let (group, installed) = LeaderGroup::create(now.mono, &identity, &key, &mut rng);
        let mut session = Session::new(now, identity, key, rng, Side::Leader { group, handshake });
        session.live = true;
        session.install(installed);
        session
    }

    /// Continues after a joiner's handshake: a member without an epoch until the leader admits it.
    pub fn joined(now: Now, identity: Identity, established: Established, rng: ChaCha20Rng) -> Session {
        let Established { pairwise, member_key, leader, leader_key, .. } = established;
        let group = MemberGroup::new(now.mono, pairwise, member_key.public(), leader, leader_key);
        let mut session = Session::new(now, identity, member_key, rng, Side::Member(group));
        session.pump();
        session
    }

    fn new(now: Now, identity: Identity, key: MemberKey, rng: ChaCha20Rng, role: Side) -> Session {
        Session {
            sealer: Sealer::new(identity.suite, identity.number),
            opener: Opener::new(identity.suite),
            identity,
            key,
            rng,
            role,
            bases: OwnBases::default(),
            bases_held: false,
            live: false,
            over: false,
            hold: Hold::default(),
            now: now.mono,
            events: VecDeque::new(),
        }
    }

    // ---- getters

    /// Who we are.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether we lead.
    pub const fn is_leader(&self) -> bool {
        matches!(self.role, Side::Leader { .. })
    }

    /// The leader's number.
    pub fn leader(&self) -> SenderNumber {
        match &self.role {
            Side::Leader { .. } => self.identity.number,
            Side::Member(member) => member.leader(),
        }
    }

    /// The newest roster; `None` before the first epoch.
    pub fn roster(&self) -> Option<&Roster> {
        self.held().map(|held| &held.roster)
    }

    /// The newest epoch; `None` before the first.
    pub fn epoch(&self) -> Option<EpochId> {
        self.opener.newest()
    }

    /// Whether `seal` would be allowed now, as far as epoch, leader and base statement go.
    pub fn may_seal(&self, now: Now) -> bool {
        self.check_sealing(now.mono).is_ok()
    }

    // ---- inputs: packets and time

    /// Takes a handshake or pairwise packet; records go to [`Session::open`].
    ///
    /// # Errors
    /// [`PacketError`]: nothing has changed, except that a joiner's handshake may have ended.
    pub fn handle_packet(&mut self, now: Now, from: SenderNumber, packet: &[u8]) -> Result<(), PacketError> {
        self.advance(now);
        if self.over {
            return Ok(());
        }
        let kind = packet.first().copied().ok_or(DecodeError::Truncated)?;
        let result = match PacketKind::from_u8(kind) {
            Some(PacketKind::Handshake) => self.handle_handshake(now, from, packet),
            Some(PacketKind::Pairwise) => self.handle_pairwise(from, packet),
            Some(PacketKind::Record) | None => Err(DecodeError::Malformed("packet kind").into()),
        };
        self.pump();
        result
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.advance(now);
        if self.over {
            return;
        }
        if let Side::Leader { group, handshake } = &mut self.role {
            handshake.handle_timeout(now);
            let expired = group.expire_pending(now.mono);
            self.events.extend(expired.into_iter().map(|number| Event::JoinerExpired { number }));
            let absent = group.absent(now.mono);
            let due = group.rekey_due(now.mono);
            for number in &absent {
                self.take_out(*number, Notice::Removed);
                self.events.push_back(Event::MemberAbsent { number: *number });
            }
            if due || !absent.is_empty() {
                self.rekey(&absent);
            }
        }
        self.opener.expire(now.mono);
        self.pump();
    }

    /// When [`Session::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.over {
            return None;
        }
        let bases = self.bases.deadline().filter(|_| self.live);
        let keys = self.opener.expires_at(self.now);
        let role = match &self.role {
            Side::Leader { group, handshake } => {
                handshake.poll_timeout().map_or(group.deadline(), |at| at.min(group.deadline()))
            }
            Side::Member(member) => member.deadline(self.now),
        };
        [bases, keys, Some(role)].into_iter().flatten().min()
    }

    // ---- outputs

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A record that waited for the epoch which is now installed; `None` when there is no more.
    pub fn poll_held(&mut self) -> Option<HeldRecord> {
        let held = match &self.role {
            Side::Leader { group, .. } => Some(group.held()),
            Side::Member(member) => member.held(),
        }?;
        self.hold.take(|epoch| !held.is_older_than(epoch))
    }

    // ---- the leader's decisions

    /// Makes a join code for a number that the broker has opened. Shown to the user alone, and never written down.
    ///
    /// # Errors
    /// [`CallError::NotLeader`], [`CallError::Codes`].
    pub fn open_code(&mut self, now: Now, number: SessionNumber, role: Role) -> Result<JoinCode, CallError> {
        self.advance(now);
        match &mut self.role {
            Side::Leader { handshake, .. } => Ok(handshake.open_code(now, number, role, &mut self.rng)?),
            Side::Member(_) => Err(CallError::NotLeader),
        }
    }

    /// Ends a code; whether it was open.
    ///
    /// # Errors
    /// [`CallError::NotLeader`].
    pub fn close_code(&mut self, number: SessionNumber) -> Result<bool, CallError> {
        match &mut self.role {
            Side::Leader { handshake, .. } => Ok(handshake.close_code(number)),
            Side::Member(_) => Err(CallError::NotLeader),
        }
    }

    /// Makes a joiner that has proved the code a member: a new epoch, with it.
    ///
    /// # Errors
    /// [`CallError::NotLeader`], [`CallError::Unknown`], [`CallError::Full`].
    pub fn admit(&mut self, now: Now, number: SenderNumber) -> Result<(), CallError> {
        self.advance(now);
        let (group, _) = self.leading()?;
        if group.is_full() {
            return Err(CallError::Full);
        }
        if !group.admit(now.mono, number) {
            return Err(CallError::Unknown(number));
        }
        self.rekey(&[]);
        self.pump();
        Ok(())
    }

    /// Sends a joiner that has proved the code away.
    ///
    /// # Errors
    /// [`CallError::NotLeader`], [`CallError::Unknown`].
    pub fn refuse(&mut self, number: SenderNumber) -> Result<(), CallError> {
        let word = self.leading()?.0.refuse(number).ok_or(CallError::Unknown(number))?;
        self.transmit_all([word]);
        Ok(())
    }

    /// Removes a member: a new epoch without it, and every open code dies.
    ///
    /// # Errors
    /// [`CallError::NotLeader`], [`CallError::Unknown`].
    pub fn remove(&mut self, now: Now, number: SenderNumber) -> Result<(), CallError> {
        self.advance(now);
        self.leading()?;
        if !self.take_out(number, Notice::Removed) {
            return Err(CallError::Unknown(number));
        }
        self.rekey(&[number]);
        self.pump();
        Ok(())
    }

    /// A member has left, by what the layer above knows: a new epoch without it.
    ///
    /// # Errors
    /// [`CallError::NotLeader`], [`CallError::Unknown`].
    pub fn member_left(&mut self, now: Now, number: SenderNumber) -> Result<(), CallError> {
        self.remove(now, number)
    }

    /// Ends the session: tells every member, seals nothing more.
    ///
    /// # Errors
    /// [`CallError::NotLeader`].
    pub fn end(&mut self, now: Now) -> Result<(), CallError> {
        self.advance(now);
        let (group, handshake) = self.leading()?;
        handshake.close_all();
        let words: Vec<_> =
            group.numbers().into_iter().filter_map(|number| group.remove(number, Notice::Ended)).collect();
        self.transmit_all(words);
        self.over = true;
        Ok(())
    }

    // ---- everybody's

    /// Member: tells the leader that we leave, and seals nothing more.
    pub fn leave(&mut self) {
        if let Side::Member(member) = &mut self.role {
            let word = member.leaving();
            self.transmit_all([word]);
            self.over = true;
        }
    }

    /// Sends bytes to one member or waiting joiner (leader), or to the leader (member), sealed for it alone.
    ///
    /// # Errors
    /// [`CallError::Unknown`].
    pub fn send_private(&mut self, to: SenderNumber, kind: u8, bytes: &[u8]) -> Result<(), CallError> {
        let outgoing = match &mut self.role {
            Side::Leader { group, .. } => group.private(to, kind, bytes),
            Side::Member(member) => (member.leader() == to).then(|| member.private(kind, bytes)),
        };
        self.transmit_all([outgoing.ok_or(CallError::Unknown(to))?]);
        Ok(())
    }

    /// Says where our channels stand at the start of the newest epoch: for each its own next sequence. The session adds
    /// the record counters and repeats the statement until everybody has it. Once an epoch, before the first `seal`;
    /// later calls change nothing.
    ///
    /// # Errors
    /// [`SealError::NoEpoch`], [`SealError::Stream`].
    pub fn state_bases(&mut self, now: Now, sequences: &[(StreamId, u64)]) -> Result<(), SealError> {
        self.advance(now);
        if self.opener.newest().is_none() {
            return Err(SealError::NoEpoch);
        }
        let known = |stream: StreamId| self.sealer.bases().any(|(of, _)| of == stream);
        if let Some((stream, _)) = sequences.iter().find(|(stream, _)| !known(*stream)) {
            return Err(SealError::Stream(*stream));
        }
        let bases = self.sealer.bases().filter_map(|(stream, counter)| {
            let sequence = sequences.iter().find(|(of, _)| *of == stream).map(|(_, sequence)| *sequence);
            (counter > 0 || sequence.is_some()).then(|| ChannelBase {
                stream,
                counter,
                sequence: sequence.unwrap_or(0),
            })
        });
        let bases = bases.collect();
        self.bases.state(now.mono, bases);
        self.pump();
        Ok(())
    }

    /// Members that have not acknowledged our base statement of this epoch.
    pub fn bases_waiting(&self) -> impl Iterator<Item = SenderNumber> + '_ {
        self.bases.waiting()
    }

    /// The relay says that a member can be reached, such as one that has just left the lobby: it is told our bases at
    /// once if it does not have them. A hint; without it the statement is repeated all the same.
    pub fn member_reachable(&mut self, now: Now, number: SenderNumber) {
        self.advance(now);
        self.bases.reachable(self.now, number);
        self.pump();
    }

    /// Appends a whole record packet to `out`; returns its counter. On an error nothing is appended.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(
        &mut self,
        now: Now,
        sealing: &Sealing,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, SealError> {
        self.advance(now);
        self.check_sealing(now.mono)?;
        self.sealer.seal(&self.key, sealing, plaintext, out)
    }

    /// Appends a record packet that carries `old`, a packet that we sealed in an older epoch and that somebody has not
    /// acknowledged; returns the new record's counter. Carry the same old packet afresh after each further epoch.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn carry(&mut self, now: Now, old: &[u8], out: &mut Vec<u8>) -> Result<u64, SealError> {
        self.advance(now);
        self.check_sealing(now.mono)?;
        self.sealer.carry(&self.key, old, out)
    }

    /// Opens a record packet in place. `sender` and `class` are the data frame's; `spill` takes what was compressed and
    /// is overwritten. `None`: the record was the session's own.
    ///
    /// # Errors
    /// [`OpenError`]; the packet's bytes are of no use any more.
    pub fn open(
        &mut self,
        now: Now,
        sender: SenderNumber,
        class: TrafficClass,
        packet: &mut [u8],
        spill: &mut Vec<u8>,
    ) -> Result<Option<Opened>, OpenError> {
        self.advance(now);
        let opened = match self.opener.open(now.mono, sender, class, packet, spill) {
            Err(OpenError::OldEpoch) => return Err(self.hold(sender, class, packet)),
            result => result?,
        };
        if opened.stream != SESSION_STREAM {
            return Ok(Some(opened));
        }
        self.handle_session_record(&opened, packet, spill)?;
        Ok(None)
    }

    // ---- helpers

    fn check_sealing(&self, now: Timestamp) -> Result<(), SealError> {
        if self.over || self.opener.newest().is_none() {
            return Err(SealError::NoEpoch);
        }
        if !self.lease_holds(now) {
            return Err(SealError::Silent);
        }
        if !self.bases.stated() {
            return Err(SealError::BasesNotStated);
        }
        Ok(())
    }

    fn lease_holds(&self, now: Timestamp) -> bool {
        match &self.role {
            Side::Leader { .. } => true,
            Side::Member(member) => member.may_seal(now),
        }
    }

    fn held(&self) -> Option<&HeldRoster> {
        match &self.role {
            Side::Leader { group, .. } => Some(group.held()),
            Side::Member(member) => member.held(),
        }
    }

    fn leading(&mut self) -> Result<(&mut LeaderGroup, &mut handshake::Leader), CallError> {
        match &mut self.role {
            Side::Leader { group, handshake } => Ok((group, handshake)),
            Side::Member(_) => Err(CallError::NotLeader),
        }
    }

    /// Time never runs backwards here, whatever the caller's inputs say.
    fn advance(&mut self, now: Now) {
        self.now = self.now.max(now.mono);
    }

    /// Takes a member out and kills every open code; the rekey is the caller's.
    fn take_out(&mut self, number: SenderNumber, notice: Notice) -> bool {
        let Side::Leader { group, handshake } = &mut self.role else { return false };
        let Some(word) = group.remove(number, notice) else { return false };
        handshake.close_all();
        self.transmit_all([word]);
        true
    }

    /// A new epoch, without `removed`.
    fn rekey(&mut self, removed: &[SenderNumber]) {
        let Side::Leader { group, .. } = &mut self.role else { return };
        let installed = group.rekey(self.now, &self.identity, &self.key, &mut self.rng);
        removed.iter().for_each(|number| group.watch_removal(*number));
        let messages = group.epoch_messages(self.now);
        self.transmit_all(messages);
        self.install(installed);
        self.report_removals();
    }

    fn report_removals(&mut self) {
        if let Side::Leader { group, .. } = &mut self.role {
            let complete = group.complete_removals();
            self.events.extend(complete.into_iter().map(|number| Event::RemovalComplete { number }));
        }
    }

    /// Seals and opens under a new epoch from here on.
    fn install(&mut self, installed: Installed) {
        let Installed { keys, joined, gone } = installed;
        let EpochKeys { id: epoch, roster_hash, own, others } = keys;
        let left_or_removed = !gone.is_empty();
        let first = self.opener.newest().is_none();
        self.bases.reset(others.iter().map(|other| other.sender));
        self.bases_held = false;
        self.sealer.install(epoch, roster_hash, own);
        self.opener.install(self.now, epoch, roster_hash, others, left_or_removed);
        if first && !self.is_leader() {
            self.events.push_back(Event::Joined);
        }
        if !joined.is_empty() || !gone.is_empty() {
            self.events.push_back(Event::RosterChanged { joined, gone });
        }
        self.events.push_back(Event::EpochInstalled { epoch, left_or_removed });
    }

    /// Whatever became due or possible by the input before.
    fn pump(&mut self) {
        if self.over {
            return;
        }
        if let Side::Leader { handshake, .. } = &mut self.role {
            while let Some(event) = handshake.poll_event() {
                self.events.push_back(match event {
                    LeaderEvent::GuessFailed { code, from, left } => Event::GuessFailed { code, from, left },
                    LeaderEvent::CodeSpent { code } => Event::CodeSpent { code },
                    LeaderEvent::CodeExpired { code } => Event::CodeExpired { code },
                });
            }
        }
        if let Side::Member(member) = &mut self.role {
            let beat = member.beat(self.now, &mut self.rng);
            self.transmit_all(beat);
        }
        let live = self.lease_holds(self.now);
        if live != self.live {
            self.live = live;
            self.events.push_back(if live { Event::Resumed } else { Event::Silenced });
        }
        if live && let Some((statement, to)) = self.bases.due(self.now) {
            self.send_session_record(&statement, to);
        }
        if !self.bases_held && self.bases.stated() && self.bases.waiting().next().is_none() {
            self.bases_held = true;
            self.events.push_back(Event::BasesHeld);
        }
    }

    /// A signed record on stream 0, if anything may be sealed at all; what is lost is repeated.
    fn send_session_record(&mut self, plaintext: &[u8], to: Destination) {
        if !self.lease_holds(self.now) {
            return;
        }
        let class = TrafficClass::Control;
        let sealing = Sealing { class, stream: SESSION_STREAM, signed: true, shape: Shape::Exact };
        let mut packet = Vec::new();
        if self.sealer.seal_any(&self.key, &sealing, plaintext, &mut packet).is_ok() {
            self.events.push_back(Event::Transmit { to, class, packet });
        }
    }

    fn transmit_all(&mut self, outgoing: impl IntoIterator<Item = Outgoing>) {
        self.events.extend(outgoing.into_iter().map(|Outgoing { to, packet }| Event::Transmit {
            to: Destination::one(to),
            class: TrafficClass::Control,
            packet,
        }));
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({}, {:?})", self.identity.number, self.opener.newest())
    }
}
