//! `relayctl node`.

use sealcast_rpc::ShowNodeRequest;
use serde_json::{Value, json};

use crate::cli::{Format, Global, Node};
use crate::connect::{connect, request};
use crate::failure::Failure;
use crate::output::{Table, bytes, span, time, write_line};
use crate::session::{traffic_json, traffic_table};

/// Runs one command.
pub(crate) async fn run(command: Node, global: &Global) -> Result<(), Failure> {
    let Node::Show = command;
    let node = connect(global).await?.show_node(request(ShowNodeRequest {})).await?.into_inner();
    let facts = [
        ("node", node.node_number.to_string()),
        ("mesh", node.mesh.clone()),
        ("software", node.software.clone()),
        ("wire_version", node.wire_version.to_string()),
        ("state", node.state.clone()),
        ("uptime", span(node.uptime_ms)),
        ("listeners", node.listeners.join(" ")),
        ("attachments", format!("{} of {}", node.attachments, node.attachments_max)),
        ("sessions", node.sessions.to_string()),
        ("queued", bytes(node.queue_bytes)),
        ("certificate_expires", time(node.certificate_expires_ms)),
    ];
    let refusals: Vec<Value> = node
        .refusals
        .iter()
        .map(|refusal| json!({ "reason": refusal.reason, "count": refusal.count }))
        .collect();
    let json = json!({
        "node": node.node_number, "mesh": node.mesh, "software": node.software,
        "wire_version": node.wire_version, "state": node.state, "uptime_ms": node.uptime_ms,
        "listeners": node.listeners, "attachments": node.attachments, "attachments_max": node.attachments_max,
        "sessions": node.sessions, "queue_bytes": node.queue_bytes,
        "certificate_expires_ms": node.certificate_expires_ms,
        "traffic": node.traffic.iter().map(traffic_json).collect::<Vec<_>>(), "refusals": refusals,
    });
    let names: Vec<&'static str> = facts.iter().map(|(name, _)| *name).collect();
    if matches!(global.output, Format::Json | Format::Csv) {
        let mut table = Table::new(&names, &[]);
        table.push(facts.into_iter().map(|(_, value)| value).collect(), json);
        return table.print_one(global.output);
    }
    // One thing with many facts reads better downwards.
    for (name, value) in &facts {
        write_line(&format!("{:<22}{value}", name.replace('_', " ")))?;
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
