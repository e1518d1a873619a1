//! Results as a table, JSON or CSV. Knows no noun.

use std::io::Write;

use comfy_table::{ContentArrangement, Table as TextTable, presets};
use serde_json::Value;

use crate::cli::Format;
use crate::failure::Failure;

/// Rows under named columns, and the same as JSON.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    json: Vec<Value>,
}

#[derive(Debug)]
struct Column {
    name: &'static str,
    wide: bool,
}

impl Table {
    /// `columns` are always shown, `wide` ones by `-o wide` and in CSV.
    pub(crate) fn new(columns: &[&'static str], wide: &[&'static str]) -> Table {
        let column = |wide: bool| move |name: &&'static str| Column { name, wide };
        Table {
            columns: columns.iter().map(column(false)).chain(wide.iter().map(column(true))).collect(),
            rows: Vec::new(),
            json: Vec::new(),
        }
    }

    /// One row: a cell for each column in the order of [`Table::new`], and its JSON.
    pub(crate) fn push(&mut self, cells: Vec<String>, json: Value) {
        assert_eq!(cells.len(), self.columns.len(), "a row of another table");
        self.rows.push(cells);
        self.json.push(json);
    }

    /// Writes a list: JSON is an array.
    pub(crate) fn print(self, format: Format) -> Result<(), Failure> {
        match format {
            Format::Json => print_json(&Value::Array(self.json)),
            _ => self.print_text(format),
        }
    }

    /// Writes a single thing: JSON is an object.
    pub(crate) fn print_one(mut self, format: Format) -> Result<(), Failure> {
        match format {
            Format::Json => print_json(&self.json.pop().unwrap_or(Value::Null)),
            _ => self.print_text(format),
        }
    }

    /// Writes what streams: a JSON object or a line a record, the header once.
    pub(crate) fn print_next(self, format: Format, first: bool) -> Result<(), Failure> {
        match format {
            Format::Json => self.json.iter().try_for_each(|record| write_line(&record.to_string())),
            Format::Csv => self.print_csv(first),
            // Columns of a stream cannot be aligned by what comes later.
            _ => self.rows.iter().try_for_each(|row| {
                let shown = row
                    .iter()
                    .zip(&self.columns)
                    .filter(|(_, column)| format == Format::Wide || !column.wide);
                let cells: Vec<&str> =
                    shown.map(|(cell, _)| cell.as_str()).filter(|cell| !cell.is_empty()).collect();
                write_line(&printable(&cells.join("  ")))
            }),
        }
    }

    fn print_text(self, format: Format) -> Result<(), Failure> {
        match format {
            Format::Csv => self.print_csv(true),
            _ => {
                let shown: Vec<usize> = (0..self.columns.len())
                    .filter(|&index| format == Format::Wide || !self.columns[index].wide)
                    .collect();
                let mut table = TextTable::new();
                table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
                table.set_header(shown.iter().map(|&index| self.columns[index].name.to_uppercase()));
                for row in &self.rows {
                    table.add_row(shown.iter().map(|&index| printable(&row[index])));
                }
                table.to_string().lines().try_for_each(|line| write_line(line.trim()))
            }
        }
    }

    fn print_csv(&self, header: bool) -> Result<(), Failure> {
        if header {
            let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
            write_line(&names.join(","))?;
        }
        self.rows.iter().try_for_each(|row| {
            let cells: Vec<String> = row.iter().map(|cell| csv_cell(cell)).collect();
            write_line(&cells.join(","))
        })
    }
}

/// One line to stdout; a reader that went away ends the program quietly.
pub(crate) fn write_line(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout().lock(), "{line}").map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::broken_pipe(),
        _ => Failure::other(format!("the result could not be written: {error}")),
    })
}

fn print_json(value: &Value) -> Result<(), Failure> {
    write_line(&serde_json::to_string_pretty(value).expect("plain data"))
}

/// What came over the network must not drive a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// RFC 4180; a leading sign that a spreadsheet would take for a formula is quoted by an apostrophe.
fn csv_cell(cell: &str) -> String {
    let guarded = if cell.starts_with(['=', '+', '-', '@']) && cell.len() > 1 {
        format!("'{cell}")
    } else {
        cell.into()
    };
    if guarded.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

/// A time in UTC, to the second; `-` for 0.
pub(crate) fn time(unix_ms: u64) -> String {
    match i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        Some(time) if unix_ms > 0 => time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        _ => "-".into(),
    }
}

/// A number of bytes with three digits and a binary unit.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut scaled = count as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1024.0 && unit < UNITS.len() - 1 {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// A span in its two largest units.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        assert_eq!(csv_cell("plain"), "plain");
        assert_eq!(csv_cell("a,b"), "\"a,b\"");
        assert_eq!(csv_cell("say \"hi\""), "\"say \"\"hi\"\"\"");
        assert_eq!(csv_cell("=1+1"), "'=1+1");
        assert_eq!(csv_cell("-"), "-");
    }

    #[test]
    fn units_are_for_people() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(5 * 1024 * 1024 + 512 * 1024), "5.5 MiB");
        assert_eq!(span(59_999), "59s");
        assert_eq!(span(3_600_000), "1h 0m");
        assert_eq!(time(0), "-");
        assert_eq!(time(1_700_000_000_000), "2023-11-14 22:13:20Z");
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
    }
}
