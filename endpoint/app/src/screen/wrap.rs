//! Breaks text into rows by what it takes on the screen.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Rows of at most `columns` columns, broken at spaces where possible, and within words that are longer than a row.
/// At least one row; `columns` of 0 counts as 1.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut rows = Vec::new();
    let mut row = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let wide = word.width();
        if used > 0 && used + 1 + wide > columns {
            rows.push(std::mem::take(&mut row));
            used = 0;
        } else if used > 0 || !row.is_empty() {
            row.push(' ');
            used += 1;
        }
        if wide <= columns {
            row.push_str(word);
            used += wide;
            continue;
        }
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if used + wide > columns && used > 0 {
                rows.push(std::mem::take(&mut row));
                used = 0;
            }
            row.push(c);
            used += wide;
        }
    }
    rows.push(row);
    rows
}

/// The text cut to `columns`, with an ellipsis if something was cut.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > columns {
            break;
        }
        out.push(c);
        used += wide;
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fit_and_nothing_is_lost() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        for columns in 0..12 {
            let rows = wrap("the quick brünette 狐 jumps over antidisestablishment", columns);
            // A wide character does not fit into one column; everything else keeps within.
            assert!(rows.iter().all(|row| width(row) <= columns.max(2)), "{columns}: {rows:?}");
        }
        assert_eq!(
            (cut("abcdef", 4), cut("abc", 3), cut("abc", 0)),
            ("abc…".into(), "abc".into(), String::new())
        );
    }
}
