//! What gateway and overlay tell each other: attachments out; other nodes' members, readiness, path hints and ends in.

use proto_spec::frame::{ControlFrame, PathHint};
use proto_spec::mesh::LoadReport;
use proto_spec::tombstone::Tombstone;
use proto_spec::{AttachSeq, NodeNumber, SenderNumber, SessionId, Timestamp};
use sealcast_attach::{Change, Remote, RemoteMember};
use sealcast_mesh::SessionView;

use super::Gateway;
use super::beyond::Ways;

/// Changes taken from the registry at once, so that its lock is held for a moment only.
const CHANGES_AT_ONCE: usize = 256;
/// Tombstones of this node's broker that wait for the mesh: as many as a node keeps, as all are told again at a start.
const BURIED_MAX: usize = sealcast_mesh::config::TOMBSTONES_MAX;

impl Gateway {
    /// Makes the node part of a mesh, once: from now on frames leave for other nodes, and whoever is attached becomes
    /// `ready` by the mesh's word.
    pub fn enter(&self, ways: Ways) {
        // A second time would be a bug of the caller; the first stays.
        let _ = self.ways.set(ways);
    }

    /// Waits until the mesh may have to be told something.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Some of what the mesh has to be told, oldest sessions first; empty when nothing is left.
    pub(crate) fn take_changes(&self) -> Vec<Change> {
        let mut registry = self.registry.lock();
        let mut changes = Vec::new();
        while changes.len() < CHANGES_AT_ONCE {
            let Some(change) = registry.poll_change() else { break };
            changes.push(change);
        }
        changes
    }

    /// A session is on other nodes than before.
    pub(crate) fn set_remote(&self, session: SessionId, view: &SessionView) {
        let member = |member: &sealcast_mesh::Member| RemoteMember {
            number: member.number,
            kind: member.kind,
            attach_seq: member.attach_seq,
            node: member.node,
        };
        let members = view.members.iter().map(member).collect();
        let remote = Remote { egress: view.egress.clone(), members };
        let now = self.clock.now();
        self.change(|registry, notices| registry.set_remote(now, session, remote, notices));
    }

    /// The session's nodes know an attachment \[MBR-10\].
    pub(crate) fn ready(&self, session: SessionId, number: SenderNumber, attach_seq: AttachSeq) {
        let handle = self.registry.lock().ready(session, number, attach_seq);
        if let Some(handle) = handle {
            handle.ready(attach_seq);
        }
    }

    /// A path of the session changed: all its endpoints here are told, standbys too \[FLW-5\].
    pub(crate) fn path_hint(&self, session: SessionId, node: NodeNumber) {
        let handles = self.registry.lock().handles_of(session);
        let now = self.clock.now().mono;
        let frame = ControlFrame::PathHint(PathHint { node: Some(node) });
        handles.iter().for_each(|handle| handle.push_control(now, &frame));
    }

    /// Ends what a tombstone of this node's own broker names, here and, through the mesh, everywhere \[MBR-11\].
    pub fn bury(&self, tombstone: Tombstone) {
        self.tombstone(&tombstone.body);
        let mut buried = self.buried.lock();
        if buried.len() >= BURIED_MAX {
            tracing::warn!(limit = BURIED_MAX, "too many ends at once: the mesh is not told of the oldest");
            buried.pop_front();
        }
        buried.push_back(tombstone);
        drop(buried);
        self.changed.notify_one();
    }

    /// Some of the tombstones that the mesh has to be told of.
    pub(crate) fn take_buried(&self, at_most: usize) -> Vec<Tombstone> {
        let mut buried = self.buried.lock();
        let count = buried.len().min(at_most);
        buried.drain(..count).collect()
    }

    /// Ends what has waited too long: attachments that newer ones on other nodes have overtaken \[ATT-16\].
    pub(crate) fn handle_timeout(&self, now: Timestamp) {
        if self.registry.lock().deadline().is_some_and(|deadline| deadline <= now) {
            self.change(|registry, notices| registry.handle_timeout(now, notices));
        }
    }

    /// How long an endpoint that has moved is still sent what comes \[ATT-15\].
    pub(crate) fn set_move_grace(&self, grace: std::time::Duration) {
        self.registry.lock().set_move_grace(grace);
    }

    /// The node's load, for brokers \[MCU-3\]; `forwarded_before` is what had been forwarded a second ago.
    pub(crate) fn load(&self, sequence: u64, forwarded_before: u64) -> (LoadReport, u64) {
        let (attachments, draining) = {
            let registry = self.registry.lock();
            (registry.attachments(), registry.is_draining())
        };
        let forwarded = self.hops.forwarded_bytes();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let report = LoadReport {
            sequence,
            attachments: count(attachments),
            capacity: count(self.limits.attachments_max),
            queue_bytes: self.memory.bytes(),
            forwarded_bytes: forwarded.saturating_sub(forwarded_before),
            full: draining || attachments >= self.limits.attachments_max || self.memory.refuses_newcomers(),
        };
        (report, forwarded)
    }

    /// The nodes with active members of a session, `here` among them if it has some.
    pub(crate) fn nodes_of(&self, session: SessionId, here: NodeNumber) -> Vec<NodeNumber> {
        let mut nodes = self.registry.lock().egress(session);
        if self.views.get(session).is_some_and(|open| !open.view.load().members.is_empty()) {
            nodes.push(here);
            nodes.sort_unstable();
        }
        nodes
    }

    /// Where else an endpoint of a session can attach, best first; `batch` is how many are sent away at once.
    pub(super) fn addresses_elsewhere(&self, session: SessionId, batch: u64) -> Vec<String> {
        let Some(ways) = self.ways.get() else { return Vec::new() };
        let carriers = self.registry.lock().egress(session);
        ways.elsewhere.addresses(&carriers, batch)
    }
}
