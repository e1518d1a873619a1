//! Which two nodes reflect a session's memberships: rendezvous hashing \[MBR-3\]. Equal inputs give equal homes
//! everywhere; a node that comes or goes moves only the sessions that it wins or held.

use proto_spec::{NodeNumber, SessionId};
use serde::{Deserialize, Serialize};

/// The homes of a session: the best, and the best of another failure domain (else the second best).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Homes {
    /// The node with the highest score.
    pub first: Option<NodeNumber>,
    /// The second home.
    pub second: Option<NodeNumber>,
}

impl Homes {
    /// Both, as far as there are.
    pub fn nodes(self) -> impl Iterator<Item = NodeNumber> {
        self.first.into_iter().chain(self.second)
    }

    /// Whether the node is one of them.
    pub fn includes(self, node: NodeNumber) -> bool {
        self.nodes().any(|home| home == node)
    }
}

/// A node that may be home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HomeCandidate {
    /// Its number.
    pub node: NodeNumber,
    /// Equal for nodes that fail together.
    pub domain: u32,
}

/// Finds the homes among the nodes that are within reach and not draining.
pub fn homes(session: SessionId, candidates: &[HomeCandidate]) -> Homes {
    let key = fold(session);
    let mut best: Option<(u64, HomeCandidate)> = None;
    for candidate in candidates {
        let score = score(key, candidate.node);
        if best.is_none_or(|(highest, node)| (score, candidate.node) > (highest, node.node)) {
            best = Some((score, *candidate));
        }
    }
    let Some((_, first)) = best else { return Homes::default() };
    // Another failure domain counts for more than any score.
    let second = candidates
        .iter()
        .filter(|candidate| candidate.node != first.node)
        .map(|candidate| (candidate.domain != first.domain, score(key, candidate.node), candidate.node))
        .max();
    Homes { first: Some(first.node), second: second.map(|(_, _, node)| node) }
}

/// How much a node wants a session: the finaliser of SplitMix64 over the session's halves and the number.
fn score(key: u64, node: NodeNumber) -> u64 {
    mix(key ^ u64::from(node.value()).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn fold(session: SessionId) -> u64 {
    let half = |bytes: &[u8]| bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    mix(half(&session.0[..8])) ^ half(&session.0[8..])
}

/// A bijection of 64 bits in which every input bit moves every output bit.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(count: u16, domains: u32) -> Vec<HomeCandidate> {
        (1..=count)
            .map(|number| HomeCandidate {
                node: NodeNumber::new(number).unwrap(),
                domain: u32::from(number) % domains,
            })
            .collect()
    }

    fn session(value: u32) -> SessionId {
        let mut bytes = [0; 16];
        bytes[12..].copy_from_slice(&value.to_be_bytes());
        SessionId(bytes)
    }

    /// \[MBR-3\]: fixed results, so that two versions of a program never disagree about homes.
    #[test]
    fn scores_never_change() {
        let found: Vec<_> = (0..4)
            .map(|value| {
                let homes = homes(session(value), &candidates(10, 10));
                homes.nodes().map(NodeNumber::value).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(found, [[4, 10], [7, 1], [7, 6], [3, 2]]);
    }

    /// \[MBR-3\]: two different nodes, of different failure domains while there are two; a node that leaves moves only
    /// the sessions that it was home of; the load is spread.
    #[test]
    fn homes_are_apart_and_stay() {
        let all = candidates(12, 3);
        let mut loads = [0u32; 13];
        for value in 0..3_000 {
            let before = homes(session(value), &all);
            let [first, second] = [before.first.unwrap(), before.second.unwrap()];
            assert_ne!(first.value() % 3, second.value() % 3);
            before.nodes().for_each(|node| loads[usize::from(node.value())] += 1);
            let without_5: Vec<_> = all.iter().copied().filter(|node| node.node.value() != 5).collect();
            let after = homes(session(value), &without_5);
            if !before.nodes().any(|node| node.value() == 5) {
                assert_eq!(before, after);
            }
        }
        assert!(loads[1..].iter().all(|load| (350..=650).contains(load)), "{loads:?}");
        let alone = homes(session(1), &all[..1]);
        assert_eq!((alone.first, alone.second), (Some(all[0].node), None));
        let together = homes(session(1), &candidates(2, 1));
        assert!(together.second.is_some(), "one failure domain is better than one home");
        assert_eq!(homes(session(1), &[]), Homes::default());
    }
}
