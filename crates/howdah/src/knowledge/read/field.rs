//! How does a JSON value become a column?
//!
//! One table of PostgreSQL types: what JSON each takes, and its bytes in PostgreSQL's binary format. A value that does not
//! fit is refused in one sentence; nothing is rounded, cut or guessed. Values are read from their JSON text, so that a
//! number has every digit it was written with.

use jiff::civil::Date;
use jiff::{Timestamp, civil};
use serde_json::value::RawValue;

use super::json::{Decimal, Json};

/// Seconds from 1970 to 2000, where PostgreSQL counts from.
const POSTGRES_EPOCH: i64 = 946_684_800;

/// A type that a declared field can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// One value.
    One(Scalar),
    /// A list of values.
    Array(Scalar),
}

/// The type of a single value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// `text`.
    Text,
    /// `varchar`, `character varying(n)`.
    Varchar,
    /// `smallint`.
    SmallInt,
    /// `integer`.
    Integer,
    /// `bigint`.
    BigInt,
    /// `real`.
    Real,
    /// `double precision`.
    Double,
    /// `numeric`, with its precision and scale where it has them.
    Numeric(Option<(u16, u16)>),
    /// `boolean`.
    Boolean,
    /// `timestamp with time zone`.
    Timestamptz,
    /// `timestamp without time zone`, read as UTC.
    Timestamp,
    /// `date`.
    Date,
    /// `jsonb`.
    Jsonb,
    /// `json`.
    Json,
    /// `uuid`.
    Uuid,
}

/// SQL names, as `format_type` spells them and as people do; the number of the type in `pg_type`.
const NAMES: &[(&str, Scalar, u32)] = &[
    ("text", Scalar::Text, 25),
    ("varchar", Scalar::Varchar, 1043),
    ("character varying", Scalar::Varchar, 1043),
    ("smallint", Scalar::SmallInt, 21),
    ("int2", Scalar::SmallInt, 21),
    ("integer", Scalar::Integer, 23),
    ("int", Scalar::Integer, 23),
    ("int4", Scalar::Integer, 23),
    ("bigint", Scalar::BigInt, 20),
    ("int8", Scalar::BigInt, 20),
    ("real", Scalar::Real, 700),
    ("float4", Scalar::Real, 700),
    ("double precision", Scalar::Double, 701),
    ("float8", Scalar::Double, 701),
    ("numeric", Scalar::Numeric(None), 1700),
    ("decimal", Scalar::Numeric(None), 1700),
    ("boolean", Scalar::Boolean, 16),
    ("bool", Scalar::Boolean, 16),
    ("timestamptz", Scalar::Timestamptz, 1184),
    ("timestamp with time zone", Scalar::Timestamptz, 1184),
    ("timestamp", Scalar::Timestamp, 1114),
    ("timestamp without time zone", Scalar::Timestamp, 1114),
    ("date", Scalar::Date, 1082),
    ("jsonb", Scalar::Jsonb, 3802),
    ("json", Scalar::Json, 114),
    ("uuid", Scalar::Uuid, 2950),
];

impl FieldType {
    /// The type of this SQL name; none when ingest cannot fill it.
    pub fn of(sql: &str) -> Option<Self> {
        let plain = sql.trim().to_ascii_lowercase();
        let (base, array) = match plain.strip_suffix("[]") {
            Some(base) => (base.trim_end(), true),
            None => (plain.as_str(), false),
        };
        let (bare, arguments) = match (base.find('('), base.find(')')) {
            (Some(open), Some(close)) if open < close => {
                (format!("{}{}", base[..open].trim(), &base[close + 1..]), &base[open + 1..close])
            }
            _ => (base.to_owned(), ""),
        };
        let bare = bare.split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, found, _) = NAMES.iter().find(|(name, ..)| *name == bare)?;
        let scalar = match found {
            Scalar::Numeric(_) => Scalar::Numeric(scale(arguments)),
            other => *other,
        };
        Some(if array { FieldType::Array(scalar) } else { FieldType::One(scalar) })
    }

    /// The bytes of `value` in PostgreSQL's binary format; none for NULL.
    ///
    /// # Errors
    /// Why the value does not fit, in one sentence.
    pub fn encode(self, value: &Json) -> Result<Option<Vec<u8>>, String> {
        match self {
            FieldType::One(scalar) => scalar.encode(value.get()),
            FieldType::Array(scalar) => scalar.encode_array(value.get()),
        }
    }
}

/// `10,2` of `numeric(10,2)`.
fn scale(arguments: &str) -> Option<(u16, u16)> {
    let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
    Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?))
}

/// A JSON value, its strings unescaped and its numbers as they were written.
enum Cell<'a> {
    Null,
    Boolean(bool),
    Number(&'a str),
    Text(String),
    Other,
}

impl<'a> Cell<'a> {
    fn of(json: &'a str) -> Cell<'a> {
        match json.as_bytes().first() {
            Some(b'n') => Cell::Null,
            Some(b't') => Cell::Boolean(true),
            Some(b'f') => Cell::Boolean(false),
            Some(b'"') => serde_json::from_str(json).map_or(Cell::Other, Cell::Text),
            Some(b'[' | b'{') | None => Cell::Other,
            Some(_) => Cell::Number(json),
        }
    }

    /// What a number is read from.
    fn digits(&self) -> Option<&str> {
        match self {
            Cell::Number(text) => Some(text),
            Cell::Text(text) => Some(text.trim()),
            _ => None,
        }
    }
}

impl Scalar {
    fn encode(self, json: &str) -> Result<Option<Vec<u8>>, String> {
        let cell = Cell::of(json);
        if matches!(cell, Cell::Null) {
            return Ok(None);
        }
        let bytes = match self {
            Scalar::Text | Scalar::Varchar => return text(&cell, json).map(Some),
            Scalar::SmallInt => {
                integer(&cell).and_then(|n| i16::try_from(n).ok()).map(|n| n.to_be_bytes().to_vec())
            }
            Scalar::Integer => {
                integer(&cell).and_then(|n| i32::try_from(n).ok()).map(|n| n.to_be_bytes().to_vec())
            }
            Scalar::BigInt => integer(&cell).map(|n| n.to_be_bytes().to_vec()),
            Scalar::Real => real(&cell).map(|x| x.to_be_bytes().to_vec()),
            Scalar::Double => double(&cell).map(|x| x.to_be_bytes().to_vec()),
            Scalar::Numeric(scale) => numeric(&cell, scale),
            Scalar::Boolean => boolean(&cell).map(|b| vec![u8::from(b)]),
            Scalar::Timestamptz | Scalar::Timestamp => {
                timestamp(&cell).map(|micros| micros.to_be_bytes().to_vec())
            }
            Scalar::Date => date(&cell).map(|days| days.to_be_bytes().to_vec()),
            Scalar::Json => Some(json.as_bytes().to_vec()),
            // The one version of jsonb's binary format there is.
            Scalar::Jsonb => Some([&[1u8][..], json.as_bytes()].concat()),
            Scalar::Uuid => match &cell {
                Cell::Text(s) => uuid::Uuid::parse_str(s.trim()).ok().map(|u| u.into_bytes().to_vec()),
                _ => None,
            },
        };
        bytes.map(Some).ok_or_else(|| format!("{} is no {}", shown(json), self.said()))
    }

    fn encode_array(self, json: &str) -> Result<Option<Vec<u8>>, String> {
        let refused = || format!("{} is no list of {}", shown(json), self.said());
        let owned;
        // CSV has lists as JSON in a cell.
        let list = match Cell::of(json) {
            Cell::Null => return Ok(None),
            Cell::Text(text) => {
                owned = text;
                owned.as_str()
            }
            _ => json,
        };
        let items: Vec<&RawValue> = serde_json::from_str(list).map_err(|_| refused())?;
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            values.push(self.encode(item.get())?);
        }
        Ok(Some(array(self.number(), &values)))
    }

    fn said(self) -> String {
        match self {
            Scalar::Numeric(Some((precision, scale))) => format!("numeric({precision},{scale})"),
            _ => {
                NAMES.iter().find(|(_, kind, _)| *kind == self).map_or("value", |(name, ..)| name).to_owned()
            }
        }
    }

    fn number(self) -> u32 {
        let plain = if matches!(self, Scalar::Numeric(_)) { Scalar::Numeric(None) } else { self };
        NAMES.iter().find(|(_, kind, _)| *kind == plain).map_or(0, |(.., number)| *number)
    }
}

fn shown(json: &str) -> String {
    match json.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &json[..end]),
        None => json.to_owned(),
    }
}

fn text(cell: &Cell<'_>, json: &str) -> Result<Vec<u8>, String> {
    let text = match cell {
        Cell::Text(text) => text.as_bytes().to_vec(),
        Cell::Number(text) => text.as_bytes().to_vec(),
        Cell::Boolean(truth) => truth.to_string().into_bytes(),
        Cell::Null | Cell::Other => return Err(format!("{} is no text", shown(json))),
    };
    if text.contains(&0) {
        return Err("it has a NUL character, which PostgreSQL does not store".to_owned());
    }
    Ok(text)
}

fn integer(cell: &Cell<'_>) -> Option<i64> {
    let digits = cell.digits()?;
    digits.parse().ok().or_else(|| {
        let decimal = Decimal::parse(digits)?.trimmed();
        // Whole, and short enough for 64 bits; beyond 2^53 no digit is lost either.
        if decimal.behind() > 0 || decimal.whole() > 19 {
            return None;
        }
        let mut whole: i64 = 0;
        for at in 0..decimal.whole() {
            let digit = usize::try_from(at).ok().and_then(|at| decimal.digits.get(at)).copied().unwrap_or(0);
            let digit = if decimal.negative { -i64::from(digit) } else { i64::from(digit) };
            whole = whole.checked_mul(10)?.checked_add(digit)?;
        }
        Some(whole)
    })
}

fn double(cell: &Cell<'_>) -> Option<f64> {
    let digits = cell.digits()?;
    let x: f64 = digits.parse().ok()?;
    // A number beyond the type would become infinite.
    (x.is_finite() || Decimal::parse(digits).is_none()).then_some(x)
}

fn real(cell: &Cell<'_>) -> Option<f32> {
    let digits = cell.digits()?;
    let x: f32 = digits.parse().ok()?;
    (x.is_finite() || Decimal::parse(digits).is_none()).then_some(x)
}

/// PostgreSQL's numeric: groups of four decimal digits, the weight of the first, the sign, the digits behind the point.
fn numeric(cell: &Cell<'_>, scale: Option<(u16, u16)>) -> Option<Vec<u8>> {
    const NEGATIVE: u16 = 0x4000;
    const NAN: u16 = 0xc000;
    let text = cell.digits()?;
    if text.eq_ignore_ascii_case("nan") {
        return Some([0u16, 0, NAN, 0].iter().flat_map(|part| part.to_be_bytes()).collect());
    }
    let written = Decimal::parse(text)?;
    let behind = written.behind();
    let decimal = written.trimmed();
    if let Some((precision, scale)) = scale
        && (decimal.behind() > i64::from(scale) || decimal.whole() > i64::from(precision) - i64::from(scale))
    {
        return None;
    }
    if decimal.whole() > 131_072 || behind > 16_383 {
        return None;
    }
    // The first group ends at a multiple of four digits before the point.
    let first = decimal.point.rem_euclid(4);
    let first = usize::try_from(if first == 0 { 4 } else { first }).ok()?;
    let groups: Vec<u16> = if decimal.digits.is_empty() {
        Vec::new()
    } else {
        let mut padded = vec![0u8; 4 - first];
        padded.extend(&decimal.digits);
        padded.resize(padded.len().next_multiple_of(4), 0);
        padded
            .chunks_exact(4)
            .map(|four| four.iter().fold(0, |sum, digit| sum * 10 + u16::from(*digit)))
            .collect()
    };
    let weight = if groups.is_empty() { 0 } else { (decimal.point + 3).div_euclid(4) - 1 };
    let sign = if decimal.negative && !groups.is_empty() { NEGATIVE } else { 0 };
    let behind = scale.map_or(behind, |(_, scale)| i64::from(scale));
    let mut bytes = u16::try_from(groups.len()).ok()?.to_be_bytes().to_vec();
    bytes.extend(i16::try_from(weight).ok()?.to_be_bytes());
    bytes.extend(sign.to_be_bytes());
    bytes.extend(u16::try_from(behind).ok()?.to_be_bytes());
    groups.iter().for_each(|group| bytes.extend(group.to_be_bytes()));
    Some(bytes)
}

fn boolean(cell: &Cell<'_>) -> Option<bool> {
    match cell {
        Cell::Boolean(truth) => Some(*truth),
        Cell::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "1" => Some(true),
            "false" | "f" | "no" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Microseconds since 2000, from RFC 3339, a date and time without zone (UTC), a date, or seconds since 1970.
fn timestamp(cell: &Cell<'_>) -> Option<i64> {
    let micros = match cell {
        Cell::Number(number) => match number.parse::<i64>() {
            Ok(seconds) => seconds.checked_mul(1_000_000)?,
            Err(_) => {
                let micros = (number.parse::<f64>().ok()? * 1e6).round();
                // Of a larger one a double no longer says which microsecond was meant.
                if micros.abs() > 9_007_199_254_740_992.0 {
                    return None;
                }
                micros as i64
            }
        },
        Cell::Text(text) => instant(text.trim())?.as_microsecond(),
        _ => return None,
    };
    micros.checked_sub(POSTGRES_EPOCH * 1_000_000)
}

fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp);
    }
    let local =
        text.parse::<civil::DateTime>().ok().or_else(|| Some(text.parse::<Date>().ok()?.at(0, 0, 0, 0)))?;
    local.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// Days since 2000.
fn date(cell: &Cell<'_>) -> Option<i32> {
    let Cell::Text(text) = cell else { return None };
    let text = text.trim();
    let date = text.parse::<Date>().ok().or_else(|| Some(text.parse::<civil::DateTime>().ok()?.date()))?;
    let days = (date - civil::date(2000, 1, 1)).get_days();
    Some(days)
}

/// A list: dimensions, whether there are NULLs, the type of its elements, its length, its lower bound, the elements.
fn array(element: u32, values: &[Option<Vec<u8>>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let dimensions = i32::from(!values.is_empty());
    bytes.extend(dimensions.to_be_bytes());
    bytes.extend(i32::from(values.iter().any(Option::is_none)).to_be_bytes());
    bytes.extend(element.to_be_bytes());
    if dimensions == 1 {
        bytes.extend((values.len() as i32).to_be_bytes());
        bytes.extend(1i32.to_be_bytes());
    }
    for value in values {
        match value {
            None => bytes.extend((-1i32).to_be_bytes()),
            Some(value) => {
                bytes.extend((value.len() as i32).to_be_bytes());
                bytes.extend(value);
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn encode(sql_type: &str, value: Value) -> Result<Option<Vec<u8>>, String> {
        FieldType::of(sql_type).unwrap().encode(&Json::of(&value))
    }

    #[test]
    fn names_are_read_as_people_and_as_the_server_spell_them() {
        assert_eq!(FieldType::of("VARCHAR(50)"), Some(FieldType::One(Scalar::Varchar)));
        assert_eq!(FieldType::of("character varying(50)[]"), Some(FieldType::Array(Scalar::Varchar)));
        assert_eq!(FieldType::of("timestamp(3) with time zone"), Some(FieldType::One(Scalar::Timestamptz)));
        assert_eq!(FieldType::of("numeric(10, 2)"), Some(FieldType::One(Scalar::Numeric(Some((10, 2))))));
        assert_eq!(FieldType::of("decimal(5)"), Some(FieldType::One(Scalar::Numeric(Some((5, 0))))));
        assert_eq!(FieldType::of("inet"), None);
    }

    #[test]
    fn nothing_is_rounded_cut_or_guessed() {
        for (sql_type, value) in [
            ("integer", json!(3_000_000_000_i64)),
            ("integer", json!(1.5)),
            ("bigint", json!("9223372036854775808")),
            ("boolean", json!("maybe")),
            ("date", json!("2026-02-30")),
            ("uuid", json!("x")),
            ("text[]", json!([{"a": 1}])),
            ("text[]", json!("a")),
            ("integer[]", json!([1, 2.5])),
            ("real", json!("1e39")),
            ("double precision", json!("1e309")),
            ("numeric", json!("1e131072")),
            ("numeric(4,2)", json!(1.555)),
            ("numeric(4,2)", json!(100)),
        ] {
            assert!(encode(sql_type, value.clone()).is_err(), "{sql_type} {value}");
        }
        assert_eq!(encode("integer", json!(2.0)), Ok(Some(vec![0, 0, 0, 2])));
        assert_eq!(encode("smallint", json!("-12e2")), Ok(Some((-1200i16).to_be_bytes().to_vec())));
        assert_eq!(encode("integer", json!(null)), Ok(None));
        assert!(encode("double precision", json!("-Infinity")).is_ok());
        let message = encode("integer", json!("x".repeat(500))).unwrap_err();
        assert!(message.len() < 120, "{message}");
    }

    #[test]
    fn a_numeric_is_groups_of_four_digits() {
        let parts = |text: &str| -> Vec<i16> {
            let bytes = encode("numeric", json!(text)).unwrap().unwrap();
            bytes.chunks_exact(2).map(|two| i16::from_be_bytes([two[0], two[1]])).collect()
        };
        assert_eq!(parts("0"), [0, 0, 0, 0]);
        assert_eq!(parts("12345.678"), [3, 1, 0, 3, 1, 2345, 6780]);
        assert_eq!(parts("-1e4"), [1, 1, 0x4000, 0, 1]);
        assert_eq!(parts("0.00001"), [1, -2, 0, 5, 1000]);
        assert_eq!(parts("1.50"), [2, 0, 0, 2, 1, 5000]);
    }

    #[test]
    fn times_count_from_the_year_2000() {
        for value in [json!("2000-01-01T00:00:01Z"), json!("2000-01-01 00:00:01"), json!(946_684_801)] {
            assert_eq!(encode("timestamptz", value), Ok(Some(1_000_000i64.to_be_bytes().to_vec())));
        }
        assert_eq!(encode("date", json!("1999-12-31")), Ok(Some((-1i32).to_be_bytes().to_vec())));
    }
}
