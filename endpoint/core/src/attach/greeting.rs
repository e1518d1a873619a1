//! The hello on a fresh connection \[FRM-6\]. Several connections race; the first whose greeting is over wins, so this
//! stands apart from the attachment that follows on the winner alone.

use bytes::BytesMut;
use proto_spec::DecodeError;
use proto_spec::Refusal;
use proto_spec::frame::{ControlFrame, FrameHeader, FrameType, HEADER_LENGTH, Hello};
use thiserror::Error;

/// One greeting: write [`Greeting::question`], then feed what comes.
#[derive(Debug)]
pub struct Greeting {
    ours: Hello,
    rx: BytesMut,
}

/// A node that speaks our version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Greeted {
    /// What the node said.
    pub hello: Hello,
    /// The version of both.
    pub version: u16,
    /// Bytes behind the greeting: the attachment's first.
    pub rest: BytesMut,
}

/// Why a greeting failed; the culprit is the node, or whatever answers in its place.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum GreetError {
    /// What answers is no node.
    #[error("what answers is not a Sealcast relay: {0}")]
    NotANode(#[from] DecodeError),
    /// No common version.
    #[error("{}", Refusal::UnknownVersion.sentence())]
    Version,
    /// The node refuses the connection.
    #[error("{}", .0.sentence())]
    Refused(Refusal),
}

impl Greeting {
    /// A greeting by this program.
    pub fn new(software: &str) -> Greeting {
        Greeting { ours: Hello::ours(software), rx: BytesMut::new() }
    }

    /// The bytes to write first.
    pub fn question(&self) -> Vec<u8> {
        let mut out = Vec::new();
        ControlFrame::Hello(self.ours.clone()).put(&mut out);
        out
    }

    /// Bytes from the connection; `None` until the greeting is complete.
    ///
    /// # Errors
    /// [`GreetError`]: close the connection.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Option<Greeted>, GreetError> {
        self.rx.extend_from_slice(bytes);
        let Some(header) = FrameHeader::peek(&self.rx)? else { return Ok(None) };
        if !matches!(header.frame_type, FrameType::Hello | FrameType::Error) {
            return Err(GreetError::NotANode(DecodeError::Malformed("first frame")));
        }
        if self.rx.len() < header.frame_length() {
            return Ok(None);
        }
        let mut frame = self.rx.split_to(header.frame_length());
        let body = frame.split_off(HEADER_LENGTH);
        match ControlFrame::decode(header.frame_type, &body)? {
            ControlFrame::Hello(hello) => {
                let version = self.ours.common_version(&hello).ok_or(GreetError::Version)?;
                Ok(Some(Greeted { hello, version, rest: std::mem::take(&mut self.rx) }))
            }
            ControlFrame::Error(error) => Err(GreetError::Refused(error.refusal)),
            _ => Err(GreetError::NotANode(DecodeError::Malformed("first frame"))),
        }
    }
}
