//! What a session tells its user: shown on a terminal, or written as one JSON object a line.

use std::path::PathBuf;

use proto_spec::ticket::Role;
use proto_spec::{SenderNumber, SessionId};
use serde::{Deserialize, Serialize};

/// A question to the user, numbered from 1 in each process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PromptId(pub u32);

/// A file on its way, as its sender numbers it; unique together with the sender.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TransferId {
    /// Who sends.
    pub from: SenderNumber,
    /// Counts the sender's transfers.
    pub serial: u32,
}

/// How the attachment and the membership stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Reaching for a node.
    Connecting,
    /// Attached as a guest; proving the code.
    Lobby,
    /// The code was right; the leader's user decides.
    AwaitingConsent,
    /// A member with keys.
    Member,
    /// The attachment was lost; reaching for a node.
    Reconnecting,
}

/// How an endpoint came to another attachment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reattachment {
    /// The attachment was lost, and the standby took over.
    Standby,
    /// Its node goes out of service; another was ready before it was left.
    Moved,
    /// Without a standby: a node was looked for.
    Reconnected,
}

/// A member of the session by the leader's signed roster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Sender number.
    pub number: SenderNumber,
    /// As they call themselves: a claim.
    pub name: String,
    /// Provider or customer.
    pub role: Role,
    /// Whether this is the endpoint itself.
    pub me: bool,
    /// Whether it leads the session.
    pub leader: bool,
    /// Whether the relay sees it attached.
    pub present: bool,
}

/// What a prompt asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Question {
    /// The leader: may this endpoint, which proved the code, become a member?
    Join {
        /// Its number.
        number: SenderNumber,
        /// As it calls itself.
        name: String,
        /// What it joins as.
        role: Role,
    },
    /// A customer: may this member see what is shared from here?
    Member {
        /// Its number.
        number: SenderNumber,
        /// As it calls itself.
        name: String,
        /// What it joined as.
        role: Role,
    },
    /// Anybody: shall this file be received?
    Files {
        /// Who sends.
        from: SenderNumber,
        /// As the sender calls itself.
        name: String,
        /// The transfer.
        transfer: TransferId,
        /// The file's name, without any folder.
        file: String,
        /// Its size in bytes.
        size_bytes: u64,
    },
}

/// How a prompt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// Yes.
    Allowed,
    /// No.
    Denied,
    /// Nobody answered in time: no.
    TimedOut,
    /// What it asked about is gone.
    Withdrawn,
}

/// Direction of a file, seen from here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From here.
    Sending,
    /// To here.
    Receiving,
}

/// Why a code can no longer be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeEnd {
    /// One joiner proved it.
    Used,
    /// Ten minutes passed.
    Expired,
    /// Five wrong proofs.
    Guessed,
    /// Withdrawn, or a member was removed.
    Closed,
}

/// One event. In JSON: an object whose `event` names the variant in snake case.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Attachment or membership changed.
    State {
        /// As it now stands.
        state: State,
    },
    /// The session is known.
    Session {
        /// Its id.
        session: SessionId,
        /// The endpoint's own number.
        number: SenderNumber,
        /// The endpoint's role.
        role: Role,
    },
    /// Attached to a node anew.
    Reattached {
        /// How long the endpoint was cut off, in milliseconds.
        gap_ms: u64,
        /// In which way.
        how: Reattachment,
        /// Where to, as `host:port`.
        node: Option<String>,
    },
    /// A join code to read aloud.
    Code {
        /// `483-920-117 lucky-ocean-zoo`.
        code: String,
        /// What the joiner will be.
        role: Role,
        /// Seconds until it expires.
        expires_s: u32,
    },
    /// The code can no longer be used.
    CodeEnded {
        /// Why.
        reason: CodeEnd,
        /// For which role it was.
        role: Role,
    },
    /// Somebody proved a wrong code.
    WrongCode {
        /// Guesses that are left.
        left: u32,
    },
    /// The user is asked.
    Prompt {
        /// To answer it by.
        prompt: PromptId,
        /// The question.
        question: Question,
        /// Seconds until it counts as a no.
        timeout_s: u32,
    },
    /// A prompt ended.
    PromptEnded {
        /// Which.
        prompt: PromptId,
        /// How.
        answer: Answered,
    },
    /// Who is in the session, after each change.
    Members {
        /// By number.
        members: Vec<Member>,
    },
    /// A member joined.
    Joined {
        /// Who.
        member: Member,
    },
    /// A member left or was removed.
    Left {
        /// Its number.
        number: SenderNumber,
        /// As it called itself.
        name: String,
        /// Whether the leader removed it.
        removed: bool,
    },
    /// Every member holds keys that the removed one has not.
    RemovalComplete {
        /// Who was removed.
        number: SenderNumber,
    },
    /// New keys are in use.
    Rekeyed {
        /// `term.leader.count`.
        epoch: String,
    },
    /// Somebody said something; also one's own lines, once they are on their way.
    Chat {
        /// Who.
        from: SenderNumber,
        /// As they call themselves.
        name: String,
        /// What.
        text: String,
    },
    /// A file was offered, from here or to here.
    FileOffered {
        /// The transfer.
        transfer: TransferId,
        /// Direction.
        direction: Direction,
        /// The file's name, without any folder.
        file: String,
        /// Its size in bytes.
        size_bytes: u64,
    },
    /// How far a file is; a few times a second at most.
    FileProgress {
        /// The transfer.
        transfer: TransferId,
        /// Direction.
        direction: Direction,
        /// Bytes that have arrived: when sending, at the slowest receiver.
        done_bytes: u64,
        /// The file's size in bytes.
        size_bytes: u64,
    },
    /// A receiver declined or could not go on; the others are not concerned.
    FileRefused {
        /// The transfer.
        transfer: TransferId,
        /// Who.
        by: SenderNumber,
        /// Why, as a sentence.
        reason: String,
    },
    /// A file is complete and its BLAKE3 is right; when sending, at every receiver that accepted.
    FileDone {
        /// The transfer.
        transfer: TransferId,
        /// Direction.
        direction: Direction,
        /// The file's name, without any folder.
        file: String,
        /// Where it is on this machine.
        path: PathBuf,
        /// Its size in bytes.
        size_bytes: u64,
        /// Hexadecimal.
        blake3: String,
    },
    /// A file did not arrive.
    FileFailed {
        /// The transfer.
        transfer: TransferId,
        /// Direction.
        direction: Direction,
        /// The file's name, without any folder.
        file: String,
        /// Why and what to do, as a sentence.
        reason: String,
    },
    /// Something the user should know.
    Notice {
        /// As a sentence.
        text: String,
    },
    /// A command could not be carried out.
    Refused {
        /// Why and what to do, as a sentence.
        reason: String,
    },
    /// The last event.
    Ended {
        /// A word for scripts: `left`, `ended`, `removed`, `denied`, `wrong_code`, `refused`, `unreachable`, `failed`.
        reason: String,
        /// As a sentence.
        text: String,
    },
}
