//! Relays and a gateway as endpoints see them, in memory: tickets, lobby, standbys, fan-out from any node to any,
//! presence, drain, silence and death. Checks every proof; never looks into a packet.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use ed25519_dalek::{Signature, VerifyingKey};
use proto_spec::frame::{
    Attached, ControlFrame, Credit, DataHeader, Destination, Ended, ErrorFrame, FrameHeader, FrameType,
    HEADER_LENGTH, Move, PathHint, Peer, PeerState, Presence, Redirect, TicketFrame, attach_proof_message,
};
use proto_spec::ticket::{Claims, Role, TicketKind};
use proto_spec::{AttachSeq, Refusal, SenderNumber, SessionId, SessionNumber, TrafficClass, WallTime};
use sealcast_endpoint_core::session::{CallFailure, CallReply, CallRequest, Reached, Way};
use sha2::{Digest, Sha256};

pub(crate) const SESSION: SessionId = SessionId([7; 16]);

pub(crate) fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

#[derive(Default)]
pub(crate) struct Gateway {
    numbers: BTreeMap<SessionNumber, Role>,
    last_number: u32,
    last_sender: u16,
    keys: BTreeMap<SenderNumber, ([u8; 32], Role)>,
    pub(crate) removed: BTreeSet<SenderNumber>,
    pub(crate) ended: bool,
    /// Calls that fail before any succeeds again.
    pub(crate) failing: u32,
    pub(crate) calls: Vec<String>,
}

impl Gateway {
    pub(crate) fn create(&mut self, attach_key: [u8; 32]) -> (SenderNumber, String) {
        self.last_sender += 1;
        let sender = number(self.last_sender);
        self.keys.insert(sender, (attach_key, Role::Provider));
        (sender, self.ticket(sender, TicketKind::Member))
    }

    pub(crate) fn lookup(
        &mut self,
        wanted: SessionNumber,
        attach_key: [u8; 32],
    ) -> Option<(SenderNumber, Role, String)> {
        let role = *self.numbers.get(&wanted)?;
        self.last_sender += 1;
        let sender = number(self.last_sender);
        self.keys.insert(sender, (attach_key, role));
        Some((sender, role, self.ticket(sender, TicketKind::Lobby)))
    }

    pub(crate) fn call(
        &mut self,
        from: SenderNumber,
        request: CallRequest,
    ) -> Result<CallReply, CallFailure> {
        self.calls.push(format!("{from}: {request:?}"));
        if self.failing > 0 {
            self.failing -= 1;
            return Err(CallFailure { again: true, sentence: "the gateway is away".into() });
        }
        Ok(match request {
            CallRequest::OpenJoin { role } => {
                self.last_number += 1;
                let opened = SessionNumber::new(SessionNumber::MIN + self.last_number).unwrap();
                self.numbers.insert(opened, role);
                CallReply::Number(opened)
            }
            CallRequest::CloseJoin { number } => {
                self.numbers.remove(&number);
                CallReply::Done
            }
            CallRequest::Admit { joiner } => CallReply::Ticket(self.ticket(joiner, TicketKind::Member)),
            CallRequest::Renew => CallReply::Ticket(self.ticket(from, TicketKind::Member)),
            CallRequest::RemoveMember { number } => {
                self.removed.insert(number);
                CallReply::Done
            }
            CallRequest::EndSession => {
                self.ended = true;
                CallReply::Done
            }
        })
    }

    fn ticket(&self, sender: SenderNumber, kind: TicketKind) -> String {
        let (attach_key, role) = self.keys[&sender];
        let hours = if kind == TicketKind::Member { 12 } else { 1 };
        let claims = Claims {
            mesh: "test".into(),
            session: SESSION,
            number: sender,
            kind,
            role,
            leader: number(1),
            attach_key,
            issued: WallTime(0),
            expires: WallTime(hours * 3_600_000),
            rate_bytes: 0,
            account: u64::try_from(self.calls.len()).unwrap(),
            nodes: vec![],
        };
        let mut payload = serde_json::to_vec(&claims).unwrap();
        payload.extend_from_slice(&[0; 64]);
        format!("v4.public.{}", URL_SAFE_NO_PAD.encode(payload))
    }
}

fn claims(ticket: &str) -> Claims {
    let bytes = URL_SAFE_NO_PAD.decode(ticket.strip_prefix("v4.public.").unwrap()).unwrap();
    serde_json::from_slice(&bytes[..bytes.len() - 64]).unwrap()
}

/// One connection of an endpoint.
pub(crate) type Id = (SenderNumber, Way);

pub(crate) struct Connection {
    /// Which node it is to.
    pub(crate) node: usize,
    exporter: [u8; 32],
    claims: Option<Claims>,
    pub(crate) seq: AttachSeq,
    pub(crate) standby: bool,
    /// Whether the session's other nodes know it as active.
    known: bool,
    rx: BytesMut,
    pub(crate) out: Vec<u8>,
    lobby_bytes: usize,
    pub(crate) pings: u32,
}

impl Connection {
    fn kind(&self) -> Option<TicketKind> {
        self.claims.as_ref().map(|claims| claims.kind)
    }

    fn state(&self) -> PeerState {
        match self.kind() {
            None => PeerState::Gone,
            Some(TicketKind::Lobby) => PeerState::Lobby,
            Some(TicketKind::Member) if self.standby => PeerState::Standby,
            Some(TicketKind::Member) => PeerState::Active,
        }
    }
}

/// How one node behaves.
#[derive(Clone, Default)]
pub(crate) struct Node {
    /// Nothing listens.
    pub(crate) dead: bool,
    /// Stopped: connections stand, nothing is done.
    pub(crate) silent: bool,
    /// The others know that it is gone.
    pub(crate) given_up: bool,
    pub(crate) draining: bool,
    /// Refuses tickets so.
    pub(crate) refuses: Option<ErrorFrame>,
    /// Sends newcomers there.
    pub(crate) redirects: Option<Vec<String>>,
    /// Connections that were made to it.
    pub(crate) connected: u32,
}

impl Node {
    fn works(&self) -> bool {
        !self.dead && !self.silent
    }
}

pub(crate) struct Relay {
    pub(crate) up: bool,
    pub(crate) nodes: Vec<Node>,
    pub(crate) connections: BTreeMap<Id, Connection>,
    newest: BTreeMap<(SenderNumber, usize), AttachSeq>,
    told: BTreeMap<SenderNumber, PeerState>,
    connected: u64,
    /// `ready` is kept back until the test lets it go.
    pub(crate) holds_ready: bool,
    held_ready: Vec<Id>,
    /// Every packet is delivered twice.
    pub(crate) doubles: bool,
    pub(crate) renewals: u32,
    /// Every packet with its sender, as the node sees it.
    pub(crate) tap: Vec<(SenderNumber, Vec<u8>)>,
}

/// The address of a node.
pub(crate) fn address(node: usize) -> String {
    format!("node{node}.example:8200")
}

impl Relay {
    pub(crate) fn new(nodes: usize) -> Relay {
        Relay {
            up: true,
            nodes: vec![Node::default(); nodes],
            connections: BTreeMap::new(),
            newest: BTreeMap::new(),
            told: BTreeMap::new(),
            connected: 0,
            holds_ready: false,
            held_ready: vec![],
            doubles: false,
            renewals: 0,
            tap: vec![],
        }
    }

    /// A connection of this endpoint to the first of these nodes that answers, or to any that need not be avoided.
    pub(crate) fn connect(
        &mut self,
        id: Id,
        preferred: &[String],
        avoid: &[String],
    ) -> Option<(Reached, [u8; 32])> {
        let all: Vec<_> = (0..self.nodes.len()).map(address).collect();
        let named = preferred.iter().chain(&all).filter(|address| !avoid.contains(address));
        let node = named
            .filter_map(|address| all.iter().position(|of| of == address))
            .find(|node| self.up && self.nodes[*node].works())?;
        self.nodes[node].connected += 1;
        self.connected += 1;
        let exporter: [u8; 32] = Sha256::digest(self.connected.to_be_bytes()).into();
        self.connections.insert(
            id,
            Connection {
                node,
                exporter,
                claims: None,
                seq: AttachSeq(0),
                standby: false,
                known: true,
                rx: BytesMut::new(),
                out: vec![],
                lobby_bytes: 0,
                pings: 0,
            },
        );
        Some((Reached { address: address(node), certificate: [node as u8 + 1; 32] }, exporter))
    }

    /// The connection is gone; the others are told.
    pub(crate) fn disconnect(&mut self, id: Id) {
        if self.connections.remove(&id).is_some() {
            self.refresh();
        }
    }

    pub(crate) fn receive(&mut self, id: Id, bytes: &[u8], gateway: &Gateway) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.rx.extend_from_slice(bytes);
        self.go_on(id, gateway);
    }

    /// Does what has been received and not been done.
    pub(crate) fn go_on(&mut self, id: Id, gateway: &Gateway) {
        while let Some(connection) = self.connections.get_mut(&id) {
            if !self.nodes[connection.node].works() {
                return;
            }
            let Some(header) = FrameHeader::peek(&connection.rx).unwrap() else { return };
            if connection.rx.len() < header.frame_length() {
                return;
            }
            let frame = connection.rx.split_to(header.frame_length());
            self.frame(id, header.frame_type, &frame, gateway);
        }
    }

    fn frame(&mut self, id: Id, frame_type: FrameType, frame: &[u8], gateway: &Gateway) {
        let body = &frame[HEADER_LENGTH..];
        if frame_type == FrameType::Data {
            return self.data(id, frame, body);
        }
        match ControlFrame::decode(frame_type, body).unwrap() {
            ControlFrame::Ticket(ticket) => self.ticket(id, &ticket, gateway),
            ControlFrame::Activate(seq) => self.activate(id, seq),
            ControlFrame::Ping(ping) => {
                self.connections.get_mut(&id).unwrap().pings += 1;
                self.put(id, &ControlFrame::Pong(ping));
            }
            ControlFrame::Detach => self.disconnect(id),
            ControlFrame::Pong(_) => {}
            other => panic!("an endpoint sent {other:?}"),
        }
    }

    fn refuse(&mut self, id: Id, error: ErrorFrame) {
        self.put(id, &ControlFrame::Error(error));
    }

    fn ticket(&mut self, id: Id, frame: &TicketFrame, gateway: &Gateway) {
        let who = id.0;
        let claims = claims(&frame.ticket);
        let connection = self.connections.get_mut(&id).unwrap();
        let node = connection.node;
        let hash: [u8; 32] = Sha256::digest(frame.ticket.as_bytes()).into();
        let message = attach_proof_message(&connection.exporter, &hash, frame.attach_seq);
        VerifyingKey::from_bytes(&claims.attach_key)
            .unwrap()
            .verify_strict(&message, &Signature::from_bytes(&frame.proof))
            .expect("the proof is for this connection");
        assert_eq!((claims.number, claims.session), (who, SESSION));
        if gateway.ended || gateway.removed.contains(&who) {
            let refusal = if gateway.ended { Refusal::SessionEnded } else { Refusal::MemberRemoved };
            return self.refuse(id, ErrorFrame { refusal, retry_after_ms: 0 });
        }
        match connection.claims.replace(claims.clone()) {
            None => {
                let own = self.nodes[node].clone();
                let connection = self.connections.get_mut(&id).unwrap();
                let draining = ErrorFrame { refusal: Refusal::Draining, retry_after_ms: 0 };
                if let Some(addresses) = own.redirects {
                    connection.claims = None;
                    return self.put(id, &ControlFrame::Redirect(Redirect { addresses }));
                }
                if let Some(error) = own.refuses.or(own.draining.then_some(draining)) {
                    connection.claims = None;
                    return self.refuse(id, error);
                }
                assert!(!frame.standby || claims.kind == TicketKind::Member, "guests do not stand by");
                connection.standby = frame.standby;
                connection.seq = frame.attach_seq;
                let newest = self.newest.entry((who, node)).or_default();
                assert!(frame.attach_seq > *newest, "attachments of {who} are not counted");
                *newest = frame.attach_seq;
                connection.known = !self.holds_ready || claims.kind == TicketKind::Lobby;
            }
            Some(before) => {
                assert_eq!((connection.seq, connection.standby), (frame.attach_seq, frame.standby));
                self.renewals += u32::from(before.kind == claims.kind);
            }
        }
        let leader = claims.leader == who;
        let states = self.states();
        let peers = states
            .iter()
            .filter(|(other, state)| {
                **other != who && claims.kind == TicketKind::Member && (**state != PeerState::Lobby || leader)
            })
            .map(|(other, state)| Peer { number: *other, state: *state })
            .collect();
        let attached = Attached {
            session: SESSION,
            number: who,
            kind: claims.kind,
            attach_seq: frame.attach_seq,
            ping_ms: 15_000,
            peers,
        };
        self.put(id, &ControlFrame::Attached(attached));
        for class in TrafficClass::ALL {
            self.put(id, &ControlFrame::Credit(Credit { class, limit_bytes: 1 << 50 }));
        }
        if claims.kind == TicketKind::Member && !frame.standby {
            self.ready(id);
        }
        self.refresh();
    }

    fn activate(&mut self, id: Id, seq: AttachSeq) {
        let node = self.connections[&id].node;
        let newest = self.newest.entry((id.0, node)).or_default();
        assert!(seq > *newest, "an activation is a newer attachment");
        *newest = seq;
        let connection = self.connections.get_mut(&id).unwrap();
        assert!(connection.standby && connection.claims.is_some());
        (connection.standby, connection.seq) = (false, seq);
        connection.known = !self.holds_ready;
        self.ready(id);
        self.refresh();
    }

    fn ready(&mut self, id: Id) {
        if self.holds_ready {
            self.held_ready.push(id);
        } else {
            let seq = self.connections[&id].seq;
            self.put(id, &ControlFrame::Ready(seq));
        }
    }

    /// The nodes have heard of every attachment.
    pub(crate) fn let_ready_go(&mut self) {
        self.holds_ready = false;
        for id in std::mem::take(&mut self.held_ready) {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.known = true;
                self.ready(id);
            }
        }
    }

    /// How each number stands by what the nodes that are there know.
    fn states(&self) -> BTreeMap<SenderNumber, PeerState> {
        let rank = |state: PeerState| match state {
            PeerState::Gone => 0,
            PeerState::Standby => 1,
            PeerState::Lobby => 2,
            PeerState::Active => 3,
        };
        let mut states = BTreeMap::new();
        for ((who, _), connection) in &self.connections {
            if self.nodes[connection.node].given_up || connection.claims.is_none() {
                continue;
            }
            let state = states.entry(*who).or_insert(PeerState::Gone);
            if rank(connection.state()) > rank(*state) {
                *state = connection.state();
            }
        }
        states
    }

    /// Tells what has changed about anybody.
    pub(crate) fn refresh(&mut self) {
        let states = self.states();
        let mut changed: Vec<_> = states
            .iter()
            .filter(|(who, state)| self.told.get(who) != Some(state))
            .map(|(who, state)| (*who, *state))
            .collect();
        let gone = self.told.keys().filter(|who| !states.contains_key(who));
        changed.extend(gone.map(|who| (*who, PeerState::Gone)));
        self.told = states;
        for (who, state) in changed {
            let frame = ControlFrame::Presence(Presence { peer: Peer { number: who, state } });
            let told: Vec<_> =
                self.connections
                    .iter()
                    .filter(|((other, _), connection)| {
                        *other != who
                            && connection.state() == PeerState::Active
                            && connection.claims.as_ref().is_some_and(|claims| {
                                state != PeerState::Lobby || claims.leader == claims.number
                            })
                    })
                    .map(|(id, _)| *id)
                    .collect();
            told.into_iter().for_each(|id| self.put(id, &frame));
        }
    }

    fn data(&mut self, id: Id, frame: &[u8], body: &[u8]) {
        let (who, (header, packet)) = (id.0, DataHeader::parse(body).unwrap());
        assert_eq!(header.sender, who);
        self.tap.push((who, packet.to_vec()));
        let sender = self.connections.get_mut(&id).unwrap();
        assert!(!sender.standby, "a standby sends no data");
        let claims = sender.claims.as_ref().expect("data before a ticket");
        let (guest, leader, from_node) = (claims.kind == TicketKind::Lobby, claims.leader, sender.node);
        if guest {
            sender.lobby_bytes += frame.len();
            assert!(sender.lobby_bytes <= 32 * 1024, "a guest sent too much");
            assert!(header.destination != Destination::All, "a guest spoke to all");
        }
        for ((other, _), connection) in &mut self.connections {
            let Some(claims) = &connection.claims else { continue };
            let named = header.destination != Destination::All;
            let reached = match claims.kind {
                TicketKind::Member => !connection.standby && (!guest || *other == leader),
                TicketKind::Lobby => named && who == leader,
            };
            let known = connection.node == from_node || connection.known;
            assert!(!guest || !named || !header.destination.includes(*other) || *other == leader);
            let there = self.nodes[connection.node].works() && known;
            if *other != who && reached && there && header.destination.includes(*other) {
                for _ in 0..if self.doubles { 2 } else { 1 } {
                    connection.out.extend_from_slice(frame);
                }
            }
        }
    }

    /// The gateway's word reaches the node.
    pub(crate) fn tombstones(&mut self, gateway: &Gateway) {
        let gone: Vec<_> = self
            .connections
            .keys()
            .filter(|(who, _)| gateway.ended || gateway.removed.contains(who))
            .copied()
            .collect();
        for id in gone {
            let ended = if gateway.ended {
                Ended { reason: Refusal::SessionEnded, number: None }
            } else {
                Ended { reason: Refusal::MemberRemoved, number: Some(id.0) }
            };
            self.put(id, &ControlFrame::Ended(ended));
        }
    }

    /// A node goes out of service: nothing new, and who is there is told.
    pub(crate) fn drain(&mut self, node: usize, time_ms: u32, addresses: Vec<String>) {
        self.nodes[node].draining = true;
        let frame = ControlFrame::Move(Move { deadline_ms: time_ms, addresses });
        self.tell_all_of(node, &frame);
    }

    /// Ends what is left on a draining node.
    pub(crate) fn end_drain(&mut self, node: usize) {
        let error = ErrorFrame { refusal: Refusal::Draining, retry_after_ms: 0 };
        self.tell_all_of(node, &ControlFrame::Error(error));
    }

    /// The nodes that are left tell that a way has changed.
    pub(crate) fn hint(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].works() {
                self.tell_all_of(node, &ControlFrame::PathHint(PathHint { node: None }));
            }
        }
    }

    fn tell_all_of(&mut self, node: usize, frame: &ControlFrame) {
        let there = self.connections.iter().filter(|(_, connection)| connection.node == node);
        let ids: Vec<_> = there.map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.put(id, frame));
    }

    fn put(&mut self, id: Id, frame: &ControlFrame) {
        if let Some(connection) = self.connections.get_mut(&id) {
            frame.put(&mut connection.out);
        }
    }
}
