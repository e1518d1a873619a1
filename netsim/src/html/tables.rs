//! Tables of a page: figures with their limits, policies side by side, faults, and what it takes to run it again.

use std::fmt::Write as _;

use crate::balance::{Comparison, FIGURES, Policy, Row};
use crate::play::{Figure, Report};
use crate::scenario::Scenario;

use super::page::{clock, escaped, thousands};
use super::plots::policies::ours_first;
use super::words::{self, Meaning};

/// A run's figures, each with its limit and whether it holds.
pub(super) fn figures(report: &Report) -> String {
    let mut rows = String::new();
    for Figure { name, value, limit } in &report.figures {
        let shown = value.map_or("–".to_owned(), thousands);
        let (limit, holds) = match (value, limit) {
            (_, None) => (String::new(), String::new()),
            (value, Some(limit)) => {
                let holds = value.is_none_or(|value| value <= *limit);
                (format!("≤ {}", thousands(*limit)), mark(holds, "holds", "exceeded"))
            }
        };
        let _ = writeln!(
            rows,
            "<tr>{}<td class=\"number\">{shown}</td><td class=\"number\">{limit}</td><td>{holds}</td></tr>",
            named(name)
        );
    }
    boxed(
        "Figures with their limits",
        "<th scope=\"col\">figure</th><th scope=\"col\" class=\"number\">value</th>\
         <th scope=\"col\" class=\"number\">limit</th><th scope=\"col\"></th>",
        &rows,
        "figures",
    )
}

/// Policies as columns, ours first; figures as rows, each with its bound and the limit for ours.
pub(super) fn policies(comparison: &Comparison, limits: &[(&str, f64)]) -> String {
    let columns = ours_first(comparison);
    let mut head = "<th scope=\"col\">figure</th>".to_owned();
    for row in &columns {
        let class = if is_ours(row) { " class=\"number ours\"" } else { " class=\"number\"" };
        let _ = write!(head, "<th scope=\"col\"{class}>{}</th>", escaped(&words::policy(row.policy)));
    }
    head.push_str("<th scope=\"col\" class=\"number\">bound</th><th scope=\"col\" class=\"number\">limit for ours</th><th></th>");
    let mut rows = String::new();
    for (at, name) in FIGURES.iter().enumerate() {
        let means = columns.iter().filter_map(|row| row.figures[at].value.map(|value| value.mean));
        // What is shown as equal is equally good.
        let best = means.clone().map(words::digits).zip(means.clone()).min_by(|a, b| a.1.total_cmp(&b.1));
        let alike = means.map(words::digits).all(|shown| best.as_ref().is_some_and(|best| best.0 == shown));
        let _ = write!(rows, "<tr>{}", named(name));
        for row in &columns {
            let value = row.figures[at].value;
            let is_best = !alike
                && value.is_some_and(|value| {
                    best.as_ref().is_some_and(|best| words::digits(value.mean) == best.0)
                });
            let mut class = "number".to_owned();
            if is_ours(row) {
                class.push_str(" ours");
            }
            if is_best {
                class.push_str(" best");
            }
            let shown = match value {
                Some(value) => match value.ci95.filter(|half| *half >= 0.000_5) {
                    Some(half) => {
                        format!("{} <small>±{}</small>", words::digits(value.mean), words::digits(half))
                    }
                    None => words::digits(value.mean),
                },
                None => "–".to_owned(),
            };
            let _ = write!(rows, "<td class=\"{class}\">{shown}</td>");
        }
        let bound = columns.iter().filter_map(|row| row.figures[at].bound).reduce(f64::min);
        let bound = bound.map_or("–".to_owned(), words::digits);
        let limit = limits.iter().find(|(limited, _)| limited == name).map(|(_, limit)| *limit);
        let ours = columns.iter().find(|row| is_ours(row)).and_then(|row| row.mean(name));
        let (shown, holds) = match (ours, limit) {
            (Some(value), Some(limit)) => {
                (format!("≤ {}", words::digits(limit)), mark(value <= limit, "met", "missed"))
            }
            _ => (String::new(), String::new()),
        };
        let _ = writeln!(
            rows,
            "<td class=\"number bound\">{bound}</td><td class=\"number\">{shown}</td><td>{holds}</td></tr>"
        );
    }
    boxed("Policies side by side", &head, &rows, "policies")
}

/// The scenario's faults, numbered as in the pictures.
pub(super) fn faults(scenario: &Scenario) -> String {
    let mut rows = String::new();
    for (index, timed) in scenario.faults.iter().enumerate() {
        let _ = writeln!(
            rows,
            "<tr><td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td></tr>",
            index + 1,
            clock(timed.at.as_millis() as u64),
            escaped(&words::fault(&timed.fault, scenario))
        );
    }
    boxed(
        "Faults",
        "<th scope=\"col\" class=\"number\">no.</th><th scope=\"col\" class=\"number\">time</th><th scope=\"col\">what</th>",
        &rows,
        "faults",
    )
}

/// Violations as they are printed.
pub(super) fn violations(found: &[String]) -> String {
    let items: String = found.iter().map(|one| format!("<li>{}</li>\n", escaped(one))).collect();
    format!("<ul class=\"violations\">\n{items}</ul>\n")
}

/// Names with their values, both as text.
pub(super) fn facts(facts: &[(&str, String)]) -> String {
    let items: String = facts
        .iter()
        .map(|(name, value)| format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escaped(name), escaped(value)))
        .collect();
    format!("<dl class=\"facts\">\n{items}</dl>\n")
}

/// Each policy's trace.
pub(super) fn traces(comparison: &Comparison) -> String {
    let mut rows = String::new();
    for row in ours_first(comparison) {
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\">{}</th><td><code>{}</code></td><td class=\"number\">{}</td></tr>",
            escaped(&words::policy(row.policy)),
            escaped(&row.trace),
            thousands(row.events)
        );
    }
    boxed(
        "Traces",
        "<th scope=\"col\">policy</th><th scope=\"col\">trace</th><th scope=\"col\" class=\"number\">events</th>",
        &rows,
        "traces",
    )
}

fn is_ours(row: &Row) -> bool {
    row.policy == Policy::OURS.name()
}

/// A figure's name for people, what it says, and its name in JSON.
fn named(figure: &str) -> String {
    let Meaning { name, says, unit } =
        words::meaning(figure).unwrap_or(Meaning { name: "", unit: "", says: "" });
    let unit = if unit.is_empty() || figure.ends_with("_ms") { unit } else { "" };
    let name = if name.is_empty() { figure } else { name };
    let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
    format!(
        "<th scope=\"row\" title=\"{}\">{}{unit} <small>{}</small></th>",
        escaped(figure),
        escaped(name),
        escaped(says)
    )
}

fn mark(holds: bool, good: &str, bad: &str) -> String {
    if holds {
        format!("<span class=\"mark good\"><span aria-hidden=\"true\">✓</span> {good}</span>")
    } else {
        format!("<span class=\"mark bad\"><span aria-hidden=\"true\">✗</span> {bad}</span>")
    }
}

/// A table in a box of its own, which scrolls when it is too wide.
fn boxed(caption: &str, head: &str, rows: &str, class: &str) -> String {
    let caption = escaped(caption);
    format!(
        "<div class=\"table\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\">\n<table class=\"{class}\">\n\
         <thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n"
    )
}
