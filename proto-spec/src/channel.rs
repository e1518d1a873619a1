//! What channels put into records: the sequence before each payload, acknowledgements, probes and skips.
//!
//! Form only: windows, timers and repairs are `sealcast-endpoint-core`'s. Bounds that both sides of a channel must agree
//! on stand here.

use crate::coding::{DecodeError, Reader, Wire};
use crate::id::{StreamId, TrafficClass};

/// Requests, answers and notices between members \[CHN-1\].
pub const CONTROL_STREAM: StreamId = StreamId(1);
/// What people write to each other \[CHN-1\].
pub const CHAT_STREAM: StreamId = StreamId(2);
/// Acknowledgements, probes and skips, addressed to one member each \[CHN-1\].
pub const ACK_STREAM: StreamId = StreamId(3);
/// The first stream for files \[CHN-1\].
pub const FILE_STREAM_FIRST: u32 = 16;
/// The last stream for files \[CHN-1\].
pub const FILE_STREAM_LAST: u32 = 63;

/// Bytes before the payload of a reliable channel's record \[CHN-2\].
pub const SEQUENCE_LENGTH: usize = 8;

/// In place of a sequence, on files' streams: the record is a mark, its payload a probe's `token32` \[CHN-14\].
pub const MARK_SEQUENCE: u64 = u64::MAX;
/// What a record costs in windows beyond its payload \[CHN-6\]: about its headers, so that small records are bounded too.
pub const RECORD_COST: u64 = 128;
/// The widest window in costs that a receiver may grant \[CHN-6\].
pub const WINDOW_MAX: u64 = 1024 * 1024;
/// The widest window in records \[CHN-6\]; equals the width of the replay window beneath.
pub const WINDOW_RECORDS_MAX: u64 = 8_192;
/// What a sender may have on its way to a member that has not granted anything yet \[CHN-6\].
pub const WINDOW_INITIAL: u64 = 64 * 1024;
/// Ranges in one acknowledgement \[CHN-4\].
pub const ACK_RANGES_MAX: usize = 16;
/// Entries in one record of the acknowledgement stream \[CHN-4\].
pub const ACK_ENTRIES_MAX: usize = 16;

const _: () = assert!(WINDOW_MAX / RECORD_COST <= WINDOW_RECORDS_MAX);

/// What a payload of a length costs in windows, in bytes \[CHN-6\].
pub const fn record_cost(payload_length: usize) -> u64 {
    payload_length as u64 + RECORD_COST
}

/// What a stream is used for \[CHN-1\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamUse {
    /// The session's own: base statements.
    Session,
    /// Reliable, signed, class control.
    Control,
    /// Reliable, signed, class interactive.
    Chat,
    /// Unreliable, signed, class control.
    Acks,
    /// Reliable, plain, class bulk.
    Files,
}

impl StreamUse {
    /// `None` for streams without a use.
    pub const fn of(stream: StreamId) -> Option<StreamUse> {
        match stream.0 {
            0 => Some(StreamUse::Session),
            1 => Some(StreamUse::Control),
            2 => Some(StreamUse::Chat),
            3 => Some(StreamUse::Acks),
            FILE_STREAM_FIRST..=FILE_STREAM_LAST => Some(StreamUse::Files),
            _ => None,
        }
    }

    /// The class in which its records travel.
    pub const fn class(self) -> TrafficClass {
        match self {
            StreamUse::Session | StreamUse::Control | StreamUse::Acks => TrafficClass::Control,
            StreamUse::Chat => TrafficClass::Interactive,
            StreamUse::Files => TrafficClass::Bulk,
        }
    }

    /// Whether each record carries its member's signature.
    pub const fn signed(self) -> bool {
        !matches!(self, StreamUse::Files)
    }
}

/// Splits a reliable channel's plaintext into sequence and payload \[CHN-2\].
///
/// # Errors
/// [`DecodeError::Truncated`] if it is shorter than a sequence.
pub fn split_sequence(plaintext: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let mut reader = Reader::new(plaintext);
    let sequence = reader.u64()?;
    Ok((sequence, reader.rest()))
}

/// Sequences that arrived beyond a gap \[CHN-4\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AckRange {
    /// Sequences missing since the end of the range before, or since `next`; at least 1.
    pub gap: u32,
    /// Sequences received after them; at least 1.
    pub length: u32,
}

/// A receiver's word on one channel of the member that it is addressed to \[CHN-4\].
///
/// `stream8 | next64 | window32 | delay_us32 | token32 | count8 | (gap32 length32)..`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ack {
    /// The channel.
    pub stream: StreamId,
    /// Every sequence below has arrived.
    pub next: u64,
    /// What the receiver takes from `next` on, as the sum of the records' costs.
    pub window: u32,
    /// How long the receiver held the newest record before it said so, in microseconds.
    pub delay_us: u32,
    /// The token of the newest probe; 0 for none.
    pub token: u32,
    /// What arrived beyond gaps, ascending; the lowest ranges if there are more than fit.
    pub ranges: Vec<AckRange>,
}

/// One entry in a record of the acknowledgement stream \[CHN-3\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AckEntry {
    /// What has arrived.
    Ack(Ack),
    /// The channel's sender asks for an acknowledgement at once \[CHN-9\].
    Probe {
        /// The channel.
        stream: StreamId,
        /// To be repeated in the answer; not 0.
        token: u32,
    },
    /// The channel's sender will not repair anything below for this member \[CHN-11\].
    Skip {
        /// The channel.
        stream: StreamId,
        /// The first sequence that may still come.
        to: u64,
    },
}

const KIND_ACK: u8 = 1;
const KIND_PROBE: u8 = 2;
const KIND_SKIP: u8 = 3;

impl Wire for AckEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            AckEntry::Ack(ack) => {
                assert!(
                    ack.ranges.len() <= ACK_RANGES_MAX,
                    "an acknowledgement of {} ranges",
                    ack.ranges.len()
                );
                out.push(KIND_ACK);
                put_stream(out, ack.stream);
                ack.next.encode(out);
                ack.window.encode(out);
                ack.delay_us.encode(out);
                ack.token.encode(out);
                out.push(ack.ranges.len() as u8);
                for range in &ack.ranges {
                    range.gap.encode(out);
                    range.length.encode(out);
                }
            }
            AckEntry::Probe { stream, token } => {
                out.push(KIND_PROBE);
                put_stream(out, *stream);
                token.encode(out);
            }
            AckEntry::Skip { stream, to } => {
                out.push(KIND_SKIP);
                put_stream(out, *stream);
                to.encode(out);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            KIND_ACK => {
                let stream = stream(reader)?;
                let (next, window) = (reader.u64()?, reader.u32()?);
                let (delay_us, token) = (reader.u32()?, reader.u32()?);
                let ranges = ranges(reader, next)?;
                Ok(AckEntry::Ack(Ack { stream, next, window, delay_us, token, ranges }))
            }
            KIND_PROBE => {
                let stream = stream(reader)?;
                match reader.u32()? {
                    0 => Err(DecodeError::Malformed("probe token 0")),
                    token => Ok(AckEntry::Probe { stream, token }),
                }
            }
            KIND_SKIP => Ok(AckEntry::Skip { stream: stream(reader)?, to: reader.u64()? }),
            _ => Err(DecodeError::Malformed("kind of acknowledgement entry")),
        }
    }
}

/// The content of a record of the acknowledgement stream: 1 to [`ACK_ENTRIES_MAX`] entries up to its end \[CHN-3\].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AckRecord {
    /// In order of writing.
    pub entries: Vec<AckEntry>,
}

impl Wire for AckRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!((1..=ACK_ENTRIES_MAX).contains(&self.entries.len()), "{} entries", self.entries.len());
        self.entries.iter().for_each(|entry| entry.encode(out));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut entries = vec![AckEntry::decode(reader)?];
        while reader.remaining() > 0 {
            if entries.len() == ACK_ENTRIES_MAX {
                return Err(DecodeError::TooLong {
                    what: "acknowledgement entries",
                    length: ACK_ENTRIES_MAX + 1,
                    limit: ACK_ENTRIES_MAX,
                });
            }
            entries.push(AckEntry::decode(reader)?);
        }
        Ok(AckRecord { entries })
    }
}

/// The header of a latest-wins channel's record \[CHN-12\]: `key16 | update32 | part16 | last8`, then the part's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LatestHeader {
    /// What is updated.
    pub key: u16,
    /// Counts the updates of a key.
    pub update: u32,
    /// The part's place in its update, from 0.
    pub part: u16,
    /// Whether the update ends with this part.
    pub last: bool,
}

impl LatestHeader {
    /// Length in bytes.
    pub const LENGTH: usize = 9;
}

impl Wire for LatestHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        self.key.encode(out);
        self.update.encode(out);
        self.part.encode(out);
        out.push(u8::from(self.last));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (key, update, part) = (reader.u16()?, reader.u32()?, reader.u16()?);
        let last = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Malformed("last flag of an update")),
        };
        Ok(LatestHeader { key, update, part, last })
    }
}

fn put_stream(out: &mut Vec<u8>, stream: StreamId) {
    out.push(u8::try_from(stream.0).expect("streams of channels are below 64"));
}

/// Only reliable channels are acknowledged \[CHN-3\].
fn stream(reader: &mut Reader<'_>) -> Result<StreamId, DecodeError> {
    let stream = StreamId(u32::from(reader.u8()?));
    match StreamUse::of(stream) {
        Some(StreamUse::Control | StreamUse::Chat | StreamUse::Files) => Ok(stream),
        _ => Err(DecodeError::Malformed("stream of an acknowledgement")),
    }
}

fn ranges(reader: &mut Reader<'_>, next: u64) -> Result<Vec<AckRange>, DecodeError> {
    let length = usize::from(reader.u8()?);
    if length > ACK_RANGES_MAX {
        return Err(DecodeError::TooLong { what: "acknowledgement ranges", length, limit: ACK_RANGES_MAX });
    }
    let mut ranges = Vec::with_capacity(length);
    let mut width = 0u64;
    for _ in 0..length {
        let range = AckRange { gap: reader.u32()?, length: reader.u32()? };
        width += u64::from(range.gap) + u64::from(range.length);
        if range.gap == 0 || range.length == 0 || width > WINDOW_RECORDS_MAX {
            return Err(DecodeError::Malformed("acknowledgement range"));
        }
        ranges.push(range);
    }
    match next.checked_add(width) {
        Some(_) => Ok(ranges),
        None => Err(DecodeError::Malformed("acknowledgement range")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_cut_is_refused(entry: AckEntry) {
        let bytes = entry.to_bytes();
        assert_eq!(AckEntry::from_bytes(&bytes), Ok(entry));
        for cut in 0..bytes.len() {
            assert!(AckEntry::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    fn ack(ranges: Vec<AckRange>) -> Ack {
        Ack { stream: CHAT_STREAM, next: 7, window: 900, delay_us: 12, token: 3, ranges }
    }

    /// \[CHN-3\] \[CHN-4\] \[CHN-9\] \[CHN-11\]
    #[test]
    fn entries_survive_the_wire() {
        every_cut_is_refused(AckEntry::Ack(ack(vec![])));
        every_cut_is_refused(AckEntry::Ack(ack(vec![AckRange { gap: 1, length: 2 }; ACK_RANGES_MAX])));
        every_cut_is_refused(AckEntry::Probe { stream: StreamId(63), token: 1 });
        every_cut_is_refused(AckEntry::Skip { stream: CONTROL_STREAM, to: u64::MAX });
    }

    /// \[CHN-3\]: as many entries as allowed, not one more, and not none.
    #[test]
    fn a_record_holds_some_entries() {
        let probe = AckEntry::Probe { stream: CONTROL_STREAM, token: 9 };
        let full = AckRecord { entries: vec![probe.clone(); ACK_ENTRIES_MAX] };
        let mut bytes = full.to_bytes();
        assert_eq!(AckRecord::from_bytes(&bytes), Ok(full));
        probe.encode(&mut bytes);
        assert!(matches!(AckRecord::from_bytes(&bytes), Err(DecodeError::TooLong { .. })));
        assert!(AckRecord::from_bytes(&[]).is_err());
    }

    /// \[CHN-4\]: ranges that cannot be are refused.
    #[test]
    fn impossible_acknowledgements_are_refused() {
        let with = |ranges| AckEntry::from_bytes(&AckEntry::Ack(ack(ranges)).to_bytes());
        assert!(with(vec![AckRange { gap: 0, length: 1 }]).is_err());
        assert!(with(vec![AckRange { gap: 1, length: 0 }]).is_err());
        let widest = WINDOW_RECORDS_MAX as u32;
        assert!(with(vec![AckRange { gap: 1, length: widest - 1 }]).is_ok());
        assert!(with(vec![AckRange { gap: 1, length: widest }]).is_err());
        let mut last = ack(vec![AckRange { gap: 1, length: 1 }]);
        last.next = u64::MAX - 2;
        assert!(AckEntry::from_bytes(&AckEntry::Ack(last.clone()).to_bytes()).is_ok());
        last.next = u64::MAX - 1;
        assert!(AckEntry::from_bytes(&AckEntry::Ack(last).to_bytes()).is_err());
        for stream in [0u8, 3, 4, 15, 64, 255] {
            assert!(AckEntry::from_bytes(&[KIND_SKIP, stream, 0, 0, 0, 0, 0, 0, 0, 1]).is_err());
        }
        assert!(AckEntry::from_bytes(&[KIND_PROBE, 1, 0, 0, 0, 0]).is_err());
        assert!(AckEntry::from_bytes(&[9, 1, 0, 0, 0, 0]).is_err());
    }

    /// \[CHN-1\]: what each stream is.
    #[test]
    fn streams_have_their_uses() {
        let uses = |stream| StreamUse::of(StreamId(stream));
        assert_eq!(uses(0), Some(StreamUse::Session));
        assert_eq!(
            uses(1).map(|stream| (stream.class(), stream.signed())),
            Some((TrafficClass::Control, true))
        );
        assert_eq!(
            uses(2).map(|stream| (stream.class(), stream.signed())),
            Some((TrafficClass::Interactive, true))
        );
        assert_eq!(
            uses(3).map(|stream| (stream.class(), stream.signed())),
            Some((TrafficClass::Control, true))
        );
        assert_eq!(uses(4), None);
        assert_eq!(uses(15), None);
        assert_eq!(
            uses(16).map(|stream| (stream.class(), stream.signed())),
            Some((TrafficClass::Bulk, false))
        );
        assert_eq!(uses(63), Some(StreamUse::Files));
        assert_eq!(uses(64), None);
    }

    /// \[CHN-2\]
    #[test]
    fn a_sequence_stands_before_the_payload() {
        assert_eq!(split_sequence(b"\0\0\0\0\0\0\0\x05hello"), Ok((5, &b"hello"[..])));
        assert_eq!(split_sequence(&[0; 8]), Ok((0, &b""[..])));
        assert_eq!(split_sequence(&[0; 7]), Err(DecodeError::Truncated));
    }

    /// \[CHN-12\]
    #[test]
    fn latest_headers_survive_the_wire() {
        let header = LatestHeader { key: 3, update: 70_000, part: 2, last: true };
        let bytes = header.to_bytes();
        assert_eq!(bytes.len(), LatestHeader::LENGTH);
        assert_eq!(LatestHeader::from_bytes(&bytes), Ok(header));
        let mut wrong = bytes.clone();
        wrong[8] = 2;
        assert!(LatestHeader::from_bytes(&wrong).is_err());
    }
}
