//! `relayctl session`.

use proto_spec::SessionId;
use sealcast_rpc::{self as rpc, ListSessionsRequest, MemberRole, SessionRequest};
use serde_json::{Value, json};

use crate::cli::{Format, Global, Session};
use crate::connect::{connect, request};
use crate::failure::Failure;
use crate::output::{Table, bytes, time};
use crate::prompt;

/// Sessions asked for at once.
const PAGE: u32 = 500;

/// Runs one command.
pub(crate) async fn run(command: Session, global: &Global) -> Result<(), Failure> {
    match command {
        Session::List { all } => list(all, global).await,
        Session::Show { id } => show(&id, global).await,
        Session::End { id } => {
            let session_id = parse(&id)?;
            prompt::confirm(&format!("End session {id} for all its members?"), global.yes)?;
            connect(global).await?.close_session(request(SessionRequest { session_id })).await?;
            eprintln!("Session {id} has ended.");
            Ok(())
        }
    }
}

fn parse(id: &str) -> Result<Vec<u8>, Failure> {
    id.parse::<SessionId>().map(|id| id.0.to_vec()).map_err(|_| {
        Failure::usage(format!("{id}: a session's id has 32 hexadecimal digits: see `relayctl session list`"))
    })
}

async fn list(ended_too: bool, global: &Global) -> Result<(), Failure> {
    let mut client = connect(global).await?;
    let mut table =
        Table::new(&["session", "provider", "attached", "created", "state"], &["joinable", "ended"]);
    let mut after = Vec::new();
    loop {
        let message = ListSessionsRequest { ended_too, after, limit: PAGE };
        let page = client.list_sessions(request(message)).await?.into_inner();
        for session in &page.sessions {
            let row = vec![
                hex::encode(&session.session_id),
                session.provider.clone(),
                session.members.len().to_string(),
                time(session.created_ms),
                state(session).into(),
                session.joinable.to_string(),
                time(session.ended_ms),
            ];
            table.push(row, to_json(session));
        }
        match page.sessions.last() {
            Some(last) if page.more => after = last.session_id.clone(),
            _ => return table.print(global.output),
        }
    }
}

async fn show(id: &str, global: &Global) -> Result<(), Failure> {
    let message = SessionRequest { session_id: parse(id)? };
    let session = connect(global).await?.show_session(request(message)).await?.into_inner();
    let mut about = Table::new(&["session", "provider", "created", "state"], &["joinable", "ended"]);
    let row = vec![
        hex::encode(&session.session_id),
        session.provider.clone(),
        time(session.created_ms),
        state(&session).into(),
        session.joinable.to_string(),
        time(session.ended_ms),
    ];
    about.push(row, to_json(&session));
    about.print_one(global.output)?;
    if !matches!(global.output, Format::Table | Format::Wide) {
        return answered(&session);
    }
    println!();
    let mut members = Table::new(&["member", "role", "state", "node", "account"], &[]);
    for member in &session.members {
        let node = if member.node_number == 0 { "-".into() } else { member.node_number.to_string() };
        let account = if member.account.is_empty() { "-".into() } else { member.account.clone() };
        let row =
            vec![member.number.to_string(), role(member.role()).into(), member.state.clone(), node, account];
        members.push(row, Value::Null);
    }
    members.print(global.output)?;
    if !session.traffic.is_empty() {
        println!();
        traffic_table(&session.traffic).print(global.output)?;
    }
    if session.parts.len() > 1 {
        println!();
        part_table(&session.parts).print(global.output)?;
    }
    answered(&session)
}

/// Part of the truth is told as such.
fn answered(session: &rpc::Session) -> Result<(), Failure> {
    if session.unanswered.is_empty() {
        return Ok(());
    }
    let nodes: Vec<String> = session.unanswered.iter().map(u32::to_string).collect();
    Err(Failure::partial(format!(
        "node {} carries the session too and did not answer: see `relayctl mesh status`",
        nodes.join(", ")
    )))
}

/// Bytes from and to endpoints, by node and class.
fn part_table(parts: &[rpc::SessionPart]) -> Table {
    let mut table = Table::new(&["node", "class", "in", "out", "dropped"], &[]);
    for part in parts {
        for class in part.traffic.iter().filter(|class| class.frames_in + class.frames_out > 0) {
            let row = vec![
                part.node_number.to_string(),
                class.class.clone(),
                bytes(class.bytes_in),
                bytes(class.bytes_out),
                class.dropped.to_string(),
            ];
            table.push(row, Value::Null);
        }
    }
    table
}

fn state(session: &rpc::Session) -> &'static str {
    if session.ended_ms == 0 { "open" } else { "ended" }
}

fn role(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Provider => "provider",
        MemberRole::Customer => "customer",
        MemberRole::Unspecified => "none",
    }
}

/// Lists say who is attached, not as what.
fn known_role(known: MemberRole) -> Option<&'static str> {
    (known != MemberRole::Unspecified).then(|| role(known))
}

/// What was relayed, by class.
pub(crate) fn traffic_table(traffic: &[rpc::ClassTraffic]) -> Table {
    let mut table = Table::new(&["class", "in", "out", "dropped"], &["frames_in", "frames_out"]);
    for class in traffic {
        let row = vec![
            class.class.clone(),
            bytes(class.bytes_in),
            bytes(class.bytes_out),
            class.dropped.to_string(),
            class.frames_in.to_string(),
            class.frames_out.to_string(),
        ];
        table.push(row, traffic_json(class));
    }
    table
}

/// The same as JSON.
pub(crate) fn traffic_json(class: &rpc::ClassTraffic) -> Value {
    json!({
        "class": class.class, "frames_in": class.frames_in, "bytes_in": class.bytes_in,
        "frames_out": class.frames_out, "bytes_out": class.bytes_out, "dropped": class.dropped,
    })
}

fn to_json(session: &rpc::Session) -> Value {
    let members: Vec<Value> = session
        .members
        .iter()
        .map(|member| {
            json!({
                "number": member.number, "role": known_role(member.role()), "state": member.state,
                "node": member.node_number, "account": member.account,
            })
        })
        .collect();
    json!({
        "session": hex::encode(&session.session_id), "provider": session.provider,
        "created_ms": session.created_ms, "ended_ms": session.ended_ms, "state": state(session),
        "joinable": session.joinable, "members": members,
        "traffic": session.traffic.iter().map(traffic_json).collect::<Vec<_>>(),
        "nodes": session.nodes, "unanswered": session.unanswered,
        "parts": session.parts.iter().map(part_json).collect::<Vec<_>>(),
    })
}

fn part_json(part: &rpc::SessionPart) -> Value {
    json!({
        "node": part.node_number, "nodes": part.nodes,
        "traffic": part.traffic.iter().map(traffic_json).collect::<Vec<_>>(),
    })
}
