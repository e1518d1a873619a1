//! Everything that is refused, by its name: at the port, when dialling, and in the hello.

use std::time::Duration;

use proto_spec::alpn;
use proto_spec::trunk::{TrunkRefusal, WELCOME};
use sealcast_mesh::Input;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::pki::Pki;
use super::world::{Node, PATIENCE, Plan, link, revoke, start, start_with, stranger, until};
use crate::clock::Clock;
use crate::tls;
use crate::trunk::config::{ADDRESS_HANDSHAKES_MAX, CLOCK_OFFSET_MAX, CONNECTIONS_OF_PEER_MAX};

/// A node that presents this certificate is refused by a good one, whoever dials.
async fn refused_both_ways(good: &Node, pki: &Pki, files: tls::Identity, reason: TrunkRefusal) {
    let bad = start_with(pki, 7, Plan::new(files)).await;
    let before = good.refused(reason.label());
    bad.dial(None, good.address);
    until(&format!("{} at the port", reason.label()), || good.refused(reason.label()) == before + 1).await;
    good.dial(None, bad.address);
    until(&format!("{} when dialling", reason.label()), || good.refused(reason.label()) == before + 2).await;
    assert!(good.trunks.status().is_empty() && bad.trunks.status().is_empty());
}

/// \[TRK-2\]: another mesh's CA, expired, not yet valid, revoked, self-signed, an identity anywhere but in the leaf, a
/// broker's certificate, the node's own number: refused by both ends of a dial.
#[tokio::test]
async fn certificates_that_are_none() {
    let pki = Pki::new("test");
    let good = start(&pki, 1).await;
    let other = Pki::new("test");
    let revoked = pki.node(7);
    revoke(&good, &revoked);
    for (files, reason) in [
        (other.node(7), TrunkRefusal::OtherMesh),
        (pki.expired(7), TrunkRefusal::Expired),
        (pki.not_yet_valid(7), TrunkRefusal::NotYetValid),
        (revoked, TrunkRefusal::Revoked),
        (pki.self_signed(7), TrunkRefusal::SelfSigned),
        (pki.identity_in_the_intermediate(7), TrunkRefusal::IdentityAbsent),
        (pki.broker(7), TrunkRefusal::WrongRole),
        (pki.node(1), TrunkRefusal::Own),
    ] {
        refused_both_ways(&good, &pki, files, reason).await;
    }
}

/// \[TRK-3\]: whoever is refused learns why: by the alert of TLS, or by the byte in place of the welcome.
#[tokio::test]
async fn the_refused_learn_why() {
    let pki = Pki::new("test");
    let good = start(&pki, 1).await;
    let old = start_with(&pki, 7, Plan::new(pki.expired(7))).await;
    old.dial(None, good.address);
    until("told by the alert", || old.refused_by("expired") == 1).await;

    let mut clone = stranger(good.address, Some(&pki.node(1)), Some(alpn::TRUNK)).await.unwrap();
    assert_eq!(clone.read_u8().await.unwrap(), TrunkRefusal::Own as u8);
    let mut welcome = stranger(good.address, Some(&pki.node(7)), Some(alpn::DATA)).await.unwrap();
    assert_eq!(welcome.read_u8().await.unwrap(), WELCOME);
    // \[TRK-14\]: the number of a trunk that is not there.
    welcome.write_all(&[0; 8]).await.unwrap();
    assert!(
        matches!(welcome.read_u8().await, Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof)
    );
}

/// \[LSA-15\]: the overlay hears that its node's certificate is revoked from a node that was dialled, and from nobody who
/// dialled.
#[tokio::test]
async fn who_is_dialled_may_say_that_a_certificate_is_revoked() {
    let pki = Pki::new("test");
    let good = start(&pki, 1).await;
    let files = pki.node(7);
    revoke(&good, &files);
    let mut bad = start_with(&pki, 7, Plan::new(files)).await;
    good.dial(None, bad.address);
    until("told by who dialled", || bad.refused_by("revoked") == 1).await;
    assert!(bad.inputs.try_recv().is_err());
    bad.dial(None, good.address);
    assert_eq!(bad.input().await, Input::CalledRevoked { by: super::pki::node(1) });
}

/// \[TRK-1\], \[TRK-4\]: plain garbage, no certificate, no protocol of nodes, no progress, too many.
#[tokio::test]
async fn connections_that_are_none() {
    let pki = Pki::new("test");
    let plan = Plan { handshake: Duration::from_millis(200), ..Plan::new(pki.node(1)) };
    let good = start_with(&pki, 1, plan).await;
    let mut garbage = TcpStream::connect(good.address).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\nhost: relay.example\r\n\r\n").await.unwrap();
    until("garbage", || good.refused("malformed") == 1).await;

    let _ = stranger(good.address, None, Some(alpn::TRUNK)).await;
    until("no certificate", || good.refused("identity_absent") == 1).await;
    let _ = stranger(good.address, Some(&pki.node(7)), Some(alpn::ATTACH)).await;
    until("another protocol", || good.refused("unknown_protocol") == 1).await;
    let mut none = stranger(good.address, Some(&pki.node(7)), None).await.unwrap();
    assert_eq!(none.read_u8().await.unwrap(), TrunkRefusal::UnknownProtocol as u8);

    let mute = TcpStream::connect(good.address).await.unwrap();
    until("no progress", || good.refused("too_slow") == 1).await;
    drop(mute);

    let plan = Plan { handshake: PATIENCE, ..Plan::new(pki.node(2)) };
    let patient = start_with(&pki, 2, plan).await;
    let mut held = Vec::new();
    for _ in 0..=ADDRESS_HANDSHAKES_MAX {
        held.push(TcpStream::connect(patient.address).await.unwrap());
    }
    until("one too many", || patient.refused("too_many") == 1).await;
    drop(held);
}

/// \[TRK-4\]: control connections of one node beyond what a pair needs, however good its certificate is.
#[tokio::test]
async fn control_connections_beyond_a_pairs() {
    let pki = Pki::new("test");
    let good = start(&pki, 1).await;
    let files = pki.node(7);
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_OF_PEER_MAX {
        let mut control = stranger(good.address, Some(&files), Some(alpn::TRUNK)).await.unwrap();
        assert_eq!(control.read_u8().await.unwrap(), WELCOME);
        held.push(control);
    }
    assert_eq!(good.refused("too_many"), 0);
    held.push(stranger(good.address, Some(&files), Some(alpn::TRUNK)).await.unwrap());
    until("one too many", || good.refused("too_many") == 1).await;
}

/// \[TRK-2\]: a dial for one node refuses another, and takes the next address.
#[tokio::test]
async fn another_node_than_the_one_that_was_meant() {
    let pki = Pki::new("test");
    let (mut one, two, mut three) = (start(&pki, 1).await, start(&pki, 2).await, start(&pki, 3).await);
    let addresses = vec![two.address.to_string(), three.address.to_string()];
    one.trunks.dial(Some(super::pki::node(3)), addresses);
    one.expect_up(3).await;
    three.expect_up(1).await;
    assert_eq!(one.refused("wrong_node"), 1);
    assert!(two.trunks.status().is_empty());
}

/// \[TRK-8\]: no wire version in common: refused by whoever hears it first, and named to the other.
#[tokio::test]
async fn versions_without_a_common_one() {
    let pki = Pki::new("test");
    let one = start(&pki, 1).await;
    let newer = start_with(&pki, 2, Plan { wire_versions: (2, 3), ..Plan::new(pki.node(2)) }).await;
    one.dial(Some(2), newer.address);
    until("refused", || newer.refused("unknown_version") == 1).await;
    until("told", || one.refused_by("unknown_version") == 1).await;
}

/// \[TRK-11\]: a wall clock that is off by more than five minutes, either way; one that is less off is taken.
#[tokio::test]
async fn clocks_that_disagree() {
    let pki = Pki::new("test");
    let (one, mut near) = (start(&pki, 1).await, {
        let clock = Clock::start().set_ahead(CLOCK_OFFSET_MAX - Duration::from_secs(60));
        start_with(&pki, 3, Plan { clock, ..Plan::new(pki.node(3)) }).await
    });
    let mut one = one;
    let clock = Clock::start().set_ahead(CLOCK_OFFSET_MAX + Duration::from_secs(60));
    let mut ahead = start_with(&pki, 2, Plan { clock, ..Plan::new(pki.node(2)) }).await;
    one.dial(Some(2), ahead.address);
    until("refused", || one.refused("clock") + ahead.refused("clock") >= 1).await;
    assert!(one.trunks.status().is_empty());
    // Whoever refused has told its overlay whose clock it is, and how far away.
    let told: Vec<i64> = [&mut one, &mut ahead].into_iter().filter_map(Node::clock).collect();
    assert!(!told.is_empty() && told.iter().all(|offset_ms| offset_ms.unsigned_abs() > 300_000), "{told:?}");
    link(&mut one, 1, &mut near, 3).await;
    assert!(one.trunks.status()[0].clock_offset_ms > 200_000);
    assert!(near.trunks.status()[0].clock_offset_ms < -200_000);
}

/// \[TRK-12\]: a second key under a number that is in use, issued earlier: refused, the trunk that is there stays.
#[tokio::test]
async fn a_number_that_is_in_use() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    link(&mut one, 1, &mut two, 2).await;
    let older = start_with(&pki, 2, Plan::new(pki.older(2))).await;
    older.dial(Some(1), one.address);
    until("refused", || one.refused("number_in_use") == 1).await;
    until("told", || older.refused_by("number_in_use") == 1).await;
    assert_eq!((one.trunks.status().len(), two.trunks.status().len()), (1, 1));
}

/// \[TRK-4\]: calls beyond what the broker's side takes are refused by a byte, not left hanging.
#[tokio::test]
async fn calls_beyond_the_queue() {
    let pki = Pki::new("test");
    let (one, two) = (start(&pki, 1).await, start(&pki, 2).await);
    let addresses = [two.address.to_string()];
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(one.trunks.call(super::pki::node(2), &addresses).await.unwrap());
    }
    assert!(one.trunks.call(super::pki::node(2), &addresses).await.is_err());
    assert_eq!((two.refused("too_many"), one.refused_by("too_many")), (1, 1));
}
