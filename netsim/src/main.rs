//! The simulator's command line: parses first, acts later; results on stdout, talk on stderr.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    netsim::command::Line::parse().run()
}
