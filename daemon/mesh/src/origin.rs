//! The node's own LSA: when it is made, and what happens when the mesh knows a newer one \[LSA-4\], \[LSA-6\].

use proto_spec::lsa::{DrainState, Lsa, LsaBody, LsaLink, LsaVersion};
use proto_spec::mesh::{Chain, ChainKind, MeshMessage};
use proto_spec::{NodeNumber, Timestamp};
use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::carried::CarriedLsa;
use crate::config::{
    Identity, LSA_GATHER, LSA_INTERVAL, LSA_REFRESH, LSA_URGENT_BURST, LSA_URGENT_RATE, QUARANTINE,
};
use crate::io::{Alarm, Signer};
use crate::node::{Node, Request};
use crate::timers::Timer;
use crate::wired::Wired;

/// Times that another process with this identity outdoes this one before it falls silent \[LSA-12\]: often enough that
/// all others see both of them at it.
const FOREIGN_MAX: u32 = 4;

/// What the node remembers of its own LSAs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) version: LsaVersion,
    /// When the last one was made.
    made_at: Option<Timestamp>,
    urgent: Bucket,
    /// Something urgent is to be said.
    hurry: bool,
    /// One is at the signer.
    signing: bool,
    /// The next is made even if nothing changed.
    renew: bool,
    /// Another key owns this node's number, or the identity runs twice: it says nothing more.
    pub(crate) silenced: bool,
    /// How often another process with this identity made it jump lately.
    foreign: u32,
    /// When it last did.
    foreign_at: Option<Timestamp>,
}

impl Origin {
    pub(crate) fn new(incarnation: u64, instance: u64, now: Timestamp) -> Origin {
        Origin {
            version: LsaVersion { incarnation, sequence: 0, instance },
            made_at: None,
            urgent: Bucket::new(LSA_URGENT_RATE, LSA_URGENT_BURST, now),
            hurry: false,
            signing: false,
            renew: false,
            silenced: false,
            foreign: 0,
            foreign_at: None,
        }
    }
}

impl Node {
    pub(crate) fn own_chain(&self) -> Chain {
        Chain { kind: ChainKind::Node, certificates: self.identity.chain.clone() }
    }

    pub(crate) fn own_chain_hash(&self) -> [u8; 32] {
        crate::flood::chain_hash(&self.own_chain())
    }

    pub(crate) fn own_signer(&self) -> Signer {
        let crate::config::Identity { node, key, certificate, issued, expires, .. } = self.identity;
        Signer { node, key, certificate, issued, expires }
    }

    /// The node's certificate is another one for the same key \[LSA-16\]. What was signed before stays as good as it was.
    pub(crate) fn renewed(&mut self, identity: Identity) {
        assert!(
            (identity.node, identity.key) == (self.identity.node, self.identity.key),
            "a renewed certificate keeps number and key"
        );
        if identity == self.identity {
            return;
        }
        self.identity = identity;
        // What was said of the old one is no word on this one.
        self.drop_doubt();
        let chain = self.own_chain();
        self.flood.keep_chain(chain.clone());
        self.send_all(None, &MeshMessage::Chain(chain));
        self.renew_own();
    }

    /// Something that the LSA says has changed; `urgent` for a lost link or a change of drain state.
    pub(crate) fn own_changed(&mut self, urgent: bool) {
        let now = self.now.mono;
        let allowed = self.origin.made_at.map_or(now, |at| at + LSA_INTERVAL);
        let at = if urgent || self.origin.hurry { now } else { allowed.max(now + LSA_GATHER) };
        self.origin.hurry |= urgent;
        self.timers.no_later(Timer::Originate, at);
    }

    pub(crate) fn renew_own(&mut self) {
        self.origin.renew = true;
        self.own_changed(false);
    }

    pub(crate) fn originate(&mut self) {
        let now = self.now.mono;
        if self.origin.signing || self.origin.silenced {
            return;
        }
        let allowed = self.origin.made_at.is_none_or(|at| now >= at + LSA_INTERVAL);
        let admitted = allowed || (self.origin.hurry && self.origin.urgent.take(now));
        if !admitted {
            let soon = now + std::time::Duration::from_secs(1) / LSA_URGENT_RATE;
            let regular = self.origin.made_at.map_or(now, |at| at + LSA_INTERVAL);
            return self.timers.no_later(Timer::Originate, if self.origin.hurry { soon } else { regular });
        }
        let mut body = self.own_body();
        let unchanged = self.lsdb.get(self.identity.node).is_some_and(|held| {
            let issued = held.body.issued;
            LsaBody { version: self.origin.version, issued, ..body.clone() } == held.body
        });
        self.origin.hurry = false;
        if unchanged && !self.origin.renew {
            return;
        }
        self.origin.renew = false;
        self.origin.version.sequence += 1;
        body.version = self.origin.version;
        let message = body.signed_message();
        self.origin.signing = self.sign(message, Request::OwnLsa(Wired(body)));
        if !self.origin.signing {
            // No room for the request now.
            self.origin.renew = true;
            self.timers.no_later(Timer::Originate, now + LSA_INTERVAL);
        }
        self.origin.made_at = Some(now);
        self.timers.set(Timer::Refresh, now + LSA_REFRESH);
    }

    fn own_body(&self) -> LsaBody {
        let config = &self.config;
        let usable = self.links.values().filter(|link| link.usable);
        LsaBody {
            node: self.identity.node,
            version: self.origin.version,
            issued: self.now.wall,
            chain: self.own_chain_hash(),
            roles: config.roles,
            drain: self.drain.state,
            capacity: config.capacity,
            wire_min: config.wire_versions.0,
            wire_max: config.wire_versions.1,
            software: config.software.clone(),
            region: config.region.clone(),
            failure_domain: config.failure_domain.clone(),
            addresses: config.addresses.clone(),
            trunk_addresses: config.trunk_addresses.clone(),
            links: usable.map(|link| LsaLink { neighbor: link.peer.node, cost: link.cost }).collect(),
        }
    }

    pub(crate) fn own_lsa_signed(&mut self, body: LsaBody, signature: [u8; 64]) {
        self.origin.signing = false;
        self.counters.lsas_made += 1;
        let current = body.version == self.origin.version;
        if current {
            if body.drain == DrainState::Drained {
                self.drain.announced_at = Some(self.now.mono);
            }
            self.install(None, CarriedLsa::made(Lsa { body, signature }), self.own_signer());
        }
        // What changed while the signer was busy, or a version that was jumped past meanwhile.
        self.origin.renew |= !current;
        self.own_changed(self.origin.hurry || !current);
    }

    /// Counts the times that this process was outdone by another with its identity. Its past does that once or twice, a
    /// clone goes on.
    fn is_answered(&mut self) -> bool {
        let now = self.now.mono;
        let fresh = self.origin.foreign_at.is_some_and(|at| now.since(at) < QUARANTINE);
        self.origin.foreign = if fresh { self.origin.foreign + 1 } else { 1 };
        self.origin.foreign_at = Some(now);
        self.origin.foreign >= FOREIGN_MAX
    }

    /// Whether another process of this node made an LSA under the count of restarts that this one has.
    pub(crate) fn is_past_self(&self, version: &LsaVersion) -> bool {
        version.instance != self.origin.version.instance
            && version.incarnation == self.origin.version.incarnation
    }

    /// The mesh holds an LSA of this node that this process did not make: of its past life, of another key, or of
    /// another process with its identity.
    pub(crate) fn own_lsa_received(&mut self, from: NodeNumber, lsa: CarriedLsa, signer: Signer) {
        if signer.key != self.identity.key {
            let wins = (signer.issued, signer.key) > (self.identity.issued, self.identity.key);
            let (kept, refused) = if wins {
                (signer.certificate, self.identity.certificate)
            } else {
                (self.identity.certificate, signer.certificate)
            };
            self.alarm(Alarm::NumberInUse { node: signer.node, kept, refused });
            self.origin.silenced |= wins;
            if let (false, Some(own)) = (wins, self.lsdb.get(signer.node).cloned()) {
                self.send_chain(from, &own.body.chain);
                self.send_lsa(from, &own);
            }
            return;
        }
        if lsa.body.version <= self.origin.version && !self.is_past_self(&lsa.body.version) {
            return;
        }
        self.counters.lsas_jumped += 1;
        let theirs = lsa.body.version;
        if theirs.instance != self.origin.version.instance && self.is_answered() {
            let addresses = self.config.addresses.clone();
            let other_addresses = lsa.body.addresses.clone();
            self.alarm(Alarm::Cloned { node: signer.node, addresses, other_addresses });
            self.lsdb.quarantine(signer.node, signer.key, self.now.mono);
            self.origin.silenced = true;
            return;
        }
        if theirs.instance == self.origin.version.instance {
            self.origin.version.sequence = theirs.sequence;
        } else {
            // A restart whose count was lost: it counts now.
            self.origin.version.incarnation = theirs.incarnation.saturating_add(1);
            self.origin.version.sequence = 0;
            self.sessions.jump(self.origin.version.incarnation);
            self.sign_all_own();
        }
        self.origin.renew = true;
        self.own_changed(true);
    }
}
