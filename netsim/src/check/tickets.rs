//! Property 9: nobody is admitted without a ticket that the broker gave for that session, number and key, that has not
//! expired by the node's clock, on a connection of the key's owner [ATT-4] [TKT-5] [TKT-6].

use std::collections::{BTreeMap, BTreeSet};

use proto_spec::ticket::{Claims, TicketKind};
use proto_spec::{NodeNumber, SenderNumber, SessionId};
use sealcast_attach::JoinRequest;
use sealcast_endpoint_core::attach::ticket_claims;
use sealcast_trust::ticket_hash;

use super::Property;
use crate::people::ConnId;
use crate::sim::World;

/// What the broker gave out.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    /// By the hash of their text.
    issued: BTreeMap<[u8; 32], Claims>,
    /// Numbers that have ever had a member's.
    members: BTreeSet<(SessionId, SenderNumber)>,
    /// The only one whom a guest's number may reach.
    leaders: BTreeMap<(SessionId, SenderNumber), SenderNumber>,
}

impl Tickets {
    /// The broker answered with a ticket.
    pub(crate) fn issue(&mut self, ticket: &str) {
        let Some(claims) = ticket_claims(ticket) else { return };
        let number = (claims.session, claims.number);
        if claims.kind == TicketKind::Member {
            self.members.insert(number);
        }
        self.leaders.insert(number, claims.leader);
        self.issued.insert(ticket_hash(ticket), claims);
    }

    /// Whom alone a number may reach; `None` for one that was admitted, or that nobody knows.
    pub(crate) fn leader_of_guest(&self, session: SessionId, number: SenderNumber) -> Option<SenderNumber> {
        let leader = self.leaders.get(&(session, number)).copied();
        leader.filter(|_| !self.members.contains(&(session, number)))
    }
}

impl World {
    /// A node admits a connection, or takes another ticket on it.
    pub(crate) fn check_admission(&mut self, at: NodeNumber, conn: ConnId, request: &JoinRequest) {
        let JoinRequest { claims, ticket, .. } = request;
        let wall = self.now_of(at).wall;
        let owner = self.people.lines.get(&conn).map(|line| line.owner);
        let what = match self.checkers.tickets.issued.get(ticket) {
            None => "without a ticket of the broker's",
            Some(issued) if issued != claims => "as somebody else than the ticket names",
            Some(issued) if issued.expires <= wall => "with a ticket that has expired",
            Some(issued) if owner.is_some_and(|owner| owner != issued.attach_key) => {
                "with a ticket of somebody else"
            }
            Some(_) => return,
        };
        let what = format!("node {at} admits number {} {what}", claims.number);
        self.violated(Property::Tickets, what);
    }
}
