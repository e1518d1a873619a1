//! How a joiner finds a session and becomes a member \[GW-4\] \[GW-8\]: number, look-up, lobby ticket, admission.

use proto_spec::ticket::{Claims, Role, TicketKind};
use proto_spec::{NodeNumber, SenderNumber, SessionNumber, WallTime};
use rand_core::Rng;
use sealcast_placement::{Located, Probe};
use sealcast_trust::issue;
use sealcast_trust::ticket::validity_max;

use super::auth::Who;
use super::{Broker, Draft, Stop, Tx};
use crate::call::Call;
use crate::config::{
    JOIN_VALIDITY, JOINS_OPEN_MAX, LOBBY_GUESTS_MAX, MEMBERS_KEPT_MAX, MEMBERS_MAX, NUMBER_DRAWS,
};
use crate::denial::Denial;
use crate::keys;
use crate::record::{AccountRole, JoinRecord, MemberRecord, MemberState, Number, SessionRecord};
use crate::request::Reply;

impl Broker {
    pub(super) fn open_join(
        &self,
        tx: &mut Tx<'_>,
        who: &Who,
        role: Role,
        rng: &mut impl Rng,
    ) -> Result<Reply, Stop> {
        let Who::Member { session, .. } = who else { return Err(Denial::ProofWrong.into()) };
        let mut session = session.clone();
        purge_joins(tx, &mut session)?;
        if session.joins.len() >= JOINS_OPEN_MAX {
            return Err(
                Denial::LimitReached { what: "open numbers of this session", limit: JOINS_OPEN_MAX }.into()
            );
        }
        let draws: Vec<SessionNumber> = (0..NUMBER_DRAWS).map(|_| draw_number(rng)).collect();
        let mut free = None;
        for number in draws {
            let taken: Option<JoinRecord> = tx.get(&keys::join(number), "number")?;
            if taken.is_none_or(|join| join.expires <= tx.now) {
                free = Some(number);
                break;
            }
        }
        let number = free.ok_or(Denial::NoFreeNumber)?;
        let expires = tx.now.plus(JOIN_VALIDITY);
        tx.put(keys::join(number), &JoinRecord { session: session.id, role, expires });
        session.joins.push(Number(number));
        tx.put(keys::session(session.id), &session);
        tx.audit(Draft::done(who.actor(), "join.open").session(session.id).with("role", role.name()));
        Ok(Reply::JoinOpened { number })
    }

    pub(super) fn close_join(
        &self,
        tx: &mut Tx<'_>,
        who: &Who,
        number: SessionNumber,
    ) -> Result<Reply, Stop> {
        let Who::Member { session, .. } = who else { return Err(Denial::ProofWrong.into()) };
        let mut session = session.clone();
        if !session.joins.contains(&Number(number)) {
            // Closed twice, used or expired: closed is what it should be.
            return Ok(Reply::Done);
        }
        close_number(tx, &mut session, number)?;
        tx.put(keys::session(session.id), &session);
        tx.audit(Draft::done(who.actor(), "join.close").session(session.id));
        Ok(Reply::Done)
    }

    /// Unknown, expired, closed, full and meant for another role: one answer, one way there, no commit \[GW-4\].
    pub(super) fn look_up(
        &self,
        tx: &mut Tx<'_>,
        call: &Call,
        number: Option<SessionNumber>,
        attach_key: &[u8; 32],
        probes: &[Probe],
        rng: &mut impl Rng,
    ) -> Result<Reply, Stop> {
        let number = number.ok_or(Denial::NumberUnknown)?;
        let join: Option<JoinRecord> = tx.get(&keys::join(number), "number")?;
        let join = join.filter(|join| tx.now < join.expires).ok_or(Denial::NumberUnknown)?;
        let session: Option<SessionRecord> = tx.get(&keys::session(join.session), "session")?;
        let mut session = session.ok_or(Denial::NumberUnknown)?;
        if session.ended.is_some() || !session.joins.contains(&Number(number)) {
            return Err(Denial::NumberUnknown.into());
        }
        let who = match join.role {
            Role::Customer => Who::Anyone,
            Role::Provider => match self.account(tx, call) {
                Ok(who) => who,
                Err(Stop::Denied(Denial::NotLoggedIn)) => return Err(Denial::NumberUnknown.into()),
                Err(other) => return Err(other),
            },
        };
        let account = match &who {
            Who::Account { account, .. } if account.roles.contains(&AccountRole::Provider) => account.id,
            Who::Account { .. } => return Err(Denial::NumberUnknown.into()),
            _ => 0,
        };
        if session.live_members(tx.now) >= MEMBERS_MAX {
            return Err(Denial::NumberUnknown.into());
        }
        // Who asks again after a lost answer keeps its place.
        let now = tx.now;
        let again = session.members.iter().position(|member| {
            member.is_live_guest(now)
                && member.attach_key == *attach_key
                && member.joined_by == Some(Number(number))
                && member.account == account
        });
        let place = match again {
            Some(place) => place,
            None if session.live_guests(now) >= LOBBY_GUESTS_MAX => return Err(Denial::NumberUnknown.into()),
            None => {
                let guest = allot(&mut session).ok_or(Denial::NumberUnknown)?;
                forget_oldest(&mut session, now);
                session.members.push(MemberRecord {
                    number: guest,
                    role: join.role,
                    state: MemberState::Lobby,
                    attach_key: *attach_key,
                    account,
                    ticket_expires: now,
                    joined_by: Some(Number(number)),
                });
                session.members.len() - 1
            }
        };
        let located = self.place(tx, session.id, false, probes, rng)?;
        let ticket = self.ticket(&mut session, place, TicketKind::Lobby, now, located.preferred());
        let guest = session.members[place].number;
        tx.put(keys::session(session.id), &session);
        let draft = Draft::done(who.actor(), "join.lookup").session(session.id).member(guest);
        tx.audit(draft.with("role", join.role.name()));
        let Located { offered: nodes, standby, .. } = located;
        Ok(Reply::Found {
            session: session.id,
            number: guest,
            leader: session.leader,
            ticket,
            role: join.role,
            nodes,
            standby,
        })
    }

    pub(super) fn admit(&self, tx: &mut Tx<'_>, who: &Who, number: SenderNumber) -> Result<Reply, Stop> {
        let Who::Member { session, .. } = who else { return Err(Denial::ProofWrong.into()) };
        let mut session = session.clone();
        let now = tx.now;
        let place = session.members.iter().position(|member| member.number == number);
        let place = place.ok_or(Denial::NotFound("guest"))?;
        match &session.members[place] {
            guest if guest.is_live_guest(now) => {
                if session.live_members(now) >= MEMBERS_MAX {
                    return Err(
                        Denial::LimitReached { what: "members of this session", limit: MEMBERS_MAX }.into()
                    );
                }
            }
            // Asked again after a lost answer.
            member if member.is_live_member(now) && member.number != session.leader => {}
            member if member.state == MemberState::Removed => return Err(Denial::MemberRemoved.into()),
            _ => return Err(Stop::Denied(Denial::NotFound("guest"))),
        }
        session.members[place].state = MemberState::Member;
        // One number, one joiner.
        if let Some(Number(used)) = session.members[place].joined_by.take() {
            close_number(tx, &mut session, used)?;
        }
        let ticket = self.ticket(&mut session, place, TicketKind::Member, now, Vec::new());
        tx.put(keys::session(session.id), &session);
        tx.audit(Draft::done(who.actor(), "member.admit").session(session.id).member(number));
        Ok(Reply::Ticket { ticket })
    }

    /// Issues a ticket for the member at `place` and notes when it ends.
    pub(super) fn ticket(
        &self,
        session: &mut SessionRecord,
        place: usize,
        kind: TicketKind,
        now: WallTime,
        nodes: Vec<NodeNumber>,
    ) -> String {
        let member = &mut session.members[place];
        let expires = now.plus(validity_max(kind));
        member.ticket_expires = expires;
        session.alive_until = session.alive_until.max(expires);
        let claims = Claims {
            mesh: self.mesh().to_owned(),
            session: session.id,
            number: member.number,
            kind,
            role: member.role,
            leader: session.leader,
            attach_key: member.attach_key,
            issued: now,
            expires,
            rate_bytes: 0,
            account: if member.account > 0 { member.account } else { session.account },
            nodes,
        };
        issue(&claims, &self.signer)
    }
}

/// The next sender number; `None` when all 65,535 have been used \[ID-2\].
pub(super) fn allot(session: &mut SessionRecord) -> Option<SenderNumber> {
    let number = u16::try_from(session.next_number).ok().and_then(SenderNumber::new)?;
    session.next_number += 1;
    Some(number)
}

/// Withdraws a number of this session. A number that another session holds by now is left alone.
pub(super) fn close_number(
    tx: &mut Tx<'_>,
    session: &mut SessionRecord,
    number: SessionNumber,
) -> Result<(), Stop> {
    if !session.joins.contains(&Number(number)) {
        return Ok(());
    }
    session.joins.retain(|open| open.0 != number);
    let join: Option<JoinRecord> = tx.get(&keys::join(number), "number")?;
    if join.is_some_and(|join| join.session == session.id) {
        tx.delete(keys::join(number));
    }
    Ok(())
}

/// Withdraws the numbers of this session that have expired. True if there were any.
pub(super) fn purge_joins(tx: &mut Tx<'_>, session: &mut SessionRecord) -> Result<bool, Stop> {
    tx.need_all(session.joins.iter().map(|open| keys::join(open.0)))?;
    let mut over = Vec::new();
    for Number(number) in session.joins.iter().copied() {
        let join: Option<JoinRecord> = tx.get(&keys::join(number), "number")?;
        if join.is_none_or(|join| join.session != session.id || join.expires <= tx.now) {
            over.push(number);
        }
    }
    for number in &over {
        close_number(tx, session, *number)?;
    }
    Ok(!over.is_empty())
}

/// Makes room for one more entry: those who are gone are forgotten, the oldest first.
fn forget_oldest(session: &mut SessionRecord, now: WallTime) {
    while session.members.len() >= MEMBERS_KEPT_MAX {
        let gone = |member: &MemberRecord| !member.is_live_member(now) && !member.is_live_guest(now);
        match session.members.iter().position(|member| gone(member) && member.number != session.creator) {
            Some(place) => {
                session.members.remove(place);
            }
            None => return,
        }
    }
}

/// Nine random digits, each number as likely as any other.
fn draw_number(rng: &mut impl Rng) -> SessionNumber {
    const SPAN: u32 = SessionNumber::END - SessionNumber::MIN;
    loop {
        // 2^32 is no multiple of the span: what lies above its last multiple is drawn again.
        let drawn = rng.next_u32();
        if drawn < u32::MAX - u32::MAX % SPAN
            && let Some(number) = SessionNumber::new(SessionNumber::MIN + drawn % SPAN)
        {
            return number;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    /// \[GW-4\]: nine digits, spread over the whole span.
    #[test]
    fn drawn_numbers_are_spread() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut tenths = [0u32; 9];
        for _ in 0..9_000 {
            let number = draw_number(&mut rng).value();
            tenths[(number / 100_000_000 - 1) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (800..1_200).contains(count)), "{tenths:?}");
    }
}
