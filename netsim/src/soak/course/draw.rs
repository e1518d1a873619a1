//! Draws a course from a seed. Which node a fault meets depends on which of them run then, so the draft keeps count of
//! that; it knows nothing else of the mesh.

use std::collections::{BTreeMap, BTreeSet};

use proto_spec::membership::MemberKind;
use proto_spec::{NodeNumber, SenderNumber};

use super::{COURSE_VERSION, Course, Start, Step};
use crate::sim::Random;

/// Sessions of a mesh are numbered below this.
const SESSIONS: u64 = 4;
/// Attachments before the first fault, and again after the last.
const MEMBERS: usize = 8;
/// One seed in so many is a large mesh.
const LARGE_ONE_IN: u64 = 60;
/// How endpoints attach; most are active.
const KINDS: [MemberKind; 5] =
    [MemberKind::Active, MemberKind::Active, MemberKind::Active, MemberKind::Standby, MemberKind::Lobby];

impl Course {
    /// A mesh of 2 to 9 nodes, sometimes of up to 17 with few links, rarely of up to 200; sometimes with pairs that may not
    /// be linked. Faults, then what is attached once they are over.
    pub fn draw(seed: u64) -> Course {
        let mut random = Random::stream(seed, "plan", 0);
        let large = random.one_in(LARGE_ONE_IN);
        let middle = !large && random.one_in(5);
        let count = match (large, middle) {
            (true, _) => random.range(40, 201),
            (_, true) => random.range(10, 18),
            _ => random.range(2, 10),
        } as u16;
        let way_us = *random.pick(&[(200, 2_000), (500, 40_000), (20_000, 120_000)]);
        let links_max = match (large, middle) {
            (true, _) => random.range(8, 17),
            (_, true) => random.range(4, 9),
            _ => 16,
        } as usize;
        let ring = !large && !middle && count > 3 && random.one_in(4);
        let links_allowed = ring.then(|| ring_with_chords(&mut random, count));
        let mut draft = Draft {
            random: Random::stream(seed, "driver", 0),
            numbers: (1..=count).filter_map(NodeNumber::new).collect(),
            live: BTreeSet::new(),
            paused: BTreeSet::new(),
            attached: BTreeMap::new(),
            attach_seq: 0,
            steps: Vec::new(),
        };
        let nodes = draft.starts(large);
        draft.attach_some();
        let rounds = if large { draft.random.range(3, 8) } else { draft.random.range(5, 20) };
        for _ in 0..rounds {
            draft.round();
        }
        let steps = std::mem::take(&mut draft.steps);
        draft.paused.clear();
        draft.live = draft.numbers.iter().copied().collect();
        draft.attach_some();
        // Surplus links of a large mesh go one a minute, and newcomers' links settle.
        let (form_s, calm_s) = if large { (60, 60) } else { (10, 0) };
        Course {
            version: COURSE_VERSION,
            seed,
            way_us,
            links_max,
            form_s,
            calm_s,
            links_allowed,
            nodes,
            steps,
            healed: draft.steps,
        }
    }
}

/// A ring with some chords: always in one piece.
fn ring_with_chords(random: &mut Random, count: u16) -> Vec<(u16, u16)> {
    let mut pairs: Vec<(u16, u16)> = (1..count).map(|number| (number, number + 1)).collect();
    pairs.push((1, count));
    for _ in 0..random.range(0, 4) {
        let chord = (random.range(1, count.into()) as u16, random.range(1, count.into()) as u16);
        if chord.0 != chord.1 {
            pairs.push(chord);
        }
    }
    pairs
}

/// A course under way: what would run by now.
struct Draft {
    random: Random,
    numbers: Vec<NodeNumber>,
    live: BTreeSet<NodeNumber>,
    paused: BTreeSet<NodeNumber>,
    attached: BTreeMap<NodeNumber, BTreeSet<(u8, SenderNumber)>>,
    attach_seq: u64,
    steps: Vec<Step>,
}

impl Draft {
    fn starts(&mut self, large: bool) -> Vec<Start> {
        let (first, last) = (self.numbers.first().copied(), self.numbers.last().copied());
        let mut starts = Vec::new();
        for number in self.numbers.clone() {
            let wait_ms = self.random.range(0, if large { 100 } else { 500 });
            let broker = Some(number) == first || Some(number) == last;
            starts.push(Start { number, broker, wait_ms });
            self.live.insert(number);
        }
        starts
    }

    /// A fault, packets for a while, and sometimes a death that concerns nobody else.
    fn round(&mut self) {
        self.fault();
        let wait_ms = self.random.range(10, 8_000);
        for _ in 0..4 {
            (0..3).for_each(|_| self.send());
            self.steps.push(Step::Wait { ms: wait_ms / 4 });
        }
        if self.random.one_in(6) && self.live.len() >= 3 {
            let at = self.any_live();
            self.dies(at);
            self.steps.push(Step::DieAlone { at });
        }
    }

    fn attach_some(&mut self) {
        for _ in 0..MEMBERS {
            let at = self.any_live();
            self.attach(at);
        }
    }

    fn any(&mut self) -> NodeNumber {
        *self.random.pick(&self.numbers)
    }

    /// One that runs and does not stand still, if there is one.
    fn any_live(&mut self) -> NodeNumber {
        let awake: Vec<NodeNumber> = self.live.difference(&self.paused).copied().collect();
        if awake.is_empty() { self.any() } else { *self.random.pick(&awake) }
    }

    fn is_awake(&self, at: NodeNumber) -> bool {
        self.live.contains(&at) && !self.paused.contains(&at)
    }

    fn any_session(&mut self) -> u8 {
        self.random.range(1, SESSIONS) as u8
    }

    fn dies(&mut self, at: NodeNumber) {
        self.live.remove(&at);
        self.paused.remove(&at);
        self.attached.remove(&at);
    }

    fn fault(&mut self) {
        let at = self.any_live();
        match self.random.range(0, 24) {
            0..7 => self.attach(at),
            7..9 => {
                let attached: Vec<(u8, SenderNumber)> =
                    self.attached.get(&at).into_iter().flatten().copied().collect();
                if !attached.is_empty() {
                    let (session, number) = *self.random.pick(&attached);
                    self.attached.entry(at).or_default().remove(&(session, number));
                    self.steps.push(Step::Detach { at, session, number });
                }
            }
            9..11 => {
                if self.live.len() > 1 {
                    self.dies(at);
                    self.steps.push(Step::Kill { at });
                }
            }
            11..13 => {
                let at = self.any();
                if !self.live.contains(&at) {
                    let forgetful = self.random.one_in(4);
                    self.live.insert(at);
                    self.steps.push(Step::Start { at, forgetful });
                }
            }
            13 => {
                let side = self.numbers.iter().copied().filter(|_| self.random.one_in(2)).collect();
                self.steps.push(Step::Partition { side });
            }
            14 => self.steps.push(Step::Heal),
            15 => {
                let (a, b) = (self.any(), self.any());
                if a != b {
                    let reset = self.random.one_in(2);
                    self.steps.push(if reset { Step::Reset { a, b } } else { Step::Cut { a, b } });
                }
            }
            16 => {
                let (from, to) = (self.any(), self.any());
                self.steps.push(Step::Silence { from, to });
            }
            17 => {
                if self.live.contains(&at) {
                    self.paused.insert(at);
                    self.steps.push(Step::Pause { at });
                }
            }
            18 => {
                self.paused.clear();
                self.steps.push(Step::Resume);
            }
            19 => {
                let (a, b) = (self.any(), self.any());
                let percent = self.random.range(1, 60);
                self.steps.push(Step::Loss { a, b, percent });
            }
            20 => {
                let (a, b) = (self.any(), self.any());
                let by_ms = self.random.range(1, 400);
                self.steps.push(Step::Delay { a, b, by_ms });
            }
            21 => {
                // Within what clocks may differ.
                let offset_ms = self.random.range(0, 240_000) as i64 - 120_000;
                self.steps.push(Step::Clock { at, offset_ms });
            }
            _ => {
                let within_s = self.random.range(1, 20);
                let undrains = self.random.one_in(2);
                let undrain_after_ms = undrains.then(|| self.random.range(0, 3_000));
                self.steps.push(Step::Drain { at, within_s, undrain_after_ms });
            }
        }
    }

    fn attach(&mut self, at: NodeNumber) {
        let kind = *self.random.pick(&KINDS);
        self.attach_seq += 1;
        let session = self.any_session();
        let number = SenderNumber::new(self.random.range(1, 9) as u16);
        let ready = self.random.one_in(3);
        if let Some(number) = number.filter(|_| self.is_awake(at)) {
            self.attached.entry(at).or_default().insert((session, number));
            self.steps.push(Step::Attach { at, session, number, kind, attach_seq: self.attach_seq, ready });
        }
    }

    fn send(&mut self) {
        let (from, session) = (self.any_live(), self.any_session());
        if self.is_awake(from) {
            self.steps.push(Step::Send { from, session });
        }
    }
}
