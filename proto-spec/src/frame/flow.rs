//! Frames of flow: credit and liveness.

use crate::coding::{DecodeError, Reader, Wire};
use crate::id::TrafficClass;

/// Bytes of data frames, headers included, that an endpoint may have sent in a class since it attached \[FLW-1\]. The
/// limit is cumulative, so a repeated or lost grant does no harm; it never falls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credit {
    /// The class.
    pub class: TrafficClass,
    /// Cumulative limit in bytes.
    pub limit_bytes: u64,
}

impl Wire for Credit {
    fn encode(&self, out: &mut Vec<u8>) {
        self.class.encode(out);
        self.limit_bytes.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Credit { class: TrafficClass::decode(reader)?, limit_bytes: reader.u64()? })
    }
}

/// A token that the other side returns at once \[FLW-3\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ping {
    /// Chosen by the side that asks.
    pub token: u64,
}

impl Wire for Ping {
    fn encode(&self, out: &mut Vec<u8>) {
        self.token.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Ping { token: reader.u64()? })
    }
}
