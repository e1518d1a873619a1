//! Commands on files: what fails is made smaller and plays again, a journal replays, an export becomes a scenario, and a
//! result's path is tried before the work.

use std::path::Path;
use std::time::Duration;

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin_cmd;
use netsim::sim::{Plan, World, node};
use proto_spec::export::{EXPORT_VERSION, ExportLink, ExportLoad, ExportNode, ExportRole, MeshExport};
use proto_spec::lsa::DrainState;

/// The program in a folder of its own; what it says on stdout, and on stderr.
fn netsim(folder: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let mut command: Command = cargo_bin_cmd!("netsim");
    let output = command.current_dir(folder).args(arguments).output().unwrap();
    let (out, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{told}");
    (out, told)
}

/// The command that a result says to run.
fn again(out: &str) -> Vec<&str> {
    out.lines().find_map(|line| line.strip_prefix("again: netsim ")).unwrap().split(' ').collect()
}

fn first_violation(out: &str) -> &str {
    out.lines().find(|line| line.starts_with("violated: ")).unwrap()
}

/// A mesh and a scenario: what is left fails as it did when it was found.
#[test]
fn what_is_made_smaller_fails_again() {
    let folder = tempfile::tempdir().unwrap();
    for (seed, bug, code) in [("1", "forget-member", 4), ("3", "deliver-twice", 3)] {
        let shrink = ["shrink", seed, "--bug", bug, "--tries", "40"];
        let (out, _) = netsim(folder.path(), &shrink, 0);
        assert!(out.contains(" tries; "), "{out}");
        let (played, _) = netsim(folder.path(), &again(&out), code);
        assert_eq!(first_violation(&played), first_violation(&out));
        assert!(folder.path().join(format!("seed-{seed}.toml")).exists());
    }
    let (_, told) = netsim(folder.path(), &["shrink", "1"], 1);
    assert!(told.contains("seed 1 holds"), "{told}");
    let (_, told) = netsim(folder.path(), &["replay", "seed-3.toml"], 1);
    assert!(told.contains("netsim run"), "{told}");
}

fn journal() -> Vec<u8> {
    let mut world = World::started(Plan::new(5, 3));
    world.hosts.get_mut(&node(2)).unwrap().journal = Some(Default::default());
    world.run_for(Duration::from_secs(5));
    world.kill(node(3));
    world.run_for(Duration::from_secs(15));
    world.hosts.get_mut(&node(2)).unwrap().journal.take().unwrap().1
}

#[test]
fn a_journal_replays_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let (path, whole) = (folder.path().join("journal-0"), journal());
    std::fs::write(&path, &whole).unwrap();
    let (out, _) = netsim(folder.path(), &["replay", "journal-0"], 0);
    assert!(out.starts_with("journal: node 2, ") && out.contains("\nall "), "{out}");
    for part in ["turns gave the recorded outputs", "neighbors: 1 ", "LSDB: ", "message ", "send "] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (_, told) = netsim(folder.path(), &["replay", "journal-0", "--trace"], 0);
    assert!(told.contains("turn 0: "), "{told}");
    let mut flipped = whole.clone();
    let middle = flipped.len() - 40;
    flipped[middle] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    assert!(netsim(folder.path(), &["replay", "journal-0"], 1).1.contains("is damaged"));
    let mut older = whole;
    older[4] = b'1';
    std::fs::write(&path, &older).unwrap();
    assert!(netsim(folder.path(), &["replay", "journal-0"], 1).1.contains("the version that wrote it"));
    assert!(netsim(folder.path(), &["replay", "nowhere"], 1).1.contains("give a seed"));
}

#[test]
fn an_export_becomes_a_scenario() {
    let folder = tempfile::tempdir().unwrap();
    let exported = |number: u16| ExportNode {
        number,
        roles: vec![ExportRole::Broker, ExportRole::Gateway],
        drain: DrainState::Serving,
        region: "north".to_owned(),
        failure_domain: format!("rack {number}"),
        capacity: 100,
        software: "relayd 0.1.0".to_owned(),
        load: Some(ExportLoad { attachments: 2, queue_bytes: 0, forwarded_bytes: 0, full: false, age_ms: 1 }),
    };
    let export = MeshExport {
        version: EXPORT_VERSION,
        mesh: "desk".to_owned(),
        taken_ms: 1,
        taken_by: 1,
        nodes: vec![exported(1), exported(2)],
        links: vec![ExportLink { a: 1, b: 2, rtt_us: 7_000 }],
    };
    std::fs::write(folder.path().join("mesh.json"), export.to_text()).unwrap();
    netsim(folder.path(), &["import", "mesh.json", "--name", "ours", "-o", "ours.toml"], 0);
    let (out, _) = netsim(folder.path(), &["run", "ours.toml"], 0);
    assert!(out.starts_with("ours: seed 1, ") && out.contains("all held"), "{out}");
    let (text, told) = netsim(folder.path(), &["import", "mesh.json", "--arrivals"], 0);
    assert!(text.contains("[arrivals]") && told.contains("users are where"), "{text}{told}");
    std::fs::write(
        folder.path().join("newer.json"),
        export.to_text().replace("\"version\": 1", "\"version\": 2"),
    )
    .unwrap();
    let (_, told) = netsim(folder.path(), &["import", "newer.json"], 1);
    assert!(told.contains("newer.json: ") && told.contains("version 2"), "{told}");
}

#[test]
fn policies_are_played_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["run", "three-nodes", "--policy", "round-robin,placement"];
    let (out, _) = netsim(folder.path(), &run, 0);
    let firsts: Vec<&str> = out.lines().take(2).map(|line| line.split(": seed").next().unwrap()).collect();
    assert_eq!(firsts, ["round-robin: three-nodes", "placement: three-nodes"]);
    assert!(out.contains("load_over_mean_percent") && out.ends_with("all held\n"), "{out}");
    let (_, told) = netsim(folder.path(), &["run", "kill-one-of-three", "--policy", "all"], 1);
    assert!(told.contains("leave out --policy"), "{told}");
}

/// Before the start: neither an hour's work nor a file is lost.
#[test]
fn paths_and_memory_are_looked_at_first() {
    let folder = tempfile::tempdir().unwrap();
    for command in [
        &["run", "three-nodes", "--json", "no/such/folder.json"][..],
        &["compare", "stale-load", "--json", "."],
    ] {
        let (out, told) = netsim(folder.path(), command, 1);
        assert!(out.is_empty() && told.contains("name a file that can be written"), "{told}");
        assert!(told.contains("of memory"), "{told}");
    }
    std::fs::write(folder.path().join("report.json"), "x".repeat(100_000)).unwrap();
    netsim(folder.path(), &["run", "three-nodes", "--json", "report.json"], 0);
    let report = std::fs::read_to_string(folder.path().join("report.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&report).unwrap()["verdict"], "held");
}
