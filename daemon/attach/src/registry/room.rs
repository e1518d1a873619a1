//! One session on this node: its attachments by number, who of it is elsewhere, and the view published for the hot path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use proto_spec::egress::EgressSet;
use proto_spec::frame::{ControlFrame, Ended, Peer, PeerState, Presence};
use proto_spec::membership::{MemberKind, MembershipEntry};
use proto_spec::{AttachSeq, Now, Refusal, SenderNumber, SessionId, Timestamp, WallTime};

use super::remote::{Remote, kind_of_state, state_of_kind};
use super::{
    AttachmentId, AttachmentStatus, JoinRequest, Joined, Notice, RoomView, SessionStatus, SharedView,
    ViewGuest, ViewMember, ViewRemote, state_of,
};
use crate::bucket::SharedBucket;
use crate::config::{DEPARTED_MAX, Limits, OVERTAKEN_MAX, SESSION_GUESTS_MAX, SESSION_MEMBERS_MAX};
use crate::counters::Traffic;

#[derive(Clone, Debug)]
struct Place<H> {
    id: AttachmentId,
    seq: AttachSeq,
    state: PeerState,
    /// The leader as the ticket names it.
    leader: SenderNumber,
    /// SHA-256 of the ticket.
    ticket: [u8; 32],
    since: WallTime,
    /// When a newer attachment on another node was first heard of.
    overtaken_at: Option<Timestamp>,
    handle: H,
}

/// Attachments of one number: at most one that counts and one that stands by.
#[derive(Clone, Debug)]
struct Seats<H> {
    /// Active or in the lobby.
    main: Option<Place<H>>,
    standby: Option<Place<H>>,
}

impl<H> Seats<H> {
    /// The attachment that counts.
    fn first(&self) -> Option<&Place<H>> {
        self.main.as_ref().or(self.standby.as_ref())
    }

    fn state(&self) -> PeerState {
        self.first().map_or(PeerState::Gone, |place| place.state)
    }

    fn places(&self) -> impl Iterator<Item = &Place<H>> {
        self.main.iter().chain(&self.standby)
    }
}

#[derive(Debug)]
pub(super) struct Room<H> {
    seats: BTreeMap<SenderNumber, Seats<H>>,
    /// The newest sequence ever admitted of each number, also of departed ones.
    newest: BTreeMap<SenderNumber, AttachSeq>,
    view: SharedView<H>,
    traffic: Arc<Traffic>,
    bucket: Option<Arc<SharedBucket>>,
    remote: Arc<Remote>,
}

impl<H: Clone> Room<H> {
    pub(super) fn new(limits: &Limits, now: Timestamp, remote: Arc<Remote>) -> Room<H> {
        let rate = limits.session_fanout_rate_bytes;
        Room {
            remote,
            seats: BTreeMap::new(),
            newest: BTreeMap::new(),
            view: Arc::new(ArcSwap::from_pointee(RoomView::default())),
            traffic: Arc::default(),
            bucket: (rate > 0).then(|| Arc::new(SharedBucket::new(rate, now))),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    pub(super) fn handles(&self) -> impl Iterator<Item = H> + '_ {
        self.seats.values().flat_map(Seats::places).map(|place| place.handle.clone())
    }

    pub(super) fn joined(&self, request: &JoinRequest) -> Joined<H> {
        Joined {
            view: Arc::clone(&self.view),
            traffic: Arc::clone(&self.traffic),
            peers: self.peers_of(request),
            buckets: self.bucket.iter().map(Arc::clone).collect(),
        }
    }

    pub(super) fn join(
        &mut self,
        now: Now,
        id: AttachmentId,
        request: &JoinRequest,
        handle: H,
        notices: &mut Vec<Notice<H>>,
    ) -> Result<(), Refusal> {
        let number = request.claims.number;
        let state = state_of(request.claims.kind, request.standby);
        // Newest wins, on whatever node; equal is a replay or a bug of the endpoint.
        let newest_here = self.newest.get(&number).copied();
        let newest = self.remote.of(number).map(|member| member.attach_seq).chain(newest_here).max();
        if newest.is_some_and(|newest| request.attach_seq <= newest) {
            return Err(Refusal::StaleAttachment);
        }
        self.check_room_for(number, state)?;
        let place = Place {
            id,
            seq: request.attach_seq,
            state,
            leader: request.claims.leader,
            ticket: request.ticket,
            since: now.wall,
            overtaken_at: None,
            handle,
        };
        let before = self.state(number);
        let seats = self.seats.entry(number).or_insert(Seats { main: None, standby: None });
        let seat = if state == PeerState::Standby { &mut seats.standby } else { &mut seats.main };
        let old = seat.replace(place);
        if let Some(old) = old {
            notices.push(superseded(old));
        }
        self.remember(number, request.attach_seq);
        self.publish();
        self.tell_change(number, before, Some(request.claims.leader), notices);
        Ok(())
    }

    pub(super) fn renew(
        &mut self,
        id: AttachmentId,
        request: &JoinRequest,
        notices: &mut Vec<Notice<H>>,
    ) -> Result<(), Refusal> {
        let number = request.claims.number;
        let before = self.state(number);
        let place = self.place_mut(number, id).ok_or(Refusal::Superseded)?;
        let was_guest = place.state == PeerState::Lobby;
        if was_guest && request.claims.kind == proto_spec::ticket::TicketKind::Member {
            self.check_room_for(number, PeerState::Active)?;
        }
        let place = self.place_mut(number, id).ok_or(Refusal::Superseded)?;
        place.leader = request.claims.leader;
        place.ticket = request.ticket;
        if was_guest {
            place.state = state_of(request.claims.kind, false);
        }
        self.publish();
        self.tell_change(number, before, Some(request.claims.leader), notices);
        Ok(())
    }

    pub(super) fn activate(
        &mut self,
        id: AttachmentId,
        attach_seq: AttachSeq,
        notices: &mut Vec<Notice<H>>,
    ) -> Result<SenderNumber, Refusal> {
        let (number, seats) = self
            .seats
            .iter_mut()
            .find(|(_, seats)| seats.standby.as_ref().is_some_and(|place| place.id == id))
            .ok_or(Refusal::Superseded)?;
        let number = *number;
        let Some(standby) = &seats.standby else { return Err(Refusal::Superseded) };
        let newer_than_active = seats.main.as_ref().is_none_or(|main| attach_seq > main.seq);
        let overtaken = self
            .remote
            .of(number)
            .any(|member| member.kind == MemberKind::Active && member.attach_seq >= attach_seq);
        if attach_seq < standby.seq || !newer_than_active || overtaken {
            return Err(Refusal::StaleAttachment);
        }
        let before = merged(Some(&*seats), &self.remote, number);
        let leader = standby.leader;
        let mut place = seats.standby.take().expect("looked at just above");
        place.state = PeerState::Active;
        place.seq = attach_seq;
        if let Some(old) = seats.main.replace(place) {
            notices.push(superseded(old));
        }
        self.remember(number, attach_seq);
        self.publish();
        self.tell_change(number, before, Some(leader), notices);
        Ok(number)
    }

    pub(super) fn leave(&mut self, id: AttachmentId, notices: &mut Vec<Notice<H>>) {
        let found = self.seats.iter().find_map(|(number, seats)| {
            seats.places().find(|place| place.id == id).map(|place| (*number, place.leader))
        });
        let Some((number, leader)) = found else { return };
        let before = self.state(number);
        if let Some(seats) = self.seats.get_mut(&number) {
            for seat in [&mut seats.main, &mut seats.standby] {
                if seat.as_ref().is_some_and(|place| place.id == id) {
                    *seat = None;
                }
            }
            if seats.state() == PeerState::Gone {
                self.seats.remove(&number);
            }
        }
        self.publish();
        self.tell_change(number, before, Some(leader), notices);
    }

    /// Others are elsewhere than before; returns when the first of those here that were overtaken ends.
    pub(super) fn set_remote(
        &mut self,
        now: Timestamp,
        remote: Arc<Remote>,
        notices: &mut Vec<Notice<H>>,
    ) -> Option<Timestamp> {
        let numbers: BTreeSet<SenderNumber> =
            self.remote.members.iter().chain(&remote.members).map(|member| member.number).collect();
        let before: Vec<(SenderNumber, PeerState)> =
            numbers.into_iter().map(|number| (number, self.state(number))).collect();
        self.remote = remote;
        for (number, seats) in &mut self.seats {
            if let Some(main) = &mut seats.main {
                let overtaken = self.remote.overtakes(*number, main.seq);
                main.overtaken_at = overtaken.then(|| main.overtaken_at.unwrap_or(now));
            }
        }
        self.publish();
        for (number, before) in before {
            self.tell_change(number, before, None, notices);
        }
        self.overtaken_deadline()
    }

    pub(super) fn overtaken_deadline(&self) -> Option<Timestamp> {
        let mains = self.seats.values().filter_map(|seats| seats.main.as_ref());
        mains.filter_map(|place| place.overtaken_at).min().map(|at| at + OVERTAKEN_MAX)
    }

    /// Takes out those who were overtaken long ago \[ATT-16\]. Nobody hears of it: the member is elsewhere.
    pub(super) fn end_overtaken(
        &mut self,
        now: Timestamp,
        notices: &mut Vec<Notice<H>>,
        mut gone: impl FnMut(SenderNumber),
    ) {
        let over = |place: &&Place<H>| place.overtaken_at.is_some_and(|at| at + OVERTAKEN_MAX <= now);
        let leaving: Vec<(SenderNumber, Place<H>)> = self
            .seats
            .iter()
            .filter_map(|(number, seats)| {
                seats.main.as_ref().filter(over).map(|place| (*number, place.clone()))
            })
            .collect();
        for (number, place) in leaving {
            self.leave(place.id, notices);
            gone(number);
            notices.push(superseded(place));
        }
    }

    /// Whether this active attachment has a newer one on another node.
    pub(super) fn is_overtaken(&self, number: SenderNumber, id: AttachmentId) -> bool {
        let main = self.seats.get(&number).and_then(|seats| seats.main.as_ref());
        main.is_some_and(|place| place.id == id && self.remote.overtakes(number, place.seq))
    }

    /// How a number is attached here, as the node's membership says it \[MBR-1\].
    pub(super) fn entry(&self, number: SenderNumber) -> Option<MembershipEntry> {
        let place = self.seats.get(&number)?.first()?;
        let kind = kind_of_state(place.state)?;
        Some(MembershipEntry { number, kind, attach_seq: place.seq, ticket: place.ticket })
    }

    /// The active attachment of a number, if it is this one.
    pub(super) fn active(&self, number: SenderNumber, attach_seq: AttachSeq) -> Option<H> {
        let main = self.seats.get(&number)?.main.as_ref()?;
        (main.state == PeerState::Active && main.seq == attach_seq).then(|| main.handle.clone())
    }

    /// Takes out everybody, or one number, and tells them why.
    pub(super) fn end(
        &mut self,
        number: Option<SenderNumber>,
        notices: &mut Vec<Notice<H>>,
        mut gone: impl FnMut(SenderNumber),
    ) {
        let refusal = if number.is_some() { Refusal::MemberRemoved } else { Refusal::SessionEnded };
        let leaving: Vec<Place<H>> = self
            .seats
            .iter()
            .filter(|(other, _)| number.is_none_or(|number| number == **other))
            .flat_map(|(_, seats)| seats.places().cloned().collect::<Vec<_>>())
            .collect();
        for place in leaving {
            if number.is_some() {
                self.leave(place.id, notices);
            }
            notices.push(Notice::End {
                to: place.handle,
                refusal,
                ended: Some(Ended { reason: refusal, number }),
            });
        }
        match number {
            Some(number) => gone(number),
            None => {
                std::mem::take(&mut self.seats).into_keys().for_each(gone);
                self.publish();
            }
        }
    }

    pub(super) fn status(&self, session: SessionId) -> SessionStatus {
        let attachments = self
            .seats
            .iter()
            .flat_map(|(number, seats)| {
                seats.places().map(|place| AttachmentStatus {
                    number: *number,
                    state: place.state,
                    since: place.since,
                })
            })
            .collect();
        SessionStatus { session, attachments, traffic: self.traffic.counts() }
    }

    fn state(&self, number: SenderNumber) -> PeerState {
        merged(self.seats.get(&number), &self.remote, number)
    }

    fn place_mut(&mut self, number: SenderNumber, id: AttachmentId) -> Option<&mut Place<H>> {
        let seats = self.seats.get_mut(&number)?;
        [&mut seats.main, &mut seats.standby].into_iter().flatten().find(|place| place.id == id)
    }

    fn check_room_for(&self, number: SenderNumber, state: PeerState) -> Result<(), Refusal> {
        let is_guest = |state: PeerState| state == PeerState::Lobby;
        let others = self
            .seats
            .iter()
            .filter(|(other, seats)| **other != number && is_guest(seats.state()) == is_guest(state))
            .count();
        let limit = if is_guest(state) { SESSION_GUESTS_MAX } else { SESSION_MEMBERS_MAX };
        if others >= limit { Err(Refusal::SessionFull) } else { Ok(()) }
    }

    fn remember(&mut self, number: SenderNumber, seq: AttachSeq) {
        self.newest.insert(number, seq);
        if self.newest.len() > SESSION_MEMBERS_MAX + SESSION_GUESTS_MAX + DEPARTED_MAX {
            // Numbers are never used twice, so the lowest departed one is the longest gone.
            let departed = self.newest.keys().find(|number| !self.seats.contains_key(number)).copied();
            if let Some(departed) = departed {
                self.newest.remove(&departed);
            }
        }
    }

    fn publish(&self) {
        let mut view = RoomView::default();
        for (number, seats) in &self.seats {
            match &seats.main {
                Some(place) if place.state == PeerState::Active => {
                    view.members.push(ViewMember {
                        number: *number,
                        leads: place.leader == *number,
                        handle: place.handle.clone(),
                    });
                }
                Some(place) => view.guests.push(ViewGuest {
                    number: *number,
                    leader: place.leader,
                    handle: place.handle.clone(),
                }),
                None => {}
            }
        }
        let remote = self.remote.members.iter().map(|member| ViewRemote {
            number: member.number,
            kind: member.kind,
            node: member.node,
        });
        view.remote.extend(remote);
        view.remote.sort_unstable_by_key(|member| (member.number, member.node));
        view.egress = EgressSet::new(self.remote.egress.iter().copied());
        self.view.store(Arc::new(view));
    }

    /// Members hear of members; of a guest hears its leader alone \[ATT-8\]: the one that the guest's ticket names, or
    /// for a guest on another node, whose ticket is not here, the one that names itself in its own.
    fn tell_change(
        &self,
        number: SenderNumber,
        before: PeerState,
        leader: Option<SenderNumber>,
        notices: &mut Vec<Notice<H>>,
    ) {
        let after = self.state(number);
        if before == after {
            return;
        }
        let leader_only = |state| matches!(state, PeerState::Lobby | PeerState::Gone);
        let only_leader = leader_only(before) && leader_only(after);
        let frame = ControlFrame::Presence(Presence { peer: Peer { number, state: after } });
        for (other, seats) in &self.seats {
            let listens = seats.main.as_ref().filter(|place| place.state == PeerState::Active);
            if let Some(place) = listens
                && *other != number
                && (!only_leader || *other == leader.unwrap_or(place.leader))
            {
                notices.push(Notice::Send { to: place.handle.clone(), frame: frame.clone() });
            }
        }
    }

    fn peers_of(&self, request: &JoinRequest) -> Vec<Peer> {
        let own = request.claims.number;
        if request.claims.kind == proto_spec::ticket::TicketKind::Lobby {
            return Vec::new();
        }
        let numbers: BTreeSet<SenderNumber> = self
            .seats
            .keys()
            .copied()
            .chain(self.remote.members.iter().map(|member| member.number))
            .collect();
        // Of a guest elsewhere the ticket is not here: who leads by its own ticket is its leader.
        let leads = |number: &SenderNumber| {
            let here = self.seats.get(number).and_then(|seats| seats.main.as_ref());
            here.map_or(request.claims.leader, |place| place.leader) == own
        };
        let others = numbers.into_iter().filter(|number| *number != own);
        let states = others.map(|number| Peer { number, state: self.state(number) });
        states.filter(|peer| peer.state != PeerState::Lobby || leads(&peer.number)).collect()
    }
}

/// How a number stands over all nodes: the newest attachment that is active or in the lobby counts, a standby only when
/// there is none.
fn merged<H>(seats: Option<&Seats<H>>, remote: &Remote, number: SenderNumber) -> PeerState {
    let here = seats.and_then(Seats::first).map(|place| (place.state, place.seq));
    let elsewhere = remote.of(number).map(|member| (state_of_kind(member.kind), member.attach_seq));
    let rank = |(state, seq): &(PeerState, AttachSeq)| {
        (*state != PeerState::Standby, *seq, *state == PeerState::Active)
    };
    here.into_iter().chain(elsewhere).max_by_key(rank).map_or(PeerState::Gone, |(state, _)| state)
}

fn superseded<H>(old: Place<H>) -> Notice<H> {
    Notice::End { to: old.handle, refusal: Refusal::Superseded, ended: None }
}
