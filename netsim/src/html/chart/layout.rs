//! Where the parts of a chart stand: margins, rows, and labels that do not hide each other.
//!
//! Knows the width of no font: a character is taken to be as wide as that of wide fonts, so that pages are the same
//! everywhere.

use std::ops::Range;

use plotters::style::text_anchor::HPos;

use super::{Chart, Ink, Layer, number};

/// What a character of text takes at most, on average.
const CHARACTER: f64 = 7.2;
/// From one row of labels to the next.
const ROW: i32 = 16;
/// Rows of labels above a chart.
const LABEL_ROWS_MAX: usize = 4;

/// Where things stand, in units.
pub(super) struct Layout {
    pub(super) left: i32,
    pub(super) right: i32,
    pub(super) top: i32,
    pub(super) bottom: i32,
    /// Of the plot itself.
    pub(super) inner: (i32, i32),
    /// Labels above the chart: where, and in which row.
    uprights: Vec<Placed>,
}

/// A label above the chart.
struct Placed {
    text: String,
    ink: Ink,
    x: i32,
    anchor: HPos,
    row: usize,
}

/// Text that belongs to no axis.
pub(super) struct Label {
    pub(super) text: String,
    pub(super) ink: Ink,
    pub(super) anchor: HPos,
    pub(super) at: (i32, i32),
}

impl Layout {
    pub(super) fn of(chart: &Chart, width: u32) -> Layout {
        let width = width as i32;
        let names = widest(chart.rows.iter().map(|row| row.name.as_str()));
        let values = widest(chart.rows.iter().map(|row| row.value.as_str()));
        let ends = widest(chart.layers.iter().filter_map(Layer::end_label).map(|(label, _, _)| label));
        let top_number = number(chart.y.range.end * 0.77);
        let left = if chart.rows.is_empty() { units(&top_number).max(24) + 14 } else { names + 10 };
        let right = (values.max(ends) + 10).max(16);
        let inner_width = width - left - right;
        let uprights = place(chart, left, inner_width, width);
        let rows = uprights.iter().map(|placed| placed.row as i32 + 1).max().unwrap_or(0);
        let title = if chart.y.title.is_empty() { 6 } else { 22 };
        let (top, bottom) = (title + rows * ROW, if chart.x.title.is_empty() { 26 } else { 42 });
        let inner = (inner_width, chart.height as i32 - top - bottom);
        Layout { left, right, top, bottom, inner, uprights }
    }

    /// As many as have room side by side.
    pub(super) fn ticks(&self) -> usize {
        (self.inner.0 / 60).clamp(2, 12) as usize
    }

    fn y_of(&self, chart: &Chart, y: f64) -> i32 {
        let range = &chart.y.range;
        self.top + ((range.end - y) / (range.end - range.start) * f64::from(self.inner.1)) as i32
    }

    pub(super) fn labels(&self, chart: &Chart) -> Vec<Label> {
        let mut labels = Vec::new();
        let mut add = |text: &str, ink, anchor, at| {
            if !text.is_empty() {
                labels.push(Label { text: text.to_owned(), ink, anchor, at });
            }
        };
        let end = self.left + self.inner.0;
        add(&chart.y.title, Ink::Faint, HPos::Left, (2, 9));
        let under = self.top + self.inner.1 + 33;
        add(&chart.x.title, Ink::Faint, HPos::Center, (self.left + self.inner.0 / 2, under));
        for placed in &self.uprights {
            let y = self.top - 9 - ROW * placed.row as i32;
            add(&placed.text, placed.ink, placed.anchor, (placed.x, y));
        }
        for (index, row) in chart.rows.iter().enumerate() {
            let y = self.y_of(chart, -0.5 - index as f64);
            add(&row.name, Ink::Text, HPos::Right, (self.left - 8, y));
            add(&row.value, Ink::Text, HPos::Left, (end + 8, y));
        }
        let ends: Vec<(&str, Ink, f64)> = chart.layers.iter().filter_map(Layer::end_label).collect();
        let wanted: Vec<i32> = ends.iter().map(|(_, _, y)| self.y_of(chart, *y)).collect();
        let given = spread(&wanted, ROW - 2, self.top, self.top + self.inner.1);
        for ((text, ink, _), y) in ends.into_iter().zip(given) {
            add(text, ink, HPos::Left, (end + 6, y));
        }
        labels
    }
}

impl Layer {
    /// What stands behind the chart, in which ink and how high.
    fn end_label(&self) -> Option<(&str, Ink, f64)> {
        match self {
            Layer::Line { pieces, ink, label: Some(label), .. } => {
                let (_, y) = pieces.iter().rev().find_map(|piece| piece.last())?;
                Some((label, *ink, *y))
            }
            Layer::Level { y, ink, label } => Some((label, *ink, *y)),
            _ => None,
        }
    }
}

/// Gives the labels of upright lines their rows, the first line's first; what has no room is left to the number before
/// its first space, and to none.
fn place(chart: &Chart, left: i32, inner: i32, width: i32) -> Vec<Placed> {
    let range = &chart.x.range;
    let mut taken: Vec<Vec<Range<i32>>> = vec![Vec::new(); LABEL_ROWS_MAX];
    let mut placed = Vec::new();
    for layer in &chart.layers {
        let Layer::Upright { x, ink, label } = layer else { continue };
        let at = left + ((x - range.start) / (range.end - range.start) * f64::from(inner)) as i32;
        let short = label.split(' ').next().unwrap_or("");
        for text in [label.as_str(), short] {
            let long = units(text);
            let (anchor, x, span) = if at + long <= width {
                (HPos::Left, at, at..at + long + 8)
            } else {
                (HPos::Right, at, at - long - 8..at)
            };
            let free = |row: &Vec<Range<i32>>| {
                row.iter().all(|other| span.end <= other.start || other.end <= span.start)
            };
            let row = taken.iter().position(free).filter(|_| span.start >= 0 && !text.is_empty());
            if let Some(row) = row {
                taken[row].push(span);
                placed.push(Placed { text: text.to_owned(), ink: *ink, x, anchor, row });
                break;
            }
        }
    }
    placed
}

/// Moves labels apart, in their order, as little as it takes from the top; all stay within.
fn spread(wanted: &[i32], apart: i32, low: i32, high: i32) -> Vec<i32> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|at| (wanted[*at], *at));
    let mut given = wanted.to_vec();
    let mut next = low;
    for at in &order {
        given[*at] = wanted[*at].max(next);
        next = given[*at] + apart;
    }
    let mut last = high;
    for at in order.iter().rev() {
        given[*at] = given[*at].min(last);
        last = given[*at] - apart;
    }
    given
}

fn widest<'a>(texts: impl Iterator<Item = &'a str>) -> i32 {
    texts.map(units).max().unwrap_or(0)
}

fn units(text: &str) -> i32 {
    (text.chars().count() as f64 * CHARACTER) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::chart::tests::chart;

    #[test]
    fn labels_are_apart_and_within() {
        assert_eq!(spread(&[50, 52, 51], 14, 0, 100), [50, 78, 64]);
        assert_eq!(spread(&[98, 99], 14, 0, 100), [86, 100]);
        assert_eq!(spread(&[-5, -5], 14, 0, 100), [0, 14]);
    }

    /// Labels of lines that are close get rows of their own, and numbers when there is no room.
    #[test]
    fn uprights_are_told_apart() {
        let upright =
            |number: usize| Layer::Upright { x: 5.0, ink: Ink::Fault, label: format!("{number} kill eu") };
        let rows = |count: usize| {
            let chart = chart((0..count).map(upright).collect());
            let placed = Layout::of(&chart, 1_000).uprights;
            placed.iter().map(|placed| placed.row).collect::<Vec<_>>()
        };
        assert_eq!(rows(3), [0, 1, 2]);
        assert_eq!(rows(6).len(), LABEL_ROWS_MAX, "what has no room is in the table alone");
    }
}
