//! Who is attached to this node: the local members and guests of each session, tombstones, limits; and who of these
//! sessions is on other nodes, as the mesh tells.
//!
//! Owns membership and decides joins; publishes an immutable view per session for the hot path. Never sees a data
//! frame. What endpoints must be told comes back as [`Notice`]s, which the shell carries out after it let go of its lock;
//! what the mesh must be told is fetched with [`Registry::poll_change`].

mod remote;
mod room;
mod told;
mod tombstones;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use proto_spec::egress::EgressSet;
use proto_spec::frame::{ControlFrame, Ended, Peer, PeerState};
use proto_spec::membership::MemberKind;
use proto_spec::ticket::{Claims, TicketKind};
use proto_spec::{AttachSeq, NodeNumber, Now, Refusal, SenderNumber, SessionId, Timestamp, WallTime};

use crate::bucket::SharedBucket;
use crate::config::{Limits, MOVE_GRACE_MAX, MOVE_GRACE_MIN};
use crate::counters::{ClassCount, Traffic};
pub use remote::{Remote, RemoteMember};
use room::Room;
pub use told::Change;
use told::Told;
use tombstones::Tombstones;

/// One attachment of this node, for as long as the process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttachmentId(pub u64);

/// A valid ticket that asks to be attached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinRequest {
    /// From the ticket.
    pub claims: Claims,
    /// SHA-256 of the ticket's text.
    pub ticket: [u8; 32],
    /// Which attachment of the number it is.
    pub attach_seq: AttachSeq,
    /// Whether it is to be a standby.
    pub standby: bool,
}

/// A member in fan-out.
#[derive(Clone, Debug)]
pub struct ViewMember<H> {
    /// Its number.
    pub number: SenderNumber,
    /// Whether its own ticket names it as the session's leader.
    pub leads: bool,
    /// Where its frames go.
    pub handle: H,
}

/// An endpoint on another node, in the order of numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ViewRemote {
    /// Its number.
    pub number: SenderNumber,
    /// How it is attached.
    pub kind: MemberKind,
    /// Where.
    pub node: NodeNumber,
}

/// A guest of the lobby.
#[derive(Clone, Debug)]
pub struct ViewGuest<H> {
    /// Its number.
    pub number: SenderNumber,
    /// The only member it reaches.
    pub leader: SenderNumber,
    /// Where its frames go.
    pub handle: H,
}

/// Everybody of a session whom frames reach, as of one moment.
#[derive(Clone, Debug)]
pub struct RoomView<H> {
    /// Active members on this node.
    pub members: Vec<ViewMember<H>>,
    /// Guests on this node.
    pub guests: Vec<ViewGuest<H>>,
    /// Everybody on other nodes, ascending by number.
    pub remote: Vec<ViewRemote>,
    /// The other nodes that a frame for all goes to.
    pub egress: Option<EgressSet>,
}

impl<H> Default for RoomView<H> {
    fn default() -> Self {
        RoomView { members: Vec::new(), guests: Vec::new(), remote: Vec::new(), egress: None }
    }
}

/// Where a session's newest view is found.
pub type SharedView<H> = Arc<ArcSwap<RoomView<H>>>;

/// What an attachment gets when it is in.
#[derive(Debug)]
pub struct Joined<H> {
    /// The session's view.
    pub view: SharedView<H>,
    /// The session's counters.
    pub traffic: Arc<Traffic>,
    /// Who else is there, for the `attached` frame.
    pub peers: Vec<Peer>,
    /// Buckets of session and account to charge with bytes times copies; empty without limits.
    pub buckets: Vec<Arc<SharedBucket>>,
}

/// What others must be told.
#[derive(Debug)]
pub enum Notice<H> {
    /// Send a frame.
    Send {
        /// To whom.
        to: H,
        /// What.
        frame: ControlFrame,
    },
    /// End an attachment, after the frame if there is one.
    End {
        /// Whose.
        to: H,
        /// The reason.
        refusal: Refusal,
        /// Instead of an error frame.
        ended: Option<Ended>,
    },
}

/// One attachment as administrators see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttachmentStatus {
    /// Its number.
    pub number: SenderNumber,
    /// Active, standby or lobby.
    pub state: PeerState,
    /// Since when.
    pub since: WallTime,
}

/// One session as administrators see it.
#[derive(Clone, Debug)]
pub struct SessionStatus {
    /// The session.
    pub session: SessionId,
    /// Its attachments on this node.
    pub attachments: Vec<AttachmentStatus>,
    /// Its traffic on this node by class.
    pub traffic: [ClassCount; 4],
}

/// All sessions of a node.
#[derive(Debug)]
pub struct Registry<H> {
    limits: Arc<Limits>,
    rooms: BTreeMap<SessionId, Room<H>>,
    tombstones: Tombstones,
    /// Buckets of accounts with how many attachments hold each.
    accounts: BTreeMap<u64, (Arc<SharedBucket>, usize)>,
    attachments: usize,
    last_id: u64,
    /// Traffic of sessions that have left this node.
    past_traffic: [ClassCount; 4],
    draining: bool,
    /// What the mesh says of sessions with somebody here. Apart from the rooms: one that empties and fills again at
    /// once is no change to the mesh, which therefore says nothing anew.
    remote: BTreeMap<SessionId, Arc<Remote>>,
    told: Told,
    /// Sessions with attachments that a newer one on another node has overtaken, by when the first of them ends.
    overtaken: BTreeSet<(Timestamp, SessionId)>,
    move_grace: Duration,
}

impl<H: Clone> Registry<H> {
    /// An empty node.
    pub fn new(limits: Arc<Limits>) -> Registry<H> {
        Registry {
            limits,
            rooms: BTreeMap::new(),
            tombstones: Tombstones::default(),
            accounts: BTreeMap::new(),
            attachments: 0,
            last_id: 0,
            past_traffic: Default::default(),
            draining: false,
            remote: BTreeMap::new(),
            told: Told::default(),
            overtaken: BTreeSet::new(),
            move_grace: MOVE_GRACE_MIN,
        }
    }

    /// Attachments now.
    pub fn attachments(&self) -> usize {
        self.attachments
    }

    /// Sessions with somebody here.
    pub fn sessions(&self) -> usize {
        self.rooms.len()
    }

    /// Whether somebody of a session is here.
    pub fn carries(&self, session: SessionId) -> bool {
        self.rooms.contains_key(&session)
    }

    /// A number for a new attachment.
    pub fn allot(&mut self) -> AttachmentId {
        self.last_id += 1;
        AttachmentId(self.last_id)
    }

    /// Admits nothing new from now on \[ATT-10\].
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Admits again.
    pub fn undrain(&mut self) {
        self.draining = false;
    }

    /// Whether it admits nothing new.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// How long an endpoint that has moved is still sent what is under way to it \[ATT-15\]: twice the largest round
    /// trip between nodes, within bounds.
    pub fn set_move_grace(&mut self, grace: Duration) {
        self.move_grace = grace.clamp(MOVE_GRACE_MIN, MOVE_GRACE_MAX);
    }

    /// Admits an attachment \[ATT-6\], or tells why not.
    ///
    /// # Errors
    /// [`Refusal::SessionEnded`], [`Refusal::MemberRemoved`], [`Refusal::Draining`], [`Refusal::NodeFull`],
    /// [`Refusal::SessionFull`] or [`Refusal::StaleAttachment`].
    pub fn join(
        &mut self,
        now: Now,
        id: AttachmentId,
        request: &JoinRequest,
        handle: H,
        notices: &mut Vec<Notice<H>>,
    ) -> Result<Joined<H>, Refusal> {
        self.tombstones.check(&request.claims, now.wall)?;
        if self.draining {
            return Err(Refusal::Draining);
        }
        if self.attachments >= self.limits.attachments_max {
            return Err(Refusal::NodeFull);
        }
        let session = request.claims.session;
        let fresh = !self.rooms.contains_key(&session);
        let remote = self.remote.get(&session);
        let room = self
            .rooms
            .entry(session)
            .or_insert_with(|| Room::new(&self.limits, now.mono, remote.cloned().unwrap_or_default()));
        if let Err(refusal) = room.join(now, id, request, handle, notices) {
            if fresh {
                self.rooms.remove(&session);
            }
            return Err(refusal);
        }
        let active = state_of(request.claims.kind, request.standby) == PeerState::Active;
        self.told.touch(session, request.claims.number, active);
        let mut joined = room.joined(request);
        self.attachments += 1;
        if let Some(bucket) = self.hold_account(request.claims.account, now.mono) {
            joined.buckets.push(bucket);
        }
        Ok(joined)
    }

    /// A second ticket on an attachment: a guest becomes a member, or a ticket is renewed \[ATT-13\].
    ///
    /// # Errors
    /// As [`Registry::join`]; [`Refusal::Superseded`] if the attachment is not in the registry any more.
    pub fn renew(
        &mut self,
        now: Now,
        id: AttachmentId,
        request: &JoinRequest,
        notices: &mut Vec<Notice<H>>,
    ) -> Result<Joined<H>, Refusal> {
        self.tombstones.check(&request.claims, now.wall)?;
        let room = self.rooms.get_mut(&request.claims.session).ok_or(Refusal::Superseded)?;
        room.renew(id, request, notices)?;
        let active = state_of(request.claims.kind, request.standby) == PeerState::Active;
        self.told.touch(request.claims.session, request.claims.number, active);
        let mut joined = room.joined(request);
        joined
            .buckets
            .extend(self.accounts.get(&request.claims.account).map(|(bucket, _)| Arc::clone(bucket)));
        Ok(joined)
    }

    /// A standby becomes the active attachment of its number \[ATT-7\].
    ///
    /// # Errors
    /// [`Refusal::StaleAttachment`] if a newer one is active; [`Refusal::Superseded`] if it is gone from the registry.
    pub fn activate(
        &mut self,
        session: SessionId,
        id: AttachmentId,
        attach_seq: AttachSeq,
        notices: &mut Vec<Notice<H>>,
    ) -> Result<(), Refusal> {
        let room = self.rooms.get_mut(&session).ok_or(Refusal::Superseded)?;
        let number = room.activate(id, attach_seq, notices)?;
        self.told.touch(session, number, true);
        Ok(())
    }

    /// An endpoint says goodbye: how long it is still to be sent what comes, if it has moved to another node
    /// \[ATT-15\]. Changes nothing.
    pub fn detach(&self, claims: &Claims, id: AttachmentId) -> Option<Duration> {
        let moved = self.rooms.get(&claims.session)?.is_overtaken(claims.number, id);
        moved.then_some(self.move_grace)
    }

    /// An attachment is gone. Does nothing for one that is not there.
    pub fn leave(&mut self, claims: &Claims, id: AttachmentId, notices: &mut Vec<Notice<H>>) {
        // A superseded attachment has left its room already, but holds its place and account until it closes.
        self.attachments = self.attachments.saturating_sub(1);
        self.release_account(claims.account);
        let Some(room) = self.rooms.get_mut(&claims.session) else { return };
        room.leave(id, notices);
        self.told.touch(claims.session, claims.number, false);
        if room.is_empty() {
            for (sum, count) in self.past_traffic.iter_mut().zip(room.traffic().counts()) {
                sum.add(&count);
            }
            self.rooms.remove(&claims.session);
        }
    }

    /// A session, or one number of it, has ended: whoever is here goes, and none comes back until `keep_until`
    /// \[ATT-11\].
    pub fn tombstone(
        &mut self,
        now: WallTime,
        session: SessionId,
        number: Option<SenderNumber>,
        keep_until: WallTime,
        notices: &mut Vec<Notice<H>>,
    ) {
        self.tombstones.insert(now, session, number, keep_until);
        if let Some(room) = self.rooms.get_mut(&session) {
            let told = &mut self.told;
            room.end(number, notices, |number| told.touch(session, number, false));
        }
    }

    /// Where else a session is, as the mesh now says \[MBR-8\]. Members here hear of what has changed \[ATT-8\].
    pub fn set_remote(&mut self, now: Now, session: SessionId, remote: Remote, notices: &mut Vec<Notice<H>>) {
        let remote = Arc::new(remote);
        if remote.is_empty() {
            self.remote.remove(&session);
        } else {
            self.remote.insert(session, Arc::clone(&remote));
        }
        let Some(room) = self.rooms.get_mut(&session) else { return };
        if let Some(deadline) = room.set_remote(now.mono, remote, notices) {
            self.overtaken.insert((deadline, session));
        }
    }

    /// The next thing that the mesh is to be told; call until `None` whenever [`Registry::has_changes`].
    pub fn poll_change(&mut self) -> Option<Change> {
        let rooms = &self.rooms;
        self.told.poll(|(session, number)| rooms.get(&session)?.entry(number))
    }

    /// Whether the mesh may have to be told something.
    pub fn has_changes(&self) -> bool {
        self.told.is_dirty()
    }

    /// Whom to tell that this attachment is known everywhere \[MBR-10\]; `None` if there is a newer one or none.
    pub fn ready(&self, session: SessionId, number: SenderNumber, attach_seq: AttachSeq) -> Option<H> {
        self.rooms.get(&session)?.active(number, attach_seq)
    }

    /// When [`Registry::handle_timeout`] is due next.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.overtaken.first().map(|(deadline, _)| *deadline)
    }

    /// Ends attachments that a newer one on another node has overtaken and that did not leave \[ATT-16\].
    pub fn handle_timeout(&mut self, now: Timestamp, notices: &mut Vec<Notice<H>>) {
        while let Some((deadline, session)) = self.overtaken.first().copied().filter(|(at, _)| *at <= now) {
            self.overtaken.remove(&(deadline, session));
            let Some(room) = self.rooms.get_mut(&session) else { continue };
            let told = &mut self.told;
            room.end_overtaken(now, notices, |number| told.touch(session, number, false));
            if let Some(next) = room.overtaken_deadline() {
                self.overtaken.insert((next, session));
            }
        }
    }

    /// Everybody of a session here, standbys and guests among them: for path hints \[FLW-5\].
    pub fn handles_of(&self, session: SessionId) -> Vec<H> {
        self.rooms.get(&session).map(|room| room.handles().collect()).unwrap_or_default()
    }

    /// Every attachment's session and handle, to tell all of a drain.
    pub fn handles(&self) -> Vec<(SessionId, H)> {
        let of_room = |(session, room)| Room::handles(room).map(move |handle| (session, handle));
        self.rooms.iter().flat_map(|(session, room)| of_room((*session, room))).collect()
    }

    /// The other nodes with active members of a session.
    pub fn egress(&self, session: SessionId) -> Vec<NodeNumber> {
        self.remote.get(&session).map(|remote| remote.egress.clone()).unwrap_or_default()
    }

    /// One session's state on this node.
    pub fn session(&self, session: SessionId) -> Option<SessionStatus> {
        self.rooms.get(&session).map(|room| room.status(session))
    }

    /// All sessions' states on this node.
    pub fn all_sessions(&self) -> impl Iterator<Item = SessionStatus> + '_ {
        self.rooms.iter().map(|(session, room)| room.status(*session))
    }

    /// Traffic of the node since it started.
    pub fn traffic(&self) -> [ClassCount; 4] {
        let mut sum = self.past_traffic;
        for room in self.rooms.values() {
            for (sum, count) in sum.iter_mut().zip(room.traffic().counts()) {
                sum.add(&count);
            }
        }
        sum
    }

    fn hold_account(&mut self, account: u64, now: Timestamp) -> Option<Arc<SharedBucket>> {
        let rate = self.limits.account_fanout_rate_bytes;
        if account == 0 || rate == 0 {
            return None;
        }
        let held =
            self.accounts.entry(account).or_insert_with(|| (Arc::new(SharedBucket::new(rate, now)), 0));
        held.1 += 1;
        Some(Arc::clone(&held.0))
    }

    fn release_account(&mut self, account: u64) {
        if let Some(held) = self.accounts.get_mut(&account) {
            held.1 -= 1;
            if held.1 == 0 {
                self.accounts.remove(&account);
            }
        }
    }
}

/// How an attachment stands, by its ticket and wish.
fn state_of(kind: TicketKind, standby: bool) -> PeerState {
    match (kind, standby) {
        (TicketKind::Lobby, _) => PeerState::Lobby,
        (TicketKind::Member, true) => PeerState::Standby,
        (TicketKind::Member, false) => PeerState::Active,
    }
}

#[cfg(test)]
mod tests;
