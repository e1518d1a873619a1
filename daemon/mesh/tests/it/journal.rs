//! A recorded run replays: the same outputs, byte for byte.

use std::time::Duration;

use proto_spec::membership::MemberKind;
use sealcast_mesh::journal::{Fold, Journal, JournalError, Segment, read};
use sealcast_mesh::{Output, Perform, turn};

use crate::world::{Plan, World, entry, node, session};

struct Outputs(Vec<Output>);

impl Perform for Outputs {
    fn perform(&mut self, output: Output) {
        self.0.push(output);
    }
}

/// The journal begins in the middle of a life, with the node as it is then.
#[test]
fn a_journal_replays() {
    let mut world = World::started(Plan::new(81, 5));
    world.attach(node(2), session(1), entry(2, MemberKind::Active, 1), false);
    world.settle();
    world.hosts.get_mut(&node(1)).unwrap().journal = Some((Journal::default(), Vec::new(), Vec::new()));
    world.attach(node(1), session(1), entry(1, MemberKind::Active, 1), true);
    world.partition(&[node(4), node(5)]);
    world.run_for(Duration::from_secs(20));
    world.heal();
    world.kill(node(3));
    world.run_for(Duration::from_secs(20));
    let (_, file, recorded) = world.hosts.get_mut(&node(1)).unwrap().journal.take().unwrap();
    assert!(recorded.len() > 40, "{} outputs", recorded.len());
    let Segment { node: mut replayed, turns, cut_bytes } = read(&file).unwrap();
    assert_eq!(cut_bytes, 0);
    let (mut outputs, mut fold) = (Outputs(Vec::new()), Fold::default());
    let count = turns.len();
    for (index, recorded) in turns.into_iter().enumerate() {
        let before = outputs.0.len();
        turn(&mut replayed, recorded.now, recorded.input, &mut outputs);
        outputs.0[before..].iter().for_each(|output| fold.output(output));
        let put_out = fold.take();
        assert_eq!(recorded.outputs, (index + 1 < count).then_some(put_out), "turn {index} of {count}");
    }
    assert_eq!(outputs.0, recorded);
    assert_eq!(replayed.snapshot(), world.node(1).snapshot());

    // A crash may cut the last record short; what is no journal is refused.
    let cut = read(&file[..file.len() - 1]).unwrap();
    assert!(cut.turns.len() + 1 == count && cut.cut_bytes > 0);
    assert_eq!(read(b"SCMJ9\n").unwrap_err(), JournalError::OtherVersion);
    assert_eq!(read(b"[regions]\n").unwrap_err(), JournalError::NotAJournal);
}

/// One bit that is not as it was written is noticed, wherever it is.
#[test]
fn damage_is_noticed() {
    let world = World::started(Plan::new(83, 2));
    let mut journal = Journal::default();
    let mut file = Vec::new();
    let mut begins = Vec::new();
    for sequence in 0..3 {
        begins.push(file.len());
        let input = sealcast_mesh::Input::Message { from: node(2), bytes: vec![sequence; 10].into() };
        file.extend_from_slice(&journal.record(world.node(1), world.now_of(node(1)), &input).bytes);
    }
    assert_eq!(read(&file).unwrap().turns.len(), 3);
    let flipped = |at: usize| {
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        read(&damaged)
    };
    // The version; the node's length, check and bytes.
    assert_eq!(flipped(4).unwrap_err(), JournalError::OtherVersion);
    for at in (6..14).chain([14, 100]) {
        assert_eq!(flipped(at).unwrap_err(), JournalError::NodeDamaged, "byte {at}");
    }
    // A length that leads beyond the end looks like a record cut short, which is told.
    for at in begins[1]..begins[1] + 4 {
        assert!(flipped(at).map_or(true, |read| read.turns.len() == 1 && read.cut_bytes > 0), "byte {at}");
    }
    for at in begins[1] + 4..begins[2] {
        assert_eq!(flipped(at).unwrap_err(), JournalError::Damaged(1), "byte {at}");
    }
    assert_eq!(flipped(file.len() - 1).unwrap_err(), JournalError::Damaged(2));
}

/// Segments alternate, each beginning with the whole node, so that the older can go.
#[test]
fn segments_alternate() {
    let world = World::started(Plan::new(82, 3));
    let node_1 = world.node(1);
    let mut journal = Journal::default();
    let mut files = [Vec::new(), Vec::new()];
    let mut begun = 0;
    let input = sealcast_mesh::Input::Message { from: node(2), bytes: vec![0; 60_000].into() };
    while begun < 3 {
        let write = journal.record(node_1, world.now_of(node(1)), &input);
        if write.truncate {
            begun += 1;
            files[write.segment].clear();
        }
        files[write.segment].extend_from_slice(&write.bytes);
        assert!(files[write.segment].len() <= sealcast_mesh::config::JOURNAL_SEGMENT_BYTES + 200_000);
    }
    assert_eq!(read(&files[0]).unwrap().turns.len(), 1, "begun anew for the third segment");
    assert!(read(&files[1]).unwrap().turns.len() > 200);
}
