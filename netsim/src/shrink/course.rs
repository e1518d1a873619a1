//! What a mesh's course can do without. Everything is healed at its end, whatever went before: any step can go.

use std::ops::Range;

use super::{Cut, without};
use crate::soak::{Course, Step};

/// Waits shorter than this stay.
const WAIT_MS_MIN: u64 = 10;

pub(super) const CUTS: &[Cut<Course>] = &[
    Cut { parts: |course| course.nodes.len(), less: fewer_nodes },
    Cut { parts: |course| course.steps.len(), less: fewer_steps },
    Cut { parts: |course| course.healed.len(), less: fewer_healed },
    Cut { parts: |course| course.steps.len(), less: shorter_waits },
];

fn fewer_nodes(course: &Course, gone: Range<usize>) -> Option<Course> {
    let gone = course.nodes[gone].iter().map(|node| node.number);
    gone.into_iter().try_fold(course.clone(), |course, number| course.without_node(number))
}

fn fewer_steps(course: &Course, gone: Range<usize>) -> Option<Course> {
    let mut fewer = course.clone();
    fewer.steps = without(&course.steps, gone)?;
    Some(fewer)
}

fn fewer_healed(course: &Course, gone: Range<usize>) -> Option<Course> {
    let mut fewer = course.clone();
    fewer.healed = without(&course.healed, gone)?;
    Some(fewer)
}

fn shorter_waits(course: &Course, halved: Range<usize>) -> Option<Course> {
    let mut shorter = course.clone();
    for step in &mut shorter.steps[halved] {
        if let Step::Wait { ms } = step
            && *ms >= 2 * WAIT_MS_MIN
        {
            *ms /= 2;
        }
    }
    (shorter != *course).then_some(shorter)
}
