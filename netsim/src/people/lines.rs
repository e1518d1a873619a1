//! Connections between endpoints and nodes: a window each way, the endpoint's line rate, resets.
//!
//! Bytes that were handed to the socket and have not arrived fill its window; when it is full, queues wait behind it.

use std::time::Duration;

use proto_spec::frame::{ControlFrame, PathHint};
use proto_spec::lsa::DrainState;
use proto_spec::{AttachSeq, NodeNumber, SenderNumber, SessionId, Timestamp};
use sealcast_attach::config::WRITE_BATCH_BYTES;
use sealcast_attach::{Change, Run};
use sealcast_mesh::SessionView;
use sha2::{Digest as _, Sha256};

use super::gateway::{Effect, Gateway};
use super::{ConnId, PeopleEvent};
use crate::check::delivery::PersonId;
use crate::sim::{Bug, Event, Lane, World};

/// Bytes that a socket and the network take before the sender has to wait.
const WINDOW: usize = 256 * 1024;
/// The same towards a slow line, of which systems keep less under way.
const WINDOW_SLOW: usize = 64 * 1024;
/// A segment of TCP.
const SEGMENT_BYTES: usize = 1_448;
/// Connections looked at in one go before the others' events come: bounds nothing, keeps one call short.
const TURNS_MAX: usize = 1_000_000;

/// A connection.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) who: PersonId,
    pub(crate) node: NodeNumber,
    /// The node's process.
    pub(crate) boot: u64,
    pub(crate) exporter: [u8; 32],
    /// The attach key of whoever is at its other end.
    pub(crate) owner: [u8; 32],
    way: Duration,
    to_node: Lane,
    to_person: Lane,
    /// Under way to the node, to the endpoint.
    in_flight: [usize; 2],
    person_open: bool,
    node_open: bool,
}

impl World {
    /// A connection stands at both ends.
    pub(super) fn line_up(&mut self, who: PersonId, node: NodeNumber) -> ConnId {
        let conn = self.next_id();
        let exporter: [u8; 32] = Sha256::digest(conn.to_be_bytes()).into();
        let way = self.network.access(self.people.persons[who].region, node);
        let boot = self.hosts[&node].boot;
        let line = Line {
            who,
            node,
            boot,
            exporter,
            owner: self.people.persons[who].key.public(),
            way,
            to_node: Lane::default(),
            to_person: Lane::default(),
            in_flight: [0; 2],
            person_open: true,
            node_open: true,
        };
        self.people.lines.insert(conn, line);
        let now = self.now_of(node);
        self.people.gateway_of(node, &self.hosts).connect(now, conn, exporter);
        self.wake_node(conn, node);
        conn
    }

    /// The endpoint writes; what the window does not take stays with it.
    pub(super) fn person_room(&self, conn: ConnId) -> usize {
        self.people
            .lines
            .get(&conn)
            .filter(|line| line.person_open)
            .map_or(0, |line| WINDOW.saturating_sub(line.in_flight[0]))
    }

    pub(super) fn person_writes(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let now = self.now;
        let Some(way) = self.people.lines.get(&conn).map(|line| line.way) else { return };
        let transit = self.network.jittered(way);
        let Some(line) = self.people.lines.get_mut(&conn) else { return };
        line.in_flight[0] += bytes.len();
        let (at, node) = (line.to_node.send(now, bytes.len(), None, transit), line.node);
        self.trace.event(now.0.as_nanos() as u64, conn);
        self.trace.bytes(&bytes);
        self.schedule_at(at, Event::People(PeopleEvent::ToNode { conn, node, bytes }));
    }

    pub(super) fn bytes_to_node(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(line) = self.people.lines.get_mut(&conn) else { return };
        line.in_flight[0] = line.in_flight[0].saturating_sub(bytes.len());
        let (who, node, open) = (line.who, line.node, line.node_open);
        if open && self.is_current(conn) {
            let now = self.now_of(node);
            let lax = self.is_lax();
            if let Some(gateway) = self.people.gateways.get_mut(&node) {
                gateway.receive(now, conn, bytes, &self.people.broker.door(lax));
            }
            self.after_gateway(node);
        }
        self.person_turn(who);
    }

    pub(super) fn bytes_to_person(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let Some(line) = self.people.lines.get_mut(&conn) else { return };
        line.in_flight[1] = line.in_flight[1].saturating_sub(bytes.len());
        let (who, node, open) = (line.who, line.node, line.person_open);
        if open {
            self.person_receives(who, conn, &bytes);
        }
        if self.is_current(conn) && self.is_awake(node) {
            let now = self.now_of(node);
            if let Some(gateway) = self.people.gateways.get_mut(&node) {
                gateway.moved(now, conn);
            }
            self.node_writes(conn);
            self.after_gateway(node);
        }
    }

    /// Whether nodes let everybody in: a planted bug.
    fn is_lax(&self) -> bool {
        self.bug == Some(Bug::AdmitWithoutTicket)
    }

    /// Whether a connection's process still runs.
    fn is_current(&self, conn: ConnId) -> bool {
        self.people.lines.get(&conn).is_some_and(|line| {
            line.node_open
                && self.hosts[&line.node].boot == line.boot
                && self.hosts[&line.node].node.is_some()
        })
    }

    /// Timers of a connection's node.
    pub(super) fn node_turn(&mut self, conn: ConnId, node: NodeNumber) {
        if !self.is_current(conn) {
            return;
        }
        let now = self.now_of(node);
        let lax = self.is_lax();
        if let Some(gateway) = self.people.gateways.get_mut(&node) {
            if gateway.deadline(now.mono, conn).is_none_or(|deadline| deadline > now.mono) {
                return self.wake_node(conn, node);
            }
            gateway.handle_timeout(now, conn, &self.people.broker.door(lax));
        }
        self.after_gateway(node);
        self.wake_node(conn, node);
    }

    fn wake_node(&mut self, conn: ConnId, node: NodeNumber) {
        let Some(gateway) = self.people.gateways.get(&node) else { return };
        if let Some(deadline) = gateway.deadline(self.now, conn) {
            self.schedule_at(deadline, Event::People(PeopleEvent::Node { conn, node }));
        }
    }

    /// Carries out what a gateway wants, and writes what waits.
    pub(crate) fn after_gateway(&mut self, node: NodeNumber) {
        for _ in 0..TURNS_MAX {
            let Some(gateway) = self.people.gateways.get_mut(&node) else { return };
            gateway.wake_for_credit();
            let effects = gateway.take_effects();
            let dirty = std::mem::take(&mut gateway.dirty);
            if effects.is_empty() && dirty.is_empty() {
                break;
            }
            for effect in effects {
                self.gateway_effect(node, effect);
            }
            for conn in dirty {
                let now = self.now_of(node);
                let lax = self.is_lax();
                if let Some(gateway) = self.people.gateways.get_mut(&node) {
                    gateway.end_marked(now, conn);
                    if gateway.deadline(now.mono, conn).is_some_and(|deadline| deadline <= now.mono) {
                        gateway.handle_timeout(now, conn, &self.people.broker.door(lax));
                    }
                    // What this made dirty is written now.
                    gateway.dirty.remove(&conn);
                }
                self.node_writes(conn);
                self.wake_node(conn, node);
            }
        }
        self.check_bounds(node);
        let deadline = self.people.gateways.get(&node).and_then(Gateway::registry_deadline);
        if let Some(deadline) = deadline {
            let boot = self.hosts[&node].boot;
            if self.registry_wakes.insert((node, deadline)) {
                self.schedule_at(deadline, Event::People(PeopleEvent::Registry { node, boot }));
            }
        }
    }

    fn gateway_effect(&mut self, node: NodeNumber, effect: Effect) {
        match effect {
            Effect::Change(Change::Attached { session, entry, ready }) => {
                self.attach(node, session, entry, ready);
            }
            Effect::Change(Change::Detached { session, number, attach_seq }) => {
                self.detach_exactly(node, session, number, attach_seq);
            }
            Effect::Beyond { session, egress, run } => self.send_frames(node, session, egress, run),
            Effect::Handed { session, sender, to } => {
                self.check_endpoint_delivery(node, session, to.map(|to| to.session));
                if let Some(to) = to {
                    self.check_lobby(node, session, sender, to);
                }
            }
            Effect::Admitted { conn, request } => self.check_admission(node, conn, &request),
            Effect::Said { session, frames } => self.check_records(node, session, &frames),
            Effect::Close { conn } => self.node_writes(conn),
        }
    }

    /// One attachment of a number is gone; another one stays.
    fn detach_exactly(
        &mut self,
        node: NodeNumber,
        session: SessionId,
        number: SenderNumber,
        attach_seq: AttachSeq,
    ) {
        let held = self.hosts[&node].attached.get(&(session, number));
        if held.is_some_and(|entry| entry.attach_seq == attach_seq) {
            self.detach(node, session, number);
        }
    }

    /// Moves bytes from a node's queues into the window.
    fn node_writes(&mut self, conn: ConnId) {
        loop {
            let Some(line) = self.people.lines.get(&conn) else { return };
            if !line.node_open {
                return;
            }
            let (node, who, way) = (line.node, line.who, line.way);
            let rate = self.people.persons[who].downstream;
            let window = if rate.is_some() { WINDOW_SLOW } else { WINDOW };
            let now = self.now_of(node);
            let Some(gateway) = self.people.gateways.get_mut(&node) else { return };
            if line.in_flight[1] >= window {
                return gateway.blocked(now, conn);
            }
            // A whole batch, as relayd takes it: what the socket does not take of it waits before all else.
            let mut bytes = Vec::new();
            gateway.take(now, conn, WRITE_BATCH_BYTES, &mut bytes);
            if bytes.is_empty() {
                if gateway.is_done(conn) {
                    gateway.disconnect(now, conn, true);
                    self.node_closes(conn);
                }
                return;
            }
            let transit = self.network.jittered(way);
            let Some(line) = self.people.lines.get_mut(&conn) else { return };
            line.in_flight[1] += bytes.len();
            self.trace.event(now.mono.0.as_nanos() as u64, conn);
            self.trace.bytes(&bytes);
            // On a thin line a write takes seconds: its segments are heard one by one, and are life.
            let piece = if rate.is_some() { SEGMENT_BYTES } else { bytes.len() };
            let arrivals: Vec<(Timestamp, Vec<u8>)> = bytes
                .chunks(piece)
                .map(|piece| (line.to_person.send(now.mono, piece.len(), rate, transit), piece.to_vec()))
                .collect();
            for (at, bytes) in arrivals {
                self.schedule_at(at, Event::People(PeopleEvent::ToPerson { conn, bytes }));
            }
        }
    }

    /// The node's end is closed, behind all that it wrote.
    fn node_closes(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(line) = self.people.lines.get_mut(&conn) else { return };
        line.node_open = false;
        let at = line.to_person.send(now, 0, None, line.way);
        self.schedule_at(at, Event::People(PeopleEvent::PersonClosed { conn }));
    }

    /// The endpoint's end is closed, behind all that it wrote.
    pub(super) fn person_closes(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(line) = self.people.lines.get_mut(&conn) else { return };
        if !std::mem::replace(&mut line.person_open, false) {
            return;
        }
        let (at, node) = (line.to_node.send(now, 0, None, line.way), line.node);
        self.schedule_at(at, Event::People(PeopleEvent::NodeClosed { conn, node }));
    }

    pub(super) fn person_closed(&mut self, conn: ConnId) {
        let Some(line) = self.people.lines.get_mut(&conn) else { return };
        let (who, open) = (line.who, std::mem::replace(&mut line.person_open, false));
        if open {
            self.person_loses(who, conn);
        }
        self.forget_line(conn);
    }

    pub(super) fn node_closed(&mut self, conn: ConnId, node: NodeNumber) {
        if self.is_current(conn) {
            let leaves = !self.misbehaves(Bug::ForgetToLeave, 2);
            let now = self.now_of(node);
            if let Some(gateway) = self.people.gateways.get_mut(&node) {
                gateway.disconnect(now, conn, leaves);
            }
            self.after_gateway(node);
        }
        if let Some(line) = self.people.lines.get_mut(&conn) {
            line.node_open = false;
        }
        self.forget_line(conn);
    }

    fn forget_line(&mut self, conn: ConnId) {
        if self.people.lines.get(&conn).is_some_and(|line| !line.person_open && !line.node_open) {
            self.people.lines.remove(&conn);
        }
    }

    /// A node's process is gone: its endpoints see resets.
    pub(crate) fn people_of_the_dead(&mut self, node: NodeNumber) {
        self.people.gateways.remove(&node);
        let broken: Vec<(ConnId, Duration)> = self
            .people
            .lines
            .iter_mut()
            .filter(|(_, line)| line.node == node && line.node_open)
            .map(|(conn, line)| {
                line.node_open = false;
                (*conn, line.way)
            })
            .collect();
        for (conn, way) in broken {
            self.schedule(way, Event::People(PeopleEvent::PersonClosed { conn }));
        }
        if self.misbehaves(Bug::MoveOthers, 1) {
            let other = self.people.lines.iter().find(|(_, line)| {
                line.node != node && line.node_open && line.person_open && self.is_awake(line.node)
            });
            if let Some(conn) = other.map(|(conn, _)| *conn) {
                self.node_closes(conn);
                let node = self.people.lines[&conn].node;
                let now = self.now_of(node);
                if let Some(gateway) = self.people.gateways.get_mut(&node) {
                    gateway.disconnect(now, conn, true);
                }
                self.after_gateway(node);
            }
        }
    }

    /// The mesh's word about a session reaches the node's endpoints.
    pub(crate) fn session_seen(&mut self, node: NodeNumber, session: SessionId, view: &SessionView) {
        let now = self.now_of(node);
        if let Some(gateway) = self.people.gateways.get_mut(&node) {
            gateway.session_seen(now, session, view);
            self.after_gateway(node);
        }
    }

    /// A path has changed: the session's endpoints here probe.
    pub(crate) fn path_hint(&mut self, node: NodeNumber, session: SessionId, about: NodeNumber) {
        let now = self.now_of(node);
        let hint = ControlFrame::PathHint(PathHint { node: Some(about) });
        if let Some(gateway) = self.people.gateways.get_mut(&node) {
            gateway.tell_session(now, session, &hint);
            self.after_gateway(node);
        }
    }

    /// All nodes of a session know an attachment.
    pub(crate) fn attachment_ready(
        &mut self,
        node: NodeNumber,
        session: SessionId,
        number: SenderNumber,
        attach_seq: AttachSeq,
    ) {
        let now = self.now_of(node);
        if let Some(gateway) = self.people.gateways.get_mut(&node) {
            gateway.ready(now, session, number, attach_seq);
            self.after_gateway(node);
        }
    }

    /// Attachments that were overtaken on other nodes may have had their time.
    pub(super) fn registry_turn(&mut self, node: NodeNumber, boot: u64) {
        let now = self.now_of(node);
        self.registry_wakes.retain(|(other, at)| *other != node || *at > now.mono);
        if self.hosts[&node].boot == boot
            && let Some(gateway) = self.people.gateways.get_mut(&node)
        {
            gateway.end_overtaken(now);
            self.after_gateway(node);
        }
    }

    /// Frames that came over the mesh reach the members here.
    pub(crate) fn deliver_frames(&mut self, at: NodeNumber, session: SessionId, run: Run) {
        let now = self.now_of(at);
        let stranger = self.misbehaves(Bug::DeliverToStranger, 5);
        let all = self.misbehaves(Bug::LobbyHearsAll, 1);
        if let Some(gateway) = self.people.gateways.get_mut(&at) {
            if stranger {
                gateway.hand_to_stranger(now, session, run.clone());
            }
            if all {
                gateway.hand_to_guests(now, session, &run);
            }
            gateway.deliver(now, session, run);
            self.after_gateway(at);
        }
    }

    /// A node goes out of service: its endpoints are asked to go.
    pub fn drain(&mut self, node: NodeNumber, within: Duration) {
        if !self.is_awake(node) {
            return;
        }
        self.input(node, sealcast_mesh::Input::Drain { within });
        self.drain_gateway(node, within);
    }

    /// The gateway's part of it, also when the core drains by itself.
    pub(crate) fn drain_gateway(&mut self, node: NodeNumber, within: Duration) {
        let now = self.now_of(node);
        self.tell_elsewhere();
        if let Some(gateway) = self.people.gateways.get_mut(&node) {
            gateway.drain_all(now, within.as_millis() as u32);
            self.after_gateway(node);
        }
        self.excuse(node);
        let boot = self.hosts[&node].boot;
        self.schedule(within, Event::People(PeopleEvent::DrainEnds { node, boot }));
    }

    /// A node stays in service after all.
    pub fn undrain(&mut self, node: NodeNumber) {
        self.input(node, sealcast_mesh::Input::Undrain);
        if let Some(gateway) = self.people.gateways.get_mut(&node) {
            gateway.undrain();
        }
    }

    /// Every gateway learns which nodes serve.
    pub(crate) fn tell_elsewhere(&mut self) {
        let serving: Vec<NodeNumber> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.node.is_some() && host.drain == DrainState::Serving)
            .map(|(number, _)| *number)
            .collect();
        for (number, gateway) in &mut self.people.gateways {
            let others = serving.iter().filter(|other| *other != number);
            gateway.set_elsewhere(others.take(3).map(|other| crate::sim::address(*other)).collect());
        }
    }

    pub(super) fn drain_ends(&mut self, node: NodeNumber, boot: u64) {
        if self.hosts[&node].boot == boot && self.hosts[&node].drain != DrainState::Serving {
            if let Some(gateway) = self.people.gateways.get_mut(&node) {
                gateway.end_all();
            }
            self.after_gateway(node);
        }
    }
}
