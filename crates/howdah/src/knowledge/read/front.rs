//! What does a Markdown file say of itself in front of its text?
//!
//! Front matter is YAML between two lines `---`, or TOML between two lines `+++`, at the very beginning. Its `title` is the
//! document's title; everything else is metadata, where the collection's declared fields are looked for. What is no
//! mapping, or cannot be read, is text as any other: a file that begins with a thematic break is not refused for it.

use serde_json::{Map, Value};

use super::json::Json;
use super::record::Values;

/// Most bytes of front matter.
const LONGEST: usize = 64 << 10;

/// What the front matter says.
#[derive(Debug, Default)]
pub struct Front {
    /// The document's title.
    pub title: Option<String>,
    /// Everything else.
    pub metadata: Values,
}

/// The front matter of a text and what follows it; none where there is none.
pub fn split(text: &str) -> Option<(Front, &str)> {
    let (fence, rest) = [("---", text.strip_prefix("---")), ("+++", text.strip_prefix("+++"))]
        .into_iter()
        .find_map(|(fence, rest)| Some((fence, rest?)))?;
    let (first, rest) = rest.split_once('\n')?;
    if !first.trim().is_empty() {
        return None;
    }
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        let bare = line.trim_end();
        if bare == fence || (fence == "---" && bare == "...") {
            let front = read(fence, &rest[..at])?;
            return Some((front, &rest[at + line.len()..]));
        }
        at += line.len();
        if at > LONGEST {
            return None;
        }
    }
    None
}

fn read(fence: &str, text: &str) -> Option<Front> {
    let map: Map<String, Value> = match fence {
        "---" => match serde_saphyr::from_str::<Value>(text).ok()? {
            Value::Object(map) => map,
            // Nothing, or comments only, between the two lines.
            Value::Null if !text.trim().is_empty() => Map::new(),
            _ => return None,
        },
        _ => match serde_json::to_value(toml::from_str::<toml::Table>(text).ok()?).ok()? {
            Value::Object(map) => map.into_iter().map(|(key, value)| (key, plain(value))).collect(),
            _ => return None,
        },
    };
    let mut front = Front::default();
    for (key, value) in map {
        match value {
            Value::String(title) if key == "title" => {
                front.title = Some(title.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            value => {
                front.metadata.insert(key, Json::of(&value));
            }
        }
    }
    front.title = front.title.filter(|title| !title.is_empty());
    Some(front)
}

/// TOML's dates as text: serde carries them in a map of one key of their own.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(mut map) => match map.remove("$__toml_private_datetime") {
            Some(date) => date,
            None => Value::Object(map.into_iter().map(|(key, value)| (key, plain(value))).collect()),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(plain).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(text: &str) -> Option<(Option<String>, String, String)> {
        let (front, rest) = split(text)?;
        Some((front.title, serde_json::to_string(&front.metadata).unwrap(), rest.to_owned()))
    }

    #[test]
    fn yaml_and_toml_give_title_and_metadata() {
        let yaml =
            "---\ntitle: Run  book\nowner: ops\ntags: [a, b]\nnested: {x: 1}\ndate: 2026-01-31\n---\n\ntext";
        assert_eq!(
            front(yaml),
            Some((
                Some("Run book".into()),
                r#"{"owner":"ops","tags":["a","b"],"nested":{"x":1},"date":"2026-01-31"}"#.into(),
                "\ntext".into()
            ))
        );
        let toml =
            "+++\r\ntitle = \"T\"\r\nyear = 2026\r\ndate = 2026-01-31\r\n[a]\r\nb = 1.5\r\n+++\r\ntext";
        assert_eq!(
            front(toml),
            Some((
                Some("T".into()),
                r#"{"year":2026,"date":"2026-01-31","a":{"b":1.5}}"#.into(),
                "text".into()
            ))
        );
        assert_eq!(front("---\n# nothing\n---\nx"), Some((None, "{}".into(), "x".into())));
        assert_eq!(front("---\ntitle: a\n...\nx").unwrap().0.as_deref(), Some("a"));
    }

    #[test]
    fn what_is_no_front_matter_is_text() {
        for text in [
            "---\n\na rule\n\n---\n\nmore",
            "---\ntitle: [oops\n---\nx",
            "---\ntitle: never closed",
            "--- title\n---\nx",
            "----\na: 1\n----\n",
            "+++\nnot toml\n+++\nx",
            "text\n---\na: 1\n---\n",
            "---\n---\nx",
            "---\n- a\n- b\n---\nx",
        ] {
            assert!(front(text).is_none(), "{text:?}");
        }
        // References that multiply do not fill the memory.
        let mut bomb = "---\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..12 {
            let previous = format!("*a{},", n - 1).repeat(10);
            bomb.push_str(&format!("a{n}: &a{n} [{}]\n", previous.trim_end_matches(',')));
        }
        assert!(front(&format!("{bomb}---\nx")).is_none());
    }
}
