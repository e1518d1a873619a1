//! Makes what fails smaller: parts of the drawn world go, by halves, quarters and so on to single ones, as long as the same
//! property is violated (delta debugging, Zeller and Hildebrandt 2002).
//!
//! Owns the search and when it ends; `course` and `people` know which parts there are and what cannot go alone. What is left
//! is no harsher than what seeds draw, so that it shows the fault and not a world that nobody promised to stand.

mod course;
mod people;

use std::ops::Range;

use crate::play::Options;
use crate::soak::{Drawn, Ending};

/// One way to make something smaller: it has parts, and can do without some of them, or with less of them.
struct Cut<T> {
    parts: fn(&T) -> usize,
    /// `None` if that is no world, or the same.
    less: fn(&T, Range<usize>) -> Option<T>,
}

/// What is left.
#[derive(Debug)]
pub struct Shrunk {
    /// The world.
    pub drawn: Drawn,
    /// What comes of it.
    pub ending: Ending,
    /// The property that it violates, or `crash`.
    pub property: String,
    /// Worlds that were tried.
    pub tries: u64,
    /// Whether nothing more can go; otherwise it was ended before.
    pub smallest: bool,
}

/// Makes a world smaller that violates something, while `go_on` says so before each try, with what is left at that point.
/// `None` if everything holds.
pub fn shrink(drawn: Drawn, options: Options, mut go_on: impl FnMut(&Drawn) -> bool) -> Option<Shrunk> {
    let ending = drawn.attempt(options);
    let property = ending.property()?;
    let mut search = Search { options, property, tries: 1, drawn, ending, go_on: &mut go_on };
    let smallest = match search.drawn.clone() {
        Drawn::Mesh(course) => search.run(course, course::CUTS, Drawn::Mesh),
        Drawn::People(scenario) => search.run(scenario, people::CUTS, Drawn::People),
    };
    let Search { property, tries, drawn, ending, .. } = search;
    Some(Shrunk { drawn, ending, property, tries, smallest })
}

/// The time is over.
struct Over;

struct Search<'a> {
    options: Options,
    property: String,
    tries: u64,
    /// The smallest so far, and what comes of it.
    drawn: Drawn,
    ending: Ending,
    go_on: &'a mut dyn FnMut(&Drawn) -> bool,
}

impl Search<'_> {
    /// Whether it went on until nothing more could go.
    fn run<T: Clone>(&mut self, mut best: T, cuts: &[Cut<T>], whole: impl Fn(T) -> Drawn) -> bool {
        loop {
            let before = self.tries;
            let mut any = false;
            for cut in cuts {
                match self.pass(&mut best, cut, &whole) {
                    Ok(went) => any |= went,
                    Err(Over) => return false,
                }
            }
            if !any || self.tries == before {
                return true;
            }
        }
    }

    /// One kind of parts, by ever smaller groups; whether any of them went.
    fn pass<T: Clone>(
        &mut self,
        best: &mut T,
        cut: &Cut<T>,
        whole: impl Fn(T) -> Drawn,
    ) -> Result<bool, Over> {
        let mut any = false;
        let mut many = (cut.parts)(best);
        while many > 0 {
            let mut at = 0;
            while at < (cut.parts)(best) {
                let end = (at + many).min((cut.parts)(best));
                match (cut.less)(best, at..end) {
                    Some(less) if self.still_fails(whole(less.clone()))? => {
                        any = true;
                        // What stood behind has moved up, or there may go more.
                        *best = less;
                    }
                    _ => at = end,
                }
            }
            many /= 2;
        }
        Ok(any)
    }

    fn still_fails(&mut self, drawn: Drawn) -> Result<bool, Over> {
        if !(self.go_on)(&self.drawn) {
            return Err(Over);
        }
        self.tries += 1;
        let ending = drawn.attempt(self.options);
        let fails = ending.violates(&self.property);
        if fails {
            (self.drawn, self.ending) = (drawn, ending);
        }
        Ok(fails)
    }
}

/// The items without some of them; `None` if none of them would go.
fn without<T: Clone>(items: &[T], gone: Range<usize>) -> Option<Vec<T>> {
    let left = items[..gone.start].iter().chain(&items[gone.end..]);
    (!gone.is_empty()).then(|| left.cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use crate::sim::Bug;
    use crate::soak::Course;

    /// Makes a seed smaller in which a planted bug shows itself, with so many tries.
    fn smaller(options: Options, tries: u64) -> Shrunk {
        let mut left = tries;
        let go_on = |_: &Drawn| {
            left = left.saturating_sub(1);
            left > 0
        };
        shrink(Drawn::of(options.seed), options, go_on).unwrap()
    }

    #[test]
    fn a_mesh_gets_smaller_and_fails_the_same_way_again() {
        let options = Options { seed: 1, bug: Some(Bug::ForgetMember), ..Options::default() };
        let shrunk = smaller(options, 400);
        let Drawn::Mesh(course) = &shrunk.drawn else { panic!("a mesh stays a mesh") };
        let before = Course::draw(course.seed);
        assert!(course.nodes.len() <= 3 && course.steps.len() + course.healed.len() <= 6, "{course:?}");
        assert!(before.steps.len() > 50);
        let again = Drawn::Mesh(Course::from_text(&course.to_text()).unwrap()).attempt(options);
        assert_eq!(again.found(), shrunk.ending.found());
        assert_eq!(again.property().as_deref(), Some("convergence"));
    }

    #[test]
    fn a_scenario_gets_smaller_and_fails_the_same_way_again() {
        let options = Options { seed: 3, bug: Some(Bug::DeliverTwice), ..Options::default() };
        let shrunk = smaller(options, 60);
        let Drawn::People(scenario) = &shrunk.drawn else { panic!("a scenario stays one") };
        assert!(
            scenario.faults.is_empty() && scenario.endpoints() == 2 && scenario.nodes.len() == 2,
            "{scenario:?}"
        );
        let read = Scenario::parse("smaller", &scenario.to_text()).unwrap();
        assert_eq!(read, *scenario);
        let again = Drawn::People(read).attempt(options);
        assert_eq!(again.found(), shrunk.ending.found());
        assert_eq!(shrunk.property, "delivery");
    }

    #[test]
    fn what_holds_is_not_made_smaller() {
        assert!(shrink(Drawn::of(1), Options { seed: 1, ..Options::default() }, |_| true).is_none());
    }
}
