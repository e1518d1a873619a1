//! What holds for every page: nothing of a scenario is markup, nothing is loaded, the same run gives the same bytes.

use std::collections::BTreeSet;

use super::*;
use crate::balance::{self, compare};
use crate::play::{Options, play};

const BALANCE: &str = r#"name = "small"
about = "<script>alert(1)</script> & \"more\""
duration_s = 120
[regions]
names = ["eu", "us"]
rtt_ms = [[8, 80], [80, 8]]
[[node]]
number = 1
count = 3
region = "eu"
broker = true
[[node]]
number = 4
count = 2
region = "us"
[arrivals]
kind = "poisson"
sessions_per_min = 60
geography = { eu = 2, us = 1 }
length = "lognormal"
length_median_s = 60
length_max_s = 600
[[fault]]
at_ms = 60_000
kind = "kill"
node = 2
[checks]
load_over_mean_percent = 250
"#;

fn run(name: &str, series: bool) -> (Scenario, Report) {
    let scenario = Scenario::load(name).unwrap();
    let report = play(&scenario, Options { seed: 2, series, ..Options::default() });
    (scenario, report)
}

fn comparison(policies: &[Policy], series: bool) -> (Scenario, Comparison) {
    let scenario = Scenario::parse("small.toml", BALANCE).unwrap();
    let options = balance::Options { policies: policies.to_vec(), seed: 1, seeds: 2, jobs: 1, series };
    let comparison = compare(&scenario, &options, || {}).unwrap();
    (scenario, comparison)
}

/// Well formed as far as a reader of bytes can tell: tags are closed in turn, ids and attributes are quoted.
fn check_page(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1) {
        let name = tag.split([' ', '>', '\n']).next().unwrap();
        let whole = &tag[..tag.find('>').unwrap_or_else(|| panic!("<{name} does not end"))];
        assert_eq!(whole.matches('"').count() % 2, 0, "{whole}");
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if name == "!DOCTYPE" || name == "meta" || whole.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for absent in ["<script", "<link", "<img", "<iframe", "@import", "url(", " on"] {
        let found = page.match_indices(absent).filter(|(at, _)| {
            // Words of a sentence may begin so: what counts is an attribute.
            absent != " on" || page[*at..].split([' ', '>']).nth(1).is_some_and(|word| word.contains('='))
        });
        assert_eq!(found.count(), 0, "{absent}");
    }
    let addresses: BTreeSet<&str> =
        page.match_indices("http").map(|(at, _)| &page[at..(at + 12).min(page.len())]).collect();
    assert!(addresses.is_empty(), "{addresses:?}");
    let classes: BTreeSet<u32> = page
        .match_indices("class=\"")
        .filter_map(|(at, start)| {
            page[at + start.len()..].strip_prefix(['s', 'f'])?.split('"').next()?.parse().ok()
        })
        .collect();
    let style = include_str!("style.css");
    for class in classes {
        assert!(style.contains(&format!("s{class}")) || style.contains(&format!("f{class}")), "{class}");
    }
}

#[test]
fn a_run_has_its_pictures_and_facts() {
    let (scenario, report) = run("region-outage", true);
    let page = run_page(&scenario, &report, "netsim run region-outage --seed 2 --html report.html");
    check_page(&page);
    for part in [
        "Everything held",
        &report.trace,
        "netsim run region-outage --seed 2 --html report.html",
        "1 kill us",
        "2 restart us",
        "The mesh at 1:00: node 3 is dead, node 4 is dead",
        "80 ms",
        "p99 limit",
        "Stretch of the tree",
        "≤ 3\u{202f}000",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    assert_eq!(page.matches("<figure").count(), 3 + 1 + 2 + 2);
    assert!(page.len() < 500_000, "{} bytes", page.len());
}

/// The same run, the same bytes: nothing in a page is of today.
#[test]
fn pages_are_the_same_each_time() {
    let page = || {
        let (scenario, report) = run("kill-one-of-three", true);
        run_page(&scenario, &report, "netsim run kill-one-of-three")
    };
    assert_eq!(page(), page());
    let page = || {
        let (scenario, comparison) = comparison(&[Policy::Placement, Policy::Random], true);
        compare_page(&scenario, &comparison, "netsim compare small.toml")
    };
    assert_eq!(page(), page());
}

/// What holds its places for a scenario's text: names, sentences, violations, the command.
#[test]
fn nothing_of_a_scenario_is_markup() {
    let (mut scenario, mut report) = run("three-nodes", true);
    let bad = "</h1><script>alert('x')</script>\"'&";
    scenario.about = bad.to_owned();
    scenario.regions = vec![bad.to_owned(); scenario.regions.len()];
    report.name = bad.to_owned();
    report.violations = vec![bad.to_owned()];
    if let Some(series) = &mut report.series {
        series.gaps = vec![crate::record::FlowGap {
            fault: 0,
            at_ms: 1_000,
            pause_ms: 10,
            from: bad.to_owned(),
            to: bad.to_owned(),
        }];
    }
    let page = run_page(&scenario, &report, bad);
    check_page(&page);
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    let (scenario, comparison) = comparison(&[Policy::Placement], true);
    let page = compare_page(&scenario, &comparison, bad);
    check_page(&page);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;"));
}

#[test]
fn a_comparison_has_every_policy_with_its_bounds() {
    let (scenario, comparison) = comparison(&Policy::ALL, true);
    let page = compare_page(&scenario, &comparison, "netsim compare small.toml --seeds 2");
    check_page(&page);
    for policy in Policy::ALL {
        let trace = &comparison.rows.iter().find(|row| row.policy == policy.name()).unwrap().trace;
        assert!(page.contains(policy.name()) && page.contains(trace.as_str()), "{}", policy.name());
    }
    for part in [
        "placement (ours)",
        "cheapest assignment at the peak",
        "bound",
        "≤ 2.5",
        "1 to 2: 2",
        "Load of each node",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    let (table, _) = page.split_once("</table>").unwrap();
    assert_eq!(table.matches("<tr>").count(), 1 + balance::FIGURES.len());
    assert!(table.contains("class=\"mark good\"") && table.contains("±"));
}

/// Without series there are figures and facts; with one policy nothing is beside it.
#[test]
fn a_page_without_pictures_is_whole() {
    let (scenario, report) = run("three-nodes", false);
    let page = run_page(&scenario, &report, "netsim run three-nodes");
    check_page(&page);
    assert_eq!(page.matches("<figure").count(), 0);
    let (scenario, comparison) = comparison(&[Policy::Nearest], false);
    check_page(&compare_page(&scenario, &comparison, "netsim compare small.toml"));
}

/// More nodes than have room in rows: the spread is shown.
#[test]
fn many_nodes_are_shown_as_a_spread() {
    let (mut scenario, mut report) = run("three-nodes", true);
    let series = report.series.as_mut().unwrap();
    let plan = scenario.nodes[0].clone();
    let node = series.nodes[0].clone();
    for number in 10..110 {
        let number = crate::sim::node(number);
        scenario.nodes.push(crate::scenario::NodePlan { number, ..plan.clone() });
        series.nodes.push(crate::record::NodeSeries { number, ..node.clone() });
        for picture in &mut series.pictures {
            let first = picture.nodes[0];
            picture.nodes.push(crate::record::NodePicture { number, ..first });
        }
    }
    let page = run_page(&scenario, &report, "netsim run hundred");
    check_page(&page);
    assert!(page.contains("fullest") && page.contains("emptiest"));
}

#[test]
fn commands_are_quoted_for_a_shell() {
    assert_eq!(shell_line(["netsim", "run", "a b/it's.toml"]), r"netsim run 'a b/it'\''s.toml'");
    assert_eq!(shell_line(["my/own-1.toml", ""]), "my/own-1.toml ''");
}

#[test]
fn the_worst_moment_is_among_the_pictures() {
    let picture = |at_ms, dead: usize| {
        let node = |number| crate::record::NodePicture {
            number: crate::sim::node(number as u16 + 1),
            state: if number < dead { NodeState::Dead } else { NodeState::Serving },
            attachments: 1,
        };
        Picture { at_ms, nodes: (0..4).map(node).collect(), links: Vec::new() }
    };
    let pictures = [picture(0, 0), picture(1, 1), picture(2, 3), picture(3, 2), picture(4, 0)];
    let shown: Vec<u64> = worth_showing(&pictures).iter().map(|picture| picture.at_ms).collect();
    assert_eq!(shown, [0, 2, 4]);
}
