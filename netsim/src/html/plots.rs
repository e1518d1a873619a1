//! Which charts a page of a run has: from what was measured to lines, areas and marks. Draws nothing itself.

pub(super) mod policies;

use crate::histogram::Histogram;
use crate::record::{NodeSeries, NodeState, Series};
use crate::scenario::Scenario;

use super::chart::{Axis, Chart, Ink, Layer, Point, Row, number};
use super::words;

/// Nodes that get a row or a line of their own; of more, the spread is shown.
const NODES_MAX: usize = 40;
/// Points of a distribution: as many as can be told apart.
const STEPS_MAX: u64 = 400;

/// A duration as an axis: in seconds, minutes or hours.
struct Time {
    ms: f64,
    unit: &'static str,
}

impl Time {
    fn of(scenario: &Scenario) -> Time {
        match scenario.duration.as_secs() {
            0..=240 => Time { ms: 1_000.0, unit: "seconds" },
            241..=14_400 => Time { ms: 60_000.0, unit: "minutes" },
            _ => Time { ms: 3_600_000.0, unit: "hours" },
        }
    }

    fn at(&self, ms: u64) -> f64 {
        ms as f64 / self.ms
    }

    fn axis(&self, scenario: &Scenario) -> Axis {
        let end = self.at(scenario.duration.as_millis() as u64);
        Axis { title: format!("{} from time 0", self.unit), range: 0.0..end }
    }
}

/// The scenario's faults as upright lines, numbered from 1 as in the table.
fn faults(scenario: &Scenario, time: &Time) -> Vec<Layer> {
    let upright = |(index, timed): (usize, &crate::scenario::TimedFault)| Layer::Upright {
        x: time.at(timed.at.as_millis() as u64),
        ink: Ink::Fault,
        label: format!("{} {}", index + 1, words::fault(&timed.fault, scenario)),
    };
    scenario.faults.iter().enumerate().map(upright).collect()
}

/// Attachments of each node over time.
pub(super) fn loads(scenario: &Scenario, series: &Series) -> Chart {
    let time = Time::of(scenario);
    let (rows, y, mut layers, height) = if series.nodes.len() <= NODES_MAX {
        load_rows(scenario, series, &time)
    } else {
        load_spread(series, &time)
    };
    layers.extend(faults(scenario, &time));
    Chart {
        about: format!("Attachments of {} nodes over time, with the faults.", series.nodes.len()),
        wide: true,
        height,
        x: time.axis(scenario),
        y,
        rows,
        layers,
    }
}

fn load_rows(scenario: &Scenario, series: &Series, time: &Time) -> (Vec<Row>, Axis, Vec<Layer>, u32) {
    let most = series.nodes.iter().flat_map(|node| &node.attachments).max().copied().unwrap_or(0).max(1);
    let end = time.axis(scenario).range.end;
    let (mut rows, mut layers) = (Vec::new(), Vec::new());
    for (index, node) in series.nodes.iter().enumerate() {
        let region = scenario.node(node.number).map_or(0, |plan| plan.region);
        let floor = -1.0 - index as f64;
        let x = |at: usize| series.at_ms.get(at).map_or(end, |ms| time.at(*ms).min(end));
        for (from, to, state) in spans(&node.states) {
            let outline = if state == NodeState::Serving {
                let heights = &node.attachments[from..to];
                let height = |load: u64| floor + 0.86 * load as f64 / most as f64;
                steps(
                    heights.iter().enumerate().map(|(at, load)| (x(from + at), height(*load))),
                    x(to),
                    floor,
                )
            } else {
                vec![(x(from), floor), (x(from), floor + 0.9), (x(to), floor + 0.9), (x(to), floor)]
            };
            let ink = if state == NodeState::Serving { Ink::Area(region as u8 % 8) } else { Ink::Down };
            layers.push(Layer::Area { outline, ink });
        }
        rows.push(Row {
            name: format!("{} {}", words::short(&scenario.regions[region], 10), node.number),
            value: format!("{}", node.attachments.iter().max().unwrap_or(&0)),
        });
    }
    let high = if rows.len() <= 12 { 36 } else { 20 };
    let y = Axis {
        title: "region and node; behind each row its most".to_owned(),
        range: -(rows.len() as f64)..0.0,
    };
    let height = 92 + high * rows.len() as u32;
    (rows, y, layers, height)
}

/// Of many nodes: the fullest, the emptiest and those between, of all that serve.
fn load_spread(series: &Series, time: &Time) -> (Vec<Row>, Axis, Vec<Layer>, u32) {
    let serving = |at: usize| {
        let nodes = series.nodes.iter().filter(move |node| node.states[at] == NodeState::Serving);
        nodes.map(|node: &NodeSeries| node.attachments[at]).collect()
    };
    let looks: Vec<(f64, Vec<u64>)> =
        series.at_ms.iter().enumerate().map(|(at, ms)| (time.at(*ms), serving(at))).collect();
    let (layers, top) = spread(looks);
    (Vec::new(), Axis { title: "attachments of a node".to_owned(), range: 0.0..top }, layers, 340)
}

/// Quantiles over time as lines, and how high the chart has to be.
fn spread(mut looks: Vec<(f64, Vec<u64>)>) -> (Vec<Layer>, f64) {
    looks.iter_mut().for_each(|(_, loads)| loads.sort_unstable());
    let at_percent = |loads: &[u64], percent: usize| {
        loads.get((loads.len().saturating_sub(1)) * percent / 100).map(|load| *load as f64)
    };
    let line = |(percent, label, ink, width): (usize, &str, Ink, u32)| Layer::Line {
        pieces: vec![looks.iter().filter_map(|(x, loads)| Some((*x, at_percent(loads, percent)?))).collect()],
        ink,
        width,
        label: Some(label.to_owned()),
    };
    let lines = [
        (100, "fullest", Ink::Line(1), 2),
        (90, "90 % below", Ink::Line(2), 1),
        (50, "median", Ink::Line(0), 2),
        (10, "10 % below", Ink::Line(2), 1),
        (0, "emptiest", Ink::Line(1), 2),
    ];
    let top = looks.iter().flat_map(|(_, loads)| loads.last()).max().copied().unwrap_or(0);
    (lines.map(line).to_vec(), top.max(1) as f64 * 1.06)
}

/// Stretches of one state: from, to (not included), which.
fn spans(states: &[NodeState]) -> Vec<(usize, usize, NodeState)> {
    let mut spans: Vec<(usize, usize, NodeState)> = Vec::new();
    for (at, state) in states.iter().enumerate() {
        match spans.last_mut() {
            Some((_, to, last)) if last == state => *to = at + 1,
            _ => spans.push((at, at + 1, *state)),
        }
    }
    spans
}

/// The outline of an area whose height holds from each point to the next, the last to `end`.
fn steps(points: impl Iterator<Item = Point>, end: f64, floor: f64) -> Vec<Point> {
    let mut outline: Vec<Point> = Vec::new();
    for (x, y) in points {
        match outline.last() {
            Some((_, last)) if *last == y => {}
            Some((_, last)) => {
                let last = *last;
                outline.extend([(x, last), (x, y)]);
            }
            None => outline.extend([(x, floor), (x, y)]),
        }
    }
    let last = outline.last().map_or(floor, |(_, y)| *y);
    outline.extend([(end, last), (end, floor)]);
    outline
}

/// Each flow's gap when it began, with the limits.
pub(super) fn gaps(scenario: &Scenario, series: &Series) -> Chart {
    let time = Time::of(scenario);
    let mark = |gap: &crate::record::FlowGap| {
        let told = format!("{} to {}: {} ms", gap.from, gap.to, gap.pause_ms);
        ((time.at(gap.at_ms), gap.pause_ms as f64), told)
    };
    let mut layers = faults(scenario, &time);
    let checks = &scenario.checks;
    for (limit, label) in [(checks.gap_p99_ms, "p99 limit"), (checks.gap_max_ms, "limit")] {
        let level = |limit: u64| Layer::Level { y: limit as f64, ink: Ink::Limit, label: label.to_owned() };
        layers.extend(limit.map(level));
    }
    layers.push(Layer::Marks {
        marks: series.gaps.iter().map(mark).collect(),
        ink: Ink::Thread(0),
        radius: 4,
    });
    let longest = series.gaps.iter().map(|gap| gap.pause_ms).max();
    let limits = [checks.gap_p99_ms, checks.gap_max_ms, longest, Some(1)];
    let top = limits.into_iter().flatten().max().unwrap_or(1) as f64 * 1.08;
    Chart {
        about: format!(
            "{} gaps by when they began; the longest has {} ms.",
            series.gaps.len(),
            longest.unwrap_or(0)
        ),
        wide: false,
        height: 290,
        x: time.axis(scenario),
        y: Axis { title: "gap in ms".to_owned(), range: 0.0..top },
        rows: Vec::new(),
        layers,
    }
}

/// How the gaps are distributed, with their limits.
pub(super) fn gap_distribution(scenario: &Scenario, series: &Series) -> Chart {
    let mut histogram = Histogram::default();
    series.gaps.iter().for_each(|gap| histogram.add(gap.pause_ms, 1));
    let checks = &scenario.checks;
    let limits = [(checks.gap_p99_ms, "p99 limit"), (checks.gap_max_ms, "limit")];
    let limits = limits.into_iter().filter_map(|(limit, label)| Some((limit? as f64, label)));
    let lines = [Distribution { histogram: &histogram, name: "gaps", ink: Ink::Line(0), width: 2 }];
    let mut chart = distribution("gap in ms", 1.0, 0.0, &lines, "flows and faults");
    for (limit, label) in limits {
        chart.x.range.end = chart.x.range.end.max(limit * 1.08);
        chart.layers.push(Layer::Upright { x: limit, ink: Ink::Limit, label: label.to_owned() });
    }
    quantiles(&mut chart, &histogram, 1.0, "ms");
    chart
}

/// From users to the nodes where they became active.
pub(super) fn attach_distribution(series: &Series) -> Chart {
    let histogram = &series.attach_rtt_us;
    let lines = [Distribution { histogram, name: "round trips", ink: Ink::Line(0), width: 2 }];
    let mut chart = distribution("round trip in ms", 1_000.0, 0.0, &lines, "attachments");
    quantiles(&mut chart, histogram, 1_000.0, "ms");
    chart
}

/// From node to node, over the shortest way.
pub(super) fn stretch_distribution(series: &Series) -> Chart {
    let histogram = &series.stretch_permille;
    let lines = [Distribution { histogram, name: "stretch", ink: Ink::Line(0), width: 2 }];
    let mut chart = distribution("times the shortest way", 1_000.0, 1.0, &lines, "packets");
    quantiles(&mut chart, histogram, 1_000.0, "×");
    chart
}

/// A line of a distribution.
struct Distribution<'a> {
    histogram: &'a Histogram,
    name: &'a str,
    ink: Ink,
    width: u32,
}

/// The share of measurements up to each value; `scale` of the histogram's units are one of the axis'.
fn distribution(title: &str, scale: f64, start: f64, lines: &[Distribution<'_>], of: &str) -> Chart {
    let most = lines.iter().filter_map(|line| line.histogram.iter().last()).map(|(value, _)| value).max();
    let end = (most.unwrap_or(0) as f64 / scale * 1.04).max(start + 0.01);
    let layer = |line: &Distribution<'_>| Layer::Line {
        pieces: vec![cumulative(line.histogram, scale, (start, end))],
        ink: line.ink,
        width: line.width,
        label: None,
    };
    let told: Vec<String> = lines
        .iter()
        .map(|line| {
            let percent = |percent| line.histogram.at_percent(percent).map_or(0.0, |value| value / scale);
            format!("{}: half up to {}, 99 % up to {}", line.name, number(percent(50)), number(percent(99)))
        })
        .collect();
    Chart {
        about: format!("Distribution, {title}. {}.", told.join("; ")),
        wide: false,
        height: 290,
        x: Axis { title: title.to_owned(), range: start..end },
        y: Axis { title: format!("% of {of}"), range: 0.0..100.0 },
        rows: Vec::new(),
        layers: lines.iter().map(layer).collect(),
    }
}

/// Says where half and where 99 % are reached.
fn quantiles(chart: &mut Chart, histogram: &Histogram, scale: f64, unit: &str) {
    for (percent, name) in [(50, "half"), (99, "99 %")] {
        if let Some(value) = histogram.at_percent(percent) {
            let x = value / scale;
            let label = format!("{name}: {} {unit}", number(x));
            chart.layers.insert(0, Layer::Upright { x, ink: Ink::Faint, label });
        }
    }
}

fn cumulative(histogram: &Histogram, scale: f64, (start, end): (f64, f64)) -> Vec<Point> {
    let all = histogram.count().max(1);
    let mut points = vec![(start, 0.0)];
    let (mut seen, mut drawn) = (0, 0);
    for (value, count) in histogram.iter() {
        let before = seen as f64 * 100.0 / all as f64;
        seen += count;
        let step = seen * STEPS_MAX / all;
        if step > drawn || seen == all {
            drawn = step;
            let x = value as f64 / scale;
            points.extend([(x, before), (x, seen as f64 * 100.0 / all as f64)]);
        }
    }
    if seen > 0 {
        points.push((end, 100.0));
    }
    points
}
