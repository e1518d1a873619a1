//! The bounds and times of file transfers, each with its reason.

use std::time::Duration;

use crate::channel::limits::ARMED_STREAMS_MAX;

/// Files on their way from here at once: more only share the same line.
pub const SENDING_MAX: usize = 8;

/// Files on their way to here at once, offers that wait for an answer among them; as many streams as one member may
/// have waiting.
pub const RECEIVING_MAX: usize = ARMED_STREAMS_MAX;

/// Bytes of a file in one record: small beside a window, large beside a header.
pub const PIECE_LENGTH: usize = 32 * 1024;

/// Pieces in one read: few enough calls, and twice as much in memory at most.
pub const READ_PIECES: usize = 8;

/// How long receivers have to answer an offer \[APP-5\]: as long as their users are asked.
pub const OFFER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one who accepted waits for the start: the offer's time, and a way back after a lost connection.
pub const START_TIMEOUT: Duration = Duration::from_secs(180);

/// How long receivers have to confirm once they have every byte: writing and flushing a large file to a slow disk.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(600);

/// Between two reports of progress: a few a second.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Messages that wait for the control channel: what all transfers of all members can have to say at once.
pub const MESSAGES_MAX: usize = 1_024;
