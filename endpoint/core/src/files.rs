//! File transfers between members: offers, answers, pieces, confirmations, resumption; many at once, both ways.
//!
//! ```text
//! sender     Inspect -> offer -> answers -> start -> Read, pieces .. -> confirmations -> done
//! receiver   offer -> user -> OpenTarget -> accept -> start -> pieces, Write .. -> Finish -> confirmation
//! ```
//! Nothing here opens a file: [`FileEffect`]s are carried out by the shell, which answers each with a [`FileResult`], in
//! order for one transfer. What is read or written ahead is bounded by `limits` and the channel's windows. Whoever a
//! member claims to send, its name is made safe and its bytes count only with the BLAKE3 that the signed offer named.

pub mod limits;
mod name;
mod receiving;
mod sending;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use bytes::Bytes;
use proto_spec::app::{Control, FileMessage, FileReason};
use proto_spec::channel::CONTROL_STREAM;
use proto_spec::{SenderNumber, StreamId, Timestamp, Wire};

use crate::channel::{Channels, SendError};
use crate::event::{Direction, Event, TransferId};
use limits::{MESSAGES_MAX, RECEIVING_MAX, SENDING_MAX};
use receiving::Receiving;
use sending::Sending;

pub use name::{numbered_name, safe_name};

/// Something for the shell to do with a file. After a failure the shell ignores whatever else was asked for the same
/// transfer, but closes what is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileEffect {
    /// Open a file to be sent and hash all of it. Answer: [`FileResult::Inspected`] or a failure.
    Inspect {
        /// For which transfer.
        transfer: TransferId,
        /// On this machine.
        path: PathBuf,
    },
    /// Read from the inspected file, and hash again what is read: what lies before the first read too. With the last
    /// byte the shell compares size, time of change and BLAKE3 with those at inspection. Answer: [`FileResult::Read`],
    /// or [`FileReason::Changed`], or a failure.
    Read {
        /// For which transfer.
        transfer: TransferId,
        /// In bytes.
        offset: u64,
        /// In bytes; never beyond the file's size.
        length: usize,
    },
    /// The inspected file is of no use any more. No answer.
    CloseSource {
        /// For which transfer.
        transfer: TransferId,
    },
    /// Open the partial file that this BLAKE3 names in the download folder, or make one; hash what it holds. Answer:
    /// [`FileResult::TargetOpened`], or [`FileReason::DiskFull`] if the rest does not fit, or a failure.
    OpenTarget {
        /// For which transfer.
        transfer: TransferId,
        /// Safe; for [`FileEffect::Finish`].
        name: String,
        /// The whole file's, in bytes.
        size_bytes: u64,
        /// The whole file's.
        blake3: [u8; 32],
    },
    /// Append to the partial file. Answer: [`FileResult::Written`] or a failure.
    Write {
        /// For which transfer.
        transfer: TransferId,
        /// In bytes; always where the file ends.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// The partial file is whole: flush it, compare its BLAKE3, give it its name, or [`numbered_name`] if that is taken;
    /// nothing is overwritten. A partial file with a wrong BLAKE3 is removed. Answer: [`FileResult::Finished`], or
    /// [`FileReason::Mismatch`], or a failure.
    Finish {
        /// For which transfer.
        transfer: TransferId,
    },
    /// Close the partial file and keep it, so that a later transfer can go on. No answer.
    CloseTarget {
        /// For which transfer.
        transfer: TransferId,
    },
}

/// What became of an effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileResult {
    /// The file can be sent.
    Inspected {
        /// In bytes.
        size_bytes: u64,
        /// Of all of it.
        blake3: [u8; 32],
    },
    /// Exactly as many bytes as were asked for.
    Read {
        /// The bytes.
        bytes: Bytes,
    },
    /// The partial file is open.
    TargetOpened {
        /// How many bytes are there already.
        offset: u64,
    },
    /// All bytes of the oldest open [`FileEffect::Write`] are written.
    Written,
    /// The file is complete.
    Finished {
        /// Where.
        path: PathBuf,
    },
    /// It did not work.
    Failed {
        /// Why, for the other side.
        reason: FileReason,
        /// Why, for the user here: what the operating system said; may be empty.
        detail: String,
    },
}

/// What transfers want.
#[derive(Clone, PartialEq, Debug)]
pub enum FileOutput {
    /// From the shell.
    Effect(FileEffect),
    /// The user is told.
    Event(Event),
    /// The user is asked; the answer goes to [`Files::answer`].
    Ask {
        /// The transfer.
        transfer: TransferId,
        /// Safe.
        file: String,
        /// In bytes.
        size_bytes: u64,
    },
    /// The question is void.
    Withdrawn {
        /// The transfer.
        transfer: TransferId,
    },
}

/// All transfers of one endpoint.
pub struct Files {
    me: SenderNumber,
    next_serial: u32,
    sending: BTreeMap<u32, Sending>,
    receiving: BTreeMap<TransferId, Receiving>,
    outbox: Outbox,
}

/// What waits to be taken from [`Files`].
#[derive(Default)]
struct Outbox {
    outputs: VecDeque<FileOutput>,
    messages: VecDeque<FileMessage>,
}

impl Outbox {
    fn effect(&mut self, effect: FileEffect) {
        self.outputs.push_back(FileOutput::Effect(effect));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(FileOutput::Event(event));
    }

    fn message(&mut self, message: FileMessage) {
        if self.messages.len() < MESSAGES_MAX {
            self.messages.push_back(message);
        }
    }
}

impl Files {
    /// No transfers yet.
    pub fn new(me: SenderNumber) -> Files {
        Files {
            me,
            next_serial: 1,
            sending: BTreeMap::new(),
            receiving: BTreeMap::new(),
            outbox: Outbox::default(),
        }
    }

    /// Whether nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.sending.is_empty() && self.receiving.is_empty()
    }

    /// The user wants to send a file to some members, or to all others if `to` is empty. What cannot be is said as
    /// [`Event::Refused`].
    pub fn send(
        &mut self,
        channels: &mut Channels,
        path: PathBuf,
        to: &[SenderNumber],
        others: &[SenderNumber],
    ) -> Option<TransferId> {
        let mut receivers = if to.is_empty() { others.to_vec() } else { to.to_vec() };
        receivers.sort_unstable();
        receivers.dedup();
        let refusal = if let Some(unknown) = receivers.iter().find(|number| !others.contains(number)) {
            Some(format!("nobody here has number {unknown}: see who is here and try again"))
        } else if receivers.is_empty() {
            Some("nobody is here to receive a file: wait until somebody has joined".to_owned())
        } else if self.sending.len() >= SENDING_MAX {
            Some(FileReason::Busy.sentence().to_owned())
        } else {
            None
        };
        let stream = if refusal.is_none() { channels.reserve_file() } else { None };
        let Some(stream) = stream else {
            let reason = refusal.unwrap_or_else(|| FileReason::Busy.sentence().to_owned());
            self.outbox.event(Event::Refused { reason });
            return None;
        };
        let transfer = TransferId { from: self.me, serial: self.next_serial };
        self.next_serial += 1;
        let everybody = to.is_empty();
        let sending = Sending::new(transfer, stream, path, receivers, everybody, &mut self.outbox);
        self.sending.insert(transfer.serial, sending);
        Some(transfer)
    }

    /// The user's answer to [`FileOutput::Ask`].
    pub fn answer(&mut self, channels: &mut Channels, transfer: TransferId, allow: bool, reason: FileReason) {
        if let Some(receiving) = self.receiving.get_mut(&transfer) {
            receiving.answered(allow, reason, &mut self.outbox);
        }
        self.sweep(channels);
    }

    /// The user gives a transfer up. What cannot be is said as [`Event::Refused`].
    pub fn cancel(&mut self, channels: &mut Channels, transfer: TransferId) {
        if transfer.from == self.me
            && let Some(sending) = self.sending.get_mut(&transfer.serial)
        {
            sending.cancel(FileReason::Cancelled, "", &mut self.outbox);
        } else if let Some(receiving) = self.receiving.get_mut(&transfer) {
            receiving.fail(FileReason::Cancelled, "", true, &mut self.outbox);
        } else {
            let reason = format!("no file {}:{} is on its way", transfer.from, transfer.serial);
            self.outbox.event(Event::Refused { reason });
        }
        self.sweep(channels);
    }

    /// A message of the control stream about files.
    pub fn handle_message(
        &mut self,
        now: Timestamp,
        channels: &mut Channels,
        from: SenderNumber,
        message: FileMessage,
    ) {
        match message {
            FileMessage::Offer(offer) => {
                let transfer = TransferId { from, serial: offer.serial };
                let for_me = offer.receivers.is_empty() || offer.receivers.binary_search(&self.me).is_ok();
                if !for_me || self.receiving.contains_key(&transfer) {
                    return;
                }
                let stream_taken =
                    self.receiving.values().any(|other| other.uses_stream_of(from, offer.stream));
                if self.receiving.len() >= RECEIVING_MAX || stream_taken {
                    return self.outbox.message(receiving::refusal(transfer, FileReason::Busy));
                }
                let receiving = Receiving::new(transfer, offer, &mut self.outbox);
                self.receiving.insert(transfer, receiving);
            }
            FileMessage::Start { serial, offset, first_sequence, receivers } => {
                let transfer = TransferId { from, serial };
                if let Some(receiving) = self.receiving.get_mut(&transfer) {
                    let for_me = receivers.binary_search(&self.me).is_ok();
                    receiving.started(now, channels, for_me, offset, first_sequence, &mut self.outbox);
                }
            }
            FileMessage::Cancel { serial, member, reason } => {
                let transfer = TransferId { from, serial };
                if member.is_none_or(|member| member == self.me)
                    && let Some(receiving) = self.receiving.get_mut(&transfer)
                {
                    receiving.fail(reason, "", false, &mut self.outbox);
                }
            }
            FileMessage::Answer { sender, serial, answer } if sender == self.me => {
                match self.sending.get_mut(&serial) {
                    Some(sending) => sending.answered(now, channels, from, answer, &mut self.outbox),
                    None => self.outbox.message(sending::too_late(serial, from)),
                }
            }
            FileMessage::Done { sender, serial, failure } if sender == self.me => {
                if let Some(sending) = self.sending.get_mut(&serial) {
                    sending.confirmed(now, channels, from, failure, &mut self.outbox);
                }
            }
            FileMessage::Answer { .. } | FileMessage::Done { .. } => {}
        }
        self.sweep(channels);
    }

    /// The next payload of a member's file stream.
    pub fn handle_data(
        &mut self,
        now: Timestamp,
        channels: &mut Channels,
        from: SenderNumber,
        stream: StreamId,
        payload: Bytes,
    ) {
        let receiving = self.receiving.values_mut().find(|receiving| receiving.uses_stream_of(from, stream));
        if let Some(receiving) = receiving {
            receiving.piece(now, channels, payload, &mut self.outbox);
        }
        self.sweep(channels);
    }

    /// Records of a member's file stream will never come.
    pub fn handle_lost(&mut self, channels: &mut Channels, from: SenderNumber, stream: StreamId) {
        let receiving = self.receiving.values_mut().find(|receiving| receiving.uses_stream_of(from, stream));
        if let Some(receiving) = receiving {
            receiving.fail(FileReason::FellBehind, "", true, &mut self.outbox);
        }
        self.sweep(channels);
    }

    /// A receiver is out of a stream's window.
    pub fn handle_fell_behind(&mut self, channels: &mut Channels, stream: StreamId, member: SenderNumber) {
        if let Some(sending) = self.sending.values_mut().find(|sending| sending.stream() == stream) {
            sending.dropped(channels, member, FileReason::FellBehind, true, &mut self.outbox);
        }
        self.sweep(channels);
    }

    /// A member is out of the session.
    pub fn member_left(&mut self, now: Timestamp, channels: &mut Channels, member: SenderNumber) {
        for sending in self.sending.values_mut() {
            sending.left(now, channels, member, &mut self.outbox);
        }
        for receiving in self.receiving.values_mut().filter(|receiving| receiving.sender() == member) {
            receiving.fail(FileReason::Left, "", false, &mut self.outbox);
        }
        self.sweep(channels);
    }

    /// What became of an effect. Results of transfers that are over are of no interest.
    pub fn handle_result(
        &mut self,
        now: Timestamp,
        channels: &mut Channels,
        transfer: TransferId,
        result: FileResult,
    ) {
        if transfer.from == self.me {
            if let Some(sending) = self.sending.get_mut(&transfer.serial) {
                sending.result(now, result, &mut self.outbox);
            }
        } else if let Some(receiving) = self.receiving.get_mut(&transfer) {
            receiving.result(now, channels, result, &mut self.outbox);
        }
        self.sweep(channels);
    }

    /// Timers that are due.
    pub fn handle_timeout(&mut self, now: Timestamp, channels: &mut Channels) {
        for sending in self.sending.values_mut() {
            sending.timeout(now, channels, &mut self.outbox);
        }
        for receiving in self.receiving.values_mut() {
            receiving.timeout(now, &mut self.outbox);
        }
        self.sweep(channels);
    }

    /// When [`Files::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let sending = self.sending.values().filter_map(Sending::deadline);
        sending.chain(self.receiving.values().filter_map(Receiving::deadline)).min()
    }

    /// Moves what can be moved: messages and pieces into the channels, reads to the shell. To be called after each
    /// input to files or channels, before outputs are taken.
    pub fn pump(&mut self, now: Timestamp, channels: &mut Channels) {
        while let Some(message) = self.outbox.messages.front() {
            let bytes = Control::File(message.clone()).to_bytes();
            match channels.send(CONTROL_STREAM, bytes.into()) {
                Err(SendError::Full) => break,
                Ok(_) | Err(SendError::NotOpen | SendError::TooLong) => self.outbox.messages.pop_front(),
            };
        }
        for sending in self.sending.values_mut() {
            sending.pump(now, channels, &mut self.outbox);
        }
        self.sweep(channels);
    }

    /// The next thing that transfers want, until `None`.
    pub fn poll_output(&mut self) -> Option<FileOutput> {
        self.outbox.outputs.pop_front()
    }

    /// The session is over: every transfer fails, what has arrived is kept.
    pub fn close(&mut self, channels: &mut Channels) {
        for sending in self.sending.values_mut() {
            sending.cancel(FileReason::Left, "", &mut self.outbox);
        }
        for receiving in self.receiving.values_mut() {
            receiving.fail(FileReason::Left, "", false, &mut self.outbox);
        }
        self.sweep(channels);
    }

    /// Lets go of transfers that are over.
    fn sweep(&mut self, channels: &mut Channels) {
        self.sending.retain(|_, sending| {
            if sending.is_over() {
                channels.close_file(sending.stream());
            }
            !sending.is_over()
        });
        self.receiving.retain(|_, receiving| {
            if receiving.is_over() {
                channels.stop_file(receiving.sender(), receiving.stream());
            }
            !receiving.is_over()
        });
    }
}

/// A sentence for the user: the reason's, and what the operating system said.
fn sentence(reason: FileReason, detail: &str) -> String {
    if detail.is_empty() { reason.sentence().to_owned() } else { format!("{} ({detail})", reason.sentence()) }
}

fn failed(transfer: TransferId, direction: Direction, file: &str, reason: String) -> Event {
    Event::FileFailed { transfer, direction, file: file.to_owned(), reason }
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
