//! The program as a process: what it says and how it exits when there is no mesh to talk to.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the program in an empty home.
fn sealcast(home: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sealcast"))
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that has ended already does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn talk(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// An invite to a mesh whose only node has a closed port.
fn invite_to_nobody(folder: &Path) -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = parameters.self_signed(&key).unwrap().pem();
    let path = folder.join("invite.toml");
    let text = format!(
        "version = 1\nmesh = \"nobody\"\nca = \"\"\"\n{ca}\"\"\"\n[[nodes]]\nhost = \"127.0.0.1\"\nports = [{port}]\n"
    );
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn without_an_invite_it_says_where_it_looked() {
    let home = tempfile::tempdir().unwrap();
    for command in
        [&["host"][..], &["join", "483-920-117 lucky-abandon-zoo"], &["logout"], &["login", "a@b.example"]]
    {
        let output = sealcast(home.path(), command, "");
        assert_eq!(output.status.code(), Some(3), "{command:?}: {}", talk(&output));
        assert!(talk(&output).contains(".config/sealcast/invite.toml"), "{}", talk(&output));
        assert!(talk(&output).contains("sealcast-invite.toml"), "{}", talk(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn wrong_usage_is_told_before_anything_is_done() {
    let home = tempfile::tempdir().unwrap();
    for command in [
        &[][..],
        &["dance"],
        &["host", "--accept", "view"],
        &["join", "not a code"],
        &["login", "--password-stdin"],
        &["completions", "klingon"],
    ] {
        let output = sealcast(home.path(), command, "");
        assert_eq!(output.status.code(), Some(2), "{command:?}: {}", talk(&output));
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn help_and_completions_go_to_standard_output() {
    let home = tempfile::tempdir().unwrap();
    for command in [&["--help"][..], &["join", "--help"], &["completions", "bash"], &["--version"]] {
        let output = sealcast(home.path(), command, "");
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        assert!(String::from_utf8(output.stdout).unwrap().contains("sealcast"), "{command:?}");
    }
}

#[test]
fn a_provider_who_is_not_logged_in_is_told_how() {
    let home = tempfile::tempdir().unwrap();
    let invite = invite_to_nobody(home.path());
    let output = sealcast(home.path(), &["--invite", &invite, "host"], "");
    assert_eq!(output.status.code(), Some(4), "{}", talk(&output));
    assert!(talk(&output).contains("sealcast login"), "{}", talk(&output));
    let output = sealcast(home.path(), &["--invite", &invite, "logout"], "");
    assert_eq!(output.status.code(), Some(0), "{}", talk(&output));
}

#[test]
fn a_mesh_that_cannot_be_reached_is_told_as_such() {
    let home = tempfile::tempdir().unwrap();
    let invite = invite_to_nobody(home.path());
    let login =
        sealcast(home.path(), &["--invite", &invite, "login", "a@b.example", "--password-stdin"], "secret\n");
    assert_eq!(login.status.code(), Some(5), "{}", talk(&login));
    let join =
        sealcast(home.path(), &["--invite", &invite, "join", "--json"], "483-920-117 lucky-abandon-zoo\n");
    assert_eq!(join.status.code(), Some(5), "{}", talk(&join));
    assert!(!talk(&join).contains("abandon"), "the code is a secret: {}", talk(&join));
}

#[test]
fn a_script_has_to_give_a_code_and_a_password() {
    let home = tempfile::tempdir().unwrap();
    let invite = invite_to_nobody(home.path());
    for (command, input) in [
        (&["join"][..], ""),
        (&["join"], "nonsense\n"),
        (&["login", "a@b.example"], "secret\n"),
        (&["login", "a@b.example", "--password-stdin"], "\n"),
    ] {
        let arguments: Vec<&str> = ["--invite", &invite].into_iter().chain(command.iter().copied()).collect();
        let output = sealcast(home.path(), &arguments, input);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {}", talk(&output));
    }
}
