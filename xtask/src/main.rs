//! The project's own chores: `cargo xtask demo | test | bench`.

mod bench;
mod demo;
mod lab;
#[cfg(feature = "bench")]
mod load;
mod page;
mod test;
mod whole;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own chores")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Show a session: a real node, three real endpoints, two large files, and what the node saw of it
    Demo(demo::Arguments),
    /// Run the whole test suite
    Test(test::Arguments),
    /// Measure, and print each figure beside its target
    Bench(bench::Arguments),
    /// The part of `test` that runs the whole, with real processes
    #[command(hide = true)]
    Whole(whole::Arguments),
    /// The part of `test` that plays a scenario with a mesh of real programs
    #[command(hide = true)]
    Lab(lab::Arguments),
    /// The part of `test` that looks at netsim's pages in a browser
    #[command(hide = true)]
    Page(page::Arguments),
    /// The reference relay of `bench relay`, a process of its own
    #[cfg(feature = "bench")]
    #[command(hide = true)]
    BareRelay(bench::bare::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Demo(arguments) => demo::run(&arguments),
        Chore::Test(arguments) => test::run(&arguments),
        Chore::Whole(arguments) => whole::run(&arguments),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Lab(arguments) => lab::run(&arguments),
        Chore::Page(page::Arguments {}) => page::run(),
        #[cfg(feature = "bench")]
        Chore::BareRelay(arguments) => bench::bare::run(&arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder.
fn workspace() -> std::path::PathBuf {
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().expect("xtask lies in the workspace").to_owned()
}

/// `cargo`, as the one that runs us.
fn cargo() -> std::process::Command {
    let mut command = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}
