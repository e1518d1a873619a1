//! `cargo xtask demo`: a real mesh of three nodes and three real endpoints, each at a node of its own, in a temporary
//! folder: from the first login to two large files, with one node killed and another taken out of service while they are
//! under way, and then a search for everything that was said and sent in what the nodes saw after TLS. Owns the story;
//! the programs are driven as any script would drive them. Leaves nothing behind: every child dies with its handle, also
//! on a failure or Ctrl-C.

pub(crate) mod canary;
pub(crate) mod party;
pub(crate) mod programs;
mod report;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use canary::Canaries;
use party::{Party, Person};
use report::{Report, Transfer};
use sealcast_process::{Hub, Stopped};

/// Size of each of the two files.
const FILE_BYTES: u64 = 256 << 20;
/// Free space that is needed: both files twice, and what the node sees of them coming and going.
const SPACE_BYTES_MIN: u64 = 6 * FILE_BYTES + (256 << 20);
/// Nodes of the mesh.
const NODES: usize = 3;
/// What has arrived of a file, in percent, when its receiver's node is killed, and when its sender's is drained.
const KILL_PERCENT: u64 = 25;
const DRAIN_PERCENT: u64 = 60;
/// How often the mesh is asked whether it is whole.
const LOOK: Duration = Duration::from_millis(100);
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
    sealcast_process::check_space(folder.path(), SPACE_BYTES_MIN)?;
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

    let taps: Vec<_> = (1..=NODES + 1).map(|at| folder.join(format!("tap-{at}"))).collect();
    let mut nodes = Vec::new();
    for number in 1..=NODES {
        let tap = &taps[number - 1];
        nodes.push(party::Node::start_numbered(hub, programs, folder, number as u16, tap, "warn")?);
    }
    wait_for_links(programs, &nodes)?;
    report.step("relayd dev: three nodes, each linked with both others");

    let [first, second, third] = &nodes[..] else { unreachable!("three were started") };
    let party = Party { hub, programs, folder, node: first, software: canaries.software() };
    party.log_in("ada")?;
    party.log_in("eve")?;
    report.step("Ada and Eve, support providers, are logged in");

    let mut ada = party.host_at(third, "ada", "Ada")?;
    let code = ada.code("customer")?;
    report.step("Ada, at node 3, opened a session and has a code to read aloud");
    let mut bob = party.join_at(second, "bob", "Bob", &code)?;
    ada.wait_members(2)?;
    bob.wait_members(2)?;
    report.step("Bob, a customer at node 2, joined by the code");
    ada.line("/invite provider")?;
    let code_for_eve = ada.code("provider")?;
    let mut eve = party.join_at(first, "eve", "Eve", &code_for_eve)?;
    for person in [&mut ada, &mut bob, &mut eve] {
        person.wait_members(3)?;
    }
    report.step("Eve, a second provider at node 1, joined; Bob allowed it; new keys for all");
    report.picture(graph(programs, first)?);

    let people = &mut [&mut ada, &mut bob, &mut eve];
    chat(people, &canaries)?;
    report.step("everybody said something, and everybody read it");

    let [ada, bob, eve] = people;
    let hardship = Hardship { programs, killed: second, drained: third, tap: &taps[NODES] };
    let transfer = send_through(ada, bob, &outgoing, &outgoing_hash, &hardship, &mut report)?;
    report.transfer(transfer);
    let to = ada.number;
    report.transfer(send(bob, ada, to, &incoming, &incoming_hash)?);

    if arguments.keep {
        search(&canaries, &taps, &[&code, &code_for_eve], &mut report)?;
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
    // The third has gone already.
    first.stop()?;
    second.stop()?;
    report.step("the session was ended, and the nodes");
    search(&canaries, &taps, &[&code, &code_for_eve], &mut report)?;
    report.print();
    Ok(())
}

/// Until every node knows of a link between any two of them.
fn wait_for_links(programs: &programs::Programs, nodes: &[party::Node<'_>]) -> anyhow::Result<()> {
    let deadline = Instant::now() + STEP;
    for node in nodes {
        loop {
            let status = relayctl(programs, node, &["mesh", "status", "-o", "json"])?;
            let status: serde_json::Value =
                serde_json::from_str(&status).context("mesh status is no JSON")?;
            let agreed = status["links"]
                .as_array()
                .map_or(0, |links| links.iter().filter(|link| link["agreed"] == true).count());
            if agreed >= nodes.len() * (nodes.len() - 1) / 2 {
                break;
            }
            ensure!(Instant::now() < deadline, "the nodes do not find each other: {status}");
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}

/// The mesh as a node sees it, drawn in characters.
fn graph(programs: &programs::Programs, node: &party::Node<'_>) -> anyhow::Result<String> {
    relayctl(programs, node, &["mesh", "graph"])
}

/// What relayctl says over the node's socket.
fn relayctl(
    programs: &programs::Programs,
    node: &party::Node<'_>,
    arguments: &[&str],
) -> anyhow::Result<String> {
    let out = Command::new(&programs.relayctl)
        .arg("--socket")
        .arg(&node.admin_socket)
        .args(arguments)
        .output()
        .context("relayctl cannot be started")?;
    ensure!(
        out.status.success(),
        "relayctl {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
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

/// What happens to the nodes while a file is under way.
struct Hardship<'h, 'a> {
    programs: &'h programs::Programs,
    /// The receiver's: killed, and started again.
    killed: &'h party::Node<'a>,
    /// The sender's: taken out of service.
    drained: &'h party::Node<'a>,
    /// What the killed node sees once it is back.
    tap: &'h Path,
}

/// A file from one to the other, whose nodes are killed and drained meanwhile.
fn send_through(
    from: &mut Person<'_>,
    to: &mut Person<'_>,
    path: &Path,
    hash: &blake3::Hash,
    hardship: &Hardship<'_, '_>,
    report: &mut Report,
) -> anyhow::Result<Transfer> {
    let sending = Sending::begin(from, to, to.number, path)?;
    sending.wait_percent(to, KILL_PERCENT)?;
    hardship.killed.kill()?;
    let back = to.wait(STEP, "being back", |event| event["event"] == "reattached")?;
    report.gap(&format!("{}'s node 2 was killed (SIGKILL)", to.name), &back);
    hardship.killed.start_again(hardship.programs, Some(hardship.tap))?;
    sending.wait_percent(to, DRAIN_PERCENT)?;
    hardship.drained.terminate();
    let moved = from.wait(STEP, "having moved", |event| event["event"] == "reattached")?;
    report.gap(&format!("{}'s node 3 was drained (SIGTERM)", from.name), &moved);
    let transfer = sending.finish(from, to, hash)?;
    hardship.drained.wait_stopped()?;
    Ok(transfer)
}

/// A file from one to the other.
fn send(
    from: &mut Person<'_>,
    to: &mut Person<'_>,
    to_number: u64,
    path: &Path,
    hash: &blake3::Hash,
) -> anyhow::Result<Transfer> {
    Sending::begin(from, to, to_number, path)?.finish(from, to, hash)
}

/// A file under way.
struct Sending<'p> {
    path: &'p Path,
    begun: Instant,
    moving: Instant,
    /// The receiver's first word of it: a file too quick for progress is a file.
    first: serde_json::Value,
}

impl<'p> Sending<'p> {
    fn begin(
        from: &mut Person<'_>,
        to: &mut Person<'_>,
        to_number: u64,
        path: &'p Path,
    ) -> anyhow::Result<Sending<'p>> {
        let begun = Instant::now();
        from.line(&format!("/send \"{}\" to {to_number}", path.display()))?;
        let first = to.wait(FILE_STEP, "the file's beginning", |event| {
            event["event"] == "file_progress" || is_done(event, "receiving")
        })?;
        Ok(Sending { path, begun, moving: Instant::now(), first })
    }

    /// Until so much of it has arrived, but not all.
    fn wait_percent(&self, to: &mut Person<'_>, percent: u64) -> anyhow::Result<()> {
        let event = to.wait(FILE_STEP, "a part of the file", |event| {
            is_done(event, "receiving")
                || (event["event"] == "file_progress"
                    && event["done_bytes"].as_u64() >= Some(FILE_BYTES * percent / 100))
        })?;
        ensure!(!is_done(&event, "receiving"), "the file arrived before anything could happen to it");
        Ok(())
    }

    /// Until it is there; its BLAKE3 is taken here again, of what was sent and of what arrived.
    fn finish(
        self,
        from: &mut Person<'_>,
        to: &mut Person<'_>,
        hash: &blake3::Hash,
    ) -> anyhow::Result<Transfer> {
        let mut arrived = self.first;
        if !is_done(&arrived, "receiving") {
            arrived = to.wait(FILE_STEP, "the file", |event| is_done(event, "receiving"))?;
        }
        let (took, streamed) = (self.begun.elapsed(), self.moving.elapsed());
        from.wait(STEP, "the sender's word", |event| is_done(event, "sending"))?;
        let stored = Path::new(arrived["path"].as_str().context("file_done without a path")?);
        let arrived_hash = canary::hash_file(stored)?;
        let told = arrived["blake3"].as_str().unwrap_or_default();
        ensure!(
            arrived_hash == *hash && told == hash.to_hex().as_str(),
            "{} arrived as something else: BLAKE3 {hash} was sent, {arrived_hash} is there, {told} was told",
            self.path.display()
        );
        let (from, to) = (from.name.clone(), to.name.clone());
        Ok(Transfer { from, to, bytes: FILE_BYTES, took, streamed, hash: *hash })
    }
}

fn is_done(event: &serde_json::Value, direction: &str) -> bool {
    event["event"] == "file_done" && event["direction"] == direction
}

/// Shows that the search finds what is in the clear, and then that nothing else is.
fn search(
    canaries: &Canaries,
    taps: &[std::path::PathBuf],
    codes: &[&str],
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut found = canaries.search(&taps[0], codes)?;
    for tap in &taps[1..] {
        found = found.and(canaries.search(tap, codes)?);
    }
    ensure!(
        found.bytes > 2 * FILE_BYTES,
        "the taps hold {} bytes only: they have not seen the files",
        found.bytes
    );
    ensure!(
        found.planted > 0,
        "the search did not find the mark that endpoints tell in the clear: it would not find anything else either"
    );
    ensure!(found.leaked.is_empty(), "a node saw plain text: {}", found.leaked.join(", "));
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
