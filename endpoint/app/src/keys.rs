//! What keys mean: the line being typed, its history, and when a key answers a question. Sans-IO: keys and times go
//! in, actions come out.
//!
//! A question takes `y` and `n` only after it has been on the screen for a while and no key was pressed for as long:
//! what was typed ahead, or in the middle of a sentence, goes on into the line and is never taken for a consent.
//!
//! ```text
//! shown --- QUIET (longer in the middle of a line) without a key ---> armed --- y / n, Esc ---> answered
//!   ^------------------ any key: into the line ------------------'     '--- other keys: nothing
//! ```

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use sealcast_endpoint::event::PromptId;

/// How long a question must have been seen, without any key, before a key answers it.
pub(crate) const QUIET: Duration = Duration::from_millis(800);
/// The same when a line is half typed: a pause for thought is not an answer.
pub(crate) const QUIET_IN_LINE: Duration = Duration::from_millis(2_500);
/// Longest line typed, in characters; a chat text of 4,096 bytes has no more.
const LINE_CHARS_MAX: usize = 4_096;
/// Lines remembered.
const HISTORY_MAX: usize = 100;

/// What a key leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Nothing to do but draw.
    None,
    /// A line was entered.
    Line(String),
    /// A question was answered.
    Answer(PromptId, bool),
    /// Ctrl-C.
    Interrupt,
    /// Move through the log, in pages; up is positive.
    Scroll(i32),
    /// Draw everything anew.
    Redraw,
}

/// The state of the keyboard.
#[derive(Debug, Default)]
pub(crate) struct Keyboard {
    line: Vec<char>,
    cursor: usize,
    history: Vec<String>,
    /// Where in the history; its length when not in it.
    recalled: usize,
    /// The question on the screen and since when.
    shown: Option<(PromptId, Duration)>,
    last_key: Option<Duration>,
}

impl Keyboard {
    /// The line, and the cursor's place in it in characters.
    pub(crate) fn line(&self) -> (String, usize) {
        (self.line.iter().collect(), self.cursor)
    }

    /// What was just drawn: the question in front, or none.
    pub(crate) fn drawn(&mut self, now: Duration, question: Option<PromptId>) {
        match (self.shown, question) {
            (Some((shown, _)), Some(prompt)) if shown == prompt => {}
            _ => self.shown = question.map(|prompt| (prompt, now)),
        }
    }

    /// Whether a key would answer the question now.
    pub(crate) fn armed(&self, now: Duration) -> Option<PromptId> {
        let (prompt, shown_at) = self.shown?;
        let since = self.last_key.map_or(shown_at, |key| key.max(shown_at));
        let quiet = if self.line.is_empty() { QUIET } else { QUIET_IN_LINE };
        (now >= since + quiet).then_some(prompt)
    }

    /// A key was pressed.
    pub(crate) fn key(&mut self, now: Duration, key: KeyEvent) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::None;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Action::Interrupt,
            KeyCode::Char('l') if control => return Action::Redraw,
            KeyCode::PageUp => return Action::Scroll(1),
            KeyCode::PageDown => return Action::Scroll(-1),
            _ => {}
        }
        if let Some(prompt) = self.armed(now) {
            return match key.code {
                KeyCode::Char('y' | 'Y') if !control => Action::Answer(prompt, true),
                KeyCode::Char('n' | 'N') if !control => Action::Answer(prompt, false),
                KeyCode::Esc => Action::Answer(prompt, false),
                _ => Action::None,
            };
        }
        self.last_key = Some(now);
        self.edit(key.code, control, key.modifiers.contains(KeyModifiers::ALT))
    }

    /// Text was pasted: it goes into the line, whatever it is, and enters nothing.
    pub(crate) fn paste(&mut self, now: Duration, text: &str) {
        self.last_key = Some(now);
        for c in text.chars() {
            self.insert(if c.is_control() { ' ' } else { c });
        }
    }

    fn edit(&mut self, code: KeyCode, control: bool, alt: bool) -> Action {
        match code {
            KeyCode::Enter => return self.enter(),
            KeyCode::Char('a') if control => self.cursor = 0,
            KeyCode::Char('e') if control => self.cursor = self.line.len(),
            KeyCode::Char('u') if control => {
                self.line.drain(..self.cursor);
                self.cursor = 0;
            }
            KeyCode::Char('k') if control => self.line.truncate(self.cursor),
            KeyCode::Char('w') if control => self.rub_out_word(),
            KeyCode::Char(_) if control || alt => {}
            KeyCode::Char(c) => self.insert(c),
            KeyCode::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.line.remove(self.cursor);
            }
            KeyCode::Delete if self.cursor < self.line.len() => {
                self.line.remove(self.cursor);
            }
            KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Right => self.cursor = (self.cursor + 1).min(self.line.len()),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.line.len(),
            KeyCode::Up => self.recall(self.recalled.saturating_sub(1)),
            KeyCode::Down => self.recall(self.recalled + 1),
            KeyCode::Esc => self.set(String::new()),
            _ => {}
        }
        Action::None
    }

    fn enter(&mut self) -> Action {
        let line: String = self.line.drain(..).collect();
        self.cursor = 0;
        if line.trim().is_empty() {
            return Action::None;
        }
        if self.history.last() != Some(&line) {
            if self.history.len() >= HISTORY_MAX {
                self.history.remove(0);
            }
            self.history.push(line.clone());
        }
        self.recalled = self.history.len();
        Action::Line(line)
    }

    fn insert(&mut self, c: char) {
        if self.line.len() < LINE_CHARS_MAX && !c.is_control() {
            self.line.insert(self.cursor, c);
            self.cursor += 1;
        }
    }

    fn rub_out_word(&mut self) {
        let before = &self.line[..self.cursor];
        let word_end = before.iter().rposition(|c| !c.is_whitespace()).map_or(0, |at| at + 1);
        let word_start = before[..word_end].iter().rposition(|c| c.is_whitespace()).map_or(0, |at| at + 1);
        self.line.drain(word_start..self.cursor);
        self.cursor = word_start;
    }

    fn recall(&mut self, to: usize) {
        if self.history.is_empty() {
            return;
        }
        self.recalled = to.min(self.history.len());
        let line = self.history.get(self.recalled).cloned().unwrap_or_default();
        self.set(line);
    }

    fn set(&mut self, line: String) {
        self.line = line.chars().collect();
        self.cursor = self.line.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn press(keyboard: &mut Keyboard, now: Duration, code: KeyCode) -> Action {
        keyboard.key(now, KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn control(keyboard: &mut Keyboard, c: char) -> Action {
        keyboard.key(ms(0), KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL))
    }

    fn type_in(keyboard: &mut Keyboard, now: Duration, text: &str) {
        for c in text.chars() {
            press(keyboard, now, KeyCode::Char(c));
        }
    }

    #[test]
    fn keys_typed_ahead_never_answer() {
        let prompt = PromptId(3);
        let mut keyboard = Keyboard::default();
        // Keys that wait in the terminal's buffer are read right after the question is drawn.
        keyboard.drawn(ms(1_000), Some(prompt));
        assert_eq!(press(&mut keyboard, ms(1_001), KeyCode::Char('y')), Action::None);
        assert_eq!(press(&mut keyboard, ms(1_002), KeyCode::Enter), Action::Line("y".into()));
        // Typing on keeps it from being armed, however long it takes.
        for at in 0..100 {
            assert_eq!(press(&mut keyboard, ms(1_002 + at * 700), KeyCode::Char('y')), Action::None);
        }
        // In the middle of a line a short pause is not enough.
        let last = ms(1_002 + 99 * 700);
        assert_eq!(keyboard.armed(last + QUIET), None);
        assert_eq!(keyboard.armed(last + QUIET_IN_LINE), Some(prompt));
    }

    #[test]
    fn a_quiet_keyboard_answers_and_each_question_by_itself() {
        let mut keyboard = Keyboard::default();
        keyboard.drawn(ms(0), Some(PromptId(1)));
        assert_eq!(keyboard.armed(QUIET - ms(1)), None);
        assert_eq!(press(&mut keyboard, QUIET, KeyCode::Char('x')), Action::None);
        assert_eq!(press(&mut keyboard, QUIET, KeyCode::Enter), Action::None);
        assert_eq!(press(&mut keyboard, QUIET, KeyCode::Char('Y')), Action::Answer(PromptId(1), true));
        // The next question appears at once: a second y within the quiet time is not its answer.
        keyboard.drawn(QUIET + ms(10), Some(PromptId(2)));
        assert_eq!(press(&mut keyboard, QUIET + ms(20), KeyCode::Char('y')), Action::None);
        assert_eq!(press(&mut keyboard, ms(9_000), KeyCode::Esc), Action::Answer(PromptId(2), false));
        keyboard.drawn(ms(9_001), None);
        assert_eq!(keyboard.armed(ms(99_000)), None);
    }

    #[test]
    fn pasted_text_neither_answers_nor_enters() {
        let mut keyboard = Keyboard::default();
        keyboard.drawn(ms(0), Some(PromptId(1)));
        keyboard.paste(ms(5_000), "y\n/end\u{1b}");
        assert_eq!(keyboard.line().0, "y /end ");
        assert_eq!(keyboard.armed(ms(5_000) + QUIET), None);
    }

    #[test]
    fn the_line_can_be_edited_and_recalled() {
        let mut keyboard = Keyboard::default();
        type_in(&mut keyboard, ms(0), "helo wörld");
        press(&mut keyboard, ms(0), KeyCode::Home);
        for _ in 0..3 {
            press(&mut keyboard, ms(0), KeyCode::Right);
        }
        type_in(&mut keyboard, ms(0), "l");
        assert_eq!(keyboard.line(), ("hello wörld".into(), 4));
        control(&mut keyboard, 'e');
        control(&mut keyboard, 'w');
        assert_eq!(keyboard.line().0, "hello ");
        assert_eq!(press(&mut keyboard, ms(0), KeyCode::Enter), Action::Line("hello ".into()));
        press(&mut keyboard, ms(0), KeyCode::Up);
        assert_eq!(keyboard.line().0, "hello ");
        press(&mut keyboard, ms(0), KeyCode::Down);
        assert_eq!(keyboard.line().0, "");
        type_in(&mut keyboard, ms(0), &"x".repeat(LINE_CHARS_MAX + 5));
        assert_eq!(keyboard.line().0.len(), LINE_CHARS_MAX);
        control(&mut keyboard, 'u');
        press(&mut keyboard, ms(0), KeyCode::Backspace);
        press(&mut keyboard, ms(0), KeyCode::Delete);
        assert_eq!(keyboard.line(), (String::new(), 0));
        assert_eq!(control(&mut keyboard, 'c'), Action::Interrupt);
    }
}
