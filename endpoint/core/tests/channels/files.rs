//! Whole transfers: several receivers, resumption, changed files, full disks, members that go, many at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use proto_spec::app::{Control, FileAnswer, FileMessage, FileOffer, FileReason};
use proto_spec::channel::CONTROL_STREAM;
use proto_spec::{SenderNumber, StreamId, Wire};
use sealcast_endpoint_core::event::{Direction, Event, TransferId};
use sealcast_endpoint_core::files::limits::{OFFER_TIMEOUT, RECEIVING_MAX, SENDING_MAX};
use sealcast_endpoint_core::files::{FileEffect, FileOutput, FileResult, Files, numbered_name};
use sha2::{Digest as _, Sha256};

use crate::net::{GOOD, Net, Way, number};

const SECOND: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(2);

/// How an endpoint's user answers offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum User {
    Accepts,
    Declines,
    Sleeps,
}

/// A machine: its user, its disk, its transfers.
struct Machine {
    files: Files,
    user: User,
    /// Files that can be sent.
    sources: BTreeMap<PathBuf, Vec<u8>>,
    open_sources: BTreeMap<TransferId, (PathBuf, [u8; 32])>,
    /// Kept over restarts.
    partials: BTreeMap<[u8; 32], Vec<u8>>,
    open_targets: BTreeMap<TransferId, (String, [u8; 32])>,
    finished: BTreeMap<String, Vec<u8>>,
    disk_free: usize,
    events: Vec<Event>,
    asked: usize,
    withdrawn: usize,
    unwritten_peak: usize,
    unread_peak: usize,
    /// Effects that wait while the disk is slow.
    waiting: Vec<FileEffect>,
    slow_disk: bool,
}

impl Machine {
    fn new(me: SenderNumber) -> Machine {
        Machine {
            files: Files::new(me),
            user: User::Accepts,
            sources: BTreeMap::new(),
            open_sources: BTreeMap::new(),
            partials: BTreeMap::new(),
            open_targets: BTreeMap::new(),
            finished: BTreeMap::new(),
            disk_free: usize::MAX,
            events: Vec::new(),
            asked: 0,
            withdrawn: 0,
            unwritten_peak: 0,
            unread_peak: 0,
            waiting: Vec::new(),
            slow_disk: false,
        }
    }

    /// Carries an effect out, as the shell does.
    fn carry_out(&mut self, effect: FileEffect) -> Option<(TransferId, FileResult)> {
        let fail = |reason| FileResult::Failed { reason, detail: "as arranged".into() };
        match effect {
            FileEffect::Inspect { transfer, path } => Some((
                transfer,
                match self.sources.get(&path) {
                    None => fail(FileReason::ReadFailed),
                    Some(content) => {
                        self.open_sources.insert(transfer, (path, hash(content)));
                        FileResult::Inspected { size_bytes: content.len() as u64, blake3: hash(content) }
                    }
                },
            )),
            FileEffect::Read { transfer, offset, length } => {
                let (path, inspected) = &self.open_sources[&transfer];
                let content = &self.sources[path];
                let end = offset as usize + length;
                if end > content.len() || end == content.len() && hash(content) != *inspected {
                    return Some((transfer, fail(FileReason::Changed)));
                }
                self.unread_peak = self.unread_peak.max(length);
                let bytes = Bytes::copy_from_slice(&content[offset as usize..end]);
                Some((transfer, FileResult::Read { bytes }))
            }
            FileEffect::CloseSource { transfer } => {
                self.open_sources.remove(&transfer);
                None
            }
            FileEffect::OpenTarget { transfer, name, size_bytes, blake3 } => {
                let partial = self.partials.entry(blake3).or_default();
                if size_bytes as usize - partial.len() > self.disk_free && self.disk_free == 0 {
                    return Some((transfer, fail(FileReason::DiskFull)));
                }
                let offset = partial.len() as u64;
                self.open_targets.insert(transfer, (name, blake3));
                Some((transfer, FileResult::TargetOpened { offset }))
            }
            FileEffect::Write { transfer, offset, bytes } => {
                // After a failure nothing more is done for a transfer.
                let (_, blake3) = self.open_targets.get(&transfer)?;
                let partial = self.partials.get_mut(blake3).unwrap();
                assert_eq!(partial.len() as u64, offset, "writes only ever append");
                if bytes.len() > self.disk_free {
                    self.open_targets.remove(&transfer);
                    return Some((transfer, fail(FileReason::DiskFull)));
                }
                self.disk_free -= bytes.len();
                partial.extend_from_slice(&bytes);
                Some((transfer, FileResult::Written))
            }
            FileEffect::Finish { transfer } => {
                let (name, blake3) = self.open_targets.remove(&transfer).unwrap();
                let content = self.partials.remove(&blake3).unwrap();
                if hash(&content) != blake3 {
                    return Some((transfer, fail(FileReason::Mismatch)));
                }
                let names =
                    std::iter::once(name.clone()).chain((1..).map(|count| numbered_name(&name, count)));
                let name = names.into_iter().find(|name| !self.finished.contains_key(name)).unwrap();
                self.finished.insert(name.clone(), content);
                Some((transfer, FileResult::Finished { path: Path::new("/downloads").join(name) }))
            }
            FileEffect::CloseTarget { transfer } => {
                self.open_targets.remove(&transfer);
                None
            }
        }
    }

    fn failures(&self) -> Vec<&str> {
        let failures = self.events.iter().filter_map(|event| match event {
            Event::FileFailed { reason, .. } => Some(reason.as_str()),
            _ => None,
        });
        failures.collect()
    }

    fn refusals(&self) -> Vec<(SenderNumber, &str)> {
        let refusals = self.events.iter().filter_map(|event| match event {
            Event::FileRefused { by, reason, .. } => Some((*by, reason.as_str())),
            _ => None,
        });
        refusals.collect()
    }

    fn done(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::FileDone { .. })).count()
    }
}

fn hash(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

fn content(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|index| (index / 7) as u8 ^ (index >> 13) as u8 ^ seed).collect()
}

struct World {
    net: Net,
    machines: BTreeMap<SenderNumber, Machine>,
}

impl World {
    fn new(seed: u64, count: u16) -> World {
        let mut net = Net::new(seed, count);
        let machines = (1..=count).map(|member| (number(member), Machine::new(number(member)))).collect();
        for member in 1..=count {
            let endpoint = net.endpoint(member);
            (endpoint.keep_inbox, endpoint.files_start_themselves) = (true, true);
            endpoint.takes_after = None;
        }
        World { net, machines }
    }

    fn machine(&mut self, member: u16) -> &mut Machine {
        self.machines.get_mut(&number(member)).unwrap()
    }

    fn send(&mut self, from: u16, name: &str, content: Vec<u8>, to: &[u16]) -> Option<TransferId> {
        let path = Path::new("/sources").join(name);
        let others: Vec<_> =
            self.net.members.iter().copied().filter(|other| *other != number(from)).collect();
        let to: Vec<_> = to.iter().copied().map(number).collect();
        let machine = self.machines.get_mut(&number(from)).unwrap();
        machine.sources.insert(path.clone(), content);
        let channels = &mut self.net.endpoint(from).channels;
        let transfer = machine.files.send(channels, path, &to, &others);
        self.turn(number(from));
        transfer
    }

    fn message(&mut self, to: u16, from: u16, message: FileMessage) {
        let (now, machine) = (self.net.now, self.machines.get_mut(&number(to)).unwrap());
        let channels = &mut self.net.endpoints.get_mut(&number(to)).unwrap().channels;
        machine.files.handle_message(now, channels, number(from), message);
        self.turn(number(to));
    }

    /// One endpoint after one input.
    fn turn(&mut self, member: SenderNumber) {
        let now = self.net.now;
        let (Some(machine), Some(endpoint)) =
            (self.machines.get_mut(&member), self.net.endpoints.get_mut(&member))
        else {
            return;
        };
        for (from, stream, payload) in std::mem::take(&mut endpoint.inbox) {
            if stream == CONTROL_STREAM {
                let Control::File(message) = Control::from_bytes(&payload).unwrap() else {
                    panic!("not a file")
                };
                machine.files.handle_message(now, &mut endpoint.channels, from, message);
            } else {
                machine.files.handle_data(now, &mut endpoint.channels, from, stream, payload);
            }
        }
        for (from, stream) in std::mem::take(&mut endpoint.lost_streams) {
            machine.files.handle_lost(&mut endpoint.channels, from, stream);
        }
        for (stream, who) in std::mem::take(&mut endpoint.fell_behind) {
            machine.files.handle_fell_behind(&mut endpoint.channels, stream, who);
        }
        if machine.files.poll_timeout().is_some_and(|at| at <= now) {
            machine.files.handle_timeout(now, &mut endpoint.channels);
        }
        loop {
            machine.files.pump(now, &mut endpoint.channels);
            let Some(output) = machine.files.poll_output() else { break };
            match output {
                FileOutput::Effect(effect) if machine.slow_disk => machine.waiting.push(effect),
                FileOutput::Effect(effect) => {
                    if let Some((transfer, result)) = machine.carry_out(effect) {
                        machine.files.handle_result(now, &mut endpoint.channels, transfer, result);
                    }
                }
                FileOutput::Event(event) => machine.events.push(event),
                FileOutput::Ask { transfer, .. } => {
                    machine.asked += 1;
                    if machine.user != User::Sleeps {
                        let allow = machine.user == User::Accepts;
                        machine.files.answer(&mut endpoint.channels, transfer, allow, FileReason::Declined);
                    }
                }
                FileOutput::Withdrawn { .. } => machine.withdrawn += 1,
            }
        }
        let unwritten: usize = machine
            .waiting
            .iter()
            .map(|effect| if let FileEffect::Write { bytes, .. } = effect { bytes.len() } else { 0 })
            .sum();
        machine.unwritten_peak = machine.unwritten_peak.max(unwritten);
        self.net.turn(member);
    }

    fn disk_awakes(&mut self, member: u16) {
        let now = self.net.now;
        let machine = self.machines.get_mut(&number(member)).unwrap();
        let channels = &mut self.net.endpoints.get_mut(&number(member)).unwrap().channels;
        machine.slow_disk = false;
        for effect in std::mem::take(&mut machine.waiting) {
            if let Some((transfer, result)) = machine.carry_out(effect) {
                machine.files.handle_result(now, channels, transfer, result);
            }
        }
        self.turn(number(member));
    }

    fn cancel(&mut self, member: u16, transfer: TransferId) {
        let machine = self.machines.get_mut(&number(member)).unwrap();
        let channels = &mut self.net.endpoints.get_mut(&number(member)).unwrap().channels;
        machine.files.cancel(channels, transfer);
        self.turn(number(member));
    }

    fn leave(&mut self, member: u16) {
        self.net.leave(number(member));
        self.machines.remove(&number(member));
        self.net.rekey(true);
        self.run(SECOND / 2);
        let now = self.net.now;
        for other in self.net.members.clone() {
            let channels = &mut self.net.endpoints.get_mut(&other).unwrap().channels;
            let files = &mut self.machines.get_mut(&other).unwrap().files;
            files.member_left(now, channels, number(member));
            self.turn(other);
        }
    }

    fn run(&mut self, duration: Duration) {
        let end = self.net.now + duration;
        while self.net.now < end {
            self.step();
        }
    }

    fn step(&mut self) {
        self.net.run(STEP);
        for member in self.net.members.clone() {
            self.turn(member);
        }
    }

    /// Until no transfer is left, or so long.
    fn finish(&mut self, limit: Duration) {
        let end = self.net.now + limit;
        while !self.machines.values().all(|machine| machine.files.is_idle()) {
            assert!(self.net.now < end, "not over: {:?}", self.net.missing());
            self.step();
        }
    }
}

/// \[APP-4\] \[APP-5\] \[APP-6\]
#[test]
fn a_file_reaches_everybody() {
    let mut world = World::new(1, 3);
    let sent = content(3_000_001, 1);
    world.send(1, "report.pdf", sent.clone(), &[]);
    world.finish(60 * SECOND);
    for member in [2, 3] {
        let machine = world.machine(member);
        assert_eq!(machine.finished["report.pdf"], sent);
        assert_eq!((machine.done(), machine.asked), (1, 1));
        assert!(machine.partials.is_empty() && machine.open_targets.is_empty());
    }
    let sender = world.machine(1);
    assert_eq!(sender.done(), 1);
    assert!(sender.open_sources.is_empty());
    let progress = sender.events.iter().filter_map(|event| match event {
        Event::FileProgress { done_bytes, direction: Direction::Sending, .. } => Some(*done_bytes),
        _ => None,
    });
    let progress: Vec<_> = progress.collect();
    assert!(progress.is_sorted() && !progress.is_empty(), "{progress:?}");
}

/// \[APP-5\]: an empty file, one of one byte, and exact multiples of a piece.
#[test]
fn sizes_at_the_edges_arrive() {
    for length in [0, 1, 32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, 256 * 1024, 512 * 1024] {
        let mut world = World::new(2, 2);
        let sent = content(length, 3);
        world.send(1, "file.bin", sent.clone(), &[]);
        world.finish(30 * SECOND);
        assert_eq!(world.machine(2).finished["file.bin"], sent, "of {length} bytes");
        assert_eq!((world.machine(1).done(), world.machine(2).done()), (1, 1));
    }
}

/// \[APP-4\]: only those named are asked.
#[test]
fn a_file_for_one_is_for_one() {
    let mut world = World::new(3, 3);
    world.send(1, "a", content(100_000, 1), &[3]);
    world.finish(30 * SECOND);
    assert_eq!((world.machine(2).asked, world.machine(3).done()), (0, 1));
    world.send(1, "b", content(100_000, 1), &[9]);
    assert!(matches!(world.machine(1).events.last(), Some(Event::Refused { .. })));
}

/// \[APP-5\]: who declines or sleeps does not concern the others, and the transfer begins when all have answered.
#[test]
fn refusals_concern_nobody_else() {
    let mut world = World::new(4, 4);
    world.machine(2).user = User::Declines;
    world.machine(3).user = User::Sleeps;
    world.send(1, "a", content(100_000, 1), &[]);
    world.run(OFFER_TIMEOUT - SECOND);
    assert_eq!(world.machine(4).done(), 0);
    world.run(3 * SECOND);
    assert_eq!(world.machine(4).done(), 1);
    assert_eq!(world.machine(1).done(), 1);
    let refusals = world.machine(1).refusals();
    let expected =
        [(number(2), FileReason::Declined.sentence()), (number(3), FileReason::TimedOut.sentence())];
    assert_eq!(refusals, expected);
    assert_eq!(world.machine(3).withdrawn, 1);
    assert!(world.machines.values().all(|machine| machine.files.is_idle()));
}

/// \[APP-6\]: nobody wants it.
#[test]
fn a_file_that_nobody_wants_fails() {
    let mut world = World::new(5, 2);
    world.machine(2).user = User::Declines;
    world.send(1, "a", content(10, 1), &[]);
    world.finish(5 * SECOND);
    assert_eq!(world.machine(1).failures().len(), 1);
    assert!(world.machine(1).failures()[0].contains("declined"));
}

/// \[APP-5\]: a receiver that has a part gets the rest; the slowest start decides, and nobody writes twice.
#[test]
fn transfers_resume() {
    let mut world = World::new(6, 3);
    let sent = content(2_000_000, 9);
    world.machine(2).partials.insert(hash(&sent), sent[..1_234_567].to_vec());
    world.machine(3).partials.insert(hash(&sent), sent[..1_500_000].to_vec());
    let before = world.net.bytes_relayed;
    world.send(1, "a", sent.clone(), &[]);
    world.finish(30 * SECOND);
    assert_eq!(world.machine(2).finished["a"], sent);
    assert_eq!(world.machine(3).finished["a"], sent);
    let relayed = world.net.bytes_relayed - before;
    assert!(relayed < 2 * (2_000_000 - 1_234_567) + 200_000, "{relayed} bytes");

    let mut world = World::new(6, 2);
    world.machine(2).partials.insert(hash(&sent), sent.clone());
    world.send(1, "a", sent.clone(), &[]);
    world.finish(30 * SECOND);
    assert_eq!(world.machine(2).finished["a"], sent);
}

/// \[APP-5\]: what arrived before a restart of the receiver is not sent again.
#[test]
fn transfers_resume_after_a_restart() {
    let mut world = World::new(7, 2);
    world.net.endpoint(2).way = Way { rate: 500_000, ..GOOD };
    let sent = content(2_000_000, 9);
    world.send(1, "a", sent.clone(), &[]);
    world.run(2 * SECOND);
    let kept = world.machine(2).partials.clone();
    assert!(kept[&hash(&sent)].len() > 300_000);
    world.leave(2);
    assert_eq!(world.machine(1).failures().len(), 1);
    world.net.add(number(3));
    let endpoint = world.net.endpoint(3);
    (endpoint.keep_inbox, endpoint.files_start_themselves, endpoint.takes_after) = (true, true, None);
    let mut machine = Machine::new(number(3));
    machine.partials = kept.clone();
    world.machines.insert(number(3), machine);
    world.net.rekey(false);
    world.run(SECOND);
    let before = world.net.bytes_relayed;
    world.send(1, "a", sent.clone(), &[]);
    world.finish(30 * SECOND);
    assert_eq!(world.machine(3).finished["a"], sent);
    assert!(world.net.bytes_relayed - before < 2_000_000 - kept[&hash(&sent)].len() as u64 + 200_000);
}

/// \[CHN-7\] \[CHN-8\]: whole files over a bad network, both ways, while keys change.
#[test]
fn files_arrive_over_a_bad_network() {
    let mut world = World::new(20, 3);
    for member in 1..=3 {
        let jitter = Duration::from_millis(20);
        world.net.endpoint(member).way = Way { loss: 50, repeat: 30, jitter, ..GOOD };
    }
    let (one, two) = (content(1_500_000, 1), content(1_000_000, 2));
    world.send(1, "one", one.clone(), &[]);
    world.send(2, "two", two.clone(), &[]);
    for round in 0..8 {
        world.run(SECOND);
        world.net.rekey(round % 3 == 0);
    }
    world.finish(120 * SECOND);
    for (member, name, sent) in [(2, "one", &one), (3, "one", &one), (1, "two", &two), (3, "two", &two)] {
        assert_eq!(&world.machine(member).finished[name], sent);
    }
    assert_eq!(world.machine(1).failures().len() + world.machine(2).failures().len(), 0);
}

/// A file goes on where it was when the node comes back, without anybody asking.
#[test]
fn transfers_outlive_their_node() {
    let mut world = World::new(8, 3);
    for member in 1..=3 {
        world.net.endpoint(member).way = Way { rate: 2_000_000, ..GOOD };
    }
    let sent = content(6_000_000, 9);
    world.send(1, "a", sent.clone(), &[]);
    world.run(SECOND);
    for member in [1, 2, 3] {
        world.net.detach(number(member));
    }
    world.run(30 * SECOND);
    for member in [3, 2, 1] {
        world.net.attach(number(member));
        world.run(SECOND);
    }
    world.finish(30 * SECOND);
    for member in [2, 3] {
        assert_eq!(world.machine(member).finished["a"], sent);
        assert_eq!(world.machine(member).asked, 1);
    }
}

/// A file goes on over changes of keys and joiners, and the joiner gets none of it.
#[test]
fn transfers_outlive_epochs() {
    let mut world = World::new(9, 2);
    world.net.endpoint(2).way = Way { rate: 2_000_000, ..GOOD };
    let sent = content(6_000_000, 9);
    world.send(1, "a", sent.clone(), &[]);
    world.run(SECOND);
    world.net.add(number(3));
    world.machines.insert(number(3), Machine::new(number(3)));
    world.net.endpoint(3).keep_inbox = true;
    for departed in [false, true, false] {
        world.net.rekey(departed);
        world.run(SECOND / 2);
    }
    world.finish(30 * SECOND);
    assert_eq!(world.machine(2).finished["a"], sent);
    assert!(world.machine(3).events.is_empty());
}

/// \[APP-6\]: a file that changes on the way is not passed off as the one that was offered.
#[test]
fn a_file_that_changes_is_given_up() {
    for shorter in [false, true] {
        let mut world = World::new(10, 2);
        world.net.endpoint(2).way = Way { rate: 1_000_000, ..GOOD };
        world.send(1, "a", content(3_000_000, 1), &[]);
        world.run(SECOND);
        let source = world.machine(1).sources.values_mut().next().unwrap();
        if shorter {
            source.truncate(100)
        } else {
            source[2_900_000] ^= 1
        }
        world.finish(30 * SECOND);
        assert!(world.machine(1).failures()[0].contains("changed while"));
        assert!(world.machine(2).failures()[0].contains("changed while"));
        assert!(world.machine(2).finished.is_empty() && world.machine(2).open_targets.is_empty());
    }
}

/// \[APP-6\]: a full disk concerns its owner alone, and what arrived is kept.
#[test]
fn a_full_disk_concerns_its_owner_alone() {
    let mut world = World::new(11, 4);
    world.machine(2).disk_free = 1_000_000;
    world.machine(3).disk_free = 0;
    let sent = content(3_000_000, 1);
    world.send(1, "a", sent.clone(), &[]);
    world.finish(30 * SECOND);
    assert_eq!(world.machine(4).finished["a"], sent);
    let full = FileReason::DiskFull.sentence();
    assert_eq!(world.machine(1).refusals(), [(number(3), full), (number(2), full)]);
    assert_eq!(world.machine(1).done(), 1);
    assert!(world.machine(2).failures()[0].contains("disk is full"));
    let kept = world.machine(2).partials[&hash(&sent)].clone();
    assert!(kept.len() > 900_000 && sent.starts_with(&kept));
}

/// \[APP-6\]: either side gives up.
#[test]
fn either_side_can_cancel() {
    for by_sender in [false, true] {
        let mut world = World::new(12, 3);
        for member in 1..=3 {
            world.net.endpoint(member).way = Way { rate: 1_000_000, ..GOOD };
        }
        let sent = content(3_000_000, 1);
        let transfer = world.send(1, "a", sent.clone(), &[]).unwrap();
        world.run(SECOND);
        world.cancel(if by_sender { 1 } else { 2 }, transfer);
        world.finish(30 * SECOND);
        assert_eq!(world.machine(3).done(), usize::from(!by_sender));
        assert_eq!(world.machine(1).done(), usize::from(!by_sender));
        assert_eq!(world.machine(2).failures(), ["cancelled"]);
        // The stream is free again, and what is left on its way does no harm to its next use.
        world.send(1, "b", sent.clone(), &[]);
        world.finish(60 * SECOND);
        assert_eq!(world.machine(2).finished["b"], sent);
        assert_eq!(world.machine(3).finished["b"], sent);
    }
}

/// \[APP-6\]: a member that leaves in the middle concerns nobody else; a sender that leaves ends its transfers.
#[test]
fn members_leave_in_the_middle() {
    let mut world = World::new(13, 3);
    for member in 1..=3 {
        world.net.endpoint(member).way = Way { rate: 1_000_000, ..GOOD };
    }
    let sent = content(3_000_000, 1);
    world.send(1, "a", sent.clone(), &[]);
    world.run(SECOND);
    world.leave(3);
    world.finish(30 * SECOND);
    assert_eq!(world.machine(2).finished["a"], sent);
    assert_eq!(world.machine(1).refusals(), [(number(3), FileReason::Left.sentence())]);

    world.send(1, "b", content(3_000_000, 2), &[]);
    world.run(SECOND);
    world.leave(1);
    world.finish(5 * SECOND);
    assert_eq!(world.machine(2).failures(), [FileReason::Left.sentence()]);
    assert_eq!(world.machine(2).partials.len(), 1);
}

/// \[CHN-10\]: a dead-slow receiver is left behind, told, and can go on later.
#[test]
fn a_dead_slow_receiver_is_left_behind() {
    let mut world = World::new(14, 3);
    world.net.endpoint(3).way = Way { rate: 3_000, ..GOOD };
    let sent = content(3_000_000, 1);
    world.send(1, "a", sent.clone(), &[]);
    world.finish(120 * SECOND);
    assert_eq!(world.machine(2).finished["a"], sent);
    assert_eq!(world.machine(1).refusals(), [(number(3), FileReason::FellBehind.sentence())]);
    assert_eq!(world.machine(3).failures(), [FileReason::FellBehind.sentence()]);
}

/// \[CHN-6\]: a disk that stops makes the sender wait; no more piles up than a window.
#[test]
fn a_slow_disk_slows_the_sender() {
    let mut world = World::new(15, 2);
    let sent = content(8_000_000, 1);
    world.send(1, "a", sent.clone(), &[]);
    world.run(SECOND / 10);
    world.machine(2).slow_disk = true;
    world.run(60 * SECOND);
    let peak = world.machine(2).unwritten_peak;
    assert!((500_000..=1024 * 1024).contains(&peak), "{peak} bytes");
    assert!(world.machine(1).unread_peak <= 256 * 1024);
    world.disk_awakes(2);
    world.finish(30 * SECOND);
    assert_eq!(world.machine(2).finished["a"], sent);
}

/// Many at once, both ways, and no more than so many.
#[test]
fn many_at_once_are_bounded() {
    let mut world = World::new(16, 2);
    for count in 0..SENDING_MAX as u8 {
        world.send(1, &format!("from 1, {count}"), content(400_000, count), &[]);
        world.send(2, &format!("from 2, {count}"), content(300_000, count), &[]);
    }
    assert_eq!(world.send(1, "one more", content(10, 1), &[]), None);
    assert!(matches!(world.machine(1).events.last(), Some(Event::Refused { .. })));
    world.finish(60 * SECOND);
    for member in [1, 2] {
        assert_eq!(world.machine(member).finished.len(), SENDING_MAX);
        assert_eq!(world.machine(member).done(), 2 * SENDING_MAX);
    }
    for (name, arrived) in world.machine(2).finished.clone() {
        let count = name.strip_prefix("from 1, ").unwrap().parse().unwrap();
        assert_eq!(arrived, content(400_000, count));
    }
}

/// \[APP-4\]: nothing is overwritten, and no name leads out of the folder.
#[test]
fn names_are_safe_and_nothing_is_overwritten() {
    let mut world = World::new(17, 2);
    world.send(1, "a.txt", content(10, 1), &[]);
    world.finish(10 * SECOND);
    world.send(1, "a.txt", content(10, 2), &[]);
    world.finish(10 * SECOND);
    assert_eq!(world.machine(2).finished.keys().collect::<Vec<_>>(), ["a (1).txt", "a.txt"]);
    world.message(2, 1, offer(90, StreamId(40), "../../.ssh/authorized_keys"));
    let named = world.machine(2).open_targets.values().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(named, ["authorized_keys"]);
}

fn offer(serial: u32, stream: StreamId, name: &str) -> FileMessage {
    let name = name.to_owned();
    FileMessage::Offer(FileOffer { serial, stream, size: 10, blake3: [1; 32], receivers: vec![], name })
}

/// \[APP-5\] \[APP-6\]: messages that make no sense end their transfer, and nothing else.
#[test]
fn senseless_messages_end_their_transfer() {
    let mut world = World::new(18, 2);
    let me = number(2);
    // More offers than may be, and two on one stream.
    world.machine(2).user = User::Sleeps;
    for serial in 0..=RECEIVING_MAX as u32 + 3 {
        world.message(2, 1, offer(serial, StreamId(16 + serial), "x"));
    }
    assert_eq!(world.machine(2).asked, RECEIVING_MAX);
    world.message(2, 1, FileMessage::Cancel { serial: 0, member: None, reason: FileReason::Cancelled });
    world.message(2, 1, offer(50, StreamId(17), "x"));
    assert_eq!((world.machine(2).asked, world.machine(2).withdrawn), (RECEIVING_MAX, 1));
    // A start before the answer.
    let start = |serial, offset, receivers: Vec<SenderNumber>| FileMessage::Start {
        serial,
        offset,
        first_sequence: 0,
        receivers,
    };
    world.message(2, 1, start(1, 0, vec![me]));
    assert_eq!(world.machine(2).failures().len(), 2);
    // A start beyond what is here, and one for others.
    world.machine(2).user = User::Accepts;
    world.message(2, 1, offer(60, StreamId(60), "x"));
    world.message(2, 1, start(60, 5, vec![me]));
    assert_eq!(world.machine(2).failures().len(), 3);
    world.message(2, 1, offer(61, StreamId(60), "x"));
    world.message(2, 1, start(61, 0, vec![number(3)]));
    assert!(world.machine(2).failures()[3].contains("too late"));
    // More bytes than offered.
    world.message(2, 1, offer(62, StreamId(60), "x"));
    world.message(2, 1, start(62, 0, vec![me]));
    let now = world.net.now;
    let machine = world.machines.get_mut(&me).unwrap();
    let channels = &mut world.net.endpoints.get_mut(&me).unwrap().channels;
    machine.files.handle_data(now, channels, number(1), StreamId(60), Bytes::from(vec![0; 11]));
    world.turn(me);
    assert_eq!(world.machine(2).failures().len(), 5);
    // Answers to offers that nobody made, or of somebody who was not asked.
    let answer = FileAnswer::Accept { offset: 0 };
    world.message(1, 2, FileMessage::Answer { sender: number(1), serial: 77, answer });
    world.message(1, 2, FileMessage::Done { sender: number(1), serial: 77, failure: None });
    assert!(world.machine(1).events.is_empty());
}

/// \[APP-6\]: a confirmation before every byte was sent, or an offset beyond the file, is not believed.
#[test]
fn false_answers_are_not_believed() {
    let mut world = World::new(19, 2);
    world.machine(2).user = User::Sleeps;
    let transfer = world.send(1, "a", content(1_000_000, 1), &[]).unwrap();
    let (sender, serial) = (number(1), transfer.serial);
    world.message(1, 2, FileMessage::Done { sender, serial, failure: None });
    assert_eq!(world.machine(1).done(), 0);
    let answer = FileAnswer::Accept { offset: 1_000_001 };
    world.message(1, 2, FileMessage::Answer { sender, serial, answer });
    assert_eq!(world.machine(1).refusals(), [(number(2), FileReason::Protocol.sentence())]);
}
