//! `howdah init`, `config` and `env`.

use std::process::ExitCode;

use howdah_plan::preset;
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::schema;
use serde_json::{Value, json};

use super::args::{Config, ConfigCommand, Env, Init};
use super::common::{Common, Format};
use super::origin;
use super::print::{self, GREEN, paint};
use super::refusal::Outcome;
use crate::daemon::as_role;
use crate::daemon::declaration::Declaration;

/// Writes a declaration.
pub fn init(common: &Common, flags: &Init) -> Outcome {
    if flags.list {
        let all: Vec<Value> =
            preset::PRESETS.iter().map(|one| json!({"name": one.name, "summary": one.summary})).collect();
        print::rows(common.output, &json!(all), &all, &[("Preset", "name"), ("What it is for", "summary")]);
        return Ok(ExitCode::SUCCESS);
    }
    if flags.print {
        print::out(&preset::render(&flags.preset)?);
        return Ok(ExitCode::SUCCESS);
    }
    let files =
        preset::init(&flags.preset, flags.name.as_deref(), &|path| std::path::Path::new(path).exists())?;
    for file in &files {
        let path = std::path::Path::new(&file.path);
        let write = || {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, &file.text)
        };
        write().map_err(|error| {
            Problem::new(Kind::Machine, format!("cannot write `{}`", file.path)).detail(error.to_string())
        })?;
    }
    if common.output == Format::Json {
        let names: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        print::out(&format!("{}\n", json!({ "written": names })));
    } else if !common.quiet {
        for file in &files {
            print::err(&format!("{} wrote {}\n", paint("✓", GREEN), file.path));
        }
        print::err("Next: look through howdah.toml, then `howdah up`.\n");
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the declaration with everything said.
pub fn config(common: &Common, flags: &Config) -> Outcome {
    match flags.command {
        ConfigCommand::Schema => print::out(&schema::text()),
        ConfigCommand::Show => {
            let declaration = Declaration::find(common.file.as_deref())?;
            origin::remark(common, &declaration);
            let rows = origin::values(&declaration)?;
            print::rows(
                common.output,
                &json!(rows),
                &rows,
                &[("Key", "key"), ("Value", "value"), ("From", "from")],
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what programs need to connect.
pub async fn env(common: &Common, flags: &Env) -> Outcome {
    let declaration = Declaration::find(common.file.as_deref())?;
    origin::remark(common, &declaration);
    let (variables, whose) = as_role::environment(&declaration, flags.role.as_deref()).await?;
    if !common.quiet && flags.role.is_none() {
        let role = variables.first().and_then(|(_, url)| url::Url::parse(url).ok());
        let role = role.map(|url| url.username().to_owned()).unwrap_or_default();
        print::err(&format!("note: as role {role}: {whose}; `--role` names another\n"));
    }
    match common.output {
        Format::Json | Format::Jsonl => {
            let map: serde_json::Map<String, Value> =
                variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            print::out(&format!("{}\n", Value::Object(map)));
        }
        Format::Table | Format::Csv => {
            for (name, value) in variables {
                print::out(&format!("export {name}='{}'\n", value.replace('\'', "'\\''")));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
