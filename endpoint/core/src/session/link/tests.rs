//! Attempts, pauses, roles and giving up, without a session around them.

use std::time::Duration;

use proto_spec::WallTime;
use proto_spec::ticket::TicketKind;
use rand_core::SeedableRng;

use super::attempt::State;
use super::*;
use crate::attach::AttachKey;
use crate::config::BACK_OFF_MIN;

fn at(ms: u64) -> Now {
    Now { mono: Timestamp(Duration::from_millis(ms)), wall: WallTime(ms) }
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

fn link(nodes: &[&str]) -> Link {
    let nodes = nodes.iter().map(|address| vec![(*address).to_owned()]);
    Link::new(at(0), Nodes::new(nodes), Duration::from_secs(600))
}

fn node(name: &str) -> Reached {
    let mut certificate = [0; 32];
    certificate[..name.len()].copy_from_slice(name.as_bytes());
    Reached { address: name.to_owned(), certificate }
}

fn client(link: &mut Link, now: Now, standby: bool) -> AttachClient {
    let seq = link.next_seq();
    AttachClient::new(now, [0; 32], seq, standby, None, "ticket", &AttachKey::from_seed(&[1; 32]))
}

/// The attempt that is due finds this node, which takes the ticket as a member's.
fn attach(link: &mut Link, now: Now, name: &str) -> Place {
    let way = link.connect_due(now, &mut rng()).expect("it is time").way;
    let place = link.place(way, &node(name)).expect("it is of use");
    let client = client(link, now, place == Place::Standby);
    link.up(way, node(name), client, place);
    let line = link.line(way).unwrap();
    let attached = Attached {
        session: proto_spec::SessionId([1; 16]),
        number: SenderNumber::new(1).unwrap(),
        kind: TicketKind::Member,
        attach_seq: line.client.seq(),
        ping_ms: 15_000,
        peers: vec![],
    };
    let mut bytes = Vec::new();
    proto_spec::frame::ControlFrame::Attached(attached).put(&mut bytes);
    line.client.receive(now, bytes.as_slice().into());
    line.accepted_at = Some(now.mono);
    if place == Place::Active {
        link.accepted(now);
    }
    place
}

fn retry_at(link: &Link) -> Timestamp {
    link.main.due_at().expect("it waits")
}

/// \[SES-12\]: pauses double, stay random within bounds, and end after an accepted attachment.
#[test]
fn pauses_grow_to_their_bound_and_begin_anew() {
    let mut rng = rng();
    let mut link = link(&["a:1"]);
    let mut now = 0;
    attach(&mut link, at(now), "a:1");
    assert!(link.down(at(now), &mut rng, Duration::ZERO, false), "an accepted attachment was lost");
    assert!(link.connect_due(at(now), &mut rng).is_some(), "the first attempt comes at once");
    let mut before = Duration::ZERO;
    for attempt in 0..12 {
        assert!(!link.down(at(now), &mut rng, Duration::ZERO, false));
        let pause = retry_at(&link).since(at(now).mono);
        let full = BACK_OFF_MIN.saturating_mul(1 << attempt.min(8)).min(BACK_OFF_MAX);
        assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
        assert!(pause * 2 >= before);
        before = pause;
        now += pause.as_millis() as u64 + 1;
        assert!(link.connect_due(at(now), &mut rng).is_some());
    }
}

/// \[SES-12\]: a node that accepts and drops each time is asked ever more seldom; one that lasted, at once.
#[test]
fn an_attachment_that_does_not_last_counts_as_a_failure() {
    let mut rng = rng();
    let mut link = link(&["a:1"]);
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..10 {
        attach(&mut link, at(now), "a:1");
        link.down(at(now), &mut rng, Duration::ZERO, false);
        pauses.push(retry_at(&link).since(at(now).mono));
        now = retry_at(&link).0.as_millis() as u64 + 1;
    }
    assert_eq!(pauses[0], Duration::ZERO);
    assert!(pauses[1] >= BACK_OFF_MIN / 2 && pauses[9] >= BACK_OFF_MAX / 2, "{pauses:?}");
    attach(&mut link, at(now), "a:1");
    now += LASTING_MIN.as_millis() as u64;
    link.down(at(now), &mut rng, Duration::ZERO, false);
    assert!(link.connect_due(at(now), &mut rng).is_some());
}

/// \[SES-12\]: sequences only grow, and what a node asks for is waited.
#[test]
fn a_nodes_pause_is_kept_and_sequences_grow() {
    let mut rng = rng();
    let mut link = link(&[]);
    assert_eq!((link.next_seq(), link.next_seq()), (AttachSeq(1), AttachSeq(2)));
    link.down(at(0), &mut rng, Duration::from_secs(20), false);
    assert!(link.connect_due(at(19_999), &mut rng).is_none());
    assert!(link.connect_due(at(20_000), &mut rng).is_some());
}

/// \[SES-13\]: the first attachment is given up sooner than a lost one.
#[test]
fn it_gives_up_in_the_end() {
    let mut rng = rng();
    let mut link = link(&["a:1"]);
    let first = FIRST_CONNECT_MAX.as_millis() as u64;
    assert!(!link.is_hopeless(at(first - 1)) && link.is_hopeless(at(first)));
    attach(&mut link, at(0), "a:1");
    assert!(!link.is_hopeless(at(first)));
    link.down(at(0), &mut rng, Duration::ZERO, false);
    assert!(!link.is_hopeless(at(599_999)) && link.is_hopeless(at(600_000)));
}

/// \[SES-16\]: the standby goes to another node, and where there is none there is no attempt at all.
#[test]
fn a_standby_is_made_on_another_node_alone() {
    let mut rng = rng();
    let mut alone = link(&["a:1"]);
    assert_eq!(attach(&mut alone, at(0), "a:1"), Place::Active);
    assert!(alone.connect_due(at(600_000), &mut rng).is_none());
    assert_eq!(alone.poll_timeout(true).map(|due| due.0.as_secs()), Some(15), "the ping's");

    let mut link = link(&["a:1", "b:1", "c:1"]);
    attach(&mut link, at(0), "b:1");
    assert!(link.connect_due(at(0), &mut rng).is_none(), "after a moment");
    let due = link.poll_timeout(true).unwrap();
    assert!(due.0 <= BACK_OFF_MIN);
    let connect = link.connect_due(Now { mono: due, ..at(0) }, &mut rng).unwrap();
    assert_eq!((connect.preferred, connect.avoid), (vec!["a:1".into(), "c:1".into()], vec!["b:1".into()]));
    // Another name of the node in use: it is found out, and not tried again.
    let same = Reached { address: "a:1".into(), ..node("b:1") };
    assert_eq!(link.place(connect.way, &same), None);
    link.spare_failed(at(300), &mut rng, connect.way);
    let due = link.spare.due_at().unwrap();
    let connect = link.connect_due(Now { mono: due, ..at(0) }, &mut rng).unwrap();
    assert_eq!(connect.preferred, ["c:1"]);
    assert_eq!(link.place(connect.way, &node("c:1")), Some(Place::Standby));
}

/// \[SES-17\] \[SES-16\]: who takes over counts higher than all before, and the lost node is not the next standby.
#[test]
fn a_standby_takes_over_and_another_is_made() {
    let mut rng = rng();
    let mut link = link(&["a:1", "b:1", "c:1"]);
    attach(&mut link, at(0), "a:1");
    link.connect_due(at(0), &mut rng);
    assert_eq!(attach(&mut link, at(300), "b:1"), Place::Standby);
    let lost = link.fail_over(at(10_000), at(10_000).mono);
    assert_eq!(lost, Some(Way(1)));
    assert_eq!(link.attached().map(AttachClient::seq), Some(AttachSeq(3)));
    assert!(link.is_accepted() && link.address() == Some("b:1".into()));
    link.connect_due(at(10_000), &mut rng);
    let connect = link.connect_due(at(10_300), &mut rng).unwrap();
    assert_eq!(connect.preferred, ["c:1"]);
    assert_eq!(link.fail_over(at(10_400), at(10_400).mono), None, "no other is there yet");
    assert!(link.attached().is_some());
    // The attempt that is under way serves whoever needs it.
    link.down(at(10_400), &mut rng, Duration::ZERO, false);
    assert_eq!(link.place(connect.way, &node("c:1")), Some(Place::Active));
    assert_eq!(link.spare.state, State::Connecting(connect.way));
}

/// \[SES-16\]: with another node up a lost standby is made again within a second; without one, the lost node is asked
/// again within 3 s, at moments that differ from endpoint to endpoint.
#[test]
fn a_lost_standby_is_back_soon() {
    let mut returns = Vec::new();
    for seed in 0..32 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut link = link(&["a:1", "b:1", "c:1"]);
        attach(&mut link, at(0), "a:1");
        link.connect_due(at(0), &mut rng);
        assert_eq!(attach(&mut link, at(300), "b:1"), Place::Standby);
        link.other_lost(at(10_000), &mut rng, Duration::ZERO, false);
        let due = link.spare.due_at().unwrap();
        assert!(due < at(11_000).mono, "{due:?}");
        let connect = link.connect_due(Now { mono: due, ..at(0) }, &mut rng).unwrap();
        assert_eq!(connect.preferred, ["c:1"]);

        let mut link = self::link(&["a:1", "b:1"]);
        attach(&mut link, at(0), "a:1");
        link.connect_due(at(0), &mut rng);
        attach(&mut link, at(300), "b:1");
        let mut now = at(10_000);
        link.fail_over(now, now.mono);
        assert!(link.connect_due(now, &mut rng).is_none(), "after a moment");
        for _ in 0..20 {
            let due = link.spare.due_at().unwrap();
            assert!(due.since(now.mono) <= Duration::from_secs(3));
            now = Now { mono: due, ..now };
            let connect = link.connect_due(now, &mut rng).unwrap();
            assert_eq!(connect.preferred, ["a:1"]);
            link.spare_failed(now, &mut rng, connect.way);
        }
        returns.push(now.mono);
    }
    returns.sort();
    returns.dedup();
    assert_eq!(returns.len(), 32, "no two at once");
}

/// \[SES-20\]: one redirect an attempt.
#[test]
fn redirects_do_not_go_in_circles() {
    let mut rng = rng();
    let mut link = link(&["a:1"]);
    let mut go = |link: &mut Link, now: Now, name: &str| {
        let connect = link.connect_due(now, &mut rng).unwrap();
        let place = link.place(connect.way, &node(name)).unwrap();
        let client = client(link, now, false);
        link.up(connect.way, node(name), client, place);
        connect
    };
    go(&mut link, at(0), "a:1");
    assert!(link.redirected(at(0), Part::Active, vec!["b:1".into()]));
    let second = go(&mut link, at(0), "b:1");
    assert_eq!(second.preferred[0], "b:1");
    assert!(!link.redirected(at(0), Part::Active, vec!["a:1".into()]), "once");
    let mut rng = self::rng();
    link.down(at(0), &mut rng, Duration::ZERO, false);
    let due = retry_at(&link);
    assert!(due > Timestamp::ZERO);
}
