//! Who is attached to this node: the local members and guests of each session, tombstones, limits.
//!
//! Owns membership and decides joins; publishes an immutable view per session for the hot path. Never sees a data
//! frame. What others must be told comes back as [`Notice`]s, which the shell carries out after it let go of its lock.

mod room;
mod tombstones;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use proto_spec::frame::{ControlFrame, Ended, Peer, PeerState};
use proto_spec::ticket::{Claims, TicketKind};
use proto_spec::{AttachSeq, Now, Refusal, SenderNumber, SessionId, Timestamp, WallTime};

use crate::bucket::SharedBucket;
use crate::config::Limits;
use crate::counters::{ClassCount, Traffic};
use room::Room;
use tombstones::Tombstones;

/// One attachment of this node, for as long as the process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttachmentId(pub u64);

/// A valid ticket that asks to be attached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinRequest {
    /// From the ticket.
    pub claims: Claims,
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
    /// Where its frames go.
    pub handle: H,
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

/// Everybody of a session on this node whom frames reach, as of one moment.
#[derive(Clone, Debug)]
pub struct RoomView<H> {
    /// Active members.
    pub members: Vec<ViewMember<H>>,
    /// Guests.
    pub guests: Vec<ViewGuest<H>>,
}

impl<H> Default for RoomView<H> {
    fn default() -> Self {
        RoomView { members: Vec::new(), guests: Vec::new() }
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

    /// A number for a new attachment.
    pub fn allot(&mut self) -> AttachmentId {
        self.last_id += 1;
        AttachmentId(self.last_id)
    }

    /// Admits nothing new from now on \[ATT-10\].
    pub fn drain(&mut self) {
        self.draining = true;
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
        let room = self.rooms.entry(session).or_insert_with(|| Room::new(&self.limits, now.mono));
        if let Err(refusal) = room.join(now, id, request, handle, notices) {
            if fresh {
                self.rooms.remove(&session);
            }
            return Err(refusal);
        }
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
        self.rooms.get_mut(&session).ok_or(Refusal::Superseded)?.activate(id, attach_seq, notices)
    }

    /// An attachment is gone. Does nothing for one that is not there.
    pub fn leave(&mut self, claims: &Claims, id: AttachmentId, notices: &mut Vec<Notice<H>>) {
        // A superseded attachment has left its room already, but holds its place and account until it closes.
        self.attachments = self.attachments.saturating_sub(1);
        self.release_account(claims.account);
        let Some(room) = self.rooms.get_mut(&claims.session) else { return };
        room.leave(id, notices);
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
            room.end(number, notices);
        }
    }

    /// Every attachment's handle, to tell all of a drain.
    pub fn handles(&self) -> Vec<H> {
        self.rooms.values().flat_map(Room::handles).collect()
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
