//! What a user or a script asks of a running session.

use std::path::PathBuf;

use proto_spec::SenderNumber;
use proto_spec::ticket::Role;

use crate::event::{PromptId, TransferId};

/// One request; its outcome arrives as events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Chat to everybody.
    Say {
        /// At most 4,096 bytes of UTF-8.
        text: String,
    },
    /// Offer a file.
    Send {
        /// On this machine.
        path: PathBuf,
        /// To whom; empty for everybody.
        to: Vec<SenderNumber>,
    },
    /// Give up a transfer, in either direction.
    Cancel {
        /// Which.
        transfer: TransferId,
    },
    /// Ask for a code under which one more endpoint may join; a provider who is not the leader is shown one by the
    /// leader.
    Invite {
        /// What the joiner will be.
        role: Role,
    },
    /// Answer a prompt.
    Answer {
        /// Which.
        prompt: PromptId,
        /// Yes or no; no answer in time is a no.
        allow: bool,
    },
    /// Remove a member and change the keys; the leader's alone.
    Remove {
        /// Whom.
        number: SenderNumber,
    },
    /// Leave; the session goes on for the others.
    Leave,
    /// End the session for everybody: the creator's, and a customer's for itself and its helpers.
    End,
}
