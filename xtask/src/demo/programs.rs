//! The programs that are shown, built in release as they ship; and as the tests are built, for tests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, ensure};

/// Where the programs are.
pub(crate) struct Programs {
    pub(crate) relayd: PathBuf,
    pub(crate) sealcast: PathBuf,
}

/// Builds both; cargo tells its progress itself.
pub(crate) fn build() -> anyhow::Result<Programs> {
    build_both(&["--release"])
}

/// Builds both as the tests are built.
pub(crate) fn build_debug() -> anyhow::Result<Programs> {
    build_both(&[])
}

/// The same with `sealcast` for the classic suite; where cargo leaves it until its next build.
pub(crate) fn build_debug_classic() -> anyhow::Result<Programs> {
    build_both(&["--features", "sealcast/classic"])
}

fn build_both(how: &[&str]) -> anyhow::Result<Programs> {
    let both = ["--package", "relayd", "--package", "sealcast", "--bin", "relayd", "--bin", "sealcast"];
    let mut built = build_with(&[how, &both].concat())?;
    Ok(Programs {
        relayd: built.remove("relayd").context("cargo built no relayd")?,
        sealcast: built.remove("sealcast").context("cargo built no sealcast")?,
    })
}

/// The programs that were built, by name: wherever cargo has its target folder.
fn build_with(arguments: &[&str]) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut build = crate::cargo()
        .arg("build")
        .args(arguments)
        .args(["--message-format", "json-render-diagnostics"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo cannot be started")?;
    let out = build.stdout.take().context("cargo has no output")?;
    let mut built = BTreeMap::new();
    for line in BufReader::new(out).lines() {
        let message: serde_json::Value = serde_json::from_str(&line?).unwrap_or_default();
        if let (Some(path), Some(name)) = (message["executable"].as_str(), message["target"]["name"].as_str())
        {
            built.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    ensure!(build.wait()?.success(), "the programs do not build: cargo said why");
    Ok(built)
}
