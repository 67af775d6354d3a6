//! How does a JSON value become a column?
//!
//! One table of PostgreSQL types: what JSON each takes, and its bytes in PostgreSQL's binary format. A value that does not
//! fit is refused in one sentence; nothing is rounded, cut or guessed.

use jiff::civil::Date;
use jiff::{Timestamp, civil};
use serde_json::Value;

/// Seconds from 1970 to 2000, where PostgreSQL counts from.
const POSTGRES_EPOCH: i64 = 946_684_800;

/// A type that a declared field can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// `text`, `varchar`, `character varying(n)`, `name`.
    Text,
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
    /// `text[]`.
    TextArray,
}

/// SQL names, as `format_type` spells them and as people do.
const NAMES: &[(&str, FieldType)] = &[
    ("text", FieldType::Text),
    ("character varying", FieldType::Text),
    ("varchar", FieldType::Text),
    ("smallint", FieldType::SmallInt),
    ("int2", FieldType::SmallInt),
    ("integer", FieldType::Integer),
    ("int", FieldType::Integer),
    ("int4", FieldType::Integer),
    ("bigint", FieldType::BigInt),
    ("int8", FieldType::BigInt),
    ("real", FieldType::Real),
    ("float4", FieldType::Real),
    ("double precision", FieldType::Double),
    ("float8", FieldType::Double),
    ("boolean", FieldType::Boolean),
    ("bool", FieldType::Boolean),
    ("timestamp with time zone", FieldType::Timestamptz),
    ("timestamptz", FieldType::Timestamptz),
    ("timestamp without time zone", FieldType::Timestamp),
    ("timestamp", FieldType::Timestamp),
    ("date", FieldType::Date),
    ("jsonb", FieldType::Jsonb),
    ("json", FieldType::Json),
    ("uuid", FieldType::Uuid),
    ("text[]", FieldType::TextArray),
    ("character varying[]", FieldType::TextArray),
];

impl FieldType {
    /// The type of this SQL name; none when ingest cannot fill it.
    pub fn of(sql: &str) -> Option<Self> {
        let plain = sql.trim().to_ascii_lowercase();
        let bare = match (plain.find('('), plain.find(')')) {
            (Some(open), Some(close)) if open < close => {
                format!("{}{}", plain[..open].trim(), &plain[close + 1..])
            }
            _ => plain,
        };
        NAMES.iter().find(|(name, _)| *name == bare).map(|(_, kind)| *kind)
    }

    /// The bytes of `value` in PostgreSQL's binary format; none for NULL.
    ///
    /// # Errors
    /// Why the value does not fit, in one sentence.
    pub fn encode(self, value: &Value) -> Result<Option<Vec<u8>>, String> {
        if value.is_null() {
            return Ok(None);
        }
        let refused = || format!("{} is no {}", shown(value), self.said());
        let bytes = match self {
            FieldType::Text => text(value).map(String::into_bytes),
            FieldType::SmallInt => {
                integer(value).and_then(|n| i16::try_from(n).ok()).map(|n| n.to_be_bytes().to_vec())
            }
            FieldType::Integer => {
                integer(value).and_then(|n| i32::try_from(n).ok()).map(|n| n.to_be_bytes().to_vec())
            }
            FieldType::BigInt => integer(value).map(|n| n.to_be_bytes().to_vec()),
            FieldType::Real => number(value).map(|x| (x as f32).to_be_bytes().to_vec()),
            FieldType::Double => number(value).map(|x| x.to_be_bytes().to_vec()),
            FieldType::Boolean => boolean(value).map(|b| vec![u8::from(b)]),
            FieldType::Timestamptz | FieldType::Timestamp => {
                timestamp(value).map(|micros| micros.to_be_bytes().to_vec())
            }
            FieldType::Date => date(value).map(|days| days.to_be_bytes().to_vec()),
            FieldType::Json => Some(value.to_string().into_bytes()),
            // The one version of jsonb's binary format there is.
            FieldType::Jsonb => Some([&[1u8][..], value.to_string().as_bytes()].concat()),
            FieldType::Uuid => value
                .as_str()
                .and_then(|s| uuid::Uuid::parse_str(s.trim()).ok())
                .map(|u| u.into_bytes().to_vec()),
            FieldType::TextArray => text_array(value),
        };
        bytes.map(Some).ok_or_else(refused)
    }

    fn said(self) -> &'static str {
        NAMES.iter().find(|(_, kind)| *kind == self).map_or("value", |(name, _)| name)
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let x = number.as_f64()?;
            // Beyond 2^53 a float no longer says which integer was meant.
            (x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0).then_some(x as i64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "1" => Some(true),
            "false" | "f" | "no" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Microseconds since 2000, from RFC 3339, a date and time without zone (UTC), a date, or seconds since 1970.
fn timestamp(value: &Value) -> Option<i64> {
    let micros = match value {
        Value::Number(number) => match number.as_i64() {
            Some(seconds) => seconds.checked_mul(1_000_000)?,
            None => (number.as_f64()? * 1e6).round() as i64,
        },
        Value::String(text) => instant(text.trim())?.as_microsecond(),
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
fn date(value: &Value) -> Option<i32> {
    let text = value.as_str()?.trim();
    let date = text.parse::<Date>().ok().or_else(|| Some(text.parse::<civil::DateTime>().ok()?.date()))?;
    let days = (date - civil::date(2000, 1, 1)).get_days();
    Some(days)
}

fn text_array(value: &Value) -> Option<Vec<u8>> {
    let owned;
    let items: &[Value] = match value {
        Value::Array(items) => items,
        Value::String(text) if text.trim_start().starts_with('[') => {
            owned = serde_json::from_str::<Vec<Value>>(text).ok()?;
            &owned
        }
        _ => return None,
    };
    let texts: Vec<Option<String>> = items
        .iter()
        .map(|item| if item.is_null() { Some(None) } else { text(item).map(Some) })
        .collect::<Option<_>>()?;
    Some(encode_text_array(&texts))
}

fn encode_text_array(texts: &[Option<String>]) -> Vec<u8> {
    /// Type number of `text`.
    const TEXT: i32 = 25;
    let mut bytes = Vec::new();
    let dimensions = i32::from(!texts.is_empty());
    bytes.extend(dimensions.to_be_bytes());
    bytes.extend(i32::from(texts.iter().any(Option::is_none)).to_be_bytes());
    bytes.extend(TEXT.to_be_bytes());
    if dimensions == 1 {
        bytes.extend((texts.len() as i32).to_be_bytes());
        bytes.extend(1i32.to_be_bytes());
    }
    for text in texts {
        match text {
            None => bytes.extend((-1i32).to_be_bytes()),
            Some(text) => {
                bytes.extend((text.len() as i32).to_be_bytes());
                bytes.extend(text.as_bytes());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_read_as_people_and_as_the_server_spell_them() {
        assert_eq!(FieldType::of("VARCHAR(50)"), Some(FieldType::Text));
        assert_eq!(FieldType::of("character varying(50)[]"), Some(FieldType::TextArray));
        assert_eq!(FieldType::of("timestamp with time zone"), Some(FieldType::Timestamptz));
        assert_eq!(FieldType::of("inet"), None);
    }

    #[test]
    fn nothing_is_rounded_cut_or_guessed() {
        assert!(FieldType::Integer.encode(&json!(3_000_000_000_i64)).is_err());
        assert!(FieldType::Integer.encode(&json!(1.5)).is_err());
        assert!(FieldType::Boolean.encode(&json!("maybe")).is_err());
        assert!(FieldType::Date.encode(&json!("2026-02-30")).is_err());
        assert!(FieldType::Uuid.encode(&json!("x")).is_err());
        assert!(FieldType::TextArray.encode(&json!([{"a": 1}])).is_err());
        assert_eq!(FieldType::Integer.encode(&json!(2.0)), Ok(Some(vec![0, 0, 0, 2])));
        assert_eq!(FieldType::Integer.encode(&json!(null)), Ok(None));
        let message = FieldType::Integer.encode(&json!("x".repeat(500))).unwrap_err();
        assert!(message.len() < 120, "{message}");
    }

    #[test]
    fn times_count_from_the_year_2000() {
        assert_eq!(
            FieldType::Timestamptz.encode(&json!("2000-01-01T00:00:01Z")),
            Ok(Some(1_000_000i64.to_be_bytes().to_vec()))
        );
        assert_eq!(
            FieldType::Timestamptz.encode(&json!("2000-01-01 00:00:01")),
            Ok(Some(1_000_000i64.to_be_bytes().to_vec()))
        );
        assert_eq!(
            FieldType::Timestamptz.encode(&json!(946_684_801)),
            Ok(Some(1_000_000i64.to_be_bytes().to_vec()))
        );
        assert_eq!(FieldType::Date.encode(&json!("1999-12-31")), Ok(Some((-1i32).to_be_bytes().to_vec())));
    }
}
