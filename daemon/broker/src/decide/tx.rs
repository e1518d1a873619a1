//! One decision in the making: what it reads, changes and notes.
//!
//! Every key read becomes a condition of the commit, so that no rule has to think of it. Stretches are not conditions:
//! a rule that depends on one also reads and writes a record that everybody does who changes the stretch.

use std::collections::BTreeMap;

use proto_spec::{NodeNumber, Now, SenderNumber, SessionId, Timestamp, WallTime, Wire};
use sealcast_placement::SessionPlace;
use sealcast_trust::Head;
use sealcast_trust::audit::{
    Actor, CHECKPOINT_INTERVAL, CHECKPOINT_RECORDS, Outcome, Record, sign_checkpoint,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Broker, Commit, Decision, Effect, Stop};
use crate::call::Call;
use crate::denial::Denial;
use crate::keys;
use crate::kv::{Compare, Key, Op, Range, Read, ReadSet};
use crate::record::{HeadRecord, decode, encode};
use crate::request::Reply;

/// A record of the audit before it has its place.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    actor: Actor,
    action: String,
    session: Option<SessionId>,
    subject: Option<String>,
    outcome: Outcome,
    detail: BTreeMap<String, String>,
}

impl Draft {
    pub(crate) fn done(actor: Actor, action: &str) -> Draft {
        let action = action.to_owned();
        Draft { actor, action, session: None, subject: None, outcome: Outcome::Done, detail: BTreeMap::new() }
    }

    pub(crate) fn refused(actor: Actor, action: &str, reason: &str) -> Draft {
        Draft { outcome: Outcome::Refused, ..Draft::done(actor, action) }.with("reason", reason)
    }

    pub(crate) fn session(self, session: SessionId) -> Draft {
        Draft { session: Some(session), ..self }
    }

    pub(crate) fn account(self, id: u64) -> Draft {
        Draft { subject: Some(format!("account {id}")), ..self }
    }

    pub(crate) fn member(self, number: SenderNumber) -> Draft {
        Draft { subject: Some(format!("member {number}")), ..self }
    }

    pub(crate) fn node(self, number: NodeNumber) -> Draft {
        Draft { subject: Some(format!("node {number}")), ..self }
    }

    /// Notes the node that handed the call on, if one did \[GW-16\].
    pub(crate) fn via(self, call: &Call) -> Draft {
        match call.via {
            Some(node) => self.with("via", &format!("node {node}")),
            None => self,
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Draft {
        self.detail.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// One decision.
pub(crate) struct Tx<'a> {
    reads: &'a ReadSet,
    pub(crate) now: WallTime,
    pub(crate) mono: Timestamp,
    compares: BTreeMap<Key, Option<Vec<u8>>>,
    writes: BTreeMap<Key, Option<Vec<u8>>>,
    effects: Vec<Effect>,
    drafts: Vec<Draft>,
    checkpoint_wanted: bool,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(reads: &'a ReadSet, now: Now) -> Tx<'a> {
        Tx {
            reads,
            now: now.wall,
            mono: now.mono,
            compares: BTreeMap::new(),
            writes: BTreeMap::new(),
            effects: Vec::new(),
            drafts: Vec::new(),
            checkpoint_wanted: false,
        }
    }

    /// A record by its key; `what` names it when it cannot be read.
    pub(crate) fn get<T: DeserializeOwned>(
        &mut self,
        key: &Key,
        what: &'static str,
    ) -> Result<Option<T>, Stop> {
        let bytes = match self.writes.get(key) {
            Some(written) => written.as_deref(),
            None => {
                let read = self.reads.point(key).ok_or_else(|| Stop::Need(vec![Read::Point(key.clone())]))?;
                self.compares.insert(key.clone(), read.map(<[u8]>::to_vec));
                read
            }
        };
        match bytes {
            Some(bytes) => decode(bytes).map(Some).ok_or(Stop::Denied(Denial::StoreUnreadable(what))),
            None => Ok(None),
        }
    }

    /// Asks for all keys at once that have not been read, to save rounds.
    pub(crate) fn need_all(&self, keys: impl IntoIterator<Item = Key>) -> Result<(), Stop> {
        let missing: Vec<Read> =
            keys.into_iter().filter(|key| self.reads.point(key).is_none()).map(Read::Point).collect();
        if missing.is_empty() { Ok(()) } else { Err(Stop::Need(missing)) }
    }

    /// The entries of a stretch, as read.
    pub(crate) fn range(&self, range: Range) -> Result<&'a [(Key, Vec<u8>)], Stop> {
        match self.reads.range(&range) {
            Some(entries) => Ok(entries),
            None => Err(Stop::Need(vec![Read::Range(range)])),
        }
    }

    /// Where a session is, as the overlay knows it.
    pub(crate) fn session_place(&self, session: SessionId) -> Result<&'a SessionPlace, Stop> {
        self.reads.session(session).ok_or_else(|| Stop::Need(vec![Read::Session(session)]))
    }

    pub(crate) fn put<T: Serialize>(&mut self, key: Key, value: &T) {
        self.writes.insert(key, Some(encode(value)));
    }

    pub(crate) fn put_bytes(&mut self, key: Key, bytes: Vec<u8>) {
        self.writes.insert(key, Some(bytes));
    }

    pub(crate) fn delete(&mut self, key: Key) {
        self.writes.insert(key, None);
    }

    pub(crate) fn audit(&mut self, draft: Draft) {
        self.drafts.push(draft);
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Signs a checkpoint if one is due, even if nothing else happens.
    pub(crate) fn want_checkpoint(&mut self) {
        self.checkpoint_wanted = true;
    }

    /// What is to be read next; the audit's head nearly always is, so it comes along.
    pub(crate) fn need(&self, mut needs: Vec<Read>) -> Decision {
        let head = keys::audit_head();
        if self.reads.point(&head).is_none() {
            needs.push(Read::Point(head));
        }
        Decision::Need(needs)
    }

    /// Appends the audit's records and closes the decision.
    pub(crate) fn finish(mut self, broker: &Broker, reply: Result<Reply, Denial>) -> Decision {
        match self.append_audit(broker) {
            Ok(()) => {}
            Err(Stop::Need(needs)) => return self.need(needs),
            Err(Stop::Denied(denial) | Stop::Refused(denial)) => return Decision::Denied(denial),
        }
        if self.writes.is_empty() {
            return match reply {
                Ok(reply) => Decision::Answer(reply),
                Err(denial) => Decision::Denied(denial),
            };
        }
        let compare = self.compares.into_iter().map(|(key, expected)| Compare { key, expected }).collect();
        let op = |(key, value): (Key, Option<Vec<u8>>)| match value {
            Some(value) => Op::Put(key, value),
            None => Op::Delete(key),
        };
        let ops = self.writes.into_iter().map(op).collect();
        Decision::Commit(Commit { compare, ops, effects: self.effects, reply })
    }

    /// \[AUD-1\] \[AUD-6\]: the records and their checkpoint are part of the same commit.
    fn append_audit(&mut self, broker: &Broker) -> Result<(), Stop> {
        if self.drafts.is_empty() && !self.checkpoint_wanted {
            return Ok(());
        }
        let stored: Option<HeadRecord> = self.get(&keys::audit_head(), "audit head")?;
        let mut record = stored.unwrap_or(HeadRecord {
            head: Head::genesis(broker.mesh()),
            checkpoint_index: 0,
            checkpoint_time: WallTime(0),
        });
        for draft in std::mem::take(&mut self.drafts) {
            let Draft { actor, action, session, subject, outcome, detail } = draft;
            let index = record.head.index + 1;
            let entry = Record { index, time: self.now, actor, action, session, subject, outcome, detail };
            let (link, head) = record.head.append(&entry);
            self.put_bytes(keys::audit(index), [&link.hash[..], &link.canonical].concat());
            record.head = head;
        }
        let news = record.head.index - record.checkpoint_index;
        let since = self.now.0.saturating_sub(record.checkpoint_time.0);
        // A clock that was set back must not stop checkpoints.
        let waited = since >= CHECKPOINT_INTERVAL.as_millis() as u64 || record.checkpoint_time > self.now;
        if news >= CHECKPOINT_RECORDS || (news > 0 && waited) {
            let checkpoint = sign_checkpoint(&broker.signer, record.head, self.now);
            self.put_bytes(keys::checkpoint(record.head.index), checkpoint.to_bytes());
            record.checkpoint_index = record.head.index;
            record.checkpoint_time = self.now;
        }
        if stored != Some(record) && record.head.index > 0 {
            self.put(keys::audit_head(), &record);
        }
        Ok(())
    }
}
