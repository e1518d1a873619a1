//! The shipped scenarios hold, and each fault of the format does what its page says.

use netsim::balance::{self, Policy};
use netsim::play::{Options, Report, Verdict, play, play_to_end};
use netsim::scenario::Scenario;

fn held(name: &str) -> Report {
    let report = play(&Scenario::load(name).unwrap(), Options { seed: 5, ..Options::default() });
    assert_eq!(report.verdict, Verdict::Held, "{name}: {:#?}", report.violations);
    report
}

fn figure(report: &Report, name: &str) -> u64 {
    report.figures.iter().find(|figure| figure.name == name).and_then(|figure| figure.value).unwrap()
}

#[test]
fn three_nodes() {
    let report = held("three-nodes");
    // Two and four endpoints, five lines a second each for half a minute, to everybody else.
    assert_eq!(figure(&report, "said"), 6 * 5 * 30);
    assert_eq!(figure(&report, "delivered"), 2 * 150 + 4 * 3 * 150);
    assert_eq!(figure(&report, "files_done"), 1);
}

#[test]
fn kill_one_of_three() {
    let report = held("kill-one-of-three");
    assert_eq!(figure(&report, "files_done"), 6);
}

#[test]
fn partition_heals() {
    let report = held("partition-heals");
    assert!(figure(&report, "gap_max_ms") > 24_000, "nothing crosses a partition of 25 s");
}

#[test]
fn broker_down() {
    held("broker-down");
}

/// [LSA-14] [LSA-15]: the endpoints of a revoked node go elsewhere, their files under way arrive whole, and it stays out
/// after a restart without the list, by the word of those who refuse it.
#[test]
fn revoked_node() {
    let report = held("revoked-node");
    assert_eq!(figure(&report, "files_done"), 12);
}

/// [LSA-15]: one that cannot be told leaves once it can be refused.
#[test]
fn revoked_unheard() {
    let report = held("revoked-unheard");
    assert_eq!(figure(&report, "files_done"), 2);
}

#[test]
fn slow_receiver() {
    assert_eq!(figure(&held("slow-receiver"), "files_done"), 3);
}

#[test]
fn thin_line() {
    assert_eq!(figure(&held("thin-line"), "files_done"), 1);
}

#[test]
fn transit_dies() {
    held("transit-dies");
}

#[test]
fn region_outage() {
    held("region-outage");
}

/// Every node, the brokers' too, goes and comes back under way: all files arrive.
#[test]
fn rolling_upgrade() {
    let report = held("rolling-upgrade");
    assert_eq!(figure(&report, "files_done"), 3 * 12 * 2);
    assert_eq!(figure(&report, "lost"), 0);
}

#[test]
fn gray_node() {
    assert_eq!(figure(&held("gray-node"), "files_done"), 3);
}

/// Where nothing is left to chance all seeds end alike, which is what the lab is held against.
#[test]
fn twin_leaves_nothing_to_chance() {
    let scenario = Scenario::load("twin").unwrap();
    let end = |seed| {
        let (report, state) = play_to_end(&scenario, Options { seed, ..Options::default() });
        assert_eq!(report.verdict, Verdict::Held, "{:#?}", report.violations);
        state
    };
    let state = end(1);
    for seed in 2..=5 {
        assert_eq!(end(seed), state, "seed {seed}");
    }
    let at = |name: &str| {
        let seat = state.placement[name];
        (seat.active.unwrap(), seat.standby.unwrap())
    };
    assert_eq!(at("east-2/provider"), (4, 3));
    assert_eq!(at("east-1/customer"), (1, 2), "from node 1 it is 60 ms to the provider, from node 2 more");
    assert_eq!(at("west/customer-2"), (2, 1), "and here node 2 is nearer");
    assert_eq!((state.routes[&1][&3].next, state.routes[&2][&4].next), (2, 3), "around two dear links");
    let egress: Vec<u16> = state.egress["east-1"][&1].iter().copied().collect();
    assert_eq!(egress, [3, 4]);
}

/// A node that says from the beginning that nobody is there is sent everybody, and keeps those whom it has room for.
#[test]
fn a_lying_node_sends_on_whom_it_cannot_keep() {
    let text = r#"name = "small"
about = "Two nodes, one of which lies."
duration_s = 10
joins_apart_ms = 1_200
[regions]
names = ["here", "there"]
rtt_ms = [[4, 40], [40, 4]]
[[node]]
number = 1
region = "here"
capacity = 4
[[node]]
number = 2
region = "there"
broker = true
[[session]]
name = "help"
count = 3
endpoint = [
    { name = "provider", role = "provider", region = "here", standby = false },
    { name = "customer", role = "customer", region = "here", standby = false },
]
[[workload]]
kind = "chat"
per_s = 2
[[fault]]
at_ms = 0
kind = "lie"
node = 1
load_percent = 0
"#;
    let scenario = Scenario::parse("small.toml", text).unwrap();
    let (report, state) = play_to_end(&scenario, Options { seed: 3, ..Options::default() });
    assert_eq!(report.verdict, Verdict::Held, "{:#?}", report.violations);
    let at = |node| state.placement.values().filter(|seat| seat.active == Some(node)).count();
    assert_eq!((at(1), at(2)), (4, 2), "{:?}", state.placement);
}

/// [TRK-11]: a node whose clock jumps by an hour is refused once it comes back, is called the odd one, and returns when its
/// clock is set.
#[test]
fn a_clock_that_jumps() {
    let jump = fault(5_000, "clock", "node = 3\noffset_ms = 3600000") + &fault(8_000, "restart", "node = 3");
    let report = small(&jump, "");
    assert_eq!(report.verdict, Verdict::Held, "{:#?}", report.violations);
    let back = jump + &fault(20_000, "clock", "node = 3\noffset_ms = 0");
    let report = small(&back, "converge_ms = 30_000");
    assert_eq!(report.verdict, Verdict::Held, "{:#?}", report.violations);
}

#[test]
fn rolling_drain() {
    let report = held("rolling-drain");
    assert!(figure(&report, "gap_max_ms") <= 1_000);
}

/// A scenario of two nodes and one session, with faults and checks of its own.
fn small(faults: &str, checks: &str) -> Report {
    let text = format!(
        r#"name = "small"
about = "Three nodes, one session."
duration_s = 40
[regions]
names = ["here"]
rtt_ms = [[10]]
[[node]]
number = 1
region = "here"
count = 3
broker = true
[[session]]
name = "help"
endpoint = [
    {{ name = "provider", role = "provider", region = "here", node = 1, standby_node = 3 }},
    {{ name = "customer", role = "customer", region = "here", node = 2, standby_node = 3 }},
]
[[workload]]
kind = "chat"
per_s = 5
{faults}
[checks]
{checks}
"#
    );
    let scenario = Scenario::parse("small.toml", &text).unwrap_or_else(|error| panic!("{error}"));
    play(&scenario, Options { seed: 9, ..Options::default() })
}

fn fault(at_ms: u64, kind: &str, keys: &str) -> String {
    format!("[[fault]]\nat_ms = {at_ms}\nkind = \"{kind}\"\n{keys}\n")
}

/// Every kind of fault, each ended before the scenario is: nothing is lost.
#[test]
fn all_kinds_of_faults_are_survived() {
    let cases = [
        fault(5_000, "stop", "node = 2") + &fault(12_000, "continue", "node = 2"),
        fault(5_000, "stop", "node = 2") + &fault(5_400, "continue", "node = 2"),
        fault(5_000, "kill", "node = 2") + &fault(15_000, "restart", "node = 2"),
        fault(5_000, "drain", "node = 2\nwithin_ms = 10000") + &fault(25_000, "restart", "node = 2"),
        fault(5_000, "silence", "from = [1]\nto = [2]") + &fault(12_000, "heal", ""),
        fault(5_000, "partition", "sides = [[1], [2, 3]]") + &fault(12_000, "heal", ""),
        fault(5_000, "reset", "between = [1, 2]"),
        fault(5_000, "loss", "between = [1, 2]\npercent = 20") + &fault(15_000, "heal", ""),
        fault(5_000, "delay", "between = [1, 2]\nby_ms = 100") + &fault(15_000, "heal", ""),
        fault(5_000, "slow", "endpoint = \"customer\"\ndownstream_kib_s = 16"),
        fault(5_000, "clock", "node = 2\noffset_ms = -100000"),
        fault(5_000, "slow", "node = 2\ntimes = 10") + &fault(20_000, "fast", "node = 2"),
        fault(5_000, "slow", "node = 2\ntimes = 1000") + &fault(9_000, "slow", "node = 2\ntimes = 1"),
        fault(5_000, "lie", "node = 2\nload_percent = 0"),
    ];
    for faults in cases {
        let report = small(&faults, "converge_ms = 20_000");
        assert_eq!(report.verdict, Verdict::Held, "{faults}{:#?}", report.violations);
        assert!(figure(&report, "said") > 300, "{faults}");
    }
}

/// [LSA-14]: a revoked node ends its attachments: its endpoints go elsewhere, and nothing is lost.
#[test]
fn a_revoked_nodes_endpoints_go_elsewhere() {
    let report = small(&fault(5_000, "revoke", "node = 2"), "");
    assert_eq!(report.verdict, Verdict::Held, "{:#?}", report.violations);
    assert!(figure(&report, "said") > 300);
    assert_eq!(figure(&report, "lost"), 0);
}

/// A limit that does not hold fails the run, with the figure's name.
#[test]
fn limits_are_limits() {
    let kill = fault(5_000, "kill", "node = 2") + &fault(15_000, "restart", "node = 2");
    let report = small(&kill, "latency_p99_ms = 1");
    assert_eq!(report.verdict, Verdict::Correctness);
    assert!(report.violations[0].contains("latency_p99_ms"), "{:?}", report.violations);
    let report = small("", "latency_p99_ms = 1000");
    assert_eq!(report.verdict, Verdict::Held, "{:?}", report.violations);
}

/// Scenarios with arrivals, a tenth as large and for one seed: nothing is refused while there is room, nothing moves but the dead nodes' own, and
/// the only limit of theirs that is known to be missed is that of round trips where near regions are unequally near.
#[test]
fn arrivals_of_the_shipped_scenarios() {
    for name in ["stale-load", "flash-crowd", "diurnal-three-continents", "lying-node"] {
        let mut scenario = Scenario::load(name).unwrap();
        scenario.arrivals.as_mut().unwrap().sessions_per_min /= 10;
        scenario.nodes.iter_mut().for_each(|node| node.capacity /= 10);
        // Small numbers are uneven by themselves.
        scenario.checks.load_over_mean_percent = None;
        let options =
            balance::Options { policies: vec![Policy::OURS], seed: 5, seeds: 1, jobs: 1, series: false };
        let compared = balance::compare(&scenario, &options, || {}).unwrap();
        assert!(compared.endpoints > 2_000, "{name}: {}", compared.endpoints);
        let ours = &compared.rows[0];
        assert_eq!(ours.mean("rejects_with_room_percent"), Some(0.0), "{name}");
        assert_eq!(ours.mean("collateral_moves"), Some(0.0), "{name}");
        let redirected = ours.mean("redirects_percent").unwrap();
        // Old reports send some to full nodes; a lie many more.
        let sent_on = if name == "lying-node" { 3.0..20.0 } else { 0.0..1.0 };
        assert!(sent_on.contains(&redirected), "{name}: {redirected} %");
        let missed: Vec<&str> =
            compared.violations.iter().filter_map(|violation| violation.split(' ').nth(1)).collect();
        let known: &[&str] = if name == "diurnal-three-continents" { &["rtt_p99_over_flow"] } else { &[] };
        assert_eq!(missed, known, "{name}");
    }
}
