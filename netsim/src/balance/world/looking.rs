//! What is looked at from outside, and the figures that come of it.

use proto_spec::Timestamp;

use super::{Node, World};
use crate::balance::flow;
use crate::balance::measure::{Figure, Spread, share};

impl World<'_> {
    /// How even the load is over nodes that tell the truth: no policy can do anything about the others.
    pub(super) fn look(&mut self, now: Timestamp) {
        if let Some(mesh) = &mut self.mesh {
            mesh.look();
        }
        let due = self.recorder.as_mut().is_some_and(|recorder| recorder.is_due(now));
        let mut worst = Figure::default();
        for (group, spread) in self.groups.iter().zip(&mut self.counts.loads) {
            let honest = |node: &&Node| node.alive && node.told_percent == 100;
            let living = group.iter().map(|at| &self.nodes[*at]).filter(honest);
            let loads = living.map(|node| (node.load, node.capacity)).collect::<Vec<_>>();
            spread.add(&loads);
            if due {
                let mut here = Spread::default();
                here.add(&loads);
                let figure = here.figure();
                worst = if figure.value > worst.value { figure } else { worst };
            }
        }
        if let Some(recorder) = self.recorder.as_mut().filter(|_| due) {
            let loads = self.nodes.iter().map(|node| node.alive.then_some(node.load));
            recorder.add(now, loads, worst);
        }
    }

    pub(super) fn close_window(&mut self) {
        for (group, spread) in self.groups.iter().zip(&mut self.counts.herds) {
            let honest = |node: &&Node| node.alive && node.told_percent == 100;
            let living = group.iter().map(|at| &self.nodes[*at]).filter(honest);
            spread.add(&living.map(|node| (node.admitted, node.capacity)).collect::<Vec<_>>());
        }
        self.nodes.iter_mut().for_each(|node| node.admitted = 0);
    }

    /// Round trips of all who are there, and what the cheapest assignment of the same would make of them.
    pub(super) fn look_at_peak(&mut self) {
        let rtt_ms = &self.scenario.rtt_ms;
        let mut supply = vec![0; rtt_ms.len()];
        for (who, endpoint) in self.endpoints.iter().enumerate() {
            let region = self.demand.endpoints[who].region;
            if let Some(node) = endpoint.at {
                supply[region] += 1;
                self.counts.rtt_at_peak.add(rtt_ms[region][self.nodes[node].region], 1);
            }
        }
        let mut room = vec![0; rtt_ms.len()];
        self.nodes.iter().filter(|node| node.alive).for_each(|node| room[node.region] += node.capacity);
        // All who are there have a place, so there is an assignment.
        for (flow, rtt) in flow::cheapest(&supply, &room, rtt_ms).iter().flatten().zip(rtt_ms) {
            flow.iter().zip(rtt).for_each(|(count, rtt)| self.counts.cheapest.add(*rtt, *count));
        }
    }

    /// In the order of [`super::FIGURES`].
    pub(super) fn figures(&self) -> Vec<Figure> {
        let counts = &self.counts;
        let worst = |spreads: &[Spread]| {
            let figures = spreads.iter().map(Spread::figure).filter(|figure| figure.value.is_some());
            figures.max_by(|a, b| a.value.partial_cmp(&b.value).unwrap_or(std::cmp::Ordering::Equal))
        };
        let percent = |part, whole| share(100 * part, whole);
        let over_flow = counts.rtt.at_percent(99).zip(counts.cheapest.at_percent(99));
        let none = Some(0.0);
        vec![
            worst(&counts.loads).unwrap_or_default(),
            worst(&counts.herds).unwrap_or_default(),
            Figure::new(counts.rtt.at_percent(50), counts.nearest.at_percent(50)),
            Figure::new(counts.rtt.at_percent(99), counts.nearest.at_percent(99)),
            Figure::new(counts.rtt_at_peak.mean(), counts.cheapest.mean()),
            Figure::new(over_flow.map(|(rtt, flow)| rtt / flow), None),
            Figure::new(
                share(counts.way_ms, counts.way_least_ms),
                Some(1.0).filter(|_| counts.way_least_ms > 0),
            ),
            Figure::new(share(counts.moves, counts.deaths), share(counts.moves_own, counts.deaths)),
            Figure::new(Some(counts.collateral as f64), none),
            Figure::new(percent(counts.rejected, counts.asked), none),
            Figure::new(percent(counts.rejected_with_room, counts.asked_with_room), none),
            Figure::new(Some(counts.oscillations as f64), none),
            Figure::new(percent(counts.redirected, counts.asked), none),
        ]
    }
}
