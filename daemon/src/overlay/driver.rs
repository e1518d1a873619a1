//! The task itself: one input, every output, the next deadline.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ed25519_dalek::{Signer as _, SigningKey};
use proto_spec::lsa::DrainState;
use proto_spec::mesh::{Chain, LoadReport};
use proto_spec::{NodeNumber, Timestamp};
use sealcast_attach::Change;
use sealcast_mesh::{Alarm, Input, Node, Output, Snapshot, Wired};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::checks::Checks;
use super::journal::JournalFiles;
use super::{Brokers, Departure, Elsewhere, Links, LoadSink, MeshView, Parts};
use crate::clock::Clock;
use crate::gateway::{Gateway, Ways};
use crate::health::{Health, State};
use crate::revocations::Revocations;

/// The view is made anew at most this often.
const VIEW_INTERVAL: Duration = Duration::from_millis(500);
/// Load is told, and what has waited too long is looked at, this often \[MCU-3\].
const SECOND: Duration = Duration::from_secs(1);
/// Inputs handled before others have a turn of the thread.
const INPUTS_AT_ONCE: usize = 64;
/// Tombstones of the own broker told in one second, so that those of a long past do not fill the core's list of copies
/// that wait for an acknowledgement ([`sealcast_mesh::config::TOMBSTONE_COPIES_MAX`]) at a start.
const BURIED_PER_SECOND: usize = 512;
/// Alarms kept for administrators.
const ALARMS_MAX: usize = 64;
/// Cost units of routes in a millisecond.
const COST_PER_MS: u64 = 10;

/// Owns the mesh's core.
pub struct Driver {
    node: Node,
    clock: Clock,
    queue: mpsc::Receiver<Input>,
    gateway: Arc<Gateway>,
    health: Arc<Health>,
    key: SigningKey,
    checks: Checks,
    brokers: Arc<Brokers>,
    revocations: Arc<Revocations>,
    load: Option<Arc<dyn LoadSink>>,
    broker_chain: Option<Chain>,
    journal: Option<JournalFiles>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    view: Arc<ArcSwap<MeshView>>,
    departure: watch::Sender<Departure>,
    elsewhere: Arc<Elsewhere>,
    /// The newest report of each node, at nodes with a broker.
    loads: BTreeMap<NodeNumber, (Timestamp, LoadReport)>,
    alarms: VecDeque<(u64, Alarm)>,
    view_made_at: Option<Timestamp>,
    view_is_old: bool,
    reports: u64,
    forwarded_before: u64,
    buried_left: usize,
    drain_by: Timestamp,
    gateway_drain: Option<AbortHandle>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("node", &self.node.number()).finish_non_exhaustive()
    }
}

impl Driver {
    pub(super) fn new(parts: Parts, queue: mpsc::Receiver<Input>) -> Driver {
        let Parts {
            config,
            identity,
            key,
            incarnation,
            seed,
            clock,
            trust,
            brokers,
            revocations,
            gateway,
            health,
            broker_chain,
            journal,
        } = parts;
        let mut elsewhere_seed = seed;
        // Another stream than the core's, which is written to journals.
        elsewhere_seed.iter_mut().for_each(|byte| *byte ^= 0x5a);
        let node = Node::new(config, identity, incarnation, seed, clock.now());
        let view = MeshView {
            number: node.number(),
            lsas: Vec::new(),
            roster: vec![node.number()],
            links: Vec::new(),
            drain: DrainState::Serving,
            counters: *node.counters(),
            alarms: Vec::new(),
            revocations: 0,
        };
        Driver {
            snapshot: Arc::new(ArcSwap::new(node.snapshot())),
            view: Arc::new(ArcSwap::from_pointee(view)),
            departure: watch::Sender::new(Departure::default()),
            elsewhere: Elsewhere::new(elsewhere_seed),
            checks: Checks { trust, verifier: brokers.verifier(), revocations: Arc::clone(&revocations) },
            node,
            clock,
            queue,
            gateway,
            health,
            key,
            brokers,
            revocations,
            load: None,
            broker_chain,
            journal: journal.map(JournalFiles::new),
            loads: BTreeMap::new(),
            alarms: VecDeque::new(),
            view_made_at: None,
            view_is_old: true,
            reports: 0,
            forwarded_before: 0,
            buried_left: BURIED_PER_SECOND,
            drain_by: Timestamp::default(),
            gateway_drain: None,
        }
    }

    /// Passes load reports on to the broker of this node.
    pub fn report_to(&mut self, sink: Arc<dyn LoadSink>) {
        self.load = Some(sink);
    }

    pub(super) fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    pub(super) fn view(&self) -> Arc<ArcSwap<MeshView>> {
        Arc::clone(&self.view)
    }

    pub(super) fn departure(&self) -> watch::Receiver<Departure> {
        self.departure.subscribe()
    }

    /// Makes the gateway part of the mesh and drives the core until `stop`.
    pub async fn run(mut self, links: Arc<dyn Links>, stop: CancellationToken) {
        self.gateway.enter(Ways {
            node: self.node.number(),
            snapshot: Arc::clone(&self.snapshot),
            links: Arc::clone(&links),
            elsewhere: Arc::clone(&self.elsewhere),
        });
        if let Some(chain) = self.broker_chain.take() {
            self.step(&*links, Input::BrokerChain(Wired(chain)));
        }
        if let Some(list) = self.revocations.current() {
            self.step(&*links, list.input());
        }
        self.step(&*links, Input::Tick);
        let gateway = Arc::clone(&self.gateway);
        let mut seconds = tokio::time::interval(SECOND);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let deadline = self.node.poll_timeout();
            let tick = deadline.map(|at| tokio::time::sleep_until(self.clock.instant(at).into()));
            let publish = self.view_due().map(|at| tokio::time::sleep_until(self.clock.instant(at).into()));
            tokio::select! {
                () = stop.cancelled() => break,
                input = self.queue.recv() => {
                    let Some(input) = input else { break };
                    self.step(&*links, input);
                    self.step_queued(&*links);
                }
                () = gateway.changed() => self.take_changes(&*links),
                () = maybe(tick) => self.step(&*links, Input::Tick),
                _ = seconds.tick() => self.each_second(&*links),
                () = maybe(publish) => self.publish_view(),
            }
            // A flood of inputs leaves other tasks of the thread their turn.
            tokio::task::consume_budget().await;
        }
        if let Some(draining) = self.gateway_drain.take() {
            draining.abort();
        }
    }

    fn step_queued(&mut self, links: &dyn Links) {
        for _ in 1..INPUTS_AT_ONCE {
            let Ok(input) = self.queue.try_recv() else { return };
            self.step(links, input);
        }
    }

    /// One input and all that follows from it: signatures are made and checked at once, as that takes microseconds.
    fn step(&mut self, links: &dyn Links, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.clock.now();
            if let Some(journal) = &mut self.journal
                && let Err(error) = journal.record(&self.node, now, &input)
            {
                tracing::warn!(%error, "the journal cannot be written and ends here; the node goes on");
                self.journal = None;
            }
            if let Input::Drain { within } = &input {
                self.drain_within(*within);
            }
            self.view_is_old |= !matches!(input, Input::Tick | Input::Load(_));
            self.node.handle(now, input);
            while let Some(output) = self.node.poll_output() {
                if let Some(journal) = &mut self.journal {
                    journal.put_out(&output);
                }
                self.view_is_old = true;
                inputs.extend(self.perform(links, output));
            }
        }
    }

    /// Carries out one output; what comes back at once is the next input.
    fn perform(&mut self, links: &dyn Links, output: Output) -> Option<Input> {
        let now = self.clock.now();
        match output {
            Output::Dial { peer, addresses } => links.dial(peer, addresses),
            Output::Close { peer, reason } => links.close(peer, reason),
            Output::Send { to, bytes } => links.send(to, bytes.into()),
            Output::Sign { request, message } => {
                let signature = Wired(self.key.sign(&message).to_bytes());
                return Some(Input::Signed { request, signature });
            }
            Output::Verify { request, item } => {
                let verdict = self.checks.verdict(&item, now.wall);
                return Some(Input::Verdict { request, verdict });
            }
            Output::Routes { .. } => self.publish_routes(),
            Output::Session { session, view } => self.gateway.set_remote(session, &view),
            Output::PathHint { session, node } => self.gateway.path_hint(session, node),
            Output::Ready { session, number, attach_seq, complete } => {
                if !complete {
                    tracing::debug!("an attachment is ready although not every node has acknowledged it");
                }
                self.gateway.ready(session, number, attach_seq);
            }
            Output::Tombstone(tombstone) => self.gateway.tombstone(&tombstone.0.body),
            Output::BrokerChain(chain) => {
                if let Some(broker) = self.checks.broker(&chain.0, now.wall) {
                    self.brokers.learn(broker, now.wall);
                }
            }
            Output::Revocations(list) => self.put_into_force(&list.0),
            Output::Load { from, report } => {
                self.loads.insert(from, (now.mono, report));
                if let Some(sink) = &self.load {
                    sink.load(from, report);
                }
            }
            Output::Drain(state) => self.drain_moves_on(state),
            Output::MayStop => self.depart(|departure| departure.unneeded = true),
            Output::Alarm(alarm) => {
                tracing::warn!(kind = alarm_kind(&alarm), "alarm in the mesh: see `relayctl mesh status`");
                if let Alarm::Revoked { by, .. } = &alarm {
                    let by = by.map(NodeNumber::value);
                    tracing::warn!(by, "drains for good: this node's certificate is revoked");
                    self.health.set(State::Revoked);
                    // A drain under way had more time.
                    self.drain_within(Duration::ZERO);
                }
                if let Alarm::Clock { peer, .. } = alarm {
                    self.clock_alarm_over(peer);
                }
                if self.alarms.len() >= ALARMS_MAX {
                    // Clocks are spoken of again and again; what is said once stays as long as it can.
                    let is_clock = |(_, alarm): &(u64, Alarm)| matches!(alarm, Alarm::Clock { .. });
                    self.alarms.remove(self.alarms.iter().position(is_clock).unwrap_or(0));
                }
                self.alarms.push_back((now.wall.0, alarm));
            }
            Output::ClockSettled { peer } => self.clock_alarm_over(peer),
        }
        None
    }

    fn clock_alarm_over(&mut self, node: NodeNumber) {
        self.alarms.retain(|(_, alarm)| !matches!(alarm, Alarm::Clock { peer, .. } if *peer == node));
    }

    /// What the gateway has to tell: attachments, and ends by this node's own broker.
    fn take_changes(&mut self, links: &dyn Links) {
        loop {
            let changes = self.gateway.take_changes();
            if changes.is_empty() {
                break;
            }
            for change in changes {
                let input = match change {
                    Change::Attached { session, entry, ready } => Input::Attached { session, entry, ready },
                    Change::Detached { session, number, attach_seq } => {
                        Input::Detached { session, number, attach_seq }
                    }
                };
                self.step(links, input);
            }
        }
        let buried = self.gateway.take_buried(self.buried_left);
        self.buried_left -= buried.len();
        for tombstone in buried {
            self.step(links, Input::Tombstone(Wired(tombstone)));
        }
    }

    fn each_second(&mut self, links: &dyn Links) {
        let now = self.clock.now().mono;
        self.reports += 1;
        let (report, forwarded) = self.gateway.load(self.reports, self.forwarded_before);
        self.forwarded_before = forwarded;
        self.step(links, Input::Load(report));
        self.gateway.handle_timeout(now);
        self.buried_left = BURIED_PER_SECOND;
        self.take_changes(links);
    }

    fn publish_routes(&mut self) {
        let snapshot = self.node.snapshot();
        // A cost is a round trip.
        let farthest = snapshot.routes().iter().map(|route| u64::from(route.cost)).max().unwrap_or(0);
        let round_trip_ms = farthest.div_ceil(COST_PER_MS);
        self.gateway.set_move_grace(Duration::from_millis(2 * round_trip_ms));
        self.snapshot.store(snapshot);
        self.update_elsewhere();
    }

    fn update_elsewhere(&mut self) {
        let now = self.clock.now().mono;
        let roster = self.node.roster();
        self.loads.retain(|node, _| roster.contains(node));
        let within_reach = self.node.lsas().filter(|lsa| roster.contains(&lsa.body.node));
        self.elsewhere.update(now, within_reach, &self.node.snapshot(), &self.loads);
    }

    /// A newer list of what is revoked counts from now on, and after a restart \[LSA-10\].
    fn put_into_force(&mut self, list: &proto_spec::mesh::Revocations) {
        if let Err(error) = self.revocations.offer(&list.list) {
            // It has just been checked, unless the mesh CA was changed meanwhile, or the disk is full.
            tracing::error!(%error, number = list.number, "a newer revocation list does not come into force");
        }
        self.brokers.revoke(&self.revocations.revoked());
    }

    /// The nearer deadline counts, as it does for the core.
    fn drain_within(&mut self, within: Duration) {
        let by = self.clock.now().mono + within;
        let draining = self.node.drain_state() != DrainState::Serving;
        if !draining {
            self.drain_by = by;
        } else if by < self.drain_by {
            self.drain_by = by;
            self.drain_gateway();
        }
    }

    fn drain_moves_on(&mut self, state: DrainState) {
        tracing::info!(state = drain_name(state), "the node's service changes");
        self.depart(|departure| departure.state = state);
        match state {
            DrainState::Draining => {
                self.health.set(State::Draining);
                self.drain_gateway();
            }
            DrainState::Serving => {
                if let Some(draining) = self.gateway_drain.take() {
                    draining.abort();
                }
                self.gateway.undrain();
                self.health.undrain();
                self.depart(|departure| departure.empty = false);
            }
            DrainState::Drained => {
                // A mesh of one has nobody whose packets it could still forward.
                let alone = self.node.links().next().is_none();
                self.depart(|departure| departure.unneeded |= alone);
            }
        }
    }

    fn drain_gateway(&mut self) {
        if let Some(draining) = self.gateway_drain.take() {
            draining.abort();
        }
        self.update_elsewhere();
        let left = self.drain_by.since(self.clock.now().mono);
        let (gateway, departure) = (Arc::clone(&self.gateway), self.departure.clone());
        let draining = tokio::spawn(async move {
            gateway.drain(left).await;
            departure.send_modify(|departure| departure.empty = true);
        });
        self.gateway_drain = Some(draining.abort_handle());
    }

    fn depart(&self, change: impl FnOnce(&mut Departure)) {
        self.departure.send_modify(change);
    }

    fn view_due(&self) -> Option<Timestamp> {
        self.view_is_old.then(|| self.view_made_at.map_or(Timestamp::default(), |at| at + VIEW_INTERVAL))
    }

    fn publish_view(&mut self) {
        self.view_made_at = Some(self.clock.now().mono);
        self.view_is_old = false;
        self.update_elsewhere();
        let node = &self.node;
        self.view.store(Arc::new(MeshView {
            number: node.number(),
            lsas: node.lsas().cloned().collect(),
            roster: node.roster().iter().copied().collect(),
            links: node.links().collect(),
            drain: node.drain_state(),
            counters: *node.counters(),
            alarms: self.alarms.iter().cloned().collect(),
            revocations: self.revocations.number(),
        }));
    }
}

/// Waits for a timer that may not be set.
async fn maybe(timer: Option<tokio::time::Sleep>) {
    match timer {
        Some(timer) => timer.await,
        None => std::future::pending().await,
    }
}

const fn drain_name(state: DrainState) -> &'static str {
    match state {
        DrainState::Serving => "serving",
        DrainState::Draining => "draining",
        DrainState::Drained => "drained",
    }
}

const fn alarm_kind(alarm: &Alarm) -> &'static str {
    match alarm {
        Alarm::NumberInUse { .. } => "number_in_use",
        Alarm::Cloned { .. } => "cloned",
        Alarm::Revoked { .. } => "revoked",
        Alarm::Clock { .. } => "clock",
        Alarm::TooManyNodes => "too_many_nodes",
        Alarm::Misbehaved { .. } => "misbehaved",
    }
}
