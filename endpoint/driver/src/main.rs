//! Many endpoints in one process, for the lab and for load tests; never shipped. Commands come as JSON lines on standard
//! input, events go as JSON lines to standard output; docs/TESTING.md describes both.
//!
//! ```text
//! stdin -> input -> fleet -> member (session, stream, checks) -> output -> stdout
//! ```

mod check;
mod command;
mod config;
mod fleet;
mod input;
mod member;
mod output;
mod stream;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sealcast_endpoint::{Invite, Mesh};

use fleet::Fleet;
use output::Output;
use stream::Process;

/// Exit code when a check failed: told apart from a program that could not run.
const CHECK_FAILED: u8 = 2;

/// Many Sealcast endpoints in one process, driven by JSON lines.
#[derive(Parser)]
#[command(name = "sealcast-driver", version)]
struct Arguments {
    /// The invite of the mesh.
    #[arg(long, value_name = "FILE")]
    invite: PathBuf,
    /// Where files are made and received; it has to exist.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    work: PathBuf,
    /// Threads that the endpoints share.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(CHECK_FAILED),
        Err(sentence) => {
            eprintln!("sealcast-driver: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every check held.
fn run(arguments: Arguments) -> Result<bool, String> {
    let Arguments { invite, work, threads } = arguments;
    let text = std::fs::read_to_string(&invite)
        .map_err(|error| format!("the invite {} cannot be read: {error}", invite.display()))?;
    let invite = Invite::parse(&text).map_err(|error| error.to_string())?;
    let mesh = Mesh::from_invite(invite, None).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .enable_all()
        .build()
        .map_err(|error| format!("the system gives no threads: {error}"))?;
    let held = runtime.block_on(async {
        let process = Process::new();
        let (output, writer) = Output::to(tokio::io::stdout(), process.start);
        let mut lines = input::read(std::io::stdin());
        let mut fleet = Fleet::new(mesh, work, output.clone(), process);
        while let Some(line) = lines.recv().await {
            if !fleet.line(line).await {
                break;
            }
        }
        fleet.end().await;
        let held = !output.is_faulty();
        drop(output);
        let _ = writer.await;
        held
    });
    // A thread that waits for standard input must not hold up the end.
    runtime.shutdown_background();
    Ok(held)
}
