//! Where everything is in the end, in one form for both worlds: what they decide can be held side by side.
//!
//! Plain data, read from a simulation here and from real programs by the lab. Says nothing of how it came about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proto_spec::membership::MemberKind;
use serde::{Deserialize, Serialize};

use crate::people::Person;
use crate::scenario::Scenario;
use crate::sim::World;

/// The end of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EndState {
    /// Where each endpoint is, by `session/endpoint`.
    pub placement: BTreeMap<String, Seat>,
    /// From each node to each other.
    pub routes: BTreeMap<u16, BTreeMap<u16, Hop>>,
    /// To which nodes each node with active members of a session sends its packets, by the session's name.
    pub egress: BTreeMap<String, BTreeMap<u16, BTreeSet<u16>>>,
}

/// An endpoint's nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Seat {
    /// Where it is active.
    pub active: Option<u16>,
    /// Where it stands by.
    pub standby: Option<u16>,
}

/// A route's first step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hop {
    /// The neighbour on the way.
    pub next: u16,
    /// The one that is taken when that is lost.
    pub backup: Option<u16>,
}

impl EndState {
    /// A simulation's. Only of sessions that stand in the scenario's file.
    pub fn of(world: &World, scenario: &Scenario) -> EndState {
        let mut state = EndState::default();
        let written = |person: &&Person| person.session < scenario.sessions.len();
        for person in world.people.persons.iter().filter(written) {
            state.placement.insert(person.name.clone(), Seat::default());
        }
        for (number, host) in &world.hosts {
            let Some(node) = &host.node else { continue };
            let here = number.value();
            let snapshot = node.snapshot();
            let hops = snapshot.routes().iter().map(|route| {
                let hop =
                    Hop { next: route.next_hop.value(), backup: route.backup.map(|backup| backup.value()) };
                (route.destination.value(), hop)
            });
            state.routes.insert(here, hops.collect());
            for ((session, member), entry) in &host.attached {
                let Some(who) = world.people.numbers.get(&(*session, *member)) else { continue };
                let Some(person) = Some(&world.people.persons[*who]).filter(written) else { continue };
                let seat = state.placement.entry(person.name.clone()).or_default();
                match entry.kind {
                    MemberKind::Active => seat.active = Some(here),
                    MemberKind::Standby => seat.standby = Some(here),
                    MemberKind::Lobby => {}
                }
                if entry.kind == MemberKind::Active {
                    let view = host.node.as_ref().and_then(|node| node.session(*session));
                    let egress = view.map(|view| view.egress.iter().map(|node| node.value()).collect());
                    let session = scenario.sessions[person.session].name.clone();
                    state.egress.entry(session).or_default().insert(here, egress.unwrap_or_default());
                }
            }
        }
        state
    }

    /// Writes it down as JSON.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let text = serde_json::to_string_pretty(self).expect("plain data of our own always serialises");
        std::fs::write(path, text + "\n")
    }
}
