//! A running session: how it begins at the broker, and the handles to the task that drives it.

use std::path::PathBuf;

use sealcast_endpoint_core::attach::AttachKey;
use sealcast_endpoint_core::command::Command;
use sealcast_endpoint_core::event::Event;
use sealcast_endpoint_core::mpsl::Mpsl;
use sealcast_endpoint_core::session::{Config, Endpoint};
use sealcast_endpoint_core::{JoinCode, Suite};
use tokio::sync::mpsc;

pub use sealcast_endpoint_core::session::Accept;

use crate::config::{COMMANDS_MAX, EVENTS_MAX};
use crate::driver::{Clock, Driver, answers};
use crate::files::FileTasks;
use crate::gateway::{Admission, Gateway};
use crate::{Credential, Error, ErrorKind, Mesh, Role, random};

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
    /// Nodes to try before those that the broker names, as `host:port`: the first to attach to, the second to stand by
    /// at. Preferences, as the broker's are.
    pub nodes: Vec<String>,
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
            nodes: Vec::new(),
        }
    }
}

/// A running session. Events have to be read: while many wait, nothing more is read from the network. Dropping it
/// detaches at once; send [`Command::Leave`] and read on to the last event to leave politely.
pub struct Session {
    commander: Commander,
    events: mpsc::Receiver<Event>,
}

/// Sends commands to a session from elsewhere; cheap to clone.
#[derive(Clone)]
pub struct Commander {
    commands: mpsc::Sender<Command>,
}

impl Session {
    /// A support provider opens a session and leads it. Returns when the broker has opened it; the code and all
    /// else comes as events.
    ///
    /// # Errors
    /// `Denied` without a provider's credential, `Unreachable`, `Limited`.
    pub async fn host(mesh: Mesh, credential: Credential, options: Options) -> Result<Session, Error> {
        check_mesh(&mesh, &credential)?;
        let start = Start::new(mesh, Some(credential))?;
        let admission = start.gateway.create_session(&start.key).await?;
        let first_code = options.first_code;
        start.run(admission, options, |now, config| Endpoint::host(now, config, first_code))
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
        if let Some(credential) = &credential {
            check_mesh(&mesh, credential)?;
        }
        let start = Start::new(mesh, credential)?;
        let admission = start.gateway.lookup(code.number, &start.key).await?;
        start.run(admission, options, |now, config| Endpoint::join(now, config, code))
    }

    /// Asks something of the session; the outcome comes as events. Waits while the session is busy; does nothing
    /// after the last event.
    pub async fn command(&self, command: Command) {
        self.commander.command(command).await;
    }

    /// A handle for commands from elsewhere.
    pub fn commander(&self) -> Commander {
        self.commander.clone()
    }

    /// The next event; `None` after [`Event::Ended`].
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Commander {
    /// As [`Session::command`].
    pub async fn command(&self, command: Command) {
        // After the last event nobody listens, and nothing is left to be asked.
        let _ = self.commands.send(command).await;
    }
}

/// What both ways into a session have in common.
struct Start {
    mesh: Mesh,
    gateway: Gateway,
    key: AttachKey,
}

impl Start {
    fn new(mesh: Mesh, credential: Option<Credential>) -> Result<Start, Error> {
        let seed = random::<32>()?;
        let key = AttachKey::from_seed(&seed);
        Ok(Start { gateway: Gateway::new(mesh.clone(), credential), mesh, key })
    }

    fn run(
        self,
        admission: Admission,
        options: Options,
        endpoint: impl FnOnce(proto_spec::Now, Config) -> Endpoint<Mpsl>,
    ) -> Result<Session, Error> {
        let Start { mesh, gateway, key } = self;
        let config = Config {
            session: admission.session,
            number: admission.number,
            leader: admission.leader,
            role: admission.role,
            ticket: admission.ticket,
            attach_key: key.clone(),
            standby: match options.nodes.get(1) {
                Some(standby) => vec![standby.clone()],
                None => admission.standby,
            },
            nodes: options.nodes.into_iter().map(|node| vec![node]).chain(admission.nodes).collect(),
            display_name: options.display_name,
            suite: options.suite,
            accept: options.accept,
            seed: *random::<32>()?,
            reconnect_max: Config::RECONNECT_MAX,
        };
        let clock = Clock::new();
        let answers = answers();
        let driver = Driver {
            endpoint: endpoint(clock.now(), config),
            clock,
            mesh,
            gateway,
            attach_key: key,
            software: options.software,
            files: FileTasks::new(options.download_dir, answers.0.clone()),
            answers,
        };
        let (commands, commands_receiver) = mpsc::channel(COMMANDS_MAX);
        let (events_sender, events) = mpsc::channel(EVENTS_MAX);
        tokio::spawn(driver.run(commands_receiver, events_sender));
        Ok(Session { commander: Commander { commands }, events })
    }
}

fn check_mesh(mesh: &Mesh, credential: &Credential) -> Result<(), Error> {
    if credential.mesh() == mesh.name() {
        return Ok(());
    }
    let text = format!(
        "you are logged in at the mesh {}, but the invite is of the mesh {}: log in there",
        credential.mesh(),
        mesh.name()
    );
    Err(Error::new(ErrorKind::Denied, text))
}
