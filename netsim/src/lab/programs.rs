//! The programs that the lab starts: beside its own, as cargo leaves them, or where the user says.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Each program with the package that it comes from.
const ALL: [(&str, &str); 3] =
    [("relayd", "relayd"), ("relayctl", "relayctl"), ("sealcast-driver", "sealcast-driver")];

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The relay node.
    pub relayd: PathBuf,
    /// The administrators' program.
    pub relayctl: PathBuf,
    /// The program of many endpoints.
    pub driver: PathBuf,
}

impl Programs {
    /// Finds them in `folder`, or beside the own executable.
    ///
    /// # Errors
    /// Names what is missing, and the command that builds it.
    pub fn find(folder: Option<&Path>) -> anyhow::Result<Programs> {
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => own_folder()?,
        };
        let missing: Vec<&str> = ALL
            .iter()
            .filter(|(name, _)| !folder.join(name).is_file())
            .map(|(_, package)| *package)
            .collect();
        if !missing.is_empty() {
            let how = if folder.ends_with("release") { " --release" } else { "" };
            let packages: Vec<String> = missing.iter().map(|package| format!("-p {package}")).collect();
            bail!(
                "{} has no {}: build with `cargo build{how} {}`, or say with --programs where they are",
                folder.display(),
                missing.join(", "),
                packages.join(" ")
            );
        }
        Ok(Programs {
            relayd: folder.join("relayd"),
            relayctl: folder.join("relayctl"),
            driver: folder.join("sealcast-driver"),
        })
    }
}

/// The folder of the own executable; the one above for tests, which cargo puts into `deps`.
fn own_folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("the own program's folder is unknown: use --programs")?;
    let folder = own.parent().context("the own program has no folder: use --programs")?;
    let above = folder.ends_with("deps").then(|| folder.parent()).flatten();
    Ok(above.unwrap_or(folder).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_command() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("relayd"), "").unwrap();
        let error = Programs::find(Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("cargo build -p relayctl -p sealcast-driver"), "{error}");
        for name in ["relayctl", "sealcast-driver"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = Programs::find(Some(folder.path())).unwrap();
        assert_eq!(found.relayctl, folder.path().join("relayctl"));
    }
}
