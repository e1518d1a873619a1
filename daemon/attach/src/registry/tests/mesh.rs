//! A session on several nodes, as one of them sees it.

use proto_spec::NodeNumber;

use super::*;
use crate::config::OVERTAKEN_MAX;
use crate::counters::DropReason;

fn node(value: u16) -> NodeNumber {
    NodeNumber::new(value).unwrap()
}

fn at(ms: u64) -> Now {
    Now { mono: Timestamp(Duration::from_millis(ms)), wall: WallTime(1_000_000) }
}

/// Numbers elsewhere: number, kind, sequence, node.
fn remote(members: &[(u16, MemberKind, u64, u16)]) -> Remote {
    let mut egress: Vec<NodeNumber> = members
        .iter()
        .filter(|(_, kind, ..)| *kind == MemberKind::Active)
        .map(|(.., at)| node(*at))
        .collect();
    egress.sort_unstable();
    egress.dedup();
    let members = members.iter().map(|(value, kind, seq, at)| RemoteMember {
        number: number(*value),
        kind: *kind,
        attach_seq: AttachSeq(*seq),
        node: node(*at),
    });
    Remote { egress, members: members.collect() }
}

impl Harness {
    fn elsewhere(&mut self, members: &[(u16, MemberKind, u64, u16)]) {
        self.notices.clear();
        self.registry.set_remote(now(), SESSION, remote(members), &mut self.notices);
    }

    fn changes(&mut self) -> Vec<String> {
        let mut changes = Vec::new();
        while let Some(change) = self.registry.poll_change() {
            changes.push(match change {
                Change::Attached { entry, ready, .. } => {
                    assert_eq!(entry.ticket, [entry.number.value() as u8; 32]);
                    let ready = if ready { ", ready?" } else { "" };
                    format!("{} {:?} {}{ready}", entry.number, entry.kind, entry.attach_seq.0)
                }
                Change::Detached { number, attach_seq, .. } => format!("{number} gone {}", attach_seq.0),
            });
        }
        assert!(!self.registry.has_changes());
        changes
    }

    fn standby(&mut self, value: u16, seq: u64) -> AttachmentId {
        self.join(&JoinRequest { standby: true, ..request(value, TicketKind::Member, seq) }).unwrap().0
    }
}

use MemberKind::{Active, Lobby, Standby};

/// [MBR-1] [MBR-10]: the mesh is told of each number as it is now; who becomes active waits for `ready`.
#[test]
fn the_mesh_hears_of_every_change() {
    let mut harness = Harness::new(|_| {});
    let (first, _) = harness.member(1);
    assert_eq!(harness.changes(), ["1 Active 1, ready?"]);
    let (guest, _) = harness.join(&request(2, TicketKind::Lobby, 4)).unwrap();
    let standby = harness.standby(3, 6);
    assert_eq!(harness.changes(), ["2 Lobby 4", "3 Standby 6"]);
    harness.registry.renew(now(), guest, &request(2, TicketKind::Member, 4), &mut Vec::new()).unwrap();
    harness.registry.activate(SESSION, standby, AttachSeq(8), &mut Vec::new()).unwrap();
    assert_eq!(harness.changes(), ["2 Active 4, ready?", "3 Active 8, ready?"]);
    assert_eq!(harness.registry.ready(SESSION, number(3), AttachSeq(8)), Some(standby.0));
    assert_eq!(harness.registry.ready(SESSION, number(3), AttachSeq(6)), None, "of an earlier attachment");

    // A standby beside the active one is no news; without it, it is what there is, although it is the older.
    harness.standby(1, 2);
    harness.join(&request(1, TicketKind::Member, 3)).unwrap();
    assert_eq!(harness.changes(), ["1 Active 3, ready?"]);
    harness.registry.leave(&request(1, TicketKind::Member, 1).claims, first, &mut Vec::new());
    assert_eq!(harness.changes(), [""; 0], "the one that left was not the newest");
    let active = harness.registry.handles().into_iter().map(|(_, handle)| handle).next().unwrap();
    harness.registry.leave(&request(1, TicketKind::Member, 3).claims, AttachmentId(active), &mut Vec::new());
    assert_eq!(harness.changes(), ["1 gone 3", "1 Standby 2"]);

    // Nobody looked in between: only what is now counts.
    let (back, _) = harness.join(&request(1, TicketKind::Member, 9)).unwrap();
    harness.registry.leave(&request(1, TicketKind::Member, 9).claims, back, &mut Vec::new());
    assert_eq!(harness.changes(), [""; 0]);
    harness.registry.tombstone(now().wall, SESSION, None, WallTime(1_500_000), &mut Vec::new());
    assert_eq!(harness.changes(), ["1 gone 2", "2 gone 4", "3 gone 8"]);
}

/// [ATT-8]: members here hear of members there; one that moves between nodes does not flicker.
#[test]
fn presence_is_merged_over_nodes() {
    let mut harness = Harness::new(|_| {});
    let (first, _) = harness.member(1);
    harness.elsewhere(&[(2, Active, 5, 20), (3, Standby, 1, 20)]);
    assert_eq!(harness.told(), [(first.0, 2, PeerState::Active), (first.0, 3, PeerState::Standby)]);
    let (_, joined) = harness.member(4);
    let states: Vec<_> = joined.peers.iter().map(|peer| (peer.number.value(), peer.state)).collect();
    assert_eq!(states, [(1, PeerState::Active), (2, PeerState::Active), (3, PeerState::Standby)]);

    // From node 20 to node 30, both for a while, and then here.
    harness.elsewhere(&[(2, Active, 5, 20), (2, Standby, 6, 30)]);
    assert!(harness.told().iter().all(|(_, number, _)| *number == 3));
    harness.elsewhere(&[(2, Active, 5, 20), (2, Active, 7, 30)]);
    assert!(harness.told().is_empty());
    harness.elsewhere(&[(2, Active, 7, 30)]);
    assert!(harness.told().is_empty());
    let (second, _) = harness.join(&request(2, TicketKind::Member, 8)).unwrap();
    assert!(harness.told().is_empty());
    harness.elsewhere(&[]);
    assert!(harness.told().is_empty());
    harness.registry.leave(&request(2, TicketKind::Member, 8).claims, second, &mut harness.notices);
    assert!(harness.told().contains(&(first.0, 2, PeerState::Gone)));
}

/// [ATT-8]: of a guest on another node hears who leads by its own ticket, and nobody else.
#[test]
fn guests_elsewhere_are_the_leaders_alone() {
    let mut harness = Harness::new(|_| {});
    let (leader, _) = harness.member(1);
    harness.member(2);
    harness.elsewhere(&[(9, Lobby, 1, 20)]);
    assert_eq!(harness.told(), [(leader.0, 9, PeerState::Lobby)]);
    let (_, joined) = harness.join(&request(1, TicketKind::Member, 2)).unwrap();
    assert!(joined.peers.contains(&Peer { number: number(9), state: PeerState::Lobby }));
    let (_, joined) = harness.member(3);
    assert!(joined.peers.iter().all(|peer| peer.number != number(9)));
    harness.elsewhere(&[(9, Active, 1, 20)]);
    assert_eq!(harness.told().len(), 3, "once a member it is told to all");
}

/// [FWD-11] [FLW-4]: all to the whole egress set, a list to where the named ones are, a guest to its leader's node, and to
/// a guest only its leader. Each node is charged as a copy.
#[test]
fn fan_out_reaches_other_nodes() {
    let mut harness = Harness::new(|_| {});
    let (leader, joined) = harness.member(1);
    let (other, _) = harness.member(2);
    harness.join(&request(3, TicketKind::Lobby, 1)).unwrap();
    assert_eq!(deliver_all(&joined.view.load(), 1, false, Destination::All).1, [0u16; 0]);
    harness.elsewhere(&[
        (5, Active, 1, 20),
        (6, Active, 1, 20),
        (7, Active, 1, 30),
        (7, Active, 2, 40),
        (8, Standby, 1, 50),
        (9, Lobby, 1, 60),
    ]);
    let view = joined.view.load();
    assert_eq!(deliver_all(&view, 1, false, Destination::All), (vec![other.0], vec![20, 30, 40]));
    assert_eq!(deliver_all(&view, 2, false, list(&[5, 6, 1])), (vec![leader.0], vec![20]));
    assert_eq!(deliver_all(&view, 2, false, list(&[7])).1, [30, 40], "both attachments during a move");
    assert_eq!(deliver_all(&view, 2, false, list(&[8, 77])).1, [0u16; 0], "standbys are in no egress set");
    assert_eq!(deliver_all(&view, 2, false, list(&[9])).1, [0u16; 0], "a guest is its leader's alone");
    assert_eq!(deliver_all(&view, 1, false, list(&[9])).1, [60]);
    assert_eq!(deliver_all(&view, 3, true, Destination::All).1, [0u16; 0]);

    // The leader is on another node: its guest's frames go there, and nowhere else.
    let mut harness = Harness::new(|_| {});
    let (_, joined) = harness.join(&request(3, TicketKind::Lobby, 1)).unwrap();
    harness.elsewhere(&[(1, Active, 1, 20), (2, Active, 1, 30)]);
    assert_eq!(deliver_all(&joined.view.load(), 3, true, list(&[1])), (vec![], vec![20]));
}

fn arrive(view: &RoomView<u64>, sender: u16, destination: Destination) -> Result<Vec<u64>, DropReason> {
    let (ledger, forward) = run(sender, &destination);
    let mut reached = Vec::new();
    let outcome = fanout::deliver_arrived(view, forward, |handle, _| reached.push(*handle));
    assert_eq!(ledger.outstanding(TrafficClass::Bulk), 0);
    outcome.map(|copies| {
        assert_eq!(copies, reached.len());
        reached
    })
}

/// [FWD-12]: what arrives goes to members here by what is known here; strangers and guests who aim too high are refused.
#[test]
fn what_arrives_reaches_members_here_alone() {
    let mut harness = Harness::new(|_| {});
    let (leader, joined) = harness.member(1);
    let (other, _) = harness.member(2);
    let (guest, _) = harness.join(&request(3, TicketKind::Lobby, 1)).unwrap();
    harness.elsewhere(&[(5, Active, 1, 20), (8, Standby, 1, 20), (9, Lobby, 1, 20)]);
    let view = joined.view.load();
    assert_eq!(arrive(&view, 5, Destination::All), Ok(vec![leader.0, other.0]));
    assert_eq!(arrive(&view, 8, list(&[2])), Ok(vec![other.0]), "one that has just taken over");
    assert_eq!(arrive(&view, 5, list(&[9])), Err(DropReason::Unreachable), "never on to another node");
    assert_eq!(arrive(&view, 5, list(&[3])), Err(DropReason::Unreachable), "a guest is its leader's alone");
    assert_eq!(arrive(&view, 1, list(&[3, 2])), Ok(vec![other.0, guest.0]), "a leader that is moving");
    assert_eq!(arrive(&view, 1, list(&[1])), Err(DropReason::Unreachable), "never to the sender's number");
    assert_eq!(arrive(&view, 9, list(&[1])), Ok(vec![leader.0]));
    for destination in [list(&[2]), list(&[1, 2]), Destination::All] {
        assert_eq!(arrive(&view, 9, destination), Err(DropReason::Unreachable), "a guest reaches its leader");
    }
    assert_eq!(arrive(&view, 77, list(&[1])), Err(DropReason::UnknownSender));
}

/// [ATT-7]: sequences count over all nodes.
#[test]
fn an_attachment_older_than_one_elsewhere_is_stale() {
    let mut harness = Harness::new(|_| {});
    harness.member(1);
    let standby = harness.standby(2, 3);
    harness.elsewhere(&[(2, Active, 5, 20)]);
    for stale in [4, 5] {
        assert_eq!(
            harness.join(&request(2, TicketKind::Member, stale)).unwrap_err(),
            Refusal::StaleAttachment
        );
        let activated = harness.registry.activate(SESSION, standby, AttachSeq(stale), &mut Vec::new());
        assert_eq!(activated, Err(Refusal::StaleAttachment));
    }
    assert!(harness.registry.activate(SESSION, standby, AttachSeq(6), &mut Vec::new()).is_ok());
    assert!(harness.join(&request(2, TicketKind::Member, 7)).is_ok());
}

/// [ATT-16]: one that was overtaken on another node has time to leave, and ends then; one that was not stays.
#[test]
fn overtaken_attachments_end_in_time() {
    let mut harness = Harness::new(|_| {});
    let (first, _) = harness.member(1);
    let (old, joined) = harness.join(&request(2, TicketKind::Member, 5)).unwrap();
    let tell = |harness: &mut Harness, ms, members: &[_]| {
        harness.notices.clear();
        harness.registry.set_remote(at(ms), SESSION, remote(members), &mut harness.notices);
        assert!(harness.ended().is_empty());
    };
    tell(&mut harness, 1_000, &[(2, Active, 4, 20)]);
    assert_eq!(harness.registry.deadline(), None, "the other one is the older");
    tell(&mut harness, 2_000, &[(2, Active, 6, 20)]);
    tell(&mut harness, 9_000, &[(2, Active, 6, 20), (7, Active, 1, 20)]);
    let due = at(2_000).mono + OVERTAKEN_MAX;
    assert_eq!(harness.registry.deadline(), Some(due), "counted from when it was first heard of");
    harness.changes();
    harness.notices.clear();
    harness.registry.handle_timeout(due - Duration::from_millis(1), &mut harness.notices);
    assert!(harness.ended().is_empty());
    harness.registry.handle_timeout(due, &mut harness.notices);
    assert_eq!(harness.ended(), [(old.0, Refusal::Superseded)]);
    assert!(harness.told().is_empty(), "the member is still there, elsewhere");
    assert_eq!(joined.view.load().members.iter().map(|member| member.handle).collect::<Vec<_>>(), [first.0]);
    assert_eq!(harness.changes(), ["2 gone 5"]);

    // It came back from there in time.
    let (_, _) = harness.join(&request(3, TicketKind::Member, 5)).unwrap();
    tell(&mut harness, 60_000, &[(3, Active, 6, 20)]);
    tell(&mut harness, 61_000, &[]);
    harness.registry.handle_timeout(at(200_000).mono, &mut harness.notices);
    assert!(harness.ended().is_empty());
}

/// [ATT-15]: only who is active elsewhere is given time; it is twice the largest round trip, within bounds.
#[test]
fn who_has_moved_is_given_time() {
    let mut harness = Harness::new(|_| {});
    let (id, _) = harness.join(&request(2, TicketKind::Member, 5)).unwrap();
    let claims = request(2, TicketKind::Member, 5).claims;
    assert_eq!(harness.registry.detach(&claims, id), None);
    harness.elsewhere(&[(2, Standby, 6, 20)]);
    assert_eq!(harness.registry.detach(&claims, id), None);
    harness.elsewhere(&[(2, Active, 6, 20)]);
    for (grace_ms, given_ms) in [(0, 100), (300, 300), (9_000, 2_000)] {
        harness.registry.set_move_grace(Duration::from_millis(grace_ms));
        assert_eq!(harness.registry.detach(&claims, id), Some(Duration::from_millis(given_ms)));
    }
}

/// [MBR-8]: what is known of a session elsewhere outlasts a moment in which nobody of it is here; the mesh, which saw no
/// change, would not say it again.
#[test]
fn what_is_elsewhere_outlasts_an_empty_moment() {
    let mut harness = Harness::new(|_| {});
    let (id, _) = harness.member(1);
    harness.changes();
    harness.elsewhere(&[(2, Active, 5, 20)]);
    harness.registry.leave(&request(1, TicketKind::Member, 1).claims, id, &mut Vec::new());
    let (_, joined) = harness.join(&request(1, TicketKind::Member, 2)).unwrap();
    assert_eq!(harness.changes(), ["1 Active 2, ready?"]);
    assert_eq!(joined.peers, [Peer { number: number(2), state: PeerState::Active }]);
    assert_eq!(deliver_all(&joined.view.load(), 1, false, Destination::All).1, [20]);
    assert_eq!(harness.registry.egress(SESSION), [node(20)]);
}
