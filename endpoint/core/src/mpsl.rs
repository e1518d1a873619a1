//! The real end-to-end layer: MPSL behind the trait that channels and session know.
//!
//! Owns the joiner's handshake until it is over and the session from then on; adds nothing to what MPSL decides.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto_spec::frame::Destination;
use proto_spec::packet::PacketKind;
use proto_spec::ticket::Role;
use proto_spec::{EpochId, Now, SenderNumber, SessionNumber, StreamId, Timestamp, TrafficClass};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sealcast_mpsl::handshake::{HandshakeError, Joiner, JoinerSetup, JoinerStep, ProofBudget};
use sealcast_mpsl::record::{self, Sealing, Shape};
use sealcast_mpsl::session::{CallError, Event, Session};
use sealcast_mpsl::{JoinCode, group};

use crate::event::CodeEnd;
use crate::security::{
    Base, CodeRefused, Identity, JoinFailure, OpenError, Opened, RosterEntry, Seal, SealError, Security,
    SecurityEvent,
};

/// A handshake message without an answer is sent again after this; a guest's allowance of 32 KiB lasts for all of them.
const HANDSHAKE_REPEAT: Duration = Duration::from_secs(4);
/// A joiner whose leader stays silent gives up after this many handshakes of ten seconds.
const HANDSHAKES_MAX: u32 = 3;

/// MPSL of one endpoint in one session.
pub struct Mpsl {
    identity: Identity,
    phase: Phase,
    roster: Vec<RosterEntry>,
    codes: BTreeMap<SessionNumber, Role>,
    events: VecDeque<SecurityEvent>,
    spill: Vec<u8>,
}

enum Phase {
    Joining(Box<Joining>),
    In(Box<Session>),
    Failed { leader: SenderNumber },
}

struct Joining {
    joiner: Joiner,
    leader: SenderNumber,
    code: JoinCode,
    budget: ProofBudget,
    rng: ChaCha20Rng,
    handshakes: u32,
    repeat_at: Timestamp,
}

impl Mpsl {
    fn new(identity: Identity, phase: Phase) -> Mpsl {
        Mpsl {
            identity,
            phase,
            roster: Vec::new(),
            codes: BTreeMap::new(),
            events: VecDeque::new(),
            spill: Vec::new(),
        }
    }

    fn session(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::In(session) => Some(session),
            _ => None,
        }
    }
}

impl Seal for Mpsl {
    fn seal(
        &mut self,
        now: Now,
        class: TrafficClass,
        stream: StreamId,
        signed: bool,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, SealError> {
        let shape = match class {
            TrafficClass::Control => Shape::Exact,
            TrafficClass::Interactive => Shape::Padded,
            TrafficClass::Screen | TrafficClass::Bulk => Shape::Compressed,
        };
        let session = self.session().ok_or(SealError::NoEpoch)?;
        session.seal(now, &Sealing { class, stream, signed, shape }, plaintext, out).map_err(seal_error)
    }

    fn carry(&mut self, now: Now, old: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let session = self.session().ok_or(SealError::NoEpoch)?;
        session.carry(now, old, out).map(|_| ()).map_err(seal_error)
    }

    fn epoch(&self) -> Option<EpochId> {
        match &self.phase {
            Phase::In(session) => session.epoch(),
            _ => None,
        }
    }

    fn number(&self) -> SenderNumber {
        self.identity.number
    }

    fn roster(&self) -> &[RosterEntry] {
        &self.roster
    }

    fn plaintext_max(&self) -> usize {
        record::PADDED_PLAINTEXT_LENGTH_MAX
    }
}

impl Security for Mpsl {
    fn create(now: Now, identity: Identity) -> Mpsl {
        let rng = ChaCha20Rng::from_seed(identity.seed);
        let session = Session::create(now, group_identity(&identity), rng);
        let mut mpsl = Mpsl::new(identity, Phase::In(Box::new(session)));
        mpsl.pump();
        mpsl
    }

    fn join(
        now: Now,
        identity: Identity,
        leader: SenderNumber,
        code: &JoinCode,
        budget: ProofBudget,
    ) -> Mpsl {
        let mut rng = ChaCha20Rng::from_seed(identity.seed);
        let started = Joiner::start(now, joiner_setup(&identity, leader), code, budget, &mut rng);
        let mut mpsl = Mpsl::new(identity, Phase::Failed { leader });
        match started {
            Ok((joiner, m1)) => {
                mpsl.phase = Phase::Joining(Box::new(Joining {
                    joiner,
                    leader,
                    code: code.clone(),
                    budget,
                    rng,
                    handshakes: 1,
                    repeat_at: now.mono + HANDSHAKE_REPEAT,
                }));
                mpsl.transmit_one(leader, m1);
            }
            Err(_) => mpsl.events.push_back(SecurityEvent::JoinFailed { reason: JoinFailure::WrongCode }),
        }
        mpsl
    }

    fn open(
        &mut self,
        now: Now,
        from: SenderNumber,
        class: TrafficClass,
        mut packet: BytesMut,
    ) -> Result<Option<Opened>, OpenError> {
        let Phase::In(session) = &mut self.phase else { return Err(OpenError::NoKey) };
        let opened = match session.open(now, from, class, &mut packet, &mut self.spill) {
            Ok(Some(opened)) => opened,
            Ok(None) | Err(record::OpenError::Held) => {
                self.pump();
                return Ok(None);
            }
            Err(error) => return Err(open_error(error)),
        };
        let packet = packet.freeze();
        let plaintext = opened.plaintext(&packet, &self.spill);
        let in_place = packet.as_ptr_range().contains(&plaintext.as_ptr());
        let payload = if in_place { packet.slice_ref(plaintext) } else { Bytes::copy_from_slice(plaintext) };
        Ok(Some(Opened {
            sender: opened.sender,
            stream: opened.stream,
            class: opened.class,
            counter: opened.counter,
            signed: opened.signed,
            payload,
        }))
    }

    fn poll_held(&mut self, now: Now) -> Option<Opened> {
        while let Some(held) = self.session()?.poll_held() {
            let packet = BytesMut::from(held.packet.as_slice());
            if let Ok(Some(opened)) = self.open(now, held.sender, held.class, packet) {
                return Some(opened);
            }
        }
        None
    }

    fn handle_packet(&mut self, now: Now, from: SenderNumber, packet: &[u8]) {
        match &mut self.phase {
            Phase::In(session) => {
                // What the layer cannot use it drops; anybody may send anything.
                let _ = session.handle_packet(now, from, packet);
            }
            Phase::Joining(joining) if packet.first() == Some(&(PacketKind::Handshake as u8)) => {
                match joining.joiner.handle(now, from, packet, &mut joining.budget) {
                    Ok(JoinerStep::Reply(m3)) => {
                        joining.repeat_at = now.mono + HANDSHAKE_REPEAT;
                        let leader = joining.leader;
                        self.transmit_one(leader, m3);
                    }
                    Ok(JoinerStep::Established(established)) => {
                        let rng = ChaCha20Rng::from_rng(&mut joining.rng);
                        let session = Session::joined(now, group_identity(&self.identity), *established, rng);
                        self.phase = Phase::In(Box::new(session));
                        self.events.push_back(SecurityEvent::Proved);
                    }
                    // Not the leader's: the handshake stands as it was.
                    Err(HandshakeError::Misaddressed) => {}
                    Err(error) => self.handshake_failed(now, error),
                }
            }
            _ => {}
        }
        self.pump();
    }

    fn handle_timeout(&mut self, now: Now) {
        match &mut self.phase {
            Phase::In(session) => session.handle_timeout(now),
            Phase::Joining(joining) => {
                if let Err(error) = joining.joiner.handle_timeout(now) {
                    self.handshake_failed(now, error);
                } else if joining.repeat_at <= now.mono {
                    self.repeat(now);
                }
            }
            Phase::Failed { .. } => {}
        }
        self.pump();
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::In(session) => session.poll_timeout(),
            Phase::Joining(joining) => joining.joiner.poll_timeout().map(|due| due.min(joining.repeat_at)),
            Phase::Failed { .. } => None,
        }
    }

    fn poll_event(&mut self) -> Option<SecurityEvent> {
        self.events.pop_front()
    }

    fn reattached(&mut self, now: Now) {
        self.repeat(now);
    }

    fn member_reachable(&mut self, now: Now, number: SenderNumber) {
        if let Some(session) = self.session() {
            session.member_reachable(now, number);
        }
        self.pump();
    }

    fn leader(&self) -> SenderNumber {
        match &self.phase {
            Phase::In(session) => session.leader(),
            Phase::Joining(joining) => joining.leader,
            Phase::Failed { leader } => *leader,
        }
    }

    fn state_bases(&mut self, now: Now, bases: &[(StreamId, u64)]) {
        if let Phase::In(session) = &mut self.phase {
            // Refused only without an epoch or for unknown streams, both our own bugs.
            let stated = session.state_bases(now, bases);
            debug_assert!(stated.is_ok(), "bases refused: {stated:?}");
        }
        self.pump();
    }

    fn open_code(&mut self, now: Now, number: SessionNumber, role: Role) -> Result<JoinCode, CodeRefused> {
        let session = self.session().ok_or(CodeRefused::NotLeader)?;
        let code = session.open_code(now, number, role).map_err(|error| match error {
            CallError::Codes(_) => CodeRefused::TooMany,
            _ => CodeRefused::NotLeader,
        })?;
        self.codes.insert(number, role);
        self.pump();
        Ok(code)
    }

    fn close_code(&mut self, _now: Now, number: SessionNumber) {
        if let Some(session) = self.session() {
            let _ = session.close_code(number);
        }
        self.code_ended(number, CodeEnd::Closed);
        self.pump();
    }

    fn admit(&mut self, now: Now, joiner: SenderNumber) {
        let admitted = self.session().map(|session| session.admit(now, joiner));
        if !matches!(admitted, Some(Ok(()))) {
            self.events.push_back(SecurityEvent::JoinerGone { number: joiner });
        }
        self.pump();
    }

    fn refuse(&mut self, _now: Now, joiner: SenderNumber) {
        if let Some(session) = self.session() {
            let _ = session.refuse(joiner);
        }
        self.pump();
    }

    fn remove(&mut self, now: Now, number: SenderNumber) {
        let removed = self.session().map(|session| session.remove(now, number));
        if matches!(removed, Some(Ok(()))) {
            self.codes_closed();
        }
        self.pump();
    }

    fn member_left(&mut self, now: Now, number: SenderNumber) {
        let left = self.session().map(|session| session.member_left(now, number));
        if matches!(left, Some(Ok(()))) {
            self.codes_closed();
        }
        self.pump();
    }

    fn send_private(&mut self, _now: Now, to: SenderNumber, kind: u8, bytes: &[u8]) {
        if let Some(session) = self.session() {
            // To somebody who is gone: nothing to do.
            let _ = session.send_private(to, kind, bytes);
        }
        self.pump();
    }

    fn leave(&mut self, _now: Now) {
        if let Some(session) = self.session() {
            session.leave();
        }
        self.pump();
    }

    fn end(&mut self, now: Now) {
        if let Some(session) = self.session() {
            let _ = session.end(now);
        }
        self.pump();
    }
}

impl Mpsl {
    fn transmit_one(&mut self, to: SenderNumber, packet: Vec<u8>) {
        let (to, class) = (vec![to], TrafficClass::Control);
        self.events.push_back(SecurityEvent::Transmit { to, class, packet: packet.into() });
    }

    fn repeat(&mut self, now: Now) {
        let Phase::Joining(joining) = &mut self.phase else { return };
        joining.repeat_at = now.mono + HANDSHAKE_REPEAT;
        if let Some(packet) = joining.joiner.pending() {
            let (leader, packet) = (joining.leader, packet.to_vec());
            self.transmit_one(leader, packet);
        }
    }

    /// A silent leader is asked anew; every other failure is the end.
    fn handshake_failed(&mut self, now: Now, error: HandshakeError) {
        let Phase::Joining(joining) = &mut self.phase else { return };
        let leader = joining.leader;
        if let Some(reply) = error.reply() {
            self.transmit_one(leader, reply.to_vec());
        }
        let Phase::Joining(joining) = &mut self.phase else { return };
        let reason = match error {
            HandshakeError::TimedOut if joining.handshakes < HANDSHAKES_MAX => {
                let setup = joiner_setup(&self.identity, leader);
                match Joiner::start(now, setup, &joining.code, joining.budget, &mut joining.rng) {
                    Ok((joiner, m1)) => {
                        joining.joiner = joiner;
                        joining.handshakes += 1;
                        joining.repeat_at = now.mono + HANDSHAKE_REPEAT;
                        return self.transmit_one(leader, m1);
                    }
                    Err(_) => JoinFailure::WrongCode,
                }
            }
            HandshakeError::TimedOut => JoinFailure::NoAnswer,
            HandshakeError::Version { .. } | HandshakeError::Suite { .. } => JoinFailure::Incompatible,
            _ => JoinFailure::WrongCode,
        };
        self.phase = Phase::Failed { leader };
        self.events.push_back(SecurityEvent::JoinFailed { reason });
    }

    /// Turns what the session says into what the trait says.
    fn pump(&mut self) {
        while let Phase::In(session) = &mut self.phase
            && let Some(event) = session.poll_event()
        {
            self.event(event);
        }
    }

    fn event(&mut self, event: Event) {
        let event = match event {
            Event::Transmit { to, class, packet } => {
                let to = match to {
                    Destination::All => Vec::new(),
                    Destination::Members(members) => members.to_vec(),
                };
                SecurityEvent::Transmit { to, class, packet: packet.into() }
            }
            Event::JoinerProved { number, name, role } => SecurityEvent::JoinerProved { number, name, role },
            Event::JoinerExpired { number } => SecurityEvent::JoinerGone { number },
            Event::GuessFailed { code, left, .. } => {
                self.events.push_back(SecurityEvent::WrongGuess { left: u32::from(left) });
                if left == 0 {
                    self.code_ended(code, CodeEnd::Guessed);
                }
                return;
            }
            Event::CodeSpent { code } => return self.code_ended(code, CodeEnd::Used),
            Event::CodeExpired { code } => return self.code_ended(code, CodeEnd::Expired),
            Event::EpochInstalled { epoch, left_or_removed } => {
                self.take_roster();
                SecurityEvent::EpochInstalled { epoch, departed: left_or_removed }
            }
            Event::Bases { sender, bases, .. } => SecurityEvent::Bases {
                sender,
                bases: bases
                    .iter()
                    .map(|base| Base { stream: base.stream, sequence: base.sequence })
                    .collect(),
            },
            Event::RemovalComplete { number } => SecurityEvent::RemovalComplete { number },
            Event::Private { from, kind, bytes } => {
                SecurityEvent::Private { from, kind, bytes: bytes.into() }
            }
            Event::MemberLeft { number } => {
                self.codes_closed();
                SecurityEvent::Leaving { number }
            }
            Event::MemberAbsent { number } => {
                self.codes_closed();
                SecurityEvent::Absent { number }
            }
            Event::Refused => SecurityEvent::JoinFailed { reason: JoinFailure::Denied },
            Event::Removed => SecurityEvent::Removed,
            Event::Ended => SecurityEvent::Ended,
            Event::Silenced => SecurityEvent::Silenced,
            Event::Resumed => SecurityEvent::Resumed,
            Event::Joined
            | Event::RosterChanged { .. }
            | Event::BasesHeld
            | Event::HandshakeFailed { .. } => return,
        };
        self.events.push_back(event);
    }

    fn take_roster(&mut self) {
        let Phase::In(session) = &self.phase else { return };
        let members = session.roster().map(|roster| roster.members.as_slice()).unwrap_or_default();
        self.roster = members
            .iter()
            .map(|member| RosterEntry { number: member.number, name: member.name.clone(), role: member.role })
            .collect();
    }

    fn code_ended(&mut self, code: SessionNumber, reason: CodeEnd) {
        if let Some(role) = self.codes.remove(&code) {
            self.events.push_back(SecurityEvent::CodeEnded { code, role, reason });
        }
    }

    /// A departure kills every open code.
    fn codes_closed(&mut self) {
        for code in self.codes.keys().copied().collect::<Vec<_>>() {
            self.code_ended(code, CodeEnd::Closed);
        }
    }
}

fn group_identity(identity: &Identity) -> group::Identity {
    group::Identity {
        session: identity.session,
        suite: identity.suite,
        number: identity.number,
        role: identity.role,
        name: identity.display_name.clone(),
    }
}

fn joiner_setup(identity: &Identity, leader: SenderNumber) -> JoinerSetup {
    JoinerSetup {
        session: identity.session,
        number: identity.number,
        leader,
        suite: identity.suite,
        display_name: identity.display_name.clone(),
    }
}

fn seal_error(error: record::SealError) -> SealError {
    match error {
        record::SealError::NoEpoch | record::SealError::BasesNotStated => SealError::NoEpoch,
        record::SealError::Silent => SealError::Silenced,
        record::SealError::TooLong { .. } => SealError::TooLong,
        record::SealError::EpochFull => SealError::Exhausted,
        record::SealError::NotCarriable(_) => SealError::NotCarriable,
        record::SealError::Stream(_) | record::SealError::MustBeSigned(_) => SealError::Misuse,
    }
}

fn open_error(error: record::OpenError) -> OpenError {
    use record::OpenError as E;
    match error {
        E::Malformed(_) | E::Suite | E::MalformedBody => OpenError::Malformed,
        E::HopMismatch(_) | E::Unsigned | E::Forged | E::WrongSignature => OpenError::Forged,
        E::Replayed | E::TooOld | E::BelowBase => OpenError::Replayed,
        E::Carried(record::CarriedRefusal::EpochNotOpen) => OpenError::Unopenable,
        E::Held | E::HoldFull | E::OldEpoch | E::NotAMember | E::Carried(_) => OpenError::NoKey,
    }
}
