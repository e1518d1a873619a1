//! `cargo xtask test`: every part of the test suite in turn. A part whose tool is missing is named and counted as
//! skipped; `--require-all` makes that a failure.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::{cargo, workspace};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fail if a part had to be skipped because its tool is missing
    #[arg(long)]
    require_all: bool,
}

/// One part of the suite.
struct Part {
    name: &'static str,
    /// What it needs beyond Rust: how to find out, and what to say when it is missing.
    needs: Option<Need>,
    command: Command,
}

struct Need {
    probe: Command,
    what: &'static str,
}

enum Outcome {
    Passed(Duration),
    Failed(Duration),
    Skipped(&'static str),
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut results = Vec::new();
    for mut part in parts() {
        println!("==> {}", part.name);
        let outcome = perform(&mut part).with_context(|| format!("cannot start: {}", part.name))?;
        if let Outcome::Skipped(what) = outcome {
            println!("    skipped: needs {what}");
        }
        results.push((part.name, outcome));
    }
    Ok(summary(&results, arguments.require_all))
}

fn parts() -> Vec<Part> {
    let needs_python = || Need { probe: command("python3", &["--version"]), what: "python3" };
    let needs_cryptography = || Need {
        probe: command("python3", &["-c", "from cryptography.hazmat.primitives.asymmetric import mlkem"]),
        what: "python3 with the package `cryptography`, 48 or later",
    };
    let needs_namespaces = || Need {
        probe: command("sh", &["-c", "[ $(id -u) = 0 ] && command -v ip && command -v tc && command -v nft"]),
        what: "root and the packages iproute2 and nftables",
    };
    vec![
        Part { name: "Rust tests", needs: None, command: rust_tests() },
        Part {
            name: "documentation's examples",
            needs: None,
            command: cargo_with(&["test", "--workspace", "--doc", "--quiet"]),
        },
        Part {
            name: "vectors: frames, written anew by an independent encoder",
            needs: Some(needs_python()),
            command: command("python3", &["proto-spec/vectors/make_frames.py", "--check"]),
        },
        Part {
            name: "vectors: MPSL, checked by an independent implementation",
            needs: Some(needs_cryptography()),
            command: command("python3", &["proto-spec/vectors/check_mpsl.py"]),
        },
        Part { name: "the whole, with real processes", needs: None, command: itself(&["whole"]) },
        Part { name: "the lab, with real processes", needs: None, command: itself(&["lab"]) },
        Part {
            name: "the lab, in network namespaces",
            needs: Some(needs_namespaces()),
            command: itself(&["lab", "--netns"]),
        },
        Part {
            name: "netsim's pages, in a browser",
            needs: Some(Need {
                probe: command(crate::page::BROWSER, &["--version"]),
                what: "the package chromium",
            }),
            command: itself(&["page"]),
        },
        Part {
            name: "dependencies: bans, licenses, sources",
            needs: Some(Need { probe: command("cargo-deny", &["--version"]), what: "cargo-deny" }),
            command: cargo_with(&["deny", "--offline", "check", "bans", "licenses", "sources"]),
        },
    ]
}

/// With cargo-nextest where it is there, else with cargo's own runner.
fn rust_tests() -> Command {
    if found(&mut command("cargo-nextest", &["--version"])) {
        cargo_with(&["nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        cargo_with(&["test", "--workspace", "--tests", "--bins", "--no-fail-fast"])
    }
}

fn perform(part: &mut Part) -> Result<Outcome> {
    if let Some(need) = &mut part.needs
        && !found(&mut need.probe)
    {
        return Ok(Outcome::Skipped(need.what));
    }
    let start = Instant::now();
    let status = part.command.status()?;
    Ok(if status.success() { Outcome::Passed(start.elapsed()) } else { Outcome::Failed(start.elapsed()) })
}

fn found(probe: &mut Command) -> bool {
    probe.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn summary(results: &[(&str, Outcome)], require_all: bool) -> ExitCode {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    println!();
    for (name, outcome) in results {
        let (word, time) = match outcome {
            Outcome::Passed(time) => (&mut passed, format!("passed {:6.1} s", time.as_secs_f64())),
            Outcome::Failed(time) => (&mut failed, format!("FAILED {:6.1} s", time.as_secs_f64())),
            Outcome::Skipped(_) => (&mut skipped, "skipped        ".to_owned()),
        };
        *word += 1;
        println!("{time}  {name}");
    }
    println!("\nparts: {passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 || (require_all && skipped > 0) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace());
    command
}

/// Another chore of this program; whatever is wrong with our own path is told when it is started.
fn itself(arguments: &[&str]) -> Command {
    let own = std::env::current_exe().unwrap_or_else(|_| "xtask".into());
    let mut command = Command::new(own);
    command.args(arguments).current_dir(workspace());
    command
}

fn cargo_with(arguments: &[&str]) -> Command {
    let mut command = cargo();
    command.args(arguments);
    command
}
