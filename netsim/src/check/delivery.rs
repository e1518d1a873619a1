//! Property 4: no unique reliable payload is lost, none is delivered twice, each sender's come in order; and what a
//! disturbance cost: the gaps.
//!
//! A line of chat names itself, so that whoever sees it knows which it is. A **flow** is the chat of one sender to one
//! receiver.

use std::collections::BTreeMap;
use std::time::Duration;

use proto_spec::Timestamp;

/// One endpoint, by its place in the run.
pub(crate) type PersonId = usize;

/// Every flow of a run.
#[derive(Debug, Default)]
pub struct Delivery {
    sent: BTreeMap<PersonId, Sent>,
    flows: BTreeMap<(PersonId, PersonId), Flow>,
    /// Lines that came twice.
    pub duplicates: u64,
    /// Lines that came before an earlier one.
    pub reordered: u64,
    /// Losses that a receiver was told of.
    pub told_lost: u64,
    /// Milliseconds from hand-over to delivery, each.
    latencies_us: Vec<u64>,
}

#[derive(Debug, Default)]
struct Sent {
    /// When each line was handed over.
    at: Vec<Timestamp>,
}

#[derive(Debug, Default)]
struct Flow {
    /// The next line that this receiver has to get.
    next: u64,
    /// When each came.
    arrivals: Vec<Timestamp>,
    /// Whether the receiver was told that something is lost.
    skipped: bool,
}

/// What a flow's pause was after a fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Gap {
    /// Beyond the sender's own longest pause.
    pub pause: Duration,
    /// When the receiver's began.
    pub began: Timestamp,
    /// Who sent.
    pub from: PersonId,
    /// Who got it late.
    pub to: PersonId,
}

/// What is wrong with a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It came before.
    Duplicate,
    /// An earlier one is missing.
    Reordered,
    /// Nobody sent it.
    Unknown,
}

impl Delivery {
    /// A flow is expected from now on.
    pub fn expect(&mut self, from: PersonId, to: PersonId) {
        let next = self.sent.get(&from).map_or(0, |sent| sent.at.len() as u64);
        self.flows.entry((from, to)).or_insert(Flow { next, ..Flow::default() });
    }

    /// The number of the next line of a sender.
    pub fn next_line(&self, from: PersonId) -> u64 {
        self.sent.get(&from).map_or(0, |sent| sent.at.len() as u64)
    }

    /// A sender handed a line over.
    pub fn sent(&mut self, from: PersonId, at: Timestamp) {
        self.sent.entry(from).or_default().at.push(at);
    }

    /// When a line was handed over.
    pub(crate) fn said_at(&self, from: PersonId, line: u64) -> Option<Timestamp> {
        self.sent.get(&from)?.at.get(line as usize).copied()
    }

    /// The last line was not taken after all.
    pub fn take_back(&mut self, from: PersonId) {
        if let Some(sent) = self.sent.get_mut(&from) {
            sent.at.pop();
        }
    }

    /// A receiver got a line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn arrived(&mut self, from: PersonId, to: PersonId, line: u64, at: Timestamp) -> Result<(), Fault> {
        let Some(sent_at) = self.sent.get(&from).and_then(|sent| sent.at.get(line as usize)) else {
            return Err(Fault::Unknown);
        };
        let flow = self.flows.entry((from, to)).or_insert(Flow { next: line, ..Flow::default() });
        if line < flow.next {
            self.duplicates += 1;
            return Err(Fault::Duplicate);
        }
        self.latencies_us.push(at.since(*sent_at).as_micros() as u64);
        flow.arrivals.push(at);
        let missing = line > flow.next && !std::mem::take(&mut flow.skipped);
        flow.next = line + 1;
        if missing {
            self.reordered += 1;
            return Err(Fault::Reordered);
        }
        Ok(())
    }

    /// A receiver was told that something of a sender is lost for it: the next line may be any later one.
    pub fn skipped(&mut self, from: PersonId, to: PersonId) {
        if let Some(flow) = self.flows.get_mut(&(from, to)) {
            flow.skipped = true;
            self.told_lost += 1;
        }
    }

    /// Lines that have not come: (from, to, how many).
    pub fn missing(&self) -> impl Iterator<Item = (PersonId, PersonId, u64)> + '_ {
        self.flows.iter().filter_map(|((from, to), flow)| {
            let sent = self.next_line(*from);
            (sent > flow.next && !flow.skipped).then(|| (*from, *to, sent - flow.next))
        })
    }

    /// Lines delivered.
    pub fn delivered(&self) -> u64 {
        self.flows.values().map(|flow| flow.arrivals.len() as u64).sum()
    }

    /// Lines handed over.
    pub fn handed_over(&self) -> u64 {
        self.sent.values().map(|sent| sent.at.len() as u64).sum()
    }

    /// From hand-over to delivery: so many of a hundred lines took no longer.
    pub fn latency(&self, percent: u64) -> Option<Duration> {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        at_percent(&sorted, percent).map(|us| Duration::from_micros(*us))
    }

    /// Each flow's longest pause between two instants, beyond its sender's own, longest first.
    pub fn gaps(&self, start: Timestamp, end: Timestamp) -> Vec<Gap> {
        let mut gaps: Vec<Gap> = self
            .flows
            .iter()
            .filter_map(|((from, to), flow)| {
                let sent = self.sent.get(from)?;
                let (came, began) = longest_pause(&flow.arrivals, start, end)?;
                let (own, _) = longest_pause(&sent.at, start, end)?;
                Some(Gap { pause: came.saturating_sub(own), began, from: *from, to: *to })
            })
            .collect();
        gaps.sort_unstable_by(|a, b| b.cmp(a));
        gaps
    }
}

/// The value below which so many of a hundred lie; the list ascends.
pub(crate) fn at_percent<T>(sorted: &[T], percent: u64) -> Option<&T> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get(((sorted.len() as u64 * percent).div_ceil(100).max(1) - 1).min(last as u64) as usize)
}

/// The longest time between two that follow each other, from the one before `start` to the one after `end`, and when it
/// began; of several equal ones the last.
fn longest_pause(times: &[Timestamp], start: Timestamp, end: Timestamp) -> Option<(Duration, Timestamp)> {
    let first = times.partition_point(|at| *at < start).saturating_sub(1);
    let last = (times.partition_point(|at| *at <= end) + 1).min(times.len());
    times.get(first..last)?.windows(2).map(|pair| (pair[1].since(pair[0]), pair[0])).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(Duration::from_millis(ms))
    }

    #[test]
    fn each_fault_is_told() {
        let mut delivery = Delivery::default();
        delivery.expect(1, 2);
        (0..5).for_each(|line| delivery.sent(1, at(line)));
        assert_eq!(delivery.arrived(1, 2, 0, at(10)), Ok(()));
        assert_eq!(delivery.arrived(1, 2, 0, at(11)), Err(Fault::Duplicate));
        assert_eq!(delivery.arrived(1, 2, 2, at(12)), Err(Fault::Reordered));
        assert_eq!(delivery.arrived(1, 2, 9, at(12)), Err(Fault::Unknown));
        delivery.skipped(1, 2);
        assert_eq!(delivery.arrived(1, 2, 4, at(13)), Ok(()), "the loss was told");
        assert_eq!(delivery.missing().count(), 0);
        delivery.sent(1, at(20));
        assert_eq!(delivery.missing().collect::<Vec<_>>(), [(1, 2, 1)]);
        assert_eq!(delivery.latency(99), Some(Duration::from_millis(10)));
    }

    #[test]
    fn a_gap_is_what_exceeds_the_senders_own_pause() {
        let mut delivery = Delivery::default();
        for ms in (0..2_000).step_by(100) {
            let line = delivery.next_line(1);
            delivery.sent(1, at(ms));
            let late = if (1_000..1_300).contains(&ms) { 1_400 } else { ms + 5 };
            delivery.arrived(1, 2, line, at(late)).unwrap();
        }
        let gaps = delivery.gaps(at(950), at(1_900));
        assert_eq!(gaps.len(), 1);
        assert_eq!(gaps[0].pause, Duration::from_millis(1_400 - 905 - 100));
        assert_eq!(gaps[0].began, at(905));
        assert!(delivery.gaps(at(0), at(800))[0].pause.is_zero());
    }

    #[test]
    fn percentiles_are_values_of_the_list() {
        assert_eq!(at_percent::<u8>(&[], 99), None);
        assert_eq!(at_percent(&[1, 2, 3], 50), Some(&2));
        assert_eq!(at_percent(&[1, 2, 3], 99), Some(&3));
        assert_eq!(at_percent(&(1..=100).collect::<Vec<_>>(), 99), Some(&99));
    }
}
