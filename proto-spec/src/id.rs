//! Identifiers: one newtype for each role, so that a node number is never taken for a sender number.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::coding::{DecodeError, Reader, Wire};

/// A session: 128 random bits drawn by the broker \[ID-1\].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl FromStr for SessionId {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let mut bytes = [0u8; 16];
        if text.len() != 32 || !text.is_ascii() {
            return Err(DecodeError::Malformed("session id"));
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| DecodeError::Malformed("session id"))?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| DecodeError::Malformed("session id"))?;
        }
        Ok(SessionId(bytes))
    }
}

impl Serialize for SessionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Wire for SessionId {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(SessionId(reader.array()?))
    }
}

/// A 16-bit number with 0 reserved for "none".
macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(NonZeroU16);

        impl $name {
            /// `None` for 0, which is reserved.
            pub const fn new(number: u16) -> Option<Self> {
                match NonZeroU16::new(number) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// The number on the wire, 1..=65535.
            pub const fn value(self) -> u16 {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.value().to_be_bytes());
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Self::new(reader.u16()?).ok_or(DecodeError::Malformed($what))
            }
        }
    };
}

number! {
    /// An endpoint in its session; allotted by the broker, never used twice in one session \[ID-2\].
    SenderNumber, "sender number 0"
}

number! {
    /// A node in its mesh; bound by its certificate \[ID-3\].
    NodeNumber, "node number 0"
}

/// Orders the attachments of one sender number: the highest is the newest \[ATT-7\].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct AttachSeq(pub u64);

impl Wire for AttachSeq {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(AttachSeq(reader.u64()?))
    }
}

/// A channel's number in record headers, 0..64 for the channels of a sender \[REC-2\].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub u32);

/// A key epoch: `term16 | leader16 | count32` \[GRP-1\]. The field order is not the comparison order: terms compare
/// first, then the leader's place among the deputies, then the count; see [`EpochId::term`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EpochId {
    /// Number of take-overs so far.
    pub term: u16,
    /// Sender number of the leader who made the epoch.
    pub leader: SenderNumber,
    /// Counts the leader's epochs in this term, from 1.
    pub count: u32,
}

impl EpochId {
    /// The 64-bit form in record headers.
    pub const fn to_u64(self) -> u64 {
        ((self.term as u64) << 48) | ((self.leader.value() as u64) << 32) | self.count as u64
    }

    /// `None` if the leader's number is 0.
    pub const fn from_u64(value: u64) -> Option<Self> {
        match SenderNumber::new((value >> 32) as u16) {
            Some(leader) => Some(EpochId { term: (value >> 48) as u16, leader, count: value as u32 }),
            None => None,
        }
    }
}

impl fmt::Debug for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}.{}.{}", self.term, self.leader, self.count)
    }
}

impl Wire for EpochId {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_u64().to_be_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        EpochId::from_u64(reader.u64()?).ok_or(DecodeError::Malformed("epoch leader 0"))
    }
}

/// The locator of a session that awaits a join: nine decimal digits \[GW-4\].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionNumber(u32);

impl SessionNumber {
    /// Numbers run from 100,000,000 so that nine digits are always spoken.
    pub const MIN: u32 = 100_000_000;
    /// One past the largest number.
    pub const END: u32 = 1_000_000_000;

    /// `None` unless nine digits long.
    pub const fn new(number: u32) -> Option<Self> {
        if number >= Self::MIN && number < Self::END { Some(SessionNumber(number)) } else { None }
    }

    /// As an integer of nine digits.
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Display for SessionNumber {
    /// As people read it aloud: `483-920-117`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:03}-{:03}", self.0 / 1_000_000, self.0 / 1_000 % 1_000, self.0 % 1_000)
    }
}

impl fmt::Debug for SessionNumber {
    /// The number is half of a join code: it is not printed by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionNumber(..)")
    }
}

/// How a packet is queued and shed on its way; served in this order with shares \[FWD-5\].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum TrafficClass {
    /// Keys, acknowledgements, consent: never dropped.
    Control = 0,
    /// Input and chat: never dropped.
    Interactive = 1,
    /// Screen updates: a newer one replaces an older one.
    Screen = 2,
    /// Files: dropped at egress when over the limit, repaired end to end.
    Bulk = 3,
}

impl TrafficClass {
    /// All classes in the order of service.
    pub const ALL: [TrafficClass; 4] = [Self::Control, Self::Interactive, Self::Screen, Self::Bulk];

    /// The class of a wire value; `None` for values that the registry does not hold.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Control),
            1 => Some(Self::Interactive),
            2 => Some(Self::Screen),
            3 => Some(Self::Bulk),
            _ => None,
        }
    }

    /// The class's name in logs, metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Interactive => "interactive",
            Self::Screen => "screen",
            Self::Bulk => "bulk",
        }
    }
}

impl Wire for TrafficClass {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        TrafficClass::from_u8(reader.u8()?).ok_or(DecodeError::Malformed("traffic class"))
    }
}
