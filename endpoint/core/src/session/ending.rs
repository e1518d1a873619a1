//! How a session ends here: leaving, ending it for all, being told so \[SES-9\] \[SES-10\]. A goodbye has a moment to go
//! out; what the user is told last is decided when the end begins.

use proto_spec::app::{Control, GoodbyeReason};
use proto_spec::ticket::Role;
use proto_spec::{Now, Timestamp, TrafficClass, Wire};

use super::{Endpoint, Output, Purpose};
use crate::config::FAREWELL_MAX;
use crate::event::Event;
use crate::security::Security;
use proto_spec::channel::CONTROL_STREAM;

pub(super) enum Phase {
    Live,
    /// The goodbye goes out.
    Farewell {
        ending: Ending,
        deadline: Timestamp,
        detached: bool,
    },
    Over,
}

/// The last words to the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ending {
    reason: &'static str,
    text: String,
}

impl Ending {
    pub(super) fn new(reason: &'static str, text: impl Into<String>) -> Ending {
        Ending { reason, text: text.into() }
    }
}

impl<S: Security> Endpoint<S> {
    /// The user leaves. A session cannot go on without its leader, so the leader's leaving ends it.
    pub(super) fn leave(&mut self, now: Now) {
        if self.leads() {
            return self.end_for_all(now, "you left, and with you, its leader, the session has ended");
        }
        self.say_goodbye(now, GoodbyeReason::Left);
        if let Some(security) = &mut self.security {
            security.leave(now);
        }
        self.farewell(now, Ending::new("left", "you left the session"));
    }

    /// The user ends the session: the leader for all, a customer by asking the leader to.
    pub(super) fn end(&mut self, now: Now) {
        if self.leads() {
            return self.end_for_all(now, "you ended the session");
        }
        if self.config.role != Role::Customer {
            return self.refuse("only the leader and the customer end the session: leave it instead");
        }
        self.say_goodbye(now, GoodbyeReason::Ended);
        if let Some(security) = &mut self.security {
            security.leave(now);
        }
        self.farewell(now, Ending::new("ended", "you ended the session"));
    }

    pub(super) fn end_for_all(&mut self, now: Now, text: &str) {
        self.say_goodbye(now, GoodbyeReason::Ended);
        if let Some(security) = &mut self.security {
            security.end(now);
        }
        self.call(Purpose::EndSession);
        self.farewell(now, Ending::new("ended", text));
    }

    /// The relay's or the leader's last word; who is leaving already has its own.
    pub(super) fn told_end(&mut self, reason: &'static str, text: &str) {
        let ending = match &self.phase {
            Phase::Farewell { ending, .. } => ending.clone(),
            _ => Ending::new(reason, text),
        };
        self.finish(ending);
    }

    /// Over at once: nobody is left to say goodbye to, or nobody wants to hear it.
    pub(super) fn finish(&mut self, ending: Ending) {
        if self.is_over() {
            return;
        }
        self.link.detach();
        self.close_files();
        self.phase = Phase::Over;
        self.state = None;
        self.tell(Event::Ended { reason: ending.reason.to_owned(), text: ending.text });
        self.outputs.push_back(Output::Closed);
    }

    /// The user asks again: no more waiting.
    pub(super) fn hurry(&mut self, now: Now) {
        if let Phase::Farewell { deadline, .. } = &mut self.phase {
            *deadline = now.mono;
            self.ending_timeout(now);
        }
    }

    pub(super) fn ending_deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Farewell { deadline, .. } => Some(deadline),
            _ => None,
        }
    }

    pub(super) fn ending_timeout(&mut self, now: Now) {
        if let Phase::Farewell { ending, deadline, .. } = &self.phase
            && *deadline <= now.mono
        {
            let ending = ending.clone();
            self.finish(ending);
        }
    }

    /// Whether the goodbye is out and the gateway knows.
    pub(super) fn settle_ending(&mut self, _now: Now) {
        let calling = self.calls.is_open(Purpose::EndSession);
        let Phase::Farewell { ending, detached, .. } = &mut self.phase else { return };
        if calling {
            return;
        }
        match self.link.client() {
            Some(client) if !*detached => {
                *detached = true;
                client.detach();
            }
            Some(client) if !client.is_drained() => {}
            _ => {
                let ending = ending.clone();
                self.finish(ending);
            }
        }
    }

    fn farewell(&mut self, now: Now, ending: Ending) {
        self.phase = Phase::Farewell { ending, deadline: now.mono + FAREWELL_MAX, detached: false };
    }

    /// Seals the goodbye now: the end-to-end layer seals nothing after its own last word.
    fn say_goodbye(&mut self, now: Now, reason: GoodbyeReason) {
        if self.channels.send(CONTROL_STREAM, Control::Goodbye { reason }.to_bytes().into()).is_ok() {
            self.fill_class(now, TrafficClass::Control);
        }
    }
}
