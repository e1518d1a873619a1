//! A node's side of its endpoints: the product's attachments, registry and queues, with the shell around them simulated.
//!
//! Owns who is attached to one process of one node. What follows for others comes back as [`Effect`]s; what is to be
//! written is taken by the connections. Never looks into a packet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use proto_spec::egress::EgressSet;
use proto_spec::frame::{ControlFrame, DataHeader, Ended, ErrorFrame, HEADER_LENGTH, Move};
use proto_spec::ticket::{Claims, TicketKind};
use proto_spec::tombstone::TombstoneBody;
use proto_spec::{AttachSeq, Now, Refusal, SenderNumber, SessionId, Timestamp, TrafficClass};
use sealcast_attach::attachment::Close;
use sealcast_attach::config::LOBBY_BYTES_MAX;
use sealcast_attach::queue::Batch;
use sealcast_attach::run::Forward;
use sealcast_attach::{
    Attachment, AttachmentId, Change, ClassQueues, JoinRequest, Ledger, Limits, NodeMemory, Notice, Output,
    Push, Registry, Remote, RemoteMember, Run, SharedView, fanout,
};
use sealcast_mesh::SessionView;

use super::ConnId;

/// Checks a ticket frame for one connection.
pub(crate) type Check<'a> =
    &'a dyn Fn(&proto_spec::frame::TicketFrame, &[u8; 32], Now) -> Result<Claims, Refusal>;

/// What the rest of the world is to do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// The mesh is to know this.
    Change(Change),
    /// Frames leave for other nodes.
    Beyond { session: SessionId, egress: EgressSet, run: Run },
    /// Frames of a session's number were queued for an endpoint that was admitted like this.
    Handed { session: SessionId, sender: SenderNumber, to: Option<Seated> },
    /// A connection was admitted, or another ticket taken on it.
    Admitted { conn: ConnId, request: Box<JoinRequest> },
    /// An endpoint's frames came; told where records are looked at.
    Said { session: SessionId, frames: Bytes },
    /// The connection ends when what waits has been written.
    Close { conn: ConnId },
}

/// As whom an endpoint was admitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seated {
    pub(crate) session: SessionId,
    pub(crate) number: SenderNumber,
    pub(crate) kind: TicketKind,
    pub(crate) leader: SenderNumber,
}

struct Seat {
    core: Attachment,
    queues: ClassQueues,
    id: AttachmentId,
    exporter: [u8; 32],
    plain: BytesMut,
    view: Option<SharedView<ConnId>>,
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
    limits: Arc<Limits>,
    memory: Arc<NodeMemory>,
    registry: Registry<ConnId>,
    seats: BTreeMap<ConnId, Seat>,
    /// For frames that come from other nodes: they press on nobody here.
    arrivals: Arc<Ledger>,
    /// Connections that have something to write or to do.
    pub(super) dirty: BTreeSet<ConnId>,
    effects: Vec<Effect>,
    /// Where endpoints can go that this node cannot keep.
    elsewhere: Vec<String>,
    /// Whether frames of endpoints are told.
    watched: bool,
}

impl Gateway {
    pub(super) fn new(attachments_max: usize, watched: bool) -> Gateway {
        let limits = Arc::new(Limits { attachments_max, ..Limits::default() });
        let memory = NodeMemory::new(limits.node_queue_bytes_max);
        Gateway {
            registry: Registry::new(Arc::clone(&limits)),
            arrivals: Ledger::new(&limits, Arc::clone(&memory), Box::new(|| ())),
            limits,
            memory,
            seats: BTreeMap::new(),
            dirty: BTreeSet::new(),
            effects: Vec::new(),
            elsewhere: Vec::new(),
            watched,
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
        while let Some(change) = self.registry.poll_change() {
            self.effects.push(Effect::Change(change));
        }
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
    pub(super) fn disconnect(&mut self, now: Now, conn: ConnId, leaves: bool) {
        let Some(mut seat) = self.seats.remove(&conn) else { return };
        if leaves {
            self.leave(now.mono, &mut seat);
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

    /// Bytes have left the socket, which takes as many of what waits, part of a frame or not.
    pub(super) fn moved(&mut self, now: Now, conn: ConnId) {
        let Some(seat) = self.seats.get_mut(&conn) else { return };
        if !seat.queues.is_empty() {
            seat.core.handle_write(now, true, true);
        }
    }

    /// Whether a closed connection has written its last words.
    pub(super) fn is_done(&self, conn: ConnId) -> bool {
        self.seats.get(&conn).is_none_or(|seat| seat.closed && seat.last.is_none())
    }

    fn drain(&mut self, now: Now, conn: ConnId, seat: &mut Seat, check: Check<'_>) {
        while let Some(output) = seat.core.poll_output() {
            match output {
                Output::Send(frame) => push_own(now.mono, seat, &frame),
                Output::Verify(frame) => {
                    let verdict = check(&frame, &seat.exporter, now);
                    seat.core.handle_verdict(now, verdict);
                }
                Output::Join(request) => self.join(now, conn, seat, request, true),
                Output::Renew(request) => self.join(now, conn, seat, request, false),
                Output::Activate(attach_seq) => {
                    let Some(session) = seat.core.claims().map(|claims| claims.session) else { continue };
                    let mut notices = Vec::new();
                    let outcome = self.registry.activate(session, seat.id, attach_seq, &mut notices);
                    self.carry_out(now.mono, notices);
                    seat.core.handle_activated(attach_seq, outcome);
                }
                Output::Detach => {
                    let grace = seat.core.claims().and_then(|claims| self.registry.detach(claims, seat.id));
                    seat.core.handle_detached(now, grace);
                }
                Output::Forward(forward) => self.forward(now, seat, forward),
            }
        }
        self.dirty.insert(conn);
    }

    fn join(&mut self, now: Now, conn: ConnId, seat: &mut Seat, request: JoinRequest, first: bool) {
        let mut notices = Vec::new();
        let joined = if first {
            self.registry.join(now, seat.id, &request, conn, &mut notices)
        } else {
            self.registry.renew(now, seat.id, &request, &mut notices)
        };
        self.carry_out(now.mono, notices);
        if first && matches!(joined, Err(Refusal::NodeFull | Refusal::Draining)) && !self.elsewhere.is_empty()
        {
            return seat.core.handle_redirected(self.elsewhere.clone());
        }
        let guest = request.claims.kind == TicketKind::Lobby;
        if joined.is_ok() {
            self.effects.push(Effect::Admitted { conn, request: Box::new(request.clone()) });
        }
        let joined = joined.map(|joined| {
            seat.guest_left = guest.then_some(LOBBY_BYTES_MAX);
            seat.view = Some(joined.view);
            (joined.peers, joined.buckets)
        });
        seat.core.handle_joined(now, request.claims, joined);
    }

    fn forward(&mut self, now: Now, seat: &mut Seat, forward: Forward) {
        let Some(view) = seat.view.as_ref().map(|view| view.load_full()) else { return };
        let Some((session, sender)) = seat.core.claims().map(|claims| (claims.session, claims.number)) else {
            return;
        };
        let bytes = forward.run.bytes().len() as u64;
        if self.watched {
            self.effects.push(Effect::Said { session, frames: forward.run.bytes().clone() });
        }
        let mut pushed = Vec::new();
        let delivered = fanout::deliver(&view, sender, seat.core.is_guest(), forward, |conn, run| {
            pushed.push((*conn, run));
        });
        for (conn, run) in pushed {
            self.push(now, conn, session, run);
        }
        seat.core.charge(now, bytes, delivered.charged_copies());
        if let Some(fanout::Beyond { mut run, egress }) = delivered.beyond {
            if egress.nodes().len() > 1 {
                run.set_shared();
            }
            self.effects.push(Effect::Beyond { session, egress, run });
        }
    }

    /// A run from another node presses on nobody behind it: its bytes as this node's.
    pub(crate) fn arrived(&self, run: &Run) -> Option<Run> {
        let (header, _) = DataHeader::parse(run.bytes().get(HEADER_LENGTH..)?).ok()?;
        let bytes = run.bytes().clone();
        let pinned = bytes.len();
        Some(Run::new(&self.arrivals, &header, bytes, run.frames(), pinned))
    }

    /// Frames from another node for the members here.
    pub(super) fn deliver(&mut self, now: Now, session: SessionId, run: Run) {
        let Some(view) = self.view_of(session) else { return };
        let Some(arrived) = Forward::arrived(run) else { return };
        let mut pushed = Vec::new();
        // Who reaches nobody here is dropped; a daemon counts it.
        let _ = fanout::deliver_arrived(&view.load_full(), arrived, |conn, run| pushed.push((*conn, run)));
        for (conn, run) in pushed {
            self.push(now, conn, session, run);
        }
    }

    fn view_of(&self, session: SessionId) -> Option<SharedView<ConnId>> {
        let in_session = |seat: &&Seat| seat.core.claims().is_some_and(|claims| claims.session == session);
        self.seats.values().find(in_session).and_then(|seat| seat.view.clone())
    }

    /// Queues a run for an endpoint that belongs to no session of it: a planted bug.
    pub(super) fn hand_to_stranger(&mut self, now: Now, session: SessionId, run: Run) {
        let stranger = self
            .seats
            .iter()
            .find(|(_, seat)| seat.core.claims().is_some_and(|claims| claims.session != session));
        if let Some(conn) = stranger.map(|(conn, _)| *conn) {
            self.push(now, conn, session, run);
        }
    }

    /// Queues a run for the guests of its session: a planted bug.
    pub(super) fn hand_to_guests(&mut self, now: Now, session: SessionId, run: &Run) {
        let guests = self.seats.iter().filter(|(_, seat)| {
            seat.core.claims().is_some_and(|of| of.session == session && of.kind == TicketKind::Lobby)
        });
        for conn in guests.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.push(now, conn, session, run.clone());
        }
    }

    fn push(&mut self, now: Now, conn: ConnId, session: SessionId, run: Run) {
        let Some(seat) = self.seats.get_mut(&conn) else { return };
        if seat.ending.is_some() || seat.core.close().is_some() {
            return;
        }
        let (length, sender) = (run.bytes().len() as u64, run.sender());
        if let Some(left) = &mut seat.guest_left {
            if *left < length {
                return;
            }
            *left -= length;
        }
        if let Push::Detach(refusal) = seat.queues.push(now.mono, run) {
            seat.ending = Some((refusal, None));
        }
        let to = seat.core.claims().map(|claims| Seated {
            session: claims.session,
            number: claims.number,
            kind: claims.kind,
            leader: claims.leader,
        });
        self.effects.push(Effect::Handed { session, sender, to });
        self.dirty.insert(conn);
    }

    /// Tells others what the registry says.
    fn carry_out(&mut self, now: Timestamp, notices: Vec<Notice<ConnId>>) {
        for notice in notices {
            match notice {
                Notice::Send { to, frame } => self.tell(now, to, &frame),
                Notice::End { to, refusal, ended } => {
                    if let Some(seat) = self.seats.get_mut(&to) {
                        seat.ending.get_or_insert((refusal, ended));
                        self.dirty.insert(to);
                    }
                }
            }
        }
    }

    fn tell(&mut self, now: Timestamp, to: ConnId, frame: &ControlFrame) {
        if let Some(seat) = self.seats.get_mut(&to) {
            push_own(now, seat, frame);
            self.dirty.insert(to);
        }
    }

    /// The mesh says where else a session is.
    pub(super) fn session_seen(&mut self, now: Now, session: SessionId, view: &SessionView) {
        let member = |member: &sealcast_mesh::Member| RemoteMember {
            number: member.number,
            kind: member.kind,
            attach_seq: member.attach_seq,
            node: member.node,
        };
        let members = view.members.iter().map(member).collect();
        let remote = Remote { egress: view.egress.clone(), members };
        let mut notices = Vec::new();
        self.registry.set_remote(now, session, remote, &mut notices);
        self.carry_out(now.mono, notices);
    }

    /// The session's nodes know an attachment.
    pub(super) fn ready(
        &mut self,
        now: Now,
        session: SessionId,
        number: SenderNumber,
        attach_seq: AttachSeq,
    ) {
        let Some(conn) = self.registry.ready(session, number, attach_seq) else { return };
        if let Some(seat) = self.seats.get_mut(&conn) {
            seat.core.handle_ready(attach_seq);
            while let Some(output) = seat.core.poll_output() {
                if let Output::Send(frame) = output {
                    push_own(now.mono, seat, &frame);
                }
            }
            self.dirty.insert(conn);
        }
    }

    /// A session, or one number of it, has ended.
    pub(super) fn tombstone(&mut self, now: Now, body: &TombstoneBody) {
        let mut notices = Vec::new();
        let TombstoneBody { session, number, keep_until, .. } = body;
        self.registry.tombstone(now.wall, *session, *number, *keep_until, &mut notices);
        self.carry_out(now.mono, notices);
    }

    /// Attachments that newer ones on other nodes have overtaken.
    pub(super) fn end_overtaken(&mut self, now: Now) {
        if self.registry.deadline().is_some_and(|deadline| deadline <= now.mono) {
            let mut notices = Vec::new();
            self.registry.handle_timeout(now.mono, &mut notices);
            self.carry_out(now.mono, notices);
        }
    }

    /// When the registry wants to be looked at.
    pub(super) fn registry_deadline(&self) -> Option<Timestamp> {
        self.registry.deadline()
    }

    /// Where endpoints can go that this node cannot keep.
    pub(super) fn set_elsewhere(&mut self, addresses: Vec<String>) {
        self.elsewhere = addresses;
    }

    /// A frame to every endpoint of a session that is attached here.
    pub(super) fn tell_session(&mut self, now: Now, session: SessionId, frame: &ControlFrame) {
        for conn in self.registry.handles_of(session) {
            self.tell(now.mono, conn, frame);
        }
    }

    /// Goes out of service: admits nothing new, asks everybody to attach elsewhere.
    pub(super) fn drain_all(&mut self, now: Now, deadline_ms: u32) {
        self.registry.drain();
        let frame = ControlFrame::Move(Move { deadline_ms, addresses: self.elsewhere.clone() });
        for (_, conn) in self.registry.handles() {
            self.tell(now.mono, conn, &frame);
        }
    }

    /// Admits again.
    pub(super) fn undrain(&mut self) {
        self.registry.undrain();
    }

    /// The time of a drain is over: whoever is left goes.
    pub(super) fn end_all(&mut self) {
        for (conn, seat) in &mut self.seats {
            seat.ending.get_or_insert((Refusal::Draining, None));
            self.dirty.insert(*conn);
        }
    }

    fn leave(&mut self, now: Timestamp, seat: &mut Seat) {
        if seat.view.take().is_none() {
            return;
        }
        if let Some(claims) = seat.core.claims() {
            let mut notices = Vec::new();
            self.registry.leave(claims, seat.id, &mut notices);
            self.carry_out(now, notices);
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
            self.leave(now.mono, &mut seat);
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
