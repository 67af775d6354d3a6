//! How a value is written, and when two are the same.
//!
//! PostgreSQL takes `512MB`, `0.5GB`, `524288kB` and `65536` for one value of `shared_buffers`. A value is normalised to
//! the form `pg_settings.setting` has: numbers in the setting's own unit, `on` or `off`, the first spelling of a word.

use super::{Kind, Unit, find};
use crate::problem::{Kind as ProblemKind, Problem};
use crate::spec::SettingValue;
use crate::spec::resolve::{nearest, quote_literal};

/// Words PostgreSQL takes for the same value of one setting: setting, spelling, first spelling.
const SAME_WORD: &[(&str, &str, &str)] = &[
    ("wal_compression", "on", "pglz"),
    ("wal_compression", "true", "pglz"),
    ("wal_compression", "yes", "pglz"),
    ("wal_compression", "1", "pglz"),
    ("wal_level", "archive", "replica"),
    ("wal_level", "hot_standby", "replica"),
    ("password_encryption", "on", "md5"),
];

/// Words for true, which PostgreSQL also takes shortened as long as they are unique.
const TRUE: &[&str] = &["on", "true", "yes", "1", "t", "tr", "tru", "y", "ye"];
/// Words for false.
const FALSE: &[&str] = &["off", "false", "no", "0", "f", "fa", "fal", "fals", "n", "of"];

/// A declared value as PostgreSQL's text.
pub fn text(value: &SettingValue) -> String {
    match value {
        SettingValue::Bool(true) => "on".into(),
        SettingValue::Bool(false) => "off".into(),
        SettingValue::Integer(number) => number.to_string(),
        SettingValue::Float(number) => number.to_string(),
        SettingValue::Text(text) => text.clone(),
    }
}

/// The value in the form `pg_settings.setting` has.
///
/// A setting that the table does not know keeps its text, with the words for true and false made one.
///
/// # Errors
/// One sentence, when the setting does not take such a value.
pub fn normalise(name: &str, value: &str) -> Result<String, String> {
    let value = value.trim();
    let Some(setting) = find(name) else {
        return Ok(boolean(value).map_or_else(|| value.to_owned(), |on| on_off(on).to_owned()));
    };
    match setting.kind {
        Kind::Bool => boolean(value)
            .map(|on| on_off(on).to_owned())
            .ok_or_else(|| format!("`{value}` is neither on nor off")),
        Kind::Integer(unit) => {
            let number = number_in(value, unit)?.round();
            within(setting.range, number, value)?;
            Ok(format!("{number:.0}"))
        }
        Kind::Real => {
            let number: f64 = value.parse().map_err(|_| format!("`{value}` is not a number"))?;
            within(setting.range, number, value)?;
            Ok(number.to_string())
        }
        Kind::Enum(words) => word(setting.name, words, value),
        Kind::Text => Ok(value.to_owned()),
        Kind::List => Ok(list(value)),
    }
}

/// Whether two values of a setting are one value.
///
/// A value that the setting does not take equals only itself.
pub fn same(name: &str, a: &str, b: &str) -> bool {
    match (normalise(name, a), normalise(name, b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a.trim() == b.trim(),
    }
}

/// Whether a declared setting can be set on a server of `major`.
///
/// # Errors
/// `usage`, for a setting of Howdah's table that this major does not have, that is fixed, or that does not take the
/// value. A name that is not in the table passes: PostgreSQL has more settings than Howdah has opinions.
pub fn check(name: &str, value: &str, major: u32) -> Result<(), Problem> {
    let Some(setting) = find(name) else { return Ok(()) };
    if !setting.exists_in(major) {
        return Err(Problem::new(
            ProblemKind::Usage,
            format!("PostgreSQL {major} has no setting `{}`", setting.name),
        )
        .detail(format!("it exists from {} to {}", setting.majors.0, setting.majors.1))
        .hint(format!("Remove `{}` from `[settings]`, or run another major.", setting.name)));
    }
    if setting.context_in(major) == super::Context::Fixed {
        return Err(Problem::new(ProblemKind::Usage, format!("`{}` cannot be set", setting.name))
            .detail(setting.meaning)
            .hint(format!("Remove `{}` from `[settings]`.", setting.name)));
    }
    normalise(name, value).map(drop).map_err(|why| {
        Problem::new(ProblemKind::Usage, format!("`{}` does not take `{value}`", setting.name))
            .detail(why)
            .hint(format!("Its default is `{}`. {}", setting.default_in(major), setting.meaning))
    })
}

/// One line of `postgresql.conf`.
pub fn conf_line(name: &str, value: &str) -> String {
    format!("{name} = {}", conf_literal(value))
}

/// The value as an SQL literal for `SET`, `ALTER SYSTEM` and `ALTER DATABASE`. A list is spread over several literals,
/// since `'a, b'` in quotes would be one name.
pub fn literal(name: &str, value: &str) -> String {
    match find(name).map(|setting| setting.kind) {
        Some(Kind::List) if value.contains(',') => {
            value.split(',').map(|part| quote_literal(unquoted(part.trim()))).collect::<Vec<_>>().join(", ")
        }
        _ => quote_literal(value),
    }
}

fn conf_literal(value: &str) -> String {
    // postgresql.conf knows backslash escapes inside quotes, unlike SQL.
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n"))
}

fn unquoted(part: &str) -> &str {
    part.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(part)
}

fn boolean(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    match () {
        () if TRUE.contains(&value.as_str()) => Some(true),
        () if FALSE.contains(&value.as_str()) => Some(false),
        () => None,
    }
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn list(value: &str) -> String {
    value
        .split(',')
        .map(|part| unquoted(part.trim()))
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(",")
}

fn word(name: &str, words: &[&str], value: &str) -> Result<String, String> {
    let lower = value.to_ascii_lowercase();
    if let Some((_, _, first)) = SAME_WORD.iter().find(|(of, spelling, _)| *of == name && *spelling == lower)
    {
        return Ok((*first).to_owned());
    }
    if let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(&lower)) {
        return Ok((*word).to_owned());
    }
    // Enums with on and off among their words take the other words for true and false too.
    if let Some(on) = boolean(&lower).map(on_off).filter(|on| words.contains(on)) {
        return Ok(on.to_owned());
    }
    let meant = nearest(&lower, words.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
    Err(format!("`{value}` is none of {}{}", words.join(", "), meant.unwrap_or_default()))
}

fn within(range: Option<(f64, f64)>, number: f64, value: &str) -> Result<(), String> {
    match range {
        Some((least, greatest)) if number < least || number > greatest => {
            Err(format!("`{value}` is outside {least} to {greatest}"))
        }
        _ => Ok(()),
    }
}

/// A quantity in bytes (`2GiB`, `512MB`, `1.5 GB`; a bare number counts bytes).
///
/// Unlike PostgreSQL's own settings it takes `KiB`, `MiB`, `GiB`, `TiB` too, since that is how people write a machine's
/// memory; all units are powers of 1024.
///
/// # Errors
/// One sentence, when the text is no quantity of memory.
pub fn bytes(value: &str) -> Result<u64, String> {
    let plain = value.trim().replace("iB", "B");
    let number = number_in(&plain, Unit::Bytes).map_err(|why| format!("{why}, as in `2GiB`"))?;
    if number < 0.0 {
        return Err(format!("`{value}` is negative"));
    }
    Ok(number as u64)
}

/// A count of bytes as a person and PostgreSQL write it: the largest unit that keeps it whole (`512MB`).
pub fn memory_text(bytes: u64) -> String {
    for (unit, size) in [("TB", 1u64 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

/// The number in `unit` that the text says, with or without a unit of its own.
fn number_in(value: &str, unit: Unit) -> Result<f64, String> {
    let end = value.find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c))).unwrap_or(value.len());
    let (number, suffix) = value.split_at(end);
    let number: f64 = number.parse().map_err(|_| format!("`{value}` is not a number"))?;
    let suffix = suffix.trim();
    if suffix.is_empty() {
        return Ok(number);
    }
    let (Some(from), Some(to)) = (size_of_suffix(suffix), size_of_unit(unit)) else {
        return Err(format!(
            "`{value}` has a unit that does not fit (units are case-sensitive: {})",
            units(unit)
        ));
    };
    if from.0 != to.0 {
        return Err(format!(
            "`{value}` has a unit that does not fit (units are case-sensitive: {})",
            units(unit)
        ));
    }
    Ok(number * from.1 / to.1)
}

#[derive(PartialEq)]
enum Dimension {
    Memory,
    Time,
}

fn size_of_suffix(suffix: &str) -> Option<(Dimension, f64)> {
    use Dimension::{Memory, Time};
    Some(match suffix {
        "B" => (Memory, 1.0),
        "kB" => (Memory, 1024.0),
        "MB" => (Memory, 1_048_576.0),
        "GB" => (Memory, 1_073_741_824.0),
        "TB" => (Memory, 1_099_511_627_776.0),
        "us" => (Time, 0.001),
        "ms" => (Time, 1.0),
        "s" => (Time, 1_000.0),
        "min" => (Time, 60_000.0),
        "h" => (Time, 3_600_000.0),
        "d" => (Time, 86_400_000.0),
        _ => return None,
    })
}

fn size_of_unit(unit: Unit) -> Option<(Dimension, f64)> {
    use Dimension::{Memory, Time};
    Some(match unit {
        Unit::None => return None,
        Unit::Bytes => (Memory, 1.0),
        Unit::Kilobytes => (Memory, 1024.0),
        Unit::Blocks => (Memory, 8192.0),
        Unit::Megabytes => (Memory, 1_048_576.0),
        Unit::Milliseconds => (Time, 1.0),
        Unit::Seconds => (Time, 1_000.0),
        Unit::Minutes => (Time, 60_000.0),
    })
}

fn units(unit: Unit) -> &'static str {
    match unit {
        Unit::None => "a plain number",
        Unit::Bytes | Unit::Kilobytes | Unit::Blocks | Unit::Megabytes => "B, kB, MB, GB, TB",
        Unit::Milliseconds | Unit::Seconds | Unit::Minutes => "us, ms, s, min, h, d",
    }
}

/// The bytes that a value of a memory setting means; none for `-1`, for other settings and for values it does not take.
pub fn in_bytes(name: &str, value: &str) -> Option<u64> {
    let Kind::Integer(unit) = find(name)?.kind else { return None };
    let Some((Dimension::Memory, size)) = size_of_unit(unit) else { return None };
    let number: f64 = normalise(name, value).ok()?.parse().ok()?;
    (number >= 0.0).then_some((number * size) as u64)
}
