//! `netsim shrink`: makes what a failing seed stands for smaller, and writes down what is left.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::output::Output;
use super::{EXIT_USAGE, bug, print, profile, show, watched};
use crate::play::Options;
use crate::shrink::{Shrunk, shrink};
use crate::sim::{Bug, Profile};
use crate::soak::{Drawn, Ending};

/// The longest search.
const MINUTES_MAX: u64 = 24 * 60;

/// What to make smaller.
#[derive(Args, Debug)]
pub(super) struct Shrink {
    /// A seed that fails.
    seed: u64,
    /// So long at most.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=MINUTES_MAX))]
    minutes: u64,
    /// So many worlds at most.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    tries: u64,
    /// Write what is left there; seed-SEED.toml otherwise.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Plant a bug in the simulated shell.
    #[arg(long, value_name = "NAME", value_parser = bug)]
    bug: Option<Bug>,
    /// How much is real: full, or light.
    #[arg(long, value_name = "NAME", value_parser = profile, default_value = "full")]
    profile: Profile,
}

impl Shrink {
    pub(super) fn run(self) -> u8 {
        let path = self.output.clone().unwrap_or_else(|| PathBuf::from(format!("seed-{}.toml", self.seed)));
        let mut output = match Output::open(&path) {
            Ok(output) => output,
            Err(code) => return code,
        };
        // Panics are told as endings.
        std::panic::set_hook(Box::new(|_| ()));
        let shrunk = self.search();
        let _ = std::panic::take_hook();
        let Some(shrunk) = shrunk else {
            eprintln!("netsim: seed {} holds: there is nothing to make smaller", self.seed);
            return EXIT_USAGE;
        };
        let text = match &shrunk.drawn {
            Drawn::Mesh(course) => course.to_text(),
            Drawn::People(scenario) => scenario.to_text(),
        };
        self.tell(&shrunk);
        if !output.is_stdout() {
            print(&text);
        }
        if let Err(code) = output.write(&text) {
            return code;
        }
        print(&self.again(&shrunk.drawn, &output));
        0
    }

    fn search(&self) -> Option<Shrunk> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the time that a person waits for, not a simulated one"
        )]
        let started = Instant::now();
        let limit = Duration::from_secs(60 * self.minutes);
        let bar = watched().then(indicatif::ProgressBar::new_spinner);
        let mut tries = 1;
        let options = Options { seed: self.seed, profile: self.profile, bug: self.bug, ..Options::default() };
        let shrunk = shrink(Drawn::of(self.seed), options, |smallest| {
            if let Some(bar) = &bar {
                bar.set_message(format!("{tries} tried, left: {}", size(smallest)));
                bar.tick();
            }
            tries += 1;
            tries <= self.tries && started.elapsed() < limit
        });
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        shrunk
    }

    fn tell(&self, shrunk: &Shrunk) {
        let Shrunk { drawn, ending, property, tries, smallest } = shrunk;
        match ending {
            Ending::Reported(report) => show(report),
            Ending::Crashed(what) => print(&format!("crash: {what}")),
        }
        let why = if *smallest { "nothing more can go" } else { "the search was ended" };
        let (before, after) = (size(&Drawn::of(self.seed)), size(drawn));
        print(&format!("{property}: from {before} to {after} in {tries} tries; {why}"));
    }

    /// The command that plays it again.
    fn again(&self, drawn: &Drawn, output: &Output) -> String {
        let path = output.path().display();
        let bug = self.bug.map_or(String::new(), |bug| format!(" --bug {}", bug.name()));
        let profile = match self.profile {
            Profile::Full => "",
            Profile::Light => " --profile light",
        };
        match drawn {
            Drawn::Mesh(_) => format!("again: netsim replay {path}{bug}{profile}"),
            Drawn::People(scenario) if scenario.drills.is_some() => format!(
                "it fails in what is tried and must not succeed, which stands in no file; again, as a whole: netsim replay {}{bug}{profile}",
                self.seed
            ),
            Drawn::People(_) => format!("again: netsim run {path} --seed {}{bug}{profile}", self.seed),
        }
    }
}

fn size(drawn: &Drawn) -> String {
    match drawn {
        Drawn::Mesh(course) => {
            format!("{} nodes, {} steps", course.nodes.len(), course.steps.len() + course.healed.len())
        }
        Drawn::People(scenario) => format!(
            "{} nodes, {} endpoints, {} faults, {} s",
            scenario.nodes.len(),
            scenario.endpoints(),
            scenario.faults.len(),
            scenario.duration.as_secs()
        ),
    }
}
