//! `relayctl audit`.

use std::io::BufRead;
use std::path::Path;

use sealcast_rpc::{AuditRecord, ShowNodeRequest, TailAuditRequest};
use sealcast_trust::audit::{Actor, Head, Outcome, Record, verify_chain};
use sealcast_trust::{AuditFault, AuditLink};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_stream::StreamExt;

use crate::cli::{Audit, Global};
use crate::connect::{Client, connect, request};
use crate::failure::Failure;
use crate::output::{Table, time, write_line};

/// Longest line of a file of records: a canonical record in hexadecimal, twice its bytes, and the names around it.
const LINE_LENGTH_MAX: usize = 16 * 1024;

/// One line of `audit tail -o json`: enough to verify the chain later.
#[derive(Serialize, Deserialize)]
struct Line {
    index: u64,
    record: serde_json::Value,
    canonical: String,
    hash: String,
}

/// Runs one command.
pub(crate) async fn run(command: Audit, global: &Global) -> Result<(), Failure> {
    match command {
        Audit::Tail { follow, lines, from } => tail(follow, lines, from, global).await,
        Audit::Verify { file: Some(file), mesh } => verify_file(&file, mesh.as_deref()),
        Audit::Verify { file: None, .. } => verify_node(global).await,
    }
}

async fn tail(follow: bool, lines: u32, from: Option<u64>, global: &Global) -> Result<(), Failure> {
    let message = TailAuditRequest {
        from_index: from.unwrap_or(0),
        follow,
        last: if from.is_none() { lines } else { 0 },
    };
    // Without a time limit: it may follow for days.
    let mut records = connect(global).await?.tail_audit(message).await?.into_inner();
    let mut first = true;
    while let Some(record) = records.next().await {
        print(&record?, first, global)?;
        first = false;
    }
    Ok(())
}

fn print(record: &AuditRecord, first: bool, global: &Global) -> Result<(), Failure> {
    let mut table = Table::new(
        &["time", "actor", "action", "outcome", "subject", "session", "detail"],
        &["index", "hash"],
    );
    let Some(parsed) = Record::from_canonical(&record.canonical) else {
        return Err(Failure::other(format!(
            "record {} is not in its canonical form: run `relayctl audit verify`",
            record.index
        )));
    };
    let detail: Vec<String> = parsed.detail.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let hash = hex::encode(&record.hash);
    let row = vec![
        time(parsed.time.0),
        actor(&parsed.actor),
        parsed.action.clone(),
        match parsed.outcome {
            Outcome::Done => "done".into(),
            Outcome::Refused => "refused".into(),
        },
        parsed.subject.clone().unwrap_or_default(),
        parsed.session.map(|session| session.to_string()).unwrap_or_default(),
        detail.join(" "),
        record.index.to_string(),
        hash.clone(),
    ];
    let json = json!(Line {
        index: record.index,
        record: serde_json::from_slice(&record.canonical).unwrap_or_default(),
        canonical: hex::encode(&record.canonical),
        hash,
    });
    table.push(row, json);
    table.print_next(global.output, first)
}

fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Anonymous => "anonymous".into(),
        Actor::Account { id } => format!("account {id}"),
        Actor::Member { number } => format!("member {number}"),
        Actor::Admin { name } => format!("admin {name}"),
        Actor::Local { uid } => format!("local uid {uid}"),
        Actor::Broker => "broker".into(),
    }
}

async fn verify_node(global: &Global) -> Result<(), Failure> {
    let mut client: Client = connect(global).await?;
    let mesh = client.show_node(request(ShowNodeRequest {})).await?.into_inner().mesh;
    let message = TailAuditRequest { from_index: 1, follow: false, last: 0 };
    let mut records = client.tail_audit(message).await?.into_inner();
    // A chain is checked record by record, so that it may be longer than memory.
    let mut chain = Chain::new(&mesh);
    while let Some(record) = records.next().await {
        let record = record?;
        let hash = <[u8; 32]>::try_from(record.hash.as_slice())
            .map_err(|_| Failure::other(format!("record {}: its link has not 32 bytes", record.index)))?;
        chain.push(AuditLink { canonical: record.canonical, hash })?;
    }
    chain.finish()
}

fn verify_file(path: &Path, mesh: Option<&str>) -> Result<(), Failure> {
    let problem = |why: String| Failure::other(format!("{}: {why}", path.display()));
    let mesh = mesh.ok_or_else(|| Failure::usage("a file is verified for a mesh: add --mesh NAME"))?;
    let file = std::fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::not_found(format!("{}: no such file", path.display())),
        _ => problem(error.to_string()),
    })?;
    let mut reader = std::io::BufReader::new(file);
    let mut chain = Chain::new(mesh);
    let mut text = String::new();
    for number in 1.. {
        text.clear();
        let length = std::io::Read::take(&mut reader, LINE_LENGTH_MAX as u64)
            .read_line(&mut text)
            .map_err(|error| problem(error.to_string()))?;
        if length == 0 {
            break;
        }
        let line: Line = serde_json::from_str(&text)
            .map_err(|error| problem(format!("line {number} is no record: {error}")))?;
        let canonical =
            hex::decode(&line.canonical).map_err(|error| problem(format!("line {number}: {error}")))?;
        let mut hash = [0u8; 32];
        hex::decode_to_slice(&line.hash, &mut hash)
            .map_err(|error| problem(format!("line {number}: {error}")))?;
        // What people read must be what was hashed.
        if serde_json::from_slice::<serde_json::Value>(&canonical).ok().as_ref() != Some(&line.record) {
            return Err(problem(format!(
                "line {number}: the readable record differs from the one that was hashed"
            )));
        }
        chain.push(AuditLink { canonical, hash })?;
    }
    chain.finish()
}

/// A chain that is checked as it comes, from the mesh's genesis.
struct Chain {
    head: Head,
}

impl Chain {
    fn new(mesh: &str) -> Chain {
        Chain { head: Head::genesis(mesh) }
    }

    fn push(&mut self, link: AuditLink) -> Result<(), Failure> {
        let hash = link.hash;
        verify_chain(self.head, [link], []).map_err(|fault: AuditFault| {
            Failure::other(format!("{fault}: keep a copy of the store, and find out who could write to it"))
        })?;
        self.head = Head { index: self.head.index + 1, hash };
        Ok(())
    }

    fn finish(self) -> Result<(), Failure> {
        write_line(&format!(
            "{} records, an unbroken chain; its end is {}",
            self.head.index,
            hex::encode(self.head.hash)
        ))
    }
}
