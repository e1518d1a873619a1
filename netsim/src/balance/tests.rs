//! What must hold between policies, whatever the scenario.

use std::time::Duration;

use super::*;

/// Two regions, four nodes with different capacities, a node that dies and comes back.
fn scenario(arrivals: &str, capacity: u64) -> Scenario {
    let text = format!(
        r#"name = "small"
about = "Small."
duration_s = 300
[regions]
names = ["eu", "us"]
rtt_ms = [[8, 80], [80, 8]]
[[node]]
number = 1
count = 2
region = "eu"
capacity = {capacity}
broker = true
[[node]]
number = 3
region = "eu"
capacity = {}
[[node]]
number = 4
count = 2
region = "us"
capacity = {capacity}
[reports]
age_ms = 2_000
[arrivals]
{arrivals}
geography = {{ eu = 3, us = 1 }}
size_max = 10
length_median_s = 60
length_max_s = 600
[[fault]]
at_ms = 150_000
kind = "kill"
node = 2
[[fault]]
at_ms = 200_000
kind = "restart"
node = 2
"#,
        2 * capacity
    );
    Scenario::parse("small.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}

const POISSON: &str = "kind = \"poisson\"\nsessions_per_min = 60\nlength = \"lognormal\"";
const CROWD: &str = "kind = \"flash-crowd\"\nsessions_per_min = 30\nlength = \"pareto\"\ncrowd_at_s = 100\ncrowd_for_s = 50\n\
                     crowd_times = 6\ncrowd_region = \"us\"";
const DAYS: &str = "kind = \"diurnal\"\nsessions_per_min = 90\nlength = \"lognormal\"\nday_s = 300\n\
                    peak_at_s = { eu = 50, us = 200 }";

fn all(seeds: u64) -> Options {
    Options { policies: Policy::ALL.to_vec(), seed: 3, seeds, jobs: 2, series: false }
}

/// Who comes depends on the seed alone; and a rate that is changed in one place leaves the other streams as they were.
#[test]
fn random_numbers_are_common() {
    let scenario = scenario(POISSON, 500);
    let arrivals = scenario.arrivals.as_ref().unwrap();
    let demand = Demand::draw(arrivals, scenario.duration, 7);
    assert_eq!(demand, Demand::draw(arrivals, scenario.duration, 7));
    assert_ne!(demand, Demand::draw(arrivals, scenario.duration, 8));
    let longer = Arrivals { length_median: Duration::from_secs(90), ..arrivals.clone() };
    let longer = Demand::draw(&longer, scenario.duration, 7);
    let firsts = |demand: &Demand| -> Vec<(u64, usize, usize)> {
        let first = |range: &std::ops::Range<usize>| {
            let endpoint = &demand.endpoints[range.start];
            (endpoint.arrives_ms, endpoint.region, range.len())
        };
        demand.sessions.iter().map(first).collect()
    };
    assert_eq!(firsts(&demand), firsts(&longer));
    let compared = compare(&scenario, &all(2), || {}).unwrap();
    assert!(compared.endpoints > 500);
}

/// The light profile: the same arrivals on the mesh's own cores. Equal seeds give equal traces, what it counts is what
/// came, and in the end every node sends each session where it is, and nowhere else.
#[test]
fn arrivals_play_on_the_cores() {
    let scenario = scenario(POISSON, 500);
    let light = |seed| {
        let mut stages = Vec::new();
        let options = crate::play::Options { seed, ..Default::default() };
        let (report, size) = play(&scenario, options, |stage| stages.push(stage)).unwrap();
        assert_eq!(stages, [Stage::Formed, Stage::Played]);
        (report, size)
    };
    let (report, size) = light(3);
    assert_eq!((&report.violations[..], report.verdict), (&[][..], Verdict::Held));
    let arrivals = scenario.arrivals.as_ref().unwrap();
    assert_eq!(size.endpoints.0, Demand::draw(arrivals, scenario.duration, 3).endpoints.len() as u64);
    assert!(size.endpoints.1 > 50 && size.events.1 > size.events.0, "{size:?}");
    let (again, other) = (light(3).0, light(4).0);
    assert_eq!(report, again);
    assert_ne!(report.trace, other.trace);
    let converge = report.figures.iter().find(|figure| figure.name == "converge_ms").unwrap();
    assert!(
        converge.value.is_some_and(|ms| ms > 0),
        "a node died, and the others agreed on it: {converge:?}"
    );
}

/// Sessions come at the rate that is asked for, and last as long.
#[test]
fn demand_is_as_the_scenario_says() {
    for (text, expected) in [(POISSON, 300), (DAYS, 270)] {
        let scenario = scenario(text, 500);
        let arrivals = scenario.arrivals.as_ref().unwrap();
        let demands: Vec<Demand> =
            (0..20).map(|seed| Demand::draw(arrivals, scenario.duration, seed)).collect();
        let sessions = demands.iter().map(|demand| demand.sessions.len()).sum::<usize>() / 20;
        assert!(sessions.abs_diff(expected) < 15, "{sessions}, not {expected}");
        let mut lengths: Vec<u64> = Vec::new();
        for demand in &demands {
            for range in &demand.sessions {
                assert!((2..=10).contains(&range.len()));
                let first = demand.endpoints[range.start];
                lengths.push(first.leaves_ms - first.arrives_ms);
                assert!(demand.endpoints[range.clone()].iter().all(|one| one.arrives_ms < one.leaves_ms));
            }
        }
        lengths.sort_unstable();
        assert!(lengths[lengths.len() / 2].abs_diff(60_000) < 6_000);
        assert!(lengths[lengths.len() - 1] <= 600_000);
    }
}

/// Seed by seed and policy by policy; the world itself asserts that no node holds more than its capacity.
#[test]
fn no_bound_is_above_what_a_policy_reaches() {
    for (text, capacity) in [(POISSON, 500), (CROWD, 500), (DAYS, 500), (POISSON, 30), (CROWD, 30)] {
        let compared = compare(&scenario(text, capacity), &all(3), || {}).unwrap();
        for row in &compared.rows {
            for figure in &row.figures {
                for (value, bound) in figure.values.iter().zip(&figure.bounds) {
                    let (Some(value), Some(bound)) = (value, bound) else { continue };
                    assert!(value >= bound, "{}: {} is {value}, bound {bound}", row.policy, figure.name);
                }
            }
        }
        let rejects = |row: &Row| row.mean("rejects_percent").unwrap();
        assert_eq!(compared.rows.iter().all(|row| rejects(row) > 1.0), capacity == 30);
    }
}

/// Deaths move their own, and nothing else moves.
#[test]
fn deaths_move_their_own_alone() {
    let compared = compare(&scenario(POISSON, 500), &all(3), || {}).unwrap();
    for row in &compared.rows {
        let moves = row.figures.iter().find(|figure| figure.name == "moves_per_death").unwrap();
        assert_eq!(moves.values, moves.bounds, "{}", row.policy);
        assert!(moves.value.unwrap().mean > 5.0);
        assert_eq!((row.mean("collateral_moves"), row.mean("oscillations")), (Some(0.0), Some(0.0)));
    }
}

/// Whatever the threads do; the hash is the same in debug and release.
#[test]
fn equal_seeds_give_equal_traces() {
    let scenario = scenario(CROWD, 500);
    let once = compare(&scenario, &all(2), || {}).unwrap();
    assert_eq!(once, compare(&scenario, &Options { jobs: 1, ..all(2) }, || {}).unwrap());
    assert_ne!(once.rows[0].trace, once.rows[1].trace);
    assert_ne!(once.rows, compare(&scenario, &Options { seed: 4, ..all(2) }, || {}).unwrap().rows);
}

/// A limit is for our policy alone.
#[test]
fn limits_are_limits() {
    let mut scenario = scenario(POISSON, 500);
    scenario.checks.load_over_mean_percent = Some(100);
    let compared = compare(&scenario, &all(1), || {}).unwrap();
    assert_eq!(compared.verdict, Verdict::Liveness);
    assert!(
        compared.violations[0].starts_with("placement: load_over_mean is 1."),
        "{:?}",
        compared.violations
    );
    let others = Options { policies: vec![Policy::Random], ..all(1) };
    assert_eq!(compare(&scenario, &others, || {}).unwrap().verdict, Verdict::Held);
    scenario.arrivals = None;
    assert_eq!(compare(&scenario, &all(1), || {}), None);
}
