//! From text to a scenario that makes sense: every refusal names file, line, key and what to do.

mod arrivals;
mod mesh;

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use proto_spec::NodeNumber;
use toml::Spanned;

use super::file::{self, File};
use super::{
    DURATION_MAX, ENDPOINTS_MAX, EndpointPlan, FILE_BYTES_MAX, Fault, Load, LoadKind, NODES_MAX, NodePlan,
    Place, SESSION_ENDPOINTS_MAX, Scenario, ScenarioError, SessionPlan, Standby, TimedFault, numbered,
};

/// The longest line of chat, as an endpoint takes it.
const CHAT_BYTES_MAX: u64 = sealcast_endpoint_core::config::CHAT_BYTES_MAX as u64;
/// A line of chat must have room for what tells it from others.
const CHAT_BYTES_MIN: u64 = 24;
/// The longest bare packet.
const PACKET_BYTES_MAX: u64 = 16 * 1024;
/// Things a second that one endpoint can be asked to send.
const PER_S_MAX: u64 = 10_000;
/// The longest time that a message may cost a node.
const SERVICE_US_MAX: u64 = 1_000_000;
/// A node is slower by so much at most.
const TIMES_MAX: u64 = 1_000;
/// A lying node claims so much at most of what it has.
const LOAD_PERCENT_MAX: u64 = 1_000;
/// The most time between two that join.
const JOINS_APART_MS_MAX: u64 = 60_000;
/// How long a drain may take if the file does not say.
const DRAIN_WITHIN_MS: u64 = 30_000;

type Outcome<T> = Result<T, ScenarioError>;

/// The text, to find places in it.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

/// A table with its name: where errors about its keys belong.
#[derive(Clone)]
struct Table {
    name: &'static str,
    span: Range<usize>,
}

pub(super) fn read(file: &str, text: &str) -> Outcome<Scenario> {
    let source = Source { file, text };
    let raw: File = toml::from_str(text).map_err(|error| source.unreadable(&error))?;
    let top = Table { name: "", span: 0..0 };
    if !is_word(&raw.name) {
        return Err(source.refuse(&top, "name", "use lower-case letters, digits and dashes"));
    }
    let duration = source.duration(&raw)?;
    let regions = source.regions(&raw.regions)?;
    let mut reader = Reader { source, duration, regions, nodes: Vec::new(), sessions: Vec::new() };
    reader.nodes = reader.read_nodes(&raw.node)?;
    let links = reader.links(raw.mesh.as_ref())?;
    reader.sessions = reader.read_sessions(&raw.session)?;
    let arrivals = reader.read_arrivals(&raw)?;
    let reports = reader.read_reports(raw.reports.as_ref())?;
    reader.everybody_fits(&raw)?;
    if raw.joins_apart_ms.is_some_and(|apart| !(1..=JOINS_APART_MS_MAX).contains(&apart)) {
        let sentence = format!("give 1 to {JOINS_APART_MS_MAX}, or leave it out");
        return Err(reader.source.refuse(&top, "joins_apart_ms", &sentence));
    }
    let rtt = raw.regions.get_ref();
    let mut scenario = Scenario {
        name: raw.name.clone(),
        about: raw.about.clone(),
        duration,
        regions: reader.regions.clone(),
        rtt_ms: rtt.rtt_ms.clone(),
        jitter_percent: rtt.jitter_percent,
        nodes: reader.nodes.clone(),
        links_max: links.max,
        links_allowed: links.allowed,
        link_costs_ms: links.costs_ms,
        joins_apart: raw.joins_apart_ms.map(Duration::from_millis),
        sessions: reader.sessions.clone(),
        arrivals,
        reports,
        workload: Vec::new(),
        faults: Vec::new(),
        drills: None,
        checks: raw.checks,
    };
    for load in &raw.workload {
        scenario.workload.push(reader.load(&scenario, load)?);
    }
    for fault in &raw.fault {
        scenario.faults.push(reader.fault(&scenario, fault)?);
    }
    reader.only_deaths(&raw, &scenario)?;
    scenario.faults.sort_by_key(|fault| fault.at);
    Ok(scenario)
}

impl Source<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
    }

    fn unreadable(&self, error: &toml::de::Error) -> ScenarioError {
        let line = error.span().map_or(0, |span| self.line(span.start));
        let sentence = format!("{}: docs/SCENARIOS.md lists the keys", error.message().replace('\n', " "));
        ScenarioError { file: self.file.to_owned(), line, key: String::new(), sentence }
    }

    /// The line of a table's key, or of the table if the key is not there.
    fn place(&self, table: &Table, key: &str) -> usize {
        let first = self.line(table.span.start);
        // A table in braces stands on its line.
        if self.text[table.span.start..].starts_with('{') {
            return first;
        }
        let is_key = |line: &str| {
            line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
        };
        let mut lines = self.text.lines().enumerate().skip(first - 1);
        let opens = lines.next().filter(|(_, line)| is_key(line)).map(|(at, _)| at + 1);
        let within = lines.take_while(|(_, line)| !line.starts_with('['));
        opens.or(within.into_iter().find(|(_, line)| is_key(line)).map(|(at, _)| at + 1)).unwrap_or(first)
    }

    fn refuse(&self, table: &Table, key: &str, sentence: &str) -> ScenarioError {
        let name = if table.name.is_empty() { key.to_owned() } else { format!("{}.{key}", table.name) };
        ScenarioError {
            file: self.file.to_owned(),
            line: self.place(table, key),
            key: name,
            sentence: sentence.to_owned(),
        }
    }

    /// How long the scenario lasts, by one key or the other.
    fn duration(&self, raw: &File) -> Outcome<Duration> {
        let (key, duration) = match (raw.duration_s, raw.duration_ms) {
            (Some(s), None) => ("duration_s", Duration::from_secs(s)),
            (None, Some(ms)) => ("duration_ms", Duration::from_millis(ms)),
            _ => ("duration_s", Duration::ZERO),
        };
        if duration < Duration::from_secs(1) || duration > DURATION_MAX {
            let sentence =
                format!("give 1 to {} seconds, as duration_s or duration_ms", DURATION_MAX.as_secs());
            return Err(self.refuse(&Table { name: "", span: 0..0 }, key, &sentence));
        }
        Ok(duration)
    }

    /// The table under this heading; the file's first line if it has none.
    fn headed(&self, name: &'static str) -> Table {
        let at = self.text.find(&format!("[{name}]")).unwrap_or(0);
        Table { name, span: at..at }
    }

    fn regions(&self, raw: &Spanned<file::Regions>) -> Outcome<Vec<String>> {
        let table = table("regions", raw);
        let file::Regions { names, rtt_ms, jitter_percent } = raw.get_ref();
        let unique: BTreeSet<&String> = names.iter().collect();
        if names.is_empty() || unique.len() != names.len() || !names.iter().all(|name| is_word(name)) {
            return Err(self.refuse(&table, "names", "name at least one region, each by another word"));
        }
        let square = rtt_ms.len() == names.len() && rtt_ms.iter().all(|row| row.len() == names.len());
        if !square {
            return Err(self.refuse(&table, "rtt_ms", "give a row for each region, with a number for each"));
        }
        for (a, row) in rtt_ms.iter().enumerate() {
            for (b, rtt) in row.iter().enumerate() {
                if !(1..=2_000).contains(rtt) {
                    return Err(self.refuse(&table, "rtt_ms", "each round trip is 1 to 2000 ms"));
                }
                if rtt_ms[b][a] != *rtt {
                    let sentence = format!("{} to {} and back differ: make them equal", names[a], names[b]);
                    return Err(self.refuse(&table, "rtt_ms", &sentence));
                }
            }
        }
        if *jitter_percent > 100 {
            return Err(self.refuse(&table, "jitter_percent", "at most 100"));
        }
        Ok(names.clone())
    }
}

fn table<T>(name: &'static str, raw: &Spanned<T>) -> Table {
    Table { name, span: raw.span() }
}

fn is_word(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() <= 48 && text.bytes().all(fits)
}

struct Reader<'a> {
    source: Source<'a>,
    duration: Duration,
    regions: Vec<String>,
    nodes: Vec<NodePlan>,
    sessions: Vec<SessionPlan>,
}

impl Reader<'_> {
    fn region(&self, table: &Table, name: &str) -> Outcome<usize> {
        self.regions.iter().position(|region| region == name).ok_or_else(|| {
            let sentence = format!("there is no region {name}: use one of {}", self.regions.join(", "));
            self.source.refuse(table, "region", &sentence)
        })
    }

    fn number(&self, table: &Table, key: &str, number: u16) -> Outcome<NodeNumber> {
        let found = self.nodes.iter().find(|node| node.number.value() == number);
        found.map(|node| node.number).ok_or_else(|| {
            let all: Vec<String> = self.nodes.iter().take(12).map(|node| node.number.to_string()).collect();
            let more = if self.nodes.len() > 12 { ", ..." } else { "" };
            let sentence = format!("there is no node {number}: use one of {}{more}", all.join(", "));
            self.source.refuse(table, key, &sentence)
        })
    }

    fn numbers(&self, table: &Table, key: &str, numbers: &[u16]) -> Outcome<Vec<NodeNumber>> {
        if numbers.is_empty() {
            return Err(self.source.refuse(table, key, "name at least one node"));
        }
        let found: BTreeSet<NodeNumber> =
            numbers.iter().map(|number| self.number(table, key, *number)).collect::<Outcome<_>>()?;
        Ok(found.into_iter().collect())
    }

    fn read_nodes(&self, raw: &file::Tables<file::Node>) -> Outcome<Vec<NodePlan>> {
        let mut nodes: Vec<NodePlan> = Vec::new();
        for raw in raw {
            let table = table("node", raw);
            let raw = raw.get_ref();
            let region = self.region(&table, &raw.region)?;
            let count = raw.count.unwrap_or(1);
            let last = raw.number.checked_add(count.saturating_sub(1));
            let Some(last) = last.filter(|_| count > 0 && raw.number > 0) else {
                let key = if count == 0 { "count" } else { "number" };
                return Err(self.source.refuse(&table, key, "numbers are 1 to 65535, and a count is not 0"));
            };
            if raw.service_us > SERVICE_US_MAX {
                let sentence = format!("at most {SERVICE_US_MAX}: no node takes a second for a message");
                return Err(self.source.refuse(&table, "service_us", &sentence));
            }
            if raw.capacity == Some(0) {
                return Err(self.source.refuse(&table, "capacity", "a node admits at least one attachment"));
            }
            for value in raw.number..=last {
                let Some(number) = NodeNumber::new(value) else { continue };
                if nodes.iter().any(|node| node.number == number) {
                    let sentence = format!("there is a node {value} already: give each its own number");
                    return Err(self.source.refuse(&table, "number", &sentence));
                }
                nodes.push(NodePlan {
                    number,
                    region,
                    failure_domain: raw.failure_domain.clone().unwrap_or_else(|| format!("node-{value}")),
                    capacity: raw.capacity.unwrap_or(10_000),
                    broker: raw.broker,
                    service_us: raw.service_us,
                });
            }
            if nodes.len() > NODES_MAX {
                let sentence = format!("at most {NODES_MAX} nodes");
                return Err(self.source.refuse(&table, "count", &sentence));
            }
        }
        if !nodes.iter().any(|node| node.broker) {
            let table = raw.first().map_or(Table { name: "node", span: 0..0 }, |raw| table("node", raw));
            return Err(self.source.refuse(&table, "broker", "no node has one: set broker = true at one"));
        }
        nodes.sort_by_key(|node| node.number);
        Ok(nodes)
    }

    fn read_sessions(&self, raw: &file::Tables<file::Session>) -> Outcome<Vec<SessionPlan>> {
        let mut sessions: Vec<SessionPlan> = Vec::new();
        for raw in raw {
            let table = table("session", raw);
            let raw = raw.get_ref();
            if !is_word(&raw.name) || sessions.iter().any(|session| session.group == raw.name) {
                return Err(self.source.refuse(&table, "name", "use another word for each session"));
            }
            let mut endpoints: Vec<EndpointPlan> = Vec::new();
            for raw in &raw.endpoint {
                self.endpoint(raw, &mut endpoints)?;
            }
            if !(2..=SESSION_ENDPOINTS_MAX).contains(&endpoints.len()) {
                let sentence = format!("a session has 2 to {SESSION_ENDPOINTS_MAX} endpoints");
                return Err(self.source.refuse(&table, "endpoint", &sentence));
            }
            if endpoints[0].customer {
                let sentence = "the first endpoint creates the session: make it a provider";
                return Err(self.source.refuse(&table, "endpoint", sentence));
            }
            let count = raw.count.unwrap_or(1) as usize;
            let all = sessions.iter().map(|session| session.endpoints.len()).sum::<usize>();
            let more = endpoints.len().saturating_mul(count);
            if count == 0 || all.saturating_add(more) > ENDPOINTS_MAX {
                let sentence = format!("at least one session, and at most {ENDPOINTS_MAX} endpoints in all");
                return Err(self.source.refuse(&table, "count", &sentence));
            }
            for index in 1..=count {
                let name = numbered(&raw.name, index, count);
                sessions.push(SessionPlan { name, group: raw.name.clone(), endpoints: endpoints.clone() });
            }
        }
        Ok(sessions)
    }

    fn endpoint(&self, raw: &Spanned<file::Endpoint>, endpoints: &mut Vec<EndpointPlan>) -> Outcome<()> {
        let table = table("session.endpoint", raw);
        let raw = raw.get_ref();
        if !is_word(&raw.name) || endpoints.iter().any(|endpoint| endpoint.group == raw.name) {
            return Err(self.source.refuse(
                &table,
                "name",
                "use another word for each endpoint of a session",
            ));
        }
        let customer = match raw.role.as_str() {
            "customer" => true,
            "provider" => false,
            _ => return Err(self.source.refuse(&table, "role", "say \"provider\" or \"customer\"")),
        };
        let at = match (raw.node, raw.policy.as_deref()) {
            (Some(node), None) => Place::Node(self.number(&table, "node", node)?),
            (None, None | Some("placement")) => Place::Placement,
            (None, Some("nearest")) => Place::Nearest,
            (None, Some("random")) => Place::Random,
            (Some(_), Some(_)) => {
                return Err(self.source.refuse(&table, "policy", "give a node or a policy, not both"));
            }
            (None, Some(_)) => {
                let sentence = "say \"placement\", \"nearest\" or \"random\", or give a node";
                return Err(self.source.refuse(&table, "policy", sentence));
            }
        };
        let standby = match (raw.standby, raw.standby_node) {
            (Some(false), Some(_)) => {
                return Err(self.source.refuse(&table, "standby_node", "standby = false says there is none"));
            }
            (Some(false), None) => Standby::None,
            (_, Some(node)) => Standby::Node(self.number(&table, "standby_node", node)?),
            (_, None) => Standby::Apart,
        };
        if let (Place::Node(at), Standby::Node(standby)) = (at, standby)
            && at == standby
        {
            return Err(self.source.refuse(&table, "standby_node", "stand by at another node"));
        }
        if raw.downstream_kib_s == Some(0) {
            return Err(self.source.refuse(&table, "downstream_kib_s", "at least 1, or leave it out"));
        }
        let count = raw.count.unwrap_or(1) as usize;
        if !(1..=SESSION_ENDPOINTS_MAX).contains(&count) {
            let sentence = format!("give 1 to {SESSION_ENDPOINTS_MAX}");
            return Err(self.source.refuse(&table, "count", &sentence));
        }
        let region = self.region(&table, &raw.region)?;
        for index in 1..=count {
            endpoints.push(EndpointPlan {
                name: numbered(&raw.name, index, count),
                group: raw.name.clone(),
                customer,
                region,
                at,
                standby,
                downstream_kib_s: raw.downstream_kib_s,
            });
        }
        Ok(())
    }

    fn load(&self, scenario: &Scenario, raw: &Spanned<file::Workload>) -> Outcome<Load> {
        let table = table("workload", raw);
        let raw = raw.get_ref();
        let refuse = |key: &str, sentence: &str| self.source.refuse(&table, key, sentence);
        let within = |key: &str, value: Option<u64>, default: Option<u64>, range: Range<u64>| {
            let value = value.or(default);
            value.filter(|value| range.contains(value)).ok_or_else(|| {
                self.source.refuse(&table, key, &format!("give {} to {}", range.start, range.end - 1))
            })
        };
        let needless = |keys: &[(&str, bool)]| match keys.iter().find(|(_, given)| *given) {
            Some((key, _)) => {
                Err(refuse(key, &format!("means nothing for kind = \"{}\": remove it", raw.kind)))
            }
            None => Ok(()),
        };
        let kind = match raw.kind.as_str() {
            "chat" => {
                needless(&[("count", raw.count.is_some())])?;
                let bytes = within("bytes", raw.bytes, Some(64), CHAT_BYTES_MIN..CHAT_BYTES_MAX + 1)?;
                let per_s = within("per_s", raw.per_s, None, 1..PER_S_MAX + 1)?;
                LoadKind::Chat { per_s, bytes: bytes as usize }
            }
            "packets" => {
                needless(&[("count", raw.count.is_some())])?;
                let bytes = within("bytes", raw.bytes, Some(1_200), 1..PACKET_BYTES_MAX + 1)?;
                let per_s = within("per_s", raw.per_s, None, 1..PER_S_MAX + 1)?;
                LoadKind::Packets { per_s, bytes: bytes as usize }
            }
            "file" => {
                needless(&[("per_s", raw.per_s.is_some())])?;
                let bytes = within("bytes", raw.bytes, None, 1..FILE_BYTES_MAX + 1)?;
                let count = within("count", raw.count, Some(1), 1..10_001)?;
                LoadKind::File { bytes, count }
            }
            _ => return Err(refuse("kind", "say \"chat\", \"file\" or \"packets\"")),
        };
        let stop = raw.stop_ms.map_or(self.duration, Duration::from_millis);
        let start = Duration::from_millis(raw.start_ms);
        if start >= stop || stop > self.duration {
            let key = if raw.stop_ms.is_some() { "stop_ms" } else { "start_ms" };
            return Err(refuse(key, "must end after it begins and before the scenario does"));
        }
        self.meant(scenario, &table, "from", raw.session.as_deref(), raw.from.as_deref())?;
        Ok(Load { session: raw.session.clone(), from: raw.from.clone(), kind, start, stop })
    }

    fn meant(
        &self,
        scenario: &Scenario,
        table: &Table,
        key: &str,
        session: Option<&str>,
        endpoint: Option<&str>,
    ) -> Outcome<()> {
        if scenario.meant(session, None).is_empty() {
            return Err(self.source.refuse(table, "session", "there is no such session: name one above"));
        }
        if scenario.meant(session, endpoint).is_empty() {
            return Err(self.source.refuse(table, key, "there is no such endpoint: name one above"));
        }
        Ok(())
    }

    fn fault(&self, scenario: &Scenario, raw: &Spanned<file::Fault>) -> Outcome<TimedFault> {
        let table = table("fault", raw);
        let raw = raw.get_ref();
        let at = Duration::from_millis(raw.at_ms);
        if at >= self.duration {
            return Err(self.source.refuse(&table, "at_ms", "must lie before the scenario's end"));
        }
        let fault = FaultReader { reader: self, scenario, table, raw }.read()?;
        Ok(TimedFault { at, fault })
    }
}

struct FaultReader<'a> {
    reader: &'a Reader<'a>,
    scenario: &'a Scenario,
    table: Table,
    raw: &'a file::Fault,
}

impl FaultReader<'_> {
    fn read(&self) -> Outcome<Fault> {
        const TARGETS: &[&str] = &["node", "nodes", "region", "failure_domain"];
        let raw = self.raw;
        let with = |more: &[&'static str]| TARGETS.iter().chain(more).copied().collect::<Vec<_>>();
        match raw.kind.as_str() {
            "kill" => self.only(TARGETS).and_then(|()| Ok(Fault::Kill(self.targets()?))),
            "stop" => self.only(TARGETS).and_then(|()| Ok(Fault::Stop(self.targets()?))),
            "continue" => self.only(TARGETS).and_then(|()| Ok(Fault::Continue(self.targets()?))),
            "restart" => self.only(TARGETS).and_then(|()| Ok(Fault::Restart(self.targets()?))),
            "undrain" => self.only(TARGETS).and_then(|()| Ok(Fault::Undrain(self.targets()?))),
            "revoke" => self.only(TARGETS).and_then(|()| Ok(Fault::Revoke(self.targets()?))),
            "drain" => {
                self.only(&with(&["within_ms"]))?;
                let within = Duration::from_millis(raw.within_ms.unwrap_or(DRAIN_WITHIN_MS));
                Ok(Fault::Drain { nodes: self.targets()?, within })
            }
            "clock" => {
                self.only(&with(&["offset_ms"]))?;
                let offset_ms = self.needs("offset_ms", raw.offset_ms)?;
                Ok(Fault::Clock { nodes: self.targets()?, offset_ms })
            }
            "partition" => self.partition(),
            "silence" => {
                self.only(&["from", "to"])?;
                let (from, to) = (self.nodes("from", raw.from.as_ref())?, self.nodes("to", raw.to.as_ref())?);
                if from.iter().any(|node| to.contains(node)) {
                    return Err(self.refuse("to", "a node always hears itself: name it on one side only"));
                }
                Ok(Fault::Silence { from, to })
            }
            "heal" => self.only(&[]).map(|()| Fault::Heal),
            "reset" => {
                self.only(&["between"])?;
                // One end notices before the other: in the order in which they are written.
                match raw.between.as_deref() {
                    Some([a, b]) if a != b => {
                        let number = |value| self.reader.number(&self.table, "between", value);
                        Ok(Fault::Reset(number(*a)?, number(*b)?))
                    }
                    _ => Err(self.refuse("between", "name two nodes")),
                }
            }
            "loss" => {
                self.only(&["between", "percent"])?;
                let percent = self.needs("percent", raw.percent)?;
                if percent > 90 {
                    return Err(self.refuse("percent", "at most 90: for more use kind = \"silence\""));
                }
                Ok(Fault::Loss { between: self.several("between")?, percent })
            }
            "delay" => {
                self.only(&["between", "by_ms"])?;
                let by_ms = self.needs("by_ms", raw.by_ms)?;
                if by_ms > 10_000 {
                    return Err(self.refuse("by_ms", "at most 10000"));
                }
                Ok(Fault::Delay { between: self.several("between")?, by: Duration::from_millis(by_ms) })
            }
            "slow" if raw.endpoint.is_none() && raw.session.is_none() && raw.downstream_kib_s.is_none() => {
                self.only(&with(&["times"]))?;
                let times = raw.times.unwrap_or(10);
                if !(1..=TIMES_MAX).contains(&times) {
                    return Err(self.refuse("times", &format!("give 1 to {TIMES_MAX}; 1 is as before")));
                }
                Ok(Fault::SlowNode { nodes: self.targets()?, times })
            }
            "fast" => {
                self.only(TARGETS)?;
                Ok(Fault::SlowNode { nodes: self.targets()?, times: 1 })
            }
            "lie" => {
                self.only(&with(&["load_percent"]))?;
                let load_percent = self.needs("load_percent", raw.load_percent)?;
                if load_percent > LOAD_PERCENT_MAX {
                    return Err(self.refuse("load_percent", &format!("at most {LOAD_PERCENT_MAX}")));
                }
                Ok(Fault::Lie { nodes: self.targets()?, load_percent })
            }
            "slow" => {
                self.only(&["session", "endpoint", "downstream_kib_s"])?;
                let endpoint = self.needs("endpoint", raw.endpoint.clone())?;
                let session = raw.session.clone();
                self.reader.meant(
                    self.scenario,
                    &self.table,
                    "endpoint",
                    session.as_deref(),
                    Some(&endpoint),
                )?;
                let downstream_kib_s = raw.downstream_kib_s.filter(|rate| *rate > 0);
                Ok(Fault::Slow { session, endpoint, downstream_kib_s })
            }
            _ => Err(self.refuse(
                "kind",
                "say kill, stop, continue, restart, drain, undrain, revoke, clock, partition, silence, heal, reset, \
                 loss, delay, slow, fast or lie",
            )),
        }
    }

    fn refuse(&self, key: &str, sentence: &str) -> ScenarioError {
        self.reader.source.refuse(&self.table, key, sentence)
    }

    fn needs<T>(&self, key: &str, value: Option<T>) -> Outcome<T> {
        value.ok_or_else(|| self.refuse(key, &format!("kind = \"{}\" needs it", self.raw.kind)))
    }

    /// Refuses keys that mean nothing for this kind.
    fn only(&self, keys: &[&str]) -> Outcome<()> {
        let raw = self.raw;
        let given = [
            ("node", raw.node.is_some()),
            ("nodes", raw.nodes.is_some()),
            ("region", raw.region.is_some()),
            ("failure_domain", raw.failure_domain.is_some()),
            ("sides", raw.sides.is_some()),
            ("from", raw.from.is_some()),
            ("to", raw.to.is_some()),
            ("between", raw.between.is_some()),
            ("percent", raw.percent.is_some()),
            ("by_ms", raw.by_ms.is_some()),
            ("offset_ms", raw.offset_ms.is_some()),
            ("within_ms", raw.within_ms.is_some()),
            ("times", raw.times.is_some()),
            ("load_percent", raw.load_percent.is_some()),
            ("session", raw.session.is_some()),
            ("endpoint", raw.endpoint.is_some()),
            ("downstream_kib_s", raw.downstream_kib_s.is_some()),
        ];
        match given.iter().find(|(key, given)| *given && !keys.contains(key)) {
            None => Ok(()),
            Some((key, _)) => {
                Err(self.refuse(key, &format!("means nothing for kind = \"{}\": remove it", raw.kind)))
            }
        }
    }

    /// The nodes that `node`, `nodes`, `region` or `failure_domain` name.
    fn targets(&self) -> Outcome<Vec<NodeNumber>> {
        let raw = self.raw;
        let named =
            [raw.node.is_some(), raw.nodes.is_some(), raw.region.is_some(), raw.failure_domain.is_some()];
        if named.iter().filter(|named| **named).count() != 1 {
            return Err(self.refuse("node", "give one of node, nodes, region and failure_domain"));
        }
        if let Some(node) = raw.node {
            return Ok(vec![self.reader.number(&self.table, "node", node)?]);
        }
        if let Some(nodes) = &raw.nodes {
            return self.reader.numbers(&self.table, "nodes", nodes);
        }
        let nodes = &self.reader.nodes;
        let found: Vec<NodeNumber> = match (&raw.region, &raw.failure_domain) {
            (Some(region), _) => {
                let region = self.reader.region(&self.table, region)?;
                nodes.iter().filter(|node| node.region == region).map(|node| node.number).collect()
            }
            (_, Some(domain)) => {
                nodes.iter().filter(|node| node.failure_domain == *domain).map(|node| node.number).collect()
            }
            _ => Vec::new(),
        };
        if found.is_empty() {
            let key = if raw.region.is_some() { "region" } else { "failure_domain" };
            return Err(self.refuse(key, "no node stands there"));
        }
        Ok(found)
    }

    fn nodes(&self, key: &'static str, numbers: Option<&Vec<u16>>) -> Outcome<Vec<NodeNumber>> {
        let numbers = self.needs(key, numbers)?;
        self.reader.numbers(&self.table, key, numbers)
    }

    /// At least two nodes.
    fn several(&self, key: &'static str) -> Outcome<Vec<NodeNumber>> {
        let nodes = self.nodes(key, self.raw.between.as_ref())?;
        if nodes.len() < 2 { Err(self.refuse(key, "name at least two nodes")) } else { Ok(nodes) }
    }

    /// Sides by number; with a region, the region and the rest.
    fn partition(&self) -> Outcome<Fault> {
        self.only(&["sides", "region"])?;
        let sides: Vec<Vec<NodeNumber>> = match (&self.raw.sides, &self.raw.region) {
            (Some(sides), None) => sides
                .iter()
                .map(|side| self.reader.numbers(&self.table, "sides", side))
                .collect::<Outcome<_>>()?,
            (None, Some(region)) => {
                let region = self.reader.region(&self.table, region)?;
                let (inside, outside): (Vec<_>, Vec<_>) =
                    self.reader.nodes.iter().partition(|node| node.region == region);
                [inside, outside]
                    .into_iter()
                    .map(|side| side.into_iter().map(|node| node.number).collect())
                    .collect()
            }
            _ => return Err(self.refuse("sides", "give sides or a region")),
        };
        let all: Vec<NodeNumber> = sides.iter().flatten().copied().collect();
        let unique: BTreeSet<&NodeNumber> = all.iter().collect();
        if sides.len() < 2 || sides.iter().any(Vec::is_empty) || unique.len() != all.len() {
            return Err(self.refuse("sides", "give at least two sides, with each node on one of them"));
        }
        Ok(Fault::Partition(sides))
    }
}

#[cfg(test)]
mod tests;
