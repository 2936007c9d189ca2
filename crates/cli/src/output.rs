//! Lists: table, wide, json, yaml, name, csv; filtered and sorted. Data goes to standard output.

use api::{Error, Result};
use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;
use std::io::Write;

/// How a list is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Default)]
pub enum Format {
    #[default]
    Table,
    Wide,
    Json,
    Yaml,
    Name,
    Csv,
}

/// Flags of every list.
#[derive(Args, Clone, Default)]
pub struct ListArgs {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Only names
    #[arg(short, long)]
    pub quiet: bool,
    /// Only rows whose column contains this, as in state=running
    #[arg(long, value_name = "COLUMN=TEXT")]
    pub filter: Vec<crate::ports::PairArg>,
    /// Sort by this column
    #[arg(long, value_name = "COLUMN")]
    pub sort: Option<String>,
    /// Show it again whenever it changes
    #[arg(short, long)]
    pub watch: bool,
}

/// One column: its heading, whether only `wide` shows it, and what it says.
pub struct Column<T> {
    /// In capitals.
    pub head: &'static str,
    /// Only in wide tables and CSV.
    pub wide: bool,
    /// The cell.
    pub cell: fn(&T) -> String,
}

/// A column of every table.
pub const fn column<T>(head: &'static str, cell: fn(&T) -> String) -> Column<T> {
    Column { head, wide: false, cell }
}

/// A column of wide tables.
pub const fn wide<T>(head: &'static str, cell: fn(&T) -> String) -> Column<T> {
    Column { head, wide: true, cell }
}

/// A cell for something that may be absent.
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Prints a list. The first column is its name.
pub fn list<T: Serialize>(mut rows: Vec<T>, columns: &[Column<T>], args: &ListArgs) -> Result<()> {
    for filter in &args.filter {
        let column = find(columns, &filter.0)?;
        rows.retain(|row| (column.cell)(row).contains(&filter.1));
    }
    if let Some(sort) = &args.sort {
        let column = find(columns, sort)?;
        rows.sort_by_key(|row| (column.cell)(row));
    }
    let text = if args.quiet { names(&rows, columns) } else { render(&rows, columns, args.output)? };
    print(&text)
}

/// Prints one thing: as JSON or YAML whole, else as the table's row.
pub fn one<T: Serialize>(row: T, columns: &[Column<T>], format: Format) -> Result<()> {
    let text = match format {
        Format::Json => json(&row)?,
        _ if columns.is_empty() || format == Format::Yaml => yaml(&row)?,
        _ => render(&[row], columns, format)?,
    };
    print(&text)
}

/// Prints text to standard output. A reader that went away is not an error.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Pretty JSON with a line feed.
pub fn json<T: Serialize>(value: &T) -> Result<String> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Error::failed(format!("cannot be written as JSON: {error}")))?;
    Ok(text + "\n")
}

fn yaml<T: Serialize>(value: &T) -> Result<String> {
    serde_yaml_ng::to_string(value).map_err(|error| Error::failed(format!("cannot be written as YAML: {error}")))
}

fn find<'a, T>(columns: &'a [Column<T>], name: &str) -> Result<&'a Column<T>> {
    columns.iter().find(|column| column.head.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let known: Vec<_> = columns.iter().map(|column| column.head.to_ascii_lowercase()).collect();
        Error::usage(format!("no column {name}: use one of {}", known.join(", ")))
    })
}

fn names<T>(rows: &[T], columns: &[Column<T>]) -> String {
    let Some(first) = columns.first() else { return String::new() };
    rows.iter().map(|row| (first.cell)(row) + "\n").collect()
}

fn render<T: Serialize>(rows: &[T], columns: &[Column<T>], format: Format) -> Result<String> {
    Ok(match format {
        Format::Table => table(rows, columns, false),
        Format::Wide => table(rows, columns, true),
        Format::Json => json(&rows)?,
        Format::Yaml => yaml(&rows)?,
        Format::Name => names(rows, columns),
        Format::Csv => csv(rows, columns),
    })
}

fn table<T>(rows: &[T], columns: &[Column<T>], all: bool) -> String {
    let shown: Vec<_> = columns.iter().filter(|column| all || !column.wide).collect();
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(shown.iter().map(|column| column.head));
    for row in rows {
        table.add_row(shown.iter().map(|column| (column.cell)(row)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Fields with a comma, quote or line feed are quoted (RFC 4180, section 2).
fn csv<T>(rows: &[T], columns: &[Column<T>]) -> String {
    let quote = |text: String| {
        if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
    };
    let head: Vec<_> = columns.iter().map(|column| column.head.to_ascii_lowercase()).collect();
    let body = rows.iter().map(|row| columns.iter().map(|column| quote((column.cell)(row))).collect::<Vec<_>>().join(","));
    std::iter::once(head.join(",")).chain(body).map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        note: &'static str,
    }

    const COLUMNS: [Column<Row>; 2] = [column("NAME", |row| row.name.to_owned()), wide("NOTE", |row| row.note.to_owned())];

    fn rows() -> Vec<Row> {
        vec![Row { name: "web/1", note: "a,b" }, Row { name: "c", note: "" }]
    }

    #[test]
    fn formats() {
        let show = |format| render(&rows(), &COLUMNS, format).unwrap();
        insta::assert_snapshot!(show(Format::Table), @r"
        NAME
        web/1
        c
        ");
        insta::assert_snapshot!(show(Format::Wide), @r"
        NAME   NOTE
        web/1  a,b
        c
        ");
        insta::assert_snapshot!(show(Format::Csv), @r#"
        name,note
        web/1,"a,b"
        c,
        "#);
        insta::assert_snapshot!(show(Format::Name), @r"
        web/1
        c
        ");
    }

    #[test]
    fn unknown_columns_name_the_known() {
        assert_eq!(find(&COLUMNS, "x").err().unwrap().message, "no column x: use one of name, note");
    }
}
