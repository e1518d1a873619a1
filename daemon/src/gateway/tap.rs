//! The tap of `relayd dev`: every frame as the node sees it after TLS, in a file, so that anybody can look at what a
//! relay knows.
//!
//! The file is a sequence of records: `time_us64 | direction8 | number16 | frame`. Time counts from the node's start;
//! direction 0 is a frame received from an endpoint, 1 one that the node made itself; number is the sender number of
//! the endpoint at the other end, 0 before its ticket was good. A relayed frame leaves exactly as it came, so it is
//! written once, as received. The frame's own header tells its length \[FRM-1\].

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use proto_spec::frame::{FrameHeader, HEADER_LENGTH};
use proto_spec::{SenderNumber, Timestamp};
use thiserror::Error;

/// Reads waiting for the disk; a full channel holds the node back, so that no frame is missing from the file.
const TAP_QUEUE_MAX: usize = 256;
/// What was tapped is on the way to the file within this.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// Which way a tapped frame went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum TapDirection {
    /// From an endpoint.
    Received = 0,
    /// From the node itself to an endpoint.
    Made = 1,
}

/// Why there is no tap.
#[derive(Debug, Error)]
#[error("{path}: the tap cannot be written ({source}): name another file with --tap")]
pub struct TapError {
    path: PathBuf,
    source: io::Error,
}

#[derive(Debug)]
enum Job {
    Write(Tapped),
    /// Answered when all before it is in the file.
    Flush(SyncSender<()>),
}

#[derive(Debug)]
struct Tapped {
    at: Timestamp,
    direction: TapDirection,
    number: Option<SenderNumber>,
    /// Whole frames.
    frames: Bytes,
}

/// Writes frames to a file, on a thread of its own; dropping it writes all that waits and closes the file.
#[derive(Debug)]
pub struct Tap {
    sender: Option<SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl Tap {
    /// Creates (or empties) the file.
    ///
    /// # Errors
    /// [`TapError`] names the path.
    pub fn create(path: &Path) -> Result<Tap, TapError> {
        let unwritable = |source| TapError { path: path.to_owned(), source };
        let file = File::create(path).map_err(unwritable)?;
        let (sender, receiver) = sync_channel(TAP_QUEUE_MAX);
        let writer = std::thread::Builder::new()
            .name("tap".into())
            .spawn(move || {
                if let Err(error) = write_all(&receiver, BufWriter::with_capacity(1 << 20, file)) {
                    tracing::error!(%error, "the tap's file cannot be written: frames are missing from it");
                }
            })
            .map_err(unwritable)?;
        Ok(Tap { sender: Some(sender), writer: Some(writer) })
    }

    /// Waits until everything tapped so far is in the file. Blocks: call it where nothing else waits.
    pub fn flush(&self) {
        let (done, flushed) = sync_channel(1);
        if let Some(sender) = &self.sender
            && sender.send(Job::Flush(done)).is_ok()
        {
            let _ = flushed.recv();
        }
    }

    pub(super) fn write(
        &self,
        at: Timestamp,
        direction: TapDirection,
        number: Option<SenderNumber>,
        frames: Bytes,
    ) {
        if let Some(sender) = &self.sender
            && !frames.is_empty()
        {
            // Fails only when the writer has given up, which it has said.
            let _ = sender.send(Job::Write(Tapped { at, direction, number, frames }));
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn write_all(receiver: &Receiver<Job>, mut file: BufWriter<File>) -> io::Result<()> {
    loop {
        match receiver.recv_timeout(FLUSH_EVERY) {
            Ok(Job::Write(tapped)) => write_records(&tapped, &mut file)?,
            Ok(Job::Flush(done)) => {
                file.flush()?;
                // Whoever asked may have gone.
                let _ = done.send(());
            }
            Err(RecvTimeoutError::Timeout) => file.flush()?,
            Err(RecvTimeoutError::Disconnected) => return file.flush(),
        }
    }
}

fn write_records(tapped: &Tapped, out: &mut impl Write) -> io::Result<()> {
    let mut rest = &tapped.frames[..];
    while let Ok(Some(header)) = FrameHeader::peek(rest) {
        let length = (HEADER_LENGTH + header.body_length).min(rest.len());
        let (frame, behind) = rest.split_at(length);
        out.write_all(&u64::try_from(tapped.at.0.as_micros()).unwrap_or(u64::MAX).to_be_bytes())?;
        out.write_all(&[tapped.direction as u8])?;
        out.write_all(&tapped.number.map_or(0, SenderNumber::value).to_be_bytes())?;
        out.write_all(frame)?;
        rest = behind;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proto_spec::frame::{ControlFrame, Hello, Ping};

    use super::*;

    #[test]
    fn records_can_be_walked_by_the_frames_own_lengths() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tap");
        let tap = Tap::create(&path).unwrap();
        let mut frames = Vec::new();
        ControlFrame::Hello(Hello::ours("canary")).put(&mut frames);
        ControlFrame::Ping(Ping { token: 7 }).put(&mut frames);
        tap.write(
            Timestamp(Duration::from_micros(5)),
            TapDirection::Received,
            SenderNumber::new(3),
            frames.clone().into(),
        );
        drop(tap);
        let written = std::fs::read(&path).unwrap();
        let hello_length = FrameHeader::peek(&frames).unwrap().unwrap().frame_length();
        let prefix = [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 3];
        let expected = [&prefix[..], &frames[..hello_length], &prefix, &frames[hello_length..]].concat();
        assert_eq!(written, expected);
        assert!(written.windows(6).any(|window| window == b"canary"));
    }
}
