//! A relay and a gateway as endpoints see them, in memory: tickets, lobby, fan-out, presence. Checks every proof; never
//! looks into a packet.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::BytesMut;
use ed25519_dalek::{Signature, VerifyingKey};
use proto_spec::frame::{
    Attached, ControlFrame, Credit, DataHeader, Ended, ErrorFrame, FrameHeader, FrameType, HEADER_LENGTH,
    Peer, PeerState, Presence, TicketFrame, attach_proof_message,
};
use proto_spec::ticket::{Claims, Role, TicketKind};
use proto_spec::{AttachSeq, Refusal, SenderNumber, SessionId, SessionNumber, TrafficClass, WallTime};
use sealcast_endpoint_core::session::{CallFailure, CallReply, CallRequest};
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

pub(crate) struct Connection {
    exporter: [u8; 32],
    claims: Option<Claims>,
    rx: BytesMut,
    pub(crate) out: Vec<u8>,
    lobby_bytes: usize,
}

pub(crate) struct Relay {
    pub(crate) up: bool,
    pub(crate) connections: BTreeMap<SenderNumber, Connection>,
    newest: BTreeMap<SenderNumber, AttachSeq>,
    connected: u64,
    pub(crate) renewals: u32,
    /// Every packet with its sender, as the node sees it.
    pub(crate) tap: Vec<(SenderNumber, Vec<u8>)>,
}

impl Relay {
    pub(crate) fn new() -> Relay {
        Relay {
            up: true,
            connections: BTreeMap::new(),
            newest: BTreeMap::new(),
            connected: 0,
            renewals: 0,
            tap: vec![],
        }
    }

    /// A connection of this endpoint; its exporter.
    pub(crate) fn connect(&mut self, who: SenderNumber) -> [u8; 32] {
        self.connected += 1;
        let exporter: [u8; 32] = Sha256::digest(self.connected.to_be_bytes()).into();
        self.connections.insert(
            who,
            Connection { exporter, claims: None, rx: BytesMut::new(), out: vec![], lobby_bytes: 0 },
        );
        exporter
    }

    /// The connection is gone; the others are told.
    pub(crate) fn disconnect(&mut self, who: SenderNumber) {
        let gone = self.connections.remove(&who);
        if gone.is_some_and(|connection| connection.claims.is_some()) {
            self.tell_presence(who, PeerState::Gone);
        }
    }

    pub(crate) fn receive(&mut self, who: SenderNumber, bytes: &[u8], gateway: &Gateway) {
        let Some(connection) = self.connections.get_mut(&who) else { return };
        connection.rx.extend_from_slice(bytes);
        while let Some(connection) = self.connections.get_mut(&who) {
            let Some(header) = FrameHeader::peek(&connection.rx).unwrap() else { return };
            if connection.rx.len() < header.frame_length() {
                return;
            }
            let frame = connection.rx.split_to(header.frame_length());
            self.frame(who, header.frame_type, &frame, gateway);
        }
    }

    fn frame(&mut self, who: SenderNumber, frame_type: FrameType, frame: &[u8], gateway: &Gateway) {
        let body = &frame[HEADER_LENGTH..];
        if frame_type == FrameType::Data {
            return self.data(who, frame, body);
        }
        match ControlFrame::decode(frame_type, body).unwrap() {
            ControlFrame::Ticket(ticket) => self.ticket(who, &ticket, gateway),
            ControlFrame::Ping(ping) => self.put(who, &ControlFrame::Pong(ping)),
            ControlFrame::Detach => self.disconnect(who),
            ControlFrame::Pong(_) => {}
            other => panic!("an endpoint sent {other:?}"),
        }
    }

    fn ticket(&mut self, who: SenderNumber, frame: &TicketFrame, gateway: &Gateway) {
        let claims = claims(&frame.ticket);
        let connection = self.connections.get_mut(&who).unwrap();
        let hash: [u8; 32] = Sha256::digest(frame.ticket.as_bytes()).into();
        let message = attach_proof_message(&connection.exporter, &hash, frame.attach_seq);
        VerifyingKey::from_bytes(&claims.attach_key)
            .unwrap()
            .verify_strict(&message, &Signature::from_bytes(&frame.proof))
            .expect("the proof is for this connection");
        assert_eq!((claims.number, claims.session), (who, SESSION));
        if gateway.ended || gateway.removed.contains(&who) {
            let refusal = if gateway.ended { Refusal::SessionEnded } else { Refusal::MemberRemoved };
            return self.put(who, &ControlFrame::Error(ErrorFrame { refusal, retry_after_ms: 0 }));
        }
        match connection.claims.replace(claims.clone()) {
            None => {
                let newest = self.newest.entry(who).or_default();
                assert!(frame.attach_seq > *newest, "attachments of {who} are not counted");
                *newest = frame.attach_seq;
            }
            Some(before) => {
                assert_eq!(self.newest[&who], frame.attach_seq);
                self.renewals += u32::from(before.kind == claims.kind);
            }
        }
        let leader = claims.leader == who;
        let peers = self
            .connections
            .iter()
            .filter(|(other, _)| **other != who && claims.kind == TicketKind::Member)
            .filter_map(|(other, connection)| {
                let state = match connection.claims.as_ref()?.kind {
                    TicketKind::Member => PeerState::Active,
                    TicketKind::Lobby if leader => PeerState::Lobby,
                    TicketKind::Lobby => return None,
                };
                Some(Peer { number: *other, state })
            })
            .collect();
        let attached = Attached {
            session: SESSION,
            number: who,
            kind: claims.kind,
            attach_seq: frame.attach_seq,
            ping_ms: 15_000,
            peers,
        };
        self.put(who, &ControlFrame::Attached(attached));
        for class in TrafficClass::ALL {
            self.put(who, &ControlFrame::Credit(Credit { class, limit_bytes: 1 << 50 }));
        }
        let state = if claims.kind == TicketKind::Member { PeerState::Active } else { PeerState::Lobby };
        self.tell_presence(who, state);
    }

    fn tell_presence(&mut self, who: SenderNumber, state: PeerState) {
        let frame = ControlFrame::Presence(Presence { peer: Peer { number: who, state } });
        let told: Vec<_> = self
            .connections
            .iter()
            .filter(|(other, connection)| {
                **other != who
                    && connection.claims.as_ref().is_some_and(|claims| {
                        claims.kind == TicketKind::Member
                            && (state != PeerState::Lobby || claims.leader == claims.number)
                    })
            })
            .map(|(other, _)| *other)
            .collect();
        told.into_iter().for_each(|other| self.put(other, &frame));
    }

    fn data(&mut self, who: SenderNumber, frame: &[u8], body: &[u8]) {
        let (header, packet) = DataHeader::parse(body).unwrap();
        assert_eq!(header.sender, who);
        self.tap.push((who, packet.to_vec()));
        let sender = self.connections.get_mut(&who).unwrap();
        let claims = sender.claims.as_ref().expect("data before a ticket");
        let (guest, leader) = (claims.kind == TicketKind::Lobby, claims.leader);
        if guest {
            sender.lobby_bytes += frame.len();
            assert!(sender.lobby_bytes <= 32 * 1024, "a guest sent too much");
            assert!(header.destination != proto_spec::frame::Destination::All, "a guest spoke to all");
        }
        for (other, connection) in &mut self.connections {
            let Some(claims) = &connection.claims else { continue };
            let named = header.destination != proto_spec::frame::Destination::All;
            let reached = match claims.kind {
                TicketKind::Member => !guest || *other == leader,
                TicketKind::Lobby => named && who == leader,
            };
            assert!(!guest || !named || !header.destination.includes(*other) || *other == leader);
            if *other != who && reached && header.destination.includes(*other) {
                connection.out.extend_from_slice(frame);
            }
        }
    }

    /// The gateway's word reaches the node.
    pub(crate) fn tombstones(&mut self, gateway: &Gateway) {
        let gone: Vec<_> = self
            .connections
            .keys()
            .filter(|who| gateway.ended || gateway.removed.contains(who))
            .copied()
            .collect();
        for who in gone {
            let ended = if gateway.ended {
                Ended { reason: Refusal::SessionEnded, number: None }
            } else {
                Ended { reason: Refusal::MemberRemoved, number: Some(who) }
            };
            self.put(who, &ControlFrame::Ended(ended));
        }
    }

    fn put(&mut self, who: SenderNumber, frame: &ControlFrame) {
        if let Some(connection) = self.connections.get_mut(&who) {
            frame.put(&mut connection.out);
        }
    }
}
