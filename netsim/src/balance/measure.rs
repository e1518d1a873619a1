//! What is measured, each figure with a bound that no policy can be below.

/// The figures of a run, in this order; docs/SCENARIOS.md says what each is.
pub const FIGURES: [&str; 13] = [
    "load_over_mean",
    "herd",
    "rtt_p50_ms",
    "rtt_p99_ms",
    "rtt_peak_mean_ms",
    "rtt_p99_over_flow",
    "stretch",
    "moves_per_death",
    "collateral_moves",
    "rejects_percent",
    "rejects_with_room_percent",
    "oscillations",
    "redirects_percent",
];

/// A value with its bound; none if there was nothing to measure.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Figure {
    /// What came of the policy.
    pub value: Option<f64>,
    /// What no policy could be below, with what this one admitted.
    pub bound: Option<f64>,
}

impl Figure {
    pub(super) const fn new(value: Option<f64>, bound: Option<f64>) -> Figure {
        Figure { value, bound }
    }
}

/// A whole, in the unit of loads.
const MILLION: u64 = 1_000_000;

/// The highest load over the mean, weighted by the mean: looks at nearly empty nodes hardly count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    top: u64,
    mean: u64,
    bound: u64,
}

impl Spread {
    /// One look: how many each node has, and its capacity.
    pub(super) fn add(&mut self, loads: &[(u64, u64)]) {
        let (count, capacity) = loads.iter().fold((0, 0), |sum, load| (sum.0 + load.0, sum.1 + load.1));
        if count == 0 {
            return;
        }
        self.top +=
            loads.iter().map(|(load, capacity)| (load * MILLION).div_ceil(*capacity)).max().unwrap_or(0);
        self.mean += count * MILLION / capacity;
        self.bound += lowest(count, loads.iter().map(|(_, capacity)| *capacity));
    }

    pub(super) fn figure(&self) -> Figure {
        let over = |part: u64| (self.mean > 0).then(|| part as f64 / self.mean as f64);
        Figure::new(over(self.top), over(self.bound))
    }
}

/// The lowest highest load, in millionths, with which so many whole endpoints fit: for equal nodes ceil(L / n) n / L of the
/// mean.
fn lowest(count: u64, capacities: impl Iterator<Item = u64> + Clone) -> u64 {
    let all: u64 = capacities.clone().sum();
    let nodes = capacities.clone().count() as u64;
    let fits = |load: u64| capacities.clone().map(|capacity| load * capacity / MILLION).sum::<u64>() >= count;
    let (mut low, mut high) = (0, (count + nodes) * MILLION / all + 1);
    while low < high {
        let middle = low.midpoint(high);
        if fits(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// A part of a whole; `None` of nothing.
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Random;

    #[test]
    fn equal_nodes_have_the_known_bound() {
        for (count, nodes) in [(1, 4), (7, 3), (10, 5), (11, 5), (999, 10)] {
            let mut spread = Spread::default();
            let even = |at: u64| (count / nodes + u64::from(at < count % nodes), 1_000);
            spread.add(&(0..nodes).map(even).collect::<Vec<_>>());
            let known = (count.div_ceil(nodes) * nodes) as f64 / count as f64;
            let Figure { value: Some(value), bound: Some(bound) } = spread.figure() else { panic!() };
            assert!((bound - known).abs() < 1e-3, "{count} on {nodes}: {bound}, not {known}");
            assert!((value - bound).abs() < 1e-9, "an even spread reaches it");
        }
    }

    #[test]
    fn no_spread_is_below_its_bound() {
        let mut random = Random::stream(1, "spread", 0);
        for _ in 0..1_000 {
            let nodes = random.range(1, 8);
            let mut draw = |_| (random.range(0, 50), random.range(1, 90));
            let loads: Vec<(u64, u64)> = (0..nodes).map(&mut draw).collect();
            let mut spread = Spread::default();
            spread.add(&loads);
            let figure = spread.figure();
            assert!(figure.value >= figure.bound, "{loads:?}: {figure:?}");
        }
    }
}
