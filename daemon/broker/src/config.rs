//! Every bound of the broker with its reason.

use std::time::Duration;

/// Failures in a row that lock an account \[GW-9\].
pub const FAILURES_MAX: u32 = 5;
/// How long they lock it \[GW-9\].
pub const SOFT_LOCK: Duration = Duration::from_secs(5 * 60);
/// Credentials of one account: a person's machines; the oldest gives way to a new one.
pub const CREDENTIALS_MAX: usize = 32;
/// Longest label of a credential in bytes, a host's name \[GW-5\].
pub const LABEL_LENGTH_MAX: usize = 64;
/// Longest display name in bytes of UTF-8.
pub const DISPLAY_NAME_LENGTH_MAX: usize = 64;
/// Live members of one session: what a data frame can address \[GW-8\].
pub const MEMBERS_MAX: usize = 50;
/// Guests of one session that hold a valid lobby ticket, so that a stranger who guesses a number cannot fill memory.
pub const LOBBY_GUESTS_MAX: usize = 8;
/// Entries kept of one session with those who left: what `relayctl session show` prints; the oldest are forgotten.
pub const MEMBERS_KEPT_MAX: usize = 200;
/// Numbers that a session may have open at once: a customer's and a few providers'.
pub const JOINS_OPEN_MAX: usize = 4;
/// How long a number waits for its joiner \[GW-4\].
pub const JOIN_VALIDITY: Duration = Duration::from_secs(10 * 60);
/// Free numbers are drawn at random; with 100,000 sessions of 900,000,000 numbers one draw in 9,000 is taken, so four
/// in a row are not.
pub const NUMBER_DRAWS: usize = 4;
/// Live sessions of one account: no person holds as many, a program gone wrong would.
pub const SESSIONS_PER_ACCOUNT_MAX: usize = 64;
/// A page of any list \[GW-10\].
pub const PAGE_MAX: usize = 1_000;
/// Work of one housekeeping call, so that no commit grows with the backlog.
pub const HOUSEKEEPING_MAX: usize = 100;
/// How long ended sessions are kept for reports: 400 days, a year and what a yearly report is late.
pub const ENDED_SESSION_KEPT: Duration = Duration::from_secs(400 * 86_400);
/// Look-ups from one network in a minute \[GW-11\].
pub const LOOKUPS_PER_MINUTE: u32 = 10;
/// Look-ups from everywhere in a minute \[GW-11\]: at this rate a number among 1,000 open ones is met by chance every 25
/// hours, and met numbers show no ciphertext.
pub const LOOKUPS_GLOBAL_PER_MINUTE: u32 = 600;
/// Logins from one network in a minute: an office behind one address, but no dictionary.
pub const LOGINS_PER_MINUTE: u32 = 30;
/// Logins from everywhere in a minute: half of what two Argon2 at once can do.
pub const LOGINS_GLOBAL_PER_MINUTE: u32 = 1_800;
/// Networks that the limiter remembers; when full, the one that has been quiet longest gives way.
pub const LIMITER_NETWORKS_MAX: usize = 65_536;
