//! Scripted sessions drawn to a terminal in memory.

use std::path::PathBuf;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use sealcast_endpoint::event::*;
use sealcast_endpoint::{Accept, SenderNumber, SessionId};

use super::*;
use crate::board::Moment;

fn n(number: u16) -> SenderNumber {
    SenderNumber::new(number).unwrap()
}

fn at(elapsed_ms: u64) -> Moment {
    let s = elapsed_ms / 1_000;
    Moment { elapsed: Duration::from_millis(elapsed_ms), clock: format!("14:{:02}", s / 60) }
}

fn member(number: u16, name: &str, role: Role) -> Member {
    Member {
        number: n(number),
        name: name.into(),
        role,
        me: number == 1,
        leader: number == 1,
        present: number != 3,
    }
}

const SENT: TransferId = match SenderNumber::new(1) {
    Some(from) => TransferId { from, serial: 1 },
    None => panic!(),
};
const RECEIVED: TransferId = match SenderNumber::new(2) {
    Some(from) => TransferId { from, serial: 4 },
    None => panic!(),
};

/// A session as a support provider sees it, until a code is shown.
fn opening() -> Vec<(u64, Event)> {
    vec![
        (0, Event::State { state: State::Connecting }),
        (
            100,
            Event::Session {
                session: SessionId(*b"\x3f\x2a\x81\xc0............"),
                number: n(1),
                role: Role::Provider,
            },
        ),
        (200, Event::State { state: State::Member }),
        (200, Event::Members { members: vec![member(1, "Ada Byron", Role::Provider)] }),
        (
            300,
            Event::Code {
                code: "483-920-117 lucky-otter-plaza".into(),
                role: Role::Customer,
                expires_s: 600,
            },
        ),
    ]
}

/// The same, with everything that moves.
fn busy() -> Vec<(u64, Event)> {
    let mut events = opening();
    events.extend([
        (60_000, Event::CodeEnded { reason: CodeEnd::Used, role: Role::Customer }),
        (60_000, Event::Joined { member: member(2, "Bob", Role::Customer) }),
        (
            60_000,
            Event::Members {
                members: vec![
                    member(1, "Ada Byron", Role::Provider),
                    member(2, "Bob", Role::Customer),
                    member(3, "Eve\u{1b}[31m", Role::Provider),
                ],
            },
        ),
        (61_000, Event::Chat { from: n(2), name: "Bob".into(), text: "The printer says “PC LOAD LETTER”, and nobody here knows what it wants from us or how to make it stop.".into() }),
        (62_000, Event::Chat { from: n(1), name: "Ada Byron".into(), text: "I send you a file.".into() }),
        (
            63_000,
            Event::FileOffered { transfer: SENT, direction: Direction::Sending, file: "printer-fix.zip".into(), size_bytes: 256 << 20 },
        ),
        (64_000, Event::FileProgress { transfer: SENT, direction: Direction::Sending, done_bytes: 0, size_bytes: 256 << 20 }),
        (66_000, Event::FileProgress { transfer: SENT, direction: Direction::Sending, done_bytes: 128 << 20, size_bytes: 256 << 20 }),
        (
            66_000,
            Event::FileOffered { transfer: RECEIVED, direction: Direction::Receiving, file: "screen\u{202e}gnp.exe".into(), size_bytes: 40_000 },
        ),
    ]);
    events
}

fn question(elapsed_ms: u64) -> (u64, Event) {
    let question = Question::Files {
        from: n(2),
        name: "Bob".into(),
        transfer: RECEIVED,
        file: "screenshot.png".into(),
        size_bytes: 40_000,
    };
    (elapsed_ms, Event::Prompt { prompt: PromptId(1), question, timeout_s: 60 })
}

struct Show {
    board: Board,
    keyboard: Keyboard,
    theme: Theme,
    now: Duration,
    scroll: usize,
}

impl Show {
    fn of(events: Vec<(u64, Event)>) -> Show {
        let mut board = Board::new("demo", "Ada Byron", Accept::default());
        let mut now = Duration::ZERO;
        for (ms, event) in &events {
            board.apply(&at(*ms), event);
            now = Duration::from_millis(*ms);
        }
        Show { board, keyboard: Keyboard::default(), theme: Theme::new(false), now, scroll: 0 }
    }

    fn draw(&mut self, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let view = View {
            board: &self.board,
            keyboard: &self.keyboard,
            theme: self.theme,
            now: self.now,
            scroll: self.scroll,
            leaving: false,
        };
        terminal.draw(|frame| render(frame, &view)).unwrap();
        let question = self.board.question().map(|asked| asked.prompt);
        self.keyboard.drawn(self.now, question);
        // The backend cannot tell a screen without columns.
        if width == 0 { String::new() } else { terminal.backend().to_string() }
    }
}

#[test]
fn a_new_session_shows_its_code_large() {
    insta::assert_snapshot!(Show::of(opening()).draw(80, 24));
}

#[test]
fn a_small_terminal_shows_the_code_in_a_line() {
    insta::assert_snapshot!(Show::of(opening()).draw(48, 12));
}

#[test]
fn a_busy_session() {
    insta::assert_snapshot!(Show::of(busy()).draw(100, 24));
}

#[test]
fn a_question_is_first_quiet_then_armed() {
    let mut events = busy();
    events.push(question(67_000));
    let mut show = Show::of(events);
    insta::assert_snapshot!("question_quiet", show.draw(80, 24));
    show.now += crate::keys::QUIET;
    insta::assert_snapshot!("question_armed", show.draw(80, 24));
}

#[test]
fn a_question_on_a_tiny_terminal_keeps_its_keys() {
    let mut events = busy();
    events.push(question(67_000));
    let mut show = Show::of(events);
    show.draw(40, 6);
    show.now += crate::keys::QUIET;
    let drawn = show.draw(40, 6);
    assert!(drawn.contains("Receive") && drawn.contains("[y]es"), "{drawn}");
}

#[test]
fn the_end_and_the_log_moved_back() {
    let mut events = busy();
    events.push((
        70_000,
        Event::FileDone {
            transfer: SENT,
            direction: Direction::Sending,
            file: "printer-fix.zip".into(),
            path: PathBuf::from("/home/ada/printer-fix.zip"),
            size_bytes: 256 << 20,
            blake3: "00".into(),
        },
    ));
    events.push((
        71_000,
        Event::Ended { reason: "ended".into(), text: "you ended the session for everybody".into() },
    ));
    let mut show = Show::of(events);
    insta::assert_snapshot!("ended", show.draw(80, 20));
    show.scroll = 5;
    insta::assert_snapshot!("moved_back", show.draw(80, 20));
    let outcome = show.board.ended.clone().unwrap();
    insta::assert_snapshot!("summary", show.board.tally.summary(show.now, &outcome));
}

#[test]
fn every_size_is_drawn() {
    let mut events = busy();
    events.push((
        66_500,
        Event::Code { code: "483-920-117 a-b-c".into(), role: Role::Provider, expires_s: 600 },
    ));
    let without = Show::of(events.clone());
    events.push(question(67_000));
    let with = Show::of(events);
    for mut show in [without, with] {
        show.keyboard.paste(Duration::ZERO, "a long line with 狐 in it, longer than most of the widths");
        for width in (0..130).step_by(7).chain([1, 2, 3]) {
            for height in 0..40 {
                show.draw(width, height);
            }
        }
    }
}

#[test]
fn nothing_a_peer_says_is_drawn_raw() {
    let mut events = busy();
    events.push(question(67_000));
    let mut show = Show::of(events);
    show.theme = Theme::new(true);
    let drawn = show.draw(120, 40);
    assert!(!drawn.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{drawn}");
}
