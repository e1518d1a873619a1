//! What a node counts: refusals by reason, drops by class and reason, frames and bytes by class. Plain atomics without
//! order between them; a reader sees each number, not an instant of all.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use proto_spec::{Refusal, TrafficClass};

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal;)*) => {
        /// Why a copy of a frame was not delivered.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// All of them.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name),*];

            /// The counter's label; never changes once released.
            pub const fn label(self) -> &'static str {
                match self { $(DropReason::$name => $label,)* }
            }
        }
    };
}

drop_reasons! {
    /// The receiver's queue of the class was full.
    QueueFull = "queue_full";
    /// A complete newer update of the same key took its place.
    Replaced = "replaced";
    /// The node's queue memory was short.
    Shed = "shed";
    /// Nobody attached here has the number, or may be reached by the sender.
    Unreachable = "unreachable";
    /// From another node, by a sender that is not known to be in the session.
    UnknownSender = "unknown_sender";
    /// A guest had been sent all that a guest may be sent.
    LobbyLimited = "lobby_limited";
    /// The receiver is being detached.
    Closing = "closing";
}

/// Counters of the whole node.
#[derive(Debug)]
pub struct Counters {
    refusals: [AtomicU64; Refusal::ALL.len()],
    drops: [[AtomicU64; DropReason::ALL.len()]; 4],
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            refusals: [const { AtomicU64::new(0) }; Refusal::ALL.len()],
            drops: [const { [const { AtomicU64::new(0) }; DropReason::ALL.len()] }; 4],
        }
    }
}

impl Counters {
    /// Counts a refusal.
    pub fn refused(&self, refusal: Refusal) {
        if let Some(index) = Refusal::ALL.iter().position(|other| *other == refusal) {
            self.refusals[index].fetch_add(1, Relaxed);
        }
    }

    /// Counts frames that were dropped.
    pub fn dropped(&self, class: TrafficClass, reason: DropReason, frames: u64) {
        self.drops[class as usize][reason as usize].fetch_add(frames, Relaxed);
    }

    /// Every refusal with its count.
    pub fn refusals(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.iter().zip(&self.refusals).map(|(refusal, count)| (*refusal, count.load(Relaxed)))
    }

    /// Every class and reason with its count of frames.
    pub fn drops(&self) -> impl Iterator<Item = (TrafficClass, DropReason, u64)> + '_ {
        TrafficClass::ALL.into_iter().flat_map(move |class| {
            DropReason::ALL.iter().map(move |reason| {
                (class, *reason, self.drops[class as usize][*reason as usize].load(Relaxed))
            })
        })
    }
}

/// Frames and bytes of one class at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClassCount {
    /// Frames received from endpoints.
    pub frames_in: u64,
    /// Their bytes, headers included.
    pub bytes_in: u64,
    /// Frames written to endpoints.
    pub frames_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Copies dropped.
    pub dropped: u64,
}

impl ClassCount {
    /// Adds another count.
    pub fn add(&mut self, other: &ClassCount) {
        self.frames_in += other.frames_in;
        self.bytes_in += other.bytes_in;
        self.frames_out += other.frames_out;
        self.bytes_out += other.bytes_out;
        self.dropped += other.dropped;
    }
}

#[derive(Debug, Default)]
struct ClassTraffic {
    frames_in: AtomicU64,
    bytes_in: AtomicU64,
    frames_out: AtomicU64,
    bytes_out: AtomicU64,
    dropped: AtomicU64,
}

/// Traffic of one session on this node.
#[derive(Debug, Default)]
pub struct Traffic([ClassTraffic; 4]);

impl Traffic {
    /// Counts frames received.
    pub fn received(&self, class: TrafficClass, frames: u64, bytes: u64) {
        let class = &self.0[class as usize];
        class.frames_in.fetch_add(frames, Relaxed);
        class.bytes_in.fetch_add(bytes, Relaxed);
    }

    /// Counts frames written.
    pub fn sent(&self, class: TrafficClass, frames: u64, bytes: u64) {
        let class = &self.0[class as usize];
        class.frames_out.fetch_add(frames, Relaxed);
        class.bytes_out.fetch_add(bytes, Relaxed);
    }

    /// Counts copies dropped.
    pub fn dropped(&self, class: TrafficClass, frames: u64) {
        self.0[class as usize].dropped.fetch_add(frames, Relaxed);
    }

    /// The counts by class, in the order of [`TrafficClass::ALL`].
    pub fn counts(&self) -> [ClassCount; 4] {
        std::array::from_fn(|index| {
            let class = &self.0[index];
            ClassCount {
                frames_in: class.frames_in.load(Relaxed),
                bytes_in: class.bytes_in.load(Relaxed),
                frames_out: class.frames_out.load(Relaxed),
                bytes_out: class.bytes_out.load(Relaxed),
                dropped: class.dropped.load(Relaxed),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_land_where_they_belong() {
        let counters = Counters::default();
        counters.refused(Refusal::TicketExpired);
        counters.refused(Refusal::TicketExpired);
        counters.dropped(TrafficClass::Bulk, DropReason::QueueFull, 3);
        assert_eq!(
            counters.refusals().filter(|(_, count)| *count > 0).collect::<Vec<_>>(),
            [(Refusal::TicketExpired, 2)]
        );
        assert_eq!(
            counters.drops().filter(|(.., count)| *count > 0).collect::<Vec<_>>(),
            [(TrafficClass::Bulk, DropReason::QueueFull, 3)]
        );
        let traffic = Traffic::default();
        traffic.received(TrafficClass::Screen, 1, 10);
        traffic.sent(TrafficClass::Screen, 2, 20);
        traffic.dropped(TrafficClass::Screen, 4);
        let mut sum = ClassCount::default();
        traffic.counts().iter().for_each(|count| sum.add(count));
        assert_eq!(sum, ClassCount { frames_in: 1, bytes_in: 10, frames_out: 2, bytes_out: 20, dropped: 4 });
    }
}
