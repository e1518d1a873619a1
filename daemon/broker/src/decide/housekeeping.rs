//! What time does by itself: sessions that nobody can come back to, numbers that expired, tombstones that are over,
//! reports that are old, a checkpoint that is due. A bounded piece each time.

use proto_spec::{SessionId, WallTime};
use sealcast_trust::audit::Actor;

use super::joining::purge_joins;
use super::sessions::retire;
use super::{Broker, Draft, Stop, Tx};
use crate::config::{ENDED_SESSION_KEPT, HOUSEKEEPING_MAX};
use crate::keys;
use crate::kv::Key;
use crate::record::SessionRecord;
use crate::request::Reply;

impl Broker {
    pub(super) fn housekeeping(&self, tx: &mut Tx<'_>, after: Option<SessionId>) -> Result<Reply, Stop> {
        // No stretch depends on the time, which goes on while it is read.
        let now = tx.now;
        let over = |until: WallTime| move |key: &Key| keys::time_of(key).is_none_or(|time| time <= until);
        let tombstones = tx.range(keys::tombstones_oldest(HOUSEKEEPING_MAX))?;
        for key in tombstones.iter().map(|(key, _)| key).filter(|key| over(now)(key)) {
            tx.delete(key.clone());
        }
        let ended = tx.range(keys::ended_oldest(HOUSEKEEPING_MAX))?;
        for key in ended.iter().map(|(key, _)| key).filter(|key| over(now.minus(ENDED_SESSION_KEPT))(key)) {
            tx.delete(key.clone());
            if let Some(id) = keys::session_of(key) {
                tx.delete(keys::session(id));
            }
        }
        let live = tx.range(keys::live_after(after, HOUSEKEEPING_MAX))?;
        let ids: Vec<SessionId> = live.iter().filter_map(|(key, _)| keys::session_of(key)).collect();
        tx.need_all(ids.iter().map(|id| keys::session(*id)))?;
        let mut sessions: Vec<(&SessionId, Option<SessionRecord>)> = Vec::with_capacity(ids.len());
        for id in &ids {
            sessions.push((id, tx.get(&keys::session(*id), "session")?));
        }
        // The numbers of all at once: a round of reading for each session would be more than a shell has patience for.
        let joins =
            sessions.iter().filter_map(|(_, session)| session.as_ref()).flat_map(|session| &session.joins);
        tx.need_all(joins.map(|open| keys::join(open.0)))?;
        for (id, session) in sessions {
            match session {
                Some(session) if session.alive_until <= tx.now => {
                    retire(tx, session)?;
                    tx.audit(Draft::done(Actor::Broker, "session.expire").session(*id));
                }
                Some(mut session) => {
                    if purge_joins(tx, &mut session)? {
                        tx.put(keys::session(*id), &session);
                    }
                }
                None => tx.delete(keys::live(*id)),
            }
        }
        tx.want_checkpoint();
        Ok(Reply::Housekept { after: ids.last().copied().filter(|_| live.len() == HOUSEKEEPING_MAX) })
    }
}
