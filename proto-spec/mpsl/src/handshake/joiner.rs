//! The joiner's side of the handshake. Owns the typed code until the proof is made, and erases it then; never answers
//! anybody but the leader it was pointed to.

use proto_spec::mpsl::VERSION;
use proto_spec::mpsl::handshake::{M1, M2, Message, Proof};
use proto_spec::{Now, SenderNumber, SessionId, Timestamp, Wire};
use rand_core::CryptoRng;
use zeroize::Zeroize;

use super::{HandshakeError, clean_display_name, transcript};
use crate::code::JoinCode;
use crate::kem::JoinerKeys;
use crate::keys::{MemberKey, MemberPublicKey};
use crate::limits::{HANDSHAKE_TIMEOUT, JOINER_PROOFS_MAX};
use crate::pairwise::{ConfirmationKeys, Pairwise, PairwiseKeys, Side};
use crate::srp::{self, Exponent, PublicValue};
use crate::suite::Suite;

/// How many proofs may still be sent for one typed code \[HSK-12\]. The caller makes one when a code is typed and
/// passes the same value to every handshake with that code, over reconnects too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProofBudget {
    left: u8,
}

impl ProofBudget {
    /// For a freshly typed code.
    pub const fn new() -> Self {
        ProofBudget { left: JOINER_PROOFS_MAX }
    }

    /// Proofs left.
    pub const fn left(self) -> u8 {
        self.left
    }
}

impl Default for ProofBudget {
    fn default() -> Self {
        Self::new()
    }
}

/// Where and as whom to join.
#[derive(Clone, Debug)]
pub struct JoinerSetup {
    /// The session, from the look-up.
    pub session: SessionId,
    /// Our number, from the lobby ticket.
    pub number: SenderNumber,
    /// The leader's number, from the lobby ticket.
    pub leader: SenderNumber,
    /// The suite that this program was built for.
    pub suite: Suite,
    /// What we call ourselves.
    pub display_name: String,
}

/// What to do after a message of the leader's.
#[derive(Debug)]
pub enum JoinerStep {
    /// Send this packet to the leader: M3.
    Reply(Vec<u8>),
    /// The leader knows the code too.
    Established(Box<Established>),
}

/// A finished handshake, at the joiner.
#[derive(Debug)]
pub struct Established {
    /// Keys with the leader.
    pub pairwise: Pairwise,
    /// Our member key, made for this join.
    pub member_key: MemberKey,
    /// The leader's number.
    pub leader: SenderNumber,
    /// The leader's member key.
    pub leader_key: MemberPublicKey,
    /// What the leader calls itself.
    pub leader_name: String,
}

/// One handshake of a joiner. Secrets are erased when dropped.
pub struct Joiner {
    setup: JoinerSetup,
    member_key: MemberKey,
    m1: Vec<u8>,
    deadline: Timestamp,
    state: State,
}

enum State {
    AwaitM2 { code: JoinCode, a: Exponent, a_public: PublicValue, keys: JoinerKeys },
    AwaitM4 { m2: Vec<u8>, m3: Vec<u8>, leader_key: MemberPublicKey, secrets: Box<Secrets> },
    Ended,
}

struct Secrets {
    transcript: [u8; 32],
    keys: PairwiseKeys,
    confirmation: ConfirmationKeys,
}

impl Joiner {
    /// Begins: returns the handshake and M1, to be sent to the leader.
    ///
    /// # Errors
    /// [`HandshakeError::BudgetSpent`] if the code has been tried as often as it may.
    pub fn start(
        now: Now,
        setup: JoinerSetup,
        code: &JoinCode,
        budget: ProofBudget,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        if budget.left == 0 {
            return Err(HandshakeError::BudgetSpent);
        }
        let a = Exponent::generate(rng);
        let keys = JoinerKeys::generate(rng);
        let member_key = MemberKey::generate(rng);
        let mut nonce = [0u8; 32];
        rng.fill_bytes(&mut nonce);
        let a_public = srp::client_public_value(&a);
        let m1 = Message::M1(Box::new(M1 {
            version: VERSION,
            suite: setup.suite.value(),
            session: setup.session,
            joiner: setup.number,
            leader: setup.leader,
            code: code.number,
            nonce,
            member_key: member_key.public(),
            x25519: keys.x25519_public(),
            kem_key: keys.ml_kem_public(),
            srp_a: *a_public.as_bytes(),
        }))
        .to_bytes();
        let joiner = Joiner {
            setup: JoinerSetup { display_name: clean_display_name(&setup.display_name), ..setup },
            member_key,
            m1: m1.clone(),
            deadline: now.mono + HANDSHAKE_TIMEOUT,
            state: State::AwaitM2 { code: code.clone(), a, a_public, keys },
        };
        Ok((joiner, m1))
    }

    /// The packet that awaits an answer, to be sent again after a re-attachment; `None` once ended. The bytes are
    /// always the same \[HSK-9\].
    pub fn pending(&self) -> Option<&[u8]> {
        match &self.state {
            State::AwaitM2 { .. } => Some(&self.m1),
            State::AwaitM4 { m3, .. } => Some(m3),
            State::Ended => None,
        }
    }

    /// When [`Joiner::handle_timeout`] is due.
    pub const fn poll_timeout(&self) -> Option<Timestamp> {
        match self.state {
            State::Ended => None,
            _ => Some(self.deadline),
        }
    }

    /// Ends the handshake if the leader has been silent for too long.
    ///
    /// # Errors
    /// [`HandshakeError::TimedOut`] when that is so.
    pub fn handle_timeout(&mut self, now: Now) -> Result<(), HandshakeError> {
        match self.state {
            State::AwaitM2 { .. } | State::AwaitM4 { .. } if now.mono >= self.deadline => {
                self.state = State::Ended;
                Err(HandshakeError::TimedOut)
            }
            _ => Ok(()),
        }
    }

    /// Takes a handshake packet from the leader.
    ///
    /// # Errors
    /// [`HandshakeError::Misaddressed`] for packets of others than the leader: leave them aside, nothing has changed. Any
    /// other: the handshake has ended; send its reply, if any, and start anew if there is a reason to.
    pub fn handle(
        &mut self,
        now: Now,
        from: SenderNumber,
        packet: &[u8],
        budget: &mut ProofBudget,
    ) -> Result<JoinerStep, HandshakeError> {
        // A stranger's packet is not the leader's fault: the handshake stays as it is.
        if from != self.setup.leader {
            return Err(HandshakeError::Misaddressed);
        }
        self.handle_timeout(now)?;
        match std::mem::replace(&mut self.state, State::Ended) {
            State::AwaitM2 { code, a, a_public, keys } => match decode(packet)? {
                Message::M2(m2) => self.on_m2(now, packet, &m2, (code, a, a_public, keys), budget),
                Message::Failure => Err(HandshakeError::Refused),
                _ => Err(HandshakeError::OutOfOrder),
            },
            State::AwaitM4 { m2, m3, leader_key, secrets } => {
                if packet == m2 {
                    let repeated = m3.clone();
                    self.state = State::AwaitM4 { m2, m3, leader_key, secrets };
                    return Ok(JoinerStep::Reply(repeated));
                }
                match decode(packet)? {
                    Message::M4(proof) => self.on_m4(&proof, leader_key, *secrets, budget),
                    Message::Failure => Err(HandshakeError::Refused),
                    _ => Err(HandshakeError::OutOfOrder),
                }
            }
            State::Ended => Err(HandshakeError::OutOfOrder),
        }
    }

    fn on_m2(
        &mut self,
        now: Now,
        packet: &[u8],
        m2: &M2,
        (code, a, a_public, keys): (JoinCode, Exponent, PublicValue, JoinerKeys),
        budget: &mut ProofBudget,
    ) -> Result<JoinerStep, HandshakeError> {
        let b_public = PublicValue::parse(&m2.srp_b)?;
        let shared = keys.agree(&m2.x25519, &m2.kem_ciphertext)?;
        // Counted before the proof exists: whoever gets it has had one guess at the code \[HSK-12\].
        budget.left = budget.left.checked_sub(1).ok_or(HandshakeError::BudgetSpent)?;
        let premaster = srp::client_premaster(&a, &a_public, &b_public, &m2.salt, code.number, &code.words)?;
        let transcript = transcript::transcript_hash(&self.m1, packet);
        let (keys, confirmation) = transcript::derive(&transcript, &premaster, &shared, self.setup.suite);
        let m3 = Message::M3(transcript::prove(
            Side::Member,
            &transcript,
            &confirmation,
            &keys,
            &self.member_key,
            &self.setup.display_name,
        ))
        .to_bytes();
        self.deadline = now.mono + HANDSHAKE_TIMEOUT;
        self.state = State::AwaitM4 {
            m2: packet.to_vec(),
            m3: m3.clone(),
            leader_key: m2.member_key,
            secrets: Box::new(Secrets { transcript, keys, confirmation }),
        };
        Ok(JoinerStep::Reply(m3))
    }

    fn on_m4(
        &mut self,
        proof: &Proof,
        leader_key: MemberPublicKey,
        secrets: Secrets,
        budget: &mut ProofBudget,
    ) -> Result<JoinerStep, HandshakeError> {
        let Secrets { transcript, keys, confirmation } = secrets;
        if !transcript::proof_is_right(Side::Leader, &transcript, &confirmation, &proof.proof) {
            return Err(HandshakeError::WrongProof);
        }
        let leader_name =
            transcript::open_identity(Side::Leader, &transcript, &keys, &leader_key, &proof.sealed)?;
        *budget = ProofBudget::new();
        Ok(JoinerStep::Established(Box::new(Established {
            pairwise: Pairwise::new(transcript, keys, Side::Member),
            member_key: self.member_key.clone(),
            leader: self.setup.leader,
            leader_key,
            leader_name,
        })))
    }
}

impl std::fmt::Debug for Joiner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::AwaitM2 { .. } => "awaits M2",
            State::AwaitM4 { .. } => "awaits M4",
            State::Ended => "ended",
        };
        write!(f, "Joiner({} -> {}, {state})", self.setup.number, self.setup.leader)
    }
}

impl Drop for Joiner {
    fn drop(&mut self) {
        // M1 and M3 are public, but M3 is a guess's oracle for whoever reads this memory later.
        if let State::AwaitM4 { m3, .. } = &mut self.state {
            m3.zeroize();
        }
    }
}

fn decode(packet: &[u8]) -> Result<Message, HandshakeError> {
    Message::from_bytes(packet).map_err(HandshakeError::Malformed)
}
