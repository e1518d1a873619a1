//! From a scenario to its text: what is read from it is the same scenario.

use std::collections::BTreeMap;
use std::time::Duration;

use proto_spec::NodeNumber;
use toml::Spanned;

use super::file::{self, File};
use super::{
    ArrivalKind, Arrivals, EndpointPlan, Fault, Length, Load, LoadKind, Place, Scenario, SessionPlan,
    Standby, TimedFault, numbered,
};

impl Scenario {
    /// As the text of a file.
    ///
    /// # Panics
    /// Never: it is plain data.
    pub fn to_text(&self) -> String {
        toml::to_string(&self.file()).expect("plain data of our own always serialises")
    }

    fn file(&self) -> File {
        let whole_s = self.duration.subsec_millis() == 0;
        File {
            name: self.name.clone(),
            about: self.about.clone(),
            duration_s: whole_s.then_some(self.duration.as_secs()),
            duration_ms: (!whole_s).then(|| ms(self.duration)),
            joins_apart_ms: self.joins_apart.map(ms),
            regions: somewhere(file::Regions {
                names: self.regions.clone(),
                rtt_ms: self.rtt_ms.clone(),
                jitter_percent: self.jitter_percent,
            }),
            mesh: Some(somewhere(file::Mesh {
                links_max: Some(self.links_max),
                links_allowed: self
                    .links_allowed
                    .as_ref()
                    .map(|pairs| pairs.iter().map(|(a, b)| [a.value(), b.value()]).collect()),
                link_costs_ms: self
                    .link_costs_ms
                    .iter()
                    .map(|((a, b), cost_ms)| (a.value(), b.value(), *cost_ms))
                    .collect(),
            })),
            node: self.nodes.iter().map(|node| somewhere(self.node_table(node))).collect(),
            session: self.session_tables(),
            arrivals: self.arrivals.as_ref().map(|arrivals| somewhere(self.arrivals_table(arrivals))),
            reports: self.arrivals.is_some().then(|| {
                somewhere(file::Reports {
                    interval_ms: Some(ms(self.reports.interval)),
                    age_ms: Some(ms(self.reports.age)),
                })
            }),
            workload: self.workload.iter().map(|load| somewhere(workload(load))).collect(),
            fault: self.faults.iter().map(|timed| somewhere(fault(timed))).collect(),
            checks: self.checks,
        }
    }

    fn node_table(&self, node: &super::NodePlan) -> file::Node {
        file::Node {
            number: node.number.value(),
            count: None,
            region: self.regions[node.region].clone(),
            failure_domain: Some(node.failure_domain.clone()),
            capacity: Some(node.capacity),
            broker: node.broker,
            service_us: node.service_us,
        }
    }

    /// Those alike, one after the other, as one table with a count.
    fn session_tables(&self) -> file::Tables<file::Session> {
        let alike = |a: &SessionPlan, b: &SessionPlan| a.group == b.group && a.endpoints == b.endpoints;
        let table = |sessions: &[SessionPlan]| {
            let first = &sessions[0];
            let groups = first.endpoints.chunk_by(same_but_for_the_name);
            let endpoint = groups.flat_map(|group| {
                counted(group, |endpoint| (&endpoint.name, &endpoint.group))
                    .into_iter()
                    .map(move |(name, count, at)| somewhere(self.endpoint_table(name, count, &group[at])))
            });
            let endpoint: Vec<_> = endpoint.collect();
            counted(sessions, |session| (&session.name, &session.group)).into_iter().map(
                move |(name, count, _)| somewhere(file::Session { name, count, endpoint: endpoint.clone() }),
            )
        };
        self.sessions.chunk_by(alike).flat_map(table).collect()
    }

    fn endpoint_table(&self, name: String, count: Option<u32>, plan: &EndpointPlan) -> file::Endpoint {
        let (node, policy) = match plan.at {
            Place::Node(number) => (Some(number.value()), None),
            Place::Placement => (None, None),
            Place::Nearest => (None, Some("nearest".to_owned())),
            Place::Random => (None, Some("random".to_owned())),
        };
        let (standby, standby_node) = match plan.standby {
            Standby::None => (Some(false), None),
            Standby::Apart => (None, None),
            Standby::Node(number) => (None, Some(number.value())),
        };
        file::Endpoint {
            name,
            count,
            role: if plan.customer { "customer" } else { "provider" }.to_owned(),
            region: self.regions[plan.region].clone(),
            node,
            policy,
            standby,
            standby_node,
            downstream_kib_s: plan.downstream_kib_s,
        }
    }

    fn by_region(&self, values: impl Iterator<Item = u64>) -> BTreeMap<String, u64> {
        self.regions.iter().cloned().zip(values).filter(|(_, value)| *value > 0).collect()
    }

    fn arrivals_table(&self, arrivals: &Arrivals) -> file::Arrivals {
        let s = |duration: Duration| duration.as_secs();
        let (length, sigma, alpha) = match arrivals.length {
            Length::Lognormal(sigma) => ("lognormal", Some(sigma), None),
            Length::Pareto(alpha) => ("pareto", None, Some(alpha)),
        };
        let table = file::Arrivals {
            kind: "poisson".to_owned(),
            sessions_per_min: arrivals.sessions_per_min,
            geography: self.by_region(arrivals.weights.iter().copied()),
            together_percent: Some(arrivals.together_percent),
            join_s: Some(s(arrivals.join)),
            size_max: Some(arrivals.size_max),
            size_alpha_percent: Some(arrivals.size_alpha_percent),
            length: length.to_owned(),
            length_median_s: s(arrivals.length_median),
            length_max_s: s(arrivals.length_max),
            length_sigma_percent: sigma,
            length_alpha_percent: alpha,
            crowd_at_s: None,
            crowd_for_s: None,
            crowd_times: None,
            crowd_region: None,
            day_s: None,
            peak_at_s: None,
            low_percent: None,
        };
        match &arrivals.kind {
            ArrivalKind::Poisson => table,
            ArrivalKind::FlashCrowd { at, lasts, times, region } => file::Arrivals {
                kind: "flash-crowd".to_owned(),
                crowd_at_s: Some(s(*at)),
                crowd_for_s: Some(s(*lasts)),
                crowd_times: Some(*times),
                crowd_region: region.map(|region| self.regions[region].clone()),
                ..table
            },
            ArrivalKind::Diurnal { day, peaks, low_percent } => file::Arrivals {
                kind: "diurnal".to_owned(),
                day_s: Some(s(*day)),
                peak_at_s: Some(self.by_region(peaks.iter().map(|peak| s(*peak)))),
                low_percent: Some(*low_percent),
                ..table
            },
        }
    }
}

/// A table whose place nobody asks for: it is written, not read.
fn somewhere<T>(table: T) -> Spanned<T> {
    Spanned::new(0..0, table)
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

fn values(nodes: &[NodeNumber]) -> Vec<u16> {
    nodes.iter().map(|number| number.value()).collect()
}

fn same_but_for_the_name(a: &EndpointPlan, b: &EndpointPlan) -> bool {
    EndpointPlan { name: String::new(), ..a.clone() } == EndpointPlan { name: String::new(), ..b.clone() }
}

/// Things alike as the file names them: all by one name and a count, or, if they are not all that a count would make, each
/// by its own. With the place of each.
fn counted<T>(items: &[T], names: impl Fn(&T) -> (&String, &String)) -> Vec<(String, Option<u32>, usize)> {
    let (_, group) = names(&items[0]);
    let whole =
        items.iter().enumerate().all(|(at, item)| *names(item).0 == numbered(group, at + 1, items.len()));
    if whole {
        let count = (items.len() > 1).then_some(items.len() as u32);
        return vec![(group.clone(), count, 0)];
    }
    items.iter().enumerate().map(|(at, item)| (names(item).0.clone(), None, at)).collect()
}

fn workload(load: &Load) -> file::Workload {
    let (kind, per_s, bytes, count) = match load.kind {
        LoadKind::Chat { per_s, bytes } => ("chat", Some(per_s), bytes as u64, None),
        LoadKind::Packets { per_s, bytes } => ("packets", Some(per_s), bytes as u64, None),
        LoadKind::File { bytes, count } => ("file", None, bytes, Some(count)),
    };
    file::Workload {
        kind: kind.to_owned(),
        session: load.session.clone(),
        from: load.from.clone(),
        per_s,
        bytes: Some(bytes),
        count,
        start_ms: ms(load.start),
        stop_ms: Some(ms(load.stop)),
    }
}

fn fault(timed: &TimedFault) -> file::Fault {
    let on = |kind: &str, nodes: &[NodeNumber]| file::Fault {
        kind: kind.to_owned(),
        nodes: Some(values(nodes)),
        ..file::Fault::default()
    };
    let of = |kind: &str| file::Fault { kind: kind.to_owned(), ..file::Fault::default() };
    let table = match &timed.fault {
        Fault::Kill(nodes) => on("kill", nodes),
        Fault::Stop(nodes) => on("stop", nodes),
        Fault::Continue(nodes) => on("continue", nodes),
        Fault::Restart(nodes) => on("restart", nodes),
        Fault::Undrain(nodes) => on("undrain", nodes),
        Fault::Revoke(nodes) => on("revoke", nodes),
        Fault::Drain { nodes, within } => file::Fault { within_ms: Some(ms(*within)), ..on("drain", nodes) },
        Fault::SlowNode { nodes, times } => file::Fault { times: Some(*times), ..on("slow", nodes) },
        Fault::Lie { nodes, load_percent } => {
            file::Fault { load_percent: Some(*load_percent), ..on("lie", nodes) }
        }
        Fault::Clock { nodes, offset_ms } => {
            file::Fault { offset_ms: Some(*offset_ms), ..on("clock", nodes) }
        }
        Fault::Partition(sides) => {
            file::Fault { sides: Some(sides.iter().map(|side| values(side)).collect()), ..of("partition") }
        }
        Fault::Silence { from, to } => {
            file::Fault { from: Some(values(from)), to: Some(values(to)), ..of("silence") }
        }
        Fault::Heal => of("heal"),
        Fault::Reset(a, b) => file::Fault { between: Some(values(&[*a, *b])), ..of("reset") },
        Fault::Loss { between, percent } => {
            file::Fault { between: Some(values(between)), percent: Some(*percent), ..of("loss") }
        }
        Fault::Delay { between, by } => {
            file::Fault { between: Some(values(between)), by_ms: Some(ms(*by)), ..of("delay") }
        }
        Fault::Slow { session, endpoint, downstream_kib_s } => file::Fault {
            session: session.clone(),
            endpoint: Some(endpoint.clone()),
            downstream_kib_s: *downstream_kib_s,
            ..of("slow")
        },
    };
    file::Fault { at_ms: ms(timed.at), ..table }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SHIPPED;
    use crate::soak::Drawn;

    fn read_back(scenario: &Scenario) {
        let text = scenario.to_text();
        let read = Scenario::parse("written", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(read, *scenario, "{text}");
    }

    #[test]
    fn what_ships_is_read_back() {
        for (name, text) in SHIPPED {
            read_back(&Scenario::parse(name, text).unwrap());
        }
    }

    #[test]
    fn what_seeds_stand_for_is_read_back() {
        for seed in (3..2_000).step_by(4) {
            let Drawn::People(scenario) = Drawn::of(seed) else { panic!("seed {seed} is about people") };
            // What must not succeed stands in no file.
            read_back(&Scenario { drills: None, ..scenario });
        }
    }

    /// Of many alike some may be gone: the others keep their names.
    #[test]
    fn a_part_of_a_count_keeps_its_names() {
        let mut scenario = Scenario::load("region-outage").unwrap();
        scenario.sessions.remove(1);
        scenario.sessions[0].endpoints[1].downstream_kib_s = Some(7);
        let read = Scenario::parse("written", &scenario.to_text()).unwrap();
        let names = |scenario: &Scenario| -> Vec<String> {
            scenario.sessions.iter().map(|session| session.name.clone()).collect()
        };
        assert_eq!((names(&read), read.endpoints()), (names(&scenario), 6));
    }

    #[test]
    fn what_no_other_has_is_read_back() {
        let text = r#"name = "all"
about = "Every key that others leave out."
duration_ms = 12_345
joins_apart_ms = 700
[regions]
names = ["here", "there"]
rtt_ms = [[1, 9], [9, 2]]
[mesh]
links_max = 3
links_allowed = [[1, 2], [2, 3]]
link_costs_ms = [[1, 2, 30]]
[[node]]
number = 1
count = 3
region = "here"
broker = true
service_us = 40
[[session]]
name = "help"
endpoint = [
    { name = "a", role = "provider", region = "here", node = 1, standby_node = 3, downstream_kib_s = 9 },
    { name = "b", role = "customer", region = "there", count = 2, standby = false, policy = "random" },
]
[[workload]]
kind = "packets"
from = "b"
per_s = 3
[[fault]]
at_ms = 1
kind = "reset"
between = [3, 1]
[[fault]]
at_ms = 2
kind = "clock"
node = 2
offset_ms = -5
[[fault]]
at_ms = 3
kind = "slow"
endpoint = "b"
downstream_kib_s = 4
[[fault]]
at_ms = 4
kind = "slow"
endpoint = "b-2"
session = "help"
[[fault]]
at_ms = 5
kind = "partition"
sides = [[1, 3], [2]]
[[fault]]
at_ms = 6
kind = "slow"
node = 3
times = 4
[[fault]]
at_ms = 7
kind = "lie"
nodes = [1, 2]
load_percent = 30
"#;
        let scenario = Scenario::parse("all", text).unwrap();
        let node = |value| NodeNumber::new(value).unwrap();
        assert_eq!(scenario.faults[0].fault, Fault::Reset(node(3), node(1)), "as it is written");
        assert_eq!(scenario.duration, Duration::from_millis(12_345));
        read_back(&scenario);
    }
}
