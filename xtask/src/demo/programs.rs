//! The programs that are shown, built in release as they ship.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, ensure};

/// Where the programs are.
pub(super) struct Programs {
    pub(super) relayd: PathBuf,
    pub(super) sealcast: PathBuf,
}

/// Builds both; cargo tells its progress itself.
pub(super) fn build() -> anyhow::Result<Programs> {
    let mut build = crate::cargo()
        .args(["build", "--release", "--package", "relayd", "--package", "sealcast"])
        .args(["--bin", "relayd", "--bin", "sealcast", "--message-format", "json-render-diagnostics"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo cannot be started")?;
    let out = build.stdout.take().context("cargo has no output")?;
    let (mut relayd, mut sealcast) = (None, None);
    for line in BufReader::new(out).lines() {
        let message: serde_json::Value = serde_json::from_str(&line?).unwrap_or_default();
        let Some(path) = message["executable"].as_str() else { continue };
        match message["target"]["name"].as_str() {
            Some("relayd") => relayd = Some(PathBuf::from(path)),
            Some("sealcast") => sealcast = Some(PathBuf::from(path)),
            _ => {}
        }
    }
    ensure!(build.wait()?.success(), "the programs do not build: cargo said why");
    Ok(Programs {
        relayd: relayd.context("cargo built no relayd")?,
        sealcast: sealcast.context("cargo built no sealcast")?,
    })
}
