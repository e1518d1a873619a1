//! What the modules share: times, numbers, one leader with an open code, handshakes run to the end.

use std::time::Duration;

use proto_spec::{Now, SenderNumber, SessionId, SessionNumber, Timestamp, WallTime};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use sealcast_mpsl::handshake::{
    Established, Joiner, JoinerSetup, JoinerStep, Leader, LeaderSetup, LeaderStep, ProofBudget, Proved,
};
use sealcast_mpsl::{JoinCode, MemberKey, MemberPublicKey, Role, Suite};

pub(crate) const SESSION: SessionId = SessionId([0x5e; 16]);
pub(crate) const CODE: u32 = 483_920_117;

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// The moment so many milliseconds after the start.
pub(crate) fn at_ms(ms: u64) -> Now {
    Now { mono: Timestamp(Duration::from_millis(ms)), wall: WallTime(1_800_000_000_000 + ms) }
}

pub(crate) fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

pub(crate) fn code_number() -> SessionNumber {
    SessionNumber::new(CODE).unwrap()
}

/// No number and no key is a member's.
pub(crate) fn none_taken(_: SenderNumber, _: &MemberPublicKey) -> bool {
    false
}

pub(crate) fn leader(suite: Suite, session: SessionId, rng: &mut ChaCha20Rng) -> Leader {
    Leader::new(LeaderSetup {
        session,
        number: number(1),
        suite,
        member_key: MemberKey::generate(rng),
        display_name: "Ada".into(),
    })
}

/// A leader, number 1, with one open code.
pub(crate) fn leader_with_code(suite: Suite, rng: &mut ChaCha20Rng) -> (Leader, JoinCode) {
    let mut leader = leader(suite, SESSION, rng);
    let code = leader.open_code(at_ms(0), code_number(), Role::Customer, rng).unwrap();
    (leader, code)
}

pub(crate) fn joiner_setup(suite: Suite, joiner: u16) -> JoinerSetup {
    JoinerSetup {
        session: SESSION,
        number: number(joiner),
        leader: number(1),
        suite,
        display_name: format!("Joiner {joiner}"),
    }
}

/// A joiner that has just sent M1.
pub(crate) fn joiner(suite: Suite, joiner: u16, code: &JoinCode, rng: &mut ChaCha20Rng) -> (Joiner, Vec<u8>) {
    Joiner::start(at_ms(0), joiner_setup(suite, joiner), code, ProofBudget::new(), rng).unwrap()
}

/// M2 for M1.
pub(crate) fn answer(leader: &mut Leader, from: u16, m1: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
    match leader.handle(at_ms(0), number(from), m1, rng, &none_taken) {
        Ok(LeaderStep::Reply(m2)) => m2,
        other => panic!("M1 is answered, not {other:?}"),
    }
}

/// M3 for M2.
pub(crate) fn prove(joiner: &mut Joiner, m2: &[u8]) -> Vec<u8> {
    match joiner.handle(at_ms(0), number(1), m2, &mut ProofBudget::new()) {
        Ok(JoinerStep::Reply(m3)) => m3,
        other => panic!("M2 is answered, not {other:?}"),
    }
}

/// The leader's end for M3.
pub(crate) fn proved(leader: &mut Leader, from: u16, m3: &[u8], rng: &mut ChaCha20Rng) -> Proved {
    match leader.handle(at_ms(0), number(from), m3, rng, &none_taken) {
        Ok(LeaderStep::Proved(proved)) => *proved,
        other => panic!("M3 proves, not {other:?}"),
    }
}

/// The joiner's end for M4.
pub(crate) fn established(joiner: &mut Joiner, m4: &[u8]) -> Established {
    match joiner.handle(at_ms(0), number(1), m4, &mut ProofBudget::new()) {
        Ok(JoinerStep::Established(established)) => *established,
        other => panic!("M4 establishes, not {other:?}"),
    }
}

/// A whole handshake of joiner 2.
pub(crate) fn whole_handshake(suite: Suite, rng: &mut ChaCha20Rng) -> (Proved, Established) {
    let (mut leader, code) = leader_with_code(suite, rng);
    let (mut joiner, m1) = joiner(suite, 2, &code, rng);
    let m2 = answer(&mut leader, 2, &m1, rng);
    let m3 = prove(&mut joiner, &m2);
    let proved = proved(&mut leader, 2, &m3, rng);
    let established = established(&mut joiner, &proved.reply);
    (proved, established)
}
