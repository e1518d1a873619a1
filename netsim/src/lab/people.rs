//! Who takes part: endpoints in a few `sealcast-driver` processes (docs/TESTING.md), each with an address of its own,
//! by which the lines know it. What they do is commands written to their driver; what they tell is its events
//! (docs/EVENTS.md).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::ground::{Addresses, Ground};
use super::programs::Programs;
use sealcast_process::{Happening, Hub, Process};

/// Endpoints of one driver: each costs it little, but one driver is one clock and one log.
const DRIVER_ENDPOINTS: usize = 100;
/// Drivers at once: the machine's cores are for the nodes as well.
pub const DRIVERS_MAX: usize = 4;
/// Whose id the login has: nobody's.
const LOGIN_ID: &str = "login";
/// How long a login may take: one hash of a password, on a busy machine.
const LOGIN: Duration = Duration::from_secs(60);
/// What a program keeps of our own environment: one user's settings must not reach all.
const KEPT: [&str; 3] = ["PATH", "LANG", "TMPDIR"];

/// The lines of each driver: those of one session are told of the same times by one clock, as far as they fit. Lines for
/// which `alone` holds have a driver each.
pub fn drivers(lines: usize, alone: impl Fn(usize) -> bool) -> Vec<Vec<usize>> {
    let (apart, together): (Vec<usize>, Vec<usize>) = (0..lines).partition(|line| alone(*line));
    let count = together.len().div_ceil(DRIVER_ENDPOINTS).clamp(1, DRIVERS_MAX);
    let mut drivers = vec![Vec::new(); count];
    for (at, hundred) in together.chunks(DRIVER_ENDPOINTS).enumerate() {
        drivers[at % count].extend(hundred);
    }
    drivers.extend(apart.into_iter().map(|line| vec![line]));
    drivers
}

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
    /// A file has come whole, or has gone to all.
    File {
        /// Its name.
        name: String,
        /// Where it is, if it came.
        received: Option<PathBuf>,
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
    folder: PathBuf,
    addresses: Addresses,
    drivers: Vec<Driver<'h>>,
    persons: Vec<Person>,
    /// Those that are logged in.
    accounts: usize,
}

#[derive(Debug)]
struct Driver<'h> {
    lines: Vec<usize>,
    /// `None` when it has ended.
    process: Option<Process<'h>>,
    id: u32,
}

#[derive(Debug)]
struct Person {
    name: String,
    line: usize,
    account: usize,
    driver: usize,
}

/// Where somebody is to attach, as `host:port` of nodes' fronts.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct At {
    /// First; otherwise where the broker says.
    pub node: Option<SocketAddr>,
    /// To stand by; otherwise where the broker and nodes say. Only together with `node`.
    pub standby: Option<SocketAddr>,
}

impl At {
    fn nodes(&self) -> Vec<String> {
        self.node.iter().chain(&self.standby).map(ToString::to_string).collect()
    }
}

impl<'h> People<'h> {
    /// Starts a driver for each of these groups of lines ([`drivers`]), with an invite to the mesh. Nobody takes part yet.
    ///
    /// # Errors
    /// When a driver cannot be started.
    pub fn start(
        hub: &'h Hub,
        programs: &Programs,
        folder: &Path,
        invite: &Path,
        ground: &Ground,
        groups: Vec<Vec<usize>>,
    ) -> anyhow::Result<People<'h>> {
        let work = folder.join("files");
        fs::create_dir_all(&work)?;
        let mut drivers = Vec::new();
        for (at, lines) in groups.into_iter().enumerate() {
            let mut command = Command::new(&programs.driver);
            command.env_clear();
            command.envs(KEPT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
            command.arg("--invite").arg(invite).arg("--work").arg(&work);
            ground.place_driver(at, &mut command);
            let talk = folder.join(format!("driver-{}.log", at + 1));
            let process = hub.start(&format!("sealcast-driver {}", at + 1), command, talk)?;
            drivers.push(Driver { lines, id: process.id(), process: Some(process) });
        }
        let (folder, addresses) = (folder.to_owned(), ground.addresses());
        Ok(People { folder, addresses, drivers, persons: Vec::new(), accounts: 0 })
    }

    /// One more, behind this line, of the account that was logged in so many others before; who it is from now on.
    pub fn add(&mut self, name: &str, line: usize, account: usize) -> usize {
        let driver = self.drivers.iter().position(|driver| driver.lines.contains(&line)).unwrap_or_default();
        self.persons.push(Person { name: name.to_owned(), line, account, driver });
        self.persons.len() - 1
    }

    /// Opens a session, and asks for a code for this role.
    ///
    /// # Errors
    /// When its driver is gone.
    pub fn host(&mut self, who: usize, at: &At, code_for: &str) -> anyhow::Result<()> {
        let command = json!({ "do": "host", "code_role": code_for, "credential": self.credential(self.persons[who].account) });
        self.begin(who, at, command)
    }

    /// Joins a session.
    ///
    /// # Errors
    /// When its driver is gone.
    pub fn join(&mut self, who: usize, at: &At, code: &str, provider: bool) -> anyhow::Result<()> {
        let credential = provider.then(|| self.credential(self.persons[who].account));
        self.begin(who, at, json!({ "do": "join", "code": code, "credential": credential }))
    }

    /// Asks for a code for one more.
    ///
    /// # Errors
    /// When its driver is gone.
    pub fn invite(&mut self, who: usize, role: &str) -> anyhow::Result<()> {
        self.command(who, json!({ "do": "invite", "role": role }))
    }

    /// Says a line to everybody.
    ///
    /// # Errors
    /// When its driver is gone.
    pub fn say(&mut self, who: usize, text: &str) -> anyhow::Result<()> {
        self.command(who, json!({ "do": "say", "text": text }))
    }

    /// Offers a file to everybody.
    ///
    /// # Errors
    /// When its driver is gone.
    pub fn send(&mut self, who: usize, file: &Path) -> anyhow::Result<()> {
        self.command(who, json!({ "do": "send", "path": file }))
    }

    /// What a happening means, and to whom; nothing if it is nobody's. A driver that ends is the end of all its people.
    pub fn hear(&mut self, happening: &Happening) -> Vec<(usize, Instant, Told)> {
        match happening {
            Happening::Line { process, at, text } => {
                if !self.drivers.iter().any(|driver| driver.id == *process) {
                    return Vec::new();
                }
                told(text)
                    .filter(|(who, _)| *who < self.persons.len())
                    .map(|(who, told)| (who, *at, told))
                    .into_iter()
                    .collect()
            }
            Happening::Closed { process } => {
                let Some(index) = self.drivers.iter().position(|driver| driver.id == *process) else {
                    return Vec::new();
                };
                let talk = self.drivers[index].process.take().map(|process| process.talk());
                let gone = Told::Gone(talk.unwrap_or_default());
                let now = Instant::now();
                let all = self.persons.iter().enumerate().filter(|(_, person)| person.driver == index);
                all.map(|(who, _)| (who, now, gone.clone())).collect()
            }
        }
    }

    /// What somebody is called.
    pub fn name(&self, who: usize) -> &str {
        &self.persons[who].name
    }

    /// The drivers' processes.
    pub fn processes(&self) -> Vec<u32> {
        self.drivers.iter().filter_map(|driver| driver.process.as_ref()).map(Process::id).collect()
    }

    fn credential(&self, account: usize) -> PathBuf {
        self.folder.join(format!("credential-{account}.toml"))
    }

    /// Logs in at one more account, for all providers that are of this one.
    ///
    /// # Errors
    /// What the driver said.
    pub fn log_in(&mut self, account: &str, password: &str) -> anyhow::Result<()> {
        let save = self.credential(self.accounts);
        self.accounts += 1;
        let command =
            json!({ "id": LOGIN_ID, "do": "login", "email": account, "password": password, "save": save });
        let driver = self.drivers[0].process.as_mut().context("the driver is gone")?;
        driver.line(&command.to_string())?;
        let deadline = Instant::now() + LOGIN;
        while let Some(line) = driver.next(Some(deadline))? {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            match event["event"].as_str() {
                Some("logged_in") => return Ok(()),
                Some("failed" | "refused") => bail!("the login failed: {}", event["reason"]),
                _ => {}
            }
        }
        bail!("the driver ended at the login{}", driver.talk())
    }

    fn begin(&mut self, who: usize, at: &At, mut command: Value) -> anyhow::Result<()> {
        let person = &self.persons[who];
        let downloads = self.folder.join(&person.name);
        fs::create_dir_all(&downloads)?;
        command["name"] = json!(person.name);
        command["accept"] = json!(["all"]);
        command["downloads"] = json!(downloads);
        command["from"] = json!(self.addresses.line(person.line));
        command["nodes"] = json!(at.nodes());
        self.command(who, command)
    }

    fn command(&mut self, who: usize, mut command: Value) -> anyhow::Result<()> {
        let person = &self.persons[who];
        command["id"] = json!(who.to_string());
        match &mut self.drivers[person.driver].process {
            Some(process) => process.line(&command.to_string()),
            None => bail!("the driver of {} is gone", person.name),
        }
    }
}

/// Whose an event is, and its meaning; nothing if the lab does not care.
fn told(line: &str) -> Option<(usize, Told)> {
    let event: Value = serde_json::from_str(line).ok()?;
    let who = event["id"].as_str()?.parse().ok()?;
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let told = match event["event"].as_str()? {
        "session" => Told::Session { id: text("session"), number: event["number"].as_u64()? },
        "code" => Told::Code { code: text("code") },
        "state" => Told::State(text("state")),
        "members" => Told::Members(event["members"].as_array()?.len()),
        "chat" => Told::Chat { from: event["from"].as_u64()?, text: text("text") },
        "file_done" => Told::File {
            name: text("file"),
            received: (event["direction"] == "receiving").then(|| PathBuf::from(text("path"))),
        },
        "file_failed" | "file_refused" => Told::FileFailed(text("reason")),
        "reattached" => Told::Reattached {
            gap: Duration::from_millis(event["gap_ms"].as_u64().unwrap_or_default()),
            how: text("how"),
            node: event["node"].as_str().and_then(|node| node.parse().ok()),
        },
        "refused" => Told::Refused(text("reason")),
        "ended" => Told::Ended(format!("{}: {}", text("reason"), text("text"))),
        "failed" => Told::Ended(format!("{}: {}", text("kind"), text("reason"))),
        _ => return None,
    };
    Some((who, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_share_drivers_unless_they_are_alone() {
        assert_eq!(drivers(3, |_| false), [vec![0, 1, 2]]);
        assert_eq!(drivers(3, |line| line == 1), [vec![0, 2], vec![1]]);
        let many = drivers(950, |_| false);
        assert_eq!(many.len(), DRIVERS_MAX);
        assert_eq!(many.iter().map(Vec::len).sum::<usize>(), 950);
        assert!(many[0].contains(&0) && many[0].contains(&400) && many[1].contains(&100));
    }

    #[test]
    fn events_are_understood() {
        let cases = [
            (
                r#"{"id":"7","event":"session","session":"00ff","number":2,"role":"provider"}"#,
                Some(Told::Session { id: "00ff".into(), number: 2 }),
            ),
            (
                r#"{"id":"7","event":"chat","from":2,"name":"Bob","text":"good morning"}"#,
                Some(Told::Chat { from: 2, text: "good morning".into() }),
            ),
            (r#"{"id":"7","event":"members","members":[{"number":1},{"number":2}]}"#, Some(Told::Members(2))),
            (
                r#"{"id":"7","event":"file_done","transfer":{},"direction":"receiving","file":"f-1","path":"/d/f-1"}"#,
                Some(Told::File { name: "f-1".into(), received: Some("/d/f-1".into()) }),
            ),
            (
                r#"{"id":"7","event":"reattached","gap_ms":40,"how":"standby","node":"127.0.0.1:8200"}"#,
                Some(Told::Reattached {
                    gap: Duration::from_millis(40),
                    how: "standby".into(),
                    node: "127.0.0.1:8200".parse().ok(),
                }),
            ),
            (
                r#"{"id":"7","event":"failed","kind":"not_found","reason":"no such number"}"#,
                Some(Told::Ended("not_found: no such number".into())),
            ),
            (
                r#"{"id":"7","event":"ended","reason":"left","text":"you left"}"#,
                Some(Told::Ended("left: you left".into())),
            ),
            (r#"{"id":"7","event":"rekeyed","epoch":"0.1.3"}"#, None),
            ("no JSON", None),
        ];
        for (line, meaning) in cases {
            assert_eq!(told(line), meaning.map(|meaning| (7, meaning)), "{line}");
        }
    }
}
