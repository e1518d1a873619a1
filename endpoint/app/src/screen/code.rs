//! The join code, as large as the screen allows, in groups as one reads them aloud.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{LOG_ROWS_MIN, View};
use crate::board::{Code, role_word};
use crate::theme::Ink;

/// A blank row, three of digits, the words, how long; a blank row.
const ROWS_LARGE: u16 = 7;
const COLUMNS_LARGE: u16 = 52;

/// Digits of 3 x 5 dots; each row of a digit is three bits, the left one first.
const DIGITS: [[u8; 5]; 10] = [
    [0b111, 0b101, 0b101, 0b101, 0b111],
    [0b010, 0b110, 0b010, 0b010, 0b111],
    [0b111, 0b001, 0b111, 0b100, 0b111],
    [0b111, 0b001, 0b111, 0b001, 0b111],
    [0b101, 0b101, 0b111, 0b001, 0b001],
    [0b111, 0b100, 0b111, 0b001, 0b111],
    [0b111, 0b100, 0b111, 0b101, 0b111],
    [0b111, 0b001, 0b001, 0b001, 0b001],
    [0b111, 0b101, 0b111, 0b101, 0b111],
    [0b111, 0b101, 0b111, 0b001, 0b111],
];
const HYPHEN: [u8; 5] = [0, 0, 0b111, 0, 0];

pub(super) fn rows(view: &View<'_>, area: Rect) -> u16 {
    let codes = view.board.codes.len() as u16;
    if codes == 0 {
        0
    } else if large(area) {
        ROWS_LARGE + codes - 1
    } else {
        codes.min(area.height.saturating_sub(1))
    }
}

pub(super) fn render(frame: &mut Frame<'_>, view: &View<'_>, area: Rect) {
    let mut lines = Vec::new();
    for (index, code) in view.board.codes.iter().enumerate() {
        // The part that is left for the log was not part of the decision: recognise it by the rows given.
        if index == 0 && area.height >= ROWS_LARGE {
            lines.extend(in_large(view, code));
        } else {
            lines.push(in_a_line(view, code));
        }
    }
    for (line, row) in lines.into_iter().zip(area.rows()) {
        frame.render_widget(line, row);
    }
}

fn large(area: Rect) -> bool {
    area.width >= COLUMNS_LARGE && area.height >= ROWS_LARGE + LOG_ROWS_MIN
}

fn in_large(view: &View<'_>, code: &Code) -> Vec<Line<'static>> {
    let (number, words) = code.text.split_once(' ').unwrap_or((&code.text, ""));
    let style = view.theme.style(Ink::Code);
    let mut lines = vec![Line::default()];
    for row in digits(number) {
        lines.push(Line::from(Span::styled(format!("   {row}"), style)));
    }
    lines.push(Line::from(Span::styled(format!("   {}", words.replace('-', "   ")), style)));
    lines.push(Line::from(Span::styled(
        format!("   join code for one {} · valid for {}", role_word(code.role), left(view.now, code)),
        view.theme.style(Ink::Dim),
    )));
    lines.push(Line::default());
    lines
}

fn in_a_line(view: &View<'_>, code: &Code) -> Line<'static> {
    Line::from(vec![
        Span::styled(code.text.clone(), view.theme.style(Ink::Code)),
        Span::styled(
            format!("  {}, {}", role_word(code.role), left(view.now, code)),
            view.theme.style(Ink::Dim),
        ),
    ])
}

fn left(now: Duration, code: &Code) -> String {
    let s = code.ends_at.saturating_sub(now).as_secs();
    format!("{}:{:02}", s / 60, s % 60)
}

/// Three rows of half blocks, two rows of dots in each.
fn digits(number: &str) -> [String; 3] {
    let mut rows = [const { String::new() }; 3];
    for c in number.chars() {
        let dots = match c.to_digit(10) {
            Some(digit) => DIGITS[digit as usize],
            None => HYPHEN,
        };
        for (index, row) in rows.iter_mut().enumerate() {
            let upper = dots[index * 2];
            let lower = dots.get(index * 2 + 1).copied().unwrap_or(0);
            for bit in [0b100, 0b010, 0b001] {
                row.push(match (upper & bit != 0, lower & bit != 0) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            row.push(' ');
        }
    }
    rows
}
