//! A member's ticket anew, and a member's end \[GW-8\] \[TMB-1\].

use proto_spec::ticket::TicketKind;
use proto_spec::{SenderNumber, SessionId, Wire};
use sealcast_trust::tombstone;

use super::auth::Who;
use super::{Broker, Draft, Effect, Stop, Tx};
use crate::denial::Denial;
use crate::keys;
use crate::record::{AccountRecord, MemberState};
use crate::request::Reply;

impl Broker {
    pub(super) fn renew(&self, tx: &mut Tx<'_>, who: &Who) -> Result<Reply, Stop> {
        let Who::Member { claims, session, member } = who else { return Err(Denial::ProofWrong.into()) };
        let half = (claims.expires.0 - claims.issued.0) / 2;
        if tx.now.0 < claims.issued.0 + half {
            return Err(Denial::RenewTooEarly.into());
        }
        if member.attach_key != claims.attach_key {
            return Err(Denial::MemberRemoved.into());
        }
        // A provider stays only as long as its account may.
        if member.account > 0 {
            let account: Option<AccountRecord> = tx.get(&keys::account(member.account), "account")?;
            if account.is_none_or(|account| account.locked) {
                return Err(Denial::NotLoggedIn.into());
            }
        }
        let mut session = session.clone();
        let place = session.members.iter().position(|entry| entry.number == claims.number);
        let place = place.ok_or(Denial::MemberRemoved)?;
        let ticket = self.ticket(&mut session, place, TicketKind::Member, tx.now, Vec::new());
        tx.put(keys::session(session.id), &session);
        tx.audit(Draft::done(who.actor(), "ticket.renew").session(session.id));
        Ok(Reply::Ticket { ticket })
    }

    pub(super) fn remove_member(
        &self,
        tx: &mut Tx<'_>,
        who: &Who,
        number: SenderNumber,
    ) -> Result<Reply, Stop> {
        let Who::Member { session, .. } = who else { return Err(Denial::ProofWrong.into()) };
        let mut session = session.clone();
        if number == session.leader {
            return Err(Denial::Invalid("the leader cannot remove itself: end the session instead").into());
        }
        let entry = session.members.iter_mut().find(|member| member.number == number);
        let entry = entry.ok_or(Denial::NotFound("member"))?;
        if entry.state == MemberState::Removed {
            return Ok(Reply::Done);
        }
        entry.state = MemberState::Removed;
        tx.put(keys::session(session.id), &session);
        self.bury(tx, session.id, Some(number));
        tx.audit(Draft::done(who.actor(), "member.remove").session(session.id).member(number));
        Ok(Reply::Done)
    }

    /// Signs a tombstone, keeps it for restarts and hands it to the gateways.
    pub(super) fn bury(&self, tx: &mut Tx<'_>, session: SessionId, number: Option<SenderNumber>) {
        let tombstone = tombstone::sign(&self.signer, session, number, tx.now);
        let bytes = tombstone.to_bytes();
        tx.put_bytes(keys::tombstone(tombstone.body.keep_until, session, number), bytes.clone());
        tx.effect(Effect::Tombstone(bytes));
    }
}
