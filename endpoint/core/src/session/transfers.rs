//! Files in the session: who may be sent what, the question before a file is received, and the pause while a customer
//! has not accepted everybody \[SES-7\]. The transfers themselves are [`crate::files`]'s.

use std::path::PathBuf;

use bytes::Bytes;
use proto_spec::app::{FileMessage, FileReason};
use proto_spec::{Now, SenderNumber, StreamId, TrafficClass};

use super::Endpoint;
use crate::event::{Event, Question, TransferId};
use crate::files::{FileEffect, FileOutput, FileResult};
use crate::security::Security;

impl<S: Security> Endpoint<S> {
    pub(super) fn send_file(&mut self, _now: Now, path: PathBuf, to: &[SenderNumber]) {
        if !self.is_member() {
            return self.refuse("nobody is here to receive a file: wait until you are in the session");
        }
        match self.members.unaccepted(self.config.number) {
            (0, _) => {}
            (_, Some(denied)) => {
                let name = self.members.name(denied);
                return self.refuse(format!(
                    "you did not accept {name}, who could read what is sent: ask the leader to remove {name} first"
                ));
            }
            (_, None) => return self.refuse("say first whether the new member may see what you share"),
        }
        let others: Vec<_> = self.members.others(self.config.number).collect();
        self.files.send(&mut self.channels, path, to, &others);
    }

    pub(super) fn cancel_file(&mut self, transfer: TransferId) {
        self.files.cancel(&mut self.channels, transfer);
    }

    /// The user's answer, or that of time, to a file on offer.
    pub(super) fn answer_file(&mut self, transfer: TransferId, allow: bool, reason: FileReason) {
        self.files.answer(&mut self.channels, transfer, allow, reason);
    }

    pub(super) fn file_result(&mut self, now: Now, transfer: TransferId, result: FileResult) {
        let (unaccepted, _) = self.members.unaccepted(self.config.number);
        // While the file was hashed somebody came: the offer alone would tell its name to all \[SES-7\].
        let result = match result {
            FileResult::Inspected { .. } if unaccepted > 0 => FileResult::Failed {
                reason: FileReason::Cancelled,
                detail: "say first whether the new member may see what you share, then send it again"
                    .to_owned(),
            },
            result => result,
        };
        self.files.handle_result(now.mono, &mut self.channels, transfer, result);
    }

    pub(super) fn file_message(&mut self, now: Now, from: SenderNumber, message: FileMessage) {
        self.files.handle_message(now.mono, &mut self.channels, from, message);
    }

    pub(super) fn file_data(&mut self, now: Now, from: SenderNumber, stream: StreamId, payload: Bytes) {
        self.files.handle_data(now.mono, &mut self.channels, from, stream, payload);
    }

    /// Moves pieces and asks for more; whether it led to anything.
    pub(super) fn settle_files(&mut self, now: Now) -> bool {
        self.files.pump(now.mono, &mut self.channels);
        let Some(output) = self.files.poll_output() else { return false };
        match output {
            FileOutput::Effect(effect) => self.outputs.push_back(super::Output::File(effect)),
            FileOutput::Event(event) => self.tell(event),
            FileOutput::Ask { transfer, file, size_bytes } => self.ask_file(now, transfer, file, size_bytes),
            FileOutput::Withdrawn { transfer } => {
                let about = |question: &Question| matches!(question, Question::Files { transfer: of, .. } if *of == transfer);
                if let Some(event) = self.consent.withdraw(about) {
                    self.tell(event);
                }
            }
        }
        true
    }

    fn ask_file(&mut self, now: Now, transfer: TransferId, file: String, size_bytes: u64) {
        if self.config.accept.files {
            return self.answer_file(transfer, true, FileReason::Declined);
        }
        let (from, name) = (transfer.from, self.members.name(transfer.from));
        match self.consent.ask(now, Question::Files { from, name, transfer, file, size_bytes }) {
            Some(event) => self.tell(event),
            None => self.answer_file(transfer, false, FileReason::Busy),
        }
    }

    /// Nothing of a file is sealed under keys of a member that this user has not accepted.
    pub(super) fn pause_files(&mut self) {
        let (unaccepted, _) = self.members.unaccepted(self.config.number);
        self.channels.pause(TrafficClass::Bulk, unaccepted > 0);
    }

    /// The session is over here: what has arrived is kept, and the user is told of each transfer.
    pub(super) fn close_files(&mut self) {
        self.files.close(&mut self.channels);
        while let Some(output) = self.files.poll_output() {
            match output {
                FileOutput::Effect(
                    effect @ (FileEffect::CloseSource { .. } | FileEffect::CloseTarget { .. }),
                ) => {
                    self.outputs.push_back(super::Output::File(effect));
                }
                FileOutput::Event(event @ Event::FileFailed { .. }) => self.tell(event),
                _ => {}
            }
        }
    }
}
