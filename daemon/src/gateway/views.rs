//! Sessions with somebody here, found by their id when a packet comes from another node. Kept apart from the registry,
//! whose lock the control plane holds for longer than the hot path may wait.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use proto_spec::SessionId;
use sealcast_attach::{SharedView, Traffic};

use super::Handle;

/// Parts of the map, each with a lock of its own: more than a node has threads.
const SHARDS: usize = 16;

/// What a packet needs of a session.
#[derive(Debug)]
pub(super) struct OpenSession {
    pub(super) view: SharedView<Handle>,
    pub(super) traffic: Arc<Traffic>,
}

type Shard = RwLock<HashMap<SessionId, Arc<OpenSession>>>;

#[derive(Debug, Default)]
pub(super) struct Views([Shard; SHARDS]);

impl Views {
    pub(super) fn get(&self, session: SessionId) -> Option<Arc<OpenSession>> {
        self.shard(session).read().unwrap_or_else(PoisonError::into_inner).get(&session).cloned()
    }

    /// Called under the registry's lock, so that the last word is the registry's.
    pub(super) fn open(&self, session: SessionId, view: &SharedView<Handle>, traffic: &Arc<Traffic>) {
        let mut shard = self.shard(session).write().unwrap_or_else(PoisonError::into_inner);
        if !shard.get(&session).is_some_and(|open| Arc::ptr_eq(&open.view, view)) {
            let open = OpenSession { view: Arc::clone(view), traffic: Arc::clone(traffic) };
            shard.insert(session, Arc::new(open));
        }
    }

    /// The same.
    pub(super) fn close(&self, session: SessionId) {
        self.shard(session).write().unwrap_or_else(PoisonError::into_inner).remove(&session);
    }

    fn shard(&self, session: SessionId) -> &Shard {
        // Ids are drawn at random.
        &self.0[usize::from(session.0[15]) % SHARDS]
    }
}
