//! Channels between the members of a session: reliable ordered ones for control, chat and files, over sealed records.
//!
//! ```text
//! send -> Outgoing (queue, window, repairs) -> poll_transmit -> attachment -> relay
//! relay -> Security::open -> handle_record -> Inbound (order, duplicates) -> poll_event
//!                                 \-> acknowledgements -> poll_transmit (class control)
//! ```
//! Driving order: give one input, then drain [`Channels::poll_event`], pull [`Channels::poll_transmit`] for each class
//! that the attachment has room for, and read [`Channels::poll_timeout`]. What is pulled is on its way: there is no
//! queue behind the channels, so what the attachment does not take presses on the application.
//!
//! The channels never open a socket, read a clock or draw randomness, and what they keep is bounded by `limits`. They
//! outlive attachments: after a new one they ask what has arrived and go on from there.

mod inbound;
mod incoming;
pub mod latest;
pub mod limits;
mod outgoing;
mod path;
mod progress;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use proto_spec::channel::{
    ACK_ENTRIES_MAX, ACK_STREAM, AckEntry, AckRecord, CHAT_STREAM, CONTROL_STREAM, FILE_STREAM_FIRST,
    FILE_STREAM_LAST, MARK_SEQUENCE, SEQUENCE_LENGTH, StreamUse,
};
use proto_spec::frame::Destination;
use proto_spec::{EpochId, Now, SenderNumber, StreamId, Timestamp, TrafficClass, Wire};
use thiserror::Error;

use crate::security::{Opened, Seal, SealError};
use inbound::Inbound;
use incoming::Arrival;
use limits::ACK_FRAME_BYTES;
use outgoing::{Outgoing, Packet};
use path::Paths;

/// What a channel has to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChannelEvent {
    /// The next payload of a channel, in order and once. Those of files' streams are given back with
    /// [`Channels::taken`] once they are written.
    Delivered {
        /// Who sent it.
        from: SenderNumber,
        /// The channel.
        stream: StreamId,
        /// Its place in the channel.
        sequence: u64,
        /// The content.
        payload: Bytes,
    },
    /// Records of a channel to here will never come; it goes on behind them.
    Lost {
        /// Whose channel.
        from: SenderNumber,
        /// The channel.
        stream: StreamId,
        /// How many.
        records: u64,
    },
    /// A member kept the others waiting too long and is out of the channel's window; control and chat go on for it
    /// later, a file does not.
    FellBehind {
        /// The channel from here.
        stream: StreamId,
        /// Who.
        member: SenderNumber,
    },
}

/// Why a payload is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SendError {
    /// Wait until [`Channels::is_writable`].
    #[error("the channel is full: wait until it is writable")]
    Full,
    /// Only control, chat and opened files' streams take payloads.
    #[error("the channel is not open")]
    NotOpen,
    /// Longer than [`Channels::payload_max`].
    #[error("longer than a record may be")]
    TooLong,
}

/// A packet to be put into a data frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// The data frame's class.
    pub class: TrafficClass,
    /// Whom it is for.
    pub destination: Destination,
    /// The whole packet.
    pub packet: Bytes,
}

/// Records that were genuine and led to nothing, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Drops {
    /// Not what their stream carries.
    pub malformed: u64,
    /// Of a class, or without a signature, that their stream does not allow.
    pub unfit: u64,
    /// Delivered before.
    pub duplicate: u64,
    /// Outside of the window, or of a stream that nobody awaits.
    pub outside: u64,
}

/// All channels of one endpoint in one session.
pub struct Channels {
    me: SenderNumber,
    payload_max: usize,
    epoch: Option<EpochId>,
    /// The members by the newest roster, but this endpoint.
    others: BTreeSet<SenderNumber>,
    absent: BTreeSet<SenderNumber>,
    attached: bool,
    outgoing: BTreeMap<StreamId, Outgoing>,
    /// Files' streams that are in use.
    open_files: BTreeSet<StreamId>,
    file_cursor: StreamId,
    paths: Paths,
    inbound: Inbound,
    /// Probes and skips to be sent; a newer one of a kind replaces an older one.
    entries: BTreeMap<(SenderNumber, StreamId, EntryKind), AckEntry>,
    paused: BTreeSet<TrafficClass>,
    events: VecDeque<ChannelEvent>,
    drops: Drops,
    handled: Timestamp,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum EntryKind {
    Probe,
    Skip,
}

impl Channels {
    /// No members yet, and not attached. `plaintext_max` is [`Seal::plaintext_max`].
    ///
    /// # Panics
    /// If not even a sequence fits a record: our own bug.
    pub fn new(me: SenderNumber, plaintext_max: usize) -> Channels {
        let payload_max = plaintext_max.checked_sub(SEQUENCE_LENGTH).expect("a record holds a sequence");
        let fixed = [(CONTROL_STREAM, StreamUse::Control), (CHAT_STREAM, StreamUse::Chat)];
        Channels {
            me,
            payload_max,
            epoch: None,
            others: BTreeSet::new(),
            absent: BTreeSet::new(),
            attached: false,
            outgoing: fixed.map(|(stream, usage)| (stream, Outgoing::new(stream, usage))).into(),
            open_files: BTreeSet::new(),
            file_cursor: StreamId(FILE_STREAM_FIRST),
            paths: Paths::default(),
            inbound: Inbound::default(),
            entries: BTreeMap::new(),
            paused: BTreeSet::new(),
            events: VecDeque::new(),
            drops: Drops::default(),
            handled: Timestamp::ZERO,
            scratch: Vec::new(),
        }
    }

    /// The longest payload of one record in bytes.
    pub const fn payload_max(&self) -> usize {
        self.payload_max
    }

    /// Whether a channel takes a payload of the longest kind now.
    pub fn is_writable(&self, stream: StreamId) -> bool {
        self.is_open(stream)
            && self.outgoing.get(&stream).is_some_and(|channel| channel.has_room(self.payload_max))
    }

    /// The first sequence that a receiver of a channel from here has not acknowledged; `None` if it is no receiver.
    pub fn acknowledged(&self, stream: StreamId, member: SenderNumber) -> Option<u64> {
        self.outgoing.get(&stream)?.acknowledged(member)
    }

    /// The sequence that the next payload of a channel will have.
    pub fn next_sequence(&self, stream: StreamId) -> u64 {
        self.outgoing.get(&stream).map_or(0, Outgoing::next_queued)
    }

    /// Whether nothing of a channel from here waits or is missing anywhere.
    pub fn is_idle(&self, stream: StreamId) -> bool {
        self.outgoing.get(&stream).is_none_or(Outgoing::is_idle)
    }

    /// Records that led to nothing, counted.
    pub const fn drops(&self) -> Drops {
        self.drops
    }

    // ---- inputs ----

    /// A new epoch with its roster. Members that are not in it any more are out of all channels; new ones begin with
    /// what is sealed from now on \[CHN-8\]. Returns each channel's next sequence, for [`Security::state_bases`].
    ///
    /// [`Security::state_bases`]: crate::security::Security::state_bases
    pub fn epoch_installed(
        &mut self,
        now: Timestamp,
        epoch: EpochId,
        roster: impl IntoIterator<Item = SenderNumber>,
    ) -> Vec<(StreamId, u64)> {
        let others: BTreeSet<_> = roster.into_iter().filter(|number| *number != self.me).collect();
        for gone in self.others.difference(&others) {
            self.outgoing.values_mut().for_each(|channel| channel.remove(*gone, &mut self.paths));
            self.paths.forget(*gone);
            self.absent.remove(gone);
            self.entries.retain(|(member, _, _), _| member != gone);
        }
        for stream in [CONTROL_STREAM, CHAT_STREAM] {
            if let Some(channel) = self.outgoing.get_mut(&stream) {
                others.iter().for_each(|member| channel.add(now, *member));
            }
        }
        self.outgoing.values_mut().for_each(|channel| channel.epoch_installed(now, epoch));
        self.inbound.set_members(&others);
        self.others = others;
        self.epoch = Some(epoch);
        self.outgoing.iter().map(|(stream, channel)| (*stream, channel.next())).collect()
    }

    /// A member stated where its channels stand at the start of the newest epoch.
    pub fn handle_bases(&mut self, now: Timestamp, from: SenderNumber, bases: &[(StreamId, u64)]) {
        self.inbound.stated(now, from, bases);
    }

    /// Older records of a member cannot be opened any more: its channels go on from the newest epoch's start, with
    /// [`ChannelEvent::Lost`] for what is missing.
    pub fn resynchronise(&mut self, now: Timestamp, from: SenderNumber) {
        self.inbound.start_anew(now, from);
    }

    /// The endpoint has an attachment again: asks what has arrived, and says what has \[CHN-9\]. Whoever is not there
    /// is to be told anew, with [`Channels::member_present`].
    pub fn attached(&mut self, now: Timestamp) {
        self.attached = true;
        self.absent.clear();
        self.way_renewed(now);
    }

    /// From now on the attachment is known to all: asks what has arrived, and says what has \[CHN-9\].
    pub fn way_renewed(&mut self, now: Timestamp) {
        self.outgoing.values_mut().for_each(|channel| channel.way_renewed(now, None));
        self.inbound.way_renewed(now);
        self.collect();
    }

    /// The attachment is gone: timers rest, nobody falls behind.
    pub const fn detached(&mut self) {
        self.attached = false;
    }

    /// A way to members may have changed somewhere: repeats what may have got lost by it, and asks, at a bounded pace
    /// \[FLW-5\] \[CHN-13\].
    pub fn path_hinted(&mut self, now: Timestamp) {
        let members: Vec<_> = self.others.difference(&self.absent).copied().collect();
        for channel in self.outgoing.values_mut() {
            members.iter().for_each(|member| channel.hinted(now, *member));
        }
        self.collect();
    }

    /// From now on everything is sent over another attachment, while what was sent before still arrives over the older
    /// \[CHN-13\].
    pub fn switched(&mut self, now: Timestamp) {
        self.outgoing.values_mut().for_each(|channel| channel.switched(now));
    }

    /// The relay's word that a member is attached or not; unheard of, it counts as attached. Who is said to be attached
    /// although that was known may have got there anew.
    pub fn member_present(&mut self, now: Timestamp, member: SenderNumber, present: bool) {
        if !present {
            self.absent.insert(member);
            return;
        }
        let was_absent = self.absent.remove(&member);
        for channel in self.outgoing.values_mut() {
            if was_absent {
                channel.way_renewed(now, Some(member));
            } else {
                channel.hinted(now, member);
            }
        }
        self.collect();
    }

    /// When silence about what a present member lacks makes the own node suspect \[SES-18\]; `None` if nothing is
    /// unacknowledged.
    pub fn unheard_at(&mut self) -> Option<Timestamp> {
        if !self.attached {
            return None;
        }
        let (absent, paths) = (&self.absent, &mut self.paths);
        self.outgoing.values().filter_map(|channel| channel.unheard_at(absent, paths)).min()
    }

    /// Takes a payload for all receivers of a channel; returns its sequence.
    ///
    /// # Errors
    /// [`SendError`]; nothing was taken.
    pub fn send(&mut self, stream: StreamId, payload: Bytes) -> Result<u64, SendError> {
        if !self.is_open(stream) {
            return Err(SendError::NotOpen);
        }
        if payload.len() > self.payload_max {
            return Err(SendError::TooLong);
        }
        let channel = self.outgoing.get_mut(&stream).ok_or(SendError::NotOpen)?;
        if !channel.has_room(payload.len()) {
            return Err(SendError::Full);
        }
        let sequence = channel.next_queued();
        channel.push(payload);
        Ok(sequence)
    }

    /// Seals nothing new of a class, or goes on; what is on its way is still repaired.
    pub fn pause(&mut self, class: TrafficClass, paused: bool) {
        if paused {
            self.paused.insert(class);
        } else {
            self.paused.remove(&class);
        }
    }

    /// A stream for a file that is not in use; it counts as in use from now on, until [`Channels::close_file`].
    pub fn reserve_file(&mut self) -> Option<StreamId> {
        let stream =
            (FILE_STREAM_FIRST..=FILE_STREAM_LAST).map(StreamId).find(|of| !self.open_files.contains(of))?;
        self.open_files.insert(stream);
        self.outgoing.entry(stream).or_insert_with(|| {
            let mut channel = Outgoing::new(stream, StreamUse::Files);
            if let Some(epoch) = self.epoch {
                channel.epoch_installed(Timestamp::ZERO, epoch);
            }
            channel
        });
        Some(stream)
    }

    /// Opens a reserved stream to some members; returns the sequence of its first record.
    pub fn open_file(
        &mut self,
        now: Timestamp,
        stream: StreamId,
        receivers: impl IntoIterator<Item = SenderNumber>,
    ) -> u64 {
        let Some(channel) = self.outgoing.get_mut(&stream) else { return 0 };
        for member in receivers {
            if self.others.contains(&member) {
                channel.add(now, member);
            }
        }
        channel.next_queued()
    }

    /// A member gets no more of a file's stream.
    pub fn drop_receiver(&mut self, stream: StreamId, member: SenderNumber) {
        if StreamUse::of(stream) == Some(StreamUse::Files)
            && let Some(channel) = self.outgoing.get_mut(&stream)
        {
            channel.remove(member, &mut self.paths);
        }
    }

    /// Gives up what is left of a file's stream and frees it for another.
    pub fn close_file(&mut self, stream: StreamId) {
        if self.open_files.remove(&stream)
            && let Some(channel) = self.outgoing.get_mut(&stream)
        {
            channel.clear(&mut self.paths);
        }
    }

    /// Records of a member's file stream may come from now on; they wait for [`Channels::start_file`]. `false` if too
    /// many are awaited already.
    pub fn await_file(&mut self, from: SenderNumber, stream: StreamId) -> bool {
        StreamUse::of(stream) == Some(StreamUse::Files) && self.inbound.arm(from, stream)
    }

    /// A member's file begins with this sequence of its stream.
    pub fn start_file(&mut self, now: Timestamp, from: SenderNumber, stream: StreamId, first_sequence: u64) {
        self.inbound.start(now, from, stream, first_sequence);
    }

    /// Nothing more of a member's file stream is wanted.
    pub fn stop_file(&mut self, from: SenderNumber, stream: StreamId) {
        if StreamUse::of(stream) == Some(StreamUse::Files) {
            self.inbound.stop(from, stream);
        }
    }

    /// A payload of a file's stream is dealt with: its sender may send as much again.
    pub fn taken(&mut self, now: Timestamp, from: SenderNumber, stream: StreamId, payload_length: usize) {
        self.inbound.taken(now, from, stream, payload_length);
    }

    /// A record that was opened and is genuine. Anything unfit is counted and dropped.
    pub fn handle_record(&mut self, now: Timestamp, opened: &Opened) {
        let Some(usage) = StreamUse::of(opened.stream) else {
            self.drops.unfit += 1;
            return;
        };
        if usage.class() != opened.class || usage.signed() && !opened.signed {
            self.drops.unfit += 1;
            return;
        }
        match usage {
            StreamUse::Session => self.drops.unfit += 1,
            StreamUse::Acks => match AckRecord::from_bytes(&opened.payload) {
                Ok(record) => record.entries.into_iter().for_each(|entry| {
                    self.handle_entry(now, opened.sender, entry);
                }),
                Err(_) => self.drops.malformed += 1,
            },
            StreamUse::Control | StreamUse::Chat | StreamUse::Files => {
                let Some((sequence, _)) = opened.payload.split_first_chunk::<SEQUENCE_LENGTH>() else {
                    self.drops.malformed += 1;
                    return;
                };
                let sequence = u64::from_be_bytes(*sequence);
                let payload = opened.payload.slice(SEQUENCE_LENGTH..);
                if sequence == MARK_SEQUENCE && usage == StreamUse::Files {
                    match payload.as_ref().try_into().map(u32::from_be_bytes) {
                        Ok(token) => self.inbound.probed(now, opened.sender, opened.stream, token),
                        Err(_) => self.drops.malformed += 1,
                    }
                    return;
                }
                match self.inbound.arrive(now, opened.sender, opened.stream, sequence, payload) {
                    Arrival::InOrder | Arrival::Held => {}
                    Arrival::Duplicate => self.drops.duplicate += 1,
                    Arrival::Outside => self.drops.outside += 1,
                }
            }
        }
    }

    /// Timers that are due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.handled = now;
        if self.attached {
            for channel in self.outgoing.values_mut() {
                channel.handle_timeout(now, &self.absent, &mut self.paths);
            }
            self.collect();
        }
    }

    // ---- outputs ----

    /// When [`Channels::handle_timeout`] wants to be called.
    pub fn poll_timeout(&mut self) -> Option<Timestamp> {
        if !self.attached {
            return None;
        }
        let (absent, paths) = (&self.absent, &mut self.paths);
        let outgoing = self.outgoing.values().filter_map(|channel| channel.poll_timeout(absent, paths)).min();
        outgoing.into_iter().chain(self.inbound.poll_timeout(self.handled)).min()
    }

    /// The next thing to tell, until `None`.
    pub fn poll_event(&mut self) -> Option<ChannelEvent> {
        self.events.pop_front().or_else(|| self.inbound.events.pop_front())
    }

    /// The next packet of a class, `None` if there is none that may go now. To be called only when the attachment
    /// takes it.
    pub fn poll_transmit(&mut self, now: Now, class: TrafficClass, seal: &mut impl Seal) -> Option<Transmit> {
        let transmit = match class {
            TrafficClass::Control => self
                .acknowledgements(now, seal)
                .or_else(|| self.transmit_from(now, CONTROL_STREAM, seal).ok().flatten()),
            TrafficClass::Interactive => self.transmit_from(now, CHAT_STREAM, seal).ok().flatten(),
            TrafficClass::Bulk => self.transmit_file(now, seal),
            TrafficClass::Screen => None,
        };
        self.collect();
        transmit
    }

    // ---- helpers ----

    fn is_open(&self, stream: StreamId) -> bool {
        matches!(StreamUse::of(stream), Some(StreamUse::Control | StreamUse::Chat))
            || self.open_files.contains(&stream)
    }

    fn handle_entry(&mut self, now: Timestamp, from: SenderNumber, entry: AckEntry) {
        match entry {
            AckEntry::Ack(ack) => {
                if let Some(channel) = self.outgoing.get_mut(&ack.stream) {
                    channel.acknowledgement(now, from, &ack, &mut self.paths);
                }
            }
            AckEntry::Probe { stream, token } => self.inbound.probed(now, from, stream, token),
            AckEntry::Skip { stream, to } => self.inbound.skip(now, from, stream, to),
        }
    }

    /// Gathers what the channels want said.
    fn collect(&mut self) {
        for (stream, channel) in &mut self.outgoing {
            for (member, entry) in channel.take_entries() {
                let kind = match entry {
                    AckEntry::Skip { .. } => EntryKind::Skip,
                    AckEntry::Ack(_) | AckEntry::Probe { .. } => EntryKind::Probe,
                };
                self.entries.insert((member, *stream, kind), entry);
            }
            for member in channel.take_lost() {
                self.events.push_back(ChannelEvent::FellBehind { stream: *stream, member });
            }
        }
    }

    fn acknowledgements(&mut self, now: Now, seal: &mut impl Seal) -> Option<Transmit> {
        if let Some((to, _, _)) = self.entries.keys().next().copied() {
            let keys: Vec<_> =
                self.entries.keys().filter(|key| key.0 == to).take(ACK_ENTRIES_MAX).copied().collect();
            let entries = keys.iter().filter_map(|key| self.entries.get(key).cloned()).collect();
            let packet = self.seal_entries(now, entries, seal).ok()?;
            keys.iter().for_each(|key| {
                self.entries.remove(key);
            });
            return Some(self.for_members(TrafficClass::Control, &[to], packet));
        }
        let (to, entries) = self.inbound.due(now.mono)?;
        match self.seal_entries(now, entries.clone(), seal) {
            Ok(packet) => {
                self.inbound.spent(now.mono, packet.len() as u64 + ACK_FRAME_BYTES);
                Some(self.for_members(TrafficClass::Control, &[to], packet))
            }
            Err(_) => {
                self.inbound.owed(now.mono, to, &entries);
                None
            }
        }
    }

    fn seal_entries(
        &mut self,
        now: Now,
        entries: Vec<AckEntry>,
        seal: &mut impl Seal,
    ) -> Result<Bytes, SealError> {
        self.scratch.clear();
        AckRecord { entries }.encode(&mut self.scratch);
        let mut packet = Vec::new();
        let usage = StreamUse::Acks;
        seal.seal(now, usage.class(), ACK_STREAM, usage.signed(), &self.scratch, &mut packet)?;
        Ok(packet.into())
    }

    /// Files take turns, a record each.
    fn transmit_file(&mut self, now: Now, seal: &mut impl Seal) -> Option<Transmit> {
        let (after, before): (Vec<_>, Vec<_>) =
            self.open_files.iter().copied().partition(|stream| *stream > self.file_cursor);
        for stream in after.into_iter().chain(before) {
            match self.transmit_from(now, stream, seal) {
                Ok(Some(transmit)) => {
                    self.file_cursor = stream;
                    return Some(transmit);
                }
                Ok(None) => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// Repairs go before what is new: everything behind them waits for them anyway. Marks go behind repairs.
    fn transmit_from(
        &mut self,
        now: Now,
        stream: StreamId,
        seal: &mut impl Seal,
    ) -> Result<Option<Transmit>, SealError> {
        let Some(channel) = self.outgoing.get_mut(&stream) else { return Ok(None) };
        let class = StreamUse::of(stream).map_or(TrafficClass::Bulk, StreamUse::class);
        let mut packet = channel.repair(now, seal)?;
        if packet.is_none() {
            packet = channel.mark(now, seal)?;
        }
        if packet.is_none() && !self.paused.contains(&class) {
            packet = channel.seal_next(now, seal, &mut self.paths, &mut self.scratch)?;
        }
        Ok(packet.map(|Packet { packet, to }| self.for_members(class, &to, packet)))
    }

    fn for_members(&self, class: TrafficClass, to: &[SenderNumber], packet: Bytes) -> Transmit {
        let destination = if to.len() == self.others.len() {
            Destination::All
        } else {
            Destination::Members(to.iter().copied().collect())
        };
        Transmit { class, destination, packet }
    }
}
