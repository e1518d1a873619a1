//! Every bound of the program, each with its reason.

use std::time::Duration;

/// Endpoints at a time: a few hundred is what one process is meant for.
pub(crate) const ENDPOINTS_MAX: usize = 1_024;
/// Bytes of a command; a path and a line of chat fit in.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;
/// Commands that wait to be taken from standard input, and for one endpoint.
pub(crate) const COMMANDS_MAX: usize = 64;
/// Lines that wait for standard output; when it is full, endpoints wait, as they do for any slow reader.
pub(crate) const OUTPUT_LINES_MAX: usize = 4_096;
/// Streams that one endpoint checks: a session of 50 members, each with one.
pub(crate) const CHECKS_MAX: usize = 64;
/// Lines a second of one stream: beyond it chat is not what is measured.
pub(crate) const RATE_MAX: f64 = 1_000.0;
/// A line that was not taken is said again after this.
pub(crate) const SAY_AGAIN: Duration = Duration::from_millis(20);
/// Delays are counted by the millisecond up to this; longer ones count as this and show in the maximum.
pub(crate) const DELAY_MS_MAX: usize = 5_000;
/// After the end of the input, endpoints have this long to say goodbye.
pub(crate) const GOODBYE_MAX: Duration = Duration::from_secs(10);
/// A file that is made up to be sent is no longer than this.
pub(crate) const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
