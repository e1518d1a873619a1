//! The endpoint's side of one attachment: bytes in, frames out, from the ticket to the last word \[ATT-1\].
//!
//! ```text
//! greeting (each candidate connection) -> AttachClient: ticket -> lobby -> ticket -> member -> closed
//!                                                        |  \-------------------/     ^
//!                                                        '-> standby -> activate -----'
//! ```
//! Owns framing, credit, the out-queues, round trip and liveness of one connection. It never seals or keeps anything beyond the
//! connection: channels own what is unacknowledged, so nothing is lost with an attachment.

mod greeting;
mod key;
mod queue;
mod ticket;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto_spec::frame::{
    Attached, ControlFrame, DataHeader, Destination, ErrorFrame, FrameHeader, FrameType, HEADER_LENGTH, Ping,
    TicketFrame,
};
use proto_spec::ticket::TicketKind;
use proto_spec::{AttachSeq, DecodeError, Now, Refusal, SenderNumber, Timestamp, TrafficClass};
use smallvec::SmallVec;

pub use greeting::{GreetError, Greeted, Greeting};
pub use key::AttachKey;
pub use ticket::ticket_claims;

use crate::config::{
    ADMISSION_TIMEOUT, HELD_FRAMES_MAX, OUT_QUEUE_BYTES, OUT_QUEUE_BYTES_MAX, PING_MAX, PING_MIN,
    PINGS_MISSED_MAX,
};
use queue::Queues;

/// What an attachment tells its owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttachEvent {
    /// The ticket was accepted; also for the second one on the same attachment.
    Attached(Attached),
    /// A packet from another endpoint.
    Data {
        /// The frame's header.
        header: DataHeader,
        /// The packet.
        packet: BytesMut,
    },
    /// Anything else a node says.
    Control(ControlFrame),
    /// The connection is of no more use.
    Lost(Lost),
}

/// Why a connection is of no more use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lost {
    /// The node said why.
    Refused(ErrorFrame),
    /// The node broke the protocol.
    Violated(DecodeError),
    /// No answer in time.
    Silent,
    /// The queue towards the node is full beyond its bound.
    Stuck,
}

/// The endpoint's side of one attachment. Order of driving: one input, then [`AttachClient::poll_event`] until `None`,
/// then [`AttachClient::poll_transmit`], then [`AttachClient::poll_timeout`].
#[derive(Debug)]
pub struct AttachClient {
    exporter: [u8; 32],
    /// The sequence that it began with; the node may still speak of it after an activation.
    first_seq: AttachSeq,
    seq: AttachSeq,
    standby: bool,
    leader: Option<SenderNumber>,
    kind: Option<TicketKind>,
    rx: BytesMut,
    queues: Queues,
    held: VecDeque<(DataHeader, Bytes)>,
    events: VecDeque<AttachEvent>,
    last_rx: Timestamp,
    /// How often anything was received.
    heard: u64,
    last_ping: Timestamp,
    pings_missed: u32,
    ping_interval: Option<Duration>,
    ping_token: u64,
    /// The ping whose answer will tell the round trip.
    timed_ping: Option<(u64, Timestamp)>,
    round_trip: Option<Duration>,
    closed: bool,
}

impl AttachClient {
    /// Begins with the ticket on a connection that has been greeted; `exporter` is the connection's TLS exporter, `rest`
    /// what was received behind the greeting. Until it is a member it may reach `leader` alone; a standby \[ATT-7\]
    /// sends nothing before [`AttachClient::activate`].
    pub fn new(
        now: Now,
        exporter: [u8; 32],
        seq: AttachSeq,
        standby: bool,
        leader: Option<SenderNumber>,
        ticket: &str,
        key: &AttachKey,
    ) -> AttachClient {
        let mut client = AttachClient {
            exporter,
            first_seq: seq,
            seq,
            standby,
            leader,
            kind: None,
            rx: BytesMut::new(),
            queues: Queues::default(),
            held: VecDeque::new(),
            events: VecDeque::new(),
            last_rx: now.mono,
            heard: 0,
            last_ping: now.mono,
            pings_missed: 0,
            ping_interval: None,
            ping_token: 0,
            timed_ping: None,
            round_trip: None,
            closed: false,
        };
        client.present(ticket, key);
        client
    }

    /// Lobby or member; `None` until the node has said so.
    pub const fn kind(&self) -> Option<TicketKind> {
        self.kind
    }

    /// Whether the node has made it a member.
    pub const fn is_member(&self) -> bool {
        matches!(self.kind, Some(TicketKind::Member))
    }

    /// The newest sequence that it goes by.
    pub const fn seq(&self) -> AttachSeq {
        self.seq
    }

    /// Whether it stands by: attached or about to be, and not activated.
    pub const fn is_standby(&self) -> bool {
        self.standby
    }

    /// The round trip to the node, by its newest pong; `None` before the first.
    pub const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// How often anything at all was received: tells whether the node was heard since.
    pub const fn heard(&self) -> u64 {
        self.heard
    }

    /// When anything was received last, or the connection began.
    pub const fn heard_at(&self) -> Timestamp {
        self.last_rx
    }

    /// Bytes that wait in a class, for credit or for the connection.
    pub fn queued_bytes(&self, class: TrafficClass) -> usize {
        self.queues.bytes(class)
    }

    /// Whether nothing waits that could go out.
    pub fn is_drained(&self) -> bool {
        self.queues.is_empty()
    }

    /// Shows a ticket: the first, or another on the same attachment \[ATT-4\].
    pub fn present(&mut self, ticket: &str, key: &AttachKey) {
        let proof = key.prove_attachment(&self.exporter, ticket, self.seq);
        let (attach_seq, standby) = (self.seq, self.standby);
        let frame = TicketFrame { ticket: ticket.to_owned(), attach_seq, standby, proof };
        self.queues.push_control(&ControlFrame::Ticket(frame));
    }

    /// The standby becomes the number's active attachment, under a higher sequence \[ATT-7\]; what is sent from now on
    /// goes behind it.
    pub fn activate(&mut self, seq: AttachSeq) {
        if self.standby && !self.closed {
            (self.standby, self.seq) = (false, seq);
            self.queues.push_control(&ControlFrame::Activate(seq));
        }
    }

    /// Asks the node for a sign of life at once.
    pub fn ping(&mut self, now: Now) {
        if !self.closed {
            self.ping_token += 1;
            self.timed_ping.get_or_insert((self.ping_token, now.mono));
            self.queues.push_control(&ControlFrame::Ping(Ping { token: self.ping_token }));
        }
    }

    /// What waits for this connection in the classes control and interactive, to be sent on another: bulk and screen
    /// are repaired or replaced.
    pub fn take_waiting(&mut self) -> VecDeque<(DataHeader, Bytes)> {
        let mut waiting = self.queues.take(TrafficClass::Control);
        waiting.extend(self.queues.take(TrafficClass::Interactive));
        waiting
    }

    /// Queues a packet. What a guest may not send yet is kept until it is a member \[SES-4\].
    pub fn send(&mut self, header: DataHeader, packet: Bytes) {
        if self.closed {
            return;
        }
        if !self.is_member() && !self.reaches_leader_alone(&header.destination) {
            if self.held.len() < HELD_FRAMES_MAX {
                self.held.push_back((header, packet));
            }
            return;
        }
        self.queue(header, packet);
    }

    /// Says goodbye to the node, behind everything that is queued.
    pub fn detach(&mut self) {
        self.queues.push_control(&ControlFrame::Detach);
    }

    /// Bytes from the connection; none of them if some came that cannot be read yet, which is life all the same.
    pub fn receive(&mut self, now: Now, bytes: BytesMut) {
        if self.closed {
            return;
        }
        self.last_rx = now.mono;
        self.heard += 1;
        self.pings_missed = 0;
        if self.rx.is_empty() {
            self.rx = bytes;
        } else {
            self.rx.extend_from_slice(&bytes);
        }
        while !self.closed {
            match FrameHeader::peek(&self.rx) {
                Ok(Some(header)) if self.rx.len() >= header.frame_length() => {
                    let mut frame = self.rx.split_to(header.frame_length());
                    let body = frame.split_off(HEADER_LENGTH);
                    if let Err(error) = self.frame(now, header.frame_type, body) {
                        self.lose(Lost::Violated(error));
                    }
                }
                Ok(_) => break,
                Err(error) => self.lose(Lost::Violated(error)),
            }
        }
    }

    /// Timers that are due.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.closed || self.poll_timeout().is_none_or(|due| now.mono < due) {
            return;
        }
        let Some(_) = self.ping_interval else { return self.lose(Lost::Silent) };
        if self.pings_missed >= PINGS_MISSED_MAX {
            return self.lose(Lost::Silent);
        }
        self.pings_missed += 1;
        self.last_ping = now.mono;
        self.ping(now);
    }

    /// When [`AttachClient::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.closed {
            return None;
        }
        Some(match self.ping_interval {
            None => self.last_rx + ADMISSION_TIMEOUT,
            Some(interval) if self.pings_missed == 0 => self.last_rx + interval,
            Some(interval) => self.last_ping + interval,
        })
    }

    /// The next thing to tell, until `None`.
    pub fn poll_event(&mut self) -> Option<AttachEvent> {
        self.events.pop_front()
    }

    /// Appends up to about `limit` bytes of whole frames to `out`, by class and credit; whether anything was appended.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>, limit: usize) -> bool {
        !self.closed && self.queues.gather(out, limit)
    }
}

impl AttachClient {
    fn frame(&mut self, now: Now, frame_type: FrameType, body: BytesMut) -> Result<(), DecodeError> {
        if frame_type == FrameType::Data {
            return self.data(body);
        }
        match ControlFrame::decode(frame_type, &body)? {
            ControlFrame::Attached(attached) => self.attached(attached)?,
            ControlFrame::Credit(credit) => self.queues.grant(credit.class, credit.limit_bytes),
            ControlFrame::Ping(ping) => {
                self.queues.push_control(&ControlFrame::Pong(ping));
                if self.queues.control_bytes() > OUT_QUEUE_BYTES {
                    self.lose(Lost::Stuck);
                }
            }
            ControlFrame::Pong(pong) => {
                if let Some((_, sent_at)) = self.timed_ping.take_if(|(token, _)| *token == pong.token) {
                    self.round_trip = Some(now.mono.since(sent_at));
                }
            }
            ControlFrame::Error(error) => self.lose(Lost::Refused(error)),
            ControlFrame::Hello(_)
            | ControlFrame::Ticket(_)
            | ControlFrame::Activate(_)
            | ControlFrame::Detach => {
                return Err(DecodeError::Malformed("frame that only an endpoint sends"));
            }
            other => self.events.push_back(AttachEvent::Control(other)),
        }
        Ok(())
    }

    fn data(&mut self, mut body: BytesMut) -> Result<(), DecodeError> {
        let (header, packet) = DataHeader::parse(&body)?;
        let start = body.len() - packet.len();
        let packet = body.split_off(start);
        self.events.push_back(AttachEvent::Data { header, packet });
        Ok(())
    }

    fn attached(&mut self, attached: Attached) -> Result<(), DecodeError> {
        if !(self.first_seq..=self.seq).contains(&attached.attach_seq) {
            return Err(DecodeError::Malformed("attached for another attachment"));
        }
        self.kind = Some(attached.kind);
        let interval = Duration::from_millis(u64::from(attached.ping_ms));
        self.ping_interval = Some(interval.clamp(PING_MIN, PING_MAX));
        if self.is_member() {
            for (header, packet) in std::mem::take(&mut self.held) {
                self.queue(header, packet);
            }
        }
        self.events.push_back(AttachEvent::Attached(attached));
        Ok(())
    }

    fn queue(&mut self, header: DataHeader, packet: Bytes) {
        let class = header.class;
        self.queues.push(header, packet);
        if self.queues.bytes(class) > OUT_QUEUE_BYTES_MAX {
            self.lose(Lost::Stuck);
        }
    }

    fn reaches_leader_alone(&self, destination: &Destination) -> bool {
        let leader: SmallVec<[SenderNumber; 4]> = self.leader.into_iter().collect();
        matches!(destination, Destination::Members(members) if *members == leader)
    }

    fn lose(&mut self, lost: Lost) {
        self.closed = true;
        self.events.push_back(AttachEvent::Lost(lost));
    }
}

/// Whether the same endpoint may try again after this.
impl Lost {
    /// `Some` names the refusal that makes another attempt useless.
    pub const fn fatal(&self) -> Option<Refusal> {
        match self {
            Lost::Refused(error) if !error.refusal.resumable() => Some(error.refusal),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
