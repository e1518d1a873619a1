//! The messages of the null layer as bytes: `kind8 | type8 | fields`, a handshake packet for the two of a join, else a
//! pairwise one, so that a relay's rules for guests hold for them too.

use proto_spec::coding::put_var;
use proto_spec::frame::DESTINATIONS_MAX;
use proto_spec::packet::PacketKind;
use proto_spec::ticket::Role;
use proto_spec::{DecodeError, EpochId, Reader, SenderNumber, StreamId, Wire};

use crate::security::{Base, RosterEntry};
use proto_spec::mpsl::DISPLAY_NAME_MAX;

const PHRASE_MAX: usize = 128;
const PRIVATE_MAX: usize = 4 * 1024;
const STREAMS_MAX: usize = 64;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Ask { code: u32, phrase: String, name: String },
    Answer { right: bool },
    Epoch { epoch: EpochId, entries: Vec<RosterEntry> },
    EpochHeld { epoch: EpochId },
    Refused,
    Removed,
    Ended,
    Leaving,
    Private { kind: u8, bytes: Vec<u8> },
    Bases { epoch: EpochId, bases: Vec<Base> },
    BasesHeld { epoch: EpochId },
}

impl Wire for Message {
    fn encode(&self, out: &mut Vec<u8>) {
        let kind = match self {
            Message::Ask { .. } | Message::Answer { .. } => PacketKind::Handshake,
            _ => PacketKind::Pairwise,
        };
        out.push(kind as u8);
        match self {
            Message::Ask { code, phrase, name } => {
                out.push(1);
                code.encode(out);
                put_var(out, phrase.as_bytes());
                put_var(out, name.as_bytes());
            }
            Message::Answer { right } => out.extend_from_slice(&[2, u8::from(*right)]),
            Message::Epoch { epoch, entries } => {
                out.push(3);
                epoch.encode(out);
                out.push(entries.len() as u8);
                for entry in entries {
                    entry.number.encode(out);
                    out.push(entry.role as u8);
                    put_var(out, entry.name.as_bytes());
                }
            }
            Message::EpochHeld { epoch } => {
                out.push(4);
                epoch.encode(out);
            }
            Message::Refused => out.push(5),
            Message::Removed => out.push(6),
            Message::Ended => out.push(7),
            Message::Leaving => out.push(8),
            Message::Private { kind, bytes } => {
                out.extend_from_slice(&[9, *kind]);
                put_var(out, bytes);
            }
            Message::Bases { epoch, bases } => {
                out.push(10);
                epoch.encode(out);
                out.push(bases.len() as u8);
                for base in bases {
                    base.stream.0.encode(out);
                    base.sequence.encode(out);
                }
            }
            Message::BasesHeld { epoch } => {
                out.push(11);
                epoch.encode(out);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let _kind = reader.u8()?;
        Ok(match reader.u8()? {
            1 => Message::Ask {
                code: reader.u32()?,
                phrase: reader.text("phrase", PHRASE_MAX)?.to_owned(),
                name: reader.text("name", DISPLAY_NAME_MAX)?.to_owned(),
            },
            2 => Message::Answer { right: reader.u8()? == 1 },
            3 => {
                let epoch = EpochId::decode(reader)?;
                let count = count(reader, DESTINATIONS_MAX)?;
                Message::Epoch {
                    epoch,
                    entries: (0..count).map(|_| entry(reader)).collect::<Result<_, _>>()?,
                }
            }
            4 => Message::EpochHeld { epoch: EpochId::decode(reader)? },
            5 => Message::Refused,
            6 => Message::Removed,
            7 => Message::Ended,
            8 => Message::Leaving,
            9 => Message::Private { kind: reader.u8()?, bytes: reader.var("private", PRIVATE_MAX)?.to_vec() },
            10 => {
                let epoch = EpochId::decode(reader)?;
                let count = count(reader, STREAMS_MAX)?;
                let bases = (0..count)
                    .map(|_| Ok(Base { stream: StreamId(reader.u32()?), sequence: reader.u64()? }))
                    .collect::<Result<_, DecodeError>>()?;
                Message::Bases { epoch, bases }
            }
            11 => Message::BasesHeld { epoch: EpochId::decode(reader)? },
            _ => return Err(DecodeError::Malformed("null message")),
        })
    }
}

fn count(reader: &mut Reader<'_>, limit: usize) -> Result<usize, DecodeError> {
    let length = usize::from(reader.u8()?);
    if length > limit {
        return Err(DecodeError::TooLong { what: "list", length, limit });
    }
    Ok(length)
}

fn entry(reader: &mut Reader<'_>) -> Result<RosterEntry, DecodeError> {
    Ok(RosterEntry {
        number: SenderNumber::decode(reader)?,
        role: Role::from_u8(reader.u8()?).ok_or(DecodeError::Malformed("role"))?,
        name: reader.text("name", DISPLAY_NAME_MAX)?.to_owned(),
    })
}
