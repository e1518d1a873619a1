//! Random worlds, one for each seed: a safety phase with faults while the checkers watch, then a liveness phase in which
//! everything is healed and all must agree.
//!
//! Three of four seeds are meshes of bare memberships and packets, small or large; the fourth is a scenario with endpoints,
//! made up from the seed and played as any other. Either is drawn as a whole before it is played, so that what fails can be
//! made smaller and played again.

mod course;
mod mesh;
mod people;

use std::any::Any;

use crate::play::{Options, Report, Verdict};
use crate::scenario::Scenario;

pub use course::{Course, CourseError, Start, Step};

/// What a seed stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Drawn {
    /// A mesh and what happens to it.
    Mesh(Course),
    /// A scenario with endpoints.
    People(Scenario),
}

impl Drawn {
    /// Draws what a seed stands for.
    pub fn of(seed: u64) -> Drawn {
        if is_about_people(seed) {
            Drawn::People(people::scenario(seed))
        } else {
            Drawn::Mesh(Course::draw(seed))
        }
    }

    /// Plays it. The course of a mesh has its own seed.
    pub fn run(&self, options: Options) -> Report {
        match self {
            Drawn::Mesh(course) => mesh::run(course, options),
            Drawn::People(scenario) => crate::play::play(scenario, options),
        }
    }

    /// Plays it and catches a panic.
    pub fn attempt(&self, options: Options) -> Ending {
        let caught = std::panic::catch_unwind(|| self.run(options));
        match caught {
            Ok(report) => Ending::Reported(report),
            Err(panic) => {
                let seed = if let Drawn::Mesh(course) = self { course.seed } else { options.seed };
                Ending::Crashed(format!("seed {seed}: {}", words_of(&*panic)))
            }
        }
    }
}

/// Runs a seed.
pub fn run(options: Options) -> Report {
    Drawn::of(options.seed).run(options)
}

/// Runs a seed and catches a panic.
pub fn attempt(options: Options) -> Ending {
    Drawn::of(options.seed).attempt(options)
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

    /// The property that was violated first, or `crash`; `None` if everything held.
    pub fn property(&self) -> Option<String> {
        let first = self.found().into_iter().next()?;
        first.split(':').next().map(str::to_owned)
    }

    /// Whether a property was violated, be it first or not.
    pub fn violates(&self, property: &str) -> bool {
        self.found().iter().any(|found| found.split(':').next() == Some(property))
    }
}

/// What a panic said.
pub(crate) fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

/// The committed seeds that once failed: each line a seed, and what it found behind `#`.
pub fn kept(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok()).collect()
}
