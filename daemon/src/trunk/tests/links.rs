//! Links come up, carry messages, are found dead, and end for a reason.

use std::time::Duration;

use proto_spec::trunk::TrunkRefusal;
use sealcast_mesh::{CloseReason, Input};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::pki::{Pki, node};
use super::world::{
    INPUTS, Plan, Proxy, link, mesh_tls, revoke_certificate, start, start_with, stranger, until,
};
use crate::trunk::Trunks;

/// \[TRK-1\], \[TRK-6\], \[TRK-8\], \[TRK-14\]: up at both ends, messages in order both ways, a round trip and a clock.
#[tokio::test]
async fn a_link_comes_up_and_carries_messages() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    link(&mut one, 1, &mut two, 2).await;
    for round in 0..100u8 {
        one.trunks.send(node(2), vec![1, round]);
        two.trunks.send(node(1), vec![2; 60_000]);
    }
    for round in 0..100u8 {
        assert_eq!(two.input().await, Input::Message { from: node(1), bytes: vec![1, round].into() });
        assert_eq!(one.input().await, Input::Message { from: node(2), bytes: vec![2; 60_000].into() });
    }
    let status = one.trunks.status();
    assert_eq!(status.len(), 1);
    assert_eq!((status[0].peer, &status[0].address), (node(2), &two.address.to_string()));
    assert!(status[0].rtt_us.is_some_and(|rtt_us| rtt_us < 1_000_000));
    assert!(status[0].clock_offset_ms.abs() < 10_000);
    assert_eq!(one.count("relayd_trunks"), 1);
    one.trunks.send(node(3), vec![0]);
    assert_eq!(one.count("relayd_trunk_dropped_messages_total{direction=\"out\"}"), 1, "no trunk to node 3");
}

/// \[TRK-10\]: an overlay that is busy for long costs neither the trunk nor a message.
#[tokio::test]
async fn a_busy_overlay_costs_nothing() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    link(&mut one, 1, &mut two, 2).await;
    let (mut three, mut four) = (start(&pki, 3).await, start(&pki, 4).await);
    let proxy = Proxy::to(four.address).await;
    three.dial(Some(4), proxy.address);
    three.expect_up(4).await;
    four.expect_up(3).await;
    let messages = 3 * INPUTS;
    for round in 0..messages as u32 {
        one.trunks.send(node(2), round.to_be_bytes().to_vec());
    }
    until("its queue is full", || two.inputs.len() == INPUTS).await;
    // For longer than silence may last: another pair's begins now, and ends.
    proxy.hold();
    three.expect_down(4).await;
    four.expect_down(3).await;
    for round in 0..messages as u32 {
        let bytes = round.to_be_bytes().to_vec();
        assert_eq!(two.input().await, Input::Message { from: node(1), bytes: bytes.into() });
    }
    assert_eq!((one.trunks.status().len(), two.trunks.status().len()), (1, 1));
}

/// \[TRK-9\]: the overlay is told of round trips.
#[tokio::test]
async fn round_trips_are_told() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    link(&mut one, 1, &mut two, 2).await;
    let mut told = 0;
    while told < 2 {
        if let Some(Input::LinkRtt { peer, rtt_us }) = one.inputs.recv().await {
            assert!(peer == node(2) && rtt_us < 1_000_000);
            told += 1;
        }
    }
}

/// A triangle: three trunks, two at each node; one that ends leaves the others.
#[tokio::test]
async fn three_nodes_form_a_triangle() {
    let pki = Pki::new("test");
    let (mut one, mut two, mut three) = (start(&pki, 1).await, start(&pki, 2).await, start(&pki, 3).await);
    link(&mut one, 1, &mut two, 2).await;
    link(&mut two, 2, &mut three, 3).await;
    link(&mut three, 3, &mut one, 1).await;
    for trunks in [&one.trunks, &two.trunks, &three.trunks] {
        assert_eq!(trunks.status().len(), 2);
    }
    one.trunks.close(node(2), CloseReason::Surplus);
    one.expect_down(2).await;
    two.expect_down(1).await;
    assert_eq!((one.trunks.status().len(), three.trunks.status().len()), (1, 2));
}

/// \[TRK-13\]: whoever ends a trunk says what he had to say, then why; a node that stops says so to all.
#[tokio::test]
async fn the_last_word_is_heard() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    link(&mut one, 1, &mut two, 2).await;
    (1..=100).for_each(|word| one.trunks.send(node(2), vec![word; 3_000]));
    one.trunks.close(node(2), CloseReason::Surplus);
    for word in 1..=100 {
        let Input::Message { bytes, .. } = two.input().await else { panic!("word {word} was not heard") };
        assert_eq!((bytes[0], bytes.len()), (word, 3_000));
    }
    two.expect_down(1).await;
    one.expect_down(2).await;
    until("both have counted it", || one.ended("surplus") == 1 && two.ended("surplus") == 1).await;
    assert_eq!(one.count("relayd_trunks"), 0);
    link(&mut two, 2, &mut one, 1).await;
    one.stop.cancel();
    two.expect_down(1).await;
    until("it has been told", || two.ended("leaving") == 1).await;
    one.tasks.close();
    one.tasks.wait().await;
}

/// \[TRK-10\]: a reset ends the trunk at once, by itself and not for silence.
#[tokio::test]
async fn a_reset_is_noticed_at_once() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    let proxy = Proxy::to(two.address).await;
    one.dial(Some(2), proxy.address);
    one.expect_up(2).await;
    two.expect_up(1).await;
    proxy.reset();
    one.expect_down(2).await;
    two.expect_down(1).await;
    until("both have counted it", || one.ended("broken") == 1 && two.ended("broken") == 1).await;
}

/// \[TRK-10\]: a wire that swallows everything ends the trunk for silence, at both ends.
#[tokio::test]
async fn silence_is_noticed() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    let proxy = Proxy::to(two.address).await;
    one.dial(Some(2), proxy.address);
    one.expect_up(2).await;
    two.expect_up(1).await;
    proxy.hold();
    one.expect_down(2).await;
    two.expect_down(1).await;
    until("both have counted it", || one.ended("silent") == 1 && two.ended("silent") == 1).await;
}

/// \[TRK-12\]: both dial at once, many times: each time one trunk is left, and both ends agree that it is up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dials_that_cross_leave_one_trunk() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    for _ in 0..10 {
        let mut again = tokio::time::interval(Duration::from_secs(1));
        let (mut one_up, mut two_up) = (false, false);
        while !(one_up && two_up) {
            tokio::select! {
                input = one.input() => one_up = follow(&input, one_up),
                input = two.input() => two_up = follow(&input, two_up),
                // As the overlay does: an attempt that meets the end of the last trunk comes to nothing.
                _ = again.tick() => {
                    one.dial(Some(2), two.address);
                    one.dial(None, two.address);
                    two.dial(Some(1), one.address);
                }
            }
        }
        until("one is left", || one.trunks.status().len() == 1 && two.trunks.status().len() == 1).await;
        // What crossed has ended; what is left carries messages.
        one.trunks.send(node(2), vec![1]);
        two.trunks.send(node(1), vec![2]);
        let (mut one_heard, mut two_heard) = (false, false);
        while !(one_heard && two_heard) {
            tokio::select! {
                input = one.input(), if !one_heard => one_heard = matches!(input, Input::Message { .. }),
                input = two.input(), if !two_heard => two_heard = matches!(input, Input::Message { .. }),
            }
        }
        one.trunks.close(node(2), CloseReason::Surplus);
        one.expect_down(2).await;
        two.expect_down(1).await;
    }
}

fn follow(input: &Input, was_up: bool) -> bool {
    match input {
        Input::LinkUp { .. } => {
            assert!(!was_up, "up twice");
            true
        }
        Input::LinkDown { .. } => {
            assert!(was_up, "down twice");
            false
        }
        other => panic!("{other:?}"),
    }
}

/// \[TRK-12\]: a dial to a node that has a trunk already ends before a hello, and leaves the trunk alone.
#[tokio::test]
async fn a_second_dial_leaves_the_first_trunk_alone() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    link(&mut one, 1, &mut two, 2).await;
    // By another address, so that it is not known to be the same.
    let proxy = Proxy::to(two.address).await;
    one.dial(None, proxy.address);
    until("it is refused", || one.refused("duplicate") == 1).await;
    one.trunks.send(node(2), vec![5]);
    assert_eq!(two.input().await, Input::Message { from: node(1), bytes: vec![5].into() });
}

/// \[TRK-12\]: a certificate that was issued later takes the number over; the link goes down and up in this order.
#[tokio::test]
async fn a_later_certificate_takes_the_number_over() {
    let pki = Pki::new("test");
    let mut one = start(&pki, 1).await;
    let mut old = start_with(&pki, 2, Plan::new(pki.older(2))).await;
    link(&mut old, 2, &mut one, 1).await;
    let mut new = start(&pki, 2).await;
    new.dial(Some(1), one.address);
    one.expect_down(2).await;
    one.expect_up(2).await;
    new.expect_up(1).await;
    old.expect_down(1).await;
    until("it has been told", || old.ended(TrunkRefusal::NumberInUse.label()) == 1).await;
}

/// \[TRK-17\], \[TRK-3\]: a call goes both ways, proven at both ends, and only to the node that was meant.
#[tokio::test]
async fn calls_go_both_ways() {
    let pki = Pki::new("test");
    let (one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    let addresses = [two.address.to_string()];
    let mut out = one.trunks.call(node(2), &addresses).await.unwrap();
    let mut come = two.calls.recv().await.unwrap();
    assert_eq!((out.peer, come.peer), (node(2), node(1)));
    out.stream.write_all(b"there").await.unwrap();
    out.stream.flush().await.unwrap();
    let mut word = [0u8; 5];
    come.stream.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"there");
    come.stream.write_all(b"again").await.unwrap();
    come.stream.flush().await.unwrap();
    out.stream.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"again");
    let error = one.trunks.call(node(3), &addresses).await.unwrap_err();
    assert!(error.to_string().contains("another node answers there"), "{error}");
    assert_eq!(one.refused("wrong_node"), 1);
    assert!(one.trunks.call(node(2), &[]).await.is_err());
    assert!(Trunks::default().call(node(2), &addresses).await.is_err());
}

/// \[REV-4\]: connections for calls that stand when the other node's certificate is revoked carry nothing more, whoever
/// made them.
#[tokio::test]
async fn calls_end_with_the_certificate() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    let mut made = one.trunks.call(node(2), &[two.address.to_string()]).await.unwrap();
    let mut at_two = two.calls.recv().await.unwrap();
    let mut back = two.trunks.call(node(1), &[one.address.to_string()]).await.unwrap();
    let mut taken = one.calls.recv().await.unwrap();
    revoke_certificate(&one, made.certificate);
    for stream in [&mut made.stream, &mut taken.stream] {
        let refused = stream.write_all(b"no more").await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied, "{refused}");
    }
    // What the revoked node says is not heard.
    for stream in [&mut at_two.stream, &mut back.stream] {
        stream.write_all(b"listen").await.unwrap();
        stream.flush().await.unwrap();
    }
    for stream in [&mut made.stream, &mut taken.stream] {
        let refused = stream.read_u8().await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied, "{refused}");
    }
    assert!(one.trunks.call(node(2), &[two.address.to_string()]).await.is_err());
}

/// \[TRK-2\]: a new certificate is presented from then on, and no connection is dropped for it.
#[tokio::test]
async fn a_certificate_is_replaced_under_way() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    link(&mut one, 1, &mut two, 2).await;
    let presented = async |address| {
        let client = stranger(address, Some(&pki.node(9)), Some(proto_spec::alpn::GRPC)).await.unwrap();
        client.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let renewed = pki.node(2);
    assert_ne!(presented(two.address).await, renewed.chain[0].to_vec());
    two.tls.store(std::sync::Arc::new(mesh_tls(&pki, &renewed, &two.revoked)));
    assert_eq!(presented(two.address).await, renewed.chain[0].to_vec());
    two.trunks.send(node(1), vec![5]);
    assert_eq!(one.input().await, Input::Message { from: node(2), bytes: vec![5].into() });
    one.trunks.close(node(2), CloseReason::Surplus);
    one.expect_down(2).await;
    two.expect_down(1).await;
    until("the pair is free", || one.ended("surplus") == 1 && two.ended("surplus") == 1).await;
    link(&mut two, 2, &mut one, 1).await;
}

/// A mesh of one has no trunks and needs none.
#[tokio::test]
async fn a_mesh_of_one_has_none() {
    let trunks = Trunks::default();
    trunks.dial(None, vec!["127.0.0.1:1".into()]);
    trunks.close(node(1), CloseReason::Own);
    trunks.send(node(1), vec![1]);
    assert!(trunks.status().is_empty());
}
