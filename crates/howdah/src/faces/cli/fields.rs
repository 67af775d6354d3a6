//! Which fields does a skill's input have, and how is each written on a command line?
//!
//! Read from the input's JSON Schema. What a shell cannot say in words (objects, lists of lists) is JSON given as text.

use howdah_plan::problem::{Kind as ProblemKind, Problem};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Number, Value};

use crate::skills::Skill;

/// A field of an input.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name in JSON.
    pub name: String,
    /// How it is written.
    pub kind: Kind,
    /// Whether it must be given.
    pub required: bool,
    /// What it means.
    pub about: String,
    /// What it is when absent, where that says something.
    pub default: Option<String>,
}

/// How a field is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// By being there; `stands` is what it is when absent.
    Switch {
        /// When absent.
        stands: bool,
    },
    /// As a whole number.
    Integer {
        /// The least.
        least: Option<i128>,
        /// The most.
        most: Option<i128>,
    },
    /// As a number.
    Number {
        /// The least.
        least: Option<f64>,
        /// The most.
        most: Option<f64>,
    },
    /// As one of some words, each with its meaning.
    Choice(Vec<(String, Option<String>)>),
    /// As a whole number or as text.
    Id,
    /// As text.
    Text,
    /// As scalars, one after the other.
    Several(Box<Kind>),
    /// As JSON.
    Json,
}

/// The fields of a skill's input, in the order of the type.
pub fn fields<C>(skill: &Skill<C>) -> Vec<Field> {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut generator = settings.for_deserialize().into_generator();
    let schema = (skill.input)(&mut generator).to_value();
    let read = Reader { definitions: generator.definitions() };
    let schema = read.follow(&schema);
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    properties
        .iter()
        .map(|(name, schema)| read.field(name, schema, required.iter().any(|one| one == name)))
        .collect()
}

struct Reader<'a> {
    definitions: &'a Map<String, Value>,
}

impl Reader<'_> {
    /// The schema itself, where it is one, or the one it names: types that hold themselves cannot be written in place.
    fn follow<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) else {
            return schema;
        };
        self.definitions.get(name).unwrap_or(schema)
    }

    fn field(&self, name: &str, schema: &Value, required: bool) -> Field {
        let mut kind = self.kind(schema);
        if let Kind::Switch { stands } = &mut kind {
            *stands = schema["default"] == true;
        }
        let about = schema["description"].as_str().unwrap_or_default();
        let default = match &schema["default"] {
            Value::Null | Value::Bool(_) => None,
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            Value::Array(_) | Value::Object(_) => None,
        };
        Field {
            name: name.to_owned(),
            kind,
            required,
            about: about.split_whitespace().collect::<Vec<_>>().join(" "),
            default,
        }
    }

    fn kind(&self, schema: &Value) -> Kind {
        let schema = self.follow(schema);
        if let Some(choices) = choices(schema) {
            return Kind::Choice(choices);
        }
        if let Some(all) = ["anyOf", "oneOf"].iter().find_map(|name| schema[*name].as_array()) {
            let kinds: Vec<Kind> =
                all.iter().filter(|one| one["type"] != "null").map(|one| self.kind(one)).collect();
            return match kinds.as_slice() {
                [one] => one.clone(),
                [Kind::Integer { .. }, Kind::Text] | [Kind::Text, Kind::Integer { .. }] => Kind::Id,
                _ => Kind::Json,
            };
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(all) => all.iter().filter_map(Value::as_str).filter(|one| *one != "null").collect(),
            _ => vec![],
        };
        match types.as_slice() {
            ["boolean"] => Kind::Switch { stands: false },
            ["integer"] => {
                let (least, most) = width(schema["format"].as_str().unwrap_or_default());
                Kind::Integer {
                    least: integer(&schema["minimum"]).or(least),
                    most: integer(&schema["maximum"]).or(most),
                }
            }
            ["number"] => {
                Kind::Number { least: schema["minimum"].as_f64(), most: schema["maximum"].as_f64() }
            }
            ["string"] => Kind::Text,
            ["integer", "string"] | ["string", "integer"] => Kind::Id,
            ["array"] => match self.kind(&schema["items"]) {
                Kind::Several(_) | Kind::Json | Kind::Switch { .. } => Kind::Json,
                scalar => Kind::Several(Box::new(scalar)),
            },
            _ => Kind::Json,
        }
    }
}

/// The words of an enumeration: `enum`, or `oneOf` with a constant each.
fn choices(schema: &Value) -> Option<Vec<(String, Option<String>)>> {
    if let Some(all) = schema["enum"].as_array() {
        let words: Vec<_> = all.iter().filter_map(|one| Some((one.as_str()?.to_owned(), None))).collect();
        return (!words.is_empty()).then_some(words);
    }
    let mut words = Vec::new();
    for one in schema["oneOf"].as_array()? {
        match one["const"].as_str() {
            Some(word) => {
                words.push((word.to_owned(), one["description"].as_str().map(|text| short(text).to_owned())));
            }
            None => words.extend(choices(one)?),
        }
    }
    Some(words)
}

fn integer(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)).or(value.as_f64().map(|f| f as i128))
}

/// What fits a type of this width.
fn width(format: &str) -> (Option<i128>, Option<i128>) {
    match format {
        "int32" => (Some(i32::MIN.into()), Some(i32::MAX.into())),
        "uint32" => (Some(0), Some(u32::MAX.into())),
        "uint64" | "uint" => (Some(0), Some(u64::MAX.into())),
        _ => (Some(i64::MIN.into()), Some(i64::MAX.into())),
    }
}

/// The first sentence, without its stop.
pub fn short(text: &str) -> &str {
    let end = text
        .match_indices(". ")
        .find(|(at, _)| text[at + 2..].starts_with(|next: char| next.is_uppercase() || next == '`'))
        .map_or(text.len(), |(at, _)| at);
    text[..end].trim_end_matches('.')
}

impl Kind {
    /// Whether what was said is a number above the most that is allowed.
    pub fn is_beyond(&self, words: &[String]) -> bool {
        let Some(word) = words.first() else { return false };
        match self {
            Kind::Integer { most: Some(most), .. } => word.parse().is_ok_and(|said: i128| said > *most),
            Kind::Number { most: Some(most), .. } => word.parse().is_ok_and(|said: f64| said > *most),
            _ => false,
        }
    }

    /// What stands for a value in the help.
    pub fn value_name(&self, field: &str) -> String {
        match self {
            Kind::Switch { .. } => "true|false".to_owned(),
            Kind::Integer { .. } => unit(field).unwrap_or("N").to_owned(),
            Kind::Number { .. } => unit(field).unwrap_or("NUMBER").to_owned(),
            Kind::Choice(_) | Kind::Text | Kind::Id => field.to_uppercase(),
            Kind::Several(one) => match one.as_ref() {
                Kind::Number { .. } | Kind::Integer { .. } => "JSON".to_owned(),
                one => one.value_name(singular(field)),
            },
            Kind::Json => "JSON".to_owned(),
        }
    }

    /// Whether a value may begin with `-`.
    pub fn may_be_negative(&self) -> bool {
        match self {
            Kind::Integer { .. } | Kind::Number { .. } | Kind::Id | Kind::Json => true,
            Kind::Several(one) => one.may_be_negative(),
            Kind::Switch { .. } | Kind::Choice(_) | Kind::Text => false,
        }
    }

    /// The value that the words on the command line mean; `flag` is how it was said.
    ///
    /// # Errors
    /// `usage` when they mean none.
    pub fn read(&self, field: &str, flag: &str, words: &[String]) -> Result<Value, Problem> {
        match self {
            Kind::Several(one) => {
                let mut all = Vec::new();
                for word in words {
                    // No number begins with `[`: it is a list of them.
                    if word.trim_start().starts_with('[') && one.is_number() {
                        match json(flag, word)? {
                            Value::Array(list) => all.extend(list),
                            other => all.push(other),
                        }
                    } else if one.is_number() && words.len() == 1 && word.parse::<f64>().is_err() {
                        return Err(not_json(flag, word));
                    } else {
                        all.push(one.read_one(field, flag, word)?);
                    }
                }
                Ok(Value::Array(all))
            }
            one => one.read_one(field, flag, words.last().map_or("", String::as_str)),
        }
    }

    /// Whether it is written as a number.
    pub fn is_number(&self) -> bool {
        matches!(self, Kind::Integer { .. } | Kind::Number { .. })
    }

    fn read_one(&self, field: &str, flag: &str, word: &str) -> Result<Value, Problem> {
        match self {
            Kind::Switch { .. } => Ok(Value::Bool(word != "false")),
            Kind::Integer { least, most } => {
                let number = word.parse::<i128>().map_err(|_| unreadable(field, word, "a whole number"))?;
                within(field, word, &number, least.as_ref(), most.as_ref())?;
                Number::from_i128(number)
                    .map(Value::Number)
                    .ok_or_else(|| unreadable(field, word, "a whole number that a computer can hold"))
            }
            Kind::Number { least, most } => {
                let number = word.parse::<f64>().map_err(|_| unreadable(field, word, "a number"))?;
                within(field, word, &number, least.as_ref(), most.as_ref())?;
                let read = serde_json::from_str::<Number>(word).ok().or_else(|| Number::from_f64(number));
                read.map(Value::Number).ok_or_else(|| unreadable(field, word, "a finite number"))
            }
            Kind::Id => Ok(id(word)),
            Kind::Choice(_) | Kind::Text => Ok(word.into()),
            Kind::Several(_) | Kind::Json => json(flag, word),
        }
    }
}

/// The unit that a field's name ends in.
fn unit(field: &str) -> Option<&'static str> {
    const UNITS: &[(&str, &str)] =
        &[("_ms", "MS"), ("_seconds", "SECONDS"), ("_days", "DAYS"), ("_bytes", "BYTES")];
    UNITS.iter().find(|(end, _)| field.ends_with(end)).map(|(_, unit)| *unit)
}

fn singular(field: &str) -> &str {
    field.strip_suffix('s').unwrap_or(field)
}

fn unreadable(field: &str, word: &str, what: &str) -> Problem {
    Problem::new(ProblemKind::Usage, format!("{field} `{word}` is not {what}"))
}

fn within<T: PartialOrd + std::fmt::Display>(
    field: &str,
    word: &str,
    value: &T,
    least: Option<&T>,
    most: Option<&T>,
) -> Result<(), Problem> {
    if least.is_none_or(|least| value >= least) && most.is_none_or(|most| value <= most) {
        return Ok(());
    }
    let problem = Problem::new(ProblemKind::Usage, format!("{field} `{word}` is out of range"));
    Err(match (least, most) {
        (Some(least), Some(most)) => problem
            .detail(format!("{field} is {least} to {most}"))
            .hint(format!("Give a value from {least} to {most}.")),
        (Some(least), None) => problem
            .detail(format!("{field} is at least {least}"))
            .hint(format!("Give a value of at least {least}.")),
        (_, Some(most)) => problem
            .detail(format!("{field} is at most {most}"))
            .hint(format!("Give a value of at most {most}.")),
        (None, None) => problem,
    })
}

/// JSON given as a flag.
///
/// # Errors
/// `usage` when it is not JSON.
pub fn json(flag: &str, text: &str) -> Result<Value, Problem> {
    serde_json::from_str(text).map_err(|error| {
        Problem::new(ProblemKind::Usage, format!("`{flag}` is not JSON"))
            .detail(error.to_string())
            .hint("Put it in single quotes, with keys and text in double quotes: `'{\"year\": 2020}'`.")
    })
}

fn not_json(flag: &str, text: &str) -> Problem {
    json(flag, text).err().unwrap_or_else(|| unreadable(flag, text, "a list of numbers"))
}

/// A row's id as JSON: a number where it is one.
pub fn id(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| text.into(), Value::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(schema: &Value) -> Kind {
        Reader { definitions: &Map::new() }.kind(schema)
    }

    #[test]
    fn what_may_be_null_is_written_as_what_it_is_else() {
        assert_eq!(kind(&json!({"type": ["string", "null"]})), Kind::Text);
        assert_eq!(
            kind(&json!({"anyOf": [{"type": "boolean"}, {"type": "null"}]})),
            Kind::Switch { stands: false }
        );
        let words = json!({"anyOf": [
            {"oneOf": [{"const": "a", "description": "The first. Really."}, {"type": "string", "enum": ["b"]}]},
            {"type": "null"},
        ]});
        let choice = Kind::Choice(vec![("a".into(), Some("The first".into())), ("b".into(), None)]);
        assert_eq!(kind(&words), choice);
        assert_eq!(kind(&json!({"type": "array", "items": {"type": "object"}})), Kind::Json);
        assert_eq!(kind(&json!(true)), Kind::Json);
    }

    #[test]
    fn what_a_number_may_be_is_told_by_its_schema_and_by_its_width() {
        let read = |schema: Value, word: &str| kind(&schema).read("n", "--n", &[word.to_owned()]);
        let hour = json!({"type": "integer", "format": "uint32", "minimum": 0, "maximum": 23});
        assert_eq!(read(hour.clone(), "23").unwrap(), json!(23));
        let late = read(hour.clone(), "24").unwrap_err();
        assert_eq!(late.message, "n `24` is out of range");
        assert_eq!(late.detail.as_deref(), Some("n is 0 to 23"));
        assert_eq!(read(hour, "x").unwrap_err().message, "n `x` is not a whole number");
        assert!(read(json!({"type": "integer", "format": "uint32"}), "4294967296").is_err());
        assert_eq!(
            read(json!({"type": "integer", "format": "uint64"}), "18446744073709551615").unwrap(),
            json!(u64::MAX)
        );
        assert!(read(json!({"type": "integer", "format": "int64"}), "9223372036854775808").is_err());
        assert_eq!(read(json!({"type": "number"}), "-.5").unwrap(), json!(-0.5));
        for infinite in ["inf", "NaN", "1e999"] {
            assert!(read(json!({"type": "number"}), infinite).is_err(), "{infinite}");
        }
    }

    #[test]
    fn a_list_of_numbers_is_json_or_said_one_by_one() {
        let list = kind(&json!({"type": ["array", "null"], "items": {"type": "number"}}));
        let read = |words: &[&str]| {
            list.read("vector", "--vector", &words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(read(&["[0.1, -2]"]).unwrap(), json!([0.1, -2]));
        assert_eq!(read(&["0.1", "-2"]).unwrap(), json!([0.1, -2]));
        assert_eq!(read(&["x"]).unwrap_err().message, "`--vector` is not JSON");
        assert_eq!(read(&["[x]"]).unwrap_err().message, "`--vector` is not JSON");
    }

    #[test]
    fn the_first_sentence_ends_where_another_begins() {
        assert_eq!(short("One. Two."), "One");
        assert_eq!(short("Keys are `metadata.lang` e.g. so."), "Keys are `metadata.lang` e.g. so");
        assert_eq!(short("Checks (`pgv.`); all when empty."), "Checks (`pgv.`); all when empty");
    }
}
