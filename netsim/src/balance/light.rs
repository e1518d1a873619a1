//! The light profile: a scenario with arrivals under our placement, its endpoints as flows on the mesh's own cores.

use std::time::Duration;

use super::FIGURES;
use super::demand::Demand;
use super::mesh::Mesh;
use super::policy::Policy;
use super::world::run;
use crate::check::{Property, Violation};
use crate::play::{COMMIT, Figure, Options, Report, VERSION, Verdict, profile};
use crate::scenario::Scenario;
use crate::sim::Profile;

/// What a run of the light profile took and came to, beside its report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Events of the simulator's queue until the mesh had come up, and until the end.
    pub events: (u64, u64),
    /// How long the mesh took to come up, and how long the scenario then lasted, by its own clock.
    pub simulated: (Duration, Duration),
    /// Endpoints that came, and that were there in the end.
    pub endpoints: (u64, u64),
}

/// How far a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The mesh has come up, and nobody is there yet.
    Formed,
    /// The scenario is over, and all is still in memory.
    Played,
}

/// Plays a scenario with arrivals; `reached` is called at each stage. `None` if nothing arrives in it.
pub fn play(scenario: &Scenario, options: Options, mut reached: impl FnMut(Stage)) -> Option<(Report, Size)> {
    let arrivals = scenario.arrivals.as_ref()?;
    let demand = Demand::draw(arrivals, scenario.duration, options.seed);
    let mut mesh = Mesh::formed(scenario, options.seed, options.told);
    let forming = (mesh.events(), mesh.forming());
    reached(Stage::Formed);
    let came = run(scenario, &demand, (Policy::OURS, options.seed), None, Some(&mut mesh));
    reached(Stage::Played);
    let size = Size {
        events: (forming.0, mesh.events()),
        simulated: (forming.1, scenario.duration),
        endpoints: (came.endpoints, came.there),
    };
    mesh.finish();
    let mut trace = mesh.trace();
    trace.number(came.trace.hash());
    let value =
        |name: &str| FIGURES.iter().position(|figure| *figure == name).map(|at| came.figures[at].value);
    let scaled = |name: &str, by: f64| value(name).flatten().map(|value| (value * by) as u64);
    let checks = &scenario.checks;
    let figure = |name, value, limit| Figure { name, value, limit };
    let figures = vec![
        figure("endpoints", Some(came.endpoints), None),
        figure("there", Some(came.there), None),
        figure("load_over_mean_percent", scaled("load_over_mean", 100.0), checks.load_over_mean_percent),
        figure(
            "rtt_p99_over_flow_percent",
            scaled("rtt_p99_over_flow", 100.0),
            checks.rtt_p99_over_flow_percent,
        ),
        figure("rejects_ppm", scaled("rejects_with_room_percent", 10_000.0), checks.rejects_ppm),
        figure("moved_beyond", scaled("collateral_moves", 1.0), Some(checks.moved_beyond)),
        figure("oscillations", scaled("oscillations", 1.0), Some(checks.moved_beyond)),
        figure("converge_ms", Some(mesh.converged.as_millis() as u64), checks.converge_ms),
    ];
    let mut violations = mesh.violations().to_vec();
    for Figure { name, value, limit } in &figures {
        if let Some((value, limit)) = value.zip(*limit).filter(|(value, limit)| value > limit) {
            let property = if matches!(*name, "moved_beyond" | "oscillations") {
                Property::Moves
            } else {
                Property::Convergence
            };
            let what = format!("{name} is {value}, at most {limit} is allowed");
            violations.push(Violation { property, seed: options.seed, at: mesh.now(), what });
        }
    }
    let report = Report {
        name: scenario.name.clone(),
        seed: options.seed,
        version: VERSION,
        commit: COMMIT,
        profile: profile(),
        simulation: Profile::Light.name(),
        trace: format!("{:016x}", trace.hash()),
        events: trace.events(),
        simulated_ms: mesh.now().0.as_millis() as u64,
        figures,
        violations: violations.iter().map(Violation::to_string).collect(),
        verdict: Verdict::of(&violations),
        series: None,
    };
    Some((report, size))
}
