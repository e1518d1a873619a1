//! All endpoints by their ids: begins them, and passes commands on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use sealcast_endpoint::{Accept, Credential, Error, ErrorKind, JoinCode, Mesh, Options, Session, login};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::command::{Accepted, Command, Line};
use crate::config::{COMMANDS_MAX, ENDPOINTS_MAX, GOODBYE_MAX};
use crate::member::Member;
use crate::output::Output;
use crate::stream::Process;

pub(crate) struct Fleet {
    mesh: Mesh,
    work: PathBuf,
    output: Output,
    process: Process,
    members: BTreeMap<String, mpsc::Sender<Command>>,
    tasks: JoinSet<()>,
}

impl Fleet {
    pub(crate) fn new(mesh: Mesh, work: PathBuf, output: Output, process: Process) -> Fleet {
        Fleet { mesh, work, output, process, members: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Carries out a line; `false` if it was the last.
    pub(crate) async fn line(&mut self, line: Result<String, String>) -> bool {
        let read = match line {
            Ok(text) if text.trim().is_empty() => return true,
            Ok(text) => Command::read(&text),
            Err(reason) => Err(reason),
        };
        match read {
            Ok(Line { command: Command::Quit, .. }) => return false,
            Ok(Line { id: Some(id), command }) => self.command(id, command).await,
            Ok(Line { id: None, .. }) => {
                self.output.refuse(None, "say which endpoint is meant: \"id\"").await;
            }
            Err(reason) => self.output.refuse(None, &reason).await,
        }
        true
    }

    /// All leave; those that cannot within [`GOODBYE_MAX`] are dropped.
    pub(crate) async fn end(mut self) {
        self.members.clear();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(GOODBYE_MAX, all).await;
    }

    async fn command(&mut self, id: String, command: Command) {
        while self.tasks.try_join_next().is_some() {}
        self.members.retain(|_, commands| !commands.is_closed());
        let begins = matches!(command, Command::Login { .. } | Command::Host { .. } | Command::Join { .. });
        match self.members.get(&id) {
            Some(commands) => {
                // An endpoint that is that busy must not hold up all others.
                if commands.try_send(command).is_err() {
                    self.output.refuse(Some(&id), "this endpoint does not keep up with its commands").await;
                }
            }
            None if begins && self.members.len() < ENDPOINTS_MAX => self.begin(id, command),
            None if begins => self.output.refuse(Some(&id), "no more endpoints fit into this process").await,
            None => self.output.refuse(Some(&id), "no such endpoint: host or join first").await,
        }
    }

    fn begin(&mut self, id: String, command: Command) {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        self.members.insert(id.clone(), commands);
        let (mesh, output, process, work) =
            (self.mesh.clone(), self.output.clone(), self.process, self.work.clone());
        self.tasks.spawn(async move {
            let member = Member::new(id.clone(), output.clone(), process, work.clone());
            match start(mesh, &work, command).await {
                Ok(Some(session)) => member.run(session, receiver).await,
                Ok(None) => output.tell(Some(&id), &json!({"event": "logged_in"})).await,
                Err(error) => {
                    let event =
                        json!({"event": "failed", "kind": kind(error.kind()), "reason": error.to_string()});
                    output.tell(Some(&id), &event).await;
                }
            }
        });
    }
}

async fn start(mesh: Mesh, work: &Path, command: Command) -> Result<Option<Session>, Error> {
    match command {
        Command::Login { email, password, save } => {
            login(&mesh, &email, &password, "sealcast-driver").await?.save(&save)?;
            Ok(None)
        }
        Command::Host { name, credential, accept, code_role, downloads, from, nodes } => {
            let credential = load(&credential)?;
            let mut options = options(&name, work, downloads, &accept);
            options.first_code = code_role;
            options.nodes = nodes;
            Session::host(reached(mesh, from), credential, options).await.map(Some)
        }
        Command::Join { name, code, credential, accept, downloads, from, nodes } => {
            let code: JoinCode = code.parse().map_err(|_| {
                Error::new(ErrorKind::Invalid, "this is no join code: nine digits and three words")
            })?;
            let credential = credential.as_deref().map(load).transpose()?;
            let mut options = options(&name, work, downloads, &accept);
            options.nodes = nodes;
            Session::join(reached(mesh, from), code, credential, options).await.map(Some)
        }
        _ => Err(Error::new(ErrorKind::Invalid, "host or join first")),
    }
}

fn reached(mesh: Mesh, from: Option<IpAddr>) -> Mesh {
    match from {
        Some(from) => mesh.reached_from(from),
        None => mesh,
    }
}

fn load(path: &Path) -> Result<Credential, Error> {
    Credential::load(path)?.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("there is no credential {}: log in first", path.display()))
    })
}

fn options(name: &str, work: &Path, downloads: Option<PathBuf>, accept: &[Accepted]) -> Options {
    let mut options = Options::new(name, downloads.unwrap_or_else(|| work.join("downloads")));
    let all = accept.contains(&Accepted::All);
    options.accept = Accept {
        join: all || accept.contains(&Accepted::Join),
        member: all || accept.contains(&Accepted::Member),
        files: all || accept.contains(&Accepted::Files),
    };
    options.software = "driver".to_owned();
    options
}

const fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "not_found",
        ErrorKind::Denied => "denied",
        ErrorKind::Unreachable => "unreachable",
        ErrorKind::Limited => "limited",
        ErrorKind::Invalid => "invalid",
        ErrorKind::Failed => "failed",
    }
}
