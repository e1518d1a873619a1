//! What was sent, what arrived, and when: the figures that docs/SCENARIOS.md defines. Pure arithmetic over times since
//! the scenario's own zero.

use std::collections::BTreeMap;
use std::time::Duration;

/// One sender to one receiver.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Flow {
    /// Deliveries: the line's number and when, in the order of arrival.
    pub(super) got: Vec<(u64, Duration)>,
}

/// All lines of all flows.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Lines {
    /// When each sender handed over its lines; a line's number is its place.
    pub(super) sent: BTreeMap<usize, Vec<Duration>>,
    /// By (sender, receiver).
    pub(super) flows: BTreeMap<(usize, usize), Flow>,
}

/// How the lines of all flows came.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Delivery {
    pub(super) sent: u64,
    pub(super) expected: u64,
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) duplicates: u64,
    pub(super) reordered: u64,
}

/// A flow's pause after a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gap {
    /// An index of the times of faults.
    pub(super) fault: usize,
    pub(super) sender: usize,
    pub(super) receiver: usize,
    pub(super) gap: Duration,
}

impl Lines {
    /// A line is handed over; its number.
    pub(super) fn hand_over(&mut self, sender: usize, at: Duration) -> u64 {
        let sent = self.sent.entry(sender).or_default();
        sent.push(at);
        sent.len() as u64 - 1
    }

    /// A line arrives.
    pub(super) fn deliver(&mut self, sender: usize, receiver: usize, number: u64, at: Duration) {
        self.flows.entry((sender, receiver)).or_default().got.push((number, at));
    }

    /// Whether every line has reached everybody; `receivers` of a sender.
    pub(super) fn complete(&self, receivers: impl Fn(usize) -> Vec<usize>) -> bool {
        self.sent.iter().all(|(sender, sent)| {
            let all =
                |receiver| self.flows.get(&(*sender, receiver)).is_some_and(|f| f.got.len() >= sent.len());
            sent.is_empty() || receivers(*sender).into_iter().all(all)
        })
    }

    /// Counts what came once, twice, never and late.
    pub(super) fn delivery(&self, receivers: impl Fn(usize) -> Vec<usize>) -> Delivery {
        let mut delivery = Delivery::default();
        for (sender, sent) in &self.sent {
            delivery.sent += sent.len() as u64;
            for receiver in receivers(*sender) {
                delivery.expected += sent.len() as u64;
                let mut seen = vec![false; sent.len()];
                let mut newest = None;
                let flow = self.flows.get(&(*sender, receiver));
                for (number, _) in flow.iter().flat_map(|flow| &flow.got) {
                    let Some(seen) = usize::try_from(*number).ok().and_then(|at| seen.get_mut(at)) else {
                        // A number that nobody sent: as wrong as one twice.
                        delivery.duplicates += 1;
                        continue;
                    };
                    if *seen {
                        delivery.duplicates += 1;
                        continue;
                    }
                    *seen = true;
                    delivery.delivered += 1;
                    if newest.is_some_and(|newest| newest > *number) {
                        delivery.reordered += 1;
                    }
                    newest = newest.max(Some(*number));
                }
                delivery.lost += seen.iter().filter(|seen| !**seen).count() as u64;
            }
        }
        delivery
    }

    /// From hand-over to delivery, of everything that came, ascending.
    pub(super) fn latencies(&self) -> Vec<Duration> {
        let mut all: Vec<Duration> = self
            .flows
            .iter()
            .flat_map(|((sender, _), flow)| {
                let sent = self.sent.get(sender);
                flow.got.iter().filter_map(move |(number, at)| {
                    Some(at.saturating_sub(*sent?.get(usize::try_from(*number).ok()?)?))
                })
            })
            .collect();
        all.sort_unstable();
        all
    }

    /// Each flow's gap after each fault; the last span ends with `end`.
    pub(super) fn gaps(&self, faults: &[Duration], end: Duration) -> Vec<Gap> {
        let mut gaps = Vec::new();
        for (fault, from) in faults.iter().enumerate() {
            let to = faults.get(fault + 1).copied().unwrap_or(end);
            for ((sender, receiver), flow) in &self.flows {
                let got: Vec<Duration> = flow.got.iter().map(|(_, at)| *at).collect();
                let sent = self.sent.get(sender).map(Vec::as_slice).unwrap_or_default();
                let Some(pause) = longest_pause(&got, *from, to) else { continue };
                let own = longest_pause(sent, *from, to).unwrap_or_default();
                gaps.push(Gap {
                    fault,
                    sender: *sender,
                    receiver: *receiver,
                    gap: pause.saturating_sub(own),
                });
            }
        }
        gaps
    }
}

/// The longest time between two that follow each other, from `from` (the one before it included) to `to`.
fn longest_pause(times: &[Duration], from: Duration, to: Duration) -> Option<Duration> {
    let before = times.iter().rev().find(|at| **at < from);
    let within = times.iter().filter(|at| (from..=to).contains(*at));
    let all: Vec<Duration> = before.into_iter().chain(within).copied().collect();
    all.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max()
}

/// The nearest rank: the smallest that so many percent do not exceed.
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Sender 0 says a line each 100 ms for two seconds; 1 gets them 10 ms later, but nothing from 500 to 900 ms.
    fn stalled() -> Lines {
        let mut lines = Lines::default();
        for at in (0..2_000).step_by(100) {
            let number = lines.hand_over(0, ms(at));
            let arrives = if (500..900).contains(&at) { 905 + number } else { at + 10 };
            lines.deliver(0, 1, number, ms(arrives));
        }
        lines
    }

    fn to_one(_: usize) -> Vec<usize> {
        vec![1]
    }

    #[test]
    fn a_gap_is_the_pause_less_the_senders_own() {
        // 410 (the line of 400) to 910 ms are 500, and the sender pauses for 100.
        let gaps = stalled().gaps(&[ms(450)], ms(2_000));
        assert_eq!(gaps.len(), 1);
        assert_eq!(gaps[0].gap, ms(400));
    }

    #[test]
    fn a_pause_counts_for_the_fault_in_whose_span_it_ends() {
        let gaps = stalled().gaps(&[ms(450), ms(1_500)], ms(2_000));
        assert_eq!(gaps.iter().map(|gap| gap.gap).collect::<Vec<_>>(), [ms(400), ms(0)]);
    }

    #[test]
    fn what_comes_once_in_order_is_right() {
        let lines = stalled();
        let delivery = lines.delivery(to_one);
        assert_eq!(delivery, Delivery { sent: 20, expected: 20, delivered: 20, ..Delivery::default() });
        assert!(lines.complete(to_one));
    }

    #[test]
    fn lost_doubled_and_reordered_lines_are_counted() {
        let mut lines = Lines::default();
        for at in 0..5 {
            lines.hand_over(0, ms(at));
        }
        for number in [0, 2, 1, 2, 9] {
            lines.deliver(0, 1, number, ms(10));
        }
        let delivery = lines.delivery(to_one);
        assert_eq!((delivery.lost, delivery.duplicates, delivery.reordered), (2, 2, 1));
        assert_eq!((delivery.expected, delivery.delivered), (5, 3));
        let nobody = lines.delivery(|_| vec![1, 2]);
        assert_eq!(nobody.lost, 7);
    }

    #[test]
    fn latency_is_from_hand_over_to_delivery() {
        let latencies = stalled().latencies();
        assert_eq!(percentile(&latencies, 50), Some(ms(10)));
        assert_eq!(latencies.last(), Some(&ms(410)));
        assert_eq!(percentile(&[], 99), None);
    }
}
