//! Errors of the library: what went wrong, who is at fault, what to do next; and a kind for exit codes.

use std::fmt;

/// What sort of failure it is; programs turn it into an exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// No such session, or nothing by that name.
    NotFound,
    /// Wrong password, wrong or missing credential, removed.
    Denied,
    /// No node could be reached.
    Unreachable,
    /// A limit was hit: try again later.
    Limited,
    /// What the caller or a file gave is wrong.
    Invalid,
    /// Anything else.
    Failed,
}

/// One failure; `Display` gives the sentence for the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    kind: ErrorKind,
    sentence: String,
}

impl Error {
    /// A failure of this kind, with a sentence that says what happened and what to do.
    pub fn new(kind: ErrorKind, sentence: impl Into<String>) -> Error {
        Error { kind, sentence: sentence.into() }
    }

    /// What sort of failure it is.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Error {}
