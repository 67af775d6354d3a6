//! What does JSON text hold that a database would lose or refuse?
//!
//! `serde_json` says whether text is JSON. It keeps the last of two keys of one name, and a number only to the precision of
//! a double. So values that are kept as metadata stay text from the file to PostgreSQL's `jsonb`, whose numbers keep every
//! digit, and [`clean`] looks through the text once, without recursion, for what `jsonb` would lose (a key that stands
//! twice) or refuse (NUL, half of a surrogate pair, a number beyond `numeric`).

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// Deepest nesting of a value.
pub const MAX_DEPTH: usize = 128;
/// Digits that PostgreSQL's `numeric` has before and behind its decimal point.
const NUMERIC: (i64, i64) = (131_072, 16_383);

/// A value as it was written: JSON text, with every digit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// Text as a JSON string.
    pub fn text(text: &str) -> Self {
        Json::of(&text)
    }

    /// A value out of its JSON text.
    ///
    /// # Errors
    /// Where it is no JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// A value written as JSON; `null` where it cannot be.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        Json(serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }

    /// The JSON text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// It, called `name`, as [`clean`] writes it.
    ///
    /// # Errors
    /// What would be lost or refused, in one sentence.
    pub fn clean(&self, name: &str) -> Result<Json, String> {
        let text = clean(name, self.get()).map_err(|flaw| flaw.to_string())?;
        RawValue::from_string(text).map(Json).map_err(|error| format!("`{name}`: {error}"))
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.get() == "null"
    }

    /// What kind of value it is.
    pub fn kind(&self) -> &'static str {
        match self.get().as_bytes().first() {
            Some(b'n') => "null",
            Some(b't' | b'f') => "a boolean",
            Some(b'"') => "text",
            Some(b'[') => "a list",
            Some(b'{') => "an object",
            _ => "a number",
        }
    }
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Where: `a.b[2]`, below the value that was checked.
    pub place: String,
    /// What, to be read behind the place.
    pub what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.place.replace('\0', "\\0"), self.what)
    }
}

/// JSON text as a [`Value`], which has to hold all of it: a key that stands twice, and a number of more digits than a double
/// has, are refused. The numbers of a list are taken as the doubles next to them: vectors come as lists.
///
/// # Errors
/// Why not, in one sentence.
pub fn exact(text: &str) -> Result<Value, String> {
    let value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let keeps = Keeps::Doubles;
    let scan = Scan { text, at: 0, name: "", open: Vec::new(), out: String::new(), keeps };
    scan.run().map_err(|flaw| flaw.to_string())?;
    Ok(value)
}

/// Well-formed JSON text, called `name`, without white space and needless escapes; numbers keep their digits.
///
/// # Errors
/// The first thing that would be lost or refused.
pub fn clean(name: &str, text: &str) -> Result<String, Flaw> {
    Scan { text, at: 0, name, open: Vec::new(), out: String::with_capacity(text.len()), keeps: Keeps::Jsonb }
        .run()
}

/// What a value is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// PostgreSQL's `jsonb`.
    Jsonb,
    /// A [`Value`].
    Doubles,
}

/// What a list or an object is open for.
enum Level<'a> {
    List(usize),
    Object { key: Cow<'a, str>, seen: HashSet<Cow<'a, str>> },
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    name: &'a str,
    open: Vec<Level<'a>>,
    out: String,
    keeps: Keeps,
}

impl<'a> Scan<'a> {
    fn run(mut self) -> Result<String, Flaw> {
        while let Some(byte) = self.text.as_bytes().get(self.at) {
            match byte {
                b'{' => self.enter('{', Level::Object { key: Cow::Borrowed(""), seen: HashSet::new() })?,
                b'[' => self.enter('[', Level::List(0))?,
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                other => {
                    match (other, self.open.last_mut()) {
                        (b'}' | b']', _) => drop(self.open.pop()),
                        (b',', Some(Level::List(position))) => *position += 1,
                        _ => {}
                    }
                    self.out.push(char::from(*other));
                    self.at += 1;
                }
            }
        }
        Ok(self.out)
    }

    fn enter(&mut self, bracket: char, level: Level<'a>) -> Result<(), Flaw> {
        if self.open.len() == MAX_DEPTH {
            let what = format!("is nested deeper than {MAX_DEPTH} levels");
            return Err(Flaw { place: self.name.to_owned(), what });
        }
        self.open.push(level);
        self.out.push(bracket);
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), Flaw> {
        let begin = self.at + 1;
        let bytes = self.text.as_bytes();
        let mut end = begin;
        let mut escaped = false;
        while bytes.get(end).is_some_and(|byte| *byte != b'"') {
            if bytes[end] == b'\\' {
                escaped = true;
                end += 1;
            }
            end += 1;
        }
        self.at = (end + 1).min(bytes.len());
        let quoted = &self.text[begin - 1..self.at];
        let value = if escaped {
            Cow::Owned(self.unescaped(quoted)?)
        } else {
            Cow::Borrowed(&self.text[begin..end.min(bytes.len())])
        };
        match &value {
            Cow::Borrowed(_) => self.out.push_str(quoted),
            Cow::Owned(text) => self.out.push_str(&serde_json::to_string(text).unwrap_or_default()),
        }
        let follows = self.text[self.at..].trim_start_matches([' ', '\n', '\r', '\t']);
        if follows.starts_with(':') {
            return self.key(value);
        }
        if escaped && self.keeps == Keeps::Jsonb && value.contains('\0') {
            return Err(self.flaw("has a NUL character (\\u0000), which PostgreSQL does not store"));
        }
        Ok(())
    }

    fn key(&mut self, name: Cow<'a, str>) -> Result<(), Flaw> {
        let Some(Level::Object { key, seen }) = self.open.last_mut() else { return Ok(()) };
        *key = name.clone();
        let twice = !seen.insert(name.clone());
        if twice {
            return Err(self.flaw("stands twice"));
        }
        if self.keeps == Keeps::Jsonb && name.contains('\0') {
            return Err(
                self.flaw("has a NUL character (\\u0000) in its name, which PostgreSQL does not store")
            );
        }
        Ok(())
    }

    fn unescaped(&self, quoted: &str) -> Result<String, Flaw> {
        serde_json::from_str(quoted).map_err(|_| {
            self.flaw("has half of a surrogate pair (\\ud800 to \\udfff), which is no character")
        })
    }

    fn number(&mut self) -> Result<(), Flaw> {
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        self.at += end;
        self.out.push_str(&rest[..end]);
        if self.keeps == Keeps::Doubles {
            let listed = matches!(self.open.last(), Some(Level::List(_)));
            if is_exact(&rest[..end], listed) {
                return Ok(());
            }
            return Err(self.flaw("is a number of more digits than are kept here; write it as text"));
        }
        if fits_numeric(&rest[..end]) {
            return Ok(());
        }
        let what = "is a number that PostgreSQL's numeric does not hold";
        Err(self.flaw(&format!("{what} ({} digits before the point, {} behind it)", NUMERIC.0, NUMERIC.1)))
    }

    fn flaw(&self, what: &str) -> Flaw {
        let mut place = self.name.to_owned();
        for level in &self.open {
            match level {
                Level::List(position) => place.push_str(&format!("[{position}]")),
                Level::Object { key, .. } if place.is_empty() => place.push_str(key),
                Level::Object { key, .. } => place.push_str(&format!(".{key}")),
            }
        }
        Flaw { place, what: what.to_owned() }
    }
}

/// Whether a number is read without losing a digit; of a list's, only whole ones have to be.
fn is_exact(number: &str, listed: bool) -> bool {
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    let Some(decimal) = Decimal::parse(number).map(Decimal::trimmed) else { return false };
    if listed && number.contains(['.', 'e', 'E']) {
        return true;
    }
    let double: f64 = number.parse().unwrap_or(f64::NAN);
    Decimal::parse(&double.to_string()).map(Decimal::trimmed) == Some(decimal)
}

/// Whether `jsonb` takes a number.
fn fits_numeric(number: &str) -> bool {
    // Nearly all are short, and a short one without an exponent fits.
    if number.len() < 1_000 && !number.bytes().any(|byte| byte | 0x20 == b'e') {
        return true;
    }
    let Some(decimal) = Decimal::parse(number) else { return false };
    decimal.whole() <= NUMERIC.0 && decimal.behind() <= NUMERIC.1
}

/// A decimal number, exactly: `0.digits × 10^point`, negative or not.
#[derive(Debug, PartialEq, Eq)]
pub struct Decimal {
    /// Whether it is below zero.
    pub negative: bool,
    /// Its digits, without zeros in front.
    pub digits: Vec<u8>,
    /// Where the point is: so many digits stand before it.
    pub point: i64,
}

impl Decimal {
    /// Reads `-12.5e3`; none when it is no number, or its exponent is beyond every use.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix(['-', '+']) {
            Some(rest) => (text.starts_with('-'), rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], rest[at + 1..].parse::<i32>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|byte| byte - b'0').collect();
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        let point = whole.len() as i64 + i64::from(exponent) - zeros as i64;
        let digits = digits[zeros..].to_vec();
        let point =
            if digits.is_empty() { i64::from(exponent.min(0)) - fraction.len() as i64 } else { point };
        Some(Decimal { negative, digits, point })
    }

    /// Digits before the point.
    pub fn whole(&self) -> i64 {
        if self.digits.is_empty() { 0 } else { self.point.max(0) }
    }

    /// Digits behind the point as it was written.
    pub fn behind(&self) -> i64 {
        (self.digits.len() as i64 - self.point).max(0)
    }

    /// Without zeros at the end.
    pub fn trimmed(mut self) -> Self {
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        if self.digits.is_empty() {
            self.point = 0;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(text: &str) -> String {
        clean("", text).map_or_else(|flaw| flaw.to_string(), |_| "fine".to_owned())
    }

    #[test]
    fn what_would_be_lost_is_found_where_it_stands() {
        for (text, expected) in [
            (r#"{"a":1,"b":{"a":2}}"#, "fine"),
            (r#"{"a":1,"a":1}"#, "`a` stands twice"),
            (r#"{"a":[{"k":1},{"k":1,"\u006b":2}]}"#, "`a[1].k` stands twice"),
            (r#"{"a":"\\u0000"}"#, "fine"),
            (r#"{"a":["x","\u0000"]}"#, "`a[1]` has a NUL"),
            (r#"{"a":"\ud83d\ude00"}"#, "fine"),
            (r#"{"a":"\ud83d"}"#, "`a` has half"),
            (r#"{"a":"x:y","b":"c"}"#, "fine"),
            (r#"{"a" : "b" , "c":"\"a\":1"}"#, "fine"),
            (r#"{"a":1e131071}"#, "fine"),
            (r#"{"a":1e131072}"#, "`a` is a number"),
            (r#"{"a":0e999999999}"#, "fine"),
            (r#"{"a":1e99999999999}"#, "`a` is a number"),
            (r#"{"a":1e-16383}"#, "fine"),
            (r#"{"a":1e-16384}"#, "`a` is a number"),
        ] {
            assert!(flaw(text).starts_with(expected), "{text}: {}", flaw(text));
        }
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(flaw(&deep(MAX_DEPTH)), "fine");
        assert!(flaw(&deep(100_000)).contains("deeper than"));
    }

    #[test]
    fn what_comes_out_is_short_and_says_the_same() {
        let text = "{ \"a\" : [ 1.50 , \"\\u00e9\\n\" ] ,\r\n \"b c\":true, \"d\": null }";
        assert_eq!(clean("", text).unwrap(), "{\"a\":[1.50,\"é\\n\"],\"b c\":true,\"d\":null}");
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&clean("", text).unwrap()).unwrap(), value);
    }

    #[test]
    fn what_a_double_does_not_hold_is_refused() {
        for fine in [
            "{\"a\":[0.1000000000000000055511151231257827,1]}",
            "{\"a\":0.1,\"b\":1.50,\"c\":1e22}",
            "{\"a\":\"\\u0000\"}",
        ] {
            exact(fine).unwrap();
        }
        for (text, expected) in [
            ("{\"a\":123456789012345678901234567890}", "`a` is a number"),
            ("{\"a\":[123456789012345678901234567890]}", "`a[0]` is a number"),
            ("{\"a\":{\"b\":0.1000000000000000055511151231257827}}", "`a.b` is a number"),
            ("{\"a\":1,\"a\":1}", "`a` stands twice"),
            ("{", "EOF"),
        ] {
            let error = exact(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn decimals_are_exact() {
        let decimal = |text: &str| Decimal::parse(text).unwrap().trimmed();
        assert_eq!(decimal("1.50"), decimal("0.15e1"));
        assert_eq!(decimal("-00120"), Decimal { negative: true, digits: vec![1, 2], point: 3 });
        assert_eq!(decimal("0.00"), Decimal { negative: false, digits: vec![], point: 0 });
        assert_eq!((decimal("0.001").whole(), decimal("0.001").behind()), (0, 3));
        for bad in ["", ".", "e5", "1e", "1x", "--1", "NaN"] {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
    }
}
