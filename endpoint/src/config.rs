//! Every bound of the library's shell, each with its reason; the core has its own.

use std::time::Duration;

/// Between the starts of two attempts to connect (RFC 8305, section 5, in its recommended range).
pub(crate) const STAGGER: Duration = Duration::from_millis(150);
/// One attempt, from the first packet to the end of TLS and greeting.
pub(crate) const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// Addresses tried in one go: a few nodes with their ports over both families.
pub(crate) const CANDIDATES_MAX: usize = 48;
/// Addresses of one host name that are tried, half of each family.
pub(crate) const ADDRESSES_PER_HOST_MAX: usize = 8;
/// Resolving a host name.
pub(crate) const RESOLVE_MAX: Duration = Duration::from_secs(5);
/// One call to the gateway; Argon2 may wait in a queue there.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(20);
/// A gateway's sentence is shown no longer than this.
pub(crate) const SENTENCE_CHARS_MAX: usize = 300;
/// Events that wait for the user's program; when it is full the session waits.
pub(crate) const EVENTS_MAX: usize = 256;
/// Commands that wait for the session.
pub(crate) const COMMANDS_MAX: usize = 32;
/// Connections to nodes at a time: one in use, one that stands by, one that is being left, one that the core has not
/// placed yet.
pub(crate) const WIRES_MAX: usize = 4;
/// Nodes whose round trips are measured before a session begins: placement chooses among a few.
pub(crate) const PROBES_MAX: usize = 4;
/// Measuring them costs a user no more than this.
pub(crate) const PROBE_MAX: Duration = Duration::from_millis(300);
/// Nodes whose gateways are tried for one call.
pub(crate) const GATEWAYS_MAX: usize = 3;
/// Addresses that are remembered from what gateways named.
pub(crate) const NAMED_MAX: usize = 32;
/// Received chunks that wait for the core.
pub(crate) const RX_CHUNKS_MAX: usize = 4;
/// Bytes read from a connection at once.
pub(crate) const RX_CHUNK_BYTES: usize = 64 * 1024;
/// Bytes that do not yet make a chunk are told to the core as life this often: several times while it doubts a node
/// (300 ms at least), and not for each segment.
pub(crate) const LIFE_INTERVAL: Duration = Duration::from_millis(100);
/// Results of calls and file tasks that wait for the core.
pub(crate) const RESULTS_MAX: usize = 64;
/// Operations that wait for one file's task: as many pieces as a channel's window may hold, and those around them.
pub(crate) const FILE_OPERATIONS_MAX: usize = proto_spec::channel::WINDOW_RECORDS_MAX as usize + 16;
/// Bytes hashed or copied at once.
pub(crate) const FILE_CHUNK_BYTES: usize = 1024 * 1024;
/// A credential or cache file is no longer than this.
pub(crate) const SMALL_FILE_BYTES_MAX: u64 = 16 * 1024;
/// After the last word of a session, what is queued has this long to be written.
pub(crate) const FLUSH_MAX: Duration = Duration::from_secs(2);

/// How long a connection to the gateway outlives its last call: joins and admissions make several in a row, a session
/// in its middle makes a few an hour and should hold no place at the gateway meanwhile.
pub(crate) const GATEWAY_IDLE: Duration = Duration::from_secs(10);
