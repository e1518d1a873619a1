//! What a scenario says, as the lab starts it.

use super::*;
use crate::scenario::SHIPPED;

fn node(number: u16) -> NodeNumber {
    NodeNumber::new(number).unwrap()
}

fn shipped(name: &str) -> Scenario {
    Scenario::load(name).unwrap()
}

#[test]
fn every_shipped_scenario_can_be_played() {
    for (name, _) in SHIPPED {
        let scenario = shipped(name);
        if ["gray-node", "hundred-nodes"].contains(name) {
            assert!(playable(&scenario).unwrap_err().contains("netsim run"), "{name}");
        } else if scenario.arrivals.is_none() {
            assert_eq!(playable(&scenario), Ok(()), "{name}");
        } else {
            assert!(playable(&scenario).unwrap_err().contains("netsim compare"), "{name}");
        }
    }
}

#[test]
fn what_real_programs_cannot_do_is_refused_with_a_sentence() {
    let base = include_str!("../../../../scenarios/broker-down.toml");
    let refused = |text: &str| playable(&Scenario::parse("x", text).unwrap()).unwrap_err();
    let clock = format!("{base}\n[[fault]]\nat_ms = 1\nkind = \"clock\"\nnode = 1\noffset_ms = 5\n");
    assert!(refused(&clock).contains("netsim run"));
    let packets = format!("{base}\n[[workload]]\nkind = \"packets\"\nper_s = 1\n");
    assert!(refused(&packets).contains("bare packets"));
    let many = base.replace("count = 3", "count = 30");
    assert!(refused(&many).contains("31 nodes"));
}

#[test]
fn nodes_become_what_relayd_is_told() {
    let plan = plan(&shipped("transit-dies"), "info");
    assert_eq!(plan.nodes.len(), 5);
    assert_eq!(plan.nodes[0].neighbors_allowed, Some(vec![node(2), node(4)]));
    assert_eq!((plan.nodes[1].region.as_str(), plan.nodes[1].region_index), ("middle", 1));
    assert!(plan.nodes[0].broker && !plan.nodes[1].broker);
    let plan = super::plan(&shipped("rolling-drain"), "info");
    assert!(plan.nodes.iter().all(|node| node.drain_ms == 30_000));
}

#[test]
fn endpoints_are_kept_where_the_scenario_says() {
    let scenario = shipped("region-outage");
    let at = |endpoint: usize, draw| pinned(&scenario, &scenario.sessions[0].endpoints[endpoint], draw);
    assert_eq!(at(0, 7), None, "placement decides");
    let nearest = [at(2, 0), at(2, 1)];
    assert_eq!(nearest, [Some(node(1)), Some(node(2))], "one of the two near ones, as drawn");
    let scenario = shipped("kill-one-of-three");
    assert_eq!(pinned(&scenario, &scenario.sessions[0].endpoints[1], 3), Some(node(2)));
}

#[test]
fn who_should_reach_whom_follows_the_links() {
    let nodes: BTreeSet<NodeNumber> = (1..=5).map(node).collect();
    let line = components(&nodes, |a, b| a.value().abs_diff(b.value()) == 1);
    assert_eq!(line.len(), 1);
    let cut = components(&nodes, |a, b| (a.value() <= 2) == (b.value() <= 2));
    assert_eq!(cut, [(1..=2).map(node).collect(), (3..=5).map(node).collect::<BTreeSet<_>>()]);
}

#[test]
fn so_many_programs_and_no_more() {
    assert!(enough_places("many", PROGRAMS_MAX).is_ok());
    let refusal = enough_places("many", PROGRAMS_MAX + 1).unwrap_err().to_string();
    assert!(refusal.contains("21 programs") && refusal.contains("without --netns"), "{refusal}");
}

/// A line is thin from its start, or once a fault makes it so.
#[test]
fn thin_lines_are_found() {
    let scenario = shipped("slow-receiver");
    let names: Vec<&str> =
        scenario.sessions[0].endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    let slow = names.iter().position(|name| *name == "slow").unwrap();
    assert_eq!(thin(&scenario, &[0]), BTreeSet::from([slow]));
    assert!(thin(&shipped("three-nodes"), &[0, 10]).is_empty());
}
