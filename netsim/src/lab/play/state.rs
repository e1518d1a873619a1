//! Where everything is in the end, by the programs' own word: `relayctl mesh status` of each node, `relayctl session
//! show` of each session. Where an endpoint stands by is told by its lines: they see every connection that it holds.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use proto_spec::NodeNumber;
use serde_json::Value;

use super::stage::Stage;
use crate::scenario::Scenario;
use crate::state::{EndState, Hop, Seat};

/// Asks every program.
///
/// # Errors
/// When one of them does not answer, or not as it should.
pub(super) fn end(stage: &mut Stage<'_>, scenario: &Scenario) -> anyhow::Result<EndState> {
    let mut state = EndState::default();
    for node in stage.mesh.numbers() {
        if stage.mesh.process(node).is_some() {
            let status = read(&stage.mesh.ask(node, &["mesh", "status"])?)?;
            state.routes.insert(node.value(), hops(&status).context("no nodes in `mesh status`")?);
        }
    }
    let broker = stage.mesh.brokers().into_iter().find(|node| stage.mesh.process(*node).is_some());
    let broker = broker.context("no node with a broker runs")?;
    for (session, plan) in scenario.sessions.iter().enumerate() {
        let id = stage.seats[stage.who(session, 0)].id.clone().context("a session without an id")?;
        let shown = read(&stage.mesh.ask(broker, &["session", "show", &id])?)?;
        let active = active(&shown);
        for (at, endpoint) in plan.endpoints.iter().enumerate() {
            let seat = &stage.seats[stage.who(session, at)];
            let active = seat.number.and_then(|number| active.get(&number).copied());
            let reached = stage.mesh.network().reached(seat.line);
            let standby = reached.into_iter().map(NodeNumber::value).find(|node| Some(*node) != active);
            state.placement.insert(format!("{}/{}", plan.name, endpoint.name), Seat { active, standby });
        }
        state.egress.insert(plan.name.clone(), egress(&shown, &active));
    }
    Ok(state)
}

fn read(text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).context("relayctl printed no JSON")
}

fn number(value: &Value) -> Option<u16> {
    u16::try_from(value.as_u64()?).ok().filter(|number| *number > 0)
}

/// The routes of the node that was asked; it has none to itself.
fn hops(status: &Value) -> Option<BTreeMap<u16, Hop>> {
    let hop = |node: &Value| {
        Some((
            number(&node["node"])?,
            Hop { next: number(&node["next_hop"])?, backup: number(&node["backup"]) },
        ))
    };
    Some(status["nodes"].as_array()?.iter().filter_map(hop).collect())
}

/// Where each number is active.
fn active(session: &Value) -> BTreeMap<u64, u16> {
    let members = session["members"].as_array().into_iter().flatten();
    let active = members.filter(|member| member["state"] == "active");
    active.filter_map(|member| Some((member["number"].as_u64()?, number(&member["node"])?))).collect()
}

/// Where each node with active members sends a session's packets: to all whom it knows to carry it but itself.
fn egress(session: &Value, active: &BTreeMap<u64, u16>) -> BTreeMap<u16, BTreeSet<u16>> {
    let parts = session["parts"].as_array().into_iter().flatten();
    let told = parts.filter_map(|part| {
        let node = number(&part["node"])?;
        let others = part["nodes"].as_array()?.iter().filter_map(number).filter(|other| *other != node);
        Some((node, others.collect()))
    });
    told.filter(|(node, _)| active.values().any(|at| at == node)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_relayctl_prints_is_understood() {
        let status = json!({ "node": 1, "nodes": [
            { "node": 1, "next_hop": 0, "backup": 0 },
            { "node": 2, "next_hop": 3, "backup": 2 },
            { "node": 3, "next_hop": 3, "backup": 0 },
        ]});
        let hops = hops(&status).unwrap();
        assert_eq!(hops.len(), 2);
        assert_eq!(hops[&2], Hop { next: 3, backup: Some(2) });
        assert_eq!(hops[&3], Hop { next: 3, backup: None });
        let session = json!({
            "members": [
                { "number": 1, "state": "active", "node": 4 },
                { "number": 1, "state": "standby", "node": 3 },
                { "number": 2, "state": "active", "node": 1 },
                { "number": 3, "state": "away", "node": 0 },
            ],
            "parts": [
                { "node": 1, "nodes": [1, 4] },
                { "node": 3, "nodes": [] },
                { "node": 4, "nodes": [1, 4] },
            ],
        });
        let active = active(&session);
        assert_eq!(active, BTreeMap::from([(1, 4), (2, 1)]));
        let sends = egress(&session, &active);
        assert_eq!(sends, BTreeMap::from([(1, BTreeSet::from([4])), (4, BTreeSet::from([1]))]));
        assert!(read("unreachable").is_err());
    }
}
