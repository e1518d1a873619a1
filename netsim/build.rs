//! Tells the simulator which commit it is built from, so that a report can say what it speaks of. Never fails: outside a
//! repository of its own, or without git, the commit is `unknown`.
//!
//! Looks again when the commit moves, or when anything changes that the simulator is built from; it would be rebuilt then
//! anyway.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let own = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the folder"));
    let root = own.parent().expect("the package lies in its workspace").to_owned();
    let sources = sources(&root, &own);
    let watched = sources.iter().cloned().chain(heads(&root)).filter(|path| path.exists());
    for path in watched {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    println!(
        "cargo::rustc-env=NETSIM_COMMIT={}",
        commit(&root, &sources).unwrap_or_else(|| "unknown".to_owned())
    );
}

/// The commit, with a `+` if what the simulator is built from is not as it says.
fn commit(root: &Path, sources: &BTreeSet<PathBuf>) -> Option<String> {
    // A tree that lies unpacked in somebody else's repository is none of its commits.
    git(root, &["ls-files", "--error-unmatch", "Cargo.toml"])?;
    let commit = git(root, &["rev-parse", "--short=12", "HEAD"])?;
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(sources.iter().filter_map(|path| path.to_str()));
    let changed = !git(root, &status)?.is_empty();
    Some(if changed { commit + "+" } else { commit })
}

/// Files of git that change when the commit does; in a worktree they lie elsewhere.
fn heads(root: &Path) -> Vec<PathBuf> {
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD", "logs/HEAD"].into_iter().map(str::to_owned).chain(branch);
    names
        .filter_map(|name| git(root, &["rev-parse", "--git-path", &name]))
        .map(|path| root.join(path))
        .collect()
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    // A status that refreshed the index would get in the way of whoever works in the tree.
    let output =
        Command::new("git").arg("--no-optional-locks").args(arguments).current_dir(root).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What the simulator is built from: its own files and those of every package of the workspace that it needs.
fn sources(root: &Path, own: &Path) -> BTreeSet<PathBuf> {
    let packages = std::fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    let folder = |name: &str| {
        let line =
            packages.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='))?;
        let (_, path) = line.split_once("path = \"")?;
        Some(root.join(path.split('"').next()?))
    };
    let mut found = BTreeSet::from([root.join("Cargo.toml"), root.join("Cargo.lock")]);
    let mut folders = vec![own.to_owned()];
    while let Some(at) = folders.pop() {
        let manifest = at.join("Cargo.toml");
        if !found.insert(manifest.clone()) {
            continue;
        }
        found.extend(
            ["src", "build.rs", "proto", "scenarios"]
                .map(|name| at.join(name))
                .into_iter()
                .filter(|path| path.exists()),
        );
        let text = std::fs::read_to_string(&manifest).unwrap_or_default();
        let needed = text.lines().skip_while(|line| *line != "[dependencies]").skip(1);
        let needed = needed.take_while(|line| !line.starts_with('['));
        folders.extend(needed.filter_map(|line| folder(line.split(['.', ' ', '=']).next()?)));
    }
    found
}
