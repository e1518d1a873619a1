//! The session on a terminal: reads keys, feeds board and keyboard, draws. Owns the terminal's mode and gives it back
//! in every case: at the end, on an error, on a panic, on a signal.
//!
//! ```text
//! session --events--> Board --.
//! terminal --keys--> Keyboard +--> screen::render, at most FRAMES_PER_S
//! signals, ticks -------------'
//! ```

use std::collections::VecDeque;
use std::io::{self, Stdout, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste, Event as Input, EventStream};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, SetTitle, disable_raw_mode, enable_raw_mode,
};
use crossterm::{cursor, execute};
use futures::StreamExt;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use sealcast_endpoint::Command;
use tokio::sync::mpsc;

use crate::board::{Board, Moment};
use crate::exit::{Failure, Outcome};
use crate::keys::{Action, Keyboard};
use crate::link::Link;
use crate::request::{self, HELP, Request};
use crate::screen::{self, View};
use crate::stop::LEAVE_MAX;
use crate::theme::Theme;

/// How often is drawn at most; a transfer's events would draw more often than one can see.
const FRAMES_PER_S: u32 = 20;
/// How often countdowns and rates are drawn without any event.
const TICK: Duration = Duration::from_millis(250);
/// Commands that wait for a busy session; what is typed beyond is refused.
const PENDING_MAX: usize = 64;

/// Runs the session to its end, and says what is to stay on the screen.
pub(crate) async fn run(
    link: Link,
    board: Board,
    stop: mpsc::Receiver<()>,
) -> Result<(Outcome, String), Failure> {
    let screen = Screen::open().map_err(|error| {
        Failure::other(format!("the terminal cannot be used: {error}. Use --json to go on without it"))
    })?;
    let mut interface = Interface {
        board,
        keyboard: Keyboard::default(),
        theme: Theme::from_environment(),
        started: Instant::now(),
        scroll: 0,
        leave_by: None,
        pending: VecDeque::new(),
    };
    let outcome = interface.run(link, stop, screen).await;
    let now = interface.started.elapsed();
    outcome.map(|outcome| {
        let summary = interface.board.tally.summary(now, &outcome);
        (outcome, summary)
    })
}

struct Interface {
    board: Board,
    keyboard: Keyboard,
    theme: Theme,
    started: Instant,
    /// Rows the log is moved back.
    scroll: usize,
    /// Set when the user asked to leave.
    leave_by: Option<Instant>,
    pending: VecDeque<Command>,
}

impl Interface {
    async fn run(
        &mut self,
        link: Link,
        mut stop: mpsc::Receiver<()>,
        mut screen: Screen,
    ) -> Result<Outcome, Failure> {
        let Link { mut events, commands } = link;
        let mut keys = EventStream::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut drawn_at: Option<Instant> = None;
        let mut dirty = true;
        loop {
            let due = drawn_at.map_or(Duration::ZERO, |at| {
                (Duration::from_secs(1) / FRAMES_PER_S).saturating_sub(at.elapsed())
            });
            if screen.panicked.load(Ordering::SeqCst) {
                return Err(Failure::other(
                    "this is a bug of ours, please report it: the message above says where",
                ));
            }
            if dirty && due.is_zero() {
                self.draw(&mut screen)
                    .map_err(|error| Failure::other(format!("the terminal is gone: {error}")))?;
                drawn_at = Some(Instant::now());
                dirty = false;
            }
            tokio::select! {
                event = events.recv() => {
                    let Some(event) = event else {
                        return Ok(self.board.ended.clone().unwrap_or_else(Outcome::lost));
                    };
                    let asked = self.board.asked.len();
                    self.board.apply(&self.moment(), &event);
                    if self.board.asked.len() > asked {
                        screen.bell();
                    }
                }
                input = keys.next() => match input {
                    Some(Ok(input)) => {
                        if let Some(outcome) = self.input(input, &mut screen) {
                            return Ok(outcome);
                        }
                    }
                    Some(Err(error)) => return Err(Failure::other(format!("the terminal is gone: {error}"))),
                    None => return Err(Failure::other("the terminal is gone")),
                },
                permit = commands.reserve(), if !self.pending.is_empty() => {
                    match (permit, self.pending.pop_front()) {
                        (Ok(permit), Some(command)) => permit.send(command),
                        _ => self.pending.clear(),
                    }
                }
                Some(()) = stop.recv() => {
                    if let Some(outcome) = self.interrupt() {
                        return Ok(outcome);
                    }
                }
                _ = tick.tick() => {
                    self.board.tidy(self.started.elapsed());
                    if self.leave_by.is_some_and(|by| Instant::now() >= by) {
                        return Ok(Outcome::interrupted());
                    }
                }
                () = tokio::time::sleep(due), if dirty => continue,
            }
            dirty = true;
        }
    }

    fn draw(&mut self, screen: &mut Screen) -> io::Result<()> {
        let now = self.started.elapsed();
        let view = View {
            board: &self.board,
            keyboard: &self.keyboard,
            theme: self.theme,
            now,
            scroll: self.scroll,
            leaving: self.leave_by.is_some(),
        };
        screen.terminal.draw(|frame| screen::render(frame, &view))?;
        self.keyboard.drawn(now, self.board.question().map(|asked| asked.prompt));
        Ok(())
    }

    fn input(&mut self, input: Input, screen: &mut Screen) -> Option<Outcome> {
        let now = self.started.elapsed();
        match input {
            Input::Key(key) => match self.keyboard.key(now, key) {
                Action::None => {}
                Action::Line(line) => self.entered(&line),
                Action::Answer(prompt, allow) => self.ask(Command::Answer { prompt, allow }),
                Action::Interrupt => return self.interrupt(),
                Action::Scroll(pages) => self.scroll_by(pages, screen),
                // What another program wrote over the screen is drawn away.
                Action::Redraw => drop(screen.terminal.clear()),
            },
            Input::Paste(text) => self.keyboard.paste(now, &text),
            _ => {}
        }
        None
    }

    fn entered(&mut self, line: &str) {
        self.scroll = 0;
        let moment = self.moment();
        match request::parse(line) {
            Ok(Request::Command(command)) => {
                // An end may be refused to whom it is not given; leaving never is.
                if command == Command::Leave {
                    self.leave_by.get_or_insert(Instant::now() + LEAVE_MAX);
                }
                self.ask(command);
            }
            Ok(Request::Who) => {
                for line in self.board.who() {
                    self.board.reply(&moment, line);
                }
            }
            Ok(Request::Help) => {
                for (usage, meaning) in HELP {
                    self.board.reply(&moment, format!("{usage}: {meaning}"));
                }
            }
            Ok(Request::Nothing) => {}
            Err(reason) => self.board.refuse(&moment, reason),
        }
    }

    fn ask(&mut self, command: Command) {
        if self.pending.len() < PENDING_MAX {
            self.pending.push_back(command);
        } else {
            let moment = self.moment();
            self.board.refuse(&moment, "the session is busy: that was not done. Try it again in a moment");
        }
    }

    /// The first time politely, the second time at once.
    fn interrupt(&mut self) -> Option<Outcome> {
        if self.leave_by.is_some() {
            return Some(Outcome::interrupted());
        }
        self.leave_by = Some(Instant::now() + LEAVE_MAX);
        self.pending.push_front(Command::Leave);
        None
    }

    fn scroll_by(&mut self, pages: i32, screen: &mut Screen) {
        let Ok(size) = screen.terminal.size() else { return };
        let view = View {
            board: &self.board,
            keyboard: &self.keyboard,
            theme: self.theme,
            now: self.started.elapsed(),
            scroll: self.scroll,
            leaving: false,
        };
        let page = screen::page_rows(&view, ratatui::layout::Rect::new(0, 0, size.width, size.height));
        let most = screen::log_rows(&view, size.width).saturating_sub(1);
        self.scroll =
            if pages > 0 { (self.scroll + page).min(most) } else { self.scroll.saturating_sub(page) };
    }

    fn moment(&self) -> Moment {
        Moment { elapsed: self.started.elapsed(), clock: jiff::Zoned::now().strftime("%H:%M").to_string() }
    }
}

/// The terminal in its special mode, given back when dropped.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Set by a panic of any thread: the terminal was given back for its message, and is not drawn on any more.
    panicked: Arc<AtomicBool>,
}

impl Screen {
    fn open() -> io::Result<Screen> {
        // A panic's message has to appear on the normal screen, whichever thread it comes from.
        let before = std::panic::take_hook();
        let panicked = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&panicked);
        std::panic::set_hook(Box::new(move |panic| {
            if !noted.swap(true, Ordering::SeqCst) {
                give_back();
            }
            before(panic);
        }));
        enable_raw_mode()?;
        let opened = execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, SetTitle("Sealcast"))
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match opened {
            Ok(terminal) => Ok(Screen { terminal, panicked }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Somebody may be looking elsewhere when a question comes.
    fn bell(&mut self) {
        let mut out = io::stdout();
        if out.write_all(b"\x07").and_then(|()| out.flush()).is_err() {
            // The next drawing will tell.
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Once only: leaving the alternate screen twice would put the cursor over the panic's message.
        if !self.panicked.load(Ordering::SeqCst) {
            give_back();
        }
    }
}

/// Undoes everything that `Screen::open` did.
fn give_back() {
    // There is nothing left to do about a terminal that cannot be given back.
    let _ = execute!(io::stdout(), DisableBracketedPaste, LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}
