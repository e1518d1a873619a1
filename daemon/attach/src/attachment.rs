//! One attachment as a state machine, from the first byte after TLS to the last.
//!
//! ```text
//!  Hello ──hello──► Ticket ──ticket──► Verifying ──verdict──► Joining ──joined──► Attached(lobby | member,
//!    │                │                    │                     │                   active | standby)
//!    └──── timeout, malformed, refused ────┴──────────┬──────────┘                     │ second ticket: Verifying,
//!                                                     ▼                                │ then Attached again
//!                                                  Closed ◄──── refusal, detach, expiry┤
//!                                                     ▲                                │
//!                                                     └──── a moment ◄── Leaving ◄─────┘ detach, active elsewhere
//! ```
//!
//! Owns the order of frames, deadlines, lobby limits and credit of the one who is attached. Never holds a queue for
//! the other direction and never decides who else is in the session: that is the registry's.

mod grants;
mod parse;
mod timers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use proto_spec::frame::{
    ADMISSION_BYTES_MAX, Attached, ControlFrame, FrameHeader, FrameType, Hello, Peer, Ping, Redirect,
    TicketFrame,
};
use proto_spec::ticket::{Claims, TicketKind};
use proto_spec::{AttachSeq, Now, Refusal, SenderNumber, Timestamp};
use sealcast_trust::ticket_hash;

use crate::bucket::{SharedBucket, TokenBucket};
use crate::config::{CONTROL_FRAMES_BURST, CONTROL_FRAMES_RATE, LOBBY_BYTES_MAX, Limits};
use crate::ledger::Ledger;
use crate::registry::JoinRequest;
use crate::run::Forward;
use grants::Grants;
use timers::Timers;

/// Room for outputs that is kept between inputs.
const OUTPUTS_KEPT_MAX: usize = 16;

/// What the shell is to do next \[ATT-1\].
#[derive(Debug)]
pub enum Output {
    /// Queue a frame of the node's own to this endpoint.
    Send(ControlFrame),
    /// Check the frame (`verify::check`) and answer with [`Attachment::handle_verdict`].
    Verify(TicketFrame),
    /// Ask the registry to join and answer with [`Attachment::handle_joined`].
    Join(JoinRequest),
    /// Ask the registry to renew (or turn a guest into a member); answer with [`Attachment::handle_joined`].
    Renew(JoinRequest),
    /// Ask the registry to activate; answer with [`Attachment::handle_activated`].
    Activate(AttachSeq),
    /// The endpoint says goodbye: ask the registry (`Registry::detach`) and answer with [`Attachment::handle_detached`].
    Detach,
    /// Fan out; then tell the copies with [`Attachment::charge`].
    Forward(Forward),
}

/// What the shell does once the connection is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// The endpoint said goodbye.
    Detached,
    /// It was told to attach elsewhere, and nothing else goes behind that.
    Redirected,
    /// The node refuses; an error frame goes first unless an `ended` frame told already.
    Refused(Refusal),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Hello,
    Ticket,
    /// The first ticket is being checked.
    Verifying {
        attach_seq: AttachSeq,
        standby: bool,
    },
    /// The registry is being asked for the first time.
    Joining,
    Attached,
    /// A further ticket is being checked, or the registry asked about it.
    Renewing,
    /// The endpoint has said goodbye; what is under way to it is still sent \[ATT-15\].
    Leaving,
    Closed,
}

/// The session's side of an attachment, once its ticket was good.
#[derive(Clone, Debug)]
struct Admitted {
    claims: Claims,
    attach_seq: AttachSeq,
    standby: bool,
}

/// One connection of an endpoint.
#[derive(Debug)]
pub struct Attachment {
    limits: Arc<Limits>,
    ledger: Arc<Ledger>,
    software: &'static str,
    state: State,
    admitted: Option<Box<Admitted>>,
    outputs: VecDeque<Output>,
    /// Bytes received before admission.
    admission_bytes: usize,
    /// Bytes that a guest has sent.
    lobby_bytes: u64,
    /// SHA-256 of the ticket that is being checked.
    ticket: [u8; 32],
    control_frames: TokenBucket,
    grants: Option<Box<Grants>>,
    timers: Timers,
    close: Option<Close>,
    /// Whether parsing stopped at a frame whose answer must come first.
    paused: bool,
}

impl Attachment {
    /// A connection whose TLS handshake has just ended. `software` names program and version in the node's hello.
    pub fn new(limits: Arc<Limits>, ledger: Arc<Ledger>, software: &'static str, now: Now) -> Attachment {
        Attachment {
            timers: Timers::new(now.mono, limits.admission_timeout()),
            control_frames: TokenBucket::new(CONTROL_FRAMES_RATE, CONTROL_FRAMES_BURST, now.mono),
            limits,
            ledger,
            software,
            state: State::Hello,
            admitted: None,
            outputs: VecDeque::new(),
            admission_bytes: 0,
            lobby_bytes: 0,
            ticket: [0; 32],
            grants: None,
            close: None,
            paused: false,
        }
    }

    /// Who is attached, once a ticket was good.
    pub fn claims(&self) -> Option<&Claims> {
        self.admitted.as_ref().map(|admitted| &admitted.claims)
    }

    /// The number of who is attached.
    pub fn number(&self) -> Option<SenderNumber> {
        self.claims().map(|claims| claims.number)
    }

    /// Whether a valid ticket has been shown: the connection is no longer half open.
    pub fn is_admitted(&self) -> bool {
        self.grants.is_some()
    }

    /// Whether it is a guest of the lobby.
    pub fn is_guest(&self) -> bool {
        self.claims().is_some_and(|claims| claims.kind == TicketKind::Lobby)
    }

    /// Whether the endpoint has said goodbye and is only sent what is under way to it \[ATT-15\].
    pub fn is_leaving(&self) -> bool {
        self.state == State::Leaving
    }

    /// Why the connection is to end, if it is.
    pub fn close(&self) -> Option<Close> {
        self.close
    }

    /// Bytes have arrived: `fresh` of them at the end of `buffer`, before them what an earlier call has left. Takes
    /// whole frames from the front; leaves a frame that is not complete, and everything behind a ticket that is
    /// being checked.
    ///
    /// # Errors
    /// The reason to end the connection; it is kept in [`Attachment::close`] too.
    pub fn handle_bytes(&mut self, now: Now, buffer: &mut BytesMut, fresh: usize) -> Result<(), Refusal> {
        if fresh > 0 {
            self.timers.received(now.mono);
        }
        if !self.is_admitted() {
            self.admission_bytes = self.admission_bytes.saturating_add(fresh);
        }
        let before = buffer.len();
        let outcome = self.parse(now, buffer);
        let completed = buffer.len() < before;
        // The budget is checked after parsing: data may follow a valid ticket in one segment, and a long frame's own
        // refusal is the clearer one.
        let outcome = outcome.and_then(|()| {
            let over = !self.is_admitted() && self.admission_bytes > ADMISSION_BYTES_MAX;
            if over && !self.is_waiting() { Err(Refusal::TooLong) } else { Ok(()) }
        });
        self.timers.frame_begun(
            now.mono,
            !buffer.is_empty() && !self.is_waiting(),
            completed,
            self.limits.frame_timeout(),
        );
        if let Err(refusal) = outcome {
            self.refuse(refusal);
        }
        outcome
    }

    /// Whether parsing stopped at a frame that needed an answer: once the outputs have been drained,
    /// [`Attachment::handle_bytes`] goes on with what is left in the buffer (and 0 fresh bytes).
    pub fn take_paused(&mut self) -> bool {
        std::mem::take(&mut self.paused) && self.close.is_none()
    }

    /// Whether a ticket is being checked, so that further frames have to wait.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Verifying { .. } | State::Joining | State::Renewing)
    }

    /// The answer to [`Output::Verify`].
    pub fn handle_verdict(&mut self, now: Now, verdict: Result<Claims, Refusal>) {
        let claims = match verdict {
            Ok(claims) => claims,
            Err(refusal) => return self.refuse(refusal),
        };
        match &self.state {
            State::Verifying { attach_seq, standby } => {
                let (attach_seq, standby) = (*attach_seq, *standby);
                if standby && claims.kind == TicketKind::Lobby {
                    return self.refuse(Refusal::OutOfOrder);
                }
                if self.ledger.memory().refuses_newcomers() {
                    return self.refuse(Refusal::Shed);
                }
                self.state = State::Joining;
                self.outputs.push_back(Output::Join(JoinRequest {
                    claims: claims.clone(),
                    ticket: self.ticket,
                    attach_seq,
                    standby,
                }));
                self.timers.set_expiry(now, claims.expires);
                self.admitted = Some(Box::new(Admitted { claims, attach_seq, standby }));
            }
            State::Renewing => {
                let Some(admitted) = &mut self.admitted else { return self.refuse(Refusal::Internal) };
                let old = &admitted.claims;
                let same_place = old.session == claims.session
                    && old.number == claims.number
                    && old.attach_key == claims.attach_key;
                let steps_back = old.kind == TicketKind::Member && claims.kind == TicketKind::Lobby;
                if !same_place || steps_back {
                    return self.refuse(Refusal::OutOfOrder);
                }
                let (attach_seq, standby) = (admitted.attach_seq, admitted.standby);
                let request = JoinRequest { claims, ticket: self.ticket, attach_seq, standby };
                self.outputs.push_back(Output::Renew(request));
            }
            _ => self.refuse(Refusal::Internal),
        }
    }

    /// The answer to [`Output::Join`] and [`Output::Renew`]: the peers and buckets of the session, or the refusal;
    /// `claims` are the request's.
    pub fn handle_joined(
        &mut self,
        now: Now,
        claims: Claims,
        joined: Result<(Vec<Peer>, Vec<Arc<SharedBucket>>), Refusal>,
    ) {
        let (peers, buckets) = match joined {
            Ok(joined) => joined,
            Err(refusal) => {
                if self.state == State::Joining {
                    self.admitted = None;
                }
                return self.refuse(refusal);
            }
        };
        let first = self.state == State::Joining;
        let Some(admitted) = &mut self.admitted else { return self.refuse(Refusal::Internal) };
        self.timers.set_expiry(now, claims.expires);
        admitted.claims = claims;
        let attached = Attached {
            session: admitted.claims.session,
            number: admitted.claims.number,
            kind: admitted.claims.kind,
            attach_seq: admitted.attach_seq,
            ping_ms: u32::try_from(self.limits.ping_ms).unwrap_or(u32::MAX),
            peers,
        };
        let rate_bytes = attached_rate(&self.limits, self.claims());
        self.state = State::Attached;
        self.outputs.push_back(Output::Send(ControlFrame::Attached(attached)));
        if first {
            self.timers.admitted(now.mono, self.limits.ping());
            self.grants = Some(Box::new(Grants::new(&self.limits, rate_bytes, buckets, now.mono)));
        } else if let Some(grants) = &mut self.grants {
            grants.renew(rate_bytes, buckets, now.mono);
        }
        self.grant(now);
    }

    /// The answer to [`Output::Activate`].
    pub fn handle_activated(&mut self, attach_seq: AttachSeq, outcome: Result<(), Refusal>) {
        match (outcome, &mut self.admitted) {
            (Ok(()), Some(admitted)) => {
                admitted.standby = false;
                admitted.attach_seq = attach_seq;
            }
            (Ok(()), None) => self.refuse(Refusal::Internal),
            (Err(refusal), _) => self.refuse(refusal),
        }
    }

    /// The session's nodes know this attachment \[MBR-10\]: tells the endpoint, unless it is another attachment by now.
    pub fn handle_ready(&mut self, attach_seq: AttachSeq) {
        let current = self.admitted.as_ref().is_some_and(|admitted| {
            admitted.attach_seq == attach_seq
                && !admitted.standby
                && admitted.claims.kind == TicketKind::Member
        });
        if current && matches!(self.state, State::Attached | State::Renewing) {
            self.outputs.push_back(Output::Send(ControlFrame::Ready(attach_seq)));
        }
    }

    /// The answer to [`Output::Join`] of a node that cannot take the endpoint, but knows of another that can \[ATT-9\].
    pub fn handle_redirected(&mut self, addresses: Vec<String>) {
        if self.state == State::Joining {
            self.admitted = None;
            self.outputs.push_back(Output::Send(ControlFrame::Redirect(Redirect { addresses })));
            self.end(Close::Redirected);
        }
    }

    /// The answer to [`Output::Detach`]: for how long to send what is under way, if the endpoint is active elsewhere
    /// \[ATT-15\].
    pub fn handle_detached(&mut self, now: Now, grace: Option<Duration>) {
        match grace {
            Some(grace) => self.timers.leave(now.mono + grace),
            None => self.end(Close::Detached),
        }
    }

    /// A run of `bytes` went to so many receivers: charges the fan-out \[FLW-4\].
    pub fn charge(&mut self, now: Now, bytes: u64, copies: u64) {
        if let Some(grants) = &mut self.grants {
            grants.charge(now.mono, bytes, copies);
        }
    }

    /// Grants what can be granted: after forwarding, when the ledger wakes, and at the deadline \[FLW-1\].
    pub fn grant(&mut self, now: Now) {
        if self.state != State::Attached && self.state != State::Renewing {
            return;
        }
        let Some(grants) = &mut self.grants else { return };
        grants.grant(&self.limits, &self.ledger, now.mono, |credit| {
            self.outputs.push_back(Output::Send(ControlFrame::Credit(credit)));
        });
    }

    /// The socket took no more bytes although some wait, or it took some.
    pub fn handle_write(&mut self, now: Now, progress: bool, pending: bool) {
        self.timers.written(now.mono, progress, pending, self.limits.write_timeout());
    }

    /// Ends the attachment for a reason that lies elsewhere: a fallen-behind queue, a newer attachment, a tombstone.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.end(Close::Refused(refusal));
    }

    /// The next thing to do, `None` when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        // An idle attachment holds no room for the outputs of a busy one.
        if output.is_none() && self.outputs.capacity() > OUTPUTS_KEPT_MAX {
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When [`Attachment::handle_timeout`] is due next.
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.close.is_some() {
            return None;
        }
        let grants = self.grants.as_ref().and_then(|grants| grants.deadline());
        [self.timers.deadline(), grants].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.close.is_some() {
            return;
        }
        match self.timers.handle_timeout(now) {
            timers::Due::Nothing => {}
            timers::Due::Ping(token) => {
                self.outputs.push_back(Output::Send(ControlFrame::Ping(Ping { token })))
            }
            timers::Due::Refuse(refusal) => return self.refuse(refusal),
            timers::Due::Leave => return self.end(Close::Detached),
        }
        self.grant(now);
    }

    fn end(&mut self, close: Close) {
        if self.close.is_none() {
            self.close = Some(close);
            self.state = State::Closed;
        }
    }

    /// A frame other than data; returns whether further frames have to wait for an answer.
    fn handle_frame(&mut self, now: Now, header: FrameHeader, body: &[u8]) -> Result<bool, Refusal> {
        if !allowed(&self.state, header.frame_type) {
            return Err(Refusal::OutOfOrder);
        }
        if self.is_admitted() && !self.control_frames.try_take(now.mono, header.frame_length() as u64) {
            return Err(Refusal::RateExceeded);
        }
        match ControlFrame::decode(header.frame_type, body)? {
            ControlFrame::Hello(hello) => self.handle_hello(&hello).map(|()| false),
            ControlFrame::Ticket(frame) => self.handle_ticket(frame).map(|()| true),
            ControlFrame::Ping(ping) => {
                self.outputs.push_back(Output::Send(ControlFrame::Pong(ping)));
                Ok(false)
            }
            // Any byte has counted as a sign of life already.
            ControlFrame::Pong(_) => Ok(false),
            ControlFrame::Activate(seq) => match &self.admitted {
                Some(admitted) if admitted.standby => {
                    self.outputs.push_back(Output::Activate(seq));
                    // What follows may be data that only an active attachment may send.
                    Ok(true)
                }
                _ => Err(Refusal::OutOfOrder),
            },
            ControlFrame::Detach => {
                self.state = State::Leaving;
                self.outputs.push_back(Output::Detach);
                Ok(true)
            }
            _ => Err(Refusal::OutOfOrder),
        }
    }

    fn handle_hello(&mut self, hello: &Hello) -> Result<(), Refusal> {
        let ours = Hello::ours(self.software);
        let common = ours.common_version(hello);
        // Also when refused: the endpoint learns which side is the older.
        self.outputs.push_back(Output::Send(ControlFrame::Hello(ours)));
        self.state = State::Ticket;
        common.map(|_| ()).ok_or(Refusal::UnknownVersion)
    }

    fn handle_ticket(&mut self, frame: TicketFrame) -> Result<(), Refusal> {
        self.state = match (&self.state, &self.admitted) {
            (State::Ticket, _) => State::Verifying { attach_seq: frame.attach_seq, standby: frame.standby },
            (State::Attached, Some(admitted))
                if admitted.attach_seq == frame.attach_seq && admitted.standby == frame.standby =>
            {
                State::Renewing
            }
            _ => return Err(Refusal::OutOfOrder),
        };
        self.ticket = ticket_hash(&frame.ticket);
        self.outputs.push_back(Output::Verify(frame));
        Ok(())
    }

    /// Whether this attachment may send `length` bytes to that destination now \[ATT-12\].
    fn count_lobby(&mut self, length: u64) -> Result<(), Refusal> {
        self.lobby_bytes += length;
        if self.lobby_bytes > LOBBY_BYTES_MAX { Err(Refusal::LobbyLimited) } else { Ok(()) }
    }
}

/// Which frames an endpoint may send when \[ATT-2\].
fn allowed(state: &State, frame_type: FrameType) -> bool {
    match state {
        State::Hello => frame_type == FrameType::Hello,
        State::Ticket => frame_type == FrameType::Ticket,
        State::Attached => matches!(
            frame_type,
            FrameType::Ticket
                | FrameType::Activate
                | FrameType::Data
                | FrameType::Ping
                | FrameType::Pong
                | FrameType::Detach
        ),
        State::Verifying { .. } | State::Joining | State::Renewing | State::Leaving | State::Closed => false,
    }
}

fn attached_rate(limits: &Limits, claims: Option<&Claims>) -> u64 {
    match claims.map_or(0, |claims| claims.rate_bytes) {
        0 => limits.sender_rate_bytes,
        rate => rate,
    }
}

#[cfg(test)]
mod tests;
