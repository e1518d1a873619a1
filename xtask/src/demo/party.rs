//! Who takes part: the node, and people at their own computers (a home folder each). What they do is lines written to
//! their program; what they see is its events.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::process::{Hub, Process};
use super::programs::Programs;
use super::{STEP, program};

/// A running `relayd dev`.
pub(super) struct Node<'a> {
    process: std::cell::RefCell<Process<'a>>,
    /// The invite it wrote.
    pub(super) invite: PathBuf,
    account: String,
    password: String,
}

impl<'a> Node<'a> {
    /// Starts the node on a port that the system picks, and waits until it is ready.
    pub(super) fn start(
        hub: &'a Hub,
        programs: &Programs,
        folder: &Path,
        tap: &Path,
    ) -> anyhow::Result<Node<'a>> {
        let home = folder.join("node");
        fs::create_dir(&home)?;
        let mut command = program(&programs.relayd, &home);
        command
            .args(["dev", "--json", "--port", "0", "--state"])
            .arg(home.join("state"))
            .arg("--tap")
            .arg(tap);
        let process = hub.start("relayd", command, folder.join("relayd.log"))?;
        let Some(line) = process.next(Some(Instant::now() + STEP)).context("relayd is not ready")? else {
            bail!("relayd ended before it was ready{}", process.talk());
        };
        let ready: Value =
            serde_json::from_str(&line).with_context(|| format!("relayd's first line is no JSON: {line}"))?;
        let text = |name: &str| {
            ready[name]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("relayd's ready line lacks {name}: {line}"))
        };
        Ok(Node {
            invite: PathBuf::from(text("invite")?),
            account: text("account")?,
            password: text("password")?,
            process: std::cell::RefCell::new(process),
        })
    }

    /// Ends it politely.
    pub(super) fn stop(&self) -> anyhow::Result<()> {
        let mut process = self.process.borrow_mut();
        process.terminate();
        process.wait_success(STEP)
    }
}

/// What all people need.
pub(super) struct Party<'a, 'n> {
    pub(super) hub: &'a Hub,
    pub(super) programs: &'a Programs,
    pub(super) folder: &'a Path,
    pub(super) node: &'n Node<'a>,
    /// What the programs tell relays in the clear.
    pub(super) software: String,
}

impl<'a> Party<'a, '_> {
    /// Logs in at this person's computer.
    pub(super) fn log_in(&self, who: &str) -> anyhow::Result<()> {
        let mut command = self.sealcast(who)?;
        command.args(["login", &self.node.account, "--password-stdin"]);
        let mut process =
            self.hub.start("sealcast login", command, self.folder.join(format!("{who}-login.log")))?;
        process.line(&self.node.password)?;
        process.close_input();
        process.wait_success(STEP)
    }

    /// Opens a session.
    pub(super) fn host(&self, who: &str, name: &str) -> anyhow::Result<Person<'a>> {
        self.begin(who, name, "host", None)
    }

    /// Joins one. The code goes in by the first line, not by the list of processes.
    pub(super) fn join(&self, who: &str, name: &str, code: &str) -> anyhow::Result<Person<'a>> {
        self.begin(who, name, "join", Some(code))
    }

    fn begin(&self, who: &str, name: &str, verb: &str, code: Option<&str>) -> anyhow::Result<Person<'a>> {
        let mut command = self.sealcast(who)?;
        let downloads = self.folder.join(who).join("downloads");
        fs::create_dir_all(&downloads)?;
        command.args([verb, "--json", "--accept", "all", "--name", name, "--download-dir"]).arg(downloads);
        let process = self.hub.start(
            &format!("sealcast {verb} ({name})"),
            command,
            self.folder.join(format!("{who}.log")),
        )?;
        let mut person = Person { process, name: name.to_owned(), number: 0, seen: Vec::new() };
        if let Some(code) = code {
            person.line(code)?;
        }
        let session = person.wait(STEP, "the session", |event| event["event"] == "session")?;
        person.number = session["number"].as_u64().context("a session without a number")?;
        Ok(person)
    }

    fn sealcast(&self, who: &str) -> anyhow::Result<std::process::Command> {
        let home = self.folder.join(who);
        fs::create_dir_all(&home)?;
        let mut command = program(&self.programs.sealcast, &home);
        command.arg("--invite").arg(&self.node.invite).args(["--software", &self.software]);
        Ok(command)
    }
}

/// Somebody in the session.
pub(super) struct Person<'a> {
    process: Process<'a>,
    pub(super) name: String,
    pub(super) number: u64,
    /// Events that nobody has asked for yet, but may.
    seen: Vec<Value>,
}

impl Person<'_> {
    /// Types a line.
    pub(super) fn line(&mut self, line: &str) -> anyhow::Result<()> {
        self.process.line(line)
    }

    /// The first event not yet waited for that is as wanted. A session that ends, a refused command or a failed file
    /// ends the wait.
    pub(super) fn wait(
        &mut self,
        within: Duration,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        self.search(Instant::now() + within, wanted)
            .with_context(|| format!("{} waits for {what}{}", self.name, self.process.talk()))
    }

    /// A code for this role.
    pub(super) fn code(&mut self, role: &str) -> anyhow::Result<String> {
        let event = self.wait(STEP, "a code", |event| event["event"] == "code" && event["role"] == role)?;
        Ok(event["code"].as_str().context("a code event without a code")?.to_owned())
    }

    /// Until the code that was shown last can no longer be used, however long that takes and whatever else happens.
    pub(super) fn wait_code_gone(&mut self, role: &str) -> anyhow::Result<()> {
        // What is remembered is about codes before.
        self.seen.clear();
        loop {
            let event = self.next(None)?;
            match event["event"].as_str() {
                Some("code_ended") if event["role"] == role => return Ok(()),
                Some("ended") => bail!("{} was told: {event}", self.name),
                _ => {}
            }
        }
    }

    /// Until there are so many members.
    pub(super) fn wait_members(&mut self, count: usize) -> anyhow::Result<()> {
        self.wait(STEP, "the members", |event| {
            event["event"] == "members"
                && event["members"].as_array().is_some_and(|members| members.len() == count)
        })?;
        Ok(())
    }

    /// The session's end, and the program's.
    pub(super) fn wait_end(&mut self) -> anyhow::Result<()> {
        let ended = self.wait(STEP, "the end", |event| event["event"] == "ended")?;
        if ended["reason"] != "ended" && ended["reason"] != "left" {
            bail!("{}'s session ended otherwise: {ended}", self.name);
        }
        self.process.wait_success(STEP)
    }

    fn search(&mut self, deadline: Instant, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        if let Some(at) = self.seen.iter().position(&wanted) {
            return Ok(self.seen.remove(at));
        }
        loop {
            let event = self.next(Some(deadline))?;
            if wanted(&event) {
                return Ok(event);
            }
            match event["event"].as_str() {
                Some("ended" | "refused" | "file_failed" | "file_refused" | "wrong_code") => {
                    bail!("{} was told: {event}", self.name)
                }
                // Progress is a stream that is asked for only while it flows.
                Some("file_progress") => {}
                _ => self.seen.push(event),
            }
        }
    }

    fn next(&mut self, deadline: Option<Instant>) -> anyhow::Result<Value> {
        let Some(line) = self.process.next(deadline)? else {
            bail!("{} ended{}", self.name, self.process.talk());
        };
        serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))
    }
}
