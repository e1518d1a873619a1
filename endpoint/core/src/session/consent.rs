//! Questions to the user: numbered, timed, denied when nobody answers \[SES-6\]. Owns what is asked; what follows from an
//! answer is the session's.

use std::collections::BTreeMap;

use proto_spec::{Now, Timestamp};

use crate::config::{PROMPT_TIMEOUT, PROMPTS_MAX};
use crate::event::{Answered, Event, PromptId, Question};

#[derive(Default)]
pub(super) struct Consent {
    last: u32,
    open: BTreeMap<PromptId, Prompt>,
}

struct Prompt {
    question: Question,
    deadline: Timestamp,
}

impl Consent {
    /// Puts a question; `None` if too many are open, which is a no.
    pub(super) fn ask(&mut self, now: Now, question: Question) -> Option<Event> {
        if self.open.len() >= PROMPTS_MAX {
            return None;
        }
        self.last += 1;
        let prompt = PromptId(self.last);
        self.open.insert(prompt, Prompt { question: question.clone(), deadline: now.mono + PROMPT_TIMEOUT });
        Some(Event::Prompt { prompt, question, timeout_s: PROMPT_TIMEOUT.as_secs() as u32 })
    }

    /// The user's answer; `None` if nothing was asked under this number.
    pub(super) fn answer(&mut self, prompt: PromptId, allow: bool) -> Option<(Question, Event)> {
        let question = self.open.remove(&prompt)?.question;
        let answer = if allow { Answered::Allowed } else { Answered::Denied };
        Some((question, Event::PromptEnded { prompt, answer }))
    }

    /// A question whose time is over.
    pub(super) fn expired(&mut self, now: Now) -> Option<(Question, Event)> {
        let (prompt, _) = self.open.iter().find(|(_, prompt)| prompt.deadline <= now.mono)?;
        self.end(*prompt, Answered::TimedOut)
    }

    /// A question that has become idle.
    pub(super) fn withdraw(&mut self, about: impl Fn(&Question) -> bool) -> Option<Event> {
        let (prompt, _) = self.open.iter().find(|(_, prompt)| about(&prompt.question))?;
        self.end(*prompt, Answered::Withdrawn).map(|(_, event)| event)
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.open.values().map(|prompt| prompt.deadline).min()
    }

    fn end(&mut self, prompt: PromptId, answer: Answered) -> Option<(Question, Event)> {
        let question = self.open.remove(&prompt)?.question;
        Some((question, Event::PromptEnded { prompt, answer }))
    }
}
