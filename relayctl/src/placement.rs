//! `relayctl placement`.

use proto_spec::SessionId;
use sealcast_rpc::{self as rpc, ProbeResult, ShowPlacementRequest};
use serde_json::{Value, json};

use crate::cli::{Format, Global, Placement};
use crate::connect::{connect, request};
use crate::failure::Failure;
use crate::mesh::ms;
use crate::output::{Table, time, write_line};

/// Where endpoints look first.
const PORT: u16 = 8200;

/// Runs one command.
pub(crate) async fn run(command: Placement, global: &Global) -> Result<(), Failure> {
    let Placement::Explain { session, from, new } = command;
    let session_id = match &session {
        None => Vec::new(),
        Some(id) => id.parse::<SessionId>().map(|id| id.0.to_vec()).map_err(|_| {
            Failure::usage(format!(
                "--session {id}: a session's id has 32 hexadecimal digits: see `relayctl session list`"
            ))
        })?,
    };
    let probes = from.iter().map(|text| probe(text)).collect::<Result<_, _>>()?;
    let message = ShowPlacementRequest { session_id, probes, hypothetical: new };
    let reply = connect(global).await?.show_placement(request(message)).await?.into_inner();
    if !matches!(global.output, Format::Table | Format::Wide) {
        let mut table = table();
        reply.placements.iter().for_each(|placement| push(&mut table, placement));
        return table.print(global.output);
    }
    if reply.placements.is_empty() {
        eprintln!(
            "This broker has placed nobody since it started. What would it do? Ask with --new or --from."
        );
    }
    for (index, placement) in reply.placements.iter().enumerate() {
        if index > 0 {
            println!();
        }
        write_line(&headline(placement))?;
        let mut table = table();
        push(&mut table, placement);
        table.print(global.output)?;
    }
    Ok(())
}

/// `HOST:MS` or `HOST:PORT:MS`; an IPv6 address in brackets.
fn probe(text: &str) -> Result<ProbeResult, Failure> {
    let wrong = || {
        Failure::usage(format!(
            "--from {text}: give HOST:MS or HOST:PORT:MS, such as relay.example.org:8200:12.5"
        ))
    };
    let (place, rtt) = text.rsplit_once(':').ok_or_else(wrong)?;
    let rtt_ms: f64 = rtt.parse().map_err(|_| wrong())?;
    if !(0.0..=60_000.0).contains(&rtt_ms) {
        return Err(wrong());
    }
    let (host, port) = match place.rsplit_once(':') {
        // The last colon of a bare IPv6 address separates no port.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse::<u16>().map_err(|_| wrong())?)
        }
        _ => (place, PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(wrong());
    }
    Ok(ProbeResult { host: host.into(), port: port.into(), rtt_us: (rtt_ms * 1_000.0) as u32 })
}

fn headline(placement: &rpc::PlacementRecord) -> String {
    let list: Vec<String> = placement.offered.iter().map(u32::to_string).collect();
    let what = match (placement.time_ms, placement.session_id.as_slice()) {
        (0, []) => "A new session would go".to_owned(),
        (0, id) => format!("A joiner of {} would go", hex::encode(id)),
        (at, id) => format!("{}  session {} went", time(at), hex::encode(id)),
    };
    let standby = match placement.standby {
        0 => "no standby".to_owned(),
        node => format!("standby {node}"),
    };
    match list.is_empty() {
        true => format!("{what} nowhere: no node takes anybody"),
        false => format!("{what} to node {}; {standby}", list.join(", then ")),
    }
}

fn table() -> Table {
    Table::new(
        &["node", "verdict", "rtt", "to_session", "load", "for_load", "cost"],
        &["estimate", "carries", "failure_domain", "session", "time"],
    )
}

fn push(table: &mut Table, placement: &rpc::PlacementRecord) {
    for node in &placement.considered {
        let row = vec![
            node.node_number.to_string(),
            node.verdict.clone(),
            node.rtt_us.map_or("-".into(), ms),
            ms(node.tree_us),
            format!("{:.1} %", node.load as f64 / 10_000.0),
            wide_ms(node.load_us),
            wide_ms(node.cost_us),
            node.estimate.to_string(),
            node.carries_session.to_string(),
            node.failure_domain.clone(),
            hex::encode(&placement.session_id),
            time(placement.time_ms),
        ];
        let json: Value = json!({
            "time_ms": placement.time_ms, "session": hex::encode(&placement.session_id),
            "offered": placement.offered, "standby": placement.standby, "node": node.node_number,
            "verdict": node.verdict, "rtt_us": node.rtt_us, "tree_us": node.tree_us, "load_us": node.load_us,
            "cost_us": node.cost_us, "estimate": node.estimate, "load_millionths": node.load,
            "carries_session": node.carries_session, "failure_domain": node.failure_domain,
        });
        table.push(row, json);
    }
}

fn wide_ms(us: u64) -> String {
    format!("{:.1} ms", us as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_typed_in_several_ways() {
        let read = |text: &str| probe(text).map(|probe| (probe.host, probe.port, probe.rtt_us)).ok();
        assert_eq!(read("relay.example.org:12.5"), Some(("relay.example.org".into(), 8200, 12_500)));
        assert_eq!(read("192.0.2.1:443:3"), Some(("192.0.2.1".into(), 443, 3_000)));
        assert_eq!(read("[2001:db8::1]:443:3"), Some(("2001:db8::1".into(), 443, 3_000)));
        assert_eq!(read("[2001:db8::1]:3"), Some(("2001:db8::1".into(), 8200, 3_000)));
        for bad in ["relay", "relay:", ":3", "relay:x:3", "relay:-1", "relay:NaN"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
