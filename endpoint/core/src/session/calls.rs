//! Calls to the gateway: which are open, which to try again, and what each is for. The shell makes them; it may take its
//! time, and the session goes on meanwhile. What did not reach the gateway is asked again \[SES-14\].

use std::collections::BTreeMap;
use std::time::Duration;

use proto_spec::ticket::Role;
use proto_spec::{Now, SenderNumber, SessionNumber, Timestamp};

use crate::config::{CALL_RETRY_MAX, CALL_RETRY_MIN, CALL_TRIES_MAX, CALLS_MAX};

/// Names a call in its answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(u64);

/// A call for the shell to make, with the ticket that it is proved by.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// To be given back with the answer.
    pub id: CallId,
    /// The endpoint's own ticket.
    pub ticket: String,
    /// What to ask.
    pub request: CallRequest,
}

impl std::fmt::Debug for Call {
    /// A ticket is not printed by accident.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({:?}, {:?})", self.id, self.request)
    }
}

/// What to ask of the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallRequest {
    /// A number under which one joiner finds the session.
    OpenJoin {
        /// What the joiner will be.
        role: Role,
    },
    /// Withdraw a number.
    CloseJoin {
        /// Which.
        number: SessionNumber,
    },
    /// A member ticket for a joiner.
    Admit {
        /// Its number.
        joiner: SenderNumber,
    },
    /// The own ticket anew.
    Renew,
    /// A tombstone for a member.
    RemoveMember {
        /// Its number.
        number: SenderNumber,
    },
    /// A tombstone for the session.
    EndSession,
}

/// The gateway's answer.
#[derive(Clone, PartialEq, Eq)]
pub enum CallReply {
    /// To `OpenJoin`.
    Number(SessionNumber),
    /// To `Admit` and `Renew`.
    Ticket(String),
    /// To all others.
    Done,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallFailure {
    /// Whether the same call may succeed a little later: the gateway was not reached, or is busy.
    pub again: bool,
    /// For the user.
    pub sentence: String,
}

/// Who asked for a join number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    /// The own user.
    User,
    /// Another provider, under its request's number.
    Member { number: SenderNumber, request: u32 },
}

/// What a call is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    OpenJoin { role: Role, asker: Asker },
    CloseJoin { number: SessionNumber },
    Admit { joiner: SenderNumber },
    Renew,
    RemoveMember { number: SenderNumber },
    EndSession,
}

impl Purpose {
    const fn request(self) -> CallRequest {
        match self {
            Purpose::OpenJoin { role, .. } => CallRequest::OpenJoin { role },
            Purpose::CloseJoin { number } => CallRequest::CloseJoin { number },
            Purpose::Admit { joiner } => CallRequest::Admit { joiner },
            Purpose::Renew => CallRequest::Renew,
            Purpose::RemoveMember { number } => CallRequest::RemoveMember { number },
            Purpose::EndSession => CallRequest::EndSession,
        }
    }

    /// Nobody waits for it, and the mesh should know in the end: tried until it is answered.
    const fn is_patient(self) -> bool {
        matches!(self, Purpose::Renew | Purpose::RemoveMember { .. })
    }
}

#[derive(Default)]
pub(super) struct Calls {
    next_id: u64,
    open: BTreeMap<CallId, Open>,
}

struct Open {
    purpose: Purpose,
    tries: u32,
    retry_at: Option<Timestamp>,
}

impl Calls {
    /// Begins a call; `None` if too many are open.
    pub(super) fn begin(&mut self, purpose: Purpose, ticket: &str) -> Option<Call> {
        if self.open.len() >= CALLS_MAX {
            return None;
        }
        self.next_id += 1;
        let id = CallId(self.next_id);
        self.open.insert(id, Open { purpose, tries: 1, retry_at: None });
        Some(Call { id, ticket: ticket.to_owned(), request: purpose.request() })
    }

    /// Whether a call of this purpose is open.
    pub(super) fn is_open(&self, purpose: Purpose) -> bool {
        self.open.values().any(|open| open.purpose == purpose)
    }

    /// Numbers that are being asked for on behalf of a member.
    pub(super) fn asked_by(&self, member: SenderNumber) -> usize {
        let of_member = |asker: &Asker| matches!(asker, Asker::Member { number, .. } if *number == member);
        self.open
            .values()
            .filter(|open| matches!(&open.purpose, Purpose::OpenJoin { asker, .. } if of_member(asker)))
            .count()
    }

    /// An answer; what it was for, unless the call is tried again or was forgotten.
    pub(super) fn answered(
        &mut self,
        now: Now,
        id: CallId,
        result: Result<CallReply, CallFailure>,
    ) -> Option<(Purpose, Result<CallReply, CallFailure>)> {
        let open = self.open.get_mut(&id).filter(|open| open.retry_at.is_none())?;
        if let Err(failure) = &result
            && failure.again
            && (open.purpose.is_patient() || open.tries < CALL_TRIES_MAX)
        {
            open.retry_at = Some(now.mono + pause(open.tries));
            open.tries += 1;
            return None;
        }
        let purpose = open.purpose;
        self.open.remove(&id);
        Some((purpose, result))
    }

    /// A call whose pause is over.
    pub(super) fn due(&mut self, now: Now, ticket: &str) -> Option<Call> {
        let (id, open) = self
            .open
            .iter_mut()
            .find(|(_, open)| open.retry_at.is_some_and(|retry_at| retry_at <= now.mono))?;
        open.retry_at = None;
        Some(Call { id: *id, ticket: ticket.to_owned(), request: open.purpose.request() })
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.open.values().filter_map(|open| open.retry_at).min()
    }
}

fn pause(tries: u32) -> Duration {
    CALL_RETRY_MIN.saturating_mul(1 << tries.min(16)).min(CALL_RETRY_MAX)
}
