//! Verification of an audit chain: finds a flipped bit, a deletion, a reorder, a truncated end and a rollback \[AUD-5\].
//!
//! Reads links as they come and keeps nothing but the head and the checkpoints ahead of it.

use std::collections::BTreeMap;

use proto_spec::checkpoint::CheckpointBody;
use thiserror::Error;

use super::{AuditLink, Head, Record, link};

/// What was found whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Records verified.
    pub records: u64,
    /// Checkpoints that fit.
    pub checkpoints: u64,
    /// The end of the chain.
    pub head: Head,
}

/// What is wrong with a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// A record or link does not have its hash: it was altered.
    Altered,
    /// Records are missing before this one.
    Missing,
    /// This record was there before, or belongs further ahead.
    OutOfOrder,
    /// Not a record in its one spelling.
    NotCanonical,
    /// A signed checkpoint knows records that are not there: the end was cut off, or an old state brought back.
    Truncated,
    /// A signed checkpoint knows another record in this place: the chain was written anew.
    Forked,
}

impl FaultKind {
    const fn sentence(self) -> &'static str {
        match self {
            Self::Altered => "has been altered",
            Self::Missing => "does not follow: records before it are missing",
            Self::OutOfOrder => "is out of order",
            Self::NotCanonical => "is not a record",
            Self::Truncated => "is missing at the end, though a signed checkpoint knows it",
            Self::Forked => "is another than the one that a signed checkpoint knows",
        }
    }
}

/// The first fault in a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("audit record {index} {}: compare with a backup and with what other nodes hold", kind.sentence())]
pub struct AuditFault {
    /// The place in the chain where it shows, from 1.
    pub index: u64,
    /// What it is.
    pub kind: FaultKind,
}

/// Verifies links that follow `start` (the genesis for a whole chain) against each other and against checkpoints whose
/// signatures have been checked.
///
/// # Errors
/// The first [`AuditFault`].
pub fn verify_chain(
    start: Head,
    links: impl IntoIterator<Item = AuditLink>,
    checkpoints: impl IntoIterator<Item = CheckpointBody>,
) -> Result<Summary, AuditFault> {
    let mut known: BTreeMap<u64, [u8; 32]> = BTreeMap::new();
    for checkpoint in checkpoints {
        let before = known.insert(checkpoint.index, checkpoint.hash);
        if before.is_some_and(|hash| hash != checkpoint.hash) {
            return Err(AuditFault { index: checkpoint.index, kind: FaultKind::Forked });
        }
    }
    // What a checkpoint says of records before `start` cannot be seen here.
    known = known.split_off(&start.index);
    let mut fitting = 0;
    let mut head = start;
    check_place(&mut known, head, &mut fitting)?;
    for AuditLink { canonical, hash } in links {
        let index = head.index + 1;
        let fault = |kind| AuditFault { index, kind };
        let fits = link(&head.hash, &canonical) == hash;
        let record = Record::from_canonical(&canonical);
        match record {
            // The place is looked at before the hash, so that a deletion is called one.
            Some(record) if record.index > index => return Err(fault(FaultKind::Missing)),
            Some(record) if record.index < index => return Err(fault(FaultKind::OutOfOrder)),
            Some(_) if fits => {}
            None if fits => return Err(fault(FaultKind::NotCanonical)),
            _ => return Err(fault(FaultKind::Altered)),
        }
        head = Head { index, hash };
        check_place(&mut known, head, &mut fitting)?;
    }
    match known.first_key_value() {
        Some((&index, _)) => Err(AuditFault { index: index.min(head.index + 1), kind: FaultKind::Truncated }),
        None => Ok(Summary { records: head.index - start.index, checkpoints: fitting, head }),
    }
}

fn check_place(known: &mut BTreeMap<u64, [u8; 32]>, head: Head, fitting: &mut u64) -> Result<(), AuditFault> {
    match known.remove(&head.index) {
        Some(hash) if hash != head.hash => Err(AuditFault { index: head.index, kind: FaultKind::Forked }),
        Some(_) => {
            *fitting += 1;
            Ok(())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Actor, Outcome};
    use proto_spec::WallTime;

    fn chain(length: u64) -> (Head, Vec<AuditLink>, Vec<Head>) {
        let start = Head::genesis("mesh");
        let (mut head, mut links, mut heads) = (start, Vec::new(), vec![start]);
        for index in 1..=length {
            let record = Record {
                index,
                time: WallTime(index * 10),
                actor: Actor::Account { id: 1 },
                action: "login".into(),
                session: None,
                subject: None,
                outcome: Outcome::Done,
                detail: [("reason".to_owned(), format!("{index}"))].into(),
            };
            let (link, next) = head.append(&record);
            links.push(link);
            heads.push(next);
            head = next;
        }
        (start, links, heads)
    }

    fn checkpoint(head: Head) -> CheckpointBody {
        CheckpointBody {
            mesh: "mesh".into(),
            index: head.index,
            hash: head.hash,
            time: WallTime(0),
            broker: [0; 32],
        }
    }

    fn fault(start: Head, links: Vec<AuditLink>, checkpoints: Vec<CheckpointBody>) -> (u64, FaultKind) {
        let fault = verify_chain(start, links, checkpoints).unwrap_err();
        (fault.index, fault.kind)
    }

    /// \[AUD-4\] \[AUD-5\]
    #[test]
    fn a_whole_chain_verifies_from_any_of_its_places() {
        let (start, links, heads) = chain(5);
        let summary =
            verify_chain(start, links.clone(), [checkpoint(heads[3]), checkpoint(heads[5])]).unwrap();
        assert_eq!(summary, Summary { records: 5, checkpoints: 2, head: heads[5] });
        assert!(verify_chain(heads[2], links[2..].to_vec(), [checkpoint(heads[5])]).is_ok());
        assert!(verify_chain(Head::genesis("other"), links, []).is_err());
        assert_eq!(verify_chain(start, [], []).unwrap().records, 0);
    }

    /// \[AUD-5\]: a flip of any bit anywhere.
    #[test]
    fn every_flip_is_found() {
        let (start, links, _) = chain(3);
        for place in 0..links.len() {
            for byte in 0..links[place].canonical.len() {
                let mut flipped = links.clone();
                flipped[place].canonical[byte] ^= 1;
                assert!(verify_chain(start, flipped, []).is_err(), "record {place} byte {byte}");
            }
            let mut flipped = links.clone();
            flipped[place].hash[7] ^= 1;
            assert_eq!(fault(start, flipped, vec![]), (place as u64 + 1, FaultKind::Altered));
        }
    }

    /// \[AUD-5\]: deletion, reorder, repetition.
    #[test]
    fn deletions_and_reorders_are_found() {
        let (start, links, _) = chain(4);
        let mut deleted = links.clone();
        deleted.remove(1);
        assert_eq!(fault(start, deleted, vec![]), (2, FaultKind::Missing));
        let mut swapped = links.clone();
        swapped.swap(1, 2);
        assert_eq!(fault(start, swapped, vec![]), (2, FaultKind::Missing));
        let mut repeated = links.clone();
        repeated.insert(2, links[1].clone());
        assert_eq!(fault(start, repeated, vec![]), (3, FaultKind::OutOfOrder));
    }

    /// \[AUD-5\] \[AUD-6\]: the end cut off, an old state brought back, the chain written anew.
    #[test]
    fn truncation_and_forks_are_found_by_checkpoints() {
        let (start, mut links, heads) = chain(4);
        let whole = vec![checkpoint(heads[4])];
        links.pop();
        assert!(verify_chain(start, links.clone(), []).is_ok(), "invisible without a checkpoint");
        assert_eq!(fault(start, links, whole.clone()), (4, FaultKind::Truncated));
        assert_eq!(fault(start, vec![], whole.clone()), (1, FaultKind::Truncated));

        let mut other = checkpoint(heads[4]);
        other.hash[0] ^= 1;
        assert_eq!(fault(start, chain(4).1, vec![other.clone()]), (4, FaultKind::Forked));
        assert_eq!(fault(start, chain(4).1, vec![whole[0].clone(), other]), (4, FaultKind::Forked));
    }

    /// \[AUD-3\]: a record of another spelling is none, even if its link fits.
    #[test]
    fn another_spelling_is_no_record() {
        let (start, links, _) = chain(1);
        let mut spaced = links[0].canonical.clone();
        spaced.insert(1, b' ');
        let hash = link(&start.hash, &spaced);
        let forged = AuditLink { canonical: spaced, hash };
        assert_eq!(fault(start, vec![forged], vec![]), (1, FaultKind::NotCanonical));
    }

    /// \[AUD-2\] \[AUD-3\]: the order of fields and the spelling stay as they are.
    #[test]
    fn the_spelling_is_fixed() {
        let (_, links, _) = chain(1);
        assert_eq!(
            std::str::from_utf8(&links[0].canonical).unwrap(),
            r#"{"index":1,"time":10,"actor":{"kind":"account","id":1},"action":"login","outcome":"done","detail":{"reason":"1"}}"#
        );
    }
}
