//! The lab's part of `cargo xtask test`: builds the programs as the tests are built, and plays the shortest scenario with
//! them. Owns nothing of it: scenario, figures and exit code are `netsim lab`'s.

use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::demo::programs;

/// A mesh of three, two sessions across it, and nothing that goes wrong.
const SCENARIO: &str = "three-nodes";

/// Builds and plays.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let netsim = programs::build_lab()?;
    let status = Command::new(netsim).args(["lab", SCENARIO]).status().context("netsim cannot be started")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
