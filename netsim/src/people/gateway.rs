//! A node's side of its endpoints: the product's attachments, registry and queues, with the shell around them simulated.
//!
//! Owns who is attached to one process of one node. What follows for others comes back as [`Effect`]s; what is to be
//! written is taken by the connections. Never looks into a packet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use proto_spec::egress::EgressSet;
use proto_spec::frame::{
    ControlFrame, DataHeader, Destination, Ended, ErrorFrame, HEADER_LENGTH, Move, Peer, PeerState, Presence,
};
use proto_spec::membership::{MemberKind, MembershipEntry};
use proto_spec::ticket::{Claims, TicketKind};
use proto_spec::{AttachSeq, NodeNumber, Now, Refusal, SenderNumber, SessionId, Timestamp, TrafficClass};
use sealcast_attach::attachment::Close;
use sealcast_attach::config::LOBBY_BYTES_MAX;
use sealcast_attach::queue::Batch;
use sealcast_attach::{
    Attachment, AttachmentId, ClassQueues, Forward, JoinRequest, Ledger, Limits, NodeMemory, Notice, Output,
    Push, Registry, Run, SharedView, fanout,
};
use sealcast_mesh::SessionView;

use super::ConnId;
use crate::sim::Frames;

/// Checks a ticket frame for one connection: the world's stand-in for the broker's signature.
pub(crate) type Check<'a> =
    &'a dyn Fn(&proto_spec::frame::TicketFrame, &[u8; 32], Now) -> Result<Claims, Refusal>;

/// What the rest of the world is to do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// The mesh is to know an attachment.
    Attached { session: SessionId, entry: MembershipEntry },
    /// The mesh is to forget an attachment.
    Detached { session: SessionId, number: SenderNumber, attach_seq: AttachSeq },
    /// Frames leave for other nodes.
    Remote { session: SessionId, egress: EgressSet, frames: Frames },
    /// Frames were queued for an endpoint that was admitted to this session.
    Handed { session: SessionId, admitted_to: Option<SessionId> },
    /// The connection ends when what waits has been written.
    Close { conn: ConnId },
}

struct Seat {
    core: Attachment,
    queues: ClassQueues,
    id: AttachmentId,
    exporter: [u8; 32],
    plain: BytesMut,
    view: Option<SharedView<ConnId>>,
    entry: Option<(SessionId, MembershipEntry)>,
    /// More credit may be granted.
    credit: Arc<AtomicBool>,
    ending: Option<(Refusal, Option<Ended>)>,
    guest_left: Option<u64>,
    /// The last words, once nothing more is taken in.
    last: Option<Bytes>,
    closed: bool,
}

/// One node's side of its endpoints.
pub struct Gateway {
    node: NodeNumber,
    limits: Arc<Limits>,
    memory: Arc<NodeMemory>,
    registry: Registry<ConnId>,
    seats: BTreeMap<ConnId, Seat>,
    /// Where each session is besides here, by the mesh's word.
    remote: BTreeMap<SessionId, SessionView>,
    /// For frames that come from other nodes: they press on nobody here.
    arrivals: Arc<Ledger>,
    /// Connections that have something to write or to do.
    pub(super) dirty: BTreeSet<ConnId>,
    effects: Vec<Effect>,
}

impl Gateway {
    pub(super) fn new(node: NodeNumber, attachments_max: usize) -> Gateway {
        let limits = Arc::new(Limits { attachments_max, ..Limits::default() });
        let memory = NodeMemory::new(limits.node_queue_bytes_max);
        Gateway {
            node,
            registry: Registry::new(Arc::clone(&limits)),
            arrivals: Ledger::new(&limits, Arc::clone(&memory), Box::new(|| ())),
            limits,
            memory,
            seats: BTreeMap::new(),
            remote: BTreeMap::new(),
            dirty: BTreeSet::new(),
            effects: Vec::new(),
        }
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Attachments in the registry.
    pub fn registered(&self) -> usize {
        self.registry.attachments()
    }

    /// Connections, admitted or not.
    pub fn connections(&self) -> usize {
        self.seats.len()
    }

    /// Bytes in all queues.
    pub fn queue_bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// The longest queue of one endpoint, in bytes.
    pub fn longest_queue(&self, class: TrafficClass) -> usize {
        self.seats.values().map(|seat| seat.queues.bytes(class)).max().unwrap_or(0)
    }

    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(super) fn connect(&mut self, now: Now, conn: ConnId, exporter: [u8; 32]) {
        let credit = Arc::new(AtomicBool::new(false));
        let wake = Arc::clone(&credit);
        let ledger = Ledger::new(
            &self.limits,
            Arc::clone(&self.memory),
            Box::new(move || wake.store(true, Ordering::SeqCst)),
        );
        let seat = Seat {
            core: Attachment::new(Arc::clone(&self.limits), ledger, "netsim", now),
            queues: ClassQueues::new(Arc::clone(&self.limits), Arc::clone(&self.memory)),
            id: self.registry.allot(),
            exporter,
            plain: BytesMut::new(),
            view: None,
            entry: None,
            credit,
            ending: None,
            guest_left: None,
            last: None,
            closed: false,
        };
        self.seats.insert(conn, seat);
    }

    pub(super) fn receive(&mut self, now: Now, conn: ConnId, bytes: &[u8], check: Check<'_>) {
        let Some(mut seat) = self.seats.remove(&conn) else { return };
        if !seat.closed && seat.core.close().is_none() {
            seat.plain.extend_from_slice(bytes);
            let mut fresh = bytes.len();
            loop {
                // A refusal is kept by the core, and found when the seat is put back.
                let _ = seat.core.handle_bytes(now, &mut seat.plain, fresh);
                self.drain(now, conn, &mut seat, check);
                if !seat.core.take_paused() {
                    break;
                }
                fresh = 0;
            }
            seat.core.grant(now);
            self.drain(now, conn, &mut seat, check);
        }
        self.put_back(now, conn, seat);
    }

    /// Timers of a connection, and credit that others gave back.
    pub(super) fn handle_timeout(&mut self, now: Now, conn: ConnId, check: Check<'_>) {
        let Some(mut seat) = self.seats.remove(&conn) else { return };
        if !seat.closed {
            seat.queues.note_lag(now.mono);
            if let Some(refusal) = seat.queues.handle_timeout(now.mono) {
                seat.core.refuse(refusal);
            }
            seat.core.handle_timeout(now);
            if seat.credit.swap(false, Ordering::SeqCst) {
                seat.core.grant(now);
            }
            self.drain(now, conn, &mut seat, check);
        }
        self.put_back(now, conn, seat);
    }

    /// When a connection wants to be looked at although nothing happens.
    pub(super) fn deadline(&self, now: Timestamp, conn: ConnId) -> Option<Timestamp> {
        let seat = self.seats.get(&conn).filter(|seat| !seat.closed)?;
        let credit = seat.credit.load(Ordering::SeqCst).then_some(now);
        [seat.core.deadline(), seat.queues.deadline(), seat.queues.lag_deadline(), credit]
            .into_iter()
            .flatten()
            .min()
    }

    /// Connections whose sender may be granted more.
    pub(super) fn wake_for_credit(&mut self) {
        let waiting = self.seats.iter().filter(|(_, seat)| seat.credit.load(Ordering::SeqCst));
        self.dirty.extend(waiting.map(|(conn, _)| *conn));
    }

    /// The connection is gone; `leaves` is whether the registry is told.
    pub(super) fn disconnect(&mut self, conn: ConnId, leaves: bool) {
        let Some(mut seat) = self.seats.remove(&conn) else { return };
        if leaves {
            self.leave(&mut seat);
        }
        self.dirty.remove(&conn);
    }

    /// Takes what is to be written next; whether the socket took all of the last.
    pub(super) fn take(&mut self, now: Now, conn: ConnId, bytes_max: usize, out: &mut Vec<u8>) {
        let Some(seat) = self.seats.get_mut(&conn) else { return };
        if let Some(last) = seat.last.take() {
            out.extend_from_slice(&last);
            return;
        }
        let mut batch = Batch::new();
        seat.queues.take(bytes_max, &mut batch);
        for item in &batch {
            out.extend_from_slice(item.bytes());
        }
        if !out.is_empty() {
            seat.core.handle_write(now, true, false);
        }
    }

    /// The socket takes nothing more although something waits.
    pub(super) fn blocked(&mut self, now: Now, conn: ConnId) {
        let Some(seat) = self.seats.get_mut(&conn) else { return };
        if !seat.queues.is_empty() {
            seat.core.handle_write(now, false, true);
            seat.queues.note_lag(now.mono);
            seat.queues.settle();
        }
    }

    /// Whether a closed connection has written its last words.
    pub(super) fn is_done(&self, conn: ConnId) -> bool {
        self.seats.get(&conn).is_none_or(|seat| seat.closed && seat.last.is_none())
    }

    fn drain(&mut self, now: Now, conn: ConnId, seat: &mut Seat, check: Check<'_>) {
        while let Some(output) = seat.core.poll_output() {
            match output {
                Output::Send(frame) => self.send(now.mono, seat, frame),
                Output::Verify(frame) => {
                    let verdict = check(&frame, &seat.exporter, now);
                    if verdict.is_ok() {
                        let hash = sealcast_trust::ticket_hash(&frame.ticket);
                        seat.entry.get_or_insert((SessionId([0; 16]), blank(hash))).1.ticket = hash;
                    }
                    seat.core.handle_verdict(now, verdict);
                }
                Output::Join(request) => self.join(now, conn, seat, request, true),
                Output::Renew(request) => self.join(now, conn, seat, request, false),
                Output::Activate(attach_seq) => self.activate(now, seat, attach_seq),
                Output::Forward(forward) => self.forward(now, seat, forward),
            }
        }
        self.dirty.insert(conn);
    }

    fn send(&mut self, now: Timestamp, seat: &mut Seat, mut frame: ControlFrame) {
        if let ControlFrame::Attached(attached) = &mut frame
            && attached.kind == TicketKind::Member
            && let Some(claims) = seat.core.claims()
        {
            let (own, leads) = (attached.number, claims.leader == claims.number);
            for (number, state) in self.elsewhere(attached.session) {
                let told = state != PeerState::Lobby || leads;
                if number != own && told && !attached.peers.iter().any(|peer| peer.number == number) {
                    attached.peers.push(Peer { number, state });
                }
            }
            attached.peers.sort_by_key(|peer| peer.number);
        }
        push_own(now, seat, &frame);
    }

    fn join(&mut self, now: Now, conn: ConnId, seat: &mut Seat, request: JoinRequest, first: bool) {
        let mut notices = Vec::new();
        let joined = if first {
            self.registry.join(now, seat.id, &request, conn, &mut notices)
        } else {
            self.registry.renew(now, seat.id, &request, &mut notices)
        };
        let session = request.claims.session;
        self.carry_out(now.mono, session, notices);
        let guest = request.claims.kind == TicketKind::Lobby;
        let joined = joined.map(|joined| {
            seat.guest_left = guest.then_some(LOBBY_BYTES_MAX);
            seat.view = Some(joined.view);
            let kind = match (guest, request.standby) {
                (true, _) => MemberKind::Lobby,
                (false, true) => MemberKind::Standby,
                (false, false) => MemberKind::Active,
            };
            let ticket = seat.entry.map(|(_, entry)| entry.ticket).unwrap_or_default();
            let entry = MembershipEntry {
                number: request.claims.number,
                kind,
                attach_seq: request.attach_seq,
                ticket,
            };
            seat.entry = Some((session, entry));
            self.effects.push(Effect::Attached { session, entry });
            (joined.peers, joined.buckets)
        });
        seat.core.handle_joined(now, request.claims, joined);
    }

    fn activate(&mut self, now: Now, seat: &mut Seat, attach_seq: AttachSeq) {
        let Some(session) = seat.core.claims().map(|claims| claims.session) else { return };
        let mut notices = Vec::new();
        let outcome = self.registry.activate(session, seat.id, attach_seq, &mut notices);
        self.carry_out(now.mono, session, notices);
        if let (Ok(()), Some((_, entry))) = (&outcome, &mut seat.entry) {
            entry.kind = MemberKind::Active;
            entry.attach_seq = attach_seq;
            self.effects.push(Effect::Attached { session, entry: *entry });
        }
        seat.core.handle_activated(attach_seq, outcome);
    }

    fn forward(&mut self, now: Now, seat: &mut Seat, forward: Forward) {
        let Some(view) = seat.view.as_ref().map(|view| view.load_full()) else { return };
        let Some(claims) = seat.core.claims() else { return };
        let (session, sender, leader) = (claims.session, claims.number, claims.leader);
        let from_lobby = seat.core.is_guest();
        let bytes = forward.run.bytes().len() as u64;
        let egress = self.egress(session, sender, from_lobby, leader, &forward.destination);
        let mut copies = egress.as_ref().map_or(0, |set| set.nodes().len());
        if let Some(egress) = egress {
            let forward = Forward { run: forward.run.clone(), destination: forward.destination.clone() };
            let frames = Frames { forward, from_lobby };
            self.effects.push(Effect::Remote { session, egress, frames });
        }
        let mut pushed = Vec::new();
        copies += fanout::deliver(&view, sender, from_lobby, forward, |conn, run| pushed.push((*conn, run)));
        for (conn, run) in pushed {
            self.push(now, conn, session, run);
        }
        seat.core.charge(now, bytes, copies as u64);
    }

    /// The other nodes that frames of this sender go to.
    fn egress(
        &self,
        session: SessionId,
        sender: SenderNumber,
        from_lobby: bool,
        leader: SenderNumber,
        destination: &Destination,
    ) -> Option<EgressSet> {
        let view = self.remote.get(&session)?;
        let reached = |member: &&sealcast_mesh::Member| {
            let named = match destination {
                Destination::All => false,
                Destination::Members(list) => list.contains(&member.number),
            };
            let wanted = named || matches!(destination, Destination::All);
            member.number != sender
                && match member.kind {
                    MemberKind::Active => wanted && (!from_lobby || member.number == leader),
                    MemberKind::Lobby => named && sender == leader,
                    MemberKind::Standby => false,
                }
        };
        let nodes: BTreeSet<NodeNumber> =
            view.members.iter().filter(reached).map(|member| member.node).collect();
        EgressSet::new(nodes.into_iter().filter(|node| *node != self.node))
    }

    /// Frames from another node for the members here.
    pub(super) fn deliver(&mut self, now: Now, session: SessionId, frames: &Frames) {
        let Some(first) = frames.forward.run.bytes().get(HEADER_LENGTH..) else { return };
        let Ok((header, _)) = DataHeader::parse(first) else { return };
        let Some(view) = self.view_of(session) else { return };
        let bytes = frames.forward.run.bytes().clone();
        let (count, pinned) = (frames.forward.run.frames(), bytes.len());
        let run = Run::new(&self.arrivals, &header, bytes, count, pinned);
        let forward = Forward { run, destination: frames.forward.destination.clone() };
        let mut pushed = Vec::new();
        fanout::deliver(&view.load_full(), header.sender, frames.from_lobby, forward, |conn, run| {
            pushed.push((*conn, run));
        });
        for (conn, run) in pushed {
            self.push(now, conn, session, run);
        }
    }

    fn view_of(&self, session: SessionId) -> Option<SharedView<ConnId>> {
        let in_session = |seat: &&Seat| seat.core.claims().is_some_and(|claims| claims.session == session);
        self.seats.values().find(in_session).and_then(|seat| seat.view.clone())
    }

    /// Queues a run for an endpoint that belongs to no session of it: a planted bug.
    pub(super) fn hand_to_stranger(&mut self, now: Now, session: SessionId, frames: &Frames) {
        let stranger = self
            .seats
            .iter()
            .find(|(_, seat)| seat.core.claims().is_some_and(|claims| claims.session != session));
        if let Some(conn) = stranger.map(|(conn, _)| *conn) {
            self.push(now, conn, session, frames.forward.run.clone());
        }
    }

    fn push(&mut self, now: Now, conn: ConnId, session: SessionId, run: Run) {
        let Some(seat) = self.seats.get_mut(&conn) else { return };
        if seat.ending.is_some() || seat.core.close().is_some() {
            return;
        }
        let length = run.bytes().len() as u64;
        if let Some(left) = &mut seat.guest_left {
            if *left < length {
                return;
            }
            *left -= length;
        }
        if let Push::Detach(refusal) = seat.queues.push(now.mono, run) {
            seat.ending = Some((refusal, None));
        }
        let admitted_to = seat.core.claims().map(|claims| claims.session);
        self.effects.push(Effect::Handed { session, admitted_to });
        self.dirty.insert(conn);
    }

    /// Tells others what the registry says; who is gone from here may be elsewhere.
    fn carry_out(&mut self, now: Timestamp, session: SessionId, notices: Vec<Notice<ConnId>>) {
        for notice in notices {
            match notice {
                Notice::Send { to, mut frame } => {
                    if let ControlFrame::Presence(Presence { peer }) = &mut frame
                        && peer.state != PeerState::Active
                        && let Some(state) = self.elsewhere(session).get(&peer.number)
                        && (peer.state == PeerState::Gone || *state == PeerState::Active)
                    {
                        peer.state = *state;
                    }
                    if let Some(seat) = self.seats.get_mut(&to) {
                        push_own(now, seat, &frame);
                        self.dirty.insert(to);
                    }
                }
                Notice::End { to, refusal, ended } => {
                    if let Some(seat) = self.seats.get_mut(&to) {
                        seat.ending.get_or_insert((refusal, ended));
                        self.dirty.insert(to);
                    }
                }
            }
        }
    }

    /// Numbers on other nodes, each as it stands there.
    fn elsewhere(&self, session: SessionId) -> BTreeMap<SenderNumber, PeerState> {
        self.remote.get(&session).map(states).unwrap_or_default()
    }

    /// The mesh says where else a session is: members here hear what changed.
    pub(super) fn session_seen(&mut self, now: Now, session: SessionId, view: &SessionView) {
        let before = self.elsewhere(session);
        self.remote.insert(session, view.clone());
        let after = self.elsewhere(session);
        let numbers: BTreeSet<SenderNumber> = before.keys().chain(after.keys()).copied().collect();
        let here: BTreeMap<SenderNumber, PeerState> = self
            .registry
            .session(session)
            .map(|status| status.attachments.iter().map(|at| (at.number, at.state)).collect())
            .unwrap_or_default();
        let heard: Vec<(ConnId, bool)> = self
            .seats
            .iter()
            .filter(|(_, seat)| {
                seat.entry.is_some_and(|(of, entry)| of == session && entry.kind == MemberKind::Active)
            })
            .map(|(conn, seat)| {
                let leads = seat.core.claims().is_some_and(|claims| claims.leader == claims.number);
                (*conn, leads)
            })
            .collect();
        for number in numbers {
            let (was, is) = (before.get(&number), after.get(&number));
            let local = here.get(&number).is_some_and(|state| *state != PeerState::Standby);
            if was == is || local {
                continue;
            }
            let state = is.copied().unwrap_or(PeerState::Gone);
            let guest = |state: Option<&PeerState>| state.is_none_or(|state| *state == PeerState::Lobby);
            let leader_only = guest(was) && guest(is);
            let frame = ControlFrame::Presence(Presence { peer: Peer { number, state } });
            for (conn, leads) in &heard {
                if (*leads || !leader_only)
                    && let Some(seat) = self.seats.get_mut(conn)
                    && seat.entry.is_some_and(|(_, entry)| entry.number != number)
                {
                    push_own(now.mono, seat, &frame);
                    self.dirty.insert(*conn);
                }
            }
        }
        if view.members.is_empty() && self.view_of(session).is_none() {
            self.remote.remove(&session);
        }
    }

    /// A frame to every endpoint of a session that is attached here.
    pub(super) fn tell_session(&mut self, now: Now, session: SessionId, frame: &ControlFrame) {
        let seats = self.seats.iter_mut().filter(|(_, seat)| seat.entry.is_some_and(|(of, _)| of == session));
        for (conn, seat) in seats {
            push_own(now.mono, seat, frame);
            self.dirty.insert(*conn);
        }
    }

    /// Goes out of service: admits nothing new, asks everybody to attach elsewhere.
    pub(super) fn drain_all(&mut self, now: Now, deadline_ms: u32, addresses: Vec<String>) {
        self.registry.drain();
        let frame = ControlFrame::Move(Move { deadline_ms, addresses });
        for (conn, seat) in self.seats.iter_mut().filter(|(_, seat)| seat.core.is_admitted()) {
            push_own(now.mono, seat, &frame);
            self.dirty.insert(*conn);
        }
    }

    /// The time of a drain is over: whoever is left goes.
    pub(super) fn end_all(&mut self) {
        for (conn, seat) in &mut self.seats {
            seat.ending.get_or_insert((Refusal::Draining, None));
            self.dirty.insert(*conn);
        }
    }

    fn leave(&mut self, seat: &mut Seat) {
        if seat.view.take().is_none() {
            return;
        }
        if let Some(claims) = seat.core.claims() {
            let mut notices = Vec::new();
            let session = claims.session;
            self.registry.leave(claims, seat.id, &mut notices);
            self.carry_out(Timestamp::ZERO, session, notices);
        }
        if let Some((session, entry)) = seat.entry.take() {
            let MembershipEntry { number, attach_seq, .. } = entry;
            self.effects.push(Effect::Detached { session, number, attach_seq });
        }
    }

    /// A seat after something happened to it: it may be over.
    fn put_back(&mut self, now: Now, conn: ConnId, mut seat: Seat) {
        if let Some((refusal, _)) = seat.ending
            && !seat.closed
        {
            seat.core.refuse(refusal);
        }
        if let Some(close) = seat.core.close()
            && !seat.closed
        {
            seat.closed = true;
            self.leave(&mut seat);
            let mut bytes = seat.queues.clear().concat();
            if let Close::Refused(refusal) = close {
                let ended = seat.ending.and_then(|(_, ended)| ended);
                let frame = match ended {
                    Some(ended) => ControlFrame::Ended(ended),
                    None => ControlFrame::Error(ErrorFrame { refusal, retry_after_ms: 0 }),
                };
                frame.put(&mut bytes);
            }
            seat.last = Some(bytes.into());
            self.effects.push(Effect::Close { conn });
        }
        let _ = now;
        self.seats.insert(conn, seat);
        self.dirty.insert(conn);
    }

    /// Ends what others have asked to end.
    pub(super) fn end_marked(&mut self, now: Now, conn: ConnId) {
        let marked = self.seats.get(&conn).is_some_and(|seat| seat.ending.is_some() && !seat.closed);
        if marked && let Some(seat) = self.seats.remove(&conn) {
            self.put_back(now, conn, seat);
        }
    }
}

fn blank(ticket: [u8; 32]) -> MembershipEntry {
    let number = SenderNumber::new(1).expect("1 is a number");
    MembershipEntry { number, kind: MemberKind::Lobby, attach_seq: AttachSeq(0), ticket }
}

fn push_own(now: Timestamp, seat: &mut Seat, frame: &ControlFrame) {
    if seat.ending.is_some() {
        return;
    }
    let mut bytes = Vec::with_capacity(64);
    frame.put(&mut bytes);
    if let Push::Detach(refusal) = seat.queues.push_own(now, bytes.into()) {
        seat.ending = Some((refusal, None));
    }
}

fn states(view: &SessionView) -> BTreeMap<SenderNumber, PeerState> {
    let rank = |state: PeerState| match state {
        PeerState::Active => 3,
        PeerState::Lobby => 2,
        PeerState::Standby => 1,
        PeerState::Gone => 0,
    };
    let mut states: BTreeMap<SenderNumber, PeerState> = BTreeMap::new();
    for member in &view.members {
        let state = match member.kind {
            MemberKind::Active => PeerState::Active,
            MemberKind::Standby => PeerState::Standby,
            MemberKind::Lobby => PeerState::Lobby,
        };
        let known = states.entry(member.number).or_insert(state);
        if rank(state) > rank(*known) {
            *known = state;
        }
    }
    states
}
