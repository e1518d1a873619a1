//! The handshake's bounds, each with its reason. What the group and its records are bounded by stands in their own files.

use std::time::Duration;

/// Words in a join code \[COD-1\]: 3 x 11 bits, above the 30 that make a guess hopeless under [`CODE_GUESSES_MAX`].
pub const CODE_WORDS: usize = 3;

/// Longest text that is read as a join code in bytes: nine digits, three words of eight letters and generous
/// separators.
pub const CODE_TEXT_MAX: usize = 128;

/// Wrong proofs that burn a code \[HSK-11\]: people mistype; nobody mistypes five times and should go on.
pub const CODE_GUESSES_MAX: u8 = 5;

/// How long a code stands \[COD-3\]: a telephone call's time to read it out and type it.
pub const CODE_LIFETIME: Duration = Duration::from_secs(600);

/// Open codes of one leader at once: a customer's and a few providers'.
pub const CODES_OPEN_MAX: usize = 4;

/// Handshakes of one leader that wait for a proof \[HSK-10\]; each costs an SRP exponentiation and some 6 KiB.
pub const HANDSHAKES_OPEN_MAX: usize = 8;

/// Proved handshakes whose last message is still repeated on demand: one for every code that can be open, twice over.
pub const HANDSHAKES_PROVED_MAX: usize = 2 * CODES_OPEN_MAX;

/// How long either side waits for the next message \[HSK-10\].
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Proofs that a joiner sends for one typed code without a valid answer \[HSK-12\]: each gives whoever answers one
/// guess at the code.
pub const JOINER_PROOFS_MAX: u8 = 3;

/// How far behind the newest counter a pairwise message may arrive \[PWM-2\]: they are few, and a re-attachment
/// reorders no more.
pub const PAIRWISE_WINDOW: u64 = 64;
