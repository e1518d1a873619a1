//! What happens to a mesh, as data: its nodes, and step by step what is done to it while the checkers watch. Drawn from a
//! seed (`draw`), played by `mesh`, and kept as a file once it has been made smaller.
//!
//! Each step stands for itself: one whose moment never comes, because an earlier one is gone, does nothing.

mod draw;

use std::fmt;

use proto_spec::membership::MemberKind;
use proto_spec::{NodeNumber, SenderNumber};
use serde::{Deserialize, Serialize};

use crate::scenario::TEXT_BYTES_MAX;
use crate::sim::Plan;

/// The form of the file that this program writes and reads.
const COURSE_VERSION: u32 = 1;
/// Sessions of a course are numbered below this.
const SESSIONS_MAX: u8 = 64;

/// A mesh and what happens to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Course {
    /// The form of the file.
    version: u32,
    /// Ways, times and cores' chance are drawn from it.
    pub seed: u64,
    /// The shortest and the longest way between two nodes, in microseconds.
    way_us: (u64, u64),
    /// Links that a node aims for.
    links_max: usize,
    /// Before the first step the mesh has so long.
    pub(super) form_s: u64,
    /// After all is healed it has so long, beside the time of its own limits.
    pub(super) calm_s: u64,
    /// The only pairs that may be linked.
    #[serde(skip_serializing_if = "Option::is_none")]
    links_allowed: Option<Vec<(u16, u16)>>,
    /// The nodes, in the order in which they start.
    #[serde(rename = "node")]
    pub nodes: Vec<Start>,
    /// What happens to them.
    #[serde(rename = "step", default)]
    pub steps: Vec<Step>,
    /// What happens once all is healed.
    #[serde(rename = "healed", default)]
    pub healed: Vec<Step>,
}

/// A node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Its number.
    pub number: NodeNumber,
    /// Whether it has a broker.
    pub broker: bool,
    /// The next one starts so much later.
    pub wait_ms: u64,
}

/// Something that is done to a mesh.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "nodes, sessions, numbers and times, each by its name")]
pub enum Step {
    /// Time passes, and the whole mesh is looked at.
    Wait { ms: u64 },
    /// An endpoint of a session attaches, or in another way than before.
    Attach {
        at: NodeNumber,
        session: u8,
        number: SenderNumber,
        kind: MemberKind,
        attach_seq: u64,
        ready: bool,
    },
    /// It is gone.
    Detach { at: NodeNumber, session: u8, number: SenderNumber },
    /// A packet goes to a whole session.
    Send { from: NodeNumber, session: u8 },
    /// A node's process ends.
    Kill { at: NodeNumber },
    /// It starts; it may have lost its restart counter.
    Start { at: NodeNumber, forgetful: bool },
    /// It stands still.
    Pause { at: NodeNumber },
    /// All that stand still go on.
    Resume,
    /// Nodes on one side and those on the other hear nothing of each other.
    Partition { side: Vec<NodeNumber> },
    /// Nor do these two.
    Cut { a: NodeNumber, b: NodeNumber },
    /// What one says is not heard by the other.
    Silence { from: NodeNumber, to: NodeNumber },
    /// The connection of two is reset.
    Reset { a: NodeNumber, b: NodeNumber },
    /// The line between two loses segments.
    Loss { a: NodeNumber, b: NodeNumber, percent: u64 },
    /// It is longer.
    Delay { a: NodeNumber, b: NodeNumber, by_ms: u64 },
    /// All of these are over.
    Heal,
    /// A node's wall clock jumps.
    Clock { at: NodeNumber, offset_ms: i64 },
    /// A node goes out of service; it may change its mind after a while.
    Drain { at: NodeNumber, within_s: u64, undrain_after_ms: Option<u64> },
    /// A node dies, and no other node's endpoints may be asked to do anything.
    DieAlone { at: NodeNumber },
}

/// Why a file is no course: its author's fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CourseError(String);

impl fmt::Display for CourseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CourseError {}

impl Course {
    /// Reads a file that [`Course::to_text`] wrote.
    ///
    /// # Errors
    /// [`CourseError`]: what is wrong and what to do.
    pub fn from_text(text: &str) -> Result<Course, CourseError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let refused = |sentence: &str| CourseError(sentence.to_owned());
        if text.len() as u64 > TEXT_BYTES_MAX {
            return Err(CourseError(format!("the course of a mesh has at most {TEXT_BYTES_MAX} bytes")));
        }
        let versioned: Versioned = toml::from_str(text).map_err(|_| {
            refused(
                "not the course of a mesh as `netsim shrink` writes it; a scenario is played by `netsim run`",
            )
        })?;
        if versioned.version != COURSE_VERSION {
            return Err(CourseError(format!(
                "the course of a mesh in version {}, this program reads {COURSE_VERSION}: replay it with the program \
                 that wrote it",
                versioned.version
            )));
        }
        let course: Course =
            toml::from_str(text).map_err(|error| CourseError(error.to_string().trim().replace('\n', " ")))?;
        let mut known: Vec<NodeNumber> = course.nodes.iter().map(|node| node.number).collect();
        known.sort_unstable();
        known.dedup();
        if known.is_empty() || known.len() != course.nodes.len() {
            return Err(refused("a mesh has at least one node, each with its own number"));
        }
        let all = || course.steps.iter().chain(&course.healed);
        if let Some(number) = all().flat_map(Step::nodes).find(|number| !known.contains(number)) {
            return Err(CourseError(format!(
                "a step names node {number}, which is none of the nodes: add it"
            )));
        }
        if all().filter_map(Step::session).any(|session| session >= SESSIONS_MAX) {
            return Err(CourseError(format!("sessions are numbered below {SESSIONS_MAX}")));
        }
        Ok(course)
    }

    /// As text.
    ///
    /// # Panics
    /// Never: it is plain data.
    pub fn to_text(&self) -> String {
        let text = toml::to_string(self).expect("plain data of our own always serialises");
        format!("# The course of a mesh: `netsim replay FILE` plays it.\n{text}")
    }

    /// The world to play it in.
    pub(super) fn plan(&self) -> Plan {
        let last = self.nodes.iter().map(|node| node.number.value()).max().unwrap_or(1);
        let brokers: Vec<u16> =
            self.nodes.iter().filter(|node| node.broker).map(|node| node.number.value()).collect();
        let mut plan = Plan::with_ways(self.seed, last, self.way_us).with_brokers(&brokers);
        plan.nodes.retain(|spec| self.nodes.iter().any(|node| node.number == spec.number));
        plan.links_max = self.links_max;
        match &self.links_allowed {
            Some(pairs) => plan.linked(pairs),
            None => plan,
        }
    }

    /// The same without a node; `None` if it is the only one.
    pub fn without_node(&self, gone: NodeNumber) -> Option<Course> {
        let mut course = self.clone();
        course.nodes.retain(|node| node.number != gone);
        for steps in [&mut course.steps, &mut course.healed] {
            for step in steps.iter_mut() {
                if let Step::Partition { side } = step {
                    side.retain(|number| *number != gone);
                }
            }
            steps.retain(|step| !step.nodes().contains(&gone));
        }
        if let Some(pairs) = &mut course.links_allowed {
            pairs.retain(|(a, b)| *a != gone.value() && *b != gone.value());
        }
        (!course.nodes.is_empty()).then_some(course)
    }
}

impl Step {
    /// The nodes that it names.
    fn nodes(&self) -> Vec<NodeNumber> {
        match self {
            Step::Wait { .. } | Step::Resume | Step::Heal => Vec::new(),
            Step::Attach { at, .. }
            | Step::Detach { at, .. }
            | Step::Send { from: at, .. }
            | Step::Kill { at }
            | Step::Start { at, .. }
            | Step::Pause { at }
            | Step::Clock { at, .. }
            | Step::Drain { at, .. }
            | Step::DieAlone { at } => vec![*at],
            Step::Partition { side } => side.clone(),
            Step::Cut { a, b } | Step::Reset { a, b } | Step::Silence { from: a, to: b } => vec![*a, *b],
            Step::Loss { a, b, .. } | Step::Delay { a, b, .. } => vec![*a, *b],
        }
    }

    fn session(&self) -> Option<u8> {
        match self {
            Step::Attach { session, .. } | Step::Detach { session, .. } | Step::Send { session, .. } => {
                Some(*session)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn courses_are_read_back() {
        for seed in (0..200).chain([u64::MAX]) {
            let course = Course::draw(seed);
            assert_eq!(Course::from_text(&course.to_text()).unwrap(), course, "seed {seed}");
        }
    }

    #[test]
    fn what_is_no_course_is_refused() {
        let text = Course::draw(1).to_text();
        let refusal = |text: &str| Course::from_text(text).unwrap_err().to_string();
        assert!(
            refusal(&text.replace("version = 1", "version = 2")).contains("with the program that wrote it")
        );
        assert!(refusal("name = \"x\"").contains("netsim run"));
        assert!(refusal(&text.replace("do = \"wait\"", "do = \"dance\"")).contains("dance"));
        assert!(refusal(&format!("{text}\n[[healed]]\ndo = \"kill\"\nat = 999\n")).contains("node 999"));
        assert!(
            refusal(&format!("{text}\n[[node]]\nnumber = 1\nbroker = false\nwait_ms = 1\n"))
                .contains("own number")
        );
    }

    #[test]
    fn a_node_goes_with_all_that_names_it() {
        let course = Course::draw(1);
        let gone = course.nodes[0].number;
        let smaller = course.without_node(gone).unwrap();
        assert_eq!(smaller.nodes.len() + 1, course.nodes.len());
        assert!(smaller.steps.iter().all(|step| !step.nodes().contains(&gone)));
        assert_eq!(smaller.plan().nodes.len(), smaller.nodes.len());
    }
}
