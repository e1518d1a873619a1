//! Flooding: how link state, certificate chains and revocation lists reach every node \[LSA-7\].
//!
//! New things go to every neighbour but the one they came from; neighbours compare digests when a link comes up and
//! from time to time \[LSA-8\], so what was lost or shed arrives later.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proto_spec::lsa::LsaVersion;
use proto_spec::mesh::{BROKER_CHAINS_MAX, Chain, ChainKind, Digest, MeshMessage, Revocations};
use proto_spec::{NodeNumber, Timestamp, Wire};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::bucket::Bucket;
use crate::carried::CarriedLsa;
use crate::config::{
    AGE_INTERVAL, CHAINS_MAX, CLOCK_LEEWAY, DIGEST_INTERVAL, LINK_MEMORY, LSA_ACCEPT_BURST, LSA_ACCEPT_RATE,
    LSA_AGE_MAX, LSA_CHAINLESS_MAX, LSA_NEWCOMERS_BURST, LSA_NEWCOMERS_RATE, LSA_PARKED_MAX, REVOKED_MAX,
};
use crate::io::{CloseReason, Output, Signer, ToVerify, Verdict};
use crate::lsdb::{Freshness, Installed};
use crate::node::{Node, Request};
use crate::timers::Timer;
use crate::wired::Wired;

/// An LSA that waits for something.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Waiting {
    lsa: CarriedLsa,
    from: NodeNumber,
}

/// What flooding remembers besides the database.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Flood {
    /// Nodes' chains by hash.
    chains: BTreeMap<[u8; 32], Wired<Chain>>,
    /// Brokers' chains by hash.
    pub(crate) brokers: BTreeMap<[u8; 32], Wired<Chain>>,
    revocations: Option<Wired<Revocations>>,
    rates: BTreeMap<NodeNumber, Bucket>,
    newcomers: Bucket,
    /// The newest LSA of each origin that is above its rate.
    parked: BTreeMap<NodeNumber, Waiting>,
    /// LSAs whose chain is still to come.
    chainless: BTreeMap<NodeNumber, Waiting>,
    /// Versions being verified, with their messages, so that a copy from another neighbour is not verified as well.
    verifying: BTreeMap<(NodeNumber, LsaVersion), Bytes>,
}

/// SHA-256 of a chain's encoding, by which it is cited \[LSA-9\].
pub(crate) fn chain_hash(chain: &Chain) -> [u8; 32] {
    Sha256::digest(chain.to_bytes()).into()
}

impl Flood {
    pub(crate) fn new(now: Timestamp) -> Flood {
        Flood {
            chains: BTreeMap::new(),
            brokers: BTreeMap::new(),
            revocations: None,
            rates: BTreeMap::new(),
            newcomers: Bucket::new(LSA_NEWCOMERS_RATE, LSA_NEWCOMERS_BURST, now),
            parked: BTreeMap::new(),
            chainless: BTreeMap::new(),
            verifying: BTreeMap::new(),
        }
    }

    pub(crate) fn keep_chain(&mut self, chain: Chain) {
        self.chains.insert(chain_hash(&chain), Wired(chain));
    }

    pub(crate) fn chain_count(&self) -> usize {
        self.chains.len()
    }

    pub(crate) fn waiting_count(&self) -> usize {
        self.parked.len() + self.chainless.len()
    }
}

impl Node {
    /// The first words on a new link: this node's chain and LSA, and what it holds.
    pub(crate) fn greet(&mut self, to: NodeNumber) {
        self.send(to, &MeshMessage::Chain(self.own_chain()));
        if let Some(lsa) = self.lsdb.get(self.identity.node).cloned() {
            self.send_lsa(to, &lsa);
        }
        self.send_digest(to);
        self.timers.no_later(Timer::Digest, self.now.mono + DIGEST_INTERVAL);
    }

    pub(crate) fn send_digests(&mut self) {
        for to in self.links.keys().copied().collect::<Vec<_>>() {
            self.send_digest(to);
        }
        if !self.links.is_empty() {
            self.timers.set(Timer::Digest, self.now.mono + DIGEST_INTERVAL);
        }
    }

    fn send_digest(&mut self, to: NodeNumber) {
        let digest = Digest {
            revocations: self.flood.revocations.as_ref().map_or(0, |list| list.0.number),
            brokers: self.flood.brokers.keys().copied().collect(),
            lsas: self.lsdb.versions(),
        };
        self.send(to, &MeshMessage::Digest(digest));
    }

    /// Sends what the neighbour lacks; it does the same with our digest.
    pub(crate) fn digest_received(&mut self, from: NodeNumber, digest: &Digest) {
        let theirs: BTreeMap<_, _> = digest.lsas.iter().copied().collect();
        let newer =
            |lsa: &&CarriedLsa| theirs.get(&lsa.body.node).is_none_or(|version| *version < lsa.body.version);
        let lacking: Vec<CarriedLsa> = self.lsdb.lsas().filter(newer).cloned().collect();
        for lsa in lacking {
            // A node that they have never heard of: its chain as well, so that they need not ask.
            if !theirs.contains_key(&lsa.body.node) {
                self.send_chain(from, &lsa.body.chain);
            }
            self.send_lsa(from, &lsa);
        }
        let brokers: Vec<Chain> = self
            .flood
            .brokers
            .iter()
            .filter(|(hash, _)| digest.brokers.binary_search(hash).is_err())
            .map(|(_, chain)| chain.0.clone())
            .collect();
        for chain in brokers {
            self.send(from, &MeshMessage::Chain(chain));
        }
        if let Some(list) = self.flood.revocations.clone().filter(|list| list.0.number > digest.revocations) {
            self.send(from, &MeshMessage::Revocations(list.0));
        }
    }

    pub(crate) fn send_chain(&mut self, to: NodeNumber, hash: &[u8; 32]) {
        if let Some(chain) = self.flood.chains.get(hash).cloned() {
            self.send(to, &MeshMessage::Chain(chain.0));
        }
    }

    /// One LSA to a neighbour, as it came or was made.
    pub(crate) fn send_lsa(&mut self, to: NodeNumber, lsa: &CarriedLsa) {
        self.output(Output::Send { to, bytes: lsa.message().clone() });
    }

    /// Whether a message is that of an LSA that is held, or that is being verified, to the last byte. Most are: each
    /// neighbour floods the same.
    pub(crate) fn is_known_lsa(&self, message: &Bytes) -> bool {
        let Some(node) = MeshMessage::lsa_origin(message) else { return false };
        let being_verified = || {
            let versions = self.flood.verifying.range((node, LsaVersion::default())..);
            versions.take_while(|((of, _), _)| *of == node).any(|(_, known)| known == message)
        };
        self.lsdb.get(node).is_some_and(|held| held.message() == message) || being_verified()
    }

    pub(crate) fn lsa_received(&mut self, from: NodeNumber, lsa: CarriedLsa) {
        let (node, version) = (lsa.body.node, lsa.body.version);
        match self.lsdb.freshness(&lsa) {
            Freshness::Newer => {}
            // What an earlier process of this node left behind, with the same count of restarts: not yet jumped past.
            Freshness::Stale if node == self.identity.node && self.is_past_self(&version) => {}
            Freshness::Duplicate => return self.counters.lsas_duplicate += 1,
            Freshness::Barred => return self.counters.lsas_refused += 1,
            Freshness::Stale => {
                self.counters.lsas_stale += 1;
                // Whoever sends an old one should have the newer.
                if let Some(held) = self.lsdb.get(node).cloned() {
                    self.send_lsa(from, &held);
                }
                return;
            }
        }
        if self.flood.verifying.contains_key(&(node, version)) {
            return self.counters.lsas_duplicate += 1;
        }
        let too_old = lsa.body.issued.plus(LSA_AGE_MAX).plus(CLOCK_LEEWAY) < self.now.wall;
        let too_young = lsa.body.issued > self.now.wall.plus(CLOCK_LEEWAY);
        if too_old || too_young {
            return self.counters.lsas_refused += 1;
        }
        if !self.take_token(node) {
            return self.park(from, lsa);
        }
        self.check_lsa(from, lsa);
    }

    fn take_token(&mut self, node: NodeNumber) -> bool {
        let now = self.now.mono;
        if self.lsdb.get(node).is_none() {
            return self.flood.newcomers.take(now);
        }
        let rate = self.flood.rates.entry(node);
        rate.or_insert_with(|| Bucket::new(LSA_ACCEPT_RATE, LSA_ACCEPT_BURST, now)).take(now)
    }

    /// Keeps the newest LSA of an origin that sends too many, until its rate allows it \[LSA-13\].
    fn park(&mut self, from: NodeNumber, lsa: CarriedLsa) {
        self.counters.lsas_parked += 1;
        let node = lsa.body.node;
        let newest = self.flood.parked.get(&node).map(|waiting| waiting.lsa.body.version);
        let fits = newest.is_some() || self.flood.parked.len() < LSA_PARKED_MAX;
        if fits && newest.is_none_or(|newest| newest < lsa.body.version) {
            self.flood.parked.insert(node, Waiting { lsa, from });
        }
        self.timers.no_later(Timer::Parked, self.now.mono + std::time::Duration::from_secs(1));
    }

    pub(crate) fn unpark(&mut self) {
        for waiting in std::mem::take(&mut self.flood.parked).into_values() {
            self.lsa_received(waiting.from, waiting.lsa);
        }
    }

    fn check_lsa(&mut self, from: NodeNumber, lsa: CarriedLsa) {
        let Some(chain) = self.flood.chains.get(&lsa.body.chain).cloned() else {
            let hash = lsa.body.chain;
            let known = self.flood.chainless.contains_key(&lsa.body.node);
            if known || self.flood.chainless.len() < LSA_CHAINLESS_MAX {
                self.flood.chainless.insert(lsa.body.node, Waiting { lsa, from });
                self.send(from, &MeshMessage::Request(hash));
            }
            return;
        };
        let (message, signature) = (lsa.body.signed_message(), Wired(lsa.signature));
        let verifying = (lsa.body.node, lsa.body.version);
        let item = ToVerify::ByChain { chain, message, signature };
        let known = lsa.message().clone();
        if self.verify(item, Request::Lsa { lsa, from }) {
            self.flood.verifying.insert(verifying, known);
        }
    }

    pub(crate) fn chain_received(&mut self, from: NodeNumber, chain: Chain) {
        let hash = chain_hash(&chain);
        match chain.kind {
            ChainKind::Node => {
                if self.flood.chains.len() >= CHAINS_MAX {
                    self.drop_unused_chains();
                }
                // An unverified chain is only bytes; it counts when it verifies an LSA.
                if self.flood.chains.len() < CHAINS_MAX {
                    self.flood.chains.insert(hash, Wired(chain));
                }
                let ready: Vec<NodeNumber> = self
                    .flood
                    .chainless
                    .iter()
                    .filter(|(_, waiting)| waiting.lsa.body.chain == hash)
                    .map(|(node, _)| *node)
                    .collect();
                for node in ready {
                    if let Some(waiting) = self.flood.chainless.remove(&node) {
                        self.check_lsa(waiting.from, waiting.lsa);
                    }
                }
            }
            ChainKind::Broker => {
                if !self.flood.brokers.contains_key(&hash) && self.flood.brokers.len() < BROKER_CHAINS_MAX {
                    let item = ToVerify::BrokerChain(Wired(chain.clone()));
                    self.verify(item, Request::BrokerChain { chain: Wired(chain), from });
                }
            }
        }
    }

    fn drop_unused_chains(&mut self) {
        let mut used: BTreeSet<[u8; 32]> = self.lsdb.lsas().map(|lsa| lsa.body.chain).collect();
        used.extend(self.flood.chainless.values().map(|waiting| waiting.lsa.body.chain));
        used.insert(self.own_chain_hash());
        self.flood.chains.retain(|hash, _| used.contains(hash));
    }

    pub(crate) fn revocations_received(&mut self, from: NodeNumber, list: Revocations) {
        if self.flood.revocations.as_ref().is_none_or(|held| held.0.number < list.number) {
            let item = ToVerify::Revocations(Wired(list.clone()));
            self.verify(item, Request::Revocations { list: Wired(list), from });
        }
    }

    pub(crate) fn lsa_verdict(&mut self, lsa: CarriedLsa, from: NodeNumber, verdict: &Verdict) {
        self.flood.verifying.remove(&(lsa.body.node, lsa.body.version));
        let signer = match verdict {
            Verdict::Signer(signer) if signer.node == lsa.body.node => *signer,
            Verdict::Refused => return self.counters.certificates_refused += 1,
            _ => {
                self.counters.signatures_wrong += 1;
                return self.link_fault(from);
            }
        };
        if self.revoked.contains(&signer.certificate) {
            return self.counters.certificates_refused += 1;
        }
        if signer.node == self.identity.node {
            return self.own_lsa_received(from, lsa, signer);
        }
        self.install(Some(from), lsa, signer);
    }

    /// Takes a verified LSA into the database and floods it.
    pub(crate) fn install(&mut self, from: Option<NodeNumber>, lsa: CarriedLsa, signer: Signer) {
        let node = lsa.body.node;
        let before = self.lsdb.signer(node).copied();
        let held = self.lsdb.get(node).cloned();
        match self.lsdb.install(lsa.clone(), signer, self.now.mono) {
            Installed::Old => self.counters.lsas_stale += 1,
            Installed::Refused(alarm) => {
                self.counters.lsas_refused += 1;
                if let Some(alarm) = alarm {
                    self.alarm(alarm);
                }
                // The sender takes the loser for the owner: it should see the winner's.
                if let (Some(from), Some(held)) = (from, self.lsdb.get(node).cloned()) {
                    self.send_chain(from, &held.body.chain);
                    self.send_lsa(from, &held);
                }
            }
            Installed::Cloned(alarm) => {
                self.alarm(alarm);
                self.flood_lsa(from, &lsa, true);
                if self.links.contains_key(&node) {
                    self.close(node, CloseReason::Cloned);
                }
                self.link_state_changed();
            }
            Installed::New => {
                self.counters.lsas_accepted += 1;
                let chain_is_new = before.is_none_or(|before| before.certificate != signer.certificate);
                // The loser should hear why before its link is closed.
                self.flood_lsa(from, &lsa, chain_is_new);
                if let Some(before) = before.filter(|before| before.key != signer.key) {
                    let (kept, refused) = (signer.certificate, before.certificate);
                    self.alarm(crate::io::Alarm::NumberInUse { node, kept, refused });
                    self.node_replaced(node);
                    if self.links.get(&node).is_some_and(|link| link.peer.key != signer.key) {
                        self.close(node, CloseReason::NumberInUse);
                    }
                }
                let Some(held) = held else { return self.link_state_changed() };
                let (was, is) = (held.body.version, lsa.body.version);
                let same_process = was.incarnation == is.incarnation && was.instance == is.instance;
                if was.incarnation < is.incarnation {
                    self.node_restarted(node, is.incarnation);
                } else if was.instance != is.instance && from == Some(node) {
                    // It has lost its count of restarts, and should hear of its past.
                    self.send_lsa(node, &held);
                }
                // One that was only made anew [LSA-5] moves nothing: a large mesh has a few of these a second.
                if chain_is_new || !same_process || !held.says_the_same(&lsa) {
                    self.link_state_changed();
                }
            }
        }
    }

    pub(crate) fn flood_lsa(&mut self, except: Option<NodeNumber>, lsa: &CarriedLsa, with_chain: bool) {
        for to in self.links.keys().copied().filter(|to| Some(*to) != except).collect::<Vec<_>>() {
            if with_chain {
                self.send_chain(to, &lsa.body.chain);
            }
            self.send_lsa(to, lsa);
        }
    }

    /// A broker's chain that the shell vouches for.
    pub(crate) fn keep_broker_chain(&mut self, except: Option<NodeNumber>, chain: Chain) {
        let hash = chain_hash(&chain);
        if self.flood.brokers.len() >= BROKER_CHAINS_MAX || self.flood.brokers.contains_key(&hash) {
            return;
        }
        self.flood.brokers.insert(hash, Wired(chain.clone()));
        if except.is_some() {
            self.output(Output::BrokerChain(Wired(chain.clone())));
        }
        self.send_all(except, &MeshMessage::Chain(chain));
    }

    /// A revocation list that the shell vouches for.
    pub(crate) fn keep_revocations(
        &mut self,
        except: Option<NodeNumber>,
        list: Revocations,
        revoked: BTreeSet<[u8; 32]>,
    ) {
        if self.flood.revocations.as_ref().is_some_and(|held| held.0.number >= list.number) {
            return;
        }
        self.flood.revocations = Some(Wired(list.clone()));
        self.revoked = revoked.into_iter().take(REVOKED_MAX).collect();
        if except.is_some() {
            self.output(Output::Revocations(Wired(list.clone())));
        }
        // Those that it names hear of it first: their trunks close below.
        self.send_all(except, &MeshMessage::Revocations(list));
        if self.revoked.contains(&self.identity.certificate) {
            self.leave_revoked(None);
        }
        let gone = self.lsdb.revoke(&self.revoked);
        let by_link = |(node, link): (&NodeNumber, &crate::link::Link)| {
            self.revoked.contains(&link.peer.certificate).then_some(*node)
        };
        let closed: Vec<NodeNumber> = self.links.iter().filter_map(by_link).collect();
        closed.into_iter().for_each(|node| self.close(node, CloseReason::Revoked));
        if !gone.is_empty() {
            self.link_state_changed();
        }
    }

    pub(crate) fn send_all(&mut self, except: Option<NodeNumber>, message: &MeshMessage) {
        for to in self.links.keys().copied().filter(|to| Some(*to) != except).collect::<Vec<_>>() {
            self.send(to, message);
        }
    }

    pub(crate) fn age_lsdb(&mut self) {
        let (now, wall) = (self.now.mono, self.now.wall);
        self.past_links.retain(|_, down| now.since(*down) < LINK_MEMORY);
        let (aged, released) = self.lsdb.age(self.identity.node, self.now.mono, wall);
        self.counters.lsas_aged += aged as u64;
        let lsdb = &self.lsdb;
        self.flood.rates.retain(|node, _| lsdb.get(*node).is_some());
        // The neighbour that was asked may have gone: the next digest brings the LSA again.
        self.flood.chainless.clear();
        if aged > 0 {
            self.drop_unused_chains();
        }
        if aged > 0 || released > 0 {
            self.link_state_changed();
        }
        self.timers.set(Timer::Age, self.now.mono + AGE_INTERVAL);
    }
}
