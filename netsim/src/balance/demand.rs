//! Who comes, when, from where and for how long: drawn before anything is placed, so that it is the same for every policy.

use std::ops::Range;
use std::time::Duration;

use crate::scenario::{ArrivalKind, Arrivals, Length};
use crate::sim::Random;

/// An endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Endpoint {
    /// Its session: an index of [`Demand::sessions`].
    pub(super) session: u32,
    /// Where its user is.
    pub(super) region: usize,
    /// When it comes.
    pub(super) arrives_ms: u64,
    /// When it leaves; with its session.
    pub(super) leaves_ms: u64,
}

/// What one seed asks of the mesh.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Demand {
    /// By session, each session's in the order in which they come.
    pub(super) endpoints: Vec<Endpoint>,
    /// Each session's endpoints.
    pub(super) sessions: Vec<Range<usize>>,
    /// When most are there at once, if all are admitted.
    pub(super) peak_ms: u64,
}

impl Demand {
    pub(super) fn draw(arrivals: &Arrivals, duration: Duration, seed: u64) -> Demand {
        let stream = |component| Random::stream(seed, component, 0);
        let (mut gaps, mut thin) = (stream("arrivals"), stream("thinning"));
        let (mut places, mut sizes) = (stream("geography"), stream("sizes"));
        let (mut lengths, mut joins) = (stream("lengths"), stream("joins"));
        let end_ms = duration.as_millis() as u64;
        let most = arrivals.most();
        let mean_gap_ms = 60_000.0 / (arrivals.sessions_per_min as f64 * most);
        let mut demand = Demand::default();
        let mut at_ms = 0.0;
        loop {
            at_ms -= mean_gap_ms * libm::log(unit(&mut gaps));
            if at_ms >= end_ms as f64 {
                break;
            }
            // Thinning (Lewis and Shedler 1979): drawn at the highest rate, kept by the rate of time and place.
            let region = by_weight(&arrivals.weights, &mut places);
            if unit(&mut thin) * most > arrivals.rate(at_ms as u64, region) {
                continue;
            }
            let session = demand.sessions.len() as u32;
            let first = demand.endpoints.len();
            let leaves_ms = at_ms as u64 + arrivals.length_ms(&mut lengths);
            let join_ms = arrivals.join.as_millis() as u64;
            let mut times: Vec<u64> = (1..arrivals.size(&mut sizes))
                .map(|_| (at_ms as u64 + joins.range(0, join_ms + 1)).min(leaves_ms - 1))
                .collect();
            times.sort_unstable();
            for (index, arrives_ms) in std::iter::once(at_ms as u64).chain(times).enumerate() {
                let together = index == 0 || places.percent(arrivals.together_percent);
                let region = if together { region } else { by_weight(&arrivals.weights, &mut places) };
                demand.endpoints.push(Endpoint { session, region, arrives_ms, leaves_ms });
            }
            demand.sessions.push(first..demand.endpoints.len());
        }
        demand.peak_ms = demand.peak(end_ms);
        demand
    }

    fn peak(&self, end_ms: u64) -> u64 {
        let mut changes: Vec<(u64, i64)> = Vec::with_capacity(2 * self.endpoints.len());
        for endpoint in &self.endpoints {
            changes.push((endpoint.arrives_ms, 1));
            changes.push((endpoint.leaves_ms, -1));
        }
        changes.sort_unstable();
        let (mut there, mut most, mut peak_ms) = (0, 0, 0);
        for (at_ms, change) in changes.into_iter().filter(|(at_ms, _)| *at_ms < end_ms) {
            there += change;
            if there > most {
                (most, peak_ms) = (there, at_ms);
            }
        }
        peak_ms
    }
}

impl Arrivals {
    /// The highest of [`Arrivals::rate`].
    fn most(&self) -> f64 {
        if let ArrivalKind::FlashCrowd { times, .. } = self.kind { times as f64 } else { 1.0 }
    }

    /// How many times `sessions_per_min` come from a region at this time.
    fn rate(&self, at_ms: u64, region: usize) -> f64 {
        match &self.kind {
            ArrivalKind::Poisson => 1.0,
            ArrivalKind::FlashCrowd { at, lasts, times, region: only } => {
                let at = at.as_millis() as u64..(*at + *lasts).as_millis() as u64;
                let crowded = at.contains(&at_ms) && only.is_none_or(|only| only == region);
                if crowded { *times as f64 } else { 1.0 }
            }
            ArrivalKind::Diurnal { day, peaks, low_percent } => {
                let since = at_ms as f64 - peaks[region].as_millis() as f64;
                let turn = 2.0 * std::f64::consts::PI * since / day.as_millis() as f64;
                let low = *low_percent as f64 / 100.0;
                low + (1.0 - low) * (1.0 + libm::cos(turn)) / 2.0
            }
        }
    }

    /// Bounded Pareto from 2, by inversion.
    fn size(&self, random: &mut Random) -> u64 {
        let alpha = self.size_alpha_percent as f64 / 100.0;
        let size = 2.0 * libm::pow(unit(random), -1.0 / alpha);
        (size as u64).min(self.size_max)
    }

    fn length_ms(&self, random: &mut Random) -> u64 {
        let median = self.length_median.as_millis() as f64;
        let length = match self.length {
            Length::Lognormal(sigma) => {
                // Box and Muller 1958.
                let radius = libm::sqrt(-2.0 * libm::log(unit(random)));
                let normal = radius * libm::cos(2.0 * std::f64::consts::PI * unit(random));
                median * libm::exp(normal * sigma as f64 / 100.0)
            }
            // Half are above the scale times 2^(1 / alpha).
            Length::Pareto(alpha) => median * libm::pow(2.0 * unit(random), -100.0 / alpha as f64),
        };
        (length as u64).clamp(1, self.length_max.as_millis() as u64)
    }
}

/// From above 0 up to 1. Logarithms and powers are `libm`'s: the same on every platform.
fn unit(random: &mut Random) -> f64 {
    ((random.draw() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

fn by_weight(weights: &[u64], random: &mut Random) -> usize {
    let mut left = random.range(0, weights.iter().sum());
    let found = weights.iter().position(|weight| {
        let here = left < *weight;
        left = left.saturating_sub(*weight);
        here
    });
    found.unwrap_or(0)
}
