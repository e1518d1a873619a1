//! How often each whole number was measured: percentiles and distributions without a list of every measurement.
//!
//! Never rounds: whoever measures chooses the unit.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// Counts of whole numbers. As JSON a list of pairs: number, count.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Histogram(BTreeMap<u64, u64>);

impl Histogram {
    /// This number was measured so often.
    pub fn add(&mut self, value: u64, count: u64) {
        if count > 0 {
            *self.0.entry(value).or_default() += count;
        }
    }

    /// All that another one counted as well.
    pub fn merge(&mut self, other: &Histogram) {
        other.iter().for_each(|(value, count)| self.add(value, count));
    }

    /// Each number with its count, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(value, count)| (*value, *count))
    }

    /// Measurements.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The smallest value that so many percent do not exceed.
    pub fn at_percent(&self, percent: u64) -> Option<f64> {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.0.iter().find_map(|(value, count)| {
            seen += count;
            (seen >= rank).then_some(*value as f64)
        })
    }

    /// The mean; `None` of nothing.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        let sum: u64 = self.0.iter().map(|(value, count)| value * count).sum();
        (count > 0).then(|| sum as f64 / count as f64)
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.at_percent(50), histogram.mean()), (None, None));
        (1..=100).for_each(|value| histogram.add(value, 1));
        assert_eq!((histogram.at_percent(50), histogram.at_percent(99)), (Some(50.0), Some(99.0)));
        assert_eq!(histogram.mean(), Some(50.5));
    }

    #[test]
    fn counts_are_merged_and_written_as_pairs() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        one.add(3, 2);
        other.add(3, 1);
        other.add(1, 1);
        one.merge(&other);
        assert_eq!(serde_json::to_string(&one).unwrap(), "[[1,1],[3,3]]");
        assert_eq!(one.count(), 4);
    }
}
