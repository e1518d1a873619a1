//! Records of epochs that are not installed yet: kept as they came, within a bound \[GRP-11\]. Opens nothing.

use std::collections::VecDeque;

use proto_spec::{EpochId, SenderNumber, TrafficClass};

/// Records of a newer epoch that wait for its installation, in bytes: about a second of a fast sender.
pub const HOLD_BYTES_MAX: usize = 256 * 1024;
/// What a held record costs beside its bytes; keeps the number of tiny ones bounded too.
const HOLD_OVERHEAD: usize = 64;

/// A record of a newer epoch that has waited; give it to `open` again.
#[derive(Debug)]
pub struct HeldRecord {
    /// The data frame's sender.
    pub sender: SenderNumber,
    /// The data frame's class.
    pub class: TrafficClass,
    /// The packet, unopened.
    pub packet: Vec<u8>,
    pub(super) epoch: EpochId,
}

/// The records that wait, oldest first.
#[derive(Default)]
pub(super) struct Hold {
    records: VecDeque<HeldRecord>,
    bytes: usize,
}

impl Hold {
    /// Keeps a copy, if there is room.
    pub(super) fn keep(
        &mut self,
        sender: SenderNumber,
        class: TrafficClass,
        packet: &[u8],
        epoch: EpochId,
    ) -> bool {
        let bytes = packet.len() + HOLD_OVERHEAD;
        if self.bytes + bytes > HOLD_BYTES_MAX {
            return false;
        }
        self.bytes += bytes;
        self.records.push_back(HeldRecord { sender, class, packet: packet.to_vec(), epoch });
        true
    }

    /// The oldest record whose epoch is ready.
    pub(super) fn take(&mut self, ready: impl Fn(EpochId) -> bool) -> Option<HeldRecord> {
        let index = self.records.iter().position(|record| ready(record.epoch))?;
        let record = self.records.remove(index)?;
        self.bytes -= record.packet.len() + HOLD_OVERHEAD;
        Some(record)
    }
}
