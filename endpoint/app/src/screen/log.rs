//! The log: chat and happenings, the newest at the bottom.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{View, wrap};
use crate::board::{Entry, Tone};
use crate::theme::{Ink, Theme};

pub(super) fn render(frame: &mut Frame<'_>, view: &View<'_>, area: Rect) {
    if area.is_empty() {
        return;
    }
    let rows = usize::from(area.height);
    let wanted = rows + view.scroll;
    // From the newest back, no further than what is needed.
    let mut lines: Vec<Line<'static>> = Vec::with_capacity(wanted);
    for entry in view.board.log.iter().rev() {
        lines.extend(entry_lines(entry, usize::from(area.width), view.theme).into_iter().rev());
        if lines.len() >= wanted {
            break;
        }
    }
    let scroll = view.scroll.min(lines.len().saturating_sub(rows));
    let shown = lines.into_iter().skip(scroll).take(rows);
    for (line, row) in shown.zip(area.rows().rev()) {
        frame.render_widget(line, row);
    }
    if scroll > 0 {
        let note = format!(" {scroll} newer rows below: Page Down ");
        let row = Rect { y: area.bottom() - 1, height: 1, ..area };
        frame.render_widget(
            Line::from(Span::styled(note, view.theme.style(Ink::Warning))).right_aligned(),
            row,
        );
    }
}

/// Rows of the whole log.
pub(super) fn rows(view: &View<'_>, columns: u16) -> usize {
    view.board.log.iter().map(|entry| entry_lines(entry, usize::from(columns), view.theme).len()).sum()
}

/// Rows of an entry; what follows the first is indented to the text.
fn entry_lines(entry: &Entry, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let (who, who_ink, text_ink) = match entry.tone {
        Tone::Chat(number) => (format!("{}: ", entry.who), Ink::Member(number), Ink::Plain),
        Tone::Happening => ("· ".to_owned(), Ink::Dim, Ink::Dim),
        Tone::Good => ("✓ ".to_owned(), Ink::Good, Ink::Plain),
        Tone::Warning => ("! ".to_owned(), Ink::Warning, Ink::Plain),
        Tone::Reply => ("  ".to_owned(), Ink::Plain, Ink::Plain),
    };
    let clock = if columns >= 40 { format!("{} ", entry.clock) } else { String::new() };
    let indent = wrap::width(&clock) + if entry.who.is_empty() { 2 } else { 0 };
    // A name takes part in the breaking of the first row, so that long names do not squeeze the text.
    let first = match entry.tone {
        Tone::Chat(_) => format!("{who}{}", entry.text),
        _ => entry.text.clone(),
    };
    let rows = wrap::wrap(&first, columns.saturating_sub(indent).max(1));
    rows.into_iter()
        .enumerate()
        .map(|(index, row)| {
            let style = theme.style(text_ink);
            if index > 0 {
                return Line::from(vec![Span::raw(" ".repeat(indent)), Span::styled(row, style)]);
            }
            let clock = Span::styled(clock.clone(), theme.style(Ink::Dim));
            match (entry.tone, row.split_at_checked(who.len())) {
                (Tone::Chat(_), Some((name, text))) => Line::from(vec![
                    clock,
                    Span::styled(name.to_owned(), theme.style(who_ink)),
                    Span::styled(text.to_owned(), style),
                ]),
                (Tone::Chat(_), None) => Line::from(vec![clock, Span::styled(row, theme.style(who_ink))]),
                _ => Line::from(vec![
                    clock,
                    Span::styled(who.clone(), theme.style(who_ink)),
                    Span::styled(row, style),
                ]),
            }
        })
        .collect()
}
