//! The whole, with real processes: `relayd dev` and `sealcast --json` as anybody would run them, killed, refused and
//! searched. Owns the list of scenarios and what each is given; the people and the node are the demo's.
//!
//! Every wait is for an event. Each scenario has a folder of its own, and all that it starts ends with it.

mod refusals;
mod secrecy;
mod suites;
mod survival;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::demo::canary::{self, Canaries};
use crate::demo::party::{Node, Party, Person};
use crate::demo::programs::{self, Programs};
use crate::demo::{FILE_STEP, STEP};
use sealcast_process::{Hub, Stopped, check_space};

/// Size of a file: long enough under way to be interrupted in a debug build, and no longer.
const FILE_BYTES: u64 = 16 << 20;
/// What has to have arrived of it before something happens to it.
const PART_BYTES: u64 = FILE_BYTES / 8;
/// Free space that is needed: two copies of the file, and what the tap sees of it, twice over.
const SPACE_BYTES_MIN: u64 = 8 * FILE_BYTES + (256 << 20);

/// What can be said to it.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only the scenarios with this in their name
    only: Option<String>,
}

type Scenario = fn(&Stage<'_>) -> anyhow::Result<()>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("node-killed", survival::node_killed),
    ("endpoint-killed", survival::endpoint_killed),
    ("wrong-code", refusals::wrong_code),
    ("denied", refusals::denied),
    ("no-such-session", refusals::no_such_session),
    ("removed", refusals::removed),
    ("nothing-to-see", secrecy::nothing_to_see),
    ("classic", suites::classic),
    ("suites-do-not-mix", suites::suites_do_not_mix),
];

/// Runs the scenarios in turn.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let store =
        tempfile::Builder::new().prefix("sealcast-whole-").tempdir().context("no temporary folder")?;
    check_space(store.path(), SPACE_BYTES_MIN)?;
    // First, and aside: the next build puts the modern one in its place.
    let classic = store.path().join("sealcast-classic");
    std::fs::copy(programs::build_debug_classic()?.sealcast, &classic)
        .context("the classic build cannot be copied")?;
    let programs = programs::build_debug()?;
    let classic =
        Programs { relayd: programs.relayd.clone(), sealcast: classic, relayctl: programs.relayctl.clone() };
    let (mut passed, mut failed) = (0, 0);
    for (name, scenario) in SCENARIOS {
        if arguments.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let begun = Instant::now();
        match perform(&programs, &classic, *scenario) {
            Ok(()) => {
                passed += 1;
                println!("PASS {name} ({:.1} s)", begun.elapsed().as_secs_f64());
            }
            Err(error) if error.is::<Stopped>() => return Err(error),
            Err(error) => {
                failed += 1;
                println!("FAIL {name}: {error:#}");
            }
        }
    }
    ensure!(passed + failed > 0, "no scenario is called so");
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One scenario in a folder of its own.
fn perform(programs: &Programs, classic: &Programs, scenario: Scenario) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("sealcast-scenario-").tempdir()?;
    let hub = Hub::new()?;
    scenario(&Stage { hub: &hub, programs, classic, folder: folder.path(), canaries: Canaries::draw()? })
}

/// What a scenario is given.
struct Stage<'a> {
    hub: &'a Hub,
    programs: &'a Programs,
    classic: &'a Programs,
    folder: &'a Path,
    canaries: Canaries,
}

impl<'a> Stage<'a> {
    /// A node that tells all it can in its log.
    fn node(&self) -> anyhow::Result<Node<'a>> {
        Node::start(self.hub, self.programs, self.folder, &self.tap(), "debug")
    }

    fn tap(&self) -> PathBuf {
        self.folder.join("tap")
    }

    /// Whoever may log in, join and host at this node; Ada is logged in.
    fn party<'n>(&self, node: &'n Node<'a>) -> anyhow::Result<Party<'a, 'n>> {
        self.party_with(node, self.programs)
    }

    fn party_with<'n>(&self, node: &'n Node<'a>, programs: &'a Programs) -> anyhow::Result<Party<'a, 'n>> {
        let software = self.canaries.software();
        let party = Party { hub: self.hub, programs, folder: self.folder, node, software };
        party.log_in("ada")?;
        Ok(party)
    }

    /// A file to send, and its BLAKE3.
    fn file(&self) -> anyhow::Result<(PathBuf, blake3::Hash)> {
        let path = self.folder.join(self.canaries.file_name("fix"));
        let hash = self.canaries.write_file(&path, FILE_BYTES)?;
        Ok((path, hash))
    }
}

/// Ada hosts, and Bob has joined by her code, which is given as well.
fn pair<'a>(party: &Party<'a, '_>) -> anyhow::Result<(Person<'a>, Person<'a>, String)> {
    let mut ada = party.host("ada", "Ada")?;
    let code = ada.code("customer")?;
    let mut bob = party.join("bob", "Bob", &code)?;
    ada.wait_members(2)?;
    bob.wait_members(2)?;
    Ok((ada, bob, code))
}

/// One says it; both see it.
fn say(speaker: &mut Person<'_>, reader: &mut Person<'_>, text: &str) -> anyhow::Result<()> {
    speaker.line(&format!("/say {text}"))?;
    hear(speaker, text)?;
    hear(reader, text)
}

/// The next line of chat is this one: none before it is missing, none came twice.
fn hear(reader: &mut Person<'_>, text: &str) -> anyhow::Result<()> {
    let chat = reader.wait(STEP, "the chat", |event| event["event"] == "chat")?;
    ensure!(chat["text"] == text, "{} read something else than {text:?}: {chat}", reader.name);
    Ok(())
}

/// Until a good part of the file has arrived, but not all of it.
fn wait_under_way(receiver: &mut Person<'_>) -> anyhow::Result<()> {
    let event = receiver.wait(FILE_STEP, "a part of the file", |event| {
        is_done(event, "receiving")
            || (event["event"] == "file_progress" && event["done_bytes"].as_u64() >= Some(PART_BYTES))
    })?;
    ensure!(
        event["done_bytes"].as_u64() < Some(FILE_BYTES),
        "the file is too small to be interrupted: {event}"
    );
    Ok(())
}

/// Until the file is with both as it should be; it was checked by its receiver, and is again here.
fn wait_arrived(from: &mut Person<'_>, to: &mut Person<'_>, hash: &blake3::Hash) -> anyhow::Result<PathBuf> {
    let arrived = to.wait(FILE_STEP, "the file", |event| is_done(event, "receiving"))?;
    from.wait(STEP, "the sender's word", |event| is_done(event, "sending"))?;
    let path = PathBuf::from(arrived["path"].as_str().context("file_done without a path")?);
    let found = canary::hash_file(&path)?;
    ensure!(
        found == *hash && arrived["blake3"] == hash.to_hex().as_str(),
        "BLAKE3 {hash} was sent, {found} is there: {arrived}"
    );
    Ok(path)
}

fn is_done(event: &Value, direction: &str) -> bool {
    event["event"] == "file_done" && event["direction"] == direction
}

/// The partial files in somebody's download folder.
fn partials(stage: &Stage<'_>, who: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(stage.folder.join(who).join("downloads"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "part") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Ends the session politely at both.
fn end(ada: &mut Person<'_>, bob: &mut Person<'_>) -> anyhow::Result<()> {
    ada.line("/end")?;
    ada.wait_end()?;
    bob.wait_end()
}
