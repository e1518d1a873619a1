//! Files on their way: one row each, with a bar, the rate and the time that is left.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use sealcast_endpoint::event::Direction;

use super::{LOG_ROWS_MIN, View, wrap};
use crate::board::{Stage, Transfer, bytes};
use crate::theme::Ink;

/// Rows for transfers; when there are more, the last row counts them.
const ROWS_MAX: u16 = 4;
const BAR_COLUMNS_MAX: usize = 24;

pub(super) fn rows(view: &View<'_>, area: Rect) -> u16 {
    let wanted = (view.board.transfers.len() as u16).min(ROWS_MAX);
    wanted.min(area.height.saturating_sub(LOG_ROWS_MIN).max(u16::from(area.height > 1)))
}

pub(super) fn render(frame: &mut Frame<'_>, view: &View<'_>, area: Rect) {
    // Moving ones first: the finished are only there to be noticed.
    let mut all: Vec<&Transfer> = view.board.transfers.iter().collect();
    all.sort_by_key(|transfer| match transfer.stage {
        Stage::Moving => 0,
        Stage::Offered => 1,
        Stage::Done | Stage::Failed => 2,
    });
    let rows = usize::from(area.height);
    let beyond = all.len().saturating_sub(rows);
    for (index, row) in area.rows().enumerate() {
        if beyond > 0 && index + 1 == rows {
            let text = format!("  and {} more transfers", beyond + 1);
            frame.render_widget(Span::styled(text, view.theme.style(Ink::Dim)), row);
        } else if let Some(transfer) = all.get(index) {
            frame.render_widget(line(view, transfer, usize::from(area.width)), row);
        }
    }
}

fn line(view: &View<'_>, transfer: &Transfer, columns: usize) -> Line<'static> {
    let (arrow, ink) = match (transfer.stage, transfer.direction) {
        (Stage::Done, _) => ("✓", Ink::Good),
        (Stage::Failed, _) => ("!", Ink::Warning),
        (_, Direction::Sending) => ("↑", Ink::Bar),
        (_, Direction::Receiving) => ("↓", Ink::Bar),
    };
    let percent = match transfer.size_bytes {
        0 => 100,
        size => u128::from(transfer.done_bytes) * 100 / u128::from(size),
    };
    let note = match transfer.stage {
        Stage::Offered => "waiting for a yes".to_owned(),
        Stage::Done => bytes(transfer.size_bytes),
        Stage::Failed => "did not arrive".to_owned(),
        Stage::Moving => moving(transfer, view.now),
    };
    let id = format!("{}:{}", transfer.id.from, transfer.id.serial);
    // The bar shrinks first, then the name; figures stay.
    let fixed = 2 + 1 + 6 + 2 + 26 + 1 + id.len();
    let bar_columns = columns.saturating_sub(fixed + 16).min(BAR_COLUMNS_MAX);
    let name_columns = columns.saturating_sub(fixed + bar_columns).clamp(4, 40);
    let name = wrap::cut(&transfer.file, name_columns);
    let pad = name_columns.saturating_sub(wrap::width(&name));
    let full = (bar_columns as u128 * percent / 100) as usize;
    Line::from(vec![
        Span::styled(format!("{arrow} "), view.theme.style(ink)),
        Span::raw(format!("{name}{} ", " ".repeat(pad))),
        Span::styled("█".repeat(full), view.theme.style(ink)),
        Span::styled("░".repeat(bar_columns - full), view.theme.style(Ink::Dim)),
        Span::raw(format!(" {percent:>3} %  {note:<26} ")),
        Span::styled(id, view.theme.style(Ink::Dim)),
    ])
}

fn moving(transfer: &Transfer, now: Duration) -> String {
    let Some(rate) = transfer.rate.bytes_per_s(now) else { return bytes(transfer.size_bytes) };
    match transfer.rate.left(now, transfer.size_bytes) {
        Some(left) => format!("{}/s, {} left", bytes(rate), clock(left)),
        None => format!("{}/s", bytes(rate)),
    }
}

fn clock(span: Duration) -> String {
    let s = span.as_secs();
    match s / 3_600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}
