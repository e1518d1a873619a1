//! One endpoint in one session: attachment, end-to-end layer, channels and files composed into one sans-IO machine.
//!
//! ```text
//!  shell: bytes, commands, answers of calls and files, time
//!     |                                                   ^
//!     v   inputs                        poll_output, poll_transmit, poll_timeout
//!  Endpoint --- link (active and standby, back-off)       |
//!     |---- security (handshake, epochs, records)  --------'
//!     |---- channels (order, repair)  --- files (transfers)
//!     '---- members, consent, codes, calls
//! ```
//! Driving order: one input, then [`Endpoint::poll_output`] until `None`, then [`Endpoint::poll_transmit`] for each
//! connection while it takes bytes, then [`Endpoint::poll_timeout`]. There are up to three connections at a time, told
//! apart by their [`Way`]. It owns who is asked what and what follows from it; it
//! never opens a socket or a file, reads a clock or draws the system's randomness: the same inputs, times and seed give the
//! same packets \[SES-15\].

mod calls;
mod codes;
mod commands;
mod consent;
mod ending;
mod inbound;
mod joining;
mod link;
mod members;
mod nodes;
mod transfers;
mod ways;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto_spec::frame::{DataHeader, Destination};
use proto_spec::ticket::{Role, TicketKind};
use proto_spec::{Now, SenderNumber, SessionId, Timestamp, TrafficClass};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sealcast_mpsl::handshake::{ProofBudget, clean_display_name};
use sealcast_mpsl::{JoinCode, Suite};

use crate::attach::{AttachClient, AttachKey, ticket_claims};
use crate::channel::Channels;
use crate::command::Command;
use crate::config::{OUT_QUEUE_BULK_BYTES, OUT_QUEUE_BYTES, RECONNECT_MAX, RENEW_MIN, TICKET_LIFE};
use crate::event::{Event, State, TransferId};
use crate::files::{FileEffect, FileResult, Files};
use crate::security::{Identity, Security};

pub use calls::{Call, CallFailure, CallId, CallReply, CallRequest};
pub use link::Way;
pub use nodes::Reached;

use calls::{Calls, Purpose};
use codes::Codes;
use consent::Consent;
use ending::{Ending, Phase};
use joining::Admissions;
use link::{Connect, Link, Place};
use members::Members;
use nodes::Nodes;

/// Prompts that are answered with yes without asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Accept {
    /// The leader: joiners who proved their code.
    pub join: bool,
    /// A customer: further members.
    pub member: bool,
    /// Files.
    pub files: bool,
}

/// What an endpoint begins with; most of it is the broker's word.
#[derive(Clone)]
pub struct Config {
    /// The session.
    pub session: SessionId,
    /// Own number.
    pub number: SenderNumber,
    /// The leader's number.
    pub leader: SenderNumber,
    /// Own role.
    pub role: Role,
    /// The ticket: a member's for a creator, a guest's for a joiner.
    pub ticket: String,
    /// The key that the ticket names.
    pub attach_key: AttachKey,
    /// The nodes to attach to, best first, each with its addresses as `host:port`; empty if the shell alone knows.
    pub nodes: Vec<Vec<String>>,
    /// The node for the standby, by its addresses; empty for none in particular.
    pub standby: Vec<String>,
    /// What it calls itself; cut at 64 bytes.
    pub display_name: String,
    /// The cipher suite of this program.
    pub suite: Suite,
    /// Prompts answered beforehand.
    pub accept: Accept,
    /// Seeds all randomness of this endpoint.
    pub seed: [u8; 32],
    /// How long it tries to come back.
    pub reconnect_max: Duration,
}

impl Config {
    /// How long an endpoint tries to come back, usually.
    pub const RECONNECT_MAX: Duration = RECONNECT_MAX;
}

/// What the shell is to do.
#[derive(Debug)]
pub enum Output {
    /// Connect to a node and greet it; answer with [`Endpoint::attachment_up`] or [`Endpoint::connect_failed`].
    Connect {
        /// Names the connection in everything about it.
        way: Way,
        /// Addresses to try first, as `host:port`.
        preferred: Vec<String>,
        /// Addresses not to try: those of nodes in use, or that refused.
        avoid: Vec<String>,
    },
    /// Close the connection, without an answer; it may be closed already.
    Disconnect(Way),
    /// Call the gateway; answer with [`Endpoint::handle_call`].
    Call(Call),
    /// Do something with a file; answer with [`Endpoint::handle_file`].
    File(FileEffect),
    /// Tell the user.
    Event(Event),
    /// It is over: write what [`Endpoint::poll_transmit`] still gives, then close everything.
    Closed,
}

/// One endpoint in one session.
pub struct Endpoint<S> {
    config: Config,
    rng: ChaCha20Rng,
    phase: Phase,
    state: Option<State>,
    link: Link,
    /// What the node made of the attachment that is up.
    attached_as: Option<TicketKind>,
    ticket: String,
    renew_at: Option<Timestamp>,
    /// A joiner's, until the end-to-end layer begins with it.
    code: Option<JoinCode>,
    proved: bool,
    silenced: bool,
    security: Option<S>,
    channels: Channels,
    files: Files,
    members: Members,
    members_changed: bool,
    consent: Consent,
    calls: Calls,
    codes: Codes,
    admissions: Admissions,
    unreachable: String,
    counters: Counters,
    outputs: VecDeque<Output>,
}

/// What an endpoint dropped, for diagnosis.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Records that did not open.
    pub unopened: u64,
    /// Packets of an unknown kind, or before there were keys.
    pub unexpected: u64,
    /// Messages that make no sense.
    pub malformed: u64,
}

impl<S: Security> Endpoint<S> {
    /// The creator's: leads the session. `first_code` asks for a code as soon as it is attached.
    pub fn host(now: Now, config: Config, first_code: Option<Role>) -> Endpoint<S> {
        let mut endpoint = Endpoint::new(now, config);
        let identity = endpoint.identity();
        endpoint.codes.first = first_code;
        endpoint.security = Some(S::create(now, identity));
        endpoint.begin(now);
        endpoint
    }

    /// A joiner's: proves the code to the leader.
    pub fn join(now: Now, config: Config, code: JoinCode) -> Endpoint<S> {
        let mut endpoint = Endpoint::new(now, config);
        endpoint.code = Some(code);
        endpoint.begin(now);
        endpoint
    }

    fn new(now: Now, mut config: Config) -> Endpoint<S> {
        config.display_name = clean_display_name(&config.display_name);
        let mut endpoint = Endpoint {
            rng: ChaCha20Rng::from_seed(config.seed),
            phase: Phase::Live,
            state: None,
            link: Link::new(now, known_nodes(&mut config), config.reconnect_max),
            attached_as: None,
            ticket: String::new(),
            renew_at: None,
            code: None,
            proved: false,
            silenced: false,
            security: None,
            channels: Channels::new(config.number, sealcast_mpsl::record::PADDED_PLAINTEXT_LENGTH_MAX),
            files: Files::new(config.number),
            members: Members::default(),
            members_changed: false,
            consent: Consent::default(),
            calls: Calls::default(),
            codes: Codes::default(),
            admissions: Admissions::default(),
            unreachable: String::new(),
            counters: Counters::default(),
            outputs: VecDeque::new(),
            config,
        };
        let ticket = std::mem::take(&mut endpoint.config.ticket);
        endpoint.take_ticket(now, ticket);
        endpoint
    }

    fn begin(&mut self, now: Now) {
        let Config { session, number, role, .. } = self.config;
        self.tell(Event::Session { session, number, role });
        self.enter(State::Connecting);
        self.settle(now);
    }

    // ---- getters ----

    /// How it stands; `None` before the first and after the last state.
    pub const fn state(&self) -> Option<State> {
        self.state
    }

    /// What was dropped.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether [`Endpoint::poll_output`] has more.
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Whether the last output was given.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    // ---- inputs ----

    /// A connection to a node stands and was greeted. `node` tells which, `exporter` is the connection's TLS exporter,
    /// `rest` what came behind the greeting.
    pub fn attachment_up(&mut self, now: Now, way: Way, node: Reached, exporter: [u8; 32], rest: BytesMut) {
        let place = if self.is_over() { None } else { self.link.place(way, &node) };
        let Some(place) = place else {
            self.outputs.push_back(Output::Disconnect(way));
            self.not_connected(now, way, None);
            return self.settle(now);
        };
        let leader = (!self.leads()).then_some(self.config.leader);
        let seq = self.link.next_seq();
        let key = self.config.attach_key.clone();
        let standby = place == Place::Standby;
        let client = AttachClient::new(now, exporter, seq, standby, leader, &self.ticket, &key);
        self.link.up(way, node, client, place);
        if place == Place::Active {
            self.attached_as = None;
        }
        self.receive(now, way, rest);
    }

    /// No node could be reached; `sentence` says why, for the user.
    pub fn connect_failed(&mut self, now: Now, way: Way, sentence: String) {
        self.not_connected(now, way, Some(sentence));
        self.settle(now);
    }

    /// The connection is gone.
    pub fn attachment_lost(&mut self, now: Now, way: Way) {
        self.disconnected(now, way);
        self.settle(now);
    }

    /// Bytes from a connection.
    pub fn receive(&mut self, now: Now, way: Way, bytes: BytesMut) {
        if let Some(line) = self.link.line(way) {
            line.client.receive(now, bytes);
        }
        self.settle(now);
        self.judge(now);
    }

    /// What the user asks for.
    pub fn handle_command(&mut self, now: Now, command: Command) {
        if matches!(self.phase, Phase::Live) {
            self.command(now, command);
        } else if matches!(command, Command::Leave | Command::End) {
            self.hurry(now);
        }
        self.settle(now);
    }

    /// The answer to an [`Output::Call`].
    pub fn handle_call(&mut self, now: Now, id: CallId, result: Result<CallReply, CallFailure>) {
        if let Some((purpose, result)) = self.calls.answered(now, id, result) {
            self.call_answered(now, purpose, result);
        }
        self.settle(now);
    }

    /// The answer to an [`Output::File`].
    pub fn handle_file(&mut self, now: Now, transfer: TransferId, result: FileResult) {
        self.file_result(now, transfer, result);
        self.settle(now);
    }

    /// Timers that are due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.link.lines().for_each(|line| line.client.handle_timeout(now));
        self.ways_timeout(now);
        if let Some(security) = &mut self.security {
            security.handle_timeout(now);
        }
        self.channels.handle_timeout(now.mono);
        self.files.handle_timeout(now.mono, &mut self.channels);
        while let Some(call) = self.calls.due(now, &self.ticket) {
            self.outputs.push_back(Output::Call(call));
        }
        while let Some((question, event)) = self.consent.expired(now) {
            self.tell(event);
            self.timed_out(now, question);
        }
        self.codes_timeout(now);
        self.admissions_timeout(now);
        self.renewal_timeout(now);
        self.ending_timeout(now);
        self.settle(now);
    }

    // ---- outputs ----

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Appends up to about `limit` bytes for a connection to `out`; whether there were any.
    pub fn poll_transmit(&mut self, now: Now, way: Way, out: &mut Vec<u8>, limit: usize) -> bool {
        self.fill(now);
        // What the channels gave away makes room for more of the files.
        while self.settle_files(now) {}
        self.fill(now);
        let sent = self.link.line(way).is_some_and(|line| line.client.poll_transmit(out, limit));
        if !matches!(self.phase, Phase::Live) {
            self.settle(now);
        }
        sent
    }

    /// When [`Endpoint::handle_timeout`] wants to be called; `None` once it is over.
    pub fn poll_timeout(&mut self) -> Option<Timestamp> {
        if self.is_over() {
            return None;
        }
        [
            self.link.poll_timeout(matches!(self.phase, Phase::Live)),
            self.suspicion_at(),
            self.security.as_ref().and_then(S::poll_timeout),
            self.channels.poll_timeout(),
            self.files.poll_timeout(),
            self.calls.poll_timeout(),
            self.consent.poll_timeout(),
            self.codes.poll_timeout(),
            self.admissions.poll_timeout(),
            self.renew_at,
            self.ending_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

impl<S: Security> Endpoint<S> {
    fn identity(&mut self) -> Identity {
        let mut seed = [0u8; 32];
        self.rng.fill_bytes(&mut seed);
        Identity {
            session: self.config.session,
            number: self.config.number,
            role: self.config.role,
            display_name: self.config.display_name.clone(),
            suite: self.config.suite,
            seed,
        }
    }

    /// A guest's end-to-end layer begins with its first attachment, and goes on at each further one.
    fn begin_handshake(&mut self, now: Now) {
        if let Some(code) = self.code.take() {
            let identity = self.identity();
            self.security = Some(S::join(now, identity, self.config.leader, &code, ProofBudget::new()));
        } else if let Some(security) = &mut self.security {
            security.reattached(now);
        }
    }

    /// Whether this endpoint leads: it is the creator.
    fn leads(&self) -> bool {
        self.config.leader == self.config.number
    }

    fn leader(&self) -> SenderNumber {
        self.security.as_ref().map_or(self.config.leader, S::leader)
    }

    /// Whether a roster names it \[SES-1\].
    fn is_member(&self) -> bool {
        self.members.contains(self.config.number)
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn notice(&mut self, text: impl Into<String>) {
        self.tell(Event::Notice { text: text.into() });
    }

    fn refuse(&mut self, reason: impl Into<String>) {
        self.tell(Event::Refused { reason: reason.into() });
    }

    fn enter(&mut self, state: State) {
        if self.state != Some(state) {
            self.state = Some(state);
            self.tell(Event::State { state });
        }
    }

    fn call(&mut self, purpose: Purpose) {
        if !self.try_call(purpose) {
            self.refuse("too much is being asked of the gateway: wait a moment and try again");
        }
    }

    /// `false` if too many calls are open.
    fn try_call(&mut self, purpose: Purpose) -> bool {
        let call = self.calls.begin(purpose, &self.ticket);
        let begun = call.is_some();
        self.outputs.extend(call.map(Output::Call));
        begun
    }

    /// Passes on everything that one part has for another, until all is quiet.
    fn settle(&mut self, now: Now) {
        self.pause_files();
        while self.settle_once(now) {}
        if self.link.is_hopeless(now) && matches!(self.phase, Phase::Live) {
            let text = format!("no relay could be reached: {}", self.unreachable);
            self.finish(Ending::new("unreachable", text));
        }
        if matches!(self.phase, Phase::Live)
            && let Some(Connect { way, preferred, avoid }) = self.link.connect_due(now, &mut self.rng)
        {
            self.outputs.push_back(Output::Connect { way, preferred, avoid });
        }
        if std::mem::take(&mut self.members_changed) && self.is_member() && !self.is_over() {
            let members = self.members.list(self.config.number, self.leader(), self.link.is_accepted());
            self.tell(Event::Members { members });
        }
        self.settle_ending(now);
    }

    fn settle_once(&mut self, now: Now) -> bool {
        if self.is_over() {
            return false;
        }
        // What a packet led to comes before the next packet: a goodbye is heard before its sender is out.
        if let Some(event) = self.channels.poll_event() {
            self.channel_event(now, event);
            return true;
        }
        if let Some(event) = self.security.as_mut().and_then(S::poll_event) {
            self.security_event(now, event);
            return true;
        }
        if self.settle_files(now) {
            return true;
        }
        match self.link.poll_event() {
            Some((way, event)) => {
                self.attach_event(now, way, event);
                true
            }
            None => false,
        }
    }

    /// Queues a packet for the attachment; without one it is dropped, whoever needs it repeats it.
    fn send(&mut self, class: TrafficClass, destination: Destination, packet: Bytes) {
        let header = DataHeader { class, sender: self.config.number, destination, replace: None };
        if let Some(client) = self.link.client() {
            client.send(header, packet);
        }
    }

    /// Asks the channels for as much as the attachment's queues take.
    fn fill(&mut self, now: Now) {
        TrafficClass::ALL.into_iter().for_each(|class| self.fill_class(now, class));
    }

    fn fill_class(&mut self, now: Now, class: TrafficClass) {
        if self.attached_as != Some(TicketKind::Member) {
            return;
        }
        let limit = match class {
            TrafficClass::Control | TrafficClass::Interactive => OUT_QUEUE_BYTES,
            TrafficClass::Screen | TrafficClass::Bulk => OUT_QUEUE_BULK_BYTES,
        };
        // An attachment that took over before its node accepted it would keep what it may not send yet.
        while self
            .link
            .attached()
            .is_some_and(|client| client.is_member() && client.queued_bytes(class) < limit)
        {
            let Some(security) = &mut self.security else { return };
            let Some(transmit) = self.channels.poll_transmit(now, class, security) else { return };
            self.send(transmit.class, transmit.destination, transmit.packet);
        }
    }

    /// Holds a ticket from now on; a member's is renewed at half of its life, by this machine's own clock \[SES-11\].
    fn take_ticket(&mut self, now: Now, ticket: String) {
        let claims = ticket_claims(&ticket);
        let life = claims.as_ref().map_or(TICKET_LIFE, |claims| {
            Duration::from_millis(claims.expires.0.saturating_sub(claims.issued.0))
        });
        let lobby = claims.is_some_and(|claims| claims.kind == TicketKind::Lobby);
        self.renew_at = (!lobby).then(|| now.mono + (life / 2).max(RENEW_MIN));
        self.ticket = ticket;
    }

    fn renewal_timeout(&mut self, now: Now) {
        if self.renew_at.is_some_and(|due| due <= now.mono) {
            let asked = self.calls.is_open(Purpose::Renew) || self.try_call(Purpose::Renew);
            self.renew_at = (!asked).then(|| now.mono + RENEW_MIN);
        }
    }

    /// Shows the newest ticket on every attachment that counts \[SES-16\].
    fn present_ticket(&mut self) {
        for line in self.link.lines().filter(|line| line.retires_at.is_none()) {
            line.client.present(&self.ticket, &self.config.attach_key);
        }
    }
}

/// The node for the standby comes second: whoever has no other choice may try it too.
fn known_nodes(config: &mut Config) -> Nodes {
    let mut nodes = std::mem::take(&mut config.nodes);
    let standby = std::mem::take(&mut config.standby);
    nodes.insert(nodes.len().min(1), standby);
    Nodes::new(nodes)
}

type ByNumber<T> = BTreeMap<SenderNumber, T>;

#[cfg(test)]
mod tests;
