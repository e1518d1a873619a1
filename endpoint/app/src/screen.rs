//! Draws the board. Owns the layout and nothing else: what is shown is the board's, what keys do is the keyboard's.
//! At any size it draws something useful and never fails; what matters most goes last:
//!
//! ```text
//! who and what (header, 3)          gone first
//! code (6, or 1)
//! log (the rest)
//! transfers (up to 4)
//! question (6, over the log)        never gone
//! line (1)
//! help (1)
//! ```

mod code;
mod header;
mod log;
mod question;
mod transfers;
mod wrap;

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use sealcast_endpoint::Role;
use unicode_width::UnicodeWidthChar;

use crate::board::Board;
use crate::keys::Keyboard;
use crate::theme::{Ink, Theme};

/// What is drawn.
pub(crate) struct View<'a> {
    pub(crate) board: &'a Board,
    pub(crate) keyboard: &'a Keyboard,
    pub(crate) theme: Theme,
    /// Since the program started.
    pub(crate) now: Duration,
    /// How many rows the log is moved back.
    pub(crate) scroll: usize,
    /// Whether the user asked to leave.
    pub(crate) leaving: bool,
}

/// Rows the log keeps before a part that can be shorter gets its rows.
const LOG_ROWS_MIN: u16 = 4;

/// Draws everything.
pub(crate) fn render(frame: &mut Frame<'_>, view: &View<'_>) {
    let mut rest = frame.area();
    let help = take_bottom(&mut rest, |rest| u16::from(rest.height >= 3));
    let line = take_bottom(&mut rest, |_| 1);
    let question = take_bottom(&mut rest, |rest| question::rows(view, rest));
    let header = take_top(&mut rest, |rest| header::rows(view, rest));
    let code = take_top(&mut rest, |rest| code::rows(view, rest));
    let transfers = take_bottom(&mut rest, |rest| transfers::rows(view, rest));

    header::render(frame, view, header);
    code::render(frame, view, code);
    log::render(frame, view, rest);
    transfers::render(frame, view, transfers);
    question::render(frame, view, question);
    render_line(frame, view, line);
    render_help(frame, view, help);
}

/// Rows of the log at this size, for scrolling by pages.
pub(crate) fn page_rows(view: &View<'_>, area: Rect) -> usize {
    let used = header::rows(view, area) + code::rows(view, area) + 3;
    usize::from(area.height.saturating_sub(used).max(2))
}

/// Rows that the whole log takes at this width, for the end of scrolling.
pub(crate) fn log_rows(view: &View<'_>, columns: u16) -> usize {
    log::rows(view, columns)
}

fn take_top(rest: &mut Rect, rows: impl FnOnce(Rect) -> u16) -> Rect {
    let rows = rows(*rest).min(rest.height);
    let taken = Rect { height: rows, ..*rest };
    rest.y += rows;
    rest.height -= rows;
    taken
}

fn take_bottom(rest: &mut Rect, rows: impl FnOnce(Rect) -> u16) -> Rect {
    let rows = rows(*rest).min(rest.height);
    rest.height -= rows;
    Rect { y: rest.y + rest.height, height: rows, ..*rest }
}

/// The line being typed, moved so that the cursor stays in sight.
fn render_line(frame: &mut Frame<'_>, view: &View<'_>, area: Rect) {
    const MARK: &str = "> ";
    if area.is_empty() {
        return;
    }
    let (text, cursor) = view.keyboard.line();
    let room = usize::from(area.width).saturating_sub(MARK.len() + 1);
    let widths: Vec<usize> = text.chars().map(|c| c.width().unwrap_or(0)).collect();
    let mut start = 0;
    let mut before: usize = widths[..cursor].iter().sum();
    while before > room && start < cursor {
        before -= widths[start];
        start += 1;
    }
    let shown: String = text.chars().skip(start).collect();
    let dimmed = view.keyboard.armed(view.now).is_some();
    let ink = if dimmed { Ink::Dim } else { Ink::Plain };
    let spans =
        vec![Span::styled(MARK, view.theme.style(Ink::Dim)), Span::styled(shown, view.theme.style(ink))];
    frame.render_widget(Line::from(spans), area);
    if !dimmed {
        let column = u16::try_from(MARK.len() + before).unwrap_or(u16::MAX);
        frame.set_cursor_position(Position::new(area.x.saturating_add(column).min(area.right() - 1), area.y));
    }
}

/// The commands that make sense now, as many as fit.
fn render_help(frame: &mut Frame<'_>, view: &View<'_>, area: Rect) {
    let items: &[&str] = if view.leaving {
        &["leaving…", "Ctrl-C stops at once"]
    } else if view.board.question().is_some() {
        &["y yes", "n no", "Page Up/Down log", "Ctrl-C leaves"]
    } else {
        match view.board.me {
            Some((_, Role::Provider)) => {
                &["/send PATH", "/invite", "/who", "/leave", "/help", "/remove N", "/end", "Ctrl-C leaves"]
            }
            _ => &["/send PATH", "/who", "/leave", "/help", "Ctrl-C leaves"],
        }
    };
    let mut text = String::new();
    for item in items {
        let gap = if text.is_empty() { "" } else { "  ·  " };
        if wrap::width(&text) + wrap::width(gap) + wrap::width(item) > usize::from(area.width) {
            break;
        }
        text.push_str(gap);
        text.push_str(item);
    }
    frame.render_widget(Span::styled(text, view.theme.style(Ink::Dim)), area);
}

#[cfg(test)]
#[path = "screen/tests.rs"]
mod tests;
