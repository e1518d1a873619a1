//! Why a call is refused: a stable label, a kind that the shell turns into its status, and a sentence \[GW-13\].

use sealcast_trust::TicketError;
use thiserror::Error;

use crate::password::WeakPassword;

/// A refusal; names who is at fault and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denial {
    /// The call needs a credential and has none that holds.
    #[error("not logged in, or the login was revoked: run `sealcast login`")]
    NotLoggedIn,
    /// The call needs an administrator.
    #[error("only administrators may do this: use the node's local socket or an admin certificate")]
    NotAdmin,
    /// Known, but without the role.
    #[error("this needs the role {0}: ask an administrator")]
    RoleMissing(&'static str),
    /// A member, but not the one who may.
    #[error("only the {0} of the session may do this")]
    NotThatMember(&'static str),
    /// Address, password or lock: the same answer for all, in the same time \[GW-9\].
    #[error(
        "e-mail address or password is wrong, or the account is locked: after five failures wait five minutes, or ask an \
         administrator"
    )]
    LoginFailed,
    /// The ticket does not hold.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// The proof does not fit ticket and connection.
    #[error("the proof for the ticket is wrong for this connection: the ticket belongs to another endpoint")]
    ProofWrong,
    /// No number, or a closed or full one: one answer for all \[GW-4\].
    #[error("there is no such number: check the digits, or ask for a new code")]
    NumberUnknown,
    /// No such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The session is over.
    #[error("the session has ended")]
    SessionEnded,
    /// This member is out.
    #[error("you have been removed from the session")]
    MemberRemoved,
    /// At a limit.
    #[error("{what}: the limit is {limit}")]
    LimitReached {
        /// What there is too much of.
        what: &'static str,
        /// Its limit.
        limit: usize,
    },
    /// Too many calls from one network or from all.
    #[error("too many attempts from your network: wait {} s and try again", retry_after_ms.div_ceil(1_000))]
    TooOften {
        /// When to try again, in milliseconds.
        retry_after_ms: u32,
    },
    /// A ticket in the first half of its life.
    #[error("the ticket is not due for renewal yet")]
    RenewTooEarly,
    /// A field that cannot be.
    #[error("{0}")]
    Invalid(&'static str),
    /// A password that is too weak.
    #[error(transparent)]
    WeakPassword(#[from] WeakPassword),
    /// An address that has an account.
    #[error("there is an account with this e-mail address already")]
    AccountExists,
    /// A record that this version cannot read: the store, or a newer version's.
    #[error("the store holds a {0} that this version cannot read: was it written by a newer relayd?")]
    StoreUnreadable(&'static str),
    /// Chance failed us.
    #[error("no free session number was found: try again")]
    NoFreeNumber,
}

/// What the shell makes of a denial; named as gRPC's status codes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialKind {
    /// Nobody known.
    Unauthenticated,
    /// Known, not allowed.
    PermissionDenied,
    /// Not there.
    NotFound,
    /// There already.
    AlreadyExists,
    /// A field is wrong.
    InvalidArgument,
    /// Not now.
    FailedPrecondition,
    /// A limit.
    ResourceExhausted,
    /// Our fault; try again.
    Unavailable,
    /// Our fault.
    Internal,
}

impl Denial {
    /// For counters and scripts; never changes once released.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotLoggedIn => "not_logged_in",
            Self::NotAdmin => "not_admin",
            Self::RoleMissing(_) => "role_missing",
            Self::NotThatMember(_) => "not_that_member",
            Self::LoginFailed => "login_failed",
            Self::Ticket(TicketError::Malformed) => "ticket_malformed",
            Self::Ticket(TicketError::Foreign) => "ticket_foreign",
            Self::Ticket(TicketError::Expired | TicketError::NotYetValid) => "ticket_expired",
            Self::ProofWrong => "proof_wrong",
            Self::NumberUnknown => "number_unknown",
            Self::NotFound(_) => "not_found",
            Self::SessionEnded => "session_ended",
            Self::MemberRemoved => "member_removed",
            Self::LimitReached { .. } => "limit_reached",
            Self::TooOften { .. } => "too_often",
            Self::RenewTooEarly => "renew_too_early",
            Self::Invalid(_) => "invalid",
            Self::WeakPassword(_) => "weak_password",
            Self::AccountExists => "account_exists",
            Self::StoreUnreadable(_) => "store_unreadable",
            Self::NoFreeNumber => "no_free_number",
        }
    }

    /// How the shell answers it.
    pub const fn kind(&self) -> DenialKind {
        match self {
            Self::NotLoggedIn | Self::LoginFailed | Self::Ticket(_) | Self::ProofWrong => {
                DenialKind::Unauthenticated
            }
            Self::NotAdmin | Self::RoleMissing(_) | Self::NotThatMember(_) => DenialKind::PermissionDenied,
            Self::NumberUnknown | Self::NotFound(_) => DenialKind::NotFound,
            Self::SessionEnded | Self::MemberRemoved | Self::RenewTooEarly => DenialKind::FailedPrecondition,
            Self::LimitReached { .. } | Self::TooOften { .. } => DenialKind::ResourceExhausted,
            Self::Invalid(_) | Self::WeakPassword(_) => DenialKind::InvalidArgument,
            Self::AccountExists => DenialKind::AlreadyExists,
            Self::StoreUnreadable(_) => DenialKind::Internal,
            Self::NoFreeNumber => DenialKind::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// \[GW-13\]: one label each, fit for counters; a sentence that is one; never a status that blames the wrong side.
    #[test]
    fn denials_have_labels_and_sentences() {
        let all = [
            Denial::NotLoggedIn,
            Denial::NotAdmin,
            Denial::RoleMissing("provider"),
            Denial::NotThatMember("leader"),
            Denial::LoginFailed,
            Denial::Ticket(TicketError::Malformed),
            Denial::Ticket(TicketError::Foreign),
            Denial::Ticket(TicketError::Expired),
            Denial::ProofWrong,
            Denial::NumberUnknown,
            Denial::NotFound("account"),
            Denial::SessionEnded,
            Denial::MemberRemoved,
            Denial::LimitReached { what: "members of this session", limit: 50 },
            Denial::TooOften { retry_after_ms: 5_500 },
            Denial::RenewTooEarly,
            Denial::Invalid("this is not an e-mail address"),
            Denial::WeakPassword(WeakPassword::TooShort),
            Denial::AccountExists,
            Denial::StoreUnreadable("session"),
            Denial::NoFreeNumber,
        ];
        let mut labels = BTreeMap::new();
        for denial in &all {
            let label = denial.label();
            assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{label}");
            assert!(labels.insert(label, denial).is_none(), "{label} twice");
            let sentence = denial.to_string();
            assert!(sentence.len() > 15 && !sentence.contains("{") && !sentence.ends_with('.'), "{sentence}");
        }
        assert!(Denial::TooOften { retry_after_ms: 5_500 }.to_string().contains("6 s"));
        let ours = [DenialKind::Internal, DenialKind::Unavailable];
        let blamed_on_us = all.iter().filter(|denial| ours.contains(&denial.kind()));
        assert_eq!(blamed_on_us.count(), 2);
    }
}
