//! A long run of random faults over many sessions, as a scenario's text: five nodes, a hundred sessions, one fault after
//! the other, each over before the next one comes. Drawn from a seed alone.

use std::fmt::Write as _;

/// Nodes; the first has the broker and is never killed, so that its memory can be followed from end to end.
const NODES: u64 = 5;
const SESSIONS: u64 = 100;
/// From one fault to the next: a node is back, its links count, and standbys are there again.
const PERIOD_MS: u64 = 15_000;
/// Quiet at the end, in which all comes to rest.
const REST_MS: u64 = 20_000;
/// Minutes that may be asked for.
pub(super) const MINUTES_MAX: u64 = 24 * 60;

/// Splitmix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// The scenario of so many minutes.
pub(super) fn text(minutes: u64, seed: u64) -> String {
    let duration_ms = minutes * 60_000;
    let mut text = format!(
        r#"name = "soak"
about = "Random faults over many sessions."
duration_s = {}

[regions]
names = ["here"]
rtt_ms = [[4]]
jitter_percent = 20

[[node]]
number = 1
region = "here"
broker = true

[[node]]
number = 2
count = {}
region = "here"

[[session]]
name = "s"
count = {SESSIONS}
endpoint = [
    {{ name = "provider", role = "provider", region = "here", policy = "random" }},
    {{ name = "customer", role = "customer", region = "here", policy = "random" }},
    {{ name = "watcher", role = "provider", region = "here", policy = "random" }},
]

[[workload]]
kind = "chat"
per_s = 1

[checks]
"#,
        duration_ms / 1_000,
        NODES - 1
    );
    let mut draw = Draw(seed);
    let mut at = 5_000;
    while at + PERIOD_MS + REST_MS <= duration_ms {
        let node = 2 + draw.below(NODES - 1);
        let other = 1 + (node + draw.below(NODES - 1)) % NODES;
        let mut fault = |at_ms: u64, kind: &str, rest: String| {
            let _ = write!(text, "\n[[fault]]\nat_ms = {at_ms}\nkind = \"{kind}\"\n{rest}");
        };
        let named = format!("node = {node}\n");
        let between = format!("between = [{node}, {other}]\n");
        match draw.below(6) {
            0 => {
                fault(at, "kill", named.clone());
                fault(at + 3_000, "restart", named);
            }
            1 => {
                fault(at, "stop", named.clone());
                fault(at + 3_000, "continue", named);
            }
            2 => {
                fault(at, "drain", format!("{named}within_ms = 10_000\n"));
                fault(at + 8_000, "restart", named);
            }
            3 => fault(at, "reset", between),
            4 => {
                fault(at, "loss", format!("{between}percent = 20\n"));
                fault(at + 8_000, "heal", String::new());
            }
            _ => {
                let others: Vec<String> =
                    (1..=NODES).filter(|other| *other != node).map(|other| other.to_string()).collect();
                fault(at, "partition", format!("sides = [[{node}], [{}]]\n", others.join(", ")));
                fault(at + 5_000, "heal", String::new());
            }
        }
        at += PERIOD_MS;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::play::playable;
    use crate::scenario::Scenario;

    #[test]
    fn every_seed_is_a_scenario_that_can_be_played() {
        for seed in 0..200 {
            let scenario = Scenario::parse("soak", &text(10, seed)).unwrap();
            assert_eq!(playable(&scenario), Ok(()));
            assert_eq!((scenario.nodes.len(), scenario.endpoints()), (5, 300));
            assert!(scenario.faults.len() >= 36, "{}", scenario.faults.len());
        }
        assert_eq!(text(10, 3), text(10, 3));
        assert_ne!(text(10, 3), text(10, 4));
    }
}
