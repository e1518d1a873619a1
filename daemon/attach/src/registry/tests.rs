use std::time::Duration;

use bytes::Bytes;
use proto_spec::TrafficClass;
use proto_spec::frame::{DataHeader, Destination};
use proto_spec::ticket::Role;

use super::*;
use crate::fanout;
use crate::ledger::{Ledger, NodeMemory};
use crate::run::{Forward, Run};

mod mesh;

const SESSION: SessionId = SessionId([1; 16]);

fn now() -> Now {
    Now { mono: Timestamp(Duration::from_secs(1)), wall: WallTime(1_000_000) }
}

fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

fn request(value: u16, kind: TicketKind, seq: u64) -> JoinRequest {
    JoinRequest {
        claims: Claims {
            mesh: "mesh".into(),
            session: SESSION,
            number: number(value),
            kind,
            role: Role::Provider,
            leader: number(1),
            attach_key: [0; 32],
            issued: WallTime(0),
            expires: WallTime(2_000_000),
            rate_bytes: 0,
            account: 0,
            nodes: Vec::new(),
        },
        ticket: [value as u8; 32],
        attach_seq: AttachSeq(seq),
        standby: false,
    }
}

/// Handles are the attachment ids, so that notices can be read.
struct Harness {
    registry: Registry<u64>,
    notices: Vec<Notice<u64>>,
}

impl Harness {
    fn new(change: impl FnOnce(&mut Limits)) -> Harness {
        let mut limits = Limits::default();
        change(&mut limits);
        Harness { registry: Registry::new(Arc::new(limits)), notices: Vec::new() }
    }

    fn join(&mut self, request: &JoinRequest) -> Result<(AttachmentId, Joined<u64>), Refusal> {
        self.notices.clear();
        let id = self.registry.allot();
        self.registry.join(now(), id, request, id.0, &mut self.notices).map(|joined| (id, joined))
    }

    fn member(&mut self, value: u16) -> (AttachmentId, Joined<u64>) {
        self.join(&request(value, TicketKind::Member, 1)).unwrap()
    }

    fn told(&self) -> Vec<(u64, u16, PeerState)> {
        let presence = self.notices.iter().filter_map(|notice| match notice {
            Notice::Send { to, frame: ControlFrame::Presence(presence) } => {
                Some((*to, presence.peer.number.value(), presence.peer.state))
            }
            _ => None,
        });
        presence.collect()
    }

    fn ended(&self) -> Vec<(u64, Refusal)> {
        let ended = self.notices.iter().filter_map(|notice| match notice {
            Notice::End { to, refusal, .. } => Some((*to, *refusal)),
            Notice::Send { .. } => None,
        });
        ended.collect()
    }
}

/// [ATT-8]: members hear of members coming and going.
#[test]
fn members_hear_of_each_other() {
    let mut harness = Harness::new(|_| {});
    let (first, joined) = harness.member(1);
    assert!(joined.peers.is_empty() && harness.told().is_empty());
    let (second, joined) = harness.member(2);
    assert_eq!(joined.peers, [Peer { number: number(1), state: PeerState::Active }]);
    assert_eq!(harness.told(), [(first.0, 2, PeerState::Active)]);
    harness.notices.clear();
    harness.registry.leave(&request(2, TicketKind::Member, 1).claims, second, &mut harness.notices);
    assert_eq!(harness.told(), [(first.0, 2, PeerState::Gone)]);
    assert_eq!(joined.view.load().members.len(), 1);
}

/// [ATT-12]: of a guest hears the leader alone; the guest sees nobody; once a member it is told to all.
#[test]
fn guests_are_the_leaders_alone() {
    let mut harness = Harness::new(|_| {});
    let (leader, _) = harness.member(1);
    let (other, _) = harness.member(2);
    let (guest, joined) = harness.join(&request(3, TicketKind::Lobby, 1)).unwrap();
    assert_eq!(harness.told(), [(leader.0, 3, PeerState::Lobby)]);
    assert!(joined.peers.is_empty());
    let (_, joined) = harness.member(4);
    assert!(joined.peers.iter().all(|peer| peer.number != number(3)));
    harness.notices.clear();
    harness.registry.renew(now(), guest, &request(3, TicketKind::Member, 1), &mut harness.notices).unwrap();
    assert!(harness.told().contains(&(leader.0, 3, PeerState::Active)));
    assert!(harness.told().contains(&(other.0, 3, PeerState::Active)));
}

fn list(numbers: &[u16]) -> Destination {
    Destination::Members(numbers.iter().map(|value| number(*value)).collect())
}

fn run(sender: u16, destination: &Destination) -> (Arc<Ledger>, Forward) {
    let ledger = Ledger::new(&Limits::default(), NodeMemory::new(1 << 20), Box::new(|| {}));
    let (class, destination) = (TrafficClass::Bulk, destination.clone());
    let header = DataHeader { class, sender: number(sender), destination, replace: None };
    let mut bytes = Vec::new();
    header.put(&mut bytes, |out| out.extend_from_slice(&[0; 10]));
    let length = bytes.len();
    let run = Run::new(&ledger, &header, Bytes::from(bytes), 1, length);
    (ledger, Forward::arrived(run).unwrap())
}

/// Whom a run reaches here, and which other nodes.
fn deliver_all(
    view: &RoomView<u64>,
    sender: u16,
    from_lobby: bool,
    destination: Destination,
) -> (Vec<u64>, Vec<u16>) {
    let (ledger, forward) = run(sender, &destination);
    let mut reached = Vec::new();
    let delivered = fanout::deliver(view, number(sender), from_lobby, forward, |handle, copy| {
        drop(copy);
        reached.push(*handle);
    });
    assert_eq!(delivered.copies, reached.len());
    let nodes: Vec<u16> =
        delivered.beyond.iter().flat_map(|beyond| beyond.egress.nodes()).map(|node| node.value()).collect();
    assert_eq!(delivered.charged_copies(), (reached.len() + nodes.len()) as u64);
    drop(delivered);
    assert_eq!(ledger.outstanding(TrafficClass::Bulk), 0, "nothing presses once all copies are gone");
    (reached, nodes)
}

fn deliver(view: &RoomView<u64>, sender: u16, from_lobby: bool, destination: Destination) -> Vec<u64> {
    deliver_all(view, sender, from_lobby, destination).0
}

/// [FWD-1] [ATT-12]: everybody but the sender; named ones alone; guests only from their leader, only by name.
#[test]
fn fan_out_reaches_whom_it_should() {
    let mut harness = Harness::new(|_| {});
    let (a, joined) = harness.member(1);
    let (b, _) = harness.member(2);
    let (c, _) = harness.member(3);
    let (guest, _) = harness.join(&request(4, TicketKind::Lobby, 1)).unwrap();
    let standby = JoinRequest { standby: true, ..request(5, TicketKind::Member, 1) };
    harness.join(&standby).unwrap();
    let view = joined.view.load();
    assert_eq!(deliver(&view, 1, false, Destination::All), [b.0, c.0]);
    assert_eq!(
        deliver(&view, 2, false, list(&[2, 3, 3, 9])),
        [c.0],
        "never back, never twice, nobody unknown"
    );
    assert_eq!(deliver(&view, 1, false, list(&[4])), [guest.0]);
    assert_eq!(deliver(&view, 2, false, list(&[4])), [0u64; 0], "a guest is no other member's");
    assert_eq!(deliver(&view, 4, true, list(&[1])), [a.0]);
}

/// [ATT-7]: the newest attachment of a number wins, older ones are ended or refused; nobody hears of it.
#[test]
fn the_newest_attachment_wins() {
    let mut harness = Harness::new(|_| {});
    harness.member(1);
    let (old, _) = harness.join(&request(2, TicketKind::Member, 5)).unwrap();
    for stale in [4, 5] {
        assert_eq!(
            harness.join(&request(2, TicketKind::Member, stale)).unwrap_err(),
            Refusal::StaleAttachment
        );
    }
    let (new, joined) = harness.join(&request(2, TicketKind::Member, 6)).unwrap();
    assert_eq!(harness.ended(), [(old.0, Refusal::Superseded)]);
    assert!(harness.told().is_empty(), "the member never went away");
    harness.notices.clear();
    harness.registry.leave(&request(2, TicketKind::Member, 5).claims, old, &mut harness.notices);
    assert!(harness.told().is_empty());
    assert!(joined.view.load().members.iter().any(|member| member.handle == new.0));
    harness.registry.leave(&request(2, TicketKind::Member, 6).claims, new, &mut harness.notices);
    let late = harness.join(&request(2, TicketKind::Member, 6)).unwrap_err();
    assert_eq!(late, Refusal::StaleAttachment, "also once it has gone");
}

/// [ATT-7]: a standby takes over with a newer sequence only.
#[test]
fn a_standby_takes_over() {
    let mut harness = Harness::new(|_| {});
    harness.member(1);
    let (active, joined) = harness.join(&request(2, TicketKind::Member, 5)).unwrap();
    let (standby, _) =
        harness.join(&JoinRequest { standby: true, ..request(2, TicketKind::Member, 6) }).unwrap();
    assert!(harness.ended().is_empty() && harness.told().is_empty());
    assert!(joined.view.load().members.iter().all(|member| member.handle != standby.0));
    let stale = harness.registry.activate(SESSION, standby, AttachSeq(5), &mut harness.notices);
    assert_eq!(stale, Err(Refusal::StaleAttachment));
    harness.registry.activate(SESSION, standby, AttachSeq(7), &mut harness.notices).unwrap();
    assert_eq!(harness.ended(), [(active.0, Refusal::Superseded)]);
    assert!(joined.view.load().members.iter().any(|member| member.handle == standby.0));
}

/// [ATT-11]: a tombstone takes members out at once and keeps them out until the tickets it ends have expired.
#[test]
fn tombstones_end_and_keep_out() {
    let mut harness = Harness::new(|_| {});
    let (first, joined) = harness.member(1);
    let (second, _) = harness.member(2);
    harness.notices.clear();
    let until = WallTime(1_500_000);
    harness.registry.tombstone(now().wall, SESSION, Some(number(2)), until, &mut harness.notices);
    assert_eq!(harness.ended(), [(second.0, Refusal::MemberRemoved)]);
    assert_eq!(harness.told(), [(first.0, 2, PeerState::Gone)]);
    assert_eq!(harness.join(&request(2, TicketKind::Member, 9)).unwrap_err(), Refusal::MemberRemoved);
    harness.registry.tombstone(now().wall, SESSION, None, until, &mut harness.notices);
    assert_eq!(harness.ended(), [(first.0, Refusal::SessionEnded)]);
    assert!(joined.view.load().members.is_empty());
    assert_eq!(harness.join(&request(3, TicketKind::Member, 1)).unwrap_err(), Refusal::SessionEnded);
    harness.registry.leave(&request(1, TicketKind::Member, 1).claims, first, &mut harness.notices);
    harness.registry.leave(&request(2, TicketKind::Member, 1).claims, second, &mut harness.notices);
    assert_eq!((harness.registry.sessions(), harness.registry.attachments()), (0, 0));
    let later = Now { wall: WallTime(1_500_000), ..now() };
    let id = harness.registry.allot();
    assert!(harness.registry.join(later, id, &request(3, TicketKind::Member, 1), 0, &mut Vec::new()).is_ok());
}

/// [ATT-6] at each limit and one beyond.
#[test]
fn limits_hold() {
    let mut harness = Harness::new(|_| {});
    for value in 1..=50 {
        harness.member(value);
    }
    assert_eq!(harness.join(&request(51, TicketKind::Member, 1)).unwrap_err(), Refusal::SessionFull);
    assert!(
        harness.join(&request(50, TicketKind::Member, 2)).is_ok(),
        "a member who comes back is no newcomer"
    );
    for value in 100..116 {
        harness.join(&request(value, TicketKind::Lobby, 1)).unwrap();
    }
    assert_eq!(harness.join(&request(116, TicketKind::Lobby, 1)).unwrap_err(), Refusal::SessionFull);

    let mut harness = Harness::new(|limits| limits.attachments_max = 1);
    harness.member(1);
    assert_eq!(harness.join(&request(2, TicketKind::Member, 1)).unwrap_err(), Refusal::NodeFull);
}

/// [ATT-10]
#[test]
fn a_draining_node_admits_nobody() {
    let mut harness = Harness::new(|_| {});
    harness.member(1);
    harness.registry.drain();
    assert_eq!(harness.join(&request(2, TicketKind::Member, 1)).unwrap_err(), Refusal::Draining);
    assert_eq!(harness.registry.handles().len(), 1);
}

#[test]
fn tombstones_are_bounded_and_forget_what_is_over_first() {
    let mut tombstones = super::tombstones::Tombstones::default();
    let id = |index: u64| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&index.to_be_bytes());
        SessionId(bytes)
    };
    let claims = |index| Claims { session: id(index), ..request(1, TicketKind::Member, 1).claims };
    let max = crate::config::TOMBSTONES_MAX as u64;
    for index in 0..max {
        tombstones.insert(WallTime(0), id(index), None, WallTime(1_000 + index));
    }
    assert!(tombstones.check(&claims(0), WallTime(0)).is_err());
    tombstones.insert(WallTime(0), id(max), None, WallTime(1_000 + max));
    assert!(tombstones.check(&claims(0), WallTime(0)).is_ok(), "the soonest over is forgotten");
    assert!(tombstones.check(&claims(1), WallTime(0)).is_err());
    assert!(tombstones.check(&claims(max), WallTime(0)).is_err());
}

#[test]
fn traffic_outlives_its_session() {
    let mut harness = Harness::new(|_| {});
    let (id, joined) = harness.member(1);
    joined.traffic.received(TrafficClass::Bulk, 2, 300);
    assert_eq!(harness.registry.session(SESSION).unwrap().traffic[3].bytes_in, 300);
    harness.registry.leave(&request(1, TicketKind::Member, 1).claims, id, &mut harness.notices);
    assert!(harness.registry.session(SESSION).is_none());
    assert_eq!(harness.registry.traffic()[3].bytes_in, 300);
}
