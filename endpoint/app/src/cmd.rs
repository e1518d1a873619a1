//! One file per command; here what they share.

mod completions;
mod host;
mod join;
mod login;
mod logout;

use std::future::Future;
use std::io::{self, IsTerminal};

use sealcast_endpoint::{Credential, Error, ErrorKind, Mesh, Options, Session, Suite};
use tokio::sync::mpsc;

use crate::board::Board;
use crate::cli::{Action, Cli, Global, SessionArgs};
use crate::exit::{Exit, Failure};
use crate::link::Link;
use crate::places::{self, Places};
use crate::typed::{self, Typed};
use crate::{script, stop, tally, terminal};

/// The suite of the end-to-end layer, fixed when the program is compiled.
const SUITE: Suite = if cfg!(feature = "classic") { Suite::Classic } else { Suite::Modern };

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Result<Exit, Failure> {
    match cli.action {
        Action::Login(args) => login::run(&cli.global, args),
        Action::Logout => logout::run(&cli.global),
        Action::Host(args) => host::run(&cli.global, args),
        Action::Join(args) => join::run(&cli.global, args),
        Action::Completions(args) => {
            completions::run(&args);
            Ok(Exit::Success)
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let exit = match error.kind() {
            ErrorKind::NotFound => Exit::NotFound,
            ErrorKind::Denied => Exit::Denied,
            ErrorKind::Unreachable => Exit::Unreachable,
            ErrorKind::Limited | ErrorKind::Invalid | ErrorKind::Failed => Exit::Failure,
        };
        Failure::new(exit, error.to_string())
    }
}

/// The mesh of this user, and where its things are.
fn find_mesh(global: &Global) -> Result<(Places, Mesh), Failure> {
    let places = Places::of_user();
    let mut invite = places.invite(global.invite.as_deref())?;
    if !global.ports.is_empty() {
        for node in &mut invite.nodes {
            node.ports.clone_from(&global.ports);
        }
    }
    let cache = places.cache(&invite.mesh);
    let mesh = Mesh::from_invite(invite, cache)?;
    Ok((places, mesh))
}

/// The login of this computer, if there is one.
fn load_credential(places: &Places, mesh: &Mesh) -> Result<Option<Credential>, Failure> {
    Ok(Credential::load(&places.credential(mesh.name())?)?)
}

/// Runs the asynchronous part of a command.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other(format!("the system gives no threads: {error}")))?;
    let result = runtime.block_on(future);
    // A thread that waits for the keyboard must not hold up the end.
    runtime.shutdown_background();
    result
}

/// Whether the session gets the text interface.
fn interactive(args: &SessionArgs) -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !args.json && !dumb && io::stdin().is_terminal() && io::stdout().is_terminal()
}

fn options(places: &Places, global: &Global, args: &SessionArgs, name: &str) -> Options {
    let mut options = Options::new(name, places.downloads(args.download_dir.clone()));
    options.accept = args.accept;
    options.suite = SUITE;
    options.nodes.clone_from(&args.nodes);
    if let Some(software) = &global.software {
        options.software.clone_from(software);
    }
    options
}

/// The user's name on this computer, if none was given.
fn own_name(args: &SessionArgs, otherwise: &str) -> String {
    args.name.clone().or_else(places::user_name).unwrap_or_else(|| otherwise.to_owned())
}

/// The lines of standard input, for a script.
fn script_input() -> mpsc::Receiver<Typed> {
    typed::read(io::stdin())
}

/// Starts a session and runs it in the interface that fits. `starting` may be interrupted.
async fn run_session(
    starting: impl Future<Output = Result<Session, Error>>,
    board: Board,
    lines: Option<mpsc::Receiver<Typed>>,
) -> Result<Exit, Failure> {
    let mut stop =
        stop::signals().map_err(|error| Failure::other(format!("signals cannot be received: {error}")))?;
    let session = tokio::select! {
        session = starting => session?,
        Some(()) = stop.recv() => return Err(Failure::new(Exit::Interrupted, "stopped before the session began")),
    };
    let link = Link::to(session);
    match lines {
        Some(lines) => {
            let outcome = script::run(link, lines, stop, &mut io::stdout(), &mut io::stderr()).await;
            if outcome.exit() != Exit::Success {
                eprintln!("sealcast: {}", crate::clean::line(&outcome.text));
            }
            Ok(outcome.exit())
        }
        None => {
            let (outcome, summary) = terminal::run(link, board, stop).await?;
            println!("{summary}");
            Ok(outcome.exit())
        }
    }
}

/// A failure's or an ending's text as a sentence of its own.
fn sentence(text: &str) -> String {
    tally::sentence(text)
}
