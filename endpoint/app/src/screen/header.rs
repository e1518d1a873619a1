//! The top: mesh and session, who is here, what is permitted.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use sealcast_endpoint::event::{Member, State};

use super::{LOG_ROWS_MIN, View, wrap};
use crate::board::role_word;
use crate::theme::{Ink, Theme};

/// Rows for the members; who does not fit is counted.
const MEMBER_ROWS_MAX: usize = 2;
const LABEL: usize = 9;

pub(super) fn rows(view: &View<'_>, area: Rect) -> u16 {
    let wanted = 3 + members(view, area.width).len() as u16;
    if area.height >= wanted + LOG_ROWS_MIN { wanted } else { u16::from(area.height > LOG_ROWS_MIN) }
}

pub(super) fn render(frame: &mut Frame<'_>, view: &View<'_>, area: Rect) {
    let rule = Line::from(Span::styled("─".repeat(usize::from(area.width)), view.theme.style(Ink::Dim)));
    let mut lines = vec![title(view, usize::from(area.width))];
    if area.height > 1 {
        lines.extend(members(view, area.width));
        lines.push(permitted(view));
        lines.push(rule);
    }
    for (line, row) in lines.into_iter().zip(area.rows()) {
        frame.render_widget(line, row);
    }
}

/// Mesh, session, oneself on the left; the state on the right.
fn title(view: &View<'_>, columns: usize) -> Line<'static> {
    let board = view.board;
    let (mark, state, ink) = match board.state {
        None | Some(State::Connecting) => ('○', "connecting", Ink::Dim),
        Some(State::Lobby) => ('○', "proving the code", Ink::Dim),
        Some(State::AwaitingConsent) => ('○', "waiting to be let in", Ink::Warning),
        Some(State::Member) => ('●', "sealed end to end", Ink::Good),
        Some(State::Reconnecting) => ('○', "reconnecting", Ink::Warning),
    };
    let state = match board.ended {
        Some(_) => "○ ended".to_owned(),
        None => format!("{mark} {state}"),
    };
    let mut left = format!("  {}", board.mesh);
    if let Some(session) = board.session {
        left.push_str(&format!(" · session {}", &session.to_string()[..8]));
    }
    left.push_str(&format!(" · {}", board.own_name));
    if let Some((number, role)) = board.me {
        left.push_str(&format!(", {} {number}", role_word(role)));
    }
    let name = "Sealcast";
    let room = columns.saturating_sub(name.len() + wrap::width(&state) + 2);
    let left = wrap::cut(&left, room);
    let gap = columns.saturating_sub(name.len() + wrap::width(&left) + wrap::width(&state));
    Line::from(vec![
        Span::styled(name, view.theme.style(Ink::Title)),
        Span::raw(left),
        Span::raw(" ".repeat(gap)),
        Span::styled(state, view.theme.style(ink)),
    ])
}

/// `Here     ● 1 Anna, provider, leads   ○ 2 Bob, customer`, over at most two rows.
fn members(view: &View<'_>, columns: u16) -> Vec<Line<'static>> {
    let room = usize::from(columns).saturating_sub(LABEL);
    let all = &view.board.members;
    let mut rows: Vec<Vec<Span<'static>>> = vec![vec![label("Here", view.theme)]];
    let mut used = 0;
    if all.is_empty() {
        rows[0].push(Span::styled("nobody yet", view.theme.style(Ink::Dim)));
    }
    for (index, member) in all.iter().enumerate() {
        let text = text(member);
        let wide = wrap::width(&text) + 3;
        let last_row = rows.len() == MEMBER_ROWS_MAX;
        let more = format!("and {} more", all.len() - index);
        let reserve = if index + 1 < all.len() { more.len() } else { 0 };
        if used > 0 && used + wide + if last_row { reserve } else { 0 } > room {
            if last_row {
                rows[MEMBER_ROWS_MAX - 1].push(Span::styled(more, view.theme.style(Ink::Dim)));
                break;
            }
            rows.push(vec![label("", view.theme)]);
            used = 0;
        }
        let ink = if member.present { Ink::Member(member.number) } else { Ink::Dim };
        let row = rows.len() - 1;
        rows[row].push(Span::styled(text, view.theme.style(ink)));
        rows[row].push(Span::raw("   "));
        used += wide;
    }
    rows.into_iter().map(Line::from).collect()
}

fn text(member: &Member) -> String {
    let mark = if member.present { '●' } else { '○' };
    let mut text = format!("{mark} {} {}, {}", member.number, member.name, role_word(member.role));
    if member.leader {
        text.push_str(", leads");
    }
    if member.me {
        text.push_str(", you");
    }
    if !member.present {
        text.push_str(", away");
    }
    text
}

fn permitted(view: &View<'_>) -> Line<'static> {
    let files = if view.board.accept.files {
        "files, received here without asking"
    } else {
        "files, each received here only after your yes"
    };
    Line::from(vec![label("Allowed", view.theme), Span::raw(format!("chat · {files}"))])
}

fn label(word: &'static str, theme: Theme) -> Span<'static> {
    Span::styled(format!("{word:<LABEL$}"), theme.style(Ink::Dim))
}
