//! The trace of a run, folded into 64 bits: equal seeds and code give equal traces, debug or release, on any platform.

use super::random::mix;

/// What happened so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Trace {
    hash: u64,
    events: u64,
}

impl Trace {
    /// Folds a number in.
    pub fn number(&mut self, value: u64) {
        self.hash = mix(self.hash.rotate_left(5) ^ value);
    }

    /// Folds bytes in, with their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.hash = fold(self.hash, bytes);
    }

    /// Something happened: at this time, to this component.
    pub fn event(&mut self, at_ns: u64, who: u64) {
        self.events += 1;
        self.number(at_ns);
        self.number(who);
    }

    /// The fold.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Events so far.
    pub const fn events(&self) -> u64 {
        self.events
    }
}

/// Folds bytes into a state, eight at a time.
pub(crate) fn fold(mut state: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = mix(state ^ u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(state ^ u64::from_le_bytes(last) ^ (rest.len() as u64) << 56)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fixed, so that traces of two builds can be compared.
    #[test]
    fn the_fold_never_changes() {
        let mut trace = Trace::default();
        trace.event(5, 7);
        trace.bytes(b"sealcast");
        trace.bytes(b"");
        let once = trace.hash();
        let mut again = Trace::default();
        again.event(5, 7);
        again.bytes(b"sealcast");
        again.bytes(b"");
        assert_eq!(once, again.hash());
        again.bytes(b"\0");
        assert_ne!(once, again.hash());
        assert_ne!(fold(0, b"a"), fold(0, b"a\0"));
    }
}
