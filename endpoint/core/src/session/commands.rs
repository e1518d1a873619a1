//! What the user asks for, and the answers to the user's calls.

use proto_spec::app::{CHAT_LENGTH_MAX, Chat, Control, FileReason, Permission};
use proto_spec::channel::{CHAT_STREAM, CONTROL_STREAM};
use proto_spec::ticket::TicketKind;
use proto_spec::{Now, SenderNumber, Wire};

use super::Endpoint;
use super::calls::{CallFailure, CallReply, Purpose};
use crate::command::Command;
use crate::event::{Event, PromptId, Question};
use crate::security::Security;

impl<S: Security> Endpoint<S> {
    pub(super) fn command(&mut self, now: Now, command: Command) {
        match command {
            Command::Say { text } => self.say(text),
            Command::Send { path, to } => self.send_file(now, path, &to),
            Command::Cancel { transfer } => self.cancel_file(transfer),
            Command::Invite { role } => self.invite(now, role),
            Command::Answer { prompt, allow } => self.answer(now, prompt, allow),
            Command::Remove { number } => self.remove(now, number),
            Command::Leave => self.leave(now),
            Command::End => self.end(now),
        }
    }

    /// A line is on its way when it is shown \[SES-8\].
    fn say(&mut self, text: String) {
        if !self.is_member() {
            return self.refuse("nobody can hear you yet: wait until you are in the session");
        }
        let Some(chat) = Chat::new(text) else {
            return self
                .refuse(format!("a line holds 1 to {CHAT_LENGTH_MAX} bytes of text: send it in parts"));
        };
        match self.channels.send(CHAT_STREAM, chat.to_bytes().into()) {
            Ok(_) => {
                let (from, name) = (self.config.number, self.config.display_name.clone());
                self.tell(Event::Chat { from, name, text: chat.text });
            }
            Err(_) => self.refuse("too much is waiting to be sent: try again when the connection is back"),
        }
    }

    fn answer(&mut self, now: Now, prompt: PromptId, allow: bool) {
        match self.consent.answer(prompt, allow) {
            Some((question, event)) => {
                self.tell(event);
                self.answered(now, question, allow);
            }
            None => self.refuse(format!("nothing is asked under number {}", prompt.0)),
        }
    }

    /// Nobody decided in time: a no.
    pub(super) fn timed_out(&mut self, now: Now, question: Question) {
        match question {
            Question::Files { transfer, .. } => self.answer_file(transfer, false, FileReason::TimedOut),
            question => self.answered(now, question, false),
        }
    }

    /// What follows from a decision.
    pub(super) fn answered(&mut self, now: Now, question: Question, allow: bool) {
        match question {
            Question::Join { number, .. } if allow => self.ask_to_admit(number),
            Question::Join { number, .. } => {
                if let Some(security) = &mut self.security {
                    security.refuse(now, number);
                }
            }
            Question::Member { number, .. } => self.decided_about(number, allow),
            Question::Files { transfer, .. } => self.answer_file(transfer, allow, FileReason::Declined),
        }
    }

    /// A customer's word on a further member \[SES-7\].
    fn decided_about(&mut self, number: SenderNumber, allow: bool) {
        if allow {
            self.members.accept(number);
        } else {
            self.members.deny(number);
            let name = self.members.name(number);
            self.notice(format!("nothing is shared from here while {name} is in the session"));
        }
        let consent = Control::Consent { permission: Permission::Member, member: number, granted: allow };
        // A courtesy to the others; what counts is that nothing is sealed.
        let _ = self.channels.send(CONTROL_STREAM, consent.to_bytes().into());
    }

    /// The leader's alone \[SES-2\]: new keys first, the gateway after \[SES-9\].
    fn remove(&mut self, now: Now, number: SenderNumber) {
        if !self.leads() {
            return self.refuse("only the session's leader removes members: ask there");
        }
        if number == self.config.number {
            return self.refuse("you cannot remove yourself: end the session instead");
        }
        if !self.members.contains(number) {
            return self.refuse(format!("nobody here has number {number}"));
        }
        if let Some(security) = &mut self.security {
            security.remove(now, number);
        }
        self.call(Purpose::RemoveMember { number });
    }

    /// The gateway's answer, after all tries.
    pub(super) fn call_answered(
        &mut self,
        now: Now,
        purpose: Purpose,
        result: Result<CallReply, CallFailure>,
    ) {
        match (purpose, result) {
            (Purpose::OpenJoin { role, asker }, result) => self.number_opened(now, role, asker, result),
            (Purpose::Admit { joiner }, Ok(CallReply::Ticket(ticket))) => self.admit(now, joiner, ticket),
            (Purpose::Admit { joiner }, Err(failure)) => {
                self.admissions.consented.remove(&joiner);
                if let Some(security) = &mut self.security {
                    security.refuse(now, joiner);
                }
                self.notice(format!("number {joiner} could not be admitted: {}", failure.sentence));
            }
            (Purpose::Renew, Ok(CallReply::Ticket(ticket))) => {
                self.take_ticket(now, ticket);
                if self.attached_as == Some(TicketKind::Member) {
                    self.present_ticket();
                }
            }
            (Purpose::Renew, Err(failure)) => {
                self.notice(format!("the session's ticket could not be renewed: {}", failure.sentence));
            }
            (Purpose::RemoveMember { number }, Err(failure)) => {
                self.notice(format!(
                    "number {number} has no keys any more, but the gateway does not know it yet: {}",
                    failure.sentence
                ));
            }
            (Purpose::EndSession, Err(failure)) => {
                self.notice(format!(
                    "the gateway does not know yet that the session ended: {}",
                    failure.sentence
                ));
            }
            (Purpose::CloseJoin { .. } | Purpose::RemoveMember { .. } | Purpose::EndSession, _) => {}
            // An answer of another kind than the question: the shell's bug; treated as none.
            (Purpose::Admit { .. } | Purpose::Renew, Ok(_)) => self.counters.malformed += 1,
        }
    }
}
