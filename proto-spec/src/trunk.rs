//! What two neighbouring nodes say to each other on a trunk: control frames \[TRK-7\] and units of data \[TRK-15\].
//!
//! Form only: who may be a neighbour is the certificate's and `sealcast-mesh`'s matter, connections are `relayd`'s.

mod refusal;
mod unit;

pub use refusal::TrunkRefusal;
pub use unit::{RUN_LENGTH_MAX, UNIT_LENGTH_MAX, UNIT_PREFIX_LENGTH, Unit, unit_length};

use crate::coding::{DecodeError, Reader, Wire, put_var};
use crate::id::NodeNumber;
use crate::mesh::MESH_MESSAGE_LENGTH_MAX;
use crate::time::WallTime;

/// Bytes before a control frame's body.
pub const CONTROL_HEADER_LENGTH: usize = 4;
/// The body of any control frame but `message`.
pub const CONTROL_BODY_LENGTH_MAX: usize = 1024;
/// A whole control frame.
pub const CONTROL_FRAME_LENGTH_MAX: usize = CONTROL_HEADER_LENGTH + MESH_MESSAGE_LENGTH_MAX;
/// The protocol of the streams of a control connection \[TRK-6\].
pub const STREAM_PROTOCOL: &str = "/sealcast/trunk/1";
/// The byte after a handshake that says welcome \[TRK-3\].
pub const WELCOME: u8 = 0;
/// The longest name of a mesh.
pub const MESH_NAME_LENGTH_MAX: usize = 63;
/// The longest name of a program with its version.
pub const SOFTWARE_LENGTH_MAX: usize = 64;

/// The registry of control frames \[TRK-7\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum TrunkFrameType {
    /// Who speaks.
    Hello = 1,
    /// Sign of life; measures the round trip.
    Heartbeat = 2,
    /// The sender has both connections.
    Up = 3,
    /// A message of the mesh.
    Message = 4,
    /// Why the sender ends the trunk.
    Close = 5,
}

impl TrunkFrameType {
    /// All of them.
    pub const ALL: [TrunkFrameType; 5] = [Self::Hello, Self::Heartbeat, Self::Up, Self::Message, Self::Close];

    /// `None` for types that the registry does not hold.
    pub fn from_u8(value: u8) -> Option<TrunkFrameType> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == value)
    }

    const fn body_length_max(self) -> usize {
        match self {
            Self::Message => MESH_MESSAGE_LENGTH_MAX,
            _ => CONTROL_BODY_LENGTH_MAX,
        }
    }
}

/// The first control frame in each direction \[TRK-8\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrunkHello {
    /// The oldest wire version that the sender speaks.
    pub version_min: u16,
    /// The newest.
    pub version_max: u16,
    /// The sender's number; its certificate says the same.
    pub node: NodeNumber,
    /// The sender's wall clock.
    pub wall: WallTime,
    /// Drawn by the dialler, repeated by the other end; the data connection names it.
    pub trunk: u64,
    /// The mesh's name.
    pub mesh: String,
    /// The sender's program and version.
    pub software: String,
}

impl TrunkHello {
    /// The newest version that both ranges hold.
    pub fn common_version(&self, other: &TrunkHello) -> Option<u16> {
        let newest = self.version_max.min(other.version_max);
        (newest >= self.version_min.max(other.version_min)).then_some(newest)
    }
}

impl Wire for TrunkHello {
    fn encode(&self, out: &mut Vec<u8>) {
        self.version_min.encode(out);
        self.version_max.encode(out);
        self.node.encode(out);
        self.wall.0.encode(out);
        self.trunk.encode(out);
        put_var(out, self.mesh.as_bytes());
        put_var(out, self.software.as_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (version_min, version_max) = (reader.u16()?, reader.u16()?);
        if version_min > version_max {
            return Err(DecodeError::Malformed("version range"));
        }
        Ok(TrunkHello {
            version_min,
            version_max,
            node: NodeNumber::decode(reader)?,
            wall: WallTime(reader.u64()?),
            trunk: reader.u64()?,
            mesh: reader.text("mesh", MESH_NAME_LENGTH_MAX)?.to_owned(),
            software: reader.text("software", SOFTWARE_LENGTH_MAX)?.to_owned(),
        })
    }
}

/// A sign of life \[TRK-9\]. All in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Heartbeat {
    /// The sender's monotonic clock.
    pub sent_us: u64,
    /// The newest `sent_us` that the sender has heard, 0 for none.
    pub echo_us: u64,
    /// How long ago it heard that.
    pub held_us: u32,
}

impl Wire for Heartbeat {
    fn encode(&self, out: &mut Vec<u8>) {
        self.sent_us.encode(out);
        self.echo_us.encode(out);
        self.held_us.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Heartbeat { sent_us: reader.u64()?, echo_us: reader.u64()?, held_us: reader.u32()? })
    }
}

/// Any control frame, header included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrunkFrame {
    /// See [`TrunkFrameType::Hello`].
    Hello(TrunkHello),
    /// See [`TrunkFrameType::Heartbeat`].
    Heartbeat(Heartbeat),
    /// See [`TrunkFrameType::Up`].
    Up,
    /// An encoded `MeshMessage`, not looked at here.
    Message(Vec<u8>),
    /// See [`TrunkFrameType::Close`].
    Close(TrunkRefusal),
}

impl TrunkFrame {
    /// Length of the whole frame at the start of `bytes`; `None` until its header is there.
    ///
    /// # Errors
    /// An unknown type, or a body above its limit: nothing has been allocated.
    pub fn length(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
        let Some(head) = bytes.first_chunk::<CONTROL_HEADER_LENGTH>() else { return Ok(None) };
        let kind = TrunkFrameType::from_u8(head[0]).ok_or(DecodeError::Malformed("trunk frame type"))?;
        let length = usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3]);
        let limit = kind.body_length_max();
        if length > limit {
            return Err(DecodeError::TooLong { what: "trunk frame", length, limit });
        }
        Ok(Some(CONTROL_HEADER_LENGTH + length))
    }

    const fn kind(&self) -> TrunkFrameType {
        match self {
            Self::Hello(_) => TrunkFrameType::Hello,
            Self::Heartbeat(_) => TrunkFrameType::Heartbeat,
            Self::Up => TrunkFrameType::Up,
            Self::Message(_) => TrunkFrameType::Message,
            Self::Close(_) => TrunkFrameType::Close,
        }
    }
}

impl Wire for TrunkFrame {
    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[self.kind() as u8, 0, 0, 0]);
        match self {
            Self::Hello(hello) => hello.encode(out),
            Self::Heartbeat(heartbeat) => heartbeat.encode(out),
            Self::Up => {}
            Self::Message(bytes) => out.extend_from_slice(bytes),
            Self::Close(reason) => reason.encode(out),
        }
        let length = out.len() - start - CONTROL_HEADER_LENGTH;
        assert!(length <= self.kind().body_length_max(), "a trunk frame with a body of {length} bytes");
        out[start + 1..start + CONTROL_HEADER_LENGTH].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let head: [u8; CONTROL_HEADER_LENGTH] = reader.array()?;
        let length = Self::length(&head)?.ok_or(DecodeError::Truncated)? - CONTROL_HEADER_LENGTH;
        let body = reader.bytes(length)?;
        let kind = TrunkFrameType::from_u8(head[0]).ok_or(DecodeError::Malformed("trunk frame type"))?;
        Ok(match kind {
            TrunkFrameType::Hello => Self::Hello(TrunkHello::from_bytes(body)?),
            TrunkFrameType::Heartbeat => Self::Heartbeat(Heartbeat::from_bytes(body)?),
            TrunkFrameType::Up if body.is_empty() => Self::Up,
            TrunkFrameType::Up => return Err(DecodeError::Trailing(body.len())),
            TrunkFrameType::Message if body.is_empty() => return Err(DecodeError::Truncated),
            TrunkFrameType::Message => Self::Message(body.to_vec()),
            TrunkFrameType::Close => Self::Close(TrunkRefusal::from_bytes(body)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(version_min: u16, version_max: u16) -> TrunkHello {
        TrunkHello {
            version_min,
            version_max,
            node: NodeNumber::new(7).unwrap(),
            wall: WallTime(9),
            trunk: 11,
            mesh: "m".repeat(MESH_NAME_LENGTH_MAX),
            software: "s".repeat(SOFTWARE_LENGTH_MAX),
        }
    }

    /// \[TRK-7\], \[TRK-8\], \[TRK-9\]: each frame reads back, and no cut or extension of one is one.
    #[test]
    fn frames_read_back() {
        for frame in [
            TrunkFrame::Hello(hello(1, 2)),
            TrunkFrame::Heartbeat(Heartbeat { sent_us: 1, echo_us: 2, held_us: 3 }),
            TrunkFrame::Up,
            TrunkFrame::Message(vec![5; MESH_MESSAGE_LENGTH_MAX]),
            TrunkFrame::Close(TrunkRefusal::Clock),
        ] {
            let bytes = frame.to_bytes();
            assert_eq!(TrunkFrame::length(&bytes), Ok(Some(bytes.len())));
            assert_eq!(TrunkFrame::from_bytes(&bytes), Ok(frame));
            for cut in 0..bytes.len().min(200) {
                assert!(TrunkFrame::from_bytes(&bytes[..cut]).is_err());
            }
            assert_eq!(TrunkFrame::from_bytes(&[&bytes[..], &[0]].concat()), Err(DecodeError::Trailing(1)));
        }
        assert!(TrunkFrame::from_bytes(&[3, 0, 0, 1, 0]).is_err(), "an `up` with a body");
        assert!(TrunkFrame::from_bytes(&[4, 0, 0, 0]).is_err(), "an empty message");
    }

    /// \[TRK-7\]: refused by the header alone, at the limit and one past it; types outside the registry are none.
    #[test]
    fn lengths_end_where_the_clause_says() {
        let header = |kind: u8, length: usize| {
            let length = (length as u32).to_be_bytes();
            TrunkFrame::length(&[kind, length[1], length[2], length[3]])
        };
        for kind in 0..=u8::MAX {
            assert_eq!(header(kind, 0).is_ok(), (1..=5).contains(&kind), "{kind}");
        }
        assert!(header(4, MESH_MESSAGE_LENGTH_MAX).is_ok());
        assert!(matches!(header(4, MESH_MESSAGE_LENGTH_MAX + 1), Err(DecodeError::TooLong { .. })));
        assert!(header(1, CONTROL_BODY_LENGTH_MAX).is_ok());
        assert!(matches!(header(1, CONTROL_BODY_LENGTH_MAX + 1), Err(DecodeError::TooLong { .. })));
        assert_eq!(TrunkFrame::length(&[4, 0, 0]), Ok(None), "three bytes are no header yet");
    }

    /// \[TRK-8\]: the newest version that both ranges hold.
    #[test]
    fn versions_meet_at_the_newest_common_one() {
        assert_eq!(hello(1, 3).common_version(&hello(2, 9)), Some(3));
        assert_eq!(hello(1, 1).common_version(&hello(2, 3)), None);
        assert!(TrunkHello::from_bytes(&hello(3, 2).to_bytes()).is_err());
        let mut long = hello(1, 1);
        long.mesh.push('m');
        assert!(TrunkHello::from_bytes(&long.to_bytes()).is_err());
    }
}
