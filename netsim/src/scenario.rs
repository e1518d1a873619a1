//! Scenarios: a mesh, its sessions, what they do, what goes wrong, and what must hold: one file for simulator and lab.
//!
//! Owns the meaning of the file; `file` is its text form, `read` refuses nonsense, `write` is the way back. It speaks of the system alone: never
//! of how a simulator or a lab brings something about. docs/SCENARIOS.md is its manual.

mod arrivals;
mod drill;
mod file;
mod read;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use proto_spec::NodeNumber;
use serde::{Deserialize, Serialize};

pub use arrivals::{ArrivalKind, Arrivals, Length, Reports};
pub use drill::{Drill, Drills, Intrusion, TimedDrill};

/// Nodes of one scenario: as many as a mesh is made for.
pub const NODES_MAX: usize = 1_000;
/// Endpoints of one scenario.
pub const ENDPOINTS_MAX: usize = 100_000;
/// Endpoints of one session: as many as a session may have.
pub const SESSION_ENDPOINTS_MAX: usize = 50;
/// The longest scenario: a day.
pub const DURATION_MAX: Duration = Duration::from_secs(86_400);
/// The largest file that a scenario sends.
pub const FILE_BYTES_MAX: u64 = 1 << 32;
/// The longest file of a scenario, in bytes.
pub const TEXT_BYTES_MAX: u64 = 1 << 20;

/// The mesh counts costs in tenths of a millisecond.
pub(crate) const COSTS_PER_MS: u64 = 10;

/// The scenarios that ship, by name.
pub const SHIPPED: &[(&str, &str)] = &[
    ("three-nodes", include_str!("../scenarios/three-nodes.toml")),
    ("kill-one-of-three", include_str!("../scenarios/kill-one-of-three.toml")),
    ("rolling-drain", include_str!("../scenarios/rolling-drain.toml")),
    ("partition-heals", include_str!("../scenarios/partition-heals.toml")),
    ("revoked-node", include_str!("../scenarios/revoked-node.toml")),
    ("revoked-unheard", include_str!("../scenarios/revoked-unheard.toml")),
    ("broker-down", include_str!("../scenarios/broker-down.toml")),
    ("slow-receiver", include_str!("../scenarios/slow-receiver.toml")),
    ("thin-line", include_str!("../scenarios/thin-line.toml")),
    ("region-outage", include_str!("../scenarios/region-outage.toml")),
    ("transit-dies", include_str!("../scenarios/transit-dies.toml")),
    ("stale-load", include_str!("../scenarios/stale-load.toml")),
    ("flash-crowd", include_str!("../scenarios/flash-crowd.toml")),
    ("diurnal-three-continents", include_str!("../scenarios/diurnal-three-continents.toml")),
    ("thousand-nodes", include_str!("../scenarios/thousand-nodes.toml")),
    ("lying-node", include_str!("../scenarios/lying-node.toml")),
    ("rolling-upgrade", include_str!("../scenarios/rolling-upgrade.toml")),
    ("gray-node", include_str!("../scenarios/gray-node.toml")),
    ("hundred-nodes", include_str!("../scenarios/hundred-nodes.toml")),
    ("twin", include_str!("../scenarios/twin.toml")),
];

/// A scenario that makes sense. Its clock starts when the mesh has converged and every endpoint is a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// One word, as in the file's name.
    pub name: String,
    /// A sentence for people.
    pub about: String,
    /// How long it lasts.
    pub duration: Duration,
    /// Where things stand.
    pub regions: Vec<String>,
    /// Round trips between regions in milliseconds, symmetric; the diagonal is within one.
    pub rtt_ms: Vec<Vec<u64>>,
    /// How much a single way may take longer, in percent of it.
    pub jitter_percent: u64,
    /// The nodes, ascending.
    pub nodes: Vec<NodePlan>,
    /// Links that a node aims for.
    pub links_max: usize,
    /// The only pairs that may be linked, lower number first; `None` for all.
    pub links_allowed: Option<BTreeSet<(NodeNumber, NodeNumber)>>,
    /// What links cost, in milliseconds, where it is set and not measured, by pair, lower number first.
    pub link_costs_ms: BTreeMap<(NodeNumber, NodeNumber), u64>,
    /// Endpoints join one after the other in the file's order, so far apart; `None`: as each world likes.
    pub joins_apart: Option<Duration>,
    /// The sessions, each with its own name: `count` is multiplied out.
    pub sessions: Vec<SessionPlan>,
    /// Or sessions that come and go, for `netsim compare`.
    pub arrivals: Option<Arrivals>,
    /// How late brokers hear of loads there.
    pub reports: Reports,
    /// What endpoints do.
    pub workload: Vec<Load>,
    /// What goes wrong, by time.
    pub faults: Vec<TimedFault>,
    /// What must not succeed, tried by people of its own; in no file.
    pub drills: Option<Drills>,
    /// What must hold.
    pub checks: Checks,
}

/// A node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodePlan {
    /// Its number.
    pub number: NodeNumber,
    /// Where it stands: an index of [`Scenario::regions`].
    pub region: usize,
    /// What fails together with it.
    pub failure_domain: String,
    /// Attachments that it admits.
    pub capacity: u32,
    /// Whether it has a broker.
    pub broker: bool,
    /// What each message that reaches it costs it, in microseconds, one after the other.
    pub service_us: u64,
}

/// A session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionPlan {
    /// Its name; those of a `count` end in `-1`, `-2` and so on.
    pub name: String,
    /// Its name in the file.
    pub group: String,
    /// The first creates and leads it. `count` is multiplied out.
    pub endpoints: Vec<EndpointPlan>,
}

/// An endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointPlan {
    /// Its name; those of a `count` end in `-1`, `-2` and so on.
    pub name: String,
    /// Its name in the file.
    pub group: String,
    /// Whether it gives or gets help.
    pub customer: bool,
    /// Where its user is: an index of [`Scenario::regions`].
    pub region: usize,
    /// Where it attaches.
    pub at: Place,
    /// Where it stands by.
    pub standby: Standby,
    /// What its line brings to it, in KiB a second; `None` for no limit.
    pub downstream_kib_s: Option<u64>,
}

/// Where an endpoint attaches first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// At this node.
    Node(NodeNumber),
    /// Where the broker's placement says.
    Placement,
    /// At the node with the shortest round trip.
    Nearest,
    /// Anywhere.
    Random,
}

/// Where an endpoint stands by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standby {
    /// Nowhere.
    None,
    /// At another node, in another failure domain if there is one.
    Apart,
    /// At this node.
    Node(NodeNumber),
}

/// Something that endpoints do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// In which sessions: their name in the file; `None` for all.
    pub session: Option<String>,
    /// Which endpoints: their name in the file, or one with its number; `None` for all.
    pub from: Option<String>,
    /// What.
    pub kind: LoadKind,
    /// When it begins.
    pub start: Duration,
    /// When it ends.
    pub stop: Duration,
}

/// What endpoints send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadKind {
    /// Lines of chat to everybody.
    Chat {
        /// How many a second.
        per_s: u64,
        /// Bytes of each.
        bytes: usize,
    },
    /// Files to everybody, the next when the one before is done.
    File {
        /// Bytes of each.
        bytes: u64,
        /// How many.
        count: u64,
    },
    /// Bare packets to everybody, neither sealed nor repaired: probes of the ways.
    Packets {
        /// How many a second.
        per_s: u64,
        /// Bytes of each.
        bytes: usize,
    },
}

/// A fault with its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimedFault {
    /// When.
    pub at: Duration,
    /// What.
    pub fault: Fault,
}

/// What goes wrong, or right again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The programs end at once (SIGKILL).
    Kill(Vec<NodeNumber>),
    /// The programs stand still (SIGSTOP).
    Stop(Vec<NodeNumber>),
    /// They go on (SIGCONT).
    Continue(Vec<NodeNumber>),
    /// The programs start; those that run are killed first.
    Restart(Vec<NodeNumber>),
    /// They go out of service, and end when they are drained.
    Drain {
        /// Who.
        nodes: Vec<NodeNumber>,
        /// Within this.
        within: Duration,
    },
    /// They stay in service after all.
    Undrain(Vec<NodeNumber>),
    /// Their certificates are revoked.
    Revoke(Vec<NodeNumber>),
    /// Nodes and endpoints of one side hear nothing of those on another; silence, not refusal. Endpoints are on the
    /// side of the node to which they connect.
    Partition(Vec<Vec<NodeNumber>>),
    /// What `from` says is not heard by `to`; the other way works.
    Silence {
        /// Who is not heard.
        from: Vec<NodeNumber>,
        /// By whom.
        to: Vec<NodeNumber>,
    },
    /// All of [`Fault::Partition`], [`Fault::Silence`], [`Fault::Loss`] and [`Fault::Delay`] is over.
    Heal,
    /// The connection between two nodes is reset.
    Reset(NodeNumber, NodeNumber),
    /// Of what goes over the lines between any two of these nodes so much is lost: TCP repairs it, later.
    Loss {
        /// Which.
        between: Vec<NodeNumber>,
        /// How much.
        percent: u64,
    },
    /// What goes over the lines between any two of these nodes takes longer, each way.
    Delay {
        /// Which.
        between: Vec<NodeNumber>,
        /// By how much.
        by: Duration,
    },
    /// What an endpoint's line brings to it, from now on.
    Slow {
        /// In which sessions: their name in the file; `None` for all.
        session: Option<String>,
        /// Which endpoints: their name in the file, or one with its number.
        endpoint: String,
        /// `None` for no limit.
        downstream_kib_s: Option<u64>,
    },
    /// They take so many times as long for each message; once as long is as before.
    SlowNode {
        /// Who.
        nodes: Vec<NodeNumber>,
        /// How many times.
        times: u64,
    },
    /// They report so much of their attachments as their load; all of it is the truth.
    Lie {
        /// Who.
        nodes: Vec<NodeNumber>,
        /// How much, in percent.
        load_percent: u64,
    },
    /// Their wall clocks jump.
    Clock {
        /// Whose.
        nodes: Vec<NodeNumber>,
        /// By how much, from true time.
        offset_ms: i64,
    },
}

/// What must hold in the end, as it stands in the file; absent limits are not looked at, and nothing may be lost unless it is
/// said how much.
#[derive(Deserialize, Serialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Checks {
    /// Payloads of reliable channels that a member did not get.
    pub lost: u64,
    /// Payloads that a member got twice.
    pub duplicates: u64,
    /// Payloads that a member got out of order.
    pub reordered: u64,
    /// Endpoints that are no members in the end.
    pub departed: u64,
    /// Files that did not arrive.
    pub files_failed: u64,
    /// Endpoints that moved although their own node stood.
    pub moved_beyond: u64,
    /// Longest pause of a flow beyond its sender's own, after a fault: the 99th percentile.
    pub gap_p99_ms: Option<u64>,
    /// The same, the longest of all.
    pub gap_max_ms: Option<u64>,
    /// From a line's hand-over to its delivery: the 99th percentile.
    pub latency_p99_ms: Option<u64>,
    /// From the last change to agreement of all nodes.
    pub converge_ms: Option<u64>,
    /// With arrivals: the highest load of a candidate, in percent of the candidates' mean.
    pub load_over_mean_percent: Option<u64>,
    /// With arrivals: the 99th percentile of round trips, in percent of the cheapest assignment's.
    pub rtt_p99_over_flow_percent: Option<u64>,
    /// With arrivals: endpoints refused in a million, of those that come while the mesh has room.
    pub rejects_ppm: Option<u64>,
}

/// Why a scenario is refused: the author's fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScenarioError {
    /// Which file.
    pub file: String,
    /// Where, from 1; 0 for the file as a whole.
    pub line: usize,
    /// Which key, as `fault.node`; empty if none is meant.
    pub key: String,
    /// What is wrong and what to do.
    pub sentence: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for ScenarioError {}

impl Scenario {
    /// Reads a scenario's text; `file` names it in errors.
    ///
    /// # Errors
    /// [`ScenarioError`]: file, line, key and what to do.
    pub fn parse(file: &str, text: &str) -> Result<Scenario, ScenarioError> {
        read::read(file, text)
    }

    /// One that ships, by name, or one of the author's own, by path.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn load(name: &str) -> Result<Scenario, ScenarioError> {
        if let Some((name, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
            return Scenario::parse(name, text);
        }
        let refused =
            |sentence: String| ScenarioError { file: name.to_owned(), line: 0, key: String::new(), sentence };
        let size = std::fs::metadata(Path::new(name)).map(|data| data.len());
        if size.as_ref().is_ok_and(|size| *size > TEXT_BYTES_MAX) {
            return Err(refused(format!("a scenario has at most {TEXT_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(name)
            .map_err(|error| refused(format!("{error}: give a path, or a name that `netsim list` shows")))?;
        Scenario::parse(name, &text)
    }

    /// The node of this number.
    pub fn node(&self, number: NodeNumber) -> Option<&NodePlan> {
        self.nodes.iter().find(|node| node.number == number)
    }

    /// Whom a node may be linked with, as its configuration says; `None` for all.
    pub fn neighbors_allowed(&self, number: NodeNumber) -> Option<Vec<NodeNumber>> {
        let pairs = self.links_allowed.as_ref()?;
        let other = |(a, b): &(NodeNumber, NodeNumber)| match number {
            _ if *a == number => Some(*b),
            _ if *b == number => Some(*a),
            _ => None,
        };
        Some(pairs.iter().filter_map(other).collect())
    }

    /// What a node's links cost where that is set, by neighbour, in milliseconds.
    pub fn link_costs_ms(&self, number: NodeNumber) -> Vec<(NodeNumber, u64)> {
        let other = |((a, b), cost_ms): (&(NodeNumber, NodeNumber), &u64)| match number {
            _ if *a == number => Some((*b, *cost_ms)),
            _ if *b == number => Some((*a, *cost_ms)),
            _ => None,
        };
        self.link_costs_ms.iter().filter_map(other).collect()
    }

    /// The endpoints that a session's and an endpoint's name mean, as (session, endpoint) indices.
    pub fn meant(&self, session: Option<&str>, endpoint: Option<&str>) -> Vec<(usize, usize)> {
        let fits = |wanted: Option<&str>, name: &str, group: &str| {
            wanted.is_none_or(|wanted| wanted == name || wanted == group)
        };
        let sessions = self.sessions.iter().enumerate();
        sessions
            .filter(|(_, plan)| fits(session, &plan.name, &plan.group))
            .flat_map(|(at, plan)| {
                let endpoints = plan.endpoints.iter().enumerate();
                endpoints
                    .filter(|(_, plan)| fits(endpoint, &plan.name, &plan.group))
                    .map(move |(index, _)| (at, index))
            })
            .collect()
    }

    /// Endpoints in all.
    pub fn endpoints(&self) -> usize {
        self.sessions.iter().map(|session| session.endpoints.len()).sum()
    }

    /// The round trip between two regions.
    pub fn rtt(&self, a: usize, b: usize) -> Duration {
        Duration::from_millis(self.rtt_ms[a][b])
    }

    /// Names of the failure domains, each with its nodes.
    pub fn failure_domains(&self) -> BTreeMap<&str, Vec<NodeNumber>> {
        let mut domains: BTreeMap<&str, Vec<NodeNumber>> = BTreeMap::new();
        for node in &self.nodes {
            domains.entry(&node.failure_domain).or_default().push(node.number);
        }
        domains
    }
}

/// The name of one of many alike, counted from 1.
fn numbered(name: &str, index: usize, count: usize) -> String {
    if count == 1 { name.to_owned() } else { format!("{name}-{index}") }
}
