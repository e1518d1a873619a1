//! `sealcast join [CODE]`: joins a session by its code. Whoever is logged in as a provider may use a provider's code;
//! a customer needs no account. For a script without a code on the command line, the first line of standard input is
//! the code.

use sealcast_endpoint::{JoinCode, Session};
use tokio::sync::mpsc;

use super::{
    block_on, find_mesh, interactive, load_credential, options, own_name, run_session, script_input,
};
use crate::ask;
use crate::board::Board;
use crate::cli::{self, Global, Join};
use crate::exit::{Exit, Failure};
use crate::typed::Typed;

/// How often a mistyped code is asked for again; none of these reaches the mesh.
const TRIES_MAX: usize = 3;

pub(super) fn run(global: &Global, args: Join) -> Result<Exit, Failure> {
    // A code on the command line is part of its parsing: wrong before anything is looked for.
    let given = match &args.code[..] {
        [] => None,
        words => Some(cli::code(words).map_err(|text| Failure::new(Exit::Usage, text))?),
    };
    let (places, mesh) = find_mesh(global)?;
    let credential = load_credential(&places, &mesh)?;
    let mut lines = (!interactive(&args.session)).then(script_input);
    let code = match (given, &mut lines) {
        (Some(code), _) => code,
        (None, None) => ask_for_code()?,
        (None, Some(lines)) => first_line(lines)?,
    };
    let name = match (&args.session.name, &credential) {
        (None, Some(credential)) => credential.display_name().to_owned(),
        _ => own_name(&args.session, "customer"),
    };
    let options = options(&places, global, &args.session, &name);
    let board = Board::new(mesh.name(), &name, options.accept);
    block_on(run_session(Session::join(mesh, code, credential, options), board, lines))
}

fn ask_for_code() -> Result<JoinCode, Failure> {
    let mut tries = 0;
    loop {
        let line = ask::line("Join code, as it was read to you:", "give the code")?;
        match cli::code(&[line]) {
            Ok(code) => return Ok(code),
            Err(text) if tries + 1 == TRIES_MAX => return Err(Failure::new(Exit::Usage, text)),
            Err(text) => eprintln!("{}", super::sentence(&text)),
        }
        tries += 1;
    }
}

fn first_line(lines: &mut mpsc::Receiver<Typed>) -> Result<JoinCode, Failure> {
    let text = match lines.blocking_recv() {
        Some(Typed::Line(line)) => cli::code(&[line]),
        Some(Typed::Unusable) => Err("the first line of standard input is no join code".into()),
        None => Err("no join code: give it as an argument, or as the first line of standard input".into()),
    };
    text.map_err(|text| Failure::new(Exit::Usage, text))
}
