//! Which nodes an endpoint should attach to, best first, and why.
//!
//! Looks at the round trips and ports that the endpoint measured and at each node's load. A preference, never a fence:
//! an endpoint may attach to any node of its mesh. Never measures anything itself and never decides about drains or
//! fail-over.

pub mod place;

use std::collections::BTreeMap;
use std::fmt;

use proto_spec::NodeNumber;

/// Probe results looked at; an endpoint that sends more has the rest ignored.
pub const PROBES_MAX: usize = 64;
/// Nodes returned: as many as a ticket may prefer.
pub const PLACED_MAX: usize = proto_spec::ticket::TICKET_NODES_MAX;
/// Round trips within one band count as equal, so that noise does not outweigh load.
pub const RTT_BAND_US: u32 = 5_000;

/// A node as the broker knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub node: NodeNumber,
    /// Host name or address for endpoints, as its certificate names it.
    pub host: String,
    /// Its ports, in the order of the operator's preference.
    pub ports: Vec<u16>,
    /// Attachments now.
    pub attachments: u32,
    /// Attachments that it admits at most.
    pub attachments_max: u32,
    /// Whether it admits nothing new.
    pub draining: bool,
}

/// A round trip that an endpoint measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The host as probed.
    pub host: String,
    /// The port that answered.
    pub port: u16,
    /// The round trip in microseconds.
    pub rtt_us: u32,
}

/// A node to attach to, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its number.
    pub node: NodeNumber,
    /// Its host.
    pub host: String,
    /// Its ports: those that answered first, quickest first, then the others.
    pub ports: Vec<u16>,
    /// Why it stands where it stands.
    pub reason: Reason,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The shortest round trip measured, `None` if none was.
    pub rtt_us: Option<u32>,
    /// The node's load in per cent of what it admits.
    pub load_percent: u32,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rtt_us {
            Some(us) => write!(f, "round trip {}.{:01} ms", us / 1_000, us % 1_000 / 100)?,
            None => f.write_str("no round trip measured")?,
        }
        write!(f, ", {} % full", self.load_percent)
    }
}

/// Orders the nodes that admit attachments: by band of round trip, then load, then round trip, then number; those
/// without a measured round trip come last. At most [`PLACED_MAX`].
pub fn order(candidates: &[Candidate], probes: &[Probe]) -> Vec<Placed> {
    let mut measured: BTreeMap<(&str, u16), u32> = BTreeMap::new();
    for probe in probes.iter().take(PROBES_MAX) {
        let shortest = measured.entry((probe.host.as_str(), probe.port)).or_insert(probe.rtt_us);
        *shortest = (*shortest).min(probe.rtt_us);
    }
    let mut placed: Vec<Placed> = candidates
        .iter()
        .filter(|node| !node.draining && node.attachments < node.attachments_max && !node.ports.is_empty())
        .map(|node| {
            let rtt = |port: u16| measured.get(&(node.host.as_str(), port)).copied();
            let mut ports = node.ports.clone();
            ports.sort_by_key(|port| rtt(*port).unwrap_or(u32::MAX));
            let load_percent = u64::from(node.attachments) * 100 / u64::from(node.attachments_max);
            Placed {
                node: node.node,
                host: node.host.clone(),
                reason: Reason {
                    rtt_us: ports.iter().filter_map(|port| rtt(*port)).min(),
                    load_percent: load_percent as u32,
                },
                ports,
            }
        })
        .collect();
    placed.sort_by_key(|node| {
        let Reason { rtt_us, load_percent } = node.reason;
        let band = rtt_us.map_or(u32::MAX, |us| us / RTT_BAND_US);
        (band, load_percent, rtt_us.unwrap_or(u32::MAX), node.node)
    });
    placed.truncate(PLACED_MAX);
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16, attachments: u32) -> Candidate {
        Candidate {
            node: NodeNumber::new(number).unwrap(),
            host: format!("n{number}"),
            ports: vec![8200, 443, 80],
            attachments,
            attachments_max: 100,
            draining: false,
        }
    }

    fn probe(host: &str, port: u16, rtt_ms: u32) -> Probe {
        Probe { host: host.into(), port, rtt_us: rtt_ms * 1_000 }
    }

    fn numbers(placed: &[Placed]) -> Vec<u16> {
        placed.iter().map(|node| node.node.value()).collect()
    }

    #[test]
    fn near_before_far_and_idle_before_busy() {
        let nodes = [node(1, 0), node(2, 80), node(3, 10), node(4, 0)];
        let probes = [probe("n1", 443, 40), probe("n2", 443, 11), probe("n3", 443, 13)];
        let placed = order(&nodes, &probes);
        assert_eq!(
            numbers(&placed),
            [3, 2, 1, 4],
            "2 and 3 are in one band, so load decides; 4 was not measured"
        );
        assert_eq!(placed[0].reason.to_string(), "round trip 13.0 ms, 10 % full");
        assert_eq!(placed[3].reason.to_string(), "no round trip measured, 0 % full");
    }

    #[test]
    fn ports_that_answered_come_first() {
        let probes = [probe("n1", 80, 9), probe("n1", 443, 7), probe("n1", 9999, 1)];
        assert_eq!(order(&[node(1, 0)], &probes)[0].ports, [443, 80, 8200]);
        assert_eq!(order(&[node(1, 0)], &[])[0].ports, [8200, 443, 80]);
    }

    #[test]
    fn full_and_draining_nodes_are_left_out() {
        let mut draining = node(2, 0);
        draining.draining = true;
        assert_eq!(numbers(&order(&[node(1, 99), draining, node(3, 100)], &[])), [1]);
        assert!(order(&[], &[]).is_empty());
        let many: Vec<_> = (1..=9).map(|number| node(number, 0)).collect();
        assert_eq!(order(&many, &[]).len(), PLACED_MAX);
    }

    #[test]
    fn probes_beyond_the_limit_are_ignored() {
        let mut probes = vec![probe("n1", 443, 50); PROBES_MAX];
        probes.push(probe("n1", 443, 1));
        assert_eq!(order(&[node(1, 0)], &probes)[0].reason.rtt_us, Some(50_000));
    }
}
