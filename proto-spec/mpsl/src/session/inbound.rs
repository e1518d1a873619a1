//! What a session makes of what arrives: handshakes, pairwise messages, its own records, and records that must wait.

use proto_spec::frame::Destination;
use proto_spec::mpsl::epoch::{Notice, SessionRecord};
use proto_spec::packet::RecordHeader;
use proto_spec::{EpochId, Now, Reader, SenderNumber, TrafficClass, Wire};

use super::{Event, Session, Side};
use crate::group::{Inbound, Joiner, Outgoing, PacketError};
use crate::handshake::LeaderStep;
use crate::record::{OpenError, Opened, RECORD_PREFIX_LENGTH};

impl Session {
    pub(super) fn handle_handshake(
        &mut self,
        now: Now,
        from: SenderNumber,
        packet: &[u8],
    ) -> Result<(), PacketError> {
        // A repeat of the last handshake message reaches a member that is long established.
        let Side::Leader { group, handshake } = &mut self.role else { return Ok(()) };
        let step =
            handshake.handle(now, from, packet, &mut self.rng, &|number, key| group.is_taken(number, key));
        match step {
            Ok(LeaderStep::Reply(reply)) => {
                self.transmit_all([Outgoing { to: from, packet: reply }]);
                Ok(())
            }
            Ok(LeaderStep::Proved(proved)) => {
                let joiner = Joiner {
                    number: proved.number,
                    key: proved.member_key,
                    role: proved.role,
                    name: proved.display_name.clone(),
                    pairwise: proved.pairwise,
                };
                let gone = group.proved(now.mono, joiner);
                self.transmit_all([Outgoing { to: from, packet: proved.reply }]);
                self.events.extend(gone.map(|number| Event::JoinerExpired { number }));
                self.events.push_back(Event::JoinerProved {
                    number: proved.number,
                    name: proved.display_name,
                    role: proved.role,
                });
                Ok(())
            }
            Err(error) => {
                let reply = error.reply().map(|reply| Outgoing { to: from, packet: reply.to_vec() });
                self.transmit_all(reply);
                self.events.push_back(Event::HandshakeFailed { from, reason: error });
                Err(error.into())
            }
        }
    }

    pub(super) fn handle_pairwise(&mut self, from: SenderNumber, packet: &[u8]) -> Result<(), PacketError> {
        let inbound = match &mut self.role {
            Side::Leader { group, .. } => {
                let (inbound, heartbeat) = group.handle(self.now, from, packet)?;
                if let Some(heartbeat) = heartbeat {
                    let answers = group.answer(self.now, from, &heartbeat);
                    self.transmit_all(answers);
                    self.report_removals();
                }
                inbound
            }
            Side::Member(member) => {
                let (inbound, installed) = member.handle(self.now, &self.identity, from, packet)?;
                if let Some(installed) = installed {
                    self.install(installed);
                }
                inbound
            }
        };
        match inbound {
            Inbound::Nothing => {}
            Inbound::Private { kind, bytes } => self.events.push_back(Event::Private { from, kind, bytes }),
            Inbound::Notice(Notice::Leaving) => {
                if self.take_out(from, Notice::Removed) {
                    self.events.push_back(Event::MemberLeft { number: from });
                    self.rekey(&[from]);
                } else if let Side::Leader { group, .. } = &mut self.role {
                    group.refuse(from);
                    self.events.push_back(Event::JoinerExpired { number: from });
                }
            }
            Inbound::Notice(notice) => {
                self.over = true;
                self.events.push_back(match notice {
                    Notice::Refused => Event::Refused,
                    Notice::Ended => Event::Ended,
                    Notice::Removed | Notice::Leaving => Event::Removed,
                });
            }
        }
        Ok(())
    }

    pub(super) fn handle_session_record(
        &mut self,
        opened: &Opened,
        packet: &[u8],
        spill: &[u8],
    ) -> Result<(), OpenError> {
        // What was said about an older epoch is of no use in this one.
        if Some(opened.epoch) != self.opener.newest() {
            return Ok(());
        }
        match SessionRecord::from_bytes(opened.plaintext(packet, spill))? {
            SessionRecord::Bases(bases) => {
                if self.opener.state_bases(opened.sender, opened.epoch, &bases) {
                    let (sender, epoch) = (opened.sender, opened.epoch);
                    self.events.push_back(Event::Bases { sender, epoch, bases });
                }
                // Acknowledged each time: the acknowledgement before may be lost.
                let held = SessionRecord::BasesHeld(opened.sender).to_bytes();
                self.send_session_record(&held, Destination::one(opened.sender));
            }
            SessionRecord::BasesHeld(of) if of == self.identity.number => {
                self.bases.acknowledged(opened.sender);
            }
            SessionRecord::BasesHeld(_) => {}
        }
        self.pump();
        Ok(())
    }

    /// Keeps a record of a newer epoch, if there is room.
    pub(super) fn hold(&mut self, sender: SenderNumber, class: TrafficClass, packet: &[u8]) -> OpenError {
        let epoch = packet
            .get(1..RECORD_PREFIX_LENGTH)
            .and_then(|header| RecordHeader::decode(&mut Reader::new(header)).ok())
            .map(|header| header.epoch);
        let newer = |epoch: &EpochId| match self.held() {
            Some(held) => held.is_older_than(*epoch),
            None => epoch.leader == self.leader(),
        };
        let Some(epoch) = epoch.filter(newer) else { return OpenError::OldEpoch };
        if self.hold.keep(sender, class, packet, epoch) { OpenError::Held } else { OpenError::HoldFull }
    }
}
