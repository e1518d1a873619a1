//! Runs: contiguous frames of one class for the same receivers, out of one read, that travel as one item. Fan-out costs
//! a push per run and receiver, not per frame; the bytes are shared \[FWD-2\].

use std::sync::Arc;

use bytes::Bytes;
use proto_spec::frame::{DataHeader, Destination, FrameHeader, HEADER_LENGTH, Replace};
use proto_spec::{SenderNumber, TrafficClass};

use crate::config::ITEM_COST_MIN;
use crate::ledger::{Ledger, Press};

/// One copy of a run. Cloning it makes another copy, which presses on the sender until it is dropped too.
#[derive(Debug)]
pub struct Run {
    bytes: Bytes,
    frames: u32,
    class: TrafficClass,
    sender: SenderNumber,
    replace: Option<Replace>,
    /// Length of the buffer that `bytes` keeps alive.
    pinned: usize,
    press: Arc<Press>,
    presses: bool,
    /// Whether other receivers got a copy too.
    shared: bool,
}

impl Run {
    /// A run of whole frames; `pinned` is the length of the buffer that `bytes` is a slice of.
    pub fn new(ledger: &Arc<Ledger>, header: &DataHeader, bytes: Bytes, frames: u32, pinned: usize) -> Run {
        let press = Press::new(ledger, header.class, cost(header.class, &bytes) as u64);
        Run {
            frames,
            class: header.class,
            sender: header.sender,
            replace: header.replace,
            pinned,
            press,
            presses: true,
            shared: false,
            bytes,
        }
    }

    /// The frames.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many frames.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// What it counts as in a queue.
    pub(crate) fn cost(&self) -> usize {
        cost(self.class, &self.bytes)
    }

    /// Their class.
    pub fn class(&self) -> TrafficClass {
        self.class
    }

    /// Who sent them.
    pub fn sender(&self) -> SenderNumber {
        self.sender
    }

    /// The update that they belong to; `last` when the run ends it.
    pub fn replace(&self) -> Option<Replace> {
        self.replace
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Marks a run that more than one receiver gets.
    pub fn set_shared(&mut self) {
        self.shared = true;
    }

    /// Stops pressing on the sender; the bytes stay queued.
    pub(crate) fn release(&mut self) {
        if std::mem::take(&mut self.presses) {
            self.press.remove_copy();
        }
    }

    /// Copies the bytes out of a buffer that is much larger \[FWD-9\]; whether it did.
    pub fn unpin(&mut self) -> bool {
        let pins = self.pinned > self.bytes.len() * crate::config::PINNED_RATIO_MAX;
        if pins {
            self.bytes = Bytes::copy_from_slice(&self.bytes);
            self.pinned = self.bytes.len();
        }
        pins
    }

    /// Splits off the first frames between two frames \[FWD-3\], at least one, at most `bytes_max` bytes if one frame fits; the rest stays in `self`.
    /// `None` if all of it fits.
    pub fn split_front(&mut self, bytes_max: usize) -> Option<Run> {
        if self.bytes.len() <= bytes_max || self.frames <= 1 {
            return None;
        }
        let (mut length, mut frames) = (0, 0u32);
        while frames < self.frames {
            let Ok(Some(header)) = FrameHeader::peek(&self.bytes[length..]) else {
                unreachable!("a run holds whole frames that have been parsed");
            };
            if frames > 0 && length + header.frame_length() > bytes_max {
                break;
            }
            length += header.frame_length();
            frames += 1;
        }
        if frames == self.frames {
            return None;
        }
        let mut front = self.clone();
        front.bytes = self.bytes.split_to(length);
        front.frames = frames;
        // The update ends with the run's last frame, which the front does not hold.
        if let Some(replace) = &mut front.replace {
            replace.last = false;
        }
        self.frames -= frames;
        Some(front)
    }
}

impl Clone for Run {
    fn clone(&self) -> Run {
        if self.presses {
            self.press.add_copy();
        }
        Run {
            bytes: self.bytes.clone(),
            frames: self.frames,
            class: self.class,
            sender: self.sender,
            replace: self.replace,
            pinned: self.pinned,
            press: Arc::clone(&self.press),
            presses: self.presses,
            shared: self.shared,
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.release();
    }
}

/// What a run counts as in queues and ledgers. Control and interactive count their bytes alone: they have small rates,
/// and what a sender was granted must always fit a receiver's queue, as it may not be dropped.
fn cost(class: TrafficClass, bytes: &Bytes) -> usize {
    match class {
        TrafficClass::Control | TrafficClass::Interactive => bytes.len(),
        TrafficClass::Screen | TrafficClass::Bulk => bytes.len().max(ITEM_COST_MIN),
    }
}

/// A run and who is to get it.
#[derive(Debug)]
pub struct Forward {
    /// The frames.
    pub run: Run,
    /// Their receivers.
    pub destination: Destination,
}

impl Forward {
    /// A run that came from another node, with the receivers that its first frame names; `None` if that cannot be read.
    pub fn arrived(run: Run) -> Option<Forward> {
        let header = FrameHeader::peek(&run.bytes).ok().flatten()?;
        let body = run.bytes.get(HEADER_LENGTH..header.frame_length())?;
        let (header, _) = DataHeader::parse(body).ok()?;
        (header.sender == run.sender).then_some(Forward { run, destination: header.destination })
    }
}
