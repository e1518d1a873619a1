//! The lab's parts of `cargo xtask test`: builds the programs as the tests are built, and plays a short scenario with them,
//! on loopback or in network namespaces; on loopback also one that the simulator plays as well, with the same end. Owns nothing of it: scenario, figures and exit code are `netsim lab`'s.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};

use crate::demo::programs;
use crate::workspace;

/// A mesh of three, two sessions across it, and nothing that goes wrong.
const SCENARIO: &str = "three-nodes";
/// Silence, losses and a thin line.
const WEATHER: &str = "netsim/tests/weather.toml";
/// Its silence lasts three seconds: a pause that is much shorter says that packets went through.
const PAUSE_MS_MIN: u64 = 2_500;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// In network namespaces, where silence, losses and thin lines are the kernel's
    #[arg(long)]
    netns: bool,
}

/// Builds and plays.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let netsim = programs::build_lab()?;
    let held = if arguments.netns { in_namespaces(&netsim)? } else { play(&netsim, &[SCENARIO])? && twin()? };
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the lab decides is what the simulator does.
fn twin() -> anyhow::Result<bool> {
    let mut test = crate::cargo();
    test.args(["test", "--package", "netsim", "--test", "lab", "--", "--ignored"]).current_dir(workspace());
    Ok(test.status().context("cargo cannot be started")?.success())
}

/// The scenario holds; and its silence was one.
fn in_namespaces(netsim: &Path) -> anyhow::Result<bool> {
    let figures = tempfile::NamedTempFile::new().context("no temporary file")?;
    let path = figures.path().to_str().context("a temporary file without a name in UTF-8")?;
    if !play(netsim, &[WEATHER, "--netns", "--json", path])? {
        return Ok(false);
    }
    let figures: serde_json::Value = serde_json::from_reader(&figures)?;
    let pause = figures["runs"][0]["figures"]["gap_max_ms"]["value"].as_u64();
    ensure!(pause >= Some(PAUSE_MS_MIN), "three seconds of silence made a pause of {pause:?} ms");
    Ok(true)
}

fn play(netsim: &Path, arguments: &[&str]) -> anyhow::Result<bool> {
    let mut lab = Command::new(netsim);
    lab.arg("lab").args(arguments).current_dir(workspace());
    Ok(lab.status().context("netsim cannot be started")?.success())
}
