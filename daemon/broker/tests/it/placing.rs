//! Where endpoints are sent, and what is written down about nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use proto_spec::NodeNumber;
use proto_spec::mesh::LoadReport;
use proto_spec::ticket::Role;
use sealcast_broker::{AdminCaller, Call, Reply, Request};
use sealcast_placement::place::Verdict;
use sealcast_placement::{Placed, SessionPlace};
use sealcast_trust::AdminRole;

use crate::world::{World, anyone, local, site};

fn node(number: u16) -> NodeNumber {
    NodeNumber::new(number).unwrap()
}

fn numbers(placed: &[Placed]) -> Vec<u16> {
    placed.iter().map(|placed| placed.node.value()).collect()
}

impl World {
    /// A mesh of nodes 1 to `count`, each with room for `capacity`, all of which have just reported.
    fn mesh(count: u16, capacity: u32) -> World {
        let mut world = World::new();
        world.broker.set_sites((1..=count).map(site).collect());
        (1..=count).for_each(|number| world.hear(number, 0, capacity));
        world
    }

    fn hear(&mut self, number: u16, attachments: u32, capacity: u32) {
        let sequence = self.now.mono.0.as_millis() as u64 + 1;
        let full = attachments >= capacity;
        let report = LoadReport { sequence, attachments, capacity, full, ..LoadReport::default() };
        self.broker.heard(node(number), report, self.now.mono);
    }

    fn place(&mut self, provider: &Call) -> (Vec<Placed>, Option<Placed>, String) {
        let request = Request::CreateSession { attach_key: [1; 32], probes: vec![] };
        match self.call(provider, &request).unwrap() {
            Reply::SessionCreated { nodes, standby, ticket, .. } => (nodes, standby, ticket),
            other => panic!("{other:?}"),
        }
    }
}

/// \[PLC-1\]: three nodes, the standby in another rack, and the ticket names the same.
#[test]
fn three_nodes_and_a_standby_elsewhere() {
    let mut world = World::mesh(4, 100);
    let provider = world.provider();
    for _ in 0..20 {
        let (nodes, standby, ticket) = world.place(&provider);
        let standby = standby.unwrap().node.value();
        assert_eq!(nodes.len(), 3);
        assert_ne!(nodes[0].node.value() % 2, standby % 2, "in one rack");
        let claims = world.claims(&ticket);
        let mut named: Vec<u16> = claims.nodes.iter().map(|node| node.value()).collect();
        assert_eq!(named[..3], numbers(&nodes)[..]);
        named.dedup();
        assert!(named.contains(&standby) && named.len() <= 4, "{named:?}");
    }
}

/// \[PLC-1\]: full, draining and silent nodes get nobody.
#[test]
fn who_cannot_take_anybody_gets_nobody() {
    let mut world = World::mesh(5, 10);
    let provider = world.provider();
    world.pass(Duration::from_secs(6));
    let mut sites: Vec<_> = (1..=5).map(site).collect();
    sites[1].draining = true;
    world.broker.set_sites(sites);
    world.hear(1, 0, 10);
    world.hear(2, 0, 10);
    world.hear(3, 10, 10);
    world.hear(4, 0, 10);
    for _ in 0..6 {
        let (nodes, standby, _) = world.place(&provider);
        let mut offered = numbers(&nodes);
        offered.sort_unstable();
        assert_eq!(offered, [1, 4]);
        assert!(
            !offered.is_empty() && standby.is_some_and(|standby| offered.contains(&standby.node.value()))
        );
    }
    let last = world.placements.last().unwrap();
    let verdict = |number: u16| last.placement.considered[usize::from(number) - 1].verdict;
    assert_eq!((verdict(2), verdict(3), verdict(5)), (Verdict::Draining, Verdict::Full, Verdict::Unheard));
}

/// \[PLC-2\]: what was placed since the last report counts, so a crowd between two reports spreads.
#[test]
fn a_crowd_spreads_between_two_reports() {
    let mut world = World::mesh(4, 1_000);
    let provider = world.provider();
    let mut first: BTreeMap<u16, u32> = BTreeMap::new();
    for _ in 0..60 {
        let (nodes, ..) = world.place(&provider);
        *first.entry(nodes[0].node.value()).or_default() += 1;
    }
    assert_eq!(first.len(), 4, "{first:?}");
    assert!(first.values().all(|count| (8..=22).contains(count)), "{first:?}");
    let noted: u32 = (1..=4).map(|number| world.broker.loads().get(node(number)).unwrap().placed_since).sum();
    assert_eq!(noted, 60);
}

/// \[PLC-2\]: a joiner is drawn to where its session is.
#[test]
fn a_joiner_is_sent_near_its_session() {
    let mut world = World::mesh(3, 100);
    let provider = world.provider();
    let creator = world.create_session(&provider);
    let ways_us = [(node(1), 80_000), (node(2), 0), (node(3), 80_000)].into();
    world.places.insert(creator.session, SessionPlace { nodes: vec![node(2)], ways_us });
    let number = world.open_join(&creator, Role::Customer);
    world.look_up(&anyone(), number, 3).unwrap();
    let located = world.placements.last().unwrap().clone();
    let considered: Vec<(u32, bool)> =
        located.views.iter().map(|view| (view.tree_us, view.carries_session)).collect();
    assert_eq!(considered, [(80_000, false), (0, true), (80_000, false)]);

    // And an administrator sees the same without anybody being placed.
    let before = world.placements.len();
    let request = Request::ShowPlacement { session: Some(creator.session), probes: vec![] };
    let Reply::Placement(shown) = world.call(&local(), &request).unwrap() else { panic!() };
    let places = |located: &sealcast_placement::Located| -> Vec<(u32, bool)> {
        located.views.iter().map(|view| (view.tree_us, view.carries_session)).collect()
    };
    assert_eq!(places(&shown), places(&located));
    assert_eq!(world.placements.len(), before);
}

/// \[GW-16\] \[REV-4\]: orders are written down with who gave them and which node handed them on.
#[test]
fn orders_to_nodes_are_audited() {
    let mut world = World::new();
    let admin = Some(AdminCaller::Certificate { role: AdminRole::NetworkAdmin, name: "ada".into() });
    let call = Call { admin, via: NodeNumber::new(7), ..Call::default() };
    world.call(&call, &Request::DrainNode { node: node(3) }).unwrap();
    world.call(&local(), &Request::PublishRevocations { number: 4, revoked: 2 }).unwrap();
    let auditor = Some(AdminCaller::Certificate { role: AdminRole::Auditor, name: "bob".into() });
    let refused = Call { admin: auditor, via: NodeNumber::new(7), ..Call::default() };
    assert!(world.call(&refused, &Request::UndrainNode { node: node(3) }).is_err());
    let audit = world.audit();
    let drained = &audit[0];
    assert!(drained.contains("\"node.drain\"") && drained.contains("\"node 3\""), "{drained}");
    assert!(drained.contains("\"ada\"") && drained.contains("\"via\":\"node 7\""), "{drained}");
    assert!(
        audit[1].contains("revocations.publish") && audit[1].contains("\"number\":\"4\""),
        "{}",
        audit[1]
    );
    assert!(audit[2].contains("refused") && audit[2].contains("\"via\":\"node 7\""), "{}", audit[2]);
}
