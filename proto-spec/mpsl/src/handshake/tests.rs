//! The handshake's golden vectors: whole handshakes from given randomness, with everything in between. The same file is
//! checked by an independent implementation, `proto-spec/vectors/check_mpsl.py`.
//!
//! To write the file anew after a deliberate change of the protocol: `SEALCAST_WRITE_VECTORS=1 cargo test -p
//! sealcast-mpsl those_of_the_file`, then run the script.

use std::convert::Infallible;

use proto_spec::mpsl::handshake::Message;
use proto_spec::{EpochId, Now, SenderNumber, SessionId, Wire};
use rand_core::{TryCryptoRng, TryRng};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::keys::{
    LABEL_CHAIN, LABEL_CONFIRM_JOINER, LABEL_CONFIRM_LEADER, LABEL_TO_LEADER, LABEL_TO_MEMBER, MemberKey,
};
use crate::srp::{Exponent, PublicValue, client_premaster};
use crate::{JoinCode, Pairwise, Role, Suite, kem};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/mpsl-handshake.json");
const CODE: &str = "483-920-117 lucky-abandon-zoo";

/// Gives out the bytes it was given, and insists on their exact number.
struct Script(Vec<u8>);

impl Script {
    fn new(parts: &[&[u8]]) -> Self {
        Script(parts.concat())
    }

    fn finish(self) {
        assert!(self.0.is_empty(), "{} random bytes were not drawn", self.0.len());
    }
}

impl TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("nothing draws 64 bits")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0[..out.len()]);
        self.0.drain(..out.len());
        Ok(())
    }
}

impl TryCryptoRng for Script {}

/// Random-looking bytes that anybody can make again: SHA-256 of a label and a block number.
fn bytes(label: &str, length: usize) -> Vec<u8> {
    (0u8..)
        .flat_map(|block| Sha256::digest([label.as_bytes(), &[block]].concat()).to_vec())
        .take(length)
        .collect()
}

fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

fn word_indices() -> Vec<u8> {
    let list = bip39::Language::English.word_list();
    ["lucky", "abandon", "zoo"]
        .iter()
        .flat_map(|word| (list.iter().position(|other| other == word).unwrap() as u32).to_le_bytes())
        .collect()
}

fn handshake(suite: Suite) -> Value {
    let now = Now::default();
    let session = SessionId(bytes("session", 16).try_into().unwrap());
    let code: JoinCode = CODE.parse().unwrap();
    let draw = |label: &str, length| bytes(&format!("{} {label}", suite.name()), length);
    let (a, joiner_x25519, ml_kem_seed) = (draw("a", 64), draw("joiner x25519", 32), draw("ml-kem seed", 64));
    let (joiner_ed25519, joiner_nonce) = (draw("joiner ed25519", 32), draw("joiner nonce", 32));
    let (salt, b) = (draw("salt", 32), draw("b", 64));
    let (leader_x25519, ml_kem_m) = (draw("leader x25519", 32), draw("ml-kem m", 32));
    let (leader_nonce, leader_ed25519) = (draw("leader nonce", 32), draw("leader ed25519", 32));

    let mut leader = Leader::new(LeaderSetup {
        session,
        number: number(1),
        suite,
        member_key: MemberKey::generate(&mut Script::new(&[&leader_ed25519])),
        display_name: "Ada, support".into(),
    });
    let mut script = Script::new(&[&word_indices(), &salt]);
    assert_eq!(leader.open_code(now, code.number, Role::Customer, &mut script), Ok(code.clone()));
    script.finish();

    let setup =
        JoinerSetup { session, number: number(2), leader: number(1), suite, display_name: "Jörg".into() };
    let mut script = Script::new(&[&a, &joiner_x25519, &ml_kem_seed, &joiner_ed25519, &joiner_nonce]);
    let mut budget = ProofBudget::new();
    let (mut joiner, m1) = Joiner::start(now, setup, &code, budget, &mut script).unwrap();
    script.finish();

    let mut script = Script::new(&[&b, &leader_x25519, &ml_kem_m, &leader_nonce]);
    let Ok(LeaderStep::Reply(m2)) = leader.handle(now, number(2), &m1, &mut script, &|_, _| false) else {
        panic!("M1 is answered")
    };
    script.finish();
    let Ok(JoinerStep::Reply(m3)) = joiner.handle(now, number(1), &m2, &mut budget) else {
        panic!("M2 is answered")
    };
    let Ok(LeaderStep::Proved(proved)) =
        leader.handle(now, number(2), &m3, &mut Script::new(&[]), &|_, _| false)
    else {
        panic!("M3 proves")
    };
    let Ok(JoinerStep::Established(established)) = joiner.handle(now, number(1), &proved.reply, &mut budget)
    else {
        panic!("M4 proves")
    };

    // What lies in between, once more from the inputs.
    let (Ok(Message::M1(first)), Ok(Message::M2(second))) =
        (Message::from_bytes(&m1), Message::from_bytes(&m2))
    else {
        panic!("our own messages decode")
    };
    let premaster = client_premaster(
        &Exponent::generate(&mut Script::new(&[&a])),
        &PublicValue::parse(&first.srp_a).unwrap(),
        &PublicValue::parse(&second.srp_b).unwrap(),
        &second.salt,
        code.number,
        &code.words,
    )
    .unwrap();
    let shared = kem::JoinerKeys::generate(&mut Script::new(&[&joiner_x25519, &ml_kem_seed]))
        .agree(&second.x25519, &second.kem_ciphertext)
        .unwrap();
    let th = transcript::transcript_hash(&m1, &m2);
    let prk = transcript::pseudorandom_key(&th, &premaster, &shared);
    let expand = |label: &[u8], length: usize| {
        let mut out = vec![0; length];
        prk.expand(&[label], &mut out);
        hex::encode(out)
    };
    let (mut member_end, mut leader_end) = (established.pairwise, proved.pairwise);
    json!({
        "suite": suite.name(),
        "suite_value": suite.value(),
        "session": session.to_string(),
        "joiner": 2,
        "leader": 1,
        "code": code.number.value(),
        "words": code.words.phrase().as_str(),
        "joiner_name": "Jörg",
        "leader_name": "Ada, support",
        "random": {
            "a": hex::encode(&a),
            "joiner_x25519": hex::encode(&joiner_x25519),
            "ml_kem_seed": hex::encode(&ml_kem_seed),
            "joiner_ed25519": hex::encode(&joiner_ed25519),
            "joiner_nonce": hex::encode(&joiner_nonce),
            "salt": hex::encode(&salt),
            "b": hex::encode(&b),
            "leader_x25519": hex::encode(&leader_x25519),
            "ml_kem_m": hex::encode(&ml_kem_m),
            "leader_nonce": hex::encode(&leader_nonce),
            "leader_ed25519": hex::encode(&leader_ed25519),
        },
        "m1": hex::encode(&m1),
        "m2": hex::encode(&m2),
        "m3": hex::encode(&m3),
        "m4": hex::encode(&proved.reply),
        "premaster": hex::encode(premaster.as_bytes()),
        "x25519": hex::encode(shared.x25519),
        "ml_kem": hex::encode(shared.ml_kem),
        "th": hex::encode(th),
        "confirm_joiner": expand(LABEL_CONFIRM_JOINER, 32),
        "confirm_leader": expand(LABEL_CONFIRM_LEADER, 32),
        "to_leader": expand(LABEL_TO_LEADER, suite.key_length()),
        "to_member": expand(LABEL_TO_MEMBER, suite.key_length()),
        "chain": expand(LABEL_CHAIN, 32),
        "pairwise": pairwise(&mut member_end, &mut leader_end),
        "wraps": wraps(leader_end, member_end),
    })
}

fn pairwise(member: &mut Pairwise, leader: &mut Pairwise) -> Vec<Value> {
    let mut out = Vec::new();
    for (from, kind, plaintext) in [
        ("member", 1u8, &b""[..]),
        ("leader", 1, b"the same counter, the other direction"),
        ("member", 200, &[0x5a; 1_000]),
        ("leader", 255, b"x"),
    ] {
        let (sender, receiver) =
            if from == "member" { (&mut *member, &mut *leader) } else { (&mut *leader, &mut *member) };
        let packet = sender.seal(kind, plaintext);
        assert_eq!(receiver.open(&packet), Ok((kind, plaintext.to_vec())));
        out.push(json!({
            "from": from, "type": kind, "plaintext": hex::encode(plaintext), "packet": hex::encode(packet),
        }));
    }
    out
}

fn wraps(mut leader: Pairwise, mut member: Pairwise) -> Vec<Value> {
    let epoch = |count| EpochId { term: 0, leader: number(1), count };
    let mut out = Vec::new();
    for count in 1..=4u32 {
        let secret: [u8; 32] = bytes(&format!("group secret {count}"), 32).try_into().unwrap();
        let step = leader.chain().step();
        let kek = leader.chain().kek(epoch(count), number(2));
        let wrapped = kek.wrap(&secret);
        leader.chain_mut().advance();
        // The member misses the second: its chain catches up.
        if count != 2 {
            let opened =
                member.chain().kek_at(step, epoch(count), number(2)).unwrap().unwrap(&wrapped).unwrap();
            assert_eq!(*opened, secret);
            assert!(member.chain_mut().advance_past(step));
        }
        out.push(json!({
            "step": step, "epoch": format!("{:016x}", epoch(count).to_u64()), "number": 2,
            "kek": hex::encode(kek.expose()), "secret": hex::encode(secret), "wrapped": hex::encode(wrapped),
        }));
    }
    out
}

/// \[HSK-2\] \[HSK-3\] \[HSK-4\] \[HSK-5\] \[HSK-6\] \[HSK-7\] \[SUI-2\] \[SUI-3\] \[SRP-1\] \[PWM-1\] \[PWM-3\]: every byte as the file has it.
#[test]
fn handshakes_are_those_of_the_file() {
    let made = json!({
        "about": "Whole MPSL handshakes from given randomness; check with check_mpsl.py. All bytes in hexadecimal.",
        "handshakes": Suite::ALL.map(handshake),
    });
    if std::env::var_os("SEALCAST_WRITE_VECTORS").is_some() {
        std::fs::write(PATH, format!("{}\n", serde_json::to_string_pretty(&made).unwrap())).unwrap();
    }
    let file: Value = serde_json::from_str(&std::fs::read_to_string(PATH).unwrap()).unwrap();
    assert!(made == file, "the handshake no longer makes the bytes of {PATH}");
}
