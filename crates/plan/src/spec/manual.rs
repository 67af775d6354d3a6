//! The manual's page on the declaration, written from the schema, so that no key is missing and none is invented.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::schema;

/// Where the page stands in the repository.
pub const PATH: &str = "docs/reference/declaration.md";

/// Tables of the declaration: heading, header in TOML, name among the schema's definitions.
const TABLES: [(&str, &str, &str); 14] = [
    ("Which keys does `[server]` have?", "[server]", "Server"),
    ("Which keys does `[api]` have?", "[api]", "Api"),
    ("Which keys does a database have?", "[databases.<name>]", "Database"),
    ("Which keys does a role have?", "[roles.<name>]", "Role"),
    ("Which keys does a grant have?", "grants = [{ … }]", "Grant"),
    ("Which keys does an embedder have?", "[embedders.<name>]", "Embedder"),
    ("Which keys does a collection have?", "[collections.<name>]", "Collection"),
    ("Which keys does `adopt` have?", "[collections.<name>.adopt]", "Adopt"),
    ("Which keys does `chunking` have?", "[collections.<name>.chunking]", "Chunking"),
    ("Which keys does `index` have?", "[collections.<name>.index]", "Index"),
    ("Which keys does a plain table have?", "[tables.<name>]", "Table"),
    ("Which keys does a column have?", "columns = [{ … }]", "Column"),
    ("Which keys does an index of a plain table have?", "indexes = [{ … }]", "TableIndex"),
    ("What can stand under `[settings]`?", "[settings]", "SettingValue"),
];

const OPENING: &str = "# The declaration: every key of howdah.toml

This page is generated from the types that read the file.

## What is howdah.toml?

One file that says what there shall be: the server, databases, roles, embedders, collections, plain tables and settings.
`howdah plan` shows the difference to what is there, `howdah apply` ends it. Unknown keys are refused with a \"did you mean\",
and each mistake is told with file, line, column and key, all at once.

## How does my editor complete keys and check them?

The first line names the JSON Schema: `#:schema howdah.schema.json`. Editors with TOML support read it. `howdah init` writes
the schema beside the declaration, and `howdah config schema` prints it.

## What is the smallest declaration that works?

```toml
name = \"notes\"

[databases.app]
extensions = { vector = \"*\" }

[embedders.local]
kind = \"local\"
model = \"all-MiniLM-L6-v2\"

[collections.notes]
embedder = \"local\"
```
";

/// The page.
pub fn page() -> String {
    let mut page = OPENING.to_owned();
    page += "\n## Which keys stand at the top of the declaration?\n\n";
    keys(&mut page, schema::schema());
    for (heading, header, definition) in TABLES {
        let definition = &schema::schema()["$defs"][definition];
        let text = definition["description"].as_str().unwrap_or_default();
        let _ = write!(page, "\n## {heading}\n\n`{header}`: {text}\n\n");
        keys(&mut page, definition);
    }
    page
}

fn keys(page: &mut String, definition: &Value) {
    let required: Vec<&str> =
        definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, key) in definition["properties"].as_object().into_iter().flatten() {
        let _ = write!(page, "- `{name}`: {}", key["description"].as_str().unwrap_or_default());
        for fact in facts(name, key, &required) {
            let _ = write!(page, " {fact}");
        }
        page.push('\n');
        for (word, meaning) in choices(key) {
            let _ = writeln!(page, "  - `{word}`: {meaning}");
        }
    }
    if definition["properties"].is_null() {
        *page += "A value is `true` or `false`, a number, or text with a unit where PostgreSQL has one (`\"64MB\"`, `\"1s\"`).\n";
    }
}

/// What the schema says of a key beyond its description.
fn facts(name: &str, key: &Value, required: &[&str]) -> Vec<String> {
    let mut facts = Vec::new();
    if required.contains(&name) {
        facts.push("Required.".to_owned());
    }
    match (&key["minimum"], &key["maximum"]) {
        (Value::Null, Value::Null) => {}
        (least, Value::Null) if least == &json!(0) => {}
        (least, Value::Null) => facts.push(format!("From {least}.")),
        (Value::Null, most) => facts.push(format!("Up to {most}.")),
        (least, most) => facts.push(format!("From {least} to {most}.")),
    }
    if !key["default"].is_null() {
        facts.push(format!("Default: `{}`.", key["default"]));
    }
    match key["examples"].as_array().and_then(|examples| examples.first()) {
        Some(Value::Object(example)) => {
            let pairs: Vec<String> = example.iter().map(|(key, value)| format!("{key} = {value}")).collect();
            facts.push(format!("Example: `{name} = {{ {} }}`.", pairs.join(", ")));
        }
        Some(example) => {
            facts.push(format!("Example: `{name} = {}`.", example.to_string().replace("\",\"", "\", \"")));
        }
        None => {}
    }
    facts
}

/// Words of an enumeration, with what each means.
fn choices(key: &Value) -> Vec<(String, String)> {
    let reference = key["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/"));
    let Some(definition) = reference.map(|name| &schema::schema()["$defs"][name]) else { return Vec::new() };
    let one = |choice: &Value| {
        Some((
            choice["const"].as_str()?.to_owned(),
            choice["description"].as_str().unwrap_or_default().to_owned(),
        ))
    };
    definition["oneOf"].as_array().into_iter().flatten().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_page_is_the_one_the_schema_gives() {
        let path = format!("{}/../../{PATH}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == page(), "{PATH} is old: UPDATE_SCHEMA=1 cargo test -p howdah-plan");
    }

    #[test]
    fn every_table_of_the_schema_is_on_the_page() {
        let tables = schema::schema()["$defs"].as_object().unwrap().iter();
        for (name, _) in tables.filter(|(_, definition)| definition["properties"].is_object()) {
            assert!(TABLES.iter().any(|(.., on_page)| on_page == name), "{name}");
        }
    }

    #[test]
    fn the_smallest_declaration_on_the_page_works() {
        let text = OPENING.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        crate::spec::read::from_str(text, "manual").unwrap_or_else(|problems| panic!("{problems:#?}"));
    }
}
