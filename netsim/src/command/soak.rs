//! `netsim soak`: many seeds on many threads, each failing one with the command that runs it again.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Args;

use super::output::Output;
use super::{EXIT_CORRECTNESS, EXIT_CRASH, EXIT_LIVENESS, EXIT_USAGE, fits, print, watched};
use crate::memory;
use crate::play::{Options, Verdict, program};
use crate::sim::Profile;
use crate::soak::{Ending, attempt};

/// Threads that may be asked for.
const JOBS_MAX: usize = 256;
/// Endings that may wait to be told.
const WAITING_MAX: usize = 64;
/// Where `--keep` adds failing seeds if no file is named.
const SEEDS_FILE: &str = "netsim/seeds.txt";

/// What to soak.
#[derive(Args, Debug)]
pub(super) struct Soak {
    /// From A up to and without B.
    #[arg(long, value_name = "A..B", value_parser = range, default_value = "0..1000", conflicts_with = "minutes")]
    seeds: std::ops::Range<u64>,
    /// So long, from seed 0 on.
    #[arg(long)]
    minutes: Option<u64>,
    /// So many at once.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// How much is real in seeds about endpoints: full, or light.
    #[arg(long, value_name = "NAME", value_parser = super::profile, default_value = "full")]
    profile: Profile,
    /// Add each failing seed to netsim/seeds.txt, or to this file.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = SEEDS_FILE)]
    keep: Option<PathBuf>,
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let ends = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    ends.filter(|range: &std::ops::Range<u64>| !range.is_empty())
        .ok_or_else(|| "give two numbers, as 0..1000".to_owned())
}

impl Soak {
    pub(super) fn run(self) -> u8 {
        if !(1..=JOBS_MAX).contains(&self.jobs) {
            eprintln!("netsim: --jobs: give 1 to {JOBS_MAX}");
            return EXIT_USAGE;
        }
        if let Err(code) = fits(memory::of_seeds(self.jobs as u64)) {
            return code;
        }
        if let Some(Err(code)) = self.keep.as_deref().map(Output::open) {
            return code;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the time that a person asked for, not a simulated one"
        )]
        let started = Instant::now();
        let until = self.minutes.map(|minutes| started + Duration::from_secs(60 * minutes));
        let seeds = if until.is_some() { 0..u64::MAX } else { self.seeds.clone() };
        let next = AtomicU64::new(seeds.start);
        let over = AtomicBool::new(false);
        let (told, endings) = mpsc::sync_channel::<(u64, Ending)>(WAITING_MAX);
        let bar = watched().then(|| match until {
            None => indicatif::ProgressBar::new(seeds.end - seeds.start),
            Some(_) => indicatif::ProgressBar::new_spinner(),
        });
        // A panic is told as an ending.
        std::panic::set_hook(Box::new(|_| ()));
        let mut sum = Sum::default();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                let told = told.clone();
                let (next, over, end, profile) = (&next, &over, seeds.end, self.profile);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        let options = Options { seed, profile, ..Options::default() };
                        if seed >= end || told.send((seed, attempt(options))).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(told);
            for (seed, ending) in endings {
                sum.add(seed, &ending, self.keep.as_deref());
                if let Some(bar) = &bar {
                    bar.inc(1);
                }
                #[expect(clippy::disallowed_methods, reason = "the time that a person asked for")]
                let late = until.is_some_and(|until| Instant::now() >= until);
                if late {
                    over.store(true, Ordering::Relaxed);
                }
            }
        });
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let _ = std::panic::take_hook();
        eprintln!("{} s", started.elapsed().as_secs());
        sum.tell(self.profile)
    }
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    events: u64,
    simulated_ms: u64,
    crashes: u64,
    correctness: u64,
    liveness: u64,
}

impl Sum {
    fn add(&mut self, seed: u64, ending: &Ending, keep: Option<&Path>) {
        self.seeds += 1;
        match ending {
            Ending::Crashed(_) => self.crashes += 1,
            Ending::Reported(report) => {
                self.events += report.events;
                self.simulated_ms += report.simulated_ms;
                match report.verdict {
                    Verdict::Held => return,
                    Verdict::Liveness => self.liveness += 1,
                    Verdict::Correctness => self.correctness += 1,
                }
            }
        }
        let found = ending.found();
        if let Ending::Reported(report) = ending {
            print(&report.line());
        }
        for line in found.iter().take(4) {
            print(&format!("violated: {line}"));
        }
        print(&format!("again: netsim replay {seed}"));
        if let Some(path) = keep
            && let Err(error) = append(path, seed, found.first().map_or("", String::as_str))
        {
            eprintln!("netsim: {}: {error}: the seed is not kept", path.display());
        }
    }

    fn tell(&self, profile: Profile) -> u8 {
        let Sum { seeds, events, simulated_ms, crashes, correctness, liveness } = self;
        let hours = simulated_ms / 3_600_000;
        print(&format!(
            "soak: {seeds} seeds, {}, {events} events over {hours} simulated hours; crashes {crashes}, correctness \
             {correctness}, liveness {liveness}",
            program(profile.name())
        ));
        match () {
            () if *crashes > 0 => EXIT_CRASH,
            () if *correctness > 0 => EXIT_CORRECTNESS,
            () if *liveness > 0 => EXIT_LIVENESS,
            () => 0,
        }
    }
}

/// Adds a seed with what it found to the seeds that run first ever after.
fn append(path: &Path, seed: u64, found: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{seed} # {found}")
}
