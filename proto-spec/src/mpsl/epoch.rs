//! What travels about epochs: the epoch message, heartbeats and notices (pairwise), base statements and their
//! acknowledgements (signed records on stream 0).

use super::roster::ROSTER_LENGTH_MAX;
use crate::coding::{DecodeError, Reader, Wire, put_var};
use crate::id::{EpochId, SenderNumber, StreamId};

/// Channels of one sender, the session's own stream 0 among them \[REC-2\].
pub const STREAMS_MAX: usize = 64;

/// The registry of pairwise message types \[GRP-12\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PairwiseType {
    /// [`EpochMessage`], leader to member.
    Epoch = 1,
    /// [`Heartbeat`], member to leader.
    Heartbeat = 2,
    /// [`HeartbeatAnswer`], leader to member.
    HeartbeatAnswer = 3,
    /// [`Notice`], either way.
    Notice = 4,
    /// `kind8` and bytes of the layer above, either way.
    Private = 16,
}

impl PairwiseType {
    /// `None` for types that the registry does not hold.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Epoch),
            2 => Some(Self::Heartbeat),
            3 => Some(Self::HeartbeatAnswer),
            4 => Some(Self::Notice),
            16 => Some(Self::Private),
            _ => None,
        }
    }
}

/// Leader to member: a roster, and the group secret wrapped for this member alone \[GRP-6\].
///
/// `length16 roster | signature[64] | step32 | wrapped[40]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EpochMessage {
    /// The roster's encoding, as signed.
    pub roster: Vec<u8>,
    /// Ed25519 by the leader's member key.
    pub signature: [u8; 64],
    /// The step of the pairwise key chain whose key wraps the secret.
    pub step: u32,
    /// AES Key Wrap of the group secret.
    pub wrapped: [u8; 40],
}

impl Wire for EpochMessage {
    fn encode(&self, out: &mut Vec<u8>) {
        put_var(out, &self.roster);
        self.signature.encode(out);
        self.step.encode(out);
        self.wrapped.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(EpochMessage {
            roster: reader.var("roster", ROSTER_LENGTH_MAX)?.to_vec(),
            signature: reader.array()?,
            step: reader.u32()?,
            wrapped: reader.array()?,
        })
    }
}

/// Member to leader, every five seconds \[GRP-8\]: `nonce[16] | epoch64`, epoch 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Fresh random bytes, which the answer must repeat.
    pub nonce: [u8; 16],
    /// The newest epoch that the member holds.
    pub held: Option<EpochId>,
}

impl Wire for Heartbeat {
    fn encode(&self, out: &mut Vec<u8>) {
        self.nonce.encode(out);
        self.held.map_or(0, EpochId::to_u64).encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let nonce = reader.array()?;
        let held = match reader.u64()? {
            0 => None,
            value => Some(EpochId::from_u64(value).ok_or(DecodeError::Malformed("epoch leader 0"))?),
        };
        Ok(Heartbeat { nonce, held })
    }
}

/// Leader to member, answering a heartbeat \[GRP-8\]: `nonce[16] | epoch64 | roster hash[32]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeartbeatAnswer {
    /// The heartbeat's bytes.
    pub nonce: [u8; 16],
    /// The newest epoch.
    pub epoch: EpochId,
    /// Its roster's hash.
    pub roster_hash: [u8; 32],
}

impl Wire for HeartbeatAnswer {
    fn encode(&self, out: &mut Vec<u8>) {
        self.nonce.encode(out);
        self.epoch.encode(out);
        self.roster_hash.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(HeartbeatAnswer {
            nonce: reader.array()?,
            epoch: EpochId::decode(reader)?,
            roster_hash: reader.array()?,
        })
    }
}

/// A word between leader and member about membership \[GRP-13\]; a courtesy, nothing rests on its arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Notice {
    /// Leader to joiner: the user said no.
    Refused = 1,
    /// Leader to member: you are no longer in the roster.
    Removed = 2,
    /// Leader to member: the session is over.
    Ended = 3,
    /// Member to leader: I leave.
    Leaving = 4,
}

impl Wire for Notice {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => Ok(Notice::Refused),
            2 => Ok(Notice::Removed),
            3 => Ok(Notice::Ended),
            4 => Ok(Notice::Leaving),
            _ => Err(DecodeError::Malformed("notice")),
        }
    }
}

/// Where a channel stands at the start of an epoch \[REC-12\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChannelBase {
    /// The channel.
    pub stream: StreamId,
    /// Every record of the channel with a lower counter is older than the epoch.
    pub counter: u64,
    /// The channel's own sequence at that point; opaque here.
    pub sequence: u64,
}

/// A record of the session itself: signed, class control, on stream 0 \[REC-12\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionRecord {
    /// The sender's channel bases in the epoch of this record; channels not named start at 0. Ascending streams.
    Bases(Vec<ChannelBase>),
    /// The bases that this member stated in the epoch of this record have arrived.
    BasesHeld(SenderNumber),
}

impl Wire for SessionRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            SessionRecord::Bases(bases) => {
                assert!(bases.len() < STREAMS_MAX, "more bases than channels");
                out.push(1);
                out.push(bases.len() as u8);
                for base in bases {
                    base.stream.0.encode(out);
                    base.counter.encode(out);
                    base.sequence.encode(out);
                }
            }
            SessionRecord::BasesHeld(sender) => {
                out.push(2);
                sender.encode(out);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => {
                let length = usize::from(reader.u8()?);
                if length >= STREAMS_MAX {
                    return Err(DecodeError::TooLong {
                        what: "channel bases",
                        length,
                        limit: STREAMS_MAX - 1,
                    });
                }
                let bases = (0..length).map(|_| channel_base(reader)).collect::<Result<Vec<_>, _>>()?;
                if !bases.is_sorted_by(|one, next| one.stream < next.stream) {
                    return Err(DecodeError::Malformed("order of channel bases"));
                }
                Ok(SessionRecord::Bases(bases))
            }
            2 => Ok(SessionRecord::BasesHeld(SenderNumber::decode(reader)?)),
            _ => Err(DecodeError::Malformed("kind of session record")),
        }
    }
}

fn channel_base(reader: &mut Reader<'_>) -> Result<ChannelBase, DecodeError> {
    let stream = reader.u32()?;
    if stream == 0 || stream as usize >= STREAMS_MAX {
        return Err(DecodeError::Malformed("stream of a channel base"));
    }
    Ok(ChannelBase { stream: StreamId(stream), counter: reader.u64()?, sequence: reader.u64()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_cut_is_refused<T: Wire + PartialEq + std::fmt::Debug>(value: &T) {
        let bytes = value.to_bytes();
        assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(value));
        for cut in 0..bytes.len() {
            assert!(T::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(T::from_bytes(&[bytes, vec![0]].concat()).is_err());
    }

    /// \[GRP-6\] \[GRP-8\] \[GRP-13\] \[REC-12\]
    #[test]
    fn messages_survive_the_wire() {
        let epoch = EpochId { term: 0, leader: SenderNumber::new(1).unwrap(), count: 3 };
        every_cut_is_refused(&EpochMessage {
            roster: vec![1; 300],
            signature: [2; 64],
            step: 9,
            wrapped: [3; 40],
        });
        every_cut_is_refused(&Heartbeat { nonce: [7; 16], held: None });
        every_cut_is_refused(&Heartbeat { nonce: [7; 16], held: Some(epoch) });
        every_cut_is_refused(&HeartbeatAnswer { nonce: [7; 16], epoch, roster_hash: [1; 32] });
        for notice in [Notice::Refused, Notice::Removed, Notice::Ended, Notice::Leaving] {
            every_cut_is_refused(&notice);
        }
        let base = |stream| ChannelBase { stream: StreamId(stream), counter: 40, sequence: 12 };
        every_cut_is_refused(&SessionRecord::Bases(vec![]));
        every_cut_is_refused(&SessionRecord::Bases((1..64).map(base).collect()));
        every_cut_is_refused(&SessionRecord::BasesHeld(epoch.leader));
    }

    /// \[REC-12\]
    #[test]
    fn bases_name_each_channel_once_and_never_stream_0() {
        let base = |stream| ChannelBase { stream: StreamId(stream), counter: 40, sequence: 12 };
        for streams in [vec![0], vec![64], vec![2, 1], vec![1, 1]] {
            let bytes = SessionRecord::Bases(streams.into_iter().map(base).collect()).to_bytes();
            assert!(SessionRecord::from_bytes(&bytes).is_err());
        }
        assert!(SessionRecord::from_bytes(&[1, 64]).is_err());
        assert!(SessionRecord::from_bytes(&[0]).is_err());
        assert!(Notice::from_bytes(&[0]).is_err());
        assert!(Notice::from_bytes(&[5]).is_err());
    }
}
