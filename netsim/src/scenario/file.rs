//! The text form: every key of a scenario file, as serde reads and writes it. Says nothing of what makes sense.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::Checks;

/// A table of an array, with its place.
pub(super) type Tables<T> = Vec<Spanned<T>>;

#[derive(Deserialize, Serialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) duration_s: Option<u64>,
    pub(super) duration_ms: Option<u64>,
    pub(super) joins_apart_ms: Option<u64>,
    pub(super) regions: Spanned<Regions>,
    #[serde(default)]
    pub(super) mesh: Option<Spanned<Mesh>>,
    pub(super) node: Tables<Node>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) session: Tables<Session>,
    #[serde(default)]
    pub(super) arrivals: Option<Spanned<Arrivals>>,
    #[serde(default)]
    pub(super) reports: Option<Spanned<Reports>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) workload: Tables<Workload>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) fault: Tables<Fault>,
    #[serde(default)]
    pub(super) checks: Checks,
}

#[derive(Deserialize, Serialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Regions {
    pub(super) names: Vec<String>,
    pub(super) rtt_ms: Vec<Vec<u64>>,
    #[serde(default)]
    pub(super) jitter_percent: u64,
}

#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Mesh {
    pub(super) links_max: Option<usize>,
    pub(super) links_allowed: Option<Vec<[u16; 2]>>,
    #[serde(default)]
    pub(super) link_costs_ms: Vec<(u16, u16, u64)>,
}

#[derive(Deserialize, Serialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) number: u16,
    pub(super) count: Option<u16>,
    pub(super) region: String,
    pub(super) failure_domain: Option<String>,
    pub(super) capacity: Option<u32>,
    #[serde(default)]
    pub(super) broker: bool,
    #[serde(default)]
    pub(super) service_us: u64,
}

#[derive(Deserialize, Serialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    pub(super) name: String,
    pub(super) count: Option<u32>,
    pub(super) endpoint: Tables<Endpoint>,
}

#[derive(Deserialize, Serialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Endpoint {
    pub(super) name: String,
    pub(super) count: Option<u32>,
    pub(super) role: String,
    pub(super) region: String,
    pub(super) node: Option<u16>,
    pub(super) policy: Option<String>,
    pub(super) standby: Option<bool>,
    pub(super) standby_node: Option<u16>,
    pub(super) downstream_kib_s: Option<u64>,
}

#[derive(Deserialize, Serialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Workload {
    pub(super) kind: String,
    pub(super) session: Option<String>,
    pub(super) from: Option<String>,
    pub(super) per_s: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) count: Option<u64>,
    #[serde(default)]
    pub(super) start_ms: u64,
    pub(super) stop_ms: Option<u64>,
}

#[derive(Deserialize, Serialize, Clone, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    pub(super) at_ms: u64,
    pub(super) kind: String,
    pub(super) node: Option<u16>,
    pub(super) nodes: Option<Vec<u16>>,
    pub(super) region: Option<String>,
    pub(super) failure_domain: Option<String>,
    pub(super) sides: Option<Vec<Vec<u16>>>,
    pub(super) from: Option<Vec<u16>>,
    pub(super) to: Option<Vec<u16>>,
    pub(super) between: Option<Vec<u16>>,
    pub(super) percent: Option<u64>,
    pub(super) by_ms: Option<u64>,
    pub(super) offset_ms: Option<i64>,
    pub(super) times: Option<u64>,
    pub(super) load_percent: Option<u64>,
    pub(super) within_ms: Option<u64>,
    pub(super) session: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) downstream_kib_s: Option<u64>,
}

#[derive(Deserialize, Serialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Arrivals {
    pub(super) kind: String,
    pub(super) sessions_per_min: u64,
    pub(super) geography: BTreeMap<String, u64>,
    pub(super) together_percent: Option<u64>,
    pub(super) join_s: Option<u64>,
    pub(super) size_max: Option<u64>,
    pub(super) size_alpha_percent: Option<u64>,
    pub(super) length: String,
    pub(super) length_median_s: u64,
    pub(super) length_max_s: u64,
    pub(super) length_sigma_percent: Option<u64>,
    pub(super) length_alpha_percent: Option<u64>,
    pub(super) crowd_at_s: Option<u64>,
    pub(super) crowd_for_s: Option<u64>,
    pub(super) crowd_times: Option<u64>,
    pub(super) crowd_region: Option<String>,
    pub(super) day_s: Option<u64>,
    pub(super) peak_at_s: Option<BTreeMap<String, u64>>,
    pub(super) low_percent: Option<u64>,
}

#[derive(Deserialize, Serialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Reports {
    pub(super) interval_ms: Option<u64>,
    pub(super) age_ms: Option<u64>,
}
