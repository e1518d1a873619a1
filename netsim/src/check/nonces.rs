//! Property 11: no key and nonce seal two plaintexts [SUI-4] [REC-5]. A record's header names both: session, epoch and
//! sender the key, stream and counter the nonce. The same bytes again are a repair; other bytes are a violation.

use std::collections::BTreeMap;

use proto_spec::frame::{DataHeader, FrameHeader, FrameType, HEADER_LENGTH};
use proto_spec::packet::{PacketKind, RecordHeader};
use proto_spec::{NodeNumber, Reader, SessionId, Wire};

use super::Property;
use crate::sim::{World, fold};

/// Key and nonce of a record.
type Nonce = (SessionId, u16, u64, u32, u64);

/// Every record that a node has seen, folded.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    seen: BTreeMap<Nonce, u64>,
}

impl World {
    /// An endpoint's frames come to its node.
    pub(crate) fn check_records(&mut self, at: NodeNumber, session: SessionId, frames: &[u8]) {
        for (header, packet) in records(frames) {
            let RecordHeader { sender, epoch, stream, counter, .. } = header;
            let nonce = (session, sender.value(), epoch.to_u64(), stream.0, counter);
            let bytes = fold(0, packet);
            let before = *self.checkers.nonces.seen.entry(nonce).or_insert(bytes);
            if before != bytes {
                let what = format!(
                    "number {sender} sealed two records on stream {} under counter {counter}, seen at node {at}",
                    stream.0
                );
                self.violated(Property::Nonces, what);
            }
        }
    }
}

/// The records in an endpoint's frames, each with its packet.
fn records(mut frames: &[u8]) -> impl Iterator<Item = (RecordHeader, &[u8])> {
    std::iter::from_fn(move || {
        loop {
            let header = FrameHeader::peek(frames).ok()??;
            let (frame, rest) = frames.split_at_checked(header.frame_length())?;
            frames = rest;
            if header.frame_type == FrameType::Data
                && let Some(record) = record(frame)
            {
                return Some(record);
            }
        }
    })
}

fn record(frame: &[u8]) -> Option<(RecordHeader, &[u8])> {
    let (_, packet) = DataHeader::parse(frame.get(HEADER_LENGTH..)?).ok()?;
    let sealed = packet.strip_prefix(&[PacketKind::Record as u8])?;
    Some((RecordHeader::decode(&mut Reader::new(sealed)).ok()?, packet))
}

/// What an endpoint whose state was restored from a clone says: another record under the number of one in `frames`.
pub(crate) fn twin(frames: &[u8]) -> Option<Vec<u8>> {
    let mut left = frames;
    loop {
        let header = FrameHeader::peek(left).ok()??;
        let (frame, rest) = left.split_at_checked(header.frame_length())?;
        left = rest;
        if header.frame_type == FrameType::Data && record(frame).is_some() {
            let mut twin = frame.to_vec();
            *twin.last_mut()? ^= 1;
            return Some(twin);
        }
    }
}
