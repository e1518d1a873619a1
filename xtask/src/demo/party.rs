//! Who takes part: the node, and people at their own computers (a home folder each). What they do is lines written to
//! their program; what they see is its events.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::programs::Programs;
use super::{STEP, program};
use sealcast_process::{Hub, Process};

/// A running `relayd dev`.
pub(crate) struct Node<'a> {
    hub: &'a Hub,
    home: PathBuf,
    /// The mesh's folder, which all nodes share.
    state: PathBuf,
    number: u16,
    process: std::cell::RefCell<Process<'a>>,
    /// The invite it wrote.
    pub(crate) invite: PathBuf,
    /// The administrators' socket.
    pub(crate) admin_socket: PathBuf,
    /// The provider's e-mail address and password, at the first node.
    account: Option<(String, String)>,
    port: u16,
    trunk_port: u16,
}

impl<'a> Node<'a> {
    /// Starts the first node on a port that the system picks, and waits until it is ready. `log_level` is that of its
    /// log, `relayd-1.log` in the folder.
    pub(crate) fn start(
        hub: &'a Hub,
        programs: &Programs,
        folder: &Path,
        tap: &Path,
        log_level: &str,
    ) -> anyhow::Result<Node<'a>> {
        Node::start_numbered(hub, programs, folder, 1, tap, log_level)
    }

    /// The same for any node of the mesh; the first has to be there.
    pub(crate) fn start_numbered(
        hub: &'a Hub,
        programs: &Programs,
        folder: &Path,
        number: u16,
        tap: &Path,
        log_level: &str,
    ) -> anyhow::Result<Node<'a>> {
        let home = folder.join(format!("node-{number}"));
        fs::create_dir(&home)?;
        let state = folder.join("mesh");
        let mut command = dev(programs, &home, &state, number, [0, 0]);
        command.args(["--log-level", log_level]).arg("--tap").arg(tap);
        let (process, ready) = launch(hub, command, folder.join(format!("relayd-{number}.log")))?;
        let text = |value: &Value, name: &str| {
            value
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("relayd's ready line lacks {name}: {ready}"))
        };
        let account = match number {
            1 => Some((text(&ready["account"], "account")?, text(&ready["password"], "password")?)),
            _ => None,
        };
        let port = ready["ports"][0].as_u64().and_then(|port| u16::try_from(port).ok());
        let trunk = ready["trunk"].as_str().and_then(|trunk| trunk.rsplit_once(':')?.1.parse().ok());
        Ok(Node {
            invite: PathBuf::from(text(&ready["invite"], "invite")?),
            admin_socket: PathBuf::from(text(&ready["admin_socket"], "admin_socket")?),
            account,
            port: port.with_context(|| format!("relayd's ready line lacks its port: {ready}"))?,
            trunk_port: trunk.with_context(|| format!("relayd's ready line lacks its trunk: {ready}"))?,
            process: std::cell::RefCell::new(process),
            number,
            hub,
            home,
            state,
        })
    }

    /// Ends it politely.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        self.terminate();
        self.wait_stopped()
    }

    /// Asks it to go out of service and end.
    pub(crate) fn terminate(&self) {
        self.process.borrow().terminate();
    }

    /// Until it has ended, as asked.
    pub(crate) fn wait_stopped(&self) -> anyhow::Result<()> {
        self.process.borrow_mut().wait_success(STEP)
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        self.process.borrow_mut().kill()
    }

    /// Starts it anew where it was: on its state and its ports, with a log of its own.
    pub(crate) fn start_again(&self, programs: &Programs, tap: Option<&Path>) -> anyhow::Result<()> {
        let mut command = dev(programs, &self.home, &self.state, self.number, [self.port, self.trunk_port]);
        if let Some(tap) = tap {
            command.arg("--tap").arg(tap);
        }
        let (process, _) = launch(self.hub, command, self.home.join("relayd-again.log"))?;
        *self.process.borrow_mut() = process;
        Ok(())
    }

    /// Its process's id.
    pub(crate) fn id(&self) -> u32 {
        self.process.borrow().id()
    }

    /// The provider's e-mail address; of the first node alone.
    pub(crate) fn account(&self) -> &str {
        self.account.as_ref().map_or("", |(account, _)| account)
    }

    /// Where endpoints reach it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// `relayd dev` for one node, with ports for endpoints and for other nodes.
fn dev(
    programs: &Programs,
    home: &Path,
    state: &Path,
    number: u16,
    [port, trunk_port]: [u16; 2],
) -> std::process::Command {
    let mut command = program(&programs.relayd, home);
    command.args(["dev", "--json", "--node", &number.to_string(), "--port", &port.to_string()]);
    command.args(["--trunk-port", &trunk_port.to_string(), "--state"]).arg(state);
    command
}

/// A started relayd, and the line in which it says that it is ready.
fn launch(hub: &Hub, command: std::process::Command, log: PathBuf) -> anyhow::Result<(Process<'_>, Value)> {
    let process = hub.start("relayd", command, log)?;
    let Some(line) = process.next(Some(Instant::now() + STEP)).context("relayd is not ready")? else {
        bail!("relayd ended before it was ready{}", process.talk());
    };
    let ready =
        serde_json::from_str(&line).with_context(|| format!("relayd's first line is no JSON: {line}"))?;
    Ok((process, ready))
}

/// What all people need.
pub(crate) struct Party<'a, 'n> {
    pub(crate) hub: &'a Hub,
    pub(crate) programs: &'a Programs,
    pub(crate) folder: &'a Path,
    pub(crate) node: &'n Node<'a>,
    /// What the programs tell relays in the clear.
    pub(crate) software: String,
}

impl<'a> Party<'a, '_> {
    /// Logs in at this person's computer.
    pub(crate) fn log_in(&self, who: &str) -> anyhow::Result<()> {
        let mut command = self.sealcast(who)?;
        let (account, password) = self.node.account.as_ref().context("this node has no account")?;
        command.args(["login", account, "--password-stdin"]);
        let mut process =
            self.hub.start("sealcast login", command, self.folder.join(format!("{who}-login.log")))?;
        process.line(password)?;
        process.close_input();
        process.wait_success(STEP)
    }

    /// Opens a session.
    pub(crate) fn host(&self, who: &str, name: &str) -> anyhow::Result<Person<'a>> {
        self.begin(Start { who, name, verb: "host", accept: "all", code: None, at: None })
    }

    /// Opens one, attached to this node first.
    pub(crate) fn host_at(&self, node: &Node<'_>, who: &str, name: &str) -> anyhow::Result<Person<'a>> {
        self.begin(Start { who, name, verb: "host", accept: "all", code: None, at: Some(node.address()) })
    }

    /// Opens one in which nobody is admitted unless the host says so.
    pub(crate) fn host_asking(&self, who: &str, name: &str) -> anyhow::Result<Person<'a>> {
        self.begin(Start { who, name, verb: "host", accept: "files", code: None, at: None })
    }

    /// Joins one. The code goes in by the first line, not by the list of processes.
    pub(crate) fn join(&self, who: &str, name: &str, code: &str) -> anyhow::Result<Person<'a>> {
        self.begin(Start { who, name, verb: "join", accept: "all", code: Some(code), at: None })
    }

    /// Joins one, attached to this node first.
    pub(crate) fn join_at(
        &self,
        node: &Node<'_>,
        who: &str,
        name: &str,
        code: &str,
    ) -> anyhow::Result<Person<'a>> {
        let at = Some(node.address());
        self.begin(Start { who, name, verb: "join", accept: "all", code: Some(code), at })
    }

    /// Tries to join one, whatever comes of it.
    pub(crate) fn try_join(&self, who: &str, name: &str, code: &str) -> anyhow::Result<Person<'a>> {
        self.open(&Start { who, name, verb: "join", accept: "all", code: Some(code), at: None })
    }

    fn begin(&self, start: Start<'_>) -> anyhow::Result<Person<'a>> {
        let mut person = self.open(&start)?;
        let session = person.wait(STEP, "the session", |event| event["event"] == "session")?;
        person.number = session["number"].as_u64().context("a session without a number")?;
        Ok(person)
    }

    fn open(&self, start: &Start<'_>) -> anyhow::Result<Person<'a>> {
        let Start { who, name, verb, accept, .. } = start;
        let mut command = self.sealcast(who)?;
        let downloads = self.folder.join(who).join("downloads");
        fs::create_dir_all(&downloads)?;
        command.args([verb, "--json", "--accept", accept, "--name", name, "--download-dir"]).arg(downloads);
        if let Some(address) = &start.at {
            command.args(["--node", address]);
        }
        let process = self.hub.start(
            &format!("sealcast {verb} ({name})"),
            command,
            self.folder.join(format!("{who}.log")),
        )?;
        let mut person = Person { process, name: (*name).to_owned(), number: 0, seen: Vec::new() };
        if let Some(code) = start.code {
            person.line(code)?;
        }
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

/// How somebody begins.
struct Start<'s> {
    who: &'s str,
    name: &'s str,
    verb: &'s str,
    accept: &'s str,
    code: Option<&'s str>,
    /// The node to attach to first, instead of where the broker says.
    at: Option<String>,
}

/// Somebody in the session.
pub(crate) struct Person<'a> {
    process: Process<'a>,
    pub(crate) name: String,
    pub(crate) number: u64,
    /// Events that nobody has asked for yet, but may.
    seen: Vec<Value>,
}

impl Person<'_> {
    /// Types a line.
    pub(crate) fn line(&mut self, line: &str) -> anyhow::Result<()> {
        self.process.line(line)
    }

    /// The first event not yet waited for that is as wanted. A session that ends, a refused command or a failed file
    /// ends the wait.
    pub(crate) fn wait(
        &mut self,
        within: Duration,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        self.search(Instant::now() + within, wanted)
            .with_context(|| format!("{} waits for {what}{}", self.name, self.process.talk()))
    }

    /// A code for this role.
    pub(crate) fn code(&mut self, role: &str) -> anyhow::Result<String> {
        let event = self.wait(STEP, "a code", |event| event["event"] == "code" && event["role"] == role)?;
        Ok(event["code"].as_str().context("a code event without a code")?.to_owned())
    }

    /// Until the code that was shown last can no longer be used, however long that takes and whatever else happens.
    pub(crate) fn wait_code_gone(&mut self, role: &str) -> anyhow::Result<()> {
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
    pub(crate) fn wait_members(&mut self, count: usize) -> anyhow::Result<()> {
        self.wait(STEP, "the members", |event| {
            event["event"] == "members"
                && event["members"].as_array().is_some_and(|members| members.len() == count)
        })?;
        Ok(())
    }

    /// The session's end, and the program's.
    pub(crate) fn wait_end(&mut self) -> anyhow::Result<()> {
        let ended = self.wait(STEP, "the end", |event| event["event"] == "ended")?;
        if ended["reason"] != "ended" && ended["reason"] != "left" {
            bail!("{}'s session ended otherwise: {ended}", self.name);
        }
        self.process.wait_success(STEP)
    }

    /// The session's end for this reason, and the program's with this exit code; the sentence that it gave.
    pub(crate) fn wait_end_as(&mut self, reason: &str, code: i32) -> anyhow::Result<String> {
        let ended = self.wait(STEP, "the end", |event| event["event"] == "ended")?;
        if ended["reason"] != reason {
            bail!("{}'s session ended otherwise than {reason}: {ended}", self.name);
        }
        self.process.wait_code(STEP, code)?;
        Ok(ended["text"].as_str().unwrap_or_default().to_owned())
    }

    /// The program's end with this exit code before a session began; what it said on standard error.
    pub(crate) fn wait_refusal(&mut self, code: i32) -> anyhow::Result<String> {
        self.process.wait_code(STEP, code)?;
        Ok(self.process.talk())
    }

    /// Kills the program as a power cut would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
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
