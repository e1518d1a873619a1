//! What happened in the session, for the summary that stays on the screen when it is over. Counts events; never
//! prints.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use sealcast_endpoint::event::{Direction, Event};

use crate::board::{bytes, role_word};
use crate::clean;
use crate::exit::Outcome;

/// Files and people named in the summary; what is more is counted.
const NAMED_MAX: usize = 50;

/// The session in figures.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    member_since: Option<Duration>,
    /// Name and role by number, of everybody who was here but oneself.
    people: BTreeMap<u16, (String, &'static str)>,
    people_beyond: usize,
    chat_lines: usize,
    files: Vec<Moved>,
    files_beyond: usize,
    files_failed: usize,
}

#[derive(Debug)]
struct Moved {
    direction: Direction,
    file: String,
    path: PathBuf,
    size_bytes: u64,
}

impl Tally {
    /// Takes in one event.
    pub(crate) fn apply(&mut self, now: Duration, event: &Event) {
        match event {
            Event::State { state: sealcast_endpoint::event::State::Member } => {
                self.member_since.get_or_insert(now);
            }
            Event::Members { members } => {
                for member in members.iter().filter(|member| !member.me) {
                    let key = member.number.value();
                    if self.people.len() < NAMED_MAX || self.people.contains_key(&key) {
                        self.people.insert(key, (clean::name(&member.name), role_word(member.role)));
                    } else {
                        self.people_beyond += 1;
                    }
                }
            }
            Event::Chat { .. } => self.chat_lines += 1,
            Event::FileDone { direction, file, path, size_bytes, .. } => {
                if self.files.len() < NAMED_MAX {
                    self.files.push(Moved {
                        direction: *direction,
                        file: clean::file(file),
                        path: path.clone(),
                        size_bytes: *size_bytes,
                    });
                } else {
                    self.files_beyond += 1;
                }
            }
            Event::FileFailed { .. } => self.files_failed += 1,
            _ => {}
        }
    }

    /// The summary, some lines of text without a final line break.
    pub(crate) fn summary(&self, now: Duration, outcome: &Outcome) -> String {
        let mut lines = vec![sentence(&clean::line(&outcome.text))];
        let Some(since) = self.member_since else { return lines.remove(0) };
        let people: Vec<String> =
            self.people.values().map(|(name, role)| format!("{name} ({role})")).collect();
        let beyond = if self.people_beyond > 0 { " and others" } else { "" };
        let with =
            if people.is_empty() { String::new() } else { format!(" with {}{beyond}", people.join(", ")) };
        lines.push(format!("  {}{with}", duration(now.saturating_sub(since))));
        if self.chat_lines > 0 {
            lines.push(format!("  {} of chat", plural(self.chat_lines, "line")));
        }
        for moved in &self.files {
            let size = bytes(moved.size_bytes);
            lines.push(match moved.direction {
                Direction::Sending => format!("  sent      {} ({size})", moved.file),
                Direction::Receiving => {
                    format!("  received  {} ({size})", clean::line(&moved.path.to_string_lossy()))
                }
            });
        }
        if self.files_beyond > 0 {
            lines.push(format!("  and {} more files", self.files_beyond));
        }
        if self.files_failed > 0 {
            lines.push(format!("  {} did not arrive", plural(self.files_failed, "file")));
        }
        lines.join("\n")
    }
}

/// Hours, minutes and seconds as people say them.
fn duration(span: Duration) -> String {
    let s = span.as_secs();
    match (s / 3_600, s / 60 % 60, s % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("{count} {word}") } else { format!("{count} {word}s") }
}

/// With a capital letter and a full stop.
pub(crate) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let mut out: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    out.extend(chars);
    if !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}
