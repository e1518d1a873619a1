//! One outgoing reliable channel: what waits, what is on its way, and who misses what.
//!
//! ```text
//! send -> queue -> seal -> sent (kept until every receiver has it) -> gone
//!                            \-> repair: the same bytes, or carried after an epoch change, to those who miss it
//! ```
//! It never reads a clock and never touches a receiver's data; the order between channels is the caller's.

mod timers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use proto_spec::channel::{Ack, AckEntry, MARK_SEQUENCE, SEQUENCE_LENGTH, StreamUse, record_cost};
use proto_spec::{EpochId, Now, SenderNumber, StreamId, Timestamp};

use super::limits::QUEUE_COST_MAX;
use super::path::Paths;
use super::progress::Progress;
use crate::security::{Seal, SealError};

/// A record that somebody may still miss.
struct Sent {
    /// As it was first sealed; repairs are these bytes.
    packet: Bytes,
    epoch: EpochId,
    /// The same, re-wrapped under a later epoch.
    carried: Option<(EpochId, Bytes)>,
    /// Costs of the channel's records up to and including this one.
    cost_end: u64,
    sent_at: Timestamp,
    repaired: bool,
}

/// A member that fell behind, until it knows where the channel goes on.
struct Skipped {
    to: u64,
    tell_at: Timestamp,
}

/// A packet of the channel and whom it is for.
pub(super) struct Packet {
    pub(super) packet: Bytes,
    pub(super) to: Vec<SenderNumber>,
}

/// One outgoing reliable channel.
pub(super) struct Outgoing {
    stream: StreamId,
    usage: StreamUse,
    queue: VecDeque<Bytes>,
    queue_cost: u64,
    sent: VecDeque<Sent>,
    /// The sequence of the first record in `sent`.
    base: u64,
    /// Costs of all records before `base`.
    base_cost: u64,
    /// Costs of all records sealed so far.
    cost: u64,
    receivers: BTreeMap<SenderNumber, Progress>,
    skipped: BTreeMap<SenderNumber, Skipped>,
    /// Records that at least one receiver is to get again.
    repairs: BTreeSet<u64>,
    sent_at: Timestamp,
    /// When this endpoint last changed attachments while both worked: what was sent before took another way.
    switched_at: Timestamp,
    epoch: Option<EpochId>,
    epoch_at: Timestamp,
    next_token: u32,
    /// For members: probes and skips.
    entries: Vec<(SenderNumber, AckEntry)>,
    /// Members that fell behind since they were last asked for.
    lost: Vec<SenderNumber>,
}

impl Outgoing {
    pub(super) fn new(stream: StreamId, usage: StreamUse) -> Outgoing {
        Outgoing {
            stream,
            usage,
            queue: VecDeque::new(),
            queue_cost: 0,
            sent: VecDeque::new(),
            base: 0,
            base_cost: 0,
            cost: 0,
            receivers: BTreeMap::new(),
            skipped: BTreeMap::new(),
            repairs: BTreeSet::new(),
            sent_at: Timestamp::ZERO,
            switched_at: Timestamp::ZERO,
            epoch: None,
            epoch_at: Timestamp::ZERO,
            next_token: 1,
            entries: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// The sequence of the next record to be sealed.
    pub(super) fn next(&self) -> u64 {
        self.base + self.sent.len() as u64
    }

    /// The sequence that the next payload given to [`Outgoing::push`] will have.
    pub(super) fn next_queued(&self) -> u64 {
        self.next() + self.queue.len() as u64
    }

    /// Whether a payload of this length is taken now.
    pub(super) fn has_room(&self, payload_length: usize) -> bool {
        self.queue.is_empty() || self.queue_cost + record_cost(payload_length) <= QUEUE_COST_MAX
    }

    /// Whether nothing waits and nothing is missing anywhere.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.sent.is_empty()
    }

    /// The first sequence that a receiver has not acknowledged.
    pub(super) fn acknowledged(&self, member: SenderNumber) -> Option<u64> {
        self.receivers.get(&member).map(|progress| progress.next)
    }

    /// Probes and skips for members, since they were last asked for.
    pub(super) fn take_entries(&mut self) -> Vec<(SenderNumber, AckEntry)> {
        std::mem::take(&mut self.entries)
    }

    /// Members that fell behind, since they were last asked for.
    pub(super) fn take_lost(&mut self) -> Vec<SenderNumber> {
        std::mem::take(&mut self.lost)
    }

    /// Takes a payload. Without a receiver it is as good as delivered.
    pub(super) fn push(&mut self, payload: Bytes) {
        if self.receivers.is_empty() && self.is_idle() {
            self.base += 1;
            self.cost += record_cost(payload.len());
            self.base_cost = self.cost;
            return;
        }
        self.queue_cost += record_cost(payload.len());
        self.queue.push_back(payload);
    }

    /// A new receiver, which begins with the next record that is sealed.
    pub(super) fn add(&mut self, now: Timestamp, member: SenderNumber) {
        if !self.skipped.contains_key(&member) {
            let (next, cost) = (self.next(), self.cost);
            self.receivers.entry(member).or_insert_with(|| Progress::new(now, next, cost));
        }
    }

    /// A receiver that is not waited for any more.
    pub(super) fn remove(&mut self, member: SenderNumber, paths: &mut Paths) {
        self.skipped.remove(&member);
        self.entries.retain(|(to, _)| *to != member);
        if let Some(progress) = self.receivers.remove(&member) {
            let rest = self.cost - progress.arrived_cost;
            paths.path(member, self.usage.class()).given_up(rest);
            self.retire();
        }
    }

    /// Gives up everything that waits or is missing, and all receivers.
    pub(super) fn clear(&mut self, paths: &mut Paths) {
        self.queue.clear();
        self.queue_cost = 0;
        let members: Vec<_> = self.receivers.keys().chain(self.skipped.keys()).copied().collect();
        members.into_iter().for_each(|member| self.remove(member, paths));
        self.retire();
    }

    /// A new epoch: what is on its way may be refused on arrival, so signs of it are awaited anew.
    pub(super) fn epoch_installed(&mut self, now: Timestamp, epoch: EpochId) {
        self.epoch = Some(epoch);
        self.epoch_at = now;
        self.receivers.values_mut().for_each(|progress| {
            progress.sign_at = now;
            progress.in_vain = 0;
        });
    }

    /// The way to a member, or to all, is a new one: asks what has arrived \[CHN-9\].
    pub(super) fn way_renewed(&mut self, now: Timestamp, only: Option<SenderNumber>) {
        let next = self.next();
        for (member, progress) in &mut self.receivers {
            if only.is_some_and(|only| only != *member) {
                continue;
            }
            progress.way_renewed(now);
            if progress.next < next || !self.queue.is_empty() {
                let token = take_token(&mut self.next_token);
                progress.probed(now, token, next);
                self.entries.push((*member, AckEntry::Probe { stream: self.stream, token }));
            }
        }
        for (member, skipped) in &mut self.skipped {
            if only.is_none_or(|only| only == *member) {
                skipped.tell_at = now;
            }
        }
    }

    /// What is sent from now on takes another way than what was sent before, and may overtake it \[CHN-13\].
    pub(super) const fn switched(&mut self, now: Timestamp) {
        self.switched_at = now;
    }

    /// A receiver's acknowledgement \[CHN-4\] \[CHN-7\].
    pub(super) fn acknowledgement(
        &mut self,
        now: Timestamp,
        member: SenderNumber,
        ack: &Ack,
        paths: &mut Paths,
    ) {
        let next = self.next();
        if let Some(skipped) = self.skipped.get_mut(&member) {
            if ack.next == next {
                self.skipped.remove(&member);
                self.add(now, member);
            } else if ack.next >= skipped.to && ack.next < next {
                *skipped = Skipped { to: next, tell_at: now };
            }
            return;
        }
        let Some(progress) = self.receivers.get_mut(&member) else { return };
        let (base, base_cost, cost) = (self.base, self.base_cost, self.cost);
        let sent = &self.sent;
        let cost_before = |sequence: u64| match sequence - base {
            0 => base_cost,
            count => sent.get(count as usize - 1).map_or(cost, |record| record.cost_end),
        };
        let Some(news) = progress.acknowledged(now, ack, next, cost_before) else { return };
        let path = paths.path(member, self.usage.class());
        let newest = news.highest.and_then(|highest| self.sent.get((highest - base) as usize));
        if let Some(record) = newest.filter(|record| !record.repaired) {
            path.sample(now.since(record.sent_at), Duration::from_micros(u64::from(ack.delay_us)));
        }
        path.arrived(news.cost);
        if let Some(asked) = news.answered {
            self.miss_asked(member, asked);
        }
        self.detect_losses(now, member, paths);
        self.retire();
        if let Some(progress) = self.receivers.get_mut(&member) {
            progress.behind_since(now, self.cost);
            // It says where it stands without being asked: its way was renewed, and what was tried before was in vain.
            if !news.changed && ack.token == 0 && progress.is_asked() {
                self.hinted(now, member);
            }
        }
    }

    /// The next packet to send again, to those who miss it \[CHN-8\].
    ///
    /// # Errors
    /// [`SealError`] when a record had to be carried and nothing may be sealed now.
    pub(super) fn repair(&mut self, now: Now, seal: &mut impl Seal) -> Result<Option<Packet>, SealError> {
        while let Some(sequence) = self.repairs.first().copied() {
            let to: Vec<_> = self
                .receivers
                .iter()
                .filter(|(_, progress)| progress.repairs.get(&sequence).is_some_and(|repair| repair.due))
                .map(|(member, _)| *member)
                .collect();
            let next = self.next();
            let Some(record) = sequence.checked_sub(self.base).and_then(|at| self.sent.get_mut(at as usize))
            else {
                self.repairs.remove(&sequence);
                continue;
            };
            if to.is_empty() {
                self.repairs.remove(&sequence);
                continue;
            }
            let packet = match current_packet(record, now, seal) {
                Ok(packet) => Some(packet),
                // It will not do any better the next time; the probes' timer sees to it in the end.
                Err(SealError::NotCarriable) => None,
                Err(error) => return Err(error),
            };
            record.repaired = true;
            self.repairs.remove(&sequence);
            for member in &to {
                if let Some(progress) = self.receivers.get_mut(member) {
                    progress.repaired(now.mono, sequence, next);
                }
            }
            if let Some(packet) = packet {
                return Ok(Some(Packet { packet, to }));
            }
        }
        Ok(None)
    }

    /// A mark that is due, for one member \[CHN-14\]; behind all repairs, as it asks about them as well.
    ///
    /// # Errors
    /// [`SealError`] when nothing may be sealed now.
    pub(super) fn mark(&mut self, now: Now, seal: &mut impl Seal) -> Result<Option<Packet>, SealError> {
        let next = self.next();
        let due = self.receivers.iter_mut().find(|(_, progress)| progress.mark_due);
        let Some((member, progress)) = due else { return Ok(None) };
        let token = progress.marked(now.mono, next, || take_token(&mut self.next_token));
        let mut plaintext = [0; SEQUENCE_LENGTH + size_of::<u32>()];
        plaintext[..SEQUENCE_LENGTH].copy_from_slice(&MARK_SEQUENCE.to_be_bytes());
        plaintext[SEQUENCE_LENGTH..].copy_from_slice(&token.to_be_bytes());
        let mut packet = Vec::new();
        seal.seal(now, self.usage.class(), self.stream, self.usage.signed(), &plaintext, &mut packet)?;
        Ok(Some(Packet { packet: packet.into(), to: vec![*member] }))
    }

    /// Seals the next payload, if every receiver has room for it \[CHN-6\].
    ///
    /// # Errors
    /// [`SealError`] when nothing may be sealed now.
    pub(super) fn seal_next(
        &mut self,
        now: Now,
        seal: &mut impl Seal,
        paths: &mut Paths,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<Packet>, SealError> {
        let Some(payload) = self.queue.front() else { return Ok(None) };
        if self.receivers.is_empty() {
            // Nobody is left: what waits goes where it would go.
            self.base += self.queue.len() as u64;
            self.cost += std::mem::take(&mut self.queue_cost);
            self.base_cost = self.cost;
            self.queue.clear();
            return Ok(None);
        }
        let payload_length = payload.len();
        let cost = record_cost(payload_length);
        if self.is_blocked(cost, paths) {
            self.drop_laggards(now.mono, paths);
            if self.receivers.is_empty() || self.is_blocked(cost, paths) {
                return Ok(None);
            }
        }
        let epoch = seal.epoch().ok_or(SealError::NoEpoch)?;
        scratch.clear();
        scratch.reserve(SEQUENCE_LENGTH + payload_length);
        scratch.extend_from_slice(&self.next().to_be_bytes());
        scratch.extend_from_slice(self.queue.front().map_or(&[], |payload| payload));
        let mut packet = Vec::with_capacity(scratch.len() + record_cost(0) as usize);
        let class = self.usage.class();
        seal.seal(now, class, self.stream, self.usage.signed(), scratch, &mut packet)?;
        let packet = Bytes::from(packet);
        let sequence = self.next();
        for progress in self.receivers.values_mut().filter(|progress| progress.next == sequence) {
            progress.quiet_since = now.mono;
        }
        self.queue.pop_front();
        self.queue_cost -= cost;
        self.cost += cost;
        self.sent_at = now.mono;
        self.sent.push_back(Sent {
            packet: packet.clone(),
            epoch,
            carried: None,
            cost_end: self.cost,
            sent_at: now.mono,
            repaired: false,
        });
        let to: Vec<_> = self.receivers.keys().copied().collect();
        to.iter().for_each(|member| paths.path(*member, class).sent(cost));
        Ok(Some(Packet { packet, to }))
    }

    fn is_blocked(&self, cost: u64, paths: &mut Paths) -> bool {
        self.receivers.iter().any(|(member, progress)| self.blocks(*member, progress, cost, paths))
    }

    fn blocks(&self, member: SenderNumber, progress: &Progress, cost: u64, paths: &mut Paths) -> bool {
        self.cost + cost > progress.granted_cost || !paths.path(member, self.usage.class()).has_room(cost)
    }

    /// Lets go of what every receiver has.
    fn retire(&mut self) {
        let kept_from = self.receivers.values().map(|progress| progress.next).min().unwrap_or(self.next());
        if let Some(last) = self.sent.drain(..(kept_from - self.base) as usize).next_back() {
            self.base_cost = last.cost_end;
        }
        self.base = kept_from;
        if !self.repairs.is_empty() {
            self.repairs = self.repairs.split_off(&kept_from);
        }
    }
}

fn take_token(next: &mut u32) -> u32 {
    let token = *next;
    *next = next.wrapping_add(1).max(1);
    token
}

/// The bytes that bring a record to those who miss it under the newest epoch \[CHN-8\].
fn current_packet(record: &mut Sent, now: Now, seal: &mut impl Seal) -> Result<Bytes, SealError> {
    let epoch = seal.epoch().ok_or(SealError::NoEpoch)?;
    if record.epoch == epoch {
        return Ok(record.packet.clone());
    }
    if let Some((_, carried)) = record.carried.as_ref().filter(|(of, _)| *of == epoch) {
        return Ok(carried.clone());
    }
    let mut carried = Vec::with_capacity(record.packet.len() + record_cost(0) as usize);
    seal.carry(now, &record.packet, &mut carried)?;
    let carried = Bytes::from(carried);
    record.carried = Some((epoch, carried.clone()));
    Ok(carried)
}
