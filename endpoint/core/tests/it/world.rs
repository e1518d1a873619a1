//! Several endpoints, some nodes, one gateway, one clock. Time moves only when nothing else does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto_spec::app::FileReason;
use proto_spec::ticket::Role;
use proto_spec::{Now, SenderNumber, Timestamp, WallTime};
use sealcast_endpoint_core::attach::AttachKey;
use sealcast_endpoint_core::command::Command;
use sealcast_endpoint_core::event::{Event, Member, PromptId, Question, State, TransferId};
use sealcast_endpoint_core::files::{FileEffect, FileResult};
use sealcast_endpoint_core::security::Security;
use sealcast_endpoint_core::session::{Accept, Config, Endpoint, Output, Way};
use sealcast_endpoint_core::{JoinCode, Suite};

use crate::relay::{Gateway, Id, Relay, SESSION, address};

pub(crate) const ACCEPT_ALL: Accept = Accept { join: true, member: true, files: true };
pub(crate) const ASK: Accept = Accept { join: false, member: false, files: false };

pub(crate) struct Peer<S> {
    pub(crate) endpoint: Endpoint<S>,
    pub(crate) events: Vec<Event>,
    pub(crate) disk: Disk,
    pub(crate) closed: bool,
}

/// Files of one endpoint: in memory, with partial files that survive it.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    pub(crate) partial: BTreeMap<[u8; 32], Vec<u8>>,
    pub(crate) room: Option<usize>,
    sources: BTreeMap<TransferId, (PathBuf, [u8; 32])>,
    targets: BTreeMap<TransferId, (String, [u8; 32])>,
}

/// A look-up's answer.
pub(crate) struct Found {
    number: SenderNumber,
    role: Role,
    ticket: String,
    key: AttachKey,
}

pub(crate) struct World<S> {
    pub(crate) now: Now,
    pub(crate) relay: Relay,
    pub(crate) gateway: Gateway,
    pub(crate) peers: BTreeMap<SenderNumber, Peer<S>>,
    /// Connections that endpoints believe in.
    open: BTreeSet<Id>,
    /// Requests to connect that wait for the test.
    pub(crate) holds_connects: bool,
    connecting: Vec<(Id, Vec<String>, Vec<String>)>,
    seed: u8,
}

impl<S: Security> World<S> {
    pub(crate) fn new() -> World<S> {
        World::with_nodes(1)
    }

    /// A mesh of so many nodes, all of which every endpoint knows.
    pub(crate) fn with_nodes(nodes: usize) -> World<S> {
        World {
            now: Now { mono: Timestamp(Duration::from_secs(5)), wall: WallTime(1_000) },
            relay: Relay::new(nodes),
            gateway: Gateway::default(),
            peers: BTreeMap::new(),
            open: BTreeSet::new(),
            holds_connects: false,
            connecting: Vec::new(),
            seed: 0,
        }
    }

    /// Opens the session; its creator's number.
    pub(crate) fn host(&mut self, name: &str, accept: Accept) -> SenderNumber {
        let key = self.key();
        let (number, ticket) = self.gateway.create(key.public());
        let config = self.config(number, Role::Provider, ticket, key, name, accept);
        self.add(number, Endpoint::host(self.now, config, Some(Role::Customer)));
        number
    }

    /// Joins by a code that somebody was shown; `None` if the gateway does not know it.
    pub(crate) fn join(&mut self, name: &str, code: &str, accept: Accept) -> Option<SenderNumber> {
        let found = self.look_up(code)?;
        Some(self.join_with(found, name, code, accept))
    }

    /// What the gateway says about a code's number, for now or later.
    pub(crate) fn look_up(&mut self, code: &str) -> Option<Found> {
        let code: JoinCode = code.parse().unwrap();
        let key = self.key();
        let (number, role, ticket) = self.gateway.lookup(code.number, key.public())?;
        Some(Found { number, role, ticket, key })
    }

    pub(crate) fn join_with(&mut self, found: Found, name: &str, code: &str, accept: Accept) -> SenderNumber {
        let Found { number, role, ticket, key } = found;
        let config = self.config(number, role, ticket, key, name, accept);
        self.add(number, Endpoint::join(self.now, config, code.parse().unwrap()));
        number
    }

    fn add(&mut self, number: SenderNumber, endpoint: Endpoint<S>) {
        self.peers.insert(number, Peer { endpoint, events: vec![], disk: Disk::default(), closed: false });
        self.run();
    }

    fn key(&mut self) -> AttachKey {
        self.seed += 1;
        AttachKey::from_seed(&[self.seed; 32])
    }

    fn config(
        &self,
        number: SenderNumber,
        role: Role,
        ticket: String,
        attach_key: AttachKey,
        name: &str,
        accept: Accept,
    ) -> Config {
        Config {
            session: SESSION,
            number,
            leader: crate::relay::number(1),
            role,
            ticket,
            attach_key,
            nodes: self.nodes(),
            standby: vec![],
            display_name: name.to_owned(),
            suite: Suite::Modern,
            accept,
            seed: [self.seed ^ 0x55; 32],
            reconnect_max: Config::RECONNECT_MAX,
        }
    }

    /// A mesh of one is known to the shell alone. Endpoints begin at different nodes.
    fn nodes(&self) -> Vec<Vec<String>> {
        let mut nodes: Vec<_> = (0..self.relay.nodes.len()).map(|node| vec![address(node)]).collect();
        let first = self.peers.len() % nodes.len();
        nodes.rotate_left(first);
        if nodes.len() > 1 { nodes } else { vec![] }
    }

    /// Host, customer, and as many further providers, all accepting everything.
    pub(crate) fn joined(providers: usize) -> (World<S>, Vec<SenderNumber>) {
        World::joined_over(1, providers)
    }

    /// As [`World::joined`] in a mesh of so many nodes.
    pub(crate) fn joined_over(nodes: usize, providers: usize) -> (World<S>, Vec<SenderNumber>) {
        let mut world = World::with_nodes(nodes);
        let host = world.host("Host", ACCEPT_ALL);
        let code = world.last_code(host);
        let mut numbers = vec![host, world.join("Customer", &code, ACCEPT_ALL).unwrap()];
        for index in 0..providers {
            world.command(host, Command::Invite { role: Role::Provider });
            let code = world.last_code(host);
            numbers.push(world.join(&format!("Provider {index}"), &code, ACCEPT_ALL).unwrap());
        }
        world.pass(Duration::from_secs(6));
        for number in &numbers {
            assert_eq!(world.peers[number].endpoint.state(), Some(State::Member), "{number}");
            assert_eq!(world.members(*number).len(), numbers.len());
        }
        (world, numbers)
    }

    pub(crate) fn command(&mut self, who: SenderNumber, command: Command) {
        self.command_only(who, command);
        self.run();
    }

    /// A command of which nothing has moved yet.
    pub(crate) fn command_only(&mut self, who: SenderNumber, command: Command) {
        let now = self.now;
        self.peers.get_mut(&who).unwrap().endpoint.handle_command(now, command);
    }

    /// A little of what moves at this moment.
    pub(crate) fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    /// Runs until nothing moves at this moment.
    pub(crate) fn run(&mut self) {
        for _ in 0..200_000 {
            if !self.step() {
                return;
            }
        }
        panic!("it never becomes quiet");
    }

    /// Lets time pass, stopping at every timer.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        for _ in 0..200_000 {
            self.run();
            let due = self.peers.values_mut().filter_map(|peer| peer.endpoint.poll_timeout()).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            // A timer that is due already must move on when it is handled.
            let next = due.max(self.now.mono + Duration::from_micros(100)).min(end);
            self.set_time(next);
            let now = self.now;
            for peer in self.peers.values_mut() {
                if peer.endpoint.poll_timeout().is_some_and(|due| due <= now.mono) {
                    peer.endpoint.handle_timeout(now);
                }
            }
            if next == end {
                break;
            }
        }
        self.set_time(end);
        self.run();
    }

    fn set_time(&mut self, mono: Timestamp) {
        self.now = Now { mono, wall: WallTime(1_000 + mono.0.as_millis() as u64) };
    }

    fn step(&mut self) -> bool {
        let mut moved = false;
        let now = self.now;
        let numbers: Vec<_> = self.peers.keys().copied().collect();
        for who in numbers {
            while let Some(output) = self.peers.get_mut(&who).unwrap().endpoint.poll_output() {
                moved = true;
                self.output(who, output);
            }
            for id in self.open_of(who) {
                let peer = self.peers.get_mut(&who).unwrap();
                let mut bytes = Vec::new();
                if peer.endpoint.poll_transmit(now, id.1, &mut bytes, 64 * 1024) {
                    moved = true;
                    self.relay.receive(id, &bytes, &self.gateway);
                }
            }
            self.relay.tombstones(&self.gateway);
            for id in self.open_of(who) {
                let peer = self.peers.get_mut(&who).unwrap();
                let Some(connection) = self.relay.connections.get_mut(&id) else {
                    // The node has closed it.
                    moved = true;
                    self.open.remove(&id);
                    peer.endpoint.attachment_lost(now, id.1);
                    continue;
                };
                let bytes = std::mem::take(&mut connection.out);
                let stopped = self.relay.nodes[connection.node].silent;
                if stopped {
                    connection.out = bytes;
                } else if !bytes.is_empty() && !peer.closed {
                    moved = true;
                    peer.endpoint.receive(now, id.1, BytesMut::from(bytes.as_slice()));
                }
            }
        }
        moved
    }

    fn open_of(&self, who: SenderNumber) -> Vec<Id> {
        self.open.iter().filter(|(of, _)| *of == who).copied().collect()
    }

    fn output(&mut self, who: SenderNumber, output: Output) {
        let now = self.now;
        let peer = self.peers.get_mut(&who).unwrap();
        match output {
            Output::Connect { way, preferred, avoid } if self.holds_connects => {
                self.connecting.push(((who, way), preferred, avoid));
            }
            Output::Connect { way, preferred, avoid } => self.connect((who, way), &preferred, &avoid),
            Output::Disconnect(way) => {
                self.open.remove(&(who, way));
                self.relay.disconnect((who, way));
            }
            Output::Call(call) => {
                let answer = self.gateway.call(who, call.request);
                peer.endpoint.handle_call(now, call.id, answer);
            }
            Output::File(effect) => {
                if let Some((transfer, result)) = peer.disk.perform(effect) {
                    peer.endpoint.handle_file(now, transfer, result);
                }
            }
            Output::Event(event) => peer.events.push(event),
            Output::Closed => {
                assert!(!peer.closed, "closed twice");
                peer.closed = true;
                for id in self.open_of(who) {
                    let mut bytes = Vec::new();
                    let endpoint = &mut self.peers.get_mut(&who).unwrap().endpoint;
                    while endpoint.poll_transmit(now, id.1, &mut bytes, 64 * 1024) {}
                    self.relay.receive(id, &bytes, &self.gateway);
                    self.open.remove(&id);
                    self.relay.disconnect(id);
                }
            }
        }
    }

    fn connect(&mut self, id: Id, preferred: &[String], avoid: &[String]) {
        let (who, way) = id;
        let endpoint = &mut self.peers.get_mut(&who).unwrap().endpoint;
        match self.relay.connect(id, preferred, avoid) {
            Some((node, exporter)) => {
                self.open.insert(id);
                endpoint.attachment_up(self.now, way, node, exporter, BytesMut::new());
            }
            None => endpoint.connect_failed(self.now, way, "nobody answers".to_owned()),
        }
    }

    /// Requests to connect go on.
    pub(crate) fn let_connects_go(&mut self) {
        self.holds_connects = false;
        self.let_connects_go_only();
        self.run();
    }

    /// Requests to connect go on, and nothing else happens yet.
    pub(crate) fn let_connects_go_only(&mut self) {
        for (id, preferred, avoid) in std::mem::take(&mut self.connecting) {
            self.connect(id, &preferred, &avoid);
        }
    }

    /// The connection of an endpoint's standby breaks.
    pub(crate) fn cut_standby(&mut self, who: SenderNumber) {
        let standby =
            self.relay.connections.iter().find(|((of, _), connection)| *of == who && connection.standby);
        if let Some(id) = standby.map(|(id, _)| *id) {
            self.break_off(id);
        }
    }

    /// The connections of an endpoint break.
    pub(crate) fn cut(&mut self, who: SenderNumber) {
        for id in self.open_of(who) {
            self.break_off(id);
        }
    }

    fn break_off(&mut self, id: Id) {
        self.open.remove(&id);
        self.relay.disconnect(id);
        let now = self.now;
        self.peers.get_mut(&id.0).unwrap().endpoint.attachment_lost(now, id.1);
    }

    /// All nodes die; nobody can connect until they are back.
    pub(crate) fn kill_node(&mut self) {
        self.relay.up = false;
        for id in self.open.iter().copied().collect::<Vec<_>>() {
            self.break_off(id);
        }
        self.run();
    }

    pub(crate) fn start_node(&mut self) {
        self.relay.up = true;
    }

    /// One node dies as a killed process does: its connections are reset.
    pub(crate) fn kill(&mut self, node: usize) {
        self.relay.nodes[node].dead = true;
        let there = self.relay.connections.iter().filter(|(_, connection)| connection.node == node);
        let ids: Vec<_> = there.map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.break_off(id));
    }

    /// One node stops as a suspended process does, or goes on.
    pub(crate) fn silence(&mut self, node: usize, silent: bool) {
        self.relay.nodes[node].silent = silent;
        for id in self.open.clone() {
            self.relay.go_on(id, &self.gateway);
        }
    }

    /// The node of an endpoint's active attachment; `None` without one.
    pub(crate) fn active_node(&self, who: SenderNumber) -> Option<usize> {
        self.node_of(who, false)
    }

    /// The node of an endpoint's standby.
    pub(crate) fn standby_node(&self, who: SenderNumber) -> Option<usize> {
        self.node_of(who, true)
    }

    fn node_of(&self, who: SenderNumber, standby: bool) -> Option<usize> {
        let own = self.relay.connections.iter().filter(|((of, _), connection)| {
            *of == who && connection.standby == standby && connection.seq.0 > 0
        });
        own.max_by_key(|(_, connection)| connection.seq).map(|(_, connection)| connection.node)
    }

    /// The way of the active attachment.
    pub(crate) fn active_way(&self, who: SenderNumber) -> Option<Way> {
        let own = self
            .relay
            .connections
            .iter()
            .filter(|((of, _), connection)| *of == who && !connection.standby && connection.seq.0 > 0);
        own.max_by_key(|(_, connection)| connection.seq).map(|((_, way), _)| *way)
    }

    // ---- what users see ----

    pub(crate) fn events(&self, who: SenderNumber) -> &[Event] {
        &self.peers[&who].events
    }

    pub(crate) fn state(&self, who: SenderNumber) -> Option<State> {
        self.peers[&who].endpoint.state()
    }

    pub(crate) fn last_code(&self, who: SenderNumber) -> String {
        self.events(who)
            .iter()
            .rev()
            .find_map(|event| match event {
                Event::Code { code, .. } => Some(code.clone()),
                _ => None,
            })
            .expect("a code was shown")
    }

    pub(crate) fn members(&self, who: SenderNumber) -> Vec<Member> {
        self.events(who)
            .iter()
            .rev()
            .find_map(|event| match event {
                Event::Members { members } => Some(members.clone()),
                _ => None,
            })
            .unwrap_or_default()
    }

    pub(crate) fn chat(&self, who: SenderNumber) -> Vec<String> {
        self.events(who)
            .iter()
            .filter_map(|event| match event {
                Event::Chat { from, name, text } => Some(format!("{from} {name}: {text}")),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn ended(&self, who: SenderNumber) -> Option<&str> {
        self.events(who).iter().find_map(|event| match event {
            Event::Ended { reason, .. } => Some(reason.as_str()),
            _ => None,
        })
    }

    pub(crate) fn refused(&self, who: SenderNumber) -> Vec<&str> {
        self.events(who)
            .iter()
            .filter_map(|event| match event {
                Event::Refused { reason } => Some(reason.as_str()),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn open_prompts(&self, who: SenderNumber) -> VecDeque<(PromptId, Question)> {
        let mut open = VecDeque::new();
        for event in self.events(who) {
            match event {
                Event::Prompt { prompt, question, .. } => open.push_back((*prompt, question.clone())),
                Event::PromptEnded { prompt, .. } => open.retain(|(of, _)| of != prompt),
                _ => {}
            }
        }
        open
    }

    pub(crate) fn answer(&mut self, who: SenderNumber, allow: bool) {
        let (prompt, _) = self.open_prompts(who).pop_front().expect("something is asked");
        self.command(who, Command::Answer { prompt, allow });
    }
}

impl Disk {
    fn perform(&mut self, effect: FileEffect) -> Option<(TransferId, FileResult)> {
        let failed = |reason| FileResult::Failed { reason, detail: String::new() };
        Some(match effect {
            FileEffect::Inspect { transfer, path } => match self.files.get(&path) {
                Some(content) => {
                    let blake3 = *blake3::hash(content).as_bytes();
                    self.sources.insert(transfer, (path, blake3));
                    (transfer, FileResult::Inspected { size_bytes: content.len() as u64, blake3 })
                }
                None => (transfer, failed(FileReason::ReadFailed)),
            },
            FileEffect::Read { transfer, offset, length } => {
                let (path, blake3) = &self.sources[&transfer];
                let content = &self.files[path];
                let end = offset as usize + length;
                if content.len() < end || end == content.len() && blake3::hash(content) != *blake3 {
                    return Some((transfer, failed(FileReason::Changed)));
                }
                let bytes = Bytes::copy_from_slice(&content[offset as usize..end]);
                (transfer, FileResult::Read { bytes })
            }
            FileEffect::CloseSource { transfer } => {
                self.sources.remove(&transfer);
                return None;
            }
            FileEffect::OpenTarget { transfer, name, size_bytes, blake3 } => {
                let partial = self.partial.entry(blake3).or_default();
                if self.room.is_some_and(|room| size_bytes as usize - partial.len() > room) {
                    return Some((transfer, failed(FileReason::DiskFull)));
                }
                self.targets.insert(transfer, (name, blake3));
                (transfer, FileResult::TargetOpened { offset: partial.len() as u64 })
            }
            FileEffect::Write { transfer, offset, bytes } => {
                let (_, blake3) = &self.targets[&transfer];
                let partial = self.partial.get_mut(blake3).unwrap();
                assert_eq!(partial.len() as u64, offset);
                partial.extend_from_slice(&bytes);
                (transfer, FileResult::Written)
            }
            FileEffect::Finish { transfer } => {
                let (name, blake3) = self.targets.remove(&transfer).unwrap();
                let content = self.partial.remove(&blake3).unwrap();
                if blake3::hash(&content) != blake3 {
                    return Some((transfer, failed(FileReason::Mismatch)));
                }
                let path = PathBuf::from("/downloads").join(name);
                self.files.insert(path.clone(), content);
                (transfer, FileResult::Finished { path })
            }
            FileEffect::CloseTarget { transfer } => {
                self.targets.remove(&transfer);
                return None;
            }
        })
    }
}
