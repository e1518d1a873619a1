//! Commands as they stand on standard input: one JSON object a line, `id` names the endpoint, `do` the command.

use std::net::IpAddr;
use std::path::PathBuf;

use sealcast_endpoint::event::{PromptId, TransferId};
use sealcast_endpoint::{Role, SenderNumber};
use serde::Deserialize;

/// One line.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(crate) struct Line {
    /// The endpoint; without one the command is for the program.
    #[serde(default)]
    pub(crate) id: Option<String>,
    #[serde(flatten)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Command {
    /// Logs in and saves the credential.
    Login {
        email: String,
        password: String,
        save: PathBuf,
    },
    /// Opens a session.
    Host {
        name: String,
        credential: PathBuf,
        #[serde(default)]
        accept: Vec<Accepted>,
        #[serde(default = "customer")]
        code_role: Option<Role>,
        downloads: Option<PathBuf>,
        /// Of this machine, to connect from.
        from: Option<IpAddr>,
        /// Nodes to attach to first and to stand by at, as `host:port`.
        #[serde(default)]
        nodes: Vec<String>,
    },
    /// Joins by a code.
    Join {
        name: String,
        code: String,
        credential: Option<PathBuf>,
        #[serde(default)]
        accept: Vec<Accepted>,
        downloads: Option<PathBuf>,
        /// Of this machine, to connect from.
        from: Option<IpAddr>,
        /// Nodes to attach to first and to stand by at, as `host:port`.
        #[serde(default)]
        nodes: Vec<String>,
    },
    Say {
        text: String,
    },
    /// A file, or so many bytes made up from the endpoint's id.
    Send {
        path: Option<PathBuf>,
        bytes: Option<u64>,
        #[serde(default)]
        to: Vec<SenderNumber>,
    },
    Cancel {
        transfer: TransferId,
    },
    Invite {
        role: Role,
    },
    Answer {
        prompt: PromptId,
        allow: bool,
    },
    Remove {
        number: SenderNumber,
    },
    /// Numbered lines at a rate, which every receiver here checks.
    Stream {
        stream: String,
        /// A second.
        rate: f64,
        /// How many; 0 until it is stopped.
        #[serde(default)]
        lines: u64,
        /// Length of each.
        #[serde(default)]
        bytes: usize,
    },
    /// Another rate for the stream under way.
    Pace {
        rate: f64,
    },
    /// No more lines.
    Stop,
    /// Tells what the checks say now.
    Check,
    Leave,
    End,
    /// All leave, and the program ends.
    Quit,
}

/// A kind of question that is answered with yes beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Accepted {
    Join,
    Member,
    Files,
    All,
}

impl Command {
    /// A sentence about what is wrong, if it cannot be read.
    pub(crate) fn read(text: &str) -> Result<Line, String> {
        serde_json::from_str(text).map_err(|error| format!("not a command: {error}"))
    }
}

const fn customer() -> Option<Role> {
    Some(Role::Customer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let line = Command::read(r#"{"id":"a","do":"stream","stream":"s","rate":20}"#).unwrap();
        assert_eq!(line.id.as_deref(), Some("a"));
        assert_eq!(line.command, Command::Stream { stream: "s".into(), rate: 20.0, lines: 0, bytes: 0 });
        let line = Command::read(r#"{"id":"h","do":"host","name":"Ada","credential":"/c","accept":["all"]}"#);
        assert!(matches!(
            line.unwrap().command,
            Command::Host { code_role: Some(Role::Customer), accept, .. } if accept == [Accepted::All]
        ));
        assert_eq!(Command::read(r#"{"do":"quit"}"#).unwrap().command, Command::Quit);
        for wrong in ["", "{}", r#"{"id":"a","do":"dance"}"#, r#"{"id":"a","do":"say"}"#] {
            assert!(Command::read(wrong).is_err(), "{wrong}");
        }
    }
}
