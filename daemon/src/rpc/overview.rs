//! The mesh as administrators see it: nodes, links, ways, placements, one node. Plain copies of what is known; decides
//! nothing.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use proto_spec::lsa::{Lsa, Roles};
use proto_spec::{NodeNumber, SessionId};
use sealcast_mesh::Alarm;
use sealcast_mesh::spf::Protection;
use sealcast_placement::book::Heard;
use sealcast_placement::place::Verdict;
use sealcast_rpc as rpc;

use super::backend::{Backend, PlacementRecord};
use super::convert;
use super::mesh::{COST_US, Topology, drain_name};
use crate::trunk::TrunkStatus;

/// Hops of one way: more than any packet makes.
const HOPS_MAX: usize = 16;

/// This node.
pub(super) fn node(backend: &Backend) -> rpc::Node {
    let status = backend.gateway().status();
    let facts = backend.facts();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let uptime = backend.clock().now().mono.0;
    rpc::Node {
        node_number: facts.number.value().into(),
        mesh: facts.mesh.clone(),
        software: convert::SOFTWARE.into(),
        wire_version: proto_spec::frame::WIRE_VERSION.into(),
        state: backend.state().name().into(),
        uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
        listeners: facts.listeners.clone(),
        attachments: count(status.attachments),
        attachments_max: count(status.attachments_max),
        sessions: count(status.sessions),
        certificate_expires_ms: facts.certificate_expires.load(Ordering::Relaxed),
        traffic: convert::traffic(&status.traffic),
        refusals: status
            .refusals
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(refusal, count)| rpc::RefusalCount { reason: refusal.label().into(), count })
            .collect(),
        queue_bytes: status.queue_bytes,
        drain: drain_name(backend.mesh().view().drain).into(),
        trunks: backend.mesh().trunks().into_iter().map(trunk).collect(),
        revocations: backend.revocations().number(),
        broker: backend.has_broker(),
    }
}

fn trunk(status: TrunkStatus) -> rpc::Trunk {
    rpc::Trunk {
        node_number: status.peer.value().into(),
        address: status.address,
        rtt_us: status.rtt_us.unwrap_or(0),
        clock_offset_ms: status.clock_offset_ms,
        queue_bytes: status.queue_bytes,
        frames_sent: status.sent.0,
        bytes_sent: status.sent.1,
        frames_received: status.received.0,
        bytes_received: status.received.1,
        dropped: status.dropped,
    }
}

/// The mesh.
pub(super) fn mesh(backend: &Backend) -> rpc::Mesh {
    let topology = backend.topology();
    let now = backend.clock().now();
    let load = |node| backend.heard(node).map(|heard| node_load(&heard, heard.age_ms(now.mono)));
    let mut nodes: Vec<rpc::MeshNode> =
        topology.view.lsas.iter().map(|lsa| mesh_node(&topology, lsa, load(lsa.body.node))).collect();
    let own = topology.view.number;
    if topology.lsa(own).is_none() {
        // Before its first link state is signed, and where there is no overlay.
        nodes.push(lone_node(backend, load(own)));
        nodes.sort_by_key(|node| node.node_number);
    }
    let coverage = topology.routes.coverage();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    rpc::Mesh {
        mesh: backend.facts().mesh.clone(),
        node_number: own.value().into(),
        taken_ms: now.wall.0,
        nodes,
        links: links(&topology.view.lsas),
        trunks: backend.mesh().trunks().into_iter().map(trunk).collect(),
        alarms: topology
            .view
            .alarms
            .iter()
            .map(|(time_ms, alarm)| rpc::MeshAlarm { time_ms: *time_ms, sentence: sentence(alarm) })
            .collect(),
        revocations: backend.revocations().number().max(topology.view.revocations),
        counters: topology
            .view
            .counters
            .named()
            .into_iter()
            .map(|(name, count)| rpc::MeshCounter { name: name.into(), count })
            .collect(),
        backed_against_node: count(coverage.node),
        backed_against_link: count(coverage.link),
        not_backed: count(coverage.none),
    }
}

fn mesh_node(topology: &Topology, lsa: &Lsa, load: Option<rpc::NodeLoad>) -> rpc::MeshNode {
    let body = &lsa.body;
    let route = topology.routes.get(body.node);
    rpc::MeshNode {
        node_number: body.node.value().into(),
        reachable: topology.view.roster.binary_search(&body.node).is_ok(),
        drain: drain_name(body.drain).into(),
        roles: roles(body.roles),
        region: body.region.clone(),
        failure_domain: body.failure_domain.clone(),
        capacity: body.capacity,
        software: body.software.clone(),
        addresses: body.addresses.clone(),
        incarnation: body.version.incarnation,
        sequence: body.version.sequence,
        next_hop: route.map_or(0, |route| route.next_hop.value().into()),
        backup: route.and_then(|route| route.backup).map_or(0, |backup| backup.value().into()),
        cost_us: route.map_or(0, |route| route.cost.saturating_mul(COST_US)),
        hops: route.map_or(0, |route| route.hops.into()),
        load,
    }
}

fn lone_node(backend: &Backend, load: Option<rpc::NodeLoad>) -> rpc::MeshNode {
    let facts = backend.facts();
    let roles = if backend.has_broker() { Roles::BROKER.and(Roles::GATEWAY) } else { Roles::GATEWAY };
    rpc::MeshNode {
        node_number: facts.number.value().into(),
        reachable: true,
        drain: drain_name(backend.mesh().view().drain).into(),
        roles: self::roles(roles),
        failure_domain: facts.failure_domain.clone(),
        capacity: u32::try_from(backend.gateway().status().attachments_max).unwrap_or(u32::MAX),
        software: convert::SOFTWARE.into(),
        addresses: facts.ports.iter().map(|port| format!("{}:{port}", facts.host)).collect(),
        load,
        ..rpc::MeshNode::default()
    }
}

fn roles(roles: Roles) -> Vec<String> {
    let named = [(Roles::BROKER, "broker"), (Roles::GATEWAY, "gateway")];
    named.into_iter().filter(|(role, _)| roles.has(*role)).map(|(_, name)| name.to_owned()).collect()
}

fn node_load(heard: &Heard, age_ms: u64) -> rpc::NodeLoad {
    let report = &heard.report;
    rpc::NodeLoad {
        attachments: report.attachments,
        capacity: report.capacity,
        queue_bytes: report.queue_bytes,
        forwarded_bytes: report.forwarded_bytes,
        full: report.full,
        age_ms,
    }
}

/// Every link that any node lists, once, with what both ends say of it.
fn links(lsas: &[Lsa]) -> Vec<rpc::MeshLink> {
    let mut links: BTreeMap<(NodeNumber, NodeNumber), (u16, u8)> = BTreeMap::new();
    for lsa in lsas {
        for link in &lsa.body.links {
            let (a, b) = (lsa.body.node.min(link.neighbor), lsa.body.node.max(link.neighbor));
            let (cost, ends) = links.entry((a, b)).or_default();
            *cost = (*cost).max(link.cost);
            *ends += 1;
        }
    }
    links
        .into_iter()
        .map(|((a, b), (cost, ends))| rpc::MeshLink {
            a: a.value().into(),
            b: b.value().into(),
            rtt_us: u32::from(cost) * COST_US,
            agreed: ends == 2,
        })
        .collect()
}

fn sentence(alarm: &Alarm) -> String {
    let short = |certificate: &[u8; 32]| hex::encode(&certificate[..8]);
    match alarm {
        Alarm::NumberInUse { node, kept, refused } => format!(
            "two certificates claim node {node}: {} keeps it, {} is refused; issue another number to one of them",
            short(kept),
            short(refused)
        ),
        Alarm::Cloned { node, addresses, other_addresses } => format!(
            "node {node} runs twice, at {} and at {}: end one of them, or issue it a number of its own",
            addresses.join(" "),
            other_addresses.join(" ")
        ),
        Alarm::Revoked { node, by, .. } => {
            let says =
                by.map(|by| format!(", says node {by}, and no other node takes it")).unwrap_or_default();
            format!(
                "the certificate of node {node} is revoked{says}: it is out of service; if it is to return, issue a new one"
            )
        }
        Alarm::Clock { odd, peer, offset_ms } => {
            let seconds = offset_ms.unsigned_abs() / 1_000;
            let way = if *offset_ms > 0 { "ahead of" } else { "behind" };
            let whose = match odd {
                Some(odd) => format!("set the clock of node {odd}, which is the odd one, by NTP"),
                None => "which of the two is wrong cannot be told: set both by NTP".into(),
            };
            format!(
                "the clock of node {peer} is {seconds} s {way} this node's, and no trunk is made: {whose}"
            )
        }
        Alarm::TooManyNodes => "the mesh has more nodes than it may have: some are left out".into(),
        Alarm::Misbehaved { node } => {
            format!("node {node} sent forged or malformed messages: its trunk was closed; look at its log")
        }
    }
}

/// The way to a node, hop by hop, each by the routes of the node where it starts, as this one computes them.
pub(super) fn way(topology: &Topology, destination: NodeNumber) -> rpc::Way {
    let mut hops = Vec::new();
    let mut at = topology.view.number;
    while at != destination && hops.len() < HOPS_MAX {
        let routes = topology.routes_of(at);
        let Some(route) = routes.get(destination) else { break };
        hops.push(rpc::Hop {
            from: at.value().into(),
            next: route.next_hop.value().into(),
            backup: route.backup.map_or(0, |backup| backup.value().into()),
            protection: match route.protection {
                Protection::Node => "node",
                Protection::Link => "link",
                Protection::None => "none",
            }
            .into(),
            cost_us: route.cost.saturating_mul(COST_US),
        });
        at = route.next_hop;
    }
    if at != destination {
        hops.clear();
    }
    rpc::Way { destination: destination.value().into(), hops }
}

/// A placement with its reasons \[PLC-3\].
pub(super) fn placement(record: &PlacementRecord) -> rpc::PlacementRecord {
    let located = &record.located;
    let considered = located.views.iter().zip(&located.placement.considered);
    rpc::PlacementRecord {
        time_ms: record.time.0,
        session_id: record.session.map(|SessionId(id)| id.to_vec()).unwrap_or_default(),
        offered: located.placement.offered.iter().map(|node| node.value().into()).collect(),
        standby: located.placement.standby.map_or(0, |node| node.value().into()),
        considered: considered
            .map(|(view, thought)| rpc::Considered {
                node_number: view.node.value().into(),
                verdict: verdict(thought.verdict).into(),
                failure_domain: view.failure_domain.clone(),
                rtt_us: thought.rtt_us,
                tree_us: thought.tree_us,
                load_us: thought.load_us,
                cost_us: thought.cost_us,
                estimate: view.estimate(),
                load: thought.load,
                carries_session: view.carries_session,
            })
            .collect(),
    }
}

const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Chosen => "chosen",
        Verdict::Offered => "offered",
        Verdict::Standby => "standby",
        Verdict::Spare => "spare",
        Verdict::Reserve => "reserve",
        Verdict::TooFar => "too_far",
        Verdict::TooLoaded => "too_loaded",
        Verdict::Unheard => "unheard",
        Verdict::Draining => "draining",
        Verdict::Full => "full",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::mesh::tests::{lsa, number, view};

    /// A square with one side short: 1-2, 2-4, 1-3, 3-4; 5 hangs on 4, which does not say so.
    fn topology() -> Topology {
        Topology::new(view(
            1,
            vec![
                lsa(1, &[(2, 10), (3, 15)], true),
                lsa(2, &[(1, 12), (4, 10)], false),
                lsa(3, &[(1, 15), (4, 15)], false),
                lsa(4, &[(2, 10), (3, 15)], false),
                lsa(5, &[(4, 10)], false),
            ],
        ))
    }

    #[test]
    fn ways_are_told_hop_by_hop() {
        let way = way(&topology(), number(4));
        let told: Vec<(u32, u32, u32, &str)> =
            way.hops.iter().map(|hop| (hop.from, hop.next, hop.backup, hop.protection.as_str())).collect();
        assert_eq!(told, [(1, 2, 3, "node"), (2, 4, 0, "none")], "over 1 it is as far as back and on");
        assert_eq!(way.hops[0].cost_us, 24_000, "22 ms and a millisecond a hop");
        assert!(super::way(&topology(), number(5)).hops.is_empty(), "one end alone lists the link");
        assert!(super::way(&topology(), number(1)).hops.is_empty());
    }

    #[test]
    fn links_are_told_once_with_both_ends_word() {
        let links = links(&topology().view.lsas);
        let told: Vec<(u32, u32, u32, bool)> =
            links.iter().map(|link| (link.a, link.b, link.rtt_us, link.agreed)).collect();
        let expected = [
            (1, 2, 12_000, true),
            (1, 3, 15_000, true),
            (2, 4, 10_000, true),
            (3, 4, 15_000, true),
            (4, 5, 10_000, false),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn alarms_say_who_and_what_to_do() {
        let alarm = Alarm::NumberInUse { node: number(3), kept: [1; 32], refused: [2; 32] };
        assert!(
            sentence(&alarm).contains("node 3") && sentence(&alarm).contains("0202"),
            "{}",
            sentence(&alarm)
        );
    }
}
