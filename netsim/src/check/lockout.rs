//! Property 8: who guesses is locked out: passwords [GW-9], words of a code [COD-3], numbers [GW-11]; at whichever broker,
//! and after a restart of it where the product promises that.

use std::collections::BTreeMap;
use std::time::Duration;

use proto_spec::{NodeNumber, Timestamp, WallTime};
use sealcast_broker::{Call, Denial, LimitKind};

use super::Property;
use super::delivery::PersonId;
use crate::sim::World;

/// Failures in a row that lock an account, and for how long.
const FAILURES: u32 = 5;
const LOCKED: Duration = Duration::from_secs(300);
/// Wrong words that spend a code.
const GUESSES: u32 = 5;
/// Calls from one network that are served in a minute: look-ups, logins. A bucket that was full gives as many again.
const PER_MINUTE: [usize; 2] = [10, 30];
const MINUTE: Duration = Duration::from_secs(60);

/// What guessers have tried.
#[derive(Debug, Default)]
pub(crate) struct Lockout {
    failures: u32,
    locked_until: Option<WallTime>,
    /// Wrong words that the leader's user was told of under the code that is open for a drill.
    wrong_words: u32,
    /// Calls that were served: by whom, what, from whose network.
    served: BTreeMap<(NodeNumber, u64, bool, PersonId), Vec<Timestamp>>,
}

impl Lockout {
    /// A code is open for a guesser: none of its words was guessed yet.
    pub(crate) fn code_opened(&mut self) {
        self.wrong_words = 0;
    }

    /// The leader's user is told of a wrong guess.
    pub(crate) fn wrong_word(&mut self) {
        self.wrong_words += 1;
    }

    /// The leader's user is told that the code is spent.
    pub(crate) fn spent(&mut self) {
        self.wrong_words = GUESSES;
    }

    /// A login of the guessed account was answered: what is wrong with that, if anything.
    fn login(&mut self, wall: WallTime, right: bool, succeeded: bool) -> Option<&'static str> {
        if self.locked_until.is_some_and(|until| until <= wall) {
            (self.failures, self.locked_until) = (0, None);
        }
        let locked = self.locked_until.is_some();
        match (right, succeeded) {
            (false, true) => Some("a wrong password was accepted"),
            (true, true) if locked => {
                Some("a password was tried within the five minutes after five failures")
            }
            (true, false) if !locked => Some("the right password was refused although nothing was locked"),
            (true, true) => {
                (self.failures, self.locked_until) = (0, None);
                None
            }
            (_, false) => {
                if !locked {
                    self.failures += 1;
                }
                if !locked && self.failures == FAILURES {
                    self.locked_until = Some(wall.plus(LOCKED));
                }
                None
            }
        }
    }

    /// One more call was served; whether that was one too many.
    fn serve(&mut self, by: (NodeNumber, u64), kind: LimitKind, who: PersonId, now: Timestamp) -> bool {
        let is_login = kind == LimitKind::Login;
        let most = 2 * PER_MINUTE[usize::from(is_login)];
        let times = self.served.entry((by.0, by.1, is_login, who)).or_default();
        times.retain(|at| now.since(*at) < MINUTE);
        times.push(now);
        let at_once = times.iter().filter(|at| **at == now).count();
        times.len() > most || at_once > most / 2
    }
}

impl World {
    /// Somebody has typed a password for the account that is guessed.
    pub(crate) fn check_login(&mut self, at: NodeNumber, right: bool, result: &Result<Call, Denial>) {
        let succeeded = match result {
            Ok(_) => true,
            Err(Denial::LoginFailed) => false,
            // Nobody has looked at it.
            Err(_) => return,
        };
        let wall = self.now_of(at).wall;
        if let Some(what) = self.checkers.lockout.login(wall, right, succeeded) {
            self.violated(Property::Lockout, format!("at the broker on node {at}, {what}"));
        }
    }

    /// A call that is limited is served.
    pub(crate) fn check_served(&mut self, by: (NodeNumber, u64), kind: LimitKind, who: PersonId) {
        if self.checkers.lockout.serve(by, kind, who, self.now) {
            let calls = if kind == LimitKind::Lookup { "look-ups" } else { "logins" };
            let what =
                format!("the broker on node {} serves more {calls} from one network than it may", by.0);
            self.violated(Property::Lockout, what);
        }
    }

    /// A guesser became a member, by the right words or not.
    pub(crate) fn check_joined(&mut self, who: PersonId, right: bool) {
        let name = self.people.persons[who].name.clone();
        if !right {
            self.violated(Property::Lockout, format!("{name} became a member by wrong words"));
        }
        if self.checkers.lockout.wrong_words >= GUESSES {
            let what = format!("{name} became a member by a code of which five wrong guesses were seen");
            self.violated(Property::Lockout, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_lock_for_five_minutes() {
        let mut lockout = Lockout::default();
        let wall = |s: u64| WallTime(1_000_000 + s * 1_000);
        for second in 0..5 {
            assert_eq!(lockout.login(wall(second), false, false), None);
        }
        assert_eq!(lockout.login(wall(5), true, false), None, "locked");
        assert!(lockout.login(wall(303), true, true).is_some(), "too early by a second");
        assert_eq!(lockout.login(wall(304), true, true), None);
        assert!(lockout.login(wall(305), true, false).is_some(), "nothing is locked any more");
        assert!(lockout.login(wall(306), false, true).is_some());
    }

    #[test]
    fn a_bucket_gives_what_it_holds() {
        let mut lockout = Lockout::default();
        let by = (NodeNumber::new(1).unwrap(), 1);
        let at = |s| Timestamp(Duration::from_secs(s));
        let mut lookups = |s, count| (0..count).any(|_| lockout.serve(by, LimitKind::Lookup, 7, at(s)));
        assert!(!lookups(0, 10));
        assert!(lookups(0, 1), "an eleventh at once");
        assert!(!lookups(50, 9));
        assert!(lookups(55, 1), "one too many in a minute");
    }
}
