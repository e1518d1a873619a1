//! The sending side of records: counters, nonces, signatures. Never seals under an epoch that is not the newest.

use proto_spec::packet::{PacketKind, RecordHeader, RecordKind};
use proto_spec::{EpochId, SenderNumber, StreamId};

use super::compress::{Compressor, Shape};
use super::{
    PADDED_PLAINTEXT_LENGTH_MAX, PLAINTEXT_LENGTH_MAX, RECORDS_PER_EPOCH_MAX, SESSION_STREAM, STREAMS_MAX,
    SealError, Sealing, must_be_signed, nonce, signed_message,
};
use crate::keys::MemberKey;
use crate::suite::{PacketKey, Suite};

/// Seals what this member sends.
pub(crate) struct Sealer {
    pub(super) suite: Suite,
    pub(super) number: SenderNumber,
    /// Next counter of each stream; continues across epochs \[REC-4\].
    next: [u64; STREAMS_MAX],
    /// Highest counter ever sealed on each stream, kept apart from `next` so that the assertion can fail.
    sealed: [Option<u64>; STREAMS_MAX],
    pub(super) epoch: Option<SendEpoch>,
    compressor: Compressor,
}

/// The epoch that is being sealed under.
pub(super) struct SendEpoch {
    pub(super) id: EpochId,
    roster_hash: [u8; 32],
    key: PacketKey,
    records: u32,
    /// Each stream's next counter when the epoch was installed.
    pub(super) bases: [u64; STREAMS_MAX],
}

impl Sealer {
    pub(crate) fn new(suite: Suite, number: SenderNumber) -> Self {
        Sealer {
            suite,
            number,
            next: [0; STREAMS_MAX],
            sealed: [None; STREAMS_MAX],
            epoch: None,
            compressor: Compressor::new(),
        }
    }

    /// Everything from here on is sealed under `key`.
    pub(crate) fn install(&mut self, id: EpochId, roster_hash: [u8; 32], key: PacketKey) {
        self.epoch = Some(SendEpoch { id, roster_hash, key, records: 0, bases: self.next });
    }

    /// Counters at the present epoch's start of the channels that have sealed anything; not of stream 0.
    pub(crate) fn bases(&self) -> impl Iterator<Item = (StreamId, u64)> + '_ {
        let bases = self.epoch.iter().flat_map(|epoch| epoch.bases.iter().enumerate());
        bases.skip(1).map(|(stream, base)| (StreamId(stream as u32), *base))
    }

    /// Appends a whole record packet on one of the channels to `out`; returns its counter.
    pub(crate) fn seal(
        &mut self,
        signing: &MemberKey,
        sealing: &Sealing,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, SealError> {
        if sealing.stream == SESSION_STREAM {
            return Err(SealError::Stream(sealing.stream));
        }
        self.seal_any(signing, sealing, plaintext, out)
    }

    /// As [`Sealer::seal`], on stream 0 too.
    pub(crate) fn seal_any(
        &mut self,
        signing: &MemberKey,
        sealing: &Sealing,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, SealError> {
        let limit = match sealing.shape {
            Shape::Padded => PADDED_PLAINTEXT_LENGTH_MAX,
            Shape::Exact | Shape::Compressed => PLAINTEXT_LENGTH_MAX,
        };
        if plaintext.len() > limit {
            return Err(SealError::TooLong { length: plaintext.len(), limit });
        }
        if must_be_signed(sealing.class) && !sealing.signed {
            return Err(SealError::MustBeSigned(sealing.class));
        }
        let kind = if sealing.signed { RecordKind::Signed } else { RecordKind::Plain };
        let header = self.next_header(kind, sealing)?;
        let header_bytes = header.to_array();
        put_prefix(&header_bytes, out);
        let body = out.len();
        self.compressor.put_body(sealing.shape, plaintext, out);
        if sealing.signed {
            self.sign(signing, &header_bytes, body, out);
        }
        self.protect(&header, &header_bytes, out, body);
        Ok(header.counter)
    }

    /// The header of the stream's next record, or why there can be none. Takes nothing.
    pub(super) fn next_header(&self, kind: RecordKind, sealing: &Sealing) -> Result<RecordHeader, SealError> {
        let epoch = self.epoch.as_ref().ok_or(SealError::NoEpoch)?;
        if epoch.records == RECORDS_PER_EPOCH_MAX {
            return Err(SealError::EpochFull);
        }
        let counter = *self.next.get(sealing.stream.0 as usize).ok_or(SealError::Stream(sealing.stream))?;
        Ok(RecordHeader {
            suite: self.suite.value(),
            class: sealing.class,
            kind,
            sender: self.number,
            epoch: epoch.id,
            stream: sealing.stream,
            counter,
        })
    }

    /// Appends the signature of `out[body..]`.
    pub(super) fn sign(
        &self,
        signing: &MemberKey,
        header: &[u8; RecordHeader::LENGTH],
        body: usize,
        out: &mut Vec<u8>,
    ) {
        let epoch = self.epoch.as_ref().expect("a header was made, so there is an epoch");
        let message = signed_message(&epoch.roster_hash, header, &out[body..]);
        out.extend_from_slice(&signing.sign(&message));
    }

    /// Seals `out[body..]` in place and takes the header's counter.
    ///
    /// # Panics
    /// If the nonce is not new: our own bug, and worse than ending here \[REC-5\].
    pub(super) fn protect(
        &mut self,
        header: &RecordHeader,
        header_bytes: &[u8; RecordHeader::LENGTH],
        out: &mut Vec<u8>,
        body: usize,
    ) {
        let stream = header.stream.0 as usize;
        assert!(
            self.sealed[stream].is_none_or(|sealed| header.counter > sealed),
            "nonce used twice: stream {stream}, counter {}",
            header.counter
        );
        let epoch = self.epoch.as_mut().expect("a header was made, so there is an epoch");
        assert!(epoch.records < RECORDS_PER_EPOCH_MAX, "more records than an epoch bears");
        epoch.records += 1;
        self.sealed[stream] = Some(header.counter);
        self.next[stream] = header.counter.checked_add(1).expect("2^64 records on one channel");
        epoch.key.seal_tail(&nonce(header_bytes), header_bytes, out, body);
    }
}

pub(super) fn put_prefix(header: &[u8; RecordHeader::LENGTH], out: &mut Vec<u8>) {
    out.push(PacketKind::Record as u8);
    out.extend_from_slice(header);
}

#[cfg(test)]
mod tests {
    use proto_spec::TrafficClass;
    use rand_core::SeedableRng;

    use super::*;

    fn sealer() -> (Sealer, MemberKey) {
        let number = SenderNumber::new(2).unwrap();
        let mut sealer = Sealer::new(Suite::Modern, number);
        let id = EpochId { term: 0, leader: number, count: 1 };
        sealer.install(id, [1; 32], PacketKey::new(Suite::Modern, &[7; 32]));
        (sealer, MemberKey::generate(&mut rand_chacha::ChaCha20Rng::seed_from_u64(1)))
    }

    const BULK: Sealing =
        Sealing { class: TrafficClass::Bulk, stream: StreamId(3), signed: false, shape: Shape::Exact };

    /// \[REC-5\] A rolled-back counter stops the program instead of using a nonce again.
    #[test]
    #[should_panic(expected = "nonce used twice")]
    fn a_nonce_is_never_used_twice() {
        let (mut sealer, key) = sealer();
        sealer.seal(&key, &BULK, b"one", &mut Vec::new()).unwrap();
        sealer.next[3] = 0;
        let _ = sealer.seal(&key, &BULK, b"two", &mut Vec::new());
    }

    /// \[REC-4\] \[REC-5\]
    #[test]
    fn counters_continue_across_epochs_and_an_epoch_fills_up() {
        let (mut sealer, key) = sealer();
        assert_eq!(sealer.seal(&key, &BULK, b"", &mut Vec::new()), Ok(0));
        assert_eq!(sealer.seal(&key, &BULK, b"", &mut Vec::new()), Ok(1));
        let id = EpochId { count: 2, ..sealer.epoch.as_ref().unwrap().id };
        sealer.install(id, [2; 32], PacketKey::new(Suite::Modern, &[8; 32]));
        assert_eq!(sealer.seal(&key, &BULK, b"", &mut Vec::new()), Ok(2));
        sealer.epoch.as_mut().unwrap().records = RECORDS_PER_EPOCH_MAX - 1;
        assert_eq!(sealer.seal(&key, &BULK, b"", &mut Vec::new()), Ok(3));
        let mut out = Vec::new();
        assert_eq!(sealer.seal(&key, &BULK, b"", &mut out), Err(SealError::EpochFull));
        assert!(out.is_empty());
    }
}
