//! Trunks in memory: nodes of one process joined without a socket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use proto_spec::egress::TrunkHeader;
use proto_spec::{NodeNumber, Timestamp};
use sealcast_attach::Run;
use sealcast_mesh::{CloseReason, Input, Signer};
use tokio::sync::mpsc;

use crate::gateway::Gateway;
use crate::overlay::Links;
use crate::trunk::Arrivals;

struct Member {
    signer: Signer,
    inputs: mpsc::Sender<Input>,
    gateway: Arc<Gateway>,
}

/// Who is there, and who is linked with whom.
#[derive(Default)]
pub(super) struct Hub {
    members: Mutex<BTreeMap<NodeNumber, Member>>,
    links: Mutex<BTreeSet<(NodeNumber, NodeNumber)>>,
    /// What has been pushed over a link.
    pub(super) pushed: Mutex<Vec<(NodeNumber, NodeNumber, TrunkHeader)>>,
}

/// One node's end of the hub.
pub(super) struct Port {
    pub(super) hub: Arc<Hub>,
    pub(super) node: NodeNumber,
}

fn pair(a: NodeNumber, b: NodeNumber) -> (NodeNumber, NodeNumber) {
    (a.min(b), a.max(b))
}

impl Hub {
    pub(super) fn join(&self, signer: Signer, inputs: mpsc::Sender<Input>, gateway: Arc<Gateway>) {
        self.members.lock().unwrap().insert(signer.node, Member { signer, inputs, gateway });
    }

    /// The node is gone; its neighbours notice at once, as by a reset.
    pub(super) fn kill(&self, node: NodeNumber) {
        self.members.lock().unwrap().remove(&node);
        let links: Vec<_> = self.links.lock().unwrap().iter().copied().collect();
        for (a, b) in links.into_iter().filter(|(a, b)| *a == node || *b == node) {
            self.unlink(a, b);
        }
    }

    fn link(&self, a: NodeNumber, b: NodeNumber) {
        let members = self.members.lock().unwrap();
        let (Some(one), Some(other)) = (members.get(&a), members.get(&b)) else { return };
        if self.links.lock().unwrap().insert(pair(a, b)) {
            one.tell(Input::LinkUp { peer: other.signer });
            other.tell(Input::LinkUp { peer: one.signer });
            one.tell(Input::LinkRtt { peer: b, rtt_us: 1_000 });
            other.tell(Input::LinkRtt { peer: a, rtt_us: 1_000 });
        }
    }

    fn unlink(&self, a: NodeNumber, b: NodeNumber) {
        if self.links.lock().unwrap().remove(&pair(a, b)) {
            let members = self.members.lock().unwrap();
            for (here, there) in [(a, b), (b, a)] {
                if let Some(member) = members.get(&here) {
                    member.tell(Input::LinkDown { peer: there });
                }
            }
        }
    }

    fn is_linked(&self, a: NodeNumber, b: NodeNumber) -> bool {
        self.links.lock().unwrap().contains(&pair(a, b))
    }
}

impl Member {
    fn tell(&self, input: Input) {
        self.inputs.try_send(input).expect("a test never fills the queue");
    }
}

impl Links for Port {
    fn dial(&self, peer: Option<NodeNumber>, addresses: Vec<String>) {
        // Seeds are named by number.
        let seeds = addresses.iter().filter_map(|address| NodeNumber::new(address.parse().ok()?));
        for node in peer.into_iter().chain(seeds.filter(|_| peer.is_none())) {
            if node != self.node {
                self.hub.link(self.node, node);
            }
        }
    }

    fn close(&self, peer: NodeNumber, _reason: CloseReason) {
        self.hub.unlink(self.node, peer);
    }

    fn send(&self, to: NodeNumber, message: Vec<u8>) {
        if self.hub.is_linked(self.node, to)
            && let Some(member) = self.hub.members.lock().unwrap().get(&to)
        {
            member.tell(Input::Message { from: self.node, bytes: message.into() });
        }
    }

    fn push(&self, _now: Timestamp, to: NodeNumber, header: &TrunkHeader, run: Run) -> bool {
        let gateway = self.hub.members.lock().unwrap().get(&to).map(|member| Arc::clone(&member.gateway));
        match gateway.filter(|_| self.hub.is_linked(self.node, to)) {
            Some(gateway) => {
                self.hub.pushed.lock().unwrap().push((self.node, to, header.clone()));
                gateway.packet(self.node, header.clone(), run);
                true
            }
            None => false,
        }
    }
}
