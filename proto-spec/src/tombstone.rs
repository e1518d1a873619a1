//! Tombstones: a broker's word that a session or one of its members is over \[TMB-1\]. Form only; signing and checking
//! are `sealcast-trust`'s.
//!
//! `version8 | mesh (length16, text) | session[16] | number16 | issued64 | keep_until64 | broker[32] | signature[64]`

use crate::coding::{DecodeError, Reader, Wire, put_var};
use crate::id::{SenderNumber, SessionId};
use crate::time::WallTime;

/// The form that this code writes and reads.
pub const TOMBSTONE_VERSION: u8 = 1;
/// A whole tombstone in bytes: the mesh's name has at most 63.
pub const TOMBSTONE_LENGTH_MAX: usize = 1 + 2 + MESH_LENGTH_MAX + 16 + 2 + 8 + 8 + 32 + 64;

const MESH_LENGTH_MAX: usize = 63;
const LABEL: &[u8] = b"sealcast tombstone 1";

/// What has ended, without the signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TombstoneBody {
    /// The mesh's name.
    pub mesh: String,
    /// The session.
    pub session: SessionId,
    /// The member who was removed; `None` when the whole session ended, 0 on the wire.
    pub number: Option<SenderNumber>,
    /// When the broker said so.
    pub issued: WallTime,
    /// Until when nodes keep it: the last ticket that it ends has expired then \[TMB-3\].
    pub keep_until: WallTime,
    /// SHA-256 of the broker's certificate.
    pub broker: [u8; 32],
}

impl TombstoneBody {
    /// What the broker signs: the label and the encoding up to the signature \[TMB-2\].
    pub fn signed_message(&self) -> Vec<u8> {
        let mut message = LABEL.to_vec();
        self.encode(&mut message);
        message
    }
}

impl Wire for TombstoneBody {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.mesh.len() <= MESH_LENGTH_MAX, "a mesh's name of {} bytes", self.mesh.len());
        out.push(TOMBSTONE_VERSION);
        put_var(out, self.mesh.as_bytes());
        self.session.encode(out);
        self.number.map_or(0, SenderNumber::value).encode(out);
        self.issued.0.encode(out);
        self.keep_until.0.encode(out);
        self.broker.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.u8()? != TOMBSTONE_VERSION {
            return Err(DecodeError::Malformed("tombstone version"));
        }
        let mesh = reader.text("mesh name", MESH_LENGTH_MAX)?.to_owned();
        let session = SessionId::decode(reader)?;
        let number = SenderNumber::new(reader.u16()?);
        let issued = WallTime(reader.u64()?);
        let keep_until = WallTime(reader.u64()?);
        if keep_until < issued {
            return Err(DecodeError::Malformed("tombstone times"));
        }
        Ok(TombstoneBody { mesh, session, number, issued, keep_until, broker: reader.array()? })
    }
}

/// A signed tombstone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tombstone {
    /// What has ended.
    pub body: TombstoneBody,
    /// Ed25519 by the broker over [`TombstoneBody::signed_message`].
    pub signature: [u8; 64],
}

impl Wire for Tombstone {
    fn encode(&self, out: &mut Vec<u8>) {
        self.body.encode(out);
        out.extend_from_slice(&self.signature);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Tombstone { body: TombstoneBody::decode(reader)?, signature: reader.array()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstone() -> Tombstone {
        Tombstone {
            body: TombstoneBody {
                mesh: "mesh".into(),
                session: SessionId([3; 16]),
                number: SenderNumber::new(9),
                issued: WallTime(1_000),
                keep_until: WallTime(2_000),
                broker: [4; 32],
            },
            signature: [5; 64],
        }
    }

    /// \[TMB-1\]: reads back; no prefix or extension of one is one.
    #[test]
    fn reads_back_and_refuses_the_rest() {
        let bytes = tombstone().to_bytes();
        assert!(bytes.len() <= TOMBSTONE_LENGTH_MAX);
        assert_eq!(Tombstone::from_bytes(&bytes), Ok(tombstone()));
        for length in 0..bytes.len() {
            assert!(Tombstone::from_bytes(&bytes[..length]).is_err());
        }
        assert_eq!(Tombstone::from_bytes(&[&bytes[..], &[0]].concat()), Err(DecodeError::Trailing(1)));
        let mut other_version = bytes;
        other_version[0] = 2;
        assert!(Tombstone::from_bytes(&other_version).is_err());
        let mut backwards = tombstone();
        backwards.body.keep_until = WallTime(999);
        assert!(Tombstone::from_bytes(&backwards.to_bytes()).is_err());
        let mut long = tombstone().to_bytes();
        long[2] = 64;
        assert!(matches!(Tombstone::from_bytes(&long), Err(DecodeError::TooLong { .. })));
    }
}
