//! Every bound and interval of trunks, named and with its reason. What an operator sets is in [`Settings`].

use std::time::Duration;

use crate::config::Config;

/// A sign of life goes this often on control \[TRK-9\].
pub const HEARTBEAT: Duration = Duration::from_millis(150);
/// A trunk that is silent for this long is dead \[TRK-10\]: four heartbeats.
pub const SILENCE_MAX: Duration = Duration::from_millis(600);
/// The round trip is told to the overlay this often: it smooths over eight.
pub const RTT_INTERVAL: Duration = Duration::from_secs(1);
/// Wall clocks may disagree this much \[TRK-11\]: as where signed times are judged.
pub const CLOCK_OFFSET_MAX: Duration = sealcast_mesh::config::CLOCK_LEEWAY;
/// From a control connection to the hellos of both ends.
pub const HELLO_TIME: Duration = Duration::from_secs(5);
/// From the hellos to a link that is up: a handshake over a satellite fits.
pub const UP_TIME: Duration = Duration::from_secs(5);
/// From a call of a name to the other end's welcome.
pub const DIAL_TIME: Duration = Duration::from_secs(5);
/// From a data connection's welcome to the number of its trunk.
pub const TRUNK_NUMBER_TIME: Duration = Duration::from_secs(2);
/// How long a reason may take to leave before the connection is cut.
pub const LAST_WORDS: Duration = Duration::from_millis(300);
/// How long an ended trunk of the same pair may take to say that its link is down.
pub const TURN_TIME: Duration = Duration::from_secs(2);
/// Unacknowledged bytes end a connection after this: heartbeats notice long before.
pub const USER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after an accept failed for want of descriptors: long enough for some to be freed.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Handshakes at once: all nodes of a large mesh that come back together wait a moment, no more.
pub const HANDSHAKES_MAX: usize = 64;
/// The same from one address (/32, /64): several nodes behind one.
pub const ADDRESS_HANDSHAKES_MAX: usize = 16;
/// gRPC connections that other nodes hold: each holds one, two while it renews.
pub const CALLS_MAX: usize = 256;
/// Nodes that are dialled at once.
pub const DIALS_MAX: usize = 64;
/// Orders to the task that owns the connections.
pub const ORDERS_MAX: usize = 256;
/// Control connections that wait for it.
pub const INCOMING_MAX: usize = 16;
/// Messages that wait for one neighbour: what a digest of the largest mesh asks for.
pub const MESSAGES_MAX: usize = 8_192;
/// Their bytes.
pub const MESSAGES_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Messages written at once are gathered up to this.
pub const CONTROL_BATCH_BYTES: usize = 32 * 1024;
/// Streams of one control connection: one each way, and identification.
pub const STREAMS_MAX: usize = 32;
/// Control connections of one pair at once: two that cross, and one that has just ended.
pub const CONNECTIONS_OF_PEER_MAX: u32 = 4;
/// Share of the machine's memory above which no control connection is made.
pub const MEMORY_SHARE_MAX: f64 = 0.9;
/// How long a control connection without streams stays.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Sources and reasons remembered so that each is logged once a minute \[TRK-5\].
pub const SAID_MAX: usize = 256;
/// How long they are.
pub const SAID_KEEP: Duration = Duration::from_secs(60);

/// Bytes queued for one neighbour, by class: control, interactive, screen, bulk \[TRK-16\]. Screen and bulk hold about a
/// tenth of a second of a slow trunk (300 Mbit/s); the other two what all attachments of a node may have been granted in
/// a burst.
pub const QUEUE_BYTES_MAX: [usize; 4] = [4 * 1024 * 1024, 2 * 1024 * 1024, 4 * 1024 * 1024, 4 * 1024 * 1024];
/// What a queued run counts as beside its bytes: its bookkeeping, so that a queue of tiny runs is full by their number.
pub const ITEM_OVERHEAD: usize = 192;
/// Bytes of one gathered write: four full TLS records.
pub const WRITE_BATCH_BYTES: usize = 64 * 1024;
/// Unsent bytes in the kernel above which a data connection counts as full: else class priority would mean nothing.
pub const NOTSENT_LOWAT_BYTES: u32 = 32 * 1024;
/// Reads and writes of one turn; then others have theirs.
pub const TURN_STRIDES: usize = 8;

const _: () = {
    assert!(SILENCE_MAX.as_millis() >= 3 * HEARTBEAT.as_millis());
    assert!(MESSAGES_BYTES_MAX > 2 * proto_spec::mesh::MESH_MESSAGE_LENGTH_MAX);
    assert!(INCOMING_MAX <= HANDSHAKES_MAX);
};

/// What an operator sets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Links that the node aims for; bounds control connections.
    pub links_max: usize,
    /// Until a TLS handshake is complete.
    pub handshake: Duration,
    /// How other nodes reach this one, as `host:port`; what is announced on the local network.
    pub trunk_address: String,
    /// Looks for nodes on the local network.
    pub mdns: bool,
    /// Program and version, as in the hello.
    pub software: String,
    /// Wire versions that the node speaks, oldest and newest.
    pub wire_versions: (u16, u16),
}

impl Settings {
    /// Of a configuration, once the port is bound.
    pub fn of(config: &Config, port: u16) -> Settings {
        let overlay = sealcast_mesh::Config::default();
        Settings {
            links_max: config.mesh.links_max,
            handshake: Duration::from_millis(config.connections.handshake_ms),
            trunk_address: config.trunk_address(port),
            mdns: config.mesh.mdns,
            software: crate::config::SOFTWARE.to_owned(),
            wire_versions: overlay.wire_versions,
        }
    }

    /// Control connections at once: every link, and as many that come and go.
    pub(super) fn connections_max(&self) -> u32 {
        u32::try_from(2 * (self.links_max + sealcast_mesh::config::LINKS_SPARE)).unwrap_or(u32::MAX)
    }
}
