//! The clear part of a pairwise packet \[PWM-1\]: `kind8 | type8 | counter64`, then what is sealed.

use crate::coding::{DecodeError, Reader, Wire};
use crate::packet::PacketKind;

/// Longest plaintext of a pairwise message: an epoch message of the largest roster fits well, and the packet stays
/// beneath a frame's limit.
pub const PLAINTEXT_MAX: usize = 32 * 1024;

/// Longest pairwise packet.
pub const PACKET_MAX: usize = PairwiseHeader::LENGTH + PLAINTEXT_MAX + 20;

/// The clear part of a pairwise packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PairwiseHeader {
    /// What the message is; see the registry. 0 is reserved.
    pub message_type: u8,
    /// Counts the messages of one direction, never used twice.
    pub counter: u64,
}

impl PairwiseHeader {
    /// Length in bytes.
    pub const LENGTH: usize = 10;

    /// The header as it stands before the sealed bytes.
    pub fn to_array(self) -> [u8; Self::LENGTH] {
        let mut out = [0u8; Self::LENGTH];
        out[0] = PacketKind::Pairwise as u8;
        out[1] = self.message_type;
        out[2..].copy_from_slice(&self.counter.to_be_bytes());
        out
    }

    /// Splits a packet into header and sealed bytes.
    ///
    /// # Errors
    /// [`DecodeError`] for another packet kind, type 0, and packets shorter than a header or above [`PACKET_MAX`].
    pub fn split(packet: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        if packet.len() > PACKET_MAX {
            return Err(DecodeError::TooLong {
                what: "pairwise packet",
                length: packet.len(),
                limit: PACKET_MAX,
            });
        }
        let mut reader = Reader::new(packet);
        let header = Self::decode(&mut reader)?;
        Ok((header, reader.rest()))
    }
}

impl Wire for PairwiseHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_array());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.u8()? != PacketKind::Pairwise as u8 {
            return Err(DecodeError::Malformed("packet kind: not pairwise"));
        }
        let message_type = reader.u8()?;
        if message_type == 0 {
            return Err(DecodeError::Malformed("pairwise message type 0"));
        }
        Ok(PairwiseHeader { message_type, counter: reader.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// \[PWM-1\]: the header's bytes, and what is refused.
    #[test]
    fn headers_split_from_what_is_sealed() {
        let header = PairwiseHeader { message_type: 9, counter: 0x0102_0304_0506_0708 };
        let packet = [&header.to_array()[..], b"sealed"].concat();
        assert_eq!(packet[..10], [2, 9, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(PairwiseHeader::split(&packet), Ok((header, &b"sealed"[..])));
        for end in 0..PairwiseHeader::LENGTH {
            assert!(PairwiseHeader::split(&packet[..end]).is_err());
        }
        assert!(PairwiseHeader::split(&[1, 9, 0, 0, 0, 0, 0, 0, 0, 1]).is_err());
        assert!(PairwiseHeader::split(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 1]).is_err());
        let mut long = header.to_array().to_vec();
        long.resize(PACKET_MAX, 0);
        assert!(PairwiseHeader::split(&long).is_ok());
        long.push(0);
        assert!(PairwiseHeader::split(&long).is_err());
    }
}
