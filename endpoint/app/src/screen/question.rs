//! The question in front, in a frame of its own above the line. It is drawn at every size: a question that is counted
//! down but cannot be read would be a no that nobody gave.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear};

use super::{View, wrap};
use crate::board::question_text;
use crate::theme::Ink;

const FRAME: u16 = 2;

pub(super) fn rows(view: &View<'_>, area: Rect) -> u16 {
    if view.board.question().is_none() {
        return 0;
    }
    let wanted = lines(view, area.width.saturating_sub(4)).len() as u16;
    if framed(area.height) { wanted + FRAME } else { wanted.min(2) }
}

pub(super) fn render(frame: &mut Frame<'_>, view: &View<'_>, area: Rect) {
    if area.is_empty() || view.board.question().is_none() {
        return;
    }
    frame.render_widget(Clear, area);
    let style = view.theme.style(Ink::Question);
    let mut inner = area;
    if area.height > FRAME + 1 {
        let waiting = view.board.asked.len();
        let title = if waiting > 1 { format!(" Question 1 of {waiting} ") } else { " Question ".to_owned() };
        let block = Block::bordered().border_type(BorderType::Double).title(title).border_style(style);
        inner = block.inner(area);
        inner.x += 1;
        inner.width = inner.width.saturating_sub(2);
        frame.render_widget(block, area);
    }
    let mut lines = lines(view, inner.width);
    if lines.len() > usize::from(inner.height) {
        // Too small for all: the sentence as far as it goes, and the keys.
        let keys = lines.pop();
        lines.truncate(usize::from(inner.height).saturating_sub(1).max(usize::from(inner.height == 1)));
        if inner.height > 1 {
            lines.extend(keys);
        }
    }
    for (line, row) in lines.into_iter().zip(inner.rows()) {
        frame.render_widget(line, row);
    }
}

fn framed(height: u16) -> bool {
    height >= 10
}

fn lines(view: &View<'_>, columns: u16) -> Vec<Line<'static>> {
    let Some(asked) = view.board.question() else { return Vec::new() };
    let columns = usize::from(columns);
    let (question, meaning) = question_text(&asked.question);
    let left_s = asked.ends_at.saturating_sub(view.now).as_secs();
    let mut lines: Vec<Line<'static>> = wrap::wrap(&question, columns)
        .into_iter()
        .map(|row| Line::from(Span::styled(row, view.theme.style(Ink::Title))))
        .collect();
    lines.extend(
        wrap::wrap(meaning, columns)
            .into_iter()
            .map(|row| Line::from(Span::styled(row, view.theme.style(Ink::Dim)))),
    );
    let keys = if view.keyboard.armed(view.now).is_some() {
        Span::styled("[y]es   [n]o", view.theme.style(Ink::Question))
    } else {
        Span::styled("what you type still goes into the line", view.theme.style(Ink::Dim))
    };
    lines.push(Line::from(vec![keys, Span::raw(format!("   no answer in {left_s} s is a no"))]));
    lines
}
