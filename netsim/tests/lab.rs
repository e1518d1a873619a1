//! The lab as a program: what it refuses, and that nothing outlives it. Its programs are scripts here, which say their
//! process ids; scenarios with the real ones are `cargo xtask test`'s, as is the one test here that needs them.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // real programs run in real time; a test may fail

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use netsim::state::EndState;
use rustix::process::{Pid, Signal, kill_process};

const LONG: Duration = Duration::from_secs(60);

/// Programs that do what the lab needs until its nodes run, and nodes that never get ready.
fn programs(folder: &Path) {
    let script = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let pids = folder.join("pids");
    script("relayctl", "exit 0");
    script("relayd", &format!("sleep 1000 & echo $$ $! >> {}; wait", pids.display()));
    script("sealcast-driver", "exit 1");
}

fn lab(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netsim"));
    command.args(["lab", "three-nodes", "--programs"]).arg(folder).env("TMPDIR", folder);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn wait<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "no {what}");
        std::thread::yield_now();
    }
}

/// The process ids of three nodes, and of what they started.
fn started(folder: &Path) -> Vec<(i32, i32)> {
    wait("three nodes", || {
        let text = fs::read_to_string(folder.join("pids")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| {
            let (own, child) = line.split_once(' ')?;
            Some((own.parse().ok()?, child.parse().ok()?))
        });
        let all: Vec<(i32, i32)> = lines.collect();
        (all.len() == 3).then_some(all)
    })
}

/// Gone, or a zombie that somebody has yet to reap, which holds nothing.
fn gone(id: i32) -> bool {
    fs::read_to_string(format!("/proc/{id}/stat")).map_or(true, |text| text.contains(") Z "))
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

#[test]
fn an_interrupted_lab_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    programs(folder.path());
    let mut lab = lab(folder.path()).spawn().unwrap();
    let nodes = started(folder.path());
    signal(&lab, Signal::INT);
    assert_eq!(lab.wait().unwrap().code(), Some(130));
    for (node, its_child) in nodes {
        wait("end of all", || (gone(node) && gone(its_child)).then_some(()));
    }
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("sealcast-lab"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn nodes_of_a_killed_lab_die_with_it() {
    let folder = tempfile::tempdir().unwrap();
    programs(folder.path());
    let mut lab = lab(folder.path()).spawn().unwrap();
    let nodes = started(folder.path());
    signal(&lab, Signal::KILL);
    lab.wait().unwrap();
    for (node, its_child) in nodes {
        wait("end of a node", || gone(node).then_some(()));
        // What a node itself starts is the node's to end, and relayd starts nothing.
        let _ = kill_process(Pid::from_raw(its_child).unwrap(), Signal::KILL);
    }
}

#[test]
fn refusals_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_netsim")).arg("lab").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let empty = folder.path().to_str().unwrap();
    let (code, text) = run(&["three-nodes", "--programs", empty]);
    assert!(
        code == Some(1) && text.contains("cargo build -p relayd -p relayctl -p sealcast-driver"),
        "{text}"
    );
    // No root, or none of the kernel's tools.
    programs(folder.path());
    let mut bare = lab(folder.path());
    bare.arg("--netns").env("PATH", "").stderr(Stdio::piped());
    let output = bare.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && text.contains("--netns needs"), "{text}");
    let (code, text) = run(&["no-such-scenario"]);
    assert!(code == Some(1) && text.contains("netsim list"), "{text}");
    // What exists in the simulator alone is refused before anything starts.
    let path = folder.path().join("faults.toml");
    let three = include_str!("../scenarios/three-nodes.toml");
    let faults = [
        ("clock", "offset_ms = 5", "turns clocks"),
        ("slow", "times = 10", "makes nodes slow"),
        ("fast", "", "makes nodes slow"),
        ("lie", "load_percent = 0", "makes nodes lie"),
    ];
    for (kind, keys, why) in faults {
        let fault = format!("[[fault]]\nat_ms = 1\nkind = \"{kind}\"\nnode = 1\n{keys}\n\n[checks]");
        fs::write(&path, three.replace("[checks]", &fault)).unwrap();
        let (code, text) = run(&[path.to_str().unwrap()]);
        assert!(code == Some(1) && text.contains(why) && text.contains("netsim run"), "{text}");
    }
    fs::write(&path, three.replace("broker = true", "broker = true\nservice_us = 50")).unwrap();
    let (code, text) = run(&[path.to_str().unwrap()]);
    assert!(code == Some(1) && text.contains("remove service_us"), "{text}");
}

/// The same scenario in both worlds ends in the same placement, routes and egress sets.
#[test]
#[ignore = "plays real programs for a minute: `cargo xtask lab` builds and runs them"]
fn the_lab_decides_as_the_simulator_does() {
    let folder = tempfile::tempdir().unwrap();
    let end = |how: &str, seed: &str| -> EndState {
        let path = folder.path().join(format!("{how}-{seed}.json"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_netsim"));
        command.args([how, "twin", "--seed", seed, "--state"]).arg(&path);
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{how}: {told}\n{}", String::from_utf8_lossy(&output.stdout));
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap()
    };
    let (simulated, played) = (end("run", "1"), end("lab", "1"));
    assert_eq!(simulated.placement.len(), 9);
    assert_eq!(played, simulated);
}
