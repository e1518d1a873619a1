//! What comes in: from the node, from the end-to-end layer, from other members.

use bytes::BytesMut;
use proto_spec::app::{Chat, Control, GoodbyeReason, Permission};
use proto_spec::channel::{CHAT_STREAM, CONTROL_STREAM, StreamUse};
use proto_spec::frame::{Attached, ControlFrame, DataHeader, Destination, Peer, PeerState};
use proto_spec::packet::PacketKind;
use proto_spec::ticket::{Role, TicketKind};
use proto_spec::{DecodeError, Now, Refusal, SenderNumber, Wire};

use super::calls::{Asker, Purpose};
use super::link::{Part, Way};
use super::{Endpoint, State};
use crate::attach::{AttachEvent, Lost};
use crate::channel::ChannelEvent;
use crate::event::{Event, Reattachment};
use crate::security::{OpenError, Opened, Security, SecurityEvent};

impl<S: Security> Endpoint<S> {
    /// Packets count wherever they come from, and once \[SES-21\].
    pub(super) fn attach_event(&mut self, now: Now, way: Way, event: AttachEvent) {
        match event {
            AttachEvent::Attached(attached) => self.accepted(now, way, attached),
            AttachEvent::Data { header, packet } => self.packet(now, &header, packet),
            AttachEvent::Control(frame) => self.control_frame(now, way, frame),
            AttachEvent::Lost(lost) => self.lost(now, way, lost),
        }
    }

    fn accepted(&mut self, now: Now, way: Way, attached: Attached) {
        let own = (self.config.session, self.config.number);
        if (attached.session, attached.number) != own {
            let error = DecodeError::Malformed("attached to another session");
            return self.lost(now, way, Lost::Violated(error));
        }
        match self.link.part(way) {
            Some(Part::Active) => self.attached(now, attached),
            Some(Part::Other) => self.other_attached(now, attached),
            Some(Part::Retiring) | None => {}
        }
    }

    fn attached(&mut self, now: Now, attached: Attached) {
        let again = self.attached_as.replace(attached.kind) == Some(attached.kind);
        if let Some(gap) = self.link.accepted(now) {
            self.tell_reattached(gap, Reattachment::Reconnected);
        }
        if let Some(client) = self.link.client()
            && client.is_member()
            && client.round_trip().is_none()
        {
            // The first measure of the way: a fail-over should not begin with a guess.
            client.ping(now);
        }
        self.members.forget_presence();
        self.members_changed = true;
        match attached.kind {
            TicketKind::Lobby => {
                self.enter(if self.proved { State::AwaitingConsent } else { State::Lobby });
                if !again {
                    self.begin_handshake(now);
                }
            }
            TicketKind::Member => {
                self.enter(State::Member);
                if !again {
                    self.channels.attached(now.mono);
                    self.begin_handshake(now);
                }
            }
        }
        attached.peers.into_iter().for_each(|peer| self.presence(now, peer));
        if let Some(role) = self.codes.first.take() {
            self.call(Purpose::OpenJoin { role, asker: Asker::User });
        }
    }

    pub(super) fn presence(&mut self, now: Now, Peer { number, state }: Peer) {
        let (active, lobby) = (state == PeerState::Active, state == PeerState::Lobby);
        self.members_changed |= self.members.presence(number, active);
        self.channels.member_present(now.mono, number, active);
        if active {
            self.admissions.over(number);
            if let Some(security) = &mut self.security {
                security.member_reachable(now, number);
            }
        } else if lobby {
            self.send_ticket(now, number);
        }
    }

    fn control_frame(&mut self, now: Now, way: Way, frame: ControlFrame) {
        match frame {
            ControlFrame::Presence(presence) => self.presence_told(now, way, presence.peer),
            ControlFrame::PathHint(_) => self.path_hinted(now),
            ControlFrame::Move(to) => self.told_to_move(now, way, to),
            ControlFrame::Redirect(to) => self.redirected(now, way, to.addresses),
            ControlFrame::Ready(_) => self.ready(now, way),
            ControlFrame::Ended(ended) => match ended.number {
                Some(number) if number == self.config.number => {
                    self.told_end("removed", Refusal::MemberRemoved.sentence());
                }
                // Who is a member is the leader's word; its roster will say so.
                Some(_) => {}
                None => self.told_end("ended", Refusal::SessionEnded.sentence()),
            },
            _ => {}
        }
    }

    fn packet(&mut self, now: Now, header: &DataHeader, packet: BytesMut) {
        let Some(security) = &mut self.security else {
            self.counters.unexpected += 1;
            return;
        };
        match packet.first().copied().and_then(PacketKind::from_u8) {
            Some(PacketKind::Handshake | PacketKind::Pairwise) => {
                security.handle_packet(now, header.sender, &packet);
            }
            Some(PacketKind::Record) => match security.open(now, header.sender, header.class, packet) {
                Ok(Some(opened)) => self.record(now, &opened),
                Ok(None) => {}
                Err(error) => {
                    self.counters.unopened += 1;
                    if error == OpenError::Unopenable {
                        self.channels.resynchronise(now.mono, header.sender);
                    }
                }
            },
            None => self.counters.unexpected += 1,
        }
    }

    fn record(&mut self, now: Now, opened: &Opened) {
        self.channels.handle_record(now.mono, opened);
    }

    pub(super) fn security_event(&mut self, now: Now, event: SecurityEvent) {
        match event {
            SecurityEvent::Transmit { to, class, packet } => {
                let to = if to.is_empty() { Destination::All } else { Destination::Members(to.into()) };
                self.send(class, to, packet);
            }
            SecurityEvent::JoinerProved { number, name, role } => self.joiner_proved(now, number, name, role),
            SecurityEvent::JoinerGone { number } => self.joiner_gone(number),
            SecurityEvent::WrongGuess { left } => self.tell(Event::WrongCode { left }),
            SecurityEvent::CodeEnded { code, role, reason } => self.code_ended(now, code, role, reason),
            SecurityEvent::Proved => self.code_proved(),
            SecurityEvent::JoinFailed { reason } => self.join_failed(reason),
            SecurityEvent::EpochInstalled { epoch, .. } => self.epoch_installed(now, epoch),
            SecurityEvent::Bases { sender, bases } => {
                let bases: Vec<_> = bases.iter().map(|base| (base.stream, base.sequence)).collect();
                self.channels.handle_bases(now.mono, sender, &bases);
            }
            SecurityEvent::RemovalComplete { number } => self.tell(Event::RemovalComplete { number }),
            SecurityEvent::Private { from, kind, bytes } => self.private_message(now, from, kind, &bytes),
            SecurityEvent::Removed => self.told_end("removed", Refusal::MemberRemoved.sentence()),
            SecurityEvent::Ended => self.told_end("ended", "the session was ended by its leader"),
            SecurityEvent::Leaving { number } => {
                self.members.goodbye(number);
                self.departed(number);
            }
            SecurityEvent::Absent { number } => self.departed(number),
            SecurityEvent::Silenced => {
                if self.is_member() {
                    self.silenced = true;
                    self.notice("the session's leader does not answer: what you send waits until it does");
                }
            }
            SecurityEvent::Resumed => {
                if std::mem::take(&mut self.silenced) {
                    self.notice("the session's leader answers again");
                }
            }
        }
    }

    fn epoch_installed(&mut self, now: Now, epoch: proto_spec::EpochId) {
        let Some(security) = &mut self.security else { return };
        let roster: Vec<_> = security.roster().iter().map(|entry| entry.number).collect();
        let bases = self.channels.epoch_installed(now.mono, epoch, roster);
        security.state_bases(now, &bases);
        self.roster_changed(now);
        self.tell(Event::Rekeyed { epoch: format!("{}.{}.{}", epoch.term, epoch.leader, epoch.count) });
        while let Some(opened) = self.security.as_mut().and_then(|security| security.poll_held(now)) {
            self.record(now, &opened);
        }
    }

    pub(super) fn channel_event(&mut self, now: Now, event: ChannelEvent) {
        match event {
            ChannelEvent::Delivered { from, stream: CONTROL_STREAM, payload, .. } => {
                match Control::from_bytes(&payload) {
                    Ok(message) => self.control_message(now, from, message),
                    Err(_) => self.counters.malformed += 1,
                }
            }
            ChannelEvent::Delivered { from, stream: CHAT_STREAM, payload, .. } => {
                match Chat::from_bytes(&payload) {
                    Ok(chat) => {
                        let name = self.members.name(from);
                        self.tell(Event::Chat { from, name, text: chat.text });
                    }
                    Err(_) => self.counters.malformed += 1,
                }
            }
            ChannelEvent::Delivered { from, stream, payload, .. } => {
                self.file_data(now, from, stream, payload)
            }
            ChannelEvent::Lost { from, stream, .. } => {
                if StreamUse::of(stream) == Some(StreamUse::Files) {
                    self.files.handle_lost(&mut self.channels, from, stream);
                } else {
                    let name = self.members.name(from);
                    self.notice(format!("some of what {name} said did not arrive: ask for it again"));
                }
            }
            ChannelEvent::FellBehind { stream, member } => {
                self.files.handle_fell_behind(&mut self.channels, stream, member);
            }
        }
    }

    fn control_message(&mut self, now: Now, from: SenderNumber, message: Control) {
        match message {
            Control::File(message) => self.file_message(now, from, message),
            Control::CodeRequest { request, role } => self.code_requested(now, from, request, role),
            Control::Consent { permission: Permission::Member, member, granted } => {
                let (who, about) = (self.members.name(from), self.members.name(member));
                let word = if granted { "shares with" } else { "does not share with" };
                self.notice(format!("{who} {word} {about}"));
            }
            Control::Consent { .. } => {}
            Control::Goodbye { reason } => self.goodbye(now, from, reason),
        }
    }

    /// A member goes. The leader changes the keys; a customer's end, and the leader's, is everybody's.
    fn goodbye(&mut self, now: Now, from: SenderNumber, reason: GoodbyeReason) {
        self.members.goodbye(from);
        let role = self.members.entry(from).map(|entry| entry.role);
        match reason {
            GoodbyeReason::Ended if from == self.leader() => {
                self.told_end("ended", "the session was ended by its leader");
            }
            GoodbyeReason::Ended if self.leads() && role == Some(Role::Customer) => {
                let text = format!("{} ended the session", self.members.name(from));
                self.end_for_all(now, &text);
            }
            _ if self.leads() => {
                if let Some(security) = &mut self.security {
                    security.member_left(now, from);
                }
                self.departed(from);
            }
            _ => {}
        }
    }

    /// Leader: the mesh need not know this number any longer.
    fn departed(&mut self, number: SenderNumber) {
        let purpose = Purpose::RemoveMember { number };
        if self.leads() && self.members.contains(number) && !self.calls.is_open(purpose) {
            self.call(purpose);
        }
    }
}
