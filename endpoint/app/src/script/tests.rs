//! Scripted sessions through pipes, and docs/EVENTS.md held against the events.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use sealcast_endpoint::event::*;
use sealcast_endpoint::{Role, SenderNumber, SessionId};
use serde_json::Value;

use super::*;

const DOCS: &str = include_str!("../../../../docs/EVENTS.md");

fn n(number: u16) -> SenderNumber {
    SenderNumber::new(number).unwrap()
}

/// One of each event. A new variant fails to compile here, and then in the documentation.
fn each() -> Vec<Event> {
    let transfer = TransferId { from: n(1), serial: 1 };
    let direction = Direction::Sending;
    let member = Member {
        number: n(2),
        name: "Bob".into(),
        role: Role::Customer,
        me: false,
        leader: false,
        present: true,
    };
    let file = || "fix.zip".to_owned();
    let all = vec![
        Event::State { state: State::Member },
        Event::Session { session: SessionId([7; 16]), number: n(1), role: Role::Provider },
        Event::Reattached { gap_ms: 1, how: Reattachment::Moved, node: Some("h:1".into()) },
        Event::Code { code: "c".into(), role: Role::Customer, expires_s: 1 },
        Event::CodeEnded { reason: CodeEnd::Used, role: Role::Customer },
        Event::WrongCode { left: 4 },
        Event::Prompt {
            prompt: PromptId(1),
            question: Question::Join { number: n(2), name: "Bob".into(), role: Role::Customer },
            timeout_s: 60,
        },
        Event::PromptEnded { prompt: PromptId(1), answer: Answered::Allowed },
        Event::Members { members: vec![member.clone()] },
        Event::Joined { member },
        Event::Left { number: n(2), name: "Bob".into(), removed: false },
        Event::RemovalComplete { number: n(2) },
        Event::Rekeyed { epoch: "0.1.2".into() },
        Event::Chat { from: n(1), name: "Ada".into(), text: "hi".into() },
        Event::FileOffered { transfer, direction, file: file(), size_bytes: 3 },
        Event::FileProgress { transfer, direction, done_bytes: 1, size_bytes: 3 },
        Event::FileRefused { transfer, by: n(2), reason: "no".into() },
        Event::FileDone {
            transfer,
            direction,
            file: file(),
            path: PathBuf::from("/tmp/fix.zip"),
            size_bytes: 3,
            blake3: "00".into(),
        },
        Event::FileFailed { transfer, direction, file: file(), reason: "no".into() },
        Event::Notice { text: "n".into() },
        Event::Refused { reason: "r".into() },
        Event::Ended { reason: "left".into(), text: "t".into() },
    ];
    for event in &all {
        match event {
            Event::State { .. } | Event::Session { .. } | Event::Reattached { .. } | Event::Code { .. } => {}
            Event::CodeEnded { .. } | Event::WrongCode { .. } | Event::Prompt { .. } => {}
            Event::PromptEnded { .. } | Event::Members { .. } | Event::Joined { .. } | Event::Left { .. } => {
            }
            Event::RemovalComplete { .. } | Event::Rekeyed { .. } | Event::Chat { .. } => {}
            Event::FileOffered { .. } | Event::FileProgress { .. } | Event::FileRefused { .. } => {}
            Event::FileDone { .. } | Event::FileFailed { .. } | Event::Notice { .. } => {}
            Event::Refused { .. } | Event::Ended { .. } => {}
        }
    }
    all
}

/// The examples of the documentation, by the heading they stand under.
fn examples() -> BTreeMap<String, Vec<Value>> {
    let mut sections = BTreeMap::new();
    for section in DOCS.split("\n### `").skip(1) {
        let (name, text) = section.split_once('`').unwrap();
        let lines = text.lines().filter(|line| line.starts_with("{\"event\""));
        sections.insert(name.to_owned(), lines.map(|line| serde_json::from_str(line).unwrap()).collect());
    }
    sections
}

fn fields(value: &Value) -> BTreeSet<&String> {
    value.as_object().unwrap().keys().collect()
}

#[test]
fn every_event_is_documented_with_all_its_fields() {
    let examples = examples();
    let mut names = BTreeSet::new();
    for event in each() {
        let value: Value = serde_json::from_str(&json_line(&event)).unwrap();
        let name = value["event"].as_str().unwrap().to_owned();
        let documented = examples.get(&name).unwrap_or_else(|| panic!("docs/EVENTS.md lacks {name}"));
        assert!(!documented.is_empty(), "{name} has no example");
        for example in documented {
            assert_eq!(fields(example), fields(&value), "{name}");
            // The example is what the program would read and write itself.
            let again: Event = serde_json::from_value(example.clone()).unwrap();
            assert_eq!(serde_json::to_value(&again).unwrap(), *example, "{name}");
        }
        names.insert(name);
    }
    assert_eq!(names, examples.keys().cloned().collect(), "documented, but there is no such event");
}

#[test]
fn every_word_of_an_event_is_documented() {
    let mut words: Vec<String> = Vec::new();
    let mut put = |value: Value| words.push(value.as_str().unwrap().to_owned());
    for state in [State::Connecting, State::Lobby, State::AwaitingConsent, State::Member, State::Reconnecting]
    {
        put(serde_json::to_value(state).unwrap());
    }
    for reason in [CodeEnd::Used, CodeEnd::Expired, CodeEnd::Guessed, CodeEnd::Closed] {
        put(serde_json::to_value(reason).unwrap());
    }
    for answer in [Answered::Allowed, Answered::Denied, Answered::TimedOut, Answered::Withdrawn] {
        put(serde_json::to_value(answer).unwrap());
    }
    for direction in [Direction::Sending, Direction::Receiving] {
        put(serde_json::to_value(direction).unwrap());
    }
    for word in words {
        assert!(DOCS.contains(&format!("`{word}`")), "docs/EVENTS.md lacks {word}");
    }
}

/// A session with its pipes: events are put in, commands and lines come out.
struct Rig {
    events: mpsc::Sender<Event>,
    commands: mpsc::Receiver<Command>,
    lines: mpsc::Sender<Typed>,
    stop: mpsc::Sender<()>,
    running: tokio::task::JoinHandle<(Outcome, Vec<u8>, Vec<u8>)>,
}

fn start() -> Rig {
    let (link, events, commands) = Link::pair();
    let (lines, typed) = mpsc::channel(8);
    let (stop, stopped) = mpsc::channel(4);
    let running = tokio::spawn(async move {
        let (mut out, mut talk) = (Vec::new(), Vec::new());
        let outcome = run(link, typed, stopped, &mut out, &mut talk).await;
        (outcome, out, talk)
    });
    Rig { events, commands, lines, stop, running }
}

impl Rig {
    async fn line(&self, line: &str) {
        self.lines.send(Typed::Line(line.into())).await.unwrap();
    }

    async fn end(self, reason: &str) -> (Outcome, Vec<Value>, String) {
        self.events.send(Event::Ended { reason: reason.into(), text: "over".into() }).await.unwrap();
        drop(self.events);
        let (outcome, out, talk) = self.running.await.unwrap();
        let out = String::from_utf8(out).unwrap();
        let out = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (outcome, out, String::from_utf8(talk).unwrap())
    }
}

#[tokio::test]
async fn lines_become_commands_and_events_become_lines() {
    let mut rig = start();
    rig.events.send(Event::Notice { text: "a\u{9b}b".into() }).await.unwrap();
    rig.line("hello").await;
    rig.line("/remove 3").await;
    assert_eq!(rig.commands.recv().await, Some(Command::Say { text: "hello".into() }));
    assert_eq!(rig.commands.recv().await, Some(Command::Remove { number: n(3) }));
    rig.line("/remove me").await;
    rig.lines.send(Typed::Unusable).await.unwrap();
    rig.line("/help").await;
    rig.line("/who").await;
    rig.line("/leave").await;
    assert_eq!(rig.commands.recv().await, Some(Command::Leave));
    let (outcome, out, talk) = rig.end("left").await;
    assert_eq!(outcome.exit() as u8, 0);
    let names: Vec<&str> = out.iter().map(|value| value["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["notice", "refused", "refused", "members", "ended"]);
    assert_eq!(out[0]["text"], "a\u{9b}b");
    assert!(talk.contains("/send PATH"));
}

#[tokio::test]
async fn the_end_of_the_input_is_not_the_end_of_the_session() {
    let mut rig = start();
    rig.line("/invite").await;
    let (lines, _) = mpsc::channel(1);
    rig.lines = lines;
    assert_eq!(rig.commands.recv().await, Some(Command::Invite { role: Role::Provider }));
    rig.events.send(Event::Refused { reason: "later".into() }).await.unwrap();
    let (outcome, out, _) = rig.end("removed").await;
    assert_eq!((outcome.exit() as u8, out.len()), (4, 2));
}

#[tokio::test]
async fn the_first_signal_leaves_and_the_second_stops() {
    let mut rig = start();
    rig.stop.send(()).await.unwrap();
    assert_eq!(rig.commands.recv().await, Some(Command::Leave));
    rig.stop.send(()).await.unwrap();
    assert_eq!(rig.running.await.unwrap().0, Outcome::interrupted());
}

#[tokio::test(start_paused = true)]
async fn leaving_does_not_wait_for_ever() {
    let mut rig = start();
    rig.stop.send(()).await.unwrap();
    assert_eq!(rig.commands.recv().await, Some(Command::Leave));
    assert_eq!(rig.running.await.unwrap().0, Outcome::interrupted());
}

/// A pipe whose reader has gone.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn when_nobody_listens_the_program_leaves() {
    let (link, events, mut commands) = Link::pair();
    let (_lines, typed) = mpsc::channel(1);
    let (_stop, stopped) = mpsc::channel(1);
    let running = tokio::spawn(async move { run(link, typed, stopped, &mut Closed, &mut Vec::new()).await });
    events.send(Event::Notice { text: "x".into() }).await.unwrap();
    assert_eq!(commands.recv().await, Some(Command::Leave));
    events.send(Event::Ended { reason: "left".into(), text: String::new() }).await.unwrap();
    drop(events);
    assert_eq!(running.await.unwrap().reason, "left");
}

#[tokio::test]
async fn a_busy_session_does_not_stop_the_events() {
    let mut rig = start();
    // Nobody takes commands: lines stop being read, events go on.
    let lines = rig.lines.clone();
    let flood = tokio::spawn(async move {
        for _ in 0..500 {
            lines.send(Typed::Line("/who".into())).await.unwrap();
            lines.send(Typed::Line("x".into())).await.unwrap();
        }
    });
    for _ in 0..1_000 {
        rig.events.send(Event::Notice { text: "x".into() }).await.unwrap();
    }
    for _ in 0..500 {
        assert_eq!(rig.commands.recv().await, Some(Command::Say { text: "x".into() }));
    }
    flood.await.unwrap();
    let (_, out, _) = rig.end("ended").await;
    assert_eq!(out.len(), 1_501);
}
