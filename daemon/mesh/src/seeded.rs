//! The node's randomness: ChaCha20 from a seed, at a place that can be written down.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Seeded {
    seed: [u8; 32],
    words: u64,
}

impl std::fmt::Debug for Seeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seeded(.., {})", self.words)
    }
}

impl Seeded {
    pub(crate) const fn new(seed: [u8; 32]) -> Seeded {
        Seeded { seed, words: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        let mut generator = ChaCha20Rng::from_seed(self.seed);
        generator.set_word_pos(u128::from(self.words));
        self.words += 2;
        generator.next_u64()
    }

    /// A whole number below `end`, 0 if that is 0; even enough for waits.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}
