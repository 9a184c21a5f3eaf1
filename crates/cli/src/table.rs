//! Tables for people: columns as wide as they need, numbers to the right.

use std::io::{self, Write};

use crate::terminal::printable;

/// Rows under a heading.
pub(crate) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table. A column whose heading starts with `>` is set to the right.
    pub(crate) fn new(heading: &[&'static str]) -> Self {
        Table { heading: heading.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it has not one cell a column.
    pub(crate) fn push(&mut self, row: Vec<String>) {
        assert_eq!(row.len(), self.heading.len(), "Table::push: a cell a column");
        self.rows.push(row.iter().map(|cell| printable(cell).into_owned()).collect());
    }

    /// Writes heading and rows.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for row in self.aligned() {
            writeln!(out, "{}", row.join("  ").trim_end())?;
        }
        Ok(())
    }

    /// Writes heading and rows as Markdown.
    pub(crate) fn write_markdown(&self, out: &mut impl Write) -> io::Result<()> {
        for (number, row) in self.aligned().iter().enumerate() {
            writeln!(out, "| {} |", row.join(" | "))?;
            if number == 0 {
                for (cell, title) in row.iter().zip(&self.heading) {
                    let dashes = "-".repeat(cell.chars().count() + 1);
                    let [left, right] = if title.starts_with('>') { ["", ":"] } else { ["-", ""] };
                    write!(out, "|{left}{dashes}{right}")?;
                }
                writeln!(out, "|")?;
            }
        }
        Ok(())
    }

    /// Heading and rows, the cells of a column of one width.
    fn aligned(&self) -> Vec<Vec<String>> {
        let titles = self.heading.iter().map(|title| title.trim_start_matches('>').to_owned()).collect();
        let rows: Vec<&Vec<String>> = std::iter::once(&titles).chain(&self.rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.heading.len()).map(width).collect();
        let cell = |((cell, title), width): ((&String, &&str), &usize)| match title.starts_with('>') {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        };
        rows.iter().map(|row| row.iter().zip(&self.heading).zip(&widths).map(cell).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["name", ">bytes"]);
        table.push(vec!["é".to_owned(), "10".to_owned()]);
        table.push(vec!["longer".to_owned(), "7".to_owned()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let want = "name    bytes\né          10\nlonger      7\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
        let mut out = Vec::new();
        table.write_markdown(&mut out).unwrap();
        let want = "| name   | bytes |\n|--------|------:|\n| é      |    10 |\n| longer |     7 |\n";
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
}
