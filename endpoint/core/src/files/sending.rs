//! One file on its way from here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use proto_spec::app::{FileAnswer, FileMessage, FileOffer, FileReason};
use proto_spec::{SenderNumber, StreamId, Timestamp};

use super::limits::{CONFIRM_TIMEOUT, OFFER_TIMEOUT, PIECE_LENGTH, PROGRESS_INTERVAL, READ_PIECES};
use super::{FileEffect, FileResult, Outbox, failed, hexadecimal, safe_name, sentence};
use crate::channel::Channels;
use crate::event::{Direction, Event, TransferId};

/// A member that the file was offered to and that has not said no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Receiver {
    /// Has not answered.
    Asked,
    /// Has so many bytes, and wants the rest.
    Accepted(u64),
    /// Has the file.
    Done,
}

enum Phase {
    /// The shell hashes the file.
    Inspecting,
    /// Members are asked.
    Offered {
        deadline: Timestamp,
    },
    /// Pieces go out.
    Sending(Pieces),
    /// Every piece has arrived everywhere.
    Confirming {
        deadline: Timestamp,
    },
    Over,
}

struct Pieces {
    offset: u64,
    first_sequence: u64,
    piece_length: usize,
    /// Read and not yet given to the channel.
    buffer: Bytes,
    /// Where the next read begins.
    read_to: u64,
    reading: bool,
    reported_at: Option<Timestamp>,
    reported: u64,
}

/// One file on its way from here.
pub(super) struct Sending {
    transfer: TransferId,
    stream: StreamId,
    path: PathBuf,
    name: String,
    size: u64,
    blake3: [u8; 32],
    everybody: bool,
    receivers: BTreeMap<SenderNumber, Receiver>,
    last_refusal: Option<FileReason>,
    phase: Phase,
}

/// Tells a member that its answer came too late.
pub(super) const fn too_late(serial: u32, member: SenderNumber) -> FileMessage {
    FileMessage::Cancel { serial, member: Some(member), reason: FileReason::TooLate }
}

impl Sending {
    pub(super) fn new(
        transfer: TransferId,
        stream: StreamId,
        path: PathBuf,
        receivers: Vec<SenderNumber>,
        everybody: bool,
        outbox: &mut Outbox,
    ) -> Sending {
        outbox.effect(FileEffect::Inspect { transfer, path: path.clone() });
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Sending {
            transfer,
            stream,
            path,
            name: safe_name(&name),
            size: 0,
            blake3: [0; 32],
            everybody,
            receivers: receivers.into_iter().map(|member| (member, Receiver::Asked)).collect(),
            last_refusal: None,
            phase: Phase::Inspecting,
        }
    }

    pub(super) const fn stream(&self) -> StreamId {
        self.stream
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    pub(super) const fn deadline(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Offered { deadline } | Phase::Confirming { deadline } => Some(*deadline),
            Phase::Inspecting | Phase::Sending(_) | Phase::Over => None,
        }
    }

    /// Gives the whole transfer up.
    pub(super) fn cancel(&mut self, reason: FileReason, detail: &str, outbox: &mut Outbox) {
        let (serial, member) = (self.transfer.serial, None);
        if !matches!(self.phase, Phase::Inspecting) {
            outbox.message(FileMessage::Cancel { serial, member, reason });
        }
        self.fail(sentence(reason, detail), outbox);
    }

    /// A member's answer to the offer \[APP-5\].
    pub(super) fn answered(
        &mut self,
        now: Timestamp,
        channels: &mut Channels,
        from: SenderNumber,
        answer: FileAnswer,
        outbox: &mut Outbox,
    ) {
        let asked = self.receivers.get(&from) == Some(&Receiver::Asked);
        match answer {
            FileAnswer::Refuse { reason } if asked => self.dropped(channels, from, reason, false, outbox),
            FileAnswer::Accept { offset } if asked && matches!(self.phase, Phase::Offered { .. }) => {
                if offset > self.size {
                    self.dropped(channels, from, FileReason::Protocol, true, outbox);
                } else {
                    self.receivers.insert(from, Receiver::Accepted(offset));
                }
            }
            FileAnswer::Accept { .. } if !self.receivers.contains_key(&from) => {
                outbox.message(too_late(self.transfer.serial, from));
            }
            FileAnswer::Accept { .. } | FileAnswer::Refuse { .. } => {}
        }
        self.start_if_answered(now, channels, outbox);
    }

    /// A receiver has the file, or will not have it \[APP-6\].
    pub(super) fn confirmed(
        &mut self,
        now: Timestamp,
        channels: &mut Channels,
        from: SenderNumber,
        failure: Option<FileReason>,
        outbox: &mut Outbox,
    ) {
        let started = matches!(self.phase, Phase::Sending(_) | Phase::Confirming { .. });
        match (failure, self.receivers.get(&from)) {
            (Some(reason), Some(Receiver::Accepted(_))) => {
                self.dropped(channels, from, reason, false, outbox);
                self.start_if_answered(now, channels, outbox);
            }
            (None, Some(Receiver::Accepted(_))) if started => {
                self.receivers.insert(from, Receiver::Done);
                channels.drop_receiver(self.stream, from);
                self.finish_if_done(outbox);
            }
            _ => {}
        }
    }

    /// A member is out of the session.
    pub(super) fn left(
        &mut self,
        now: Timestamp,
        channels: &mut Channels,
        member: SenderNumber,
        outbox: &mut Outbox,
    ) {
        if self.receivers.get(&member).is_some_and(|receiver| *receiver != Receiver::Done) {
            self.dropped(channels, member, FileReason::Left, false, outbox);
            self.start_if_answered(now, channels, outbox);
        }
    }

    /// A member will not have the file; the others are not concerned.
    pub(super) fn dropped(
        &mut self,
        channels: &mut Channels,
        member: SenderNumber,
        reason: FileReason,
        tell: bool,
        outbox: &mut Outbox,
    ) {
        if self.receivers.remove(&member).is_none() {
            return;
        }
        if tell {
            let serial = self.transfer.serial;
            outbox.message(FileMessage::Cancel { serial, member: Some(member), reason });
        }
        channels.drop_receiver(self.stream, member);
        let (transfer, by) = (self.transfer, member);
        outbox.event(Event::FileRefused { transfer, by, reason: reason.sentence().to_owned() });
        self.last_refusal = Some(reason);
        self.finish_if_done(outbox);
    }

    /// What became of an effect.
    pub(super) fn result(&mut self, now: Timestamp, result: FileResult, outbox: &mut Outbox) {
        match (result, &mut self.phase) {
            (FileResult::Inspected { size_bytes, blake3 }, Phase::Inspecting) => {
                (self.size, self.blake3) = (size_bytes, blake3);
                self.offer(now, outbox);
            }
            (FileResult::Read { bytes }, Phase::Sending(pieces)) if pieces.reading => {
                pieces.reading = false;
                pieces.read_to += bytes.len() as u64;
                pieces.buffer = bytes;
            }
            (FileResult::Failed { reason, detail }, phase) if !matches!(phase, Phase::Over) => {
                self.cancel(reason, &detail, outbox);
            }
            _ => {}
        }
    }

    /// Timers that are due.
    pub(super) fn timeout(&mut self, now: Timestamp, channels: &mut Channels, outbox: &mut Outbox) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let (silent, reason) = match self.phase {
            Phase::Offered { .. } => (Receiver::is_asked as fn(&Receiver) -> bool, FileReason::TimedOut),
            _ => (Receiver::is_accepted as fn(&Receiver) -> bool, FileReason::NotConfirmed),
        };
        let members: Vec<_> =
            self.receivers.iter().filter(|(_, state)| silent(state)).map(|(member, _)| *member).collect();
        for member in members {
            self.dropped(channels, member, reason, true, outbox);
        }
        self.start_if_answered(now, channels, outbox);
    }

    /// Moves pieces into the channel, asks for more, and tells how far the slowest is.
    pub(super) fn pump(&mut self, now: Timestamp, channels: &mut Channels, outbox: &mut Outbox) {
        let Phase::Sending(pieces) = &mut self.phase else { return };
        loop {
            if pieces.buffer.is_empty() {
                let rest = self.size - pieces.read_to;
                if !pieces.reading && rest > 0 {
                    let longest = (pieces.piece_length * READ_PIECES) as u64;
                    let (offset, length) = (pieces.read_to, rest.min(longest) as usize);
                    outbox.effect(FileEffect::Read { transfer: self.transfer, offset, length });
                    pieces.reading = true;
                }
                break;
            }
            if !channels.is_writable(self.stream) {
                break;
            }
            let length = pieces.buffer.len().min(pieces.piece_length);
            let piece = pieces.buffer.split_to(length);
            if channels.send(self.stream, piece).is_err() {
                // Writable channels take a piece; only a closed one does not, and then the transfer is over.
                return self.cancel(FileReason::ReadFailed, "", outbox);
            }
        }
        let slowest = self.receivers.iter().filter(|(_, state)| state.is_accepted());
        let slowest = slowest.filter_map(|(member, _)| channels.acknowledged(self.stream, *member)).min();
        let Some(slowest) = slowest else { return };
        let arrived =
            slowest.saturating_sub(pieces.first_sequence).saturating_mul(pieces.piece_length as u64);
        let done_bytes = pieces.offset.saturating_add(arrived).min(self.size);
        let due = pieces.reported_at.is_none_or(|at| now >= at + PROGRESS_INTERVAL);
        if done_bytes > pieces.reported && (due || done_bytes == self.size) {
            pieces.reported = done_bytes;
            pieces.reported_at = Some(now);
            outbox.event(Event::FileProgress {
                transfer: self.transfer,
                direction: Direction::Sending,
                done_bytes,
                size_bytes: self.size,
            });
        }
        if done_bytes == self.size && pieces.read_to == self.size && channels.is_idle(self.stream) {
            self.phase = Phase::Confirming { deadline: now + CONFIRM_TIMEOUT };
        }
    }

    fn offer(&mut self, now: Timestamp, outbox: &mut Outbox) {
        let listed = if self.everybody { Vec::new() } else { self.receivers.keys().copied().collect() };
        outbox.message(FileMessage::Offer(FileOffer {
            serial: self.transfer.serial,
            stream: self.stream,
            size: self.size,
            blake3: self.blake3,
            receivers: listed,
            name: self.name.clone(),
        }));
        outbox.event(Event::FileOffered {
            transfer: self.transfer,
            direction: Direction::Sending,
            file: self.name.clone(),
            size_bytes: self.size,
        });
        self.phase = Phase::Offered { deadline: now + OFFER_TIMEOUT };
        if self.receivers.is_empty() {
            self.finish_if_done(outbox);
        }
    }

    /// Begins once nobody is left to answer: at the least that a receiver has \[APP-5\].
    fn start_if_answered(&mut self, now: Timestamp, channels: &mut Channels, outbox: &mut Outbox) {
        let accepted = self.receivers.iter().filter_map(|(member, state)| match state {
            Receiver::Accepted(offset) => Some((*member, *offset)),
            _ => None,
        });
        let accepted: Vec<_> = accepted.collect();
        if !matches!(self.phase, Phase::Offered { .. })
            || accepted.len() < self.receivers.len()
            || accepted.is_empty()
        {
            return;
        }
        let receivers: Vec<_> = accepted.iter().map(|(member, _)| *member).collect();
        let offset = accepted.iter().map(|(_, offset)| *offset).min().unwrap_or(0);
        let first_sequence = channels.open_file(now, self.stream, receivers.iter().copied());
        let serial = self.transfer.serial;
        outbox.message(FileMessage::Start { serial, offset, first_sequence, receivers });
        if offset == self.size {
            self.phase = Phase::Confirming { deadline: now + CONFIRM_TIMEOUT };
            return;
        }
        self.phase = Phase::Sending(Pieces {
            offset,
            first_sequence,
            piece_length: PIECE_LENGTH.min(channels.payload_max()),
            buffer: Bytes::new(),
            read_to: offset,
            reading: false,
            reported_at: None,
            reported: offset,
        });
    }

    fn finish_if_done(&mut self, outbox: &mut Outbox) {
        if self.is_over() || self.receivers.values().any(|state| *state != Receiver::Done) {
            return;
        }
        if self.receivers.is_empty() {
            let reason = self.last_refusal.unwrap_or(FileReason::Left);
            return self.fail(format!("nobody received the file: {}", reason.sentence()), outbox);
        }
        outbox.event(Event::FileDone {
            transfer: self.transfer,
            direction: Direction::Sending,
            file: self.name.clone(),
            path: self.path.clone(),
            size_bytes: self.size,
            blake3: hexadecimal(&self.blake3),
        });
        self.close(outbox);
    }

    fn fail(&mut self, reason: String, outbox: &mut Outbox) {
        outbox.event(failed(self.transfer, Direction::Sending, &self.name, reason));
        self.close(outbox);
    }

    fn close(&mut self, outbox: &mut Outbox) {
        outbox.effect(FileEffect::CloseSource { transfer: self.transfer });
        self.phase = Phase::Over;
    }
}

impl Receiver {
    fn is_asked(&self) -> bool {
        *self == Receiver::Asked
    }

    fn is_accepted(&self) -> bool {
        matches!(self, Receiver::Accepted(_))
    }
}
