//! The session for scripts: each event one JSON object a line on standard output, each line of standard input a
//! command, talk on standard error. docs/EVENTS.md is its documentation. Owns no rule of the session.
//!
//! The end of the input means that no more commands come; the session goes on until it is ended. A closed output
//! means that nobody listens: the program leaves.

use std::collections::VecDeque;
use std::io::Write;

use sealcast_endpoint::{Command, Event};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::clean;
use crate::exit::Outcome;
use crate::link::Link;
use crate::request::{self, HELP, Request};
use crate::stop::LEAVE_MAX;
use crate::typed::Typed;

/// Runs the session to its end.
pub(crate) async fn run(
    link: Link,
    mut typed: mpsc::Receiver<Typed>,
    mut stop: mpsc::Receiver<()>,
    out: &mut (dyn Write + Send),
    talk: &mut (dyn Write + Send),
) -> Outcome {
    let Link { mut events, commands } = link;
    // Commands wait here while the session is busy; no line is read meanwhile, but events are.
    let mut pending: VecDeque<Command> = VecDeque::new();
    let mut members: Option<Event> = None;
    let mut reading = true;
    let mut listened_to = true;
    let mut leave_by: Option<Instant> = None;
    let mut outcome = Outcome::lost();
    loop {
        tokio::select! {
            event = events.recv() => {
                let Some(event) = event else { return outcome };
                listened_to = listened_to && write(out, &event).is_ok();
                match event {
                    Event::Ended { reason, text } => outcome = Outcome { reason, text },
                    Event::Members { .. } => members = Some(event),
                    _ => {}
                }
            }
            permit = commands.reserve(), if !pending.is_empty() => {
                match (permit, pending.pop_front()) {
                    (Ok(permit), Some(command)) => permit.send(command),
                    // The session has ended: its last events are on their way.
                    _ => pending.clear(),
                }
            }
            line = typed.recv(), if reading && pending.is_empty() => {
                let Some(line) = line else {
                    reading = false;
                    continue;
                };
                let line = match line {
                    Typed::Line(line) => line,
                    // Longer than any line may be: refused in the same words.
                    Typed::Unusable => "x".repeat(request::LINE_BYTES_MAX + 1),
                };
                match request::parse(&line) {
                    Ok(Request::Command(command)) => pending.push_back(command),
                    Ok(Request::Who) => {
                        let none = Event::Members { members: Vec::new() };
                        listened_to = listened_to && write(out, members.as_ref().unwrap_or(&none)).is_ok();
                    }
                    Ok(Request::Help) => help(talk),
                    Ok(Request::Nothing) => {}
                    Err(reason) => {
                        listened_to = listened_to && write(out, &Event::Refused { reason }).is_ok();
                    }
                }
            }
            Some(()) = stop.recv() => {
                if leave_by.is_some() {
                    return Outcome::interrupted();
                }
                leave_by = Some(Instant::now() + LEAVE_MAX);
                pending.push_front(Command::Leave);
            }
            () = sleep_until(leave_by.unwrap_or_else(Instant::now)), if leave_by.is_some() => {
                return Outcome::interrupted();
            }
        }
        if !listened_to && leave_by.is_none() {
            leave_by = Some(Instant::now() + LEAVE_MAX);
            pending.push_front(Command::Leave);
        }
    }
}

/// One event as one line of JSON.
pub(crate) fn json_line(event: &Event) -> String {
    let mut line = serde_json::to_string(event).unwrap_or_else(|error| {
        // A path that is not UTF-8 is the one thing that JSON cannot say.
        let text = format!("an event cannot be told in JSON: {error}");
        format!("{{\"event\":\"notice\",\"text\":{}}}", serde_json::Value::from(text))
    });
    line = clean::json(&line);
    line.push('\n');
    line
}

fn write(out: &mut (dyn Write + Send), event: &Event) -> std::io::Result<()> {
    out.write_all(json_line(event).as_bytes())?;
    out.flush()
}

fn help(talk: &mut (dyn Write + Send)) {
    for (usage, meaning) in HELP.iter().filter(|(usage, _)| usage.contains('/')) {
        // Talk is a courtesy: if nobody listens the session goes on.
        let _ = writeln!(talk, "{usage:<30} {meaning}");
    }
}

#[cfg(test)]
#[path = "script/tests.rs"]
mod tests;
