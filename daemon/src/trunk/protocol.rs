//! Control frames on the two streams of a control connection \[TRK-6\], \[TRK-7\].

use std::io;

use bytes::{Buf, BytesMut};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use proto_spec::trunk::{CONTROL_FRAME_LENGTH_MAX, STREAM_PROTOCOL, TrunkFrame};
use proto_spec::{DecodeError, Wire};
use thiserror::Error;

/// What a stream is negotiated as.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new(STREAM_PROTOCOL);
/// Bytes read at once; most frames are heartbeats.
const READ_BYTES: usize = 16 * 1024;

/// Why nothing more can be read.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    /// The connection ended or broke.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// The other end's fault.
    #[error("{0}")]
    Malformed(#[from] DecodeError),
}

/// Reads control frames.
#[derive(Debug)]
pub(super) struct FrameReader<S> {
    stream: S,
    /// At most one frame and one read.
    buffer: BytesMut,
    chunk: Box<[u8]>,
}

impl<S: AsyncRead + Unpin> FrameReader<S> {
    pub(super) fn new(stream: S) -> FrameReader<S> {
        FrameReader { stream, buffer: BytesMut::new(), chunk: vec![0; READ_BYTES].into() }
    }

    /// The next frame; calls `heard` for whatever arrives. Loses nothing when it is dropped while it waits.
    pub(super) async fn next(&mut self, mut heard: impl FnMut()) -> Result<TrunkFrame, ReadError> {
        loop {
            if let Some(length) = TrunkFrame::length(&self.buffer)?
                && let Some(bytes) = self.buffer.get(..length)
            {
                let frame = TrunkFrame::from_bytes(bytes)?;
                self.buffer.advance(length);
                return Ok(frame);
            }
            debug_assert!(self.buffer.len() <= CONTROL_FRAME_LENGTH_MAX, "a whole frame was there");
            let read = self.stream.read(&mut self.chunk).await?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            heard();
            self.buffer.extend_from_slice(&self.chunk[..read]);
        }
    }
}

/// Writes control frames.
#[derive(Debug)]
pub(super) struct FrameWriter<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncWrite + Unpin> FrameWriter<S> {
    pub(super) fn new(stream: S) -> FrameWriter<S> {
        FrameWriter { stream, buffer: Vec::new() }
    }

    /// Adds a frame to the next write.
    pub(super) fn push(&mut self, frame: &TrunkFrame) {
        frame.encode(&mut self.buffer);
    }

    /// Bytes of the next write.
    pub(super) fn length(&self) -> usize {
        self.buffer.len()
    }

    /// Writes what was added.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.buffer).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        Ok(())
    }

    /// Ends this end's direction.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.stream.close().await
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;
    use proto_spec::trunk::Heartbeat;

    use super::*;

    /// \[TRK-7\]: frames come out as they went in, however the bytes are cut; what is none ends the reading.
    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let frames = [
            TrunkFrame::Up,
            TrunkFrame::Message(vec![9; 65_536]),
            TrunkFrame::Heartbeat(Heartbeat { sent_us: 1, echo_us: 2, held_us: 3 }),
        ];
        let mut writer = FrameWriter::new(Cursor::new(Vec::new()));
        frames.iter().for_each(|frame| writer.push(frame));
        writer.flush().await.unwrap();
        assert_eq!(writer.length(), 0);
        let mut bytes = writer.stream.into_inner();
        bytes.extend_from_slice(&[0xff; 4]);
        let mut reader = FrameReader::new(Cursor::new(bytes));
        let mut reads = 0;
        for frame in &frames {
            assert_eq!(reader.next(|| reads += 1).await.unwrap(), *frame);
        }
        assert!(reads >= 4, "{reads} reads of at most 16 KiB");
        assert!(matches!(reader.next(|| ()).await, Err(ReadError::Malformed(_))));
        let mut reader = FrameReader::new(Cursor::new(vec![3, 0, 0]));
        assert!(matches!(reader.next(|| ()).await, Err(ReadError::Broken(_))));
    }
}
