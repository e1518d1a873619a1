//! Carried records: an older epoch's sealed bytes as the payload of a newer epoch's record of the same sender.
//!
//! What was not acknowledged before an epoch change is repaired this way once the old epoch's grace is over. The old
//! bytes stay as they were; only those who were members then can read them. Never nested, never for another sender.
//! The record around is always signed: otherwise any member could move the replay window of a channel whose records
//! are all signed, by wrapping one of them anew.

use std::ops::Range;

use proto_spec::packet::{PacketKind, RecordHeader, RecordKind};
use proto_spec::{Reader, Wire};

use super::open::{Opened, Opener, opened};
use super::seal::{Sealer, put_prefix};
use super::{
    CarriedRefusal, OpenError, PACKET_LENGTH_MAX, SESSION_STREAM, SIGNATURE_LENGTH, SealError, Sealing, Shape,
};
use crate::keys::MemberKey;

impl Sealer {
    /// Appends a record packet around `old`, a packet that this member sealed in an older epoch; returns the new
    /// record's counter \[REC-11\].
    pub(crate) fn carry(
        &mut self,
        signing: &MemberKey,
        old: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, SealError> {
        let epoch = self.epoch.as_ref().ok_or(SealError::NoEpoch)?;
        let (kind, record) = old.split_first().ok_or(SealError::NotCarriable("an empty packet"))?;
        if *kind != PacketKind::Record as u8 {
            return Err(SealError::NotCarriable("not a record packet"));
        }
        let inner = RecordHeader::decode(&mut Reader::new(record))
            .map_err(|_| SealError::NotCarriable("malformed header"))?;
        if inner.sender != self.number || inner.suite != self.suite.value() {
            return Err(SealError::NotCarriable("not sealed by this member"));
        }
        if inner.kind == RecordKind::Carried {
            return Err(SealError::NotCarriable("a carried record: carry the old packet itself"));
        }
        if inner.stream == SESSION_STREAM {
            return Err(SealError::NotCarriable("a record of the session itself"));
        }
        let base = epoch.bases.get(inner.stream.0 as usize).ok_or(SealError::Stream(inner.stream))?;
        if inner.epoch == epoch.id || inner.counter >= *base {
            return Err(SealError::NotCarriable("a record of this epoch: send it again as it is"));
        }
        let sealing = Sealing { class: inner.class, stream: inner.stream, signed: true, shape: Shape::Exact };
        let header = self.next_header(RecordKind::Carried, &sealing)?;
        let start = out.len();
        let header_bytes = header.to_array();
        put_prefix(&header_bytes, out);
        let body = out.len();
        let overhead = body - start + SIGNATURE_LENGTH + self.suite.tag_length();
        if overhead + record.len() > PACKET_LENGTH_MAX {
            out.truncate(start);
            return Err(SealError::NotCarriable("too long for a packet"));
        }
        out.extend_from_slice(record);
        self.sign(signing, &header_bytes, body, out);
        self.protect(&header, &header_bytes, out, body);
        Ok(header.counter)
    }
}

impl Opener {
    /// Opens the older record in `packet[body]`, the decrypted payload of a carried record with the header `outer`
    /// \[REC-11\] \[REC-14\].
    pub(super) fn open_carried(
        &mut self,
        outer: &RecordHeader,
        packet: &mut [u8],
        body: Range<usize>,
        spill: &mut Vec<u8>,
    ) -> Result<Opened, OpenError> {
        let result = self.open_inner(&mut packet[body.clone()], |inner| self.admit(outer, inner));
        let peer = self.peers.get_mut(&outer.sender).ok_or(OpenError::NotAMember)?;
        // Without the base nothing can be decided yet: the same bytes may come again and must still be acceptable.
        if !matches!(result, Err(OpenError::Carried(CarriedRefusal::BaseUnknown))) {
            peer.mark(outer.stream, outer.counter);
        }
        let (inner, length) = result?;
        peer.mark(inner.stream, inner.counter);
        let start = body.start + RecordHeader::LENGTH;
        opened(&inner, true, packet, start..start + length, spill)
    }

    /// Whether the older record may be opened at all, by its header alone.
    fn admit(&self, outer: &RecordHeader, inner: &RecordHeader) -> Result<(), OpenError> {
        let refuse = |refusal: CarriedRefusal| Err(OpenError::Carried(refusal));
        if inner.kind == RecordKind::Carried {
            return refuse(CarriedRefusal::Nested);
        }
        if inner.sender != outer.sender {
            return refuse(CarriedRefusal::OtherSender);
        }
        if inner.stream != outer.stream || inner.class != outer.class {
            return refuse(CarriedRefusal::OtherChannel);
        }
        let bases = self.peers.get(&outer.sender).and_then(|peer| peer.bases.as_ref());
        let Some(bases) = bases.filter(|bases| bases.epoch() == outer.epoch) else {
            return refuse(CarriedRefusal::BaseUnknown);
        };
        if inner.counter >= bases.stated(inner.stream) {
            return refuse(CarriedRefusal::AboveBase);
        }
        match bases.set(inner.stream) {
            None => refuse(CarriedRefusal::EpochNotOpen),
            Some(set) if !set.is_missing(inner.counter) => refuse(CarriedRefusal::NotMissing),
            Some(_) => Ok(()),
        }
    }
}
