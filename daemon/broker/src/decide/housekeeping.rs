//! What time does by itself: sessions that nobody can come back to, numbers that expired, tombstones that are over,
//! reports that are old, a checkpoint that is due. A bounded piece each time.

use proto_spec::SessionId;
use sealcast_trust::audit::Actor;

use super::joining::purge_joins;
use super::sessions::{forgettable, retire};
use super::{Broker, Draft, Stop, Tx};
use crate::config::HOUSEKEEPING_MAX;
use crate::keys;
use crate::record::SessionRecord;
use crate::request::Reply;

impl Broker {
    pub(super) fn housekeeping(&self, tx: &mut Tx<'_>, after: Option<SessionId>) -> Result<Reply, Stop> {
        for (key, _) in tx.range(keys::tombstones_over(tx.now, HOUSEKEEPING_MAX))? {
            tx.delete(key.clone());
        }
        for (key, _) in tx.range(keys::ended_before(forgettable(tx.now), HOUSEKEEPING_MAX))? {
            tx.delete(key.clone());
            if let Some(id) = keys::session_of(key) {
                tx.delete(keys::session(id));
            }
        }
        let live = tx.range(keys::live_after(after, HOUSEKEEPING_MAX))?;
        let ids: Vec<SessionId> = live.iter().filter_map(|(key, _)| keys::session_of(key)).collect();
        tx.need_all(ids.iter().map(|id| keys::session(*id)))?;
        for id in &ids {
            let session: Option<SessionRecord> = tx.get(&keys::session(*id), "session")?;
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
