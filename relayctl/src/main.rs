//! relayctl: administers relay nodes. Parses first and acts later; data on stdout, talk on stderr.

mod account;
mod audit;
mod cli;
mod connect;
mod failure;
mod graph;
mod mesh;
mod node;
mod output;
mod pki;
mod placement;
mod prompt;
mod revoke;
mod session;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::{Cli, Command, Pki};
use failure::Failure;

fn main() -> ExitCode {
    // clap ends the process itself on a usage error, with exit code 2.
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                eprintln!("relayctl: {failure}");
            }
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Pki(Pki::Revoke { what, dir }) => blocking(revoke::revoke(&what, &dir.dir, &cli.global)),
        Command::Pki(Pki::Publish { dir }) => blocking(revoke::publish(&dir.dir, &cli.global)),
        Command::Pki(command) => pki::run(&command, &cli.global),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "relayctl", &mut std::io::stdout());
            Ok(())
        }
        Command::Account(command) => blocking(account::run(command, &cli.global)),
        Command::Session(command) => blocking(session::run(command, &cli.global)),
        Command::Mesh(command) => blocking(mesh::run(command, &cli.global)),
        Command::Placement(command) => blocking(placement::run(command, &cli.global)),
        Command::Node(command) => blocking(node::run(command, &cli.global)),
        Command::Audit(command) => blocking(audit::run(command, &cli.global)),
    }
}

fn blocking<F: Future<Output = Result<(), Failure>>>(future: F) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::other(format!("the system refuses what a program needs to run: {error}"))
    })?;
    runtime.block_on(future)
}
