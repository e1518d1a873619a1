//! Join codes: the leader's, and those that other providers ask the leader for \[SES-5\]. Owns who asked for which
//! number; words and guesses are the end-to-end layer's.

use std::collections::BTreeMap;

use proto_spec::app::{self, Control, Private};
use proto_spec::channel::CONTROL_STREAM;
use proto_spec::ticket::Role;
use proto_spec::{Now, SenderNumber, SessionNumber, Timestamp, Wire};

use super::Endpoint;
use super::calls::{Asker, CallFailure, CallReply, Purpose};
use super::joining::PRIVATE_KIND;
use crate::config::{CODE_ANSWER_MAX, CODE_LIFE_S, CODES_ASKED_MAX};
use crate::event::{CodeEnd, Event};
use crate::security::Security;

#[derive(Default)]
pub(super) struct Codes {
    /// A creator's first code, asked for with the first attachment.
    pub(super) first: Option<Role>,
    /// The leader's: open numbers, and for whom.
    open: BTreeMap<SessionNumber, Asker>,
    /// Another provider's: the last request, those without an answer, and codes that were shown.
    last_request: u32,
    asked: BTreeMap<u32, (Role, Timestamp)>,
    shown: BTreeMap<u32, Role>,
}

impl Codes {
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.asked.values().map(|(_, deadline)| *deadline).min()
    }

    fn of_member(&self, number: SenderNumber) -> usize {
        self.open
            .values()
            .filter(|asker| matches!(asker, Asker::Member { number: of, .. } if *of == number))
            .count()
    }
}

impl<S: Security> Endpoint<S> {
    pub(super) fn invite(&mut self, now: Now, role: Role) {
        if self.leads() {
            return self.call(Purpose::OpenJoin { role, asker: Asker::User });
        }
        if self.config.role != Role::Provider || !self.is_member() {
            return self.refuse("only support providers in the session invite others");
        }
        if self.codes.asked.len() >= CODES_ASKED_MAX {
            return self.refuse("the leader has not answered your last requests yet: wait a moment");
        }
        let request = self.codes.last_request + 1;
        let message = Control::CodeRequest { request, role };
        if self.channels.send(CONTROL_STREAM, message.to_bytes().into()).is_err() {
            return self.refuse("too much is waiting to be sent: try again when the connection is back");
        }
        self.codes.last_request = request;
        self.codes.asked.insert(request, (role, now.mono + CODE_ANSWER_MAX));
    }

    pub(super) fn codes_timeout(&mut self, now: Now) {
        let before = self.codes.asked.len();
        self.codes.asked.retain(|_, (_, deadline)| *deadline > now.mono);
        if self.codes.asked.len() < before {
            self.refuse("the session's leader did not send a code: ask there, and try again");
        }
    }

    /// Leader: another provider asks for a code.
    pub(super) fn code_requested(&mut self, now: Now, from: SenderNumber, request: u32, role: Role) {
        if !self.leads() {
            return;
        }
        let reason = match self.members.entry(from) {
            Some(entry) if entry.role != Role::Provider => Some("only support providers invite others"),
            // Those that the gateway has not answered count: nobody fills the calls of all others.
            Some(_) if self.codes.of_member(from) + self.calls.asked_by(from) >= CODES_ASKED_MAX => {
                Some("you have as many codes open as may be: wait until one is used")
            }
            Some(_) => None,
            None => return,
        };
        match reason {
            Some(reason) => self.code_refused(now, from, request, reason.to_owned()),
            None => self.call(Purpose::OpenJoin { role, asker: Asker::Member { number: from, request } }),
        }
    }

    /// Leader: the gateway opened a number, or did not.
    pub(super) fn number_opened(
        &mut self,
        now: Now,
        role: Role,
        asker: Asker,
        result: Result<CallReply, CallFailure>,
    ) {
        let opened = match result {
            Ok(CallReply::Number(number)) => {
                match self.security.as_mut().map(|s| s.open_code(now, number, role)) {
                    Some(Ok(code)) => Ok((number, code)),
                    Some(Err(refused)) => {
                        self.call(Purpose::CloseJoin { number });
                        Err(refused.to_string())
                    }
                    None => return,
                }
            }
            Ok(_) => Err("the gateway's answer makes no sense".to_owned()),
            Err(failure) => Err(failure.sentence),
        };
        match (asker, opened) {
            (Asker::User, Ok((number, code))) => {
                self.codes.open.insert(number, asker);
                self.tell(Event::Code { code: code.to_string(), role, expires_s: CODE_LIFE_S });
            }
            (Asker::Member { number: member, request }, Ok((number, code))) => {
                self.codes.open.insert(number, asker);
                self.private(
                    now,
                    member,
                    &Private::Code { request, code: code.to_string(), expires_s: CODE_LIFE_S },
                );
            }
            (Asker::User, Err(reason)) => self.refuse(format!("no code could be made: {reason}")),
            (Asker::Member { number, request }, Err(reason)) => {
                self.code_refused(now, number, request, reason)
            }
        }
    }

    /// Leader: a code is of no more use; the gateway need not find it any longer.
    pub(super) fn code_ended(&mut self, now: Now, code: SessionNumber, role: Role, reason: CodeEnd) {
        self.call(Purpose::CloseJoin { number: code });
        match self.codes.open.remove(&code) {
            Some(Asker::Member { number, request }) => {
                self.private(now, number, &Private::CodeEnded { request, reason: wire_reason(reason) });
            }
            Some(Asker::User) | None => self.tell(Event::CodeEnded { reason, role }),
        }
    }

    /// Another provider: what the leader answered.
    pub(super) fn code_answered(&mut self, message: Private) {
        match message {
            Private::Code { request, code, expires_s } => {
                if let Some((role, _)) = self.codes.asked.remove(&request) {
                    while self.codes.shown.len() >= CODES_ASKED_MAX {
                        self.codes.shown.pop_first();
                    }
                    self.codes.shown.insert(request, role);
                    self.tell(Event::Code { code, role, expires_s });
                }
            }
            Private::CodeRefused { request, reason } => {
                if self.codes.asked.remove(&request).is_some() {
                    self.refuse(format!("the session's leader made no code: {reason}"));
                }
            }
            Private::CodeEnded { request, reason } => {
                if let Some(role) = self.codes.shown.remove(&request) {
                    self.tell(Event::CodeEnded { reason: own_reason(reason), role });
                }
            }
            Private::MemberTicket { .. } => {}
        }
    }

    /// Sealed for one member alone.
    pub(super) fn private(&mut self, now: Now, to: SenderNumber, message: &Private) {
        if let Some(security) = &mut self.security {
            security.send_private(now, to, PRIVATE_KIND, &message.to_bytes());
        }
    }

    fn code_refused(&mut self, now: Now, to: SenderNumber, request: u32, reason: String) {
        let reason = reason.chars().filter(|char| !char.is_control()).take(256).collect();
        self.private(now, to, &Private::CodeRefused { request, reason });
    }
}

const fn wire_reason(reason: CodeEnd) -> app::CodeEnd {
    match reason {
        CodeEnd::Used => app::CodeEnd::Used,
        CodeEnd::Expired => app::CodeEnd::Expired,
        CodeEnd::Guessed => app::CodeEnd::Guessed,
        CodeEnd::Closed => app::CodeEnd::Closed,
    }
}

const fn own_reason(reason: app::CodeEnd) -> CodeEnd {
    match reason {
        app::CodeEnd::Used => CodeEnd::Used,
        app::CodeEnd::Expired => CodeEnd::Expired,
        app::CodeEnd::Guessed => CodeEnd::Guessed,
        app::CodeEnd::Closed => CodeEnd::Closed,
    }
}
