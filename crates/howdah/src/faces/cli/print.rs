//! How does the command line say something?
//!
//! Data on standard output in the form asked for, everything else on standard error. A reader that goes away (`| head`)
//! ends the program quietly, as it ends every other.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

use super::common::Format;

/// Red.
pub const RED: &str = "31;1";
/// Green.
pub const GREEN: &str = "32";
/// Yellow.
pub const YELLOW: &str = "33";
/// Cyan.
pub const CYAN: &str = "36";
/// Bold.
pub const BOLD: &str = "1";
/// Grey.
pub const DIM: &str = "2";

/// Paints text for standard error.
pub fn paint(text: &str, colour: &str) -> String {
    paint_if(text, colour, std::io::stderr().is_terminal())
}

/// Paints text for standard output.
pub fn paint_out(text: &str, colour: &str) -> String {
    paint_if(text, colour, std::io::stdout().is_terminal())
}

fn paint_if(text: &str, colour: &str, terminal: bool) -> String {
    if terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Nobody reads standard output any more.
static UNREAD: AtomicBool = AtomicBool::new(false);
/// Standard output could not be written.
static LOST: AtomicBool = AtomicBool::new(false);

/// Writes to standard output. A command whose answer is not read goes on to its end in order, and says no more.
pub fn out(text: &str) {
    if UNREAD.load(Ordering::Relaxed) || LOST.load(Ordering::Relaxed) {
        return;
    }
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => UNREAD.store(true, Ordering::Relaxed),
        Err(error) => {
            LOST.store(true, Ordering::Relaxed);
            err(&format!("error: cannot write to standard output\ndetail: {error}\n"));
        }
    }
}

/// Whether an answer that somebody waits for could not be written.
pub fn lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Whether nobody reads standard output any more.
pub fn unread() -> bool {
    UNREAD.load(Ordering::Relaxed) || lost()
}

/// Writes to standard error. That nobody reads it is nothing to fail over.
pub fn err(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints rows in the form asked for: `columns` name the fields of each object in `rows`, by a path with dots.
pub fn rows(format: Format, whole: &Value, rows: &[Value], columns: &[(&str, &str)]) {
    match format {
        Format::Json => out(&pretty(whole)),
        Format::Jsonl => rows.iter().for_each(|row| out(&format!("{row}\n"))),
        Format::Csv => out(&csv(rows, columns)),
        Format::Table => {
            let mut table = table(columns.iter().map(|(title, _)| *title));
            for row in rows {
                table.add_row(columns.iter().map(|(_, path)| moment(&cell(field(row, path)))));
            }
            out(&format!("{table}\n"));
        }
    }
}

/// An empty table with titles.
pub fn table<'a>(titles: impl Iterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    // Only a terminal has a width; what goes elsewhere is not broken.
    let arrangement = if std::io::stdout().is_terminal() {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    };
    table.load_style(UTF8_BORDERS_ONLY).set_content_arrangement(arrangement);
    table.set_header(titles);
    table
}

/// JSON for people and programs alike.
pub fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// Rows as comma-separated values.
pub fn csv(rows: &[Value], columns: &[(&str, &str)]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = columns.iter().map(|(_, path)| *path);
    // Writing to memory cannot fail.
    let _ = writer.write_record(names);
    for row in rows {
        let _ = writer.write_record(columns.iter().map(|(_, path)| cell(field(row, path))));
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// The value at a path with dots.
pub fn field<'a>(row: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(row, |value, part| value.get(part).unwrap_or(&Value::Null))
}

/// A value in one cell.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.4}", number.as_f64().unwrap_or_default())
        }
        Value::Array(all) => all.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A moment to the second: `2026-11-20 13:34:02`, in UTC. Other text stays as it is.
pub fn moment(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(moment) => moment.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => text.to_owned(),
    }
}

/// So many of something: `1 row`, `2,000 rows`.
pub fn count(many: u64, what: &str) -> String {
    if many == 1 { format!("1 {what}") } else { format!("{} {what}s", thousands(many)) }
}

/// Bytes as people read them.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A number with its thousands apart: `60,312`.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_said_as_people_read_them() {
        assert_eq!(
            (thousands(7), thousands(60_312), thousands(1_000_000)),
            ("7".into(), "60,312".into(), "1,000,000".into())
        );
        assert_eq!((bytes(512), bytes(6_291_456)), ("512 B".into(), "6.0 MiB".into()));
    }

    #[test]
    fn a_moment_is_said_to_the_second_and_nothing_else_is_taken_for_one() {
        assert_eq!(moment("2026-11-20T13:34:02.811007Z"), "2026-11-20 13:34:02");
        assert_eq!((moment("2026"), moment("notes")), ("2026".to_owned(), "notes".to_owned()));
        assert_eq!((count(1, "row"), count(2_000, "row")), ("1 row".to_owned(), "2,000 rows".to_owned()));
    }

    #[test]
    fn a_cell_never_breaks_a_csv_line() {
        let rows = [json!({"a": "x,\"y\"\nz", "b": {"c": 1.5}})];
        assert_eq!(csv(&rows, &[("A", "a"), ("C", "b.c")]), "a,b.c\n\"x,\"\"y\"\"\nz\",1.5000\n");
    }
}
