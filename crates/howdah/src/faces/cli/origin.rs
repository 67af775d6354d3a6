//! Where does each value of the declaration come from?
//!
//! From the file with its line, from the environment, or from a default. Secrets never stand in a declaration; an address
//! is shown without a password all the same.

use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::read;
use serde_json::{Value, json};

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
    let from = |key: &str| match located.places.find(key) {
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

fn walk(value: &Value, key: String, tell: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                walk(value, key, tell);
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
    match url::Url::parse(address) {
        Ok(mut url) => {
            if url.password().is_some() {
                // Fails only for addresses that cannot have a password.
                let _ = url.set_password(Some("****"));
            }
            url.to_string()
        }
        Err(_) => "****".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(redacted("postgres://app:s3cret@db/x"), "postgres://app:****@db/x");
        assert_eq!(redacted("host=db password=s3cret"), "****");
    }
}
