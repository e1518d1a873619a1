//! What the runs of a scenario come to: a table for people, JSON for programs, and an exit code that tells a crash from
//! wrong deliveries from too long ones.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::measure::{Delivery, percentile};
use super::play::Record;
use crate::scenario::{Checks, Scenario};

/// Two minutes: fewer samples of a process's memory are not told.
const MEMORY_SAMPLES_MIN: usize = 24;

/// How a scenario ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// Everything held.
    Held,
    /// Something came late, or not to rest: gaps, latency, convergence.
    Liveness,
    /// Something came wrong or not at all: lines, files, members, moves.
    Correctness,
    /// A program ended or panicked by itself.
    Crash,
}

impl Verdict {
    /// As a simulation's: 0 held, 2 crash, 3 correctness, 4 liveness. 1 is the lab's own failure.
    pub fn code(self) -> u8 {
        match self {
            Verdict::Held => 0,
            Verdict::Crash => 2,
            Verdict::Correctness => 3,
            Verdict::Liveness => 4,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Verdict::Held => "held",
            Verdict::Crash => "crash",
            Verdict::Correctness => "correctness",
            Verdict::Liveness => "liveness",
        }
    }
}

/// One figure of one run, with its limit.
#[derive(Clone, Debug)]
struct Figure {
    name: &'static str,
    value: Option<u64>,
    limit: Option<u64>,
    class: Verdict,
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Ran {
    record: Record,
    figures: Vec<Figure>,
    delivery: Delivery,
    /// Each fault's gaps, ascending.
    gaps: Vec<(String, Vec<Duration>)>,
}

impl Ran {
    pub(super) fn new(record: Record, checks: &Checks) -> Ran {
        let delivery = record.lines.delivery(|sender| record.receivers[sender].clone());
        let mut all: Vec<Duration> = record.gaps.iter().map(|gap| gap.gap).collect();
        all.sort_unstable();
        let gaps = record.faults.iter().enumerate().map(|(fault, (_, name))| {
            let of = record.gaps.iter().filter(|gap| gap.fault == fault);
            let mut gaps: Vec<Duration> = of.map(|gap| gap.gap).collect();
            gaps.sort_unstable();
            (name.clone(), gaps)
        });
        let gaps = gaps.collect();
        let latencies = record.lines.latencies();
        let ms = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
        let held = |name, value: u64, limit| Figure {
            name,
            value: Some(value),
            limit: Some(limit),
            class: Verdict::Correctness,
        };
        let timed = |name, value, limit| Figure { name, value, limit, class: Verdict::Liveness };
        let mut figures = vec![
            held("lost", delivery.lost, checks.lost),
            held("duplicates", delivery.duplicates, checks.duplicates),
            held("reordered", delivery.reordered, checks.reordered),
            held("departed", record.departed.len() as u64, checks.departed),
            held("files_failed", record.files.0 - record.files.1, checks.files_failed),
            held("moved_beyond", record.moved_beyond.len() as u64, checks.moved_beyond),
            timed("gap_p50_ms", ms(percentile(&all, 50)), None),
            timed("gap_p99_ms", ms(percentile(&all, 99)), checks.gap_p99_ms),
            timed("gap_max_ms", ms(all.last().copied()), checks.gap_max_ms),
            timed("latency_p50_ms", ms(percentile(&latencies, 50)), None),
            timed("latency_p99_ms", ms(percentile(&latencies, 99)), checks.latency_p99_ms),
        ];
        // A change without agreement has no time: it is beyond any limit.
        let slowest = if record.unconverged > 0 {
            Some(u64::MAX)
        } else {
            ms(record.converged.iter().map(|(_, time)| *time).max())
        };
        figures.push(timed("converge_ms", slowest, checks.converge_ms));
        Ran { record, figures, delivery, gaps }
    }

    pub(super) fn verdict(&self) -> Verdict {
        let exceeded = |figure: &&Figure| {
            figure.limit.is_some_and(|limit| figure.value.is_some_and(|value| value > limit))
        };
        let crash = self.record.crash.as_ref().map(|_| Verdict::Crash);
        let worst = self.figures.iter().filter(exceeded).map(|figure| figure.class).max();
        crash.max(worst).unwrap_or(Verdict::Held)
    }
}

/// All runs of a scenario.
pub(super) struct Report<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) seed: u64,
    pub(super) runs: Vec<Ran>,
    /// The same load without faults.
    pub(super) baseline: Option<Ran>,
}

impl Report<'_> {
    /// The worst of all runs.
    pub(super) fn verdict(&self) -> Verdict {
        self.runs.iter().map(Ran::verdict).max().unwrap_or(Verdict::Held)
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        let runs = self.runs.len();
        let mut line = |text: String| {
            out.push_str(text.trim_end());
            out.push('\n');
        };
        let plural = if runs == 1 { "run" } else { "runs" };
        line(format!("{} with real processes, {runs} {plural}, seed {}", self.scenario.name, self.seed));
        line(String::new());
        let beside = if self.baseline.is_some() { "undisturbed" } else { "" };
        line(format!(
            "{:<16}{:>10}{:>10}{:>10}{:>10}  {:>11}",
            "figure", "median", "least", "most", "limit", beside
        ));
        for (at, figure) in self.runs.iter().flat_map(|ran| ran.figures.iter().enumerate()).take(12) {
            let mut values: Vec<u64> = self.runs.iter().filter_map(|ran| ran.figures[at].value).collect();
            values.sort_unstable();
            let beside = self.baseline.as_ref().and_then(|ran| ran.figures[at].value);
            let wrong = figure.limit.is_some_and(|limit| values.last().is_some_and(|most| *most > limit));
            line(format!(
                "{:<16}{:>10}{:>10}{:>10}{:>10}  {:>11}{}",
                figure.name,
                shown(values.get(values.len() / 2).copied()),
                shown(values.first().copied()),
                shown(values.last().copied()),
                shown(figure.limit),
                beside.map_or(String::new(), |value| shown(Some(value))),
                if wrong { "  EXCEEDED" } else { "" }
            ));
        }
        line(String::new());
        if self.runs.iter().any(|ran| !ran.gaps.is_empty()) {
            line(format!(
                "{:<24}{:>8}{:>10}{:>10}{:>10}",
                "gaps after", "flows", "p50 ms", "p99 ms", "max ms"
            ));
            for at in 0..self.runs[0].gaps.len() {
                let mut gaps: Vec<Duration> =
                    self.runs.iter().flat_map(|ran| ran.gaps[at].1.iter().copied()).collect();
                gaps.sort_unstable();
                let ms = |time: Option<Duration>| shown(time.map(|time| time.as_millis() as u64));
                line(format!(
                    "{:<24}{:>8}{:>10}{:>10}{:>10}",
                    self.runs[0].gaps[at].0,
                    gaps.len(),
                    ms(percentile(&gaps, 50)),
                    ms(percentile(&gaps, 99)),
                    ms(gaps.last().copied())
                ));
            }
            line(String::new());
        }
        for (at, ran) in self.runs.iter().enumerate() {
            for text in ran.remarks() {
                line(if runs == 1 { text } else { format!("run {}: {text}", at + 1) });
            }
        }
        let _ = writeln!(
            out,
            "{}",
            match self.verdict() {
                Verdict::Held => "Everything held.".into(),
                verdict => format!("FAILED: {} (exit code {})", verdict.word(), verdict.code()),
            }
        );
        out
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "scenario": self.scenario.name, "world": "lab", "seed": self.seed, "verdict": self.verdict().word(),
            "runs": self.runs.iter().map(Ran::json).collect::<Vec<_>>(),
            "undisturbed": self.baseline.as_ref().map(Ran::json),
        })
    }
}

impl Ran {
    /// What figures do not tell.
    fn remarks(&self) -> Vec<String> {
        let record = &self.record;
        let mut remarks = Vec::new();
        let Delivery { sent, expected, delivered, .. } = self.delivery;
        remarks.push(format!(
            "{sent} lines, {delivered} of {expected} deliveries; files {} of {}",
            record.files.1, record.files.0
        ));
        for (how, times) in self.reattachments() {
            let longest = times.last().map_or(0, Duration::as_millis);
            remarks.push(format!(
                "{} endpoints attached anew ({how}), cut off for at most {longest} ms",
                times.len()
            ));
        }
        if record.unconverged > 0 {
            remarks.push(format!("{} changes without agreement of all nodes", record.unconverged));
        }
        for ((node, _), samples) in &record.memory {
            // Shorter lives tell nothing of growth.
            if samples.len() >= MEMORY_SAMPLES_MIN {
                let [first, last] = ends(samples);
                let (first, last, most) = (first >> 10, last >> 10, samples.iter().max().unwrap_or(&0) >> 10);
                remarks.push(format!(
                    "node {node}: {first} MiB resident in the first third, {last} in the last, {most} at most ({} samples)",
                    samples.len()
                ));
            }
        }
        remarks.extend(record.crash.iter().map(|crash| format!("crash: {crash}")));
        remarks.extend(record.departed.iter().map(|who| format!("departed: {who}")));
        remarks.extend(
            record.moved_beyond.iter().map(|who| format!("moved without a fault of its node: {who}")),
        );
        remarks.extend(record.notes.iter().map(|note| format!("note: {note}")));
        remarks
    }

    fn reattachments(&self) -> Vec<(String, Vec<Duration>)> {
        let mut ways: std::collections::BTreeMap<String, Vec<Duration>> = std::collections::BTreeMap::new();
        for (_, gap, how) in &self.record.reattached {
            let how = if how.is_empty() { "reconnected" } else { how };
            ways.entry(how.to_owned()).or_default().push(*gap);
        }
        ways.values_mut().for_each(|times| times.sort_unstable());
        ways.into_iter().collect()
    }

    fn json(&self) -> Value {
        let record = &self.record;
        let ms = |time: &Duration| time.as_millis() as u64;
        let figures: serde_json::Map<String, Value> = self
            .figures
            .iter()
            .map(|figure| {
                let value = figure.value.filter(|value| *value != u64::MAX);
                (figure.name.to_owned(), json!({ "value": value, "limit": figure.limit }))
            })
            .collect();
        let gaps: Vec<Value> = record
            .gaps
            .iter()
            .map(|gap| {
                json!({
                    "fault": record.faults[gap.fault].1, "from": record.names[gap.sender],
                    "to": record.names[gap.receiver], "gap_ms": ms(&gap.gap),
                })
            })
            .collect();
        let reattached: Vec<Value> = record
            .reattached
            .iter()
            .map(|(who, gap, how)| json!({ "who": record.names[*who], "gap_ms": ms(gap), "how": how }))
            .collect();
        let faults: Vec<Value> =
            record.faults.iter().map(|(at, name)| json!({ "at_ms": ms(at), "fault": name })).collect();
        json!({
            "verdict": self.verdict().word(), "figures": figures,
            "lines": { "sent": self.delivery.sent, "expected": self.delivery.expected, "delivered": self.delivery.delivered },
            "files": { "expected": record.files.0, "arrived": record.files.1 },
            "faults": faults, "gaps": gaps, "reattached": reattached,
            "converged_ms": record.converged.iter().map(|(_, time)| ms(time)).collect::<Vec<_>>(), "unconverged": record.unconverged,
            "resident_kib": record.memory.iter().map(|((node, process), samples)| {
                json!({ "node": node.value(), "process": process, "samples": samples })
            }).collect::<Vec<_>>(),
            "departed": record.departed, "moved_beyond": record.moved_beyond, "crash": record.crash,
            "notes": record.notes,
        })
    }
}

/// The medians of the first and of the last third.
fn ends(samples: &[u64]) -> [u64; 2] {
    let third = samples.len().div_ceil(3);
    let median = |part: &[u64]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part.get(part.len() / 2).copied().unwrap_or_default()
    };
    [median(&samples[..third]), median(&samples[samples.len() - third..])]
}

fn shown(value: Option<u64>) -> String {
    match value {
        None => "-".into(),
        Some(u64::MAX) => "never".into(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::measure::Lines;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn record() -> Record {
        let mut lines = Lines::default();
        for at in 0..20 {
            let number = lines.hand_over(0, ms(at * 100));
            lines.deliver(0, 1, number, ms(at * 100 + if at == 9 { 90 } else { 5 }));
        }
        let gaps = lines.gaps(&[ms(850)], ms(2_000));
        Record {
            gaps,
            lines,
            receivers: vec![vec![1], vec![]],
            names: vec!["a.x".into(), "a.y".into()],
            faults: vec![(ms(850), "kill 2".into())],
            ..Record::default()
        }
    }

    fn checks() -> Checks {
        Scenario::load("kill-one-of-three").unwrap().checks
    }

    #[test]
    fn what_fails_has_a_code_of_its_own() {
        let verdict = |record| Ran::new(record, &checks()).verdict();
        assert_eq!(verdict(record()), Verdict::Held);
        let lost = Record { receivers: vec![vec![1, 0], vec![]], ..record() };
        assert_eq!(verdict(lost), Verdict::Correctness);
        assert_eq!(verdict(Record { unconverged: 1, ..record() }), Verdict::Liveness);
        let tight = Checks { gap_p99_ms: Some(10), ..checks() };
        assert_eq!(Ran::new(record(), &tight).verdict(), Verdict::Liveness);
        let crash = Record { crash: Some("node 2".into()), unconverged: 1, ..record() };
        assert_eq!(verdict(crash), Verdict::Crash);
        let codes =
            [Verdict::Held, Verdict::Liveness, Verdict::Correctness, Verdict::Crash].map(Verdict::code);
        assert_eq!(codes, [0, 4, 3, 2]);
    }

    #[test]
    fn the_table_names_what_exceeded_its_limit() {
        let scenario = Scenario::load("kill-one-of-three").unwrap();
        let checks = Checks { gap_max_ms: Some(50), ..checks() };
        let runs = vec![Ran::new(record(), &checks), Ran::new(record(), &checks)];
        let report = Report { scenario: &scenario, seed: 3, runs, baseline: None };
        let table = report.table();
        let exceeded: Vec<&str> = table.lines().filter(|line| line.ends_with("EXCEEDED")).collect();
        assert!(exceeded.len() == 1 && exceeded[0].starts_with("gap_max_ms"), "{table}");
        assert!(table.contains("kill 2") && table.contains("FAILED: liveness"), "{table}");
        assert_eq!(report.json()["runs"][0]["figures"]["gap_max_ms"]["value"], 85);
    }
}
