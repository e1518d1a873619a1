//! One endpoint: its session, the stream it says and those it checks. The only owner of all three.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::path::{Path, PathBuf};

use sealcast_endpoint::event::Event;
use sealcast_endpoint::{Command as Ask, Commander, SenderNumber, Session};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::check::{Check, Verdict};
use crate::command::Command;
use crate::config::{CHECKS_MAX, FILE_BYTES_MAX};
use crate::output::Output;
use crate::stream::{self, Process, Speaker};

/// What [`Session`] says when its channel is full: the only refusal after which a line is said again.
const FULL: &str = "too much is waiting to be sent";

pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) output: Output,
    pub(crate) process: Process,
    /// Where files that are made up go.
    pub(crate) work: PathBuf,
    me: Option<SenderNumber>,
    speaker: Option<Speaker>,
    checks: BTreeMap<(SenderNumber, String), Check>,
    /// What the session has not taken yet.
    asks: VecDeque<Ask>,
}

impl Member {
    pub(crate) fn new(id: String, output: Output, process: Process, work: PathBuf) -> Member {
        Member {
            id,
            output,
            process,
            work,
            me: None,
            speaker: None,
            checks: BTreeMap::new(),
            asks: VecDeque::new(),
        }
    }

    /// Runs to the session's end. When no more commands can come, it leaves.
    pub(crate) async fn run(mut self, mut session: Session, mut commands: mpsc::Receiver<Command>) {
        let commander = session.commander();
        let mut commanded = true;
        loop {
            let line_at = self.speaker.as_ref().and_then(Speaker::due_at);
            tokio::select! {
                event = session.next_event() => match event {
                    Some(event) => self.event(event).await,
                    None => break,
                },
                () = first(&commander, &self.asks), if !self.asks.is_empty() => {
                    self.asks.pop_front();
                }
                command = commands.recv(), if commanded && self.asks.is_empty() => match command {
                    Some(command) => self.command(command).await,
                    None => {
                        commanded = false;
                        self.asks.push_back(Ask::Leave);
                    }
                },
                () = until(line_at), if self.asks.is_empty() => {
                    if let Some(speaker) = &mut self.speaker {
                        self.asks.push_back(Ask::Say { text: speaker.say(self.process) });
                    }
                }
            }
        }
    }

    async fn event(&mut self, event: Event) {
        match &event {
            Event::Session { number, .. } => self.me = Some(*number),
            Event::Chat { from, text, .. } => {
                if Some(*from) == self.me {
                    if self.speaker.as_mut().is_some_and(|speaker| speaker.confirmed(text)) {
                        if self.speaker.as_ref().is_some_and(Speaker::is_done) {
                            self.stop().await;
                        }
                        return;
                    }
                } else if let Some(line) = stream::read(self.process, text) {
                    return self.heard(*from, line).await;
                }
            }
            Event::Refused { reason } if reason.starts_with(FULL) => {
                if let Some(speaker) = &mut self.speaker {
                    return speaker.refused();
                }
            }
            Event::Ended { .. } => {
                self.stop().await;
                self.tell_checks().await;
            }
            _ => {}
        }
        self.output.tell(Some(&self.id), &event).await;
    }

    async fn heard(&mut self, from: SenderNumber, line: stream::Numbered) {
        let key = (from, line.stream.clone());
        if !self.checks.contains_key(&key) && self.checks.len() >= CHECKS_MAX {
            return self.output.refuse(Some(&self.id), "more streams are said here than are checked").await;
        }
        let check = self.checks.entry(key.clone()).or_insert_with(|| Check::new(line.sequence));
        let right_before = check.is_right();
        match check.heard(Instant::now(), &line) {
            Verdict::Right => {}
            Verdict::Complete => self.tell_check(&key, "check").await,
            Verdict::Wrong => {
                self.output.fault();
                // Once: what follows shows in the reports.
                if right_before {
                    self.tell_check(&key, "check_failed").await;
                }
            }
        }
    }

    async fn tell_checks(&mut self) {
        for key in self.checks.keys().cloned().collect::<Vec<_>>() {
            self.tell_check(&key, "check").await;
        }
    }

    async fn tell_check(&self, key: &(SenderNumber, String), event: &str) {
        let Some(check) = self.checks.get(key) else { return };
        let Ok(mut report) = serde_json::to_value(check.report(self.process.start)) else { return };
        report["event"] = json!(event);
        report["from"] = json!(key.0);
        report["stream"] = json!(key.1);
        self.output.tell(Some(&self.id), &report).await;
    }

    async fn command(&mut self, command: Command) {
        let ask = match command {
            Command::Say { text } => Ask::Say { text },
            Command::Send { path: Some(path), to, .. } => Ask::Send { path, to },
            Command::Send { path: None, bytes: Some(bytes), to } => match self.make_file(bytes).await {
                Ok(path) => Ask::Send { path, to },
                Err(reason) => return self.output.refuse(Some(&self.id), &reason).await,
            },
            Command::Send { path: None, bytes: None, .. } => {
                return self.output.refuse(Some(&self.id), "name a path, or how many bytes to make up").await;
            }
            Command::Cancel { transfer } => Ask::Cancel { transfer },
            Command::Invite { role } => Ask::Invite { role },
            Command::Answer { prompt, allow } => Ask::Answer { prompt, allow },
            Command::Remove { number } => Ask::Remove { number },
            Command::Leave => Ask::Leave,
            Command::End => Ask::End,
            Command::Stream { stream, rate, lines, bytes } => {
                let outcome = match &self.speaker {
                    Some(_) => Err("a stream is under way here: stop it first".to_owned()),
                    None => {
                        Speaker::new(stream, rate, lines, bytes).map(|speaker| self.speaker = Some(speaker))
                    }
                };
                return self.refuse_if(outcome).await;
            }
            Command::Pace { rate } => {
                let outcome = match &mut self.speaker {
                    Some(speaker) => speaker.pace(rate),
                    None => Err("no stream is under way here".to_owned()),
                };
                return self.refuse_if(outcome).await;
            }
            Command::Stop => return self.stop().await,
            Command::Check => return self.tell_checks().await,
            Command::Login { .. } | Command::Host { .. } | Command::Join { .. } | Command::Quit => {
                return self.output.refuse(Some(&self.id), "this endpoint is in a session already").await;
            }
        };
        self.asks.push_back(ask);
    }

    async fn refuse_if(&self, outcome: Result<(), String>) {
        if let Err(reason) = outcome {
            self.output.refuse(Some(&self.id), &reason).await;
        }
    }

    async fn stop(&mut self) {
        if let Some(speaker) = self.speaker.take() {
            let Speaker { stream, said, refused, .. } = speaker;
            let event = json!({"event": "stream_ended", "stream": stream, "said": said, "refused": refused});
            self.output.tell(Some(&self.id), &event).await;
        }
    }

    /// A file of bytes that no compression shortens, the same for the same endpoint and length.
    async fn make_file(&self, bytes: u64) -> Result<PathBuf, String> {
        if bytes > FILE_BYTES_MAX {
            return Err(format!("a file that is made up has at most {FILE_BYTES_MAX} bytes"));
        }
        let name: String = self.id.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
        let path = self.work.join(format!("{name}-{bytes}.bin"));
        let seed = *blake3::hash(self.id.as_bytes()).as_bytes();
        let made = path.clone();
        let written = tokio::task::spawn_blocking(move || write_file(&made, &seed, bytes)).await;
        match written {
            Ok(Ok(())) => Ok(path),
            Ok(Err(error)) => Err(format!("{} cannot be written: {error}", path.display())),
            Err(_) => Err("the file could not be made".to_owned()),
        }
    }
}

fn write_file(path: &Path, seed: &[u8; 32], bytes: u64) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let mut content = blake3::Hasher::new_keyed(seed).finalize_xof();
    let mut block = vec![0; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(block.len() as u64) as usize;
        content.fill(&mut block[..length]);
        file.write_all(&block[..length])?;
        left -= length as u64;
    }
    file.flush()
}

/// Hands over the first; may be given up at any time.
async fn first(commander: &Commander, asks: &VecDeque<Ask>) {
    match asks.front() {
        Some(ask) => commander.command(ask.clone()).await,
        None => pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
