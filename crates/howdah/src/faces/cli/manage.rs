//! `howdah up`, `down` and `logs`.

use std::process::ExitCode;

use howdah_plan::problem::{Kind, Problem};
use serde_json::json;

use super::args::{Logs, Up};
use super::chart;
use super::common::{Common, Format};
use super::print::{self, field};
use super::refusal::{Outcome, Refusal};
use super::session::{self, Session};
use super::steps::{Shown, Steps};
use crate::daemon::declaration::Declaration;
use crate::daemon::place::{Place, Running};
use crate::daemon::{background, converge, local, program, run};

/// Brings up what is declared.
pub async fn up(common: &Common, flags: &Up) -> Outcome {
    if flags.detached {
        // A session of its own: the terminal's end and its Ctrl-C are not for this process.
        let _ = nix::unistd::setsid();
    }
    let declaration = Declaration::find(common.file.as_deref())?;
    if flags.foreground {
        run::run(declaration, flags.detached, crate::faces::http::face::open).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let place = Place::of(&declaration, &local::home()?.instances())?;
    let mut steps = Steps::new(common.quiet);
    let left_out = match place.running() {
        Some(running) if is_current(&running, &declaration) => again(&declaration, steps).await?,
        Some(running) => {
            if !common.quiet {
                print::err("the declaration or the program changed: starting anew\n");
            }
            background::stop(&place, &running)?;
            background::start(&declaration, &place, |event| steps.show(event))?
        }
        None => {
            if let Some(holder) = place.working() {
                session::waiting(common, &holder);
            }
            background::start(&declaration, &place, |event| steps.show(event))?
        }
    };
    let running = place.running().ok_or_else(|| {
        Problem::new(Kind::Failed, "the server ended right after it was ready")
            .hint("Look at the log with `howdah logs`.")
    })?;
    welcome(common, &declaration, &place, &running, left_out).await?;
    Ok(if left_out > 0 { ExitCode::from(Kind::Degraded.row().exit) } else { ExitCode::SUCCESS })
}

fn is_current(running: &Running, declaration: &Declaration) -> bool {
    running.ready
        && running.declaration == declaration.hash
        && running.program == program()
        && running.version == env!("CARGO_PKG_VERSION")
}

/// A second `up`: looks whether structure and documents are still as declared, without disturbing the server. Says how many
/// documents could not be read.
async fn again(declaration: &Declaration, steps: Steps) -> Result<u64, Refusal> {
    let context = local::context(declaration).await?;
    let report = Shown::from(steps);
    converge::structure(&context, false, &report).await?;
    Ok(converge::documents(&context, declaration, &report).await?)
}

/// The box: where everything is, the first key once, what could not be read, what to type next.
async fn welcome(
    common: &Common,
    declaration: &Declaration,
    place: &Place,
    running: &Running,
    left_out: u64,
) -> Result<(), Refusal> {
    let session = Session::open(common).await?;
    let keys = session.call("list_keys", json!({})).await?;
    let key = if field(&keys, "keys").as_array().is_some_and(Vec::is_empty) {
        let made = session.call("create_key", json!({"name": "admin", "scope": "admin"})).await?;
        Some(print::cell(field(&made, "key")))
    } else {
        None
    };
    let first = declaration.spec.collections.keys().next();
    if matches!(common.output, Format::Json | Format::Jsonl) {
        let whole = json!({
            "name": declaration.spec.name,
            "instance": place.id,
            "database_url": running.database,
            "rest": running.rest,
            "openapi": format!("{}/openapi.json", running.rest),
            "health": format!("{}/health", running.rest),
            "admin_key": key,
            "left_out": left_out,
        });
        print::out(&format!("{whole}\n"));
        return Ok(());
    }
    let mut lines = vec![
        ("Database".to_owned(), running.database.clone()),
        (String::new(), "with its password: howdah env".to_owned()),
        ("REST".to_owned(), running.rest.clone()),
        ("OpenAPI".to_owned(), format!("{}/openapi.json", running.rest)),
        ("Health".to_owned(), format!("{}/health", running.rest)),
    ];
    if let Some(key) = key {
        lines.push(("Admin key".to_owned(), key));
        lines.push((String::new(), "shown this once; make others with howdah keys create".to_owned()));
    }
    if left_out > 0 {
        let what = print::count(left_out, "document");
        lines.push(("Left out".to_owned(), format!("{what} that could not be read, named above")));
        lines.push((String::new(), "correct and load them with howdah up".to_owned()));
    }
    let next = match first {
        Some(name) if name == "manual" => {
            "howdah search \"why do my filtered searches return too few rows\"".to_owned()
        }
        Some(name) => format!("howdah ingest {name} PATH"),
        None => "howdah init".to_owned(),
    };
    lines.push(("Next".to_owned(), next));
    print::out(&chart::boxed(&format!("{} is up", declaration.spec.name), &lines));
    Ok(())
}

/// Stops what `up` started.
pub async fn down(common: &Common) -> Outcome {
    let declaration = Declaration::find(common.file.as_deref())?;
    let name = &declaration.spec.name;
    let stopped = match session::running(&declaration)? {
        Some((place, running)) => {
            background::stop(&place, &running)?;
            true
        }
        None => local::stop_rest(&declaration, |holder| session::waiting(common, holder)).await?,
    };
    if !common.quiet {
        let how = if stopped { "stopped" } else { "was not running" };
        print::err(&format!("{name} {how}\n"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the log.
pub fn logs(common: &Common, flags: &Logs) -> Outcome {
    let declaration = Declaration::find(common.file.as_deref())?;
    let place = Place::existing(&declaration, &local::home()?.instances()).ok_or_else(|| {
        Problem::new(Kind::NotFound, format!("`{}` was never started here", declaration.spec.name))
            .hint("Start it with `howdah up`.")
    })?;
    let text = background::last_lines(&place.log_file(), flags.lines);
    print::out(&format!("{text}\n"));
    Ok(ExitCode::SUCCESS)
}
