//! The charts of a comparison: what each policy came to, beside the bounds and the limits for ours.

use crate::balance::{Comparison, Estimate, Loads, NodeLoads, Policy, Row as PolicyRow};
use crate::scenario::Scenario;

use super::super::chart::{Axis, Chart, Ink, Layer, Point, Row, number};
use super::super::words;
use super::{Distribution, NODES_MAX, Time, distribution, faults, spread};

/// The ink of a policy's lines: ours is the first.
pub(in crate::html) fn ink(policy: &str) -> Ink {
    let at = Policy::ALL.iter().rev().position(|one| one.name() == policy).unwrap_or(0);
    Ink::Line(at as u8)
}

/// A figure of all policies: means with their intervals, the bound and the limit. `None` if all are the same.
pub(in crate::html) fn whiskers(
    comparison: &Comparison,
    name: &str,
    title: &str,
    limit: Option<f64>,
) -> Option<Chart> {
    let rows: Vec<&PolicyRow> = ours_first(comparison);
    let find = |row: &&PolicyRow| row.figures.iter().find(|figure| figure.name == name).cloned();
    let figures: Vec<_> = rows.iter().filter_map(|row| Some((row.policy, find(row)?))).collect();
    let values: Vec<_> =
        figures.iter().filter_map(|(policy, figure)| Some((*policy, figure.value?))).collect();
    let bound = figures.iter().filter_map(|(_, figure)| figure.bound).reduce(f64::min);
    let ends = values.iter().flat_map(|(_, value)| {
        let half = value.ci95.unwrap_or(0.0);
        [(value.mean - half).max(0.0), value.mean + half]
    });
    let all: Vec<f64> = ends.chain(bound).chain(limit).collect();
    let (low, high) =
        all.iter().fold((f64::MAX, f64::MIN), |(low, high), one| (low.min(*one), high.max(*one)));
    if values.is_empty() || high <= low {
        return None;
    }
    let pad = (high - low) * 0.06;
    let mut layers = Vec::new();
    let upright = |x: f64, ink, what: &str| Layer::Upright { x, ink, label: format!("{what} {}", number(x)) };
    layers.extend(bound.map(|bound| upright(bound, Ink::Bound, "bound")));
    layers.extend(limit.map(|limit| upright(limit, Ink::Limit, "limit")));
    for (index, (policy, value)) in values.iter().enumerate() {
        let y = -0.5 - index as f64;
        let ours = *policy == Policy::OURS.name();
        let ink = if ours { Ink::Line(0) } else { Ink::Text };
        if let Some(half) = value.ci95 {
            let whisker = vec![((value.mean - half).max(0.0), y), (value.mean + half, y)];
            layers.push(Layer::Line { pieces: vec![whisker], ink, width: 3, label: None });
        }
        let told = format!("{policy}: {}", words::estimate(Some(*value)));
        let radius = if ours { 6 } else { 4 };
        layers.push(Layer::Marks { marks: vec![((value.mean, y), told)], ink, radius });
    }
    let row = |(policy, value): &(&str, Estimate)| Row {
        name: words::policy(policy),
        value: words::estimate(Some(*value)),
    };
    Some(Chart {
        about: format!(
            "{title}: {}.",
            values
                .iter()
                .map(|(policy, value)| format!("{policy} {}", number(value.mean)))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        wide: false,
        height: 64 + 26 * values.len() as u32,
        x: Axis { title: String::new(), range: low - pad..high + pad },
        y: Axis { title: String::new(), range: -(values.len() as f64)..0.0 },
        rows: values.iter().map(row).collect(),
        layers,
    })
}

/// Rows with ours first.
pub(in crate::html) fn ours_first(comparison: &Comparison) -> Vec<&PolicyRow> {
    let mut rows: Vec<&PolicyRow> = comparison.rows.iter().collect();
    rows.sort_by_key(|row| row.policy != Policy::OURS.name());
    rows
}

/// Round trips under each policy, beside the nearest nodes and the cheapest assignment; and the lines' names.
pub(in crate::html) fn distributions(comparison: &Comparison) -> Option<(Chart, Vec<(Ink, String)>)> {
    let rows = ours_first(comparison);
    let first = rows.first()?.series.as_ref()?;
    let mut lines = vec![
        Distribution { histogram: &first.nearest, name: "nearest living node", ink: Ink::Bound, width: 5 },
        Distribution {
            histogram: &first.cheapest,
            name: "cheapest assignment at the peak",
            ink: Ink::Limit,
            width: 3,
        },
    ];
    // Ours last, so that it is over the others.
    for row in rows.iter().rev() {
        let ours = row.policy == Policy::OURS.name();
        let width = if ours { 3 } else { 2 };
        let series = row.series.as_ref()?;
        lines.push(Distribution { histogram: &series.rtt, name: row.policy, ink: ink(row.policy), width });
    }
    let mut chart = distribution("round trip in ms", 1.0, 0.0, &lines, "attachments");
    chart.wide = true;
    chart.height = 320;
    let named = |line: &Distribution<'_>| (line.ink, words::policy(line.name));
    let legend = lines.iter().skip(2).rev().chain(&lines[..2]).map(named).collect();
    Some((chart, legend))
}

/// The highest load over the mean, over time, of every policy under the first seed.
pub(in crate::html) fn over_mean(
    scenario: &Scenario,
    comparison: &Comparison,
    limit: Option<f64>,
) -> Option<Chart> {
    let time = Time::of(scenario);
    let rows = ours_first(comparison);
    let loads: Vec<(&str, &Loads)> =
        rows.iter().map(|row| Some((row.policy, &row.series.as_ref()?.loads))).collect::<Option<_>>()?;
    let mut values: Vec<f64> =
        loads.iter().flat_map(|(_, loads)| loads.over_mean.iter().flatten().copied()).collect();
    values.sort_by(f64::total_cmp);
    // The first moments, when nodes are nearly empty, would make everything else flat.
    let usual = values.get(values.len().saturating_sub(1) * 97 / 100).copied().unwrap_or(1.0);
    let top = 1.0 + (usual.max(limit.unwrap_or(1.0)) - 1.0).max(0.01) * 1.12;
    let points = |at_ms: &[u64], values: &[Option<f64>]| -> Vec<Vec<Point>> {
        let known =
            at_ms.iter().zip(values).filter_map(|(ms, value)| Some((time.at(*ms), (*value)?.min(top))));
        vec![known.collect()]
    };
    let mut layers = faults(scenario, &time);
    layers.extend(limit.map(|y| Layer::Level { y, ink: Ink::Limit, label: format!("limit {}", number(y)) }));
    let (_, first) = loads.first()?;
    layers.push(Layer::Line {
        pieces: points(&first.at_ms, &first.bound),
        ink: Ink::Bound,
        width: 4,
        label: Some("bound".to_owned()),
    });
    for (policy, loads) in loads.iter().rev() {
        layers.push(Layer::Line {
            pieces: points(&loads.at_ms, &loads.over_mean),
            ink: ink(policy),
            width: if *policy == Policy::OURS.name() { 3 } else { 1 },
            label: Some(words::policy(policy)),
        });
    }
    Some(Chart {
        about: "The highest load over the mean, over time, by policy.".to_owned(),
        wide: true,
        height: 340,
        x: time.axis(scenario),
        y: Axis { title: "highest load over the mean".to_owned(), range: 1.0..top },
        rows: Vec::new(),
        layers,
    })
}

/// Loads of each node, ours and the policy whose loads are the least even, on the same scale.
pub(in crate::html) fn loads(scenario: &Scenario, comparison: &Comparison) -> Vec<(String, Chart)> {
    let rows = ours_first(comparison);
    let uneven = |row: &&&PolicyRow| row.mean("load_over_mean").unwrap_or(0.0);
    let other = rows.iter().skip(1).max_by(|a, b| uneven(a).total_cmp(&uneven(b)));
    let shown: Vec<&PolicyRow> = rows.first().into_iter().chain(other).copied().collect();
    let most = shown
        .iter()
        .filter_map(|row| row.series.as_ref())
        .flat_map(|series| &series.loads.nodes)
        .flat_map(|node| node.attachments.iter().flatten())
        .max()
        .copied()
        .unwrap_or(1);
    let time = Time::of(scenario);
    let chart = |row: &&PolicyRow| {
        let loads = &row.series.as_ref()?.loads;
        let mut layers: Vec<Layer> = if loads.nodes.len() <= NODES_MAX {
            loads.nodes.iter().map(|node| thread(node, &loads.at_ms, &time, ink(row.policy))).collect()
        } else {
            let at = |at: usize| loads.nodes.iter().filter_map(|node| node.attachments[at]).collect();
            let looks = loads.at_ms.iter().enumerate().map(|(index, ms)| (time.at(*ms), at(index)));
            spread(looks.collect()).0
        };
        layers.extend(faults(scenario, &time));
        let chart = Chart {
            about: format!("Attachments of {} nodes over time under {}.", loads.nodes.len(), row.policy),
            wide: false,
            height: 300,
            x: time.axis(scenario),
            y: Axis { title: "attachments of each node".to_owned(), range: 0.0..most.max(1) as f64 * 1.04 },
            rows: Vec::new(),
            layers,
        };
        Some((words::policy(row.policy), chart))
    };
    shown.iter().filter_map(chart).collect()
}

/// One of many lines; it is cut where the node is dead.
fn thread(node: &NodeLoads, at_ms: &[u64], time: &Time, ink: Ink) -> Layer {
    let mut pieces: Vec<Vec<Point>> = vec![Vec::new()];
    for (ms, load) in at_ms.iter().zip(&node.attachments) {
        match load {
            Some(load) => pieces.last_mut().expect("there is always one").push((time.at(*ms), *load as f64)),
            None => pieces.push(Vec::new()),
        }
    }
    let series = if let Ink::Line(series) = ink { series } else { 0 };
    Layer::Line { pieces, ink: Ink::Thread(series), width: 1, label: None }
}
