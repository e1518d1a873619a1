//! Who takes part: `sealcast` once for each endpoint, each with a home folder of its own. What they do is lines written
//! to their program; what they tell is its events (docs/EVENTS.md).

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::process::{Happening, Hub, Process};
use super::programs::Programs;
use super::proxy::{Network, Party};

/// How long a login may take: one hash of a password, on a busy machine.
const LOGIN: Duration = Duration::from_secs(60);
/// What a program keeps of our own environment: one user's settings must not reach all.
const KEPT: [&str; 3] = ["PATH", "LANG", "TMPDIR"];

/// What somebody told, as far as the lab cares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// Takes part under this number.
    Session {
        /// The session's id, hexadecimal.
        id: String,
        /// The own number.
        number: u64,
    },
    /// A code for one more.
    Code {
        /// Words and digits.
        code: String,
    },
    /// What it is: `connecting`, `lobby`, `awaiting_consent`, `member` or `reconnecting`.
    State(String),
    /// So many members.
    Members(usize),
    /// Somebody said this.
    Chat {
        /// Whose number.
        from: u64,
        /// What.
        text: String,
    },
    /// A file has come, or has gone to all.
    File {
        /// Its name.
        name: String,
        /// Whether it came.
        received: bool,
    },
    /// A file did not come, or did not go.
    FileFailed(String),
    /// Attached anew.
    Reattached {
        /// Cut off for so long.
        gap: Duration,
        /// In which way.
        how: String,
        /// Where, if it is told.
        node: Option<SocketAddr>,
    },
    /// What was asked for cannot be.
    Refused(String),
    /// It is over: reason and sentence.
    Ended(String),
    /// The program is gone.
    Gone(String),
}

/// Everybody.
#[derive(Debug)]
pub struct People<'h> {
    hub: &'h Hub,
    programs: &'h Programs,
    folder: PathBuf,
    /// The home of somebody who is logged in, if anybody is.
    logged_in: Option<PathBuf>,
    persons: Vec<Person<'h>>,
    by_process: BTreeMap<u32, usize>,
}

#[derive(Debug)]
struct Person<'h> {
    name: String,
    invite: PathBuf,
    line: usize,
    process: Option<Process<'h>>,
    starts: usize,
}

impl<'h> People<'h> {
    /// Nobody yet; homes are made in `folder`.
    pub fn new(hub: &'h Hub, programs: &'h Programs, folder: &Path) -> People<'h> {
        People {
            hub,
            programs,
            folder: folder.to_owned(),
            logged_in: None,
            persons: Vec::new(),
            by_process: BTreeMap::new(),
        }
    }

    /// Logs in once, for all who are to be logged in.
    ///
    /// # Errors
    /// What the program said.
    pub fn log_in(&mut self, invite: &Path, account: &str, password: &str) -> anyhow::Result<()> {
        let home = self.folder.join("login");
        let mut command = self.program(invite, &home)?;
        command.args(["login", account, "--password-stdin"]);
        let mut process = self.hub.start("sealcast login", command, self.folder.join("login.log"))?;
        process.line(password)?;
        process.close_input();
        process.wait_success(LOGIN)?;
        self.logged_in = Some(home);
        Ok(())
    }

    /// One more, with this invite, behind this line; who it is from now on.
    pub fn add(&mut self, name: &str, invite: &Path, line: usize) -> usize {
        let invite = invite.to_owned();
        self.persons.push(Person { name: name.to_owned(), invite, line, process: None, starts: 0 });
        self.persons.len() - 1
    }

    /// Opens a session, and asks for a code for this role.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn host(&mut self, who: usize, network: &Network, code_for: &str) -> anyhow::Result<()> {
        self.begin(who, network, &["host", "--code-role", code_for], true).map(drop)
    }

    /// Joins a session. The code goes in by the first line, not by the list of processes.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn join(&mut self, who: usize, network: &Network, code: &str, provider: bool) -> anyhow::Result<()> {
        self.begin(who, network, &["join"], provider)?;
        self.command(who, code)
    }

    /// Asks for a code for one more.
    ///
    /// # Errors
    /// When the program is gone.
    pub fn invite(&mut self, who: usize, role: &str) -> anyhow::Result<()> {
        self.command(who, &format!("/invite {role}"))
    }

    /// Says a line to everybody.
    ///
    /// # Errors
    /// When the program is gone.
    pub fn say(&mut self, who: usize, text: &str) -> anyhow::Result<()> {
        self.command(who, &format!("/say {text}"))
    }

    /// Offers a file to everybody.
    ///
    /// # Errors
    /// When the program is gone.
    pub fn send(&mut self, who: usize, file: &Path) -> anyhow::Result<()> {
        self.command(who, &format!("/send {}", file.display()))
    }

    /// What a happening means; nothing if it is nobody's.
    pub fn hear(&mut self, happening: &Happening) -> Option<(usize, Instant, Told)> {
        match happening {
            Happening::Line { process, at, text } => {
                let who = *self.by_process.get(process)?;
                Some((who, *at, told(text)?))
            }
            Happening::Closed { process } => {
                let who = self.by_process.remove(process)?;
                let talk = self.persons[who].process.take().map(|process| process.talk());
                Some((who, Instant::now(), Told::Gone(talk.unwrap_or_default())))
            }
        }
    }

    /// What somebody is called.
    pub fn name(&self, who: usize) -> &str {
        &self.persons[who].name
    }

    /// The process that plays somebody.
    pub fn process(&self, who: usize) -> Option<u32> {
        self.persons[who].process.as_ref().map(Process::id)
    }

    fn begin(&mut self, who: usize, network: &Network, verb: &[&str], provider: bool) -> anyhow::Result<()> {
        let person = &self.persons[who];
        let (name, invite, line) = (person.name.clone(), person.invite.clone(), person.line);
        let home = self.folder.join(&name);
        if provider && person.starts == 0 {
            let from = self.logged_in.as_ref().context("nobody has logged in")?;
            copy_folder(from, &home)?;
        }
        let downloads = home.join("downloads");
        fs::create_dir_all(&downloads)?;
        let mut command = self.program(&invite, &home)?;
        command.args(verb).args(["--json", "--accept", "all", "--name", &name, "--download-dir"]);
        command.arg(downloads);
        let process = self.hub.start(&name, command, self.folder.join(format!("{name}.log")))?;
        // Nobody connects before a program has been loaded, which takes longer than this.
        network.introduce(process.id(), Party::Line(line));
        self.by_process.insert(process.id(), who);
        self.persons[who].process = Some(process);
        self.persons[who].starts += 1;
        Ok(())
    }

    fn command(&mut self, who: usize, line: &str) -> anyhow::Result<()> {
        let person = &mut self.persons[who];
        match &mut person.process {
            Some(process) => process.line(line),
            None => bail!("{} is gone", person.name),
        }
    }

    fn program(&self, invite: &Path, home: &Path) -> anyhow::Result<Command> {
        fs::create_dir_all(home)?;
        let mut command = Command::new(&self.programs.sealcast);
        command.env_clear();
        command.envs(KEPT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("HOME", home).arg("--invite").arg(invite);
        Ok(command)
    }
}

/// An event's meaning; nothing if the lab does not care.
fn told(line: &str) -> Option<Told> {
    let event: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    Some(match event["event"].as_str()? {
        "session" => Told::Session { id: text("session"), number: event["number"].as_u64()? },
        "code" => Told::Code { code: text("code") },
        "state" => Told::State(text("state")),
        "members" => Told::Members(event["members"].as_array()?.len()),
        "chat" => Told::Chat { from: event["from"].as_u64()?, text: text("text") },
        "file_done" => Told::File { name: text("file"), received: event["direction"] == "receiving" },
        "file_failed" | "file_refused" => Told::FileFailed(text("reason")),
        "reattached" => Told::Reattached {
            gap: Duration::from_millis(event["gap_ms"].as_u64().unwrap_or_default()),
            how: text("how"),
            node: event["node"].as_str().and_then(|node| node.parse().ok()),
        },
        "refused" => Told::Refused(text("reason")),
        "ended" => Told::Ended(format!("{}: {}", text("reason"), text("text"))),
        _ => return None,
    })
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_understood() {
        let cases = [
            (
                r#"{"event":"session","session":"00ff","number":2,"role":"provider"}"#,
                Some(Told::Session { id: "00ff".into(), number: 2 }),
            ),
            (
                r#"{"event":"chat","from":2,"name":"Bob","text":"good morning"}"#,
                Some(Told::Chat { from: 2, text: "good morning".into() }),
            ),
            (r#"{"event":"members","members":[{"number":1},{"number":2}]}"#, Some(Told::Members(2))),
            (
                r#"{"event":"file_done","transfer":{},"direction":"receiving","file":"f-1"}"#,
                Some(Told::File { name: "f-1".into(), received: true }),
            ),
            (
                r#"{"event":"reattached","gap_ms":40,"how":"standby","node":"127.0.0.1:8200"}"#,
                Some(Told::Reattached {
                    gap: Duration::from_millis(40),
                    how: "standby".into(),
                    node: "127.0.0.1:8200".parse().ok(),
                }),
            ),
            (
                r#"{"event":"ended","reason":"left","text":"you left"}"#,
                Some(Told::Ended("left: you left".into())),
            ),
            (r#"{"event":"rekeyed","epoch":"0.1.3"}"#, None),
            ("no JSON", None),
        ];
        for (line, meaning) in cases {
            assert_eq!(told(line), meaning, "{line}");
        }
    }
}
