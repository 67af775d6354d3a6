//! Where does each value of the declaration come from?
//!
//! From the file with its line, from the environment, or from a default. Secrets never stand in a declaration; an address
//! is shown without a password all the same. The server's address has an order: `server.url` in the file, then `DATABASE_URL`,
//! then a server that Howdah runs.

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::{place, read};
use serde_json::{Value, json};

use super::common::Common;
use super::print;
use crate::daemon::declaration::Declaration;
use howdah_postgres::find;

/// Key, value and origin of everything declared or defaulted.
///
/// # Errors
/// `usage` when the file cannot be read any more.
pub fn values(declaration: &Declaration) -> Result<Vec<Value>, Problem> {
    let name = declaration.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(&declaration.path).map_err(|error| {
        Problem::new(Kind::Usage, format!("cannot read `{name}`")).detail(error.to_string())
    })?;
    let located = read::located(&text, &name).map_err(|mut problems| problems.remove(0))?;
    let whole = serde_json::to_value(&located.spec).map_err(|error| {
        Problem::new(Kind::Internal, "the declaration cannot be shown").detail(error.to_string())
    })?;
    let mut rows = Vec::new();
    let from = |key: &str| match located.places.exact(key) {
        Some(place) => format!("{name}:{}", place.line),
        None => "default".to_owned(),
    };
    walk(&whole, String::new(), &mut |key, value| {
        if value.is_null() {
            return;
        }
        rows.push(json!({"key": key, "value": shown(key, value), "from": from(key)}));
    });
    if located.spec.server.url.is_none()
        && let Some(url) = find::from_environment()
    {
        rows.push(json!({"key": "server.url", "value": redacted(&url), "from": "environment, DATABASE_URL"}));
    }
    Ok(rows)
}

/// Says that `DATABASE_URL` is set and not used, where the declaration names another server.
pub fn remark(common: &Common, declaration: &Declaration) {
    if !common.quiet && find::overruled(&declaration.spec.server) {
        let file = declaration.path.file_name().unwrap_or_default().to_string_lossy();
        print::err(&format!(
            "{} DATABASE_URL is set and not used: `server.url` in {file} comes first\n",
            print::paint("note:", print::YELLOW)
        ));
    }
}

fn walk(value: &Value, key: String, tell: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                walk(value, place::join(&key, name), tell);
            }
        }
        other => tell(&key, other),
    }
}

fn shown(key: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if key == "server.url" => redacted(text).into(),
        Value::Array(_) => value.to_string().into(),
        other => other.clone(),
    }
}

/// An address without its password.
fn redacted(address: &str) -> String {
    let Ok(mut url) = url::Url::parse(address) else { return "****".to_owned() };
    if url.password().is_some() {
        // Fails only for addresses that cannot have a password.
        let _ = url.set_password(Some("****"));
    }
    if url.query_pairs().any(|(name, _)| name == "password") {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| {
                let value = if name == "password" { "****".into() } else { value.into_owned() };
                (name.into_owned(), value)
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }
    url.to_string()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use howdah_plan::preset;

    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(redacted("postgres://app:s3cret@db/x"), "postgres://app:****@db/x");
        assert_eq!(
            redacted("postgres://db/x?user=a&password=s3cret"),
            "postgres://db/x?user=a&password=****"
        );
        assert_eq!(redacted("host=db password=s3cret"), "****");
    }

    /// Every value of every preset is said to come from the line that has its key, and from a default where no line does.
    #[test]
    fn each_value_is_said_to_come_from_where_it_stands() {
        let extra = "name = 'x'\n[server]\ncores = 2\n[databases.app]\nsettings = { \"hnsw.ef_search\" = 40 }\n\
                     [roles.\"a b\"]\nlogin = true\n[settings]\nwork_mem = '8MB'\n";
        let presets = preset::PRESETS.iter().map(|preset| preset::render(preset.name).unwrap());
        let mut declared = 0;
        for text in presets.chain([extra.to_owned()]) {
            let dir = tempfile::tempdir().unwrap();
            let path: PathBuf = dir.path().join("howdah.toml");
            std::fs::write(&path, &text).unwrap();
            let declaration = Declaration::find(Some(&path)).unwrap();
            let document: toml::Table = toml::from_str(&text).unwrap();
            for row in values(&declaration).unwrap() {
                let key = row["key"].as_str().unwrap();
                let from = row["from"].as_str().unwrap();
                let said = stands(&document, key);
                let Some(line) = from.strip_prefix("howdah.toml:") else {
                    assert!(from == "default" || from.starts_with("environment"), "{key}: {from}");
                    assert!(!said, "{key} is declared and said to be a default");
                    continue;
                };
                declared += 1;
                assert!(said, "{key} is a default, said to stand in {from}");
                let line = text.lines().nth(line.parse::<usize>().unwrap() - 1).unwrap();
                let last = key.rsplit('.').next().unwrap().trim_matches('"');
                assert!(line.contains(last), "{key} from {from}: {line}");
            }
        }
        assert!(declared > 40, "{declared}");
    }

    /// Whether a document has the value of a key.
    fn stands(document: &toml::Table, key: &str) -> bool {
        fn walk(table: &toml::Table, prefix: &str, key: &str) -> bool {
            table.iter().any(|(name, value)| {
                let path = place::join(prefix, name);
                path == key || value.as_table().is_some_and(|table| walk(table, &path, key))
            })
        }
        walk(document, "", key)
    }
}
