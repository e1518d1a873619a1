//! What waits for the connection: one queue a class, served in the order of classes with shares, each within its credit
//! \[FLW-1\]; control frames before everything.

use std::collections::VecDeque;

use bytes::Bytes;
use proto_spec::TrafficClass;
use proto_spec::frame::{ControlFrame, DataHeader, Destination, HEADER_LENGTH};

use crate::config::CLASS_QUANTUM_BYTES;

/// The queues of one attachment.
#[derive(Debug, Default)]
pub(super) struct Queues {
    control_frames: Vec<u8>,
    detach: bool,
    classes: [ClassQueue; 4],
}

#[derive(Debug, Default)]
struct ClassQueue {
    waiting: VecDeque<(DataHeader, Bytes)>,
    bytes: usize,
    sent_bytes: u64,
    credit_bytes: u64,
}

impl Queues {
    /// A frame of the attachment itself; needs no credit. A detach goes last.
    pub(super) fn push_control(&mut self, frame: &ControlFrame) {
        if matches!(frame, ControlFrame::Detach) {
            self.detach = true;
        } else {
            frame.put(&mut self.control_frames);
        }
    }

    pub(super) fn push(&mut self, header: DataHeader, packet: Bytes) {
        let class = &mut self.classes[header.class as usize];
        class.bytes += frame_length(&header, &packet);
        class.waiting.push_back((header, packet));
    }

    /// A cumulative limit; one below what was granted before changes nothing.
    pub(super) fn grant(&mut self, class: TrafficClass, limit_bytes: u64) {
        let class = &mut self.classes[class as usize];
        class.credit_bytes = class.credit_bytes.max(limit_bytes);
    }

    pub(super) fn bytes(&self, class: TrafficClass) -> usize {
        self.classes[class as usize].bytes
    }

    /// Everything that waits in a class.
    pub(super) fn take(&mut self, class: TrafficClass) -> VecDeque<(DataHeader, Bytes)> {
        let class = &mut self.classes[class as usize];
        class.bytes = 0;
        std::mem::take(&mut class.waiting)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.control_frames.is_empty()
            && !self.detach
            && self.classes.iter().all(|class| class.waiting.is_empty())
    }

    /// Bytes of control frames that wait.
    pub(super) fn control_bytes(&self) -> usize {
        self.control_frames.len()
    }

    /// Appends whole frames until `limit` is passed or nothing more may go; whether anything was appended. Every class
    /// has its quantum in each call, so that none starves.
    pub(super) fn gather(&mut self, out: &mut Vec<u8>, limit: usize) -> bool {
        let start = out.len();
        out.append(&mut self.control_frames);
        loop {
            let before = out.len();
            for (class, quantum) in self.classes.iter_mut().zip(CLASS_QUANTUM_BYTES) {
                let end = out.len() + quantum;
                while out.len() < end && class.send_one(out) {}
            }
            if out.len() == before || out.len() - start >= limit {
                break;
            }
        }
        if self.detach && self.classes.iter().all(|class| class.waiting.is_empty()) {
            self.detach = false;
            ControlFrame::Detach.put(out);
        }
        out.len() > start
    }
}

impl ClassQueue {
    fn send_one(&mut self, out: &mut Vec<u8>) -> bool {
        let Some((header, packet)) = self.waiting.front() else { return false };
        let length = frame_length(header, packet);
        if self.sent_bytes + length as u64 > self.credit_bytes {
            return false;
        }
        let written = header.put(out, |out| out.extend_from_slice(packet));
        debug_assert_eq!(written, length, "a frame's length was foretold wrongly");
        self.sent_bytes += length as u64;
        self.bytes -= length;
        self.waiting.pop_front();
        true
    }
}

fn frame_length(header: &DataHeader, packet: &[u8]) -> usize {
    let list = match &header.destination {
        Destination::All => 0,
        Destination::Members(members) => 1 + 2 * members.len(),
    };
    HEADER_LENGTH + 1 + 2 + list + if header.replace.is_some() { 6 } else { 0 } + packet.len()
}
