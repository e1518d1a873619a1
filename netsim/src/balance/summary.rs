//! A figure over several seeds: mean and 95 % confidence interval.

use serde::Serialize;

use super::Figure;

/// Two-sided 95 % points of Student's t for 1 to 30 degrees of freedom (NIST/SEMATECH e-Handbook of Statistical Methods,
/// 1.3.6.7.2, column 0.975). Above 30 the last one is used: a little too wide, never too narrow.
const STUDENT_T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// A mean with its interval.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half of the 95 % interval; `None` for one seed.
    pub ci95: Option<f64>,
}

impl Estimate {
    /// Over values of independent seeds; `None` of none.
    pub fn of(values: &[f64]) -> Option<Estimate> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let ci95 = (count > 1).then(|| {
            let freedom = count - 1;
            STUDENT_T[freedom.min(STUDENT_T.len()) - 1] * libm::sqrt(squares / freedom as f64 / count as f64)
        });
        Some(Estimate { mean, ci95 })
    }
}

/// A figure of a policy.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Summary {
    /// Its name.
    pub name: &'static str,
    /// Its value; `None` if there was nothing to measure.
    pub value: Option<Estimate>,
    /// The mean of its bounds.
    pub bound: Option<f64>,
    /// Of each seed.
    pub values: Vec<Option<f64>>,
    /// The bound of each seed.
    pub bounds: Vec<Option<f64>>,
}

impl Summary {
    pub(super) fn of(name: &'static str, figures: &[Figure]) -> Summary {
        let values: Vec<Option<f64>> = figures.iter().map(|figure| figure.value).collect();
        let bounds: Vec<Option<f64>> = figures.iter().map(|figure| figure.bound).collect();
        let known = |values: &[Option<f64>]| values.iter().flatten().copied().collect::<Vec<f64>>();
        let bound = Estimate::of(&known(&bounds)).map(|bound| bound.mean);
        Summary { name, value: Estimate::of(&known(&values)), bound, values, bounds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2, 4, 4, 4, 5, 5, 7, 9: mean 5, squares 32; the interval is 2.365 sqrt(32 / 7 / 8).
    #[test]
    fn an_interval_is_students() {
        let estimate = Estimate::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).unwrap();
        assert!((estimate.mean - 5.0).abs() < 1e-12);
        assert!((estimate.ci95.unwrap() - 2.365 * 0.755_928_9).abs() < 1e-6);
        assert_eq!(Estimate::of(&[3.0]), Some(Estimate { mean: 3.0, ci95: None }));
        assert_eq!(Estimate::of(&[]), None);
    }
}
