//! A run or a comparison as one HTML file: what came of it, pictures, limits, and the command that makes it again.
//!
//! Reads reports and scenarios, and nothing else: the same run gives the same bytes. The file loads nothing, runs nothing,
//! and everything in it that comes from a scenario is escaped.
//!
//! ```text
//!  report, series ──► plots: which charts ──► chart: plotters, classes for colours ──┐
//!                 ──► mesh: the ring                                                 ├──► page: the document
//!                 ──► tables, words                                                  ┘
//! ```

mod chart;
mod mesh;
mod page;
mod plots;
mod tables;
mod words;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::balance::{Comparison, Policy};
use crate::play::{Report, Verdict};
use crate::record::{NodeState, Picture, Series};
use crate::scenario::{Checks, Scenario};

use chart::Ink;
use page::{Mood, Page, clock, escaped, figure, row, thousands};
use plots::policies;

/// Pictures of the mesh on one page.
const PICTURES_MAX: usize = 3;

/// A run of a scenario; `command` runs it again. Pictures need [`Report::series`].
pub fn run_page(scenario: &Scenario, report: &Report, command: &str) -> String {
    let mut page = Page::new("netsim run", &report.name, verdict(report.verdict), &scenario.about);
    page.headline(&headline(report));
    if !report.violations.is_empty() {
        page.section("What did not hold", "", &tables::violations(&report.violations));
    }
    if let Some(series) = &report.series {
        pictures(&mut page, scenario, series);
    }
    page.section("Figures", "", &tables::figures(report));
    if !scenario.faults.is_empty() {
        page.section(
            "Faults",
            "Numbered as in the pictures; times count from time 0.",
            &tables::faults(scenario),
        );
    }
    let facts = [
        ("seed", report.seed.to_string()),
        ("trace", report.trace.clone()),
        ("events", thousands(report.events)),
        ("version", format!("netsim {}", report.version)),
        ("commit", report.commit.to_owned()),
        ("simulation", report.simulation.to_owned()),
        ("build", report.profile.to_owned()),
        ("mesh", format!("{} nodes, {} endpoints", scenario.nodes.len(), scenario.endpoints())),
        ("simulated", clock(report.simulated_ms)),
    ];
    page.section("Run it again", AGAIN, &format!("{}{}", command_line(command), tables::facts(&facts)));
    page.finish(&format!("{} – netsim run", report.name), &report.line())
}

/// A comparison of policies; `command` runs it again. Pictures over time and of distributions need [`Row::series`].
///
/// [`Row::series`]: crate::balance::Row::series
pub fn compare_page(scenario: &Scenario, comparison: &Comparison, command: &str) -> String {
    let limits = limits(&scenario.checks);
    let limit = |name: &str| limits.iter().find(|(limited, _)| *limited == name).map(|(_, limit)| *limit);
    let mut page =
        Page::new("netsim compare", &comparison.name, verdict(comparison.verdict), &scenario.about);
    page.headline(&compare_headline(comparison, &limits));
    if !comparison.violations.is_empty() {
        page.section("What did not hold", "", &tables::violations(&comparison.violations));
    }
    page.section("Policies side by side", TABLE_NOTE, &tables::policies(comparison, &limits));
    let figures = [
        ("load_over_mean", "Highest load over the mean"),
        ("herd", "Herd: the same of what came between two reports"),
        ("rtt_p99_ms", "Round trip to the node, 99th percentile, ms"),
        ("rtt_peak_mean_ms", "Round trip at the peak, mean, ms"),
        ("stretch", "Stretch of ways between endpoints"),
        ("rejects_percent", "Refused, %"),
    ];
    let whiskers: Vec<String> = figures
        .iter()
        .filter_map(|(name, title)| {
            let chart = policies::whiskers(comparison, name, title, limit(name))?;
            Some(figure("half", title, &chart.svg(), ""))
        })
        .collect();
    page.section("Means and intervals", WHISKERS_NOTE, &row("pair", &whiskers));
    if let Some(chart) = policies::over_mean(scenario, comparison, limit("load_over_mean")) {
        let note = format!("Under seed {}. {OVER_MEAN_NOTE}", comparison.seed);
        page.section("Evenness over time", &note, &figure("wide", "", &chart.svg(), ""));
    }
    let loads: Vec<String> = policies::loads(scenario, comparison)
        .into_iter()
        .map(|(policy, chart)| figure("half", &escaped(&policy), &chart.svg(), ""))
        .collect();
    if !loads.is_empty() {
        let note = format!("Under seed {}, on one scale. A line ends where its node dies.", comparison.seed);
        page.section("Load of each node", &note, &row("pair", &loads));
    }
    if let Some((chart, lines)) = policies::distributions(comparison) {
        let picture = format!("{}{}", legend(&lines), chart.svg());
        page.section("Round trips", ROUND_TRIPS_NOTE, &figure("wide", "", &picture, ""));
    }
    if !scenario.faults.is_empty() {
        page.section("Faults", "", &tables::faults(scenario));
    }
    let last = comparison.seed.wrapping_add(comparison.seeds.saturating_sub(1));
    let facts = [
        ("seeds", format!("{} to {last}: {}", comparison.seed, comparison.seeds)),
        ("endpoints", format!("{} in all", thousands(comparison.endpoints))),
        ("version", format!("netsim {}", comparison.version)),
        ("commit", comparison.commit.to_owned()),
        ("build", comparison.profile.to_owned()),
        ("simulation", "flows: endpoints arrive and leave, without packets".to_owned()),
        (
            "reports",
            format!(
                "{} ms apart, heard {} ms late",
                scenario.reports.interval.as_millis(),
                scenario.reports.age.as_millis()
            ),
        ),
    ];
    let inner = format!("{}{}{}", command_line(command), tables::facts(&facts), tables::traces(comparison));
    page.section("Run it again", AGAIN, &inner);
    let foot = format!("{}: netsim {} {}", comparison.name, comparison.version, comparison.profile);
    page.finish(&format!("{} – netsim compare", comparison.name), &foot)
}

const AGAIN: &str = "The same seed gives the same trace, and this page byte for byte.";
const TABLE_NOTE: &str = "Means over the seeds with 95 % intervals; every policy met the same endpoints. Less is better in every \
                          row. <b class=\"best\">Best</b> values are marked; no policy can be below the bound.";
const WHISKERS_NOTE: &str = "Dots are means, whiskers 95 % intervals; the bound cannot be bettered.";
const OVER_MEAN_NOTE: &str =
    "1 is perfectly even. The first moments, when nodes are nearly empty, may go beyond the top.";
const ROUND_TRIPS_NOTE: &str = "From users to the nodes they attached to, all seeds. The cheapest assignment is that of all who \
                                are there at the moment of most demand, within capacities.";

fn verdict(verdict: Verdict) -> (Mood, &'static str) {
    let mood = if verdict == Verdict::Held { Mood::Good } else { Mood::Bad };
    (mood, words::verdict(verdict))
}

/// What a reader wants to know first of a run.
fn headline(report: &Report) -> Vec<(String, String)> {
    ["delivered", "lost", "gap_p99_ms", "converge_ms", "moved_beyond"]
        .iter()
        .filter_map(|name| {
            let figure = report.figures.iter().find(|figure| figure.name == *name)?;
            let meaning = words::meaning(name)?;
            let unit = if meaning.unit.is_empty() { String::new() } else { format!(" {}", meaning.unit) };
            let limit = figure.limit.filter(|limit| *limit > 0);
            let limit = limit.map_or(String::new(), |limit| format!(", at most {}{unit}", thousands(limit)));
            Some((format!("{}{unit}", thousands(figure.value?)), format!("{}{limit}", meaning.name)))
        })
        .collect()
}

/// What a reader wants to know first of a comparison: our policy's figures that have limits.
fn compare_headline(comparison: &Comparison, limits: &[(&str, f64)]) -> Vec<(String, String)> {
    let ours = comparison.rows.iter().find(|row| row.policy == Policy::OURS.name());
    let one = |(name, limit): &(&str, f64)| {
        let (value, meaning) = (ours?.mean(name)?, words::meaning(name)?);
        let unit = if meaning.unit.is_empty() { String::new() } else { format!(" {}", meaning.unit) };
        let limit = format!("{}, at most {}{unit}", meaning.name, words::digits(*limit));
        Some((format!("{}{unit}", words::digits(value)), limit))
    };
    let mut figures = vec![(thousands(comparison.endpoints), "endpoints arrived".to_owned())];
    figures.extend(limits.iter().filter_map(one));
    figures
}

/// The limits for our policy, as [`crate::balance`] holds it against them.
fn limits(checks: &Checks) -> Vec<(&'static str, f64)> {
    let part = |limit: Option<u64>, whole: f64| limit.map(|limit| limit as f64 / whole);
    let moved = Some(checks.moved_beyond as f64);
    [
        ("load_over_mean", part(checks.load_over_mean_percent, 100.0)),
        ("rtt_p99_over_flow", part(checks.rtt_p99_over_flow_percent, 100.0)),
        ("rejects_with_room_percent", part(checks.rejects_ppm, 10_000.0)),
        ("collateral_moves", moved),
        ("oscillations", moved),
    ]
    .into_iter()
    .filter_map(|(name, limit)| Some((name, limit?)))
    .collect()
}

fn pictures(page: &mut Page, scenario: &Scenario, series: &Series) {
    let shown = worth_showing(&series.pictures);
    if !shown.is_empty() {
        let most = shown.iter().flat_map(|picture| &picture.nodes).map(|node| node.attachments).max();
        let rings: Vec<String> = shown
            .iter()
            .map(|picture| {
                let mesh::Ring { svg, caption } = mesh::ring(scenario, picture, most.unwrap_or(0));
                figure("ring", "", &svg, &caption)
            })
            .collect();
        let inner = format!("{}{}", row("rings", &rings), mesh_legend(&shown));
        page.section("The mesh", "Just before a fault, and in the end.", &inner);
    }
    let chart = plots::loads(scenario, series).svg();
    page.section(
        "Load of each node",
        "Attachments, active and standing by.",
        &figure("wide", "", &chart, ""),
    );
    let mut flows = Vec::new();
    if !series.gaps.is_empty() {
        flows.push(figure("half", "Each gap when it began", &plots::gaps(scenario, series).svg(), ""));
        flows.push(figure(
            "half",
            "How long gaps were",
            &plots::gap_distribution(scenario, series).svg(),
            "",
        ));
        let note =
            "A flow's longest pause after each fault, beyond its sender's own. Point at a mark to see whose.";
        page.section("Fail-over gaps", note, &row("pair", &flows));
    }
    let mut ways = Vec::new();
    if series.attach_rtt_us.count() > 0 {
        let chart = plots::attach_distribution(series).svg();
        ways.push(figure("half", "Round trip from a user to its node", &chart, ""));
    }
    if series.stretch_permille.count() > 0 {
        let chart = plots::stretch_distribution(series).svg();
        ways.push(figure("half", "Stretch of the tree", &chart, ""));
    }
    let note = "Stretch: what packets took from node to node, over the shortest way between living nodes.";
    if !ways.is_empty() {
        page.section("Ways", note, &row("pair", &ways));
    }
}

/// The first picture, the last, and of those between the one with the most nodes out of service.
fn worth_showing(pictures: &[Picture]) -> Vec<&Picture> {
    if pictures.len() <= PICTURES_MAX {
        return pictures.iter().collect();
    }
    let out =
        |picture: &&Picture| picture.nodes.iter().filter(|node| node.state != NodeState::Serving).count();
    let (first, last) = (pictures.first(), pictures.last());
    let between = pictures[1..pictures.len() - 1].iter().rev().max_by_key(out);
    first.into_iter().chain(between).chain(last).collect()
}

fn mesh_legend(shown: &[&Picture]) -> String {
    let states = mesh::states(shown.iter().copied());
    let mut out = "<p class=\"legend\">".to_owned();
    for state in states {
        let class = mesh::class(state);
        let _ = write!(
            out,
            "<span><svg class=\"swatch\" viewBox=\"0 0 20 20\" aria-hidden=\"true\"><g class=\"node {class} r0\">\
             <circle cx=\"10\" cy=\"10\" r=\"7\"/></g></svg>{}</span> ",
            mesh::word(state)
        );
    }
    out.push_str("<span>size and number: attachments</span></p>\n");
    out
}

/// Lines with their names.
fn legend(lines: &[(Ink, String)]) -> String {
    let mut out = "<p class=\"legend\">".to_owned();
    for (ink, name) in lines {
        let _ = write!(
            out,
            "<span><svg class=\"swatch line\" viewBox=\"0 0 34 10\" aria-hidden=\"true\"><path class=\"s{}\" \
             stroke-width=\"3\" d=\"M0,5 H34\"/></svg>{}</span> ",
            ink.code(),
            escaped(name)
        );
    }
    out.push_str("</p>\n");
    out
}

fn command_line(command: &str) -> String {
    format!("<pre class=\"command\"><code>{}</code></pre>\n", escaped(command))
}

/// A line for a shell: what is not plain is quoted.
pub fn shell_line<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let plain: BTreeSet<char> = "-_./,:=@%+".chars().collect();
    let quoted = |part: &str| {
        let is_plain =
            !part.is_empty() && part.chars().all(|one| one.is_ascii_alphanumeric() || plain.contains(&one));
        if is_plain { part.to_owned() } else { format!("'{}'", part.replace('\'', r"'\''")) }
    };
    parts.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
