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
    pub(crate) relayctl: PathBuf,
}

/// Builds all; cargo tells its progress itself.
pub(crate) fn build() -> anyhow::Result<Programs> {
    build_all(&["--release"])
}

/// Builds all as the tests are built.
pub(crate) fn build_debug() -> anyhow::Result<Programs> {
    build_all(&[])
}

/// The same with `sealcast` for the classic suite; where cargo leaves it until its next build.
pub(crate) fn build_debug_classic() -> anyhow::Result<Programs> {
    build_all(&["--features", "sealcast/classic"])
}

/// Builds everything that the lab starts, and the lab, all into one folder; where the lab is.
pub(crate) fn build_lab() -> anyhow::Result<PathBuf> {
    const NAMES: [&str; 4] = ["relayd", "relayctl", "sealcast-driver", "netsim"];
    let packages = NAMES.iter().flat_map(|name| ["--package", name, "--bin", name]);
    build_with(&packages.collect::<Vec<_>>())?.remove("netsim").context("cargo built no netsim")
}

fn build_all(how: &[&str]) -> anyhow::Result<Programs> {
    const NAMES: [&str; 3] = ["relayd", "sealcast", "relayctl"];
    let packages = NAMES.iter().flat_map(|name| ["--package", name, "--bin", name]);
    let mut built = build_with(&how.iter().copied().chain(packages).collect::<Vec<_>>())?;
    let mut take = |name: &str| built.remove(name).with_context(|| format!("cargo built no {name}"));
    Ok(Programs { relayd: take("relayd")?, sealcast: take("sealcast")?, relayctl: take("relayctl")? })
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
