//! `[arrivals]` and `[reports]`, and what goes together with them.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Spanned;

use super::file::{self, File};
use super::{Outcome, Reader, Table, table};
use crate::scenario::{
    ArrivalKind, Arrivals, ENDPOINTS_MAX, Fault, Length, Reports, SESSION_ENDPOINTS_MAX, Scenario,
    ScenarioError,
};

/// How often nodes report if the file does not say: as the product's do.
const INTERVAL_MS: u64 = 1_000;
/// The oldest that a report may be, and the longest time between two.
const LATE_MS_MAX: u64 = 60_000;
/// A crowd is at most so many times the usual rate.
const TIMES_MAX: u64 = 1_000;

impl Reader<'_> {
    /// How endpoints come and go; a scenario has either these or sessions by name.
    pub(super) fn read_arrivals(&self, raw: &File) -> Outcome<Option<Arrivals>> {
        match &raw.arrivals {
            None => {
                if let Some(reports) = &raw.reports {
                    return Err(self.source.refuse(
                        &table("reports", reports),
                        "interval_ms",
                        "means nothing without [arrivals]: remove the table",
                    ));
                }
                let checks = &raw.checks;
                let given = [
                    ("load_over_mean_percent", checks.load_over_mean_percent.is_some()),
                    ("rtt_p99_over_flow_percent", checks.rtt_p99_over_flow_percent.is_some()),
                    ("rejects_ppm", checks.rejects_ppm.is_some()),
                ];
                if let Some((key, _)) = given.iter().find(|(_, given)| *given) {
                    let sentence = "means nothing without [arrivals]: remove it";
                    return Err(self.source.refuse(&self.source.headed("checks"), key, sentence));
                }
                Ok(None)
            }
            Some(arrivals) => {
                let table = table("arrivals", arrivals);
                if !raw.session.is_empty() || !raw.workload.is_empty() {
                    let sentence = "endpoints either arrive or have sessions by name: remove [[session]] and [[workload]]";
                    return Err(self.source.refuse(&table, "kind", sentence));
                }
                ArrivalsReader { reader: self, table, raw: arrivals.get_ref() }.read().map(Some)
            }
        }
    }

    pub(super) fn read_reports(&self, raw: Option<&Spanned<file::Reports>>) -> Outcome<Reports> {
        let (interval_ms, age_ms) = raw.map_or((None, None), |raw| {
            let file::Reports { interval_ms, age_ms } = *raw.get_ref();
            (interval_ms, age_ms)
        });
        let (interval_ms, age_ms) = (interval_ms.unwrap_or(INTERVAL_MS), age_ms.unwrap_or(0));
        let refuse = |key: &str, sentence: &str| {
            let table = raw.map_or(Table { name: "reports", span: 0..0 }, |raw| table("reports", raw));
            self.source.refuse(&table, key, sentence)
        };
        if !(100..=LATE_MS_MAX).contains(&interval_ms) {
            return Err(refuse("interval_ms", &format!("give 100 to {LATE_MS_MAX}")));
        }
        if age_ms > LATE_MS_MAX {
            return Err(refuse("age_ms", &format!("at most {LATE_MS_MAX}")));
        }
        Ok(Reports { interval: Duration::from_millis(interval_ms), age: Duration::from_millis(age_ms) })
    }

    /// Where endpoints arrive, nodes die and come back; nothing else is played there. Faults stand as in the file.
    pub(super) fn only_deaths(&self, raw: &File, scenario: &Scenario) -> Outcome<()> {
        if raw.arrivals.is_none() {
            return Ok(());
        }
        for (raw, timed) in raw.fault.iter().zip(&scenario.faults) {
            let sentence = match &timed.fault {
                Fault::Kill(nodes) if nodes.len() == scenario.nodes.len() => {
                    "all nodes die at once: leave one to choose"
                }
                Fault::Kill(_) | Fault::Restart(_) | Fault::Lie { .. } => continue,
                _ => "with [arrivals] say kill, restart or lie",
            };
            return Err(self.source.refuse(&table("fault", raw), "kind", sentence));
        }
        Ok(())
    }
}

struct ArrivalsReader<'a> {
    reader: &'a Reader<'a>,
    table: Table,
    raw: &'a file::Arrivals,
}

impl ArrivalsReader<'_> {
    fn read(&self) -> Outcome<Arrivals> {
        let raw = self.raw;
        let duration_s = self.reader.duration.as_secs();
        let weights = self.by_region("geography", &raw.geography)?;
        if weights.iter().all(|weight| *weight == 0) {
            return Err(self.refuse("geography", "nobody would come: give a region a weight above 0"));
        }
        if weights.iter().any(|weight| *weight > 1_000_000) {
            return Err(self.refuse("geography", "a weight is at most 1000000"));
        }
        let kind = self.kind()?;
        let sessions_per_min = self.within("sessions_per_min", raw.sessions_per_min, 1, 1_000_000)?;
        let times = if let ArrivalKind::FlashCrowd { times, .. } = kind { times } else { 1 };
        // By its highest rate a scenario might bring this many; each session has at least two endpoints.
        let most = sessions_per_min.saturating_mul(times).saturating_mul(duration_s) / 60;
        if most.saturating_mul(2) > 10 * ENDPOINTS_MAX as u64 {
            let sentence = format!("up to {most} sessions would come: at most {} may", 5 * ENDPOINTS_MAX);
            return Err(self.refuse("sessions_per_min", &sentence));
        }
        let percent = |key, value: Option<u64>, usual: u64, most: u64| {
            self.within(key, value.unwrap_or(usual), 1, most)
        };
        let length = match raw.length.as_str() {
            "lognormal" => {
                self.not("length_alpha_percent", raw.length_alpha_percent.is_some(), "length", &raw.length)?;
                Length::Lognormal(percent("length_sigma_percent", raw.length_sigma_percent, 100, 400)?)
            }
            "pareto" => {
                self.not("length_sigma_percent", raw.length_sigma_percent.is_some(), "length", &raw.length)?;
                Length::Pareto(percent("length_alpha_percent", raw.length_alpha_percent, 150, 1_000)?)
            }
            _ => return Err(self.refuse("length", "say \"lognormal\" or \"pareto\"")),
        };
        let length_median_s = self.within("length_median_s", raw.length_median_s, 1, 86_400)?;
        let length_max_s = self.within("length_max_s", raw.length_max_s, length_median_s, 86_400)?;
        let together = raw.together_percent.unwrap_or(50);
        if together > 100 {
            return Err(self.refuse("together_percent", "at most 100"));
        }
        Ok(Arrivals {
            kind,
            sessions_per_min,
            weights,
            together_percent: together,
            join: Duration::from_secs(self.within("join_s", raw.join_s.unwrap_or(20), 0, 3_600)?),
            size_max: self.within("size_max", raw.size_max.unwrap_or(2), 2, SESSION_ENDPOINTS_MAX as u64)?,
            size_alpha_percent: percent("size_alpha_percent", raw.size_alpha_percent, 200, 1_000)?,
            length,
            length_median: Duration::from_secs(length_median_s),
            length_max: Duration::from_secs(length_max_s),
        })
    }

    fn kind(&self) -> Outcome<ArrivalKind> {
        let raw = self.raw;
        let crowd = ["crowd_at_s", "crowd_for_s", "crowd_times", "crowd_region"];
        let crowd_given = [
            raw.crowd_at_s.is_some(),
            raw.crowd_for_s.is_some(),
            raw.crowd_times.is_some(),
            raw.crowd_region.is_some(),
        ];
        let day = ["day_s", "peak_at_s", "low_percent"];
        let day_given = [raw.day_s.is_some(), raw.peak_at_s.is_some(), raw.low_percent.is_some()];
        let none = |keys: &[&str], given: &[bool]| {
            keys.iter().zip(given).try_for_each(|(key, given)| self.not(key, *given, "kind", &raw.kind))
        };
        let needs = |key: &str, value: Option<u64>, least: u64, most: u64| {
            let value =
                value.ok_or_else(|| self.refuse(key, &format!("kind = \"{}\" needs it", raw.kind)))?;
            self.within(key, value, least, most)
        };
        match raw.kind.as_str() {
            "poisson" => none(&crowd, &crowd_given)
                .and_then(|()| none(&day, &day_given))
                .map(|()| ArrivalKind::Poisson),
            "flash-crowd" => {
                none(&day, &day_given)?;
                let end = self.reader.duration.as_secs();
                let region =
                    raw.crowd_region.as_ref().map(|name| self.region("crowd_region", name)).transpose()?;
                Ok(ArrivalKind::FlashCrowd {
                    at: Duration::from_secs(needs("crowd_at_s", raw.crowd_at_s, 0, end - 1)?),
                    lasts: Duration::from_secs(needs("crowd_for_s", raw.crowd_for_s, 1, end)?),
                    times: needs("crowd_times", raw.crowd_times, 1, TIMES_MAX)?,
                    region,
                })
            }
            "diurnal" => {
                none(&crowd, &crowd_given)?;
                let day = needs("day_s", raw.day_s, 60, 86_400)?;
                let peaks =
                    self.by_region("peak_at_s", raw.peak_at_s.as_ref().unwrap_or(&BTreeMap::new()))?;
                let low_percent = raw.low_percent.unwrap_or(20);
                if low_percent > 100 {
                    return Err(self.refuse("low_percent", "at most 100"));
                }
                let peaks = peaks.into_iter().map(|at| Duration::from_secs(at % day)).collect();
                Ok(ArrivalKind::Diurnal { day: Duration::from_secs(day), peaks, low_percent })
            }
            _ => Err(self.refuse("kind", "say \"poisson\", \"flash-crowd\" or \"diurnal\"")),
        }
    }

    /// A value for each region, 0 for those not named.
    fn by_region(&self, key: &str, given: &BTreeMap<String, u64>) -> Outcome<Vec<u64>> {
        let mut values = vec![0; self.reader.regions.len()];
        for (name, value) in given {
            values[self.region(key, name)?] = *value;
        }
        Ok(values)
    }

    fn region(&self, key: &str, name: &str) -> Outcome<usize> {
        let regions = &self.reader.regions;
        regions.iter().position(|region| region == name).ok_or_else(|| {
            self.refuse(key, &format!("there is no region {name}: use one of {}", regions.join(", ")))
        })
    }

    fn within(&self, key: &str, value: u64, least: u64, most: u64) -> Outcome<u64> {
        let fits = (least..=most).contains(&value);
        if fits { Ok(value) } else { Err(self.refuse(key, &format!("give {least} to {most}"))) }
    }

    fn not(&self, key: &str, given: bool, by: &str, of: &str) -> Outcome<()> {
        if given {
            Err(self.refuse(key, &format!("means nothing for {by} = \"{of}\": remove it")))
        } else {
            Ok(())
        }
    }

    fn refuse(&self, key: &str, sentence: &str) -> ScenarioError {
        self.reader.source.refuse(&self.table, key, sentence)
    }
}
