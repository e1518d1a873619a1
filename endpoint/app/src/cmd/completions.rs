//! `sealcast completions SHELL`: prints completions made from the parser.

use clap::CommandFactory;

use crate::cli::{Cli, Completions};

pub(super) fn run(args: &Completions) {
    clap_complete::generate(args.shell, &mut Cli::command(), "sealcast", &mut std::io::stdout());
}
