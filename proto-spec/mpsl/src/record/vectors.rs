//! The records' golden vectors: a group of three from given keys and secret, its epoch message, and records of every
//! kind. The same file is checked by an independent implementation, `proto-spec/vectors/check_mpsl.py`.
//!
//! To write the file anew after a deliberate change of the protocol: `SEALCAST_WRITE_VECTORS=1 cargo test -p
//! sealcast-mpsl vectors`, then run the script.

use std::convert::Infallible;

use proto_spec::mpsl::epoch::{ChannelBase, EpochMessage, Heartbeat, HeartbeatAnswer, Notice, SessionRecord};
use proto_spec::mpsl::{Role, roster::Roster, roster::RosterMember};
use proto_spec::{EpochId, SenderNumber, SessionId, StreamId, Timestamp, TrafficClass, Wire};
use rand_core::{TryCryptoRng, TryRng};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::open::Opener;
use super::seal::Sealer;
use super::{SESSION_STREAM, Sealing, Shape};
use crate::group::epoch::{EpochKeys, commitment};
use crate::group::roster::{HeldRoster, signed_bytes};
use crate::keys::{Chain, MemberKey};
use crate::suite::Suite;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/mpsl-records.json");
const SESSION: SessionId = SessionId(*b"records, session");

/// Hands out one member's seed.
struct Seed([u8; 32]);

impl TryRng for Seed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("keys are filled in one piece")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("keys are filled in one piece")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0);
        Ok(())
    }
}

impl TryCryptoRng for Seed {}

/// Random-looking bytes that anybody can make again.
fn bytes(label: &str) -> [u8; 32] {
    Sha256::digest(label.as_bytes()).into()
}

fn seed(of: u16) -> [u8; 32] {
    bytes(&format!("member {of}"))
}

fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

fn key(of: u16) -> MemberKey {
    MemberKey::generate(&mut Seed(seed(of)))
}

fn secret(count: u32) -> [u8; 32] {
    bytes(&format!("group secret {count}"))
}

fn roster(count: u32) -> HeldRoster {
    let names = [(1, Role::Provider, "Ada, support"), (2, Role::Customer, "Jörg"), (5, Role::Provider, "")];
    let members = names.map(|(value, role, name)| RosterMember {
        number: number(value),
        key: key(value).public(),
        role,
        name: name.to_owned(),
    });
    let roster = Roster {
        epoch: EpochId { term: 0, leader: number(1), count },
        creator: key(1).public(),
        deputies: vec![number(5)],
        members: members.to_vec(),
        commitment: commitment(&secret(count)),
    };
    HeldRoster::new(SESSION, roster)
}

fn epoch(count: u32) -> Value {
    let held = roster(count);
    let encoded = held.roster.to_bytes();
    let signature = key(1).sign(&signed_bytes(SESSION, &encoded));
    let chain_key = bytes("chain key");
    let chain = Chain::new(Zeroizing::new(chain_key));
    let step = 3;
    let kek = chain.kek_at(step, held.roster.epoch, number(2)).unwrap();
    let message =
        EpochMessage { roster: encoded.clone(), signature, step, wrapped: kek.wrap(&secret(count)) };
    let members: Vec<_> = held
        .roster
        .members
        .iter()
        .map(|member| {
            json!({
                "number": member.number.value(),
                "seed": hex::encode(seed(member.number.value())),
                "role": member.role as u8,
                "name": member.name,
            })
        })
        .collect();
    json!({
        "epoch": held.roster.epoch.to_u64(),
        "creator": 1,
        "deputies": [5],
        "members": members,
        "secret": hex::encode(secret(count)),
        "roster": hex::encode(&encoded),
        "roster_hash": hex::encode(held.hash),
        "chain_key_0": hex::encode(chain_key),
        "to": 2,
        "step": step,
        "message": hex::encode(message.to_bytes()),
    })
}

struct Sender {
    sealer: Sealer,
    key: MemberKey,
    suite: Suite,
    value: u16,
}

impl Sender {
    fn new(suite: Suite, value: u16) -> Self {
        Sender { sealer: Sealer::new(suite, number(value)), key: key(value), suite, value }
    }

    fn keys(&self, count: u32) -> EpochKeys {
        let held = roster(count);
        EpochKeys::derive(self.suite, SESSION, &held.roster, held.hash, &secret(count), number(self.value))
            .unwrap()
    }

    fn install(&mut self, count: u32) {
        let keys = self.keys(count);
        self.sealer.install(keys.id, keys.roster_hash, keys.own);
    }

    fn record(&mut self, what: &str, sealing: &Sealing, text: &[u8]) -> Value {
        let mut packet = Vec::new();
        self.sealer.seal_any(&self.key, sealing, text, &mut packet).unwrap();
        json!({ "what": what, "plaintext": hex::encode(text), "packet": hex::encode(packet) })
    }

    fn carried(&mut self, what: &str, of: &Value) -> Value {
        let old = hex::decode(of["packet"].as_str().unwrap()).unwrap();
        let mut packet = Vec::new();
        self.sealer.carry(&self.key, &old, &mut packet).unwrap();
        json!({ "what": what, "plaintext": of["plaintext"], "packet": hex::encode(packet) })
    }
}

fn records(suite: Suite) -> Value {
    let bulk =
        Sealing { class: TrafficClass::Bulk, stream: StreamId(16), signed: false, shape: Shape::Exact };
    let chat =
        Sealing { class: TrafficClass::Interactive, stream: StreamId(2), signed: true, shape: Shape::Padded };
    let session =
        Sealing { class: TrafficClass::Control, stream: SESSION_STREAM, signed: true, shape: Shape::Exact };
    let screen = Sealing { class: TrafficClass::Screen, stream: StreamId(9), ..bulk };
    let compressed = Sealing { shape: Shape::Compressed, ..bulk };
    let tiles = b"tile tile tile tile, and tile tile tile tile again ".repeat(8);
    let mut two = Sender::new(suite, 2);
    two.install(1);
    let mut list = vec![
        two.record("bulk, as it is", &bulk, b"file bytes"),
        two.record("bulk, compressed", &compressed, &tiles),
        two.record("bulk, not worth compressing", &compressed, b"abc"),
        two.record("screen, empty", &screen, b""),
        two.record("chat, padded and signed", &chat, "Grüß Gott".as_bytes()),
        two.record("chat, 63 bytes", &chat, &[0x80; 63]),
        two.record("chat, 64 bytes", &chat, &[0; 64]),
    ];
    two.install(2);
    let base = |stream, counter, sequence| ChannelBase { stream: StreamId(stream), counter, sequence };
    let bases = SessionRecord::Bases(vec![base(2, 3, 40), base(9, 1, 0), base(16, 3, 3)]).to_bytes();
    let held = SessionRecord::BasesHeld(number(5)).to_bytes();
    let (file, words) = (list[1].clone(), list[4].clone());
    list.extend([
        two.record("base statement", &session, &bases),
        two.record("acknowledgement of 5's bases", &session, &held),
        two.record("bulk in the next epoch", &Sealing { signed: true, ..bulk }, b"on we go"),
        two.carried("carried: bulk, compressed", &file),
        two.carried("carried: chat", &words),
    ]);
    json!({ "suite": suite.name(), "suite_value": suite.value(), "sender": 2, "records": list })
}

fn messages() -> Value {
    let epoch = EpochId { term: 0, leader: number(1), count: 2 };
    let nonce = *b"sixteen bytes!!!";
    let notices = [Notice::Refused, Notice::Removed, Notice::Ended, Notice::Leaving];
    let notices = notices.map(|notice| hex::encode(notice.to_bytes()));
    json!({
        "nonce": hex::encode(nonce),
        "epoch": epoch.to_u64(),
        "heartbeat": hex::encode(Heartbeat { nonce, held: Some(epoch) }.to_bytes()),
        "heartbeat_without_epoch": hex::encode(Heartbeat { nonce, held: None }.to_bytes()),
        "answer": hex::encode(HeartbeatAnswer { nonce, epoch, roster_hash: roster(2).hash }.to_bytes()),
        "notices": notices,
    })
}

fn file() -> Value {
    let suites = Suite::ALL.map(records);
    json!({
        "about": "A group of three, its epochs and records of member 2; check with check_mpsl.py. \
                  All bytes in hexadecimal.",
        "session": hex::encode(SESSION.0),
        "epochs": [epoch(1), epoch(2)],
        "messages": messages(),
        "suites": suites,
    })
}

/// \[GRP-2\] \[GRP-4\] \[GRP-6\] \[GRP-10\] \[REC-1\] \[REC-6\] \[REC-7\] \[REC-11\]
#[test]
fn records_are_those_of_the_file() {
    let made = file();
    if std::env::var_os("SEALCAST_WRITE_VECTORS").is_some() {
        std::fs::write(PATH, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let stored: Value = serde_json::from_str(&std::fs::read_to_string(PATH).unwrap()).unwrap();
    assert_eq!(stored, made);
}

/// Every record of the file opens at another member, in the file's order.
#[test]
fn records_of_the_file_open() {
    let stored: Value = serde_json::from_str(&std::fs::read_to_string(PATH).unwrap()).unwrap();
    for suite in Suite::ALL {
        let case = &stored["suites"][usize::from(suite.value()) - 1];
        let mut opener = Opener::new(suite);
        let install = |opener: &mut Opener, count| {
            let EpochKeys { id, roster_hash, others, .. } = Sender::new(suite, 5).keys(count);
            opener.install(Timestamp::ZERO, id, roster_hash, others, false);
        };
        install(&mut opener, 1);
        let second = roster(2).roster.epoch;
        let records = case["records"].as_array().unwrap();
        // The chat that is carried later is lost here, and the compressed file as well.
        for (index, record) in records.iter().enumerate().filter(|(index, _)| ![1, 4].contains(index)) {
            let mut packet = hex::decode(record["packet"].as_str().unwrap()).unwrap();
            let class = TrafficClass::from_u8(packet[2] >> 4).unwrap();
            if index == 7 {
                install(&mut opener, 2);
            }
            let mut spill = Vec::new();
            let opened = opener.open(Timestamp::ZERO, number(2), class, &mut packet, &mut spill).unwrap();
            let text = opened.plaintext(&packet, &spill);
            assert_eq!(hex::encode(text), record["plaintext"], "{}", record["what"]);
            if let Ok(SessionRecord::Bases(bases)) = SessionRecord::from_bytes(text)
                && opened.stream == SESSION_STREAM
            {
                assert!(opener.state_bases(number(2), second, &bases));
            }
        }
    }
}
