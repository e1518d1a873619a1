//! The data frame: an opaque packet with what a relay needs to forward it \[FRM-10\].
//!
//! `class4 dest1 replace1 last1 reserved1 | sender16 | [count8 numbers16..] | [key16 update32] | packet`.
//! Nodes relay the whole frame unchanged, so every receiver of one packet shares one buffer.

use smallvec::SmallVec;

use super::{FrameType, put_frame};
use crate::coding::{DecodeError, Reader};
use crate::id::{SenderNumber, TrafficClass};

const FLAG_LIST: u8 = 0x08;
const FLAG_REPLACE: u8 = 0x04;
const FLAG_LAST: u8 = 0x02;
const FLAG_RESERVED: u8 = 0x01;

/// Members that one frame may name \[FRM-11\]: a session's limit.
pub const DESTINATIONS_MAX: usize = 50;

/// The most that header and data header add to a packet: frame header, flags, sender, list, replace key.
pub const DATA_OVERHEAD_MAX: usize = super::HEADER_LENGTH + 1 + 2 + 1 + 2 * DESTINATIONS_MAX + 6;

/// Who gets the packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// Every active member but the sender's number.
    All,
    /// One member or a list, at most [`DESTINATIONS_MAX`].
    Members(SmallVec<[SenderNumber; 4]>),
}

impl Destination {
    /// A single member.
    pub fn one(number: SenderNumber) -> Destination {
        Destination::Members(SmallVec::from_slice(&[number]))
    }

    /// Whether a member with this number gets the packet (the sender's own number aside).
    pub fn includes(&self, number: SenderNumber) -> bool {
        match self {
            Destination::All => true,
            Destination::Members(members) => members.contains(&number),
        }
    }
}

/// How a droppable packet supersedes older ones \[FRM-12\]: a complete newer update with the same key replaces an older
/// one in a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replace {
    /// What is being updated.
    pub key: u16,
    /// Counts the updates of a key.
    pub update: u32,
    /// Whether this packet completes its update.
    pub last: bool,
}

/// Everything in a data frame's body before the packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataHeader {
    /// How the packet is queued.
    pub class: TrafficClass,
    /// Who sent it; the node refuses any but the attachment's own number.
    pub sender: SenderNumber,
    /// Who gets it.
    pub destination: Destination,
    /// For the screen class alone.
    pub replace: Option<Replace>,
}

impl DataHeader {
    /// Reads the header of a data frame's body and returns it with the packet.
    ///
    /// # Errors
    /// [`DecodeError`] for reserved bits, unknown classes, number 0, an empty or too long list, a replace key on a
    /// class other than screen, or an empty packet.
    pub fn parse(body: &[u8]) -> Result<(DataHeader, &[u8]), DecodeError> {
        let mut reader = Reader::new(body);
        let first = reader.u8()?;
        let class = TrafficClass::from_u8(first >> 4).ok_or(DecodeError::Malformed("traffic class"))?;
        let sender = SenderNumber::new(reader.u16()?).ok_or(DecodeError::Malformed("sender number 0"))?;
        let destination = if first & FLAG_LIST == 0 {
            Destination::All
        } else {
            let count = usize::from(reader.u8()?);
            if count == 0 {
                return Err(DecodeError::Malformed("empty destination list"));
            }
            if count > DESTINATIONS_MAX {
                return Err(DecodeError::TooLong {
                    what: "destination list",
                    length: count,
                    limit: DESTINATIONS_MAX,
                });
            }
            let mut members = SmallVec::with_capacity(count);
            for _ in 0..count {
                members
                    .push(SenderNumber::new(reader.u16()?).ok_or(DecodeError::Malformed("destination 0"))?);
            }
            Destination::Members(members)
        };
        let replace = match (first & FLAG_REPLACE != 0, first & FLAG_LAST != 0) {
            (true, last) => Some(Replace { key: reader.u16()?, update: reader.u32()?, last }),
            (false, false) => None,
            (false, true) => return Err(DecodeError::Malformed("last flag without a replace key")),
        };
        if first & FLAG_RESERVED != 0 {
            return Err(DecodeError::Malformed("reserved data flag"));
        }
        if replace.is_some() != (class == TrafficClass::Screen) {
            return Err(DecodeError::Malformed("replace key"));
        }
        let packet = reader.rest();
        if packet.is_empty() {
            return Err(DecodeError::Malformed("empty packet"));
        }
        Ok((DataHeader { class, sender, destination, replace }, packet))
    }

    /// Appends a whole data frame around the packet that `packet` writes; returns the frame's length.
    ///
    /// # Panics
    /// If the frame grows above its limit or the list is longer than [`DESTINATIONS_MAX`]: our own bugs.
    pub fn put(&self, out: &mut Vec<u8>, packet: impl FnOnce(&mut Vec<u8>)) -> usize {
        put_frame(out, FrameType::Data, |out| {
            let list = matches!(self.destination, Destination::Members(_));
            out.push(
                (self.class as u8) << 4
                    | if list { FLAG_LIST } else { 0 }
                    | if self.replace.is_some() { FLAG_REPLACE } else { 0 }
                    | if self.replace.is_some_and(|replace| replace.last) { FLAG_LAST } else { 0 },
            );
            out.extend_from_slice(&self.sender.value().to_be_bytes());
            if let Destination::Members(members) = &self.destination {
                assert!(
                    (1..=DESTINATIONS_MAX).contains(&members.len()),
                    "a frame for {} members",
                    members.len()
                );
                out.push(members.len() as u8);
                for member in members {
                    out.extend_from_slice(&member.value().to_be_bytes());
                }
            }
            if let Some(replace) = self.replace {
                out.extend_from_slice(&replace.key.to_be_bytes());
                out.extend_from_slice(&replace.update.to_be_bytes());
            }
            packet(out);
        })
    }
}
