//! Which counters of a (sender, stream) have been opened: the sliding window, and the set fixed at a channel base.
//!
//! Neither decides whether a record is genuine: both are marked only after a record, and its signature, verified.

/// Width of the replay window and of the set at a base, in records \[REC-10\].
pub const REPLAY_WINDOW_RECORDS: u64 = 8_192;

const WORD_BITS: u64 = 64;
/// One word more than the window, so that the word being filled never erases the window's oldest (RFC 6479).
const WINDOW_WORDS: u64 = REPLAY_WINDOW_RECORDS / WORD_BITS + 1;
const SET_WORDS: u64 = REPLAY_WINDOW_RECORDS / WORD_BITS;

/// Why a counter is not (or no longer) acceptable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stale {
    /// It was opened already.
    Replayed,
    /// It lies below the window: nobody knows any more.
    TooOld,
}

/// The sliding window of RFC 6479, kept across epochs \[REC-10\].
#[derive(Clone, Debug)]
pub(crate) struct ReplayWindow {
    /// The highest marked counter; `None` before the first.
    highest: Option<u64>,
    words: [u64; WINDOW_WORDS as usize],
}

impl ReplayWindow {
    pub(crate) const fn new() -> Self {
        ReplayWindow { highest: None, words: [0; WINDOW_WORDS as usize] }
    }

    /// Whether a record with this counter may be opened.
    pub(crate) fn check(&self, counter: u64) -> Result<(), Stale> {
        let Some(highest) = self.highest else { return Ok(()) };
        if counter > highest {
            return Ok(());
        }
        if highest - counter >= REPLAY_WINDOW_RECORDS {
            return Err(Stale::TooOld);
        }
        let (word, bit) = window_place(counter);
        if self.words[word] & bit == 0 { Ok(()) } else { Err(Stale::Replayed) }
    }

    /// Notes that a record with this counter was opened, and moves the window if it is the highest.
    pub(crate) fn mark(&mut self, counter: u64) {
        match self.highest {
            None => self.highest = Some(counter),
            Some(highest) if counter > highest => {
                let (old, new) = (highest / WORD_BITS, counter / WORD_BITS);
                for word in 1..=(new - old).min(WINDOW_WORDS) {
                    self.words[((old + word) % WINDOW_WORDS) as usize] = 0;
                }
                self.highest = Some(counter);
            }
            Some(highest) if highest - counter >= REPLAY_WINDOW_RECORDS => return,
            Some(_) => {}
        }
        let (word, bit) = window_place(counter);
        self.words[word] |= bit;
    }
}

const fn window_place(counter: u64) -> (usize, u64) {
    (((counter / WORD_BITS) % WINDOW_WORDS) as usize, 1 << (counter % WORD_BITS))
}

/// The counters below a channel base that have not been opened: what carried records may still bring \[REC-14\].
#[derive(Clone, Debug)]
pub(crate) struct BaseSet {
    base: u64,
    missing: u64,
    /// A set bit is a missing counter; the range is exactly as wide as the bitmap, so places are unique.
    words: Box<[u64; SET_WORDS as usize]>,
}

impl BaseSet {
    /// Fixes the set at `base` from what the window and the set of the base before know.
    pub(crate) fn fixed_at(base: u64, window: &ReplayWindow, before: Option<&BaseSet>) -> BaseSet {
        let mut set = BaseSet { base, missing: 0, words: Box::new([0; SET_WORDS as usize]) };
        for counter in base.saturating_sub(REPLAY_WINDOW_RECORDS)..base {
            let missing = match before {
                Some(before) if counter < before.base => before.is_missing(counter),
                _ => window.check(counter).is_ok(),
            };
            if missing {
                let (word, bit) = set_place(counter);
                set.words[word] |= bit;
                set.missing += 1;
            }
        }
        set
    }

    /// Whether a record below the base with this counter is still to come.
    pub(crate) fn is_missing(&self, counter: u64) -> bool {
        let (word, bit) = set_place(counter);
        counter < self.base && self.base - counter <= REPLAY_WINDOW_RECORDS && self.words[word] & bit != 0
    }

    /// Notes that it came.
    pub(crate) fn mark(&mut self, counter: u64) {
        if self.is_missing(counter) {
            let (word, bit) = set_place(counter);
            self.words[word] &= !bit;
            self.missing -= 1;
        }
    }

    /// Whether nothing is missing any more.
    pub(crate) const fn drained(&self) -> bool {
        self.missing == 0
    }
}

const fn set_place(counter: u64) -> (usize, u64) {
    (((counter / WORD_BITS) % SET_WORDS) as usize, 1 << (counter % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// \[REC-10\] Reordering up to the window's edge is accepted; one further is not.
    #[test]
    fn the_edge_is_exact() {
        for highest in [8_191, 8_192, 10_000, 65_537, u64::MAX - 1] {
            let mut window = ReplayWindow::new();
            window.mark(highest);
            assert_eq!(window.check(highest), Err(Stale::Replayed));
            assert_eq!(window.check(highest + 1), Ok(()));
            let edge = highest - (REPLAY_WINDOW_RECORDS - 1);
            assert_eq!(window.check(edge + 1), Ok(()));
            assert_eq!(window.check(edge), Ok(()));
            if let Some(beyond) = edge.checked_sub(1) {
                assert_eq!(window.check(beyond), Err(Stale::TooOld));
            }
            window.mark(edge);
            assert_eq!(window.check(edge), Err(Stale::Replayed));
            assert_eq!(window.check(edge + 1), Ok(()));
        }
    }

    /// \[REC-10\] \[REC-14\]
    #[test]
    fn a_set_is_fixed_at_its_base_and_only_shrinks() {
        let mut window = ReplayWindow::new();
        for counter in (0..20_000).filter(|counter| counter % 3 != 0) {
            window.mark(counter);
        }
        let mut set = BaseSet::fixed_at(15_000, &window, None);
        assert_eq!(set.base, 15_000);
        assert!(!set.is_missing(15_000), "the base itself is no older record");
        assert!(!set.is_missing(15_003));
        assert!(set.is_missing(14_997));
        assert!(!set.is_missing(14_998));
        assert!(!set.is_missing(11_805), "below the sliding window nobody knows");
        assert!(set.is_missing(11_808), "the window's last word is known");
        set.mark(14_997);
        assert!(!set.is_missing(14_997));
        let next = BaseSet::fixed_at(15_900, &window, Some(&set));
        assert!(!next.is_missing(14_997), "opened by carrying, though the window never saw it");
        assert!(next.is_missing(14_994));
        assert!(next.is_missing(15_003));
        assert!(!next.drained());
    }

    #[test]
    fn a_set_drains() {
        let mut window = ReplayWindow::new();
        (0..100).filter(|counter| *counter != 41).for_each(|counter| window.mark(counter));
        let mut set = BaseSet::fixed_at(100, &window, None);
        assert!(!set.drained());
        set.mark(41);
        set.mark(41);
        assert!(set.drained());
        assert!(BaseSet::fixed_at(0, &ReplayWindow::new(), None).drained());
    }

    proptest! {
        /// The window agrees with a plain set of all counters ever marked.
        #[test]
        fn the_window_agrees_with_a_plain_set(steps in prop::collection::vec((0u64..30_000, any::<bool>()), 1..400)) {
            let mut window = ReplayWindow::new();
            let mut seen = BTreeSet::new();
            for (counter, far) in steps {
                let counter = if far { counter } else { seen.last().copied().unwrap_or(0) + counter % 130 };
                let expected = match seen.last() {
                    Some(highest) if counter + REPLAY_WINDOW_RECORDS <= *highest => Err(Stale::TooOld),
                    _ if seen.contains(&counter) => Err(Stale::Replayed),
                    _ => Ok(()),
                };
                prop_assert_eq!(window.check(counter), expected);
                window.mark(counter);
                if expected.is_ok() {
                    seen.insert(counter);
                }
            }
        }
    }
}
