//! `relayctl audit`.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use proto_spec::Wire;
use proto_spec::checkpoint::Checkpoint;
use sealcast_rpc::{AuditRecord, ShowNodeRequest, TailAuditRequest};
use sealcast_trust::audit::{Actor, Head, Outcome, Record, verify_chain, verify_checkpoint};
use sealcast_trust::cert::{chain_from_pem, inspect};
use sealcast_trust::{AuditFault, AuditLink, BrokerKey, MeshTrust, Verifier};
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
}

/// Runs one command.
pub(crate) async fn run(command: Audit, global: &Global) -> Result<(), Failure> {
    match command {
        Audit::Tail { follow, lines, from } => tail(follow, lines, from, global).await,
        Audit::Verify { file: Some(file), mesh, brokers } => {
            let mesh =
                mesh.ok_or_else(|| Failure::usage("a file is verified for a mesh: add --mesh NAME"))?;
            verify_file(&file, &mesh, &brokers, global)
        }
        Audit::Verify { file: None, brokers, .. } => verify_node(&brokers, global).await,
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
        checkpoint: (!record.checkpoint.is_empty()).then(|| hex::encode(&record.checkpoint)),
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

async fn verify_node(brokers: &[PathBuf], global: &Global) -> Result<(), Failure> {
    let mut client: Client = connect(global).await?;
    let mesh = client.show_node(request(ShowNodeRequest { node_number: 0 })).await?.into_inner().mesh;
    let message = TailAuditRequest { from_index: 1, follow: false, last: 0 };
    let mut records = client.tail_audit(message).await?.into_inner();
    // A chain is checked record by record, so that it may be longer than memory.
    let mut chain = Chain::new(&mesh, brokers, global)?;
    while let Some(record) = records.next().await {
        let record = record?;
        let hash = <[u8; 32]>::try_from(record.hash.as_slice())
            .map_err(|_| Failure::other(format!("record {}: its link has not 32 bytes", record.index)))?;
        let checkpoint = Some(record.checkpoint).filter(|bytes| !bytes.is_empty());
        chain.push(AuditLink { canonical: record.canonical, hash }, checkpoint.as_deref())?;
    }
    chain.finish()
}

fn verify_file(path: &Path, mesh: &str, brokers: &[PathBuf], global: &Global) -> Result<(), Failure> {
    let problem = |why: String| Failure::other(format!("{}: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::not_found(format!("{}: no such file", path.display())),
        _ => problem(error.to_string()),
    })?;
    let mut reader = std::io::BufReader::new(file);
    let mut chain = Chain::new(mesh, brokers, global)?;
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
        let checkpoint = line.checkpoint.map(hex::decode).transpose();
        let checkpoint = checkpoint.map_err(|error| problem(format!("line {number}: {error}")))?;
        chain.push(AuditLink { canonical, hash }, checkpoint.as_deref())?;
    }
    chain.finish()
}

/// A chain that is checked as it comes, from the mesh's genesis.
struct Chain {
    head: Head,
    verifier: Option<Verifier>,
    checkpoints: u64,
    checked: u64,
}

impl Chain {
    fn new(mesh: &str, brokers: &[PathBuf], global: &Global) -> Result<Chain, Failure> {
        let verifier = if brokers.is_empty() { None } else { Some(verifier(mesh, brokers, global)?) };
        Ok(Chain { head: Head::genesis(mesh), verifier, checkpoints: 0, checked: 0 })
    }

    fn push(&mut self, link: AuditLink, checkpoint: Option<&[u8]>) -> Result<(), Failure> {
        let hash = link.hash;
        let index = self.head.index + 1;
        let mut body = None;
        if let Some(bytes) = checkpoint {
            self.checkpoints += 1;
            let checkpoint = Checkpoint::from_bytes(bytes).map_err(|error| {
                Failure::other(format!("record {index}: its checkpoint cannot be read: {error}"))
            })?;
            if let Some(verifier) = &self.verifier {
                verify_checkpoint(&checkpoint, verifier).map_err(|_| {
                    Failure::other(format!(
                        "record {index}: its checkpoint is not signed by a broker that --broker names"
                    ))
                })?;
                self.checked += 1;
            }
            body = Some(checkpoint.body);
        }
        verify_chain(self.head, [link], body)
            .map_err(|fault: AuditFault| Failure::other(fault.to_string()))?;
        self.head = Head { index, hash };
        Ok(())
    }

    fn finish(self) -> Result<(), Failure> {
        let Chain { head, checkpoints, checked, .. } = self;
        let hash = hex::encode(head.hash);
        write_line(&format!("{} records, an unbroken chain; its end is {hash}", head.index))?;
        if checked < checkpoints {
            eprintln!(
                "{} signed checkpoints were not checked: name the broker's certificate with --broker and the root \
                 with --ca",
                checkpoints - checked
            );
        } else if checked > 0 {
            write_line(&format!("{checked} signed checkpoints fit"))?;
        }
        Ok(())
    }
}

/// The brokers whose certificates are given, each under the mesh's root.
fn verifier(mesh: &str, brokers: &[PathBuf], global: &Global) -> Result<Verifier, Failure> {
    let Some(ca) = &global.ca else {
        return Err(Failure::usage("--broker wants --ca with the mesh's root certificate"));
    };
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|error| Failure::usage(format!("{}: cannot be read: {error}", path.display())))
    };
    let name = mesh.parse().map_err(|error| Failure::usage(format!("{mesh}: {error}")))?;
    let trust = MeshTrust::from_pem(name, &read(ca)?)
        .map_err(|error| Failure::usage(format!("{}: {error}", ca.display())))?;
    let mut keys = Vec::new();
    for path in brokers {
        let problem = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", path.display()));
        let chain = chain_from_pem(&read(path)?).map_err(|error| problem(&error))?;
        // A checkpoint is as good as on the day of its signature, whenever it is looked at.
        let day = inspect(&chain[0]).map_err(|error| problem(&error))?.not_before;
        let identity = trust.verify(&chain, day).map_err(|error| problem(&error))?;
        keys.push(BrokerKey::new(&identity).map_err(|error| problem(&error))?);
    }
    Ok(Verifier::new(mesh, keys))
}
