//! Which value would the rules of [`tune`] give here?
//!
//! A figure that the doctor advises comes from the same rules as the settings of a server that Howdah runs, for the machine
//! that is declared. So the advice never argues with the declaration.

use super::super::answer::Found;
use super::super::contract::{CheckFacts, FixKind, FixTemplate};
use crate::settings;
use crate::spec::SettingValue;
use crate::tune::{self, Machine, Wish};

/// `[settings]` itself says the value that was found.
const DECLARED: FixTemplate = FixTemplate {
    kind: FixKind::Advice,
    text: "`[settings]` in howdah.toml declares it; for this machine the rules give `{better}`. Change the line, or take it \
           out, and run `howdah apply`.",
    safe: false,
};

/// Howdah runs the server and the declaration means another value.
const OWN: FixTemplate = FixTemplate {
    kind: FixKind::Command,
    text: "howdah apply  # brings `{setting}` to {better}",
    safe: false,
};

/// The machine to advise for: what the declaration says in the place of the machine's own facts.
fn machine(facts: &CheckFacts<'_>) -> Option<Machine> {
    let real = facts.machine.cloned().unwrap_or_default();
    match facts.spec {
        Some(spec) => tune::declared_machine(&real, spec).ok(),
        None => Some(real),
    }
}

/// The memory to advise for, in bytes.
pub(super) fn memory(facts: &CheckFacts<'_>) -> Option<i64> {
    facts.machine?;
    i64::try_from(machine(facts)?.memory_bytes).ok()
}

/// What the rules give for `name` beside what is declared for other settings. `known` are settings that the server has and
/// that the rules have to reckon with as they are.
pub(super) fn value(facts: &CheckFacts<'_>, name: &str, known: &[(&str, String)]) -> Option<String> {
    let mut wish = Wish {
        major: facts.major(),
        workload: facts.spec.map(|spec| spec.server.workload).unwrap_or_default(),
        max_connections: facts.spec.and_then(|spec| spec.server.max_connections),
        declared: facts.spec.map(|spec| spec.settings.clone()).unwrap_or_default(),
    };
    wish.declared.retain(|declared, _| !declared.eq_ignore_ascii_case(name));
    for (name, value) in known {
        wish.declared.insert((*name).to_owned(), SettingValue::Text(value.clone()));
    }
    let tuned = tune::tune(&machine(facts)?, &wish);
    tuned.into_iter().find(|row| row.name == name).map(|row| row.value)
}

/// The finding with the advised value of `name`: nothing where the server has that value already. `live` is the server's
/// value in bytes.
pub(super) fn size(
    facts: &CheckFacts<'_>,
    name: &'static str,
    live: i64,
    known: &[(&str, String)],
    found: Found,
) -> Option<Found> {
    let better = value(facts, name, known)?;
    let bytes = settings::value::in_bytes(name, &better).and_then(|bytes| i64::try_from(bytes).ok());
    if bytes == Some(live) {
        return None;
    }
    let declared = facts
        .spec
        .is_some_and(|spec| spec.settings.keys().any(|declared| declared.eq_ignore_ascii_case(name)));
    let found = match () {
        () if declared => found.fix(DECLARED),
        () if facts.own() => found.fix(OWN),
        () => found,
    };
    Some(found.value("better", better).value("setting", name))
}
