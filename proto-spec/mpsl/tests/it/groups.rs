//! Sessions of several endpoints: admission, epochs, heartbeats, base statements, and every refusal around them.

use std::time::Duration;

use proto_spec::packet::PacketKind;
use proto_spec::{SessionNumber, StreamId, TrafficClass};
use sealcast_mpsl::Suite;
use sealcast_mpsl::group::{
    ABSENCE, BASES_REPEAT_MAX, HEARTBEAT_INTERVAL, PENDING_LIFETIME, PacketError, REKEY_INTERVAL, SILENCE,
};
use sealcast_mpsl::handshake::HandshakeError;
use sealcast_mpsl::limits::HANDSHAKE_TIMEOUT;
use sealcast_mpsl::pairwise::PairwiseError;
use sealcast_mpsl::record::{OLD_EPOCH_GRACE, OpenError, SealError};
use sealcast_mpsl::session::{CallError, Event, HOLD_BYTES_MAX, Role};

use super::world::{FILES, LEADER, World, number};

const SECOND: Duration = Duration::from_secs(1);

fn count(events: &[Event], which: impl Fn(&Event) -> bool) -> usize {
    events.iter().filter(|event| which(event)).count()
}

/// \[GRP-3\] \[GRP-6\] \[GRP-12\] The way in: prove, wait, be admitted, talk; and private words both ways.
#[test]
fn members_join_and_talk() {
    for suite in Suite::ALL {
        let mut world = World::with(suite, &[2, 3]);
        for from in [1, 2, 3] {
            world.say(from, format!("from {from}").as_bytes()).unwrap();
        }
        world.settle();
        assert_eq!(world.at(1).texts(), [b"from 2", b"from 3"]);
        assert_eq!(world.at(2).texts(), [b"from 1", b"from 3"]);
        assert_eq!(world.at(3).texts(), [b"from 1", b"from 2"]);
        let roster = world.at(3).session.roster().unwrap().clone();
        assert_eq!(roster.members.iter().map(|member| member.number.value()).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(roster.member(number(2)).unwrap().name, "end 2");
        assert_eq!(roster.member(number(2)).unwrap().role, Role::Customer);
        assert_eq!(count(&world.events(3), |event| matches!(event, Event::Joined)), 1);

        world.at(1).session.send_private(number(3), 9, b"a ticket").unwrap();
        world.at(3).session.send_private(number(1), 8, b"thanks").unwrap();
        assert_eq!(world.at(3).session.send_private(number(2), 8, b""), Err(CallError::Unknown(number(2))));
        world.drain(1);
        world.drain(3);
        world.settle();
        let private = |event: &Event, wanted: (u8, &[u8])| matches!(event, Event::Private { kind, bytes, .. } if (*kind, bytes.as_slice()) == wanted);
        assert_eq!(count(&world.events(3), |event| private(event, (9, b"a ticket"))), 1);
        assert_eq!(count(&world.events(1), |event| private(event, (8, b"thanks"))), 1);
        assert_eq!(count(&world.events(2), |event| matches!(event, Event::Private { .. })), 0);
    }
}

/// \[GRP-7\] Group key before admission: a joiner that has proved the code holds none, is sent none, and opens and
/// seals nothing; what it stored of the time before opens no later either.
#[test]
fn no_group_key_before_admission() {
    let mut world = World::with(Suite::Modern, &[2]);
    world.prove(3);
    world.tap.clear();
    world.say(1, b"not for 3").unwrap();
    world.settle();
    world.advance(SECOND * 60);
    assert!(world.tap.iter().all(|packet| packet.to != 3 || packet.is(PacketKind::Record)));
    assert_eq!(world.at(3).session.epoch(), None);
    assert!(world.seal(3, b"me too") == Err(SealError::NoEpoch));
    assert!(world.at(3).heard.is_empty());
    assert!(world.at(3).refused.contains(&OpenError::Held), "kept, unopened");
    world.admit(3);
    world.settle();
    assert!(world.at(3).heard.is_empty());
    assert_eq!(world.at(3).refused.last(), Some(&OpenError::OldEpoch), "a joiner on the past");
    world.say(1, b"for 3").unwrap();
    world.settle();
    assert_eq!(world.at(3).texts(), [b"for 3"]);
}

/// \[GRP-7\] \[GRP-13\] A refused joiner is told and gets nothing; one that nobody decides on expires.
#[test]
fn refused_and_forgotten_joiners_stay_outside() {
    let mut world = World::with(Suite::Modern, &[2]);
    world.prove(3);
    world.settle();
    world.at(LEADER).session.refuse(number(3)).unwrap();
    world.drain(LEADER);
    world.settle();
    assert_eq!(count(&world.events(3), |event| matches!(event, Event::Refused)), 1);
    let now = world.now;
    assert_eq!(world.at(LEADER).session.admit(now, number(3)), Err(CallError::Unknown(number(3))));
    world.prove(4);
    world.advance(PENDING_LIFETIME);
    assert_eq!(count(&world.events(LEADER), |event| matches!(event, Event::JoinerExpired { .. })), 1);
    let now = world.now;
    assert_eq!(world.at(LEADER).session.admit(now, number(4)), Err(CallError::Unknown(number(4))));
    assert_eq!(world.at(2).session.admit(now, number(4)), Err(CallError::NotLeader));
}

/// \[GRP-3\] Two endpoints on one number: the second is refused while the first waits, while it is a member, and after
/// it has left.
#[test]
fn a_number_is_never_used_twice() {
    let mut world = World::with(Suite::Modern, &[2]);
    // Why the handshake of another endpoint with this number fails, once its own has been forgotten.
    let attempt = |world: &mut World, value: u16| {
        world.advance(HANDSHAKE_TIMEOUT);
        world.events(LEADER);
        let first = world.ends.remove(&value);
        let code = world.open_code();
        let proved = world.try_prove(value, &code);
        let _ = world.at(LEADER).session.close_code(code.number);
        world.wire.clear();
        first.map(|first| world.ends.insert(value, first));
        let taken = HandshakeError::AlreadyMember;
        let events = world.events(LEADER);
        let refused = count(
            &events,
            |event| matches!(event, Event::HandshakeFailed { reason, .. } if *reason == taken),
        );
        assert_eq!(refused, usize::from(!proved), "{events:?}");
        proved
    };
    assert!(!attempt(&mut world, 2), "a member's");
    world.prove(3);
    world.settle();
    assert!(!attempt(&mut world, 3), "a waiting joiner's");
    world.remove(2);
    world.settle();
    assert!(!attempt(&mut world, 2), "a removed member's");
    assert!(attempt(&mut world, 4));
}

/// \[COD-3\] \[GRP-7\] A removed member with an old code: any removal has killed it.
#[test]
fn a_removal_kills_open_codes() {
    let mut world = World::with(Suite::Modern, &[2, 3]);
    let code = world.open_code();
    world.remove(3);
    world.settle();
    assert!(!world.try_prove(5, &code));
    let reason = HandshakeError::NoSuchCode;
    let events = world.events(LEADER);
    assert_eq!(
        count(&events, |event| matches!(event, Event::HandshakeFailed { reason: r, .. } if *r == reason)),
        1
    );
}

/// \[GRP-7\] \[GRP-9\] \[GRP-11\] \[GRP-13\] After a removal: told, locked out, and complete once everybody is on the
/// new epoch.
#[test]
fn a_removal_is_complete_when_everybody_holds_the_new_epoch() {
    let mut world = World::with(Suite::Modern, &[2, 3, 4]);
    world.advance(SECOND);
    let late = world.seal(2, b"sealed before").unwrap();
    world.blocked.insert((LEADER, 2));
    world.events(LEADER);
    world.remove(4);
    world.settle();
    assert_eq!(count(&world.events(4), |event| matches!(event, Event::Removed)), 1);
    let complete = |events: &[Event]| count(events, |event| matches!(event, Event::RemovalComplete { .. }));
    assert_eq!(complete(&world.events(LEADER)), 0, "2 has not heard of it");
    let said = world.say(LEADER, b"without 4").unwrap();
    world.settle();
    assert_eq!(world.at(3).texts(), [b"without 4"]);
    assert!(world.at(4).heard.is_empty());
    assert!(world.at(2).heard.is_empty());
    // 2 goes on under the old epoch, which nobody opens any more.
    let now = world.now;
    world.at(3).open(now, 2, FILES.class, late);
    assert_eq!(world.at(3).refused.last(), Some(&OpenError::OldEpoch));
    world.blocked.clear();
    world.advance(HEARTBEAT_INTERVAL);
    assert_eq!(complete(&world.events(LEADER)), 1);
    let now = world.now;
    world.at(2).open(now, LEADER, FILES.class, said);
    assert_eq!(world.at(2).texts(), [b"without 4"]);
    assert!(world.seal(4, b"still here?") == Err(SealError::NoEpoch));
}

/// \[GRP-9\] A rekey withheld for 30 s: the relay keeps the new epoch from a member, which then seals nothing, so that
/// the removed member reads nothing sealed more than 30 s after its removal.
#[test]
fn a_member_cut_off_from_its_leader_falls_silent() {
    let mut world = World::with(Suite::Modern, &[2, 3]);
    world.advance(SECOND * 60);
    world.events(2);
    world.blocked.insert((LEADER, 2));
    world.blocked.insert((LEADER, 3));
    let removed_at = world.now;
    world.remove(3);
    let mut sealed_for = Duration::ZERO;
    for _ in 0..40 {
        match world.seal(2, b"for 3's eyes") {
            Ok(packet) => {
                sealed_for = world.now.mono.since(removed_at.mono);
                let now = world.now;
                world.at(3).open(now, 2, FILES.class, packet);
            }
            Err(error) => assert_eq!(error, SealError::Silent),
        }
        world.advance(SECOND);
    }
    assert!(sealed_for > SILENCE - HEARTBEAT_INTERVAL - 2 * SECOND, "{sealed_for:?}");
    assert!(sealed_for < SILENCE);
    assert_eq!(count(&world.events(2), |event| matches!(event, Event::Silenced)), 1);
    world.tap.clear();
    world.advance(SECOND * 10);
    let sent: Vec<_> = world.tap.iter().filter(|packet| packet.from == 2).collect();
    assert!(
        !sent.is_empty() && sent.iter().all(|packet| packet.is(PacketKind::Pairwise)),
        "heartbeats alone"
    );
    world.blocked.clear();
    world.advance(HEARTBEAT_INTERVAL);
    assert_eq!(count(&world.events(2), |event| matches!(event, Event::Resumed)), 1);
    assert!(world.seal(2, b"again").is_ok());
    assert_eq!(world.at(2).session.epoch(), world.at(LEADER).session.epoch());
}

/// \[GRP-8\] A replayed heartbeat answer, or one that went to somebody else, extends nothing.
#[test]
fn a_replayed_heartbeat_answer_is_refused() {
    let mut world = World::with(Suite::Modern, &[2, 3]);
    world.advance(HEARTBEAT_INTERVAL);
    let answers: Vec<_> = world
        .tap
        .iter()
        .filter(|packet| packet.from == LEADER && packet.is(PacketKind::Pairwise))
        .cloned()
        .collect();
    world.blocked.insert((LEADER, 2));
    let expected = PacketError::Pairwise(PairwiseError::Replayed);
    for _ in 0..8 {
        let now = world.now;
        for packet in &answers {
            let result = world.at(2).session.handle_packet(now, number(LEADER), &packet.bytes);
            if packet.to == 2 {
                assert_eq!(result, Err(expected.clone()));
            } else {
                assert!(result.is_err(), "sealed for another member");
            }
            assert!(world.at(2).session.handle_packet(now, number(3), &packet.bytes).is_err());
        }
        world.advance(HEARTBEAT_INTERVAL);
    }
    assert!(world.seal(2, b"") == Err(SealError::Silent));
}

/// \[GRP-5\] An old epoch message, replayed or delivered late, takes nobody back.
#[test]
fn nobody_goes_back_to_an_older_epoch() {
    let mut world = World::with(Suite::Modern, &[2]);
    world.blocked.insert((LEADER, 2));
    world.tap.clear();
    world.join(3);
    let withheld: Vec<_> = world.tap.iter().filter(|packet| packet.to == 2).cloned().collect();
    world.blocked.clear();
    world.join(4);
    let newest = world.at(2).session.epoch().unwrap();
    assert_eq!(Some(newest), world.at(LEADER).session.epoch());
    let mut refused = 0;
    for packet in withheld.iter().filter(|packet| packet.is(PacketKind::Pairwise)) {
        let now = world.now;
        let result = world.at(2).session.handle_packet(now, number(LEADER), &packet.bytes);
        let rollback = PacketError::Roster(sealcast_mpsl::group::RosterError::Rollback);
        refused += usize::from(result == Err(rollback));
    }
    assert_eq!(refused, 1, "genuine, new to 2, and older than what it holds");
    assert_eq!(world.at(2).session.epoch(), Some(newest));
}

/// \[GRP-6\] \[GRP-8\] Whoever missed epoch messages gets the newest with its next heartbeat, over many steps.
#[test]
fn a_member_that_was_behind_catches_up() {
    let mut world = World::with(Suite::Modern, &[2, 3]);
    world.blocked.insert((LEADER, 2));
    for _ in 0..12 {
        // Time stands still for the members, so that none is taken for absent.
        let now = world.now;
        world.at(LEADER).session.handle_timeout(now);
        world.prove(10 + world.ends.len() as u16);
        let newest = *world.ends.keys().last().unwrap();
        world.admit(newest);
        world.settle();
    }
    assert_ne!(world.at(2).session.epoch(), world.at(LEADER).session.epoch());
    world.blocked.clear();
    world.advance(HEARTBEAT_INTERVAL);
    assert_eq!(world.at(2).session.epoch(), world.at(LEADER).session.epoch());
    world.say(2, b"back").unwrap();
    world.settle();
    assert_eq!(world.at(3).texts(), [b"back"]);
}

/// \[GRP-7\] A new epoch at least hourly; absence alone removes nobody before ten minutes.
#[test]
fn epochs_are_made_hourly_and_the_long_absent_are_removed() {
    let mut world = World::with(Suite::Modern, &[2, 3]);
    let epoch = world.at(LEADER).session.epoch().unwrap();
    world.advance(REKEY_INTERVAL);
    let next = world.at(3).session.epoch().unwrap();
    assert_eq!(next.count, epoch.count + 1);
    assert_eq!(
        count(&world.events(3), |event| {
            matches!(event, Event::EpochInstalled { left_or_removed: false, epoch } if *epoch == next)
        }),
        1
    );

    world.blocked.insert((2, LEADER));
    world.advance(ABSENCE - HEARTBEAT_INTERVAL);
    assert!(world.at(LEADER).session.roster().unwrap().member(number(2)).is_some());
    world.advance(HEARTBEAT_INTERVAL);
    assert!(world.at(3).session.roster().unwrap().member(number(2)).is_none());
    let absent = |event: &Event| matches!(event, Event::MemberAbsent { number: gone } if *gone == number(2));
    assert_eq!(count(&world.events(LEADER), absent), 1);
}

/// \[GRP-7\] \[GRP-13\] A member that leaves is out at once; the end of the session reaches everybody.
#[test]
fn leaving_and_ending() {
    let mut world = World::with(Suite::Modern, &[2, 3]);
    world.at(2).session.leave();
    world.drain(2);
    world.settle();
    assert_eq!(count(&world.events(LEADER), |event| matches!(event, Event::MemberLeft { .. })), 1);
    assert!(world.at(3).session.roster().unwrap().member(number(2)).is_none());
    assert!(world.seal(2, b"") == Err(SealError::NoEpoch));
    let now = world.now;
    world.at(LEADER).session.end(now).unwrap();
    world.drain(LEADER);
    world.settle();
    assert_eq!(count(&world.events(3), |event| matches!(event, Event::Ended)), 1);
    assert!(world.seal(LEADER, b"") == Err(SealError::NoEpoch));
    assert_eq!(world.at(LEADER).session.poll_timeout(), None);
}

/// \[GRP-11\] Records of a newer epoch wait unopened, 256 KiB of them, and open once the epoch is there.
#[test]
fn records_of_a_newer_epoch_wait() {
    let mut world = World::with(Suite::Modern, &[2]);
    world.advance(SECOND);
    world.blocked.insert((LEADER, 2));
    world.join(3);
    world.blocked.clear();
    world.wire.clear();
    let text = vec![0x33; 10_000];
    for _ in 0..40 {
        world.say(3, &text).unwrap();
    }
    world.settle();
    assert!(world.at(2).heard.is_empty());
    assert!(world.at(2).refused.contains(&OpenError::HoldFull));
    world.advance(HEARTBEAT_INTERVAL);
    assert_eq!(world.at(2).heard.len(), HOLD_BYTES_MAX / (text.len() + 100), "as many as 256 KiB hold");
}

/// \[REC-12\] Bases are stated before anything else is sealed, repeated until acknowledged, and tell a joiner where to
/// start.
#[test]
fn bases_are_repeated_until_everybody_has_them() {
    let mut world = World::with(Suite::Modern, &[2]);
    for _ in 0..5 {
        world.say(2, b"before").unwrap();
    }
    world.settle();
    world.prove(3);
    world.settle();
    world.blocked.insert((2, 3));
    world.admit(3);
    world.settle();
    assert_eq!(world.at(2).session.bases_waiting().collect::<Vec<_>>(), [number(3)]);
    let bases_of_2 = |event: &Event| match event {
        Event::Bases { sender, bases, .. } if *sender == number(2) => {
            assert_eq!(
                (bases.len(), bases[0].stream, bases[0].counter, bases[0].sequence),
                (1, FILES.stream, 5, 7)
            );
            true
        }
        _ => false,
    };
    assert_eq!(count(&world.events(3), bases_of_2), 0);
    world.events(2);
    world.blocked.clear();
    world.advance(BASES_REPEAT_MAX);
    assert_eq!(count(&world.events(3), bases_of_2), 1);
    assert_eq!(count(&world.events(2), |event| matches!(event, Event::BasesHeld)), 1);
    world.tap.clear();
    world.advance(BASES_REPEAT_MAX * 4);
    assert!(world.tap.iter().all(|packet| !packet.is(PacketKind::Record)), "then no more");

    let now = world.now;
    let session = &mut world.at(2).session;
    assert_eq!(session.state_bases(now, &[(StreamId(64), 0)]), Err(SealError::Stream(StreamId(64))));
    assert_eq!(session.state_bases(now, &[(StreamId(0), 0)]), Err(SealError::Stream(StreamId(0))));
}

/// \[REC-12\] Nothing is sealed on a channel before the statement.
#[test]
fn nothing_is_sealed_before_the_bases_are_stated() {
    let mut world = World::new(Suite::Modern, 5);
    let identity = world.identity(LEADER, Role::Provider);
    let rng = world.fork();
    let now = world.now;
    let mut session = sealcast_mpsl::Session::create(now, identity, rng);
    let mut out = Vec::new();
    assert_eq!(session.seal(now, &FILES, b"", &mut out), Err(SealError::BasesNotStated));
    assert!(!session.may_seal(now));
    session.state_bases(now, &[]).unwrap();
    assert!(session.may_seal(now));
    assert_eq!(session.seal(now, &FILES, b"", &mut out), Ok(0));
}

/// \[REC-11\] Through whole sessions: lost before a removal, carried after it, read by those who were there.
#[test]
fn what_was_lost_before_a_change_is_carried_after_it() {
    for suite in Suite::ALL {
        let mut world = World::with(suite, &[2, 3, 4]);
        world.advance(SECOND);
        world.blocked.extend([(2, 3), (2, LEADER)]);
        let lost = world.say(2, b"lost").unwrap();
        world.settle();
        world.blocked.clear();
        world.remove(4);
        world.settle();
        world.advance(OLD_EPOCH_GRACE);
        world.join(5);
        let now = world.now;
        for value in [1, 3] {
            world.at(value).open(now, 2, FILES.class, lost.clone());
            assert_eq!(world.at(value).refused.last(), Some(&OpenError::OldEpoch));
        }
        let carried = world.carry(2, &lost).unwrap();
        for value in [1, 3, 5] {
            world.at(value).open(now, 2, FILES.class, carried.clone());
        }
        for value in [1, 3] {
            let heard = world.at(value).heard.last().unwrap().clone();
            assert_eq!((heard.text.as_slice(), heard.carried), (&b"lost"[..], true));
        }
        assert!(world.at(5).heard.is_empty(), "a joiner on the past");
        assert!(matches!(world.at(5).refused.last(), Some(OpenError::Carried(_))));
    }
}

/// \[GRP-9\] A joiner seals only once the leader has answered a heartbeat of its own: an epoch message that was held
/// back is no proof that its epoch is the newest.
#[test]
fn a_withheld_epoch_message_lets_nobody_seal() {
    let mut world = World::with(Suite::Modern, &[2]);
    world.prove(3);
    world.settle();
    world.admit(3);
    // The relay passes the epoch message alone, a minute late.
    let first =
        world.wire.iter().position(|packet| packet.to == 3 && packet.is(PacketKind::Pairwise)).unwrap();
    let message = world.wire[first].clone();
    world.blocked.insert((LEADER, 3));
    world.advance(SECOND * 60);
    world.deliver(message);
    world.settle();
    assert!(world.at(3).session.epoch().is_some());
    assert!(world.seal(3, b"") == Err(SealError::Silent));
    world.blocked.clear();
    world.advance(HEARTBEAT_INTERVAL);
    assert!(world.seal(3, b"").is_ok());
}

/// \[GRP-12\] Pairwise types of the other side, strangers, and records in the wrong place are refused.
#[test]
fn what_is_not_for_us_is_refused() {
    let mut world = World::with(Suite::Modern, &[2, 3]);
    world.advance(HEARTBEAT_INTERVAL);
    let heartbeat = world.tap.iter().rfind(|packet| packet.from == 2 && packet.to == LEADER).unwrap().clone();
    let now = world.now;
    let leader = &mut world.at(LEADER).session;
    assert!(leader.handle_packet(now, number(3), &heartbeat.bytes).is_err(), "another's");
    assert_eq!(leader.handle_packet(now, number(9), &heartbeat.bytes), Err(PacketError::Stranger(number(9))));
    assert!(leader.handle_packet(now, number(2), b"").is_err());
    assert!(leader.handle_packet(now, number(2), &[3, 1, 1]).is_err());
    assert!(leader.handle_packet(now, number(2), &[77]).is_err());
    assert_eq!(
        leader.open_code(now, SessionNumber::new(123_456_789).unwrap(), Role::Customer).map(|_| ()),
        Ok(())
    );
    let member = &mut world.at(2).session;
    assert!(member.open_code(now, SessionNumber::new(123_456_789).unwrap(), Role::Customer).is_err());
    assert_eq!(member.remove(now, number(3)), Err(CallError::NotLeader));
    assert_eq!(member.end(now), Err(CallError::NotLeader));
    let class = TrafficClass::Control;
    assert!(member.open(now, number(1), class, &mut [], &mut Vec::new()).is_err());
}
