//! A running session.

use std::path::PathBuf;

use sealcast_endpoint_core::command::Command;
use sealcast_endpoint_core::event::Event;
use sealcast_endpoint_core::{JoinCode, Suite};

use crate::{Credential, Error, Mesh, Role};

/// Prompts that are answered with yes without asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Accept {
    /// The leader: joiners who proved their code.
    pub join: bool,
    /// A customer: further members.
    pub member: bool,
    /// Files.
    pub files: bool,
}

/// How this endpoint takes part.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it calls itself; at most 64 bytes, longer is cut.
    pub display_name: String,
    /// Where received files go.
    pub download_dir: PathBuf,
    /// Prompts answered with yes beforehand.
    pub accept: Accept,
    /// The cipher suite; both sides need the same.
    pub suite: Suite,
    /// Program and version, told to relays; at most 16 characters.
    pub software: String,
    /// Host: the role of the first code; `None` to open none until asked.
    pub first_code: Option<Role>,
}

impl Options {
    /// The usual: asks about everything, modern suite.
    pub fn new(display_name: &str, download_dir: PathBuf) -> Options {
        Options {
            display_name: display_name.to_owned(),
            download_dir,
            accept: Accept::default(),
            suite: Suite::Modern,
            software: concat!("sealcast ", env!("CARGO_PKG_VERSION")).to_owned(),
            first_code: Some(Role::Customer),
        }
    }
}

/// A running session. Events have to be read: a user who reads none is told none, and in the end holds up the session.
/// Dropping it detaches at once; send [`Command::Leave`] and read on to the last event to leave politely.
pub struct Session {}

/// Sends commands to a session from elsewhere; cheap to clone.
#[derive(Clone)]
pub struct Commander {}

impl Session {
    /// A support provider opens a session and leads it. Returns when the broker has opened it; the code and all
    /// else comes as events.
    ///
    /// # Errors
    /// `Denied` without a provider's credential, `Unreachable`, `Limited`.
    pub async fn host(mesh: Mesh, credential: Credential, options: Options) -> Result<Session, Error> {
        let _ = (mesh, credential, options);
        unimplemented!()
    }

    /// Joins a session by its code. Returns when the broker knows the number; the proof of the words, consent and
    /// all else comes as events. With a credential, also a provider's code is found.
    ///
    /// # Errors
    /// `NotFound` for a number that awaits nobody, `Unreachable`, `Limited`.
    pub async fn join(
        mesh: Mesh,
        code: JoinCode,
        credential: Option<Credential>,
        options: Options,
    ) -> Result<Session, Error> {
        let _ = (mesh, code, credential, options);
        unimplemented!()
    }

    /// Asks something of the session; the outcome comes as events. Waits while the session is busy; does nothing
    /// after the last event.
    pub async fn command(&self, command: Command) {
        let _ = command;
        unimplemented!()
    }

    /// A handle for commands from elsewhere.
    pub fn commander(&self) -> Commander {
        unimplemented!()
    }

    /// The next event; `None` after [`Event::Ended`].
    pub async fn next_event(&mut self) -> Option<Event> {
        unimplemented!()
    }
}

impl Commander {
    /// As [`Session::command`].
    pub async fn command(&self, command: Command) {
        let _ = command;
        unimplemented!()
    }
}
