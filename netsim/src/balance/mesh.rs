//! The mesh under the flows, in the light profile: the product's cores, which hear of every attachment and tell brokers
//! their load, while nobody says anything.
//!
//! Owns the simulated mesh and its clock's beginning. Never decides where an endpoint goes.

use std::time::Duration;

use proto_spec::membership::{MemberKind, MembershipEntry};
use proto_spec::{AttachSeq, NodeNumber, SenderNumber, SessionId, Timestamp};

use crate::check::Violation;
use crate::play::START_WITHIN_MS;
use crate::scenario::Scenario;
use crate::sim::{HeardLoad, Plan, Trace, World};

/// The mesh may take this long to come up.
const FORMING_MAX: Duration = Duration::from_secs(600);
/// While it comes up it is looked at this often.
const FORMING_LOOK: Duration = Duration::from_secs(1);
/// Sessions whose ways are probed with a packet of each of their nodes in the end.
const PROBED_MAX: usize = 100;

/// The mesh, once it has come up.
pub(super) struct Mesh {
    world: World,
    /// When time 0 of the scenario is.
    began: Timestamp,
    /// Since when link state is to agree again, if it does not.
    changed_at: Option<Timestamp>,
    /// The longest that it took after a fault.
    pub(super) converged: Duration,
    /// What the roster of the broker that was asked last is a copy of.
    roster_of: Option<(NodeNumber, u64)>,
}

impl Mesh {
    /// Starts all nodes and waits until they agree; as it is then, if they do not in time.
    pub(super) fn formed(scenario: &Scenario, seed: u64, told: bool) -> Mesh {
        let mut world = World::new(Plan { light: true, ..Plan::of(scenario, seed) });
        world.told = told;
        for number in world.numbers() {
            world.start(number);
            let wait = world.random.range(0, START_WITHIN_MS / world.hosts.len() as u64 + 1);
            world.run_for(Duration::from_millis(wait));
        }
        let mut fault = world.link_state_disagreement();
        while fault.is_some() && world.now < Timestamp(FORMING_MAX) {
            world.run_for(FORMING_LOOK);
            fault = world.link_state_disagreement();
        }
        if let Some(why) = fault {
            world.violated(crate::check::Property::Convergence, format!("the mesh did not come up: {why}"));
        }
        let began = world.now;
        Mesh { world, began, changed_at: None, converged: Duration::ZERO, roster_of: None }
    }

    /// How long it took to come up.
    pub(super) const fn forming(&self) -> Duration {
        self.began.0
    }

    /// Lets time pass up to a moment of the scenario; the loads that brokers heard until then, by its clock.
    pub(super) fn run_until(&mut self, now: Timestamp) -> Vec<HeardLoad> {
        self.world.run_until(self.began + now.0);
        let mut heard = std::mem::take(&mut self.world.heard);
        heard.iter_mut().for_each(|load| load.at = Timestamp(load.at.since(self.began)));
        heard
    }

    /// Whom a broker takes for alive, if that may have changed since the last question.
    pub(super) fn news_of(&mut self, broker: NodeNumber) -> Option<impl Fn(NodeNumber) -> bool> {
        let core = self.world.hosts[&broker].node.as_ref()?;
        let seen = (broker, core.snapshot().version());
        (self.roster_of.replace(seen) != Some(seen)).then_some(|number| core.roster().contains(&number))
    }

    /// An endpoint is attached, as the `index`th of a session.
    pub(super) fn attach(&mut self, node: NodeNumber, session: u32, index: usize) {
        let entry = MembershipEntry {
            number: number(index),
            kind: MemberKind::Active,
            attach_seq: AttachSeq(self.world.now.0.as_micros() as u64),
            ticket: [0; 32],
        };
        self.world.attach(node, id(session), entry, false);
    }

    /// It is gone.
    pub(super) fn detach(&mut self, node: NodeNumber, session: u32, index: usize) {
        self.world.detach(node, id(session), number(index));
    }

    pub(super) fn kill(&mut self, node: NodeNumber) {
        self.world.kill(node);
        self.changed_at.get_or_insert(self.world.now);
    }

    pub(super) fn start(&mut self, node: NodeNumber) {
        self.world.start(node);
        self.changed_at.get_or_insert(self.world.now);
    }

    /// After a fault: whether all agree again on who is there and how to reach them.
    pub(super) fn look(&mut self) {
        if let Some(since) = self.changed_at
            && self.world.link_state_disagreement().is_none()
        {
            self.converged = self.converged.max(self.world.now.since(since));
            self.changed_at = None;
        }
    }

    /// Lets everything settle, and sends packets: all agree, copies form trees, nobody else gets any.
    pub(super) fn finish(&mut self) {
        // A failure is kept as a violation.
        let agree = self.world.converge().is_ok();
        self.look();
        if !agree {
            return;
        }
        let mut sessions: Vec<(SessionId, NodeNumber)> = Vec::new();
        for (number, host) in &self.world.hosts {
            sessions.extend(host.attached.keys().map(|(session, _)| (*session, *number)));
        }
        sessions.sort_unstable();
        sessions.dedup();
        let step = sessions.len().div_ceil(PROBED_MAX).max(1);
        for (session, from) in sessions.into_iter().step_by(step) {
            self.world.check_packet(from, session);
        }
    }

    /// What did not hold.
    pub(super) fn violations(&self) -> &[Violation] {
        &self.world.violations
    }

    /// Everything that happened in it.
    pub(super) const fn trace(&self) -> Trace {
        self.world.trace
    }

    /// Events of its queue that have come.
    pub(super) const fn events(&self) -> u64 {
        self.world.events
    }

    /// When it is.
    pub(super) const fn now(&self) -> Timestamp {
        self.world.now
    }
}

fn id(session: u32) -> SessionId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&session.to_be_bytes());
    SessionId(bytes)
}

fn number(index: usize) -> SenderNumber {
    SenderNumber::new(index as u16 + 1).expect("a session has few endpoints")
}
