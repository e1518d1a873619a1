//! `relayctl node`.

use sealcast_rpc::{self as rpc, DrainNodeRequest, ShowNodeRequest, UndrainNodeRequest};
use serde_json::{Value, json};

use crate::cli::{Format, Global, Node};
use crate::connect::{connect, request};
use crate::failure::Failure;
use crate::mesh::{fetch, ms};
use crate::output::{Table, bytes, printable, span, time, write_line};
use crate::prompt;
use crate::session::{traffic_json, traffic_table};

/// Runs one command.
pub(crate) async fn run(command: Node, global: &Global) -> Result<(), Failure> {
    match command {
        Node::List => node_table(&fetch(global).await?).print(global.output),
        Node::Show { number } => show(number, global).await,
        Node::Drain { number, within } => {
            let which = number.map_or("the node that answers".into(), |number| format!("node {number}"));
            prompt::confirm(&format!("Take {which} out of service?"), global.yes)?;
            let message = DrainNodeRequest {
                node_number: node_number(number)?,
                within_ms: within.unwrap_or(0) * 1_000,
            };
            let reply = connect(global).await?.drain_node(request(message)).await?.into_inner();
            eprintln!(
                "Node {} goes out of service: its endpoints move, and routes avoid it. `relayctl node list` shows when it \
                 is drained.",
                reply.node_number
            );
            Ok(())
        }
        Node::Undrain { number } => {
            let message = UndrainNodeRequest { node_number: node_number(number)? };
            let reply = connect(global).await?.undrain_node(request(message)).await?.into_inner();
            eprintln!("Node {} goes back into service.", reply.node_number);
            Ok(())
        }
    }
}

/// 0 is the node that answers.
fn node_number(number: Option<u16>) -> Result<u32, Failure> {
    match number {
        Some(0) => Err(Failure::usage("0: node numbers run from 1 to 65535")),
        number => Ok(number.unwrap_or(0).into()),
    }
}

async fn show(number: Option<u16>, global: &Global) -> Result<(), Failure> {
    let message = ShowNodeRequest { node_number: node_number(number)? };
    let node = connect(global).await?.show_node(request(message)).await?.into_inner();
    let facts = [
        ("node", node.node_number.to_string()),
        ("mesh", node.mesh.clone()),
        ("software", node.software.clone()),
        ("wire_version", node.wire_version.to_string()),
        ("state", node.state.clone()),
        ("drain", node.drain.clone()),
        ("broker", if node.broker { "yes" } else { "no" }.to_owned()),
        ("uptime", span(node.uptime_ms)),
        ("listeners", node.listeners.join(" ")),
        ("attachments", format!("{} of {}", node.attachments, node.attachments_max)),
        ("sessions", node.sessions.to_string()),
        ("queued", bytes(node.queue_bytes)),
        ("certificate_expires", time(node.certificate_expires_ms)),
        ("revocations", node.revocations.to_string()),
    ];
    let refusals: Vec<Value> = node
        .refusals
        .iter()
        .map(|refusal| json!({ "reason": refusal.reason, "count": refusal.count }))
        .collect();
    let json = json!({
        "node": node.node_number, "mesh": node.mesh, "software": node.software,
        "wire_version": node.wire_version, "state": node.state, "drain": node.drain, "broker": node.broker,
        "uptime_ms": node.uptime_ms,
        "listeners": node.listeners, "attachments": node.attachments, "attachments_max": node.attachments_max,
        "sessions": node.sessions, "queue_bytes": node.queue_bytes,
        "certificate_expires_ms": node.certificate_expires_ms, "revocations": node.revocations,
        "traffic": node.traffic.iter().map(traffic_json).collect::<Vec<_>>(), "refusals": refusals,
        "trunks": node.trunks.iter().map(trunk_json).collect::<Vec<_>>(),
    });
    let names: Vec<&'static str> = facts.iter().map(|(name, _)| *name).collect();
    if matches!(global.output, Format::Json | Format::Csv) {
        let mut table = Table::new(&names, &[]);
        table.push(facts.into_iter().map(|(_, value)| value).collect(), json);
        return table.print_one(global.output);
    }
    // One thing with many facts reads better downwards.
    for (name, value) in &facts {
        write_line(&printable(&format!("{:<22}{value}", name.replace('_', " "))))?;
    }
    if !node.trunks.is_empty() {
        println!();
        trunk_table(&node.trunks).print(global.output)?;
    }
    if !node.traffic.is_empty() {
        println!();
        traffic_table(&node.traffic).print(global.output)?;
    }
    if !node.refusals.is_empty() {
        println!();
        let mut table = Table::new(&["refused", "count"], &[]);
        for refusal in &node.refusals {
            table.push(vec![refusal.reason.clone(), refusal.count.to_string()], Value::Null);
        }
        table.print(global.output)?;
    }
    Ok(())
}

/// The nodes of a mesh.
pub(crate) fn node_table(mesh: &rpc::Mesh) -> Table {
    let mut table = Table::new(
        &["node", "state", "roles", "failure_domain", "attachments", "way", "rtt"],
        &[
            "region",
            "capacity",
            "backup",
            "hops",
            "software",
            "addresses",
            "incarnation",
            "sequence",
            "report_age",
        ],
    );
    for node in &mesh.nodes {
        let state = if node.reachable { node.drain.clone() } else { "out of reach".into() };
        let way = match (node.node_number == mesh.node_number, node.next_hop) {
            (true, _) => "here".to_owned(),
            (_, 0) => "-".to_owned(),
            (_, next) => format!("over {next}"),
        };
        // The last word of a node out of reach says nothing of now.
        let load = node.load.as_ref().filter(|_| node.reachable);
        let row = vec![
            node.node_number.to_string(),
            state,
            node.roles.join(" "),
            node.failure_domain.clone(),
            load.map_or("-".into(), |load| load.attachments.to_string()),
            way,
            if node.cost_us == 0 { "-".into() } else { ms(node.cost_us) },
            node.region.clone(),
            node.capacity.to_string(),
            if node.backup == 0 { "-".into() } else { node.backup.to_string() },
            node.hops.to_string(),
            node.software.clone(),
            node.addresses.join(" "),
            node.incarnation.to_string(),
            node.sequence.to_string(),
            load.map_or("-".into(), |load| span(load.age_ms)),
        ];
        table.push(row, node_json(node));
    }
    table
}

/// A node of a mesh as JSON.
pub(crate) fn node_json(node: &rpc::MeshNode) -> Value {
    let load = node.load.as_ref().filter(|_| node.reachable).map(|load| {
        json!({
            "attachments": load.attachments, "capacity": load.capacity, "queue_bytes": load.queue_bytes,
            "forwarded_bytes": load.forwarded_bytes, "full": load.full, "age_ms": load.age_ms,
        })
    });
    json!({
        "node": node.node_number, "reachable": node.reachable, "drain": node.drain, "roles": node.roles,
        "region": node.region, "failure_domain": node.failure_domain, "capacity": node.capacity,
        "software": node.software, "addresses": node.addresses, "incarnation": node.incarnation,
        "sequence": node.sequence, "next_hop": node.next_hop, "backup": node.backup,
        "cost_us": node.cost_us, "hops": node.hops, "load": load,
    })
}

/// The trunks of a node.
pub(crate) fn trunk_table(trunks: &[rpc::Trunk]) -> Table {
    let mut table = Table::new(
        &["trunk", "address", "rtt", "queued", "sent", "received", "dropped"],
        &["clock_offset", "frames_sent", "frames_received"],
    );
    for trunk in trunks {
        let row = vec![
            trunk.node_number.to_string(),
            trunk.address.clone(),
            if trunk.rtt_us == 0 { "-".into() } else { ms(trunk.rtt_us) },
            bytes(trunk.queue_bytes),
            bytes(trunk.bytes_sent),
            bytes(trunk.bytes_received),
            trunk.dropped.to_string(),
            format!("{} ms", trunk.clock_offset_ms),
            trunk.frames_sent.to_string(),
            trunk.frames_received.to_string(),
        ];
        table.push(row, trunk_json(trunk));
    }
    table
}

/// The same as JSON.
pub(crate) fn trunk_json(trunk: &rpc::Trunk) -> Value {
    json!({
        "node": trunk.node_number, "address": trunk.address, "rtt_us": trunk.rtt_us,
        "clock_offset_ms": trunk.clock_offset_ms, "queue_bytes": trunk.queue_bytes,
        "frames_sent": trunk.frames_sent, "bytes_sent": trunk.bytes_sent,
        "frames_received": trunk.frames_received, "bytes_received": trunk.bytes_received,
        "dropped": trunk.dropped,
    })
}
