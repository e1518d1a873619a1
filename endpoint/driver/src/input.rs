//! Lines from standard input, on a thread of their own, bounded.

use std::io::{BufRead, BufReader, Read};

use tokio::sync::mpsc;

use crate::config::{COMMANDS_MAX, LINE_BYTES_MAX};

/// Reads lines to the end; an error is a sentence about a line that cannot be used.
pub(crate) fn read(input: impl Read + Send + 'static) -> mpsc::Receiver<Result<String, String>> {
    let (lines, receiver) = mpsc::channel(COMMANDS_MAX);
    // Ends with its input or its receiver; a process that exits does not wait for it.
    std::thread::spawn(move || {
        let mut input = BufReader::new(input);
        while let Some(line) = next(&mut input) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn next(input: &mut impl BufRead) -> Option<Result<String, String>> {
    let mut line = Vec::new();
    let limit = LINE_BYTES_MAX as u64 + 1;
    if input.by_ref().take(limit).read_until(b'\n', &mut line).ok()? == 0 {
        return None;
    }
    if line.last() != Some(&b'\n') && line.len() as u64 == limit {
        // The rest of it goes the same way.
        loop {
            line.clear();
            let length = input.by_ref().take(limit).read_until(b'\n', &mut line).ok()?;
            if length == 0 || line.last() == Some(&b'\n') {
                break;
            }
        }
        return Some(Err(format!("a line has at most {LINE_BYTES_MAX} bytes")));
    }
    Some(String::from_utf8(line).map_err(|_| "a line is UTF-8".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_skipped_whole() {
        let long = "x".repeat(3 * LINE_BYTES_MAX);
        let fits = "y".repeat(LINE_BYTES_MAX);
        let text = format!("one\n{long}\n{fits}\nlast");
        let mut input = BufReader::new(text.as_bytes());
        assert_eq!(next(&mut input), Some(Ok("one\n".to_owned())));
        assert!(matches!(next(&mut input), Some(Err(_))));
        assert_eq!(next(&mut input), Some(Ok(format!("{fits}\n"))));
        assert_eq!(next(&mut input), Some(Ok("last".to_owned())));
        assert_eq!(next(&mut input), None);
    }
}
