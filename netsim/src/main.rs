//! netsim: the simulator of the mesh, and the lab of real processes. Parses, then acts.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use netsim::lab;

#[derive(Debug, Parser)]
#[command(name = "netsim", version, about = "Plays scenarios of a mesh", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play a scenario with real programs
    Lab(lab::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Lab(arguments) => lab::run(&arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("netsim: {error:#}");
            ExitCode::FAILURE
        }
    }
}
