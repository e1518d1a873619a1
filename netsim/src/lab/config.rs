//! The configuration of a lab's node, as `relayd run` reads it.

use std::net::SocketAddr;
use std::path::Path;

use proto_spec::NodeNumber;
use toml::{Table, Value};

use super::ground::{Addresses, Service};

/// The mesh's name.
pub(super) const MESH: &str = "lab";
/// Everybody comes from one address: what is meant for one address must hold for all.
const FROM_ONE_ADDRESS: i64 = 60_000;
const CONNECTIONS: i64 = 1_024;

/// A node of the lab.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeSpec {
    /// Its number.
    pub number: NodeNumber,
    /// Where it stands.
    pub region: String,
    /// An index of the weather's regions.
    pub region_index: usize,
    /// What fails together with it.
    pub failure_domain: String,
    /// Attachments that it admits.
    pub capacity: u32,
    /// Whether it has a broker.
    pub broker: bool,
    /// Links that it aims for.
    pub links_max: usize,
    /// The only nodes that it may be linked with; `None` for all.
    pub neighbors_allowed: Option<Vec<NodeNumber>>,
    /// What its links cost where that is set, by neighbour, in milliseconds.
    pub link_costs_ms: Vec<(NodeNumber, u64)>,
    /// How long it may take to drain, in milliseconds.
    pub drain_ms: u64,
}

/// A node's ports as all others know them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fronts {
    pub(super) endpoints: SocketAddr,
    pub(super) trunk: SocketAddr,
}

/// What is the same for every node of a mesh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common<'a> {
    pub(super) addresses: Addresses,
    pub(super) brokers: &'a [NodeNumber],
    pub(super) pki: &'a Path,
    /// A mesh of one has no trunks.
    pub(super) alone: bool,
    pub(super) log_level: &'a str,
}

/// The text of a node's configuration.
pub(super) fn text(spec: &NodeSpec, fronts: Fronts, seeds: &[SocketAddr], common: Common<'_>) -> String {
    let Common { addresses, brokers, pki, alone, log_level } = common;
    let number = spec.number;
    let file = |name: String| Value::from(pki.join(name).display().to_string());
    let any_port = |service| Value::from(format!("{}:0", addresses.listens(number, service)));
    let mut config = Table::new();
    let mut section = |name: &str, entries: Vec<(&str, Value)>| {
        let entries = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        config.insert(name.to_owned(), Value::Table(entries));
    };
    section(
        "node",
        vec![
            ("state_dir", "state".into()),
            ("public_host", addresses.front(number).to_string().into()),
            ("public_ports", Value::Array(vec![i64::from(fronts.endpoints.port()).into()])),
        ],
    );
    section(
        "identity",
        vec![
            ("mesh", MESH.into()),
            ("ca", file("ca.pem".into())),
            ("certificate", file(format!("node-{number}.pem"))),
            ("key", file(format!("node-{number}.key"))),
        ],
    );
    if spec.broker {
        let others = brokers.iter().filter(|other| **other != number);
        section(
            "broker",
            vec![
                ("certificate", file(format!("broker-{number}.pem"))),
                ("key", file(format!("broker-{number}.key"))),
                ("trusted", Value::Array(others.map(|other| file(format!("broker-{other}.pem"))).collect())),
            ],
        );
    }
    let mut listen = vec![
        ("endpoints", Value::Array(vec![any_port(Service::Endpoints)])),
        ("ops", any_port(Service::Ops)),
    ];
    if !alone {
        listen.push(("trunk", any_port(Service::Trunk)));
        let seeds = seeds.iter().map(|seed| seed.to_string().into()).collect();
        let mut mesh = vec![
            ("seeds", Value::Array(seeds)),
            ("trunk_address", fronts.trunk.to_string().into()),
            ("region", spec.region.clone().into()),
            ("failure_domain", spec.failure_domain.clone().into()),
            ("links_max", i64::try_from(spec.links_max).unwrap_or(i64::MAX).into()),
        ];
        if let Some(allowed) = &spec.neighbors_allowed {
            let allowed = allowed.iter().map(|node| i64::from(node.value()).into()).collect();
            mesh.push(("neighbors_allowed", Value::Array(allowed)));
        }
        if !spec.link_costs_ms.is_empty() {
            let whole = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
            let cost = |(node, cost_ms): &(NodeNumber, u64)| {
                Value::Array(vec![whole(node.value().into()), whole(*cost_ms)])
            };
            mesh.push(("link_costs_ms", Value::Array(spec.link_costs_ms.iter().map(cost).collect())));
        }
        section("mesh", mesh);
    }
    section("listen", listen);
    section("connections", vec![("grpc_address_connections_max", CONNECTIONS.into())]);
    section(
        "limits",
        vec![
            ("attachments_max", i64::from(spec.capacity).into()),
            ("half_open_max", CONNECTIONS.into()),
            ("address_half_open_max", CONNECTIONS.into()),
            ("address_accepts_per_minute", FROM_ONE_ADDRESS.into()),
            ("address_accepts_burst", FROM_ONE_ADDRESS.into()),
        ],
    );
    section("drain", vec![("deadline_ms", i64::try_from(spec.drain_ms).unwrap_or(i64::MAX).into())]);
    section("log", vec![("level", log_level.into()), ("format", "text".into())]);
    config.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeNumber {
        NodeNumber::new(number).unwrap()
    }

    fn spec() -> NodeSpec {
        NodeSpec {
            number: node(2),
            region: "eu".into(),
            region_index: 0,
            failure_domain: "rack \"1\"".into(),
            capacity: 50,
            broker: false,
            links_max: 4,
            neighbors_allowed: Some(vec![node(1), node(3)]),
            link_costs_ms: vec![(node(3), 80)],
            drain_ms: 5_000,
        }
    }

    fn made(spec: &NodeSpec, alone: bool) -> Table {
        let fronts =
            Fronts { endpoints: "127.0.0.1:4000".parse().unwrap(), trunk: "127.0.0.1:4001".parse().unwrap() };
        let seeds = ["127.0.0.1:4003".parse().unwrap()];
        let brokers = [node(1), node(2)];
        let common = Common {
            addresses: Addresses::Loopback,
            brokers: &brokers,
            pki: Path::new("/p"),
            alone,
            log_level: "info",
        };
        text(spec, fronts, &seeds, common).parse().unwrap()
    }

    #[test]
    fn others_find_a_node_at_its_fronts_alone() {
        let config = made(&spec(), false);
        assert_eq!(config["node"]["public_ports"][0].as_integer(), Some(4000));
        assert_eq!(config["mesh"]["trunk_address"].as_str(), Some("127.0.0.1:4001"));
        assert_eq!(config["mesh"]["seeds"][0].as_str(), Some("127.0.0.1:4003"));
        for (key, value) in config["listen"].as_table().unwrap() {
            let text = value.as_str().or_else(|| value[0].as_str()).unwrap();
            assert!(text.ends_with(":0"), "{key} = {text}");
        }
    }

    #[test]
    fn the_plan_becomes_the_configuration() {
        let config = made(&spec(), false);
        assert_eq!(config["mesh"]["failure_domain"].as_str(), Some("rack \"1\""));
        assert_eq!(config["mesh"]["links_max"].as_integer(), Some(4));
        assert_eq!(config["mesh"]["neighbors_allowed"].as_array().unwrap().len(), 2);
        assert_eq!(config["mesh"]["link_costs_ms"][0][1].as_integer(), Some(80));
        assert_eq!(config["limits"]["attachments_max"].as_integer(), Some(50));
        assert_eq!(config["drain"]["deadline_ms"].as_integer(), Some(5_000));
        assert_eq!(config["identity"]["key"].as_str(), Some("/p/node-2.key"));
        assert!(!config.contains_key("broker"));
    }

    #[test]
    fn a_broker_trusts_the_others() {
        let config = made(&NodeSpec { broker: true, neighbors_allowed: None, ..spec() }, false);
        assert_eq!(config["broker"]["certificate"].as_str(), Some("/p/broker-2.pem"));
        assert_eq!(config["broker"]["trusted"].as_array().unwrap().len(), 1);
        assert!(config["mesh"].get("neighbors_allowed").is_none());
    }

    #[test]
    fn a_mesh_of_one_has_no_trunks() {
        let config = made(&spec(), true);
        assert!(!config.contains_key("mesh") && config["listen"].get("trunk").is_none());
    }
}
