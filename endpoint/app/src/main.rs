//! The program `sealcast`: gives and receives remote support through a mesh that can read none of it.
//!
//! Parses first (`cli`), acts later (`cmd`, one file per command). A session runs on a terminal (`terminal`, which
//! draws a `board` by `screen` and reads `keys`) or for scripts (`script`). Everything about sessions, keys and files
//! is the library's; this program never decides what is permitted, it only asks.

mod accept;
mod ask;
mod board;
mod clean;
mod cli;
mod cmd;
mod exit;
mod harden;
mod keys;
mod link;
mod places;
mod rate;
mod request;
mod screen;
mod script;
mod stop;
mod tally;
mod terminal;
mod theme;
mod typed;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    harden::harden();
    let cli = cli::Cli::parse();
    match cmd::run(cli) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            eprintln!("sealcast: {}", clean::line(&failure.text));
            ExitCode::from(failure.exit as u8)
        }
    }
}
