//! Packets over the data connection.

use std::time::Instant;

use proto_spec::TrafficClass;
use proto_spec::trunk::UNIT_LENGTH_MAX;
use sealcast_mesh::CloseReason;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use super::pki::{Pki, node};
use super::world::{header, ledger, link, run, start, stranger, until};
use crate::trunk::data;
use crate::trunk::hub::Neighbor;
use crate::trunk::neighbor::End;
use proto_spec::{Timestamp, alpn};

fn frames_of(
    ledger: &std::sync::Arc<sealcast_attach::Ledger>,
    class: TrafficClass,
    round: u32,
) -> sealcast_attach::Run {
    run(ledger, class, 1 + round % 3, 20 + (round as usize * 37) % 1_500, round)
}

/// \[TRK-15\], \[TRK-16\]: headers and bytes come out as they went in, each class in its order, at both ends.
#[tokio::test]
async fn packets_arrive_in_the_order_of_their_class() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    link(&mut one, 1, &mut two, 2).await;
    let ledger = ledger();
    let (rounds, mut sent) = (200u32, 0u64);
    for round in 0..rounds {
        for class in TrafficClass::ALL {
            let run = frames_of(&ledger, class, round);
            sent += run.bytes().len() as u64;
            assert!(one.trunks.push(Timestamp::ZERO, node(2), &header(&[2, 3]), run));
        }
    }
    // A long run may come in parts where classes share, each of whole frames.
    let frames: u64 = (0..rounds).map(|round| u64::from(1 + round % 3)).sum();
    let mut seen: [Vec<u8>; 4] = Default::default();
    for _ in 0..4 * frames {
        let packet = two.packet().await;
        assert_eq!((packet.from, &packet.header), (node(1), &header(&[2, 3])));
        seen[packet.class as usize].extend_from_slice(&packet.bytes);
        if two.packets.is_empty() && seen.iter().map(Vec::len).sum::<usize>() as u64 == sent {
            break;
        }
    }
    for class in TrafficClass::ALL {
        let all: Vec<u8> =
            (0..rounds).flat_map(|round| frames_of(&ledger, class, round).bytes().to_vec()).collect();
        assert!(seen[class as usize] == all, "{} came out otherwise", class.name());
    }
    let back = run(&ledger, TrafficClass::Bulk, 1, 65_000, 1);
    assert!(two.trunks.push(Timestamp::ZERO, node(1), &header(&[1]), back.clone()));
    assert_eq!(one.packet().await.bytes, *back.bytes());
    let status = one.trunks.status();
    assert_eq!((status[0].sent.0, status[0].received.0, status[0].queue_bytes), (4 * frames, 1, 0));
    assert!(!one.trunks.push(Timestamp::ZERO, node(3), &header(&[3]), back), "no trunk to node 3");
}

/// \[TRK-16\]: what is written gives its bytes back to the sender; what the queue has no room for is dropped and counted;
/// control overtakes a flood of bulk.
#[tokio::test]
async fn a_flood_of_bulk_stops_neither_control_nor_the_sender() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    link(&mut one, 1, &mut two, 2).await;
    let ledger = ledger();
    let (mut pushed, length) = (0u64, 60_000);
    // No other task runs between these pushes: all of it waits at once.
    while one.trunks.status()[0].dropped == 0 {
        let run = run(&ledger, TrafficClass::Bulk, 1, length, pushed as u32);
        assert!(one.trunks.push(Timestamp::ZERO, node(2), &header(&[2]), run));
        pushed += 1;
    }
    assert!(
        ledger.outstanding(TrafficClass::Bulk) >= (pushed - 2) * length as u64,
        "it presses while it waits"
    );
    assert_eq!(one.count("relayd_trunk_dropped_frames_total{class=\"bulk\",reason=\"queue_full\"}"), 1);
    let control = run(&ledger, TrafficClass::Control, 1, 100, 7);
    assert!(one.trunks.push(Timestamp::ZERO, node(2), &header(&[2]), control));
    let mut overtaken_by = 0;
    while two.packet().await.class != TrafficClass::Control {
        overtaken_by += 1;
    }
    assert!(overtaken_by <= 2, "control came after {overtaken_by} of {pushed} runs of bulk");
    for _ in overtaken_by..pushed - 1 {
        assert_eq!(two.packet().await.class, TrafficClass::Bulk);
    }
    until("all is given back", || ledger.outstanding(TrafficClass::Bulk) == 0).await;
    assert!(ledger.memory().bytes() < 2 * length as u64);
}

/// What waits when a trunk ends presses on nobody any more.
#[tokio::test]
async fn an_ended_trunk_lets_go_of_what_waits() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    link(&mut one, 1, &mut two, 2).await;
    let ledger = ledger();
    one.trunks.close(node(2), CloseReason::Surplus);
    for _ in 0..20 {
        let run = run(&ledger, TrafficClass::Bulk, 1, 60_000, 1);
        one.trunks.push(Timestamp::ZERO, node(2), &header(&[2]), run);
    }
    one.expect_down(2).await;
    until("nothing presses", || ledger.outstanding(TrafficClass::Bulk) == 0).await;
}

/// \[TRK-15\]: a malformed unit ends the data connection; what came before it is handed on.
#[tokio::test]
async fn a_malformed_unit_ends_the_trunk() {
    let pki = Pki::new("test");
    let mut one = start(&pki, 1).await;
    let hub = one.trunks.hub.clone().unwrap();
    let mut good = Vec::new();
    let sent = run(&ledger(), TrafficClass::Bulk, 2, 90, 1);
    proto_spec::trunk::Unit::put_head(&mut good, &header(&[1]), sent.bytes().len());
    good.extend_from_slice(sent.bytes());
    let too_long = (UNIT_LENGTH_MAX as u32).to_be_bytes().to_vec();
    let mut no_frame = good.clone();
    let at = no_frame.len() - sent.bytes().len();
    no_frame[at] = 0x12;
    for bad in [too_long, no_frame, vec![0, 0, 0, 1, 9]] {
        let files = pki.node(7);
        let peer = crate::tls::mesh::Peer {
            number: node(7),
            identity: pki.trust.verify(&files.chain, super::pki::now()).unwrap(),
        };
        // A trunk as the one that accepted it has it, up to its data connection.
        let (neighbor, ends) = Neighbor::new(&hub, peer, String::new(), false, 42);
        hub.claim(&neighbor).unwrap();
        let mut client = stranger(one.address, Some(&files), Some(alpn::DATA)).await.unwrap();
        let mut word = [0u8; 1];
        tokio::io::AsyncReadExt::read_exact(&mut client, &mut word).await.unwrap();
        client.write_u64(42).await.unwrap();
        client.flush().await.unwrap();
        let stream = ends.arrival.await.unwrap();
        let (done, ended) = oneshot::channel();
        let carried = data::carry(hub.clone(), neighbor.clone(), stream);
        tokio::spawn(async move { done.send(carried.await).map_err(|_| ()) });
        client.write_all(&good).await.unwrap();
        client.write_all(&bad).await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(one.packet().await.bytes, *sent.bytes());
        let end = ended.await.unwrap();
        assert!(matches!(end, End::Ours(proto_spec::trunk::TrunkRefusal::Malformed)), "{end:?}");
        hub.forget(&neighbor);
    }
}

/// What a gigabyte of frames of 1,200 bytes costs in processor time, both ends together. Prints; judges nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test: run it with --release and --nocapture"]
async fn cost_of_a_gigabyte() {
    let pki = Pki::new("test");
    let (mut one, mut two) = (start(&pki, 1).await, start(&pki, 2).await);
    link(&mut one, 1, &mut two, 2).await;
    let ledger = ledger();
    for frames_per_run in [1u32, 10] {
        let template = run(&ledger, TrafficClass::Bulk, frames_per_run, 1_200, 1);
        let runs = 1_000_000_000 / template.bytes().len();
        let (begun, cpu) = (Instant::now(), cpu_seconds());
        let mut received = 0;
        for sent in 0..runs {
            while sent - received > 1_000 {
                two.packet().await;
                received += 1;
            }
            one.trunks.push(Timestamp::ZERO, node(2), &header(&[2]), template.clone());
        }
        while received < runs {
            two.packet().await;
            received += 1;
        }
        println!(
            "{frames_per_run} frames a run: {:.2} CPU-s/GB, {:.2} s",
            cpu_seconds() - cpu,
            begun.elapsed().as_secs_f64()
        );
    }
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}
