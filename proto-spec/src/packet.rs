//! Packets: what travels end to end inside a data frame. A relay never looks inside \[PKT-1\].

use crate::coding::{DecodeError, Reader, Wire};
use crate::id::{EpochId, SenderNumber, StreamId, TrafficClass};

/// The first byte of a packet \[PKT-2\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PacketKind {
    /// An MPSL handshake message, M1 to M4.
    Handshake = 1,
    /// An MPSL pairwise sealed message (epoch messages, heartbeats, member tickets).
    Pairwise = 2,
    /// An MPSL record under a group epoch.
    Record = 3,
}

impl PacketKind {
    /// `None` for kinds that the registry does not hold.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Handshake),
            2 => Some(Self::Pairwise),
            3 => Some(Self::Record),
            _ => None,
        }
    }
}

/// What kind of record: low four bits of `class/kind8` \[REC-1\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum RecordKind {
    /// Group-authenticated content.
    Plain = 0,
    /// Content signed by its member inside the seal.
    Signed = 1,
    /// An older epoch's record, re-wrapped under this epoch.
    Carried = 2,
}

/// The record header: 24 bytes, authenticated and in the clear \[REC-1\].
///
/// `suite8 | class/kind8 | sender16 | epoch64 | stream32 | counter64`; class in the high four bits of the second byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// Cipher suite, see the registry.
    pub suite: u8,
    /// Traffic class; must equal the data frame's.
    pub class: TrafficClass,
    /// How the payload is to be read.
    pub kind: RecordKind,
    /// Sender; must equal the data frame's.
    pub sender: SenderNumber,
    /// The key epoch.
    pub epoch: EpochId,
    /// The channel.
    pub stream: StreamId,
    /// Counts the sender's records on the stream, across epochs.
    pub counter: u64,
}

impl RecordHeader {
    /// Length in bytes.
    pub const LENGTH: usize = 24;

    /// The header as it stands before a record.
    pub fn to_array(&self) -> [u8; Self::LENGTH] {
        let mut out = [0u8; Self::LENGTH];
        out[0] = self.suite;
        out[1] = ((self.class as u8) << 4) | self.kind as u8;
        out[2..4].copy_from_slice(&self.sender.value().to_be_bytes());
        out[4..12].copy_from_slice(&self.epoch.to_u64().to_be_bytes());
        out[12..16].copy_from_slice(&self.stream.0.to_be_bytes());
        out[16..24].copy_from_slice(&self.counter.to_be_bytes());
        out
    }
}

impl Wire for RecordHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_array());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let suite = reader.u8()?;
        let class_kind = reader.u8()?;
        let class = TrafficClass::from_u8(class_kind >> 4).ok_or(DecodeError::Malformed("record class"))?;
        let kind = match class_kind & 0x0f {
            0 => RecordKind::Plain,
            1 => RecordKind::Signed,
            2 => RecordKind::Carried,
            _ => return Err(DecodeError::Malformed("record kind")),
        };
        Ok(RecordHeader {
            suite,
            class,
            kind,
            sender: SenderNumber::decode(reader)?,
            epoch: EpochId::decode(reader)?,
            stream: StreamId(reader.u32()?),
            counter: reader.u64()?,
        })
    }
}
