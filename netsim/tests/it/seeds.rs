//! Properties of the mesh over random worlds: the committed seeds first, then a range.
//!
//! `NETSIM_SEEDS=20000` runs more of them. One that fails is run again by `netsim replay`, and kept in `seeds.txt`.

use netsim::play::{Options, Report, Verdict};
use netsim::sim::Profile;
use netsim::soak::{self, attempt, kept};

/// Seeds that run by default, in each of the parts that run side by side.
const SEEDS: u64 = 40;

fn held(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let ending = attempt(Options { seed, ..Options::default() });
        assert!(ending.held(), "again: netsim replay {seed}\n{}", ending.found().join("\n"));
    }
}

fn run(seed: u64) -> Report {
    soak::run(Options { seed, ..Options::default() })
}

fn count() -> u64 {
    std::env::var("NETSIM_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS)
}

/// Seeds that once failed hold.
#[test]
fn kept_seeds_hold() {
    held(kept(include_str!("../../seeds.txt")).into_iter());
}

/// Properties 1 to 6 under random faults, then agreement: seeds about the mesh alone.
#[test]
fn random_meshes_hold() {
    held((100_000..).filter(|seed| seed % 4 != 3).take(count() as usize));
}

/// The same with endpoints: nothing reliable is lost, doubled or reordered, whoever dies.
#[test]
fn random_sessions_hold() {
    held((200_000..).filter(|seed| seed % 4 == 3).take(count() as usize / 4));
}

/// So do they without the end-to-end layer's arithmetic.
#[test]
fn light_sessions_hold() {
    for seed in [3, 7, 200_003, 200_007] {
        let ending = attempt(Options { seed, profile: Profile::Light, ..Options::default() });
        let found = ending.found().join("\n");
        assert!(ending.held(), "again: netsim replay {seed} --profile light\n{found}");
    }
}

/// Equal seeds, equal traces; other seeds, other traces.
#[test]
fn runs_repeat() {
    for seed in [1, 3] {
        let (one, again, other) = (run(seed), run(seed), run(seed + 4));
        assert_eq!((one.events, &one.trace), (again.events, &again.trace));
        assert_ne!(one.trace, other.trace);
        assert_eq!(one.verdict, Verdict::Held);
    }
}
