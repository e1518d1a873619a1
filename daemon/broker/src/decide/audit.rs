//! Pages of the audit, for whoever may read it \[AUD-7\].

use super::{Broker, Stop, Tx, page};
use crate::denial::Denial;
use crate::keys;
use crate::record::HeadRecord;
use crate::request::{AuditEntry, Reply};

impl Broker {
    pub(super) fn tail_audit(
        &self,
        tx: &mut Tx<'_>,
        from_index: u64,
        last: u32,
        limit: usize,
    ) -> Result<Reply, Stop> {
        let limit = page(limit);
        let head: Option<HeadRecord> = tx.get(&keys::audit_head(), "audit head")?;
        let head_index = head.map_or(0, |record| record.head.index);
        let from = match last {
            0 => from_index.max(1),
            last => (head_index + 1).saturating_sub(u64::from(last)).max(1),
        };
        let records = tx.range(keys::audit_from(from, limit))?;
        let to = records.last().and_then(|(key, _)| keys::index_of(key)).unwrap_or(from);
        let checkpoints = tx.range(keys::checkpoints_between(from, to, limit))?;
        let mut entries = Vec::with_capacity(records.len());
        for (key, value) in records {
            let unreadable = Stop::Denied(Denial::StoreUnreadable("audit record"));
            let (hash, canonical) = value.split_first_chunk::<32>().ok_or(unreadable.clone())?;
            let index = keys::index_of(key).ok_or(unreadable)?;
            let checkpoint = checkpoints.iter().find(|(key, _)| keys::index_of(key) == Some(index));
            entries.push(AuditEntry {
                index,
                canonical: canonical.to_vec(),
                hash: *hash,
                checkpoint: checkpoint.map(|(_, bytes)| bytes.clone()),
            });
        }
        Ok(Reply::Audit { entries, head_index })
    }
}
