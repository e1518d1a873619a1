//! How the program ends: exit codes for scripts, one sentence for people. Owns the table of both; never prints.

use std::fmt;

/// Exit codes, the same for every Sealcast program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Success = 0,
    /// Failed for a reason that the other codes do not name.
    Failure = 1,
    /// The command line was wrong.
    Usage = 2,
    /// No such session, code, or file to work with.
    NotFound = 3,
    /// A wrong code or password, a consent that was not given, removed by the leader.
    Denied = 4,
    /// No node could be reached, or none for too long.
    Unreachable = 5,
    /// Interrupted twice; nothing was said to the others.
    Interrupted = 130,
}

impl Exit {
    /// The code for the word in the last event of a session (docs/EVENTS.md lists them).
    pub(crate) fn of_reason(reason: &str) -> Exit {
        match reason {
            "left" | "ended" => Exit::Success,
            "not_found" => Exit::NotFound,
            "wrong_code" | "denied" | "removed" => Exit::Denied,
            "unreachable" => Exit::Unreachable,
            "interrupted" => Exit::Interrupted,
            _ => Exit::Failure,
        }
    }
}

/// Why the program cannot go on: what is wrong and what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Failure {
        Failure { exit, text: text.into() }
    }

    pub(crate) fn other(text: impl Into<String>) -> Failure {
        Failure::new(Exit::Failure, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How a session ended, as its last event says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    /// A word for scripts.
    pub(crate) reason: String,
    /// A sentence.
    pub(crate) text: String,
}

impl Outcome {
    /// The library stopped without a last event: a bug of ours, or the program was told to stop.
    pub(crate) fn lost() -> Outcome {
        Outcome { reason: "failed".into(), text: "the session stopped without saying why".into() }
    }

    pub(crate) fn interrupted() -> Outcome {
        Outcome {
            reason: "interrupted".into(),
            text: "stopped at once; the others will see you as absent".into(),
        }
    }

    pub(crate) fn exit(&self) -> Exit {
        Exit::of_reason(&self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_reason_has_its_code() {
        let table = [
            ("left", 0),
            ("ended", 0),
            ("failed", 1),
            ("refused", 1),
            ("not_found", 3),
            ("wrong_code", 4),
            ("denied", 4),
            ("removed", 4),
            ("unreachable", 5),
            ("interrupted", 130),
        ];
        let text = include_str!("../../../docs/EVENTS.md");
        for (reason, code) in table {
            assert_eq!(Exit::of_reason(reason) as u8, code, "{reason}");
            assert!(
                text.contains(&format!("| `{reason}` | {code} |")),
                "docs/EVENTS.md lacks {reason} with {code}"
            );
        }
    }
}
