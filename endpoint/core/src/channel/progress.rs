//! How far one member has come on one outgoing channel: what it has, what it is granted, what it misses.
//!
//! Costs are counted from the channel's first record on, so that a position in the channel is one number. Never decides
//! what is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use proto_spec::Timestamp;
use proto_spec::channel::{Ack, WINDOW_INITIAL, WINDOW_MAX};

/// A record that a member misses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repair {
    /// Waits to be sent; otherwise it was sent at `sent_at`.
    pub(super) due: bool,
    pub(super) sent_at: Timestamp,
    /// The channel's next sequence when it was sent.
    sent_before: u64,
}

/// A question, the answer to which tells what was lost.
#[derive(Clone, Copy, Debug)]
struct Probe {
    token: u32,
    /// The channel's next sequence when it was first asked.
    below: u64,
    asked_at: Timestamp,
}

/// One member of an outgoing channel.
pub(super) struct Progress {
    /// Every sequence below has arrived.
    pub(super) next: u64,
    /// The costs of all records below `next`.
    pub(super) arrived_cost: u64,
    /// The costs up to which the member takes records.
    pub(super) granted_cost: u64,
    window_widest: u64,
    /// What arrived beyond gaps: start and end of each range, ascending.
    ranges: Vec<(u64, u64)>,
    /// What it misses, as far as is known.
    pub(super) repairs: BTreeMap<u64, Repair>,
    /// When a record that was overtaken counts as lost.
    pub(super) loss_at: Option<Timestamp>,
    /// The last news from the member, or the last probe.
    pub(super) sign_at: Timestamp,
    /// Probes without news.
    pub(super) in_vain: u32,
    /// The open question.
    probe: Option<Probe>,
    /// Whether the member is to be asked by a mark behind what is on its way \[CHN-14\].
    pub(super) mark_due: bool,
    /// When something is to be repeated because of a hint \[CHN-13\].
    pub(super) repeat_at: Option<Timestamp>,
    /// When something was repeated because of a hint.
    pub(super) repeated_at: Timestamp,
    /// Since when there is no news of what the member lacks.
    pub(super) quiet_since: Timestamp,
    /// Since when the way to the member is what it is.
    pub(super) way_at: Timestamp,
    goal_cost: u64,
    /// Since when the member has not digested what was on its way to it then, as far as is known.
    pub(super) goal_at: Timestamp,
}

/// What a question was about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    /// Records of lower sequences,
    pub(super) below: u64,
    /// sent, or sent again, before this.
    pub(super) at: Timestamp,
}

/// What an acknowledgement changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct News {
    /// Costs that arrived in order.
    pub(super) cost: u64,
    /// The highest record that arrived and was not known to.
    pub(super) highest: Option<u64>,
    /// The open question was answered: whatever was sent before it and has not arrived is lost.
    pub(super) answered: Option<Asked>,
    /// Whether it told anything that was not known.
    pub(super) changed: bool,
}

impl Progress {
    /// A member that begins with `next`, before which the channel's costs were `cost`.
    pub(super) const fn new(now: Timestamp, next: u64, cost: u64) -> Progress {
        Progress {
            next,
            arrived_cost: cost,
            granted_cost: cost + WINDOW_INITIAL,
            window_widest: WINDOW_INITIAL,
            ranges: Vec::new(),
            repairs: BTreeMap::new(),
            loss_at: None,
            sign_at: now,
            in_vain: 0,
            probe: None,
            mark_due: false,
            repeat_at: None,
            repeated_at: Timestamp::ZERO,
            quiet_since: now,
            way_at: now,
            goal_cost: cost,
            goal_at: now,
        }
    }

    /// Whether a record at or above `next` has arrived.
    pub(super) fn has(&self, sequence: u64) -> bool {
        sequence < self.next || self.ranges.iter().any(|(start, end)| (*start..*end).contains(&sequence))
    }

    /// One past the highest record that arrived.
    pub(super) fn highest_end(&self) -> u64 {
        self.ranges.last().map_or(self.next, |(_, end)| *end)
    }

    /// The gaps below the highest record that arrived: start and end of each.
    pub(super) fn gaps(&self) -> Vec<(u64, u64)> {
        let mut start = self.next;
        let mut gaps = Vec::with_capacity(self.ranges.len());
        for (range_start, range_end) in &self.ranges {
            gaps.push((start, *range_start));
            start = *range_end;
        }
        gaps
    }

    /// Takes an acknowledgement; `None` if it is older than what is known, or claims what was never sent.
    ///
    /// `cost_before` gives the channel's costs before a sequence of at least the member's `next`.
    pub(super) fn acknowledged(
        &mut self,
        now: Timestamp,
        ack: &Ack,
        channel_next: u64,
        cost_before: impl Fn(u64) -> u64,
    ) -> Option<News> {
        let ranges = absolute(ack);
        let end = ranges.last().map_or(ack.next, |(_, end)| *end);
        if ack.next < self.next || end > channel_next {
            return None;
        }
        let highest_before = self.highest_end();
        let cost = cost_before(ack.next) - self.arrived_cost;
        let changed = cost > 0 || ranges != self.ranges;
        self.next = ack.next;
        self.arrived_cost += cost;
        self.ranges = ranges;
        let window = u64::from(ack.window).min(WINDOW_MAX);
        let granted_before = self.granted_cost;
        self.granted_cost = self.granted_cost.max(self.arrived_cost + window);
        self.window_widest = self.window_widest.max(window);
        self.repairs = self.repairs.split_off(&self.next);
        if !self.ranges.is_empty() && !self.repairs.is_empty() {
            let ranges = &self.ranges;
            self.repairs
                .retain(|sequence, _| !ranges.iter().any(|(start, end)| (*start..*end).contains(sequence)));
        }
        self.quiet_since = now;
        let changed = changed || self.granted_cost > granted_before;
        if changed {
            self.sign_at = now;
            self.in_vain = 0;
        }
        let answered = match self.probe {
            Some(probe) if probe.token == ack.token => {
                self.probe = None;
                self.mark_due = false;
                self.sign_at = now;
                self.in_vain = 0;
                Some(Asked { below: probe.below, at: probe.asked_at })
            }
            _ => None,
        };
        Some(News { cost, highest: (end > highest_before).then(|| end - 1), answered, changed })
    }

    /// A record is known to be missing; `false` if that was known.
    pub(super) fn miss(&mut self, sequence: u64) -> bool {
        let fresh = Repair { due: true, sent_at: Timestamp::ZERO, sent_before: 0 };
        match self.repairs.entry(sequence) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(fresh);
                true
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let was_due = entry.get().due;
                entry.get_mut().due = true;
                !was_due
            }
        }
    }

    /// A missing record was sent again.
    pub(super) fn repaired(&mut self, now: Timestamp, sequence: u64, channel_next: u64) {
        if let Some(repair) = self.repairs.get_mut(&sequence) {
            *repair = Repair { due: false, sent_at: now, sent_before: channel_next };
        }
    }

    /// Whether a record that is being repaired was lost again: either something sent well after the repair has
    /// arrived, or `patience`, where there is one, is over.
    pub(super) fn lost_again(
        &self,
        now: Timestamp,
        repair: Repair,
        ahead: u64,
        patience: Option<Duration>,
    ) -> bool {
        let overtaken = self.highest_end() > repair.sent_before + ahead;
        let late = patience.is_some_and(|patience| now >= repair.sent_at + patience);
        !repair.due && (overtaken || late)
    }

    /// Notes a question, in place of an older one; its answer will tell what was lost below `channel_next`.
    pub(super) const fn probed(&mut self, now: Timestamp, token: u32, channel_next: u64) {
        self.probe = Some(Probe { token, below: channel_next, asked_at: now });
    }

    /// The token of a mark that is sent now. A question that is open is put again, as its first copy may only be slow,
    /// and the answer to any copy holds for what was sent before the first.
    pub(super) fn marked(
        &mut self,
        now: Timestamp,
        channel_next: u64,
        new_token: impl FnOnce() -> u32,
    ) -> u32 {
        self.mark_due = false;
        let probe = self.probe.get_or_insert_with(|| Probe {
            token: new_token(),
            below: channel_next,
            asked_at: now,
        });
        probe.token
    }

    /// Whether the member was asked something and has not answered.
    pub(super) const fn is_asked(&self) -> bool {
        self.in_vain > 0 || self.probe.is_some()
    }

    /// Whatever was late is forgiven: the way to the member is a new one.
    pub(super) const fn way_renewed(&mut self, now: Timestamp) {
        self.sign_at = now;
        self.in_vain = 0;
        self.mark_due = false;
        self.quiet_since = now;
        self.repeat_at = None;
        self.way_at = now;
        self.goal_at = now;
    }

    /// What the member has arrived and taken: a lower bound.
    pub(super) fn digested(&self) -> u64 {
        self.arrived_cost.min(self.granted_cost.saturating_sub(self.window_widest))
    }

    /// Since when the member has not digested what was on its way to it then \[CHN-10\].
    pub(super) fn behind_since(&mut self, now: Timestamp, channel_cost: u64) -> Timestamp {
        if self.digested() >= self.goal_cost {
            self.goal_cost = channel_cost;
            self.goal_at = now;
        }
        self.goal_at
    }
}

fn absolute(ack: &Ack) -> Vec<(u64, u64)> {
    let mut end = ack.next;
    ack.ranges
        .iter()
        .map(|range| {
            let start = end + u64::from(range.gap);
            end = start + u64::from(range.length);
            (start, end)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proto_spec::channel::{AckRange, CHAT_STREAM};

    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(Duration::from_millis(ms))
    }

    fn ack(next: u64, ranges: &[(u32, u32)]) -> Ack {
        let ranges = ranges.iter().map(|(gap, length)| AckRange { gap: *gap, length: *length }).collect();
        Ack { stream: CHAT_STREAM, next, window: 1_000, delay_us: 0, token: 0, ranges }
    }

    fn progress() -> Progress {
        Progress::new(at(0), 10, 1_000)
    }

    /// \[CHN-4\]: gaps are what lies between `next` and the ranges.
    #[test]
    fn gaps_lie_between_ranges() {
        let mut member = progress();
        let news = member.acknowledged(at(1), &ack(12, &[(1, 2), (3, 1)]), 30, |sequence| sequence * 100);
        assert_eq!(news, Some(News { cost: 200, highest: Some(18), answered: None, changed: true }));
        assert_eq!(member.gaps(), vec![(12, 13), (15, 18)]);
        assert!(member.has(11) && !member.has(12) && member.has(13) && member.has(18) && !member.has(19));
        assert_eq!(member.highest_end(), 19);
    }

    /// \[CHN-4\]: what is older than known, or was never sent, changes nothing.
    #[test]
    fn impossible_and_old_acknowledgements_change_nothing() {
        let mut member = progress();
        assert_eq!(member.acknowledged(at(1), &ack(9, &[]), 30, |sequence| sequence * 100), None);
        assert_eq!(member.acknowledged(at(1), &ack(31, &[]), 30, |sequence| sequence * 100), None);
        assert_eq!(member.acknowledged(at(1), &ack(29, &[(1, 1)]), 30, |sequence| sequence * 100), None);
        assert_eq!(member.next, 10);
        assert!(member.acknowledged(at(1), &ack(30, &[]), 30, |sequence| sequence * 100).is_some());
    }

    /// \[CHN-6\]: a grant never shrinks.
    #[test]
    fn grants_do_not_shrink() {
        let mut member = progress();
        assert_eq!(member.granted_cost, 1_000 + WINDOW_INITIAL);
        member.acknowledged(at(1), &ack(11, &[]), 30, |sequence| sequence * 100);
        assert_eq!(member.granted_cost, 1_000 + WINDOW_INITIAL);
        let wide = Ack { window: u32::MAX, ..ack(12, &[]) };
        member.acknowledged(at(1), &wide, 30, |sequence| sequence * 100);
        assert_eq!(member.granted_cost, 1_200 + WINDOW_MAX);
    }

    /// \[CHN-9\]: the answer to a probe tells what was lost, once.
    #[test]
    fn an_answered_probe_tells_what_was_lost() {
        let mut member = progress();
        member.probed(at(0), 7, 20);
        let answer = Ack { token: 7, ..ack(10, &[]) };
        let news = member.acknowledged(at(1), &answer, 30, |sequence| sequence * 100);
        assert_eq!(news.and_then(|news| news.answered), Some(Asked { below: 20, at: at(0) }));
        let news = member.acknowledged(at(1), &answer, 30, |sequence| sequence * 100);
        assert_eq!(news.and_then(|news| news.answered), None);
    }

    #[test]
    fn a_miss_is_news_once() {
        let mut member = progress();
        assert!(member.miss(11));
        assert!(!member.miss(11));
        member.repaired(at(5), 11, 20);
        let repair = member.repairs[&11];
        let patience = Some(Duration::from_millis(10));
        assert!(!member.lost_again(at(6), repair, 3, patience));
        assert!(member.lost_again(at(15), repair, 3, patience));
        assert!(!member.lost_again(at(15), repair, 3, None));
        assert!(member.miss(11));
        member.acknowledged(at(16), &ack(12, &[]), 30, |sequence| sequence * 100);
        assert!(member.repairs.is_empty());
    }
}
