//! What the interface shows, built from events alone. Owns the log, the transfers, the questions that wait and the
//! tally of the session; it never reads a clock, draws, or sends a command. Everything in it is bounded, and every text
//! from a peer is made harmless ([`crate::clean`]) as it enters.

use std::collections::VecDeque;
use std::time::Duration;

use sealcast_endpoint::event::{
    Answered, CodeEnd, Direction, Event, Member, PromptId, Question, Reattachment, State, TransferId,
};
use sealcast_endpoint::{Accept, Role, SenderNumber, SessionId};

use crate::accept;
use crate::clean;
use crate::exit::Outcome;
use crate::rate::Rate;
use crate::tally::Tally;

/// Lines of the log that are kept: some screens of scrolling back, at most a few hundred KiB.
pub(crate) const LOG_LINES_MAX: usize = 2_000;
/// Questions that wait at a time: far more than the library asks at once (one a joiner, one a file).
pub(crate) const QUESTIONS_MAX: usize = 64;
/// Transfers shown at a time: the library moves eight each way; the rest are those just finished.
pub(crate) const TRANSFERS_MAX: usize = 32;
/// Codes shown at a time: one for each role.
const CODES_MAX: usize = 2;
/// How long a finished transfer stays on the screen.
const FINISHED_SHOWN: Duration = Duration::from_secs(6);

/// When an event was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Moment {
    /// Since the program started; for rates and countdowns.
    pub(crate) elapsed: Duration,
    /// The time of day as the log shows it, `14:05`.
    pub(crate) clock: String,
}

/// How a line of the log is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tone {
    /// Said by this member.
    Chat(SenderNumber),
    /// Something happened.
    Happening,
    /// Something good was finished.
    Good,
    /// Something needs attention.
    Warning,
    /// An answer of this program to what was typed.
    Reply,
}

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) clock: String,
    pub(crate) tone: Tone,
    /// Who said it; empty for happenings.
    pub(crate) who: String,
    pub(crate) text: String,
}

/// A code that can be read aloud.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Code {
    pub(crate) text: String,
    pub(crate) role: Role,
    pub(crate) ends_at: Duration,
}

/// A question that waits for its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub(crate) prompt: PromptId,
    pub(crate) question: Question,
    pub(crate) ends_at: Duration,
}

/// Where a transfer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    Offered,
    Moving,
    Done,
    Failed,
}

/// A file on its way.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Transfer {
    pub(crate) id: TransferId,
    pub(crate) direction: Direction,
    pub(crate) file: String,
    pub(crate) size_bytes: u64,
    pub(crate) done_bytes: u64,
    pub(crate) rate: Rate,
    pub(crate) stage: Stage,
    /// When it ended, by `Moment::elapsed`.
    pub(crate) ended_at: Option<Duration>,
}

/// Everything that is shown.
#[derive(Debug, Default)]
pub(crate) struct Board {
    pub(crate) mesh: String,
    pub(crate) own_name: String,
    pub(crate) state: Option<State>,
    pub(crate) session: Option<SessionId>,
    pub(crate) me: Option<(SenderNumber, Role)>,
    pub(crate) members: Vec<Member>,
    pub(crate) codes: Vec<Code>,
    pub(crate) log: VecDeque<Entry>,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) asked: VecDeque<Asked>,
    pub(crate) ended: Option<Outcome>,
    pub(crate) tally: Tally,
    /// What the session answers with yes by itself: not shown as questions.
    pub(crate) accept: Accept,
}

impl Board {
    pub(crate) fn new(mesh: &str, own_name: &str, accept: Accept) -> Board {
        Board { mesh: clean::name(mesh), own_name: clean::name(own_name), accept, ..Board::default() }
    }

    /// Takes in one event.
    pub(crate) fn apply(&mut self, moment: &Moment, event: &Event) {
        self.tally.apply(moment.elapsed, event);
        match event {
            Event::State { state } => self.state_changed(moment, *state),
            Event::Session { session, number, role } => {
                self.session = Some(*session);
                self.me = Some((*number, *role));
            }
            Event::Reattached { gap_ms, how, node: _ } => {
                self.log(moment, Tone::Good, reattached(*how, *gap_ms));
            }
            Event::Code { code, role, expires_s } => self.code_shown(moment, code, *role, *expires_s),
            Event::CodeEnded { reason, role } => self.code_ended(moment, *reason, *role),
            Event::WrongCode { left } => self.log(moment, Tone::Warning, wrong_code(*left)),
            Event::Prompt { prompt, question, timeout_s } => {
                self.asked_for(moment, *prompt, question, *timeout_s);
            }
            Event::PromptEnded { prompt, answer } => self.answered(moment, *prompt, *answer),
            Event::Members { members } => {
                self.members = members.clone();
                for member in &mut self.members {
                    member.name = clean::name(&member.name);
                }
            }
            Event::Joined { member } => {
                let text = format!(
                    "{} joined as {} number {}",
                    clean::name(&member.name),
                    role_word(member.role),
                    member.number
                );
                self.log(moment, Tone::Good, text);
            }
            Event::Left { number, name, removed } => {
                let how = if *removed { "was removed" } else { "left" };
                self.log(moment, Tone::Happening, format!("{} ({number}) {how}", clean::name(name)));
            }
            Event::RemovalComplete { number } => self.log(
                moment,
                Tone::Good,
                format!("the keys are changed: member {number} can read nothing any more"),
            ),
            Event::Rekeyed { .. } => {}
            Event::Chat { from, name, text } => self.push(Entry {
                clock: moment.clock.clone(),
                tone: Tone::Chat(*from),
                who: clean::name(name),
                text: clean::line(text),
            }),
            Event::FileOffered { transfer, direction, file, size_bytes } => {
                self.offered(moment, *transfer, *direction, file, *size_bytes);
            }
            Event::FileProgress { transfer, done_bytes, size_bytes, direction } => {
                self.moved(moment, *transfer, *direction, *done_bytes, *size_bytes);
            }
            Event::FileRefused { transfer, by, reason } => {
                let file = self.file_of(*transfer);
                let who = self.name_of(*by);
                self.log(
                    moment,
                    Tone::Warning,
                    format!("{who} does not take {file}: {}", clean::line(reason)),
                );
            }
            Event::FileDone { transfer, direction, file, path, size_bytes, .. } => {
                self.finish(moment, *transfer, *direction, Stage::Done);
                let (file, size) = (clean::file(file), bytes(*size_bytes));
                let text = match direction {
                    Direction::Sending => format!("{file} ({size}) has arrived"),
                    Direction::Receiving => {
                        format!("{file} ({size}) is here: {}", clean::line(&path.to_string_lossy()))
                    }
                };
                self.log(moment, Tone::Good, text);
            }
            Event::FileFailed { transfer, direction, file, reason } => {
                self.finish(moment, *transfer, *direction, Stage::Failed);
                let text = format!("{} did not arrive: {}", clean::file(file), clean::line(reason));
                self.log(moment, Tone::Warning, text);
            }
            Event::Notice { text } => self.log(moment, Tone::Happening, clean::line(text)),
            Event::Refused { reason } => self.log(moment, Tone::Warning, clean::line(reason)),
            Event::Ended { reason, text } => {
                let outcome = Outcome { reason: clean::line(reason), text: clean::line(text) };
                self.log(moment, Tone::Happening, outcome.text.clone());
                self.codes.clear();
                self.asked.clear();
                self.ended = Some(outcome);
            }
        }
    }

    /// Answers what was typed.
    pub(crate) fn reply(&mut self, moment: &Moment, text: impl Into<String>) {
        self.log(moment, Tone::Reply, text.into());
    }

    /// Answers what was typed and cannot be done.
    pub(crate) fn refuse(&mut self, moment: &Moment, text: impl Into<String>) {
        self.log(moment, Tone::Warning, text.into());
    }

    /// Takes away what has been shown for long enough.
    pub(crate) fn tidy(&mut self, now: Duration) {
        self.codes.retain(|code| code.ends_at > now);
        self.transfers.retain(|transfer| transfer.ended_at.is_none_or(|at| now < at + FINISHED_SHOWN));
    }

    /// The question in front.
    pub(crate) fn question(&self) -> Option<&Asked> {
        self.asked.front()
    }

    /// A line for each member.
    pub(crate) fn who(&self) -> Vec<String> {
        self.members.iter().map(describe).collect()
    }

    fn state_changed(&mut self, moment: &Moment, state: State) {
        let before = self.state.replace(state);
        let text = match state {
            State::Connecting => "looking for a node of the mesh",
            State::Lobby => "connected; proving the code",
            State::AwaitingConsent => "the code is right; waiting for the other side to let you in",
            State::Member if before == Some(State::Reconnecting) => return,
            State::Member => "the session is open and sealed from end to end",
            State::Reconnecting => "the connection was lost; looking for a node (nothing is lost meanwhile)",
        };
        let tone = match state {
            State::Member => Tone::Good,
            State::Reconnecting => Tone::Warning,
            _ => Tone::Happening,
        };
        self.log(moment, tone, text.to_owned());
    }

    fn code_shown(&mut self, moment: &Moment, code: &str, role: Role, expires_s: u32) {
        self.codes.retain(|shown| shown.role != role);
        let text = clean::line(code);
        self.log(
            moment,
            Tone::Happening,
            format!(
                "join code for one {}: {text} (valid for {} minutes)",
                role_word(role),
                expires_s.div_ceil(60)
            ),
        );
        self.codes.insert(
            0,
            Code { text, role, ends_at: moment.elapsed + Duration::from_secs(u64::from(expires_s)) },
        );
        self.codes.truncate(CODES_MAX);
    }

    fn code_ended(&mut self, moment: &Moment, reason: CodeEnd, role: Role) {
        self.codes.retain(|shown| shown.role != role);
        let role = role_word(role);
        let (tone, text) = match reason {
            CodeEnd::Used => {
                (Tone::Happening, format!("the {role}'s code is used up; /invite {role} makes another"))
            }
            CodeEnd::Expired => {
                (Tone::Happening, format!("the {role}'s code expired; /invite {role} makes another"))
            }
            CodeEnd::Guessed => (
                Tone::Warning,
                format!(
                    "five wrong codes: the {role}'s code is closed. Somebody may be guessing; /invite {role} makes another"
                ),
            ),
            CodeEnd::Closed => {
                (Tone::Happening, format!("the {role}'s code is closed; /invite {role} makes another"))
            }
        };
        self.log(moment, tone, text);
    }

    fn asked_for(&mut self, moment: &Moment, prompt: PromptId, question: &Question, timeout_s: u32) {
        if self.asked.len() < QUESTIONS_MAX && !accept::covers(self.accept, question) {
            self.asked.push_back(Asked {
                prompt,
                question: question.clone(),
                ends_at: moment.elapsed + Duration::from_secs(u64::from(timeout_s)),
            });
        }
    }

    fn answered(&mut self, moment: &Moment, prompt: PromptId, answer: Answered) {
        let Some(index) = self.asked.iter().position(|asked| asked.prompt == prompt) else { return };
        let Some(asked) = self.asked.remove(index) else { return };
        let what = match &asked.question {
            Question::Join { name, .. } => format!("{} joining", clean::name(name)),
            Question::Member { name, .. } => format!("{} seeing what you share", clean::name(name)),
            Question::Files { file, .. } => format!("receiving {}", clean::file(file)),
        };
        let (tone, text) = match answer {
            Answered::Allowed => (Tone::Happening, format!("you allowed {what}")),
            Answered::Denied => (Tone::Happening, format!("you denied {what}")),
            Answered::TimedOut => (Tone::Warning, format!("nobody answered in time: {what} was denied")),
            Answered::Withdrawn => (Tone::Happening, format!("no longer a question: {what}")),
        };
        self.log(moment, tone, text);
    }

    fn offered(
        &mut self,
        moment: &Moment,
        id: TransferId,
        direction: Direction,
        file: &str,
        size_bytes: u64,
    ) {
        let file = clean::file(file);
        let text = match direction {
            Direction::Sending => {
                format!("offered {file} ({}), transfer {}:{}", bytes(size_bytes), id.from, id.serial)
            }
            Direction::Receiving => {
                format!(
                    "{} offers {file} ({}), transfer {}:{}",
                    self.name_of(id.from),
                    bytes(size_bytes),
                    id.from,
                    id.serial
                )
            }
        };
        self.log(moment, Tone::Happening, text);
        self.transfers.retain(|transfer| transfer.id != id || transfer.direction != direction);
        if self.transfers.len() >= TRANSFERS_MAX {
            let oldest = self.transfers.iter().position(|transfer| transfer.ended_at.is_some()).unwrap_or(0);
            self.transfers.remove(oldest);
        }
        self.transfers.push(Transfer {
            id,
            direction,
            file,
            size_bytes,
            done_bytes: 0,
            rate: Rate::default(),
            stage: Stage::Offered,
            ended_at: None,
        });
    }

    fn moved(
        &mut self,
        moment: &Moment,
        id: TransferId,
        direction: Direction,
        done_bytes: u64,
        size_bytes: u64,
    ) {
        if let Some(transfer) =
            self.transfers.iter_mut().find(|transfer| transfer.id == id && transfer.direction == direction)
        {
            transfer.stage = Stage::Moving;
            transfer.done_bytes = done_bytes.min(size_bytes);
            transfer.size_bytes = size_bytes;
            transfer.rate.note(moment.elapsed, done_bytes);
        }
    }

    fn finish(&mut self, moment: &Moment, id: TransferId, direction: Direction, stage: Stage) {
        if let Some(transfer) =
            self.transfers.iter_mut().find(|transfer| transfer.id == id && transfer.direction == direction)
        {
            transfer.stage = stage;
            transfer.ended_at = Some(moment.elapsed);
            if stage == Stage::Done {
                transfer.done_bytes = transfer.size_bytes;
            }
        }
    }

    fn file_of(&self, id: TransferId) -> String {
        match self.transfers.iter().find(|transfer| transfer.id == id) {
            Some(transfer) => transfer.file.clone(),
            None => format!("transfer {}:{}", id.from, id.serial),
        }
    }

    fn name_of(&self, number: SenderNumber) -> String {
        match self.members.iter().find(|member| member.number == number) {
            Some(member) => member.name.clone(),
            None => format!("member {number}"),
        }
    }

    fn log(&mut self, moment: &Moment, tone: Tone, text: String) {
        self.push(Entry { clock: moment.clock.clone(), tone, who: String::new(), text });
    }

    fn push(&mut self, entry: Entry) {
        if self.log.len() >= LOG_LINES_MAX {
            self.log.pop_front();
        }
        self.log.push_back(entry);
    }
}

/// A member in words, for `/who`.
pub(crate) fn describe(member: &Member) -> String {
    let mut text = format!("{}  {}, {}", member.number, clean::name(&member.name), role_word(member.role));
    if member.me {
        text.push_str(", you");
    }
    if member.leader {
        text.push_str(", leads");
    }
    text.push_str(if member.present { ", here" } else { ", away" });
    text
}

/// A question in words: the sentence, and what a yes means.
pub(crate) fn question_text(question: &Question) -> (String, &'static str) {
    match question {
        Question::Join { name, role, number } => (
            format!("Let “{}” join as {} (number {number})?", clean::name(name), role_word(*role)),
            "The join code was right. The name is only what they call themselves.",
        ),
        Question::Member { name, role, number } => (
            format!(
                "May “{}”, {} number {number}, see what you share here?",
                clean::name(name),
                role_word(*role)
            ),
            "If not, nothing you send from here reaches them.",
        ),
        Question::Files { name, from, file, size_bytes, .. } => (
            format!(
                "Receive “{}” ({}) from {} ({from})?",
                clean::file(file),
                bytes(*size_bytes),
                clean::name(name)
            ),
            "It is stored in your download folder and never replaces a file.",
        ),
    }
}

pub(crate) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Provider => "provider",
        Role::Customer => "customer",
    }
}

/// A size as people read it, in units of 1,024.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ if value < 100.0 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// What the user may notice of another attachment: next to nothing unless there was none for a while.
fn reattached(how: Reattachment, gap_ms: u64) -> String {
    match how {
        Reattachment::Standby => format!("a relay failed: another took over after {}", seconds(gap_ms)),
        Reattachment::Moved => "a relay stops: moved to another".into(),
        Reattachment::Reconnected => format!("connected again after {}", seconds(gap_ms)),
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

fn wrong_code(left: u32) -> String {
    match left {
        0 => "somebody tried a wrong code, for the last time".into(),
        1 => "somebody tried a wrong code; one more closes the code".into(),
        left => format!("somebody tried a wrong code; {left} more close the code"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(elapsed_s: u64) -> Moment {
        Moment { elapsed: Duration::from_secs(elapsed_s), clock: "14:05".into() }
    }

    fn n(number: u16) -> SenderNumber {
        SenderNumber::new(number).unwrap()
    }

    #[test]
    fn the_log_is_bounded_and_harmless() {
        let mut board = Board::new("m", "me", Accept::default());
        for _ in 0..LOG_LINES_MAX + 10 {
            board.apply(
                &at(0),
                &Event::Chat { from: n(2), name: "\u{1b}[31mEve".into(), text: "\u{1b}]0;x\u{7}".into() },
            );
        }
        assert_eq!(board.log.len(), LOG_LINES_MAX);
        let entry = board.log.back().unwrap();
        assert!(!entry.who.contains('\u{1b}') && !entry.text.contains(['\u{1b}', '\u{7}']), "{entry:?}");
    }

    #[test]
    fn questions_wait_in_turn_and_leave_with_their_answer() {
        let mut board = Board::new("m", "me", Accept::default());
        for id in 1..=u32::try_from(QUESTIONS_MAX).unwrap() + 5 {
            let question = Question::Member { number: n(3), name: "Eve".into(), role: Role::Provider };
            board.apply(&at(1), &Event::Prompt { prompt: PromptId(id), question, timeout_s: 60 });
        }
        assert_eq!(board.asked.len(), QUESTIONS_MAX);
        assert_eq!(board.question().unwrap().ends_at, Duration::from_secs(61));
        board.apply(&at(2), &Event::PromptEnded { prompt: PromptId(1), answer: Answered::TimedOut });
        assert_eq!(board.question().unwrap().prompt, PromptId(2));
        assert!(board.log.back().unwrap().text.contains("denied"));
    }

    #[test]
    fn finished_transfers_and_old_codes_go_away() {
        let mut board = Board::new("m", "me", Accept::default());
        let transfer = TransferId { from: n(2), serial: 1 };
        board.apply(&at(0), &Event::Code { code: "1".into(), role: Role::Customer, expires_s: 600 });
        board.apply(
            &at(0),
            &Event::FileOffered {
                transfer,
                direction: Direction::Receiving,
                file: "a".into(),
                size_bytes: 9,
            },
        );
        board.apply(
            &at(1),
            &Event::FileFailed {
                transfer,
                direction: Direction::Receiving,
                file: "a".into(),
                reason: "the disk is full".into(),
            },
        );
        board.tidy(Duration::from_secs(6));
        assert_eq!((board.transfers.len(), board.codes.len()), (1, 1));
        board.tidy(Duration::from_secs(600));
        assert_eq!((board.transfers.len(), board.codes.len()), (0, 0));
    }

    #[test]
    fn transfers_are_bounded() {
        let mut board = Board::new("m", "me", Accept::default());
        for serial in 0..u32::try_from(TRANSFERS_MAX).unwrap() * 2 {
            let transfer = TransferId { from: n(2), serial };
            board.apply(
                &at(0),
                &Event::FileOffered {
                    transfer,
                    direction: Direction::Receiving,
                    file: "a".into(),
                    size_bytes: 9,
                },
            );
        }
        assert_eq!(board.transfers.len(), TRANSFERS_MAX);
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(256 << 20), "256 MiB");
        assert_eq!(bytes(u64::MAX), "16777216 TiB");
    }
}
