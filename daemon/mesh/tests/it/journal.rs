//! A recorded run replays: the same outputs, byte for byte.

use std::time::Duration;

use proto_spec::membership::MemberKind;
use sealcast_mesh::journal::{Journal, JournalError, read};
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
    let (mut replayed, inputs) = read(&file).unwrap();
    let mut outputs = Outputs(Vec::new());
    for (now, input) in inputs {
        turn(&mut replayed, now, input, &mut outputs);
    }
    assert_eq!(outputs.0, recorded);
    assert_eq!(replayed.snapshot(), world.node(1).snapshot());

    // A crash may cut the last record short; what is no journal is refused.
    let cut = read(&file[..file.len() - 1]).unwrap();
    assert!(!cut.1.is_empty());
    assert_eq!(read(b"SCMJ9\n").unwrap_err(), JournalError::NotAJournal);
    let mut damaged = file.clone();
    damaged.extend_from_slice(&[0, 0, 0, 2, 0xff, 0xff]);
    assert_eq!(read(&damaged).unwrap_err(), JournalError::Damaged(cut.1.len() + 1));
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
    assert_eq!(read(&files[0]).unwrap().1.len(), 1, "begun anew for the third segment");
    assert!(read(&files[1]).unwrap().1.len() > 200);
}
