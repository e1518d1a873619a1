//! Numbered lines: said at a rate by one endpoint, checked by all others. A line that was not taken is said again under
//! the same number, so that whatever is missing at a receiver was lost on the way.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{RATE_MAX, SAY_AGAIN};

/// First word of each line.
const MARK: &str = "#line";

/// Tells lines of this process from others': only their times can be compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) start: Instant,
}

impl Process {
    pub(crate) fn new() -> Process {
        Process { id: std::process::id(), start: Instant::now() }
    }
}

/// One line as its receiver reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Numbered {
    pub(crate) stream: String,
    pub(crate) sequence: u64,
    /// How many the stream has; 0 if that is not settled.
    pub(crate) total: u64,
    /// When it was said, if that was in this process.
    pub(crate) said_at: Option<Instant>,
    /// Whether it is what was said.
    pub(crate) whole: bool,
}

/// The text of a line of at least `length` bytes.
pub(crate) fn text(process: Process, stream: &str, sequence: u64, total: u64, length: usize) -> String {
    let sent_us = process.start.elapsed().as_micros();
    let head = format!("{MARK} {stream} {sequence} {total} {} {sent_us}", process.id);
    let padding = "x".repeat(length.saturating_sub(head.len() + 10));
    let check = check(&head, &padding);
    format!("{head} {check} {padding}")
}

/// Reads a line; `None` if it is no line of a stream.
pub(crate) fn read(process: Process, text: &str) -> Option<Numbered> {
    let mut words = text.splitn(8, ' ');
    if words.next()? != MARK {
        return None;
    }
    let stream = words.next()?;
    let (sequence, total, id, sent_us) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (given, padding) = (words.next()?, words.next()?);
    let head = format!("{MARK} {stream} {sequence} {total} {id} {sent_us}");
    let own = id.parse() == Ok(process.id);
    let said_at = sent_us.parse().ok().map(|us| process.start + Duration::from_micros(us));
    Some(Numbered {
        stream: stream.to_owned(),
        sequence: sequence.parse().ok()?,
        total: total.parse().ok()?,
        said_at: said_at.filter(|_| own),
        whole: check(&head, padding) == given,
    })
}

fn check(head: &str, padding: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(head.as_bytes()).update(padding.as_bytes());
    hasher.finalize().to_hex()[..8].to_owned()
}

/// The saying side.
#[derive(Debug)]
pub(crate) struct Speaker {
    pub(crate) stream: String,
    interval: Duration,
    lines: u64,
    bytes: usize,
    pub(crate) said: u64,
    /// Lines that were not taken at first.
    pub(crate) refused: u64,
    next_at: Instant,
    /// The line that was said and not confirmed.
    open: Option<String>,
}

impl Speaker {
    /// A stream that begins at once.
    ///
    /// # Errors
    /// A sentence about what cannot be.
    pub(crate) fn new(stream: String, rate: f64, lines: u64, bytes: usize) -> Result<Speaker, String> {
        if stream.is_empty() || stream.len() > 64 || stream.contains(char::is_whitespace) {
            return Err("a stream's name has 1 to 64 bytes and no spaces".to_owned());
        }
        if bytes > 4_000 {
            return Err("a line has at most 4000 bytes".to_owned());
        }
        let interval = interval(rate)?;
        Ok(Speaker {
            stream,
            interval,
            lines,
            bytes,
            said: 0,
            refused: 0,
            next_at: Instant::now(),
            open: None,
        })
    }

    /// Another rate from now on.
    ///
    /// # Errors
    /// A sentence about what cannot be.
    pub(crate) fn pace(&mut self, rate: f64) -> Result<(), String> {
        self.interval = interval(rate)?;
        Ok(())
    }

    /// When the next line is to be said; `None` while one is not confirmed, or when all were said.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        (self.open.is_none() && !self.is_done()).then_some(self.next_at)
    }

    pub(crate) const fn is_done(&self) -> bool {
        self.lines > 0 && self.said >= self.lines
    }

    /// The line that is due.
    pub(crate) fn say(&mut self, process: Process) -> String {
        let line = text(process, &self.stream, self.said, self.lines, self.bytes);
        self.open = Some(line.clone());
        line
    }

    /// The endpoint shows a line of its own: whether it was this one.
    pub(crate) fn confirmed(&mut self, text: &str) -> bool {
        let own = self.open.take_if(|open| open == text).is_some();
        if own {
            self.said += 1;
            // What is late is made up for, one line after the other.
            self.next_at += self.interval;
        }
        own
    }

    /// Too much waits: the line was not taken.
    pub(crate) fn refused(&mut self) {
        if self.open.take().is_some() {
            self.refused += 1;
            self.next_at = Instant::now() + SAY_AGAIN;
        }
    }
}

fn interval(rate: f64) -> Result<Duration, String> {
    if rate > 0.0 && rate <= RATE_MAX {
        Duration::try_from_secs_f64(1.0 / rate).map_err(|_| "the rate is too low".to_owned())
    } else {
        Err(format!("a rate is above 0 and at most {RATE_MAX} lines a second"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_read_as_they_were_said() {
        let process = Process::new();
        for length in [0, 200, 4_000] {
            let line = text(process, "s", 7, 9, length);
            assert!(line.len() >= length && line.len() <= 4_096, "{}", line.len());
            let read = read(process, &line).unwrap();
            assert_eq!((read.stream.as_str(), read.sequence, read.total, read.whole), ("s", 7, 9, true));
            assert!(read.said_at.is_some());
            assert!(
                !super::read(process, &line.replace(" 7 ", " 8 ")).unwrap().whole,
                "a changed one is found"
            );
        }
        assert_eq!(read(process, "good morning"), None);
        assert_eq!(read(process, "#line s x 9 1 2 3 4"), None);
        let other = Process { id: process.id + 1, ..process };
        assert_eq!(read(other, &text(process, "s", 7, 9, 0)).unwrap().said_at, None);
    }

    #[tokio::test]
    async fn a_line_that_was_refused_keeps_its_number() {
        let process = Process::new();
        let mut speaker = Speaker::new("s".into(), 100.0, 2, 0).unwrap();
        let first = speaker.say(process);
        assert_eq!(speaker.due_at(), None, "one at a time");
        assert!(!speaker.confirmed("something else"));
        speaker.refused();
        assert!(speaker.due_at().is_some());
        let again = speaker.say(process);
        assert_eq!(read(process, &again).unwrap().sequence, read(process, &first).unwrap().sequence);
        assert!(speaker.confirmed(&again) && !speaker.is_done());
        let last = speaker.say(process);
        assert!(speaker.confirmed(&last) && speaker.is_done());
        for rate in [0.0, -1.0, f64::NAN, RATE_MAX + 1.0] {
            assert!(Speaker::new("s".into(), rate, 0, 0).is_err(), "{rate}");
        }
    }
}
