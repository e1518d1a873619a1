//! Replays every committed corpus through its fuzz target \[CON-5\].

#[path = "../../fuzz/src/targets.rs"]
#[allow(unreachable_pub)] // a library there, a module here
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn each_target_has_a_binary_and_a_corpus() {
    let targets: BTreeSet<_> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz_folder().join("fuzz_targets")), targets, "binaries");
    assert_eq!(names(&fuzz_folder().join("corpus")), targets, "corpora");
}

#[test]
fn corpora_replay() {
    for (name, target) in targets::TARGETS {
        let mut replayed = 0;
        for entry in fs::read_dir(fuzz_folder().join("corpus").join(name)).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            target(&bytes);
            // Every cut and every flipped bit of a seed as well: cheap, and it meets each error path.
            for at in 0..bytes.len().min(512) {
                target(&bytes[..at]);
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                target(&flipped);
            }
            replayed += 1;
        }
        assert!(replayed > 0, "{name} has an empty corpus");
    }
}
