//! The handshake from outside: what it gives, and everything that it must refuse.

use proto_spec::SessionId;
use proto_spec::mpsl::handshake::{KEM_KEY_LENGTH, M1, Message, Proof, SRP_LENGTH};
use proto_spec::{SessionNumber, Wire};
use sealcast_mpsl::handshake::{
    HandshakeError, Joiner, JoinerSetup, JoinerStep, Leader, LeaderEvent, LeaderStep, ProofBudget,
};
use sealcast_mpsl::limits::{
    CODE_GUESSES_MAX, CODE_LIFETIME, CODES_OPEN_MAX, HANDSHAKE_TIMEOUT, HANDSHAKES_OPEN_MAX,
    JOINER_PROOFS_MAX,
};
use sealcast_mpsl::srp::SrpError;
use sealcast_mpsl::{JoinCode, Role, Suite};

use crate::common::*;

const SUITE: Suite = Suite::Modern;

/// Another code for the same number.
fn wrong(code: &JoinCode) -> JoinCode {
    let words =
        ["able", "acid"].map(|word| format!("{} {word} {word} {word}", code.number).parse::<JoinCode>());
    words.into_iter().map(Result::unwrap).find(|other| other != code).unwrap()
}

fn is_err<T: std::fmt::Debug>(result: Result<T, HandshakeError>, expected: HandshakeError) {
    assert_eq!(result.map(|_| ()), Err(expected));
}

fn events(leader: &mut Leader) -> Vec<LeaderEvent> {
    std::iter::from_fn(|| leader.poll_event()).collect()
}

/// A joiner of this number guesses; what the leader says to its M3.
fn guess(leader: &mut Leader, from: u16, code: &JoinCode, seed: u64) -> Result<LeaderStep, HandshakeError> {
    let mut rng = rng(seed);
    let (mut joiner, m1) = joiner(SUITE, from, code, &mut rng);
    let LeaderStep::Reply(m2) = leader.handle(at_ms(0), number(from), &m1, &mut rng, &none_taken)? else {
        panic!("M1 proves nothing")
    };
    let m3 = prove(&mut joiner, &m2);
    leader.handle(at_ms(0), number(from), &m3, &mut rng, &none_taken)
}

/// \[HSK-5\] \[HSK-6\] \[HSK-7\] \[COD-3\]: both ends of both suites agree, know each other's key and name, and can talk.
#[test]
fn handshake_gives_both_ends_the_same_keys() {
    for suite in Suite::ALL {
        let (mut proved, mut established) = whole_handshake(suite, &mut rng(1));
        assert_eq!(proved.number, number(2));
        assert_eq!(proved.role, Role::Customer);
        assert_eq!(proved.display_name, "Joiner 2");
        assert_eq!(proved.member_key, established.member_key.public());
        assert_eq!(established.leader, number(1));
        assert_eq!(established.leader_name, "Ada");
        assert_eq!(proved.pairwise.transcript(), established.pairwise.transcript());
        let packet = established.pairwise.seal(3, b"up");
        assert_eq!(proved.pairwise.open(&packet), Ok((3, b"up".to_vec())));
        let packet = proved.pairwise.seal(4, b"down");
        assert_eq!(established.pairwise.open(&packet), Ok((4, b"down".to_vec())));
    }
}

/// \[COD-4\]: no message holds the words, in any case or coding a search would find, and no state prints them.
#[test]
fn words_are_in_no_message() {
    let mut rng = rng(2);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let (mut joiner, m1) = joiner(SUITE, 2, &code, &mut rng);
    let m2 = answer(&mut leader, 2, &m1, &mut rng);
    let m3 = prove(&mut joiner, &m2);
    let proved = proved(&mut leader, 2, &m3, &mut rng);
    let mut said = [m1, m2, m3, proved.reply.clone()].concat();
    said.extend(format!("{leader:?} {joiner:?} {proved:?} {code:?}").bytes());
    for word in code.words.phrase().split('-') {
        assert!(!said.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes())));
    }
}

/// \[SRP-3\]: A of 0, N, above N, short, 385 bytes and empty.
#[test]
fn srp_a_out_of_range_is_refused() {
    let mut rng = rng(3);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let (_, m1) = joiner(SUITE, 2, &code, &mut rng);
    let head = m1.len() - SRP_LENGTH;
    let mut with =
        |a: &[u8]| leader.handle(at_ms(0), number(2), &[&m1[..head], a].concat(), &mut rng, &none_taken);
    for a in [[0; SRP_LENGTH], modulus(), plus_one(modulus()), [0xff; SRP_LENGTH]] {
        is_err(with(&a), HandshakeError::Srp(SrpError::OutOfRange));
    }
    for length in [0, 1, SRP_LENGTH - 1, SRP_LENGTH + 1] {
        assert!(matches!(with(&vec![1; length]), Err(HandshakeError::Malformed(_))), "{length} bytes");
    }
    // 2N, which has 385 bytes.
    assert!(matches!(with(&doubled(modulus())), Err(HandshakeError::Malformed(_))));
    assert!(matches!(with(&m1[head..]), Ok(LeaderStep::Reply(_))), "the leader still answers a good one");
}

/// \[SRP-3\]: B of 0, N, above N, short, 385 bytes and empty.
#[test]
fn srp_b_out_of_range_is_refused() {
    let mut rng = rng(4);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let (_, first) = joiner(SUITE, 2, &code, &mut rng);
    let m2 = answer(&mut leader, 2, &first, &mut rng);
    let head = m2.len() - SRP_LENGTH;
    let mut with = |b: &[u8]| {
        let (mut joiner, _) = joiner(SUITE, 2, &code, &mut rng);
        let mut budget = ProofBudget::new();
        let result = joiner.handle(at_ms(0), number(1), &[&m2[..head], b].concat(), &mut budget);
        assert_eq!(budget, ProofBudget::new(), "no proof was made");
        result
    };
    for b in [[0; SRP_LENGTH], modulus(), plus_one(modulus()), [0xff; SRP_LENGTH]] {
        is_err(with(&b), HandshakeError::Srp(SrpError::OutOfRange));
    }
    for length in [0, 1, SRP_LENGTH - 1, SRP_LENGTH + 1] {
        assert!(matches!(with(&vec![1; length]), Err(HandshakeError::Malformed(_))), "{length} bytes");
    }
    assert!(matches!(with(&doubled(modulus())), Err(HandshakeError::Malformed(_))));
}

fn modulus() -> [u8; SRP_LENGTH] {
    use srp::groups::{G3072, Group};
    G3072::generator().params().modulus().to_be_bytes().as_ref().try_into().unwrap()
}

fn plus_one(mut value: [u8; SRP_LENGTH]) -> [u8; SRP_LENGTH] {
    let place = value.iter().rposition(|byte| *byte != 0xff).unwrap();
    value[place] += 1;
    value[place + 1..].fill(0);
    value
}

fn doubled(value: [u8; SRP_LENGTH]) -> Vec<u8> {
    let shifted = (0..SRP_LENGTH).map(|at| (value[at] << 1) | value.get(at + 1).map_or(0, |next| next >> 7));
    std::iter::once(value[0] >> 7).chain(shifted).collect()
}

/// \[SRP-3\]: a joiner whose ML-KEM or X25519 key must be refused.
#[test]
fn unacceptable_ephemeral_keys_are_refused() {
    let mut rng = rng(5);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let (_, m1) = joiner(SUITE, 2, &code, &mut rng);
    let mut altered = |change: &dyn Fn(&mut M1)| {
        let Ok(Message::M1(mut message)) = Message::from_bytes(&m1) else { panic!("M1 decodes") };
        change(&mut message);
        leader.handle(at_ms(0), number(2), &Message::M1(message).to_bytes(), &mut rng, &none_taken)
    };
    assert!(matches!(altered(&|m1| m1.x25519 = [0; 32]), Err(HandshakeError::Kem(_))));
    assert!(matches!(altered(&|m1| m1.kem_key = [0xff; KEM_KEY_LENGTH]), Err(HandshakeError::Kem(_))));
    assert!(altered(&|_| {}).is_ok());
}

/// \[HSK-9\]: every message sent back to its sender, or to the wrong side.
#[test]
fn reflected_messages_are_refused() {
    let mut rng = rng(6);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let (mut first, m1) = joiner(SUITE, 2, &code, &mut rng);
    is_err(first.handle(at_ms(0), number(1), &m1, &mut ProofBudget::new()), HandshakeError::OutOfOrder);
    // The reflection ended it: the real answer comes too late.
    let m2 = answer(&mut leader, 2, &m1, &mut rng);
    is_err(first.handle(at_ms(0), number(1), &m2, &mut ProofBudget::new()), HandshakeError::OutOfOrder);
    is_err(leader.handle(at_ms(0), number(2), &m2, &mut rng, &none_taken), HandshakeError::OutOfOrder);

    let (mut second, m1) = joiner(SUITE, 2, &code, &mut rng);
    let m2 = answer(&mut leader, 2, &m1, &mut rng);
    let m3 = prove(&mut second, &m2);
    is_err(second.handle(at_ms(0), number(1), &m3, &mut ProofBudget::new()), HandshakeError::OutOfOrder);
    let proved = proved(&mut leader, 2, &m3, &mut rng);
    is_err(
        leader.handle(at_ms(0), number(2), &proved.reply, &mut rng, &none_taken),
        HandshakeError::OutOfOrder,
    );
}

/// \[HSK-2\] \[HSK-7\]: roles swapped: a joiner's proof offered as the leader's, and numbers exchanged.
#[test]
fn role_swap_is_refused() {
    let mut rng = rng(7);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let (mut joining, m1) = joiner(SUITE, 2, &code, &mut rng);
    let m2 = answer(&mut leader, 2, &m1, &mut rng);
    let Ok(Message::M3(proof)) = Message::from_bytes(&prove(&mut joining, &m2)) else { panic!("M3 decodes") };
    let mut budget = ProofBudget::new();
    let swapped = Message::M4(proof).to_bytes();
    is_err(joining.handle(at_ms(0), number(1), &swapped, &mut budget), HandshakeError::WrongProof);

    for (joiner, leader_number, from) in [(1, 2, 1), (1, 2, 2), (1, 1, 1), (2, 3, 2), (3, 1, 2)] {
        let setup = JoinerSetup { leader: number(leader_number), ..joiner_setup(SUITE, joiner) };
        let (_, m1) = Joiner::start(at_ms(0), setup, &code, ProofBudget::new(), &mut rng).unwrap();
        let (mut leader, _) = leader_with_code(SUITE, &mut rng);
        is_err(
            leader.handle(at_ms(0), number(from), &m1, &mut rng, &none_taken),
            HandshakeError::Misaddressed,
        );
    }
}

/// \[HSK-2\] \[SUI-1\]: messages of another session, suite or version, and parts of other handshakes of the same code.
#[test]
fn spliced_messages_are_refused() {
    let mut rng = rng(8);
    let (mut leading, code) = leader_with_code(SUITE, &mut rng);
    let mut handle = |leader: &mut Leader, from, packet: &[u8]| {
        leader.handle(at_ms(0), number(from), packet, &mut rng, &none_taken)
    };
    let mut other_rng = rng_of_tests();
    let setup = JoinerSetup { session: SessionId([1; 16]), ..joiner_setup(SUITE, 2) };
    let (_, m1) = Joiner::start(at_ms(0), setup, &code, ProofBudget::new(), &mut other_rng).unwrap();
    is_err(handle(&mut leading, 2, &m1), HandshakeError::Misaddressed);

    let (_, m1) = joiner(Suite::Classic, 2, &code, &mut other_rng);
    is_err(handle(&mut leading, 2, &m1), HandshakeError::Suite { theirs: 2, ours: 1 });

    let (_, mut m1) = joiner(SUITE, 2, &code, &mut other_rng);
    m1[2] = 2;
    is_err(handle(&mut leading, 2, &m1), HandshakeError::Version { theirs: 2, ours: 1 });

    // The suite byte rewritten on the way: the leader answers, but the two transcripts differ.
    let (mut classic, mut m1) = joiner(Suite::Classic, 2, &code, &mut other_rng);
    m1[3] = 1;
    let Ok(LeaderStep::Reply(m2)) = handle(&mut leading, 2, &m1) else { panic!("M1 is answered") };
    let m3 = prove(&mut classic, &m2);
    is_err(handle(&mut leading, 2, &m3), HandshakeError::WrongProof);

    // M2 and M3 of two handshakes under one code exchanged.
    let (mut second, second_m1) = joiner(SUITE, 2, &code, &mut other_rng);
    let (mut third, third_m1) = joiner(SUITE, 3, &code, &mut other_rng);
    let Ok(LeaderStep::Reply(second_m2)) = handle(&mut leading, 2, &second_m1) else { panic!("answered") };
    let Ok(LeaderStep::Reply(third_m2)) = handle(&mut leading, 3, &third_m1) else { panic!("answered") };
    assert_ne!(second_m2, third_m2);
    let m3 = prove(&mut second, &third_m2);
    is_err(handle(&mut leading, 2, &m3), HandshakeError::WrongProof);
    let Ok(LeaderStep::Reply(_)) = handle(&mut leading, 2, &second_m1) else { panic!("answered") };
    let m3 = prove(&mut third, &third_m2);
    is_err(handle(&mut leading, 2, &m3), HandshakeError::WrongProof);

    // M4 of another handshake.
    let Ok(LeaderStep::Proved(proved)) = handle(&mut leading, 3, &m3) else { panic!("proves") };
    let (mut other_leader, other_code) = leader_with_code(SUITE, &mut other_rng);
    let (mut other, m1) = joiner(SUITE, 3, &other_code, &mut other_rng);
    let m2 = answer(&mut other_leader, 3, &m1, &mut other_rng);
    prove(&mut other, &m2);
    let mut budget = ProofBudget::new();
    is_err(other.handle(at_ms(0), number(1), &proved.reply, &mut budget), HandshakeError::WrongProof);
}

fn rng_of_tests() -> rand_chacha::ChaCha20Rng {
    rng(88)
}

/// \[HSK-4\]: one bit flipped in M1 or M2 on the way, in every 29th byte and so in every field; `transcript.rs` proves
/// for every byte of both that the proofs depend on it.
#[test]
fn altered_m1_or_m2_never_establishes() {
    let mut rng = rng(9);
    let mut flip = |in_m1: Option<usize>, in_m2: Option<usize>| -> Result<(), HandshakeError> {
        let (mut leader, code) = leader_with_code(SUITE, &mut rng);
        let (mut joiner, mut m1) = joiner(SUITE, 2, &code, &mut rng);
        in_m1.into_iter().for_each(|at| m1[at] ^= 0x10);
        let LeaderStep::Reply(mut m2) = leader.handle(at_ms(0), number(2), &m1, &mut rng, &none_taken)?
        else {
            panic!("M1 proves nothing")
        };
        in_m2.into_iter().for_each(|at| m2[at] ^= 0x10);
        let JoinerStep::Reply(m3) = joiner.handle(at_ms(0), number(1), &m2, &mut ProofBudget::new())? else {
            panic!("M2 establishes nothing")
        };
        leader.handle(at_ms(0), number(2), &m3, &mut rng, &none_taken).map(|_| ())
    };
    assert_eq!(flip(None, None), Ok(()));
    // Lengths of M1 and M2 by their clauses.
    for at in (0..1_692).step_by(29).chain([1_691]) {
        assert!(flip(Some(at), None).is_err(), "byte {at} of M1");
    }
    for at in (0..1_602).step_by(29).chain([1_601]) {
        assert!(flip(None, Some(at)).is_err(), "byte {at} of M2");
    }
}

/// \[HSK-6\] \[HSK-7\]: any altered byte of M3 and M4.
#[test]
fn altered_m3_or_m4_never_establishes() {
    let mut rng = rng(10);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let (mut joining, m1) = joiner(SUITE, 2, &code, &mut rng);
    let m2 = answer(&mut leader, 2, &m1, &mut rng);
    let m3 = prove(&mut joining, &m2);
    for at in (0..m3.len()).step_by(7).chain([m3.len() - 1]) {
        let (mut leader, code) = leader_with_code(SUITE, &mut rng);
        let (mut joiner, m1) = joiner(SUITE, 2, &code, &mut rng);
        let m2 = answer(&mut leader, 2, &m1, &mut rng);
        let mut m3 = prove(&mut joiner, &m2);
        m3[at] ^= 1;
        assert!(leader.handle(at_ms(0), number(2), &m3, &mut rng, &none_taken).is_err(), "byte {at} of M3");

        let (mut leader, code) = leader_with_code(SUITE, &mut rng);
        let (mut joiner, m1) = crate::common::joiner(SUITE, 2, &code, &mut rng);
        let m2 = answer(&mut leader, 2, &m1, &mut rng);
        let m3 = prove(&mut joiner, &m2);
        let mut m4 = proved(&mut leader, 2, &m3, &mut rng).reply;
        let at = at.min(m4.len() - 1);
        m4[at] ^= 1;
        let result = joiner.handle(at_ms(0), number(1), &m4, &mut ProofBudget::new());
        assert!(result.is_err(), "byte {at} of M4");
    }
}

/// \[HSK-9\] \[HSK-10\]: proofs before their time, after it, and twice.
#[test]
fn proofs_early_late_and_twice() {
    let mut rng = rng(11);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let forged = Message::M3(Proof { proof: [1; 32], sealed: vec![1; 100] }).to_bytes();
    // Early: no M1 yet. No guess is counted.
    is_err(leader.handle(at_ms(0), number(2), &forged, &mut rng, &none_taken), HandshakeError::OutOfOrder);
    assert_eq!(events(&mut leader), []);
    let (mut early, _) = joiner(SUITE, 2, &code, &mut rng);
    let m4 = Message::M4(Proof { proof: [1; 32], sealed: vec![1; 100] }).to_bytes();
    is_err(early.handle(at_ms(0), number(1), &m4, &mut ProofBudget::new()), HandshakeError::OutOfOrder);

    // Late: at the limit and just before it.
    let limit_ms = HANDSHAKE_TIMEOUT.as_millis() as u64;
    let (mut late, m1) = joiner(SUITE, 2, &code, &mut rng);
    let m2 = answer(&mut leader, 2, &m1, &mut rng);
    assert_eq!(leader.poll_timeout(), Some(at_ms(limit_ms).mono));
    let m3 = prove(&mut late, &m2);
    let result = leader.handle(at_ms(limit_ms), number(2), &m3, &mut rng, &none_taken);
    is_err(result, HandshakeError::OutOfOrder);
    assert_eq!(events(&mut leader), []);
    is_err(late.handle(at_ms(limit_ms), number(1), &m4, &mut ProofBudget::new()), HandshakeError::TimedOut);
    let (mut intime, m1) = joiner(SUITE, 2, &code, &mut rng);
    let m2 = answer(&mut leader, 2, &m1, &mut rng);
    let m3 = prove(&mut intime, &m2);
    let step = leader.handle(at_ms(limit_ms - 1), number(2), &m3, &mut rng, &none_taken);
    let Ok(LeaderStep::Proved(proved)) = step else { panic!("in time, not {step:?}") };

    // Twice: the same bytes get the same answer and admit nobody again; others are refused.
    let again = leader.handle(at_ms(limit_ms), number(2), &m3, &mut rng, &none_taken);
    assert!(matches!(again, Ok(LeaderStep::Reply(reply)) if reply == proved.reply));
    is_err(
        leader.handle(at_ms(limit_ms), number(2), &forged, &mut rng, &none_taken),
        HandshakeError::OutOfOrder,
    );
    established(&mut intime, &proved.reply);
    let again = intime.handle(at_ms(0), number(1), &proved.reply, &mut ProofBudget::new());
    is_err(again, HandshakeError::OutOfOrder);
}

/// \[HSK-11\]: a wrong proof twice is one guess; the handshake is over after the first.
#[test]
fn repeated_wrong_proof_is_one_guess() {
    let mut rng = rng(12);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let (mut guessing, m1) = joiner(SUITE, 2, &wrong(&code), &mut rng);
    let m2 = answer(&mut leader, 2, &m1, &mut rng);
    let m3 = prove(&mut guessing, &m2);
    is_err(leader.handle(at_ms(0), number(2), &m3, &mut rng, &none_taken), HandshakeError::WrongProof);
    is_err(leader.handle(at_ms(0), number(2), &m3, &mut rng, &none_taken), HandshakeError::OutOfOrder);
    let left = CODE_GUESSES_MAX - 1;
    let expected = LeaderEvent::GuessFailed { code: code.number, from: number(2), left };
    assert_eq!(events(&mut leader), [expected]);
}

/// \[HSK-9\]: one M2 per M1 and one M3 per M2: repeats get the same bytes, a second one ends the handshake.
#[test]
fn two_m2_for_one_m1() {
    let mut rng = rng(13);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let (mut joining, m1) = joiner(SUITE, 2, &code, &mut rng);
    assert_eq!(joining.pending(), Some(&m1[..]));
    let m2 = answer(&mut leader, 2, &m1, &mut rng);
    assert_eq!(answer(&mut leader, 2, &m1, &mut rng), m2);
    let mut budget = ProofBudget::new();
    let Ok(JoinerStep::Reply(m3)) = joining.handle(at_ms(0), number(1), &m2, &mut budget) else {
        panic!("M3")
    };
    let Ok(JoinerStep::Reply(again)) = joining.handle(at_ms(0), number(1), &m2, &mut budget) else {
        panic!("M3")
    };
    assert_eq!(m3, again);
    assert_eq!(joining.pending(), Some(&m3[..]));
    assert_eq!(budget.left(), JOINER_PROOFS_MAX - 1, "a repeat is no further proof");
    // Another M2, as good as the first: from a second leader with the same code's M1.
    let (mut other_leader, _) = leader_with_code(SUITE, &mut rng);
    let other_m2 = answer(&mut other_leader, 2, &m1, &mut rng);
    is_err(joining.handle(at_ms(0), number(1), &other_m2, &mut budget), HandshakeError::OutOfOrder);
    assert_eq!(joining.pending(), None);
    // Another M1 of the same number while the first waits ends the first; the next one begins anew.
    let (_, other_m1) = joiner(SUITE, 2, &code, &mut rng);
    is_err(leader.handle(at_ms(0), number(2), &other_m1, &mut rng, &none_taken), HandshakeError::OutOfOrder);
    is_err(leader.handle(at_ms(0), number(2), &m3, &mut rng, &none_taken), HandshakeError::OutOfOrder);
    answer(&mut leader, 2, &other_m1, &mut rng);
}

/// \[HSK-11\] \[COD-3\]: the sixth guess with the right code, after five wrong ones that the leader saw each.
#[test]
fn sixth_guess_with_the_right_code_is_refused() {
    let (mut leader, code) = leader_with_code(SUITE, &mut rng(14));
    for made in 1..=CODE_GUESSES_MAX {
        let from = 1 + u16::from(made);
        is_err(guess(&mut leader, from, &wrong(&code), u64::from(made)), HandshakeError::WrongProof);
        let left = CODE_GUESSES_MAX - made;
        let expected = LeaderEvent::GuessFailed { code: code.number, from: number(from), left };
        assert_eq!(events(&mut leader), [expected]);
    }
    is_err(guess(&mut leader, 9, &code, 99), HandshakeError::NoSuchCode);
    assert_eq!(leader.open_codes().count(), 0);
    // The fifth guess with the right code would have been good.
    let (mut leader, code) = leader_with_code(SUITE, &mut rng(15));
    for made in 1..CODE_GUESSES_MAX {
        assert!(guess(&mut leader, 2, &wrong(&code), u64::from(made)).is_err());
    }
    assert!(matches!(guess(&mut leader, 2, &code, 50), Ok(LeaderStep::Proved(_))));
}

/// \[HSK-11\]: guesses that run side by side share the five, and those still open when a code burns are over.
#[test]
fn guesses_side_by_side_share_one_count() {
    let mut rng = rng(16);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let mut waiting = Vec::new();
    for from in 2..2 + HANDSHAKES_OPEN_MAX as u16 {
        let last = usize::from(from) == 1 + HANDSHAKES_OPEN_MAX;
        let guessed = if last { code.clone() } else { wrong(&code) };
        let (mut joiner, m1) = joiner(SUITE, from, &guessed, &mut rng);
        let m2 = answer(&mut leader, from, &m1, &mut rng);
        waiting.push((from, prove(&mut joiner, &m2)));
    }
    for (at, (from, m3)) in waiting.iter().enumerate() {
        let result = leader.handle(at_ms(0), number(*from), m3, &mut rng, &none_taken);
        let counted = at < usize::from(CODE_GUESSES_MAX);
        is_err(result, if counted { HandshakeError::WrongProof } else { HandshakeError::OutOfOrder });
    }
    assert_eq!(events(&mut leader).len(), usize::from(CODE_GUESSES_MAX));
}

/// \[HSK-11\]: what is malformed is no guess.
#[test]
fn malformed_proofs_are_no_guesses() {
    let mut rng = rng(17);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let (mut joining, m1) = joiner(SUITE, 2, &code, &mut rng);
    let m2 = answer(&mut leader, 2, &m1, &mut rng);
    let m3 = prove(&mut joining, &m2);
    for length in 0..m3.len() {
        answer(&mut leader, 2, &m1, &mut rng);
        let result = leader.handle(at_ms(0), number(2), &m3[..length], &mut rng, &none_taken);
        assert!(matches!(result, Err(HandshakeError::Malformed(_))), "{length} bytes");
        if length > 3 {
            continue;
        }
        // It ended the handshake all the same.
        is_err(leader.handle(at_ms(0), number(2), &m3, &mut rng, &none_taken), HandshakeError::OutOfOrder);
    }
    assert_eq!(events(&mut leader), []);
    assert_eq!(leader.open_codes().next(), Some((code.number, CODE_GUESSES_MAX)));
}

/// \[COD-3\]: a used code again, by another joiner and by the same.
#[test]
fn used_code_again_is_refused() {
    let mut rng = rng(18);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    // A second joiner is under way when the first proves.
    let (mut second, second_m1) = joiner(SUITE, 3, &code, &mut rng);
    let second_m2 = answer(&mut leader, 3, &second_m1, &mut rng);
    assert!(matches!(guess(&mut leader, 2, &code, 1), Ok(LeaderStep::Proved(_))));
    assert_eq!(events(&mut leader), [LeaderEvent::CodeSpent { code: code.number }]);
    let m3 = prove(&mut second, &second_m2);
    is_err(leader.handle(at_ms(0), number(3), &m3, &mut rng, &none_taken), HandshakeError::OutOfOrder);
    is_err(guess(&mut leader, 4, &code, 2), HandshakeError::NoSuchCode);
    // The next code for the number has other words and another salt.
    let next = leader.open_code(at_ms(0), code.number, Role::Provider, &mut rng).unwrap();
    assert_ne!(next, code);
    is_err(guess(&mut leader, 4, &code, 3), HandshakeError::WrongProof);
    let Ok(LeaderStep::Proved(proved)) = guess(&mut leader, 5, &next, 4) else {
        panic!("the new code is good")
    };
    assert_eq!(proved.role, Role::Provider);
}

/// \[COD-3\]: codes that expired, were closed, or fell with all others; several open at once do not touch each other.
#[test]
fn codes_end_by_time_and_by_hand() {
    let mut rng = rng(19);
    let mut leading = leader(SUITE, SESSION, &mut rng);
    let codes: Vec<JoinCode> = (0..CODES_OPEN_MAX as u32)
        .map(|at| {
            let number = SessionNumber::new(CODE + at).unwrap();
            leading.open_code(at_ms(0), number, Role::Customer, &mut rng).unwrap()
        })
        .collect();
    let more = SessionNumber::new(CODE + 100).unwrap();
    assert!(leading.open_code(at_ms(0), more, Role::Customer, &mut rng).is_err());
    assert!(matches!(guess(&mut leading, 2, &codes[0], 1), Ok(LeaderStep::Proved(_))));
    assert!(leading.close_code(codes[1].number));
    assert!(!leading.close_code(codes[1].number));
    is_err(guess(&mut leading, 3, &codes[1], 2), HandshakeError::NoSuchCode);

    let lifetime_ms = CODE_LIFETIME.as_millis() as u64;
    events(&mut leading);
    leading.handle_timeout(at_ms(lifetime_ms - 1));
    assert_eq!(leading.open_codes().count(), CODES_OPEN_MAX - 2);
    assert_eq!(leading.poll_timeout(), Some(at_ms(lifetime_ms).mono));
    leading.handle_timeout(at_ms(lifetime_ms));
    assert_eq!(leading.open_codes().count(), 0);
    assert_eq!(events(&mut leading).len(), CODES_OPEN_MAX - 2);
    assert_eq!(leading.poll_timeout(), None);

    // A removal or a change of leader.
    let code = leading.open_code(at_ms(0), more, Role::Customer, &mut rng).unwrap();
    let (mut under_way, m1) = joiner(SUITE, 7, &code, &mut rng);
    let m2 = answer(&mut leading, 7, &m1, &mut rng);
    leading.close_all();
    let m3 = prove(&mut under_way, &m2);
    is_err(leading.handle(at_ms(0), number(7), &m3, &mut rng, &none_taken), HandshakeError::OutOfOrder);
    is_err(guess(&mut leading, 8, &code, 3), HandshakeError::NoSuchCode);
}

/// \[HSK-10\]: the ninth handshake takes the place of the oldest that has no proof.
#[test]
fn oldest_handshake_gives_way() {
    let mut rng = rng(20);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let mut begin = |from: u16, ms| {
        let (joiner, m1) = joiner(SUITE, from, &code, &mut rng);
        let step = leader.handle(at_ms(ms), number(from), &m1, &mut rng, &none_taken);
        let Ok(LeaderStep::Reply(m2)) = step else { panic!("M1 is answered") };
        (from, joiner, m2)
    };
    let mut open: Vec<_> =
        (0..=HANDSHAKES_OPEN_MAX as u16).map(|at| begin(100 - at, u64::from(at))).collect();
    let (from, mut oldest, m2) = open.remove(0);
    let m3 = prove(&mut oldest, &m2);
    is_err(leader.handle(at_ms(9), number(from), &m3, &mut rng, &none_taken), HandshakeError::OutOfOrder);
    let (from, mut next, m2) = open.remove(0);
    let m3 = prove(&mut next, &m2);
    let step = leader.handle(at_ms(9), number(from), &m3, &mut rng, &none_taken);
    assert!(matches!(step, Ok(LeaderStep::Proved(_))));
}

/// \[HSK-13\]: a number or key that is in the roster, when it comes and when it came in between.
#[test]
fn number_or_key_in_the_roster_is_refused() {
    let mut rng = rng(21);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let (_, m1) = joiner(SUITE, 2, &code, &mut rng);
    let Ok(Message::M1(message)) = Message::from_bytes(&m1) else { panic!("M1 decodes") };
    let number_taken = |other, _: &_| other == number(2);
    let key_taken = |_, key: &_| *key == message.member_key;
    is_err(leader.handle(at_ms(0), number(2), &m1, &mut rng, &number_taken), HandshakeError::AlreadyMember);
    is_err(leader.handle(at_ms(0), number(2), &m1, &mut rng, &key_taken), HandshakeError::AlreadyMember);
    // The leader's own key, seen in an M2.
    let m2 = answer(&mut leader, 2, &m1, &mut rng);
    let Ok(Message::M2(m2)) = Message::from_bytes(&m2) else { panic!("M2 decodes") };
    let own = Message::M1(Box::new(M1 { member_key: m2.member_key, joiner: number(3), ..*message }));
    let result = leader.handle(at_ms(0), number(3), &own.to_bytes(), &mut rng, &none_taken);
    is_err(result, HandshakeError::AlreadyMember);

    // Taken between M1 and M3: the proof was right, so the code is spent, but nobody is let in.
    let (mut joining, m1) = joiner(SUITE, 4, &code, &mut rng);
    let m2 = answer(&mut leader, 4, &m1, &mut rng);
    let m3 = prove(&mut joining, &m2);
    let result = leader.handle(at_ms(0), number(4), &m3, &mut rng, &|other, _| other == number(4));
    is_err(result, HandshakeError::AlreadyMember);
    assert_eq!(leader.open_codes().count(), 0);
}

/// \[HSK-12\]: three proofs for one typed code, over reconnects; a valid M4 gives them back.
#[test]
fn joiner_stops_after_three_proofs_for_one_code() {
    let mut rng = rng(22);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let typed = wrong(&code);
    let mut budget = ProofBudget::new();
    for used in 1..=JOINER_PROOFS_MAX {
        let setup = joiner_setup(SUITE, 1 + u16::from(used));
        let from = setup.number;
        let (mut joiner, m1) = Joiner::start(at_ms(0), setup, &typed, budget, &mut rng).unwrap();
        let m2 = answer(&mut leader, from.value(), &m1, &mut rng);
        let step = joiner.handle(at_ms(0), number(1), &m2, &mut budget);
        let Ok(JoinerStep::Reply(m3)) = step else { panic!("M2 is answered") };
        let refused = leader.handle(at_ms(0), from, &m3, &mut rng, &none_taken).unwrap_err();
        let failure = refused.reply().unwrap();
        is_err(joiner.handle(at_ms(0), number(1), failure, &mut budget), HandshakeError::Refused);
        assert_eq!(budget.left(), JOINER_PROOFS_MAX - used);
    }
    let result = Joiner::start(at_ms(0), joiner_setup(SUITE, 9), &typed, budget, &mut rng);
    is_err(result.map(|_| ()), HandshakeError::BudgetSpent);

    // Two handshakes begun with the last of the budget: only one gets a proof.
    let mut budget = ProofBudget::new();
    let mut start = |joiner| {
        let setup = joiner_setup(SUITE, joiner);
        Joiner::start(at_ms(0), setup, &code, budget, &mut rng).unwrap()
    };
    let mut begun: Vec<_> = (2..=5).map(&mut start).collect();
    for (at, (joiner, m1)) in begun.iter_mut().enumerate() {
        let m2 = answer(&mut leader, 2 + at as u16, m1, &mut rng_of_tests());
        let result = joiner.handle(at_ms(0), number(1), &m2, &mut budget);
        assert_eq!(result.is_ok(), at < usize::from(JOINER_PROOFS_MAX));
    }
    // The third is proved to: the budget is whole again.
    let m3 = begun[2].0.pending().unwrap().to_vec();
    let m4 = proved(&mut leader, 4, &m3, &mut rng_of_tests()).reply;
    let step = begun[2].0.handle(at_ms(0), number(1), &m4, &mut budget);
    assert!(matches!(step, Ok(JoinerStep::Established(_))));
    assert_eq!(budget, ProofBudget::new());
}

/// \[HSK-8\] \[HSK-12\]: somebody who answers without the code learns one guess and establishes nothing.
#[test]
fn leader_without_the_code_establishes_nothing() {
    let mut rng = rng(23);
    let (mut impostor, _) = leader_with_code(SUITE, &mut rng);
    let code: JoinCode = format!("{} zoo zoo zoo", code_number()).parse().unwrap();
    let (mut joining, m1) = joiner(SUITE, 2, &code, &mut rng);
    let m2 = answer(&mut impostor, 2, &m1, &mut rng);
    let mut budget = ProofBudget::new();
    assert!(joining.handle(at_ms(0), number(1), &m2, &mut budget).is_ok());
    let m4 = Message::M4(Proof { proof: [0; 32], sealed: vec![0; 100] }).to_bytes();
    is_err(joining.handle(at_ms(0), number(1), &m4, &mut budget), HandshakeError::WrongProof);
    assert_eq!(budget.left(), JOINER_PROOFS_MAX - 1);
}

/// \[HSK-8\] \[HSK-10\]: all refusals look alike to the other side; a stranger cannot end a joiner's handshake, silence
/// does.
#[test]
fn failures_say_nothing_and_strangers_change_nothing() {
    let mut rng = rng(24);
    let (mut leader, code) = leader_with_code(SUITE, &mut rng);
    let errors = [
        guess(&mut leader, 2, &wrong(&code), 1).unwrap_err(),
        leader.handle(at_ms(0), number(3), &[1, 9], &mut rng, &none_taken).unwrap_err(),
        leader.handle(at_ms(0), number(3), &[], &mut rng, &none_taken).unwrap_err(),
        {
            leader.close_all();
            guess(&mut leader, 2, &code, 2).unwrap_err()
        },
    ];
    assert!(errors.iter().all(|error| error.reply() == Some(&Message::FAILURE[..])), "{errors:?}");
    let gave_up = leader.handle(at_ms(0), number(2), &Message::FAILURE, &mut rng, &none_taken).unwrap_err();
    assert_eq!(gave_up.reply(), None, "a failure is not answered by a failure");

    let (mut joining, _) = joiner(SUITE, 2, &code, &mut rng);
    let mut budget = ProofBudget::new();
    let stranger = joining.handle(at_ms(0), number(7), &Message::FAILURE, &mut budget);
    is_err(stranger, HandshakeError::Misaddressed);
    assert!(joining.pending().is_some());
    let deadline = joining.poll_timeout().unwrap();
    assert_eq!(deadline, at_ms(HANDSHAKE_TIMEOUT.as_millis() as u64).mono);
    let late = at_ms(HANDSHAKE_TIMEOUT.as_millis() as u64);
    assert_eq!(joining.handle_timeout(at_ms(late.mono.0.as_millis() as u64 - 1)), Ok(()));
    assert_eq!(joining.handle_timeout(late), Err(HandshakeError::TimedOut));
    assert_eq!(joining.poll_timeout(), None);
}

/// \[HSK-6\]: names are cut and cleaned before they are sent.
#[test]
fn display_names_are_cleaned() {
    use proto_spec::mpsl::DISPLAY_NAME_MAX;
    use sealcast_mpsl::handshake::clean_display_name;
    assert_eq!(clean_display_name("  Ada\u{1b}[2J\u{7}\n "), "Ada[2J");
    assert_eq!(clean_display_name(&"x".repeat(DISPLAY_NAME_MAX + 1)).len(), DISPLAY_NAME_MAX);
    let wide = clean_display_name(&format!("x{}", "\u{1f980}".repeat(DISPLAY_NAME_MAX)));
    assert_eq!(wide.len(), DISPLAY_NAME_MAX - 3, "cut between characters");
    assert_eq!(clean_display_name(""), "");
}
