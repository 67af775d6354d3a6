//! From rows to findings: the verdict says what is bad, the table says everything else.

use serde_json::Value;

use super::answer::{Found, Row};
use super::contract::{Check, CheckFacts, Finding, Fix, FixKind, FixTemplate, Need, Verdict};

/// Judges the rows that the question of `check` gave.
pub fn findings(check: &Check, facts: &CheckFacts<'_>, rows: &[Row]) -> Vec<Finding> {
    match check.verdict {
        Verdict::Each(judge) => rows
            .iter()
            .filter_map(|row| judge(facts, row).map(|found| finding(check, facts, Some(row), found)))
            .collect(),
        Verdict::All(judge) => judge(facts, rows)
            .into_iter()
            .map(|found| {
                let row = found
                    .object
                    .as_deref()
                    .and_then(|object| rows.iter().find(|row| row.object().as_deref() == Some(object)));
                finding(check, facts, row.or(rows.first()), found)
            })
            .collect(),
    }
}

/// What is found when the question of a check that says so ([`Check::error_counts`]) ends in an error.
pub fn error_finding(check: &Check, facts: &CheckFacts<'_>, row: &Row, error: &str) -> Finding {
    finding(check, facts, Some(row), Found::new(error))
}

/// Why a check cannot be asked here, if it cannot.
pub fn cannot(check: &Check, facts: &CheckFacts<'_>) -> Option<String> {
    if !check.suits(facts.major()) {
        return Some(format!("not for PostgreSQL {}", facts.major()));
    }
    check.needs.iter().find_map(|need| match need {
        Need::Extension(name) if !facts.extensions.contains_key(*name) => {
            Some(format!("extension `{name}` is not installed in this database"))
        }
        Need::Primary if facts.recovery => Some("the server is a replica".into()),
        Need::Superuser if !facts.superuser => Some("only a superuser sees it".into()),
        Need::ConfigFiles if !(facts.superuser || facts.config_files) => {
            Some("only a superuser, or whom one lets, sees the lines of the configuration files".into())
        }
        Need::Monitor if !(facts.superuser || facts.monitor) => {
            Some("needs membership in `pg_monitor` (`GRANT pg_monitor TO …`)".into())
        }
        Need::Machine if facts.machine.is_none() => {
            Some("nothing is known about the server's machine".into())
        }
        Need::Declaration if facts.spec.is_none() => Some("there is no declaration to compare with".into()),
        Need::Request if !facts.requested => {
            Some("asked only on request (`--recall`), since it costs more".into())
        }
        _ => None,
    })
}

fn finding(check: &Check, facts: &CheckFacts<'_>, row: Option<&Row>, found: Found) -> Finding {
    let object = found.object.clone().or_else(|| row.and_then(Row::object));
    Finding {
        check: check.id.to_owned(),
        area: check.area,
        severity: found.severity.unwrap_or(check.severity),
        title: check.title.to_owned(),
        database: facts.database.map(str::to_owned),
        object,
        fix: fix_for(found.fix.as_ref().unwrap_or(&check.fix), facts, row, &found.values),
        measured: found.measured,
        why: check.why.to_owned(),
        doc: check.doc(),
    }
}

/// A fix with the values of one finding in it. A managed platform takes no `ALTER SYSTEM`: there the text becomes advice.
pub fn fix_for(
    fix: &FixTemplate,
    facts: &CheckFacts<'_>,
    row: Option<&Row>,
    values: &[(&'static str, String)],
) -> Fix {
    let text = template(fix.text, |name| {
        values.iter().find(|(of, _)| *of == name).map(|(_, value)| value.clone()).or_else(|| {
            match row?.0.get(name)? {
                Value::String(text) => Some(text.clone()),
                Value::Null => None,
                other => Some(other.to_string()),
            }
        })
    });
    if facts.platform.id.is_managed() && text.contains("ALTER SYSTEM") {
        let platform = facts.platform.id.name();
        let text = format!("On {platform} set it in the platform's own parameters instead of: {text}");
        return Fix { kind: FixKind::Advice, text, safe: false };
    }
    Fix { kind: fix.kind, text, safe: fix.safe }
}

/// Puts values in the places of `{name}`; a name without a value stays as it stands.
pub fn template(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let after = &rest[open + 1..];
        let name_end = after.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(after.len());
        let named = name_end > 0 && after[name_end..].starts_with('}');
        match named.then(|| value(&after[..name_end])).flatten() {
            Some(value) => {
                out.push_str(&value);
                rest = &after[name_end + 1..];
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}
