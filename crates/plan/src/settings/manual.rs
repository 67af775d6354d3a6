//! The manual page of settings, written from the table.

use std::fmt::Write;

use super::{Context, NEWEST, OLDEST, SETTINGS, Setting};

/// `docs/reference/settings.md`.
pub fn page() -> String {
    let mut out = String::from(HEAD);
    for setting in SETTINGS {
        section(&mut out, setting);
    }
    out
}

const HEAD: &str = "# The PostgreSQL settings that Howdah knows

`howdah plan` tunes a server that Howdah runs to its machine: memory, cores, disk, connections. Each value comes with its
reason. What stands in `[settings]` of howdah.toml overrules the tuned value, and the tuning reckons with it. PostgreSQL has
more settings than this page; any of them may stand in `[settings]`. Values may be written as PostgreSQL takes them:
`512MB`, `65536` and `0.5GB` are one value of `shared_buffers`.
";

fn section(out: &mut String, setting: &Setting) {
    let _ = writeln!(out, "\n## {}\n", setting.name);
    let mut facts = vec![match setting.default {
        "" => "Empty by default".to_owned(),
        default => format!("Default `{default}`"),
    }];
    if let Some((from, default)) = setting.default_from {
        facts.push(format!("`{default}` from {from} on"));
    }
    facts.push(cost(setting.context).to_owned());
    if let Some((from, context)) = setting.context_from {
        facts.push(format!("{} from {from} on", cost(context)));
    }
    if setting.majors != (OLDEST, NEWEST) {
        facts.push(format!("exists from {} on", setting.majors.0));
    }
    if let Some(library) = setting.library {
        facts.push(format!("exists once the library `{library}` is loaded"));
    }
    let _ = writeln!(out, "{} {}\n\n{}.", setting.meaning, setting.why, facts.join("; "));
}

const fn cost(context: Context) -> &'static str {
    match context {
        Context::Session => "any session may set it",
        Context::Reload => "a change needs a reload",
        Context::Restart => "a change needs a restart",
        Context::Fixed => "it cannot be set",
    }
}
