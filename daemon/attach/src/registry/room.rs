//! One session on this node: its attachments by number, and the view published for the hot path.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use proto_spec::frame::{ControlFrame, Ended, Peer, PeerState, Presence};
use proto_spec::{AttachSeq, Now, Refusal, SenderNumber, SessionId, Timestamp, WallTime};

use super::{
    AttachmentId, AttachmentStatus, JoinRequest, Joined, Notice, RoomView, SessionStatus, SharedView,
    ViewGuest, ViewMember, state_of,
};
use crate::bucket::SharedBucket;
use crate::config::{DEPARTED_MAX, Limits, SESSION_GUESTS_MAX, SESSION_MEMBERS_MAX};
use crate::counters::Traffic;

#[derive(Clone, Debug)]
struct Place<H> {
    id: AttachmentId,
    seq: AttachSeq,
    state: PeerState,
    /// The leader as the ticket names it.
    leader: SenderNumber,
    since: WallTime,
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
    fn state(&self) -> PeerState {
        match (&self.main, &self.standby) {
            (Some(place), _) | (None, Some(place)) => place.state,
            (None, None) => PeerState::Gone,
        }
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
}

impl<H: Clone> Room<H> {
    pub(super) fn new(limits: &Limits, now: Timestamp) -> Room<H> {
        let rate = limits.session_fanout_rate_bytes;
        Room {
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
        // Newest wins; equal is a replay or a bug of the endpoint.
        if self.newest.get(&number).is_some_and(|newest| request.attach_seq <= *newest) {
            return Err(Refusal::StaleAttachment);
        }
        self.check_room_for(number, state)?;
        let place = Place {
            id,
            seq: request.attach_seq,
            state,
            leader: request.claims.leader,
            since: now.wall,
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
        self.tell_change(number, before, request.claims.leader, notices);
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
        if was_guest {
            place.state = state_of(request.claims.kind, false);
        }
        self.publish();
        self.tell_change(number, before, request.claims.leader, notices);
        Ok(())
    }

    pub(super) fn activate(
        &mut self,
        id: AttachmentId,
        attach_seq: AttachSeq,
        notices: &mut Vec<Notice<H>>,
    ) -> Result<(), Refusal> {
        let (number, seats) = self
            .seats
            .iter_mut()
            .find(|(_, seats)| seats.standby.as_ref().is_some_and(|place| place.id == id))
            .ok_or(Refusal::Superseded)?;
        let number = *number;
        let Some(standby) = &seats.standby else { return Err(Refusal::Superseded) };
        let newer_than_active = seats.main.as_ref().is_none_or(|main| attach_seq > main.seq);
        if attach_seq < standby.seq || !newer_than_active {
            return Err(Refusal::StaleAttachment);
        }
        let before = seats.state();
        let leader = standby.leader;
        let mut place = seats.standby.take().expect("looked at just above");
        place.state = PeerState::Active;
        place.seq = attach_seq;
        if let Some(old) = seats.main.replace(place) {
            notices.push(superseded(old));
        }
        self.remember(number, attach_seq);
        self.publish();
        self.tell_change(number, before, leader, notices);
        Ok(())
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
        self.tell_change(number, before, leader, notices);
    }

    /// Takes out everybody, or one number, and tells them why.
    pub(super) fn end(&mut self, number: Option<SenderNumber>, notices: &mut Vec<Notice<H>>) {
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
        if number.is_none() {
            self.seats.clear();
            self.publish();
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
        self.seats.get(&number).map_or(PeerState::Gone, Seats::state)
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
                    view.members.push(ViewMember { number: *number, handle: place.handle.clone() });
                }
                Some(place) => view.guests.push(ViewGuest {
                    number: *number,
                    leader: place.leader,
                    handle: place.handle.clone(),
                }),
                None => {}
            }
        }
        self.view.store(Arc::new(view));
    }

    /// Members hear of members; of a guest hears its leader alone \[ATT-8\].
    fn tell_change(
        &self,
        number: SenderNumber,
        before: PeerState,
        leader: SenderNumber,
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
                && (!only_leader || *other == leader)
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
        self.seats
            .iter()
            .filter(|(number, _)| **number != own)
            .filter(|(_, seats)| {
                seats.main.as_ref().is_none_or(|place| place.state != PeerState::Lobby || place.leader == own)
            })
            .map(|(number, seats)| Peer { number: *number, state: seats.state() })
            .collect()
    }
}

fn superseded<H>(old: Place<H>) -> Notice<H> {
    Notice::End { to: old.handle, refusal: Refusal::Superseded, ended: None }
}
