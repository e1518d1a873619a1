//! Sessions: opened by a provider, ended by their creator or an administrator, shown to administrators.

use proto_spec::ticket::{Role, TicketKind};
use proto_spec::{SenderNumber, SessionId};
use rand_core::Rng;
use sealcast_placement::{Located, Probe};

use super::auth::Who;
use super::joining::{allot, close_number};
use super::{Broker, Draft, Stop, Tx, page};
use crate::config::SESSIONS_PER_ACCOUNT_MAX;
use crate::denial::Denial;
use crate::keys;
use crate::record::{AccountRecord, MemberRecord, MemberState, Number, SessionRecord};
use crate::request::{MemberView, Reply, SessionView};

impl Broker {
    pub(super) fn create_session(
        &self,
        tx: &mut Tx<'_>,
        who: &Who,
        attach_key: &[u8; 32],
        probes: &[Probe],
        rng: &mut impl Rng,
    ) -> Result<Reply, Stop> {
        let Who::Account { account, .. } = who else { return Err(Denial::NotLoggedIn.into()) };
        let opened = tx.range(keys::opened_by(account.id, SESSIONS_PER_ACCOUNT_MAX))?;
        if opened.len() >= SESSIONS_PER_ACCOUNT_MAX {
            let what = "live sessions of this account";
            return Err(Denial::LimitReached { what, limit: SESSIONS_PER_ACCOUNT_MAX }.into());
        }
        let mut id = SessionId([0; 16]);
        rng.fill_bytes(&mut id.0);
        let number = SenderNumber::new(1).expect("1 is not 0");
        let mut session = SessionRecord {
            id,
            account: account.id,
            creator: number,
            leader: number,
            created: tx.now,
            ended: None,
            next_number: 1,
            members: Vec::new(),
            joins: Vec::new(),
            alive_until: tx.now,
        };
        let number = allot(&mut session).expect("the first number of a session is free");
        session.members.push(MemberRecord {
            number,
            role: Role::Provider,
            state: MemberState::Member,
            attach_key: *attach_key,
            account: account.id,
            ticket_expires: tx.now,
            joined_by: None,
        });
        let located = self.place(tx, id, true, probes, rng)?;
        let ticket = self.ticket(&mut session, 0, TicketKind::Member, tx.now, located.preferred());
        tx.put(keys::session(id), &session);
        tx.put(keys::live(id), &account.id);
        let now = tx.now;
        tx.put(keys::opened(account.id, id), &now);
        let sessions_opened = account.sessions_opened + 1;
        tx.put(keys::account(account.id), &AccountRecord { sessions_opened, ..account.clone() });
        tx.audit(Draft::done(who.actor(), "session.create").session(id));
        let Located { offered: nodes, standby, .. } = located;
        Ok(Reply::SessionCreated { session: id, number, ticket, nodes, standby })
    }

    pub(super) fn end_session(&self, tx: &mut Tx<'_>, who: &Who) -> Result<Reply, Stop> {
        let Who::Member { session, .. } = who else { return Err(Denial::ProofWrong.into()) };
        self.end(tx, session.clone())?;
        tx.audit(Draft::done(who.actor(), "session.end").session(session.id));
        Ok(Reply::Done)
    }

    pub(super) fn close_session(&self, tx: &mut Tx<'_>, who: &Who, id: SessionId) -> Result<Reply, Stop> {
        let session: Option<SessionRecord> = tx.get(&keys::session(id), "session")?;
        let session = session.ok_or(Denial::NotFound("session"))?;
        if session.ended.is_some() {
            return Ok(Reply::Done);
        }
        self.end(tx, session)?;
        tx.audit(Draft::done(who.actor(), "session.close").session(id));
        Ok(Reply::Done)
    }

    /// Ends a session for good: its numbers go, a tombstone comes.
    fn end(&self, tx: &mut Tx<'_>, session: SessionRecord) -> Result<(), Stop> {
        let id = session.id;
        retire(tx, session)?;
        self.bury(tx, id, None);
        Ok(())
    }

    pub(super) fn list_sessions(
        &self,
        tx: &mut Tx<'_>,
        ended_too: bool,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Reply, Stop> {
        let limit = page(limit);
        let stretch = if ended_too {
            keys::sessions_after(after, limit + 1)
        } else {
            keys::live_after(after, limit + 1)
        };
        let entries = tx.range(stretch)?;
        let ids: Vec<SessionId> =
            entries.iter().take(limit).filter_map(|(key, _)| keys::session_of(key)).collect();
        tx.need_all(ids.iter().map(|id| keys::session(*id)))?;
        let mut records: Vec<SessionRecord> = Vec::new();
        for id in ids {
            records.extend(tx.get::<SessionRecord>(&keys::session(id), "session")?);
        }
        tx.need_all(records.iter().map(|session| keys::account(session.account)))?;
        let mut sessions = Vec::new();
        for session in &records {
            sessions.push(self.view(tx, session, false)?);
        }
        Ok(Reply::Sessions { sessions, more: entries.len() > limit })
    }

    pub(super) fn show_session(&self, tx: &mut Tx<'_>, id: SessionId) -> Result<Reply, Stop> {
        let session: Option<SessionRecord> = tx.get(&keys::session(id), "session")?;
        let session = session.ok_or(Denial::NotFound("session"))?;
        let accounts = session.members.iter().map(|member| member.account).filter(|id| *id > 0);
        tx.need_all(accounts.chain([session.account]).map(keys::account))?;
        Ok(Reply::Session(self.view(tx, &session, true)?))
    }

    fn view(
        &self,
        tx: &mut Tx<'_>,
        session: &SessionRecord,
        with_members: bool,
    ) -> Result<SessionView, Stop> {
        let mut joinable = false;
        if session.ended.is_none() {
            tx.need_all(session.joins.iter().map(|open| keys::join(open.0)))?;
            for Number(number) in &session.joins {
                let join: Option<crate::record::JoinRecord> = tx.get(&keys::join(*number), "number")?;
                joinable |= join.is_some_and(|join| join.session == session.id && tx.now < join.expires);
            }
        }
        let mut members = Vec::new();
        if with_members {
            for member in &session.members {
                let account = address(tx, member.account)?;
                members.push(MemberView {
                    number: member.number,
                    role: member.role,
                    state: member.state,
                    account,
                });
            }
        }
        Ok(SessionView {
            id: session.id,
            provider: address(tx, session.account)?,
            created: session.created,
            ended: session.ended,
            members,
            joinable,
        })
    }
}

/// Takes a session out of what lasts, without a tombstone: for those whose tickets have all expired.
pub(super) fn retire(tx: &mut Tx<'_>, mut session: SessionRecord) -> Result<(), Stop> {
    tx.need_all(session.joins.iter().map(|open| keys::join(open.0)))?;
    for Number(number) in session.joins.clone() {
        close_number(tx, &mut session, number)?;
    }
    session.ended = Some(tx.now);
    tx.delete(keys::live(session.id));
    tx.delete(keys::opened(session.account, session.id));
    tx.put(keys::ended(tx.now, session.id), &());
    tx.put(keys::session(session.id), &session);
    Ok(())
}

/// An account's address; empty for none and for accounts that are gone.
fn address(tx: &mut Tx<'_>, account: u64) -> Result<String, Stop> {
    if account == 0 {
        return Ok(String::new());
    }
    let account: Option<AccountRecord> = tx.get(&keys::account(account), "account")?;
    Ok(account.map(|account| account.email).unwrap_or_default())
}
