//! One file on its way to here.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};
use proto_spec::app::{FileAnswer, FileMessage, FileOffer, FileReason};
use proto_spec::{SenderNumber, StreamId, Timestamp};

use super::limits::{PROGRESS_INTERVAL, START_TIMEOUT};
use super::{FileEffect, FileOutput, FileResult, Outbox, failed, hexadecimal, safe_name, sentence};
use crate::channel::Channels;
use crate::event::{Direction, Event, TransferId};

enum Phase {
    /// The user is asked.
    Asked,
    /// The shell opens the partial file.
    Opening,
    /// The sender has the answer; so many bytes are here.
    Accepted {
        offset: u64,
        deadline: Timestamp,
    },
    /// Pieces come in.
    Receiving(Pieces),
    /// The shell checks and names the file.
    Finishing,
    Over,
}

struct Pieces {
    /// Where the next piece belongs.
    at: u64,
    /// What is in the file, or on its way there.
    written_to: u64,
    /// What is in the file.
    written: u64,
    /// Lengths of the writes under way: of what is written, and of the piece that it came in.
    writes: VecDeque<(usize, usize)>,
    reported_at: Option<Timestamp>,
}

/// One file on its way to here.
pub(super) struct Receiving {
    transfer: TransferId,
    stream: StreamId,
    name: String,
    size: u64,
    blake3: [u8; 32],
    phase: Phase,
}

/// Refuses an offer.
pub(super) const fn refusal(transfer: TransferId, reason: FileReason) -> FileMessage {
    answer(transfer, FileAnswer::Refuse { reason })
}

const fn answer(transfer: TransferId, answer: FileAnswer) -> FileMessage {
    FileMessage::Answer { sender: transfer.from, serial: transfer.serial, answer }
}

impl Receiving {
    pub(super) fn new(transfer: TransferId, offer: FileOffer, outbox: &mut Outbox) -> Receiving {
        let name = safe_name(&offer.name);
        outbox.event(Event::FileOffered {
            transfer,
            direction: Direction::Receiving,
            file: name.clone(),
            size_bytes: offer.size,
        });
        let (file, size_bytes) = (name.clone(), offer.size);
        outbox.outputs.push_back(FileOutput::Ask { transfer, file, size_bytes });
        Receiving {
            transfer,
            stream: offer.stream,
            name,
            size: offer.size,
            blake3: offer.blake3,
            phase: Phase::Asked,
        }
    }

    pub(super) const fn sender(&self) -> SenderNumber {
        self.transfer.from
    }

    pub(super) const fn stream(&self) -> StreamId {
        self.stream
    }

    pub(super) fn uses_stream_of(&self, from: SenderNumber, stream: StreamId) -> bool {
        self.transfer.from == from && self.stream == stream
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    pub(super) const fn deadline(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Accepted { deadline, .. } => Some(*deadline),
            _ => None,
        }
    }

    /// The user's answer.
    pub(super) fn answered(&mut self, allow: bool, reason: FileReason, outbox: &mut Outbox) {
        if !matches!(self.phase, Phase::Asked) {
            return;
        }
        if allow {
            outbox.effect(FileEffect::OpenTarget {
                transfer: self.transfer,
                name: self.name.clone(),
                size_bytes: self.size,
                blake3: self.blake3,
            });
            self.phase = Phase::Opening;
        } else {
            self.phase = Phase::Over;
            outbox.message(refusal(self.transfer, reason));
            outbox.event(failed(self.transfer, Direction::Receiving, &self.name, sentence(reason, "")));
        }
    }

    /// The sender begins \[APP-5\].
    pub(super) fn started(
        &mut self,
        now: Timestamp,
        channels: &mut Channels,
        for_me: bool,
        offset: u64,
        first_sequence: u64,
        outbox: &mut Outbox,
    ) {
        let have = match self.phase {
            Phase::Accepted { offset: have, .. } if for_me => have,
            Phase::Asked | Phase::Opening | Phase::Accepted { .. } if !for_me => {
                return self.fail(FileReason::TooLate, "", false, outbox);
            }
            Phase::Asked | Phase::Opening => return self.fail(FileReason::Protocol, "", true, outbox),
            _ => return,
        };
        if offset > have {
            return self.fail(FileReason::Protocol, "", true, outbox);
        }
        channels.start_file(now, self.transfer.from, self.stream, first_sequence);
        self.phase = Phase::Receiving(Pieces {
            at: offset,
            written_to: have,
            written: have,
            writes: VecDeque::new(),
            reported_at: None,
        });
        self.finish_if_whole(outbox);
    }

    /// The next piece of the file.
    pub(super) fn piece(
        &mut self,
        now: Timestamp,
        channels: &mut Channels,
        payload: Bytes,
        outbox: &mut Outbox,
    ) {
        let Phase::Receiving(pieces) = &mut self.phase else { return };
        let length = payload.len();
        if pieces.at + length as u64 > self.size {
            return self.fail(FileReason::Protocol, "", true, outbox);
        }
        let known = pieces.written_to.saturating_sub(pieces.at).min(length as u64) as usize;
        let mut bytes = payload;
        bytes.advance(known);
        pieces.at += length as u64;
        if bytes.is_empty() {
            channels.taken(now, self.transfer.from, self.stream, length);
            return;
        }
        let offset = pieces.written_to;
        pieces.written_to += bytes.len() as u64;
        pieces.writes.push_back((bytes.len(), length));
        outbox.effect(FileEffect::Write { transfer: self.transfer, offset, bytes });
    }

    /// What became of an effect.
    pub(super) fn result(
        &mut self,
        now: Timestamp,
        channels: &mut Channels,
        result: FileResult,
        outbox: &mut Outbox,
    ) {
        match (result, &mut self.phase) {
            (FileResult::TargetOpened { offset }, Phase::Opening) => {
                if !channels.await_file(self.transfer.from, self.stream) {
                    return self.fail(FileReason::Busy, "", true, outbox);
                }
                let offset = offset.min(self.size);
                outbox.message(answer(self.transfer, FileAnswer::Accept { offset }));
                self.phase = Phase::Accepted { offset, deadline: now + START_TIMEOUT };
            }
            (FileResult::Written, Phase::Receiving(pieces)) => {
                let Some((bytes, payload_length)) = pieces.writes.pop_front() else { return };
                pieces.written += bytes as u64;
                channels.taken(now, self.transfer.from, self.stream, payload_length);
                let due = pieces.reported_at.is_none_or(|at| now >= at + PROGRESS_INTERVAL);
                if due || pieces.written == self.size {
                    pieces.reported_at = Some(now);
                    outbox.event(Event::FileProgress {
                        transfer: self.transfer,
                        direction: Direction::Receiving,
                        done_bytes: pieces.written,
                        size_bytes: self.size,
                    });
                }
                self.finish_if_whole(outbox);
            }
            (FileResult::Finished { path }, Phase::Finishing) => {
                self.phase = Phase::Over;
                outbox.message(self.done(None));
                outbox.event(Event::FileDone {
                    transfer: self.transfer,
                    direction: Direction::Receiving,
                    file: self.name.clone(),
                    path,
                    size_bytes: self.size,
                    blake3: hexadecimal(&self.blake3),
                });
            }
            (FileResult::Failed { reason, detail }, _) => self.fail(reason, &detail, true, outbox),
            _ => {}
        }
    }

    /// The start did not come in time.
    pub(super) fn timeout(&mut self, now: Timestamp, outbox: &mut Outbox) {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            self.fail(FileReason::TimedOut, "", true, outbox);
        }
    }

    /// Gives up; what has arrived is kept.
    pub(super) fn fail(&mut self, reason: FileReason, detail: &str, tell: bool, outbox: &mut Outbox) {
        match self.phase {
            Phase::Over => return,
            Phase::Asked => outbox.outputs.push_back(FileOutput::Withdrawn { transfer: self.transfer }),
            _ => outbox.effect(FileEffect::CloseTarget { transfer: self.transfer }),
        }
        if tell {
            outbox.message(match self.phase {
                Phase::Asked | Phase::Opening => refusal(self.transfer, reason),
                _ => self.done(Some(reason)),
            });
        }
        self.phase = Phase::Over;
        outbox.event(failed(self.transfer, Direction::Receiving, &self.name, sentence(reason, detail)));
    }

    const fn done(&self, failure: Option<FileReason>) -> FileMessage {
        FileMessage::Done { sender: self.transfer.from, serial: self.transfer.serial, failure }
    }

    fn finish_if_whole(&mut self, outbox: &mut Outbox) {
        if let Phase::Receiving(pieces) = &self.phase
            && pieces.written == self.size
        {
            outbox.effect(FileEffect::Finish { transfer: self.transfer });
            self.phase = Phase::Finishing;
        }
    }
}
