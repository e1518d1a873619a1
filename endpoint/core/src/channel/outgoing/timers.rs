//! What an outgoing channel does by time and by what is missing: losses, probes, laggards, skips.
//!
//! It marks records for repair and asks for probes; sending them is the channel's other half.

use std::collections::BTreeSet;

use proto_spec::channel::{AckEntry, StreamUse, record_cost};
use proto_spec::{SenderNumber, Timestamp};

use super::super::limits::{
    CARRY_MAX, HINT_INTERVAL, LAG_MAX, LOSS_PACKETS, PROBES_UNTIL_LOST, SKIP_INTERVAL,
};
use super::super::path::Paths;
use super::super::progress::{Asked, Progress};
use super::{Outgoing, Skipped, take_token};

impl Outgoing {
    /// When [`Outgoing::handle_timeout`] has something to do.
    pub(in crate::channel) fn poll_timeout(
        &self,
        absent: &BTreeSet<SenderNumber>,
        paths: &mut Paths,
    ) -> Option<Timestamp> {
        let skips = self.skipped.iter().filter(|(member, _)| !absent.contains(member));
        let skips = skips.map(|(_, skipped)| skipped.tell_at).min();
        let present = self.receivers.iter().filter(|(member, _)| !absent.contains(member));
        let probes = present
            .filter_map(|(member, progress)| {
                let probe_at = self.awaits(progress).then(|| self.probe_at(*member, progress, paths));
                progress.loss_at.into_iter().chain(probe_at).chain(progress.repeat_at).min()
            })
            .min();
        skips.into_iter().chain(probes).chain(self.lag_timeout(paths)).min()
    }

    /// When a member that keeps others waiting has done so too long.
    fn lag_timeout(&self, paths: &mut Paths) -> Option<Timestamp> {
        let cost = record_cost(self.queue.front()?.len());
        let mut earliest = None;
        let mut somebody_is_free = false;
        for (member, progress) in &self.receivers {
            if self.blocks(*member, progress, cost, paths) {
                let at = progress.goal_at + LAG_MAX;
                earliest = Some(earliest.map_or(at, |earlier: Timestamp| earlier.min(at)));
            } else {
                somebody_is_free = true;
            }
        }
        earliest.filter(|_| somebody_is_free)
    }

    /// Timers that are due: losses, probes, skips, members that are too far behind.
    pub(in crate::channel) fn handle_timeout(
        &mut self,
        now: Timestamp,
        absent: &BTreeSet<SenderNumber>,
        paths: &mut Paths,
    ) {
        for (member, skipped) in &mut self.skipped {
            if skipped.tell_at <= now && !absent.contains(member) {
                skipped.tell_at = now + SKIP_INTERVAL;
                self.entries.push((*member, AckEntry::Skip { stream: self.stream, to: skipped.to }));
            }
        }
        let members: Vec<_> = self.receivers.keys().copied().collect();
        for member in members.iter().filter(|member| !absent.contains(member)) {
            if self.receivers.get(member).and_then(|progress| progress.loss_at).is_some_and(|at| at <= now) {
                self.detect_losses(now, *member, paths);
            }
            self.probe_if_due(now, *member, paths);
            self.repeat_if_due(now, *member);
        }
        self.drop_laggards(now, paths);
    }

    /// The way to a member may have changed: what it may lack is repeated at once, or as soon as the pace allows
    /// \[CHN-13\].
    pub(in crate::channel) fn hinted(&mut self, now: Timestamp, member: SenderNumber) {
        // Right after the way was renewed, everything has been asked already.
        if let Some(progress) = self.receivers.get_mut(&member).filter(|progress| progress.way_at < now) {
            progress.repeat_at.get_or_insert((progress.repeated_at + HINT_INTERVAL).max(now));
            self.repeat_if_due(now, member);
        }
    }

    /// When silence about what a member lacks becomes suspicious \[SES-18\].
    pub(in crate::channel) fn unheard_at(
        &self,
        absent: &BTreeSet<SenderNumber>,
        paths: &mut Paths,
    ) -> Option<Timestamp> {
        let lacking = self.receivers.iter().filter(|(_, progress)| progress.next < self.next());
        let present = lacking.filter(|(member, _)| !absent.contains(member));
        present
            .map(|(member, progress)| {
                progress.quiet_since + paths.path(*member, self.usage.class()).silence_max()
            })
            .min()
    }

    /// Members whose lag keeps others waiting longer than [`LAG_MAX`] leave the window \[CHN-10\].
    pub(super) fn drop_laggards(&mut self, now: Timestamp, paths: &mut Paths) {
        let Some(payload) = self.queue.front() else { return };
        let cost = record_cost(payload.len());
        let (blocking, free): (Vec<_>, Vec<_>) = self
            .receivers
            .iter()
            .map(|(member, progress)| (*member, self.blocks(*member, progress, cost, paths)))
            .partition(|(_, blocks)| *blocks);
        if free.is_empty() {
            return;
        }
        for (member, _) in blocking {
            let Some(progress) = self.receivers.get_mut(&member) else { continue };
            if now >= progress.behind_since(now, self.cost) + LAG_MAX {
                self.lose(now, member, paths);
            }
        }
    }

    fn lose(&mut self, now: Timestamp, member: SenderNumber, paths: &mut Paths) {
        self.remove(member, paths);
        self.lost.push(member);
        if self.usage != StreamUse::Files {
            self.skipped.insert(member, Skipped { to: self.next(), tell_at: now });
        }
    }

    /// Whether something is expected of the member: a record to arrive, or a grant.
    fn awaits(&self, progress: &Progress) -> bool {
        progress.next < self.next() || self.lacks_grant(progress)
    }

    fn lacks_grant(&self, progress: &Progress) -> bool {
        self.queue
            .front()
            .is_some_and(|payload| self.cost + record_cost(payload.len()) > progress.granted_cost)
    }

    fn probe_at(&self, member: SenderNumber, progress: &Progress, paths: &mut Paths) -> Timestamp {
        let since =
            if progress.next < self.next() { progress.sign_at.max(self.sent_at) } else { progress.sign_at };
        since + paths.path(member, self.usage.class()).probe_delay(progress.in_vain)
    }

    /// Nothing was heard for a while: asks, and repeats what may be missing \[CHN-9\].
    fn probe_if_due(&mut self, now: Timestamp, member: SenderNumber, paths: &mut Paths) {
        let Some(progress) = self.receivers.get(&member) else { return };
        if !self.awaits(progress) || self.probe_at(member, progress, paths) > now {
            return;
        }
        if self.is_past_repair(now, progress) {
            return self.lose(now, member, paths);
        }
        let in_vain = progress.in_vain.saturating_add(1);
        if let Some(progress) = self.receivers.get_mut(&member) {
            progress.in_vain = in_vain;
        }
        if in_vain == PROBES_UNTIL_LOST {
            paths.path(member, self.usage.class()).silent();
        }
        self.repeat(now, member, in_vain >= PROBES_UNTIL_LOST);
    }

    fn repeat_if_due(&mut self, now: Timestamp, member: SenderNumber) {
        let next = self.next();
        let Some(progress) = self.receivers.get_mut(&member) else { return };
        if progress.repeat_at.take_if(|at| *at <= now).is_some() && progress.next < next {
            progress.repeated_at = now;
            self.repeat(now, member, false);
        }
    }

    /// The last record again, which waits its turn behind whatever is on its way, the first missing one, and a probe.
    /// What has arrived already is not opened twice, so only the probe is sure of an answer. It overtakes what is on its
    /// way: its answer says what was lost only if that can be nothing any more.
    ///
    /// A file's record may take longer than a round trip all by itself, and repeating it would fill a slow line: a mark
    /// goes behind what is on its way, and its answer leaves no doubt \[CHN-14\].
    fn repeat(&mut self, now: Timestamp, member: SenderNumber, answer_tells_losses: bool) {
        let next = self.next();
        let Some(progress) = self.receivers.get_mut(&member) else { return };
        progress.sign_at = now;
        let first = progress.next;
        if self.usage == StreamUse::Files && first < next {
            progress.mark_due = true;
            return;
        }
        let last = (first..next).next_back().filter(|last| !progress.has(*last));
        for sequence in [Some(first).filter(|first| *first < next), last].into_iter().flatten() {
            progress.miss(sequence);
            self.repairs.insert(sequence);
        }
        let token = take_token(&mut self.next_token);
        if answer_tells_losses {
            progress.probed(now, token, next);
        }
        self.entries.push((member, AckEntry::Probe { stream: self.stream, token }));
    }

    /// Whether the first record that the member misses is of an epoch whose keys it cannot have kept.
    fn is_past_repair(&self, now: Timestamp, progress: &Progress) -> bool {
        self.sent.get((progress.next - self.base) as usize).is_some_and(|record| {
            Some(record.epoch) != self.epoch && now >= self.epoch_at.max(progress.way_at) + CARRY_MAX
        })
    }

    /// What was sent before a question and had not arrived at its answer is lost; what was repaired since may still come.
    pub(super) fn miss_asked(&mut self, member: SenderNumber, asked: Asked) {
        let Some(progress) = self.receivers.get_mut(&member) else { return };
        for sequence in progress.next..asked.below {
            let repair = progress.repairs.get(&sequence);
            let repaired_since = repair.is_some_and(|repair| !repair.due && repair.sent_at > asked.at);
            if !progress.has(sequence) && !repaired_since {
                progress.miss(sequence);
                self.repairs.insert(sequence);
            }
        }
    }

    /// Records in a member's gaps are lost once enough or late enough others have arrived \[CHN-7\].
    pub(super) fn detect_losses(&mut self, now: Timestamp, member: SenderNumber, paths: &mut Paths) {
        let Some(progress) = self.receivers.get_mut(&member) else { return };
        progress.loss_at = None;
        let gaps = progress.gaps();
        if gaps.is_empty() {
            return;
        }
        let path = paths.path(member, self.usage.class());
        let delay = path.loss_delay();
        // A file's repairs are asked about, as all else that is on its way \[CHN-14\].
        let patience = (self.usage != StreamUse::Files).then(|| path.repair_delay());
        let highest_end = progress.highest_end();
        let mut loss_at: Option<Timestamp> = None;
        for sequence in gaps.into_iter().flat_map(|(start, end)| start..end) {
            let Some(record) = self.sent.get((sequence - self.base) as usize) else { continue };
            let lost = match progress.repairs.get(&sequence).copied() {
                Some(repair) => progress.lost_again(now, repair, LOSS_PACKETS, patience),
                None => {
                    let overtaken =
                        highest_end > sequence + LOSS_PACKETS && record.sent_at >= self.switched_at;
                    overtaken || now >= record.sent_at.max(self.switched_at) + delay
                }
            };
            if lost {
                if progress.miss(sequence) {
                    path.lost(now, record.sent_at);
                    self.repairs.insert(sequence);
                }
            } else {
                let at = match progress.repairs.get(&sequence) {
                    Some(repair) => match patience {
                        Some(patience) if !repair.due => repair.sent_at + patience,
                        _ => continue,
                    },
                    None => record.sent_at.max(self.switched_at) + delay,
                };
                loss_at = Some(loss_at.map_or(at, |earlier| earlier.min(at)));
            }
        }
        progress.loss_at = loss_at;
    }
}
