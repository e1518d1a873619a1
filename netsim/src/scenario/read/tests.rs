//! What is refused, each with its line, key and remedy.

use super::*;

const GOOD: &str = r#"name = "good"
about = "A scenario."
duration_s = 60

[regions]
names = ["eu", "us"]
rtt_ms = [[2, 80], [80, 2]]

[mesh]
links_allowed = [[1, 2], [2, 3]]

[[node]]
number = 1
region = "eu"
broker = true

[[node]]
number = 2
count = 2
region = "us"

[[session]]
name = "help"
count = 2

[[session.endpoint]]
name = "provider"
role = "provider"
region = "eu"
node = 1

[[session.endpoint]]
name = "customer"
role = "customer"
region = "us"
count = 2

[[workload]]
kind = "chat"
per_s = 10

[[fault]]
at_ms = 10_000
kind = "kill"
node = 2

[checks]
gap_p99_ms = 500
"#;

fn refusal(from: &str, to: &str) -> ScenarioError {
    assert!(GOOD.contains(from), "{from} is in the text");
    read("f.toml", &GOOD.replacen(from, to, 1)).unwrap_err()
}

#[test]
fn what_makes_sense_is_read() {
    let scenario = read("f.toml", GOOD).unwrap();
    assert_eq!(scenario.nodes.len(), 3);
    assert_eq!(scenario.sessions.len(), 2);
    assert_eq!(scenario.sessions[1].name, "help-2");
    assert_eq!(scenario.sessions[0].endpoints[2].name, "customer-2");
    assert_eq!(scenario.endpoints(), 6);
    assert_eq!(scenario.checks.gap_p99_ms, Some(500));
    assert_eq!(scenario.checks.lost, 0);
    let node = |value| NodeNumber::new(value).unwrap();
    assert_eq!(scenario.neighbors_allowed(node(2)), Some(vec![node(1), node(3)]));
    assert_eq!(scenario.meant(Some("help"), Some("customer")).len(), 4);
    assert_eq!(scenario.meant(Some("help-1"), Some("customer-2")), [(0, 2)]);
    assert_eq!(scenario.faults[0].fault, Fault::Kill(vec![node(2)]));
}

#[test]
fn the_shipped_ones_are_read_and_named_as_their_files() {
    for (name, text) in crate::scenario::SHIPPED {
        let scenario = Scenario::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(scenario.name, *name);
    }
}

/// Each refusal names the line and the key.
#[test]
fn nonsense_is_refused_where_it_stands() {
    let cases: &[(&str, &str, usize, &str, &str)] = &[
        ("duration_s = 60", "duration_s = 0", 3, "duration_s", "86400"),
        ("[80, 2]]", "[81, 2]]", 7, "regions.rtt_ms", "make them equal"),
        ("[[1, 2], [2, 3]]", "[[1, 2]]", 10, "mesh.links_allowed", "nothing leads to node 3"),
        ("[[1, 2], [2, 3]]", "[[1, 2], [2, 9]]", 10, "mesh.links_allowed", "use one of 1, 2, 3"),
        ("[[1, 2], [2, 3]]", "[[2, 3]]", 10, "mesh.links_allowed", "nothing leads to node 2"),
        ("[[1, 2], [2, 3]]", "[[1, 2], [2, 3], [3, 3]]", 10, "mesh.links_allowed", "with itself"),
        (
            "[[1, 2], [2, 3]]",
            "[[1, 2], [2, 3]]\nlink_costs_ms = [[1, 3, 5]]",
            11,
            "mesh.link_costs_ms",
            "they have no link",
        ),
        (
            "[[1, 2], [2, 3]]",
            "[[1, 2], [2, 3]]\nlink_costs_ms = [[1, 2, 5], [2, 1, 6]]",
            11,
            "mesh.link_costs_ms",
            "named twice",
        ),
        (
            "[[1, 2], [2, 3]]",
            "[[1, 2], [2, 3]]\nlink_costs_ms = [[1, 2, 0]]",
            11,
            "mesh.link_costs_ms",
            "1 to 3276",
        ),
        ("rtt_ms = [[2, 80], [80, 2]]", "rtt_ms = [[2, 80]]", 7, "regions.rtt_ms", "a row for each region"),
        ("rtt_ms = [[2, 80], [80, 2]]", "rtt_ms = [[2, 80], [80]]", 7, "regions.rtt_ms", "a number for each"),
        ("rtt_ms = [[2, 80], [80, 2]]", "rtt_ms = [[2, 0], [0, 2]]", 7, "regions.rtt_ms", "1 to 2000"),
        ("broker = true", "broker = true\ncapacity = 0", 16, "node.capacity", "at least one"),
        ("broker = true", "broker = true\ncapacity = 1", 31, "session.endpoint.node", "raise its capacity"),
        ("broker = true", "broker = true\nservice_us = 2_000_000", 16, "node.service_us", "at most 1000000"),
        ("duration_s = 60", "duration_s = 60\njoins_apart_ms = 0", 4, "joins_apart_ms", "1 to 60000"),
        ("kind = \"kill\"", "kind = \"slow\"\ntimes = 0", 45, "fault.times", "1 to 1000"),
        ("kind = \"kill\"", "kind = \"fast\"\ntimes = 2", 45, "fault.times", "means nothing"),
        ("kind = \"kill\"", "kind = \"lie\"", 42, "fault.load_percent", "needs it"),
        ("count = 2\n\n[[workload]]", "count = 50\n\n[[workload]]", 22, "session.endpoint", "2 to 50"),
        ("region = \"us\"", "region = \"ap\"", 20, "node.region", "use one of eu, us"),
        ("number = 2", "number = 1", 18, "node.number", "its own number"),
        ("broker = true\n", "", 12, "node.broker", "broker = true"),
        ("node = 1", "node = 8", 30, "session.endpoint.node", "no node 8"),
        ("node = 1", "policy = \"best\"", 30, "session.endpoint.policy", "nearest"),
        ("role = \"provider\"", "role = \"customer\"", 22, "session.endpoint", "make it a provider"),
        ("per_s = 10", "per_s = 10\nbytes = 5", 41, "workload.bytes", "24 to 4096"),
        ("per_s = 10", "per_s = 10\nfrom = \"nobody\"", 41, "workload.from", "no such endpoint"),
        ("per_s = 10", "", 38, "workload.per_s", "1 to 10000"),
        ("at_ms = 10_000", "at_ms = 60_000", 43, "fault.at_ms", "before the scenario's end"),
        ("node = 2", "node = 7", 45, "fault.node", "no node 7"),
        ("kind = \"kill\"", "kind = \"kil\"", 44, "fault.kind", "say kill"),
        ("node = 2", "node = 2\npercent = 3", 46, "fault.percent", "means nothing"),
        ("node = 2", "", 42, "fault.node", "give one of"),
        (
            "kind = \"kill\"\nnode = 2",
            "kind = \"partition\"\nsides = [[1], [1, 2]]",
            45,
            "fault.sides",
            "two sides",
        ),
        (
            "kind = \"kill\"\nnode = 2",
            "kind = \"loss\"\nbetween = [1, 2]\npercent = 95",
            46,
            "fault.percent",
            "at most 90",
        ),
    ];
    for (from, to, line, key, words) in cases {
        let error = refusal(from, to);
        assert_eq!((error.line, error.key.as_str()), (*line, *key), "{to}: {error}");
        assert!(error.sentence.contains(words), "{to}: {error}");
        assert!(error.to_string().starts_with(&format!("f.toml:{line}: {key}: ")), "{error}");
    }
}

/// More endpoints than the mesh has room for.
#[test]
fn a_mesh_that_is_too_small_is_refused() {
    let text = GOOD
        .replace("broker = true", "broker = true\ncapacity = 2")
        .replace("region = \"us\"\n\n[[session]]", "region = \"us\"\ncapacity = 1\n\n[[session]]");
    let error = read("f.toml", &text).unwrap_err();
    assert_eq!((error.line, error.key.as_str()), (38, "session.endpoint.count"), "{error}");
    assert!(error.sentence.contains("6 endpoints are too many"), "{error}");
}

#[test]
fn unknown_keys_are_refused_with_their_line() {
    for (from, to, line) in [
        ("per_s = 10", "per_sec = 10", 40),
        ("broker = true", "brocker = true", 15),
        ("gap_p99_ms = 500", "gap_p99 = 500", 48),
        ("name = \"good\"", "nam = \"good\"", 1),
    ] {
        let error = refusal(from, to);
        assert_eq!(error.line, line, "{to}: {error}");
        assert!(error.sentence.contains("unknown field"), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there_says_what_to_do() {
    let error = Scenario::load("no-such-scenario").unwrap_err();
    assert!(error.to_string().contains("netsim list"), "{error}");
}

const ARRIVING: &str = r#"name = "good"
about = "Endpoints come and go."
duration_s = 600

[regions]
names = ["eu", "us"]
rtt_ms = [[2, 80], [80, 2]]

[[node]]
number = 1
count = 2
region = "eu"
broker = true
capacity = 100

[reports]
age_ms = 5_000

[arrivals]
kind = "poisson"
sessions_per_min = 60
geography = { eu = 2 }
length = "pareto"
length_median_s = 60
length_max_s = 600

[[fault]]
at_ms = 10_000
kind = "kill"
node = 2

[checks]
rejects_ppm = 10
"#;

/// Each refusal of `[arrivals]` and `[reports]` names the line and the key.
#[test]
fn nonsense_about_arrivals_is_refused_where_it_stands() {
    let read_with = |from: &str, to: &str| {
        assert!(ARRIVING.contains(from), "{from} is in the text");
        read("f.toml", &ARRIVING.replacen(from, to, 1))
    };
    let scenario = read_with("", "").unwrap();
    assert_eq!(scenario.arrivals.unwrap().weights, [2, 0]);
    assert_eq!(scenario.reports.interval, Duration::from_secs(1));
    let cases: &[(&str, &str, usize, &str, &str)] = &[
        ("capacity = 100", "capacity = 0", 14, "node.capacity", "at least one"),
        ("[80, 2]]", "[80, 2], [1, 1]]", 7, "regions.rtt_ms", "a row for each region"),
        ("age_ms = 5_000", "age_ms = 70_000", 17, "reports.age_ms", "60000"),
        ("age_ms = 5_000", "interval_ms = 5", 17, "reports.interval_ms", "100 to 60000"),
        ("\"poisson\"", "\"rain\"", 20, "arrivals.kind", "flash-crowd"),
        ("\"poisson\"", "\"diurnal\"", 19, "arrivals.day_s", "needs it"),
        ("\"poisson\"", "\"poisson\"\ncrowd_times = 2", 21, "arrivals.crowd_times", "means nothing"),
        ("eu = 2", "ap = 2", 22, "arrivals.geography", "use one of eu, us"),
        ("eu = 2", "eu = 0", 22, "arrivals.geography", "above 0"),
        ("sessions_per_min = 60", "sessions_per_min = 900_000", 21, "arrivals.sessions_per_min", "at most"),
        ("\"pareto\"", "\"pareto\"\nlength_sigma_percent = 9", 24, "arrivals.length_sigma_percent", "pareto"),
        ("length_max_s = 600", "length_max_s = 6", 25, "arrivals.length_max_s", "60 to 86400"),
        ("\"kill\"", "\"stop\"", 29, "fault.kind", "kill, restart or lie"),
        ("node = 2", "nodes = [1, 2]", 29, "fault.kind", "leave one"),
    ];
    for (from, to, line, key, sentence) in cases {
        let error = read_with(from, to).unwrap_err();
        assert_eq!((error.line, error.key.as_str()), (*line, *key), "{to}: {error}");
        assert!(error.sentence.contains(sentence), "{to}: {error}");
    }
    let error = read_with("age_ms", "agee_ms").unwrap_err();
    assert!(error.line == 17 && error.sentence.contains("unknown field"), "{error}");
    let error = refusal("gap_p99_ms = 500", "rejects_ppm = 500");
    assert_eq!((error.line, error.key.as_str()), (48, "checks.rejects_ppm"), "{error}");
}
