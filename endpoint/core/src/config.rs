//! Every bound of an endpoint that is not a channel's or a file's, each with its reason.

use std::time::Duration;

/// A question to the user counts as a no after this: long enough to read a name to somebody on the telephone.
pub const PROMPT_TIMEOUT: Duration = Duration::from_secs(60);
/// Questions open at once; what comes beyond is denied, so that nobody can flood the user.
pub const PROMPTS_MAX: usize = 16;
/// Chat in bytes of UTF-8: a page of text, well within one record.
pub const CHAT_BYTES_MAX: usize = 4_096;
/// Without an attachment for this long the endpoint gives up: longer than any restart of a node, shorter than the
/// patience of who waits.
pub const RECONNECT_MAX: Duration = Duration::from_secs(10 * 60);
/// Giving up on the very first attachment: a user who types an address wrong wants to know.
pub const FIRST_CONNECT_MAX: Duration = Duration::from_secs(30);
/// First pause between attempts to attach; doubles up to [`BACK_OFF_MAX`], of which a random half is waited.
pub const BACK_OFF_MIN: Duration = Duration::from_millis(250);
/// Longest pause between attempts: a node that is back is found within this.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(8);
/// Longest pause between attempts to make a standby again: without one the next loss is an interruption, so a node that is
/// back is found within this; a random half of it keeps a node's endpoints apart.
pub const STANDBY_BACK_OFF_MAX: Duration = Duration::from_secs(3);
/// Longest pause between attempts while the node before goes out of service.
pub const MOVE_BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// An accepted attachment that was lost sooner counts as a failed attempt: longer than a node needs to think better of
/// it, shorter than a moment of bad network that nobody should wait after.
pub const LASTING_MIN: Duration = Duration::from_secs(5);
/// A node that refuses for now is left out for at least this long while others are known: long enough to reach them.
pub const SHUN_MIN: Duration = Duration::from_secs(5);
/// A node whose attachment was lost is left out for this long while others are free: longer than reaching one of them
/// takes, short enough that it is asked soon if they are dead as well.
pub const LOST_SHUN: Duration = Duration::from_secs(2);
/// No node is left out for longer, whatever it asked for: a mesh changes.
pub const SHUN_MAX: Duration = Duration::from_secs(10 * 60);
/// A node that said to move is asked for a standby again after this at the latest: it may be back, and a mesh of two has
/// no other.
pub const MOVE_SHUN_MAX: Duration = Duration::from_secs(15);
/// Round trips to the own node without a byte of it, after which a suspected node counts as dead; at least
/// [`SUSPICION_MIN`].
pub const SUSPICION_ROUND_TRIPS: u32 = 3;
/// See [`SUSPICION_ROUND_TRIPS`]: a scheduler's hiccup at the node must not move its endpoints.
pub const SUSPICION_MIN: Duration = Duration::from_millis(300);
/// Between the end of a suspicion and the next: what is pinged stays a trickle.
pub const SUSPICION_PAUSE: Duration = Duration::from_secs(1);
/// An activated attachment without `ready` counts as in use after this: the node has longer to hear of dead ones.
pub const READY_MAX: Duration = Duration::from_secs(5);
/// After a move the older attachment is still received from for this long, unless its node closes it before: twice the
/// largest round trip fits in many times.
pub const RETIRING_MAX: Duration = Duration::from_secs(10);
/// A `move` without `ready` from elsewhere is carried out after this at the latest, whatever time the node gave.
pub const MOVE_MAX: Duration = Duration::from_secs(60);
/// Nodes that are remembered, and addresses of one: placement names a few, an invite perhaps a dozen.
pub const NODES_MAX: usize = 32;
/// See [`NODES_MAX`].
pub const ADDRESSES_MAX: usize = 16;
/// From connection to `attached`; a node that is silent for longer is given up.
pub const ADMISSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Pings that may go without any byte in return before the connection counts as lost.
pub const PINGS_MISSED_MAX: u32 = 3;
/// Least ping interval that a node may ask for: a smaller one would be a busy loop.
pub const PING_MIN: Duration = Duration::from_secs(1);
/// Greatest ping interval that the endpoint waits for before it asks by itself.
pub const PING_MAX: Duration = Duration::from_secs(60);
/// Frames waiting for a connection, in bytes, control and interactive classes: above it channels are not asked for
/// more; keys and heartbeats still pass.
pub const OUT_QUEUE_BYTES: usize = 64 * 1024;
/// As [`OUT_QUEUE_BYTES`] for screen and bulk: what TLS and socket drain between two turns of the shell.
pub const OUT_QUEUE_BULK_BYTES: usize = 256 * 1024;
/// No class may hold more than this whatever happens; the attachment is given up and begins anew.
pub const OUT_QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of each class that go out before the next class has its turn, in the order of service; together one gathered
/// write.
pub const CLASS_QUANTUM_BYTES: [usize; 4] = [24 * 1024, 16 * 1024, 16 * 1024, 8 * 1024];
/// What one write gathers: four TLS records.
pub const GATHER_BYTES: usize = 64 * 1024;
/// Frames that a guest keeps for members it cannot reach before it is one.
pub const HELD_FRAMES_MAX: usize = 64;
/// A call to the gateway is tried again after this; it doubles up to [`CALL_RETRY_MAX`].
pub const CALL_RETRY_MIN: Duration = Duration::from_millis(500);
/// Longest pause between two tries of a call.
pub const CALL_RETRY_MAX: Duration = Duration::from_secs(30);
/// Tries of a call that a user waits for.
pub const CALL_TRIES_MAX: u32 = 5;
/// Calls open at once.
pub const CALLS_MAX: usize = 64;
/// A member ticket that did not bring its joiner out of the lobby is sent again after this.
pub const TICKET_RESEND: Duration = Duration::from_secs(3);
/// A joiner who proved its code and was admitted but never comes: no longer than a lobby ticket lives.
pub const TICKET_RESEND_MAX: Duration = Duration::from_secs(10 * 60);
/// A ticket's life when its claims cannot be read.
pub const TICKET_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// A ticket is renewed no sooner than this, whatever life it claims, and again after this if too many calls are open: a
/// smaller one would be a busy loop.
pub const RENEW_MIN: Duration = Duration::from_secs(10);
/// On leaving, the goodbye has this long to go out.
pub const FAREWELL_MAX: Duration = Duration::from_secs(3);
/// Codes that other providers may have asked for and that are open.
pub const CODES_ASKED_MAX: usize = 4;
/// Seconds that a code lives \[COD-3\].
pub const CODE_LIFE_S: u32 = sealcast_mpsl::limits::CODE_LIFETIME.as_secs() as u32;
/// Who asks a provider's leader for a code waits this long.
pub const CODE_ANSWER_MAX: Duration = Duration::from_secs(20);

const _: () = assert!(OUT_QUEUE_BULK_BYTES < OUT_QUEUE_BYTES_MAX && OUT_QUEUE_BYTES < OUT_QUEUE_BYTES_MAX);
const _: () = assert!(BACK_OFF_MIN.as_millis() < BACK_OFF_MAX.as_millis());
