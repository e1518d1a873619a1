//! Checkpoints: a broker's signed word on how far its audit chain had come \[AUD-6\]. Form only; signing and checking are
//! `sealcast-trust`'s.
//!
//! `version8 | mesh (length16, text) | index64 | hash[32] | time64 | broker[32] | signature[64]`. A later version adds the
//! root of a Merkle tree over the same records.

use crate::coding::{DecodeError, Reader, Wire, put_var};
use crate::time::WallTime;

/// The form that this code writes and reads.
pub const CHECKPOINT_VERSION: u8 = 1;

const MESH_LENGTH_MAX: usize = 63;
const LABEL: &[u8] = b"sealcast audit checkpoint 1";

/// How far a chain had come, without the signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckpointBody {
    /// The mesh's name.
    pub mesh: String,
    /// The last record's index.
    pub index: u64,
    /// The last record's link.
    pub hash: [u8; 32],
    /// When the broker said so.
    pub time: WallTime,
    /// SHA-256 of the broker's certificate.
    pub broker: [u8; 32],
}

impl CheckpointBody {
    /// What the broker signs: the label and the encoding up to the signature.
    pub fn signed_message(&self) -> Vec<u8> {
        let mut message = LABEL.to_vec();
        self.encode(&mut message);
        message
    }
}

impl Wire for CheckpointBody {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.mesh.len() <= MESH_LENGTH_MAX, "a mesh's name of {} bytes", self.mesh.len());
        out.push(CHECKPOINT_VERSION);
        put_var(out, self.mesh.as_bytes());
        self.index.encode(out);
        self.hash.encode(out);
        self.time.0.encode(out);
        self.broker.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.u8()? != CHECKPOINT_VERSION {
            return Err(DecodeError::Malformed("checkpoint version"));
        }
        let mesh = reader.text("mesh name", MESH_LENGTH_MAX)?.to_owned();
        let index = reader.u64()?;
        let hash = reader.array()?;
        let time = WallTime(reader.u64()?);
        Ok(CheckpointBody { mesh, index, hash, time, broker: reader.array()? })
    }
}

/// A signed checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// How far the chain had come.
    pub body: CheckpointBody,
    /// Ed25519 by the broker over [`CheckpointBody::signed_message`].
    pub signature: [u8; 64],
}

impl Wire for Checkpoint {
    fn encode(&self, out: &mut Vec<u8>) {
        self.body.encode(out);
        out.extend_from_slice(&self.signature);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Checkpoint { body: CheckpointBody::decode(reader)?, signature: reader.array()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// \[AUD-6\]: reads back; no prefix or extension of one is one.
    #[test]
    fn reads_back_and_refuses_the_rest() {
        let checkpoint = Checkpoint {
            body: CheckpointBody {
                mesh: "mesh".into(),
                index: 7,
                hash: [1; 32],
                time: WallTime(2),
                broker: [3; 32],
            },
            signature: [4; 64],
        };
        let bytes = checkpoint.to_bytes();
        assert_eq!(Checkpoint::from_bytes(&bytes), Ok(checkpoint));
        for length in 0..bytes.len() {
            assert!(Checkpoint::from_bytes(&bytes[..length]).is_err());
        }
        assert!(Checkpoint::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }
}
