//! Who sits before an endpoint: what they are told, and what they do by the scenario's word.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use proto_spec::SenderNumber;
use sealcast_endpoint_core::command::Command;
use sealcast_endpoint_core::event::{CodeEnd, Direction, Event as Told, State};

use super::{Outcome, Part, USER_TAKES};
use crate::check::Property;
use crate::check::delivery::{Fault, PersonId};
use crate::people::PeopleEvent;
use crate::scenario::{LoadKind, Scenario};
use crate::sim::{Bug, Event, World, number_of};

impl World {
    // ---- what users see ----

    pub(super) fn person_told(&mut self, who: PersonId, told: Told) {
        if self.told && !matches!(told, Told::FileProgress { .. } | Told::Chat { .. }) {
            let name = self.people.persons[who].name.clone();
            self.tell(|| format!("{name}: {told:?}"));
        }
        match told {
            Told::State { state } => {
                let person = &mut self.people.persons[who];
                let first = state == State::Member && !person.joined;
                // One that has lost its attachment and looks for another is a member all the same.
                person.member = state == State::Member || person.joined && state == State::Reconnecting;
                person.joined |= first;
                if first && person.part == Part::Outsider {
                    self.outsider_joined(who);
                } else if first {
                    self.invite_next(who);
                }
            }
            Told::Left { number, .. } => self.left_told(who, number),
            Told::WrongCode { .. } if self.people.persons[who].drill => {
                self.checkers.lockout.wrong_word();
            }
            Told::CodeEnded { reason: CodeEnd::Guessed, .. } if self.people.persons[who].drill => {
                self.checkers.lockout.spent();
            }
            Told::Members { members } => self.people.persons[who].roster = members.len(),
            Told::Code { code, .. } => {
                let session = self.people.persons[who].session;
                let takes = self.people.joins_apart.map_or(USER_TAKES, |apart| apart.max(USER_TAKES));
                self.schedule(takes, Event::People(PeopleEvent::Typed { session, code }));
            }
            Told::Chat { from, text, .. } => self.line_shown(who, from, &text),
            Told::Reattached { node, .. } => {
                if let Some(node) = node.as_deref().and_then(number_of) {
                    self.settle_at(who, node);
                }
            }
            Told::Refused { .. } => self.people.persons[who].refused += 1,
            Told::Notice { text } => self.lost_told(who, &text),
            Told::FileDone { direction: Direction::Receiving, .. } => self.people.files_done += 1,
            Told::FileDone { direction: Direction::Sending, .. } => self.file_over(who),
            Told::FileFailed { direction, .. } => {
                self.people.files_failed += 1;
                if direction == Direction::Sending {
                    self.file_over(who);
                }
            }
            Told::Ended { reason, text } => {
                self.people.persons[who].member = false;
                if self.people.persons[who].part == Part::Outsider {
                    self.outsider_ended(who);
                } else if !self.invited_again(who) {
                    self.people.persons[who].over = Some(Outcome { reason, text });
                }
            }
            _ => {}
        }
    }

    /// The product's own word that something of a member is lost for this endpoint.
    fn lost_told(&mut self, who: PersonId, text: &str) {
        let name =
            text.strip_prefix("some of what ").and_then(|rest| rest.split(" said did not arrive").next());
        let sender = self.people.persons.iter().position(|person| Some(person.name.as_str()) == name);
        if let Some(sender) = sender {
            self.checkers.delivery.skipped(sender, who);
        }
    }

    /// A member is told that a number is out.
    fn left_told(&mut self, who: PersonId, number: SenderNumber) {
        let id = self.people.persons[who].id;
        if let Some(of) = self.people.numbers.get(&(id, number)) {
            self.checkers.removed.known(who, *of, self.now);
        }
    }

    pub(super) fn line_shown(&mut self, who: PersonId, from: SenderNumber, text: &str) {
        let id = self.people.persons[who].id;
        let Some(sender) = self.people.numbers.get(&(id, from)).copied() else { return };
        if sender == who {
            return;
        }
        let Some(line) = text.split(' ').nth(1).and_then(|line| line.parse().ok()) else { return };
        self.check_line(who, sender, line);
        if self.people.persons[who].drill {
            return;
        }
        if self.misbehaves(Bug::DropReliable, 20) {
            return;
        }
        if self.misbehaves(Bug::Reorder, 20) && self.people.persons[who].held.is_none() {
            self.people.persons[who].held = Some((sender, line));
            return;
        }
        self.line_arrived(who, sender, line);
        if self.misbehaves(Bug::DeliverTwice, 20) {
            self.line_arrived(who, sender, line);
        }
        if let Some((sender, line)) = self.people.persons[who].held.take() {
            self.line_arrived(who, sender, line);
        }
    }

    fn line_arrived(&mut self, who: PersonId, sender: PersonId, line: u64) {
        let now = self.now;
        self.trace.event(now.0.as_nanos() as u64, who as u64);
        self.trace.number(line);
        let Err(fault) = self.checkers.delivery.arrived(sender, who, line, now) else { return };
        let (to, from) = (&self.people.persons[who].name, &self.people.persons[sender].name);
        let (what, allowed) = match fault {
            Fault::Duplicate => {
                (format!("{to} got line {line} of {from} twice"), self.checkers.allow.duplicates)
            }
            Fault::Reordered => (
                format!("{to} got line {line} of {from} before an earlier one"),
                self.checkers.allow.reordered,
            ),
            Fault::Unknown => (format!("{to} got line {line}, which {from} never said"), 0),
        };
        if allowed == 0 {
            self.violated(Property::Delivery, what);
        }
    }

    // ---- what users do ----

    /// Begins what endpoints do: time 0 of the scenario.
    pub(crate) fn begin_loads(&mut self, scenario: &Scenario) {
        self.people.began_at = Some(self.now);
        let all: Vec<(usize, usize)> =
            self.people.persons.iter().map(|person| (person.session, person.place)).collect();
        let who: BTreeMap<(usize, usize), PersonId> =
            all.iter().enumerate().map(|(who, key)| (*key, who)).collect();
        for (from, (session, _)) in all.iter().enumerate() {
            for (to, (other, _)) in all.iter().enumerate() {
                if session == other && from != to && !self.people.persons[from].drill {
                    self.checkers.delivery.expect(from, to);
                }
            }
        }
        for (load, plan) in scenario.workload.iter().enumerate() {
            for key in scenario.meant(plan.session.as_deref(), plan.from.as_deref()) {
                let Some(who) = who.get(&key).copied() else { continue };
                let (event, period) = match plan.kind {
                    LoadKind::Chat { per_s, .. } => (PeopleEvent::Say { who, load }, 1_000_000 / per_s),
                    LoadKind::Packets { per_s, .. } => (PeopleEvent::Probe { who, load }, 1_000_000 / per_s),
                    LoadKind::File { .. } => (PeopleEvent::SendFile { who, load }, 100_000),
                };
                let offset = Duration::from_micros(self.people.random().range(0, period));
                self.schedule(plan.start + offset, Event::People(event));
            }
        }
        if let Some(drills) = &scenario.drills {
            self.begin_drills(drills, scenario.duration);
        }
    }

    /// Whether a load is over.
    fn load_over(&self, load: usize) -> bool {
        let began = self.people.began_at.unwrap_or_default();
        self.now >= began + self.people.loads[load].stop
    }

    pub(super) fn say_line(&mut self, who: PersonId, load: usize) {
        let LoadKind::Chat { per_s, bytes } = self.people.loads[load].kind else { return };
        if self.load_over(load) || self.people.persons[who].endpoint.is_none() {
            return;
        }
        let line = self.checkers.delivery.next_line(who);
        let mut text = format!("line {line} ");
        text.extend(std::iter::repeat_n('.', bytes.saturating_sub(text.len())));
        let refused = self.people.persons[who].refused;
        let now = self.now;
        // It counts before anybody can have got it.
        self.checkers.delivery.sent(who, now);
        self.with_endpoint(who, |endpoint, now| endpoint.handle_command(now, Command::Say { text }));
        if self.people.persons[who].refused > refused {
            self.checkers.delivery.take_back(who);
        }
        let period = Duration::from_micros(1_000_000 / per_s);
        self.schedule(period, Event::People(PeopleEvent::Say { who, load }));
    }

    pub(super) fn send_file(&mut self, who: PersonId, load: usize) {
        let LoadKind::File { bytes, count } = self.people.loads[load].kind else { return };
        if self.load_over(load) || self.people.persons[who].files_sent >= count {
            return;
        }
        let seed = self.plan.seed ^ (who as u64) << 32;
        let person = &mut self.people.persons[who];
        person.files_sent += 1;
        let path = PathBuf::from(format!("file-{who}-{load}-{}.bin", person.files_sent));
        person.disk.make(&path, bytes, seed ^ person.files_sent);
        let receivers = self.members_beside(who);
        self.people.files_expected += receivers;
        self.with_endpoint(who, |endpoint, now| {
            endpoint.handle_command(now, Command::Send { path, to: Vec::new() });
        });
    }

    fn members_beside(&self, who: PersonId) -> u64 {
        let session = self.people.persons[who].session;
        let others = self.people.persons.iter().enumerate();
        others.filter(|(other, person)| *other != who && person.session == session).count() as u64
    }

    /// A file of this endpoint is done or failed: the next one.
    pub(super) fn file_over(&mut self, who: PersonId) {
        for load in 0..self.people.loads.len() {
            if matches!(self.people.loads[load].kind, LoadKind::File { .. }) {
                let event = PeopleEvent::SendFile { who, load };
                if self.people.persons[who].files_sent > 0 {
                    self.schedule(Duration::from_millis(100), Event::People(event));
                }
            }
        }
    }

    pub(super) fn probe(&mut self, who: PersonId, load: usize) {
        let LoadKind::Packets { per_s, .. } = self.people.loads[load].kind else { return };
        if self.load_over(load) {
            return;
        }
        let (stay, id) = (self.people.persons[who].stay, self.people.persons[who].id);
        if let Some(stay) = stay.filter(|stay| self.is_awake(stay.node)) {
            let packet = self.send_packet(stay.node, id);
            if let Some(trace) = self.packets.get_mut(&packet) {
                trace.kept = false;
            }
        }
        let period = Duration::from_micros(1_000_000 / per_s);
        self.schedule(period, Event::People(PeopleEvent::Probe { who, load }));
    }
}
