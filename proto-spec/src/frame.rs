//! Frames: what one hop says to the next on an attachment \[FRM-1\].
//!
//! `type8 | length24 | body`. The length is refused before anything is allocated.

mod admission;
mod data;
mod flow;
mod lifecycle;

pub use admission::{
    Attached, Hello, Peer, PeerState, TicketFrame, attach_proof_message, ticket_call_message,
};
pub use data::{DATA_OVERHEAD_MAX, DESTINATIONS_MAX, DataHeader, Destination, Replace};
pub use flow::{Credit, Ping};
pub use lifecycle::{Ended, ErrorFrame, Move, PathHint, Presence, Redirect};

use crate::coding::{DecodeError, Reader, Wire};
use crate::id::AttachSeq;

/// Bytes before a frame's body.
pub const HEADER_LENGTH: usize = 4;
/// A whole frame, header included \[FRM-2\].
pub const FRAME_LENGTH_MAX: usize = 64 * 1024;
/// A frame's body.
pub const BODY_LENGTH_MAX: usize = FRAME_LENGTH_MAX - HEADER_LENGTH;
/// What any frame but data may carry in its body, so that control never pins a large buffer \[FRM-4\].
pub const CONTROL_BODY_LENGTH_MAX: usize = 4 * 1024;
/// Bytes an endpoint may send before a valid ticket \[ATT-3\].
pub const ADMISSION_BYTES_MAX: usize = 4 * 1024;
/// The wire version that this code speaks \[FRM-6\].
pub const WIRE_VERSION: u16 = 1;

/// The registry of frame types \[FRM-3\].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum FrameType {
    /// Both ways, first on an attachment.
    Hello = 0x01,
    /// Endpoint to node: ticket, `attach_seq` and proof.
    Ticket = 0x02,
    /// Node to endpoint: admitted.
    Attached = 0x03,
    /// Node to endpoint: attach elsewhere.
    Redirect = 0x04,
    /// Endpoint to node: this standby attachment becomes the active one.
    Activate = 0x05,
    /// Both ways: an end-to-end packet.
    Data = 0x10,
    /// Node to endpoint: bytes of a class that may be sent.
    Credit = 0x11,
    /// Both ways: are you there.
    Ping = 0x12,
    /// Both ways: the ping's token again.
    Pong = 0x13,
    /// Node to endpoint: who is attached, by the relay's word.
    Presence = 0x20,
    /// Node to endpoint: a path changed, probe for gaps.
    PathHint = 0x21,
    /// Node to endpoint: the node drains, attach elsewhere.
    Move = 0x22,
    /// Node to endpoint: the session's members know this attachment.
    Ready = 0x23,
    /// Node to endpoint: the session has ended.
    Ended = 0x30,
    /// Node to endpoint: why the connection closes.
    Error = 0x31,
    /// Endpoint to node: leaving on purpose.
    Detach = 0x32,
}

impl FrameType {
    /// All of them.
    pub const ALL: [FrameType; 16] = [
        Self::Hello,
        Self::Ticket,
        Self::Attached,
        Self::Redirect,
        Self::Activate,
        Self::Data,
        Self::Credit,
        Self::Ping,
        Self::Pong,
        Self::Presence,
        Self::PathHint,
        Self::Move,
        Self::Ready,
        Self::Ended,
        Self::Error,
        Self::Detach,
    ];

    /// `None` for types that the registry does not hold.
    pub fn from_u8(value: u8) -> Option<FrameType> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == value)
    }
}

/// A frame's first four bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// What the body is.
    pub frame_type: FrameType,
    /// Length of the body in bytes.
    pub body_length: usize,
}

impl FrameHeader {
    /// Reads the header at the start of `bytes`; `None` until four bytes are there.
    ///
    /// # Errors
    /// An unknown type, or a body above its limit: the connection ends, nothing has been allocated \[FRM-2\].
    pub fn peek(bytes: &[u8]) -> Result<Option<FrameHeader>, DecodeError> {
        let Some(head) = bytes.first_chunk::<HEADER_LENGTH>() else { return Ok(None) };
        let frame_type = FrameType::from_u8(head[0]).ok_or(DecodeError::Malformed("frame type"))?;
        let body_length = usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3]);
        let limit = if frame_type == FrameType::Data { BODY_LENGTH_MAX } else { CONTROL_BODY_LENGTH_MAX };
        if body_length > limit {
            return Err(DecodeError::TooLong { what: "frame", length: body_length, limit });
        }
        Ok(Some(FrameHeader { frame_type, body_length }))
    }

    /// Length of the whole frame in bytes.
    pub const fn frame_length(self) -> usize {
        HEADER_LENGTH + self.body_length
    }
}

/// Appends a frame whose body `body` writes; returns the frame's length.
///
/// # Panics
/// If the body is longer than its limit: our own bug, as senders keep to the limits.
pub fn put_frame(out: &mut Vec<u8>, frame_type: FrameType, body: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    out.extend_from_slice(&[frame_type as u8, 0, 0, 0]);
    body(out);
    let body_length = out.len() - start - HEADER_LENGTH;
    let limit = if frame_type == FrameType::Data { BODY_LENGTH_MAX } else { CONTROL_BODY_LENGTH_MAX };
    assert!(
        body_length <= limit,
        "a {frame_type:?} frame of {body_length} bytes was built, {limit} are allowed"
    );
    out[start + 1..start + HEADER_LENGTH].copy_from_slice(&(body_length as u32).to_be_bytes()[1..]);
    out.len() - start
}

/// Every frame but data, which is relayed as bytes and read by [`DataHeader`] \[FRM-5\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControlFrame {
    /// See [`FrameType::Hello`].
    Hello(Hello),
    /// See [`FrameType::Ticket`].
    Ticket(TicketFrame),
    /// See [`FrameType::Attached`].
    Attached(Attached),
    /// See [`FrameType::Redirect`].
    Redirect(Redirect),
    /// See [`FrameType::Activate`].
    Activate(AttachSeq),
    /// See [`FrameType::Credit`].
    Credit(Credit),
    /// See [`FrameType::Ping`].
    Ping(Ping),
    /// See [`FrameType::Pong`].
    Pong(Ping),
    /// See [`FrameType::Presence`].
    Presence(Presence),
    /// See [`FrameType::PathHint`].
    PathHint(PathHint),
    /// See [`FrameType::Move`].
    Move(Move),
    /// See [`FrameType::Ready`].
    Ready(AttachSeq),
    /// See [`FrameType::Ended`].
    Ended(Ended),
    /// See [`FrameType::Error`].
    Error(ErrorFrame),
    /// See [`FrameType::Detach`].
    Detach,
}

impl ControlFrame {
    /// The type in the frame's header.
    pub const fn frame_type(&self) -> FrameType {
        match self {
            Self::Hello(_) => FrameType::Hello,
            Self::Ticket(_) => FrameType::Ticket,
            Self::Attached(_) => FrameType::Attached,
            Self::Redirect(_) => FrameType::Redirect,
            Self::Activate(_) => FrameType::Activate,
            Self::Credit(_) => FrameType::Credit,
            Self::Ping(_) => FrameType::Ping,
            Self::Pong(_) => FrameType::Pong,
            Self::Presence(_) => FrameType::Presence,
            Self::PathHint(_) => FrameType::PathHint,
            Self::Move(_) => FrameType::Move,
            Self::Ready(_) => FrameType::Ready,
            Self::Ended(_) => FrameType::Ended,
            Self::Error(_) => FrameType::Error,
            Self::Detach => FrameType::Detach,
        }
    }

    /// Appends the whole frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_frame(out, self.frame_type(), |out| match self {
            Self::Hello(body) => body.encode(out),
            Self::Ticket(body) => body.encode(out),
            Self::Attached(body) => body.encode(out),
            Self::Redirect(body) => body.encode(out),
            Self::Activate(seq) | Self::Ready(seq) => seq.encode(out),
            Self::Credit(body) => body.encode(out),
            Self::Ping(body) | Self::Pong(body) => body.encode(out),
            Self::Presence(body) => body.encode(out),
            Self::PathHint(body) => body.encode(out),
            Self::Move(body) => body.encode(out),
            Self::Ended(body) => body.encode(out),
            Self::Error(body) => body.encode(out),
            Self::Detach => {}
        });
    }

    /// Reads the body of a control frame; `None` for the types that the registry reserves for data.
    ///
    /// # Errors
    /// [`DecodeError`] when the body is not what its type says.
    pub fn decode(frame_type: FrameType, body: &[u8]) -> Result<Self, DecodeError> {
        Ok(match frame_type {
            FrameType::Hello => Self::Hello(Wire::from_bytes(body)?),
            FrameType::Ticket => Self::Ticket(Wire::from_bytes(body)?),
            FrameType::Attached => Self::Attached(Wire::from_bytes(body)?),
            FrameType::Redirect => Self::Redirect(Wire::from_bytes(body)?),
            FrameType::Activate => Self::Activate(Wire::from_bytes(body)?),
            FrameType::Credit => Self::Credit(Wire::from_bytes(body)?),
            FrameType::Ping => Self::Ping(Wire::from_bytes(body)?),
            FrameType::Pong => Self::Pong(Wire::from_bytes(body)?),
            FrameType::Presence => Self::Presence(Wire::from_bytes(body)?),
            FrameType::PathHint => Self::PathHint(Wire::from_bytes(body)?),
            FrameType::Move => Self::Move(Wire::from_bytes(body)?),
            FrameType::Ready => Self::Ready(Wire::from_bytes(body)?),
            FrameType::Ended => Self::Ended(Wire::from_bytes(body)?),
            FrameType::Error => Self::Error(Wire::from_bytes(body)?),
            FrameType::Detach => {
                Reader::new(body).finish()?;
                Self::Detach
            }
            FrameType::Data => return Err(DecodeError::Malformed("data frame read as control")),
        })
    }
}
