//! The node's shell, simulated: carries out what a core wants.

use std::time::Duration;

use bytes::Bytes;
use proto_spec::lsa::{LsaVersion, Roles};
use proto_spec::mesh::{LoadReport, MeshMessage, Revocations};
use proto_spec::{NodeNumber, Wire};
use sealcast_mesh::{Alarm, Input, Output, ToVerify, Verdict, Wired};

use super::authority::signer;
use super::bug::Bug;
use super::host::number_of;
use super::network::pair;
use super::trace::fold;
use super::world::{Event, HeardLoad, World};

/// Signing and checking take so long, in microseconds, and not always the same.
const CRYPTO_US: (u64, u64) = (50, 2_000);
/// Between two reports of a node's load.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);
/// Between two replays of a stale LSA.
const STALE_INTERVAL: Duration = Duration::from_secs(2);

impl World {
    pub(super) fn perform(&mut self, number: NodeNumber, boot: u64, output: Output) {
        match output {
            Output::Dial { peer, addresses } => {
                let peer = peer.or_else(|| addresses.first().and_then(|address| number_of(address)));
                if let Some(peer) = peer.filter(|peer| self.hosts.contains_key(peer)) {
                    self.dial(number, peer);
                }
            }
            Output::Close { peer, reason } => {
                self.host_mut(number).closed.push((peer, reason));
                self.close_trunk(number, peer);
            }
            Output::Send { to, bytes } => self.transmit(number, to, bytes),
            Output::Sign { request, message } => {
                let signature = self.authority.sign(&self.hosts[&number].identity.key, &message);
                self.checkers.signed.insert(fold(0, &message));
                self.answer(number, boot, Input::Signed { request, signature });
            }
            Output::Verify { request, item } => {
                let verdict = self.verdict(number, &item);
                self.answer(number, boot, Input::Verdict { request, verdict });
            }
            Output::Session { session, view } => self.session_seen(number, session, &view),
            Output::Alarm(alarm) => {
                let revoked = matches!(alarm, Alarm::Revoked { .. });
                self.host_mut(number).alarms.push(alarm);
                if revoked {
                    self.drain_gateway(number, Duration::ZERO);
                }
            }
            Output::PathHint { session, node } => {
                if !self.plan.light {
                    self.host_mut(number).hints.push((session, node));
                }
                self.path_hint(number, session, node);
            }
            Output::Ready { session, number: sender, attach_seq, complete } => {
                self.host_mut(number).ready.push((session, sender, attach_seq, complete));
                self.attachment_ready(number, session, sender, attach_seq);
            }
            Output::ClockSettled { peer } => {
                let alarms = &mut self.host_mut(number).alarms;
                alarms.retain(|alarm| !matches!(alarm, Alarm::Clock { peer: of, .. } if *of == peer));
            }
            Output::Drain(state) => {
                self.changed_at = self.now;
                self.host_mut(number).drain = state;
            }
            Output::MayStop => self.host_mut(number).may_stop = true,
            Output::Tombstone(tombstone) => {
                self.host_mut(number).tombstones += 1;
                self.ended(number, &tombstone.0.body);
            }
            Output::Load { from, report } => {
                self.host_mut(number).loads.insert(from, report.sequence);
                self.people.load_reported(self.now, from, report);
                if self.plan.light {
                    self.heard.push(HeardLoad { broker: number, from, at: self.now, report });
                }
            }
            Output::Revocations(list) => self.put_into_force(number, &list.0),
            Output::BrokerChain(_) => self.host_mut(number).broker_chains += 1,
            Output::Routes { .. } => self.checkers.routes_changed_at = self.now,
        }
    }

    /// A newer list is published at a node.
    pub fn publish(&mut self, number: NodeNumber, list: Revocations) {
        self.put_into_force(number, &list);
        let revoked = self.hosts[&number].revoked.clone();
        self.input(number, Input::Revocations { list: Wired(list), revoked });
    }

    /// The shell refuses what a list names from now on.
    fn put_into_force(&mut self, number: NodeNumber, list: &Revocations) {
        self.changed_at = self.now;
        let (names, _) = list.list.as_chunks::<32>();
        let host = self.host_mut(number);
        host.revocations = list.number;
        host.revoked = names.iter().copied().collect();
    }

    fn answer(&mut self, to: NodeNumber, boot: u64, input: Input) {
        let takes = self.stream_of(to).range(CRYPTO_US.0, CRYPTO_US.1);
        self.schedule(Duration::from_micros(takes), Event::Answer { to, boot, input });
    }

    fn verdict(&self, number: NodeNumber, item: &ToVerify) -> Verdict {
        if self.bug == Some(Bug::AcceptStaleLsa)
            && let ToVerify::ByChain { chain, .. } = item
        {
            // The shell looks at the certificate and forgets the signature.
            let owner = self.hosts.values().find(|host| host.identity.chain == chain.0.certificates);
            if let Some(owner) = owner {
                return Verdict::Signer(signer(&owner.identity));
            }
        }
        let wall = self.now_of(number).wall;
        match item {
            ToVerify::Tombstone(tombstone) if self.people.broker.is_genuine(&tombstone.0, wall) => {
                Verdict::Valid
            }
            item => self.authority.verify(item, wall),
        }
    }

    fn transmit(&mut self, from: NodeNumber, to: NodeNumber, bytes: Bytes) {
        self.messages += 1;
        if self.plan.light && self.carry_over(from, to, &bytes) {
            return;
        }
        if let Some(trunk) = self.trunk_id(from, to) {
            let length = bytes.len();
            self.say(from, to, length, Event::Message { from, to, trunk, bytes });
        }
    }

    pub(super) fn report_load(&mut self, at: NodeNumber, boot: u64) {
        let truly = self.attachments_at(at);
        if truly >= self.hosts[&at].config.capacity {
            // It will have to send newcomers on.
            self.tell_elsewhere();
        }
        let host = self.host_mut(at);
        let attachments = (u64::from(truly) * host.load_percent / 100) as u32;
        if host.boot != boot || host.node.is_none() {
            return;
        }
        host.load_sequence += 1;
        let report = LoadReport {
            sequence: host.load_sequence,
            attachments,
            capacity: host.config.capacity,
            queue_bytes: 0,
            forwarded_bytes: 0,
            full: attachments >= host.config.capacity,
        };
        if host.config.roles.has(Roles::BROKER) {
            self.people.load_reported(self.now, at, report);
        }
        self.input(at, Input::Load(report));
        self.schedule(LOAD_INTERVAL, Event::Load { at, boot });
    }

    /// Begins to replay old LSAs of a node with forged newer versions, for [`Bug::AcceptStaleLsa`].
    pub fn replay(&mut self, victim: NodeNumber) {
        self.schedule(STALE_INTERVAL, Event::Stale { victim });
    }

    pub(super) fn replay_stale(&mut self, victim: NodeNumber) {
        let neighbor = self.trunk_peers(victim).first().copied();
        let held = self.hosts[&victim].node.as_ref().and_then(|node| node.lsa(victim).cloned());
        if let (Some(neighbor), Some(mut lsa)) = (neighbor, held) {
            let LsaVersion { incarnation, sequence, instance } = lsa.body.version;
            lsa.body.version = LsaVersion { incarnation, sequence: sequence + 1, instance };
            // It says that the victim has no links: nobody may find a way through it.
            lsa.body.links.clear();
            let bytes = MeshMessage::Lsa(lsa).to_bytes().into();
            let from = self.trunk_peers(neighbor).into_iter().find(|peer| *peer != victim);
            if let Some(from) = from.filter(|from| self.trunks.contains_key(&pair(*from, neighbor))) {
                self.input(neighbor, Input::Message { from, bytes });
            }
        }
        self.schedule(STALE_INTERVAL, Event::Stale { victim });
    }
}
