//! Names and sentences of a page: what figures are called and mean, what a fault is, how a number is written.
//!
//! Everything here is text; whoever puts it into a page escapes it.

use std::collections::BTreeSet;

use proto_spec::NodeNumber;

use crate::balance::{Estimate, Policy};
use crate::play::Verdict;
use crate::scenario::{Fault, Scenario};

use super::chart::number;
use super::page::thousands;

/// What a figure is for a reader: its name, its unit, and what it says.
pub(super) struct Meaning {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) says: &'static str,
}

/// Of a run's or a comparison's figure; `None` for one that has no words yet.
pub(super) fn meaning(figure: &str) -> Option<Meaning> {
    let (name, unit, says) = match figure {
        "said" => ("lines said", "", "handed over by their senders"),
        "delivered" => ("lines delivered", "", "each receiver counts"),
        "lost" => ("lines lost", "", "that a member did not get"),
        "duplicates" => ("lines twice", "", "that a member got again"),
        "reordered" => ("lines out of order", "", "that came before an earlier one of the same sender"),
        "departed" => ("endpoints gone", "", "no members in the end"),
        "files_done" => ("files received", "", "whole, each receiver counts"),
        "files_failed" => ("files failed", "", "that did not reach a receiver whole"),
        "moved_beyond" => ("moves without cause", "", "endpoints that moved although their node stood"),
        "gap_p99_ms" => {
            ("gap, 99th percentile", "ms", "longest pause of a flow after a fault, beyond its sender's")
        }
        "gap_max_ms" => ("gap, longest", "ms", "the same, of all flows and faults"),
        "latency_p99_ms" => ("latency, 99th percentile", "ms", "from a line's hand-over to its delivery"),
        "converge_ms" => ("convergence", "ms", "from the last change until all nodes agree"),
        "load_over_mean" => ("highest load over the mean", "", "of the nodes that compete, over time"),
        "herd" => ("herd", "", "the same, of what came between two reports"),
        "rtt_p50_ms" => ("round trip, half", "ms", "to the node attached to: half have no longer one"),
        "rtt_p99_ms" => ("round trip, 99th percentile", "ms", "to the node attached to"),
        "rtt_peak_mean_ms" => {
            ("round trip at the peak, mean", "ms", "of all who are there at the moment of most demand")
        }
        "rtt_p99_over_flow" => {
            ("99th percentile over the optimum", "", "over that of the cheapest assignment")
        }
        "stretch" => ("stretch", "", "ways between endpoints over the best that one node could give"),
        "moves_per_death" => ("moves for each death", "", "endpoints that attached anew"),
        "collateral_moves" => ("moves without cause", "", "endpoints that moved although their node lived"),
        "rejects_percent" => ("refused", "%", "by two full nodes, or with no node to name"),
        "rejects_with_room_percent" => {
            ("refused with room left", "%", "while less than 75 % of all capacity was in use")
        }
        "oscillations" => ("oscillations", "", "endpoints back within 10 minutes where they had left"),
        "redirects_percent" => ("sent on", "%", "the node that the broker named was full"),
        _ => return None,
    };
    Some(Meaning { name, unit, says })
}

/// What a run's verdict says.
pub(super) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "Everything held",
        Verdict::Liveness => "Something good did not happen in time",
        Verdict::Correctness => "Something happened that must not",
    }
}

/// A policy with ours named as ours.
pub(super) fn policy(name: &str) -> String {
    if name == Policy::OURS.name() { format!("{name} (ours)") } else { name.to_owned() }
}

/// A mean with its interval.
pub(super) fn estimate(value: Option<Estimate>) -> String {
    match value {
        None => "–".to_owned(),
        Some(Estimate { mean, ci95: None }) => digits(mean),
        Some(Estimate { mean, ci95: Some(ci95) }) if ci95 < 0.000_5 => digits(mean),
        Some(Estimate { mean, ci95: Some(ci95) }) => format!("{} ±{}", digits(mean), digits(ci95)),
    }
}

/// Three digits behind the point where they say something.
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        100.0.. => thousands(libm::round(value) as u64),
        10.0..100.0 => number(libm::round(value * 10.0) / 10.0),
        _ => number(value),
    }
}

/// What happens at a fault.
pub(super) fn fault(fault: &Fault, scenario: &Scenario) -> String {
    let who = |nodes: &[NodeNumber]| who(nodes, scenario);
    match fault {
        Fault::Kill(nodes) => format!("kill {}", who(nodes)),
        Fault::Stop(nodes) => format!("stop {}", who(nodes)),
        Fault::Continue(nodes) => format!("continue {}", who(nodes)),
        Fault::Restart(nodes) => format!("restart {}", who(nodes)),
        Fault::Drain { nodes, .. } => format!("drain {}", who(nodes)),
        Fault::Undrain(nodes) => format!("undrain {}", who(nodes)),
        Fault::Revoke(nodes) => format!("revoke {}", who(nodes)),
        Fault::Partition(sides) => {
            let sides: Vec<String> = sides.iter().map(|side| who(side)).collect();
            format!("partition {}", sides.join(" | "))
        }
        Fault::Silence { from, to } => format!("silence of {} at {}", who(from), who(to)),
        Fault::Heal => "heal".to_owned(),
        Fault::Reset(a, b) => format!("reset {a}–{b}"),
        Fault::Loss { between, percent } => format!("loss of {percent} % between {}", who(between)),
        Fault::Delay { between, by } => format!("delay of {} ms between {}", by.as_millis(), who(between)),
        Fault::Slow { endpoint, downstream_kib_s: Some(rate), .. } => format!("{endpoint} at {rate} KiB/s"),
        Fault::Slow { endpoint, downstream_kib_s: None, .. } => format!("{endpoint} at full rate"),
        Fault::SlowNode { nodes, times: 1 } => format!("{} as fast as before", who(nodes)),
        Fault::SlowNode { nodes, times } => format!("{} {times} times slower", who(nodes)),
        Fault::Lie { nodes, load_percent: 100 } => format!("{} honest again", who(nodes)),
        Fault::Lie { nodes, load_percent } => format!("{} tells {load_percent} % of its load", who(nodes)),
        Fault::Clock { nodes, offset_ms } => format!("clock of {} off by {offset_ms} ms", who(nodes)),
    }
}

/// A region by its name if they are all of its nodes; else their numbers, or how many.
fn who(nodes: &[NodeNumber], scenario: &Scenario) -> String {
    let meant: BTreeSet<NodeNumber> = nodes.iter().copied().collect();
    for (region, name) in scenario.regions.iter().enumerate() {
        let own = scenario.nodes.iter().filter(|node| node.region == region).map(|node| node.number);
        let own: BTreeSet<NodeNumber> = own.collect();
        if own.len() > 1 && own == meant && own.len() < scenario.nodes.len() {
            return name.clone();
        }
    }
    match nodes.len() {
        0..=4 => nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        many => format!("{many} nodes"),
    }
}

/// A name that is too long for a row, cut.
pub(super) fn short(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        name.to_owned()
    } else {
        name.chars().take(most - 1).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::FIGURES;

    #[test]
    fn every_figure_has_words() {
        assert!(FIGURES.iter().all(|name| meaning(name).is_some()));
        let scenario = Scenario::load("three-nodes").unwrap();
        let report = crate::play::play(&scenario, crate::play::Options { seed: 1, ..Default::default() });
        assert!(report.figures.iter().all(|figure| meaning(figure.name).is_some()));
    }

    #[test]
    fn faults_name_a_region_by_its_name() {
        let scenario = Scenario::load("region-outage").unwrap();
        let told: Vec<String> = scenario.faults.iter().map(|timed| fault(&timed.fault, &scenario)).collect();
        assert_eq!(told, ["kill us", "restart us"]);
        let one = Fault::Kill(vec![crate::sim::node(3)]);
        assert_eq!(fault(&one, &scenario), "kill 3");
    }

    #[test]
    fn values_have_the_digits_that_say_something() {
        assert_eq!([1.0426, 18.1987, 1_143.6, 0.0].map(digits), ["1.043", "18.2", "1\u{202f}144", "0"]);
        let estimate = |ci95| estimate(Some(Estimate { mean: 1.5, ci95 }));
        assert_eq!([None, Some(0.000_1), Some(0.25)].map(estimate), ["1.5", "1.5", "1.5 ±0.25"]);
    }

    #[test]
    fn names_are_cut_to_length() {
        assert_eq!(short("eu-central-1", 10), "eu-centra…");
        assert_eq!(short("eu", 10), "eu");
    }
}
