//! Does every key and value fit the schema?
//!
//! One walk over the parsed document beside the JSON Schema that the types give. serde would stop at the first
//! mistake and knows no lines; the walk goes on, and knows the neighbours of a misspelt key.

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::{Lines, Place, Places, item, join};
use super::resolve::nearest;
use super::version;
use crate::problem::{Kind, Problem};

/// What a walk found.
pub(super) struct Walked {
    /// The place of every key.
    pub(super) places: Places,
    /// The mistakes, in the order of the document.
    pub(super) problems: Vec<Problem>,
}

/// Walks a document.
pub(super) fn walk(schema: &Value, document: &DeTable<'_>, lines: &Lines<'_>, file: &str) -> Walked {
    let walked = Walked { places: Places::new(file), problems: Vec::new() };
    let mut walker = Walker { root: schema, lines, walked };
    walker.table(schema, document, "", Place { line: 1, column: 1 });
    walker.walked
}

struct Walker<'a> {
    root: &'a Value,
    lines: &'a Lines<'a>,
    walked: Walked,
}

impl<'a> Walker<'a> {
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) else {
            return schema;
        };
        &self.root["$defs"][name]
    }

    /// Where a word or a table may stand (`index = "auto"`, `index = { kind = "auto" }`), or one value or a list of them: the
    /// one that the value tries to be.
    fn alternative(&self, schema: &'a Value, value: &DeValue<'_>) -> &'a Value {
        let fitting = |one: &&'a Value| match value {
            DeValue::Table(_) => one["properties"].is_object(),
            DeValue::Array(_) => one["type"] == "array",
            _ => choices(one).is_some(),
        };
        any_of(schema).map(|one| self.resolve(one)).find(fitting).unwrap_or(schema)
    }

    fn say(&mut self, place: Place, problem: Problem) {
        let problem = self.walked.places.at_place(Some(place), problem);
        self.walked.problems.push(problem);
    }

    fn value(&mut self, schema: &'a Value, value: &Spanned<DeValue<'_>>, key: &str, key_place: Place) {
        let schema = self.alternative(self.resolve(schema), value.get_ref());
        let place = match value.get_ref() {
            DeValue::Table(_) => key_place,
            _ => self.lines.place(value.span().start),
        };
        if let Some(choices) = choices(schema) {
            return self.choice(&choices, value.get_ref(), key, place);
        }
        match (schema["type"].as_str(), value.get_ref()) {
            (Some("object"), DeValue::Table(table)) => self.table(schema, table, key, place),
            (Some("array"), DeValue::Array(items)) => {
                if (items.len() as u64) < schema["minItems"].as_u64().unwrap_or(0) {
                    let problem = Problem::new(Kind::Usage, format!("`{key}` is an empty list"));
                    self.say(place, problem.hint(describe(schema)));
                }
                for (index, value) in items.iter().enumerate() {
                    let key = item(key, index);
                    let place = self.lines.place(value.span().start);
                    self.walked.places.insert(&key, place);
                    self.value(&schema["items"], value, &key, place);
                }
            }
            (Some("integer"), DeValue::Integer(number)) => {
                let digits = number.as_str();
                let number = i128::from_str_radix(digits, number.radix()).ok();
                self.range(schema, number, digits, key, place);
            }
            (Some("string"), DeValue::String(text)) => self.length(schema, text, key, place),
            (Some("boolean"), DeValue::Boolean(_))
            | (Some("number"), DeValue::Float(_) | DeValue::Integer(_)) => {}
            (None, value) if any_of(schema).any(|one| fits(one, value)) => {}
            (_, value) => {
                let message = format!("`{key}` must be {}, is {}", wanted(schema), found(value, key));
                self.say(place, Problem::new(Kind::Usage, message).hint(example(schema, key)));
            }
        }
    }

    fn table(&mut self, schema: &'a Value, table: &DeTable<'_>, parent: &str, place: Place) {
        let properties = schema["properties"].as_object();
        for (name, value) in table {
            let key = join(parent, name.get_ref());
            let place = self.lines.place(name.span().start);
            self.walked.places.insert(&key, place);
            match properties.and_then(|known| known.get(name.get_ref().as_ref())) {
                Some(schema) => self.value(schema, value, &key, place),
                None if schema["additionalProperties"].is_object() => {
                    self.value(&schema["additionalProperties"], value, &key, place);
                }
                None => {
                    let known: Vec<&str> =
                        properties.into_iter().flat_map(|p| p.keys()).map(String::as_str).collect();
                    let later = version::later(name.get_ref()).filter(|_| parent.is_empty());
                    let problem = later.unwrap_or_else(|| {
                        unknown(name.get_ref(), &key, parent, &known, self.home_of(name.get_ref()))
                    });
                    self.say(place, problem);
                }
            }
        }
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in required.filter(|name| !table.keys().any(|key| key.get_ref() == name)) {
            let key = join(parent, name);
            let wanted = properties.map_or(&Value::Null, |p| &p[name]);
            let hint = match choices(self.resolve(wanted)) {
                Some(choices) => format!("Choose one of {}.", ticked(&choices)),
                None => example(wanted, &key),
            };
            self.say(place, Problem::new(Kind::Usage, format!("`{key}` is missing")).hint(hint));
        }
    }

    /// The table that knows a key, where exactly one kind of table does.
    fn home_of(&self, name: &str) -> Option<String> {
        let definitions = self.root["$defs"].as_object()?;
        let mut homes = definitions.iter().filter(|(_, schema)| schema["properties"].get(name).is_some());
        let (home, _) = homes.next()?;
        homes.next().is_none().then(|| home.to_lowercase())
    }

    fn choice(&mut self, choices: &[&str], value: &DeValue<'_>, key: &str, place: Place) {
        let all = ticked(choices);
        let problem = match value {
            DeValue::String(text) if choices.contains(&text.as_ref()) => return,
            DeValue::String(text) => {
                let problem = Problem::new(Kind::Usage, format!("`{key}` does not know `{text}`"));
                match nearest(&text.to_lowercase(), choices.iter().copied()) {
                    Some(near) => problem.hint(format!("Did you mean `{near}`?")),
                    None => problem.hint(format!("Choose one of {all}.")),
                }
            }
            value => {
                let message = format!("`{key}` must be text, is {}", found(value, key));
                Problem::new(Kind::Usage, message).hint(format!("Choose one of {all}."))
            }
        };
        self.say(place, problem.detail(format!("known are {all}")));
    }

    fn range(&mut self, schema: &Value, number: Option<i128>, digits: &str, key: &str, place: Place) {
        let bound = |name: &str| schema[name].as_f64().map(|bound| bound as i128);
        let (least, most) = (bound("minimum"), bound("maximum"));
        let inside =
            number.is_some_and(|n| least.is_none_or(|least| n >= least) && most.is_none_or(|most| n <= most));
        if inside {
            return;
        }
        let allowed = match (least, most) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("{least} or more"),
            (None, Some(most)) => format!("up to {most}"),
            (None, None) => "a whole number of 64 bits".to_owned(),
        };
        let problem = Problem::new(Kind::Usage, format!("`{key}` is out of range: `{digits}`"));
        self.say(place, problem.detail(format!("allowed is {allowed}")).hint(describe(schema)));
    }

    fn length(&mut self, schema: &Value, text: &str, key: &str, place: Place) {
        let count = text.chars().count() as u64;
        if count < schema["minLength"].as_u64().unwrap_or(0) {
            self.say(
                place,
                Problem::new(Kind::Usage, format!("`{key}` is empty")).hint(example(schema, key)),
            );
        } else if schema["maxLength"].as_u64().is_some_and(|most| count > most) {
            let most = &schema["maxLength"];
            let problem = Problem::new(Kind::Usage, format!("`{key}` is too long: {count} characters"));
            self.say(place, problem.detail(format!("allowed are {most}")).hint("Choose a shorter name."));
        }
    }
}

/// The words an enumeration allows.
fn choices(schema: &Value) -> Option<Vec<&str>> {
    if let Some(words) = schema["enum"].as_array() {
        return Some(words.iter().filter_map(Value::as_str).collect());
    }
    let words = schema["oneOf"].as_array()?;
    Some(
        words
            .iter()
            .flat_map(|one| match one["enum"].as_array() {
                Some(several) => several.iter().filter_map(Value::as_str).collect(),
                None => one["const"].as_str().into_iter().collect::<Vec<_>>(),
            })
            .collect(),
    )
}

fn ticked(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn any_of(schema: &Value) -> impl Iterator<Item = &Value> {
    schema["anyOf"].as_array().into_iter().flatten()
}

fn fits(schema: &Value, value: &DeValue<'_>) -> bool {
    matches!(
        (schema["type"].as_str(), value),
        (Some("boolean"), DeValue::Boolean(_))
            | (Some("integer"), DeValue::Integer(_))
            | (Some("number"), DeValue::Integer(_) | DeValue::Float(_))
            | (Some("string"), DeValue::String(_))
    )
}

fn wanted(schema: &Value) -> String {
    let name = |schema: &Value| match schema["type"].as_str() {
        Some("object") => "a table",
        Some("array") => "a list",
        Some("integer") => "a whole number",
        Some("number") => "a number",
        Some("boolean") => "`true` or `false`",
        _ => "text",
    };
    let several: Vec<&str> = any_of(schema).map(name).collect();
    if several.is_empty() { name(schema).to_owned() } else { several.join(" or ") }
}

/// What stands there, in words; its text only where it cannot be a secret.
fn found(value: &DeValue<'_>, key: &str) -> String {
    let secret = ["password", "key", "url", "secret", "token"].iter().any(|word| key.contains(word));
    match value {
        DeValue::String(text) if !secret && text.chars().count() <= 40 => format!("text: `{text}`"),
        DeValue::String(_) => "text".into(),
        DeValue::Integer(number) => format!("a whole number: `{}`", number.as_str()),
        DeValue::Float(number) => format!("a number: `{}`", number.as_str()),
        DeValue::Boolean(value) => format!("`{value}`"),
        DeValue::Datetime(_) => "a date or time".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

fn unknown(name: &str, key: &str, parent: &str, known: &[&str], home: Option<String>) -> Problem {
    let table = if parent.is_empty() { "the declaration".to_owned() } else { format!("`{parent}`") };
    let problem = Problem::new(Kind::Usage, format!("unknown key `{key}`"))
        .detail(format!("{table} knows {}", known.join(", ")));
    match (nearest(name, known.iter().copied()), home) {
        (Some(near), _) => problem.hint(format!("Did you mean `{}`?", join(parent, near))),
        (None, Some(home)) => problem.hint(format!("`{name}` is a key of a table of kind `{home}`.")),
        (None, None) => problem.hint("Remove it, or see the manual's page on the declaration."),
    }
}

fn describe(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or("See the manual's page on the declaration.");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An example for a hint: the schema's own, or its description.
fn example(schema: &Value, key: &str) -> String {
    let name = key.rsplit('.').next().unwrap_or(key);
    if schema["type"] == "object" && schema["additionalProperties"].is_object() {
        return format!("Write `[{key}.<name>]`.");
    }
    match schema["examples"].as_array().and_then(|examples| examples.first()) {
        Some(value) if !value.is_object() => format!("For example `{name} = {value}`."),
        _ => describe(schema),
    }
}
