//! Pairwise messages and the chain of wrapping keys, between the two ends of a real handshake.

use proto_spec::EpochId;
use proto_spec::mpsl::pairwise::{PLAINTEXT_MAX, PairwiseHeader};
use sealcast_mpsl::keys::CHAIN_STEPS_AHEAD_MAX;
use sealcast_mpsl::limits::PAIRWISE_WINDOW;
use sealcast_mpsl::pairwise::PairwiseError;
use sealcast_mpsl::{Pairwise, Suite};

use crate::common::*;

/// The leader's end and the member's.
fn ends(suite: Suite, seed: u64) -> (Pairwise, Pairwise) {
    let (proved, established) = whole_handshake(suite, &mut rng(seed));
    (proved.pairwise, established.pairwise)
}

/// \[PWM-2\]: messages that are lost do not stop those after them, repeats are refused.
#[test]
fn lost_messages_do_not_wedge_and_repeats_are_refused() {
    for suite in Suite::ALL {
        let (mut leader, mut member) = ends(suite, 1);
        let packets: Vec<_> = (1..=100u8).map(|at| leader.seal(at, &[at])).collect();
        for at in [1, 2, 50, 99] {
            assert_eq!(member.open(&packets[at - 1]), Ok((at as u8, vec![at as u8])));
            assert_eq!(member.open(&packets[at - 1]), Err(PairwiseError::Replayed));
        }
        assert_eq!(member.open(&packets[0]), Err(PairwiseError::Replayed));
    }
}

/// \[PWM-2\]: late messages to the window's edge and one beyond.
#[test]
fn reordering_to_the_edge_of_the_window() {
    let (mut leader, mut member) = ends(Suite::Modern, 2);
    let window = PAIRWISE_WINDOW as usize;
    let packets: Vec<_> = (0..3 * window).map(|_| leader.seal(1, b"")).collect();
    let newest = 2 * window;
    assert!(member.open(&packets[newest]).is_ok());
    assert_eq!(member.open(&packets[newest - window]), Err(PairwiseError::Replayed), "just beyond the edge");
    assert!(member.open(&packets[newest - window + 1]).is_ok(), "at the edge");
    assert_eq!(member.open(&packets[newest - window + 1]), Err(PairwiseError::Replayed));
    assert!(member.open(&packets[newest - 1]).is_ok());
    assert!(member.open(&packets[newest + 1]).is_ok());
    assert_eq!(member.open(&packets[newest - window + 1]), Err(PairwiseError::Replayed));
    assert!(member.open(&packets[newest - window + 2]).is_ok());
    // A jump by a whole window and more forgets nothing that it still covers.
    let mut last = (0..window).map(|_| leader.seal(1, b"")).next_back().unwrap();
    assert!(member.open(&last).is_ok());
    assert_eq!(member.open(&last), Err(PairwiseError::Replayed));
    last[9] ^= 1;
    assert!(matches!(member.open(&last), Err(PairwiseError::Sealed(_))));
}

/// \[PWM-1\]: a message sent back to its sender, to another pair, or under another type does not open, nor does one
/// altered or cut in any byte; and none of them moves the window.
#[test]
fn foreign_altered_and_reflected_messages_stay_shut() {
    for suite in Suite::ALL {
        let (mut leader, mut member) = ends(suite, 3);
        let (mut other_leader, mut other_member) = ends(suite, 4);
        let packet = leader.seal(7, b"message");
        assert!(matches!(leader.open(&packet), Err(PairwiseError::Sealed(_))), "reflected");
        assert!(matches!(other_member.open(&packet), Err(PairwiseError::Sealed(_))), "another pair");
        assert!(matches!(other_leader.open(&packet), Err(PairwiseError::Sealed(_))), "another pair");
        for at in 0..packet.len() {
            let mut altered = packet.clone();
            altered[at] ^= 1;
            assert!(member.open(&altered).is_err(), "byte {at}");
        }
        // A counter far ahead, forged: had it moved the window, the real message would be too old.
        let mut ahead = packet.clone();
        ahead[2] = 0x7f;
        assert!(matches!(member.open(&ahead), Err(PairwiseError::Sealed(_))));
        for length in 0..packet.len() {
            assert!(member.open(&packet[..length]).is_err(), "{length} bytes");
        }
        assert!(member.open(&[&packet[..], &[0]].concat()).is_err());
        assert_eq!(member.open(&packet), Ok((7, b"message".to_vec())));
    }
}

/// \[PWM-2\]: no two messages of a pair have one nonce and key: counters only grow, and both directions differ in key.
#[test]
fn counters_are_never_used_twice() {
    let (mut leader, mut member) = ends(Suite::Modern, 5);
    let counter = |packet: &[u8]| PairwiseHeader::split(packet).unwrap().0.counter;
    for expected in 1..=50 {
        assert_eq!(counter(&leader.seal(1, b"same")), expected);
    }
    let (one, other) = (member.seal(1, b"same"), ends(Suite::Modern, 5).0.seal(1, b"same"));
    assert_eq!(counter(&one), counter(&other));
    assert_ne!(one, other);
}

#[test]
fn longest_message_passes() {
    let (mut leader, mut member) = ends(Suite::Classic, 6);
    let packet = leader.seal(1, &vec![1; PLAINTEXT_MAX]);
    assert_eq!(packet.len(), proto_spec::mpsl::pairwise::PACKET_MAX);
    assert_eq!(member.open(&packet).unwrap().1.len(), PLAINTEXT_MAX);
}

/// \[PWM-3\] \[PWM-4\]: a wrapping key is for one step, epoch and member; a chain goes forward alone, and not too far.
#[test]
fn chains_go_forward_and_keys_fit_one_message() {
    let (mut leader, mut member) = ends(Suite::Modern, 7);
    let epoch = |count| EpochId { term: 0, leader: number(1), count };
    let secret = [9; 32];
    let wrapped = leader.chain().kek(epoch(1), number(2)).wrap(&secret);
    let opens = |member: &Pairwise, step, epoch, to| {
        member.chain().kek_at(step, epoch, number(to)).is_some_and(|kek| kek.unwrap(&wrapped).is_ok())
    };
    assert!(opens(&member, 0, epoch(1), 2));
    assert!(!opens(&member, 0, epoch(2), 2), "another epoch's KEK");
    assert!(!opens(&member, 0, epoch(1), 3), "another member's KEK");
    assert!(!opens(&member, 1, epoch(1), 2), "another step's KEK");
    assert!(member.chain_mut().advance_past(0));
    assert!(!opens(&member, 0, epoch(1), 2), "the key is gone once used");
    assert!(!member.chain_mut().advance_past(0));
    assert_eq!(member.chain().step(), 1);

    for _ in 0..=CHAIN_STEPS_AHEAD_MAX {
        leader.chain_mut().advance();
    }
    let furthest = 1 + CHAIN_STEPS_AHEAD_MAX;
    assert_eq!(leader.chain().step(), furthest);
    let there = member.chain().kek_at(furthest, epoch(3), number(2)).unwrap();
    assert_eq!(there.expose(), leader.chain().kek(epoch(3), number(2)).expose());
    assert!(member.chain().kek_at(furthest + 1, epoch(3), number(2)).is_none());
    assert!(!member.chain_mut().advance_past(furthest + 1));
    assert!(!member.chain_mut().advance_past(u32::MAX));
    assert!(member.chain_mut().advance_past(furthest));
    assert_eq!(member.chain().step(), furthest + 1);
}
