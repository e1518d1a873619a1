//! Every bound of an attachment, named and with its reason. What an operator may change is in [`Limits`]; the rest is
//! fixed by the protocol or by arithmetic between the bounds.

use std::time::Duration;

use proto_spec::TrafficClass;
use serde::{Deserialize, Serialize};

/// Members of one session on one node: the longest destination list of a data frame \[FRM-11\].
pub const SESSION_MEMBERS_MAX: usize = proto_spec::frame::DESTINATIONS_MAX;
/// Lobby guests of one session: one leader talks to few strangers at once, and all peers fit one `attached` frame.
pub const SESSION_GUESTS_MAX: usize = 16;
/// What a lobby guest may send, and be sent, in all \[ATT-12\]: several times a whole join with classic keys.
pub const LOBBY_BYTES_MAX: u64 = 32 * 1024;
/// Ended sessions and removed members remembered at once; a week of ends at one per six seconds, 8 MiB.
pub const TOMBSTONES_MAX: usize = 100_000;
/// Departed sender numbers whose newest `attach_seq` a room remembers, so that a late packet of an old connection is
/// refused; more than a session's members many times over.
pub const DEPARTED_MAX: usize = 256;
/// An endpoint that has moved is sent what is under way to it for at least this long \[ATT-15\]: nodes of one site.
pub const MOVE_GRACE_MIN: Duration = Duration::from_millis(100);
/// And at most this long: a satellite hop on each side of the earth, twice.
pub const MOVE_GRACE_MAX: Duration = Duration::from_secs(2);
/// An attachment that a newer one on another node has overtaken ends after this long \[ATT-16\]: longer than the newer
/// one may wait for `ready` \[MBR-10\], so that no move is cut short.
pub const OVERTAKEN_MAX: Duration = Duration::from_secs(40);
/// Missed pings that end an attachment.
pub const PINGS_MISSED_MAX: u32 = 3;
/// Bytes taken from the queues for one write: four full TLS records.
pub const WRITE_BATCH_BYTES: usize = 64 * 1024;
/// The longest run of frames that travels as one item, so that a queue's limit is not overshot by more than this.
pub const RUN_LENGTH_MAX: usize = 64 * 1024;
/// What a queued item of a droppable class counts as at least: its bookkeeping, so that a queue of tiny frames is full by their number.
pub const ITEM_COST_MIN: usize = 256;
/// A queued slice is copied out when the buffer that it pins is more than this many times its own length \[FWD-9\].
pub const PINNED_RATIO_MAX: usize = 4;
/// Sustained bytes per second of frames other than data after admission: pings and renewals need a fraction of it.
pub const CONTROL_FRAMES_RATE: u64 = 4 * 1024;
/// Burst of the same: a few tickets and pings at once.
pub const CONTROL_FRAMES_BURST: u64 = 64 * 1024;
/// A copy that has waited this long in a queue half full stops pressing on its sender while others wait \[FWD-8\].
pub const LAG: Duration = Duration::from_secs(1);
/// Control and interactive frames may wait this long before the attachment is ended as fallen behind \[FWD-6\]: on a line of
/// 8 KiB/s twice what TCP and one large frame before them take.
pub const BEHIND_MAX: Duration = Duration::from_secs(20);
/// Addresses whose accept rate is remembered; the least recently seen is forgotten first.
pub const ADDRESSES_MAX: usize = 16 * 1024;
/// Bytes served to a class in one round while others wait: control and interactive go first, none starves \[FWD-5\].
pub const CLASS_QUANTUM: [usize; 4] = [24 * 1024, 12 * 1024, 12 * 1024, 8 * 1024];
/// Updates of replace keys that one queue follows; beyond it the newest are dropped whole.
pub const SCREEN_KEYS_MAX: usize = 1_024;

/// Fill of the node's queue memory, in percent of its maximum, from which bulk is shed \[FWD-10\].
pub const SHED_BULK_PERCENT: u64 = 80;
/// From which screen updates are shed and no new attachments are admitted.
pub const SHED_SCREEN_PERCENT: u64 = 90;

/// What one traffic class may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassLimits {
    /// Sustained ingress in bytes per second of one attachment; 0 for no limit.
    pub rate_bytes: u64,
    /// Ingress burst in bytes; counts only with a rate.
    pub burst_bytes: u64,
    /// Bytes of one sender that may be granted or queued and not yet written to every receiver.
    pub credit_bytes: u64,
    /// Bytes queued to one receiver.
    pub queue_bytes: usize,
}

/// What an operator may change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Attachments of this node.
    pub attachments_max: usize,
    /// From accept to a valid ticket, in milliseconds.
    pub admission_timeout_ms: u64,
    /// Connections without a valid ticket on the whole node.
    pub half_open_max: usize,
    /// The same from one address (/32 or /64).
    pub address_half_open_max: usize,
    /// Sustained connections per minute from one address (/32 or /64).
    pub address_accepts_per_minute: u32,
    /// How many may come at once.
    pub address_accepts_burst: u32,
    /// Silence after which the node pings, in milliseconds.
    pub ping_ms: u64,
    /// A frame that has begun must end within this, in milliseconds.
    pub frame_timeout_ms: u64,
    /// Written bytes must make progress within this, in milliseconds.
    pub write_timeout_ms: u64,
    /// Bytes in all queues of the node.
    pub node_queue_bytes_max: u64,
    /// Bytes per second from one attachment in all droppable classes, unless its ticket says; 0 for no limit.
    pub sender_rate_bytes: u64,
    /// Bytes times copies per second caused by one attachment; 0 for no limit.
    pub sender_fanout_rate_bytes: u64,
    /// The same for one session.
    pub session_fanout_rate_bytes: u64,
    /// The same for one account.
    pub account_fanout_rate_bytes: u64,
    /// Keys, acknowledgements, consent.
    pub control: ClassLimits,
    /// Input and chat.
    pub interactive: ClassLimits,
    /// Screen updates.
    pub screen: ClassLimits,
    /// Files.
    pub bulk: ClassLimits,
}

impl Default for Limits {
    fn default() -> Limits {
        const KIB: u64 = 1024;
        Limits {
            attachments_max: 10_000,
            admission_timeout_ms: 10_000,
            half_open_max: 1_024,
            address_half_open_max: 64,
            address_accepts_per_minute: 240,
            address_accepts_burst: 120,
            ping_ms: 15_000,
            frame_timeout_ms: 20_000,
            write_timeout_ms: 20_000,
            node_queue_bytes_max: 512 * KIB * KIB,
            sender_rate_bytes: 0,
            sender_fanout_rate_bytes: 0,
            session_fanout_rate_bytes: 0,
            account_fanout_rate_bytes: 0,
            control: ClassLimits {
                rate_bytes: 32 * KIB,
                burst_bytes: 512 * KIB,
                credit_bytes: 128 * KIB,
                queue_bytes: 256 * KIB as usize,
            },
            interactive: ClassLimits {
                rate_bytes: 64 * KIB,
                burst_bytes: 256 * KIB,
                credit_bytes: 32 * KIB,
                queue_bytes: 64 * KIB as usize,
            },
            screen: ClassLimits {
                rate_bytes: 0,
                burst_bytes: 0,
                credit_bytes: 512 * KIB,
                queue_bytes: 1024 * KIB as usize,
            },
            bulk: ClassLimits {
                rate_bytes: 0,
                burst_bytes: 0,
                credit_bytes: 512 * KIB,
                queue_bytes: 512 * KIB as usize,
            },
        }
    }
}

impl Limits {
    /// The limits of one class.
    pub const fn class(&self, class: TrafficClass) -> &ClassLimits {
        match class {
            TrafficClass::Control => &self.control,
            TrafficClass::Interactive => &self.interactive,
            TrafficClass::Screen => &self.screen,
            TrafficClass::Bulk => &self.bulk,
        }
    }

    /// Refuses limits that cannot work together; the sentence names the key to change.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub fn validate(&self) -> Result<(), String> {
        let positive: [(&str, u64); 11] = [
            ("attachments_max", self.attachments_max as u64),
            ("admission_timeout_ms", self.admission_timeout_ms),
            ("half_open_max", self.half_open_max as u64),
            ("address_half_open_max", self.address_half_open_max as u64),
            ("address_accepts_per_minute", u64::from(self.address_accepts_per_minute)),
            ("address_accepts_burst", u64::from(self.address_accepts_burst)),
            ("ping_ms", self.ping_ms),
            ("frame_timeout_ms", self.frame_timeout_ms),
            ("write_timeout_ms", self.write_timeout_ms),
            ("node_queue_bytes_max", self.node_queue_bytes_max),
            (
                "interactive.rate_bytes or control.rate_bytes",
                self.control.rate_bytes.min(self.interactive.rate_bytes),
            ),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name} must not be 0"));
        }
        if self.ping_ms > u64::from(u32::MAX) {
            return Err("ping_ms is longer than a frame can say: use at most 4294967295".into());
        }
        for class in TrafficClass::ALL {
            let (limits, name) = (self.class(class), class.name());
            if limits.credit_bytes < 32 * 1024 {
                return Err(format!(
                    "{name}.credit_bytes must be at least 32768, so that a frame fits a quarter of it"
                ));
            }
            if (limits.queue_bytes as u64) < limits.credit_bytes {
                return Err(format!(
                    "{name}.queue_bytes must be at least {name}.credit_bytes, or a single sender can fill a queue"
                ));
            }
            if limits.rate_bytes > 0 && limits.burst_bytes < limits.credit_bytes {
                return Err(format!(
                    "{name}.burst_bytes must be at least {name}.credit_bytes, or the first grant exceeds the rate"
                ));
            }
        }
        Ok(())
    }

    pub(crate) const fn admission_timeout(&self) -> Duration {
        Duration::from_millis(self.admission_timeout_ms)
    }

    pub(crate) const fn ping(&self) -> Duration {
        Duration::from_millis(self.ping_ms)
    }

    pub(crate) const fn frame_timeout(&self) -> Duration {
        Duration::from_millis(self.frame_timeout_ms)
    }

    pub(crate) const fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_and_survive_toml() {
        let limits = Limits::default();
        limits.validate().unwrap();
        let text = toml::to_string(&limits).unwrap();
        assert_eq!(toml::from_str::<Limits>(&text).unwrap(), limits);
        assert_eq!(toml::from_str::<Limits>("attachments_max = 7").unwrap().attachments_max, 7);
        assert!(toml::from_str::<Limits>("atachments_max = 7").is_err());
    }

    #[test]
    fn nonsense_is_named() {
        let mut limits = Limits::default();
        limits.bulk.queue_bytes = 1;
        assert!(limits.validate().unwrap_err().contains("bulk.queue_bytes"));
        let limits = Limits { ping_ms: 0, ..Limits::default() };
        assert!(limits.validate().unwrap_err().contains("ping_ms"));
        let mut limits = Limits::default();
        limits.control.burst_bytes = 1;
        assert!(limits.validate().unwrap_err().contains("control.burst_bytes"));
    }

    #[test]
    fn constants_fit_each_other() {
        const {
            assert!(SESSION_MEMBERS_MAX + SESSION_GUESTS_MAX <= proto_spec::frame::Attached::PEERS_MAX);
            assert!(SHED_BULK_PERCENT < SHED_SCREEN_PERCENT && SHED_SCREEN_PERCENT < 100);
            assert!(RUN_LENGTH_MAX >= proto_spec::frame::FRAME_LENGTH_MAX);
        }
    }
}
