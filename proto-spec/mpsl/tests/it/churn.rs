//! Groups under joins, leaves, removals, loss, duplication and reordering: whatever happens, a few things always hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proto_spec::frame::Destination;
use proto_spec::packet::{PacketKind, RecordHeader};
use proto_spec::{EpochId, Reader, SenderNumber, Wire};
use rand_core::Rng;
use sealcast_mpsl::Suite;
use sealcast_mpsl::group::ABSENCE;

use super::world::{FILES, LEADER, Packet, World, number};

/// One step of a life in a group. Indices are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Join,
    Leave(usize),
    Remove(usize),
    Say(usize),
    Carry(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Join),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => any::<usize>().prop_map(Step::Remove),
        8 => any::<usize>().prop_map(Step::Say),
        4 => any::<usize>().prop_map(Step::Carry),
        6 => (0u64..8_000).prop_map(Step::Pass),
    ]
}

/// Faults of the wire in percent.
#[derive(Clone, Copy, Debug)]
struct Faults {
    lose: u32,
    double: u32,
    delay: u32,
}

struct Churn {
    world: World,
    faults: Faults,
    next_number: u16,
    /// Who was in which epoch, by the leader.
    rosters: BTreeMap<u64, BTreeSet<u16>>,
    /// What each sender may still repair.
    sealed: Vec<(u16, Vec<u8>)>,
    checked: usize,
    nonces: BTreeSet<(u16, [u8; RecordHeader::LENGTH])>,
    tapped: usize,
}

impl Churn {
    fn new(suite: Suite, seed: u64, faults: Faults) -> Self {
        let world = World::new(suite, seed);
        let mut churn = Churn {
            world,
            faults,
            next_number: LEADER,
            rosters: BTreeMap::new(),
            sealed: Vec::new(),
            checked: 0,
            nonces: BTreeSet::new(),
            tapped: 0,
        };
        churn.note_roster();
        churn
    }

    fn members(&mut self) -> Vec<u16> {
        let roster = self.world.at(LEADER).session.roster().unwrap();
        roster.members.iter().map(|member| member.number.value()).collect()
    }

    fn step(&mut self, step: &Step) {
        let members = self.members();
        let pick = |index: usize| members[index % members.len()];
        match *step {
            // The lobby is small in this world, and so is the test's patience.
            Step::Join if members.len() < 6 => {
                self.pump_wire(None);
                self.world.wire.clear();
                self.next_number += 1;
                self.world.prove(self.next_number);
                self.world.admit(self.next_number);
                self.note_roster();
            }
            Step::Leave(index) if pick(index) != LEADER => {
                let value = pick(index);
                self.world.at(value).session.leave();
                self.world.drain(value);
            }
            Step::Remove(index) if pick(index) != LEADER => {
                self.world.remove(pick(index));
                self.note_roster();
            }
            Step::Say(index) => {
                if let Ok(packet) = self.world.say(pick(index), b"words") {
                    self.sealed.push((pick(index), packet));
                }
            }
            Step::Carry(index) if !self.sealed.is_empty() => {
                let (value, old) = self.sealed[index % self.sealed.len()].clone();
                if let Ok(packet) = self.world.carry(value, &old) {
                    self.world.send(value, &Destination::All, FILES.class, &packet);
                }
            }
            Step::Pass(millis) => self.pass(Duration::from_millis(millis)),
            _ => {}
        }
        self.pump_wire(Some(self.faults));
        self.check();
    }

    /// Time passes in small steps, so that heartbeats and repetitions meet the faults, too.
    fn pass(&mut self, duration: Duration) {
        let until = self.world.now.mono + duration;
        while self.world.now.mono < until {
            let next = self.world.ends.values().filter_map(|end| end.session.poll_timeout()).min();
            let at = next.map_or(until, |at| at.min(until)).max(self.world.now.mono);
            self.world.now.mono = at;
            let now = self.world.now;
            let values: Vec<u16> = self.world.ends.keys().copied().collect();
            for value in values {
                let session = &mut self.world.at(value).session;
                if session.poll_timeout().is_some_and(|due| due <= now.mono) {
                    session.handle_timeout(now);
                    self.world.drain(value);
                }
            }
            self.note_roster();
            self.pump_wire(Some(self.faults));
        }
    }

    /// Delivers what is on the wire; with faults, some of it is lost, doubled, or left for later.
    fn pump_wire(&mut self, faults: Option<Faults>) {
        for _ in 0..self.world.wire.len() * 8 + 64 {
            let Some(packet) = self.world.wire.pop_front() else { break };
            let Some(faults) = faults else {
                self.deliver(packet);
                continue;
            };
            let mut chance = |percent: u32| self.world.rng.next_u32() % 100 < percent;
            if chance(faults.lose) {
                continue;
            }
            if chance(faults.double) {
                self.world.wire.push_back(packet.clone());
            }
            if chance(faults.delay) {
                self.world.wire.push_back(packet);
            } else {
                self.deliver(packet);
            }
        }
    }

    fn deliver(&mut self, packet: Packet) {
        self.world.deliver(packet);
        self.note_roster();
    }

    fn note_roster(&mut self) {
        let epoch = self.world.at(LEADER).session.epoch().unwrap();
        if !self.rosters.contains_key(&epoch.to_u64()) {
            let members = self.members().into_iter().collect();
            self.rosters.insert(epoch.to_u64(), members);
        }
    }

    /// What holds at any moment.
    fn check(&mut self) {
        // No nonce twice: each header (sender, epoch, stream, counter) is sealed once, whoever it is sent to.
        let mut seen = BTreeMap::new();
        for packet in &self.world.tap[self.tapped..] {
            if packet.is(PacketKind::Record) {
                let header: [u8; RecordHeader::LENGTH] = packet.bytes[1..25].try_into().unwrap();
                let first = seen.entry((packet.from, header)).or_insert_with(|| packet.bytes.clone());
                assert_eq!(*first, packet.bytes, "two records under one nonce");
            }
        }
        for nonce in seen.into_keys() {
            assert!(self.nonces.insert(nonce), "a nonce used again later");
        }
        self.tapped = self.world.tap.len();

        let mut opened = 0;
        for (value, end) in &self.world.ends {
            let mut heard = BTreeSet::new();
            for record in &end.heard {
                // Nobody opens what was sealed under an epoch that it is not in, removed members included: every record
                // of the session is delivered to everybody here.
                assert!(self.rosters[&record.epoch.to_u64()].contains(value), "{value} opened {record:?}");
                assert!(self.rosters[&record.epoch.to_u64()].contains(&record.from));
                // Nobody opens a record twice, however it comes.
                assert!(
                    heard.insert((record.from, record.stream, record.counter)),
                    "{value} twice: {record:?}"
                );
                assert_eq!(record.text, b"words");
            }
            opened += end.heard.len();
        }
        self.checked = opened;
    }

    /// Once the wire is good again, everybody converges.
    fn converge(&mut self) {
        self.world.settle();
        // Whose word that it leaves was lost is absent now.
        self.world.advance(ABSENCE + Duration::from_secs(40));
        self.next_number += 1;
        self.world.join(self.next_number);
        self.world.advance(Duration::from_secs(10));
        self.note_roster();
        self.check();
        let epoch = self.world.at(LEADER).session.epoch();
        let members = self.members();
        for value in &members {
            assert_eq!(self.world.at(*value).session.epoch(), epoch, "{value} has not converged");
            assert_eq!(self.world.at(*value).session.bases_waiting().count(), 0);
        }
        for value in &members {
            let before: Vec<_> = members.iter().map(|other| self.world.at(*other).heard.len()).collect();
            self.world.say(*value, b"words").unwrap();
            self.world.settle();
            for (other, before) in members.iter().zip(before) {
                let new = self.world.at(*other).heard.len() - before;
                assert_eq!(new, usize::from(other != value), "{other} hears {value}");
            }
        }
        self.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 64, ..ProptestConfig::default() })]

    /// \[REC-5\] \[REC-10\] \[REC-11\] \[GRP-5\] \[GRP-7\] \[GRP-8\] No nonce twice, no record twice, nothing of an
    /// epoch that one is not in, and everybody converges.
    #[test]
    fn groups_hold_under_churn(
        seed in any::<u64>(),
        classic in any::<bool>(),
        faults in (0u32..40, 0u32..30, 0u32..40).prop_map(|(lose, double, delay)| Faults { lose, double, delay }),
        steps in prop::collection::vec(step(), 10..60),
    ) {
        let suite = if classic { Suite::Classic } else { Suite::Modern };
        let mut churn = Churn::new(suite, seed, faults);
        for step in [Step::Join, Step::Join].iter().chain(&steps) {
            churn.step(step);
        }
        churn.converge();
        prop_assert!(churn.checked > 0, "a test in which nobody hears anything shows nothing");
    }
}

#[test]
fn a_header_names_its_nonce() {
    // What `check` relies on: sender, epoch, stream and counter are all in the header that it compares.
    let header = RecordHeader {
        suite: 1,
        class: FILES.class,
        kind: proto_spec::packet::RecordKind::Plain,
        sender: number(2),
        epoch: EpochId { term: 0, leader: SenderNumber::new(1).unwrap(), count: 1 },
        stream: FILES.stream,
        counter: 9,
    };
    assert_eq!(RecordHeader::decode(&mut Reader::new(&header.to_array())), Ok(header));
}
