//! Tables for people and for programs, and pages with plots.

pub mod effect;
pub mod page;
pub mod plot;

use std::fmt::Write;

use serde_json::{Map, Value};

/// A table: the same rows as aligned text or as JSON.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

struct Column {
    /// Key in JSON.
    key: &'static str,
    /// Heading for people.
    title: &'static str,
}

/// One entry of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words; to the left.
    Text(String),
    /// A number with so many decimals; to the right.
    Number(f64, usize),
    /// A count or a size; to the right.
    Count(u64),
    /// A share of one, shown as a percentage.
    Share(f64),
    /// Bytes, shown in a unit that fits.
    Bytes(u64),
    /// A deviation, shown with its power of ten.
    Error(f64),
    /// Nothing to say.
    Empty,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl Cell {
    fn text(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Number(value, decimals) => format!("{value:.decimals$}"),
            Cell::Count(count) => grouped(*count),
            Cell::Share(share) => format!("{:.1} %", 100.0 * share),
            Cell::Bytes(bytes) => size(*bytes),
            Cell::Error(error) if *error == 0.0 => "0".into(),
            Cell::Error(error) => format!("{error:.1e}"),
            Cell::Empty => String::new(),
        }
    }

    fn is_right(&self) -> bool {
        !matches!(self, Cell::Text(_))
    }

    fn json(&self) -> Value {
        match self {
            Cell::Text(text) => text.clone().into(),
            Cell::Number(value, _) | Cell::Share(value) | Cell::Error(value) => (*value).into(),
            Cell::Count(count) | Cell::Bytes(count) => (*count).into(),
            Cell::Empty => Value::Null,
        }
    }
}

impl Table {
    /// An empty table; each column has a key for JSON and a heading for people.
    pub fn new(columns: &[(&'static str, &'static str)]) -> Self {
        let columns = columns.iter().map(|&(key, title)| Column { key, title }).collect();
        Table { columns, rows: Vec::new() }
    }

    /// Adds a row of as many cells as there are columns.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let row: Vec<Cell> = cells.into_iter().collect();
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// Headings, and then the cells of each row.
    pub fn texts(&self) -> Vec<Vec<String>> {
        let mut lines: Vec<Vec<String>> = vec![self.columns.iter().map(|column| column.title.into()).collect()];
        lines.extend(self.rows.iter().map(|row| row.iter().map(Cell::text).collect()));
        lines
    }

    /// Aligned text, a line a row, each ended by a newline.
    pub fn text(&self) -> String {
        let lines = self.texts();
        let width = |c: usize| lines.iter().map(|line| line[c].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for line in &lines {
            let mut out = String::new();
            for (c, (cell, &width)) in line.iter().zip(&widths).enumerate() {
                let gap = if c == 0 { "" } else { "  " };
                if self.rows.iter().any(|row| row[c].is_right() && row[c] != Cell::Empty) {
                    let _ = write!(out, "{gap}{cell:>width$}");
                } else {
                    let _ = write!(out, "{gap}{cell:<width$}");
                }
            }
            text.push_str(out.trim_end());
            text.push('\n');
        }
        text
    }

    /// The rows as objects.
    pub fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| {
            let pairs = self.columns.iter().zip(row);
            Value::Object(pairs.map(|(c, cell)| (c.key.to_owned(), cell.json())).collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }
}

/// `1234567` as `1 234 567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Bytes in B, KiB, MiB or GiB.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}

#[cfg(test)]
mod tests {
    use super::{Cell, Table, grouped, size};

    #[test]
    fn numbers_align_to_the_right() {
        let mut table = Table::new(&[("op", "op"), ("ms", "ms"), ("share", "share")]);
        table.row(["conv".into(), Cell::Number(12.5, 2), Cell::Share(0.5)]);
        table.row(["softmax".into(), Cell::Number(1.0, 2), Cell::Empty]);
        let expected = "op          ms   share\nconv     12.50  50.0 %\nsoftmax   1.00\n";
        assert_eq!(table.text(), expected);
        assert_eq!(table.json()[0]["ms"], 12.5);
        assert_eq!(table.json()[1]["share"], serde_json::Value::Null);
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(["1", "999", "1 000", "1 234 567"], [1, 999, 1000, 1_234_567].map(grouped));
        assert_eq!(["0 B", "1.5 KiB", "2.0 MiB"], [0, 1536, 2 << 20].map(size));
    }
}
