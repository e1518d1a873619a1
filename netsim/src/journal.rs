//! Replays a node's journal: the core as it was, given the same inputs at the same times, must put out the same.
//!
//! Owns the comparison and what is told of it; the journal's form is the core's own. There is no world here: what the
//! outputs led to stands in the journal as inputs.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proto_spec::Timestamp;
use sealcast_mesh::journal::{Fold, JournalError, Recorded, Segment, read};
use sealcast_mesh::{Input, Node, Output, Perform, turn};

use crate::sim::Trace;

/// What came of a replay.
#[derive(Debug)]
pub struct Replayed {
    /// The node after the last turn that was replayed.
    pub node: Node,
    /// Turns in the journal.
    pub turns: usize,
    /// Turns that gave what was recorded.
    pub same: usize,
    /// When the first and the last turn were, by the node's clock.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Inputs replayed, by kind.
    pub inputs: BTreeMap<&'static str, u64>,
    /// Outputs, by kind.
    pub outputs: BTreeMap<&'static str, u64>,
    /// The fold of all outputs.
    pub trace: Trace,
    /// Where it ended before its end.
    pub fault: Option<Fault>,
    /// Bytes of a last record that a crash cut short.
    pub cut_bytes: usize,
}

/// A turn that does not go as it went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which, from 0.
    pub turn: usize,
    /// When it was.
    pub at: Timestamp,
    /// The kind of its input.
    pub input: &'static str,
    /// What happens now.
    pub what: Unlike,
}

/// How a turn is unlike what was recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unlike {
    /// It puts out something else: these, by kind.
    Outputs(Vec<&'static str>),
    /// The core panics: its words.
    Panic(String),
}

#[derive(Default)]
struct Outputs {
    fold: Fold,
    kinds: Vec<&'static str>,
}

impl Perform for Outputs {
    fn perform(&mut self, output: Output) {
        self.fold.output(&output);
        self.kinds.push(kind_of_output(&output));
    }
}

/// Replays a segment up to the first turn that puts out something else; `told` tells each turn on stderr.
///
/// # Errors
/// [`JournalError`].
pub fn replay(segment: &[u8], told: bool) -> Result<Replayed, JournalError> {
    let Segment { node, turns, cut_bytes } = read(segment)?;
    let span = turns.first().zip(turns.last()).map(|(first, last)| (first.now.mono, last.now.mono));
    let mut replayed = Replayed {
        node,
        turns: turns.len(),
        same: 0,
        span,
        inputs: BTreeMap::new(),
        outputs: BTreeMap::new(),
        trace: Trace::default(),
        fault: None,
        cut_bytes,
    };
    for (index, recorded) in turns.into_iter().enumerate() {
        let (at, input) = (recorded.now.mono, kind_of_input(&recorded.input));
        if let Err(what) = replayed.turn(recorded, index, told) {
            replayed.fault = Some(Fault { turn: index, at, input, what });
            break;
        }
    }
    Ok(replayed)
}

impl Replayed {
    fn turn(&mut self, recorded: Recorded, index: usize, told: bool) -> Result<(), Unlike> {
        let Recorded { now, input, outputs: then } = recorded;
        let kind = kind_of_input(&input);
        *self.inputs.entry(kind).or_default() += 1;
        let mut outputs = Outputs::default();
        let node = &mut self.node;
        // A core that panics is what somebody looks for; it is not used again.
        catch_unwind(AssertUnwindSafe(|| turn(node, now, input, &mut outputs)))
            .map_err(|panic| Unlike::Panic(crate::soak::words_of(&*panic)))?;
        for kind in outputs.kinds.iter().copied() {
            *self.outputs.entry(kind).or_default() += 1;
        }
        let put_out = outputs.fold.take();
        self.trace.event(now.mono.0.as_nanos() as u64, index as u64);
        self.trace.number(put_out);
        if told {
            let us = now.mono.0.as_micros();
            let all = outputs.kinds.join(", ");
            eprintln!("{:>6}.{:06} turn {index}: {kind} -> {all}", us / 1_000_000, us % 1_000_000);
        }
        match then {
            Some(then) if then != put_out => Err(Unlike::Outputs(outputs.kinds)),
            Some(_) => {
                self.same += 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

const fn kind_of_input(input: &Input) -> &'static str {
    match input {
        Input::Tick => "tick",
        Input::LinkUp { .. } => "link_up",
        Input::LinkDown { .. } => "link_down",
        Input::CalledRevoked { .. } => "called_revoked",
        Input::LinkRtt { .. } => "link_rtt",
        Input::Message { .. } => "message",
        Input::Signed { .. } => "signed",
        Input::Verdict { .. } => "verdict",
        Input::BrokerChain(_) => "broker_chain",
        Input::Revocations { .. } => "revocations",
        Input::Attached { .. } => "attached",
        Input::Detached { .. } => "detached",
        Input::Tombstone(_) => "tombstone",
        Input::Load(_) => "load",
        Input::Clock { .. } => "clock",
        Input::Renewed(_) => "renewed",
        Input::Drain { .. } => "drain",
        Input::Undrain => "undrain",
    }
}

const fn kind_of_output(output: &Output) -> &'static str {
    match output {
        Output::Dial { .. } => "dial",
        Output::Close { .. } => "close",
        Output::Send { .. } => "send",
        Output::Sign { .. } => "sign",
        Output::Verify { .. } => "verify",
        Output::Routes { .. } => "routes",
        Output::Session { .. } => "session",
        Output::PathHint { .. } => "path_hint",
        Output::Ready { .. } => "ready",
        Output::Tombstone(_) => "tombstone",
        Output::BrokerChain(_) => "broker_chain",
        Output::Revocations(_) => "revocations",
        Output::Load { .. } => "load",
        Output::Drain(_) => "drain",
        Output::MayStop => "may_stop",
        Output::Alarm(_) => "alarm",
        Output::ClockSettled { .. } => "clock_settled",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto_spec::AttachSeq;
    use proto_spec::SenderNumber;
    use proto_spec::membership::{MemberKind, MembershipEntry};
    use sealcast_mesh::journal::Journal;

    use super::*;
    use crate::sim::{Plan, World, node};

    /// A node of a simulated mesh writes down half a minute with a death in it.
    fn recorded() -> (World, Vec<u8>) {
        let mut world = World::started(Plan::new(7, 4));
        world.hosts.get_mut(&node(1)).unwrap().journal = Some(Default::default());
        let entry = MembershipEntry {
            number: SenderNumber::new(1).unwrap(),
            kind: MemberKind::Active,
            attach_seq: AttachSeq(1),
            ticket: [1; 32],
        };
        for number in [1, 2] {
            world.attach(node(number), World::session_id(1), entry, true);
        }
        world.run_for(Duration::from_secs(10));
        world.kill(node(3));
        world.run_for(Duration::from_secs(20));
        let (_, file, _) = world.hosts.get_mut(&node(1)).unwrap().journal.take().unwrap();
        (world, file)
    }

    #[test]
    fn a_journal_replays_to_the_same_outputs() {
        let (world, file) = recorded();
        let replayed = replay(&file, false).unwrap();
        assert_eq!(replayed.fault, None);
        assert!(replayed.turns > 50 && replayed.same == replayed.turns - 1, "{replayed:?}");
        assert_eq!(replayed.node.snapshot(), world.node(1).snapshot());
        assert_eq!(replayed.node.session(World::session_id(1)).unwrap().egress, [node(2)]);
        assert!(replayed.inputs["message"] > 10 && replayed.outputs["send"] > 10, "{replayed:?}");
        let again = replay(&file, false).unwrap();
        assert_eq!(again.trace, replayed.trace);
    }

    /// The same journal, but for one output that was not written down: its turn is named.
    #[test]
    fn other_outputs_are_found() {
        let (_, file) = recorded();
        let Segment { mut node, turns, .. } = read(&file).unwrap();
        let (mut journal, mut forged, mut spoiled) = (Journal::default(), Vec::new(), None);
        for (index, recorded) in turns.into_iter().enumerate() {
            forged.extend(journal.record(&node, recorded.now, &recorded.input).bytes);
            node.handle(recorded.now, recorded.input);
            while let Some(output) = node.poll_output() {
                if index > 10 && spoiled.is_none() {
                    spoiled = Some(index);
                } else {
                    journal.put_out(&output);
                }
            }
        }
        let replayed = replay(&forged, false).unwrap();
        let fault = replayed.fault.unwrap();
        assert!(Some(fault.turn) == spoiled && matches!(fault.what, Unlike::Outputs(_)), "{fault:?}");
        assert_eq!(replayed.same, fault.turn);
    }
}
