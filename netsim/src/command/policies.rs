//! `netsim run --policy`: one scenario under several placement policies, each with every packet, side by side.

use serde::Serialize;

use super::output::Output;
use super::{EXIT_USAGE, code, print, sentence, write};
use crate::balance::{Policy, pinned, spread};
use crate::play::{Options, Report, Verdict, play};
use crate::scenario::Scenario;

/// A policy and what came of it.
#[derive(Serialize)]
struct Row {
    policy: &'static str,
    /// The highest load of a node over the mean, by capacity.
    load_over_mean_percent: u64,
    /// Round trips to the own node.
    attach_rtt_p99_ms: u64,
    #[serde(flatten)]
    report: Report,
}

/// Plays a scenario under each policy; the exit code.
pub(super) fn run(
    scenario: &Scenario,
    options: Options,
    policies: &[Policy],
    output: Option<&mut Output>,
) -> u8 {
    let mut rows = Vec::new();
    for policy in policies {
        let Some(pinned) = pinned(scenario, *policy, options.seed) else {
            let name = &scenario.name;
            eprintln!(
                "netsim: all endpoints of {name} have a node of their own: leave out --policy, or their `node`"
            );
            return EXIT_USAGE;
        };
        let (load_over_mean_percent, attach_rtt_p99_ms) = spread(&pinned);
        let report = play(&pinned, options);
        rows.push(Row { policy: policy.name(), load_over_mean_percent, attach_rtt_p99_ms, report });
    }
    match write(output, &rows) {
        Ok(true) => {}
        Ok(false) => show(&rows),
        Err(code) => return code,
    }
    code(rows.iter().map(|row| row.report.verdict).max().unwrap_or(Verdict::Held))
}

fn show(rows: &[Row]) {
    for Row { policy, report, .. } in rows {
        print(&format!("{policy}: {}", report.line()));
    }
    let row = |name: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> = cells.map(|cell| format!("{cell:>14}")).collect();
        print(&format!("  {name:<22} {}", cells.join(" ")));
    };
    row("", &mut rows.iter().map(|row| row.policy.to_owned()));
    row("load_over_mean_percent", &mut rows.iter().map(|row| row.load_over_mean_percent.to_string()));
    row("attach_rtt_p99_ms", &mut rows.iter().map(|row| row.attach_rtt_p99_ms.to_string()));
    for (at, figure) in rows.iter().take(1).flat_map(|row| row.report.figures.iter().enumerate()) {
        let cell = |row: &Row| {
            let value = row.report.figures.get(at).and_then(|figure| figure.value);
            value.map_or("-".to_owned(), |value| value.to_string())
        };
        row(figure.name, &mut rows.iter().map(cell));
    }
    for Row { policy, report, .. } in rows {
        for violation in &report.violations {
            print(&format!("violated: {policy}: {violation}"));
        }
    }
    print(sentence(rows.iter().map(|row| row.report.verdict).max().unwrap_or(Verdict::Held)));
}
