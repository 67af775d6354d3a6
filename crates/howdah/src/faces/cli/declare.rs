//! `howdah init`, `plan`, `apply`, `config` and `env`.

use std::process::ExitCode;

use howdah_plan::migrate::Plan as Steps;
use howdah_plan::preset;
use howdah_plan::problem::{Kind, Problem};
use howdah_plan::spec::schema;
use serde_json::{Value, json};

use super::Outcome;
use super::args::{Apply, Common, Config, ConfigCommand, Format, Init, Plan};
use super::print::{self, DIM, GREEN, field, paint};
use super::session::{self, Session};
use crate::apply::Event;
use crate::daemon::declaration::Declaration;
use crate::daemon::local;
use crate::faces::cli::steps::Steps as Shown;
use crate::observe::progress::{self, duration};

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

/// Shows what differs.
pub async fn plan(common: &Common, flags: &Plan) -> Outcome {
    let planned = if common.url.is_some() {
        Session::open(common).await?.call("plan", json!({})).await?
    } else {
        // The declaration as it is now, not as the running server read it.
        let (_, context) = Session::own(common).await?;
        Session::Local(context).call("plan", json!({})).await?
    };
    let steps = field(&planned, "plan.steps").as_array().cloned().unwrap_or_default();
    match common.output {
        Format::Table => print::out(&print::cell(field(&planned, "sql"))),
        format => print::rows(
            format,
            &planned,
            &steps,
            &[("Id", "id"), ("Database", "database"), ("Reason", "reason"), ("SQL", "sql")],
        ),
    }
    let empty = field(&planned, "empty") == &Value::Bool(true);
    if flags.check && !empty {
        if !common.quiet {
            print::err(&drift(&planned));
        }
        return Ok(ExitCode::from(Kind::Degraded.row().exit));
    }
    Ok(ExitCode::SUCCESS)
}

fn drift(planned: &Value) -> String {
    let plan: Steps = serde_json::from_value(field(planned, "plan").clone()).unwrap_or_default();
    format!(
        "the server is not as declared: {} to do, {} blocked, {} impossible\n",
        plan.steps.len(),
        plan.blocked.len(),
        plan.problems.len()
    )
}

/// Makes it so.
pub async fn apply(common: &Common, flags: &Apply) -> Outcome {
    let how =
        crate::skills::plan::Apply { allow_destroy: flags.allow_destroy, set_passwords: flags.set_passwords };
    if common.url.is_some() {
        let outcome = Session::open(common).await?.call("apply", json!(how)).await?;
        print::out(&print::pretty(&outcome));
        return Ok(ExitCode::SUCCESS);
    }
    let (declaration, context) = Session::own(common).await?;
    let shown = std::sync::Mutex::new(Shown::new(common.quiet));
    let show = |event| shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner).show(&event);
    let told = |event: Event| match event {
        Event::Step { step, .. } => show(progress::Event::Begin { step: step.reason }),
        Event::Done { id, took } => {
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            show(progress::Event::Done { took_ms, note: id });
        }
        Event::Building(at) => {
            let unit = at.unit.to_owned();
            show(progress::Event::Advanced { done: at.done, total: at.total, unit, note: String::new() });
        }
        Event::Note(note) if !common.quiet => print::err(&format!("note: {note}\n")),
        Event::Note(_) | Event::Planned(_) => {}
    };
    let begun = std::time::Instant::now();
    let outcome = context.apply(how, false, &told).await?;
    session::tell_to_reload(&declaration)?;
    match common.output {
        Format::Table | Format::Csv => print::out(&format!(
            "{} applied {}\n",
            count(outcome.done.len(), "step"),
            paint(&duration(begun.elapsed()), DIM)
        )),
        Format::Json | Format::Jsonl => print::out(&format!("{}\n", json!(outcome))),
    }
    if !common.quiet {
        if !outcome.left.blocked.is_empty() {
            print::err(&format!(
                "{} would destroy data and wait for `howdah apply --allow-destroy`; see `howdah plan`\n",
                count(outcome.left.blocked.len(), "step")
            ));
        }
        if !outcome.restart.is_empty() {
            print::err(&format!("a restart is needed for {}\n", outcome.restart.join(", ")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn count(many: usize, what: &str) -> String {
    print::count(many as u64, what)
}

/// Shows the declaration with everything said.
pub fn config(common: &Common, flags: &Config) -> Outcome {
    match flags.command {
        ConfigCommand::Schema => print::out(&schema::text()),
        ConfigCommand::Show => {
            let declaration = Declaration::find(common.file.as_deref())?;
            let rows = super::origin::values(&declaration)?;
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
pub async fn env(common: &Common) -> Outcome {
    let declaration = Declaration::find(common.file.as_deref())?;
    let variables = local::environment(&declaration)?;
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
