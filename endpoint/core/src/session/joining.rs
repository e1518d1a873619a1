//! How a joiner becomes a member: at the leader from proof to ticket, at the joiner from the lobby to membership
//! \[SES-3\] \[SES-4\]. A member ticket is sent until the relay sees its joiner as a member: nothing else repeats it.

use std::collections::BTreeSet;

use proto_spec::app::Private;
use proto_spec::ticket::Role;
use proto_spec::{Now, SenderNumber, Timestamp, Wire};

use super::{ByNumber, Ending, Endpoint};
use crate::config::{TICKET_RESEND, TICKET_RESEND_MAX};
use crate::event::{Event, Question, State};
use crate::security::{JoinFailure, Security};

use super::calls::Purpose;

/// The end-to-end layer's kind of everything in [`Private`]; the message itself says more.
pub(super) const PRIVATE_KIND: u8 = 1;

/// Joiners that were admitted and are not members by the relay's word yet.
#[derive(Default)]
pub(super) struct Admissions {
    /// The user said yes, the gateway has not answered: forgotten with the joiner, since who proves a code under the
    /// same number afterwards may be somebody else.
    pub(super) consented: BTreeSet<SenderNumber>,
    ticketed: ByNumber<Admission>,
}

struct Admission {
    ticket: String,
    resend_at: Timestamp,
    until: Timestamp,
}

impl Admissions {
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.ticketed.values().map(|admission| admission.resend_at).min()
    }

    /// The relay sees it as a member, or it will never be one.
    pub(super) fn over(&mut self, joiner: SenderNumber) {
        self.ticketed.remove(&joiner);
    }
}

impl<S: Security> Endpoint<S> {
    /// Leader: a joiner knows the code; the user decides, or has decided beforehand.
    pub(super) fn joiner_proved(&mut self, now: Now, number: SenderNumber, name: String, role: Role) {
        if self.config.accept.join {
            return self.ask_to_admit(number);
        }
        match self.consent.ask(now, Question::Join { number, name, role }) {
            Some(event) => self.tell(event),
            None => {
                if let Some(security) = &mut self.security {
                    security.refuse(now, number);
                }
            }
        }
    }

    /// Leader: the user said yes.
    pub(super) fn ask_to_admit(&mut self, joiner: SenderNumber) {
        self.admissions.consented.insert(joiner);
        self.call(Purpose::Admit { joiner });
    }

    pub(super) fn joiner_gone(&mut self, number: SenderNumber) {
        self.admissions.over(number);
        self.admissions.consented.remove(&number);
        let about =
            |question: &Question| matches!(question, Question::Join { number: of, .. } if *of == number);
        if let Some(event) = self.consent.withdraw(about) {
            self.tell(event);
        }
    }

    /// Leader: consent and the broker's ticket are there: keys first, the ticket behind them.
    pub(super) fn admit(&mut self, now: Now, joiner: SenderNumber, ticket: String) {
        if !self.admissions.consented.remove(&joiner) {
            return;
        }
        let Some(security) = &mut self.security else { return };
        security.admit(now, joiner);
        let resend_at = now.mono + TICKET_RESEND;
        self.admissions
            .ticketed
            .insert(joiner, Admission { ticket, resend_at, until: now.mono + TICKET_RESEND_MAX });
        self.send_ticket(now, joiner);
    }

    /// Leader: the joiner is in the lobby, again or still.
    pub(super) fn send_ticket(&mut self, now: Now, joiner: SenderNumber) {
        let Some(admission) = self.admissions.ticketed.get_mut(&joiner) else { return };
        admission.resend_at = now.mono + TICKET_RESEND;
        let message = Private::MemberTicket { ticket: admission.ticket.clone() };
        self.private(now, joiner, &message);
    }

    pub(super) fn admissions_timeout(&mut self, now: Now) {
        self.admissions.ticketed.retain(|_, admission| admission.until > now.mono);
        let due: Vec<_> = self
            .admissions
            .ticketed
            .iter()
            .filter(|(_, admission)| admission.resend_at <= now.mono)
            .map(|(joiner, _)| *joiner)
            .collect();
        due.into_iter().for_each(|joiner| self.send_ticket(now, joiner));
    }

    /// Joiner: both sides know the code.
    pub(super) fn code_proved(&mut self) {
        self.proved = true;
        self.enter(State::AwaitingConsent);
    }

    /// Joiner: it will not become a member.
    pub(super) fn join_failed(&mut self, reason: JoinFailure) {
        let word = match reason {
            JoinFailure::WrongCode => "wrong_code",
            JoinFailure::Denied => "denied",
            JoinFailure::NoAnswer => "unreachable",
            JoinFailure::Incompatible => "refused",
        };
        self.finish(Ending::new(word, reason.to_string()));
    }

    /// Something that was sealed for this endpoint alone.
    pub(super) fn private_message(&mut self, now: Now, from: SenderNumber, kind: u8, bytes: &[u8]) {
        if from != self.leader() || kind != PRIVATE_KIND {
            self.counters.unexpected += 1;
            return;
        }
        match Private::from_bytes(bytes) {
            Ok(Private::MemberTicket { ticket }) => {
                // Sent until it takes effect: the same one again changes nothing.
                if ticket != self.ticket && self.attached_as != Some(proto_spec::ticket::TicketKind::Member) {
                    self.take_ticket(now, ticket);
                    self.present_ticket();
                }
            }
            Ok(message) => self.code_answered(message),
            Err(_) => self.counters.malformed += 1,
        }
    }

    /// A new roster: who came, who went, and whom the user has to be asked about \[SES-7\].
    pub(super) fn roster_changed(&mut self, now: Now) {
        let Some(security) = &self.security else { return };
        let roster = security.roster().to_vec();
        let me = self.config.number;
        let first = !self.is_member();
        let change = self.members.update(&roster);
        self.members_changed |= first || !change.joined.is_empty() || !change.left.is_empty();
        for number in change.joined {
            if first || number == me || self.config.role != Role::Customer || self.config.accept.member {
                self.members.accept(number);
            } else {
                self.ask_about(now, number);
            }
            if !first && let Some(member) = self.members.member(number, me, self.leader()) {
                self.tell(Event::Joined { member });
            }
        }
        self.pause_files();
        for departed in change.left {
            self.member_gone(now, departed.number);
            self.tell(Event::Left {
                number: departed.number,
                name: departed.name,
                removed: departed.removed,
            });
        }
    }

    fn ask_about(&mut self, now: Now, number: SenderNumber) {
        let Some(entry) = self.members.entry(number) else { return };
        let question = Question::Member { number, name: entry.name.clone(), role: entry.role };
        match self.consent.ask(now, question) {
            Some(event) => self.tell(event),
            None => self.members.deny(number),
        }
    }

    fn member_gone(&mut self, now: Now, number: SenderNumber) {
        self.joiner_gone(number);
        let about = |question: &Question| match question {
            Question::Join { number: of, .. } | Question::Member { number: of, .. } => *of == number,
            Question::Files { from, .. } => *from == number,
        };
        while let Some(event) = self.consent.withdraw(about) {
            self.tell(event);
        }
        self.files.member_left(now.mono, &mut self.channels, number);
    }
}
