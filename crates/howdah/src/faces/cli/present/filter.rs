//! `--where key=value`: the plain filters, without JSON.

use clap::{Arg, ArgAction, ArgMatches};
use howdah_plan::problem::{Kind, Problem};
use serde_json::{Map, Value, json};

const WHERE: &str = "where";

/// The argument.
pub fn args() -> Vec<Arg> {
    vec![
        Arg::new(WHERE)
            .long(WHERE)
            .value_name("KEY=VALUE")
            .action(ArgAction::Append)
            .help("Only rows whose field has the value; may be given several times"),
    ]
}

/// Adds every `--where` to the filter.
///
/// # Errors
/// `usage` when one has no `=`.
pub fn merge(matches: &ArgMatches, input: &mut Map<String, Value>) -> Result<(), Problem> {
    let equals: Vec<&String> = matches.get_many(WHERE).into_iter().flatten().collect();
    if equals.is_empty() {
        return Ok(());
    }
    let filter = merged(input.shift_remove("filter"), &equals)?;
    input.insert("filter".into(), filter);
    Ok(())
}

/// The filter and every equality, all of which have to hold.
fn merged(filter: Option<Value>, equals: &[&String]) -> Result<Value, Problem> {
    let mut all: Vec<Value> = filter.into_iter().collect();
    for pair in equals {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            Problem::new(Kind::Usage, format!("`--where {pair}` has no `=`"))
                .hint("Write `--where key=value`; for anything else there is `--filter`.")
        })?;
        // What reads as a number or a truth is one; quotes make it text.
        let value = match serde_json::from_str(value) {
            Ok(scalar @ (Value::Number(_) | Value::Bool(_) | Value::String(_))) => scalar,
            _ => value.into(),
        };
        all.push(json!({ key: value }));
    }
    Ok(match <[Value; 1]>::try_from(all) {
        Ok([only]) => only,
        Err(several) => json!({ "and": several }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_one_filter_and_values_keep_their_type() {
        let pairs = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
        let three = pairs(&["lang=en", "pages=3", "tag=\"3\""]);
        assert_eq!(
            merged(Some(json!({"year": {"gte": 2019}})), &three.iter().collect::<Vec<_>>()).unwrap(),
            json!({"and": [{"year": {"gte": 2019}}, {"lang": "en"}, {"pages": 3}, {"tag": "3"}]})
        );
        assert_eq!(merged(None, &[&"a=x=y".to_owned()]).unwrap(), json!({"a": "x=y"}));
        assert_eq!(merged(None, &[&"nothing".to_owned()]).unwrap_err().kind, Kind::Usage);
    }
}
