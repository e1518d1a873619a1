//! `sealcast host`: opens a session as a support provider and shows the code under which a customer joins.

use sealcast_endpoint::Session;

use super::{block_on, find_mesh, interactive, load_credential, options, run_session, script_input};
use crate::board::Board;
use crate::cli::{Global, Host};
use crate::exit::{Exit, Failure};

pub(super) fn run(global: &Global, args: Host) -> Result<Exit, Failure> {
    let (places, mesh) = find_mesh(global)?;
    let Some(credential) = load_credential(&places, &mesh)? else {
        return Err(Failure::new(
            Exit::Denied,
            format!("nobody is logged in at {} on this computer: sealcast login", mesh.name()),
        ));
    };
    let name = match &args.session.name {
        Some(name) => name.clone(),
        None => credential.display_name().to_owned(),
    };
    let mut options = options(&places, global, &args.session, &name);
    options.first_code = args.code_role.role();
    let board = Board::new(mesh.name(), &name, options.accept);
    let lines = (!interactive(&args.session)).then(script_input);
    block_on(run_session(Session::host(mesh, credential, options), board, lines))
}
