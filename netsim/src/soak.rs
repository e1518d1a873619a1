//! Random worlds, one for each seed: a safety phase with faults while the checkers watch, then a liveness phase in which
//! everything is healed and all must agree.
//!
//! Three of four seeds are meshes of bare memberships and packets, small or large; the fourth is a scenario with endpoints,
//! made up from the seed and played as any other.

mod mesh;
mod people;

use crate::play::{Options, Report, Verdict};

/// Runs a seed.
pub fn run(options: Options) -> Report {
    let Options { seed, bug, told, .. } = options;
    if is_about_people(seed) {
        crate::play::play(&people::scenario(seed), options)
    } else {
        mesh::run(seed, bug, told)
    }
}

/// Whether a seed stands for a scenario with endpoints.
pub const fn is_about_people(seed: u64) -> bool {
    seed % 4 == 3
}

/// What came of a seed, panics included.
#[derive(Debug)]
pub enum Ending {
    /// It ran to its end.
    Reported(Report),
    /// The simulator or a core panicked: what it said.
    Crashed(String),
}

impl Ending {
    /// Whether everything held.
    pub fn held(&self) -> bool {
        matches!(self, Ending::Reported(report) if report.verdict == Verdict::Held)
    }

    /// What was found, one line each.
    pub fn found(&self) -> Vec<String> {
        match self {
            Ending::Reported(report) => report.violations.clone(),
            Ending::Crashed(what) => vec![format!("crash: {what}")],
        }
    }
}

/// Runs a seed and catches a panic.
pub fn attempt(options: Options) -> Ending {
    let caught = std::panic::catch_unwind(|| run(options));
    match caught {
        Ok(report) => Ending::Reported(report),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Ending::Crashed(format!("seed {}: {}", options.seed, text.unwrap_or("a panic without words")))
        }
    }
}

/// The committed seeds that once failed: each line a seed, and what it found behind `#`.
pub fn kept(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok()).collect()
}
