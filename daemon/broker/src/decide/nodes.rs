//! What concerns nodes: where endpoints are placed \[PLC-1\], orders to nodes, revocation.

use proto_spec::{NodeNumber, SessionId};
use rand_core::Rng;
use sealcast_placement::{Located, Probe, SessionPlace, locate};

use super::auth::Who;
use super::{Broker, Draft, Effect, Stop, Tx};
use crate::call::Call;
use crate::request::Reply;

impl Broker {
    /// Places an endpoint; what comes of it is noted once the decision is durable.
    pub(super) fn place(
        &self,
        tx: &mut Tx<'_>,
        session: SessionId,
        is_new: bool,
        probes: &[Probe],
        rng: &mut impl Rng,
    ) -> Result<Located, Stop> {
        let place = if is_new { SessionPlace::default() } else { tx.session_place(session)?.clone() };
        let located = locate(&self.sites, &self.loads, &place, probes, tx.mono, rng);
        tx.effect(Effect::Placed { session, located: Box::new(located.clone()) });
        Ok(located)
    }

    /// What would be done, without doing it.
    pub(super) fn show_placement(
        &self,
        tx: &mut Tx<'_>,
        session: Option<SessionId>,
        probes: &[Probe],
        rng: &mut impl Rng,
    ) -> Result<Reply, Stop> {
        let place = match session {
            Some(session) => tx.session_place(session)?.clone(),
            None => SessionPlace::default(),
        };
        let located = locate(&self.sites, &self.loads, &place, probes, tx.mono, rng);
        Ok(Reply::Placement(Box::new(located)))
    }

    /// An order to a node is written down before the shell passes it on.
    pub(super) fn order_node(
        &self,
        tx: &mut Tx<'_>,
        call: &Call,
        who: &Who,
        action: &str,
        node: NodeNumber,
    ) -> Result<Reply, Stop> {
        tx.audit(Draft::done(who.actor(), action).node(node).via(call));
        Ok(Reply::Done)
    }

    pub(super) fn publish_revocations(
        &self,
        tx: &mut Tx<'_>,
        who: &Who,
        number: u64,
        revoked: usize,
    ) -> Result<Reply, Stop> {
        let draft = Draft::done(who.actor(), "revocations.publish");
        tx.audit(draft.with("number", &number.to_string()).with("revoked", &revoked.to_string()));
        Ok(Reply::Done)
    }
}
