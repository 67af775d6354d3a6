//! Settings of the server, of databases and of roles.

use std::collections::BTreeMap;

use super::live::Setting;
use super::memory::{forget, remember};
use super::ownership::owner;
use super::step::{Effect, Step, StepKind};
use super::work::Work;
use crate::problem::{Kind, Problem};
use crate::settings;
use crate::spec::SettingValue;
use crate::spec::resolve::{nearest, quote_ident, quote_literal};

/// Settings whose value is a list of names, each to be quoted by itself.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

fn elements(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(|part| part.trim().trim_matches('"').to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

/// The value as a `SET` clause takes it.
fn assigned(name: &str, value: &str) -> String {
    if settings::find(name).is_some() {
        settings::literal(name, value)
    } else if LISTS.contains(&name) {
        let parts: Vec<String> = elements(value).iter().map(|part| quote_literal(part)).collect();
        if parts.is_empty() { "''".into() } else { parts.join(", ") }
    } else {
        quote_literal(value)
    }
}

/// Whether two ways to write a setting's value mean the same.
///
/// The table of settings knows best; of what is not in it, the server says kind and unit.
fn same_value(name: &str, fact: Option<&Setting>, a: &str, b: &str) -> bool {
    if settings::find(name).is_some() && settings::same(name, a, b) {
        return true;
    }
    if LISTS.contains(&name) {
        return elements(a) == elements(b);
    }
    let kind = fact.map_or("", |fact| fact.kind.as_str());
    let unit = fact.and_then(|fact| fact.unit.as_deref());
    match kind {
        "bool" => matches!((truth(a), truth(b)), (Some(a), Some(b)) if a == b),
        "enum" => a.eq_ignore_ascii_case(b) || matches!((truth(a), truth(b)), (Some(a), Some(b)) if a == b),
        "string" => a == b,
        "integer" | "real" => same_number(a, b, unit, kind == "integer"),
        _ => a == b || truth(a).is_some() && truth(a) == truth(b) || same_number(a, b, None, false),
    }
}

fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "t" | "y" | "1" => Some(true),
        "off" | "false" | "no" | "f" | "n" | "0" => Some(false),
        _ => None,
    }
}

fn same_number(a: &str, b: &str, unit: Option<&str>, whole: bool) -> bool {
    let (Some(a), Some(b)) = (number(a, unit), number(b, unit)) else { return false };
    // The server rounds to whole units.
    let scale = unit.and_then(scale_of).unwrap_or(1.0);
    if whole {
        (a / scale).round() == (b / scale).round()
    } else {
        (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
    }
}

/// Bytes or microseconds of `512MB` or `10min`; a bare number counts in `unit`.
fn number(value: &str, unit: Option<&str>) -> Option<f64> {
    let value = value.trim();
    let end = value
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || (*i == 0 && (*c == '-' || *c == '+'))))
        .map_or(value.len(), |(i, _)| i);
    let number: f64 = value[..end].parse().ok()?;
    let said = value[end..].trim();
    let scale = if said.is_empty() { unit.and_then(scale_of).unwrap_or(1.0) } else { scale_of(said)? };
    Some(number * scale)
}

fn scale_of(unit: &str) -> Option<f64> {
    let start = unit.find(|c: char| !c.is_ascii_digit())?;
    let times: f64 = if start == 0 { 1.0 } else { unit[..start].parse().ok()? };
    let one = match &unit[start..] {
        "B" => 1.0,
        "kB" => 1024.0,
        "MB" => 1024.0 * 1024.0,
        "GB" => 1024.0 * 1024.0 * 1024.0,
        "TB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "min" => 60e6,
        "h" => 3_600e6,
        "d" => 86_400e6,
        _ => return None,
    };
    Some(times * one)
}

fn valid_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

/// Says what is wrong with a setting's name, if something is.
fn known(work: &mut Work, name: &str, place: &str) -> bool {
    let there = work.live.settings.contains_key(name) || name.contains('.');
    if valid_name(name) && there {
        return true;
    }
    let problem = Problem::new(Kind::Usage, format!("setting `{name}` does not exist on this server"))
        .detail(format!("declared in {place}"));
    let near = nearest(name, work.live.settings.keys().map(String::as_str)).map(str::to_owned);
    work.problem(match near {
        Some(near) => problem.hint(format!("Did you mean `{near}`?")),
        None => problem.hint("Take it out of the declaration."),
    });
    false
}

/// What a session runs first so that it knows the setting: an extension's exist only once its library is loaded, pgvector's
/// by a value of its type, Howdah's by a question to its access method.
fn loads(name: &str) -> Option<String> {
    let question = match name.split_once('.')?.0 {
        "hnsw" | "ivfflat" => "'[1]'::vector",
        "howdah" => settings::LOAD_HOWDAH,
        _ => return None,
    };
    Some(format!("DO $$ BEGIN PERFORM {question}; END $$"))
}

/// Whether a setting belongs to an extension that cannot be had: what follows from that is not planned.
fn lacks_library(work: &Work, name: &str) -> bool {
    let extension = match name.split_once('.').map(|(library, _)| library) {
        Some("hnsw" | "ivfflat") => super::possible::PGVECTOR,
        Some("howdah") => super::vector::EXTENSION,
        _ => return false,
    };
    work.plan.unavailable.iter().any(|name| name == extension)
}

/// The other deployment that a setting of the server belongs to, for people.
fn owner_of(work: &Work, name: &str) -> Option<String> {
    work.live.databases.values().find_map(|database| {
        let memory = database.inside.of_others("setting", name)?;
        (!memory.deployment.is_empty()).then(|| owner(&database.inside, memory))
    })
}

/// Settings of the whole server.
pub(super) fn server(work: &mut Work) {
    let mut wanted: BTreeMap<String, (String, String)> = BTreeMap::new();
    for tuned in &work.options.tuned {
        // Tuning speaks of every major version; what this server does not know does not concern it.
        if work.live.settings.contains_key(&tuned.name) {
            wanted.insert(tuned.name.clone(), (tuned.value.clone(), tuned.reason.clone()));
        }
    }
    for (name, value) in &work.spec.settings {
        if !lacks_library(work, name) && known(work, name, "`[settings]`") {
            wanted.insert(name.clone(), (settings::text(value), "declared".into()));
        }
    }
    let mut reload = false;
    for (name, (value, reason)) in &wanted {
        reload |= server_setting(work, name, value, reason);
    }
    reload |= settings_gone(work, &wanted);
    if reload {
        work.step(
            Step::new(StepKind::Setting, "setting:reload", "the server reads its configuration again")
                .sql("SELECT pg_reload_conf()")
                .effect(Effect::ReloadsConfiguration)
                .outside_transaction(),
        );
    }
    let waiting = work
        .live
        .settings
        .iter()
        .filter(|(_, fact)| fact.pending_restart && !fixed(fact))
        .map(|(name, _)| name.clone());
    let planned = work.plan.steps.iter().filter(|step| step.restart);
    let planned = planned.filter_map(|step| step.id.strip_prefix("setting:").map(str::to_owned));
    let mut restart: Vec<String> = waiting.chain(planned).collect();
    restart.sort();
    restart.dedup();
    work.plan.restart = restart;
}

/// One setting. Says whether the server has to read its configuration again.
fn server_setting(work: &mut Work, name: &str, value: &str, reason: &str) -> bool {
    let fact = work.live.settings.get(name).cloned();
    let in_force = fact.as_ref().is_some_and(|fact| same_value(name, Some(fact), &fact.value, value));
    if let Some(fact) = &fact {
        let fixed = fixed(fact);
        let restart = fact.context == "postmaster";
        let in_files = fact.file_value.as_ref().map(|there| same_value(name, Some(fact), there, value));
        match in_files {
            Some(true) => {
                let unread =
                    !in_force && !restart && matches!(fact.source.as_str(), "configuration file" | "default");
                return unread || (restart && !in_force && !fact.pending_restart && !fixed);
            }
            None if in_force => return false,
            _ => {}
        }
        if fact.context == "internal" || fixed {
            if !in_force {
                let text = format!(
                    "setting `{name}` should be {value} and is {}: it is fixed by the {}",
                    fact.value,
                    if fact.context == "internal" { "build of the server" } else { fact.source.as_str() }
                );
                work.note(None, text);
            }
            return false;
        }
    }
    if !work.live.server.alter_system {
        if !in_force {
            let now = fact.map_or("unknown".to_owned(), |fact| shown(&fact));
            let text = format!(
                "setting `{name}` should be {value} and is {now} ({reason}); role `{}` may not change it: set it where \
                 the provider keeps its parameters",
                work.live.server.user
            );
            work.note(None, text);
        }
        return false;
    }
    if let Some(owner) = owner_of(work, name) {
        work.problem(
            Problem::new(Kind::Conflict, format!("setting `{name}` belongs to {owner}"))
                .detail(format!(
                    "it is {}, declared here is {value}",
                    fact.as_ref().map_or("unset".to_owned(), shown)
                ))
                .hint(
                    "A setting of the server is for all deployments on it. Agree on one value, or make it this \
                     deployment's with `howdah apply --take-over`.",
                ),
        );
        return false;
    }
    let restart = fact.as_ref().is_some_and(|fact| fact.context == "postmaster");
    let now = fact.as_ref().map_or(String::new(), |fact| format!("; it is {}", shown(fact)));
    let mut step =
        Step::new(StepKind::Setting, &format!("setting:{name}"), format!("{name} = {value}: {reason}{now}"))
            .outside_transaction();
    step.sql.extend(loads(name));
    step = step.sql(format!("ALTER SYSTEM SET {name} = {}", assigned(name, value)));
    step.restart = restart;
    match work.home() {
        Some(home) => {
            step = step.sql(remember(work.who(), "setting", name, value));
            work.in_database(&home, step)
        }
        None => work.step(step),
    }
}

/// Whether the value in force was given when the server was started: the files do not matter then, not even with a
/// restart.
fn fixed(fact: &Setting) -> bool {
    matches!(fact.source.as_str(), "command line" | "override" | "environment variable")
}

fn shown(fact: &Setting) -> String {
    match &fact.unit {
        Some(unit) if fact.value != "-1" => format!("{} × {unit}", fact.value),
        _ => fact.value.clone(),
    }
}

/// Settings that Howdah made and that are no longer asked for.
fn settings_gone(work: &mut Work, wanted: &BTreeMap<String, (String, String)>) -> bool {
    let Some(home) = work.home() else { return false };
    let Some(inside) = work.inside(&home) else { return false };
    let mut reload = false;
    for memory in inside.memory.iter().filter(|memory| memory.kind == "setting") {
        let name = &memory.name;
        if wanted.contains_key(name)
            || lacks_library(work, name)
            || !valid_name(name)
            || !work.live.server.alter_system
        {
            continue;
        }
        if let Some(owner) = owner_of(work, name) {
            let reason = format!("setting `{name}` is no longer asked for here; it stays for {owner}");
            let step = Step::new(StepKind::Setting, &format!("setting:{name}:leave"), reason);
            work.in_database(&home, step.sql(forget(work.who(), "setting", name)));
            continue;
        }
        let fact = work.live.settings.get(name);
        let mut step = Step::new(
            StepKind::Setting,
            &format!("setting:{name}"),
            format!("howdah set `{name}`, and it is no longer asked for"),
        )
        .outside_transaction();
        step.restart = fact.is_some_and(|fact| fact.context == "postmaster" && fact.file_value.is_some());
        step.sql.extend(loads(name));
        reload |= work.in_database(
            &home,
            step.sql(format!("ALTER SYSTEM RESET {name}")).sql(forget(work.who(), "setting", name)),
        );
    }
    reload
}

/// Settings of databases and roles.
pub(super) fn scoped(work: &mut Work) {
    let none = BTreeMap::new();
    let spec = work.spec;
    let live = work.live;
    for (name, declared) in &spec.databases {
        let there = live.databases.get(name).map_or(&none, |live| &live.settings);
        let ours = work.made_database(name);
        let owner = work.owner_of_database(name);
        let of = Scope { what: "DATABASE", name, in_database: Some(name.clone()), ours };
        scope(work, &of, owner, &declared.settings, there);
    }
    let home = work.home();
    for (name, declared) in &spec.roles {
        let there = live.roles.get(name).map_or(&none, |live| &live.settings);
        let ours = work.made_role(name);
        let owner = work.owner_of_role(name);
        let of = Scope { what: "ROLE", name, in_database: home.clone(), ours };
        scope(work, &of, owner, &declared.settings, there);
    }
}

struct Scope<'a> {
    /// `DATABASE` or `ROLE`.
    what: &'static str,
    name: &'a str,
    in_database: Option<String>,
    ours: bool,
}

/// Settings of one database or role. Of what belongs to another deployment, as `owner` says, none is changed.
fn scope(
    work: &mut Work,
    scope: &Scope,
    owner: Option<String>,
    declared: &indexmap::IndexMap<String, SettingValue>,
    there: &BTreeMap<String, String>,
) {
    match owner {
        Some(owner) => {
            let what = format!("{} `{}`", scope.what.to_lowercase(), scope.name);
            work.of_another(&what, &owner, |work| missing(work, scope, declared, there));
        }
        None => {
            missing(work, scope, declared, there);
            surplus(work, scope, declared, there);
        }
    }
}

fn missing(
    work: &mut Work,
    scope: &Scope,
    declared: &indexmap::IndexMap<String, SettingValue>,
    there: &BTreeMap<String, String>,
) {
    let (what, name) = (scope.what, scope.name);
    let lower = what.to_lowercase();
    for (setting, value) in declared {
        let value = settings::text(value);
        let fact = work.live.settings.get(setting).cloned();
        let same = there.get(setting).is_some_and(|live| same_value(setting, fact.as_ref(), live, &value));
        if same
            || lacks_library(work, setting)
            || !known(work, setting, &format!("`[{lower}s.{name}.settings]`"))
        {
            continue;
        }
        let mut step = Step::new(
            StepKind::Setting,
            &format!("setting:{lower}:{name}:{setting}"),
            match there.get(setting) {
                Some(live) => format!("{lower} `{name}` has {setting} = {live}, declared is {value}"),
                None => format!("{lower} `{name}` is declared to have {setting} = {value}"),
            },
        );
        step.sql.extend(loads(setting));
        step.sql.push(format!(
            "ALTER {what} {} SET {setting} = {}",
            quote_ident(name),
            assigned(setting, &value)
        ));
        step.database = scope.in_database.clone();
        work.step(step);
    }
}

fn surplus(
    work: &mut Work,
    scope: &Scope,
    declared: &indexmap::IndexMap<String, SettingValue>,
    there: &BTreeMap<String, String>,
) {
    let (what, name) = (scope.what, scope.name);
    let lower = what.to_lowercase();
    for setting in there.keys().filter(|setting| !declared.contains_key(*setting)) {
        let reason = format!("{lower} `{name}` has {setting} = {}, which is not declared", there[setting]);
        if !scope.ours || !valid_name(setting) {
            work.note(scope.in_database.as_deref().filter(|_| what == "DATABASE"), reason);
            continue;
        }
        let mut step = Step::new(StepKind::Setting, &format!("setting:{lower}:{name}:{setting}"), reason)
            .sql(format!("ALTER {what} {} RESET {setting}", quote_ident(name)));
        step.database = scope.in_database.clone();
        work.step(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(kind: &str, unit: Option<&str>) -> Setting {
        Setting { kind: kind.into(), unit: unit.map(Into::into), ..Setting::default() }
    }

    #[test]
    fn a_value_is_the_same_however_it_is_written() {
        let same = |fact: &Setting, a, b| same_value("x", Some(fact), a, b);
        let pages = fact("integer", Some("8kB"));
        assert!(same(&pages, "512MB", "65536"));
        assert!(same(&pages, "524288kB", "512MB"));
        assert!(!same(&pages, "512MB", "512"));
        let ms = fact("integer", Some("ms"));
        assert!(same(&ms, "5min", "300000"));
        assert!(same(&fact("bool", None), "on", "TRUE"));
        assert!(same(&fact("real", None), "1.1", "1.10"));
        assert!(same(&fact("enum", None), "Minimal", "minimal"));
        assert!(!same(&fact("string", None), "a", "A"));
        assert!(same_value("search_path", None, "app, public", "\"app\",public"));
        assert!(same_value("hnsw.ef_search", None, "100", "100.0"));
    }

    #[test]
    fn a_list_is_quoted_name_by_name() {
        assert_eq!(assigned("shared_preload_libraries", "a, b"), "'a', 'b'");
        assert_eq!(assigned("log_line_prefix", "a, b"), "'a, b'");
    }
}
