//! `cargo xtask bench [relay|mpsl|mesh|netsim]`: measures, and prints each figure beside its target.
//!
//! Benchmarks want optimised code and more crates than the other chores: without the feature `bench` this builds xtask
//! anew with it, in release, and hands over.

#[cfg(feature = "bench")]
pub(crate) mod bare;
#[cfg(feature = "bench")]
mod mesh;
#[cfg(feature = "bench")]
mod mpsl;
#[cfg(feature = "bench")]
mod netsim;
#[cfg(feature = "bench")]
mod relay;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure; everything if not given
    #[arg(value_enum)]
    subject: Option<Subject>,
    /// Fewer and shorter runs: for a first look, not for figures to quote
    #[arg(long)]
    quick: bool,
    /// Of the mesh these parts alone; again for more
    #[arg(long = "part", value_enum, value_name = "PART")]
    parts: Vec<Part>,
    /// Where the release programs relayd, relayctl and sealcast-driver are, for the mesh; built now if not given
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Write the figures as JSON as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// Packets through one relayd on loopback
    Relay,
    /// Seal, open and handshakes of the end-to-end layer
    Mpsl,
    /// Cost across nodes, and what endpoints feel when nodes are killed, stand still, or are drained
    Mesh,
    /// What the simulator costs, in its light profile
    Netsim,
}

/// A part of the mesh's figures.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// CPU time for what goes from one node to two others
    Cost,
    /// The receiver's node is killed
    Kill,
    /// The receiver's node stands still
    Stop,
    /// A node on the way is killed, or stands still
    Transit,
    /// The receiver's node is drained
    Drain,
    /// The same as kill, without the broker
    Broker,
    /// Twelve nodes agree after one came, left, or died
    Converge,
}

#[cfg(feature = "bench")]
impl Arguments {
    fn wants(&self, subject: Subject) -> bool {
        self.subject.is_none_or(|chosen| chosen == subject)
    }
}

#[cfg(not(feature = "bench"))]
pub(crate) fn run(_arguments: &Arguments) -> Result<ExitCode> {
    let build = ["run", "--release", "--quiet", "--package", "xtask", "--features", "bench", "--"];
    let status = crate::cargo().args(build).args(std::env::args_os().skip(1)).status();
    let code = status.context("cannot start cargo")?.code();
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

#[cfg(feature = "bench")]
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut figures = Vec::new();
    if arguments.wants(Subject::Relay) {
        figures.extend(relay::run(arguments.quick)?);
    }
    if arguments.wants(Subject::Mpsl) {
        figures.extend(mpsl::run(arguments.quick)?);
    }
    if arguments.wants(Subject::Mesh) {
        figures.extend(mesh::run(arguments.quick, &arguments.parts, arguments.programs.as_deref())?);
    }
    if arguments.wants(Subject::Netsim) {
        figures.extend(netsim::run(arguments.quick)?);
    }
    if let Some(path) = &arguments.json {
        let rows: Vec<_> = figures.iter().map(Figure::to_json).collect();
        let text = serde_json::to_string_pretty(&rows)?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One measured figure beside its target.
#[cfg(feature = "bench")]
pub(crate) struct Figure {
    /// What was measured, such as `relay 1->16 1200 B`.
    pub(crate) name: String,
    /// Such as `CPU s/GB`.
    pub(crate) unit: &'static str,
    /// Median of the runs.
    pub(crate) value: f64,
    /// The same of what it is compared with, if anything.
    pub(crate) reference: Option<f64>,
    /// What the value (or, with a reference, the ratio) should not pass.
    pub(crate) target: Option<Target>,
}

/// What a figure should be.
#[cfg(feature = "bench")]
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Value (or ratio to the reference) at most.
    AtMost(f64),
    /// Value (or ratio to the reference) at least.
    AtLeast(f64),
}

#[cfg(feature = "bench")]
impl Figure {
    /// The number that the target speaks of.
    fn measured(&self) -> f64 {
        self.reference.map_or(self.value, |reference| self.value / reference)
    }

    fn met(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtMost(limit) => self.measured() <= limit,
            Target::AtLeast(limit) => self.measured() >= limit,
        })
    }

    /// Prints the figure on a line of its own.
    pub(crate) fn print(&self) {
        let reference = match self.reference {
            Some(reference) => format!("reference {reference:9.3}  ratio {:6.3}", self.measured()),
            None => String::new(),
        };
        let target = match (self.target, self.met()) {
            (Some(Target::AtMost(limit)), Some(met)) => format!("target <= {limit} {}", word(met)),
            (Some(Target::AtLeast(limit)), Some(met)) => format!("target >= {limit} {}", word(met)),
            _ => String::new(),
        };
        println!("{:<38} {:>10.3} {:<12} {reference:<36} {target}", self.name, self.value, self.unit);
    }

    fn to_json(&self) -> serde_json::Value {
        let target = self.target.map(|target| match target {
            Target::AtMost(limit) => serde_json::json!({ "at_most": limit }),
            Target::AtLeast(limit) => serde_json::json!({ "at_least": limit }),
        });
        serde_json::json!({
            "name": self.name, "unit": self.unit, "value": self.value, "reference": self.reference,
            "measured": self.measured(), "target": target, "met": self.met(),
        })
    }
}

#[cfg(feature = "bench")]
fn word(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// The median of the runs.
#[cfg(feature = "bench")]
pub(crate) fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    let middle = runs.len() / 2;
    if runs.len() % 2 == 1 { runs[middle] } else { (runs[middle - 1] + runs[middle]) / 2.0 }
}
