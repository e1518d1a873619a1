//! `relayctl mesh`.

use std::io::Write;
use std::path::Path;

use proto_spec::SessionId;
use proto_spec::export::{EXPORT_VERSION, ExportLink, ExportLoad, ExportNode, ExportRole, MeshExport};
use proto_spec::lsa::DrainState;
use sealcast_rpc::{self as rpc, ShowMeshRequest, ShowRouteRequest};
use serde_json::{Value, json};

use crate::cli::{Format, Global, Mesh};
use crate::connect::{connect, request};
use crate::failure::Failure;
use crate::graph;
use crate::node::{node_table, trunk_json, trunk_table};
use crate::output::{Table, printable, time, write_line};

/// Runs one command.
pub(crate) async fn run(command: Mesh, global: &Global) -> Result<(), Failure> {
    match command {
        Mesh::Status => status(&fetch(global).await?, global),
        Mesh::Graph { svg: None } => {
            graph::text(&fetch(global).await?).lines().try_for_each(|line| write_line(&printable(line)))
        }
        Mesh::Graph { svg: Some(path) } => {
            write_file(&path, &graph::svg(&fetch(global).await?))?;
            eprintln!("{} shows the mesh: open it in a browser.", path.display());
            Ok(())
        }
        Mesh::Trace { to } => trace(&to, global).await,
        Mesh::Export { file } => {
            let text = export(&fetch(global).await?)?.to_text();
            match file {
                None => write_line(&text),
                Some(path) => write_file(&path, &text),
            }
        }
    }
}

/// The mesh as the node knows it.
pub(crate) async fn fetch(global: &Global) -> Result<rpc::Mesh, Failure> {
    Ok(connect(global).await?.show_mesh(request(ShowMeshRequest {})).await?.into_inner())
}

fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::File::create(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::other(format!("{}: cannot be written: {error}", path.display())))
}

/// A round trip in milliseconds.
pub(crate) fn ms(us: u32) -> String {
    format!("{:.1} ms", f64::from(us) / 1_000.0)
}

fn status(mesh: &rpc::Mesh, global: &Global) -> Result<(), Failure> {
    let reachable = mesh.nodes.iter().filter(|node| node.reachable).count();
    let agreed = mesh.links.iter().filter(|link| link.agreed).count();
    let destinations = mesh.backed_against_node + mesh.backed_against_link + mesh.not_backed;
    let facts = [
        ("mesh", mesh.mesh.clone()),
        ("seen_from", format!("node {}", mesh.node_number)),
        ("nodes", format!("{} of {} within reach", reachable, mesh.nodes.len())),
        ("links", format!("{} of {} agreed by both ends", agreed, mesh.links.len())),
        (
            "backed_up",
            format!(
                "{} of {destinations} destinations against a node's loss, {} against a link's, {} not at all",
                mesh.backed_against_node, mesh.backed_against_link, mesh.not_backed
            ),
        ),
        ("revocations", mesh.revocations.to_string()),
    ];
    let names: Vec<&'static str> = facts.iter().map(|(name, _)| *name).collect();
    if matches!(global.output, Format::Json | Format::Csv) {
        let mut table = Table::new(&names, &[]);
        table.push(facts.into_iter().map(|(_, value)| value).collect(), to_json(mesh));
        return table.print_one(global.output);
    }
    for (name, value) in &facts {
        write_line(&printable(&format!("{:<14}{value}", name.replace('_', " "))))?;
    }
    println!();
    node_table(mesh).print(global.output)?;
    if !mesh.links.is_empty() {
        println!();
        link_table(mesh).print(global.output)?;
    }
    if !mesh.trunks.is_empty() {
        println!();
        trunk_table(&mesh.trunks).print(global.output)?;
    }
    if global.output == Format::Wide {
        println!();
        let mut counters = Table::new(&["counted", "count"], &[]);
        for counter in mesh.counters.iter().filter(|counter| counter.count > 0) {
            counters.push(vec![counter.name.clone(), counter.count.to_string()], Value::Null);
        }
        counters.print(global.output)?;
    }
    if !mesh.alarms.is_empty() {
        println!();
        let mut alarms = Table::new(&["time", "alarm"], &[]);
        for alarm in &mesh.alarms {
            alarms.push(vec![time(alarm.time_ms), alarm.sentence.clone()], Value::Null);
        }
        alarms.print(global.output)?;
    }
    Ok(())
}

fn link_table(mesh: &rpc::Mesh) -> Table {
    let mut table = Table::new(&["link", "rtt", "state"], &[]);
    for link in &mesh.links {
        let state = if link.agreed { "agreed" } else { "one end alone" };
        let row = vec![format!("{} - {}", link.a, link.b), ms(link.rtt_us), state.into()];
        table.push(row, Value::Null);
    }
    table
}

fn to_json(mesh: &rpc::Mesh) -> Value {
    let links: Vec<Value> = mesh
        .links
        .iter()
        .map(|link| json!({ "a": link.a, "b": link.b, "rtt_us": link.rtt_us, "agreed": link.agreed }))
        .collect();
    let alarms: Vec<Value> = mesh
        .alarms
        .iter()
        .map(|alarm| json!({ "time_ms": alarm.time_ms, "sentence": alarm.sentence }))
        .collect();
    let counters: serde_json::Map<String, Value> =
        mesh.counters.iter().map(|counter| (counter.name.clone(), counter.count.into())).collect();
    json!({
        "mesh": mesh.mesh, "node": mesh.node_number, "taken_ms": mesh.taken_ms,
        "nodes": mesh.nodes.iter().map(crate::node::node_json).collect::<Vec<_>>(), "links": links,
        "trunks": mesh.trunks.iter().map(trunk_json).collect::<Vec<_>>(),
        "alarms": alarms, "revocations": mesh.revocations, "counters": counters,
        "backups": {
            "node": mesh.backed_against_node, "link": mesh.backed_against_link, "none": mesh.not_backed,
        },
    })
}

async fn trace(to: &str, global: &Global) -> Result<(), Failure> {
    let message = match (to.parse::<u16>(), to.parse::<SessionId>()) {
        (_, Ok(session)) => ShowRouteRequest { node_number: 0, session_id: session.0.to_vec() },
        (Ok(number), _) if number > 0 => {
            ShowRouteRequest { node_number: number.into(), session_id: Vec::new() }
        }
        _ => {
            return Err(Failure::usage(format!(
                "{to}: neither a node's number (1 to 65535) nor a session's id (32 hexadecimal digits)"
            )));
        }
    };
    let reply = connect(global).await?.show_route(request(message)).await?.into_inner();
    let mut table = Table::new(&["to", "from", "next", "backup", "survives", "cost"], &[]);
    let mut unreachable = Vec::new();
    for way in &reply.ways {
        if way.hops.is_empty() && way.destination != reply.node_number {
            unreachable.push(way.destination.to_string());
        }
        for hop in &way.hops {
            let backup = if hop.backup == 0 { "-".into() } else { hop.backup.to_string() };
            let row = vec![
                way.destination.to_string(),
                hop.from.to_string(),
                hop.next.to_string(),
                backup,
                format!("loss of {}", if hop.protection == "none" { "nothing" } else { &hop.protection }),
                ms(hop.cost_us),
            ];
            let json = json!({
                "destination": way.destination, "from": hop.from, "next": hop.next, "backup": hop.backup,
                "protection": hop.protection, "cost_us": hop.cost_us,
            });
            table.push(row, json);
        }
    }
    table.print(global.output)?;
    if reply.ways.iter().all(|way| way.hops.is_empty()) && unreachable.is_empty() {
        eprintln!("There is no way to go: all of it is at node {}.", reply.node_number);
    }
    match unreachable.len() {
        0 => Ok(()),
        count if count == reply.ways.len() => Err(Failure::not_found(format!(
            "node {} has no way to node {}: see `relayctl mesh status`",
            reply.node_number,
            unreachable.join(", ")
        ))),
        _ => Err(Failure::partial(format!("there is no way to node {}", unreachable.join(", ")))),
    }
}

/// As the simulator reads it \[EXP-1\].
fn export(mesh: &rpc::Mesh) -> Result<MeshExport, Failure> {
    let number = |number: u32| {
        u16::try_from(number)
            .map_err(|_| Failure::other(format!("the node named a node {number}: update relayctl")))
    };
    let mut nodes = Vec::new();
    for node in &mesh.nodes {
        let role = |role: &String| match role.as_str() {
            "broker" => Some(ExportRole::Broker),
            "gateway" => Some(ExportRole::Gateway),
            _ => None,
        };
        nodes.push(ExportNode {
            number: number(node.node_number)?,
            roles: node.roles.iter().filter_map(role).collect(),
            drain: match node.drain.as_str() {
                "draining" => DrainState::Draining,
                "drained" => DrainState::Drained,
                _ => DrainState::Serving,
            },
            region: node.region.clone(),
            failure_domain: node.failure_domain.clone(),
            capacity: node.capacity,
            software: node.software.clone(),
            load: node.load.as_ref().map(|load| ExportLoad {
                attachments: load.attachments,
                queue_bytes: load.queue_bytes,
                forwarded_bytes: load.forwarded_bytes,
                full: load.full,
                age_ms: load.age_ms,
            }),
        });
    }
    let mut links = Vec::new();
    for link in mesh.links.iter().filter(|link| link.agreed) {
        links.push(ExportLink { a: number(link.a)?, b: number(link.b)?, rtt_us: link.rtt_us });
    }
    let export = MeshExport {
        version: EXPORT_VERSION,
        mesh: mesh.mesh.clone(),
        taken_ms: mesh.taken_ms,
        taken_by: number(mesh.node_number)?,
        nodes,
        links,
    };
    // What others would refuse is not written.
    MeshExport::from_text(&export.to_text()).map_err(|error| Failure::other(error.to_string()))
}
