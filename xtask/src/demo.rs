//! `cargo xtask demo`: a real node and three real endpoints in a temporary folder, from the first login to two large
//! files, and then a search for everything that was said and sent in what the node saw after TLS. Owns the story; the
//! programs are driven as any script would drive them. Leaves nothing behind: every child dies with its handle, also
//! on a failure or Ctrl-C.

pub(crate) mod canary;
pub(crate) mod party;
pub(crate) mod process;
pub(crate) mod programs;
mod report;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use canary::Canaries;
use party::{Party, Person};
use process::{Hub, Stopped};
use report::{Report, Transfer};

/// Size of each of the two files.
const FILE_BYTES: u64 = 256 << 20;
/// Free space that is needed: both files twice, and what the node sees of them coming and going.
const SPACE_BYTES_MIN: u64 = 6 * FILE_BYTES + (256 << 20);
/// How long any one step may take; what is shown takes a fraction of it.
pub(crate) const STEP: Duration = Duration::from_secs(30);
/// How long a file may take.
pub(crate) const FILE_STEP: Duration = Duration::from_secs(120);

/// What can be said to the demo.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave it running at the end, and tell how to join from another terminal
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let programs = programs::build()?;
    let started = Instant::now();
    let folder =
        tempfile::Builder::new().prefix("sealcast-demo-").tempdir().context("no temporary folder")?;
    process::check_space(folder.path(), SPACE_BYTES_MIN)?;
    let hub = Hub::new()?;
    let outcome = tell(arguments, &programs, folder.path(), &hub, started);
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.is::<Stopped>() => {
            eprintln!("demo: stopped; everything it started has ended, and its folder is gone");
            Ok(ExitCode::from(130))
        }
        Err(error) => Err(error),
    }
}

fn tell(
    arguments: &Arguments,
    programs: &programs::Programs,
    folder: &Path,
    hub: &Hub,
    started: Instant,
) -> anyhow::Result<()> {
    let canaries = Canaries::draw()?;
    let mut report = Report::new(started);

    let outgoing = folder.join(canaries.file_name("fix"));
    let incoming = folder.join(canaries.file_name("dump"));
    let outgoing_hash = canaries.write_file(&outgoing, FILE_BYTES)?;
    let incoming_hash = canaries.write_file(&incoming, FILE_BYTES)?;
    report.step("two files of 256 MiB from the system's randomness, with a mark in each MiB");

    let tap = folder.join("tap");
    let node = party::Node::start(hub, programs, folder, &tap)?;
    report.step("relayd dev: one node, ready");

    let party = Party { hub, programs, folder, node: &node, software: canaries.software() };
    party.log_in("ada")?;
    party.log_in("eve")?;
    report.step("Ada and Eve, support providers, are logged in");

    let mut ada = party.host("ada", "Ada")?;
    let code = ada.code("customer")?;
    report.step("Ada opened a session and has a code to read aloud");
    let mut bob = party.join("bob", "Bob", &code)?;
    ada.wait_members(2)?;
    bob.wait_members(2)?;
    report.step("Bob, a customer, joined by the code");
    ada.line("/invite provider")?;
    let code_for_eve = ada.code("provider")?;
    let mut eve = party.join("eve", "Eve", &code_for_eve)?;
    for person in [&mut ada, &mut bob, &mut eve] {
        person.wait_members(3)?;
    }
    report.step("Eve, a second provider, joined; Bob allowed it; new keys for all");

    let people = &mut [&mut ada, &mut bob, &mut eve];
    chat(people, &canaries)?;
    report.step("everybody said something, and everybody read it");

    let [ada, bob, eve] = people;
    let to = bob.number;
    report.transfer(send(ada, bob, to, &outgoing, &outgoing_hash)?);
    let to = ada.number;
    report.transfer(send(bob, ada, to, &incoming, &incoming_hash)?);

    if arguments.keep {
        search(&canaries, &tap, &[&code, &code_for_eve], &mut report)?;
        report.print();
        return match keep(ada, &party, folder) {
            // That is how it ends when all is well.
            Err(error) if error.is::<Stopped>() => {
                println!("Everything has ended, and the folder is gone.");
                Ok(())
            }
            other => other,
        };
    }

    ada.line("/end")?;
    for person in [&mut **ada, &mut **bob, &mut **eve] {
        person.wait_end()?;
    }
    node.stop()?;
    report.step("the session was ended, and the node");
    search(&canaries, &tap, &[&code, &code_for_eve], &mut report)?;
    report.print();
    Ok(())
}

/// Each says a line with a mark; each reads all of them.
fn chat(people: &mut [&mut Person<'_>; 3], canaries: &Canaries) -> anyhow::Result<()> {
    for speaker in 0..people.len() {
        let text = canaries.chat(&people[speaker].name);
        people[speaker].line(&format!("/say {text}"))?;
        for reader in people.iter_mut() {
            reader
                .wait(STEP, "the chat", |event| event["event"] == "chat" && event["text"] == text.as_str())?;
        }
    }
    Ok(())
}

/// A file from one to the other; its BLAKE3 is taken here again, of what was sent and of what arrived.
fn send(
    from: &mut Person<'_>,
    to: &mut Person<'_>,
    to_number: u64,
    path: &Path,
    hash: &blake3::Hash,
) -> anyhow::Result<Transfer> {
    let begun = Instant::now();
    from.line(&format!("/send \"{}\" to {to_number}", path.display()))?;
    let is_done = |event: &serde_json::Value, direction: &str| {
        event["event"] == "file_done" && event["direction"] == direction
    };
    let mut arrived = to.wait(FILE_STEP, "the file's beginning", |event| {
        event["event"] == "file_progress" || is_done(event, "receiving")
    })?;
    let moving = Instant::now();
    if !is_done(&arrived, "receiving") {
        arrived = to.wait(FILE_STEP, "the file", |event| is_done(event, "receiving"))?;
    }
    let took = begun.elapsed();
    let streamed = moving.elapsed();
    from.wait(STEP, "the sender's word", |event| is_done(event, "sending"))?;

    let stored = Path::new(arrived["path"].as_str().context("file_done without a path")?);
    let arrived_hash = canary::hash_file(stored)?;
    let told = arrived["blake3"].as_str().unwrap_or_default();
    ensure!(
        arrived_hash == *hash && told == hash.to_hex().as_str(),
        "{} arrived as something else: BLAKE3 {hash} was sent, {arrived_hash} is there, {told} was told",
        path.display()
    );
    Ok(Transfer {
        from: from.name.clone(),
        to: to.name.clone(),
        bytes: FILE_BYTES,
        took,
        streamed,
        hash: *hash,
    })
}

/// Shows that the search finds what is in the clear, and then that nothing else is.
fn search(canaries: &Canaries, tap: &Path, codes: &[&str], report: &mut Report) -> anyhow::Result<()> {
    let found = canaries.search(tap, codes)?;
    ensure!(
        found.bytes > 2 * FILE_BYTES,
        "the tap holds {} bytes only: it has not seen the files",
        found.bytes
    );
    ensure!(
        found.planted > 0,
        "the search did not find the mark that endpoints tell in the clear: it would not find anything else either"
    );
    ensure!(found.leaked.is_empty(), "the node saw plain text: {}", found.leaked.join(", "));
    report.search(found);
    Ok(())
}

/// Until Ctrl-C: whoever wants to may join, with a fresh code whenever one is gone.
fn keep(ada: &mut Person<'_>, party: &Party<'_, '_>, folder: &Path) -> anyhow::Result<()> {
    println!(
        "Everything is left running, in {}. Ctrl-C ends it and leaves nothing behind.",
        folder.display()
    );
    loop {
        ada.line("/invite customer")?;
        let code = ada.code("customer")?;
        println!("\nTo join from another terminal, within ten minutes:\n");
        println!("    {} --invite {} join\n", party.programs.sealcast.display(), party.node.invite.display());
        println!("and type this code:  {code}");
        ada.wait_code_gone("customer")?;
    }
}

/// A command of the programs, in an environment where it finds nothing of the user's.
fn program(path: &Path, home: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_clear();
    for keep in ["PATH", "LANG", "TMPDIR"] {
        if let Some(value) = std::env::var_os(keep) {
            command.env(keep, value);
        }
    }
    command.env("HOME", home).current_dir(home);
    command
}
