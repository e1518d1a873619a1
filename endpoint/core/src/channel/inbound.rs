//! All incoming reliable channels of all members, and the acknowledgements that they owe.
//!
//! Where a member's control and chat channels start is its base statement's word; where a file's stream starts is the
//! transfer's. Acknowledgements are gathered by member and paced, so that they leave room in the control class.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use proto_spec::channel::{ACK_ENTRIES_MAX, AckEntry, CHAT_STREAM, CONTROL_STREAM, StreamUse, record_cost};
use proto_spec::{SenderNumber, StreamId, Timestamp};

use super::ChannelEvent;
use super::incoming::{Arrival, Incoming};
use super::limits::{ACK_BURST_BYTES, ACK_RATE_BYTES, ARMED_STREAMS_MAX, FILE_CAPACITY, FIXED_CAPACITY};

const FIXED: [StreamId; 2] = [CONTROL_STREAM, CHAT_STREAM];

/// Acknowledgements that are due this soon go along with those that are due now.
const GATHER: Duration = Duration::from_millis(5);

/// One member's channels to here.
struct Member {
    channels: BTreeMap<StreamId, Incoming>,
    /// Where its channels stood at the start of the newest epoch, once it has said so.
    bases: Option<Vec<(StreamId, u64)>>,
    /// Whether it has ever said so: its fixed channels are open.
    started: bool,
    /// Whether its channels are to start anew at the next statement.
    anew: bool,
}

/// All incoming reliable channels.
#[derive(Default)]
pub(super) struct Inbound {
    members: BTreeMap<SenderNumber, Member>,
    pub(super) events: VecDeque<ChannelEvent>,
    budget: Budget,
}

impl Inbound {
    /// The members by the newest roster, this endpoint not among them. Statements about older epochs are void.
    pub(super) fn set_members(&mut self, members: &BTreeSet<SenderNumber>) {
        self.members.retain(|member, _| members.contains(member));
        for member in members {
            let fixed = || FIXED.map(|stream| (stream, Incoming::new(stream, FIXED_CAPACITY))).into();
            let entry = self.members.entry(*member);
            let member = entry.or_insert_with(|| Member {
                channels: fixed(),
                bases: None,
                started: false,
                anew: false,
            });
            member.bases = None;
        }
    }

    /// A member's base statement: its first one starts its fixed channels, a later one matters only to start anew.
    pub(super) fn stated(&mut self, now: Timestamp, from: SenderNumber, bases: &[(StreamId, u64)]) {
        let Some(member) = self.members.get_mut(&from) else { return };
        if member.started && !member.anew {
            member.bases = Some(bases.to_vec());
            return;
        }
        let base_of = |stream: StreamId| {
            bases.iter().find(|(of, _)| *of == stream).map_or(0, |(_, sequence)| *sequence)
        };
        let anew = std::mem::take(&mut member.anew);
        member.started = true;
        member.bases = Some(bases.to_vec());
        let concerned = member
            .channels
            .iter()
            .filter(|(stream, channel)| FIXED.contains(stream) || anew && channel.is_open());
        let concerned: Vec<_> = concerned.map(|(stream, _)| *stream).collect();
        for stream in concerned {
            self.advance(now, from, stream, base_of(stream));
        }
    }

    /// Older records of a member cannot be opened any more: its channels go on from the newest epoch's start.
    pub(super) fn start_anew(&mut self, now: Timestamp, from: SenderNumber) {
        let Some(member) = self.members.get_mut(&from) else { return };
        member.anew = true;
        if let Some(bases) = member.bases.take() {
            self.stated(now, from, &bases);
        }
    }

    /// A file's stream may soon have records: they wait for [`Inbound::start`]. `false` if too many do.
    pub(super) fn arm(&mut self, from: SenderNumber, stream: StreamId) -> bool {
        let Some(member) = self.members.get_mut(&from) else { return false };
        let fresh = !member.channels.contains_key(&stream);
        if fresh && member.channels.len() >= FIXED.len() + ARMED_STREAMS_MAX {
            return false;
        }
        member.channels.insert(stream, Incoming::new(stream, FILE_CAPACITY));
        true
    }

    /// A file's stream starts at a sequence.
    pub(super) fn start(&mut self, now: Timestamp, from: SenderNumber, stream: StreamId, first: u64) {
        self.advance(now, from, stream, first);
    }

    /// A file's stream is of no interest any more.
    pub(super) fn stop(&mut self, from: SenderNumber, stream: StreamId) {
        if let Some(member) = self.members.get_mut(&from) {
            member.channels.remove(&stream);
        }
    }

    /// A record of a reliable channel. Records of streams that nobody awaits go nowhere.
    pub(super) fn arrive(
        &mut self,
        now: Timestamp,
        from: SenderNumber,
        stream: StreamId,
        sequence: u64,
        payload: Bytes,
    ) -> Arrival {
        let channel = self.members.get_mut(&from).and_then(|member| member.channels.get_mut(&stream));
        let Some(channel) = channel else { return Arrival::Outside };
        let arrival = channel.arrive(now, sequence, payload);
        if arrival == Arrival::InOrder {
            self.deliver(now, from, stream);
        }
        arrival
    }

    /// The application has taken a payload of this length from a file's stream.
    pub(super) fn taken(
        &mut self,
        now: Timestamp,
        from: SenderNumber,
        stream: StreamId,
        payload_length: usize,
    ) {
        if let Some(channel) = self.members.get_mut(&from).and_then(|member| member.channels.get_mut(&stream))
        {
            channel.taken(now, record_cost(payload_length));
        }
    }

    /// A channel's sender asks what has arrived \[CHN-9\].
    pub(super) fn probed(&mut self, now: Timestamp, from: SenderNumber, stream: StreamId, token: u32) {
        if let Some(channel) = self.members.get_mut(&from).and_then(|member| member.channels.get_mut(&stream))
        {
            channel.probed(now, token);
        }
    }

    /// A channel's sender will not repair anything below \[CHN-11\].
    pub(super) fn skip(&mut self, now: Timestamp, from: SenderNumber, stream: StreamId, to: u64) {
        let open = self.members.get(&from).and_then(|member| member.channels.get(&stream));
        if open.is_some_and(Incoming::is_open) {
            self.advance(now, from, stream, to);
            if let Some(channel) =
                self.members.get_mut(&from).and_then(|member| member.channels.get_mut(&stream))
            {
                channel.ask(now);
            }
        }
    }

    /// Acknowledgements on their way may be gone: says everything again.
    pub(super) fn way_renewed(&mut self, now: Timestamp) {
        let channels = self.members.values_mut().flat_map(|member| member.channels.values_mut());
        channels.filter(|channel| channel.next() > 0).for_each(|channel| channel.ask(now));
    }

    /// The acknowledgements that are due to one member, the longest due first; `None` if there are none or the pace
    /// does not allow it \[CHN-5\].
    pub(super) fn due(&mut self, now: Timestamp) -> Option<(SenderNumber, Vec<AckEntry>)> {
        if !self.budget.allows(now) {
            return None;
        }
        let (_, to) = self.ack_times().filter(|(at, _)| *at <= now).min()?;
        let member = self.members.get_mut(&to)?;
        let due = |channel: &&mut Incoming| channel.ack_at().is_some_and(|at| at <= now + GATHER);
        let entries = member.channels.values_mut().filter(due).take(ACK_ENTRIES_MAX);
        Some((to, entries.map(|channel| AckEntry::Ack(channel.acknowledge(now))).collect()))
    }

    /// A record with acknowledgements of this length went out.
    pub(super) fn spent(&mut self, now: Timestamp, bytes: u64) {
        self.budget.spend(now, bytes);
    }

    /// Acknowledgements that could not be sent are still owed.
    pub(super) fn owed(&mut self, now: Timestamp, to: SenderNumber, entries: &[AckEntry]) {
        let Some(member) = self.members.get_mut(&to) else { return };
        for entry in entries {
            if let AckEntry::Ack(ack) = entry
                && let Some(channel) = member.channels.get_mut(&ack.stream)
            {
                match ack.token {
                    0 => channel.ask(now),
                    token => channel.probed(now, token),
                }
            }
        }
    }

    /// When an acknowledgement becomes due, after `handled`.
    pub(super) fn poll_timeout(&self, handled: Timestamp) -> Option<Timestamp> {
        let ready = self.budget.ready_at();
        self.ack_times().map(|(at, _)| at.max(ready)).filter(|at| *at > handled).min()
    }

    fn ack_times(&self) -> impl Iterator<Item = (Timestamp, SenderNumber)> + '_ {
        self.members.iter().flat_map(|(number, member)| {
            member.channels.values().filter_map(|channel| channel.ack_at().map(|at| (at, *number)))
        })
    }

    fn advance(&mut self, now: Timestamp, from: SenderNumber, stream: StreamId, to: u64) {
        let channel = self.members.get_mut(&from).and_then(|member| member.channels.get_mut(&stream));
        let Some(channel) = channel else { return };
        let records = channel.advance(now, to);
        if records > 0 {
            self.events.push_back(ChannelEvent::Lost { from, stream, records });
        }
        self.deliver(now, from, stream);
    }

    fn deliver(&mut self, now: Timestamp, from: SenderNumber, stream: StreamId) {
        let channel = self.members.get_mut(&from).and_then(|member| member.channels.get_mut(&stream));
        let Some(channel) = channel else { return };
        while let Some((sequence, payload)) = channel.deliver() {
            if StreamUse::of(stream) != Some(StreamUse::Files) {
                channel.taken(now, record_cost(payload.len()));
            }
            self.events.push_back(ChannelEvent::Delivered { from, stream, sequence, payload });
        }
    }
}

/// A token bucket over the bytes of acknowledgements.
struct Budget {
    bytes: u64,
    at: Timestamp,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { bytes: ACK_BURST_BYTES, at: Timestamp::ZERO }
    }
}

impl Budget {
    /// Whether something may go out; the bucket may then be overdrawn by one record.
    fn allows(&mut self, now: Timestamp) -> bool {
        let earned = (now.since(self.at).as_micros() as u64).saturating_mul(ACK_RATE_BYTES) / 1_000_000;
        if earned > 0 {
            self.bytes = (self.bytes + earned).min(ACK_BURST_BYTES);
            self.at = now;
        }
        self.bytes >= Self::LEAST
    }

    fn spend(&mut self, now: Timestamp, bytes: u64) {
        self.at = self.at.max(now);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// When it allows the next record.
    fn ready_at(&self) -> Timestamp {
        let lacking = Self::LEAST.saturating_sub(self.bytes);
        self.at + Duration::from_micros((lacking * 1_000_000).div_ceil(ACK_RATE_BYTES))
    }

    /// About one record with one acknowledgement.
    const LEAST: u64 = 192;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(Duration::from_millis(ms))
    }

    fn number(value: u16) -> SenderNumber {
        SenderNumber::new(value).unwrap()
    }

    fn inbound() -> Inbound {
        let mut inbound = Inbound::default();
        inbound.set_members(&[number(2), number(3)].into());
        inbound
    }

    fn delivered(inbound: &mut Inbound) -> Vec<u64> {
        inbound
            .events
            .drain(..)
            .filter_map(|event| match event {
                ChannelEvent::Delivered { sequence, .. } => Some(sequence),
                _ => None,
            })
            .collect()
    }

    fn arrive(inbound: &mut Inbound, stream: StreamId, sequence: u64) -> Arrival {
        inbound.arrive(at(1), number(2), stream, sequence, Bytes::from_static(b"x"))
    }

    /// \[CHN-8\]: a joiner starts at the stated base, whichever comes first.
    #[test]
    fn channels_start_at_the_stated_base() {
        let mut inbound = inbound();
        assert_eq!(arrive(&mut inbound, CHAT_STREAM, 5), Arrival::Held);
        assert!(delivered(&mut inbound).is_empty());
        inbound.stated(at(1), number(2), &[(CHAT_STREAM, 5)]);
        assert_eq!(delivered(&mut inbound), [5]);
        assert_eq!(arrive(&mut inbound, CONTROL_STREAM, 0), Arrival::InOrder);
        inbound.stated(at(1), number(2), &[(CHAT_STREAM, 90)]);
        assert_eq!(arrive(&mut inbound, CHAT_STREAM, 6), Arrival::InOrder);
    }

    /// \[CHN-11\]: a member whose older records are lost goes on from the newest base, and is told.
    #[test]
    fn channels_start_anew_at_the_newest_base() {
        let mut inbound = inbound();
        inbound.stated(at(1), number(2), &[]);
        inbound.stated(at(1), number(2), &[(CHAT_STREAM, 9)]);
        inbound.start_anew(at(1), number(2));
        let lost = ChannelEvent::Lost { from: number(2), stream: CHAT_STREAM, records: 9 };
        assert_eq!(inbound.events.pop_front(), Some(lost));
        assert_eq!(arrive(&mut inbound, CHAT_STREAM, 9), Arrival::InOrder);
        inbound.set_members(&[number(2)].into());
        inbound.start_anew(at(1), number(2));
        inbound.events.clear();
        inbound.stated(at(1), number(2), &[(CHAT_STREAM, 12)]);
        assert!(matches!(inbound.events.pop_front(), Some(ChannelEvent::Lost { records: 2, .. })));
    }

    /// \[CHN-1\]: streams that nobody awaits hold nothing; so many may be awaited and no more.
    #[test]
    fn only_awaited_file_streams_hold_records() {
        let mut inbound = inbound();
        assert_eq!(arrive(&mut inbound, StreamId(16), 0), Arrival::Outside);
        for stream in 0..ARMED_STREAMS_MAX as u32 {
            assert!(inbound.arm(number(2), StreamId(16 + stream)));
        }
        assert!(!inbound.arm(number(2), StreamId(60)));
        assert!(inbound.arm(number(2), StreamId(16)));
        assert_eq!(arrive(&mut inbound, StreamId(16), 40), Arrival::Held);
        inbound.start(at(1), number(2), StreamId(16), 40);
        assert_eq!(delivered(&mut inbound), [40]);
        inbound.stop(number(2), StreamId(16));
        assert_eq!(arrive(&mut inbound, StreamId(16), 41), Arrival::Outside);
        assert!(!inbound.arm(number(9), StreamId(16)));
    }

    /// \[CHN-5\]: acknowledgements keep to their pace, and none is forgotten.
    #[test]
    fn acknowledgements_are_paced() {
        let mut inbound = inbound();
        inbound.stated(at(0), number(2), &[]);
        let mut sent = 0;
        let mut now = 0;
        for sequence in 0..20_000 {
            now = sequence / 10;
            inbound.arrive(at(now), number(2), CHAT_STREAM, sequence, Bytes::from_static(b"x"));
            while let Some((to, _)) = inbound.due(at(now)) {
                assert_eq!(to, number(2));
                inbound.spent(at(now), 190);
                sent += 190;
            }
            inbound.events.clear();
        }
        assert!(sent <= ACK_BURST_BYTES + ACK_RATE_BYTES * now / 1_000 + 190, "{sent} bytes in {now} ms");
        inbound.stated(at(now), number(3), &[]);
        inbound.arrive(at(now), number(3), CHAT_STREAM, 0, Bytes::from_static(b"x"));
        while let Some(next) = inbound.poll_timeout(at(now)) {
            assert!(next > at(now));
            now = next.0.as_millis() as u64 + 1;
            if let Some((to, entries)) = inbound.due(at(now)) {
                inbound.spent(at(now), 190);
                let chat = entries.iter().find_map(|entry| match entry {
                    AckEntry::Ack(ack) if ack.stream == CHAT_STREAM => Some(ack.next),
                    _ => None,
                });
                if to == number(3) && chat == Some(1) {
                    return;
                }
            }
        }
        panic!("the other member was forgotten");
    }
}
