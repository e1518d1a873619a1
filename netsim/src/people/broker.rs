//! The broker, simulated: sessions, numbers, tickets. Placement is the product's own.
//!
//! Its store survives its node; it answers as long as a node with the broker role runs. Tickets have the product's form with a code
//! of the authority in place of the signature.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto_spec::frame::TicketFrame;
use proto_spec::ticket::{Claims, Role, TICKET_HEADER, TicketKind};
use proto_spec::{NodeNumber, Now, Refusal, SenderNumber, SessionId, SessionNumber, Timestamp, WallTime};
use sealcast_endpoint_core::session::{CallReply, CallRequest};
use sealcast_placement::place::{NodeView, Placement, place};

use crate::sim::{Authority, Random};

/// How long tickets are good: a member's, a guest's.
const MEMBER_LIFE: Duration = Duration::from_secs(12 * 3_600);
const LOBBY_LIFE: Duration = Duration::from_secs(600);
/// Signatures at the end of a token's payload.
const SIGNATURE_LENGTH: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Broker {
    sessions: BTreeMap<SessionId, Session>,
    open: BTreeMap<SessionNumber, (SessionId, Role)>,
    last_number: u32,
    /// Each node's newest report, and what was placed there since.
    loads: BTreeMap<NodeNumber, Report>,
    random: Option<Random>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Report {
    attachments: u32,
    at: Timestamp,
    placed_since: u32,
}

#[derive(Debug, Default)]
struct Session {
    last: u16,
    members: BTreeMap<SenderNumber, ([u8; 32], Role)>,
    removed: Vec<SenderNumber>,
    ended: bool,
}

impl Broker {
    pub(crate) fn new(seed: u64) -> Broker {
        Broker { random: Some(Random::stream(seed, "broker", 0)), ..Broker::default() }
    }

    pub(crate) fn load_reported(&mut self, now: Timestamp, from: NodeNumber, attachments: u32) {
        self.loads.insert(from, Report { attachments, at: now, placed_since: 0 });
    }

    /// Where an endpoint should attach and stand by.
    pub(crate) fn place(&mut self, now: Timestamp, mut views: Vec<NodeView>) -> Placement {
        for view in &mut views {
            let report = self.loads.get(&view.node).copied().unwrap_or_default();
            view.reported = report.attachments;
            view.report_age_ms = now.since(report.at).as_millis() as u64;
            view.placed_since = report.placed_since;
        }
        let batch = views.iter().map(|view| u64::from(view.placed_since)).sum();
        let random = self.random.get_or_insert_with(|| Random::stream(0, "broker", 0));
        let placement = place(&views, batch, random);
        if let Some(chosen) = placement.offered.first() {
            self.loads.entry(*chosen).or_default().placed_since += 1;
        }
        placement
    }

    fn admit(&mut self, session: SessionId, key: [u8; 32], role: Role) -> Option<SenderNumber> {
        let held = self.sessions.entry(session).or_default();
        held.last += 1;
        let number = SenderNumber::new(held.last)?;
        held.members.insert(number, (key, role));
        Some(number)
    }

    /// Opens a session; its creator's number and ticket.
    pub(crate) fn create(
        &mut self,
        authority: &Authority,
        now: WallTime,
        session: SessionId,
        key: [u8; 32],
    ) -> Option<(SenderNumber, String)> {
        let number = self.admit(session, key, Role::Provider)?;
        Some((number, self.ticket(authority, now, session, number, TicketKind::Member)?))
    }

    /// Finds a session by the number that was read aloud.
    pub(crate) fn look_up(
        &mut self,
        authority: &Authority,
        now: WallTime,
        wanted: SessionNumber,
        key: [u8; 32],
    ) -> Option<(SessionId, SenderNumber, Role, String)> {
        let (session, role) = *self.open.get(&wanted)?;
        let number = self.admit(session, key, role)?;
        let ticket = self.ticket(authority, now, session, number, TicketKind::Lobby)?;
        Some((session, number, role, ticket))
    }

    /// A member's call; `None` if it is refused for good.
    pub(crate) fn call(
        &mut self,
        authority: &Authority,
        now: WallTime,
        (session, from): (SessionId, SenderNumber),
        request: CallRequest,
    ) -> Option<CallReply> {
        Some(match request {
            CallRequest::OpenJoin { role } => {
                self.last_number += 1;
                let opened = SessionNumber::new(SessionNumber::MIN + self.last_number)?;
                self.open.insert(opened, (session, role));
                CallReply::Number(opened)
            }
            CallRequest::CloseJoin { number } => {
                self.open.remove(&number);
                CallReply::Done
            }
            CallRequest::Admit { joiner } => {
                CallReply::Ticket(self.ticket(authority, now, session, joiner, TicketKind::Member)?)
            }
            CallRequest::Renew => {
                CallReply::Ticket(self.ticket(authority, now, session, from, TicketKind::Member)?)
            }
            CallRequest::RemoveMember { number } => {
                self.sessions.get_mut(&session)?.removed.push(number);
                CallReply::Done
            }
            CallRequest::EndSession => {
                self.sessions.get_mut(&session)?.ended = true;
                CallReply::Done
            }
        })
    }

    fn ticket(
        &self,
        authority: &Authority,
        now: WallTime,
        session: SessionId,
        number: SenderNumber,
        kind: TicketKind,
    ) -> Option<String> {
        let held = self.sessions.get(&session)?;
        let (attach_key, role) = *held.members.get(&number)?;
        if held.ended || held.removed.contains(&number) {
            return None;
        }
        let life = if kind == TicketKind::Member { MEMBER_LIFE } else { LOBBY_LIFE };
        let claims = Claims {
            mesh: "netsim".into(),
            session,
            number,
            kind,
            role,
            leader: SenderNumber::new(1)?,
            attach_key,
            issued: now,
            expires: now.plus(life),
            rate_bytes: 0,
            account: 0,
            nodes: vec![],
        };
        let mut payload = serde_json::to_vec(&claims).ok()?;
        let signature = authority.sign(&authority.mesh_key(), &payload);
        payload.extend_from_slice(&signature.0);
        Some(format!("{TICKET_HEADER}{}", URL_SAFE_NO_PAD.encode(payload)))
    }
}

/// Checks a ticket frame as a node does: the broker's word, its time, the endpoint's proof for this connection.
pub(crate) fn check(
    authority: &Authority,
    frame: &TicketFrame,
    exporter: &[u8; 32],
    now: Now,
) -> Result<Claims, Refusal> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(frame.ticket.strip_prefix(TICKET_HEADER)?).ok()?;
        let (payload, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_LENGTH)?)?;
        let genuine = authority.sign(&authority.mesh_key(), payload).0[..] == *signature;
        let claims: Claims = serde_json::from_slice(payload).ok()?;
        Some((genuine, claims))
    };
    let (genuine, claims) = read().ok_or(Refusal::TicketMalformed)?;
    if !genuine {
        return Err(Refusal::TicketForeign);
    }
    if now.wall >= claims.expires {
        return Err(Refusal::TicketExpired);
    }
    let proof = &frame.proof;
    sealcast_trust::verify_attach_proof(&claims.attach_key, exporter, &frame.ticket, frame.attach_seq, proof)
        .map_err(|_| Refusal::ProofWrong)?;
    Ok(claims)
}
