//! The leader's side of the handshake: open codes, their verifiers and guesses, and the handshakes under way. Owns who
//! may guess how often; never decides who is admitted.

use std::collections::{BTreeMap, VecDeque};

use proto_spec::mpsl::handshake::{M1, M2, Message, Proof};
use proto_spec::mpsl::{Role, VERSION};
use proto_spec::{Now, SenderNumber, SessionId, SessionNumber, Timestamp, Wire};
use rand_core::CryptoRng;
use thiserror::Error;

use super::{HandshakeError, clean_display_name, transcript};
use crate::code::JoinCode;
use crate::kem;
use crate::keys::{MemberKey, MemberPublicKey};
use crate::limits::{
    CODE_GUESSES_MAX, CODE_LIFETIME, CODES_OPEN_MAX, HANDSHAKE_TIMEOUT, HANDSHAKES_OPEN_MAX,
    HANDSHAKES_PROVED_MAX,
};
use crate::pairwise::{ConfirmationKeys, Pairwise, PairwiseKeys, Side};
use crate::srp::{Exponent, PublicValue, Verifier};
use crate::suite::Suite;

/// Who the leader is.
#[derive(Clone, Debug)]
pub struct LeaderSetup {
    /// The session.
    pub session: SessionId,
    /// The leader's sender number.
    pub number: SenderNumber,
    /// The suite that this program was built for.
    pub suite: Suite,
    /// The leader's member key.
    pub member_key: MemberKey,
    /// What the leader calls itself.
    pub display_name: String,
}

/// What to do after a joiner's message.
#[derive(Debug)]
pub enum LeaderStep {
    /// Send this packet to the joiner: M2, or the same bytes as before.
    Reply(Vec<u8>),
    /// The joiner knows the code: send the reply, then ask the user.
    Proved(Box<Proved>),
}

/// A finished handshake, at the leader. The joiner is not admitted by it.
#[derive(Debug)]
pub struct Proved {
    /// The joiner's number.
    pub number: SenderNumber,
    /// Keys with the joiner.
    pub pairwise: Pairwise,
    /// The joiner's member key.
    pub member_key: MemberPublicKey,
    /// What the joiner calls itself: a claim.
    pub display_name: String,
    /// What the code was made for.
    pub role: Role,
    /// M4, to be sent to the joiner.
    pub reply: Vec<u8>,
}

/// What the leader's user should see of the codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaderEvent {
    /// Somebody sent a wrong proof \[HSK-11\].
    GuessFailed {
        /// The code.
        code: SessionNumber,
        /// Who sent it.
        from: SenderNumber,
        /// Guesses left; at 0 the code is burnt.
        left: u8,
    },
    /// A joiner has used the code.
    CodeSpent {
        /// The code.
        code: SessionNumber,
    },
    /// The code's time is over.
    CodeExpired {
        /// The code.
        code: SessionNumber,
    },
}

/// As many codes are open as may be at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{CODES_OPEN_MAX} join codes are open already; close one first")]
pub struct CodesFull;

struct OpenCode {
    verifier: Verifier,
    role: Role,
    guesses_left: u8,
    expires: Timestamp,
}

struct Handshake {
    code: SessionNumber,
    m1: Vec<u8>,
    m2: Vec<u8>,
    deadline: Timestamp,
    progress: Progress,
}

enum Progress {
    Waiting(Box<Waiting>),
    Proved { m3: Vec<u8>, m4: Vec<u8> },
}

struct Waiting {
    member_key: MemberPublicKey,
    transcript: [u8; 32],
    keys: PairwiseKeys,
    confirmation: ConfirmationKeys,
}

impl Handshake {
    const fn is_waiting(&self) -> bool {
        matches!(self.progress, Progress::Waiting(_))
    }
}

/// All open codes and handshakes of a session's leader. Secrets are erased when dropped.
pub struct Leader {
    setup: LeaderSetup,
    codes: BTreeMap<SessionNumber, OpenCode>,
    handshakes: BTreeMap<SenderNumber, Handshake>,
    /// At most 6 of each code that was opened since the last drain.
    events: VecDeque<LeaderEvent>,
}

impl Leader {
    /// Without any code.
    pub fn new(setup: LeaderSetup) -> Self {
        let setup = LeaderSetup { display_name: clean_display_name(&setup.display_name), ..setup };
        Leader { setup, codes: BTreeMap::new(), handshakes: BTreeMap::new(), events: VecDeque::new() }
    }

    /// Makes a code with fresh words and salt for a number that the broker has opened \[COD-3\]. A code that was open for
    /// the number dies. What is kept of the words is SRP's verifier alone \[COD-4\].
    ///
    /// # Errors
    /// [`CodesFull`].
    pub fn open_code(
        &mut self,
        now: Now,
        number: SessionNumber,
        role: Role,
        rng: &mut impl CryptoRng,
    ) -> Result<JoinCode, CodesFull> {
        self.handle_timeout(now);
        if !self.codes.contains_key(&number) && self.codes.len() >= CODES_OPEN_MAX {
            return Err(CodesFull);
        }
        self.close_code(number);
        let code = JoinCode::generate(number, rng);
        let verifier = Verifier::new(number, &code.words, rng);
        let expires = now.mono + CODE_LIFETIME;
        self.codes.insert(number, OpenCode { verifier, role, guesses_left: CODE_GUESSES_MAX, expires });
        Ok(code)
    }

    /// Ends a code and the handshakes that wait under it. Whether there was one.
    pub fn close_code(&mut self, number: SessionNumber) -> bool {
        self.handshakes.retain(|_, handshake| handshake.code != number || !handshake.is_waiting());
        self.codes.remove(&number).is_some()
    }

    /// Ends all codes: on any removal of a member and on a change of leader \[COD-3\].
    pub fn close_all(&mut self) {
        self.codes.clear();
        self.handshakes.retain(|_, handshake| !handshake.is_waiting());
    }

    /// The codes that are open, with guesses left.
    pub fn open_codes(&self) -> impl Iterator<Item = (SessionNumber, u8)> {
        self.codes.iter().map(|(number, code)| (*number, code.guesses_left))
    }

    /// Takes a handshake packet. `taken` says whether a number or key is one of a member's already; `from` is the hop's
    /// word for the sender.
    ///
    /// # Errors
    /// [`HandshakeError`]: the handshake with this sender has ended; send the error's reply, if any.
    pub fn handle(
        &mut self,
        now: Now,
        from: SenderNumber,
        packet: &[u8],
        rng: &mut impl CryptoRng,
        taken: &dyn Fn(SenderNumber, &MemberPublicKey) -> bool,
    ) -> Result<LeaderStep, HandshakeError> {
        self.handle_timeout(now);
        let result = match Message::from_bytes(packet) {
            Ok(Message::M1(m1)) => self.on_m1(now, from, packet, &m1, rng, taken),
            Ok(Message::M3(proof)) => self.on_m3(now, from, packet, &proof, taken),
            Ok(Message::Failure) => Err(HandshakeError::Refused),
            Ok(Message::M2(_) | Message::M4(_)) => Err(HandshakeError::OutOfOrder),
            Err(error) => Err(HandshakeError::Malformed(error)),
        };
        if result.is_err() && self.handshakes.get(&from).is_some_and(Handshake::is_waiting) {
            self.handshakes.remove(&from);
        }
        result
    }

    /// When [`Leader::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let codes = self.codes.values().map(|code| code.expires);
        let handshakes = self.handshakes.values().map(|handshake| handshake.deadline);
        codes.chain(handshakes).min()
    }

    /// Ends codes and handshakes whose time is over.
    pub fn handle_timeout(&mut self, now: Now) {
        self.handshakes.retain(|_, handshake| now.mono < handshake.deadline);
        let expired: Vec<_> =
            self.codes.iter().filter(|(_, code)| now.mono >= code.expires).map(|(code, _)| *code).collect();
        for code in expired {
            self.close_code(code);
            self.events.push_back(LeaderEvent::CodeExpired { code });
        }
    }

    /// What the user should see, oldest first.
    pub fn poll_event(&mut self) -> Option<LeaderEvent> {
        self.events.pop_front()
    }

    fn on_m1(
        &mut self,
        now: Now,
        from: SenderNumber,
        packet: &[u8],
        m1: &M1,
        rng: &mut impl CryptoRng,
        taken: &dyn Fn(SenderNumber, &MemberPublicKey) -> bool,
    ) -> Result<LeaderStep, HandshakeError> {
        // One M2 per M1 \[HSK-9\]: the same question gets the same answer, another one ends what was begun.
        if let Some(handshake) = self.handshakes.get(&from) {
            return if handshake.m1 == packet {
                Ok(LeaderStep::Reply(handshake.m2.clone()))
            } else {
                Err(HandshakeError::OutOfOrder)
            };
        }
        self.check_m1(from, m1)?;
        // And again when M3 comes \[HSK-13\].
        if taken(from, &m1.member_key) || m1.member_key == self.setup.member_key.public() {
            return Err(HandshakeError::AlreadyMember);
        }
        let code = self.codes.get(&m1.code).ok_or(HandshakeError::NoSuchCode)?;
        let a_public = PublicValue::parse(&m1.srp_a)?;
        let b = Exponent::generate(rng);
        let share = kem::answer(&m1.x25519, &m1.kem_key, rng)?;
        let mut nonce = [0u8; 32];
        rng.fill_bytes(&mut nonce);
        let b_public = code.verifier.public_value(&b);
        let m2 = Message::M2(Box::new(M2 {
            nonce,
            salt: *code.verifier.salt(),
            member_key: self.setup.member_key.public(),
            x25519: share.x25519_public,
            kem_ciphertext: share.ciphertext,
            srp_b: *b_public.as_bytes(),
        }))
        .to_bytes();
        let premaster = code.verifier.premaster(&b, &a_public, &b_public)?;
        let transcript = transcript::transcript_hash(packet, &m2);
        let (keys, confirmation) =
            transcript::derive(&transcript, &premaster, &share.secrets, self.setup.suite);
        self.make_room(HANDSHAKES_OPEN_MAX, Handshake::is_waiting);
        let waiting = Waiting { member_key: m1.member_key, transcript, keys, confirmation };
        self.handshakes.insert(
            from,
            Handshake {
                code: m1.code,
                m1: packet.to_vec(),
                m2: m2.clone(),
                deadline: now.mono + HANDSHAKE_TIMEOUT,
                progress: Progress::Waiting(Box::new(waiting)),
            },
        );
        Ok(LeaderStep::Reply(m2))
    }

    fn check_m1(&self, from: SenderNumber, m1: &M1) -> Result<(), HandshakeError> {
        if m1.version != VERSION {
            return Err(HandshakeError::Version { theirs: m1.version, ours: VERSION });
        }
        let ours = self.setup.suite.value();
        if m1.suite != ours {
            return Err(HandshakeError::Suite { theirs: m1.suite, ours });
        }
        let is_ours = m1.session == self.setup.session
            && m1.leader == self.setup.number
            && m1.joiner == from
            && m1.joiner != m1.leader;
        if is_ours { Ok(()) } else { Err(HandshakeError::Misaddressed) }
    }

    fn on_m3(
        &mut self,
        now: Now,
        from: SenderNumber,
        packet: &[u8],
        proof: &Proof,
        taken: &dyn Fn(SenderNumber, &MemberPublicKey) -> bool,
    ) -> Result<LeaderStep, HandshakeError> {
        let mut handshake = self.handshakes.remove(&from).ok_or(HandshakeError::OutOfOrder)?;
        let waiting = match handshake.progress {
            Progress::Waiting(waiting) => waiting,
            Progress::Proved { m3, m4 } => {
                let repeated = (m3 == packet).then(|| LeaderStep::Reply(m4.clone()));
                handshake.progress = Progress::Proved { m3, m4 };
                self.handshakes.insert(from, handshake);
                return repeated.ok_or(HandshakeError::OutOfOrder);
            }
        };
        let Waiting { member_key, transcript, keys, confirmation } = *waiting;
        let code = self.codes.get_mut(&handshake.code).ok_or(HandshakeError::NoSuchCode)?;
        // Counted before comparing \[HSK-11\]: nothing that happens below gives the guess back, but the right proof,
        // which spends the code.
        code.guesses_left = code.guesses_left.saturating_sub(1);
        let (left, role) = (code.guesses_left, code.role);
        if !transcript::proof_is_right(Side::Member, &transcript, &confirmation, &proof.proof) {
            self.events.push_back(LeaderEvent::GuessFailed { code: handshake.code, from, left });
            if left == 0 {
                self.close_code(handshake.code);
            }
            return Err(HandshakeError::WrongProof);
        }
        self.close_code(handshake.code);
        self.events.push_back(LeaderEvent::CodeSpent { code: handshake.code });
        let display_name =
            transcript::open_identity(Side::Member, &transcript, &keys, &member_key, &proof.sealed)?;
        if taken(from, &member_key) {
            return Err(HandshakeError::AlreadyMember);
        }
        let m4 = Message::M4(transcript::prove(
            Side::Leader,
            &transcript,
            &confirmation,
            &keys,
            &self.setup.member_key,
            &self.setup.display_name,
        ))
        .to_bytes();
        handshake.deadline = now.mono + HANDSHAKE_TIMEOUT;
        handshake.progress = Progress::Proved { m3: packet.to_vec(), m4: m4.clone() };
        self.make_room(HANDSHAKES_PROVED_MAX, |handshake| !handshake.is_waiting());
        self.handshakes.insert(from, handshake);
        Ok(LeaderStep::Proved(Box::new(Proved {
            number: from,
            pairwise: Pairwise::new(transcript, keys, Side::Leader),
            member_key,
            display_name,
            role,
            reply: m4,
        })))
    }

    /// Before one more of a kind is added, the oldest of the kind gives way if there are `limit` \[HSK-10\].
    fn make_room(&mut self, limit: usize, of_kind: impl Fn(&Handshake) -> bool) {
        let same = || self.handshakes.iter().filter(|(_, handshake)| of_kind(handshake));
        if same().count() >= limit
            && let Some(oldest) =
                same().min_by_key(|(_, handshake)| handshake.deadline).map(|(from, _)| *from)
        {
            self.handshakes.remove(&oldest);
        }
    }
}

impl std::fmt::Debug for Leader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leader({} codes, {} handshakes)", self.codes.len(), self.handshakes.len())
    }
}
