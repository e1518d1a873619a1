//! Lines from standard input, read on a thread of their own so that neither the session nor its end waits for them.
//! Bounded: a line that is too long is told as such and skipped, whatever its length.

use std::io::{BufRead, BufReader, Read};

use tokio::sync::mpsc;

use crate::request::LINE_BYTES_MAX;

/// Lines that wait to be carried out; when it is full, reading stops and the writer of the lines waits.
const LINES_MAX: usize = 64;

/// One line, or why there is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Typed {
    /// Without its line break.
    Line(String),
    /// Longer than [`LINE_BYTES_MAX`], or not UTF-8: skipped.
    Unusable,
}

/// Reads lines to the end; the channel ends with the input.
pub(crate) fn read(input: impl Read + Send + 'static) -> mpsc::Receiver<Typed> {
    let (lines, receiver) = mpsc::channel(LINES_MAX);
    // Ends with its input or its receiver; a process that exits does not wait for it.
    std::thread::spawn(move || {
        let mut input = BufReader::new(input);
        while let Ok(Some(typed)) = next(&mut input) {
            if lines.blocking_send(typed).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The next line; `None` at the end.
pub(crate) fn next(input: &mut impl BufRead) -> std::io::Result<Option<Typed>> {
    let mut line = Vec::new();
    let limit = LINE_BYTES_MAX as u64 + 2;
    if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let complete = line.last() == Some(&b'\n');
    if !complete && line.len() as u64 == limit {
        skip_line(input)?;
        return Ok(Some(Typed::Unusable));
    }
    while matches!(line.last(), Some(b'\n' | b'\r')) {
        line.pop();
    }
    if line.len() > LINE_BYTES_MAX {
        return Ok(Some(Typed::Unusable));
    }
    Ok(Some(String::from_utf8(line).map_or(Typed::Unusable, Typed::Line)))
}

fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let (used, done) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        input.consume(used);
        if done {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8]) -> Vec<Typed> {
        let mut input = BufReader::with_capacity(64, input);
        std::iter::from_fn(|| next(&mut input).unwrap()).collect()
    }

    #[test]
    fn lines_up_to_the_limit_pass_and_longer_ones_are_skipped() {
        let fits = "x".repeat(LINE_BYTES_MAX);
        for ending in ["\n", "\r\n"] {
            let text = format!("a{ending}{fits}{ending}{fits}y{ending}{fits}{fits}{ending}b");
            assert_eq!(
                all(text.as_bytes()),
                [
                    Typed::Line("a".into()),
                    Typed::Line(fits.clone()),
                    Typed::Unusable,
                    Typed::Unusable,
                    Typed::Line("b".into())
                ]
            );
        }
        assert_eq!(all(b"\n\xff\n"), [Typed::Line(String::new()), Typed::Unusable]);
        assert_eq!(all(fits.repeat(3).as_bytes()), [Typed::Unusable]);
        assert_eq!(all(b""), []);
    }
}
