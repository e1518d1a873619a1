//! The link-state database: the newest verified LSA of each node, and who may not be in it.
//!
//! Decides what is newer, whose number it is and what is a clone; never sends, never checks a signature.

use std::collections::BTreeMap;

use proto_spec::lsa::{Lsa, LsaVersion};
use proto_spec::mesh::MESH_NODES_MAX;
use proto_spec::{NodeNumber, Timestamp, WallTime};
use serde::{Deserialize, Serialize};

use crate::carried::CarriedLsa;
use crate::config::{CLOCK_LEEWAY, INSTANCES_RETIRED_MAX, LSA_AGE_MAX, QUARANTINE};
use crate::io::{Alarm, Signer};

/// Returns of each of two instances that show a clone \[LSA-12\]: a process may outdo its past once in its life, and news
/// of that may come late.
const RETURNS_MAX: u32 = 2;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    lsa: CarriedLsa,
    signer: Signer,
    received: Timestamp,
    /// Instances before the present one, oldest first.
    retired: Vec<Retired>,
    /// How often the present instance was replaced and outdid who replaced it. One that lost its count of restarts does
    /// that to its past; two that do it to each other are clones.
    returned: u32,
}

/// A process of a node that another has replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Retired {
    instance: u64,
    /// Its last incarnation.
    incarnation: u64,
    /// As of an entry.
    returned: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Quarantined {
    key: [u8; 32],
    until: Timestamp,
}

/// The database.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Lsdb {
    entries: BTreeMap<NodeNumber, Entry>,
    quarantined: BTreeMap<NodeNumber, Quarantined>,
    /// Chains that lost a number to another key, so that they are not checked again and again.
    losers: BTreeMap<NodeNumber, [u8; 32]>,
}

/// What an LSA is before its signature has been looked at \[LSA-7\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Freshness {
    /// Worth a check.
    Newer,
    /// The one that is held.
    Duplicate,
    /// Older than the one that is held.
    Stale,
    /// Of a cloned identity, or of a certificate that lost its number.
    Barred,
}

/// What became of a verified LSA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Installed {
    /// It is in: flood it and compute routes.
    New,
    /// It is no newer.
    Old,
    /// It may not be in; the alarm says why, unless it has been said.
    Refused(Option<Alarm>),
    /// It is in and shows a clone: flood it, and leave the node out.
    Cloned(Alarm),
}

impl Lsdb {
    pub(crate) fn get(&self, node: NodeNumber) -> Option<&CarriedLsa> {
        self.entries.get(&node).map(|entry| &entry.lsa)
    }

    pub(crate) fn signer(&self, node: NodeNumber) -> Option<&Signer> {
        self.entries.get(&node).map(|entry| &entry.signer)
    }

    /// All nodes, ascending.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeNumber> {
        self.entries.keys().copied()
    }

    pub(crate) fn lsas(&self) -> impl Iterator<Item = &CarriedLsa> {
        self.entries.values().map(|entry| &entry.lsa)
    }

    pub(crate) fn versions(&self) -> Vec<(NodeNumber, LsaVersion)> {
        self.lsas().map(|lsa| (lsa.body.node, lsa.body.version)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether an LSA is worth checking.
    pub(crate) fn freshness(&self, lsa: &Lsa) -> Freshness {
        let node = lsa.body.node;
        if self.losers.get(&node) == Some(&lsa.body.chain) {
            return Freshness::Barred;
        }
        let Some(held) = self.get(node) else { return Freshness::Newer };
        match lsa.body.version.cmp(&held.body.version) {
            std::cmp::Ordering::Greater => Freshness::Newer,
            // Another chain may be another key, which may own the number whatever its LSA's version.
            _ if lsa.body.chain != held.body.chain => Freshness::Newer,
            std::cmp::Ordering::Equal => Freshness::Duplicate,
            std::cmp::Ordering::Less => Freshness::Stale,
        }
    }

    /// Takes a verified LSA in.
    pub(crate) fn install(&mut self, lsa: CarriedLsa, signer: Signer, now: Timestamp) -> Installed {
        let node = lsa.body.node;
        if self.is_quarantined(node, &signer.key) {
            return Installed::Refused(None);
        }
        let Some(held) = self.entries.get_mut(&node) else {
            if self.entries.len() >= MESH_NODES_MAX {
                return Installed::Refused(Some(Alarm::TooManyNodes));
            }
            self.entries.insert(node, Entry { lsa, signer, received: now, retired: Vec::new(), returned: 0 });
            return Installed::New;
        };
        if held.signer.key != signer.key {
            let owns = (signer.issued, signer.key) > (held.signer.issued, held.signer.key);
            let (kept, refused) = if owns { (signer, held.signer) } else { (held.signer, signer) };
            let alarm = Alarm::NumberInUse { node, kept: kept.certificate, refused: refused.certificate };
            let loser = if owns { held.lsa.body.chain } else { lsa.body.chain };
            self.losers.insert(node, loser);
            if !owns {
                return Installed::Refused(Some(alarm));
            }
            *held = Entry { lsa, signer, received: now, retired: Vec::new(), returned: 0 };
            return Installed::New;
        }
        let (version, before) = (lsa.body.version, held.lsa.body.version);
        if version <= before {
            return Installed::Old;
        }
        if version.instance != before.instance {
            let at = held.retired.iter().position(|retired| retired.instance == version.instance);
            let past = at.map(|at| held.retired.remove(at));
            let outdoes = past
                .as_ref()
                .is_some_and(|past| version.incarnation > past.incarnation.max(before.incarnation));
            let returned = past.as_ref().map_or(0, |past| past.returned) + u32::from(outdoes);
            if outdoes && returned.min(held.returned) >= RETURNS_MAX {
                let addresses = lsa.body.addresses.clone();
                let other_addresses = held.lsa.body.addresses.clone();
                held.lsa = lsa;
                held.received = now;
                self.quarantined.insert(node, Quarantined { key: signer.key, until: now + QUARANTINE });
                return Installed::Cloned(Alarm::Cloned { node, addresses, other_addresses });
            }
            let LsaVersion { instance, incarnation, .. } = before;
            held.retired.push(Retired { instance, incarnation, returned: held.returned });
            if held.retired.len() > INSTANCES_RETIRED_MAX {
                held.retired.remove(0);
            }
            held.returned = returned;
        }
        held.lsa = lsa;
        held.signer = signer;
        held.received = now;
        Installed::New
    }

    pub(crate) fn is_quarantined(&self, node: NodeNumber, key: &[u8; 32]) -> bool {
        self.quarantined.get(&node).is_some_and(|quarantined| quarantined.key == *key)
    }

    /// Whether a node takes no part although its LSA is held.
    pub(crate) fn is_out(&self, node: NodeNumber) -> bool {
        self.signer(node).is_some_and(|signer| self.is_quarantined(node, &signer.key))
    }

    pub(crate) fn quarantine(&mut self, node: NodeNumber, key: [u8; 32], now: Timestamp) {
        self.quarantined.insert(node, Quarantined { key, until: now + QUARANTINE });
    }

    /// Forgets what was not renewed and whose certificate has ended, and quarantines that are over: how many of each.
    pub(crate) fn age(&mut self, me: NodeNumber, now: Timestamp, wall: WallTime) -> (usize, usize) {
        let before = (self.entries.len(), self.quarantined.len());
        self.entries.retain(|node, entry| {
            let fresh = now.since(entry.received) < LSA_AGE_MAX;
            let valid = wall <= entry.signer.expires.plus(CLOCK_LEEWAY);
            *node == me || (fresh && valid)
        });
        self.quarantined.retain(|_, quarantined| quarantined.until > now);
        self.losers.retain(|node, _| self.entries.contains_key(node));
        (before.0 - self.entries.len(), before.1 - self.quarantined.len())
    }

    /// Forgets every node whose certificate is revoked, and names them.
    pub(crate) fn revoke(&mut self, revoked: &std::collections::BTreeSet<[u8; 32]>) -> Vec<NodeNumber> {
        let gone: Vec<NodeNumber> = self
            .entries
            .iter()
            .filter(|(_, entry)| revoked.contains(&entry.signer.certificate))
            .map(|(node, _)| *node)
            .collect();
        gone.iter().for_each(|node| {
            self.entries.remove(node);
        });
        gone
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto_spec::lsa::{DrainState, LsaBody, Roles};

    use super::*;

    const NODE: NodeNumber = NodeNumber::new(7).unwrap();

    fn lsa(incarnation: u64, sequence: u64, instance: u64, chain: u8) -> CarriedLsa {
        let body = LsaBody {
            node: NODE,
            version: LsaVersion { incarnation, sequence, instance },
            issued: WallTime(0),
            chain: [chain; 32],
            roles: Roles::default(),
            drain: DrainState::Serving,
            capacity: 0,
            wire_min: 1,
            wire_max: 1,
            software: String::new(),
            region: String::new(),
            failure_domain: String::new(),
            addresses: vec![format!("instance-{instance}:8200")],
            trunk_addresses: Vec::new(),
            links: Vec::new(),
        };
        CarriedLsa::made(Lsa { body, signature: [0; 64] })
    }

    fn signer(key: u8, issued: u64) -> Signer {
        Signer {
            node: NODE,
            key: [key; 32],
            certificate: [key; 32],
            issued: WallTime(issued),
            expires: WallTime(u64::MAX / 2),
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(Duration::from_secs(seconds))
    }

    /// \[LSA-2\], \[LSA-7\]: newer goes in, equal and older are told before any signature.
    #[test]
    fn newest_wins() {
        let mut lsdb = Lsdb::default();
        assert_eq!(lsdb.freshness(&lsa(1, 1, 5, 1)), Freshness::Newer);
        assert_eq!(lsdb.install(lsa(1, 1, 5, 1), signer(1, 0), at(0)), Installed::New);
        assert_eq!(lsdb.freshness(&lsa(1, 1, 5, 1)), Freshness::Duplicate);
        assert_eq!(lsdb.freshness(&lsa(0, 9, 5, 1)), Freshness::Stale);
        assert_eq!(lsdb.install(lsa(1, 1, 5, 1), signer(1, 0), at(0)), Installed::Old);
        assert_eq!(lsdb.install(lsa(1, 2, 5, 1), signer(1, 0), at(0)), Installed::New);
        assert_eq!(
            lsdb.install(lsa(1, 1, 5, 1), signer(1, 0), at(0)),
            Installed::Old,
            "overtaken while it was checked"
        );
        assert_eq!(lsdb.versions()[0].1.sequence, 2);
    }

    /// \[LSA-11\]: of two keys with one number the later certificate keeps it, whichever came first and whatever its
    /// versions; the loser is not checked again.
    #[test]
    fn the_later_certificate_keeps_the_number() {
        for later_first in [false, true] {
            let mut lsdb = Lsdb::default();
            let (early, late) = ((lsa(9, 9, 1, 1), signer(1, 100)), (lsa(1, 1, 2, 2), signer(2, 200)));
            let (first, second) = if later_first { (late.clone(), early) } else { (early, late.clone()) };
            assert_eq!(lsdb.install(first.0, first.1, at(0)), Installed::New);
            assert_eq!(lsdb.freshness(&second.0), Freshness::Newer, "another chain is always worth a check");
            let installed = lsdb.install(second.0, second.1, at(0));
            assert_eq!(matches!(installed, Installed::Refused(Some(Alarm::NumberInUse { .. }))), later_first);
            assert_eq!(lsdb.signer(NODE), Some(&late.1));
            assert_eq!(lsdb.freshness(&lsa(99, 1, 1, 1)), Freshness::Barred);
        }
    }

    /// \[LSA-12\]: two instances that outdo each other in turn are clones, and stay out for ten minutes; restarts are not,
    /// however many.
    #[test]
    fn two_that_outdo_each_other_are_clones() {
        let mut lsdb = Lsdb::default();
        for restart in 1..10 {
            assert_eq!(lsdb.install(lsa(restart, 1, restart, 1), signer(1, 0), at(0)), Installed::New);
        }
        for (incarnation, instance) in [(10, 8), (11, 9), (12, 8)] {
            let installed = lsdb.install(lsa(incarnation, 1, instance, 1), signer(1, 0), at(0));
            assert_eq!(installed, Installed::New, "once may be a lost count");
        }
        let cloned = lsdb.install(lsa(13, 1, 9, 1), signer(1, 0), at(0));
        let Installed::Cloned(Alarm::Cloned { addresses, other_addresses, .. }) = cloned else {
            panic!("{cloned:?}")
        };
        assert_eq!((&addresses[0][..], &other_addresses[0][..]), ("instance-9:8200", "instance-8:8200"));
        assert!(lsdb.is_out(NODE));
        assert_eq!(lsdb.install(lsa(14, 1, 8, 1), signer(1, 0), at(1)), Installed::Refused(None));
        assert_eq!(lsdb.age(NODE, at(601), WallTime(0)), (0, 1));
        assert!(!lsdb.is_out(NODE));
    }

    /// \[LSA-12\]: a restart that lost its count jumps past what several earlier processes left behind, heard in any
    /// order, and is no clone.
    #[test]
    fn a_lost_count_is_no_clone() {
        let mut lsdb = Lsdb::default();
        // Instance 3 lives; 1 and 2 are its past.
        for (incarnation, sequence, instance) in [
            (1, 1, 3),
            (1, 5, 1),
            (1, 6, 3),
            (3, 9, 1),
            (4, 1, 3),
            (6, 2, 2),
            (6, 4, 2),
            (7, 1, 3),
            (7, 2, 3),
        ] {
            let installed = lsdb.install(lsa(incarnation, sequence, instance, 1), signer(1, 0), at(0));
            assert_eq!(installed, Installed::New, "{incarnation}.{sequence} by {instance}");
        }
    }

    /// \[LSA-5\], \[LSA-10\]: what is not renewed, has ended or is revoked goes; full is full.
    #[test]
    fn what_is_over_goes() {
        let me = NodeNumber::new(1).unwrap();
        let mut lsdb = Lsdb::default();
        lsdb.install(lsa(1, 1, 1, 1), signer(1, 0), at(0));
        assert_eq!(lsdb.age(me, at(2_099), WallTime(0)), (0, 0));
        assert_eq!(lsdb.age(me, at(2_100), WallTime(0)), (1, 0));
        lsdb.install(lsa(1, 1, 1, 1), Signer { expires: WallTime(1_000), ..signer(1, 0) }, at(0));
        assert_eq!(lsdb.age(me, at(1), WallTime(301_000)), (0, 0));
        assert_eq!(lsdb.age(me, at(1), WallTime(301_001)), (1, 0));
        lsdb.install(lsa(1, 1, 1, 1), signer(1, 0), at(0));
        assert!(lsdb.revoke(&[[2; 32]].into()).is_empty());
        assert_eq!(lsdb.revoke(&[[1; 32]].into()), [NODE]);
        for number in 1..=MESH_NODES_MAX as u16 + 1 {
            let mut other = (*lsa(1, 1, 1, 1)).clone();
            other.body.node = NodeNumber::new(number).unwrap();
            let other = CarriedLsa::made(other);
            let full = usize::from(number) > MESH_NODES_MAX;
            let installed = lsdb.install(other, signer(1, 0), at(0));
            assert_eq!(installed == Installed::Refused(Some(Alarm::TooManyNodes)), full);
        }
    }
}
