//! What the mesh CA takes back \[REV-1\]. Form only; signing and checking are `sealcast-trust`'s.
//!
//! `version8 | mesh (length16, text) | number64 | issued64 | issuing (length16, DER) |
//! count16 x (certificate[32], expires64) | signature[64]`

use crate::coding::{DecodeError, Reader, Wire, put_var};
use crate::mesh::{CHAIN_CERTIFICATE_LENGTH_MAX, REVOCATIONS_LENGTH_MAX};
use crate::time::WallTime;

/// The form that this code writes and reads.
pub const REVOCATION_LIST_VERSION: u8 = 1;
/// Entries of one list: half of the certificates of a mesh of a thousand nodes; those that ended by themselves leave it.
pub const REVOKED_MAX: usize = 1_024;
/// A whole list in bytes.
pub const REVOCATION_LIST_LENGTH_MAX: usize =
    1 + 2 + MESH_LENGTH_MAX + 8 + 8 + 2 + CHAIN_CERTIFICATE_LENGTH_MAX + 2 + REVOKED_MAX * ENTRY_LENGTH + 64;

const MESH_LENGTH_MAX: usize = 63;
const ENTRY_LENGTH: usize = 32 + 8;
const LABEL: &[u8] = b"sealcast revocations 1";
const _: () = assert!(REVOCATION_LIST_LENGTH_MAX <= REVOCATIONS_LENGTH_MAX, "a full list can be flooded");

/// One certificate that is no longer good.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Revoked {
    /// SHA-256 of the leaf certificate (DER).
    pub certificate: [u8; 32],
    /// When it would have ended by itself.
    pub expires: WallTime,
}

/// A list without its signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RevocationBody {
    /// The mesh's name.
    pub mesh: String,
    /// Counts the lists, from 1.
    pub number: u64,
    /// When it was made.
    pub issued: WallTime,
    /// The certificate (DER) whose key signs.
    pub issuing: Vec<u8>,
    /// Ascending by certificate, at most [`REVOKED_MAX`].
    pub revoked: Vec<Revoked>,
}

impl RevocationBody {
    /// What the issuing key signs: the label and the encoding up to the signature \[REV-2\].
    pub fn signed_message(&self) -> Vec<u8> {
        let mut message = LABEL.to_vec();
        self.encode(&mut message);
        message
    }
}

impl Wire for RevocationBody {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.revoked.len() <= REVOKED_MAX, "a list of {} certificates", self.revoked.len());
        out.push(REVOCATION_LIST_VERSION);
        put_var(out, self.mesh.as_bytes());
        self.number.encode(out);
        self.issued.0.encode(out);
        put_var(out, &self.issuing);
        (self.revoked.len() as u16).encode(out);
        for Revoked { certificate, expires } in &self.revoked {
            certificate.encode(out);
            expires.0.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.u8()? != REVOCATION_LIST_VERSION {
            return Err(DecodeError::Malformed("version of a revocation list"));
        }
        let mesh = reader.text("mesh name", MESH_LENGTH_MAX)?.to_owned();
        let number = reader.u64()?;
        if number == 0 {
            return Err(DecodeError::Malformed("number of a revocation list"));
        }
        let issued = WallTime(reader.u64()?);
        let issuing = reader.var("issuing certificate", CHAIN_CERTIFICATE_LENGTH_MAX)?.to_vec();
        let count = usize::from(reader.u16()?);
        if count > REVOKED_MAX {
            return Err(DecodeError::TooLong { what: "revocation list", length: count, limit: REVOKED_MAX });
        }
        let mut revoked: Vec<Revoked> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = Revoked { certificate: reader.array()?, expires: WallTime(reader.u64()?) };
            if revoked.last().is_some_and(|last| last.certificate >= entry.certificate) {
                return Err(DecodeError::Malformed("order of a revocation list"));
            }
            revoked.push(entry);
        }
        Ok(RevocationBody { mesh, number, issued, issuing, revoked })
    }
}

/// A signed list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedRevocations {
    /// What it says.
    pub body: RevocationBody,
    /// Ed25519 by the issuing key over [`RevocationBody::signed_message`].
    pub signature: [u8; 64],
}

impl Wire for SignedRevocations {
    fn encode(&self, out: &mut Vec<u8>) {
        self.body.encode(out);
        out.extend_from_slice(&self.signature);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(SignedRevocations { body: RevocationBody::decode(reader)?, signature: reader.array()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: u16) -> SignedRevocations {
        let entry = |index: u16| {
            let mut certificate = [0; 32];
            certificate[..2].copy_from_slice(&index.to_be_bytes());
            Revoked { certificate, expires: WallTime(9_000) }
        };
        let body = RevocationBody {
            mesh: "m".repeat(MESH_LENGTH_MAX),
            number: 7,
            issued: WallTime(1_000),
            issuing: vec![3; CHAIN_CERTIFICATE_LENGTH_MAX],
            revoked: (0..entries).map(entry).collect(),
        };
        SignedRevocations { body, signature: [5; 64] }
    }

    /// \[REV-1\]: reads back at its limits; no prefix or extension of one is one.
    #[test]
    fn reads_back_at_the_limits() {
        let full = list(REVOKED_MAX as u16);
        let bytes = full.to_bytes();
        assert_eq!(bytes.len(), REVOCATION_LIST_LENGTH_MAX);
        assert_eq!(SignedRevocations::from_bytes(&bytes), Ok(full));
        let short = list(2).to_bytes();
        for length in 0..short.len() {
            assert!(SignedRevocations::from_bytes(&short[..length]).is_err());
        }
        assert_eq!(
            SignedRevocations::from_bytes(&[&short[..], &[0]].concat()),
            Err(DecodeError::Trailing(1))
        );
    }

    /// \[REV-1\]: entries ascend, numbers start at 1, and one more than the limit is refused by its count alone.
    #[test]
    fn refuses_what_it_cannot_be() {
        let mut doubled = list(2);
        doubled.body.revoked[1] = doubled.body.revoked[0];
        let mut zeroth = list(1);
        zeroth.body.number = 0;
        for bad in [doubled, zeroth] {
            assert!(SignedRevocations::from_bytes(&bad.to_bytes()).is_err());
        }
        let mut version = list(1).to_bytes();
        version[0] = 2;
        assert!(SignedRevocations::from_bytes(&version).is_err());
        let mut long = list(1).to_bytes();
        let count_at = long.len() - 64 - ENTRY_LENGTH - 2;
        long[count_at..count_at + 2].copy_from_slice(&(REVOKED_MAX as u16 + 1).to_be_bytes());
        assert!(matches!(SignedRevocations::from_bytes(&long), Err(DecodeError::TooLong { .. })));
    }
}
