//! Scenarios that repeat one fault, as text.

use std::fmt::Write as _;

/// Between any two nodes, and from each endpoint to its node.
pub(super) const RTT_MS: u64 = 2;
/// Lines a second: the resolution of a gap.
const LINES_S: u32 = 100;
/// The session whose chat is measured.
const MEASURED: &str = "help";
/// Those that send files from the one place to the other all the while: each fills its window (some 25 MB/s over these lines).
/// How much of the machine they take differs from part to part, and is printed.
const SESSIONS: [&str; 4] = [MEASURED, "load", "load-2", "load-3"];
/// One file after the other, each whole or not at all.
const FILE_BYTES: u64 = 64 * 1_024 * 1_024;
/// More than any run has time for.
const FILES_MAX: u32 = 10_000;
/// From time 0 to the first fault.
const LEAD_MS: u32 = 2_000;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    Kill,
    Stop,
    Drain,
}

impl FaultKind {
    /// As the scenario, and the lab's reports, call it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            FaultKind::Kill => "kill",
            FaultKind::Stop => "stop",
            FaultKind::Drain => "drain",
        }
    }

    /// How it ends, and how much later.
    pub(super) const fn end(self) -> (&'static str, u32) {
        match self {
            FaultKind::Kill => ("restart", 1_200),
            FaultKind::Stop => ("continue", 2_500),
            FaultKind::Drain => ("restart", 5_000),
        }
    }
}

/// Where it goes wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// The receiver's two nodes in turn, 2 and 3; the sender stays at node 1.
    Pair,
    /// The same, the sender at node 4, and the broker's node 1 dead from the beginning.
    WithoutBroker,
    /// Always node 2, on the short way from 1 to 3; 4 is the detour.
    Transit,
}

/// One fault many times.
#[derive(Clone, Copy)]
pub(super) struct Cycle {
    pub(super) fault: FaultKind,
    pub(super) times: u32,
    pub(super) layout: Layout,
}

impl Cycle {
    /// From one fault to the next: the node is back, its links count, and the endpoint stands by there again, for which it
    /// tries each 15 s at least; or the way across it is the short one again.
    const fn period_ms(&self) -> u32 {
        match (self.layout, self.fault) {
            // A link that is back waits before it counts, and link state for its turn.
            (Layout::Transit, _) => 12_000,
            (_, FaultKind::Kill) => 19_000,
            (_, FaultKind::Stop) => 20_000,
            (_, FaultKind::Drain) => 23_000,
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::from("name = \"trial\"\nabout = \"A fault many times.\"\n");
        let duration_s = (LEAD_MS + self.times * self.period_ms()) / 1_000 + 1;
        let _ = writeln!(text, "duration_s = {duration_s}\n");
        text.push_str(&match self.layout {
            Layout::Transit => transit(),
            Layout::Pair => pair(1),
            Layout::WithoutBroker => pair(4),
        });
        let _ = write!(
            text,
            "\n[[workload]]\nkind = \"chat\"\nsession = \"{MEASURED}\"\nfrom = \"sender\"\nper_s = \
             {LINES_S}\n\n[[workload]]\nkind = \"file\"\nfrom = \"sender\"\nbytes = {FILE_BYTES}\ncount = \
             {FILES_MAX}\n\n[checks]\n"
        );
        if self.layout == Layout::WithoutBroker {
            fault(&mut text, 0, "kill", 1);
        }
        for time in 0..self.times {
            let at = LEAD_MS + time * self.period_ms();
            let node = match self.layout {
                Layout::Transit => 2,
                _ => 2 + time % 2,
            };
            fault(&mut text, at, self.fault.word(), node);
            let (end, later) = self.fault.end();
            fault(&mut text, at + later, end, node);
        }
        text
    }
}

/// Twelve nodes of which some die, come back, leave, and come back.
pub(super) fn converging(rounds: u32) -> String {
    /// The last change's agreement is waited for within this.
    const PERIOD_MS: u32 = 12_000;
    let duration_s = (LEAD_MS + rounds * 4 * PERIOD_MS) / 1_000;
    let mut text = format!(
        "name = \"trial\"\nabout = \"Nodes come and go.\"\nduration_s = {duration_s}\n\n[regions]\nnames = \
         [\"here\"]\nrtt_ms = [[{RTT_MS}]]\n\n[[node]]\nnumber = 1\nregion = \"here\"\nbroker = \
         true\n\n[[node]]\nnumber = 2\ncount = 11\nregion = \"here\"\n\n[[session]]\nname = \"one\"\nendpoint \
         = [\n    {{ name = \"a\", role = \"provider\", region = \"here\", node = 1 }},\n    {{ name = \"b\", role \
         = \"customer\", region = \"here\", node = 2 }},\n]\n\n[[workload]]\nkind = \"chat\"\nper_s = \
         1\n\n[checks]\n"
    );
    let mut at = LEAD_MS;
    for round in 0..rounds {
        let node = 12 - round % 8;
        for kind in ["kill", "restart", "drain", "restart"] {
            fault(&mut text, at, kind, node);
            at += PERIOD_MS;
        }
    }
    text
}

fn fault(text: &mut String, at_ms: u32, kind: &str, node: u32) {
    let _ = write!(text, "\n[[fault]]\nat_ms = {at_ms}\nkind = \"{kind}\"\nnode = {node}\n");
    if kind == "drain" {
        text.push_str("within_ms = 10_000\n");
    }
}

/// Nodes 1 to 3, or to 4; sessions from `sender_at` to 2 and 3.
fn pair(sender_at: u32) -> String {
    let others = sender_at.max(3) - 1;
    let mesh = format!(
        "[regions]\nnames = [\"here\"]\nrtt_ms = [[{RTT_MS}]]\n\n[[node]]\nnumber = 1\nregion = \"here\"\nbroker = \
         true\n\n[[node]]\nnumber = 2\ncount = {others}\nregion = \"here\"\n"
    );
    mesh + &sessions("here", sender_at, "node = 2, standby_node = 3")
}

/// 1 - 2 - 3 is short, 1 - 4 - 3 is not.
fn transit() -> String {
    let mut text = String::from(
        "[regions]\nnames = [\"short\", \"long\"]\nrtt_ms = [[2, 20], [20, 2]]\n\n[mesh]\nlinks_allowed = [[1, 2], \
         [2, 3], [1, 4], [3, 4]]\n",
    );
    for (number, region, broker) in
        [(1, "short", true), (2, "short", false), (3, "short", false), (4, "long", false)]
    {
        let _ = write!(text, "\n[[node]]\nnumber = {number}\nregion = \"{region}\"\nbroker = {broker}\n");
    }
    text + &sessions("short", 1, "node = 3, standby = false")
}

fn sessions(region: &str, sender_at: u32, receiver: &str) -> String {
    let mut text = String::new();
    for name in SESSIONS {
        let _ = write!(
            text,
            "\n[[session]]\nname = \"{name}\"\nendpoint = [\n    {{ name = \"sender\", role = \"provider\", region = \
             \"{region}\", node = {sender_at}, standby = false }},\n    {{ name = \"receiver\", role = \
             \"customer\", region = \"{region}\", {receiver} }},\n]\n"
        );
    }
    text
}
