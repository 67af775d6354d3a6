//! Does a JSON value fit a column's SQL type?
//!
//! One table of types; a value that does not fit is refused with the type's name, before PostgreSQL sees it.

use serde_json::Value;

use super::Order;
use crate::search::param::Param;

/// A column's type, as far as filters care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `smallint`, `integer`, `bigint`
    Integer(String),
    /// `real`
    Real,
    /// `double precision`
    Double,
    /// `numeric`
    Numeric,
    /// `text`, `varchar`, `char`, `citext`
    Text,
    /// `boolean`
    Boolean,
    /// `uuid`
    Uuid,
    /// `date`
    Date,
    /// `timestamptz`, `timestamp`
    Timestamp {
        /// Whether it has a time zone.
        zone: bool,
    },
    /// An array of one of the others.
    Array(Box<Kind>),
    /// A type that filters do not know.
    Other(String),
}

impl Kind {
    /// The kind of a declared SQL type.
    pub fn of(sql_type: &str) -> Kind {
        let name = sql_type.trim().to_ascii_lowercase();
        if let Some(element) = name.strip_suffix("[]") {
            return Kind::Array(Box::new(Kind::of(element)));
        }
        // `varchar(50)`, `timestamp(3) with time zone`: what stands in brackets does not matter here.
        let bare = match (name.find('('), name.find(')')) {
            (Some(open), Some(close)) if open < close => format!("{}{}", &name[..open], &name[close + 1..]),
            _ => name,
        };
        let bare = bare.split_whitespace().collect::<Vec<_>>().join(" ");
        match bare.as_str() {
            "smallint" | "int2" | "smallserial" => Kind::Integer("smallint".into()),
            "integer" | "int" | "int4" | "serial" => Kind::Integer("integer".into()),
            "bigint" | "int8" | "bigserial" => Kind::Integer("bigint".into()),
            "real" | "float4" => Kind::Real,
            "double precision" | "float8" | "float" => Kind::Double,
            "numeric" | "decimal" => Kind::Numeric,
            "text" | "varchar" | "character varying" | "char" | "character" | "bpchar" | "citext" => {
                Kind::Text
            }
            "boolean" | "bool" => Kind::Boolean,
            "uuid" => Kind::Uuid,
            "date" => Kind::Date,
            "timestamptz" | "timestamp with time zone" => Kind::Timestamp { zone: true },
            "timestamp" | "timestamp without time zone" => Kind::Timestamp { zone: false },
            _ => Kind::Other(bare),
        }
    }

    /// What people call it.
    pub fn name(&self) -> String {
        match self {
            Kind::Integer(name) | Kind::Other(name) => name.clone(),
            Kind::Real => "real".into(),
            Kind::Double => "double precision".into(),
            Kind::Numeric => "numeric".into(),
            Kind::Text => "text".into(),
            Kind::Boolean => "boolean".into(),
            Kind::Uuid => "uuid".into(),
            Kind::Date => "date".into(),
            Kind::Timestamp { zone: true } => "timestamptz".into(),
            Kind::Timestamp { zone: false } => "timestamp".into(),
            Kind::Array(element) => format!("{}[]", element.name()),
        }
    }

    /// Whether `<` and `>` mean something.
    pub fn ordered(&self) -> bool {
        !matches!(self, Kind::Boolean | Kind::Uuid | Kind::Array(_) | Kind::Other(_))
    }

    /// The value in the form it is bound in, or what would have fitted instead.
    ///
    /// # Errors
    /// Words for "`year` is `integer` and needs …".
    pub fn fit(&self, value: &Value) -> Result<Value, &'static str> {
        match (self, value) {
            (Kind::Integer(_), Value::Number(n)) => {
                whole(n).map(Value::from).ok_or("a whole number of 64 bits")
            }
            (Kind::Integer(_), _) => Err("a whole number"),
            (Kind::Real | Kind::Double | Kind::Numeric, Value::Number(_)) => Ok(value.clone()),
            // JSON's numbers end where a double does; as text all digits of a numeric can be said.
            (Kind::Numeric, Value::String(s)) if decimal(s) => Ok(value.clone()),
            (Kind::Numeric, _) => Err("a number, or one as text"),
            (Kind::Real | Kind::Double, _) => Err("a number"),
            (Kind::Text, Value::String(_)) => Ok(value.clone()),
            (Kind::Text, _) => Err("a string"),
            (Kind::Boolean, Value::Bool(_)) => Ok(value.clone()),
            (Kind::Boolean, _) => Err("true or false"),
            (Kind::Uuid, Value::String(s)) => uuid(s).map(Value::from).ok_or("a UUID"),
            (Kind::Uuid, _) => Err("a UUID as a string"),
            (Kind::Date, Value::String(s)) if s.len() == 10 && date(s) => Ok(value.clone()),
            (Kind::Date, _) => Err("a date such as \"2026-01-31\""),
            (Kind::Timestamp { zone }, Value::String(s)) => {
                timestamp(s, *zone).map(Value::from).ok_or("a time such as \"2026-01-31T12:00:00Z\"")
            }
            (Kind::Timestamp { .. }, _) => Err("a time such as \"2026-01-31T12:00:00Z\""),
            (Kind::Array(element), value) => element.fit(value),
            (Kind::Other(_), _) => Err("a type that filters know"),
        }
    }

    /// The bound value of a fitting JSON value, and the cast after its placeholder.
    pub(super) fn param(&self, value: &Value) -> (Param, &'static str) {
        let text = || value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match self {
            Kind::Integer(_) => (Param::Integer(value.as_i64().unwrap_or_default()), ""),
            Kind::Real => (Param::Float(value.as_f64().unwrap_or_default()), "::real"),
            Kind::Double => (Param::Float(value.as_f64().unwrap_or_default()), ""),
            Kind::Boolean => (Param::Bool(value.as_bool().unwrap_or_default()), ""),
            Kind::Array(element) => element.param(value),
            Kind::Numeric
            | Kind::Text
            | Kind::Uuid
            | Kind::Date
            | Kind::Timestamp { .. }
            | Kind::Other(_) => (Param::Text(text()), self.text_cast()),
        }
    }

    /// The bound array of fitting JSON values, and the cast after its placeholder.
    pub(super) fn params(&self, values: &[Value]) -> (Param, &'static str) {
        let floats = || values.iter().filter_map(Value::as_f64).collect();
        match self {
            Kind::Integer(_) => (Param::Integers(values.iter().filter_map(Value::as_i64).collect()), ""),
            Kind::Real => (Param::Floats(floats()), "::real[]"),
            Kind::Double => (Param::Floats(floats()), ""),
            Kind::Boolean => (Param::Bools(values.iter().filter_map(Value::as_bool).collect()), ""),
            Kind::Array(element) => element.params(values),
            Kind::Numeric
            | Kind::Text
            | Kind::Uuid
            | Kind::Date
            | Kind::Timestamp { .. }
            | Kind::Other(_) => {
                let texts = values.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
                (Param::Texts(texts.collect()), self.texts_cast())
            }
        }
    }

    fn text_cast(&self) -> &'static str {
        match self {
            Kind::Numeric => "::numeric",
            Kind::Uuid => "::uuid",
            Kind::Date => "::date",
            Kind::Timestamp { zone: true } => "::timestamptz",
            Kind::Timestamp { zone: false } => "::timestamp",
            _ => "",
        }
    }

    fn texts_cast(&self) -> &'static str {
        match self {
            Kind::Numeric => "::numeric[]",
            Kind::Uuid => "::uuid[]",
            Kind::Date => "::date[]",
            Kind::Timestamp { zone: true } => "::timestamptz[]",
            Kind::Timestamp { zone: false } => "::timestamp[]",
            _ => "",
        }
    }

    /// Compares two values of this type, for [`super::matches`].
    pub(super) fn compare(&self, order: Order, left: &Value, right: &Value) -> bool {
        let ordering = match (left, right) {
            (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => None,
        };
        ordering.is_some_and(|ordering| order.holds(ordering))
    }
}

/// Compares JSON numbers: exactly where both are whole, as doubles otherwise.
pub(super) fn compare_numbers(a: &serde_json::Number, b: &serde_json::Number) -> Option<std::cmp::Ordering> {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// A JSON number as a whole number: `2020` and `2020.0` are.
#[allow(clippy::cast_possible_truncation)]
fn whole(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = number.as_f64()?;
        // Beyond 2^53 a double no longer says which whole number was meant.
        (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
    })
}

/// Whether text is a decimal number: `-12.50`.
fn decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let fine = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 1_000 && fine(whole) && fine(fraction)
}

/// A UUID in lower case with its hyphens.
pub(crate) fn uuid(text: &str) -> Option<String> {
    let hyphens = [8, 13, 18, 23];
    let shaped = text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if hyphens.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() });
    shaped.then(|| text.to_ascii_lowercase())
}

fn number(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) { None } else { text.parse().ok() }
}

/// Whether `text` begins with a date of the calendar, `2026-01-31`.
fn date(text: &str) -> bool {
    let (Some(year), Some(month), Some(day)) = (text.get(..4), text.get(5..7), text.get(8..10)) else {
        return false;
    };
    if text.as_bytes()[4] != b'-' || text.as_bytes()[7] != b'-' {
        return false;
    }
    let (Some(year), Some(month), Some(day)) = (number(year), number(month), number(day)) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => 0,
    };
    year > 0 && day > 0 && day <= days
}

/// A time of ISO 8601, or a date for its midnight. Without a zone it means UTC, so that the answer does not hang on the
/// session's time zone. A column without a zone takes no zone.
fn timestamp(text: &str, zone: bool) -> Option<String> {
    if !text.is_ascii() || !date(text) {
        return None;
    }
    let (day, rest) = text.split_at(10);
    let (clock, offset) = match rest.as_bytes().first() {
        None => ("00:00:00", ""),
        Some(b'T' | b't' | b' ') => {
            let rest = &rest[1..];
            rest.split_at(rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len()))
        }
        Some(_) => return None,
    };
    if !is_clock(clock) || !is_offset(offset) || (!zone && !offset.is_empty()) {
        return None;
    }
    let offset = match offset {
        "" if zone => "+00",
        "Z" | "z" => "+00",
        other => other,
    };
    Some(format!("{day} {clock}{offset}"))
}

fn is_clock(text: &str) -> bool {
    let mut parts = text.split(':');
    let below = |part: Option<&str>, limit: u32| {
        part.is_some_and(|p| p.len() == 2 && number(p).is_some_and(|n| n < limit))
    };
    if !below(parts.next(), 24) || !below(parts.next(), 60) {
        return false;
    }
    match (parts.next(), parts.next()) {
        (None, _) => true,
        (Some(seconds), None) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
            below(Some(whole), 60) && number(fraction.get(..9).unwrap_or(fraction)).is_some()
        }
        _ => false,
    }
}

fn is_offset(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(['+', '-']) else { return matches!(text, "" | "Z" | "z") };
    let (hours, minutes) = match digits.len() {
        2 => (digits, "00"),
        4 => digits.split_at(2),
        5 if digits.as_bytes()[2] == b':' => (&digits[..2], &digits[3..]),
        _ => return false,
    };
    number(hours).is_some_and(|h| h < 16) && number(minutes).is_some_and(|m| m < 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sql_types_are_known_by_all_their_names() {
        assert_eq!(Kind::of(" VarChar(50) "), Kind::Text);
        assert_eq!(Kind::of("timestamp (3) with time zone"), Kind::Timestamp { zone: true });
        assert_eq!(Kind::of("numeric(10,2)"), Kind::Numeric);
        assert_eq!(Kind::of("text[]"), Kind::Array(Box::new(Kind::Text)));
        assert_eq!(Kind::of("point"), Kind::Other("point".into()));
    }

    #[test]
    fn whole_numbers_are_whole() {
        let integer = Kind::of("integer");
        assert_eq!(integer.fit(&json!(2020.0)), Ok(json!(2020)));
        for bad in [json!(2020.5), json!(1e300), json!("2020"), json!(u64::MAX), json!(true)] {
            assert!(integer.fit(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_numeric_is_a_number_or_one_as_text() {
        let numeric = Kind::of("numeric(40,10)");
        for fine in [json!(1.5), json!("12345678901234567890.12345"), json!("-3")] {
            assert_eq!(numeric.fit(&fine), Ok(fine));
        }
        for bad in ["", "-", "1.", ".5", "1e3", "NaN", "1;2", " 1"] {
            assert!(numeric.fit(&json!(bad)).is_err(), "{bad}");
        }
        assert!(Kind::of("real").fit(&json!("1")).is_err());
    }

    #[test]
    fn times_are_of_the_calendar_and_mean_utc() {
        let time = Kind::of("timestamptz");
        assert_eq!(time.fit(&json!("2024-02-29")), Ok(json!("2024-02-29 00:00:00+00")));
        assert_eq!(time.fit(&json!("2026-01-31T12:00:05.25Z")), Ok(json!("2026-01-31 12:00:05.25+00")));
        assert_eq!(time.fit(&json!("2026-01-31 12:00+05:30")), Ok(json!("2026-01-31 12:00+05:30")));
        for bad in
            ["2023-02-29", "2026-13-01", "now", "2026-01-31T25:00", "2026-01-31T12:00Zx", "", "infinity"]
        {
            assert!(time.fit(&json!(bad)).is_err(), "{bad}");
        }
        assert!(Kind::of("timestamp").fit(&json!("2026-01-31T12:00Z")).is_err());
        assert!(Kind::of("date").fit(&json!("2026-01-31")).is_ok());
        assert!(Kind::of("uuid").fit(&json!("not-a-uuid")).is_err());
    }
}
