//! The broker's store, in memory: keys in order, changes under conditions, all of a commit or nothing of it. It outlives
//! its node, as a disk does.

use std::collections::BTreeMap;

use sealcast_broker::{Compare, Key, Op, Range};

/// Written with each change and never read here: it would only fill memory.
const AUDIT: &[u8] = b"audit/";

#[derive(Debug, Default)]
pub(crate) struct Store {
    entries: BTreeMap<Key, Vec<u8>>,
}

impl Store {
    /// A key's value.
    pub(crate) fn get(&self, key: &Key) -> Option<&[u8]> {
        self.entries.get(key).map(Vec::as_slice)
    }

    /// The entries of a stretch.
    pub(crate) fn range(&self, range: &Range) -> Vec<(Key, Vec<u8>)> {
        let entries = self.entries.range(range.start.clone()..range.end.clone());
        let entries = entries.map(|(key, value)| (key.clone(), value.clone()));
        if range.reverse {
            entries.rev().take(range.limit).collect()
        } else {
            entries.take(range.limit).collect()
        }
    }

    /// Changes all of it if every condition holds; whether it did.
    pub(crate) fn commit(&mut self, compare: &[Compare], ops: Vec<Op>) -> bool {
        if compare.iter().any(|compare| self.get(&compare.key) != compare.expected.as_deref()) {
            return false;
        }
        for op in ops {
            match op {
                Op::Put(key, _) if key.0.starts_with(AUDIT) => {}
                Op::Put(key, value) => {
                    self.entries.insert(key, value);
                }
                Op::Delete(key) => {
                    self.entries.remove(&key);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_all_or_nothing() {
        let key = |name: &str| Key(name.as_bytes().to_vec());
        let put = |name: &str| Op::Put(key(name), name.as_bytes().to_vec());
        let mut store = Store::default();
        let absent = Compare { key: key("a"), expected: None };
        assert!(store.commit(std::slice::from_ref(&absent), vec![put("a"), put("b"), put("c")]));
        assert!(!store.commit(&[absent], vec![put("d")]), "it is there by now");
        assert_eq!(store.get(&key("d")), None);
        let range = |reverse| Range { start: key("a"), end: key("c"), limit: 1, reverse };
        assert_eq!(store.range(&range(false)), [(key("a"), b"a".to_vec())]);
        assert_eq!(store.range(&range(true)), [(key("b"), b"b".to_vec())]);
        let held = Compare { key: key("a"), expected: Some(b"a".to_vec()) };
        assert!(store.commit(&[held], vec![Op::Delete(key("a"))]));
        assert_eq!(store.get(&key("a")), None);
    }
}
