use proto_spec::egress::EgressSet;
use proto_spec::frame::{DataHeader, Destination};
use proto_spec::{NodeNumber, SenderNumber, SessionId};
use sealcast_attach::{Ledger, Limits};

use super::*;

struct Harness {
    queue: DataQueue,
    ledger: Arc<Ledger>,
}

impl Harness {
    fn new() -> Harness {
        Harness::with_memory(u64::MAX / 2)
    }

    fn with_memory(bytes_max: u64) -> Harness {
        let memory = NodeMemory::new(bytes_max);
        let ledger = Ledger::new(&Limits::default(), Arc::clone(&memory), Box::new(|| {}));
        Harness { queue: DataQueue::new(memory, Metrics::new()), ledger }
    }

    fn run(&self, class: TrafficClass, frames: u32, length: usize) -> Run {
        let replace = (class == TrafficClass::Screen).then_some(proto_spec::frame::Replace {
            key: 1,
            update: 1,
            last: false,
        });
        let header = DataHeader {
            class,
            sender: SenderNumber::new(1).unwrap(),
            destination: Destination::All,
            replace,
        };
        let mut bytes = Vec::new();
        for _ in 0..frames {
            header.put(&mut bytes, |out| out.resize(out.len() + length, 0));
        }
        let pinned = bytes.len();
        Run::new(&self.ledger, &header, bytes.into(), frames, pinned)
    }

    fn push(&self, class: TrafficClass, frames: u32, length: usize) {
        self.queue.push(&header(), self.run(class, frames, length));
    }

    fn take(&self, bytes_max: usize) -> Batch {
        let mut batch = Batch::default();
        self.queue.take(bytes_max, &mut batch);
        batch
    }
}

fn header() -> TrunkHeader {
    let node = |number| NodeNumber::new(number).unwrap();
    TrunkHeader {
        hop_limit: 8,
        ingress: node(1),
        egress: EgressSet::new([node(2), node(3)]).unwrap(),
        session: SessionId([1; 16]),
    }
}

/// \[TRK-16\], \[FWD-5\]: control first, each class its share, and a long run is cut between frames so that nobody waits
/// behind it.
#[test]
fn classes_share_a_batch() {
    let harness = Harness::new();
    for _ in 0..4 {
        harness.push(TrafficClass::Bulk, 50, 1_200);
        harness.push(TrafficClass::Screen, 50, 1_200);
        harness.push(TrafficClass::Control, 50, 1_200);
    }
    let batch = harness.take(64 * 1024);
    let mut bytes = [0usize; 4];
    batch.runs().for_each(|run| bytes[run.class() as usize] += run.bytes().len());
    for (class, frame) in
        [(TrafficClass::Control, 1_207), (TrafficClass::Screen, 1_213), (TrafficClass::Bulk, 1_207)]
    {
        let share = bytes[class as usize];
        assert!(share > 0 && share % frame == 0, "{} has {share}", class.name());
    }
    assert!(bytes[0] > bytes[2] && bytes[2] >= bytes[3], "{bytes:?}");
    assert_eq!(batch.runs().next().unwrap().class(), TrafficClass::Control);
    // What was cut is read back whole, unit by unit.
    let wire: Vec<u8> = batch.slices().flatten().copied().collect();
    let (mut at, mut read) = (0, 0);
    while at < wire.len() {
        let length = proto_spec::trunk::unit_length(&wire[at..]).unwrap().unwrap();
        let unit = Unit::parse(&wire[at..at + length]).unwrap();
        assert_eq!(unit.header, header());
        read += unit.run_length;
        at += length;
    }
    assert_eq!(read, bytes.iter().sum::<usize>());
}

/// \[TRK-16\]: at the bound and one past it, for every class; nothing of the others is touched.
#[test]
fn each_class_has_its_bound() {
    for class in TrafficClass::ALL {
        let harness = Harness::new();
        let cost = harness.run(class, 1, 1_000).bytes().len() + ITEM_OVERHEAD;
        let fits = QUEUE_BYTES_MAX[class as usize] / cost;
        (0..fits).for_each(|_| harness.push(class, 1, 1_000));
        assert_eq!((harness.queue.bytes(), harness.queue.dropped()), (fits * cost, 0), "{}", class.name());
        harness.push(class, 3, 1_000);
        assert_eq!((harness.queue.bytes(), harness.queue.dropped()), (fits * cost, 3), "{}", class.name());
        let other = if class == TrafficClass::Bulk { TrafficClass::Control } else { TrafficClass::Bulk };
        harness.push(other, 1, 10);
        assert_eq!(harness.queue.dropped(), 3, "{} is not full", other.name());
    }
}

/// \[FWD-10\]: bulk is shed before the node's memory is full, control is not.
#[test]
fn memory_is_shed_in_order() {
    let harness = Harness::with_memory(10_000);
    let _held = harness.run(TrafficClass::Control, 1, 8_500);
    harness.push(TrafficClass::Bulk, 1, 100);
    assert_eq!(harness.queue.dropped(), 1);
    harness.push(TrafficClass::Control, 1, 100);
    assert_eq!(harness.queue.dropped(), 1);
}

/// \[FWD-9\]: what a stalled write leaves behind lets go of the buffer that it was cut from, as does what comes later.
#[test]
fn what_waits_pins_no_large_buffer() {
    let harness = Harness::new();
    let large = harness.run(TrafficClass::Bulk, 50, 1_200).bytes().clone();
    let slice = || {
        let data = DataHeader {
            class: TrafficClass::Bulk,
            sender: SenderNumber::new(1).unwrap(),
            destination: Destination::All,
            replace: None,
        };
        Run::new(&harness.ledger, &data, large.slice(..1_207), 1, large.len())
    };
    harness.queue.push(&header(), slice());
    harness.queue.settle();
    harness.queue.push(&header(), slice());
    let batch = harness.take(64 * 1024);
    for run in batch.runs() {
        assert_eq!(*run.bytes(), large[..1_207]);
        assert!(!large.as_ptr_range().contains(&run.bytes().as_ptr()), "it still lies in the large buffer");
    }
    assert_eq!(batch.runs().count(), 2);
}

/// What waits when the trunk ends is dropped and counted, and so is what comes later.
#[test]
fn an_ended_queue_holds_nothing() {
    let harness = Harness::new();
    harness.push(TrafficClass::Bulk, 2, 100);
    harness.queue.end();
    assert_eq!((harness.queue.bytes(), harness.queue.dropped()), (0, 2));
    assert_eq!(harness.ledger.outstanding(TrafficClass::Bulk), 0);
    harness.push(TrafficClass::Control, 1, 100);
    assert_eq!((harness.queue.bytes(), harness.queue.dropped()), (0, 3));
    assert!(harness.take(1_000).is_empty());
}
