//! What went wrong, as a sentence that says what to do next and an exit code.

use std::fmt;
use std::process::ExitCode;

use tonic::{Code, Status};

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    sentence: String,
}

/// Exit codes; 2 (usage) is clap's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exit {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Denied = 4,
    Unreachable = 5,
    Partial = 6,
}

impl Failure {
    pub(crate) fn other(sentence: impl Into<String>) -> Failure {
        Failure { exit: Exit::Failed, sentence: sentence.into() }
    }

    pub(crate) fn usage(sentence: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, sentence: sentence.into() }
    }

    pub(crate) fn not_found(sentence: impl Into<String>) -> Failure {
        Failure { exit: Exit::NotFound, sentence: sentence.into() }
    }

    pub(crate) fn denied(sentence: impl Into<String>) -> Failure {
        Failure { exit: Exit::Denied, sentence: sentence.into() }
    }

    pub(crate) fn unreachable(sentence: impl Into<String>) -> Failure {
        Failure { exit: Exit::Unreachable, sentence: sentence.into() }
    }

    pub(crate) fn partial(sentence: impl Into<String>) -> Failure {
        Failure { exit: Exit::Partial, sentence: sentence.into() }
    }

    /// The reader of our output went away: there is nobody to tell.
    pub(crate) fn broken_pipe() -> Failure {
        Failure { exit: Exit::Failed, sentence: String::new() }
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.sentence.is_empty()
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        // A node's own answers have no cause behind them; a connection that broke has.
        if let Some(cause) = std::error::Error::source(&status) {
            return Failure::unreachable(format!(
                "the node closed the connection ({cause}): it may have refused the certificate, or be going down; its log \
                 says why"
            ));
        }
        let exit = match status.code() {
            Code::NotFound => Exit::NotFound,
            Code::PermissionDenied | Code::Unauthenticated => Exit::Denied,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Exit::Unreachable,
            _ => Exit::Failed,
        };
        let sentence = match status.message() {
            "" => format!("the node answered \"{}\" and nothing more: see its log", status.code()),
            message => message.to_owned(),
        };
        Failure { exit, sentence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_exit_codes() {
        let exit = |status: Status| Failure::from(status).exit as u8;
        assert_eq!(exit(Status::not_found("no such account")), 3);
        assert_eq!(exit(Status::permission_denied("not your role")), 4);
        assert_eq!(exit(Status::unauthenticated("who?")), 4);
        assert_eq!(exit(Status::unavailable("gone")), 5);
        assert_eq!(exit(Status::invalid_argument("weak password")), 1);
        assert!(!Failure::from(Status::internal("")).is_silent());
        assert_eq!(Failure::partial("some").exit as u8, 6);
        assert_eq!(Failure::usage("how").exit as u8, 2);
    }
}
