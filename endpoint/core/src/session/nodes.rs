//! The nodes that this endpoint knows: their addresses, in the order of trying, and who is left out for now.
//!
//! Owns which addresses belong to one node. Several names may lead to the same one, so what tells nodes apart in the end
//! is the certificate that answered \[SES-16\].

use std::time::Duration;

use proto_spec::Timestamp;

use crate::config::{ADDRESSES_MAX, LOST_SHUN, NODES_MAX, SHUN_MAX, SHUN_MIN};

/// A node as it was reached: the address that led there, and a hash of the certificate that it showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reached {
    /// `host:port`.
    pub address: String,
    /// The same for one node, another for each other.
    pub certificate: [u8; 32],
}

/// The nodes, best first.
#[derive(Default)]
pub(super) struct Nodes {
    known: Vec<Known>,
}

struct Known {
    addresses: Vec<String>,
    certificate: Option<[u8; 32]>,
    shunned_until: Option<Timestamp>,
}

impl Known {
    fn is_shunned(&self, now: Timestamp) -> bool {
        self.shunned_until.is_some_and(|until| until > now)
    }

    fn is(&self, node: &Reached) -> bool {
        self.certificate == Some(node.certificate) || self.addresses.contains(&node.address)
    }
}

impl Nodes {
    /// Nodes by their addresses, best first; those that share one are the same.
    pub(super) fn new(nodes: impl IntoIterator<Item = Vec<String>>) -> Nodes {
        let mut known = Nodes::default();
        nodes.into_iter().for_each(|addresses| known.add(addresses));
        known
    }

    /// Addresses that a node named: new ones count as nodes of their own until their certificates tell more.
    pub(super) fn named(&mut self, addresses: &[String]) {
        addresses.iter().for_each(|address| self.add(vec![address.clone()]));
    }

    /// A connection stands: the address is one of the node with this certificate.
    pub(super) fn reached(&mut self, node: &Reached) {
        self.named(std::slice::from_ref(&node.address));
        let mut found: Option<usize> = None;
        let mut index = 0;
        while index < self.known.len() {
            if !self.known[index].is(node) {
                index += 1;
                continue;
            }
            match found {
                None => {
                    found = Some(index);
                    self.known[index].certificate = Some(node.certificate);
                    index += 1;
                }
                Some(first) => {
                    let same = self.known.remove(index);
                    let kept = &mut self.known[first];
                    kept.shunned_until = kept.shunned_until.max(same.shunned_until);
                    for address in same.addresses {
                        push_bounded(&mut kept.addresses, address);
                    }
                }
            }
        }
    }

    /// A node is left out for a while: it refused, or goes out of service.
    pub(super) fn shun(&mut self, now: Timestamp, node: &Reached, time: Duration) {
        self.leave_out(node, now + time.clamp(SHUN_MIN, SHUN_MAX));
    }

    /// The attachment to a node is lost while `used` works: others come first. Where none is free it is not left out, as
    /// it may be back at any time.
    pub(super) fn lost(&mut self, now: Timestamp, node: &Reached, used: Option<&Reached>) {
        if self.others(used).any(|known| !known.is(node) && !known.is_shunned(now)) {
            self.leave_out(node, now + LOST_SHUN);
        }
    }

    fn leave_out(&mut self, node: &Reached, until: Timestamp) {
        for known in self.known.iter_mut().filter(|known| known.is(node)) {
            known.shunned_until = known.shunned_until.max(Some(until));
        }
    }

    /// Whether a node other than `used` is known that is not left out.
    pub(super) fn has_others(&self, now: Timestamp, used: Option<&Reached>) -> bool {
        self.others(used).any(|known| !known.is_shunned(now))
    }

    /// When a node other than `used` is not left out any longer; `None` if there is none at all.
    pub(super) fn others_at(&self, now: Timestamp, used: Option<&Reached>) -> Option<Timestamp> {
        self.others(used).map(|known| known.shunned_until.unwrap_or(now).max(now)).min()
    }

    /// All addresses but those of `used`: the first of every node before the second of any, nodes that are left out
    /// last.
    pub(super) fn addresses(&self, now: Timestamp, used: Option<&Reached>) -> Vec<String> {
        let (shunned, free): (Vec<_>, Vec<_>) = self.others(used).partition(|known| known.is_shunned(now));
        in_rounds(&free).chain(in_rounds(&shunned)).collect()
    }

    /// All addresses of the node `used`, and of those that are left out.
    pub(super) fn avoided(&self, now: Timestamp, used: Option<&Reached>) -> Vec<String> {
        let avoided = self
            .known
            .iter()
            .filter(|known| known.is_shunned(now) || used.is_some_and(|node| known.is(node)));
        avoided.flat_map(|known| known.addresses.iter().cloned()).collect()
    }

    fn others<'a>(&'a self, used: Option<&'a Reached>) -> impl Iterator<Item = &'a Known> {
        self.known.iter().filter(move |known| !used.is_some_and(|node| known.is(node)))
    }

    fn add(&mut self, addresses: Vec<String>) {
        let same =
            self.known.iter_mut().find(|known| addresses.iter().any(|one| known.addresses.contains(one)));
        if let Some(known) = same {
            addresses.into_iter().for_each(|address| push_bounded(&mut known.addresses, address));
        } else if self.known.len() < NODES_MAX && !addresses.is_empty() {
            let mut kept = Vec::new();
            addresses.into_iter().for_each(|address| push_bounded(&mut kept, address));
            self.known.push(Known { addresses: kept, certificate: None, shunned_until: None });
        }
    }
}

fn push_bounded(addresses: &mut Vec<String>, address: String) {
    if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
        addresses.push(address);
    }
}

fn in_rounds<'a>(nodes: &'a [&'a Known]) -> impl Iterator<Item = String> + 'a {
    (0..ADDRESSES_MAX)
        .flat_map(move |round| nodes.iter().filter_map(move |node| node.addresses.get(round).cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(Duration::from_millis(ms))
    }

    fn texts(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(|address| (*address).to_owned()).collect()
    }

    fn reached(address: &str, certificate: u8) -> Reached {
        Reached { address: address.to_owned(), certificate: [certificate; 32] }
    }

    fn three() -> Nodes {
        Nodes::new([texts(&["a:1", "a:2"]), texts(&["b:1", "b:2"]), texts(&["c:1"])])
    }

    /// \[SES-16\]: nodes are known by their certificates, whatever they are called.
    #[test]
    fn two_names_of_one_node_are_one_node() {
        let mut nodes = three();
        assert_eq!(nodes.addresses(at(0), None), texts(&["a:1", "b:1", "c:1", "a:2", "b:2"]));
        nodes.reached(&reached("a:1", 1));
        assert!(nodes.has_others(at(0), Some(&reached("a:1", 1))));
        nodes.reached(&reached("c:1", 1));
        assert_eq!(nodes.addresses(at(0), Some(&reached("c:1", 1))), texts(&["b:1", "b:2"]));
        assert_eq!(nodes.avoided(at(0), Some(&reached("a:2", 1))), texts(&["a:1", "a:2", "c:1"]));
    }

    #[test]
    fn who_refused_comes_last_and_comes_back() {
        let mut nodes = three();
        nodes.shun(at(0), &reached("a:1", 1), Duration::from_secs(7));
        assert_eq!(nodes.addresses(at(6_999), None), texts(&["b:1", "c:1", "b:2", "a:1", "a:2"]));
        assert_eq!(nodes.addresses(at(7_000), None)[0], "a:1");
        for node in ["b:1", "c:1"] {
            nodes.shun(at(0), &reached(node, 9), Duration::ZERO);
        }
        assert!(!nodes.has_others(at(4_999), None) && nodes.has_others(at(5_000), None));
        assert_eq!(nodes.others_at(at(0), Some(&reached("b:1", 9))), Some(at(5_000)));
    }

    /// \[SES-20\]: a lost node is passed over for the others, and asked at once where there are none.
    #[test]
    fn a_lost_node_is_left_out_only_while_others_are_free() {
        let (a, b, c) = (reached("a:1", 1), reached("b:1", 2), reached("c:1", 3));
        let mut nodes = three();
        [&a, &b, &c].into_iter().for_each(|node| nodes.reached(node));
        nodes.lost(at(0), &b, Some(&a));
        assert_eq!(nodes.avoided(at(0), None), texts(&["b:1", "b:2"]));
        nodes.lost(at(0), &c, Some(&a));
        assert_eq!(nodes.others_at(at(0), Some(&a)), Some(at(0)), "c is asked");
        assert!(nodes.avoided(at(2_000), None).is_empty());
    }

    /// At the bounds and one beyond.
    #[test]
    fn a_node_that_names_addresses_without_end_is_not_remembered_so() {
        let mut nodes = Nodes::default();
        nodes.named(&(0..=NODES_MAX).map(|port| format!("h:{port}")).collect::<Vec<_>>());
        assert_eq!(nodes.addresses(at(0), None).len(), NODES_MAX);
        let mut one = Nodes::new([(0..=ADDRESSES_MAX).map(|port| format!("h:{port}")).collect()]);
        assert_eq!(one.addresses(at(0), None).len(), ADDRESSES_MAX);
        one.named(&texts(&["h:1"]));
        assert_eq!(one.known.len(), 1);
    }
}
