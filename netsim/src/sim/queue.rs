//! What is going to happen: events by (time, sequence), so that equal times keep the order in which they were planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proto_spec::Timestamp;

/// The queue; a heap, as each event goes in and out once. The heap moves keys alone: events are much larger, and lie
/// still meanwhile.
#[derive(Debug)]
pub(crate) struct EventQueue<E> {
    heap: BinaryHeap<Reverse<Key>>,
    events: Vec<Option<E>>,
    free: Vec<u32>,
    sequence: u64,
}

/// When, in which order among equals, and where the event lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    at: Timestamp,
    sequence: u64,
    slot: u32,
}

impl<E> Default for EventQueue<E> {
    fn default() -> Self {
        EventQueue { heap: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), sequence: 0 }
    }
}

impl<E> EventQueue<E> {
    /// Plans an event.
    pub(crate) fn push(&mut self, at: Timestamp, event: E) {
        self.sequence += 1;
        let slot = self.free.pop().unwrap_or(self.events.len() as u32);
        match self.events.get_mut(slot as usize) {
            Some(place) => *place = Some(event),
            None => self.events.push(Some(event)),
        }
        self.heap.push(Reverse(Key { at, sequence: self.sequence, slot }));
    }

    /// The next event, if it comes no later than `end`.
    pub(crate) fn pop(&mut self, end: Timestamp) -> Option<(Timestamp, E)> {
        if self.heap.peek()?.0.at > end {
            return None;
        }
        let Reverse(Key { at, slot, .. }) = self.heap.pop()?;
        self.free.push(slot);
        let event = self.events[slot as usize].take().expect("a key leads to its event");
        Some((at, event))
    }

    /// Events that wait.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn equal_times_keep_their_order() {
        let at = |ms| Timestamp(Duration::from_millis(ms));
        let mut queue = EventQueue::default();
        for (time, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            queue.push(at(time), event);
        }
        assert_eq!(queue.pop(at(0)), None);
        let order: Vec<char> = std::iter::from_fn(|| queue.pop(at(9))).map(|(_, event)| event).collect();
        assert_eq!(order, ['a', 'b', 'c', 'd']);
        assert_eq!(queue.len(), 0);
        queue.push(at(1), 'e');
        assert_eq!((queue.events.len(), queue.pop(at(1))), (4, Some((at(1), 'e'))), "places are used again");
    }
}
