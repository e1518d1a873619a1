//! The channels' bounds and times, each with its reason. Bounds that both sides agree on are in `proto_spec::channel`.

use std::time::Duration;

use proto_spec::TrafficClass;
use proto_spec::channel::{WINDOW_INITIAL, WINDOW_MAX};

/// Costs of payloads that wait to be sealed on one stream: a few of the largest records, so that the reader of a file
/// is always ahead, and what waits is still cheap to throw away.
pub const QUEUE_COST_MAX: u64 = 256 * 1024;

/// What a receiver holds of one file's stream, out of order or not yet written: twice a sender's widest window, so that
/// the disk may pause without the network noticing.
pub const FILE_CAPACITY: u64 = WINDOW_MAX;

/// What a receiver holds of a control or chat stream: its content is taken at once, so only gaps fill it.
pub const FIXED_CAPACITY: u64 = 128 * 1024;

/// The least congestion window: two of the largest records, so that one loss never stops a channel.
pub const CONGESTION_WINDOW_MIN: u64 = 2 * 33 * 1024;

/// By how much a congestion window grows a round trip once it has been cut: about one large record.
pub const CONGESTION_STEP: u64 = 32 * 1024;

/// How far ahead of a record another must arrive for it to be lost \[CHN-7\]; paths are in order but for repairs.
pub const LOSS_PACKETS: u64 = 3;

/// The least time after which a record is lost that a later one overtook: a scheduler's hiccup.
pub const LOSS_DELAY_MIN: Duration = Duration::from_millis(10);

/// Round trip before the first sample: a continent, so that nothing is repeated needlessly at the start.
pub const RTT_INITIAL: Duration = Duration::from_millis(250);

/// The longest wait between two probes of a silent member: it comes back to a network within about that.
pub const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// How long a receiver may wait with an acknowledgement \[CHN-5\].
pub const ACK_DELAY_MAX: Duration = Duration::from_millis(25);

/// Records after which an acknowledgement does not wait \[CHN-5\].
pub const ACK_RECORDS: u32 = 8;

/// Costs after which an acknowledgement does not wait \[CHN-5\]: four large records, an eighth of the widest window.
pub const ACK_COST: u64 = 128 * 1024;

/// Bytes of acknowledgements a second \[CHN-5\]: half of what the control class sustains, the rest is for messages.
pub const ACK_RATE_BYTES: u64 = 16 * 1024;

/// Bytes of acknowledgements at once \[CHN-5\]: an eighth of the control class's burst.
pub const ACK_BURST_BYTES: u64 = 64 * 1024;

/// What an acknowledgement record costs beyond its packet: the frame around it.
pub const ACK_FRAME_BYTES: u64 = 16;

/// How long a member may take for what was on its way to it while others wait for it \[CHN-10\]: a node's restart and
/// the way back fit in, a dead-slow line does not.
pub const LAG_MAX: Duration = Duration::from_secs(20);

/// How often a lost member is told where the channel goes on \[CHN-11\].
pub const SKIP_INTERVAL: Duration = Duration::from_secs(1);

/// The widest congestion window of a class towards one member \[CHN-6\]: beneath what its node keeps for it before it
/// drops bulk (512 KiB) or detaches it (control 256 KiB, interactive 64 KiB).
pub const fn congestion_window_max(class: TrafficClass) -> u64 {
    match class {
        TrafficClass::Control => 128 * 1024,
        TrafficClass::Interactive => 48 * 1024,
        TrafficClass::Screen | TrafficClass::Bulk => 480 * 1024,
    }
}

const _: () = assert!(FILE_CAPACITY >= WINDOW_INITIAL && FIXED_CAPACITY >= WINDOW_INITIAL);
const _: () = assert!(congestion_window_max(TrafficClass::Bulk) >= CONGESTION_WINDOW_MIN);

/// How long a record of an older epoch is repaired \[CHN-8\]: members keep older keys no longer.
pub const CARRY_MAX: Duration = Duration::from_secs(120);

/// Probes in vain after which the answer to the next says what was lost \[CHN-9\]: queues have emptied by then.
pub const PROBES_UNTIL_LOST: u32 = 3;

/// The least time between two repetitions that were asked for by hints \[CHN-13\]: a storm of them costs a few records a
/// second, and what one of them missed the next brings soon enough.
pub const HINT_INTERVAL: Duration = Duration::from_millis(100);

/// Without news of what a present member lacks for so many round trips, and for at least [`SILENCE_MIN`], the own node is
/// suspected \[SES-18\].
pub const SILENCE_ROUND_TRIPS: u32 = 3;

/// See [`SILENCE_ROUND_TRIPS`]: a busy machine's hiccup, with an acknowledgement that may wait on top.
pub const SILENCE_MIN: Duration = Duration::from_millis(300);

/// Files' streams of one member that may have records waiting for their transfer's start: its transfers at once.
pub const ARMED_STREAMS_MAX: usize = 8;
