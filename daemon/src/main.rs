//! relayd: parses, then acts. Results on stdout, talk on stderr; exit code 0 done, 1 failed, 2 usage.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use relayd::app::{self, Node, Options, Signals};
use relayd::config::{Config, Overrides};
use relayd::{dev, logging};

/// A relay node of a Sealcast mesh, with gateway and broker embedded.
#[derive(Debug, Parser)]
#[command(name = "relayd", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve as the configuration says
    Run(ConfigArgs),
    /// Say whether a configuration can be used: values, files, keys, certificates, ports
    Check(ConfigArgs),
    /// Try it: one node on loopback, with keys, an invite and an account made on first start
    Dev(dev::DevArgs),
}

#[derive(Debug, clap::Args)]
struct ConfigArgs {
    /// The configuration, TOML
    #[arg(long, value_name = "FILE", env = "RELAYD_CONFIG")]
    config: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("relayd: the system refuses what a server needs to run: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run(args).await,
            Command::Check(args) => check(&args),
            Command::Dev(args) => dev::run(args).await,
        }
    });
    // What still computes (a password's hash) is not waited for.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relayd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: ConfigArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.config, &args.overrides)?;
    let levels = logging::start(&config.log);
    let signals = Signals::catch()?;
    let node = Node::build(config, Options { tap: None, limit_calls: true, levels }).await?;
    node.serve(signals).await
}

fn check(args: &ConfigArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.config, &args.overrides)?;
    for note in app::check(&config)? {
        eprintln!("relayd: note: {note}");
    }
    println!("{}: this configuration can be used", args.config.display());
    Ok(())
}
