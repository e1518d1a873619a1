//! `[mesh]`: how a node finds others and what it tells them of itself.

use std::net::SocketAddr;

use proto_spec::NodeNumber;
use proto_spec::lsa::{LSA_ADDRESS_LENGTH_MAX, LSA_ADDRESSES_MAX, LSA_TEXT_LENGTH_MAX, Roles};
use sealcast_mesh::config::{COST_MAX, LINK_COSTS_MAX, LINKS_MAX, SEEDS_MAX};
use serde::Deserialize;

use super::Config;

/// Nodes that `neighbors_allowed` may name: far more than links.
const NEIGHBORS_ALLOWED_MAX: usize = 1_024;
/// The core counts in tenths of a millisecond.
const COSTS_PER_MS: u16 = 10;

/// `[mesh]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mesh {
    /// Trunk addresses of some nodes, as `host:port`.
    pub seeds: Vec<String>,
    /// How other nodes reach `listen.trunk`, as `host:port`; absent: the public host and the port listened on.
    pub trunk_address: Option<String>,
    /// Where the node stands, in the operator's words.
    pub region: String,
    /// What fails together with it, in the operator's words.
    pub failure_domain: String,
    /// Links that it aims for.
    pub links_max: usize,
    /// The only nodes that it may be linked with; absent: all.
    pub neighbors_allowed: Option<Vec<u16>>,
    /// Neighbours with what the link to each costs, in milliseconds, in place of what is measured.
    pub link_costs_ms: Vec<(u16, u16)>,
    /// Looks for nodes on the local network.
    pub mdns: bool,
    /// Writes what the overlay is told to the state folder.
    pub journal: bool,
}

impl Default for Mesh {
    fn default() -> Mesh {
        Mesh {
            seeds: Vec::new(),
            trunk_address: None,
            region: String::new(),
            failure_domain: String::new(),
            links_max: sealcast_mesh::Config::default().links_max,
            neighbors_allowed: None,
            link_costs_ms: Vec::new(),
            mdns: false,
            journal: false,
        }
    }
}

impl Mesh {
    /// What types cannot hold: the key and the problem.
    pub(super) fn check(&self, listen: Option<SocketAddr>) -> Result<(), (&'static str, String)> {
        let wrong = |key, problem: String| Err((key, problem));
        if self.seeds.len() > SEEDS_MAX {
            return wrong(
                "mesh.seeds",
                format!("names {} seeds: choose at most {SEEDS_MAX}", self.seeds.len()),
            );
        }
        if let Some(seed) = self.seeds.iter().find(|seed| !is_address(seed)) {
            return wrong(
                "mesh.seeds",
                format!("{seed:?} is no host with a port, such as \"relay-2.example.org:8210\""),
            );
        }
        if let Some(address) = self.trunk_address.as_ref().filter(|address| !is_address(address)) {
            return wrong(
                "mesh.trunk_address",
                format!("{address:?} is no host with a port, such as \"relay-1.example.org:8210\""),
            );
        }
        for (key, text) in [("mesh.region", &self.region), ("mesh.failure_domain", &self.failure_domain)] {
            if text.len() > LSA_TEXT_LENGTH_MAX || text.chars().any(char::is_control) {
                return wrong(key, format!("must be plain text of at most {LSA_TEXT_LENGTH_MAX} bytes"));
            }
        }
        if !(1..=LINKS_MAX).contains(&self.links_max) {
            return wrong(
                "mesh.links_max",
                format!("{} is out of bounds: choose 1 to {LINKS_MAX}", self.links_max),
            );
        }
        if let Some(allowed) = &self.neighbors_allowed
            && (allowed.contains(&0) || allowed.len() > NEIGHBORS_ALLOWED_MAX)
        {
            return wrong(
                "mesh.neighbors_allowed",
                format!("must name at most {NEIGHBORS_ALLOWED_MAX} node numbers from 1 to 65535"),
            );
        }
        let cost_ms_max = COST_MAX / COSTS_PER_MS;
        let mut neighbors: Vec<u16> = self.link_costs_ms.iter().map(|(node, _)| *node).collect();
        neighbors.sort_unstable();
        neighbors.dedup();
        if neighbors.len() != self.link_costs_ms.len()
            || neighbors.len() > LINK_COSTS_MAX
            || neighbors.contains(&0)
            || self.link_costs_ms.iter().any(|(_, cost_ms)| !(1..=cost_ms_max).contains(cost_ms))
        {
            return wrong(
                "mesh.link_costs_ms",
                format!(
                    "must name at most {LINK_COSTS_MAX} node numbers from 1 to 65535, each once and with 1 to \
                     {cost_ms_max} milliseconds"
                ),
            );
        }
        if listen.is_none() {
            for (key, set) in [
                ("mesh.seeds", !self.seeds.is_empty()),
                ("mesh.trunk_address", self.trunk_address.is_some()),
                ("mesh.mdns", self.mdns),
            ] {
                if set {
                    return wrong(key, "other nodes need a port: set listen.trunk".into());
                }
            }
        }
        Ok(())
    }
}

impl Config {
    /// What the overlay is told, once ports are bound: those that endpoints reach, and that of trunks.
    pub fn overlay(
        &self,
        endpoint_ports: &[u16],
        trunk_port: Option<u16>,
        roles: Roles,
    ) -> sealcast_mesh::Config {
        let Mesh { seeds, region, failure_domain, links_max, neighbors_allowed, link_costs_ms, .. } =
            self.mesh.clone();
        let allowed = |numbers: Vec<u16>| numbers.into_iter().filter_map(NodeNumber::new).collect();
        let cost = |(node, cost_ms): (u16, u16)| {
            NodeNumber::new(node).map(|node| (node, cost_ms.saturating_mul(COSTS_PER_MS)))
        };
        let ports = endpoint_ports.iter().take(LSA_ADDRESSES_MAX);
        sealcast_mesh::Config {
            links_max,
            neighbors_allowed: neighbors_allowed.map(allowed),
            link_costs: link_costs_ms.into_iter().filter_map(cost).collect(),
            seeds,
            roles,
            capacity: u32::try_from(self.limits.attachments_max).unwrap_or(u32::MAX),
            region,
            failure_domain,
            addresses: ports.map(|port| address(&self.node.public_host, *port)).collect(),
            trunk_addresses: trunk_port.map(|port| self.trunk_address(port)).into_iter().collect(),
            software: super::SOFTWARE.to_owned(),
            ..sealcast_mesh::Config::default()
        }
    }

    /// How other nodes reach this one, given the port that it listens on.
    pub fn trunk_address(&self, port: u16) -> String {
        self.mesh.trunk_address.clone().unwrap_or_else(|| address(&self.node.public_host, port))
    }
}

/// A host and a port as one text; an IPv6 address gets its brackets.
fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whether a text is `host:port` with a port other than 0, IPv6 in brackets.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match bracketed {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            !host.is_empty() && host.bytes().all(plain)
        }
    };
    host_fits && text.len() <= LSA_ADDRESS_LENGTH_MAX && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(change: impl FnOnce(&mut Mesh)) -> &'static str {
        let mut mesh = Mesh::default();
        change(&mut mesh);
        mesh.check(Some(SocketAddr::from(([0; 4], 8210)))).expect_err("it cannot be").0
    }

    #[test]
    fn nonsense_is_named_by_its_key() {
        let listen = Some(SocketAddr::from(([0; 4], 8210)));
        assert!(Mesh::default().check(listen).is_ok() && Mesh::default().check(None).is_ok());
        for bad in ["host", "host:", "host:0", "host:70000", ":80", "2001:db8::1:80", "[host]:80", "a b:80"] {
            assert_eq!(wrong(|mesh| mesh.seeds = vec![bad.into()]), "mesh.seeds", "{bad}");
            assert_eq!(wrong(|mesh| mesh.trunk_address = Some(bad.into())), "mesh.trunk_address", "{bad}");
        }
        for good in ["relay-2.example.org:8210", "192.0.2.1:1", "[2001:db8::1]:65535"] {
            let mesh = Mesh { seeds: vec![good.into()], ..Mesh::default() };
            assert!(mesh.check(listen).is_ok(), "{good}");
            assert_eq!(mesh.check(None).unwrap_err().0, "mesh.seeds", "seeds without a port for trunks");
        }
        assert_eq!(wrong(|mesh| mesh.seeds = vec!["a:1".into(); SEEDS_MAX + 1]), "mesh.seeds");
        assert_eq!(wrong(|mesh| mesh.region = "x".repeat(LSA_TEXT_LENGTH_MAX + 1)), "mesh.region");
        assert_eq!(wrong(|mesh| mesh.failure_domain = "\n".into()), "mesh.failure_domain");
        assert_eq!(wrong(|mesh| mesh.links_max = 0), "mesh.links_max");
        assert_eq!(wrong(|mesh| mesh.links_max = LINKS_MAX + 1), "mesh.links_max");
        assert_eq!(wrong(|mesh| mesh.neighbors_allowed = Some(vec![0])), "mesh.neighbors_allowed");
        for costs in [vec![(0, 1)], vec![(2, 0)], vec![(2, 3_277)], vec![(2, 1), (2, 5)]] {
            assert_eq!(wrong(|mesh| mesh.link_costs_ms = costs), "mesh.link_costs_ms");
        }
    }

    #[test]
    fn addresses_get_their_brackets() {
        assert_eq!(address("relay.example", 1), "relay.example:1");
        assert_eq!(address("2001:db8::1", 1), "[2001:db8::1]:1");
        assert!(is_address(&address("2001:db8::1", 1)));
    }
}
