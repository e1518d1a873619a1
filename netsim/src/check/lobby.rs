//! Property 10: a number in the lobby hears its leader alone, and reaches its leader alone [ATT-12].

use proto_spec::ticket::TicketKind;
use proto_spec::{NodeNumber, SenderNumber, SessionId};

use super::Property;
use crate::people::Seated;
use crate::sim::World;

impl World {
    /// Frames of a sender go to an attachment.
    pub(crate) fn check_lobby(
        &mut self,
        at: NodeNumber,
        session: SessionId,
        sender: SenderNumber,
        to: Seated,
    ) {
        if to.kind == TicketKind::Lobby && sender != to.leader {
            let what =
                format!("node {at} hands frames of number {sender} to number {} in the lobby", to.number);
            self.violated(Property::Lobby, what);
        }
        let only = self.checkers.tickets.leader_of_guest(session, sender);
        if only.is_some_and(|leader| leader != to.number) {
            let what = format!("node {at} hands frames of number {sender}, a guest, to number {}", to.number);
            self.violated(Property::Lobby, what);
        }
    }
}
