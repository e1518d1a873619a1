//! Every reliable payload arrives exactly once and in order, whatever the network does; nobody holds others back; all
//! bounds hold.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proto_spec::channel::{CHAT_STREAM, CONTROL_STREAM};
use proto_spec::{StreamId, TrafficClass};
use sealcast_endpoint_core::channel::SendError;
use sealcast_endpoint_core::channel::limits::{ACK_BURST_BYTES, ACK_RATE_BYTES, LAG_MAX};

use crate::net::{EGRESS_BULK, GOOD, Net, Way, number};
use crate::seal::PLAINTEXT_MAX;

const SECOND: Duration = Duration::from_secs(1);

fn say(net: &mut Net, from: u16, text: String) {
    assert!(net.send(from, CHAT_STREAM, text));
}

/// Sends pieces as fast as the channel takes them.
fn flood(net: &mut Net, from: u16, stream: StreamId, pieces: usize, length: usize, limit: Duration) {
    let end = net.now + limit;
    let piece = Bytes::from(vec![9u8; length]);
    for index in 0..pieces {
        while !net.send(from, stream, piece.clone()) {
            assert!(net.now < end, "stuck at piece {index} of {pieces}: {:?}", net.missing());
            net.run(Duration::from_millis(1));
        }
    }
}

/// \[CHN-1\] \[CHN-2\]
#[test]
fn what_is_said_arrives_at_all_others() {
    let mut net = Net::new(1, 3);
    for line in 0..100 {
        say(&mut net, 1 + line % 3, format!("line {line}"));
        net.send(1, CONTROL_STREAM, format!("control {line}"));
    }
    net.run(SECOND);
    assert!(net.all_here(), "{:?}", net.missing());
    assert_eq!(net.endpoint(2).delivered[&(number(1), CHAT_STREAM)], 34);
    assert_eq!(net.endpoint(3).lost, 0);
}

/// \[CHN-7\] \[CHN-8\]: losses, repetitions and reordering are repaired, by the same bytes.
#[test]
fn losses_are_repaired() {
    let mut net = Net::new(2, 3);
    for member in 1..=3 {
        net.endpoint(member).way = Way { loss: 100, repeat: 50, jitter: Duration::from_millis(30), ..GOOD };
    }
    let stream = net.open_file(1, &[2, 3]);
    flood(&mut net, 1, stream, 200, 20_000, 300 * SECOND);
    for line in 0..100 {
        say(&mut net, 1 + line % 3, format!("line {line}"));
    }
    let end = net.now + 120 * SECOND;
    assert!(net.run_until(end, Net::all_here), "{:?}", net.missing());
}

/// \[CHN-6\]: one sender never has more on its way than its receiver's node keeps, and takes no more than fits.
#[test]
fn a_slow_line_is_filled_and_not_overfilled() {
    let mut net = Net::new(3, 2);
    net.endpoint(2).way = Way { rate: 1_000_000, ..GOOD };
    let stream = net.open_file(1, &[2]);
    let start = net.now;
    flood(&mut net, 1, stream, 150, 32 * 1024, 60 * SECOND);
    let end = net.now + 10 * SECOND;
    assert!(net.run_until(end, Net::all_here), "{:?}", net.missing());
    let took = net.now.since(start);
    let ideal = Duration::from_micros(150 * 32 * 1024);
    assert!(took < ideal * 13 / 10, "took {took:?}, {ideal:?} would be ideal");
    assert!(net.endpoint(2).queued_bulk_peak <= EGRESS_BULK);
    assert_eq!(net.endpoint(2).dropped_at_egress, 0);
}

/// \[CHN-7\]: several senders that overfill one receiver's node share what it keeps.
#[test]
fn many_senders_share_one_receiver() {
    let mut net = Net::new(4, 4);
    net.endpoint(4).way = Way { rate: 2_000_000, ..GOOD };
    let streams = [1, 2, 3].map(|from| (from, net.open_file(from, &[4])));
    let piece = Bytes::from(vec![1u8; 32 * 1024]);
    let mut left = [60; 3];
    let end = net.now + 120 * SECOND;
    while left != [0; 3] {
        for ((from, stream), left) in streams.iter().zip(&mut left) {
            while *left > 0 && net.send(*from, *stream, piece.clone()) {
                *left -= 1;
            }
        }
        net.run(Duration::from_millis(1));
        assert!(net.now < end, "{left:?} left, {:?}", net.missing());
    }
    assert!(net.run_until(end, Net::all_here), "{:?}", net.missing());
}

/// \[CHN-10\]: a dead-slow member leaves the window and the others go on; what is said still reaches it.
#[test]
fn a_dead_slow_member_does_not_hold_others_back() {
    let mut net = Net::new(5, 3);
    net.endpoint(3).way = Way { rate: 2_000, ..GOOD };
    let stream = net.open_file(1, &[2, 3]);
    let start = net.now;
    flood(&mut net, 1, stream, 300, 32 * 1024, 60 * SECOND);
    let took = net.now.since(start);
    assert_eq!(net.endpoint(1).fell_behind, [(stream, number(3))]);
    assert!(took >= LAG_MAX && took < 2 * LAG_MAX, "took {took:?}");
    say(&mut net, 1, "hello".into());
    net.run(5 * SECOND);
    assert_eq!(net.endpoint(2).delivered[&(number(1), stream)], 300);
    assert_eq!(net.endpoint(3).delivered[&(number(1), CHAT_STREAM)], 1);
}

/// \[CHN-7\] \[CHN-10\] \[CHN-14\]: a single slow member gets everything at its own rate, and next to nothing twice, whatever is
/// lost on its line.
#[test]
fn a_slow_but_steady_member_gets_everything_once() {
    let lines = [(21, 12, 0), (22, 12, 20), (23, 16, 20), (24, 24, 20), (25, 32, 20)];
    let pieces = [(128, 8 * 1024), (32, 32 * 1024)];
    for ((seed, kib_s, loss), (records, length)) in
        lines.iter().flat_map(|line| pieces.map(|piece| (*line, piece)))
    {
        let rate = kib_s * 1024;
        let mut net = Net::new(seed, 2);
        net.endpoint(2).way = Way { rate, loss, ..GOOD };
        let stream = net.open_file(1, &[2]);
        let ideal = Duration::from_secs(records as u64 * length as u64 / rate);
        let (start, relayed) = (net.now, net.bytes_relayed);
        flood(&mut net, 1, stream, records, length, 2 * ideal);
        assert!(net.run_until(start + 2 * ideal, Net::all_here), "{kib_s} KiB/s: {:?}", net.missing());
        let took = net.now.since(start);
        let repeated = net.bytes_relayed - relayed - (records * length) as u64;
        println!(
            "{kib_s} KiB/s, loss {loss}, {length} bytes: took {took:?}, ideal {ideal:?}, {repeated} bytes beyond the file"
        );
        assert!(net.endpoint(1).fell_behind.is_empty(), "{kib_s} KiB/s");
        assert!(took < ideal * 12 / 10, "{kib_s} KiB/s took {took:?}, {ideal:?} would be ideal");
        assert!(repeated < (records * length / 10) as u64, "{kib_s} KiB/s: {repeated} bytes too many");
    }
}

/// \[CHN-10\]: a member that takes nothing counts as too far behind as well, and one alone does not.
#[test]
fn a_member_that_takes_nothing_does_not_hold_others_back() {
    let mut net = Net::new(6, 3);
    net.endpoint(3).takes_after = None;
    let stream = net.open_file(1, &[2, 3]);
    flood(&mut net, 1, stream, 200, 32 * 1024, 60 * SECOND);
    assert_eq!(net.endpoint(1).fell_behind, [(stream, number(3))]);

    let mut net = Net::new(6, 2);
    net.endpoint(2).takes_after = None;
    let stream = net.open_file(1, &[2]);
    let piece = Bytes::from(vec![1u8; 32 * 1024]);
    while net.send(1, stream, piece.clone()) {
        net.run(Duration::from_millis(100));
    }
    net.run(10 * LAG_MAX);
    assert!(net.endpoint(1).fell_behind.is_empty());
    assert_eq!(net.endpoint(1).channels.send(stream, piece), Err(SendError::Full));
}

/// \[CHN-9\]: a lost grant is asked for again.
#[test]
fn a_lost_grant_is_asked_for() {
    let mut net = Net::new(7, 2);
    net.endpoint(2).takes_after = None;
    net.endpoint(2).keep_inbox = true;
    let stream = net.open_file(1, &[2]);
    let piece = Bytes::from(vec![1u8; 32 * 1024]);
    for _ in 0..60 {
        net.send(1, stream, piece.clone());
        net.run(Duration::from_millis(50));
    }
    net.endpoint(1).way.loss = 1_000;
    let now = net.now;
    let arrived = net.endpoint(2).inbox.len();
    assert!(arrived > 20);
    for _ in 0..arrived {
        net.endpoint(2).channels.taken(now, number(1), stream, piece.len());
        net.turn(number(2));
    }
    net.endpoint(2).takes_after = Some(Duration::ZERO);
    net.run(SECOND);
    net.endpoint(1).way.loss = 0;
    flood(&mut net, 1, stream, 50, 32 * 1024, 30 * SECOND);
    net.run(5 * SECOND);
    assert!(net.all_here(), "{:?}", net.missing());
}

/// \[CHN-9\]: everything goes on after either side was without an attachment, at once.
#[test]
fn channels_outlive_attachments() {
    let mut net = Net::new(8, 3);
    net.endpoint(2).way.rate = 2_000_000;
    let stream = net.open_file(1, &[2, 3]);
    for who in [1, 2, 3, 1] {
        flood(&mut net, 1, stream, 30, 32 * 1024, 60 * SECOND);
        net.detach(number(who));
        say(&mut net, 1, "while away".into());
        net.run(15 * SECOND);
        net.attach(number(who));
        let end = net.now + 2 * SECOND;
        assert!(net.run_until(end, Net::all_here), "{who}: {:?}", net.missing());
    }
    assert_eq!(net.endpoint(2).lost + net.endpoint(3).lost, 0);
    assert!(net.endpoint(1).fell_behind.is_empty());
}

/// \[CHN-9\]: a node that dies takes everybody's packets with it; nothing is missing afterwards.
#[test]
fn channels_outlive_their_node() {
    let mut net = Net::new(9, 3);
    let stream = net.open_file(1, &[2, 3]);
    flood(&mut net, 1, stream, 100, 32 * 1024, 60 * SECOND);
    for who in 1..=3 {
        net.detach(number(who));
    }
    say(&mut net, 2, "into the void".into());
    net.run(40 * SECOND);
    for who in [2, 1, 3] {
        net.attach(number(who));
        net.run(SECOND);
    }
    flood(&mut net, 1, stream, 100, 32 * 1024, 60 * SECOND);
    net.run(2 * SECOND);
    assert!(net.all_here(), "{:?}", net.missing());
    assert!(net.endpoint(1).fell_behind.is_empty());
}

/// \[CHN-8\]: across changes of keys nothing is lost, whether old records still open or must be carried.
#[test]
fn channels_outlive_epochs() {
    for departed in [false, true] {
        let mut net = Net::new(10, 3);
        for member in 1..=3 {
            net.endpoint(member).way = Way { loss: 30, rate: 4_000_000, ..GOOD };
        }
        let stream = net.open_file(1, &[2, 3]);
        for round in 0..10 {
            flood(&mut net, 1, stream, 20, 32 * 1024, 60 * SECOND);
            say(&mut net, 2, format!("round {round}"));
            net.rekey(departed);
        }
        let end = net.now + 60 * SECOND;
        assert!(net.run_until(end, Net::all_here), "{:?}", net.missing());
        assert_eq!(net.endpoint(2).lost + net.endpoint(3).lost, 0);
    }
}

/// \[CHN-8\]: a joiner gets what is sealed from its epoch on, and nothing older; a leaver is not waited for.
#[test]
fn joiners_begin_at_the_base_and_leavers_drop_out() {
    let mut net = Net::new(11, 2);
    for line in 0..10 {
        say(&mut net, 1, format!("before {line}"));
    }
    net.run(SECOND);
    net.add(number(3));
    net.rekey(false);
    net.run(SECOND);
    say(&mut net, 1, "welcome".into());
    net.run(SECOND);
    assert_eq!(net.endpoint(3).delivered[&(number(1), CHAT_STREAM)], 1);
    net.detach(number(2));
    say(&mut net, 1, "are you there".into());
    net.run(30 * SECOND);
    assert!(!net.endpoint(1).channels.is_idle(CHAT_STREAM));
    net.leave(number(2));
    net.rekey(true);
    net.run(SECOND);
    assert!(net.endpoint(1).channels.is_idle(CHAT_STREAM));
    assert!(net.all_here());
}

/// \[CHN-11\]: a member that missed an epoch for good is told what is lost and goes on.
#[test]
fn who_missed_an_epoch_goes_on_behind_it() {
    let mut net = Net::new(12, 3);
    net.detach(number(3));
    say(&mut net, 1, "before".into());
    net.run(SECOND);
    net.rekey(false);
    net.run(SECOND);
    for line in 0..5 {
        say(&mut net, 1, format!("in an epoch that 3 never sees {line}"));
    }
    net.run(SECOND);
    net.rekey(false);
    net.run(200 * SECOND);
    // Only the newest epoch is handed out; the one before is gone for good.
    net.forget_older_epochs();
    net.attach(number(3));
    say(&mut net, 1, "after".into());
    let end = net.now + 30 * SECOND;
    assert!(net.run_until(end, Net::all_here), "{:?}", net.missing());
    assert!(net.endpoint(3).lost >= 5, "{} lost", net.endpoint(3).lost);
    assert_eq!(net.endpoint(2).lost, 0);
}

/// \[CHN-5\]: acknowledgements of a fast stream keep to their share of the control class.
#[test]
fn acknowledgements_keep_to_their_share() {
    let mut net = Net::new(13, 2);
    net.endpoint(1).way.delay = Duration::from_micros(300);
    net.endpoint(2).way.delay = Duration::from_micros(300);
    let stream = net.open_file(1, &[2]);
    let start = net.now;
    let before = net.acks_bytes.get(&number(2)).copied().unwrap_or(0);
    flood(&mut net, 1, stream, 6_000, 32 * 1024, 60 * SECOND);
    let took = net.now.since(start).as_millis() as u64;
    let acks = net.acks_bytes[&number(2)] - before;
    assert!(acks <= ACK_BURST_BYTES + ACK_RATE_BYTES * took / 1_000 + 1_024, "{acks} bytes in {took} ms");
    let rate = 6_000 * 32 * 1024 / took.max(1) / 1_000;
    assert!(rate >= 30, "{rate} MB/s in virtual time");
}

/// \[CHN-6\]: what waits in a channel is bounded, for tiny payloads too, and the sender is told.
#[test]
fn what_waits_is_bounded() {
    let mut net = Net::new(14, 2);
    net.detach(number(1));
    let mut taken = 0;
    while net.send(1, CHAT_STREAM, "x") {
        taken += 1;
        assert!(taken < 10_000);
    }
    assert!(taken > 1_000);
    assert!(!net.endpoint(1).channels.is_writable(CHAT_STREAM));
    let longest = PLAINTEXT_MAX - 8;
    let channels = &mut net.endpoint(1).channels;
    assert_eq!(channels.payload_max(), longest);
    assert_eq!(channels.send(CONTROL_STREAM, vec![0; longest + 1].into()), Err(SendError::TooLong));
    assert!(channels.send(CONTROL_STREAM, vec![0; longest].into()).is_ok());
    assert_eq!(channels.send(StreamId(16), Bytes::new()), Err(SendError::NotOpen));
    net.attach(number(1));
    let end = net.now + 60 * SECOND;
    assert!(net.run_until(end, |net| net.endpoints[&number(2)].delivered.len() == 2 && net.all_here()));
}

/// A paused class seals nothing new, and goes on where it was.
#[test]
fn a_paused_class_waits() {
    let mut net = Net::new(15, 2);
    let stream = net.open_file(1, &[2]);
    net.endpoint(1).channels.pause(TrafficClass::Bulk, true);
    net.send(1, stream, "secret");
    say(&mut net, 1, "hello".into());
    net.run(10 * SECOND);
    assert!(!net.endpoint(2).delivered.contains_key(&(number(1), stream)));
    assert!(net.endpoint(2).delivered.contains_key(&(number(1), CHAT_STREAM)));
    net.endpoint(1).channels.pause(TrafficClass::Bulk, false);
    net.turn(number(1));
    net.run(SECOND);
    assert!(net.all_here());
}

/// While nothing may be sealed everything waits, and goes on afterwards.
#[test]
fn a_silenced_sender_goes_on_later() {
    let mut net = Net::new(16, 2);
    net.endpoint(1).seal.silenced = true;
    say(&mut net, 1, "hello".into());
    say(&mut net, 2, "hello".into());
    net.run(20 * SECOND);
    assert!(!net.all_here());
    net.endpoint(1).seal.silenced = false;
    net.turn(number(1));
    net.run(10 * SECOND);
    assert!(net.all_here());
}

#[derive(Clone, Debug)]
enum Act {
    Say(u16),
    Piece(u16),
    Detach(u16),
    Attach(u16),
    Rekey(bool),
    Join,
    Leave(u16),
    Way(u16, Way),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let who = 1u16..6;
    prop_oneof![
        6 => who.clone().prop_map(Act::Say),
        6 => who.clone().prop_map(Act::Piece),
        1 => who.clone().prop_map(Act::Detach),
        2 => who.clone().prop_map(Act::Attach),
        1 => any::<bool>().prop_map(Act::Rekey),
        1 => Just(Act::Join),
        1 => who.clone().prop_map(Act::Leave),
        2 => (who, 0u32..300, 0u32..200, 0u64..80, prop_oneof![Just(0u64), Just(100_000), Just(2_000_000)])
            .prop_map(|(who, loss, repeat, jitter, rate)| {
                let jitter = Duration::from_millis(jitter);
                Act::Way(who, Way { loss, repeat, jitter, rate, delay: Duration::from_millis(15) })
            }),
        6 => (1u64..2_000).prop_map(Act::Wait),
    ]
}

proptest! {

    /// \[CHN-2\] \[CHN-8\] \[CHN-9\]: whatever happens, what is delivered is in order and once, what is lost is said, and
    /// once the network is well again nothing is missing.
    #[test]
    fn everything_arrives_once_and_in_order(seed: u64, acts in proptest::collection::vec(act(), 1..120)) {
        let mut net = Net::new(seed, 3);
        let mut next_number = 4;
        let mut streams = std::collections::BTreeMap::new();
        for act in acts {
            let here = |net: &Net, who: u16| net.everybody().contains(&number(who));
            match act {
                Act::Say(who) if here(&net, who) => {
                    net.send(who, CHAT_STREAM, format!("{who} says something"));
                }
                Act::Piece(who) if here(&net, who) => {
                    let stream = *streams.entry(who).or_insert_with(|| {
                        let others: Vec<_> =
                            net.members.iter().map(|other| other.value()).filter(|other| *other != who).collect();
                        net.open_file(who, &others)
                    });
                    net.send(who, stream, vec![who as u8; 30_000]);
                }
                Act::Detach(who) if here(&net, who) => net.detach(number(who)),
                Act::Attach(who) if here(&net, who) => net.attach(number(who)),
                Act::Rekey(departed) => net.rekey(departed),
                Act::Join if next_number < 6 => {
                    net.add(number(next_number));
                    next_number += 1;
                    net.rekey(false);
                }
                Act::Leave(who) if here(&net, who) && net.members.len() > 2 => {
                    net.leave(number(who));
                    streams.remove(&who);
                    net.rekey(true);
                }
                Act::Way(who, way) if here(&net, who) => net.endpoint(who).way = way,
                Act::Wait(ms) => net.run(Duration::from_millis(ms)),
                _ => {}
            }
        }
        for who in net.everybody() {
            net.endpoint(who.value()).way = GOOD;
            net.attach(who);
        }
        let excused: Vec<_> = net.endpoints.iter().flat_map(|(from, endpoint)| {
            endpoint.fell_behind.iter().filter(|(stream, _)| stream.0 >= 16).map(|(stream, to)| (*to, *from, *stream))
        }).collect();
        let end = net.now + 400 * SECOND;
        let done = |net: &Net| {
            net.missing().iter().all(|(to, from, stream, _)| excused.contains(&(*to, *from, *stream)))
        };
        prop_assert!(net.run_until(end, done), "{:?}", net.missing());
        for (to, endpoint) in &net.endpoints {
            let fell_behind = net.endpoints.values().any(|from| from.fell_behind.iter().any(|(_, who)| who == to));
            prop_assert!(endpoint.lost == 0 || endpoint.resynchronised || fell_behind, "{to} lost something");
        }
    }
}
