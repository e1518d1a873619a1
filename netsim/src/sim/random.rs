//! Chance, so that a seed means the same on every platform: SplitMix64, with a stream of its own for each component, so
//! that one more draw in one place changes nothing in another.

/// One stream.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a component under a root seed; `index` tells many of a kind apart.
    pub fn stream(root: u64, component: &str, index: u64) -> Random {
        let mut state = mix(root ^ 0x5ea1_ca57_5eed);
        for byte in component.bytes() {
            state = mix(state ^ u64::from(byte));
        }
        Random(mix(state ^ index.wrapping_mul(GOLDEN)))
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// From `low` up to and without `high`; `low` if that is no range.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.draw() % high.saturating_sub(low).max(1)
    }

    /// Once in so many times.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.draw().is_multiple_of(count.max(1))
    }

    /// In so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.range(0, 100) < percent
    }

    /// One of them.
    ///
    /// # Panics
    /// If there is none: a bug of the caller.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.range(0, items.len() as u64) as usize]
    }

    /// A seed for a generator of a core.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        seed.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.draw().to_be_bytes()));
        seed
    }
}

impl rand_core::TryRng for Random {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok((self.draw() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.draw())
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in dst.chunks_mut(8) {
            chunk.copy_from_slice(&self.draw().to_be_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64: a bijection in which every input bit moves every output bit.
pub(crate) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_fixed_and_apart() {
        let first = |component, index| Random::stream(7, component, index).draw();
        assert_eq!(first("network", 0), first("network", 0));
        assert_ne!(first("network", 0), first("network", 1));
        assert_ne!(first("network", 0), first("node", 0));
        assert_ne!(Random::stream(7, "node", 1).draw(), Random::stream(8, "node", 1).draw());
        let mut random = Random::stream(1, "range", 0);
        assert!((0..1_000).all(|_| (3..9).contains(&random.range(3, 9))));
        assert_eq!(random.range(5, 5), 5);
    }
}
