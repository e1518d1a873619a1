//! The handshake messages M1 to M4 and the failure message \[HSK-1\]: whole packets, from the packet kind on. Every
//! field has one length or a length before it; a message has one encoding.

use crate::coding::{DecodeError, Reader, Wire, put_var};
use crate::id::{SenderNumber, SessionId, SessionNumber};
use crate::mpsl::DISPLAY_NAME_MAX;
use crate::packet::PacketKind;

/// Length of SRP's public values: the group's 3,072 bits.
pub const SRP_LENGTH: usize = 384;
/// Length of an ML-KEM-768 encapsulation key (FIPS 203).
pub const KEM_KEY_LENGTH: usize = 1_184;
/// Length of an ML-KEM-768 ciphertext (FIPS 203).
pub const KEM_CIPHERTEXT_LENGTH: usize = 1_088;
/// Length of a proof: HMAC-SHA-256.
pub const PROOF_LENGTH: usize = 32;

/// Signature and the name's length prefix, before the name.
const SEALED_FIXED: usize = 64 + 2;
/// Shortest sealed part: an empty name and the shorter tag.
pub const SEALED_LENGTH_MIN: usize = SEALED_FIXED + 16;
/// Longest sealed part: the longest name and the longer tag.
pub const SEALED_LENGTH_MAX: usize = SEALED_FIXED + DISPLAY_NAME_MAX + 20;

/// The longest handshake message, M1.
pub const MESSAGE_LENGTH_MAX: usize = 2 + M1::BODY_LENGTH;

/// The second byte of a handshake packet \[HSK-1\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MessageType {
    /// Joiner's offer.
    M1 = 1,
    /// Leader's answer.
    M2 = 2,
    /// Joiner's proof.
    M3 = 3,
    /// Leader's proof.
    M4 = 4,
    /// The one failure; says nothing more.
    Failure = 5,
}

/// Joiner to leader \[HSK-2\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct M1 {
    /// [`crate::mpsl::VERSION`]; other values decode, so that the receiver can name them.
    pub version: u8,
    /// Suite; other values decode, so that the receiver can name them.
    pub suite: u8,
    /// The session.
    pub session: SessionId,
    /// Joiner's sender number.
    pub joiner: SenderNumber,
    /// Leader's sender number.
    pub leader: SenderNumber,
    /// Which open code is meant: its nine digits.
    pub code: SessionNumber,
    /// Fresh random bytes.
    pub nonce: [u8; 32],
    /// Joiner's member key, Ed25519.
    pub member_key: [u8; 32],
    /// Joiner's ephemeral X25519 key.
    pub x25519: [u8; 32],
    /// Joiner's ephemeral ML-KEM-768 encapsulation key.
    pub kem_key: [u8; KEM_KEY_LENGTH],
    /// SRP's A, unchecked.
    pub srp_a: [u8; SRP_LENGTH],
}

impl M1 {
    const BODY_LENGTH: usize = 1 + 1 + 16 + 2 + 2 + 4 + 32 + 32 + 32 + KEM_KEY_LENGTH + SRP_LENGTH;
}

/// Leader to joiner \[HSK-3\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct M2 {
    /// Fresh random bytes.
    pub nonce: [u8; 32],
    /// The code's salt.
    pub salt: [u8; 32],
    /// Leader's member key, Ed25519.
    pub member_key: [u8; 32],
    /// Leader's ephemeral X25519 key.
    pub x25519: [u8; 32],
    /// Encapsulated to the joiner's ML-KEM key.
    pub kem_ciphertext: [u8; KEM_CIPHERTEXT_LENGTH],
    /// SRP's B, unchecked.
    pub srp_b: [u8; SRP_LENGTH],
}

/// A proof and what is sealed beside it: M3 and M4 have one shape \[HSK-6\] \[HSK-7\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// HMAC-SHA-256 with the side's confirmation key.
    pub proof: [u8; PROOF_LENGTH],
    /// A sealed [`Identity`].
    pub sealed: Vec<u8>,
}

/// What M3 and M4 seal: signature and display name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Ed25519, by the member key in M1 or M2.
    pub signature: [u8; 64],
    /// A claim, not an identity.
    pub display_name: String,
}

impl Wire for Identity {
    fn encode(&self, out: &mut Vec<u8>) {
        self.signature.encode(out);
        put_var(out, self.display_name.as_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Identity {
            signature: reader.array()?,
            display_name: reader.text("display name", DISPLAY_NAME_MAX)?.to_owned(),
        })
    }
}

/// Any handshake message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Joiner's offer.
    M1(Box<M1>),
    /// Leader's answer.
    M2(Box<M2>),
    /// Joiner's proof.
    M3(Proof),
    /// Leader's proof.
    M4(Proof),
    /// The one failure \[HSK-8\].
    Failure,
}

impl Message {
    /// The failure message, whole.
    pub const FAILURE: [u8; 2] = [PacketKind::Handshake as u8, MessageType::Failure as u8];

    /// Which message this is.
    pub const fn message_type(&self) -> MessageType {
        match self {
            Self::M1(_) => MessageType::M1,
            Self::M2(_) => MessageType::M2,
            Self::M3(_) => MessageType::M3,
            Self::M4(_) => MessageType::M4,
            Self::Failure => MessageType::Failure,
        }
    }
}

impl Wire for Message {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(PacketKind::Handshake as u8);
        out.push(self.message_type() as u8);
        match self {
            Self::M1(m1) => encode_m1(m1, out),
            Self::M2(m2) => {
                m2.nonce.encode(out);
                m2.salt.encode(out);
                m2.member_key.encode(out);
                m2.x25519.encode(out);
                m2.kem_ciphertext.encode(out);
                m2.srp_b.encode(out);
            }
            Self::M3(proof) | Self::M4(proof) => {
                proof.proof.encode(out);
                put_var(out, &proof.sealed);
            }
            Self::Failure => {}
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.u8()? != PacketKind::Handshake as u8 {
            return Err(DecodeError::Malformed("packet kind: not a handshake"));
        }
        match reader.u8()? {
            1 => Ok(Self::M1(Box::new(decode_m1(reader)?))),
            2 => Ok(Self::M2(Box::new(M2 {
                nonce: reader.array()?,
                salt: reader.array()?,
                member_key: reader.array()?,
                x25519: reader.array()?,
                kem_ciphertext: reader.array()?,
                srp_b: reader.array()?,
            }))),
            3 => Ok(Self::M3(decode_proof(reader)?)),
            4 => Ok(Self::M4(decode_proof(reader)?)),
            5 => Ok(Self::Failure),
            _ => Err(DecodeError::Malformed("handshake message type")),
        }
    }
}

fn encode_m1(m1: &M1, out: &mut Vec<u8>) {
    out.push(m1.version);
    out.push(m1.suite);
    m1.session.encode(out);
    m1.joiner.encode(out);
    m1.leader.encode(out);
    m1.code.value().encode(out);
    m1.nonce.encode(out);
    m1.member_key.encode(out);
    m1.x25519.encode(out);
    m1.kem_key.encode(out);
    m1.srp_a.encode(out);
}

fn decode_m1(reader: &mut Reader<'_>) -> Result<M1, DecodeError> {
    Ok(M1 {
        version: reader.u8()?,
        suite: reader.u8()?,
        session: SessionId::decode(reader)?,
        joiner: SenderNumber::decode(reader)?,
        leader: SenderNumber::decode(reader)?,
        code: SessionNumber::new(reader.u32()?).ok_or(DecodeError::Malformed("session number"))?,
        nonce: reader.array()?,
        member_key: reader.array()?,
        x25519: reader.array()?,
        kem_key: reader.array()?,
        srp_a: reader.array()?,
    })
}

fn decode_proof(reader: &mut Reader<'_>) -> Result<Proof, DecodeError> {
    let proof = reader.array()?;
    let sealed = reader.var("sealed identity", SEALED_LENGTH_MAX)?;
    if sealed.len() < SEALED_LENGTH_MIN {
        return Err(DecodeError::Truncated);
    }
    Ok(Proof { proof, sealed: sealed.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Message> {
        let proof = Proof { proof: [7; 32], sealed: vec![8; SEALED_LENGTH_MIN] };
        vec![
            Message::M1(Box::new(M1 {
                version: 1,
                suite: 1,
                session: SessionId([1; 16]),
                joiner: SenderNumber::new(2).unwrap(),
                leader: SenderNumber::new(1).unwrap(),
                code: SessionNumber::new(483_920_117).unwrap(),
                nonce: [2; 32],
                member_key: [3; 32],
                x25519: [4; 32],
                kem_key: [5; KEM_KEY_LENGTH],
                srp_a: [6; SRP_LENGTH],
            })),
            Message::M2(Box::new(M2 {
                nonce: [1; 32],
                salt: [2; 32],
                member_key: [3; 32],
                x25519: [4; 32],
                kem_ciphertext: [5; KEM_CIPHERTEXT_LENGTH],
                srp_b: [6; SRP_LENGTH],
            })),
            Message::M3(proof.clone()),
            Message::M4(proof),
            Message::Failure,
        ]
    }

    /// \[HSK-1\] \[HSK-8\]: every message reads back, and no prefix or extension of one is a message.
    #[test]
    fn messages_have_one_encoding() {
        for message in samples() {
            let bytes = message.to_bytes();
            assert!(bytes.len() <= MESSAGE_LENGTH_MAX);
            assert_eq!(Message::from_bytes(&bytes), Ok(message));
            for end in 0..bytes.len() {
                assert!(Message::from_bytes(&bytes[..end]).is_err());
            }
            let longer = [&bytes[..], &[0]].concat();
            assert!(Message::from_bytes(&longer).is_err());
        }
        assert_eq!(Message::Failure.to_bytes(), Message::FAILURE);
        assert_eq!(samples()[0].to_bytes().len(), MESSAGE_LENGTH_MAX);
    }

    #[test]
    fn sealed_parts_are_refused_beyond_their_limits() {
        for (length, fits) in [
            (SEALED_LENGTH_MIN - 1, false),
            (SEALED_LENGTH_MIN, true),
            (SEALED_LENGTH_MAX, true),
            (SEALED_LENGTH_MAX + 1, false),
        ] {
            let bytes = Message::M3(Proof { proof: [0; 32], sealed: vec![0; length] }).to_bytes();
            assert_eq!(Message::from_bytes(&bytes).is_ok(), fits, "{length}");
        }
    }

    #[test]
    fn other_kinds_and_types_are_refused() {
        assert!(Message::from_bytes(&[2, 5]).is_err());
        assert!(Message::from_bytes(&[1, 0]).is_err());
        assert!(Message::from_bytes(&[1, 6]).is_err());
        assert!(Message::from_bytes(&[]).is_err());
    }

    #[test]
    fn identities_read_back_and_hold_their_limit() {
        let identity = |length| Identity { signature: [1; 64], display_name: "a".repeat(length) };
        let longest = identity(DISPLAY_NAME_MAX);
        assert_eq!(Identity::from_bytes(&longest.to_bytes()), Ok(longest));
        assert!(Identity::from_bytes(&identity(DISPLAY_NAME_MAX + 1).to_bytes()).is_err());
        let control = Identity { signature: [1; 64], display_name: "a\u{1b}[2J".into() };
        assert!(Identity::from_bytes(&control.to_bytes()).is_err());
    }
}
