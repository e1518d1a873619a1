//! `netsim replay`: a seed of a soak, the course of a mesh that `netsim shrink` wrote, or a relayd's journal.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use clap::Args;
use proto_spec::Timestamp;
use sealcast_mesh::journal::JournalError;

use super::{EXIT_CORRECTNESS, EXIT_CRASH, EXIT_USAGE, bug, code, print, profile, show};
use crate::journal::{self, Fault, Replayed, Unlike};
use crate::play::{Options, program};
use crate::sim::{Bug, Profile};
use crate::soak::{Course, Drawn, Ending, attempt};

/// The longest file that is read: a journal's segment, with the state of a node of the largest mesh before it.
const FILE_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// What to replay.
#[derive(Args, Debug)]
pub(super) struct Replay {
    /// A seed; the file of a mesh's course; `journal-0` or `journal-1` of a relayd's state folder.
    #[arg(value_name = "SEED|FILE")]
    what: String,
    /// Tell on stderr what happens.
    #[arg(long)]
    trace: bool,
    /// Plant a bug in the simulated shell; not for journals.
    #[arg(long, value_name = "NAME", value_parser = bug)]
    bug: Option<Bug>,
    /// How much is real: full, or light; not for journals.
    #[arg(long, value_name = "NAME", value_parser = profile, default_value = "full")]
    profile: Profile,
}

impl Replay {
    fn options(&self, seed: u64) -> Options {
        Options { seed, profile: self.profile, bug: self.bug, told: self.trace, ..Options::default() }
    }

    pub(super) fn run(self) -> u8 {
        if let Ok(seed) = self.what.parse() {
            return end(&attempt(self.options(seed)));
        }
        match self.file() {
            Ok(code) => code,
            Err(sentence) => {
                eprintln!("netsim: {}: {sentence}", self.what);
                EXIT_USAGE
            }
        }
    }

    fn file(&self) -> Result<u8, String> {
        let bytes = read(Path::new(&self.what))?;
        match (journal::replay(&bytes, self.trace), std::str::from_utf8(&bytes)) {
            (Ok(_), _) if self.bug.is_some() => {
                Err("a journal has no shell to plant a bug in: leave --bug out".to_owned())
            }
            (Ok(replayed), _) => Ok(tell(&replayed)),
            (Err(JournalError::NotAJournal), Ok(text)) => {
                let course = Course::from_text(text).map_err(|error| error.to_string())?;
                let options = self.options(course.seed);
                Ok(end(&Drawn::Mesh(course).attempt(options)))
            }
            (Err(error), _) => Err(error.to_string()),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let to_do =
        |error: std::io::Error| format!("{error}: give a seed, a mesh's course, or a relayd's journal");
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(to_do)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(to_do)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(
            "longer than any journal: give journal-0 or journal-1 of a relayd's state folder".to_owned()
        );
    }
    Ok(bytes)
}

fn end(ending: &Ending) -> u8 {
    match ending {
        Ending::Reported(report) => {
            show(report);
            code(report.verdict)
        }
        Ending::Crashed(what) => {
            print(&format!("crash: {what}"));
            EXIT_CRASH
        }
    }
}

fn tell(replayed: &Replayed) -> u8 {
    let Replayed { node, turns, same, span, inputs, outputs, trace, fault, cut_bytes } = replayed;
    let span = span.map_or(String::new(), |(from, to)| format!(" from {} to {}", seconds(from), seconds(to)));
    let number = node.number();
    let software = node.lsa(number).map_or("a node without an LSA", |lsa| &lsa.body.software);
    print(&format!(
        "journal: node {number}, {turns} turns{span}, {}, trace {:016x} over {} turns",
        program("core alone"),
        trace.hash(),
        trace.events()
    ));
    print(&format!("  written by {software}"));
    print(&format!("  inputs: {}", counted(inputs)));
    print(&format!("  outputs: {}", counted(outputs)));
    let links = node.links().map(|link| match link.srtt_us {
        Some(us) => format!("{} ({}.{} ms)", link.neighbor, us / 1_000, us % 1_000 / 100),
        None => link.neighbor.to_string(),
    });
    print(&format!("  neighbors: {}", listed(links)));
    print(&format!("  LSDB: {} nodes, {} of them live", node.lsas().count(), node.roster().len()));
    for session in node.sessions() {
        if let Some(view) = node.session(session) {
            let egress = listed(view.egress.iter().map(ToString::to_string));
            print(&format!("  session {session}: {} members, egress set {egress}", view.members.len()));
        }
    }
    if *cut_bytes > 0 {
        print(&format!("  the last {cut_bytes} bytes are a record that was cut short: left out"));
    }
    match fault {
        None => {
            let last = if *turns > *same { "; what the last one put out is not recorded" } else { "" };
            print(&format!("all {same} turns gave the recorded outputs{last}"));
            0
        }
        Some(Fault { turn, at, input, what: Unlike::Outputs(kinds) }) => {
            print(&format!(
                "turn {turn} ({input} at {}) gives other outputs than were recorded: {}; the {same} before gave \
                 theirs. Another version wrote it, or the core is not deterministic",
                seconds(*at),
                listed(kinds.iter().map(ToString::to_string))
            ));
            EXIT_CORRECTNESS
        }
        Some(Fault { turn, at, input, what: Unlike::Panic(words) }) => {
            print(&format!("crash: turn {turn} ({input} at {}): {words}", seconds(*at)));
            EXIT_CRASH
        }
    }
}

fn seconds(at: Timestamp) -> String {
    let ms = at.0.as_millis();
    format!("{}.{:03} s", ms / 1_000, ms % 1_000)
}

fn counted(kinds: &BTreeMap<&'static str, u64>) -> String {
    listed(kinds.iter().map(|(kind, count)| format!("{kind} {count}")))
}

fn listed(items: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = items.collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
